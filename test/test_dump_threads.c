/* SPDX-License-Identifier: MIT */
/*
 * The dump while others run: called by a thread that is no worker, in a signal
 * handler and in a forked child, and with runtimes that end meanwhile.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "child.h"
#include "dump.h"
#include "runtime.h"
#include "sched/scope.h"
#include "sched/task.h"
#include "sched/worker.h"

static struct zs_stats stats_of(struct zs_runtime *runtime)
{
	struct zs_stats stats;

	ck_assert_int_eq(zs_stats(runtime, &stats), 0);
	return stats;
}

static int open_null(void)
{
	int fd = open("/dev/null", O_WRONLY);

	ck_assert_int_ge(fd, 0);
	return fd;
}

/* --- while a worker is stuck --- */

static int never_mind(void *arg)
{
	(void)arg;
	return 0;
}

struct stuck {
	sem_t computes;
	atomic_bool stop;
};

static int compute(void *arg)
{
	struct stuck *stuck = arg;

	zs_task_set_name("computer");
	sem_post(&stuck->computes);
	while (!atomic_load(&stuck->stop))
		;
	return 0;
}

/* A runtime on a thread of its own, which is stuck in a task. */
static struct zs_runtime *start_stuck(struct stuck *stuck)
{
	struct zs_config config = test_config();
	struct zs_runtime *runtime;

	sem_init(&stuck->computes, 0, 0);
	atomic_init(&stuck->stop, false);
	ck_assert_int_eq(zs_runtime_create(&runtime, &config), 0);
	ck_assert_int_eq(zs_runtime_start(runtime), 0);
	ck_assert_int_eq(zs_runtime_spawn(runtime, compute, stuck), 0);
	ck_assert_int_eq(zs_runtime_spawn(runtime, never_mind, NULL), 0);
	sem_wait(&stuck->computes);
	return runtime;
}

static void stop_and_destroy(struct zs_runtime *runtime)
{
	ck_assert_int_eq(zs_runtime_stop(runtime, ZS_NEVER), 0);
	ck_assert_int_eq(zs_runtime_destroy(runtime), 0);
}

static void expect_stuck(const char *text)
{
	expect(line_with(text, "\"computer\""),
	       "\"computer\": running, worker 0, spawned into the runtime");
	expect(line_with(text, "worker 0 ("), "): runs task ");
}

START_TEST(works_while_a_worker_computes)
{
	struct stuck stuck;
	struct zs_runtime *runtime = start_stuck(&stuck);

	expect_stuck(dump());
	atomic_store(&stuck.stop, true);
	stop_and_destroy(runtime);
}
END_TEST

static int handler_fd;
static int handler_result = 1;

static void dump_in_handler(int number)
{
	(void)number;
	errno = ERANGE;
	handler_result = zs_dump(handler_fd);
	if (errno != ERANGE)
		handler_result = -errno;
}

START_TEST(works_in_a_signal_handler)
{
	struct stuck stuck;
	struct zs_runtime *runtime = start_stuck(&stuck);
	char text[4096];
	struct sigaction action = { .sa_handler = dump_in_handler };

	handler_fd = memfd_create("dump", 0);
	sigaction(SIGUSR1, &action, NULL);
	raise(SIGUSR1);
	ck_assert_int_eq(handler_result, 0);
	lseek(handler_fd, 0, SEEK_SET);
	read_all(handler_fd, text, sizeof(text));
	expect_stuck(text);
	close(handler_fd);
	atomic_store(&stuck.stop, true);
	stop_and_destroy(runtime);
}
END_TEST

static void dump_to_stderr(void)
{
	zs_dump(STDERR_FILENO);
}

START_TEST(forked_child_has_no_runtime)
{
	struct stuck stuck;
	struct zs_runtime *runtime = start_stuck(&stuck);

	ck_assert_str_eq(run_child(dump_to_stderr)->text,
			 "zsync: no runtime\n");
	expect_stuck(dump());
	atomic_store(&stuck.stop, true);
	stop_and_destroy(runtime);
}
END_TEST

/* --- tearing down --- */

enum { NUM_LIVES = SANITIZED ? 8 : 40, NUM_DUMPERS = 2 };

static atomic_bool lives_ended;

static int sleep_a_little(void *arg)
{
	(void)arg;
	return zs_sleep(100 * ZS_MICROSECOND);
}

static int receive_byte(void *arg)
{
	char byte;

	return (int)zs_recv(*(int *)arg, &byte, 1, 0);
}

/* Waits of the other kinds, short ones. */
static int send_to_child(void *arg)
{
	struct zs_nursery nursery;
	int fds[2];

	(void)arg;
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	ck_assert_int_eq(zs_nursery_open(&nursery, NULL), 0);
	ck_assert_int_eq(zs_nursery_spawn(nursery, receive_byte, &fds[1]), 0);
	ck_assert_int_eq(zs_send(fds[0], "x", 1, 0), 1);
	ck_assert_int_eq(zs_nursery_wait(nursery), 0);
	close(fds[0]);
	close(fds[1]);
	return 0;
}

