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
#include "sync/gate.h"

struct zs_broadcast {
	struct zs_gate gate; /* of what is not constant */
	bool is_closed;
	size_t item_size; /* constant */
	size_t capacity;  /* constant */
	uint64_t count;	  /* items sent */
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
	zs_gate_enter(&broadcast->gate);
	is_awaited = !zs_gate_is_clear(&broadcast->gate);
	zs_gate_leave(&broadcast->gate);
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
	zs_gate_enter(&broadcast->gate);
	broadcast->is_closed = true;
	zs_wakes_add_all(&wakes, zs_gate_waiters(&broadcast->gate), -EPIPE);
	zs_gate_leave_and_wake(&broadcast->gate, &wakes);
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

	while ((waiter = zs_waiters_take(zs_gate_waiters(&broadcast->gate)))) {
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
	zs_gate_enter(&broadcast->gate);
	if (!broadcast->is_closed) {
		copy(broadcast, place_of(broadcast, broadcast->count), item);
		broadcast->count++;
		give(broadcast, item, &wakes);
		ret = 0;
	}
	zs_gate_leave_and_wake(&broadcast->gate, &wakes);
	return ret < 0 ? zs_explain_none(ret) : 0;
}

/* --- receiving --- */

ZS_PUBLIC int zs_broadcast_subscribe(struct zs_broadcast *broadcast,
				     struct zs_subscription *subscription)
{
	if (!broadcast || !subscription)
		return zs_explain_none(-EINVAL);
	subscription->broadcast = broadcast;
	zs_gate_enter(&broadcast->gate);
	subscription->next = broadcast->count;
	zs_gate_leave(&broadcast->gate);
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

static ZS_RACY void describe(const void *object, struct zs_text *text)
{
	zs_gate_describe(object, text, "an item of broadcast ");
}

static const struct zs_wait_type listening = {
	.cancel = zs_gate_cancel,
	.describe = describe,
};

/* With the lock, which is released. */
static int64_t wait_for_one(struct zs_subscription *subscription, void *item)
{
	struct zs_broadcast *broadcast = subscription->broadcast;
	struct zs_waiter waiter;
	int ret;

	zs_waiter_init(&waiter, zs_worker_self, &broadcast->gate);
	waiter.item = item;
	ret = zs_gate_wait(&broadcast->gate, &waiter, &listening);
	if (ret == 0)
		subscription->next++;
	return ret == -EPIPE ? zs_explain_none(ret) : ret;
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
	zs_gate_enter(&subscription->broadcast->gate);
	ret = receive(subscription, item);
	if (ret == -EAGAIN)
		return wait_for_one(subscription, item);
	zs_gate_leave(&subscription->broadcast->gate);
	zs_wait_was_not_needed(worker);
	return ret < 0 ? zs_explain_none((int)ret) : ret;
}

ZS_PUBLIC int64_t zs_subscription_try_recv(struct zs_subscription *subscription,
					   void *item)
{
	int64_t ret;

	if (is_bad_subscription(subscription, item))
		return zs_explain_none(-EINVAL);
	zs_gate_enter(&subscription->broadcast->gate);
	ret = receive(subscription, item);
	zs_gate_leave(&subscription->broadcast->gate);
	return ret < 0 ? zs_explain_none((int)ret) : ret;
}
