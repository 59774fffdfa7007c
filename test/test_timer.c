/* SPDX-License-Identifier: MIT */
/*
 * Timers with functions, by the real clock: when they are called and in which
 * order, cancelled and put off. What functions may do, and what a mistake gets,
 * is in test_timer_functions.c; the wheel below, with a clock of the test's
 * own, in test_wheel.c.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>

#include "child.h"
#include "timers.h"

enum {
	NUM_MANY = SANITIZED ? 50000 : 1000000,
	/* Deadlines so close may be called in any order. */
	ORDER_NS = 1100,
};

/* --- when --- */

static void check_order(struct zs_timer *timer, void *arg)
{
	int64_t *last_ns = arg;

	if (timer->deadline_ns < *last_ns - ORDER_NS)
		ck_abort_msg("called after a later one");
	if (timer->deadline_ns > *last_ns)
		*last_ns = timer->deadline_ns;
	count_in_time(timer, NULL);
}

/* Some close together, some alone, and at any distance from one another. */
static int call_in_order(void *arg)
{
	int64_t start_ns = zs_now();
	int64_t last_ns = 0;
	int i;

	(void)arg;
	for (i = 0; i < NUM_TIMERS; i++)
		assert_ok(zs_timer_start(
			&timers[i],
			start_ns + ZS_MILLISECOND +
				random_below(INT64_C(1)
					     << (10 + random_below(18))),
			check_order, &last_ns));
	await_calls(NUM_TIMERS);
	let_a_turn_pass();
	ck_assert_uint_eq(num_called, NUM_TIMERS);
	return 0;
}
TEST_IN_TASK(all_are_called_once_in_order_and_never_early, call_in_order)

static int call_many(void *arg)
{
	struct zs_timer *many = calloc(NUM_MANY, sizeof(*many));
	int64_t start_ns = zs_now();
	int cancelled = 0;
	int i;

	(void)arg;
	ck_assert_ptr_nonnull(many);
	for (i = 0; i < NUM_MANY; i++)
		assert_ok(zs_timer_start(&many[i],
					 start_ns + random_below(ZS_SECOND / 4),
					 count_in_time, NULL));
	for (i = 0; i < NUM_MANY; i += 4)
		cancelled += zs_timer_cancel(&many[i]);
	ck_assert_int_gt(cancelled, 0);
	await_calls((uint32_t)(NUM_MANY - cancelled));
	let_a_turn_pass();
	ck_assert_uint_eq(num_called, (uint32_t)(NUM_MANY - cancelled));
	free(many);
	return 0;
}
TEST_IN_TASK(million_timers_are_called_or_cancelled, call_many)

/* A worker that is late for all of them. */
static int be_late(void *arg)
{
	int64_t start_ns = zs_now();
	int64_t last_ns = 0;
	int i;

	(void)arg;
	for (i = 0; i < NUM_TIMERS; i++)
		assert_ok(zs_timer_start(
			&timers[i], start_ns + random_below(5 * ZS_MILLISECOND),
			check_order, &last_ns));
	while (zs_now() < start_ns + 10 * ZS_MILLISECOND)
		;
	ck_assert_uint_eq(num_called, 0);
	let_a_turn_pass();
	ck_assert_uint_eq(num_called, NUM_TIMERS);
	return 0;
}
TEST_IN_TASK(late_worker_calls_all_in_order, be_late)

static const int64_t past[] = { 0, -1, INT64_MIN, 1 };
static const int64_t future[] = { ZS_NEVER, ZS_NEVER - 1, 100 * YEAR };
enum {
	NUM_PAST = sizeof(past) / sizeof(past[0]),
	NUM_FUTURE = sizeof(future) / sizeof(future[0]),
};

static int use_odd_deadlines(void *arg)
{
	int i;

	(void)arg;
	for (i = 0; i < NUM_PAST; i++)
		assert_ok(zs_timer_start(&timers[i], past[i], count_in_time,
					 NULL));
	for (i = 0; i < NUM_FUTURE; i++)
		assert_ok(zs_timer_start(&timers[NUM_PAST + i], future[i],
					 count_in_time, NULL));
	ck_assert_uint_eq(num_called, 0);
	let_a_turn_pass();
	ck_assert_uint_eq(num_called, NUM_PAST);
	for (i = 0; i < NUM_FUTURE; i++)
		ck_assert_int_eq(zs_timer_cancel(&timers[NUM_PAST + i]), 1);
	return 0;
}
TEST_IN_TASK(past_is_now_and_the_far_future_does_not_come, use_odd_deadlines)

/* On a worker that does not look around before it sleeps: how long it may is
 * the distance to the deadline. Once it has nothing else to do it wakes after a
 * second in any case. */
static int sleep_until_long_ago(void *arg)
{
	const int64_t *deadline_ns = arg;
	int64_t start_ns = zs_now();

	assert_ok(zs_sleep_until(*deadline_ns));
	ck_assert_int_lt(zs_now() - start_ns, 900 * ZS_MILLISECOND);
	return 0;
}

START_TEST(sleep_until_long_ago_ends_at_once)
{
	static const int64_t long_ago[] = { 0, -1, INT64_MIN + 1, INT64_MIN };
	struct zs_config config = test_config();

	config.idle_spin_us = 0;
	ck_assert_int_eq(run_task_with(&config, sleep_until_long_ago,
				       (void *)(uintptr_t)&long_ago[_i]),
			 0);
}
END_TEST

