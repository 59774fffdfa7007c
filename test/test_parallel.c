/* SPDX-License-Identifier: MIT */
/*
 * Parallel loops: that each item is done once whatever range and grain, on
 * whom, how errors and cancels end a loop, and that sums do not depend on luck.
 */
#include <check.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "runtime.h"
#include "workers.h"

enum { ITEMS_MAX = 1000 };

struct items {
	_Atomic uint32_t done[ITEMS_MAX];
	struct counter parts;
	struct counter begun;
	int64_t grain;
	uint32_t fail_at;
};

static int do_items(int64_t begin, int64_t end, void *arg)
{
	struct items *items = arg;
	int64_t i;

	count(&items->parts);
	ck_assert_int_lt(begin, end);
	if (items->grain > 0)
		ck_assert_int_le(end - begin, items->grain);
	for (i = begin; i < end; i++)
		atomic_fetch_add_explicit(&items->done[i], 1,
					  memory_order_relaxed);
	return (int)(end - begin);
}

/* relaxed: the loop has published it. */
static uint32_t times_done(struct items *items, int64_t item)
{
	return atomic_load_explicit(&items->done[item], memory_order_relaxed);
}

static void check_range(int64_t begin, int64_t end, int64_t grain)
{
	struct items items = { .grain = grain };
	int64_t i;

	assert_ok(zs_parallel_for(begin, end, grain, do_items, &items));
	for (i = 0; i < ITEMS_MAX; i++)
		ck_assert_uint_eq(times_done(&items, i), i >= begin && i < end);
	if (grain > 0)
		ck_assert_uint_eq(counted(&items.parts),
				  (uint32_t)((end - begin) / grain +
					     ((end - begin) % grain != 0)));
}

