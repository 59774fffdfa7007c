/* SPDX-License-Identifier: MIT */
/*
 * Join sets: results in the order in which tasks end, none lost and none twice,
 * of tasks on any worker; handles of single tasks; races.
 */
#include "workers.h"

static struct zs_join_set set;
static struct zs_nursery nursery;
static struct counter arrived, ended;

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

/* When so many have ended; one of them, and returns its place. */
static int end_in_turn(void *arg)
{
	int place = *(int *)arg;

	await_count(&ended, (uint32_t)place);
	count(&ended);
	return place;
}

/* --- join sets --- */

static int misuse(void *arg)
{
	struct zs_nursery_options options = { .flags = 2 };
	struct zs_spawn_options spawn = { .size = 1 };
	struct zs_join_set zero = { 0 };
	char large[ZS_SPAWN_COPY_MAX + 1];

	(void)arg;
	ck_assert_int_eq(zs_join_set_open(NULL, NULL), -EINVAL);
	ck_assert_int_eq(zs_join_set_open(&set, &options), -EINVAL);
	ck_assert_int_eq(zs_join_set_next(zero, NULL, NULL), -ESTALE);
	ck_assert_int_eq(zs_join_set_spawn(zero, return_it, NULL), -ESTALE);
	assert_ok(zs_join_set_open(&set, NULL));
	ck_assert_int_eq(zs_join_set_spawn(set, NULL, NULL), -EINVAL);
	ck_assert_int_eq(zs_join_set_spawn_copy(set, return_it, large,
						sizeof(large)),
			 -E2BIG);
	ck_assert_int_eq(zs_join_set_spawn_with(set, &spawn, return_it, NULL),
			 -EINVAL);
	ck_assert_int_eq(zs_join_set_cancel_one(set, 0), -EINVAL);
	ck_assert_int_eq(zs_join_set_next(set, NULL, NULL), -ENOENT);
	ck_assert_int_eq(zs_join_set_try_next(set, NULL, NULL), -ENOENT);
	assert_ok(zs_join_set_all(set, NULL, 0));
	assert_ok(zs_join_set_close(set));
	ck_assert_int_eq(zs_join_set_close(set), -ESTALE);
	ck_assert_int_eq(zs_join_set_cancel(set), -ESTALE);
	ck_assert_int_eq(zs_join_set_cancel_one(set, 0), -ESTALE);
	ck_assert_int_eq(zs_join_set_spawn(set, return_it, NULL), -ESTALE);
	ck_assert_int_eq(zs_join_set_next(set, NULL, NULL), -ESTALE);
	ck_assert_int_eq(zs_join_set_all(set, NULL, 0), -ESTALE);
	return 0;
}

START_TEST(misuse_is_refused)
{
	ck_assert_int_eq(zs_join_set_open(&set, NULL), -EPERM);
	ck_assert_int_eq(zs_join_set_close(set), -EPERM);
	ck_assert_int_eq(zs_join_set_next(set, NULL, NULL), -EPERM);
	assert_ok(run_task(misuse, NULL));
}
END_TEST

static int take_from_anothers(void *arg)
{
	(void)arg;
	ck_assert_int_eq(zs_join_set_next(set, NULL, NULL), -EPERM);
	ck_assert_int_eq(zs_join_set_all(set, NULL, 0), -EPERM);
	ck_assert_int_eq(zs_join_set_close(set), -EPERM);
	return 0;
}

static int let_others_take(void *arg)
{
	(void)arg;
	assert_ok(zs_join_set_open(&set, NULL));
	ck_assert_int_eq(zs_join_set_spawn(set, take_from_anothers, NULL), 0);
	assert_ok(zs_join_set_all(set, NULL, 0));
	return zs_join_set_close(set);
}

START_TEST(only_the_opener_takes)
{
	assert_ok(run_task(let_others_take, NULL));
}
END_TEST

/* The later in the set, the sooner. */
static int end_in_order(void *arg)
{
	static int places[] = { 3, 2, 1, 0 };
	struct zs_nursery_options options = { .flags = ZS_NURSERY_PINNED };
	int result = -1;
	uint32_t index;

	assert_ok(zs_join_set_open(&set, *(int *)arg ? &options : NULL));
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(
			zs_join_set_spawn(set, end_in_turn, &places[i]), i);
	ck_assert_int_eq(zs_join_set_try_next(set, NULL, NULL), -EAGAIN);
	for (int i = 3; i >= 0; i--) {
		assert_ok(zs_join_set_next(set, &index, &result));
		ck_assert_uint_eq(index, (uint32_t)i);
		ck_assert_int_eq(result, places[i]);
	}
	ck_assert_int_eq(zs_join_set_next(set, &index, &result), -ENOENT);
	return zs_join_set_close(set);
}

