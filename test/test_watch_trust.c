/* SPDX-License-Identifier: MIT */
/*
 * Waits for descriptors that have been waited for often, so that an engine may
 * rely on what it has told the kernel of them. What that must not lead to:
 * waits that last although there is something, or until somebody happens to
 * look.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "descriptors.h"
#include "runtime.h"

enum {
	TRAINING = 12, /* waits: more than it takes */
	ROUNDS = 20,
	IGNORED = 100,
	/* Less than any engine takes to look by itself. */
	SOON_NS = 40 * ZS_MILLISECOND,
};

/* Each test is a process of its own. */
static int fds[2]; /* the first one is received from */
static int num_received;

static void make_pair(int type)
{
	if (type == 0)
		make_tcp_pair(fds);
	else
		make_unix_pair(type, fds);
}

static int receive_with(int flags)
{
	char bytes[64];

	return (int)zs_recv(fds[0], bytes, sizeof(bytes), flags);
}

static int receive(void)
{
	return receive_with(0);
}

/* Each when the one before it has been received, and its receiver waits. */
static int send_training(void *arg)
{
	int i;

	(void)arg;
	for (i = 0; i < TRAINING; i++) {
		while (num_received < i)
			zs_yield();
		ck_assert_int_eq(send(fds[1], "x", 1, 0), 1);
	}
	return 0;
}

static void train(void)
{
	struct zs_nursery nursery;

	num_received = 0;
	ck_assert_int_eq(zs_nursery_open(&nursery, NULL), 0);
	zs_nursery_spawn(nursery, send_training, NULL);
	while (num_received < TRAINING) {
		ck_assert_int_eq(receive(), 1);
		num_received++;
	}
	ck_assert_int_eq(zs_nursery_wait(nursery), 0);
}

static void close_pair(void)
{
	ck_assert_int_eq(zs_close(fds[0]), 0);
	ck_assert_int_eq(zs_close(fds[1]), 0);
}

/* --- the number of another file --- */

static int send_to_waiter(void *arg)
{
	int *fd = arg, i;

	for (i = 0; i < 3; i++)
		zs_yield();
	ck_assert_int_eq(send(*fd, "y", 1, 0), 1);
	return 0;
}

/* Behind our back, but by the task that goes on using the number. */
static void replace(void)
{
	int other[2];

	make_unix_pair(SOCK_STREAM, other);
	ck_assert_int_eq(dup2(other[0], fds[0]), fds[0]);
	close(other[0]);
	close(fds[1]);
	fds[1] = other[1];
}

static int replace_and_receive(void *arg)
{
	struct zs_nursery nursery;
	int i;

	make_pair(*(int *)arg);
	for (i = 0; i < 3; i++) {
		train();
		replace();
		ck_assert_int_eq(zs_nursery_open(&nursery, NULL), 0);
		zs_nursery_spawn(nursery, send_to_waiter, &fds[1]);
		ck_assert_int_eq(receive(), 1);
		ck_assert_int_eq(zs_nursery_wait(nursery), 0);
	}
	close_pair();
	return 0;
}

START_TEST(trusted_number_that_is_another_files_now_is_watched)
{
	int type = _i;

	ck_assert_int_eq(run_task(replace_and_receive, &type), 0);
}
END_TEST

static int64_t second_ns;

/* Once one of them has been seen to be, the others are watched anew. */
static int replace_two(void *arg)
{
	struct zs_nursery nursery;
	int other[2], i;
	int64_t time_ns = 0;

	make_pair(*(int *)arg);
	train();
	other[0] = fds[0];
	other[1] = fds[1];
	make_pair(*(int *)arg);
	train();
	for (i = 0; i < 2; i++) {
		replace();
		time_ns = zs_now();
		ck_assert_int_eq(zs_nursery_open(&nursery, NULL), 0);
		zs_nursery_spawn(nursery, send_to_waiter, &fds[1]);
		ck_assert_int_eq(receive(), 1);
		time_ns = zs_now() - time_ns;
		ck_assert_int_eq(zs_nursery_wait(nursery), 0);
		close_pair();
		fds[0] = other[0];
		fds[1] = other[1];
	}
	second_ns = time_ns;
	return 0;
}

/* On a machine that is busy with other things any of them may take long. */
START_TEST(no_number_is_trusted_once_one_was_another_files)
{
	int64_t least_ns = INT64_MAX;
	int type = _i, i;

	for (i = 0; i < ROUNDS && least_ns >= SOON_NS; i++) {
		ck_assert_int_eq(run_task(replace_two, &type), 0);
		least_ns = second_ns < least_ns ? second_ns : least_ns;
	}
	ck_assert_int_lt(least_ns, SOON_NS);
}
END_TEST

