/* SPDX-License-Identifier: MIT */
/*
 * Channels: what a send and a receive do, in each kind of channel, between
 * tasks of one worker, and by other threads; misuse. Who waits, and how a wait
 * ends: test_chan_waits.c. Between workers and at random: test_chan_stress.c.
 */
#include "channels.h"

/* Nothing at all, less than a word, a word, what is copied by a call, and the
 * largest. */
static const size_t item_sizes[] = { 0, 3, 8, 24, ZS_CHAN_ITEM_MAX };

enum {
	NR_SIZES = sizeof(item_sizes) / sizeof(*item_sizes),
	NR_ITEMS = 1000,
};

/* Of items that are no numbers. */
static struct zs_chan *chan;

static void make_chan(size_t item_size, size_t capacity)
{
	assert_ok(zs_chan_create(&chan, item_size, capacity));
}

static void unmake_chan(void)
{
	assert_ok(zs_chan_destroy(chan));
}

/* --- order and bytes --- */

static size_t item_size;

static void fill(unsigned char *item, uint32_t number)
{
	for (size_t i = 0; i < item_size; i++)
		item[i] = (unsigned char)(number * 7 + i);
}

static int send_all_sizes(void *arg)
{
	unsigned char item[ZS_CHAN_ITEM_MAX];

	(void)arg;
	for (uint32_t i = 0; i < NR_ITEMS; i++) {
		fill(item, i);
		assert_ok(zs_chan_send(chan, item));
	}
	return zs_chan_close(chan);
}

static int recv_all_sizes(void *arg)
{
	unsigned char item[ZS_CHAN_ITEM_MAX + 1], expected[ZS_CHAN_ITEM_MAX];
	uint32_t i;

	(void)arg;
	item[item_size] = 0xa5;
	for (i = 0; zs_chan_recv(chan, item) == 0; i++) {
		fill(expected, i);
		ck_assert_mem_eq(item, expected, item_size);
		ck_assert_int_eq(item[item_size], 0xa5);
	}
	ck_assert_uint_eq(i, NR_ITEMS);
	ck_assert_int_eq(zs_chan_recv(chan, item), -EPIPE);
	return 0;
}

START_TEST(items_of_each_size_come_out_in_order)
{
	item_size = item_sizes[_i % NR_SIZES];
	make_chan(item_size, capacities[_i / NR_SIZES]);
	assert_ok(run_siblings(send_all_sizes, recv_all_sizes, NULL));
	unmake_chan();
}
END_TEST

static int send_and_receive_alone(void *arg)
{
	uint64_t item;

	(void)arg;
	for (uint64_t i = 0; i < NR_ITEMS; i++) {
		assert_ok(numbers_send(numbers, &i));
		ck_assert_int_eq(numbers_count(numbers), 1);
		assert_ok(numbers_recv(numbers, &item));
		ck_assert_uint_eq(item, i);
		ck_assert_int_eq(numbers_count(numbers), 0);
	}
	return 0;
}

START_TEST(task_sends_to_itself_where_there_is_room)
{
	make_numbers(capacities[1 + _i]);
	assert_ok(run_task(send_and_receive_alone, NULL));
	unmake_numbers();
}
END_TEST

/* --- trying --- */

static int try_until_full_and_empty(void *arg)
{
	uint64_t room = *(const size_t *)arg, item;

	for (int round = 0; round < 3; round++) {
		ck_assert_int_eq(numbers_try_recv(numbers, &item), -EAGAIN);
		for (uint64_t i = 0; i < room; i++)
			assert_ok(numbers_try_send(numbers, &i));
		ck_assert_int_eq(numbers_try_send(numbers, &room), -EAGAIN);
		ck_assert_int_eq(numbers_count(numbers), (ssize_t)room);
		for (uint64_t i = 0; i < room; i++) {
			assert_ok(numbers_try_recv(numbers, &item));
			ck_assert_uint_eq(item, i);
		}
	}
	return 0;
}

START_TEST(try_on_full_or_empty_is_eagain)
{
	size_t capacity = capacities[_i];

	make_numbers(capacity);
	assert_ok(run_task(try_until_full_and_empty, &capacity));
	unmake_numbers();
}
END_TEST

/* --- several at a time --- */

static int send_many(void *arg)
{
	uint64_t items[NR_ITEMS];

	(void)arg;
	for (uint64_t i = 0; i < NR_ITEMS; i++)
		items[i] = i;
	ck_assert_int_eq(numbers_send_many(numbers, items, 0), 0);
	ck_assert_int_eq(numbers_send_many(numbers, items, NR_ITEMS), NR_ITEMS);
	assert_ok(numbers_close(numbers));
	ck_assert_int_eq(numbers_send_many(numbers, items, 2), -EPIPE);
	return 0;
}

