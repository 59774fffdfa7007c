/* SPDX-License-Identifier: MIT */
/*
 * Rate limiters: that a rate is kept and no token lost, in which order tasks
 * get theirs, and what a cancel leaves behind.
 */
#include <check.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "runtime.h"
#include "workers.h"

static struct zs_rate_limiter make(uint64_t tokens, int64_t period_ns,
				   uint64_t burst)
{
	struct zs_rate_limiter limiter;

	assert_ok(zs_rate_limiter_init(&limiter, tokens, period_ns, burst));
	return limiter;
}

static int take_a_burst(void *unused)
{
	struct zs_rate_limiter limiter = make(1, 86400 * ZS_SECOND, 10);

	(void)unused;
	assert_ok(zs_rate_limiter_acquire(&limiter, 4));
	assert_ok(zs_rate_limiter_try_acquire(&limiter, 0));
	ck_assert_int_eq(zs_rate_limiter_try_acquire(&limiter, 7), -EAGAIN);
	assert_ok(zs_rate_limiter_try_acquire(&limiter, 6));
	ck_assert_int_eq(zs_rate_limiter_try_acquire(&limiter, 1), -EAGAIN);
	return 0;
}

START_TEST(a_bucket_is_full_at_first_and_then_empty)
{
	ck_assert_int_eq(run_task(take_a_burst, NULL), 0);
}
END_TEST

struct pace {
	struct zs_rate_limiter limiter;
	struct counter taken;
	int64_t start_ns;
	uint64_t tokens;
	int64_t period_ns;
	uint32_t times;
};

/* Whatever the order in which tasks look at the clock: by the time that so many
 * are known to be taken, so many have fallen. */
static int take_at_pace(void *arg)
{
	struct pace *pace = arg;
	uint32_t i, taken;

	for (i = 0; i < pace->times; i++) {
		assert_ok(zs_rate_limiter_acquire(&pace->limiter, 1));
		taken = count(&pace->taken);
		ck_assert_int_ge((zs_now() - pace->start_ns) *
					 (int64_t)pace->tokens,
				 (taken - 1) * pace->period_ns);
	}
	return 0;
}

static int take_in_many_tasks(void *arg)
{
	struct pace *pace = arg;
	struct zs_nursery nursery;
	int i;

	assert_ok(zs_nursery_open(&nursery, NULL));
	pace->limiter = make(pace->tokens, pace->period_ns, 1);
	pace->start_ns = pace->limiter.start_ns;
	for (i = 0; i < 20; i++)
		assert_ok(zs_nursery_spawn(nursery, take_at_pace, pace));
	return zs_nursery_wait(nursery);
}

START_TEST(a_rate_is_kept_by_many_tasks)
{
	struct zs_config config = test_config();
	/* 30,000 a second: 33,333.3 ns each. */
	struct pace pace = { .tokens = 3, .period_ns = 100000, .times = 20 };

	config.num_workers = (uint32_t)_i;
	ck_assert_int_eq(run_task_with(&config, take_in_many_tasks, &pace), 0);
	ck_assert_uint_eq(counted(&pace.taken), 400);
	/* And not much more slowly: what fell late was not lost. */
	ck_assert_int_eq((int64_t)pace.limiter.taken >= 399, true);
	ck_assert_ptr_null(pace.limiter.first);
	ck_assert_ptr_null(pace.limiter.last);
}
END_TEST

/* --- order --- */

struct queue {
	struct zs_rate_limiter limiter;
	struct zs_cancel_token token;
	int order[8];
	int ended;
};

struct place {
	struct queue *queue;
	int number;
	uint64_t tokens;
	bool is_cancelled;
};

static int take_in_turn(void *arg)
{
	struct place *place = arg;
	struct queue *queue = place->queue;
	struct zs_cancel_token token;
	int ret;

	assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
	if (place->is_cancelled)
		queue->token = token;
	ret = zs_rate_limiter_acquire(&queue->limiter, place->tokens);
	queue->order[queue->ended++] = ret < 0 ? ret : place->number;
	zs_cancel_token_close(token);
	return 0;
}

/* 5 tokens a millisecond-and-a-bit: the first has to wait for all five. */
static int take_in_order(void *arg)
{
	static const uint64_t tokens[] = { 5, 1, 3, 1 };
	struct queue *queue = arg;
	struct place places[4];
	struct zs_nursery nursery;
	int i;

	queue->limiter = make(1, ZS_MILLISECOND, 5);
	assert_ok(zs_rate_limiter_acquire(&queue->limiter, 5));
	assert_ok(zs_nursery_open(&nursery, NULL));
	for (i = 0; i < 4; i++) {
		places[i] = (struct place){ queue, i, tokens[i], false };
		assert_ok(zs_nursery_spawn(nursery, take_in_turn, &places[i]));
	}
	assert_ok(zs_nursery_wait(nursery));
	for (i = 0; i < 4; i++)
		ck_assert_int_eq(queue->order[i], i);
	return 0;
}

