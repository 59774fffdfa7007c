/* SPDX-License-Identifier: MIT */
/*
 * Callbacks of a cancel. One watches its scope, and stays listed there until it
 * is called, so that a close finds it; a timer that is due at once has it
 * called from the worker's loop, where no task runs. All on the scope's worker.
 */
#include "zsync/cancel.h"

#include <assert.h>
#include <errno.h>

#include "base/compiler.h"
#include "base/explain.h"
#include "sched/scope.h"
#include "sched/watch.h"
#include "sched/worker.h"

static_assert(sizeof(struct zs_watcher) <=
		      sizeof(((struct zs_cancel_callback *)0)->links),
	      "a callback has room for what watches");

static struct zs_watcher *watcher_of(struct zs_cancel_callback *callback)
{
	return (struct zs_watcher *)(void *)callback->links;
}

static struct zs_cancel_callback *callback_of(struct zs_watcher *watcher)
{
	return zs_container_of((void *)watcher, struct zs_cancel_callback,
			       links);
}

static void call(struct zs_timer *timer, void *arg)
{
	struct zs_cancel_callback *callback = arg;

	(void)timer;
	zs_scope_unwatch(callback->scope, watcher_of(callback));
	callback->fn(callback, callback->arg);
}

static void call_soon(struct zs_cancel_callback *callback, int reason)
{
	struct zs_worker *worker = callback->scope->worker;

	callback->reason = (enum zs_cancel_reason)reason;
	callback->timer.fn = call;
	callback->timer.arg = callback;
	zs_wheel_start(&worker->wheel, &callback->timer, 0);
}

static void tell(struct zs_watcher *watcher, int result)
{
	struct zs_cancel_callback *callback = callback_of(watcher);

	if (result > 0)
		call_soon(callback, result);
	else
		zs_wheel_cancel(&callback->scope->worker->wheel,
				&callback->timer);
}

ZS_PUBLIC int zs_cancel_callback_add(struct zs_cancel_callback *callback,
				     struct zs_cancel_token token,
				     zs_cancel_callback_fn *fn, void *arg)
{
	struct zs_watcher *watcher;
	int ret;

	if (!zs_worker_self)
		return zs_explain_none(-EPERM);
	if (!callback || !fn)
		return zs_explain_none(-EINVAL);
	if (token.scope && token.scope->worker != zs_worker_self)
		return zs_explain_as(-EXDEV, "the token belongs to another "
					     "worker, on which it was opened");
	watcher = watcher_of(callback);
	if (watcher->is_listed)
		return zs_explain_none(-EBUSY);
	watcher->tell = tell;
	watcher->stays = true;
	callback->scope = token.scope;
	callback->fn = fn;
	callback->arg = arg;
	callback->reason = ZS_CANCEL_NONE;
	ret = zs_scope_watch(token.scope, token.generation, watcher);
	if (ret > 0)
		call_soon(callback, ret);
	return ret < 0 ? ret : 0;
}

ZS_PUBLIC int zs_cancel_callback_remove(struct zs_cancel_callback *callback)
{
	if (!zs_worker_self)
		return zs_explain_none(-EPERM);
	if (!callback)
		return zs_explain_none(-EINVAL);
	if (!callback->scope)
		return 0;
	if (callback->scope->worker != zs_worker_self)
		return zs_explain_as(-EXDEV, "the callback's scope belongs to "
					     "another worker");
	if (!zs_scope_unwatch(callback->scope, watcher_of(callback)))
		return 0;
	zs_wheel_cancel(&callback->scope->worker->wheel, &callback->timer);
	return 1;
}
