/* SPDX-License-Identifier: MIT */
/*
 * Joining a task by its handle, as the public header has it. Called by tasks of
 * any worker; all is under the lock of the nursery's worker.
 */
#include "zsync/join.h"

#include <errno.h>

#include "base/compiler.h"
#include "base/explain.h"
#include "sched/lock.h"
#include "sched/outcome.h"
#include "sched/scope.h"
#include "sched/spawn.h"
#include "sched/watch.h"
#include "sched/worker.h"

ZS_PUBLIC int zs_nursery_spawn_handle(struct zs_nursery nursery,
				      struct zs_task_handle *handle,
				      const struct zs_spawn_options *options,
				      zs_task_fn *fn, void *arg)
{
	struct zs_outcome_request request = { .handle = handle };
	struct zs_spawn spawn = { .fn = fn, .arg = arg };
	int ret;

	if (!handle)
		return zs_explain_none(-EINVAL);
	ret = options ? zs_spawn_take(&spawn, options, fn, arg) :
			zs_spawn_check(&spawn);
	if (ret < 0)
		return ret;
	return zs_outcome_spawn(nursery.scope, nursery.generation, &spawn,
				&request);
}

/* On the waiting task's stack. */
struct join_wait {
	struct zs_watcher watcher;
	struct zs_wake wake;
	struct zs_outcome *outcome;
	struct zs_scope *nursery;
	int error;
	int result;
};

static void end_join(struct zs_watcher *watcher, int result)
{
	struct join_wait *wait =
		zs_container_of(watcher, struct join_wait, watcher);

	wait->result = result;
	zs_task_wake_anywhere(&wait->wake);
}

/* True: it will not be told. */
static bool withdraw(struct join_wait *wait)
{
	struct zs_worker *worker = wait->nursery->worker;
	bool was_listed;

	zs_lock_children(worker);
	was_listed = wait->watcher.is_listed;
	if (was_listed)
		zs_list_remove(&wait->watcher.node);
	wait->watcher.is_listed = false;
	zs_unlock_children(worker);
	return was_listed;
}

static void cancel_join(struct zs_task *task)
{
	/* The task's own, on its stack: const only for those who look on. */
	struct join_wait *wait = (struct join_wait *)(uintptr_t)task->waits_on;

	/* Else it has been told, and a wake is under way. */
	if (!withdraw(wait))
		return;
	wait->error = zs_task_wait_error(task);
	zs_task_wake(task);
}

static ZS_RACY void describe_join(const void *object, struct zs_text *text)
{
	const struct join_wait *wait = object;
	struct zs_outcome *outcome = wait->outcome;
	/* relaxed: to look at. */
	struct zs_task *task =
		outcome ? atomic_load_explicit(&outcome->task,
					       memory_order_relaxed) :
			  NULL;

	zs_text_add(text, "the end of ");
	if (task)
		zs_task_describe(task, text);
	else
		zs_text_add(text, "a task that has not started");
}

static const struct zs_wait_type joining = {
	.cancel = cancel_join,
	.describe = describe_join,
};

/* Cancelled, but the wake is under way. */
static const struct zs_wait_type told = {
	.describe = describe_join,
};

/* Under the lock. 1: to be waited for; 0: it has ended, and is taken unless
 * that is not wanted. */
static int take_or_watch(struct zs_task_handle handle, struct join_wait *wait)
{
	struct zs_outcome *outcome = handle.outcome;

	/* relaxed: that of a current handle is changed under this lock only. */
	if (atomic_load_explicit(&outcome->generation, memory_order_relaxed) !=
	    handle.generation)
		return -ESTALE;
	if (outcome->has_ended) {
		wait->result = outcome->result;
		if (wait->watcher.stays)
			return 0;
		zs_list_remove(&outcome->siblings);
		zs_outcome_free(outcome);
		return 0;
	}
	/* relaxed: it is only this task if this task has written it. */
	if (atomic_load_explicit(&outcome->task, memory_order_relaxed) ==
	    wait->wake.task)
		return -EDEADLK;
	wait->watcher.is_listed = true;
	zs_list_append(&outcome->watchers, &wait->watcher.node);
	return 1;
}

static int join(struct zs_task *task, struct zs_task_handle handle,
		struct join_wait *wait)
{
	struct zs_worker *worker = handle.scope->worker;
	int ret;

	zs_lock_children(worker);
	ret = take_or_watch(handle, wait);
	zs_unlock_children(worker);
	if (ret <= 0)
		return ret < 0 ? zs_explain_none(ret) : 0;
	if (zs_scope_error(task->scope) == 0)
		zs_task_park(&joining, wait);
	else if (withdraw(wait))
		wait->error = zs_scope_error(task->scope);
	else
		zs_task_park(&told, wait);
	return wait->error < 0 ? zs_explain_none(wait->error) : 0;
}

static int check_handle(struct zs_task_handle handle,
			const struct zs_task *task)
{
	if (!task)
		return zs_explain_none(-EPERM);
	if (!handle.outcome || !handle.scope)
		return zs_explain_none(-ESTALE);
	if (handle.scope->worker->runtime != task->worker->runtime)
		return zs_explain_as(-EXDEV, "the task is of another runtime");
	return 0;
}

/* Does not take it if it @stays. */
static int join_as(struct zs_task_handle handle, bool stays, int *result)
{
	struct zs_task *task = zs_worker_task();
	struct join_wait wait = {
		.watcher = { .tell = end_join, .stays = stays },
		.wake.task = task,
		.outcome = handle.outcome,
		.nursery = handle.scope,
	};
	int ret = check_handle(handle, task);

	if (ret < 0)
		return ret;
	if (!task->is_linked)
		zs_scope_link(task);
	ret = join(task, handle, &wait);
	if (ret == 0 && result)
		*result = wait.result;
	return ret;
}

ZS_PUBLIC int zs_task_join(struct zs_task_handle handle, int *result)
{
	return join_as(handle, false, result);
}

ZS_PUBLIC int zs_task_wait(struct zs_task_handle handle)
{
	return join_as(handle, true, NULL);
}

ZS_PUBLIC int zs_task_has_ended(struct zs_task_handle handle)
{
	int ret = check_handle(handle, zs_worker_task());

	if (ret < 0)
		return ret;
	zs_lock_children(handle.scope->worker);
	/* relaxed: see take_or_watch(). */
	if (atomic_load_explicit(&handle.outcome->generation,
				 memory_order_relaxed) != handle.generation)
		ret = -ESTALE;
	else
		ret = handle.outcome->has_ended;
	zs_unlock_children(handle.scope->worker);
	return ret < 0 ? zs_explain_none(ret) : ret;
}
