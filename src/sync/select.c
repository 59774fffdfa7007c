/* SPDX-License-Identifier: MIT */
/*
 * Selecting: called by tasks and by any thread.
 *
 * First each case is tried, in an order that a die decides. If none can happen
 * who selects has to wait at all channels at once: with all their locks, taken
 * in the order of their addresses, it tries once more, and puts a waiter of one
 * choice into each. Whoever takes one of them out later has to claim the choice
 * first, as have a deadline, a cancel, and the tasks that wait for what is no
 * channel; so one of all comes to pass. Afterwards the others are taken back.
 */
#include "sync/select.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/explain.h"
#include "base/futex.h"
#include "base/text.h"
#include "sched/wheel.h"

/* --- the choice --- */

bool zs_select_claim(struct zs_select *select, uint32_t number)
{
	uint32_t nobody = 0;

	/* acq_rel: as zs_waiters_take(). */
	return atomic_compare_exchange_strong_explicit(&select->choice.winner,
						       &nobody, number + 1,
						       memory_order_acq_rel,
						       memory_order_acquire);
}

static uint32_t winner_of(struct zs_select *select)
{
	/* acquire: what the winner was given. */
	return atomic_load_explicit(&select->choice.winner,
				    memory_order_acquire) -
	       1;
}

/* --- cases --- */

static bool has_chan(const struct zs_select_case *one)
{
	return one->kind <= ZS_SELECT_KIND_SEND && one->chan;
}

static int check_case(const struct zs_select_case *one, size_t number)
{
	if (one->kind > ZS_SELECT_KIND_JOIN)
		return zs_explain_as(-EINVAL, "case %zu: %u is no kind", number,
				     one->kind);
	if (has_chan(one) && zs_chan_is_bad(one->chan, one->item))
		return zs_explain_as(-EINVAL, "case %zu has no item", number);
	return 0;
}

/* With the locks of its channel. False: not now. */
static bool happens_locked(struct zs_select_case *one, struct zs_wakes *wakes)
{
	int ret = one->kind == ZS_SELECT_KIND_SEND ?
			  zs_chan_send_locked(one->chan, one->item, wakes) :
			  zs_chan_recv_locked(one->chan, one->item, wakes);

	if (ret == -EAGAIN)
		return false;
	one->result = ret;
	return true;
}

static bool happens(struct zs_select_case *one)
{
	struct zs_wakes wakes;
	bool by_bias, does_happen;

	if (zs_select_is_other(one))
		return zs_select_other_happens(one);
	if (!has_chan(one))
		return false;
	zs_wakes_init(&wakes);
	by_bias = zs_chan_take_both(one->chan, zs_worker_self);
	does_happen = happens_locked(one, &wakes);
	zs_chan_release_both(one->chan, by_bias);
	zs_wakes_do(&wakes);
	return does_happen;
}

/* --- the die --- */

static uint32_t throw_die(uint32_t sides)
{
	static _Thread_local uint64_t state;

	if (state == 0)
		state = (uint64_t)zs_clock_ns() | 1;
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return (uint32_t)(((state * UINT64_C(2685821657736338717)) >> 32) *
				  sides >>
			  32);
}

static void shuffle(struct zs_select *select)
{
	struct zs_select_slot *slots = select->slots;
	uint32_t i, other;

	for (i = 0; i < select->number; i++) {
		other = throw_die(i + 1);
		slots[i].shuffled = slots[other].shuffled;
		slots[other].shuffled = i;
	}
}

/* The number of the first case that happens, select->number for none. */
static uint32_t try_all(struct zs_select *select)
{
	uint32_t i;

	for (i = 0; i < select->number; i++)
		if (happens(&select->cases[select->slots[i].shuffled]))
			return select->slots[i].shuffled;
	return select->number;
}

/* --- all locks --- */

static struct zs_chan *chan_at(const struct zs_select *select, uint32_t place)
{
	return select->cases[select->slots[place].order].chan;
}

/* Sinks the one at @place to where it belongs in a heap of @size. */
static void sink(struct zs_select *select, uint32_t place, uint32_t size)
{
	struct zs_select_slot *slots = select->slots;
	uint32_t child, moved;

	while ((child = 2 * place + 1) < size) {
		if (child + 1 < size &&
		    chan_at(select, child) < chan_at(select, child + 1))
			child++;
		if (chan_at(select, place) >= chan_at(select, child))
			return;
		moved = slots[place].order;
		slots[place].order = slots[child].order;
		slots[child].order = moved;
		place = child;
	}
}

