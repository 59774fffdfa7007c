/* SPDX-License-Identifier: MIT */
/*
 * What a runtime does to the process that it runs in: nothing that outlasts it.
 * Descriptors, mappings, threads, locked memory, signals; and what becomes of
 * it where the process runs out of descriptors, or forks.
 */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/compiler.h"
#include "workers.h"

#if defined(ZS_ASAN) || defined(ZS_TSAN)
enum { IS_SANITIZED = true };
#else
enum { IS_SANITIZED = false };
#endif

/* Shared by the tasks of a test; each test is a process of its own. */
static struct zs_runtime *runtime;
static struct zs_nursery nursery;
static struct zs_cancel_token token;
static struct counter ended;

static int count_end(void *arg)
{
	(void)arg;
	count(&ended);
	return 0;
}

/* --- what is left --- */

struct footprint {
	int fds;
	int threads;
	int maps;
	long locked; /* kB */
};

static int nr_entries(const char *path)
{
	DIR *folder = opendir(path);
	int number = 0;

	ck_assert_ptr_nonnull(folder);
	while (readdir(folder))
		number++;
	closedir(folder);
	return number;
}

static int nr_maps(void)
{
	FILE *file = fopen("/proc/self/maps", "r");
	int number = 0, byte;

	ck_assert_ptr_nonnull(file);
	for (byte = getc(file); byte != EOF; byte = getc(file))
		number += byte == '\n';
	fclose(file);
	return number;
}

/* Locked and pinned: which of them rings count as depends on the kernel. */
static long locked_memory(void)
{
	FILE *file = fopen("/proc/self/status", "r");
	long total = 0, number;
	char line[128];

	ck_assert_ptr_nonnull(file);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "VmLck: %ld kB", &number) == 1 ||
		    sscanf(line, "VmPin: %ld kB", &number) == 1)
			total += number;
	fclose(file);
	return total;
}

static struct footprint measure(void)
{
	return (struct footprint){
		.fds = nr_entries("/proc/self/fd"),
		.threads = nr_entries("/proc/self/task"),
		.maps = IS_SANITIZED ? 0 : nr_maps(),
		.locked = locked_memory(),
	};
}

/* Maps that come and go as libc sees fit: musl's allocator maps and unmaps what
 * glibc's keeps. Far fewer than a runtime has. */
#ifdef __GLIBC__
enum { LIBC_MAPS = 0 };
#else
enum { LIBC_MAPS = 4 };
#endif

/* The kernel lets go of a closed ring a moment later, and a thread that has
 * been joined may still be listed: so until it is as before, or until the
 * test's time is over. */
static void await_footprint(const struct footprint *before)
{
	struct footprint now;

	do {
		sched_yield();
		now = measure();
	} while (now.fds > before->fds || now.threads > before->threads ||
		 now.maps > before->maps + LIBC_MAPS ||
		 now.locked > before->locked);
}

static int touch_everything(void *arg)
{
	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	for (int i = 0; i < 40; i++)
		assert_ok(zs_nursery_spawn(nursery, count_end, NULL));
	zs_sleep(1);
	zs_nursery_wait(nursery);
	return 0;
}

static void live_two_lives(void)
{
	atomic_init(&ended.value, 0);
	assert_ok(run_task_on(2, touch_everything, NULL));
	runtime = start_runtime(2);
	assert_ok(zs_runtime_spawn(runtime, touch_everything, NULL));
	await_count(&ended, 80);
	stop_and_destroy(runtime);
}

/* The first ones let libc keep what it keeps: stacks and arenas of threads. */
START_TEST(hundred_runtimes_leave_nothing_behind)
{
	struct footprint before;

	for (int i = 0; i < 3; i++)
		live_two_lives();
	before = measure();
	for (int i = 0; i < 50; i++)
		live_two_lives();
	await_footprint(&before);
}
END_TEST

/* --- too few descriptors --- */

static void limit_descriptors(rlim_t number)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = number;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* One more each time until it is enough: so each of its descriptors is once the
 * one that is not to be had. */
