/* SPDX-License-Identifier: MIT */
/* Pipes, and what moves pages between them and other descriptors. Called by
 * tasks. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/explain.h"
#include "engine/op.h"
#include "io/await.h"
#include "sched/leaks.h"
#include "zsync/file.h"

enum {
	SPLICE_FLAGS = SPLICE_F_MOVE | SPLICE_F_NONBLOCK | SPLICE_F_MORE |
		       SPLICE_F_GIFT,
};

ZS_PUBLIC int zs_pipe(int fds[2], int flags)
{
	struct zs_op op = {
		.code = ZS_OP_PIPE,
		.address = (uint64_t)(uintptr_t)fds,
		.flags = (uint32_t)flags | O_CLOEXEC,
	};
	int ret;

	if (!fds)
		return zs_explain_none(-EINVAL);
	ret = zs_await(&op);
	if (ret == 0) {
		zs_leaks_opened(fds[0], "zs_pipe()");
		zs_leaks_opened(fds[1], "zs_pipe()");
	}
	return ret;
}

/* The descriptor that is read from is kept: the op names the other one. */
static ssize_t await_splice(enum zs_op_code code, struct zs_splice_in *in,
			    int fd_out, uint64_t offset_out, size_t length,
			    unsigned int flags)
{
	struct zs_op op = {
		.code = (uint8_t)code,
		.fd = fd_out,
		.offset = offset_out,
		.address = (uint64_t)(uintptr_t)in,
		.length = (uint32_t)length,
		.flags = flags,
	};
	int ret;

	if (length > INT_MAX || (flags & ~SPLICE_FLAGS))
		return zs_explain_none(-EINVAL);
	ret = zs_await_keep(in->fd);
	if (ret < 0)
		return ret;
	return zs_await_let_go(ret, zs_await(&op));
}

static uint64_t offset_of(const int64_t *offset)
{
	return offset ? (uint64_t)*offset : UINT64_MAX;
}

ZS_PUBLIC ssize_t zs_splice(int fd_in, int64_t *offset_in, int fd_out,
			    int64_t *offset_out, size_t length,
			    unsigned int flags)
{
	struct zs_splice_in in = { offset_of(offset_in), fd_in };
	ssize_t moved;

	if ((offset_in && *offset_in < 0) || (offset_out && *offset_out < 0))
		return zs_explain_none(-EINVAL);
	moved = await_splice(ZS_OP_SPLICE, &in, fd_out, offset_of(offset_out),
			     length, flags);
	if (moved > 0 && offset_in)
		*offset_in += moved;
	if (moved > 0 && offset_out)
		*offset_out += moved;
	return moved;
}

ZS_PUBLIC ssize_t zs_tee(int fd_in, int fd_out, size_t length,
			 unsigned int flags)
{
	struct zs_splice_in in = { UINT64_MAX, fd_in };

	return await_splice(ZS_OP_TEE, &in, fd_out, UINT64_MAX, length, flags);
}
