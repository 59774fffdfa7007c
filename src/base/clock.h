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

/* The point in time after a duration > 0; INT64_MAX: never. */
static inline int64_t zs_clock_after(int64_t duration_ns)
{
	int64_t now_ns = zs_clock_ns();

	return duration_ns < INT64_MAX - now_ns ? now_ns + duration_ns :
						  INT64_MAX;
}

#endif
