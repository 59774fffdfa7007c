/* SPDX-License-Identifier: MIT */
/* Options and flags of sockets: plain system calls, because they never wait for
 * anybody. Called by tasks. */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

#include "base/compiler.h"
#include "base/explain.h"
#include "engine/uring.h"
#include "io/net.h"
#include "sched/worker.h"
#include "zsync/file.h"
#include "zsync/net.h"
#include "zsync/task.h"

int zs_set_option(int fd, int level, int option, int value)
{
	int ret = 0, saved = errno;

	if (setsockopt(fd, level, option, &value, sizeof(value)) < 0)
		ret = -errno;
	errno = saved;
	return ret;
}

int zs_waiting_type(void)
{
	const struct zs_task *task = zs_worker_task();

	if (!task || task->worker->engine->ops == &zs_uring_ops)
		return 0;
	return SOCK_NONBLOCK;
}

int zs_set_blocking(int fd)
{
	int ret = 0, saved = errno;
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
		ret = -errno;
	errno = saved;
	return ret;
}

int zs_keep_or_close(int fd, int ret)
{
	if (ret == 0)
		return fd;
	zs_close(fd);
	return ret;
}

ZS_PUBLIC int zs_setsockopt(int fd, int level, int option, const void *value,
			    socklen_t length)
{
	int ret = 0, saved = errno;

	if (!zs_self())
		return zs_explain_none(-EPERM);
	if (!value && length > 0)
		return zs_explain_none(-EINVAL);
	if (setsockopt(fd, level, option, value, length) < 0)
		ret = zs_explain_none(-errno);
	errno = saved;
	return ret;
}

ZS_PUBLIC int zs_getsockopt(int fd, int level, int option, void *value,
			    socklen_t *length)
{
	int ret = 0, saved = errno;

	if (!zs_self())
		return zs_explain_none(-EPERM);
	if (!length || (!value && *length > 0))
		return zs_explain_none(-EINVAL);
	if (getsockopt(fd, level, option, value, length) < 0)
		ret = zs_explain_none(-errno);
	errno = saved;
	return ret;
}
