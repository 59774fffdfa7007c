/* SPDX-License-Identifier: MIT */
/*
 * The offload pool, without a runtime: how many threads each lane has, who gets
 * one when, and what a cancel, a detach or an interrupt does to a job.
 */
#include "offload.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "descriptors.h"
#include "engine/interrupt.h"

/* --- between the pool and libc; see the Kbuild --- */

/* Closes of this descriptor do so and answer EINTR. */
static _Atomic int interrupted_fd = -1;
static atomic_int nr_closes;

int __real_close(int fd);
int __wrap_close(int fd);

int __wrap_close(int fd)
{
	if (fd != atomic_load(&interrupted_fd))
		return __real_close(fd);
	atomic_fetch_add(&nr_closes, 1);
	__real_close(fd);
	errno = EINTR;
	return -1;
}

/* --- bounds and order --- */

static void fill_lane(enum zs_lane lane, int most)
{
	struct zs_op ops[12];

	open_pool(3);
	submit_gated(ops, 12, lane);
	await_inside(most);
	expect_counts(lane, (uint32_t)most, 0, 12 - (uint32_t)most, 0);
	open_gate();
	collect_gated(12);
	ck_assert_int_eq(gate.most_inside, most);
	expect_counts(lane, (uint32_t)most, (uint32_t)most, 0, 12);
	close_pool();
}

START_TEST(lane_of_files_has_the_threads_that_it_is_told)
{
	fill_lane(ZS_LANE_FILES, 3);
}
END_TEST

START_TEST(lane_of_names_has_four_threads)
{
	fill_lane(ZS_LANE_NAMES, 4);
}
END_TEST

START_TEST(lane_for_waiting_has_a_thread_for_each)
{
	fill_lane(ZS_LANE_WAITING, 12);
}
END_TEST

START_TEST(full_lane_keeps_no_other_one_from_starting)
{
	struct zs_op ops[2];

	open_pool(1);
	submit_gated(ops, 2, ZS_LANE_FILES);
	ck_assert_int_eq(run_nothing(ZS_LANE_NAMES), 0);
	ck_assert_int_eq(run_nothing(ZS_LANE_WAITING), 0);
	open_gate();
	collect_gated(2);
	close_pool();
}
END_TEST

static int order[16];
static int nr_ordered;

static int note_order(void *arg)
{
	order[nr_ordered++] = *(int *)arg;
	return 0;
}

/* By the one thread that there is, so that they need no lock. */
START_TEST(queued_jobs_begin_in_their_order)
{
	int numbers[16], i;
	struct zs_op first, ops[16];

	open_pool(1);
	submit_gated(&first, 1, ZS_LANE_FILES);
	for (i = 0; i < 16; i++) {
		numbers[i] = i;
		ops[i] = call_of(note_order, &numbers[i]);
		ck_assert(submit(&engine, &ops[i], ZS_LANE_FILES));
	}
	/* From the middle and from either end. */
	ck_assert(cancel(&engine, &ops[0]));
	ck_assert(cancel(&engine, &ops[7]));
	ck_assert(cancel(&engine, &ops[15]));
	open_gate();
	collect_gated(1);
	for (i = 0; i < 13; i++)
		ck_assert_int_eq(next_done(&engine)->result, 0);
	ck_assert_int_eq(nr_ordered, 13);
	for (i = 0; i < 13; i++)
		ck_assert_int_eq(order[i], i < 6 ? i + 1 : i + 2);
	close_pool();
}
END_TEST

/* --- cancels --- */

START_TEST(job_that_is_cancelled_before_it_begins_never_runs)
{
	struct zs_op first, op = call_of(count_call, NULL);

	open_pool(1);
	submit_gated(&first, 1, ZS_LANE_FILES);
	await_inside(1);
	ck_assert(submit(&engine, &op, ZS_LANE_FILES));
	ck_assert(cancel(&engine, &op));
	expect_counts(ZS_LANE_FILES, 1, 0, 0, 0);
	/* It is the caller's, who may do so at once. */
	memset(&op, 0xa5, sizeof(op));
	open_gate();
	collect_gated(1);
	ck_assert_int_eq(run_nothing(ZS_LANE_FILES), 0);
	ck_assert_int_eq(atomic_load(&nr_calls), 0);
	close_pool();
}
END_TEST

static int fds[2];

