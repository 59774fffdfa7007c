/* SPDX-License-Identifier: MIT */
/*
 * The plain system calls of operations on paths, on the attributes of files and
 * on what folders hold. Called through the table of
 * operations, by engines on the worker's thread and on threads of the pool.
 */
#include "engine/calls.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

int zs_call_openat(const struct zs_op *op)
{
	const char *path = zs_memory_at(op->address);

	return zs_result_of(
		openat(op->fd, path, (int)op->flags, (mode_t)op->length));
}

/* A FIFO waits for its peer, which may be a task of the same worker. */
int zs_attempt_openat(struct zs_op *op)
{
	const char *path = zs_memory_at(op->address);
	int saved_errno = errno;
	struct stat status;

	if (!(op->flags & (O_NONBLOCK | O_PATH)) &&
	    fstatat(op->fd, path, &status, 0) == 0 && S_ISFIFO(status.st_mode))
		return ZS_OP_NOT_YET;
	errno = saved_errno;
	return zs_call_openat(op);
}

/* By number: musl's wrapper is younger than the musl of many systems. */
int zs_call_statx(const struct zs_op *op)
{
	return zs_result_of(syscall(SYS_statx, op->fd,
				    zs_memory_at(op->address), op->flags,
				    op->length, zs_memory_at(op->offset)));
}

/* By number, as above. */
int zs_call_renameat(const struct zs_op *op)
{
	return zs_result_of(syscall(SYS_renameat2, op->fd,
				    zs_memory_at(op->address), (int)op->length,
				    zs_memory_at(op->offset), op->flags));
}

int zs_call_linkat(const struct zs_op *op)
{
	return zs_result_of(linkat(op->fd, zs_memory_at(op->address),
				   (int)op->length, zs_memory_at(op->offset),
				   (int)op->flags));
}

int zs_call_symlinkat(const struct zs_op *op)
{
	return zs_result_of(symlinkat(zs_memory_at(op->address), op->fd,
				      zs_memory_at(op->offset)));
}

int zs_call_mkdirat(const struct zs_op *op)
{
	return zs_result_of(
		mkdirat(op->fd, zs_memory_at(op->address), (mode_t)op->length));
}

int zs_call_unlinkat(const struct zs_op *op)
{
	return zs_result_of(
		unlinkat(op->fd, zs_memory_at(op->address), (int)op->flags));
}

int zs_call_fsetxattr(const struct zs_op *op)
{
	return zs_result_of(fsetxattr(op->fd, zs_memory_at(op->address),
				      zs_memory_at(op->offset), op->length,
				      (int)op->flags));
}

int zs_call_setxattr(const struct zs_op *op)
{
	const struct zs_xattr *xattr = zs_memory_at(op->address);

	return zs_result_of(setxattr(xattr->path, xattr->name,
				     zs_memory_at(op->offset), op->length,
				     (int)op->flags));
}

int zs_call_fgetxattr(const struct zs_op *op)
{
	return zs_result_of(fgetxattr(op->fd, zs_memory_at(op->address),
				      zs_memory_at(op->offset), op->length));
}

int zs_call_getxattr(const struct zs_op *op)
{
	const struct zs_xattr *xattr = zs_memory_at(op->address);

	return zs_result_of(getxattr(xattr->path, xattr->name,
				     zs_memory_at(op->offset), op->length));
}

/* By number: libc's readdir() has a buffer of its own. */
int zs_call_getdents(const struct zs_op *op)
{
	return zs_result_of(syscall(SYS_getdents64, op->fd,
				    zs_memory_at(op->address), op->length));
}
