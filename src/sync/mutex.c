/* SPDX-License-Identifier: MIT */
/*
 * Mutex: one word, who owns it, which is all that is touched while nobody
 * waits. Called by tasks and by any thread.
 *
 * An unlock takes the first waiter out, frees the word, and wakes that waiter,
 * who then tries again; meanwhile anyone may take it (barging). Who loses it
 * that way waits on, before all others; after MAX_LOSSES it is made the owner
 * by who unlocks. Handing it over each time instead would let the others wait,
 * each time, for a task that has yet to be resumed: by another worker that
 * takes microseconds.
 *
 * The word says that it is awaited, or a waiter is on its way who will see to
 * it: so no waiter is forgotten. Only within the gate may the word be made to
 * say so.
 */
#include "sync/mutex.h"

#include <errno.h>

#include "base/explain.h"
#include "base/text.h"

/* Bit of the word: who unlocks has to look who waits. */
#define AWAITED ((uintptr_t)1)

/*
 * So often may a waiter be woken in vain. With four tasks on two CPUs a lock
 * and an unlock take 77 ns with 0, 61 with 1, 52 with 2, 42 with 8 and 57
 * without a limit (medians). On one CPU, where each gives way while it holds
 * the mutex, 8 lets one task have it half as often as another, 2 all equally
 * often.
 */
#ifndef MAX_LOSSES
#define MAX_LOSSES 2
#endif

/* Looks before a wait, where the owner may be running: a microsecond. With one
 * task on each of two CPUs a lock and an unlock take 100 ns, 135 without. */
#ifndef LOOKS
#define LOOKS 30
#endif

enum {
	QUEUED = 1,
	LOST, /* of a waiter that was woken to try again */
};

static ZS_ALWAYS_INLINE _Atomic uintptr_t *word_of(struct zs_mutex *mutex)
{
	return (_Atomic uintptr_t *)&mutex->word;
}

/* relaxed: only the caller itself makes it the caller's, or no more; and what
 * else is acted on, is by compare-exchange. */
static ZS_ALWAYS_INLINE uintptr_t look(const struct zs_mutex *mutex)
{
	return atomic_load_explicit((const _Atomic uintptr_t *)&mutex->word,
				    memory_order_relaxed);
}

static ZS_ALWAYS_INLINE uintptr_t owner_of(uintptr_t word)
{
	return word & ~AWAITED;
}

/* acquire: what was done by who had it before. */
static ZS_ALWAYS_INLINE bool take(struct zs_mutex *mutex, uintptr_t word)
{
	uintptr_t nobody = 0;

	return atomic_compare_exchange_strong_explicit(word_of(mutex), &nobody,
						       word,
						       memory_order_acquire,
						       memory_order_relaxed);
}

/* release: for who takes it next. */
static ZS_ALWAYS_INLINE bool give_back(struct zs_mutex *mutex, uintptr_t caller)
{
	uintptr_t word = caller;

	return atomic_compare_exchange_strong_explicit(word_of(mutex), &word, 0,
						       memory_order_release,
						       memory_order_relaxed);
}

/* relaxed: whoever unlocks looks at the queue within the gate. */
static bool mark(struct zs_mutex *mutex, uintptr_t word)
{
	return atomic_compare_exchange_strong_explicit(word_of(mutex), &word,
						       word | AWAITED,
						       memory_order_relaxed,
						       memory_order_relaxed);
}

bool zs_mutex_is_of(const struct zs_mutex *mutex, uintptr_t caller)
{
	return owner_of(look(mutex)) == caller;
}

/* --- waiting --- */

static ZS_RACY void describe(const void *object, struct zs_text *text)
{
	zs_gate_describe(object, text, "mutex ");
}

static const struct zs_wait_type waiting = {
	.cancel = zs_gate_cancel,
	.describe = describe,
};
static const struct zs_wait_type waiting_deaf = {
	.describe = describe,
};

/* Within the gate. 0: it is the caller's; QUEUED; or @error, for who must not
 * wait any more. */
static int take_or_queue(struct zs_mutex *mutex, struct zs_waiter *waiter,
			 uintptr_t caller, int error)
{
	struct zs_waiters *queue = zs_gate_waiters(&mutex->gate);
	bool is_others = !zs_waiters_are_none(queue);
	uintptr_t word;

	do {
		word = look(mutex);
		if (!word && take(mutex, caller | (is_others ? AWAITED : 0)))
			return 0;
		if (word && error && !is_others)
			return error;
	} while (!word || !mark(mutex, word));
	if (error)
		return error;
	if (waiter->amount > 0)
		zs_waiters_prepend(queue, waiter);
	else
		zs_waiters_append(queue, waiter);
	return QUEUED;
}

static int lock_waiting(struct zs_mutex *mutex, struct zs_worker *worker,
			const struct zs_wait_type *type)
{
	uintptr_t caller = zs_gate_caller(worker);
	struct zs_waiter waiter;
	int error = 0;
	int ret;

	waiter.amount = 0;
	waiter.item = (void *)caller;
	for (;; waiter.amount++) {
		zs_waiter_init(&waiter, worker, mutex);
		zs_gate_enter(&mutex->gate);
		ret = take_or_queue(mutex, &waiter, caller, error);
		zs_gate_leave(&mutex->gate);
		if (ret != QUEUED)
			return ret;
		zs_wait(&waiter, type, &waiter);
		if (waiter.result != LOST)
			return zs_gate_explain(waiter.result);
		/* A cancel found it on its way, and does not come again. */
		if (waiter.wake.task && type->cancel)
			error = zs_scope_error(waiter.wake.task->scope);
	}
}

