/* SPDX-License-Identifier: MIT */
/* What sockets say to bad arguments, wrong descriptors, and peers that are not
 * there or go away. Every refusal must leave nothing behind. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "descriptors.h"
#include "runtime.h"

static int ends[2];
static char bytes[64];
static struct iovec part = { bytes, sizeof(bytes) };
static struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };

/* Every call that takes a descriptor, with arguments that are good. */
static int do_bind(int fd)
{
	struct sockaddr_in address = loopback_address(0);

	return zs_bind(fd, (struct sockaddr *)&address, sizeof(address));
}

static int do_listen(int fd)
{
	return zs_listen(fd, 1);
}

static int do_accept(int fd)
{
	return zs_accept(fd, NULL, NULL, 0);
}

static int do_connect(int fd)
{
	struct sockaddr_in address = loopback_address(1);

	return zs_connect(fd, (struct sockaddr *)&address, sizeof(address));
}

static int do_shutdown(int fd)
{
	return zs_shutdown(fd, SHUT_RD);
}

static int do_send(int fd)
{
	return (int)zs_send(fd, bytes, 1, 0);
}

static int do_recv(int fd)
{
	return (int)zs_recv(fd, bytes, 1, 0);
}

static int do_sendmsg(int fd)
{
	return (int)zs_sendmsg(fd, &message, 0);
}

static int do_recvmsg(int fd)
{
	return (int)zs_recvmsg(fd, &message, 0);
}

static int do_sendto(int fd)
{
	return (int)zs_sendto(fd, bytes, 1, 0, NULL, 0);
}

static int do_recvfrom(int fd)
{
	return (int)zs_recvfrom(fd, bytes, 1, 0, NULL, NULL);
}

static int do_sendmmsg(int fd)
{
	struct mmsghdr batch = { .msg_hdr = message };

	return zs_sendmmsg(fd, &batch, 1, 0);
}

static int do_recvmmsg(int fd)
{
	struct mmsghdr batch = { .msg_hdr = message };

	return zs_recvmmsg(fd, &batch, 1, 0);
}

static int do_send_fds(int fd)
{
	int zero = 0;

	return (int)zs_send_fds(fd, bytes, 1, 0, &zero, 1);
}

static int do_recv_fds(int fd)
{
	size_t count = 0;

	return (int)zs_recv_fds(fd, bytes, 1, 0, NULL, &count);
}

static int do_setsockopt(int fd)
{
	int on = 1;

	return zs_setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
}

static int do_getsockopt(int fd)
{
	socklen_t length = sizeof(int);
	int on;

	return zs_getsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, &length);
}

static int do_send_all(int fd)
{
	return (int)zs_send_all(fd, bytes, 1, 0);
}

static int do_poll_fd(int fd)
{
	return zs_poll_fd(fd, POLLIN);
}

/* Those that take none. */
static int do_socket(int fd)
{
	(void)fd;
	return zs_socket(AF_INET, SOCK_STREAM, 0);
}

static int do_tcp_listen(int fd)
{
	(void)fd;
	return zs_tcp_listen("127.0.0.1:0", 1);
}

static int do_tcp_connect(int fd)
{
	(void)fd;
	return zs_tcp_connect("127.0.0.1:1");
}

static int do_udp_bind(int fd)
{
	(void)fd;
	return zs_udp_bind("127.0.0.1:0");
}

static int do_unix_listen(int fd)
{
	(void)fd;
	return zs_unix_listen("@zsync-test-unheard", 1);
}

static int do_unix_connect(int fd)
{
	(void)fd;
	return zs_unix_connect("@zsync-test-unheard");
}

static int (*const calls[])(int fd) = {
	do_sendto,	do_recvfrom,	 do_sendmmsg,	 do_recvmmsg,
	do_send_fds,	do_recv_fds,	 do_setsockopt,	 do_getsockopt,
	do_bind,	do_listen,	 do_accept,	 do_connect,
	do_shutdown,	do_send,	 do_recv,	 do_sendmsg,
	do_recvmsg,	do_send_all,	 zs_local_port,	 do_poll_fd,
	do_socket,	do_tcp_listen,	 do_tcp_connect, do_udp_bind,
	do_unix_listen, do_unix_connect,
};
enum { NEED_SOCKET = 19, TAKE_FD = 20, ALL = 26 };
_Static_assert(sizeof(calls) / sizeof(calls[0]) == ALL, "all are counted");

START_TEST(outside_a_task_every_call_is_refused)
{
	int before = next_fd();

	make_unix_pair(SOCK_STREAM, ends);
	errno = ERANGE;
	ck_assert_int_eq(calls[_i](ends[0]), -EPERM);
	ck_assert_int_eq(errno, ERANGE);
	close(ends[0]);
	close(ends[1]);
	ck_assert_int_eq(next_fd(), before);
}
END_TEST

