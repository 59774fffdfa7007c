/* SPDX-License-Identifier: MIT */
/*
 * Channels: sending and receiving. Called by tasks and by any thread.
 *
 * A call takes its own end's lock and looks whether that is enough: nobody
 * waits, and there is room or an item. Else it takes both, and then waits if it
 * has to.
 */
#include "sync/chan.h"

#include <errno.h>

#include "base/explain.h"
#include "base/text.h"

/* --- beneath both locks --- */

static int send_to_somebody(struct zs_chan *chan, const void *item,
			    struct zs_wakes *wakes)
{
	struct zs_waiter *receiver = zs_waiters_take(&chan->in.waiters);

	if (receiver) {
		zs_chan_copy(chan, receiver->item, item);
		zs_wakes_add(wakes, receiver, 0);
		return 0;
	}
	if (!zs_chan_has_room(chan))
		return chan->capacity == UINT64_MAX ? -ENOMEM : -EAGAIN;
	zs_chan_put(chan, item);
	return 0;
}

int zs_chan_send_locked(struct zs_chan *chan, const void *item,
			struct zs_wakes *wakes)
{
	int ret;

	if (chan->in.is_closed)
		return -EPIPE;
	ret = send_to_somebody(chan, item, wakes);
	if (ret == 0 && chan->is_oneshot)
		zs_chan_close_locked(chan, wakes);
	return ret;
}

/* They wait in bounded channels only, where there is memory. */
static void let_senders_go_on(struct zs_chan *chan, struct zs_wakes *wakes)
{
	struct zs_waiter *sender;

	while (!zs_waiters_are_none(&chan->out.waiters) &&
	       zs_chan_has_room(chan)) {
		sender = zs_waiters_take(&chan->out.waiters);
		if (!sender)
			return;
		zs_chan_put(chan, sender->item);
		zs_wakes_add(wakes, sender, 0);
	}
}

int zs_chan_recv_locked(struct zs_chan *chan, void *item,
			struct zs_wakes *wakes)
{
	struct zs_waiter *sender;

	if (zs_chan_has_item(chan)) {
		zs_chan_get(chan, item);
		let_senders_go_on(chan, wakes);
		if (!zs_waiters_are_none(&chan->out.waiters))
			chan->out.limit = chan->out.place;
		return 0;
	}
	sender = zs_waiters_take(&chan->out.waiters);
	if (sender) {
		zs_chan_copy(chan, item, sender->item);
		zs_wakes_add(wakes, sender, 0);
		return 0;
	}
	return chan->out.is_closed ? -EPIPE : -EAGAIN;
}

/* --- waiting --- */

static void describe(const void *object, struct zs_text *text, const char *what)
{
	const struct zs_waiter *waiter = object;

	zs_text_add(text, what);
	zs_text_add_hex(text, (uintptr_t)waiter->primitive);
}

static ZS_RACY void describe_send(const void *object, struct zs_text *text)
{
	describe(object, text, "room in channel ");
}

static ZS_RACY void describe_recv(const void *object, struct zs_text *text)
{
	describe(object, text, "an item from channel ");
}

static void cancel(struct zs_task *task, struct zs_chan_end *end)
{
	/* The task's own, on its stack: const only for those who look on. */
	struct zs_waiter *waiter =
		(struct zs_waiter *)(uintptr_t)task->waits_on;
	struct zs_chan *chan = waiter->primitive;
	bool by_bias = zs_chan_take_both(chan, task->worker);
	bool is_in_time = waiter->is_queued;

	if (is_in_time)
		zs_waiters_remove(&end->waiters, waiter);
	zs_chan_release_both(chan, by_bias);
	if (is_in_time)
		zs_wait_cancel(waiter);
}

static struct zs_chan *chan_of(const struct zs_task *task)
{
	return ((const struct zs_waiter *)task->waits_on)->primitive;
}

static void cancel_send(struct zs_task *task)
{
	cancel(task, &chan_of(task)->out);
}

static void cancel_recv(struct zs_task *task)
{
	cancel(task, &chan_of(task)->in);
}

static const struct zs_wait_type sending = {
	.cancel = cancel_send,
	.describe = describe_send,
};
static const struct zs_wait_type receiving = {
	.cancel = cancel_recv,
	.describe = describe_recv,
};

/* --- with both locks --- */

static int explain(int ret)
{
	return ret < 0 && ret != -ECANCELED && ret != -ETIMEDOUT ?
		       zs_explain_none(ret) :
		       ret;
}

/* Both locks are held: waits for the other end of @end. */
static int wait_at(struct zs_chan *chan, struct zs_chan_end *end, void *item,
		   const struct zs_wait_type *type, bool by_bias)
{
	struct zs_waiter waiter;

	zs_waiter_init(&waiter, zs_worker_self, chan);
	waiter.item = item;
	zs_waiters_append(&end->waiters, &waiter);
	end->limit = end->place;
	zs_chan_release_both(chan, by_bias);
	zs_wait(&waiter, type, &waiter);
	return explain(waiter.result);
}

ZS_NOINLINE int zs_chan_send_slowly(struct zs_chan *chan, const void *item,
				    enum zs_chan_mode mode)
{
	bool by_bias = zs_chan_take_both(chan, zs_worker_self);
	struct zs_wakes wakes;
	int ret;

	zs_wakes_init(&wakes);
	ret = zs_chan_send_locked(chan, item, &wakes);
	/* It is only read. */
	if (ret == -EAGAIN && mode == ZS_CHAN_WAITS)
		return wait_at(chan, &chan->out, (void *)(uintptr_t)item,
			       &sending, by_bias);
	zs_chan_release_both(chan, by_bias);
	zs_wakes_do(&wakes);
	return ret == 0 && mode == ZS_CHAN_WAITS ?
		       zs_wait_was_not_needed(zs_worker_self) :
		       explain(ret);
}

