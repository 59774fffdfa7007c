/* SPDX-License-Identifier: MIT */
/*
 * Shields: what is cancelled around one is not felt inside, by tasks of any
 * worker, until it is closed or has lasted as long as it may.
 */
#include "workers.h"

static struct zs_cancel_token token;
static struct zs_shield shield;
static struct zs_nursery nursery;
static struct counter arrived, ended;

enum { LONG_NS = 1000000000 };

/* --- one task --- */

static int misuse(void *arg)
{
	struct zs_cancel_token inner;

	(void)arg;
	ck_assert_int_eq(zs_shield_open(NULL, 1), -EINVAL);
	ck_assert_int_eq(zs_shield_open(&shield, 0), -EINVAL);
	ck_assert_int_eq(zs_shield_open(&shield, -1), -EINVAL);
	ck_assert_int_eq(zs_shield_open(&shield, ZS_NEVER), -EINVAL);
	assert_ok(zs_shield_open(&shield, LONG_NS));
	assert_ok(zs_cancel_token_open(&inner, ZS_NEVER));
	ck_assert_int_eq(zs_shield_close(shield), -EBUSY);
	assert_ok(zs_cancel_token_close(inner));
	assert_ok(zs_shield_close(shield));
	ck_assert_int_eq(zs_shield_close(shield), -ESTALE);
	return 0;
}

START_TEST(misuse_is_refused)
{
	ck_assert_int_eq(zs_shield_open(&shield, 1), -EPERM);
	ck_assert_int_eq(zs_shield_close(shield), -EPERM);
	assert_ok(run_task(misuse, NULL));
}
END_TEST

static int work_inside(void *arg)
{
	enum zs_cancel_reason reason = *(enum zs_cancel_reason *)arg;
	int error = reason == ZS_CANCEL_DEADLINE ? -ETIMEDOUT : -ECANCELED;
	struct zs_cancel_token inner;

	assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
	assert_ok(zs_shield_open(&shield, LONG_NS));
	assert_ok(zs_cancel_token_open(&inner, ZS_NEVER));
	assert_ok(zs_cancel_token_cancel_for(token, reason));
	ck_assert_int_eq(zs_cancel_token_reason(token), (int)reason);
	assert_ok(zs_yield());
	assert_ok(zs_sleep(1));
	ck_assert_int_eq(zs_cancel_reason(), ZS_CANCEL_NONE);
	ck_assert_int_eq(zs_cancel_token_reason(inner), ZS_CANCEL_NONE);
	/* Its own token works. */
	assert_ok(zs_cancel_token_cancel(inner));
	ck_assert_int_eq(zs_sleep(1), -ECANCELED);
	ck_assert_int_eq(zs_cancel_token_close(inner), -ECANCELED);
	assert_ok(zs_sleep(1));
	ck_assert_int_eq(zs_shield_close(shield), error);
	ck_assert_int_eq(zs_sleep(1), error);
	/* One more, of a task that is cancelled already. */
	assert_ok(zs_shield_open(&shield, LONG_NS));
	assert_ok(zs_sleep(1));
	ck_assert_int_eq(zs_shield_close(shield), error);
	ck_assert_int_eq(zs_cancel_token_close(token), error);
	return zs_yield();
}

START_TEST(cancel_is_felt_after_the_close)
{
	static const enum zs_cancel_reason reasons[] = { ZS_CANCEL_DEADLINE,
							 ZS_CANCEL_ERROR };

	assert_ok(run_task(work_inside, (void *)&reasons[_i]));
}
END_TEST

static int outlast(void *arg)
{
	int64_t max_ns = 2 * ZS_MILLISECOND, end_ns;
	bool is_first = *(int *)arg == 0;
	struct zs_cancel_token inner;

	assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
	if (is_first)
		zs_cancel_token_cancel_for(token, ZS_CANCEL_RESOURCE);
	else
		zs_cancel_token_set_deadline(token, zs_now() + max_ns / 2);
	end_ns = zs_now() + max_ns;
	assert_ok(zs_shield_open(&shield, max_ns));
	assert_ok(zs_cancel_token_open(&inner, ZS_NEVER));
	ck_assert_int_eq(zs_sleep(ZS_NEVER),
			 is_first ? -ECANCELED : -ETIMEDOUT);
	ck_assert_int_ge(zs_now(), end_ns);
	ck_assert_int_eq(zs_cancel_token_reason(inner),
			 is_first ? ZS_CANCEL_RESOURCE : ZS_CANCEL_DEADLINE);
	ck_assert_int_eq(zs_cancel_token_is_inherited(inner), 1);
	zs_cancel_token_close(inner);
	zs_shield_close(shield);
	zs_cancel_token_close(token);
	return zs_yield();
}

