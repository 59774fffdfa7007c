/* SPDX-License-Identifier: MIT */
/*
 * Cancelling on one worker: tokens, reasons, deadlines, and how the parked are
 * told. Several workers and foreign threads are in test_cancel_threads.c, what
 * the kernel carries out meanwhile in test_cancel_io.c.
 */
#include <check.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "workers.h"

/* Shared by the tasks of a test; each test is a process of its own. */
static struct zs_cancel_token token;
static struct zs_nursery nursery;
static struct counter ended;

/* Later than any test lasts. */
static int64_t far_away(void)
{
	return zs_now() + 1000 * ZS_SECOND;
}

static int do_nothing(void *arg)
{
	(void)arg;
	return 0;
}

/* --- tokens --- */

START_TEST(reasons_have_names)
{
	ck_assert_str_eq(zs_cancel_reason_name(ZS_CANCEL_NONE), "none");
	ck_assert_str_eq(zs_cancel_reason_name(ZS_CANCEL_REQUESTED),
			 "requested");
	ck_assert_str_eq(zs_cancel_reason_name(ZS_CANCEL_DEADLINE), "deadline");
	ck_assert_str_eq(zs_cancel_reason_name(ZS_CANCEL_SIBLING_FAILED),
			 "sibling failed");
	ck_assert_str_eq(zs_cancel_reason_name(ZS_CANCEL_LEFT_OPEN),
			 "left open");
	ck_assert_str_eq(zs_cancel_reason_name(ZS_CANCEL_STOPPING), "stopping");
	ck_assert_str_eq(zs_cancel_reason_name(ZS_CANCEL_RESOURCE), "resource");
	ck_assert_str_eq(zs_cancel_reason_name(ZS_CANCEL_ERROR), "error");
	ck_assert_str_eq(zs_cancel_reason_name((enum zs_cancel_reason)8),
			 "unknown");
	ck_assert_str_eq(zs_cancel_reason_name((enum zs_cancel_reason) - 1),
			 "unknown");
}
END_TEST

START_TEST(calls_of_tasks_are_eperm_outside)
{
	ck_assert_int_eq(zs_cancel_token_open(&token, ZS_NEVER), -EPERM);
	ck_assert_int_eq(zs_cancel_token_open(NULL, ZS_NEVER), -EPERM);
	ck_assert_int_eq(zs_cancel_token_close(token), -EPERM);
	ck_assert_int_eq(zs_cancel_token_set_deadline(token, 1), -EPERM);
	ck_assert_int_eq(zs_cancel_reason(), -EPERM);
}
END_TEST

static void expect_stale(struct zs_cancel_token closed)
{
	ck_assert_int_eq(zs_cancel_token_close(closed), -ESTALE);
	ck_assert_int_eq(zs_cancel_token_cancel(closed), -ESTALE);
	ck_assert_int_eq(zs_cancel_token_reason(closed), -ESTALE);
	ck_assert_int_eq(zs_cancel_token_set_deadline(closed, 1), -ESTALE);
}

static int use_after_close(void *arg)
{
	struct zs_cancel_token zero = { 0 }, closed;

	(void)arg;
	expect_stale(zero);
	ck_assert_int_eq(zs_cancel_token_open(NULL, ZS_NEVER), -EINVAL);
	assert_ok(zs_cancel_token_open(&closed, ZS_NEVER));
	assert_ok(zs_cancel_token_close(closed));
	expect_stale(closed);
	for (int i = 0; i < 100; i++) {
		assert_ok(zs_cancel_token_open(&token, far_away()));
		ck_assert_ptr_eq(token.scope, closed.scope);
		expect_stale(closed);
		ck_assert_int_eq(zs_cancel_token_reason(token), ZS_CANCEL_NONE);
		assert_ok(zs_yield());
		assert_ok(zs_cancel_token_close(token));
	}
	return 0;
}

/* Also when its memory is another one's, again and again. */
START_TEST(closed_token_is_stale)
{
	assert_ok(run_task(use_after_close, NULL));
}
END_TEST

static int meddle(void *arg)
{
	(void)arg;
	ck_assert_int_eq(zs_cancel_token_close(token), -EPERM);
	ck_assert_int_eq(zs_cancel_token_reason(token), ZS_CANCEL_NONE);
	return 0;
}

