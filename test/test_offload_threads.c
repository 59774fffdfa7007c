/* SPDX-License-Identifier: MIT */
/*
 * The threads of the offload pool, without a runtime: when they are made and
 * when they end, and what becomes of a job for which there is none.
 */
#include "offload.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define NS_PER_SECOND 1000000000LL

/* For ThreadSanitizer: nobody can join a thread that has been left behind. */
ZS_PUBLIC const char *__tsan_default_options(void);

const char *__tsan_default_options(void)
{
	return "report_thread_leaks=0";
}

/* --- between the pool and libc; see the Kbuild --- */

/* From now on no thread is made: an errno for it, or it only seems so. */
static struct {
	int error;
	bool only_seems;
	int nr_made;
} threads;

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
			  void *(*fn)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
			  void *(*fn)(void *), void *arg);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
			  void *(*fn)(void *), void *arg)
{
	if (threads.error)
		return threads.error;
	threads.nr_made++;
	if (threads.only_seems)
		return 0;
	return __real_pthread_create(thread, attributes, fn, arg);
}

/* Waits that have a limit end at once, and how long they would have been. */
static struct {
	atomic_bool end_at_once;
	_Atomic int64_t longest_ns;
} waits;

int __real_pthread_cond_timedwait(pthread_cond_t *condition,
				  pthread_mutex_t *mutex,
				  const struct timespec *until);
int __wrap_pthread_cond_timedwait(pthread_cond_t *condition,
				  pthread_mutex_t *mutex,
				  const struct timespec *until);

int __wrap_pthread_cond_timedwait(pthread_cond_t *condition,
				  pthread_mutex_t *mutex,
				  const struct timespec *until)
{
	int64_t wait_ns =
		until->tv_sec * NS_PER_SECOND + until->tv_nsec - zs_clock_ns();

	if (wait_ns > atomic_load(&waits.longest_ns))
		atomic_store(&waits.longest_ns, wait_ns);
	if (atomic_load(&waits.end_at_once))
		return ETIMEDOUT;
	return __real_pthread_cond_timedwait(condition, mutex, until);
}

/* --- as long as there is work --- */

START_TEST(idle_thread_is_used_before_one_is_made)
{
	int lane, i;

	open_pool(8);
	for (lane = 0; lane < ZS_NUM_LANES; lane++)
		for (i = 0; i < 100; i++)
			ck_assert_int_eq(run_nothing((enum zs_lane)lane), 0);
	ck_assert_int_eq(threads.nr_made, ZS_NUM_LANES);
	close_pool();
}
END_TEST

static void await_no_threads(enum zs_lane lane)
{
	while (counts_of(pool, lane).num_threads > 0)
		sched_yield();
}

/* The ten seconds are only seen to be asked for. */
START_TEST(threads_end_when_they_have_been_idle_for_ten_seconds)
{
	struct zs_op ops[3];

	open_pool(3);
	submit_gated(ops, 3, ZS_LANE_FILES);
	await_inside(3);
	atomic_store(&waits.longest_ns, 0);
	atomic_store(&waits.end_at_once, true);
	open_gate();
	collect_gated(3);
	await_no_threads(ZS_LANE_FILES);
	ck_assert_int_le(atomic_load(&waits.longest_ns), 10 * NS_PER_SECOND);
	ck_assert_int_gt(atomic_load(&waits.longest_ns), 9 * NS_PER_SECOND);
	atomic_store(&waits.end_at_once, false);
	/* Then others are made. */
	ck_assert_int_eq(run_nothing(ZS_LANE_FILES), 0);
	ck_assert_int_eq(threads.nr_made, 4);
	close_pool();
}
END_TEST

/* --- the pool's end --- */

static int wait_till_open(void)
{
	pthread_mutex_lock(&gate.lock);
	while (gate.num_passed == 0)
		pthread_cond_wait(&gate.changed, &gate.lock);
	pthread_mutex_unlock(&gate.lock);
	return 0;
}

