/* SPDX-License-Identifier: MIT */
/* Sockets, each call once for real. Waiting is in test_net_wait.c, what goes
 * wrong in test_net_errors.c, what is cancelled in test_cancel_io.c. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>

#include "descriptors.h"
#include "runtime.h"

/* Shared by the tasks of a test; each test is a process of its own. */
static int ends[2];
static const char *host;

static int serve_echo(void *arg)
{
	struct sockaddr_storage peer;
	socklen_t length = sizeof(peer);
	int fd = zs_accept(ends[0], (struct sockaddr *)&peer, &length, 0);
	char buffer[64];
	ssize_t count;

	(void)arg;
	ck_assert_int_ge(fd, 0);
	ck_assert_uint_eq(length, host ? sizeof(struct sockaddr_in6) :
					 sizeof(struct sockaddr_in));
	ck_assert_int_eq(peer.ss_family, host ? AF_INET6 : AF_INET);
	for (;;) {
		count = zs_recv(fd, buffer, sizeof(buffer), 0);
		if (count <= 0)
			break;
		ck_assert_int_eq(zs_send_all(fd, buffer, (size_t)count, 0),
				 count);
	}
	ck_assert_int_eq(count, 0);
	return zs_close(fd);
}

static int ask_echo(void *arg)
{
	int fd = zs_tcp_connect(host, (uint16_t)zs_local_port(ends[0]));
	char buffer[64];

	(void)arg;
	ck_assert_int_ge(fd, 0);
	for (int i = 0; i < 100; i++) {
		ck_assert_int_eq(zs_send(fd, &i, sizeof(i), 0), sizeof(i));
		ck_assert_int_eq(zs_recv(fd, buffer, sizeof(buffer), 0),
				 sizeof(i));
		ck_assert_mem_eq(buffer, &i, sizeof(i));
	}
	ck_assert_int_eq(zs_shutdown(fd, SHUT_WR), 0);
	ck_assert_int_eq(zs_recv(fd, buffer, sizeof(buffer), 0), 0);
	return zs_close(fd);
}

static int echo(void *arg)
{
	struct test_siblings siblings = { serve_echo, ask_echo, arg };

	ends[0] = zs_tcp_listen(host, 0, 1);
	if (ends[0] < 0)
		return ends[0];
	ck_assert_int_gt(zs_local_port(ends[0]), 0);
	ck_assert_int_eq(run_test_siblings(&siblings), 0);
	return zs_close(ends[0]);
}

START_TEST(tcp_echo_by_ipv4)
{
	ck_assert_int_eq(run_task(echo, NULL), 0);
}
END_TEST

START_TEST(tcp_echo_by_ipv6)
{
	int ret;

	host = "::1";
	ret = run_task(echo, NULL);
	if (ret == -EAFNOSUPPORT || ret == -EADDRNOTAVAIL)
		printf("SKIP: no IPv6 loopback here\n");
	else
		ck_assert_int_eq(ret, 0);
}
END_TEST

static int meet_by_hand(void *arg)
{
	struct sockaddr_in address = loopback_address(0);
	socklen_t length = sizeof(address);
	int listener, client, server, type = *(int *)arg;
	char byte = 0;

	listener = zs_socket(AF_INET, SOCK_STREAM | type, 0);
	ck_assert_int_ge(listener, 0);
	ck_assert_int_eq(zs_bind(listener, (struct sockaddr *)&address, length),
			 0);
	ck_assert_int_eq(zs_listen(listener, 1), 0);
	address = loopback_address(zs_local_port(listener));
	client = zs_socket(AF_INET, SOCK_STREAM | type, IPPROTO_TCP);
	ck_assert_int_eq(
		zs_connect(client, (struct sockaddr *)&address, length), 0);
	server = zs_accept(listener, NULL, NULL, type);
	ck_assert_int_ge(server, 0);
	ck_assert_int_eq(!!(fcntl(server, F_GETFL) & O_NONBLOCK),
			 type == SOCK_NONBLOCK);
	ck_assert_int_eq(zs_send(server, "x", 1, 0), 1);
	ck_assert_int_eq(zs_recv(client, &byte, 1, 0), 1);
	ck_assert_int_eq(byte, 'x');
	zs_close(server);
	zs_close(client);
	return zs_close(listener);
}

START_TEST(the_single_steps_make_a_connection)
{
	int types[] = { 0, SOCK_NONBLOCK };

	ck_assert_int_eq(run_task(meet_by_hand, &types[_i]), 0);
}
END_TEST

