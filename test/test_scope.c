/* SPDX-License-Identifier: MIT */
/*
 * A scope's word: the count of its tasks and the message to its worker, changed
 * by other threads at the worst moment. Where a spawn that is counted and then
 * comes to nothing is needed, the test does by itself what zs_nursery_spawn()
 * does then. A wake that is lost is seen by the test's timeout.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "sched/scope.h"
#include "workers.h"

/* Shared by the tasks of a test; each test is a process of its own. */
static struct zs_nursery nursery, others[2];
static struct counter opened, counted_in, ended, told;

static int count_end(void *arg)
{
	(void)arg;
	count(&ended);
	return 0;
}

static void begin_spawn(struct zs_nursery into)
{
	assert_ok(zs_scope_add_remotely(into.scope, into.generation));
}

/* Of a spawn that fails after all. */
static void give_up_spawn(struct zs_nursery into)
{
	zs_scope_remove_remotely(into.scope);
}

/* --- the last task is none --- */

static void *fail_to_spawn(void *arg)
{
	while (counted(&opened) == 0)
		sched_yield();
	begin_spawn(nursery);
	count(&counted_in);
	/* Both tasks are of one worker, so this one has ended. */
	while (counted(&told) == 0)
		sched_yield();
	give_up_spawn(nursery);
	return arg;
}

static int end_meanwhile(void *arg)
{
	count(&opened);
	await_count(&counted_in, 1);
	return count_end(arg);
}

static int tell_of_the_end(void *arg)
{
	(void)arg;
	await_count(&ended, 1);
	count(&told);
	return 0;
}

static int wait_for_failed_spawn(void *arg)
{
	struct zs_nursery_options options = { .flags = ZS_NURSERY_PINNED };
	struct zs_nursery beside;

	(void)arg;
	assert_ok(zs_nursery_open(&beside, &options));
	assert_ok(zs_nursery_spawn(beside, tell_of_the_end, NULL));
	assert_ok(zs_nursery_open(&nursery, &options));
	assert_ok(zs_nursery_spawn(nursery, end_meanwhile, NULL));
	assert_ok(zs_nursery_wait(nursery));
	return zs_nursery_wait(beside);
}

/* The only real task ends while a foreign thread's is counted; when that one is
 * taken off the count the opener has to be woken. On 1 and 2 workers. */
START_TEST(spawn_that_fails_last_wakes_the_opener)
{
	pthread_t thread = start_thread(fail_to_spawn, NULL);

	assert_ok(run_task_on((uint32_t)_i + 1, wait_for_failed_spawn, NULL));
	pthread_join(thread, NULL);
}
END_TEST

/* --- one more task, after the opener has been woken --- */

static struct counter closed;
static bool is_stale[2], has_spawned[2];

/* Opens a nursery, waits for it, and then spawns into the other one's, which is
 * open if its opener has been woken, but has not run yet. */
static int open_one_of_two(void *arg)
{
	struct zs_nursery *own = arg;
	int side = own == &others[1];
	int ret;

	assert_ok(zs_nursery_open(own, NULL));
	begin_spawn(*own);
	count(&opened);
	assert_ok(zs_nursery_wait(*own));
	ret = zs_nursery_spawn(others[!side], count_end, NULL);
	is_stale[side] = ret == -ESTALE;
	has_spawned[side] = ret == 0;
	count(&closed);
	return 0;
}

static void *fail_both(void *arg)
{
	give_up_spawn(others[0]);
	give_up_spawn(others[1]);
	return arg;
}

/* The worker hears of both at once. */
static int have_both_fail(void *arg)
{
	await_count(&opened, 2);
	/* Both wait: they do nothing else, and are older. */
	assert_ok(zs_yield());
	run_in_thread(fail_both, arg);
	return 0;
}

static int open_both(void *arg)
{
	struct zs_nursery_options options = { .flags = ZS_NURSERY_PINNED };

	(void)arg;
	assert_ok(zs_nursery_open(&nursery, &options));
	assert_ok(zs_nursery_spawn(nursery, open_one_of_two, &others[0]));
	assert_ok(zs_nursery_spawn(nursery, open_one_of_two, &others[1]));
	assert_ok(zs_nursery_spawn(nursery, have_both_fail, NULL));
	assert_ok(zs_nursery_wait(nursery));
	ck_assert_uint_eq(counted(&closed), 2);
	ck_assert_uint_eq(counted(&ended), 1);
	ck_assert(has_spawned[0] != has_spawned[1]);
	ck_assert(is_stale[0] != is_stale[1]);
	return 0;
}

