/* SPDX-License-Identifier: MIT */
/*
 * The engine over io_uring: what becomes of ops, cancels and wakes. A kernel
 * that refuses is in test_uring_faults.c, one that lacks something in
 * test_uring_kernels.c.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "base/clock.h"
#include "uring.h"
#include "engine/uring.h"
#include "uring_engine.h"

enum { DEPTH = 16, ONE_MS = 1000000 };

/* --- ops --- */

START_TEST(nop_completes)
{
	struct zs_op op = { .code = ZS_OP_NOP, .link.item = &op };

	if (!open_engine(__func__, DEPTH))
		return;
	submit(&op);
	ck_assert_ptr_eq(reap_one(), &op);
	ck_assert_int_eq(op.result, 0);
	ck_assert_int_eq(op.state, ZS_OP_DONE);
	ck_assert_ptr_eq(op.link.item, &op);
	close_engine();
}
END_TEST

/* The op's bytes are the caller's again, whatever they hold. */
START_TEST(memory_may_be_used_again)
{
	struct zs_op op;
	uint64_t first;

	if (!open_engine(__func__, DEPTH))
		return;
	memset(&op, 0xff, sizeof(op));
	op = (struct zs_op){ .code = ZS_OP_NOP };
	submit(&op);
	first = op.user_data;
	ck_assert_ptr_eq(reap_one(), &op);
	submit(&op);
	ck_assert_uint_ne(op.user_data, first);
	ck_assert_ptr_eq(reap_one(), &op);
	close_engine();
}
END_TEST

START_TEST(a_batch_costs_one_enter)
{
	struct zs_op ops[DEPTH];
	int i;

	if (!open_engine(__func__, DEPTH))
		return;
	play.nr_enters = 0;
	for (i = 0; i < DEPTH; i++) {
		ops[i] = (struct zs_op){ .code = ZS_OP_NOP };
		submit(&ops[i]);
	}
	ck_assert_int_eq(play.nr_enters, 0);
	engine->ops->reap(engine, &done, 0);
	ck_assert_int_eq(play.nr_enters, 1);
	ck_assert_int_eq(play.nr_submitted, DEPTH);
	for (i = 0; i < DEPTH; i++)
		ck_assert_ptr_eq(zs_queue_pop(&done), &ops[i].link);
	/* Nothing to do: no system call. */
	engine->ops->reap(engine, &done, 0);
	ck_assert_int_eq(play.nr_enters, 1);
	ck_assert_uint_eq(counter(&engine->counters.enters), 1);
	close_engine();
}
END_TEST

START_TEST(more_ops_than_entries_all_complete)
{
	static struct zs_op ops[1000];

	if (!open_engine(__func__, 4))
		return;
	submit_nops(ops, 1000);
	reap_nops(1000);
	ck_assert_uint_eq(counter(&engine->counters.deferred), 0);
	close_engine();
}
END_TEST

/* Eight fit; the kernel keeps the rest until it is asked. */
START_TEST(completions_beyond_the_cq_arrive)
{
	static struct zs_op ops[1000];

	if (!open_engine(__func__, 2))
		return;
	submit_nops(ops, 1000);
	engine->ops->flush(engine);
	ck_assert(engine->ops->ready(engine));
	engine->ops->reap(engine, &done, 0);
	/* One reap: none is left behind to be waited for. */
	ck_assert_int_eq(count_done(), 1000);
	ck_assert_uint_gt(counter(&engine->counters.cq_overflows), 0);
	ck_assert(!engine->ops->ready(engine));
	close_engine();
}
END_TEST

START_TEST(flush_hands_over_without_reaping)
{
	struct zs_op op = { .code = ZS_OP_NOP };

	if (!open_engine(__func__, DEPTH))
		return;
	submit(&op);
	ck_assert(!engine->ops->ready(engine));
	engine->ops->flush(engine);
	ck_assert_int_eq(play.nr_submitted, 1);
	ck_assert(engine->ops->ready(engine));
	ck_assert_int_eq(op.state, ZS_OP_IN_FLIGHT);
	ck_assert_ptr_eq(reap_one(), &op);
	/* Nothing was submitted since. */
	play.nr_enters = 0;
	engine->ops->flush(engine);
	ck_assert_int_eq(play.nr_enters, 0);
	close_engine();
}
END_TEST

