/* SPDX-License-Identifier: MIT */
/*
 * Shields, as the public header has them: scopes that a cancel from outside
 * does not get into. It marks what is around the shield and leaves the reason
 * there. When the shield's time is over, its timer lets the reason in; when it
 * is closed before, its opener is inside a scope that is marked, as if nothing
 * had been. All on the shield's worker.
 */
#include "zsync/shield.h"

#include <errno.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "base/explain.h"
#include "sched/scope.h"
#include "sched/shield.h"
#include "sched/worker.h"

/* relaxed, here and below: the worker's own. */
static int held_by(struct zs_scope *shield)
{
	return atomic_load_explicit(&shield->error, memory_order_relaxed);
}

void zs_shield_hold(struct zs_scope *shield, int reason)
{
	if (held_by(shield) == ZS_CANCEL_NONE)
		atomic_store_explicit(&shield->error, reason,
				      memory_order_relaxed);
}

/* From now on it is as any other scope. */
static void on_end(struct zs_timer *timer, void *arg)
{
	struct zs_scope *shield = arg;

	(void)timer;
	shield->is_shield = false;
	atomic_store_explicit(&shield->deadline_ns, 0, memory_order_relaxed);
	if (held_by(shield) != ZS_CANCEL_NONE)
		zs_scope_cancel(shield, held_by(shield) | ZS_SCOPE_INHERITED);
}

static void put_up(struct zs_scope *shield, int64_t max_ns)
{
	int reason =
		atomic_load_explicit(&shield->reason, memory_order_relaxed);

	/* Opened in a cancelled scope. Nobody has seen it yet. */
	atomic_store_explicit(&shield->reason, ZS_CANCEL_NONE,
			      memory_order_relaxed);
	shield->is_shield = true;
	zs_shield_hold(shield, reason);
	zs_scope_arm(shield, zs_clock_after(max_ns), on_end);
	atomic_store_explicit(&shield->deadline_ns,
			      -shield->deadline.deadline_ns,
			      memory_order_relaxed);
}

ZS_PUBLIC int zs_shield_open(struct zs_shield *shield, int64_t max_ns)
{
	struct zs_task *task = zs_worker_task();
	struct zs_scope *scope;

	if (!task)
		return zs_explain_none(-EPERM);
	if (!shield)
		return zs_explain_none(-EINVAL);
	if (max_ns <= 0 || max_ns == ZS_NEVER)
		return zs_explain_as(-EINVAL, "a shield ends at last: give it "
					      "a duration");
	scope = zs_scope_open(task, ZS_NEVER);
	if (!scope)
		return -ENOMEM;
	put_up(scope, max_ns);
	shield->scope = scope;
	shield->generation =
		atomic_load_explicit(&scope->generation, memory_order_relaxed);
	return 0;
}

ZS_PUBLIC int zs_shield_close(struct zs_shield shield)
{
	struct zs_task *task = zs_worker_task();
	int ret;

	if (!task)
		return zs_explain_none(-EPERM);
	ret = zs_scope_check_opener(shield.scope, shield.generation, task);
	if (ret < 0)
		return ret;
	zs_scope_close(task, shield.scope);
	return zs_scope_error(task->scope);
}
