/* SPDX-License-Identifier: MIT */
/*
 * Join sets, handles, shields and waits for tokens under stress: trees of tasks
 * that open them, cancelled at random at every point where one parks, by tasks
 * and by threads. What must hold: each result is taken once, and is that of its
 * task; each wait ends, once, with a result that the headers name; nothing
 * outside a shield is felt inside; no task is left.
 *
 * ZSYNC_TEST_SEEDS=N tries N seeds, from ZSYNC_TEST_SEED on.
 */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>

#include "runtime.h"
#include "stress.h"

enum {
	NR_WORKERS = 3,
	NR_FOREIGN = 2,
	NR_SLOTS = 32,
	DEPTH = 4,
	ROOTS = 60,
	CHILDREN_MOST = 5,
	STUCK_SECONDS = 10,
	/* Results of tasks: so large that no error or other number is one. */
	TAG = 1000000,
};

/* What others may cancel, wait for or join: open or stale. */
struct slot {
	struct zs_cancel_token token;
	struct zs_task_handle handle;
	int tag; /* of the handle's task */
};

static struct slot slots[NR_SLOTS];
static pthread_mutex_t slots_lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic bool is_over;
static _Atomic int64_t alive;
static _Atomic int next_tag;

/* Travels with a task as its copied argument. */
struct node {
	uint64_t random;
	int depth;
	int tag;
};

static int run_node(void *arg);

static bool is_cancel(int result)
{
	return result == -ECANCELED || result == -ETIMEDOUT;
}

/* relaxed, here and below: numbers and hints that publish nothing. */
static struct node make_node(uint64_t *random, int depth)
{
	return (struct node){
		.random = next_random(random) | 1,
		.depth = depth,
		.tag = TAG + atomic_fetch_add_explicit(&next_tag, 1,
						       memory_order_relaxed),
	};
}

static void count_alive(int change)
{
	atomic_fetch_add_explicit(&alive, change, memory_order_relaxed);
}

static void check_result(int result, int tag, const char *call)
{
	if (result != tag && !is_cancel(result))
		stress_fail("%s: %d of the task %d", call, result, tag);
}

/* --- what others may do --- */

static void publish_token(uint64_t *random, struct zs_cancel_token token)
{
	pthread_mutex_lock(&slots_lock);
	slots[below(random, NR_SLOTS)].token = token;
	pthread_mutex_unlock(&slots_lock);
}

static void publish_handle(uint64_t *random, struct zs_task_handle handle,
			   int tag)
{
	struct slot *slot = &slots[below(random, NR_SLOTS)];

	pthread_mutex_lock(&slots_lock);
	slot->handle = handle;
	slot->tag = tag;
	pthread_mutex_unlock(&slots_lock);
}

static struct slot any_slot(uint64_t *random)
{
	struct slot slot;

	pthread_mutex_lock(&slots_lock);
	slot = slots[below(random, NR_SLOTS)];
	pthread_mutex_unlock(&slots_lock);
	return slot;
}

static void cancel_any(uint64_t *random)
{
	struct slot slot = any_slot(random);
	int ret = zs_cancel_token_cancel_for(
		slot.token,
		below(random, 2) ? ZS_CANCEL_REQUESTED : ZS_CANCEL_ERROR);

	if (ret != 0 && ret != -ESTALE)
		stress_fail("cancel: %d", ret);
}

static void move_any(uint64_t *random)
{
	int64_t deadline_ns = zs_now() + below(random, 200000);
	int ret = zs_cancel_token_set_deadline(any_slot(random).token,
					       deadline_ns);

	if (ret != 0 && ret != -ESTALE)
		stress_fail("set deadline: %d", ret);
}

/* --- what a task does --- */

/* Waits for what may never come are cut sooner or later. */
static void open_limit(uint64_t *random, struct zs_cancel_token *token)
{
	int ret = zs_cancel_token_open(token, zs_now() + below(random, 300000));

	if (ret < 0)
		stress_fail("open: %d", ret);
}

static void close_token(struct zs_cancel_token token)
{
	int ret = zs_cancel_token_close(token);

	if (ret != 0 && !is_cancel(ret))
		stress_fail("close: %d", ret);
}

static void await_any(uint64_t *random)
{
	struct zs_cancel_token limit;
	int ret;

	open_limit(random, &limit);
	ret = zs_cancel_token_wait(any_slot(random).token);
	if (ret == 0 || (ret < 0 && ret != -ESTALE && !is_cancel(ret)) ||
	    ret > ZS_CANCEL_ERROR)
		stress_fail("token wait: %d", ret);
	close_token(limit);
}

static void join_any(uint64_t *random)
{
	struct slot slot = any_slot(random);
	struct zs_cancel_token limit;
	int result = 0, ret;

	open_limit(random, &limit);
	ret = zs_task_join(slot.handle, &result);
	if (ret == 0)
		check_result(result, slot.tag, "join");
	else if (ret != -ESTALE && ret != -EDEADLK && !is_cancel(ret))
		stress_fail("join: %d", ret);
	close_token(limit);
}