static int read_file_of_a_trusted_number(void *arg)
{
	int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	char bytes[16];
	struct iovec part = { bytes, sizeof(bytes) };

	make_pair(*(int *)arg);
	train();
	ck_assert_int_eq(dup2(file, fds[0]), fds[0]);
	ck_assert_int_eq(zs_preadv(fds[0], &part, 1, 0, 0), 16);
	close(file);
	close_pair();
	return 0;
}

START_TEST(trusted_number_that_is_a_regular_files_now_is_read)
{
	int type = _i;

	ck_assert_int_eq(run_task(read_file_of_a_trusted_number, &type), 0);
}
END_TEST

static int close_and_receive(void *arg)
{
	make_pair(*(int *)arg);
	train();
	close(fds[0]);
	ck_assert_int_eq(receive(), -EBADF);
	return 0;
}

START_TEST(trusted_number_that_is_no_files_now_is_refused)
{
	int type = _i;

	ck_assert_int_eq(run_task(close_and_receive, &type), 0);
}
END_TEST

/* Behind our back, and the peer's end where the ring has kept the file. */
static int close_under_waiter(void *arg)
{
	int unread;

	(void)arg;
	ck_assert_int_eq(send(fds[1], "abc", 3, 0), 3);
	/* The receiver takes that, and waits for the rest. */
	do {
		ck_assert_int_eq(zs_sleep(ZS_MILLISECOND), 0);
		ck_assert_int_eq(ioctl(fds[0], FIONREAD, &unread), 0);
	} while (unread > 0);
	close(fds[0]);
	close(fds[1]);
	return 0;
}

static int receive_part(void *arg)
{
	struct zs_nursery nursery;

	make_pair(*(int *)arg);
	train();
	ck_assert_int_eq(zs_nursery_open(&nursery, NULL), 0);
	zs_nursery_spawn(nursery, close_under_waiter, NULL);
	ck_assert_int_eq(receive_with(MSG_WAITALL), 3);
	return zs_nursery_wait(nursery);
}

START_TEST(part_that_came_before_the_number_was_no_files_is_told)
{
	int type = _i;

	ck_assert_int_eq(run_task(receive_part, &type), 0);
}
END_TEST

/* The same number is the next connection's, as a server sees it. */
static int receive_by_turns(void *arg)
{
	int *type = arg, first, i;

	for (i = 0; i < ROUNDS; i++) {
		make_pair(*type);
		if (i == 0)
			first = fds[0];
		ck_assert_int_eq(fds[0], first);
		train();
		close_pair();
	}
	return 0;
}

START_TEST(number_that_was_closed_is_watched_for_its_next_file)
{
	int type = _i;

	ck_assert_int_eq(run_task(receive_by_turns, &type), 0);
}
END_TEST

/* --- receives that get less than they asked for, and leave something --- */

static void send_end(void)
{
	ck_assert_int_eq(send(fds[1], "y", 1, 0), 1);
	ck_assert_int_eq(shutdown(fds[1], SHUT_WR), 0);
}

/* A receive stops at the urgent byte, and the next one leaves it out. */
static void send_urgent(void)
{
	ck_assert_int_eq(send(fds[1], "a", 1, 0), 1);
	ck_assert_int_eq(send(fds[1], "b", 1, MSG_OOB), 1);
	ck_assert_int_eq(send(fds[1], "c", 1, 0), 1);
}

static void send_two(void)
{
	ck_assert_int_eq(send(fds[1], "a", 1, 0), 1);
	ck_assert_int_eq(send(fds[1], "b", 1, 0), 1);
}

static const struct leftover {
	int type;
	void (*send)(void);
	int flags; /* of the first receive */
	int first; /* what it returns, and the last one */
	int last;
} leftovers[] = {
	{ 0, send_end, 0, 1, 0 },
	{ SOCK_STREAM, send_end, 0, 1, 0 },
	{ 0, send_urgent, 0, 1, 1 },
	{ SOCK_SEQPACKET, send_two, 0, 1, 1 },
	{ SOCK_DGRAM, send_two, 0, 1, 1 },
	{ 0, send_two, MSG_PEEK, 2, 2 },
};

static int send_leftover(void *arg)
{
	const struct leftover *leftover = arg;
	int i;

	for (i = 0; i < 3; i++)
		zs_yield();
	leftover->send();
	return 0;
}

