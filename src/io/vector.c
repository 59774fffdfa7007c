/* SPDX-License-Identifier: MIT */
/* Transfers between a descriptor and several buffers. Called by tasks. */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/compiler.h"
#include "base/explain.h"
#include "engine/op.h"
#include "io/await.h"
#include "io/net.h"
#include "io/transfer.h"
#include "zsync/file.h"
#include "zsync/net.h"

enum {
	MOST_PARTS = 1024,   /* UIO_MAXIOV */
	HIGH_PRIORITY = 0x1, /* RWF_HIPRI: for rings of another kind */
};

/* -EAGAIN may as well be the file's own answer, which is no reason to ask it
 * again. */
int zs_transfer_when_ready(struct zs_op *op)
{
	bool reads = op->code == ZS_OP_READ || op->code == ZS_OP_READV;
	bool keeps = zs_fds_keep(zs_worker_task(), op->fd);
	int ret = -EAGAIN;

	while (op->result == ZS_OP_WOULD_WAIT && ret == -EAGAIN &&
	       !op->cancel_asked) {
		ret = zs_poll_fd(op->fd, reads ? POLLIN : POLLOUT);
		if (ret >= 0)
			ret = zs_await(op);
	}
	return zs_end_steps(keeps, op, ret);
}

/* @offset UINT64_MAX: at the file's own position. */
static ssize_t move(enum zs_op_code code, int fd, const struct iovec *parts,
		    int count, uint64_t offset, int flags)
{
	struct zs_op op = {
		.code = (uint8_t)code,
		.fd = fd,
		.address = (uint64_t)(uintptr_t)parts,
		.length = (uint32_t)count,
		.offset = offset,
		.flags = (uint32_t)flags,
	};
	int ret;

	if (count < 0 || count > MOST_PARTS || (!parts && count > 0))
		return zs_explain_none(-EINVAL);
	if (flags & HIGH_PRIORITY)
		return zs_explain_none(-EOPNOTSUPP);
	ret = zs_await(&op);
	if (zs_unlikely(op.result == ZS_OP_WOULD_WAIT))
		return zs_transfer_when_ready(&op);
	return ret;
}

ZS_PUBLIC ssize_t zs_readv(int fd, const struct iovec *parts, int count)
{
	return move(ZS_OP_READV, fd, parts, count, UINT64_MAX, 0);
}

ZS_PUBLIC ssize_t zs_writev(int fd, const struct iovec *parts, int count)
{
	return move(ZS_OP_WRITEV, fd, parts, count, UINT64_MAX, 0);
}

ZS_PUBLIC ssize_t zs_preadv(int fd, const struct iovec *parts, int count,
			    int64_t offset, int flags)
{
	if (offset < 0)
		return zs_explain_none(-EINVAL);
	return move(ZS_OP_READV, fd, parts, count, (uint64_t)offset, flags);
}

ZS_PUBLIC ssize_t zs_pwritev(int fd, const struct iovec *parts, int count,
			     int64_t offset, int flags)
{
	if (offset < 0)
		return zs_explain_none(-EINVAL);
	return move(ZS_OP_WRITEV, fd, parts, count, (uint64_t)offset, flags);
}
