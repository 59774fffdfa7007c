/* SPDX-License-Identifier: MIT */
/*
 * Operations by what a cancel does to them: those that end at once, those that
 * their task need not wait for, and those that the kernel holds; and how a
 * runtime stops that has them.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "descriptors.h"
#include "dump.h"
#include "held.h"
#include "libc.h"
#include "workers.h"

static char folder[] = "/tmp/zsync-test-XXXXXX";
static int dir;
static struct held_page held;
static int proc_file;

/* --- held --- */

static int read_into_page(void *arg)
{
	(void)arg;
	zs_task_set_name("held");
	return (int)zs_pread(proc_file, held.page, held.size, 0) > 0;
}

/* A runtime whose only task the kernel holds. */
static struct zs_runtime *start_held(const char *test)
{
	struct zs_runtime *runtime;

	if (!hold_page(&held, test))
		return NULL;
	proc_file = open("/proc/self/status", O_RDONLY);
	ck_assert_int_ge(proc_file, 0);
	runtime = start_runtime(1);
	assert_ok(zs_runtime_spawn(runtime, read_into_page, NULL));
	await_fault(&held);
	return runtime;
}

static void end_held(struct zs_runtime *runtime)
{
	let_go(&held);
	assert_ok(zs_runtime_stop(runtime, ZS_NEVER));
	assert_ok(zs_runtime_destroy(runtime));
	close(proc_file);
	drop_page(&held);
}

START_TEST(stop_names_what_the_kernel_holds)
{
	struct zs_runtime *runtime = start_held(__func__);
	const char *text;

	if (!runtime)
		return;
	ck_assert_int_eq(zs_runtime_stop(runtime,
					 zs_now() + 20 * ZS_MILLISECOND),
			 -ETIMEDOUT);
	text = zs_explain(-ETIMEDOUT);
	expect(text, "1 task has not ended: task ");
	expect(text, " \"held\" waits for read fd ");
	expect(text, ", held by the kernel for ");
	end_held(runtime);
}
END_TEST

START_TEST(dump_says_for_how_long_the_kernel_has_held_it)
{
	struct zs_runtime *runtime = start_held(__func__);
	const char *text;

	if (!runtime)
		return;
	/* A thread of the pool may be there before its task has parked. */
	do
		text = dump();
	while (strstr(line_with(text, "\"held\""), ": running"));
	/* Nobody wants it back yet. */
	expect(line_with(text, "\"held\""), ": waits for read fd ");
	ck_assert_ptr_null(strstr(text, "held by the kernel"));
	ck_assert_int_eq(zs_runtime_stop(runtime,
					 zs_now() + 20 * ZS_MILLISECOND),
			 -ETIMEDOUT);
	text = dump();
	expect(line_with(text, "\"held\""), ", held by the kernel for ");
	end_held(runtime);
}
END_TEST

/* --- detached --- */

static void make_fifo(void)
{
	ck_assert_ptr_nonnull(mkdtemp(folder));
	dir = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(dir, 0);
	ck_assert_int_eq(mkfifoat(dir, "fifo", 0600), 0);
}

static void remove_fifo(void)
{
	unlinkat(dir, "fifo", 0);
	rmdir(folder);
	close(dir);
}

static struct zs_stats stats_now(void)
{
	struct zs_stats stats;

	assert_ok(zs_stats(NULL, &stats));
	return stats;
}

static void await_in_flight(uint64_t number)
{
	while (stats_now().total.ops_in_flight != number)
		assert_ok(zs_sleep(100 * ZS_MICROSECOND));
}

struct opening {
	struct zs_nursery nursery;
	int result;
};

static int open_fifo(void *arg)
{
	struct opening *opening = arg;

	opening->result = zs_openat(dir, "fifo", O_RDONLY, 0);
	return 0;
}

/* The kernel has opened it, and the worker does not know yet, when the task is
 * cancelled: the descriptor is the runtime's to close. */
