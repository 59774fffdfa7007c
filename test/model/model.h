/* SPDX-License-Identifier: MIT */
/*
 * A model checker of our own: runs small programs over the real code's atomics
 * in every way that C11 allows. For the test programs of this folder; what the
 * real code sees of it is in atomics.h.
 *
 * A case is a few threads, which are coroutines here, on shared state that is
 * made anew for each execution. An execution is a graph: which store each load
 * reads, and in which order each location was modified. Every graph is run
 * once. How they are enumerated is said in explorer.c, which of them C11 allows
 * in memory.c.
 *
 * What it does not do: a load never reads a store that depends on it, through
 * whatever threads (load buffering, which C11 and arm64 allow for relaxed
 * accesses); that it could is a failure. A weak compare-exchange never fails
 * without reason. There are no fences, which the code does not use.
 */
#ifndef ZS_TEST_MODEL_H
#define ZS_TEST_MODEL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Thread 0 is who sets up and checks, alone. */
enum { MODEL_MAX_THREADS = 5 };

struct model_case {
	const char *name; /* a claim */
	/* Makes the state; no other thread runs yet. It must not depend on what
	 * an execution before has left. */
	void (*setup)(void);
	void (*threads[MODEL_MAX_THREADS])(void); /* up to a NULL */
	/* All have ended and been joined. May be NULL. */
	void (*check)(void);
};

struct model_result {
	uint64_t executions; /* whole, each another graph */
	uint64_t redundant;  /* given up: they led to what had been seen */
	bool has_failed;
	char why[256];
};

/* Runs all executions, or those up to the first that fails; the last one's
 * events are then printed if MODEL_TRACE is set in the environment. */
void model_explore(const struct model_case *subject,
		   struct model_result *result);

/* False, and says so, in a build whose sanitizer follows stacks: it knows
 * nothing of the coroutines. */
bool model_is_possible(const char *name);

/* --- for the threads of a case --- */

/* Who runs: 1 for the first. */
int model_thread(void);
/* Ends the execution, and so the exploration. In setup and check it returns. */
void model_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
#define model_assert(condition)                                     \
	do {                                                        \
		if (!(condition))                                   \
			model_fail("%s:%d: %s", __FILE__, __LINE__, \
				   #condition);                     \
	} while (0)

/* An access to memory that is not atomic. Two that are not ordered, and of
 * which one writes, are a data race, which fails. */
void model_read(const void *address);
void model_write(const void *address);

/* Zeroed memory that lasts until the end of the execution. */
void *model_alloc(size_t size);

/* What a thread blocks on in the kernel; zero is unlocked, or not signalled.
 * Its order is that of a lock: the kernel takes some on the way. */
struct model_mutex {
	_Atomic uint32_t word;
};
void model_mutex_lock(struct model_mutex *mutex);
void model_mutex_unlock(struct model_mutex *mutex);
/* An eventfd: a signal is kept until somebody waits. */
struct model_event {
	_Atomic uint32_t word;
};
void model_event_signal(struct model_event *event);
void model_event_wait(struct model_event *event);

/* Wait until a relaxed load of the object would find it so: a loop of looks, of
 * which only the last is of interest. */
void model_await_pointer(void *object); /* not NULL */
void model_await_zero(void *object);	/* an _Atomic uint32_t */

/* The memory is gone: an access to an atomic in it that has not happened before
 * fails, whether it comes later or has come earlier. */
void model_retire(const void *memory, size_t size);

/* --- breaking things on purpose --- */

enum model_op_kind {
	MODEL_INIT,
	MODEL_LOAD,
	MODEL_STORE,
	MODEL_EXCHANGE,
	MODEL_ADD,
	MODEL_SUB,
	MODEL_OR,
	MODEL_CAS,
};

/* A place in the code that accesses an atomic; one for each such place, known
 * from when it first ran. */
struct model_site {
	const char *file;
	int line;
	const char *object; /* as it is written there */
	const char *function;
	struct model_site *next; /* known ones */
	bool is_known;
	enum model_op_kind kind;
	memory_order order;
	/* What it does instead, once it is broken. */
	bool is_weakened;
	memory_order weak_order;
	uint64_t cleared_bits; /* of what it writes */
};

/* All that ran since the program began, in no useful order. */
struct model_site *model_sites(void);
const char *model_order_name(memory_order order);
const char *model_kind_name(enum model_op_kind kind);

#endif
