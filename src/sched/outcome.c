/* SPDX-License-Identifier: MIT */
/*
 * Outcomes, as outcome.h has them: their memory, and what a task does that has
 * one. Spawning is done by any thread, the rest by workers.
 *
 * A set's outcome belongs to the task until it is pushed, and then to the set's
 * opener; it needs no lock. One with a handle, and one that can be cancelled by
 * itself, is also listed in its nursery, under the lock of its worker.
 */
#include "sched/outcome.h"

#include <errno.h>
#include <string.h>

#include "base/compiler.h"
#include "base/explain.h"
#include "sched/lock.h"
#include "sched/runtime.h"
#include "sched/scope.h"
#include "sched/spawn.h"
#include "sched/watch.h"
#include "sched/worker.h"

/* --- memory --- */

static struct zs_outcome *get_foreign(struct zs_runtime *runtime)
{
	struct zs_outcome *outcome;

	pthread_mutex_lock(&runtime->lock);
	outcome = zs_slab_get(&runtime->foreign_outcomes);
	pthread_mutex_unlock(&runtime->lock);
	return outcome;
}

static struct zs_outcome *get(const struct zs_scope *nursery)
{
	struct zs_runtime *runtime = nursery->worker->runtime;
	struct zs_worker *worker = zs_worker_self;
	struct zs_outcome *outcome;

	if (worker && worker->runtime != runtime)
		worker = NULL;
	outcome = worker ? zs_slab_get(&worker->outcomes) :
			   get_foreign(runtime);
	if (outcome)
		outcome->owner = worker;
	return outcome;
}

void zs_outcome_free(struct zs_outcome *outcome)
{
	struct zs_worker *owner = outcome->owner;
	struct zs_runtime *runtime = outcome->nursery->worker->runtime;
	/* relaxed, both: whoever finds it changed learns no more than that. */
	uint64_t generation = atomic_load_explicit(&outcome->generation,
						   memory_order_relaxed);

	atomic_store_explicit(&outcome->generation, generation + 1,
			      memory_order_relaxed);
	if (owner && owner == zs_worker_self)
		zs_slab_put(&owner->outcomes, outcome);
	else
		zs_slab_put_remote(owner ? &owner->outcomes :
					   &runtime->foreign_outcomes,
				   outcome);
}

static void drop_handled(struct zs_scope *nursery)
{
	struct zs_list *node, *next;

	for (node = nursery->outcomes.next; node != &nursery->outcomes;
	     node = next) {
		next = node->next;
		zs_outcome_free(
			zs_container_of(node, struct zs_outcome, siblings));
	}
}

void zs_outcome_drop_all(struct zs_scope *nursery)
{
	/* Who comes later, with a handle, sees that it is closed. */
	zs_lock_children(nursery->worker);
	if (nursery->is_set)
		zs_set_drop(nursery->set, nursery->worker);
	else if (nursery->outcomes.next)
		drop_handled(nursery);
	nursery->outcomes.next = NULL;
	zs_unlock_children(nursery->worker);
}

/* --- the task --- */

/* Under the lock. Has any of those who wait for it taken it? */
static bool tell_watchers(struct zs_outcome *outcome)
{
	struct zs_list *node = outcome->watchers.next, *next;
	bool is_taken = false;

	for (; node != &outcome->watchers; node = next) {
		struct zs_watcher *watcher =
			zs_container_of(node, struct zs_watcher, node);

		next = node->next;
		watcher->is_listed = false;
		is_taken |= !watcher->stays;
		watcher->tell(watcher, outcome->result);
	}
	zs_list_init(&outcome->watchers);
	return is_taken;
}

static int end_handled(struct zs_outcome *outcome, int result)
{
	struct zs_worker *worker = outcome->nursery->worker;

	zs_lock_children(worker);
	outcome->result = result;
	outcome->has_ended = true;
	if (tell_watchers(outcome)) {
		zs_list_remove(&outcome->siblings);
		zs_outcome_free(outcome);
	}
	zs_unlock_children(worker);
	return result;
}

static void unlist(struct zs_outcome *outcome)
{
	struct zs_worker *worker = outcome->nursery->worker;

	zs_lock_children(worker);
	zs_list_remove(&outcome->siblings);
	zs_unlock_children(worker);
}

/* In a scope of its own, by which it can be cancelled alone. Without memory for
 * one it cannot. */
static int run_alone(struct zs_task *task, struct zs_outcome *outcome)
{
	struct zs_worker *worker = outcome->nursery->worker;
	struct zs_scope *scope = zs_scope_open(task, ZS_NEVER);
	bool is_unwanted;
	int result;

	zs_lock_children(worker);
	outcome->scope = scope;
	/* relaxed: this thread is the only writer. */
	if (scope)
		outcome->scope_generation = atomic_load_explicit(
			&scope->generation, memory_order_relaxed);
	is_unwanted = outcome->is_unwanted;
	zs_unlock_children(worker);
	if (is_unwanted && scope)
		zs_scope_cancel(scope, ZS_CANCEL_REQUESTED);
	result = outcome->fn(outcome->arg);
	if (scope) {
		zs_scope_close_left_open(task, scope);
		zs_scope_close(task, scope);
	}
	unlist(outcome);
	return result;
}

/* What it has left open is closed first: who learns that it has ended may rely
 * on it. */
