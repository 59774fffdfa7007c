/* SPDX-License-Identifier: MIT */
/*
 * Signals: which ones a program goes on to take while it runs tasks, which ones
 * do it no harm, and with what mask its children start. A signal that a task
 * sends to its own process is delivered before the call returns if its thread
 * is the one that takes it; so nothing here sleeps for one.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"
#include "descriptors.h"
#include "workers.h"

/* Shared by the tasks of a test; each test is a process of its own. */
static struct counter told, ended;
static int number_sent;
static uint32_t num_workers = 1;

static sigset_t mask_of_thread(void)
{
	sigset_t mask;

	ck_assert_int_eq(pthread_sigmask(SIG_SETMASK, NULL, &mask), 0);
	return mask;
}

static void change_mask(int how, int number)
{
	sigset_t mask;

	sigemptyset(&mask);
	sigaddset(&mask, number);
	ck_assert_int_eq(pthread_sigmask(how, &mask, NULL), 0);
}

/* --- what a program is interrupted by --- */

static const int endings[] = { SIGTERM, SIGINT, SIGHUP };

static void prepare_to_be_ended(void)
{
	signal(number_sent, SIG_DFL);
	/* Lest a child that goes on stays. */
	signal(SIGALRM, SIG_DFL);
	alarm(5);
}

/* The first task runs on the caller's thread. */
static int send_to_program(void *arg)
{
	(void)arg;
	kill(getpid(), number_sent);
	_exit(7);
}

static void be_ended_in_task(void)
{
	prepare_to_be_ended();
	run_task_on(num_workers, send_to_program, NULL);
}

static void *send_from_thread(void *arg)
{
	while (counted(&told) == 0)
		sched_yield();
	kill(getpid(), number_sent);
	return arg;
}

static int sleep_for_ever(void *arg)
{
	(void)arg;
	count(&told);
	return zs_sleep(ZS_NEVER);
}

/* By a thread that blocks the signal itself. */
static void be_ended_in_sleep(void)
{
	prepare_to_be_ended();
	change_mask(SIG_BLOCK, number_sent);
	start_thread(send_from_thread, NULL);
	change_mask(SIG_UNBLOCK, number_sent);
	run_task_on(num_workers, sleep_for_ever, NULL);
}

static void expect_to_be_ended(void (*fn)(void))
{
	const struct child *child = run_child(fn);

	if (!WIFSIGNALED(child->status) ||
	    WTERMSIG(child->status) != number_sent)
		ck_abort_msg("the program ended with status 0x%x",
			     child->status);
}

enum { NR_ENDINGS = sizeof(endings) / sizeof(endings[0]) };

/* On one worker its thread is the program's only one; on two, the other's takes
 * no signals. */
START_TEST(what_ends_programs_ends_one_that_runs_a_task)
{
	num_workers = 1 + (uint32_t)_i / NR_ENDINGS;
	need_workers(num_workers);
	number_sent = endings[_i % NR_ENDINGS];
	expect_to_be_ended(be_ended_in_task);
}
END_TEST

START_TEST(what_ends_programs_ends_one_whose_tasks_sleep)
{
	num_workers = 1 + (uint32_t)_i / NR_ENDINGS;
	need_workers(num_workers);
	number_sent = endings[_i % NR_ENDINGS];
	expect_to_be_ended(be_ended_in_sleep);
}
END_TEST

static void note_told(int number)
{
	(void)number;
	count(&told);
}

/* Sends while the worker sleeps in the kernel, or is about to. Blocks the
 * signal itself: it would be a thread to take it. */
static void *send_to_sleeper(void *arg)
{
	change_mask(SIG_BLOCK, SIGTERM);
	while (counted(&told) < 20) {
		kill(getpid(), SIGTERM);
		sched_yield();
	}
	return arg;
}

static int sleep_meanwhile(void *arg)
{
	int64_t end_ns = zs_now() + 20 * ZS_MILLISECOND;

	(void)arg;
	assert_ok(zs_sleep_until(end_ns));
	ck_assert_int_ge(zs_now(), end_ns);
	while (counted(&told) < 20)
		assert_ok(zs_sleep(ZS_MILLISECOND));
	return 0;
}

/* Installed with and without SA_RESTART: no sleep is cut short by it. */
START_TEST(handler_of_the_program_runs_while_a_task_sleeps)
{
	struct sigaction action = {
		.sa_handler = note_told,
		.sa_flags = _i ? SA_RESTART : 0,
	};
	pthread_t thread;

	ck_assert_int_eq(sigaction(SIGTERM, &action, NULL), 0);
	thread = start_thread(send_to_sleeper, NULL);
	assert_ok(run_task(sleep_meanwhile, NULL));
	pthread_join(thread, NULL);
}
END_TEST

/* --- masks --- */

static int compare_mask(void *arg)
{
	const sigset_t *callers = arg;
	sigset_t mask = mask_of_thread();

	for (int i = 1; i <= SIGRTMAX; i++) {
		if (i == SIGPIPE || i == SIGBUS)
			continue;
		ck_assert_msg(sigismember(&mask, i) == sigismember(callers, i),
			      "signal %d", i);
	}
	ck_assert_int_eq(sigismember(&mask, SIGPIPE), 1);
	/* What its own code causes cannot wait. */
	ck_assert_int_eq(sigismember(&mask, SIGBUS), 0);
	return 0;
}

START_TEST(task_of_the_callers_thread_has_its_mask)
{
	sigset_t before, after;

	change_mask(SIG_BLOCK, SIGUSR1);
	change_mask(SIG_BLOCK, SIGBUS);
	before = mask_of_thread();
	assert_ok(run_task(compare_mask, &before));
	after = mask_of_thread();
	for (int i = 1; i <= SIGRTMAX; i++)
		ck_assert_int_eq(sigismember(&after, i),
				 sigismember(&before, i));
}
END_TEST

