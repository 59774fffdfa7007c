/* SPDX-License-Identifier: MIT */
/*
 * Cancelling across threads: from other workers and from threads that are none,
 * down to tasks that are parked on all of them. Handles may be stale, and what
 * they stand for may be closed at the same moment.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "workers.h"

/* Shared by the tasks of a test; each test is a process of its own. */
static struct zs_cancel_token token;
static struct zs_nursery nursery;
static struct counter parking, ended, opened, told;
static int expected_error = -ECANCELED;

static int sleep_until_cancelled(void *arg)
{
	int ret;

	(void)arg;
	count(&parking);
	ret = zs_sleep(ZS_NEVER);
	if (ret != expected_error || zs_yield() != expected_error)
		ck_abort_msg("%d", ret);
	count(&ended);
	return 0;
}

/* --- one task --- */

static int park_in_sleep(void)
{
	return zs_sleep(ZS_NEVER);
}

static int park_in_yields(void)
{
	int ret;

	do
		ret = zs_yield();
	while (ret == 0);
	return ret;
}

static int park_in_wait(void)
{
	struct zs_nursery inner;

	assert_ok(zs_nursery_open(&inner, NULL));
	assert_ok(zs_nursery_spawn(inner, sleep_until_cancelled, NULL));
	return zs_nursery_wait(inner);
}

static int (*const ways_to_park[])(void) = {
	park_in_sleep,
	park_in_yields,
	park_in_wait,
};
enum { NR_WAYS = sizeof(ways_to_park) / sizeof(ways_to_park[0]) };
enum { NR_CANCELS = 100 };

static int park_many_times(void *arg)
{
	int (*const *park)(void) = arg;

	for (int i = 0; i < NR_CANCELS; i++) {
		assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
		count(&opened);
		ck_assert_int_eq((*park)(), -ECANCELED);
		ck_assert_int_eq(zs_cancel_reason(), ZS_CANCEL_REQUESTED);
		/* Nobody uses the handle any more when it is closed. */
		occupy_until(&told, i + 1);
		ck_assert_int_eq(zs_cancel_token_close(token), -ECANCELED);
		assert_ok(zs_yield());
	}
	return 0;
}

static int cancel_many_times(void *arg)
{
	(void)arg;
	for (int i = 0; i < NR_CANCELS; i++) {
		await_count(&opened, i + 1);
		assert_ok(zs_cancel_token_cancel(token));
		count(&told);
	}
	return 0;
}

static void *cancel_from_thread(void *arg)
{
	cancel_many_times(arg);
	return NULL;
}

/* At every moment: before it parks, as it does, long after. */
START_TEST(foreign_thread_cancels_whatever_a_task_waits_for)
{
	pthread_t thread = start_thread(cancel_from_thread, NULL);

	assert_ok(run_task_on(_i < NR_WAYS ? 1 : 2, park_many_times,
			      (void *)&ways_to_park[_i % NR_WAYS]));
	pthread_join(thread, NULL);
}
END_TEST

static struct counter arrived;

/* The two are on different workers. */
static int park_or_cancel(void *arg)
{
	if (count(&arrived) == 1)
		return park_many_times(arg);
	return cancel_many_times(arg);
}

static int spawn_two(void *arg)
{
	assert_ok(zs_nursery_open(&nursery, NULL));
	spawn_on_each(nursery, 2, park_or_cancel, arg);
	return zs_nursery_wait(nursery);
}

START_TEST(task_of_another_worker_cancels_whatever_a_task_waits_for)
{
	assert_ok(run_task_on(2, spawn_two, (void *)&ways_to_park[_i]));
}
END_TEST

static int close_anothers(void *arg)
{
	(void)arg;
	ck_assert_int_eq(zs_cancel_token_close(token), -EPERM);
	ck_assert_int_eq(zs_cancel_token_reason(token), ZS_CANCEL_NONE);
	count(&ended);
	return 0;
}

static void *close_from_other_runtime(void *arg)
{
	assert_ok(run_task(close_anothers, NULL));
	return arg;
}

static int let_others_close(void *arg)
{
	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
	spawn_on_each(nursery, 4, close_anothers, NULL);
	run_in_thread(close_from_other_runtime, NULL);
	await_count(&ended, 5);
	assert_ok(zs_cancel_token_close(token));
	return zs_nursery_wait(nursery);
}

/* On the opener's worker, on others, and in another runtime. */
START_TEST(close_by_any_other_task_is_eperm)
{
	assert_ok(run_task_on(4, let_others_close, NULL));
}
END_TEST

/* --- many tasks, everywhere --- */

enum { NR_BRANCHES = 20, NR_LEAVES = 10, NR_PARKED = 20 * (10 + 1) };