/* It leaves the pool behind, which the thread goes on to use. */
START_TEST(destroy_does_not_wait_for_ever_for_a_held_job)
{
	struct release release = { .detached.release = note_release };
	struct zs_op op;

	open_pool(1);
	submit_gated(&op, 1, ZS_LANE_FILES);
	await_inside(1);
	zs_offload_detach(&engine.returns, &op, &release.detached);
	zs_returns_abandon(&engine.returns);
	atomic_store(&waits.longest_ns, 0);
	atomic_store(&waits.end_at_once, true);
	zs_offload_destroy(pool);
	ck_assert_int_le(atomic_load(&waits.longest_ns), NS_PER_SECOND);
	ck_assert_int_gt(atomic_load(&waits.longest_ns), NS_PER_SECOND / 2);
	open_gate();
	wait_till_open();
	await_no_threads(ZS_LANE_FILES);
	ck_assert_int_eq(release.nr_released, 0);
}
END_TEST

START_TEST(destroy_ends_idle_threads_at_once)
{
	int64_t start_ns;
	int lane;

	open_pool(1);
	for (lane = 0; lane < ZS_NUM_LANES; lane++)
		run_nothing((enum zs_lane)lane);
	start_ns = zs_clock_ns();
	close_pool();
	ck_assert_int_lt(zs_clock_ns() - start_ns, 9 * NS_PER_SECOND);
}
END_TEST

/* --- no thread --- */

START_TEST(job_is_not_taken_where_no_thread_can_be_made)
{
	struct zs_op op = call_of(count_call, NULL);
	int lane;

	open_pool(1);
	threads.error = EAGAIN;
	errno = 0;
	for (lane = 0; lane < ZS_NUM_LANES; lane++) {
		ck_assert(!submit(&engine, &op, (enum zs_lane)lane));
		ck_assert_int_eq(op.state, ZS_OP_IN_FLIGHT);
		expect_counts((enum zs_lane)lane, 0, 0, 0, 0);
	}
	ck_assert_int_eq(errno, 0);
	threads.error = 0;
	ck_assert(submit(&engine, &op, ZS_LANE_FILES));
	ck_assert_int_eq(next_done(&engine)->result, 0);
	close_pool();
}
END_TEST

START_TEST(files_and_names_queue_behind_the_threads_that_there_are)
{
	struct zs_op ops[4];

	open_pool(4);
	submit_gated(&ops[0], 1, ZS_LANE_FILES);
	submit_gated(&ops[1], 1, ZS_LANE_NAMES);
	threads.error = EAGAIN;
	submit_gated(&ops[2], 1, ZS_LANE_FILES);
	submit_gated(&ops[3], 1, ZS_LANE_NAMES);
	await_inside(2);
	expect_counts(ZS_LANE_FILES, 1, 0, 1, 0);
	expect_counts(ZS_LANE_NAMES, 1, 0, 1, 0);
	open_gate();
	collect_gated(4);
	close_pool();
}
END_TEST

/* Whose jobs may never end. */
START_TEST(none_queues_behind_threads_that_wait_for_somebody)
{
	struct zs_op ops[2], more = call_of(count_call, NULL);

	open_pool(1);
	submit_gated(ops, 2, ZS_LANE_WAITING);
	threads.error = EAGAIN;
	/* At once, too, when neither has begun. */
	ck_assert(!submit(&engine, &more, ZS_LANE_WAITING));
	await_inside(2);
	ck_assert(!submit(&engine, &more, ZS_LANE_WAITING));
	expect_counts(ZS_LANE_WAITING, 2, 0, 0, 0);
	open_gate();
	collect_gated(2);
	/* They are idle now: two may come. */
	ck_assert(submit(&engine, &more, ZS_LANE_WAITING));
	ck_assert_int_eq(next_done(&engine)->result, 0);
	close_pool();
}
END_TEST

