/* SPDX-License-Identifier: MIT */
/*
 * Waiting for one of several things: zs_select() waits until one of its cases
 * can happen, lets exactly that one happen, and leaves the others as if they
 * had never been asked for.
 *
 *	struct zs_select_case cases[] = {
 *		ZS_SELECT_RECV(jobs, &job),
 *		ZS_SELECT_SEND(results, &result),
 *		ZS_SELECT_FD(socket, POLLIN),
 *	};
 *
 *	switch (zs_select(cases, 3, zs_now() + ZS_SECOND)) {
 *	case 0:
 *		...
 */
#ifndef ZSYNC_SELECT_H
#define ZSYNC_SELECT_H

#include <stddef.h>
#include <stdint.h>

#include <zsync/chan.h>

#ifdef __cplusplus
extern "C" {
#endif

enum zs_select_kind {
	ZS_SELECT_KIND_RECV,
	ZS_SELECT_KIND_SEND,
	ZS_SELECT_KIND_FD,
};

struct zs_select_case {
	uint32_t kind; /* enum zs_select_kind */
	/* Set for the case that happened: 0, or -EPIPE if its channel is
	 * closed; what is ready, for a descriptor, or a negative errno. */
	int32_t result;
	struct zs_chan *chan; /* NULL: this case never happens */
	void *item;
	int fd;	    /* negative: this case never happens */
	int events; /* as for poll(2) */
};

#define ZS_SELECT_RECV(chan, item)                        \
	{                                                 \
		ZS_SELECT_KIND_RECV, 0, chan, item, -1, 0 \
	}
/* The item is only read. */
#define ZS_SELECT_SEND(chan, item)                                             \
	{                                                                      \
		ZS_SELECT_KIND_SEND, 0, chan, (void *)(uintptr_t)(item), -1, 0 \
	}
#define ZS_SELECT_FD(fd, events)                             \
	{                                                    \
		ZS_SELECT_KIND_FD, 0, NULL, NULL, fd, events \
	}

/* As a deadline: look, but do not wait. */
#define ZS_SELECT_NOW INT64_MIN

/*
 * Any thread; outside a task it blocks the thread, and may have channels only.
 * Waits until one of the @number cases can happen, or until @deadline_ns, a
 * point in time, ZS_NEVER or ZS_SELECT_NOW. If several can, each is as likely
 * as the others. The number of the case that happened, whose result is set.
 * Else nothing has happened: -EAGAIN (none can now), -ETIMEDOUT (the deadline,
 * or that of the scope, has passed), -ECANCELED; -EPERM (a descriptor, outside
 * a task; a worker's thread without a task); -EINVAL; -ENOMEM, for what more
 * than ZS_SELECT_INLINE cases take.
 */
int zs_select(struct zs_select_case *cases, size_t number, int64_t deadline_ns);

/* So many cases need no memory but the stack's. */
#define ZS_SELECT_INLINE 8

#ifdef __cplusplus
}
#endif
#endif
