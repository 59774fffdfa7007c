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
#include "base/probes.h"
#include "sched/runtime.h"
#include "sched/scope.h"
#include "sched/spawn.h"
#include "sched/worker.h"

/* --- linking --- */

/* A lone worker has nobody to lock out: foreign threads touch no list. */
static void lock_children(struct zs_worker *worker)
{
	if (!worker->alone)
		pthread_mutex_lock(&worker->children_lock);
}

static void unlock_children(struct zs_worker *worker)
{
	if (!worker->alone)
		pthread_mutex_unlock(&worker->children_lock);
}

void zs_scope_link(struct zs_task *task)
{
	struct zs_worker *owner = task->nursery->worker;

	lock_children(owner);
	zs_list_append(&task->nursery->children, &task->siblings);
	unlock_children(owner);
	task->is_linked = true;
}

bool zs_scope_unlink(struct zs_task *task)
{
	struct zs_worker *owner = task->nursery->worker;

	lock_children(owner);
	zs_list_remove(&task->siblings);
	unlock_children(owner);
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

	lock_children(nursery->worker);
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
	unlock_children(nursery->worker);
}

/* Marks the chain of @task up to @end, which is not marked. */
static void mark_chain(struct zs_task *task, const struct zs_scope *end,
		       int reason, struct zs_task **list)
{
	struct zs_scope *scope;

	for (scope = task->scope; scope != end; scope = scope->outer) {
		/* relaxed, both: see zs_scope_error(). */
		if (atomic_load_explicit(&scope->reason, memory_order_relaxed))
			continue;
		atomic_store_explicit(&scope->reason, reason,
				      memory_order_relaxed);
		if (scope->kind != ZS_SCOPE_TOKEN)
			reach_children(scope, list);
	}
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
		mark_chain(task, task->nursery, reason, &list);
		end_wait(task);
	}
}

void zs_scope_cancel(struct zs_scope *scope, enum zs_cancel_reason reason)
{
	struct zs_task *list = NULL;

	/* relaxed: this thread is the only writer. */
	if (atomic_load_explicit(&scope->reason, memory_order_relaxed))
		return;
	ZS_PROBE_CANCEL(scope, reason);
	if (scope->opener) {
		mark_chain(scope->opener, scope->outer, reason, &list);
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
	mark_chain(task, task->nursery, reason, &list);
	end_wait(task);
	cancel_all(list, reason);
}
