/* SPDX-License-Identifier: MIT */
/*
 * Await: the one place where an operation is submitted and parked on. Called by
 * everything in this room, from a task.
 */
#ifndef ZS_IO_AWAIT_H
#define ZS_IO_AWAIT_H

#include "base/compiler.h"
#include "engine/engine.h"
#include "engine/op.h"
#include "sched/scope.h"
#include "sched/task.h"
#include "sched/worker.h"

/* Task (-EPERM outside one). Carries @op, filled by the caller, out and returns
 * its result. In a cancelled scope it is not even begun: -ECANCELED or
 * -ETIMEDOUT. Cancelled while it waits, it returns when the kernel has let go
 * of its memory: with the result if it got that far, else with one of these.
 * errno stays as it was. */
int zs_await(struct zs_op *op);

/* The cold sides of zs_await_inline(): what a failed op is to its task, which
 * depends on why it was cancelled; a call outside a task. */
int zs_await_error(const struct zs_task *task, int result);
int zs_await_outside(void);

extern const struct zs_wait_type zs_await_cancellable;

static ZS_ALWAYS_INLINE int zs_await_submit(struct zs_worker *worker,
					    struct zs_op *op,
					    const struct zs_wait_type *type)
{
	struct zs_engine *engine = worker->engine;

	op->owner = worker->current;
	engine->ops->submit(engine, op);
	zs_task_park(worker, type, op);
	return op->result;
}

/* zs_await(), for what is called so often that a call counts. */
static ZS_ALWAYS_INLINE int zs_await_inline(struct zs_op *op)
{
	struct zs_worker *worker = zs_worker_self;
	struct zs_task *task = worker ? worker->current : NULL;
	int ret;

	if (zs_unlikely(!task))
		return zs_await_outside();
	if (zs_unlikely(!task->is_linked))
		zs_scope_link(task);
	ret = zs_scope_error(task->scope);
	if (zs_unlikely(ret < 0))
		return ret;
	ret = zs_await_submit(worker, op, &zs_await_cancellable);
	return zs_likely(ret >= 0) ? ret : zs_await_error(task, ret);
}

/* The same, deaf to cancellation. For what releases something. */
int zs_await_shielded(struct zs_op *op);

#endif
