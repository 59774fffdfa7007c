/* SPDX-License-Identifier: MIT */
/*
 * Panics: what a broken invariant says of the runtime before the process is
 * aborted. They happen in forked children, whose stderr is read. What is said
 * without a runtime is in test_text.c.
 */
#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>

#include "base/assert.h"
#include "child.h"
#include "runtime.h"
#include "sched/task.h"
#include "sched/worker.h"

static void run_here(zs_task_fn *fn)
{
	struct zs_config config = test_config();

	if (zs_run(&config, fn, NULL) != 0)
		_exit(99);
}

/* The assertion's line, for the test to look for. */
enum { FAILING_LINE = __LINE__ + 6 };

static int fail_assertion(void *arg)
{
	(void)arg;
	zs_task_set_name("culprit");
	ZS_ASSERT(zs_self() == NULL);
	return 0;
}

static int wait_for_failure(void *arg)
{
	struct zs_nursery nursery;

	(void)arg;
	zs_nursery_open(&nursery, NULL);
	zs_nursery_spawn(nursery, fail_assertion, NULL);
	return zs_nursery_wait(nursery);
}

static void panic_in_task(void)
{
	run_here(wait_for_failure);
}

/* Each on a line of its own, one after the other. */
START_TEST(panic_says_place_condition_and_state)
{
	struct child *child = run_child(panic_in_task);
	char first_line[200];

	snprintf(first_line, sizeof(first_line),
		 "zsync: test/test_panic.c:%d: assertion failed: "
		 "zs_self() == NULL\n"
		 "zsync: runtime of 1 worker, %s, running\n"
		 " worker 0 (thread ",
		 FAILING_LINE, test_info().model_name);
	ck_assert(died_of(child, SIGABRT));
	ck_assert_mem_eq(child->text, first_line, strlen(first_line));
	ck_assert(says(child, "): runs task 3, turn begun "));
	ck_assert(says(child, "\n  task 1: waits, uncancellable, for the end "
			      "of 1 task ("));
	ck_assert(says(child, "\n  task 3 \"culprit\": running, worker 0, "
			      "nursery of task 1, stack 0x"));
}
END_TEST

static int wake_itself(void *arg)
{
	(void)arg;
	zs_task_wake(zs_self());
	return 0;
}

static void break_an_invariant(void)
{
	run_here(wake_itself);
}

START_TEST(assertions_of_the_scheduler_are_on)
{
	struct child *child = run_child(break_an_invariant);

	ck_assert(died_of(child, SIGABRT));
	ck_assert(says(child, "zsync: src/sched/task.c:"));
	ck_assert(says(child, ": assertion failed: task->wait\n"
			      "zsync: runtime of 1 worker"));
}
END_TEST

/* A wait whose description, which the dump asks for, breaks an invariant, too.
 * Who parks on it is never woken. */
static void fail_to_describe(const void *object, struct zs_text *text)
{
	(void)text;
	ZS_ASSERT(object == NULL);
}

static const struct zs_wait_type indescribable = {
	.describe = fail_to_describe,
};

static int park_indescribably(void *arg)
{
	zs_task_park(&indescribable, zs_self());
	return arg != NULL;
}

static int panic_beside_indescribable(void *arg)
{
	struct zs_nursery nursery;

	(void)arg;
	zs_nursery_open(&nursery, NULL);
	zs_nursery_spawn(nursery, park_indescribably, NULL);
	zs_yield();
	ZS_ASSERT(zs_self() == NULL);
	return 0;
}

static void panic_while_panicking(void)
{
	run_here(panic_beside_indescribable);
}

/* Both are told, the state once, and it ends. */
START_TEST(panic_inside_of_a_panic_does_not_start_over)
{
	struct child *child = run_child(panic_while_panicking);
	char *state = strstr(child->text, "zsync: runtime of ");

	ck_assert(died_of(child, SIGABRT));
	ck_assert(says(child, "assertion failed: zs_self() == NULL"));
	ck_assert_ptr_nonnull(state);
	ck_assert_ptr_nonnull(
		strstr(state, "assertion failed: object == NULL"));
	ck_assert_ptr_null(strstr(state + 1, "zsync: runtime of "));
}
END_TEST

static void *fail_in_thread(void *arg)
{
	ZS_ASSERT(arg != NULL);
	return NULL;
}

static int join_a_thread(void *arg)
{
	pthread_t thread;

	pthread_create(&thread, NULL, fail_in_thread, arg);
	pthread_join(thread, NULL);
	return 0;
}

static void panic_in_foreign_thread(void)
{
	run_here(join_a_thread);
}

/* Its state is not the workers'; they may be in any. */
START_TEST(foreign_thread_says_place_and_condition)
{
	struct child *child = run_child(panic_in_foreign_thread);

	ck_assert(died_of(child, SIGABRT));
	ck_assert(says(child, ": assertion failed: arg != NULL\n"));
	ck_assert(!says(child, "runtime of"));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("panic");
	TCase *tests = tcase_create("panic");

	tcase_add_test(tests, panic_says_place_condition_and_state);
	tcase_add_test(tests, assertions_of_the_scheduler_are_on);
	tcase_add_test(tests, panic_inside_of_a_panic_does_not_start_over);
	tcase_add_test(tests, foreign_thread_says_place_and_condition);
	suite_add_tcase(suite, tests);
	return run_suite(suite);
}
