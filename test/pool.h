/* SPDX-License-Identifier: MIT */
/* The pool that engines made by tests use: one a process, to its end. */
#ifndef ZS_TEST_POOL_H
#define ZS_TEST_POOL_H

#include <check.h>

#include "engine/offload.h"

static inline struct zs_offload *test_pool(void)
{
	static struct zs_offload *pool;

	if (!pool)
		ck_assert_int_eq(zs_offload_create(&pool, 2), 0);
	return pool;
}

#endif