static int receive_datagram(void *arg)
{
	struct sockaddr_in from;
	char head[3] = "", tail[16] = "";
	struct iovec parts[] = { { head, 2 }, { tail, sizeof(tail) } };
	struct msghdr message = {
		.msg_name = &from,
		.msg_namelen = sizeof(from),
		.msg_iov = parts,
		.msg_iovlen = 2,
	};

	(void)arg;
	ck_assert_int_eq(zs_recvmsg(ends[1], &message, 0), 5);
	ck_assert_str_eq(head, "ab");
	ck_assert_str_eq(tail, "cde");
	ck_assert_uint_eq(message.msg_namelen, sizeof(from));
	ck_assert_int_eq(ntohs(from.sin_port), zs_local_port(ends[0]));
	ck_assert_int_eq(zs_recv(ends[1], head, sizeof(head), 0), 0);
	return 0;
}

static int send_datagram(void *address)
{
	struct iovec parts[] = { { "abc", 3 }, { "de", 2 } };
	struct msghdr message = {
		.msg_name = address,
		.msg_namelen = sizeof(struct sockaddr_in),
		.msg_iov = parts,
		.msg_iovlen = 2,
	};

	ck_assert_int_eq(zs_sendmsg(ends[0], &message, 0), 5);
	ck_assert_int_eq(zs_connect(ends[0], address, message.msg_namelen), 0);
	return (int)zs_send(ends[0], NULL, 0, 0);
}

/* The second datagram is empty. */
START_TEST(udp_messages_keep_their_parts_bounds_and_sender)
{
	struct sockaddr_in from, to;

	ends[0] = make_bound(SOCK_DGRAM, &from);
	ends[1] = make_bound(SOCK_DGRAM, &to);
	ck_assert_int_eq(run_siblings(receive_datagram, send_datagram, &to), 0);
}
END_TEST

static int pass_descriptor(void *arg)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr header;
	} control = { { 0 } };
	char byte = 'x';
	struct iovec part = { &byte, 1 };
	struct msghdr message = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	int passed;

	(void)arg;
	control.header.cmsg_len = CMSG_LEN(sizeof(int));
	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	memcpy(CMSG_DATA(&control.header), &ends[1], sizeof(int));
	ck_assert_int_eq(zs_sendmsg(ends[0], &message, 0), 1);
	memset(&control, 0, sizeof(control));
	ck_assert_int_eq(zs_recvmsg(ends[1], &message, MSG_CMSG_CLOEXEC), 1);
	memcpy(&passed, CMSG_DATA(&control.header), sizeof(int));
	ck_assert_int_ne(passed, ends[1]);
	ck_assert(is_cloexec(passed));
	ck_assert_int_eq(zs_send(ends[0], "y", 1, 0), 1);
	ck_assert_int_eq(zs_recv(passed, &byte, 1, 0), 1);
	ck_assert_int_eq(byte, 'y');
	return zs_close(passed);
}

START_TEST(unix_messages_carry_descriptors)
{
	make_unix_pair(SOCK_STREAM, ends);
	ck_assert_int_eq(run_task(pass_descriptor, NULL), 0);
}
END_TEST

static int honour_flags(void *arg)
{
	char buffer[8] = "";
	struct iovec part = { buffer, 1 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };

	(void)arg;
	ck_assert_int_eq(zs_recv(ends[1], buffer, 8, MSG_DONTWAIT), -EAGAIN);
	ck_assert_int_eq(zs_recvmsg(ends[1], &message, MSG_DONTWAIT), -EAGAIN);
	ck_assert_int_eq(zs_send(ends[0], "abcd", 4, 0), 4);
	ck_assert_int_eq(zs_recv(ends[1], buffer, 2, MSG_PEEK), 2);
	ck_assert_int_eq(zs_recv(ends[1], buffer, 8, MSG_DONTWAIT), 4);
	ck_assert_str_eq(buffer, "abcd");
	ck_assert_int_eq(zs_recv(ends[1], NULL, 0, MSG_DONTWAIT), -EAGAIN);
	fill_up(ends[0]);
	ck_assert_int_eq(zs_send(ends[0], "x", 1, MSG_DONTWAIT), -EAGAIN);
	ck_assert_int_eq(zs_send_all(ends[0], "x", 1, MSG_DONTWAIT), -EAGAIN);
	ck_assert_int_eq(zs_sendmsg(ends[0], &message, MSG_DONTWAIT), -EAGAIN);
	return 0;
}

START_TEST(flags_of_send_and_recv_are_the_kernels)
{
	make_unix_pair(SOCK_STREAM, ends);
	ck_assert_int_eq(run_task(honour_flags, NULL), 0);
}
END_TEST

static int receive_in_one(void *arg)
{
	char buffer[5] = "";

	(void)arg;
	ck_assert_int_eq(zs_recv(ends[1], buffer, 4, MSG_WAITALL), 4);
	ck_assert_str_eq(buffer, "abcd");
	return 0;
}

