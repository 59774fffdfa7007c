/* SPDX-License-Identifier: MIT */
/*
 * Synchronisation: locks, and other means by which tasks wait for one another,
 * of any worker and of any runtime, and with threads that are no worker's.
 *
 * Memory. Each is a struct of the caller's, and needs no other memory. All zero
 * it is as new; where it begins with a number there is a ..._INIT and an
 * ..._init() call. There is nothing to destroy. It must stay where it is while
 * anyone waits in it, and be freed only when no call on it is under way; that
 * others have been let go by it is proof of that, but for a zs_once. None may
 * be shared between processes.
 *
 * Who may call: any thread. In a task a call that has to wait parks the task,
 * elsewhere it blocks the thread; on a worker's thread outside a task, in a
 * timer's function, only what never waits may be called, and the others return
 * -EPERM.
 *
 * A call that waits is ended by a cancel or by a deadline of its scope:
 * -ECANCELED or -ETIMEDOUT, and then it has got nothing, nor taken anything
 * from anyone else. One that was let go before the cancel came says so: 0.
 * Where nobody is left who could let it go it ends with -EDEADLK, see zsync(7).
 *
 * Order. Who waits is served first in, first out, but for the mutex.
 */
#ifndef ZSYNC_SYNC_H
#define ZSYNC_SYNC_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct zs_waiter;

/* What each of them has inside; this, and all other fields, are the library's
 * own. */
struct zs_gate {
	struct zs_waiter *first;
	struct zs_waiter *last;
	uint32_t lock;
	uint32_t number;
};

/* --- mutex --- */

/*
 * Held by one task, or one thread, at a time: its owner, who alone may unlock
 * it. A task that ends must not hold one, for then nobody can unlock it any
 * more.
 *
 * Whoever comes while it is free gets it, even if others wait; that keeps it
 * busy while a waiter is still on its way. A waiter who has lost it twice that
 * way is handed it.
 */
struct zs_mutex {
	struct zs_gate gate;
	uintptr_t word;
};

/* Waits until the caller is its owner. 0, -EDEADLK (it is already),
 * -ECANCELED, -ETIMEDOUT, -EPERM or -EINVAL (NULL). */
int zs_mutex_lock(struct zs_mutex *mutex);

/* Never waits, nor is it ended by a cancel. 0, -EAGAIN (another owns it),
 * -EDEADLK or -EINVAL. */
int zs_mutex_try_lock(struct zs_mutex *mutex);

/* Never waits. 0, -EPERM (the caller does not own it) or -EINVAL. */
int zs_mutex_unlock(struct zs_mutex *mutex);

/* --- condition variable --- */

/*
 * Waits for something to become true that a mutex guards, and so in a loop:
 *
 *	zs_mutex_lock(&mutex);
 *	while (ret == 0 && !is_ready)
 *		ret = zs_cond_wait(&cond, &mutex);
 *	...
 *	zs_mutex_unlock(&mutex);
 *
 * It never ends for no reason, but another may have been there first.
 */
struct zs_cond {
	struct zs_gate gate;
};

/* Unlocks @mutex, which the caller owns, and waits, as one step; then locks it
 * again, even if the wait was ended early, and however long that takes. The
 * caller owns it afterwards in any case. 0, -ECANCELED, -ETIMEDOUT, -EPERM
 * (also: it does not own it) or -EINVAL (NULL). */
int zs_cond_wait(struct zs_cond *cond, struct zs_mutex *mutex);

/* Neither waits, and the mutex need not be held. Lets the one go that has
 * waited longest, or all. 0, or -EINVAL for NULL. */
int zs_cond_signal(struct zs_cond *cond);
int zs_cond_broadcast(struct zs_cond *cond);

/* --- semaphore --- */

/* A number of permits, taken and given back by any number at a time. Who asks
 * for many is not overtaken by those who come later and ask for few. */
struct zs_sem {
	struct zs_gate gate;
};

/* Most permits, and most that can be asked for. */
#define ZS_SEM_MAX INT32_MAX

#define ZS_SEM_INIT(permits)                     \
	{                                        \
		{                                \
			NULL, NULL, 0, (permits) \
		}                                \
	}

/* When nobody uses it. 0, or -EINVAL: NULL, or over ZS_SEM_MAX. */
int zs_sem_init(struct zs_sem *sem, uint32_t permits);

/* Waits until there are @permits, and takes them. 0, at once for none,
 * -ECANCELED, -ETIMEDOUT, -EPERM or -EINVAL (NULL, or over ZS_SEM_MAX). */
int zs_sem_acquire(struct zs_sem *sem, uint32_t permits);

/* Never waits, nor is it ended by a cancel. -EAGAIN: there are too few, or
 * others wait. */
int zs_sem_try_acquire(struct zs_sem *sem, uint32_t permits);

/* Never waits. Anyone may give permits back, or new ones. 0, -EOVERFLOW (there
 * would be more than ZS_SEM_MAX; none has been added) or -EINVAL. */
int zs_sem_release(struct zs_sem *sem, uint32_t permits);

/* Never waits. How many permits are to be had, a moment ago; -EINVAL. */
int zs_sem_available(struct zs_sem *sem);

/* --- notify --- */

/* Tells a task that there is something to do. What is told while nobody waits
 * is kept, once, for who waits next. */
struct zs_notify {
	struct zs_gate gate;
};

/* Waits until it is notified, or has been. 0, -ECANCELED, -ETIMEDOUT, -EPERM or
 * -EINVAL. */
int zs_notify_wait(struct zs_notify *notify);

