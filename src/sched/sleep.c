/* SPDX-License-Identifier: MIT */
/* The clock and sleeping. Tasks sleep on their worker's timer wheel. */
#include "zsync/time.h"

#include <errno.h>

#include "base/clock.h"
#include "base/explain.h"
#include "sched/scope.h"
#include "sched/worker.h"

/* On the sleeper's stack. */
struct sleeper {
	struct zs_timer timer;
};

ZS_PUBLIC int64_t zs_now(void)
{
	return zs_clock_ns();
}

static void wake_up(struct zs_timer *timer, void *arg)
{
	struct zs_task *task = arg;

	(void)timer;
	task->wake_result = 0;
	zs_task_wake(task);
}

static void cancel_sleep(struct zs_task *task)
{
	/* The task's own, on its stack: const only for those who look on. */
	struct sleeper *sleeper = (struct sleeper *)(uintptr_t)task->waits_on;

	zs_wheel_cancel(&task->worker->wheel, &sleeper->timer);
	task->wake_result = zs_task_wait_error(task);
	zs_task_wake(task);
}

static ZS_RACY void describe_sleep(const void *object, struct zs_text *text)
{
	const struct sleeper *sleeper = object;
	int64_t deadline_ns = sleeper->timer.deadline_ns;

	if (deadline_ns == ZS_NEVER) {
		zs_text_add(text, "a cancel");
		return;
	}
	zs_text_add(text, "a timer, in ");
	zs_text_add_duration(text, deadline_ns - zs_clock_ns());
}

static const struct zs_wait_type sleeping = {
	.cancel = cancel_sleep,
	.describe = describe_sleep,
};

ZS_PUBLIC int zs_sleep_until(int64_t deadline_ns)
{
	struct zs_worker *worker = zs_worker_self;
	struct zs_task *task = worker ? worker->current : NULL;
	struct sleeper sleeper;

	if (!task)
		return zs_explain_none(-EPERM);
	if (!task->is_linked)
		zs_scope_link(task);
	/* Others run even so: a loop may have no other call. */
	if (zs_scope_error(task->scope) < 0)
		return zs_yield();
	sleeper.timer = (struct zs_timer){ .fn = wake_up, .arg = task };
	if (deadline_ns == ZS_NEVER)
		sleeper.timer.deadline_ns = ZS_NEVER;
	else
		zs_wheel_start(&worker->wheel, &sleeper.timer, deadline_ns);
	zs_task_park(&sleeping, &sleeper);
	return task->wake_result;
}

ZS_PUBLIC int zs_sleep(int64_t duration_ns)
{
	int64_t now_ns;

	if (duration_ns <= 0)
		return zs_yield();
	if (duration_ns == ZS_NEVER)
		return zs_sleep_until(ZS_NEVER);
	now_ns = zs_clock_ns();
	if (duration_ns >= ZS_NEVER - now_ns)
		return zs_sleep_until(ZS_NEVER);
	return zs_sleep_until(now_ns + duration_ns);
}
