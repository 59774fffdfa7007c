/* SPDX-License-Identifier: MIT */
/*
 * Shields: for what has to be done although a task is cancelled, such as to say
 * goodbye to the other end, or to roll something back.
 *
 * A shield is a scope (zsync/cancel.h) that cancels of those around it do not
 * reach: calls of the task inside it go on as if there were none, and so do the
 * tasks of nurseries that are opened inside it. That holds for deadlines and
 * for zs_runtime_stop(), too, and also if the task was cancelled before it
 * opened the shield. It ends when the shield is closed, or after a maximum
 * duration: then what was held back reaches all inside. Scopes that are opened
 * inside a shield are cancelled by their own tokens, deadlines and failures as
 * ever.
 *
 *	struct zs_shield shield;
 *
 *	if (zs_shield_open(&shield, ZS_SECOND) == 0) {
 *		zs_send_all(fd, goodbye, sizeof(goodbye), 0);
 *		zs_shield_close(shield);
 *	}
 */
#ifndef ZSYNC_SHIELD_H
#define ZSYNC_SHIELD_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct zs_scope;

/* A handle, freely copied; see struct zs_cancel_token. */
struct zs_shield {
	struct zs_scope *scope;
	uint64_t generation;
};

/* Task. Opens a shield inside the current scope and enters it, for @max_ns at
 * most. 0, or -EINVAL (no shield, a duration <= 0, or ZS_NEVER: a shield ends
 * at last), -ENOMEM. */
int zs_shield_open(struct zs_shield *shield, int64_t max_ns);

/* The task that opened it. Leaves and closes it. 0, or -ECANCELED or -ETIMEDOUT
 * if the scope around it is cancelled: it is closed, and so every call that
 * might park will return. It stays open on -EPERM (another task opened it) and
 * -EBUSY (a scope opened inside it is still open); -ESTALE if it is closed. */
int zs_shield_close(struct zs_shield shield);

#ifdef __cplusplus
}
#endif
#endif
