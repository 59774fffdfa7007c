/* SPDX-License-Identifier: MIT */
/*
 * Calls that wait on a descriptor, and are cancelled: by a token, by their
 * nursery, by a deadline, before they begin. What the kernel has done by then
 * must not be lost, and the descriptor must be as good as before.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>

#include "descriptors.h"
#include "runtime.h"

/* ends[0] is what is waited on, ends[1] what would end the wait. */
static int ends[2];
static char folder[] = "/tmp/zsync-test-XXXXXX";
static char bytes[4096];
static struct iovec part = { bytes, 1 };
static struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
static struct mmsghdr messages[2];
static struct sockaddr_in address;
static struct zs_cancel_token token;
static struct zs_nursery nursery;

/* A call that waits, and what makes it wait. */
struct waiter {
	const char *name;
	void (*prepare)(void);
	int (*call)(void);
};

static void prepare_empty(void)
{
	make_unix_pair(SOCK_STREAM, ends);
}

static void prepare_full(void)
{
	make_unix_pair(SOCK_STREAM, ends);
	fill_up(ends[0]);
}

static void prepare_empty_pipe(void)
{
	make_pipe(ends);
}

static void prepare_full_pipe(void)
{
	int fds[2];

	make_pipe(fds);
	ends[0] = fds[1];
	ends[1] = fds[0];
	fill_up(ends[0]);
}

static void prepare_listener(void)
{
	ends[0] = make_listener(1, &address);
}

/* A listener that has no room: what connects is not answered. */
static void prepare_deaf_listener(void)
{
	int fd;

	ends[1] = make_listener(0, &address);
	for (int i = 0; i < 4; i++) {
		fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		ck_assert_int_ge(fd, 0);
		if (connect(fd, (struct sockaddr *)&address, sizeof(address)))
			ck_assert_int_eq(errno, EINPROGRESS);
	}
	ends[0] = socket(AF_INET, SOCK_STREAM, 0);
}

/* "@" and what the kernel calls it: others may run the same test. */
static char deaf_name[sizeof(struct sockaddr_un)];

/* The same by an abstract name. */
static void prepare_deaf_name(void)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	socklen_t length = sizeof(name);
	int fd;

	ends[1] = socket(AF_UNIX, SOCK_STREAM, 0);
	ck_assert_int_eq(bind(ends[1], (void *)&name, sizeof(sa_family_t)), 0);
	ck_assert_int_eq(getsockname(ends[1], (void *)&name, &length), 0);
	snprintf(deaf_name, sizeof(deaf_name), "@%s", name.sun_path + 1);
	ck_assert_int_eq(listen(ends[1], 0), 0);
	do {
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
		ck_assert_int_ge(fd, 0);
	} while (connect(fd, (void *)&name, length) == 0);
	ck_assert_int_eq(errno, EAGAIN);
	ends[0] = fd;
}

static void prepare_fifo(void)
{
	ck_assert_ptr_nonnull(mkdtemp(folder));
	ends[0] = open(folder, O_PATH | O_DIRECTORY);
	ck_assert_int_ge(ends[0], 0);
	ck_assert_int_eq(mkfifoat(ends[0], "fifo", 0600), 0);
}

static int wait_in_recv(void)
{
	return (int)zs_recv(ends[0], bytes, 1, 0);
}

static int wait_in_recvmsg(void)
{
	return (int)zs_recvmsg(ends[0], &message, 0);
}

static int wait_in_send(void)
{
	return (int)zs_send(ends[0], bytes, sizeof(bytes), 0);
}

static int wait_in_send_all(void)
{
	return (int)zs_send_all(ends[0], bytes, sizeof(bytes), 0);
}

static int wait_in_sendmsg(void)
{
	return (int)zs_sendmsg(ends[0], &message, 0);
}

static int wait_in_recvfrom(void)
{
	return (int)zs_recvfrom(ends[0], bytes, 1, 0, NULL, NULL);
}

static int wait_in_sendto(void)
{
	return (int)zs_sendto(ends[0], bytes, sizeof(bytes), 0, NULL, 0);
}

