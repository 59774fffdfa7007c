/* SPDX-License-Identifier: MIT */
/* Messages with addresses, one by one and in batches; options of sockets. */
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <sys/un.h>

#include "descriptors.h"
#include "runtime.h"

/* Shared by the tasks of a test; each test is a process of its own. */
static int ends[2];
static struct sockaddr_in addresses[2];

static void prepare_udp(void)
{
	for (int i = 0; i < 2; i++)
		ends[i] = make_bound(SOCK_DGRAM, &addresses[i]);
}

/* --- one by one --- */

static int receive_from(void *arg)
{
	struct sockaddr_in from;
	socklen_t length = sizeof(from);
	char buffer[8] = "";

	(void)arg;
	ck_assert_int_eq(zs_recvfrom(ends[1], buffer, sizeof(buffer), 0,
				     (struct sockaddr *)&from, &length),
			 5);
	ck_assert_str_eq(buffer, "hello");
	ck_assert_uint_eq(length, sizeof(from));
	ck_assert_mem_eq(&from.sin_port, &addresses[0].sin_port, 2);
	ck_assert_int_eq(zs_recvfrom(ends[1], NULL, 0, 0, NULL, NULL), 0);
	return 0;
}

static int send_to(void *arg)
{
	struct sockaddr *to = (struct sockaddr *)&addresses[1];

	(void)arg;
	ck_assert_int_eq(
		zs_sendto(ends[0], "hello", 5, 0, to, sizeof(addresses[1])), 5);
	ck_assert_int_eq(
		zs_sendto(ends[0], NULL, 0, 0, to, sizeof(addresses[1])), 0);
	return 0;
}

START_TEST(a_message_arrives_with_its_senders_address)
{
	prepare_udp();
	ck_assert_int_eq(run_siblings(receive_from, send_to, NULL), 0);
}
END_TEST

static int use_stream(void *arg)
{
	struct sockaddr_in from;
	socklen_t length = sizeof(from);
	char byte = 0;

	(void)arg;
	ck_assert_int_eq(zs_sendto(ends[0], "x", 1, 0, NULL, 0), 1);
	ck_assert_int_eq(zs_recvfrom(ends[1], &byte, 1, 0,
				     (struct sockaddr *)&from, &length),
			 1);
	ck_assert_int_eq(byte, 'x');
	ck_assert_uint_eq(length, 0);
	return 0;
}

START_TEST(a_stream_names_no_sender)
{
	make_tcp_pair(ends);
	ck_assert_int_eq(run_task(use_stream, NULL), 0);
}
END_TEST

