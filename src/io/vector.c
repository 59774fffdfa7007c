/* SPDX-License-Identifier: MIT */
/* Transfers between a descriptor and several buffers. Called by tasks. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/compiler.h"
#include "base/explain.h"
#include "engine/op.h"
#include "io/await.h"
#include "io/net.h"
#include "zsync/file.h"

enum {
	MOST_PARTS = 1024,   /* UIO_MAXIOV */
	HIGH_PRIORITY = 0x1, /* RWF_HIPRI: for rings of another kind */
	NO_WAIT = 0x8,	     /* RWF_NOWAIT */
};

/* Did the caller not ask for EAGAIN, by @flags or by the descriptor's? Then it
 * comes of a ring without such calls. */
static bool is_to_wait(int fd, int flags)
{
	int saved_errno = errno;
	int status = fcntl(fd, F_GETFL);

	errno = saved_errno;
	return !(flags & NO_WAIT) && status >= 0 && !(status & O_NONBLOCK);
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
	if (zs_unlikely(ret == -EAGAIN) && is_to_wait(fd, flags))
		return zs_await_ready(&op,
				      code == ZS_OP_READV ? POLLIN : POLLOUT);
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
