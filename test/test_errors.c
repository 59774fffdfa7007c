/* SPDX-License-Identifier: MIT */
/*
 * What calls leave behind for who asks: errno as it was, whatever system calls
 * they made, and for zs_explain() never the text of an earlier failure.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "descriptors.h"
#include "libc.h"
#include "workers.h"

/* --- errno --- */

static int do_nothing(void *arg)
{
	(void)arg;
	return 0;
}

/* No call sets it; ERANGE is set by nothing here. */
#define ASSERT_KEEPS_ERRNO(call, expected)        \
	do {                                      \
		errno = ERANGE;                   \
		ck_assert_int_eq(call, expected); \
		ck_assert_int_eq(errno, ERANGE);  \
	} while (0)

/* Bound twice; the second fails. */
static int fail_all_calls(void *arg)
{
	struct sockaddr_in address;
	socklen_t length = sizeof(address);
	int bound = make_bound(SOCK_STREAM, &address);
	int bad = closed_fd(), fd = socket(AF_INET, SOCK_STREAM, 0);

	(void)arg;
	ASSERT_KEEPS_ERRNO(zs_bind(bad, (struct sockaddr *)&address, length),
			   -EBADF);
	ASSERT_KEEPS_ERRNO(zs_bind(fd, (struct sockaddr *)&address, length),
			   -EADDRINUSE);
	ASSERT_KEEPS_ERRNO(zs_listen(bad, 1), -EBADF);
	ASSERT_KEEPS_ERRNO(zs_close(bad), -EBADF);
	ASSERT_KEEPS_ERRNO(zs_shutdown(bound, SHUT_RDWR), -ENOTCONN);
	ASSERT_KEEPS_ERRNO(zs_socket(-1, 0, 0), -EAFNOSUPPORT);
	ASSERT_KEEPS_ERRNO(zs_openat(AT_FDCWD, "/nowhere", O_RDONLY, 0),
			   -ENOENT);
	ASSERT_KEEPS_ERRNO(zs_local_port(bad), -EBADF);
	ASSERT_KEEPS_ERRNO(zs_tcp_listen("nowhere:0", 1), -EINVAL);
	ASSERT_KEEPS_ERRNO(zs_close(fd), 0);
	ASSERT_KEEPS_ERRNO(zs_close(bound), 0);
	return 0;
}

/* Over the ring, and by direct calls where the ring has none of these. */
START_TEST(failing_calls_leave_errno_alone)
{
	if (_i)
		setenv("ZSYNC_DISABLE", "bind,listen,close,socket,shutdown", 1);
	assert_ok(run_task(fail_all_calls, NULL));
}
END_TEST

START_TEST(life_of_a_runtime_leaves_errno_alone)
{
	struct zs_config config = test_config();
	struct zs_runtime *runtime;

	config.num_workers = 2;
	ASSERT_KEEPS_ERRNO(zs_runtime_create(&runtime, &config), 0);
	ASSERT_KEEPS_ERRNO(zs_runtime_start(runtime), 0);
	ASSERT_KEEPS_ERRNO(zs_runtime_spawn(runtime, do_nothing, NULL), 0);
	ASSERT_KEEPS_ERRNO(zs_runtime_stop(runtime, ZS_NEVER), 0);
	ASSERT_KEEPS_ERRNO(zs_runtime_destroy(runtime), 0);
	ASSERT_KEEPS_ERRNO(zs_run(&config, do_nothing, NULL), 0);
}
END_TEST

/* --- texts --- */

/* Leaves a text for @error, which can only be about the configuration. */
static void leave_text(int error)
{
	struct zs_config config = zs_config_default();

	config.num_workers = ZS_WORKERS_MAX + 1;
	ck_assert_int_eq(zs_config_validate(&config), -EINVAL);
	ck_assert_ptr_nonnull(strstr(zs_explain(-EINVAL), "num_workers"));
	ck_assert_int_eq(error, -EINVAL);
}

