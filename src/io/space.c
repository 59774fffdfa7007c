/* SPDX-License-Identifier: MIT */
/* A file's size, its room on the disk, and advice about it and about memory.
 * Called by tasks. */
#include <errno.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/explain.h"
#include "engine/op.h"
#include "io/await.h"
#include "zsync/file.h"

ZS_PUBLIC int zs_fallocate(int fd, int mode, int64_t offset, int64_t length)
{
	struct zs_op op = {
		.code = ZS_OP_FALLOCATE,
		.fd = fd,
		.offset = (uint64_t)offset,
		.address = (uint64_t)length,
		.length = (uint32_t)mode,
	};

	if (offset < 0 || length <= 0)
		return zs_explain_none(-EINVAL);
	return zs_await(&op);
}

ZS_PUBLIC int zs_ftruncate(int fd, int64_t length)
{
	struct zs_op op = {
		.code = ZS_OP_FTRUNCATE,
		.fd = fd,
		.offset = (uint64_t)length,
	};

	if (length < 0)
		return zs_explain_none(-EINVAL);
	return zs_await(&op);
}

static int await_range(enum zs_op_code code, int fd, int64_t offset,
		       int64_t length, unsigned int flags)
{
	struct zs_op op = {
		.code = (uint8_t)code,
		.fd = fd,
		.offset = (uint64_t)offset,
		.address = (uint64_t)length,
		.flags = flags,
	};

	if (offset < 0 || length < 0)
		return zs_explain_none(-EINVAL);
	return zs_await(&op);
}

ZS_PUBLIC int zs_fadvise(int fd, int64_t offset, int64_t length, int advice)
{
	return await_range(ZS_OP_FADVISE, fd, offset, length,
			   (unsigned int)advice);
}

ZS_PUBLIC int zs_sync_file_range(int fd, int64_t offset, int64_t length,
				 unsigned int flags)
{
	return await_range(ZS_OP_SYNC_FILE_RANGE, fd, offset, length, flags);
}

ZS_PUBLIC int zs_madvise(void *address, size_t length, int advice)
{
	struct zs_op op = {
		.code = ZS_OP_MADVISE,
		.fd = -1,
		.address = (uint64_t)(uintptr_t)address,
		.offset = length,
		.flags = (uint32_t)advice,
	};

	return zs_await(&op);
}
