/* SPDX-License-Identifier: MIT */
/* Where tasks start. For spawns, the switching of tasks, the worker's loop. */
#ifndef ZS_SCHED_BALANCE_H
#define ZS_SCHED_BALANCE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/deque.h"
#include "sched/task.h"
#include "sched/worker.h"

struct zs_runtime;

/* Its own thread, after a push onto its deque: where that fails, and where
 * there are others whom it may concern. 0 or -ENOMEM. */
int zs_worker_after_push(struct zs_worker *worker, int pushed);

/* Its own thread. @task, unstarted, may be started here or stolen. 0 or
 * -ENOMEM. */
static ZS_ALWAYS_INLINE int zs_worker_push(struct zs_worker *worker,
					   struct zs_task *task)
{
	int ret = zs_deque_push(&worker->unstarted, task);

	if (zs_likely(ret == 0 && worker->alone))
		return 0;
	return zs_worker_after_push(worker, ret);
}

/* Its own thread. What is unstarted is for others, and one that is idle is
 * woken for it: the running task goes on for long. */
void zs_worker_offer(struct zs_worker *worker);

/* Its own thread. @task is to be started here and nowhere else; after those
 * that wait for the same, or before them. */
void zs_worker_keep(struct zs_worker *worker, struct zs_task *task);
void zs_worker_keep_first(struct zs_worker *worker, struct zs_task *task);
/* Any thread. The same, by message, for another worker. */
void zs_worker_send(struct zs_worker *worker, struct zs_task *task);

/* A thread that is no worker of @runtime. @task is to be started by any. */
void zs_worker_inject(struct zs_runtime *runtime, struct zs_task *task);

/* The way of zs_worker_take_unstarted() where there is more than one source. */
struct zs_task *zs_worker_next_unstarted(struct zs_worker *worker);

/* Its own thread. The task to start next, NULL if there is none. One that had
 * better start on a less busy worker is sent there on the way. */
static ZS_ALWAYS_INLINE struct zs_task *
zs_worker_take_unstarted(struct zs_worker *worker)
{
	if (zs_likely(worker->alone && !worker->arrivals.first &&
		      !worker->is_starved))
		return zs_deque_take_top(&worker->unstarted);
	return zs_worker_next_unstarted(worker);
}

/* Its own thread. Takes in what others have handed to it or injected. */
void zs_worker_take_in_all(struct zs_worker *worker);

/* Its own thread: false if there is nothing. One task of another worker, to be
 * started here. A single one is left to its owner, who is likely to be about to
 * start it, until there is nothing better to do: @least. */
bool zs_worker_steal(struct zs_worker *worker, int64_t least);

/* Its own thread, before it sleeps. When it has to look again at what it gave
 * away, in nanoseconds from now; INT64_MAX: not at all. */
int64_t zs_worker_gift_wait(const struct zs_worker *worker);

#endif
