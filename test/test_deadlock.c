/* SPDX-License-Identifier: MIT */
/*
 * Tests for sched/deadlock.c: waits that nothing can end are reported and end
 * with -EDEADLK. What is none is in test_deadlock_none.c.
 */
#include <check.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sched/deadlock.h"

#include "deadlock.h"

static uint64_t num_deadlocks(void)
{
	struct zs_stats stats;

	assert_ok(zs_stats(NULL, &stats));
	return stats.total.deadlocks;
}

/* --- deadlocks --- */

static int sleep_alone(void *arg)
{
	int64_t begun_ns = zs_now();

	(void)arg;
	ck_assert_int_eq(zs_sleep_until(ZS_NEVER), -EDEADLK);
	ck_assert_int_lt(zs_now() - begun_ns, ZS_SECOND);
	ck_assert_uint_eq(num_deadlocks(), 1);
	/* It goes on like any other. */
	return zs_sleep(ZS_MILLISECOND);
}

START_TEST(sleep_that_nobody_can_cancel_is_reported_and_ends)
{
	ck_assert_int_eq(run_captured(1, sleep_alone, NULL), 0);
	assert_reported("zsync: deadlock: 1 task waits");
	assert_reported("waits for a cancel");
	assert_reported("the longest wait, of task ");
	assert_reported(", ends with -EDEADLK\n");
}
END_TEST

/* In the order in which they parked. */
static uint32_t order[8];
static int results[8];
static uint32_t num_ended;

static int wait_in_order(void *arg)
{
	uint32_t index = (uint32_t)(uintptr_t)arg;

	results[index] = wait_for(&waiting);
	order[num_ended++] = index;
	return 0;
}

/* Those of one turn parked at the same time. */
static int open_and_wait_in_order(void *arg)
{
	struct zs_nursery nursery;
	uint32_t i;

	(void)arg;
	assert_ok(zs_task_set_name("chief"));
	assert_ok(zs_nursery_open(&nursery, NULL));
	for (i = 0; i < 3; i++) {
		struct zs_spawn_options options = {
			.size = sizeof(options),
			.name = i == 0 ? "first" : "later",
		};

		assert_ok(zs_nursery_spawn_with(nursery, &options,
						wait_in_order,
						(void *)(uintptr_t)i));
		assert_ok(zs_sleep(ZS_MILLISECOND));
	}
	/* Not ended itself. */
	return zs_nursery_wait(nursery);
}

START_TEST(waits_end_oldest_first_and_are_reported_once)
{
	uint32_t i;

	ck_assert_int_eq(run_captured(1, open_and_wait_in_order, NULL), 0);
	ck_assert_uint_eq(num_ended, 3);
	for (i = 0; i < 3; i++) {
		ck_assert_uint_eq(order[i], i);
		ck_assert_int_eq(results[i], -EDEADLK);
	}
	assert_reported("zsync: deadlock: 4 tasks wait");
	assert_reported("\"chief\": waits, uncancellable, for the end of 3");
	assert_reported("\"first\": waits for godot");
	assert_reported("\"first\", ends with -EDEADLK, for whose end waits "
			"task ");
	ck_assert_ptr_null(strstr(capture.text, "the end of 2 tasks"));
}
END_TEST

static struct zs_task *waiter;

static int wait_for_a_wake(void *arg)
{
	waiter = zs_self();
	results[(uint32_t)(uintptr_t)arg] = wait_for(&waiting);
	return 0;
}

static int wait_and_wake(void *arg)
{
	int ret = wait_for(&waiting);

	results[(uint32_t)(uintptr_t)arg] = ret;
	zs_task_wake(waiter);
	return 0;
}

static int wait_for_each_other(void *arg)
{
	struct zs_nursery nursery;

	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn(nursery, wait_and_wake, (void *)0));
	assert_ok(zs_sleep(ZS_MILLISECOND));
	assert_ok(zs_nursery_spawn(nursery, wait_for_a_wake, (void *)1));
	return zs_nursery_wait(nursery);
}

START_TEST(program_goes_on_when_one_wait_has_ended)
{
	ck_assert_int_eq(run_captured(1, wait_for_each_other, NULL), 0);
	ck_assert_int_eq(results[0], -EDEADLK);
	ck_assert_int_eq(results[1], 0);
}
END_TEST

