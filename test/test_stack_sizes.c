/* SPDX-License-Identifier: MIT */
/*
 * Stacks of other sizes than the usual one: what spawns and the configuration
 * may ask for, that it is had, that it is used again, and what an overflow of
 * it says. Crashes happen in forked children, whose stderr is read.
 */
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "child.h"
#include "mem/stack.h"
#include "old_kernel.h"
#include "sched/worker.h"
#include "workers.h"

enum { MOST_TASKS = 40 };

/* Shared by the tasks of a test; each test is a process of its own. */
static struct zs_nursery nursery;
static struct counter parked;
/* Assertions that fail format their text on the usual stacks. */
static size_t usual_size = 256 << 10;

static struct zs_spawn_options with_stack(size_t stack_size)
{
	return (struct zs_spawn_options){
		.size = sizeof(struct zs_spawn_options),
		.stack_size = stack_size,
	};
}

static int spawn_with_stack(size_t stack_size, zs_task_fn *fn, void *arg)
{
	struct zs_spawn_options options = with_stack(stack_size);

	return zs_nursery_spawn_with(nursery, &options, fn, arg);
}

/* All of it but what a call needs, in one frame. */
static ZS_NOINLINE int use_up(size_t size)
{
	volatile char frame[size];

	__asm__ volatile("" : : "r"(frame) : "memory");
	for (size_t i = 0; i < size; i += 32)
		frame[i] = 1;
	return frame[0];
}

static int use_nearly_all(void *arg)
{
	size_t size = *(size_t *)arg;

	ck_assert_int_eq(use_up(size - (size >> 2) - 2048), 1);
	return 0;
}

static int use_more_than_all(void *arg)
{
	zs_task_set_name("culprit");
	use_up(*(size_t *)arg + 4096);
	return 0;
}

/* --- it is had --- */

static int use_each_size(void *arg)
{
	static const size_t sizes[] = { 16 << 10,  64 << 10, 100000,
					320 << 10, 1 << 20,  8 << 20 };

	for (int i = 0; i < 6; i++) {
		size_t size = sizes[i];

		assert_ok(zs_nursery_open(&nursery, NULL));
		assert_ok(spawn_with_stack(size, use_nearly_all, &size));
		assert_ok(zs_nursery_wait(nursery));
	}
	return arg != NULL;
}

START_TEST(task_can_use_the_stack_that_it_was_spawned_with)
{
	assert_ok(run_task_on(_i + 1, use_each_size, NULL));
}
END_TEST

/* Tasks that end hand their stacks to those that come next, though not to those
 * that ask for another size; in every order of four sizes. */
static int spawn_mixed_sizes(void *arg)
{
	static const size_t sizes[] = { 0, 16 << 10, 1 << 20, 128 << 10 };
	static size_t used[] = { 256 << 10, 16 << 10, 1 << 20, 128 << 10 };
	struct zs_stats stats;

	for (int i = 0; i < 500; i++) {
		assert_ok(zs_nursery_open(&nursery, NULL));
		for (int n = 0; n < 8; n++) {
			int which = (i >> n) & 1 ? (i + n) % 4 : (i * n) % 4;

			assert_ok(spawn_with_stack(sizes[which], use_nearly_all,
						   &used[which]));
		}
		assert_ok(zs_nursery_wait(nursery));
	}
	/* None of them parks: so each size needs very few. */
	assert_ok(zs_stats(NULL, &stats));
	ck_assert_uint_le(stats.total.stacks_mapped, 4 * 2 * stats.num_workers);
	return arg != NULL;
}

START_TEST(stacks_of_mixed_sizes_are_used_again)
{
	assert_ok(run_task_on(_i + 1, spawn_mixed_sizes, NULL));
}
END_TEST

static int park(void *arg)
{
	count(&parked);
	ck_assert_int_eq(zs_sleep(ZS_NEVER), -ECANCELED);
	return arg != NULL;
}

static int park_and_end_in_rounds(void *arg)
{
	struct zs_stats stats;

	for (uint32_t round = 1; round <= 3; round++) {
		assert_ok(zs_nursery_open(&nursery, NULL));
		for (int i = 0; i < MOST_TASKS; i++)
			assert_ok(spawn_with_stack(1 << 20, park, NULL));
		await_count(&parked, round * MOST_TASKS);
		assert_ok(zs_nursery_cancel(nursery));
		ck_assert_int_eq(zs_nursery_wait(nursery), -ECANCELED);
		assert_ok(zs_stats(NULL, &stats));
		ck_assert_uint_le(stats.total.stacks_mapped, MOST_TASKS + 1);
		ck_assert_uint_ge(stats.total.stacks_mapped, MOST_TASKS);
		ck_assert_uint_ge(stats.total.tasks_peak, MOST_TASKS);
	}
	/* What may be kept of the usual size, 32 of 256 KiB, is 8 of 1 MiB: of
	 * the others most had to give memory back, and one was looked at. */
	ck_assert_uint_ge(stats.total.stack_depth_peak, 4096);
	ck_assert_uint_le(stats.total.stack_depth_peak, 1 << 20);
	return arg != NULL;
}

