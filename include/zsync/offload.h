/* SPDX-License-Identifier: MIT */
/* Calls that can only block, on threads that are there for them. */
#ifndef ZSYNC_OFFLOAD_H
#define ZSYNC_OFFLOAD_H

#ifdef __cplusplus
extern "C" {
#endif

/* Any result is its caller's to understand. */
typedef int zs_offload_fn(void *arg);

/*
 * Task. Calls fn(arg) on a thread of the runtime's pool and parks meanwhile, so
 * that the worker's other tasks run: for libraries that block, and for long
 * computations. Returns what the function did.
 *
 * As many such calls run at once as zs_config.offload_threads says; more of
 * them wait, in order. They keep neither files nor name lookups from starting,
 * which have threads of their own. On the blocking model, and where no thread
 * can be made at all, the function is called on the worker's own thread.
 *
 * A cancel of the scope ends the wait of one that has not begun: -ECANCELED or
 * -ETIMEDOUT, and the function is never called. One that has begun is awaited,
 * since it uses the caller's memory, and its result is returned.
 *
 * Inside the function the thread runs no task: what parks is -EPERM there, on
 * each model. -EINVAL for no function, -EPERM outside a task.
 */
int zs_offload(zs_offload_fn *fn, void *arg);

#ifdef __cplusplus
}
#endif
#endif