/* What a peer has done shows without a system call of ours, so that a worker
 * can look for it while it spins. */
START_TEST(ready_sees_what_others_completed)
{
	char byte;
	int fds[2];
	struct zs_op op;

	if (!open_engine(__func__, DEPTH))
		return;
	make_pair(fds);
	op = recv_op(fds[0], &byte, 1);
	submit(&op);
	engine->ops->flush(engine);
	ck_assert(!engine->ops->ready(engine));
	ck_assert_int_eq(write(fds[1], "x", 1), 1);
	while (!engine->ops->ready(engine))
		;
	play.nr_enters = 0;
	engine->ops->reap(engine, &done, INT64_MAX);
	ck_assert_ptr_eq(zs_queue_pop(&done), &op.link);
	ck_assert_int_eq(byte, 'x');
	ck_assert_int_le(play.nr_enters, 1);
	close_engine();
}
END_TEST

START_TEST(errors_are_results)
{
	char byte;
	struct zs_op op;

	if (!open_engine(__func__, DEPTH))
		return;
	errno = 1234;
	op = recv_op(-1, &byte, 1);
	ck_assert_int_eq(run(&op), -EBADF);
	op = recv_op(STDIN_FILENO, &byte, 1);
	ck_assert_int_eq(run(&op), -ENOTSOCK);
	op = (struct zs_op){ .code = ZS_OP_CLOSE, .fd = -1 };
	ck_assert_int_eq(run(&op), -EBADF);
	op = (struct zs_op){ .code = ZS_OP_OPENAT,
			     .fd = -1,
			     .address = address_of("there/is/no/such") };
	ck_assert_int_eq(run(&op), -EBADF);
	op = (struct zs_op){ .code = ZS_OP_FSYNC, .fd = STDIN_FILENO };
	ck_assert_int_lt(run(&op), 0);
	ck_assert_int_eq(errno, 1234);
	close_engine();
}
END_TEST

START_TEST(counters_count_ops_only)
{
	static struct zs_op ops[100];
	char byte;
	int fds[2];
	struct zs_op op;

	if (!open_engine(__func__, DEPTH))
		return;
	make_pair(fds);
	submit_nops(ops, 100);
	reap_nops(100);
	op = recv_op(fds[0], &byte, 1);
	submit(&op);
	engine->ops->flush(engine);
	cancel(&op);
	ck_assert_ptr_eq(reap_one(), &op);
	engine->ops->wake(engine);
	engine->ops->reap(engine, &done, INT64_MAX);
	ck_assert_uint_eq(counter(&engine->counters.submitted), 101);
	ck_assert_uint_eq(counter(&engine->counters.completed), 101);
	ck_assert_uint_eq(counter(&engine->counters.late), 0);
	/* Under Valgrind an enter that waits is two. */
	ck_assert_uint_le(counter(&engine->counters.enters),
			  (uint64_t)play.nr_enters);
	close_engine();
}
END_TEST

/* --- cancels --- */

START_TEST(cancel_of_a_parked_recv_ends_it_with_ecanceled)
{
	char byte;
	int fds[2];
	struct zs_op op;

	if (!open_engine(__func__, DEPTH))
		return;
	make_pair(fds);
	op = recv_op(fds[0], &byte, 1);
	submit(&op);
	/* Before the kernel has it, and after. */
	if (_i)
		engine->ops->flush(engine);
	cancel(&op);
	ck_assert_ptr_eq(reap_one(), &op);
	ck_assert_int_eq(op.result, -ECANCELED);
	close_engine();
}
END_TEST

