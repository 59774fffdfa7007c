/* SPDX-License-Identifier: MIT */
/*
 * Functions of timers: what they may do, on which worker, and when the runtime
 * ends; and what a mistake gets.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "timers.h"

/* --- what a function may do --- */

enum { NUM_RIVALS = 10 };

static void cancel_rivals(struct zs_timer *timer, void *arg)
{
	int cancelled = 0;
	int i;

	(void)arg;
	num_called++;
	for (i = 0; i < NUM_RIVALS; i++) {
		if (&timers[i] == timer)
			ck_assert_int_eq(zs_timer_cancel(timer), 0);
		else
			cancelled += zs_timer_cancel(&timers[i]);
	}
	ck_assert_int_eq(cancelled, NUM_RIVALS - 1);
}

static int start_rivals(void *arg)
{
	int64_t deadline_ns = zs_now() + ZS_MILLISECOND;
	int i;

	(void)arg;
	for (i = 0; i < NUM_RIVALS; i++)
		assert_ok(zs_timer_start(&timers[i], deadline_ns, cancel_rivals,
					 NULL));
	await_calls(1);
	let_a_turn_pass();
	ck_assert_uint_eq(num_called, 1);
	return 0;
}
TEST_IN_TASK(first_of_an_instant_may_cancel_the_others, start_rivals)

static void put_off_rivals(struct zs_timer *timer, void *arg)
{
	int64_t *later_ns = arg;
	int was_armed = 0;
	int i;

	num_called++;
	if (*later_ns == 0) {
		*later_ns = zs_now() + 3 * ZS_MILLISECOND;
		for (i = 0; i < NUM_RIVALS; i++)
			was_armed += zs_timer_reset(&timers[i], *later_ns);
		ck_assert_int_eq(was_armed, NUM_RIVALS - 1);
	}
	ck_assert(num_called == 1 || zs_now() >= timer->deadline_ns);
}

static int start_to_be_put_off(void *arg)
{
	int64_t deadline_ns = zs_now() + ZS_MILLISECOND;
	int64_t later_ns = 0;
	int i;

	(void)arg;
	for (i = 0; i < NUM_RIVALS; i++)
		assert_ok(zs_timer_start(&timers[i], deadline_ns,
					 put_off_rivals, &later_ns));
	await_calls(1 + NUM_RIVALS);
	let_a_turn_pass();
	ck_assert_uint_eq(num_called, 1 + NUM_RIVALS);
	return 0;
}
TEST_IN_TASK(first_of_an_instant_may_reset_all_itself_included,
	     start_to_be_put_off)

static void call_again(struct zs_timer *timer, void *arg)
{
	(void)arg;
	num_called++;
	ck_assert_int_eq(zs_timer_reset(timer, timer->deadline_ns), 0);
}

/* Were it called at once, this would be the end. */
static int yield_beside_endless_timer(void *arg)
{
	uint64_t turns;
	struct zs_stats stats;

	(void)arg;
	assert_ok(zs_timer_start(&timers[0], 0, call_again, NULL));
	while (num_called < 100)
		assert_ok(zs_yield());
	ck_assert_int_eq(zs_timer_cancel(&timers[0]), 1);
	assert_ok(zs_stats(NULL, &stats));
	turns = stats.total.turns;
	ck_assert_uint_le(num_called, turns);
	return 0;
}
TEST_IN_TASK(timer_that_always_resets_itself_lets_tasks_run,
	     yield_beside_endless_timer)

static void tick(struct zs_timer *timer, void *arg)
{
	count_in_time(timer, arg);
	zs_timer_reset(timer, timer->deadline_ns + ZS_MILLISECOND);
}

static int run_a_clock(void *arg)
{
	int64_t start_ns = zs_now();

	(void)arg;
	assert_ok(zs_timer_start(&timers[0], start_ns, tick, NULL));
	await_calls(20);
	ck_assert_int_eq(zs_timer_cancel(&timers[0]), 1);
	ck_assert_int_eq(timers[0].deadline_ns,
			 start_ns + num_called * ZS_MILLISECOND);
	return 0;
}
TEST_IN_TASK(interval_does_not_drift, run_a_clock)

static void free_itself(struct zs_timer *timer, void *arg)
{
	(void)arg;
	num_called++;
	free(timer);
}

static int start_timers_that_free_themselves(void *arg)
{
	int i;

	(void)arg;
	for (i = 0; i < 100; i++) {
		struct zs_timer *timer = calloc(1, sizeof(*timer));

		ck_assert_ptr_nonnull(timer);
		assert_ok(zs_timer_start(timer, i % 10, free_itself, NULL));
	}
	await_calls(100);
	return 0;
}
TEST_IN_TASK(function_may_free_its_timer, start_timers_that_free_themselves)

