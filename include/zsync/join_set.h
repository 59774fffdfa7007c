/* SPDX-License-Identifier: MIT */
/*
 * Join sets: tasks whose results are taken in the order in which they end.
 *
 * A join set is a nursery (zsync/nursery.h) in all but two things: the result
 * of each task is kept until it is taken, and an error of one does not cancel
 * the others.
 *
 *	zs_join_set_open(&set, NULL);
 *	for (i = 0; i < n; i++)
 *		zs_join_set_spawn(set, fetch, &urls[i]);
 *	while (zs_join_set_next(set, &index, &result) == 0)
 *		printf("%s: %d\n", urls[index], result);
 *	zs_join_set_close(set);
 *
 * For what is waited for at once there are zs_race(), zs_any() and zs_all().
 */
#ifndef ZSYNC_JOIN_SET_H
#define ZSYNC_JOIN_SET_H

#include <stddef.h>
#include <stdint.h>

#include <zsync/nursery.h>
#include <zsync/task.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A handle, freely copied; see struct zs_cancel_token. */
struct zs_join_set {
	struct zs_scope *scope;
	uint64_t generation;
};

/* A bit of zs_nursery_options.flags, for join sets only. */
enum {
	/* zs_join_set_cancel_one() may be called: each task runs in a scope of
	 * its own, which costs a few tens of nanoseconds. */
	ZS_JOIN_SET_SEPARATE = 1 << 8,
};

/* Task. Opens a join set inside the current scope and enters its scope. Options
 * as for zs_nursery_open(). -EINVAL for a NULL set or an unknown flag, -ENOMEM.
 */
int zs_join_set_open(struct zs_join_set *set,
		     const struct zs_nursery_options *options);

/*
 * Any thread. Spawns a task that runs fn(arg), and returns its index: 0, 1, ...
 * in the order of the spawns. Or nothing was spawned: -EINVAL (no function),
 * -ESTALE (the set is closed), -ECANCELED (it is cancelled), -EAGAIN
 * (max_green_threads are alive), -ENOMEM. Where several threads spawn at once,
 * one that fails may use up an index.
 */
int zs_join_set_spawn(struct zs_join_set set, zs_task_fn *fn, void *arg);

/* As above, and as zs_nursery_spawn_copy(). */
int zs_join_set_spawn_copy(struct zs_join_set set, zs_task_fn *fn,
			   const void *args, size_t size);

/* As above, and as zs_nursery_spawn_with(). */
int zs_join_set_spawn_with(struct zs_join_set set,
			   const struct zs_spawn_options *options,
			   zs_task_fn *fn, void *arg);

/*
 * The task that opened it. Waits until one more task has ended, and tells which
 * one and what it returned; both pointers may be NULL. 0, or nothing was taken:
 * -ENOENT (no task is left, nor a result), -ECANCELED or -ETIMEDOUT (the scope
 * of the caller, which the set's is part of, is cancelled, and none has ended
 * yet), -EPERM (another task opened the set), -ESTALE (it is closed).
 */
int zs_join_set_next(struct zs_join_set set, uint32_t *index, int *result);

/* The same without waiting: -EAGAIN where none has ended yet. */
int zs_join_set_try_next(struct zs_join_set set, uint32_t *index, int *result);

/*
 * The task that opened it. Waits until all tasks have ended, and takes what is
 * left: results[i] is the result of the task with index i, for i < @n; @results
 * may be NULL, others are left as they are. 0 if all of these are >= 0, else
 * the first error, in the order in which they ended. As with zs_nursery_wait(),
 * being cancelled does not cut the wait short: it cancels the tasks. -EPERM,
 * -ESTALE.
 */
int zs_join_set_all(struct zs_join_set set, int *results, size_t n);

/* Any thread. Cancels all tasks and the opener's calls inside it, but for those
 * that take results which are there. 0, or -ESTALE. */
int zs_join_set_cancel(struct zs_join_set set);

/* Task of the runtime. Cancels one task of a set that was opened with
 * ZS_JOIN_SET_SEPARATE. 0 also if it has ended. -EINVAL (the set was not),
 * -ENOENT (no such index yet), -ESTALE, -EXDEV (another runtime's). */
int zs_join_set_cancel_one(struct zs_join_set set, uint32_t index);

/*
 * The task that opened it. Cancels the tasks that have not ended, waits for
 * them, drops the results that were not taken, leaves the set's scope and
 * closes it. 0; -ECANCELED or -ETIMEDOUT if it had been cancelled before; in
 * both cases it is closed. It stays open on -EPERM and -EBUSY, as a nursery
 * does; -ESTALE.
 */
int zs_join_set_close(struct zs_join_set set);

/*
 * Task. Each runs n functions, fns[i](args[i]), as tasks at once, and returns
 * when all of them have ended; @args may be NULL, and then all are called with
 * NULL. -EINVAL (no functions), -EAGAIN or -ENOMEM: not all could be spawned;
 * those that were are cancelled. If the caller is cancelled so are the tasks,
 * and the result is -ECANCELED or -ETIMEDOUT.
 *
 * zs_race: the first that ends wins, and the others are cancelled. The winner's
 * result; which one it was in *winner.
 * zs_any: the first that returns >= 0 wins, and the others are cancelled. If
 * none does: the error of the one that failed first, which is the winner then.
 * zs_all: the first error cancels the others, and is the result; else 0. What
 * each returned in results[i].
 *
 * @winner and @results may be NULL. Where there is no winner, *winner is n.
 * What the losers return is dropped: a descriptor that one has opened is its
 * own to close.
 */
int zs_race(zs_task_fn *const *fns, void *const *args, size_t n,
	    size_t *winner);
int zs_any(zs_task_fn *const *fns, void *const *args, size_t n, size_t *winner);
int zs_all(zs_task_fn *const *fns, void *const *args, size_t n, int *results);

#ifdef __cplusplus
}
#endif
#endif
