/* SPDX-License-Identifier: MIT */
/*
 * Engine: carries out one worker's ops. It knows ops, never tasks: reap()
 * appends finished ops to a list and the worker resumes their owners at its own
 * pace. All calls are the worker's own, on its thread, but for wake(), which is
 * anybody's, and create and destroy, which are the runtime's while no worker
 * runs.
 */
#ifndef ZS_ENGINE_ENGINE_H
#define ZS_ENGINE_ENGINE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/op.h"
#include "engine/probe.h"
#include "zsync/config.h"

struct zs_engine;
struct zs_offload;

/* Counted by the engine on the worker's thread, read by anyone (relaxed). */
struct zs_engine_counters {
	_Atomic uint64_t submitted;    /* ops handed over */
	_Atomic uint64_t completed;    /* ops, once they were reaped */
	_Atomic uint64_t deferred;     /* ops and cancels that found no room */
	_Atomic uint64_t enters;       /* system calls */
	_Atomic uint64_t cq_overflows; /* of these: for lack of room */
	_Atomic uint64_t late;	       /* completions of no op of ours */
	_Atomic uint64_t detached;     /* ops */
};

/* What is left of an op that its task has not waited for. */
struct zs_detached {
	struct zs_detached *next;
	uint64_t user_data;
	/* Worker's thread, when it is done with @result: releases what that
	 * brought, and this. */
	void (*release)(struct zs_detached *detached, int result);
};

struct zs_engine_ops {
	/* The worker's first call, on its thread. 0 or a negative errno. */
	int (*start)(struct zs_engine *engine);
	/* Takes @op until it is on a list of done ones, unless that is not
	 * worth the while: true if it has its result at once, and is on none.
	 * Cannot fail: errors are results. On a ring it may change errno. */
	bool (*submit)(struct zs_engine *engine, struct zs_op *op);
	/* Asks an op that was submitted to end early. It still ends only on a
	 * list of done ones, with whatever the kernel made of it. Does nothing
	 * to one that is done or was asked before. */
	void (*cancel)(struct zs_engine *engine, struct zs_op *op);
	/* The same, and gives @op up, and @detached is the engine's until it
	 * has been released; until then no other op may be at @op's address,
	 * whose completion might be taken for its. False: it cannot be had
	 * now; only cancel() can help. */
	bool (*detach)(struct zs_engine *engine, struct zs_op *op,
		       struct zs_detached *detached);
	/* A task that has not used @fd before is about to: its number may be
	 * another file's by now, and not by a close that was counted. NULL: an
	 * engine that does not mind. */
	void (*renew)(struct zs_engine *engine, int fd);
	/* @fd, which no op here is for any more, is about to be closed on
	 * another worker. NULL: likewise. */
	void (*forget)(struct zs_engine *engine, int fd);
	/* Hands what was submitted to the kernel, without waiting. */
	void (*flush)(struct zs_engine *engine);
	/* Flushes; waits up to @wait_ns (0 or less: not at all, INT64_MAX:
	 * without limit) if nothing is done; appends what is done to @done. May
	 * return early with nothing: a signal, a wake, a kernel without memory
	 * for more requests. */
	void (*reap)(struct zs_engine *engine, struct zs_queue *done,
		     int64_t wait_ns);
	/* Would reap() find something? At most one system call, and a cheap
	 * one. */
	bool (*ready)(struct zs_engine *engine);
	/* Is an op under way, which will be on a list of done ones, or a
	 * detached one, by itself? */
	bool (*has_ops)(struct zs_engine *engine);
	/*
	 * For who waits elsewhere than in reap(). Flushes; returns a
	 * descriptor, always the same, that has become readable since the last
	 * reap() began if the kernel has done something or somebody has called
	 * wake(). May lower *wait_ns, after which reap() has to be called in
	 * any case. A negative errno: it cannot be watched. NULL: an engine
	 * that has no such descriptor.
	 */
	int (*watch)(struct zs_engine *engine, int64_t *wait_ns);
	/* Any thread, from create to destroy. Ends the wait that a reap() is
	 * in, or else the next one; several may end one. */
	void (*wake)(struct zs_engine *engine);
	/* The worker's last call, no op in flight but detached ones: these
	 * are waited for, a while. False if some are left, whose memory the
	 * kernel may still write to. */
	bool (*finish)(struct zs_engine *engine);
	void (*destroy)(struct zs_engine *engine);
};

struct zs_engine {
	const struct zs_engine_ops *ops;
	struct zs_engine_counters counters;
	uint32_t queue_depth; /* as granted */
	/* The last reap has left something for the next one, after the tasks
	 * that it has made ready. */
	bool has_more;
	/* The runtime's: how often each number below num_closes has been closed
	 * by an op, or is about to be. */
	const _Atomic uint32_t *closes;
	uint32_t num_closes;
};

/*
 * Which model to take when @asked for one: a model by name is taken or refused,
 * auto takes green_threads where @kernel is usable, and else thread_pool. 0, or
 * -ENOSYS, -EPERM, -ENOMEM, -EAGAIN with a text for zs_explain(). @reason
 * (@size bytes) says why the one in *chosen was taken. A kernel before 6.11 is
 * usable only if a thread can be started, for which one is.
 */
int zs_engine_choose(enum zs_execution_model asked,
		     const struct zs_kernel *kernel,
		     enum zs_execution_model *chosen, char *reason,
		     size_t size);

/* @kernel and @offload must outlive the engine. 0, or -ENOMEM, -EMFILE, ...
 * with a text. */
int zs_engine_create(struct zs_engine **engine, enum zs_execution_model model,
		     const struct zs_kernel *kernel, struct zs_offload *offload,
		     uint32_t queue_depth);

/* An owner's counter: a plain increment that others may read. */
#define ZS_COUNT(counter, n)                                                  \
	atomic_store_explicit(                                                \
		&(counter),                                                   \
		atomic_load_explicit(&(counter), memory_order_relaxed) + (n), \
		memory_order_relaxed)

#endif
