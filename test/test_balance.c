/* SPDX-License-Identifier: MIT */
/*
 * Work between workers: that it gets to those that have none, that the parked
 * spread, and that a worker that sleeps is woken for whatever there is for it.
 * Two workers and four, on however few CPUs.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>

#include "descriptors.h"
#include "workers.h"

enum { MAX_WORKERS = 4 };

/* Shared by the tasks of a test; each test is a process of its own. */
static struct zs_runtime *runtime;
static struct zs_nursery nursery;
static struct counter ended, parked;

static int count_end(void *arg)
{
	(void)arg;
	count(&ended);
	return 0;
}

/* Which worker runs the caller: a number from 0 in order of appearance. */
static uint32_t worker_number(void)
{
	static _Thread_local uint32_t number;
	static struct counter seen;

	if (number == 0)
		number = count(&seen);
	return number - 1;
}

/* --- stealing --- */

static pthread_t home;
static struct counter ended_at_home;

static int run_away_from_home(void *arg)
{
	if (pthread_equal(pthread_self(), home))
		count(&ended_at_home);
	return count_end(arg);
}

static int keep_worker_busy(void *arg)
{
	struct zs_stats stats;

	(void)arg;
	home = pthread_self();
	assert_ok(zs_nursery_open(&nursery, NULL));
	for (uint32_t round = 1; round <= 50; round++) {
		for (int i = 0; i < 100; i++)
			assert_ok(zs_nursery_spawn(nursery, run_away_from_home,
						   NULL));
		occupy_until(&ended, round * 100 - 1);
	}
	assert_ok(zs_nursery_wait(nursery));
	assert_ok(zs_stats(NULL, &stats));
	ck_assert_uint_le(counted(&ended_at_home), 1);
	ck_assert_uint_ge(stats.total.steals, 4999);
	return 0;
}

/* The spawner does not give way until the others have run all but one, which is
 * left to its owner. Between the rounds they find nothing and fall asleep. */
START_TEST(work_of_a_busy_worker_is_stolen)
{
	struct zs_config config = test_config();

	need_workers(2);
	config.num_workers = _i % 2 ? 4 : 2;
	config.idle_spin_us = _i < 2 ? 0 : 20;
	assert_ok(run_task_with(&config, keep_worker_busy, NULL));
	ck_assert_uint_eq(counted(&ended), 5000);
}
END_TEST

/* --- spreading --- */

static int park_until_cancelled(void *arg)
{
	(void)arg;
	count(&parked);
	ck_assert_int_eq(zs_sleep(ZS_NEVER), -ECANCELED);
	return 0;
}

enum { NR_PARKED = 1000, NR_TRIES = 20 };

static bool have_all_some(uint32_t num_workers)
{
	struct zs_worker_stats stats;

	for (uint32_t i = 0; i < num_workers; i++) {
		assert_ok(zs_stats_worker(NULL, i, &stats));
		if (stats.tasks_parked < NR_PARKED / 40)
			return false;
	}
	return true;
}

static bool do_spread(uint32_t num_workers)
{
	uint32_t before = counted(&parked);
	bool has_spread;

	assert_ok(zs_nursery_open(&nursery, NULL));
	for (uint32_t i = 1; i <= NR_PARKED; i++) {
		assert_ok(
			zs_nursery_spawn(nursery, park_until_cancelled, NULL));
		/* At times more than a few at once. */
		if (i % 50 == 0)
			await_count(&parked, before + i);
	}
	has_spread = have_all_some(num_workers);
	assert_ok(zs_nursery_cancel(nursery));
	ck_assert_int_eq(zs_nursery_wait(nursery), -ECANCELED);
	return has_spread;
}

static int spread_parked(void *num_workers)
{
	for (int i = 0; i < NR_TRIES; i++)
		if (do_spread(*(uint32_t *)num_workers))
			return 0;
	return -EXFULL;
}

