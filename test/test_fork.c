/* SPDX-License-Identifier: MIT */
/*
 * Children: one that executes a program gives it none of the runtime's
 * descriptors, and one that goes on does its parent's operations, timers and
 * wakes no harm. More of forks is in test_runtime_process.c.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "workers.h"

static struct zs_runtime *runtime;
static struct counter began, ended;
static int pair[2];
static int hold[2]; /* a pipe: the child lives until it is closed */

/* --- exec --- */

#define COUNT_FDS "--count-fds"

/* This program, executed: its status is how many descriptors it has. */
static int count_fds(void)
{
	int fd, number = 0;

	for (fd = 0; fd < 1024; fd++)
		number += fcntl(fd, F_GETFD) >= 0;
	return number;
}

static int status_of(pid_t child)
{
	int status;

	ck_assert_int_gt(child, 0);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int inherited_fds(void)
{
	pid_t child = fork();

	if (child == 0) {
		execl("/proc/self/exe", "test_fork", COUNT_FDS, NULL);
		_exit(255);
	}
	return status_of(child);
}

/* With what tasks have opened, a socket and a file. */
static int exec_in_task(void *arg)
{
	int listener = zs_tcp_listen("127.0.0.1:0", 1);
	int file = zs_openat(AT_FDCWD, "/dev/null", O_RDWR, 0);
	int number;

	(void)arg;
	ck_assert_int_ge(listener, 0);
	ck_assert_int_ge(file, 0);
	zs_sleep(1);
	number = inherited_fds();
	assert_ok(zs_close(listener));
	assert_ok(zs_close(file));
	return number;
}

START_TEST(program_that_is_executed_has_no_descriptor_of_ours)
{
	struct zs_config config = test_config();
	int number = inherited_fds();

	ck_assert_int_ge(number, 3);
	ck_assert_int_lt(number, 255);
	ck_assert_int_eq(run_task_on(2, exec_in_task, NULL), number);
	runtime = start_runtime(2);
	ck_assert_int_eq(inherited_fds(), number);
	stop_and_destroy(runtime);
	assert_ok(zs_runtime_create(&runtime, &config));
	if (zs_runtime_start_embedded(runtime) == 0) {
		ck_assert_int_ge(zs_runtime_step(runtime), 0);
		ck_assert_int_eq(inherited_fds(), number);
		assert_ok(zs_runtime_stop(runtime, ZS_NEVER));
	}
	assert_ok(zs_runtime_destroy(runtime));
}
END_TEST

/* --- what is under way --- */

static int receive(void *arg)
{
	char bytes[8];

	(void)arg;
	count(&began);
	ck_assert_int_eq(zs_recv(pair[0], bytes, sizeof(bytes), 0), 3);
	ck_assert_mem_eq(bytes, "abc", 3);
	count(&ended);
	return 0;
}

static int sleep_a_while(void *arg)
{
	int64_t end_ns = zs_now() + 5 * ZS_MILLISECOND;

	(void)arg;
	count(&began);
	assert_ok(zs_sleep_until(end_ns));
	ck_assert_int_ge(zs_now(), end_ns);
	count(&ended);
	return 0;
}

static void begin_some(void)
{
	assert_ok(zs_runtime_spawn(runtime, receive, NULL));
	for (int i = 0; i < 10; i++)
		assert_ok(zs_runtime_spawn(runtime, sleep_a_while, NULL));
	await_count(&began, 11);
}

/* The child has the parent's memory, and calls what it must not, while the
 * parent's operations are with the kernel. */
static pid_t fork_meddler(bool lives_on)
{
	pid_t child = fork();
	char byte;

	if (child != 0)
		return child;
	if (zs_runtime_spawn(runtime, receive, NULL) != -EPERM ||
	    !strstr(zs_explain(-EPERM), "forked") ||
	    zs_runtime_stop(runtime, ZS_NEVER) != -EPERM ||
	    zs_runtime_destroy(runtime) != -EPERM || zs_yield() != -EPERM)
		_exit(1);
	if (lives_on && (close(hold[1]) < 0 || read(hold[0], &byte, 1) != 0))
		_exit(2);
	_exit(0);
}

static pid_t fork_in_the_midst(bool lives_on)
{
	pid_t child;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	runtime = start_runtime(2);
	begin_some();
	child = fork_meddler(lives_on);
	if (!lives_on)
		ck_assert_int_eq(status_of(child), 0);
	ck_assert_int_eq(write(pair[1], "abc", 3), 3);
	await_count(&ended, 11);
	stop_and_destroy(runtime);
	return child;
}

START_TEST(child_that_ends_leaves_operations_and_timers_alone)
{
	fork_in_the_midst(false);
}
END_TEST

START_TEST(child_that_lives_on_leaves_operations_and_timers_alone)
{
	pid_t child;

	ck_assert_int_eq(pipe(hold), 0);
	child = fork_in_the_midst(true);
	/* The parent has ended its runtime: now the child may. */
	close(hold[1]);
	ck_assert_int_eq(status_of(child), 0);
}
END_TEST

/* Forks by one thread while another spawns and workers work. */
static void *spawn_all_the_time(void *arg)
{
	for (int i = 0; i < 2000; i++)
		assert_ok(zs_runtime_spawn(runtime, sleep_a_while, NULL));
	return arg;
}

START_TEST(forks_while_threads_spawn_do_no_harm)
{
	pthread_t thread;

	runtime = start_runtime(2);
	thread = start_thread(spawn_all_the_time, NULL);
	for (int i = 0; i < 20; i++)
		ck_assert_int_eq(status_of(fork_meddler(false)), 0);
	pthread_join(thread, NULL);
	await_count(&ended, 2000);
	stop_and_destroy(runtime);
}
END_TEST

static Suite *fork_suite(void)
{
	Suite *suite = suite_create("fork");
	TCase *tests = tcase_create("fork");

	tcase_set_timeout(tests, 20);
	tcase_add_test(tests,
		       program_that_is_executed_has_no_descriptor_of_ours);
	tcase_add_test(tests,
		       child_that_ends_leaves_operations_and_timers_alone);
	tcase_add_test(tests,
		       child_that_lives_on_leaves_operations_and_timers_alone);
	tcase_add_test(tests, forks_while_threads_spawn_do_no_harm);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], COUNT_FDS))
		return count_fds();
	return run_suite(fork_suite());
}
