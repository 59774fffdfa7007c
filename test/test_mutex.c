/* SPDX-License-Identifier: MIT */
/*
 * Mutex and condition variable: who owns it, who gets it next, and that one at
 * a time has it, on one worker or more and on threads that are no worker's.
 */
#include "workers.h"

static struct zs_mutex mutex;
static struct zs_cond cond;
static struct counter ended;

/* --- the owner --- */

static int use_anothers(void *arg)
{
	(void)arg;
	ck_assert_int_eq(zs_mutex_unlock(&mutex), -EPERM);
	ck_assert_int_eq(zs_mutex_try_lock(&mutex), -EAGAIN);
	ck_assert_int_eq(zs_cond_wait(&cond, &mutex), -EPERM);
	return 0;
}

static void *use_anothers_in_thread(void *arg)
{
	use_anothers(arg);
	return NULL;
}

static int own_one(void *arg)
{
	struct zs_nursery nursery;

	(void)arg;
	ck_assert_int_eq(zs_mutex_unlock(&mutex), -EPERM);
	ck_assert_int_eq(zs_cond_wait(&cond, &mutex), -EPERM);
	assert_ok(zs_mutex_lock(&mutex));
	ck_assert_int_eq(zs_mutex_lock(&mutex), -EDEADLK);
	ck_assert_int_eq(zs_mutex_try_lock(&mutex), -EDEADLK);
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn(nursery, use_anothers, NULL));
	assert_ok(zs_nursery_wait(nursery));
	run_in_thread(use_anothers_in_thread, NULL);
	assert_ok(zs_mutex_unlock(&mutex));
	assert_ok(zs_mutex_try_lock(&mutex));
	assert_ok(zs_mutex_unlock(&mutex));
	return 0;
}

START_TEST(owner_alone_unlocks_and_does_not_lock_again)
{
	assert_ok(run_task(own_one, NULL));
}
END_TEST

static void *own_in_thread(void *arg)
{
	(void)arg;
	assert_ok(zs_mutex_lock(&mutex));
	ck_assert_int_eq(zs_mutex_lock(&mutex), -EDEADLK);
	run_in_thread(use_anothers_in_thread, NULL);
	assert_ok(zs_mutex_unlock(&mutex));
	ck_assert_int_eq(zs_mutex_unlock(&mutex), -EPERM);
	return NULL;
}

START_TEST(thread_that_is_no_workers_is_an_owner)
{
	run_in_thread(own_in_thread, NULL);
}
END_TEST

static struct zs_timer timer;

static void lock_in_timer(struct zs_timer *own, void *arg)
{
	(void)own;
	(void)arg;
	assert_ok(zs_mutex_try_lock(&mutex));
	ck_assert_int_eq(zs_cond_wait(&cond, &mutex), -EPERM);
	assert_ok(zs_mutex_unlock(&mutex));
	count(&ended);
}

static int lock_from_timer(void *arg)
{
	(void)arg;
	assert_ok(zs_timer_start(&timer, zs_now(), lock_in_timer, NULL));
	await_count(&ended, 1);
	return 0;
}

START_TEST(timers_function_tries)
{
	assert_ok(run_task(lock_from_timer, NULL));
}
END_TEST

/* --- who gets it --- */

static int lock_once(void *arg)
{
	(void)arg;
	assert_ok(zs_mutex_lock(&mutex));
	count(&ended);
	return zs_mutex_unlock(&mutex);
}

static int hog(void *arg)
{
	struct zs_nursery nursery;
	int rounds = 0;

	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_mutex_lock(&mutex));
	assert_ok(zs_nursery_spawn(nursery, lock_once, NULL));
	while (counted(&ended) == 0) {
		ck_assert_int_lt(rounds++, 5);
		assert_ok(zs_yield());
		assert_ok(zs_mutex_unlock(&mutex));
		/* At once, before the other is resumed. */
		assert_ok(zs_mutex_lock(&mutex));
	}
	assert_ok(zs_mutex_unlock(&mutex));
	return zs_nursery_wait(nursery);
}

START_TEST(waiter_is_not_overtaken_for_ever)
{
	assert_ok(run_task(hog, NULL));
}
END_TEST

static int lock_until_cancelled(void *arg)
{
	(void)arg;
	ck_assert_int_eq(zs_mutex_lock(&mutex), -ECANCELED);
	return 0;
}

/* The first of two is woken, loses, and is cancelled before it has seen that:
 * who waits behind it must not be forgotten. */