static int run(void *arg)
{
	struct zs_outcome *outcome = arg;
	struct zs_task *task = zs_worker_task();
	int result;

	/* relaxed: for those who look on. */
	atomic_store_explicit(&outcome->task, task, memory_order_relaxed);
	if (zs_unlikely(outcome->is_listed))
		result = run_alone(task, outcome);
	else
		result = outcome->fn(outcome->arg);
	if (zs_unlikely(task->scope != task->nursery))
		zs_scope_close_left_open(task, task->nursery);
	if (!outcome->set)
		return end_handled(outcome, result);
	outcome->result = result;
	zs_set_push(outcome->set, outcome);
	return 0;
}

/* --- spawning --- */

static void fill(struct zs_outcome *outcome, struct zs_scope *nursery,
		 const struct zs_spawn *spawn,
		 const struct zs_outcome_request *request)
{
	outcome->nursery = nursery;
	outcome->set = request->handle ? NULL : nursery->set;
	outcome->fn = spawn->fn;
	outcome->arg = spawn->arg;
	atomic_store_explicit(&outcome->task, NULL, memory_order_relaxed);
	outcome->is_void = false;
	outcome->is_listed = outcome->set && zs_set_lists(outcome->set);
	if (spawn->copy_size == 0)
		return;
	memcpy(outcome->copy, spawn->copy, spawn->copy_size);
	outcome->arg = outcome->copy;
}

static bool needs_listing(const struct zs_outcome *outcome)
{
	return outcome->is_listed || !outcome->set;
}

/* The scope is open, and cannot be closed meanwhile. */
static void list(struct zs_outcome *outcome, uint64_t generation)
{
	struct zs_scope *nursery = outcome->nursery;

	outcome->scope = NULL;
	outcome->is_unwanted = false;
	outcome->has_ended = false;
	zs_list_init(&outcome->watchers);
	zs_lock_children(nursery->worker);
	zs_scope_set_watched(nursery, generation);
	if (!nursery->outcomes.next)
		zs_list_init(&nursery->outcomes);
	zs_list_append(&nursery->outcomes, &outcome->siblings);
	zs_unlock_children(nursery->worker);
}

/* The opener, who waits for nothing now, forgets it. Who else may have made the
 * opener wait for one task more leaves it to him. */
static void undo(struct zs_outcome *outcome)
{
	struct zs_scope *nursery = outcome->nursery;
	bool is_opener = nursery->worker == zs_worker_self &&
			 nursery->opener == zs_worker_self->current;

	if (needs_listing(outcome))
		unlist(outcome);
	if (!outcome->set ||
	    (is_opener && zs_set_count_down(outcome->set, outcome->index))) {
		zs_outcome_free(outcome);
		return;
	}
	outcome->is_void = true;
	zs_set_push(outcome->set, outcome);
}

static struct zs_task_handle handle_of(struct zs_outcome *outcome)
{
	return (struct zs_task_handle){
		.outcome = outcome,
		.scope = outcome->nursery,
		/* relaxed: nobody else has it. */
		.generation = atomic_load_explicit(&outcome->generation,
						   memory_order_relaxed),
	};
}

/* The scope cannot be closed: it is this thread's, or has one task more. */
static struct zs_outcome *make(struct zs_scope *nursery, uint64_t generation,
			       const struct zs_spawn *spawn,
			       struct zs_outcome_request *request)
{
	struct zs_outcome *outcome = get(nursery);

	if (!outcome)
		return NULL;
	fill(outcome, nursery, spawn, request);
	if (outcome->set)
		outcome->index = zs_set_count_up(outcome->set);
	if (needs_listing(outcome))
		list(outcome, generation);
	request->index = outcome->index;
	if (request->handle)
		*request->handle = handle_of(outcome);
	return outcome;
}

static struct zs_spawn spawn_of(struct zs_outcome *outcome,
				const struct zs_spawn *spawn)
{
	struct zs_spawn made = *spawn;

	made.fn = run;
	made.arg = outcome;
	made.copy_size = 0;
	return made;
}

static int spawn_here(struct zs_scope *nursery, uint64_t generation,
		      const struct zs_spawn *spawn,
		      struct zs_outcome_request *request)
{
	struct zs_outcome *outcome;
	struct zs_spawn made;
	int ret;

	if (zs_scope_error(nursery) < 0)
		return -ECANCELED;
	outcome = make(nursery, generation, spawn, request);
	if (!outcome)
		return -ENOMEM;
	made = spawn_of(outcome, spawn);
	ret = zs_spawn_here(nursery->worker, nursery, &made);
	if (ret < 0)
		undo(outcome);
	return ret;
}

static int spawn_elsewhere(struct zs_scope *nursery, uint64_t generation,
			   const struct zs_spawn *spawn,
			   struct zs_outcome_request *request)
{
	int ret = zs_scope_add_remotely(nursery, generation);
	struct zs_outcome *outcome;
	struct zs_spawn made;

	if (ret < 0)
		return ret;
	outcome = make(nursery, generation, spawn, request);
	if (!outcome) {
		zs_scope_remove_remotely(nursery);
		return -ENOMEM;
	}
	made = spawn_of(outcome, spawn);
	ret = zs_spawn_added(nursery, &made);
	if (ret == 0)
		return 0;
	undo(outcome);
	zs_scope_remove_remotely(nursery);
	return ret;
}

int zs_outcome_spawn(struct zs_scope *nursery, uint64_t generation,
		     const struct zs_spawn *spawn,
		     struct zs_outcome_request *request)
{
	if (!nursery)
		return zs_explain_none(-ESTALE);
	/* relaxed: see is_open_here() in nursery.c. */
	if (nursery->worker == zs_worker_self &&
	    atomic_load_explicit(&nursery->generation, memory_order_relaxed) ==
		    generation)
		return spawn_here(nursery, generation, spawn, request);
	return spawn_elsewhere(nursery, generation, spawn, request);
}
