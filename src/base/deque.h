/* SPDX-License-Identifier: MIT */
/*
 * Work-stealing deque (Chase and Lev) of unstarted tasks. The owner pushes at
 * the bottom; it takes there too when it joins a child that it has just pushed,
 * and takes at the top, where thieves steal, when it starts tasks first in,
 * first out. Items are opaque pointers.
 *
 * A deque made "alone" has no thieves and does without atomic
 * read-modify-writes.
 *
 * Order is made by seq_cst accesses to top and bottom and not by fences, which
 * ThreadSanitizer cannot see. The one race that needs it is that for the last
 * item: the owner lowers bottom, then reads top; a thief reads top, then
 * bottom. In their single total order one of them sees the other, and then both
 * go through a compare-exchange of top, which one wins.
 */
#ifndef ZS_BASE_DEQUE_H
#define ZS_BASE_DEQUE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"

/* The slots, a power of two of them. It grows by being replaced; old ones live
 * until fini, for a thief may still read them. */
struct zs_deque_array {
	struct zs_deque_array *previous;
	int64_t mask;
	_Atomic(void *) items[];
};

struct zs_deque {
	/* Written by whoever takes at the top: counts up. */
	ZS_CACHE_ALIGNED _Atomic int64_t top;
	/* All others are written by the owner. One past the newest item. */
	ZS_CACHE_ALIGNED _Atomic int64_t bottom;
	_Atomic(struct zs_deque_array *) array;
	int64_t top_seen; /* owner only: at most top, not on thieves' line */
	bool alone;	  /* constant */
};

/* @capacity: a power of two. 0 or -ENOMEM. */
int zs_deque_init(struct zs_deque *deque, int64_t capacity, bool alone);
/* Owner, when no thief is left. Items that are left are the caller's. */
void zs_deque_fini(struct zs_deque *deque);
/* Owner. Makes room for one more item; the cold part of zs_deque_push(). */
int zs_deque_grow(struct zs_deque *deque);
/* Owner. zs_deque_take_bottom() of a deque with thieves. */
void *zs_deque_take_contended(struct zs_deque *deque);
/* Owner. zs_deque_take_top() of a deque with thieves. */
void *zs_deque_take_top_contended(struct zs_deque *deque);
/* Any thread. The oldest item; NULL if empty or another was quicker. */
void *zs_deque_steal(struct zs_deque *deque);
/* Any thread. A recent number of items, never negative. */
int64_t zs_deque_size(struct zs_deque *deque);

/* Owner, who alone writes both: relaxed reads its own last store. */
static ZS_ALWAYS_INLINE int64_t zs_deque_bottom(struct zs_deque *deque)
{
	return atomic_load_explicit(&deque->bottom, memory_order_relaxed);
}

static ZS_ALWAYS_INLINE struct zs_deque_array *
zs_deque_own_array(struct zs_deque *deque)
{
	return atomic_load_explicit(&deque->array, memory_order_relaxed);
}

/* relaxed: an item is published by bottom and claimed by top, never by itself;
 * it is atomic because a thief that comes too late reads it anyway. */
static ZS_ALWAYS_INLINE void *zs_deque_item(struct zs_deque_array *array,
					    int64_t index)
{
	return atomic_load_explicit(&array->items[index & array->mask],
				    memory_order_relaxed);
}

/* Owner. Room for one more, without growing? */
static ZS_ALWAYS_INLINE bool zs_deque_has_room(struct zs_deque *deque)
{
	return zs_deque_bottom(deque) - deque->top_seen <=
	       zs_deque_own_array(deque)->mask;
}

/* Owner, who has seen that there is room. */
static ZS_ALWAYS_INLINE void zs_deque_put(struct zs_deque *deque, void *item)
{
	int64_t bottom = zs_deque_bottom(deque);
	struct zs_deque_array *array = zs_deque_own_array(deque);

	atomic_store_explicit(&array->items[bottom & array->mask], item,
			      memory_order_relaxed);
	/* release: publishes the slot, what it points to, and the array, to
	 * the load of bottom in zs_deque_steal(). */
	atomic_store_explicit(&deque->bottom, bottom + 1, memory_order_release);
}

/* Owner. 0, or -ENOMEM if it had to grow and could not: nothing was pushed. */
static ZS_ALWAYS_INLINE int zs_deque_push(struct zs_deque *deque, void *item)
{
	if (zs_unlikely(!zs_deque_has_room(deque))) {
		int ret = zs_deque_grow(deque);

		if (ret < 0)
			return ret;
	}
	zs_deque_put(deque, item);
	return 0;
}

/* Owner. What take_bottom would return now, if no thief is quicker: a hint. */
static ZS_ALWAYS_INLINE void *zs_deque_peek_bottom(struct zs_deque *deque)
{
	int64_t bottom = zs_deque_bottom(deque);

	/* relaxed: a thief may pass in the next moment in any case. */
	if (atomic_load_explicit(&deque->top, memory_order_relaxed) >= bottom)
		return NULL;
	return zs_deque_item(zs_deque_own_array(deque), bottom - 1);
}

/* Owner, whom zs_deque_peek_bottom() has shown @item just now. Takes it, unless
 * a thief was quicker. */
static ZS_ALWAYS_INLINE bool zs_deque_claim_bottom(struct zs_deque *deque,
						   const void *item)
{
	if (!deque->alone)
		return zs_deque_take_contended(deque) == item;
	/* relaxed: there are no thieves; only the dump looks on. */
	atomic_store_explicit(&deque->bottom, zs_deque_bottom(deque) - 1,
			      memory_order_relaxed);
	return true;
}

/* Owner. The item pushed last, NULL if empty. */
static ZS_ALWAYS_INLINE void *zs_deque_take_bottom(struct zs_deque *deque)
{
	int64_t bottom = zs_deque_bottom(deque);

	if (!deque->alone)
		return zs_deque_take_contended(deque);
	/* relaxed, both: there are no thieves; only the dump looks on. */
	if (atomic_load_explicit(&deque->top, memory_order_relaxed) == bottom)
		return NULL;
	atomic_store_explicit(&deque->bottom, bottom - 1, memory_order_relaxed);
	return zs_deque_item(zs_deque_own_array(deque), bottom - 1);
}

/* Owner. The oldest item, NULL if empty (a thief may have won the last). */
static ZS_ALWAYS_INLINE void *zs_deque_take_top(struct zs_deque *deque)
{
	int64_t top;

	if (!deque->alone)
		return zs_deque_take_top_contended(deque);
	/* relaxed, both: as in zs_deque_take_bottom(). */
	top = atomic_load_explicit(&deque->top, memory_order_relaxed);
	if (top == zs_deque_bottom(deque))
		return NULL;
	atomic_store_explicit(&deque->top, top + 1, memory_order_relaxed);
	return zs_deque_item(zs_deque_own_array(deque), top);
}

#endif
