/* SPDX-License-Identifier: MIT */
/*
 * The dump: what it says of tasks, workers and runtimes, and of errors. That
 * it works while others run is in test_dump_threads.c.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "child.h"
#include "dump.h"
#include "runtime.h"

/* --- what it says --- */

/* The tasks of one worker, one in each state. */
struct scene {
	int fds[2];
	struct zs_cancel_token token;
	int nr_parked;
	char text[16384];
};

static int receive(void *arg)
{
	struct scene *scene = arg;
	char byte;

	zs_task_set_name("receiver");
	scene->nr_parked++;
	return (int)zs_recv(scene->fds[0], &byte, 1, 0);
}

static int sleep_for_an_hour(void *arg)
{
	struct scene *scene = arg;

	zs_task_set_name("sleeper");
	scene->nr_parked++;
	return zs_sleep(3600 * ZS_SECOND);
}

static int sleep_for_ever(void *arg)
{
	struct scene *scene = arg;
	int ret;

	zs_task_set_name("cancelled");
	ck_assert_int_eq(zs_cancel_token_open(&scene->token, ZS_NEVER), 0);
	scene->nr_parked++;
	ret = zs_sleep_until(ZS_NEVER);
	zs_cancel_token_close(scene->token);
	return ret;
}

static int yield_for_ever(void *arg)
{
	struct scene *scene = arg;

	zs_task_set_name("yielder");
	scene->nr_parked++;
	while (zs_yield() == 0)
		;
	return 0;
}

static int never_mind(void *arg)
{
	(void)arg;
	return 0;
}

static int dump_scene(void *arg)
{
	struct scene *scene = arg;
	struct zs_nursery nursery;

	zs_task_set_name("dumper");
	while (scene->nr_parked < 4)
		zs_yield();
	ck_assert_int_eq(zs_nursery_open(&nursery, NULL), 0);
	ck_assert_int_eq(zs_nursery_spawn(nursery, never_mind, NULL), 0);
	ck_assert_int_eq(zs_cancel_token_cancel(scene->token), 0);
	strcpy(scene->text, dump());
	zs_nursery_wait(nursery);
	return -ECANCELED;
}

static int run_scene(void *arg)
{
	static zs_task_fn *const tasks[] = { receive, sleep_for_an_hour,
					     sleep_for_ever, yield_for_ever,
					     dump_scene };
	struct zs_nursery nursery;
	size_t i;

	ck_assert_int_eq(zs_nursery_open(&nursery, NULL), 0);
	for (i = 0; i < sizeof(tasks) / sizeof(tasks[0]); i++)
		ck_assert_int_eq(zs_nursery_spawn(nursery, tasks[i], arg), 0);
	return zs_nursery_wait(nursery);
}

static const char *text_of_scene(int *fd)
{
	static struct scene scene;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, scene.fds), 0);
	ck_assert_int_eq(run_task(run_scene, &scene), -ECANCELED);
	*fd = scene.fds[0];
	return scene.text;
}

/* Ids count from 1 by 2 with one worker: the odd ones are for other threads. */
START_TEST(every_task_is_told_with_its_state)
{
	char waits_for_fd[64];
	int fd;
	const char *text = text_of_scene(&fd);

	snprintf(waits_for_fd, sizeof(waits_for_fd),
		 "  task 3 \"receiver\": waits for recv fd %d (", fd);
	expect(line_with(text, "\"receiver\""), waits_for_fd);
	expect(line_with(text, "\"sleeper\""), "task 5 \"sleeper\": waits for "
					       "a timer, in 59.9 min (");
	expect(line_with(text, "\"yielder\""), "task 9 \"yielder\": ready,");
	expect(line_with(text, "\"dumper\""), "task 11 \"dumper\": running,");
	expect(line_with(text, "task 13"), "task 13: not started, nursery of "
					   "task 11");
	expect(line_with(text, "  task 1:"),
	       "task 1: waits, uncancellable, for the end of 5 tasks (");
}
END_TEST

START_TEST(cancelled_scope_is_told_with_its_reason)
{
	int fd;
	const char *text = text_of_scene(&fd);

	expect(line_with(text, "\"cancelled\""), "task 7 \"cancelled\": ready");
	expect(line_with(text, "\"cancelled\""), ", cancelled (requested)");
	ck_assert_ptr_null(strstr(line_with(text, "\"sleeper\""), "cancelled"));
}
END_TEST

