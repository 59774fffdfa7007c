/* SPDX-License-Identifier: MIT */
/* Spawning: how many tasks there may be, what they run on and what travels with
 * them. Nothing of it may be lost: not a task, not its place, not its stack. */
#include <check.h>
#include <errno.h>
#include <semaphore.h>
#include <stdalign.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "base/compiler.h"
#include "workers.h"

#if defined(ZS_ASAN) || defined(ZS_TSAN)
enum { IS_SANITIZED = true };
#else
enum { IS_SANITIZED = false };
#endif

/* Shared by the tasks of a test; each test is a process of its own. */
static struct zs_nursery nursery;
static struct counter ended;
static struct counter released;

static int do_nothing(void *arg)
{
	(void)arg;
	return 0;
}

static int count_end(void *arg)
{
	(void)arg;
	count(&ended);
	return 0;
}

static int wait_for_release(void *arg)
{
	(void)arg;
	await_count(&released, 1);
	return 0;
}

/* --- how many --- */

enum { NR_WAVES = 50, WAVE = 2000 };
static uint8_t runs[NR_WAVES * WAVE];

/* Half of them park, so that stacks are taken and given back. */
static int run_once(void *arg)
{
	uint8_t *run = arg;

	++*run;
	if ((run - runs) % 2)
		zs_yield();
	count(&ended);
	return 0;
}

static int spawn_waves(void *arg)
{
	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	for (uint32_t i = 0; i < NR_WAVES * WAVE; i++) {
		assert_ok(zs_nursery_spawn(nursery, run_once, &runs[i]));
		if ((i + 1) % WAVE == 0)
			await_count(&ended, i + 1);
	}
	return zs_nursery_wait(nursery);
}

/* On 1, 2 and 4 workers. */
START_TEST(hundred_thousand_tasks_in_waves_run_once_each)
{
	assert_ok(run_task_on(1u << _i, spawn_waves, NULL));
	for (int i = 0; i < NR_WAVES * WAVE; i++)
		if (runs[i] != 1)
			ck_abort_msg("task %d ran %d times", i, runs[i]);
}
END_TEST

static int spawn_burst(void *arg)
{
	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	for (int i = 0; i < 50000; i++)
		assert_ok(zs_nursery_spawn(nursery, count_end, NULL));
	return zs_nursery_wait(nursery);
}

/* All unstarted at once, so that the queue has to grow many times. */
START_TEST(burst_of_tasks_is_not_bound_by_the_queue)
{
	assert_ok(run_task_on(1u << _i, spawn_burst, NULL));
	ck_assert_uint_eq(counted(&ended), 50000);
}
END_TEST

/* Its pattern would show that two tasks share a stack. */
static int fill_stack(void *arg)
{
	unsigned char bytes[8192];
	unsigned char mine = (unsigned char)zs_task_id(zs_self());

	(void)arg;
	memset(bytes, mine, sizeof(bytes));
	for (int i = 0; i < 3; i++)
		assert_ok(zs_yield());
	for (size_t i = 0; i < sizeof(bytes); i++)
		if (bytes[i] != mine)
			ck_abort_msg("somebody wrote to my stack");
	count(&ended);
	return 0;
}

static int outgrow_stack_cache(void *arg)
{
	(void)arg;
	for (uint32_t wave = 1; wave <= 3; wave++) {
		assert_ok(zs_nursery_open(&nursery, NULL));
		for (int i = 0; i < 200; i++) {
			assert_ok(zs_nursery_spawn(nursery, fill_stack, NULL));
			assert_ok(zs_nursery_spawn(nursery, do_nothing, NULL));
		}
		assert_ok(zs_nursery_wait(nursery));
		ck_assert_uint_eq(counted(&ended), wave * 200);
	}
	return 0;
}

/* 200 stacks at once where none, one or two may be kept. */
START_TEST(tasks_beyond_the_stack_cache_end_well)
{
	struct zs_config config = test_config();

	config.stack_cache = (uint32_t)_i;
	assert_ok(run_task_with(&config, outgrow_stack_cache, NULL));
}
END_TEST

