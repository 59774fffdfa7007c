/* SPDX-License-Identifier: MIT */
/* How sockets wait: for readiness, for room, whatever O_NONBLOCK says. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <sys/un.h>

#include "descriptors.h"
#include "runtime.h"

/* Shared by the tasks of a test; each test is a process of its own. */
static int ends[2];
static int nr_sent;
static bool is_told, has_room;

static int poll_reader(void *arg)
{
	char byte;

	(void)arg;
	ck_assert_int_eq(zs_poll_fd(ends[1], POLLIN), POLLIN);
	ck_assert_int_eq(zs_recv(ends[1], &byte, 1, 0), 1);
	ck_assert_int_eq(zs_send(ends[1], &byte, 1, 0), 1);
	ck_assert_int_eq(zs_recv(ends[1], &byte, 1, 0), 0);
	ck_assert_int_eq(zs_poll_fd(ends[1], POLLOUT), POLLOUT | POLLHUP);
	ck_assert_int_eq(zs_poll_fd(ends[1], POLLIN | POLLRDHUP | 0x8000),
			 POLLIN | POLLRDHUP | POLLHUP);
	return 0;
}

static int poll_writer(void *arg)
{
	char byte;

	(void)arg;
	ck_assert_int_eq(zs_poll_fd(ends[0], POLLIN | POLLOUT), POLLOUT);
	ck_assert_int_eq(zs_send(ends[0], "x", 1, 0), 1);
	ck_assert_int_eq(zs_recv(ends[0], &byte, 1, 0), 1);
	return zs_close(ends[0]);
}

START_TEST(poll_tells_what_is_ready_and_hangups)
{
	make_unix_pair(SOCK_STREAM, ends);
	ck_assert_int_eq(run_siblings(poll_reader, poll_writer, NULL), 0);
}
END_TEST

static int poll_for_room(void *arg)
{
	(void)arg;
	fill_up(ends[0]);
	ck_assert_int_eq(zs_poll_fd(ends[0], POLLOUT | POLLRDHUP), POLLRDHUP);
	is_told = true;
	ck_assert_int_eq(zs_poll_fd(ends[0], POLLOUT), POLLOUT);
	ck_assert(has_room);
	return 0;
}

static int make_room(void *arg)
{
	char buffer[4096];

	(void)arg;
	ck_assert_int_eq(zs_shutdown(ends[1], SHUT_WR), 0);
	while (!is_told)
		ck_assert_int_eq(zs_yield(), 0);
	/* The poll for room has been begun when this has been answered. */
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(zs_poll_fd(ends[1], POLLIN), POLLIN);
		ck_assert_int_eq(zs_yield(), 0);
	}
	has_room = true;
	while (zs_recv(ends[1], buffer, sizeof(buffer), MSG_DONTWAIT) > 0)
		;
	return 0;
}

START_TEST(poll_for_room_is_not_ended_by_a_half_closed_peer)
{
	int before = next_fd();

	if (_i)
		make_unix_pair(SOCK_STREAM, ends);
	else
		make_tcp_pair(ends);
	ck_assert_int_eq(run_siblings(poll_for_room, make_room, NULL), 0);
	close(ends[0]);
	close(ends[1]);
	ck_assert_int_eq(next_fd(), before);
}
END_TEST

static int receive_message(void *arg)
{
	char byte = 0;
	struct iovec part = { &byte, 1 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };

	(void)arg;
	ck_assert_int_eq(zs_recvmsg(ends[1], &message, 0), 1);
	ck_assert_int_eq(byte, 'x');
	return 0;
}

static int wait_for_byte(void *arg)
{
	char byte = 0;

	ck_assert_int_eq(zs_recv(ends[1], &byte, 1, 0), 1);
	ck_assert_int_eq(byte, 'x');
	return receive_message(arg);
}