START_TEST(too_few_descriptors_are_emfile_and_leak_none)
{
	struct zs_config config = test_config();
	int ret = -EMFILE, nr_failed = 0;
	struct footprint before = measure();
	int fd = dup(STDIN_FILENO);

	close(fd);
	need_workers(3);
	config.num_workers = 3;
	for (int i = 0; ret == -EMFILE; i++) {
		limit_descriptors((rlim_t)fd + i);
		ret = zs_runtime_create(&runtime, &config);
		if (ret == 0)
			ret = zs_runtime_start(runtime);
		limit_descriptors(1024);
		if (ret == 0)
			break;
		ck_assert_int_eq(ret, -EMFILE);
		ck_assert_msg(strstr(zs_explain(ret), "RLIMIT_NOFILE"),
			      "\"%s\"", zs_explain(ret));
		ck_assert_int_eq(nr_entries("/proc/self/fd"), before.fds);
		nr_failed++;
	}
	ck_assert_int_ge(nr_failed, 6);
	assert_ok(ret);
	assert_ok(zs_runtime_spawn(runtime, count_end, NULL));
	await_count(&ended, 1);
	stop_and_destroy(runtime);
}
END_TEST

/* --- forks --- */

/* What a child that is not to go on says by its status. */
static void expect_in_child(int condition, int line)
{
	if (!condition) {
		fprintf(stderr, "in the child, line %d\n", line);
		_exit(1);
	}
}
#define EXPECT_IN_CHILD(condition) expect_in_child(condition, __LINE__)

static void expect_child_ends_well(pid_t child)
{
	int status;

	ck_assert_int_gt(child, 0);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 0);
}

static void use_tasks_calls_in_child(void)
{
	struct zs_nursery inner;
	char byte;

	EXPECT_IN_CHILD(zs_self() == NULL);
	EXPECT_IN_CHILD(zs_yield() == -EPERM);
	EXPECT_IN_CHILD(zs_sleep(1) == -EPERM);
	EXPECT_IN_CHILD(zs_sleep_until(1) == -EPERM);
	EXPECT_IN_CHILD(zs_read(STDIN_FILENO, &byte, 1) == -EPERM);
	EXPECT_IN_CHILD(zs_nursery_open(&inner, NULL) == -EPERM);
	EXPECT_IN_CHILD(zs_nursery_wait(nursery) == -EPERM);
	EXPECT_IN_CHILD(zs_nursery_spawn(nursery, count_end, NULL) == -EPERM);
	EXPECT_IN_CHILD(zs_nursery_cancel(nursery) == -EPERM);
	EXPECT_IN_CHILD(zs_cancel_token_cancel(token) == -EPERM);
	EXPECT_IN_CHILD(zs_cancel_token_close(token) == -EPERM);
}

static int fork_in_task(void *arg)
{
	pid_t child;

	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn(nursery, count_end, NULL));
	assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
	for (uint32_t i = 1; i <= 3; i++) {
		child = fork();
		if (child == 0) {
			use_tasks_calls_in_child();
			_exit(0);
		}
		expect_child_ends_well(child);
		assert_ok(zs_sleep(1));
		await_count(&ended, i);
		assert_ok(zs_nursery_spawn(nursery, count_end, NULL));
	}
	assert_ok(zs_cancel_token_close(token));
	return zs_nursery_wait(nursery);
}

START_TEST(child_of_a_task_has_no_runtime_and_its_parent_goes_on)
{
	assert_ok(run_task_on(_i ? 4 : 1, fork_in_task, NULL));
	ck_assert_uint_eq(counted(&ended), 4);
}
END_TEST

static void use_runtimes_calls_in_child(void)
{
	struct zs_nursery stale = { 0 };

	EXPECT_IN_CHILD(zs_runtime_spawn(runtime, count_end, NULL) == -EPERM);
	EXPECT_IN_CHILD(zs_runtime_start(runtime) == -EPERM);
	EXPECT_IN_CHILD(zs_runtime_stop(runtime, ZS_NEVER) == -EPERM);
	EXPECT_IN_CHILD(zs_runtime_destroy(runtime) == -EPERM);
	EXPECT_IN_CHILD(zs_nursery_spawn(stale, count_end, NULL) == -ESTALE);
	use_tasks_calls_in_child();
}

static int keep_nursery_open(void *arg)
{
	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
	count(&ended);
	ck_assert_int_eq(zs_sleep(ZS_NEVER), -ECANCELED);
	ck_assert_int_eq(zs_cancel_token_close(token), -ECANCELED);
	ck_assert_int_eq(zs_nursery_wait(nursery), -ECANCELED);
	return 0;
}

/* Again and again, with the workers in the middle of something. */
START_TEST(child_of_a_foreign_thread_has_no_runtime)
{
	runtime = start_runtime(2);
	assert_ok(zs_runtime_spawn(runtime, keep_nursery_open, NULL));
	await_count(&ended, 1);
	for (int i = 0; i < 10; i++) {
		pid_t child;

		for (int j = 0; j < 20; j++)
			assert_ok(zs_runtime_spawn(runtime, count_end, NULL));
		child = fork();
		if (child == 0) {
			use_runtimes_calls_in_child();
			_exit(0);
		}
		expect_child_ends_well(child);
	}
	await_count(&ended, 201);
	stop_and_destroy(runtime);
}
END_TEST

