/* SPDX-License-Identifier: MIT */
/* Runtime: the workers that belong together. For the rest of the scheduler. */
#ifndef ZS_SCHED_RUNTIME_H
#define ZS_SCHED_RUNTIME_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/probe.h"
#include "mem/slab.h"
#include "sched/config.h"
#include "sched/cpus.h"
#include "sched/deadlock.h"
#include "sched/fds.h"
#include "sched/scope.h"
#include "sched/worker.h"
#include "zsync/config.h"
#include "zsync/runtime.h"

enum zs_runtime_phase {
	ZS_RUNTIME_CREATED,
	ZS_RUNTIME_RUNNING,
	ZS_RUNTIME_STOPPING, /* asked to end: the root is cancelled */
	ZS_RUNTIME_STOPPED,  /* its threads have been joined */
};

struct zs_runtime {
	/* Constant from create on. */
	struct zs_config config; /* as it is in force */
	struct zs_config_origin origin;
	struct zs_cpus cpus;
	struct zs_kernel kernel;
	enum zs_execution_model model;
	char model_reason[264];
	uint32_t num_workers;
	struct zs_worker *workers;
	struct zs_fds fds;
	struct zs_offload *offload;
	struct zs_leaks *leaks; /* NULL: nobody asks */
	/* Tasks that workers take from the runtime, and give back, at once. */
	int64_t credit_step;
	/* Of the thread that started it. */
	sigset_t signal_mask;
	/* The program that forked has another number than its child. */
	uint32_t fork_count;
	bool has_barrier; /* constant: zs_barrier_all() may be used */

	/* The thread of its only worker is a foreign loop's; see embed.c.
	 * Written before it runs. */
	bool is_embedded;
	int watch_fd; /* that loop waits for */
	int timer_fd;
	int64_t timer_ns; /* when it becomes readable; the worker's */

	/* Ends by itself when the root has no task left. Else: when stopped. */
	bool ends_when_idle;
	struct zs_scope root;

	/* Tasks that may still be spawned, but for workers' credits. */
	_Atomic int64_t credits;
	/* Tasks that foreign threads have spawned, for whoever comes first. */
	struct zs_mailbox injected;
	_Atomic uint32_t next_worker; /* whom to wake for the next of them */
	/* Posts under way by threads that are not its workers. */
	_Atomic uint32_t foreign_posts;
	_Atomic uint32_t num_asleep; /* workers that wait in the kernel */

	/* Held throughout a start, so that a second one, or a stop, waits. */
	pthread_mutex_t start_lock;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t changed;
	/* Read without the lock by spawns, which the root then checks. */
	_Atomic int phase;	  /* enum zs_runtime_phase */
	uint32_t workers_started; /* have entered, or failed to */
	uint32_t workers_left;	  /* have a thread and have not ended */
	bool is_joining;
	struct zs_slab foreign_tasks; /* spawned by threads that run no task */
	uint64_t next_foreign_id;
	struct zs_slab foreign_outcomes; /* of those */

	/* While it runs, if stall_report_ms asks for one; see stall.c. */
	struct zs_stall_detector *stall_detector;
	struct zs_deadlock deadlock;

	_Atomic(struct zs_runtime *) next; /* in the list of all; see dump.c */
};

/* What a thread that is no worker posts may be what ends the runtime, while it
 * is here still: so a destroy waits until it has let go. relaxed: the post
 * publishes it. release: the partner is await_foreign_posts(). */
static inline void zs_runtime_begin_foreign_post(struct zs_runtime *runtime)
{
	atomic_fetch_add_explicit(&runtime->foreign_posts, 1,
				  memory_order_relaxed);
}

static inline void zs_runtime_end_foreign_post(struct zs_runtime *runtime)
{
	atomic_fetch_sub_explicit(&runtime->foreign_posts, 1,
				  memory_order_release);
}

static inline int zs_runtime_phase(struct zs_runtime *runtime)
{
	/* acquire: pairs with the release in runtime.c. */
	return atomic_load_explicit(&runtime->phase, memory_order_acquire);
}

/* 0, or -EPERM with a text in a child of fork(). */
int zs_runtime_check_process(const struct zs_runtime *runtime);
/* Sets off the workers from @first on; 0 or a negative errno, explained. */
int zs_runtime_start_from(struct zs_runtime *runtime, uint32_t first);
/* Under the lock, which is let go of meanwhile: no worker is left. */
void zs_runtime_finish(struct zs_runtime *runtime);

/* embed.c. Makes the calling thread the worker's. 0 or a negative errno. */
int zs_embed_enter(struct zs_runtime *runtime);
/* After the runtime has ended. */
void zs_embed_fini(struct zs_runtime *runtime);
/* Is the calling thread the one that steps it? */
bool zs_embed_is_ours(struct zs_runtime *runtime);
/* That thread: steps it until it has ended, or until @deadline_ns. */
void zs_embed_drive(struct zs_runtime *runtime, int64_t deadline_ns);

/* Worker 0's thread: the root has no task left. */
void zs_runtime_root_idle(struct zs_runtime *runtime);

/* threads.c. Threads for the workers from @first on; returns when all have
 * entered. On an error none is left. */
int zs_threads_start(struct zs_runtime *runtime, uint32_t first);
/* Any thread: no task is left. */
void zs_threads_tell_to_quit(struct zs_runtime *runtime);
void zs_threads_join(struct zs_runtime *runtime);

/* How often this process has been a child of fork(). Any thread. */
uint32_t zs_runtime_fork_count(void);

/* dump.c. Any thread, while @task may change: task 7 "name". */
void zs_dump_add_task(struct zs_text *text, const struct zs_task *task);
/* Worker's thread, when nothing runs. A line for each task that has not ended,
 * and no more than @most, to @fd. */
void zs_dump_tasks(struct zs_runtime *runtime, int fd, uint32_t most);
/* It keeps the list of runtimes, for signal handlers too. */
void zs_dump_add_runtime(struct zs_runtime *runtime);
/* Returns when no dump reads it any more. */
void zs_dump_remove_runtime(struct zs_runtime *runtime);
/* In a forked child: forgets them all. */
void zs_dump_forget_runtimes(void);
/* Any thread. Leaves a text, for -ETIMEDOUT, that says which tasks @runtime,
 * which runs, still has, and what the first of them wait for. */
int zs_dump_explain_stop(struct zs_runtime *runtime);

/* signals.c. Any thread: the process's handlers that @config asks for, from the
 * first runtime that does to the last. 0 or a negative errno, explained. */
int zs_signals_acquire(const struct zs_config *config);
void zs_signals_release(const struct zs_config *config);
/* Around a fork, by the thread that makes it, lest the child find a handler
 * half installed by a thread that it does not have. */
void zs_signals_hold(void);
void zs_signals_let_go(void);
/* On the worker's thread: the mask, and a stack that handlers run on. */
int zs_signals_enter_thread(struct zs_worker *worker);
void zs_signals_leave_thread(struct zs_worker *worker);

#endif