static int cancel_on_its_way(void *arg)
{
	struct zs_nursery first, second;

	(void)arg;
	assert_ok(zs_mutex_lock(&mutex));
	assert_ok(zs_nursery_open(&second, NULL));
	assert_ok(zs_nursery_open(&first, NULL));
	assert_ok(zs_nursery_spawn(first, lock_until_cancelled, NULL));
	assert_ok(zs_yield());
	assert_ok(zs_nursery_spawn(second, lock_once, NULL));
	assert_ok(zs_yield());
	assert_ok(zs_mutex_unlock(&mutex));
	assert_ok(zs_mutex_lock(&mutex));
	assert_ok(zs_nursery_cancel(first));
	ck_assert_int_eq(zs_nursery_wait(first), -ECANCELED);
	ck_assert_uint_eq(counted(&ended), 0);
	assert_ok(zs_mutex_unlock(&mutex));
	assert_ok(zs_nursery_wait(second));
	ck_assert_uint_eq(counted(&ended), 1);
	assert_ok(zs_mutex_try_lock(&mutex));
	return zs_mutex_unlock(&mutex);
}

START_TEST(cancelled_on_its_way_it_leaves_the_next_one_to_be_woken)
{
	assert_ok(run_task(cancel_on_its_way, NULL));
}
END_TEST

static int cancel_all_that_wait(void *arg)
{
	struct zs_nursery nursery;

	(void)arg;
	assert_ok(zs_mutex_lock(&mutex));
	assert_ok(zs_nursery_open(&nursery, NULL));
	for (int i = 0; i < 3; i++)
		assert_ok(
			zs_nursery_spawn(nursery, lock_until_cancelled, NULL));
	assert_ok(zs_yield());
	assert_ok(zs_nursery_cancel(nursery));
	ck_assert_int_eq(zs_nursery_wait(nursery), -ECANCELED);
	assert_ok(zs_mutex_unlock(&mutex));
	return lock_once(NULL);
}

START_TEST(unlock_finds_that_all_have_been_cancelled)
{
	assert_ok(run_task(cancel_all_that_wait, NULL));
}
END_TEST

/* --- one at a time --- */

enum { ROUNDS = 2000, NR_TASKS = 8, NR_THREADS = 2 };

static uint64_t number;

static void increase(uint32_t rounds)
{
	for (uint32_t i = 0; i < rounds; i++) {
		uint64_t before;

		assert_ok(zs_mutex_lock(&mutex));
		before = number;
		if (i % 64 == 0)
			zs_yield();
		number = before + 1;
		assert_ok(zs_mutex_unlock(&mutex));
	}
}

static int increase_in_task(void *arg)
{
	(void)arg;
	increase(ROUNDS);
	return 0;
}

static void *increase_in_thread(void *arg)
{
	(void)arg;
	increase(ROUNDS);
	return NULL;
}

static int increase_by_many(void *arg)
{
	pthread_t threads[NR_THREADS];
	struct zs_nursery nursery;

	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	for (int i = 0; i < NR_THREADS; i++)
		threads[i] = start_thread(increase_in_thread, NULL);
	for (int i = 0; i < NR_TASKS; i++)
		assert_ok(zs_nursery_spawn(nursery, increase_in_task, NULL));
	assert_ok(zs_nursery_wait(nursery));
	for (int i = 0; i < NR_THREADS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(number, (NR_TASKS + NR_THREADS) * ROUNDS);
	return 0;
}

START_TEST(one_at_a_time_has_it)
{
	assert_ok(run_task_on((uint32_t)_i, increase_by_many, NULL));
}
END_TEST

/* --- the condition variable --- */

static uintptr_t served[4];
static uint32_t nr_served;

static int wait_for_signal(void *arg)
{
	assert_ok(zs_mutex_lock(&mutex));
	assert_ok(zs_cond_wait(&cond, &mutex));
	served[nr_served++] = (uintptr_t)arg;
	return zs_mutex_unlock(&mutex);
}

static int signal_waiters(void *arg)
{
	struct zs_nursery nursery;

	(void)arg;
	/* Nobody waits: it is not kept. */
	assert_ok(zs_cond_signal(&cond));
	assert_ok(zs_cond_broadcast(&cond));
	assert_ok(zs_nursery_open(&nursery, NULL));
	for (uintptr_t i = 0; i < 4; i++)
		assert_ok(
			zs_nursery_spawn(nursery, wait_for_signal, (void *)i));
	assert_ok(zs_yield());
	ck_assert_uint_eq(nr_served, 0);
	assert_ok(zs_cond_signal(&cond));
	assert_ok(zs_yield());
	ck_assert_uint_eq(nr_served, 1);
	assert_ok(zs_cond_signal(&cond));
	assert_ok(zs_yield());
	ck_assert_uint_eq(nr_served, 2);
	assert_ok(zs_cond_broadcast(&cond));
	assert_ok(zs_nursery_wait(nursery));
	ck_assert_uint_eq(nr_served, 4);
	for (uintptr_t i = 0; i < 4; i++)
		ck_assert_uint_eq(served[i], i);
	return 0;
}

START_TEST(signal_lets_the_oldest_go_and_broadcast_all)
{
	assert_ok(run_task(signal_waiters, NULL));
}
END_TEST

static int wait_holding(void *arg)
{
	(void)arg;
	assert_ok(zs_mutex_lock(&mutex));
	ck_assert_int_eq(zs_cond_wait(&cond, &mutex), -ECANCELED);
	/* It is held even so, though it was not free at once. */
	assert_ok(zs_mutex_unlock(&mutex));
	count(&ended);
	return 0;
}

static int cancel_while_locked(void *arg)
{
	struct zs_nursery nursery;

	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn(nursery, wait_holding, NULL));
	assert_ok(zs_yield());
	assert_ok(zs_mutex_lock(&mutex));
	assert_ok(zs_nursery_cancel(nursery));
	/* In its cancelled scope it waits for the mutex. */
	zs_yield();
	zs_yield();
	ck_assert_uint_eq(counted(&ended), 0);
	assert_ok(zs_mutex_unlock(&mutex));
	ck_assert_int_eq(zs_nursery_wait(nursery), -ECANCELED);
	ck_assert_uint_eq(counted(&ended), 1);
	return 0;
}

