/* SPDX-License-Identifier: MIT */
/*
 * Nurseries on one worker: what the wait returns, what a failure cancels, who
 * may do what and when, and what becomes of those left open. Several workers
 * and foreign threads are in test_nursery_threads.c.
 */
#include <check.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "workers.h"

/* Shared by the tasks of a test; each test is a process of its own. */
static struct zs_nursery nursery;
static struct counter ended;

static int return_result(void *result)
{
	return *(int *)result;
}

static int count_end(void *arg)
{
	(void)arg;
	count(&ended);
	return 0;
}

/* Until it is cancelled, for the reason that *arg says. */
static int sleep_until_cancelled(void *arg)
{
	ck_assert_int_eq(zs_sleep(ZS_NEVER), -ECANCELED);
	ck_assert_int_eq(zs_cancel_reason(), *(enum zs_cancel_reason *)arg);
	count(&ended);
	return -ECANCELED;
}

/* --- what the wait returns --- */

static int wait_for_nobody(void *arg)
{
	(void)arg;
	for (int i = 0; i < 3; i++) {
		assert_ok(zs_nursery_open(&nursery, NULL));
		assert_ok(zs_nursery_wait(nursery));
	}
	return zs_yield();
}

START_TEST(wait_for_no_tasks_is_0)
{
	assert_ok(run_task(wait_for_nobody, NULL));
}
END_TEST

static int wait_for_results(void *arg)
{
	int *results = arg;

	assert_ok(zs_nursery_open(&nursery, NULL));
	for (int i = 0; i < 4; i++)
		assert_ok(
			zs_nursery_spawn(nursery, return_result, &results[i]));
	zs_yield();
	return zs_nursery_wait(nursery);
}

/* They end in the order of spawning; the second and the fourth fail. */
START_TEST(wait_returns_the_first_error)
{
	int results[] = { 7, -EIO, 0, -EPIPE };

	ck_assert_int_eq(run_task(wait_for_results, results), -EIO);
}
END_TEST

START_TEST(positive_results_are_no_errors)
{
	int results[] = { 1, INT32_MAX, 0, EIO };

	ck_assert_int_eq(run_task(wait_for_results, results), 0);
}
END_TEST

/* --- what a failure cancels --- */

static enum zs_cancel_reason sibling_failed = ZS_CANCEL_SIBLING_FAILED;

static int fail_among_sleepers(void *arg)
{
	int error = -EIO;

	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	for (int i = 0; i < 3; i++)
		assert_ok(zs_nursery_spawn(nursery, sleep_until_cancelled,
					   &sibling_failed));
	assert_ok(zs_nursery_spawn(nursery, return_result, &error));
	ck_assert_int_eq(zs_sleep(ZS_NEVER), -ECANCELED);
	ck_assert_int_eq(zs_cancel_reason(), ZS_CANCEL_SIBLING_FAILED);
	ck_assert_int_eq(zs_yield(), -ECANCELED);
	ck_assert_int_eq(zs_nursery_wait(nursery), -EIO);
	ck_assert_uint_eq(counted(&ended), 3);
	ck_assert_int_eq(zs_cancel_reason(), ZS_CANCEL_NONE);
	assert_ok(zs_sleep(1));
	return zs_yield();
}

START_TEST(first_error_cancels_the_others_and_the_opener)
{
	assert_ok(run_task(fail_among_sleepers, NULL));
}
END_TEST

/* Inside the scope of @nursery, which fails, but with no failure of its own. */
static int have_inner_nursery(void *arg)
{
	struct zs_nursery inner;

	(void)arg;
	assert_ok(zs_nursery_open(&inner, NULL));
	assert_ok(zs_nursery_spawn(inner, count_end, NULL));
	ck_assert_int_eq(zs_sleep(ZS_NEVER), -ECANCELED);
	ck_assert_int_eq(zs_nursery_wait(inner), -ECANCELED);
	return 0;
}

