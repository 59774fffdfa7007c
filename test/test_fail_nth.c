/* SPDX-License-Identifier: MIT */
/*
 * Fails the Nth: each call of each kind that a runtime makes from its start to
 * its end fails in turn, with an error that it may fail with, N = 0 upward
 * until there is no Nth call any more. Each time the calls of the program get
 * their results or a clean error, nothing hangs, nothing is left, and the next
 * run is a good one. Then the same with all calls from the Nth on while the
 * runtime is made and started.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/compiler.h"
#include "engine/probe.h"
#include "faults.h"
#include "runtime.h"

/* All take ThreadSanitizer minutes; with one worker there is least to race. */
#ifdef ZS_TSAN
enum { WORKERS_LEAST = 2 };
#else
enum { WORKERS_LEAST = 1 };
#endif

enum {
	FEW_TASKS = 8,
	/* More than fit where a worker keeps them at first. */
	MANY_TASKS = 300,
	HANG_S = 10,
	/* So many runs without the Nth call end the search: with several
	 * workers, how often each is called varies. */
	RUNS_WITHOUT = 2,
};

/* Of the run: what tasks work on. */
static struct {
	int pair[2];
	int quiet[2]; /* nothing ever arrives */
	char path[64];
	int nr_tasks; /* that only yield */
	sem_t ended;  /* of the workload, if it has started */
	int result;
} lab;

/* For who watches: what fails. */
static char during[160];

/* --- the workload --- */

static const char message[8] = "message";

static int receive(void *arg)
{
	char received[sizeof(message)];
	ssize_t length;

	(void)arg;
	length = zs_recv(lab.pair[0], received, sizeof(received), MSG_WAITALL);
	if (length < 0)
		return (int)length;
	return length == sizeof(message) && !memcmp(received, message, length) ?
		       0 :
		       -EBADMSG;
}

static int send_late(void *arg)
{
	ssize_t length;
	int ret = zs_sleep(ZS_MILLISECOND / 10);

	(void)arg;
	if (ret < 0)
		return ret;
	length = zs_send_all(lab.pair[1], message, sizeof(message), 0);
	return length < 0 ? (int)length : 0;
}

static int use_file_at(const char *path)
{
	char found[sizeof(message)] = "";
	int fd = zs_openat(AT_FDCWD, path, O_RDWR | O_CREAT, 0600);
	ssize_t length;

	if (fd < 0)
		return fd;
	length = zs_pwrite(fd, message, sizeof(message), 0);
	if (length == sizeof(message))
		length = zs_pread(fd, found, sizeof(found), 0);
	zs_close(fd);
	if (length < 0)
		return (int)length;
	return length == sizeof(found) && !memcmp(found, message, length) ?
		       0 :
		       -EBADMSG;
}

static int use_file(void *arg)
{
	return use_file_at(arg);
}

static int yield(void *arg)
{
	(void)arg;
	return zs_yield();
}

static int spawn_all(struct zs_nursery nursery)
{
	int ret = zs_nursery_spawn(nursery, receive, NULL);
	int i;

	if (ret == 0)
		ret = zs_nursery_spawn(nursery, send_late, NULL);
	if (ret == 0)
		ret = zs_nursery_spawn_copy(nursery, use_file, lab.path,
					    strlen(lab.path) + 1);
	for (i = 0; ret == 0 && i < lab.nr_tasks; i++)
		ret = zs_nursery_spawn(nursery, yield, NULL);
	return ret;
}

static int work(void *arg)
{
	struct zs_nursery nursery;
	int ret, error;

	(void)arg;
	ret = zs_nursery_open(&nursery, NULL);
	if (ret < 0)
		return ret;
	ret = spawn_all(nursery);
	if (ret < 0)
		zs_nursery_cancel(nursery);
	error = zs_nursery_wait(nursery);
	return ret < 0 ? ret : error;
}

/* --- a run --- */

/* Check allocates where it asserts, which is not to fail. */
static void insist(bool is_so, const char *what, int ret)
{
	if (is_so)
		return;
	mend();
	ck_abort_msg("%s: %s: %d: %s", during, what, ret, zs_explain(ret));
}