/* Threads that only seem to be made, and so never begin. */
START_TEST(beyond_its_bound_the_lane_for_waiting_takes_none)
{
	static struct zs_op ops[ZS_LANE_WAITING_MOST + 1];
	int i;

	open_pool(1);
	threads.only_seems = true;
	submit_gated(ops, ZS_LANE_WAITING_MOST, ZS_LANE_WAITING);
	ops[i = ZS_LANE_WAITING_MOST] = call_of(pass_gate, NULL);
	ck_assert(!submit(&engine, &ops[i], ZS_LANE_WAITING));
	ck_assert_int_eq(threads.nr_made, ZS_LANE_WAITING_MOST);
	ck_assert(cancel(&engine, &ops[0]));
	ck_assert(submit(&engine, &ops[i], ZS_LANE_WAITING));
	while (i > 0)
		ck_assert(cancel(&engine, &ops[i--]));
	ck_assert_int_eq(threads.nr_made, ZS_LANE_WAITING_MOST);
}
END_TEST

/* A thread for files finds out that its job waits for somebody. */
START_TEST(job_that_turns_out_to_wait_needs_a_thread_for_that)
{
	struct zs_op op = open_op();
	int writer;

	make_fifo();
	open_pool(1);
	run_nothing(ZS_LANE_FILES);
	threads.error = EAGAIN;
	ck_assert(submit(&engine, &op, ZS_LANE_FILES));
	ck_assert_int_eq(next_done(&engine)->result, ZS_OP_NO_THREAD);
	threads.error = 0;
	ck_assert(submit(&engine, &op, ZS_LANE_FILES));
	writer = open(fifo, O_WRONLY);
	ck_assert_int_ge(next_done(&engine)->result, 0);
	close(op.result);
	close(writer);
	unlink(fifo);
	close_pool();
}
END_TEST

/* Most signals, and so timers, that may be pending. */
static void limit_pending(rlim_t most)
{
	struct rlimit limits;

	ck_assert_int_eq(getrlimit(RLIMIT_SIGPENDING, &limits), 0);
	limits.rlim_cur = most;
	ck_assert_int_eq(setrlimit(RLIMIT_SIGPENDING, &limits), 0);
}

/* Which is what a cancel needs. */
START_TEST(thread_that_cannot_be_interrupted_waits_for_nobody)
{
	struct zs_op op = call_of(count_call, NULL);
	struct rlimit limits;

	open_pool(1);
	ck_assert_int_eq(getrlimit(RLIMIT_SIGPENDING, &limits), 0);
	limit_pending(0);
	ck_assert(submit(&engine, &op, ZS_LANE_WAITING));
	ck_assert_int_eq(next_done(&engine)->result, ZS_OP_NO_THREAD);
	ck_assert_int_eq(atomic_load(&nr_calls), 0);
	await_no_threads(ZS_LANE_WAITING);
	limit_pending(limits.rlim_cur);
	ck_assert(submit(&engine, &op, ZS_LANE_WAITING));
	ck_assert_int_eq(next_done(&engine)->result, 0);
	close_pool();
}
END_TEST

static void add_tests(TCase *tests)
{
	tcase_add_test(tests, idle_thread_is_used_before_one_is_made);
	tcase_add_test(tests,
		       threads_end_when_they_have_been_idle_for_ten_seconds);
	tcase_add_test(tests, destroy_does_not_wait_for_ever_for_a_held_job);
	tcase_add_test(tests, destroy_ends_idle_threads_at_once);
	tcase_add_test(tests, job_is_not_taken_where_no_thread_can_be_made);
	tcase_add_test(tests,
		       files_and_names_queue_behind_the_threads_that_there_are);
	tcase_add_test(tests,
		       none_queues_behind_threads_that_wait_for_somebody);
	tcase_add_test(tests, beyond_its_bound_the_lane_for_waiting_takes_none);
	tcase_add_test(tests,
		       job_that_turns_out_to_wait_needs_a_thread_for_that);
	tcase_add_test(tests,
		       thread_that_cannot_be_interrupted_waits_for_nobody);
}

int main(void)
{
	Suite *suite = suite_create("offload_threads");
	TCase *tests = tcase_create("offload_threads");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tests, 30);
	add_tests(tests);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
