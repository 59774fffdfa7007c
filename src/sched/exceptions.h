/* SPDX-License-Identifier: MIT */
/*
 * Exceptions of C++ (and of whoever else unwinds stacks) on tasks' stacks. For
 * the worker and for the switch; on the worker's thread.
 *
 * An unwinder that comes to the start of a task finds no caller, so no
 * exception leaves a task. What C++'s library keeps a thread, and a task has to
 * have for itself, is which exceptions are being handled.
 */
#ifndef ZS_SCHED_EXCEPTIONS_H
#define ZS_SCHED_EXCEPTIONS_H

#include <stdbool.h>

#include "base/compiler.h"

/* Of a thread, as the C++ ABI (Itanium, 2.2.2) lays it out. */
struct zs_exceptions {
	void *caught; /* by the catch blocks that run, innermost first */
	unsigned int uncaught; /* those that destructors run for */
};

/* The calling thread's; in a program without C++ it stays empty. */
struct zs_exceptions *zs_exceptions_of_thread(void);

/* Is whoever runs in a catch block, or in a destructor that an exception has
 * called? Hardly ever. */
static ZS_ALWAYS_INLINE bool
zs_exceptions_are_held(const struct zs_exceptions *exceptions)
{
	return exceptions->caught || exceptions->uncaught;
}

#endif
