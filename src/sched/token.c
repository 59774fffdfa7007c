/* SPDX-License-Identifier: MIT */
/* Cancel tokens, as the public header has them: handles of scopes without
 * tasks. The scope does the work. */
#include "zsync/cancel.h"

#include <errno.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "base/explain.h"
#include "sched/scope.h"
#include "sched/watch.h"
#include "sched/worker.h"

ZS_PUBLIC int zs_cancel_token_open(struct zs_cancel_token *token,
				   int64_t deadline_ns)
{
	struct zs_task *task = zs_worker_task();
	struct zs_scope *scope;

	if (!task)
		return zs_explain_none(-EPERM);
	if (!token)
		return zs_explain_none(-EINVAL);
	scope = zs_scope_open(task, deadline_ns);
	if (!scope)
		return -ENOMEM;
	token->scope = scope;
	/* relaxed: this thread is the only writer. */
	token->generation =
		atomic_load_explicit(&scope->generation, memory_order_relaxed);
	return 0;
}

ZS_PUBLIC int zs_cancel_token_close(struct zs_cancel_token token)
{
	struct zs_task *task = zs_worker_task();
	int ret;

	if (!task)
		return zs_explain_none(-EPERM);
	ret = zs_scope_check_opener(token.scope, token.generation, task);
	if (ret < 0)
		return ret;
	return zs_scope_close(task, token.scope);
}

ZS_PUBLIC int zs_cancel_token_cancel(struct zs_cancel_token token)
{
	return zs_scope_ask_cancel(token.scope, token.generation,
				   ZS_CANCEL_REQUESTED);
}

ZS_PUBLIC int zs_cancel_token_cancel_for(struct zs_cancel_token token,
					 enum zs_cancel_reason reason)
{
	switch (reason) {
	case ZS_CANCEL_REQUESTED:
	case ZS_CANCEL_DEADLINE:
	case ZS_CANCEL_RESOURCE:
	case ZS_CANCEL_ERROR:
		return zs_scope_ask_cancel(token.scope, token.generation,
					   reason);
	default:
		return zs_explain_as(-EINVAL,
				     "%d, \"%s\", is no reason to cancel for",
				     (int)reason,
				     zs_cancel_reason_name(reason));
	}
}

/* --- deadlines --- */

/* A task of another worker than the scope's asks, and waits. */
struct move {
	struct zs_call call;
	struct zs_wake wake;
	struct zs_cancel_token token;
	int64_t deadline_ns;
	int result;
};

/* The scope's worker: 0 or -ESTALE. */
static int set_deadline_here(struct zs_cancel_token token, int64_t deadline_ns)
{
	int ret = zs_scope_reason(token.scope, token.generation);

	if (ret < 0)
		return ret;
	/* Cancelled, it would have nothing to do. */
	if (ret == ZS_CANCEL_NONE)
		zs_scope_set_deadline(token.scope, deadline_ns);
	return 0;
}

static void carry_out_move(struct zs_call *call)
{
	struct move *move = zs_container_of(call, struct move, call);

	move->result = set_deadline_here(move->token, move->deadline_ns);
	zs_task_wake_anywhere(&move->wake);
}

static void describe_move(const void *object, struct zs_text *text)
{
	(void)object;
	zs_text_add(text, "another worker to move a deadline");
}

static const struct zs_wait_type moving = {
	.describe = describe_move,
};

static int set_deadline_elsewhere(struct zs_task *task,
				  struct zs_cancel_token token,
				  int64_t deadline_ns)
{
	struct move move = {
		.call.fn = carry_out_move,
		.wake.task = task,
		.token = token,
		.deadline_ns = deadline_ns,
	};

	zs_worker_call(token.scope->worker, &move.call);
	zs_task_park(&moving, &move);
	return move.result < 0 ? zs_explain_none(move.result) : 0;
}

ZS_PUBLIC int zs_cancel_token_set_deadline(struct zs_cancel_token token,
					   int64_t deadline_ns)
{
	struct zs_worker *worker = zs_worker_self;
	int ret;

	if (!worker)
		return zs_explain_none(-EPERM);
	ret = zs_scope_reason(token.scope, token.generation);
	if (ret < 0)
		return ret;
	if (token.scope->worker == worker)
		return set_deadline_here(token, deadline_ns);
	if (!worker->current || token.scope->worker->runtime != worker->runtime)
		return zs_explain_as(-EXDEV, "the token belongs to another "
					     "worker, on which it was opened");
	return set_deadline_elsewhere(worker->current, token, deadline_ns);
}

/* A nursery is inside what its opener was inside when it opened it, and none of
 * these can be closed before it: so all links can be followed by any task. */
ZS_PUBLIC int64_t zs_deadline(void)
{
	struct zs_task *task = zs_worker_task();
	int64_t nearest_ns = ZS_NEVER, shielded_ns = 0;
	struct zs_scope *scope;

	if (!task)
		return zs_explain_none(-EPERM);
	for (scope = task->scope; scope; scope = scope->outer) {
		/* relaxed: a point in time, which publishes nothing. */
		int64_t deadline_ns = atomic_load_explicit(
			&scope->deadline_ns, memory_order_relaxed);

		if (-deadline_ns > shielded_ns)
			shielded_ns = -deadline_ns;
		if (deadline_ns <= 0)
			continue;
		if (deadline_ns < shielded_ns)
			deadline_ns = shielded_ns;
		if (deadline_ns < nearest_ns)
			nearest_ns = deadline_ns;
	}
	return nearest_ns;
}

