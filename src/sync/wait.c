/* SPDX-License-Identifier: MIT */
/* Queues of waiters; called by the primitives of this room, by tasks and by any
 * thread. */
#include "sync/wait.h"

#include <errno.h>

#include "base/clock.h"
#include "base/explain.h"
#include "base/futex.h"
#include "sched/scope.h"
#include "zsync/time.h"

/* acq_rel: the winner's waiter was filled before it was put in; who loses sees
 * what the winner did. */
static bool wins(struct zs_waiter *waiter)
{
	uint32_t nobody = 0;

	return !waiter->choice ||
	       atomic_compare_exchange_strong_explicit(
		       &waiter->choice->winner, &nobody, waiter->number + 1,
		       memory_order_acq_rel, memory_order_acquire);
}

struct zs_waiter *zs_waiters_take(struct zs_waiters *queue)
{
	struct zs_waiter *waiter;

	do {
		waiter = queue->first;
		if (!waiter)
			return NULL;
		zs_waiters_remove(queue, waiter);
	} while (!wins(waiter));
	return waiter;
}

void zs_wakes_add_all(struct zs_wakes *wakes, struct zs_waiters *queue,
		      int result)
{
	struct zs_waiter *waiter;

	while ((waiter = zs_waiters_take(queue)))
		zs_wakes_add(wakes, waiter, result);
}

/* release: the result, and what was handed over. Its stack may be gone by the
 * time of the wake, which goes by the address alone and whoever it is. */
static void wake_thread(struct zs_waiter *waiter)
{
	_Atomic uint32_t *over = waiter->over;
	int saved_errno = errno;

	atomic_store_explicit(over, 1, memory_order_release);
	zs_word_wake(over);
	errno = saved_errno;
}

void zs_wakes_all(struct zs_waiter *first)
{
	while (first) {
		/* It is not ours any more once it has been woken. */
		struct zs_waiter *next = first->next;

		if (first->wake.task)
			zs_task_wake_anywhere(&first->wake);
		else
			wake_thread(first);
		first = next;
	}
}

ZS_NOINLINE int zs_wait_check_slowly(struct zs_worker *worker)
{
	struct zs_task *task;

	if (!worker)
		return 0;
	task = worker->current;
	if (!task)
		return zs_explain_as(-EPERM, "no task runs: a timer's function "
					     "may not wait; use a try form");
	/* Before it looks: see zs_scope_link(). */
	if (!task->is_linked)
		zs_scope_link(task);
	return zs_scope_error(task->scope);
}

ZS_NOINLINE int zs_wait_let_others_run(struct zs_worker *worker)
{
	if (worker) {
		worker->quick_calls = ZS_WORKER_QUICK_CALLS;
		zs_yield();
	}
	return 0;
}

bool zs_wait_until(struct zs_waiter *waiter, int64_t deadline_ns)
{
	int saved_errno = errno;
	bool is_over;

	/* acquire: the result, and what was handed over. */
	while (!(is_over = atomic_load_explicit(&waiter->is_over,
						memory_order_acquire))) {
		int64_t now_ns = zs_clock_ns(), left_ns;
		struct timespec left;

		if (deadline_ns <= now_ns)
			break;
		left_ns = deadline_ns - now_ns;
		left.tv_sec = left_ns / ZS_SECOND;
		left.tv_nsec = left_ns % ZS_SECOND;
		zs_word_wait(&waiter->is_over, 0,
			     deadline_ns == ZS_NEVER ? NULL : &left);
	}
	errno = saved_errno;
	return is_over;
}

void zs_wait(struct zs_waiter *waiter, const struct zs_wait_type *type,
	     const void *waits_on)
{
	if (waiter->wake.task)
		zs_task_park(type, waits_on);
	else
		zs_wait_until(waiter, ZS_NEVER);
}

void zs_wait_cancel(struct zs_waiter *waiter)
{
	struct zs_task *task = waiter->wake.task;

	waiter->result = zs_task_wait_error(task);
	zs_task_wake(task);
}