static void open_pipe(void)
{
	ck_assert_int_eq(pipe(fds), 0);
}

static void close_pipe(void)
{
	close(fds[0]);
	close(fds[1]);
}

static char byte;

static struct zs_op read_op(void)
{
	return (struct zs_op){ .code = ZS_OP_READ,
			       .fd = fds[0],
			       .address = (uint64_t)(uintptr_t)&byte,
			       .offset = UINT64_MAX,
			       .length = 1 };
}

static void await_busy(enum zs_lane lane)
{
	while (counts_of(pool, lane).num_queued > 0)
		sched_yield();
}

START_TEST(cancel_interrupts_what_waits_for_somebody)
{
	struct zs_op op = read_op();

	open_pool(1);
	open_pipe();
	op = read_op();
	ck_assert(submit(&engine, &op, ZS_LANE_WAITING));
	await_busy(ZS_LANE_WAITING);
	ck_assert(!cancel(&engine, &op));
	ck_assert_ptr_eq(next_done(&engine), &op);
	ck_assert_int_eq(op.result, -ECANCELED);
	expect_counts(ZS_LANE_WAITING, 1, 1, 0, 1);
	close_pipe();
	close_pool();
}
END_TEST

/* Whatever it is about: the thread begins, waits in the call, or has ended. */
START_TEST(cancel_is_heard_at_any_instant)
{
	int i, turns, nr_back = 0;
	struct zs_op op;

	open_pool(1);
	open_pipe();
	for (i = 0; i < 2000; i++) {
		op = read_op();
		ck_assert(submit(&engine, &op, ZS_LANE_WAITING));
		for (turns = i % 8; turns > 0; turns--)
			sched_yield();
		if (cancel(&engine, &op)) {
			nr_back++;
			continue;
		}
		ck_assert_ptr_eq(next_done(&engine), &op);
		ck_assert_int_eq(op.result, -ECANCELED);
	}
	expect_counts(ZS_LANE_WAITING, 1, 1, 0, 2000 - (uint64_t)nr_back);
	close_pipe();
	close_pool();
}
END_TEST

/* 0, if nobody interrupts it. */
static int pause_a_little(void *arg)
{
	(void)arg;
	return poll(NULL, 0, 5) < 0 ? -errno : 0;
}

START_TEST(interrupts_end_with_the_job_that_they_are_for)
{
	struct zs_op op, pause;
	int i;

	open_pool(1);
	open_pipe();
	for (i = 0; i < 20; i++) {
		op = read_op();
		ck_assert(submit(&engine, &op, ZS_LANE_WAITING));
		await_busy(ZS_LANE_WAITING);
		ck_assert(!cancel(&engine, &op));
		ck_assert_ptr_eq(next_done(&engine), &op);
		pause = call_of(pause_a_little, NULL);
		ck_assert(submit(&engine, &pause, ZS_LANE_WAITING));
		ck_assert_int_eq(next_done(&engine)->result, 0);
	}
	expect_counts(ZS_LANE_WAITING, 1, 1, 0, 40);
	close_pipe();
	close_pool();
}
END_TEST

START_TEST(cancel_leaves_what_waits_for_a_device)
{
	struct zs_op op;

	open_pool(1);
	submit_gated(&op, 1, ZS_LANE_FILES);
	await_inside(1);
	ck_assert(!cancel(&engine, &op));
	ck_assert_uint_eq(collect(&engine), 0);
	open_gate();
	ck_assert_ptr_eq(next_done(&engine), &op);
	ck_assert_int_eq(op.result, 7);
	close_pool();
}
END_TEST

/* --- answers of -EINTR --- */

static int count_and_answer_eintr(void *arg)
{
	count_call(arg);
	return -EINTR;
}

static void expect_one_call(enum zs_lane lane)
{
	struct zs_op op = call_of(count_and_answer_eintr, NULL);

	atomic_store(&nr_calls, 0);
	ck_assert(submit(&engine, &op, lane));
	ck_assert_int_eq(next_done(&engine)->result, -EINTR);
	ck_assert_int_eq(atomic_load(&nr_calls), 1);
}

START_TEST(function_that_answers_eintr_is_not_called_again)
{
	open_pool(1);
	expect_one_call(ZS_LANE_FILES);
	expect_one_call(ZS_LANE_NAMES);
	expect_one_call(ZS_LANE_WAITING);
	close_pool();
}
END_TEST