START_TEST(results_come_as_tasks_end)
{
	assert_ok(run_task(end_in_order, &_i));
}
END_TEST

struct copied {
	int values[ZS_SPAWN_COPY_MAX / sizeof(int)];
};

static int sum(void *arg)
{
	struct copied *copied = arg;
	int total = 0;

	for (size_t i = 0; i < sizeof(copied->values) / sizeof(int); i++)
		total += copied->values[i];
	return total;
}

static int name_of_self(void *arg)
{
	return strcmp(zs_task_name(zs_self()), arg) == 0;
}

static int spawn_in_each_way(void *arg)
{
	struct zs_spawn_options options = {
		.size = sizeof(options),
		.name = "eve",
		.stack_size = (size_t)512 << 10,
		.copy_size = 4,
	};
	struct copied copied;
	int results[3] = { 0, 0, -7 };

	(void)arg;
	assert_ok(zs_join_set_open(&set, NULL));
	for (size_t i = 0; i < sizeof(copied.values) / sizeof(int); i++)
		copied.values[i] = 2;
	ck_assert_int_eq(
		zs_join_set_spawn_copy(set, sum, &copied, sizeof(copied)), 0);
	memset(&copied, 0, sizeof(copied));
	ck_assert_int_eq(zs_join_set_spawn_with(set, &options, name_of_self,
						(void *)"eve"),
			 1);
	assert_ok(zs_join_set_all(set, results, 3));
	ck_assert_int_eq(results[0], 32);
	ck_assert_int_eq(results[1], 1);
	ck_assert_int_eq(results[2], -7);
	return zs_join_set_close(set);
}

START_TEST(tasks_are_spawned_in_each_way)
{
	assert_ok(run_task(spawn_in_each_way, NULL));
}
END_TEST

static int fail_one(void *arg)
{
	static int values[] = { 1, -EXDEV, 3, -EIO };
	int results[4];

	(void)arg;
	assert_ok(zs_join_set_open(&set, NULL));
	for (int i = 0; i < 4; i++)
		zs_join_set_spawn(set, return_it, &values[i]);
	ck_assert_int_eq(zs_join_set_all(set, results, 4), -EXDEV);
	ck_assert_int_eq(memcmp(results, values, sizeof(values)), 0);
	/* It goes on. */
	assert_ok(zs_yield());
	ck_assert_int_eq(zs_join_set_spawn(set, return_it, &values[0]), 4);
	assert_ok(zs_join_set_next(set, NULL, results));
	ck_assert_int_eq(results[0], 1);
	return zs_join_set_close(set);
}

START_TEST(an_error_cancels_nobody)
{
	assert_ok(run_task(fail_one, NULL));
}
END_TEST

static int close_early(void *arg)
{
	(void)arg;
	assert_ok(zs_join_set_open(&set, NULL));
	for (int i = 0; i < 3; i++)
		zs_join_set_spawn(set, sleep_for_ever, NULL);
	zs_join_set_spawn(set, sleep_for, &(int){ 0 });
	assert_ok(zs_yield());
	assert_ok(zs_join_set_close(set));
	ck_assert_uint_eq(counted(&arrived), 3);
	return zs_yield();
}

START_TEST(close_cancels_and_joins_the_rest)
{
	assert_ok(run_task(close_early, NULL));
}
END_TEST

static int cancel_in_each_way(void *arg)
{
	struct zs_nursery_options options = { .deadline_ns = zs_now() +
							     ZS_MILLISECOND };
	int way = *(int *)arg, results[2] = { 0, 0 };
	int error = way == 1 ? -ETIMEDOUT : -ECANCELED;
	struct zs_cancel_token token;

	assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
	assert_ok(zs_join_set_open(&set, way == 1 ? &options : NULL));
	for (int i = 0; i < 2; i++)
		zs_join_set_spawn(set, sleep_for_ever, NULL);
	if (way == 0)
		assert_ok(zs_join_set_cancel(set));
	if (way == 2)
		assert_ok(zs_cancel_token_cancel(token));
	ck_assert_int_eq(zs_join_set_next(set, NULL, NULL), error);
	ck_assert_int_eq(zs_join_set_spawn(set, return_it, NULL), -ECANCELED);
	/* Not cut short. */
	ck_assert_int_eq(zs_join_set_all(set, results, 2), error);
	ck_assert_int_eq(results[0], error);
	ck_assert_int_eq(results[1], error);
	ck_assert_int_eq(zs_join_set_next(set, NULL, NULL), -ENOENT);
	ck_assert_int_eq(zs_join_set_close(set), error);
	zs_cancel_token_close(token);
	return 0;
}