static int recv_many(void *arg)
{
	uint64_t items[64], expected = 0;
	ssize_t number;

	(void)arg;
	while ((number = numbers_recv_many(numbers, items, 64)) > 0) {
		ck_assert_int_le(number, 64);
		for (ssize_t i = 0; i < number; i++)
			ck_assert_uint_eq(items[i], expected++);
	}
	ck_assert_int_eq(number, -EPIPE);
	ck_assert_uint_eq(expected, NR_ITEMS);
	return 0;
}

START_TEST(many_are_sent_and_received_in_order)
{
	make_numbers(capacities[_i / 2]);
	assert_ok(_i % 2 ? run_siblings(send_many, recv_many, NULL) :
			   run_siblings(recv_many, send_many, NULL));
	unmake_numbers();
}
END_TEST

/* --- others get their turn --- */

static bool has_run;

static int note_that_it_ran(void *arg)
{
	(void)arg;
	has_run = true;
	return 0;
}

static int keep_sending(void *arg)
{
	struct zs_nursery nursery;
	uint64_t i, item;

	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn(nursery, note_that_it_ran, arg));
	for (i = 0; !has_run && i < 100000; i++) {
		assert_ok(numbers_send(numbers, &i));
		if (*(bool *)arg)
			assert_ok(numbers_recv(numbers, &item));
	}
	ck_assert(has_run);
	return zs_nursery_wait(nursery);
}

START_TEST(task_that_never_has_to_wait_lets_others_run)
{
	bool receives = _i;

	make_numbers(ZS_CHAN_UNBOUNDED);
	assert_ok(run_task(keep_sending, &receives));
	unmake_numbers();
}
END_TEST

/* --- an unbounded one --- */

static int grow_and_shrink(void *arg)
{
	unsigned char items[2][24] = { { 0 } };
	uint64_t number;

	(void)arg;
	for (int round = 0; round < 3; round++) {
		for (number = 0; number < 20000; number++) {
			memcpy(items[0], &number, sizeof(number));
			assert_ok(zs_chan_send(chan, items[0]));
		}
		ck_assert_int_eq(zs_chan_count(chan), 20000);
		for (number = 0; number < 20000; number++) {
			assert_ok(zs_chan_recv(chan, items[1]));
			ck_assert_mem_eq(items[1], &number, sizeof(number));
		}
	}
	/* What is left is the channel's to free. */
	for (number = 0; number < 5000; number++)
		assert_ok(zs_chan_send(chan, items[0]));
	return 0;
}

START_TEST(unbounded_one_grows_and_gives_its_memory_back)
{
	make_chan(24, ZS_CHAN_UNBOUNDED);
	assert_ok(run_task(grow_and_shrink, NULL));
	unmake_chan();
}
END_TEST

/* --- other threads --- */

static void *send_from_outside(void *arg)
{
	(void)arg;
	for (uint64_t i = 0; i < NR_ITEMS; i++)
		assert_ok(numbers_send(numbers, &i));
	assert_ok(numbers_close(numbers));
	return NULL;
}

static int recv_in_order(void *arg)
{
	uint64_t item, expected = 0;
	int ret;

	(void)arg;
	while ((ret = numbers_recv(numbers, &item)) == 0)
		ck_assert_uint_eq(item, expected++);
	ck_assert_int_eq(ret, -EPIPE);
	ck_assert_uint_eq(expected, NR_ITEMS);
	return 0;
}

static int recv_from_a_thread(void *arg)
{
	pthread_t thread = start_thread(send_from_outside, NULL);
	int ret = recv_in_order(arg);

	pthread_join(thread, NULL);
	return ret;
}

START_TEST(thread_blocks_where_it_has_to_wait)
{
	make_numbers(capacities[_i]);
	assert_ok(run_task(recv_from_a_thread, NULL));
	unmake_numbers();
}
END_TEST

static void *recv_outside(void *arg)
{
	recv_in_order(NULL);
	return arg;
}

static int send_in_order(void *arg)
{
	send_from_outside(arg);
	return 0;
}

static int send_to_a_thread(void *arg)
{
	pthread_t thread = start_thread(recv_outside, NULL);
	int ret = send_in_order(arg);

	/* Not before: on the blocking model nobody else runs meanwhile, and
	 * the thread needs nobody. */
	pthread_join(thread, NULL);
	return ret;
}

START_TEST(task_sends_to_a_thread)
{
	make_numbers(capacities[_i]);
	assert_ok(run_task(send_to_a_thread, NULL));
	unmake_numbers();
}
END_TEST

START_TEST(two_threads_need_no_runtime)
{
	pthread_t thread;

	make_numbers(capacities[_i]);
	thread = start_thread(recv_outside, NULL);
	send_from_outside(NULL);
	pthread_join(thread, NULL);
	unmake_numbers();
}
END_TEST

/* --- misuse --- */

