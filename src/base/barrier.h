/* SPDX-License-Identifier: MIT */
/*
 * A barrier on all threads of the process at once, by membarrier(2): so that
 * who does a thing often needs none of its own, and who does the opposite
 * rarely pays for both. Prepared by the runtime's creation; used by the locks
 * that lean to one worker.
 */
#ifndef ZS_BASE_BARRIER_H
#define ZS_BASE_BARRIER_H

#include <stdbool.h>

#include "base/compiler.h"

/* Any thread. Asks the kernel for it, once a process (and once more after a
 * fork). False where there is none: before Linux 4.14, or where a filter
 * refuses. */
bool zs_barrier_prepare(void);

/* Any thread, after a zs_barrier_prepare() that was true. Each other thread of
 * the process has passed a full barrier between the call and the return. */
void zs_barrier_all(void);

#endif
