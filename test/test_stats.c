/* SPDX-License-Identifier: MIT */
/*
 * The counters: each is looked at before and after something that is to change
 * it by a known number. Most are of one worker, on which nothing else goes on.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime.h"

enum { NUM_TASKS = 100, NUM_FAILING = 7 };

static struct zs_worker_stats stats_now(void)
{
	struct zs_stats stats;

	ck_assert_int_eq(zs_stats(NULL, &stats), 0);
	return stats.total;
}

#define expect_more(field, number) \
	ck_assert_uint_eq(stats_now().field, before.field + (number))

static int do_nothing(void *arg)
{
	(void)arg;
	return 0;
}

static int return_an_error(void *arg)
{
	(void)arg;
	return -EIO;
}

static int sleep_for_ever(void *arg)
{
	(void)arg;
	return zs_sleep_until(ZS_NEVER);
}

static struct zs_nursery open_nursery(void)
{
	struct zs_nursery nursery;

	ck_assert_int_eq(zs_nursery_open(&nursery, NULL), 0);
	return nursery;
}

static void spawn(struct zs_nursery nursery, zs_task_fn *fn, void *arg)
{
	ck_assert_int_eq(zs_nursery_spawn(nursery, fn, arg), 0);
}

/* --- tasks --- */

static int count_tasks(void *arg)
{
	struct zs_worker_stats before = stats_now();
	struct zs_nursery nursery = open_nursery();
	int i;

	(void)arg;
	for (i = 0; i < NUM_TASKS; i++)
		spawn(nursery, do_nothing, NULL);
	expect_more(tasks_spawned, NUM_TASKS);
	expect_more(tasks_started, 0);
	ck_assert_int_eq(zs_nursery_wait(nursery), 0);
	expect_more(tasks_spawned, NUM_TASKS);
	expect_more(tasks_started, NUM_TASKS);
	expect_more(tasks_ended, NUM_TASKS);
	expect_more(tasks_failed, 0);
	return 0;
}

START_TEST(tasks_are_counted_as_they_are_spawned_start_and_end)
{
	ck_assert_int_eq(run_task(count_tasks, NULL), 0);
}
END_TEST

/* One nursery each: the first error in one cancels the rest. */
static int count_failures(void *arg)
{
	struct zs_worker_stats before = stats_now();
	struct zs_nursery nursery;
	int i;

	(void)arg;
	for (i = 0; i < NUM_FAILING; i++) {
		nursery = open_nursery();
		spawn(nursery, return_an_error, NULL);
		ck_assert_int_eq(zs_nursery_wait(nursery), -EIO);
	}
	expect_more(tasks_failed, NUM_FAILING);
	expect_more(tasks_ended, NUM_FAILING);
	return 0;
}

START_TEST(tasks_that_return_an_error_are_counted_as_failed)
{
	ck_assert_int_eq(run_task(count_failures, NULL), 0);
}
END_TEST

/* Who asks runs, and so is not parked. */
static int count_parked(void *arg)
{
	struct zs_nursery nursery = open_nursery();
	int i;

	(void)arg;
	ck_assert_uint_eq(stats_now().tasks_parked, 0);
	for (i = 0; i < NUM_TASKS; i++)
		spawn(nursery, sleep_for_ever, NULL);
	ck_assert_uint_eq(stats_now().tasks_parked, 0);
	zs_yield();
	ck_assert_uint_eq(stats_now().tasks_parked, NUM_TASKS);
	ck_assert_int_eq(zs_nursery_cancel(nursery), 0);
	ck_assert_int_eq(zs_nursery_wait(nursery), -ECANCELED);
	ck_assert_uint_eq(stats_now().tasks_parked, 0);
	return 0;
}

START_TEST(parked_is_who_has_started_and_neither_runs_nor_has_ended)
{
	ck_assert_int_eq(run_task(count_parked, NULL), 0);
}
END_TEST

static int yield_ten_times(void *arg)
{
	int i;

	(void)arg;
	for (i = 0; i < 10; i++)
		zs_yield();
	return 0;
}

/* Two tasks that give way to each other; the second one's start is among it. */
static int count_switches(void *arg)
{
	struct zs_worker_stats before = stats_now();
	struct zs_nursery nursery = open_nursery();

	(void)arg;
	spawn(nursery, yield_ten_times, NULL);
	yield_ten_times(NULL);
	ck_assert_uint_ge(stats_now().switches, before.switches + 20);
	ck_assert_uint_le(stats_now().switches, before.switches + 30);
	return zs_nursery_wait(nursery);
}

