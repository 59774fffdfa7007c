/* SPDX-License-Identifier: MIT */
/*
 * What the stress tests' programs have in common beside their tasks: seeds, the
 * watchdog, and how they fail. Called by test_stress.c, test_crowd.c and
 * test_cancel_instants.c, the failing from anywhere.
 */
#include <dirent.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "shim.h"
#include "stress.h"
#pragma weak shim_reseed

enum { LOOKS = 20 }; /* of the watchdog, before it fails */

struct stress stress;

void stress_fail(const char *format, ...)
{
	va_list args;

	fprintf(stderr, "stress, %u workers, ZSYNC_TEST_SEED=%llu: ",
		stress.num_workers, (unsigned long long)stress.seed);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	zs_dump(STDERR_FILENO);
	abort();
}

void stress_pause(long nanoseconds)
{
	struct timespec time = { .tv_nsec = nanoseconds };

	nanosleep(&time, NULL);
}

/* --- the watchdog --- */

static int64_t limit_ns; /* constant while the watchdog runs */

static void *watch(void *arg)
{
	uint64_t last = 0, now;
	int stuck = 0;

	while (stuck < LOOKS) {
		stress_pause((long)(limit_ns / LOOKS));
		now = atomic_load_explicit(&stress.progress,
					   memory_order_relaxed);
		stuck = now == last ? stuck + 1 : 0;
		last = now;
	}
	stress_fail("no progress for %lld ms",
		    (long long)(limit_ns / ZS_MILLISECOND));
	return arg;
}

void stress_watch(int64_t stuck_ns)
{
	pthread_t thread;

	limit_ns = stuck_ns;
	if (pthread_create(&thread, NULL, watch, NULL) != 0)
		stress_fail("no watchdog");
	pthread_detach(thread);
}

/* --- seeds --- */

uint64_t stress_first_seed(const char *test)
{
	const char *given = getenv("ZSYNC_TEST_SEED");
	uint64_t seed = given && *given ? strtoull(given, NULL, 0) :
					  (uint64_t)zs_now();

	printf("%s: ZSYNC_TEST_SEED=%llu\n", test, (unsigned long long)seed);
	/* Children would print it again. */
	fflush(stdout);
	return seed;
}

int stress_number_of(const char *name, int otherwise)
{
	const char *given = getenv(name);

	return given && atoi(given) > 0 ? atoi(given) : otherwise;
}

void stress_begin(uint64_t seed, uint32_t num_workers)
{
	stress.seed = seed;
	stress.num_workers = num_workers;
	if (shim_reseed)
		shim_reseed(seed);
}

int stress_nr_descriptors(void)
{
	DIR *folder = opendir("/proc/self/fd");
	int number = 0;

	if (!folder)
		stress_fail("/proc/self/fd cannot be read");
	while (readdir(folder))
		number++;
	closedir(folder);
	return number;
}
