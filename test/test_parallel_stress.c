/* SPDX-License-Identifier: MIT */
/*
 * Random trees of forks, parallel loops and nurseries on 1, 2 and 4 workers,
 * with yields, sleeps, errors, cancels and deadlines. What must hold: each fork
 * runs once, each item of a loop at most once and exactly once if the loop
 * succeeded, errors are those that were made, and everything ends.
 *
 * ZSYNC_TEST_SEED=N is the first seed, ZSYNC_TEST_SEEDS=N how many there are.
 */
#include <check.h>
#include <errno.h>
#include <stdint.h>

#include "runtime.h"
#include "stress.h"
#include "workers.h"

enum {
	SEEDS = 30,
	NR_WORKER_COUNTS = 3,
	DEPTH = 5,
	FORKS_MOST = 4,
	ITEMS_MOST = 40,
	STUCK_SECONDS = 10,
	MADE_ERROR = -EXDEV,
};

struct node {
	uint64_t random;
	int depth;
	struct counter runs;
};

struct loop {
	struct node nodes[ITEMS_MOST];
};

static int run_node(void *arg);

static void init_node(struct node *node, uint64_t *random, int depth)
{
	*node = (struct node){ .random = next_random(random) | 1,
			       .depth = depth };
}

/* Of what a call in a tree may return. */
static int check_result(int ret)
{
	if (ret != 0 && ret != MADE_ERROR && ret != -ECANCELED &&
	    ret != -ETIMEDOUT)
		stress_fail("a result of %d", ret);
	return ret;
}

static int first_error(int ret, int other)
{
	return ret < 0 ? ret : other;
}

static int fork_some(uint64_t *random, int depth)
{
	uint32_t number = 1 + below(random, FORKS_MOST);
	struct node nodes[FORKS_MOST + 1];
	struct zs_fork forks[FORKS_MOST];
	uint32_t i, first;
	int ret = 0;

	for (i = 0; i < number; i++) {
		init_node(&nodes[i], random, depth);
		assert_ok(zs_fork(&forks[i], run_node, &nodes[i]));
	}
	if (below(random, 2)) {
		init_node(&nodes[number], random, depth);
		ret = run_node(&nodes[number]);
	}
	/* As a rule the last one first. */
	first = below(random, 4) == 0 ? below(random, number) : number - 1;
	for (i = 0; i < number; i++) {
		uint32_t which = (first + number - i) % number;

		ret = first_error(ret, check_result(zs_join(&forks[which])));
		if (counted(&nodes[which].runs) != 1)
			stress_fail("a fork ran %u times",
				    counted(&nodes[which].runs));
	}
	return ret;
}

static int run_items(int64_t begin, int64_t end, void *arg)
{
	struct loop *loop = arg;
	int ret = 0;

	for (; begin < end && ret == 0; begin++)
		ret = run_node(&loop->nodes[begin]);
	return ret;
}

static int loop_over_some(uint64_t *random, int depth)
{
	uint32_t number = below(random, ITEMS_MOST);
	struct loop loop;
	uint32_t i, runs;
	int ret;

	for (i = 0; i < number; i++)
		init_node(&loop.nodes[i], random, depth - 1);
	ret = check_result(
		zs_parallel_for(0, number, below(random, 4), run_items, &loop));
	for (i = 0; i < number; i++) {
		runs = counted(&loop.nodes[i].runs);
		if (runs > 1 || (ret == 0 && runs != 1))
			stress_fail("item %u of %u ran %u times: %d", i, number,
				    runs, ret);
	}
	return ret;
}

static int spawn_some(uint64_t *random, int depth)
{
	uint32_t number = 1 + below(random, FORKS_MOST);
	struct node nodes[FORKS_MOST];
	struct zs_nursery nursery;
	uint32_t i, spawned = 0;
	int ret;

	assert_ok(zs_nursery_open(&nursery, NULL));
	for (i = 0; i < number; i++) {
		init_node(&nodes[i], random, depth);
		ret = zs_nursery_spawn(nursery, run_node, &nodes[i]);
		spawned += ret == 0;
		/* It is cancelled, or there are as many as may be. */
		if (ret != 0 && ret != -ECANCELED && ret != -EAGAIN)
			stress_fail("a spawn: %d", ret);
		if (ret < 0)
			break;
	}
	if (below(random, 8) == 0)
		zs_nursery_cancel(nursery);
	ret = check_result(zs_nursery_wait(nursery));
	for (i = 0; i < spawned; i++)
		if (counted(&nodes[i].runs) != 1)
			stress_fail("a task did not run");
	return ret;
}

