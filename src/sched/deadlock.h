/* SPDX-License-Identifier: MIT */
/*
 * Deadlocks: waits that nothing can end. Looked for by the worker's loop before
 * it sleeps, and nowhere else, so that what runs pays nothing for it.
 */
#ifndef ZS_SCHED_DEADLOCK_H
#define ZS_SCHED_DEADLOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/mailbox.h"

struct zs_runtime;
struct zs_task;
struct zs_worker;

/* One a runtime. Zeroed at first. */
struct zs_deadlock {
	/* Who has set it may use what follows, until it clears it. */
	_Atomic bool is_looking;
	/* Threads in a stop that has no deadline: they do nothing else. */
	_Atomic uint32_t num_stoppers;
	/* Any worker reads it: when a wait was ended last. */
	_Atomic int64_t ended_ns;
	int64_t reported_ns; /* when all tasks were shown last */
	/* To the worker of the task whose wait is to end, if that is not the
	 * one that looks. Not under way while every mailbox is empty. */
	struct zs_message message;
	struct zs_task *victim;
};

/* What a worker keeps of its looks. Its own, but for quiet_turn. */
struct zs_deadlock_watch {
	/* The turn after which it went to sleep with nothing to wait for but
	 * other threads; 0 while it is awake, or waits for more. */
	_Atomic uint64_t quiet_turn;
	uint64_t seen; /* of all, when all were quiet: see sum_of_activity() */
	int64_t seen_ns;
	int64_t look_ns; /* not to look before */
	int64_t pause_ns;
};

/* The worker's thread, which is about to sleep for up to @wait_ns. For how long
 * it may: 0 if it was the last, and a wait has been ended. */
int64_t zs_deadlock_look(struct zs_worker *worker, int64_t wait_ns);
/* The worker's thread: it has slept. */
void zs_deadlock_wake(struct zs_worker *worker);
/* A message, on the worker of the task whose wait is to end. */
void zs_deadlock_handle(struct zs_runtime *runtime);

/* Any thread. How many threads this process has, without those that are the
 * kernel's (of io_uring); a negative errno where /proc does not tell. */
int zs_census(void);

#endif
