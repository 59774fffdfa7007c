/* SPDX-License-Identifier: MIT */
/*
 * zs_close() while other tasks have calls on the descriptor: on the same worker
 * and on others, one, two and many of them.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "descriptors.h"
#include "held.h"
#include "workers.h"

enum { NUM_WORKERS = 4, MANY = 9 };

static int ends[2];
static struct counter ended;
static int results[MANY * NUM_WORKERS];

static void note(int result)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

	pthread_mutex_lock(&lock);
	results[counted(&ended)] = result;
	count(&ended);
	pthread_mutex_unlock(&lock);
}

static void expect_results(uint32_t number, int result)
{
	uint32_t i;

	ck_assert_uint_eq(counted(&ended), number);
	for (i = 0; i < number; i++)
		ck_assert_int_eq(results[i], result);
}

static int receive(void *arg)
{
	char byte;

	(void)arg;
	note((int)zs_recv(ends[0], &byte, 1, 0));
	return 0;
}

static int poll_for_input(void *arg)
{
	(void)arg;
	note(zs_poll_fd(ends[0], POLLIN));
	return 0;
}

static int send_into_full(void *arg)
{
	(void)arg;
	note((int)zs_send(ends[0], "x", 1, 0));
	return 0;
}

static int read_pipe(void *arg)
{
	char byte;

	(void)arg;
	note((int)zs_read(ends[0], &byte, 1));
	return 0;
}

static int accept_one(void *arg)
{
	(void)arg;
	note(zs_accept(ends[0], NULL, NULL, 0));
	return 0;
}

static void prepare_socket(void)
{
	make_unix_pair(SOCK_STREAM, ends);
}

static void prepare_full_socket(void)
{
	make_unix_pair(SOCK_STREAM, ends);
	fill_up(ends[0]);
}

static void prepare_pipe(void)
{
	make_pipe(ends);
}

static void prepare_listener(void)
{
	struct sockaddr_in address;

	ends[0] = make_listener(1, &address);
}

static const struct {
	void (*prepare)(void);
	zs_task_fn *call;
} calls[] = {
	{ prepare_socket, receive },
	{ prepare_socket, poll_for_input },
	{ prepare_full_socket, send_into_full },
	{ prepare_pipe, read_pipe },
	{ prepare_listener, accept_one },
};
enum { NUM_CALLS = sizeof(calls) / sizeof(calls[0]) };

/* Until the kernel has that many operations of this runtime. */
static void await_in_flight(uint64_t number)
{
	struct zs_stats stats;

	do {
		assert_ok(zs_sleep(100 * ZS_MICROSECOND));
		assert_ok(zs_stats(NULL, &stats));
	} while (stats.total.ops_in_flight < number);
}

static struct zs_nursery open_nursery(void)
{
	struct zs_nursery nursery;

	assert_ok(zs_nursery_open(&nursery, NULL));
	return nursery;
}

/* --- on one worker --- */

/* The rest are NULL. */
struct callers {
	zs_task_fn *call[MANY + 1];
};

static int close_beside(void *arg)
{
	struct callers *callers = arg;
	struct zs_nursery nursery = open_nursery();
	uint32_t number;

	for (number = 0; callers->call[number]; number++)
		assert_ok(
			zs_nursery_spawn(nursery, callers->call[number], NULL));
	await_in_flight(number);
	ck_assert_int_eq(zs_close(ends[0]), 0);
	ck_assert(!is_open(ends[0]));
	assert_ok(zs_nursery_wait(nursery));
	return 0;
}

START_TEST(close_ends_the_call_of_another_task)
{
	struct callers one = { { calls[_i].call } };

	calls[_i].prepare();
	ck_assert_int_eq(run_task(close_beside, &one), 0);
	expect_results(1, -ECANCELED);
}
END_TEST

START_TEST(close_ends_a_reader_and_a_writer)
{
	struct callers both = { { receive, send_into_full } };

	prepare_full_socket();
	ck_assert_int_eq(run_task(close_beside, &both), 0);
	expect_results(2, -ECANCELED);
}
END_TEST