/* Its cancel is its own: the rest goes on. */
static int cancel_some(uint64_t *random, int depth)
{
	struct zs_cancel_token token;
	struct node node;
	int64_t deadline_ns =
		below(random, 2) ?
			zs_now() + below(random, 100) * ZS_MICROSECOND :
			ZS_NEVER;
	struct zs_fork fork;
	int ret;

	init_node(&node, random, depth);
	assert_ok(zs_cancel_token_open(&token, deadline_ns));
	assert_ok(zs_fork(&fork, run_node, &node));
	if (below(random, 2))
		zs_sleep(below(random, 50) * ZS_MICROSECOND);
	if (below(random, 2))
		zs_cancel_token_cancel(token);
	ret = check_result(zs_join(&fork));
	check_result(zs_cancel_token_close(token));
	if (counted(&node.runs) != 1)
		stress_fail("a fork ran %u times", counted(&node.runs));
	return ret == MADE_ERROR ? ret : 0;
}

static int act(uint64_t *random, int depth)
{
	switch (below(random, 10)) {
	case 0:
	case 1:
	case 2:
		return fork_some(random, depth);
	case 3:
	case 4:
		return loop_over_some(random, depth);
	case 5:
		return spawn_some(random, depth);
	case 6:
		return cancel_some(random, depth);
	case 7:
		return check_result(
			zs_sleep(below(random, 50) * ZS_MICROSECOND));
	case 8:
		return check_result(zs_yield());
	default:
		return below(random, 20) == 0 ? MADE_ERROR : 0;
	}
}

static int run_node(void *arg)
{
	struct node *node = arg;
	uint64_t random = node->random;
	int ret = 0;

	count(&node->runs);
	note_progress();
	if (node->depth <= 0)
		return below(&random, 2) ? check_result(zs_yield()) : 0;
	do
		ret = act(&random, node->depth - 1);
	while (ret == 0 && below(&random, 3) == 0);
	return ret;
}

static int run_tree(void *arg)
{
	uint64_t random = *(uint64_t *)arg;
	struct node root;
	int i;

	for (i = 0; i < 8; i++) {
		init_node(&root, &random, DEPTH);
		check_result(run_node(&root));
	}
	return 0;
}

static uint64_t first_seed;

START_TEST(random_trees_of_forks_and_loops_keep_all_promises)
{
	uint32_t num_workers = test_is_blocking() ? 1 :
						    1u << _i % NR_WORKER_COUNTS;
	struct zs_config config = test_config();
	uint64_t random;

	stress_begin(first_seed + (uint64_t)(_i / NR_WORKER_COUNTS),
		     num_workers);
	random = stress.seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
	config.num_workers = num_workers;
	if (below(&random, 4) == 0)
		config.max_green_threads = 2 + below(&random, 10);
	if (below(&random, 3) == 0)
		config.idle_spin_us = 0;
	stress_watch(STUCK_SECONDS * ZS_SECOND);
	ck_assert_int_eq(run_task_with(&config, run_tree, &random), 0);
}
END_TEST

static Suite *parallel_stress_suite(void)
{
	int nr_tests =
		NR_WORKER_COUNTS * stress_number_of("ZSYNC_TEST_SEEDS", SEEDS);
	Suite *suite = suite_create("parallel_stress");
	TCase *tests = tcase_create("stress");

	first_seed = stress_first_seed("parallel_stress");
	tcase_set_timeout(tests, 3 * STUCK_SECONDS);
	tcase_add_loop_test(tests,
			    random_trees_of_forks_and_loops_keep_all_promises,
			    0, nr_tests);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(parallel_stress_suite());
}
