/* SPDX-License-Identifier: MIT */
/* Descriptors sent over unix sockets, none of which may be lost: as many as can
 * be, too many, without room, cut, cancelled. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "descriptors.h"
#include "runtime.h"

/* Shared by the tasks of a test; each test is a process of its own. */
static int ends[2];

enum { MOST = ZS_SEND_FDS_MAX, MANY = MOST + 1 };

static int many[MANY];

/* All the same file, which has one name more for each. */
static void open_many(size_t count)
{
	many[0] = open("/dev/null", O_RDONLY);
	ck_assert_int_ge(many[0], 0);
	for (size_t i = 1; i < count; i++) {
		many[i] = dup(many[0]);
		ck_assert_int_ge(many[i], 0);
	}
}

static int pass(void *arg)
{
	size_t count = *(size_t *)arg, came = MOST, i;
	char buffer[8] = "";
	int fds[MOST];
	struct stat status;

	ck_assert_int_eq(zs_send_fds(ends[0], "hello", 5, 0, many, count), 5);
	ck_assert_int_eq(zs_recv_fds(ends[1], buffer, 8, 0, fds, &came), 5);
	ck_assert_str_eq(buffer, "hello");
	ck_assert_uint_eq(came, count);
	for (i = 0; i < came; i++) {
		ck_assert(is_cloexec(fds[i]));
		ck_assert_int_eq(fstat(fds[i], &status), 0);
		ck_assert(S_ISCHR(status.st_mode));
		ck_assert_int_eq(zs_close(fds[i]), 0);
	}
	return 0;
}

static const int types[] = { SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET };

START_TEST(none_one_and_as_many_as_can_be_arrive)
{
	size_t counts[] = { 0, 1, MOST };
	int before;

	make_unix_pair(types[_i / 3], ends);
	open_many(MOST);
	before = next_fd();
	ck_assert_int_eq(run_task(pass, &counts[_i % 3]), 0);
	ck_assert_int_eq(next_fd(), before);
}
END_TEST

static int send_badly(void *arg)
{
	char byte = 0;

	(void)arg;
	ck_assert_int_eq(zs_send_fds(ends[0], "x", 1, 0, many, MANY), -EINVAL);
	ck_assert_ptr_nonnull(strstr(zs_explain(-EINVAL), "253"));
	ck_assert_int_eq(zs_send_fds(ends[0], "x", 1, 0, many, SIZE_MAX),
			 -EINVAL);
	ck_assert_int_eq(zs_send_fds(ends[0], "x", 1, 0, NULL, 1), -EINVAL);
	ck_assert_int_eq(zs_send_fds(ends[0], NULL, 1, 0, many, 1), -EINVAL);
	ck_assert_int_eq(zs_send_fds(ends[0], "x", 0, 0, many, 1), -EINVAL);
	many[1] = closed_fd();
	ck_assert_int_eq(zs_send_fds(ends[0], "x", 1, 0, many, 2), -EBADF);
	many[1] = -1;
	ck_assert_int_eq(zs_send_fds(ends[0], "x", 1, 0, many, 2), -EBADF);
	ck_assert_int_eq(recv(ends[1], &byte, 1, MSG_DONTWAIT), -1);
	ck_assert_int_eq(zs_send_fds(ends[0], NULL, 0, 0, NULL, 0), 0);
	return 0;
}

START_TEST(one_too_many_or_a_bad_one_sends_nothing)
{
	make_unix_pair(SOCK_STREAM, ends);
	open_many(MANY);
	ck_assert_int_eq(run_task(send_badly, NULL), 0);
}
END_TEST

static int receive_badly(void *arg)
{
	size_t count = 1;
	int fds[1];
	char byte = 0;

	(void)arg;
	ck_assert_int_eq(zs_send_fds(ends[0], "x", 1, 0, many, 1), 1);
	ck_assert_int_eq(zs_recv_fds(ends[1], NULL, 1, 0, fds, &count),
			 -EINVAL);
	ck_assert_int_eq(zs_recv_fds(ends[1], &byte, 0, 0, fds, &count),
			 -EINVAL);
	ck_assert_int_eq(zs_recv_fds(ends[1], &byte, 1, 0, NULL, &count),
			 -EINVAL);
	ck_assert_int_eq(zs_recv_fds(ends[1], &byte, 1, 0, fds, NULL), -EINVAL);
	ck_assert_int_eq(zs_recv_fds(ends[1], &byte, 1, MSG_PEEK, fds, &count),
			 -EINVAL);
	ck_assert_int_eq(zs_recv_fds(ends[1], &byte, 1, MSG_WAITALL, fds,
				     &count),
			 -EINVAL);
	ck_assert_uint_eq(count, 1);
	ck_assert_int_eq(
		zs_recv_fds(ends[1], &byte, 1, MSG_DONTWAIT, fds, &count), 1);
	ck_assert_uint_eq(count, 1);
	ck_assert_int_eq(zs_close(fds[0]), 0);
	ck_assert_int_eq(zs_recv_fds(ends[1], &byte, 1, MSG_DONTWAIT, fds,
				     &count),
			 -EAGAIN);
	ck_assert_uint_eq(count, 0);
	ck_assert_int_eq(zs_shutdown(ends[0], SHUT_WR), 0);
	ck_assert_int_eq(zs_recv_fds(ends[1], &byte, 1, 0, fds, &count), 0);
	ck_assert_uint_eq(count, 0);
	return 0;
}

