/* SPDX-License-Identifier: MIT */
/*
 * Select: one of several sends, receives and descriptors happens, and nothing
 * is left of the others. Between workers and at random: test_select_stress.c.
 */
#include <poll.h>

#include "channels.h"
#include "descriptors.h"

enum { NR_CHANS = 12, NR_THROWS = 4000 };

static struct zs_chan *chans[NR_CHANS];
static uint64_t items[NR_CHANS];

static void make_chans(size_t capacity)
{
	for (int i = 0; i < NR_CHANS; i++)
		assert_ok(
			zs_chan_create(&chans[i], sizeof(uint64_t), capacity));
}

static void unmake_chans(void)
{
	for (int i = 0; i < NR_CHANS; i++) {
		ck_assert_int_eq(zs_chan_count(chans[i]), 0);
		assert_ok(zs_chan_destroy(chans[i]));
	}
}

/* A receive from each. */
static void fill_cases(struct zs_select_case *cases, int number)
{
	for (int i = 0; i < number; i++)
		cases[i] = (struct zs_select_case)ZS_SELECT_RECV(chans[i],
								 &items[i]);
}

/* --- what is ready --- */

static int take_what_is_there(void *arg)
{
	struct zs_select_case cases[NR_CHANS];
	int number = *(int *)arg;

	fill_cases(cases, number);
	ck_assert_int_eq(zs_select(cases, number, ZS_SELECT_NOW), -EAGAIN);
	for (uint64_t i = 0; i < (uint64_t)number; i++) {
		assert_ok(zs_chan_send(chans[i], &i));
		ck_assert_int_eq(zs_select(cases, number, ZS_NEVER), (int)i);
		ck_assert_int_eq(cases[i].result, 0);
		ck_assert_uint_eq(items[i], i);
	}
	return 0;
}

START_TEST(case_that_is_ready_happens)
{
	int number = _i ? NR_CHANS : 3;

	make_chans(1);
	assert_ok(run_task(take_what_is_there, &number));
	unmake_chans();
}
END_TEST

static int throw_often(void *arg)
{
	int number = *(int *)arg, happened[NR_CHANS] = { 0 };
	struct zs_select_case cases[NR_CHANS];

	fill_cases(cases, number);
	for (int i = 0; i < NR_THROWS; i++) {
		int which;

		for (int j = 0; j < number; j++)
			zs_chan_try_send(chans[j], &items[j]);
		which = zs_select(cases, number, ZS_NEVER);
		ck_assert_int_ge(which, 0);
		happened[which]++;
	}
	for (int i = 0; i < number; i++) {
		/* Six standard deviations and more. */
		ck_assert_int_gt(happened[i], NR_THROWS / number * 7 / 10);
		ck_assert_int_lt(happened[i], NR_THROWS / number * 13 / 10);
		zs_chan_try_recv(chans[i], &items[i]);
	}
	return 0;
}

START_TEST(each_that_is_ready_is_as_likely)
{
	int number = _i ? 8 : 2;

	make_chans(1);
	assert_ok(run_task(throw_often, &number));
	unmake_chans();
}
END_TEST

static int use_closed_ones(void *arg)
{
	uint64_t item = 4;
	struct zs_select_case cases[] = {
		ZS_SELECT_RECV(chans[0], &item),
		ZS_SELECT_SEND(chans[1], &item),
	};

	(void)arg;
	assert_ok(zs_chan_close(chans[0]));
	ck_assert_int_eq(zs_select(cases, 2, ZS_NEVER), 0);
	ck_assert_int_eq(cases[0].result, -EPIPE);
	/* A case of no channel never happens. */
	cases[0].chan = NULL;
	ck_assert_int_eq(zs_select(cases, 2, ZS_SELECT_NOW), -EAGAIN);
	assert_ok(zs_chan_close(chans[1]));
	ck_assert_int_eq(zs_select(cases, 2, ZS_NEVER), 1);
	ck_assert_int_eq(cases[1].result, -EPIPE);
	return 0;
}

START_TEST(closed_channel_is_ready_with_epipe)
{
	make_chans(0);
	assert_ok(run_task(use_closed_ones, NULL));
	unmake_chans();
}
END_TEST

static int send_after_close(void *arg)
{
	uint64_t item = 4;
	struct zs_select_case one = ZS_SELECT_RECV(chans[0], &item);

	(void)arg;
	assert_ok(zs_chan_send(chans[0], &item));
	zs_chan_close(chans[0]);
	ck_assert_int_eq(zs_select(&one, 1, ZS_NEVER), 0);
	ck_assert_int_eq(one.result, 0);
	/* The room that there is now is for nobody. */
	ck_assert_int_eq(zs_chan_send(chans[0], &item), -EPIPE);
	ck_assert_int_eq(zs_chan_try_send(chans[0], &item), -EPIPE);
	ck_assert_int_eq(zs_chan_send_many(chans[0], &item, 1), -EPIPE);
	return 0;
}

