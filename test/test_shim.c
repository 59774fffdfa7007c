/* SPDX-License-Identifier: MIT */
/*
 * The reap shim itself: each thing that it is to do happens, by the seed alone,
 * and the engine loses nothing by it.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/engine.h"
#include "pool.h"
#include "runtime.h"
#include "shim.h"

enum { NR_OPS = 100, DEPTH = 32, ONE_MS = 1000000, HOLD_NS = 5 * ONE_MS };

static struct zs_kernel kernel;
static struct zs_engine *engine;
static struct zs_queue done;
static struct zs_op ops[NR_OPS];

static void open_engine(uint64_t seed, const struct shim_rates *rates)
{
	shim_restart(seed);
	shim.rates = *rates;
	ck_assert_int_eq(zs_kernel_probe(&kernel), 0);
	ck_assert_int_eq(zs_engine_create(&engine, ZS_MODEL_GREEN_THREADS,
					  &kernel, test_pool(), DEPTH),
			 0);
	ck_assert_int_eq(engine->ops->start(engine), 0);
	zs_queue_init(&done);
}

static void close_engine(void)
{
	ck_assert_ptr_null(done.first);
	engine->ops->finish(engine);
	engine->ops->destroy(engine);
}

static void submit_nops(int number)
{
	for (int i = 0; i < number; i++) {
		ops[i] = (struct zs_op){ .code = ZS_OP_NOP };
		engine->ops->submit(engine, &ops[i]);
	}
}

static struct zs_op *reap_one(void)
{
	while (!done.first)
		engine->ops->reap(engine, &done, INT64_MAX);
	return zs_op_of(zs_queue_pop(&done));
}

static struct zs_op transfer(enum zs_op_code code, int fd, void *buffer,
			     uint32_t length)
{
	return (struct zs_op){ .code = (uint8_t)code,
			       .fd = fd,
			       .address = (uint64_t)(uintptr_t)buffer,
			       .length = length };
}

static int run(struct zs_op *op)
{
	engine->ops->submit(engine, op);
	ck_assert_ptr_eq(reap_one(), op);
	return op->result;
}

static void make_pair(int fds[2])
{
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
}

/* --- what it does --- */

START_TEST(no_op_is_lost_or_done_twice_by_any_seed)
{
	open_engine((uint64_t)_i, &shim_some_of_all);
	for (int round = 0; round < 5; round++) {
		submit_nops(NR_OPS);
		for (int i = 0; i < NR_OPS; i++) {
			struct zs_op *op = reap_one();

			ck_assert_int_eq(op->result, 0);
			op->result = 1;
		}
		ck_assert_ptr_null(done.first);
	}
	close_engine();
}
END_TEST

START_TEST(all_that_may_happen_happens)
{
	const struct shim_counters *counters = &shim.counters;
	char bytes[100] = "";
	int fds[2];

	make_pair(fds);
	for (uint64_t seed = 0; seed < 50; seed++) {
		struct zs_op op = transfer(ZS_OP_SEND, fds[0], bytes, 100);

		open_engine(seed, &shim_some_of_all);
		for (int i = 0; i < 2 * NR_OPS; i++) {
			if (i % NR_OPS == 0)
				submit_nops(NR_OPS);
			reap_one();
		}
		ck_assert_int_gt(run(&op), 0);
		engine->ops->reap(engine, &done, ONE_MS);
		close_engine();
	}
	ck_assert_uint_gt(shim_count(&counters->held_completions), 0);
	ck_assert_uint_gt(shim_count(&counters->held_submissions), 0);
	ck_assert_uint_gt(shim_count(&counters->overtaken), 0);
	ck_assert_uint_gt(shim_count(&counters->shortened), 0);
	ck_assert_uint_gt(shim_count(&counters->late), 0);
	ck_assert_uint_gt(shim_count(&counters->taken_in_part), 0);
	ck_assert_uint_gt(shim_count(&counters->refused), 0);
	ck_assert_uint_gt(shim_count(&counters->interrupted), 0);
	ck_assert_uint_gt(shim_count(&counters->overflows), 0);
	ck_assert_uint_gt(shim_count(&counters->setups_refused), 0);
}
END_TEST

/* The kernel does NOPs at once, so that all of the order is the seed's. */
static void order_by(uint64_t seed, int *order)
{
	static const struct shim_rates rates = {
		.hold_completion = SHIM_ALWAYS / 2,
		.hold_most_ns = HOLD_NS,
	};

	open_engine(seed, &rates);
	submit_nops(DEPTH);
	for (int i = 0; i < DEPTH; i++)
		order[i] = (int)(reap_one() - ops);
	close_engine();
}

START_TEST(the_seed_decides)
{
	int first[DEPTH], again[DEPTH], other[DEPTH];

	order_by(7, first);
	order_by(7, again);
	order_by(8, other);
	ck_assert_mem_eq(first, again, sizeof(first));
	ck_assert_mem_ne(first, other, sizeof(first));
}
END_TEST