/* The number is free then, and may be another file's. */
START_TEST(close_that_answers_eintr_is_not_made_again)
{
	struct zs_op op = { .code = ZS_OP_CLOSE };

	open_pool(1);
	open_pipe();
	op.fd = fds[0];
	atomic_store(&interrupted_fd, fds[0]);
	ck_assert(submit(&engine, &op, ZS_LANE_FILES));
	ck_assert_int_eq(next_done(&engine)->result, -EINTR);
	ck_assert_int_eq(atomic_load(&nr_closes), 1);
	close(fds[1]);
	close_pool();
}
END_TEST

static _Atomic pthread_t thread_of_lane;

static int note_thread(void *arg)
{
	(void)arg;
	atomic_store(&thread_of_lane, pthread_self());
	return 0;
}

static int count_interrupts(void *arg)
{
	(void)arg;
	return (int)zs_interrupt_count();
}

static void run_on_waiting(struct zs_op op)
{
	ck_assert(submit(&engine, &op, ZS_LANE_WAITING));
	next_done(&engine);
}

/* A signal that nobody of ours has sent. */
START_TEST(stray_interrupt_does_not_end_a_system_call)
{
	struct zs_op op, count = call_of(count_interrupts, NULL);
	int i;

	open_pool(1);
	open_pipe();
	run_on_waiting(call_of(note_thread, NULL));
	op = read_op();
	ck_assert(submit(&engine, &op, ZS_LANE_WAITING));
	await_busy(ZS_LANE_WAITING);
	for (i = 0; i < 20; i++) {
		ck_assert_int_eq(pthread_kill(atomic_load(&thread_of_lane),
					      SIGSTKFLT),
				 0);
		sched_yield();
	}
	ck_assert_int_eq(write(fds[1], "x", 1), 1);
	ck_assert_ptr_eq(next_done(&engine), &op);
	ck_assert_int_eq(op.result, 1);
	ck_assert(submit(&engine, &count, ZS_LANE_WAITING));
	ck_assert_int_gt(next_done(&engine)->result, 0);
	close_pipe();
	close_pool();
}
END_TEST

static void set_timeout(int fd, int which, int64_t timeout_ms)
{
	struct timeval timeout = { .tv_sec = timeout_ms / 1000,
				   .tv_usec = timeout_ms % 1000 * 1000 };

	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, which, &timeout,
				    sizeof(timeout)),
			 0);
}

/* In a process of its own; its result is told by the way that it ends. */
static _Noreturn void run_to_be_stopped(struct zs_op *op, int ready_fd)
{
	open_pool(1);
	ck_assert(submit(&engine, op, ZS_LANE_WAITING));
	await_busy(ZS_LANE_WAITING);
	if (write(ready_fd, "r", 1) != 1)
		_exit(255);
	next_done(&engine);
	_exit(op->result < 0 ? -op->result : 0);
}

/* A process that makes the call, and has been stopped now and then. */
static pid_t start_and_stop(struct zs_op *op)
{
	int ready[2], status, i;
	pid_t pid;

	ck_assert_int_eq(pipe(ready), 0);
	pid = fork();
	if (pid == 0)
		run_to_be_stopped(op, ready[1]);
	ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	for (i = 0; i < 20; i++) {
		ck_assert_int_eq(kill(pid, SIGSTOP), 0);
		ck_assert_int_eq(waitpid(pid, &status, WUNTRACED), pid);
		ck_assert_msg(WIFSTOPPED(status), "%s",
			      strerror(WEXITSTATUS(status)));
		ck_assert_int_eq(kill(pid, SIGCONT), 0);
		usleep(1000);
	}
	return pid;
}

