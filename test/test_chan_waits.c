/* SPDX-License-Identifier: MIT */
/*
 * Channels: who waits in one, in which order they are served, and what ends a
 * wait: an item or room, a close, a cancel, a deadline. On one worker.
 */
#include "channels.h"

enum { NR_WAITERS = 5 };

/* --- closing --- */

static int close_while_it_holds_some(void *arg)
{
	uint64_t item = 5;

	(void)arg;
	assert_ok(numbers_send(numbers, &item));
	item = 6;
	assert_ok(numbers_send(numbers, &item));
	assert_ok(numbers_close(numbers));
	assert_ok(numbers_close(numbers));
	ck_assert_int_eq(numbers_send(numbers, &item), -EPIPE);
	ck_assert_int_eq(numbers_try_send(numbers, &item), -EPIPE);
	assert_ok(numbers_recv(numbers, &item));
	ck_assert_uint_eq(item, 5);
	assert_ok(numbers_try_recv(numbers, &item));
	ck_assert_uint_eq(item, 6);
	ck_assert_int_eq(numbers_recv(numbers, &item), -EPIPE);
	ck_assert_int_eq(numbers_try_recv(numbers, &item), -EPIPE);
	return 0;
}

START_TEST(closed_one_is_drained_first)
{
	make_numbers(_i ? ZS_CHAN_UNBOUNDED : 2);
	assert_ok(run_task(close_while_it_holds_some, NULL));
	unmake_numbers();
}
END_TEST

static int nr_epipe;

static int recv_until_closed(void *arg)
{
	uint64_t item;

	(void)arg;
	ck_assert_int_eq(numbers_recv(numbers, &item), -EPIPE);
	nr_epipe++;
	return 0;
}

static int send_until_closed(void *arg)
{
	uint64_t item = 0;
	int ret;

	(void)arg;
	do
		ret = numbers_send(numbers, &item);
	while (ret == 0);
	ck_assert_int_eq(ret, -EPIPE);
	nr_epipe++;
	return 0;
}

static int close_on_waiters(void *arg)
{
	zs_task_fn *fn = *(zs_task_fn **)arg;
	struct zs_nursery nursery;

	assert_ok(zs_nursery_open(&nursery, NULL));
	for (int i = 0; i < NR_WAITERS; i++)
		assert_ok(zs_nursery_spawn(nursery, fn, NULL));
	assert_ok(zs_yield());
	ck_assert_int_eq(nr_epipe, 0);
	ck_assert_int_eq(numbers_destroy(numbers), -EBUSY);
	assert_ok(numbers_close(numbers));
	assert_ok(zs_nursery_wait(nursery));
	ck_assert_int_eq(nr_epipe, NR_WAITERS);
	return 0;
}

START_TEST(close_ends_all_that_wait)
{
	zs_task_fn *fn = _i % 2 ? send_until_closed : recv_until_closed;

	make_numbers(capacities[_i / 2]);
	assert_ok(run_task(close_on_waiters, &fn));
	unmake_numbers();
}
END_TEST

/* --- the order of those who wait --- */

static uint64_t served[NR_WAITERS];
static int nr_served;

static int recv_in_turn(void *arg)
{
	uint64_t item;

	assert_ok(numbers_recv(numbers, &item));
	ck_assert_uint_eq(item, (uintptr_t)arg);
	served[nr_served++] = (uintptr_t)arg;
	return 0;
}

static int serve_receivers(void *arg)
{
	struct zs_nursery nursery;

	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	for (uintptr_t i = 0; i < NR_WAITERS; i++)
		assert_ok(zs_nursery_spawn(nursery, recv_in_turn, (void *)i));
	assert_ok(zs_yield());
	for (uint64_t i = 0; i < NR_WAITERS; i++)
		assert_ok(numbers_send(numbers, &i));
	/* Handed over: nobody who comes later gets one of these. */
	ck_assert_int_eq(numbers_count(numbers), 0);
	assert_ok(zs_nursery_wait(nursery));
	ck_assert_int_eq(nr_served, NR_WAITERS);
	return 0;
}

