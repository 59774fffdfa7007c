/* SPDX-License-Identifier: MIT */
/* Intervals, called by tasks: sleeps whose points in time are reckoned from
 * each other and not from when the task got round to it. */
#include "zsync/interval.h"

#include <errno.h>
#include <limits.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "base/explain.h"
#include "zsync/time.h"

static int64_t add_time(int64_t time_ns, int64_t more_ns)
{
	int64_t sum_ns;

	return __builtin_add_overflow(time_ns, more_ns, &sum_ns) ? ZS_NEVER :
								   sum_ns;
}

ZS_PUBLIC int zs_interval_init(struct zs_interval *interval, int64_t first_ns,
			       int64_t period_ns, enum zs_missed policy)
{
	if (!interval)
		return zs_explain_none(-EINVAL);
	if (period_ns <= 0)
		return zs_explain_as(-EINVAL,
				     "an interval of %lld ns: a period is "
				     "above 0",
				     (long long)period_ns);
	if (policy != ZS_MISSED_BURST && policy != ZS_MISSED_SKIP &&
	    policy != ZS_MISSED_DELAY)
		return zs_explain_as(-EINVAL, "%d is no enum zs_missed",
				     (int)policy);
	/* Before the clock's beginning is as good as then, and cannot
	 * overflow. */
	interval->next_ns = first_ns > 0 ? first_ns : 0;
	interval->period_ns = period_ns;
	interval->policy = policy;
	return 0;
}

/* The tick of next_ns has come at @now_ns, which is not before it. */
static int64_t move_on(struct zs_interval *interval, int64_t now_ns)
{
	int64_t period_ns = interval->period_ns;
	int64_t missed = (now_ns - interval->next_ns) / period_ns;

	if (missed == 0 || interval->policy == ZS_MISSED_BURST)
		interval->next_ns = add_time(interval->next_ns, period_ns);
	else if (interval->policy == ZS_MISSED_SKIP)
		/* In two steps: the first is not after now. */
		interval->next_ns = add_time(
			interval->next_ns + missed * period_ns, period_ns);
	else
		interval->next_ns = add_time(now_ns, period_ns);
	return missed;
}

ZS_PUBLIC int zs_interval_tick(struct zs_interval *interval)
{
	int64_t missed;
	int ret;

	if (!interval || interval->period_ns <= 0)
		return zs_explain_none(-EINVAL);
	ret = zs_sleep_until(interval->next_ns);
	if (ret < 0)
		return ret;
	missed = move_on(interval, zs_clock_ns());
	return missed > INT_MAX ? INT_MAX : (int)missed;
}
