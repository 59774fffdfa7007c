/* SPDX-License-Identifier: MIT */
/*
 * Tests for sched/leaks.c: what a runtime leaves behind is told where that is
 * asked for, and what it does not is not.
 */
#include <check.h>
#include <fcntl.h>
#include <unistd.h>

#include "sched/leaks.h"

#include "deadlock.h"

static int run_asked(uint32_t flags, zs_task_fn *fn, void *arg)
{
	struct zs_config config = test_config();
	int ret;

	config.flags = flags;
	begin_capture(&capture);
	ret = run_task_with(&config, fn, arg);
	end_capture(&capture);
	return ret;
}

static void assert_leak(zs_task_fn *fn, const char *what)
{
	ck_assert_int_eq(run_asked(ZS_CONFIG_REPORT_LEAKS, fn, NULL), 0);
	assert_reported(what);
	/* Only once, and nothing else. */
	ck_assert_ptr_null(strstr(strstr(capture.text, "zsync: leak:") + 1,
				  "zsync: leak:"));
}

static int open_null(void *arg)
{
	int fd = zs_openat(AT_FDCWD, "/dev/null", O_RDONLY, 0);

	(void)arg;
	ck_assert_int_ge(fd, 0);
	return 0;
}

START_TEST(open_descriptor_is_told)
{
	assert_leak(open_null, ", of zs_openat() in task 1, is open: it may "
			       "have been forgotten\n");
}
END_TEST

START_TEST(nothing_is_told_if_nobody_asks)
{
	ck_assert_int_eq(run_asked(0, open_null, NULL), 0);
	assert_silent();
}
END_TEST

static int open_socket(void *arg)
{
	(void)arg;
	ck_assert_int_ge(zs_socket(AF_INET, SOCK_STREAM, 0), 0);
	return 0;
}

START_TEST(open_socket_is_told)
{
	assert_leak(open_socket, ", of zs_socket() in task ");
}
END_TEST

static int close_one_end(void *arg)
{
	int fds[2];

	(void)arg;
	assert_ok(zs_pipe(fds, 0));
	return zs_close(fds[0]);
}

START_TEST(only_the_end_that_is_left_is_told)
{
	assert_leak(close_one_end, ", of zs_pipe() in task ");
}
END_TEST

/* Closed with zsync or without, and then another file. */
static int close_all(void *arg)
{
	int fds[2], other[2];

	(void)arg;
	assert_ok(zs_pipe(fds, 0));
	assert_ok(zs_close(fds[0]));
	close(fds[1]);
	ck_assert_int_eq(pipe(other), 0);
	ck_assert_int_eq(other[1], fds[1]);
	return 0;
}

START_TEST(what_was_closed_is_not)
{
	ck_assert_int_eq(run_asked(ZS_CONFIG_REPORT_LEAKS, close_all, NULL), 0);
	assert_silent();
}
END_TEST

static int leave_open(void *arg)
{
	struct zs_nursery nursery;

	(void)arg;
	return zs_nursery_open(&nursery, NULL);
}

/* Besides what is told at once. */
START_TEST(scope_left_open_is_told)
{
	assert_leak(leave_open, "zsync: leak: 1 nursery or token was left open "
				"by a task that returned\n");
}
END_TEST

static void do_nothing(struct zs_timer *timer, void *arg)
{
	(void)timer;
	(void)arg;
}

static int leave_armed(void *arg)
{
	static struct zs_timer timer;

	(void)arg;
	return zs_timer_start(&timer, zs_now() + ZS_SECOND, do_nothing, NULL);
}

START_TEST(armed_timer_is_told)
{
	assert_leak(leave_armed, "zsync: leak: 1 timer is armed still");
}
END_TEST

/* Of another room. */
struct thing {
	struct zs_leak_entry entry;
	bool is_empty;
};

static bool describe_thing(const struct zs_leak_entry *entry,
			   struct zs_text *text)
{
	zs_text_add(text, "with 3 wheels");
	return !((const struct thing *)(const void *)entry)->is_empty;
}

static struct thing things[3];

static int make_things(void *arg)
{
	(void)arg;
	zs_leaks_add(&things[0].entry, "thing", describe_thing);
	zs_leaks_add(&things[1].entry, "thing", describe_thing);
	zs_leaks_add(&things[2].entry, "thing", describe_thing);
	things[1].is_empty = true;
	zs_leaks_remove(&things[2].entry);
	return 0;
}

START_TEST(what_other_rooms_list_is_told)
{
	assert_leak(make_things,
		    "zsync: leak: a thing is left, with 3 wheels\n");
	/* Of a runtime that is gone: nothing. */
	zs_leaks_remove(&things[0].entry);
	ck_assert_int_eq(run_asked(0, make_things, NULL), 0);
	assert_silent();
}
END_TEST

static int wait_deaf(void *arg)
{
	count(arg);
	return wait_for(&deaf);
}

/* Which cannot be destroyed: so in a process that ends. */
START_TEST(tasks_that_do_not_end_are_told)
{
	struct zs_config config = test_config();
	struct counter begun = { 0 };
	struct zs_runtime *runtime;
	pid_t child;

	if (test_is_blocking())
		return;
	begin_capture(&capture);
	child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0) {
		config.flags = ZS_CONFIG_REPORT_LEAKS;
		assert_ok(zs_runtime_create(&runtime, &config));
		assert_ok(zs_runtime_start(runtime));
		assert_ok(zs_runtime_spawn(runtime, wait_deaf, &begun));
		while (counted(&begun) == 0)
			sched_yield();
		zs_runtime_stop(runtime, zs_now() + ZS_MILLISECOND);
		_exit(zs_runtime_destroy(runtime) == -EBUSY ? 0 : 1);
	}
	end_process(child);
	end_capture(&capture);
	assert_reported("zsync: leak: a runtime was to be destroyed that has "
			"tasks still:\n  task ");
	assert_reported("waits, uncancellable, for godot");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("leaks");
	TCase *tcase = tcase_create("leaks");

	tcase_add_test(tcase, open_descriptor_is_told);
	tcase_add_test(tcase, nothing_is_told_if_nobody_asks);
	tcase_add_test(tcase, open_socket_is_told);
	tcase_add_test(tcase, only_the_end_that_is_left_is_told);
	tcase_add_test(tcase, what_was_closed_is_not);
	tcase_add_test(tcase, scope_left_open_is_told);
	tcase_add_test(tcase, armed_timer_is_told);
	tcase_add_test(tcase, what_other_rooms_list_is_told);
	tcase_add_test(tcase, tasks_that_do_not_end_are_told);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
