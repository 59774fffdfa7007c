/* SPDX-License-Identifier: MIT */
/*
 * Channels, inside: a queue with two ends, for what the public calls and
 * zs_select() do beneath its locks.
 *
 * The senders' end and the receivers' end have a lock each, on cache lines of
 * their own, and each counts the items that passed it. An end looks at the
 * other one's count only when it has used up what it knew of, its places from
 * `place` to `limit`. So a sender and a receiver on two workers meet once for
 * many items. What concerns both ends is done with both locks, the senders'
 * first: to begin to wait, to let go who waits at the other end, to close.
 * While the bias lasts (see bias.h) no lock is needed at all.
 *
 * Items are in segments. One that has a next one to go on to is filled or read
 * from its beginning to its end: that of a bounded channel, of which there is
 * one, goes on to itself. An unbounded channel gets another one when the last
 * is full, and gives back those that have been read.
 *
 * If receivers wait, nothing is in the queue and no sender waits: who sends
 * hands over. If senders wait, the queue is full: who receives takes from it
 * and lets them go on.
 */
#ifndef ZS_SYNC_CHAN_H
#define ZS_SYNC_CHAN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/compiler.h"
#include "sched/leaks.h"
#include "sync/bias.h"
#include "sync/lock.h"
#include "sync/wait.h"
#include "zsync/chan.h"

struct zs_segment {
	struct zs_segment *next;
	/* Items from here to `end`, both of this memory. */
	unsigned char *end;
	_Alignas(16) unsigned char items[];
};

struct zs_chan_end {
	unsigned char *place; /* of the next item */
	/* From there to here nothing has to be looked at. Nothing is left while
	 * somebody waits for this end, or if it is closed to senders. */
	unsigned char *limit;
	/* Items that have passed. Written under the lock. */
	_Atomic uint64_t count;
	struct zs_segment *segment;
	struct zs_lock lock;
	bool is_closed;
	/* Who waits for what is done at this end: at the senders' end the
	 * receivers, at the receivers' the senders. */
	struct zs_waiters waiters;
};

struct zs_chan {
	struct zs_bias bias;
	size_t item_size; /* constant, as is what follows */
	size_t stride;
	uint64_t capacity; /* UINT64_MAX: unbounded */
	size_t per_segment;
	bool is_oneshot; /* closed by the first item */
	struct zs_leak_entry leak;
	ZS_CACHE_ALIGNED struct zs_chan_end in; /* the senders' */
	ZS_CACHE_ALIGNED struct zs_chan_end out;
	/* A segment that was given back, for the next that is needed. */
	ZS_CACHE_ALIGNED _Atomic(struct zs_segment *) spare;
};

/* Both ends, for whoever comes. @worker is the calling thread's. True: by the
 * bias. */
static ZS_ALWAYS_INLINE bool zs_chan_take_both(struct zs_chan *chan,
					       struct zs_worker *worker)
{
	if (zs_bias_enter(&chan->bias, worker))
		return true;
	zs_lock_take(&chan->in.lock);
	zs_lock_take(&chan->out.lock);
	return false;
}

static ZS_ALWAYS_INLINE void zs_chan_release_both(struct zs_chan *chan,
						  bool by_bias)
{
	if (by_bias) {
		zs_bias_leave(&chan->bias);
		return;
	}
	zs_lock_release(&chan->out.lock);
	zs_lock_release(&chan->in.lock);
}

static ZS_ALWAYS_INLINE bool zs_chan_is_bad(const struct zs_chan *chan,
					    const void *item)
{
	return !chan || (!item && chan->item_size > 0);
}

/* One end: @end is its. True: by the bias. */
static ZS_ALWAYS_INLINE bool zs_chan_take_end(struct zs_chan *chan,
					      struct zs_chan_end *end,
					      struct zs_worker *worker)
{
	if (zs_likely(zs_bias_enter(&chan->bias, worker)))
		return true;
	zs_lock_take(&end->lock);
	return false;
}

static ZS_ALWAYS_INLINE void
zs_chan_release_end(struct zs_chan *chan, struct zs_chan_end *end, bool by_bias)
{
	if (zs_likely(by_bias))
		zs_bias_leave(&chan->bias);
	else
		zs_lock_release(&end->lock);
}

