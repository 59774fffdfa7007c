/* SPDX-License-Identifier: MIT */
/*
 * zs_close() while another task is in the midst of a call that takes several
 * operations: between two of them, or in one on another descriptor. That call
 * ends, too, and never goes on with a later file of the same number.
 */
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "descriptors.h"
#include "workers.h"

static int ends[2];
static int result;
static int nr_ended;

static uint64_t in_flight(void)
{
	struct zs_stats stats;

	assert_ok(zs_stats(NULL, &stats));
	return stats.total.ops_in_flight;
}

static struct zs_nursery spawn(zs_task_fn *fn)
{
	struct zs_nursery nursery;

	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn(nursery, fn, NULL));
	return nursery;
}

/* --- a wait by epoll --- */

static int send_one(void *arg)
{
	(void)arg;
	result = (int)zs_send(ends[0], "x", 1, 0);
	nr_ended++;
	return 0;
}

static int poll_for_room(void *arg)
{
	(void)arg;
	result = zs_poll_fd(ends[0], POLLOUT);
	nr_ended++;
	return 0;
}

static int close_beside_epoll(void *arg)
{
	int epoll = next_fd();
	struct zs_nursery nursery = spawn(*(zs_task_fn **)arg);

	while (!is_open(epoll) || in_flight() == 0)
		assert_ok(zs_sleep(100 * ZS_MICROSECOND));
	assert_ok(zs_close(ends[0]));
	assert_ok(zs_nursery_wait(nursery));
	ck_assert(!is_open(epoll));
	return 0;
}

static zs_task_fn *const waits_by_epoll[] = { send_one, poll_for_room };

START_TEST(close_ends_a_wait_for_room_of_a_half_closed_peer)
{
	zs_task_fn *wait = waits_by_epoll[_i];

	make_unix_pair(SOCK_STREAM, ends);
	fill_up(ends[0]);
	assert_ok(shutdown(ends[1], SHUT_WR));
	ck_assert_int_eq(run_task(close_beside_epoll, &wait), 0);
	ck_assert_int_eq(nr_ended, 1);
	ck_assert_int_eq(result, -ECANCELED);
}
END_TEST

/* --- between two operations --- */

static int send_many(void *arg)
{
	static char bytes[1000];

	(void)arg;
	result = (int)zs_send_all(ends[0], bytes, sizeof(bytes), 0);
	nr_ended++;
	return 0;
}

/* Takes all that has arrived; how much. */
static size_t drain(int fd)
{
	static char buffer[1 << 16];
	size_t total = 0;
	ssize_t count;

	while ((count = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT)) > 0)
		total += (size_t)count;
	return total;
}

/* Its number is another socket's as soon as it has been closed. */
static void close_and_open_again(void)
{
	int fds[2], fd = ends[0];

	assert_ok(zs_close(fd));
	make_unix_pair(SOCK_STREAM, fds);
	ck_assert_int_eq(fds[0], fd);
	ends[0] = fds[0];
	ends[1] = fds[1];
}

/* The poll for room is done, and its task, which is to go on behind this one,
 * has not gone on yet. */
static int close_between(void *arg)
{
	struct zs_nursery nursery = spawn(send_many);

	(void)arg;
	while (in_flight() == 0)
		zs_yield();
	zs_sleep(ZS_MILLISECOND);
	drain(ends[1]);
	while (in_flight() > 0)
		zs_yield();
	ck_assert_int_eq(nr_ended, 0);
	close_and_open_again();
	assert_ok(zs_nursery_wait(nursery));
	ck_assert_uint_eq(drain(ends[1]), 0);
	return 0;
}

START_TEST(what_is_left_to_send_goes_to_no_other_file)
{
	make_unix_pair(SOCK_STREAM, ends);
	fill_up(ends[0]);
	ck_assert_int_eq(run_task(close_between, NULL), 0);
	ck_assert_int_eq(nr_ended, 1);
	ck_assert_int_eq(result, -ECANCELED);
}
END_TEST

/* --- in a pause --- */

static struct sockaddr_un receiver_address;
static socklen_t receiver_length;

static int send_to_full(void *arg)
{
	struct iovec bytes = { (void *)(uintptr_t) "x", 1 };
	struct msghdr message = {
		.msg_name = &receiver_address,
		.msg_namelen = receiver_length,
		.msg_iov = &bytes,
		.msg_iovlen = 1,
	};

	(void)arg;
	result = (int)zs_sendmsg(ends[0], &message, 0);
	nr_ended++;
	return 0;
}

static int make_receiver(void)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

	receiver_length = sizeof(receiver_address);
	receiver_address.sun_family = AF_UNIX;
	ck_assert_int_ge(fd, 0);
	assert_ok(bind(fd, (struct sockaddr *)&receiver_address,
		       sizeof(sa_family_t)));
	assert_ok(getsockname(fd, (struct sockaddr *)&receiver_address,
			      &receiver_length));
	return fd;
}

static int close_in_pause(void *arg)
{
	struct zs_nursery nursery = spawn(send_to_full);
	struct zs_stats stats;

	(void)arg;
	do {
		zs_yield();
		assert_ok(zs_stats(NULL, &stats));
	} while (stats.total.timers_armed == 0);
	assert_ok(zs_close(ends[0]));
	ck_assert_int_eq(nr_ended, 1);
	assert_ok(zs_nursery_wait(nursery));
	return 0;
}

START_TEST(close_ends_a_pause_between_two_tries)
{
	int receiver = make_receiver();

	ends[0] = socket(AF_UNIX, SOCK_DGRAM, 0);
	while (sendto(ends[0], "x", 1, MSG_DONTWAIT,
		      (struct sockaddr *)&receiver_address,
		      receiver_length) == 1)
		;
	ck_assert_int_eq(errno, EAGAIN);
	ck_assert_int_eq(run_task(close_in_pause, NULL), 0);
	ck_assert_int_eq(result, -ECANCELED);
	close(receiver);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("close_steps");
	TCase *tests = tcase_create("close_steps");

	tcase_set_timeout(tests, 10);
	tcase_add_loop_test(
		tests, close_ends_a_wait_for_room_of_a_half_closed_peer, 0, 2);
	tcase_add_test(tests, what_is_left_to_send_goes_to_no_other_file);
	tcase_add_test(tests, close_ends_a_pause_between_two_tries);
	suite_add_tcase(suite, tests);
	return run_suite(suite);
}
