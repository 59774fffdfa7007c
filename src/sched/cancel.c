/* SPDX-License-Identifier: MIT */
/*
 * Cancelling: from a scope to all that is inside it. Called by scope.c, by the
 * timers of deadlines and by the worker's loop, on the scope's worker; linking
 * on the task's.
 *
 * A cancel visits the tasks below one at a time, through a list that is linked
 * in them, so that a deep tree costs no stack. Tasks of other workers are sent
 * a message, and go on from there.
 */
#include "base/assert.h"
#include "sched/lock.h"
#include "base/probes.h"
#include "sched/runtime.h"
#include "sched/scope.h"
#include "sched/shield.h"
#include "sched/spawn.h"
#include "sched/watch.h"
#include "sched/worker.h"

/* --- linking --- */

void zs_scope_link(struct zs_task *task)
{
	struct zs_worker *owner = task->nursery->worker;

	zs_lock_children(owner);
	zs_list_append(&task->nursery->children, &task->siblings);
	zs_unlock_children(owner);
	task->is_linked = true;
}

bool zs_scope_unlink(struct zs_task *task)
{
	struct zs_worker *owner = task->nursery->worker;

	zs_lock_children(owner);
	zs_list_remove(&task->siblings);
	zs_unlock_children(owner);
	/* acquire: pairs with the exchange in reach_children(), which the lock
	 * has ordered before; the message itself comes by the mailbox. */
	return atomic_load_explicit(&task->cancel_posted, memory_order_acquire);
}

/* --- cancelling --- */

/* Tasks of this worker go on *list, before what is there, in the order in which
 * they were linked; those of others are sent a message. */
static void reach_children(struct zs_scope *nursery, struct zs_task **list)
{
	struct zs_list *node;

	zs_lock_children(nursery->worker);
	for (node = nursery->children.next; node != &nursery->children;
	     node = node->next) {
		struct zs_task *task =
			zs_container_of(node, struct zs_task, siblings);

		if (task->worker == nursery->worker) {
			task->to_cancel = *list;
			*list = task;
			list = &task->to_cancel;
			continue;
		}
		/* Under the lock, so that the task has not ended; it is kept
		 * until its worker has cleared this. */
		if (!atomic_exchange_explicit(&task->cancel_posted, true,
					      memory_order_acq_rel))
			zs_worker_post(task->worker, &task->message,
				       ZS_MESSAGE_TASK_CANCEL);
	}
	zs_unlock_children(nursery->worker);
}

static void mark(struct zs_scope *scope, int reason, struct zs_task **list)
{
	/* relaxed, both: see zs_scope_error(). */
	if (atomic_load_explicit(&scope->reason, memory_order_relaxed))
		return;
	atomic_store_explicit(&scope->reason, reason, memory_order_relaxed);
	zs_scope_tell_watchers(scope, reason & ~ZS_SCOPE_INHERITED);
	if (scope->kind != ZS_SCOPE_TOKEN)
		reach_children(scope, list);
}

/* The outermost shield in the chain of @task up to @end, NULL if there is none.
 */
static struct zs_scope *find_shield(const struct zs_task *task,
				    const struct zs_scope *end)
{
	struct zs_scope *scope, *found = NULL;

	for (scope = task->scope; scope != end; scope = scope->outer)
		if (scope->is_shield)
			found = scope;
	return found;
}

/* Marks the chain of @task up to @end, which is not marked, but for what a
 * shield covers. Does that leave the task out? */
static bool mark_chain(struct zs_task *task, const struct zs_scope *end,
		       int reason, struct zs_task **list)
{
	struct zs_scope *shield = find_shield(task, end);
	struct zs_scope *scope = task->scope;

	if (shield) {
		zs_shield_hold(shield, reason);
		scope = shield->outer;
	}
	for (; scope != end; scope = scope->outer)
		mark(scope, reason | ZS_SCOPE_INHERITED, list);
	return shield;
}

static void end_wait(struct zs_task *task)
{
	if (!task->wait || !task->wait->cancel)
		return;
	ZS_COUNT(task->worker->counters.cancels, 1);
	task->wait->cancel(task);
}

static void cancel_all(struct zs_task *list, int reason)
{
	while (list) {
		struct zs_task *task = list;

		list = task->to_cancel;
		if (!mark_chain(task, task->nursery, reason, &list))
			end_wait(task);
	}
}

void zs_scope_cancel(struct zs_scope *scope, int reason)
{
	struct zs_task *list = NULL;
	bool is_shielded;

	/* relaxed: this thread is the only writer. */
	if (atomic_load_explicit(&scope->reason, memory_order_relaxed))
		return;
	ZS_PROBE_CANCEL(scope, reason);
	if (scope->opener) {
		is_shielded = mark_chain(scope->opener, scope, reason, &list);
		mark(scope, reason, &list);
		if (!is_shielded)
			end_wait(scope->opener);
	} else {
		atomic_store_explicit(&scope->reason, reason,
				      memory_order_relaxed);
		reach_children(scope, &list);
	}
	cancel_all(list, reason);
}

void zs_scope_handle_task_cancel(struct zs_task *task)
{
	struct zs_worker *worker = task->worker;
	struct zs_task *list = NULL;
	int reason;

	/* release: the next message may be posted only once this one has been
	 * taken in. */
	atomic_store_explicit(&task->cancel_posted, false,
			      memory_order_release);
	if (task->state == ZS_TASK_ENDED) {
		zs_task_free(worker, task);
		return;
	}
	/* relaxed: see zs_scope_error(). */
	reason = atomic_load_explicit(&task->nursery->reason,
				      memory_order_relaxed);
	if (!mark_chain(task, task->nursery, reason, &list))
		end_wait(task);
	cancel_all(list, reason);
}
