/* SPDX-License-Identifier: MIT */
/*
 * Ring: the memory that one io_uring shares with the kernel, and the only place
 * that touches it. Used by the engine uring, on one thread.
 *
 * Who orders what, without SQPOLL (which we do not use): the kernel reads the
 * submission queue only inside our own io_uring_enter(), so program order is
 * enough there and every access is relaxed. It writes the completion queue from
 * wherever a completion happens, unless DEFER_TASKRUN confines that to our
 * enter: so the tail is loaded with acquire, which pairs with the kernel's
 * release of it, and the head is stored with release, which pairs with the
 * kernel's load of it before it reuses an entry: we have copied that by then.
 */
#ifndef ZS_ENGINE_RING_H
#define ZS_ENGINE_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "engine/abi.h"
#include "engine/probe.h"

struct zs_ring {
	/* Submission queue. tail is ours; what lies between submitted and tail
	 * has been filled and not yet consumed by an enter. */
	struct zs_sqe *sqes;
	_Atomic uint32_t *sq_tail;
	_Atomic uint32_t *sq_flags;
	uint32_t tail;
	uint32_t submitted;
	uint32_t sq_mask;
	uint32_t sq_entries;
	/* Completion queue. */
	struct zs_cqe *cqes;
	_Atomic uint32_t *cq_head;
	_Atomic uint32_t *cq_tail;
	uint32_t cq_mask;

	int fd;
	int enter_fd;	      /* fd, or its index once it is registered */
	uint32_t enter_flags; /* on every enter */
	uint32_t setup_flags; /* as accepted; for tests */
	bool is_watched;      /* by a tool of Valgrind */
	void *queues;
	size_t queues_size;
	size_t sqes_size;
};

/*
 * Any thread. Sets a ring up, disabled, with a completion queue four times the
 * @entries, using what @kernel has. ENOMEM (locked memory that earlier rings
 * held is given back late) is retried, then the entries are halved, down to 2.
 * 0, or a negative errno with a text for zs_explain().
 */
int zs_ring_create(struct zs_ring *ring, const struct zs_kernel *kernel,
		   uint32_t entries);
/* The thread that will use it, first. It becomes the ring's only issuer. 0, or
 * a negative errno with a text. */
int zs_ring_enable(struct zs_ring *ring, const struct zs_kernel *kernel);
/* Makes a call that registers something with the ring and may take a while: no
 * signal cuts it short. As zs_uring_register(). */
int zs_ring_register(const struct zs_ring *ring, uint32_t opcode, void *arg,
		     uint32_t nr_args);
/* That thread, last. Nothing may be in flight. */
void zs_ring_disable(struct zs_ring *ring);
/* Any thread. Unmapping comes before close: a mapping pins the ring, and with
 * it the sockets of what was armed on it. */
void zs_ring_destroy(struct zs_ring *ring);

/*
 * The three ways into the kernel. One that was interrupted or timed out is an
 * ordinary one. What makes the ring unusable, while tasks wait on it, ends the
 * process.
 *
 * Without SUBMIT_ALL the kernel stops after an entry that it finds bad; the
 * rest stays queued, and nothing was waited for.
 */

/* Hands the queue over. False if that made no room: the kernel has no memory
 * for requests, or wants its completions reaped first. */
bool zs_ring_submit(struct zs_ring *ring);
/* Hands the queue over, if there is one, collects completions and waits up to
 * @wait_ns for one (0 or less: not at all, INT64_MAX: without limit). False,
 * for the same reasons, if it has done nothing of that. */
bool zs_ring_submit_and_wait(struct zs_ring *ring, int64_t wait_ns);
/* The same without handing anything over, which nothing can keep from
 * happening. */
void zs_ring_wait(struct zs_ring *ring, int64_t wait_ns);

static ZS_ALWAYS_INLINE uint32_t zs_ring_pending(const struct zs_ring *ring)
{
	return ring->tail - ring->submitted;
}

static ZS_ALWAYS_INLINE bool zs_ring_is_full(const struct zs_ring *ring)
{
	return zs_ring_pending(ring) == ring->sq_entries;
}

/* The queue must not be full. The entry's fields hold what its last use left;
 * those that no operation of ours sets are zero. */
static ZS_ALWAYS_INLINE struct zs_sqe *zs_ring_next_sqe(struct zs_ring *ring)
{
	return &ring->sqes[ring->tail++ & ring->sq_mask];
}

/* The last entry, which the kernel has not taken, is free again. */
static inline void zs_ring_take_back(struct zs_ring *ring)
{
	ring->tail--;
}

/* relaxed: our own variable. */
static ZS_ALWAYS_INLINE uint32_t zs_ring_cq_head(const struct zs_ring *ring)
{
	return atomic_load_explicit(ring->cq_head, memory_order_relaxed);
}

/* acquire: see the top. */
static ZS_ALWAYS_INLINE uint32_t zs_ring_cq_tail(const struct zs_ring *ring)
{
	return atomic_load_explicit(ring->cq_tail, memory_order_acquire);
}

static ZS_ALWAYS_INLINE const struct zs_cqe *
zs_ring_cqe(const struct zs_ring *ring, uint32_t index)
{
	return &ring->cqes[index & ring->cq_mask];
}

/* release: see the top. */
static ZS_ALWAYS_INLINE void zs_ring_cq_advance(struct zs_ring *ring,
						uint32_t head)
{
	atomic_store_explicit(ring->cq_head, head, memory_order_release);
}

/* Does the kernel keep completions that the queue had no room for?
 * relaxed: it only says that an enter is worth while, which makes its own
 * order; one that is missed is found by the next look. */
static ZS_ALWAYS_INLINE bool zs_ring_has_overflowed(const struct zs_ring *ring)
{
	return atomic_load_explicit(ring->sq_flags, memory_order_relaxed) &
	       ZS_URING_SQ_CQ_OVERFLOW;
}

/* Has the kernel completions for us that only an enter would post? relaxed:
 * as above. */
static ZS_ALWAYS_INLINE bool zs_ring_needs_enter(const struct zs_ring *ring)
{
	return atomic_load_explicit(ring->sq_flags, memory_order_relaxed) &
	       (ZS_URING_SQ_CQ_OVERFLOW | ZS_URING_SQ_TASKRUN);
}

#endif
