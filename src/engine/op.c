/* SPDX-License-Identifier: MIT */
/*
 * The table of operations. Read by the engines (how to carry one out) and the
 * dump (names). The plain system calls are made on a worker's thread.
 */
#include "engine/op.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/abi.h"

/* How the kernel spells "restart the system call" where it leaks out of an
 * operation that was interrupted (io-wq, seen on 6.18). */
enum {
	ERESTARTSYS = 512,
	ERESTARTNOINTR = 513,
	ERESTARTNOHAND = 514,
	ERESTART_RESTARTBLOCK = 516,
};

static int result_of(long ret)
{
	return ret < 0 ? -errno : (int)ret;
}

static void *memory_at(uint64_t address)
{
	return (void *)(uintptr_t)address;
}

static int call_nop(const struct zs_op *op)
{
	(void)op;
	return 0;
}

/* Can a transfer wait for somebody? Those of regular files and disks only wait
 * for the device. */
static bool is_storage(int fd)
{
	struct stat status;

	return fstat(fd, &status) == 0 &&
	       (S_ISREG(status.st_mode) || S_ISBLK(status.st_mode));
}

static int call_read(const struct zs_op *op)
{
	void *buffer = memory_at(op->address);

	if (!is_storage(op->fd))
		return -EAGAIN;
	if (op->offset == UINT64_MAX)
		return result_of(read(op->fd, buffer, op->length));
	return result_of(pread(op->fd, buffer, op->length, (off_t)op->offset));
}

static int call_write(const struct zs_op *op)
{
	const void *buffer = memory_at(op->address);

	if (!is_storage(op->fd))
		return -EAGAIN;
	if (op->offset == UINT64_MAX)
		return result_of(write(op->fd, buffer, op->length));
	return result_of(pwrite(op->fd, buffer, op->length, (off_t)op->offset));
}

/* A FIFO waits for its peer, which may be a task of the same worker. */
static int call_openat(const struct zs_op *op)
{
	const char *path = memory_at(op->address);
	struct stat status;

	if (fstatat(op->fd, path, &status, 0) == 0 && S_ISFIFO(status.st_mode))
		return -EAGAIN;
	return result_of(
		openat(op->fd, path, (int)op->flags, (mode_t)op->length));
}

static int call_close(const struct zs_op *op)
{
	return result_of(close(op->fd));
}

static int call_fsync(const struct zs_op *op)
{
	if (op->flags & ZS_URING_FSYNC_DATASYNC)
		return result_of(fdatasync(op->fd));
	return result_of(fsync(op->fd));
}

/* By number: musl's wrapper is younger than the musl of many systems. */
static int call_statx(const struct zs_op *op)
{
	return result_of(syscall(SYS_statx, op->fd, memory_at(op->address),
				 op->flags, op->length, memory_at(op->offset)));
}

static int call_socket(const struct zs_op *op)
{
	return result_of(socket(op->fd, (int)op->offset, (int)op->length));
}

static int call_bind(const struct zs_op *op)
{
	return result_of(
		bind(op->fd, memory_at(op->address), (socklen_t)op->offset));
}

static int call_listen(const struct zs_op *op)
{
	return result_of(listen(op->fd, (int)op->length));
}

static int call_shutdown(const struct zs_op *op)
{
	return result_of(shutdown(op->fd, (int)op->length));
}

/*
 * Fields beside fd, where they are not what their name says:
 *	poll	flags = events
 *	openat	address = path, length = mode, flags = open flags
 *	statx	address = path, length = mask, offset = result buffer
 *	socket	fd = domain, offset = type, length = protocol
 *	bind, connect	address = sockaddr, offset = its length
 *	listen	length = backlog
 *	accept	address = sockaddr, offset = address of its length
 *	shutdown	length = how
 *	sendmsg, recvmsg	address = msghdr, length = 1
 *	cancel	address = user_data of the op to cancel
 *
 * openat always goes to a kernel thread: tried inline, the kernel opens with
 * O_NONBLOCK, and a FIFO then answers -ENXIO or opens without its peer.
 */
/* clang-format off */
const struct zs_op_type zs_op_types[ZS_NUM_OPS] = {
	[ZS_OP_NOP] = { "nop", ZS_OP_ABORTABLE, ZS_URING_OP_NOP,
		0, false, call_nop },
	[ZS_OP_POLL] = { "poll", ZS_OP_ABORTABLE, ZS_URING_OP_POLL_ADD,
		0, true, NULL },
	[ZS_OP_READ] = { "read", ZS_OP_HELD, ZS_URING_OP_READ,
		0, true, call_read },
	[ZS_OP_WRITE] = { "write", ZS_OP_HELD, ZS_URING_OP_WRITE,
		0, true, call_write },
	[ZS_OP_OPENAT] = { "openat", ZS_OP_DETACHABLE, ZS_URING_OP_OPENAT,
		ZS_URING_SQE_ASYNC, true, call_openat },
	[ZS_OP_CLOSE] = { "close", ZS_OP_HELD, ZS_URING_OP_CLOSE,
		0, true, call_close },
	[ZS_OP_FSYNC] = { "fsync", ZS_OP_HELD, ZS_URING_OP_FSYNC,
		0, true, call_fsync },
	[ZS_OP_STATX] = { "statx", ZS_OP_DETACHABLE, ZS_URING_OP_STATX,
		0, true, call_statx },
	[ZS_OP_SOCKET] = { "socket", ZS_OP_ABORTABLE, ZS_URING_OP_SOCKET,
		0, false, call_socket },
	[ZS_OP_BIND] = { "bind", ZS_OP_ABORTABLE, ZS_URING_OP_BIND,
		0, true, call_bind },
	[ZS_OP_LISTEN] = { "listen", ZS_OP_ABORTABLE, ZS_URING_OP_LISTEN,
		0, true, call_listen },
	[ZS_OP_ACCEPT] = { "accept", ZS_OP_ABORTABLE, ZS_URING_OP_ACCEPT,
		0, true, NULL },
	[ZS_OP_CONNECT] = { "connect", ZS_OP_ABORTABLE, ZS_URING_OP_CONNECT,
		0, true, NULL },
	[ZS_OP_SHUTDOWN] = { "shutdown", ZS_OP_ABORTABLE, ZS_URING_OP_SHUTDOWN,
		0, true, call_shutdown },
	[ZS_OP_SEND] = { "send", ZS_OP_ABORTABLE, ZS_URING_OP_SEND,
		0, true, NULL },
	[ZS_OP_RECV] = { "recv", ZS_OP_ABORTABLE, ZS_URING_OP_RECV,
		0, true, NULL },
	[ZS_OP_SENDMSG] = { "sendmsg", ZS_OP_ABORTABLE, ZS_URING_OP_SENDMSG,
		0, true, NULL },
	[ZS_OP_RECVMSG] = { "recvmsg", ZS_OP_ABORTABLE, ZS_URING_OP_RECVMSG,
		0, true, NULL },
	[ZS_OP_CANCEL] = { "cancel", ZS_OP_ABORTABLE, ZS_URING_OP_ASYNC_CANCEL,
		0, false, NULL },
};
/* clang-format on */

int zs_op_call_plainly(const struct zs_op *op, int otherwise)
{
	const struct zs_op_type *type = &zs_op_types[op->code];
	int saved_errno = errno;
	int result = type->call ? type->call(op) : otherwise;

	errno = saved_errno;
	return result;
}

int zs_op_mend_result(const struct zs_op *op, int result)
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
		return zs_op_call_plainly(op, -EAGAIN);
	default:
		return result;
	}
}

void zs_op_describe(const struct zs_op *op, struct zs_text *text)
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
