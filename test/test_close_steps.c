/* SPDX-License-Identifier: MIT */
/*
 * zs_close() while another task is in the midst of a call that takes several
 * operations: between two of them, or in one on another descriptor. That call
 * ends, too, and never goes on with a later file of the same number.
 */
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "descriptors.h"
#include "engine/abi.h"
#include "engine/probe.h"
#include "libc.h"
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

	while ((test_has_ring() && !is_open(epoll)) || in_flight() == 0)
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

/* --- while a path operation waits for a kernel thread --- */

/* More than the kernel starts threads for: 64 at most (ring.c), before 5.15 no
 * more than the queue is deep. */
enum { DEPTH = 8, NUM_OPENS = 64 + 8 };

static char directory[] = "/tmp/zs-close-XXXXXX";

static char *path_in(const char *name)
{
	static char path[64];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return path;
}

static int open_directory(const char *name)
{
	int fd = open(path_in(name), O_RDONLY | O_DIRECTORY);

	ck_assert_int_ge(fd, 0);
	return fd;
}

/* Two, of which the second has a file that the first one lacks. */
static void make_directories(void)
{
	ck_assert_ptr_nonnull(mkdtemp(directory));
	assert_ok(mkfifo(path_in("fifo"), 0600));
	assert_ok(mkdir(path_in("first"), 0700));
	assert_ok(mkdir(path_in("second"), 0700));
	assert_ok(mkdir(path_in("second/it"), 0700));
}

static void remove_directories(void)
{
	assert_ok(rmdir(path_in("second/it")));
	assert_ok(rmdir(path_in("second")));
	assert_ok(rmdir(path_in("first")));
	assert_ok(unlink(path_in("fifo")));
	assert_ok(rmdir(directory));
}

/* Until somebody writes. */
static int open_fifo(void *arg)
{
	int fd = zs_openat(AT_FDCWD, path_in("fifo"), O_RDONLY, 0);

	(void)arg;
	ck_assert_int_ge(fd, 0);
	return zs_close(fd);
}

static int open_it(void *arg)
{
	(void)arg;
	result = zs_openat(ends[0], "it", O_RDONLY, 0);
	nr_ended++;
	return 0;
}

static int stat_it(void *arg)
{
	struct statx status;

	(void)arg;
	result = zs_statx(ends[0], "it", 0, STATX_TYPE, &status);
	nr_ended++;
	return 0;
}

/* What a pool does instead, it does at another time. */
static bool ring_has(int operation)
{
	struct zs_kernel kernel;

	ck_assert_int_eq(zs_kernel_probe(&kernel), 0);
	return test_has_ring() && kernel.ops[operation];
}

/* Without a ring each takes a thread of the pool, which are not bounded like
 * that, and a timer, of which an emulator of a processor has 32. */
static uint32_t num_opens(void)
{
	return test_has_ring() ? NUM_OPENS : DEPTH + 8;
}

static int close_before_the_path_is_walked(void *arg)
{
	uint32_t i, number = num_opens();
	int writer, other;
	struct zs_nursery nursery;

	assert_ok(zs_nursery_open(&nursery, NULL));
	for (i = 0; i < number; i++)
		assert_ok(zs_nursery_spawn(nursery, open_fifo, NULL));
	while (in_flight() < number)
		zs_yield();
	assert_ok(zs_nursery_spawn(nursery, *(zs_task_fn **)arg, NULL));
	/* Where there is no ring it may be over as soon as it is begun. */
	while (in_flight() < number + 1 && nr_ended == 0)
		zs_yield();
	assert_ok(zs_close(ends[0]));
	/* It gets the number, unless an open that waits in a kernel thread has
	 * just taken it: that is done before the path is walked. */
	other = open_directory("second");
	writer = open(path_in("fifo"), O_RDWR);
	ck_assert_int_ge(writer, 0);
	assert_ok(zs_nursery_wait(nursery));
	close(writer);
	close(other);
	return 0;
}

static zs_task_fn *const path_calls[] = { open_it, stat_it };

START_TEST(path_is_looked_up_in_no_other_directory)
{
	struct zs_config config = test_config();
	zs_task_fn *call = path_calls[_i];

	config.queue_depth = DEPTH;
	make_directories();
	ends[0] = open_directory("first");
	ck_assert_int_eq(run_task_with(&config, close_before_the_path_is_walked,
				       &call),
			 0);
	ck_assert_int_eq(nr_ended, 1);
	if (ring_has(ZS_URING_OP_OPENAT) && ring_has(ZS_URING_OP_STATX))
		ck_assert_int_eq(result, -ECANCELED);
	else
		ck_assert(result == -ECANCELED || result == -ENOENT);
	remove_directories();
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
	tcase_add_loop_test(tests, path_is_looked_up_in_no_other_directory, 0,
			    2);
	suite_add_tcase(suite, tests);
	return run_suite(suite);
}
