/* SPDX-License-Identifier: MIT */
/*
 * The plain system calls of operations on sockets, and poll. Called through the
 * table of operations, by engines on the worker's thread and on threads of the
 * pool.
 *
 * Transfers have MSG_DONTWAIT. Accept and connect have nothing like it, and the
 * flags of a descriptor are its owner's: so they are attempted only where it is
 * O_NONBLOCK already.
 */
#include "engine/calls.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

int zs_call_nop(const struct zs_op *op)
{
	(void)op;
	return 0;
}

int zs_call_function(const struct zs_op *op)
{
	int (*function)(void *) = (int (*)(void *))(uintptr_t)op->address;

	return function(zs_memory_at(op->offset));
}

/* The ready events, 0 for none within the time. */
static int poll_for(const struct zs_op *op, int timeout)
{
	struct pollfd entry = { .fd = op->fd, .events = (short)op->flags };
	int ret = zs_result_of(poll(&entry, 1, timeout));

	if (ret <= 0)
		return ret;
	return entry.revents & POLLNVAL ? -EBADF : (int)(uint16_t)entry.revents;
}

int zs_call_poll(const struct zs_op *op)
{
	return poll_for(op, -1);
}

int zs_attempt_poll(struct zs_op *op)
{
	int ret = poll_for(op, 0);

	return ret == 0 ? ZS_OP_NOT_YET : ret;
}

int zs_call_socket(const struct zs_op *op)
{
	return zs_result_of(socket(op->fd, (int)op->offset, (int)op->length));
}

int zs_call_bind(const struct zs_op *op)
{
	return zs_result_of(
		bind(op->fd, zs_memory_at(op->address), (socklen_t)op->offset));
}

int zs_call_listen(const struct zs_op *op)
{
	return zs_result_of(listen(op->fd, (int)op->length));
}

int zs_call_shutdown(const struct zs_op *op)
{
	return zs_result_of(shutdown(op->fd, (int)op->length));
}

/* --- connections --- */

/* Of what is no descriptor at all, the call itself says so. */
static bool may_block(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && !(flags & O_NONBLOCK);
}

int zs_call_accept(const struct zs_op *op)
{
	return zs_result_of(accept4(op->fd, zs_memory_at(op->address),
				    zs_memory_at(op->offset), (int)op->flags));
}

/* What is no listener, and what asks for the impossible, is refused at once. */
static bool may_wait_for_peer(const struct zs_op *op)
{
	int is_listening = 0;
	socklen_t size = sizeof(is_listening);

	return may_block(op->fd) &&
	       !(op->flags & ~(uint32_t)(SOCK_CLOEXEC | SOCK_NONBLOCK)) &&
	       getsockopt(op->fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening,
			  &size) == 0 &&
	       is_listening;
}

/* That one is ready is no promise: another process may be faster. */
int zs_attempt_accept(struct zs_op *op)
{
	int ret;

	if (may_wait_for_peer(op))
		return ZS_OP_NO_ATTEMPT;
	ret = zs_call_accept(op);
	return ret == -EAGAIN ? ZS_OP_NOT_YET : ret;
}

int zs_call_connect(const struct zs_op *op)
{
	return zs_result_of(connect(op->fd, zs_memory_at(op->address),
				    (socklen_t)op->offset));
}

/* Asked again once it is ready, the call has the result. -EAGAIN is a unix
 * socket whose peer's queue is full, of which poll says nothing. */
int zs_attempt_connect(struct zs_op *op)
{
	int ret;

	if (may_block(op->fd))
		return ZS_OP_NEEDS_THREAD;
	ret = zs_call_connect(op);
	return ret == -EINPROGRESS || ret == -EALREADY ? ZS_OP_NOT_YET : ret;
}

/* --- transfers --- */

/* Does -EAGAIN mean that it should wait? */
static bool is_to_wait(const struct zs_op *op, int ret)
{
	return ret == -EAGAIN && !(op->flags & (MSG_DONTWAIT | MSG_ERRQUEUE));
}

static int send_with(const struct zs_op *op, int flags)
{
	return zs_result_of(send(op->fd, zs_memory_at(op->address), op->length,
				 (int)op->flags | flags));
}

int zs_call_send(const struct zs_op *op)
{
	return send_with(op, MSG_NOSIGNAL);
}