static int close_in_wrong_order(void *arg)
{
	struct zs_cancel_token inner;
	struct zs_nursery inmost;

	(void)arg;
	assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
	assert_ok(zs_cancel_token_open(&inner, ZS_NEVER));
	assert_ok(zs_nursery_open(&inmost, NULL));
	assert_ok(zs_nursery_spawn(inmost, meddle, NULL));
	ck_assert_int_eq(zs_cancel_token_close(token), -EBUSY);
	ck_assert_int_eq(zs_cancel_token_close(inner), -EBUSY);
	assert_ok(zs_nursery_wait(inmost));
	ck_assert_int_eq(zs_cancel_token_close(token), -EBUSY);
	assert_ok(zs_cancel_token_close(inner));
	return zs_cancel_token_close(token);
}

START_TEST(close_is_for_the_opener_and_from_inside_out)
{
	assert_ok(run_task(close_in_wrong_order, NULL));
}
END_TEST

/* --- what is inside, and for how long --- */

static int cancel_the_middle_one(void *arg)
{
	struct zs_cancel_token tokens[3];

	(void)arg;
	for (int i = 0; i < 3; i++)
		assert_ok(zs_cancel_token_open(&tokens[i], ZS_NEVER));
	assert_ok(zs_cancel_token_cancel(tokens[1]));
	ck_assert_int_eq(zs_cancel_token_reason(tokens[0]), ZS_CANCEL_NONE);
	ck_assert_int_eq(zs_cancel_token_reason(tokens[1]),
			 ZS_CANCEL_REQUESTED);
	ck_assert_int_eq(zs_cancel_token_reason(tokens[2]),
			 ZS_CANCEL_REQUESTED);
	ck_assert_int_eq(zs_yield(), -ECANCELED);
	ck_assert_int_eq(zs_cancel_token_close(tokens[2]), -ECANCELED);
	ck_assert_int_eq(zs_cancel_reason(), ZS_CANCEL_REQUESTED);
	ck_assert_int_eq(zs_cancel_token_close(tokens[1]), -ECANCELED);
	ck_assert_int_eq(zs_cancel_reason(), ZS_CANCEL_NONE);
	assert_ok(zs_yield());
	return zs_cancel_token_close(tokens[0]);
}

START_TEST(cancel_reaches_inwards_only)
{
	assert_ok(run_task(cancel_the_middle_one, NULL));
}
END_TEST

static void expect_all_calls_fail(int error)
{
	struct zs_cancel_token inner;

	ck_assert_int_eq(zs_yield(), error);
	ck_assert_int_eq(zs_sleep(0), error);
	ck_assert_int_eq(zs_sleep(-1), error);
	ck_assert_int_eq(zs_sleep(1), error);
	ck_assert_int_eq(zs_sleep(ZS_NEVER), error);
	ck_assert_int_eq(zs_sleep_until(1), error);
	ck_assert_int_eq(zs_sleep_until(ZS_NEVER), error);
	assert_ok(zs_cancel_token_open(&inner, ZS_NEVER));
	ck_assert_int_eq(zs_yield(), error);
	ck_assert_int_eq(zs_cancel_token_close(inner), error);
	ck_assert_int_eq(zs_nursery_spawn(nursery, do_nothing, NULL),
			 -ECANCELED);
}

static int go_on_calling(void *arg)
{
	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_cancel(nursery));
	for (int i = 0; i < 10; i++)
		expect_all_calls_fail(-ECANCELED);
	ck_assert_int_eq(zs_nursery_wait(nursery), -ECANCELED);
	assert_ok(zs_cancel_token_open(&token, 1));
	assert_ok(zs_nursery_open(&nursery, NULL));
	for (int i = 0; i < 10; i++)
		expect_all_calls_fail(-ETIMEDOUT);
	ck_assert_int_eq(zs_nursery_wait(nursery), -ETIMEDOUT);
	ck_assert_int_eq(zs_cancel_token_close(token), -ETIMEDOUT);
	return zs_sleep(1);
}

START_TEST(cancelled_task_is_told_by_each_call)
{
	assert_ok(run_task(go_on_calling, NULL));
}
END_TEST

