/* SPDX-License-Identifier: MIT */
/* All of cancel tokens beyond cancelling: reasons, callbacks, waits. */
#include "workers.h"

static struct zs_cancel_token token;
static struct counter arrived, ended;

/* --- reasons --- */

static int cancel_for_each_reason(void *arg)
{
	struct zs_cancel_token inner;

	(void)arg;
	for (int reason = -1; reason < 10; reason++) {
		bool is_allowed = reason == ZS_CANCEL_REQUESTED ||
				  reason == ZS_CANCEL_DEADLINE ||
				  reason == ZS_CANCEL_RESOURCE ||
				  reason == ZS_CANCEL_ERROR;
		int error = reason == ZS_CANCEL_DEADLINE ? -ETIMEDOUT :
							   -ECANCELED;
		int ret;

		assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
		assert_ok(zs_cancel_token_open(&inner, ZS_NEVER));
		ret = zs_cancel_token_cancel_for(token,
						 (enum zs_cancel_reason)reason);
		ck_assert_int_eq(ret, is_allowed ? 0 : -EINVAL);
		ck_assert_int_eq(zs_cancel_token_reason(inner),
				 is_allowed ? reason : 0);
		ck_assert_int_eq(zs_cancel_reason(), is_allowed ? reason : 0);
		ck_assert_int_eq(zs_cancel_token_is_inherited(inner),
				 is_allowed);
		ck_assert_int_eq(zs_cancel_token_is_inherited(token), 0);
		ck_assert_int_eq(zs_yield(), is_allowed ? error : 0);
		zs_cancel_token_close(inner);
		ck_assert_int_eq(zs_cancel_token_close(token),
				 is_allowed ? error : 0);
		ck_assert_int_eq(zs_cancel_token_is_inherited(token), -ESTALE);
		ck_assert_int_eq(zs_cancel_token_cancel_for(token,
							    ZS_CANCEL_ERROR),
				 -ESTALE);
	}
	return 0;
}

START_TEST(the_reason_that_was_given_reaches_all_inside)
{
	assert_ok(run_task(cancel_for_each_reason, NULL));
}
END_TEST

static int open_in_cancelled(void *arg)
{
	struct zs_cancel_token inner;

	(void)arg;
	assert_ok(zs_cancel_token_open(&token, 1));
	ck_assert_int_eq(zs_cancel_token_is_inherited(token), 0);
	assert_ok(zs_cancel_token_open(&inner, ZS_NEVER));
	ck_assert_int_eq(zs_cancel_token_is_inherited(inner), 1);
	ck_assert_int_eq(zs_cancel_token_reason(inner), ZS_CANCEL_DEADLINE);
	ck_assert_int_eq(zs_sleep(1), -ETIMEDOUT);
	ck_assert_int_eq(zs_cancel_token_close(inner), -ETIMEDOUT);
	return zs_cancel_token_close(token);
}

START_TEST(scope_opened_in_a_cancelled_one_has_inherited)
{
	ck_assert_int_eq(run_task(open_in_cancelled, NULL), -ETIMEDOUT);
}
END_TEST

/* --- callbacks --- */

static struct zs_cancel_callback callbacks[4];
static int nr_calls;

static void on_cancel(struct zs_cancel_callback *callback, void *arg)
{
	ck_assert_ptr_eq(zs_self(), NULL);
	ck_assert_int_eq(zs_sleep(1), -EPERM);
	ck_assert_int_eq(callback->reason, ZS_CANCEL_RESOURCE);
	ck_assert_ptr_eq(arg, &nr_calls);
	ck_assert_int_eq(zs_cancel_callback_remove(callback), 0);
	nr_calls++;
}

static int add(int i)
{
	return zs_cancel_callback_add(&callbacks[i], token, on_cancel,
				      &nr_calls);
}

static int use_callbacks(void *arg)
{
	(void)arg;
	assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
	for (int i = 0; i < 3; i++)
		assert_ok(add(i));
	ck_assert_int_eq(add(0), -EBUSY);
	ck_assert_int_eq(zs_cancel_callback_remove(&callbacks[1]), 1);
	ck_assert_int_eq(zs_cancel_callback_remove(&callbacks[1]), 0);
	assert_ok(zs_cancel_token_cancel_for(token, ZS_CANCEL_RESOURCE));
	/* Never inside the task that cancels. */
	ck_assert_int_eq(nr_calls, 0);
	ck_assert_int_eq(zs_cancel_callback_remove(&callbacks[2]), 1);
	assert_ok(add(3)); /* though it is cancelled */
	while (nr_calls < 2)
		zs_yield();
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(zs_cancel_callback_remove(&callbacks[i]), 0);
	assert_ok(add(0));
	while (nr_calls < 3)
		zs_yield();
	return zs_cancel_token_close(token);
}

