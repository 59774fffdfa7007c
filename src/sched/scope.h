/* SPDX-License-Identifier: MIT */
/*
 * Scopes: what may be cancelled as one. A nursery is a scope that has tasks; a
 * token is one that has none; a shield holds cancels back; a local value is one
 * that a key has inside. A runtime has a root scope, which nobody opened.
 *
 * The tree: a task has a chain of scopes, from its innermost one to the nursery
 * that it was spawned into; that nursery is in the chain of the task that
 * opened it. A cancel marks all scopes below, so that a task need only look at
 * its innermost one, and ends the waits of all tasks below. At a shield it
 * stops: what is inside is not marked, until the shield has had its time.
 *
 * Everything is done by the worker of the task that opened the scope. Other
 * threads do no more than change the word `state` and post the scope's message.
 */
#ifndef ZS_SCHED_SCOPE_H
#define ZS_SCHED_SCOPE_H

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/mailbox.h"
#include "sched/task.h"
#include "sched/wheel.h"
#include "sched/worker.h"
#include "zsync/cancel.h"
#include "zsync/time.h"

/*
 * zs_scope.state: one word, so that a thread with a handle can check it and act
 * on it in one compare-exchange, and so that a scope is closed in one.
 *
 *	63..40	balance of tasks that other threads spawned or ended, signed
 *	39..8	the generation's low half
 *	7..0	bits
 *
 * How many tasks a nursery has is split into that balance and zs_scope.local,
 * the balance of the opener's own worker, which is a plain number: either may
 * be negative, the sum is the count. So a nursery whose tasks stay at home
 * needs no atomic read-modify-write for them.
 */
enum {
	ZS_SCOPE_OPEN = 1 << 0,
	/* The opener waits: who ends a task elsewhere has to tell its worker */
	ZS_SCOPE_WAITING = 1 << 1,
	/* ... but only of the last one, for local has been added to the
	 * balance. Set by the first such message. */
	ZS_SCOPE_MERGED = 1 << 2,
	/* The message is under way: the scope may not be closed. */
	ZS_SCOPE_POSTED = 1 << 3,
	/* An enum zs_cancel_reason that was asked for. */
	ZS_SCOPE_REASON_SHIFT = 4,
	ZS_SCOPE_REASON = 7 << ZS_SCOPE_REASON_SHIFT,
	/* Somebody may watch it, who is told before it is closed, or an outcome
	 * be listed. */
	ZS_SCOPE_WATCHED = 1 << 7,
	ZS_SCOPE_GENERATION_SHIFT = 8,
	ZS_SCOPE_BALANCE_SHIFT = 40,
};
#define ZS_SCOPE_ONE_TASK (UINT64_C(1) << ZS_SCOPE_BALANCE_SHIFT)
/* A balance that drifts this far is folded into local, long before it could
 * overflow its 24 bits. */
#define ZS_SCOPE_DRIFT (1 << 21)

/* A bit of zs_scope.reason, beside the reason: it came from an outer scope. */
enum { ZS_SCOPE_INHERITED = 1 << 8 };
enum zs_scope_kind {
	ZS_SCOPE_TOKEN,	       /* nothing was ever spawned into it */
	ZS_SCOPE_FORKED_TOKEN, /* tasks of the opener's forks are in it */
	ZS_SCOPE_NURSERY,
	ZS_SCOPE_ARENA, /* a token that has memory; forks may be in it */
};

struct zs_scope {
	union {
		void *slab_link;    /* while it is closed */
		struct zs_set *set; /* if is_set */
	};
	_Atomic uint64_t state; /* any thread, by compare-exchange */
	/* Written by the owner when it closes the scope. */
	_Atomic uint64_t generation;
	struct zs_worker *worker; /* constant: the scope is of its slab */
	/* enum zs_cancel_reason, and ZS_SCOPE_INHERITED; written by the worker,
	 * once. */
	_Atomic int reason;
	/* The first error of a task, 0 if there is none; any thread. Of a
	 * shield, which has no tasks: the reason that it holds back, its
	 * worker's own. */
	_Atomic int error;

	/* The worker's own. Closed, it is as zs_scope_open() needs it: without
	 * children, its deadline not armed. */
	struct zs_task *opener; /* NULL: the root */
	struct zs_scope *outer; /* in the opener's chain, NULL: the root */
	int64_t local;
	uint8_t kind; /* enum zs_scope_kind */
	bool is_pinned;
	bool is_merged;	 /* as in state */
	bool is_waiting; /* the opener is parked until it can be closed */
	/* What comes from outside is held back: see shield.c. */
	bool is_shield;
	bool is_set;   /* a nursery whose tasks' results are kept: join_set.c */
	bool is_local; /* a value of a key is in force: local.c */
	/* Something has to be undone once it is closed: see tidy(). */
	bool needs_care;
	struct zs_timer deadline;
	struct zs_message message; /* to the worker: look at state */
	/* When that is, 0 if there is none; negated, until when a shield holds
	 * those around it back. Written by the worker, read by all tasks
	 * inside. 0 while it is closed. */
	_Atomic int64_t deadline_ns;
	/* Of any worker; under worker->children_lock. All NULL until somebody
	 * has watched it. */
	struct zs_list watchers;
	union {
		/* Of a nursery: those of its tasks that can be found, under the
		 * same lock; see outcome.c. All NULL while there was none, and
		 * while it is closed. */
		struct zs_list outcomes;
		void *memory; /* of an arena, freed with it */
		/* If is_local: constant while it is open. */
		struct {
			const struct zs_local *local_key;
			void *local_value;
		};
	};

