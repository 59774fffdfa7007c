/* SPDX-License-Identifier: MIT */
/* Sockets, each call once for real. Waiting is in test_net_wait.c, what goes
 * wrong in test_net_errors.c, what is cancelled in test_cancel_io.c, addresses
 * as text in test_inet.c. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>

#include "descriptors.h"
#include "runtime.h"

/* Shared by the tasks of a test; each test is a process of its own. */
static int ends[2];

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

/* Where an int stands for the kernel's long, its other half is anybody's. */
static void fill_dirty(struct msghdr *message, struct iovec *part,
		       void *control, size_t size)
{
	memset(message, 0xa5, sizeof(*message));
	message->msg_name = NULL;
	message->msg_namelen = 0;
	message->msg_iov = part;
	message->msg_iovlen = 1;
	message->msg_control = control;
	message->msg_controllen = size;
}

static int pass_by_dirty_message(void *arg)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr header;
	} control;
	char byte = 'x';
	struct iovec part = { &byte, 1 };
	struct msghdr message;

	(void)arg;
	memset(&message, 0xa5, sizeof(message));
	memset(&control, 0xa5, sizeof(control));
	message.msg_name = NULL;
	message.msg_namelen = 0;
	message.msg_iov = &part;
	message.msg_iovlen = 1;
	message.msg_control = &control;
	message.msg_controllen = sizeof(control);
	message.msg_flags = 0;
	control.header.cmsg_len = CMSG_LEN(sizeof(int));
	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	memcpy(CMSG_DATA(&control.header), &ends[1], sizeof(int));
	fill_dirty(&message, &part, &control, sizeof(control));
	ck_assert_int_eq(zs_sendmsg(ends[0], &message, 0), 1);
	ck_assert_int_eq(zs_recvmsg(ends[1], &message, MSG_CMSG_CLOEXEC), 1);
	ck_assert_int_eq(message.msg_flags & (MSG_TRUNC | MSG_CTRUNC), 0);
	return zs_close(*(int *)CMSG_DATA(&control.header));
}

START_TEST(garbage_between_the_fields_of_a_message_does_no_harm)
{
	make_unix_pair(SOCK_STREAM, ends);
	ck_assert_int_eq(run_task(pass_by_dirty_message, NULL), 0);
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

static Suite *net_suite(void)
{
	Suite *suite = suite_create("net");
	TCase *tests = tcase_create("net");

	tcase_add_loop_test(tests, the_single_steps_make_a_connection, 0, 2);
	tcase_add_test(tests, udp_messages_keep_their_parts_bounds_and_sender);
	tcase_add_test(tests, unix_messages_carry_descriptors);
	tcase_add_test(tests,
		       garbage_between_the_fields_of_a_message_does_no_harm);
	tcase_add_test(tests, flags_of_send_and_recv_are_the_kernels);
	tcase_add_test(tests, waitall_waits_for_the_whole_length);
	tcase_add_test(tests, send_all_of_nothing_is_nothing);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(net_suite());
}
