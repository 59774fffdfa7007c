/* SPDX-License-Identifier: MIT */
/*
 * Child processes: starting them, with pipes to talk to them, and waiting for
 * their end.
 *
 *	char *const argv[] = { "sort", "-u", NULL };
 *	struct zs_child_options options = {
 *		.size = sizeof(options),
 *		.argv = argv,
 *		.in = ZS_CHILD_PIPE,
 *		.out = ZS_CHILD_PIPE,
 *	};
 *	struct zs_child child;
 *
 *	ret = zs_child_spawn(&child, &options);
 *	...
 *	zs_write(child.in, text, length);
 *	zs_close(child.in);
 *	child.in = -1;
 *	while (zs_read(child.out, buffer, sizeof(buffer)) > 0)
 *		...
 *	zs_child_close(&child);
 *	status = zs_child_wait(child.pid, NULL);
 */
#ifndef ZSYNC_PROCESS_H
#define ZSYNC_PROCESS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a standard stream of a child is. */
enum zs_child_stream {
	ZS_CHILD_INHERIT, /* what this process has there, if any */
	ZS_CHILD_PIPE,	  /* a pipe, whose other end is in struct zs_child */
	ZS_CHILD_NULL,	  /* /dev/null */
	ZS_CHILD_OUTPUT,  /* for err alone: the same as out */
};

/* A descriptor that a child gets, by whatever number; this process keeps its
 * own, and its close-on-exec. */
struct zs_child_fd {
	int fd; /* here */
	int as; /* there */
};

/* Most descriptors that a child can be given besides its streams. */
#define ZS_CHILD_FDS_MAX 64

/* Bits of zs_child_options.flags. */
enum {
	ZS_CHILD_GROUP = 1 << 0,   /* leads a process group of its own */
	ZS_CHILD_SESSION = 1 << 1, /* leads a session of its own */
};

/* All borrowed for the call. What is 0 or NULL is as its comment says. */
struct zs_child_options {
	size_t size; /* sizeof(struct zs_child_options) */
	/* The program: a path, relative ones from cwd; without a slash it is
	 * looked for in this process's PATH. NULL: argv[0]. */
	const char *file;
	char *const *argv; /* at least one, then NULL */
	char *const *envp; /* then NULL; NULL: this process's environment */
	const char *cwd;   /* NULL: this process's */
	/* enum zs_child_stream */
	uint8_t in;
	uint8_t out;
	uint8_t err;
	uint32_t flags;
	/* No two as the same number, nor as that of a stream which is not
	 * ZS_CHILD_INHERIT. */
	const struct zs_child_fd *fds;
	size_t num_fds;
};

/* The descriptors are the caller's, -1 where there is none, and are closed on
 * exec. */
struct zs_child {
	pid_t pid;
	/* Readable once the child has ended. -1 where the kernel has none
	 * (before 5.3), or had no descriptor free. */
	int pidfd;
	int in;	 /* what is written here the child reads */
	int out; /* what the child writes is read here */
	int err;
};

/* How a child ended. */
enum zs_child_end {
	ZS_CHILD_EXITED, /* value is its exit status, 0 to 255 */
	ZS_CHILD_KILLED, /* value is the signal */
	ZS_CHILD_DUMPED, /* likewise, and it left a core file */
};
struct zs_child_status {
	enum zs_child_end end;
	int value;
};

/*
 * Task. Starts a program and returns when it has begun, or why it could not. It
 * begins with no signal blocked, whatever this process blocks; what this
 * process ignores it ignores, too, but for SIGPIPE, and what this process
 * handles has its default action. Of descriptors it has its streams, @fds, and
 * those of this process that are not close-on-exec, which all that zsync opens
 * are. What it asks for by PR_SET_PDEATHSIG comes at the end of the runtime,
 * if not of the process: the parent is one of the runtime's threads, which
 * stays until then.
 *
 * 0, and *child is set, which is to be closed by zs_child_close() and, in
 * whatever order, to be waited for. Or nothing is left, no process either:
 * those of execve(2) (-ENOENT, -EACCES, -E2BIG, ...) and of chdir(2), which may
 * be about cwd; -EINVAL for options that make no sense; -EBADF, -EMFILE,
 * -EAGAIN (RLIMIT_NPROC), -ENOMEM. A cancel leaves nothing, or comes too late:
 * then the result is 0.
 */
int zs_child_spawn(struct zs_child *child,
		   const struct zs_child_options *options);

/*
 * Task. Waits until the child @pid of this process, however it was made, has
 * ended, and releases it: from then on its number may be another process's.
 * How it ended, as a shell counts: its exit status, or 128 plus the signal that
 * killed it. *status tells these apart; NULL: it is not wanted.
 *
 * -ECHILD: it is no child of this process, somebody else has waited for it, or
 * SIGCHLD is ignored and the kernel has released it. -EINVAL for a number below
 * 1. -ENOSYS, with a text, where the kernel can neither wait by a ring (6.7)
 * nor has pidfds (5.3). Cancelled, it leaves the child as it is, to be waited
 * for again.
 */
int zs_child_wait(pid_t pid, struct zs_child_status *status);

/* Any thread. Sends a signal, by pidfd if there is one, which cannot reach
 * another process that has got the number meanwhile. 0, -ESRCH (it has been
 * waited for), -EINVAL (no such signal), -EPERM (it runs as somebody else). */
int zs_child_kill(const struct zs_child *child, int signal_number);

/* Task. Closes the descriptors of *child that are not -1, and sets them so. It
 * neither ends the child nor waits for it. */
int zs_child_close(struct zs_child *child);

#ifdef __cplusplus
}
#endif
#endif
