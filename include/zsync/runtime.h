/* SPDX-License-Identifier: MIT */
/*
 * Runtimes. zs_run() is all that most programs need; services that own main()
 * use create, start, spawn, stop and destroy from their own threads.
 *
 * Nothing runs before the first of these calls: no constructor, no thread, no
 * signal handler. While a runtime runs, SIGSEGV is taken on an alternate stack
 * in order to report stack overflows, and passed on to the handler that was
 * there before. SIGSTKFLT is as long as a runtime exists: it interrupts calls
 * that can only wait. Workers block asynchronous signals; but the thread that
 * calls zs_run() goes on to take those that it took before, except SIGPIPE.
 * Handlers then run on a task's stack unless they are installed with
 * SA_ONSTACK.
 *
 * A child made by fork() has no runtime: calls there return -EPERM, and the
 * parent is untouched. A child that a task made must end with exec or _exit().
 * fork() gives it the signal mask of the thread that started the runtime;
 * posix_spawn() keeps the worker's, unless told by POSIX_SPAWN_SETSIGMASK.
 */
#ifndef ZSYNC_RUNTIME_H
#define ZSYNC_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#include <zsync/config.h>
#include <zsync/task.h>

#ifdef __cplusplus
extern "C" {
#endif

struct zs_runtime;

/*
 * Any thread, outside a task (-EPERM inside one). Runs fn(arg) as the first
 * task and returns what it returned, once it and all that was spawned have
 * ended. The calling thread is worker 0. NULL config: zs_config_default(). The
 * environment overrides it, see zs_config_from_env(). Errors of the start are
 * those of zs_runtime_create(); to tell them from the task's own, use that.
 */
int zs_run(const struct zs_config *config, zs_task_fn *fn, void *arg);

/*
 * Any thread. Makes a runtime that does not run yet. The caller owns *runtime
 * and hands it to zs_runtime_destroy(). Errors, each with a text by
 * zs_explain(): -EINVAL (configuration or environment), -ENOSYS, -EPERM (the
 * kernel has or allows no io_uring and green_threads was asked for by name;
 * ZS_MODEL_AUTO falls back to thread_pool), -EOPNOTSUPP (the CPU's shadow stack
 * is active), -ENOMEM, -EMFILE.
 */
int zs_runtime_create(struct zs_runtime **runtime,
		      const struct zs_config *config);

/* Any thread. Starts the workers, all on threads of their own. -EALREADY if it
 * was started before, -EAGAIN if a thread could not be made. */
int zs_runtime_start(struct zs_runtime *runtime);

/*
 * A runtime inside another event loop. Instead of zs_runtime_start(), the
 * loop's thread calls zs_runtime_start_embedded(), waits for zs_runtime_fd() to
 * be readable together with whatever else it waits for, and calls
 * zs_runtime_step() then:
 *
 *	zs_runtime_start_embedded(runtime);
 *	do {
 *		step = zs_runtime_step(runtime);
 *		poll(fds, 1 + nr_own, step == ZS_STEP_READY ? 0 : -1);
 *		...
 *	} while (step != ZS_STEP_ENDED);
 *
 * Tasks run only inside a step. Between steps the thread is like any that is
 * no worker: it may spawn, cancel, stop, but calls for tasks are -EPERM. From
 * start to end SIGPIPE is blocked on it, and signal handlers with SA_ONSTACK
 * run on a stack of the runtime's.
 */
enum zs_step {
	ZS_STEP_IDLE,  /* nothing to do until the descriptor is readable */
	ZS_STEP_READY, /* there is more to do: call again, and do not wait */
	ZS_STEP_ENDED, /* it was stopped, and no task is left: destroy it */
};

/* Any thread, outside a task (-EPERM); that thread becomes the loop's. -EINVAL
 * if the runtime has more than one worker, -EOPNOTSUPP where its model cannot
 * be embedded, -EALREADY if it was started before, -EMFILE, -ENOMEM. */
int zs_runtime_start_embedded(struct zs_runtime *runtime);

/* Any thread. The descriptor, always the same; the runtime's, which closes it
 * when it is destroyed. To be waited for (poll, select, epoll and the like, by
 * level) and for nothing else: readable when the runtime wants to run, be it
 * for an operation, a timer, a spawn or a cancel from elsewhere. It may be
 * readable without a reason. -ESTALE if it was not started embedded. */
int zs_runtime_fd(struct zs_runtime *runtime);

/* The loop's thread. Runs what is ready, at most some 256 tasks' turns, and
 * never waits. An enum zs_step; -EPERM on another thread, or inside a task or a
 * timer's function; -ESTALE if it was not started embedded. */
int zs_runtime_step(struct zs_runtime *runtime);

/* Any thread, from start until stop. Spawns a task that belongs to no nursery
 * but the runtime's own; its error is counted and cancels nothing. Errors as
 * zs_nursery_spawn(); -ESTALE if the runtime is not running. */
int zs_runtime_spawn(struct zs_runtime *runtime, zs_task_fn *fn, void *arg);
int zs_runtime_spawn_copy(struct zs_runtime *runtime, zs_task_fn *fn,
			  const void *args, size_t size);
int zs_runtime_spawn_with(struct zs_runtime *runtime,
			  const struct zs_spawn_options *options,
			  zs_task_fn *fn, void *arg);

/*
 * A thread that is not a worker of it (-EDEADLK). Cancels all tasks and waits
 * until they and the workers have ended; from here on nothing can be spawned.
 * -ETIMEDOUT if that has not happened by @deadline_ns (ZS_NEVER: no limit): the
 * stop goes on, and may be called again. 0 if it had ended before. The thread
 * that steps an embedded runtime runs its tasks to their end meanwhile; with a
 * @deadline_ns of 0 it only asks, and has to go on with the steps. What keeps
 * it is a task that does not return, or an operation that the kernel holds: a
 * transfer of a file, of which a cancel only asks. zs_explain() says how many
 * tasks are left and what the first of them wait for, zs_dump() tells of all.
 */
int zs_runtime_stop(struct zs_runtime *runtime, int64_t deadline_ns);

/* Any thread, the last call on this runtime; other threads must have returned
 * from theirs. -EBUSY while it runs: stop it first. 0 for NULL. */
int zs_runtime_destroy(struct zs_runtime *runtime);

struct zs_runtime_info {
	enum zs_execution_model execution_model; /* never ZS_MODEL_AUTO */
	const char *model_name;
	/* Why this model: what the probe found. Valid until destroy. */
	const char *model_reason;
	uint32_t num_workers;
	uint32_t queue_depth; /* what the kernel granted */
	size_t green_thread_stack_size;
	size_t main_stack_size; /* of zs_run()'s first task */
};

/* Any thread; a NULL runtime is the calling task's (-EPERM outside one). */
int zs_runtime_info(const struct zs_runtime *runtime,
		    struct zs_runtime_info *info);

/* Any thread; a NULL runtime is the calling task's ("" outside one). For a
 * person: why this model carries its tasks out, such as what keeps auto from
 * green_threads here and the remedy. Valid until destroy. */
const char *zs_runtime_model_reason(const struct zs_runtime *runtime);

/* Any thread; a NULL runtime is the calling task's (-EPERM outside one). Writes
 * the configuration that is in force to @fd, each value with where it came from
 * as zs_config_print() does, once the model, the kernel and the rounding of
 * sizes have had their say. 0, or the negative errno of the first write that
 * failed. */
int zs_runtime_config_print(const struct zs_runtime *runtime, int fd);

#ifdef __cplusplus
}
#endif
#endif
