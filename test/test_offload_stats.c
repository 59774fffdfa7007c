/* SPDX-License-Identifier: MIT */
/*
 * What zs_stats() says of the threads that carry out what can only block.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

#include "runtime.h"

static sem_t answers;

static int answer_when_told(const char *host, int family,
			    struct sockaddr_storage *found, int capacity)
{
	(void)host;
	(void)family;
	(void)capacity;
	/* It would be its caller's thread that waits. */
	while (!test_is_blocking() && sem_wait(&answers) < 0)
		;
	memset(found, 0, sizeof(*found));
	return 1;
}

static int look_up(void *arg)
{
	struct sockaddr_storage address;

	(void)arg;
	return zs_resolve_by(answer_when_told, "name", 1, AF_UNSPEC, &address,
			     1) == 1 ?
		       0 :
		       -EIO;
}

static struct zs_stats all_stats(void)
{
	struct zs_stats stats;

	ck_assert_int_eq(zs_stats(NULL, &stats), 0);
	return stats;
}

static void expect_names(uint64_t threads, uint64_t busy, uint64_t queued,
			 uint64_t done)
{
	struct zs_offload_stats names = all_stats().offload_names;

	if (test_is_blocking())
		threads = busy = queued = done = 0;
	ck_assert_uint_eq(names.threads, threads);
	ck_assert_uint_eq(names.busy, busy);
	ck_assert_uint_eq(names.queued, queued);
	ck_assert_uint_eq(names.done, done);
}

/* Two more than that kind has threads. */
static int count_look_ups(void *arg)
{
	struct zs_nursery nursery;
	int i;

	(void)arg;
	ck_assert_int_eq(zs_nursery_open(&nursery, NULL), 0);
	expect_names(0, 0, 0, 0);
	for (i = 0; i < 6; i++)
		ck_assert_int_eq(zs_nursery_spawn(nursery, look_up, NULL), 0);
	do
		ck_assert_int_eq(zs_sleep(ZS_MILLISECOND), 0);
	while (!test_is_blocking() && all_stats().offload_names.busy < 4);
	expect_names(4, 4, 2, 0);
	for (i = 0; i < 6; i++)
		sem_post(&answers);
	ck_assert_int_eq(zs_nursery_wait(nursery), 0);
	expect_names(4, 0, 0, 6);
	return 0;
}

START_TEST(look_ups_are_counted_with_the_threads_that_they_take)
{
	ck_assert_int_eq(sem_init(&answers, 0, 0), 0);
	ck_assert_int_eq(run_task(count_look_ups, NULL), 0);
}
END_TEST

/* What the ring has, it does without threads of ours. */
static int count_file_operations(void *arg)
{
	bool has_threads = !test_is_blocking() && *(bool *)arg;
	struct zs_stats stats;

	ck_assert_int_eq(zs_mkdirat(AT_FDCWD, "/", 0), -EEXIST);
	ck_assert_int_eq(zs_mkdirat(AT_FDCWD, "/", 0), -EEXIST);
	stats = all_stats();
	ck_assert_uint_eq(stats.offload_files.done, has_threads ? 2 : 0);
	ck_assert_uint_eq(stats.offload_files.threads, has_threads ? 1 : 0);
	ck_assert_uint_eq(stats.offload_files.busy, 0);
	ck_assert_uint_eq(stats.offload_waiting.done, 0);
	return 0;
}

START_TEST(operations_that_take_threads_are_counted_by_kind)
{
	struct zs_config config = test_config();
	bool has_threads = true;

	config.execution_model = ZS_MODEL_THREAD_POOL;
	ck_assert_int_eq(
		run_task_with(&config, count_file_operations, &has_threads), 0);
	ck_assert_int_eq(setenv("ZSYNC_DISABLE", "mkdirat", 1), 0);
	ck_assert_int_eq(run_task(count_file_operations, &has_threads), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("offload_stats");
	TCase *tests = tcase_create("offload_stats");

	tcase_add_test(tests,
		       look_ups_are_counted_with_the_threads_that_they_take);
	tcase_add_test(tests, operations_that_take_threads_are_counted_by_kind);
	suite_add_tcase(suite, tests);
	return run_suite(suite);
}