START_TEST(parent_worker_and_stack_are_told)
{
	int fd;
	const char *text = text_of_scene(&fd);
	const char *line = line_with(text, "\"receiver\"");
	unsigned long base;
	double touched;

	expect(line, ", worker 0, nursery of task 1, stack 0x");
	ck_assert_int_eq(sscanf(strstr(line, ", stack "),
				", stack 0x%lx, %lf KiB touched", &base,
				&touched),
			 2);
	ck_assert_uint_eq(base % 4096, 0);
	ck_assert(touched >= 4);
	expect(line_with(text, "  task 1:"), ", spawned into the runtime, ");
}
END_TEST

START_TEST(worker_is_told_with_its_counts)
{
	int fd;
	const char *text = text_of_scene(&fd);
	/* A ring has not been handed them yet. */
	const char *ops = test_has_ring() ? ", 0 operations in flight, " :
					    ", 1 operations in flight, ";
	const char *line;

	expect(line_with(text, "zsync: "), "zsync: runtime of 1 worker, ");
	expect(line_with(text, "zsync: "), test_info().model_name);
	expect(line_with(text, "zsync: "), ", running");
	line = line_with(text, " worker 0 (thread ");
	expect(line, "): runs task 11, turn begun ");
	expect(line, " ago, 1 not started, 6 alive, ");
	expect(line, ops);
	expect(line, " in flight, 1 timers, the next in ");
}
END_TEST

static double waited_ms(const char *line)
{
	const char *text = strchr(line, '(');
	double number;
	char unit[4];

	ck_assert_ptr_nonnull(text);
	ck_assert_int_eq(sscanf(text, "(%lf %3s so far)", &number, unit), 2);
	if (!strcmp(unit, "ms"))
		return number;
	return strcmp(unit, "s") == 0 ? number * 1000 : number / 1000;
}

static int dump_after_30_ms(void *arg)
{
	ck_assert_int_eq(zs_sleep(30 * ZS_MILLISECOND), 0);
	*(double *)arg = waited_ms(line_with(dump(), "\"waiter\""));
	return -ECANCELED;
}

static int wait_as_waiter(void *arg)
{
	(void)arg;
	zs_task_set_name("waiter");
	return zs_sleep_until(ZS_NEVER);
}

/* The other task parks before the sleep begins: it starts first. */
START_TEST(length_of_a_wait_is_told)
{
	double ms = 0;

	ck_assert_int_eq(run_siblings(wait_as_waiter, dump_after_30_ms, &ms),
			 -ECANCELED);
	ck_assert(ms >= 29);
	ck_assert(ms < 60000);
}
END_TEST

/* --- on a signal --- */

static int quit_self(void *arg)
{
	(void)arg;
	zs_task_set_name("quitter");
	kill(getpid(), SIGQUIT);
	if (write(STDERR_FILENO, "<lives>", 7) < 0)
		return -errno;
	return 0;
}

static void run_quitter(void)
{
	struct zs_config config = test_config();
	struct sigaction action;

	config.flags = ZS_CONFIG_DUMP_ON_SIGQUIT;
	if (zs_run(&config, quit_self, NULL) < 0)
		_exit(99);
	sigaction(SIGQUIT, NULL, &action);
	_exit(action.sa_handler == SIG_DFL ? 0 : 98);
}

/* The only thread is a worker, and the task is in the midst of a call. */
START_TEST(sigquit_dumps_and_the_task_goes_on)
{
	struct child *child = run_child(run_quitter);

	ck_assert(exited_with(child, 0));
	expect(line_with(child->text, "\"quitter\""), ": running, worker 0");
	ck_assert(says(child, "\n<lives>"));
}
END_TEST

/* --- errors, and nothing to tell --- */

static int dump_badly(void *arg)
{
	int fds[2];

	(void)arg;
	errno = ERANGE;
	ck_assert_int_eq(zs_dump(-1), -EBADF);
	ck_assert_int_eq(errno, ERANGE);
	/* A full pipe. */
	ck_assert_int_eq(pipe2(fds, O_NONBLOCK), 0);
	while (write(fds[1], "x", 1) == 1)
		;
	ck_assert_int_eq(zs_dump(fds[1]), -EAGAIN);
	return 0;
}

START_TEST(failed_write_is_returned)
{
	ck_assert_int_eq(zs_dump(-1), -EBADF);
	ck_assert_int_eq(run_task(dump_badly, NULL), 0);
}
END_TEST

static sem_t answer;