/* Each has a nursery of its own, whose tasks may go to any worker. */
static int branch_out(void *arg)
{
	struct zs_nursery inner;
	int ret;

	assert_ok(zs_nursery_open(&inner, NULL));
	for (int i = 0; i < NR_LEAVES; i++) {
		ret = zs_nursery_spawn(inner, sleep_until_cancelled, arg);
		if (ret == 0)
			continue;
		/* It was quicker: as many as did not start. */
		ck_assert_int_eq(ret, -ECANCELED);
		count(&parking);
		count(&ended);
	}
	sleep_until_cancelled(arg);
	if (zs_nursery_wait(inner) != expected_error)
		ck_abort_msg("the wait for the leaves is %d",
			     zs_cancel_reason());
	return 0;
}

static uint32_t num_workers = 4;

/* At least one on each worker. */
static void spawn_branches(void)
{
	spawn_on_each(nursery, num_workers, branch_out, NULL);
	spawn_from_thread(nursery, NR_BRANCHES - num_workers, branch_out, NULL);
}

/* The second one may be too late. */
static int cancel_the_nursery(void *arg)
{
	int ret = zs_nursery_cancel(nursery);

	(void)arg;
	return ret == -ESTALE ? 0 : ret;
}

static void *cancel_the_nursery_from_thread(void *arg)
{
	assert_ok(zs_nursery_cancel(nursery));
	return arg;
}

/* By its opener, by two tasks of whatever workers, by a foreign thread. */
static void cancel_by(int who, struct zs_nursery beside)
{
	if (who == 0)
		assert_ok(zs_nursery_cancel(nursery));
	else if (who == 1)
		spawn_from_thread(beside, 2, cancel_the_nursery, NULL);
	else
		run_in_thread(cancel_the_nursery_from_thread, NULL);
}

struct storm {
	int who;
	bool is_early;
};

static int cancel_the_tree(void *arg)
{
	const struct storm *storm = arg;
	struct zs_nursery beside;

	for (int round = 1; round <= 10; round++) {
		assert_ok(zs_nursery_open(&beside, NULL));
		assert_ok(zs_nursery_open(&nursery, NULL));
		spawn_branches();
		await_count(&parking, storm->is_early ?
					      (round - 1) * NR_PARKED + round :
					      round * NR_PARKED);
		cancel_by(storm->who, beside);
		ck_assert_int_eq(zs_nursery_wait(nursery), -ECANCELED);
		assert_ok(zs_nursery_wait(beside));
		ck_assert_uint_eq(counted(&ended), round * NR_PARKED);
	}
	return 0;
}

/* 20 nested nurseries over 4 workers, most of their tasks parked. */
START_TEST(cancel_reaches_tasks_parked_on_every_worker)
{
	struct storm storm = { .who = _i };

	assert_ok(run_task_on(4, cancel_the_tree, &storm));
}
END_TEST

/* The same while they start, park, open nurseries and spawn. */
START_TEST(cancel_reaches_tasks_that_are_starting)
{
	struct storm storm = { .who = _i % 3, .is_early = true };

	num_workers = _i < 3 ? 2 : 4;
	assert_ok(run_task_on(num_workers, cancel_the_tree, &storm));
}
END_TEST

static int let_deadline_pass(void *arg)
{
	int64_t deadline_ns;

	(void)arg;
	expected_error = -ETIMEDOUT;
	assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
	assert_ok(zs_nursery_open(&nursery, NULL));
	spawn_branches();
	await_count(&parking, NR_PARKED);
	deadline_ns = zs_now() + 3 * ZS_MILLISECOND;
	assert_ok(zs_cancel_token_set_deadline(token, deadline_ns));
	ck_assert_int_eq(zs_nursery_wait(nursery), -ETIMEDOUT);
	ck_assert_int_ge(zs_now(), deadline_ns);
	ck_assert_uint_eq(counted(&ended), NR_PARKED);
	ck_assert_int_eq(zs_cancel_token_close(token), -ETIMEDOUT);
	return 0;
}

START_TEST(deadline_reaches_tasks_on_every_worker)
{
	assert_ok(run_task_on(4, let_deadline_pass, NULL));
}
END_TEST

static int fail_when_all_are_parked(void *arg)
{
	(void)arg;
	await_count(&told, 1);
	await_count(&parking, NR_PARKED);
	return -EIO;
}

static int let_a_task_fail(void *arg)
{
	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	spawn_branches();
	spawn_from_thread(nursery, 1 + *(int *)arg, fail_when_all_are_parked,
			  NULL);
	count(&told);
	ck_assert_int_eq(zs_sleep(ZS_NEVER), -ECANCELED);
	ck_assert_int_eq(zs_cancel_reason(), ZS_CANCEL_SIBLING_FAILED);
	ck_assert_int_eq(zs_nursery_wait(nursery), -EIO);
	ck_assert_uint_eq(counted(&ended), NR_PARKED);
	return 0;
}

/* One, or up to four, of which only one is first. */
START_TEST(failure_reaches_tasks_on_every_worker)
{
	assert_ok(run_task_on(4, let_a_task_fail, &_i));
}
END_TEST

/* --- handles that are closed meanwhile --- */