static void sort_by_address(struct zs_select *select)
{
	struct zs_select_slot *slots = select->slots;
	uint32_t i, moved;

	for (i = select->num_chans / 2; i > 0; i--)
		sink(select, i - 1, select->num_chans);
	for (i = select->num_chans; i > 1; i--) {
		moved = slots[0].order;
		slots[0].order = slots[i - 1].order;
		slots[i - 1].order = moved;
		sink(select, 0, i - 1);
	}
}

static bool is_first_of_its_chan(const struct zs_select *select, uint32_t place)
{
	return place == 0 ||
	       chan_at(select, place) != chan_at(select, place - 1);
}

static void take_all(struct zs_select *select)
{
	uint32_t i;

	for (i = 0; i < select->num_chans; i++)
		if (is_first_of_its_chan(select, i))
			select->slots[i].by_bias = zs_chan_take_both(
				chan_at(select, i), zs_worker_self);
}

static void release_all(struct zs_select *select)
{
	uint32_t i;

	for (i = select->num_chans; i > 0; i--)
		if (is_first_of_its_chan(select, i - 1))
			zs_chan_release_both(chan_at(select, i - 1),
					     select->slots[i - 1].by_bias);
}

/* As try_all(), of the channels. */
static uint32_t try_locked(struct zs_select *select, struct zs_wakes *wakes)
{
	uint32_t i, number;

	for (i = 0; i < select->number; i++) {
		number = select->slots[i].shuffled;
		if (has_chan(&select->cases[number]) &&
		    happens_locked(&select->cases[number], wakes))
			return number;
	}
	return select->number;
}

/* --- waiting --- */

static struct zs_chan_end *end_of(const struct zs_select_case *one)
{
	return one->kind == ZS_SELECT_KIND_SEND ? &one->chan->out :
						  &one->chan->in;
}

/* At all channels, with all locks. */
static void put_in(struct zs_select *select)
{
	uint32_t i;

	for (i = 0; i < select->number; i++) {
		const struct zs_select_case *one = &select->cases[i];
		struct zs_waiter *waiter = &select->slots[i].waiter;

		if (!has_chan(one))
			continue;
		zs_waiter_init(waiter, zs_worker_self, one->chan);
		waiter->item = one->item;
		waiter->choice = &select->choice;
		waiter->number = i;
		waiter->over = &select->waiter.is_over;
		zs_waiters_append(&end_of(one)->waiters, waiter);
		end_of(one)->limit = end_of(one)->place;
	}
}

static void take_back(struct zs_select *select)
{
	uint32_t i;

	for (i = 0; i < select->number; i++) {
		struct zs_select_case *one = &select->cases[i];
		struct zs_waiter *waiter = &select->slots[i].waiter;
		bool by_bias;

		if (!has_chan(one))
			continue;
		by_bias = zs_chan_take_both(one->chan, zs_worker_self);
		if (waiter->is_queued)
			zs_waiters_remove(&end_of(one)->waiters, waiter);
		zs_chan_release_both(one->chan, by_bias);
	}
}

static void cancel_select(struct zs_task *task)
{
	/* The task's own, on its stack: const only for those who look on. */
	struct zs_select *select =
		(struct zs_select *)(uintptr_t)task->waits_on;

	if (zs_select_claim(select, ZS_SELECT_BY_CANCEL))
		zs_wait_cancel(&select->waiter);
}

static ZS_RACY void describe_select(const void *object, struct zs_text *text)
{
	const struct zs_select *select = object;

	zs_text_add(text, "one of ");
	zs_text_add_number(text, select->number);
	zs_text_add(text, " cases");
}

static const struct zs_wait_type selecting = {
	.cancel = cancel_select,
	.describe = describe_select,
};

static void on_deadline(struct zs_timer *timer, void *arg)
{
	struct zs_select *select = arg;

	(void)timer;
	if (zs_select_claim(select, ZS_SELECT_BY_DEADLINE))
		zs_task_wake(select->waiter.wake.task);
}

static void wait_in_task(struct zs_select *select, int64_t deadline_ns)
{
	struct zs_worker *worker = zs_worker_self;

	select->timer = (struct zs_timer){ .fn = on_deadline, .arg = select };
	if (deadline_ns != ZS_NEVER)
		zs_wheel_start(&worker->wheel, &select->timer, deadline_ns);
	zs_task_park(&selecting, select);
	zs_wheel_cancel(&worker->wheel, &select->timer);
}