	/* Linked tasks, of any worker; under worker->children_lock. */
	struct zs_list children;
};
static_assert(sizeof(struct zs_scope) <= 192, "three cache lines");

/* Has a nursery of @task from @scope, in its chain, to its own been pinned?
 * Then what it starts there stays on its worker. */
static inline bool zs_scope_is_kept(const struct zs_scope *scope,
				    const struct zs_task *task)
{
	while (scope != task->nursery && !scope->is_pinned)
		scope = scope->outer;
	return scope->is_pinned;
}

/* Without a handle's check, by the scope's own worker or by who knows that it
 * is open. relaxed: whoever acts on it does so by compare-exchange. */
static ZS_ALWAYS_INLINE uint64_t zs_scope_state(const struct zs_scope *scope)
{
	return atomic_load_explicit(&scope->state, memory_order_relaxed);
}

static ZS_ALWAYS_INLINE int64_t zs_scope_balance(uint64_t state)
{
	return (int64_t)state >> ZS_SCOPE_BALANCE_SHIFT;
}

static ZS_ALWAYS_INLINE bool zs_scope_can_close(const struct zs_scope *scope,
						uint64_t state)
{
	return zs_scope_balance(state) + scope->local == 0 &&
	       !(state & (ZS_SCOPE_POSTED | ZS_SCOPE_REASON));
}

static ZS_ALWAYS_INLINE bool zs_scope_is_open_as(uint64_t state,
						 uint64_t generation)
{
	return (state & ZS_SCOPE_OPEN) &&
	       (uint32_t)(state >> ZS_SCOPE_GENERATION_SHIFT) ==
		       (uint32_t)generation;
}

/* 0, -ECANCELED or -ETIMEDOUT. */
static ZS_ALWAYS_INLINE int zs_scope_error_of(int reason)
{
	if (zs_likely(reason == ZS_CANCEL_NONE))
		return 0;
	return (reason & ~ZS_SCOPE_INHERITED) == ZS_CANCEL_DEADLINE ?
		       -ETIMEDOUT :
		       -ECANCELED;
}

/* Any thread; how a call inside @scope has to fail, 0 if it need not.
 * relaxed: the reason publishes nothing but itself. Who cancels visits every
 * task that is parked, and a task that parks has been linked before it looks
 * here: see zs_scope_link(). */
static ZS_ALWAYS_INLINE int zs_scope_error(struct zs_scope *scope)
{
	return zs_scope_error_of(
		atomic_load_explicit(&scope->reason, memory_order_relaxed));
}

/* For the cancel function of a wait type, on the worker of @task, whose wait it
 * ends: what the wait is to return. -EDEADLK if nothing else can end it any
 * more, else how the scope was cancelled. */
static inline int zs_task_wait_error(const struct zs_task *task)
{
	if (zs_unlikely(task->worker->deadlocked == task))
		return -EDEADLK;
	return zs_scope_error(task->scope);
}

/* Opens @scope, whose children and worker are set. */
static ZS_ALWAYS_INLINE void zs_scope_init(struct zs_scope *scope,
					   uint64_t bits)
{
	scope->local = 0;
	scope->kind = ZS_SCOPE_TOKEN;
	scope->is_pinned = false;
	scope->is_merged = false;
	scope->is_waiting = false;
	scope->is_shield = false;
	scope->is_set = false;
	scope->is_local = false;
	scope->needs_care = false;
	/* relaxed, all: nobody has a handle yet; giving it away publishes. */
	atomic_store_explicit(&scope->error, 0, memory_order_relaxed);
	atomic_store_explicit(&scope->reason, ZS_CANCEL_NONE,
			      memory_order_relaxed);
	/* release: publishes the rest to whom a stale handle leads here.
	 * Closed, it holds the generation, and nobody changes it. */
	atomic_store_explicit(&scope->state,
			      zs_scope_state(scope) | ZS_SCOPE_OPEN | bits,
			      memory_order_release);
}

/* @task, which runs and is linked, opens @scope, which its worker has got from
 * its slab and used before. */
static ZS_ALWAYS_INLINE void zs_scope_enter(struct zs_task *task,
					    struct zs_scope *scope)
{
	struct zs_scope *outer = task->scope;
	int reason;