/* All are spawned by one worker's task, and none of it wants to be stolen: who
 * has more hands over before it starts them. How even that comes out depends on
 * who else uses the CPUs: a worker that does not get on is given nothing. */
START_TEST(parked_tasks_spread_over_the_workers)
{
	uint32_t num_workers = _i ? 4 : 2;

	assert_ok(run_task_on(num_workers, spread_parked, &num_workers));
}
END_TEST

/* --- foreign spawns --- */

static int occupy_together(void *arg)
{
	uint32_t *number = arg;

	count(&parked);
	occupy_until(&parked, *number);
	return count_end(NULL);
}

/* As many as there are workers, each of which keeps its worker to itself until
 * all are there: so nothing may wait behind another while somebody is idle. The
 * idle ones look for work, fall asleep or sleep. */
START_TEST(foreign_spawns_get_to_every_idle_worker)
{
	uint32_t num_workers = _i % 2 ? 4 : 2;
	struct zs_config config = test_config();
	struct zs_worker_stats stats;

	need_workers(num_workers);
	config.num_workers = num_workers;
	config.idle_spin_us = _i < 2 ? 0 : 20;
	assert_ok(zs_runtime_create(&runtime, &config));
	assert_ok(zs_runtime_start(runtime));
	for (uint32_t round = 1; round <= 100; round++) {
		uint32_t number = round * num_workers;

		for (uint32_t i = 0; i < num_workers; i++)
			assert_ok(zs_runtime_spawn(runtime, occupy_together,
						   &number));
		await_count(&ended, number);
	}
	assert_ok(zs_runtime_stop(runtime, ZS_NEVER));
	for (uint32_t i = 0; i < num_workers; i++) {
		assert_ok(zs_stats_worker(runtime, i, &stats));
		ck_assert_uint_eq(stats.tasks_started, 100);
	}
	ck_assert_int_eq(zs_stats_worker(runtime, num_workers, &stats),
			 -EINVAL);
	assert_ok(zs_runtime_destroy(runtime));
}
END_TEST

/* --- wakes --- */

enum { NR_WAKES = 10000 };
static sem_t semaphore;

static int post_semaphore(void *arg)
{
	(void)arg;
	sem_post(&semaphore);
	return 0;
}

/* One at a time, so that the workers fall asleep in between, or are about to;
 * with one lost the test does not end. */
START_TEST(foreign_spawns_wake_sleeping_workers)
{
	struct zs_config config = test_config();

	need_workers(1u << _i % 3);
	config.num_workers = 1u << _i % 3;
	config.idle_spin_us = _i < 3 ? 0 : 5;
	sem_init(&semaphore, 0, 0);
	assert_ok(zs_runtime_create(&runtime, &config));
	assert_ok(zs_runtime_start(runtime));
	for (int i = _i < 3 ? 0 : NR_WAKES / 2; i < NR_WAKES; i++) {
		/* From none at all to about the time that sleep takes. */
		for (volatile int j = 0; j < i % 64 * 16; j++)
			;
		if (zs_runtime_spawn(runtime, post_semaphore, NULL) != 0)
			ck_abort_msg("%s", zs_explain(-EAGAIN));
		sem_wait(&semaphore);
	}
	stop_and_destroy(runtime);
}
END_TEST

/* --- two workers that wait for each other --- */

static int pings[2], pongs[2];
static int nr_pings = 2000;
static struct counter arrived;
static uint32_t numbers[2];

static void put_ball(int fd)
{
	uint64_t ball = 1;

	if (zs_write(fd, &ball, sizeof(ball)) != sizeof(ball))
		ck_abort_msg("the ball is lost");
}

static void get_ball(int fd)
{
	uint64_t ball = 0;

	if (zs_read(fd, &ball, sizeof(ball)) != sizeof(ball) || ball != 1)
		ck_abort_msg("this is not the ball");
}