/* Never waits: -EAGAIN. */
int zs_notify_try_wait(struct zs_notify *notify);

/* Neither waits. One: lets the one go that has waited longest; if nobody waits,
 * who waits next will not have to. All: lets those go that wait now, and leaves
 * nothing for later. 0, or -EINVAL for NULL. */
int zs_notify_one(struct zs_notify *notify);
int zs_notify_all(struct zs_notify *notify);

/* --- wait group, latch, barrier --- */

/* Counts what is under way. May be used again once it is at 0. */
struct zs_waitgroup {
	struct zs_gate gate;
};

/* Never waits. Before what it counts begins. 0, -EOVERFLOW (over INT32_MAX) or
 * -EINVAL. */
int zs_waitgroup_add(struct zs_waitgroup *group, uint32_t number);

/* Never waits. One has ended. 0, or -EINVAL: NULL, or there is none. */
int zs_waitgroup_done(struct zs_waitgroup *group);

/* Waits until the count is 0. 0, -ECANCELED, -ETIMEDOUT, -EPERM or -EINVAL. */
int zs_waitgroup_wait(struct zs_waitgroup *group);

/* Counts down, once; at 0 it is open for good. */
struct zs_latch {
	struct zs_gate gate;
};

#define ZS_LATCH_INIT(number)                   \
	{                                       \
		{                               \
			NULL, NULL, 0, (number) \
		}                               \
	}

/* When nobody uses it. 0, or -EINVAL: NULL, or over INT32_MAX. */
int zs_latch_init(struct zs_latch *latch, uint32_t number);

/* Never waits. 0, or -EINVAL: NULL, or it would fall below 0. */
int zs_latch_count_down(struct zs_latch *latch, uint32_t number);

/* Waits until it is open. 0, -ECANCELED, -ETIMEDOUT, -EPERM or -EINVAL. */
int zs_latch_wait(struct zs_latch *latch);

/* Waits for that: -EAGAIN. */
int zs_latch_try_wait(struct zs_latch *latch);

/*
 * Where a number of parties wait for each other, round after round.
 *
 * One that is cancelled, before it waits or while it does, breaks it, since it
 * will not come: those that wait, and all that come later, get -EPIPE, until it
 * is reset.
 */
struct zs_barrier {
	struct zs_gate gate;
	uint32_t arrived;
	uint32_t broken;
};

#define ZS_BARRIER_INIT(parties)                   \
	{                                          \
		{ NULL, NULL, 0, (parties) }, 0, 0 \
	}

/* When nobody uses it. 0, or -EINVAL: NULL, no party, or over INT32_MAX. */
int zs_barrier_init(struct zs_barrier *barrier, uint32_t parties);

/* Waits until all have come. 1 for the last one to come, 0 for all others,
 * -EPIPE (it is broken), -ECANCELED, -ETIMEDOUT, -EPERM or -EINVAL (NULL, or it
 * has no parties). */
int zs_barrier_wait(struct zs_barrier *barrier);

/* Never waits. Whole again, and empty: those that wait get -EPIPE. 0, or
 * -EINVAL for NULL. */
int zs_barrier_reset(struct zs_barrier *barrier);

/* --- reader-writer lock --- */

/*
 * Held by one writer, or by any number of readers. All are served in the order
 * in which they came, so that neither side starves; readers who came one after
 * the other share it. A reader must not ask for it again while it holds it: a
 * writer may have come in between, and both would wait for ever.
 */
struct zs_rwlock {
	struct zs_gate gate;
	uintptr_t writer;
};

/* Wait. 0, -EDEADLK (the caller is its writer), -ECANCELED, -ETIMEDOUT, -EPERM
 * or -EINVAL (NULL). */
int zs_rwlock_read_lock(struct zs_rwlock *lock);
int zs_rwlock_write_lock(struct zs_rwlock *lock);

/* Never wait, nor are they ended by a cancel. -EAGAIN: it is held, or others
 * wait. */
int zs_rwlock_try_read_lock(struct zs_rwlock *lock);
int zs_rwlock_try_write_lock(struct zs_rwlock *lock);

/* Never wait. 0, -EPERM (no reader has it; the caller is not its writer) or
 * -EINVAL. Whether the caller is one of the readers is not looked at. */
int zs_rwlock_read_unlock(struct zs_rwlock *lock);
int zs_rwlock_write_unlock(struct zs_rwlock *lock);

/* --- once --- */

/* Something that is done once, by who comes first; the others wait for it. */
struct zs_once {
	struct zs_gate gate;
	uintptr_t runner;
};

typedef int zs_once_fn(void *arg);

/*
 * Calls fn(arg), unless that has been done with success: returned >= 0. Who
 * comes meanwhile waits. If it fails, the caller gets its error, and the next
 * one calls its own @fn. 0, what @fn returned, -EDEADLK (called by @fn),
 * -ECANCELED, -ETIMEDOUT, -EPERM or -EINVAL (NULL).
 */
int zs_once_run(struct zs_once *once, zs_once_fn *fn, void *arg);

/* A value that is made when it is first asked for. */
struct zs_lazy {
	struct zs_once once;
	void *value;
};

/* Stores what it has made in *value. < 0: it could not. */
typedef int zs_lazy_fn(void *arg, void **value);

/* Stores the value in *value, made by make(arg, ...) the first time. Errors as
 * of zs_once_run(); then *value is left alone. */
int zs_lazy_get(struct zs_lazy *lazy, zs_lazy_fn *make, void *arg,
		void **value);

#ifdef __cplusplus
}
#endif
#endif