static int cancel_twice(void *arg)
{
	struct zs_cancel_token inner;

	(void)arg;
	assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
	assert_ok(zs_cancel_token_open(&inner, 1));
	assert_ok(zs_cancel_token_cancel(inner));
	ck_assert_int_eq(zs_cancel_token_reason(inner), ZS_CANCEL_DEADLINE);
	for (int i = 0; i < 3; i++)
		assert_ok(zs_cancel_token_cancel(token));
	assert_ok(zs_cancel_token_set_deadline(token, 1));
	ck_assert_int_eq(zs_cancel_token_reason(token), ZS_CANCEL_REQUESTED);
	ck_assert_int_eq(zs_cancel_token_reason(inner), ZS_CANCEL_DEADLINE);
	ck_assert_int_eq(zs_cancel_token_close(inner), -ETIMEDOUT);
	ck_assert_int_eq(zs_cancel_token_close(token), -ECANCELED);
	return zs_yield();
}

START_TEST(first_reason_stays)
{
	assert_ok(run_task(cancel_twice, NULL));
}
END_TEST

/* --- how the parked are told --- */

static char notes[16];

static int sleep_and_note(void *letter)
{
	ck_assert_int_eq(zs_sleep(ZS_NEVER), -ECANCELED);
	notes[strlen(notes)] = *(char *)letter;
	return 0;
}

static int cancel_sleepers(void *arg)
{
	static char letters[] = "abcdefgh";

	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	for (int i = 0; i < 8; i++)
		assert_ok(
			zs_nursery_spawn(nursery, sleep_and_note, &letters[i]));
	assert_ok(zs_yield());
	assert_ok(zs_nursery_cancel(nursery));
	ck_assert_int_eq(zs_nursery_wait(nursery), -ECANCELED);
	ck_assert_str_eq(notes, letters);
	return 0;
}

START_TEST(siblings_are_told_in_the_order_of_parking)
{
	assert_ok(run_task(cancel_sleepers, NULL));
}
END_TEST

static int park_in_sleep(void)
{
	return zs_sleep(ZS_NEVER);
}

static int park_in_long_sleep(void)
{
	return zs_sleep(ZS_NEVER - 1);
}

static int park_in_yields(void)
{
	int ret;

	do
		ret = zs_yield();
	while (ret == 0);
	return ret;
}

static int park_inside_for_long(void *arg)
{
	(void)arg;
	ck_assert_int_eq(zs_sleep(ZS_NEVER), -ECANCELED);
	count(&ended);
	return 0;
}

static int park_in_wait(void)
{
	struct zs_nursery inner;

	assert_ok(zs_nursery_open(&inner, NULL));
	for (int i = 0; i < 3; i++)
		assert_ok(zs_nursery_spawn(inner, park_inside_for_long, NULL));
	return zs_nursery_wait(inner);
}

static int park_twice_as_deep(void)
{
	struct zs_cancel_token inner;
	int ret;

	assert_ok(zs_cancel_token_open(&inner, far_away()));
	ret = park_in_wait();
	ck_assert_int_eq(zs_cancel_token_close(inner), ret);
	return ret;
}

static int (*const ways_to_park[])(void) = {
	park_in_sleep, park_in_long_sleep, park_in_yields,
	park_in_wait,  park_twice_as_deep,
};
enum { NR_WAYS = sizeof(ways_to_park) / sizeof(ways_to_park[0]) };

static int park_in_token(void *arg)
{
	int (*const *park)(void) = arg;

	assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
	ck_assert_int_eq((*park)(), -ECANCELED);
	ck_assert_int_eq(zs_cancel_reason(), ZS_CANCEL_REQUESTED);
	ck_assert_int_eq(zs_cancel_token_close(token), -ECANCELED);
	return zs_yield();
}

static int cancel_parked(void *park)
{
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn(nursery, park_in_token, park));
	for (int i = 0; i < 3; i++)
		assert_ok(zs_yield());
	assert_ok(zs_cancel_token_cancel(token));
	return zs_nursery_wait(nursery);
}

/* By another task of the same worker. */
START_TEST(parked_task_is_told_whatever_it_waits_for)
{
	assert_ok(run_task(cancel_parked, (void *)&ways_to_park[_i]));
	ck_assert_uint_eq(counted(&ended), _i < 3 ? 0 : 3);
}
END_TEST

static int sleep_a_moment(void *arg)
{
	int ret = zs_sleep(*(int *)arg);

	if (ret != 0 && ret != -ECANCELED)
		ck_abort_msg("%d", ret);
	if (ret == 0)
		count(&ended);
	return 0;
}