/* Whichever runs first still finds the other's nursery open, with a count of 0
 * that has been merged into the word. The one that is spawned into it then is
 * counted at home, and its end must wake the opener once more. */
START_TEST(spawn_after_the_last_end_is_waited_for)
{
	assert_ok(run_task_on((uint32_t)_i + 1, open_both, NULL));
}
END_TEST

/* --- counts that drift --- */

static int64_t balance_of(const struct zs_scope *scope)
{
	return (int64_t)atomic_load_explicit(&scope->state,
					     memory_order_relaxed) >>
	       ZS_SCOPE_BALANCE_SHIFT;
}

/* As if that many tasks had been spawned from elsewhere and had ended here; if
 * negative, the other way round. */
static void age(struct zs_scope *scope, int64_t tasks)
{
	atomic_fetch_add_explicit(&scope->state,
				  (uint64_t)tasks << ZS_SCOPE_BALANCE_SHIFT,
				  memory_order_relaxed);
	scope->local -= tasks;
}

static int sleep_until_cancelled(void *arg)
{
	(void)arg;
	ck_assert_int_eq(zs_sleep(ZS_NEVER), -ECANCELED);
	return 0;
}

enum { NR_MORE = 20 };

static int grow_old(void *arg)
{
	struct zs_scope *scope;

	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	scope = nursery.scope;
	assert_ok(zs_nursery_spawn(nursery, sleep_until_cancelled, NULL));
	age(scope, ZS_SCOPE_DRIFT - NR_MORE / 2);
	spawn_from_thread(nursery, NR_MORE, count_end, NULL);
	/* By the scope's message. */
	while (balance_of(scope) > NR_MORE)
		assert_ok(zs_yield());
	await_count(&ended, NR_MORE);
	ck_assert_int_eq(zs_scope_count(scope), 1);
	assert_ok(zs_nursery_cancel(nursery));
	ck_assert_int_eq(zs_nursery_wait(nursery), -ECANCELED);
	return 0;
}

/* Millions of foreign spawns that all end at home, which alone would overflow
 * the word's part of the count. It can be cancelled and closed at any age. */
START_TEST(old_nursery_of_foreign_spawns_can_be_closed)
{
	assert_ok(run_task(grow_old, NULL));
}
END_TEST

static pthread_t home;

static int end_elsewhere(void *arg)
{
	ck_assert(!pthread_equal(pthread_self(), home));
	return count_end(arg);
}

static int grow_old_elsewhere(void *arg)
{
	struct zs_scope *scope;

	(void)arg;
	home = pthread_self();
	assert_ok(zs_nursery_open(&nursery, NULL));
	scope = nursery.scope;
	age(scope, -(ZS_SCOPE_DRIFT - NR_MORE / 2));
	/* One more, which is left to its owner. */
	for (int i = 0; i < NR_MORE; i++)
		assert_ok(zs_nursery_spawn(nursery, end_elsewhere, NULL));
	assert_ok(zs_nursery_spawn(nursery, count_end, NULL));
	occupy_until(&ended, NR_MORE);
	while (balance_of(scope) < -NR_MORE)
		assert_ok(zs_yield());
	await_count(&ended, NR_MORE + 1);
	return zs_nursery_wait(nursery);
}

/* Likewise, of tasks that are spawned at home and stolen. The spawner does not
 * give way meanwhile. */
START_TEST(old_nursery_of_stolen_tasks_can_be_closed)
{
	assert_ok(run_task_on(2, grow_old_elsewhere, NULL));
}
END_TEST

/* --- cancels --- */

static void *cancel_on_and_on(void *arg)
{
	for (int i = 0; i < 1000; i++)
		assert_ok(zs_nursery_cancel(nursery));
	return arg;
}

