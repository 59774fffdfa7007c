/* SPDX-License-Identifier: MIT */
/* Signals as streams, over signalfd(2). Called by tasks. */
#include "zsync/signal.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/signalfd.h>

#include "base/compiler.h"
#include "base/explain.h"
#include "io/await.h"
#include "sched/leaks.h"
#include "sched/runtime.h"
#include "zsync/file.h"
#include "zsync/net.h"

enum { SIGNAL_LAST = 64 };

static bool is_readable(int number)
{
	switch (number) {
	case SIGKILL:
	case SIGSTOP:
	case SIGSEGV:
	case SIGBUS:
	case SIGFPE:
	case SIGILL:
	case SIGTRAP:
	case SIGSYS:
	case SIGABRT:
		return false;
	default:
		return true;
	}
}

static int check_signal(const struct zs_runtime *runtime, int number)
{
	if (!is_readable(number))
		return zs_explain_as(-EINVAL,
				     "signal %d cannot be read from a "
				     "stream",
				     number);
	if (number == SIGQUIT &&
	    (runtime->config.flags & ZS_CONFIG_DUMP_ON_SIGQUIT))
		return zs_explain_as(-EINVAL,
				     "SIGQUIT dumps the tasks here: switch "
				     "ZS_CONFIG_DUMP_ON_SIGQUIT off");
	if (!sigismember(&runtime->signal_mask, number))
		return zs_explain_as(
			-EINVAL,
			"signal %d is not blocked: block it "
			"(pthread_sigmask) before the runtime is started",
			number);
	return 0;
}

static int check_signals(const struct zs_runtime *runtime,
			 const sigset_t *signals)
{
	int number, ret, found = 0;

	for (number = 1; number <= SIGNAL_LAST; number++) {
		if (sigismember(signals, number) != 1)
			continue;
		found++;
		ret = check_signal(runtime, number);
		if (ret < 0)
			return ret;
	}
	return found ? 0 : zs_explain_as(-EINVAL, "the set is empty");
}

/* O_NONBLOCK for engines that try first and wait for readiness. */
ZS_PUBLIC int zs_signals_open(const sigset_t *signals)
{
	int ret, saved_errno = errno;

	if (!zs_worker_task())
		return zs_explain_none(-EPERM);
	if (!signals)
		return zs_explain_none(-EINVAL);
	ret = check_signals(zs_worker_self->runtime, signals);
	if (ret < 0)
		return ret;
	ret = signalfd(-1, signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (ret < 0)
		ret = zs_explain_none(-errno);
	errno = saved_errno;
	return zs_leaks_opened(ret, "zs_signals_open()");
}

/* Another task may be faster, after the wait. */
static int read_next(int fd, struct signalfd_siginfo *info)
{
	int ret;

	do {
		ret = (int)zs_read(fd, info, sizeof(*info));
		if (ret == -EAGAIN) {
			ret = zs_poll_fd(fd, POLLIN);
			if (ret >= 0)
				ret = -EAGAIN;
		}
	} while (ret == -EAGAIN);
	return ret;
}

ZS_PUBLIC int zs_signals_next(int fd, struct signalfd_siginfo *info)
{
	struct signalfd_siginfo taken;
	bool keeps;
	int ret;

	if (!zs_worker_task())
		return zs_explain_none(-EPERM);
	if (fd < 0)
		return zs_explain_none(-EBADF);
	keeps = zs_fds_keep(zs_worker_task(), fd);
	ret = read_next(fd, &taken);
	if (keeps)
		zs_fds_let_go(zs_worker_task());
	if (ret < 0)
		return ret;
	if (ret != (int)sizeof(taken))
		return zs_explain_as(-EINVAL, "it is no stream of signals");
	if (info)
		*info = taken;
	return (int)taken.ssi_signo;
}