static int cancel_as_timers_fire(void *arg)
{
	for (int i = 0; i < 500; i++) {
		int duration_ns = i * 100;

		(void)arg;
		assert_ok(zs_nursery_open(&nursery, NULL));
		for (int j = 0; j < 4; j++)
			assert_ok(zs_nursery_spawn_copy(nursery, sleep_a_moment,
							&duration_ns,
							sizeof(duration_ns)));
		zs_sleep(20 * ZS_MICROSECOND);
		assert_ok(zs_nursery_cancel(nursery));
		ck_assert_int_eq(zs_nursery_wait(nursery), -ECANCELED);
	}
	return 0;
}

/* Durations around that of the canceller's own sleep: each ends once, by one or
 * the other; the first must have slept, the last may have. */
START_TEST(timer_and_cancel_at_once_end_a_sleep_once)
{
	assert_ok(run_task(cancel_as_timers_fire, NULL));
	ck_assert_uint_gt(counted(&ended), 0);
}
END_TEST

/* --- deadlines --- */

static int be_late(void *arg)
{
	static const int64_t past[] = { 0, 1, -1, INT64_MIN };

	(void)arg;
	for (int i = 0; i < 4; i++) {
		assert_ok(zs_cancel_token_open(&token, past[i]));
		ck_assert_int_eq(zs_cancel_reason(), ZS_CANCEL_DEADLINE);
		ck_assert_int_eq(zs_cancel_token_close(token), -ETIMEDOUT);
		assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
		assert_ok(zs_cancel_token_set_deadline(token, past[i]));
		ck_assert_int_eq(zs_cancel_reason(), ZS_CANCEL_DEADLINE);
		ck_assert_int_eq(zs_cancel_token_close(token), -ETIMEDOUT);
		assert_ok(zs_sleep_until(past[i]));
	}
	return 0;
}

START_TEST(past_deadline_cancels_at_once)
{
	assert_ok(run_task(be_late, NULL));
}
END_TEST

static int meet_deadlines(void *arg)
{
	int (*const *park)(void) = arg;

	for (int i = 1; i <= 10; i++) {
		int64_t deadline_ns = zs_now() + i * 77777;

		assert_ok(zs_cancel_token_open(&token, deadline_ns));
		ck_assert_int_eq((*park)(), -ETIMEDOUT);
		ck_assert_int_ge(zs_now(), deadline_ns);
		ck_assert_int_eq(zs_cancel_reason(), ZS_CANCEL_DEADLINE);
		ck_assert_int_eq(zs_cancel_token_close(token), -ETIMEDOUT);
	}
	return 0;
}

/* In a sleep, and in a loop of yields that leaves the worker no idle time. */
START_TEST(future_deadline_is_never_early)
{
	assert_ok(run_task(meet_deadlines, (void *)&ways_to_park[_i]));
}
END_TEST

/* The nearest one ends the sleep; the other one would take forever. */
static int nest_deadlines(void *arg)
{
	struct zs_cancel_token inner;
	int64_t near_ns = zs_now() + 2 * ZS_MILLISECOND;

	(void)arg;
	assert_ok(zs_cancel_token_open(&token, far_away()));
	assert_ok(zs_cancel_token_open(&inner, near_ns));
	ck_assert_int_eq(zs_sleep(ZS_NEVER), -ETIMEDOUT);
	ck_assert_int_ge(zs_now(), near_ns);
	ck_assert_int_eq(zs_cancel_token_close(inner), -ETIMEDOUT);
	assert_ok(zs_cancel_token_close(token));
	near_ns = zs_now() + 2 * ZS_MILLISECOND;
	assert_ok(zs_cancel_token_open(&token, near_ns));
	assert_ok(zs_cancel_token_open(&inner, far_away()));
	ck_assert_int_eq(zs_sleep(ZS_NEVER), -ETIMEDOUT);
	ck_assert_int_ge(zs_now(), near_ns);
	ck_assert_int_eq(zs_cancel_token_reason(inner), ZS_CANCEL_DEADLINE);
	ck_assert_int_eq(zs_cancel_token_close(inner), -ETIMEDOUT);
	ck_assert_int_eq(zs_cancel_token_close(token), -ETIMEDOUT);
	return zs_yield();
}

START_TEST(nearest_of_nested_deadlines_wins)
{
	assert_ok(run_task(nest_deadlines, NULL));
}
END_TEST

