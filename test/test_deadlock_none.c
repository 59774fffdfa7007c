/* SPDX-License-Identifier: MIT */
/*
 * Tests for sched/deadlock.c: waits that something can end are left alone,
 * however long that takes. They wait four times as long as a report would take
 * to come.
 */
#include <check.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "deadlock.h"

static int sleep_for_ever(void *arg)
{
	(void)arg;
	return zs_sleep_until(ZS_NEVER);
}

static int results[1];

/* --- no deadlocks --- */

/* Something that another process does, in time. */
static pid_t in_a_while(void (*fn)(void *arg), void *arg)
{
	pid_t child = fork();

	ck_assert_int_ge(child, 0);
	if (child != 0)
		return child;
	usleep(QUITE_LONG / ZS_MICROSECOND);
	fn(arg);
	_exit(0);
}

static void send_signal(void *arg)
{
	(void)arg;
	kill(getppid(), SIGUSR1);
}

static int await_signal(void *arg)
{
	sigset_t signals;
	int fd, ret;

	(void)arg;
	sigemptyset(&signals);
	sigaddset(&signals, SIGUSR1);
	fd = zs_signals_open(&signals);
	ck_assert_int_ge(fd, 0);
	ret = zs_signals_next(fd, NULL);
	assert_ok(zs_close(fd));
	return ret;
}

START_TEST(wait_for_a_signal_is_none)
{
	sigset_t signals;
	pid_t sender;

	sigemptyset(&signals);
	sigaddset(&signals, SIGUSR1);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	sender = in_a_while(send_signal, NULL);
	ck_assert_int_eq(run_captured(1, await_signal, NULL), SIGUSR1);
	end_process(sender);
	assert_silent();
}
END_TEST

static char fifo[64];

static void open_other_end(void *arg)
{
	(void)arg;
	close(open(fifo, O_WRONLY | O_CLOEXEC));
}

static int open_fifo(void *arg)
{
	int fd = zs_openat(AT_FDCWD, fifo, O_RDONLY, 0);

	(void)arg;
	ck_assert_int_ge(fd, 0);
	return zs_close(fd);
}

/* A thread of the pool waits for it, where there is one. */
START_TEST(opening_of_a_fifo_is_none)
{
	pid_t opener;

	snprintf(fifo, sizeof(fifo), "/tmp/zsync-deadlock-%d", (int)getpid());
	ck_assert_int_eq(mkfifo(fifo, 0600), 0);
	opener = in_a_while(open_other_end, NULL);
	ck_assert_int_eq(run_captured(1, open_fifo, NULL), 0);
	end_process(opener);
	unlink(fifo);
	assert_silent();
}
END_TEST

static int await_child(void *arg)
{
	char *const argv[] = { "/bin/sh", "-c", "sleep 0.4; exit 7", NULL };
	struct zs_child_options options = {
		.size = sizeof(options),
		.argv = argv,
	};
	struct zs_child_status status;
	struct zs_child child;
	int ret;

	(void)arg;
	assert_ok(zs_child_spawn(&child, &options));
	zs_child_close(&child);
	ret = zs_child_wait(child.pid, &status);
	ck_assert_int_eq(ret, 7);
	return 0;
}

START_TEST(wait_for_a_child_process_is_none)
{
	ck_assert_int_eq(run_captured(1, await_child, NULL), 0);
	assert_silent();
}
END_TEST

static int await_timer(void *arg)
{
	(void)arg;
	return zs_sleep(QUITE_LONG);
}

START_TEST(sleep_is_none)
{
	ck_assert_int_eq(run_captured(1, await_timer, NULL), 0);
	assert_silent();
}
END_TEST

static int await_deadline(void *arg)
{
	struct zs_cancel_token token;

	(void)arg;
	assert_ok(zs_cancel_token_open(&token, zs_now() + QUITE_LONG));
	ck_assert_int_eq(zs_sleep_until(ZS_NEVER), -ETIMEDOUT);
	ck_assert_int_eq(zs_cancel_token_close(token), -ETIMEDOUT);
	return 0;
}

START_TEST(wait_with_a_deadline_is_none)
{
	ck_assert_int_eq(run_captured(1, await_deadline, NULL), 0);
	assert_silent();
}
END_TEST

