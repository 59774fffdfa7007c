/* SPDX-License-Identifier: MIT */
/* What the primitives of zsync/sync.h have in common; called by them. */
#include "sync/gate.h"

#include <errno.h>

#include "base/explain.h"
#include "base/text.h"

int zs_gate_check(struct zs_worker *worker)
{
	if (worker && worker->current && --worker->quick_calls == 0)
		zs_wait_let_others_run(worker);
	return zs_wait_check(worker);
}

int zs_gate_explain(int result)
{
	if (zs_likely(result != -EDEADLK))
		return result;
	return zs_explain_as(result, "nobody is left who could let the caller "
				     "go on: a deadlock");
}

int zs_gate_wait(struct zs_gate *gate, struct zs_waiter *waiter,
		 const struct zs_wait_type *type)
{
	zs_waiters_append(zs_gate_waiters(gate), waiter);
	zs_gate_leave(gate);
	zs_wait(waiter, type, waiter);
	return zs_gate_explain(waiter->result);
}

void zs_gate_leave_and_wake(struct zs_gate *gate, const struct zs_wakes *wakes)
{
	zs_gate_leave(gate);
	zs_wakes_do(wakes);
}

void zs_gate_cancel(struct zs_task *task)
{
	struct zs_waiter *waiter = zs_gate_waiter(task);
	struct zs_gate *gate = waiter->primitive;
	bool is_in_time;

	zs_gate_enter(gate);
	is_in_time = waiter->is_queued;
	if (is_in_time)
		zs_waiters_remove(zs_gate_waiters(gate), waiter);
	zs_gate_leave(gate);
	if (is_in_time)
		zs_wait_cancel(waiter);
}

ZS_RACY void zs_gate_describe(const void *waits_on, struct zs_text *text,
			      const char *what)
{
	const struct zs_waiter *waiter = waits_on;

	zs_text_add(text, what);
	zs_text_add_hex(text, (uintptr_t)waiter->primitive);
}

/* Its address is what counts. */
static _Thread_local uint64_t thread_mark;

uintptr_t zs_gate_thread(void)
{
	return (uintptr_t)&thread_mark;
}
