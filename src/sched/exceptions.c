/* SPDX-License-Identifier: MIT */
/*
 * Exceptions: what a thread has of them, and the end of those that no task
 * catches. Called by the worker, and by the unwinder when it has come to a
 * task's outermost frame (switch.S names the function).
 */
#include "sched/exceptions.h"

#include <stdlib.h>
#include <unistd.h>
#include <unwind.h>

#include "base/text.h"
#include "sched/runtime.h"
#include "sched/task.h"
#include "sched/worker.h"

/* Weak: it is there only if the program is linked with C++'s library. */
extern struct zs_exceptions *__cxa_get_globals(void) __attribute__((weak));

struct zs_exceptions *zs_exceptions_of_thread(void)
{
	static _Thread_local struct zs_exceptions none;

	return __cxa_get_globals ? __cxa_get_globals() : &none;
}

static void report(const char *what)
{
	const struct zs_task *task = zs_worker_task();
	struct zs_text text;

	zs_text_init(&text);
	zs_text_add(&text, "zsync: ");
	if (task)
		zs_dump_add_task(&text, task);
	zs_text_add(&text, what);
	zs_text_write(&text, STDERR_FILENO);
}

/* In switch.S. Looks for a handler: there is none, and the unwinder tells whom
 * it works for, which is the end of a program in C++. */
ZS_HIDDEN _Unwind_Reason_Code zs_exceptions_leave_task(
	int version, _Unwind_Action actions, _Unwind_Exception_Class class,
	struct _Unwind_Exception *exception, struct _Unwind_Context *context);

_Unwind_Reason_Code zs_exceptions_leave_task(
	int version, _Unwind_Action actions, _Unwind_Exception_Class class,
	struct _Unwind_Exception *exception, struct _Unwind_Context *context)
{
	(void)version;
	(void)class;
	(void)exception;
	(void)context;
	if (actions & _UA_FORCE_UNWIND) {
		report(" would end its worker's thread, by pthread_exit() or "
		       "a cancellation of the thread: return from the task\n");
		abort();
	}
	if (actions & _UA_SEARCH_PHASE)
		report(": an exception leaves its function: catch it there "
		       "and return an error\n");
	return _URC_CONTINUE_UNWIND;
}
