/* SPDX-License-Identifier: MIT */
/*
 * Local values, as the public header has them: scopes that say what a key's
 * value is inside. The chain of scopes goes on from a nursery to what its
 * opener was inside of, and none of it can be closed before; so a look along it
 * finds what is inherited, on any worker, and without a lock.
 */
#include "zsync/local.h"

#include <errno.h>

#include "base/compiler.h"
#include "base/explain.h"
#include "sched/scope.h"
#include "sched/worker.h"

static struct zs_scope *push(struct zs_task *task, const struct zs_local *key,
			     void *value)
{
	struct zs_scope *scope = zs_scope_open(task, ZS_NEVER);

	if (!scope)
		return NULL;
	scope->is_local = true;
	scope->needs_care = true;
	scope->local_key = key;
	scope->local_value = value;
	return scope;
}

ZS_PUBLIC int zs_local_push(const struct zs_local *key, void *value)
{
	struct zs_task *task = zs_worker_task();

	if (!task)
		return zs_explain_none(-EPERM);
	if (!key)
		return zs_explain_none(-EINVAL);
	return push(task, key, value) ? 0 : -ENOMEM;
}

/* Has @task pushed one? */
static bool has_pushed(const struct zs_task *task, const struct zs_local *key)
{
	const struct zs_scope *scope;

	for (scope = task->scope; scope != task->nursery; scope = scope->outer)
		if (scope->is_local && scope->local_key == key)
			return true;
	return false;
}

ZS_PUBLIC int zs_local_pop(const struct zs_local *key)
{
	struct zs_task *task = zs_worker_task();
	struct zs_scope *scope;

	if (!task)
		return zs_explain_none(-EPERM);
	if (!key)
		return zs_explain_none(-EINVAL);
	scope = task->scope;
	if (scope == task->nursery || !scope->is_local ||
	    scope->local_key != key)
		return zs_explain_none(has_pushed(task, key) ? -EBUSY :
							       -ENOENT);
	return zs_scope_close(task, scope);
}

ZS_PUBLIC void *zs_local_get(const struct zs_local *key)
{
	struct zs_task *task = zs_worker_task();
	const struct zs_scope *scope;

	if (!key)
		return NULL;
	for (scope = task ? task->scope : NULL; scope; scope = scope->outer)
		if (scope->is_local && scope->local_key == key)
			return scope->local_value;
	return key->otherwise;
}

ZS_PUBLIC int zs_local_with(const struct zs_local *key, void *value,
			    zs_task_fn *fn, void *arg)
{
	struct zs_task *task = zs_worker_task();
	struct zs_scope *scope;
	int ret;

	if (!task)
		return zs_explain_none(-EPERM);
	if (!key || !fn)
		return zs_explain_none(-EINVAL);
	scope = push(task, key, value);
	if (!scope)
		return -ENOMEM;
	ret = fn(arg);
	zs_scope_close_left_open(task, scope);
	zs_scope_close(task, scope);
	return ret;
}
