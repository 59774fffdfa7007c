/* SPDX-License-Identifier: MIT */
/*
 * Fork and join, called by tasks.
 *
 * A fork is a record in the forking task's memory, which goes on a list that
 * only its worker touches; a join takes it off and calls the function. That is
 * all, as long as there is enough for other workers to steal. When a fork or a
 * join finds that there is not, the oldest record of the list, which is likely
 * to stand for the most work, is offered: a task is made of it and pushed on
 * the deque. So records are never seen by thieves, and tasks, deque and scopes
 * know nothing of forks.
 *
 * A join of a fork that was offered takes the task back from the deque's bottom
 * if it is there, and else waits until the task has run. The word `state` says
 * which of the two came first, the end or the wait: it is 0, then the address
 * of the waiter's struct zs_wake or ENDED. Who finds the other's mark has
 * nothing more to wait for, or has to wake.
 */
#include "sched/fork_join.h"

#include <errno.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/explain.h"
#include "base/text.h"
#include "sched/balance.h"
#include "sched/runtime.h"
#include "sched/scope.h"
#include "sched/spawn.h"
#include "sched/worker.h"

enum { ENDED = 1 };

static_assert(sizeof(_Atomic uintptr_t) == sizeof(uintptr_t),
	      "C++ programs know it as a plain word");

/* Of the public struct, which C++ shall understand. */
static _Atomic uintptr_t *state_of(struct zs_fork *fork)
{
	return (_Atomic uintptr_t *)&fork->state;
}

/* --- the worker's list, oldest first --- */

void zs_forks_init(struct zs_worker *worker)
{
	worker->forks.next = &worker->forks;
	worker->forks.previous = &worker->forks;
	worker->forks_offered = worker->alone ? 0 : ZS_FORKS_OFFERED;
}

static ZS_ALWAYS_INLINE void append(struct zs_fork *list, struct zs_fork *fork)
{
	struct zs_fork *last = list->previous;

	fork->next = list;
	fork->previous = last;
	last->next = fork;
	list->previous = fork;
}

static ZS_ALWAYS_INLINE void unlink_fork(struct zs_fork *fork)
{
	fork->previous->next = fork->next;
	fork->next->previous = fork->previous;
}

/* --- offering --- */

/* Runs on whichever worker has taken it, once. */
static int run_offered(void *arg)
{
	struct zs_fork *fork = arg;
	struct zs_worker *worker = zs_worker_self;
	struct zs_task *task = worker->current;
	uintptr_t waiter;

	ZS_COUNT(worker->counters.spawned, 1);
	fork->result = fork->fn(fork->arg);
	if (zs_unlikely(task->scope != task->nursery))
		zs_scope_close_left_open(task, task->nursery);
	if (zs_unlikely(task->forks != 0))
		zs_forks_panic(task);
	/* acq_rel: releases what the function wrote, and its result, to the
	 * join; acquires the struct zs_wake that it points to. From here on the
	 * record is the joining task's. */
	waiter = atomic_exchange_explicit(state_of(fork), ENDED,
					  memory_order_acq_rel);
	if (waiter != 0)
		zs_task_wake_anywhere((struct zs_wake *)waiter);
	return 0;
}

/* The scope is one that the forking task is still in, and tasks of it may run
 * elsewhere. A program that has closed it did not join in time. */
static bool is_stealable(const struct zs_fork *fork)
{
	const struct zs_scope *scope = fork->forker->scope;

	while (scope != fork->scope && scope != fork->forker->nursery)
		scope = scope->outer;
	return scope == fork->scope && !zs_scope_is_kept(scope, fork->forker);
}

/* One more task of the fork's scope: false if that is cancelled. */
static bool count_on(struct zs_worker *worker, struct zs_scope *scope)
{
	/* relaxed, both: the forking task is in it, so it stays as it is. */
	if (scope->worker != worker)
		return zs_scope_add_remotely(
			       scope,
			       atomic_load_explicit(&scope->generation,
						    memory_order_relaxed)) == 0;
	if (atomic_load_explicit(&scope->reason, memory_order_relaxed) !=
	    ZS_CANCEL_NONE)
		return false;
	scope->local++;
	/* A cancel has to look for tasks in it from now on. */
	if (scope->kind == ZS_SCOPE_TOKEN)
		scope->kind = ZS_SCOPE_FORKED_TOKEN;
	return true;
}

static void count_off(struct zs_worker *worker, struct zs_task *task)
{
	zs_scope_task_ended(task->nursery, worker, 0);
	zs_task_free(worker, task);
}

/* False: it will be run by its join, as it is. */
static bool offer(struct zs_worker *worker, struct zs_fork *fork)
{
	const struct zs_spawn spawn = { .fn = run_offered, .arg = fork };
	struct zs_task *task;
	int error;

	if (!is_stealable(fork))
		return false;
	task = zs_task_create(worker, fork->scope, &spawn, &error);
	if (!task)
		return false;
	if (!count_on(worker, fork->scope)) {
		zs_task_free(worker, task);
		return false;
	}
	/* relaxed: the push publishes it. */
	atomic_store_explicit(state_of(fork), 0, memory_order_relaxed);
	if (zs_deque_push(&worker->unstarted, task) < 0) {
		count_off(worker, task);
		return false;
	}
	fork->task = task;
	zs_worker_offer(worker);
	return true;
}