static int cancel_what_is_open(void *arg)
{
	struct opening opening = { .result = 1 };
	int expected = next_fd();
	int writer;

	(void)arg;
	assert_ok(zs_nursery_open(&opening.nursery, NULL));
	assert_ok(zs_nursery_spawn(opening.nursery, open_fifo, &opening));
	await_in_flight(1);
	writer = openat(dir, "fifo", O_WRONLY);
	ck_assert_int_ge(writer, 0);
	/* It takes one of the two numbers, the reader's the other. */
	while (!is_open(expected) || !is_open(expected + 1))
		sched_yield();
	assert_ok(zs_nursery_cancel(opening.nursery));
	ck_assert_int_eq(zs_nursery_wait(opening.nursery), -ECANCELED);
	ck_assert_int_eq(opening.result, -ECANCELED);
	await_in_flight(0);
	ck_assert_uint_eq(stats_now().total.ops_detached, 1);
	close(writer);
	ck_assert_int_eq(next_fd(), expected);
	return 0;
}

START_TEST(file_that_is_opened_too_late_is_closed)
{
	make_fifo();
	ck_assert_int_eq(run_task(cancel_what_is_open, NULL), 0);
	remove_fifo();
}
END_TEST

static int cancel_what_waits(void *arg)
{
	struct opening opening = { .result = 1 };

	(void)arg;
	assert_ok(zs_nursery_open(&opening.nursery, NULL));
	assert_ok(zs_nursery_spawn(opening.nursery, open_fifo, &opening));
	await_in_flight(1);
	assert_ok(zs_nursery_cancel(opening.nursery));
	ck_assert_int_eq(zs_nursery_wait(opening.nursery), -ECANCELED);
	ck_assert_int_eq(opening.result, -ECANCELED);
	return 0;
}

/* It ends with what was detached a moment ago. */
START_TEST(runtime_may_end_after_a_detach)
{
	int expected;

	make_fifo();
	expected = next_fd();
	ck_assert_int_eq(run_task(cancel_what_waits, NULL), 0);
	ck_assert_int_eq(next_fd(), expected);
	remove_fifo();
}
END_TEST

static struct zs_nursery stats_nursery;
static struct statx status;
static int stat_result;

static int stat_folder(void *arg)
{
	(void)arg;
	stat_result = zs_statx(AT_FDCWD, "/", 0, STATX_BASIC_STATS, &status);
	return 0;
}

/* At whatever instant: it has the result, or nothing was written. */
static int cancel_statx(void *arg)
{
	struct statx untouched;
	int i, turns, cancelled = 0;

	(void)arg;
	memset(&untouched, 0xa5, sizeof(untouched));
	for (i = 0; i < 400; i++) {
		status = untouched;
		assert_ok(zs_nursery_open(&stats_nursery, NULL));
		assert_ok(zs_nursery_spawn(stats_nursery, stat_folder, NULL));
		zs_yield();
		for (turns = i % 4; turns > 0; turns--)
			assert_ok(zs_sleep(1));
		assert_ok(zs_nursery_cancel(stats_nursery));
		ck_assert_int_eq(zs_nursery_wait(stats_nursery), -ECANCELED);
		if (stat_result == 0) {
			ck_assert(S_ISDIR(status.stx_mode));
			continue;
		}
		ck_assert_int_eq(stat_result, -ECANCELED);
		ck_assert_mem_eq(&status, &untouched, sizeof(status));
		cancelled++;
	}
	ck_assert_int_gt(cancelled, 0);
	await_in_flight(0);
	return 0;
}

START_TEST(cancelled_statx_leaves_its_buffer_alone)
{
	ck_assert_int_eq(run_task(cancel_statx, NULL), 0);
}
END_TEST

/* A link that finds its first folder slowly, as on a file server. */
static atomic_bool link_has_begun, link_may_go_on;

int __real_linkat(int old_dir, const char *old_path, int new_dir,
		  const char *new_path, int flags);
int __wrap_linkat(int old_dir, const char *old_path, int new_dir,
		  const char *new_path, int flags);

int __wrap_linkat(int old_dir, const char *old_path, int new_dir,
		  const char *new_path, int flags)
{
	atomic_store(&link_has_begun, true);
	while (!atomic_load(&link_may_go_on))
		sched_yield();
	return __real_linkat(old_dir, old_path, new_dir, new_path, flags);
}

