/* SPDX-License-Identifier: MIT */
/*
 * The plain system calls of operations on files, pipes and descriptors at
 * large. Called through the table of operations, by engines on the worker's
 * thread and on threads of the pool.
 */
#include "engine/calls.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "engine/abi.h"

enum { RW_NOWAIT = 0x8 }; /* RWF_NOWAIT, 4.14; pipes have it since 5.15 */

/* fstat(2) waits for a server that has not told lately, the other call does
 * not; by number, because not every libc has it. */
mode_t zs_type_of(int fd)
{
	struct zs_statx now;
	struct stat status;

	if (syscall(SYS_statx, fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC,
		    ZS_STATX_TYPE, &now) == 0)
		return now.mode & S_IFMT;
	return fstat(fd, &status) < 0 ? 0 : status.st_mode & S_IFMT;
}

/* Was the offset the reason for the result, and would the ring ignore it? Of
 * what has no position it does, but not of sockets. */
static bool is_for_offset(const struct zs_op *op, int result)
{
	if (result != -ESPIPE || op->offset == UINT64_MAX)
		return false;
	return op->offset == 0 || !S_ISSOCK(zs_type_of(op->fd));
}

int zs_call_read(const struct zs_op *op)
{
	void *buffer = zs_memory_at(op->address);
	int ret;

	if (op->offset == UINT64_MAX)
		return zs_result_of(read(op->fd, buffer, op->length));
	ret = zs_result_of(
		pread(op->fd, buffer, op->length, (off_t)op->offset));
	if (is_for_offset(op, ret))
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
	if (is_for_offset(op, ret))
		ret = zs_result_of(write(op->fd, buffer, op->length));
	return ret;
}

/* By number: musl's wrapper is younger than the musl of many systems. On 64-bit
 * machines the whole offset is in the first of its two words. */
static int move_now(const struct zs_op *op, long number)
{
	struct iovec part = { zs_memory_at(op->address), op->length };
	int ret = zs_result_of(
		syscall(number, op->fd, &part, 1, op->offset, 0, RW_NOWAIT));

	if (is_for_offset(op, ret))
		ret = zs_result_of(
			syscall(number, op->fd, &part, 1, -1L, 0, RW_NOWAIT));
	return ret;
}

/* Of a file the cache may have had only a part, and a caller expects all. */
static int note_moved(struct zs_op *op, int moved)
{
	if (moved == 0 || (uint32_t)moved == op->length ||
	    !S_ISREG(zs_type_of(op->fd)))
		return op->result + moved;
	op->result += moved;
	op->address += (uint32_t)moved;
	op->length -= (uint32_t)moved;
	if (op->offset != UINT64_MAX)
		op->offset += (uint32_t)moved;
	return ZS_OP_NEEDS_FILE;
}

static int attempt_to_move(struct zs_op *op, long number,
			   int (*call)(const struct zs_op *op))
{
	int ret = move_now(op, number);

	/* Terminals and many devices, some file systems, and where the system
	 * call is unknown. */
	if (ret == -EOPNOTSUPP || ret == -ENOSYS) {
		if (zs_is_storage(op->fd))
			return ZS_OP_NEEDS_FILE;
		if (!zs_is_nonblocking(op->fd))
			return ZS_OP_NO_ATTEMPT;
		ret = call(op);
	}
	if (ret == -EAGAIN)
		return ZS_OP_NOT_YET;
	return ret < 0 ? zs_op_sum_up(op, ret) : note_moved(op, ret);
}

int zs_attempt_read(struct zs_op *op)
{
	return attempt_to_move(op, SYS_preadv2, zs_call_read);
}

int zs_attempt_write(struct zs_op *op)
{
	return attempt_to_move(op, SYS_pwritev2, zs_call_write);
}

/* --- vectors --- */

/* At @offset (-1: the file's own position). Where that is no matter, and
 * nothing else is asked for, by the older call: emulators lack the newer. */