static ZS_ALWAYS_INLINE bool zs_chan_has_place(const struct zs_chan_end *end)
{
	return end->place != end->limit;
}

/* Under the end's lock. If nothing is left before its limit: looks how far the
 * other end has come, and moves it. False: there is no room, or no memory for
 * any; or no item. Not to be used while somebody waits for this end. */
bool zs_chan_find_room(struct zs_chan *chan);
bool zs_chan_find_items(struct zs_chan *chan);

static ZS_ALWAYS_INLINE bool zs_chan_has_room(struct zs_chan *chan)
{
	return zs_chan_has_place(&chan->in) || zs_chan_find_room(chan);
}

static ZS_ALWAYS_INLINE bool zs_chan_has_item(struct zs_chan *chan)
{
	return zs_chan_has_place(&chan->out) || zs_chan_find_items(chan);
}

static ZS_ALWAYS_INLINE void zs_chan_copy(const struct zs_chan *chan, void *to,
					  const void *from)
{
	if (chan->item_size == sizeof(uint64_t))
		memcpy(to, from, sizeof(uint64_t));
	else if (chan->item_size > 0)
		memcpy(to, from, chan->item_size);
}

/* One item more, or less, is in the queue. */
static ZS_ALWAYS_INLINE void zs_chan_pass(struct zs_chan_end *end,
					  size_t stride)
{
	end->place += stride;
	/* relaxed: written under this lock. release: the item, or that its
	 * place has been read. */
	atomic_store_explicit(
		&end->count,
		atomic_load_explicit(&end->count, memory_order_relaxed) + 1,
		memory_order_release);
}

/* Under the senders' lock, where there is room. */
static ZS_ALWAYS_INLINE void zs_chan_put(struct zs_chan *chan, const void *item)
{
	zs_chan_copy(chan, chan->in.place, item);
	zs_chan_pass(&chan->in, chan->stride);
}

/* Under the receivers' lock, where there is an item. */
static ZS_ALWAYS_INLINE void zs_chan_get(struct zs_chan *chan, void *item)
{
	zs_chan_copy(chan, item, chan->out.place);
	zs_chan_pass(&chan->out, chan->stride);
}

/* With one lock: is it enough, for it is not closed and nobody waits? */
static ZS_ALWAYS_INLINE bool zs_chan_can_put(struct zs_chan *chan)
{
	return zs_chan_has_place(&chan->in) ||
	       (!chan->in.is_closed && !chan->is_oneshot &&
		zs_waiters_are_none(&chan->in.waiters) &&
		zs_chan_find_room(chan));
}

static ZS_ALWAYS_INLINE bool zs_chan_can_get(struct zs_chan *chan)
{
	return zs_chan_has_place(&chan->out) ||
	       (zs_waiters_are_none(&chan->out.waiters) &&
		zs_chan_find_items(chan));
}

enum zs_chan_mode {
	ZS_CHAN_WAITS,
	ZS_CHAN_TRIES,
};

/* The whole of a call, with both locks. */
int zs_chan_send_slowly(struct zs_chan *chan, const void *item,
			enum zs_chan_mode mode);
int zs_chan_recv_slowly(struct zs_chan *chan, void *item,
			enum zs_chan_mode mode);

/*
 * Under both locks, and whole: hands @item to a receiver that waits, or puts it
 * into the queue. 0, -EAGAIN (no room), -EPIPE (closed) or -ENOMEM.
 */
int zs_chan_send_locked(struct zs_chan *chan, const void *item,
			struct zs_wakes *wakes);
/* Likewise: for good. */
void zs_chan_close_locked(struct zs_chan *chan, struct zs_wakes *wakes);
/* Likewise: takes an item from the queue, or from a sender that waits, and lets
 * senders go on for whom there is room then. 0, -EAGAIN (there is none) or
 * -EPIPE (nor will there be). */
int zs_chan_recv_locked(struct zs_chan *chan, void *item,
			struct zs_wakes *wakes);

#endif
