/* SPDX-License-Identifier: MIT */
/* Signals as a stream: what is in it, and which cannot be. */
#include <check.h>
#include <errno.h>
#include <semaphore.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "descriptors.h"
#include "runtime.h"

static sigset_t signals;
static int stream;
static int nr_read;

/* As a program does before all else. */
static void block(int first, int second)
{
	sigemptyset(&signals);
	sigaddset(&signals, first);
	if (second)
		sigaddset(&signals, second);
	ck_assert_int_eq(sigprocmask(SIG_BLOCK, &signals, NULL), 0);
}

static int open_stream(void)
{
	int fd = zs_signals_open(&signals);

	ck_assert_int_ge(fd, 0);
	ck_assert(is_cloexec(fd));
	return fd;
}

static int read_both(void *arg)
{
	struct signalfd_siginfo info;
	int before = next_fd(), fd;

	(void)arg;
	ck_assert_int_eq(kill(getpid(), SIGUSR1), 0);
	fd = open_stream();
	memset(&info, 0, sizeof(info));
	ck_assert_int_eq(zs_signals_next(fd, &info), SIGUSR1);
	ck_assert_uint_eq(info.ssi_signo, SIGUSR1);
	ck_assert_int_eq((pid_t)info.ssi_pid, getpid());
	ck_assert_int_eq(kill(getpid(), SIGUSR2), 0);
	ck_assert_int_eq(zs_signals_next(fd, NULL), SIGUSR2);
	ck_assert_int_eq(zs_close(fd), 0);
	ck_assert_int_eq(next_fd(), before);
	return 0;
}

START_TEST(what_came_before_and_after_is_in_the_stream)
{
	block(SIGUSR1, SIGUSR2);
	ck_assert_int_eq(run_task(read_both, NULL), 0);
}
END_TEST

static int read_one(void *arg)
{
	(void)arg;
	ck_assert_int_eq(zs_signals_next(stream, NULL), SIGRTMIN);
	nr_read++;
	return 0;
}

static int read_side_by_side(void *arg)
{
	const union sigval value = { .sival_int = 7 };
	struct zs_nursery nursery;
	int i;

	(void)arg;
	stream = open_stream();
	ck_assert_int_eq(zs_nursery_open(&nursery, NULL), 0);
	for (i = 0; i < 4; i++)
		ck_assert_int_eq(zs_nursery_spawn(nursery, read_one, NULL), 0);
	zs_yield();
	/* Real-time ones are not merged. */
	for (i = 0; i < 4; i++)
		ck_assert_int_eq(sigqueue(getpid(), SIGRTMIN, value), 0);
	ck_assert_int_eq(zs_nursery_wait(nursery), 0);
	ck_assert_int_eq(nr_read, 4);
	return zs_close(stream);
}

START_TEST(each_reader_gets_one)
{
	block(SIGRTMIN, 0);
	ck_assert_int_eq(run_task(read_side_by_side, NULL), 0);
}
END_TEST

static int read_in_time(void *arg)
{
	struct zs_cancel_token token;

	(void)arg;
	stream = open_stream();
	ck_assert_int_eq(
		zs_cancel_token_open(&token, zs_now() + 5 * ZS_MILLISECOND), 0);
	ck_assert_int_eq(zs_signals_next(stream, NULL), -ETIMEDOUT);
	ck_assert_int_eq(kill(getpid(), SIGTERM), 0);
	ck_assert_int_eq(zs_signals_next(stream, NULL), -ETIMEDOUT);
	ck_assert_int_eq(zs_cancel_token_close(token), -ETIMEDOUT);
	ck_assert_int_eq(zs_signals_next(stream, NULL), SIGTERM);
	return zs_close(stream);
}

START_TEST(a_cancelled_read_takes_nothing)
{
	block(SIGTERM, 0);
	ck_assert_int_eq(run_task(read_in_time, NULL), 0);
}
END_TEST

static int read_to_the_close(void *arg)
{
	(void)arg;
	stream = open_stream();
	ck_assert_int_eq(zs_signals_next(stream, NULL), -ECANCELED);
	return 0;
}

static int close_stream(void *arg)
{
	(void)arg;
	return zs_close(stream);
}

START_TEST(close_ends_the_wait)
{
	block(SIGTERM, 0);
	ck_assert_int_eq(run_siblings(read_to_the_close, close_stream, NULL),
			 0);
}
END_TEST

/* Which are ignored by default. */
static int hear_of_a_child(void *arg)
{
	struct signalfd_siginfo info;
	pid_t child;

	(void)arg;
	stream = open_stream();
	child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0)
		_exit(3);
	ck_assert_int_eq(zs_signals_next(stream, &info), SIGCHLD);
	ck_assert_int_eq((pid_t)info.ssi_pid, child);
	ck_assert_int_eq(zs_child_wait(child, NULL), 3);
	return zs_close(stream);
}