/* A negative error has a text, and is one of this system's. */
static int check_result(const char *call, int ret)
{
	insist(ret <= 0 && ret >= -EHWPOISON, call, ret);
	insist(ret == 0 || strlen(zs_explain(ret)) > 4, call, ret);
	return ret;
}

/* Set by the test: what comes after the start is not to fail. */
static bool is_about_start;

static int work_and_tell(void *arg)
{
	if (is_about_start)
		mend();
	lab.result = work(arg);
	sem_post(&lab.ended);
	return 0;
}

static int wait_for_cancel(void *arg)
{
	char byte;

	(void)arg;
	return (int)zs_recv(lab.quiet[0], &byte, 1, 0);
}

static int run_once(const struct zs_config *config)
{
	int ret = check_result("zs_run", zs_run(config, work_and_tell, NULL));

	return ret < 0 ? ret : lab.result;
}

static int use_runtime(struct zs_runtime *runtime)
{
	int ret = check_result("start", zs_runtime_start(runtime));
	int lingerer, stopped;

	if (is_about_start)
		mend();
	if (ret < 0)
		return ret;
	lingerer = check_result(
		"spawn", zs_runtime_spawn(runtime, wait_for_cancel, NULL));
	ret = check_result("spawn",
			   zs_runtime_spawn(runtime, work_and_tell, NULL));
	if (ret == 0) {
		while (sem_wait(&lab.ended) < 0)
			;
		ret = lab.result;
	}
	stopped = zs_runtime_stop(runtime, ZS_NEVER);
	insist(stopped == 0, "stop", stopped);
	return ret < 0 ? ret : lingerer;
}

static int start_and_stop(const struct zs_config *config)
{
	struct zs_runtime *runtime;
	int destroyed;
	int ret = check_result("create", zs_runtime_create(&runtime, config));

	if (ret < 0)
		return ret;
	ret = use_runtime(runtime);
	destroyed = zs_runtime_destroy(runtime);
	insist(destroyed == 0, "destroy", destroyed);
	return ret;
}

struct way {
	const char *name;
	int (*run)(const struct zs_config *config);
	uint32_t num_workers;
};

static const struct way ways[] = {
	{ "zs_run, 1 worker", run_once, 1 },
	{ "zs_run, 2 workers", run_once, 2 },
	{ "a runtime of 1", start_and_stop, 1 },
	{ "a runtime of 2", start_and_stop, 2 },
};
enum { NR_WAYS = sizeof(ways) / sizeof(ways[0]) };

/* Dumps may be made in handlers, as that of SIGQUIT does. */
static void on_hang(int number)
{
	static const char text[] = "\nhangs: ";

	(void)number;
	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0 ||
	    write(STDERR_FILENO, during, strlen(during)) < 0)
		_exit(EXIT_FAILURE);
	zs_dump(STDERR_FILENO); /* NOLINT(bugprone-signal-handler) */
	_exit(EXIT_FAILURE);
}

static void open_lab(void)
{
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, lab.pair), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, lab.quiet), 0);
	ck_assert_int_eq(sem_init(&lab.ended, 0, 0), 0);
	lab.result = 0;
}

static void close_lab(void)
{
	int i;

	for (i = 0; i < 2; i++) {
		close(lab.pair[i]);
		close(lab.quiet[i]);
	}
	unlink(lab.path);
	sem_destroy(&lab.ended);
}

/* Watched from before the runtime is made until it is gone. */
static int watched_run(const struct way *way)
{
	struct zs_config config = test_config();
	int ret;

	config.num_workers = way->num_workers;
	config.queue_depth = 16;
	config.stack_cache = 4;
	config.flags = ZS_CONFIG_PIN_WORKERS | ZS_CONFIG_DUMP_ON_SIGQUIT;
	alarm(HANG_S);
	ret = way->run(&config);
	mend();
	alarm(0);
	return ret;
}

static bool has_handler(int number)
{
	struct sigaction action;

	ck_assert_int_eq(sigaction(number, NULL, &action), 0);
	return action.sa_handler != SIG_DFL;
}

static void good_run(const struct way *way)
{
	size_t length = strlen(during);
	int ret;

	snprintf(during + length, sizeof(during) - length, ", then none");
	open_lab();
	watch();
	ret = watched_run(way);
	ck_assert_msg(ret == 0, "%s: %s", during, zs_explain(ret));
	end_watch(during);
	close_lab();
	ck_assert_msg(!has_handler(SIGSEGV) && !has_handler(SIGQUIT),
		      "%s: a handler is left", during);
}

