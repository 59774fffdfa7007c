/* SPDX-License-Identifier: MIT */
/*
 * The engine over io_uring and a kernel that refuses what it is handed, takes
 * less, or fails: nothing is lost, and no worker spins or sleeps for ever.
 */
#include <signal.h>
#include <stdatomic.h>

#include "uring.h"
#include "uring_engine.h"

enum { ONE_MS = 1000000, FOR_EVER = 1 << 30 };

static void refuse(int error, int nr)
{
	play.error = error;
	play.nr_refused = nr;
}

/* --- refusals --- */

static const int refusals[] = { EAGAIN, ENOMEM, EBUSY };

START_TEST(a_refused_op_is_not_lost)
{
	static struct zs_op ops[100];

	if (!open_engine(__func__, 4))
		return;
	refuse(refusals[_i], 10);
	submit_nops(ops, 100);
	ck_assert_uint_gt(counter(&engine->counters.deferred), 0);
	reap_nops(100);
	ck_assert_int_eq(play.nr_refused, 0);
	close_engine();
}
END_TEST

/* Each look waits a little, and no longer: there is something to hand over. */
START_TEST(reap_does_not_spin_without_memory)
{
	static struct zs_op ops[10];
	int64_t start;
	int i;

	if (!open_engine(__func__, 4))
		return;
	refuse(EAGAIN, FOR_EVER);
	submit_nops(ops, 10);
	play.nr_enters = 0;
	start = zs_clock_ns();
	for (i = 0; i < 10; i++)
		engine->ops->reap(engine, &done, INT64_MAX);
	ck_assert_int_ge(zs_clock_ns() - start, 10 * ONE_MS);
	ck_assert_int_le(play.nr_enters, 50);
	ck_assert_ptr_null(done.first);
	/* A poll does not wait even then. */
	engine->ops->reap(engine, &done, 0);
	refuse(0, 0);
	reap_nops(10);
	close_engine();
}
END_TEST

/* The memory that the kernel lacks may be theirs. */
START_TEST(what_is_done_is_reaped_without_memory)
{
	char byte;
	int fds[2];
	struct zs_op op, nop = { .code = ZS_OP_NOP };

	if (!open_engine(__func__, 4))
		return;
	make_pair(fds);
	op = recv_op(fds[0], &byte, 1);
	submit(&op);
	engine->ops->flush(engine);
	refuse(EAGAIN, FOR_EVER);
	submit(&nop);
	ck_assert_int_eq(write(fds[1], "x", 1), 1);
	ck_assert_ptr_eq(reap_one(), &op);
	ck_assert_int_eq(op.result, 1);
	refuse(0, 0);
	ck_assert_ptr_eq(reap_one(), &nop);
	close_engine();
}
END_TEST

/* And what the queue had no room for: that loop hands nothing over. */
START_TEST(an_overflow_is_reaped_without_memory)
{
	static struct zs_op ops[100];
	struct zs_op last = { .code = ZS_OP_NOP };

	if (!open_engine(__func__, 2))
		return;
	submit_nops(ops, 100);
	engine->ops->flush(engine);
	refuse(EAGAIN, FOR_EVER);
	submit(&last);
	engine->ops->reap(engine, &done, 0);
	ck_assert_int_eq(count_done(), 100);
	refuse(0, 0);
	ck_assert_ptr_eq(reap_one(), &last);
	close_engine();
}
END_TEST

START_TEST(wake_ends_a_wait_without_memory)
{
	struct zs_op op = { .code = ZS_OP_NOP };

	if (!open_engine(__func__, 2))
		return;
	refuse(EAGAIN, FOR_EVER);
	submit(&op);
	/* The read that waits for it cannot be armed: the wait is short. */
	engine->ops->wake(engine);
	engine->ops->reap(engine, &done, INT64_MAX);
	engine->ops->reap(engine, &done, INT64_MAX);
	refuse(0, 0);
	ck_assert_ptr_eq(reap_one(), &op);
	close_engine();
}
END_TEST

/* Two recvs that fill the queue, and that nothing will end but a cancel. */
static void fill_with_recvs(struct zs_op *ops, char *bytes, int fd)
{
	int i;

	for (i = 0; i < 2; i++) {
		ops[i] = recv_op(fd, &bytes[i], 1);
		submit(&ops[i]);
	}
}

static void end_recvs(struct zs_op *ops)
{
	cancel(&ops[0]);
	cancel(&ops[1]);
	ck_assert_int_eq(reap_one()->result, -ECANCELED);
	ck_assert_int_eq(reap_one()->result, -ECANCELED);
	close_engine();
}

/* Refused as the op comes and as the reap begins, taken after that. */
START_TEST(a_deferred_op_does_not_sleep_through_a_wait)
{
	static struct zs_op ops[2], nop;
	static char bytes[2];
	int fds[2];

	if (!open_engine(__func__, 2))
		return;
	make_pair(fds);
	fill_with_recvs(ops, bytes, fds[0]);
	refuse(EAGAIN, 2);
	submit_nops(&nop, 1);
	reap_nops(1);
	end_recvs(ops);
}
END_TEST

