/* SPDX-License-Identifier: MIT */
/*
 * Runtimes: their life from create to destroy, by foreign threads and by
 * zs_run(), and what configuration is refused. What a runtime leaves behind in
 * its process is in test_runtime_process.c.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "workers.h"

/* Shared by the tasks of a test; each test is a process of its own. */
static struct zs_runtime *runtime;
static struct zs_nursery nursery;
static struct counter ended, opened, released;

static int return_result(void *result)
{
	return *(int *)result;
}

static int count_end(void *arg)
{
	(void)arg;
	count(&ended);
	return 0;
}

static int sleep_until_stopped(void *arg)
{
	ck_assert_int_eq(zs_sleep(ZS_NEVER), -ECANCELED);
	ck_assert_int_eq(zs_cancel_reason(), ZS_CANCEL_STOPPING);
	return count_end(arg);
}

/* Deaf to cancels: what holds up a stop. */
static int ignore_cancels(void *arg)
{
	count(&opened);
	occupy_until(&released, 1);
	return count_end(arg);
}

static void expect_text(int ret, int error, const char *part)
{
	ck_assert_int_eq(ret, error);
	ck_assert_msg(strstr(zs_explain(error), part), "\"%s\" lacks \"%s\"",
		      zs_explain(error), part);
}

/* --- zs_run() --- */

START_TEST(run_returns_what_its_task_returned)
{
	int results[] = { 0, 42, -EIO, INT32_MIN, -ECANCELED };

	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(zs_run(NULL, return_result, &results[i]),
				 results[i]);
}
END_TEST

static int sleep_shortly(void *arg)
{
	(void)arg;
	while (zs_yield() == 0)
		;
	for (int i = 0; i < 3; i++)
		sched_yield();
	count(&ended);
	return 0;
}

static int leave_tasks_behind(void *arg)
{
	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	for (int i = 0; i < 20; i++)
		assert_ok(zs_nursery_spawn(nursery, sleep_shortly, NULL));
	spawn_from_thread(nursery, 20, sleep_shortly, NULL);
	return 7;
}

/* The first returns with its nursery open; the others take their time. */
START_TEST(run_returns_after_all_tasks_have_ended)
{
	struct zs_config config = test_config();
	static struct capture capture;

	config.num_workers = 1u << _i;
	begin_capture(&capture);
	ck_assert_int_eq(zs_run(&config, leave_tasks_behind, NULL), 7);
	end_capture(&capture);
	ck_assert_uint_eq(counted(&ended), 40);
}
END_TEST

static int run_inside(void *arg)
{
	int result = 0;

	(void)arg;
	expect_text(zs_run(NULL, return_result, &result), -EPERM,
		    "inside a task");
	return zs_yield();
}

START_TEST(run_inside_a_task_is_eperm)
{
	assert_ok(run_task(run_inside, NULL));
}
END_TEST

/* --- create, start, spawn, stop, destroy --- */

static void *live_one_life(void *arg)
{
	struct zs_runtime *mine = start_runtime(2);

	for (int i = 0; i < 100; i++)
		assert_ok(zs_runtime_spawn(mine, sleep_until_stopped, NULL));
	assert_ok(zs_runtime_spawn_copy(mine, sleep_until_stopped, "x", 2));
	stop_and_destroy(mine);
	return arg;
}

/* Two at once, each by a thread of its own. */
START_TEST(foreign_threads_run_runtimes_side_by_side)
{
	for (int i = 0; i < 5; i++) {
		pthread_t threads[2];

		for (int j = 0; j < 2; j++)
			threads[j] = start_thread(live_one_life, NULL);
		for (int j = 0; j < 2; j++)
			pthread_join(threads[j], NULL);
	}
	ck_assert_uint_eq(counted(&ended), 5 * 2 * 101);
}
END_TEST

static int spawn_sibling(void *arg)
{
	count(&opened);
	return zs_runtime_spawn(runtime, count_end, arg);
}

/* By a task of the runtime and by the thread that made it. A failure cancels
 * nobody and is counted. */
START_TEST(tasks_of_a_runtime_are_independent)
{
	int error = -EIO;
	struct zs_stats stats;

	runtime = start_runtime(_i + 1);
	for (int i = 0; i < 10; i++) {
		assert_ok(zs_runtime_spawn(runtime, return_result, &error));
		assert_ok(zs_runtime_spawn(runtime, spawn_sibling, NULL));
	}
	await_count(&ended, 10);
	assert_ok(zs_runtime_stop(runtime, ZS_NEVER));
	assert_ok(zs_stats(runtime, &stats));
	ck_assert_uint_eq(stats.total.tasks_ended, 30);
	ck_assert_uint_eq(stats.total.tasks_failed, 10);
	assert_ok(zs_runtime_destroy(runtime));
}
END_TEST