static int wait_in_recvmmsg(void)
{
	messages[0].msg_hdr = messages[1].msg_hdr = message;
	return zs_recvmmsg(ends[0], messages, 2, 0);
}

static int wait_in_sendmmsg(void)
{
	messages[0].msg_hdr = messages[1].msg_hdr = message;
	return zs_sendmmsg(ends[0], messages, 2, 0);
}

static int wait_in_recv_fds(void)
{
	size_t count = 0;

	return (int)zs_recv_fds(ends[0], bytes, 1, 0, NULL, &count);
}

static int wait_in_send_fds(void)
{
	return (int)zs_send_fds(ends[0], bytes, 1, 0, &ends[1], 1);
}

static int wait_in_unix_connect(void)
{
	return zs_unix_connect(deaf_name);
}

static int wait_in_poll(void)
{
	return zs_poll_fd(ends[0], POLLIN);
}

static int wait_in_read(void)
{
	return (int)zs_read(ends[0], bytes, 1);
}

static int wait_in_write(void)
{
	return (int)zs_write(ends[0], bytes, sizeof(bytes));
}

static int wait_in_accept(void)
{
	return zs_accept(ends[0], NULL, NULL, 0);
}

static int wait_in_connect(void)
{
	return zs_connect(ends[0], (struct sockaddr *)&address,
			  sizeof(address));
}

static int wait_in_openat(void)
{
	return zs_openat(ends[0], "fifo", O_RDONLY, 0);
}

static const struct waiter waiters[] = {
	{ "recv", prepare_empty, wait_in_recv },
	{ "recvmsg", prepare_empty, wait_in_recvmsg },
	{ "poll", prepare_empty, wait_in_poll },
	{ "send", prepare_full, wait_in_send },
	{ "send_all", prepare_full, wait_in_send_all },
	{ "sendmsg", prepare_full, wait_in_sendmsg },
	{ "recvfrom", prepare_empty, wait_in_recvfrom },
	{ "sendto", prepare_full, wait_in_sendto },
	{ "recvmmsg", prepare_empty, wait_in_recvmmsg },
	{ "sendmmsg", prepare_full, wait_in_sendmmsg },
	{ "recv_fds", prepare_empty, wait_in_recv_fds },
	{ "send_fds", prepare_full, wait_in_send_fds },
	{ "unix_connect", prepare_deaf_name, wait_in_unix_connect },
	{ "read", prepare_empty_pipe, wait_in_read },
	{ "write", prepare_full_pipe, wait_in_write },
	{ "accept", prepare_listener, wait_in_accept },
	{ "connect", prepare_deaf_listener, wait_in_connect },
	{ "openat", prepare_fifo, wait_in_openat },
};
enum { NR_WAITERS = sizeof(waiters) / sizeof(waiters[0]), NR_MOMENTS = 3 };

/* Lets the ring be handed what waits, as many times as @turns says: cancelled
 * before the kernel has it, as it gets it, and long after. */
static void pass_turns(int turns)
{
	int pair[2];
	char byte = 0;

	make_unix_pair(SOCK_STREAM, pair);
	for (int i = 0; i < turns; i++) {
		ck_assert_int_eq(zs_send(pair[0], &byte, 1, 0), 1);
		ck_assert_int_eq(zs_recv(pair[1], &byte, 1, 0), 1);
	}
	close(pair[0]);
	close(pair[1]);
}

static int cancel_token(void *turns)
{
	pass_turns(*(int *)turns);
	return zs_cancel_token_cancel(token);
}

/* Opens a scope, spawns @canceller beside it, and waits in the call. The next
 * call must report the cancellation again. */
