/* SPDX-License-Identifier: MIT */
/*
 * The least that a switch and a task can cost: the same jump between stacks
 * that the scheduler uses, with no scheduler around it. One thread at a time.
 */
#ifndef ZS_BENCH_BARE_H
#define ZS_BENCH_BARE_H

#include <stdbool.h>
#include <stdint.h>

/* False where a sanitizer would take the bare jumps for errors. */
bool bare_is_possible(void);

/* CPU time of this thread, for intervals of milliseconds. */
int64_t bare_cpu_ns(void);

/* Nanoseconds of one jump between two stacks: @pairs there and back. */
double bare_switch_ns(uint64_t pairs);

/* Nanoseconds that one of @count calls takes which are put into a queue @batch
 * at a time, and run on a stack of their own: put, taken, a jump to the stack,
 * the call and a jump back. @batch is at most BARE_BATCH_MAX. */
enum { BARE_BATCH_MAX = 10000 };
double bare_task_ns(uint64_t count, uint32_t batch, int (*fn)(void *),
		    void *arg);

#endif