static void rest(uint64_t *random)
{
	int ret = zs_sleep(below(random, 100000));

	if (ret != 0 && !is_cancel(ret))
		stress_fail("sleep: %d", ret);
}

static void act(uint64_t *random, int depth);

static void be_cancelled(uint64_t *random, int depth)
{
	struct zs_cancel_token token;
	int ret = zs_cancel_token_open(&token, ZS_NEVER);

	if (ret < 0)
		stress_fail("open: %d", ret);
	publish_token(random, token);
	act(random, depth + 1);
	rest(random);
	close_token(token);
}

/* Inside, only what is opened there may be cancelled. */
static void be_shielded(uint64_t *random, int depth)
{
	struct zs_shield shield;
	int ret = zs_shield_open(&shield, 20 * ZS_SECOND);

	if (ret < 0)
		stress_fail("shield: %d", ret);
	ret = zs_sleep(below(random, 50000));
	if (ret != 0)
		stress_fail("shielded sleep: %d", ret);
	act(random, depth + 1);
	ret = zs_yield();
	if (ret != 0)
		stress_fail("shielded yield: %d", ret);
	ret = zs_shield_close(shield);
	if (ret != 0 && !is_cancel(ret))
		stress_fail("shield close: %d", ret);
}

/* One that ends while it is needed. */
static void be_shielded_shortly(uint64_t *random, int depth)
{
	struct zs_shield shield;
	int ret = zs_shield_open(&shield, 1 + below(random, 100000));

	if (ret < 0)
		stress_fail("shield: %d", ret);
	act(random, depth + 1);
	rest(random);
	ret = zs_shield_close(shield);
	if (ret != 0 && !is_cancel(ret))
		stress_fail("shield close: %d", ret);
}

static uint32_t spawn_members(uint64_t *random, int depth,
			      struct zs_join_set set, int *tags)
{
	uint32_t number = 1 + below(random, CHILDREN_MOST), spawned = 0;

	while (spawned < number) {
		struct node node = make_node(random, depth + 1);
		int ret;

		count_alive(1);
		ret = zs_join_set_spawn_copy(set, run_node, &node,
					     sizeof(node));
		if (ret < 0) {
			count_alive(-1);
			if (ret != -ECANCELED)
				stress_fail("spawn: %d", ret);
			break;
		}
		if (ret != (int)spawned)
			stress_fail("index %d, not %u", ret, spawned);
		tags[spawned++] = node.tag;
	}
	return spawned;
}

static uint32_t take_some(uint64_t *random, struct zs_join_set set, int *tags)
{
	uint32_t taken = 0, index;
	int result, ret = 0;

	while (ret == 0 && below(random, 8)) {
		if (below(random, 2))
			ret = zs_join_set_next(set, &index, &result);
		else
			ret = zs_join_set_try_next(set, &index, &result);
		if (ret != 0)
			break;
		check_result(result, tags[index], "next");
		tags[index] = 0;
		taken++;
	}
	if (ret != 0 && ret != -ENOENT && ret != -EAGAIN && !is_cancel(ret))
		stress_fail("next: %d", ret);
	return taken;
}

static void take_rest(struct zs_join_set set, const int *tags, uint32_t number)
{
	int results[CHILDREN_MOST] = { 0 };
	int ret = zs_join_set_all(set, results, CHILDREN_MOST);

	if (ret != 0 && !is_cancel(ret))
		stress_fail("all: %d", ret);
	for (uint32_t i = 0; i < number; i++)
		if (tags[i] != 0)
			check_result(results[i], tags[i], "all");
		else if (results[i] != 0)
			stress_fail("%d was taken twice", results[i]);
	ret = zs_join_set_next(set, NULL, NULL);
	if (ret != -ENOENT)
		stress_fail("next after all: %d", ret);
}

static void gather(uint64_t *random, int depth)
{
	struct zs_nursery_options options = {
		.deadline_ns =
			below(random, 2) ? 0 : zs_now() + below(random, 300000),
		.flags = (below(random, 4) ? 0 : ZS_NURSERY_PINNED) |
			 (below(random, 2) ? 0 : ZS_JOIN_SET_SEPARATE),
	};
	int tags[CHILDREN_MOST];
	struct zs_join_set set;
	uint32_t number;
	int ret = zs_join_set_open(&set, &options);

	if (ret < 0)
		stress_fail("join set: %d", ret);
	publish_token(random,
		      (struct zs_cancel_token){ set.scope, set.generation });
	number = spawn_members(random, depth, set, tags);
	if (options.flags & ZS_JOIN_SET_SEPARATE && below(random, 2) &&
	    number > 0)
		zs_join_set_cancel_one(set, below(random, number));
	take_some(random, set, tags);
	if (below(random, 2))
		take_rest(set, tags, number);
	ret = zs_join_set_close(set);
	if (ret != 0 && !is_cancel(ret))
		stress_fail("set close: %d", ret);
}