ZS_PUBLIC int zs_timeout(int64_t duration_ns, zs_task_fn *fn, void *arg)
{
	struct zs_task *task = zs_worker_task();
	struct zs_scope *scope;
	int64_t deadline_ns;
	int ret, reason;

	if (!task)
		return zs_explain_none(-EPERM);
	if (!fn)
		return zs_explain_none(-EINVAL);
	/* By the clock it would be later than the turn, and not have passed. */
	deadline_ns = duration_ns > 0 ? zs_clock_after(duration_ns) :
					zs_worker_now(task->worker);
	scope = zs_scope_open(task, deadline_ns);
	if (!scope)
		return -ENOMEM;
	ret = fn(arg);
	zs_scope_close_left_open(task, scope);
	/* relaxed: this thread is the only writer. */
	reason = atomic_load_explicit(&scope->reason, memory_order_relaxed);
	zs_scope_close(task, scope);
	return ret < 0 && reason == ZS_CANCEL_DEADLINE ?
		       zs_explain_none(-ETIMEDOUT) :
		       ret;
}

/* --- reasons --- */

ZS_PUBLIC int zs_cancel_token_reason(struct zs_cancel_token token)
{
	int ret = zs_scope_reason(token.scope, token.generation);

	return ret < 0 ? ret : ret & ~ZS_SCOPE_INHERITED;
}

ZS_PUBLIC int zs_cancel_token_is_inherited(struct zs_cancel_token token)
{
	int ret = zs_scope_reason(token.scope, token.generation);

	return ret < 0 ? ret : (ret & ZS_SCOPE_INHERITED) != 0;
}

ZS_PUBLIC int zs_cancel_reason(void)
{
	struct zs_task *task = zs_worker_task();

	if (!task)
		return zs_explain_none(-EPERM);
	/* relaxed: see zs_scope_error(). */
	return atomic_load_explicit(&task->scope->reason,
				    memory_order_relaxed) &
	       ~ZS_SCOPE_INHERITED;
}

ZS_PUBLIC const char *zs_cancel_reason_name(enum zs_cancel_reason reason)
{
	switch (reason) {
	case ZS_CANCEL_NONE:
		return "none";
	case ZS_CANCEL_REQUESTED:
		return "requested";
	case ZS_CANCEL_DEADLINE:
		return "deadline";
	case ZS_CANCEL_SIBLING_FAILED:
		return "sibling failed";
	case ZS_CANCEL_LEFT_OPEN:
		return "left open";
	case ZS_CANCEL_STOPPING:
		return "stopping";
	case ZS_CANCEL_RESOURCE:
		return "resource";
	case ZS_CANCEL_ERROR:
		return "error";
	}
	return "unknown";
}

/* --- waiting --- */

/* On the waiting task's stack. */
struct token_wait {
	struct zs_watcher watcher;
	struct zs_wake wake;
	struct zs_scope *scope;
	int result;
};

static void end_token_wait(struct zs_watcher *watcher, int result)
{
	struct token_wait *wait =
		zs_container_of(watcher, struct token_wait, watcher);

	wait->result = result;
	zs_task_wake_anywhere(&wait->wake);
}

static void cancel_token_wait(struct zs_task *task)
{
	/* The task's own, on its stack: const only for those who look on. */
	struct token_wait *wait =
		(struct token_wait *)(uintptr_t)task->waits_on;

	/* Else it has been told, and a wake is under way. */
	if (!zs_scope_unwatch(wait->scope, &wait->watcher))
		return;
	wait->result = zs_task_wait_error(task);
	zs_task_wake(task);
}

static void describe_token_wait(const void *object, struct zs_text *text)
{
	(void)object;
	zs_text_add(text, "the cancel or close of a scope");
}

/* Cancelled, but the wake is under way. */
static const struct zs_wait_type told = {
	.describe = describe_token_wait,
};

static const struct zs_wait_type waiting = {
	.cancel = cancel_token_wait,
	.describe = describe_token_wait,
};

ZS_PUBLIC int zs_cancel_token_wait(struct zs_cancel_token token)
{
	struct zs_task *task = zs_worker_task();
	struct token_wait wait = {
		.watcher.tell = end_token_wait,
		.wake.task = task,
		.scope = token.scope,
	};
	int ret;

	if (!task)
		return zs_explain_none(-EPERM);
	if (!task->is_linked)
		zs_scope_link(task);
	ret = zs_scope_watch(token.scope, token.generation, &wait.watcher);
	if (ret != 0)
		return ret;
	if (zs_scope_error(task->scope) == 0)
		zs_task_park(&waiting, &wait);
	else if (zs_scope_unwatch(token.scope, &wait.watcher))
		wait.result = zs_scope_error(task->scope);
	else
		zs_task_park(&told, &wait);
	return wait.result < 0 ? zs_explain_none(wait.result) : wait.result;
}
