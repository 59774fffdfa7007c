/* SPDX-License-Identifier: MIT */
/* Child processes that cannot be started: why, and that nothing is left. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "descriptors.h"
#include "process.h"
#include "runtime.h"

static char folder[] = "/tmp/zsync-test-XXXXXX";
static char path[64];

static void refuse(const struct zs_child_options *options, int error)
{
	struct zs_child child = { .pid = 1234 };
	int fd = next_fd();

	ck_assert_int_eq(zs_child_spawn(&child, options), error);
	ck_assert_int_eq(child.pid, 1234);
	ck_assert_int_eq(next_fd(), fd);
	assert_no_children();
}

static int fail_to_exec(void *arg)
{
	static char *long_argv[] = { "sh", NULL, NULL };
	struct zs_child_options options = shell("exit 0");

	(void)arg;
	options.in = ZS_CHILD_PIPE;
	options.out = ZS_CHILD_PIPE;
	options.err = ZS_CHILD_NULL;
	options.file = "/nowhere/sh";
	refuse(&options, -ENOENT);
	options.file = "no-program-is-called-like-this";
	refuse(&options, -ENOENT);
	options.file = "/dev/null";
	refuse(&options, -EACCES);
	options.file = path; /* empty, and so no program */
	refuse(&options, -ENOEXEC);
	options.file = "/bin/sh";
	options.cwd = "/nowhere";
	refuse(&options, -ENOENT);
	options.cwd = "/bin/sh";
	refuse(&options, -ENOTDIR);
	options.cwd = NULL;
	long_argv[1] = malloc(1 << 20);
	ck_assert_ptr_nonnull(long_argv[1]);
	memset(long_argv[1], 'x', 1 << 20);
	long_argv[1][(1 << 20) - 1] = '\0';
	options.argv = long_argv;
	refuse(&options, -E2BIG);
	free(long_argv[1]);
	return 0;
}

/* A shell would run what is not in a format that the kernel knows: only a
 * program without a slash is that sort of command. */
START_TEST(what_cannot_be_executed_says_why)
{
	int fd;

	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/program", folder);
	fd = open(path, O_WRONLY | O_CREAT, 0700);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, "\177ELF", 4), 4);
	close(fd);
	ck_assert_int_eq(run_task(fail_to_exec, NULL), 0);
	unlink(path);
	rmdir(folder);
}
END_TEST

static void refuse_saying(const struct zs_child_options *options,
			  const char *word)
{
	refuse(options, -EINVAL);
	ck_assert_msg(strstr(zs_explain(-EINVAL), word), "%s",
		      zs_explain(-EINVAL));
}

static int pass_nonsense(void *arg)
{
	struct zs_child_options good = shell("exit 0"), bad = good;
	static char *nothing[] = { NULL };
	struct zs_child child;

	(void)arg;
	refuse(NULL, -EINVAL);
	ck_assert_int_eq(zs_child_spawn(NULL, &good), -EINVAL);
	bad.size = 0;
	refuse_saying(&bad, "size");
	bad = good;
	bad.argv = NULL;
	refuse_saying(&bad, "argv");
	bad.argv = nothing;
	refuse_saying(&bad, "argv");
	bad = good;
	bad.flags = 1 << 7;
	refuse_saying(&bad, "flag");
	bad = good;
	bad.in = ZS_CHILD_OUTPUT;
	refuse_saying(&bad, "_OUTPUT");
	bad.in = 99;
	refuse_saying(&bad, "_OUTPUT");
	bad = good;
	bad.num_fds = 1;
	refuse_saying(&bad, "num_fds");
	ck_assert_int_eq(zs_child_close(NULL), -EINVAL);
	child = (struct zs_child){ 0, -1, -1, -1, closed_fd() };
	ck_assert_int_eq(zs_child_close(&child), -EBADF);
	ck_assert_int_eq(child.err, -1);
	return 0;
}

