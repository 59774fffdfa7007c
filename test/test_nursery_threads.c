/* SPDX-License-Identifier: MIT */
/*
 * Nurseries whose tasks run on several workers, and into which threads spawn
 * that run no task at all: nothing may be lost, and the wait must neither end
 * early nor never.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/compiler.h"
#include "sched/scope.h"
#include "workers.h"

#if defined(ZS_ASAN) || defined(ZS_TSAN)
#define IS_SANITIZED 1
#endif

/* Shared by the tasks of a test; each test is a process of its own. */
static struct zs_nursery nursery;
static struct counter ended;
static struct counter opened;
static struct counter told;

static int count_end(void *arg)
{
	(void)arg;
	count(&ended);
	return 0;
}

/* --- who spawns --- */

/* Three generations: 1 + 6 + 36 for each that is spawned with 2. */
static int spawn_descendants(void *arg)
{
	int generations = *(int *)arg - 1;

	for (int i = 0; generations >= 0 && i < 6; i++)
		assert_ok(zs_nursery_spawn_copy(nursery, spawn_descendants,
						&generations,
						sizeof(generations)));
	if (generations % 2)
		assert_ok(zs_yield());
	return count_end(NULL);
}

static int have_descendants(void *arg)
{
	(void)arg;
	for (int round = 0; round < 20; round++) {
		int generations = 2;

		assert_ok(zs_nursery_open(&nursery, NULL));
		spawn_from_thread(nursery, 4, spawn_descendants, &generations);
		assert_ok(zs_nursery_wait(nursery));
		ck_assert_uint_eq(counted(&ended), (round + 1u) * 4 * 43);
	}
	return 0;
}

/* From each worker, while the opener waits, into the one nursery. */
START_TEST(descendants_spawn_into_it_from_any_worker)
{
	assert_ok(run_task_on(1u << _i, have_descendants, NULL));
}
END_TEST

enum { NR_FOREIGN = 1000 };

static void *spawn_then_cancel(void *arg)
{
	(void)arg;
	while (counted(&opened) == 0)
		sched_yield();
	for (int i = 0; i < NR_FOREIGN; i++)
		assert_ok(zs_nursery_spawn(nursery, count_end, NULL));
	assert_ok(zs_nursery_cancel(nursery));
	assert_ok(zs_nursery_cancel(nursery));
	count(&told);
	return NULL;
}

static int let_foreigner_cancel(void *arg)
{
	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	count(&opened);
	ck_assert_int_eq(zs_sleep(ZS_NEVER), -ECANCELED);
	ck_assert_int_eq(zs_cancel_reason(), ZS_CANCEL_REQUESTED);
	/* Nobody uses the handle any more when it is closed. */
	await_count(&told, 1);
	ck_assert_int_eq(zs_nursery_wait(nursery), -ECANCELED);
	ck_assert_uint_eq(counted(&ended), NR_FOREIGN);
	return zs_yield();
}

/* Those that were spawned before the cancel all run. */
START_TEST(foreign_thread_spawns_and_cancels)
{
	pthread_t thread = start_thread(spawn_then_cancel, NULL);

	assert_ok(run_task_on(1u << _i, let_foreigner_cancel, NULL));
	pthread_join(thread, NULL);
}
END_TEST

static void *spawn_in_vain(void *arg)
{
	ck_assert_int_eq(zs_nursery_spawn(nursery, count_end, NULL),
			 -ECANCELED);
	ck_assert_int_eq(zs_nursery_spawn_copy(nursery, count_end, "x", 1),
			 -ECANCELED);
	count(&told);
	return arg;
}

static int spawn_into_cancelled(void *arg)
{
	(void)arg;
	await_count(&opened, 1);
	spawn_in_vain(NULL);
	return 0;
}

static int spawn_from_everywhere(void *arg)
{
	struct zs_nursery beside;

	(void)arg;
	assert_ok(zs_nursery_open(&beside, NULL));
	spawn_on_each(beside, 4, spawn_into_cancelled, NULL);
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_cancel(nursery));
	count(&opened);
	spawn_in_vain(NULL);
	run_in_thread(spawn_in_vain, NULL);
	await_count(&told, 6);
	ck_assert_int_eq(zs_nursery_wait(nursery), -ECANCELED);
	return zs_nursery_wait(beside);
}

/* By its opener, by a foreign thread, by a task of each worker. The nursery
 * around it still takes tasks. */
START_TEST(spawn_into_a_cancelled_one_is_ecanceled)
{
	assert_ok(run_task_on(4, spawn_from_everywhere, NULL));
	ck_assert_uint_eq(counted(&ended), 0);
}
END_TEST