START_TEST(resumes_are_counted_as_switches)
{
	ck_assert_int_eq(run_task(count_switches, NULL), 0);
}
END_TEST

/* What is said of it on stderr is not looked at here. */
static int leave_token_open(void *arg)
{
	struct zs_cancel_token token;

	(void)arg;
	return zs_cancel_token_open(&token, ZS_NEVER);
}

static int count_left_open(void *arg)
{
	struct zs_worker_stats before = stats_now();
	struct zs_nursery nursery = open_nursery();
	int saved_stderr = dup(STDERR_FILENO);

	(void)arg;
	spawn(nursery, leave_token_open, NULL);
	close(STDERR_FILENO);
	ck_assert_int_eq(zs_nursery_wait(nursery), 0);
	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	expect_more(scopes_left_open, 1);
	return 0;
}

START_TEST(scopes_left_open_are_counted)
{
	ck_assert_int_eq(run_task(count_left_open, NULL), 0);
}
END_TEST

/* --- timers, cancels --- */

static void never_called(struct zs_timer *timer, void *arg)
{
	(void)timer;
	(void)arg;
	ck_abort_msg("called");
}

static int count_timers(void *arg)
{
	struct zs_worker_stats before = stats_now();
	struct zs_timer timer = { 0 };
	struct zs_cancel_token token;
	int i;

	(void)arg;
	for (i = 0; i < 3; i++)
		ck_assert_int_eq(zs_sleep(ZS_MILLISECOND), 0);
	expect_more(timers_started, 3);
	expect_more(timers_fired, 3);
	/* One that is taken back before its time. */
	ck_assert_int_eq(
		zs_cancel_token_open(&token, zs_now() + ZS_SECOND * 60), 0);
	ck_assert_int_eq(zs_cancel_token_close(token), 0);
	expect_more(timers_started, 4);
	expect_more(timers_fired, 3);
	expect_more(timers_cancelled, 1);
	/* A reset of an armed one is both. */
	ck_assert_int_eq(zs_timer_start(&timer, ZS_NEVER, never_called, NULL),
			 0);
	ck_assert_int_eq(zs_timer_reset(&timer, ZS_NEVER - 1), 1);
	expect_more(timers_started, 6);
	expect_more(timers_cancelled, 2);
	expect_more(timers_armed, 1);
	ck_assert_int_eq(zs_timer_cancel(&timer), 1);
	expect_more(timers_cancelled, 3);
	expect_more(timers_armed, 0);
	/* One that never ends has none. */
	expect_more(cancels, 0);
	return 0;
}

START_TEST(timers_are_counted_as_they_start_fire_and_go)
{
	ck_assert_int_eq(run_task(count_timers, NULL), 0);
}
END_TEST

static int count_cancels(void *arg)
{
	struct zs_worker_stats before = stats_now();
	struct zs_nursery nursery = open_nursery();
	int i;

	(void)arg;
	for (i = 0; i < 5; i++)
		spawn(nursery, sleep_for_ever, NULL);
	zs_yield();
	expect_more(cancels, 0);
	expect_more(timers_started, 0);
	ck_assert_int_eq(zs_nursery_cancel(nursery), 0);
	expect_more(cancels, 5);
	ck_assert_int_eq(zs_nursery_wait(nursery), -ECANCELED);
	expect_more(cancels, 5);
	return 0;
}

START_TEST(cancels_count_the_calls_that_they_end)
{
	ck_assert_int_eq(run_task(count_cancels, NULL), 0);
}
END_TEST

/* --- operations --- */

static int receive_one(void *arg)
{
	char byte;

	return (int)zs_recv(((int *)arg)[1], &byte, 1, 0);
}

static int count_operations(void *arg)
{
	struct zs_worker_stats before = stats_now();
	struct zs_nursery nursery = open_nursery();
	int fds[2];

	(void)arg;
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	spawn(nursery, receive_one, fds);
	/* Until a turn has ended. */
	ck_assert_int_eq(zs_sleep(1), 0);
	expect_more(ops_submitted, 1);
	expect_more(ops_completed, 0);
	ck_assert_uint_eq(stats_now().ops_in_flight, 1);
	ck_assert_int_eq(zs_send(fds[0], "x", 1, 0), 1);
	ck_assert_int_eq(zs_nursery_wait(nursery), 0);
	expect_more(ops_submitted, 2);
	expect_more(ops_completed, 2);
	ck_assert_uint_eq(stats_now().ops_in_flight, 0);
	ck_assert_uint_gt(stats_now().enters, before.enters);
	expect_more(late_completions, 0);
	expect_more(cq_overflows, 0);
	return 0;
}

