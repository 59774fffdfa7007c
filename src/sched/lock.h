/* SPDX-License-Identifier: MIT */
/* The lock of what scopes of a worker list: tasks, watchers, outcomes. */
#ifndef ZS_SCHED_LOCK_H
#define ZS_SCHED_LOCK_H

#include <pthread.h>

#include "sched/worker.h"

/* A lone worker has nobody to lock out: foreign threads touch no list. */
static inline void zs_lock_children(struct zs_worker *worker)
{
	if (!worker->alone)
		pthread_mutex_lock(&worker->children_lock);
}

static inline void zs_unlock_children(struct zs_worker *worker)
{
	if (!worker->alone)
		pthread_mutex_unlock(&worker->children_lock);
}

#endif