/* Once for each of them. */
static int sleep_again_and_again(void *arg)
{
	uint32_t i;

	(void)arg;
	for (i = 0; i < 3; i++)
		ck_assert_int_eq(zs_sleep_until(ZS_NEVER), -EDEADLK);
	ck_assert_uint_eq(num_deadlocks(), 3);
	return 0;
}

START_TEST(next_deadlock_is_reported_anew)
{
	const char *at;
	uint32_t number = 0;

	ck_assert_int_eq(run_captured(1, sleep_again_and_again, NULL), 0);
	for (at = capture.text; at; at = strstr(at + 1, "1 task waits"))
		number++;
	ck_assert_uint_eq(number - 1, 3);
}
END_TEST

static struct counter num_dead;

static int sleep_among_workers(void *arg)
{
	(void)arg;
	ck_assert_int_eq(zs_sleep_until(ZS_NEVER), -EDEADLK);
	count(&num_dead);
	return 0;
}

enum { WORKERS = 4 };

static int sleep_on_each(void *arg)
{
	struct zs_nursery nursery;

	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	spawn_on_each(nursery, WORKERS, sleep_among_workers, NULL);
	assert_ok(zs_nursery_wait(nursery));
	ck_assert_uint_eq(num_deadlocks(), WORKERS);
	return 0;
}

START_TEST(deadlock_among_workers_is_found)
{
	ck_assert_int_eq(run_captured(WORKERS, sleep_on_each, NULL), 0);
	ck_assert_uint_eq(counted(&num_dead), WORKERS);
	assert_reported("zsync: deadlock: 5 tasks wait");
}
END_TEST

static int wait_deaf(void *arg)
{
	(void)arg;
	return wait_for(&deaf);
}

/* Which never ends: so in a process that is killed. */
START_TEST(deadlock_of_deaf_waits_is_reported_once)
{
	char text[4096];
	size_t length = 0;
	ssize_t ret;
	int fds[2];
	pid_t child;

	ck_assert_int_eq(pipe(fds), 0);
	child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0) {
		dup2(fds[1], STDERR_FILENO);
		run_task(wait_deaf, NULL);
		_exit(1);
	}
	close(fds[1]);
	/* Its looks in vain, too. */
	for (;;) {
		struct pollfd waits = { .fd = fds[0], .events = POLLIN };

		if (poll(&waits, 1, 1000) == 0)
			break;
		ret = read(fds[0], &text[length], sizeof(text) - 1 - length);
		if (ret <= 0)
			break;
		length += (size_t)ret;
	}
	text[length] = '\0';
	kill(child, SIGKILL);
	ck_assert_ptr_nonnull(strstr(text, "waits, uncancellable, for godot"));
	ck_assert_ptr_nonnull(strstr(text, "none of these waits can be ended"));
	ck_assert_ptr_null(strstr(strstr(text, "none of these") + 1, "none"));
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
}
END_TEST

/* --- stopping --- */

static int sleep_deaf_to_stop(void *arg)
{
	struct zs_task *task = zs_self();

	if (!task->is_linked)
		zs_scope_link(task);
	count(arg);
	/* Its cancel is over before it parks. */
	while (zs_scope_error(task->scope) == 0)
		zs_sleep(ZS_MILLISECOND);
	task->wake_result = 0;
	zs_task_park(&waiting, task);
	results[0] = task->wake_result;
	return 0;
}

START_TEST(stop_without_deadline_ends_deadlocks)
{
	struct counter begun = { 0 };
	struct zs_runtime *runtime;

	if (test_is_blocking())
		return;
	runtime = start_runtime(2);
	assert_ok(zs_runtime_spawn(runtime, sleep_deaf_to_stop, &begun));
	while (counted(&begun) == 0)
		sched_yield();
	begin_capture(&capture);
	stop_and_destroy(runtime);
	end_capture(&capture);
	ck_assert_int_eq(results[0], -EDEADLK);
	assert_reported("1 task waits");
}
END_TEST

static void *do_nothing_for_a_while(void *arg)
{
	usleep(QUITE_LONG / ZS_MICROSECOND);
	return arg;
}

static pthread_t idler;

static int outlive_thread(void *arg)
{
	int64_t begun_ns = zs_now();

	(void)arg;
	idler = start_thread(do_nothing_for_a_while, NULL);
	ck_assert_int_eq(zs_sleep_until(ZS_NEVER), -EDEADLK);
	ck_assert_int_ge(zs_now() - begun_ns, QUITE_LONG);
	return 0;
}