/* --- where they run --- */

static pthread_t home;

static int stay_at_home(void *arg)
{
	(void)arg;
	ck_assert(pthread_equal(pthread_self(), home));
	assert_ok(zs_yield());
	assert_ok(zs_sleep(1));
	ck_assert(pthread_equal(pthread_self(), home));
	return count_end(NULL);
}

static int spawn_home(void *arg)
{
	for (int i = 0; i < 25; i++)
		assert_ok(zs_nursery_spawn(nursery, stay_at_home, arg));
	return 0;
}

static int open_pinned(void *arg)
{
	struct zs_nursery_options options = { .flags = ZS_NURSERY_PINNED };
	struct zs_nursery beside;

	(void)arg;
	home = pthread_self();
	assert_ok(zs_nursery_open(&beside, NULL));
	assert_ok(zs_nursery_open(&nursery, &options));
	spawn_from_thread(nursery, 25, stay_at_home, NULL);
	spawn_on_each(beside, 4, spawn_home, NULL);
	spawn_home(NULL);
	/* Nobody else would start them meanwhile. */
	await_count(&ended, 6 * 25);
	assert_ok(zs_nursery_wait(nursery));
	return zs_nursery_wait(beside);
}

/* Spawned by its opener, by tasks of each worker and by a foreign thread. */
START_TEST(pinned_nursery_runs_all_on_its_openers_worker)
{
	assert_ok(run_task_on(4, open_pinned, NULL));
	ck_assert_uint_eq(counted(&ended), 6 * 25);
}
END_TEST

/* --- what a wait publishes --- */

enum { NR_CELLS = 512 };
static int cells[NR_CELLS];

static int write_cell(void *cell)
{
	*(int *)cell += 1;
	return 0;
}

static int read_cells(void *arg)
{
	(void)arg;
	for (int round = 1; round <= 50; round++) {
		assert_ok(zs_nursery_open(&nursery, NULL));
		for (int i = 0; i < NR_CELLS; i++)
			assert_ok(zs_nursery_spawn(nursery, write_cell,
						   &cells[i]));
		assert_ok(zs_nursery_wait(nursery));
		for (int i = 0; i < NR_CELLS; i++)
			if (cells[i] != round)
				ck_abort_msg("cell %d is %d in round %d", i,
					     cells[i], round);
	}
	return 0;
}

/* Plain memory: ThreadSanitizer sees whether the wait, and the spawn of the
 * next round, are enough. */
START_TEST(wait_sees_what_the_tasks_wrote)
{
	assert_ok(run_task_on(1u << _i, read_cells, NULL));
}
END_TEST

static int fib(void *arg)
{
	int *number = arg;
	int parts[2] = { *number - 1, *number - 2 };
	struct zs_nursery inner;

	if (*number < 2)
		return 0;
	assert_ok(zs_nursery_open(&inner, NULL));
	assert_ok(zs_nursery_spawn(inner, fib, &parts[0]));
	assert_ok(zs_nursery_spawn(inner, fib, &parts[1]));
	assert_ok(zs_nursery_wait(inner));
	*number = parts[0] + parts[1];
	return 0;
}

/* Nearly 2,000 nurseries, their arguments on the parents' stacks. */
START_TEST(fork_and_join_over_workers_adds_up)
{
	int number = 15;

	assert_ok(run_task_on(1u << _i, fib, &number));
	ck_assert_int_eq(number, 610);
}
END_TEST

/* --- waits and spawns at the same moment --- */

enum { NR_ROUNDS = 500 };
static pthread_mutex_t handle_lock = PTHREAD_MUTEX_INITIALIZER;
static struct counter spawned, here, there;

static void publish(struct zs_nursery handle)
{
	pthread_mutex_lock(&handle_lock);
	nursery = handle;
	pthread_mutex_unlock(&handle_lock);
}

/* Both sides meet, and then each takes a while: from nothing to some 20 us, all
 * pairs of magnitudes. */
static void meet(struct counter *mine, struct counter *theirs, uint32_t round,
		 uint32_t pause)
{
	uint32_t looks = 0;

	count(mine);
	while (counted(theirs) < round)
		if (++looks % 4096 == 0)
			sched_yield();
	for (volatile uint32_t i = 0; i < pause; i++)
		;
}

