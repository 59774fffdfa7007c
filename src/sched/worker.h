/* SPDX-License-Identifier: MIT */
/*
 * Worker: a thread, its engine, and the tasks that started there. Its loop is
 * called by the runtime; messages and wakes come from any thread; the rest is
 * its own.
 */
#ifndef ZS_SCHED_WORKER_H
#define ZS_SCHED_WORKER_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/deque.h"
#include "base/mailbox.h"
#include "base/queue.h"
#include "base/text.h"
#include "engine/engine.h"
#include "mem/arena.h"
#include "mem/slab.h"
#include "mem/stack.h"
#include "sched/deadlock.h"
#include "sched/fork_join.h"
#include "sched/sanitize.h"
#include "sched/task.h"
#include "sched/wheel.h"
#include "zsync/config.h"

struct zs_exceptions;
struct zs_leaks;
struct zs_runtime;
struct zs_worker_stats;

/* A turn resumes this many tasks, then the ring and the timers have a look. On
 * a ring each operation parks its task, so a task whose operations are always
 * done at once has no way round it: there is no budget of operations. */
#define ZS_WORKER_BUDGET 256

/* So often may the tasks of a worker get from each other what they want without
 * a wait, until one of them lets others run. */
#define ZS_WORKER_QUICK_CALLS 32

/* What the io room's requests take, in bytes. */
#define ZS_REQUEST_SIZE 384

/* How long a worker that has no memory for a stack waits to try again. */
#define ZS_STARVED_NS INT64_C(10000000)

/* An idle worker that has started no task for so long gives the memory of free
 * stacks back, so many at a time. */
#define ZS_STACKS_IDLE_NS INT64_C(1000000000)
#define ZS_STACKS_IDLE_BATCH 256

/* Sizes of stacks that tasks may ask for: class N has ZS_STACK_SIZE_MIN doubled
 * N - 1 times; class 0 is the configuration's. */
#define ZS_STACK_CLASSES 18
static_assert(ZS_STACK_SIZE_MIN << (ZS_STACK_CLASSES - 2) == ZS_STACK_SIZE_MAX,
	      "there is a class for each size");

enum zs_message_kind {
	ZS_MESSAGE_TASK,	/* a task to start here */
	ZS_MESSAGE_TASK_CANCEL, /* its nursery was cancelled */
	ZS_MESSAGE_SCOPE,	/* look at the scope's state */
	ZS_MESSAGE_FD_CLOSE,	/* end what uses a descriptor */
	ZS_MESSAGE_WAKE,	/* what its task waited for has happened */
	ZS_MESSAGE_DEADLOCK,	/* end the wait of a task in a deadlock */
	ZS_MESSAGE_CALL,	/* a function to call */
};

/* Something to do on a worker's thread, between two tasks: see
 * zs_worker_call(). */
struct zs_call {
	struct zs_message message;
	/* The call's memory is its own from here on. May not park. */
	void (*fn)(struct zs_call *call);
};

/* Each counted by the worker's own thread, but for what is marked; read by
 * anyone, relaxed: a count publishes nothing. */
struct zs_worker_counters {
	_Atomic uint64_t spawned;
	_Atomic uint64_t started;
	_Atomic uint64_t ended;
	_Atomic uint64_t failed;
	_Atomic uint64_t switches;
	_Atomic uint64_t steals;
	_Atomic uint64_t handovers;
	_Atomic uint64_t messages;
	_Atomic uint64_t wakeups;
	_Atomic uint64_t sleeps;
	_Atomic uint64_t spins;
	_Atomic uint64_t turns;
	_Atomic uint64_t cancels;
	_Atomic uint64_t left_open;
	_Atomic uint64_t deadlocks;
	_Atomic uint64_t arrivals; /* how many there are */
	_Atomic uint64_t gifts;	   /* likewise; by any worker */
	/* By the stall detector's thread. */
	_Atomic uint64_t stalls;
	_Atomic uint64_t longest_stall_ns;
	_Atomic uint64_t stalled_since_ns; /* 0: it is not, or not known to */
};