START_TEST(close_ends_many)
{
	struct callers many = { { NULL } };
	int i;

	for (i = 0; i < MANY; i++)
		many.call[i] = i % 2 ? receive : poll_for_input;
	prepare_socket();
	ck_assert_int_eq(run_task(close_beside, &many), 0);
	expect_results(MANY, -ECANCELED);
}
END_TEST

/* The bytes were there before the close: the call has them, or the cancel was
 * quicker and they are gone with the socket. */
static int close_after_bytes(void *arg)
{
	struct zs_nursery nursery = open_nursery();

	(void)arg;
	assert_ok(zs_nursery_spawn(nursery, receive, NULL));
	await_in_flight(1);
	ck_assert_int_eq(write(ends[1], "x", 1), 1);
	ck_assert_int_eq(zs_close(ends[0]), 0);
	assert_ok(zs_nursery_wait(nursery));
	return 0;
}

START_TEST(call_that_was_done_has_its_result)
{
	prepare_socket();
	ck_assert_int_eq(run_task(close_after_bytes, NULL), 0);
	ck_assert_uint_eq(counted(&ended), 1);
	ck_assert(results[0] == 1 || results[0] == -ECANCELED);
}
END_TEST

/* A task whose calls are over is none that a close waits for. */
static int use_and_leave(void *arg)
{
	char byte;

	(void)arg;
	ck_assert_int_eq(zs_send(ends[0], "x", 1, 0), 1);
	ck_assert_int_eq(zs_recv(ends[1], &byte, 1, 0), 1);
	return 0;
}

static int close_after_others(void *arg)
{
	struct zs_nursery nursery = open_nursery();
	int i, fd = ends[0];

	(void)arg;
	for (i = 0; i < 5; i++)
		assert_ok(zs_nursery_spawn(nursery, use_and_leave, NULL));
	assert_ok(zs_nursery_wait(nursery));
	ck_assert_int_eq(zs_close(fd), 0);
	/* The number is as good as new. */
	ck_assert_int_eq(zs_close(ends[1]), 0);
	make_unix_pair(SOCK_STREAM, ends);
	ck_assert_int_eq(ends[0], fd);
	return use_and_leave(NULL);
}

START_TEST(number_works_again_after_a_close)
{
	prepare_socket();
	ck_assert_int_eq(run_task(close_after_others, NULL), 0);
}
END_TEST

static int close_in_cancelled_scope(void *arg)
{
	struct zs_nursery nursery = open_nursery();
	struct zs_cancel_token token;

	(void)arg;
	assert_ok(zs_nursery_spawn(nursery, receive, NULL));
	await_in_flight(1);
	assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
	assert_ok(zs_cancel_token_cancel(token));
	ck_assert_int_eq(zs_close(ends[0]), 0);
	ck_assert_int_eq(zs_cancel_token_close(token), -ECANCELED);
	assert_ok(zs_nursery_wait(nursery));
	return 0;
}

START_TEST(close_in_a_cancelled_scope_ends_others_too)
{
	prepare_socket();
	ck_assert_int_eq(run_task(close_in_cancelled_scope, NULL), 0);
	expect_results(1, -ECANCELED);
}
END_TEST

/* --- what cannot be ended --- */

static struct held_page held;

static int read_into_page(void *arg)
{
	(void)arg;
	note((int)zs_pread(ends[0], held.page, held.size, 0));
	return 0;
}

static int close_it(void *arg)
{
	(void)arg;
	note(zs_close(ends[0]));
	return 0;
}