START_TEST(callback_is_called_once_unless_it_is_removed)
{
	ck_assert_int_eq(run_task(use_callbacks, NULL), -ECANCELED);
	ck_assert_int_eq(nr_calls, 3);
}
END_TEST

static int close_with_callbacks(void *arg)
{
	(void)arg;
	assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
	assert_ok(add(0));
	assert_ok(zs_cancel_token_close(token));
	ck_assert_int_eq(add(0), -ESTALE);
	ck_assert_int_eq(zs_cancel_callback_remove(&callbacks[0]), 0);
	/* One that was about to be called, too. */
	assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
	assert_ok(add(0));
	zs_cancel_token_cancel_for(token, ZS_CANCEL_RESOURCE);
	assert_ok(add(1));
	zs_cancel_token_close(token);
	memset(callbacks, 0xff, sizeof(callbacks));
	return zs_sleep(ZS_MILLISECOND);
}

START_TEST(close_takes_its_callbacks_away)
{
	assert_ok(run_task(close_with_callbacks, NULL));
	ck_assert_int_eq(nr_calls, 0);
}
END_TEST

static int add_elsewhere(void *arg)
{
	int *nr_refused = arg;
	struct zs_cancel_callback callback = { 0 };
	int ret = zs_cancel_callback_add(&callback, token, on_cancel, NULL);

	if (ret == 0)
		ck_assert_int_eq(zs_cancel_callback_remove(&callback), 1);
	else
		ck_assert_int_eq(ret, -EXDEV);
	__atomic_fetch_add(nr_refused, ret == -EXDEV, __ATOMIC_RELAXED);
	return 0;
}

static int misuse_callbacks(void *arg)
{
	struct zs_nursery nursery;
	int nr_refused = 0;

	(void)arg;
	ck_assert_int_eq(zs_cancel_callback_add(NULL, token, on_cancel, NULL),
			 -EINVAL);
	ck_assert_int_eq(zs_cancel_callback_add(&callbacks[0], token, NULL,
						NULL),
			 -EINVAL);
	ck_assert_int_eq(zs_cancel_callback_remove(NULL), -EINVAL);
	assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
	assert_ok(zs_nursery_open(&nursery, NULL));
	spawn_on_each(nursery, 2, add_elsewhere, &nr_refused);
	assert_ok(zs_nursery_wait(nursery));
	ck_assert_int_eq(nr_refused, 1);
	return zs_cancel_token_close(token);
}

START_TEST(callback_of_another_worker_is_refused)
{
	ck_assert_int_eq(add(0), -EPERM);
	ck_assert_int_eq(zs_cancel_callback_remove(&callbacks[0]), -EPERM);
	assert_ok(run_task_on(2, misuse_callbacks, NULL));
}
END_TEST

/* --- waits --- */

static int await_reason(void *arg)
{
	int *expected = arg;

	count(&arrived);
	ck_assert_int_eq(zs_cancel_token_wait(token), *expected);
	count(&ended);
	return 0;
}

static struct zs_nursery nursery;

static int wait_on_each(uint32_t workers, int expected, bool is_late)
{
	int at_first = expected;

	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
	if (is_late)
		zs_cancel_token_cancel_for(token, ZS_CANCEL_ERROR);
	for (int i = 0; i < 3; i++)
		assert_ok(zs_nursery_spawn(nursery, await_reason, &at_first));
	if (!is_late && workers > 1)
		spawn_on_each(nursery, workers, await_reason, &at_first);
	if (!is_late) {
		await_count(&arrived, workers > 1 ? 3 + workers : 3);
		if (expected > 0)
			assert_ok(zs_cancel_token_cancel_for(
				token, (enum zs_cancel_reason)expected));
	}
	if (expected > 0)
		await_count(&ended, 3);
	zs_cancel_token_close(token);
	ck_assert_int_eq(zs_cancel_token_wait(token), -ESTALE);
	return zs_nursery_wait(nursery);
}

static int wait_for_cancel(void *arg)
{
	return wait_on_each(*(uint32_t *)arg, ZS_CANCEL_ERROR, false);
}

static int wait_for_close(void *arg)
{
	return wait_on_each(*(uint32_t *)arg, -ESTALE, false);
}

static int wait_too_late(void *arg)
{
	return wait_on_each(*(uint32_t *)arg, ZS_CANCEL_ERROR, true);
}

static zs_task_fn *const waits[] = { wait_for_cancel, wait_for_close,
				     wait_too_late };

START_TEST(waiters_are_told_of_cancel_and_close)
{
	uint32_t workers = _i < 3 ? 1 : 3;

	assert_ok(run_task_on(workers, waits[_i % 3], &workers));
}
END_TEST

