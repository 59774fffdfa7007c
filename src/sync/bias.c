/* SPDX-License-Identifier: MIT */
/* The beginning and the end of a bias: called by whoever is not its owner. */
#include "sync/bias.h"

#include <errno.h>

#include "base/barrier.h"
#include "base/futex.h"
#include "sched/runtime.h"
#include "sched/worker.h"

_Atomic uint32_t zs_bias_num_enders;
/* Counts up whenever an owner has left while somebody waited for one, and when
 * a bias has ended. */
static _Atomic uint32_t num_changes;

ZS_COLD void zs_bias_tell(void)
{
	int saved_errno = errno;

	/* release: the store that it tells of came before. */
	atomic_fetch_add_explicit(&num_changes, 1, memory_order_release);
	zs_word_wake(&num_changes);
	errno = saved_errno;
}

/* While the owner is inside it may have lost its CPU, but it waits for nothing
 * but the locks of other primitives, which come after this one's. */
static void await_outside(struct zs_bias *bias)
{
	uint32_t seen;

	for (;;) {
		/* acquire: the next look comes after it. */
		seen = atomic_load_explicit(&num_changes, memory_order_acquire);
		/* acquire: what the owner did inside. */
		if (!atomic_load_explicit(&bias->inside, memory_order_acquire))
			return;
		zs_word_wait(&num_changes, seen, NULL);
	}
}

/* Somebody else is about to end it. */
static void await_end(struct zs_bias *bias)
{
	uint32_t seen;

	for (;;) {
		/* acquire, both: as above, and what was done inside. */
		seen = atomic_load_explicit(&num_changes, memory_order_acquire);
		if (atomic_load_explicit(&bias->owner, memory_order_acquire) ==
		    ZS_BIAS_ENDED)
			return;
		zs_word_wait(&num_changes, seen, NULL);
	}
}

/* No lock of this file's is held meanwhile: who ends one may be inside others,
 * and hold their primitives' locks, of lower addresses all (see select.c). So
 * all wait for what is of a higher address only, and for nobody in a ring. */
static ZS_COLD void end(struct zs_bias *bias, struct zs_worker *owner)
{
	int saved_errno = errno;

	/* relaxed, all three: the barrier orders them. */
	if (owner == ZS_BIAS_ENDING ||
	    !atomic_compare_exchange_strong_explicit(
		    &bias->owner, &owner, ZS_BIAS_ENDING, memory_order_relaxed,
		    memory_order_relaxed)) {
		await_end(bias);
	} else {
		atomic_fetch_add_explicit(&zs_bias_num_enders, 1,
					  memory_order_relaxed);
		zs_barrier_all();
		await_outside(bias);
		atomic_fetch_sub_explicit(&zs_bias_num_enders, 1,
					  memory_order_relaxed);
		/* release: hands on what the owner did. */
		atomic_store_explicit(&bias->owner, ZS_BIAS_ENDED,
				      memory_order_release);
		zs_bias_tell();
	}
	errno = saved_errno;
}

ZS_COLD bool zs_bias_enter_first(struct zs_bias *bias, struct zs_worker *worker)
{
	bool may_own = worker && worker->runtime->has_barrier;
	struct zs_worker *owner = NULL;

	/* acquire: what was done inside before it ended. */
	if (!atomic_compare_exchange_strong_explicit(
		    &bias->owner, &owner, may_own ? worker : ZS_BIAS_ENDED,
		    memory_order_acquire, memory_order_acquire)) {
		if (owner != ZS_BIAS_ENDED)
			end(bias, owner);
		return false;
	}
	if (!may_own)
		return false;
	if (zs_bias_enter_again(bias, worker))
		return true;
	/* Somebody has come in between. */
	await_end(bias);
	return false;
}
