/* SPDX-License-Identifier: MIT */
/* Starting child processes: what they get and what they do not. What goes wrong
 * is in test_spawn_errors.c. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "descriptors.h"
#include "process.h"
#include "runtime.h"

enum { NR_SIDE_BY_SIDE = 10 };

static char text[4096];

static void read_text(int fd)
{
	size_t length = 0;
	ssize_t ret;

	do {
		ret = zs_read(fd, text + length, sizeof(text) - 1 - length);
		ck_assert_int_ge(ret, 0);
		length += (size_t)ret;
	} while (ret > 0);
	text[length] = '\0';
}

/* Runs it with its output a pipe; how it ended. */
static int run_for_text(struct zs_child_options *options)
{
	struct zs_child child;
	pid_t pid;

	options->out = ZS_CHILD_PIPE;
	ck_assert_int_eq(zs_child_spawn(&child, options), 0);
	pid = child.pid;
	ck_assert(is_cloexec(child.out));
	ck_assert(child.pidfd < 0 || is_cloexec(child.pidfd));
	read_text(child.out);
	ck_assert_int_eq(zs_child_close(&child), 0);
	ck_assert_int_eq(child.out, -1);
	ck_assert_int_eq(child.pidfd, -1);
	ck_assert_int_eq(zs_child_close(&child), 0);
	return zs_child_wait(pid, NULL);
}

static int talk_to_child(void *arg)
{
	struct zs_child_options options = shell("cat; echo more; exit 3");
	struct zs_child child;
	int fd = next_fd();

	(void)arg;
	options.in = ZS_CHILD_PIPE;
	options.out = ZS_CHILD_PIPE;
	ck_assert_int_eq(zs_child_spawn(&child, &options), 0);
	ck_assert_int_eq(child.err, -1);
	ck_assert_int_eq(zs_write(child.in, "some\n", 5), 5);
	ck_assert_int_eq(zs_close(child.in), 0);
	child.in = -1;
	read_text(child.out);
	ck_assert_str_eq(text, "some\nmore\n");
	ck_assert_int_eq(zs_child_wait(child.pid, NULL), 3);
	ck_assert_int_eq(zs_child_kill(&child, SIGTERM), -ESRCH);
	ck_assert_int_eq(zs_child_close(&child), 0);
	ck_assert_int_eq(next_fd(), fd);
	return 0;
}

START_TEST(pipes_lead_to_and_from_the_child)
{
	ck_assert_int_eq(run_task(talk_to_child, NULL), 0);
}
END_TEST

static int get_streams(void *arg)
{
	struct zs_child_options options =
		shell("echo a; echo b >&2; cat; read x || exit 4");

	(void)arg;
	options.in = ZS_CHILD_NULL;
	options.err = ZS_CHILD_OUTPUT;
	ck_assert_int_eq(run_for_text(&options), 4);
	ck_assert_str_eq(text, "a\nb\n");
	options.err = ZS_CHILD_NULL;
	ck_assert_int_eq(run_for_text(&options), 4);
	ck_assert_str_eq(text, "a\n");
	return 0;
}

START_TEST(streams_are_what_was_asked_for)
{
	ck_assert_int_eq(run_task(get_streams, NULL), 0);
}
END_TEST

static int get_surroundings(void *arg)
{
	char *variables[] = { "ONE=1", "TWO=2", NULL };
	struct zs_child_options options = shell("pwd; echo $ONE$TWO$HOME$0");

	(void)arg;
	script[0] = "another/sh";
	options.file = "/bin/sh";
	options.envp = variables;
	options.cwd = "/proc";
	ck_assert_int_eq(run_for_text(&options), 0);
	ck_assert_str_eq(text, "/proc\n12another/sh\n");
	options.envp = NULL;
	options.cwd = NULL;
	setenv("ONE", "one", 1);
	ck_assert_int_eq(chdir("/dev"), 0);
	script[2] = "pwd; echo $ONE";
	ck_assert_int_eq(run_for_text(&options), 0);
	ck_assert_str_eq(text, "/dev\none\n");
	return 0;
}

START_TEST(folder_environment_and_names_are_what_was_asked_for)
{
	ck_assert_int_eq(run_task(get_surroundings, NULL), 0);
}
END_TEST