struct zs_worker {
	/* --- its own thread's, hot --- */
	struct zs_task *current; /* NULL: the loop runs */
	/* Ready tasks, by their own links or those of ops that are done: first
	 * the round's, then (and after the unstarted) the next one's. */
	struct zs_link *round;
	struct zs_queue ready;
	/* Resumes left in this turn; what it lacks of the whole is added to
	 * counters.switches at the turn's end. */
	uint32_t budget;
	/* Calls that may yet succeed without a wait before others are let
	 * run: see zs_wait_was_not_needed(). */
	uint32_t quick_calls;
	bool alone; /* constant: the runtime has no other worker */
	/* A turn that begins with no round left begins with them. */
	bool unstarted_first;
	/* Of those, an arrival is next. */
	bool arrival_first;
	/* No stack could be had: nothing starts until a task has ended, or
	 * until starved_until_ns, for nobody tells when there is memory. */
	bool is_starved;
	struct zs_engine *engine;
	/* The first users of descriptors, see fds.h; constant. */
	_Atomic(struct zs_task *) *fd_users;
	uint32_t num_fds;
	/* The thread's: no call is needed to find them. */
	int *errno_place;
	struct zs_exceptions *exceptions;
	void *loop_sp;
	struct zs_stack_pool stacks;
	struct zs_slab tasks;
	struct zs_slab scopes;
	struct zs_slab requests;      /* the io room's */
	struct zs_block_cache blocks; /* of its tasks' arenas */
	uint64_t next_task_id;
	uint64_t task_id_step; /* constant */
	/* Tasks that it may spawn without asking the runtime; it gives some
	 * back at credits_most, which is constant. */
	int64_t credits;
	int64_t credits_most;
	/* As of this turn. Others read it, relaxed: is the worker stuck? */
	_Atomic int64_t now_ns;
	int64_t starved_until_ns;
	/* Left by a task that ended, for the loop to give its memory back. */
	struct zs_stack *spent_stack;
	/* Unstarted tasks for which there was no stack of the size that they
	 * ask for: one of them is tried again at a time. */
	struct zs_queue sized;
	int64_t sized_until_ns;
	/* Unstarted tasks that are not to be stolen: those of pinned nurseries,
	 * and what this worker stole itself. */
	struct zs_queue arrivals;
	struct zs_worker *gave_to; /* whom it handed a task last */
	/* Those that nobody else has been offered: see fork_join.c. */
	struct zs_fork forks;
	int64_t forks_offered; /* constant: see ZS_FORKS_OFFERED */

	/* --- its own thread's, cold --- */
	struct zs_runtime *runtime; /* constant */
	struct zs_leaks *leaks;	    /* likewise; NULL: nobody asks */
	uint32_t index;		    /* constant */
	uint32_t victim;	    /* whom to steal from next */
	int64_t spin_limit_ns;	    /* how long it pays to look for work */
	bool is_counted_asleep;	    /* in the runtime's num_asleep */
	struct zs_task *deadlocked; /* whose wait is being ended for that */
	/* The kernel may still write into requests: they are left to it. */
	bool leaves_requests;
	uint64_t timers_left;	      /* were armed when it ended */
	uint32_t vain_spins;	      /* times it did not look at all */
	struct zs_fd_waiter *closers; /* closes that wait for its tasks */
	struct zs_sanitize_context loop_context;
	pthread_t thread;
	bool has_thread; /* of its own, to be joined */
	int enter_result;
	char enter_text[256]; /* what zs_explain() says of it */
	int thread_id;	      /* for the dump */
	/* What handlers run on, and what the thread had before. */
	void *signal_stack;
	stack_t old_signal_stack;
	sigset_t old_signal_mask;
	bool had_sigpipe; /* pending before */

	/* --- shared --- */
	struct zs_worker_counters counters;
	struct zs_deque unstarted; /* thieves take from it */
	ZS_CACHE_ALIGNED struct zs_mailbox mailbox;
	/* Unstarted tasks from busier workers. Taken whole, by the worker or,
	 * if it is stuck in a task, by whoever has nothing else to do. */
	struct zs_mailbox gifts;
	/* True from before it last looks at the mailbox until it is woken. */
	_Atomic bool is_asleep;
	_Atomic bool must_quit; /* no task is left anywhere */
	struct zs_deadlock_watch deadlock;
	/* Its running task does not want what is unstarted to wait for it: even
	 * the last of it should be stolen. Written by its own thread. */
	_Atomic bool has_offers;
	/* Guards the children of the scopes of this worker. */
	pthread_mutex_t children_lock;

