/* SPDX-License-Identifier: MIT */
/* Channels: several items at a time. Called by tasks and by any thread. What
 * can be done with one lock is done with it held once. */
#include <errno.h>

#include "base/explain.h"
#include "sync/chan.h"

/* --- sending --- */

static size_t put_many(struct zs_chan *chan, const unsigned char *items,
		       size_t number)
{
	size_t done = 0;

	while (done < number && zs_chan_can_put(chan)) {
		zs_chan_put(chan, items + done * chan->item_size);
		done++;
	}
	return done;
}

static size_t send_some(struct zs_chan *chan, struct zs_worker *worker,
			const unsigned char *items, size_t number)
{
	bool by_bias = zs_chan_take_end(chan, &chan->in, worker);
	size_t done = put_many(chan, items, number);

	zs_chan_release_end(chan, &chan->in, by_bias);
	return done;
}

ZS_PUBLIC ssize_t zs_chan_send_many(struct zs_chan *chan, const void *items,
				    size_t number)
{
	struct zs_worker *worker = zs_worker_self;
	const unsigned char *next = items;
	size_t done = 0;
	int ret;

	if (number > PTRDIFF_MAX || zs_chan_is_bad(chan, items))
		return zs_explain_none(-EINVAL);
	ret = zs_wait_check(worker);
	while (ret == 0 && done < number) {
		next = (const unsigned char *)items + done * chan->item_size;
		done += send_some(chan, worker, next, number - done);
		if (done == number)
			break;
		next = (const unsigned char *)items + done * chan->item_size;
		ret = zs_chan_send_slowly(chan, next, ZS_CHAN_WAITS);
		if (ret < 0)
			break;
		done++;
		/* A cancel that came when the wait was over already. */
		ret = zs_wait_check(worker);
	}
	zs_wait_was_not_needed(worker);
	return done > 0 ? (ssize_t)done : ret;
}

/* --- receiving --- */

static size_t get_many(struct zs_chan *chan, unsigned char *items, size_t most)
{
	size_t done = 0;

	while (done < most && zs_chan_can_get(chan)) {
		zs_chan_get(chan, items + done * chan->item_size);
		done++;
	}
	return done;
}

static size_t recv_some(struct zs_chan *chan, struct zs_worker *worker,
			unsigned char *items, size_t most)
{
	bool by_bias = zs_chan_take_end(chan, &chan->out, worker);
	size_t done = get_many(chan, items, most);

	zs_chan_release_end(chan, &chan->out, by_bias);
	return done;
}

/* What senders wait with is there, too. */
static size_t recv_from_waiting(struct zs_chan *chan, struct zs_worker *worker,
				unsigned char *items, size_t most)
{
	struct zs_wakes wakes;
	size_t done = 0;
	bool by_bias;

	zs_wakes_init(&wakes);
	by_bias = zs_chan_take_both(chan, worker);
	while (done < most &&
	       zs_chan_recv_locked(chan, items + done * chan->item_size,
				   &wakes) == 0)
		done++;
	zs_chan_release_both(chan, by_bias);
	zs_wakes_do(&wakes);
	return done;
}

ZS_PUBLIC ssize_t zs_chan_recv_many(struct zs_chan *chan, void *items,
				    size_t most)
{
	struct zs_worker *worker = zs_worker_self;
	unsigned char *next = items;
	size_t done = 0;
	int ret;

	if (most == 0 || most > PTRDIFF_MAX || zs_chan_is_bad(chan, items))
		return zs_explain_none(-EINVAL);
	ret = zs_wait_check(worker);
	if (ret < 0)
		return ret;
	done = recv_some(chan, worker, next, most);
	if (done == 0)
		done = recv_from_waiting(chan, worker, next, most);
	if (done == 0) {
		ret = zs_chan_recv_slowly(chan, next, ZS_CHAN_WAITS);
		if (ret < 0)
			return ret;
		done = 1 + recv_some(chan, worker, next + chan->item_size,
				     most - 1);
	}
	zs_wait_was_not_needed(worker);
	return (ssize_t)done;
}