static int send_bytes_apart(void *arg)
{
	(void)arg;
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(zs_poll_fd(ends[0], POLLOUT), POLLOUT);
		ck_assert_int_eq(zs_send(ends[0], "x", 1, 0), 1);
	}
	return 0;
}

START_TEST(nonblocking_sockets_wait_all_the_same)
{
	int before;

	make_tcp_pair(ends);
	add_status_flags(ends[1], O_NONBLOCK);
	before = fcntl(ends[1], F_GETFL);
	ck_assert_int_eq(run_siblings(wait_for_byte, send_bytes_apart, NULL),
			 0);
	ck_assert_int_eq(fcntl(ends[1], F_GETFL), before);
}
END_TEST

/* Each byte wakes the receiver, and is taken from under its nose. */
static int overtake(void *arg)
{
	char byte;

	for (int i = 0; i < 200; i++) {
		ck_assert_int_eq(send(ends[0], "x", 1, 0), 1);
		if (recv(ends[1], &byte, 1, MSG_DONTWAIT) < 0)
			return 0;
		/* A turn of the ring, for the receiver to find nothing. */
		ck_assert_int_eq(zs_poll_fd(ends[0], POLLOUT), POLLOUT);
	}
	return send_bytes_apart(arg);
}

START_TEST(receiver_waits_however_often_it_is_overtaken)
{
	make_tcp_pair(ends);
	if (_i)
		add_status_flags(ends[1], O_NONBLOCK);
	ck_assert_int_eq(run_siblings(receive_message, overtake, NULL), 0);
}
END_TEST

static int accept_one(void *arg)
{
	int fd = zs_accept(*(int *)arg, NULL, NULL, 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
	return zs_close(fd);
}

static int connect_one(void *arg)
{
	struct sockaddr_in address =
		loopback_address(zs_local_port(*(int *)arg));
	int before, fd = zs_socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	before = fcntl(fd, F_GETFL);
	ck_assert(before & O_NONBLOCK);
	ck_assert_int_eq(zs_connect(fd, (struct sockaddr *)&address,
				    sizeof(address)),
			 0);
	ck_assert_int_eq(fcntl(fd, F_GETFL), before);
	return zs_close(fd);
}

START_TEST(nonblocking_listener_and_connector_wait_all_the_same)
{
	struct sockaddr_in address;
	int before, listener = make_listener(1, &address);

	add_status_flags(listener, O_NONBLOCK);
	before = fcntl(listener, F_GETFL);
	ck_assert_int_eq(run_siblings(accept_one, connect_one, &listener), 0);
	ck_assert_int_eq(fcntl(listener, F_GETFL), before);
}
END_TEST

/* A queue that is full by its length, not by the sender's buffer: the kernel
 * notices when it has taken the bytes already. */
static int send_to_full_queue(void *address)
{
	struct iovec part = { "text", 4 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };

	if (address) {
		message.msg_name = address;
		message.msg_namelen = sizeof(struct sockaddr_un);
	}
	while (sendmsg(ends[0], &message, MSG_DONTWAIT) == 4)
		nr_sent++;
	ck_assert_int_eq(errno, EAGAIN);
	for (int i = 0; i < 3; i++, nr_sent++)
		ck_assert_int_eq(zs_sendmsg(ends[0], &message, 0), 4);
	for (int i = 0; i < 30 && !address; i++, nr_sent += 2) {
		ck_assert_int_eq(zs_send(ends[0], "text", 4, 0), 4);
		ck_assert_int_eq(zs_send_all(ends[0], "text", 4, 0), 4);
	}
	part.iov_len = 1;
	ck_assert_int_eq(zs_sendmsg(ends[0], &message, 0), 1);
	return 0;
}

static int empty_queue(void *arg)
{
	char buffer[8];
	ssize_t count;

	(void)arg;
	for (;;) {
		count = zs_recv(ends[1], buffer, sizeof(buffer), 0);
		if (count != 4)
			break;
		ck_assert_mem_eq(buffer, "text", 4);
		nr_sent--;
	}
	ck_assert_int_eq(count, 1);
	ck_assert_int_eq(nr_sent, 0);
	return 0;
}

START_TEST(datagrams_wait_whole_for_room_in_the_receivers_queue)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	bool is_connected = _i & 1;

	snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1,
		 "zsync-test-%ld", (long)getpid());
	ends[0] = socket(AF_UNIX, SOCK_DGRAM, 0);
	ends[1] = socket(AF_UNIX, SOCK_DGRAM, 0);
	ck_assert_int_eq(
		bind(ends[1], (struct sockaddr *)&address, sizeof(address)), 0);
	if (is_connected)
		ck_assert_int_eq(connect(ends[0], (struct sockaddr *)&address,
					 sizeof(address)),
				 0);
	if (_i & 2)
		add_status_flags(ends[0], O_NONBLOCK);
	ck_assert_int_eq(run_siblings(send_to_full_queue, empty_queue,
				      is_connected ? NULL : &address),
			 0);
}
END_TEST

