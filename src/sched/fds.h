/* SPDX-License-Identifier: MIT */
/*
 * Descriptors in use: which tasks have operations on one, so that a close can
 * end them first and its number is not used again before they are gone. For the
 * io room, from a task; one table a runtime.
 *
 * Each descriptor has room for two users, tasks that have begun an operation on
 * it since it was last closed: one alone, or one that reads and one that
 * writes. Where there are more the table only says so, and a close looks at all
 * tasks. A user that is over is replaced, not removed: an operation that ends
 * costs nothing, and one that begins a single comparison.
 */
#ifndef ZS_SCHED_FDS_H
#define ZS_SCHED_FDS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/mailbox.h"
#include "sched/task.h"
#include "sched/worker.h"

struct zs_fds {
	uint32_t size; /* descriptors beyond are not watched */
	_Atomic(struct zs_task *) *users[2];
	_Atomic uint32_t *closes; /* of each descriptor: see engine.h */
	size_t mapped;
	/* Of what follows, and of the ends of closes: written by each, and so
	 * apart from what others only read. */
	ZS_CACHE_ALIGNED pthread_mutex_t lock;
	struct zs_fd_waiter *waiters;
};

/* A task that waits for another's close to be over, or, as a closer, for other
 * tasks' operations: on its stack, and a message between workers. */
struct zs_fd_waiter {
	struct zs_wake wake;
	struct zs_fd_waiter *next;
	struct zs_task *user; /* a closer's: NULL for all that a worker has */
	int fd;
};

/* As many as RLIMIT_NOFILE may be raised to, up to 1,048,576. Address space of
 * 20 bytes each, of which what is used becomes memory. 0 or -ENOMEM, with a
 * text. */
int zs_fds_init(struct zs_fds *fds);
void zs_fds_fini(struct zs_fds *fds);

/* Is @task, which runs on @worker, known as a user of @fd? The short way of
 * zs_fds_claim(). relaxed: only the task itself puts itself there. */
static ZS_ALWAYS_INLINE bool zs_fds_is_user(const struct zs_worker *worker,
					    const struct zs_task *task, int fd)
{
	return zs_likely((uint32_t)fd < worker->num_fds) &&
	       atomic_load_explicit(&worker->fd_users[fd],
				    memory_order_relaxed) == task;
}

/* @task, which runs, is about to begin an operation on @fd. 0, or -EBADF if
 * another task is about to close it; waits until one that does has closed. */
int zs_fds_claim(struct zs_task *task, int fd);

/*
 * @task, which runs, is in a call on @fd that takes several operations, and has
 * claimed @fd: so that a close finds it between two of them, too, or in one on
 * another descriptor. The close ends its wait, if it is in one, and waits for
 * zs_fds_let_go(); what the call would do next is refused by
 * zs_fds_is_losing(). False if the task kept it before: then it is not to be
 * let go of here.
 */
static inline bool zs_fds_keep(struct zs_task *task, int fd)
{
	if (task->kept_fd != 0)
		return false;
	task->kept_fd = fd + 1;
	return true;
}

static inline void zs_fds_let_go(struct zs_task *task)
{
	task->kept_fd = 0;
}

/* Is what @task keeps about to be closed? */
static inline bool zs_fds_is_losing(const struct zs_task *task)
{
	return task->kept_fd < 0;
}

/* @task, which runs, is about to close @fd: ends the operations that other
 * tasks have on it, with -ECANCELED or their results, and waits until they are
 * done. 0, or -EBADF if another task is about to close it. */
int zs_fds_begin_close(struct zs_task *task, int fd);
/* It has been closed. */
void zs_fds_end_close(struct zs_task *task, int fd);

/* A message, on the worker it was posted to. */
void zs_fds_handle_close(struct zs_worker *worker, struct zs_fd_waiter *closer);
/* The worker's loop, when those that were ready have run and closers are
 * waiting. */
void zs_fds_look_again(struct zs_worker *worker);

#endif