static int use_bad_fds(void *call)
{
	int (*fn)(int) = *(int (**)(int))call;

	errno = ERANGE;
	ck_assert_int_eq(fn(-1), -EBADF);
	ck_assert_int_eq(fn(INT_MIN), -EBADF);
	ck_assert_int_eq(fn(INT_MAX), -EBADF);
	ck_assert_int_eq(fn(closed_fd()), -EBADF);
	ck_assert_int_eq(errno, ERANGE);
	return 0;
}

START_TEST(bad_descriptors_are_told)
{
	ck_assert_int_eq(run_task(use_bad_fds, (void *)&calls[_i]), 0);
}
END_TEST

static int use_file(void *call)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq((*(int (**)(int))call)(fd), -ENOTSOCK);
	close(fd);
	return 0;
}

START_TEST(a_file_is_no_socket)
{
	ck_assert_int_eq(run_task(use_file, (void *)&calls[_i]), 0);
}
END_TEST

static const size_t bad_lengths[] = { (size_t)INT_MAX + 1, SIZE_MAX,
				      (size_t)-1 / 2, UINT32_MAX,
				      (size_t)UINT32_MAX + 2 };

static int use_bad_buffers(void *arg)
{
	struct sockaddr *name = (struct sockaddr *)bytes;
	struct mmsghdr batch = { .msg_hdr = message };
	size_t length;

	(void)arg;
	for (size_t i = 0; i < sizeof(bad_lengths) / sizeof(length); i++) {
		length = bad_lengths[i];
		ck_assert_int_eq(zs_send(ends[0], bytes, length, 0), -EINVAL);
		ck_assert_int_eq(zs_recv(ends[0], bytes, length, 0), -EINVAL);
		ck_assert_int_eq(zs_send_all(ends[0], bytes, length, 0),
				 -EINVAL);
	}
	ck_assert_int_eq(zs_send(ends[0], NULL, 1, 0), -EINVAL);
	ck_assert_int_eq(zs_recv(ends[0], NULL, 1, 0), -EINVAL);
	ck_assert_int_eq(zs_send_all(ends[0], NULL, 1, 0), -EINVAL);
	ck_assert_int_eq(zs_sendmsg(ends[0], NULL, 0), -EINVAL);
	ck_assert_int_eq(zs_recvmsg(ends[0], NULL, 0), -EINVAL);
	ck_assert_int_eq(zs_sendto(ends[0], NULL, 1, 0, NULL, 0), -EINVAL);
	ck_assert_int_eq(zs_sendto(ends[0], bytes, 1, 0, NULL, 1), -EINVAL);
	ck_assert_int_eq(zs_recvfrom(ends[0], NULL, 1, 0, NULL, NULL), -EINVAL);
	ck_assert_int_eq(zs_recvfrom(ends[0], bytes, 1, 0, name, NULL),
			 -EINVAL);
	ck_assert_int_eq(zs_sendmmsg(ends[0], NULL, 1, 0), -EINVAL);
	ck_assert_int_eq(zs_recvmmsg(ends[0], NULL, 1, 0), -EINVAL);
	ck_assert_int_eq(zs_sendmmsg(ends[0], &batch, 1u << 31, 0), -EINVAL);
	ck_assert_int_eq(zs_recvmmsg(ends[0], &batch, 1u << 31, 0), -EINVAL);
	ck_assert_int_eq(zs_sendmmsg(ends[0], NULL, 0, 0), 0);
	ck_assert_int_eq(zs_send(ends[0], (void *)1, 1, 0), -EFAULT);
	ck_assert_int_eq(recv(ends[1], bytes, 1, MSG_DONTWAIT), -1);
	return 0;
}

START_TEST(bad_buffers_are_refused_and_nothing_is_sent)
{
	make_unix_pair(SOCK_STREAM, ends);
	ck_assert_int_eq(run_task(use_bad_buffers, NULL), 0);
}
END_TEST