static int fail_beside_inner_nurseries(void *arg)
{
	struct zs_nursery inner;
	int error = -EIO;

	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn(nursery, have_inner_nursery, NULL));
	assert_ok(zs_nursery_open(&inner, NULL));
	assert_ok(zs_nursery_spawn(inner, count_end, NULL));
	assert_ok(zs_nursery_spawn(nursery, return_result, &error));
	ck_assert_int_eq(zs_sleep(ZS_NEVER), -ECANCELED);
	ck_assert_int_eq(zs_nursery_wait(inner), -ECANCELED);
	ck_assert_int_eq(zs_nursery_wait(nursery), -EIO);
	ck_assert_uint_eq(counted(&ended), 2);
	return 0;
}

/* All of their tasks return 0, and yet they did not do all that they should
 * have done: they are told, but not with the other's error. */
START_TEST(nurseries_inside_a_failed_one_are_ecanceled)
{
	assert_ok(run_task(fail_beside_inner_nurseries, NULL));
}
END_TEST

/* --- nesting --- */

static int nest(void *arg)
{
	struct zs_nursery inner;
	int depth = *(int *)arg - 1;

	if (depth == 0)
		return -EIO;
	assert_ok(zs_nursery_open(&inner, NULL));
	assert_ok(zs_nursery_spawn_copy(inner, nest, &depth, sizeof(depth)));
	ck_assert_int_eq(zs_nursery_wait(inner), -EIO);
	ck_assert_int_eq(zs_cancel_reason(), ZS_CANCEL_NONE);
	count(&ended);
	return -EIO;
}

/* Each task opens one for the next; the error of the last goes up through
 * all. On 1, 2 and 4 workers. */
START_TEST(error_goes_up_through_100_nested_nurseries)
{
	int depth = 101;

	ck_assert_int_eq(run_task_on(1u << _i, nest, &depth), -EIO);
	ck_assert_uint_eq(counted(&ended), 100);
}
END_TEST

static int open_100(void *arg)
{
	static enum zs_cancel_reason requested = ZS_CANCEL_REQUESTED;
	struct zs_nursery nurseries[100];

	(void)arg;
	for (int i = 0; i < 100; i++) {
		assert_ok(zs_nursery_open(&nurseries[i], NULL));
		assert_ok(zs_nursery_spawn(nurseries[i], sleep_until_cancelled,
					   &requested));
	}
	assert_ok(zs_yield());
	assert_ok(zs_nursery_cancel(nurseries[50]));
	for (int i = 99; i >= 50; i--)
		ck_assert_int_eq(zs_nursery_wait(nurseries[i]), -ECANCELED);
	ck_assert_uint_eq(counted(&ended), 50);
	assert_ok(zs_nursery_cancel(nurseries[0]));
	for (int i = 49; i >= 0; i--)
		ck_assert_int_eq(zs_nursery_wait(nurseries[i]), -ECANCELED);
	ck_assert_uint_eq(counted(&ended), 100);
	return zs_yield();
}

/* Of one task, a parked task in each. */
START_TEST(cancel_of_the_50th_of_100_spares_the_outer_ones)
{
	assert_ok(run_task(open_100, NULL));
}
END_TEST

/* --- who may do what and when --- */

static void expect_stale(struct zs_nursery closed)
{
	ck_assert_int_eq(zs_nursery_wait(closed), -ESTALE);
	ck_assert_int_eq(zs_nursery_spawn(closed, count_end, NULL), -ESTALE);
	ck_assert_int_eq(zs_nursery_spawn_copy(closed, count_end, "x", 1),
			 -ESTALE);
	ck_assert_int_eq(zs_nursery_cancel(closed), -ESTALE);
}

static int use_after_wait(void *arg)
{
	struct zs_nursery closed;

	(void)arg;
	assert_ok(zs_nursery_open(&closed, NULL));
	assert_ok(zs_nursery_wait(closed));
	expect_stale(closed);
	assert_ok(zs_nursery_open(&nursery, NULL));
	ck_assert_ptr_eq(nursery.scope, closed.scope);
	expect_stale(closed);
	ck_assert_int_eq(zs_cancel_reason(), ZS_CANCEL_NONE);
	return zs_nursery_wait(nursery);
}