static int close_while_held(void *arg)
{
	struct zs_nursery nursery = open_nursery();
	char byte;
	int other;

	(void)arg;
	assert_ok(zs_nursery_spawn(nursery, read_into_page, NULL));
	await_in_flight(1);
	await_fault(&held);
	assert_ok(zs_nursery_spawn(nursery, close_it, NULL));
	assert_ok(zs_sleep(ZS_MILLISECOND));
	/* It is being closed: no other call, and its number is not given. */
	ck_assert_int_eq(zs_pread(ends[0], &byte, 1, 0), -EBADF);
	ck_assert_int_eq(zs_close(ends[0]), -EBADF);
	ck_assert(is_open(ends[0]));
	other = open("/dev/null", O_RDONLY);
	ck_assert_int_ne(other, ends[0]);
	close(other);
	ck_assert_uint_eq(counted(&ended), 0);
	let_go(&held);
	assert_ok(zs_nursery_wait(nursery));
	ck_assert(!is_open(ends[0]));
	ck_assert_uint_eq(counted(&ended), 2);
	/* In either order: the read with its bytes, the close. */
	ck_assert_int_ge(results[0] + results[1], 1);
	ck_assert_int_ge(results[0] | results[1], 0);
	return 0;
}

START_TEST(number_is_kept_while_the_kernel_holds_a_call)
{
	if (test_is_blocking()) {
		puts("SKIP test_close: held calls: blocking waits itself");
		return;
	}
	if (!hold_page(&held, __func__))
		return;
	ends[0] = open("/proc/self/status", O_RDONLY);
	ck_assert_int_ge(ends[0], 0);
	ck_assert_int_eq(run_task(close_while_held, NULL), 0);
	drop_page(&held);
}
END_TEST

/* --- on several workers --- */

static int close_from_afar(void *arg)
{
	int *each = arg;
	struct zs_nursery nursery = open_nursery();
	int i;

	for (i = 0; i < *each; i++)
		spawn_on_each(nursery, NUM_WORKERS, receive, NULL);
	await_in_flight((uint64_t)*each * NUM_WORKERS);
	ck_assert_int_eq(zs_close(ends[0]), 0);
	ck_assert(!is_open(ends[0]));
	assert_ok(zs_nursery_wait(nursery));
	return 0;
}

START_TEST(close_ends_calls_on_all_workers)
{
	prepare_socket();
	ck_assert_int_eq(
		run_task_on(NUM_WORKERS, close_from_afar, &(int){ _i }), 0);
	expect_results((uint32_t)_i * NUM_WORKERS, -ECANCELED);
}
END_TEST

/* One task, which another worker runs, waits; this one closes. */
static struct counter has_moved;
static _Thread_local int here;

static int receive_elsewhere(void *arg)
{
	if (&here == arg)
		return 0;
	count(&has_moved);
	return receive(NULL);
}

static int close_for_one_elsewhere(void *arg)
{
	struct zs_nursery nursery = open_nursery();

	(void)arg;
	spawn_on_each(nursery, 2, receive_elsewhere, &here);
	await_in_flight(1);
	ck_assert_uint_eq(counted(&has_moved), 1);
	ck_assert_int_eq(zs_close(ends[0]), 0);
	assert_ok(zs_nursery_wait(nursery));
	return 0;
}

START_TEST(close_ends_the_call_of_a_task_elsewhere)
{
	prepare_socket();
	ck_assert_int_eq(run_task_on(2, close_for_one_elsewhere, NULL), 0);
	expect_results(1, -ECANCELED);
}
END_TEST

/* Closes and calls that meet at any instant: each call ends, and no call gets a
 * byte of a later socket of the same number. */
struct meeting {
	int fds[2];
	struct counter go, left;
};

static int call_at_once(void *arg)
{
	struct meeting *meeting = arg;
	char byte;
	int ret;

	await_count(&meeting->go, 1);
	ret = (int)zs_recv(meeting->fds[0], &byte, 1, 0);
	ck_assert(ret == -ECANCELED || ret == -EBADF);
	count(&meeting->left);
	return 0;
}

static int close_at_once(void *arg)
{
	enum { ROUNDS = 300 };
	int i;

	(void)arg;
	for (i = 0; i < ROUNDS; i++) {
		struct zs_nursery nursery = open_nursery();
		struct meeting meeting = { 0 };
		int j;

		make_unix_pair(SOCK_STREAM, meeting.fds);
		for (j = 0; j < 3; j++)
			assert_ok(zs_nursery_spawn(nursery, call_at_once,
						   &meeting));
		zs_yield();
		count(&meeting.go);
		for (j = 0; j < i % 4; j++)
			zs_yield();
		ck_assert_int_eq(zs_close(meeting.fds[0]), 0);
		assert_ok(zs_nursery_wait(nursery));
		close(meeting.fds[1]);
	}
	return 0;
}

