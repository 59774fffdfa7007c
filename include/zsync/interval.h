/* SPDX-License-Identifier: MIT */
/* Doing things at a pace: intervals and rate limiters. */
#ifndef ZSYNC_INTERVAL_H
#define ZSYNC_INTERVAL_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What becomes of the ticks of an interval whose task comes a period late, or
 * later. Less than that is made up for in each case: the next tick is on time.
 */
enum zs_missed {
	/* They come one after the other, without a wait, until it is on time
	 * again. */
	ZS_MISSED_BURST,
	/* They are left out: the next one is the next on the grid of the
	 * first. */
	ZS_MISSED_SKIP,
	/* They are left out, and the grid moves: the next one comes a period
	 * from now. */
	ZS_MISSED_DELAY,
};

/* The caller's memory, for one task at a time. To be read: when the next tick
 * is due. */
struct zs_interval {
	int64_t next_ns;
	int64_t period_ns;
	enum zs_missed policy;
};

/* Any thread. Ticks at @first_ns, a point in time (the past is as good as now),
 * and every @period_ns from then on. -EINVAL: no interval, a period that is not
 * above 0, an unknown policy. */
int zs_interval_init(struct zs_interval *interval, int64_t first_ns,
		     int64_t period_ns, enum zs_missed policy);

/*
 * Task. Parks until the next tick is due, never less, and lets others run even
 * if it is. Returns how many more are due by now: to come at once with
 * ZS_MISSED_BURST, else left out. -ECANCELED or -ETIMEDOUT if the scope was
 * cancelled first: then the tick is still to come. -EINVAL for what is no
 * interval, -EPERM.
 */
int zs_interval_tick(struct zs_interval *interval);

struct zs_rate_waiter;

/*
 * A bucket of @burst tokens, full at first, into which they fall evenly at the
 * rate, and out of which each piece of work takes some before it begins. The
 * caller's memory, which stays where it is until nobody waits any more; all but
 * a look from a debugger is the runtime's own. Tasks of all workers may share
 * it, and those of other runtimes.
 */
struct zs_rate_limiter {
	uint64_t tokens;
	uint64_t period_ns;
	uint64_t burst;
	int64_t start_ns;
	uint64_t taken;
	struct zs_rate_waiter *first;
	struct zs_rate_waiter *last;
	uint32_t lock;
};

/* Any thread, before the others. @tokens fall into it each @period_ns, as
 * (100, ZS_SECOND, ...) or (1, 86400 * ZS_SECOND, ...): at most one a
 * nanosecond. Fractions are not lost, however long it runs. -EINVAL with a
 * text: no limiter, a rate of 0 or above that, a burst of 0 or above 2^62. */
int zs_rate_limiter_init(struct zs_rate_limiter *limiter, uint64_t tokens,
			 int64_t period_ns, uint64_t burst);

/*
 * Task. Takes @tokens (0: nothing happens), and parks until there are so many.
 * Those who wait get theirs in the order in which they came: nobody passes one
 * who wants more. -EINVAL with a text beyond the burst; -ECANCELED or
 * -ETIMEDOUT if the scope was cancelled first: then nothing was taken, and
 * those behind move up. -EPERM.
 */
int zs_rate_limiter_acquire(struct zs_rate_limiter *limiter, uint64_t tokens);

/* Any thread. The same without a wait: -EAGAIN if there are not so many, or
 * somebody waits. */
int zs_rate_limiter_try_acquire(struct zs_rate_limiter *limiter,
				uint64_t tokens);

#ifdef __cplusplus
}
#endif
#endif