/* The oldest that can be. Each is tried once: it is off the list then, and
 * linked to itself where its join will take it off once more. */
static ZS_NOINLINE void offer_oldest(struct zs_worker *worker)
{
	struct zs_fork *fork;

	do {
		fork = worker->forks.next;
		if (fork == &worker->forks)
			return;
		unlink_fork(fork);
		fork->next = fork;
		fork->previous = fork;
	} while (!offer(worker, fork));
}

static ZS_ALWAYS_INLINE bool must_offer(struct zs_worker *worker)
{
	struct zs_deque *deque = &worker->unstarted;

	/* relaxed: a hint. */
	return zs_deque_bottom(deque) -
		       atomic_load_explicit(&deque->top, memory_order_relaxed) <
	       worker->forks_offered;
}

/* --- forking --- */

static ZS_COLD int refuse_fork(struct zs_fork *fork)
{
	if (!fork)
		return zs_explain_none(-EINVAL);
	fork->forker = NULL; /* nothing that could be joined */
	return zs_explain_none(zs_worker_task() ? -EINVAL : -EPERM);
}

ZS_PUBLIC int zs_fork(struct zs_fork *fork, zs_task_fn *fn, void *arg)
{
	struct zs_worker *worker = zs_worker_self;
	struct zs_task *task = worker ? worker->current : NULL;

	if (zs_unlikely(!task || !fork || !fn))
		return refuse_fork(fork);
	/* A task that ends is asked for forks only if it is linked. */
	if (zs_unlikely(!task->is_linked))
		zs_scope_link(task);
	fork->fn = fn;
	fork->arg = arg;
	fork->forker = task;
	fork->scope = task->scope;
	fork->task = NULL;
	task->forks++;
	append(&worker->forks, fork);
	if (zs_unlikely(must_offer(worker)))
		offer_oldest(worker);
	return 0;
}

/* --- joining --- */

static ZS_RACY void describe_joining(const void *object, struct zs_text *text)
{
	const struct zs_fork *fork = object;

	zs_text_add(text, "a fork that ");
	zs_dump_add_task(text, fork->task);
	zs_text_add(text, " runs");
}

/* The fork is cancelled, not the wait for it. */
static const struct zs_wait_type joining = {
	.describe = describe_joining,
};

/* Is it run here, as if it had never been offered? */
static bool take_back(struct zs_worker *worker, struct zs_fork *fork)
{
	struct zs_task *task = fork->task;

	/* relaxed: until it has ended its task is no other, for only this
	 * thread would use the memory again. */
	if (atomic_load_explicit(state_of(fork), memory_order_relaxed) ==
		    ENDED ||
	    zs_deque_peek_bottom(&worker->unstarted) != task ||
	    !zs_deque_claim_bottom(&worker->unstarted, task))
		return false;
	count_off(worker, task);
	return true;
}

static void await_end(struct zs_task *task, struct zs_fork *fork)
{
	struct zs_wake wake = { .task = task };
	uintptr_t running = 0;

	/* release: publishes *wake to who ends it; acquire on failure: what the
	 * function wrote, and its result. Where it parks, the wake has the
	 * same effect. */
	if (atomic_compare_exchange_strong_explicit(
		    state_of(fork), &running, (uintptr_t)&wake,
		    memory_order_acq_rel, memory_order_acquire))
		zs_task_park(&joining, fork);
}

void zs_forks_clean_up(struct zs_task *task, const struct zs_scope *scope,
		       uint32_t forks)
{
	if (task->forks != forks)
		zs_forks_panic(task);
	zs_scope_close_left_open(task, scope);
}

static ZS_ALWAYS_INLINE int call_here(struct zs_task *task,
				      struct zs_fork *fork)
{
	struct zs_scope *scope = task->scope;
	uint32_t forks = task->forks;
	int result = fork->fn(fork->arg);

	if (zs_unlikely(task->scope != scope || task->forks != forks))
		zs_forks_clean_up(task, scope, forks);
	return result;
}

static ZS_NOINLINE int join_offered(struct zs_worker *worker,
				    struct zs_task *task, struct zs_fork *fork)
{
	if (take_back(worker, fork))
		return call_here(task, fork);
	await_end(task, fork);
	return fork->result;
}

static ZS_COLD int refuse_join(void)
{
	return zs_explain_none(zs_worker_task() ? -EINVAL : -EPERM);
}

ZS_PUBLIC int zs_join(struct zs_fork *fork)
{
	struct zs_worker *worker = zs_worker_self;
	struct zs_task *task = worker ? worker->current : NULL;

	if (zs_unlikely(!task || !fork || fork->forker != task))
		return refuse_join();
	fork->forker = NULL;
	task->forks--;
	if (zs_unlikely(fork->task))
		return join_offered(worker, task, fork);
	unlink_fork(fork);
	if (zs_unlikely(must_offer(worker)))
		offer_oldest(worker);
	return call_here(task, fork);
}

void zs_forks_panic(const struct zs_task *task)
{
	struct zs_text text;

	zs_text_init(&text);
	zs_text_add(&text, "zsync: ");
	zs_task_describe(task, &text);
	zs_text_add(&text, " returned from a function without joining what "
			   "that had forked: call zs_join()\n");
	zs_text_write(&text, STDERR_FILENO);
	ZS_ASSERT(!"every fork is joined");
	__builtin_unreachable();
}
