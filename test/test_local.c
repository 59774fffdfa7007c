/* SPDX-License-Identifier: MIT */
/* Local values: which one is seen, by whom, and on which worker. */
#include "workers.h"

static int one = 1, two = 2, three = 3;
static const struct zs_local key = ZS_LOCAL_INIT(&one);
static const struct zs_local other = ZS_LOCAL_INIT(NULL);
static struct zs_nursery nursery;

static int push_and_pop(void *arg)
{
	struct zs_cancel_token token;

	(void)arg;
	ck_assert_ptr_eq(zs_local_get(&key), &one);
	ck_assert_int_eq(zs_local_push(NULL, &two), -EINVAL);
	ck_assert_int_eq(zs_local_pop(NULL), -EINVAL);
	ck_assert_ptr_eq(zs_local_get(NULL), NULL);
	ck_assert_int_eq(zs_local_pop(&key), -ENOENT);
	assert_ok(zs_local_push(&key, &two));
	assert_ok(zs_local_push(&other, &three));
	ck_assert_ptr_eq(zs_local_get(&key), &two);
	ck_assert_ptr_eq(zs_local_get(&other), &three);
	ck_assert_int_eq(zs_local_pop(&key), -EBUSY);
	assert_ok(zs_local_push(&key, NULL));
	ck_assert_ptr_eq(zs_local_get(&key), NULL);
	assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
	ck_assert_ptr_eq(zs_local_get(&key), NULL);
	ck_assert_int_eq(zs_local_pop(&key), -EBUSY);
	assert_ok(zs_cancel_token_close(token));
	assert_ok(zs_local_pop(&key));
	ck_assert_int_eq(zs_local_pop(&key), -EBUSY);
	assert_ok(zs_local_pop(&other));
	ck_assert_ptr_eq(zs_local_get(&other), NULL);
	ck_assert_ptr_eq(zs_local_get(&key), &two);
	assert_ok(zs_local_pop(&key));
	ck_assert_ptr_eq(zs_local_get(&key), &one);
	/* Their memory is used again. */
	for (int i = 0; i < 3; i++)
		assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
	ck_assert_ptr_eq(zs_local_get(&key), &one);
	ck_assert_ptr_eq(zs_local_get(&other), NULL);
	return zs_local_pop(&key) == -ENOENT ? 0 : -EIO;
}

START_TEST(innermost_value_is_seen)
{
	struct capture capture;

	ck_assert_int_eq(zs_local_push(&key, NULL), -EPERM);
	ck_assert_int_eq(zs_local_pop(&key), -EPERM);
	ck_assert_int_eq(zs_local_with(&key, NULL, push_and_pop, NULL), -EPERM);
	ck_assert_ptr_eq(zs_local_get(&key), &one);
	begin_capture(&capture);
	assert_ok(run_task(push_and_pop, NULL));
	end_capture(&capture);
}
END_TEST

static int see(void *arg)
{
	ck_assert_ptr_eq(zs_local_get(&key), arg);
	ck_assert_int_eq(zs_local_pop(&key), -ENOENT);
	assert_ok(zs_local_push(&key, &one));
	ck_assert_ptr_eq(zs_local_get(&key), &one);
	assert_ok(zs_yield());
	return zs_local_pop(&key);
}

static int see_deep(void *arg)
{
	struct zs_nursery inner;

	assert_ok(zs_nursery_open(&inner, NULL));
	assert_ok(zs_nursery_spawn(inner, see, arg));
	return zs_nursery_wait(inner);
}

/* What is in force where the nursery was opened. */
static int let_children_see(void *arg)
{
	uint32_t workers = *(uint32_t *)arg;

	assert_ok(zs_local_push(&key, &two));
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_local_push(&key, &three));
	assert_ok(zs_nursery_spawn(nursery, see, &two));
	assert_ok(zs_nursery_spawn(nursery, see_deep, &two));
	if (workers > 1)
		spawn_on_each(nursery, workers, see_deep, &two);
	assert_ok(zs_yield());
	ck_assert_ptr_eq(zs_local_get(&key), &three);
	assert_ok(zs_local_pop(&key));
	assert_ok(zs_nursery_spawn(nursery, see, &two));
	assert_ok(zs_nursery_wait(nursery));
	return zs_local_pop(&key);
}

START_TEST(children_see_what_their_nursery_is_inside_of)
{
	uint32_t workers = _i ? 3 : 1;

	assert_ok(run_task_on(workers, let_children_see, &workers));
}
END_TEST

static int return_value(void *arg)
{
	int *value = zs_local_get(&key);

	return arg ? zs_local_push(&key, arg) : *value;
}

static int run_with(void *arg)
{
	(void)arg;
	ck_assert_int_eq(zs_local_with(&key, &two, NULL, NULL), -EINVAL);
	ck_assert_int_eq(zs_local_with(NULL, &two, return_value, NULL),
			 -EINVAL);
	ck_assert_int_eq(zs_local_with(&key, &two, return_value, NULL), 2);
	/* One that is left is taken away. */
	ck_assert_int_eq(zs_local_with(&key, &two, return_value, &three), 0);
	ck_assert_ptr_eq(zs_local_get(&key), &one);
	return zs_local_pop(&key) == -ENOENT ? 0 : -EIO;
}

START_TEST(function_runs_with_a_value)
{
	struct capture capture;

	begin_capture(&capture);
	assert_ok(run_task(run_with, NULL));
	end_capture(&capture);
	ck_assert_msg(strstr(capture.text, "a local value open"), "%s",
		      capture.text);
}
END_TEST

static int be_cancelled(void *arg)
{
	struct zs_cancel_token token;

	(void)arg;
	assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
	assert_ok(zs_local_push(&key, &two));
	assert_ok(zs_cancel_token_cancel(token));
	ck_assert_int_eq(zs_yield(), -ECANCELED);
	ck_assert_ptr_eq(zs_local_get(&key), &two);
	ck_assert_int_eq(zs_local_pop(&key), -ECANCELED);
	ck_assert_ptr_eq(zs_local_get(&key), &one);
	return zs_cancel_token_close(token);
}

START_TEST(cancel_reaches_inside_and_leaves_the_value)
{
	ck_assert_int_eq(run_task(be_cancelled, NULL), -ECANCELED);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("local");
	TCase *tcase = tcase_create("local");

	tcase_add_test(tcase, innermost_value_is_seen);
	tcase_add_loop_test(tcase, children_see_what_their_nursery_is_inside_of,
			    0, 2);
	tcase_add_test(tcase, function_runs_with_a_value);
	tcase_add_test(tcase, cancel_reaches_inside_and_leaves_the_value);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
