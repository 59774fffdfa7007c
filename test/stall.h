/* SPDX-License-Identifier: MIT */
/*
 * For tests of the stall detector: stderr as a file in memory, empty until
 * there is a report, and a culprit that goes on until it has been caught,
 * however busy the machine.
 */
#ifndef ZS_TEST_STALL_H
#define ZS_TEST_STALL_H

#include <check.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/compiler.h"
#include "child.h"
#include "workers.h"

/* --- stderr --- */

static int saved_fd, report_fd;
static char reports[65536];

static inline void begin_reports(void)
{
	saved_fd = dup(STDERR_FILENO);
	report_fd = memfd_create("reports", 0);
	ck_assert_int_ge(report_fd, 0);
	ck_assert_int_eq(dup2(report_fd, STDERR_FILENO), STDERR_FILENO);
}

static inline void end_reports(void)
{
	dup2(saved_fd, STDERR_FILENO);
	close(saved_fd);
	ck_assert_int_eq(lseek(report_fd, 0, SEEK_SET), 0);
	read_all(report_fd, reports, sizeof(reports));
	close(report_fd);
}

static inline bool is_reported(void)
{
	struct stat status;

	return fstat(report_fd, &status) == 0 && status.st_size > 0;
}

static inline int count_in_reports(const char *part)
{
	const char *found = strstr(reports, part);
	int number = 0;

	for (; found; found = strstr(found + 1, part))
		number++;
	return number;
}

static inline void expect_report(const char *part)
{
	ck_assert_msg(strstr(reports, part), "no \"%s\" in:\n%s", part,
		      reports);
}

static inline struct zs_config stall_config(uint32_t num_workers, uint32_t ms)
{
	struct zs_config config = test_config();

	config.num_workers = num_workers;
	config.stall_report_ms = ms;
	return config;
}

static inline void run_and_report(uint32_t num_workers, uint32_t ms,
				  zs_task_fn *fn, void *arg)
{
	struct zs_config config = stall_config(num_workers, ms);

	begin_reports();
	assert_ok(run_task_with(&config, fn, arg));
	end_reports();
}

/* --- culprits --- */

/* Where the culprit has called, so that its backtrace has this place. */
static uintptr_t place;

static ZS_NOINLINE __attribute__((unused)) bool is_caught(void)
{
	place = (uintptr_t)__builtin_return_address(0);
	return is_reported();
}

/* The culprit is a few instructions long, whoever it calls just now. */
static inline bool has_place(void)
{
	const char *found = strstr(reports, "(0x");

	for (; found; found = strstr(found + 1, "(0x")) {
		uintptr_t address = strtoull(found + 1, NULL, 16);

		if (address > place - 256 && address < place + 256)
			return true;
	}
	return false;
}

/* ThreadSanitizer calls handlers when the thread calls something next. */
static inline bool is_handler_late(void)
{
#ifdef ZS_TSAN
	return strstr(reports, "no backtrace");
#else
	return false;
#endif
}

static inline void compute_until_caught(void)
{
	while (!is_caught())
		;
}

static inline int be_culprit(void *arg)
{
	(void)arg;
	assert_ok(zs_task_set_name("culprit"));
	compute_until_caught();
	return 0;
}

#endif
