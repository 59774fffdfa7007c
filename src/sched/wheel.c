/* SPDX-License-Identifier: MIT */
/*
 * Timer wheel. Called by one worker, on its own thread: its loop asks for the
 * next point in time and expires; sleeps and deadlines start and cancel.
 *
 * A timer lies at the level of the highest group of six bits in which its tick
 * differs from now_tick, in the slot that its own group names. Hence within a
 * level all slots are in order of time and ahead of now_tick's own, all of a
 * level comes before all of the next one, and the earliest timer is in the
 * lowest slot of the lowest level that has any. 47 bits of ticks are all there
 * is, so there is no deadline that does not fit.
 */
#include "sched/wheel.h"

#include <assert.h>

#include "base/assert.h"

enum { SCAN_LIMIT = 8 };

static_assert(ZS_WHEEL_LEVELS * ZS_WHEEL_SLOT_BITS + ZS_WHEEL_TICK_SHIFT >= 63,
	      "every deadline has a slot");

static struct zs_timer *timer_of(struct zs_list *node)
{
	return zs_container_of(node, struct zs_timer, node);
}

/* The lowest slot of the lowest level in use; false if there is none. */
static bool find_earliest(const struct zs_wheel *wheel, unsigned int *level,
			  unsigned int *slot)
{
	for (unsigned int i = 0; i < ZS_WHEEL_LEVELS; i++) {
		if (!wheel->occupied[i])
			continue;
		*level = i;
		*slot = (unsigned int)__builtin_ctzll(wheel->occupied[i]);
		return true;
	}
	return false;
}

/* The first tick of a slot, given that it lies ahead. */
static int64_t first_tick(const struct zs_wheel *wheel, unsigned int level,
			  unsigned int slot)
{
	unsigned int shift = level * ZS_WHEEL_SLOT_BITS;
	uint64_t above = ~UINT64_C(0) << (shift + ZS_WHEEL_SLOT_BITS);

	return (int64_t)(((uint64_t)wheel->now_tick & above) |
			 (uint64_t)slot << shift);
}

static struct zs_list *slot_list(struct zs_wheel *wheel, unsigned int level,
				 unsigned int slot)
{
	return &wheel->slots[level * ZS_WHEEL_SLOTS + slot];
}

static ZS_ALWAYS_INLINE void place(struct zs_wheel *wheel,
				   struct zs_timer *timer)
{
	int64_t tick = timer->deadline_ns >> ZS_WHEEL_TICK_SHIFT;
	uint64_t differs;
	unsigned int level, slot;

	if (tick < wheel->now_tick)
		tick = wheel->now_tick;
	/* | 1: level 0 it is, where nothing differs. */
	differs = (uint64_t)(tick ^ wheel->now_tick) | 1;
	level = (63u - (unsigned int)__builtin_clzll(differs)) /
		ZS_WHEEL_SLOT_BITS;
	slot = (uint64_t)tick >> (level * ZS_WHEEL_SLOT_BITS) &
	       (ZS_WHEEL_SLOTS - 1);
	zs_list_append(slot_list(wheel, level, slot), &timer->node);
	wheel->occupied[level] |= UINT64_C(1) << slot;
}

/* A list whose last node went is its head alone: then both neighbours of that
 * node were the head, whose place tells the slot. The list of those about to
 * fire is no slot. */
static ZS_ALWAYS_INLINE void unlink_timer(struct zs_wheel *wheel,
					  struct zs_timer *timer)
{
	struct zs_list *next = timer->node.next;
	uintptr_t index;

	zs_list_remove(&timer->node);
	timer->node.next = NULL;
	wheel->num_armed--;
	if (!zs_list_empty(next))
		return;
	index = ((uintptr_t)next - (uintptr_t)wheel->slots) / sizeof(*next);
	if (index < ZS_WHEEL_LEVELS * ZS_WHEEL_SLOTS)
		wheel->occupied[index / ZS_WHEEL_SLOTS] &=
			~(UINT64_C(1) << index % ZS_WHEEL_SLOTS);
}

/* Moves all nodes of @from, which is not empty, to the end of @to. */
static void splice(struct zs_list *to, struct zs_list *from)
{
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	zs_list_init(from);
}

/* Empties a slot into @nodes. */
static void take_slot(struct zs_wheel *wheel, unsigned int level,
		      unsigned int slot, struct zs_list *nodes)
{
	splice(nodes, slot_list(wheel, level, slot));
	wheel->occupied[level] &= ~(UINT64_C(1) << slot);
}

