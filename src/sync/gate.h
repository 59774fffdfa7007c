/* SPDX-License-Identifier: MIT */
/*
 * Gates: a lock, a number, and who waits. What each of the primitives of
 * zsync/sync.h begins with, whose fields it guards; used by their calls, on any
 * thread.
 *
 * A primitive is its user's memory, and may be gone as soon as the gate has
 * been left by who lets the others go: from then on only waiters are touched.
 */
#ifndef ZS_SYNC_GATE_H
#define ZS_SYNC_GATE_H

#include <assert.h>
#include <stddef.h>

#include "sync/lock.h"
#include "sync/wait.h"
#include "zsync/sync.h"

/* The public header has no names for these, and C++ no _Atomic. */
static_assert(sizeof(struct zs_waiters) == offsetof(struct zs_gate, lock) &&
		      offsetof(struct zs_waiters, last) ==
			      offsetof(struct zs_gate, last),
	      "a queue of waiters");
static_assert(sizeof(struct zs_lock) == sizeof(uint32_t), "a lock");

static ZS_ALWAYS_INLINE struct zs_waiters *zs_gate_waiters(struct zs_gate *gate)
{
	return (struct zs_waiters *)&gate->first;
}

static ZS_ALWAYS_INLINE bool zs_gate_is_clear(const struct zs_gate *gate)
{
	return !gate->first;
}

static ZS_ALWAYS_INLINE void zs_gate_enter(struct zs_gate *gate)
{
	zs_lock_take((struct zs_lock *)&gate->lock);
}

static ZS_ALWAYS_INLINE void zs_gate_leave(struct zs_gate *gate)
{
	zs_lock_release((struct zs_lock *)&gate->lock);
}

/* For calls that may wait, first of all: as zs_wait_check(). Who never has to
 * wait lets others run even so, now and then, and does it while it holds
 * nothing yet. */
int zs_gate_check(struct zs_worker *worker);

/* Of a wait that is over; returns @result. */
int zs_gate_explain(int result);

/* The gate has been entered, and is left; *waiter waits at its end. Its result.
 */
int zs_gate_wait(struct zs_gate *gate, struct zs_waiter *waiter,
		 const struct zs_wait_type *type);

/* Leaves the gate and wakes. */
void zs_gate_leave_and_wake(struct zs_gate *gate, const struct zs_wakes *wakes);

/* What @task, which is parked, waits as. */
static inline struct zs_waiter *zs_gate_waiter(const struct zs_task *task)
{
	/* On its own stack; const only for those who look on. */
	return (struct zs_waiter *)(uintptr_t)task->waits_on;
}

/* The cancel of a wait type with which nobody else is concerned. */
void zs_gate_cancel(struct zs_task *task);

/* Adds @what and where it is: for a wait type. */
void zs_gate_describe(const void *waits_on, struct zs_text *text,
		      const char *what);

/* Who calls, the task or the thread: never 0, and its lowest bit is not set. */
uintptr_t zs_gate_thread(void);
static ZS_ALWAYS_INLINE uintptr_t zs_gate_caller(const struct zs_worker *worker)
{
	if (zs_likely(worker && worker->current))
		return (uintptr_t)worker->current;
	return zs_gate_thread();
}

#endif
