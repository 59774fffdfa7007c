/* SPDX-License-Identifier: MIT */
/*
 * For tests of channels: the one that the test is about, and the kinds that
 * there are.
 */
#ifndef ZS_TEST_CHANNELS_H
#define ZS_TEST_CHANNELS_H

#include <stdint.h>

#include "workers.h"

ZS_CHAN_DEFINE(numbers, uint64_t);

/* Each kind: a rendezvous, the smallest queue, one that wraps, and no bound. */
static const size_t capacities[] = { 0, 1, 7, ZS_CHAN_UNBOUNDED };
enum { NR_CAPACITIES = sizeof(capacities) / sizeof(*capacities) };

static struct numbers numbers;

static inline void make_numbers(size_t capacity)
{
	assert_ok(numbers_create(&numbers, capacity));
}

static inline void unmake_numbers(void)
{
	assert_ok(numbers_destroy(numbers));
}

#endif
