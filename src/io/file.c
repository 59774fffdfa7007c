/* SPDX-License-Identifier: MIT */
/*
 * Files, pipes and descriptors at large: checks of arguments, and one operation
 * a call. Called by tasks.
 */
#include "zsync/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/explain.h"
#include "engine/abi.h"
#include "engine/op.h"
#include "io/await.h"
#include "io/transfer.h"
#include "sched/fds.h"

/* An offset that says: at the file's own position, and move it. */
#define OWN_POSITION UINT64_MAX

/* A FIFO may wait for its peer for ever, and a path for its server: a cancel
 * leaves the operation to itself. Of the caller's memory it needs the path
 * alone, and only until it has been submitted. */
ZS_PUBLIC int zs_openat(int dirfd, const char *path, int flags, mode_t mode)
{
	struct zs_detachable open = {
		.op = {
			.code = ZS_OP_OPENAT,
			.fd = dirfd,
			.address = (uint64_t)(uintptr_t)path,
			.length = mode,
			.flags = (uint32_t)flags | O_CLOEXEC,
		},
		.opens = true,
	};

	if (!path)
		return zs_explain_none(-EINVAL);
	return zs_await_detachable(&open);
}

ZS_PUBLIC int zs_close(int fd)
{
	struct zs_task *task = zs_worker_task();
	struct zs_op op = {
		.code = ZS_OP_CLOSE,
		.fd = fd,
	};
	int ret;

	if (!task)
		return zs_explain_none(-EPERM);
	ret = zs_fds_begin_close(task, fd);
	if (ret < 0)
		return zs_explain_none(ret);
	ret = zs_await_shielded(&op);
	zs_fds_end_close(task, fd);
	return ret;
}

ZS_PUBLIC ssize_t zs_read(int fd, void *buffer, size_t length)
{
	return zs_transfer(ZS_OP_READ, fd, buffer, length, OWN_POSITION, 0);
}

ZS_PUBLIC ssize_t zs_write(int fd, const void *buffer, size_t length)
{
	return zs_transfer(ZS_OP_WRITE, fd, buffer, length, OWN_POSITION, 0);
}

ZS_PUBLIC ssize_t zs_pread(int fd, void *buffer, size_t length, int64_t offset)
{
	if (offset < 0)
		return zs_explain_none(-EINVAL);
	return zs_transfer(ZS_OP_READ, fd, buffer, length, (uint64_t)offset, 0);
}

ZS_PUBLIC ssize_t zs_pwrite(int fd, const void *buffer, size_t length,
			    int64_t offset)
{
	if (offset < 0)
		return zs_explain_none(-EINVAL);
	return zs_transfer(ZS_OP_WRITE, fd, buffer, length, (uint64_t)offset,
			   0);
}

ZS_PUBLIC int zs_fsync(int fd)
{
	struct zs_op op = {
		.code = ZS_OP_FSYNC,
		.fd = fd,
	};

	return zs_await(&op);
}

ZS_PUBLIC int zs_fdatasync(int fd)
{
	struct zs_op op = {
		.code = ZS_OP_FSYNC,
		.fd = fd,
		.flags = ZS_URING_FSYNC_DATASYNC,
	};

	return zs_await(&op);
}

/* Into the runtime's memory, so that a cancel can leave the operation to
 * itself. */
static int stat_by_request(struct zs_op *op, struct zs_request *request,
			   struct statx *buffer)
{
	struct zs_detachable stat = { .op = *op, .request = request };
	int ret;

	stat.op.offset = (uint64_t)(uintptr_t)&request->status;
	ret = zs_await_detachable(&stat);
	if (ret >= 0)
		*buffer = request->status;
	if (!stat.is_detached)
		zs_request_put(request);
	return ret;
}

ZS_PUBLIC int zs_statx(int dirfd, const char *path, int flags,
		       unsigned int mask, struct statx *buffer)
{
	struct zs_worker *worker = zs_worker_self;
	struct zs_request *request;
	struct zs_op op = {
		.code = ZS_OP_STATX,
		.fd = dirfd,
		.address = (uint64_t)(uintptr_t)path,
		.offset = (uint64_t)(uintptr_t)buffer,
		.length = mask,
		.flags = (uint32_t)flags,
	};

	if (!path || !buffer)
		return zs_explain_none(-EINVAL);
	request = zs_worker_task() ? zs_request_get(worker) : NULL;
	if (request)
		return stat_by_request(&op, request, buffer);
	return zs_await(&op);
}
