/* SPDX-License-Identifier: MIT */
/* Channels: making, closing and unmaking them, and their memory. Called by any
 * thread; the segments, by those who send and receive. */
#include <errno.h>
#include <stdlib.h>

#include "base/explain.h"
#include "sync/chan.h"

enum {
	/* Bytes of items in a segment of an unbounded channel: a page with what
	 * malloc() adds, or as much as a few large ones take. */
	SEGMENT_BYTES = 4032,
	SEGMENT_LEAST = 4, /* items */
	AT_A_TIME = 128,   /* items */
};

/* --- segments --- */

static struct zs_segment *make_segment(const struct zs_chan *chan)
{
	size_t bytes = chan->per_segment * chan->stride;
	int saved_errno = errno;
	struct zs_segment *segment = malloc(sizeof(*segment) + bytes);

	errno = saved_errno;
	if (!segment)
		return NULL;
	segment->next = NULL;
	segment->end = segment->items + bytes;
	return segment;
}

/* acq_rel, here and below: what its last user did comes before. */
static struct zs_segment *take_spare(struct zs_chan *chan)
{
	return atomic_exchange_explicit(&chan->spare, NULL,
					memory_order_acq_rel);
}

/* The next place is the first of another segment. False: no memory. */
static bool go_on_writing(struct zs_chan *chan)
{
	struct zs_chan_end *in = &chan->in;
	struct zs_segment *next = in->segment->next;

	if (!next) {
		next = take_spare(chan);
		if (!next)
			next = make_segment(chan);
		if (!next)
			return false;
		next->next = NULL;
		/* Seen by the receiver that acquires the count of the item in
		 * it. */
		in->segment->next = next;
	}
	in->segment = next;
	in->place = next->items;
	return true;
}

static void go_on_reading(struct zs_chan *chan)
{
	struct zs_chan_end *out = &chan->out;
	struct zs_segment *last = out->segment;

	out->segment = last->next;
	out->place = last->next->items;
	if (out->segment != last)
		free(atomic_exchange_explicit(&chan->spare, last,
					      memory_order_acq_rel));
}

/* --- how far an end may go --- */

/* @number items lie, or fit, from the end's place on, in this segment or in
 * more. Not too many at a time, so that who never waits is seen now and then.
 */
static void set_limit(const struct zs_chan *chan, struct zs_chan_end *end,
		      uint64_t number)
{
	size_t left = (size_t)(end->segment->end - end->place);
	size_t bytes = (number < AT_A_TIME ? number : AT_A_TIME) * chan->stride;

	end->limit = end->place + (bytes < left ? bytes : left);
}

bool zs_chan_find_room(struct zs_chan *chan)
{
	struct zs_chan_end *in = &chan->in;
	uint64_t room;

	if (in->is_closed)
		return false;
	/* relaxed: written under this lock. acquire: the places have been
	 * read. */
	room = chan->capacity -
	       (atomic_load_explicit(&in->count, memory_order_relaxed) -
		atomic_load_explicit(&chan->out.count, memory_order_acquire));
	if (room == 0)
		return false;
	if (in->place == in->segment->end && !go_on_writing(chan)) {
		in->limit = in->place;
		return false;
	}
	set_limit(chan, in, room);
	return true;
}

bool zs_chan_find_items(struct zs_chan *chan)
{
	struct zs_chan_end *out = &chan->out;
	uint64_t number;

	/* acquire: the items. relaxed: written under this lock. */
	number = atomic_load_explicit(&chan->in.count, memory_order_acquire) -
		 atomic_load_explicit(&out->count, memory_order_relaxed);
	if (number == 0)
		return false;
	if (out->place == out->segment->end)
		go_on_reading(chan);
	set_limit(chan, out, number);
	return true;
}

/* --- life --- */

/* When the runtime ends no task waits any more. A channel may outlive it. */
static ZS_RACY bool describe_leak(const struct zs_leak_entry *entry,
				  struct zs_text *text)
{
	const struct zs_chan *chan =
		zs_container_of(entry, struct zs_chan, leak);

	if (zs_waiters_are_none(&chan->in.waiters) &&
	    zs_waiters_are_none(&chan->out.waiters))
		return false;
	zs_text_add(text, "in which threads wait");
	return true;
}

static int explain_memory(size_t item_size, size_t capacity)
{
	return zs_explain_as(-ENOMEM,
			     "no memory for a channel of %zu items of %zu "
			     "bytes; or take ZS_CHAN_UNBOUNDED",
			     capacity, item_size);
}