static int refuse_bad_input(void *arg)
{
	struct zs_chan *made = NULL;
	uint64_t item = 0;

	ck_assert_int_eq(zs_chan_create(NULL, 8, 1), -EINVAL);
	ck_assert_int_eq(zs_chan_create(&made, ZS_CHAN_ITEM_MAX + 1, 1),
			 -EINVAL);
	ck_assert_ptr_nonnull(
		strstr(zs_explain(-EINVAL), "4097 bytes is over"));
	ck_assert_int_eq(zs_chan_create(&made, 4096, SIZE_MAX - 1), -ENOMEM);
	ck_assert_ptr_nonnull(strstr(zs_explain(-ENOMEM), "ZS_CHAN_UNBOUNDED"));
	ck_assert_int_eq(zs_chan_create(&made, 1, SIZE_MAX - 1), -ENOMEM);
	ck_assert_ptr_null(made);
	ck_assert_int_eq(zs_chan_send(NULL, &item), -EINVAL);
	ck_assert_int_eq(zs_chan_recv(NULL, &item), -EINVAL);
	ck_assert_int_eq(zs_chan_try_send(NULL, &item), -EINVAL);
	ck_assert_int_eq(zs_chan_try_recv(NULL, &item), -EINVAL);
	ck_assert_int_eq(zs_chan_send_many(NULL, &item, 1), -EINVAL);
	ck_assert_int_eq(zs_chan_recv_many(NULL, &item, 1), -EINVAL);
	ck_assert_int_eq(zs_chan_close(NULL), -EINVAL);
	ck_assert_int_eq(zs_chan_count(NULL), -EINVAL);
	assert_ok(zs_chan_destroy(NULL));
	ck_assert_int_eq(zs_chan_send(chan, NULL), -EINVAL);
	ck_assert_int_eq(zs_chan_recv(chan, NULL), -EINVAL);
	ck_assert_int_eq(zs_chan_try_send(chan, NULL), -EINVAL);
	ck_assert_int_eq(zs_chan_try_recv(chan, NULL), -EINVAL);
	ck_assert_int_eq(zs_chan_send_many(chan, NULL, 1), -EINVAL);
	ck_assert_int_eq(zs_chan_send_many(chan, &item, SIZE_MAX), -EINVAL);
	ck_assert_int_eq(zs_chan_recv_many(chan, &item, 0), -EINVAL);
	return arg != NULL;
}

START_TEST(bad_input_is_refused)
{
	make_chan(8, 1);
	assert_ok(run_task(refuse_bad_input, NULL));
	assert_ok(refuse_bad_input(NULL));
	unmake_chan();
}
END_TEST

static void use_in_a_timer(struct zs_timer *timer, void *arg)
{
	uint64_t item = 3;

	(void)timer;
	ck_assert_int_eq(numbers_send(numbers, &item), -EPERM);
	ck_assert_int_eq(numbers_recv(numbers, &item), -EPERM);
	assert_ok(numbers_try_send(numbers, &item));
	*(bool *)arg = true;
}

static int let_a_timer_send(void *arg)
{
	struct zs_timer timer = { 0 };
	bool has_sent = false;
	uint64_t item = 0;

	(void)arg;
	assert_ok(zs_timer_start(&timer, zs_now(), use_in_a_timer, &has_sent));
	assert_ok(numbers_recv(numbers, &item));
	ck_assert(has_sent);
	ck_assert_uint_eq(item, 3);
	return 0;
}

START_TEST(timer_sends_without_waiting)
{
	make_numbers(capacities[_i]);
	assert_ok(run_task(let_a_timer_send, NULL));
	unmake_numbers();
}
END_TEST

static Suite *chan_suite(void)
{
	Suite *suite = suite_create("chan");
	TCase *tests = tcase_create("chan");

	tcase_set_timeout(tests, 20);
	tcase_add_loop_test(tests, items_of_each_size_come_out_in_order, 0,
			    NR_SIZES * NR_CAPACITIES);
	tcase_add_loop_test(tests, task_sends_to_itself_where_there_is_room, 0,
			    NR_CAPACITIES - 1);
	tcase_add_loop_test(tests, try_on_full_or_empty_is_eagain, 0,
			    NR_CAPACITIES - 1);
	tcase_add_loop_test(tests, many_are_sent_and_received_in_order, 0,
			    2 * NR_CAPACITIES);
	tcase_add_loop_test(tests, task_that_never_has_to_wait_lets_others_run,
			    0, 2);
	tcase_add_test(tests, unbounded_one_grows_and_gives_its_memory_back);
	tcase_add_loop_test(tests, thread_blocks_where_it_has_to_wait, 0,
			    NR_CAPACITIES);
	tcase_add_loop_test(tests, task_sends_to_a_thread, 0, NR_CAPACITIES);
	tcase_add_loop_test(tests, two_threads_need_no_runtime, 0,
			    NR_CAPACITIES);
	tcase_add_test(tests, bad_input_is_refused);
	tcase_add_loop_test(tests, timer_sends_without_waiting, 0,
			    NR_CAPACITIES);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(chan_suite());
}