START_TEST(a_cancelled_set_is_told_and_collected)
{
	assert_ok(run_task(cancel_in_each_way, &_i));
}
END_TEST

/* The wait alone is cut, by a scope inside. */
static int cut_next(void *arg)
{
	struct zs_cancel_token token;
	int result = 0;

	(void)arg;
	assert_ok(zs_join_set_open(&set, NULL));
	zs_join_set_spawn(set, end_in_turn, &(int){ 1 });
	assert_ok(zs_cancel_token_open(&token, zs_now() + ZS_MILLISECOND));
	ck_assert_int_eq(zs_join_set_next(set, NULL, NULL), -ETIMEDOUT);
	ck_assert_int_eq(zs_join_set_close(set), -EBUSY);
	zs_cancel_token_close(token);
	count(&ended);
	assert_ok(zs_join_set_next(set, NULL, &result));
	ck_assert_int_eq(result, 1);
	return zs_join_set_close(set);
}

START_TEST(next_is_cut_by_a_deadline)
{
	assert_ok(run_task(cut_next, NULL));
}
END_TEST

static int cancel_single(void *arg)
{
	struct zs_nursery_options options = { .flags = ZS_JOIN_SET_SEPARATE };
	int results[3], result;
	uint32_t index;

	(void)arg;
	assert_ok(zs_join_set_open(&set, &options));
	zs_join_set_spawn(set, sleep_for_ever, NULL);
	assert_ok(zs_sleep(1));
	zs_join_set_spawn(set, sleep_for_ever, NULL);
	zs_join_set_spawn(set, end_in_turn, &(int){ 1 });
	/* One that has not started, one that has, one that is not there. */
	assert_ok(zs_join_set_cancel_one(set, 1));
	assert_ok(zs_join_set_next(set, &index, &result));
	ck_assert_uint_eq(index, 1);
	ck_assert_int_eq(result, -ECANCELED);
	count(&ended);
	assert_ok(zs_join_set_next(set, &index, &result));
	ck_assert_uint_eq(index, 2);
	ck_assert_int_eq(result, 1);
	assert_ok(zs_join_set_cancel_one(set, 1));
	ck_assert_int_eq(zs_join_set_cancel_one(set, 3), -ENOENT);
	assert_ok(zs_join_set_cancel_one(set, 0));
	ck_assert_int_eq(zs_join_set_all(set, results, 3), -ECANCELED);
	ck_assert_int_eq(results[0], -ECANCELED);
	assert_ok(zs_yield());
	return zs_join_set_close(set);
}

START_TEST(one_task_is_cancelled_alone)
{
	assert_ok(run_task_on(_i ? 2 : 1, cancel_single, NULL));
}
END_TEST

static int leave_open(void *arg)
{
	assert_ok(zs_join_set_open(&set, arg));
	for (int i = 0; i < 3; i++)
		zs_join_set_spawn(set, sleep_for_ever, NULL);
	return zs_join_set_next(set, NULL, NULL) == 0;
}

static int fail_to_close(void *arg)
{
	struct zs_nursery_options options = { .deadline_ns = zs_now() +
							     ZS_MILLISECOND };

	(void)arg;
	return leave_open(&options);
}

START_TEST(set_left_open_is_closed_and_reported)
{
	struct capture capture;

	begin_capture(&capture);
	assert_ok(run_task(fail_to_close, NULL));
	end_capture(&capture);
	ck_assert_msg(strstr(capture.text, "a join set open"), "%s",
		      capture.text);
	ck_assert_uint_eq(counted(&arrived), 3);
}
END_TEST

/* A task that has left scopes open ends only when they are closed. */
static int outlive(void *arg)
{
	assert_ok(zs_sleep(ZS_MILLISECOND));
	count(&ended);
	(void)arg;
	return 0;
}

