/* SPDX-License-Identifier: MIT */
/* Unix sockets by names that are long, left over, or another's. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "descriptors.h"
#include "runtime.h"

/* Shared by the tasks of a test; each test is a process of its own. */
static int ends[2];
static char folder[] = "/tmp/zsync-test-XXXXXX";
static char path[200];

static void make_folder(void)
{
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/socket", folder);
}

static void remove_folder(void)
{
	unlink(path);
	rmdir(folder);
}

/* --- names --- */

static int answer(void *arg)
{
	int fd = zs_accept(ends[0], NULL, NULL, 0);
	char byte = 0;

	(void)arg;
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(zs_recv(fd, &byte, 1, 0), 1);
	ck_assert_int_eq(zs_send(fd, &byte, 1, 0), 1);
	ck_assert_int_eq(zs_recv(fd, &byte, 1, 0), 0);
	return zs_close(fd);
}

static int ask(void *arg)
{
	int fd = zs_unix_connect(path);
	char byte = 'x';

	(void)arg;
	ck_assert_msg(fd >= 0, "%s: %s", path, zs_explain(fd));
	ck_assert(is_cloexec(fd));
	ck_assert_int_eq(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
	ck_assert_int_eq(zs_send(fd, &byte, 1, 0), 1);
	byte = 0;
	ck_assert_int_eq(zs_recv(fd, &byte, 1, 0), 1);
	ck_assert_int_eq(byte, 'x');
	return zs_close(fd);
}

static int meet(void *arg)
{
	struct test_siblings siblings = { answer, ask, arg };

	ends[0] = zs_unix_listen(path, 1);
	ck_assert_msg(ends[0] >= 0, "%s: %s", path, zs_explain(ends[0]));
	ck_assert(is_cloexec(ends[0]));
	ck_assert_int_eq(run_test_siblings(&siblings), 0);
	return zs_close(ends[0]);
}

/* @length bytes in all. */
static void make_long_name(char first, size_t length)
{
	size_t start = first == '@' ? 0 : strlen(folder) + 1;

	memset(path + start, 'x', length - start);
	path[start] = first;
	path[length] = '\0';
}

/* A path, the longest one, an abstract name, the longest one, the shortest. */
START_TEST(client_and_server_meet_by_a_name)
{
	int before;

	if (_i == 1)
		make_long_name('x', 107);
	else if (_i == 2)
		snprintf(path, sizeof(path), "@zsync-test-%ld", (long)getpid());
	else if (_i == 3)
		make_long_name('@', 108);
	else if (_i == 4)
		snprintf(path, sizeof(path), "@");
	before = next_fd();
	ck_assert_int_eq(run_task(meet, NULL), 0);
	ck_assert_int_eq(next_fd(), before);
}
END_TEST

static int use_bad_names(void *arg)
{
	(void)arg;
	ck_assert_int_eq(zs_unix_listen(NULL, 1), -EINVAL);
	ck_assert_int_eq(zs_unix_connect(NULL), -EINVAL);
	ck_assert_int_eq(zs_unix_listen("", 1), -EINVAL);
	ck_assert_int_eq(zs_unix_connect(""), -EINVAL);
	make_long_name('x', 108);
	ck_assert_int_eq(zs_unix_listen(path, 1), -ENAMETOOLONG);
	ck_assert_ptr_nonnull(strstr(zs_explain(-ENAMETOOLONG), "107"));
	ck_assert_int_eq(zs_unix_connect(path), -ENAMETOOLONG);
	make_long_name('@', 109);
	ck_assert_int_eq(zs_unix_listen(path, 1), -ENAMETOOLONG);
	ck_assert_int_eq(zs_unix_connect(path), -ENAMETOOLONG);
	ck_assert_int_eq(zs_unix_connect("/nowhere/at/all"), -ENOENT);
	ck_assert_int_eq(zs_unix_listen("/nowhere/at/all", 1), -ENOENT);
	ck_assert_int_eq(zs_unix_connect("@zsync-test-nobody"), -ECONNREFUSED);
	return 0;
}

START_TEST(names_that_are_no_good_are_told)
{
	int before = next_fd();

	errno = ERANGE;
	ck_assert_int_eq(run_task(use_bad_names, NULL), 0);
	ck_assert_int_eq(next_fd(), before);
	strcpy(path, folder);
}
END_TEST

static int listen_again(void *arg)
{
	ends[0] = zs_unix_listen(path, 1);
	ck_assert_int_ge(ends[0], 0);
	ck_assert_int_eq(zs_close(ends[0]), 0);
	ck_assert_int_eq(access(path, F_OK), 0);
	ck_assert_int_eq(zs_unix_connect(path), -ECONNREFUSED);
	return meet(arg);
}

START_TEST(a_file_left_over_is_replaced)
{
	ck_assert_int_eq(run_task(listen_again, NULL), 0);
}
END_TEST

static int listen_in_vain(void *arg)
{
	int before = next_fd();

	(void)arg;
	errno = ERANGE;
	ck_assert_int_eq(zs_unix_listen(path, 1), -EADDRINUSE);
	ck_assert_int_eq(errno, ERANGE);
	ck_assert_int_eq(next_fd(), before);
	return 0;
}

/* A server that listens, one with no room, a datagram socket, a file, a folder,
 * a link to nowhere. */
START_TEST(what_is_in_use_or_no_socket_is_left_alone)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	struct stat then, now;
	int fd;

	snprintf(name.sun_path, sizeof(name.sun_path), "%.100s", path);
	if (_i <= 2) {
		fd = socket(AF_UNIX, _i == 2 ? SOCK_DGRAM : SOCK_STREAM, 0);
		ck_assert_int_eq(bind(fd, (void *)&name, sizeof(name)), 0);
		if (_i < 2)
			ck_assert_int_eq(listen(fd, 0), 0);
		if (_i == 1) {
			fd = socket(AF_UNIX, SOCK_STREAM, 0);
			ck_assert_int_eq(
				connect(fd, (void *)&name, sizeof(name)), 0);
		}
	} else if (_i == 3) {
		ck_assert_int_ge(open(path, O_CREAT | O_WRONLY, 0600), 0);
	} else if (_i == 4) {
		ck_assert_int_eq(mkdir(path, 0700), 0);
	} else {
		ck_assert_int_eq(symlink("nowhere", path), 0);
	}
	ck_assert_int_eq(lstat(path, &then), 0);
	ck_assert_int_eq(run_task(listen_in_vain, NULL), 0);
	ck_assert_int_eq(lstat(path, &now), 0);
	ck_assert_uint_eq(then.st_ino, now.st_ino);
	rmdir(path);
}
END_TEST

