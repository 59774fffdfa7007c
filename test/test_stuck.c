/* SPDX-License-Identifier: MIT */
/*
 * A worker that is stuck in a computation, which does not end before the others
 * have run: none of them waits for it. A wait in vain is seen by the test's
 * timeout.
 */
#include <check.h>
#include <errno.h>
#include <stdint.h>

#include "workers.h"

/* Shared by the tasks of a test; each test is a process of its own. */
static struct zs_nursery plain, pinned;
static struct counter waiting, served;

static int serve(void *arg)
{
	(void)arg;
	count(&served);
	return 0;
}

enum { NR_PARKED = 30, NR_PROBES = 10 };
static struct counter parked, occupied, released;

static int park(void *arg)
{
	(void)arg;
	count(&parked);
	ck_assert_int_eq(zs_sleep(ZS_NEVER), -ECANCELED);
	return 0;
}

/* Keeps its worker to itself. */
static int compute(void *arg)
{
	(void)arg;
	count(&occupied);
	occupy_until(&released, 1);
	return 0;
}

/* All come after the worker has got stuck, so nothing but the other may run
 * them; it has more tasks of its own than the stuck one, at _i = 1. */
START_TEST(foreign_spawns_do_not_wait_for_a_stuck_worker)
{
	struct zs_runtime *runtime = start_runtime(2);

	for (int i = 0; i < _i * NR_PARKED; i++)
		assert_ok(zs_runtime_spawn(runtime, park, NULL));
	await_count(&parked, (uint32_t)_i * NR_PARKED);
	assert_ok(zs_runtime_spawn(runtime, compute, NULL));
	await_count(&occupied, 1);
	for (int i = 0; i < NR_PROBES; i++)
		assert_ok(zs_runtime_spawn(runtime, serve, NULL));
	await_count(&served, NR_PROBES);
	count(&released);
	stop_and_destroy(runtime);
}
END_TEST

/* Its turn began before that of the other worker did, which so does not look
 * stuck, and has fewer tasks. */
static int hand_over(void *arg)
{
	struct zs_nursery_options options = { .flags = ZS_NURSERY_PINNED };
	struct zs_stats stats;

	(void)arg;
	assert_ok(zs_nursery_open(&pinned, &options));
	for (int i = 0; i < NR_PARKED; i++)
		assert_ok(zs_nursery_spawn(pinned, park, NULL));
	await_count(&parked, NR_PARKED);
	assert_ok(zs_nursery_open(&plain, NULL));
	count(&waiting);
	occupy_until(&occupied, 1);
	for (int i = 0; i < NR_PROBES; i++)
		assert_ok(zs_nursery_spawn(plain, serve, NULL));
	assert_ok(zs_nursery_wait(plain));
	assert_ok(zs_stats(NULL, &stats));
	ck_assert_uint_ge(stats.total.handovers, 1);
	count(&released);
	assert_ok(zs_nursery_cancel(pinned));
	ck_assert_int_eq(zs_nursery_wait(pinned), -ECANCELED);
	return 0;
}

/* They are given to the worker with fewer tasks just as it gets stuck; who gave
 * them takes them back. */
START_TEST(gifts_to_a_stuck_worker_are_taken_back)
{
	struct zs_runtime *runtime = start_runtime(2);

	assert_ok(zs_runtime_spawn(runtime, hand_over, NULL));
	await_count(&waiting, 1);
	assert_ok(zs_runtime_spawn(runtime, compute, NULL));
	await_count(&served, NR_PROBES);
	await_count(&released, 1);
	stop_and_destroy(runtime);
}
END_TEST

static Suite *stuck_suite(void)
{
	Suite *suite = suite_create("stuck");
	TCase *tests = tcase_create("stuck");

	/* A busy machine may need it; a hang is one all the same. */
	tcase_set_timeout(tests, 10);
	tcase_add_loop_test(
		tests, foreign_spawns_do_not_wait_for_a_stuck_worker, 0, 2);
	tcase_add_test(tests, gifts_to_a_stuck_worker_are_taken_back);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(stuck_suite());
}