/* Each of three is longer than the buffer. */
static int receive_truncated(void *arg)
{
	struct sockaddr_in from;
	socklen_t length = 2;
	char buffer[5] = "";
	struct iovec part = { buffer, 4 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
	struct mmsghdr batch = { .msg_hdr = message };

	(void)arg;
	ck_assert_int_eq(zs_recvfrom(ends[1], buffer, 4, MSG_TRUNC,
				     (struct sockaddr *)&from, &length),
			 10);
	ck_assert_str_eq(buffer, "0123");
	/* As the system call: what the address would have needed. */
	ck_assert_uint_eq(length, sizeof(from));
	ck_assert_int_eq(zs_recvfrom(ends[1], buffer, 4, 0, NULL, NULL), 4);
	ck_assert_int_eq(zs_recvmsg(ends[1], &message, 0), 4);
	ck_assert(message.msg_flags & MSG_TRUNC);
	ck_assert_int_eq(zs_recvmmsg(ends[1], &batch, 1, 0), 1);
	ck_assert_uint_eq(batch.msg_len, 4);
	ck_assert(batch.msg_hdr.msg_flags & MSG_TRUNC);
	ck_assert_int_eq(zs_recvfrom(ends[1], buffer, 4, MSG_DONTWAIT, NULL,
				     NULL),
			 -EAGAIN);
	return 0;
}

static int send_ten_each(void *arg)
{
	(void)arg;
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(zs_sendto(ends[0], "0123456789", 10, 0,
					   (struct sockaddr *)&addresses[1],
					   sizeof(addresses[1])),
				 10);
	return 0;
}

START_TEST(what_does_not_fit_is_cut_and_that_is_told)
{
	prepare_udp();
	ck_assert_int_eq(run_siblings(receive_truncated, send_ten_each, NULL),
			 0);
}
END_TEST

/* Nobody is bound there: the kernel tells the next call. */
static int send_to_nobody(void *arg)
{
	char byte = 0;

	(void)arg;
	ck_assert_int_eq(close(ends[1]), 0);
	ck_assert_int_eq(zs_connect(ends[0], (struct sockaddr *)&addresses[1],
				    sizeof(addresses[1])),
			 0);
	ck_assert_int_eq(zs_sendto(ends[0], "x", 1, 0, NULL, 0), 1);
	ck_assert_int_eq(zs_recvfrom(ends[0], &byte, 1, 0, NULL, NULL),
			 -ECONNREFUSED);
	ck_assert_int_eq(zs_sendto(ends[0], "x", 1, 0, NULL, 0), 1);
	ck_assert_int_eq(zs_sendto(ends[0], "x", 1, 0, NULL, 0), -ECONNREFUSED);
	ck_assert_int_eq(zs_recvfrom(ends[0], &byte, 1, MSG_DONTWAIT, NULL,
				     NULL),
			 -EAGAIN);
	return 0;
}

START_TEST(a_port_that_nobody_has_is_told)
{
	prepare_udp();
	ck_assert_int_eq(run_task(send_to_nobody, NULL), 0);
}
END_TEST

static int send_too_much(void *arg)
{
	static char bytes[70000];

	(void)arg;
	ck_assert_int_eq(zs_sendto(ends[0], bytes, sizeof(bytes), 0,
				   (struct sockaddr *)&addresses[1],
				   sizeof(addresses[1])),
			 -EMSGSIZE);
	ck_assert_int_eq(zs_sendto(ends[0], bytes, 1, 0,
				   (struct sockaddr *)&addresses[1], 1),
			 -EINVAL);
	ck_assert_int_eq(zs_sendto(ends[0], bytes, 1, 0, (void *)1,
				   sizeof(addresses[1])),
			 -EFAULT);
	return 0;
}

START_TEST(a_message_that_cannot_be_sent_is_refused)
{
	prepare_udp();
	ck_assert_int_eq(run_task(send_too_much, NULL), 0);
}
END_TEST

/* --- batches --- */

enum { BATCH = 40 };

struct batch {
	uint32_t numbers[BATCH];
	struct iovec parts[BATCH];
	struct sockaddr_in from[BATCH];
	struct mmsghdr messages[BATCH];
};

static void fill_batch(struct batch *batch)
{
	memset(batch, 0, sizeof(*batch));
	for (int i = 0; i < BATCH; i++) {
		batch->parts[i].iov_base = &batch->numbers[i];
		batch->parts[i].iov_len = sizeof(uint32_t);
		batch->messages[i].msg_hdr.msg_iov = &batch->parts[i];
		batch->messages[i].msg_hdr.msg_iovlen = 1;
		batch->messages[i].msg_hdr.msg_name = &batch->from[i];
		batch->messages[i].msg_hdr.msg_namelen = sizeof(batch->from[i]);
	}
}

/* How many came in one; they go on from @next. */
static int receive_batch(uint32_t next, int flags)
{
	static struct batch batch;
	int count;

	fill_batch(&batch);
	count = zs_recvmmsg(ends[1], batch.messages, BATCH, flags);
	for (int i = 0; i < count; i++) {
		ck_assert_uint_eq(batch.messages[i].msg_len, sizeof(uint32_t));
		ck_assert_uint_eq(batch.numbers[i], next + (uint32_t)i);
		ck_assert_int_eq(batch.from[i].sin_port, addresses[0].sin_port);
	}
	return count;
}

static int receive_batches(void *arg)
{
	uint32_t total = 0;
	int count;

	(void)arg;
	ck_assert_int_eq(receive_batch(0, MSG_DONTWAIT), -EAGAIN);
	while (total < 3 * BATCH) {
		count = receive_batch(total, 0);
		ck_assert_int_gt(count, 0);
		total += (uint32_t)count;
	}
	ck_assert_int_eq(receive_batch(0, MSG_DONTWAIT), -EAGAIN);
	return 0;
}

static int send_batches(void *arg)
{
	static struct batch batch;

	(void)arg;
	for (uint32_t turn = 0; turn < 3; turn++) {
		fill_batch(&batch);
		for (uint32_t i = 0; i < BATCH; i++) {
			batch.numbers[i] = turn * BATCH + i;
			batch.from[i] = addresses[1];
		}
		ck_assert_int_eq(zs_sendmmsg(ends[0], batch.messages, BATCH,
					     turn == 0 ? 0 : MSG_DONTWAIT),
				 BATCH);
		ck_assert_uint_eq(batch.messages[BATCH - 1].msg_len,
				  sizeof(uint32_t));
		ck_assert_int_eq(zs_yield(), 0);
	}
	return 0;
}

START_TEST(batches_arrive_whole_and_in_order)
{
	prepare_udp();
	ck_assert_int_eq(run_siblings(receive_batches, send_batches, NULL), 0);
}
END_TEST

/* A receiver's queue that is full by its length: connected, so that poll knows,
 * or not. */
static bool is_connected;
static struct sockaddr_un unix_address;

static int send_more_than_there_is_room_for(void *arg)
{
	static struct batch batch;
	uint32_t number = 0;

	(void)arg;
	for (int turn = 0; turn < 25; turn++) {
		fill_batch(&batch);
		for (int i = 0; i < BATCH; i++) {
			struct msghdr *header = &batch.messages[i].msg_hdr;

			header->msg_name = is_connected ? NULL : &unix_address;
			header->msg_namelen =
				is_connected ? 0 : sizeof(unix_address);
			batch.numbers[i] = number++;
		}
		ck_assert_int_eq(zs_sendmmsg(ends[0], batch.messages, BATCH, 0),
				 BATCH);
	}
	return 0;
}

static int receive_slowly(void *arg)
{
	uint32_t number;

	(void)arg;
	for (uint32_t i = 0; i < 25 * BATCH; i++) {
		ck_assert_int_eq(zs_recvfrom(ends[1], &number, sizeof(number),
					     0, NULL, NULL),
				 sizeof(number));
		ck_assert_uint_eq(number, i);
	}
	return 0;
}

START_TEST(a_batch_waits_for_room_and_is_sent_whole)
{
	unix_address.sun_family = AF_UNIX;
	snprintf(unix_address.sun_path + 1, sizeof(unix_address.sun_path) - 1,
		 "zsync-test-%ld", (long)getpid());
	for (int i = 0; i < 2; i++)
		ends[i] = socket(AF_UNIX, SOCK_DGRAM, 0);
	ck_assert_int_eq(bind(ends[1], (struct sockaddr *)&unix_address,
			      sizeof(unix_address)),
			 0);
	is_connected = _i;
	if (is_connected)
		ck_assert_int_eq(connect(ends[0],
					 (struct sockaddr *)&unix_address,
					 sizeof(unix_address)),
				 0);
	ck_assert_int_eq(run_siblings(send_more_than_there_is_room_for,
				      receive_slowly, NULL),
			 0);
}
END_TEST

/* The third has no address to go to. */
static int send_with_a_bad_one(void *arg)
{
	static struct batch batch;

	(void)arg;
	fill_batch(&batch);
	for (int i = 0; i < BATCH; i++)
		batch.from[i] = addresses[1];
	batch.messages[2].msg_hdr.msg_name = NULL;
	batch.messages[2].msg_hdr.msg_namelen = 0;
	ck_assert_int_eq(zs_sendmmsg(ends[0], batch.messages, BATCH, 0), 2);
	ck_assert_int_eq(zs_sendmmsg(ends[0], &batch.messages[2], 1, 0),
			 -EDESTADDRREQ);
	ck_assert_int_eq(zs_recvmmsg(ends[1], batch.messages, BATCH, 0), 2);
	return 0;
}

START_TEST(an_error_in_a_batch_comes_after_what_was_sent)
{
	prepare_udp();
	ck_assert_int_eq(run_task(send_with_a_bad_one, NULL), 0);
}
END_TEST

/* The other task is to have its turn while batches come without end. */
static bool is_over;

static int flood(void *arg)
{
	static struct batch batch;

	(void)arg;
	fill_batch(&batch);
	while (!is_over) {
		/* The receive has put the sender's there. */
		batch.from[0] = addresses[1];
		ck_assert_int_gt(zs_sendmmsg(ends[0], batch.messages, 1, 0), 0);
		ck_assert_int_ge(zs_recvmmsg(ends[1], batch.messages, 1, 0), 0);
	}
	return 0;
}

static int end_flood(void *arg)
{
	(void)arg;
	is_over = true;
	return 0;
}

START_TEST(batches_that_never_wait_keep_nobody_waiting)
{
	prepare_udp();
	ck_assert_int_eq(run_siblings(flood, end_flood, NULL), 0);
}
END_TEST

/* --- options --- */

static int use_options(void *arg)
{
	struct timeval time = { 3, 0 };
	socklen_t length = sizeof(int);
	int value = 1;

	(void)arg;
	errno = ERANGE;
	ck_assert_int_eq(zs_setsockopt(ends[0], SOL_SOCKET, SO_KEEPALIVE,
				       &value, sizeof(value)),
			 0);
	value = 7;
	ck_assert_int_eq(zs_getsockopt(ends[0], SOL_SOCKET, SO_KEEPALIVE,
				       &value, &length),
			 0);
	ck_assert_int_eq(value, 1);
	ck_assert_uint_eq(length, sizeof(value));
	ck_assert_int_eq(zs_setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &time,
				       sizeof(time)),
			 0);
	ck_assert_int_eq(zs_getsockopt(ends[0], SOL_SOCKET, SO_TYPE, &value,
				       &length),
			 0);
	ck_assert_int_eq(value, SOCK_STREAM);
	ck_assert_int_eq(zs_setsockopt(ends[0], SOL_SOCKET, SO_KEEPALIVE,
				       &value, 1),
			 -EINVAL);
	ck_assert_int_eq(errno, ERANGE);
	return 0;
}