static void wake_from_timer(struct zs_timer *timer, void *arg)
{
	(void)timer;
	zs_task_wake(arg);
}

static int await_timer_function(void *arg)
{
	struct zs_timer timer = { 0 };

	(void)arg;
	assert_ok(zs_timer_start(&timer, zs_now() + QUITE_LONG, wake_from_timer,
				 zs_self()));
	return wait_for(&waiting);
}

START_TEST(timer_whose_function_wakes_is_none)
{
	ck_assert_int_eq(run_captured(1, await_timer_function, NULL), 0);
	assert_silent();
}
END_TEST

static void *cancel_in_a_while(void *arg)
{
	struct zs_nursery *nursery = arg;

	usleep(QUITE_LONG / ZS_MICROSECOND);
	assert_ok(zs_nursery_cancel(*nursery));
	return NULL;
}

static int sleep_until_cancelled(void *arg)
{
	(void)arg;
	results[0] = zs_sleep_until(ZS_NEVER);
	return 0;
}

static pthread_t canceller;

static int await_thread(void *arg)
{
	static struct zs_nursery nursery;

	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn(nursery, sleep_until_cancelled, NULL));
	canceller = start_thread(cancel_in_a_while, &nursery);
	return zs_nursery_wait(nursery);
}

START_TEST(foreign_thread_may_end_a_wait)
{
	ck_assert_int_eq(run_captured(1, await_thread, NULL), -ECANCELED);
	ck_assert_int_eq(results[0], -ECANCELED);
	pthread_join(canceller, NULL);
	assert_silent();
}
END_TEST

/* A service is there to be given tasks. */
START_TEST(service_may_wait_for_ever)
{
	struct zs_runtime *runtime;

	if (test_is_blocking())
		return;
	begin_capture(&capture);
	runtime = start_runtime(2);
	assert_ok(zs_runtime_spawn(runtime, sleep_for_ever, NULL));
	usleep(QUITE_LONG / ZS_MICROSECOND);
	stop_and_destroy(runtime);
	end_capture(&capture);
	assert_silent();
}
END_TEST

static int sleep_unchecked(void *arg)
{
	struct zs_nursery nursery;
	pid_t child;

	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn(nursery, sleep_for_ever, NULL));
	child = in_a_while(send_signal, NULL);
	/* What keeps it from being one. */
	ck_assert_int_eq(await_signal(NULL), SIGUSR1);
	end_process(child);
	assert_ok(zs_nursery_cancel(nursery));
	return zs_nursery_wait(nursery);
}

START_TEST(task_that_waits_beside_an_operation_is_none)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGUSR1);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	ck_assert_int_eq(run_captured(1, sleep_unchecked, NULL), -ECANCELED);
	assert_silent();
}
END_TEST

START_TEST(flag_turns_it_off)
{
	struct zs_config config = test_config();
	pid_t child = fork();

	ck_assert_int_ge(child, 0);
	if (child == 0) {
		config.flags |= ZS_CONFIG_NO_DEADLOCK_CHECK;
		zs_run(&config, sleep_for_ever, NULL);
		_exit(1);
	}
	usleep(QUITE_LONG / ZS_MICROSECOND);
	ck_assert_int_eq(waitpid(child, NULL, WNOHANG), 0);
	kill(child, SIGKILL);
	end_process(child);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("deadlock_none");
	TCase *none = tcase_create("none");

	tcase_add_test(none, wait_for_a_signal_is_none);
	tcase_add_test(none, opening_of_a_fifo_is_none);
	tcase_add_test(none, wait_for_a_child_process_is_none);
	tcase_add_test(none, sleep_is_none);
	tcase_add_test(none, wait_with_a_deadline_is_none);
	tcase_add_test(none, timer_whose_function_wakes_is_none);
	tcase_add_test(none, foreign_thread_may_end_a_wait);
	tcase_add_test(none, service_may_wait_for_ever);
	tcase_add_test(none, task_that_waits_beside_an_operation_is_none);
	tcase_add_test(none, flag_turns_it_off);
	suite_add_tcase(suite, none);
	return run_suite(suite);
}
