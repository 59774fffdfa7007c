/* SPDX-License-Identifier: MIT */
/*
 * Forks and joins: that each fork runs once, where it does, what it is inside
 * of, and what misuse leads to.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>

#include "runtime.h"
#include "workers.h"

static int return_arg(void *arg)
{
	return *(int *)arg;
}

static int add_one(void *arg)
{
	++*(int *)arg;
	return 0;
}

/* --- calls --- */

static int join_gets_result(void *unused)
{
	int numbers[3] = { 7, 0, -EXDEV };
	struct zs_fork forks[3];
	int i;

	(void)unused;
	for (i = 0; i < 3; i++)
		ck_assert_int_eq(zs_fork(&forks[i], return_arg, &numbers[i]),
				 0);
	for (i = 2; i >= 0; i--)
		ck_assert_int_eq(zs_join(&forks[i]), numbers[i]);
	return 0;
}

START_TEST(a_join_returns_what_the_function_did)
{
	struct zs_config config = test_config();

	config.num_workers = (uint32_t)_i;
	ck_assert_int_eq(run_task_with(&config, join_gets_result, NULL), 0);
}
END_TEST

static int join_in_any_order(void *unused)
{
	int numbers[4] = { 1, 2, 3, 4 };
	int order[4] = { 1, 3, 0, 2 };
	struct zs_fork forks[4];
	int i;

	(void)unused;
	for (i = 0; i < 4; i++)
		ck_assert_int_eq(zs_fork(&forks[i], return_arg, &numbers[i]),
				 0);
	for (i = 0; i < 4; i++)
		ck_assert_int_eq(zs_join(&forks[order[i]]), numbers[order[i]]);
	return 0;
}

START_TEST(forks_may_be_joined_in_any_order)
{
	struct zs_config config = test_config();

	config.num_workers = (uint32_t)_i;
	ck_assert_int_eq(run_task_with(&config, join_in_any_order, NULL), 0);
}
END_TEST

static int is_same_task(void *arg)
{
	return zs_self() == arg;
}

static int join_calls_plainly(void *unused)
{
	struct zs_fork fork;

	(void)unused;
	ck_assert_int_eq(zs_fork(&fork, is_same_task, zs_self()), 0);
	return zs_join(&fork);
}

START_TEST(what_nobody_took_is_called_in_the_joining_task)
{
	ck_assert_int_eq(run_task(join_calls_plainly, NULL), 1);
}
END_TEST

struct number {
	int n;
	int result;
};

static int fib(void *arg)
{
	struct number *number = arg;
	struct number left = { number->n - 1, 0 };
	struct number right = { number->n - 2, 0 };
	struct zs_fork fork;

	if (number->n < 2) {
		number->result = number->n;
		return 0;
	}
	assert_ok(zs_fork(&fork, fib, &left));
	assert_ok(fib(&right));
	assert_ok(zs_join(&fork));
	number->result = left.result + right.result;
	return 0;
}

static int run_fib(void *arg)
{
	int i;

	for (i = 0; i < 20; i++) {
		struct number number = { *(int *)arg, 0 };

		assert_ok(fib(&number));
		ck_assert_int_eq(number.result, 2584);
	}
	return 0;
}

START_TEST(a_recursion_by_forks_gets_it_right)
{
	struct zs_config config = test_config();
	int n = 18;

	config.num_workers = (uint32_t)_i;
	ck_assert_int_eq(run_task_with(&config, run_fib, &n), 0);
}
END_TEST

/* Each task's forks are in between those of others. */
static int fork_across_yields(void *arg)
{
	struct zs_fork forks[8];
	int numbers[8];
	int i;

	for (i = 0; i < 8; i++) {
		numbers[i] = i;
		assert_ok(zs_fork(&forks[i], return_arg, &numbers[i]));
		assert_ok(zs_yield());
	}
	for (i = 7; i >= 0; i--) {
		ck_assert_int_eq(zs_join(&forks[i]), i);
		assert_ok(zs_yield());
	}
	count(arg);
	return 0;
}

static int fork_in_many_tasks(void *arg)
{
	struct zs_nursery nursery;
	int i;

	ck_assert_int_eq(zs_nursery_open(&nursery, NULL), 0);
	for (i = 0; i < 50; i++)
		assert_ok(zs_nursery_spawn(nursery, fork_across_yields, arg));
	return zs_nursery_wait(nursery);
}

START_TEST(tasks_of_a_worker_fork_side_by_side)
{
	struct zs_config config = test_config();
	struct counter counter = { 0 };

	config.num_workers = (uint32_t)_i;
	ck_assert_int_eq(run_task_with(&config, fork_in_many_tasks, &counter),
			 0);
	ck_assert_uint_eq(counted(&counter), 50);
}
END_TEST

