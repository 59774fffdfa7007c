/* SPDX-License-Identifier: MIT */
/* Nurseries, as the public header has them: handles of scopes that hold tasks.
 * The scope does the work. */
#include "zsync/nursery.h"

#include <errno.h>

#include "base/explain.h"
#include "sched/nursery.h"
#include "sched/scope.h"
#include "sched/spawn.h"
#include "sched/worker.h"

static ZS_ALWAYS_INLINE void make_nursery(struct zs_nursery *nursery,
					  struct zs_scope *scope)
{
	scope->kind = ZS_SCOPE_NURSERY;
	nursery->scope = scope;
	/* relaxed: this thread is the only writer. */
	nursery->generation =
		atomic_load_explicit(&scope->generation, memory_order_relaxed);
}

ZS_NOINLINE int zs_nursery_open_as(struct zs_nursery *nursery,
				   const struct zs_nursery_options *options,
				   uint32_t flags)
{
	struct zs_task *task = zs_worker_task();
	int64_t deadline_ns = ZS_NEVER;
	struct zs_scope *scope;

	if (!task)
		return zs_explain_none(-EPERM);
	if (!nursery)
		return zs_explain_none(-EINVAL);
	if (options && options->flags & ~flags)
		return zs_explain_as(
			-EINVAL, "zs_nursery_options.flags: 0x%x is no flag",
			options->flags);
	if (options && options->deadline_ns != 0)
		deadline_ns = options->deadline_ns;
	scope = zs_scope_open(task, deadline_ns);
	if (!scope)
		return -ENOMEM;
	scope->is_pinned = options && options->flags & ZS_NURSERY_PINNED;
	make_nursery(nursery, scope);
	return 0;
}

ZS_PUBLIC int zs_nursery_open(struct zs_nursery *nursery,
			      const struct zs_nursery_options *options)
{
	struct zs_worker *worker = zs_worker_self;
	struct zs_task *task = worker ? worker->current : NULL;
	struct zs_scope *scope;

	/* All that could call another function is left to that one, so that
	 * this one needs no frame. */
	if (zs_unlikely(!task || !nursery || options || !task->is_linked ||
			!worker->scopes.free))
		return zs_nursery_open_as(nursery, options, ZS_NURSERY_PINNED);
	scope = zs_slab_take(&worker->scopes);
	zs_scope_enter(task, scope);
	make_nursery(nursery, scope);
	return 0;
}

/* Where the nursery is this worker's, its handle is checked by a plain look:
 * who closes it runs on this thread. */
static bool is_open_here(struct zs_nursery nursery)
{
	/* relaxed: this thread is the only writer. */
	return nursery.scope && nursery.scope->worker == zs_worker_self &&
	       atomic_load_explicit(&nursery.scope->generation,
				    memory_order_relaxed) == nursery.generation;
}

static ZS_NOINLINE int spawn_into(struct zs_nursery nursery,
				  const struct zs_spawn *spawn)
{
	struct zs_scope *scope = nursery.scope;

	if (is_open_here(nursery))
		return zs_spawn_here(scope->worker, scope, spawn);
	return zs_spawn_remotely(scope, nursery.generation, spawn);
}

static ZS_NOINLINE int spawn_call(struct zs_nursery nursery, zs_task_fn *fn,
				  void *arg)
{
	const struct zs_spawn spawn = { .fn = fn, .arg = arg };

	if (!fn)
		return zs_explain_none(-EINVAL);
	return spawn_into(nursery, &spawn);
}

ZS_PUBLIC int zs_nursery_spawn(struct zs_nursery nursery, zs_task_fn *fn,
			       void *arg)
{
	const struct zs_spawn spawn = { .fn = fn, .arg = arg };

	/* All that could call another function is left to spawn_call(), so that
	 * this one needs no frame. */
	if (zs_unlikely(!fn || !is_open_here(nursery) ||
			!zs_spawn_is_plain(nursery.scope)))
		return spawn_call(nursery, fn, arg);
	return zs_spawn_plainly(nursery.scope, &spawn);
}

ZS_PUBLIC int zs_nursery_spawn_copy(struct zs_nursery nursery, zs_task_fn *fn,
				    const void *args, size_t size)
{
	const struct zs_spawn spawn = {
		.fn = fn,
		.copy = args,
		.copy_size = size,
	};
	int ret = zs_spawn_check(&spawn);

	if (ret < 0)
		return ret;
	return spawn_into(nursery, &spawn);
}

ZS_PUBLIC int zs_nursery_spawn_with(struct zs_nursery nursery,
				    const struct zs_spawn_options *options,
				    zs_task_fn *fn, void *arg)
{
	struct zs_spawn spawn;
	int ret = zs_spawn_take(&spawn, options, fn, arg);

	if (ret < 0)
		return ret;
	return spawn_into(nursery, &spawn);
}

ZS_PUBLIC int zs_nursery_cancel(struct zs_nursery nursery)
{
	return zs_scope_ask_cancel(nursery.scope, nursery.generation,
				   ZS_CANCEL_REQUESTED);
}

ZS_PUBLIC int zs_nursery_wait(struct zs_nursery nursery)
{
	struct zs_task *task = zs_worker_task();

	if (!task)
		return zs_explain_none(-EPERM);
	if (zs_likely(zs_scope_is_opener(nursery.scope, nursery.generation,
					 task)))
		return zs_scope_close(task, nursery.scope);
	return zs_scope_check_opener(nursery.scope, nursery.generation, task);
}
