/* SPDX-License-Identifier: MIT */
/*
 * Sockets: checks of arguments, and one operation a call. Called by tasks.
 *
 * Waiting is the kernel's business, but for two things where it is wrong: a
 * send that finds no room (zs_send_later()) and a peer that has half closed
 * (poll_by_epoll()). Such a call keeps its descriptor from the first operation
 * to the last: its number may else be another file's by the next one.
 */
#include "io/net.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "base/compiler.h"
#include "base/explain.h"
#include "engine/bare.h"
#include "engine/op.h"
#include "engine/plain.h"
#include "io/await.h"
#include "io/message.h"
#include "io/transfer.h"
#include "sched/leaks.h"
#include "zsync/file.h"
#include "zsync/net.h"
#include "zsync/task.h"
#include "zsync/time.h"

/* Cancelled, it has no result, which the poll of a later file might be taken
 * for. */
static int await_poll(int fd, unsigned int events)
{
	struct zs_op op = {
		.code = ZS_OP_POLL,
		.fd = fd,
		.flags = events,
	};
	int ret = zs_await(&op);

	return ret >= 0 && op.cancel_asked ? zs_await_error(-ECANCELED) : ret;
}

int zs_end_steps(bool keeps, const struct zs_op *op, int ret)
{
	if (keeps)
		zs_fds_let_go(zs_worker_task());
	if (ret == -EAGAIN && op->cancel_asked)
		return zs_await_error(-ECANCELED);
	return ret;
}

/* Older kernels give up on accept, all do on a message that they tried to move
 * often enough (128 times on 6.18). */
int zs_await_ready(struct zs_op *op, unsigned int events)
{
	int ret = zs_await(op);
	bool keeps;

	if (zs_likely(ret != -EAGAIN))
		return ret;
	keeps = zs_fds_keep(zs_worker_task(), op->fd);
	while (ret == -EAGAIN && !op->cancel_asked &&
	       !zs_await_had_no_thread(op)) {
		ret = zs_poll_fd(op->fd, events);
		if (ret >= 0)
			ret = zs_await(op);
	}
	return zs_end_steps(keeps, op, ret);
}

ZS_PUBLIC int zs_socket(int domain, int type, int protocol)
{
	struct zs_op op = {
		.code = ZS_OP_SOCKET,
		.fd = domain,
		.offset = (uint32_t)type | SOCK_CLOEXEC,
		.length = (uint32_t)protocol,
	};

	return zs_leaks_opened(zs_await(&op), "zs_socket()");
}

ZS_PUBLIC int zs_bind(int fd, const struct sockaddr *address, socklen_t length)
{
	struct zs_op op = {
		.code = ZS_OP_BIND,
		.fd = fd,
		.address = (uint64_t)(uintptr_t)address,
		.offset = length,
	};

	if (!address && length > 0)
		return zs_explain_none(-EINVAL);
	return zs_await(&op);
}

ZS_PUBLIC int zs_listen(int fd, int backlog)
{
	struct zs_op op = {
		.code = ZS_OP_LISTEN,
		.fd = fd,
		.length = (uint32_t)backlog,
	};

	return zs_await(&op);
}

ZS_PUBLIC int zs_accept(int fd, struct sockaddr *address, socklen_t *length,
			int flags)
{
	struct zs_op op = {
		.code = ZS_OP_ACCEPT,
		.fd = fd,
		.address = (uint64_t)(uintptr_t)address,
		.offset = (uint64_t)(uintptr_t)length,
		.flags = (uint32_t)flags | SOCK_CLOEXEC,
	};

	if (address && !length)
		return zs_explain_none(-EINVAL);
	return zs_leaks_opened(zs_await_ready(&op, POLLIN), "zs_accept()");
}

ZS_PUBLIC int zs_connect(int fd, const struct sockaddr *address,
			 socklen_t length)
{
	struct zs_op op = {
		.code = ZS_OP_CONNECT,
		.fd = fd,
		.address = (uint64_t)(uintptr_t)address,
		.offset = length,
	};

	if (!address && length > 0)
		return zs_explain_none(-EINVAL);
	return zs_await(&op);
}

ZS_PUBLIC int zs_shutdown(int fd, int how)
{
	struct zs_op op = {
		.code = ZS_OP_SHUTDOWN,
		.fd = fd,
		.length = (uint32_t)how,
	};

	return zs_await(&op);
}