START_TEST(receivers_are_served_in_the_order_in_which_they_came)
{
	make_numbers(capacities[_i]);
	assert_ok(run_task(serve_receivers, NULL));
	unmake_numbers();
}
END_TEST

static int send_in_turn(void *arg)
{
	uint64_t item = (uintptr_t)arg;

	return numbers_send(numbers, &item);
}

static int serve_senders(void *arg)
{
	uint64_t room = *(const size_t *)arg, item;
	struct zs_nursery nursery;

	for (item = 0; item < room; item++)
		assert_ok(numbers_send(numbers, &item));
	assert_ok(zs_nursery_open(&nursery, NULL));
	for (uintptr_t i = room; i < room + NR_WAITERS; i++)
		assert_ok(zs_nursery_spawn(nursery, send_in_turn, (void *)i));
	assert_ok(zs_yield());
	for (uint64_t i = 0; i < room + NR_WAITERS; i++) {
		assert_ok(numbers_recv(numbers, &item));
		ck_assert_uint_eq(item, i);
	}
	return zs_nursery_wait(nursery);
}

START_TEST(senders_are_served_in_the_order_in_which_they_came)
{
	size_t capacity = capacities[_i];

	make_numbers(capacity);
	assert_ok(run_task(serve_senders, &capacity));
	unmake_numbers();
}
END_TEST

/* --- cancel and deadline --- */

static int wait_to_be_ended(void *arg)
{
	bool receives = *(bool *)arg;
	uint64_t item = 77;

	return receives ? numbers_recv(numbers, &item) :
			  numbers_send(numbers, &item);
}

static int cancel_a_waiter(void *arg)
{
	struct zs_nursery nursery;
	uint64_t item = 1;

	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn(nursery, wait_to_be_ended, arg));
	assert_ok(zs_yield());
	assert_ok(zs_nursery_cancel(nursery));
	ck_assert_int_eq(zs_nursery_wait(nursery), -ECANCELED);
	/* It has left no trace: nothing goes to it, nothing comes from it. */
	ck_assert_int_eq(*(bool *)arg ? numbers_try_send(numbers, &item) :
					numbers_try_recv(numbers, &item),
			 -EAGAIN);
	return 0;
}

START_TEST(cancelled_wait_leaves_nothing_behind)
{
	bool receives = _i;

	make_numbers(0);
	assert_ok(run_task(cancel_a_waiter, &receives));
	unmake_numbers();
}
END_TEST

static int wait_with_deadline(void *arg)
{
	bool receives = *(bool *)arg;
	struct zs_cancel_token token;
	uint64_t item = 1;

	assert_ok(zs_cancel_token_open(&token, zs_now() + ZS_MILLISECOND));
	ck_assert_int_eq(wait_to_be_ended(&receives), -ETIMEDOUT);
	/* In the cancelled scope only what does not wait works. */
	ck_assert_int_eq(wait_to_be_ended(&receives), -ETIMEDOUT);
	ck_assert_int_eq(numbers_try_recv(numbers, &item), -EAGAIN);
	ck_assert_int_eq(zs_cancel_token_close(token), -ETIMEDOUT);
	return 0;
}

START_TEST(deadline_ends_a_wait)
{
	bool receives = _i;

	make_numbers(0);
	assert_ok(run_task(wait_with_deadline, &receives));
	unmake_numbers();
}
END_TEST

static int hand_over_and_cancel(void *arg)
{
	struct zs_nursery nursery;
	uint64_t item = 9;

	(void)arg;
	nr_served = 0;
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn(nursery, recv_in_turn, (void *)9));
	assert_ok(zs_yield());
	assert_ok(numbers_send(numbers, &item));
	/* Too late: it has been given the item, and must not lose it. */
	assert_ok(zs_nursery_cancel(nursery));
	ck_assert_int_eq(zs_nursery_wait(nursery), -ECANCELED);
	ck_assert_int_eq(nr_served, 1);
	return 0;
}