/* The two change places, in which no order of copies alone would do. */
static int cross_descriptors(void *arg)
{
	struct zs_child_options options =
		shell("read x <&8; read y <&9; read z <&1; echo $x$y$z >&2");
	struct zs_child_fd fds[3];
	struct zs_child child;
	int pipes[3][2], i;

	(void)arg;
	/* A shell has one digit for them. */
	while (next_fd() < 10)
		ck_assert_int_ge(dup(STDIN_FILENO), 0);
	for (i = 0; i < 3; i++) {
		make_pipe(pipes[i]);
		ck_assert_int_eq(dprintf(pipes[i][1], "%c\n", "abc"[i]), 2);
	}
	ck_assert_int_eq(dup2(pipes[0][0], 8), 8);
	ck_assert_int_eq(dup2(pipes[1][0], 9), 9);
	ck_assert_int_eq(fcntl(8, F_SETFD, FD_CLOEXEC), 0);
	fds[0] = (struct zs_child_fd){ 8, 9 };
	fds[1] = (struct zs_child_fd){ 9, 8 };
	fds[2] = (struct zs_child_fd){ pipes[2][0], 1 };
	options.fds = fds;
	options.num_fds = 3;
	options.err = ZS_CHILD_PIPE;
	ck_assert_int_eq(zs_child_spawn(&child, &options), 0);
	read_text(child.err);
	ck_assert_str_eq(text, "bac\n");
	ck_assert(is_cloexec(8));
	ck_assert(!is_cloexec(9));
	ck_assert_int_eq(zs_child_wait(child.pid, NULL), 0);
	return zs_child_close(&child);
}

START_TEST(descriptors_may_change_places)
{
	ck_assert_int_eq(run_task(cross_descriptors, NULL), 0);
}
END_TEST

/* The folder's own descriptor is the fourth. */
static int list_descriptors(void *arg)
{
	struct zs_child_options options = shell("exec ls /proc/self/fd");
	struct zs_child_fd extra = { .fd = 2, .as = 7 };
	struct zs_child other;

	(void)arg;
	options.in = ZS_CHILD_PIPE;
	options.err = ZS_CHILD_PIPE;
	options.out = ZS_CHILD_NULL;
	ck_assert_int_eq(zs_child_spawn(&other, &options), 0);
	options.in = ZS_CHILD_NULL;
	options.err = ZS_CHILD_NULL;
	options.fds = &extra;
	options.num_fds = 1;
	ck_assert_int_eq(run_for_text(&options), 0);
	ck_assert_str_eq(text, "0\n1\n2\n3\n7\n");
	zs_child_wait(other.pid, NULL);
	return zs_child_close(&other);
}

START_TEST(nothing_of_ours_leaks_into_the_child)
{
	int fd;

	/* Of those who run the tests. */
	for (fd = 3; fd < 1024; fd++)
		if (is_open(fd))
			ck_assert_int_eq(fcntl(fd, F_SETFD, FD_CLOEXEC), 0);
	ck_assert_int_eq(run_task(list_descriptors, NULL), 0);
}
END_TEST

/* Its line of /proc/self/status as a number. */
static unsigned long long signals_in_text(const char *name)
{
	const char *line = strstr(text, name);

	ck_assert_ptr_nonnull(line);
	return strtoull(line + strlen(name), NULL, 16);
}

static int get_signals(void *arg)
{
	struct zs_child_options options = shell("exec cat /proc/self/status");

	(void)arg;
	ck_assert_int_eq(run_for_text(&options), 0);
	ck_assert_uint_eq(signals_in_text("SigBlk:"), 0);
	ck_assert_uint_eq(signals_in_text("SigCgt:"), 0);
	ck_assert(!(signals_in_text("SigIgn:") & 1ull << (SIGPIPE - 1)));
	ck_assert(signals_in_text("SigIgn:") & 1ull << (SIGHUP - 1));
	return 0;
}

static void on_signal(int signal_number)
{
	(void)signal_number;
}

START_TEST(signals_are_put_right)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGUSR1, on_signal);
	ck_assert_int_eq(run_task(get_signals, NULL), 0);
}
END_TEST