/*
 * The kernel waits badly for room (seen on 6.18). That a unix datagram's
 * receiver has a full queue it finds out when it has taken the bytes, and what
 * it sends later is empty. For a peer that has half closed it keeps a thread of
 * its own blocked.
 *
 * Of a socket that is not connected, poll says nothing about the receiver's
 * queue: hence the pauses.
 */
ZS_NOINLINE int zs_send_later(struct zs_op *op)
{
	bool keeps = zs_fds_keep(zs_worker_task(), op->fd);
	int64_t pause_ns = 0;
	int ret = -EAGAIN;

	while (ret == -EAGAIN && !op->cancel_asked) {
		ret = pause_ns > 0 ? zs_sleep(pause_ns) : 0;
		if (ret == 0)
			ret = zs_poll_fd(op->fd, POLLOUT);
		if (ret >= 0)
			ret = zs_await(op);
		pause_ns = zs_longer_pause(pause_ns);
	}
	return zs_end_steps(keeps, op, ret);
}

/* Not MSG_WAITALL, which send(2) ignores: when only a part fits, Linux 5.10.223
 * says EAGAIN with it, and what has gone would go again. */
static int first_flags(int flags)
{
	return (flags & ~MSG_WAITALL) | MSG_NOSIGNAL | MSG_DONTWAIT;
}

/* --- streams --- */

/*
 * Without a ring the first attempt is made before there is an op, and where a
 * receive is known to have to wait none is made. The public functions need no
 * frame: what does is left to others, by calls that end them, whose parameters
 * are where they were.
 */

/* Is the first attempt to send to be made here? With other flags it is made by
 * the op. */
static ZS_ALWAYS_INLINE bool may_try(const struct zs_worker *worker, int fd,
				     int flags)
{
	return zs_likely((flags & ~MSG_NOSIGNAL) == 0 &&
			 zs_await_is_free(worker, fd) &&
			 zs_plain_may_try(zs_plain_of(worker->engine)));
}

static ZS_ALWAYS_INLINE int try_to_send(struct zs_worker *worker, int fd,
					const void *buffer, size_t length)
{
	zs_plain_count_tried(zs_plain_of(worker->engine));
	return zs_send_now(fd, buffer, length, 0);
}

/* The result of the first attempt by an op. */
static ZS_ALWAYS_INLINE ssize_t end_send(struct zs_op *op, int ret, int flags)
{
	if (zs_unlikely(ret == -EAGAIN) && !(flags & MSG_DONTWAIT))
		return zs_send_later(op);
	return ret;
}

static ZS_NOINLINE ssize_t send_on_ring(int fd, const void *buffer,
					size_t length, int flags,
					struct zs_worker *worker)
{
	struct zs_op op;
	int ret = zs_transfer_on_ring(worker, &op, ZS_OP_SEND, fd, buffer,
				      length, 0, first_flags(flags));

	return end_send(&op, ret, flags);
}

static ZS_NOINLINE ssize_t send_as_op(int fd, const void *buffer, size_t length,
				      int flags)
{
	struct zs_op op;

	zs_transfer_fill(&op, ZS_OP_SEND, fd, buffer, length, 0,
			 first_flags(flags));
	return end_send(&op, zs_await(&op), flags);
}

/* It has been tried, and come to @error. */
static ZS_NOINLINE ssize_t send_after(int fd, const void *buffer, size_t length,
				      int error)
{
	struct zs_op op;

	zs_transfer_fill(&op, ZS_OP_SEND, fd, buffer, length, 0,
			 first_flags(0));
	return end_send(&op, zs_await_error(error), 0);
}

ZS_PUBLIC ssize_t zs_send(int fd, const void *buffer, size_t length, int flags)
{
	struct zs_worker *worker = zs_worker_self;
	int ret;

	if (zs_transfer_is_bad(buffer, length))
		return zs_explain_none(-EINVAL);
	if (zs_unlikely(!worker))
		return zs_explain_none(-EPERM);
	if (!zs_engine_is_plain(worker->engine))
		return send_on_ring(fd, buffer, length, flags, worker);
	if (!may_try(worker, fd, flags))
		return send_as_op(fd, buffer, length, flags);
	ret = try_to_send(worker, fd, buffer, length);
	if (zs_likely(ret >= 0))
		return ret;
	return send_after(fd, buffer, length, ret);
}

