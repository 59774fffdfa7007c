/* SPDX-License-Identifier: MIT */
/*
 * Condition variable: a queue and nothing else. Called by tasks and by any
 * thread.
 *
 * Who waits is in the queue before the mutex is unlocked: who changes, under
 * the mutex, what is waited for, and signals then, finds it there.
 */
#include <errno.h>

#include "base/explain.h"
#include "base/text.h"
#include "sync/mutex.h"

static ZS_RACY void describe_cond(const void *object, struct zs_text *text)
{
	zs_gate_describe(object, text, "condition ");
}

static const struct zs_wait_type waiting_for_signal = {
	.cancel = zs_gate_cancel,
	.describe = describe_cond,
};

ZS_PUBLIC int zs_cond_wait(struct zs_cond *cond, struct zs_mutex *mutex)
{
	struct zs_worker *worker = zs_worker_self;
	struct zs_waiter waiter;
	int ret;

	if (!cond || !mutex)
		return zs_explain_none(-EINVAL);
	if (!zs_mutex_is_of(mutex, zs_gate_caller(worker)))
		return zs_explain_as(-EPERM,
				     "the caller does not own the mutex");
	ret = zs_wait_check(worker);
	if (ret < 0)
		return ret;
	zs_waiter_init(&waiter, worker, cond);
	zs_gate_enter(&cond->gate);
	zs_waiters_append(zs_gate_waiters(&cond->gate), &waiter);
	zs_gate_leave(&cond->gate);
	zs_mutex_unlock(mutex);
	zs_wait(&waiter, &waiting_for_signal, &waiter);
	zs_mutex_lock_deaf(mutex, worker);
	return zs_gate_explain(waiter.result);
}

ZS_PUBLIC int zs_cond_signal(struct zs_cond *cond)
{
	struct zs_waiter *waiter;
	struct zs_wakes wakes;

	if (!cond)
		return zs_explain_none(-EINVAL);
	zs_wakes_init(&wakes);
	zs_gate_enter(&cond->gate);
	waiter = zs_waiters_take(zs_gate_waiters(&cond->gate));
	if (waiter)
		zs_wakes_add(&wakes, waiter, 0);
	zs_gate_leave_and_wake(&cond->gate, &wakes);
	return 0;
}

ZS_PUBLIC int zs_cond_broadcast(struct zs_cond *cond)
{
	struct zs_wakes wakes;

	if (!cond)
		return zs_explain_none(-EINVAL);
	zs_wakes_init(&wakes);
	zs_gate_enter(&cond->gate);
	zs_wakes_add_all(&wakes, zs_gate_waiters(&cond->gate), 0);
	zs_gate_leave_and_wake(&cond->gate, &wakes);
	return 0;
}