START_TEST(options_that_make_no_sense_are_refused)
{
	struct zs_child_options good = shell("exit 0");
	struct zs_child child = { .pid = 0 };

	ck_assert_int_eq(zs_child_spawn(&child, &good), -EPERM);
	ck_assert_int_eq(zs_child_close(&child), -EPERM);
	ck_assert_int_eq(run_task(pass_nonsense, NULL), 0);
}
END_TEST

static int pass_bad_descriptors(void *arg)
{
	struct zs_child_fd fds[ZS_CHILD_FDS_MAX + 1] = { { 0, 5 }, { 0, 5 } };
	struct zs_child_options options = shell("exit 0");

	(void)arg;
	options.in = ZS_CHILD_PIPE;
	options.fds = fds;
	options.num_fds = 2;
	refuse_saying(&options, "two");
	fds[1].as = 0;
	refuse_saying(&options, "two");
	options.num_fds = ZS_CHILD_FDS_MAX + 1;
	refuse_saying(&options, "num_fds");
	options.num_fds = 1;
	fds[0].fd = closed_fd();
	refuse(&options, -EBADF);
	fds[0].fd = -1;
	refuse(&options, -EBADF);
	fds[0] = (struct zs_child_fd){ 0, -1 };
	refuse(&options, -EBADF);
	fds[0].as = 1 << 30;
	refuse(&options, -EBADF);
	fds[0].as = INT32_MAX;
	refuse(&options, -EBADF);
	return 0;
}

START_TEST(descriptors_that_are_none_are_refused)
{
	ck_assert_int_eq(run_task(pass_bad_descriptors, NULL), 0);
}
END_TEST

/* With @arg descriptors left. */
static int run_short(void *arg)
{
	struct zs_child_options options = shell("exit 0");
	struct rlimit few = { 0, 0 }, before;
	struct zs_child child;
	int ret, fd = next_fd();

	options.in = ZS_CHILD_PIPE;
	options.out = ZS_CHILD_PIPE;
	options.err = ZS_CHILD_NULL;
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	few.rlim_cur = (rlim_t)fd + (rlim_t) * (int *)arg;
	few.rlim_max = before.rlim_max;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	ret = zs_child_spawn(&child, &options);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	if (ret == 0) {
		ck_assert_int_eq(zs_child_wait(child.pid, NULL), 0);
		ck_assert_int_eq(zs_child_close(&child), 0);
	} else {
		ck_assert_int_eq(ret, -EMFILE);
	}
	ck_assert_int_eq(next_fd(), fd);
	assert_no_children();
	return ret;
}

START_TEST(without_descriptors_nothing_is_left)
{
	int left, nr_failed = 0;

	for (left = 0; left < 10; left++)
		nr_failed += run_task(run_short, &left) < 0;
	ck_assert_int_ge(nr_failed, 3);
	ck_assert_int_lt(nr_failed, 10);
}
END_TEST

static int spawn_cancelled(void *arg)
{
	struct zs_child_options options = shell("exit 0");
	struct zs_cancel_token token;

	(void)arg;
	options.in = ZS_CHILD_PIPE;
	ck_assert_int_eq(zs_cancel_token_open(&token, ZS_NEVER), 0);
	ck_assert_int_eq(zs_cancel_token_cancel(token), 0);
	refuse(&options, -ECANCELED);
	return zs_cancel_token_close(token);
}

START_TEST(in_a_cancelled_scope_nothing_is_started)
{
	ck_assert_int_eq(run_task(spawn_cancelled, NULL), -ECANCELED);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("spawn_errors");
	TCase *tests = tcase_create("spawn_errors");

	tcase_add_test(tests, what_cannot_be_executed_says_why);
	tcase_add_test(tests, options_that_make_no_sense_are_refused);
	tcase_add_test(tests, descriptors_that_are_none_are_refused);
	tcase_add_test(tests, without_descriptors_nothing_is_left);
	tcase_add_test(tests, in_a_cancelled_scope_nothing_is_started);
	suite_add_tcase(suite, tests);
	return run_suite(suite);
}