/* How long the second receive takes. */
static int64_t receive_twice(const struct leftover *leftover)
{
	struct zs_nursery nursery;
	int64_t start_ns;

	make_pair(leftover->type);
	train();
	ck_assert_int_eq(zs_nursery_open(&nursery, NULL), 0);
	zs_nursery_spawn(nursery, send_leftover, (void *)(uintptr_t)leftover);
	ck_assert_int_eq(receive_with(leftover->flags), leftover->first);
	start_ns = zs_now();
	ck_assert_int_eq(receive(), leftover->last);
	start_ns = zs_now() - start_ns;
	ck_assert_int_eq(zs_nursery_wait(nursery), 0);
	close_pair();
	return start_ns;
}

/* On a machine that is busy with other things any of them may take long. */
static int receive_leftovers(void *arg)
{
	int64_t least_ns = INT64_MAX, time_ns;
	int i;

	for (i = 0; i < ROUNDS && least_ns >= SOON_NS; i++) {
		time_ns = receive_twice(arg);
		least_ns = time_ns < least_ns ? time_ns : least_ns;
	}
	ck_assert_int_lt(least_ns, SOON_NS);
	return 0;
}

START_TEST(what_a_short_receive_leaves_is_received_at_once)
{
	struct leftover leftover = leftovers[_i];

	ck_assert_int_eq(run_task(receive_leftovers, &leftover), 0);
}
END_TEST

/* --- events that nobody waits for --- */

static int ignore_and_receive(void *arg)
{
	char bytes[64];
	int i;

	make_pair(*(int *)arg);
	train();
	for (i = 0; i < TRAINING; i++) {
		ck_assert_int_eq(send(fds[1], "x", 1, 0), 1);
		ck_assert_int_eq(zs_sleep(ZS_MILLISECOND), 0);
	}
	for (i = 0; i < TRAINING; i++)
		ck_assert_int_eq(zs_recv(fds[0], bytes, 1, 0), 1);
	train();
	close_pair();
	return 0;
}

START_TEST(ignored_events_are_not_missed)
{
	int type = _i;

	ck_assert_int_eq(run_task(ignore_and_receive, &type), 0);
}
END_TEST

static int train_alone(void *arg)
{
	(void)arg;
	train();
	return 0;
}

/* What one task has received from and another one only sends on. */
static int ignore_for_long(void *arg)
{
	struct zs_nursery nursery;
	struct zs_stats before, after;
	int i;

	make_pair(*(int *)arg);
	ck_assert_int_eq(zs_nursery_open(&nursery, NULL), 0);
	zs_nursery_spawn(nursery, train_alone, NULL);
	ck_assert_int_eq(zs_nursery_wait(nursery), 0);
	ck_assert_int_eq(zs_send(fds[0], "y", 1, 0), 1);
	zs_stats(NULL, &before);
	for (i = 0; i < IGNORED; i++) {
		ck_assert_int_eq(send(fds[1], "x", 1, 0), 1);
		ck_assert_int_eq(zs_sleep(ZS_MILLISECOND), 0);
	}
	zs_stats(NULL, &after);
	close_pair();
	return (int)(after.total.sleeps - before.total.sleeps);
}

/* One for each pause, and a few more. */
START_TEST(events_that_nobody_waits_for_wake_nobody)
{
	int type = _i;

	ck_assert_int_lt(run_task(ignore_for_long, &type), IGNORED * 3 / 2);
}
END_TEST

static Suite *watch_trust_suite(void)
{
	Suite *suite = suite_create("watch_trust");
	TCase *tests = tcase_create("watch_trust");
	int types = SOCK_STREAM + 1;

	tcase_set_timeout(tests, 30);
	tcase_add_loop_test(tests,
			    trusted_number_that_is_another_files_now_is_watched,
			    0, types);
	tcase_add_loop_test(tests,
			    trusted_number_that_is_no_files_now_is_refused, 0,
			    types);
	tcase_add_loop_test(
		tests, part_that_came_before_the_number_was_no_files_is_told, 0,
		types);
	tcase_add_loop_test(tests,
			    no_number_is_trusted_once_one_was_another_files, 0,
			    types);
	tcase_add_loop_test(tests,
			    trusted_number_that_is_a_regular_files_now_is_read,
			    0, types);
	tcase_add_loop_test(tests,
			    number_that_was_closed_is_watched_for_its_next_file,
			    0, types);
	tcase_add_loop_test(tests,
			    what_a_short_receive_leaves_is_received_at_once, 0,
			    sizeof(leftovers) / sizeof(leftovers[0]));
	tcase_add_loop_test(tests, ignored_events_are_not_missed, 0, types);
	tcase_add_loop_test(tests, events_that_nobody_waits_for_wake_nobody, 0,
			    types);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(watch_trust_suite());
}
