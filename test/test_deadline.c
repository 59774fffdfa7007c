/* SPDX-License-Identifier: MIT */
/*
 * Deadlines that nest and are moved, by any task of any worker, and calls with
 * a time limit.
 */
#include "workers.h"

static struct zs_cancel_token token;
static struct zs_nursery nursery;
static struct counter ended;

static int64_t far_away(void)
{
	return zs_now() + 3600 * ZS_SECOND;
}

/* --- deadlines --- */

static int expect_deadline(void *arg)
{
	ck_assert_int_eq(zs_deadline(), *(int64_t *)arg);
	return 0;
}

static int nest_deadlines(void *arg)
{
	int64_t now_ns = zs_now(), near_ns = now_ns + 600 * ZS_SECOND;
	int64_t far_ns = now_ns + 3600 * ZS_SECOND;
	struct zs_nursery_options options = { .deadline_ns = far_ns };
	struct zs_cancel_token outer, inner;

	(void)arg;
	ck_assert_int_eq(zs_deadline(), ZS_NEVER);
	assert_ok(zs_cancel_token_open(&outer, near_ns));
	assert_ok(zs_nursery_open(&nursery, &options));
	assert_ok(zs_cancel_token_open(&inner, far_ns));
	ck_assert_int_eq(zs_deadline(), near_ns);
	assert_ok(zs_nursery_spawn(nursery, expect_deadline, &near_ns));
	assert_ok(zs_yield());
	assert_ok(zs_cancel_token_set_deadline(inner, near_ns - 1));
	ck_assert_int_eq(zs_deadline(), near_ns - 1);
	assert_ok(zs_cancel_token_close(inner));
	ck_assert_int_eq(zs_deadline(), near_ns);
	assert_ok(zs_nursery_wait(nursery));
	assert_ok(zs_cancel_token_set_deadline(outer, ZS_NEVER));
	ck_assert_int_eq(zs_deadline(), ZS_NEVER);
	assert_ok(zs_cancel_token_close(outer));
	/* Their memory is used again. */
	assert_ok(zs_cancel_token_open(&outer, ZS_NEVER));
	assert_ok(zs_cancel_token_open(&inner, ZS_NEVER));
	ck_assert_int_eq(zs_deadline(), ZS_NEVER);
	assert_ok(zs_cancel_token_close(inner));
	return zs_cancel_token_close(outer);
}

START_TEST(nearest_deadline_is_told)
{
	ck_assert_int_eq((int)zs_deadline(), -EPERM);
	assert_ok(run_task(nest_deadlines, NULL));
}
END_TEST

static int sleep_in_three(void *arg)
{
	int which = *(int *)arg;
	int64_t soon_ns = zs_now() + ZS_MILLISECOND;
	struct zs_cancel_token tokens[3];

	for (int i = 0; i < 3; i++)
		assert_ok(zs_cancel_token_open(
			&tokens[i], i == which ? soon_ns : far_away()));
	ck_assert_int_eq(zs_sleep(ZS_NEVER), -ETIMEDOUT);
	ck_assert_int_ge(zs_now(), soon_ns);
	for (int i = 2; i >= 0; i--) {
		ck_assert_int_eq(zs_cancel_token_is_inherited(tokens[i]),
				 i > which);
		ck_assert_int_eq(zs_cancel_token_close(tokens[i]),
				 i >= which ? -ETIMEDOUT : 0);
	}
	return 0;
}

START_TEST(nearest_deadline_wins)
{
	assert_ok(run_task(sleep_in_three, &_i));
}
END_TEST

static int move_anothers(void *arg)
{
	(void)arg;
	assert_ok(zs_cancel_token_set_deadline(token, far_away()));
	ck_assert(zs_deadline() == ZS_NEVER);
	assert_ok(zs_cancel_token_set_deadline(token, ZS_NEVER));
	assert_ok(zs_cancel_token_set_deadline(token, 1));
	ck_assert_int_eq(zs_cancel_token_reason(token), ZS_CANCEL_DEADLINE);
	return zs_cancel_token_set_deadline(token, 1);
}

static int have_it_moved(void *arg)
{
	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
	assert_ok(zs_nursery_spawn(nursery, move_anothers, NULL));
	ck_assert_int_eq(zs_sleep(ZS_NEVER), -ETIMEDOUT);
	ck_assert_int_eq(zs_cancel_token_close(token), -ETIMEDOUT);
	ck_assert_int_eq(zs_cancel_token_set_deadline(token, 1), -ESTALE);
	return zs_nursery_wait(nursery);
}

