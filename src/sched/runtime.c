/* SPDX-License-Identifier: MIT */
/*
 * Runtimes: making one, setting its workers off, ending it. Called by foreign
 * threads; zs_run() makes the calling thread worker 0.
 */
#include "sched/runtime.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "base/barrier.h"
#include "base/explain.h"
#include "engine/interrupt.h"
#include "engine/offload.h"
#include "sched/leaks.h"
#include "sched/outcome.h"
#include "sched/spawn.h"
#include "sched/stall.h"

enum {
	CREDIT_STEP_MOST = 1024,
	CREDIT_SHARE = 64, /* of the limit, by worker and step */
};

/* --- fork --- */

static _Atomic uint32_t fork_count;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static void before_fork(void)
{
	zs_signals_hold();
	zs_interrupt_hold();
}

static void after_fork(void)
{
	zs_interrupt_let_go();
	zs_signals_let_go();
}

/* The child's only thread is no worker, wherever its parent was. What it
 * executes must not start with a worker's signal mask. */
static void on_fork_in_child(void)
{
	if (zs_worker_self)
		pthread_sigmask(SIG_SETMASK,
				&zs_worker_self->runtime->signal_mask, NULL);
	/* relaxed: the child has one thread. */
	atomic_fetch_add_explicit(&fork_count, 1, memory_order_relaxed);
	zs_worker_self = NULL;
	zs_dump_forget_runtimes();
	after_fork();
}

static void watch_forks(void)
{
	pthread_atfork(before_fork, after_fork, on_fork_in_child);
}

uint32_t zs_runtime_fork_count(void)
{
	/* relaxed: changed only where no other thread is. */
	return atomic_load_explicit(&fork_count, memory_order_relaxed);
}

int zs_runtime_check_process(const struct zs_runtime *runtime)
{
	if (runtime->fork_count == zs_runtime_fork_count())
		return 0;
	return zs_explain_as(-EPERM, "this process was forked from the one "
				     "that has the runtime: make another "
				     "here, or exec");
}

/* --- create --- */

static int take_config(struct zs_runtime *runtime,
		       const struct zs_config *config)
{
	int ret = zs_config_take(&runtime->origin, config);

	if (ret < 0)
		return ret;
	zs_cpus_init(&runtime->cpus);
	runtime->config = runtime->origin.asked;
	zs_config_complete(&runtime->config, zs_cpus_allowed(&runtime->cpus));
	return 0;
}

static int choose_model(struct zs_runtime *runtime)
{
	int ret;

	if (zs_task_has_shadow_stack())
		return zs_explain_as(
			-EOPNOTSUPP,
			"this thread has a shadow stack, which tasks cannot "
			"switch: run with GLIBC_TUNABLES=glibc.cpu.hwcaps="
			"-SHSTK, or link without -z shstk");
	ret = zs_kernel_probe(&runtime->kernel);
	if (ret == 0)
		ret = zs_engine_choose(runtime->config.execution_model,
				       &runtime->kernel, &runtime->model,
				       runtime->model_reason,
				       sizeof(runtime->model_reason));
	/* On the caller's thread, and no other. */
	if (ret == 0 && runtime->model == ZS_MODEL_BLOCKING)
		runtime->config.num_workers = 1;
	return ret;
}

/* So small a step that workers' credits, which nobody else can spawn with, are
 * a few per cent of the limit. */
static void share_credits(struct zs_runtime *runtime)
{
	int64_t limit = runtime->config.max_green_threads;
	int64_t step = limit / ((int64_t)CREDIT_SHARE * runtime->num_workers);

	if (step > CREDIT_STEP_MOST)
		step = CREDIT_STEP_MOST;
	runtime->credit_step = step > 0 ? step : 1;
	atomic_init(&runtime->credits, limit);
}

