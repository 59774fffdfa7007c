/* SPDX-License-Identifier: MIT */
/*
 * One to many: a broadcast gives each item to all who listen, a watch the
 * latest of a value to all who look. Senders never wait, whoever is slow: who
 * listens is told how many items it has missed, who watches sees the newest.
 *
 *	struct zs_subscription news;
 *
 *	zs_broadcast_subscribe(broadcast, &news);
 *	...
 *	while ((missed = zs_subscription_recv(&news, &item)) >= 0)
 *		...
 *
 * Any thread, in both, as for channels (zsync/chan.h): in a task a call that
 * waits parks the task and is ended by a cancel or a deadline of its scope,
 * elsewhere it blocks the thread.
 */
#ifndef ZSYNC_BROADCAST_H
#define ZSYNC_BROADCAST_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Largest item or value, in bytes. */
#define ZS_BROADCAST_ITEM_MAX 4096

struct zs_broadcast;

/* One who listens: the caller's memory, used by one task or thread at a time,
 * and of no concern to the broadcast while no call is under way. */
struct zs_subscription {
	struct zs_broadcast *broadcast;
	uint64_t next; /* the number of the item that it gets next */
};

/* Makes a broadcast that keeps the last @capacity items for those who have not
 * received them. 0, -EINVAL (NULL, no capacity, or an item over
 * ZS_BROADCAST_ITEM_MAX) or -ENOMEM. */
int zs_broadcast_create(struct zs_broadcast **broadcast, size_t item_size,
			size_t capacity);
/* When nobody uses it any more: all calls on it have returned, also those that
 * a close has ended. NULL is fine. 0, or -EBUSY: somebody waits. */
int zs_broadcast_destroy(struct zs_broadcast *broadcast);

/* Never waits: the oldest item is dropped for it. 0, -EPIPE (closed) or
 * -EINVAL. */
int zs_broadcast_send(struct zs_broadcast *broadcast, const void *item);

/* Nothing more can be sent; what is kept can be received still. 0, also if it
 * is closed already; -EINVAL. */
int zs_broadcast_close(struct zs_broadcast *broadcast);

/* Fills *subscription: it gets what is sent from now on. 0 or -EINVAL. */
int zs_broadcast_subscribe(struct zs_broadcast *broadcast,
			   struct zs_subscription *subscription);

/* Copies the next item to *item; waits while there is none. How many items were
 * dropped before it that this subscription should have got, 0 if it keeps up;
 * -EPIPE (closed, and all received), -ECANCELED, -ETIMEDOUT, -EPERM, -EINVAL.
 */
int64_t zs_subscription_recv(struct zs_subscription *subscription, void *item);
/* Without waiting: -EAGAIN; not ended by a cancel. */
int64_t zs_subscription_try_recv(struct zs_subscription *subscription,
				 void *item);

struct zs_watch;

/* Makes a watch on a value of @size bytes, which is *initial at first, and its
 * version 1. 0, -EINVAL or -ENOMEM. */
int zs_watch_create(struct zs_watch **watch, size_t size, const void *initial);
/* When nobody uses it any more: all calls on it have returned, also those that
 * a close has ended. NULL is fine. 0, or -EBUSY: somebody waits. */
int zs_watch_destroy(struct zs_watch *watch);

/* Never waits. Another value, and a version that is higher by one. 0, -EPIPE
 * (closed) or -EINVAL. */
int zs_watch_set(struct zs_watch *watch, const void *value);

/* Never waits. Copies the value to *value; its version, or -EINVAL. */
int64_t zs_watch_get(struct zs_watch *watch, void *value);

/* Waits until the version is another one than @seen, which the caller has from
 * an earlier call (0: none yet), and copies the value to *value. Its version;
 * -EPIPE (closed, and @seen is the last), -ECANCELED, -ETIMEDOUT, -EPERM,
 * -EINVAL. Versions in between may be missed. */
int64_t zs_watch_await(struct zs_watch *watch, int64_t seen, void *value);

/* The value can be read still, but is the last one. 0, also if it is closed
 * already; -EINVAL. */
int zs_watch_close(struct zs_watch *watch);

#ifdef __cplusplus
}
#endif
#endif