static int wait_in_scope(const struct waiter *waiter, zs_task_fn *canceller,
			 int turns)
{
	struct zs_nursery beside;
	int ret;

	ck_assert_int_eq(zs_nursery_open(&beside, NULL), 0);
	ck_assert_int_eq(zs_cancel_token_open(&token, ZS_NEVER), 0);
	ck_assert_int_eq(zs_nursery_spawn(beside, canceller, &turns), 0);
	errno = ERANGE;
	ret = waiter->call();
	ck_assert_int_eq(errno, ERANGE);
	ck_assert_int_eq(waiter->call(), -ECANCELED);
	ck_assert_int_eq(zs_cancel_token_close(token), -ECANCELED);
	ck_assert_int_eq(zs_nursery_wait(beside), 0);
	return ret;
}

struct trial {
	const struct waiter *waiter;
	int turns;
};

static int wait_for_token(void *arg)
{
	const struct trial *trial = arg;

	ck_assert_msg(wait_in_scope(trial->waiter, cancel_token,
				    trial->turns) == -ECANCELED,
		      "%s", trial->waiter->name);
	return 0;
}

START_TEST(token_ends_a_waiting_call)
{
	struct trial trial = { &waiters[_i / NR_MOMENTS], _i % NR_MOMENTS };
	int before;

	trial.waiter->prepare();
	before = next_fd();
	ck_assert_int_eq(run_task(wait_for_token, &trial), 0);
	ck_assert_int_eq(next_fd(), before);
}
END_TEST

static int cancel_nursery(void *turns)
{
	pass_turns(*(int *)turns);
	return zs_nursery_cancel(nursery);
}

static int wait_in_child(void *arg)
{
	const struct trial *trial = arg;
	int ret = trial->waiter->call();

	ck_assert_msg(ret == -ECANCELED, "%s", trial->waiter->name);
	ck_assert_int_eq(zs_cancel_reason(), ZS_CANCEL_REQUESTED);
	return ret;
}

static int wait_for_nursery(void *arg)
{
	struct trial *trial = arg;

	ck_assert_int_eq(zs_nursery_open(&nursery, NULL), 0);
	ck_assert_int_eq(zs_nursery_spawn(nursery, wait_in_child, trial), 0);
	ck_assert_int_eq(zs_yield(), 0);
	ck_assert_int_eq(
		zs_nursery_spawn(nursery, cancel_nursery, &trial->turns), 0);
	return zs_nursery_wait(nursery);
}

START_TEST(nursery_ends_its_tasks_waiting_calls)
{
	struct trial trial = { &waiters[_i / NR_MOMENTS], _i % NR_MOMENTS };

	trial.waiter->prepare();
	ck_assert_int_eq(run_task(wait_for_nursery, &trial), -ECANCELED);
}
END_TEST

static int fail_late(void *turns)
{
	pass_turns(*(int *)turns);
	return -EXDEV;
}

static int fail_beside(void *arg)
{
	struct trial *trial = arg;

	ck_assert_int_eq(zs_nursery_open(&nursery, NULL), 0);
	ck_assert_int_eq(zs_nursery_spawn(nursery, fail_late, &trial->turns),
			 0);
	ck_assert_int_eq(trial->waiter->call(), -ECANCELED);
	ck_assert_int_eq(zs_cancel_reason(), ZS_CANCEL_SIBLING_FAILED);
	return zs_nursery_wait(nursery);
}

START_TEST(failed_task_ends_its_openers_waiting_call)
{
	struct trial trial = { &waiters[_i / NR_MOMENTS], _i % NR_MOMENTS };

	trial.waiter->prepare();
	ck_assert_int_eq(run_task(fail_beside, &trial), -EXDEV);
}
END_TEST

/* The point in time has passed, or is 2 ms away. */
static int wait_for_deadline(void *arg)
{
	const struct trial *trial = arg;
	int64_t deadline_ns =
		zs_now() + (trial->turns - 1) * 2 * ZS_MILLISECOND;

	ck_assert_int_eq(zs_cancel_token_open(&token, deadline_ns), 0);
	ck_assert_int_eq(trial->waiter->call(), -ETIMEDOUT);
	ck_assert_int_ge(zs_now(), deadline_ns);
	ck_assert_int_eq(zs_cancel_reason(), ZS_CANCEL_DEADLINE);
	return zs_cancel_token_close(token);
}