static int lead_groups(void *arg)
{
	struct zs_child_options options =
		shell("cut -d' ' -f5,6 /proc/$$/stat; echo $$");
	int group, session, pid;

	(void)arg;
	options.flags = ZS_CHILD_GROUP;
	ck_assert_int_eq(run_for_text(&options), 0);
	ck_assert_int_eq(sscanf(text, "%d %d %d", &group, &session, &pid), 3);
	ck_assert_int_eq(group, pid);
	ck_assert_int_eq(session, getsid(0));
	options.flags = ZS_CHILD_SESSION;
	ck_assert_int_eq(run_for_text(&options), 0);
	ck_assert_int_eq(sscanf(text, "%d %d %d", &group, &session, &pid), 3);
	ck_assert_int_eq(group, pid);
	ck_assert_int_eq(session, pid);
	return 0;
}

START_TEST(a_child_may_lead_a_group_or_session)
{
	ck_assert_int_eq(run_task(lead_groups, NULL), 0);
}
END_TEST

static int kill_child(void *arg)
{
	struct zs_child_options options = shell("read forever");
	struct zs_child_status status;
	struct zs_child child;

	(void)arg;
	options.in = ZS_CHILD_PIPE;
	ck_assert_int_eq(zs_child_spawn(&child, &options), 0);
	ck_assert_int_eq(zs_child_kill(&child, 0), 0);
	ck_assert_int_eq(zs_child_kill(&child, 1000), -EINVAL);
	ck_assert_int_eq(zs_child_kill(&child, SIGTERM), 0);
	ck_assert_int_eq(zs_child_wait(child.pid, &status), 128 + SIGTERM);
	ck_assert_int_eq(status.end, ZS_CHILD_KILLED);
	return zs_child_close(&child);
}

START_TEST(a_child_can_be_killed)
{
	ck_assert_int_eq(run_task(kill_child, NULL), 0);
}
END_TEST

static int talk_at_once(void *arg)
{
	(void)arg;
	return talk_to_child(NULL);
}

/* Descriptors come and go side by side, so they are counted at the end. */
static int one_of_many(void *arg)
{
	struct zs_child_options options = shell("read x; exit $x");
	struct zs_child child;
	int i = *(int *)arg;
	char line[] = { (char)('0' + i), '\n' };

	options.in = ZS_CHILD_PIPE;
	ck_assert_int_eq(zs_child_spawn(&child, &options), 0);
	ck_assert_int_eq(zs_write(child.in, line, 2), 2);
	ck_assert_int_eq(zs_child_wait(child.pid, NULL), i);
	return zs_child_close(&child);
}

static int spawn_many(void *arg)
{
	struct zs_nursery nursery;
	int i;

	(void)arg;
	ck_assert_int_eq(zs_nursery_open(&nursery, NULL), 0);
	for (i = 0; i < NR_SIDE_BY_SIDE; i++)
		ck_assert_int_eq(zs_nursery_spawn_copy(nursery, one_of_many, &i,
						       sizeof(i)),
				 0);
	return zs_nursery_wait(nursery);
}

START_TEST(many_are_started_side_by_side)
{
	struct zs_config config = test_config();
	int fd = next_fd();

	config.num_workers = 2;
	ck_assert_int_eq(run_task_with(&config, spawn_many, NULL), 0);
	ck_assert_int_eq(next_fd(), fd);
	assert_no_children();
}
END_TEST

static int keep_errno(void *arg)
{
	struct zs_child_options options = shell("exit 0");
	struct zs_child child;

	(void)arg;
	errno = 4711;
	ck_assert_int_eq(zs_child_spawn(&child, &options), 0);
	ck_assert_int_eq(zs_child_wait(child.pid, NULL), 0);
	ck_assert_int_eq(zs_child_kill(&child, 0), -ESRCH);
	ck_assert_int_eq(zs_child_close(&child), 0);
	options.file = "/nowhere";
	ck_assert_int_eq(zs_child_spawn(&child, &options), -ENOENT);
	ck_assert_int_eq(errno, 4711);
	return 0;
}

START_TEST(errno_is_left_alone)
{
	ck_assert_int_eq(run_task(keep_errno, NULL), 0);
}
END_TEST

