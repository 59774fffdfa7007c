/* SPDX-License-Identifier: MIT */
/*
 * Cancellation: a tree of scopes, each with a token by which any thread may
 * cancel it, and a deadline.
 *
 * A task is always inside a scope: its nursery's, or one that it opened itself.
 * Scopes nest. Cancelling one cancels all inside it, on every worker: a parked
 * call there ends with -ECANCELED (-ETIMEDOUT if the reason is a deadline), and
 * so does every later parking call until the scope is closed. What the kernel
 * had done by then is not lost: such a call returns its result, and the next
 * one reports the cancellation. zs_close() works in a cancelled scope.
 *
 *	struct zs_cancel_token token;
 *
 *	zs_cancel_token_open(&token, zs_now() + 50 * ZS_MILLISECOND);
 *	ret = zs_recv(fd, buffer, sizeof(buffer), 0);
 *	zs_cancel_token_close(token);
 */
#ifndef ZSYNC_CANCEL_H
#define ZSYNC_CANCEL_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum zs_cancel_reason {
	ZS_CANCEL_NONE,
	ZS_CANCEL_REQUESTED,	  /* a ..._cancel() call */
	ZS_CANCEL_DEADLINE,	  /* the deadline of this or an outer scope */
	ZS_CANCEL_SIBLING_FAILED, /* a task of the nursery returned an error */
	ZS_CANCEL_LEFT_OPEN,	  /* the opener returned with its scope open */
	ZS_CANCEL_STOPPING,	  /* zs_runtime_stop() */
};

struct zs_scope;

/* A handle, freely copied. One whose scope has been closed is recognised:
 * -ESTALE. All handles are void once the runtime is destroyed. */
struct zs_cancel_token {
	struct zs_scope *scope;
	uint64_t generation;
};

/* Task. Opens a scope inside the current one and enters it. @deadline_ns is a
 * point in time, or ZS_NEVER. -EINVAL for a NULL token, -ENOMEM. */
int zs_cancel_token_open(struct zs_cancel_token *token, int64_t deadline_ns);

/*
 * The task that opened it. Leaves the scope and ends it. 0, or how it was
 * cancelled: -ECANCELED or -ETIMEDOUT; in both cases it is closed. It stays
 * open on -EPERM (another task opened it) and -EBUSY (a scope opened inside it
 * is still open).
 */
int zs_cancel_token_close(struct zs_cancel_token token);

/* Any thread. Cancels all that is inside. 0 also if it was cancelled before. */
int zs_cancel_token_cancel(struct zs_cancel_token token);

/* The task that opened it. Replaces the deadline; ZS_NEVER takes it away. */
int zs_cancel_token_set_deadline(struct zs_cancel_token token,
				 int64_t deadline_ns);

/* Any thread. An enum zs_cancel_reason. */
int zs_cancel_token_reason(struct zs_cancel_token token);

/* Task. The reason for which the innermost scope is cancelled. */
int zs_cancel_reason(void);

/* Any thread. "deadline", ... ; "unknown" for what is no reason. */
const char *zs_cancel_reason_name(enum zs_cancel_reason reason);

#ifdef __cplusplus
}
#endif
#endif
