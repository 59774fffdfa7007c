/* SPDX-License-Identifier: MIT */
/*
 * Semaphore and notify: how many get in, in which order, and that nothing given
 * is lost.
 */
#include "workers.h"

static struct zs_sem sem;
static struct zs_notify notify;
static struct counter ended;
static uint32_t order[8];
static uint32_t nr_in_order;

/* --- the semaphore --- */

START_TEST(numbers_are_checked)
{
	struct zs_sem other = ZS_SEM_INIT(3);

	ck_assert_int_eq(zs_sem_available(&sem), 0);
	ck_assert_int_eq(zs_sem_available(&other), 3);
	ck_assert_int_eq(zs_sem_init(&sem, (uint32_t)ZS_SEM_MAX + 1), -EINVAL);
	ck_assert_int_eq(zs_sem_acquire(&sem, UINT32_MAX), -EINVAL);
	ck_assert_int_eq(zs_sem_try_acquire(&sem, UINT32_MAX), -EINVAL);
	ck_assert_int_eq(zs_sem_release(&sem, UINT32_MAX), -EINVAL);
	assert_ok(zs_sem_acquire(&sem, 0));
	assert_ok(zs_sem_try_acquire(&sem, 0));
	ck_assert_int_eq(zs_sem_try_acquire(&sem, 1), -EAGAIN);
	assert_ok(zs_sem_release(&sem, ZS_SEM_MAX));
	ck_assert_int_eq(zs_sem_release(&sem, 1), -EOVERFLOW);
	ck_assert_int_eq(zs_sem_available(&sem), ZS_SEM_MAX);
	assert_ok(zs_sem_release(&sem, 0));
	assert_ok(zs_sem_acquire(&sem, ZS_SEM_MAX));
	ck_assert_int_eq(zs_sem_available(&sem), 0);
}
END_TEST

static int acquire(void *arg)
{
	uint32_t permits = (uint32_t)(uintptr_t)arg;
	int ret = zs_sem_acquire(&sem, permits);

	if (ret == 0)
		order[nr_in_order++] = permits;
	return ret;
}

static int ask_for_many(void *arg)
{
	struct zs_nursery nursery;

	(void)arg;
	assert_ok(zs_sem_init(&sem, 2));
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn(nursery, acquire, (void *)3));
	assert_ok(zs_nursery_spawn(nursery, acquire, (void *)1));
	assert_ok(zs_nursery_spawn(nursery, acquire, (void *)2));
	assert_ok(zs_yield());
	/* There are enough for it, but others came before. */
	ck_assert_int_eq(zs_sem_try_acquire(&sem, 1), -EAGAIN);
	ck_assert_uint_eq(nr_in_order, 0);
	assert_ok(zs_sem_release(&sem, 1));
	assert_ok(zs_yield());
	ck_assert_uint_eq(nr_in_order, 1);
	assert_ok(zs_sem_release(&sem, 5));
	assert_ok(zs_nursery_wait(nursery));
	ck_assert_uint_eq(nr_in_order, 3);
	ck_assert_uint_eq(order[0], 3);
	ck_assert_uint_eq(order[1], 1);
	ck_assert_uint_eq(order[2], 2);
	ck_assert_int_eq(zs_sem_available(&sem), 2);
	return 0;
}

START_TEST(who_asks_for_many_is_not_overtaken)
{
	assert_ok(run_task(ask_for_many, NULL));
}
END_TEST

static int cancel_first(void *arg)
{
	struct zs_nursery nursery, first;

	(void)arg;
	assert_ok(zs_sem_init(&sem, 2));
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_open(&first, NULL));
	assert_ok(zs_nursery_spawn(first, acquire, (void *)3));
	assert_ok(zs_yield());
	assert_ok(zs_nursery_spawn(nursery, acquire, (void *)1));
	assert_ok(zs_nursery_spawn(nursery, acquire, (void *)1));
	assert_ok(zs_nursery_spawn(nursery, acquire, (void *)1));
	assert_ok(zs_yield());
	ck_assert_uint_eq(nr_in_order, 0);
	assert_ok(zs_nursery_cancel(first));
	ck_assert_int_eq(zs_nursery_wait(first), -ECANCELED);
	assert_ok(zs_yield());
	ck_assert_uint_eq(nr_in_order, 2);
	assert_ok(zs_sem_release(&sem, 1));
	return zs_nursery_wait(nursery);
}

START_TEST(cancel_of_the_first_lets_the_next_ones_go)
{
	assert_ok(run_task(cancel_first, NULL));
}
END_TEST

enum { ROUNDS = 1000, PERMITS = 3, NR_TASKS = 8 };

static _Atomic uint32_t inside;

static void go_in_and_out(uint32_t permits)
{
	for (int i = 0; i < ROUNDS; i++) {
		uint32_t now;

		assert_ok(zs_sem_acquire(&sem, permits));
		/* relaxed: the semaphore is what is tested. */
		now = permits + atomic_fetch_add_explicit(&inside, permits,
							  memory_order_relaxed);
		ck_assert_uint_le(now, PERMITS);
		if (i % 16 == 0)
			zs_yield();
		atomic_fetch_sub_explicit(&inside, permits,
					  memory_order_relaxed);
		assert_ok(zs_sem_release(&sem, permits));
	}
}

