/* SPDX-License-Identifier: MIT */
/*
 * Timers with functions. Called by tasks and by the functions themselves, on
 * the thread of the worker whose wheel they are in, which calls the functions
 * from its loop: then no task runs, so calls that park refuse.
 */
#include <errno.h>

#include "base/explain.h"
#include "sched/worker.h"

/* Only a worker of another thread can find it changing, and all that it learns
 * is that the timer is not its own. relaxed: that publishes nothing. */
static ZS_ALWAYS_INLINE struct zs_worker *worker_of(struct zs_timer *timer)
{
	return __atomic_load_n(&timer->worker, __ATOMIC_RELAXED);
}

static ZS_COLD int refuse(const struct zs_timer *timer,
			  const struct zs_worker *worker)
{
	if (!timer)
		return zs_explain_none(-EINVAL);
	if (!worker)
		return zs_explain_none(-EPERM);
	return zs_explain_as(-EXDEV, "the timer belongs to another worker, on "
				     "which it was started");
}

ZS_PUBLIC int zs_timer_start(struct zs_timer *timer, int64_t deadline_ns,
			     zs_timer_fn *fn, void *arg)
{
	struct zs_worker *worker = zs_worker_self;

	if (zs_unlikely(!timer || !worker))
		return refuse(timer, worker);
	if (zs_unlikely(!fn))
		return zs_explain_none(-EINVAL);
	if (zs_unlikely(zs_timer_armed(timer)))
		return zs_explain_as(-EBUSY, "the timer is armed: use "
					     "zs_timer_reset(), or cancel it");
	timer->fn = fn;
	timer->arg = arg;
	/* relaxed: see worker_of(). */
	__atomic_store_n(&timer->worker, worker, __ATOMIC_RELAXED);
	zs_wheel_start(&worker->wheel, timer, deadline_ns);
	return 0;
}

ZS_PUBLIC int zs_timer_reset(struct zs_timer *timer, int64_t deadline_ns)
{
	struct zs_worker *worker = zs_worker_self;
	int was_armed;

	if (zs_unlikely(!timer || !worker))
		return refuse(timer, worker);
	if (zs_unlikely(worker_of(timer) != worker))
		return worker_of(timer) ? refuse(timer, worker) :
					  zs_explain_none(-EINVAL);
	was_armed = zs_wheel_cancel(&worker->wheel, timer);
	zs_wheel_start(&worker->wheel, timer, deadline_ns);
	return was_armed;
}

ZS_PUBLIC int zs_timer_cancel(struct zs_timer *timer)
{
	struct zs_worker *worker = zs_worker_self;

	if (zs_unlikely(!timer || !worker))
		return refuse(timer, worker);
	if (zs_unlikely(worker_of(timer) != worker))
		return worker_of(timer) ? refuse(timer, worker) : 0;
	return zs_wheel_cancel(&worker->wheel, timer);
}
