/* SPDX-License-Identifier: MIT */
/* Tasks that are waited for by their handles, and functions that race. */
#include "workers.h"

static struct zs_nursery nursery;
static struct zs_task_handle handle;
static struct counter arrived, ended;
static int nothing, one_ms = 1, twenty_ms = 20;

static int return_it(void *arg)
{
	return *(int *)arg;
}

static int sleep_for_ever(void *arg)
{
	count(&arrived);
	(void)arg;
	return zs_sleep(ZS_NEVER);
}

/* A number of milliseconds; returns it. */
static int sleep_for(void *arg)
{
	int duration = *(int *)arg;
	int ret = zs_sleep(duration * ZS_MILLISECOND);

	return ret < 0 ? ret : duration;
}

/* --- handles --- */

static int join_itself(void *arg)
{
	(void)arg;
	ck_assert_int_eq(zs_task_join(handle, NULL), -EDEADLK);
	return 5;
}

static int use_handles(void *arg)
{
	struct zs_spawn_options options = { .size = sizeof(options),
					    .copy_size = sizeof(int) };
	struct zs_task_handle zero = { 0 };
	int seven = 7, result = 0;

	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	ck_assert_int_eq(zs_nursery_spawn_handle(nursery, NULL, NULL, return_it,
						 &seven),
			 -EINVAL);
	ck_assert_int_eq(zs_nursery_spawn_handle(nursery, &handle, NULL, NULL,
						 NULL),
			 -EINVAL);
	ck_assert_int_eq(zs_task_join(zero, NULL), -ESTALE);
	assert_ok(zs_nursery_spawn_handle(nursery, &handle, &options, return_it,
					  &seven));
	seven = 0;
	assert_ok(zs_task_join(handle, &result));
	ck_assert_int_eq(result, 7);
	ck_assert_int_eq(zs_task_join(handle, &result), -ESTALE);
	/* One that has ended before it is asked for. */
	assert_ok(zs_nursery_spawn_handle(nursery, &handle, NULL, sleep_for,
					  &one_ms));
	assert_ok(zs_sleep(3 * ZS_MILLISECOND));
	assert_ok(zs_task_join(handle, &result));
	ck_assert_int_eq(result, 1);
	assert_ok(zs_nursery_spawn_handle(nursery, &handle, NULL, join_itself,
					  NULL));
	assert_ok(zs_task_join(handle, &result));
	ck_assert_int_eq(result, 5);
	/* One that nobody asks for. */
	assert_ok(zs_nursery_spawn_handle(nursery, &handle, NULL, return_it,
					  &seven));
	assert_ok(zs_nursery_wait(nursery));
	ck_assert_int_eq(zs_task_join(handle, &result), -ESTALE);
	ck_assert_int_eq(zs_nursery_spawn_handle(nursery, &handle, NULL,
						 return_it, &seven),
			 -ESTALE);
	return 0;
}

START_TEST(handle_tells_the_result_once)
{
	ck_assert_int_eq(zs_task_join(handle, NULL), -EPERM);
	assert_ok(run_task_on(_i ? 2 : 1, use_handles, NULL));
}
END_TEST

static int wait_for_it(void *arg)
{
	int result = 0;

	(void)arg;
	count(&arrived);
	assert_ok(zs_task_join(handle, &result));
	ck_assert_int_eq(result, 20);
	count(&ended);
	return 0;
}

static int join_by_many(void *arg)
{
	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn_handle(nursery, &handle, NULL, sleep_for,
					  &twenty_ms));
	for (int i = 0; i < 3; i++)
		assert_ok(zs_nursery_spawn(nursery, wait_for_it, NULL));
	assert_ok(zs_nursery_wait(nursery));
	ck_assert_uint_eq(counted(&ended), 3);
	return 0;
}

START_TEST(all_who_wait_are_told)
{
	assert_ok(run_task_on(_i ? 3 : 1, join_by_many, NULL));
}
END_TEST

static int cut_join(void *arg)
{
	struct zs_cancel_token token;

	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn_handle(nursery, &handle, NULL,
					  sleep_for_ever, NULL));
	assert_ok(zs_cancel_token_open(&token, zs_now() + ZS_MILLISECOND));
	ck_assert_int_eq(zs_task_join(handle, NULL), -ETIMEDOUT);
	ck_assert_int_eq(zs_task_join(handle, NULL), -ETIMEDOUT);
	zs_cancel_token_close(token);
	zs_nursery_cancel(nursery);
	return zs_nursery_wait(nursery);
}

START_TEST(join_is_cut_by_a_deadline)
{
	ck_assert_int_eq(run_task_on(_i ? 2 : 1, cut_join, NULL), -ECANCELED);
}
END_TEST

static int fail_with_handle(void *arg)
{
	int failure = -EXDEV;

	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn(nursery, sleep_for_ever, NULL));
	assert_ok(zs_nursery_spawn_handle(nursery, &handle, NULL, return_it,
					  &failure));
	return zs_nursery_wait(nursery);
}

START_TEST(failure_is_the_nurserys_too)
{
	ck_assert_int_eq(run_task(fail_with_handle, NULL), -EXDEV);
}
END_TEST

static int join_there(void *arg)
{
	(void)arg;
	ck_assert_int_eq(zs_task_join(handle, NULL), -EXDEV);
	return 0;
}

static void *run_there(void *arg)
{
	assert_ok(run_task(join_there, NULL));
	return arg;
}

static int join_from_elsewhere(void *arg)
{
	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn_handle(nursery, &handle, NULL, return_it,
					  &nothing));
	run_in_thread(run_there, NULL);
	return zs_nursery_wait(nursery);
}

