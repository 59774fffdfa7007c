/* SPDX-License-Identifier: MIT */
/*
 * Files, pipes and descriptors at large: checks of arguments, and one operation
 * a call. Called by tasks.
 */
#include "zsync/file.h"

#include <errno.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/explain.h"
#include "engine/abi.h"
#include "engine/op.h"
#include "io/await.h"
#include "io/transfer.h"
#include "sched/fds.h"
#include "sched/leaks.h"

/* An offset that says: at the file's own position, and move it. */
#define OWN_POSITION UINT64_MAX

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
	/* Afterwards it may be another task's. */
	zs_leaks_closed(fd);
	ret = zs_await_shielded(&op);
	zs_fds_end_close(task, fd);
	return ret;
}

/* Before 6.4 a pipe is for a thread of the kernel's, and that may not be to be
 * had: a signal that is pending keeps it from starting (6.1). */
static ZS_ALWAYS_INLINE ssize_t move(enum zs_op_code code, int fd,
				     const void *buffer, size_t length,
				     uint64_t offset)
{
	struct zs_op op;
	int ret;

	if (zs_transfer_is_bad(buffer, length))
		return zs_explain_none(-EINVAL);
	op.result = 0;
	ret = zs_transfer_by(&op, code, fd, buffer, length, offset, 0);
	if (zs_unlikely(ret == -EAGAIN && op.result == ZS_OP_WOULD_WAIT))
		return zs_transfer_when_ready(&op);
	return ret;
}

ZS_PUBLIC ssize_t zs_read(int fd, void *buffer, size_t length)
{
	return move(ZS_OP_READ, fd, buffer, length, OWN_POSITION);
}

ZS_PUBLIC ssize_t zs_write(int fd, const void *buffer, size_t length)
{
	return move(ZS_OP_WRITE, fd, buffer, length, OWN_POSITION);
}

ZS_PUBLIC ssize_t zs_pread(int fd, void *buffer, size_t length, int64_t offset)
{
	if (offset < 0)
		return zs_explain_none(-EINVAL);
	return move(ZS_OP_READ, fd, buffer, length, (uint64_t)offset);
}

ZS_PUBLIC ssize_t zs_pwrite(int fd, const void *buffer, size_t length,
			    int64_t offset)
{
	if (offset < 0)
		return zs_explain_none(-EINVAL);
	return move(ZS_OP_WRITE, fd, buffer, length, (uint64_t)offset);
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