static int outlive_shielded(void *arg)
{
	struct zs_shield shield;

	assert_ok(zs_shield_open(&shield, ZS_SECOND));
	outlive(arg);
	return zs_shield_close(shield);
}

static int leave_child(void *arg)
{
	assert_ok(zs_nursery_open(&nursery, NULL));
	return zs_nursery_spawn(nursery, outlive_shielded, arg);
}

static int join_leaver(void *arg)
{
	(void)arg;
	assert_ok(zs_join_set_open(&set, NULL));
	zs_join_set_spawn(set, leave_child, NULL);
	assert_ok(zs_join_set_next(set, NULL, NULL));
	ck_assert_uint_eq(counted(&ended), 1);
	return zs_join_set_close(set);
}

START_TEST(a_result_comes_after_all_that_the_task_left_open)
{
	struct capture capture;

	begin_capture(&capture);
	assert_ok(run_task(join_leaver, NULL));
	end_capture(&capture);
}
END_TEST

enum { MANY = 2000 };

static int return_index(void *arg)
{
	int index = (int)(intptr_t)arg;

	if (index % 7 == 0)
		zs_yield();
	return index;
}

static void *spawn_from_outside(void *arg)
{
	for (int i = 0; i < MANY; i++)
		ck_assert_int_ge(zs_join_set_spawn(set, return_index,
						   (void *)(intptr_t)i),
				 0);
	return arg;
}

/* By a thread and by the opener at once, so that indexes are mixed. */
static int take_many(void *arg)
{
	static int seen[MANY], indexes[2 * MANY];
	uint32_t index;
	int taken = 0, result;
	pthread_t thread;

	(void)arg;
	assert_ok(zs_join_set_open(&set, NULL));
	thread = start_thread(spawn_from_outside, NULL);
	for (int i = 0; i < MANY; i++)
		ck_assert_int_ge(zs_join_set_spawn(set, return_index,
						   (void *)(intptr_t)i),
				 0);
	while (taken < 2 * MANY) {
		int ret = zs_join_set_next(set, &index, &result);

		if (ret == -ENOENT) {
			zs_yield();
			continue;
		}
		assert_ok(ret);
		taken++;
		seen[result]++;
		ck_assert_int_eq(indexes[index]++, 0);
	}
	pthread_join(thread, NULL);
	for (int i = 0; i < MANY; i++)
		ck_assert_int_eq(seen[i], 2);
	return zs_join_set_close(set);
}

START_TEST(every_result_is_taken_once)
{
	assert_ok(run_task_on(_i ? 3 : 1, take_many, NULL));
}
END_TEST

static int look(void *arg)
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
	ck_assert_msg(strstr(text, "waits for the next of 2 tasks"), "%s",
		      text);
	return 0;
}

static int be_seen(void *arg)
{
	(void)arg;
	assert_ok(zs_join_set_open(&set, NULL));
	zs_join_set_spawn(set, sleep_for_ever, NULL);
	zs_join_set_spawn(set, look, NULL);
	assert_ok(zs_join_set_next(set, NULL, NULL));
	return zs_join_set_close(set);
}

START_TEST(dump_says_how_many_are_waited_for)
{
	assert_ok(run_task(be_seen, NULL));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("join_set");
	TCase *tcase = tcase_create("join_set");

	tcase_add_test(tcase, misuse_is_refused);
	tcase_add_test(tcase, only_the_opener_takes);
	tcase_add_loop_test(tcase, results_come_as_tasks_end, 0, 2);
	tcase_add_test(tcase, tasks_are_spawned_in_each_way);
	tcase_add_test(tcase, an_error_cancels_nobody);
	tcase_add_test(tcase, close_cancels_and_joins_the_rest);
	tcase_add_loop_test(tcase, a_cancelled_set_is_told_and_collected, 0, 3);
	tcase_add_test(tcase, next_is_cut_by_a_deadline);
	tcase_add_loop_test(tcase, one_task_is_cancelled_alone, 0, 2);
	tcase_add_test(tcase, set_left_open_is_closed_and_reported);
	tcase_add_test(tcase, a_result_comes_after_all_that_the_task_left_open);
	tcase_add_loop_test(tcase, every_result_is_taken_once, 0, 2);
	tcase_add_test(tcase, dump_says_how_many_are_waited_for);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