START_TEST(ends_of_children_are_heard_of)
{
	block(SIGCHLD, 0);
	ck_assert_int_eq(run_task(hear_of_a_child, NULL), 0);
}
END_TEST

static int read_many(void *arg)
{
	int i;

	stream = open_stream();
	for (i = 0; i < 100; i++) {
		ck_assert_int_eq(kill(getpid(), SIGINT), 0);
		ck_assert_int_eq(zs_signals_next(stream, NULL), SIGINT);
	}
	ck_assert_int_eq(sem_post(arg), 0);
	return zs_close(stream);
}

/* From a thread that the runtime does not know, with two of its own. */
START_TEST(services_read_them_too)
{
	struct zs_config config = test_config();
	struct zs_runtime *runtime;
	sem_t read;

	block(SIGINT, 0);
	ck_assert_int_eq(sem_init(&read, 0, 0), 0);
	config.num_workers = 2;
	ck_assert_int_eq(zs_runtime_create(&runtime, &config), 0);
	ck_assert_int_eq(zs_runtime_start(runtime), 0);
	ck_assert_int_eq(zs_runtime_spawn(runtime, read_many, &read), 0);
	ck_assert_int_eq(sem_wait(&read), 0);
	ck_assert_int_eq(zs_runtime_stop(runtime, ZS_NEVER), 0);
	ck_assert_int_eq(zs_runtime_destroy(runtime), 0);
}
END_TEST

/* --- what cannot be read --- */

static void refuse(const sigset_t *set, const char *word)
{
	int fd = next_fd();

	ck_assert_int_eq(zs_signals_open(set), -EINVAL);
	ck_assert_msg(strstr(zs_explain(-EINVAL), word), "%s: %s", word,
		      zs_explain(-EINVAL));
	ck_assert_int_eq(next_fd(), fd);
}

static void refuse_one(int number, const char *word)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, number);
	refuse(&set, word);
}

static int open_badly(void *arg)
{
	sigset_t none;

	(void)arg;
	sigemptyset(&none);
	ck_assert_int_eq(zs_signals_open(NULL), -EINVAL);
	refuse(&none, "empty");
	refuse_one(SIGKILL, "signal 9");
	refuse_one(SIGSTOP, "cannot");
	refuse_one(SIGSEGV, "cannot");
	refuse_one(SIGUSR2, "not blocked");
	refuse_one(SIGQUIT, "ZS_CONFIG_DUMP_ON_SIGQUIT");
	refuse(&signals, "ZS_CONFIG_DUMP_ON_SIGQUIT");
	return 0;
}

START_TEST(signals_that_cannot_be_read_are_refused)
{
	struct zs_config config = test_config();

	block(SIGUSR1, SIGQUIT);
	ck_assert_int_eq(zs_signals_open(&signals), -EPERM);
	ck_assert_int_eq(zs_signals_next(0, NULL), -EPERM);
	config.flags |= ZS_CONFIG_DUMP_ON_SIGQUIT;
	ck_assert_int_eq(run_task_with(&config, open_badly, NULL), 0);
}
END_TEST

static int read_badly(void *arg)
{
	int fds[2], full_stream;

	(void)arg;
	ck_assert_int_eq(zs_signals_next(-1, NULL), -EBADF);
	ck_assert_int_eq(zs_signals_next(-7, NULL), -EBADF);
	ck_assert_int_eq(zs_signals_next(closed_fd(), NULL), -EBADF);
	make_pipe(fds);
	ck_assert_int_eq(write(fds[1], "bytes", 5), 5);
	ck_assert_int_eq(zs_signals_next(fds[0], NULL), -EINVAL);
	ck_assert_ptr_nonnull(strstr(zs_explain(-EINVAL), "stream"));
	full_stream = open_stream();
	errno = 4711;
	ck_assert_int_eq(zs_signals_open(NULL), -EINVAL);
	ck_assert_int_eq(kill(getpid(), SIGUSR1), 0);
	ck_assert_int_eq(zs_signals_next(full_stream, NULL), SIGUSR1);
	ck_assert_int_eq(errno, 4711);
	return zs_close(full_stream);
}

START_TEST(what_is_no_stream_is_refused)
{
	block(SIGUSR1, 0);
	ck_assert_int_eq(run_task(read_badly, NULL), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("signal");
	TCase *tests = tcase_create("signal");

	tcase_add_test(tests, what_came_before_and_after_is_in_the_stream);
	tcase_add_test(tests, each_reader_gets_one);
	tcase_add_test(tests, a_cancelled_read_takes_nothing);
	tcase_add_test(tests, close_ends_the_wait);
	tcase_add_test(tests, ends_of_children_are_heard_of);
	tcase_add_test(tests, services_read_them_too);
	tcase_add_test(tests, signals_that_cannot_be_read_are_refused);
	tcase_add_test(tests, what_is_no_stream_is_refused);
	suite_add_tcase(suite, tests);
	return run_suite(suite);
}
