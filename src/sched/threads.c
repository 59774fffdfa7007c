/* SPDX-License-Identifier: MIT */
/*
 * The workers' threads: making them, their life, and joining them. Called by
 * runtime.c, on the thread that starts, runs or stops the runtime.
 */
#include <errno.h>
#include <string.h>

#include "base/explain.h"
#include "sched/runtime.h"
#include "sched/worker.h"

enum {
	/* Explicit, because musl's default is 128 KiB; our own calls need a
	 * tenth of it. */
	THREAD_STACK_SIZE = 512 << 10,
};

static void note_entered(struct zs_worker *worker, int result)
{
	struct zs_runtime *runtime = worker->runtime;

	pthread_mutex_lock(&runtime->lock);
	worker->enter_result = result;
	if (result < 0)
		strncpy(worker->enter_text, zs_explain(result),
			sizeof(worker->enter_text) - 1);
	runtime->workers_started++;
	pthread_cond_broadcast(&runtime->changed);
	pthread_mutex_unlock(&runtime->lock);
}

static void note_left(struct zs_runtime *runtime)
{
	pthread_mutex_lock(&runtime->lock);
	runtime->workers_left--;
	pthread_cond_broadcast(&runtime->changed);
	pthread_mutex_unlock(&runtime->lock);
}

static void *thread_main(void *arg)
{
	struct zs_worker *worker = arg;
	int ret = zs_worker_enter(worker);

	note_entered(worker, ret);
	if (ret == 0) {
		zs_worker_loop(worker);
		zs_worker_leave(worker);
	}
	note_left(worker->runtime);
	return NULL;
}

/* A thread inherits the mask of the one that makes it: so no signal finds it
 * unmasked. */
static int make_thread(struct zs_worker *worker)
{
	struct zs_runtime *runtime = worker->runtime;
	pthread_attr_t attributes;
	sigset_t all, old;
	int ret;

	/* Before it runs, for it looks at this. */
	worker->has_thread = true;
	pthread_mutex_lock(&runtime->lock);
	runtime->workers_left++;
	pthread_mutex_unlock(&runtime->lock);
	sigfillset(&all);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, THREAD_STACK_SIZE);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	ret = pthread_create(&worker->thread, &attributes, thread_main, worker);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attributes);
	if (ret == 0)
		return 0;
	worker->has_thread = false;
	note_left(runtime);
	return zs_explain_as(-ret,
			     "the thread of worker %u of %u could not be made: "
			     "lower num_workers or raise RLIMIT_NPROC "
			     "(ulimit -u)",
			     worker->index, runtime->num_workers);
}

void zs_threads_tell_to_quit(struct zs_runtime *runtime)
{
	uint32_t i;

	for (i = 0; i < runtime->num_workers; i++) {
		/* seq_cst: the partner of fall_asleep()'s flag, as a post. */
		atomic_store_explicit(&runtime->workers[i].must_quit, true,
				      memory_order_seq_cst);
		zs_worker_wake(&runtime->workers[i]);
	}
}

void zs_threads_join(struct zs_runtime *runtime)
{
	uint32_t i;

	for (i = 0; i < runtime->num_workers; i++) {
		if (!runtime->workers[i].has_thread)
			continue;
		pthread_join(runtime->workers[i].thread, NULL);
		runtime->workers[i].has_thread = false;
	}
}

/* Waits until the first @number that have threads have entered or failed to. */
static int await_entered(struct zs_runtime *runtime, uint32_t number)
{
	uint32_t i;
	int ret = 0;

	pthread_mutex_lock(&runtime->lock);
	while (runtime->workers_started < number)
		pthread_cond_wait(&runtime->changed, &runtime->lock);
	for (i = 0; i < runtime->num_workers && ret == 0; i++) {
		ret = runtime->workers[i].enter_result;
		if (ret < 0)
			zs_explain_as(ret, "worker %u: %s", i,
				      runtime->workers[i].enter_text);
	}
	pthread_mutex_unlock(&runtime->lock);
	return ret;
}

int zs_threads_start(struct zs_runtime *runtime, uint32_t first)
{
	uint32_t i;
	int made = 0, entered;

	for (i = first; i < runtime->num_workers && made == 0; i++)
		made = make_thread(&runtime->workers[i]);
	if (made < 0)
		i--;
	entered = await_entered(runtime, i - first);
	if (made == 0 && entered == 0)
		return 0;
	zs_threads_tell_to_quit(runtime);
	zs_threads_join(runtime);
	return made < 0 ? made : entered;
}
