/* SPDX-License-Identifier: MIT */
/*
 * Tasks: green threads, each with a stack of its own. They are spawned into a
 * nursery (zsync/nursery.h) or into a runtime (zsync/runtime.h).
 *
 * A task that has not started may be started by any worker; once it has run it
 * stays on that worker, so thread-local variables never change under it. Two
 * tasks of one worker do share them. A task must not park while it holds a
 * pthread lock.
 *
 * C++: tasks may throw and catch, and park inside a catch block or a destructor
 * (not where C++'s library came by dlopen()). An exception must not leave the
 * task's function: it is reported with the task's name and ends the process by
 * std::terminate().
 */
#ifndef ZSYNC_TASK_H
#define ZSYNC_TASK_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct zs_task;

/* What a task runs. It returns 0 (or any number >= 0) or a negative errno,
 * which its nursery takes for a failure. */
typedef int zs_task_fn(void *arg);

/* Longest name kept, its final NUL not counted. */
#define ZS_TASK_NAME_MAX 23

/* Most bytes that a ..._spawn_copy() takes with it. */
#define ZS_SPAWN_COPY_MAX 64

/* What else a ..._spawn_with() is told. All zero but the size: plain spawn. */
struct zs_spawn_options {
	size_t size; /* sizeof(struct zs_spawn_options) */
	/* Bytes of stack, rounded up to a power of two; ZS_STACK_SIZE_MIN to
	 * ZS_STACK_SIZE_MAX. 0: zs_config.green_thread_stack_size. Each worker
	 * keeps stacks of each size that was asked for ready, as it does with
	 * those of the usual size. */
	size_t stack_size;
	/* As zs_task_set_name(), from the start; NULL: it has none. Copied. */
	const char *name;
	/* 0: arg is handed to the task as it is. Else so many bytes at arg
	 * travel with it, at most ZS_SPAWN_COPY_MAX: see
	 * zs_nursery_spawn_copy(). */
	size_t copy_size;
};

/* Task. Lets the other ready tasks of this worker run first. Also a point of
 * cancellation for a task that only computes. */
int zs_yield(void);

/* Any thread. The calling task, NULL outside one. Valid until it ends. */
struct zs_task *zs_self(void);

/* Any thread, for a task that has not ended. Unique within a runtime. */
uint64_t zs_task_id(const struct zs_task *task);

/* Task. Names the calling task, for dumps and messages. The text is copied and
 * cut at ZS_TASK_NAME_MAX bytes. -EINVAL for NULL. */
int zs_task_set_name(const char *name);

/* Any thread, for a task that has not ended; "" where it has no name. */
const char *zs_task_name(const struct zs_task *task);

#ifdef __cplusplus
}
#endif
#endif