static int use_bad_addresses(void *arg)
{
	struct sockaddr_in address = loopback_address(0);
	struct sockaddr *name = (struct sockaddr *)&address;
	int fd = *(int *)arg;

	ck_assert_int_eq(zs_bind(fd, NULL, sizeof(address)), -EINVAL);
	ck_assert_int_eq(zs_connect(fd, NULL, sizeof(address)), -EINVAL);
	ck_assert_int_eq(zs_accept(fd, name, NULL, 0), -EINVAL);
	ck_assert_int_eq(zs_bind(fd, NULL, 0), -EINVAL);
	ck_assert_int_eq(zs_connect(fd, NULL, 0), -EINVAL);
	ck_assert_int_eq(zs_bind(fd, name, 1), -EINVAL);
	ck_assert_int_eq(zs_bind(fd, name, 4096), -EINVAL);
	ck_assert_int_eq(zs_bind(fd, name, UINT32_MAX), -EINVAL);
	ck_assert_int_eq(zs_bind(fd, (void *)1, sizeof(address)), -EFAULT);
	address.sin_family = 999;
	ck_assert_int_eq(zs_bind(fd, name, sizeof(address)), -EAFNOSUPPORT);
	address.sin_family = AF_INET;
	address.sin_addr.s_addr = htonl(0xc0000201); /* 192.0.2.1: nobody's */
	ck_assert_int_eq(zs_bind(fd, name, sizeof(address)), -EADDRNOTAVAIL);
	return 0;
}

START_TEST(bad_addresses_are_refused)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	ck_assert_int_eq(run_task(use_bad_addresses, &fd), 0);
}
END_TEST

static int use_bad_numbers(void *arg)
{
	socklen_t length = sizeof(int);
	int on = 1;

	(void)arg;
	ck_assert_int_eq(zs_poll_fd(ends[0], 0), -EINVAL);
	ck_assert_int_eq(zs_poll_fd(ends[0], 0x10000), -EINVAL);
	ck_assert_int_eq(zs_poll_fd(ends[0], POLLIN | 1u << 31), -EINVAL);
	ck_assert_int_eq(zs_shutdown(ends[0], 3), -EINVAL);
	ck_assert_int_eq(zs_shutdown(ends[0], -1), -EINVAL);
	ck_assert_int_eq(zs_accept(ends[0], NULL, NULL, 1), -EINVAL);
	ck_assert_int_eq(zs_socket(-1, SOCK_STREAM, 0), -EAFNOSUPPORT);
	ck_assert_int_eq(zs_socket(999, SOCK_STREAM, 0), -EAFNOSUPPORT);
	ck_assert_int_eq(zs_socket(AF_INET, 15, 0), -EINVAL);
	ck_assert_int_eq(zs_socket(AF_INET, -1, 0), -EINVAL);
	ck_assert_int_eq(zs_socket(AF_INET, SOCK_STREAM, 250),
			 -EPROTONOSUPPORT);
	ck_assert_int_eq(zs_local_port(ends[0]), -EAFNOSUPPORT);
	ck_assert_int_eq(zs_setsockopt(ends[0], SOL_SOCKET, 9999, &on, length),
			 -ENOPROTOOPT);
	ck_assert_int_eq(zs_getsockopt(ends[0], SOL_SOCKET, 9999, &on, &length),
			 -ENOPROTOOPT);
	ck_assert_int_eq(zs_setsockopt(ends[0], SOL_SOCKET, SO_REUSEADDR, NULL,
				       length),
			 -EINVAL);
	ck_assert_int_eq(zs_getsockopt(ends[0], SOL_SOCKET, SO_REUSEADDR, NULL,
				       &length),
			 -EINVAL);
	ck_assert_int_eq(zs_getsockopt(ends[0], SOL_SOCKET, SO_REUSEADDR, &on,
				       NULL),
			 -EINVAL);
	return 0;
}

START_TEST(bad_numbers_are_refused)
{
	int before;

	make_unix_pair(SOCK_STREAM, ends);
	before = next_fd();
	ck_assert_int_eq(run_task(use_bad_numbers, NULL), 0);
	ck_assert_int_eq(next_fd(), before);
}
END_TEST

static int use_wrong_states(void *arg)
{
	struct sockaddr_in address;
	int udp = make_bound(SOCK_DGRAM, &address);
	int tcp = make_bound(SOCK_STREAM, &address);

	(void)arg;
	ck_assert_int_eq(do_accept(tcp), -EINVAL);
	ck_assert_int_eq(do_bind(tcp), -EINVAL);
	ck_assert_int_eq(do_recv(tcp), -ENOTCONN);
	ck_assert_int_eq(do_shutdown(tcp), -ENOTCONN);
	ck_assert_int_eq(do_send(tcp), -EPIPE);
	ck_assert_int_eq(do_listen(udp), -EOPNOTSUPP);
	ck_assert_int_eq(do_accept(udp), -EOPNOTSUPP);
	ck_assert_int_eq(do_send(udp), -EDESTADDRREQ);
	ck_assert_int_eq(do_sendmsg(udp), -EDESTADDRREQ);
	ck_assert_int_eq(do_listen(tcp), 0);
	ck_assert_int_eq(do_connect(tcp), -EISCONN);
	close(udp);
	close(tcp);
	return 0;
}

START_TEST(calls_out_of_turn_are_told_why)
{
	ck_assert_int_eq(run_task(use_wrong_states, NULL), 0);
}
END_TEST