START_TEST(deadline_ends_a_waiting_call_and_never_early)
{
	struct trial trial = { &waiters[_i / NR_MOMENTS], _i % NR_MOMENTS };

	trial.waiter->prepare();
	ck_assert_int_eq(run_task(wait_for_deadline, &trial), -ETIMEDOUT);
}
END_TEST

/* Calls that would not wait at all. */
static int call_in_cancelled_scope(void *arg)
{
	int fds[2], before = next_fd();
	char byte;

	(void)arg;
	make_pipe(fds);
	ck_assert_int_eq(zs_cancel_token_open(&token, ZS_NEVER), 0);
	ck_assert_int_eq(zs_cancel_token_cancel(token), 0);
	ck_assert_int_eq(zs_write(fds[1], "x", 1), -ECANCELED);
	ck_assert_int_eq(zs_send(ends[1], "x", 1, 0), -ECANCELED);
	ck_assert_int_eq(zs_send_all(ends[1], "x", 1, 0), -ECANCELED);
	ck_assert_int_eq(zs_shutdown(ends[1], SHUT_RDWR), -ECANCELED);
	ck_assert_int_eq(zs_socket(AF_INET, SOCK_STREAM, 0), -ECANCELED);
	ck_assert_int_eq(zs_sendto(ends[1], "x", 1, 0, NULL, 0), -ECANCELED);
	ck_assert_int_eq(zs_sendmmsg(ends[1], messages, 1, 0), -ECANCELED);
	ck_assert_int_eq(zs_send_fds(ends[1], "x", 1, 0, ends, 1), -ECANCELED);
	ck_assert_int_eq(zs_unix_listen("@zsync-test-never", 1), -ECANCELED);
	ck_assert_int_eq(zs_udp_bind("127.0.0.1:0"), -ECANCELED);
	ck_assert_int_eq(zs_tcp_listen("127.0.0.1:0", 1), -ECANCELED);
	ck_assert_int_eq(zs_tcp_connect("127.0.0.1:1"), -ECANCELED);
	ck_assert_int_eq(zs_openat(AT_FDCWD, "/", O_RDONLY, 0), -ECANCELED);
	/* Closing works: the pipe's other end and the number show it. */
	ck_assert_int_eq(zs_close(fds[1]), 0);
	ck_assert_int_eq(read(fds[0], &byte, 1), 0);
	ck_assert_int_eq(zs_close(fds[0]), 0);
	ck_assert_int_eq(next_fd(), before);
	ck_assert_int_eq(zs_cancel_token_close(token), -ECANCELED);
	ck_assert_int_eq(recv(ends[0], &byte, 1, MSG_DONTWAIT), -1);
	ck_assert_int_eq(errno, EAGAIN);
	return 0;
}

START_TEST(in_a_cancelled_scope_nothing_is_begun_but_close)
{
	make_unix_pair(SOCK_STREAM, ends);
	ck_assert_int_eq(run_task(call_in_cancelled_scope, NULL), 0);
}
END_TEST

/* The wait is over and cancelled in the same moment; @order says which came
 * first. */
static int order;