/* A program that forks first and works in the child, as daemons do. */
START_TEST(child_of_a_foreign_thread_may_run_one_of_its_own)
{
	pid_t child;

	runtime = start_runtime(1);
	child = fork();
	if (child == 0) {
		struct zs_config config = test_config();

		EXPECT_IN_CHILD(zs_run(&config, touch_everything, NULL) == 0);
		EXPECT_IN_CHILD(counted(&ended) == 40);
		_exit(0);
	}
	expect_child_ends_well(child);
	stop_and_destroy(runtime);
}
END_TEST

static _Thread_local bool is_slow;
static struct counter starting;

int __real_sigaction(int number, const struct sigaction *action,
		     struct sigaction *before);
int __wrap_sigaction(int number, const struct sigaction *action,
		     struct sigaction *before);

/* Stands in for libc's: a thread that is preempted as it starts a runtime, with
 * what that locks. */
int __wrap_sigaction(int number, const struct sigaction *action,
		     struct sigaction *before)
{
	const struct timespec pause = { 0, 20 * ZS_MILLISECOND };

	if (is_slow) {
		count(&starting);
		nanosleep(&pause, NULL);
	}
	return __real_sigaction(number, action, before);
}

static void *start_slowly(void *arg)
{
	is_slow = true;
	assert_ok(run_task(touch_everything, NULL));
	return arg;
}

START_TEST(child_made_while_another_thread_starts_may_run_one)
{
	struct zs_config config = test_config();
	pthread_t thread;
	pid_t child;

	/* The child may find its allocator locked by a thread it has not. */
	if (IS_SANITIZED) {
		puts("SKIP: sanitizers cannot allocate in a forked child");
		return;
	}
	/* The first one of a process also sets up what forks need. */
	assert_ok(run_task(touch_everything, NULL));
	thread = start_thread(start_slowly, NULL);
	await_count(&starting, 1);
	child = fork();
	if (child == 0) {
		alarm(5);
		EXPECT_IN_CHILD(zs_run(&config, touch_everything, NULL) == 0);
		_exit(0);
	}
	expect_child_ends_well(child);
	pthread_join(thread, NULL);
}
END_TEST

/* --- two at once --- */

static int spawn_into_the_other(void *arg)
{
	(void)arg;
	for (int i = 0; i < 100; i++)
		assert_ok(zs_nursery_spawn(nursery, count_end, NULL));
	await_count(&ended, 100);
	return zs_nursery_cancel(nursery);
}

static int open_for_the_other(void *arg)
{
	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_runtime_spawn(runtime, spawn_into_the_other, NULL));
	ck_assert_int_eq(zs_sleep(ZS_NEVER), -ECANCELED);
	ck_assert_int_eq(zs_nursery_wait(nursery), -ECANCELED);
	return 0;
}

/* A task of one spawns into a nursery of the other, and cancels it. */
START_TEST(two_runtimes_in_one_process_work_together)
{
	runtime = start_runtime(_i + 1);
	for (int i = 0; i < 20; i++) {
		atomic_init(&ended.value, 0);
		assert_ok(run_task_on(2 - _i, open_for_the_other, NULL));
		ck_assert_uint_eq(counted(&ended), 100);
	}
	stop_and_destroy(runtime);
}
END_TEST

/* --- signals --- */

static bool is_blocked(int number)
{
	sigset_t mask;

	ck_assert_int_eq(pthread_sigmask(SIG_SETMASK, NULL, &mask), 0);
	return sigismember(&mask, number);
}

static bool has_signal_stack(const stack_t *but_not)
{
	stack_t now;

	ck_assert_int_eq(sigaltstack(NULL, &now), 0);
	return !(now.ss_flags & SS_DISABLE) && now.ss_sp != but_not->ss_sp;
}

/* On the caller's thread, which goes on to take what it took. */
static int look_at_own_signals(void *stack)
{
	ck_assert(!is_blocked(SIGTERM));
	ck_assert(!is_blocked(SIGSEGV));
	ck_assert(is_blocked(SIGUSR2));
	ck_assert(is_blocked(SIGPIPE));
	ck_assert(has_signal_stack(stack));
	return 0;
}