/* Refused as the reap arms it, taken after that. */
START_TEST(a_wait_does_not_begin_deaf)
{
	static struct zs_op ops[2];
	static char bytes[2];
	int fds[2];

	if (!open_engine(__func__, 2))
		return;
	make_pair(fds);
	fill_with_recvs(ops, bytes, fds[0]);
	refuse(EAGAIN, 1);
	engine->ops->wake(engine);
	engine->ops->reap(engine, &done, INT64_MAX);
	ck_assert_ptr_null(done.first);
	end_recvs(ops);
}
END_TEST

START_TEST(cancel_of_a_deferred_op_never_reaches_the_kernel)
{
	static struct zs_op nops[2];
	char byte;
	int fds[2];
	struct zs_op op;

	if (!open_engine(__func__, 2))
		return;
	make_pair(fds);
	refuse(EAGAIN, FOR_EVER);
	submit_nops(nops, 2);
	op = recv_op(fds[0], &byte, 1);
	submit(&op);
	ck_assert_int_eq(op.state, ZS_OP_DEFERRED);
	cancel(&op);
	cancel(&op);
	/* It is done at once, whatever the kernel lacks. */
	ck_assert(engine->ops->ready(engine));
	ck_assert_ptr_eq(reap_one(), &op);
	ck_assert_int_eq(op.result, -ECANCELED);
	refuse(0, 0);
	engine->ops->flush(engine);
	engine->ops->reap(engine, &done, 0);
	ck_assert_int_eq(count_done(), 2);
	ck_assert_int_eq(play.nr_submitted, 2);
	close_engine();
}
END_TEST

/* A recv in flight and a queue full of NOPs that the kernel does not take. */
static bool park_behind_full_queue(const char *test, struct zs_op *op, int fd,
				   char *byte, struct zs_op *nops)
{
	if (!open_engine(test, 2))
		return false;
	*op = recv_op(fd, byte, 1);
	submit(op);
	engine->ops->flush(engine);
	refuse(EAGAIN, FOR_EVER);
	submit_nops(nops, 2);
	return true;
}

START_TEST(a_cancel_with_a_full_queue_is_not_lost)
{
	static struct zs_op nops[2];
	char byte;
	int fds[2];
	struct zs_op op;

	make_pair(fds);
	if (!park_behind_full_queue(__func__, &op, fds[0], &byte, nops))
		return;
	cancel(&op);
	ck_assert(op.cancel_waiting);
	engine->ops->reap(engine, &done, ONE_MS);
	ck_assert_int_eq(op.state, ZS_OP_IN_FLIGHT);
	refuse(0, 0);
	reap_nops(2);
	ck_assert_ptr_eq(reap_one(), &op);
	ck_assert_int_eq(op.result, -ECANCELED);
	ck_assert(!op.cancel_waiting);
	close_engine();
}
END_TEST

/* Its op ends before there is room: then there is nothing left to send. */
START_TEST(a_waiting_cancel_ends_with_its_op)
{
	static struct zs_op nops[2];
	char byte;
	int fds[2];
	struct zs_op op;

	make_pair(fds);
	if (!park_behind_full_queue(__func__, &op, fds[0], &byte, nops))
		return;
	cancel(&op);
	ck_assert_int_eq(write(fds[1], "x", 1), 1);
	ck_assert_ptr_eq(reap_one(), &op);
	ck_assert_int_eq(op.result, 1);
	memset(&op, 0xff, sizeof(op));
	play.nr_submitted = 0;
	refuse(0, 0);
	engine->ops->flush(engine);
	engine->ops->reap(engine, &done, 0);
	ck_assert_int_eq(count_done(), 2);
	ck_assert_int_eq(play.nr_submitted, 2);
	close_engine();
}
END_TEST

/* A queue that is full has nothing to do with it. */
START_TEST(calls_need_no_room)
{
	static struct zs_op nops[2];
	struct zs_op op = { .code = ZS_OP_CLOSE, .fd = -1 };

	setenv("ZSYNC_DISABLE", "close", 1);
	if (!open_engine(__func__, 2))
		return;
	refuse(EAGAIN, FOR_EVER);
	submit_nops(nops, 2);
	ck_assert_int_eq(run(&op), -EBADF);
	refuse(0, 0);
	reap_nops(2);
	close_engine();
}
END_TEST

START_TEST(short_submits_lose_nothing)
{
	static struct zs_op ops[100];
	char byte;
	int fds[2];
	struct zs_op op;

	if (!open_engine(__func__, 8))
		return;
	make_pair(fds);
	play.limit = 1;
	op = recv_op(fds[0], &byte, 1);
	submit(&op);
	submit_nops(ops, 100);
	cancel(&op);
	reap_nops(100);
	ck_assert_ptr_eq(reap_one(), &op);
	ck_assert_int_eq(op.result, -ECANCELED);
	engine->ops->wake(engine);
	engine->ops->reap(engine, &done, INT64_MAX);
	close_engine();
}
END_TEST

