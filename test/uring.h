/* SPDX-License-Identifier: MIT */
/*
 * Between the engine and the kernel, for the tests of both: counts what enters
 * it and plays the kernels that refuse, stop short or forbid. The linker puts
 * the function here in the place of libc's syscall(): see the Kbuild.
 */
#ifndef ZS_TEST_URING_H
#define ZS_TEST_URING_H

#include <check.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "arguments.h"
#include "engine/abi.h"
#include "engine/probe.h"

/* What the kernel seems to do. One thread at a time, but where it is off. */
struct play {
	bool is_off; /* all goes through, uncounted */
	/* The next so many enters that submit something fail with this. */
	int nr_refused;
	int error;
	/* Most entries that an enter takes; 0: all. */
	uint32_t limit;
	/* The next so many setups fail, for want of memory or with this. */
	int nr_setups_refused;
	int setup_error;
	/* The next so many registrations are interrupted by a signal. */
	int nr_registers_interrupted;
	/* What was seen. */
	int nr_enters;
	int nr_setups;
	int nr_submitted;
	uint32_t enter_flags; /* of the last one */
};

static struct play play;

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);

static inline long play_enter(const long *args)
{
	long to_submit = (uint32_t)args[1];
	long ret;

	play.nr_enters++;
	play.enter_flags = (uint32_t)args[3];
	if (to_submit > 0 && play.nr_refused > 0) {
		play.nr_refused--;
		errno = play.error;
		return -1;
	}
	/* A kernel that stops short waits for nothing. */
	if (play.limit && to_submit > play.limit)
		ret = __real_syscall(ZS_URING_SYSCALL_ENTER, args[0],
				     (long)play.limit, 0L,
				     args[3] & ~(long)ZS_URING_ENTER_GETEVENTS,
				     args[4], args[5]);
	else
		ret = __real_syscall(ZS_URING_SYSCALL_ENTER, args[0], to_submit,
				     args[2], args[3], args[4], args[5]);
	if (ret > 0)
		play.nr_submitted += (int)ret;
	return ret;
}

long __wrap_syscall(long number, ...)
{
	long args[NR_ARGUMENTS];
	va_list list;

	va_start(list, number);
	take_arguments(args, list);
	va_end(list);
	if (number == ZS_URING_SYSCALL_ENTER && !play.is_off)
		return play_enter(args);
	if (number == ZS_URING_SYSCALL_SETUP && !play.is_off) {
		play.nr_setups++;
		if (play.nr_setups_refused > 0) {
			play.nr_setups_refused--;
			errno = play.setup_error ? play.setup_error : ENOMEM;
			return -1;
		}
	}
	if (number == ZS_URING_SYSCALL_REGISTER &&
	    play.nr_registers_interrupted > 0) {
		play.nr_registers_interrupted--;
		errno = EINTR;
		return -1;
	}
	return __real_syscall(number, args[0], args[1], args[2], args[3],
			      args[4], args[5]);
}

/* Check's names of functions end in "_fn", reasons in a remedy. */
static inline void skip(const char *test, const char *why)
{
	printf("SKIP %.*s: %.*s\n", (int)strlen(test) - 3, test,
	       (int)strcspn(why, ";"), why);
	fflush(stdout);
}

/* False, and a line that says why, where there is no usable io_uring. */
static inline bool probe_or_skip(const char *test, struct zs_kernel *kernel)
{
	char why[256];

	ck_assert_int_eq(zs_kernel_probe(kernel), 0);
	memset(&play, 0, sizeof(play));
	if (kernel->verdict == ZS_KERNEL_USABLE)
		return true;
	zs_kernel_why_denied(kernel, why, sizeof(why));
	skip(test, why);
	return false;
}

/* To somebody with no rights and nothing in use; false if that is not to be. */
static inline bool become_nobody(const char *test)
{
	uid_t nobody = 60000 + (uid_t)getpid() % 5000;

	if (setgid(nobody) == 0 && setuid(nobody) == 0)
		return true;
	skip(test, "only root can become somebody else");
	return false;
}

/* The soft one, so that unlimit() takes it back: sanitizers need descriptors
 * and threads when the process ends. */
static inline void limit(int resource, rlim_t value)
{
	struct rlimit limits;

	ck_assert_int_eq(getrlimit(resource, &limits), 0);
	limits.rlim_cur = value;
	ck_assert_int_eq(setrlimit(resource, &limits), 0);
}

static inline void unlimit(int resource)
{
	struct rlimit limits;

	ck_assert_int_eq(getrlimit(resource, &limits), 0);
	limit(resource, limits.rlim_max);
}

/* False, and a line, where the kernel does not count rings as locked memory:
 * 6.1 and 7.3 do not, 6.18 does. */
static inline bool has_counted_rings(const char *test)
{
	struct zs_uring_params params = { 0 };
	int fd;

	limit(RLIMIT_MEMLOCK, 0);
	fd = zs_uring_setup(1, &params);
	unlimit(RLIMIT_MEMLOCK);
	if (fd < 0)
		return true;
	close(fd);
	skip(test, "this kernel does not count rings as locked memory");
	return false;
}

static inline int run_tests(TCase *tests, const char *name)
{
	Suite *suite = suite_create(name);
	SRunner *runner;
	int nr_failed;

	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	nr_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return nr_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
