/* SPDX-License-Identifier: MIT */
/* Intervals: when they tick, and what becomes of the ticks that were missed. */
#include <check.h>
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "runtime.h"

enum { PERIOD_NS = 2000000 };

static int tick_on_a_grid(void *unused)
{
	struct zs_interval interval;
	int64_t first_ns = zs_now() + PERIOD_NS;
	int64_t due_ns;
	int i, missed;

	(void)unused;
	ck_assert_int_eq(zs_interval_init(&interval, first_ns, PERIOD_NS,
					  ZS_MISSED_SKIP),
			 0);
	for (i = 0; i < 5; i++) {
		due_ns = interval.next_ns;
		missed = zs_interval_tick(&interval);
		ck_assert_int_ge(missed, 0);
		ck_assert_int_ge(zs_now(), due_ns);
		ck_assert_int_eq((interval.next_ns - first_ns) % PERIOD_NS, 0);
		ck_assert_int_eq(interval.next_ns,
				 due_ns + (missed + 1) * PERIOD_NS);
	}
	return 0;
}

START_TEST(ticks_are_never_early_and_stay_on_the_grid)
{
	ck_assert_int_eq(run_task(tick_on_a_grid, NULL), 0);
}
END_TEST

/* An hour's period, so that the machine cannot make it late by one more. */
static const int64_t hour_ns = 3600 * ZS_SECOND;

/* The first tick was due two periods and a half ago. */
static struct zs_interval late_interval(enum zs_missed policy, int64_t now_ns)
{
	struct zs_interval interval;

	ck_assert_int_eq(zs_interval_init(&interval, 1, hour_ns, policy), 0);
	interval.next_ns = now_ns - 5 * hour_ns / 2;
	return interval;
}

static int miss_and_burst(void *unused)
{
	int64_t now_ns = zs_now();
	struct zs_interval interval = late_interval(ZS_MISSED_BURST, now_ns);

	(void)unused;
	ck_assert_int_eq(zs_interval_tick(&interval), 2);
	ck_assert_int_eq(zs_interval_tick(&interval), 1);
	ck_assert_int_eq(zs_interval_tick(&interval), 0);
	ck_assert_int_eq(interval.next_ns, now_ns + hour_ns / 2);
	return 0;
}

START_TEST(missed_ticks_come_in_a_burst)
{
	ck_assert_int_eq(run_task(miss_and_burst, NULL), 0);
}
END_TEST

static int miss_and_skip(void *unused)
{
	int64_t now_ns = zs_now();
	struct zs_interval interval = late_interval(ZS_MISSED_SKIP, now_ns);

	(void)unused;
	ck_assert_int_eq(zs_interval_tick(&interval), 2);
	ck_assert_int_eq(interval.next_ns, now_ns + hour_ns / 2);
	return 0;
}

START_TEST(missed_ticks_are_skipped)
{
	ck_assert_int_eq(run_task(miss_and_skip, NULL), 0);
}
END_TEST

static int miss_and_delay(void *unused)
{
	int64_t now_ns = zs_now();
	struct zs_interval interval = late_interval(ZS_MISSED_DELAY, now_ns);

	(void)unused;
	ck_assert_int_eq(zs_interval_tick(&interval), 2);
	ck_assert_int_ge(interval.next_ns, now_ns + hour_ns);
	ck_assert_int_le(interval.next_ns, zs_now() + hour_ns);
	/* Late by less than a period it keeps its pace. */
	interval.next_ns = now_ns - 5;
	ck_assert_int_eq(zs_interval_tick(&interval), 0);
	ck_assert_int_eq(interval.next_ns, now_ns - 5 + hour_ns);
	return 0;
}

START_TEST(missed_ticks_delay_those_that_follow)
{
	ck_assert_int_eq(run_task(miss_and_delay, NULL), 0);
}
END_TEST

static int cancel_a_tick(void *unused)
{
	struct zs_cancel_token token;
	struct zs_interval interval;
	int64_t next_ns;

	(void)unused;
	ck_assert_int_eq(zs_interval_init(&interval, zs_now() + hour_ns,
					  hour_ns, ZS_MISSED_BURST),
			 0);
	next_ns = interval.next_ns;
	ck_assert_int_eq(
		zs_cancel_token_open(&token, zs_now() + ZS_MILLISECOND), 0);
	ck_assert_int_eq(zs_interval_tick(&interval), -ETIMEDOUT);
	ck_assert_int_eq(interval.next_ns, next_ns);
	interval.next_ns = 1;
	ck_assert_int_eq(zs_interval_tick(&interval), -ETIMEDOUT);
	ck_assert_int_eq(interval.next_ns, 1);
	ck_assert_int_eq(zs_cancel_token_close(token), -ETIMEDOUT);
	return 0;
}

START_TEST(a_cancelled_tick_is_still_to_come)
{
	ck_assert_int_eq(run_task(cancel_a_tick, NULL), 0);
}
END_TEST

/* Neither a nanosecond nor all of time overflows. */
static int tick_at_the_edges(void *unused)
{
	struct zs_interval interval;

	(void)unused;
	ck_assert_int_eq(
		zs_interval_init(&interval, INT64_MIN, 1, ZS_MISSED_SKIP), 0);
	ck_assert_int_eq(zs_interval_tick(&interval), INT_MAX);
	ck_assert_int_eq(
		zs_interval_init(&interval, 5, INT64_MAX, ZS_MISSED_BURST), 0);
	ck_assert_int_eq(zs_interval_tick(&interval), 0);
	ck_assert_int_eq(interval.next_ns, ZS_NEVER);
	return 0;
}

START_TEST(periods_may_be_as_short_and_long_as_can_be)
{
	ck_assert_int_eq(run_task(tick_at_the_edges, NULL), 0);
}
END_TEST

START_TEST(what_is_no_interval_is_refused)
{
	struct zs_interval interval;

	memset(&interval, 0, sizeof(interval));
	ck_assert_int_eq(zs_interval_tick(&interval), -EINVAL);
	ck_assert_int_eq(zs_interval_tick(NULL), -EINVAL);
	ck_assert_int_eq(zs_interval_init(NULL, 0, 1, ZS_MISSED_SKIP), -EINVAL);
	ck_assert_int_eq(zs_interval_init(&interval, 0, 0, ZS_MISSED_SKIP),
			 -EINVAL);
	ck_assert_ptr_nonnull(strstr(zs_explain(-EINVAL), "above 0"));
	ck_assert_int_eq(zs_interval_init(&interval, 0, 1, (enum zs_missed)7),
			 -EINVAL);
	ck_assert_int_eq(zs_interval_init(&interval, 0, 1, ZS_MISSED_SKIP), 0);
	ck_assert_int_eq(zs_interval_tick(&interval), -EPERM);
}
END_TEST

static Suite *interval_suite(void)
{
	Suite *suite = suite_create("interval");
	TCase *tests = tcase_create("interval");

	tcase_add_test(tests, ticks_are_never_early_and_stay_on_the_grid);
	tcase_add_test(tests, missed_ticks_come_in_a_burst);
	tcase_add_test(tests, missed_ticks_are_skipped);
	tcase_add_test(tests, missed_ticks_delay_those_that_follow);
	tcase_add_test(tests, a_cancelled_tick_is_still_to_come);
	tcase_add_test(tests, periods_may_be_as_short_and_long_as_can_be);
	tcase_add_test(tests, what_is_no_interval_is_refused);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(interval_suite());
}
