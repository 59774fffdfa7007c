/* SPDX-License-Identifier: MIT */
/*
 * Nurseries: a task cannot outlive the nursery it was spawned into.
 *
 * A nursery is a scope of cancellation: the first task of it that returns an
 * error cancels the others and the opener's own calls. The opener waits for
 * all. A task that returns with a nursery open has it cancelled and joined, and
 * the fact is reported on stderr and counted in the stats.
 *
 * A task that was cancelled before it started still runs, inside a scope that
 * is already cancelled, so that it can release what was handed to it.
 */
#ifndef ZSYNC_NURSERY_H
#define ZSYNC_NURSERY_H

#include <stddef.h>
#include <stdint.h>

#include <zsync/cancel.h>
#include <zsync/task.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A handle, freely copied; see struct zs_cancel_token. */
struct zs_nursery {
	struct zs_scope *scope;
	uint64_t generation;
};

/* Bits of zs_nursery_options.flags. */
enum {
	/* All its tasks start on the opener's worker, so that they may share
	 * memory without locks. */
	ZS_NURSERY_PINNED = 1 << 0,
};

struct zs_nursery_options {
	/* When everything inside is cancelled; 0 or ZS_NEVER: never. */
	int64_t deadline_ns;
	uint32_t flags;
};

/* Task. Opens a nursery inside the current scope and enters its scope. NULL
 * options are all zero. -EINVAL for a NULL nursery or an unknown flag,
 * -ENOMEM. */
int zs_nursery_open(struct zs_nursery *nursery,
		    const struct zs_nursery_options *options);

/*
 * Any thread. Spawns a task that runs fn(arg). 0, or nothing was spawned:
 * -EINVAL (no function), -ESTALE (the nursery is closed), -ECANCELED (it is
 * cancelled), -EAGAIN (max_green_threads are alive), -ENOMEM.
 */
int zs_nursery_spawn(struct zs_nursery nursery, zs_task_fn *fn, void *arg);

/* As above; @size bytes at @args travel with the task, whose argument points at
 * its copy (aligned for any type, valid until the task ends). -E2BIG beyond
 * ZS_SPAWN_COPY_MAX. */
int zs_nursery_spawn_copy(struct zs_nursery nursery, zs_task_fn *fn,
			  const void *args, size_t size);

/* Any thread. As zs_nursery_spawn(), with @options. Besides its errors: -EINVAL
 * for options that make no sense, -E2BIG beyond ZS_SPAWN_COPY_MAX, -ENOMEM
 * where a worker's task asks for a size of which no stack can be had at all;
 * zs_explain() has a text for each. */
int zs_nursery_spawn_with(struct zs_nursery nursery,
			  const struct zs_spawn_options *options,
			  zs_task_fn *fn, void *arg);

/* Any thread. Cancels its tasks and the opener's calls inside it. 0 also if it
 * was cancelled before; -ESTALE if closed. */
int zs_nursery_cancel(struct zs_nursery nursery);

/*
 * The task that opened it. Waits until all its tasks have ended, leaves its
 * scope and closes it. 0 if all returned >= 0; else the first error, or, where
 * the nursery was cancelled from elsewhere, -ECANCELED or -ETIMEDOUT. Being
 * cancelled does not cut the wait short: it cancels the tasks and joins them.
 * Those that have not started are started in the order of their spawns; but
 * where older tasks of others would come before them, the last one first.
 * The nursery stays open on -EPERM (another task opened it) and -EBUSY (a scope
 * opened inside it is still open); -ESTALE if it is closed already.
 */
int zs_nursery_wait(struct zs_nursery nursery);

#ifdef __cplusplus
}
#endif
#endif