static ZS_NOINLINE ssize_t recv_on_ring(int fd, void *buffer, size_t length,
					int flags, struct zs_worker *worker)
{
	struct zs_op op;

	return zs_transfer_on_ring(worker, &op, ZS_OP_RECV, fd, buffer, length,
				   0, flags);
}

/* As an op that begins with an attempt. */
static ZS_NOINLINE ssize_t recv_as_op(int fd, void *buffer, size_t length,
				      int flags)
{
	struct zs_op op;

	zs_transfer_fill(&op, ZS_OP_RECV, fd, buffer, length, 0, flags);
	return zs_await(&op);
}

/* @op, which has waited, is over, or there should be something to receive. Its
 * number is still the file's: until this task goes on, its wait says that it
 * uses it, and a zs_close() asks it to end and waits. @watch is the worker's
 * for good; of a number closed behind our back it may be told too much, which
 * a check of what waits on trust finds. */
static ZS_ALWAYS_INLINE ssize_t end_recv(struct zs_op *op,
					 struct zs_watch *watch, int fd,
					 void *buffer, size_t length)
{
	int ret = op->result;

	if (zs_likely(ret == ZS_OP_IS_READY)) {
		/* Perhaps its descriptor is about to be closed. */
		ret = zs_unlikely(op->cancel_asked) ?
			      -ECANCELED :
			      zs_recv_now(fd, buffer, length, 0);
		if (zs_unlikely(ret == -EAGAIN))
			return recv_as_op(fd, buffer, length, 0);
		zs_plain_note_received(watch, ret, (uint32_t)length);
	}
	return zs_likely(ret >= 0) ? ret : zs_await_error(ret);
}

static ZS_NOINLINE ssize_t recv_plainly(int fd, void *buffer, size_t length,
					int flags, struct zs_worker *worker)
{
	struct zs_watch *watch = NULL;
	struct zs_op op;

	if (zs_likely(flags == 0) && zs_await_is_free(worker, fd))
		watch = zs_plain_watch_for_recv(zs_plain_of(worker->engine),
						fd);
	if (zs_unlikely(!watch))
		return recv_as_op(fd, buffer, length, flags);
	zs_transfer_fill(&op, ZS_OP_RECV, fd, buffer, length, 0, flags);
	op.link.item = worker->current;
	zs_plain_wait(zs_plain_of(worker->engine), watch, &op);
	zs_task_park(&zs_await_cancellable, &op);
	return end_recv(&op, watch, fd, buffer, length);
}

ZS_PUBLIC ssize_t zs_recv(int fd, void *buffer, size_t length, int flags)
{
	struct zs_worker *worker = zs_worker_self;

	if (zs_transfer_is_bad(buffer, length))
		return zs_explain_none(-EINVAL);
	if (zs_unlikely(!worker))
		return zs_explain_none(-EPERM);
	if (!zs_engine_is_plain(worker->engine))
		return recv_on_ring(fd, buffer, length, flags, worker);
	return recv_plainly(fd, buffer, length, flags, worker);
}

ZS_NOINLINE ssize_t zs_send_rest(struct zs_op *op, int ret, size_t size)
{
	ssize_t sent = 0;

	while (ret > 0 || ret == -EAGAIN) {
		if (ret > 0) {
			sent += ret;
			op->address += (uint64_t)ret * size;
			op->length -= (uint32_t)ret;
			if (op->length == 0)
				return sent;
		}
		ret = zs_send_later(op);
	}
	return sent > 0 ? sent : ret;
}

/* The result of the first attempt by an op. */
static ZS_ALWAYS_INLINE ssize_t end_send_all(struct zs_op *op, int ret,
					     size_t length, int flags)
{
	if (zs_likely(ret == (int)length) || (flags & MSG_DONTWAIT))
		return ret;
	return zs_send_rest(op, ret, 1);
}

static ZS_NOINLINE ssize_t send_all_on_ring(int fd, const void *buffer,
					    size_t length, int flags,
					    struct zs_worker *worker)
{
	struct zs_op op;
	int ret = zs_transfer_on_ring(worker, &op, ZS_OP_SEND, fd, buffer,
				      length, 0, first_flags(flags));

	return end_send_all(&op, ret, length, flags);
}

static ZS_NOINLINE ssize_t send_all_as_op(int fd, const void *buffer,
					  size_t length, int flags)
{
	struct zs_op op;

	zs_transfer_fill(&op, ZS_OP_SEND, fd, buffer, length, 0,
			 first_flags(flags));
	return end_send_all(&op, zs_await(&op), length, flags);
}

