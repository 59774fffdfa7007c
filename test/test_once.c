/* SPDX-License-Identifier: MIT */
/* Once and the lazy value: run by one, seen by all, and tried again when it
 * has failed. */
#include "workers.h"

static struct zs_once once;
static struct zs_lazy lazy;
static struct counter runs, begun, ended;
static struct zs_notify may_go;
static uint64_t made;

/* --- one at a time --- */

static int do_fail(void *arg)
{
	(void)arg;
	count(&runs);
	return -EXDEV;
}

static int do_succeed(void *arg)
{
	(void)arg;
	count(&runs);
	return 7;
}

static int run_again(void *arg)
{
	(void)arg;
	ck_assert_int_eq(zs_once_run(&once, do_succeed, NULL), -EDEADLK);
	return -EBADE;
}

static int run_some(void *arg)
{
	(void)arg;
	ck_assert_int_eq(zs_once_run(&once, run_again, NULL), -EBADE);
	ck_assert_int_eq(zs_once_run(&once, do_fail, NULL), -EXDEV);
	ck_assert_int_eq(zs_once_run(&once, do_fail, NULL), -EXDEV);
	ck_assert_uint_eq(counted(&runs), 2);
	assert_ok(zs_once_run(&once, do_succeed, NULL));
	assert_ok(zs_once_run(&once, do_fail, NULL));
	ck_assert_uint_eq(counted(&runs), 3);
	return 0;
}

START_TEST(what_failed_is_tried_again_and_what_is_done_is_not)
{
	assert_ok(run_task(run_some, NULL));
}
END_TEST

static void *run_some_in_thread(void *arg)
{
	run_some(arg);
	return NULL;
}

START_TEST(thread_that_is_no_workers_runs_it)
{
	run_in_thread(run_some_in_thread, NULL);
}
END_TEST

static int fail_when_told(void *arg)
{
	(void)arg;
	count(&runs);
	assert_ok(zs_notify_wait(&may_go));
	return -EXDEV;
}

static int run_failing(void *arg)
{
	(void)arg;
	ck_assert_int_eq(zs_once_run(&once, fail_when_told, NULL), -EXDEV);
	count(&ended);
	return 0;
}

static int run_succeeding(void *arg)
{
	(void)arg;
	assert_ok(zs_once_run(&once, do_succeed, NULL));
	count(&ended);
	return 0;
}

static int fail_with_waiters(void *arg)
{
	struct zs_nursery nursery;

	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn(nursery, run_failing, NULL));
	assert_ok(zs_yield());
	assert_ok(zs_nursery_spawn(nursery, run_failing, NULL));
	assert_ok(zs_yield());
	for (int i = 0; i < 3; i++)
		assert_ok(zs_nursery_spawn(nursery, run_succeeding, NULL));
	assert_ok(zs_yield());
	ck_assert_uint_eq(counted(&runs), 1);
	assert_ok(zs_notify_one(&may_go));
	await_count(&ended, 1);
	await_count(&runs, 2);
	ck_assert_uint_eq(counted(&ended), 1);
	assert_ok(zs_notify_one(&may_go));
	assert_ok(zs_nursery_wait(nursery));
	ck_assert_uint_eq(counted(&runs), 3);
	ck_assert_uint_eq(counted(&ended), 5);
	return 0;
}

START_TEST(next_one_runs_its_own_when_the_first_has_failed)
{
	assert_ok(run_task(fail_with_waiters, NULL));
}
END_TEST

static int run_cancelled(void *arg)
{
	(void)arg;
	ck_assert_int_eq(zs_once_run(&once, do_succeed, NULL), -ECANCELED);
	count(&ended);
	return 0;
}

/* It has been chosen to run, but is cancelled before it does. */
static int cancel_chosen(void *arg)
{
	struct zs_nursery nursery, cancelled;

	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_open(&cancelled, NULL));
	assert_ok(zs_nursery_spawn(nursery, run_failing, NULL));
	assert_ok(zs_yield());
	assert_ok(zs_nursery_spawn(cancelled, run_cancelled, NULL));
	assert_ok(zs_yield());
	assert_ok(zs_nursery_spawn(nursery, run_succeeding, NULL));
	assert_ok(zs_yield());
	assert_ok(zs_notify_one(&may_go));
	assert_ok(zs_yield());
	assert_ok(zs_nursery_cancel(cancelled));
	ck_assert_int_eq(zs_nursery_wait(cancelled), -ECANCELED);
	assert_ok(zs_nursery_wait(nursery));
	ck_assert_uint_eq(counted(&runs), 2);
	ck_assert_uint_eq(counted(&ended), 3);
	return 0;
}

START_TEST(who_was_chosen_and_cancelled_passes_it_on)
{
	assert_ok(run_task(cancel_chosen, NULL));
}
END_TEST

/* --- many --- */

enum { NR_TASKS = 16, FAILURES = 3 };

static int make(void *arg, void **value)
{
	ck_assert_ptr_eq(arg, &made);
	/* Nobody else runs it meanwhile. */
	made++;
	zs_yield();
	*value = &made;
	return made <= FAILURES ? -EXDEV : 0;
}

static void get(void)
{
	void *value = NULL;
	int ret;

	count(&begun);
	do {
		ret = zs_lazy_get(&lazy, make, &made, &value);
		if (ret < 0) {
			ck_assert_int_eq(ret, -EXDEV);
			ck_assert_ptr_null(value);
			count(&runs);
		}
	} while (ret < 0);
	ck_assert_ptr_eq(value, &made);
	ck_assert_uint_eq(*(uint64_t *)value, FAILURES + 1);
}

static int get_in_task(void *arg)
{
	(void)arg;
	get();
	return 0;
}

static void *get_in_thread(void *arg)
{
	get();
	return arg;
}

static int get_by_many(void *arg)
{
	struct zs_nursery nursery;
	pthread_t threads[2];

	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	for (int i = 0; i < 2; i++)
		threads[i] = start_thread(get_in_thread, NULL);
	for (int i = 0; i < NR_TASKS; i++)
		assert_ok(zs_nursery_spawn(nursery, get_in_task, NULL));
	assert_ok(zs_nursery_wait(nursery));
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(made, FAILURES + 1);
	ck_assert_uint_eq(counted(&runs), FAILURES);
	return 0;
}

START_TEST(value_is_made_once_and_seen_by_all)
{
	assert_ok(run_task_on((uint32_t)_i, get_by_many, NULL));
}
END_TEST

static Suite *once_suite(void)
{
	Suite *suite = suite_create("once");
	TCase *tests = tcase_create("once");

	tcase_set_timeout(tests, 20);
	tcase_add_test(tests,
		       what_failed_is_tried_again_and_what_is_done_is_not);
	tcase_add_test(tests, thread_that_is_no_workers_runs_it);
	tcase_add_test(tests, next_one_runs_its_own_when_the_first_has_failed);
	tcase_add_test(tests, who_was_chosen_and_cancelled_passes_it_on);
	tcase_add_loop_test(tests, value_is_made_once_and_seen_by_all, 1, 4);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(once_suite());
}
