/* SPDX-License-Identifier: MIT */
/*
 * Tasks: their state, and the switching between them. Used by the scheduler,
 * and by the rooms above it to park the running task and to wake it.
 *
 * A task belongs to no worker until it starts; from then on everything here is
 * its worker's own, on one thread, but for what is marked.
 */
#ifndef ZS_SCHED_TASK_H
#define ZS_SCHED_TASK_H

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/list.h"
#include "base/mailbox.h"
#include "base/queue.h"
#include "base/text.h"
#include "zsync/task.h"

struct zs_scope;
struct zs_stack;
struct zs_worker;

enum zs_task_state {
	ZS_TASK_FREE, /* its slab's: never used, or given back */
	ZS_TASK_UNSTARTED,
	ZS_TASK_STARTED,
	ZS_TASK_ENDED, /* gone but for a message that is still under way */
};

/* What a task is parked on: one constant a kind of wait. */
struct zs_wait_type {
	/* The scope that the task is parked in has been cancelled: end the wait
	 * early, or as early as it can be ended. May be called again for the
	 * same wait, and for an op that is done. NULL: a wait that is deaf to
	 * it. Also called, once, for a wait that nothing can end any more: what
	 * the wait ends with says zs_task_wait_error(). */
	void (*cancel)(struct zs_task *task);
	/* For the dump, on any thread and while the task may go on: adds "recv
	 * fd 7". */
	void (*describe)(const void *object, struct zs_text *text);
	/* The descriptor that is in use until the task goes on, -1 for none.
	 * NULL: there never is one. */
	int (*fd)(const void *object);
};

/*
 * One a task, from the slab of the worker that spawned it (of the runtime, if a
 * foreign thread did). Ordered so that a task which neither parks nor opens a
 * scope touches the first two cache lines only.
 */
struct zs_task {
	/* In a queue, as itself: set for good when it is first made. The slab's
	 * while it is free. */
	struct zs_link link;
	char name[ZS_TASK_NAME_MAX + 1];
	struct zs_stack *stack;	  /* NULL until it starts */
	struct zs_scope *scope;	  /* innermost */
	struct zs_scope *nursery; /* what it was spawned into; never NULL */
	zs_task_fn *fn;
	void *arg;
	/* NULL unless it is parked. If that is for an op, also while it is
	 * ready since the op is done. */
	const struct zs_wait_type *wait;
	uint8_t state; /* enum zs_task_state */
	/* Cancelling the nursery finds it. Tasks that neither park nor open a
	 * scope never need to be found. */
	bool is_linked;
	/* Its message is under way, and so it may not be freed. Set by the
	 * nursery's worker, cleared by its own. */
	_Atomic bool cancel_posted;
	uint8_t stack_class; /* of the stack that it needs: see worker.h */
	int32_t wake_result; /* of a wait that has one, by who ended it */

	struct zs_worker *worker; /* where it started */
	struct zs_worker *owner;  /* of its memory; NULL: the runtime */
	uint64_t id;
	void *sp;	      /* while it does not run */
	const void *waits_on; /* the wait type's business */

	struct zs_list siblings;   /* in the nursery's list, once linked */
	struct zs_task *to_cancel; /* links those that a cancel has to visit */
	struct zs_message message; /* that it has arrived, or to cancel it */
	int64_t parked_ns;	   /* since when, at the resolution of turns */
	/* Of a call in several steps: its descriptor plus 1; negated when that
	 * is being closed. 0: there is none. See zs_fds_keep(). */
	int32_t kept_fd;
	/* That it has yet to join. 0 at its end. */
	uint32_t forks;

	_Alignas(16) unsigned char copy[ZS_SPAWN_COPY_MAX];
};
static_assert(sizeof(struct zs_task) <= 256, "four cache lines");
static_assert(offsetof(struct zs_task, name) == 16, "so says zsync.7");

/* Async-signal-safe. Adds "task 7", and its name if it has one. */
static inline void zs_task_describe(const struct zs_task *task,
				    struct zs_text *text)
{
	zs_text_add(text, "task ");
	zs_text_add_number(text, (int64_t)task->id);
	if (!task->name[0])
		return;
	zs_text_add(text, " \"");
	zs_text_add(text, task->name);
	zs_text_add(text, "\"");
}

/* The running task waits until somebody wakes it. The caller has made sure that
 * somebody will. errno is kept. */
void zs_task_park(const struct zs_wait_type *type, const void *waits_on);

/* The running task, which is @worker's, is parked until @child, an unstarted
 * task of this worker, has ended; that is all that ends the wait. @child runs
 * at once, on a stack of its own, as if it were called. Where no stack can be
 * had it is kept for later, and this returns at once. */
void zs_task_call(struct zs_worker *worker, const struct zs_wait_type *type,
		  const void *waits_on, struct zs_task *child);

/* Worker's thread. @task goes on after those that are ready already. */
void zs_task_wake(struct zs_task *task);
/* Any thread, once for each wait. The same to a task of any worker, which may
 * be about to park; *wake is on its stack, and not the caller's any more. */
struct zs_wake {
	struct zs_message message;
	struct zs_task *task;
};
void zs_task_wake_anywhere(struct zs_wake *wake);
/* Worker's thread. @task goes on before all others: what it waited for ended
 * just now, and its memory is warm. */
void zs_task_wake_first(struct zs_task *task);

/* The loop, on the thread's own stack: runs what is ready or unstarted until
 * nothing is, or until the turn's budget is spent. */
void zs_task_run_some(struct zs_worker *worker);

/* Once a thread, before the first of them. */
void zs_task_prepare_loop(struct zs_worker *worker);
/* Makes the sanitizers forget the stacks of @worker; all are free. */
void zs_task_forget_stacks(struct zs_worker *worker);

/* Cut at ZS_TASK_NAME_MAX bytes. */
void zs_task_copy_name(struct zs_task *task, const char *name);

/* For waits that poll: tells the processor that this is one. */
void zs_task_relax(void);
/* Does the processor check returns on a stack that we cannot switch? */
bool zs_task_has_shadow_stack(void);
/* In a signal handler, of its third argument: where the thread was, and its
 * stack pointer. */
void zs_task_interrupted_at(const void *context, uintptr_t *pc,
			    uintptr_t *stack);

#endif
