/* SPDX-License-Identifier: MIT */
/* Time: nanoseconds on CLOCK_MONOTONIC. A sleep never ends early. */
#ifndef ZSYNC_TIME_H
#define ZSYNC_TIME_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ZS_MICROSECOND INT64_C(1000)
#define ZS_MILLISECOND INT64_C(1000000)
#define ZS_SECOND INT64_C(1000000000)

/* A point in time that never comes: no deadline. */
#define ZS_NEVER INT64_MAX

/* Any thread. */
int64_t zs_now(void);

/* Task. A duration <= 0 yields. -ECANCELED or -ETIMEDOUT if the scope was
 * cancelled first. */
int zs_sleep(int64_t duration_ns);

/* Task. ZS_NEVER sleeps until cancelled. */
int zs_sleep_until(int64_t deadline_ns);

#ifdef __cplusplus
}
#endif
#endif
