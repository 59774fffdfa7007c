/* SPDX-License-Identifier: MIT */
/*
 * The calls of every message, for those who make them without a ring. On any
 * thread; errno stays as it was.
 */
#ifndef ZS_ENGINE_BARE_H
#define ZS_ENGINE_BARE_H

#include <errno.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "syscall.h"

#include "base/compiler.h"

/* Of a call by its name, and by errno. */
static inline int zs_result_of(long ret)
{
	return ret < 0 ? -errno : (int)ret;
}

/*
 * By the instruction: send() and recv() are points of cancellation in a process
 * of several threads, which costs more instructions than all the rest of an
 * attempt, and syscall() sets errno. Sanitizers have to see the calls, though.
 */
#if defined(ZS_ASAN) || defined(ZS_TSAN)
static inline int zs_send_bare(int fd, const void *buffer, size_t length,
			       int flags)
{
	int saved_errno = errno;
	int ret = zs_result_of(send(fd, buffer, length, flags));

	errno = saved_errno;
	return ret;
}

static inline int zs_recv_bare(int fd, void *buffer, size_t length, int flags)
{
	int saved_errno = errno;
	int ret = zs_result_of(recv(fd, buffer, length, flags));

	errno = saved_errno;
	return ret;
}
#else
static ZS_ALWAYS_INLINE int zs_send_bare(int fd, const void *buffer,
					 size_t length, int flags)
{
	return (int)zs_syscall(SYS_sendto, fd, (long)buffer, (long)length,
			       flags, 0, 0);
}

static ZS_ALWAYS_INLINE int zs_recv_bare(int fd, void *buffer, size_t length,
					 int flags)
{
	return (int)zs_syscall(SYS_recvfrom, fd, (long)buffer, (long)length,
			       flags, 0, 0);
}
#endif

/* Without waiting: a result or a negative errno. */
static ZS_ALWAYS_INLINE int zs_send_now(int fd, const void *buffer,
					size_t length, int flags)
{
	return zs_send_bare(fd, buffer, length,
			    flags | MSG_NOSIGNAL | MSG_DONTWAIT);
}

static ZS_ALWAYS_INLINE int zs_recv_now(int fd, void *buffer, size_t length,
					int flags)
{
	return zs_recv_bare(fd, buffer, length, flags | MSG_DONTWAIT);
}

#endif
