/* SPDX-License-Identifier: MIT */
/*
 * Outcomes: what is kept of a task whose end somebody wants to know. It is made
 * with the task, so that nothing is allocated when that ends, and is the task's
 * argument: the task runs outcome.c's function, which calls the user's. Used by
 * join sets, which take outcomes in the order in which the tasks end, and by
 * handles, which wait for one.
 */
#ifndef ZS_SCHED_OUTCOME_H
#define ZS_SCHED_OUTCOME_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "sched/task.h"
#include "zsync/join.h"

struct zs_scope;
struct zs_set;
struct zs_spawn;
struct zs_wake;
struct zs_worker;

/* From the slab of the worker that spawned the task (of the runtime, if a
 * foreign thread did). */
struct zs_outcome {
	/* Links those of a set that have ended; the slab's while it is free. */
	struct zs_outcome *next;
	/* Counted up when it is freed, under the lock of the nursery's worker;
	 * a stale handle may look at it under another's. */
	_Atomic uint64_t generation;
	struct zs_worker *owner; /* of the memory; NULL: the runtime */
	struct zs_scope *nursery;
	struct zs_set *set; /* NULL: it has a handle */
	zs_task_fn *fn;
	void *arg;
	uint32_t index; /* in the set */
	int result;	/* once the task has ended */
	/* Who runs it, for those who look on; NULL until it starts. */
	_Atomic(struct zs_task *) task;

	/* Under the lock of the nursery's worker, if it is listed there. */
	struct zs_list siblings;
	struct zs_list watchers; /* of a handle: who waits for it */
	struct zs_scope *scope;	 /* that cancels it alone, if it has one */
	uint64_t scope_generation;
	bool has_ended;
	bool is_unwanted; /* to be cancelled when it starts */
	/* Constant: of a set, but listed. */
	bool is_listed;
	/* Nothing was spawned: for a set's opener to drop. */
	bool is_void;

	_Alignas(16) unsigned char copy[ZS_SPAWN_COPY_MAX];
};

/* What a spawner wants to know, before the task can start. */
struct zs_outcome_request {
	/* To be filled; NULL: the nursery is a join set's. */
	struct zs_task_handle *handle;
	uint32_t index; /* in that */
};

/* Any thread. Into a nursery of which nothing has been checked. 0, or nothing
 * was spawned: -ESTALE, -ECANCELED, -EAGAIN or -ENOMEM. */
int zs_outcome_spawn(struct zs_scope *nursery, uint64_t generation,
		     const struct zs_spawn *spawn,
		     struct zs_outcome_request *request);

/* A worker's thread; nobody else knows of it any more. Under the lock if it has
 * a handle. */
void zs_outcome_free(struct zs_outcome *outcome);

/* The scope's worker: the nursery is closed. */
void zs_outcome_drop_all(struct zs_scope *nursery);

/* join_set.c. The task of @outcome has ended, or it is void; any thread. */
void zs_set_push(struct zs_set *set, struct zs_outcome *outcome);
/* Any thread, while the set's scope cannot be closed: an index. */
uint32_t zs_set_count_up(struct zs_set *set);
/* Takes it back, if no later one has been given out. */
bool zs_set_count_down(struct zs_set *set, uint32_t index);
bool zs_set_lists(const struct zs_set *set);
/* The scope's worker: the set's scope is closed. */
void zs_set_drop(struct zs_set *set, struct zs_worker *worker);

#endif
