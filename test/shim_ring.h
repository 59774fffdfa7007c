/* SPDX-License-Identifier: MIT */
/*
 * For the reap shim: a ring as its two sides share it, and what a shimmed ring
 * is made of. Called by shim.c: setting up and closing from any thread, the
 * rest from the ring's one issuer.
 */
#ifndef ZS_TEST_SHIM_RING_H
#define ZS_TEST_SHIM_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/abi.h"
#include "shim.h"

/* The memory of a ring, mapped. */
struct shim_view {
	int fd;
	void *queues;
	size_t queues_size;
	struct zs_sqe *sqes;
	size_t sqes_size;
	uint32_t sq_mask;
	uint32_t cq_entries;
	_Atomic uint32_t *sq_head;
	_Atomic uint32_t *sq_tail;
	_Atomic uint32_t *sq_flags;
	_Atomic uint32_t *cq_head;
	_Atomic uint32_t *cq_tail;
	struct zs_cqe *cqes;
};

/* A completion on its way, and when it is to arrive. Those of one moment come
 * in the order of @order. */
struct shim_completion {
	int64_t due_ns;
	uint64_t order;
	uint64_t arrival;
	struct zs_cqe cqe;
};

struct shim_submission {
	int64_t due_ns;
	struct zs_sqe sqe;
};

enum { SHIM_SUBMISSIONS = 256, SHIM_HISTORY = 256 };

struct shim_ring {
	struct shim_view above; /* the engine's; its descriptor is a memfd */
	struct shim_view below; /* the kernel's */
	uint32_t below_tail;
	uint32_t below_submitted;
	struct shim_rates rates;
	uint64_t random;
	uint64_t seed;	       /* that random is of */
	uint64_t number;       /* of all rings */
	uint32_t num_refusals; /* still to come */
	/* First in, first out: a held one holds those behind it. */
	struct shim_submission submissions[SHIM_SUBMISSIONS];
	uint32_t submissions_head;
	uint32_t submissions_tail;
	/* A heap, the first to arrive at its root. */
	struct shim_completion *completions;
	size_t num_completions;
	size_t completions_size;
	uint64_t arrivals;
	uint64_t last_arrival; /* of those that were passed on */
	/* By a hash of the address: the last user_data that completed. */
	uint64_t history[SHIM_HISTORY];
};

/* NULL and errno. @params as the kernel filled them in for @kernel_fd, which is
 * the ring's then; they are changed to describe the engine's side. */
struct shim_ring *shim_ring_create(int kernel_fd,
				   struct zs_uring_params *params,
				   uint32_t cq_entries);
/* All but the engine's descriptor. */
void shim_ring_destroy(struct shim_ring *ring);

void shim_completion_add(struct shim_ring *ring,
			 const struct shim_completion *completion);
/* There must be one. */
struct shim_completion shim_completion_take(struct shim_ring *ring);

/* Nobody else writes while the issuer is here: relaxed loads of its own words;
 * acquire and release towards the kernel, as in src/engine/ring.h. */
static inline uint32_t shim_load(const _Atomic uint32_t *word)
{
	return atomic_load_explicit(word, memory_order_acquire);
}

static inline void shim_store(_Atomic uint32_t *word, uint32_t value)
{
	atomic_store_explicit(word, value, memory_order_release);
}

/* --- chance --- */

static inline uint64_t shim_mix(uint64_t seed)
{
	seed = (seed ^ seed >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	seed = (seed ^ seed >> 27) * UINT64_C(0x94d049bb133111eb);
	return seed ^ seed >> 31;
}

static inline uint64_t shim_random(uint64_t *state)
{
	*state += UINT64_C(0x9e3779b97f4a7c15);
	return shim_mix(*state);
}

static inline uint32_t shim_below(uint64_t *state, uint64_t limit)
{
	return limit ? (uint32_t)(shim_random(state) % limit) : 0;
}

static inline bool shim_happens(uint64_t *state, uint32_t rate)
{
	return rate > 0 && shim_below(state, SHIM_ALWAYS) < rate;
}

/* relaxed: see struct shim_counters. */
static inline void shim_add(_Atomic uint64_t *counter, uint64_t number)
{
	atomic_fetch_add_explicit(counter, number, memory_order_relaxed);
}

/* What a call of the engine is, and what it is answered by. */
struct shim_call {
	struct shim_ring *ring;
	uint32_t to_submit;
	uint32_t flags;
	bool may_wait;
	const void *arg; /* as the kernel's */
	int64_t end_ns;	 /* of the wait; set within */
};

/* As io_uring_enter(2), errno included. */
long shim_enter(struct shim_call *call);

/* The system call itself; set before the first ring. */
long __real_syscall(long number, ...);

#endif