static void spawn_handled(uint64_t *random, int depth)
{
	struct zs_spawn_options options = { .size = sizeof(options),
					    .copy_size = sizeof(struct node) };
	uint32_t number = 1 + below(random, CHILDREN_MOST);
	struct zs_nursery nursery;
	int ret = zs_nursery_open(&nursery, NULL);

	if (ret < 0)
		stress_fail("nursery: %d", ret);
	while (number-- > 0) {
		struct node node = make_node(random, depth + 1);
		struct zs_task_handle handle;

		count_alive(1);
		ret = zs_nursery_spawn_handle(nursery, &handle, &options,
					      run_node, &node);
		if (ret < 0) {
			count_alive(-1);
			break;
		}
		publish_handle(random, handle, node.tag);
	}
	if (ret != 0 && ret != -ECANCELED)
		stress_fail("spawn: %d", ret);
	if (below(random, 2))
		join_any(random);
	ret = zs_nursery_wait(nursery);
	if (ret != 0 && !is_cancel(ret))
		stress_fail("nursery wait: %d", ret);
}

static void act(uint64_t *random, int depth)
{
	bool is_leaf = depth >= DEPTH;

	note_progress();
	switch (below(random, is_leaf ? 5 : 10)) {
	case 0:
		await_any(random);
		break;
	case 1:
		join_any(random);
		break;
	case 2:
		cancel_any(random);
		break;
	case 3:
		move_any(random);
		break;
	case 4:
		rest(random);
		break;
	case 5:
		be_cancelled(random, depth);
		break;
	case 6:
		be_shielded(random, depth);
		break;
	case 7:
		be_shielded_shortly(random, depth);
		break;
	case 8:
		gather(random, depth);
		break;
	default:
		spawn_handled(random, depth);
		break;
	}
}

/* Returns its tag, or that it was cancelled; the latter not where it would
 * cancel its siblings more often than is good. */
static int run_node(void *arg)
{
	struct node node = *(struct node *)arg;
	uint32_t number = 1 + below(&node.random, 6);
	int ret;

	while (number-- > 0)
		act(&node.random, node.depth);
	ret = zs_yield();
	count_alive(-1);
	note_progress();
	return ret < 0 && below(&node.random, 4) == 0 ? ret : node.tag;
}

/* --- the threads around --- */

static void *meddle(void *arg)
{
	uint64_t random = *(uint64_t *)arg | 1;

	while (!atomic_load_explicit(&is_over, memory_order_relaxed)) {
		cancel_any(&random);
		stress_pause(below(&random, 100000));
	}
	return NULL;
}

static void spawn_roots(uint64_t *random)
{
	for (int i = 0; i < ROOTS; i++) {
		struct node node = make_node(random, 0);
		int ret;

		count_alive(1);
		ret = zs_runtime_spawn_copy(stress.runtime, run_node, &node,
					    sizeof(node));
		if (ret < 0)
			stress_fail("spawn: %d", ret);
	}
}

static uint64_t first_seed;

static void run_seed(uint64_t seed, uint32_t workers)
{
	uint64_t random = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
	uint64_t randoms[NR_FOREIGN];
	pthread_t threads[NR_FOREIGN];
	struct zs_config config = test_config();
	int ret;

	stress_begin(seed, workers);
	memset(slots, 0, sizeof(slots));
	config.num_workers = workers;
	ret = zs_runtime_create(&stress.runtime, &config);
	if (ret == 0)
		ret = zs_runtime_start(stress.runtime);
	if (ret < 0)
		stress_fail("start: %d", ret);
	atomic_store_explicit(&is_over, false, memory_order_relaxed);
	spawn_roots(&random);
	for (int i = 0; i < NR_FOREIGN; i++) {
		randoms[i] = next_random(&random);
		ck_assert_int_eq(pthread_create(&threads[i], NULL, meddle,
						&randoms[i]),
				 0);
	}
	while (atomic_load_explicit(&alive, memory_order_relaxed) > 0)
		stress_pause(200000);
	atomic_store_explicit(&is_over, true, memory_order_relaxed);
	for (int i = 0; i < NR_FOREIGN; i++)
		pthread_join(threads[i], NULL);
	ret = zs_runtime_stop(stress.runtime, ZS_NEVER);
	if (ret == 0)
		ret = zs_runtime_destroy(stress.runtime);
	if (ret < 0)
		stress_fail("stop: %d", ret);
}

START_TEST(all_results_arrive_and_all_waits_end)
{
	uint32_t workers = _i % 2 && !test_is_blocking() ? NR_WORKERS : 1;

	stress_watch(STUCK_SECONDS * ZS_SECOND);
	run_seed(first_seed + (uint64_t)_i, workers);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("structure_stress");
	TCase *tcase = tcase_create("structure_stress");
	int seeds = stress_number_of("ZSYNC_TEST_SEEDS", 8);

	first_seed = stress_first_seed("structure_stress");
	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, all_results_arrive_and_all_waits_end, 0,
			    seeds);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
