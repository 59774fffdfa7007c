/* SPDX-License-Identifier: MIT */
/*
 * Timer wheel. Called by one worker, on its own thread: its loop asks for the
 * next point in time and expires; sleeps, deadlines and timers start and
 * cancel.
 *
 * A timer lies at the level of the highest group of eight bits in which its
 * tick differs from now_tick, in the slot that its own group names. Hence
 * within a level all slots are in order of time and ahead of now_tick's own,
 * all of a level comes before all of the next one, and the earliest timer is in
 * the lowest slot of the lowest level that has any. Slots are numbered through
 * all levels, so that this is the lowest number. 53 bits of ticks are all there
 * is, so there is no deadline that does not fit.
 *
 * Nearly all time goes by in waiting for timers that are out of every cache. A
 * start touches none but its own and the one that was started before it into
 * the same list; a timer that is started a second or a minute ahead is then
 * touched twice from afar, when a long slot is spread out, and from then on in
 * the cache. The last spreading, to single ticks, is what sorts them.
 */
#include "sched/wheel.h"

#include <assert.h>

#include "base/assert.h"

#define SLOT_MASK ((uint64_t)ZS_WHEEL_SLOTS - 1)

enum { SCAN_LIMIT = 8 };

static_assert(ZS_WHEEL_LEVELS * ZS_WHEEL_SLOT_BITS + ZS_WHEEL_TICK_SHIFT >= 63,
	      "every deadline has a slot");
static_assert(ZS_WHEEL_WORDS <= 32, "a bit a word");
static_assert(ZS_WHEEL_BATCH == 128, "two words of occupied");

/* relaxed: a number that publishes nothing. How many it was before. */
static ZS_ALWAYS_INLINE uint64_t count(_Atomic uint64_t *counter)
{
	uint64_t old = atomic_load_explicit(counter, memory_order_relaxed);

	atomic_store_explicit(counter, old + 1, memory_order_relaxed);
	return old;
}