START_TEST(options_are_set_and_read)
{
	make_tcp_pair(ends);
	ck_assert_int_eq(run_task(use_options, NULL), 0);
}
END_TEST

static int set_cancelled(void *arg)
{
	struct zs_cancel_token token;
	int on = 1;

	(void)arg;
	ck_assert_int_eq(zs_cancel_token_open(&token, ZS_NEVER), 0);
	ck_assert_int_eq(zs_cancel_token_cancel(token), 0);
	ck_assert_int_eq(zs_setsockopt(ends[0], SOL_SOCKET, SO_KEEPALIVE, &on,
				       sizeof(on)),
			 0);
	ck_assert_int_eq(zs_cancel_token_close(token), -ECANCELED);
	return 0;
}

START_TEST(options_can_be_set_in_a_cancelled_scope)
{
	make_tcp_pair(ends);
	ck_assert_int_eq(run_task(set_cancelled, NULL), 0);
}
END_TEST

static Suite *datagram_suite(void)
{
	Suite *suite = suite_create("datagram");
	TCase *tests = tcase_create("datagram");

	tcase_add_test(tests, a_message_arrives_with_its_senders_address);
	tcase_add_test(tests, a_stream_names_no_sender);
	tcase_add_test(tests, what_does_not_fit_is_cut_and_that_is_told);
	tcase_add_test(tests, a_port_that_nobody_has_is_told);
	tcase_add_test(tests, a_message_that_cannot_be_sent_is_refused);
	tcase_add_test(tests, batches_arrive_whole_and_in_order);
	tcase_add_loop_test(tests, a_batch_waits_for_room_and_is_sent_whole, 0,
			    2);
	tcase_add_test(tests, an_error_in_a_batch_comes_after_what_was_sent);
	tcase_add_test(tests, batches_that_never_wait_keep_nobody_waiting);
	tcase_add_test(tests, options_are_set_and_read);
	tcase_add_test(tests, options_can_be_set_in_a_cancelled_scope);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(datagram_suite());
}