static int play(void *arg)
{
	uint32_t side = count(&arrived) - 1;

	(void)arg;
	numbers[side] = worker_number();
	if (side == 0)
		put_ball(pings[1]);
	for (int i = 1; i < nr_pings; i++) {
		get_ball(side ? pings[0] : pongs[0]);
		put_ball(side ? pongs[1] : pings[1]);
	}
	get_ball(side ? pings[0] : pongs[0]);
	if (side)
		put_ball(pongs[1]);
	return 0;
}

static int play_on_two_workers(void *arg)
{
	assert_ok(zs_nursery_open(&nursery, NULL));
	spawn_on_each(nursery, 2, play, arg);
	assert_ok(zs_nursery_wait(nursery));
	ck_assert_uint_ne(numbers[0], numbers[1]);
	return 0;
}

static void make_court(bool of_pipes)
{
	if (of_pipes) {
		make_pipe(pings);
		make_pipe(pongs);
		return;
	}
	/* A write to one goes through a thread of the kernel's. */
	nr_pings = 200;
	pings[0] = pings[1] = eventfd(0, EFD_CLOEXEC);
	pongs[0] = pongs[1] = eventfd(0, EFD_CLOEXEC);
}

/* The ball is all that wakes either: through eventfds, and through pipes. */
START_TEST(tasks_of_two_workers_play_ping_pong)
{
	struct zs_config config = test_config();

	need_workers(2);
	config.num_workers = 2;
	config.idle_spin_us = _i < 2 ? 0 : 20;
	make_court(_i % 2);
	assert_ok(run_task_with(&config, play_on_two_workers, NULL));
}
END_TEST

/* --- all at once --- */

static int churn(void *arg)
{
	struct zs_nursery inner;
	int depth = *(int *)arg - 1;

	assert_ok(zs_nursery_open(&inner, NULL));
	for (int i = 0; i < 3 && depth > 0; i++)
		assert_ok(zs_nursery_spawn_copy(inner, churn, &depth,
						sizeof(depth)));
	if (depth % 2)
		assert_ok(zs_sleep(depth * ZS_MICROSECOND));
	else
		assert_ok(zs_yield());
	assert_ok(zs_nursery_wait(inner));
	return count_end(NULL);
}

static void *churn_from_thread(void *arg)
{
	int depth = 5;

	for (int i = 0; i < 8; i++)
		assert_ok(zs_runtime_spawn_copy(runtime, churn, &depth,
						sizeof(depth)));
	return arg;
}

/* 16 trees of 121 tasks, spawned by two threads, stolen, handed over, parked on
 * timers, joined across workers. */
START_TEST(trees_over_all_workers_end)
{
	runtime = start_runtime(MAX_WORKERS);
	for (uint32_t round = 1; round <= 5; round++) {
		pthread_t thread = start_thread(churn_from_thread, NULL);

		churn_from_thread(NULL);
		pthread_join(thread, NULL);
		await_count(&ended, round * 16 * 121);
	}
	stop_and_destroy(runtime);
	ck_assert_uint_eq(counted(&ended), 5 * 16 * 121);
}
END_TEST

static Suite *balance_suite(void)
{
	Suite *suite = suite_create("balance");
	TCase *tests = tcase_create("balance");

	/* A busy machine may need it; a hang is one all the same. */
	tcase_set_timeout(tests, 20);
	tcase_add_loop_test(tests, work_of_a_busy_worker_is_stolen, 0, 4);
	tcase_add_loop_test(tests, parked_tasks_spread_over_the_workers, 0, 2);
	tcase_add_loop_test(tests, foreign_spawns_get_to_every_idle_worker, 0,
			    4);
	tcase_add_loop_test(tests, foreign_spawns_wake_sleeping_workers, 0, 6);
	tcase_add_loop_test(tests, tasks_of_two_workers_play_ping_pong, 0, 4);
	tcase_add_test(tests, trees_over_all_workers_end);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(balance_suite());
}
