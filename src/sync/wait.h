/* SPDX-License-Identifier: MIT */
/*
 * Waiting: who waits for another task or thread, first in, first out. The base
 * of everything in this room: a primitive keeps one or more of these queues
 * beneath its lock, and decides there who waits and who is let go.
 *
 * A waiter is on the stack of who waits: a task of any worker, or a thread that
 * the runtime knows nothing of. Who takes it out of its queue, under the lock,
 * ends its wait: it gives it its result and wakes it, best after the lock has
 * been released. A cancel takes it out itself, under the lock as well; where it
 * is too late for that the wait ends with what it was given.
 *
 * Someone who waits for one of several things (zs_select()) has a waiter in
 * each queue, all of one choice: who takes one out has to win the choice first.
 */
#ifndef ZS_SYNC_WAIT_H
#define ZS_SYNC_WAIT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "sched/scope.h"
#include "sched/task.h"
#include "sched/worker.h"

/* Of several waiters one may be taken. */
struct zs_choice {
	_Atomic uint32_t winner; /* 0: nobody yet; a waiter's number and 1 */
};

struct zs_waiter {
	struct zs_wake wake; /* its task is NULL for a thread */
	/* In a queue, or, once it has been taken, in a list of those that are
	 * to be woken. */
	struct zs_waiter *next;
	struct zs_waiter *prev;
	void *primitive;	  /* the wait type's business */
	void *item;		  /* likewise */
	uint64_t amount;	  /* likewise */
	int result;		  /* by who takes it */
	bool is_queued;		  /* under the lock */
	struct zs_choice *choice; /* NULL: it waits for nothing else */
	uint32_t number;	  /* in the choice */
	_Atomic uint32_t is_over; /* a thread's */
	_Atomic uint32_t *over;	  /* the one that its thread looks at */
};

/* All zero, it is empty. Everything is done under the primitive's lock. */
struct zs_waiters {
	struct zs_waiter *first;
	struct zs_waiter *last;
};

static ZS_ALWAYS_INLINE bool zs_waiters_are_none(const struct zs_waiters *queue)
{
	return !queue->first;
}

static inline void zs_waiters_append(struct zs_waiters *queue,
				     struct zs_waiter *waiter)
{
	waiter->next = NULL;
	waiter->prev = queue->last;
	waiter->is_queued = true;
	if (queue->last)
		queue->last->next = waiter;
	else
		queue->first = waiter;
	queue->last = waiter;
}

/* For who has waited before, and goes on to. */
static inline void zs_waiters_prepend(struct zs_waiters *queue,
				      struct zs_waiter *waiter)
{
	waiter->next = queue->first;
	waiter->prev = NULL;
	waiter->is_queued = true;
	if (queue->first)
		queue->first->prev = waiter;
	else
		queue->last = waiter;
	queue->first = waiter;
}

static inline void zs_waiters_remove(struct zs_waiters *queue,
				     struct zs_waiter *waiter)
{
	if (waiter->prev)
		waiter->prev->next = waiter->next;
	else
		queue->first = waiter->next;
	if (waiter->next)
		waiter->next->prev = waiter->prev;
	else
		queue->last = waiter->prev;
	waiter->is_queued = false;
}

/* The first one that waits still, out of the queue; NULL: nobody does. Those
 * whose choice has been won by another are dropped. */
struct zs_waiter *zs_waiters_take(struct zs_waiters *queue);

/* Who is to be woken once the lock is released, oldest first. */
struct zs_wakes {
	struct zs_waiter *first;
	struct zs_waiter **last;
};

static ZS_ALWAYS_INLINE void zs_wakes_init(struct zs_wakes *wakes)
{
	wakes->first = NULL;
	wakes->last = &wakes->first;
}

/* @waiter has been taken, and its wait ends with @result. */
static inline void zs_wakes_add(struct zs_wakes *wakes,
				struct zs_waiter *waiter, int result)
{
	waiter->result = result;
	waiter->next = NULL;
	*wakes->last = waiter;
	wakes->last = &waiter->next;
}

/* All that wait in @queue. */
void zs_wakes_add_all(struct zs_wakes *wakes, struct zs_waiters *queue,
		      int result);

/* After the lock has been released. */
void zs_wakes_all(struct zs_waiter *first);
static ZS_ALWAYS_INLINE void zs_wakes_do(const struct zs_wakes *wakes)
{
	if (zs_unlikely(wakes->first))
		zs_wakes_all(wakes->first);
}

int zs_wait_check_slowly(struct zs_worker *worker);

/*
 * May the caller, on @worker's thread or one that is no worker's, wait? For
 * calls that are about to look whether they have to. 0, and a running task is
 * linked into its nursery; -ECANCELED or -ETIMEDOUT, for the task; or -EPERM:
 * it is a worker's thread, but no task runs.
 */
static ZS_ALWAYS_INLINE int zs_wait_check(struct zs_worker *worker)
{
	const struct zs_task *task = worker ? worker->current : NULL;

	if (zs_likely(task && task->is_linked))
		return zs_scope_error(task->scope);
	return zs_wait_check_slowly(worker);
}

/* The call that was checked has not had to wait: 0. Who never has to lets
 * others run even so, now and then. */
int zs_wait_let_others_run(struct zs_worker *worker);
static ZS_ALWAYS_INLINE int zs_wait_was_not_needed(struct zs_worker *worker)
{
	if (zs_unlikely(!worker || --worker->quick_calls == 0))
		return zs_wait_let_others_run(worker);
	return 0;
}

/* Fills *waiter for the task that runs on @worker, or, where that is NULL, for
 * the calling thread. */
static inline void zs_waiter_init(struct zs_waiter *waiter,
				  const struct zs_worker *worker,
				  void *primitive)
{
	waiter->wake.task = worker ? worker->current : NULL;
	waiter->primitive = primitive;
	waiter->choice = NULL;
	waiter->result = 0;
	waiter->over = &waiter->is_over;
	/* relaxed: nobody knows of it yet. */
	atomic_store_explicit(&waiter->is_over, 0, memory_order_relaxed);
}

/* The caller's waiter, or all of its choice, have been put in, and the locks
 * released. Waits until one has been taken. @type's cancel is to use
 * zs_wait_cancel(). @waits_on is what the type gets: for a plain wait
 * @waiter. */
void zs_wait(struct zs_waiter *waiter, const struct zs_wait_type *type,
	     const void *waits_on);

/* The same for a thread, until @deadline_ns at the latest. False: it has
 * passed, and the waiter is where it was. */
bool zs_wait_until(struct zs_waiter *waiter, int64_t deadline_ns);

/* For a wait type's cancel: the waiter has been taken out, under the lock which
 * has been released; its wait ends with the scope's error. */
void zs_wait_cancel(struct zs_waiter *waiter);

#endif