static volatile sig_atomic_t nr_signals;

static void count_signal(int number)
{
	(void)number;
	nr_signals++;
}

static int send_to_nobody(void *arg)
{
	(void)arg;
	ck_assert_int_eq(do_send(ends[0]), -EPIPE);
	ck_assert_int_eq(do_sendmsg(ends[0]), -EPIPE);
	ck_assert_int_eq(do_send_all(ends[0]), -EPIPE);
	return 0;
}

/* A mask could keep the signal back: then it would come when zs_run() gives
 * the thread its mask back. */
START_TEST(a_peer_that_is_gone_raises_no_sigpipe)
{
	signal(SIGPIPE, count_signal);
	make_unix_pair(SOCK_STREAM, ends);
	close(ends[1]);
	ck_assert_int_eq(run_task(send_to_nobody, NULL), 0);
	ck_assert_int_eq(nr_signals, 0);
}
END_TEST

enum { BULK = 16 << 20 };

static int send_bulk(void *bulk)
{
	ssize_t sent = zs_send_all(ends[0], bulk, BULK, 0);
	int ret;

	ck_assert_int_gt(sent, 0);
	ck_assert_int_lt(sent, BULK);
	ret = (int)zs_send_all(ends[0], bulk, BULK, 0);
	ck_assert(ret == -ECONNRESET || ret == -EPIPE);
	return 0;
}

/* The data that it leaves unread makes the close a reset (TCP), or the linger
 * does. */
static int reset(void *arg)
{
	struct linger linger = { .l_onoff = 1, .l_linger = 0 };

	(void)arg;
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(zs_recv(ends[1], bytes, sizeof(bytes), 0),
				 sizeof(bytes));
	setsockopt(ends[1], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	return zs_close(ends[1]);
}

START_TEST(a_reset_in_mid_send_reports_what_was_sent_then_the_error)
{
	char *bulk = calloc(1, BULK);

	ck_assert_ptr_nonnull(bulk);
	signal(SIGPIPE, count_signal);
	if (_i)
		make_unix_pair(SOCK_STREAM, ends);
	else
		make_tcp_pair(ends);
	ck_assert_int_eq(run_siblings(send_bulk, reset, bulk), 0);
	ck_assert_int_eq(nr_signals, 0);
	free(bulk);
}
END_TEST

static int receive_reset(void *arg)
{
	(void)arg;
	ck_assert_int_eq(do_recv(ends[0]), -ECONNRESET);
	ck_assert_int_eq(do_recv(ends[0]), 0);
	return 0;
}

static int reset_at_once(void *arg)
{
	struct linger linger = { .l_onoff = 1, .l_linger = 0 };

	(void)arg;
	setsockopt(ends[1], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	return zs_close(ends[1]);
}

START_TEST(a_reset_ends_a_waiting_receive)
{
	make_tcp_pair(ends);
	ck_assert_int_eq(run_siblings(receive_reset, reset_at_once, NULL), 0);
}
END_TEST

static int wait_on_shut(void *arg)
{
	(void)arg;
	ck_assert_int_eq(do_recv(ends[0]), 0);
	return 0;
}

static int shut_it(void *arg)
{
	(void)arg;
	return zs_shutdown(ends[0], SHUT_RD);
}

START_TEST(shutdown_ends_a_receive_that_waits_on_the_same_socket)
{
	make_tcp_pair(ends);
	ck_assert_int_eq(run_siblings(wait_on_shut, shut_it, NULL), 0);
}
END_TEST

static Suite *net_errors_suite(void)
{
	Suite *suite = suite_create("net_errors");
	TCase *tests = tcase_create("net_errors");

	tcase_add_loop_test(tests, outside_a_task_every_call_is_refused, 0,
			    ALL);
	tcase_add_loop_test(tests, bad_descriptors_are_told, 0, TAKE_FD);
	tcase_add_loop_test(tests, a_file_is_no_socket, 0, NEED_SOCKET);
	tcase_add_test(tests, bad_buffers_are_refused_and_nothing_is_sent);
	tcase_add_test(tests, bad_addresses_are_refused);
	tcase_add_test(tests, bad_numbers_are_refused);
	tcase_add_test(tests, calls_out_of_turn_are_told_why);
	tcase_add_test(tests, a_peer_that_is_gone_raises_no_sigpipe);
	tcase_add_loop_test(
		tests, a_reset_in_mid_send_reports_what_was_sent_then_the_error,
		0, 2);
	tcase_add_test(tests, a_reset_ends_a_waiting_receive);
	tcase_add_test(tests,
		       shutdown_ends_a_receive_that_waits_on_the_same_socket);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(net_errors_suite());
}
