/* SPDX-License-Identifier: MIT */
/*
 * RLIMIT_NOFILE lowered, while a runtime runs, below what it waits for: poll(2)
 * then refuses to look at so many descriptors. On every model.
 */
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <unistd.h>

#include "descriptors.h"
#include "runtime.h"

enum { NR_PAIRS = 20 };

static const rlim_t limits[] = { 30, 8, 1, 0 };
enum { NR_LIMITS = sizeof(limits) / sizeof(limits[0]) };

static int pairs[NR_PAIRS][2];
static int nr_received;

static void set_limit(rlim_t most)
{
	struct rlimit limit;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = most;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* As much as before, for what comes after the test. */
static void restore_limit(void)
{
	struct rlimit limit;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	set_limit(limit.rlim_max < 1024 ? limit.rlim_max : 1024);
}

static void make_pairs(void)
{
	int i;

	for (i = 0; i < NR_PAIRS; i++)
		make_unix_pair(SOCK_STREAM, pairs[i]);
}

static void close_pairs(void)
{
	int i;

	for (i = 0; i < NR_PAIRS; i++) {
		close(pairs[i][0]);
		close(pairs[i][1]);
	}
}

static int receive(void *arg)
{
	int index = *(int *)arg;
	unsigned char byte = 0xff;

	int ret = (int)zs_recv(pairs[index][0], &byte, 1, 0);

	if (ret == -ECANCELED)
		return ret;
	ck_assert_int_eq(ret, 1);
	ck_assert_int_eq(byte, index);
	nr_received++;
	return 0;
}

static struct zs_nursery spawn_receivers(void)
{
	struct zs_nursery nursery;
	int i;

	ck_assert_int_eq(zs_nursery_open(&nursery, NULL), 0);
	for (i = 0; i < NR_PAIRS; i++)
		ck_assert_int_eq(zs_nursery_spawn_copy(nursery, receive, &i,
						       sizeof(i)),
				 0);
	/* All wait. */
	ck_assert_int_eq(zs_sleep(ZS_MILLISECOND), 0);
	return nursery;
}

/* One after the other, from the last on. */
static int send_to_all(void *arg)
{
	struct zs_nursery nursery = spawn_receivers();
	unsigned char i;

	set_limit(*(const rlim_t *)arg);
	for (i = NR_PAIRS; i-- > 0;) {
		ck_assert_int_eq(zs_send(pairs[i][1], &i, 1, 0), 1);
		while (nr_received < NR_PAIRS - i)
			ck_assert_int_eq(zs_sleep(ZS_MILLISECOND), 0);
	}
	ck_assert_int_eq(zs_nursery_wait(nursery), 0);
	restore_limit();
	return 0;
}

START_TEST(what_waits_goes_on_under_a_lower_limit)
{
	make_pairs();
	ck_assert_int_eq(run_task(send_to_all, (void *)&limits[_i]), 0);
	close_pairs();
}
END_TEST

/* Others that are ready all the time keep none of them waiting. */
static int send_while_busy(void *arg)
{
	struct zs_nursery nursery = spawn_receivers();
	unsigned char which;
	int i;

	set_limit(*(const rlim_t *)arg);
	for (i = 0; i < NR_PAIRS; i++) {
		which = (unsigned char)i;
		ck_assert_int_eq(zs_send(pairs[i][1], &which, 1, 0), 1);
	}
	while (nr_received < NR_PAIRS)
		ck_assert_int_eq(zs_yield(), 0);
	ck_assert_int_eq(zs_nursery_wait(nursery), 0);
	restore_limit();
	return 0;
}

START_TEST(a_busy_worker_comes_to_what_waits)
{
	make_pairs();
	ck_assert_int_eq(run_task(send_while_busy, (void *)&limits[_i]), 0);
	close_pairs();
}
END_TEST

/* Nor does a worker that has nothing to do become busy. */
static int sleep_beside_them(void *arg)
{
	struct zs_nursery nursery = spawn_receivers();
	struct zs_stats before, after;

	set_limit(*(const rlim_t *)arg);
	ck_assert_int_eq(zs_stats(NULL, &before), 0);
	ck_assert_int_eq(zs_sleep(200 * ZS_MILLISECOND), 0);
	ck_assert_int_eq(zs_stats(NULL, &after), 0);
	ck_assert_uint_lt(after.total.turns - before.total.turns, 200);
	ck_assert_int_eq(zs_nursery_cancel(nursery), 0);
	ck_assert_int_eq(zs_nursery_wait(nursery), -ECANCELED);
	restore_limit();
	return 0;
}

START_TEST(a_worker_that_only_waits_sleeps)
{
	make_pairs();
	ck_assert_int_eq(run_task(sleep_beside_them, (void *)&limits[_i]), 0);
	close_pairs();
}
END_TEST

static atomic_bool is_waiting, has_run;

static int wait_for_all(void *arg)
{
	struct zs_nursery nursery = spawn_receivers();

	(void)arg;
	atomic_store(&is_waiting, true);
	return zs_nursery_wait(nursery) == -ECANCELED ? 0 : -EIO;
}

static int note_run(void *arg)
{
	(void)arg;
	atomic_store(&has_run, true);
	return 0;
}

START_TEST(another_thread_still_wakes_the_worker)
{
	struct zs_config config = test_config();
	struct zs_runtime *runtime;

	make_pairs();
	ck_assert_int_eq(zs_runtime_create(&runtime, &config), 0);
	ck_assert_int_eq(zs_runtime_start(runtime), 0);
	ck_assert_int_eq(zs_runtime_spawn(runtime, wait_for_all, NULL), 0);
	while (!atomic_load(&is_waiting))
		sched_yield();
	set_limit(limits[_i]);
	ck_assert_int_eq(zs_runtime_spawn(runtime, note_run, NULL), 0);
	while (!atomic_load(&has_run))
		sched_yield();
	ck_assert_int_eq(zs_runtime_stop(runtime, ZS_NEVER), 0);
	restore_limit();
	ck_assert_int_eq(zs_runtime_destroy(runtime), 0);
	close_pairs();
}
END_TEST

static int poll_one(void *arg)
{
	struct zs_runtime_info info;
	int ret;

	ck_assert_int_eq(zs_runtime_info(NULL, &info), 0);
	set_limit(*(const rlim_t *)arg);
	ret = zs_poll_fd(pairs[0][0], POLLOUT);
	restore_limit();
	/* Who has to ask poll(2) itself is refused. */
	if (*(const rlim_t *)arg > 0 ||
	    info.execution_model == ZS_MODEL_GREEN_THREADS)
		ck_assert_int_eq(ret, POLLOUT);
	else
		ck_assert_int_eq(ret, -EINVAL);
	return 0;
}

START_TEST(poll_of_one_is_answered_or_refused)
{
	make_pairs();
	ck_assert_int_eq(run_task(poll_one, (void *)&limits[_i]), 0);
	close_pairs();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("low_limit");
	TCase *tests = tcase_create("low_limit");

	tcase_set_timeout(tests, 20);
	tcase_add_loop_test(tests, what_waits_goes_on_under_a_lower_limit, 0,
			    NR_LIMITS);
	tcase_add_loop_test(tests, a_busy_worker_comes_to_what_waits, 0,
			    NR_LIMITS);
	tcase_add_loop_test(tests, a_worker_that_only_waits_sleeps, 0,
			    NR_LIMITS);
	tcase_add_loop_test(tests, another_thread_still_wakes_the_worker, 0,
			    NR_LIMITS);
	tcase_add_loop_test(tests, poll_of_one_is_answered_or_refused, 0,
			    NR_LIMITS);
	suite_add_tcase(suite, tests);
	return run_suite(suite);
}
