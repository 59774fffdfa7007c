/* SPDX-License-Identifier: MIT */
/* Making tasks, placing them, and taking their memory back. */
#ifndef ZS_SCHED_SPAWN_H
#define ZS_SCHED_SPAWN_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "mem/slab.h"
#include "sched/scope.h"
#include "sched/task.h"
#include "sched/worker.h"

/* What is to run. */
struct zs_spawn {
	zs_task_fn *fn;
	void *arg;
	const void *copy; /* with copy_size > 0: in place of arg */
	size_t copy_size;
	/* On the spawning worker, and nowhere else. */
	bool keep_here;
};

/* Any thread. 0, -EINVAL or -E2BIG. */
int zs_spawn_check(const struct zs_spawn *spawn);

/* The scope's worker: into an open scope of its own. 0, -ECANCELED, -EAGAIN or
 * -ENOMEM. */
int zs_spawn_here(struct zs_worker *worker, struct zs_scope *scope,
		  const struct zs_spawn *spawn);
/* Any thread, another worker's among them. Also -ESTALE. */
int zs_spawn_remotely(struct zs_scope *scope, uint64_t generation,
		      const struct zs_spawn *spawn);

/* The way of zs_task_free() for memory and credits that are not @worker's. */
void zs_task_give_back(struct zs_worker *worker, struct zs_task *task);

/* @worker runs, or handles a message for, @task, which has ended. */
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

#endif
