/* SPDX-License-Identifier: MIT */
/* Await: submits an operation and parks the task on it. Called by this room, on
 * the task. */
#include "io/await.h"

#include <errno.h>

#include "base/explain.h"

/* The op's memory is the kernel's until its final completion, so that a cancel
 * only asks; the task is woken by the completion, whatever came first. */
static void cancel_op(struct zs_task *task)
{
	struct zs_engine *engine = task->worker->engine;

	/* The task's own, on its stack: const only for those who look on. */
	engine->ops->cancel(engine, (struct zs_op *)(uintptr_t)task->waits_on);
}

static void describe_op(const void *object, struct zs_text *text)
{
	const struct zs_op *op = object;

	zs_op_describe(op, text);
	if (op->state == ZS_OP_DONE)
		zs_text_add(text, ", done");
}

const struct zs_wait_type zs_await_cancellable = { cancel_op, describe_op };
static const struct zs_wait_type shielded = { NULL, describe_op };

int zs_await_error(int result)
{
	const struct zs_task *task = zs_worker_self->current;

	if (result == -ECANCELED && zs_scope_error(task->scope) < 0)
		return zs_scope_error(task->scope);
	return zs_explain_none(result);
}

int zs_await(struct zs_op *op)
{
	struct zs_worker *worker = zs_worker_self;
	struct zs_task *task = worker ? worker->current : NULL;
	int ret;

	if (!task)
		return zs_explain_none(-EPERM);
	if (!task->is_linked)
		zs_scope_link(task);
	ret = zs_scope_error(task->scope);
	if (ret < 0)
		return ret;
	zs_op_renew(op);
	ret = zs_await_submit(worker, op, op, &zs_await_cancellable);
	return zs_likely(ret >= 0) ? ret : zs_await_error(ret);
}

int zs_await_shielded(struct zs_op *op)
{
	struct zs_worker *worker = zs_worker_self;

	if (zs_unlikely(!worker || !worker->current))
		return zs_explain_none(-EPERM);
	return zs_await_submit(worker, op, op, &shielded);
}
