/* SPDX-License-Identifier: MIT */
/*
 * Timer wheel of one worker: hierarchical, 64 slots a level, a tick of 65,536
 * ns. Start and cancel are O(1); a timer fires when its exact deadline has
 * passed, never early, and at most one tick late by the wheel's doing.
 *
 * Timers are the caller's memory, linked in while they are armed.
 */
#ifndef ZS_SCHED_WHEEL_H
#define ZS_SCHED_WHEEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/list.h"

enum {
	ZS_WHEEL_TICK_SHIFT = 16,
	ZS_WHEEL_SLOT_BITS = 6,
	ZS_WHEEL_SLOTS = 1 << ZS_WHEEL_SLOT_BITS,
	ZS_WHEEL_LEVELS = 8, /* 64^8 ticks: 500 years, so all that fits int64 */
};

/* Two to a cache line. Zeroed memory is an unarmed timer. */
struct zs_timer {
	struct zs_list node; /* next is NULL while unarmed */
	int64_t deadline_ns;
	/* Worker's thread, from zs_wheel_expire(); the timer is unarmed and
	 * may be started again or be gone when it returns. */
	void (*fire)(struct zs_timer *timer);
};

static inline bool zs_timer_armed(const struct zs_timer *timer)
{
	return timer->node.next != NULL;
}

struct zs_wheel {
	int64_t now_tick; /* of the last expire: all before it have fired */
	uint64_t occupied[ZS_WHEEL_LEVELS]; /* a bit a slot */
	uint64_t num_armed;
	struct zs_list slots[ZS_WHEEL_LEVELS * ZS_WHEEL_SLOTS];
};

void zs_wheel_init(struct zs_wheel *wheel, int64_t now_ns);

/* @timer must be unarmed, its fire set. A deadline in the past fires at the
 * next expire. ZS_NEVER is not a deadline: the caller does not start it. */
void zs_wheel_start(struct zs_wheel *wheel, struct zs_timer *timer,
		    int64_t deadline_ns);
/* False if it was not armed. */
bool zs_wheel_cancel(struct zs_wheel *wheel, struct zs_timer *timer);

/* Fires all whose deadline is <= @now_ns; how many. A fire() may start and
 * cancel timers; one that it starts does not fire before the next expire. */
uint64_t zs_wheel_expire(struct zs_wheel *wheel, int64_t now_ns);

/* When to call expire next: no later than the end of the tick of the earliest
 * deadline, exactly at it where few timers are close, and not before something
 * is to be done (a timer due or a level to be spread out). INT64_MAX if none is
 * armed. */
int64_t zs_wheel_next(const struct zs_wheel *wheel);

#endif
