/* SPDX-License-Identifier: MIT */
/* The queue of links. */
#include "base/queue.h"

#include <check.h>
#include <stdlib.h>

START_TEST(queue_keeps_the_order)
{
	struct zs_link links[3];
	struct zs_queue queue;
	int i;

	zs_queue_init(&queue);
	ck_assert_ptr_null(zs_queue_pop(&queue));
	for (i = 0; i < 3; i++)
		zs_queue_append(&queue, &links[i]);
	for (i = 0; i < 3; i++)
		ck_assert_ptr_eq(zs_queue_pop(&queue), &links[i]);
	ck_assert_ptr_null(zs_queue_pop(&queue));
	zs_queue_append(&queue, &links[1]);
	ck_assert_ptr_eq(zs_queue_pop(&queue), &links[1]);
}
END_TEST

/* First, middle, last, and one that is not there; then the queue still takes
 * links at its end. */
START_TEST(remove_leaves_the_others)
{
	struct zs_link links[4];
	struct zs_queue queue;
	int victim, i;

	for (victim = 0; victim < 3; victim++) {
		zs_queue_init(&queue);
		for (i = 0; i < 3; i++)
			zs_queue_append(&queue, &links[i]);
		ck_assert(!zs_queue_remove(&queue, &links[3]));
		ck_assert(zs_queue_remove(&queue, &links[victim]));
		ck_assert(!zs_queue_remove(&queue, &links[victim]));
		zs_queue_append(&queue, &links[3]);
		for (i = 0; i < 4; i++)
			if (i != victim)
				ck_assert_ptr_eq(zs_queue_pop(&queue),
						 &links[i]);
		ck_assert_ptr_null(zs_queue_pop(&queue));
	}
}
END_TEST

START_TEST(remove_of_the_only_one_empties_it)
{
	struct zs_link link = { 0 };
	struct zs_queue queue;

	zs_queue_init(&queue);
	ck_assert(!zs_queue_remove(&queue, &link));
	zs_queue_append(&queue, &link);
	ck_assert(zs_queue_remove(&queue, &link));
	ck_assert_ptr_null(queue.first);
	zs_queue_append(&queue, &link);
	ck_assert_ptr_eq(zs_queue_pop(&queue), &link);
}
END_TEST

START_TEST(prepended_ones_come_first)
{
	struct zs_link links[3];
	struct zs_queue queue;

	zs_queue_init(&queue);
	zs_queue_prepend(&queue, &links[1]);
	zs_queue_append(&queue, &links[2]);
	zs_queue_prepend(&queue, &links[0]);
	for (int i = 0; i < 3; i++)
		ck_assert_ptr_eq(zs_queue_pop(&queue), &links[i]);
	ck_assert_ptr_null(zs_queue_pop(&queue));
}
END_TEST

START_TEST(all_that_are_taken_are_linked_and_the_queue_goes_on)
{
	struct zs_link links[3];
	struct zs_queue queue;
	struct zs_link *all;

	zs_queue_init(&queue);
	ck_assert_ptr_null(zs_queue_take_all(&queue));
	zs_queue_append(&queue, &links[0]);
	zs_queue_append(&queue, &links[1]);
	all = zs_queue_take_all(&queue);
	zs_queue_append(&queue, &links[2]);
	ck_assert_ptr_eq(all, &links[0]);
	ck_assert_ptr_eq(all->next, &links[1]);
	ck_assert_ptr_null(all->next->next);
	ck_assert_ptr_eq(zs_queue_pop(&queue), &links[2]);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("queue");
	TCase *tests = tcase_create("queue");
	SRunner *runner;
	int failed;

	tcase_add_test(tests, queue_keeps_the_order);
	tcase_add_test(tests, remove_leaves_the_others);
	tcase_add_test(tests, remove_of_the_only_one_empties_it);
	tcase_add_test(tests, prepended_ones_come_first);
	tcase_add_test(tests,
		       all_that_are_taken_are_linked_and_the_queue_goes_on);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
