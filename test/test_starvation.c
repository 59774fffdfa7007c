/* SPDX-License-Identifier: MIT */
/*
 * No memory for stacks: a start that could not run a single task fails, and a
 * worker that lacks memory while it runs goes on as soon as there is some. What
 * the process may map is limited, and the limit is lifted again.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "child.h"
#include "workers.h"

/* Shared by the tasks of a test; each test is a process of its own. */
static struct zs_nursery nursery;
static struct counter opened, spawned, started;

static void limit_address_space(size_t more)
{
	unsigned long pages = 0;
	FILE *file = fopen("/proc/self/statm", "r");
	struct rlimit limit;

	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(fscanf(file, "%lu", &pages), 1);
	fclose(file);
	getrlimit(RLIMIT_AS, &limit);
	limit.rlim_cur = pages * (size_t)sysconf(_SC_PAGESIZE) + more;
	ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
}

static void lift_limit(void)
{
	struct rlimit limit;

	getrlimit(RLIMIT_AS, &limit);
	limit.rlim_cur = limit.rlim_max;
	ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
}

static int count_start(void *arg)
{
	(void)arg;
	count(&started);
	return 0;
}

/* --- none at all --- */

/* Addresses for all but a stack. The same runtime starts once there are some
 * more, so nothing of the first try is left. */
START_TEST(run_without_memory_for_any_stack_is_enomem)
{
	struct zs_config config = test_config();

	config.num_workers = (uint32_t)_i + 1;
	config.green_thread_stack_size = (size_t)1 << 29;
	limit_address_space((size_t)1 << 28);
	ck_assert_int_eq(zs_run(&config, count_start, NULL), -ENOMEM);
	ck_assert_msg(strstr(zs_explain(-ENOMEM), "stack"), "\"%s\"",
		      zs_explain(-ENOMEM));
	ck_assert_uint_eq(counted(&started), 0);
	lift_limit();
	assert_ok(zs_run(&config, count_start, NULL));
	ck_assert_uint_eq(counted(&started), 1);
}
END_TEST

START_TEST(start_without_memory_for_any_stack_is_enomem)
{
	struct zs_config config = test_config();
	struct zs_runtime *runtime;

	config.num_workers = (uint32_t)_i + 1;
	config.green_thread_stack_size = (size_t)1 << 29;
	assert_ok(zs_runtime_create(&runtime, &config));
	limit_address_space((size_t)1 << 28);
	ck_assert_int_eq(zs_runtime_start(runtime), -ENOMEM);
	ck_assert_msg(strstr(zs_explain(-ENOMEM), "stack"), "\"%s\"",
		      zs_explain(-ENOMEM));
	ck_assert_int_eq(zs_runtime_spawn(runtime, count_start, NULL), -ESTALE);
	lift_limit();
	assert_ok(zs_runtime_destroy(runtime));
}
END_TEST

/* --- too little for a while --- */

enum { NR_TASKS = 100 };

static int start_and_wait(void *arg)
{
	(void)arg;
	count(&started);
	ck_assert_int_eq(zs_sleep(ZS_NEVER), -ECANCELED);
	return 0;
}

/* A worker with these timers is never idle for as long as it would wait before
 * it asks for memory again. */
static void sleep_a_little(void)
{
	assert_ok(zs_sleep(ZS_MILLISECOND));
}

static int starve_and_recover(void *arg)
{
	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	limit_address_space(8 << 20);
	for (int i = 0; i < NR_TASKS; i++)
		assert_ok(zs_nursery_spawn(nursery, start_and_wait, NULL));
	for (int i = 0; i < 5; i++)
		sleep_a_little();
	ck_assert_uint_lt(counted(&started), NR_TASKS);
	lift_limit();
	while (counted(&started) < NR_TASKS)
		sleep_a_little();
	assert_ok(zs_nursery_cancel(nursery));
	ck_assert_int_eq(zs_nursery_wait(nursery), -ECANCELED);
	return 0;
}

/* 100 stacks of 256 KiB, 8 MiB of addresses. No task ends, so nothing tells the
 * worker that there is memory again. If it never looks, the timeout tells. */
START_TEST(starved_worker_with_frequent_timers_recovers)
{
	assert_ok(run_task(starve_and_recover, NULL));
}
END_TEST

static int starve_and_be_spawned_into(void *arg)
{
	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	limit_address_space(8 << 20);
	count(&opened);
	while (counted(&spawned) == 0)
		sleep_a_little();
	for (int i = 0; i < 5; i++)
		sleep_a_little();
	ck_assert_uint_lt(counted(&started), NR_TASKS);
	lift_limit();
	/* Nothing of its own is going on: it has to look by itself. */
	ck_assert_int_eq(zs_sleep(ZS_NEVER), -ECANCELED);
	ck_assert_int_eq(zs_nursery_wait(nursery), -ECANCELED);
	return 0;
}

static void *spawn_and_cancel(void *arg)
{
	while (counted(&opened) == 0)
		sched_yield();
	for (int i = 0; i < NR_TASKS; i++)
		assert_ok(zs_nursery_spawn(nursery, start_and_wait, NULL));
	count(&spawned);
	while (counted(&started) < NR_TASKS)
		sched_yield();
	assert_ok(zs_nursery_cancel(nursery));
	return arg;
}

/* Likewise, with tasks of a foreign thread and no timers in the end. */
START_TEST(starved_worker_without_timers_recovers)
{
	pthread_t thread = start_thread(spawn_and_cancel, NULL);

	assert_ok(run_task(starve_and_be_spawned_into, NULL));
	pthread_join(thread, NULL);
}
END_TEST

static Suite *starvation_suite(void)
{
	Suite *suite = suite_create("starvation");
	TCase *tests = tcase_create("starvation");

	/* A busy machine may need it; a hang is one all the same. */
	tcase_set_timeout(tests, 10);
	tcase_add_loop_test(tests, run_without_memory_for_any_stack_is_enomem,
			    0, 2);
	tcase_add_loop_test(tests, start_without_memory_for_any_stack_is_enomem,
			    0, 2);
	tcase_add_test(tests, starved_worker_with_frequent_timers_recovers);
	tcase_add_test(tests, starved_worker_without_timers_recovers);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	if (!SANITIZED)
		return run_suite(starvation_suite());
	printf("SKIP: sanitizers need more address space than fits a limit\n");
	return 0;
}
