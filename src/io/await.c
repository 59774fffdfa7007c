/* SPDX-License-Identifier: MIT */
/* Await: submits an operation and parks the task on it. Called by this room, on
 * the task. */
#include "io/await.h"

#include <errno.h>

#include "base/compiler.h"
#include "base/explain.h"
#include "engine/engine.h"
#include "sched/scope.h"
#include "sched/task.h"
#include "sched/worker.h"

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
	zs_op_describe(object, text);
}

static const struct zs_wait_type on_op = { cancel_op, describe_op };
static const struct zs_wait_type on_op_shielded = { NULL, describe_op };

static ZS_ALWAYS_INLINE int submit_and_park(struct zs_worker *worker,
					    struct zs_op *op,
					    const struct zs_wait_type *type)
{
	struct zs_engine *engine = worker->engine;

	op->owner = worker->current;
	engine->ops->submit(engine, op);
	zs_task_park(worker, type, op);
	return op->result;
}

/* What a cancelled op is to its task depends on why it was cancelled. */
static ZS_COLD int error_of(struct zs_task *task, int result)
{
	if (result == -ECANCELED && zs_scope_error(task->scope) < 0)
		return zs_scope_error(task->scope);
	return zs_explain_none(result);
}

int zs_await(struct zs_op *op)
{
	struct zs_worker *worker = zs_worker_self;
	struct zs_task *task = worker ? worker->current : NULL;
	int ret;

	if (zs_unlikely(!task))
		return zs_explain_none(-EPERM);
	if (zs_unlikely(!task->is_linked))
		zs_scope_link(task);
	ret = zs_scope_error(task->scope);
	if (zs_unlikely(ret < 0))
		return ret;
	ret = submit_and_park(worker, op, &on_op);
	return zs_likely(ret >= 0) ? ret : error_of(task, ret);
}

int zs_await_shielded(struct zs_op *op)
{
	struct zs_worker *worker = zs_worker_self;

	if (zs_unlikely(!worker || !worker->current))
		return zs_explain_none(-EPERM);
	return submit_and_park(worker, op, &on_op_shielded);
}