static void end_wait(void)
{
	int fd;

	if (!address.sin_port) {
		ck_assert_int_eq(write(ends[1], "x", 1), 1);
		return;
	}
	fd = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(
		connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
}

static int end_and_cancel(void *turns)
{
	pass_turns(*(int *)turns);
	if (order)
		end_wait();
	ck_assert_int_eq(zs_cancel_token_cancel(token), 0);
	if (!order)
		end_wait();
	return 0;
}

/* Either the call has its result, or the next one outside the scope has. */
static int wait_for_both(void *arg)
{
	const struct trial *trial = arg;
	struct pollfd more = { .fd = ends[0], .events = POLLIN };
	int ret = wait_in_scope(trial->waiter, end_and_cancel, trial->turns);

	if (ret == -ECANCELED)
		ret = trial->waiter->call();
	ck_assert_int_gt(ret, 0);
	if (!address.sin_port)
		ck_assert_int_eq(bytes[0], 'x');
	ck_assert_int_eq(poll(&more, 1, 0), 0);
	return 0;
}

static const struct waiter takers[] = {
	{ "recv", prepare_empty, wait_in_recv },
	{ "recvmsg", prepare_empty, wait_in_recvmsg },
	{ "recvfrom", prepare_empty, wait_in_recvfrom },
	{ "recvmmsg", prepare_empty, wait_in_recvmmsg },
	{ "recv_fds", prepare_empty, wait_in_recv_fds },
	{ "read", prepare_empty_pipe, wait_in_read },
	{ "accept", prepare_listener, wait_in_accept },
};
enum { NR_TAKERS = sizeof(takers) / sizeof(takers[0]) };

START_TEST(what_came_with_the_cancel_is_not_lost)
{
	struct trial trial = { &takers[_i / 2 / NR_MOMENTS],
			       _i / 2 % NR_MOMENTS };

	order = _i % 2;
	trial.waiter->prepare();
	ck_assert_int_eq(run_task(wait_for_both, &trial), 0);
}
END_TEST

enum { BULK = 4 << 20 };

static int count_what_was_sent(void *bulk)
{
	struct zs_nursery beside;
	ssize_t sent;
	int turns = 2;

	ck_assert_int_eq(zs_nursery_open(&beside, NULL), 0);
	ck_assert_int_eq(zs_cancel_token_open(&token, ZS_NEVER), 0);
	ck_assert_int_eq(zs_nursery_spawn(beside, cancel_token, &turns), 0);
	sent = zs_send_all(ends[0], bulk, BULK, 0);
	ck_assert_int_eq(zs_send_all(ends[0], bulk, 1, 0), -ECANCELED);
	ck_assert_int_eq(zs_cancel_token_close(token), -ECANCELED);
	ck_assert_int_eq(zs_nursery_wait(beside), 0);
	ck_assert_int_gt(sent, 0);
	ck_assert_int_lt(sent, BULK);
	ck_assert_int_eq(zs_shutdown(ends[0], SHUT_WR), 0);
	for (;;) {
		ssize_t count = zs_recv(ends[1], bulk, BULK, 0);

		ck_assert_int_ge(count, 0);
		if (count == 0)
			break;
		sent -= count;
	}
	ck_assert_int_eq(sent, 0);
	return 0;
}

START_TEST(cancelled_send_all_reports_exactly_what_was_sent)
{
	char *bulk = calloc(1, BULK);

	ck_assert_ptr_nonnull(bulk);
	if (_i)
		make_unix_pair(SOCK_STREAM, ends);
	else
		make_tcp_pair(ends);
	ck_assert_int_eq(run_task(count_what_was_sent, bulk), 0);
	free(bulk);
}
END_TEST

static void remove_folder(void)
{
	unlinkat(ends[0], "fifo", 0);
	rmdir(folder);
}

static Suite *cancel_io_suite(void)
{
	enum { ALL = NR_WAITERS * NR_MOMENTS };
	Suite *suite = suite_create("cancel_io");
	TCase *tests = tcase_create("cancel_io");

	tcase_add_checked_fixture(tests, NULL, remove_folder);
	tcase_add_loop_test(tests, token_ends_a_waiting_call, 0, ALL);
	tcase_add_loop_test(tests, nursery_ends_its_tasks_waiting_calls, 0,
			    ALL);
	tcase_add_loop_test(tests, failed_task_ends_its_openers_waiting_call, 0,
			    ALL);
	tcase_add_loop_test(tests, deadline_ends_a_waiting_call_and_never_early,
			    0, ALL);
	tcase_add_test(tests, in_a_cancelled_scope_nothing_is_begun_but_close);
	tcase_add_loop_test(tests, what_came_with_the_cancel_is_not_lost, 0,
			    NR_TAKERS * NR_MOMENTS * 2);
	tcase_add_loop_test(
		tests, cancelled_send_all_reports_exactly_what_was_sent, 0, 2);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(cancel_io_suite());
}
