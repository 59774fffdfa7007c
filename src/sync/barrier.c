/* SPDX-License-Identifier: MIT */
/*
 * Barrier: the last of its parties lets all others go. Called by tasks and by
 * any thread.
 *
 * A party that is cancelled breaks it: the others would wait for one that does
 * not come, and who is to take its place is for the program to say.
 */
#include <errno.h>

#include "base/explain.h"
#include "base/text.h"
#include "sync/gate.h"

/* Within the gate. All that wait get -EPIPE. */
static void break_up(struct zs_barrier *barrier, struct zs_wakes *wakes)
{
	barrier->arrived = 0;
	zs_wakes_add_all(wakes, zs_gate_waiters(&barrier->gate), -EPIPE);
}

static ZS_RACY void describe(const void *object, struct zs_text *text)
{
	zs_gate_describe(object, text, "barrier ");
}

static void cancel(struct zs_task *task)
{
	struct zs_waiter *waiter = zs_gate_waiter(task);
	struct zs_barrier *barrier = waiter->primitive;
	struct zs_wakes wakes;
	bool is_in_time;

	zs_wakes_init(&wakes);
	zs_gate_enter(&barrier->gate);
	is_in_time = waiter->is_queued;
	if (is_in_time) {
		zs_waiters_remove(zs_gate_waiters(&barrier->gate), waiter);
		barrier->broken = 1;
		break_up(barrier, &wakes);
	}
	zs_gate_leave_and_wake(&barrier->gate, &wakes);
	if (is_in_time)
		zs_wait_cancel(waiter);
}

static const struct zs_wait_type waiting = {
	.cancel = cancel,
	.describe = describe,
};

static int explain(int ret)
{
	return ret == -EPIPE ? zs_explain_as(ret, "the barrier is broken: a "
						  "party was cancelled, or it "
						  "was reset") :
			       ret;
}

ZS_PUBLIC int zs_barrier_init(struct zs_barrier *barrier, uint32_t parties)
{
	if (!barrier || parties == 0 || parties > INT32_MAX)
		return zs_explain_none(-EINVAL);
	*barrier = (struct zs_barrier)ZS_BARRIER_INIT(parties);
	return 0;
}

/* Within the gate: 1, and the others are let go; -EPIPE; or 0, it has to wait.
 * @error: it will not come. */
static int arrive(struct zs_barrier *barrier, int error, struct zs_wakes *wakes)
{
	if (error) {
		barrier->broken = 1;
		break_up(barrier, wakes);
		return error;
	}
	if (barrier->broken)
		return -EPIPE;
	if (++barrier->arrived < barrier->gate.number)
		return 0;
	barrier->arrived = 0;
	zs_wakes_add_all(wakes, zs_gate_waiters(&barrier->gate), 0);
	return 1;
}

ZS_PUBLIC int zs_barrier_wait(struct zs_barrier *barrier)
{
	struct zs_worker *worker = zs_worker_self;
	struct zs_waiter waiter;
	struct zs_wakes wakes;
	int ret;

	if (!barrier || barrier->gate.number == 0)
		return zs_explain_none(-EINVAL);
	ret = zs_gate_check(worker);
	if (ret == -EPERM)
		return ret;
	zs_wakes_init(&wakes);
	zs_gate_enter(&barrier->gate);
	ret = arrive(barrier, ret, &wakes);
	if (ret == 0) {
		zs_waiter_init(&waiter, worker, barrier);
		return explain(zs_gate_wait(&barrier->gate, &waiter, &waiting));
	}
	zs_gate_leave_and_wake(&barrier->gate, &wakes);
	return explain(ret);
}

ZS_PUBLIC int zs_barrier_reset(struct zs_barrier *barrier)
{
	struct zs_wakes wakes;

	if (!barrier)
		return zs_explain_none(-EINVAL);
	zs_wakes_init(&wakes);
	zs_gate_enter(&barrier->gate);
	barrier->broken = 0;
	break_up(barrier, &wakes);
	zs_gate_leave_and_wake(&barrier->gate, &wakes);
	return 0;
}