	zs_scope_init(scope, 0);
	scope->opener = task;
	scope->outer = outer;
	/* relaxed: see zs_scope_error(). */
	reason = atomic_load_explicit(&outer->reason, memory_order_relaxed);
	if (zs_unlikely(reason != ZS_CANCEL_NONE))
		atomic_store_explicit(&scope->reason,
				      reason | ZS_SCOPE_INHERITED,
				      memory_order_relaxed);
	task->scope = scope;
}

/* Opens one inside the innermost scope of @task, which runs, and enters it.
 * NULL, explained, if there is no memory. */
struct zs_scope *zs_scope_open(struct zs_task *task, int64_t deadline_ns);
/* A root: embedded in the runtime, owned by @worker. When it has no task left
 * zs_runtime_root_idle() is called, which may close it: false if it has one
 * again. */
void zs_scope_init_root(struct zs_scope *scope, struct zs_worker *worker);
bool zs_scope_close_root(struct zs_scope *scope);

/* For what only the opener may do, before all else: 0, -ESTALE (closed), -EPERM
 * (@task did not open it) or -EBUSY (a scope opened inside it is open). */
int zs_scope_check_opener(struct zs_scope *scope, uint64_t generation,
			  const struct zs_task *task);

/* The same in short: would it be 0? */
static ZS_ALWAYS_INLINE bool zs_scope_is_opener(struct zs_scope *scope,
						uint64_t generation,
						const struct zs_task *task)
{
	/* relaxed: a task's innermost scope is open, and if the task opened it
	 * no other thread writes this. */
	return task->scope == scope && scope->opener == task &&
	       atomic_load_explicit(&scope->generation, memory_order_relaxed) ==
		       generation;
}

/* Any thread. A word as zs_scope.reason, or -ESTALE. */
int zs_scope_reason(struct zs_scope *scope, uint64_t generation);

/* Waits until no task and no message is left, leaves and closes it. Returns 0,
 * or how it was cancelled. @task opened it, runs, and has no scope open inside
 * it. */
int zs_scope_close(struct zs_task *task, struct zs_scope *scope);

/* Reports, cancels and closes what @task, which runs, has left open inside
 * @scope, one of its chain. */
void zs_scope_close_left_open(struct zs_task *task,
			      const struct zs_scope *scope);

/* The scope's worker. Cancels it and all that is in it; @reason is an enum
 * zs_cancel_reason, with ZS_SCOPE_INHERITED if so. */
void zs_scope_cancel(struct zs_scope *scope, int reason);
/* Any thread. The same, by message where need be. 0 or -ESTALE. */
int zs_scope_ask_cancel(struct zs_scope *scope, uint64_t generation,
			enum zs_cancel_reason reason);
/* The scope's worker. Replaces the deadline. */
void zs_scope_set_deadline(struct zs_scope *scope, int64_t deadline_ns);
/* The same, of a scope just opened, which has none: what it does then. */
void zs_scope_arm(struct zs_scope *scope, int64_t deadline_ns, zs_timer_fn *fn);

/* A task is about to be spawned into it by a thread that is not its worker's.
 * 0, -ESTALE or -ECANCELED. */
int zs_scope_add_remotely(struct zs_scope *scope, uint64_t generation);
/* The cold sides of zs_scope_task_ended(). */
void zs_scope_fail(struct zs_scope *scope, int result);
void zs_scope_count_off(struct zs_scope *scope);
void zs_scope_on_last(struct zs_scope *scope);

/* Any thread. A task of it has ended on @worker with @result. */
static ZS_ALWAYS_INLINE void zs_scope_task_ended(struct zs_scope *scope,
						 const struct zs_worker *worker,
						 int result)
{
	if (zs_unlikely(result < 0))
		zs_scope_fail(scope, result);
	if (zs_unlikely(scope->worker != worker || scope->is_merged)) {
		zs_scope_count_off(scope);
		return;
	}
	scope->local--;
	if (scope->is_waiting &&
	    zs_scope_can_close(scope, zs_scope_state(scope)))
		zs_scope_on_last(scope);
}

/* Any thread: that zs_scope_add_remotely() was for nothing. */
void zs_scope_remove_remotely(struct zs_scope *scope);

/*
 * From now on a cancel of the task's nursery finds it. Before it first parks
 * and before it opens a scope; only then does it look at the reason. The
 * canceller sets the reason before it walks the list, both under the lock that
 * is taken here: so either it finds the task or the task finds the reason.
 */
void zs_scope_link(struct zs_task *task);
/* True: a message is under way to it, so that it may not be freed yet. */
bool zs_scope_unlink(struct zs_task *task);

/* Messages, on the worker they were posted to. */
void zs_scope_handle(struct zs_scope *scope);
void zs_scope_handle_task_cancel(struct zs_task *task);

/* How many tasks it has; its worker, others a recent value. */
int64_t zs_scope_count(struct zs_scope *scope);

#endif
