/* SPDX-License-Identifier: MIT */
/* Watches: a value with a version, under a lock. Called by tasks and by any
 * thread. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/explain.h"
#include "sync/gate.h"
#include "zsync/broadcast.h"

struct zs_watch {
	struct zs_gate gate; /* of what is not constant */
	bool is_closed;
	size_t size; /* constant */
	int64_t version;
	unsigned char value[];
};

/* --- life --- */

ZS_PUBLIC int zs_watch_create(struct zs_watch **watch, size_t size,
			      const void *initial)
{
	struct zs_watch *made;
	int saved_errno = errno;

	if (!watch || size > ZS_BROADCAST_ITEM_MAX || (!initial && size > 0))
		return zs_explain_as(-EINVAL,
				     "a watch begins with a value, of at most "
				     "%d bytes",
				     ZS_BROADCAST_ITEM_MAX);
	made = calloc(1, sizeof(*made) + size);
	errno = saved_errno;
	if (!made)
		return zs_explain_none(-ENOMEM);
	made->size = size;
	made->version = 1;
	if (size > 0)
		memcpy(made->value, initial, size);
	*watch = made;
	return 0;
}

ZS_PUBLIC int zs_watch_destroy(struct zs_watch *watch)
{
	bool is_awaited;

	if (!watch)
		return 0;
	zs_gate_enter(&watch->gate);
	is_awaited = !zs_gate_is_clear(&watch->gate);
	zs_gate_leave(&watch->gate);
	if (is_awaited)
		return zs_explain_as(-EBUSY,
				     "somebody waits in the watch: close it, "
				     "and join them");
	free(watch);
	return 0;
}

ZS_PUBLIC int zs_watch_close(struct zs_watch *watch)
{
	struct zs_wakes wakes;

	if (!watch)
		return zs_explain_none(-EINVAL);
	zs_wakes_init(&wakes);
	zs_gate_enter(&watch->gate);
	watch->is_closed = true;
	zs_wakes_add_all(&wakes, zs_gate_waiters(&watch->gate), -EPIPE);
	zs_gate_leave_and_wake(&watch->gate, &wakes);
	return 0;
}

/* --- the value --- */

static bool is_bad(const struct zs_watch *watch, const void *value)
{
	return !watch || (!value && watch->size > 0);
}

static void copy(const struct zs_watch *watch, void *to, const void *from)
{
	if (watch->size > 0)
		memcpy(to, from, watch->size);
}

/* Who waits has seen the version before this one. */
static void give(struct zs_watch *watch, struct zs_wakes *wakes)
{
	struct zs_waiter *waiter;

	while ((waiter = zs_waiters_take(zs_gate_waiters(&watch->gate)))) {
		copy(watch, waiter->item, watch->value);
		waiter->amount = (uint64_t)watch->version;
		zs_wakes_add(wakes, waiter, 0);
	}
}

ZS_PUBLIC int zs_watch_set(struct zs_watch *watch, const void *value)
{
	struct zs_wakes wakes;
	int ret = -EPIPE;

	if (is_bad(watch, value))
		return zs_explain_none(-EINVAL);
	zs_wakes_init(&wakes);
	zs_gate_enter(&watch->gate);
	if (!watch->is_closed) {
		copy(watch, watch->value, value);
		watch->version++;
		give(watch, &wakes);
		ret = 0;
	}
	zs_gate_leave_and_wake(&watch->gate, &wakes);
	return ret < 0 ? zs_explain_none(ret) : 0;
}

ZS_PUBLIC int64_t zs_watch_get(struct zs_watch *watch, void *value)
{
	int64_t version;

	if (is_bad(watch, value))
		return zs_explain_none(-EINVAL);
	zs_gate_enter(&watch->gate);
	copy(watch, value, watch->value);
	version = watch->version;
	zs_gate_leave(&watch->gate);
	return version;
}

/* --- waiting --- */

static ZS_RACY void describe(const void *object, struct zs_text *text)
{
	zs_gate_describe(object, text, "another value of watch ");
}

static const struct zs_wait_type watching = {
	.cancel = zs_gate_cancel,
	.describe = describe,
};

/* With the lock, which is released. */
static int64_t wait_for_another(struct zs_watch *watch, void *value)
{
	struct zs_waiter waiter;
	int ret;

	zs_waiter_init(&waiter, zs_worker_self, &watch->gate);
	waiter.item = value;
	ret = zs_gate_wait(&watch->gate, &waiter, &watching);
	if (ret == 0)
		return (int64_t)waiter.amount;
	return ret == -EPIPE ? zs_explain_none(ret) : ret;
}

ZS_PUBLIC int64_t zs_watch_await(struct zs_watch *watch, int64_t seen,
				 void *value)
{
	struct zs_worker *worker = zs_worker_self;
	int64_t version;
	int ret;

	if (is_bad(watch, value))
		return zs_explain_none(-EINVAL);
	ret = zs_wait_check(worker);
	if (ret < 0)
		return ret;
	zs_gate_enter(&watch->gate);
	version = watch->version;
	if (version == seen && !watch->is_closed)
		return wait_for_another(watch, value);
	if (version != seen)
		copy(watch, value, watch->value);
	zs_gate_leave(&watch->gate);
	zs_wait_was_not_needed(worker);
	return version != seen ? version : zs_explain_none(-EPIPE);
}
