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
#include "engine/submit.h"
#include "sched/scope.h"
#include "sched/task.h"
#include "sched/worker.h"

/* Task (-EPERM outside one). Carries @op out, which the caller has filled and
 * perhaps used before, and returns its result. In a cancelled scope it is not
 * even begun: -ECANCELED or -ETIMEDOUT. Cancelled while it waits, it returns
 * when the kernel has let go of its memory: with the result if it got that far,
 * else with one of these. errno stays as it was. */
int zs_await(struct zs_op *op);

/* What a failed op is to the running task: that depends on why it was
 * cancelled. */
int zs_await_error(int result);

extern const struct zs_wait_type zs_await_cancellable;

/* @asked: see zs_engine_submit(). */
static ZS_ALWAYS_INLINE int zs_await_submit(struct zs_worker *worker,
					    struct zs_op *op,
					    const struct zs_op *asked,
					    const struct zs_wait_type *type)
{
	op->link.item = worker->current;
	zs_engine_submit(worker->engine, op, asked);
	zs_task_park(type, op);
	return op->result;
}

/* zs_await() of an op that has not been used before, for what is called so
 * often that a call counts: before the submission it makes none. */
static ZS_ALWAYS_INLINE int zs_await_inline(struct zs_op *op,
					    const struct zs_op *asked)
{
	struct zs_worker *worker = zs_worker_self;
	struct zs_task *task = worker ? worker->current : NULL;
	int ret;

	if (zs_unlikely(!task || !task->is_linked ||
			zs_scope_error(task->scope) < 0))
		return zs_await(op);
	ret = zs_await_submit(worker, op, asked, &zs_await_cancellable);
	return zs_likely(ret >= 0) ? ret : zs_await_error(ret);
}

/* The same, deaf to cancellation. For what releases something. */
int zs_await_shielded(struct zs_op *op);

#endif
