/* SPDX-License-Identifier: MIT */
/*
 * Those that wait for a count to come to 0: wait groups, which may count up
 * again, and latches, which may not. Called by tasks and by any thread.
 *
 * Even who finds the count at 0 has entered the gate for it: so the one who
 * brought it there has left, and the memory may be freed.
 */
#include <errno.h>

#include "base/explain.h"
#include "base/text.h"
#include "sync/gate.h"

#define COUNT_MAX ((uint32_t)INT32_MAX)

static ZS_RACY void describe_group(const void *object, struct zs_text *text)
{
	zs_gate_describe(object, text, "wait group ");
}

static ZS_RACY void describe_latch(const void *object, struct zs_text *text)
{
	zs_gate_describe(object, text, "latch ");
}

static const struct zs_wait_type waiting_for_group = {
	.cancel = zs_gate_cancel,
	.describe = describe_group,
};
static const struct zs_wait_type waiting_for_latch = {
	.cancel = zs_gate_cancel,
	.describe = describe_latch,
};

static int wait_for_0(struct zs_gate *gate, const struct zs_wait_type *type)
{
	struct zs_worker *worker = zs_worker_self;
	struct zs_waiter waiter;
	int ret = zs_gate_check(worker);

	if (ret < 0)
		return ret;
	zs_gate_enter(gate);
	if (gate->number == 0) {
		zs_gate_leave(gate);
		return 0;
	}
	zs_waiter_init(&waiter, worker, gate);
	return zs_gate_wait(gate, &waiter, type);
}

static int count_down(struct zs_gate *gate, uint32_t number)
{
	struct zs_wakes wakes;
	bool is_enough;

	zs_wakes_init(&wakes);
	zs_gate_enter(gate);
	is_enough = gate->number >= number;
	if (is_enough) {
		gate->number -= number;
		if (gate->number == 0)
			zs_wakes_add_all(&wakes, zs_gate_waiters(gate), 0);
	}
	zs_gate_leave_and_wake(gate, &wakes);
	return is_enough ?
		       0 :
		       zs_explain_as(-EINVAL, "it would count down to below 0");
}

ZS_PUBLIC int zs_waitgroup_add(struct zs_waitgroup *group, uint32_t number)
{
	bool has_room;

	if (!group)
		return zs_explain_none(-EINVAL);
	zs_gate_enter(&group->gate);
	has_room = number <= COUNT_MAX - group->gate.number;
	if (has_room)
		group->gate.number += number;
	zs_gate_leave(&group->gate);
	return has_room ? 0 : zs_explain_none(-EOVERFLOW);
}

ZS_PUBLIC int zs_waitgroup_done(struct zs_waitgroup *group)
{
	return group ? count_down(&group->gate, 1) : zs_explain_none(-EINVAL);
}

ZS_PUBLIC int zs_waitgroup_wait(struct zs_waitgroup *group)
{
	if (!group)
		return zs_explain_none(-EINVAL);
	return wait_for_0(&group->gate, &waiting_for_group);
}

ZS_PUBLIC int zs_latch_init(struct zs_latch *latch, uint32_t number)
{
	if (!latch || number > COUNT_MAX)
		return zs_explain_none(-EINVAL);
	*latch = (struct zs_latch)ZS_LATCH_INIT(number);
	return 0;
}

ZS_PUBLIC int zs_latch_count_down(struct zs_latch *latch, uint32_t number)
{
	return latch ? count_down(&latch->gate, number) :
		       zs_explain_none(-EINVAL);
}

ZS_PUBLIC int zs_latch_wait(struct zs_latch *latch)
{
	if (!latch)
		return zs_explain_none(-EINVAL);
	return wait_for_0(&latch->gate, &waiting_for_latch);
}

ZS_PUBLIC int zs_latch_try_wait(struct zs_latch *latch)
{
	bool is_open;

	if (!latch)
		return zs_explain_none(-EINVAL);
	zs_gate_enter(&latch->gate);
	is_open = latch->gate.number == 0;
	zs_gate_leave(&latch->gate);
	return is_open ? 0 : zs_explain_none(-EAGAIN);
}