static void wait_in_thread(struct zs_select *select, int64_t deadline_ns)
{
	if (!zs_wait_until(&select->waiter, deadline_ns) &&
	    !zs_select_claim(select, ZS_SELECT_BY_DEADLINE))
		zs_wait_until(&select->waiter, ZS_NEVER);
}

/* Somebody has claimed the choice. */
static int result_of(struct zs_select *select)
{
	uint32_t winner = winner_of(select);

	if (winner == ZS_SELECT_BY_DEADLINE)
		return -ETIMEDOUT;
	if (winner == ZS_SELECT_BY_CANCEL)
		return select->waiter.result;
	if (has_chan(&select->cases[winner]))
		select->cases[winner].result =
			select->slots[winner].waiter.result;
	return (int)winner;
}

static int wait_for_one(struct zs_select *select, int64_t deadline_ns)
{
	struct zs_wakes wakes;
	uint32_t number;

	zs_waiter_init(&select->waiter, zs_worker_self, NULL);
	zs_wakes_init(&wakes);
	take_all(select);
	number = try_locked(select, &wakes);
	if (number == select->number)
		put_in(select);
	release_all(select);
	zs_wakes_do(&wakes);
	if (number < select->number) {
		zs_select_claim(select, number);
		return (int)number;
	}
	if (select->waiter.wake.task)
		wait_in_task(select, deadline_ns);
	else
		wait_in_thread(select, deadline_ns);
	take_back(select);
	return result_of(select);
}

static int wait_with_others(struct zs_select *select, int64_t deadline_ns)
{
	struct zs_select_case *one;
	int ret = zs_select_begin_others(select);

	if (ret < 0)
		return ret;
	ret = wait_for_one(select, deadline_ns);
	zs_select_end_others(select);
	if (ret < 0)
		return ret;
	one = &select->cases[ret];
	/* It has ended, so that this does not wait. */
	if (one->kind == ZS_SELECT_KIND_JOIN && one->result == 0)
		one->result = zs_task_join(one->handle, one->item);
	return ret;
}

/* --- the call --- */

static int select_once(struct zs_select *select, int64_t deadline_ns)
{
	uint32_t number;

	shuffle(select);
	number = try_all(select);
	if (number < select->number)
		return (int)number;
	if (deadline_ns == ZS_SELECT_NOW)
		return zs_explain_none(-EAGAIN);
	sort_by_address(select);
	return select->num_others > 0 ? wait_with_others(select, deadline_ns) :
					wait_for_one(select, deadline_ns);
}

static int select_with(struct zs_select_slot *slots,
		       struct zs_select_case *cases, uint32_t number,
		       int64_t deadline_ns)
{
	struct zs_select select = {
		.cases = cases,
		.slots = slots,
		.number = number,
	};
	uint32_t i;

	for (i = 0; i < number; i++) {
		if (has_chan(&cases[i]))
			slots[select.num_chans++].order = i;
		select.num_others += zs_select_is_other(&cases[i]);
	}
	if (select.num_others > 0 && !zs_worker_task())
		return zs_explain_as(-EPERM, "a select among more than "
					     "channels is for tasks only");
	return select_once(&select, deadline_ns);
}

ZS_PUBLIC int zs_select(struct zs_select_case *cases, size_t number,
			int64_t deadline_ns)
{
	struct zs_select_slot few[ZS_SELECT_INLINE], *many;
	struct zs_worker *worker = zs_worker_self;
	int ret, saved_errno = errno;
	size_t i;

	if ((!cases && number > 0) || number > INT32_MAX)
		return zs_explain_none(-EINVAL);
	for (i = 0; i < number; i++) {
		ret = check_case(&cases[i], i);
		if (ret < 0)
			return ret;
	}
	ret = zs_wait_check(worker);
	if (ret < 0)
		return ret;
	if (number <= ZS_SELECT_INLINE) {
		ret = select_with(few, cases, (uint32_t)number, deadline_ns);
	} else {
		many = malloc(number * sizeof(*many));
		errno = saved_errno;
		if (!many)
			return zs_explain_as(-ENOMEM, "no memory for %zu cases",
					     number);
		ret = select_with(many, cases, (uint32_t)number, deadline_ns);
		free(many);
	}
	if (ret >= 0)
		zs_wait_was_not_needed(worker);
	return ret;
}