START_TEST(a_completed_op_survives_its_late_cancel)
{
	char bytes[4] = { 0 };
	int fds[2];
	struct zs_op op;

	if (!open_engine(__func__, DEPTH))
		return;
	make_pair(fds);
	ck_assert_int_eq(write(fds[1], "abc", 3), 3);
	op = recv_op(fds[0], bytes, 4);
	submit(&op);
	engine->ops->flush(engine);
	/* It is done, and nobody has looked yet. */
	ck_assert(engine->ops->ready(engine));
	cancel(&op);
	ck_assert_ptr_eq(reap_one(), &op);
	ck_assert_int_eq(op.result, 3);
	ck_assert_str_eq(bytes, "abc");
	/* Its memory is another op's now, which the cancel does not reach. */
	op = recv_op(fds[0], bytes, 4);
	submit(&op);
	ck_assert_int_eq(write(fds[1], "d", 1), 1);
	ck_assert_ptr_eq(reap_one(), &op);
	ck_assert_int_eq(op.result, 1);
	/* After it was reaped it does nothing at all. */
	play.nr_enters = 0;
	cancel(&op);
	engine->ops->flush(engine);
	ck_assert_int_eq(play.nr_enters, 0);
	close_engine();
}
END_TEST

/* What the kernel knows by @user_data, if there is anything. The kernel has
 * carried it out when the NOP behind it is done. */
static void cancel_by_hand(uint64_t user_data)
{
	struct zs_uring *uring =
		zs_container_of(engine, struct zs_uring, engine);
	struct zs_sqe *sqe = zs_ring_next_sqe(&uring->ring);
	struct zs_op nop = { .code = ZS_OP_NOP };

	uring->nr_own++;
	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = ZS_URING_OP_ASYNC_CANCEL;
	sqe->fd = -1;
	sqe->addr = user_data;
	submit(&nop);
	while (nop.state != ZS_OP_DONE)
		engine->ops->reap(engine, &done, INT64_MAX);
	zs_queue_remove(&done, &nop.link);
}

/* A cancel names a use of memory, not the memory. */
START_TEST(a_cancel_of_an_earlier_use_finds_nothing)
{
	char byte;
	int fds[2];
	struct zs_op op;
	uint64_t earlier;

	if (!open_engine(__func__, DEPTH))
		return;
	make_pair(fds);
	ck_assert_int_eq(write(fds[1], "a", 1), 1);
	op = recv_op(fds[0], &byte, 1);
	submit(&op);
	earlier = op.user_data;
	ck_assert_ptr_eq(reap_one(), &op);
	op = recv_op(fds[0], &byte, 1);
	submit(&op);
	cancel_by_hand(earlier);
	ck_assert_int_eq(op.state, ZS_OP_IN_FLIGHT);
	op.cancel_asked = true;
	cancel_by_hand(op.user_data);
	ck_assert_ptr_eq(reap_one(), &op);
	ck_assert_int_eq(op.result, -ECANCELED);
	close_engine();
}
END_TEST

START_TEST(a_second_cancel_costs_nothing)
{
	char byte;
	int fds[2];
	struct zs_op op;

	if (!open_engine(__func__, DEPTH))
		return;
	make_pair(fds);
	op = recv_op(fds[0], &byte, 1);
	submit(&op);
	engine->ops->flush(engine);
	play.nr_submitted = 0;
	cancel(&op);
	cancel(&op);
	cancel(&op);
	engine->ops->flush(engine);
	ck_assert_int_eq(play.nr_submitted, 1);
	ck_assert_ptr_eq(reap_one(), &op);
	close_engine();
}
END_TEST

/* More of them than the queue holds: the kernel is entered to make room. */
START_TEST(cancels_of_many_end_all)
{
	static struct zs_op ops[100];
	static char bytes[100];
	int fds[2];
	int i;

	if (!open_engine(__func__, 4))
		return;
	make_pair(fds);
	for (i = 0; i < 100; i++) {
		ops[i] = recv_op(fds[0], &bytes[i], 1);
		submit(&ops[i]);
	}
	for (i = 0; i < 100; i++)
		cancel(&ops[i]);
	for (i = 0; i < 100; i++)
		ck_assert_int_eq(reap_one()->result, -ECANCELED);
	close_engine();
}
END_TEST