static int make_workers(struct zs_runtime *runtime)
{
	size_t size = runtime->num_workers * sizeof(struct zs_worker);
	uint32_t i;
	int ret;

	runtime->workers = aligned_alloc(ZS_CACHE_LINE, size);
	if (!runtime->workers)
		return zs_explain_as(-ENOMEM, "no memory for %u workers",
				     runtime->num_workers);
	for (i = 0; i < runtime->num_workers; i++) {
		ret = zs_worker_init(&runtime->workers[i], runtime, i);
		if (ret < 0)
			goto fini;
	}
	return 0;
fini:
	while (i > 0)
		zs_worker_fini(&runtime->workers[--i]);
	free(runtime->workers);
	return ret;
}

static void fini_workers(struct zs_runtime *runtime)
{
	uint32_t i;

	for (i = 0; i < runtime->num_workers; i++)
		zs_worker_fini(&runtime->workers[i]);
	free(runtime->workers);
}

/* Each ring counts as locked memory, so that the first may be had and another
 * one not. */
static int make_workers_or_fall_back(struct zs_runtime *runtime)
{
	int ret = make_workers(runtime);

	if (ret != -ENOMEM || runtime->model != ZS_MODEL_GREEN_THREADS ||
	    runtime->config.execution_model != ZS_MODEL_AUTO)
		return ret;
	snprintf(runtime->model_reason, sizeof(runtime->model_reason),
		 "auto: %s", zs_explain(ret));
	runtime->model = ZS_MODEL_THREAD_POOL;
	return make_workers(runtime);
}

static void init_lock(struct zs_runtime *runtime)
{
	pthread_condattr_t attributes;

	pthread_mutex_init(&runtime->start_lock, NULL);
	pthread_mutex_init(&runtime->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&runtime->changed, &attributes);
	pthread_condattr_destroy(&attributes);
}

static int fill_runtime(struct zs_runtime *runtime,
			const struct zs_config *config)
{
	int ret = take_config(runtime, config);

	if (ret == 0)
		ret = choose_model(runtime);
	if (ret < 0)
		return ret;
	runtime->fork_count = zs_runtime_fork_count();
	runtime->has_barrier = zs_barrier_prepare();
	runtime->num_workers = runtime->config.num_workers;
	runtime->next_foreign_id = runtime->num_workers + 1;
	zs_mailbox_init(&runtime->injected);
	zs_slab_init(&runtime->foreign_tasks, sizeof(struct zs_task));
	zs_slab_init(&runtime->foreign_outcomes, sizeof(struct zs_outcome));
	share_credits(runtime);
	ret = zs_fds_init(&runtime->fds);
	if (ret < 0)
		return ret;
	ret = zs_offload_create(&runtime->offload,
				runtime->config.offload_threads);
	if (ret < 0)
		goto fini_fds;
	ret = make_workers_or_fall_back(runtime);
	if (ret < 0)
		goto destroy_offload;
	ret = zs_leaks_init(runtime);
	if (ret == 0)
		return 0;
	fini_workers(runtime);
destroy_offload:
	zs_offload_destroy(runtime->offload);
fini_fds:
	zs_fds_fini(&runtime->fds);
	return ret;
}

ZS_PUBLIC int zs_runtime_create(struct zs_runtime **created,
				const struct zs_config *config)
{
	struct zs_runtime *runtime;
	int ret;

	if (!created)
		return zs_explain_as(-EINVAL, "zs_runtime_create: no place for "
					      "the runtime was given");
	pthread_once(&fork_once, watch_forks);
	runtime = aligned_alloc(ZS_CACHE_LINE, sizeof(*runtime));
	if (!runtime)
		return zs_explain_as(-ENOMEM, "no memory for a runtime");
	memset(runtime, 0, sizeof(*runtime));
	ret = fill_runtime(runtime, config);
	if (ret < 0) {
		free(runtime);
		return ret;
	}
	init_lock(runtime);
	zs_dump_add_runtime(runtime);
	*created = runtime;
	return 0;
}

