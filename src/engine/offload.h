/* SPDX-License-Identifier: MIT */
/*
 * Offload: threads for the operations that can only be carried out by a call
 * that waits. One pool a runtime, made by it and used by its engines, each on
 * its worker's thread; what is done comes back by a mailbox of the engine's.
 *
 * Each kind of waiting has a lane of its own, so that none keeps another one's
 * operations from starting. A lane's threads are made when they are wanted, up
 * to its bound, and end when they have been idle for ten seconds; but those
 * that have started a process, not before the pool.
 *
 * A thread works on a copy of the operation, which its owner may therefore give
 * up.
 */
#ifndef ZS_ENGINE_OFFLOAD_H
#define ZS_ENGINE_OFFLOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/mailbox.h"
#include "base/queue.h"
#include "engine/op.h"

struct zs_detached;
struct zs_engine;
struct zs_offload;

enum zs_lane {
	ZS_LANE_FILES,	 /* for a device, or a file's server */
	ZS_LANE_NAMES,	 /* for name servers */
	ZS_LANE_WAITING, /* for somebody, perhaps for ever; interruptible */
	ZS_LANE_JOBS,	 /* whatever the program's functions do */
	ZS_NUM_LANES
};

enum { ZS_LANE_WAITING_MOST = 4096 }; /* threads */

/* An engine's, where its operations come back to. */
struct zs_returns {
	struct zs_offload *offload;
	struct zs_engine *engine; /* woken by it */
	struct zs_mailbox mailbox;
	uint32_t num_detached;
};

/* Of one lane. */
struct zs_offload_counts {
	uint32_t num_threads;
	uint32_t num_idle;
	uint32_t num_queued;
	uint64_t num_done;
};

/* @num_threads bounds the lane of files, and that of jobs. No thread is made
 * yet. 0 or a negative errno, with a text. */
int zs_offload_create(struct zs_offload **offload, uint32_t num_threads);
/* No engine uses it any more. Waits for its threads; those that the kernel
 * holds, and what they use, are left behind after a while. */
void zs_offload_destroy(struct zs_offload *offload);
/* Any thread, also in a signal handler: takes no lock, so that each is a recent
 * value, but not of a common instant. */
void zs_offload_count(const struct zs_offload *offload,
		      struct zs_offload_counts counts[ZS_NUM_LANES]);

void zs_returns_init(struct zs_returns *returns, struct zs_offload *offload,
		     struct zs_engine *engine);

/* All below on the engine's thread. Takes @op, in state ZS_OP_OFFLOADED, until
 * zs_returns_collect() has it. False: there is no thread for it, nor can one be
 * made; or no memory. On the lane for waiting, where threads may be busy for
 * ever, it needs one that is idle. */
bool zs_offload_submit(struct zs_returns *returns, struct zs_op *op,
		       enum zs_lane lane);
/* True: @op had not begun and is the caller's again. False: it will return, by
 * zs_returns_collect(); soon if it is on the lane for waiting. */
bool zs_offload_cancel(struct zs_returns *returns, struct zs_op *op);
/* @op has begun, as the caller has found by zs_offload_cancel(). It is the
 * caller's again; @detached gets its result. */
void zs_offload_detach(struct zs_returns *returns, struct zs_op *op,
		       struct zs_detached *detached);
/* Appends what is done, with its result. How many these are. */
uint32_t zs_returns_collect(struct zs_returns *returns, struct zs_queue *done);
/* The engine ends. Detached operations that have not returned never will. */
void zs_returns_abandon(struct zs_returns *returns);

/* May a thread of the pool carry @op out, and is that worth it? */
static inline bool zs_op_is_for_pool(const struct zs_op *op)
{
	const struct zs_op_type *type = &zs_op_types[op->code];

	return type->way == ZS_WAY_WAITING ||
	       (type->way == ZS_WAY_OFFLOADED &&
		!(type->is_quick && type->is_quick(op)));
}

/* Whose threads begin with it. */
static inline enum zs_lane zs_op_lane(const struct zs_op *op)
{
	if (op->code == ZS_OP_CALL)
		return (enum zs_lane)op->length;
	return zs_op_types[op->code].way == ZS_WAY_WAITING ? ZS_LANE_WAITING :
							     ZS_LANE_FILES;
}

static inline bool zs_returns_is_empty(const struct zs_returns *returns)
{
	/* relaxed: what is missed is found by the next look, which the wake
	 * after the post brings about. */
	return !atomic_load_explicit(&returns->mailbox.top,
				     memory_order_relaxed);
}

#endif
