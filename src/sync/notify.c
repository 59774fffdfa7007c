/* SPDX-License-Identifier: MIT */
/*
 * Notify: a permit that is kept, or a waiter that is given it. Called by tasks
 * and by any thread.
 */
#include <errno.h>

#include "base/explain.h"
#include "base/text.h"
#include "sync/gate.h"

static ZS_RACY void describe_notify(const void *object, struct zs_text *text)
{
	zs_gate_describe(object, text, "notification ");
}

/* A waiter that was chosen has been taken out, and is not cancelled any more:
 * what it was told is not lost. */
static const struct zs_wait_type waiting_for_notify = {
	.cancel = zs_gate_cancel,
	.describe = describe_notify,
};

/* Within the gate. */
static bool take_permit(struct zs_notify *notify)
{
	bool has_permit = notify->gate.number > 0;

	notify->gate.number = 0;
	return has_permit;
}

ZS_PUBLIC int zs_notify_wait(struct zs_notify *notify)
{
	struct zs_worker *worker = zs_worker_self;
	struct zs_waiter waiter;
	int ret;

	if (!notify)
		return zs_explain_none(-EINVAL);
	ret = zs_gate_check(worker);
	if (ret < 0)
		return ret;
	zs_gate_enter(&notify->gate);
	if (take_permit(notify)) {
		zs_gate_leave(&notify->gate);
		return 0;
	}
	zs_waiter_init(&waiter, worker, notify);
	return zs_gate_wait(&notify->gate, &waiter, &waiting_for_notify);
}

ZS_PUBLIC int zs_notify_try_wait(struct zs_notify *notify)
{
	bool has_permit;

	if (!notify)
		return zs_explain_none(-EINVAL);
	zs_gate_enter(&notify->gate);
	has_permit = take_permit(notify);
	zs_gate_leave(&notify->gate);
	return has_permit ? 0 : zs_explain_none(-EAGAIN);
}

ZS_PUBLIC int zs_notify_one(struct zs_notify *notify)
{
	struct zs_waiter *waiter;
	struct zs_wakes wakes;

	if (!notify)
		return zs_explain_none(-EINVAL);
	zs_wakes_init(&wakes);
	zs_gate_enter(&notify->gate);
	waiter = zs_waiters_take(zs_gate_waiters(&notify->gate));
	if (waiter)
		zs_wakes_add(&wakes, waiter, 0);
	else
		notify->gate.number = 1;
	zs_gate_leave_and_wake(&notify->gate, &wakes);
	return 0;
}

ZS_PUBLIC int zs_notify_all(struct zs_notify *notify)
{
	struct zs_wakes wakes;

	if (!notify)
		return zs_explain_none(-EINVAL);
	zs_wakes_init(&wakes);
	zs_gate_enter(&notify->gate);
	zs_wakes_add_all(&wakes, zs_gate_waiters(&notify->gate), 0);
	zs_gate_leave_and_wake(&notify->gate, &wakes);
	return 0;
}
