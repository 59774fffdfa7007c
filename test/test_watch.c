/* SPDX-License-Identifier: MIT */
/* Waits for descriptors that are odd: whose number has become another file's,
 * or which poll(2) has ready for what they cannot do. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "descriptors.h"
#include "runtime.h"

/* Each test is a process of its own. */
static int fds[2];
static bool is_over;

static int receive_one(void *arg)
{
	int *received = arg;
	char byte;

	*received = zs_recv(fds[0], &byte, 1, 0);
	return 0;
}

/* One waits, by the number, for a file that has gone. It may take the new
 * file's first byte, for which it is to blame; the other one must not wait for
 * ever. */
static int replace_file_under_waiter(void *arg)
{
	int other[2], old = 0, new = 0;
	struct zs_nursery nursery;

	(void)arg;
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, other), 0);
	zs_nursery_open(&nursery, NULL);
	zs_nursery_spawn(nursery, receive_one, &old);
	zs_yield();
	ck_assert_int_eq(dup2(other[0], fds[0]), fds[0]);
	zs_nursery_spawn(nursery, receive_one, &new);
	zs_yield();
	ck_assert_int_eq(send(other[1], "ab", 2, 0), 2);
	while (new == 0)
		ck_assert_int_eq(zs_sleep(ZS_MILLISECOND), 0);
	ck_assert_int_eq(new, 1);
	zs_nursery_cancel(nursery);
	return zs_nursery_wait(nursery);
}

START_TEST(number_that_is_another_files_now_is_watched_anew)
{
	ck_assert_int_eq(run_task(replace_file_under_waiter, NULL), -ECANCELED);
}
END_TEST

/* --- an error that stays --- */

static int64_t cpu_time_ns(void)
{
	struct timespec time;

	ck_assert_int_eq(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time), 0);
	return time.tv_sec * ZS_SECOND + time.tv_nsec;
}

/* A datagram to a port that nobody has leaves an error in the queue of errors,
 * which poll(2) tells of until it is fetched from there. */
static int leave_error(void *arg)
{
	const struct sockaddr_in nobody = {
		.sin_family = AF_INET,
		.sin_port = htons(1),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	struct zs_nursery nursery;
	struct zs_stats before, after;
	int on = 1, received = 0;
	int64_t before_ns;
	char byte;

	(void)arg;
	fds[0] = socket(AF_INET, SOCK_DGRAM, 0);
	ck_assert_int_eq(
		setsockopt(fds[0], IPPROTO_IP, IP_RECVERR, &on, sizeof(on)), 0);
	ck_assert_int_eq(connect(fds[0], (const struct sockaddr *)&nobody,
				 sizeof(nobody)),
			 0);
	ck_assert_int_eq(zs_send(fds[0], "x", 1, 0), 1);
	ck_assert_int_eq(zs_recv(fds[0], &byte, 1, 0), -ECONNREFUSED);
	zs_nursery_open(&nursery, NULL);
	zs_nursery_spawn(nursery, receive_one, &received);
	/* The descriptor may have to be looked at again, but not for ever. */
	ck_assert_int_eq(zs_sleep(200 * ZS_MILLISECOND), 0);
	zs_stats(NULL, &before);
	before_ns = cpu_time_ns();
	ck_assert_int_eq(zs_sleep(500 * ZS_MILLISECOND), 0);
	zs_stats(NULL, &after);
	/* The blocking model's worker looks by itself from time to time. */
	if (!test_is_blocking())
		ck_assert_uint_lt(after.total.sleeps - before.total.sleeps, 5);
	/* A worker that spun would have taken all of it. */
	ck_assert_int_lt(cpu_time_ns() - before_ns, 250 * ZS_MILLISECOND);
	ck_assert_int_eq(received, 0);
	zs_nursery_cancel(nursery);
	return zs_nursery_wait(nursery);
}

START_TEST(error_that_nobody_fetches_keeps_no_worker_busy)
{
	ck_assert_int_eq(run_task(leave_error, NULL), -ECANCELED);
}
END_TEST

/* Nobody has urgent data for them, and for a poll they are always ready. */
static const char *const files[] = { "/proc/self/exe", "/proc/self/mountinfo" };

static int note_over(void *arg)
{
	(void)arg;
	ck_assert_int_eq(zs_sleep(10 * ZS_MILLISECOND), 0);
	is_over = true;
	return 0;
}

static int poll_for_what_never_comes(void *arg)
{
	int fd = open(arg, O_RDONLY | O_CLOEXEC), ret;
	struct zs_cancel_token token;
	struct zs_nursery nursery;

	zs_nursery_open(&nursery, NULL);
	zs_nursery_spawn(nursery, note_over, NULL);
	zs_cancel_token_open(&token, zs_now() + 50 * ZS_MILLISECOND);
	ret = zs_poll_fd(fd, POLLPRI);
	/* The ring refuses what nobody could wake it for. */
	ck_assert(ret == -ETIMEDOUT ? is_over : ret == -EINVAL);
	zs_cancel_token_close(token);
	ck_assert_int_eq(zs_close(fd), 0);
	return zs_nursery_wait(nursery);
}

START_TEST(poll_of_a_file_for_what_never_comes_ends_in_time)
{
	ck_assert_int_eq(run_task(poll_for_what_never_comes,
				  (void *)(uintptr_t)files[_i]),
			 0);
}
END_TEST

static int accept_one(void *arg)
{
	(void)arg;
	ck_assert_int_ge(zs_accept(fds[0], NULL, NULL, 0), 0);
	is_over = true;
	return 0;
}

static int yield_until_over(void *arg)
{
	(void)arg;
	while (!is_over)
		zs_yield();
	return 0;
}

static int accept_beside_busy_task(void *arg)
{
	struct sockaddr_in address;
	struct zs_nursery nursery;

	(void)arg;
	fds[0] = make_listener(1, &address);
	fds[1] = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(connect(fds[1], (struct sockaddr *)&address,
				 sizeof(address)),
			 0);
	zs_nursery_open(&nursery, NULL);
	zs_nursery_spawn(nursery, yield_until_over, NULL);
	zs_nursery_spawn(nursery, accept_one, NULL);
	return zs_nursery_wait(nursery);
}

START_TEST(call_that_waits_is_made_though_others_always_run)
{
	ck_assert_int_eq(run_task(accept_beside_busy_task, NULL), 0);
}
END_TEST

/* As the kernel calls it: others may run the same test. */
static struct sockaddr_un deaf = { .sun_family = AF_UNIX };
static socklen_t deaf_size = sizeof(deaf);

static int connect_to_deaf(void *arg)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)arg;
	ck_assert_int_eq(zs_connect(fd, (const struct sockaddr *)&deaf,
				    deaf_size),
			 -ECANCELED);
	is_over = true;
	return close(fd);
}