static int be_cancelled_again(void *arg)
{
	struct zs_stats before, after;

	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	run_in_thread(cancel_on_and_on, NULL);
	ck_assert_int_eq(zs_sleep(ZS_NEVER), -ECANCELED);
	assert_ok(zs_stats(NULL, &before));
	for (int i = 0; i < 10; i++) {
		run_in_thread(cancel_on_and_on, NULL);
		ck_assert_int_eq(zs_yield(), -ECANCELED);
		ck_assert_int_eq(zs_sleep(1), -ECANCELED);
	}
	ck_assert_int_eq(zs_nursery_wait(nursery), -ECANCELED);
	assert_ok(zs_stats(NULL, &after));
	ck_assert_uint_eq(after.total.messages, before.total.messages);
	return 0;
}

/* Each message would keep the nursery from being closed until the worker has
 * taken it in, and there would always be another one. */
START_TEST(cancels_of_a_cancelled_nursery_send_no_message)
{
	assert_ok(run_task(be_cancelled_again, NULL));
}
END_TEST

static struct zs_nursery published;

static void *cancel_until_stale(void *arg)
{
	int ret;

	while (counted(&opened) == 0)
		sched_yield();
	do
		ret = zs_nursery_cancel(published);
	while (ret == 0);
	ck_assert_int_eq(ret, -ESTALE);
	return arg;
}

static int close_meanwhile(void *arg)
{
	(void)arg;
	assert_ok(zs_nursery_open(&published, NULL));
	assert_ok(zs_nursery_spawn(published, sleep_until_cancelled, NULL));
	assert_ok(zs_yield());
	count(&opened);
	ck_assert_int_eq(zs_nursery_wait(published), -ECANCELED);
	return 0;
}

START_TEST(nursery_closes_while_threads_cancel_it_on_and_on)
{
	struct zs_runtime *runtime = start_runtime(1);
	pthread_t threads[3];

	for (int i = 0; i < 3; i++)
		threads[i] = start_thread(cancel_until_stale, NULL);
	assert_ok(zs_runtime_spawn(runtime, close_meanwhile, NULL));
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	stop_and_destroy(runtime);
}
END_TEST

/* --- inside a nursery that has failed --- */

static int fail_with_eio(void *arg)
{
	(void)arg;
	return -EIO;
}

static int open_inside(void *arg)
{
	struct zs_nursery inner;

	(void)arg;
	/* Cancelled while it waits, and cancelled from the start. */
	assert_ok(zs_nursery_open(&inner, NULL));
	assert_ok(zs_nursery_spawn(inner, sleep_until_cancelled, NULL));
	ck_assert_int_eq(zs_nursery_wait(inner), -ECANCELED);
	assert_ok(zs_nursery_open(&inner, NULL));
	ck_assert_int_eq(zs_nursery_spawn(inner, count_end, NULL), -ECANCELED);
	ck_assert_int_eq(zs_cancel_reason(), ZS_CANCEL_SIBLING_FAILED);
	ck_assert_int_eq(zs_nursery_wait(inner), -ECANCELED);
	return count_end(NULL);
}

static int fail_around(void *arg)
{
	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn(nursery, open_inside, NULL));
	assert_ok(zs_yield());
	assert_ok(zs_nursery_spawn(nursery, fail_with_eio, NULL));
	ck_assert_int_eq(zs_nursery_wait(nursery), -EIO);
	ck_assert_uint_eq(counted(&ended), 1);
	return 0;
}

/* The sibling that failed is none of the inner one's, which has no error. */
START_TEST(nursery_inside_a_failed_one_is_cancelled)
{
	assert_ok(run_task(fail_around, NULL));
}
END_TEST

static Suite *scope_suite(void)
{
	Suite *suite = suite_create("scope");
	TCase *tests = tcase_create("scope");

	/* A busy machine may need it; a hang is one all the same. */
	tcase_set_timeout(tests, 10);
	tcase_add_loop_test(tests, spawn_that_fails_last_wakes_the_opener, 0,
			    2);
	tcase_add_loop_test(tests, spawn_after_the_last_end_is_waited_for, 0,
			    2);
	tcase_add_test(tests, old_nursery_of_foreign_spawns_can_be_closed);
	tcase_add_test(tests, old_nursery_of_stolen_tasks_can_be_closed);
	tcase_add_test(tests, cancels_of_a_cancelled_nursery_send_no_message);
	tcase_add_test(tests, nursery_closes_while_threads_cancel_it_on_and_on);
	tcase_add_test(tests, nursery_inside_a_failed_one_is_cancelled);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(scope_suite());
}