START_TEST(spawn_before_start_and_after_stop_is_estale)
{
	struct zs_config config = test_config();

	assert_ok(zs_runtime_create(&runtime, &config));
	expect_text(zs_runtime_spawn(runtime, count_end, NULL), -ESTALE,
		    "not running");
	assert_ok(zs_runtime_start(runtime));
	assert_ok(zs_runtime_spawn(runtime, count_end, NULL));
	ck_assert_int_eq(zs_runtime_start(runtime), -EALREADY);
	assert_ok(zs_runtime_stop(runtime, ZS_NEVER));
	ck_assert_int_eq(zs_runtime_spawn(runtime, count_end, NULL), -ESTALE);
	ck_assert_int_eq(zs_runtime_spawn_copy(runtime, count_end, "x", 1),
			 -ESTALE);
	ck_assert_int_eq(zs_runtime_start(runtime), -EALREADY);
	ck_assert_uint_eq(counted(&ended), 1);
	assert_ok(zs_runtime_destroy(runtime));
}
END_TEST

/* With nothing in it, never started, and once more. */
START_TEST(stop_of_what_does_not_run_is_0)
{
	struct zs_config config = test_config();

	assert_ok(zs_runtime_create(&runtime, &config));
	assert_ok(zs_runtime_stop(runtime, ZS_NEVER));
	assert_ok(zs_runtime_stop(runtime, 0));
	assert_ok(zs_runtime_destroy(runtime));
	runtime = start_runtime(2);
	assert_ok(zs_runtime_stop(runtime, ZS_NEVER));
	for (int i = 0; i < 3; i++)
		assert_ok(zs_runtime_stop(runtime, i));
	assert_ok(zs_runtime_destroy(runtime));
}
END_TEST

static void *stop_it(void *arg)
{
	count(&opened);
	occupy_until(&opened, 4);
	assert_ok(zs_runtime_stop(runtime, ZS_NEVER));
	ck_assert_uint_eq(counted(&ended), 10);
	return arg;
}

START_TEST(stop_by_four_threads_at_once_is_0_for_each)
{
	for (int i = 0; i < 20; i++) {
		pthread_t threads[4];

		atomic_init(&opened.value, 0);
		atomic_init(&ended.value, 0);
		runtime = start_runtime(2);
		for (int j = 0; j < 10; j++)
			assert_ok(zs_runtime_spawn(runtime, sleep_until_stopped,
						   NULL));
		for (int j = 0; j < 4; j++)
			threads[j] = start_thread(stop_it, NULL);
		for (int j = 0; j < 4; j++)
			pthread_join(threads[j], NULL);
		assert_ok(zs_runtime_destroy(runtime));
	}
}
END_TEST

static void *start_it(void *result)
{
	count(&opened);
	occupy_until(&opened, 2);
	*(int *)result = zs_runtime_start(runtime);
	return NULL;
}

START_TEST(start_by_two_threads_at_once_is_ealready_for_one)
{
	struct zs_config config = test_config();

	for (int i = 0; i < 20; i++) {
		int results[2];
		pthread_t thread;

		atomic_init(&opened.value, 0);
		assert_ok(zs_runtime_create(&runtime, &config));
		thread = start_thread(start_it, &results[0]);
		start_it(&results[1]);
		pthread_join(thread, NULL);
		ck_assert_int_eq(results[0] + results[1], -EALREADY);
		ck_assert_int_eq(results[0] * results[1], 0);
		assert_ok(zs_runtime_spawn(runtime, count_end, NULL));
		stop_and_destroy(runtime);
		ck_assert_uint_eq(counted(&ended), i + 1);
	}
}
END_TEST

static int stop_from_inside(void *arg)
{
	expect_text(zs_runtime_stop(runtime, 0), -EDEADLK, "runs in");
	ck_assert_int_eq(zs_runtime_stop(runtime, ZS_NEVER), -EDEADLK);
	ck_assert_int_eq(zs_runtime_destroy(runtime), -EBUSY);
	return count_end(arg);
}