/* Noise makes a timer late, never early: the best of them shows what the
 * runtime and the kernel can do. */
static void note_lateness(struct zs_timer *timer, void *arg)
{
	int64_t late_ns = zs_now() - timer->deadline_ns;
	int64_t *least_ns = arg;

	if (late_ns < *least_ns)
		*least_ns = late_ns;
	num_called++;
}

static int measure_lateness(void *arg)
{
	int64_t least_ns = INT64_MAX;
	uint32_t i;

	(void)arg;
	for (i = 0; i < 100; i++) {
		assert_ok(zs_timer_start(&timers[0],
					 zs_now() + ZS_MILLISECOND +
						 random_below(ZS_MILLISECOND),
					 note_lateness, &least_ns));
		await_calls(i + 1);
	}
	ck_assert_int_ge(least_ns, 0);
	ck_assert_int_le(least_ns, 200 * ZS_MICROSECOND);
	return 0;
}
TEST_IN_TASK(lone_timer_is_a_fifth_of_a_millisecond_late_at_most,
	     measure_lateness)

/* --- cancel, reset --- */

static int cancel_some(void *arg)
{
	int64_t soon_ns = zs_now() + ZS_MILLISECOND;

	(void)arg;
	ck_assert_int_eq(zs_timer_cancel(&timers[0]), 0);
	assert_ok(zs_timer_start(&timers[0], soon_ns, count_call, NULL));
	assert_ok(zs_timer_start(&timers[1], soon_ns, count_call, NULL));
	ck_assert_int_eq(zs_timer_cancel(&timers[0]), 1);
	ck_assert_int_eq(zs_timer_cancel(&timers[0]), 0);
	await_calls(1);
	let_a_turn_pass();
	ck_assert_uint_eq(num_called, 1);
	ck_assert_int_eq(zs_timer_cancel(&timers[1]), 0);
	return 0;
}
TEST_IN_TASK(cancel_says_whether_it_will_be_called, cancel_some)

static int reset_some(void *arg)
{
	int64_t start_ns = zs_now();
	struct zs_timer *sooner = &timers[0], *later = &timers[1];

	(void)arg;
	assert_ok(zs_timer_start(sooner, start_ns + YEAR, count_in_time, NULL));
	assert_ok(zs_timer_start(later, start_ns + ZS_MILLISECOND,
				 count_in_time, NULL));
	ck_assert_int_eq(zs_timer_reset(sooner, start_ns + ZS_MILLISECOND), 1);
	ck_assert_int_eq(zs_timer_reset(later, start_ns + YEAR), 1);
	await_calls(1);
	let_a_turn_pass();
	ck_assert_uint_eq(num_called, 1);
	/* One that has been called, and one that has been cancelled. */
	ck_assert_int_eq(zs_timer_reset(sooner, zs_now() + 1), 0);
	ck_assert_int_eq(zs_timer_cancel(later), 1);
	ck_assert_int_eq(zs_timer_reset(later, zs_now() + 1), 0);
	await_calls(3);
	let_a_turn_pass();
	ck_assert_uint_eq(num_called, 3);
	return 0;
}
TEST_IN_TASK(reset_moves_it_sooner_or_later_or_arms_it_again, reset_some)

/* --- beside sleeps and deadlines --- */

static int sleep_beside_timers(void *arg)
{
	struct zs_cancel_token token;
	int64_t start_ns = zs_now();
	int i;

	(void)arg;
	for (i = 0; i < NUM_TIMERS; i++)
		assert_ok(zs_timer_start(
			&timers[i], start_ns + random_below(4 * ZS_MILLISECOND),
			count_in_time, NULL));
	for (i = 0; i < 10; i++) {
		int64_t deadline_ns = zs_now() + random_below(ZS_MILLISECOND);

		assert_ok(zs_sleep_until(deadline_ns));
		ck_assert_int_ge(zs_now(), deadline_ns);
		deadline_ns = zs_now() + ZS_MILLISECOND / 4;
		assert_ok(zs_cancel_token_open(&token, deadline_ns));
		ck_assert_int_eq(zs_sleep(ZS_SECOND * 3600), -ETIMEDOUT);
		ck_assert_int_ge(zs_now(), deadline_ns);
		ck_assert_int_eq(zs_cancel_token_close(token), -ETIMEDOUT);
	}
	await_calls(NUM_TIMERS);
	return 0;
}
TEST_IN_TASK(sleeps_and_deadlines_are_right_beside_timers, sleep_beside_timers)

int main(void)
{
	Suite *suite = suite_create("timer");
	TCase *tests = tcase_create("timer");

	tcase_set_timeout(tests, 120);
	tcase_add_test(tests, all_are_called_once_in_order_and_never_early);
	tcase_add_test(tests, million_timers_are_called_or_cancelled);
	tcase_add_test(tests, late_worker_calls_all_in_order);
	tcase_add_test(tests, past_is_now_and_the_far_future_does_not_come);
	tcase_add_loop_test(tests, sleep_until_long_ago_ends_at_once, 0, 4);
	tcase_add_test(tests,
		       lone_timer_is_a_fifth_of_a_millisecond_late_at_most);
	tcase_add_test(tests, cancel_says_whether_it_will_be_called);
	tcase_add_test(tests, reset_moves_it_sooner_or_later_or_arms_it_again);
	tcase_add_test(tests, sleeps_and_deadlines_are_right_beside_timers);
	suite_add_tcase(suite, tests);
	return run_suite(suite);
}
