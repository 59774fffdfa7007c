/* SPDX-License-Identifier: MIT */
/* Counting system calls from outside, by the kernel's tracepoint, which does
 * not slow down what it counts as strace does. For root. */
#ifndef ZS_BENCH_TRACEPOINT_H
#define ZS_BENCH_TRACEPOINT_H

#include <stdint.h>
#include <sys/types.h>

/* The number of raw_syscalls:sys_enter; a negative errno where the kernel has
 * no tracepoints or does not show them to us. Mounts tracefs, if nobody has,
 * where no other process sees it. Ends a child of its own. */
int64_t bench_tracepoint_find(void);

/* Counts those of thread @tid from now on. A descriptor, or a negative
 * errno. */
int bench_tracepoint_open(uint64_t tracepoint, pid_t tid);

/* How many so far; 0 if @fd is negative. */
uint64_t bench_tracepoint_read(int fd);

#endif