/* --- start, spawn, stop --- */

static void set_phase(struct zs_runtime *runtime, enum zs_runtime_phase phase)
{
	/* release: publishes the root to spawns, see zs_runtime_phase(). */
	atomic_store_explicit(&runtime->phase, phase, memory_order_release);
}

static int start_once(struct zs_runtime *runtime, uint32_t first)
{
	int ret = zs_signals_acquire(&runtime->config);

	if (ret < 0)
		return ret;
	ret = zs_stall_start(runtime);
	if (ret < 0)
		goto release_signals;
	pthread_sigmask(SIG_SETMASK, NULL, &runtime->signal_mask);
	zs_scope_init_root(&runtime->root, &runtime->workers[0]);
	ret = zs_threads_start(runtime, first);
	/* That of zs_run() enters once it has been started. */
	if (ret == 0 && first > 0 && !runtime->ends_when_idle)
		ret = zs_embed_enter(runtime);
	set_phase(runtime, ret < 0 ? ZS_RUNTIME_STOPPED : ZS_RUNTIME_RUNNING);
	if (ret == 0)
		return 0;
	zs_stall_stop(runtime);
release_signals:
	zs_signals_release(&runtime->config);
	return ret;
}

/* Waits for the workers' threads, which have been told to quit. */
static void end_threads(struct zs_runtime *runtime)
{
	zs_threads_join(runtime);
	zs_stall_stop(runtime);
	zs_signals_release(&runtime->config);
}

int zs_runtime_start_from(struct zs_runtime *runtime, uint32_t first)
{
	int ret = -EALREADY;

	pthread_mutex_lock(&runtime->start_lock);
	if (zs_runtime_phase(runtime) == ZS_RUNTIME_CREATED)
		ret = start_once(runtime, first);
	else
		zs_explain_as(ret, "the runtime was started before");
	pthread_mutex_unlock(&runtime->start_lock);
	return ret;
}

ZS_PUBLIC int zs_runtime_start(struct zs_runtime *runtime)
{
	int ret;

	if (!runtime)
		return zs_explain_none(-EINVAL);
	ret = zs_runtime_check_process(runtime);
	return ret < 0 ? ret : zs_runtime_start_from(runtime, 0);
}

static int spawn_into_root(struct zs_runtime *runtime,
			   const struct zs_spawn *spawn)
{
	int ret = zs_spawn_check(spawn);

	if (ret < 0 || !runtime)
		return zs_explain_none(-EINVAL);
	ret = zs_runtime_check_process(runtime);
	if (ret < 0)
		return ret;
	if (zs_runtime_phase(runtime) != ZS_RUNTIME_RUNNING)
		return zs_explain_as(-ESTALE, "the runtime is not running");
	return zs_spawn_remotely(&runtime->root, 0, spawn);
}

ZS_PUBLIC int zs_runtime_spawn(struct zs_runtime *runtime, zs_task_fn *fn,
			       void *arg)
{
	const struct zs_spawn spawn = { .fn = fn, .arg = arg };

	return spawn_into_root(runtime, &spawn);
}

ZS_PUBLIC int zs_runtime_spawn_copy(struct zs_runtime *runtime, zs_task_fn *fn,
				    const void *args, size_t size)
{
	const struct zs_spawn spawn = {
		.fn = fn,
		.copy = args,
		.copy_size = size,
	};

	if (size > ZS_SPAWN_COPY_MAX)
		return -E2BIG;
	return spawn_into_root(runtime, &spawn);
}

ZS_PUBLIC int zs_runtime_spawn_with(struct zs_runtime *runtime,
				    const struct zs_spawn_options *options,
				    zs_task_fn *fn, void *arg)
{
	struct zs_spawn spawn;
	int ret = zs_spawn_take(&spawn, options, fn, arg);

	return ret < 0 ? ret : spawn_into_root(runtime, &spawn);
}

