/* SPDX-License-Identifier: MIT */
/*
 * Channels: queues of items of one size between tasks of any worker, and other
 * threads. Any number may send and receive.
 *
 *	struct zs_chan *chan;
 *
 *	zs_chan_create(&chan, sizeof(struct job), 128);
 *	...
 *	ret = zs_chan_send(chan, &job);
 *	...
 *	while (zs_chan_recv(chan, &job) == 0)
 *		work_on(&job);
 *
 * Items are received in the order in which they were sent, and who waits is
 * served in the order in which they began to. A call that has to wait is ended
 * by a cancel or by a deadline of its scope (zsync/cancel.h): then nothing was
 * sent or received by it, or all was and it returns 0. A wait that nothing can
 * end any more is -EDEADLK.
 *
 * Who may call: any thread. In a task a call parks the task, elsewhere it
 * blocks the thread; on a worker's thread outside a task, in a timer's
 * function, only the try forms and what never waits may be called, the others
 * return -EPERM.
 *
 * A channel that is used by the tasks of one worker needs no lock; it notices
 * by itself when that ends. For that it wants membarrier(2); a filter of system
 * calls that is installed while a runtime runs has to go on to allow it.
 */
#ifndef ZSYNC_CHAN_H
#define ZSYNC_CHAN_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct zs_chan;

/* Largest item, in bytes. What is larger is better sent as a pointer. */
#define ZS_CHAN_ITEM_MAX 4096

/* As a capacity: as many items as there is memory for. */
#define ZS_CHAN_UNBOUNDED SIZE_MAX

/*
 * Any thread. Makes a channel for items of @item_size bytes (0: it only counts)
 * of which it holds @capacity; 0: none, each send waits for its receive
 * (rendezvous). It is the caller's, to be destroyed. Memory for all of a
 * bounded one is allocated here. 0, -EINVAL (no channel, or an item over
 * ZS_CHAN_ITEM_MAX) or -ENOMEM.
 */
int zs_chan_create(struct zs_chan **chan, size_t item_size, size_t capacity);

/* The same for a channel through which one item goes: it is closed by the send
 * of it, so that a second one is -EPIPE, and whoever waits for it needs no
 * other word. */
int zs_chan_create_oneshot(struct zs_chan **chan, size_t item_size);

/* Any thread, when nobody uses it any more: all calls on it have returned, also
 * those that a close has ended. What it holds is dropped. 0, also for NULL;
 * -EBUSY: somebody waits in it. */
int zs_chan_destroy(struct zs_chan *chan);

/* Copies *item into the channel; waits while it is full. 0, -EPIPE (closed),
 * -ECANCELED, -ETIMEDOUT, -EPERM, -EINVAL, or -ENOMEM (an unbounded one). */
int zs_chan_send(struct zs_chan *chan, const void *item);

/* Takes the oldest item out to *item; waits while there is none. 0, -EPIPE
 * (closed, and all has been received), -ECANCELED, -ETIMEDOUT, -EPERM or
 * -EINVAL. */
int zs_chan_recv(struct zs_chan *chan, void *item);

/* The same without waiting: -EAGAIN instead. Not ended by a cancel, so that a
 * channel can be emptied in a cancelled scope. */
int zs_chan_try_send(struct zs_chan *chan, const void *item);
int zs_chan_try_recv(struct zs_chan *chan, void *item);

/* Sends @number items, one after the other in memory, in this order and as many
 * at once as there is room for; others may send in between. How many were sent:
 * less than @number if it was ended early. As zs_chan_send() if none was. */
ssize_t zs_chan_send_many(struct zs_chan *chan, const void *items,
			  size_t number);

/* Waits for an item, and takes what there is by then, up to @most. How many, or
 * as zs_chan_recv(). */
ssize_t zs_chan_recv_many(struct zs_chan *chan, void *items, size_t most);

/* Never waits. Nothing more can be sent: -EPIPE, also for those who wait to.
 * What the channel holds can be received still. 0, also if it is closed
 * already; -EINVAL for NULL. */
int zs_chan_close(struct zs_chan *chan);

/* Never waits. How many items it holds, a moment ago; -EINVAL for NULL. */
ssize_t zs_chan_count(struct zs_chan *chan);

/* A program need not use all of them. */
#define ZS_CHAN_INLINE_ static inline __attribute__((__unused__))

/*
 * A channel whose items the compiler checks. ZS_CHAN_DEFINE(jobs, struct job)
 * makes a type, struct jobs, which holds a channel, and the calls above for it:
 * jobs_create(&jobs, 128), jobs_send(jobs, &job), jobs_recv(jobs, &job) and so
 * on. It is copied freely, as a pointer is.
 */
#define ZS_CHAN_DEFINE(name, type)                                           \
	struct name {                                                        \
		struct zs_chan *chan;                                        \
	};                                                                   \
	ZS_CHAN_INLINE_ int name##_create(struct name *c, size_t capacity)   \
	{                                                                    \
		return zs_chan_create(&c->chan, sizeof(type), capacity);     \
	}                                                                    \
	ZS_CHAN_INLINE_ int name##_destroy(struct name c)                    \
	{                                                                    \
		return zs_chan_destroy(c.chan);                              \
	}                                                                    \
	ZS_CHAN_INLINE_ int name##_send(struct name c, const type *item)     \
	{                                                                    \
		return zs_chan_send(c.chan, item);                           \
	}                                                                    \
	ZS_CHAN_INLINE_ int name##_recv(struct name c, type *item)           \
	{                                                                    \
		return zs_chan_recv(c.chan, item);                           \
	}                                                                    \
	ZS_CHAN_INLINE_ int name##_try_send(struct name c, const type *item) \
	{                                                                    \
		return zs_chan_try_send(c.chan, item);                       \
	}                                                                    \
	ZS_CHAN_INLINE_ int name##_try_recv(struct name c, type *item)       \
	{                                                                    \
		return zs_chan_try_recv(c.chan, item);                       \
	}                                                                    \
	ZS_CHAN_INLINE_ ssize_t name##_send_many(                            \
		struct name c, const type *items, size_t number)             \
	{                                                                    \
		return zs_chan_send_many(c.chan, items, number);             \
	}                                                                    \
	ZS_CHAN_INLINE_ ssize_t name##_recv_many(struct name c, type *items, \
						 size_t most)                \
	{                                                                    \
		return zs_chan_recv_many(c.chan, items, most);               \
	}                                                                    \
	ZS_CHAN_INLINE_ int name##_close(struct name c)                      \
	{                                                                    \
		return zs_chan_close(c.chan);                                \
	}                                                                    \
	ZS_CHAN_INLINE_ ssize_t name##_count(struct name c)                  \
	{                                                                    \
		return zs_chan_count(c.chan);                                \
	}                                                                    \
	struct name /* and a semicolon */

#ifdef __cplusplus
}
#endif
#endif
