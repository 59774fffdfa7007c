/* SPDX-License-Identifier: MIT */
/*
 * Assertions, on in production: a broken invariant of ours ends the process
 * with file, line, expression and the state of the worker. Users' mistakes are
 * never asserted; they return a negative errno.
 */
#ifndef ZS_BASE_ASSERT_H
#define ZS_BASE_ASSERT_H

#include "base/compiler.h"

#define ZS_ASSERT(condition)                                      \
	do {                                                      \
		if (zs_unlikely(!(condition)))                    \
			zs_panic(__FILE__, __LINE__, #condition); \
	} while (0)

/* Any thread. Prints @what and, where the thread is a worker, its state; then
 * aborts. */
__attribute__((noreturn)) ZS_COLD void zs_panic(const char *file, int line,
						const char *what);

/* Set once by the scheduler: writes the calling thread's state to @fd. */
extern void (*zs_panic_state)(int fd);

#endif