/* Also when its memory is another one's. */
START_TEST(closed_nursery_is_stale)
{
	assert_ok(run_task(use_after_wait, NULL));
}
END_TEST

static int use_zero_handle(void *arg)
{
	struct zs_nursery zero = { 0 };

	ck_assert_int_eq(zs_nursery_wait(zero), arg ? -ESTALE : -EPERM);
	ck_assert_int_eq(zs_nursery_spawn(zero, count_end, NULL), -ESTALE);
	ck_assert_int_eq(zs_nursery_spawn_copy(zero, count_end, "x", 1),
			 -ESTALE);
	ck_assert_int_eq(zs_nursery_cancel(zero), -ESTALE);
	return 0;
}

START_TEST(zero_handle_is_stale)
{
	use_zero_handle(NULL);
	assert_ok(run_task(use_zero_handle, &nursery));
}
END_TEST

START_TEST(calls_of_tasks_are_eperm_outside)
{
	ck_assert_int_eq(zs_nursery_open(&nursery, NULL), -EPERM);
	ck_assert_int_eq(zs_nursery_open(NULL, NULL), -EPERM);
	ck_assert_int_eq(zs_nursery_wait(nursery), -EPERM);
}
END_TEST

static int wait_for_anothers(void *arg)
{
	(void)arg;
	ck_assert_int_eq(zs_nursery_wait(nursery), -EPERM);
	count(&ended);
	return 0;
}

static int let_others_wait(void *arg)
{
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn(nursery, wait_for_anothers, arg));
	spawn_on_each(nursery, 4, wait_for_anothers, arg);
	return zs_nursery_wait(nursery);
}

/* By tasks of the opener's worker and of the others. */
START_TEST(wait_by_another_task_is_eperm)
{
	assert_ok(run_task_on(4, let_others_wait, NULL));
	ck_assert_uint_eq(counted(&ended), 5);
}
END_TEST

static int wait_around_open_ones(void *arg)
{
	struct zs_nursery inner;
	struct zs_cancel_token token;

	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn(nursery, count_end, NULL));
	assert_ok(zs_nursery_open(&inner, NULL));
	ck_assert_int_eq(zs_nursery_wait(nursery), -EBUSY);
	assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
	ck_assert_int_eq(zs_nursery_wait(nursery), -EBUSY);
	ck_assert_int_eq(zs_nursery_wait(inner), -EBUSY);
	assert_ok(zs_cancel_token_close(token));
	ck_assert_int_eq(zs_nursery_wait(nursery), -EBUSY);
	assert_ok(zs_nursery_wait(inner));
	ck_assert_uint_eq(counted(&ended), 0);
	assert_ok(zs_nursery_wait(nursery));
	ck_assert_uint_eq(counted(&ended), 1);
	return 0;
}

START_TEST(wait_with_an_inner_scope_open_is_ebusy)
{
	assert_ok(run_task(wait_around_open_ones, NULL));
}
END_TEST

static int give_bad_options(void *arg)
{
	struct zs_nursery_options options = { .flags = 2 };

	(void)arg;
	ck_assert_int_eq(zs_nursery_open(NULL, NULL), -EINVAL);
	ck_assert_int_eq(zs_nursery_open(&nursery, &options), -EINVAL);
	ck_assert_ptr_nonnull(strstr(zs_explain(-EINVAL), "0x2"));
	options.flags = UINT32_MAX;
	ck_assert_int_eq(zs_nursery_open(&nursery, &options), -EINVAL);
	ck_assert_ptr_null(nursery.scope);
	return zs_yield();
}

START_TEST(bad_options_are_einval_and_open_nothing)
{
	static struct capture capture;

	begin_capture(&capture);
	assert_ok(run_task(give_bad_options, NULL));
	end_capture(&capture);
	ck_assert_str_eq(capture.text, "");
}
END_TEST