/* --- children --- */

/* As the kernel says what a process blocks. */
static void print_mask(const sigset_t *mask, char text[32])
{
	unsigned long long bits = 0;

	for (int i = 1; i <= SIGRTMAX; i++)
		if (sigismember(mask, i) == 1)
			bits |= 1ull << (i - 1);
	snprintf(text, 32, "SigBlk:.*%016llx", bits);
}

/* Not a shell, which may well clear the mask. */
static void fork_and_execute(const sigset_t *started)
{
	static char grep[] = "grep", quiet[] = "-q";
	static char path[] = "/proc/self/status";
	char text[32];
	char *const arguments[] = { grep, quiet, text, path, NULL };
	pid_t pid;
	int status;

	print_mask(started, text);
	pid = fork();
	if (pid == 0) {
		execvp(grep, arguments);
		_exit(4);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(status == 0, "not %s: status 0x%x", text, status);
}

/* The child asserts nothing: Check has a lock, which another worker may hold at
 * the fork. */
static int compare_mask_in_child(const sigset_t *started)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		sigset_t mask;

		pthread_sigmask(SIG_SETMASK, NULL, &mask);
		for (int i = 1; i <= SIGRTMAX; i++)
			if (sigismember(&mask, i) != sigismember(started, i))
				_exit(i);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int have_children(void *arg)
{
	ck_assert_msg(compare_mask_in_child(arg) == 0, "signal %d",
		      compare_mask_in_child(arg));
	fork_and_execute(arg);
	count(&ended);
	return 0;
}

static int have_children_on_each(void *arg)
{
	struct zs_nursery nursery;

	assert_ok(zs_nursery_open(&nursery, NULL));
	spawn_on_each(nursery, num_workers, have_children, arg);
	return zs_nursery_wait(nursery);
}

/* On the caller's thread and on a worker's own: that of who started it. */
START_TEST(child_of_a_task_starts_with_the_programs_mask)
{
	sigset_t mask;

	change_mask(SIG_BLOCK, SIGUSR2);
	mask = mask_of_thread();
	num_workers = (uint32_t)_i + 1;
	need_workers(num_workers);
	assert_ok(run_task_on(num_workers, have_children_on_each, &mask));
	ck_assert_uint_eq(counted(&ended), num_workers);
}
END_TEST

START_TEST(child_of_a_service_starts_with_the_programs_mask)
{
	struct zs_runtime *runtime;
	sigset_t mask;

	change_mask(SIG_BLOCK, SIGUSR2);
	mask = mask_of_thread();
	runtime = start_runtime(1);
	assert_ok(zs_runtime_spawn(runtime, have_children, &mask));
	await_count(&ended, 1);
	stop_and_destroy(runtime);
}
END_TEST

/* --- SIGPIPE --- */

static int write_to_nobody(void *arg)
{
	static const char byte;
	int fds[2], flags = *(int *)arg;

	for (int i = 0; i < 3; i++) {
		make_pipe(fds);
		add_status_flags(fds[1], flags);
		close(fds[0]);
		ck_assert_int_eq(zs_write(fds[1], &byte, 1), -EPIPE);
		close(fds[1]);
	}
	return 0;
}

static bool is_pending(int number)
{
	sigset_t pending;

	ck_assert_int_eq(sigpending(&pending), 0);
	return sigismember(&pending, number);
}

static void survive_sigpipe(void)
{
	int flags = 0;

	signal(SIGPIPE, SIG_DFL);
	change_mask(SIG_UNBLOCK, SIGPIPE);
	for (int i = 0; i < 2; i++) {
		run_task_on(num_workers, write_to_nobody, &flags);
		/* Here it would have killed us. */
		flags = O_NONBLOCK;
	}
	_exit(is_pending(SIGPIPE) ? 1 : 42);
}

START_TEST(write_to_a_broken_pipe_kills_nobody)
{
	const struct child *child;

	num_workers = (uint32_t)_i + 1;
	need_workers(num_workers);
	child = run_child(survive_sigpipe);
	ck_assert_msg(exited_with(child, 42), "status 0x%x, %s", child->status,
		      child->text);
}
END_TEST

/* One that was pending before is not ours to drop. */
START_TEST(sigpipe_from_before_stays_pending)
{
	int flags = 0;

	change_mask(SIG_BLOCK, SIGPIPE);
	if (_i)
		raise(SIGPIPE);
	assert_ok(run_task(write_to_nobody, &flags));
	ck_assert_int_eq(is_pending(SIGPIPE), _i);
}
END_TEST

static Suite *signals_suite(void)
{
	Suite *suite = suite_create("signals");
	TCase *tests = tcase_create("signals");

	/* A busy machine may need it; a hang is one all the same. */
	tcase_set_timeout(tests, 10);
	tcase_add_loop_test(tests, what_ends_programs_ends_one_that_runs_a_task,
			    0, 2 * NR_ENDINGS);
	tcase_add_loop_test(tests,
			    what_ends_programs_ends_one_whose_tasks_sleep, 0,
			    2 * NR_ENDINGS);
	tcase_add_loop_test(
		tests, handler_of_the_program_runs_while_a_task_sleeps, 0, 2);
	tcase_add_test(tests, task_of_the_callers_thread_has_its_mask);
	tcase_add_loop_test(
		tests, child_of_a_task_starts_with_the_programs_mask, 0, 2);
	tcase_add_test(tests, child_of_a_service_starts_with_the_programs_mask);
	tcase_add_loop_test(tests, write_to_a_broken_pipe_kills_nobody, 0, 2);
	tcase_add_loop_test(tests, sigpipe_from_before_stays_pending, 0, 2);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(signals_suite());
}
