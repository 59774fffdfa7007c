/* SPDX-License-Identifier: MIT */
/*
 * Time: nanoseconds on CLOCK_MONOTONIC. A sleep never ends early, and no timer
 * is called early.
 */
#ifndef ZSYNC_TIME_H
#define ZSYNC_TIME_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ZS_MICROSECOND INT64_C(1000)
#define ZS_MILLISECOND INT64_C(1000000)
#define ZS_SECOND INT64_C(1000000000)

/* A point in time that never comes: no deadline. */
#define ZS_NEVER INT64_MAX

/* Any thread. */
int64_t zs_now(void);

/* Task. A duration <= 0 yields. -ECANCELED or -ETIMEDOUT if the scope was
 * cancelled first. */
int zs_sleep(int64_t duration_ns);

/* Task. ZS_NEVER sleeps until cancelled; -EDEADLK if nobody is left who could
 * do that: see zsync(7). */
int zs_sleep_until(int64_t deadline_ns);

/*
 * Timers: a function that is called at a point in time, with no task that waits
 * for it. A timeout for much of what a service keeps in memory, most of which
 * are cancelled or put off long before their time: each of these takes a few
 * nanoseconds and allocates nothing.
 *
 *	struct connection {
 *		struct zs_timer idle;
 *		...
 *	};
 *
 *	static void hang_up(struct zs_timer *timer, void *arg)
 *	{
 *		struct connection *connection = arg;
 *
 *		zs_cancel_token_cancel(connection->token);
 *	}
 *
 *	zs_timer_start(&connection->idle, zs_now() + 30 * ZS_SECOND, hang_up,
 *		       connection);
 *	...
 *	zs_timer_reset(&connection->idle, zs_now() + 30 * ZS_SECOND);
 *	...
 *	zs_timer_cancel(&connection->idle);
 *
 * Whose it is. The memory is the caller's, zeroed before its first start. While
 * the timer is armed it must neither move nor go away: a timer on a task's
 * stack, or in memory that is about to be freed, has to be cancelled first.
 *
 * Who may call. A timer belongs to the worker on which it was started: to the
 * task that started it (a task that has started stays on its worker), to others
 * of the same worker, such as those of a pinned nursery, and to functions that
 * timers of this worker call. From another worker a reset or a cancel is
 * -EXDEV, a start of an armed one -EBUSY, and nothing has happened. Once it is
 * unarmed any worker may start it again; the tasks have to have agreed on that,
 * as on any other memory.
 *
 * The function runs on its worker's thread between two tasks, on the thread's
 * stack and not inside a task: a call that might park returns -EPERM there. It
 * may start, reset and cancel any timer of the worker, its own included (which
 * is unarmed by then, and may also be freed), spawn into a nursery or a runtime
 * that it has got a handle of, and cancel by a token. All tasks of the worker
 * wait for it, so it should be short.
 *
 * When. At the first turn of the worker's loop after the deadline, never
 * before. On an idle machine that is as late as the kernel wakes the thread,
 * 0.05 to 0.1 ms; where many timers are close together they are dealt with
 * 0.13 ms at a time, which comes on top. A worker whose task does not give way
 * is late by that. Those that are due are called in the order of their
 * deadlines, but for those less than 1.1 us apart. What a function arms for a
 * time in the past comes at the next turn, so a timer that always does that
 * lets others run.
 *
 * A timer keeps no runtime alive. When the last task has ended, those that are
 * still armed are unarmed without a call.
 */
struct zs_timer;
typedef void zs_timer_fn(struct zs_timer *timer, void *arg);

/* All but one are the runtime's own. */
struct zs_timer {
	struct zs_timer *next;
	struct zs_timer **link; /* NULL while it is unarmed */
	int64_t deadline_ns;	/* to be read: as of the last start or reset */
	zs_timer_fn *fn;
	void *arg;
	void *worker;
};

/*
 * Task, or a timer's function. Arms an unarmed timer: fn(timer, arg) is called
 * once, at @deadline_ns. A point in time that has passed is as good as now;
 * ZS_NEVER arms it, but it is not called. 0, or nothing has happened: -EINVAL
 * (no timer or no function), -EBUSY (it is armed: reset or cancel it), -EPERM
 * (not on a worker's thread).
 */
int zs_timer_start(struct zs_timer *timer, int64_t deadline_ns, zs_timer_fn *fn,
		   void *arg);

/*
 * Task, or a timer's function. Another point in time for the same function and
 * argument, sooner or later, whether the timer is armed or has been called or
 * cancelled. 1 if it was armed, 0 if it was not and is now; or nothing has
 * happened: -EINVAL (no timer, or one that was never started), -EXDEV (started
 * on another worker), -EPERM (not on a worker's thread).
 */
int zs_timer_reset(struct zs_timer *timer, int64_t deadline_ns);

/*
 * Task, or a timer's function. 1 if it was armed: the function will not be
 * called for it. 0 if it was not: the function has been called, or has begun
 * (only then can it be the function itself that asks), or the timer was never
 * started. In both cases the memory is the caller's again. -EINVAL (no timer),
 * -EXDEV (started on another worker), -EPERM (not on a worker's thread).
 */
int zs_timer_cancel(struct zs_timer *timer);

#ifdef __cplusplus
}
#endif
#endif
