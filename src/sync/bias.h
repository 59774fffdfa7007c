/* SPDX-License-Identifier: MIT */
/*
 * Bias: leans a primitive to the worker that uses it first, whose tasks then
 * need neither a lock nor an atomic read-modify-write, only plain stores. Used
 * by channels, in front of their locks.
 *
 * When anyone else comes, the bias is ended, for good: the newcomer pays some
 * microseconds, once, and from then on all take the locks.
 *
 * The worker stores `inside` and then loads `owner`; who ends it stores `owner`
 * and then loads `inside`. Each may pass the other only if both loads miss the
 * other's store. On the worker's side the compiler alone is kept from turning
 * the two round; the barrier on all threads that the ender makes between its
 * own two is one in the worker, too: if it comes before the worker's store, the
 * worker's load finds the owner gone; if after, the ender's load finds it
 * inside, and waits.
 *
 * All zero, nobody has used it.
 */
#ifndef ZS_SYNC_BIAS_H
#define ZS_SYNC_BIAS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"

struct zs_worker;

/* In place of an owner: the bias has ended, or is about to. */
#define ZS_BIAS_ENDED ((struct zs_worker *)1)
#define ZS_BIAS_ENDING ((struct zs_worker *)2)

struct zs_bias {
	_Atomic(struct zs_worker *) owner; /* NULL: the first to come */
	_Atomic bool inside;		   /* written by the owner alone */
};

/* How many wait for an owner to leave: of any bias, so that an owner touches
 * nothing of its own once it is outside. */
extern ZS_HIDDEN _Atomic uint32_t zs_bias_num_enders;

/* The cold sides. */
bool zs_bias_enter_first(struct zs_bias *bias, struct zs_worker *worker);
void zs_bias_tell(void);

static ZS_ALWAYS_INLINE void zs_bias_leave(struct zs_bias *bias)
{
	/* release: the ender's load acquires what was done inside. */
	atomic_store_explicit(&bias->inside, false, memory_order_release);
	/* The count is raised before the barrier on all threads: so either it
	 * is seen here, or the ender sees the store above. */
	atomic_signal_fence(memory_order_seq_cst);
	if (zs_unlikely(atomic_load_explicit(&zs_bias_num_enders,
					     memory_order_relaxed) != 0))
		zs_bias_tell();
}

/* Does @worker own it already? */
static ZS_ALWAYS_INLINE bool zs_bias_enter_again(struct zs_bias *bias,
						 struct zs_worker *worker)
{
	/* relaxed: who owns it has made it so itself. */
	if (zs_unlikely(atomic_load_explicit(&bias->owner,
					     memory_order_relaxed) != worker))
		return false;
	/* relaxed: see the top. */
	atomic_store_explicit(&bias->inside, true, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
	if (zs_likely(atomic_load_explicit(&bias->owner,
					   memory_order_relaxed) == worker))
		return true;
	zs_bias_leave(bias);
	return false;
}

/* Any thread; @worker is its own, or NULL. True: it is alone, until
 * zs_bias_leave(). False: the bias has ended, and the locks have to be taken.
 */
static ZS_ALWAYS_INLINE bool zs_bias_enter(struct zs_bias *bias,
					   struct zs_worker *worker)
{
	if (worker && zs_bias_enter_again(bias, worker))
		return true;
	/* acquire: what was done inside before it ended. */
	if (zs_likely(
		    atomic_load_explicit(&bias->owner, memory_order_acquire) ==
		    ZS_BIAS_ENDED))
		return false;
	return zs_bias_enter_first(bias, worker);
}

#endif
