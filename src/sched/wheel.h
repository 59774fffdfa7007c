/* SPDX-License-Identifier: MIT */
/*
 * Timer wheel of one worker: hierarchical, 256 slots a level, a tick of 1,024
 * ns. Start and cancel are O(1). A timer fires when its exact deadline has
 * passed, never early; those that are due fire in the order of their ticks.
 *
 * Timers are the caller's memory, linked in while they are armed; struct
 * zs_timer is the public one of zsync/time.h, where its life is described.
 */
#ifndef ZS_SCHED_WHEEL_H
#define ZS_SCHED_WHEEL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "zsync/time.h"

enum {
	ZS_WHEEL_TICK_SHIFT = 10,
	ZS_WHEEL_SLOT_BITS = 8,
	ZS_WHEEL_SLOTS = 1 << ZS_WHEEL_SLOT_BITS,
	ZS_WHEEL_LEVELS = 7, /* 256^7 ticks: more than int64 has */
	ZS_WHEEL_NUM_SLOTS = ZS_WHEEL_LEVELS * ZS_WHEEL_SLOTS,
	ZS_WHEEL_WORDS = ZS_WHEEL_NUM_SLOTS / 64,
	/* Lists a slot. To walk one is to wait for the memory of each timer in
	 * turn; several are waited for together. */
	ZS_WHEEL_LANES = 8,
	/* Where so many of a batch's ticks have timers, they are dealt with at
	 * once, at its end: to be woken for each costs more than the timers. */
	ZS_WHEEL_CROWD = 8,
	ZS_WHEEL_BATCH = 128,
};

static inline bool zs_timer_armed(const struct zs_timer *timer)
{
	return timer->link != NULL;
}

struct zs_wheel {
	int64_t now_tick; /* of the last expire: all before it have fired */
	uint32_t words;	  /* a bit for each word of occupied that is not 0 */
	/* While an expire goes on: what is started for this tick or before it
	 * is held until the end, so that it waits for the next expire. */
	int64_t held_tick;
	struct zs_timer *held;
	/* Written by the worker; read by anyone, relaxed. */
	_Atomic uint64_t num_started;
	_Atomic uint64_t num_fired;
	_Atomic uint64_t num_cancelled;	   /* while armed */
	uint64_t occupied[ZS_WHEEL_WORDS]; /* a bit a slot */
	/* A line of the cache a slot. */
	_Alignas(64) struct zs_timer *slots[ZS_WHEEL_NUM_SLOTS][ZS_WHEEL_LANES];
};

/* Its own thread. */
static ZS_ALWAYS_INLINE bool zs_wheel_is_empty(const struct zs_wheel *wheel)
{
	return wheel->words == 0;
}

/* Any thread; while it changes, a recent value. */
uint64_t zs_wheel_num_armed(const struct zs_wheel *wheel);

void zs_wheel_init(struct zs_wheel *wheel, int64_t now_ns);

/* @timer must be unarmed, its fn set. A deadline in the past fires at the next
 * expire. One at ZS_NEVER stays armed. */
void zs_wheel_start(struct zs_wheel *wheel, struct zs_timer *timer,
		    int64_t deadline_ns);
/* False if it was not armed. */
bool zs_wheel_cancel(struct zs_wheel *wheel, struct zs_timer *timer);

/* Fires all whose deadline is <= @now_ns; how many. A timer's function may
 * start and cancel timers; one that it starts does not fire before the next
 * expire. */
uint64_t zs_wheel_expire(struct zs_wheel *wheel, int64_t now_ns);

/* When to call expire next: at the earliest deadline, exactly, or in a crowd at
 * most a batch of ticks after it; sooner if a long slot has to be spread out
 * first. INT64_MAX if no timer will ever fire. */
int64_t zs_wheel_next(const struct zs_wheel *wheel);

/* A point in time before which none fires, INT64_MAX if none is armed. For the
 * dump: reads no timer, and may be called while the wheel changes. */
int64_t zs_wheel_not_before(const struct zs_wheel *wheel);

/* Unarms all, without a call. */
void zs_wheel_drop(struct zs_wheel *wheel);

#endif