START_TEST(receive_from_a_closed_channel_opens_no_room)
{
	if (_i)
		assert_ok(zs_chan_create_oneshot(&chans[0], sizeof(uint64_t)));
	else
		assert_ok(zs_chan_create(&chans[0], sizeof(uint64_t), 8));
	assert_ok(run_task(send_after_close, NULL));
	assert_ok(zs_chan_destroy(chans[0]));
}
END_TEST

/* --- waiting --- */

static int selected;

static int select_all(void *arg)
{
	struct zs_select_case cases[NR_CHANS];
	int number = *(int *)arg;

	fill_cases(cases, number);
	selected = zs_select(cases, number, ZS_NEVER);
	return 0;
}

static int send_to_one(void *arg)
{
	uint64_t item = 17;
	int which = *(int *)arg / 2;

	assert_ok(zs_chan_send(chans[which], &item));
	assert_ok(zs_yield());
	ck_assert_int_eq(selected, which);
	ck_assert_uint_eq(items[which], 17);
	/* It is gone from all others. */
	for (int i = 0; i < *(int *)arg; i++)
		ck_assert_int_eq(zs_chan_try_send(chans[i], &item), -EAGAIN);
	return 0;
}

START_TEST(one_that_comes_later_ends_the_wait_at_all)
{
	int number = _i ? NR_CHANS : 3;

	make_chans(0);
	assert_ok(run_siblings(select_all, send_to_one, &number));
	unmake_chans();
}
END_TEST

static int send_or_receive(void *arg)
{
	uint64_t sent = 31, received = 0;
	struct zs_select_case cases[] = {
		ZS_SELECT_SEND(chans[0], &sent),
		ZS_SELECT_RECV(chans[0], &received),
		ZS_SELECT_RECV(chans[1], &received),
	};

	(void)arg;
	selected = zs_select(cases, 3, ZS_NEVER);
	ck_assert(selected == 0 || (selected == 1 && received == 31));
	return 0;
}

/* Two that each would send to and receive from the same rendezvous. */
START_TEST(two_selects_meet)
{
	make_chans(0);
	assert_ok(run_siblings(send_or_receive, send_or_receive, NULL));
	unmake_chans();
}
END_TEST

static int close_one(void *arg)
{
	assert_ok(zs_chan_close(chans[1]));
	assert_ok(zs_yield());
	ck_assert_int_eq(selected, 1);
	return arg == NULL;
}

START_TEST(close_ends_the_wait)
{
	int number = 3;

	make_chans(0);
	assert_ok(run_siblings(select_all, close_one, &number));
	unmake_chans();
}
END_TEST

static int select_until(void *arg)
{
	struct zs_select_case cases[NR_CHANS];
	int64_t from_ns = zs_now();
	struct zs_cancel_token token;

	(void)arg;
	fill_cases(cases, 3);
	ck_assert_int_eq(zs_select(cases, 3, from_ns + ZS_MILLISECOND),
			 -ETIMEDOUT);
	ck_assert_int_ge(zs_now() - from_ns, ZS_MILLISECOND);
	ck_assert_int_eq(zs_select(cases, 3, 0), -ETIMEDOUT);
	ck_assert_int_eq(zs_select(NULL, 0, zs_now() + 1000), -ETIMEDOUT);
	assert_ok(zs_cancel_token_open(&token, zs_now() + ZS_MILLISECOND));
	ck_assert_int_eq(zs_select(cases, 3, ZS_NEVER), -ETIMEDOUT);
	zs_cancel_token_close(token);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(zs_chan_try_send(chans[i], &items[i]),
				 -EAGAIN);
	return 0;
}

START_TEST(deadline_ends_it_with_etimedout)
{
	make_chans(0);
	assert_ok(run_task(select_until, NULL));
	unmake_chans();
}
END_TEST

static int cancel_it(void *arg)
{
	struct zs_nursery nursery;

	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn(nursery, select_all, arg));
	assert_ok(zs_yield());
	assert_ok(zs_nursery_cancel(nursery));
	ck_assert_int_eq(zs_nursery_wait(nursery), -ECANCELED);
	ck_assert_int_eq(selected, -ECANCELED);
	for (int i = 0; i < *(int *)arg; i++)
		ck_assert_int_eq(zs_chan_try_send(chans[i], &items[i]),
				 -EAGAIN);
	return 0;
}

START_TEST(cancel_ends_it_and_leaves_nothing_behind)
{
	int number = _i ? NR_CHANS : 3;

	make_chans(0);
	assert_ok(run_task(cancel_it, &number));
	unmake_chans();
}
END_TEST

