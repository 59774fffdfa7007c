/* SPDX-License-Identifier: MIT */
/*
 * What an unwinder of exceptions finds on a task's stack: every frame, then the
 * task's start, which says whose exception it is and has no caller. In C, by
 * the calls that the library of any language makes; C++ is in test_cxx.cc.
 */
#include <check.h>
#include <string.h>
#include <unwind.h>

#include "child.h"
#include "runtime.h"

static int throw_and_return(void *arg)
{
	static struct _Unwind_Exception exception;

	memset(&exception, 0, sizeof(exception));
	memcpy(&exception.exception_class, "ZSYNCTST", 8);
	if (arg)
		zs_task_set_name(arg);
	zs_yield();
	return (int)_Unwind_RaiseException(&exception);
}

static int spawn_and_join(void *name)
{
	struct zs_nursery nursery;

	ck_assert_int_eq(zs_nursery_open(&nursery, NULL), 0);
	ck_assert_int_eq(zs_nursery_spawn(nursery, throw_and_return, name), 0);
	return zs_nursery_wait(nursery);
}

static void throw_in_first_task(void)
{
	int ret = run_task(throw_and_return, "first");

	if (ret != _URC_END_OF_STACK)
		_exit(1);
}

static void throw_in_called_task(void)
{
	if (run_task(spawn_and_join, "called") != 0)
		_exit(1);
}

/* One line, after which the thrower is told that nobody catches it. */
START_TEST(search_for_a_handler_ends_at_the_tasks_start)
{
	const struct child *child =
		run_child(_i ? throw_in_called_task : throw_in_first_task);
	const char *name = _i ? "\"called\": an exception leaves" :
				"\"first\": an exception leaves";

	ck_assert_msg(exited_with(child, 0), "%s", child->text);
	ck_assert_msg(says(child, name), "%s", child->text);
	ck_assert(strchr(child->text, '\n') == strrchr(child->text, '\n'));
}
END_TEST

static Suite *exceptions_suite(void)
{
	Suite *suite = suite_create("exceptions");
	TCase *tests = tcase_create("exceptions");

	tcase_add_loop_test(tests, search_for_a_handler_ends_at_the_tasks_start,
			    0, 2);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(exceptions_suite());
}
