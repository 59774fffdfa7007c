/* SPDX-License-Identifier: MIT */
/*
 * Broadcasts; called by tasks and by any thread. The items are in a ring that
 * senders write round and round, under a lock. Who has received all and waits
 * is given the next item by its sender.
 */
#include "zsync/broadcast.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/explain.h"
#include "base/text.h"
#include "sync/lock.h"
#include "sync/wait.h"

struct zs_broadcast {
	struct zs_lock lock;
	bool is_closed;
	size_t item_size; /* constant */
	size_t capacity;  /* constant */
	uint64_t count;	  /* items sent */
	struct zs_waiters waiters;
	unsigned char items[];
};

static unsigned char *place_of(struct zs_broadcast *broadcast, uint64_t number)
{
	return broadcast->items +
	       number % broadcast->capacity * broadcast->item_size;
}

static void copy(const struct zs_broadcast *broadcast, void *to,
		 const void *from)
{
	if (broadcast->item_size > 0)
		memcpy(to, from, broadcast->item_size);
}

/* --- life --- */

ZS_PUBLIC int zs_broadcast_create(struct zs_broadcast **broadcast,
				  size_t item_size, size_t capacity)
{
	struct zs_broadcast *made;
	int saved_errno = errno;
	size_t bytes;

	if (!broadcast || capacity == 0 || item_size > ZS_BROADCAST_ITEM_MAX)
		return zs_explain_as(-EINVAL,
				     "a broadcast keeps at least one item, of "
				     "at most %d bytes",
				     ZS_BROADCAST_ITEM_MAX);
	made = NULL;
	if (!__builtin_mul_overflow(item_size, capacity, &bytes) &&
	    bytes <= PTRDIFF_MAX - sizeof(*made))
		made = calloc(1, sizeof(*made) + bytes);
	errno = saved_errno;
	if (!made)
		return zs_explain_as(-ENOMEM,
				     "no memory for %zu items of %zu bytes",
				     capacity, item_size);
	made->item_size = item_size;
	made->capacity = capacity;
	*broadcast = made;
	return 0;
}

ZS_PUBLIC int zs_broadcast_destroy(struct zs_broadcast *broadcast)
{
	bool is_awaited;

	if (!broadcast)
		return 0;
	zs_lock_take(&broadcast->lock);
	is_awaited = !zs_waiters_are_none(&broadcast->waiters);
	zs_lock_release(&broadcast->lock);
	if (is_awaited)
		return zs_explain_as(-EBUSY,
				     "somebody waits in the broadcast: close "
				     "it, and join them");
	free(broadcast);
	return 0;
}

ZS_PUBLIC int zs_broadcast_close(struct zs_broadcast *broadcast)
{
	struct zs_wakes wakes;

	if (!broadcast)
		return zs_explain_none(-EINVAL);
	zs_wakes_init(&wakes);
	zs_lock_take(&broadcast->lock);
	broadcast->is_closed = true;
	zs_wakes_add_all(&wakes, &broadcast->waiters, -EPIPE);
	zs_lock_release(&broadcast->lock);
	zs_wakes_do(&wakes);
	return 0;
}

/* --- sending --- */

static bool is_bad(const struct zs_broadcast *broadcast, const void *item)
{
	return !broadcast || (!item && broadcast->item_size > 0);
}

/* To those who wait: they have all that was sent before. */
static void give(struct zs_broadcast *broadcast, const void *item,
		 struct zs_wakes *wakes)
{
	struct zs_waiter *waiter;

	while ((waiter = zs_waiters_take(&broadcast->waiters))) {
		copy(broadcast, waiter->item, item);
		zs_wakes_add(wakes, waiter, 0);
	}
}

ZS_PUBLIC int zs_broadcast_send(struct zs_broadcast *broadcast,
				const void *item)
{
	struct zs_wakes wakes;
	int ret = -EPIPE;

	if (is_bad(broadcast, item))
		return zs_explain_none(-EINVAL);
	zs_wakes_init(&wakes);
	zs_lock_take(&broadcast->lock);
	if (!broadcast->is_closed) {
		copy(broadcast, place_of(broadcast, broadcast->count), item);
		broadcast->count++;
		give(broadcast, item, &wakes);
		ret = 0;
	}
	zs_lock_release(&broadcast->lock);
	zs_wakes_do(&wakes);
	return ret < 0 ? zs_explain_none(ret) : 0;
}

