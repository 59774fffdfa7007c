/* SPDX-License-Identifier: MIT */
/*
 * Waiting for child processes: how they ended, and waits that are cancelled.
 * Each once as the engine likes it and once without WAITID, as before Linux
 * 6.7. How children are started is in test_spawn_process.c.
 */
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "descriptors.h"
#include "process.h"
#include "runtime.h"

static int ends[2];
static pid_t child;

/* _i is 1 for the second time. */
static void play_kernel(int without)
{
	if (without)
		disable("waitid");
}

static pid_t fork_child(void)
{
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	return pid;
}

/* One that waits for a byte, or for the pipe's end. */
static pid_t fork_reader(int status)
{
	char byte;
	pid_t pid;

	make_pipe(ends);
	pid = fork_child();
	if (pid == 0) {
		close(ends[1]);
		if (read(ends[0], &byte, 1) < 0)
			status = 99;
		_exit(status);
	}
	close(ends[0]);
	return pid;
}

static int wait_for_status(void *arg)
{
	struct zs_child_status status = { 0 };
	pid_t pid = fork_child();

	(void)arg;
	if (pid == 0)
		_exit(77);
	ck_assert_int_eq(zs_child_wait(pid, &status), 77);
	ck_assert_int_eq(status.end, ZS_CHILD_EXITED);
	ck_assert_int_eq(status.value, 77);
	ck_assert_int_eq(zs_child_wait(pid, &status), -ECHILD);
	pid = fork_child();
	if (pid == 0)
		_exit(0);
	return zs_child_wait(pid, NULL);
}

START_TEST(wait_tells_the_exit_status)
{
	play_kernel(_i);
	ck_assert_int_eq(run_task(wait_for_status, NULL), 0);
}
END_TEST

static int wait_for_killed(void *arg)
{
	struct zs_child_status status = { 0 };
	struct zs_child killed = { .pid = fork_reader(0), .pidfd = -1 };

	(void)arg;
	ck_assert_int_eq(zs_child_kill(&killed, SIGKILL), 0);
	ck_assert_int_eq(zs_child_wait(killed.pid, &status), 128 + SIGKILL);
	ck_assert_int_eq(status.end, ZS_CHILD_KILLED);
	ck_assert_int_eq(status.value, SIGKILL);
	return zs_child_kill(&killed, SIGKILL);
}

START_TEST(wait_tells_the_signal)
{
	play_kernel(_i);
	ck_assert_int_eq(run_task(wait_for_killed, NULL), -ESRCH);
}
END_TEST

static int wait_for_child(void *arg)
{
	(void)arg;
	return zs_child_wait(child, NULL);
}

static int let_child_end(void *arg)
{
	(void)arg;
	ck_assert_int_eq(write(ends[1], "x", 1), 1);
	return 0;
}

/* The second task starts when the first has parked. */
static int wait_for_a_late_end(void *arg)
{
	int ret = wait_for_child(arg);

	ck_assert_int_eq(ret, 5);
	return 0;
}

START_TEST(wait_parks_until_the_child_ends)
{
	play_kernel(_i);
	child = fork_reader(5);
	ck_assert_int_eq(run_siblings(wait_for_a_late_end, let_child_end, NULL),
			 0);
}
END_TEST

enum { NR_CHILDREN = 20 };
static pid_t children[NR_CHILDREN];

static int wait_for_one(void *arg)
{
	int i = *(int *)arg;

	ck_assert_int_eq(zs_child_wait(children[i], NULL), i);
	return 0;
}

static int wait_for_many(void *arg)
{
	struct zs_nursery nursery;
	int i, fds[2];
	char byte;

	(void)arg;
	make_pipe(fds);
	ck_assert_int_eq(zs_nursery_open(&nursery, NULL), 0);
	for (i = 0; i < NR_CHILDREN; i++) {
		children[i] = fork_child();
		if (children[i] == 0) {
			close(fds[1]);
			_exit(read(fds[0], &byte, 1) ? 99 : i);
		}
		ck_assert_int_eq(zs_nursery_spawn_copy(nursery, wait_for_one,
						       &i, sizeof(i)),
				 0);
	}
	zs_yield();
	close(fds[0]);
	close(fds[1]);
	return zs_nursery_wait(nursery);
}

START_TEST(many_are_waited_for_side_by_side)
{
	int fd = next_fd();

	play_kernel(_i);
	ck_assert_int_eq(run_task(wait_for_many, NULL), 0);
	ck_assert_int_eq(next_fd(), fd);
}
END_TEST

