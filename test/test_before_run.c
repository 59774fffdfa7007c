/* SPDX-License-Identifier: MIT */
/*
 * A program that is linked with the library is what it was until it runs a
 * runtime, and again afterwards. What is seen before is taken as main() begins,
 * ahead of anything that Check does.
 */
#include <check.h>
#include <dirent.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/compiler.h"
#include "workers.h"

enum { NR_SIGNALS = 64 };

struct state {
	int threads;
	int rings_and_the_like; /* descriptors that are no file's */
	uintptr_t handlers[NR_SIGNALS + 1];
	sigset_t blocked;
	bool has_signal_stack;
};
static struct state at_main;

static int count_threads(void)
{
	DIR *folder = opendir("/proc/self/task");
	struct dirent *entry;
	int number = 0;

	for (entry = folder ? readdir(folder) : NULL; entry;
	     entry = readdir(folder))
		number += entry->d_name[0] != '.';
	if (folder)
		closedir(folder);
	return number;
}

static int count_anonymous(void)
{
	char path[32], target[64];
	int number = 0;
	ssize_t length;

	for (int fd = 0; fd < 256; fd++) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		length = readlink(path, target, sizeof(target) - 1);
		if (length < 0)
			continue;
		target[length] = '\0';
		number += strncmp(target, "anon_inode:", 11) == 0;
	}
	return number;
}

/* libc's own signals, too, so the kernel is asked. Its struct begins with the
 * handler. */
static uintptr_t handler_of(int number)
{
	uintptr_t action[8] = { 0 };

	if (syscall(SYS_rt_sigaction, number, NULL, action, NR_SIGNALS / 8) < 0)
		return 0;
	return action[0];
}

static struct state look(void)
{
	struct state state = { .threads = count_threads(),
			       .rings_and_the_like = count_anonymous() };
	stack_t stack;

	for (int i = 1; i <= NR_SIGNALS; i++)
		state.handlers[i] = handler_of(i);
	sigemptyset(&state.blocked);
	sigprocmask(SIG_BLOCK, NULL, &state.blocked);
	sigaltstack(NULL, &stack);
	state.has_signal_stack = !(stack.ss_flags & SS_DISABLE);
	return state;
}

#if !defined(ZS_ASAN) && !defined(ZS_TSAN)
/* What was inherited may be ignored, or open. */
START_TEST(nothing_runs_before_a_runtime_does)
{
	ck_assert_int_eq(at_main.threads, 1);
	ck_assert(!at_main.has_signal_stack);
	for (int i = 1; i <= NR_SIGNALS; i++)
		ck_assert_msg(at_main.handlers[i] <= (uintptr_t)SIG_IGN,
			      "signal %d has a handler", i);
}
END_TEST
#endif

static int do_nothing(void *arg)
{
	(void)arg;
	return zs_sleep(1);
}

/* The thread may be listed a moment longer than it lives, and a ring's be
 * closed later. What libc takes for its own threads it keeps: signals of 32 to
 * 34. */
START_TEST(all_is_put_back_when_it_has_run)
{
	struct state before = look(), after;

	ck_assert_int_eq(run_task_on(2, do_nothing, NULL), 0);
	do
		after = look();
	while (after.threads > before.threads ||
	       after.rings_and_the_like > before.rings_and_the_like);
	for (int i = 1; i <= NR_SIGNALS; i++)
		if (i < 32 || i > 34)
			ck_assert_msg(after.handlers[i] == before.handlers[i],
				      "signal %d", i);
	ck_assert_int_eq(
		memcmp(&after.blocked, &before.blocked, NR_SIGNALS / 8), 0);
	ck_assert_int_eq(after.has_signal_stack, before.has_signal_stack);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("before_run");
	TCase *tests = tcase_create("before_run");

	at_main = look();
#if !defined(ZS_ASAN) && !defined(ZS_TSAN)
	tcase_add_test(tests, nothing_runs_before_a_runtime_does);
#endif
	tcase_add_test(tests, all_is_put_back_when_it_has_run);
	suite_add_tcase(suite, tests);
	return run_suite(suite);
}