/* Its owner may be running, and be done in a moment. */
static bool look_some(struct zs_mutex *mutex, const struct zs_worker *worker,
		      uintptr_t caller)
{
	int i;

	if (worker && worker->alone)
		return false;
	for (i = 0; i < LOOKS; i++) {
		uintptr_t word = look(mutex);

		if (!word && take(mutex, caller))
			return true;
		if (word & AWAITED)
			return false;
		zs_task_relax();
	}
	return false;
}

static ZS_NOINLINE int lock_with_care(struct zs_mutex *mutex)
{
	struct zs_worker *worker = zs_worker_self;
	uintptr_t caller;
	int ret;

	if (!mutex)
		return zs_explain_none(-EINVAL);
	if (worker && worker->quick_calls == 0)
		zs_wait_let_others_run(worker);
	ret = zs_wait_check(worker);
	if (ret < 0)
		return ret;
	caller = zs_gate_caller(worker);
	if (zs_mutex_is_of(mutex, caller))
		return zs_explain_as(-EDEADLK, "the caller owns this mutex "
					       "already");
	if (take(mutex, caller) || look_some(mutex, worker, caller))
		return 0;
	return lock_waiting(mutex, worker, &waiting);
}

void zs_mutex_lock_deaf(struct zs_mutex *mutex, struct zs_worker *worker)
{
	if (!take(mutex, zs_gate_caller(worker)))
		lock_waiting(mutex, worker, &waiting_deaf);
}

/* --- unlocking --- */

/* It is the caller's, and was awaited. */
static ZS_NOINLINE void unlock_awaited(struct zs_mutex *mutex, uintptr_t caller)
{
	struct zs_waiters *queue = zs_gate_waiters(&mutex->gate);
	bool is_handed_over = false;
	struct zs_waiter *waiter;
	uintptr_t word;

	do {
		zs_gate_enter(&mutex->gate);
		waiter = zs_waiters_take(queue);
		if (waiter)
			break;
		/* All have been cancelled. relaxed: it is ours, and only within
		 * the gate do others change it. */
		atomic_store_explicit(word_of(mutex), caller,
				      memory_order_relaxed);
		zs_gate_leave(&mutex->gate);
	} while (!give_back(mutex, caller));
	if (!waiter)
		return;
	waiter->result = LOST;
	if (waiter->amount >= MAX_LOSSES) {
		is_handed_over = true;
		waiter->result = 0;
		word = (uintptr_t)waiter->item |
		       (zs_waiters_are_none(queue) ? 0 : AWAITED);
		/* relaxed: the wake publishes what we did. */
		atomic_store_explicit(word_of(mutex), word,
				      memory_order_relaxed);
	}
	zs_gate_leave(&mutex->gate);
	/* Last of all, for who takes it next may free it. That somebody may
	 * have begun to wait since is lost here; the waiter sees to it.
	 * release: for who takes it next. */
	if (!is_handed_over)
		atomic_store_explicit(word_of(mutex), 0, memory_order_release);
	waiter->next = NULL;
	zs_wakes_all(waiter);
}

static ZS_NOINLINE int unlock_with_care(struct zs_mutex *mutex)
{
	uintptr_t caller;

	if (!mutex)
		return zs_explain_none(-EINVAL);
	caller = zs_gate_caller(zs_worker_self);
	if (!zs_mutex_is_of(mutex, caller))
		return zs_explain_as(-EPERM,
				     "the caller does not own this mutex");
	if (!give_back(mutex, caller))
		unlock_awaited(mutex, caller);
	return 0;
}

/* --- the calls --- */

ZS_PUBLIC int zs_mutex_lock(struct zs_mutex *mutex)
{
	struct zs_worker *worker = zs_worker_self;
	struct zs_task *task = worker ? worker->current : NULL;

	/* Who never has to wait lets others run even so, now and then. */
	if (zs_likely(task) && zs_likely(mutex) &&
	    zs_likely(zs_scope_error(task->scope) == 0) &&
	    zs_likely(--worker->quick_calls > 0) &&
	    zs_likely(take(mutex, (uintptr_t)task)))
		return 0;
	return lock_with_care(mutex);
}

ZS_PUBLIC int zs_mutex_try_lock(struct zs_mutex *mutex)
{
	uintptr_t caller;

	if (!mutex)
		return zs_explain_none(-EINVAL);
	caller = zs_gate_caller(zs_worker_self);
	if (take(mutex, caller))
		return 0;
	return zs_explain_none(zs_mutex_is_of(mutex, caller) ? -EDEADLK :
							       -EAGAIN);
}

ZS_PUBLIC int zs_mutex_unlock(struct zs_mutex *mutex)
{
	struct zs_worker *worker = zs_worker_self;
	struct zs_task *task = worker ? worker->current : NULL;

	if (zs_likely(task) && zs_likely(mutex) &&
	    zs_likely(give_back(mutex, (uintptr_t)task)))
		return 0;
	return unlock_with_care(mutex);
}