START_TEST(operations_are_counted_as_they_come_and_go)
{
	ck_assert_int_eq(run_task(count_operations, NULL), 0);
}
END_TEST

/* The loop sleeps in the kernel until the timer is due. */
static int count_sleeps(void *arg)
{
	struct zs_worker_stats before = stats_now();

	(void)arg;
	ck_assert_int_eq(zs_sleep(20 * ZS_MILLISECOND), 0);
	ck_assert_uint_gt(stats_now().sleeps, before.sleeps);
	ck_assert_uint_gt(stats_now().turns, before.turns);
	ck_assert_uint_gt(stats_now().enters, before.enters);
	ck_assert_uint_gt(stats_now().stacks_mapped, 0);
	return 0;
}

START_TEST(turns_and_sleeps_of_the_loop_are_counted)
{
	ck_assert_int_eq(run_task(count_sleeps, NULL), 0);
}
END_TEST

/* --- several workers --- */

static struct zs_runtime *start_two_workers(void)
{
	struct zs_config config = test_config();
	struct zs_runtime *runtime;

	need_workers(2);
	config.num_workers = 2;
	ck_assert_int_eq(zs_runtime_create(&runtime, &config), 0);
	ck_assert_int_eq(zs_runtime_start(runtime), 0);
	return runtime;
}

static struct zs_worker_stats stats_of(struct zs_runtime *runtime,
				       uint32_t worker)
{
	struct zs_worker_stats stats;

	ck_assert_int_eq(zs_stats_worker(runtime, worker, &stats), 0);
	return stats;
}

static int count_up(void *arg)
{
	atomic_fetch_add((atomic_int *)arg, 1);
	return 0;
}

/* Never gives way, so that only the other worker can start what it spawns. */
static int compute_until_all_were_stolen(void *arg)
{
	atomic_int *nr_run = arg;
	struct zs_nursery nursery = open_nursery();
	int i;

	for (i = 0; i < NUM_TASKS; i++)
		spawn(nursery, count_up, nr_run);
	while (atomic_load(nr_run) < NUM_TASKS)
		sched_yield();
	return zs_nursery_wait(nursery);
}

static void stop_and_destroy(struct zs_runtime *runtime)
{
	ck_assert_int_eq(zs_runtime_stop(runtime, ZS_NEVER), 0);
	ck_assert_int_eq(zs_runtime_destroy(runtime), 0);
}

START_TEST(steals_are_counted_by_the_thief)
{
	struct zs_runtime *runtime = start_two_workers();
	atomic_int nr_run = 0;
	struct zs_worker_stats of[2];
	int victim;

	ck_assert_int_eq(zs_runtime_spawn(runtime,
					  compute_until_all_were_stolen,
					  &nr_run),
			 0);
	while (atomic_load(&nr_run) < NUM_TASKS)
		sched_yield();
	ck_assert_int_eq(zs_runtime_stop(runtime, ZS_NEVER), 0);
	of[0] = stats_of(runtime, 0);
	of[1] = stats_of(runtime, 1);
	victim = of[0].tasks_spawned == NUM_TASKS ? 0 : 1;
	ck_assert_uint_eq(of[victim].tasks_spawned, NUM_TASKS);
	ck_assert_uint_eq(of[victim].tasks_started, 1);
	ck_assert_uint_eq(of[victim].steals, 0);
	ck_assert_uint_eq(of[!victim].tasks_spawned, 0);
	ck_assert_uint_eq(of[!victim].tasks_started, NUM_TASKS);
	ck_assert_uint_eq(of[!victim].steals, NUM_TASKS);
	stop_and_destroy(runtime);
}
END_TEST