/* relaxed: as above. */
static uint64_t get(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

/* --- slots --- */

/* The lowest slot in use; there must be one. */
static ZS_ALWAYS_INLINE unsigned int earliest_slot(const struct zs_wheel *wheel)
{
	unsigned int word = (unsigned int)__builtin_ctz(wheel->words);

	return word * 64 + (unsigned int)__builtin_ctzll(wheel->occupied[word]);
}

/* The first tick of a slot, given that it lies ahead. */
static int64_t first_tick(const struct zs_wheel *wheel, unsigned int slot)
{
	unsigned int shift = slot / ZS_WHEEL_SLOTS * ZS_WHEEL_SLOT_BITS;
	uint64_t above = ~UINT64_C(0) << shift << ZS_WHEEL_SLOT_BITS;

	return (int64_t)(((uint64_t)wheel->now_tick & above) |
			 (slot & SLOT_MASK) << shift);
}

static ZS_ALWAYS_INLINE void mark(struct zs_wheel *wheel, unsigned int slot)
{
	wheel->occupied[slot / 64] |= UINT64_C(1) << slot % 64;
	wheel->words |= UINT32_C(1) << slot / 64;
}

static ZS_ALWAYS_INLINE void unmark(struct zs_wheel *wheel, unsigned int slot)
{
	wheel->occupied[slot / 64] &= ~(UINT64_C(1) << slot % 64);
	if (wheel->occupied[slot / 64] == 0)
		wheel->words &= ~(UINT32_C(1) << slot / 64);
}

/* --- lists --- */

static ZS_ALWAYS_INLINE void push(struct zs_timer **head,
				  struct zs_timer *timer)
{
	struct zs_timer *first = *head;

	timer->next = first;
	timer->link = head;
	if (first)
		first->link = &timer->next;
	*head = timer;
}

static ZS_ALWAYS_INLINE void place(struct zs_wheel *wheel,
				   struct zs_timer *timer, unsigned int lane)
{
	int64_t tick = timer->deadline_ns >> ZS_WHEEL_TICK_SHIFT;
	unsigned int level, slot;
	uint64_t differs;

	if (tick < wheel->now_tick)
		tick = wheel->now_tick;
	/* | 1: level 0 it is, where nothing differs. */
	differs = (uint64_t)(tick ^ wheel->now_tick) | 1;
	level = (63u - (unsigned int)__builtin_clzll(differs)) /
		ZS_WHEEL_SLOT_BITS;
	slot = level * ZS_WHEEL_SLOTS +
	       (unsigned int)((uint64_t)tick >> (level * ZS_WHEEL_SLOT_BITS) &
			      SLOT_MASK);
	/* The lowest level's are in the cache: one list will do. */
	push(&wheel->slots[slot][level == 0 ? 0 : lane], timer);
	mark(wheel, slot);
}

/* A list of the slot that begins at @offset has become empty: perhaps the last
 * that was not. */
static ZS_NOINLINE void unmark_if_empty(struct zs_wheel *wheel,
					uintptr_t offset)
{
	unsigned int slot = (unsigned int)(offset / sizeof(wheel->slots[0]));
	unsigned int lane;

	for (lane = 0; lane < ZS_WHEEL_LANES; lane++) {
		if (wheel->slots[slot][lane])
			return;
	}
	unmark(wheel, slot);
}

static ZS_ALWAYS_INLINE void unlink_timer(struct zs_wheel *wheel,
					  struct zs_timer *timer)
{
	struct zs_timer *next = timer->next;
	struct zs_timer **link = timer->link;
	uintptr_t offset;

	*link = next;
	timer->link = NULL;
	if (next) {
		next->link = link;
		return;
	}
	/* The last of a list. If it was the first, too, the head that it hung
	 * on tells the slot; but the list of those that are about to fire is in
	 * no slot. */
	offset = (uintptr_t)link - (uintptr_t)wheel->slots;
	if (offset < sizeof(wheel->slots))
		unmark_if_empty(wheel, offset);
}

/* Those that are about to fire, in order. */
struct due {
	struct zs_timer *first;
	struct zs_timer **last;
};

static ZS_ALWAYS_INLINE void append(struct due *due, struct zs_timer *timer)
{
	timer->link = due->last;
	*due->last = timer;
	due->last = &timer->next;
}

/* --- expiry --- */

/* Puts the timers of a slot of a higher level where they belong from now_tick
 * on, which is its first tick. One of each lane in turn, so that the memory of
 * all lanes is under way at once. */
static void spread_out(struct zs_wheel *wheel, unsigned int slot)
{
	struct zs_timer *lanes[ZS_WHEEL_LANES];
	unsigned int lane;
	bool more;

	for (lane = 0; lane < ZS_WHEEL_LANES; lane++) {
		lanes[lane] = wheel->slots[slot][lane];
		wheel->slots[slot][lane] = NULL;
	}
	unmark(wheel, slot);
	do {
		more = false;
		for (lane = 0; lane < ZS_WHEEL_LANES; lane++) {
			struct zs_timer *timer = lanes[lane];

			if (!timer)
				continue;
			lanes[lane] = timer->next;
			__builtin_prefetch(timer->next, 1);
			place(wheel, timer, lane);
			more = true;
		}
	} while (more);
}

/* Of a slot of the lowest level, those that are due at @now_ns. */
static void take_due(struct zs_wheel *wheel, unsigned int slot, int64_t now_ns,
		     struct due *due)
{
	struct zs_timer *timer, *next;

	for (timer = wheel->slots[slot][0]; timer; timer = next) {
		next = timer->next;
		if (timer->deadline_ns > now_ns)
			continue;
		/* The call comes when all are collected. */
		__builtin_prefetch(&timer->arg);
		unlink_timer(wheel, timer);
		append(due, timer);
	}
}

/* Collects those that are due at @now_ns, which is in tick @target. A turn of
 * the loop deals with one slot that has timers, whatever the time between them.
 * Stops before a long slot if it has got some, so that they are called while
 * they are in the cache. */
static void advance(struct zs_wheel *wheel, int64_t target, int64_t now_ns,
		    struct due *due)
{
	while (wheel->words) {
		unsigned int slot = earliest_slot(wheel);
		int64_t tick = first_tick(wheel, slot);

		if (tick > target)
			return;
		if (slot >= ZS_WHEEL_SLOTS && due->last != &due->first)
			return;
		wheel->now_tick = tick;
		if (slot >= ZS_WHEEL_SLOTS) {
			spread_out(wheel, slot);
			continue;
		}
		take_due(wheel, slot, now_ns, due);
		/* What is left in the current tick is not due yet. */
		if (tick == target)
			return;
	}
}

static uint64_t call_all(struct zs_wheel *wheel, struct due *due)
{
	uint64_t called = 0;

	*due->last = NULL;
	while (due->first) {
		struct zs_timer *timer = due->first;

		unlink_timer(wheel, timer);
		__builtin_prefetch(timer->next);
		count(&wheel->num_fired);
		timer->fn(timer, timer->arg);
		called++;
	}
	due->last = &due->first;
	return called;
}

static void release_held(struct zs_wheel *wheel)
{
	while (wheel->held) {
		struct zs_timer *timer = wheel->held;

		unlink_timer(wheel, timer);
		place(wheel, timer, 0);
	}
}

void zs_wheel_init(struct zs_wheel *wheel, int64_t now_ns)
{
	*wheel = (struct zs_wheel){
		.now_tick = now_ns >> ZS_WHEEL_TICK_SHIFT,
		.held_tick = INT64_MIN,
	};
}

void zs_wheel_start(struct zs_wheel *wheel, struct zs_timer *timer,
		    int64_t deadline_ns)
{
	uint64_t number = count(&wheel->num_started);

	ZS_ASSERT(!zs_timer_armed(timer));
	timer->deadline_ns = deadline_ns;
	if (zs_unlikely(deadline_ns >> ZS_WHEEL_TICK_SHIFT <= wheel->held_tick))
		push(&wheel->held, timer);
	else
		place(wheel, timer, number % ZS_WHEEL_LANES);
}

uint64_t zs_wheel_num_armed(const struct zs_wheel *wheel)
{
	/* The last first: what is read later can only be more. */
	uint64_t gone = get(&wheel->num_cancelled) + get(&wheel->num_fired);

	return get(&wheel->num_started) - gone;
}

bool zs_wheel_cancel(struct zs_wheel *wheel, struct zs_timer *timer)
{
	if (!zs_timer_armed(timer))
		return false;
	unlink_timer(wheel, timer);
	count(&wheel->num_cancelled);
	return true;
}

uint64_t zs_wheel_expire(struct zs_wheel *wheel, int64_t now_ns)
{
	struct due due = { .first = NULL, .last = &due.first };
	int64_t target = now_ns >> ZS_WHEEL_TICK_SHIFT;
	uint64_t fired = 0, called;

	if (target < wheel->now_tick)
		target = wheel->now_tick;
	wheel->held_tick = target;
	/* The last turn calls none: it spreads out what the functions have
	 * started in the long slots that @target is in. */
	do {
		advance(wheel, target, now_ns, &due);
		called = call_all(wheel, &due);
		fired += called;
	} while (called > 0);
	wheel->now_tick = target;
	wheel->held_tick = INT64_MIN;
	release_held(wheel);
	return fired;
}

/* The earliest deadline of a slot, or INT64_MIN if there are so many that it
 * does not pay to look. */
static int64_t earliest_of(const struct zs_wheel *wheel, unsigned int slot)
{
	const struct zs_timer *timer;
	int64_t earliest = INT64_MAX;
	unsigned int lane, scanned = 0;

	for (lane = 0; lane < ZS_WHEEL_LANES; lane++) {
		timer = wheel->slots[slot][lane];
		for (; timer; timer = timer->next) {
			if (scanned++ == SCAN_LIMIT)
				return INT64_MIN;
			if (timer->deadline_ns < earliest)
				earliest = timer->deadline_ns;
		}
	}
	return earliest;
}

/* The last nanosecond of a tick. */
static int64_t end_of(int64_t tick)
{
	return (int64_t)((uint64_t)tick << ZS_WHEEL_TICK_SHIFT |
			 ((UINT64_C(1) << ZS_WHEEL_TICK_SHIFT) - 1));
}

/* Of a slot of the lowest level: have many of its batch's slots timers? */
static bool is_crowded(const struct zs_wheel *wheel, unsigned int slot)
{
	const uint64_t *words = &wheel->occupied[slot / ZS_WHEEL_BATCH * 2];

	return __builtin_popcountll(words[0]) +
		       __builtin_popcountll(words[1]) >=
	       ZS_WHEEL_CROWD;
}

int64_t zs_wheel_next(const struct zs_wheel *wheel)
{
	unsigned int slot;
	int64_t tick, earliest;

	if (!wheel->words)
		return INT64_MAX;
	slot = earliest_slot(wheel);
	tick = first_tick(wheel, slot);
	if (slot < ZS_WHEEL_SLOTS && is_crowded(wheel, slot))
		return end_of(tick | (ZS_WHEEL_BATCH - 1));
	earliest = earliest_of(wheel, slot);
	if (earliest != INT64_MIN)
		return earliest;
	/* All of a tick at its end; a long slot has to be spread out first. */
	if (slot < ZS_WHEEL_SLOTS)
		return end_of(tick);
	return tick << ZS_WHEEL_TICK_SHIFT;
}

ZS_RACY int64_t zs_wheel_not_before(const struct zs_wheel *wheel)
{
	uint32_t words = wheel->words;
	unsigned int word;
	uint64_t slots;

	if (!words)
		return INT64_MAX;
	word = (unsigned int)__builtin_ctz(words);
	slots = wheel->occupied[word];
	if (!slots)
		return INT64_MAX;
	return first_tick(wheel,
			  word * 64 + (unsigned int)__builtin_ctzll(slots))
	       << ZS_WHEEL_TICK_SHIFT;
}

void zs_wheel_drop(struct zs_wheel *wheel)
{
	unsigned int slot, lane;

	while (wheel->words) {
		slot = earliest_slot(wheel);
		for (lane = 0; lane < ZS_WHEEL_LANES; lane++) {
			while (wheel->slots[slot][lane])
				zs_wheel_cancel(wheel,
						wheel->slots[slot][lane]);
		}
	}
}