START_TEST(nobody_passes_one_who_wants_more)
{
	struct queue queue = { 0 };

	ck_assert_int_eq(run_task(take_in_order, &queue), 0);
}
END_TEST

/* Of three that would wait for a day each; with the one at @which gone the
 * others are where they would be without it. */
static int cancel_one(void *arg)
{
	int which = *(int *)arg;
	struct queue queue = { 0 };
	struct place places[3];
	struct zs_nursery nursery;
	int i;

	queue.limiter = make(1, 86400 * ZS_SECOND, 1);
	assert_ok(zs_rate_limiter_acquire(&queue.limiter, 1));
	assert_ok(zs_nursery_open(&nursery, NULL));
	for (i = 0; i < 3; i++) {
		places[i] = (struct place){ &queue, i, 1, i == which };
		assert_ok(zs_nursery_spawn(nursery, take_in_turn, &places[i]));
	}
	assert_ok(zs_yield());
	ck_assert_int_eq(queue.ended, 0);
	assert_ok(zs_cancel_token_cancel(queue.token));
	while (queue.ended < 1)
		assert_ok(zs_yield());
	ck_assert_int_eq(queue.order[0], -ECANCELED);
	ck_assert_uint_eq(queue.limiter.taken, 1);
	/* A day passes: the bucket has one. The first sleeps for that day, or
	 * is about to. */
	queue.limiter.start_ns -= 86400 * ZS_SECOND;
	ck_assert_int_eq(zs_rate_limiter_try_acquire(&queue.limiter, 1),
			 -EAGAIN);
	assert_ok(zs_nursery_cancel(nursery));
	ck_assert_int_eq(zs_nursery_wait(nursery), -ECANCELED);
	ck_assert_ptr_null(queue.limiter.first);
	ck_assert_ptr_null(queue.limiter.last);
	return 0;
}

START_TEST(a_cancelled_one_gives_its_place_back)
{
	int which = _i;

	ck_assert_int_eq(run_task(cancel_one, &which), 0);
}
END_TEST

/* --- stress: cancels at any point, on several workers --- */

struct crowd {
	struct zs_rate_limiter limiter;
	struct counter taken;
	struct counter cancelled;
};

static int take_or_time_out(void *arg)
{
	struct crowd *crowd = arg;
	struct zs_cancel_token token;
	uint64_t random = zs_task_id(zs_self()) * UINT64_C(0x9e3779b97f4a7c15);
	int i, ret;

	for (i = 0; i < 50; i++) {
		random = random * UINT64_C(6364136223846793005) + 1;
		assert_ok(zs_cancel_token_open(
			&token, zs_now() + (int64_t)(random >> 33) % 200000));
		ret = zs_rate_limiter_acquire(&crowd->limiter, 1);
		ck_assert(ret == 0 || ret == -ETIMEDOUT);
		count(ret == 0 ? &crowd->taken : &crowd->cancelled);
		zs_cancel_token_close(token);
	}
	return 0;
}

static int crowd_a_limiter(void *arg)
{
	struct crowd *crowd = arg;
	struct zs_nursery nursery;
	int i;

	crowd->limiter = make(1, 5000, 3);
	assert_ok(zs_nursery_open(&nursery, NULL));
	for (i = 0; i < 60; i++)
		assert_ok(zs_nursery_spawn(nursery, take_or_time_out, crowd));
	return zs_nursery_wait(nursery);
}

START_TEST(cancels_lose_no_token_and_no_waiter)
{
	struct zs_config config = test_config();
	struct crowd crowd = { 0 };

	config.num_workers = (uint32_t)_i;
	ck_assert_int_eq(run_task_with(&config, crowd_a_limiter, &crowd), 0);
	ck_assert_uint_eq(counted(&crowd.taken) + counted(&crowd.cancelled),
			  3000);
	ck_assert_uint_gt(counted(&crowd.taken), 0);
	ck_assert_ptr_null(crowd.limiter.first);
	ck_assert_uint_le(counted(&crowd.taken),
			  3 + (uint64_t)(zs_now() - crowd.limiter.start_ns) /
					  5000);
}
END_TEST

