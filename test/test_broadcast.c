/* SPDX-License-Identifier: MIT */
/*
 * Broadcasts, watches and oneshots: what each who listens gets, who is slow,
 * how a wait ends, on one worker and on several.
 */
#include "workers.h"

enum { NR_LISTENERS = 4, NR_ITEMS = 2000, NR_KEPT = 8 };

static struct zs_broadcast *broadcast;
static struct zs_watch *watch;
static struct zs_chan *oneshot;
static struct counter subscribed, heard;

/* --- broadcast --- */

static int hear_each_in_order(void *arg)
{
	struct zs_subscription news;
	uint64_t item, expected = 0;
	int64_t missed;

	assert_ok(zs_broadcast_subscribe(broadcast, &news));
	count(&subscribed);
	while ((missed = zs_subscription_recv(&news, &item)) >= 0) {
		if (arg)
			ck_assert_int_eq(missed, 0);
		expected += (uint64_t)missed;
		ck_assert_uint_eq(item, expected++);
	}
	ck_assert_int_eq(missed, -EPIPE);
	/* The last is never dropped. */
	ck_assert_uint_eq(expected, NR_ITEMS);
	return 0;
}

static int speak(void *arg)
{
	await_count(&subscribed, NR_LISTENERS);
	for (uint64_t i = 0; i < NR_ITEMS; i++) {
		assert_ok(zs_broadcast_send(broadcast, &i));
		/* So that nobody falls behind, on one worker. */
		if (arg)
			assert_ok(zs_yield());
	}
	assert_ok(zs_broadcast_close(broadcast));
	assert_ok(zs_broadcast_close(broadcast));
	ck_assert_int_eq(zs_broadcast_send(broadcast, &(uint64_t){ 0 }),
			 -EPIPE);
	return 0;
}

static int speak_to_all(void *arg)
{
	struct zs_nursery nursery;

	assert_ok(zs_nursery_open(&nursery, NULL));
	for (int i = 0; i < NR_LISTENERS; i++)
		assert_ok(zs_nursery_spawn(nursery, hear_each_in_order, arg));
	assert_ok(zs_nursery_spawn(nursery, speak, arg));
	return zs_nursery_wait(nursery);
}

START_TEST(all_who_keep_up_get_all)
{
	assert_ok(zs_broadcast_create(&broadcast, 8, NR_KEPT));
	assert_ok(run_task(speak_to_all, &broadcast));
	assert_ok(zs_broadcast_destroy(broadcast));
}
END_TEST

START_TEST(who_is_slow_on_any_worker_is_told_what_it_missed)
{
	assert_ok(zs_broadcast_create(&broadcast, 8, NR_KEPT));
	assert_ok(run_task_on((uint32_t)_i, speak_to_all, NULL));
	assert_ok(zs_broadcast_destroy(broadcast));
}
END_TEST

static int fall_behind(void *arg)
{
	struct zs_subscription news;
	uint64_t item;

	(void)arg;
	assert_ok(zs_broadcast_send(broadcast, &(uint64_t){ 99 }));
	assert_ok(zs_broadcast_subscribe(broadcast, &news));
	/* What was before is not its business. */
	ck_assert_int_eq(zs_subscription_try_recv(&news, &item), -EAGAIN);
	for (item = 0; item < NR_KEPT + 3; item++)
		assert_ok(zs_broadcast_send(broadcast, &item));
	ck_assert_int_eq(zs_subscription_recv(&news, &item), 3);
	ck_assert_uint_eq(item, 3);
	for (uint64_t i = 4; i < NR_KEPT + 3; i++) {
		ck_assert_int_eq(zs_subscription_try_recv(&news, &item), 0);
		ck_assert_uint_eq(item, i);
	}
	ck_assert_int_eq(zs_subscription_try_recv(&news, &item), -EAGAIN);
	return 0;
}

START_TEST(oldest_are_dropped_and_counted)
{
	assert_ok(zs_broadcast_create(&broadcast, 8, NR_KEPT));
	assert_ok(run_task(fall_behind, NULL));
	assert_ok(zs_broadcast_destroy(broadcast));
}
END_TEST

/* --- watch --- */

struct pair {
	uint64_t number, complement;
};