START_TEST(parked_tasks_of_a_size_leave_their_stacks_to_the_next)
{
	struct zs_config config = test_config();

	config.stack_cache = 32;
	assert_ok(run_task_with(&config, park_and_end_in_rounds, NULL));
}
END_TEST

static int look_at_its_name(void *arg)
{
	ck_assert_str_eq(zs_task_name(zs_self()), "a name");
	ck_assert_int_eq(*(int *)arg, 42);
	count(&parked);
	return 0;
}

static int spawn_with_all_options(void *arg)
{
	struct zs_spawn_options options = with_stack(512 << 10);
	char name[] = "a name";
	int number = 42;

	options.name = name;
	options.copy_size = sizeof(number);
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn_with(nursery, &options, look_at_its_name,
					&number));
	memset(name, 0, sizeof(name));
	number = 0;
	return zs_nursery_wait(nursery) + (arg != NULL);
}

START_TEST(name_and_arguments_travel_with_the_task)
{
	struct zs_runtime *runtime = start_runtime(2);
	struct zs_spawn_options options = with_stack(512 << 10);
	int number = 42;

	assert_ok(run_task(spawn_with_all_options, NULL));
	options.name = "a name";
	options.copy_size = sizeof(number);
	assert_ok(zs_runtime_spawn_with(runtime, &options, look_at_its_name,
					&number));
	await_count(&parked, 2);
	stop_and_destroy(runtime);
}
END_TEST

/* --- what makes no sense --- */

static int nothing(void *arg)
{
	(void)arg;
	return 0;
}

static void assert_refused(const struct zs_spawn_options *options,
			   zs_task_fn *fn, int error, const char *text)
{
	ck_assert_int_eq(zs_nursery_spawn_with(nursery, options, fn, NULL),
			 error);
	ck_assert_msg(strstr(zs_explain(error), text), "\"%s\" lacks \"%s\"",
		      zs_explain(error), text);
}

static int spawn_nonsense(void *arg)
{
	struct zs_spawn_options options = with_stack(ZS_STACK_SIZE_MIN - 1);

	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_refused(&options, nothing, -EINVAL,
		       "zs_spawn_options.stack_size is 16383: set 16384 to "
		       "1073741824 bytes");
	options.stack_size = ZS_STACK_SIZE_MAX + 1;
	assert_refused(&options, nothing, -EINVAL, "1073741825");
	options = with_stack(0);
	options.size--;
	assert_refused(&options, nothing, -EINVAL, "zs_spawn_options.size");
	assert_refused(NULL, nothing, -EINVAL, "zs_spawn_options.size");
	options = with_stack(0);
	options.copy_size = 1; /* of NULL */
	assert_refused(&options, nothing, -EINVAL, "");
	options.copy_size = ZS_SPAWN_COPY_MAX + 1;
	ck_assert_int_eq(zs_nursery_spawn_with(nursery, &options, nothing, "x"),
			 -E2BIG);
	options = with_stack(0);
	assert_refused(&options, NULL, -EINVAL, "");
	assert_ok(zs_nursery_spawn_with(nursery, &options, nothing, NULL));
	return zs_nursery_wait(nursery);
}

START_TEST(options_that_make_no_sense_are_refused)
{
	assert_ok(run_task(spawn_nonsense, NULL));
}
END_TEST

static void limit_address_space(size_t more)
{
	unsigned long pages = 0;
	FILE *file = fopen("/proc/self/statm", "r");
	struct rlimit limit;

	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(fscanf(file, "%lu", &pages), 1);
	fclose(file);
	getrlimit(RLIMIT_AS, &limit);
	limit.rlim_cur = more == 0 ?
				 limit.rlim_max :
				 pages * (size_t)sysconf(_SC_PAGESIZE) + more;
	ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
}

static int ask_for_too_much(void *arg)
{
	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	limit_address_space(64 << 20);
	ck_assert_int_eq(spawn_with_stack(1 << 30, nothing, NULL), -ENOMEM);
	ck_assert_ptr_nonnull(strstr(zs_explain(-ENOMEM), "RLIMIT_AS"));
	assert_ok(zs_nursery_spawn(nursery, nothing, NULL));
	return zs_nursery_wait(nursery);
}