	struct zs_slab outcomes; /* its own: see outcome.h */
	/* Its own: stacks of class 1 and up. */
	struct zs_stack_pool sized_stacks[ZS_STACK_CLASSES - 1];
	int64_t stacks_look_ns;	  /* when it last looked whether to give back */
	uint64_t stacks_activity; /* tasks started and ended by then */
	bool stacks_are_empty;	  /* nothing was left then */
	struct zs_wheel wheel;	  /* its own; large, so last */
};

static ZS_ALWAYS_INLINE struct zs_stack_pool *
zs_worker_stacks(struct zs_worker *worker, uint8_t size_class)
{
	if (zs_likely(size_class == 0))
		return &worker->stacks;
	return &worker->sized_stacks[size_class - 1];
}

/* The calling thread's worker, NULL on any other thread. */
extern ZS_HIDDEN _Thread_local struct zs_worker *zs_worker_self;

static ZS_ALWAYS_INLINE bool zs_worker_has_ready(const struct zs_worker *worker)
{
	return worker->round || worker->ready.first;
}

/* relaxed: a number that publishes nothing. */
static ZS_ALWAYS_INLINE int64_t zs_worker_now(const struct zs_worker *worker)
{
	return atomic_load_explicit(&worker->now_ns, memory_order_relaxed);
}

static ZS_ALWAYS_INLINE void zs_worker_set_now(struct zs_worker *worker,
					       int64_t now_ns)
{
	atomic_store_explicit(&worker->now_ns, now_ns, memory_order_relaxed);
}

/* The running task, NULL outside one. */
static ZS_ALWAYS_INLINE struct zs_task *zs_worker_task(void)
{
	struct zs_worker *worker = zs_worker_self;

	return worker ? worker->current : NULL;
}

/* stacks.c, all on the worker's thread (but for init and fini). The class for
 * @stack_size bytes, 0 for 0. */
uint8_t zs_stacks_class(size_t stack_size);
void zs_stacks_init(struct zs_worker *worker);
void zs_stacks_fini(struct zs_worker *worker);
/* Makes sure that there is one of @size_class at all. 0 or -ENOMEM, explained.
 */
int zs_stacks_prepare(struct zs_worker *worker, uint8_t size_class);
/* There was none for @task, which has not started: it is tried again later, and
 * others that ask for no size may go first. */
void zs_stacks_defer(struct zs_worker *worker, struct zs_task *task);
/* Puts one of those that were deferred back, if it is time to. */
void zs_stacks_retry(struct zs_worker *worker);
/* The worker is about to sleep. Gives memory back if it has been idle, and says
 * how long it may sleep before it should do so again. */
int64_t zs_stacks_idle(struct zs_worker *worker);
/* Any thread. What zs_stats() says of them. */
void zs_stacks_read(const struct zs_worker *worker,
		    struct zs_worker_stats *stats);
/* @task has returned: ends the process if the canary of its stack, which has
 * one, is gone. */
void zs_stacks_check(const struct zs_task *task);
/* "64 KiB of stack: raise ...": of a task whose stack was too small, and which
 * knob says so. Async-signal-safe. */
void zs_stacks_add_knob(struct zs_text *text, const struct zs_task *task);

/* Before the thread runs. 0 or a negative errno, explained. */
int zs_worker_init(struct zs_worker *worker, struct zs_runtime *runtime,
		   uint32_t index);
/* After it has ended, or if it never ran. */
void zs_worker_fini(struct zs_worker *worker);

/* On the worker's thread. Makes it a worker and sets the engine off; 0 or a
 * negative errno, explained there. */
int zs_worker_enter(struct zs_worker *worker);
/* Runs tasks until must_quit. */
void zs_worker_loop(struct zs_worker *worker);
/* One turn that does not wait. False if nothing is left to do: then *wait_ns is
 * how long that will be so, unless the engine's descriptor becomes readable. */
bool zs_worker_turn_once(struct zs_worker *worker, int64_t *wait_ns);
/* Is no task left? The last thing before zs_worker_leave(). */
bool zs_worker_quits(struct zs_worker *worker);
/* Undoes zs_worker_enter(). */
void zs_worker_leave(struct zs_worker *worker);

/* Any thread. @message is the worker's until it has handled it. */
void zs_worker_post(struct zs_worker *worker, struct zs_message *message,
		    enum zs_message_kind kind);
/* A task. @call, whose fn is set, is the worker's until it is called. */
void zs_worker_call(struct zs_worker *worker, struct zs_call *call);
/* Any thread. Ends its sleep; false if it does not sleep. */
bool zs_worker_wake(struct zs_worker *worker);

#endif