START_TEST(stop_by_its_own_task_is_edeadlk)
{
	runtime = start_runtime(2);
	for (int i = 0; i < 4; i++)
		assert_ok(zs_runtime_spawn(runtime, stop_from_inside, NULL));
	await_count(&ended, 4);
	stop_and_destroy(runtime);
}
END_TEST

static int stop_the_other(void *arg)
{
	assert_ok(zs_runtime_spawn(runtime, sleep_until_stopped, NULL));
	stop_and_destroy(runtime);
	return count_end(arg);
}

START_TEST(stop_by_a_task_of_another_runtime_works)
{
	runtime = start_runtime(2);
	assert_ok(run_task(stop_the_other, NULL));
	ck_assert_uint_eq(counted(&ended), 2);
}
END_TEST

START_TEST(stop_that_cannot_end_in_time_is_etimedout_and_goes_on)
{
	int64_t deadline_ns;

	runtime = start_runtime(_i + 1);
	assert_ok(zs_runtime_spawn(runtime, sleep_until_stopped, NULL));
	assert_ok(zs_runtime_spawn(runtime, ignore_cancels, NULL));
	await_count(&opened, 1);
	ck_assert_int_eq(zs_runtime_stop(runtime, -1), -EINVAL);
	ck_assert_int_eq(zs_runtime_stop(runtime, 1), -ETIMEDOUT);
	deadline_ns = zs_now() + 3 * ZS_MILLISECOND;
	ck_assert_int_eq(zs_runtime_stop(runtime, deadline_ns), -ETIMEDOUT);
	ck_assert_int_ge(zs_now(), deadline_ns);
	expect_text(zs_runtime_destroy(runtime), -EBUSY, "zs_runtime_stop()");
	ck_assert_int_eq(zs_runtime_spawn(runtime, count_end, NULL), -ESTALE);
	count(&released);
	assert_ok(zs_runtime_stop(runtime, zs_now() + 60 * ZS_SECOND));
	ck_assert_uint_eq(counted(&ended), 2);
	assert_ok(zs_runtime_destroy(runtime));
}
END_TEST

START_TEST(destroy_of_a_running_one_is_ebusy)
{
	runtime = start_runtime(1);
	expect_text(zs_runtime_destroy(runtime), -EBUSY, "zs_runtime_stop()");
	assert_ok(zs_runtime_spawn(runtime, count_end, NULL));
	await_count(&ended, 1);
	stop_and_destroy(runtime);
}
END_TEST

/* A spawn that was taken runs to its end, however close the stop. */
static void *spawn_until_stopped(void *arg)
{
	int ret;

	do {
		ret = zs_runtime_spawn(runtime, count_end, NULL);
		if (ret == 0)
			count(arg);
	} while (ret == 0);
	if (ret != -ESTALE && ret != -ECANCELED)
		ck_abort_msg("%d", ret);
	return NULL;
}

START_TEST(stop_runs_all_that_was_spawned_before)
{
	for (int i = 0; i < 20; i++) {
		struct counter spawned = { 0 };
		pthread_t thread;

		atomic_init(&ended.value, 0);
		runtime = start_runtime(2);
		thread = start_thread(spawn_until_stopped, &spawned);
		await_count(&spawned, 100);
		assert_ok(zs_runtime_stop(runtime, ZS_NEVER));
		pthread_join(thread, NULL);
		ck_assert_uint_eq(counted(&ended), counted(&spawned));
		assert_ok(zs_runtime_destroy(runtime));
	}
}
END_TEST

START_TEST(nulls_are_einval)
{
	struct zs_runtime_info info;

	ck_assert_int_eq(zs_run(NULL, NULL, NULL), -EINVAL);
	ck_assert_int_eq(zs_runtime_create(NULL, NULL), -EINVAL);
	ck_assert_int_eq(zs_runtime_start(NULL), -EINVAL);
	ck_assert_int_eq(zs_runtime_stop(NULL, ZS_NEVER), -EINVAL);
	ck_assert_int_eq(zs_runtime_spawn(NULL, count_end, NULL), -EINVAL);
	assert_ok(zs_runtime_destroy(NULL));
	ck_assert_int_eq(zs_runtime_info(NULL, &info), -EPERM);
	ck_assert_int_eq(zs_runtime_info(NULL, NULL), -EINVAL);
	runtime = start_runtime(1);
	ck_assert_int_eq(zs_runtime_info(runtime, NULL), -EINVAL);
	ck_assert_int_eq(zs_runtime_spawn(runtime, NULL, NULL), -EINVAL);
	ck_assert_int_eq(zs_runtime_spawn_copy(runtime, NULL, "x", 1), -EINVAL);
	ck_assert_int_eq(zs_runtime_spawn_copy(runtime, count_end, NULL, 1),
			 -EINVAL);
	ck_assert_int_eq(zs_runtime_spawn_copy(runtime, count_end, "x",
					       ZS_SPAWN_COPY_MAX + 1),
			 -E2BIG);
	stop_and_destroy(runtime);
	ck_assert_uint_eq(counted(&ended), 0);
}
END_TEST