static void try_to_park(struct zs_timer *timer, void *arg)
{
	struct zs_cancel_token token;
	struct zs_nursery nursery;
	char byte;

	(void)timer;
	(void)arg;
	num_called++;
	ck_assert_ptr_null(zs_self());
	ck_assert_int_eq(zs_yield(), -EPERM);
	ck_assert_int_eq(zs_sleep(ZS_MILLISECOND), -EPERM);
	ck_assert_int_eq(zs_sleep_until(0), -EPERM);
	ck_assert_int_eq((int)zs_read(0, &byte, 1), -EPERM);
	ck_assert_int_eq(zs_nursery_open(&nursery, NULL), -EPERM);
	ck_assert_int_eq(zs_cancel_token_open(&token, ZS_NEVER), -EPERM);
	ck_assert_int_eq(zs_run(NULL, NULL, NULL), -EPERM);
}

static int start_one_that_tries_to_park(void *arg)
{
	(void)arg;
	assert_ok(zs_timer_start(&timers[0], 0, try_to_park, NULL));
	await_calls(1);
	return 0;
}
TEST_IN_TASK(calls_that_park_refuse_in_a_function, start_one_that_tries_to_park)

static int count_and_sleep(void *arg)
{
	(void)arg;
	num_called++;
	return zs_sleep(ZS_NEVER) == -ECANCELED ? 0 : -EIO;
}

static void spawn_one(struct zs_timer *timer, void *arg)
{
	(void)timer;
	assert_ok(zs_nursery_spawn(*(struct zs_nursery *)arg, count_and_sleep,
				   NULL));
}

static void cancel_all(struct zs_timer *timer, void *arg)
{
	(void)timer;
	assert_ok(zs_nursery_cancel(*(struct zs_nursery *)arg));
}

/* The opener waits for the tasks that are spawned and cancelled meanwhile. */
static int wait_for_spawned(void *arg)
{
	struct zs_nursery nursery;
	int64_t now_ns = zs_now();

	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn(nursery, count_and_sleep, NULL));
	assert_ok(zs_timer_start(&timers[0], now_ns, spawn_one, &nursery));
	assert_ok(zs_timer_start(&timers[1], now_ns + ZS_MILLISECOND, spawn_one,
				 &nursery));
	assert_ok(zs_timer_start(&timers[2], now_ns + 3 * ZS_MILLISECOND,
				 cancel_all, &nursery));
	ck_assert_int_eq(zs_nursery_wait(nursery), -ECANCELED);
	ck_assert_uint_eq(num_called, 3);
	return 0;
}
TEST_IN_TASK(function_may_spawn_and_cancel, wait_for_spawned)

/* --- the runtime's end --- */

static int leave_armed(void *arg)
{
	int i;

	(void)arg;
	for (i = 0; i < 10; i++)
		assert_ok(zs_timer_start(&timers[i],
					 zs_now() + ZS_SECOND * 3600 * i * i,
					 count_call, NULL));
	ck_assert_int_eq(zs_timer_cancel(&timers[5]), 1);
	return 0;
}

START_TEST(timer_keeps_no_runtime_alive)
{
	int i;

	for (i = 0; i < 3; i++)
		ck_assert_int_eq(run_task(leave_armed, NULL), 0);
	/* Of each run the first was due, if there was a turn for it. */
	ck_assert_uint_le(num_called, 3);
	for (i = 0; i < 10; i++)
		ck_assert_ptr_null(timers[i].link);
}
END_TEST

/* --- other threads --- */

static pthread_t home;
static struct counter meddled;

static int meddle(void *arg)
{
	(void)arg;
	if (pthread_equal(pthread_self(), home))
		return 0;
	ck_assert_int_eq(zs_timer_cancel(&timers[0]), -EXDEV);
	ck_assert_int_eq(zs_timer_reset(&timers[0], 0), -EXDEV);
	ck_assert_int_eq(zs_timer_start(&timers[0], 0, count_call, NULL),
			 -EBUSY);
	/* One that has been called is anybody's to start. */
	assert_ok(zs_timer_start(&timers[1], ZS_NEVER, count_call, NULL));
	ck_assert_int_eq(zs_timer_cancel(&timers[1]), 1);
	count(&meddled);
	return 0;
}

static int own_timers(void *arg)
{
	struct zs_nursery nursery;

	(void)arg;
	home = pthread_self();
	assert_ok(zs_timer_start(&timers[0], ZS_NEVER, count_call, NULL));
	assert_ok(zs_timer_start(&timers[1], 0, count_call, NULL));
	await_calls(1);
	assert_ok(zs_nursery_open(&nursery, NULL));
	spawn_on_each(nursery, 2, meddle, NULL);
	assert_ok(zs_nursery_wait(nursery));
	ck_assert_uint_eq(counted(&meddled), 1);
	ck_assert_int_eq(zs_timer_cancel(&timers[1]), -EXDEV);
	ck_assert_int_eq(zs_timer_cancel(&timers[0]), 1);
	return 0;
}