START_TEST(cancel_is_felt_when_the_time_is_over)
{
	assert_ok(run_task(outlast, &_i));
}
END_TEST

/* Held back by nothing, a later cancel passes at once. */
static int cancel_after_its_time(void *arg)
{
	(void)arg;
	assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
	assert_ok(zs_shield_open(&shield, 1));
	assert_ok(zs_sleep(2 * ZS_MILLISECOND));
	ck_assert(zs_deadline() == ZS_NEVER);
	assert_ok(zs_cancel_token_cancel(token));
	ck_assert_int_eq(zs_sleep(1), -ECANCELED);
	zs_shield_close(shield);
	zs_cancel_token_close(token);
	return zs_yield();
}

START_TEST(shield_that_has_had_its_time_is_none)
{
	assert_ok(run_task(cancel_after_its_time, NULL));
}
END_TEST

static int nest(void *arg)
{
	struct zs_cancel_token middle;
	struct zs_shield inner;

	(void)arg;
	assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
	assert_ok(zs_shield_open(&shield, 1));
	assert_ok(zs_cancel_token_open(&middle, ZS_NEVER));
	assert_ok(zs_shield_open(&inner, LONG_NS));
	assert_ok(zs_cancel_token_cancel(token));
	/* The outer one ends meanwhile. */
	assert_ok(zs_sleep(3 * ZS_MILLISECOND));
	ck_assert_int_eq(zs_cancel_token_reason(middle), ZS_CANCEL_REQUESTED);
	ck_assert_int_eq(zs_shield_close(inner), -ECANCELED);
	zs_cancel_token_close(middle);
	zs_shield_close(shield);
	zs_cancel_token_close(token);
	return zs_yield();
}

START_TEST(inner_shield_outlasts_the_outer_one)
{
	assert_ok(run_task(nest, NULL));
}
END_TEST

static int look_at_deadlines(void *arg)
{
	int64_t now_ns = zs_now(), until_ns;

	(void)arg;
	assert_ok(zs_cancel_token_open(&token, now_ns + 1000));
	assert_ok(zs_shield_open(&shield, LONG_NS));
	until_ns = zs_now() + LONG_NS;
	/* Not before the shield's end. */
	ck_assert_int_gt(zs_deadline(), now_ns + LONG_NS - 1);
	ck_assert_int_le(zs_deadline(), until_ns);
	zs_cancel_token_set_deadline(token, until_ns + LONG_NS);
	if (zs_cancel_token_reason(token) == ZS_CANCEL_NONE)
		ck_assert_int_eq(zs_deadline(), until_ns + LONG_NS);
	zs_shield_close(shield);
	zs_cancel_token_close(token);
	return 0;
}

START_TEST(nearest_deadline_knows_of_shields)
{
	assert_ok(run_task(look_at_deadlines, NULL));
}
END_TEST

static int leave_it_open(void *arg)
{
	(void)arg;
	return zs_shield_open(&shield, LONG_NS);
}

START_TEST(shield_left_open_is_reported)
{
	struct capture capture;

	begin_capture(&capture);
	assert_ok(run_task(leave_it_open, NULL));
	end_capture(&capture);
	ck_assert_msg(strstr(capture.text, "a shield open"), "%s",
		      capture.text);
}
END_TEST

/* --- several --- */

static int sleep_shielded(void *arg)
{
	(void)arg;
	count(&arrived);
	while (zs_cancel_token_reason(token) == ZS_CANCEL_NONE)
		assert_ok(zs_sleep(ZS_MILLISECOND));
	assert_ok(zs_sleep(ZS_MILLISECOND));
	ck_assert_int_eq(zs_cancel_reason(), ZS_CANCEL_NONE);
	count(&ended);
	return 0;
}

static int cancel_outside(void *arg)
{
	await_count(&arrived, *(uint32_t *)arg);
	return zs_cancel_token_cancel(token);
}

/* The one who cancels is outside the shield's nursery. */
static int shield_children(void *arg)
{
	uint32_t workers = *(uint32_t *)arg, number = workers > 1 ? workers : 3;
	struct zs_nursery outside;

	assert_ok(zs_nursery_open(&outside, NULL));
	assert_ok(zs_nursery_spawn(outside, cancel_outside, &number));
	assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
	assert_ok(zs_shield_open(&shield, LONG_NS));
	assert_ok(zs_nursery_open(&nursery, NULL));
	if (workers > 1)
		spawn_on_each(nursery, workers, sleep_shielded, NULL);
	else
		for (uint32_t i = 0; i < number; i++)
			assert_ok(zs_nursery_spawn(nursery, sleep_shielded,
						   NULL));
	await_count(&ended, number);
	assert_ok(zs_nursery_wait(nursery));
	ck_assert_int_eq(zs_shield_close(shield), -ECANCELED);
	ck_assert_int_eq(zs_cancel_token_close(token), -ECANCELED);
	return zs_nursery_wait(outside);
}