static int end_of(pid_t pid)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* Which a timeout of the socket's makes it do. */
START_TEST(stop_of_the_process_does_not_end_a_receive)
{
	struct iovec part = { &byte, 1 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
	struct zs_op op = { .code = ZS_OP_RECVMSG,
			    .address = (uint64_t)(uintptr_t)&message,
			    .length = 1,
			    .flags = MSG_WAITALL };
	pid_t pid;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	set_timeout(fds[0], SO_RCVTIMEO, 20000);
	op.fd = fds[0];
	pid = start_and_stop(&op);
	ck_assert_int_eq(write(fds[1], "x", 1), 1);
	ck_assert_int_eq(end_of(pid), 0);
	close_pipe();
}
END_TEST

/* It goes on connecting, and ends as if nothing had been: by its timeout, since
 * the listener's queue is full. */
START_TEST(stop_of_the_process_does_not_end_a_connect)
{
	struct sockaddr_in address;
	struct zs_op op = { .code = ZS_OP_CONNECT,
			    .address = (uint64_t)(uintptr_t)&address,
			    .offset = sizeof(address) };
	int i;

	make_listener(0, &address);
	for (i = 0; i < 4; i++)
		(void)connect(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0),
			      (struct sockaddr *)&address, sizeof(address));
	op.fd = socket(AF_INET, SOCK_STREAM, 0);
	set_timeout(op.fd, SO_SNDTIMEO, 300);
	ck_assert_int_eq(end_of(start_and_stop(&op)), EINPROGRESS);
}
END_TEST

/* --- what is given up --- */

START_TEST(detached_job_is_released_once_with_its_result)
{
	struct release release = { .detached.release = note_release };
	struct zs_op op;

	open_pool(1);
	submit_gated(&op, 1, ZS_LANE_FILES);
	await_inside(1);
	ck_assert(!cancel(&engine, &op));
	zs_offload_detach(&engine.returns, &op, &release.detached);
	memset(&op, 0xa5, sizeof(op));
	ck_assert_uint_eq(engine.returns.num_detached, 1);
	ck_assert_uint_eq(collect(&engine), 0);
	open_gate();
	await_wake(&engine);
	ck_assert_uint_eq(collect(&engine), 1);
	ck_assert_int_eq(release.nr_released, 1);
	ck_assert_int_eq(release.result, 7);
	close_pool();
}
END_TEST

/* The file is opened when there is nobody left to have it. */
START_TEST(what_an_abandoned_job_has_opened_is_closed)
{
	struct release release = { .detached.release = note_release };
	struct zs_op op = open_op();
	int writer, expected = next_fd();

	make_fifo();
	open_pool(1);
	ck_assert(submit(&engine, &op, ZS_LANE_WAITING));
	await_busy(ZS_LANE_WAITING);
	zs_offload_detach(&engine.returns, &op, &release.detached);
	zs_returns_abandon(&engine.returns);
	writer = open(fifo, O_WRONLY);
	ck_assert_int_ge(writer, 0);
	while (counts_of(pool, ZS_LANE_WAITING).num_done == 0)
		sched_yield();
	close(writer);
	zs_offload_destroy(pool);
	ck_assert_int_eq(next_fd(), expected);
	ck_assert_int_eq(sem_trywait(&engine.woken), -1);
	ck_assert_int_eq(release.nr_released, 0);
	unlink(fifo);
}
END_TEST

static void add_tests(TCase *tests)
{
	tcase_add_test(tests, lane_of_files_has_the_threads_that_it_is_told);
	tcase_add_test(tests, lane_of_names_has_four_threads);
	tcase_add_test(tests, lane_for_waiting_has_a_thread_for_each);
	tcase_add_test(tests, full_lane_keeps_no_other_one_from_starting);
	tcase_add_test(tests, queued_jobs_begin_in_their_order);
	tcase_add_test(tests,
		       job_that_is_cancelled_before_it_begins_never_runs);
	tcase_add_test(tests, cancel_interrupts_what_waits_for_somebody);
	tcase_add_test(tests, cancel_is_heard_at_any_instant);
	tcase_add_test(tests, interrupts_end_with_the_job_that_they_are_for);
	tcase_add_test(tests, cancel_leaves_what_waits_for_a_device);
	tcase_add_test(tests, function_that_answers_eintr_is_not_called_again);
	tcase_add_test(tests, close_that_answers_eintr_is_not_made_again);
	tcase_add_test(tests, stray_interrupt_does_not_end_a_system_call);
	tcase_add_test(tests, stop_of_the_process_does_not_end_a_receive);
	tcase_add_test(tests, stop_of_the_process_does_not_end_a_connect);
	tcase_add_test(tests, detached_job_is_released_once_with_its_result);
	tcase_add_test(tests, what_an_abandoned_job_has_opened_is_closed);
}

int main(void)
{
	Suite *suite = suite_create("offload");
	TCase *tests = tcase_create("offload");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tests, 30);
	add_tests(tests);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
