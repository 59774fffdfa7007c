/* SPDX-License-Identifier: MIT */
/*
 * Rate limiters, called by tasks of any worker, and where nothing waits by any
 * thread.
 *
 * Tokens are counted, not times: how many have fallen since the start follows
 * from the clock, exactly, so that nothing is lost by rounding. `taken` counts
 * those that are gone: taken by somebody, or fallen into a full bucket.
 *
 * Who has to wait stands in a queue. Its first sleeps until there are enough
 * for it, and wakes the next when it leaves, with its tokens or without.
 */
#include "zsync/interval.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "base/explain.h"
#include "sched/scope.h"
#include "sched/task.h"
#include "sched/worker.h"
#include "sync/lock.h"
#include "zsync/time.h"

#define BURST_MAX (UINT64_C(1) << 62)

__extension__ typedef unsigned __int128 wide;

/* On the stack of the task that waits. Under the limiter's lock but for what is
 * the task's own. */
struct zs_rate_waiter {
	struct zs_rate_waiter *next;
	struct zs_rate_waiter *previous;
	struct zs_rate_limiter *limiter;
	uint64_t tokens;
	struct zs_wake wake;
	/* It is the first of the queue, and its task does, or will, know. */
	bool is_told;
};

static_assert(sizeof(struct zs_lock) == sizeof(uint32_t),
	      "the public header knows it as a plain word");

static void lock(struct zs_rate_limiter *limiter)
{
	zs_lock_take((struct zs_lock *)&limiter->lock);
}

static void unlock(struct zs_rate_limiter *limiter)
{
	zs_lock_release((struct zs_lock *)&limiter->lock);
}

/* --- tokens --- */

/* By @now_ns, those that were there at the start not counted. */
static uint64_t fallen(const struct zs_rate_limiter *limiter, int64_t now_ns)
{
	uint64_t elapsed_ns = now_ns > limiter->start_ns ?
				      (uint64_t)(now_ns - limiter->start_ns) :
				      0;

	/* At most one a nanosecond: it fits. */
	return (uint64_t)((wide)elapsed_ns * limiter->tokens /
			  limiter->period_ns);
}

/* True if there are @tokens, which are taken then. */
static bool take(struct zs_rate_limiter *limiter, uint64_t tokens)
{
	uint64_t now = fallen(limiter, zs_clock_ns());
	uint64_t gone = limiter->taken > now ? limiter->taken : now;

	if (gone + tokens > now + limiter->burst)
		return false;
	limiter->taken = gone + tokens;
	return true;
}

/* When @tokens can be taken, if nobody else takes any; the bucket has fewer.
 * Rounded up. */
static int64_t time_of(const struct zs_rate_limiter *limiter, uint64_t tokens)
{
	wide number = (wide)limiter->taken + tokens - limiter->burst;
	wide elapsed_ns = (number * limiter->period_ns + limiter->tokens - 1) /
			  limiter->tokens;

	if (elapsed_ns >= (wide)(ZS_NEVER - limiter->start_ns))
		return ZS_NEVER;
	return limiter->start_ns + (int64_t)elapsed_ns;
}

/* --- the queue --- */

static void join_queue(struct zs_rate_waiter *waiter)
{
	struct zs_rate_limiter *limiter = waiter->limiter;

	waiter->next = NULL;
	waiter->previous = limiter->last;
	waiter->is_told = !limiter->last;
	if (limiter->last)
		limiter->last->next = waiter;
	else
		limiter->first = waiter;
	limiter->last = waiter;
}

/* Who is the first now and has to be woken, once the lock is let go of: it does
 * not leave before. NULL: nobody. */
static struct zs_rate_waiter *leave_queue(struct zs_rate_waiter *waiter)
{
	struct zs_rate_limiter *limiter = waiter->limiter;
	struct zs_rate_waiter *next = waiter->next;

	if (next)
		next->previous = waiter->previous;
	else
		limiter->last = waiter->previous;
	if (waiter->previous) {
		waiter->previous->next = next;
		return NULL;
	}
	limiter->first = next;
	if (next)
		next->is_told = true;
	return next;
}

/* --- waiting to be the first --- */

static void cancel_waiting(struct zs_task *task)
{
	/* The task's own, on its stack: const only for those who look on. */
	struct zs_rate_waiter *waiter =
		(struct zs_rate_waiter *)(uintptr_t)task->waits_on;
	struct zs_rate_limiter *limiter = waiter->limiter;
	bool is_told;

	lock(limiter);
	is_told = waiter->is_told;
	if (!is_told)
		leave_queue(waiter);
	unlock(limiter);
	/* Else it wakes up in any case, and sees for itself. */
	if (is_told)
		return;
	task->wake_result = zs_task_wait_error(task);
	zs_task_wake(task);
}