START_TEST(cancelled_wait_has_the_mutex_again)
{
	assert_ok(run_task(cancel_while_locked, NULL));
}
END_TEST

static struct zs_cond not_empty, not_full;
static uint32_t queued, taken;

static void put_some(uint32_t rounds)
{
	for (uint32_t i = 0; i < rounds; i++) {
		assert_ok(zs_mutex_lock(&mutex));
		while (queued == 2)
			assert_ok(zs_cond_wait(&not_full, &mutex));
		queued++;
		assert_ok(zs_cond_signal(&not_empty));
		assert_ok(zs_mutex_unlock(&mutex));
	}
}

static void take_some(uint32_t rounds)
{
	for (uint32_t i = 0; i < rounds; i++) {
		assert_ok(zs_mutex_lock(&mutex));
		while (queued == 0)
			assert_ok(zs_cond_wait(&not_empty, &mutex));
		queued--;
		taken++;
		assert_ok(zs_mutex_unlock(&mutex));
		assert_ok(zs_cond_signal(&not_full));
	}
}

static int put_in_task(void *arg)
{
	(void)arg;
	put_some(ROUNDS);
	return 0;
}

static int take_in_task(void *arg)
{
	(void)arg;
	take_some(ROUNDS);
	return 0;
}

static void *take_in_thread(void *arg)
{
	(void)arg;
	take_some(ROUNDS);
	return NULL;
}

static int pass_on(void *arg)
{
	pthread_t thread = start_thread(take_in_thread, NULL);
	struct zs_nursery nursery;

	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	for (int i = 0; i < 3; i++)
		assert_ok(zs_nursery_spawn(nursery, put_in_task, NULL));
	for (int i = 0; i < 2; i++)
		assert_ok(zs_nursery_spawn(nursery, take_in_task, NULL));
	assert_ok(zs_nursery_wait(nursery));
	pthread_join(thread, NULL);
	ck_assert_uint_eq(taken, 3 * ROUNDS);
	ck_assert_uint_eq(queued, 0);
	return 0;
}

START_TEST(no_signal_is_lost)
{
	assert_ok(run_task_on((uint32_t)_i, pass_on, NULL));
}
END_TEST

static Suite *mutex_suite(void)
{
	Suite *suite = suite_create("mutex");
	TCase *tests = tcase_create("mutex");

	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, owner_alone_unlocks_and_does_not_lock_again);
	tcase_add_test(tests, thread_that_is_no_workers_is_an_owner);
	tcase_add_test(tests, timers_function_tries);
	tcase_add_test(tests, waiter_is_not_overtaken_for_ever);
	tcase_add_test(tests,
		       cancelled_on_its_way_it_leaves_the_next_one_to_be_woken);
	tcase_add_test(tests, unlock_finds_that_all_have_been_cancelled);
	tcase_add_loop_test(tests, one_at_a_time_has_it, 1, 4);
	tcase_add_test(tests, signal_lets_the_oldest_go_and_broadcast_all);
	tcase_add_test(tests, cancelled_wait_has_the_mutex_again);
	tcase_add_loop_test(tests, no_signal_is_lost, 1, 4);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(mutex_suite());
}
