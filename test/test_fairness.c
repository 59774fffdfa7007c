/* SPDX-License-Identifier: MIT */
/*
 * Nobody waits for ever: whatever keeps a worker busy, the others get their
 * turn. It is counted how often the busy ones run meanwhile. What one task can
 * do that never gives way is in test_stuck.c.
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
static struct counter waiting, invited, served;

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
/* Sockets: before 6.4 another thread, one of the kernel's, reads a pipe. */
static int fds[2];

/* Late enough for the host to be busy by then, as a rule. */
static int wait_for_timer(void *arg)
{
	deadline_ns = zs_now() + 20 * ZS_MILLISECOND;
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
	while (counted(&invited) == 0)
		assert_ok(zs_yield());
	return serve(arg);
}

static void do_no_more(void)
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
	{ "a ready one", be_ready, do_no_more },
	{ "an unstarted one", NULL, spawn_unstarted },
	{ "an unstarted one of a pinned nursery", NULL, spawn_arrival },
	{ "a foreign thread's", NULL, inject },
	{ "a foreign thread's of a pinned nursery", NULL, send_by_message },
};
enum { NR_GUESTS = sizeof(guests) / sizeof(guests[0]) };

/* --- hosts: what keeps the worker busy --- */

/* A round is a resume of a host. */
enum {
	NR_ROUNDS_BEFORE = 3 * ZS_WORKER_BUDGET,
	NR_ROUNDS_MOST = 6 * ZS_WORKER_BUDGET,
	/* As many as a turn resumes, so that they may have it to themselves. */
	NR_OF_CROWD = ZS_WORKER_BUDGET,
};
static const struct guest *expected;
static uint32_t rounds; /* since the guest was invited, but for the first */
static uint32_t rounds_before;
static struct zs_cancel_token until_over;
static struct counter over;

/* Invites the guest when things are well under way. */
static bool goes_on(void)
{
	if (rounds_before < NR_ROUNDS_BEFORE) {
		rounds_before++;
		return true;
	}
	if (counted(&invited) == 0) {
		count(&invited);
		expected->invite();
	}
	if (counted(&served) == 0 && rounds++ <= NR_ROUNDS_MOST)
		return true;
	if (count(&over) == 1)
		assert_ok(zs_cancel_token_cancel(until_over));
	return false;
}