/* --- holding --- */

static const struct shim_rates hold_all = {
	.hold_completion = SHIM_ALWAYS,
	.hold_least_ns = HOLD_NS,
	.hold_most_ns = HOLD_NS,
};

START_TEST(a_held_op_is_not_done_and_ends_a_wait_when_it_is)
{
	int64_t start;

	open_engine(1, &hold_all);
	start = zs_clock_ns();
	submit_nops(1);
	engine->ops->reap(engine, &done, 0);
	if (zs_clock_ns() - start < HOLD_NS)
		ck_assert_ptr_null(done.first);
	ck_assert_ptr_eq(reap_one(), &ops[0]);
	ck_assert_int_ge(zs_clock_ns() - start, HOLD_NS);
	close_engine();
}
END_TEST

static void *wake_engine(void *arg)
{
	engine->ops->wake(engine);
	return arg;
}

START_TEST(a_wake_ends_a_wait)
{
	int fds[2];
	char byte;
	struct zs_op op;
	pthread_t thread;

	make_pair(fds);
	op = transfer(ZS_OP_RECV, fds[0], &byte, 1);
	open_engine(1, &hold_all);
	engine->ops->submit(engine, &op);
	ck_assert_int_eq(pthread_create(&thread, NULL, wake_engine, NULL), 0);
	engine->ops->reap(engine, &done, INT64_MAX);
	ck_assert_ptr_null(done.first);
	pthread_join(thread, NULL);
	ck_assert_int_eq(write(fds[1], "x", 1), 1);
	ck_assert_ptr_eq(reap_one(), &op);
	close_engine();
}
END_TEST

/* The bytes have come, the completion is held, and then the cancel comes. */
START_TEST(cancel_of_a_held_op_comes_too_late)
{
	int fds[2];
	char byte = 0;
	struct zs_op op;

	make_pair(fds);
	ck_assert_int_eq(write(fds[1], "x", 1), 1);
	op = transfer(ZS_OP_RECV, fds[0], &byte, 1);
	open_engine(1, &hold_all);
	engine->ops->submit(engine, &op);
	engine->ops->reap(engine, &done, 0);
	engine->ops->cancel(engine, &op);
	ck_assert_ptr_eq(reap_one(), &op);
	ck_assert_int_eq(op.result, 1);
	ck_assert_int_eq(byte, 'x');
	close_engine();
}
END_TEST

/* The cancel has come, its completion is held, and then the bytes come. */
START_TEST(bytes_after_a_held_cancel_stay)
{
	int fds[2];
	char byte = 0;
	struct zs_op op;

	make_pair(fds);
	op = transfer(ZS_OP_RECV, fds[0], &byte, 1);
	open_engine(1, &hold_all);
	engine->ops->submit(engine, &op);
	engine->ops->reap(engine, &done, 0);
	engine->ops->cancel(engine, &op);
	engine->ops->reap(engine, &done, 0);
	ck_assert_int_eq(write(fds[1], "x", 1), 1);
	ck_assert_ptr_eq(reap_one(), &op);
	ck_assert_int_eq(op.result, -ECANCELED);
	ck_assert_int_eq(byte, 0);
	ck_assert_int_eq(recv(fds[0], &byte, 1, MSG_DONTWAIT), 1);
	close_engine();
}
END_TEST

START_TEST(a_held_op_is_with_the_kernel_before_its_cancel)
{
	static const struct shim_rates rates = {
		.hold_submission = SHIM_ALWAYS / 2,
		.hold_most_ns = ONE_MS,
	};
	int fds[2];
	char byte;
	struct zs_op op;

	make_pair(fds);
	open_engine(1, &rates);
	for (int i = 0; i < 100; i++) {
		op = transfer(ZS_OP_RECV, fds[0], &byte, 1);
		engine->ops->submit(engine, &op);
		engine->ops->cancel(engine, &op);
		ck_assert_ptr_eq(reap_one(), &op);
		ck_assert_int_eq(op.result, -ECANCELED);
	}
	close_engine();
}
END_TEST

/* --- the rest --- */

START_TEST(late_completions_are_not_believed)
{
	static const struct shim_rates rates = { .late = SHIM_ALWAYS };

	open_engine(1, &rates);
	submit_nops(1);
	reap_one();
	for (int i = 1; i <= 100; i++) {
		submit_nops(1);
		ck_assert_ptr_eq(reap_one(), &ops[0]);
		ck_assert_int_eq(ops[0].result, 0);
		ck_assert_uint_eq(shim_count(&engine->counters.late), i);
	}
	close_engine();
}
END_TEST

