/* SPDX-License-Identifier: MIT */
/* One engine over io_uring and what it is done with, for tests of it. */
#ifndef ZS_TEST_URING_ENGINE_H
#define ZS_TEST_URING_ENGINE_H

#include <sys/socket.h>

#include "base/clock.h"
#include "engine/engine.h"
#include "pool.h"
#include "uring.h"

static struct zs_kernel kernel;
static struct zs_engine *engine;
static struct zs_queue done;

/* Not started yet. False, and a line, where none is to be had. */
static inline bool make_engine(const char *test, uint32_t depth)
{
	if (!probe_or_skip(test, &kernel))
		return false;
	ck_assert_int_eq(zs_engine_create(&engine, ZS_MODEL_GREEN_THREADS,
					  &kernel, test_pool(), depth),
			 0);
	ck_assert_uint_eq(engine->queue_depth, depth);
	zs_queue_init(&done);
	return true;
}

static inline bool open_engine(const char *test, uint32_t depth)
{
	if (!make_engine(test, depth))
		return false;
	ck_assert_int_eq(engine->ops->start(engine), 0);
	return true;
}

static inline uint64_t counter(const _Atomic uint64_t *value)
{
	return atomic_load_explicit(value, memory_order_relaxed);
}

/* Nothing may be in flight. */
static inline void close_engine(void)
{
	ck_assert_ptr_null(done.first);
	ck_assert_uint_eq(counter(&engine->counters.submitted),
			  counter(&engine->counters.completed));
	engine->ops->finish(engine);
	engine->ops->destroy(engine);
}

static inline void submit(struct zs_op *op)
{
	zs_op_renew(op);
	engine->ops->submit(engine, op);
}

static inline void cancel(struct zs_op *op)
{
	engine->ops->cancel(engine, op);
}

/* The next that is done, however long that takes. */
static inline struct zs_op *reap_one(void)
{
	struct zs_op *op;

	while (!done.first)
		engine->ops->reap(engine, &done, INT64_MAX);
	op = zs_op_of(zs_queue_pop(&done));
	ck_assert_int_eq(op->state, ZS_OP_DONE);
	return op;
}

/* Alone, to its end. */
static inline int run(struct zs_op *op)
{
	submit(op);
	ck_assert_ptr_eq(reap_one(), op);
	return op->result;
}

/* How many are on the list, which is empty then. */
static inline int count_done(void)
{
	int nr = 0;

	while (zs_queue_pop(&done))
		nr++;
	return nr;
}

/* How long a wait for nothing takes. */
static inline int64_t wait_of(int64_t wait_ns)
{
	int64_t start = zs_clock_ns();

	engine->ops->reap(engine, &done, wait_ns);
	return zs_clock_ns() - start;
}

static inline void submit_nops(struct zs_op *ops, int nr)
{
	int i;

	for (i = 0; i < nr; i++) {
		ops[i] = (struct zs_op){ .code = ZS_OP_NOP };
		submit(&ops[i]);
	}
}

/* All the next that are done are NOPs. */
static inline void reap_nops(int nr)
{
	while (nr-- > 0) {
		struct zs_op *op = reap_one();

		ck_assert_int_eq(op->code, ZS_OP_NOP);
		ck_assert_int_eq(op->result, 0);
	}
}

static inline uint64_t address_of(const void *memory)
{
	return (uint64_t)(uintptr_t)memory;
}

static inline struct zs_op recv_op(int fd, void *buffer, uint32_t length)
{
	return (struct zs_op){ .code = ZS_OP_RECV,
			       .fd = fd,
			       .address = address_of(buffer),
			       .length = length };
}

static inline void make_pair(int fds[2])
{
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
}

/* The number that the next descriptor gets: the same again if none leaked. */
static inline int next_fd(void)
{
	int fd = dup(STDIN_FILENO);

	ck_assert_int_ge(fd, 0);
	close(fd);
	return fd;
}

#endif