#define ASSERT_HAS_OWN_TEXT(call)                                          \
	do {                                                               \
		leave_text(-EINVAL);                                       \
		ck_assert_int_eq(call, -EINVAL);                           \
		ck_assert_msg(!strstr(zs_explain(-EINVAL), "num_workers"), \
			      "%s: %s", #call, zs_explain(-EINVAL));       \
	} while (0)

static int misuse_calls(void *arg)
{
	enum zs_execution_model model;
	struct zs_worker_stats stats;
	struct zs_nursery nursery;
	struct statx status;

	(void)arg;
	ASSERT_HAS_OWN_TEXT(zs_openat(-1, NULL, 0, 0));
	ASSERT_HAS_OWN_TEXT((int)zs_read(0, NULL, 1));
	ASSERT_HAS_OWN_TEXT((int)zs_pread(0, &status, 1, -1));
	ASSERT_HAS_OWN_TEXT((int)zs_send(0, NULL, 1, 0));
	ASSERT_HAS_OWN_TEXT((int)zs_send_all(0, NULL, 1, 0));
	ASSERT_HAS_OWN_TEXT(zs_poll_fd(0, 0));
	ASSERT_HAS_OWN_TEXT(zs_tcp_listen("nowhere:0", 1));
	ASSERT_HAS_OWN_TEXT(zs_tcp_listen(NULL, 1));
	ASSERT_HAS_OWN_TEXT(zs_tcp_connect("nowhere"));
	ASSERT_HAS_OWN_TEXT(zs_task_set_name(NULL));
	ASSERT_HAS_OWN_TEXT(zs_cancel_token_open(NULL, ZS_NEVER));
	ASSERT_HAS_OWN_TEXT(zs_nursery_open(NULL, NULL));
	ASSERT_HAS_OWN_TEXT(zs_stats_worker(NULL, 1, &stats));
	ASSERT_HAS_OWN_TEXT(zs_execution_model_parse("none", &model));
	assert_ok(zs_nursery_open(&nursery, NULL));
	ASSERT_HAS_OWN_TEXT(zs_nursery_spawn(nursery, NULL, NULL));
	ASSERT_HAS_OWN_TEXT(
		zs_nursery_spawn_copy(nursery, do_nothing, NULL, 1));
	return zs_nursery_wait(nursery);
}

START_TEST(text_of_an_earlier_failure_is_not_a_calls_own)
{
	assert_ok(run_task(misuse_calls, NULL));
}
END_TEST

/* What no check of ours refuses but the kernel does. */
static int fail_in_kernel(void *arg)
{
	struct sockaddr_in address;
	int fd = make_bound(SOCK_STREAM, &address);

	(void)arg;
	ASSERT_HAS_OWN_TEXT(
		zs_bind(fd, (struct sockaddr *)&address, sizeof(address)));
	ASSERT_HAS_OWN_TEXT(zs_shutdown(fd, 77));
	ASSERT_HAS_OWN_TEXT(zs_accept(fd, NULL, NULL, 0));
	return zs_close(fd);
}

START_TEST(text_of_an_earlier_failure_is_not_the_kernels)
{
	if (_i)
		setenv("ZSYNC_DISABLE", "bind,listen,close,socket,shutdown", 1);
	assert_ok(run_task(fail_in_kernel, NULL));
}
END_TEST

static Suite *errors_suite(void)
{
	Suite *suite = suite_create("errors");
	TCase *tests = tcase_create("errors");

	tcase_add_loop_test(tests, failing_calls_leave_errno_alone, 0, 2);
	tcase_add_test(tests, life_of_a_runtime_leaves_errno_alone);
	tcase_add_test(tests, text_of_an_earlier_failure_is_not_a_calls_own);
	tcase_add_loop_test(
		tests, text_of_an_earlier_failure_is_not_the_kernels, 0, 2);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(errors_suite());
}