START_TEST(it_fits_a_small_stack)
{
	struct zs_config config = test_config();

	config.green_thread_stack_size = ZS_STACK_SIZE_MIN;
	ck_assert_int_eq(run_task_with(&config, talk_at_once, NULL), 0);
}
END_TEST

/* --- its parent's end --- */

#define BE_DEPENDENT "be-dependent"

static atomic_bool idle_threads_end;

int __real_pthread_cond_timedwait(pthread_cond_t *condition,
				  pthread_mutex_t *mutex,
				  const struct timespec *until);
int __wrap_pthread_cond_timedwait(pthread_cond_t *condition,
				  pthread_mutex_t *mutex,
				  const struct timespec *until);

/* In the place of libc's; see the Kbuild. */
int __wrap_pthread_cond_timedwait(pthread_cond_t *condition,
				  pthread_mutex_t *mutex,
				  const struct timespec *until)
{
	if (atomic_load(&idle_threads_end))
		return ETIMEDOUT;
	return __real_pthread_cond_timedwait(condition, mutex, until);
}

/* This program as the child: says when it is ready, and waits for its input's
 * end. */
static int be_dependent(void)
{
	char byte = 'r';

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (write(STDOUT_FILENO, &byte, 1) < 0)
		return 1;
	return read(STDIN_FILENO, &byte, 1) == 0 ? 7 : 2;
}

static uint64_t nr_threads(void)
{
	struct zs_stats stats;

	ck_assert_int_eq(zs_stats(NULL, &stats), 0);
	return stats.offload_files.threads;
}

/* A thread that is to end has all the time that it needs. */
static void let_idle_threads_end(void)
{
	struct zs_child_options options = shell("exit 0");
	struct zs_child other;

	atomic_store(&idle_threads_end, true);
	ck_assert_int_eq(zs_child_spawn(&other, &options), 0);
	ck_assert_int_eq(zs_child_wait(other.pid, NULL), 0);
	ck_assert_int_eq(zs_child_close(&other), 0);
	for (int i = 0; i < 50 && nr_threads() > 0; i++)
		ck_assert_int_eq(zs_sleep(ZS_MILLISECOND), 0);
	atomic_store(&idle_threads_end, false);
}

static int outlive_threads(void *arg)
{
	char *argv[] = { "/proc/self/exe", BE_DEPENDENT, NULL };
	struct zs_child_options options = { .size = sizeof(options),
					    .argv = argv,
					    .in = ZS_CHILD_PIPE,
					    .out = ZS_CHILD_PIPE };
	struct zs_child child;
	pid_t pid;

	(void)arg;
	ck_assert_int_eq(zs_child_spawn(&child, &options), 0);
	pid = child.pid;
	ck_assert_int_eq(zs_read(child.out, text, 1), 1);
	let_idle_threads_end();
	ck_assert_int_eq(zs_child_close(&child), 0);
	ck_assert_int_eq(zs_child_wait(pid, NULL), 7);
	return 0;
}

START_TEST(its_parent_does_not_end_before_the_runtime)
{
	ck_assert_int_eq(run_task(outlive_threads, NULL), 0);
}
END_TEST

int main(int argc, char **argv)
{
	Suite *suite;
	TCase *tests;

	if (argc > 1 && strcmp(argv[1], BE_DEPENDENT) == 0)
		return be_dependent();
	suite = suite_create("spawn_process");
	tests = tcase_create("spawn_process");
	tcase_add_test(tests, pipes_lead_to_and_from_the_child);
	tcase_add_test(tests, streams_are_what_was_asked_for);
	tcase_add_test(tests,
		       folder_environment_and_names_are_what_was_asked_for);
	tcase_add_test(tests, descriptors_may_change_places);
	tcase_add_test(tests, nothing_of_ours_leaks_into_the_child);
	tcase_add_test(tests, signals_are_put_right);
	tcase_add_test(tests, a_child_may_lead_a_group_or_session);
	tcase_add_test(tests, a_child_can_be_killed);
	tcase_add_test(tests, many_are_started_side_by_side);
	tcase_add_test(tests, errno_is_left_alone);
	tcase_add_test(tests, it_fits_a_small_stack);
	tcase_add_test(tests, its_parent_does_not_end_before_the_runtime);
	suite_add_tcase(suite, tests);
	return run_suite(suite);
}