static void *spawn_at_the_end(void *arg)
{
	struct zs_nursery handle;

	(void)arg;
	for (uint32_t round = 1; round <= NR_ROUNDS; round++) {
		int ret;

		while (counted(&opened) < round)
			sched_yield();
		pthread_mutex_lock(&handle_lock);
		handle = nursery;
		pthread_mutex_unlock(&handle_lock);
		meet(&here, &there, round, round * 7919 % (1u << round % 14));
		ret = zs_nursery_spawn(handle, count_end, NULL);
		if (ret == 0)
			count(&spawned);
		else if (ret != -ESTALE && ret != -EAGAIN)
			ck_abort_msg("%d", ret);
		count(&told);
	}
	return NULL;
}

static int take_a_while(void *arg)
{
	uint32_t round = *(uint32_t *)arg;

	count(&opened);
	meet(&there, &here, round, round * 104729 % (1u << round / 14 % 14));
	return 0;
}

static int wait_for_both(void *arg)
{
	struct zs_nursery handle;
	int ret;

	(void)arg;
	for (uint32_t round = 1; round <= NR_ROUNDS; round++) {
		assert_ok(zs_nursery_open(&handle, NULL));
		publish(handle);
		/* Another worker may be about to give back the last place. */
		do
			ret = zs_nursery_spawn(handle, take_a_while, &round);
		while (ret == -EAGAIN && zs_yield() == 0);
		assert_ok(ret);
		assert_ok(zs_nursery_wait(handle));
		if (counted(&told) == round &&
		    counted(&ended) != counted(&spawned))
			ck_abort_msg("the wait of round %u was too short",
				     round);
		await_count(&told, round);
	}
	return 0;
}

/* The last task ends while a foreign thread spawns one more: that succeeds and
 * is waited for, or it is too late, or, with a limit of two, there is no room
 * for it. The wait ends in any case: it is the test's timeout that tells. */
START_TEST(foreign_spawn_at_the_last_moment_loses_no_wake)
{
	struct zs_config config = test_config();
	pthread_t thread = start_thread(spawn_at_the_end, NULL);

	config.num_workers = _i % 2 ? 2 : 1;
	config.max_green_threads = _i < 2 ? 2 : 1000;
	assert_ok(run_task_with(&config, wait_for_both, NULL));
	pthread_join(thread, NULL);
	ck_assert_uint_eq(counted(&ended), counted(&spawned));
}
END_TEST

static int64_t balance_of(uint64_t state)
{
	return (int64_t)state >> ZS_SCOPE_BALANCE_SHIFT;
}

/* As if that many tasks had been spawned from elsewhere, and ended here. */
static void age(struct zs_scope *scope, int64_t tasks)
{
	atomic_fetch_add_explicit(&scope->state,
				  (uint64_t)tasks << ZS_SCOPE_BALANCE_SHIFT,
				  memory_order_relaxed);
	scope->local -= tasks;
}

static int spawn_into_old_nursery(void *arg)
{
	struct zs_scope *scope;

	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	scope = nursery.scope;
	age(scope, ZS_SCOPE_DRIFT - 5);
	spawn_from_thread(nursery, 20, count_end, NULL);
	/* By the scope's message; if it never comes, this never ends. */
	while (balance_of(atomic_load_explicit(&scope->state,
					       memory_order_relaxed)) > 100)
		assert_ok(zs_yield());
	ck_assert_int_eq(zs_scope_count(scope), 20 - counted(&ended));
	assert_ok(zs_nursery_wait(nursery));
	ck_assert_uint_eq(counted(&ended), 20);
	return 0;
}

/* The nursery of a server that runs for months: 24 bits must do, however many
 * come from other threads and end on the opener's worker. */
START_TEST(count_of_a_nursery_does_not_overflow)
{
	assert_ok(run_task(spawn_into_old_nursery, NULL));
}
END_TEST

/* --- a spawn that fails --- */

#ifndef IS_SANITIZED
static _Thread_local bool is_refused;

/* Stands in for libc's: the memory of a foreign thread's first task is not to
 * be had, and by the time that it learns this all others have ended. */
void *mmap(void *address, size_t size, int protection, int flags, int fd,
	   off_t offset)
{
	if (is_refused) {
		count(&here);
		while (counted(&told) == 0)
			sched_yield();
		errno = ENOMEM;
		return MAP_FAILED;
	}
	return (void *)syscall(SYS_mmap, address, size, protection, flags, fd,
			       offset);
}

static void *spawn_without_memory(void *arg)
{
	while (counted(&opened) == 0)
		sched_yield();
	is_refused = true;
	ck_assert_int_eq(zs_nursery_spawn(nursery, count_end, NULL), -ENOMEM);
	return arg;
}

