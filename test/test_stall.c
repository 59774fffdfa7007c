/* SPDX-License-Identifier: MIT */
/*
 * The stall detector: what it reports and what it does not. Where nothing may
 * be reported the threshold is long, since a busy machine holds up anyone. That
 * it is in nobody's way is in test_stall_runtime.c.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "descriptors.h"
#include "dump.h"
#include "stall.h"

/* Without a backtrace(), as in musl, the report says so and shows words. */
#if __has_include(<execinfo.h>)
enum { IS_EXACT = 1 };
#else
enum { IS_EXACT = 0 };
#endif

/* Each frame as addr2line wants it: the file, and the offset in it. */
START_TEST(culprit_is_reported_once_with_its_name_and_place)
{
	char path[512];
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 4);

	ck_assert_int_gt(length, 0);
	strcpy(path + length, "+0x");
	run_and_report(1, 100, be_culprit, NULL);
	ck_assert_int_eq(count_in_reports("zsync: stall: task 1 \"culprit\" "
					  "has kept worker 0 (thread "),
			 1);
	expect_report(path);
	expect_report("; behind it: 0 not started, 0 timers");
	ck_assert_msg(has_place(), "not 0x%zx in:\n%s", place, reports);
	ck_assert_int_eq(count_in_reports("return addresses"), !IS_EXACT);
}
END_TEST

static int leave_others_waiting(void *arg)
{
	struct zs_nursery nursery;
	struct zs_timer timer = { 0 };

	assert_ok(zs_nursery_open(&nursery, NULL));
	for (int i = 0; i < 3; i++)
		assert_ok(zs_nursery_spawn(nursery, be_culprit, NULL));
	assert_ok(zs_timer_start(&timer, 1, (zs_timer_fn *)arg, NULL));
	compute_until_caught();
	zs_timer_cancel(&timer);
	return zs_nursery_wait(nursery);
}

static void do_nothing(struct zs_timer *timer, void *arg)
{
	(void)timer;
	(void)arg;
}

START_TEST(report_tells_what_waits)
{
	run_and_report(1, 50, leave_others_waiting, (void *)do_nothing);
	expect_report("behind it: 3 not started, 1 timers, some of them due");
}
END_TEST

/* The third report comes after two doublings. */
static int go_on_until_third(void *arg)
{
	struct zs_stats *stats = arg;

	do
		assert_ok(zs_stats(NULL, stats));
	while (stats->total.longest_stall_ns < 200 * ZS_MILLISECOND);
	return 0;
}

START_TEST(one_that_goes_on_is_reported_each_time_that_it_has_doubled)
{
	struct zs_stats stats;

	run_and_report(1, 50, go_on_until_third, &stats);
	ck_assert_int_ge(count_in_reports("zsync: stall: "), 3);
	ck_assert_uint_eq(stats.total.stalls, 1);
}
END_TEST

static int look_at_itself(void *arg)
{
	struct zs_stats *stats = arg;
	const char *text;

	compute_until_caught();
	text = line_with(dump(), " worker 0 (");
	expect(text, "1 stall of up to ");
	expect(text, ", stalled for ");
	assert_ok(zs_stats(NULL, &stats[0]));
	assert_ok(zs_sleep(300 * ZS_MILLISECOND));
	text = line_with(dump(), " worker 0 (");
	ck_assert_ptr_null(strstr(text, "stalled"));
	assert_ok(zs_stats(NULL, &stats[1]));
	return 0;
}

START_TEST(stats_and_dump_tell_of_it)
{
	struct zs_stats stats[2];

	run_and_report(2, 100, look_at_itself, stats);
	ck_assert_uint_eq(stats[0].total.stalls, 1);
	ck_assert_uint_ge(stats[0].total.longest_stall_ns,
			  100 * ZS_MILLISECOND);
	ck_assert_uint_eq(stats[1].total.stalls, 1);
}
END_TEST

static void compute_in_loop(struct zs_timer *timer, void *arg)
{
	(void)timer;
	(void)arg;
	compute_until_caught();
}

static int have_slow_timer(void *arg)
{
	struct zs_timer timer = { 0 };

	(void)arg;
	assert_ok(zs_timer_start(&timer, 1, compute_in_loop, NULL));
	return zs_sleep(ZS_MILLISECOND);
}

START_TEST(function_of_a_timer_is_reported_as_the_loop)
{
	run_and_report(1, 50, have_slow_timer, NULL);
	expect_report("zsync: stall: the loop (a timer's function, perhaps) "
		      "has kept worker 0");
	ck_assert_msg(has_place(), "not 0x%zx in:\n%s", place, reports);
}
END_TEST

/* --- culprits that block --- */

static ZS_NOINLINE int block_in_sleep(void *arg)
{
	int ret = usleep(400000);

	place = (uintptr_t)block_in_sleep;
	(void)arg;
	/* Else it has been interrupted. */
	ck_assert_int_eq(ret, 0);
	return 0;
}