int zs_attempt_send(struct zs_op *op)
{
	int ret = zs_send_now(op->fd, zs_memory_at(op->address), op->length,
			      (int)op->flags);

	return zs_unlikely(is_to_wait(op, ret)) ? ZS_OP_NOT_YET : ret;
}

static int recv_with(const struct zs_op *op, int flags)
{
	return zs_result_of(recv(op->fd, zs_memory_at(op->address), op->length,
				 (int)op->flags | flags));
}

int zs_call_recv(const struct zs_op *op)
{
	return recv_with(op, 0);
}

/* Of a datagram MSG_WAITALL gets no more than that. */
static bool wants_more(const struct zs_op *op, int received)
{
	socklen_t size = sizeof(int);
	int type = 0;

	return (op->flags & MSG_WAITALL) && !(op->flags & MSG_PEEK) &&
	       received > 0 && (uint32_t)received < op->length &&
	       getsockopt(op->fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 &&
	       type != SOCK_DGRAM && type != SOCK_RAW;
}

/* With MSG_WAITALL it goes on until it has all, as the ring does. */
int zs_attempt_recv(struct zs_op *op)
{
	int ret = zs_recv_now(op->fd, zs_memory_at(op->address), op->length,
			      (int)op->flags);

	if (zs_likely(ret > 0 && !(op->flags & MSG_WAITALL)))
		return ret;
	while (wants_more(op, ret)) {
		op->result += ret;
		op->address += (uint32_t)ret;
		op->length -= (uint32_t)ret;
		ret = zs_recv_now(op->fd, zs_memory_at(op->address), op->length,
				  (int)op->flags);
	}
	if (is_to_wait(op, ret))
		return ZS_OP_NOT_YET;
	return zs_op_sum_up(op, ret);
}

/* By number: musl's has room for 1 KiB of descriptors and the like, which is
 * less than may be sent. */
static int sendmsg_with(const struct zs_op *op, int flags)
{
	return zs_result_of(syscall(SYS_sendmsg, op->fd,
				    zs_memory_at(op->address),
				    (int)op->flags | flags));
}

int zs_call_sendmsg(const struct zs_op *op)
{
	return sendmsg_with(op, MSG_NOSIGNAL);
}

int zs_attempt_sendmsg(struct zs_op *op)
{
	int ret = sendmsg_with(op, MSG_NOSIGNAL | MSG_DONTWAIT);

	return is_to_wait(op, ret) ? ZS_OP_NOT_YET : ret;
}

int zs_call_recvmsg(const struct zs_op *op)
{
	return zs_result_of(
		recvmsg(op->fd, zs_memory_at(op->address), (int)op->flags));
}

/* A message in several buffers that is to be waited for whole is left to the
 * kernel, which alone knows how far it has come. */
int zs_attempt_recvmsg(struct zs_op *op)
{
	int ret;

	if ((op->flags & MSG_WAITALL) && !(op->flags & MSG_DONTWAIT))
		return ZS_OP_NO_ATTEMPT;
	ret = zs_result_of(recvmsg(op->fd, zs_memory_at(op->address),
				   (int)op->flags | MSG_DONTWAIT));
	return is_to_wait(op, ret) ? ZS_OP_NOT_YET : ret;
}

/* How many messages; those that find no room are not waited for. */
static int sendmmsg_with(const struct zs_op *op, int flags)
{
	return zs_result_of(sendmmsg(op->fd, zs_memory_at(op->address),
				     op->length, (int)op->flags | flags));
}

int zs_call_sendmmsg(const struct zs_op *op)
{
	return sendmmsg_with(op, MSG_NOSIGNAL);
}

int zs_attempt_sendmmsg(struct zs_op *op)
{
	int ret = sendmmsg_with(op, MSG_NOSIGNAL | MSG_DONTWAIT);

	return is_to_wait(op, ret) ? ZS_OP_NOT_YET : ret;
}

/* The first is waited for, at most. */
static int recvmmsg_with(const struct zs_op *op, int flags)
{
	return zs_result_of(recvmmsg(op->fd, zs_memory_at(op->address),
				     op->length, (int)op->flags | flags, NULL));
}

int zs_call_recvmmsg(const struct zs_op *op)
{
	return recvmmsg_with(op, MSG_WAITFORONE);
}

int zs_attempt_recvmmsg(struct zs_op *op)
{
	int ret = recvmmsg_with(op, MSG_DONTWAIT);

	return is_to_wait(op, ret) ? ZS_OP_NOT_YET : ret;
}