/* --- several workers --- */

struct meeting {
	struct counter begun;
	struct counter may_end;
	struct zs_task *task;
	struct zs_cancel_token token;
	int number;
};

static int begin_and_wait(void *arg)
{
	struct meeting *meeting = arg;

	meeting->task = zs_self();
	count(&meeting->begun);
	occupy_until(&meeting->may_end, 1);
	return 5;
}

/* The forking task keeps its worker to itself all the time. */
static int let_it_be_stolen(void *arg)
{
	struct meeting *meeting = arg;
	struct zs_fork fork;

	assert_ok(zs_fork(&fork, begin_and_wait, meeting));
	occupy_until(&meeting->begun, 1);
	ck_assert_ptr_ne(meeting->task, zs_self());
	count(&meeting->may_end);
	return zs_join(&fork);
}

START_TEST(an_idle_worker_takes_even_a_single_fork)
{
	struct zs_config config = test_config();
	struct meeting meeting = { 0 };

	config.num_workers = 2;
	ck_assert_int_eq(run_task_with(&config, let_it_be_stolen, &meeting), 5);
}
END_TEST

static int end_it_later(void *arg)
{
	struct meeting *meeting = arg;

	count(&meeting->may_end);
	return 0;
}

/* The sibling, of the same worker, can only run while the join is parked. */
static int join_what_runs(void *arg)
{
	const struct zs_nursery_options pinned = { .flags = ZS_NURSERY_PINNED };
	struct meeting *meeting = arg;
	struct zs_nursery nursery;
	struct zs_fork fork;

	assert_ok(zs_fork(&fork, begin_and_wait, meeting));
	occupy_until(&meeting->begun, 1);
	ck_assert_int_eq(zs_nursery_open(&nursery, &pinned), 0);
	assert_ok(zs_nursery_spawn(nursery, end_it_later, meeting));
	ck_assert_int_eq(zs_join(&fork), 5);
	return zs_nursery_wait(nursery);
}

START_TEST(a_join_parks_while_the_fork_runs_elsewhere)
{
	struct zs_config config = test_config();
	struct meeting meeting = { 0 };

	config.num_workers = 2;
	ck_assert_int_eq(run_task_with(&config, join_what_runs, &meeting), 0);
}
END_TEST

static int sleep_on(void *arg)
{
	struct meeting *meeting = arg;

	count(&meeting->begun);
	return zs_sleep_until(ZS_NEVER);
}

static int cancel_a_stolen_one(void *arg)
{
	struct meeting *meeting = arg;
	struct zs_fork fork;

	ck_assert_int_eq(zs_cancel_token_open(&meeting->token, ZS_NEVER), 0);
	assert_ok(zs_fork(&fork, sleep_on, meeting));
	occupy_until(&meeting->begun, 1);
	ck_assert_int_eq(zs_cancel_token_cancel(meeting->token), 0);
	ck_assert_int_eq(zs_join(&fork), -ECANCELED);
	ck_assert_int_eq(zs_cancel_token_close(meeting->token), -ECANCELED);
	return zs_yield();
}

START_TEST(a_stolen_fork_is_inside_the_scope_of_its_fork)
{
	struct zs_config config = test_config();
	struct meeting meeting = { 0 };

	config.num_workers = 2;
	ck_assert_int_eq(run_task_with(&config, cancel_a_stolen_one, &meeting),
			 0);
}
END_TEST

/* A fork of what was stolen, which is back on the first worker. */
static int fork_and_sleep(void *arg)
{
	struct meeting *meeting = arg;
	struct zs_fork fork;
	int slept, joined;

	assert_ok(zs_fork(&fork, sleep_on, meeting));
	slept = zs_sleep_until(ZS_NEVER);
	joined = zs_join(&fork);
	return joined == slept ? slept : -EPROTO;
}

static int cancel_nested_ones(void *arg)
{
	struct meeting *meeting = arg;
	struct zs_nursery nursery;

	ck_assert_int_eq(zs_nursery_open(&nursery, NULL), 0);
	assert_ok(zs_nursery_spawn(nursery, fork_and_sleep, meeting));
	assert_ok(zs_nursery_spawn(nursery, fork_and_sleep, meeting));
	/* Those that nobody takes begin when they are joined, cancelled. */
	zs_sleep(2 * ZS_MILLISECOND);
	ck_assert_int_eq(zs_nursery_cancel(nursery), 0);
	ck_assert_int_eq(zs_nursery_wait(nursery), -ECANCELED);
	return 0;
}