START_TEST(size_that_can_never_be_had_is_enomem_at_once)
{
	if (SANITIZED)
		return;
	assert_ok(run_task(ask_for_too_much, NULL));
}
END_TEST

static int count_and_end(void *arg)
{
	(void)arg;
	count(&parked);
	return 0;
}

/* 10 stacks of 16 MiB, 100 MiB of addresses: some wait, and others that ask for
 * nothing go first. No more can be spawned meanwhile. */
static int starve_of_large_stacks(void *arg)
{
	struct counter *plain = arg;
	struct zs_nursery others;

	assert_ok(zs_nursery_open(&nursery, NULL));
	limit_address_space(100 << 20);
	for (int i = 0; i < 10; i++)
		assert_ok(spawn_with_stack(16 << 20, park, NULL));
	zs_yield();
	ck_assert_uint_ge(counted(&parked), 1);
	ck_assert_uint_lt(counted(&parked), 10);
	ck_assert_int_eq(spawn_with_stack(16 << 20, park, NULL), -ENOMEM);
	assert_ok(zs_nursery_open(&others, NULL));
	for (int i = 0; i < 10; i++)
		assert_ok(zs_nursery_spawn(others, count_and_end, NULL));
	assert_ok(zs_nursery_wait(others));
	limit_address_space(0);
	/* The ten, and the ten others. */
	while (counted(&parked) < 20)
		assert_ok(zs_sleep(ZS_MILLISECOND));
	assert_ok(zs_nursery_cancel(nursery));
	ck_assert_int_eq(zs_nursery_wait(nursery), -ECANCELED);
	return plain != NULL;
}

START_TEST(tasks_that_wait_for_large_stacks_hold_nobody_up)
{
	if (SANITIZED)
		return;
	assert_ok(run_task(starve_of_large_stacks, NULL));
}
END_TEST

/* --- the main task's --- */

static int use_its_stack(void *arg)
{
	struct zs_runtime_info info;

	assert_ok(zs_runtime_info(NULL, &info));
	ck_assert_uint_eq(info.green_thread_stack_size, 64 << 10);
	ck_assert_uint_eq(info.main_stack_size, *(size_t *)arg);
	return use_nearly_all(arg);
}

START_TEST(main_task_has_a_stack_of_its_own_size)
{
	struct zs_config config = test_config();
	size_t size = 4 << 20;

	config.green_thread_stack_size = 64 << 10;
	config.main_stack_size = size - 1;
	assert_ok(zs_run(&config, use_its_stack, &size));
	config.main_stack_size = 0;
	setenv("ZSYNC_MAIN_STACK_SIZE", "4M", 1);
	assert_ok(zs_run(&config, use_its_stack, &size));
	setenv("ZSYNC_MAIN_STACK_SIZE", "0", 1);
	size = 64 << 10;
	assert_ok(zs_run(&config, use_its_stack, &size));
}
END_TEST

START_TEST(bad_size_of_the_main_stack_is_named)
{
	struct zs_config config = test_config();

	config.main_stack_size = 1;
	ck_assert_int_eq(zs_run(&config, nothing, NULL), -EINVAL);
	ck_assert_ptr_nonnull(strstr(zs_explain(-EINVAL),
				     "zs_config.main_stack_size is 1: set "
				     "16384 to 1073741824 bytes (0 is as much "
				     "as green_thread_stack_size)"));
	config.main_stack_size = 0;
	setenv("ZSYNC_MAIN_STACK_SIZE", "2G", 1);
	ck_assert_int_eq(zs_run(&config, nothing, NULL), -EINVAL);
	ck_assert_ptr_nonnull(
		strstr(zs_explain(-EINVAL), "ZSYNC_MAIN_STACK_SIZE"));
}
END_TEST

/* --- overflows --- */

static int spawn_culprit(void *arg)
{
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(spawn_with_stack(*(size_t *)arg, use_more_than_all, arg));
	return zs_nursery_wait(nursery);
}

static void overflow_of_16_kb(void)
{
	size_t size = 16 << 10;

	run_task(spawn_culprit, &size);
}

static void overflow_of_main(void)
{
	struct zs_config config = test_config();
	size_t size = 1 << 20;

	config.main_stack_size = size;
	zs_run(&config, use_more_than_all, &size);
}

START_TEST(overflow_of_a_spawns_size_names_the_option)
{
	struct child *child = run_child(overflow_of_16_kb);

	ck_assert(died_of(child, SIGSEGV));
	ck_assert_msg(says(child, "zsync: stack overflow: task 3 \"culprit\" "
				  "has used up its 16 KiB of stack: raise "
				  "zs_spawn_options.stack_size"),
		      "%s", child->text);
}
END_TEST