START_TEST(bad_arguments_of_a_receive_take_nothing)
{
	int before;

	make_unix_pair(SOCK_STREAM, ends);
	open_many(1);
	before = next_fd();
	ck_assert_int_eq(run_task(receive_badly, NULL), 0);
	ck_assert_int_eq(next_fd(), before);
}
END_TEST

static int receive_into_little_room(void *arg)
{
	char buffer[8] = "";
	int fds[2] = { -1, -1 };
	size_t count = 2;

	(void)arg;
	ck_assert_int_eq(zs_send_fds(ends[0], "hello", 5, 0, many, 3), 5);
	ck_assert_int_eq(zs_send_fds(ends[0], "again", 5, 0, many, 2), 5);
	ck_assert_int_eq(zs_recv_fds(ends[1], buffer, 5, 0, fds, &count),
			 -EMSGSIZE);
	ck_assert_ptr_nonnull(strstr(zs_explain(-EMSGSIZE), "3 descriptors"));
	ck_assert_uint_eq(count, 0);
	ck_assert_int_eq(fds[0], -1);
	/* The next message is none the worse for it. */
	count = 2;
	ck_assert_int_eq(zs_recv_fds(ends[1], buffer, 5, 0, fds, &count), 5);
	ck_assert_str_eq(buffer, "again");
	ck_assert_uint_eq(count, 2);
	ck_assert_int_eq(zs_close(fds[0]), 0);
	return zs_close(fds[1]);
}

START_TEST(descriptors_without_room_are_closed_and_told)
{
	int before;

	make_unix_pair(types[_i], ends);
	open_many(3);
	before = next_fd();
	ck_assert_int_eq(run_task(receive_into_little_room, NULL), 0);
	ck_assert_int_eq(next_fd(), before);
}
END_TEST

static int receive_cut(void *arg)
{
	size_t count = 1;
	char buffer[4] = "";
	int fds[1];

	(void)arg;
	ck_assert_int_eq(zs_send_fds(ends[0], "hello", 5, 0, many, 1), 5);
	ck_assert_int_eq(zs_recv_fds(ends[1], buffer, 4, 0, fds, &count),
			 -EMSGSIZE);
	ck_assert_ptr_nonnull(strstr(zs_explain(-EMSGSIZE), "longer than 4"));
	ck_assert_uint_eq(count, 0);
	return 0;
}

START_TEST(descriptors_of_a_datagram_that_is_cut_are_closed)
{
	int before;

	make_unix_pair(types[1 + _i], ends);
	open_many(1);
	before = next_fd();
	ck_assert_int_eq(run_task(receive_cut, NULL), 0);
	ck_assert_int_eq(next_fd(), before);
}
END_TEST

/* There are numbers for _i of ten. */
static int receive_beyond_the_limit(void *arg)
{
	struct rlimit limit, low;
	size_t count = 10;
	int fds[10], before;
	char byte = 0;

	ck_assert_int_eq(zs_send_fds(ends[0], "x", 1, 0, many, 10), 1);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	low = limit;
	before = next_fd();
	low.rlim_cur = (rlim_t)before + (rlim_t) * (int *)arg;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &low), 0);
	ck_assert_int_eq(zs_recv_fds(ends[1], &byte, 1, 0, fds, &count),
			 -EMFILE);
	ck_assert_ptr_nonnull(strstr(zs_explain(-EMFILE), "RLIMIT_NOFILE"));
	ck_assert_uint_eq(count, 0);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	ck_assert_int_eq(next_fd(), before);
	return 0;
}

START_TEST(descriptors_beyond_the_limit_are_closed_and_told)
{
	make_unix_pair(SOCK_STREAM, ends);
	open_many(10);
	ck_assert_int_eq(run_task(receive_beyond_the_limit, &_i), 0);
}
END_TEST