/* False if there was no such call. */
static bool faulty_run(const struct way *way, enum fault_point point,
		       int number, int error, bool for_good)
{
	bool failed;
	int ret;

	snprintf(during, sizeof(during), "%s: %s #%d%s: %s", way->name,
		 fault_name(point), number, for_good ? " and later" : "",
		 strerror(error));
	open_lab();
	watch();
	is_about_start = for_good;
	set_fault(point, number, error, for_good);
	ret = watched_run(way);
	failed = has_failed();
	ck_assert_msg(failed || ret == 0, "%s: %s", during, zs_explain(ret));
	end_watch(during);
	close_lab();
	if (failed)
		good_run(way);
	return failed;
}

/* They take turns, from which on the seed says: four seeds try all. */
static int choose_error(enum fault_point point, int number)
{
	const char *seed = getenv("ZSYNC_TEST_SEED");
	int nr_errors = 1; /* at least */

	while (fault_error(point, nr_errors))
		nr_errors++;
	number += seed ? atoi(seed) : 0;
	return fault_error(point, number % nr_errors);
}

/* How many calls there were, at most. */
static int fail_each(enum fault_point point, bool for_good)
{
	int i, number, without, error;
	int most = 0;

	for (i = 0; i < NR_WAYS; i++) {
		if (ways[i].num_workers < WORKERS_LEAST)
			continue;
		number = 0;
		for (without = 0; without < RUNS_WITHOUT;) {
			error = choose_error(point, number + i);
			if (faulty_run(&ways[i], point, number, error,
				       for_good))
				number++;
			else
				without++;
		}
		most = number > most ? number : most;
	}
	return most;
}

static bool is_ring_allowed(void)
{
	struct zs_kernel kernel;

	ck_assert_int_eq(zs_kernel_probe(&kernel), 0);
	return kernel.verdict == ZS_KERNEL_USABLE;
}

/* Those that there are in any run; the others are for later, or for who has
 * been denied something. */
static bool is_in_use(enum fault_point point)
{
	switch (point) {
	case FAULT_MALLOC:
	case FAULT_CALLOC:
	case FAULT_REALLOC:
	case FAULT_MREMAP:
	case FAULT_OPEN:
	case FAULT_READ:
	case FAULT_NANOSLEEP:
		return false;
	case FAULT_URING_ENTER:
	case FAULT_URING_REGISTER:
		return is_ring_allowed();
	default:
		return true;
	}
}

static void fail_all_in_turn(enum fault_point point, bool for_good)
{
	int most;

	lab.nr_tasks = FEW_TASKS;
	if (point == FAULT_MALLOC || point == FAULT_ALIGNED_ALLOC ||
	    point == FAULT_MMAP)
		lab.nr_tasks = MANY_TASKS;
	most = fail_each(point, for_good);
	ck_assert_msg(most > 0 || !is_in_use(point), "%s is never called",
		      fault_name(point));
}

static void prepare(void)
{
	signal(SIGALRM, on_hang);
	/* A sanitizer has one. */
	signal(SIGSEGV, SIG_DFL);
	snprintf(lab.path, sizeof(lab.path), "/tmp/zsync-fail-nth-%d",
		 (int)getpid());
}

START_TEST(nth_call_fails_and_the_next_run_is_good)
{
	fail_all_in_turn((enum fault_point)_i, false);
}
END_TEST

START_TEST(all_calls_of_a_start_fail_from_the_nth_on)
{
	fail_all_in_turn((enum fault_point)_i, true);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("fail_nth");
	TCase *tests = tcase_create("fail_nth");

	tcase_set_timeout(tests, 30);
	tcase_add_checked_fixture(tests, prepare, NULL);
	tcase_add_loop_test(tests, nth_call_fails_and_the_next_run_is_good, 0,
			    NR_FAULT_POINTS);
	tcase_add_loop_test(tests, all_calls_of_a_start_fail_from_the_nth_on, 0,
			    NR_FAULT_POINTS);
	suite_add_tcase(suite, tests);
	return run_suite(suite);
}
