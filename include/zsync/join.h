/* SPDX-License-Identifier: MIT */
/*
 * Handles of tasks: to wait for one task of a nursery, and for its result, in
 * any other task. The nursery joins all of its tasks in any case; what nobody
 * asks for is dropped when it is closed.
 */
#ifndef ZSYNC_JOIN_H
#define ZSYNC_JOIN_H

#include <stdint.h>

#include <zsync/nursery.h>
#include <zsync/task.h>

#ifdef __cplusplus
extern "C" {
#endif

struct zs_outcome;

/* Freely copied. One whose task has been joined, or whose nursery is closed, is
 * recognised: -ESTALE. Void once the runtime is destroyed. */
struct zs_task_handle {
	struct zs_outcome *outcome;
	struct zs_scope *scope;
	uint64_t generation;
};

/*
 * Any thread. As zs_nursery_spawn_with(), but that NULL options are those of a
 * plain spawn; *handle is set before the task starts. The task is the nursery's
 * as any other: an error of it cancels its siblings. Until it is joined, or the
 * nursery is closed, 192 bytes are kept for it. Besides the errors there:
 * -EINVAL for a NULL handle.
 */
int zs_nursery_spawn_handle(struct zs_nursery nursery,
			    struct zs_task_handle *handle,
			    const struct zs_spawn_options *options,
			    zs_task_fn *fn, void *arg);

/*
 * Task, of any worker of the runtime. Waits until the task has ended and stores
 * what it returned in *result, which may be NULL. All that wait when it ends
 * are told; if none does, the first that asks later is. 0, or: -ESTALE (it was
 * joined before, or its nursery is closed), -ECANCELED or -ETIMEDOUT (the
 * waiting task was cancelled; the other one is as it was), -EDEADLK (it is the
 * calling task itself), -EXDEV (of another runtime).
 */
int zs_task_join(struct zs_task_handle handle, int *result);

/* The same, but what the task returned is left for a join. */
int zs_task_wait(struct zs_task_handle handle);

/* Task, of any worker of the runtime; never waits. 1 if it has ended and has
 * not been joined, 0 if it has not ended; -ESTALE or -EXDEV as above. */
int zs_task_has_ended(struct zs_task_handle handle);

#ifdef __cplusplus
}
#endif
#endif