static int go_in_task(void *arg)
{
	go_in_and_out((uint32_t)(uintptr_t)arg);
	return 0;
}

static void *go_in_thread(void *arg)
{
	go_in_and_out((uint32_t)(uintptr_t)arg);
	return NULL;
}

static int share_permits(void *arg)
{
	struct zs_nursery nursery;
	pthread_t thread;

	(void)arg;
	assert_ok(zs_sem_init(&sem, PERMITS));
	thread = start_thread(go_in_thread, (void *)2);
	assert_ok(zs_nursery_open(&nursery, NULL));
	for (uintptr_t i = 0; i < NR_TASKS; i++)
		assert_ok(zs_nursery_spawn(nursery, go_in_task,
					   (void *)(1 + i % PERMITS)));
	assert_ok(zs_nursery_wait(nursery));
	pthread_join(thread, NULL);
	ck_assert_int_eq(zs_sem_available(&sem), PERMITS);
	return 0;
}

START_TEST(never_more_are_inside_than_there_are_permits)
{
	assert_ok(run_task_on((uint32_t)_i, share_permits, NULL));
}
END_TEST

/* --- notify --- */

START_TEST(one_permit_is_kept_and_no_more)
{
	ck_assert_int_eq(zs_notify_try_wait(&notify), -EAGAIN);
	assert_ok(zs_notify_one(&notify));
	assert_ok(zs_notify_one(&notify));
	assert_ok(zs_notify_wait(&notify));
	ck_assert_int_eq(zs_notify_try_wait(&notify), -EAGAIN);
	assert_ok(zs_notify_all(&notify));
	ck_assert_int_eq(zs_notify_try_wait(&notify), -EAGAIN);
}
END_TEST

static int wait_in_turn(void *arg)
{
	int ret = zs_notify_wait(&notify);

	if (ret == 0)
		order[nr_in_order++] = (uint32_t)(uintptr_t)arg;
	return ret;
}

static int notify_in_turn(void *arg)
{
	struct zs_nursery nursery;

	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	for (uintptr_t i = 0; i < 5; i++)
		assert_ok(zs_nursery_spawn(nursery, wait_in_turn, (void *)i));
	assert_ok(zs_yield());
	assert_ok(zs_notify_one(&notify));
	assert_ok(zs_notify_one(&notify));
	assert_ok(zs_yield());
	ck_assert_uint_eq(nr_in_order, 2);
	assert_ok(zs_notify_all(&notify));
	assert_ok(zs_nursery_wait(nursery));
	for (uint32_t i = 0; i < 5; i++)
		ck_assert_uint_eq(order[i], i);
	/* Those that wait were told, nothing is left. */
	ck_assert_int_eq(zs_notify_try_wait(&notify), -EAGAIN);
	return 0;
}

START_TEST(waiters_are_told_in_the_order_in_which_they_came)
{
	assert_ok(run_task(notify_in_turn, NULL));
}
END_TEST

static int cancel_before_it_is_told(void *arg)
{
	struct zs_nursery nursery;

	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn(nursery, wait_in_turn, NULL));
	assert_ok(zs_yield());
	assert_ok(zs_nursery_cancel(nursery));
	/* It has not been resumed, but does not wait any more. */
	assert_ok(zs_notify_one(&notify));
	ck_assert_int_eq(zs_nursery_wait(nursery), -ECANCELED);
	ck_assert_uint_eq(nr_in_order, 0);
	return zs_notify_try_wait(&notify);
}

START_TEST(who_was_cancelled_takes_no_permit_with_it)
{
	assert_ok(run_task(cancel_before_it_is_told, NULL));
}
END_TEST

static _Atomic uint32_t to_do;
static uint32_t done;

static void *give_work(void *arg)
{
	(void)arg;
	for (int i = 0; i < ROUNDS; i++) {
		atomic_fetch_add_explicit(&to_do, 1, memory_order_relaxed);
		assert_ok(zs_notify_one(&notify));
	}
	count(&ended);
	return NULL;
}

static int do_work(void *arg)
{
	pthread_t threads[2];

	(void)arg;
	for (int i = 0; i < 2; i++)
		threads[i] = start_thread(give_work, NULL);
	while (done < 2 * ROUNDS) {
		assert_ok(zs_notify_wait(&notify));
		done += atomic_exchange_explicit(&to_do, 0,
						 memory_order_relaxed);
	}
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	return 0;
}

START_TEST(no_notification_is_lost)
{
	assert_ok(run_task(do_work, NULL));
	ck_assert_uint_eq(done, 2 * ROUNDS);
}
END_TEST

static Suite *sem_suite(void)
{
	Suite *suite = suite_create("sem");
	TCase *tests = tcase_create("sem");

	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, numbers_are_checked);
	tcase_add_test(tests, who_asks_for_many_is_not_overtaken);
	tcase_add_test(tests, cancel_of_the_first_lets_the_next_ones_go);
	tcase_add_loop_test(tests, never_more_are_inside_than_there_are_permits,
			    1, 4);
	tcase_add_test(tests, one_permit_is_kept_and_no_more);
	tcase_add_test(tests, waiters_are_told_in_the_order_in_which_they_came);
	tcase_add_test(tests, who_was_cancelled_takes_no_permit_with_it);
	tcase_add_test(tests, no_notification_is_lost);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(sem_suite());
}