static int answer_when_told(const char *host, int family,
			    struct sockaddr_storage *found, int capacity)
{
	(void)host;
	(void)family;
	(void)capacity;
	/* It would be the dumper's own thread that waits. */
	while (!test_is_blocking() && sem_wait(&answer) < 0)
		;
	memset(found, 0, sizeof(*found));
	return 1;
}

static int look_up(void *arg)
{
	struct sockaddr_storage address;

	(void)arg;
	ck_assert_int_eq(zs_resolve_by(answer_when_told, "name", 1, AF_UNSPEC,
				       &address, 1),
			 1);
	return 0;
}

static int dump_beside_look_up(void *arg)
{
	struct zs_nursery nursery;
	struct zs_stats stats;

	(void)arg;
	ck_assert_int_eq(zs_nursery_open(&nursery, NULL), 0);
	ck_assert_int_eq(zs_nursery_spawn(nursery, look_up, NULL), 0);
	do {
		ck_assert_int_eq(zs_sleep(ZS_MILLISECOND), 0);
		ck_assert_int_eq(zs_stats(NULL, &stats), 0);
	} while (!test_is_blocking() && stats.offload_names.busy == 0);
	expect(line_with(dump(), " offload: "),
	       test_is_blocking() ?
		       "; names 0 of 0 threads busy, 0 queued, 0 done; " :
		       "; names 1 of 1 threads busy, 0 queued, 0 done; ");
	sem_post(&answer);
	ck_assert_int_eq(zs_nursery_wait(nursery), 0);
	expect(line_with(dump(), " offload: "),
	       test_is_blocking() ?
		       "; names 0 of 0 threads busy, 0 queued, 0 done; " :
		       "; names 0 of 1 threads busy, 0 queued, 1 done; ");
	return 0;
}

START_TEST(threads_for_what_can_only_block_are_told)
{
	ck_assert_int_eq(sem_init(&answer, 0, 0), 0);
	ck_assert_int_eq(run_task(dump_beside_look_up, NULL), 0);
}
END_TEST

START_TEST(no_runtime_is_told)
{
	ck_assert_str_eq(dump(), "zsync: no runtime\n");
	ck_assert_int_eq(run_task(never_mind, NULL), 0);
	ck_assert_str_eq(dump(), "zsync: no runtime\n");
}
END_TEST

START_TEST(runtime_that_does_not_run_is_told)
{
	struct zs_config config = test_config();
	struct zs_runtime_info info;
	struct zs_runtime *runtime;
	char wanted[400];

	config.num_workers = 2;
	ck_assert_int_eq(zs_runtime_create(&runtime, &config), 0);
	ck_assert_int_eq(zs_runtime_info(runtime, &info), 0);
	snprintf(wanted, sizeof(wanted),
		 "zsync: runtime of %u worker%s, %s, not started\n"
		 " worker 0: not started\n%s"
		 " offload: files 0 of 0 threads busy, 0 queued, 0 done; "
		 "names 0 of 0 threads busy, 0 queued, 0 done; "
		 "waiting 0 of 0 threads busy, 0 queued, 0 done; "
		 "jobs 0 of 0 threads busy, 0 queued, 0 done\n",
		 info.num_workers, info.num_workers == 1 ? "" : "s",
		 info.model_name,
		 info.num_workers == 1 ? "" : " worker 1: not started\n");
	ck_assert_str_eq(dump(), wanted);
	ck_assert_int_eq(zs_runtime_start(runtime), 0);
	ck_assert_int_eq(zs_runtime_stop(runtime, ZS_NEVER), 0);
	expect(line_with(dump(), "zsync: "), ", stopped");
	ck_assert_int_eq(zs_runtime_destroy(runtime), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("dump");
	TCase *tests = tcase_create("dump");

	tcase_add_test(tests, every_task_is_told_with_its_state);
	tcase_add_test(tests, cancelled_scope_is_told_with_its_reason);
	tcase_add_test(tests, parent_worker_and_stack_are_told);
	tcase_add_test(tests, worker_is_told_with_its_counts);
	tcase_add_test(tests, length_of_a_wait_is_told);
	tcase_add_test(tests, sigquit_dumps_and_the_task_goes_on);
	tcase_add_test(tests, failed_write_is_returned);
	tcase_add_test(tests, threads_for_what_can_only_block_are_told);
	tcase_add_test(tests, no_runtime_is_told);
	tcase_add_test(tests, runtime_that_does_not_run_is_told);
	suite_add_tcase(suite, tests);
	return run_suite(suite);
}
