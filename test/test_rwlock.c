/* SPDX-License-Identifier: MIT */
/* Reader-writer lock: who shares it, who does not, and that neither readers nor
 * writers starve. */
#include "workers.h"

static struct zs_rwlock lock;
static char order[16];
static uint32_t nr_in_order;
static struct zs_notify may_go;
static struct counter ended;

/* --- the owner --- */

static int use_anothers(void *arg)
{
	(void)arg;
	ck_assert_int_eq(zs_rwlock_write_unlock(&lock), -EPERM);
	ck_assert_int_eq(zs_rwlock_read_unlock(&lock), -EPERM);
	ck_assert_int_eq(zs_rwlock_try_read_lock(&lock), -EAGAIN);
	ck_assert_int_eq(zs_rwlock_try_write_lock(&lock), -EAGAIN);
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
	ck_assert_int_eq(zs_rwlock_write_unlock(&lock), -EPERM);
	ck_assert_int_eq(zs_rwlock_read_unlock(&lock), -EPERM);
	assert_ok(zs_rwlock_write_lock(&lock));
	ck_assert_int_eq(zs_rwlock_write_lock(&lock), -EDEADLK);
	ck_assert_int_eq(zs_rwlock_read_lock(&lock), -EDEADLK);
	ck_assert_int_eq(zs_rwlock_try_read_lock(&lock), -EDEADLK);
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn(nursery, use_anothers, NULL));
	assert_ok(zs_nursery_wait(nursery));
	run_in_thread(use_anothers_in_thread, NULL);
	assert_ok(zs_rwlock_write_unlock(&lock));
	assert_ok(zs_rwlock_read_lock(&lock));
	assert_ok(zs_rwlock_try_read_lock(&lock));
	ck_assert_int_eq(zs_rwlock_try_write_lock(&lock), -EAGAIN);
	ck_assert_int_eq(zs_rwlock_write_unlock(&lock), -EPERM);
	assert_ok(zs_rwlock_read_unlock(&lock));
	assert_ok(zs_rwlock_read_unlock(&lock));
	assert_ok(zs_rwlock_try_write_lock(&lock));
	return zs_rwlock_write_unlock(&lock);
}

START_TEST(writer_alone_unlocks_and_does_not_lock_again)
{
	assert_ok(run_task(own_one, NULL));
}
END_TEST

/* --- the order --- */

static int read_once(void *arg)
{
	(void)arg;
	assert_ok(zs_rwlock_read_lock(&lock));
	order[nr_in_order++] = 'r';
	assert_ok(zs_notify_wait(&may_go));
	return zs_rwlock_read_unlock(&lock);
}

static int write_once(void *arg)
{
	int ret = zs_rwlock_write_lock(&lock);

	(void)arg;
	if (ret < 0)
		return ret;
	order[nr_in_order++] = 'w';
	assert_ok(zs_notify_wait(&may_go));
	return zs_rwlock_write_unlock(&lock);
}

static void spawn_in_turn(struct zs_nursery nursery, const char *kinds)
{
	for (; *kinds; kinds++) {
		assert_ok(zs_nursery_spawn(
			nursery, *kinds == 'r' ? read_once : write_once, NULL));
		assert_ok(zs_yield());
	}
}

/* So many leave; then these have been let in, since the beginning. */
static void let_go(uint32_t number, const char *so_far)
{
	while (number-- > 0) {
		assert_ok(zs_notify_one(&may_go));
		/* To leave, and for who is let in to say so. */
		assert_ok(zs_yield());
		assert_ok(zs_yield());
	}
	ck_assert_str_eq(order, so_far);
}

static int take_turns(void *arg)
{
	struct zs_nursery nursery;

	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	spawn_in_turn(nursery, "rrwrrww");
	/* Readers share it; one behind a writer waits for it. */
	let_go(0, "rr");
	ck_assert_int_eq(zs_rwlock_try_read_lock(&lock), -EAGAIN);
	let_go(1, "rr");
	let_go(1, "rrw");
	let_go(1, "rrwrr");
	let_go(1, "rrwrr");
	let_go(1, "rrwrrw");
	let_go(1, "rrwrrww");
	let_go(1, "rrwrrww");
	return zs_nursery_wait(nursery);
}

START_TEST(all_are_served_in_the_order_in_which_they_came)
{
	assert_ok(run_task(take_turns, NULL));
}
END_TEST

