/* SPDX-License-Identifier: MIT */
/*
 * What C libraries and the kernel see differently in a message. Some (musl)
 * have the lengths of POSIX, which are ints, with a gap where the kernel reads
 * the upper half of a long. Their own calls clear these gaps in a copy; what
 * goes to a ring passes no library. For net.c.
 */
#ifndef ZS_IO_MESSAGE_H
#define ZS_IO_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

enum {
	ZS_MESSAGE_HAS_GAPS = sizeof(((struct msghdr *)0)->msg_iovlen) <
			      sizeof(size_t)
};

/* Into @clear, which may be @message itself. */
static inline void zs_message_clear_gaps(struct msghdr *clear,
					 const struct msghdr *message)
{
	*clear = (struct msghdr){
		.msg_name = message->msg_name,
		.msg_namelen = message->msg_namelen,
		.msg_iov = message->msg_iov,
		.msg_iovlen = message->msg_iovlen,
		.msg_control = message->msg_control,
		.msg_controllen = message->msg_controllen,
		.msg_flags = message->msg_flags,
	};
}

/* The kernel's view of a control header's length. */
static inline bool zs_message_is_clear(const struct cmsghdr *header)
{
	size_t length;

	memcpy(&length, header, sizeof(length));
	return length == header->cmsg_len;
}

/* In the control data of @message, where they are, for the bytes between a
 * length and a level mean nothing to its owner; but nothing is written where
 * nothing has to be, since that memory may be shared or constant. */
static inline void zs_message_clear_control(const struct msghdr *message)
{
	struct msghdr copy = *message;
	struct cmsghdr *header;

	for (header = CMSG_FIRSTHDR(&copy); header;
	     header = CMSG_NXTHDR(&copy, header))
		if (!zs_message_is_clear(header))
			*header = (struct cmsghdr){
				.cmsg_len = header->cmsg_len,
				.cmsg_level = header->cmsg_level,
				.cmsg_type = header->cmsg_type,
			};
}

#endif
