/* SPDX-License-Identifier: MIT */
/*
 * Signals as a stream that a task reads, instead of handlers.
 *
 *	int main(void)
 *	{
 *		sigemptyset(&signals);
 *		sigaddset(&signals, SIGINT);
 *		sigaddset(&signals, SIGTERM);
 *		pthread_sigmask(SIG_BLOCK, &signals, NULL);
 *		return zs_run(NULL, serve, NULL) < 0;
 *	}
 *
 *	static int stop_on_signal(void *arg)
 *	{
 *		int fd = zs_signals_open(&signals);
 *		int ret = zs_signals_next(fd, NULL);
 *
 *		zs_close(fd);
 *		return ret < 0 ? ret : -ECANCELED;
 *	}
 *
 * Who blocks them. A signal that any thread of the process lets in goes to its
 * handler, or does what it does by default, and not to the stream. So the
 * program blocks those that it wants to read before it makes its first thread
 * and before it starts a runtime: threads inherit the mask. The runtime's own
 * threads block all asynchronous signals anyway, but the thread that calls
 * zs_run() goes on to take those that it took before, and so do threads that
 * the runtime knows nothing of.
 *
 * What is blocked stays blocked after the stream is closed, and when zs_run()
 * has returned; what nobody has read is delivered once it is let in.
 */
#ifndef ZSYNC_SIGNAL_H
#define ZSYNC_SIGNAL_H

#include <sys/select.h> /* sigset_t, in strict C, too */

#ifdef __cplusplus
extern "C" {
#endif

struct signalfd_siginfo; /* <sys/signalfd.h> */

/*
 * Task. A stream of @signals; its descriptor, closed on exec, which is the
 * caller's to close by zs_close(). Signals that came before and are still
 * pending are in it. Where there are several streams of a signal, one of them
 * gets it. The kernel merges equal signals that nobody has read yet, but for
 * real-time ones.
 *
 * -EINVAL, with a text that names the signal: one that cannot be read (SIGKILL,
 * SIGSTOP, and SIGSEGV and the others that faults cause), one that the runtime
 * takes for itself (SIGQUIT with ZS_CONFIG_DUMP_ON_SIGQUIT), or one that was
 * not blocked in the thread that started the runtime, as it started it; also
 * for NULL and for an empty set. -EMFILE, -ENFILE, -ENOMEM.
 */
int zs_signals_open(const sigset_t *signals);

/* Task. Waits for the next signal of the stream @fd; its number. *info, which
 * may be NULL, says who sent it, and why. -EINVAL: @fd is no such stream.
 * Cancelled, it has taken none. */
int zs_signals_next(int fd, struct signalfd_siginfo *info);

#ifdef __cplusplus
}
#endif
#endif
