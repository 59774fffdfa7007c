/* SPDX-License-Identifier: MIT */
/* Watches: a value with a version, under a lock. Called by tasks and by any
 * thread. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/explain.h"
#include "base/text.h"
#include "sync/lock.h"
#include "sync/wait.h"
#include "zsync/broadcast.h"

struct zs_watch {
	struct zs_lock lock;
	bool is_closed;
	size_t size; /* constant */
	int64_t version;
	struct zs_waiters waiters;
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
	zs_lock_take(&watch->lock);
	is_awaited = !zs_waiters_are_none(&watch->waiters);
	zs_lock_release(&watch->lock);
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
	zs_lock_take(&watch->lock);
	watch->is_closed = true;
	zs_wakes_add_all(&wakes, &watch->waiters, -EPIPE);
	zs_lock_release(&watch->lock);
	zs_wakes_do(&wakes);
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

	while ((waiter = zs_waiters_take(&watch->waiters))) {
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
	zs_lock_take(&watch->lock);
	if (!watch->is_closed) {
		copy(watch, watch->value, value);
		watch->version++;
		give(watch, &wakes);
		ret = 0;
	}
	zs_lock_release(&watch->lock);
	zs_wakes_do(&wakes);
	return ret < 0 ? zs_explain_none(ret) : 0;
}

ZS_PUBLIC int64_t zs_watch_get(struct zs_watch *watch, void *value)
{
	int64_t version;

	if (is_bad(watch, value))
		return zs_explain_none(-EINVAL);
	zs_lock_take(&watch->lock);
	copy(watch, value, watch->value);
	version = watch->version;
	zs_lock_release(&watch->lock);
	return version;
}

/* --- waiting --- */

static void cancel(struct zs_task *task)
{
	/* The task's own, on its stack: const only for those who look on. */
	struct zs_waiter *waiter =
		(struct zs_waiter *)(uintptr_t)task->waits_on;
	struct zs_watch *watch = waiter->primitive;
	bool is_in_time;

	zs_lock_take(&watch->lock);
	is_in_time = waiter->is_queued;
	if (is_in_time)
		zs_waiters_remove(&watch->waiters, waiter);
	zs_lock_release(&watch->lock);
	if (is_in_time)
		zs_wait_cancel(waiter);
}

static ZS_RACY void describe(const void *object, struct zs_text *text)
{
	const struct zs_waiter *waiter = object;

	zs_text_add(text, "another value of watch ");
	zs_text_add_hex(text, (uintptr_t)waiter->primitive);
}

static const struct zs_wait_type watching = {
	.cancel = cancel,
	.describe = describe,
};

/* With the lock, which is released. */
static int64_t wait_for_another(struct zs_watch *watch, void *value)
{
	struct zs_waiter waiter;

	zs_waiter_init(&waiter, zs_worker_self, watch);
	waiter.item = value;
	zs_waiters_append(&watch->waiters, &waiter);
	zs_lock_release(&watch->lock);
	zs_wait(&waiter, &watching, &waiter);
	return waiter.result < 0 ? zs_explain_none(waiter.result) :
				   (int64_t)waiter.amount;
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
	zs_lock_take(&watch->lock);
	version = watch->version;
	if (version == seen && !watch->is_closed)
		return wait_for_another(watch, value);
	if (version != seen)
		copy(watch, value, watch->value);
	zs_lock_release(&watch->lock);
	zs_wait_was_not_needed(worker);
	return version != seen ? version : zs_explain_none(-EPIPE);
}
