/* SPDX-License-Identifier: MIT */
/*
 * A crowd: 100,000 tasks (fewer where a sanitizer has no room for them) that
 * live at once on all workers, each having run. They come as trees of nurseries
 * that foreign threads spawn, and wait in sleeps, in nurseries, in timers and
 * at one gate, a pipe that all poll; random ones are cancelled meanwhile and
 * replaced. When it is complete the gate opens for all at once, and each goes
 * on as in test_stress.c. And the watchdog of both programs.
 *
 * ZSYNC_TEST_SEED, ZSYNC_TEST_SEEDS as there; ZSYNC_TEST_TASKS=N is another
 * size.
 */
#include <check.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "child.h"
#include "engine/probe.h"
#include "mem/stack.h"
#include "runtime.h"
#include "stress.h"

/* gcc 12's ThreadSanitizer dies at 8,128 fibers; to AddressSanitizer each costs
 * 16 KiB. */
#if defined(ZS_TSAN)
enum { TASKS = 4000 };
#elif defined(ZS_ASAN)
enum { TASKS = 20000 };
#else
enum { TASKS = 100000 };
#endif

/* Where each guard takes two mappings, vm.max_map_count has room for 30,000
 * stacks: before Linux 6.13, or as if. */
enum { TASKS_OLD = 20000 };

enum {
	NR_WORKERS = 4,
	NR_FOREIGN = 2,
	GENERATIONS = 3, /* of a tree */
	CHILDREN_MOST = 9,
	STUCK_SECONDS = 10,
	SECONDS_MOST = 60, /* of one crowd */
	MEDDLE_NS = 20 * (int)ZS_MILLISECOND,
};

/* Travels with a task as its copied argument. */
struct member {
	uint64_t random;
	int generation;
};

static int gate[2];
static int64_t size;
static _Atomic int64_t waiting; /* tasks that do, each having run */
static _Atomic bool is_open;
static uint64_t first_seed;

/* relaxed, here and below: hints, and numbers that publish nothing. */
static bool gate_is_open(void)
{
	return atomic_load_explicit(&is_open, memory_order_relaxed);
}

static int64_t nr_waiting(void)
{
	return atomic_load_explicit(&waiting, memory_order_relaxed);
}

static void check_wait(long result, const char *call)
{
	if (result < 0 && result != -ECANCELED && result != -ETIMEDOUT &&
	    result != STRESS_ERROR)
		stress_fail("%s: %ld", call, result);
}

/* --- members --- */

static int sleep_for_ever(void *arg)
{
	(void)arg;
	stress_count_run();
	atomic_fetch_add_explicit(&waiting, 1, memory_order_relaxed);
	check_wait(zs_sleep(ZS_NEVER), "sleep");
	atomic_fetch_sub_explicit(&waiting, 1, memory_order_relaxed);
	stress_count_end();
	return 0;
}

static void wait_at_gate(void)
{
	check_wait(zs_poll_fd(gate[0], POLLIN), "poll");
}

/* With a child that only a cancel wakes. */
static void wait_with_sleeper(void)
{
	struct zs_nursery nursery;
	int ret = zs_nursery_open(&nursery, NULL);

	if (ret < 0)
		stress_fail("nursery: %d", ret);
	stress_count_spawn();
	stress_check_spawned(zs_nursery_spawn(nursery, sleep_for_ever, NULL));
	wait_at_gate();
	zs_nursery_cancel(nursery);
	check_wait(zs_nursery_wait(nursery), "nursery wait");
}

static void wait_for_time(uint64_t *random)
{
	int ret = 0;

	while (ret == 0 && !gate_is_open())
		ret = zs_sleep((20 + below(random, 180)) * ZS_MILLISECOND);
	check_wait(ret, "sleep");
}

static void wait_somehow(uint64_t *random)
{
	atomic_fetch_add_explicit(&waiting, 1, memory_order_relaxed);
	switch (below(random, 8)) {
	case 0:
	case 1:
		wait_with_sleeper();
		break;
	case 2:
		wait_for_time(random);
		break;
	default:
		wait_at_gate();
		break;
	}
	atomic_fetch_sub_explicit(&waiting, 1, memory_order_relaxed);
}

static int run_member(void *arg);

