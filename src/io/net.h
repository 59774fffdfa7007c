/* SPDX-License-Identifier: MIT */
/* What the files of sockets share: waiting where the kernel does not, and steps
 * on the way to a socket. Called by them, on the task. */
#ifndef ZS_IO_NET_H
#define ZS_IO_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "engine/op.h"
#include "zsync/time.h"

/* Awaits @op. Where the kernel gives up with -EAGAIN, because the descriptor is
 * O_NONBLOCK or for reasons of its own, it waits for @events and tries again.
 */
int zs_await_ready(struct zs_op *op, unsigned int events);

/* The result of a call in several steps, of which @op was cancelled or the
 * last. @keeps: its descriptor, by zs_fds_keep(). */
int zs_end_steps(bool keeps, const struct zs_op *op, int ret);

/* Between two tries, where poll is no help: the next pause after @pause_ns. */
static inline int64_t zs_longer_pause(int64_t pause_ns)
{
	if (pause_ns == 0)
		return 100 * ZS_MICROSECOND;
	return pause_ns < 6 * ZS_MILLISECOND ? 2 * pause_ns : pause_ns;
}

/* Tries @op, which has MSG_DONTWAIT and found no room, until there is some.
 * Everything is sent with MSG_DONTWAIT and waited for here. */
int zs_send_later(struct zs_op *op);

/* Goes on with what was not all sent, from the result @ret of the first try;
 * each unit of @op's length has @size bytes. As zs_send_all(). */
ssize_t zs_send_rest(struct zs_op *op, int ret, size_t size);

/* A plain system call, because it never blocks. */
int zs_set_option(int fd, int level, int option, int value);

/* SOCK_NONBLOCK where there is no ring, else 0: for sockets of our own that
 * accept or connect, which would keep a thread waiting. */
int zs_waiting_type(void);

/* Clears O_NONBLOCK of a socket that is still our own. */
int zs_set_blocking(int fd);

/* The result of a call that has made @fd, and then came to @ret. */
int zs_keep_or_close(int fd, int ret);

#endif
