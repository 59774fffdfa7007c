/* SPDX-License-Identifier: MIT */
/*
 * For tests of timers: some of them, functions that count and check, and waits
 * for what they count. One worker's, unless a test says otherwise.
 */
#ifndef ZS_TEST_TIMERS_H
#define ZS_TEST_TIMERS_H

#include <check.h>
#include <stdint.h>

#include "workers.h"

enum { NUM_TIMERS = 1000 };

#define YEAR (INT64_C(365) * 86400 * ZS_SECOND)

/* Shared by the tasks of a test; each test is a process of its own. */
static struct zs_timer timers[NUM_TIMERS];
static uint32_t num_called;
static uint64_t seed = 0x9e3779b97f4a7c15;

static inline int64_t random_below(int64_t limit)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (int64_t)((seed >> 11) % (uint64_t)limit);
}

static inline void count_call(struct zs_timer *timer, void *arg)
{
	(void)timer;
	(void)arg;
	num_called++;
}

static inline void count_in_time(struct zs_timer *timer, void *arg)
{
	if (zs_now() < timer->deadline_ns)
		ck_abort_msg("called early");
	count_call(timer, arg);
}

static inline void await_calls(uint32_t number)
{
	while (num_called < number)
		assert_ok(zs_sleep(ZS_MILLISECOND));
}

/* The loop has had at least one turn since all that was due. */
static inline void let_a_turn_pass(void)
{
	assert_ok(zs_sleep(2 * ZS_MILLISECOND));
}

#define TEST_IN_TASK(name, body)                           \
	START_TEST(name)                                   \
	{                                                  \
		ck_assert_int_eq(run_task(body, NULL), 0); \
	}                                                  \
	END_TEST

#endif
