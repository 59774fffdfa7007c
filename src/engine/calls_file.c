/* SPDX-License-Identifier: MIT */
/*
 * The plain system calls of operations on files, pipes and descriptors at
 * large. Called through the table of operations, by engines on the worker's
 * thread and on threads of the pool.
 */
#include "engine/calls.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "engine/abi.h"

enum { RW_NOWAIT = 0x8 }; /* RWF_NOWAIT, 4.14; pipes have it since 5.15 */

int zs_call_read(const struct zs_op *op)
{
	void *buffer = zs_memory_at(op->address);
	int ret;

	if (op->offset == UINT64_MAX)
		return zs_result_of(read(op->fd, buffer, op->length));
	ret = zs_result_of(
		pread(op->fd, buffer, op->length, (off_t)op->offset));
	/* The ring ignores the offset of what has no position. */
	if (ret == -ESPIPE)
		ret = zs_result_of(read(op->fd, buffer, op->length));
	return ret;
}

int zs_call_write(const struct zs_op *op)
{
	const void *buffer = zs_memory_at(op->address);
	int ret;

	if (op->offset == UINT64_MAX)
		return zs_result_of(write(op->fd, buffer, op->length));
	ret = zs_result_of(
		pwrite(op->fd, buffer, op->length, (off_t)op->offset));
	if (ret == -ESPIPE)
		ret = zs_result_of(write(op->fd, buffer, op->length));
	return ret;
}

static bool is_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && (flags & O_NONBLOCK);
}

static bool is_regular(int fd)
{
	struct stat status;

	return fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
}

/* By number: musl's wrapper is younger than the musl of many systems. On 64-bit
 * machines the whole offset is in the first of its two words. */
static int move_now(const struct zs_op *op, long number)
{
	struct iovec part = { zs_memory_at(op->address), op->length };
	int ret = zs_result_of(
		syscall(number, op->fd, &part, 1, op->offset, 0, RW_NOWAIT));

	if (ret == -ESPIPE)
		ret = zs_result_of(
			syscall(number, op->fd, &part, 1, -1L, 0, RW_NOWAIT));
	return ret;
}

/* Of a file the cache may have had only a part, and a caller expects all. */
static int note_moved(struct zs_op *op, int moved)
{
	if (moved == 0 || (uint32_t)moved == op->length || !is_regular(op->fd))
		return op->result + moved;
	op->result += moved;
	op->address += (uint32_t)moved;
	op->length -= (uint32_t)moved;
	if (op->offset != UINT64_MAX)
		op->offset += (uint32_t)moved;
	return ZS_OP_NOT_YET;
}

static int attempt_to_move(struct zs_op *op, long number,
			   int (*call)(const struct zs_op *op))
{
	int ret = move_now(op, number);

	/* Terminals and many devices, and where the system call is unknown. */
	if (ret == -EOPNOTSUPP || ret == -ENOSYS) {
		if (!is_nonblocking(op->fd))
			return ZS_OP_NO_ATTEMPT;
		ret = call(op);
	}
	if (ret == -EAGAIN)
		return ZS_OP_NOT_YET;
	return ret < 0 ? ret : note_moved(op, ret);
}

int zs_attempt_read(struct zs_op *op)
{
	return attempt_to_move(op, SYS_preadv2, zs_call_read);
}

int zs_attempt_write(struct zs_op *op)
{
	return attempt_to_move(op, SYS_pwritev2, zs_call_write);
}

int zs_call_close(const struct zs_op *op)
{
	return zs_result_of(close(op->fd));
}

int zs_call_fsync(const struct zs_op *op)
{
	if (op->flags & ZS_URING_FSYNC_DATASYNC)
		return zs_result_of(fdatasync(op->fd));
	return zs_result_of(fsync(op->fd));
}
