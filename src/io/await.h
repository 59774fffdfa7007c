/* SPDX-License-Identifier: MIT */
/*
 * Await: the one place where an operation is submitted and parked on. Called by
 * everything in this room, from a task.
 */
#ifndef ZS_IO_AWAIT_H
#define ZS_IO_AWAIT_H

#include <assert.h>
#include <stdalign.h>
#include <stdbool.h>

#include "base/compiler.h"
#include "engine/abi.h"
#include "engine/engine.h"
#include "engine/op.h"
#include "engine/submit.h"
#include "sched/fds.h"
#include "sched/scope.h"
#include "sched/task.h"
#include "sched/worker.h"

struct zs_detachable;

/* What a detached operation leaves to the runtime, from its worker's slab. The
 * op itself is here, and not on its task's stack, because what the kernel knows
 * it by is made of its address: no later op may be there before the kernel has
 * done with this one. */
struct zs_request {
	struct zs_detached detached;
	struct zs_slab *slab;
	struct zs_detachable *waiter; /* on its task's stack */
	bool opens;		      /* its result is a descriptor */
	int fd;			      /* closed with this; -1: none */
	void *memory;		      /* from malloc(), freed with this */
	struct zs_op op;
	alignas(8) unsigned char status[ZS_STATX_SIZE];
};
static_assert(sizeof(struct zs_request) <= ZS_REQUEST_SIZE,
	      "worker.h sizes the slab");

/* Task. NULL if there is no memory. */
struct zs_request *zs_request_get(struct zs_worker *worker);
void zs_request_put(struct zs_request *request);

/* Task (-EPERM outside one). Carries @op out, which the caller has filled and
 * perhaps used before, and returns its result. In a cancelled scope it is not
 * even begun: -ECANCELED or -ETIMEDOUT. Cancelled while it waits, it returns
 * when the kernel has let go of its memory: with the result if it got that far,
 * else with one of these. errno stays as it was. */
int zs_await(struct zs_op *op);

/* An op that its task need not see to its end. */
struct zs_detachable {
	struct zs_op op;
	/* The caller's, for other memory that the op names, to be released with
	 * it; NULL: there is none. */
	struct zs_request *request;
	bool opens;	  /* its result is a descriptor */
	bool is_detached; /* afterwards: it was given up, with its request */
};

/* As zs_await(), but when it is cancelled it returns at once, if need be before
 * the kernel has done with it; what that brings is released when it comes. */
int zs_await_detachable(struct zs_detachable *detachable);

/*
 * Around an op that names @fd besides its own descriptor, which may be AT_FDCWD
 * or none: a close of @fd finds the running task, too, and so ends the op. A
 * negative errno (-EPERM outside a task, -EBADF), or what zs_await_let_go()
 * takes beside the op's result, which it returns.
 */
int zs_await_keep(int fd);
int zs_await_let_go(int kept, int result);

/* What a failed op is to the running task: that depends on why it was
 * cancelled. */
int zs_await_error(int result);

/* Has @op's -EAGAIN nothing to do with its descriptor? Then another try would
 * end like this one. */
static inline bool zs_await_had_no_thread(const struct zs_op *op)
{
	return op->result == ZS_OP_NO_THREAD;
}

extern ZS_HIDDEN const struct zs_wait_type zs_await_cancellable;

/* @asked: see zs_engine_submit(). */
static ZS_ALWAYS_INLINE int zs_await_submit(struct zs_worker *worker,
					    struct zs_op *op,
					    const struct zs_op *asked,
					    const struct zs_wait_type *type)
{
	op->link.item = worker->current;
	if (!zs_engine_submit(worker->engine, op, asked))
		zs_task_park(type, op);
	return op->result;
}

/* May the running task, if there is one on @worker, begin an operation on @fd,
 * and need nothing be done before? */
static ZS_ALWAYS_INLINE bool zs_await_is_free(const struct zs_worker *worker,
					      int fd)
{
	const struct zs_task *task = worker->current;

	return zs_likely(task && task->is_linked &&
			 zs_fds_is_user(worker, task, fd) &&
			 zs_scope_error(task->scope) == 0);
}

/* zs_await() of an op that has not been used before, for what is called so
 * often that a call counts: before the submission it makes none. */
static ZS_ALWAYS_INLINE int zs_await_inline(struct zs_op *op,
					    const struct zs_op *asked)
{
	struct zs_worker *worker = zs_worker_self;
	int ret;

	if (zs_unlikely(!worker || !zs_await_is_free(worker, asked->fd)))
		return zs_await(op);
	ret = zs_await_submit(worker, op, asked, &zs_await_cancellable);
	return zs_likely(ret >= 0) ? ret : zs_await_error(ret);
}

/* The same for who knows that @worker, the running one, has a ring. */
static ZS_ALWAYS_INLINE int zs_await_on_ring(struct zs_worker *worker,
					     struct zs_op *op,
					     const struct zs_op *asked)
{
	if (zs_unlikely(!zs_await_is_free(worker, asked->fd)))
		return zs_await(op);
	op->link.item = worker->current;
	if (!zs_engine_submit_to_ring(worker->engine, op, asked))
		zs_task_park(&zs_await_cancellable, op);
	return zs_likely(op->result >= 0) ? op->result :
					    zs_await_error(op->result);
}

/* zs_await(), deaf to cancellation. For what releases something. */
int zs_await_shielded(struct zs_op *op);

#endif
