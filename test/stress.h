/* SPDX-License-Identifier: MIT */
/*
 * For the stress tests: what their tasks (stress.c), the watchdog
 * (stress_watch.c) and the threads around them (test_stress.c, test_crowd.c)
 * have in common. The watchdog is test_cancel_instants.c's, too.
 */
#ifndef ZS_TEST_STRESS_H
#define ZS_TEST_STRESS_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <zsync.h>

#include "base/compiler.h"

/* A dump reads without order what others write, on purpose; a sanitizer that
 * sees the memory of ended tasks as gone complains. */
#if defined(ZS_ASAN) || defined(ZS_TSAN)
enum { STRESS_SANITIZED = 1 };
#else
enum { STRESS_SANITIZED = 0 };
#endif

enum {
	STRESS_DEPTH = 5, /* of the trees */
	STRESS_SLOTS = 64,
	STRESS_ERROR = -EXDEV, /* of some tasks, and of no call here */
};

/* Of one process, which is one Check test. Any thread changes the counters;
 * what they say is acted on after the threads have been joined, or is a hint.
 */
struct stress {
	uint64_t seed;		    /* constant */
	uint32_t num_workers;	    /* constant */
	struct zs_runtime *runtime; /* constant in a round */
	int64_t live_most;	    /* constant: tasks at once */
	_Atomic uint64_t progress;  /* moves unless all are stuck */
	_Atomic uint64_t spawned;   /* with success */
	_Atomic uint64_t ran;
	_Atomic int64_t live;	      /* spawned, and not about to end */
	_Atomic bool is_winding_down; /* nobody spawns any more */
};
extern struct stress stress;

/* Any thread. Says what is wrong, and with which seed, dumps and aborts. */
__attribute__((format(printf, 1, 2), noreturn)) void
stress_fail(const char *format, ...);

/* The watchdog: a thread that fails once stress.progress has not moved for so
 * long, however busy the workers seem. For the rest of the process. */
void stress_watch(int64_t stuck_ns);

/* The clock's, or ZSYNC_TEST_SEED. Printed, once a process tree. */
uint64_t stress_first_seed(const char *test);
/* Of an environment variable; @otherwise if it is not there. */
int stress_number_of(const char *name, int otherwise);
/* Begins with @seed, the reap shim included if there is one. */
void stress_begin(uint64_t seed, uint32_t num_workers);
int stress_nr_descriptors(void);
/* Of a thread that is no worker. */
void stress_pause(long nanoseconds);

/* xorshift64*; *state is never 0. */
static inline uint64_t next_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(2685821657736338717);
}

/* From 0 to @limit - 1. */
static inline uint32_t below(uint64_t *state, uint32_t limit)
{
	return (uint32_t)((next_random(state) >> 32) % limit);
}

/* relaxed, here and below: numbers that publish nothing. */
static inline void note_progress(void)
{
	atomic_fetch_add_explicit(&stress.progress, 1, memory_order_relaxed);
}

static inline bool is_winding_down(void)
{
	return atomic_load_explicit(&stress.is_winding_down,
				    memory_order_relaxed);
}

static inline void set_winding_down(bool is_so)
{
	atomic_store_explicit(&stress.is_winding_down, is_so,
			      memory_order_relaxed);
}

static inline int64_t nr_live(void)
{
	return atomic_load_explicit(&stress.live, memory_order_relaxed);
}

static inline bool may_spawn(void)
{
	return !is_winding_down() && nr_live() < stress.live_most;
}

/* Counted before it is known whether a spawn succeeds, since the task may have
 * ended when the call returns; takes it back if @result is an error. */
void stress_count_spawn(void);
void stress_check_spawned(int result);
/* By each task, first and last. */
void stress_count_run(void);
void stress_count_end(void);

/* Task. One thing at random, in a task of @depth. */
void stress_act(uint64_t *random, int depth);
/* Task. Leaves a handle in a slot. */
void stress_publish(uint64_t *random, struct zs_nursery nursery);

/* Any thread, while may_spawn(): the root of one more tree. */
void stress_spawn_root(uint64_t random);

/* Any thread. By a handle that somebody has left in a slot, open or stale:
 * spawns a subtree of @depth, or cancels what it stands for. */
void stress_spawn_any(uint64_t *random, int depth);
void stress_cancel_any(uint64_t *random);

/* Between two rounds: the handles are void. */
void stress_forget_handles(void);

#endif