START_TEST(calls_and_closes_may_meet_at_any_instant)
{
	ck_assert_int_eq(run_task_on(_i, close_at_once, NULL), 0);
}
END_TEST

/* Waits for a close that is under way, and is cancelled meanwhile; when it goes
 * on, the number is another socket's, which nobody sends to. All in one turn of
 * the worker: the kernel closes after it. */
static int close_and_reuse(void *arg)
{
	int *fds = arg;

	ck_assert_int_eq(zs_close(fds[0]), 0);
	ck_assert_int_eq(dup2(ends[0], fds[0]), fds[0]);
	return 0;
}

static int receive_cancelled(void *arg)
{
	int *fds = arg;
	char byte;

	note((int)zs_recv(fds[0], &byte, 1, 0));
	return 0;
}

static int cancel_during_close(void *arg)
{
	struct zs_nursery closing = open_nursery(), calling = open_nursery();
	int fds[2];

	(void)arg;
	make_unix_pair(SOCK_STREAM, fds);
	assert_ok(zs_nursery_spawn(closing, close_and_reuse, fds));
	assert_ok(zs_nursery_spawn(calling, receive_cancelled, fds));
	zs_yield();
	assert_ok(zs_nursery_cancel(calling));
	ck_assert_int_eq(zs_nursery_wait(calling), -ECANCELED);
	assert_ok(zs_nursery_wait(closing));
	close(fds[0]);
	close(fds[1]);
	return 0;
}

START_TEST(cancel_reaches_a_call_that_waits_for_a_close)
{
	prepare_socket();
	ck_assert_int_eq(run_task(cancel_during_close, NULL), 0);
	expect_results(1, -ECANCELED);
}
END_TEST

/* --- bad numbers --- */

static int close_bad_ones(void *arg)
{
	char byte;

	(void)arg;
	ck_assert_int_eq(zs_close(-1), -EBADF);
	ck_assert_int_eq(zs_close(INT32_MAX), -EBADF);
	ck_assert_int_eq(zs_close(closed_fd()), -EBADF);
	ck_assert_int_eq(zs_recv(INT32_MIN, &byte, 1, 0), -EBADF);
	ck_assert_int_eq(zs_recv(1 << 20, &byte, 1, 0), -EBADF);
	return 0;
}

START_TEST(numbers_that_are_none_are_ebadf)
{
	ck_assert_int_eq(run_task(close_bad_ones, NULL), 0);
	ck_assert_int_eq(zs_close(0), -EPERM);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("close");
	TCase *tests = tcase_create("close");

	tcase_set_timeout(tests, 60);
	tcase_add_loop_test(tests, close_ends_the_call_of_another_task, 0,
			    NUM_CALLS);
	tcase_add_test(tests, close_ends_a_reader_and_a_writer);
	tcase_add_test(tests, close_ends_many);
	tcase_add_test(tests, call_that_was_done_has_its_result);
	tcase_add_test(tests, number_works_again_after_a_close);
	tcase_add_test(tests, close_in_a_cancelled_scope_ends_others_too);
	tcase_add_test(tests, number_is_kept_while_the_kernel_holds_a_call);
	tcase_add_loop_test(tests, close_ends_calls_on_all_workers, 1, 3);
	tcase_add_test(tests, close_ends_the_call_of_a_task_elsewhere);
	tcase_add_loop_test(tests, calls_and_closes_may_meet_at_any_instant, 1,
			    4);
	tcase_add_test(tests, cancel_reaches_a_call_that_waits_for_a_close);
	tcase_add_test(tests, numbers_that_are_none_are_ebadf);
	suite_add_tcase(suite, tests);
	return run_suite(suite);
}