static int end_meanwhile(void *arg)
{
	(void)arg;
	count(&opened);
	await_count(&here, 1);
	count(&there);
	return 0;
}

/* On the same worker: once it sees the count, the other has ended. */
static int watch_the_end(void *arg)
{
	(void)arg;
	await_count(&there, 1);
	count(&told);
	return 0;
}

static int wait_for_failed_spawn(void *arg)
{
	struct zs_nursery beside;

	(void)arg;
	assert_ok(zs_nursery_open(&beside, NULL));
	assert_ok(zs_nursery_spawn(beside, watch_the_end, NULL));
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn(nursery, end_meanwhile, NULL));
	assert_ok(zs_nursery_wait(nursery));
	return zs_nursery_wait(beside);
}

/* The nursery counts a task that never comes to be; its last real one ends
 * meanwhile. That the wait ends all the same is seen by the timeout. */
START_TEST(foreign_spawn_that_fails_loses_no_wake)
{
	pthread_t thread = start_thread(spawn_without_memory, NULL);

	assert_ok(run_task(wait_for_failed_spawn, NULL));
	pthread_join(thread, NULL);
}
END_TEST

static void add_failing_tests(TCase *tests)
{
	tcase_add_test(tests, foreign_spawn_that_fails_loses_no_wake);
}
#else
static void add_failing_tests(TCase *tests)
{
	(void)tests;
	printf("SKIP: sanitizers have a mmap() of their own\n");
}
#endif

/* --- the last spawn of all --- */

static struct zs_cancel_token token;
static _Thread_local bool is_slow;

/* Stands in for libc's: a thread that is preempted in the call that wakes a
 * worker. */
ssize_t write(int fd, const void *bytes, size_t size)
{
	const struct timespec pause = { 0, 20 * ZS_MILLISECOND };

	if (is_slow)
		nanosleep(&pause, NULL);
	return syscall(SYS_write, fd, bytes, size);
}

static int end_it_all(void *arg)
{
	(void)arg;
	return zs_cancel_token_cancel(token);
}

static void *spawn_the_last_one(void *arg)
{
	(void)arg;
	while (counted(&opened) == 0)
		sched_yield();
	is_slow = true;
	assert_ok(zs_nursery_spawn(nursery, end_it_all, NULL));
	return NULL;
}

static int keep_waking(void *arg)
{
	(void)arg;
	count(&opened);
	while (zs_sleep(ZS_MILLISECOND) == 0)
		;
	return 0;
}

static int wait_for_the_last_one(void *arg)
{
	struct zs_nursery inner;

	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
	assert_ok(zs_nursery_open(&inner, NULL));
	assert_ok(zs_nursery_spawn(inner, keep_waking, NULL));
	ck_assert_int_eq(zs_nursery_wait(inner), -ECANCELED);
	ck_assert_int_eq(zs_cancel_token_close(token), -ECANCELED);
	return zs_nursery_wait(nursery);
}

/* The worker sleeps, and finds the task by itself before it is woken: all is
 * over, zs_run() too, while the spawn has not returned. */
START_TEST(runtime_outlives_the_spawn_that_ends_it)
{
	for (int i = 0; i < 5; i++) {
		pthread_t thread;

		atomic_init(&opened.value, 0);
		thread = start_thread(spawn_the_last_one, NULL);
		assert_ok(run_task(wait_for_the_last_one, NULL));
		pthread_join(thread, NULL);
	}
}
END_TEST

static Suite *nursery_suite(void)
{
	Suite *suite = suite_create("nursery_threads");
	TCase *tests = tcase_create("nursery_threads");

	/* A busy machine may need it; a hang is one all the same. */
	tcase_set_timeout(tests, 20);
	tcase_add_loop_test(tests, descendants_spawn_into_it_from_any_worker, 0,
			    3);
	tcase_add_loop_test(tests, foreign_thread_spawns_and_cancels, 0, 3);
	tcase_add_test(tests, spawn_into_a_cancelled_one_is_ecanceled);
	tcase_add_test(tests, pinned_nursery_runs_all_on_its_openers_worker);
	tcase_add_loop_test(tests, wait_sees_what_the_tasks_wrote, 0, 3);
	tcase_add_loop_test(tests, fork_and_join_over_workers_adds_up, 0, 3);
	tcase_add_loop_test(
		tests, foreign_spawn_at_the_last_moment_loses_no_wake, 0, 4);
	add_failing_tests(tests);
	tcase_add_test(tests, count_of_a_nursery_does_not_overflow);
	tcase_add_test(tests, runtime_outlives_the_spawn_that_ends_it);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(nursery_suite());
}