START_TEST(other_runtimes_may_not_join)
{
	assert_ok(run_task(join_from_elsewhere, NULL));
}
END_TEST

/* --- races --- */

static int race(void *arg)
{
	zs_task_fn *fns[] = { sleep_for_ever, sleep_for, sleep_for_ever };
	int one = 1;
	void *args[] = { NULL, &one, NULL };
	size_t winner = 9;

	(void)arg;
	ck_assert_int_eq(zs_race(fns, args, 3, &winner), 1);
	ck_assert_uint_eq(winner, 1);
	ck_assert_uint_eq(counted(&arrived), 2);
	ck_assert_int_eq(zs_race(fns, args, 0, &winner), -EINVAL);
	ck_assert_uint_eq(winner, 0);
	ck_assert_int_eq(zs_race(NULL, args, 2, &winner), -EINVAL);
	fns[1] = NULL;
	ck_assert_int_eq(zs_race(fns, args, 2, NULL), -EINVAL);
	/* A failure wins, too. */
	fns[0] = return_it;
	one = -EIO;
	args[0] = &one;
	ck_assert_int_eq(zs_race(fns, args, 1, &winner), -EIO);
	ck_assert_uint_eq(winner, 0);
	return zs_yield();
}

START_TEST(first_to_end_wins_a_race)
{
	ck_assert_int_eq(zs_race(NULL, NULL, 0, NULL), -EPERM);
	assert_ok(run_task_on(_i ? 2 : 1, race, NULL));
}
END_TEST

static int find_any(void *arg)
{
	zs_task_fn *fns[] = { return_it, return_it, sleep_for, sleep_for_ever };
	int values[] = { -EIO, -EXDEV, 1 };
	void *args[] = { &values[0], &values[1], &values[2], NULL };
	size_t winner = 9;

	(void)arg;
	ck_assert_int_eq(zs_any(fns, args, 4, &winner), 1);
	ck_assert_uint_eq(winner, 2);
	ck_assert_int_eq(zs_any(fns, args, 1, &winner), -EIO);
	ck_assert_int_eq(zs_any(fns, args, 2, &winner), values[winner]);
	return zs_yield();
}

START_TEST(first_success_is_any)
{
	assert_ok(run_task_on(_i ? 2 : 1, find_any, NULL));
}
END_TEST

static int do_all(void *arg)
{
	zs_task_fn *fns[] = { return_it, sleep_for, sleep_for_ever };
	int values[] = { 5, 1 };
	void *args[] = { &values[0], &values[1], NULL };
	int results[3] = { 0 };

	(void)arg;
	assert_ok(zs_all(fns, args, 2, results));
	ck_assert_int_eq(results[0], 5);
	ck_assert_int_eq(results[1], 1);
	values[0] = -EIO;
	ck_assert_int_eq(zs_all(fns, args, 3, results), -EIO);
	ck_assert_int_eq(results[0], -EIO);
	ck_assert_int_eq(results[1], -ECANCELED);
	ck_assert_int_eq(results[2], -ECANCELED);
	ck_assert_int_eq(zs_all(fns, args, 1, NULL), -EIO);
	return zs_yield();
}

START_TEST(all_must_succeed)
{
	assert_ok(run_task(do_all, NULL));
}
END_TEST

static int race_cancelled(void *arg)
{
	zs_task_fn *fns[] = { sleep_for_ever, sleep_for_ever };
	size_t winner = 9;

	(void)arg;
	ck_assert_int_eq(zs_race(fns, NULL, 2, &winner), -ETIMEDOUT);
	ck_assert_uint_eq(winner, 2);
	ck_assert_int_eq(zs_any(fns, NULL, 2, &winner), -ECANCELED);
	ck_assert_int_eq(zs_all(fns, NULL, 2, NULL), -ECANCELED);
	return -EIO;
}

static int cancel_race(void *arg)
{
	return zs_timeout(ZS_MILLISECOND, race_cancelled, arg);
}

/* In a cancelled scope nothing is spawned. */
START_TEST(cancel_ends_races)
{
	ck_assert_int_eq(run_task(cancel_race, NULL), -ETIMEDOUT);
}
END_TEST

static struct zs_config few_tasks(void)
{
	struct zs_config config = test_config();

	config.max_green_threads = 3;
	return config;
}

static int race_too_many(void *arg)
{
	zs_task_fn *fns[] = { sleep_for_ever, sleep_for_ever, sleep_for_ever,
			      sleep_for_ever };

	(void)arg;
	ck_assert_int_eq(zs_race(fns, NULL, 4, NULL), -EAGAIN);
	return zs_yield();
}

START_TEST(what_cannot_be_spawned_ends_the_race)
{
	struct zs_config config = few_tasks();

	assert_ok(run_task_with(&config, race_too_many, NULL));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("join");
	TCase *tcase = tcase_create("join");

	tcase_add_loop_test(tcase, handle_tells_the_result_once, 0, 2);
	tcase_add_loop_test(tcase, all_who_wait_are_told, 0, 2);
	tcase_add_loop_test(tcase, join_is_cut_by_a_deadline, 0, 2);
	tcase_add_test(tcase, failure_is_the_nurserys_too);
	tcase_add_test(tcase, other_runtimes_may_not_join);
	tcase_add_loop_test(tcase, first_to_end_wins_a_race, 0, 2);
	tcase_add_loop_test(tcase, first_success_is_any, 0, 2);
	tcase_add_test(tcase, all_must_succeed);
	tcase_add_test(tcase, cancel_ends_races);
	tcase_add_test(tcase, what_cannot_be_spawned_ends_the_race);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
