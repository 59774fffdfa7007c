/* SPDX-License-Identifier: MIT */
/*
 * Making tasks, placing them, and taking their memory back. Used by nurseries,
 * the runtime and ending tasks. What a spawn into one's own worker's nursery
 * takes is inlined into its callers; the rest is in spawn.c.
 */
#ifndef ZS_SCHED_SPAWN_H
#define ZS_SCHED_SPAWN_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/compiler.h"
#include "base/probes.h"
#include "mem/slab.h"
#include "sched/balance.h"
#include "sched/scope.h"
#include "sched/task.h"
#include "sched/worker.h"
#include "zsync/nursery.h"

/* What is to run. */
struct zs_spawn {
	zs_task_fn *fn;
	void *arg;
	const void *copy; /* with copy_size > 0: in place of arg */
	size_t copy_size;
	const char *name;    /* NULL: it has none */
	uint8_t stack_class; /* see worker.h */
	/* On the spawning worker, and nowhere else. */
	bool keep_here;
};

/* Any thread. 0, -EINVAL or -E2BIG. */
int zs_spawn_check(const struct zs_spawn *spawn);

/* Any thread. Fills *spawn with what the public @options ask for. 0, -EINVAL,
 * -E2BIG or -ENOMEM (no stack of that size), explained. */
int zs_spawn_take(struct zs_spawn *spawn,
		  const struct zs_spawn_options *options, zs_task_fn *fn,
		  void *arg);

/* Any thread: into a scope that may be another worker's. 0, -ESTALE,
 * -ECANCELED, -EAGAIN or -ENOMEM. */
int zs_spawn_remotely(struct zs_scope *scope, uint64_t generation,
		      const struct zs_spawn *spawn);

/* The same once zs_scope_add_remotely() has been called: 0, -EAGAIN or -ENOMEM.
 */
int zs_spawn_added(struct zs_scope *scope, const struct zs_spawn *spawn);

/* The cold sides of zs_task_create() and zs_task_free(). The first: may @worker
 * go on? 0, or a negative errno, explained. */
int zs_task_allow(struct zs_worker *worker);
void zs_task_give_back(struct zs_worker *worker, struct zs_task *task);

static ZS_ALWAYS_INLINE void zs_task_fill(struct zs_task *task,
					  struct zs_scope *scope,
					  const struct zs_spawn *spawn)
{
	task->stack = NULL;
	task->wait = NULL;
	task->scope = scope;
	task->nursery = scope;
	task->fn = spawn->fn;
	task->arg = spawn->arg;
	task->state = ZS_TASK_UNSTARTED;
	task->is_linked = false;
	task->stack_class = spawn->stack_class;
	task->name[0] = '\0';
	if (zs_unlikely(spawn->name))
		zs_task_copy_name(task, spawn->name);
	if (spawn->copy_size == 0)
		return;
	memcpy(task->copy, spawn->copy, spawn->copy_size);
	task->arg = task->copy;
}

/* Makes a task of @task, which is @worker's and free, and knows what it keeps
 * for good. */
static ZS_ALWAYS_INLINE void zs_task_make(struct zs_worker *worker,
					  struct zs_task *task,
					  struct zs_scope *scope,
					  const struct zs_spawn *spawn)
{
	worker->credits--;
	task->id = worker->next_task_id;
	worker->next_task_id += worker->task_id_step;
	zs_task_fill(task, scope, spawn);
	ZS_PROBE_SPAWN(task, worker);
}

/* On @worker's thread. NULL, with the reason in *error. */
static ZS_ALWAYS_INLINE struct zs_task *
zs_task_create(struct zs_worker *worker, struct zs_scope *scope,
	       const struct zs_spawn *spawn, int *error)
{
	struct zs_task *task;

	if (zs_unlikely(worker->is_starved || worker->credits == 0)) {
		*error = zs_task_allow(worker);
		if (*error < 0)
			return NULL;
	}
	task = zs_slab_get(&worker->tasks);
	if (zs_unlikely(!task)) {
		*error = -ENOMEM;
		return NULL;
	}
	task->link.item = task;
	task->owner = worker;
	zs_task_make(worker, task, scope, spawn);
	return task;
}

/* @worker runs, or handles a message for, @task, which has ended (or has never
 * been placed). */
static ZS_ALWAYS_INLINE void zs_task_free(struct zs_worker *worker,
					  struct zs_task *task)
{
	task->state = ZS_TASK_FREE;
	worker->credits++;
	if (zs_likely(task->owner == worker &&
		      worker->credits < worker->credits_most))
		zs_slab_put(&worker->tasks, task);
	else
		zs_task_give_back(worker, task);
}

/* On @worker's thread: to be started there, and nowhere else if @keep. 0 or
 * -ENOMEM, and then it is freed. */
static ZS_ALWAYS_INLINE int zs_task_place(struct zs_worker *worker,
					  struct zs_task *task, bool keep)
{
	int ret = 0;

	if (zs_unlikely(keep))
		zs_worker_keep(worker, task);
	else
		ret = zs_worker_push(worker, task);
	if (zs_likely(ret == 0))
		ZS_COUNT(worker->counters.spawned, 1);
	else
		zs_task_free(worker, task);
	return ret;
}

/* The scope's worker, which it is open on. Is a spawn into it without trouble:
 * nothing forbids it, and nothing that it takes has to be got first? */
static ZS_ALWAYS_INLINE bool zs_spawn_is_plain(const struct zs_scope *scope)
{
	struct zs_worker *worker = scope->worker;

	/* relaxed: its only writer is this thread. */
	return atomic_load_explicit(&scope->reason, memory_order_relaxed) ==
		       ZS_CANCEL_NONE &&
	       !scope->is_pinned && !worker->is_starved &&
	       worker->credits > 0 && worker->tasks.free &&
	       zs_deque_has_room(&worker->unstarted);
}

/* The same, where it is. 0. */
static ZS_ALWAYS_INLINE int zs_spawn_plainly(struct zs_scope *scope,
					     const struct zs_spawn *spawn)
{
	struct zs_worker *worker = scope->worker;
	struct zs_task *task = zs_slab_take(&worker->tasks);

	zs_task_make(worker, task, scope, spawn);
	zs_deque_put(&worker->unstarted, task);
	ZS_COUNT(worker->counters.spawned, 1);
	scope->local++;
	return zs_likely(worker->alone) ? 0 : zs_worker_after_push(worker, 0);
}

/* The scope's worker: into an open scope of its own. 0, -ECANCELED, -EAGAIN or
 * -ENOMEM. */
static ZS_ALWAYS_INLINE int zs_spawn_here(struct zs_worker *worker,
					  struct zs_scope *scope,
					  const struct zs_spawn *spawn)
{
	struct zs_task *task;
	int ret;

	/* relaxed: its only writer is this thread. */
	if (zs_unlikely(
		    atomic_load_explicit(&scope->reason, memory_order_relaxed)))
		return -ECANCELED;
	task = zs_task_create(worker, scope, spawn, &ret);
	if (zs_unlikely(!task))
		return ret;
	ret = zs_task_place(worker, task, scope->is_pinned | spawn->keep_here);
	if (zs_likely(ret == 0))
		scope->local++;
	return ret;
}

#endif
