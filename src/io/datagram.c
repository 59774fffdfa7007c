/* SPDX-License-Identifier: MIT */
/*
 * Messages with addresses, one by one and in batches. Called by tasks. No ring
 * has a batch: so that is a plain system call, which does not wait, and a poll
 * where it would have to.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/compiler.h"
#include "base/explain.h"
#include "engine/op.h"
#include "io/await.h"
#include "io/net.h"
#include "io/transfer.h"
#include "zsync/net.h"

ZS_PUBLIC ssize_t zs_sendto(int fd, const void *buffer, size_t length,
			    int flags, const struct sockaddr *address,
			    socklen_t address_length)
{
	struct iovec part = { (void *)(uintptr_t)buffer, length };
	struct msghdr message = {
		.msg_name = (void *)(uintptr_t)address,
		.msg_namelen = address_length,
		.msg_iov = &part,
		.msg_iovlen = 1,
	};

	if (zs_transfer_is_bad(buffer, length) ||
	    (!address && address_length > 0))
		return zs_explain_none(-EINVAL);
	return zs_sendmsg(fd, &message, flags);
}

ZS_PUBLIC ssize_t zs_recvfrom(int fd, void *buffer, size_t length, int flags,
			      struct sockaddr *address,
			      socklen_t *address_length)
{
	struct iovec part = { buffer, length };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
	ssize_t ret;

	if (zs_transfer_is_bad(buffer, length) || (address && !address_length))
		return zs_explain_none(-EINVAL);
	if (address) {
		message.msg_name = address;
		message.msg_namelen = *address_length;
	}
	ret = zs_recvmsg(fd, &message, flags);
	if (ret >= 0 && address)
		*address_length = message.msg_namelen;
	return ret;
}

/* --- batches --- */

static struct zs_op batch(enum zs_op_code code, int fd,
			  const struct mmsghdr *messages, unsigned int count,
			  int flags)
{
	return (struct zs_op){
		.code = (uint8_t)code,
		.fd = fd,
		.address = (uint64_t)(uintptr_t)messages,
		.length = count,
		.flags = (uint32_t)flags,
	};
}

ZS_PUBLIC int zs_sendmmsg(int fd, struct mmsghdr *messages, unsigned int count,
			  int flags)
{
	struct zs_op op = batch(ZS_OP_SENDMMSG, fd, messages, count,
				flags | MSG_NOSIGNAL | MSG_DONTWAIT);
	int ret;

	if (count > INT_MAX || (!messages && count > 0))
		return zs_explain_none(-EINVAL);
	ret = zs_await(&op);
	if (ret == (int)count || (flags & MSG_DONTWAIT))
		return ret;
	return (int)zs_send_rest(&op, ret, sizeof(*messages));
}

ZS_PUBLIC int zs_recvmmsg(int fd, struct mmsghdr *messages, unsigned int count,
			  int flags)
{
	struct zs_op op = batch(ZS_OP_RECVMMSG, fd, messages, count, flags);

	if (count > INT_MAX || (!messages && count > 0))
		return zs_explain_none(-EINVAL);
	if (flags & MSG_DONTWAIT)
		return zs_await(&op);
	return zs_await_ready(&op, flags & MSG_ERRQUEUE ? POLLERR : POLLIN);
}
