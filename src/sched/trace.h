/* SPDX-License-Identifier: MIT */
/*
 * Where a task is: a backtrace of the thread that takes it, in a signal
 * handler, or what the stack of a thread that waits in the kernel tells. For
 * the stall detector.
 */
#ifndef ZS_SCHED_TRACE_H
#define ZS_SCHED_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ZS_TRACE_MAX = 256 };

struct zs_trace {
	size_t number; /* of addresses; 0: none is known */
	/* Frame by frame. Else the first is where the thread is, and the others
	 * are words of its stack, of which few are return addresses. */
	bool is_exact;
	uintptr_t addresses[ZS_TRACE_MAX];
};

/* Any thread, before the first trace: loads what a handler must not. */
void zs_trace_prepare(void);

/* In a signal handler: of the calling thread, whose registers @context has.
 * Async-signal-safe. Reads the stack below @stack_top, if it is on it; 0: its
 * end is not known. */
void zs_trace_take(struct zs_trace *trace, const void *context,
		   uintptr_t stack_base, uintptr_t stack_top);

/* Any thread. Of a thread that is in the system call that @pc follows. It may
 * go on meanwhile, and its stack be unmapped. */
void zs_trace_look(struct zs_trace *trace, uintptr_t pc, uintptr_t stack,
		   uintptr_t stack_top);

/* Not in a handler. One line an address, for addr2line: the file, the offset in
 * it, and where that is in memory. Return addresses are told less one, so that
 * the line is that of the call. */
void zs_trace_write(const struct zs_trace *trace, int fd);

#endif