/* --- tasks of a cancelled one --- */

static int look_at_cancelled_scope(void *arg)
{
	struct zs_cancel_token token;
	struct zs_nursery inner;

	(void)arg;
	ck_assert_int_eq(zs_cancel_reason(), ZS_CANCEL_REQUESTED);
	ck_assert_int_eq(zs_yield(), -ECANCELED);
	ck_assert_int_eq(zs_sleep(ZS_NEVER), -ECANCELED);
	ck_assert_int_eq(zs_nursery_spawn(nursery, count_end, NULL),
			 -ECANCELED);
	assert_ok(zs_nursery_open(&inner, NULL));
	ck_assert_int_eq(zs_nursery_spawn(inner, count_end, NULL), -ECANCELED);
	ck_assert_int_eq(zs_nursery_wait(inner), -ECANCELED);
	assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
	ck_assert_int_eq(zs_cancel_token_reason(token), ZS_CANCEL_REQUESTED);
	ck_assert_int_eq(zs_cancel_token_close(token), -ECANCELED);
	count(&ended);
	return 0;
}

static int cancel_before_start(void *arg)
{
	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	for (int i = 0; i < 10; i++)
		assert_ok(zs_nursery_spawn(nursery, look_at_cancelled_scope,
					   NULL));
	assert_ok(zs_nursery_cancel(nursery));
	assert_ok(zs_nursery_cancel(nursery));
	ck_assert_int_eq(zs_nursery_spawn(nursery, count_end, NULL),
			 -ECANCELED);
	ck_assert_int_eq(zs_nursery_spawn_copy(nursery, count_end, "x", 1),
			 -ECANCELED);
	ck_assert_uint_eq(counted(&ended), 0);
	ck_assert_int_eq(zs_nursery_wait(nursery), -ECANCELED);
	ck_assert_uint_eq(counted(&ended), 10);
	return zs_yield();
}

START_TEST(tasks_cancelled_before_they_start_still_run)
{
	assert_ok(run_task(cancel_before_start, NULL));
}
END_TEST

/* --- deadlines --- */

static int sleep_until_deadline(void *deadline_ns)
{
	ck_assert_int_eq(zs_sleep(ZS_NEVER), -ETIMEDOUT);
	ck_assert_int_ge(zs_now(), *(int64_t *)deadline_ns);
	ck_assert_int_eq(zs_cancel_reason(), ZS_CANCEL_DEADLINE);
	count(&ended);
	return 0;
}

static int let_deadline_pass(void *arg)
{
	struct zs_nursery_options options = { 0 };

	(void)arg;
	options.deadline_ns = zs_now() + 3 * ZS_MILLISECOND;
	assert_ok(zs_nursery_open(&nursery, &options));
	for (int i = 0; i < 5; i++)
		assert_ok(zs_nursery_spawn(nursery, sleep_until_deadline,
					   &options.deadline_ns));
	ck_assert_int_eq(zs_nursery_wait(nursery), -ETIMEDOUT);
	ck_assert_int_ge(zs_now(), options.deadline_ns);
	ck_assert_uint_eq(counted(&ended), 5);
	return zs_yield();
}

START_TEST(deadline_cancels_all_and_never_early)
{
	assert_ok(run_task(let_deadline_pass, NULL));
}
END_TEST

static int be_too_late(void *arg)
{
	struct zs_nursery_options options = { .deadline_ns = 1 };

	(void)arg;
	assert_ok(zs_nursery_open(&nursery, &options));
	ck_assert_int_eq(zs_cancel_reason(), ZS_CANCEL_DEADLINE);
	ck_assert_int_eq(zs_nursery_spawn(nursery, count_end, NULL),
			 -ECANCELED);
	ck_assert_int_eq(zs_yield(), -ETIMEDOUT);
	ck_assert_int_eq(zs_nursery_wait(nursery), -ETIMEDOUT);
	options.deadline_ns = ZS_NEVER;
	assert_ok(zs_nursery_open(&nursery, &options));
	assert_ok(zs_nursery_spawn(nursery, count_end, NULL));
	assert_ok(zs_yield());
	return zs_nursery_wait(nursery);
}