/* The kernel puts its own control data before the descriptors. */
static int receive_with_credentials(void *arg)
{
	size_t most = MOST;
	int on = 1;

	(void)arg;
	ck_assert_int_eq(zs_setsockopt(ends[1], SOL_SOCKET, SO_PASSCRED, &on,
				       sizeof(on)),
			 0);
	/* SO_PASSPIDFD, of 6.5, which brings one more descriptor. */
	zs_setsockopt(ends[1], SOL_SOCKET, 76, &on, sizeof(on));
	return pass(&most);
}

START_TEST(credentials_and_pidfds_take_no_room_and_do_not_leak)
{
	int before;

	make_unix_pair(types[_i], ends);
	open_many(MOST);
	before = next_fd();
	ck_assert_int_eq(run_task(receive_with_credentials, NULL), 0);
	ck_assert_int_eq(next_fd(), before);
}
END_TEST

/* A message and a cancel at the same moment, the receiver parked before: the
 * descriptor is received now or by the next call. */
static struct zs_cancel_token token;

/* Without a turn of the ring. */
static void send_one_plainly(void)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr header;
	} control = { { 0 } };
	struct iovec part = { "x", 1 };
	struct msghdr message = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};

	control.header.cmsg_len = CMSG_LEN(sizeof(int));
	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	memcpy(CMSG_DATA(&control.header), many, sizeof(int));
	ck_assert_int_eq(sendmsg(ends[0], &message, 0), 1);
}

static int send_and_cancel(void *order)
{
	if (*(int *)order)
		ck_assert_int_eq(zs_cancel_token_cancel(token), 0);
	send_one_plainly();
	if (!*(int *)order)
		ck_assert_int_eq(zs_cancel_token_cancel(token), 0);
	return 0;
}

static int receive_cancelled(void *order)
{
	struct zs_nursery beside;
	size_t count = 1;
	ssize_t ret;
	int fds[1];
	char byte = 0;

	ck_assert_int_eq(zs_nursery_open(&beside, NULL), 0);
	ck_assert_int_eq(zs_cancel_token_open(&token, ZS_NEVER), 0);
	ck_assert_int_eq(zs_nursery_spawn(beside, send_and_cancel, order), 0);
	ret = zs_recv_fds(ends[1], &byte, 1, 0, fds, &count);
	ck_assert_int_eq(zs_cancel_token_close(token), -ECANCELED);
	ck_assert_int_eq(zs_nursery_wait(beside), 0);
	if (ret == -ECANCELED) {
		ck_assert_uint_eq(count, 0);
		count = 1;
		ret = zs_recv_fds(ends[1], &byte, 1, MSG_DONTWAIT, fds, &count);
	}
	ck_assert_int_eq(ret, 1);
	ck_assert_uint_eq(count, 1);
	return zs_close(fds[0]);
}

START_TEST(a_descriptor_that_came_with_a_cancel_is_not_lost)
{
	int before;

	make_unix_pair(SOCK_STREAM, ends);
	open_many(1);
	before = next_fd();
	ck_assert_int_eq(run_task(receive_cancelled, &_i), 0);
	ck_assert_int_eq(next_fd(), before);
}
END_TEST

static int send_over_tcp(void *arg)
{
	char byte = 0;

	(void)arg;
	ck_assert_int_eq(zs_send_fds(ends[0], "x", 1, 0, many, 1), -EOPNOTSUPP);
	ck_assert_int_eq(recv(ends[1], &byte, 1, MSG_DONTWAIT), -1);
	return 0;
}

START_TEST(tcp_takes_no_descriptors)
{
	make_tcp_pair(ends);
	open_many(1);
	ck_assert_int_eq(run_task(send_over_tcp, NULL), 0);
}
END_TEST

static Suite *unix_fds_suite(void)
{
	Suite *suite = suite_create("unix_fds");
	TCase *tests = tcase_create("descriptors");

	tcase_add_loop_test(tests, none_one_and_as_many_as_can_be_arrive, 0, 9);
	tcase_add_test(tests, one_too_many_or_a_bad_one_sends_nothing);
	tcase_add_test(tests, bad_arguments_of_a_receive_take_nothing);
	tcase_add_loop_test(tests, descriptors_without_room_are_closed_and_told,
			    0, 3);
	tcase_add_loop_test(
		tests, descriptors_of_a_datagram_that_is_cut_are_closed, 0, 2);
	tcase_add_loop_test(
		tests, descriptors_beyond_the_limit_are_closed_and_told, 0, 10);
	tcase_add_loop_test(tests,
			    credentials_and_pidfds_take_no_room_and_do_not_leak,
			    0, 3);
	tcase_add_loop_test(
		tests, a_descriptor_that_came_with_a_cancel_is_not_lost, 0, 2);
	tcase_add_test(tests, tcp_takes_no_descriptors);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(unix_fds_suite());
}
