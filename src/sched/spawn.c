/* SPDX-License-Identifier: MIT */
/*
 * Making tasks and placing them: what is not inlined. Called by nurseries and
 * by the runtime; on a worker's thread where a task spawns, on any other where
 * a foreign one does.
 *
 * max_green_threads is kept by credits: a worker takes them from the runtime by
 * the step and gives them back likewise, so that a spawn and an end touch no
 * memory that workers share.
 */
#include "sched/spawn.h"

#include <errno.h>

#include "base/explain.h"
#include "base/probes.h"
#include "sched/runtime.h"

int zs_spawn_check(const struct zs_spawn *spawn)
{
	if (!spawn->fn || (spawn->copy_size > 0 && !spawn->copy))
		return zs_explain_none(-EINVAL);
	return spawn->copy_size > ZS_SPAWN_COPY_MAX ? zs_explain_none(-E2BIG) :
						      0;
}

static int check_options(const struct zs_spawn_options *options)
{
	if (!options || options->size != sizeof(*options))
		return zs_explain_as(-EINVAL,
				     "zs_spawn_options.size is %zu: set it to "
				     "sizeof(struct zs_spawn_options), here "
				     "%zu",
				     options ? options->size : 0,
				     sizeof(*options));
	if (options->stack_size != 0 &&
	    (options->stack_size < ZS_STACK_SIZE_MIN ||
	     options->stack_size > ZS_STACK_SIZE_MAX))
		return zs_explain_as(
			-EINVAL,
			"zs_spawn_options.stack_size is %zu: set %zu to %zu "
			"bytes, or 0 for green_thread_stack_size",
			options->stack_size, ZS_STACK_SIZE_MIN,
			ZS_STACK_SIZE_MAX);
	return 0;
}

int zs_spawn_take(struct zs_spawn *spawn,
		  const struct zs_spawn_options *options, zs_task_fn *fn,
		  void *arg)
{
	int ret = check_options(options);

	if (ret < 0)
		return ret;
	*spawn = (struct zs_spawn){
		.fn = fn,
		.arg = arg,
		.copy = arg,
		.copy_size = options->copy_size,
		.name = options->name,
		.stack_class = zs_stacks_class(options->stack_size),
	};
	ret = zs_spawn_check(spawn);
	/* What can never be had is better said now. */
	if (ret == 0 && spawn->stack_class != 0 && zs_worker_self)
		ret = zs_stacks_prepare(zs_worker_self, spawn->stack_class);
	return ret;
}

/* Any thread. How many of the @wanted there are. */
static int64_t take_credits(struct zs_runtime *runtime, int64_t wanted)
{
	/* relaxed: a number of tasks publishes nothing. */
	int64_t had =
		atomic_load_explicit(&runtime->credits, memory_order_relaxed);
	int64_t taken;

	do {
		taken = had < wanted ? had : wanted;
		if (taken <= 0)
			return 0;
	} while (!atomic_compare_exchange_weak_explicit(
		&runtime->credits, &had, had - taken, memory_order_relaxed,
		memory_order_relaxed));
	return taken;
}

static void give_credits(struct zs_runtime *runtime, int64_t number)
{
	/* relaxed: as above. */
	atomic_fetch_add_explicit(&runtime->credits, number,
				  memory_order_relaxed);
}

static int explain_limit(const struct zs_runtime *runtime)
{
	return zs_explain_as(-EAGAIN,
			     "max_green_threads, %u, are alive; raise it "
			     "(ZSYNC_MAX_GREEN_THREADS)",
			     runtime->config.max_green_threads);
}

static ZS_COLD int refill_credits(struct zs_worker *worker)
{
	struct zs_runtime *runtime = worker->runtime;

	worker->credits = take_credits(runtime, runtime->credit_step);
	return worker->credits > 0 ? 0 : explain_limit(runtime);
}

int zs_task_allow(struct zs_worker *worker)
{
	if (worker->is_starved)
		return zs_explain_as(-ENOMEM,
				     "no stack can be had for more tasks; they "
				     "wait for others to end");
	return refill_credits(worker);
}

static struct zs_task *create_foreign(struct zs_runtime *runtime,
				      struct zs_scope *scope,
				      const struct zs_spawn *spawn, int *error)
{
	struct zs_task *task;

	if (take_credits(runtime, 1) == 0) {
		*error = explain_limit(runtime);
		return NULL;
	}
	pthread_mutex_lock(&runtime->lock);
	task = zs_slab_get(&runtime->foreign_tasks);
	if (task) {
		task->id = runtime->next_foreign_id;
		runtime->next_foreign_id += runtime->num_workers + 1;
	}
	pthread_mutex_unlock(&runtime->lock);
	if (!task) {
		give_credits(runtime, 1);
		*error = -ENOMEM;
		return NULL;
	}
	task->link.item = task;
	task->owner = NULL;
	zs_task_fill(task, scope, spawn);
	ZS_PROBE_SPAWN_OUTSIDE(task);
	return task;
}

static int spawn_from_worker(struct zs_worker *worker, struct zs_scope *scope,
			     const struct zs_spawn *spawn)
{
	struct zs_task *task;
	int ret;

	task = zs_task_create(worker, scope, spawn, &ret);
	if (!task)
		return ret;
	if (scope->is_pinned && scope->worker != worker) {
		ZS_COUNT(worker->counters.spawned, 1);
		zs_worker_send(scope->worker, task);
		return 0;
	}
	return zs_task_place(worker, task, scope->is_pinned | spawn->keep_here);
}

static int spawn_from_outside(struct zs_scope *scope,
			      const struct zs_spawn *spawn)
{
	struct zs_runtime *runtime = scope->worker->runtime;
	struct zs_task *task;
	int ret;

	task = create_foreign(runtime, scope, spawn, &ret);
	if (!task)
		return ret;
	if (scope->is_pinned)
		zs_worker_send(scope->worker, task);
	else
		zs_worker_inject(runtime, task);
	return 0;
}

int zs_spawn_added(struct zs_scope *scope, const struct zs_spawn *spawn)
{
	struct zs_worker *worker = zs_worker_self;

	/* The scope cannot be closed: it has one task more. */
	if (worker && worker->runtime == scope->worker->runtime)
		return spawn_from_worker(worker, scope, spawn);
	return spawn_from_outside(scope, spawn);
}

int zs_spawn_remotely(struct zs_scope *scope, uint64_t generation,
		      const struct zs_spawn *spawn)
{
	int ret = zs_scope_add_remotely(scope, generation);

	if (ret < 0)
		return ret;
	ret = zs_spawn_added(scope, spawn);
	if (ret < 0)
		zs_scope_remove_remotely(scope);
	return ret;
}

void zs_task_give_back(struct zs_worker *worker, struct zs_task *task)
{
	struct zs_runtime *runtime = worker->runtime;

	if (worker->credits >= worker->credits_most) {
		give_credits(runtime, runtime->credit_step);
		worker->credits -= runtime->credit_step;
	}
	if (task->owner == worker)
		zs_slab_put(&worker->tasks, task);
	else
		zs_slab_put_remote(task->owner ? &task->owner->tasks :
						 &runtime->foreign_tasks,
				   task);
}
