/* SPDX-License-Identifier: MIT */
/* zs_offload(): on which thread a function runs, what its caller sees of it,
 * and when it does not run at all. */
#include <check.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>

#include "runtime.h"
#include "workers.h"

struct call {
	pthread_t thread;
	int result;
	struct counter begun;
	struct counter may_end;
	struct counter runs;
};

static int note_thread(void *arg)
{
	struct call *call = arg;

	call->thread = pthread_self();
	count(&call->runs);
	return call->result;
}

static int offload_results(void *unused)
{
	static const int results[] = { 0,	   7,	   INT_MAX, -EXDEV,
				       -ECANCELED, -EINTR, INT_MIN };
	size_t i;

	(void)unused;
	for (i = 0; i < sizeof(results) / sizeof(results[0]); i++) {
		struct call call = { .result = results[i] };

		ck_assert_int_eq(zs_offload(note_thread, &call), results[i]);
		ck_assert_uint_eq(counted(&call.runs), 1);
		ck_assert_int_eq(pthread_equal(call.thread, pthread_self()) !=
					 0,
				 test_is_blocking());
	}
	return zs_yield();
}

START_TEST(any_result_is_the_callers)
{
	ck_assert_int_eq(run_task(offload_results, NULL), 0);
}
END_TEST

static int return_zero(void *arg)
{
	(void)arg;
	return 0;
}

static int use_the_api(void *arg)
{
	struct zs_nursery nursery;
	struct zs_fork fork;

	ck_assert_ptr_null(zs_self());
	ck_assert_int_eq(zs_yield(), -EPERM);
	ck_assert_int_eq(zs_sleep(1), -EPERM);
	ck_assert_int_eq(zs_offload(return_zero, NULL), -EPERM);
	ck_assert_int_eq(zs_nursery_open(&nursery, NULL), -EPERM);
	ck_assert_int_eq(zs_fork(&fork, return_zero, NULL), -EPERM);
	ck_assert_int_eq(zs_task_set_name("no task"), -EPERM);
	/* What any thread may do it may, too. */
	return zs_nursery_spawn(*(struct zs_nursery *)arg, return_zero, NULL);
}

static int offload_api(void *unused)
{
	struct zs_nursery nursery;

	(void)unused;
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_offload(use_the_api, &nursery));
	ck_assert_ptr_nonnull(zs_self());
	return zs_nursery_wait(nursery);
}

START_TEST(inside_there_is_no_task)
{
	ck_assert_int_eq(run_task(offload_api, NULL), 0);
}
END_TEST

static int block(void *arg)
{
	struct call *call = arg;

	count(&call->begun);
	occupy_until(&call->may_end, 1);
	count(&call->runs);
	return 3;
}

static int let_it_end(void *arg)
{
	struct call *call = arg;

	await_count(&call->begun, 1);
	count(&call->may_end);
	return 0;
}

static int offload_blocker(void *arg)
{
	ck_assert_int_eq(zs_offload(block, arg), 3);
	return 0;
}

START_TEST(others_of_the_worker_run_meanwhile)
{
	struct call call = { 0 };

	if (test_is_blocking())
		return;
	ck_assert_int_eq(run_siblings(offload_blocker, let_it_end, &call), 0);
}
END_TEST

/* --- cancelling --- */

static int offload_in_vain(void *arg)
{
	struct call *call = arg;
	struct zs_cancel_token token;

	assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
	assert_ok(zs_cancel_token_cancel(token));
	ck_assert_int_eq(zs_offload(note_thread, call), -ECANCELED);
	ck_assert_int_eq(zs_cancel_token_close(token), -ECANCELED);
	ck_assert_uint_eq(counted(&call->runs), 0);
	return 0;
}

START_TEST(in_a_cancelled_scope_nothing_begins)
{
	struct call call = { 0 };

	ck_assert_int_eq(run_task(offload_in_vain, &call), 0);
}
END_TEST