START_TEST(what_a_foreign_thread_leaves_behind_is_one)
{
	ck_assert_int_eq(run_captured(1, outlive_thread, NULL), 0);
	pthread_join(idler, NULL);
	assert_reported("1 task waits");
}
END_TEST

START_TEST(census_counts_threads)
{
	pthread_t thread;
	int before = zs_census();

	ck_assert_int_ge(before, 1);
	thread = start_thread(do_nothing_for_a_while, NULL);
	ck_assert_int_ge(zs_census(), before + 1);
	pthread_join(thread, NULL);
}
END_TEST

/* --- stress --- */

enum { STRESS_TASKS = 64 };

static uint32_t stress_state;
static struct counter num_woken;

static uint32_t next_random(void)
{
	stress_state = stress_state * 1664525 + 1013904223;
	return stress_state >> 8;
}

/* Each waits for one that parked before it, or for nobody: the waits end as the
 * detector undoes the knots. */
static struct stress_task {
	struct zs_wake wake;
	struct zs_task *_Atomic task;
	int32_t wakes;
} stress_tasks[STRESS_TASKS];

static int be_stressed(void *arg)
{
	struct stress_task *self = arg;
	struct stress_task *other;

	self->wake.task = zs_self();
	/* release: publishes the wake. */
	atomic_store_explicit(&self->task, zs_self(), memory_order_release);
	if (wait_for(&waiting) == -EDEADLK)
		count(&num_dead);
	else
		count(&num_woken);
	if (self->wakes < 0)
		return 0;
	/* It may be woken once, and by nobody else, but has perhaps been ended
	 * by then: so only on the same worker can that be known. */
	other = &stress_tasks[self->wakes];
	if (zs_self()->worker->alone && other->wake.task->wait == &waiting)
		zs_task_wake_anywhere(&other->wake);
	return 0;
}

static int run_stress(void *arg)
{
	struct zs_nursery nursery;
	uint32_t i;

	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	for (i = 0; i < STRESS_TASKS; i++) {
		stress_tasks[i].wakes = -1;
		if (next_random() % 4 != 0)
			stress_tasks[i].wakes =
				(int32_t)(next_random() % STRESS_TASKS);
		assert_ok(zs_nursery_spawn(nursery, be_stressed,
					   &stress_tasks[i]));
	}
	assert_ok(zs_nursery_wait(nursery));
	ck_assert_uint_eq(counted(&num_dead) + counted(&num_woken),
			  STRESS_TASKS);
	ck_assert_uint_eq(num_deadlocks(), counted(&num_dead));
	return 0;
}

/* By seed: how the knots are tied. */
static uint32_t num_seeds(void)
{
	const char *seeds = getenv("ZSYNC_TEST_SEEDS");

	return seeds ? (uint32_t)atoi(seeds) : 10;
}

/* One worker and several; of these more become quiet at once. */
START_TEST(every_wait_of_a_knot_ends_once)
{
	uint32_t seed, workers = _i == 0 ? 1 : 3;

	for (seed = 0; seed < num_seeds(); seed++) {
		FILE *null = freopen("/dev/null", "w", stderr);

		ck_assert_ptr_nonnull(null);
		stress_state = seed;
		memset(stress_tasks, 0, sizeof(stress_tasks));
		memset(&num_dead, 0, sizeof(num_dead));
		memset(&num_woken, 0, sizeof(num_woken));
		ck_assert_int_eq(run_task_on(workers, run_stress, NULL), 0);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("deadlock");
	TCase *found = tcase_create("found");
	TCase *stress = tcase_create("stress");

	tcase_add_test(found,
		       sleep_that_nobody_can_cancel_is_reported_and_ends);
	tcase_add_test(found, waits_end_oldest_first_and_are_reported_once);
	tcase_add_test(found, program_goes_on_when_one_wait_has_ended);
	tcase_add_test(found, next_deadlock_is_reported_anew);
	tcase_add_test(found, deadlock_among_workers_is_found);
	tcase_add_test(found, deadlock_of_deaf_waits_is_reported_once);
	tcase_add_test(found, stop_without_deadline_ends_deadlocks);
	tcase_add_test(found, what_a_foreign_thread_leaves_behind_is_one);
	tcase_add_test(found, census_counts_threads);
	tcase_add_loop_test(stress, every_wait_of_a_knot_ends_once, 0, 2);
	tcase_set_timeout(stress, 60);
	suite_add_tcase(suite, found);
	suite_add_tcase(suite, stress);
	return run_suite(suite);
}
