/* SPDX-License-Identifier: MIT */
/*
 * Nobody waits for ever: whatever keeps a worker busy, the others get their
 * turn. On one worker it is counted how often the busy ones run meanwhile; on
 * two, of which one is stuck in a computation that does not end before the
 * others have run, a wait in vain is seen by the test's timeout.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

#include "descriptors.h"
#include "sched/worker.h"
#include "workers.h"

/* Shared by the tasks of a test; each test is a process of its own. */
static struct zs_nursery plain, pinned;
static struct counter waiting, served;

static int do_nothing(void *arg)
{
	(void)arg;
	return 0;
}

static int serve(void *arg)
{
	(void)arg;
	count(&served);
	return 0;
}

/* --- guests: who is to be served --- */

/* wait() runs first, until it is ready or parked; may be NULL. When invite()
 * has returned, nothing but the worker is in the guest's way. */
struct guest {
	const char *name;
	zs_task_fn *wait;
	void (*invite)(void);
};

static int64_t deadline_ns;
static int fds[2];

static int wait_for_timer(void *arg)
{
	deadline_ns = zs_now() + ZS_MILLISECOND;
	count(&waiting);
	assert_ok(zs_sleep_until(deadline_ns));
	return serve(arg);
}

static void await_deadline(void)
{
	while (zs_now() < deadline_ns)
		;
}

static int wait_for_byte(void *arg)
{
	char byte;

	count(&waiting);
	ck_assert_int_eq(zs_read(fds[0], &byte, 1), 1);
	return serve(arg);
}

static void write_byte(void)
{
	ck_assert_int_eq(write(fds[1], "x", 1), 1);
}

static int be_ready(void *arg)
{
	count(&waiting);
	assert_ok(zs_yield());
	return serve(arg);
}

static void do_not_invite(void)
{
}

static void spawn_unstarted(void)
{
	assert_ok(zs_nursery_spawn(plain, serve, NULL));
}

static void spawn_arrival(void)
{
	assert_ok(zs_nursery_spawn(pinned, serve, NULL));
}

static void inject(void)
{
	spawn_from_thread(plain, 1, serve, NULL);
}

static void send_by_message(void)
{
	spawn_from_thread(pinned, 1, serve, NULL);
}

static const struct guest guests[] = {
	{ "a timer's", wait_for_timer, await_deadline },
	{ "an operation's", wait_for_byte, write_byte },
	{ "a ready one", be_ready, do_not_invite },
	{ "an unstarted one", NULL, spawn_unstarted },
	{ "an unstarted one of a pinned nursery", NULL, spawn_arrival },
	{ "a foreign thread's", NULL, inject },
	{ "a foreign thread's of a pinned nursery", NULL, send_by_message },
};
enum { NR_GUESTS = sizeof(guests) / sizeof(guests[0]) };

/* --- hosts: what keeps the worker busy --- */

enum { NR_ROUNDS_MOST = 4 * ZS_WORKER_BUDGET };
static uint32_t rounds;

static bool goes_on(void)
{
	return counted(&served) == 0 && rounds++ <= NR_ROUNDS_MOST;
}

static void fork_and_join(void)
{
	struct zs_nursery inner;

	while (goes_on()) {
		assert_ok(zs_nursery_open(&inner, NULL));
		assert_ok(zs_nursery_spawn(inner, do_nothing, NULL));
		assert_ok(zs_nursery_wait(inner));
	}
}

static void yield_on_and_on(void)
{
	while (goes_on())
		assert_ok(zs_yield());
}

static void yield_cancelled(void)
{
	struct zs_cancel_token token;

	assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
	assert_ok(zs_cancel_token_cancel(token));
	while (goes_on())
		ck_assert_int_eq(zs_yield(), -ECANCELED);
	ck_assert_int_eq(zs_cancel_token_close(token), -ECANCELED);
}

static void sleep_cancelled(void)
{
	struct zs_cancel_token token;

	assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
	assert_ok(zs_cancel_token_cancel(token));
	while (goes_on())
		ck_assert_int_eq(zs_sleep(ZS_SECOND), -ECANCELED);
	ck_assert_int_eq(zs_cancel_token_close(token), -ECANCELED);
}

/* Of a chain of tasks, each of which spawns the next one and ends. */
static int run_link(void *arg)
{
	struct zs_nursery *chain = arg;

	if (goes_on())
		assert_ok(zs_nursery_spawn(*chain, run_link, chain));
	return 0;
}

static void start_chain(void)
{
	assert_ok(zs_nursery_spawn(plain, run_link, &plain));
}

static void start_pinned_chain(void)
{
	assert_ok(zs_nursery_spawn(pinned, run_link, &pinned));
}

static const struct {
	const char *name;
	void (*run)(void);
} hosts[] = {
	{ "forks and joins", fork_and_join },
	{ "yields", yield_on_and_on },
	{ "cancelled yields", yield_cancelled },
	{ "cancelled sleeps", sleep_cancelled },
	{ "a chain of tasks", start_chain },
	{ "a chain of pinned tasks", start_pinned_chain },
};
enum { NR_HOSTS = sizeof(hosts) / sizeof(hosts[0]) };

static int receive_guest(void *arg)
{
	struct zs_nursery_options options = { .flags = ZS_NURSERY_PINNED };
	const int *number = arg;
	const struct guest *guest = &guests[*number % NR_GUESTS];

	assert_ok(zs_nursery_open(&plain, NULL));
	assert_ok(zs_nursery_open(&pinned, &options));
	if (guest->wait) {
		assert_ok(zs_nursery_spawn(plain, guest->wait, NULL));
		await_count(&waiting, 1);
	}
	guest->invite();
	hosts[*number / NR_GUESTS].run();
	assert_ok(zs_nursery_wait(pinned));
	assert_ok(zs_nursery_wait(plain));
	return 0;
}