static int open_new(const char *path)
{
	ck_assert_int_eq(mkdirat(dir, path, 0700), 0);
	return openat(dir, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static int link_to(void *fd)
{
	return zs_linkat(dir, "fifo", *(int *)fd, "link", 0);
}

static int give_a_link_up(void *arg)
{
	struct zs_nursery nursery;
	int fd = open_new("meant"), expected = fd;

	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn(nursery, link_to, &fd));
	while (!atomic_load(&link_has_begun))
		assert_ok(zs_sleep(100 * ZS_MICROSECOND));
	assert_ok(zs_nursery_cancel(nursery));
	ck_assert_int_eq(zs_nursery_wait(nursery), -ECANCELED);
	ck_assert_int_eq(zs_close(fd), 0);
	ck_assert_int_eq(fd = open_new("other"), expected);
	atomic_store(&link_may_go_on, true);
	await_in_flight(0);
	ck_assert_int_eq(faccessat(dir, "meant/link", F_OK, 0), 0);
	ck_assert_int_eq(unlinkat(dir, "meant/link", 0), 0);
	close(fd);
	ck_assert_int_eq(next_fd(), expected);
	return 0;
}

/* The number of its second folder may be another's by then. */
START_TEST(link_that_was_given_up_goes_to_its_folder)
{
	ck_assert_int_eq(setenv("ZSYNC_DISABLE", "linkat", 1), 0);
	make_fifo();
	ck_assert_int_eq(run_task(give_a_link_up, NULL), 0);
	ck_assert_int_eq(unlinkat(dir, "meant", AT_REMOVEDIR), 0);
	ck_assert_int_eq(unlinkat(dir, "other", AT_REMOVEDIR), 0);
	remove_fifo();
}
END_TEST

/* --- abortable --- */

static int from_child[2];
static int full[2];
static int fifo;

static int read_from_child(void *arg)
{
	char byte;

	(void)arg;
	return (int)zs_read(from_child[0], &byte, 1) == -ECANCELED ? 0 : -EIO;
}

static int send_into_full(void *arg)
{
	(void)arg;
	return (int)zs_send(full[0], "x", 1, 0) == -ECANCELED ? 0 : -EIO;
}

static int read_fifo(void *arg)
{
	char byte;

	(void)arg;
	return (int)zs_read(fifo, &byte, 1) == -ECANCELED ? 0 : -EIO;
}

static pid_t start_stopped_child(void)
{
	pid_t child;
	int wait_status;

	make_pipe(from_child);
	child = fork();
	if (child == 0) {
		raise(SIGSTOP);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(child, &wait_status, WUNTRACED), child);
	ck_assert(WIFSTOPPED(wait_status));
	close(from_child[1]);
	return child;
}

static void end_child(pid_t child)
{
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	close(from_child[0]);
}

/* Whatever the peers do. */
START_TEST(stop_ends_what_waits_for_others_at_once)
{
	zs_task_fn *const fns[] = { read_from_child, send_into_full,
				    read_fifo };
	pid_t child = start_stopped_child();
	struct zs_runtime *runtime = start_runtime(2);
	struct zs_stats stats;
	size_t i;

	make_unix_pair(SOCK_STREAM, full);
	fill_up(full[0]);
	make_fifo();
	fifo = openat(dir, "fifo", O_RDWR);
	for (i = 0; i < sizeof(fns) / sizeof(fns[0]); i++)
		assert_ok(zs_runtime_spawn(runtime, fns[i], NULL));
	do {
		sched_yield();
		assert_ok(zs_stats(runtime, &stats));
	} while (stats.total.ops_in_flight < 3);
	/* Far more than it takes, and far less than for ever. */
	assert_ok(zs_runtime_stop(runtime, zs_now() + 20 * ZS_SECOND));
	assert_ok(zs_stats(runtime, &stats));
	ck_assert_uint_eq(stats.total.tasks_failed, 0);
	assert_ok(zs_runtime_destroy(runtime));
	end_child(child);
	close(fifo);
	remove_fifo();
}
END_TEST

int main(void)
{
	Suite *suite;
	TCase *tests;

	/* It has nobody but its only thread to wait for what is held. */
	if (test_is_blocking()) {
		puts("SKIP test_held: the blocking model waits itself");
		return 0;
	}

	suite = suite_create("held");
	tests = tcase_create("held");
	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, stop_names_what_the_kernel_holds);
	tcase_add_test(tests, dump_says_for_how_long_the_kernel_has_held_it);
	tcase_add_test(tests, file_that_is_opened_too_late_is_closed);
	tcase_add_test(tests, runtime_may_end_after_a_detach);
	tcase_add_test(tests, cancelled_statx_leaves_its_buffer_alone);
	tcase_add_test(tests, link_that_was_given_up_goes_to_its_folder);
	tcase_add_test(tests, stop_ends_what_waits_for_others_at_once);
	suite_add_tcase(suite, tests);
	return run_suite(suite);
}