static ZS_RACY void describe_waiting(const void *object, struct zs_text *text)
{
	const struct zs_rate_waiter *waiter = object;

	zs_text_add_number(text, (int64_t)waiter->tokens);
	zs_text_add(text, " tokens of a rate limiter, behind others");
}

static const struct zs_wait_type waiting = {
	.cancel = cancel_waiting,
	.describe = describe_waiting,
};

/* 0: it is the first. Else it was cancelled, and has left. */
static int await_turn(struct zs_task *task, struct zs_rate_waiter *waiter)
{
	/* What ends the wait otherwise does not touch it. */
	task->wake_result = 0;
	zs_task_park(&waiting, waiter);
	return task->wake_result;
}

/* The first of the queue: sleeps until there are enough. */
static int await_tokens(struct zs_rate_waiter *waiter)
{
	struct zs_rate_limiter *limiter = waiter->limiter;
	struct zs_rate_waiter *next;
	int64_t time_ns;
	int ret = 0;

	for (;;) {
		lock(limiter);
		if (ret < 0 || take(limiter, waiter->tokens))
			break;
		time_ns = time_of(limiter, waiter->tokens);
		unlock(limiter);
		ret = zs_sleep_until(time_ns);
	}
	next = leave_queue(waiter);
	unlock(limiter);
	if (next)
		zs_task_wake_anywhere(&next->wake);
	return ret;
}

/* --- calls --- */

static int check_tokens(const struct zs_rate_limiter *limiter, uint64_t tokens)
{
	if (!limiter || limiter->period_ns == 0)
		return zs_explain_none(-EINVAL);
	if (tokens > limiter->burst)
		return zs_explain_as(-EINVAL,
				     "%llu tokens at once of a rate limiter "
				     "whose burst is %llu",
				     (unsigned long long)tokens,
				     (unsigned long long)limiter->burst);
	return 0;
}

ZS_PUBLIC int zs_rate_limiter_init(struct zs_rate_limiter *limiter,
				   uint64_t tokens, int64_t period_ns,
				   uint64_t burst)
{
	if (!limiter)
		return zs_explain_none(-EINVAL);
	*limiter = (struct zs_rate_limiter){ 0 };
	if (tokens == 0 || period_ns <= 0 || tokens > (uint64_t)period_ns)
		return zs_explain_as(-EINVAL,
				     "a rate of %llu tokens in %lld ns: it is "
				     "above 0, and at most one a nanosecond",
				     (unsigned long long)tokens,
				     (long long)period_ns);
	if (burst == 0 || burst > BURST_MAX)
		return zs_explain_as(-EINVAL,
				     "a burst of %llu tokens: it is 1 to 2^62",
				     (unsigned long long)burst);
	limiter->tokens = tokens;
	limiter->period_ns = (uint64_t)period_ns;
	limiter->burst = burst;
	limiter->start_ns = zs_clock_ns();
	return 0;
}

enum outcome { TAKEN, NOT_TAKEN, FIRST, BEHIND };

/* Without a @waiter nobody joins the queue. */
static enum outcome take_or_queue(struct zs_rate_limiter *limiter,
				  uint64_t tokens,
				  struct zs_rate_waiter *waiter)
{
	enum outcome outcome = TAKEN;

	lock(limiter);
	if (limiter->first || !take(limiter, tokens)) {
		outcome = NOT_TAKEN;
		if (waiter)
			outcome = limiter->first ? BEHIND : FIRST;
		if (waiter)
			join_queue(waiter);
	}
	unlock(limiter);
	return outcome;
}

ZS_PUBLIC int zs_rate_limiter_try_acquire(struct zs_rate_limiter *limiter,
					  uint64_t tokens)
{
	int ret = check_tokens(limiter, tokens);

	if (ret < 0 || tokens == 0)
		return ret;
	if (take_or_queue(limiter, tokens, NULL) == TAKEN)
		return 0;
	return zs_explain_none(-EAGAIN);
}

ZS_PUBLIC int zs_rate_limiter_acquire(struct zs_rate_limiter *limiter,
				      uint64_t tokens)
{
	struct zs_task *task = zs_worker_task();
	struct zs_rate_waiter waiter;
	enum outcome outcome;
	int ret;

	if (!task)
		return zs_explain_none(-EPERM);
	ret = check_tokens(limiter, tokens);
	if (ret < 0)
		return ret;
	if (!task->is_linked)
		zs_scope_link(task);
	ret = zs_scope_error(task->scope);
	/* Others run even so, as in zs_sleep_until(). */
	if (ret < 0)
		return zs_yield();
	if (tokens == 0)
		return 0;
	waiter.limiter = limiter;
	waiter.tokens = tokens;
	waiter.wake.task = task;
	outcome = take_or_queue(limiter, tokens, &waiter);
	if (outcome == TAKEN)
		return 0;
	if (outcome == BEHIND)
		ret = await_turn(task, &waiter);
	return ret < 0 ? ret : await_tokens(&waiter);
}
