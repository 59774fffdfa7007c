/* SPDX-License-Identifier: MIT */
/*
 * The table of operations. Read by the engines (how to carry one out) and the
 * dump (names). The system calls are in calls_*.c.
 */
#include "engine/op.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>

#include "base/compiler.h"
#include "engine/abi.h"
#include "engine/calls.h"
#include "engine/entry.h"
#include "engine/offload.h"

/* How the kernel spells "restart the system call" where it leaks out of an
 * operation that was interrupted (io-wq, seen on 6.18). */
enum {
	ERESTARTSYS = 512,
	ERESTARTNOINTR = 513,
	ERESTARTNOHAND = 514,
	ERESTART_RESTARTBLOCK = 516,
};

/*
 * Fields beside fd, where they are not what their name says:
 *	poll	flags = events
 *	openat	address = path, length = mode, flags = open flags
 *	readv, writev	address = iovecs, length = their number
 *	sync_file_range, fadvise	address = length, flags also = advice
 *	fallocate	address = length, length = mode
 *	ftruncate	offset = length
 *	madvise	offset = length, flags = advice
 *	statx	address = path, length = mask, offset = result buffer
 *	renameat, linkat	address and offset = old and new path, fd and
 *			length = old and new folder
 *	symlinkat	address = target, offset = path
 *	mkdirat	address = path, length = mode
 *	unlinkat	address = path
 *	fsetxattr, fgetxattr	address = name, offset = value, length = size
 *	setxattr, getxattr	address = struct zs_xattr, the rest as above
 *	getdents	address = buffer
 *	pipe	address = two descriptors
 *	splice, tee	fd and offset = where to, address = struct zs_splice_in
 *	socket	fd = domain, offset = type, length = protocol
 *	bind, connect	address = sockaddr, offset = its length
 *	listen	length = backlog
 *	accept	address = sockaddr, offset = address of its length
 *	shutdown	length = how
 *	sendmmsg, recvmmsg	address = mmsghdrs, length = how many
 *	sendmsg, recvmsg	address = msghdr, length = 1
 *	waitid	fd = id, length = its type, offset = siginfo, flags = options
 *	spawn	address = struct zs_spawn_call
 *	call	address = int (*)(void *), offset = its argument,
 *		length = enum zs_lane
 *	futex_wait	fd = FUTEX2 flags, address = word, offset = its value
 *
 * openat always goes to a kernel thread: tried inline, the kernel opens with
 * O_NONBLOCK, and a FIFO then answers -ENXIO or opens without its peer.
 */