static int spawn_member(struct zs_nursery nursery, uint64_t *random,
			int generation)
{
	struct member member = { next_random(random) | 1, generation };
	int ret;

	stress_count_spawn();
	ret = zs_nursery_spawn_copy(nursery, run_member, &member,
				    sizeof(member));
	stress_check_spawned(ret);
	return ret;
}

static void wait_with_children(uint64_t *random, int generation)
{
	struct zs_nursery_options options = {
		.deadline_ns = ZS_NEVER,
		.flags = below(random, 4) ? 0 : ZS_NURSERY_PINNED,
	};
	uint32_t number = 1 + below(random, CHILDREN_MOST);
	struct zs_nursery nursery;
	int ret = zs_nursery_open(&nursery, &options);

	if (ret < 0)
		stress_fail("nursery: %d", ret);
	if (below(random, 8) == 0)
		stress_publish(random, nursery);
	for (uint32_t i = 0; i < number && may_spawn(); i++)
		if (spawn_member(nursery, random, generation + 1) < 0)
			break;
	wait_somehow(random);
	check_wait(zs_nursery_wait(nursery), "nursery wait");
}

static int run_member(void *arg)
{
	const struct member *member = arg;
	uint64_t random = member->random;
	int generation = member->generation;

	stress_count_run();
	if (generation < GENERATIONS)
		wait_with_children(&random, generation);
	else
		wait_somehow(&random);
	if (below(&random, 4) == 0)
		stress_act(&random, STRESS_DEPTH);
	stress_count_end();
	return 0;
}

/* --- foreign threads --- */

static void spawn_root(uint64_t *random)
{
	struct member member = { next_random(random) | 1, 0 };

	stress_count_spawn();
	stress_check_spawned(zs_runtime_spawn_copy(stress.runtime, run_member,
						   &member, sizeof(member)));
}

/* Each root brings more than its share of what the cancels take. */
static void *gather(void *arg)
{
	uint64_t random = *(uint64_t *)arg | 1;

	while (!gate_is_open()) {
		if (below(&random, 64) == 0)
			stress_cancel_any(&random);
		if (may_spawn())
			spawn_root(&random);
		else
			stress_pause(100000);
	}
	while (!is_winding_down()) {
		stress_cancel_any(&random);
		stress_pause(below(&random, 50000));
	}
	return NULL;
}

/* --- a crowd --- */

static void start(void)
{
	struct zs_config config = zs_config_default();
	int ret;

	need_workers(NR_WORKERS);
	config.num_workers = NR_WORKERS;
	ret = zs_runtime_create(&stress.runtime, &config);
	if (ret == 0)
		ret = zs_runtime_start(stress.runtime);
	if (ret < 0)
		stress_fail("start: %d, %s", ret, zs_explain(ret));
}

static void open_gate(void)
{
	atomic_store_explicit(&is_open, true, memory_order_relaxed);
	if (write(gate[1], "", 1) != 1)
		stress_fail("the gate stays closed");
}

/* Whether they steal or are given their part depends on who was idle. */
static void check_workers(void)
{
	struct zs_worker_stats stats;

	for (uint32_t i = 0; i < NR_WORKERS; i++)
		if (zs_stats_worker(stress.runtime, i, &stats) < 0 ||
		    stats.tasks_started == 0)
			stress_fail("worker %u has no part in it", i);
}

static void stop(void)
{
	uint64_t spawned, ran;
	int ret;

	set_winding_down(true);
	while (nr_live() > 0)
		stress_pause(1000000);
	ret = zs_runtime_stop(stress.runtime, ZS_NEVER);
	if (ret == 0)
		ret = zs_runtime_destroy(stress.runtime);
	if (ret < 0)
		stress_fail("stop: %d", ret);
	spawned = atomic_load_explicit(&stress.spawned, memory_order_relaxed);
	ran = atomic_load_explicit(&stress.ran, memory_order_relaxed);
	if (spawned != ran)
		stress_fail("%llu spawned, %llu ran",
			    (unsigned long long)spawned,
			    (unsigned long long)ran);
}

static bool guards_take_mappings(void)
{
	struct zs_kernel kernel;
	struct zs_stack_pool pool;
	bool do_they;

	ck_assert_int_eq(zs_kernel_probe(&kernel), 0);
	zs_stack_pool_init(&pool, 1, 1);
	zs_stack_put(&pool, zs_stack_get(&pool));
	do_they = pool.guards.by_mprotect || kernel.hides_guards;
	zs_stack_pool_fini(&pool);
	return do_they;
}

