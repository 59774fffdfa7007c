/* SPDX-License-Identifier: MIT */
/*
 * Bias and lock: a number is counted up without an atomic operation by the
 * owner of a bias and by threads that come while it is inside, over and over;
 * none is lost.
 */
#include <check.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/barrier.h"
#include "sched/runtime.h"
#include "stress.h"
#include "sync/bias.h"
#include "sync/lock.h"
#include "workers.h"

enum {
	TRIALS = 4000,
	OWNERS_STEPS = 1000,
	OTHERS_STEPS = 20,
	NR_OTHERS = 2,
	LATEST = 200, /* looks, before the others come */
};

/* No more of it is looked at. */
static struct zs_runtime runtime;
static struct zs_worker owner = { .runtime = &runtime };

static struct zs_bias bias;
static struct zs_lock lock;
static uint32_t number;	       /* under the bias, or the lock */
static struct counter started; /* how many trials have been */
static struct counter ended;   /* by each thread, in each */

static void step(struct zs_worker *worker)
{
	bool by_bias = zs_bias_enter(&bias, worker);

	if (!by_bias)
		zs_lock_take(&lock);
	/* In two steps, which the compiler would make one. */
	__atomic_store_n(&number,
			 __atomic_load_n(&number, __ATOMIC_RELAXED) + 1,
			 __ATOMIC_RELAXED);
	if (by_bias)
		zs_bias_leave(&bias);
	else
		zs_lock_release(&lock);
}

/* At first without giving the CPU away, so that it is not late. */
static void await_exactly(struct counter *counter, uint32_t value)
{
	int looks = 0;

	while (counted(counter) < value) {
		zs_task_relax();
		if (++looks > 10000)
			sched_yield();
	}
}

static void *come_in_between(void *arg)
{
	uint64_t random = (uintptr_t)arg * 2 + 1;

	for (uint32_t trial = 1; trial <= TRIALS; trial++) {
		uint32_t looks;

		await_exactly(&started, trial);
		looks = below(&random, LATEST);
		while (looks-- > 0)
			zs_task_relax();
		for (int i = 0; i < OTHERS_STEPS; i++)
			step(NULL);
		count(&ended);
	}
	return NULL;
}

START_TEST(nothing_done_inside_is_lost_when_a_bias_ends)
{
	pthread_t others[NR_OTHERS];
	uint32_t nr_owned = 0;

	runtime.has_barrier = zs_barrier_prepare();
	for (uintptr_t i = 0; i < NR_OTHERS; i++)
		others[i] = start_thread(come_in_between, (void *)i);
	for (uint32_t trial = 1; trial <= TRIALS; trial++) {
		memset(&bias, 0, sizeof(bias));
		number = 0;
		count(&started);
		for (int i = 0; i < OWNERS_STEPS; i++)
			step(&owner);
		await_exactly(&ended, trial * NR_OTHERS);
		ck_assert_uint_eq(number,
				  OWNERS_STEPS + NR_OTHERS * OTHERS_STEPS);
		ck_assert_ptr_eq(atomic_load(&bias.owner), ZS_BIAS_ENDED);
		ck_assert(!atomic_load(&bias.inside));
		nr_owned++;
	}
	ck_assert_uint_eq(atomic_load(&zs_bias_num_enders), 0);
	ck_assert_uint_eq(nr_owned, TRIALS);
	for (int i = 0; i < NR_OTHERS; i++)
		pthread_join(others[i], NULL);
}
END_TEST

START_TEST(who_comes_first_owns_it_if_there_is_a_barrier)
{
	runtime.has_barrier = _i;
	ck_assert_int_eq(zs_bias_enter(&bias, &owner), _i);
	if (_i)
		zs_bias_leave(&bias);
	ck_assert_ptr_eq(atomic_load(&bias.owner), _i ? &owner : ZS_BIAS_ENDED);
	/* A thread that is no worker's never owns it. */
	memset(&bias, 0, sizeof(bias));
	ck_assert(!zs_bias_enter(&bias, NULL));
	ck_assert_ptr_eq(atomic_load(&bias.owner), ZS_BIAS_ENDED);
}
END_TEST

static void *count_under_lock(void *arg)
{
	for (int i = 0; i < 100000; i++) {
		zs_lock_take(&lock);
		(*(uint32_t *)arg)++;
		/* Now and then its holder loses its CPU: others sleep. */
		if (i % 1000 == 0)
			sched_yield();
		zs_lock_release(&lock);
	}
	return NULL;
}

START_TEST(lock_is_held_by_one)
{
	pthread_t threads[3];
	uint32_t sum = 0;

	for (int i = 0; i < 3; i++)
		threads[i] = start_thread(count_under_lock, &sum);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(sum, 300000);
	ck_assert_uint_eq(atomic_load(&lock.word), ZS_LOCK_FREE);
}
END_TEST

static Suite *bias_suite(void)
{
	Suite *suite = suite_create("bias");
	TCase *tests = tcase_create("bias");

	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, nothing_done_inside_is_lost_when_a_bias_ends);
	tcase_add_loop_test(
		tests, who_comes_first_owns_it_if_there_is_a_barrier, 0, 2);
	tcase_add_test(tests, lock_is_held_by_one);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	SRunner *runner = srunner_create(bias_suite());
	int nr_failed;

	srunner_run_all(runner, CK_NORMAL);
	nr_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return nr_failed != 0;
}