START_TEST(children_are_shielded)
{
	uint32_t workers = _i ? 3 : 1;

	assert_ok(run_task_on(workers, shield_children, &workers));
}
END_TEST

static int sleep_until_cut(void *arg)
{
	count(&arrived);
	ck_assert_int_eq(zs_sleep(ZS_NEVER), -ECANCELED);
	(void)arg;
	return 0;
}

static int outlast_children(void *arg)
{
	uint32_t workers = *(uint32_t *)arg;

	assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
	assert_ok(zs_shield_open(&shield, 20 * ZS_MILLISECOND));
	assert_ok(zs_nursery_open(&nursery, NULL));
	if (workers > 1)
		spawn_on_each(nursery, workers, sleep_until_cut, NULL);
	else
		assert_ok(zs_nursery_spawn(nursery, sleep_until_cut, NULL));
	assert_ok(zs_cancel_token_cancel(token));
	ck_assert_int_eq(zs_nursery_wait(nursery), -ECANCELED);
	zs_shield_close(shield);
	return zs_cancel_token_close(token);
}

START_TEST(children_are_reached_when_the_time_is_over)
{
	uint32_t workers = _i ? 3 : 1;

	ck_assert_int_eq(run_task_on(workers, outlast_children, &workers),
			 -ECANCELED);
}
END_TEST

/* A nursery outside of the shield does not profit from it. */
static int shield_not_siblings(void *arg)
{
	(void)arg;
	assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn(nursery, sleep_until_cut, NULL));
	await_count(&arrived, 1);
	assert_ok(zs_shield_open(&shield, LONG_NS));
	assert_ok(zs_cancel_token_cancel(token));
	ck_assert_int_eq(zs_nursery_spawn(nursery, sleep_until_cut, NULL),
			 -ECANCELED);
	zs_shield_close(shield);
	ck_assert_int_eq(zs_nursery_wait(nursery), -ECANCELED);
	return zs_cancel_token_close(token);
}

START_TEST(tasks_outside_are_not_shielded)
{
	ck_assert_int_eq(run_task(shield_not_siblings, NULL), -ECANCELED);
}
END_TEST

static int say_goodbye(void *arg)
{
	(void)arg;
	count(&arrived);
	zs_sleep(ZS_NEVER);
	assert_ok(zs_shield_open(&shield, LONG_NS));
	assert_ok(zs_sleep(ZS_MILLISECOND));
	ck_assert_int_eq(zs_shield_close(shield), -ECANCELED);
	count(&ended);
	return 0;
}

static int stay_shielded(void *arg)
{
	struct zs_shield mine;

	(void)arg;
	assert_ok(zs_shield_open(&mine, LONG_NS));
	count(&arrived);
	assert_ok(zs_sleep(3 * ZS_MILLISECOND));
	zs_shield_close(mine);
	count(&ended);
	return 0;
}

START_TEST(stop_of_the_runtime_waits_for_shields)
{
	struct zs_runtime *runtime;

	/* Without a thread of its own it has nobody to stop it meanwhile. */
	need_workers(2);
	runtime = start_runtime(1);
	assert_ok(zs_runtime_spawn(runtime, say_goodbye, NULL));
	assert_ok(zs_runtime_spawn(runtime, stay_shielded, NULL));
	occupy_until(&arrived, 2);
	stop_and_destroy(runtime);
	ck_assert_uint_eq(counted(&ended), 2);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("shield");
	TCase *tcase = tcase_create("shield");

	tcase_add_test(tcase, misuse_is_refused);
	tcase_add_loop_test(tcase, cancel_is_felt_after_the_close, 0, 2);
	tcase_add_loop_test(tcase, cancel_is_felt_when_the_time_is_over, 0, 2);
	tcase_add_test(tcase, shield_that_has_had_its_time_is_none);
	tcase_add_test(tcase, inner_shield_outlasts_the_outer_one);
	tcase_add_test(tcase, nearest_deadline_knows_of_shields);
	tcase_add_test(tcase, shield_left_open_is_reported);
	tcase_add_loop_test(tcase, children_are_shielded, 0, 2);
	tcase_add_loop_test(tcase, children_are_reached_when_the_time_is_over,
			    0, 2);
	tcase_add_test(tcase, tasks_outside_are_not_shielded);
	tcase_add_test(tcase, stop_of_the_runtime_waits_for_shields);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
