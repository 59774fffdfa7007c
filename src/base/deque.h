/* SPDX-License-Identifier: MIT */
/*
 * Work-stealing deque (Chase and Lev) of unstarted tasks. The owner pushes at
 * the bottom; it takes there too when it joins a child that it has just pushed,
 * and takes at the top, where thieves steal, when it starts tasks first in,
 * first out. Items are opaque pointers.
 *
 * A deque made "alone" has no thieves and does without atomic
 * read-modify-writes.
 */
#ifndef ZS_BASE_DEQUE_H
#define ZS_BASE_DEQUE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"

struct zs_deque_array; /* grows; old ones live until fini, thieves may read them */

struct zs_deque {
	/* Written by whoever takes at the top. */
	ZS_CACHE_ALIGNED _Atomic int64_t top;
	/* Written by the owner. */
	ZS_CACHE_ALIGNED _Atomic int64_t bottom;
	_Atomic(struct zs_deque_array *) array;
	bool alone;
};

/* @capacity: a power of two. 0 or -ENOMEM. */
int zs_deque_init(struct zs_deque *deque, int64_t capacity, bool alone);
void zs_deque_fini(struct zs_deque *deque);

/* Owner. 0, or -ENOMEM if it had to grow and could not: nothing was pushed. */
int zs_deque_push(struct zs_deque *deque, void *item);
/* Owner. The item pushed last, NULL if empty. */
void *zs_deque_take_bottom(struct zs_deque *deque);
/* Owner. What take_bottom would return now, if no thief is quicker: a hint. */
void *zs_deque_peek_bottom(struct zs_deque *deque);
/* Owner. The oldest item, NULL if empty (a thief may have won the last). */
void *zs_deque_take_top(struct zs_deque *deque);
/* Any thread. The oldest item; NULL if empty or another was quicker. */
void *zs_deque_steal(struct zs_deque *deque);
/* Any thread. A recent number of items, never negative. */
int64_t zs_deque_size(struct zs_deque *deque);

#endif