static int make_first_segment(struct zs_chan *chan, size_t capacity)
{
	size_t bytes;

	chan->per_segment = capacity;
	if (capacity == ZS_CHAN_UNBOUNDED) {
		chan->per_segment = SEGMENT_BYTES / chan->stride;
		if (chan->per_segment < SEGMENT_LEAST)
			chan->per_segment = SEGMENT_LEAST;
	}
	if (__builtin_mul_overflow(chan->per_segment, chan->stride, &bytes) ||
	    bytes > PTRDIFF_MAX - sizeof(struct zs_segment))
		return -ENOMEM;
	chan->in.segment = make_segment(chan);
	if (!chan->in.segment)
		return -ENOMEM;
	if (capacity != ZS_CHAN_UNBOUNDED)
		chan->in.segment->next = chan->in.segment;
	chan->out.segment = chan->in.segment;
	chan->in.place = chan->in.segment->items;
	chan->in.limit = chan->in.place;
	chan->out.place = chan->in.place;
	chan->out.limit = chan->in.place;
	return 0;
}

ZS_PUBLIC int zs_chan_create(struct zs_chan **chan, size_t item_size,
			     size_t capacity)
{
	struct zs_chan *made;
	int saved_errno = errno;

	if (!chan)
		return zs_explain_none(-EINVAL);
	if (item_size > ZS_CHAN_ITEM_MAX)
		return zs_explain_as(-EINVAL,
				     "an item of %zu bytes is over "
				     "ZS_CHAN_ITEM_MAX, %d: send a pointer",
				     item_size, ZS_CHAN_ITEM_MAX);
	made = aligned_alloc(ZS_CACHE_LINE, sizeof(*made));
	errno = saved_errno;
	if (!made)
		return explain_memory(item_size, capacity);
	memset(made, 0, sizeof(*made));
	made->item_size = item_size;
	/* So that a place is never its segment's end for want of size. */
	made->stride = item_size > 0 ? item_size : 1;
	made->capacity = capacity == ZS_CHAN_UNBOUNDED ? UINT64_MAX : capacity;
	if (capacity > 0 && make_first_segment(made, capacity) < 0) {
		free(made);
		return explain_memory(item_size, capacity);
	}
	zs_leaks_add(&made->leak, "channel", describe_leak);
	*chan = made;
	return 0;
}

ZS_PUBLIC int zs_chan_create_oneshot(struct zs_chan **chan, size_t item_size)
{
	int ret = zs_chan_create(chan, item_size, 1);

	if (ret == 0)
		(*chan)->is_oneshot = true;
	return ret;
}

static void free_segments(struct zs_chan *chan)
{
	struct zs_segment *segment = chan->out.segment;

	while (segment && segment != chan->in.segment) {
		struct zs_segment *next = segment->next;

		free(segment);
		segment = next;
	}
	free(chan->in.segment);
	free(take_spare(chan));
}

ZS_PUBLIC int zs_chan_destroy(struct zs_chan *chan)
{
	bool by_bias, is_awaited;

	if (!chan)
		return 0;
	/* Whoever used it last, elsewhere, has released it. */
	by_bias = zs_chan_take_both(chan, zs_worker_self);
	is_awaited = !zs_waiters_are_none(&chan->in.waiters) ||
		     !zs_waiters_are_none(&chan->out.waiters);
	zs_chan_release_both(chan, by_bias);
	if (is_awaited)
		return zs_explain_as(-EBUSY,
				     "somebody waits in the channel: close it, "
				     "and join them");
	zs_leaks_remove(&chan->leak);
	free_segments(chan);
	free(chan);
	return 0;
}

void zs_chan_close_locked(struct zs_chan *chan, struct zs_wakes *wakes)
{
	chan->in.is_closed = true;
	chan->in.limit = chan->in.place;
	chan->out.is_closed = true;
	zs_wakes_add_all(wakes, &chan->in.waiters, -EPIPE);
	zs_wakes_add_all(wakes, &chan->out.waiters, -EPIPE);
}

ZS_PUBLIC int zs_chan_close(struct zs_chan *chan)
{
	struct zs_wakes wakes;
	bool by_bias;

	if (!chan)
		return zs_explain_none(-EINVAL);
	zs_wakes_init(&wakes);
	by_bias = zs_chan_take_both(chan, zs_worker_self);
	zs_chan_close_locked(chan, &wakes);
	zs_chan_release_both(chan, by_bias);
	zs_wakes_do(&wakes);
	return 0;
}

ZS_PUBLIC ssize_t zs_chan_count(struct zs_chan *chan)
{
	uint64_t in, out;

	if (!chan)
		return zs_explain_none(-EINVAL);
	/* acquire: the second is not older than the first, so that it is never
	 * less. relaxed: no item is looked at. */
	out = atomic_load_explicit(&chan->out.count, memory_order_acquire);
	in = atomic_load_explicit(&chan->in.count, memory_order_relaxed);
	return (ssize_t)(in - out);
}