/* Each host with each guest: the guest is served within a few turns, whose
 * length is the worker's budget. The bound is a number of rounds, not a time,
 * so a busy machine is no excuse. */
START_TEST(busy_worker_serves_everyone_within_a_few_turns)
{
	make_pipe(fds);
	assert_ok(run_task(receive_guest, &_i));
	ck_assert_uint_eq(counted(&served), 1);
	if (rounds > NR_ROUNDS_MOST)
		ck_abort_msg("%s: not served beside %s for %d rounds",
			     guests[_i % NR_GUESTS].name,
			     hosts[_i / NR_GUESTS].name, NR_ROUNDS_MOST);
}
END_TEST

/* --- a cancelled task that waits for another one --- */

static struct counter polling;

static int end_when_cancelled(void *arg)
{
	(void)arg;
	count(&waiting);
	ck_assert_int_eq(zs_sleep(ZS_NEVER), -ECANCELED);
	return serve(NULL);
}

static int poll_for_the_other(void *arg)
{
	(void)arg;
	count(&polling);
	while (counted(&served) == 0 && rounds < NR_ROUNDS_MOST)
		if (zs_yield() < 0)
			rounds++;
	return 0;
}

/* Both are cancelled by the stop; the one ends at once if it is let run. */
START_TEST(stop_ends_a_task_that_polls_for_another_one)
{
	struct zs_runtime *runtime = start_runtime(1);

	assert_ok(zs_runtime_spawn(runtime, end_when_cancelled, NULL));
	await_count(&waiting, 1);
	assert_ok(zs_runtime_spawn(runtime, poll_for_the_other, NULL));
	await_count(&polling, 1);
	stop_and_destroy(runtime);
	ck_assert_uint_eq(counted(&served), 1);
	ck_assert_uint_lt(rounds, NR_ROUNDS_MOST);
}
END_TEST

/* --- a worker that is stuck --- */

enum { NR_PARKED = 30, NR_PROBES = 10 };
static struct counter parked, occupied, released;

static int park(void *arg)
{
	(void)arg;
	count(&parked);
	ck_assert_int_eq(zs_sleep(ZS_NEVER), -ECANCELED);
	return 0;
}

/* Keeps its worker to itself. */
static int compute(void *arg)
{
	(void)arg;
	count(&occupied);
	occupy_until(&released, 1);
	return 0;
}

/* All come after the worker has got stuck, so nothing but the other may run
 * them; it has more tasks of its own than the stuck one, at _i = 1. */
START_TEST(foreign_spawns_do_not_wait_for_a_stuck_worker)
{
	struct zs_runtime *runtime = start_runtime(2);

	for (int i = 0; i < _i * NR_PARKED; i++)
		assert_ok(zs_runtime_spawn(runtime, park, NULL));
	await_count(&parked, (uint32_t)_i * NR_PARKED);
	assert_ok(zs_runtime_spawn(runtime, compute, NULL));
	await_count(&occupied, 1);
	for (int i = 0; i < NR_PROBES; i++)
		assert_ok(zs_runtime_spawn(runtime, serve, NULL));
	await_count(&served, NR_PROBES);
	count(&released);
	stop_and_destroy(runtime);
}
END_TEST

/* Its turn began before that of the other worker did, which so does not look
 * stuck, and has fewer tasks. */
static int hand_over(void *arg)
{
	struct zs_nursery_options options = { .flags = ZS_NURSERY_PINNED };
	struct zs_stats stats;

	(void)arg;
	assert_ok(zs_nursery_open(&pinned, &options));
	for (int i = 0; i < NR_PARKED; i++)
		assert_ok(zs_nursery_spawn(pinned, park, NULL));
	await_count(&parked, NR_PARKED);
	assert_ok(zs_nursery_open(&plain, NULL));
	count(&waiting);
	occupy_until(&occupied, 1);
	for (int i = 0; i < NR_PROBES; i++)
		assert_ok(zs_nursery_spawn(plain, serve, NULL));
	assert_ok(zs_nursery_wait(plain));
	assert_ok(zs_stats(NULL, &stats));
	ck_assert_uint_ge(stats.total.handovers, 1);
	count(&released);
	assert_ok(zs_nursery_cancel(pinned));
	ck_assert_int_eq(zs_nursery_wait(pinned), -ECANCELED);
	return 0;
}

/* They are given to the worker with fewer tasks just as it gets stuck; who gave
 * them takes them back. */
START_TEST(gifts_to_a_stuck_worker_are_taken_back)
{
	struct zs_runtime *runtime = start_runtime(2);

	assert_ok(zs_runtime_spawn(runtime, hand_over, NULL));
	await_count(&waiting, 1);
	assert_ok(zs_runtime_spawn(runtime, compute, NULL));
	await_count(&served, NR_PROBES);
	await_count(&released, 1);
	stop_and_destroy(runtime);
}
END_TEST

static Suite *fairness_suite(void)
{
	Suite *suite = suite_create("fairness");
	TCase *tests = tcase_create("fairness");

	/* A busy machine may need it; a hang is one all the same. */
	tcase_set_timeout(tests, 10);
	tcase_add_loop_test(tests,
			    busy_worker_serves_everyone_within_a_few_turns, 0,
			    NR_HOSTS * NR_GUESTS);
	tcase_add_test(tests, stop_ends_a_task_that_polls_for_another_one);
	tcase_add_loop_test(
		tests, foreign_spawns_do_not_wait_for_a_stuck_worker, 0, 2);
	tcase_add_test(tests, gifts_to_a_stuck_worker_are_taken_back);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(fairness_suite());
}