static int read_parts(const struct zs_op *op, long offset, uint32_t flags)
{
	const struct iovec *parts = zs_memory_at(op->address);
	int count = (int)op->length;

	if (flags)
		return zs_result_of(syscall(SYS_preadv2, op->fd, parts, count,
					    offset, 0, flags));
	return zs_result_of(offset < 0 ? readv(op->fd, parts, count) :
					 preadv(op->fd, parts, count, offset));
}

static int write_parts(const struct zs_op *op, long offset, uint32_t flags)
{
	const struct iovec *parts = zs_memory_at(op->address);
	int count = (int)op->length;

	if (flags)
		return zs_result_of(syscall(SYS_pwritev2, op->fd, parts, count,
					    offset, 0, flags));
	return zs_result_of(offset < 0 ? writev(op->fd, parts, count) :
					 pwritev(op->fd, parts, count, offset));
}

typedef int move_parts(const struct zs_op *op, long offset, uint32_t flags);

static int call_with_parts(const struct zs_op *op, move_parts *move,
			   uint32_t flags)
{
	int ret = move(op, (long)op->offset, flags);

	if (is_for_offset(op, ret))
		ret = move(op, -1, flags);
	return ret;
}

/* The cache may have only a part of what a file has, and no note of that can be
 * taken in the caller's vector: files are never tried. */
static int attempt_with_parts(const struct zs_op *op, move_parts *move)
{
	int ret;

	if (zs_is_storage(op->fd))
		return ZS_OP_NEEDS_FILE;
	ret = call_with_parts(op, move, op->flags | RW_NOWAIT);
	if (ret == -EOPNOTSUPP || ret == -ENOSYS) {
		if (!zs_is_nonblocking(op->fd))
			return ZS_OP_NO_ATTEMPT;
		ret = call_with_parts(op, move, op->flags);
	}
	if (ret == -EAGAIN && !(op->flags & RW_NOWAIT))
		return ZS_OP_NOT_YET;
	return ret;
}

int zs_call_readv(const struct zs_op *op)
{
	return call_with_parts(op, read_parts, op->flags);
}

int zs_attempt_readv(struct zs_op *op)
{
	return attempt_with_parts(op, read_parts);
}

int zs_call_writev(const struct zs_op *op)
{
	return call_with_parts(op, write_parts, op->flags);
}

int zs_attempt_writev(struct zs_op *op)
{
	return attempt_with_parts(op, write_parts);
}

/* --- others --- */

int zs_call_close(const struct zs_op *op)
{
	return zs_result_of(close(op->fd));
}

/* A socket's close may wait for its peer, if it was told to linger; a file's
 * for its server. */
bool zs_is_quick_close(const struct zs_op *op)
{
	struct linger linger = { 0 };
	socklen_t size = sizeof(linger);
	mode_t type;

	if (getsockopt(op->fd, SOL_SOCKET, SO_LINGER, &linger, &size) == 0)
		return !linger.l_onoff || linger.l_linger == 0;
	type = zs_type_of(op->fd);
	return S_ISFIFO(type) || type == 0;
}

int zs_call_fsync(const struct zs_op *op)
{
	if (op->flags & ZS_URING_FSYNC_DATASYNC)
		return zs_result_of(fdatasync(op->fd));
	return zs_result_of(fsync(op->fd));
}

int zs_call_sync_file_range(const struct zs_op *op)
{
	return zs_result_of(sync_file_range(op->fd, (off_t)op->offset,
					    (off_t)op->address, op->flags));
}

int zs_call_fallocate(const struct zs_op *op)
{
	return zs_result_of(fallocate(op->fd, (int)op->length,
				      (off_t)op->offset, (off_t)op->address));
}

int zs_call_ftruncate(const struct zs_op *op)
{
	return zs_result_of(ftruncate(op->fd, (off_t)op->offset));
}

/* It returns the errno. */
int zs_call_fadvise(const struct zs_op *op)
{
	return -posix_fadvise(op->fd, (off_t)op->offset, (off_t)op->address,
			      (int)op->flags);
}

int zs_call_madvise(const struct zs_op *op)
{
	return zs_result_of(
		madvise(zs_memory_at(op->address), op->offset, (int)op->flags));
}
