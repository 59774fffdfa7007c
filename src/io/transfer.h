/* SPDX-License-Identifier: MIT */
/*
 * Transfers: the operations that move bytes between one buffer and a
 * descriptor, on every program's hot path. For net.c and file.c, from a task.
 */
#ifndef ZS_IO_TRANSFER_H
#define ZS_IO_TRANSFER_H

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/explain.h"
#include "engine/op.h"
#include "io/await.h"

/*
 * 0, or -EINVAL for a bad buffer. Sets only what an op's user owes: the other
 * fields are zs_await()'s and the engine's, and to clear them first, as an
 * initialiser does, would cost as many instructions as all of this.
 */
static ZS_ALWAYS_INLINE int zs_transfer_init(struct zs_op *op,
					     enum zs_op_code code, int fd,
					     const void *buffer, size_t length,
					     uint64_t offset, int flags)
{
	if (zs_unlikely(length > INT_MAX || (!buffer && length > 0))) {
		zs_explain_none(-EINVAL);
		return -EINVAL;
	}
	op->code = (uint8_t)code;
	op->fd = fd;
	op->address = (uint64_t)(uintptr_t)buffer;
	op->length = (uint32_t)length;
	op->offset = offset;
	op->flags = (uint32_t)flags;
	return 0;
}

static ZS_ALWAYS_INLINE int zs_transfer(enum zs_op_code code, int fd,
					const void *buffer, size_t length,
					uint64_t offset, int flags)
{
	struct zs_op op;
	int ret =
		zs_transfer_init(&op, code, fd, buffer, length, offset, flags);

	return zs_unlikely(ret < 0) ? ret : zs_await_inline(&op);
}

#endif