START_TEST(other_workers_are_refused_while_it_is_anothers)
{
	assert_ok(run_task_on(2, own_timers, NULL));
}
END_TEST

static void note_own_call(struct zs_timer *timer, void *arg)
{
	(void)timer;
	++*(uint32_t *)arg;
}

static int start_on_this_worker(void *arg)
{
	struct zs_timer mine[100] = { 0 };
	uint32_t called[100] = { 0 };
	int i;

	(void)arg;
	for (i = 0; i < 100; i++)
		assert_ok(zs_timer_start(&mine[i],
					 zs_now() + i * 10 * ZS_MICROSECOND,
					 note_own_call, &called[i]));
	for (i = 0; i < 100; i++)
		ck_assert_int_ge(zs_timer_cancel(&mine[i]), 0);
	for (i = 0; i < 100; i++)
		zs_timer_reset(&mine[i], zs_now() + i * 10 * ZS_MICROSECOND);
	for (i = 0; i < 100; i++)
		while (called[i] == 0 || mine[i].link)
			assert_ok(zs_sleep(ZS_MILLISECOND));
	return 0;
}

static int start_on_each(void *arg)
{
	struct zs_nursery nursery;

	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	spawn_on_each(nursery, 4, start_on_this_worker, NULL);
	return zs_nursery_wait(nursery);
}

START_TEST(each_worker_has_timers_of_its_own)
{
	assert_ok(run_task_on(4, start_on_each, NULL));
}
END_TEST

/* --- mistakes --- */

static int make_mistakes(void *arg)
{
	struct zs_timer *timer = &timers[0];
	int64_t deadline_ns = zs_now() + YEAR;

	(void)arg;
	ck_assert_int_eq(zs_timer_start(NULL, 0, count_call, NULL), -EINVAL);
	ck_assert_int_eq(zs_timer_start(timer, 0, NULL, NULL), -EINVAL);
	ck_assert_int_eq(zs_timer_reset(NULL, 0), -EINVAL);
	ck_assert_int_eq(zs_timer_reset(timer, 0), -EINVAL);
	ck_assert_int_eq(zs_timer_cancel(NULL), -EINVAL);
	assert_ok(zs_timer_start(timer, deadline_ns, count_call, NULL));
	ck_assert_int_eq(zs_timer_start(timer, 0, count_in_time, &timers[1]),
			 -EBUSY);
	/* It is as it was. */
	ck_assert_int_eq(timer->deadline_ns, deadline_ns);
	ck_assert_ptr_null(timer->arg);
	let_a_turn_pass();
	ck_assert_uint_eq(num_called, 0);
	ck_assert_int_eq(zs_timer_cancel(timer), 1);
	return 0;
}
TEST_IN_TASK(mistakes_are_refused_and_change_nothing, make_mistakes)

START_TEST(calls_outside_a_runtime_are_refused)
{
	struct zs_timer timer = { 0 };

	ck_assert_int_eq(zs_timer_start(&timer, 0, count_call, NULL), -EPERM);
	ck_assert_int_eq(zs_timer_reset(&timer, 0), -EPERM);
	ck_assert_int_eq(zs_timer_cancel(&timer), -EPERM);
	ck_assert_int_eq(zs_timer_cancel(NULL), -EINVAL);
	ck_assert_ptr_null(timer.link);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("timer_functions");
	TCase *tests = tcase_create("timer_functions");

	tcase_set_timeout(tests, 120);
	tcase_add_test(tests, first_of_an_instant_may_cancel_the_others);
	tcase_add_test(tests,
		       first_of_an_instant_may_reset_all_itself_included);
	tcase_add_test(tests, timer_that_always_resets_itself_lets_tasks_run);
	tcase_add_test(tests, interval_does_not_drift);
	tcase_add_test(tests, function_may_free_its_timer);
	tcase_add_test(tests, calls_that_park_refuse_in_a_function);
	tcase_add_test(tests, function_may_spawn_and_cancel);
	tcase_add_test(tests, timer_keeps_no_runtime_alive);
	tcase_add_test(tests, other_workers_are_refused_while_it_is_anothers);
	tcase_add_test(tests, each_worker_has_timers_of_its_own);
	tcase_add_test(tests, mistakes_are_refused_and_change_nothing);
	tcase_add_test(tests, calls_outside_a_runtime_are_refused);
	suite_add_tcase(suite, tests);
	return run_suite(suite);
}
