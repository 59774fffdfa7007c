/* SPDX-License-Identifier: MIT */
/*
 * Stress: random trees of nurseries on 1, 2 and 4 workers, with sleeps, pipes,
 * sockets and deadlines, and with cancels and spawns from tasks of any worker
 * and from foreign threads, by handles that may be stale. What must hold: what
 * stress.c checks, each spawn that succeeded ran once, no descriptor is left,
 * and progress.
 *
 * ZSYNC_TEST_SEED=N is the first seed, ZSYNC_TEST_SEEDS=N how many there are.
 * ZSYNC_TEST_SECONDS=N takes that long in place of some 2 s
 * (tools/run-tests.sh has a limit, TEST_TIMEOUT).
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "runtime.h"
#include "stress.h"

enum {
	NR_FOREIGN = 2,
	NR_WORKER_COUNTS = 3,
	STUCK_SECONDS = 10,
	SEEDS = 3,
	SECONDS = 2, /* of all tests, but for their ends */
};

static uint64_t first_seed;
static int64_t test_ns;
static int null_fd;

/* --- foreign threads --- */

static void look_on(uint64_t *random)
{
	struct zs_stats stats;

	if (!STRESS_SANITIZED && below(random, 2))
		zs_dump(null_fd);
	else
		zs_stats(stress.runtime, &stats);
}

static void meddle(uint64_t *random)
{
	uint32_t what = below(random, 100);

	if (what == 0)
		look_on(random);
	else if (what <= 40)
		stress_cancel_any(random);
	else if (what <= 70)
		stress_spawn_any(random, (int)below(random, STRESS_DEPTH));
	else if (what <= 80 && may_spawn())
		stress_spawn_root(next_random(random));
	else
		stress_pause(below(random, 50000));
}

static void *run_foreign(void *arg)
{
	uint64_t random = *(uint64_t *)arg | 1;

	while (!is_winding_down())
		meddle(&random);
	return NULL;
}

/* --- rounds --- */

static struct zs_config some_config(uint64_t *random)
{
	struct zs_config config = zs_config_default();

	config.num_workers = stress.num_workers;
	config.queue_depth = below(random, 2) ? 8 : 256;
	config.stack_cache = below(random, 3) ? 64 : below(random, 4);
	if (below(random, 4) == 0)
		config.max_green_threads = 20 + below(random, 1000);
	if (below(random, 3) == 0)
		config.idle_spin_us = 0;
	return config;
}

static void start_round(uint64_t *random)
{
	struct zs_config config = some_config(random);
	uint32_t roots = 1 + below(random, 30);
	int ret;

	set_winding_down(false);
	stress_forget_handles();
	ret = zs_runtime_create(&stress.runtime, &config);
	if (ret == 0)
		ret = zs_runtime_start(stress.runtime);
	if (ret < 0)
		stress_fail("start: %d, %s", ret, zs_explain(ret));
	for (uint32_t i = 0; i < roots; i++)
		stress_spawn_root(next_random(random));
}

/* Half of the rounds end by themselves, half are stopped in full swing. */
static void stop_round(uint64_t *random)
{
	int ret;

	if (below(random, 2)) {
		set_winding_down(true);
		while (nr_live() > 0)
			stress_pause(1000000);
	}
	do
		ret = zs_runtime_stop(stress.runtime,
				      zs_now() + below(random, 1000) *
							 ZS_MICROSECOND);
	while (ret == -ETIMEDOUT);
	if (ret < 0)
		stress_fail("stop: %d", ret);
	set_winding_down(true);
}

static void end_round(void)
{
	uint64_t spawned =
		atomic_load_explicit(&stress.spawned, memory_order_relaxed);
	uint64_t ran = atomic_load_explicit(&stress.ran, memory_order_relaxed);
	int ret = zs_runtime_destroy(stress.runtime);

	if (ret < 0)
		stress_fail("destroy: %d", ret);
	if (spawned != ran)
		stress_fail("%llu spawned, %llu ran",
			    (unsigned long long)spawned,
			    (unsigned long long)ran);
	note_progress();
}

static void run_round(uint64_t *random, int64_t end_ns)
{
	uint64_t randoms[NR_FOREIGN];
	pthread_t threads[NR_FOREIGN];

	start_round(random);
	for (int i = 0; i < NR_FOREIGN; i++) {
		randoms[i] = next_random(random);
		ck_assert_int_eq(pthread_create(&threads[i], NULL, run_foreign,
						&randoms[i]),
				 0);
	}
	while (zs_now() < end_ns)
		stress_pause(2000000);
	stop_round(random);
	for (int i = 0; i < NR_FOREIGN; i++)
		pthread_join(threads[i], NULL);
	end_round();
}

/* Some three rounds, longer ones where there is time. */
static int64_t some_end(uint64_t *random)
{
	int64_t most_ns = test_ns < ZS_SECOND ? test_ns : ZS_SECOND;

	return zs_now() + below(random, (uint32_t)(most_ns * 2 / 3));
}

START_TEST(random_trees_keep_all_promises)
{
	int64_t end_ns = zs_now() + test_ns;
	uint64_t random;
	int before;

	stress_begin(first_seed + (uint64_t)(_i / NR_WORKER_COUNTS),
		     1u << _i % NR_WORKER_COUNTS);
	stress.live_most = STRESS_SANITIZED ? 1000 : 3000;
	random = stress.seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
	null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	stress_watch(STUCK_SECONDS * ZS_SECOND);
	before = stress_nr_descriptors();
	do {
		run_round(&random, some_end(&random));
		if (stress_nr_descriptors() > before)
			stress_fail("%d descriptors after a round, %d before",
				    stress_nr_descriptors(), before);
	} while (zs_now() < end_ns);
	close(null_fd);
}
END_TEST

/* --- the suite --- */

static Suite *stress_suite(void)
{
	int seconds = stress_number_of("ZSYNC_TEST_SECONDS", SECONDS);
	int nr_tests =
		NR_WORKER_COUNTS * stress_number_of("ZSYNC_TEST_SEEDS", SEEDS);
	Suite *suite = suite_create("stress");
	TCase *tests = tcase_create("stress");

	first_seed = stress_first_seed("stress");
	test_ns = seconds * ZS_SECOND / nr_tests;
	/* Later than the watchdog, which has more to say. */
	tcase_set_timeout(tests, seconds + 3 * STUCK_SECONDS);
	tcase_add_loop_test(tests, random_trees_keep_all_promises, 0, nr_tests);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(stress_suite());
}
