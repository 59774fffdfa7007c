/* SPDX-License-Identifier: MIT */
/*
 * The reap shim: a seeded layer between the engine and the ring, in every
 * program that is linked with shim.o and its parts. The engine gets a ring of
 * the shim's own, and what passes between it and the kernel's is, by seed:
 *
 *	completions	held for a while, put in another order, found no room
 *			for; or late ones of an earlier use of the op's memory
 *	submissions	held for a while, taken in part, refused
 *	transfers	of streams asked for shorter than the task did
 *	waits		interrupted
 *	setups		refused
 *
 * Only what a kernel may do: an op whose completion is held is not done, its
 * memory is still the kernel's; none is held for longer than hold_most_ns; a
 * completion is never changed, so that no byte is lost; and an op is with the
 * kernel before a cancel of it is.
 *
 * ZSYNC_TEST_SEED=N is the seed; without it the clock's, which is printed. Each
 * ring has decisions of its own, by the order in which they are set up.
 */
#ifndef ZS_TEST_SHIM_H
#define ZS_TEST_SHIM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { SHIM_ALWAYS = 256 };

/* How often, of SHIM_ALWAYS times. A ring has those of its setup. */
struct shim_rates {
	uint32_t hold_completion;
	uint32_t hold_submission;
	int64_t hold_least_ns;
	int64_t hold_most_ns;
	uint32_t shorten;
	uint32_t late;
	uint32_t take_part;
	uint32_t refuse;       /* EAGAIN, EBUSY, ENOMEM of a submit */
	uint32_t interrupt;    /* EINTR of a wait */
	uint32_t small_queue;  /* of completions: 2 or 4 places */
	uint32_t refuse_setup; /* ENOMEM */
};

/* Numbers that publish nothing (relaxed); any thread. */
struct shim_counters {
	_Atomic uint64_t rings;
	_Atomic uint64_t held_completions;
	_Atomic uint64_t held_submissions;
	_Atomic uint64_t overtaken; /* completions, by later ones */
	_Atomic uint64_t shortened;
	_Atomic uint64_t late;
	_Atomic uint64_t taken_in_part;
	_Atomic uint64_t refused;
	_Atomic uint64_t interrupted;
	_Atomic uint64_t overflows;
	_Atomic uint64_t setups_refused;
};

struct shim {
	_Atomic uint64_t seed; /* relaxed: it publishes nothing */
	struct shim_rates rates;
	struct shim_counters counters;
	/* Setups fail with this errno; 0: they do not. */
	int setup_error;
};

/* Changed only while no runtime is there. */
extern struct shim shim;

static const struct shim_rates shim_some_of_all = {
	.hold_completion = 100,
	.hold_submission = 30,
	.hold_most_ns = 200000,
	.shorten = 100,
	.late = 100,
	.take_part = 20,
	.refuse = 10,
	.interrupt = 20,
	.small_queue = 100,
	.refuse_setup = 30,
};

/* Begins anew: the next ring is the first one of @seed. */
void shim_restart(uint64_t seed);
/* Any thread, at any time: what the rings that are there decide from now on is
 * @seed's. Programs that run without the shim, too, link to it weakly. */
void shim_reseed(uint64_t seed);

static inline uint64_t shim_count(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

#endif