static int follow(void *arg)
{
	struct pair pair = { 0, 0 };
	int64_t seen = 0, version;

	(void)arg;
	while ((version = zs_watch_await(watch, seen, &pair)) >= 0) {
		ck_assert_int_gt(version, seen);
		/* Neither torn nor of another version. */
		ck_assert_uint_eq(pair.number, (uint64_t)version - 1);
		ck_assert_uint_eq(pair.complement, ~pair.number);
		seen = version;
		count(&subscribed);
	}
	ck_assert_int_eq(version, -EPIPE);
	ck_assert_int_eq(seen, NR_ITEMS + 1);
	count(&heard);
	return 0;
}

static int change(void *arg)
{
	struct pair pair;

	(void)arg;
	for (uint64_t i = 1; i <= NR_ITEMS; i++) {
		pair = (struct pair){ i, ~i };
		assert_ok(zs_watch_set(watch, &pair));
		if (i % 7 == 0)
			assert_ok(zs_yield());
	}
	assert_ok(zs_watch_close(watch));
	assert_ok(zs_watch_close(watch));
	ck_assert_int_eq(zs_watch_set(watch, &pair), -EPIPE);
	ck_assert_int_eq(zs_watch_get(watch, &pair), NR_ITEMS + 1);
	ck_assert_uint_eq(pair.number, NR_ITEMS);
	return 0;
}

static int change_for_all(void *arg)
{
	struct zs_nursery nursery;

	assert_ok(zs_nursery_open(&nursery, NULL));
	for (int i = 0; i < NR_LISTENERS; i++)
		assert_ok(zs_nursery_spawn(nursery, follow, arg));
	assert_ok(zs_nursery_spawn(nursery, change, arg));
	assert_ok(zs_nursery_wait(nursery));
	ck_assert_uint_eq(counted(&heard), NR_LISTENERS);
	return 0;
}

START_TEST(watchers_see_newer_values_and_the_last)
{
	struct pair pair = { 0, ~UINT64_C(0) };

	assert_ok(zs_watch_create(&watch, sizeof(pair), &pair));
	assert_ok(run_task_on((uint32_t)_i, change_for_all, NULL));
	assert_ok(zs_watch_destroy(watch));
}
END_TEST

/* --- oneshot --- */

static int await_answer(void *arg)
{
	uint64_t item = 0;

	ck_assert_int_eq(zs_chan_recv(oneshot, &item), 0);
	ck_assert_uint_eq(item, 42);
	ck_assert_int_eq(zs_chan_recv(oneshot, &item), -EPIPE);
	return arg != NULL;
}

static int answer(void *arg)
{
	uint64_t item = 42;

	assert_ok(zs_chan_send(oneshot, &item));
	ck_assert_int_eq(zs_chan_send(oneshot, &item), -EPIPE);
	ck_assert_int_eq(zs_chan_try_send(oneshot, &item), -EPIPE);
	ck_assert_int_eq(zs_chan_send_many(oneshot, &item, 1), -EPIPE);
	return arg != NULL;
}

START_TEST(oneshot_carries_one_item)
{
	assert_ok(zs_chan_create_oneshot(&oneshot, sizeof(uint64_t)));
	assert_ok(_i ? run_siblings(await_answer, answer, NULL) :
		       run_siblings(answer, await_answer, NULL));
	assert_ok(zs_chan_destroy(oneshot));
}
END_TEST

/* --- how waits end --- */

static int64_t wait_for(int which)
{
	struct zs_subscription news;
	uint64_t item;

	if (which == 0)
		return zs_watch_await(watch, 1, &item);
	assert_ok(zs_broadcast_subscribe(broadcast, &news));
	return zs_subscription_recv(&news, &item);
}

static int wait_and_be_ended(void *arg)
{
	int which = *(int *)arg;
	struct zs_cancel_token token;

	assert_ok(zs_cancel_token_open(&token, zs_now() + ZS_MILLISECOND));
	ck_assert_int_eq(wait_for(which), -ETIMEDOUT);
	ck_assert_int_eq(wait_for(which), -ETIMEDOUT);
	zs_cancel_token_close(token);
	/* Nobody runs on this worker between this and the wait. */
	count(&subscribed);
	ck_assert_int_eq(wait_for(which), -EPIPE);
	return 0;
}

static int end_waits(void *arg)
{
	int which = *(int *)arg;
	struct zs_nursery nursery;

	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn(nursery, wait_and_be_ended, arg));
	await_count(&subscribed, 1);
	if (which == 0) {
		ck_assert_int_eq(zs_watch_destroy(watch), -EBUSY);
		assert_ok(zs_watch_close(watch));
	} else {
		ck_assert_int_eq(zs_broadcast_destroy(broadcast), -EBUSY);
		assert_ok(zs_broadcast_close(broadcast));
	}
	return zs_nursery_wait(nursery);
}