/* --- configuration --- */

/* The reason's text outlives the runtime here. */
static int ask_for_info(void *arg)
{
	static char reason[300];
	struct zs_runtime_info *info = arg;
	int ret = zs_runtime_info(NULL, info);

	snprintf(reason, sizeof(reason), "%s", info->model_reason);
	info->model_reason = reason;
	return ret;
}

/* As asked for, but for what is rounded; by handle and from inside. */
START_TEST(info_tells_what_is_in_force)
{
	struct zs_config config = zs_config_for_embedded();
	struct zs_runtime_info info;

	config.num_workers = 3;
	config.queue_depth = 33;
	config.green_thread_stack_size = 20001;
	assert_ok(zs_runtime_create(&runtime, &config));
	assert_ok(zs_runtime_info(runtime, &info));
	ck_assert_int_eq(info.execution_model, test_info().execution_model);
	ck_assert_str_eq(info.model_name,
			 zs_execution_model_name(info.execution_model));
	ck_assert_str_ne(info.model_reason, "");
	ck_assert_uint_eq(info.num_workers,
			  info.execution_model == ZS_MODEL_BLOCKING ? 1 : 3);
	ck_assert_uint_eq(info.queue_depth, 64);
	ck_assert_uint_ge(info.green_thread_stack_size, 20001);
	ck_assert_uint_eq(info.green_thread_stack_size % 4096, 0);
	assert_ok(zs_runtime_destroy(runtime));
	config.num_workers = 1;
	config.queue_depth = 2;
	assert_ok(zs_run(&config, ask_for_info, &info));
	ck_assert_uint_eq(info.num_workers, 1);
	ck_assert_uint_eq(info.queue_depth, 2);
}
END_TEST

static void refuse(struct zs_config config, int error, const char *part)
{
	struct zs_runtime *none = NULL;

	expect_text(zs_runtime_create(&none, &config), error, part);
	ck_assert_ptr_null(none);
	expect_text(zs_run(&config, count_end, NULL), error, part);
}

START_TEST(bad_configuration_is_refused_by_field)
{
	static const uint32_t depths[] = { 0, 1, 16385, 32769, UINT32_MAX };
	static const size_t sizes[] = { 0, 16383, (1 << 30) + 1, SIZE_MAX };
	struct zs_config config = zs_config_default();

	for (int i = 0; i < 5; i++) {
		config.queue_depth = depths[i];
		refuse(config, -EINVAL, "queue_depth");
	}
	config = zs_config_default();
	for (int i = 0; i < 4; i++) {
		config.green_thread_stack_size = sizes[i];
		refuse(config, -EINVAL, "green_thread_stack_size");
	}
	config = zs_config_default();
	config.num_workers = 1025;
	refuse(config, -EINVAL, "num_workers");
	config.num_workers = UINT32_MAX;
	refuse(config, -EINVAL, "num_workers");
	config = zs_config_default();
	config.max_green_threads = 0;
	refuse(config, -EINVAL, "max_green_threads");
	config = zs_config_default();
	config.size--;
	refuse(config, -EINVAL, "size");
	ck_assert_uint_eq(counted(&ended), 0);
}
END_TEST

START_TEST(model_asked_for_by_name_is_the_one)
{
	enum zs_execution_model models[] = { ZS_MODEL_THREAD_POOL,
					     ZS_MODEL_BLOCKING };
	struct zs_config config = test_config();
	struct zs_runtime_info info;
	int i;

	unsetenv("ZSYNC_EXECUTION_MODEL");
	for (i = 0; i < 2; i++) {
		config.execution_model = models[i];
		assert_ok(zs_run(&config, ask_for_info, &info));
		ck_assert_int_eq(info.execution_model, models[i]);
		ck_assert_ptr_nonnull(strstr(info.model_reason, "by name"));
	}
	config.execution_model = (enum zs_execution_model)4;
	refuse(config, -EINVAL, "execution_model");
}
END_TEST