/* Its own scope's, too; whichever of the two wakes it first. */
static int wait_for_own(void *arg)
{
	struct zs_cancel_token inner;

	(void)arg;
	assert_ok(zs_cancel_token_open(&token, zs_now() + ZS_MILLISECOND));
	assert_ok(zs_cancel_token_open(&inner, ZS_NEVER));
	ck_assert_int_eq(zs_cancel_token_wait(token), ZS_CANCEL_DEADLINE);
	ck_assert_int_eq(zs_cancel_token_wait(inner), ZS_CANCEL_DEADLINE);
	zs_cancel_token_close(inner);
	return zs_cancel_token_close(token);
}

START_TEST(a_task_may_wait_for_its_own_token)
{
	ck_assert_int_eq(run_task(wait_for_own, NULL), -ETIMEDOUT);
}
END_TEST

static int wait_with_deadline(void *arg)
{
	struct zs_cancel_token limit;
	int ret;

	(void)arg;
	assert_ok(zs_cancel_token_open(&limit, zs_now() + ZS_MILLISECOND));
	ret = zs_cancel_token_wait(token);
	ck_assert_int_eq(zs_cancel_token_wait(token), -ETIMEDOUT);
	zs_cancel_token_close(limit);
	ck_assert_int_eq(ret, -ETIMEDOUT);
	count(&ended);
	return 0;
}

static int cut_waits(void *arg)
{
	uint32_t workers = *(uint32_t *)arg;

	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
	assert_ok(zs_nursery_spawn(nursery, wait_with_deadline, NULL));
	if (workers > 1)
		spawn_on_each(nursery, workers, wait_with_deadline, NULL);
	await_count(&ended, workers > 1 ? workers + 1 : 1);
	assert_ok(zs_cancel_token_close(token));
	return zs_nursery_wait(nursery);
}

START_TEST(wait_is_cut_by_the_waiters_deadline)
{
	uint32_t workers = _i ? 2 : 1;

	assert_ok(run_task_on(workers, cut_waits, &workers));
}
END_TEST

static void *wait_from_other_runtime(void *arg)
{
	ck_assert_int_eq(zs_cancel_token_wait(token), -EPERM);
	(void)arg;
	return NULL;
}

static int wait_there(void *arg)
{
	(void)arg;
	ck_assert_int_eq(zs_cancel_token_wait(token), -EXDEV);
	ck_assert_int_eq(zs_cancel_token_set_deadline(token, ZS_NEVER), -EXDEV);
	return 0;
}

static void *run_other_runtime(void *arg)
{
	assert_ok(run_task(wait_there, NULL));
	return arg;
}

static int let_others_wait(void *arg)
{
	(void)arg;
	assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
	run_in_thread(wait_from_other_runtime, NULL);
	run_in_thread(run_other_runtime, NULL);
	return zs_cancel_token_close(token);
}

START_TEST(other_runtimes_may_not_wait)
{
	assert_ok(run_task(let_others_wait, NULL));
}
END_TEST

/* --- the dump --- */

static int look_at_waiter(void *arg)
{
	char text[4096];
	FILE *file = tmpfile();
	size_t length;

	(void)arg;
	assert_ok(zs_dump(fileno(file)));
	rewind(file);
	length = fread(text, 1, sizeof(text) - 1, file);
	text[length] = '\0';
	fclose(file);
	ck_assert_msg(strstr(text, "waits for the cancel or close of a scope"),
		      "%s", text);
	return zs_cancel_token_cancel(token);
}

static int wait_and_be_seen(void *arg)
{
	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
	assert_ok(zs_nursery_spawn(nursery, look_at_waiter, NULL));
	ck_assert_int_eq(zs_cancel_token_wait(token), ZS_CANCEL_REQUESTED);
	zs_cancel_token_close(token);
	return zs_nursery_wait(nursery);
}

START_TEST(dump_says_who_waits_for_a_token)
{
	assert_ok(run_task(wait_and_be_seen, NULL));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("token");
	TCase *tcase = tcase_create("token");

	tcase_add_test(tcase, the_reason_that_was_given_reaches_all_inside);
	tcase_add_test(tcase, scope_opened_in_a_cancelled_one_has_inherited);
	tcase_add_test(tcase, callback_is_called_once_unless_it_is_removed);
	tcase_add_test(tcase, close_takes_its_callbacks_away);
	tcase_add_test(tcase, callback_of_another_worker_is_refused);
	tcase_add_loop_test(tcase, waiters_are_told_of_cancel_and_close, 0, 6);
	tcase_add_test(tcase, a_task_may_wait_for_its_own_token);
	tcase_add_loop_test(tcase, wait_is_cut_by_the_waiters_deadline, 0, 2);
	tcase_add_test(tcase, other_runtimes_may_not_wait);
	tcase_add_test(tcase, dump_says_who_waits_for_a_token);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
