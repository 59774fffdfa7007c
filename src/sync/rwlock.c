/* SPDX-License-Identifier: MIT */
/*
 * Reader-writer lock: one queue for both kinds, which is served from its front
 * as far as it goes whenever somebody leaves; who comes while others wait goes
 * to its end. So neither kind starves. Called by tasks and by any thread.
 */
#include <errno.h>

#include "base/explain.h"
#include "base/text.h"
#include "sync/gate.h"

/* What a waiter's amount says. */
enum { READER, WRITER };

/* --- within the gate; gate.number readers hold it --- */

static bool is_free_for(const struct zs_rwlock *lock, uint64_t kind)
{
	return !lock->writer && (kind == READER || lock->gate.number == 0);
}

static void admit(struct zs_rwlock *lock, uint64_t kind, uintptr_t who)
{
	if (kind == READER)
		lock->gate.number++;
	else
		lock->writer = who;
}

static void admit_those_in_front(struct zs_rwlock *lock, struct zs_wakes *wakes)
{
	struct zs_waiters *queue = zs_gate_waiters(&lock->gate);

	while (queue->first && is_free_for(lock, queue->first->amount)) {
		struct zs_waiter *waiter = zs_waiters_take(queue);

		admit(lock, waiter->amount, (uintptr_t)waiter->item);
		zs_wakes_add(wakes, waiter, 0);
	}
}

/* --- waiting --- */

static ZS_RACY void describe(const void *object, struct zs_text *text)
{
	const struct zs_waiter *waiter = object;

	zs_gate_describe(object, text,
			 waiter->amount == READER ? "reading under lock " :
						    "writing under lock ");
}

/* Those behind it may not have to wait any more. */
static void cancel(struct zs_task *task)
{
	struct zs_waiter *waiter = zs_gate_waiter(task);
	struct zs_rwlock *lock = waiter->primitive;
	struct zs_wakes wakes;
	bool is_in_time;

	zs_wakes_init(&wakes);
	zs_gate_enter(&lock->gate);
	is_in_time = waiter->is_queued;
	if (is_in_time) {
		zs_waiters_remove(zs_gate_waiters(&lock->gate), waiter);
		admit_those_in_front(lock, &wakes);
	}
	zs_gate_leave_and_wake(&lock->gate, &wakes);
	if (is_in_time)
		zs_wait_cancel(waiter);
}

static const struct zs_wait_type waiting = {
	.cancel = cancel,
	.describe = describe,
};

/* --- the calls --- */

/* Within the gate. -EAGAIN: it would have to wait. */
static int try(struct zs_rwlock *lock, uint64_t kind, uintptr_t caller)
{
	if (lock->writer == caller)
		return -EDEADLK;
	if (!zs_gate_is_clear(&lock->gate) || !is_free_for(lock, kind))
		return -EAGAIN;
	admit(lock, kind, caller);
	return 0;
}

static int explain(int ret)
{
	if (ret == -EDEADLK)
		return zs_explain_as(ret, "the caller is the writer of this "
					  "lock already");
	return ret < 0 ? zs_explain_none(ret) : ret;
}

static int lock_as(struct zs_rwlock *lock, uint64_t kind)
{
	struct zs_worker *worker = zs_worker_self;
	uintptr_t caller = zs_gate_caller(worker);
	struct zs_waiter waiter;
	int ret;

	if (!lock)
		return zs_explain_none(-EINVAL);
	ret = zs_gate_check(worker);
	if (ret < 0)
		return ret;
	zs_gate_enter(&lock->gate);
	ret = try(lock, kind, caller);
	if (ret != -EAGAIN) {
		zs_gate_leave(&lock->gate);
		return explain(ret);
	}
	zs_waiter_init(&waiter, worker, lock);
	waiter.amount = kind;
	waiter.item = (void *)caller;
	return zs_gate_wait(&lock->gate, &waiter, &waiting);
}

static int try_lock_as(struct zs_rwlock *lock, uint64_t kind)
{
	int ret;

	if (!lock)
		return zs_explain_none(-EINVAL);
	zs_gate_enter(&lock->gate);
	ret = try(lock, kind, zs_gate_caller(zs_worker_self));
	zs_gate_leave(&lock->gate);
	return explain(ret);
}

static int unlock_as(struct zs_rwlock *lock, uint64_t kind)
{
	uintptr_t caller = zs_gate_caller(zs_worker_self);
	struct zs_wakes wakes;
	bool has_it;

	if (!lock)
		return zs_explain_none(-EINVAL);
	zs_wakes_init(&wakes);
	zs_gate_enter(&lock->gate);
	has_it = kind == READER ? lock->gate.number > 0 :
				  lock->writer == caller;
	if (has_it) {
		if (kind == READER)
			lock->gate.number--;
		else
			lock->writer = 0;
		admit_those_in_front(lock, &wakes);
	}
	zs_gate_leave_and_wake(&lock->gate, &wakes);
	if (has_it)
		return 0;
	return zs_explain_as(-EPERM, kind == READER ?
					     "no reader holds this lock" :
					     "the caller is not the writer of "
					     "this lock");
}

ZS_PUBLIC int zs_rwlock_read_lock(struct zs_rwlock *lock)
{
	return lock_as(lock, READER);
}

ZS_PUBLIC int zs_rwlock_write_lock(struct zs_rwlock *lock)
{
	return lock_as(lock, WRITER);
}

ZS_PUBLIC int zs_rwlock_try_read_lock(struct zs_rwlock *lock)
{
	return try_lock_as(lock, READER);
}

ZS_PUBLIC int zs_rwlock_try_write_lock(struct zs_rwlock *lock)
{
	return try_lock_as(lock, WRITER);
}

ZS_PUBLIC int zs_rwlock_read_unlock(struct zs_rwlock *lock)
{
	return unlock_as(lock, READER);
}

ZS_PUBLIC int zs_rwlock_write_unlock(struct zs_rwlock *lock)
{
	return unlock_as(lock, WRITER);
}
