/* SPDX-License-Identifier: MIT */
/*
 * The stall detector beside other things: handlers of the program, the other
 * worker, other runtimes, and their end. What it reports is in test_stall.c.
 */
#include <check.h>
#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "stall.h"

/* --- handlers and threads --- */

static int count_threads(void)
{
	DIR *folder = opendir("/proc/self/task");
	int number = -2; /* . and .. */

	ck_assert_ptr_nonnull(folder);
	while (readdir(folder))
		number++;
	closedir(folder);
	return number;
}

static bool is_handled(void)
{
	struct sigaction now;

	ck_assert_int_eq(sigaction(SIGURG, NULL, &now), 0);
	return now.sa_flags & SA_SIGINFO || now.sa_handler != SIG_DFL;
}

struct footprint {
	int nr_threads;
	bool is_handled;
};

static void *do_nothing_in_thread(void *arg)
{
	return arg;
}

static int take_footprint(void *arg)
{
	*(struct footprint *)arg = (struct footprint){
		.nr_threads = count_threads(),
		.is_handled = is_handled(),
	};
	return 0;
}

START_TEST(handler_and_thread_are_there_only_while_the_knob_is_on)
{
	struct zs_config off = stall_config(1, 0), on = stall_config(1, 10);
	struct footprint without, with, after;

	/* The sanitizer's own is made with the first. */
	run_in_thread(do_nothing_in_thread, NULL);
	assert_ok(run_task_with(&off, take_footprint, &without));
	assert_ok(run_task_with(&on, take_footprint, &with));
	/* One that has been joined may still be listed. */
	while (count_threads() > without.nr_threads)
		sched_yield();
	take_footprint(&after);
	ck_assert(!without.is_handled);
	ck_assert(with.is_handled);
	ck_assert(!after.is_handled);
	ck_assert_int_eq(with.nr_threads, without.nr_threads + 1);
	ck_assert_int_eq(after.nr_threads, without.nr_threads);
}
END_TEST

static struct counter urgent;

static void note_urgent(int number)
{
	(void)number;
	count(&urgent);
}

static int be_sent_urgent(void *arg)
{
	(void)arg;
	ck_assert_int_eq(raise(SIGURG), 0);
	/* The sanitizer delivers it at a call. */
	while (counted(&urgent) == 0)
		sched_yield();
	return be_culprit(NULL);
}

/* It gets those of others, and not ours. */
START_TEST(handler_of_the_program_is_passed_its_signals_and_put_back)
{
	struct sigaction now;

	signal(SIGURG, note_urgent);
	run_and_report(1, 50, be_sent_urgent, NULL);
	ck_assert_uint_eq(counted(&urgent), 1);
	ck_assert_int_eq(sigaction(SIGURG, NULL, &now), 0);
	ck_assert(now.sa_handler == note_urgent);
}
END_TEST

/* --- several workers, runtimes, and the end --- */

static struct counter others;

static int count_others(void *arg)
{
	(void)arg;
	count(&others);
	return 0;
}

static int stall_beside_others(void *arg)
{
	struct zs_nursery nursery;

	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	compute_until_caught();
	/* They are started by the other worker, for this one is stuck. */
	for (uint32_t i = 1; i <= 10; i++) {
		assert_ok(zs_nursery_spawn(nursery, count_others, NULL));
		assert_ok(zs_nursery_spawn(nursery, count_others, NULL));
		occupy_until(&others, 2 * i - 1);
	}
	return zs_nursery_wait(nursery);
}

START_TEST(other_worker_goes_on)
{
	run_and_report(2, 50, stall_beside_others, NULL);
	ck_assert_uint_eq(counted(&others), 20);
}
END_TEST

START_TEST(each_runtime_has_its_own)
{
	struct zs_config config = stall_config(2, 50);
	struct zs_runtime *runtimes[3];

	begin_reports();
	for (int i = 0; i < 3; i++) {
		assert_ok(zs_runtime_create(&runtimes[i], &config));
		assert_ok(zs_runtime_start(runtimes[i]));
	}
	stop_and_destroy(runtimes[0]);
	ck_assert(is_handled());
	assert_ok(zs_runtime_spawn(runtimes[1], be_culprit, NULL));
	stop_and_destroy(runtimes[1]);
	end_reports();
	ck_assert_int_ge(count_in_reports("zsync: stall: "), 1);
	begin_reports();
	assert_ok(zs_runtime_spawn(runtimes[2], be_culprit, NULL));
	stop_and_destroy(runtimes[2]);
	ck_assert(!is_handled());
	end_reports();
	ck_assert_int_ge(count_in_reports("zsync: stall: "), 1);
}
END_TEST

/* For as many microseconds. */
static int compute_for(void *arg)
{
	int64_t end_ns = zs_now() + *(int *)arg * ZS_MICROSECOND;

	while (zs_now() < end_ns)
		;
	return 0;
}

/* They end about when they are reported, or while they are. */
START_TEST(stop_while_stalls_are_reported)
{
	struct zs_config config = stall_config(2, 1);
	struct zs_runtime *runtime;

	begin_reports();
	for (int us = 500; us < 5000; us += 100) {
		assert_ok(zs_runtime_create(&runtime, &config));
		assert_ok(zs_runtime_start(runtime));
		for (int i = 0; i < 3; i++)
			assert_ok(zs_runtime_spawn(runtime, compute_for, &us));
		stop_and_destroy(runtime);
	}
	end_reports();
}
END_TEST

static Suite *stall_runtime_suite(void)
{
	Suite *suite = suite_create("stall_runtime");
	TCase *tests = tcase_create("stall_runtime");

	/* A busy machine may need it; a hang is one all the same. */
	tcase_set_timeout(tests, 20);
	tcase_add_test(tests,
		       handler_and_thread_are_there_only_while_the_knob_is_on);
	tcase_add_test(
		tests,
		handler_of_the_program_is_passed_its_signals_and_put_back);
	tcase_add_test(tests, other_worker_goes_on);
	tcase_add_test(tests, each_runtime_has_its_own);
	tcase_add_test(tests, stop_while_stalls_are_reported);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(stall_runtime_suite());
}
