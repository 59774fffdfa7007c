/* SPDX-License-Identifier: MIT */
/*
 * For tests that need a runtime: tasks that are run to their end, and a loud
 * skip where no runtime is to be had. One worker carries them all, so tasks of
 * one test share memory without locks, and a task runs until it parks.
 */
#ifndef ZS_TEST_RUNTIME_H
#define ZS_TEST_RUNTIME_H

#include <check.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zsync.h>

struct test_task {
	zs_task_fn *fn;
	void *arg;
	int result;
	bool ended;
};

/* Room on the stack for what a failing assertion formats. */
static inline struct zs_config test_config(void)
{
	struct zs_config config = zs_config_default();

	config.num_workers = 1;
	config.green_thread_stack_size = (size_t)256 << 10;
	return config;
}

/* What is in force where a program does not choose its model: what the
 * environment says, or what the kernel allows. */
static inline struct zs_runtime_info test_info(void)
{
	struct zs_config config = test_config();
	struct zs_runtime *runtime = NULL;
	struct zs_runtime_info info;

	ck_assert_int_eq(zs_runtime_create(&runtime, &config), 0);
	ck_assert_int_eq(zs_runtime_info(runtime, &info), 0);
	ck_assert_int_eq(zs_runtime_destroy(runtime), 0);
	info.model_reason = ""; /* it was the runtime's */
	return info;
}

static inline bool test_has_ring(void)
{
	return test_info().execution_model == ZS_MODEL_GREEN_THREADS;
}

/* Is it the one thread that the tests run on which would have to let others act
 * while the kernel holds it? */
static inline bool test_is_blocking(void)
{
	const char *model = getenv("ZSYNC_EXECUTION_MODEL");

	return model && strcmp(model, "blocking") == 0;
}

/* A test of several workers has nothing to say of a model that has one: it ends
 * here, well. */
static inline void need_workers(uint32_t number)
{
	if (number < 2 || !test_is_blocking())
		return;
	printf("SKIP: %u workers, of which the blocking model has one\n",
	       number);
	fflush(stdout);
	exit(EXIT_SUCCESS);
}

static inline int run_test_task(void *arg)
{
	struct test_task *task = arg;

	task->result = task->fn(task->arg);
	task->ended = true;
	return 0;
}

/* Runs fn(arg) as the first task of a runtime; its result. The test fails if
 * the runtime does. */
static inline int run_task_with(const struct zs_config *config, zs_task_fn *fn,
				void *arg)
{
	struct test_task task = { .fn = fn, .arg = arg };

	need_workers(config->num_workers);
	ck_assert_int_eq(zs_run(config, run_test_task, &task), 0);
	ck_assert(task.ended);
	return task.result;
}

static inline int run_task(zs_task_fn *fn, void *arg)
{
	struct zs_config config = test_config();

	return run_task_with(&config, fn, arg);
}

struct test_siblings {
	zs_task_fn *first;
	zs_task_fn *second;
	void *arg;
};

static inline int run_test_siblings(void *arg)
{
	struct test_siblings *siblings = arg;
	struct zs_nursery nursery;
	int ret;

	ck_assert_int_eq(zs_nursery_open(&nursery, NULL), 0);
	ck_assert_int_eq(
		zs_nursery_spawn(nursery, siblings->first, siblings->arg), 0);
	/* The first runs until it parks. It may have failed by then. */
	zs_yield();
	ret = zs_nursery_spawn(nursery, siblings->second, siblings->arg);
	ck_assert(ret == 0 || ret == -ECANCELED);
	return zs_nursery_wait(nursery);
}

/* Runs two tasks side by side; the first error of either. @second starts when
 * @first has parked. */
static inline int run_siblings(zs_task_fn *first, zs_task_fn *second, void *arg)
{
	struct test_siblings siblings = { first, second, arg };

	return run_task(run_test_siblings, &siblings);
}

/* Task: connects to a listener's loopback port. */
static inline int connect_to_port(int port)
{
	char address[24];

	snprintf(address, sizeof(address), "127.0.0.1:%d", port);
	return zs_tcp_connect(address);
}

/* False, and a line that says why, where the system allows no io_uring. What
 * else goes wrong is for the tests to find. */
static inline bool runtime_is_to_be_had(void)
{
	struct zs_config config = test_config();
	struct zs_runtime *runtime;
	int ret = zs_runtime_create(&runtime, &config);

	if (ret == 0)
		ret = zs_runtime_destroy(runtime);
	if (ret != -ENOSYS && ret != -EPERM)
		return true;
	printf("SKIP: no io_uring here: %s\n", zs_explain(ret));
	return false;
}

/* What main() returns for a suite that needs a runtime. */
static inline int run_suite(Suite *suite)
{
	SRunner *runner = srunner_create(suite);
	int nr_failed = 0;

	if (runtime_is_to_be_had()) {
		srunner_run_all(runner, CK_NORMAL);
		nr_failed = srunner_ntests_failed(runner);
	}
	srunner_free(runner);
	return nr_failed != 0;
}

#endif