START_TEST(past_deadline_cancels_at_once_and_never_does_not)
{
	assert_ok(run_task(be_too_late, NULL));
	ck_assert_uint_eq(counted(&ended), 1);
}
END_TEST

/* --- left open --- */

static int leave_open(void *arg)
{
	static enum zs_cancel_reason left_open = ZS_CANCEL_LEFT_OPEN;
	struct zs_cancel_token token;
	struct zs_nursery inner;

	(void)arg;
	assert_ok(zs_task_set_name("leaver"));
	assert_ok(zs_nursery_open(&inner, NULL));
	for (int i = 0; i < 3; i++)
		assert_ok(zs_nursery_spawn(inner, sleep_until_cancelled,
					   &left_open));
	assert_ok(zs_yield());
	assert_ok(zs_nursery_spawn(inner, sleep_until_cancelled, &left_open));
	assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
	return 7;
}

static int join_those_who_leave(void *arg)
{
	struct zs_stats stats;

	(void)arg;
	for (uint32_t i = 1; i <= 2; i++) {
		assert_ok(zs_nursery_open(&nursery, NULL));
		assert_ok(zs_nursery_spawn(nursery, leave_open, NULL));
		assert_ok(zs_nursery_wait(nursery));
		ck_assert_uint_eq(counted(&ended), 4 * i);
		assert_ok(zs_stats(NULL, &stats));
		ck_assert_uint_eq(stats.total.scopes_left_open, 2 * i);
	}
	return 0;
}

/* A nursery, whose tasks are parked or have not started, and a token inside it:
 * innermost first. */
START_TEST(scopes_left_open_are_cancelled_joined_and_reported)
{
	static struct capture capture;
	const char *token, *left;

	begin_capture(&capture);
	assert_ok(run_task(join_those_who_leave, NULL));
	end_capture(&capture);
	token = strstr(capture.text,
		       " \"leaver\" returned with a cancel token open; it is "
		       "cancelled and closed now: call "
		       "zs_cancel_token_close()\n");
	ck_assert_ptr_nonnull(token);
	left = strstr(token, " \"leaver\" returned with a nursery open; it is "
			     "cancelled and closed now: call "
			     "zs_nursery_wait()\n");
	ck_assert_ptr_nonnull(left);
	ck_assert_mem_eq(capture.text, "zsync: task ", 12);
}
END_TEST

static Suite *nursery_suite(void)
{
	Suite *suite = suite_create("nursery");
	TCase *tests = tcase_create("nursery");

	tcase_add_test(tests, wait_for_no_tasks_is_0);
	tcase_add_test(tests, wait_returns_the_first_error);
	tcase_add_test(tests, positive_results_are_no_errors);
	tcase_add_test(tests, first_error_cancels_the_others_and_the_opener);
	tcase_add_test(tests, nurseries_inside_a_failed_one_are_ecanceled);
	tcase_add_loop_test(tests, error_goes_up_through_100_nested_nurseries,
			    0, 3);
	tcase_add_test(tests, cancel_of_the_50th_of_100_spares_the_outer_ones);
	tcase_add_test(tests, closed_nursery_is_stale);
	tcase_add_test(tests, zero_handle_is_stale);
	tcase_add_test(tests, calls_of_tasks_are_eperm_outside);
	tcase_add_test(tests, wait_by_another_task_is_eperm);
	tcase_add_test(tests, wait_with_an_inner_scope_open_is_ebusy);
	tcase_add_test(tests, bad_options_are_einval_and_open_nothing);
	tcase_add_test(tests, tasks_cancelled_before_they_start_still_run);
	tcase_add_test(tests, deadline_cancels_all_and_never_early);
	tcase_add_test(tests, past_deadline_cancels_at_once_and_never_does_not);
	tcase_add_test(tests,
		       scopes_left_open_are_cancelled_joined_and_reported);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(nursery_suite());
}