static int wait_until_a_deadline(void *arg)
{
	struct zs_cancel_token token;
	int ret, fd;

	(void)arg;
	child = fork_reader(6);
	fd = next_fd();
	ck_assert_int_eq(
		zs_cancel_token_open(&token, zs_now() + 5 * ZS_MILLISECOND), 0);
	ret = wait_for_child(NULL);
	ck_assert_int_eq(wait_for_child(NULL), -ETIMEDOUT);
	ck_assert_int_eq(zs_cancel_token_close(token), -ETIMEDOUT);
	ck_assert_int_eq(next_fd(), fd);
	let_child_end(NULL);
	ck_assert_int_eq(wait_for_child(NULL), 6);
	return ret;
}

START_TEST(a_cancelled_wait_leaves_the_child)
{
	play_kernel(_i);
	ck_assert_int_eq(run_task(wait_until_a_deadline, NULL), -ETIMEDOUT);
}
END_TEST

static int wait_for_nobodys(void *arg)
{
	(void)arg;
	ck_assert_int_eq(zs_child_wait(0, NULL), -EINVAL);
	ck_assert_int_eq(zs_child_wait(-1, NULL), -EINVAL);
	ck_assert_int_eq(zs_child_wait(getpid(), NULL), -ECHILD);
	ck_assert_int_eq(zs_child_wait(INT32_MAX, NULL), -ECHILD);
	return 0;
}

START_TEST(wait_is_for_children)
{
	play_kernel(_i);
	ck_assert_int_eq(zs_child_wait(getpid(), NULL), -EPERM);
	ck_assert_int_eq(run_task(wait_for_nobodys, NULL), 0);
}
END_TEST

/* The kernel releases it, so nothing is left to tell. */
static int wait_for_ignored(void *arg)
{
	pid_t pid = fork_child();

	(void)arg;
	if (pid == 0)
		_exit(1);
	return zs_child_wait(pid, NULL);
}

START_TEST(ignored_children_are_none)
{
	play_kernel(_i);
	signal(SIGCHLD, SIG_IGN);
	ck_assert_int_eq(run_task(wait_for_ignored, NULL), -ECHILD);
}
END_TEST

/* In its entry more is set than in others, which the kernel would refuse of
 * a later one in the same place. */
static int wait_and_use_the_entries_again(void *arg)
{
	char byte = 'x';
	int i, j;

	(void)arg;
	make_unix_pair(SOCK_STREAM, ends);
	for (i = 0; i < 20; i++) {
		pid_t pid = fork_child();

		if (pid == 0)
			_exit(i);
		ck_assert_int_eq(zs_child_wait(pid, NULL), i);
		for (j = 0; j < 7; j++) {
			ck_assert_int_eq(zs_send(ends[0], &byte, 1, 0), 1);
			ck_assert_int_eq(zs_recv(ends[1], &byte, 1, 0), 1);
		}
	}
	return 0;
}

START_TEST(what_comes_after_a_wait_is_not_disturbed)
{
	struct zs_config config = test_config();

	config.queue_depth = 8;
	ck_assert_int_eq(run_task_with(&config, wait_and_use_the_entries_again,
				       NULL),
			 0);
}
END_TEST

START_TEST(kill_says_what_is_wrong)
{
	struct zs_child none = { .pid = 0, .pidfd = -1 };
	struct zs_child self = { .pid = getpid(), .pidfd = -1 };

	ck_assert_int_eq(zs_child_kill(NULL, SIGTERM), -EINVAL);
	ck_assert_int_eq(zs_child_kill(&none, SIGTERM), -EINVAL);
	ck_assert_int_eq(zs_child_kill(&self, 0), 0);
	ck_assert_int_eq(zs_child_kill(&self, 1000), -EINVAL);
	ck_assert_int_eq(zs_child_kill(&self, -1), -EINVAL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("process");
	TCase *tests = tcase_create("process");

	tcase_add_loop_test(tests, wait_tells_the_exit_status, 0, 2);
	tcase_add_loop_test(tests, wait_tells_the_signal, 0, 2);
	tcase_add_loop_test(tests, wait_parks_until_the_child_ends, 0, 2);
	tcase_add_loop_test(tests, many_are_waited_for_side_by_side, 0, 2);
	tcase_add_loop_test(tests, a_cancelled_wait_leaves_the_child, 0, 2);
	tcase_add_loop_test(tests, wait_is_for_children, 0, 2);
	tcase_add_loop_test(tests, ignored_children_are_none, 0, 2);
	tcase_add_test(tests, what_comes_after_a_wait_is_not_disturbed);
	tcase_add_test(tests, kill_says_what_is_wrong);
	suite_add_tcase(suite, tests);
	return run_suite(suite);
}
