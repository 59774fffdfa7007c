/* SPDX-License-Identifier: MIT */
/*
 * Semaphore: a number of permits, and a queue in which the first waits for as
 * many as it needs. Called by tasks and by any thread.
 */
#include <errno.h>

#include "base/explain.h"
#include "base/text.h"
#include "sync/gate.h"

/* Within the gate: those that are first in the queue, as far as it goes. */
static void let_go_on(struct zs_sem *sem, struct zs_wakes *wakes)
{
	struct zs_waiters *queue = zs_gate_waiters(&sem->gate);

	while (queue->first && queue->first->amount <= sem->gate.number) {
		struct zs_waiter *waiter = zs_waiters_take(queue);

		sem->gate.number -= (uint32_t)waiter->amount;
		zs_wakes_add(wakes, waiter, 0);
	}
}

static ZS_RACY void describe(const void *object, struct zs_text *text)
{
	zs_gate_describe(object, text, "semaphore ");
}

/* Those behind it may need less. */
static void cancel(struct zs_task *task)
{
	struct zs_waiter *waiter = zs_gate_waiter(task);
	struct zs_sem *sem = waiter->primitive;
	struct zs_wakes wakes;
	bool is_in_time;

	zs_wakes_init(&wakes);
	zs_gate_enter(&sem->gate);
	is_in_time = waiter->is_queued;
	if (is_in_time) {
		zs_waiters_remove(zs_gate_waiters(&sem->gate), waiter);
		let_go_on(sem, &wakes);
	}
	zs_gate_leave_and_wake(&sem->gate, &wakes);
	if (is_in_time)
		zs_wait_cancel(waiter);
}

static const struct zs_wait_type waiting = {
	.cancel = cancel,
	.describe = describe,
};

static bool is_bad(const struct zs_sem *sem, uint32_t permits)
{
	return !sem || permits > ZS_SEM_MAX;
}

/* Within the gate. None are always to be had. */
static bool take(struct zs_sem *sem, uint32_t permits)
{
	if (permits > 0 &&
	    (permits > sem->gate.number || !zs_gate_is_clear(&sem->gate)))
		return false;
	sem->gate.number -= permits;
	return true;
}

ZS_PUBLIC int zs_sem_init(struct zs_sem *sem, uint32_t permits)
{
	if (is_bad(sem, permits))
		return zs_explain_none(-EINVAL);
	*sem = (struct zs_sem)ZS_SEM_INIT(permits);
	return 0;
}

ZS_PUBLIC int zs_sem_acquire(struct zs_sem *sem, uint32_t permits)
{
	struct zs_worker *worker = zs_worker_self;
	struct zs_waiter waiter;
	int ret;

	if (is_bad(sem, permits))
		return zs_explain_none(-EINVAL);
	ret = zs_gate_check(worker);
	if (ret < 0)
		return ret;
	zs_gate_enter(&sem->gate);
	if (take(sem, permits)) {
		zs_gate_leave(&sem->gate);
		return 0;
	}
	zs_waiter_init(&waiter, worker, sem);
	waiter.amount = permits;
	return zs_gate_wait(&sem->gate, &waiter, &waiting);
}

ZS_PUBLIC int zs_sem_try_acquire(struct zs_sem *sem, uint32_t permits)
{
	bool has_them;

	if (is_bad(sem, permits))
		return zs_explain_none(-EINVAL);
	zs_gate_enter(&sem->gate);
	has_them = take(sem, permits);
	zs_gate_leave(&sem->gate);
	return has_them ? 0 : zs_explain_none(-EAGAIN);
}

ZS_PUBLIC int zs_sem_release(struct zs_sem *sem, uint32_t permits)
{
	struct zs_wakes wakes;
	bool has_room;

	if (is_bad(sem, permits))
		return zs_explain_none(-EINVAL);
	zs_wakes_init(&wakes);
	zs_gate_enter(&sem->gate);
	has_room = permits <= ZS_SEM_MAX - sem->gate.number;
	if (has_room) {
		sem->gate.number += permits;
		let_go_on(sem, &wakes);
	}
	zs_gate_leave_and_wake(&sem->gate, &wakes);
	return has_room ? 0 : zs_explain_none(-EOVERFLOW);
}

ZS_PUBLIC int zs_sem_available(struct zs_sem *sem)
{
	uint32_t permits;

	if (!sem)
		return zs_explain_none(-EINVAL);
	zs_gate_enter(&sem->gate);
	permits = sem->gate.number;
	zs_gate_leave(&sem->gate);
	return (int)permits;
}