static void *live_and_die(void *arg)
{
	struct zs_config config = test_config();
	struct zs_runtime *runtime;
	int i, j;

	(void)arg;
	config.num_workers = 2;
	for (i = 0; i < NUM_LIVES; i++) {
		ck_assert_int_eq(zs_runtime_create(&runtime, &config), 0);
		ck_assert_int_eq(zs_runtime_start(runtime), 0);
		for (j = 0; j < 20; j++) {
			zs_runtime_spawn(runtime, sleep_a_little, NULL);
			zs_runtime_spawn(runtime, send_to_child, NULL);
		}
		while (stats_of(runtime).total.tasks_ended < 60)
			sched_yield();
		stop_and_destroy(runtime);
	}
	atomic_store(&lives_ended, true);
	return NULL;
}

static void *dump_again_and_again(void *arg)
{
	int fd = open_null();

	(void)arg;
	while (!atomic_load(&lives_ended))
		ck_assert_int_eq(zs_dump(fd), 0);
	close(fd);
	return NULL;
}

/* More than one that dumps, so that at no time there need be none. */
START_TEST(runtimes_come_and_go_while_others_dump)
{
	pthread_t dumpers[NUM_DUMPERS];
	int i;

	for (i = 0; i < NUM_DUMPERS; i++)
		ck_assert_int_eq(pthread_create(&dumpers[i], NULL,
						dump_again_and_again, NULL),
				 0);
	live_and_die(NULL);
	for (i = 0; i < NUM_DUMPERS; i++)
		pthread_join(dumpers[i], NULL);
	ck_assert_str_eq(dump(), "zsync: no runtime\n");
}
END_TEST

/* A wait whose description takes until somebody lets it go on. */
struct gate {
	sem_t entered;
	sem_t open;
	atomic_bool destroyed;
};

static void pass_gate(const void *object, struct zs_text *text)
{
	struct gate *gate = (struct gate *)(uintptr_t)object;

	sem_post(&gate->entered);
	sem_wait(&gate->open);
	zs_text_add(text, "a gate");
}

static void leave_gate(struct zs_task *task)
{
	zs_task_wake(task);
}

static const struct zs_wait_type at_gate = {
	.cancel = leave_gate,
	.describe = pass_gate,
};

static int park_at_gate(void *arg)
{
	zs_scope_link(zs_self());
	zs_task_park(&at_gate, arg);
	return 0;
}

static void *dump_once(void *arg)
{
	int fd = open_null();

	(void)arg;
	ck_assert_int_eq(zs_dump(fd), 0);
	close(fd);
	return NULL;
}

struct destruction {
	struct zs_runtime *runtime;
	struct gate *gate;
};

static void *destroy_it(void *arg)
{
	struct destruction *destruction = arg;

	ck_assert_int_eq(zs_runtime_destroy(destruction->runtime), 0);
	atomic_store(&destruction->gate->destroyed, true);
	return NULL;
}

static struct zs_runtime *start_at_gate(struct gate *gate)
{
	struct zs_config config = test_config();
	struct zs_runtime *runtime;

	sem_init(&gate->entered, 0, 0);
	sem_init(&gate->open, 0, 0);
	atomic_init(&gate->destroyed, false);
	ck_assert_int_eq(zs_runtime_create(&runtime, &config), 0);
	ck_assert_int_eq(zs_runtime_start(runtime), 0);
	ck_assert_int_eq(zs_runtime_spawn(runtime, park_at_gate, gate), 0);
	while (stats_of(runtime).total.tasks_parked == 0)
		sched_yield();
	return runtime;
}

/* A dump that is held up in the midst of a task; the runtime is off the list
 * once other dumps see none. */
START_TEST(destroy_waits_for_a_dump_that_is_under_way)
{
	struct gate gate;
	struct destruction destruction = { start_at_gate(&gate), &gate };
	pthread_t dumper, destroyer;

	ck_assert_int_eq(pthread_create(&dumper, NULL, dump_once, NULL), 0);
	sem_wait(&gate.entered);
	ck_assert_int_eq(zs_runtime_stop(destruction.runtime, ZS_NEVER), 0);
	ck_assert_int_eq(
		pthread_create(&destroyer, NULL, destroy_it, &destruction), 0);
	while (strcmp(dump(), "zsync: no runtime\n") != 0)
		sched_yield();
	ck_assert(!atomic_load(&gate.destroyed));
	sem_post(&gate.open);
	pthread_join(destroyer, NULL);
	pthread_join(dumper, NULL);
	ck_assert(atomic_load(&gate.destroyed));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("dump_threads");
	TCase *tests = tcase_create("dump_threads");

	tcase_add_test(tests, works_while_a_worker_computes);
	tcase_add_test(tests, works_in_a_signal_handler);
	tcase_add_test(tests, forked_child_has_no_runtime);
	tcase_add_test(tests, runtimes_come_and_go_while_others_dump);
	tcase_add_test(tests, destroy_waits_for_a_dump_that_is_under_way);
	suite_add_tcase(suite, tests);
	return run_suite(suite);
}
