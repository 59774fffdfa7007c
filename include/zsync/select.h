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

#include <zsync/cancel.h>
#include <zsync/chan.h>
#include <zsync/join.h>

#ifdef __cplusplus
extern "C" {
#endif

enum zs_select_kind {
	ZS_SELECT_KIND_RECV,
	ZS_SELECT_KIND_SEND,
	ZS_SELECT_KIND_FD,
	ZS_SELECT_KIND_TOKEN,
	ZS_SELECT_KIND_JOIN,
};

struct zs_select_case {
	uint32_t kind; /* enum zs_select_kind */
	/* Set for the case that happened. A channel: 0, or -EPIPE if it is
	 * closed. A descriptor: what is ready. A token: why it is cancelled, an
	 * enum zs_cancel_reason, or -ESTALE if it is closed. A task, which is
	 * not the calling one: 0, or -ESTALE if somebody else has joined it, or
	 * its nursery is closed. Or another negative errno of the call that the
	 * case stands for. */
	int32_t result;
	struct zs_chan *chan; /* NULL: this case never happens */
	void *item;	      /* of a join: int, what the task returned */
	int fd;		      /* negative: this case never happens */
	int events;	      /* as for poll(2) */
	struct zs_cancel_token token;
	struct zs_task_handle handle;
};

#define ZS_SELECT_NO_TOKEN_ \
	{                   \
		NULL, 0     \
	}
#define ZS_SELECT_NO_HANDLE_  \
	{                     \
		NULL, NULL, 0 \
	}

#define ZS_SELECT_RECV(chan, item)                                \
	{                                                         \
		ZS_SELECT_KIND_RECV, 0, chan, item, -1, 0,        \
			ZS_SELECT_NO_TOKEN_, ZS_SELECT_NO_HANDLE_ \
	}
/* The item is only read. */
#define ZS_SELECT_SEND(chan, item)                                           \
	{                                                                    \
		ZS_SELECT_KIND_SEND, 0, chan, (void *)(uintptr_t)(item), -1, \
			0, ZS_SELECT_NO_TOKEN_, ZS_SELECT_NO_HANDLE_         \
	}
#define ZS_SELECT_FD(fd, events)                                  \
	{                                                         \
		ZS_SELECT_KIND_FD, 0, NULL, NULL, fd, events,     \
			ZS_SELECT_NO_TOKEN_, ZS_SELECT_NO_HANDLE_ \
	}
/* That a token is cancelled, or closed. */
#define ZS_SELECT_TOKEN(token)                                     \
	{                                                          \
		ZS_SELECT_KIND_TOKEN, 0, NULL, NULL, -1, 0, token, \
			ZS_SELECT_NO_HANDLE_                       \
	}
/* That a task has ended, which is joined by it; @result may be NULL. */
#define ZS_SELECT_JOIN(handle, result)                       \
	{                                                    \
		ZS_SELECT_KIND_JOIN, 0, NULL, result, -1, 0, \
			ZS_SELECT_NO_TOKEN_, handle          \
	}

/* As a deadline: look, but do not wait. */
#define ZS_SELECT_NOW INT64_MIN

/*
 * Any thread; outside a task it blocks the thread, and may have channels only.
 * What is no channel is waited for by a task of the select's own. Waits until
 * one of the @number cases can happen, or until @deadline_ns, a point in time,
 * ZS_NEVER or ZS_SELECT_NOW. If several can, each is as likely as the others.
 * The number of the case that happened, whose result is set. Else nothing has
 * happened: -EAGAIN (none can now), -ETIMEDOUT (the deadline, or that of the
 * scope, has passed), -ECANCELED; -EPERM (what is no channel, outside a task; a
 * worker's thread without a task); -EINVAL; -ENOMEM, for what more than
 * ZS_SELECT_INLINE cases take, or a task that is to wait; -EDEADLK.
 */
int zs_select(struct zs_select_case *cases, size_t number, int64_t deadline_ns);

/* So many cases need no memory but the stack's. */
#define ZS_SELECT_INLINE 8

#ifdef __cplusplus
}
#endif
#endif
