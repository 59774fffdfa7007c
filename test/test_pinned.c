/* SPDX-License-Identifier: MIT */
/*
 * What the tasks of a pinned nursery fork and loop over stays on its worker,
 * also in scopes inside it, which say nothing of workers themselves: such tasks
 * share memory without locks.
 */
#include "workers.h"

enum { NUM_WORKERS = 3, DEPTH = 6, ITEMS = 300 };

static pthread_t here;
static int nr_elsewhere;

/* Long enough for others to come. */
static void note_thread(void)
{
	for (int i = 0; i < 20; i++)
		sched_yield();
	if (!pthread_equal(here, pthread_self()))
		__atomic_fetch_add(&nr_elsewhere, 1, __ATOMIC_RELAXED);
}

static int fork_to_depth(void *arg)
{
	int depth = *(int *)arg - 1;
	struct zs_fork fork;

	note_thread();
	if (depth < 0)
		return 0;
	assert_ok(zs_fork(&fork, fork_to_depth, &depth));
	assert_ok(fork_to_depth(&depth));
	return zs_join(&fork);
}

static int fork_some(void)
{
	int depth = DEPTH;

	return fork_to_depth(&depth);
}

static int note_range(int64_t begin, int64_t end, void *arg)
{
	(void)arg;
	for (; begin < end; begin++)
		note_thread();
	return 0;
}

static int loop_over_some(void)
{
	return zs_parallel_for(0, ITEMS, 10, note_range, NULL);
}

static int (*const calls[])(void) = { fork_some, loop_over_some };

static int call_in_a_scope(void *arg)
{
	struct zs_cancel_token token;

	here = pthread_self();
	assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
	assert_ok(calls[*(int *)arg]());
	return zs_cancel_token_close(token);
}

static int spawn_pinned(void *arg)
{
	const struct zs_nursery_options pinned = { .flags = ZS_NURSERY_PINNED };
	struct zs_nursery nursery;

	assert_ok(zs_nursery_open(&nursery, &pinned));
	assert_ok(zs_nursery_spawn(nursery, call_in_a_scope, arg));
	return zs_nursery_wait(nursery);
}

START_TEST(what_is_pinned_stays_on_its_worker_in_inner_scopes)
{
	assert_ok(run_task_on(NUM_WORKERS, spawn_pinned, &_i));
	ck_assert_int_eq(nr_elsewhere, 0);
}
END_TEST

/* Else the test above would say nothing. */
START_TEST(what_is_not_pinned_goes_to_other_workers)
{
	assert_ok(run_task_on(NUM_WORKERS, call_in_a_scope, &_i));
	ck_assert_int_gt(nr_elsewhere, 0);
}
END_TEST

static Suite *pinned_suite(void)
{
	Suite *suite = suite_create("pinned");
	TCase *tests = tcase_create("pinned");

	tcase_set_timeout(tests, 20);
	tcase_add_loop_test(tests,
			    what_is_pinned_stays_on_its_worker_in_inner_scopes,
			    0, 2);
	tcase_add_loop_test(tests, what_is_not_pinned_goes_to_other_workers, 0,
			    2);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(pinned_suite());
}
