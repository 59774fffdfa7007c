/* SPDX-License-Identifier: MIT */
/*
 * The plain system calls of operations on pipes. Called through the table of
 * operations, by engines on the worker's thread and on threads of the pool.
 */
#include "engine/calls.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

int zs_call_pipe(const struct zs_op *op)
{
	return zs_result_of(pipe2(zs_memory_at(op->address), (int)op->flags));
}

static int splice_with(const struct zs_op *op, unsigned int flags)
{
	const struct zs_splice_in *in = zs_memory_at(op->address);
	off_t from = (off_t)in->offset, to = (off_t)op->offset;

	return zs_result_of(splice(in->fd, from < 0 ? NULL : &from, op->fd,
				   to < 0 ? NULL : &to, op->length, flags));
}

static int tee_with(const struct zs_op *op, unsigned int flags)
{
	const struct zs_splice_in *in = zs_memory_at(op->address);

	return zs_result_of(tee(in->fd, op->fd, op->length, flags));
}

/* Sockets and terminals do not obey SPLICE_F_NONBLOCK. Without O_NONBLOCK they
 * may wait though they are ready: until they have taken all, or because another
 * was faster. */
static bool obeys(int fd)
{
	mode_t type = zs_type_of(fd);

	return S_ISFIFO(type) || S_ISREG(type) || S_ISBLK(type) ||
	       zs_is_nonblocking(fd);
}

/* What a poll cannot look at is left to the call. */
static bool is_not_ready(const struct zs_op *op)
{
	const struct zs_splice_in *in = zs_memory_at(op->address);
	struct pollfd ends[] = {
		{ .fd = in->fd, .events = POLLIN },
		{ .fd = op->fd, .events = POLLOUT },
	};

	poll(ends, 2, 0);
	return in->fd >= 0 && op->fd >= 0 &&
	       (!ends[0].revents || !ends[1].revents);
}

static int attempt(const struct zs_op *op,
		   int (*call)(const struct zs_op *op, unsigned int flags))
{
	const struct zs_splice_in *in = zs_memory_at(op->address);
	bool is_asked = op->flags & SPLICE_F_NONBLOCK;
	int ret;

	if (!obeys(in->fd) || !obeys(op->fd) || (!is_asked && is_not_ready(op)))
		return ZS_OP_NOT_YET;
	ret = call(op, op->flags | SPLICE_F_NONBLOCK);
	return ret == -EAGAIN && !is_asked ? ZS_OP_NOT_YET : ret;
}

int zs_call_splice(const struct zs_op *op)
{
	return splice_with(op, op->flags);
}

int zs_attempt_splice(struct zs_op *op)
{
	return attempt(op, splice_with);
}

int zs_call_tee(const struct zs_op *op)
{
	return tee_with(op, op->flags);
}

int zs_attempt_tee(struct zs_op *op)
{
	return attempt(op, tee_with);
}
