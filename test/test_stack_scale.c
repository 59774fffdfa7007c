/* SPDX-License-Identifier: MIT */
/*
 * Very many tasks that are parked at once, each having run on a guarded stack:
 * what they take of the process's mappings and memory, and that it comes back.
 * 200,000 here, or fewer where pages are larger than 4 KiB, in as much memory;
 * zsync-bench's task_memory has the million.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "child.h"
#include "mem/stack.h"
#include "sched/worker.h"
#include "workers.h"

enum {
	TASKS_MOST = SANITIZED ? 2000 : 200000,
	/* Resident, for each task: its stack's first page, and the rest. */
	BEYOND_A_PAGE = 304,
	/* Queues, rings, a second thread: however many tasks there are. */
	FIXED_SIZE = 2 << 20,
	FREE_PAGES = 4096,
	MOST_MAPS = 1000,
};

static struct zs_nursery nursery;
static struct counter parked;

static int nr_tasks; /* constant */

static long resident(void)
{
	FILE *file = fopen("/proc/self/statm", "r");
	long pages = 0;

	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(fscanf(file, "%*d %ld", &pages), 1);
	fclose(file);
	return pages * sysconf(_SC_PAGESIZE);
}

static int nr_maps(void)
{
	FILE *file = fopen("/proc/self/maps", "r");
	int number = 0, byte;

	ck_assert_ptr_nonnull(file);
	for (byte = getc(file); byte != EOF; byte = getc(file))
		number += byte == '\n';
	fclose(file);
	return number;
}

static bool faults(const char *address)
{
	return syscall(SYS_getcpu, address, NULL, NULL) < 0;
}

static int look_for_a_guard_and_park(void *arg)
{
	struct zs_stack *stack = zs_self()->stack;

	if (counted(&parked) % 100 == 0)
		ck_assert(faults(stack->base - 8));
	count(&parked);
	ck_assert_int_eq(zs_sleep(ZS_NEVER), -ECANCELED);
	return arg != NULL;
}

static bool has_guards(void)
{
	struct zs_stack_pool *pool = &zs_self()->worker->stacks;

	if (!pool->guards.by_mprotect)
		return true;
	printf("SKIP test_stack_scale: no guards but by mprotect here\n");
	return false;
}

static int park_all(void *arg)
{
	struct zs_stats stats;
	long before, taken;
	int maps;

	if (!has_guards())
		return 0;
	nr_tasks = (int)(TASKS_MOST * 4096L / sysconf(_SC_PAGESIZE));
	assert_ok(zs_nursery_open(&nursery, NULL));
	before = resident();
	maps = nr_maps();
	for (int i = 0; i < nr_tasks; i++) {
		assert_ok(zs_nursery_spawn(nursery, look_for_a_guard_and_park,
					   NULL));
		/* Nor is a queue of them all to be measured. */
		if (i % 256 == 0)
			zs_yield();
	}
	await_count(&parked, nr_tasks);
	taken = (resident() - before - FIXED_SIZE) / nr_tasks;
	if (!SANITIZED) {
		ck_assert_int_le(taken, sysconf(_SC_PAGESIZE) + BEYOND_A_PAGE);
		ck_assert_int_lt(nr_maps() - maps, MOST_MAPS);
	}
	assert_ok(zs_stats(NULL, &stats));
	ck_assert_uint_ge(stats.total.stacks_mapped, nr_tasks);
	ck_assert_uint_ge(stats.total.tasks_peak, nr_tasks);
	assert_ok(zs_nursery_cancel(nursery));
	ck_assert_int_eq(zs_nursery_wait(nursery), -ECANCELED);
	/* What is left are the tasks themselves, which are not given back, and
	 * the pages of free stacks. */
	if (!SANITIZED)
		ck_assert_int_lt(resident() - before,
				 nr_tasks * BEYOND_A_PAGE +
					 FREE_PAGES * sysconf(_SC_PAGESIZE));
	return arg != NULL;
}

START_TEST(parked_task_takes_a_page_and_little_more_and_no_mapping)
{
	assert_ok(run_task_on(_i + 1, park_all, NULL));
}
END_TEST

static int park(void *arg)
{
	count(&parked);
	ck_assert_int_eq(zs_sleep(ZS_NEVER), -ECANCELED);
	return arg != NULL;
}

/* Fewer than may be kept: they keep their memory until the worker has been idle
 * for a second, and then it is asleep for good. */
static int be_idle_after_a_peak(void *arg)
{
	struct zs_stats stats;
	uint64_t sleeps;

	assert_ok(zs_nursery_open(&nursery, NULL));
	for (int i = 0; i < 200; i++)
		assert_ok(zs_nursery_spawn(nursery, park, NULL));
	await_count(&parked, 200);
	assert_ok(zs_nursery_cancel(nursery));
	ck_assert_int_eq(zs_nursery_wait(nursery), -ECANCELED);
	assert_ok(zs_stats(NULL, &stats));
	ck_assert_uint_ge(stats.total.stacks_resident, 200);
	assert_ok(zs_sleep(3 * ZS_STACKS_IDLE_NS));
	assert_ok(zs_stats(NULL, &stats));
	ck_assert_uint_eq(stats.total.stacks_resident, 0);
	ck_assert_uint_ge(stats.total.stack_depth_peak, 4096);
	sleeps = stats.total.sleeps;
	assert_ok(zs_sleep(2 * ZS_STACKS_IDLE_NS));
	assert_ok(zs_stats(NULL, &stats));
	ck_assert_uint_le(stats.total.sleeps - sleeps, 2);
	return arg != NULL;
}

START_TEST(idle_worker_gives_the_memory_of_free_stacks_back)
{
	assert_ok(run_task(be_idle_after_a_peak, NULL));
}
END_TEST

static Suite *scale_suite(void)
{
	Suite *suite = suite_create("stack_scale");
	TCase *tests = tcase_create("stack_scale");

	tcase_set_timeout(tests, 120);
	tcase_add_loop_test(
		tests, parked_task_takes_a_page_and_little_more_and_no_mapping,
		0, 2);
	tcase_add_test(tests, idle_worker_gives_the_memory_of_free_stacks_back);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(scale_suite());
}