START_TEST(a_cancel_reaches_forks_of_any_worker)
{
	struct zs_config config = test_config();
	struct meeting meeting = { 0 };

	config.num_workers = (uint32_t)_i;
	ck_assert_int_eq(run_task_with(&config, cancel_nested_ones, &meeting),
			 0);
	ck_assert_uint_eq(counted(&meeting.begun), 2);
}
END_TEST

static int stay_here(void *arg)
{
	struct number *number = arg;
	struct number left = { number->n - 1, 0 };
	struct number right = { number->n - 1, 0 };
	struct zs_fork fork;

	if (number->n > 0) {
		assert_ok(zs_fork(&fork, stay_here, &left));
		assert_ok(stay_here(&right));
		assert_ok(zs_join(&fork));
	}
	number->result = left.result + right.result +
			 (zs_task_name(zs_self())[0] == 'p');
	return 0;
}

static int run_named(void *arg)
{
	assert_ok(zs_task_set_name("pinned"));
	return stay_here(arg);
}

static int fork_where_pinned(void *arg)
{
	const struct zs_nursery_options pinned = { .flags = ZS_NURSERY_PINNED };
	struct zs_nursery nursery;

	ck_assert_int_eq(zs_nursery_open(&nursery, &pinned), 0);
	assert_ok(zs_nursery_spawn(nursery, run_named, arg));
	return zs_nursery_wait(nursery);
}

START_TEST(forks_of_a_pinned_nursery_stay_in_their_task)
{
	struct zs_config config = test_config();
	struct number number = { 12, 0 };

	config.num_workers = 2;
	ck_assert_int_eq(run_task_with(&config, fork_where_pinned, &number), 0);
	ck_assert_int_eq(number.result, (1 << 13) - 1);
}
END_TEST

START_TEST(where_no_more_tasks_are_allowed_forks_are_called)
{
	struct zs_config config = test_config();
	int n = 18;

	config.num_workers = 2;
	config.max_green_threads = 2;
	ck_assert_int_eq(run_task_with(&config, run_fib, &n), 0);
}
END_TEST

static int dump_a_join(void *arg)
{
	struct meeting *meeting = arg;
	FILE *file = tmpfile();
	char text[8192] = "";

	occupy_until(&meeting->begun, 1);
	ck_assert_ptr_nonnull(file);
	/* Its task is parked by the time that this one, of its worker, runs. */
	ck_assert_int_ge(zs_dump(fileno(file)), 0);
	rewind(file);
	ck_assert_uint_gt(fread(text, 1, sizeof(text) - 1, file), 0);
	fclose(file);
	ck_assert_msg(strstr(text, "a fork that task"), "%s", text);
	count(&meeting->may_end);
	return 0;
}

static int join_and_be_seen(void *arg)
{
	const struct zs_nursery_options pinned = { .flags = ZS_NURSERY_PINNED };
	struct meeting *meeting = arg;
	struct zs_nursery nursery;
	struct zs_fork fork;

	assert_ok(zs_fork(&fork, begin_and_wait, meeting));
	occupy_until(&meeting->begun, 1);
	ck_assert_int_eq(zs_nursery_open(&nursery, &pinned), 0);
	assert_ok(zs_nursery_spawn(nursery, dump_a_join, meeting));
	ck_assert_int_eq(zs_join(&fork), 5);
	return zs_nursery_wait(nursery);
}

START_TEST(the_dump_says_that_a_join_waits_for_a_fork)
{
	struct zs_config config = test_config();
	struct meeting meeting = { 0 };

	config.num_workers = 2;
	ck_assert_int_eq(run_task_with(&config, join_and_be_seen, &meeting), 0);
}
END_TEST

/* --- misuse --- */

static int misuse_forks(void *unused)
{
	struct zs_fork fork;
	int number = 3;

	(void)unused;
	ck_assert_int_eq(zs_fork(NULL, return_arg, &number), -EINVAL);
	ck_assert_int_eq(zs_fork(&fork, NULL, NULL), -EINVAL);
	ck_assert_int_eq(zs_join(&fork), -EINVAL);
	ck_assert_int_eq(zs_join(NULL), -EINVAL);
	ck_assert_int_eq(zs_fork(&fork, return_arg, &number), 0);
	ck_assert_int_eq(zs_join(&fork), 3);
	ck_assert_int_eq(zs_join(&fork), -EINVAL);
	return 0;
}

START_TEST(what_is_no_fork_is_refused)
{
	ck_assert_int_eq(run_task(misuse_forks, NULL), 0);
}
END_TEST

static int join_of_another(void *arg)
{
	return zs_join(arg);
}

