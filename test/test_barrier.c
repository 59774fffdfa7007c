/* SPDX-License-Identifier: MIT */
/* Wait group, latch and barrier: who is let go when, and what misuse is told.
 */
#include "workers.h"

static struct zs_waitgroup group;
static struct zs_latch latch;
static struct zs_barrier barrier;
static struct counter ended, going;

/* --- counts --- */

START_TEST(counts_are_checked)
{
	struct zs_latch other = ZS_LATCH_INIT(2);

	assert_ok(zs_waitgroup_wait(&group));
	ck_assert_int_eq(zs_waitgroup_done(&group), -EINVAL);
	assert_ok(zs_waitgroup_add(&group, 0));
	assert_ok(zs_waitgroup_add(&group, INT32_MAX));
	ck_assert_int_eq(zs_waitgroup_add(&group, 1), -EOVERFLOW);
	assert_ok(zs_waitgroup_done(&group));
	assert_ok(zs_latch_wait(&latch));
	assert_ok(zs_latch_try_wait(&latch));
	ck_assert_int_eq(zs_latch_count_down(&latch, 1), -EINVAL);
	assert_ok(zs_latch_count_down(&latch, 0));
	ck_assert_int_eq(zs_latch_try_wait(&other), -EAGAIN);
	ck_assert_int_eq(zs_latch_count_down(&other, 3), -EINVAL);
	assert_ok(zs_latch_count_down(&other, 1));
	ck_assert_int_eq(zs_latch_try_wait(&other), -EAGAIN);
	assert_ok(zs_latch_count_down(&other, 1));
	assert_ok(zs_latch_try_wait(&other));
	ck_assert_int_eq(zs_latch_init(&other, UINT32_MAX), -EINVAL);
}
END_TEST

static int wait_for_group(void *arg)
{
	(void)arg;
	assert_ok(zs_waitgroup_wait(&group));
	count(&going);
	return 0;
}

static int count_in_group(void *arg)
{
	struct zs_nursery nursery;

	(void)arg;
	assert_ok(zs_waitgroup_add(&group, 2));
	assert_ok(zs_nursery_open(&nursery, NULL));
	for (int i = 0; i < 3; i++)
		assert_ok(zs_nursery_spawn(nursery, wait_for_group, NULL));
	assert_ok(zs_yield());
	assert_ok(zs_waitgroup_done(&group));
	assert_ok(zs_yield());
	ck_assert_uint_eq(counted(&going), 0);
	assert_ok(zs_waitgroup_done(&group));
	/* Used again before they have gone on: they go on even so. */
	assert_ok(zs_waitgroup_add(&group, 1));
	assert_ok(zs_nursery_wait(nursery));
	ck_assert_uint_eq(counted(&going), 3);
	return 0;
}

START_TEST(group_lets_all_go_at_0_and_is_used_again)
{
	assert_ok(run_task(count_in_group, NULL));
}
END_TEST

/* --- memory that is gone as soon as the wait is over --- */

enum { ROUNDS = 500, PARTIES = 4 };

static int count_down(void *arg)
{
	return zs_latch_count_down(arg, 1);
}

static void *count_down_in_thread(void *arg)
{
	for (int i = 0; i < ROUNDS; i++) {
		struct zs_latch **place = arg;
		struct zs_latch *mine;

		do
			mine = __atomic_exchange_n(place, NULL,
						   __ATOMIC_ACQ_REL);
		while (!mine && (sched_yield(), true));
		assert_ok(zs_latch_count_down(mine, 1));
	}
	return NULL;
}

static struct zs_latch *for_thread;

static int wait_and_free(void *arg)
{
	pthread_t thread = start_thread(count_down_in_thread, &for_thread);
	struct zs_nursery nursery;

	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	for (int i = 0; i < ROUNDS; i++) {
		struct zs_latch *mine = malloc(sizeof(*mine));

		ck_assert_ptr_nonnull(mine);
		assert_ok(zs_latch_init(mine, 2));
		assert_ok(zs_nursery_spawn(nursery, count_down, mine));
		__atomic_store_n(&for_thread, mine, __ATOMIC_RELEASE);
		if (i % 2)
			zs_yield();
		assert_ok(zs_latch_wait(mine));
		memset(mine, 0xff, sizeof(*mine));
		free(mine);
	}
	pthread_join(thread, NULL);
	return zs_nursery_wait(nursery);
}

START_TEST(who_has_waited_may_free_it)
{
	assert_ok(run_task_on((uint32_t)_i, wait_and_free, NULL));
}
END_TEST

/* --- barrier --- */

static uint32_t rounds_of[PARTIES];
static struct counter nr_serial;

static void go_round(uint32_t number)
{
	for (uint32_t i = 0; i < ROUNDS; i++) {
		int ret;

		rounds_of[number] = i + 1;
		ret = zs_barrier_wait(&barrier);
		ck_assert(ret == 0 || ret == 1);
		for (int j = 0; j < PARTIES; j++)
			ck_assert_uint_ge(rounds_of[j], i + 1);
		if (ret == 1)
			count(&nr_serial);
		ck_assert_int_ge(zs_barrier_wait(&barrier), 0);
		ck_assert_uint_eq(counted(&nr_serial), i + 1);
	}
}