START_TEST(deadline_and_close_end_a_wait)
{
	uint64_t item = 0;

	assert_ok(zs_watch_create(&watch, sizeof(item), &item));
	assert_ok(zs_broadcast_create(&broadcast, sizeof(item), 1));
	assert_ok(run_task(end_waits, &_i));
	assert_ok(zs_watch_destroy(watch));
	assert_ok(zs_broadcast_destroy(broadcast));
}
END_TEST

static void *listen_in_thread(void *arg)
{
	hear_each_in_order(NULL);
	return arg;
}

static int speak_to_threads(void *arg)
{
	pthread_t threads[NR_LISTENERS];

	for (int i = 0; i < NR_LISTENERS; i++)
		threads[i] = start_thread(listen_in_thread, NULL);
	speak(arg);
	for (int i = 0; i < NR_LISTENERS; i++)
		pthread_join(threads[i], NULL);
	return 0;
}

START_TEST(threads_listen)
{
	assert_ok(zs_broadcast_create(&broadcast, 8, NR_KEPT));
	assert_ok(run_task(speak_to_threads, NULL));
	assert_ok(zs_broadcast_destroy(broadcast));
}
END_TEST

/* --- misuse --- */

START_TEST(bad_input_is_refused)
{
	struct zs_subscription news = { NULL, 0 };
	uint64_t item = 0;

	ck_assert_int_eq(zs_broadcast_create(NULL, 8, 1), -EINVAL);
	ck_assert_int_eq(zs_broadcast_create(&broadcast, 8, 0), -EINVAL);
	ck_assert_int_eq(zs_broadcast_create(&broadcast, 4097, 1), -EINVAL);
	ck_assert_int_eq(zs_broadcast_create(&broadcast, 4096, SIZE_MAX / 2),
			 -ENOMEM);
	ck_assert_int_eq(zs_broadcast_send(NULL, &item), -EINVAL);
	ck_assert_int_eq(zs_broadcast_close(NULL), -EINVAL);
	ck_assert_int_eq(zs_broadcast_subscribe(NULL, &news), -EINVAL);
	ck_assert_int_eq(zs_subscription_recv(&news, &item), -EINVAL);
	ck_assert_int_eq(zs_subscription_try_recv(NULL, &item), -EINVAL);
	assert_ok(zs_broadcast_destroy(NULL));
	ck_assert_int_eq(zs_watch_create(NULL, 8, &item), -EINVAL);
	ck_assert_int_eq(zs_watch_create(&watch, 8, NULL), -EINVAL);
	ck_assert_int_eq(zs_watch_create(&watch, 4097, &item), -EINVAL);
	ck_assert_int_eq(zs_watch_set(NULL, &item), -EINVAL);
	ck_assert_int_eq(zs_watch_get(NULL, &item), -EINVAL);
	ck_assert_int_eq(zs_watch_await(NULL, 0, &item), -EINVAL);
	ck_assert_int_eq(zs_watch_close(NULL), -EINVAL);
	assert_ok(zs_watch_destroy(NULL));
	ck_assert_int_eq(zs_chan_create_oneshot(NULL, 8), -EINVAL);
	assert_ok(zs_watch_create(&watch, 8, &item));
	ck_assert_int_eq(zs_watch_set(watch, NULL), -EINVAL);
	ck_assert_int_eq(zs_watch_get(watch, NULL), -EINVAL);
	assert_ok(zs_watch_destroy(watch));
}
END_TEST

static Suite *broadcast_suite(void)
{
	Suite *suite = suite_create("broadcast");
	TCase *tests = tcase_create("broadcast");

	tcase_set_timeout(tests, 20);
	tcase_add_test(tests, all_who_keep_up_get_all);
	tcase_add_loop_test(
		tests, who_is_slow_on_any_worker_is_told_what_it_missed, 1, 4);
	tcase_add_test(tests, oldest_are_dropped_and_counted);
	tcase_add_loop_test(tests, watchers_see_newer_values_and_the_last, 1,
			    4);
	tcase_add_loop_test(tests, oneshot_carries_one_item, 0, 2);
	tcase_add_loop_test(tests, deadline_and_close_end_a_wait, 0, 2);
	tcase_add_test(tests, threads_listen);
	tcase_add_test(tests, bad_input_is_refused);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(broadcast_suite());
}