/* --- descriptors --- */

static int ends[2];

static int select_fd(void *arg)
{
	struct zs_select_case cases[] = {
		ZS_SELECT_RECV(chans[0], &items[0]),
		ZS_SELECT_FD(ends[0], POLLIN),
		ZS_SELECT_FD(-1, POLLIN),
	};

	selected =
		zs_select(cases, 3, arg ? ZS_NEVER : zs_now() + ZS_MILLISECOND);
	if (selected == 1)
		ck_assert_int_eq(cases[1].result, POLLIN);
	return 0;
}

static int make_it_readable(void *arg)
{
	(void)arg;
	ck_assert_int_eq(zs_write(ends[1], "x", 1), 1);
	return 0;
}

static int send_past_it(void *arg)
{
	(void)arg;
	return zs_chan_send(chans[0], &items[0]);
}

START_TEST(descriptor_is_a_case)
{
	make_chans(0);
	make_pipe(ends);
	assert_ok(run_siblings(select_fd, _i ? make_it_readable : send_past_it,
			       ends));
	ck_assert_int_eq(selected, _i);
	/* Now it is ready from the start. */
	if (_i) {
		assert_ok(run_task(select_fd, ends));
		ck_assert_int_eq(selected, 1);
	}
	close(ends[0]);
	close(ends[1]);
	unmake_chans();
}
END_TEST

START_TEST(descriptor_that_is_never_ready_is_left_alone)
{
	make_chans(0);
	make_pipe(ends);
	assert_ok(run_task(select_fd, NULL));
	ck_assert_int_eq(selected, -ETIMEDOUT);
	close(ends[0]);
	close(ends[1]);
	unmake_chans();
}
END_TEST

static int select_closed(void *arg)
{
	struct zs_select_case one = ZS_SELECT_FD(ends[0], POLLIN);

	(void)arg;
	ck_assert_int_eq(zs_select(&one, 1, ZS_NEVER), 0);
	ck_assert_int_eq(one.result, -ECANCELED);
	return 0;
}

static int close_it(void *arg)
{
	(void)arg;
	return zs_close(ends[0]);
}

START_TEST(descriptor_that_is_closed_is_ready)
{
	make_pipe(ends);
	assert_ok(run_siblings(select_closed, close_it, NULL));
	close(ends[1]);
}
END_TEST

/* --- tokens and tasks --- */

static int end_after_word(void *arg)
{
	uint64_t item;

	(void)arg;
	assert_ok(zs_chan_recv(chans[0], &item));
	return (int)item;
}

static int send_word_in(void *arg)
{
	uint64_t item = 23;

	(void)arg;
	return zs_chan_send(chans[0], &item);
}

static int select_task(void *arg)
{
	struct zs_nursery nursery;
	struct zs_task_handle handle;
	int ended_with = 0;
	uint64_t item;

	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn_handle(nursery, &handle, NULL,
					  end_after_word, NULL));
	struct zs_select_case cases[] = {
		ZS_SELECT_JOIN(handle, &ended_with),
		ZS_SELECT_RECV(chans[1], &item),
	};

	ck_assert_int_eq(zs_select(cases, 2, ZS_SELECT_NOW), -EAGAIN);
	/* Another case happens: the task is not joined by that. */
	ck_assert_int_eq(zs_select(cases, 2, zs_now() + ZS_MILLISECOND),
			 -ETIMEDOUT);
	assert_ok(zs_nursery_spawn(nursery, send_word_in, NULL));
	if (arg)
		assert_ok(zs_task_wait(handle));
	ck_assert_int_eq(zs_select(cases, 2, ZS_NEVER), 0);
	ck_assert_int_eq(cases[0].result, 0);
	ck_assert_int_eq(ended_with, 23);
	/* Now it is. */
	ck_assert_int_eq(zs_select(cases, 2, ZS_NEVER), 0);
	ck_assert_int_eq(cases[0].result, -ESTALE);
	return zs_nursery_wait(nursery);
}

START_TEST(end_of_a_task_is_a_case)
{
	make_chans(0);
	assert_ok(run_task(select_task, _i ? chans : NULL));
	unmake_chans();
}
END_TEST

static struct zs_cancel_token token;

static int hold_token(void *arg)
{
	uint64_t item = 0;

	assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
	assert_ok(zs_chan_send(chans[1], &item));
	ck_assert_int_eq(zs_chan_recv(chans[2], &item), -ECANCELED);
	zs_cancel_token_close(token);
	return arg != NULL;
}