/* Megabytes through a small buffer, to a reader of odd lengths. */
enum { BULK = 4 << 20 };
static int bulk_flags;

static unsigned char bulk_byte(size_t i)
{
	return (unsigned char)(i * 2654435761u >> 13);
}

static int send_bulk(void *bulk)
{
	ck_assert_int_eq(zs_send_all(ends[0], bulk, BULK, bulk_flags), BULK);
	return zs_shutdown(ends[0], SHUT_WR);
}

static int receive_bulk(void *arg)
{
	unsigned char buffer[4099];
	size_t total = 0;
	ssize_t count;

	(void)arg;
	for (;;) {
		count = zs_recv(ends[1], buffer, 1 + total % sizeof(buffer), 0);
		if (count <= 0)
			break;
		for (ssize_t i = 0; i < count; i++, total++)
			if (buffer[i] != bulk_byte(total))
				ck_abort_msg("byte %zu is wrong", total);
	}
	ck_assert_int_eq(count, 0);
	ck_assert_uint_eq(total, BULK);
	return 0;
}

START_TEST(send_all_is_complete_to_a_slow_reader)
{
	unsigned char *bulk = malloc(BULK);
	int size = 65536;

	ck_assert_ptr_nonnull(bulk);
	for (size_t i = 0; i < BULK; i++)
		bulk[i] = bulk_byte(i);
	if (_i & 1)
		make_unix_pair(SOCK_STREAM, ends);
	else
		make_tcp_pair(ends);
	if (_i & 2)
		add_status_flags(ends[0], O_NONBLOCK);
	if (_i & 4)
		ck_assert_int_eq(shutdown(ends[1], SHUT_WR), 0);
	if (_i & 8)
		bulk_flags = MSG_WAITALL;
	setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	ck_assert_int_eq(run_siblings(send_bulk, receive_bulk, bulk), 0);
	free(bulk);
}
END_TEST

static Suite *net_wait_suite(void)
{
	Suite *suite = suite_create("net_wait");
	TCase *tests = tcase_create("net_wait");

	tcase_add_test(tests, poll_tells_what_is_ready_and_hangups);
	tcase_add_loop_test(
		tests, poll_for_room_is_not_ended_by_a_half_closed_peer, 0, 2);
	tcase_add_test(tests, nonblocking_sockets_wait_all_the_same);
	tcase_add_loop_test(tests, receiver_waits_however_often_it_is_overtaken,
			    0, 2);
	tcase_add_test(tests,
		       nonblocking_listener_and_connector_wait_all_the_same);
	tcase_add_loop_test(
		tests, datagrams_wait_whole_for_room_in_the_receivers_queue, 0,
		4);
	tcase_add_loop_test(tests, send_all_is_complete_to_a_slow_reader, 0,
			    16);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(net_wait_suite());
}
