/* SPDX-License-Identifier: MIT */
/*
 * Programs that do a benchmark's work by another runtime: `make peers` puts
 * them beside zsync-bench, where that runtime is installed.
 */
#ifndef ZS_BENCH_PEER_H
#define ZS_BENCH_PEER_H

#include <stdbool.h>

/* Is peers/@name there? */
bool peer_is_there(const char *name);

/* Runs it with @arguments. What it says on its stdout, a positive number of
 * nanoseconds; 0 if it is not there or fails. */
double peer_ns(const char *name, const char *arguments);

#endif