START_TEST(blocked_sleep_is_reported_and_sleeps_on)
{
	run_and_report(1, 50, block_in_sleep, NULL);
	ck_assert_msg(has_place(), "not 0x%zx in:\n%s", place, reports);
}
END_TEST

static void *write_when_caught(void *arg)
{
	const int *fds = arg;

	while (!is_reported())
		sched_yield();
	ck_assert_int_eq(write(fds[1], "x", 1), 1);
	return NULL;
}

static ZS_NOINLINE int block_in_read(void *arg)
{
	const int *fds = arg;
	char byte;
	ssize_t length = read(fds[0], &byte, 1);

	place = (uintptr_t)block_in_read;
	ck_assert_int_eq(length, 1);
	return 0;
}

START_TEST(blocked_read_is_reported_and_goes_on)
{
	struct zs_config config = stall_config(1, 50);
	pthread_t thread;
	int fds[2];

	make_pipe(fds);
	begin_reports();
	thread = start_thread(write_when_caught, fds);
	assert_ok(run_task_with(&config, block_in_read, fds));
	pthread_join(thread, NULL);
	end_reports();
	ck_assert_msg(has_place() || is_handler_late(), "not 0x%zx in:\n%s",
		      place, reports);
}
END_TEST

static int be_masked_culprit(void *arg)
{
	sigset_t mask;

	sigemptyset(&mask);
	sigaddset(&mask, SIGURG);
	pthread_sigmask(SIG_BLOCK, &mask, NULL);
	be_culprit(arg);
	pthread_sigmask(SIG_UNBLOCK, &mask, NULL);
	return 0;
}

START_TEST(culprit_that_blocks_the_signal_is_reported_without_backtrace)
{
	run_and_report(1, 50, be_masked_culprit, NULL);
	expect_report("\"culprit\" has kept worker 0");
	expect_report("no backtrace");
	ck_assert_int_eq(count_in_reports("(0x"), 0);
}
END_TEST

/* --- what is no stall --- */

static struct counter running;

static int sleep_a_while(void *arg)
{
	(void)arg;
	assert_ok(zs_sleep(700 * ZS_MILLISECOND));
	count(&running);
	return 0;
}

static int wait_for_byte(void *arg)
{
	const int *fds = arg;
	char byte;

	return zs_read(fds[0], &byte, 1) == 1 ? 0 : -EIO;
}

static int yield_meanwhile(void *arg)
{
	(void)arg;
	while (counted(&running) == 0)
		assert_ok(zs_yield());
	return 0;
}

struct idlers {
	int fds[2];
	bool is_busy;
};

static int sleep_wait_and_yield(void *arg)
{
	struct idlers *idlers = arg;
	struct zs_nursery nursery;
	struct zs_stats stats;

	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn(nursery, wait_for_byte, idlers->fds));
	assert_ok(zs_nursery_spawn(nursery, sleep_a_while, NULL));
	if (idlers->is_busy)
		assert_ok(zs_nursery_spawn(nursery, yield_meanwhile, NULL));
	while (counted(&running) == 0)
		assert_ok(zs_sleep(50 * ZS_MILLISECOND));
	ck_assert_int_eq(zs_write(idlers->fds[1], "x", 1), 1);
	assert_ok(zs_nursery_wait(nursery));
	assert_ok(zs_stats(NULL, &stats));
	ck_assert_uint_eq(stats.total.stalls, 0);
	return 0;
}

/* On a worker that is idle, and on one that is busy with a task that yields. */
START_TEST(who_sleeps_waits_or_yields_is_not_reported)
{
	struct idlers idlers = { .is_busy = _i };

	make_pipe(idlers.fds);
	run_and_report(1, 250, sleep_wait_and_yield, &idlers);
	ck_assert_str_eq(reports, "");
}
END_TEST

static Suite *stall_suite(void)
{
	Suite *suite = suite_create("stall");
	TCase *tests = tcase_create("stall");

	/* A busy machine may need it; a hang is one all the same. */
	tcase_set_timeout(tests, 20);
	tcase_add_test(tests, culprit_is_reported_once_with_its_name_and_place);
	tcase_add_test(tests, report_tells_what_waits);
	tcase_add_test(
		tests,
		one_that_goes_on_is_reported_each_time_that_it_has_doubled);
	tcase_add_test(tests, stats_and_dump_tell_of_it);
	tcase_add_test(tests, function_of_a_timer_is_reported_as_the_loop);
	tcase_add_test(tests, blocked_sleep_is_reported_and_sleeps_on);
	tcase_add_test(tests, blocked_read_is_reported_and_goes_on);
	tcase_add_test(
		tests,
		culprit_that_blocks_the_signal_is_reported_without_backtrace);
	tcase_add_loop_test(tests, who_sleeps_waits_or_yields_is_not_reported,
			    0, 2);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(stall_suite());
}