/* To where it must not end the sleep, to nowhere, and back to where it must;
 * the last time from inside an inner scope. */
static int move_deadline(void *arg)
{
	struct zs_cancel_token inner;
	int64_t near_ns = zs_now() + ZS_MILLISECOND;

	(void)arg;
	assert_ok(zs_cancel_token_open(&token, near_ns));
	assert_ok(zs_cancel_token_set_deadline(token, far_away()));
	assert_ok(zs_sleep_until(near_ns + ZS_MILLISECOND));
	near_ns = zs_now() + ZS_MILLISECOND;
	assert_ok(zs_cancel_token_set_deadline(token, near_ns));
	assert_ok(zs_cancel_token_set_deadline(token, ZS_NEVER));
	assert_ok(zs_sleep_until(near_ns + ZS_MILLISECOND));
	assert_ok(zs_cancel_token_open(&inner, ZS_NEVER));
	near_ns = zs_now() + ZS_MILLISECOND;
	assert_ok(zs_cancel_token_set_deadline(token, near_ns));
	ck_assert_int_eq(zs_sleep(ZS_NEVER), -ETIMEDOUT);
	ck_assert_int_ge(zs_now(), near_ns);
	ck_assert_int_eq(zs_cancel_token_close(inner), -ETIMEDOUT);
	ck_assert_int_eq(zs_cancel_token_close(token), -ETIMEDOUT);
	return zs_yield();
}

START_TEST(deadline_can_be_moved_and_taken_away)
{
	assert_ok(run_task(move_deadline, NULL));
}
END_TEST

static int64_t common_deadline_ns;

static int sleep_to_common_deadline(void *arg)
{
	int ret;

	if (arg)
		assert_ok(zs_cancel_token_open(arg, common_deadline_ns));
	ret = zs_sleep_until(common_deadline_ns);
	ck_assert_int_ge(zs_now(), common_deadline_ns);
	if (arg)
		ck_assert_int_eq(
			zs_cancel_token_close(*(struct zs_cancel_token *)arg),
			-ETIMEDOUT);
	else
		assert_ok(ret);
	count(&ended);
	return 0;
}

/* Every other one also has a token with that deadline: the sleep then ends by
 * either, but not by both. */
static int sleep_together(void *arg)
{
	static struct zs_cancel_token tokens[1000];

	(void)arg;
	common_deadline_ns = zs_now() + 20 * ZS_MILLISECOND;
	assert_ok(zs_nursery_open(&nursery, NULL));
	for (int i = 0; i < 1000; i++)
		assert_ok(zs_nursery_spawn(nursery, sleep_to_common_deadline,
					   i % 2 ? &tokens[i] : NULL));
	return zs_nursery_wait(nursery);
}

START_TEST(thousand_sleeps_to_one_deadline_all_end)
{
	assert_ok(run_task_on(1u << _i, sleep_together, NULL));
	ck_assert_uint_eq(counted(&ended), 1000);
}
END_TEST

static Suite *cancel_suite(void)
{
	Suite *suite = suite_create("cancel");
	TCase *tests = tcase_create("cancel");

	tcase_add_test(tests, reasons_have_names);
	tcase_add_test(tests, calls_of_tasks_are_eperm_outside);
	tcase_add_test(tests, closed_token_is_stale);
	tcase_add_test(tests, close_is_for_the_opener_and_from_inside_out);
	tcase_add_test(tests, cancel_reaches_inwards_only);
	tcase_add_test(tests, cancelled_task_is_told_by_each_call);
	tcase_add_test(tests, first_reason_stays);
	tcase_add_test(tests, siblings_are_told_in_the_order_of_parking);
	tcase_add_loop_test(tests, parked_task_is_told_whatever_it_waits_for, 0,
			    NR_WAYS);
	tcase_add_test(tests, timer_and_cancel_at_once_end_a_sleep_once);
	tcase_add_test(tests, past_deadline_cancels_at_once);
	tcase_add_loop_test(tests, future_deadline_is_never_early, 0, 3);
	tcase_add_test(tests, nearest_of_nested_deadlines_wins);
	tcase_add_test(tests, deadline_can_be_moved_and_taken_away);
	tcase_add_loop_test(tests, thousand_sleeps_to_one_deadline_all_end, 0,
			    3);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(cancel_suite());
}
