/* SPDX-License-Identifier: MIT */
/*
 * Work-stealing deque: growth, thieves, and the owner when there are thieves.
 * Called by workers: each owns one deque and steals from the others.
 */
#include "base/deque.h"

#include <errno.h>
#include <stdlib.h>

#include "base/assert.h"

static struct zs_deque_array *create_array(int64_t capacity)
{
	struct zs_deque_array *array;
	int saved_errno = errno;

	array = malloc(sizeof(*array) +
		       (size_t)capacity * sizeof(array->items[0]));
	errno = saved_errno;
	if (!array)
		return NULL;
	array->previous = NULL;
	array->mask = capacity - 1;
	for (int64_t i = 0; i < capacity; i++)
		atomic_init(&array->items[i], NULL);
	return array;
}

static void copy_items(struct zs_deque_array *to, struct zs_deque_array *from,
		       int64_t top, int64_t bottom)
{
	/* relaxed: published with the array. */
	for (int64_t i = top; i < bottom; i++)
		atomic_store_explicit(&to->items[i & to->mask],
				      zs_deque_item(from, i),
				      memory_order_relaxed);
}

/* True if this thread took the item at @top.
 * seq_cst: in the total order with the owner's look at top in
 * zs_deque_take_contended(). Its release half publishes to the owner's acquire
 * in zs_deque_grow() that the slot has been read and may be used again.
 * relaxed on failure: nothing was taken. */
static bool claim(struct zs_deque *deque, int64_t top)
{
	return atomic_compare_exchange_strong_explicit(&deque->top, &top,
						       top + 1,
						       memory_order_seq_cst,
						       memory_order_relaxed);
}

int zs_deque_init(struct zs_deque *deque, int64_t capacity, bool alone)
{
	struct zs_deque_array *array;

	ZS_ASSERT(capacity > 0);
	ZS_ASSERT((capacity & (capacity - 1)) == 0);
	array = create_array(capacity);
	if (!array)
		return -ENOMEM;
	atomic_init(&deque->top, 0);
	atomic_init(&deque->bottom, 0);
	atomic_init(&deque->array, array);
	deque->top_seen = 0;
	deque->alone = alone;
	return 0;
}

void zs_deque_fini(struct zs_deque *deque)
{
	struct zs_deque_array *array = zs_deque_own_array(deque);
	struct zs_deque_array *previous;

	for (; array; array = previous) {
		previous = array->previous;
		free(array);
	}
	/* relaxed: nobody else is left. */
	atomic_store_explicit(&deque->array, NULL, memory_order_relaxed);
}

int zs_deque_grow(struct zs_deque *deque)
{
	struct zs_deque_array *array = zs_deque_own_array(deque);
	int64_t bottom = zs_deque_bottom(deque);
	struct zs_deque_array *grown;

	/* acquire: pairs with the compare-exchange in claim(): the slots below
	 * have been read by those who took them. */
	deque->top_seen =
		atomic_load_explicit(&deque->top, memory_order_acquire);
	if (bottom - deque->top_seen <= array->mask)
		return 0;
	grown = create_array((array->mask + 1) * 2);
	if (!grown)
		return -ENOMEM;
	copy_items(grown, array, deque->top_seen, bottom);
	grown->previous = array;
	/* release: publishes the copies to the load in zs_deque_steal(). */
	atomic_store_explicit(&deque->array, grown, memory_order_release);
	return 0;
}

void *zs_deque_take_contended(struct zs_deque *deque)
{
	int64_t bottom = zs_deque_bottom(deque) - 1;
	int64_t top;
	void *item;

	/* relaxed: top only counts up, so that what looks empty is empty. It
	 * spares the store below when there is nothing to take. */
	if (atomic_load_explicit(&deque->top, memory_order_relaxed) > bottom)
		return NULL;
	/* seq_cst, both: claim the bottom item first, then look for thieves;
	 * the partners are the loads in zs_deque_steal(), in the other order,
	 * and the compare-exchange in claim(). An exchange where a store would
	 * do: x86 has the same instruction for both, and qemu-user (7.2) on x86
	 * lets an arm64 load-acquire pass a store-release before it. */
	atomic_exchange_explicit(&deque->bottom, bottom, memory_order_seq_cst);
	top = atomic_load_explicit(&deque->top, memory_order_seq_cst);
	item = zs_deque_item(zs_deque_own_array(deque), bottom);
	if (top < bottom)
		return item;
	/* At most one is left: thieves and owner settle it at the top. */
	if (top > bottom || !claim(deque, top))
		item = NULL;
	/* release: every store of bottom is one, so that whichever of them a
	 * thief reads, it sees the items below. */
	atomic_store_explicit(&deque->bottom, bottom + 1, memory_order_release);
	return item;
}

void *zs_deque_take_top_contended(struct zs_deque *deque)
{
	int64_t bottom = zs_deque_bottom(deque);

	for (;;) {
		/* relaxed: the items are the owner's own, and a stale top only
		 * makes the claim fail once. */
		int64_t top =
			atomic_load_explicit(&deque->top, memory_order_relaxed);
		void *item;

		if (top >= bottom)
			return NULL;
		item = zs_deque_item(zs_deque_own_array(deque), top);
		if (claim(deque, top))
			return item;
	}
}

void *zs_deque_steal(struct zs_deque *deque)
{
	/* seq_cst, both and in this order: the partners of the owner's store
	 * of bottom and load of top in zs_deque_take_contended(). The load of
	 * bottom also acquires what zs_deque_push() released. */
	int64_t top = atomic_load_explicit(&deque->top, memory_order_seq_cst);
	int64_t bottom =
		atomic_load_explicit(&deque->bottom, memory_order_seq_cst);
	struct zs_deque_array *array;
	void *item;

	if (top >= bottom)
		return NULL;
	/* acquire: pairs with the release in zs_deque_grow(). An older array
	 * is as good: it keeps all that it held when it was replaced. */
	array = atomic_load_explicit(&deque->array, memory_order_acquire);
	item = zs_deque_item(array, top);
	if (!claim(deque, top))
		return NULL;
	return item;
}

int64_t zs_deque_size(struct zs_deque *deque)
{
	/* relaxed: a count that is out of date when it arrives. */
	int64_t top = atomic_load_explicit(&deque->top, memory_order_relaxed);
	int64_t bottom =
		atomic_load_explicit(&deque->bottom, memory_order_relaxed);

	return bottom > top ? bottom - top : 0;
}