/* Foreign threads spawn by message, to each worker in turn. */
START_TEST(total_is_the_sum_over_the_workers)
{
	struct zs_runtime *runtime = start_two_workers();
	struct zs_worker_stats of[2];
	struct zs_stats stats;
	atomic_int nr_run = 0;
	size_t i;

	for (i = 0; i < NUM_TASKS; i++)
		ck_assert_int_eq(zs_runtime_spawn(runtime, count_up, &nr_run),
				 0);
	ck_assert_int_eq(zs_runtime_stop(runtime, ZS_NEVER), 0);
	ck_assert_int_eq(atomic_load(&nr_run), NUM_TASKS);
	ck_assert_int_eq(zs_stats(runtime, &stats), 0);
	ck_assert_uint_eq(stats.num_workers, 2);
	ck_assert_uint_eq(stats.total.tasks_ended, NUM_TASKS);
	ck_assert_uint_ge(stats.total.messages, NUM_TASKS);
	of[0] = stats_of(runtime, 0);
	of[1] = stats_of(runtime, 1);
	for (i = 0; i < sizeof(of[0]) / sizeof(uint64_t); i++)
		ck_assert_uint_eq(((uint64_t *)&stats.total)[i],
				  ((uint64_t *)&of[0])[i] +
					  ((uint64_t *)&of[1])[i]);
	stop_and_destroy(runtime);
}
END_TEST

static int wait_for_flag(void *arg)
{
	while (!atomic_load((atomic_bool *)arg))
		zs_sleep(ZS_MILLISECOND);
	return 0;
}

/* While the workers run, from a thread that is none. */
START_TEST(foreign_thread_may_ask_at_any_time)
{
	struct zs_runtime *runtime = start_two_workers();
	atomic_bool flag = false;
	struct zs_stats stats;

	ck_assert_int_eq(zs_runtime_spawn(runtime, wait_for_flag, &flag), 0);
	do
		ck_assert_int_eq(zs_stats(runtime, &stats), 0);
	while (stats.total.timers_fired == 0);
	ck_assert_uint_eq(stats.total.tasks_started, 1);
	ck_assert_uint_eq(stats.total.tasks_ended, 0);
	atomic_store(&flag, true);
	stop_and_destroy(runtime);
}
END_TEST

/* --- mistakes --- */

static int make_mistakes(void *arg)
{
	struct zs_worker_stats stats;

	(void)arg;
	ck_assert_int_eq(zs_stats(NULL, NULL), -EINVAL);
	ck_assert_int_eq(zs_stats_worker(NULL, 0, NULL), -EINVAL);
	ck_assert_int_eq(zs_stats_worker(NULL, 0, &stats), 0);
	ck_assert_int_eq(zs_stats_worker(NULL, 1, &stats), -EINVAL);
	ck_assert_int_eq(zs_stats_worker(NULL, UINT32_MAX, &stats), -EINVAL);
	return 0;
}

START_TEST(worker_beyond_the_last_is_einval)
{
	ck_assert_int_eq(run_task(make_mistakes, NULL), 0);
}
END_TEST

START_TEST(outside_a_task_there_is_no_runtime_to_default_to)
{
	struct zs_worker_stats worker;
	struct zs_stats stats;

	ck_assert_int_eq(zs_stats(NULL, &stats), -EPERM);
	ck_assert_int_eq(zs_stats_worker(NULL, 0, &worker), -EPERM);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("stats");
	TCase *tests = tcase_create("stats");

	tcase_add_test(tests,
		       tasks_are_counted_as_they_are_spawned_start_and_end);
	tcase_add_test(tests, tasks_that_return_an_error_are_counted_as_failed);
	tcase_add_test(
		tests,
		parked_is_who_has_started_and_neither_runs_nor_has_ended);
	tcase_add_test(tests, resumes_are_counted_as_switches);
	tcase_add_test(tests, scopes_left_open_are_counted);
	tcase_add_test(tests, timers_are_counted_as_they_start_fire_and_go);
	tcase_add_test(tests, cancels_count_the_calls_that_they_end);
	tcase_add_test(tests, operations_are_counted_as_they_come_and_go);
	tcase_add_test(tests, turns_and_sleeps_of_the_loop_are_counted);
	tcase_add_test(tests, steals_are_counted_by_the_thief);
	tcase_add_test(tests, total_is_the_sum_over_the_workers);
	tcase_add_test(tests, foreign_thread_may_ask_at_any_time);
	tcase_add_test(tests, worker_beyond_the_last_is_einval);
	tcase_add_test(tests, outside_a_task_there_is_no_runtime_to_default_to);
	suite_add_tcase(suite, tests);
	return run_suite(suite);
}