/* --- wakes and waits --- */

START_TEST(wait_ends_at_its_timeout_never_early)
{
	int64_t start, wait_ns;

	if (!open_engine(__func__, DEPTH))
		return;
	for (wait_ns = 1; wait_ns < 50 * ONE_MS; wait_ns *= 10) {
		start = zs_clock_ns();
		engine->ops->reap(engine, &done, wait_ns);
		ck_assert_int_ge(zs_clock_ns() - start, wait_ns);
		ck_assert_ptr_null(done.first);
	}
	close_engine();
}
END_TEST

static void *wake_it(void *arg)
{
	(void)arg;
	engine->ops->wake(engine);
	return NULL;
}

START_TEST(wake_ends_a_wait)
{
	pthread_t thread;
	int i;

	if (!open_engine(__func__, DEPTH))
		return;
	for (i = 0; i < 100; i++) {
		ck_assert_int_eq(pthread_create(&thread, NULL, wake_it, NULL),
				 0);
		engine->ops->reap(engine, &done, INT64_MAX);
		ck_assert_ptr_null(done.first);
		ck_assert_int_eq(pthread_join(thread, NULL), 0);
	}
	close_engine();
}
END_TEST

START_TEST(a_wake_before_the_wait_is_not_lost)
{
	if (!make_engine(__func__, DEPTH))
		return;
	/* Before there is a worker. */
	engine->ops->wake(engine);
	ck_assert_int_eq(engine->ops->start(engine), 0);
	engine->ops->reap(engine, &done, INT64_MAX);
	engine->ops->wake(engine);
	engine->ops->wake(engine);
	engine->ops->reap(engine, &done, INT64_MAX);
	close_engine();
}
END_TEST

/* One that a poll came across is kept for the wait that follows. */
START_TEST(a_wake_between_polls_is_not_lost)
{
	struct zs_op op = { .code = ZS_OP_NOP };

	if (!open_engine(__func__, DEPTH))
		return;
	/* Armed from the first wait on. */
	engine->ops->reap(engine, &done, ONE_MS);
	engine->ops->wake(engine);
	submit(&op);
	engine->ops->reap(engine, &done, 0);
	engine->ops->reap(engine, &done, 0);
	ck_assert_ptr_eq(zs_queue_pop(&done), &op.link);
	engine->ops->reap(engine, &done, INT64_MAX);
	/* And for that one only. */
	ck_assert_int_ge(wait_of(ONE_MS), ONE_MS);
	close_engine();
}
END_TEST

START_TEST(a_wake_at_the_end_does_no_harm)
{
	if (!open_engine(__func__, DEPTH))
		return;
	if (_i)
		engine->ops->reap(engine, &done, ONE_MS);
	engine->ops->wake(engine);
	engine->ops->finish(engine);
	engine->ops->wake(engine);
	engine->ops->destroy(engine);
}
END_TEST

static volatile sig_atomic_t nr_signals;

static void count_signal(int number)
{
	(void)number;
	nr_signals++;
}

/* Interrupted before, in and after waits, ten thousand times a second. */
START_TEST(signals_lose_nothing)
{
	static struct zs_op ops[64];
	struct itimerval often = { { 0, 100 }, { 0, 100 } };
	struct itimerval never = { { 0, 0 }, { 0, 0 } };
	char byte;
	int fds[2];
	struct zs_op op;

	if (!open_engine(__func__, 4))
		return;
	make_pair(fds);
	signal(SIGALRM, count_signal);
	ck_assert_int_eq(setitimer(ITIMER_REAL, &often, NULL), 0);
	while (nr_signals < 500) {
		op = recv_op(fds[0], &byte, 1);
		submit(&op);
		submit_nops(ops, 64);
		reap_nops(64);
		engine->ops->reap(engine, &done, ONE_MS);
		ck_assert_int_eq(write(fds[1], "x", 1), 1);
		ck_assert_ptr_eq(reap_one(), &op);
	}
	ck_assert_int_eq(setitimer(ITIMER_REAL, &never, NULL), 0);
	close_engine();
}
END_TEST

