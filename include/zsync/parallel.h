/* SPDX-License-Identifier: MIT */
/*
 * Computing on all workers: fork and join, parallel loops.
 *
 * What is forked runs either on a worker that has nothing else to do, as a task
 * of its own, or, if none has come by the time that it is joined, inside the
 * join, as a plain call on the joining task's stack. So a fork that nobody else
 * takes costs little more than the call, and a function that is forked has to
 * be right in both cases:
 *
 *  - It may park, open scopes and fork in turn.
 *  - It runs inside the scope in which it was forked, or in which it is joined:
 *    a cancel of that reaches it. A cancelled fork still runs, and is joined.
 *  - It may not count on zs_self() or thread-local variables being the forking
 *    task's, or not being so.
 *  - A recursion by forks uses the forking task's stack as a plain one would:
 *    see zs_spawn_options.stack_size. An overflow is caught and reported.
 *
 * In a nursery with ZS_NURSERY_PINNED, and where there is one worker, all of it
 * runs on that one.
 */
#ifndef ZSYNC_PARALLEL_H
#define ZSYNC_PARALLEL_H

#include <stddef.h>
#include <stdint.h>

#include <zsync/task.h>

#ifdef __cplusplus
extern "C" {
#endif

struct zs_scope;

/* A call under way. The forking task's memory, as a rule on its stack, from the
 * fork to the end of the join; nothing in it is for the program. */
struct zs_fork {
	struct zs_fork *next;
	struct zs_fork *previous;
	zs_task_fn *fn;
	void *arg;
	struct zs_task *forker;
	struct zs_scope *scope;
	struct zs_task *task;
	uintptr_t state;
	int32_t result;
};

/*
 * Task. Another worker may run fn(arg) from now on. Each fork has to be joined,
 * by the task that forked it, before the function returns that did so and
 * before a scope is closed that was open at the fork. The last one is best
 * joined first.
 *
 *	static int sum(void *arg)
 *	{
 *		...
 *		zs_fork(&fork, sum, &left);
 *		sum(&right);
 *		zs_join(&fork);
 *
 * 0, or nothing was forked: -EINVAL (no fork or no function), -EPERM.
 */
int zs_fork(struct zs_fork *fork, zs_task_fn *fn, void *arg);

/*
 * The task that forked it. Returns what the function did, after it has ended.
 * Being cancelled does not cut that short. -EINVAL if there is no such fork, or
 * it has been joined, or was not forked by the caller, -EPERM outside a task.
 */
int zs_join(struct zs_fork *fork);

/* Part of a loop: the items from @begin to @end - 1. It returns 0 (or any
 * number >= 0) or a negative errno. As what is forked, it runs as a part of the
 * caller or as a task of another worker, and may park. */
typedef int zs_range_fn(int64_t begin, int64_t end, void *arg);

/*
 * Task. Calls fn(begin, end, arg) for parts of @grain items (the last may be
 * smaller) that together are @begin to @end - 1, each item once, on all workers
 * that have nothing else to do; returns when all have ended. The parts are
 * begun in order. A @grain of 0 is the number of items over four times that of
 * workers.
 *
 * The first error of a part cancels those under way, begins no further ones,
 * and is returned. A cancel of the caller's scope does the same: between two
 * parts, and as it does any task inside one; -ECANCELED or -ETIMEDOUT, unless
 * all were done by then. -EINVAL (no function, @end before @begin, a negative
 * grain),
 * -EPERM, -ENOMEM.
 *
 * Loops may be nested. Other tasks of a worker wait for the part that it runs,
 * and the caller's worker for all of those: long ones call zs_yield().
 */
int zs_parallel_for(int64_t begin, int64_t end, int64_t grain, zs_range_fn *fn,
		    void *arg);

/* Adds what the items make to @total. Otherwise as zs_range_fn. */
typedef int zs_map_fn(int64_t begin, int64_t end, void *total, void *arg);
/* Adds @right, which is of later items, to @left. It must not park. */
typedef void zs_combine_fn(void *left, const void *right, void *arg);

struct zs_reduction {
	size_t size;	      /* of a total, in bytes */
	const void *identity; /* what each begins as; NULL: zeros */
	zs_map_fn *map;
	zs_combine_fn *combine;
	void *arg; /* of both */
};

/*
 * Task. As zs_parallel_for(), and sums up: into *result, which has room for
 * reduction->size bytes, and is left as it is on an error.
 *
 * Which items make a total, and the order in which totals are combined (by
 * items, from the left), depend on the range and the grain alone: so that
 * floating-point numbers give the same sum each time, on any number of workers
 * if the grain is not 0. There are at most 1,024 totals, each aligned to 64
 * bytes; -ENOMEM if there is no memory for them, -EINVAL also for a reduction
 * that lacks something or whose size is 0.
 */
int zs_parallel_reduce(int64_t begin, int64_t end, int64_t grain,
		       const struct zs_reduction *reduction, void *result);

#ifdef __cplusplus
}
#endif
#endif