/* It has been tried, and come to @ret. */
static ZS_NOINLINE ssize_t send_all_after(int fd, const void *buffer,
					  size_t length, int ret)
{
	struct zs_op op;

	zs_transfer_fill(&op, ZS_OP_SEND, fd, buffer, length, 0,
			 first_flags(0));
	if (ret < 0)
		ret = zs_await_error(ret);
	return zs_send_rest(&op, ret, 1);
}

ZS_PUBLIC ssize_t zs_send_all(int fd, const void *buffer, size_t length,
			      int flags)
{
	struct zs_worker *worker = zs_worker_self;
	int ret;

	if (zs_transfer_is_bad(buffer, length))
		return zs_explain_none(-EINVAL);
	if (zs_unlikely(!worker))
		return zs_explain_none(-EPERM);
	if (!zs_engine_is_plain(worker->engine))
		return send_all_on_ring(fd, buffer, length, flags, worker);
	if (!may_try(worker, fd, flags))
		return send_all_as_op(fd, buffer, length, flags);
	ret = try_to_send(worker, fd, buffer, length);
	if (zs_likely(ret == (int)length))
		return ret;
	return send_all_after(fd, buffer, length, ret);
}

/* --- messages --- */

ZS_PUBLIC ssize_t zs_sendmsg(int fd, const struct msghdr *message, int flags)
{
	struct zs_op op = {
		.code = ZS_OP_SENDMSG,
		.fd = fd,
		.address = (uint64_t)(uintptr_t)message,
		.length = 1,
		.flags = (uint32_t)first_flags(flags),
	};
	struct msghdr clear;
	int ret;

	if (!message)
		return zs_explain_none(-EINVAL);
	if (ZS_MESSAGE_HAS_GAPS) {
		zs_message_clear_gaps(&clear, message);
		zs_message_clear_control(&clear);
		op.address = (uint64_t)(uintptr_t)&clear;
	}
	ret = zs_await(&op);
	if (zs_unlikely(ret == -EAGAIN) && !(flags & MSG_DONTWAIT))
		return zs_send_later(&op);
	return ret;
}

ZS_PUBLIC ssize_t zs_recvmsg(int fd, struct msghdr *message, int flags)
{
	struct zs_op op = {
		.code = ZS_OP_RECVMSG,
		.fd = fd,
		.address = (uint64_t)(uintptr_t)message,
		.length = 1,
		.flags = (uint32_t)flags,
	};

	if (!message)
		return zs_explain_none(-EINVAL);
	if (ZS_MESSAGE_HAS_GAPS)
		zs_message_clear_gaps(message, message);
	if (flags & MSG_DONTWAIT)
		return zs_await(&op);
	return zs_await_ready(&op, flags & MSG_ERRQUEUE ? POLLERR : POLLIN);
}

/* --- readiness --- */

/*
 * The ring always watches for POLLRDHUP, asked or not, and would at once be
 * done with a peer that has half closed. An epoll instance watches for @events
 * alone; it is what the ring then waits for.
 */
static ZS_NOINLINE int poll_by_epoll(int fd, unsigned int events)
{
	struct epoll_event event = { .events = events };
	int ret = 0, saved = errno, set = epoll_create1(EPOLL_CLOEXEC);
	bool keeps = zs_fds_keep(zs_worker_task(), fd);

	if (set < 0 || epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) < 0)
		ret = -errno;
	while (ret == 0) {
		ret = await_poll(set, POLLIN);
		/* 0: another task was faster, it is not ready any more. */
		if (ret > 0)
			ret = epoll_wait(set, &event, 1, 0);
	}
	if (set >= 0)
		zs_close(set);
	if (keeps)
		zs_fds_let_go(zs_worker_task());
	errno = saved;
	return ret > 0 ? (int)event.events : ret;
}

ZS_PUBLIC int zs_poll_fd(int fd, unsigned int events)
{
	int ret;

	if (events == 0 || events > UINT16_MAX)
		return zs_explain_none(-EINVAL);
	ret = await_poll(fd, events);
	if (ret > 0 && !(events & POLLRDHUP))
		ret &= ~POLLRDHUP;
	return ret == 0 ? poll_by_epoll(fd, events) : ret;
}