static int send_in_two(void *arg)
{
	char full = 'x';

	(void)arg;
	ck_assert_int_eq(zs_send(ends[0], "ab", 2, 0), 2);
	/* A turn of the ring, so that the receiver is given the half. */
	ck_assert_int_eq(zs_send(ends[1], &full, 1, 0), 1);
	ck_assert_int_eq(zs_recv(ends[0], &full, 1, 0), 1);
	ck_assert_int_eq(zs_send(ends[0], "cd", 2, 0), 2);
	return 0;
}

START_TEST(waitall_waits_for_the_whole_length)
{
	make_tcp_pair(ends);
	ck_assert_int_eq(run_siblings(receive_in_one, send_in_two, NULL), 0);
}
END_TEST

static int make_one_of_each(void *arg)
{
	int fds[4], on = 0;
	socklen_t length = sizeof(on);

	(void)arg;
	fds[0] = zs_socket(AF_INET, SOCK_DGRAM, 0);
	fds[1] = zs_tcp_listen(NULL, 0, 1);
	fds[2] = zs_tcp_connect("127.0.0.1", (uint16_t)zs_local_port(fds[1]));
	fds[3] = zs_accept(fds[1], NULL, NULL, 0);
	for (int i = 0; i < 4; i++) {
		ck_assert_int_ge(fds[i], 0);
		ck_assert(is_cloexec(fds[i]));
		ck_assert_int_eq(fcntl(fds[i], F_GETFL) & O_NONBLOCK, 0);
	}
	getsockopt(fds[1], SOL_SOCKET, SO_REUSEADDR, &on, &length);
	ck_assert_int_eq(on, 1);
	getsockopt(fds[2], IPPROTO_TCP, TCP_NODELAY, &on, &length);
	ck_assert_int_eq(on, 1);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(zs_close(fds[i]), 0);
	return 0;
}

START_TEST(made_descriptors_have_the_promised_options)
{
	int before = next_fd();

	ck_assert_int_eq(run_task(make_one_of_each, NULL), 0);
	ck_assert_int_eq(next_fd(), before);
}
END_TEST

static int send_nothing(void *arg)
{
	(void)arg;
	ck_assert_int_eq(zs_send_all(ends[0], NULL, 0, 0), 0);
	ck_assert_int_eq(zs_send_all(ends[0], "", 0, 0), 0);
	ck_assert_int_eq(recv(ends[1], ends, 1, MSG_DONTWAIT), -1);
	ck_assert_int_eq(errno, EAGAIN);
	return 0;
}

START_TEST(send_all_of_nothing_is_nothing)
{
	make_tcp_pair(ends);
	ck_assert_int_eq(run_task(send_nothing, NULL), 0);
}
END_TEST

/* The address was in use by a connection a moment ago: the server closes first,
 * which leaves its port in TIME_WAIT. */
static int serve_twice_on_one_port(void *arg)
{
	int listener, client, server;
	uint16_t number = 0;
	char byte;

	(void)arg;
	for (int i = 0; i < 2; i++) {
		listener = zs_tcp_listen("127.0.0.1", number, 1);
		ck_assert_int_ge(listener, 0);
		number = (uint16_t)zs_local_port(listener);
		client = zs_tcp_connect(NULL, number);
		server = zs_accept(listener, NULL, NULL, 0);
		ck_assert_int_eq(zs_close(server), 0);
		ck_assert_int_eq(zs_recv(client, &byte, 1, 0), 0);
		ck_assert_int_eq(zs_close(client), 0);
		ck_assert_int_eq(zs_close(listener), 0);
	}
	return 0;
}

START_TEST(a_port_can_be_listened_on_again_at_once)
{
	ck_assert_int_eq(run_task(serve_twice_on_one_port, NULL), 0);
}
END_TEST

static Suite *net_suite(void)
{
	Suite *suite = suite_create("net");
	TCase *tests = tcase_create("net");

	tcase_add_test(tests, tcp_echo_by_ipv4);
	tcase_add_test(tests, tcp_echo_by_ipv6);
	tcase_add_loop_test(tests, the_single_steps_make_a_connection, 0, 2);
	tcase_add_test(tests, udp_messages_keep_their_parts_bounds_and_sender);
	tcase_add_test(tests, unix_messages_carry_descriptors);
	tcase_add_test(tests, flags_of_send_and_recv_are_the_kernels);
	tcase_add_test(tests, waitall_waits_for_the_whole_length);
	tcase_add_test(tests, made_descriptors_have_the_promised_options);
	tcase_add_test(tests, send_all_of_nothing_is_nothing);
	tcase_add_test(tests, a_port_can_be_listened_on_again_at_once);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(net_suite());
}