START_TEST(overflow_of_the_main_task_names_its_knob)
{
	struct child *child = run_child(overflow_of_main);

	ck_assert(died_of(child, SIGSEGV));
	ck_assert_msg(says(child, "zsync: stack overflow: task 1 \"culprit\" "
				  "has used up its 1 MiB of stack: raise "
				  "zs_config.main_stack_size "
				  "(ZSYNC_MAIN_STACK_SIZE)"),
		      "%s", child->text);
}
END_TEST

/* A frame that ends in the gap that no guard is in. */
static void overflow_unguarded(void)
{
	struct zs_config config = test_config();
	static size_t size = 64 << 10;

	kernel_is_old = true;
	guards_left = 0;
	config.green_thread_stack_size = usual_size;
	setenv("ZSYNC_UNGUARDED_STACKS", "1", 1);
	zs_run(&config, spawn_culprit, &size);
}

static void run_unguarded(void)
{
	struct zs_config config = test_config();
	static size_t size = 64 << 10;

	kernel_is_old = true;
	guards_left = 0;
	config.flags = ZS_CONFIG_UNGUARDED_STACKS;
	if (zs_run(&config, use_nearly_all, &size) != 0 ||
	    zs_run(&config, use_each_size, NULL) != 0)
		_exit(1);
}

START_TEST(overflow_of_an_unguarded_stack_is_seen_at_the_end)
{
	struct child *child = run_child(overflow_unguarded);

	ck_assert(died_of(child, SIGABRT));
	ck_assert_msg(says(child, "zsync: stack overflow, seen at the end: "
				  "task 3 \"culprit\" has used up its "
				  "unguarded 64 KiB of stack: raise "
				  "zs_spawn_options.stack_size"),
		      "%s", child->text);
}
END_TEST

START_TEST(unguarded_stacks_serve_all_the_same)
{
	ck_assert(exited_with(run_child(run_unguarded), 0));
}
END_TEST

static int ask_for_guards(void *arg)
{
	kernel_is_old = true;
	guards_left = 30;
	assert_ok(zs_nursery_open(&nursery, NULL));
	for (int i = 0; i < MOST_TASKS; i++)
		assert_ok(zs_nursery_spawn(nursery, park, NULL));
	zs_yield();
	ck_assert_uint_lt(counted(&parked), MOST_TASKS);
	ck_assert_int_eq(zs_nursery_spawn(nursery, park, NULL), -ENOMEM);
	guards_left = -1;
	await_count(&parked, MOST_TASKS);
	assert_ok(zs_nursery_cancel(nursery));
	ck_assert_int_eq(zs_nursery_wait(nursery), -ECANCELED);
	return arg != NULL;
}

/* The default: no stack without a guard; the runtime goes on. */
START_TEST(stack_that_can_have_no_guard_is_enomem_by_default)
{
	struct zs_config config = test_config();

	kernel_is_old = true;
	assert_ok(run_task_with(&config, ask_for_guards, NULL));
}
END_TEST

static Suite *sizes_suite(void)
{
	Suite *suite = suite_create("stack_sizes");
	TCase *tests = tcase_create("stack_sizes");

	tcase_set_timeout(tests, 60);
	tcase_add_loop_test(
		tests, task_can_use_the_stack_that_it_was_spawned_with, 0, 2);
	tcase_add_loop_test(tests, stacks_of_mixed_sizes_are_used_again, 0, 2);
	tcase_add_test(tests,
		       parked_tasks_of_a_size_leave_their_stacks_to_the_next);
	tcase_add_test(tests, name_and_arguments_travel_with_the_task);
	tcase_add_test(tests, options_that_make_no_sense_are_refused);
	tcase_add_test(tests, size_that_can_never_be_had_is_enomem_at_once);
	tcase_add_test(tests, tasks_that_wait_for_large_stacks_hold_nobody_up);
	tcase_add_test(tests, main_task_has_a_stack_of_its_own_size);
	tcase_add_test(tests, bad_size_of_the_main_stack_is_named);
	tcase_add_test(tests, overflow_of_a_spawns_size_names_the_option);
	tcase_add_test(tests, overflow_of_the_main_task_names_its_knob);
	tcase_add_test(tests,
		       overflow_of_an_unguarded_stack_is_seen_at_the_end);
	tcase_add_test(tests, unguarded_stacks_serve_all_the_same);
	tcase_add_test(tests,
		       stack_that_can_have_no_guard_is_enomem_by_default);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(sizes_suite());
}
