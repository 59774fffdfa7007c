/* SPDX-License-Identifier: MIT */
/*
 * What is done to files by their paths. Called by tasks.
 *
 * A path may wait for its server for ever: a cancel leaves the operation to
 * itself. Of the caller's memory it needs the paths alone, and only until it
 * has been submitted.
 */
#include "zsync/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>

#include "base/compiler.h"
#include "base/explain.h"
#include "engine/op.h"
#include "io/await.h"
#include "sched/leaks.h"

/* A FIFO may wait for its peer for ever, too. */
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
	return zs_leaks_opened(zs_await_detachable(&open), "zs_openat()");
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
		memcpy(buffer, request->status, sizeof(request->status));
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

/* By a copy of the folder @second, which is looked up when the first path has
 * been walked: the call may have been given up by then, and the number may be
 * another folder's. Without a copy it cannot be given up. */
static int await_with_copy(struct zs_detachable *detachable, int second)
{
	struct zs_request *request = zs_request_get(zs_worker_self);
	int saved_errno = errno;
	int ret;

	if (!request)
		return zs_await(&detachable->op);
	request->fd = fcntl(second, F_DUPFD_CLOEXEC, 0);
	if (request->fd < 0) {
		errno = saved_errno;
		zs_request_put(request);
		return zs_await(&detachable->op);
	}
	detachable->op.length = (uint32_t)request->fd;
	detachable->request = request;
	ret = zs_await_detachable(detachable);
	if (!detachable->is_detached)
		zs_request_put(request);
	return ret;
}

/* @second: another folder that it names, by its length. */
static int await_two(struct zs_detachable *detachable, int second)
{
	int ret = zs_await_keep(second);

	if (ret < 0)
		return ret;
	if (second < 0)
		return zs_await_let_go(ret, zs_await_detachable(detachable));
	return zs_await_let_go(ret, await_with_copy(detachable, second));
}

ZS_PUBLIC int zs_renameat(int old_dirfd, const char *old_path, int new_dirfd,
			  const char *new_path, unsigned int flags)
{
	struct zs_detachable rename = {
		.op = {
			.code = ZS_OP_RENAMEAT,
			.fd = old_dirfd,
			.address = (uint64_t)(uintptr_t)old_path,
			.length = (uint32_t)new_dirfd,
			.offset = (uint64_t)(uintptr_t)new_path,
			.flags = flags,
		},
	};

	if (!old_path || !new_path)
		return zs_explain_none(-EINVAL);
	return await_two(&rename, new_dirfd);
}

ZS_PUBLIC int zs_linkat(int old_dirfd, const char *old_path, int new_dirfd,
			const char *new_path, int flags)
{
	struct zs_detachable link = {
		.op = {
			.code = ZS_OP_LINKAT,
			.fd = old_dirfd,
			.address = (uint64_t)(uintptr_t)old_path,
			.length = (uint32_t)new_dirfd,
			.offset = (uint64_t)(uintptr_t)new_path,
			.flags = (uint32_t)flags,
		},
	};

	if (!old_path || !new_path)
		return zs_explain_none(-EINVAL);
	return await_two(&link, new_dirfd);
}

ZS_PUBLIC int zs_symlinkat(const char *target, int dirfd, const char *path)
{
	struct zs_detachable link = {
		.op = {
			.code = ZS_OP_SYMLINKAT,
			.fd = dirfd,
			.address = (uint64_t)(uintptr_t)target,
			.offset = (uint64_t)(uintptr_t)path,
		},
	};

	if (!target || !path)
		return zs_explain_none(-EINVAL);
	return zs_await_detachable(&link);
}

ZS_PUBLIC int zs_mkdirat(int dirfd, const char *path, mode_t mode)
{
	struct zs_detachable make = {
		.op = {
			.code = ZS_OP_MKDIRAT,
			.fd = dirfd,
			.address = (uint64_t)(uintptr_t)path,
			.length = mode,
		},
	};

	if (!path)
		return zs_explain_none(-EINVAL);
	return zs_await_detachable(&make);
}

ZS_PUBLIC int zs_unlinkat(int dirfd, const char *path, int flags)
{
	struct zs_detachable unlink = {
		.op = {
			.code = ZS_OP_UNLINKAT,
			.fd = dirfd,
			.address = (uint64_t)(uintptr_t)path,
			.flags = (uint32_t)flags,
		},
	};

	if (!path)
		return zs_explain_none(-EINVAL);
	return zs_await_detachable(&unlink);
}