static size_t dig(const char *start, size_t depth)
{
	volatile char frame[1024];

	frame[0] = 1;
	frame[sizeof(frame) - 1] = 1;
	if ((size_t)(start - (const char *)frame) < depth)
		return dig(start, depth) + (size_t)frame[0];
	return (size_t)frame[sizeof(frame) - 1];
}

/* All but what lies above this frame and what the last one may take. */
static int dig_deep(void *arg)
{
	const size_t *size = arg;

	ck_assert_uint_gt(dig(__builtin_frame_address(0), *size - 6144), 0);
	return 0;
}

START_TEST(stacks_are_as_deep_as_configured)
{
	static const size_t sizes[] = { 16 << 10, 64 << 10, 8 << 20 };
	struct zs_config config = test_config();
	size_t size = sizes[_i];
	int result = 0;

	config.green_thread_stack_size = size;
	result = zs_run(&config, dig_deep, &size);
	ck_assert_int_eq(result, 0);
}
END_TEST

static int reach_limit(void *arg)
{
	(void)arg;
	for (int round = 0; round < 3; round++) {
		assert_ok(zs_nursery_open(&nursery, NULL));
		for (int i = 0; i < 9; i++)
			assert_ok(zs_nursery_spawn(nursery, do_nothing, NULL));
		for (int i = 0; i < 3; i++)
			ck_assert_int_eq(zs_nursery_spawn(nursery, do_nothing,
							  NULL),
					 -EAGAIN);
		ck_assert_ptr_nonnull(
			strstr(zs_explain(-EAGAIN), "max_green_threads, 10,"));
		assert_ok(zs_nursery_wait(nursery));
	}
	return 0;
}

/* The opener is one of the ten. Each round needs what the last gave back. */
START_TEST(spawn_beyond_the_limit_is_eagain_until_tasks_end)
{
	struct zs_config config = test_config();

	config.max_green_threads = 10;
	assert_ok(run_task_with(&config, reach_limit, NULL));
}
END_TEST

static int reach_limit_over_workers(void *arg)
{
	(void)arg;
	for (uint32_t round = 1; round <= 3; round++) {
		uint32_t alive = 1;

		assert_ok(zs_nursery_open(&nursery, NULL));
		while (!zs_nursery_spawn(nursery, wait_for_release, NULL))
			alive++;
		ck_assert_uint_le(alive, 1000);
		ck_assert_uint_ge(alive, 900);
		count(&released);
		assert_ok(zs_nursery_wait(nursery));
		atomic_init(&released.value, 0);
	}
	return 0;
}

/* Workers keep a few of the limit for themselves, but not more, and together
 * they never have more than there are. */
START_TEST(limit_holds_over_workers)
{
	struct zs_config config = test_config();

	config.num_workers = 4;
	config.max_green_threads = 1000;
	assert_ok(run_task_with(&config, reach_limit_over_workers, NULL));
}
END_TEST

static int post_semaphore(void *semaphore)
{
	sem_post(semaphore);
	return 0;
}

/* At most two are alive at once, one of them about to end; so all have room,
 * whatever the worker makes of those that have ended. */
START_TEST(ended_tasks_make_room_for_foreign_spawns)
{
	struct zs_config config = test_config();
	struct zs_runtime *runtime;
	sem_t semaphore;

	config.num_workers = _i ? 2 : 1;
	config.max_green_threads = 20;
	sem_init(&semaphore, 0, 0);
	assert_ok(zs_runtime_create(&runtime, &config));
	assert_ok(zs_runtime_start(runtime));
	for (int i = 0; i < 1000; i++) {
		assert_ok(
			zs_runtime_spawn(runtime, post_semaphore, &semaphore));
		ck_assert_int_eq(sem_wait(&semaphore), 0);
	}
	stop_and_destroy(runtime);
}
END_TEST

/* --- no memory for stacks --- */

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

static int yield_thrice(void *arg)
{
	for (int i = 0; i < 3; i++)
		assert_ok(zs_yield());
	return count_end(arg);
}

static int spawn_more_than_fit(void *arg)
{
	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	for (int i = 0; i < 200; i++)
		assert_ok(zs_nursery_spawn(nursery, yield_thrice, NULL));
	limit_address_space(16 << 20);
	assert_ok(zs_yield());
	ck_assert_int_eq(zs_nursery_spawn(nursery, do_nothing, NULL), -ENOMEM);
	ck_assert_ptr_nonnull(strstr(zs_explain(-ENOMEM), "stack"));
	assert_ok(zs_nursery_wait(nursery));
	ck_assert_uint_eq(counted(&ended), 200);
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn(nursery, do_nothing, NULL));
	return zs_nursery_wait(nursery);
}