START_TEST(a_small_queue_overflows)
{
	static const struct shim_rates rates = { .small_queue = SHIM_ALWAYS };

	open_engine(1, &rates);
	submit_nops(NR_OPS);
	for (int i = 0; i < NR_OPS; i++)
		reap_one();
	ck_assert_uint_gt(shim_count(&engine->counters.cq_overflows), 0);
	close_engine();
}
END_TEST

START_TEST(shortened_transfers_lose_nothing)
{
	static const struct shim_rates rates = { .shorten = SHIM_ALWAYS };
	char bytes[] = "what is not sent now is sent later";
	char back[sizeof(bytes)];
	uint32_t sent = 0, received = 0;
	int fds[2];
	struct zs_op op;

	make_pair(fds);
	open_engine(1, &rates);
	while (sent < sizeof(bytes)) {
		op = transfer(ZS_OP_SEND, fds[0], bytes + sent,
			      (uint32_t)sizeof(bytes) - sent);
		sent += (uint32_t)run(&op);
	}
	while (received < sizeof(back)) {
		op = transfer(ZS_OP_RECV, fds[1], back + received,
			      (uint32_t)sizeof(back) - received);
		received += (uint32_t)run(&op);
	}
	ck_assert_str_eq(back, bytes);
	ck_assert_uint_gt(shim_count(&shim.counters.shortened), 2);
	close_engine();
}
END_TEST

START_TEST(a_datagram_stays_whole)
{
	static const struct shim_rates rates = { .shorten = SHIM_ALWAYS };
	char bytes[100] = "";
	int fds[2];
	struct zs_op op;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM, 0, fds), 0);
	open_engine(1, &rates);
	op = transfer(ZS_OP_SEND, fds[0], bytes, 100);
	ck_assert_int_eq(run(&op), 100);
	op = transfer(ZS_OP_RECV, fds[1], bytes, 100);
	ck_assert_int_eq(run(&op), 100);
	close_engine();
}
END_TEST

static const int setup_errors[] = { EPERM, EMFILE };

/* The probe has found all well. */
START_TEST(a_failed_setup_is_a_clean_error)
{
	struct zs_config config = test_config();
	struct zs_runtime *runtime = NULL;
	int fd = dup(STDIN_FILENO);

	close(fd);
	shim.setup_error = setup_errors[_i];
	ck_assert_int_eq(zs_runtime_create(&runtime, &config),
			 -setup_errors[_i]);
	ck_assert_ptr_null(runtime);
	ck_assert_str_ne(zs_explain(-setup_errors[_i]), "");
	ck_assert_int_eq(dup(STDIN_FILENO), fd);
}
END_TEST

/* The smallest ring is not refused: see is_to_be_shimmed(). */
START_TEST(without_memory_the_ring_is_the_smallest)
{
	struct zs_op op = { .code = ZS_OP_NOP };

	shim.setup_error = ENOMEM;
	open_engine(1, &shim_some_of_all);
	ck_assert_uint_eq(engine->queue_depth, 2);
	ck_assert_int_eq(run(&op), 0);
	close_engine();
}
END_TEST

static Suite *shim_suite(void)
{
	Suite *suite = suite_create("shim");
	TCase *tests = tcase_create("shim");

	tcase_add_loop_test(tests, no_op_is_lost_or_done_twice_by_any_seed, 0,
			    20);
	tcase_add_test(tests, all_that_may_happen_happens);
	tcase_add_test(tests, the_seed_decides);
	tcase_add_test(tests, a_held_op_is_not_done_and_ends_a_wait_when_it_is);
	tcase_add_test(tests, a_wake_ends_a_wait);
	tcase_add_test(tests, cancel_of_a_held_op_comes_too_late);
	tcase_add_test(tests, bytes_after_a_held_cancel_stay);
	tcase_add_test(tests, a_held_op_is_with_the_kernel_before_its_cancel);
	tcase_add_test(tests, late_completions_are_not_believed);
	tcase_add_test(tests, a_small_queue_overflows);
	tcase_add_test(tests, shortened_transfers_lose_nothing);
	tcase_add_test(tests, a_datagram_stays_whole);
	tcase_add_loop_test(tests, a_failed_setup_is_a_clean_error, 0, 2);
	tcase_add_test(tests, without_memory_the_ring_is_the_smallest);
	suite_add_tcase(suite, tests);
	return suite;
}

/* Without TASKRUN_FLAG (5.19) the engine would not ask the shim, which then
 * stays out of the way. */
static bool shim_can_work(void)
{
	if (zs_kernel_probe(&kernel) < 0 ||
	    kernel.verdict != ZS_KERNEL_USABLE || kernel.has_taskrun_flag)
		return true;
	printf("SKIP: no TASKRUN_FLAG here, and so no shim\n");
	return false;
}

int main(void)
{
	return shim_can_work() ? run_suite(shim_suite()) : 0;
}