static void spawn_crowd(zs_task_fn *fn)
{
	for (int i = 0; i < NR_OF_CROWD; i++)
		assert_ok(zs_nursery_spawn(plain, fn, NULL));
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

static int yield_in_crowd(void *arg)
{
	(void)arg;
	yield_on_and_on();
	return 0;
}

static void yield_by_the_turnful(void)
{
	spawn_crowd(yield_in_crowd);
}

static void yield_beside_chain(void)
{
	spawn_crowd(yield_in_crowd);
	start_chain();
}

static void yield_beside_pinned_chain(void)
{
	spawn_crowd(yield_in_crowd);
	start_pinned_chain();
}

/* Each of its timers is due when it is started. */
static int sleep_shortly(void *arg)
{
	(void)arg;
	while (goes_on())
		assert_ok(zs_sleep_until(1));
	return 0;
}

static void sleep_by_the_turnful(void)
{
	spawn_crowd(sleep_shortly);
}

static int sockets[2];

/* There are always more bytes than takers. */
static int receive_and_send(void *arg)
{
	char byte;

	(void)arg;
	while (goes_on()) {
		ck_assert_int_eq(zs_recv(sockets[0], &byte, 1, 0), 1);
		ck_assert_int_eq(zs_send(sockets[1], &byte, 1, 0), 1);
	}
	return 0;
}

static void receive_and_send_by_the_turnful(void)
{
	static const char bytes[NR_OF_CROWD];

	make_unix_pair(SOCK_STREAM, sockets);
	ck_assert_int_eq(write(sockets[1], bytes, sizeof(bytes)),
			 sizeof(bytes));
	spawn_crowd(receive_and_send);
}

/* --- a thread that does not let up --- */

static _Atomic uint32_t nr_flooding;

static int flow(void *arg)
{
	(void)arg;
	goes_on();
	/* relaxed, here and below: bounds the memory that it takes. */
	atomic_fetch_sub_explicit(&nr_flooding, 1, memory_order_relaxed);
	return 0;
}

static void *spawn_on_and_on(void *arg)
{
	struct zs_nursery *nursery = arg;
	int ret;

	while (counted(&over) == 0) {
		if (atomic_load_explicit(&nr_flooding, memory_order_relaxed) >=
		    NR_OF_CROWD) {
			sched_yield();
			continue;
		}
		atomic_fetch_add_explicit(&nr_flooding, 1,
					  memory_order_relaxed);
		ret = zs_nursery_spawn(*nursery, flow, NULL);
		/* Since the last look it may have been waited for. */
		if (counted(&over) == 0 || ret != -ESTALE)
			assert_ok(ret);
	}
	return NULL;
}

static pthread_t flood;
static bool has_flood;

static void be_flooded(struct zs_nursery *nursery)
{
	flood = start_thread(spawn_on_and_on, nursery);
	has_flood = true;
}

static void be_flooded_with_tasks(void)
{
	be_flooded(&plain);
}

static void be_flooded_with_pinned_tasks(void)
{
	be_flooded(&pinned);
}

static struct zs_cancel_token tokens[NR_OF_CROWD];
static pthread_mutex_t tokens_lock = PTHREAD_MUTEX_INITIALIZER;
static struct counter nr_cancelled;

static void publish(struct zs_cancel_token *place, struct zs_cancel_token token)
{
	pthread_mutex_lock(&tokens_lock);
	*place = token;
	pthread_mutex_unlock(&tokens_lock);
}

static int be_cancelled_on_and_on(void *arg)
{
	struct zs_cancel_token token;

	while (goes_on()) {
		assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
		publish(arg, token);
		ck_assert_int_eq(zs_sleep(ZS_NEVER), -ECANCELED);
		ck_assert_int_eq(zs_cancel_token_close(token), -ECANCELED);
	}
	count(&nr_cancelled);
	return 0;
}

static void *cancel_on_and_on(void *arg)
{
	struct zs_cancel_token token;

	for (int i = 0; counted(&nr_cancelled) < NR_OF_CROWD; i++) {
		pthread_mutex_lock(&tokens_lock);
		token = tokens[i % NR_OF_CROWD];
		pthread_mutex_unlock(&tokens_lock);
		/* It may be stale, or not have been opened yet. */
		zs_cancel_token_cancel(token);
	}
	return arg;
}

static void be_flooded_with_cancels(void)
{
	for (int i = 0; i < NR_OF_CROWD; i++)
		assert_ok(zs_nursery_spawn(plain, be_cancelled_on_and_on,
					   &tokens[i]));
	flood = start_thread(cancel_on_and_on, NULL);
	has_flood = true;
}

/* --- woken before all others --- */

/* As one whose last child ended on another worker is, by the loop. */
static void wake_favourite(struct zs_timer *timer, void *arg)
{
	(void)timer;
	zs_task_wake_first(arg);
}

static void describe_nothing(const void *object, struct zs_text *text)
{
	(void)object;
	zs_text_add(text, "nothing");
}

static int be_favoured(void *arg)
{
	static const struct zs_wait_type type = {
		.describe = describe_nothing,
	};
	struct zs_timer timer = { 0 };

	(void)arg;
	while (goes_on()) {
		assert_ok(zs_timer_start(&timer, 1, wake_favourite, zs_self()));
		zs_task_park(&type, &timer);
	}
	return 0;
}

static void be_favoured_by_the_turnful(void)
{
	spawn_crowd(be_favoured);
}

/* --- all hosts --- */

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
	{ "a turnful of yields", yield_by_the_turnful },
	{ "a turnful of yields and a chain", yield_beside_chain },
	{ "a turnful of yields and a pinned chain", yield_beside_pinned_chain },
	{ "a turnful of timers", sleep_by_the_turnful },
	{ "a turnful of sockets that are ready",
	  receive_and_send_by_the_turnful },
	{ "a flood of spawns", be_flooded_with_tasks },
	{ "a flood of pinned spawns", be_flooded_with_pinned_tasks },
	{ "a flood of cancels", be_flooded_with_cancels },
	{ "a turnful of favourites", be_favoured_by_the_turnful },
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
	expected = guest;
	assert_ok(zs_cancel_token_open(&until_over, ZS_NEVER));
	hosts[*number / NR_GUESTS].run();
	/* Both nurseries stay open meanwhile. */
	ck_assert_int_eq(zs_sleep(ZS_NEVER), -ECANCELED);
	ck_assert_int_eq(zs_cancel_token_close(until_over), -ECANCELED);
	assert_ok(zs_nursery_wait(pinned));
	assert_ok(zs_nursery_wait(plain));
	if (has_flood)
		pthread_join(flood, NULL);
	return 0;
}

/* Each host with each guest: the guest, who comes when the host is well under
 * way, is served within a few turns, whose length is the worker's budget. The
 * bound is a number of rounds, not a time, so a busy machine is no excuse. */
START_TEST(busy_worker_serves_everyone_within_a_few_turns)
{
	make_unix_pair(SOCK_STREAM, fds);
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
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(fairness_suite());
}