/* --- numbers --- */

static int keep_extreme_rates(void *unused)
{
	struct zs_rate_limiter limiter = make(1000000000, ZS_SECOND, 1);
	int i;

	(void)unused;
	for (i = 0; i < 1000; i++)
		assert_ok(zs_rate_limiter_acquire(&limiter, 1));
	ck_assert_int_ge(zs_now() - limiter.start_ns, 999);
	/* After 290 years of it. */
	limiter = make(1000000000, ZS_SECOND, UINT64_C(1) << 62);
	limiter.start_ns = INT64_MIN / 2;
	assert_ok(zs_rate_limiter_acquire(&limiter, UINT64_C(1) << 62));
	limiter = make(1, INT64_MAX, UINT64_C(1) << 62);
	assert_ok(zs_rate_limiter_try_acquire(&limiter, UINT64_C(1) << 62));
	ck_assert_int_eq(zs_rate_limiter_try_acquire(&limiter, 1), -EAGAIN);
	return 0;
}

START_TEST(rates_may_be_as_low_and_high_as_can_be)
{
	ck_assert_int_eq(run_task(keep_extreme_rates, NULL), 0);
}
END_TEST

static int wait_for_ever(void *unused)
{
	struct zs_rate_limiter limiter = make(1, INT64_MAX, 1000);
	struct zs_cancel_token token;

	(void)unused;
	assert_ok(zs_rate_limiter_acquire(&limiter, 1000));
	assert_ok(zs_cancel_token_open(&token, zs_now() + ZS_MILLISECOND));
	/* Later than time can tell. */
	ck_assert_int_eq(zs_rate_limiter_acquire(&limiter, 1000), -ETIMEDOUT);
	ck_assert_int_eq(zs_rate_limiter_acquire(&limiter, 1), -ETIMEDOUT);
	ck_assert_int_eq(zs_rate_limiter_acquire(&limiter, 1001), -EINVAL);
	ck_assert_ptr_nonnull(strstr(zs_explain(-EINVAL), "burst is 1000"));
	return zs_cancel_token_close(token);
}

START_TEST(a_deadline_ends_the_wait)
{
	ck_assert_int_eq(run_task(wait_for_ever, NULL), -ETIMEDOUT);
}
END_TEST

START_TEST(what_makes_no_rate_is_refused)
{
	struct zs_rate_limiter limiter;

	ck_assert_int_eq(zs_rate_limiter_init(NULL, 1, 1, 1), -EINVAL);
	ck_assert_int_eq(zs_rate_limiter_init(&limiter, 0, 1, 1), -EINVAL);
	ck_assert_int_eq(zs_rate_limiter_try_acquire(&limiter, 1), -EINVAL);
	ck_assert_int_eq(zs_rate_limiter_init(&limiter, 1, 0, 1), -EINVAL);
	ck_assert_int_eq(zs_rate_limiter_init(&limiter, 2, 1, 1), -EINVAL);
	ck_assert_ptr_nonnull(strstr(zs_explain(-EINVAL), "2 tokens in 1 ns"));
	ck_assert_int_eq(zs_rate_limiter_init(&limiter, 1, 1, 0), -EINVAL);
	ck_assert_int_eq(zs_rate_limiter_init(&limiter, 1, 1, UINT64_MAX),
			 -EINVAL);
	assert_ok(zs_rate_limiter_init(&limiter, 1, ZS_SECOND, 1));
	ck_assert_int_eq(zs_rate_limiter_acquire(&limiter, 1), -EPERM);
	/* But any thread may try. */
	assert_ok(zs_rate_limiter_try_acquire(&limiter, 1));
}
END_TEST

static Suite *rate_limiter_suite(void)
{
	Suite *suite = suite_create("rate_limiter");
	TCase *tests = tcase_create("rate_limiter");
	int most = test_is_blocking() ? 2 : 4;

	tcase_add_test(tests, a_bucket_is_full_at_first_and_then_empty);
	tcase_add_loop_test(tests, a_rate_is_kept_by_many_tasks, 1, most);
	tcase_add_test(tests, nobody_passes_one_who_wants_more);
	tcase_add_loop_test(tests, a_cancelled_one_gives_its_place_back, 0, 3);
	tcase_add_loop_test(tests, cancels_lose_no_token_and_no_waiter, 1,
			    most);
	tcase_add_test(tests, rates_may_be_as_low_and_high_as_can_be);
	tcase_add_test(tests, a_deadline_ends_the_wait);
	tcase_add_test(tests, what_makes_no_rate_is_refused);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(rate_limiter_suite());
}
