/* SPDX-License-Identifier: MIT */
/*
 * The calls of every message, for those who make them without a ring. On any
 * thread; errno may change.
 */
#ifndef ZS_ENGINE_BARE_H
#define ZS_ENGINE_BARE_H

#include <errno.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/compiler.h"

static inline int zs_result_of(long ret)
{
	return ret < 0 ? -errno : (int)ret;
}

/*
 * Not through send() and recv(), which in a process of several threads are
 * points of cancellation: that costs more instructions than all the rest of an
 * attempt. Sanitizers have to see them.
 */
#if defined(ZS_ASAN) || defined(ZS_TSAN)
#define zs_send_bare(fd, buffer, length, flags) send(fd, buffer, length, flags)
#define zs_recv_bare(fd, buffer, length, flags) recv(fd, buffer, length, flags)
#else
#define zs_send_bare(fd, buffer, length, flags) \
	syscall(SYS_sendto, fd, buffer, length, flags, NULL, 0)
#define zs_recv_bare(fd, buffer, length, flags) \
	syscall(SYS_recvfrom, fd, buffer, length, flags, NULL, NULL)
#endif

/* Without waiting: a result or a negative errno. */
static ZS_ALWAYS_INLINE int zs_send_now(int fd, const void *buffer,
					size_t length, int flags)
{
	return zs_result_of(zs_send_bare(fd, buffer, length,
					 flags | MSG_NOSIGNAL | MSG_DONTWAIT));
}

static ZS_ALWAYS_INLINE int zs_recv_now(int fd, void *buffer, size_t length,
					int flags)
{
	return zs_result_of(
		zs_recv_bare(fd, buffer, length, flags | MSG_DONTWAIT));
}

#endif