/* The only thread is taken: what comes after it waits until its deadline. */
static int offload_too_late(void *arg)
{
	struct call *call = arg;
	struct call late = { 0 };
	struct zs_cancel_token token;
	struct zs_nursery nursery;
	struct zs_stats stats;

	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn(nursery, offload_blocker, call));
	await_count(&call->begun, 1);
	assert_ok(zs_stats(NULL, &stats));
	ck_assert_uint_eq(stats.offload_jobs.busy, 1);
	assert_ok(zs_cancel_token_open(&token, zs_now() + ZS_MILLISECOND));
	ck_assert_int_eq(zs_offload(note_thread, &late), -ETIMEDOUT);
	ck_assert_int_eq(zs_cancel_token_close(token), -ETIMEDOUT);
	count(&call->may_end);
	assert_ok(zs_nursery_wait(nursery));
	/* One more that comes to its turn shows that the other was dropped. */
	ck_assert_int_eq(zs_offload(block, call), 3);
	ck_assert_uint_eq(counted(&late.runs), 0);
	assert_ok(zs_stats(NULL, &stats));
	ck_assert_uint_eq(stats.offload_jobs.done, 2);
	ck_assert_uint_eq(stats.offload_jobs.queued, 0);
	return 0;
}

START_TEST(what_has_not_begun_can_be_cancelled)
{
	struct zs_config config = test_config();
	struct call call = { 0 };

	if (test_is_blocking())
		return;
	config.offload_threads = 1;
	ck_assert_int_eq(run_task_with(&config, offload_too_late, &call), 0);
}
END_TEST

static int cancel_and_let_it_end(void *arg)
{
	struct call *call = arg;

	await_count(&call->begun, 1);
	ck_assert_uint_eq(counted(&call->runs), 0);
	count(&call->may_end);
	return -EXDEV;
}

/* Its sibling's failure cancels it while it runs. */
static int offload_to_the_end(void *arg)
{
	struct call *call = arg;

	ck_assert_int_eq(zs_offload(block, call), 3);
	ck_assert_uint_eq(counted(&call->runs), 1);
	return zs_yield();
}

START_TEST(what_has_begun_is_awaited)
{
	struct call call = { 0 };

	if (test_is_blocking())
		return;
	ck_assert_int_eq(run_siblings(offload_to_the_end, cancel_and_let_it_end,
				      &call),
			 -EXDEV);
}
END_TEST

/* --- many --- */

static int offload_many(void *arg)
{
	struct call *call = arg;
	int i;

	for (i = 0; i < 50; i++) {
		struct call one = { .result = i };

		ck_assert_int_eq(zs_offload(note_thread, &one), i);
		count(&call->runs);
	}
	return 0;
}

static int offload_in_many_tasks(void *arg)
{
	struct zs_nursery nursery;
	int i;

	assert_ok(zs_nursery_open(&nursery, NULL));
	for (i = 0; i < 20; i++)
		assert_ok(zs_nursery_spawn(nursery, offload_many, arg));
	return zs_nursery_wait(nursery);
}

START_TEST(tasks_of_all_workers_share_the_threads)
{
	struct zs_config config = test_config();
	struct call call = { 0 };

	config.num_workers = (uint32_t)_i;
	config.offload_threads = 3;
	ck_assert_int_eq(run_task_with(&config, offload_in_many_tasks, &call),
			 0);
	ck_assert_uint_eq(counted(&call.runs), 1000);
}
END_TEST

static int misuse_offload(void *unused)
{
	(void)unused;
	return zs_offload(NULL, NULL);
}

START_TEST(what_is_no_call_is_refused)
{
	ck_assert_int_eq(run_task(misuse_offload, NULL), -EINVAL);
	ck_assert_int_eq(zs_offload(return_zero, NULL), -EPERM);
}
END_TEST

static Suite *offload_calls_suite(void)
{
	Suite *suite = suite_create("offload_calls");
	TCase *tests = tcase_create("offload_calls");

	tcase_add_test(tests, any_result_is_the_callers);
	tcase_add_test(tests, inside_there_is_no_task);
	tcase_add_test(tests, others_of_the_worker_run_meanwhile);
	tcase_add_test(tests, in_a_cancelled_scope_nothing_begins);
	tcase_add_test(tests, what_has_not_begun_can_be_cancelled);
	tcase_add_test(tests, what_has_begun_is_awaited);
	tcase_add_loop_test(tests, tasks_of_all_workers_share_the_threads, 1,
			    test_is_blocking() ? 2 : 4);
	tcase_add_test(tests, what_is_no_call_is_refused);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(offload_calls_suite());
}