/* By turns of its own the connect is each time at another stage in the kernel,
 * at some of which a cancel finds it nowhere. */
static int cancel_connect_after(void *arg)
{
	struct sockaddr *name = (struct sockaddr *)&deaf;
	int nr_turns = *(int *)arg;
	int listener = socket(AF_UNIX, SOCK_STREAM, 0);
	int first = socket(AF_UNIX, SOCK_STREAM, 0);
	struct zs_nursery nursery;
	char byte;

	ck_assert_int_eq(bind(listener, name, sizeof(sa_family_t)), 0);
	ck_assert_int_eq(getsockname(listener, name, &deaf_size), 0);
	ck_assert_int_eq(listen(listener, 0), 0);
	ck_assert_int_eq(connect(first, name, deaf_size), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	zs_nursery_open(&nursery, NULL);
	zs_nursery_spawn(nursery, connect_to_deaf, NULL);
	zs_yield();
	while (nr_turns-- > 0) {
		ck_assert_int_eq(zs_send(fds[0], "x", 1, 0), 1);
		ck_assert_int_eq(zs_recv(fds[1], &byte, 1, 0), 1);
	}
	zs_nursery_cancel(nursery);
	zs_nursery_wait(nursery);
	close(first);
	close(listener);
	return is_over ? 0 : -EIO;
}

START_TEST(cancel_ends_a_unix_connect_at_any_stage)
{
	int nr_turns = _i * 3;

	ck_assert_int_eq(run_task(cancel_connect_after, &nr_turns), 0);
}
END_TEST

static Suite *watch_suite(void)
{
	Suite *suite = suite_create("watch");
	TCase *tests = tcase_create("watch");

	tcase_set_timeout(tests, 30);
	tcase_add_test(tests, number_that_is_another_files_now_is_watched_anew);
	tcase_add_test(tests, error_that_nobody_fetches_keeps_no_worker_busy);
	tcase_add_loop_test(tests,
			    poll_of_a_file_for_what_never_comes_ends_in_time, 0,
			    sizeof(files) / sizeof(files[0]));
	tcase_add_test(tests, call_that_waits_is_made_though_others_always_run);
	tcase_add_loop_test(tests, cancel_ends_a_unix_connect_at_any_stage, 0,
			    50);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(watch_suite());
}