enum { NR_CLOSES = 500 };
static pthread_mutex_t handle_lock = PTHREAD_MUTEX_INITIALIZER;
static int cancel_results[NR_CLOSES + 1];

static void *cancel_at_close(void *arg)
{
	struct zs_cancel_token handle;

	for (uint32_t round = 1; round <= NR_CLOSES; round++) {
		while (counted(&opened) < round)
			sched_yield();
		pthread_mutex_lock(&handle_lock);
		handle = token;
		pthread_mutex_unlock(&handle_lock);
		for (volatile uint32_t i = 0; i < round * 7919 % 512; i++)
			;
		cancel_results[round] = zs_cancel_token_cancel(handle);
		count(&told);
	}
	return arg;
}

static int close_at_cancel(void *arg)
{
	struct zs_cancel_token handle;

	(void)arg;
	for (uint32_t round = 1; round <= NR_CLOSES; round++) {
		int ret;

		assert_ok(zs_cancel_token_open(&handle, ZS_NEVER));
		pthread_mutex_lock(&handle_lock);
		token = handle;
		pthread_mutex_unlock(&handle_lock);
		count(&opened);
		for (volatile uint32_t i = 0; i < round * 104729 % 2048; i++)
			;
		ret = zs_cancel_token_close(handle);
		await_count(&told, round);
		if (ret != (cancel_results[round] ? 0 : -ECANCELED))
			ck_abort_msg("cancel %d, close %d",
				     cancel_results[round], ret);
	}
	return 0;
}

/* Either the cancel comes first, and then the close tells of it, or it comes
 * too late, and then it is told so. */
START_TEST(cancel_and_close_at_once_agree_who_was_first)
{
	pthread_t thread = start_thread(cancel_at_close, NULL);

	assert_ok(run_task_on(1u << _i, close_at_cancel, NULL));
	pthread_join(thread, NULL);
}
END_TEST

static void *use_stale_handles(void *arg)
{
	struct zs_nursery stale = { token.scope, token.generation };

	while (counted(&told) == 0) {
		if (zs_cancel_token_cancel(token) != -ESTALE)
			ck_abort_msg("a stale token cancels");
		if (zs_cancel_token_reason(token) != -ESTALE)
			ck_abort_msg("a stale token has a reason");
		if (zs_nursery_cancel(stale) != -ESTALE)
			ck_abort_msg("a stale nursery is cancelled");
		if (zs_nursery_spawn(stale, sleep_until_cancelled, NULL) !=
		    -ESTALE)
			ck_abort_msg("a stale nursery takes tasks");
		count(&opened);
	}
	return arg;
}

static int reuse_memory(void *arg)
{
	struct zs_cancel_token handle;
	struct zs_nursery inner;
	pthread_t thread;

	(void)arg;
	assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
	assert_ok(zs_cancel_token_close(token));
	thread = start_thread(use_stale_handles, NULL);
	while (counted(&opened) < 2000) {
		assert_ok(zs_cancel_token_open(&handle, ZS_NEVER));
		ck_assert_ptr_eq(handle.scope, token.scope);
		assert_ok(zs_yield());
		assert_ok(zs_cancel_token_close(handle));
		assert_ok(zs_nursery_open(&inner, NULL));
		ck_assert_ptr_eq(inner.scope, token.scope);
		assert_ok(zs_nursery_wait(inner));
	}
	count(&told);
	pthread_join(thread, NULL);
	return 0;
}

/* A foreign thread hammers on a handle while its memory is another scope's,
 * opened and closed thousands of times. */
START_TEST(stale_handles_do_no_harm_while_their_memory_is_reused)
{
	assert_ok(run_task_on(1u << _i, reuse_memory, NULL));
}
END_TEST

static Suite *cancel_suite(void)
{
	Suite *suite = suite_create("cancel_threads");
	TCase *tests = tcase_create("cancel_threads");

	/* A busy machine may need it; a hang is one all the same. */
	tcase_set_timeout(tests, 20);
	tcase_add_loop_test(tests,
			    foreign_thread_cancels_whatever_a_task_waits_for, 0,
			    2 * NR_WAYS);
	tcase_add_loop_test(
		tests, task_of_another_worker_cancels_whatever_a_task_waits_for,
		0, NR_WAYS);
	tcase_add_test(tests, close_by_any_other_task_is_eperm);
	tcase_add_loop_test(tests, cancel_reaches_tasks_parked_on_every_worker,
			    0, 3);
	tcase_add_loop_test(tests, cancel_reaches_tasks_that_are_starting, 0,
			    6);
	tcase_add_test(tests, deadline_reaches_tasks_on_every_worker);
	tcase_add_loop_test(tests, failure_reaches_tasks_on_every_worker, 0, 4);
	tcase_add_loop_test(tests, cancel_and_close_at_once_agree_who_was_first,
			    0, 2);
	tcase_add_loop_test(
		tests, stale_handles_do_no_harm_while_their_memory_is_reused, 0,
		2);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(cancel_suite());
}