START_TEST(cancel_that_comes_after_the_item_loses_nothing)
{
	make_numbers(capacities[_i]);
	assert_ok(run_task(hand_over_and_cancel, NULL));
	unmake_numbers();
}
END_TEST

static int send_four(void *arg)
{
	const uint64_t items[] = { 0, 1, 2, 3 };

	*(ssize_t *)arg = numbers_send_many(numbers, items, 4);
	return 0;
}

static int cancel_after_room(void *arg)
{
	struct zs_nursery nursery;
	uint64_t item;

	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn(nursery, send_four, arg));
	assert_ok(zs_yield());
	/* Its wait for room is over, but it has not gone on. */
	assert_ok(numbers_recv(numbers, &item));
	assert_ok(zs_nursery_cancel(nursery));
	ck_assert_int_eq(zs_nursery_wait(nursery), -ECANCELED);
	return 0;
}

START_TEST(cancel_between_two_waits_of_a_call_ends_it)
{
	ssize_t sent = 0;

	make_numbers(_i);
	assert_ok(run_task(cancel_after_room, &sent));
	ck_assert_int_eq(sent, 1 + _i);
	unmake_numbers();
}
END_TEST

/* --- others get their turn, beside another worker's --- */

static struct counter has_run;

static int run_once(void *arg)
{
	count(&has_run);
	return arg != NULL;
}

static int hand_over_for_ever(void *arg)
{
	struct zs_nursery nursery;
	uint64_t item = 0;

	assert_ok(zs_nursery_open(
		&nursery,
		&(struct zs_nursery_options){ .flags = ZS_NURSERY_PINNED }));
	assert_ok(zs_nursery_spawn(nursery, run_once, arg));
	while (counted(&has_run) == 0) {
		/* Until the thread waits, so that each is handed over. */
		while (zs_chan_count(numbers.chan) > 0)
			sched_yield();
		assert_ok(numbers_send(numbers, &item));
	}
	assert_ok(numbers_close(numbers));
	return zs_nursery_wait(nursery);
}

static void *receive_for_ever(void *arg)
{
	uint64_t item;

	while (numbers_recv(numbers, &item) == 0)
		;
	return arg;
}

START_TEST(who_always_finds_a_receiver_lets_others_run)
{
	pthread_t thread;

	make_numbers(64);
	thread = start_thread(receive_for_ever, NULL);
	assert_ok(run_task(hand_over_for_ever, NULL));
	pthread_join(thread, NULL);
	unmake_numbers();
}
END_TEST

static Suite *chan_waits_suite(void)
{
	Suite *suite = suite_create("chan_waits");
	TCase *tests = tcase_create("chan_waits");

	tcase_set_timeout(tests, 20);
	tcase_add_loop_test(tests, closed_one_is_drained_first, 0, 2);
	tcase_add_loop_test(tests, close_ends_all_that_wait, 0,
			    2 * (NR_CAPACITIES - 1));
	tcase_add_loop_test(
		tests, receivers_are_served_in_the_order_in_which_they_came, 0,
		NR_CAPACITIES);
	tcase_add_loop_test(tests,
			    senders_are_served_in_the_order_in_which_they_came,
			    0, NR_CAPACITIES - 1);
	tcase_add_loop_test(tests, cancelled_wait_leaves_nothing_behind, 0, 2);
	tcase_add_loop_test(tests, deadline_ends_a_wait, 0, 2);
	tcase_add_loop_test(tests,
			    cancel_that_comes_after_the_item_loses_nothing, 0,
			    NR_CAPACITIES);
	tcase_add_loop_test(tests, cancel_between_two_waits_of_a_call_ends_it,
			    0, 2);
	tcase_add_test(tests, who_always_finds_a_receiver_lets_others_run);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(chan_waits_suite());
}