START_TEST(deadline_is_moved_by_another_task)
{
	assert_ok(run_task(have_it_moved, NULL));
}
END_TEST

static int move_from_far(void *arg)
{
	(void)arg;
	assert_ok(zs_cancel_token_set_deadline(token, zs_now() - 1));
	count(&ended);
	return 0;
}

static int have_it_moved_from_far(void *arg)
{
	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	for (uint32_t i = 1; i <= 20; i++) {
		assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
		spawn_from_thread(nursery, 1, move_from_far, NULL);
		/* Its worker is kept, so that it is another one that starts
		 * the task; it cannot go on before this one gives way. */
		for (int64_t end_ns = zs_now() + ZS_MILLISECOND;
		     zs_now() < end_ns;)
			sched_yield();
		ck_assert_int_eq(zs_sleep(ZS_NEVER), -ETIMEDOUT);
		ck_assert_int_eq(zs_cancel_token_close(token), -ETIMEDOUT);
		await_count(&ended, i);
	}
	return zs_nursery_wait(nursery);
}

START_TEST(deadline_is_moved_from_another_worker)
{
	assert_ok(run_task_on(2, have_it_moved_from_far, NULL));
}
END_TEST

/* --- timeouts --- */

static int return_it(void *arg)
{
	return *(int *)arg;
}

static int sleep_for_ever(void *arg)
{
	(void)arg;
	return zs_sleep(ZS_NEVER);
}

static int fail_late(void *arg)
{
	zs_sleep(ZS_NEVER);
	return *(int *)arg;
}

static int leave_open(void *arg)
{
	struct zs_nursery left;

	(void)arg;
	assert_ok(zs_nursery_open(&left, NULL));
	assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
	assert_ok(zs_nursery_spawn(left, sleep_for_ever, NULL));
	return 7;
}

static int use_timeouts(void *arg)
{
	int seven = 7, failure = -EXDEV;

	(void)arg;
	ck_assert_int_eq(zs_timeout(ZS_SECOND, NULL, NULL), -EINVAL);
	ck_assert_int_eq(zs_timeout(ZS_NEVER, return_it, &seven), 7);
	ck_assert_int_eq(zs_timeout(ZS_SECOND, return_it, &failure), -EXDEV);
	ck_assert_int_eq(zs_timeout(0, return_it, &seven), 7);
	ck_assert_int_eq(zs_timeout(-1, return_it, &failure), -ETIMEDOUT);
	ck_assert_int_eq(zs_timeout(1, sleep_for_ever, NULL), -ETIMEDOUT);
	ck_assert_int_eq(zs_timeout(ZS_MILLISECOND, fail_late, &failure),
			 -ETIMEDOUT);
	ck_assert_int_eq(zs_timeout(ZS_MILLISECOND, fail_late, &seven), 7);
	ck_assert_int_eq(zs_timeout(ZS_SECOND, leave_open, NULL), 7);
	ck_assert_int_eq(zs_cancel_token_reason(token), -ESTALE);
	/* One around it cuts it as any call. */
	assert_ok(zs_cancel_token_open(&token, zs_now() + ZS_MILLISECOND));
	ck_assert_int_eq(zs_timeout(ZS_NEVER, fail_late, &failure), -EXDEV);
	ck_assert_int_eq(zs_cancel_token_close(token), -ETIMEDOUT);
	return zs_yield();
}

START_TEST(timeout_returns_the_result_or_that_it_was_cut)
{
	struct capture capture;

	ck_assert_int_eq(zs_timeout(1, sleep_for_ever, NULL), -EPERM);
	begin_capture(&capture);
	assert_ok(run_task(use_timeouts, NULL));
	end_capture(&capture);
	ck_assert_ptr_ne(strstr(capture.text, "returned with"), NULL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("deadline");
	TCase *tcase = tcase_create("deadline");

	tcase_add_test(tcase, nearest_deadline_is_told);
	tcase_add_loop_test(tcase, nearest_deadline_wins, 0, 3);
	tcase_add_test(tcase, deadline_is_moved_by_another_task);
	tcase_add_test(tcase, deadline_is_moved_from_another_worker);
	tcase_add_test(tcase, timeout_returns_the_result_or_that_it_was_cut);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
