/* SPDX-License-Identifier: MIT */
/* The work that parallel loops are measured with, ours and the peers'. */
#ifndef ZS_BENCH_FORKJOIN_WORK_H
#define ZS_BENCH_FORKJOIN_WORK_H

#include <stdint.h>

enum { LOOP_ITEMS = 10000000 };

/* A few floating-point operations an item, in place. Not inlined, where the
 * number of items would be known to some and not to others. */
static __attribute__((noinline)) void loop_work(float *items, int64_t begin,
						int64_t end)
{
	int64_t i;

	for (i = begin; i < end; i++) {
		float x = items[i];

		x = x * (1.5f - 0.5f * x * x) + 1e-3f;
		x = x * (1.5f - 0.5f * x * x) + 1e-3f;
		items[i] = x;
	}
}

#endif