ZS_NOINLINE int zs_chan_recv_slowly(struct zs_chan *chan, void *item,
				    enum zs_chan_mode mode)
{
	bool by_bias = zs_chan_take_both(chan, zs_worker_self);
	struct zs_wakes wakes;
	int ret;

	zs_wakes_init(&wakes);
	ret = zs_chan_recv_locked(chan, item, &wakes);
	if (ret == -EAGAIN && mode == ZS_CHAN_WAITS)
		return wait_at(chan, &chan->in, item, &receiving, by_bias);
	zs_chan_release_both(chan, by_bias);
	zs_wakes_do(&wakes);
	return ret == 0 && mode == ZS_CHAN_WAITS ?
		       zs_wait_was_not_needed(zs_worker_self) :
		       explain(ret);
}

/* --- with one, or by the bias --- */

static bool send_quickly(struct zs_chan *chan, struct zs_worker *worker,
			 const void *item)
{
	bool by_bias = zs_chan_take_end(chan, &chan->in, worker);
	bool can = zs_chan_can_put(chan);

	if (can)
		zs_chan_put(chan, item);
	zs_chan_release_end(chan, &chan->in, by_bias);
	return can;
}

static bool recv_quickly(struct zs_chan *chan, struct zs_worker *worker,
			 void *item)
{
	bool by_bias = zs_chan_take_end(chan, &chan->out, worker);
	bool can = zs_chan_can_get(chan);

	if (can)
		zs_chan_get(chan, item);
	zs_chan_release_end(chan, &chan->out, by_bias);
	return can;
}

/* Is it a task that has parked before, on the worker that the bias leans to? */
static ZS_ALWAYS_INLINE bool enter_as_owner(struct zs_chan *chan,
					    struct zs_worker *worker)
{
	const struct zs_task *task;

	if (zs_unlikely(!worker))
		return false;
	task = worker->current;
	return zs_likely(task) && zs_likely(task->is_linked) &&
	       zs_likely(zs_scope_error(task->scope) == 0) &&
	       zs_likely(zs_bias_enter_again(&chan->bias, worker));
}

/* Items of other sizes are copied by a call, which would need a frame. */
static ZS_ALWAYS_INLINE bool is_word(const struct zs_chan *chan)
{
	return zs_likely(chan->item_size == sizeof(uint64_t));
}

static ZS_ALWAYS_INLINE void put_word(struct zs_chan *chan, const void *item)
{
	memcpy(chan->in.place, item, sizeof(uint64_t));
	zs_chan_pass(&chan->in, sizeof(uint64_t));
}

static ZS_ALWAYS_INLINE void get_word(struct zs_chan *chan, void *item)
{
	memcpy(item, chan->out.place, sizeof(uint64_t));
	zs_chan_pass(&chan->out, sizeof(uint64_t));
}

static ZS_NOINLINE int send_with_care(struct zs_chan *chan, const void *item)
{
	struct zs_worker *worker = zs_worker_self;
	int ret;

	if (zs_chan_is_bad(chan, item))
		return zs_explain_none(-EINVAL);
	ret = zs_wait_check(worker);
	if (ret < 0)
		return ret;
	if (send_quickly(chan, worker, item))
		return zs_wait_was_not_needed(worker);
	return zs_chan_send_slowly(chan, item, ZS_CHAN_WAITS);
}

ZS_PUBLIC int zs_chan_send(struct zs_chan *chan, const void *item)
{
	struct zs_worker *worker = zs_worker_self;

	if (zs_likely(chan) && zs_likely(item) &&
	    zs_likely(enter_as_owner(chan, worker))) {
		bool can = zs_chan_has_place(&chan->in) && is_word(chan);

		if (zs_likely(can))
			put_word(chan, item);
		zs_bias_leave(&chan->bias);
		if (zs_likely(can))
			return 0;
	}
	return send_with_care(chan, item);
}

static ZS_NOINLINE int recv_with_care(struct zs_chan *chan, void *item)
{
	struct zs_worker *worker = zs_worker_self;
	int ret;

	if (zs_chan_is_bad(chan, item))
		return zs_explain_none(-EINVAL);
	ret = zs_wait_check(worker);
	if (ret < 0)
		return ret;
	if (recv_quickly(chan, worker, item))
		return zs_wait_was_not_needed(worker);
	return zs_chan_recv_slowly(chan, item, ZS_CHAN_WAITS);
}

ZS_PUBLIC int zs_chan_recv(struct zs_chan *chan, void *item)
{
	struct zs_worker *worker = zs_worker_self;

	if (zs_likely(chan) && zs_likely(item) &&
	    zs_likely(enter_as_owner(chan, worker))) {
		bool can = zs_chan_has_place(&chan->out) && is_word(chan);

		if (zs_likely(can))
			get_word(chan, item);
		zs_bias_leave(&chan->bias);
		if (zs_likely(can))
			return 0;
	}
	return recv_with_care(chan, item);
}

ZS_PUBLIC int zs_chan_try_send(struct zs_chan *chan, const void *item)
{
	if (zs_unlikely(zs_chan_is_bad(chan, item)))
		return zs_explain_none(-EINVAL);
	if (send_quickly(chan, zs_worker_self, item))
		return 0;
	return zs_chan_send_slowly(chan, item, ZS_CHAN_TRIES);
}

ZS_PUBLIC int zs_chan_try_recv(struct zs_chan *chan, void *item)
{
	if (zs_unlikely(zs_chan_is_bad(chan, item)))
		return zs_explain_none(-EINVAL);
	if (recv_quickly(chan, zs_worker_self, item))
		return 0;
	return zs_chan_recv_slowly(chan, item, ZS_CHAN_TRIES);
}
