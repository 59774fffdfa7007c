/* SPDX-License-Identifier: MIT */
/*
 * For tests of the offload pool by itself: an engine that is nothing but where
 * operations come back to, and functions for its threads to run.
 */
#ifndef ZS_TEST_OFFLOAD_H
#define ZS_TEST_OFFLOAD_H

#include <check.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/engine.h"
#include "engine/offload.h"

/* Used by one thread, as an engine is by its worker. */
struct test_engine {
	struct zs_engine engine;
	struct zs_returns returns;
	struct zs_queue done;
	sem_t woken;
};

static inline void wake_test_engine(struct zs_engine *engine)
{
	sem_post(&zs_container_of(engine, struct test_engine, engine)->woken);
}

static const struct zs_engine_ops test_engine_ops = {
	.wake = wake_test_engine,
};

static inline void init_engine(struct test_engine *engine,
			       struct zs_offload *pool)
{
	memset(engine, 0, sizeof(*engine));
	engine->engine.ops = &test_engine_ops;
	zs_queue_init(&engine->done);
	ck_assert_int_eq(sem_init(&engine->woken, 0, 0), 0);
	zs_returns_init(&engine->returns, pool, &engine->engine);
}

/* Whatever has come back by now. */
static inline uint32_t collect(struct test_engine *engine)
{
	return zs_returns_collect(&engine->returns, &engine->done);
}

static inline void await_wake(struct test_engine *engine)
{
	while (sem_wait(&engine->woken) < 0)
		;
}

/* The next that is done, however long that takes. */
static inline struct zs_op *next_done(struct test_engine *engine)
{
	struct zs_op *op;

	while (!engine->done.first) {
		await_wake(engine);
		collect(engine);
	}
	op = zs_op_of(zs_queue_pop(&engine->done));
	ck_assert_int_eq(op->state, ZS_OP_DONE);
	return op;
}

static inline struct zs_op call_of(int (*function)(void *), void *arg)
{
	return (struct zs_op){ .code = ZS_OP_CALL,
			       .address = (uint64_t)(uintptr_t)function,
			       .offset = (uint64_t)(uintptr_t)arg };
}

static inline bool submit(struct test_engine *engine, struct zs_op *op,
			  enum zs_lane lane)
{
	if (op->code == ZS_OP_CALL)
		op->length = lane;
	zs_op_renew(op);
	return zs_offload_submit(&engine->returns, op, lane);
}

/* As engines ask for it. */
static inline bool cancel(struct test_engine *engine, struct zs_op *op)
{
	op->cancel_asked = true;
	return zs_offload_cancel(&engine->returns, op);
}

static inline struct zs_offload_counts counts_of(struct zs_offload *pool,
						 enum zs_lane lane)
{
	struct zs_offload_counts counts[ZS_NUM_LANES];

	zs_offload_count(pool, counts);
	return counts[lane];
}

/* What holds the threads that run pass_gate() until it is opened. */
struct gate {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool is_open;
	int num_inside; /* wait for that */
	int num_passed;
	int most_inside;
};

static struct gate gate = { .lock = PTHREAD_MUTEX_INITIALIZER,
			    .changed = PTHREAD_COND_INITIALIZER };

static inline int pass_gate(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&gate.lock);
	gate.num_inside++;
	if (gate.most_inside < gate.num_inside)
		gate.most_inside = gate.num_inside;
	pthread_cond_broadcast(&gate.changed);
	while (!gate.is_open)
		pthread_cond_wait(&gate.changed, &gate.lock);
	gate.num_inside--;
	gate.num_passed++;
	pthread_cond_broadcast(&gate.changed);
	pthread_mutex_unlock(&gate.lock);
	return 7;
}

static inline void await_inside(int number)
{
	pthread_mutex_lock(&gate.lock);
	while (gate.num_inside != number)
		pthread_cond_wait(&gate.changed, &gate.lock);
	pthread_mutex_unlock(&gate.lock);
}

static inline void open_gate(void)
{
	pthread_mutex_lock(&gate.lock);
	gate.is_open = true;
	pthread_cond_broadcast(&gate.changed);
	pthread_mutex_unlock(&gate.lock);
}

/* A pool that has been left behind is reachable from here, for tools that look
 * for leaks. */
static struct zs_offload *pool;
static struct test_engine engine;

/* --- what most tests begin and end with --- */

static inline void open_pool(uint32_t num_threads)
{
	ck_assert_int_eq(zs_offload_create(&pool, num_threads), 0);
	init_engine(&engine, pool);
}

static inline void close_pool(void)
{
	ck_assert_uint_eq(collect(&engine), 0);
	ck_assert_ptr_null(engine.done.first);
	ck_assert_uint_eq(engine.returns.num_detached, 0);
	zs_offload_destroy(pool);
}

static inline void submit_gated(struct zs_op *ops, int number,
				enum zs_lane lane)
{
	int i;

	for (i = 0; i < number; i++) {
		ops[i] = call_of(pass_gate, NULL);
		ck_assert(submit(&engine, &ops[i], lane));
	}
}

static inline void collect_gated(int number)
{
	while (number-- > 0)
		ck_assert_int_eq(next_done(&engine)->result, 7);
}

static inline void expect_counts(enum zs_lane lane, uint32_t num_threads,
				 uint32_t num_idle, uint32_t num_queued,
				 uint64_t num_done)
{
	struct zs_offload_counts counts = counts_of(pool, lane);

	ck_assert_uint_eq(counts.num_threads, num_threads);
	ck_assert_uint_eq(counts.num_idle, num_idle);
	ck_assert_uint_eq(counts.num_queued, num_queued);
	ck_assert_uint_eq(counts.num_done, num_done);
}

static inline int nothing(void *arg)
{
	(void)arg;
	return 0;
}

static inline int run_nothing(enum zs_lane lane)
{
	struct zs_op op = call_of(nothing, NULL);

	ck_assert(submit(&engine, &op, lane));
	ck_assert_ptr_eq(next_done(&engine), &op);
	return op.result;
}

static atomic_int nr_calls;

static inline int count_call(void *arg)
{
	(void)arg;
	return atomic_fetch_add(&nr_calls, 1);
}

/* What a detached job leaves. */
struct release {
	struct zs_detached detached;
	int nr_released;
	int result;
};

static inline void note_release(struct zs_detached *detached, int result)
{
	struct release *release =
		zs_container_of(detached, struct release, detached);

	release->nr_released++;
	release->result = result;
}

static char fifo[64];

static inline void make_fifo(void)
{
	snprintf(fifo, sizeof(fifo), "/tmp/zsync-test-offload-%d",
		 (int)getpid());
	unlink(fifo);
	ck_assert_int_eq(mkfifo(fifo, 0600), 0);
}

static inline struct zs_op open_op(void)
{
	return (struct zs_op){ .code = ZS_OP_OPENAT,
			       .fd = AT_FDCWD,
			       .address = (uint64_t)(uintptr_t)fifo };
}

#endif
