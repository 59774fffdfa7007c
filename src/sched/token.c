/* SPDX-License-Identifier: MIT */
/* Cancel tokens, as the public header has them: handles of scopes without
 * tasks. The scope does the work. */
#include "zsync/cancel.h"

#include <errno.h>

#include "base/explain.h"
#include "sched/scope.h"
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

ZS_PUBLIC int zs_cancel_token_set_deadline(struct zs_cancel_token token,
					   int64_t deadline_ns)
{
	struct zs_task *task = zs_worker_task();
	int ret;

	if (!task)
		return zs_explain_none(-EPERM);
	ret = zs_scope_check_opener(token.scope, token.generation, task);
	if (ret == -EBUSY)
		ret = 0;
	if (ret == 0)
		zs_scope_set_deadline(token.scope, deadline_ns);
	return ret;
}

ZS_PUBLIC int zs_cancel_token_reason(struct zs_cancel_token token)
{
	return zs_scope_reason(token.scope, token.generation);
}

ZS_PUBLIC int zs_cancel_reason(void)
{
	struct zs_task *task = zs_worker_task();

	if (!task)
		return zs_explain_none(-EPERM);
	/* relaxed: see zs_scope_error(). */
	return atomic_load_explicit(&task->scope->reason, memory_order_relaxed);
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
	}
	return "unknown";
}
