/* SPDX-License-Identifier: MIT */
/*
 * For tests of the scheduler: runtimes of several workers, threads that are no
 * workers, tasks on workers of the test's choice, and what they tell each other
 * by.
 */
#ifndef ZS_TEST_WORKERS_H
#define ZS_TEST_WORKERS_H

#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include "runtime.h"

/* An assertion for loops: it costs nothing while it holds. */
#define assert_ok(call)                                                  \
	do {                                                             \
		int assert_ok_ret = (call);                              \
                                                                         \
		if (assert_ok_ret != 0)                                  \
			ck_abort_msg("%s: %d, %s", #call, assert_ok_ret, \
				     zs_explain(assert_ok_ret));         \
	} while (0)

/* --- counters --- */

/* Counted up by any thread. acq_rel and acquire: what was done before it was
 * counted is seen by who has waited for it. */
struct counter {
	_Atomic uint32_t value;
};

static inline uint32_t count(struct counter *counter)
{
	return atomic_fetch_add_explicit(&counter->value, 1,
					 memory_order_acq_rel) +
	       1;
}

static inline uint32_t counted(struct counter *counter)
{
	return atomic_load_explicit(&counter->value, memory_order_acquire);
}

/* A task lets the others of its worker run meanwhile. Anyone else, and who may
 * be cancelled, lets other threads. */
static inline void await_count(struct counter *counter, uint32_t number)
{
	while (counted(counter) < number)
		if (zs_yield() != 0)
			sched_yield();
}

/* The same, by a task that keeps its worker to itself. */
static inline void occupy_until(struct counter *counter, uint32_t number)
{
	while (counted(counter) < number)
		sched_yield();
}

/* --- runtimes and threads --- */

static inline int run_task_on(uint32_t num_workers, zs_task_fn *fn, void *arg)
{
	struct zs_config config = test_config();

	config.num_workers = num_workers;
	return run_task_with(&config, fn, arg);
}

/* A running one, to be stopped by stop_and_destroy(). */
static inline struct zs_runtime *start_runtime(uint32_t num_workers)
{
	struct zs_config config = test_config();
	struct zs_runtime *runtime = NULL;

	need_workers(num_workers);
	config.num_workers = num_workers;
	assert_ok(zs_runtime_create(&runtime, &config));
	assert_ok(zs_runtime_start(runtime));
	return runtime;
}

static inline void stop_and_destroy(struct zs_runtime *runtime)
{
	assert_ok(zs_runtime_stop(runtime, ZS_NEVER));
	assert_ok(zs_runtime_destroy(runtime));
}

static inline pthread_t start_thread(void *(*fn)(void *arg), void *arg)
{
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, fn, arg), 0);
	return thread;
}

/* Runs fn(arg) to its end on a thread that is no worker. */
static inline void run_in_thread(void *(*fn)(void *arg), void *arg)
{
	ck_assert_int_eq(pthread_join(start_thread(fn, arg), NULL), 0);
}

/* --- tasks that a thread spawns --- */

struct spawn_job {
	struct zs_nursery nursery;
	uint32_t number;
	zs_task_fn *fn;
	void *arg;
};

static inline void *run_spawn_job(void *arg)
{
	struct spawn_job *job = arg;

	for (uint32_t i = 0; i < job->number; i++)
		assert_ok(zs_nursery_spawn(job->nursery, job->fn, job->arg));
	return NULL;
}

/* Task. Spawns @number tasks from a thread that is no worker. */
static inline void spawn_from_thread(struct zs_nursery nursery, uint32_t number,
				     zs_task_fn *fn, void *arg)
{
	struct spawn_job job = { nursery, number, fn, arg };

	run_in_thread(run_spawn_job, &job);
}

/* --- tasks on each worker --- */

struct scouts {
	zs_task_fn *fn;
	void *arg;
	uint64_t round; /* of all that the process has */
	struct counter workers, go, left;
};

/* The first on each worker does the work, the others hold its place. */
static inline int scout(void *arg)
{
	static _Thread_local uint64_t last_round;
	struct scouts *scouts = arg;
	zs_task_fn *fn = last_round == scouts->round ? NULL : scouts->fn;
	void *fn_arg = scouts->arg;

	if (fn) {
		last_round = scouts->round;
		count(&scouts->workers);
	}
	while (counted(&scouts->go) == 0)
		assert_ok(zs_sleep(100 * ZS_MICROSECOND));
	count(&scouts->left);
	return fn ? fn(fn_arg) : 0;
}

/* Task, not cancelled, of a runtime of @num_workers: runs fn(arg) on each of
 * them. Sends tasks until each has got one; where they go is the scheduler's
 * business. */
static inline void spawn_on_each(struct zs_nursery nursery,
				 uint32_t num_workers, zs_task_fn *fn,
				 void *arg)
{
	static struct counter rounds;
	struct scouts scouts = { .fn = fn, .arg = arg };
	uint32_t number;

	scouts.round = count(&rounds);
	for (number = 0; counted(&scouts.workers) < num_workers; number++) {
		spawn_from_thread(nursery, 1, scout, &scouts);
		assert_ok(zs_sleep(100 * ZS_MICROSECOND));
	}
	count(&scouts.go);
	while (counted(&scouts.left) < number)
		assert_ok(zs_sleep(100 * ZS_MICROSECOND));
}

/* --- stderr --- */

/* What is written to stderr from begin to end. It must fit a pipe. */
struct capture {
	int saved_fd;
	int fds[2];
	char text[4096];
};

static inline void begin_capture(struct capture *capture)
{
	ck_assert_int_eq(pipe(capture->fds), 0);
	capture->saved_fd = dup(STDERR_FILENO);
	dup2(capture->fds[1], STDERR_FILENO);
}

static inline void end_capture(struct capture *capture)
{
	ssize_t length;

	dup2(capture->saved_fd, STDERR_FILENO);
	close(capture->saved_fd);
	close(capture->fds[1]);
	length =
		read(capture->fds[0], capture->text, sizeof(capture->text) - 1);
	capture->text[length > 0 ? length : 0] = '\0';
	close(capture->fds[0]);
}

#endif
