/* SPDX-License-Identifier: MIT */
/* The monotonic clock. Any thread; async-signal-safe. */
#ifndef ZS_BASE_CLOCK_H
#define ZS_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline int64_t zs_clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

#endif
