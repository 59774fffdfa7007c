/* SPDX-License-Identifier: MIT */
/*
 * Waiting for child processes, and the signals and descriptors that belong to
 * them. How they are started is in spawn_process.c. Called by tasks; a kill by
 * any thread.
 */
#include "zsync/process.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/compiler.h"
#include "base/explain.h"
#include "engine/op.h"
#include "io/await.h"
#include "io/process.h"
#include "zsync/file.h"
#include "zsync/net.h"

enum { PIDFD_SEND_SIGNAL = 424, PIDFD_OPEN = 434 };

int zs_pidfd_open(pid_t pid)
{
	int saved_errno = errno;
	int fd = (int)syscall(PIDFD_OPEN, pid, 0);

	if (fd < 0)
		fd = -errno;
	errno = saved_errno;
	return fd;
}

/* A signal of this process ends a wait for a child early, but not ours. */
static int await_again(struct zs_op *op)
{
	int ret;

	do {
		ret = zs_await(op);
	} while (ret == -EINTR);
	return ret;
}

/* Where only a call that does not wait is to be had: it is made when the
 * child's pidfd says that it has ended. */
static int wait_by_pidfd(struct zs_op *op)
{
	int fd = zs_pidfd_open(op->fd);
	int ret;

	if (fd == -ENOSYS)
		return zs_explain_as(fd, "waiting for a child takes Linux 5.3 "
					 "(pidfd_open), or 6.7 and io_uring");
	/* Released since it was found running, SIGCHLD being ignored. */
	if (fd == -ESRCH)
		fd = -ECHILD;
	if (fd < 0)
		return zs_explain_none(fd);
	do {
		ret = zs_poll_fd(fd, POLLIN);
		if (ret >= 0)
			ret = await_again(op);
	} while (ret == -EAGAIN);
	zs_close(fd);
	return ret;
}

static struct zs_child_status status_of(const siginfo_t *info)
{
	struct zs_child_status status = {
		.end = ZS_CHILD_KILLED,
		.value = info->si_status,
	};

	if (info->si_code == CLD_EXITED)
		status.end = ZS_CHILD_EXITED;
	else if (info->si_code == CLD_DUMPED)
		status.end = ZS_CHILD_DUMPED;
	return status;
}

ZS_PUBLIC int zs_child_wait(pid_t pid, struct zs_child_status *status)
{
	siginfo_t info = { 0 };
	struct zs_child_status end;
	struct zs_op op = {
		.code = ZS_OP_WAITID,
		.fd = pid,
		.length = P_PID,
		.offset = (uint64_t)(uintptr_t)&info,
		.flags = WEXITED,
	};
	int ret;

	if (pid < 1)
		return zs_explain_none(-EINVAL);
	ret = await_again(&op);
	if (ret == -EAGAIN)
		ret = wait_by_pidfd(&op);
	if (ret < 0)
		return ret;
	end = status_of(&info);
	if (status)
		*status = end;
	return end.end == ZS_CHILD_EXITED ? end.value : 128 + end.value;
}

ZS_PUBLIC int zs_child_kill(const struct zs_child *child, int signal_number)
{
	int ret, saved_errno = errno;

	if (!child || child->pid < 1)
		return zs_explain_none(-EINVAL);
	if (child->pidfd >= 0)
		ret = (int)syscall(PIDFD_SEND_SIGNAL, child->pidfd,
				   signal_number, NULL, 0);
	else
		ret = kill(child->pid, signal_number);
	if (ret < 0)
		ret = zs_explain_none(-errno);
	errno = saved_errno;
	return ret;
}

static int close_one(int *fd)
{
	int ret = *fd >= 0 ? zs_close(*fd) : 0;

	*fd = -1;
	return ret;
}

ZS_PUBLIC int zs_child_close(struct zs_child *child)
{
	int *fds[4];
	int i, ret = 0, first = 0;

	if (!zs_worker_task())
		return zs_explain_none(-EPERM);
	if (!child)
		return zs_explain_none(-EINVAL);
	fds[0] = &child->in;
	fds[1] = &child->out;
	fds[2] = &child->err;
	fds[3] = &child->pidfd;
	for (i = 0; i < 4; i++) {
		ret = close_one(fds[i]);
		if (first == 0)
			first = ret;
	}
	return first;
}