static int cancel_writer(void *arg)
{
	struct zs_nursery readers, writer;

	(void)arg;
	assert_ok(zs_nursery_open(&readers, NULL));
	spawn_in_turn(readers, "r");
	assert_ok(zs_nursery_open(&writer, NULL));
	spawn_in_turn(writer, "w");
	spawn_in_turn(readers, "rr");
	let_go(0, "r");
	assert_ok(zs_nursery_cancel(writer));
	ck_assert_int_eq(zs_nursery_wait(writer), -ECANCELED);
	assert_ok(zs_yield());
	let_go(0, "rrr");
	let_go(3, "rrr");
	return zs_nursery_wait(readers);
}

START_TEST(cancel_of_a_writer_lets_the_readers_behind_it_in)
{
	assert_ok(run_task(cancel_writer, NULL));
}
END_TEST

/* --- many --- */

enum { ROUNDS = 1500, NR_EACH = 4 };

static uint64_t first, second;

static void write_rounds(void)
{
	for (int i = 0; i < ROUNDS; i++) {
		assert_ok(zs_rwlock_write_lock(&lock));
		first++;
		if (i % 64 == 0)
			zs_yield();
		second++;
		assert_ok(zs_rwlock_write_unlock(&lock));
	}
	count(&ended);
}

static void read_rounds(void)
{
	for (int i = 0; i < ROUNDS; i++) {
		uint64_t seen;

		assert_ok(zs_rwlock_read_lock(&lock));
		seen = first;
		if (i % 64 == 0)
			zs_yield();
		ck_assert_uint_eq(second, seen);
		assert_ok(zs_rwlock_read_unlock(&lock));
	}
}

static int write_in_task(void *arg)
{
	(void)arg;
	write_rounds();
	return 0;
}

static int read_in_task(void *arg)
{
	(void)arg;
	read_rounds();
	return 0;
}

static void *write_in_thread(void *arg)
{
	write_rounds();
	return arg;
}

static void *read_in_thread(void *arg)
{
	read_rounds();
	return arg;
}

static int read_and_write(void *arg)
{
	struct zs_nursery nursery;
	pthread_t threads[2];

	(void)arg;
	threads[0] = start_thread(write_in_thread, NULL);
	threads[1] = start_thread(read_in_thread, NULL);
	assert_ok(zs_nursery_open(&nursery, NULL));
	for (int i = 0; i < NR_EACH; i++) {
		assert_ok(zs_nursery_spawn(nursery, write_in_task, NULL));
		assert_ok(zs_nursery_spawn(nursery, read_in_task, NULL));
	}
	assert_ok(zs_nursery_wait(nursery));
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(first, (NR_EACH + 1) * ROUNDS);
	ck_assert_uint_eq(second, first);
	return 0;
}

START_TEST(writers_are_alone)
{
	assert_ok(run_task_on((uint32_t)_i, read_and_write, NULL));
}
END_TEST

/* Readers that overlap all the time. */
static int read_until_ended(void *arg)
{
	(void)arg;
	while (counted(&ended) == 0) {
		assert_ok(zs_rwlock_read_lock(&lock));
		assert_ok(zs_yield());
		assert_ok(zs_rwlock_read_unlock(&lock));
	}
	return 0;
}

static int write_among_readers(void *arg)
{
	struct zs_nursery nursery;

	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	for (int i = 0; i < NR_EACH; i++)
		assert_ok(zs_nursery_spawn(nursery, read_until_ended, NULL));
	assert_ok(zs_yield());
	write_rounds();
	return zs_nursery_wait(nursery);
}

START_TEST(writer_does_not_starve)
{
	assert_ok(run_task_on((uint32_t)_i, write_among_readers, NULL));
}
END_TEST

static Suite *rwlock_suite(void)
{
	Suite *suite = suite_create("rwlock");
	TCase *tests = tcase_create("rwlock");

	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, writer_alone_unlocks_and_does_not_lock_again);
	tcase_add_test(tests, all_are_served_in_the_order_in_which_they_came);
	tcase_add_test(tests, cancel_of_a_writer_lets_the_readers_behind_it_in);
	tcase_add_loop_test(tests, writers_are_alone, 1, 4);
	tcase_add_loop_test(tests, writer_does_not_starve, 1, 3);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(rwlock_suite());
}