static int select_token(void *arg)
{
	struct zs_nursery nursery;
	uint64_t item = 0;

	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn(nursery, hold_token, NULL));
	assert_ok(zs_chan_recv(chans[1], &item));
	struct zs_select_case cases[] = {
		ZS_SELECT_RECV(chans[0], &item),
		ZS_SELECT_TOKEN(token),
	};

	ck_assert_int_eq(zs_select(cases, 2, zs_now() + ZS_MILLISECOND),
			 -ETIMEDOUT);
	assert_ok(zs_cancel_token_cancel(token));
	ck_assert_int_eq(zs_select(cases, 2, ZS_NEVER), 1);
	ck_assert(cases[1].result == ZS_CANCEL_REQUESTED ||
		  cases[1].result == -ESTALE);
	assert_ok(zs_nursery_wait(nursery));
	ck_assert_int_eq(zs_select(cases, 2, ZS_NEVER), 1);
	ck_assert_int_eq(cases[1].result, -ESTALE);
	return 0;
}

START_TEST(cancel_of_a_token_is_a_case)
{
	make_chans(0);
	assert_ok(run_task(select_token, NULL));
	unmake_chans();
}
END_TEST

/* --- threads and misuse --- */

static void *select_in_thread(void *arg)
{
	struct zs_select_case cases[NR_CHANS];

	fill_cases(cases, 3);
	/* To which nobody sends. */
	ck_assert_int_eq(zs_select(cases, 2, zs_now() + ZS_MILLISECOND),
			 -ETIMEDOUT);
	selected = zs_select(cases, 3, ZS_NEVER);
	cases[0] = (struct zs_select_case)ZS_SELECT_FD(0, POLLIN);
	ck_assert_int_eq(zs_select(cases, 3, ZS_NEVER), -EPERM);
	return arg;
}

static int send_to_the_thread(void *arg)
{
	pthread_t thread = start_thread(select_in_thread, NULL);
	uint64_t item = 3;

	(void)arg;
	assert_ok(zs_chan_send(chans[2], &item));
	pthread_join(thread, NULL);
	ck_assert_int_eq(selected, 2);
	ck_assert_uint_eq(items[2], 3);
	return 0;
}

START_TEST(thread_selects_among_channels)
{
	make_chans(0);
	assert_ok(run_task(send_to_the_thread, NULL));
	unmake_chans();
}
END_TEST

static int refuse(void *arg)
{
	struct zs_select_case cases[] = {
		ZS_SELECT_RECV(chans[0], NULL),
		{ .kind = 77 },
	};

	(void)arg;
	ck_assert_int_eq(zs_select(NULL, 1, ZS_NEVER), -EINVAL);
	ck_assert_int_eq(zs_select(cases, 1, ZS_NEVER), -EINVAL);
	ck_assert_ptr_nonnull(strstr(zs_explain(-EINVAL), "case 0"));
	ck_assert_int_eq(zs_select(cases + 1, 1, ZS_NEVER), -EINVAL);
	ck_assert_ptr_nonnull(strstr(zs_explain(-EINVAL), "77 is no kind"));
	ck_assert_int_eq(zs_select(cases, SIZE_MAX, ZS_NEVER), -EINVAL);
	return 0;
}

START_TEST(bad_input_is_refused)
{
	make_chans(0);
	assert_ok(run_task(refuse, NULL));
	unmake_chans();
}
END_TEST

static Suite *select_suite(void)
{
	Suite *suite = suite_create("select");
	TCase *tests = tcase_create("select");

	tcase_set_timeout(tests, 20);
	tcase_add_loop_test(tests, case_that_is_ready_happens, 0, 2);
	tcase_add_loop_test(tests, each_that_is_ready_is_as_likely, 0, 2);
	tcase_add_test(tests, closed_channel_is_ready_with_epipe);
	tcase_add_loop_test(tests, receive_from_a_closed_channel_opens_no_room,
			    0, 2);
	tcase_add_loop_test(tests, one_that_comes_later_ends_the_wait_at_all, 0,
			    2);
	tcase_add_test(tests, two_selects_meet);
	tcase_add_test(tests, close_ends_the_wait);
	tcase_add_test(tests, deadline_ends_it_with_etimedout);
	tcase_add_loop_test(tests, cancel_ends_it_and_leaves_nothing_behind, 0,
			    2);
	tcase_add_loop_test(tests, descriptor_is_a_case, 0, 2);
	tcase_add_test(tests, descriptor_that_is_never_ready_is_left_alone);
	tcase_add_test(tests, descriptor_that_is_closed_is_ready);
	tcase_add_loop_test(tests, end_of_a_task_is_a_case, 0, 2);
	tcase_add_test(tests, cancel_of_a_token_is_a_case);
	tcase_add_test(tests, thread_selects_among_channels);
	tcase_add_test(tests, bad_input_is_refused);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(select_suite());
}