START_TEST(mask_and_signal_stack_of_the_caller_are_put_back)
{
	stack_t stack = { .ss_size = 1 << 16 }, now;
	sigset_t mask, restored;

	stack.ss_sp = malloc(stack.ss_size);
	ck_assert_int_eq(sigaltstack(&stack, NULL), 0);
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR2);
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	assert_ok(run_task_on(_i + 1, look_at_own_signals, &stack));
	pthread_sigmask(SIG_SETMASK, NULL, &restored);
	for (int i = 1; i < SIGRTMIN; i++)
		ck_assert_int_eq(sigismember(&restored, i),
				 sigismember(&mask, i));
	ck_assert_int_eq(sigaltstack(NULL, &now), 0);
	ck_assert_ptr_eq(now.ss_sp, stack.ss_sp);
	ck_assert_uint_eq(now.ss_size, stack.ss_size);
	stack.ss_flags = SS_DISABLE;
	sigaltstack(&stack, NULL);
	free(stack.ss_sp);
}
END_TEST

static int look_at_workers_signals(void *arg)
{
	const stack_t none = { 0 };

	ck_assert(is_blocked(SIGTERM));
	ck_assert(is_blocked(SIGUSR1));
	ck_assert(is_blocked(SIGPIPE));
	ck_assert(!is_blocked(SIGSEGV));
	ck_assert(!is_blocked(SIGFPE));
	ck_assert(has_signal_stack(&none));
	return count_end(arg);
}

START_TEST(threads_of_a_runtime_block_what_is_sent)
{
	runtime = start_runtime(2);
	for (int i = 0; i < 2; i++)
		assert_ok(zs_runtime_spawn(runtime, look_at_workers_signals,
					   NULL));
	await_count(&ended, 2);
	ck_assert(!is_blocked(SIGTERM));
	stop_and_destroy(runtime);
}
END_TEST

static void on_segv(int number)
{
	(void)number;
	_exit(1);
}

static void *handler_of_segv(void)
{
	struct sigaction action;

	sigaction(SIGSEGV, NULL, &action);
	return (void *)(uintptr_t)action.sa_handler;
}

static int look_at_handler(void *arg)
{
	*(void **)arg = handler_of_segv();
	return 0;
}

/* By one runtime, by one of two that overlap, and by one that leaves it be. */
START_TEST(handler_of_sigsegv_is_put_back)
{
	void *own = (void *)(uintptr_t)on_segv, *inside;
	struct zs_config config = test_config();

	signal(SIGSEGV, on_segv);
	assert_ok(run_task(look_at_handler, &inside));
	ck_assert_ptr_ne(inside, own);
	ck_assert_ptr_eq(handler_of_segv(), own);
	runtime = start_runtime(1);
	ck_assert_ptr_eq(handler_of_segv(), inside);
	assert_ok(run_task(look_at_handler, &inside));
	ck_assert_ptr_eq(handler_of_segv(), inside);
	stop_and_destroy(runtime);
	ck_assert_ptr_eq(handler_of_segv(), own);
	config.flags = ZS_CONFIG_KEEP_SIGSEGV;
	assert_ok(run_task_with(&config, look_at_handler, &inside));
	ck_assert_ptr_eq(inside, own);
}
END_TEST

/* Whoever installs a handler meanwhile keeps it. */
START_TEST(handler_installed_meanwhile_stays)
{
	void *own = (void *)(uintptr_t)on_segv;

	runtime = start_runtime(1);
	signal(SIGSEGV, on_segv);
	stop_and_destroy(runtime);
	ck_assert_ptr_eq(handler_of_segv(), own);
}
END_TEST

static Suite *runtime_suite(void)
{
	Suite *suite = suite_create("runtime_process");
	TCase *tests = tcase_create("runtime_process");

	tcase_add_test(tests, hundred_runtimes_leave_nothing_behind);
	tcase_add_test(tests, too_few_descriptors_are_emfile_and_leak_none);
	tcase_add_loop_test(
		tests, child_of_a_task_has_no_runtime_and_its_parent_goes_on, 0,
		2);
	tcase_add_test(tests, child_of_a_foreign_thread_has_no_runtime);
	tcase_add_test(tests, child_of_a_foreign_thread_may_run_one_of_its_own);
	tcase_add_test(tests,
		       child_made_while_another_thread_starts_may_run_one);
	tcase_add_loop_test(tests, two_runtimes_in_one_process_work_together, 0,
			    2);
	tcase_add_loop_test(
		tests, mask_and_signal_stack_of_the_caller_are_put_back, 0, 2);
	tcase_add_test(tests, threads_of_a_runtime_block_what_is_sent);
	tcase_add_test(tests, handler_of_sigsegv_is_put_back);
	tcase_add_test(tests, handler_installed_meanwhile_stays);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(runtime_suite());
}