/* 200 stacks of 256 KiB, but 16 MiB of addresses: the others wait until some
 * have ended, and spawns are refused meanwhile. */
START_TEST(tasks_without_memory_for_a_stack_wait_for_others)
{
	assert_ok(run_task(spawn_more_than_fit, NULL));
}
END_TEST

/* --- arguments that travel with the task --- */

static int look_at_copy(void *arg)
{
	unsigned char *copy = arg;
	unsigned char size = copy[0];

	ck_assert_uint_eq((uintptr_t)copy % alignof(max_align_t), 0);
	for (int round = 0; round < 2; round++) {
		for (unsigned char i = 1; i < size; i++)
			ck_assert_uint_eq(copy[i], size + i);
		assert_ok(zs_yield());
	}
	memset(copy, 0, size);
	count(&ended);
	return 0;
}

static int spawn_copies(void *arg)
{
	unsigned char bytes[ZS_SPAWN_COPY_MAX + 1];

	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	for (unsigned char size = 1; size <= ZS_SPAWN_COPY_MAX; size++) {
		bytes[0] = size;
		for (unsigned char i = 1; i < size; i++)
			bytes[i] = size + i;
		assert_ok(zs_nursery_spawn_copy(nursery, look_at_copy, bytes,
						size));
	}
	memset(bytes, 0, sizeof(bytes));
	assert_ok(zs_nursery_spawn_copy(nursery, count_end, bytes, 0));
	assert_ok(zs_nursery_spawn_copy(nursery, count_end, NULL, 0));
	ck_assert_int_eq(zs_nursery_spawn_copy(nursery, count_end, bytes,
					       ZS_SPAWN_COPY_MAX + 1),
			 -E2BIG);
	ck_assert_int_eq(zs_nursery_spawn_copy(nursery, count_end, bytes,
					       SIZE_MAX),
			 -E2BIG);
	ck_assert_int_eq(zs_nursery_spawn_copy(nursery, count_end, NULL, 1),
			 -EINVAL);
	ck_assert_int_eq(zs_nursery_spawn_copy(nursery, NULL, bytes, 1),
			 -EINVAL);
	ck_assert_int_eq(zs_nursery_spawn(nursery, NULL, bytes), -EINVAL);
	assert_ok(zs_nursery_wait(nursery));
	ck_assert_uint_eq(counted(&ended), ZS_SPAWN_COPY_MAX + 2);
	return 0;
}

/* Every size; the source is overwritten before any task has started. */
START_TEST(copied_arguments_are_the_tasks_own)
{
	assert_ok(run_task_on(1u << _i, spawn_copies, NULL));
}
END_TEST

static void add_memory_tests(TCase *tests)
{
	if (IS_SANITIZED)
		printf("SKIP: sanitizers need more address space than fits a "
		       "limit\n");
	else
		tcase_add_test(
			tests,
			tasks_without_memory_for_a_stack_wait_for_others);
}

static Suite *spawn_suite(void)
{
	Suite *suite = suite_create("spawn");
	TCase *tests = tcase_create("spawn");

	tcase_add_loop_test(
		tests, hundred_thousand_tasks_in_waves_run_once_each, 0, 3);
	tcase_add_loop_test(tests, burst_of_tasks_is_not_bound_by_the_queue, 0,
			    3);
	tcase_add_loop_test(tests, tasks_beyond_the_stack_cache_end_well, 0, 3);
	tcase_add_loop_test(tests, stacks_are_as_deep_as_configured, 0, 3);
	tcase_add_test(tests, spawn_beyond_the_limit_is_eagain_until_tasks_end);
	tcase_add_test(tests, limit_holds_over_workers);
	tcase_add_loop_test(tests, ended_tasks_make_room_for_foreign_spawns, 0,
			    2);
	tcase_add_loop_test(tests, copied_arguments_are_the_tasks_own, 0, 3);
	add_memory_tests(tests);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(spawn_suite());
}