/* The root's count is zero now; that it stays so is for the closing of the root
 * to settle, after which nothing can be spawned. */
void zs_runtime_root_idle(struct zs_runtime *runtime)
{
	if (!runtime->ends_when_idle &&
	    zs_runtime_phase(runtime) != ZS_RUNTIME_STOPPING)
		return;
	if (zs_scope_close_root(&runtime->root))
		zs_threads_tell_to_quit(runtime);
}

/* Under the lock. False at the deadline. */
static bool await_threads(struct zs_runtime *runtime, int64_t deadline_ns)
{
	struct timespec deadline = {
		.tv_sec = deadline_ns / ZS_SECOND,
		.tv_nsec = deadline_ns % ZS_SECOND,
	};

	while (runtime->workers_left > 0 || runtime->is_joining) {
		int ret;

		if (deadline_ns == ZS_NEVER)
			ret = pthread_cond_wait(&runtime->changed,
						&runtime->lock);
		else
			ret = pthread_cond_timedwait(&runtime->changed,
						     &runtime->lock, &deadline);
		if (ret == ETIMEDOUT)
			return false;
	}
	return true;
}

void zs_runtime_finish(struct zs_runtime *runtime)
{
	runtime->is_joining = true;
	pthread_mutex_unlock(&runtime->lock);
	end_threads(runtime);
	pthread_mutex_lock(&runtime->lock);
	runtime->is_joining = false;
	set_phase(runtime, ZS_RUNTIME_STOPPED);
	pthread_cond_broadcast(&runtime->changed);
}

static void ask_to_stop(struct zs_runtime *runtime)
{
	if (zs_runtime_phase(runtime) != ZS_RUNTIME_RUNNING)
		return;
	set_phase(runtime, ZS_RUNTIME_STOPPING);
	zs_scope_ask_cancel(&runtime->root, 0, ZS_CANCEL_STOPPING);
}

/* A thread that waits for the end without a limit does nothing else until then.
 * release: pairs with the acquire in has_foreign_threads(). */
static void count_stopper(struct zs_runtime *runtime, int64_t deadline_ns,
			  int change)
{
	if (deadline_ns == ZS_NEVER)
		atomic_fetch_add_explicit(&runtime->deadlock.num_stoppers,
					  (uint32_t)change,
					  memory_order_release);
}

ZS_PUBLIC int zs_runtime_stop(struct zs_runtime *runtime, int64_t deadline_ns)
{
	bool ended;
	int ret;

	if (!runtime || deadline_ns < 0)
		return zs_explain_none(-EINVAL);
	ret = zs_runtime_check_process(runtime);
	if (ret < 0)
		return ret;
	if (zs_worker_self &&
	    (zs_worker_self->runtime == runtime || zs_embed_is_ours(runtime)))
		return zs_explain_as(-EDEADLK, "a task cannot stop the runtime "
					       "that it runs in: return, or "
					       "cancel its nursery");
	pthread_mutex_lock(&runtime->start_lock);
	if (zs_runtime_phase(runtime) == ZS_RUNTIME_CREATED)
		set_phase(runtime, ZS_RUNTIME_STOPPED);
	pthread_mutex_unlock(&runtime->start_lock);
	pthread_mutex_lock(&runtime->lock);
	ask_to_stop(runtime);
	/* Not before: who is counted does nothing else. */
	count_stopper(runtime, deadline_ns, 1);
	if (zs_embed_is_ours(runtime)) {
		pthread_mutex_unlock(&runtime->lock);
		zs_embed_drive(runtime, deadline_ns);
		pthread_mutex_lock(&runtime->lock);
	}
	ended = await_threads(runtime, deadline_ns);
	if (ended && zs_runtime_phase(runtime) != ZS_RUNTIME_STOPPED)
		zs_runtime_finish(runtime);
	pthread_mutex_unlock(&runtime->lock);
	count_stopper(runtime, deadline_ns, -1);
	return ended ? 0 : zs_dump_explain_stop(runtime);
}