/* --- receiving --- */

ZS_PUBLIC int zs_broadcast_subscribe(struct zs_broadcast *broadcast,
				     struct zs_subscription *subscription)
{
	if (!broadcast || !subscription)
		return zs_explain_none(-EINVAL);
	subscription->broadcast = broadcast;
	zs_lock_take(&broadcast->lock);
	subscription->next = broadcast->count;
	zs_lock_release(&broadcast->lock);
	return 0;
}

/* Under the lock. How many were missed; -EAGAIN or -EPIPE. */
static int64_t receive(struct zs_subscription *subscription, void *item)
{
	struct zs_broadcast *broadcast = subscription->broadcast;
	uint64_t behind = broadcast->count - subscription->next;
	uint64_t missed = 0;

	if (behind == 0)
		return broadcast->is_closed ? -EPIPE : -EAGAIN;
	if (behind > broadcast->capacity)
		missed = behind - broadcast->capacity;
	subscription->next += missed;
	copy(broadcast, item, place_of(broadcast, subscription->next));
	subscription->next++;
	return (int64_t)missed;
}

static void cancel(struct zs_task *task)
{
	/* The task's own, on its stack: const only for those who look on. */
	struct zs_waiter *waiter =
		(struct zs_waiter *)(uintptr_t)task->waits_on;
	struct zs_broadcast *broadcast = waiter->primitive;
	bool is_in_time;

	zs_lock_take(&broadcast->lock);
	is_in_time = waiter->is_queued;
	if (is_in_time)
		zs_waiters_remove(&broadcast->waiters, waiter);
	zs_lock_release(&broadcast->lock);
	if (is_in_time)
		zs_wait_cancel(waiter);
}

static ZS_RACY void describe(const void *object, struct zs_text *text)
{
	const struct zs_waiter *waiter = object;

	zs_text_add(text, "an item of broadcast ");
	zs_text_add_hex(text, (uintptr_t)waiter->primitive);
}

static const struct zs_wait_type listening = {
	.cancel = cancel,
	.describe = describe,
};

/* With the lock, which is released. */
static int64_t wait_for_one(struct zs_subscription *subscription, void *item)
{
	struct zs_broadcast *broadcast = subscription->broadcast;
	struct zs_waiter waiter;

	zs_waiter_init(&waiter, zs_worker_self, broadcast);
	waiter.item = item;
	zs_waiters_append(&broadcast->waiters, &waiter);
	zs_lock_release(&broadcast->lock);
	zs_wait(&waiter, &listening, &waiter);
	if (waiter.result < 0)
		return zs_explain_none(waiter.result);
	subscription->next++;
	return 0;
}

static bool is_bad_subscription(const struct zs_subscription *subscription,
				const void *item)
{
	return !subscription || is_bad(subscription->broadcast, item);
}

ZS_PUBLIC int64_t zs_subscription_recv(struct zs_subscription *subscription,
				       void *item)
{
	struct zs_worker *worker = zs_worker_self;
	int64_t ret;

	if (is_bad_subscription(subscription, item))
		return zs_explain_none(-EINVAL);
	ret = zs_wait_check(worker);
	if (ret < 0)
		return ret;
	zs_lock_take(&subscription->broadcast->lock);
	ret = receive(subscription, item);
	if (ret == -EAGAIN)
		return wait_for_one(subscription, item);
	zs_lock_release(&subscription->broadcast->lock);
	zs_wait_was_not_needed(worker);
	return ret < 0 ? zs_explain_none((int)ret) : ret;
}

ZS_PUBLIC int64_t zs_subscription_try_recv(struct zs_subscription *subscription,
					   void *item)
{
	int64_t ret;

	if (is_bad_subscription(subscription, item))
		return zs_explain_none(-EINVAL);
	zs_lock_take(&subscription->broadcast->lock);
	ret = receive(subscription, item);
	zs_lock_release(&subscription->broadcast->lock);
	return ret < 0 ? zs_explain_none((int)ret) : ret;
}