static int64_t size_of_crowd(void)
{
	int64_t number = stress_number_of("ZSYNC_TEST_TASKS", TASKS);

	if (number <= TASKS_OLD || !guards_take_mappings())
		return number;
	printf("crowd: %d tasks, not %lld: each guard takes two mappings\n",
	       TASKS_OLD, (long long)number);
	fflush(stdout);
	return TASKS_OLD;
}

static void gather_and_let_go(void)
{
	uint64_t randoms[NR_FOREIGN];
	pthread_t threads[NR_FOREIGN];

	start();
	for (int i = 0; i < NR_FOREIGN; i++) {
		randoms[i] = stress.seed * NR_FOREIGN + (uint64_t)i + 1;
		randoms[i] *= UINT64_C(0x9e3779b97f4a7c15);
		ck_assert_int_eq(pthread_create(&threads[i], NULL, gather,
						&randoms[i]),
				 0);
	}
	while (nr_waiting() < size)
		stress_pause(1000000);
	open_gate();
	stress_pause(MEDDLE_NS);
	check_workers();
	set_winding_down(true);
	for (int i = 0; i < NR_FOREIGN; i++)
		pthread_join(threads[i], NULL);
	stop();
}

START_TEST(a_crowd_lives_at_once_and_ends)
{
	int before = stress_nr_descriptors();

	stress_begin(first_seed + (uint64_t)_i, NR_WORKERS);
	size = size_of_crowd();
	/* Some have not run yet, or are about to end. */
	stress.live_most = size + size / 4 + 100;
	ck_assert_int_eq(pipe2(gate, O_CLOEXEC), 0);
	stress_watch(STUCK_SECONDS * ZS_SECOND);
	gather_and_let_go();
	close(gate[0]);
	close(gate[1]);
	if (stress_nr_descriptors() > before)
		stress_fail("%d descriptors at the end, %d before",
			    stress_nr_descriptors(), before);
}
END_TEST

/* --- the watchdog --- */

static int stall(void *arg)
{
	(void)arg;
	stress_count_run();
	return zs_sleep(ZS_NEVER);
}

/* Busy all the while, and without any progress. */
static int be_busy(void *arg)
{
	(void)arg;
	while (zs_sleep(ZS_MILLISECOND) == 0)
		;
	return 0;
}

static void wait_for_a_stalled_task(void)
{
	stress_begin(1, NR_WORKERS);
	stress_watch(300 * ZS_MILLISECOND);
	start();
	zs_runtime_spawn(stress.runtime, stall, NULL);
	zs_runtime_spawn(stress.runtime, be_busy, NULL);
	pause();
}

START_TEST(a_stall_ends_with_a_dump)
{
	struct child *child;

	need_workers(NR_WORKERS);
	child = run_child(wait_for_a_stalled_task);

	ck_assert(died_of(child, SIGABRT));
	ck_assert_msg(says(child, "ZSYNC_TEST_SEED=1: no progress for 300 ms"),
		      "%s", child->text);
	if (!SANITIZED)
		ck_assert_msg(says(child, "sleep"), "%s", child->text);
}
END_TEST

/* For longer than the limit, within which ThreadSanitizer must have ended the
 * process, too: it takes a second to. */
static void make_progress(void)
{
	int64_t limit_ns = (SANITIZED ? 3000 : 500) * ZS_MILLISECOND;
	int64_t end_ns = zs_now() + limit_ns * 3 / 2;

	stress_watch(limit_ns);
	while (zs_now() < end_ns) {
		note_progress();
		stress_pause(10000000);
	}
}

START_TEST(the_watchdog_spares_who_makes_progress)
{
	struct child *child = run_child(make_progress);

	ck_assert_msg(exited_with(child, 0), "%s", child->text);
}
END_TEST

static Suite *crowd_suite(void)
{
	Suite *suite = suite_create("crowd");
	TCase *tests = tcase_create("crowd");

	first_seed = stress_first_seed("crowd");
	tcase_set_timeout(tests, SECONDS_MOST);
	tcase_add_loop_test(tests, a_crowd_lives_at_once_and_ends, 0,
			    stress_number_of("ZSYNC_TEST_SEEDS", 1));
	tcase_add_test(tests, a_stall_ends_with_a_dump);
	tcase_add_test(tests, the_watchdog_spares_who_makes_progress);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(crowd_suite());
}