/* It overrides what the program asked for, and is as strict. */
START_TEST(environment_overrides_and_is_checked)
{
	struct zs_config config = test_config();
	struct zs_runtime_info info;

	setenv("ZSYNC_EXECUTION_MODEL", "thread_pool", 1);
	setenv("ZSYNC_WORKERS", "3", 1);
	setenv("ZSYNC_QUEUE_DEPTH", "8", 1);
	setenv("ZSYNC_GREEN_THREAD_STACK_SIZE", "128K", 1);
	assert_ok(zs_run(&config, ask_for_info, &info));
	ck_assert_uint_eq(info.num_workers, 3);
	ck_assert_uint_eq(info.queue_depth, 8);
	ck_assert_uint_eq(info.green_thread_stack_size, 128 << 10);
	setenv("ZSYNC_WORKERS", "many", 1);
	refuse(config, -EINVAL, "ZSYNC_WORKERS");
	unsetenv("ZSYNC_WORKERS");
	setenv("ZSYNC_EXECUTION_MODEL", "blocking", 1);
	assert_ok(zs_run(&config, ask_for_info, &info));
	ck_assert_int_eq(info.execution_model, ZS_MODEL_BLOCKING);
}
END_TEST

START_TEST(io_uring_switched_off_means_thread_pool_or_a_clear_error)
{
	struct zs_config config = test_config();
	struct zs_runtime_info info;
	bool is_usable;

	unsetenv("ZSYNC_EXECUTION_MODEL");
	is_usable = test_has_ring();
	setenv("ZSYNC_DISABLE", "io_uring", 1);
	assert_ok(zs_run(&config, ask_for_info, &info));
	ck_assert_int_eq(info.execution_model, ZS_MODEL_THREAD_POOL);
	ck_assert_ptr_nonnull(strstr(info.model_reason, "ZSYNC_DISABLE"));
	config.execution_model = ZS_MODEL_GREEN_THREADS;
	refuse(config, -ENOSYS, "ZSYNC_DISABLE");
	setenv("ZSYNC_DISABLE", "ext_arg", 1);
	if (is_usable)
		refuse(config, -ENOSYS, "EXT_ARG");
	else
		puts("SKIP test_runtime: the lack of one feature: io_uring "
		     "cannot be used here at all");
	setenv("ZSYNC_DISABLE", "no_such_thing", 1);
	refuse(config, -EINVAL, "no_such_thing");
	unsetenv("ZSYNC_DISABLE");
	config.execution_model = ZS_MODEL_AUTO;
	assert_ok(zs_run(&config, count_end, NULL));
}
END_TEST

static Suite *runtime_suite(void)
{
	Suite *suite = suite_create("runtime");
	TCase *tests = tcase_create("runtime");

	/* A busy machine may need it; a hang is one all the same. */
	tcase_set_timeout(tests, 20);
	tcase_add_test(tests, run_returns_what_its_task_returned);
	tcase_add_loop_test(tests, run_returns_after_all_tasks_have_ended, 0,
			    3);
	tcase_add_test(tests, run_inside_a_task_is_eperm);
	tcase_add_test(tests, foreign_threads_run_runtimes_side_by_side);
	tcase_add_loop_test(tests, tasks_of_a_runtime_are_independent, 0, 2);
	tcase_add_test(tests, spawn_before_start_and_after_stop_is_estale);
	tcase_add_test(tests, stop_of_what_does_not_run_is_0);
	tcase_add_test(tests, stop_by_four_threads_at_once_is_0_for_each);
	tcase_add_test(tests, start_by_two_threads_at_once_is_ealready_for_one);
	tcase_add_test(tests, stop_by_its_own_task_is_edeadlk);
	tcase_add_test(tests, stop_by_a_task_of_another_runtime_works);
	tcase_add_loop_test(
		tests, stop_that_cannot_end_in_time_is_etimedout_and_goes_on, 0,
		2);
	tcase_add_test(tests, destroy_of_a_running_one_is_ebusy);
	tcase_add_test(tests, stop_runs_all_that_was_spawned_before);
	tcase_add_test(tests, nulls_are_einval);
	tcase_add_test(tests, info_tells_what_is_in_force);
	tcase_add_test(tests, bad_configuration_is_refused_by_field);
	tcase_add_test(tests, model_asked_for_by_name_is_the_one);
	tcase_add_test(tests, environment_overrides_and_is_checked);
	tcase_add_test(
		tests,
		io_uring_switched_off_means_thread_pool_or_a_clear_error);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(runtime_suite());
}
