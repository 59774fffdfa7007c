/* SPDX-License-Identifier: MIT */
/*
 * For tests of how a process ends and of what it says on stderr: a forked child
 * that runs one function, its stderr a pipe. It leaves no core file, ends with
 * its parent, and ends with status 0 if the function returns.
 */
#ifndef ZS_TEST_CHILD_H
#define ZS_TEST_CHILD_H

#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/compiler.h"

#if defined(ZS_ASAN) || defined(ZS_TSAN)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

struct child {
	int status; /* as of waitpid() */
	char text[16384];
};

static inline void begin_child(int error_fd)
{
	static const struct rlimit none = { 0, 0 };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setrlimit(RLIMIT_CORE, &none);
	dup2(error_fd, STDERR_FILENO);
	/* Of the test's parent, Check, which handles some for itself. */
	signal(SIGABRT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
}

/* What is beyond the text's size is lost. */
static inline void read_all(int fd, char *text, size_t size)
{
	size_t length = 0;
	char lost[4096];
	ssize_t count;

	do {
		if (length < size - 1)
			count = read(fd, text + length, size - 1 - length);
		else
			count = read(fd, lost, sizeof(lost));
		if (count > 0 && length < size - 1)
			length += (size_t)count;
	} while (count > 0 || (count < 0 && errno == EINTR));
	text[length] = '\0';
}

static inline struct child *run_child(void (*fn)(void))
{
	static struct child child;
	int fds[2];
	pid_t pid;

	ck_assert_int_eq(pipe(fds), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		close(fds[0]);
		begin_child(fds[1]);
		close(fds[1]);
		fn();
		_exit(0);
	}
	close(fds[1]);
	read_all(fds[0], child.text, sizeof(child.text));
	close(fds[0]);
	ck_assert_int_eq(waitpid(pid, &child.status, 0), pid);
	return &child;
}

/* Sanitizers take the signal, report it in their own way and exit. */
static inline bool died_of(const struct child *child, int signal_number)
{
	if (SANITIZED && WIFEXITED(child->status))
		return WEXITSTATUS(child->status) != 0;
	return WIFSIGNALED(child->status) &&
	       WTERMSIG(child->status) == signal_number;
}

static inline bool exited_with(const struct child *child, int status)
{
	return WIFEXITED(child->status) && WEXITSTATUS(child->status) == status;
}

static inline bool says(const struct child *child, const char *text)
{
	return strstr(child->text, text) != NULL;
}

#endif