/* --- life --- */

static void *live(void *arg)
{
	struct zs_op op = { .code = ZS_OP_NOP };

	(void)arg;
	ck_assert_int_eq(engine->ops->start(engine), 0);
	ck_assert_int_eq(run(&op), 0);
	engine->ops->reap(engine, &done, ONE_MS);
	engine->ops->finish(engine);
	return NULL;
}

/* As a runtime does it; and nothing of the hundred is left. */
START_TEST(a_hundred_lives_on_other_threads_leave_nothing)
{
	pthread_t thread;
	int before = next_fd();
	int i;

	for (i = 0; i < 100; i++) {
		if (!make_engine(__func__, DEPTH))
			return;
		ck_assert_int_eq(pthread_create(&thread, NULL, live, NULL), 0);
		ck_assert_int_eq(pthread_join(thread, NULL), 0);
		engine->ops->destroy(engine);
		ck_assert_int_eq(next_fd(), before);
	}
}
END_TEST

START_TEST(an_engine_that_never_started_leaves_nothing)
{
	int before = next_fd();

	if (!make_engine(__func__, DEPTH))
		return;
	engine->ops->destroy(engine);
	ck_assert_int_eq(next_fd(), before);
}
END_TEST

/* A thread has 16 of them; without one the ring goes by its descriptor. */
START_TEST(a_finished_engine_gives_its_slot_back)
{
	struct zs_op op = { .code = ZS_OP_NOP };
	bool has_slots = false;
	int i;

	for (i = 0; i < 20; i++) {
		if (!open_engine(__func__, 2))
			return;
		ck_assert_int_eq(run(&op), 0);
		/* The probe, too, needs one to say yes. */
		if (i == 0)
			has_slots = kernel.has_registered_ring;
		ck_assert_int_eq(!(play.enter_flags &
				   ZS_URING_ENTER_REGISTERED_RING),
				 !has_slots);
		close_engine();
	}
}
END_TEST

static void add_tests(TCase *tests)
{
	tcase_add_test(tests, nop_completes);
	tcase_add_test(tests, memory_may_be_used_again);
	tcase_add_test(tests, a_batch_costs_one_enter);
	tcase_add_test(tests, more_ops_than_entries_all_complete);
	tcase_add_test(tests, completions_beyond_the_cq_arrive);
	tcase_add_test(tests, flush_hands_over_without_reaping);
	tcase_add_test(tests, ready_sees_what_others_completed);
	tcase_add_test(tests, errors_are_results);
	tcase_add_test(tests, counters_count_ops_only);
	tcase_add_loop_test(
		tests, cancel_of_a_parked_recv_ends_it_with_ecanceled, 0, 2);
	tcase_add_test(tests, a_completed_op_survives_its_late_cancel);
	tcase_add_test(tests, a_cancel_of_an_earlier_use_finds_nothing);
	tcase_add_test(tests, a_second_cancel_costs_nothing);
	tcase_add_test(tests, cancels_of_many_end_all);
	tcase_add_test(tests, wait_ends_at_its_timeout_never_early);
	tcase_add_test(tests, wake_ends_a_wait);
	tcase_add_test(tests, a_wake_before_the_wait_is_not_lost);
	tcase_add_test(tests, a_wake_between_polls_is_not_lost);
	tcase_add_loop_test(tests, a_wake_at_the_end_does_no_harm, 0, 2);
	tcase_add_test(tests, signals_lose_nothing);
	tcase_add_test(tests, a_hundred_lives_on_other_threads_leave_nothing);
	tcase_add_test(tests, an_engine_that_never_started_leaves_nothing);
	tcase_add_test(tests, a_finished_engine_gives_its_slot_back);
}

int main(void)
{
	TCase *tests = tcase_create("uring");

	add_tests(tests);
	return run_tests(tests, "uring");
}