/* A foreign thread's spawn may be what ended the runtime, and not have returned
 * yet: it is about to. */
static void await_foreign_posts(struct zs_runtime *runtime)
{
	/* acquire: pairs with the release in zs_worker_post(). */
	while (atomic_load_explicit(&runtime->foreign_posts,
				    memory_order_acquire) > 0)
		sched_yield();
}

static void destroy(struct zs_runtime *runtime)
{
	await_foreign_posts(runtime);
	zs_dump_remove_runtime(runtime);
	zs_offload_destroy(runtime->offload);
	zs_leaks_report(runtime);
	zs_leaks_fini(runtime);
	fini_workers(runtime);
	zs_fds_fini(&runtime->fds);
	zs_slab_fini(&runtime->foreign_tasks);
	zs_slab_fini(&runtime->foreign_outcomes);
	if (runtime->is_embedded)
		zs_embed_fini(runtime);
	pthread_cond_destroy(&runtime->changed);
	pthread_mutex_destroy(&runtime->lock);
	pthread_mutex_destroy(&runtime->start_lock);
	free(runtime);
}

ZS_PUBLIC int zs_runtime_destroy(struct zs_runtime *runtime)
{
	int phase, ret;

	if (!runtime)
		return 0;
	ret = zs_runtime_check_process(runtime);
	if (ret < 0)
		return ret;
	phase = zs_runtime_phase(runtime);
	if (phase == ZS_RUNTIME_RUNNING || phase == ZS_RUNTIME_STOPPING)
		zs_leaks_report_tasks(runtime);
	if (phase == ZS_RUNTIME_RUNNING || phase == ZS_RUNTIME_STOPPING)
		return zs_explain_as(-EBUSY, "the runtime runs: call "
					     "zs_runtime_stop() first");
	destroy(runtime);
	return 0;
}

/* --- run --- */

/* On the stack of zs_run(). */
struct first_task {
	zs_task_fn *fn;
	void *arg;
	int result;
};

static int run_first_task(void *arg)
{
	struct first_task *first = arg;

	first->result = first->fn(first->arg);
	return first->result;
}

static int run_as_worker_0(struct zs_runtime *runtime, zs_task_fn *fn,
			   void *arg)
{
	struct first_task first = { .fn = fn, .arg = arg };
	const struct zs_spawn spawn = {
		.fn = run_first_task,
		.arg = &first,
		.stack_class = zs_stacks_class(runtime->config.main_stack_size),
		.keep_here = true,
	};
	int ret = zs_spawn_remotely(&runtime->root, 0, &spawn);

	if (ret < 0) {
		zs_runtime_root_idle(runtime);
		first.result = ret;
	}
	zs_worker_loop(&runtime->workers[0]);
	return first.result;
}

ZS_PUBLIC int zs_run(const struct zs_config *config, zs_task_fn *fn, void *arg)
{
	struct zs_runtime *runtime = NULL;
	int ret;

	if (zs_worker_self)
		return zs_explain_as(-EPERM, "zs_run() inside a task: spawn "
					     "into a nursery instead");
	if (!fn)
		return zs_explain_as(-EINVAL, "zs_run: no function was given");
	ret = zs_runtime_create(&runtime, config);
	if (!runtime)
		return ret;
	runtime->ends_when_idle = true;
	ret = zs_runtime_start_from(runtime, 1);
	if (ret < 0)
		goto destroy;
	ret = zs_worker_enter(&runtime->workers[0]);
	if (ret < 0) {
		zs_threads_tell_to_quit(runtime);
	} else {
		ret = run_as_worker_0(runtime, fn, arg);
		zs_worker_leave(&runtime->workers[0]);
	}
	end_threads(runtime);
destroy:
	destroy(runtime);
	return ret;
}
