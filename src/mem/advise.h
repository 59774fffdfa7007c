/* SPDX-License-Identifier: MIT */
/* madvise(2) of many ranges by one call, for the pools of stacks. */
#ifndef ZS_MEM_ADVISE_H
#define ZS_MEM_ADVISE_H

#include <stdint.h>
#include <sys/uio.h>

/* How many of the @count ranges, from the first on, have been advised by one
 * call: 0 where the kernel has no such call for a process's own memory (before
 * Linux 6.15), or where the first one fails; errno is not kept. */
uint32_t zs_advise(const struct iovec *ranges, uint32_t count, int advice);

#endif