static int check_ranges(void *unused)
{
	static const int64_t ends[][2] = { { 0, 0 },   { 0, 1 },  { 3, 5 },
					   { 0, 999 }, { 7, 64 }, { 500, 1000 },
					   { 9, 9 } };
	static const int64_t grains[] = { 0, 1, 2, 7, 100, 999, INT64_MAX };
	size_t i, j;

	(void)unused;
	for (i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		for (j = 0; j < sizeof(grains) / sizeof(grains[0]); j++)
			check_range(ends[i][0], ends[i][1], grains[j]);
	return 0;
}

START_TEST(each_item_is_done_once)
{
	struct zs_config config = test_config();

	config.num_workers = (uint32_t)_i;
	ck_assert_int_eq(run_task_with(&config, check_ranges, NULL), 0);
}
END_TEST

static int note_ends(int64_t begin, int64_t end, void *arg)
{
	_Atomic uint64_t *sum = arg;

	atomic_fetch_add_explicit(sum, (uint64_t)end - (uint64_t)begin,
				  memory_order_relaxed);
	return 0;
}

static int loop_over_all(void *unused)
{
	_Atomic uint64_t sum = 0;

	(void)unused;
	assert_ok(zs_parallel_for(INT64_MIN, INT64_MAX, 0, note_ends, &sum));
	ck_assert_uint_eq(sum, UINT64_MAX);
	sum = 0;
	assert_ok(zs_parallel_for(INT64_MIN, INT64_MAX, INT64_MAX, note_ends,
				  &sum));
	ck_assert_uint_eq(sum, UINT64_MAX);
	return 0;
}

START_TEST(a_range_may_be_all_that_there_is)
{
	struct zs_config config = test_config();

	config.num_workers = (uint32_t)_i;
	ck_assert_int_eq(run_task_with(&config, loop_over_all, NULL), 0);
}
END_TEST

static int count_parts(void *arg)
{
	struct items items = { 0 };

	assert_ok(zs_parallel_for(0, 800, 0, do_items, &items));
	*(uint32_t *)arg = counted(&items.parts);
	return 0;
}

START_TEST(there_are_four_parts_a_worker)
{
	struct zs_config config = test_config();
	uint32_t parts = 0;

	config.num_workers = (uint32_t)_i;
	ck_assert_int_eq(run_task_with(&config, count_parts, &parts), 0);
	ck_assert_uint_eq(parts, 4 * (uint32_t)_i);
}
END_TEST

/* Each part waits for the other one. */
static int meet(int64_t begin, int64_t end, void *arg)
{
	struct items *items = arg;

	(void)begin, (void)end;
	count(&items->begun);
	occupy_until(&items->begun, 2);
	return 0;
}

static int loop_of_two(void *arg)
{
	return zs_parallel_for(0, 2, 1, meet, arg);
}

START_TEST(an_idle_worker_takes_part)
{
	struct zs_config config = test_config();
	struct items items = { 0 };

	config.num_workers = 2;
	ck_assert_int_eq(run_task_with(&config, loop_of_two, &items), 0);
}
END_TEST

/* --- errors --- */

static int fail_in_order(int64_t begin, int64_t end, void *arg)
{
	struct items *items = arg;

	do_items(begin, end, items);
	return begin == items->fail_at ? -EXDEV : 0;
}

static int loop_until_error(void *arg)
{
	int ret = zs_parallel_for(0, ITEMS_MAX, 1, fail_in_order, arg);

	/* The scope of the caller is as it was. */
	assert_ok(zs_yield());
	return ret;
}

START_TEST(an_error_ends_the_loop)
{
	struct zs_config config = test_config();
	struct items items = { .fail_at = 17 };
	int64_t i;

	config.num_workers = (uint32_t)_i;
	ck_assert_int_eq(run_task_with(&config, loop_until_error, &items),
			 -EXDEV);
	for (i = 0; i <= 17; i++)
		ck_assert_uint_eq(times_done(&items, i), 1);
	if (_i == 1)
		ck_assert_uint_eq(counted(&items.parts), 18);
}
END_TEST

static int fail_or_sleep(int64_t begin, int64_t end, void *arg)
{
	struct items *items = arg;

	(void)end;
	count(&items->begun);
	occupy_until(&items->begun, 2);
	return begin == items->fail_at ? -EXDEV : zs_sleep_until(ZS_NEVER);
}

static int loop_of_sleepers(void *arg)
{
	return zs_parallel_for(0, 2, 1, fail_or_sleep, arg);
}

START_TEST(an_error_cancels_the_parts_under_way)
{
	struct zs_config config = test_config();
	struct items items = { .fail_at = (uint32_t)_i };

	config.num_workers = 2;
	ck_assert_int_eq(run_task_with(&config, loop_of_sleepers, &items),
			 -EXDEV);
}
END_TEST

struct cancelled {
	struct items items;
	struct zs_cancel_token token;
};

static int cancel_at_tenth(int64_t begin, int64_t end, void *arg)
{
	struct cancelled *cancelled = arg;

	do_items(begin, end, &cancelled->items);
	if (begin == 10)
		assert_ok(zs_cancel_token_cancel(cancelled->token));
	/* It comes by message to a part that another worker runs. */
	return begin < 10 ? 0 : zs_sleep_until(ZS_NEVER);
}

static int cancel_a_loop(void *arg)
{
	struct cancelled *cancelled = arg;
	int ret;

	assert_ok(zs_cancel_token_open(&cancelled->token, ZS_NEVER));
	ret = zs_parallel_for(0, ITEMS_MAX, 1, cancel_at_tenth, cancelled);
	ck_assert_int_eq(zs_parallel_for(0, 5, 1, do_items, &cancelled->items),
			 -ECANCELED);
	ck_assert_int_eq(zs_parallel_for(0, 0, 1, do_items, &cancelled->items),
			 -ECANCELED);
	ck_assert_int_eq(zs_cancel_token_close(cancelled->token), -ECANCELED);
	return ret;
}

START_TEST(a_cancel_ends_the_loop_between_two_parts)
{
	struct zs_config config = test_config();
	struct cancelled cancelled = { 0 };

	config.num_workers = (uint32_t)_i;
	ck_assert_int_eq(run_task_with(&config, cancel_a_loop, &cancelled),
			 -ECANCELED);
	if (_i == 1)
		ck_assert_uint_eq(counted(&cancelled.items.parts), 11);
}
END_TEST

static int sleep_until_timeout(int64_t begin, int64_t end, void *arg)
{
	(void)begin, (void)end, (void)arg;
	return zs_sleep_until(ZS_NEVER);
}

static int loop_with_deadline(void *unused)
{
	struct zs_cancel_token token;
	int ret;

	(void)unused;
	assert_ok(zs_cancel_token_open(&token, zs_now() + ZS_MILLISECOND));
	ret = zs_parallel_for(0, 100, 1, sleep_until_timeout, NULL);
	ck_assert_int_eq(zs_cancel_token_close(token), -ETIMEDOUT);
	return ret;
}

START_TEST(a_deadline_ends_parts_that_are_parked)
{
	struct zs_config config = test_config();

	config.num_workers = (uint32_t)_i;
	ck_assert_int_eq(run_task_with(&config, loop_with_deadline, NULL),
			 -ETIMEDOUT);
}
END_TEST

/* --- nesting --- */

static int loop_inside(int64_t begin, int64_t end, void *arg)
{
	struct items *items = arg;
	int64_t i;

	for (i = begin; i < end; i++)
		assert_ok(zs_parallel_for(i * 50, (i + 1) * 50, 3, do_items,
					  items));
	return zs_yield();
}

static int nest_loops(void *arg)
{
	struct items *items = arg;
	int64_t i;

	assert_ok(zs_parallel_for(0, 20, 0, loop_inside, items));
	for (i = 0; i < ITEMS_MAX; i++)
		ck_assert_uint_eq(times_done(items, i), 1);
	return 0;
}

START_TEST(loops_may_be_nested)
{
	struct zs_config config = test_config();
	struct items items = { .grain = 3 };

	config.num_workers = (uint32_t)_i;
	ck_assert_int_eq(run_task_with(&config, nest_loops, &items), 0);
}
END_TEST

/* --- sums --- */

struct text {
	char letters[200];
};

static int append_letters(int64_t begin, int64_t end, void *total, void *arg)
{
	struct text *text = total;
	size_t length = strlen(text->letters);

	(void)arg;
	for (; begin < end; begin++)
		text->letters[length++] = (char)('a' + begin % 26);
	text->letters[length] = '\0';
	return 0;
}

static void append_text(void *left, const void *right, void *arg)
{
	struct text *text = left;
	const struct text *more = right;

	(void)arg;
	ck_assert_uint_lt(strlen(text->letters) + strlen(more->letters),
			  sizeof(text->letters));
	strcat(text->letters, more->letters);
}

static int reduce_to_text(void *unused)
{
	static const int64_t grains[] = { 0, 1, 3, 50, 150, 1000 };
	const struct zs_reduction reduction = { .size = sizeof(struct text),
						.map = append_letters,
						.combine = append_text };
	struct text expected = { "" };
	size_t i;

	(void)unused;
	append_letters(0, 150, &expected, NULL);
	for (i = 0; i < sizeof(grains) / sizeof(grains[0]); i++) {
		struct text text = { "before" };

		assert_ok(zs_parallel_reduce(0, 150, grains[i], &reduction,
					     &text));
		ck_assert_str_eq(text.letters, expected.letters);
	}
	return 0;
}

START_TEST(totals_are_combined_from_left_to_right)
{
	struct zs_config config = test_config();

	config.num_workers = (uint32_t)_i;
	ck_assert_int_eq(run_task_with(&config, reduce_to_text, NULL), 0);
}
END_TEST

static int add_fractions(int64_t begin, int64_t end, void *total, void *arg)
{
	double *sum = total;

	(void)arg;
	for (; begin < end; begin++)
		*sum += 1.0 / (double)(begin + 1);
	return 0;
}

static void add_doubles(void *left, const void *right, void *arg)
{
	(void)arg;
	*(double *)left += *(const double *)right;
}

static const struct zs_reduction fractions = { .size = sizeof(double),
					       .map = add_fractions,
					       .combine = add_doubles };

static int sum_fractions(void *arg)
{
	return zs_parallel_reduce(0, 100000, 7, &fractions, arg);
}

START_TEST(a_sum_is_the_same_on_any_number_of_workers)
{
	struct zs_config config = test_config();
	double one = 0, many = 0;
	uint64_t bits[2];

	ck_assert_int_eq(run_task_with(&config, sum_fractions, &one), 0);
	config.num_workers = (uint32_t)_i;
	ck_assert_int_eq(run_task_with(&config, sum_fractions, &many), 0);
	memcpy(&bits[0], &one, sizeof(one));
	memcpy(&bits[1], &many, sizeof(many));
	ck_assert_uint_eq(bits[0], bits[1]);
	ck_assert(one > 12.0 && one < 12.1);
}
END_TEST

static int fail_late(int64_t begin, int64_t end, void *total, void *arg)
{
	add_fractions(begin, end, total, NULL);
	return begin >= 70 ? *(int *)arg : 0;
}

static int reduce_edges(void *unused)
{
	const double seven = 7;
	int error = -EXDEV;
	struct zs_reduction reduction = fractions;
	double result = 3;

	(void)unused;
	reduction.identity = &seven;
	assert_ok(zs_parallel_reduce(5, 5, 0, &reduction, &result));
	ck_assert(result == 7);
	result = 3;
	reduction.map = fail_late;
	reduction.arg = &error;
	ck_assert_int_eq(zs_parallel_reduce(0, 100, 1, &reduction, &result),
			 -EXDEV);
	ck_assert(result == 3);
	reduction.size = SIZE_MAX / 4;
	ck_assert_int_eq(zs_parallel_reduce(0, 100, 1, &reduction, &result),
			 -ENOMEM);
	reduction.size = 0;
	ck_assert_int_eq(zs_parallel_reduce(0, 100, 1, &reduction, &result),
			 -EINVAL);
	ck_assert_int_eq(zs_parallel_reduce(0, 100, 1, NULL, &result), -EINVAL);
	return 0;
}

START_TEST(nothing_makes_the_identity_and_an_error_nothing)
{
	struct zs_config config = test_config();

	config.num_workers = (uint32_t)_i;
	ck_assert_int_eq(run_task_with(&config, reduce_edges, NULL), 0);
}
END_TEST

/* --- trees of nurseries, whose tasks are called by who waits for them --- */

enum { TREE_DEPTH = 12 };

struct tree {
	struct counter ran;
	int alive; /* begun, and not ended; of one worker */
	int most;
};

struct branch {
	struct tree *tree;
	int depth;
};

static int grow(void *arg)
{
	struct branch *branch = arg;
	struct branch child = { branch->tree, branch->depth - 1 };
	struct tree *tree = branch->tree;
	struct zs_nursery nursery;

	count(&tree->ran);
	if (++tree->alive > tree->most)
		tree->most = tree->alive;
	if (branch->depth > 0) {
		assert_ok(zs_nursery_open(&nursery, NULL));
		assert_ok(zs_nursery_spawn(nursery, grow, &child));
		assert_ok(zs_nursery_spawn(nursery, grow, &child));
		assert_ok(zs_nursery_wait(nursery));
	}
	tree->alive--;
	return 0;
}

static int grow_a_tree(void *arg)
{
	struct branch root = { arg, TREE_DEPTH };

	return grow(&root);
}

/* In breadth there would be thousands at once. Some more than one a level,
 * since a turn ends after 256 of them. */
START_TEST(a_tree_of_nurseries_is_gone_through_in_depth)
{
	struct tree tree = { 0 };

	ck_assert_int_eq(run_task(grow_a_tree, &tree), 0);
	ck_assert_uint_eq(counted(&tree.ran), (2u << TREE_DEPTH) - 1);
	ck_assert_int_le(tree.most, 20 * TREE_DEPTH);
}
END_TEST

/* --- misuse --- */

static int misuse_loops(void *unused)
{
	struct items items = { 0 };

	(void)unused;
	ck_assert_int_eq(zs_parallel_for(0, 5, 0, NULL, NULL), -EINVAL);
	ck_assert_int_eq(zs_parallel_for(5, 4, 0, do_items, &items), -EINVAL);
	ck_assert_ptr_nonnull(strstr(zs_explain(-EINVAL), "cannot end at 4"));
	ck_assert_int_eq(zs_parallel_for(0, 5, -1, do_items, &items), -EINVAL);
	ck_assert_ptr_nonnull(strstr(zs_explain(-EINVAL), "grain of -1"));
	ck_assert_uint_eq(counted(&items.parts), 0);
	return 0;
}

START_TEST(what_makes_no_loop_is_refused)
{
	ck_assert_int_eq(run_task(misuse_loops, NULL), 0);
}
END_TEST

START_TEST(outside_a_task_there_are_no_loops)
{
	struct items items = { 0 };
	double result;

	ck_assert_int_eq(zs_parallel_for(0, 5, 0, do_items, &items), -EPERM);
	ck_assert_int_eq(zs_parallel_reduce(0, 5, 0, &fractions, &result),
			 -EPERM);
}
END_TEST

static Suite *parallel_suite(void)
{
	Suite *suite = suite_create("parallel");
	TCase *loops = tcase_create("loops");
	TCase *sums = tcase_create("sums");
	int most = test_is_blocking() ? 2 : 5;

	tcase_add_loop_test(loops, each_item_is_done_once, 1, most);
	tcase_add_loop_test(loops, a_range_may_be_all_that_there_is, 1, most);
	tcase_add_loop_test(loops, there_are_four_parts_a_worker, 1, most);
	tcase_add_test(loops, an_idle_worker_takes_part);
	tcase_add_loop_test(loops, an_error_ends_the_loop, 1, most);
	tcase_add_loop_test(loops, an_error_cancels_the_parts_under_way, 0, 2);
	tcase_add_loop_test(loops, a_cancel_ends_the_loop_between_two_parts, 1,
			    most);
	tcase_add_loop_test(loops, a_deadline_ends_parts_that_are_parked, 1,
			    most);
	tcase_add_loop_test(loops, loops_may_be_nested, 1, most);
	tcase_add_test(loops, a_tree_of_nurseries_is_gone_through_in_depth);
	tcase_add_test(loops, what_makes_no_loop_is_refused);
	tcase_add_test(loops, outside_a_task_there_are_no_loops);
	suite_add_tcase(suite, loops);
	tcase_add_loop_test(sums, totals_are_combined_from_left_to_right, 1,
			    most);
	tcase_add_loop_test(sums, a_sum_is_the_same_on_any_number_of_workers, 1,
			    most);
	tcase_add_loop_test(
		sums, nothing_makes_the_identity_and_an_error_nothing, 1, most);
	suite_add_tcase(suite, sums);
	return suite;
}

int main(void)
{
	return run_suite(parallel_suite());
}