/* The queue of the listener is full until it accepts. */
static int connect_to_busy(void *arg)
{
	int fd = zs_unix_connect(path);

	(void)arg;
	ck_assert_int_ge(fd, 0);
	return fd;
}

static int connect_to_full_queue(void *arg)
{
	struct zs_nursery nursery;
	int first;

	(void)arg;
	ends[0] = zs_unix_listen(path, 0);
	first = zs_unix_connect(path);
	ck_assert_int_ge(first, 0);
	ck_assert_int_eq(zs_nursery_open(&nursery, NULL), 0);
	ck_assert_int_eq(zs_nursery_spawn(nursery, connect_to_busy, NULL), 0);
	ck_assert_int_eq(zs_yield(), 0);
	for (int i = 0; i < 2; i++)
		ck_assert_int_ge(zs_accept(ends[0], NULL, NULL, 0), 0);
	return zs_nursery_wait(nursery);
}

START_TEST(connect_waits_while_the_listeners_queue_is_full)
{
	ck_assert_int_eq(run_task(connect_to_full_queue, NULL), 0);
}
END_TEST

static Suite *unix_suite(void)
{
	Suite *suite = suite_create("unix");
	TCase *tests = tcase_create("names");

	tcase_add_checked_fixture(tests, make_folder, remove_folder);
	tcase_add_loop_test(tests, client_and_server_meet_by_a_name, 0, 5);
	tcase_add_test(tests, names_that_are_no_good_are_told);
	tcase_add_test(tests, a_file_left_over_is_replaced);
	tcase_add_loop_test(tests, what_is_in_use_or_no_socket_is_left_alone, 0,
			    6);
	tcase_add_test(tests, connect_waits_while_the_listeners_queue_is_full);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(unix_suite());
}
