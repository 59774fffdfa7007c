/* SPDX-License-Identifier: MIT */
/* For tests of child processes, signals and what else older kernels lack. */
#ifndef ZS_TEST_PROCESS_H
#define ZS_TEST_PROCESS_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <zsync.h>

/* From the next runtime on the kernel seems to lack @feature, and what it
 * seemed to lack before. */
static inline void disable(const char *feature)
{
	const char *before = getenv("ZSYNC_DISABLE");
	char list[4096];

	snprintf(list, sizeof(list), "%s%s%s", before ? before : "",
		 before && *before ? "," : "", feature);
	ck_assert_int_eq(setenv("ZSYNC_DISABLE", list, 1), 0);
}

static char *script[] = { "sh", "-c", NULL, NULL };

/* To start a shell that runs @command. */
static inline struct zs_child_options shell(char *command)
{
	struct zs_child_options options = {
		.size = sizeof(options),
		.argv = script,
	};

	script[2] = command;
	return options;
}

/* No child is left, alive or dead. */
static inline void assert_no_children(void)
{
	ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
}

#endif
