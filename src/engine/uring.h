/* SPDX-License-Identifier: MIT */
/*
 * The engine over io_uring: what engine.c makes, and what a submission takes,
 * inlined into its callers by submit.h. The rest is in uring.c.
 */
#ifndef ZS_ENGINE_URING_H
#define ZS_ENGINE_URING_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/compiler.h"
#include "base/probes.h"
#include "base/queue.h"
#include "engine/engine.h"
#include "engine/offload.h"
#include "engine/ring.h"

int zs_uring_create(struct zs_engine **engine, const struct zs_kernel *kernel,
		    struct zs_offload *offload, uint32_t queue_depth);
void zs_uring_destroy(struct zs_engine *engine);

extern ZS_HIDDEN const struct zs_engine_ops zs_uring_ops;

enum { ZS_URING_ADDRESS_SHIFT = 4, ZS_URING_ADDRESS_BITS = 44 };
static_assert(ZS_OP_ALIGNMENT == 1 << ZS_URING_ADDRESS_SHIFT, "");
#define ZS_URING_ADDRESS_MASK ((UINT64_C(1) << ZS_URING_ADDRESS_BITS) - 1)

/* user_data of what nobody waits for; no op is at such an address. */
#define ZS_URING_NOTHING UINT64_C(0)

/* How the entry of an op starts: as struct zs_sqe does. */
struct zs_sqe_start {
	uint8_t opcode;
	uint8_t flags;
	uint16_t ioprio;
	/* Of how many entries the queue may be full: of all, or none where the
	 * kernel has no such operation or its entry is not like the op. */
	uint32_t room;
};

enum { ZS_SQE_START_SIZE = offsetof(struct zs_sqe_start, room) };
static_assert(ZS_SQE_START_SIZE == offsetof(struct zs_sqe, fd), "");

struct zs_uring {
	struct zs_engine engine;
	struct zs_ring ring;
	const struct zs_kernel *kernel;
	struct zs_sqe_start starts[ZS_NUM_OPS];
	/* The ring's tail as of the last count of ops submitted, and how many
	 * entries since then are no op's. */
	uint32_t counted_tail;
	uint32_t nr_own;
	uint8_t cancel_sqe_flags;
	bool is_watched; /* by memcheck */
	/* The read of wake_fd is in flight, or queued. */
	bool wake_armed;
	/* Woken outside a wait: the next one does not begin. */
	bool was_woken;
	bool is_polling; /* the reap under way was not to wait */
	/* An enter has found nothing behind TASKRUN: see uring_ready(). */
	bool is_flag_stale;
	bool is_finishing;
	/* The kernel may miss what a cancel is for: see is_elusive(). */
	bool loses_cancels;
	/* Somebody else waits, for wake_fd, which no read is armed for. */
	bool is_embedded;
	/* Ops and cancels that found the queue full and the kernel unwilling to
	 * empty it. Every reap and flush tries again. */
	struct zs_queue deferred;
	struct zs_queue cancels;
	/* Ops whose cancel is sent again until they end: see is_elusive(). */
	struct zs_queue elusive;
	int64_t chase_ns; /* when the next time */
	int64_t chase_pause_ns;
	struct zs_detached *detached;
	/* Done without the kernel, for the next reap. */
	struct zs_queue done;
	/* From the pool, which has what the ring cannot do. */
	struct zs_returns returns;
	int wake_fd; /* eventfd; anyone writes */
	uint64_t wake_count;
};

/* Are there cancels that may have to be sent again? */
static ZS_ALWAYS_INLINE bool zs_uring_is_chasing(const struct zs_uring *uring)
{
	return uring->elusive.first ||
	       (zs_unlikely(uring->detached != NULL) && uring->loses_cancels);
}

/* uring_chase.c. Asks for the end of what has the user_data @target. False:
 * there is no room. */
bool zs_uring_queue_cancel(struct zs_uring *uring, uint64_t target);
/* @op is with the kernel, and so is its cancel. */
void zs_uring_note_cancelled(struct zs_uring *uring, struct zs_op *op);
/* There is something new among what is_chasing() looks at. */
void zs_uring_start_chase(struct zs_uring *uring);
/* In each reap while there is: how long that may wait, of @wait_ns. */
int64_t zs_uring_chase(struct zs_uring *uring, int64_t wait_ns);

/* uring_watch.c. The engine's watch(). */
int zs_uring_watch(struct zs_engine *engine, int64_t *wait_ns);
/* The engine's has_ops(). */
bool zs_uring_has_ops(struct zs_engine *engine);
/* The engine's wake(). */
void zs_uring_wake(struct zs_engine *engine);
/* Before a reap: its descriptor is readable again for what comes from now. */
void zs_uring_forget_signals(struct zs_uring *uring);

/* What the kernel is to know @op by, whose entry is the next. */
static ZS_ALWAYS_INLINE uint64_t
zs_uring_user_data(const struct zs_uring *uring, const struct zs_op *op)
{
	return (uint64_t)(uintptr_t)op >> ZS_URING_ADDRESS_SHIFT |
	       (uint64_t)uring->ring.tail << ZS_URING_ADDRESS_BITS;
}

/* Puts @op, which asks for what @asked does, on the ring's queue. False if that
 * is full, or if the operation is none that can be put there like that. */
static ZS_ALWAYS_INLINE bool zs_uring_queue(struct zs_uring *uring,
					    struct zs_op *op,
					    const struct zs_op *asked)
{
	const struct zs_sqe_start *start = &uring->starts[asked->code];
	uint64_t user_data;
	struct zs_sqe *sqe;

	if (zs_unlikely(zs_ring_pending(&uring->ring) >= start->room))
		return false;
	ZS_PROBE_SUBMIT_VALUES(op, asked->code, asked->fd);
	user_data = zs_uring_user_data(uring, op);
	sqe = zs_ring_next_sqe(&uring->ring);
	op->user_data = user_data;
	memcpy(sqe, start, ZS_SQE_START_SIZE);
	sqe->fd = asked->fd;
	sqe->offset = asked->offset;
	sqe->addr = asked->address;
	sqe->length = asked->length;
	sqe->op_flags = asked->flags;
	sqe->user_data = user_data;
	return true;
}

#endif