static int lend_a_fork(void *unused)
{
	struct zs_nursery nursery;
	struct zs_fork fork;
	int number = 0;

	(void)unused;
	ck_assert_int_eq(zs_nursery_open(&nursery, NULL), 0);
	ck_assert_int_eq(zs_fork(&fork, add_one, &number), 0);
	ck_assert_int_eq(zs_nursery_spawn(nursery, join_of_another, &fork), 0);
	zs_yield();
	ck_assert_int_eq(zs_join(&fork), 0);
	ck_assert_int_eq(number, 1);
	return zs_nursery_wait(nursery);
}

START_TEST(only_who_forked_may_join)
{
	ck_assert_int_eq(run_task(lend_a_fork, NULL), -EINVAL);
}
END_TEST

START_TEST(outside_a_task_nothing_can_be_forked)
{
	struct zs_fork fork;
	int number = 0;

	ck_assert_int_eq(zs_fork(&fork, add_one, &number), -EPERM);
	ck_assert_int_eq(zs_join(&fork), -EPERM);
	ck_assert_int_eq(number, 0);
}
END_TEST

static int leave_token_open(void *arg)
{
	return zs_cancel_token_open(arg, ZS_NEVER);
}

static int join_what_leaves_a_token(void *unused)
{
	struct zs_cancel_token token;
	struct zs_fork fork;

	(void)unused;
	ck_assert_int_eq(zs_fork(&fork, leave_token_open, &token), 0);
	ck_assert_int_eq(zs_join(&fork), 0);
	ck_assert_int_eq(zs_cancel_token_close(token), -ESTALE);
	return zs_yield();
}

START_TEST(what_a_fork_leaves_open_is_closed)
{
	ck_assert_int_eq(run_task(join_what_leaves_a_token, NULL), 0);
}
END_TEST

static int forget_to_join(void *unused)
{
	static struct zs_fork fork;
	static int number;

	(void)unused;
	return zs_fork(&fork, add_one, &number);
}

START_TEST(a_fork_that_is_not_joined_ends_the_process)
{
	run_task(forget_to_join, NULL);
}
END_TEST

static int join_what_forgets(void *unused)
{
	struct zs_fork fork;

	zs_fork(&fork, forget_to_join, unused);
	return zs_join(&fork);
}

START_TEST(a_fork_inside_a_fork_has_to_be_joined_there)
{
	run_task(join_what_forgets, NULL);
}
END_TEST

static Suite *fork_join_suite(void)
{
	Suite *suite = suite_create("fork_join");
	TCase *calls = tcase_create("calls");
	TCase *workers = tcase_create("workers");
	TCase *misuse = tcase_create("misuse");
	int most = test_is_blocking() ? 2 : 5;

	tcase_add_loop_test(calls, a_join_returns_what_the_function_did, 1,
			    most);
	tcase_add_loop_test(calls, forks_may_be_joined_in_any_order, 1, most);
	tcase_add_test(calls, what_nobody_took_is_called_in_the_joining_task);
	tcase_add_loop_test(calls, a_recursion_by_forks_gets_it_right, 1, most);
	tcase_add_loop_test(calls, tasks_of_a_worker_fork_side_by_side, 1,
			    most);
	suite_add_tcase(suite, calls);
	tcase_add_test(workers, an_idle_worker_takes_even_a_single_fork);
	tcase_add_test(workers, a_join_parks_while_the_fork_runs_elsewhere);
	tcase_add_test(workers, a_stolen_fork_is_inside_the_scope_of_its_fork);
	tcase_add_loop_test(workers, a_cancel_reaches_forks_of_any_worker, 1,
			    most);
	tcase_add_test(workers, forks_of_a_pinned_nursery_stay_in_their_task);
	tcase_add_test(workers,
		       where_no_more_tasks_are_allowed_forks_are_called);
	tcase_add_test(workers, the_dump_says_that_a_join_waits_for_a_fork);
	suite_add_tcase(suite, workers);
	tcase_add_test(misuse, what_is_no_fork_is_refused);
	tcase_add_test(misuse, only_who_forked_may_join);
	tcase_add_test(misuse, outside_a_task_nothing_can_be_forked);
	tcase_add_test(misuse, what_a_fork_leaves_open_is_closed);
	tcase_add_test_raise_signal(
		misuse, a_fork_that_is_not_joined_ends_the_process, SIGABRT);
	tcase_add_test_raise_signal(
		misuse, a_fork_inside_a_fork_has_to_be_joined_there, SIGABRT);
	suite_add_tcase(suite, misuse);
	return suite;
}

int main(void)
{
	return run_suite(fork_join_suite());
}