static int go_round_in_task(void *arg)
{
	go_round((uint32_t)(uintptr_t)arg);
	return 0;
}

static void *go_round_in_thread(void *arg)
{
	go_round((uint32_t)(uintptr_t)arg);
	return NULL;
}

static int meet(void *arg)
{
	struct zs_nursery nursery;
	pthread_t thread;

	(void)arg;
	assert_ok(zs_barrier_init(&barrier, PARTIES));
	thread = start_thread(go_round_in_thread, (void *)0);
	assert_ok(zs_nursery_open(&nursery, NULL));
	for (uintptr_t i = 1; i < PARTIES; i++)
		assert_ok(
			zs_nursery_spawn(nursery, go_round_in_task, (void *)i));
	assert_ok(zs_nursery_wait(nursery));
	pthread_join(thread, NULL);
	return 0;
}

START_TEST(all_have_come_before_any_goes_on)
{
	assert_ok(run_task_on((uint32_t)_i, meet, NULL));
}
END_TEST

START_TEST(barrier_of_none_is_refused)
{
	ck_assert_int_eq(zs_barrier_wait(&barrier), -EINVAL);
	ck_assert_int_eq(zs_barrier_init(&barrier, 0), -EINVAL);
	assert_ok(zs_barrier_init(&barrier, 1));
	ck_assert_int_eq(zs_barrier_wait(&barrier), 1);
	ck_assert_int_eq(zs_barrier_wait(&barrier), 1);
}
END_TEST

static int find_it_broken(void *arg)
{
	(void)arg;
	ck_assert_int_eq(zs_barrier_wait(&barrier), -EPIPE);
	count(&ended);
	return 0;
}

static int wait_until_cancelled(void *arg)
{
	(void)arg;
	ck_assert_int_eq(zs_barrier_wait(&barrier), -ECANCELED);
	return 0;
}

static int meet_again(void *arg)
{
	int ret = zs_barrier_wait(&barrier);

	(void)arg;
	count(&ended);
	return ret < 0 ? ret : 0;
}

static int break_it(void *arg)
{
	struct zs_nursery others, cancelled;

	(void)arg;
	assert_ok(zs_barrier_init(&barrier, 3));
	assert_ok(zs_nursery_open(&others, NULL));
	assert_ok(zs_nursery_spawn(others, find_it_broken, NULL));
	assert_ok(zs_yield());
	assert_ok(zs_nursery_open(&cancelled, NULL));
	assert_ok(zs_nursery_spawn(cancelled, wait_until_cancelled, NULL));
	assert_ok(zs_yield());
	ck_assert_uint_eq(counted(&ended), 0);
	assert_ok(zs_nursery_cancel(cancelled));
	ck_assert_int_eq(zs_nursery_wait(cancelled), -ECANCELED);
	ck_assert_int_eq(zs_barrier_wait(&barrier), -EPIPE);
	assert_ok(zs_nursery_wait(others));
	ck_assert_uint_eq(counted(&ended), 1);
	assert_ok(zs_barrier_reset(&barrier));
	assert_ok(zs_nursery_open(&others, NULL));
	for (int i = 0; i < 3; i++)
		assert_ok(zs_nursery_spawn(others, meet_again, NULL));
	assert_ok(zs_nursery_wait(others));
	ck_assert_uint_eq(counted(&ended), 4);
	return 0;
}

START_TEST(party_that_is_cancelled_breaks_it_until_it_is_reset)
{
	assert_ok(run_task(break_it, NULL));
}
END_TEST

static int reset_it(void *arg)
{
	struct zs_nursery nursery;

	(void)arg;
	assert_ok(zs_barrier_init(&barrier, 3));
	assert_ok(zs_nursery_open(&nursery, NULL));
	for (int i = 0; i < 2; i++)
		assert_ok(zs_nursery_spawn(nursery, find_it_broken, NULL));
	assert_ok(zs_yield());
	assert_ok(zs_barrier_reset(&barrier));
	assert_ok(zs_nursery_wait(nursery));
	ck_assert_uint_eq(counted(&ended), 2);
	return 0;
}

START_TEST(reset_sends_those_that_wait_away)
{
	assert_ok(run_task(reset_it, NULL));
}
END_TEST

static Suite *barrier_suite(void)
{
	Suite *suite = suite_create("barrier");
	TCase *tests = tcase_create("barrier");

	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, counts_are_checked);
	tcase_add_test(tests, group_lets_all_go_at_0_and_is_used_again);
	tcase_add_loop_test(tests, who_has_waited_may_free_it, 1, 3);
	tcase_add_loop_test(tests, all_have_come_before_any_goes_on, 1, 4);
	tcase_add_test(tests, barrier_of_none_is_refused);
	tcase_add_test(tests,
		       party_that_is_cancelled_breaks_it_until_it_is_reset);
	tcase_add_test(tests, reset_sends_those_that_wait_away);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(barrier_suite());
}