/* --- a flag with nothing behind it --- */

/* The word of the only ring that is mapped, where the kernel sets its flags. */
static _Atomic uint32_t *ring_flags(void)
{
	struct zs_uring_params params = { 0 };
	int fd = zs_kernel_trial(&params);
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned long start = 0, offset;
	char line[256];

	ck_assert_int_ge(fd, 0);
	close(fd);
	ck_assert_ptr_nonnull(maps);
	while (fgets(line, sizeof(line), maps))
		if (strstr(line, "[io_uring]") &&
		    sscanf(line, "%lx-%*x %*s %lx", &start, &offset) == 2 &&
		    offset == ZS_URING_OFFSET_SQ_RING)
			break;
	ck_assert(!feof(maps));
	fclose(maps);
	return (_Atomic uint32_t *)(start + params.sq_off.flags);
}

/* The kernel sets it after it has queued the work that it stands for; when that
 * has been done by then, the flag stays. Played by setting it. */
START_TEST(a_flag_with_nothing_behind_it_is_no_work)
{
	struct zs_op op = { .code = ZS_OP_NOP };

	if (!open_engine(__func__, 4))
		return;
	ck_assert_int_eq(run(&op), 0);
	atomic_fetch_or_explicit(ring_flags(), ZS_URING_SQ_TASKRUN,
				 memory_order_relaxed);
	ck_assert_int_ge(wait_of(5 * ONE_MS), 5 * ONE_MS);
	atomic_fetch_or_explicit(ring_flags(), ZS_URING_SQ_TASKRUN,
				 memory_order_relaxed);
	engine->ops->reap(engine, &done, 0);
	ck_assert(!engine->ops->ready(engine));
	submit(&op);
	engine->ops->flush(engine);
	ck_assert_int_eq(reap_one()->result, 0);
	close_engine();
}
END_TEST

/* The eventfd is the first descriptor that an engine takes. */
START_TEST(a_wake_that_fails_ends_the_process)
{
	int wake_fd = next_fd();

	if (!open_engine(__func__, 4))
		abort();
	close(wake_fd);
	engine->ops->reap(engine, &done, INT64_MAX);
}
END_TEST

/* The kernel lets signals cut some registrations short, up to 5.18 or so. */
START_TEST(signals_keep_no_engine_from_starting)
{
	struct zs_op op = { .code = ZS_OP_NOP };
	int64_t wait_ns = ONE_MS;
	sigset_t before, after;

	if (!make_engine(__func__, 4))
		return;
	sigprocmask(SIG_SETMASK, NULL, &before);
	play.nr_registers_interrupted = 3;
	ck_assert_int_eq(engine->ops->start(engine), 0);
	ck_assert_int_eq(play.nr_registers_interrupted, 0);
	play.nr_registers_interrupted = 3;
	ck_assert_int_ge(engine->ops->watch(engine, &wait_ns), 0);
	ck_assert_int_eq(play.nr_registers_interrupted, 0);
	sigprocmask(SIG_SETMASK, NULL, &after);
	for (int i = 1; i <= SIGRTMAX; i++)
		ck_assert_int_eq(sigismember(&before, i),
				 sigismember(&after, i));
	ck_assert_int_eq(run(&op), 0);
	close_engine();
}
END_TEST

static void add_tests(TCase *tests)
{
	tcase_add_loop_test(tests, a_refused_op_is_not_lost, 0, 3);
	tcase_add_test(tests, reap_does_not_spin_without_memory);
	tcase_add_test(tests, what_is_done_is_reaped_without_memory);
	tcase_add_test(tests, an_overflow_is_reaped_without_memory);
	tcase_add_test(tests, wake_ends_a_wait_without_memory);
	tcase_add_test(tests, a_deferred_op_does_not_sleep_through_a_wait);
	tcase_add_test(tests, a_wait_does_not_begin_deaf);
	tcase_add_test(tests, cancel_of_a_deferred_op_never_reaches_the_kernel);
	tcase_add_test(tests, a_cancel_with_a_full_queue_is_not_lost);
	tcase_add_test(tests, a_waiting_cancel_ends_with_its_op);
	tcase_add_test(tests, calls_need_no_room);
	tcase_add_test(tests, short_submits_lose_nothing);
	tcase_add_test(tests, a_flag_with_nothing_behind_it_is_no_work);
	tcase_add_test(tests, signals_keep_no_engine_from_starting);
	tcase_add_test_raise_signal(tests, a_wake_that_fails_ends_the_process,
				    SIGABRT);
}

int main(void)
{
	TCase *tests = tcase_create("uring_faults");

	add_tests(tests);
	return run_tests(tests, "uring_faults");
}
