/* SPDX-License-Identifier: MIT */
/*
 * Lock: guards the few words of a primitive of this room, between workers and
 * any other threads. Nothing parks or calls out while it is held, so it is held
 * for tens of nanoseconds; who finds it taken looks again for a while, and
 * then sleeps in the kernel, since its holder may have lost its CPU.
 *
 * All zero it is free.
 */
#ifndef ZS_SYNC_LOCK_H
#define ZS_SYNC_LOCK_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/compiler.h"

enum {
	ZS_LOCK_FREE,
	ZS_LOCK_TAKEN,
	ZS_LOCK_AWAITED, /* taken, and somebody may sleep */
};

struct zs_lock {
	_Atomic uint32_t word;
};

/* The cold sides. */
void zs_lock_await(struct zs_lock *lock);
void zs_lock_tell(struct zs_lock *lock);

/* acquire: what its last holder wrote. */
static ZS_ALWAYS_INLINE void zs_lock_take(struct zs_lock *lock)
{
	uint32_t word = ZS_LOCK_FREE;

	if (zs_unlikely(!atomic_compare_exchange_strong_explicit(
		    &lock->word, &word, ZS_LOCK_TAKEN, memory_order_acquire,
		    memory_order_relaxed)))
		zs_lock_await(lock);
}

/* release: for the next holder. Afterwards nothing of it is touched, but for a
 * wake by its address: who takes it next may free it. */
static ZS_ALWAYS_INLINE void zs_lock_release(struct zs_lock *lock)
{
	if (zs_unlikely(atomic_exchange_explicit(&lock->word, ZS_LOCK_FREE,
						 memory_order_release) ==
			ZS_LOCK_AWAITED))
		zs_lock_tell(lock);
}

#endif