/* clang-format off */
#define OP(id, type_name, the_class, the_opcode, ...)                  \
	[ZS_OP_##id] = { .name = type_name,                               \
			 .op_class = ZS_OP_##the_class,                  \
			 .sqe_opcode = ZS_URING_OP_##the_opcode, __VA_ARGS__ }
#define NO_OPCODE(id, type_name, the_class, ...)                       \
	[ZS_OP_##id] = { .name = type_name,                               \
			 .op_class = ZS_OP_##the_class,                  \
			 .sqe_opcode = ZS_OP_NO_OPCODE, __VA_ARGS__ }

const struct zs_op_type zs_op_types[ZS_NUM_OPS] = {
	OP(NOP, "nop", ABORTABLE, NOP, .way = ZS_WAY_AT_ONCE,
	   .call = zs_call_nop),
	OP(POLL, "poll", ABORTABLE, POLL_ADD, .names_fd = true,
	   .way = ZS_WAY_WHEN_READY,
	   .call = zs_call_poll, .attempt = zs_attempt_poll),
	OP(READ, "read", HELD, READ, .names_fd = true,
	   .way = ZS_WAY_WHEN_READY, .events = POLLIN,
	   .call = zs_call_read, .attempt = zs_attempt_read),
	OP(WRITE, "write", HELD, WRITE, .names_fd = true,
	   .way = ZS_WAY_WHEN_READY, .events = POLLOUT,
	   .call = zs_call_write, .attempt = zs_attempt_write),
	OP(READV, "readv", HELD, READV, .names_fd = true,
	   .way = ZS_WAY_WHEN_READY, .events = POLLIN,
	   .call = zs_call_readv, .attempt = zs_attempt_readv),
	OP(WRITEV, "writev", HELD, WRITEV, .names_fd = true,
	   .way = ZS_WAY_WHEN_READY, .events = POLLOUT,
	   .call = zs_call_writev, .attempt = zs_attempt_writev),
	OP(OPENAT, "openat", DETACHABLE, OPENAT, .names_fd = true,
	   .sqe_flags = ZS_URING_SQE_ASYNC, .paths = ZS_OP_PATH_ADDRESS,
	   .way = ZS_WAY_OFFLOADED,
	   .call = zs_call_openat, .attempt = zs_attempt_openat),
	OP(CLOSE, "close", HELD, CLOSE, .names_fd = true,
	   .way = ZS_WAY_OFFLOADED,
	   .call = zs_call_close, .is_quick = zs_is_quick_close),
	OP(FSYNC, "fsync", HELD, FSYNC, .names_fd = true,
	   .way = ZS_WAY_OFFLOADED, .call = zs_call_fsync),
	OP(SYNC_FILE_RANGE, "sync_file_range", HELD, SYNC_FILE_RANGE,
	   .names_fd = true, .fill = zs_entry_of_range,
	   .way = ZS_WAY_OFFLOADED, .call = zs_call_sync_file_range),
	OP(FALLOCATE, "fallocate", HELD, FALLOCATE, .names_fd = true,
	   .way = ZS_WAY_OFFLOADED, .call = zs_call_fallocate),
	OP(FTRUNCATE, "ftruncate", HELD, FTRUNCATE, .names_fd = true,
	   .way = ZS_WAY_OFFLOADED, .call = zs_call_ftruncate),
	OP(FADVISE, "fadvise", HELD, FADVISE, .names_fd = true,
	   .fill = zs_entry_of_range,
	   .way = ZS_WAY_OFFLOADED, .call = zs_call_fadvise),
	OP(MADVISE, "madvise", HELD, MADVISE, .fill = zs_entry_of_madvise,
	   .way = ZS_WAY_OFFLOADED, .call = zs_call_madvise),
	OP(STATX, "statx", DETACHABLE, STATX, .names_fd = true,
	   .paths = ZS_OP_PATH_ADDRESS,
	   .way = ZS_WAY_OFFLOADED, .call = zs_call_statx),
	OP(RENAMEAT, "renameat", DETACHABLE, RENAMEAT, .names_fd = true,
	   .paths = ZS_OP_PATH_ADDRESS | ZS_OP_PATH_OFFSET,
	   .way = ZS_WAY_OFFLOADED, .call = zs_call_renameat),
	OP(LINKAT, "linkat", DETACHABLE, LINKAT, .names_fd = true,
	   .paths = ZS_OP_PATH_ADDRESS | ZS_OP_PATH_OFFSET,
	   .way = ZS_WAY_OFFLOADED, .call = zs_call_linkat),
	OP(SYMLINKAT, "symlinkat", DETACHABLE, SYMLINKAT, .names_fd = true,
	   .paths = ZS_OP_PATH_ADDRESS | ZS_OP_PATH_OFFSET,
	   .way = ZS_WAY_OFFLOADED, .call = zs_call_symlinkat),
	OP(MKDIRAT, "mkdirat", DETACHABLE, MKDIRAT, .names_fd = true,
	   .paths = ZS_OP_PATH_ADDRESS,
	   .way = ZS_WAY_OFFLOADED, .call = zs_call_mkdirat),
	OP(UNLINKAT, "unlinkat", DETACHABLE, UNLINKAT, .names_fd = true,
	   .paths = ZS_OP_PATH_ADDRESS,
	   .way = ZS_WAY_OFFLOADED, .call = zs_call_unlinkat),
	OP(FSETXATTR, "fsetxattr", HELD, FSETXATTR, .names_fd = true,
	   .way = ZS_WAY_OFFLOADED, .call = zs_call_fsetxattr),
	OP(SETXATTR, "setxattr", HELD, SETXATTR, .fill = zs_entry_of_xattr,
	   .way = ZS_WAY_OFFLOADED, .call = zs_call_setxattr),
	OP(FGETXATTR, "fgetxattr", HELD, FGETXATTR, .names_fd = true,
	   .way = ZS_WAY_OFFLOADED, .call = zs_call_fgetxattr),
	OP(GETXATTR, "getxattr", HELD, GETXATTR, .fill = zs_entry_of_xattr,
	   .way = ZS_WAY_OFFLOADED, .call = zs_call_getxattr),
	NO_OPCODE(GETDENTS, "getdents", HELD, .names_fd = true,
	   .way = ZS_WAY_OFFLOADED, .call = zs_call_getdents),
	NO_OPCODE(PIPE, "pipe", ABORTABLE, .way = ZS_WAY_AT_ONCE,
	   .call = zs_call_pipe),
	OP(SPLICE, "splice", HELD, SPLICE, .names_fd = true,
	   .fill = zs_entry_of_splice,
	   .way = ZS_WAY_OFFLOADED,
	   .call = zs_call_splice, .attempt = zs_attempt_splice),
	OP(TEE, "tee", HELD, TEE, .names_fd = true, .fill = zs_entry_of_tee,
	   .way = ZS_WAY_OFFLOADED,
	   .call = zs_call_tee, .attempt = zs_attempt_tee),
	OP(SOCKET, "socket", ABORTABLE, SOCKET, .way = ZS_WAY_AT_ONCE,
	   .call = zs_call_socket),
	OP(BIND, "bind", ABORTABLE, BIND, .names_fd = true,
	   .way = ZS_WAY_AT_ONCE, .call = zs_call_bind),
	OP(LISTEN, "listen", ABORTABLE, LISTEN, .names_fd = true,
	   .way = ZS_WAY_AT_ONCE, .call = zs_call_listen),
	OP(ACCEPT, "accept", ABORTABLE, ACCEPT, .names_fd = true,
	   .way = ZS_WAY_WHEN_READY, .events = POLLIN,
	   .call = zs_call_accept, .attempt = zs_attempt_accept),
	OP(CONNECT, "connect", ABORTABLE, CONNECT, .names_fd = true,
	   .way = ZS_WAY_WHEN_READY, .events = POLLOUT,
	   .call = zs_call_connect, .attempt = zs_attempt_connect),
	OP(SHUTDOWN, "shutdown", ABORTABLE, SHUTDOWN, .names_fd = true,
	   .way = ZS_WAY_AT_ONCE, .call = zs_call_shutdown),
	OP(SEND, "send", ABORTABLE, SEND, .names_fd = true,
	   .way = ZS_WAY_WHEN_READY, .events = POLLOUT,
	   .call = zs_call_send, .attempt = zs_attempt_send),
	OP(RECV, "recv", ABORTABLE, RECV, .names_fd = true,
	   .way = ZS_WAY_WHEN_READY, .events = POLLIN,
	   .call = zs_call_recv, .attempt = zs_attempt_recv),
	NO_OPCODE(SENDMMSG, "sendmmsg", ABORTABLE, .names_fd = true,
		  .way = ZS_WAY_WHEN_READY, .events = POLLOUT,
		  .call = zs_call_sendmmsg, .attempt = zs_attempt_sendmmsg),
	NO_OPCODE(RECVMMSG, "recvmmsg", ABORTABLE, .names_fd = true,
		  .way = ZS_WAY_WHEN_READY, .events = POLLIN,
		  .call = zs_call_recvmmsg, .attempt = zs_attempt_recvmmsg),
	OP(SENDMSG, "sendmsg", ABORTABLE, SENDMSG, .names_fd = true,
	   .way = ZS_WAY_WHEN_READY, .events = POLLOUT,
	   .call = zs_call_sendmsg, .attempt = zs_attempt_sendmsg),
	OP(RECVMSG, "recvmsg", ABORTABLE, RECVMSG, .names_fd = true,
	   .way = ZS_WAY_WHEN_READY, .events = POLLIN,
	   .call = zs_call_recvmsg, .attempt = zs_attempt_recvmsg),
	/* Its call does not wait, as the ring does: -EAGAIN. */
	OP(WAITID, "waitid", ABORTABLE, WAITID, .fill = zs_entry_of_waitid,
	   .way = ZS_WAY_AT_ONCE, .call = zs_call_waitid),
	NO_OPCODE(SPAWN, "spawn", HELD, .way = ZS_WAY_OFFLOADED,
		  .call = zs_call_spawn),
	NO_OPCODE(CALL, "call", DETACHABLE, .way = ZS_WAY_OFFLOADED,
		  .call = zs_call_function),
	OP(FUTEX_WAIT, "futex_wait", ABORTABLE, FUTEX_WAIT,
	   .fill = zs_entry_of_futex_wait, .way = ZS_WAY_WAITING,
	   .call = zs_call_futex_wait),
};
/* clang-format on */

static int call_unless_it_waits(struct zs_op *op)
{
	const struct zs_op_type *type = &zs_op_types[op->code];
	int ret = ZS_OP_NOT_YET;

	if (zs_op_lane(op) == ZS_LANE_WAITING)
		return ZS_OP_NO_THREAD;
	if (!type->attempt)
		return type->call(op);
	ret = type->attempt(op);
	if (ret >= -ZS_ERRNO_MAX)
		return ret;
	if (type->way == ZS_WAY_WHEN_READY && op->code != ZS_OP_POLL &&
	    zs_is_storage(op->fd))
		return zs_op_sum_up(op, type->call(op));
	if (op->result > 0)
		return op->result;
	/* The descriptor can be waited for, and then it is asked for again. */
	if (type->way == ZS_WAY_WHEN_READY && ret == ZS_OP_NOT_YET)
		return ZS_OP_WOULD_WAIT;
	return ZS_OP_NO_THREAD;
}

int zs_op_call_plainly(struct zs_op *op)
{
	int saved_errno = errno;
	int result = call_unless_it_waits(op);

	errno = saved_errno;
	return result;
}

int zs_op_mend_result(struct zs_op *op, int result)
{
	switch (result) {
	case -ERESTARTSYS:
	case -ERESTARTNOINTR:
	case -ERESTARTNOHAND:
	case -ERESTART_RESTARTBLOCK:
	case -EINTR:
		return op->cancel_asked ? -ECANCELED : -EINTR;
	case -ECANCELED:
		if (op->cancel_asked)
			return result;
		/* Nobody asked: the kernel could not start a thread for what it
		 * cannot do without waiting (RLIMIT_NPROC), and did nothing. */
		op->result = 0;
		return zs_op_call_plainly(op);
	default:
		return result;
	}
}

/* Perhaps of a task that runs meanwhile. */
ZS_RACY void zs_op_describe(const struct zs_op *op, struct zs_text *text)
{
	unsigned int code = op->code;

	if (code >= ZS_NUM_OPS) {
		zs_text_add(text, "an operation");
		return;
	}
	zs_text_add(text, zs_op_types[code].name);
	if (!zs_op_types[code].names_fd || op->fd == AT_FDCWD)
		return;
	zs_text_add(text, " fd ");
	zs_text_add_number(text, op->fd);
}