static ZS_ALWAYS_INLINE void sort_one(struct zs_wheel *wheel,
				      struct zs_list *node, int64_t now_ns,
				      struct zs_list *due)
{
	struct zs_timer *timer = timer_of(node);

	if (timer->deadline_ns <= now_ns)
		zs_list_append(due, node);
	else
		place(wheel, timer);
}

/* Those of @nodes that are due go to @due, the others where they belong from
 * now_tick on. From both ends at once: each step waits for the memory of a
 * timer that is out of every cache, and so two wait together. */
static void sort_out(struct zs_wheel *wheel, struct zs_list *nodes,
		     int64_t now_ns, struct zs_list *due)
{
	struct zs_list *first = nodes->next, *last = nodes->prev;

	while (first != last) {
		struct zs_list *next = first->next, *prev = last->prev;

		sort_one(wheel, first, now_ns, due);
		sort_one(wheel, last, now_ns, due);
		if (next == last)
			return;
		first = next;
		last = prev;
	}
	if (first != nodes)
		sort_one(wheel, first, now_ns, due);
}

/* Brings the wheel to @now_ns. Each turn deals with one slot that has timers,
 * whatever the time between them. */
static void advance(struct zs_wheel *wheel, int64_t now_ns, struct zs_list *due)
{
	int64_t target = now_ns >> ZS_WHEEL_TICK_SHIFT;
	unsigned int level, slot;

	if (target < wheel->now_tick)
		target = wheel->now_tick;
	while (find_earliest(wheel, &level, &slot)) {
		int64_t tick = first_tick(wheel, level, slot);
		struct zs_list nodes;

		if (tick > target)
			break;
		if (level == 0 && tick < target) {
			take_slot(wheel, level, slot, due);
			continue;
		}
		zs_list_init(&nodes);
		take_slot(wheel, level, slot, &nodes);
		wheel->now_tick = tick;
		sort_out(wheel, &nodes, now_ns, due);
		/* What is left in the current tick is not due yet. */
		if (tick == target && level == 0)
			break;
	}
	wheel->now_tick = target;
}

void zs_wheel_init(struct zs_wheel *wheel, int64_t now_ns)
{
	wheel->now_tick = now_ns >> ZS_WHEEL_TICK_SHIFT;
	wheel->num_armed = 0;
	for (unsigned int i = 0; i < ZS_WHEEL_LEVELS; i++)
		wheel->occupied[i] = 0;
	for (unsigned int i = 0; i < ZS_WHEEL_LEVELS * ZS_WHEEL_SLOTS; i++)
		zs_list_init(&wheel->slots[i]);
}

void zs_wheel_start(struct zs_wheel *wheel, struct zs_timer *timer,
		    int64_t deadline_ns)
{
	ZS_ASSERT(!zs_timer_armed(timer));
	timer->deadline_ns = deadline_ns;
	wheel->num_armed++;
	place(wheel, timer);
}

bool zs_wheel_cancel(struct zs_wheel *wheel, struct zs_timer *timer)
{
	if (!zs_timer_armed(timer))
		return false;
	unlink_timer(wheel, timer);
	return true;
}

uint64_t zs_wheel_expire(struct zs_wheel *wheel, int64_t now_ns)
{
	struct zs_list due;
	uint64_t fired = 0;

	/* All that are due leave the slots before the first fires, so that what
	 * a fire() starts waits for the next expire, and what it cancels is
	 * still linked. */
	zs_list_init(&due);
	advance(wheel, now_ns, &due);
	while (!zs_list_empty(&due)) {
		struct zs_timer *timer = timer_of(due.next);

		__builtin_prefetch(timer->node.next->next);
		unlink_timer(wheel, timer);
		timer->fire(timer);
		fired++;
	}
	return fired;
}

int64_t zs_wheel_next(const struct zs_wheel *wheel)
{
	const struct zs_list *list, *node;
	int64_t earliest = INT64_MAX;
	unsigned int level, slot, scanned = 0;

	if (!find_earliest(wheel, &level, &slot))
		return INT64_MAX;
	list = &wheel->slots[level * ZS_WHEEL_SLOTS + slot];
	for (node = list->next; node != list; node = node->next) {
		int64_t deadline_ns =
			zs_container_of(node, const struct zs_timer, node)
				->deadline_ns;

		if (deadline_ns < earliest)
			earliest = deadline_ns;
		if (++scanned == SCAN_LIMIT)
			break;
	}
	/* In one tick the earliest of some is close enough to that of all; a
	 * long slot of a higher level has to be spread out first. */
	if (level == 0 || scanned < SCAN_LIMIT)
		return earliest;
	return first_tick(wheel, level, slot) << ZS_WHEEL_TICK_SHIFT;
}
