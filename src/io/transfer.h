/* SPDX-License-Identifier: MIT */
/*
 * Transfers: the operations that move bytes between one buffer and a
 * descriptor, on every program's hot path. For net.c and file.c, from a task.
 */
#ifndef ZS_IO_TRANSFER_H
#define ZS_IO_TRANSFER_H

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/explain.h"
#include "engine/op.h"
#include "io/await.h"

static ZS_ALWAYS_INLINE bool zs_transfer_is_bad(const void *buffer,
						size_t length)
{
	return zs_unlikely(length > INT_MAX || (!buffer && length > 0));
}

/* Sets only what an op's user owes: the other fields are zs_await()'s and the
 * engine's, and to clear them first, as an initialiser does, would cost as many
 * instructions as all of this. */
static ZS_ALWAYS_INLINE void zs_transfer_fill(struct zs_op *op,
					      enum zs_op_code code, int fd,
					      const void *buffer, size_t length,
					      uint64_t offset, int flags)
{
	op->code = (uint8_t)code;
	op->state = ZS_OP_IN_FLIGHT;
	op->cancel_asked = false;
	op->cancel_waiting = false;
	op->fd = fd;
	op->address = (uint64_t)(uintptr_t)buffer;
	op->length = (uint32_t)length;
	op->offset = offset;
	op->flags = (uint32_t)flags;
}

/* The buffer is not a bad one. @op can be awaited again afterwards. */
static ZS_ALWAYS_INLINE int zs_transfer_by(struct zs_op *op,
					   enum zs_op_code code, int fd,
					   const void *buffer, size_t length,
					   uint64_t offset, int flags)
{
	struct zs_op asked;

	zs_transfer_fill(op, code, fd, buffer, length, offset, flags);
	zs_transfer_fill(&asked, code, fd, buffer, length, offset, flags);
	return zs_await_inline(op, &asked);
}

/* The same for who knows that @worker, the running one, has a ring. */
static ZS_ALWAYS_INLINE int
zs_transfer_on_ring(struct zs_worker *worker, struct zs_op *op,
		    enum zs_op_code code, int fd, const void *buffer,
		    size_t length, uint64_t offset, int flags)
{
	struct zs_op asked;

	zs_transfer_fill(op, code, fd, buffer, length, offset, flags);
	zs_transfer_fill(&asked, code, fd, buffer, length, offset, flags);
	return zs_await_on_ring(worker, op, &asked);
}

/* vector.c. Of a read or write that ended with ZS_OP_WOULD_WAIT: the ring
 * leaves the waiting to us, since it lacks the operation or could start no
 * thread for it. Its result in the end. */
int zs_transfer_when_ready(struct zs_op *op);

static ZS_ALWAYS_INLINE int zs_transfer(enum zs_op_code code, int fd,
					const void *buffer, size_t length,
					uint64_t offset, int flags)
{
	struct zs_op op;

	if (zs_transfer_is_bad(buffer, length))
		return zs_explain_none(-EINVAL);
	return zs_transfer_by(&op, code, fd, buffer, length, offset, flags);
}

#endif
