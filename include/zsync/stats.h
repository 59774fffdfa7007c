/* SPDX-License-Identifier: MIT */
/*
 * Insight: counters, and a dump of every task. Both may be asked for at any
 * time, from any thread, and work while a worker is stuck in a task.
 */
#ifndef ZSYNC_STATS_H
#define ZSYNC_STATS_H

#include <stddef.h>
#include <stdint.h>

#include <zsync/runtime.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Counters of one worker, or their sums. They only grow, but for the gauges,
 * which are marked. Each is written by its worker alone; a reader sees each at
 * a recent value, but no common instant of all. */
struct zs_worker_stats {
	uint64_t tasks_spawned; /* by this worker's tasks */
	uint64_t tasks_started; /* first run here */
	uint64_t tasks_ended;
	uint64_t tasks_failed; /* of these: returned a negative errno */
	uint64_t tasks_parked; /* gauge: started here, alive, not running */
	uint64_t switches;     /* times a task was resumed or started */
	uint64_t steals;       /* unstarted tasks taken from other workers */
	uint64_t handovers;    /* unstarted tasks given to a less busy one */
	uint64_t messages;     /* from other workers and foreign threads */
	uint64_t wakeups;      /* times this worker woke another */
	uint64_t sleeps;       /* times it waited in the kernel */
	uint64_t spins;	       /* times it looked for work before that */
	uint64_t turns;	       /* of its loop */
	/* Those of sleeps and deadlines are counted, too. */
	uint64_t timers_started; /* a reset starts one */
	uint64_t timers_fired;
	uint64_t timers_cancelled; /* while armed; a reset does, too */
	uint64_t timers_armed;	   /* gauge */
	uint64_t cancels;	   /* parked calls asked to end early */
	uint64_t ops_submitted;	   /* handed to the kernel, once a turn */
	uint64_t ops_completed;
	uint64_t ops_in_flight; /* gauge: with the kernel */
	uint64_t ops_deferred;	/* submissions that had to wait for room */
	uint64_t enters;	/* system calls on the ring */
	uint64_t cq_overflows;	/* times the kernel had to keep completions */
	uint64_t late_completions; /* of operations that had ended: ignored */
	uint64_t ops_detached; /* their tasks were cancelled and did not wait */
	uint64_t scopes_left_open; /* by tasks that returned */
	/* High-water mark: the most tasks that this worker had spawned and that
	 * had not ended, started or not. A sum is one of marks that need not
	 * have been reached at the same time. */
	uint64_t tasks_peak;
	/* Gauge and high-water mark: stacks in use or free. A free one is used
	 * before one is made, so it is also the most tasks of each stack size
	 * that had started and not ended. */
	uint64_t stacks_mapped;
	uint64_t stacks_resident; /* gauge: free ones that keep pages */
	/* High-water mark, in bytes: the most that a task was seen to have used
	 * of its stack, in whole pages; in sums the greatest. It is seen where
	 * a stack's memory is given back (beyond zs_config.stack_cache, and
	 * when a worker has been idle for a second), by a mincore(2) for one
	 * in sixteen; 0 before that. zs_dump() tells of tasks that live. */
	uint64_t stack_depth_peak;
	/* With zs_config.stall_report_ms: times a task has kept this worker
	 * longer than that. 0 without. */
	uint64_t stalls;
	uint64_t longest_stall_ns; /* a sum's: the longest of all */
	uint64_t deadlocks;	   /* waits that were ended with -EDEADLK */
};

/* Of the runtime's threads that carry out what can only block: those of one
 * kind. Where the ring does that, and on the blocking model, there are none. */
struct zs_offload_stats {
	uint64_t threads; /* gauge */
	uint64_t busy;	  /* gauge: of these, have an operation */
	uint64_t queued;  /* gauge: operations that wait for one of them */
	uint64_t done;	  /* operations */
};

struct zs_stats {
	uint32_t num_workers;
	struct zs_worker_stats total;
	uint64_t foreign_tasks_peak; /* tasks_peak of those that no worker's
				      * task spawned */
	/* By what they wait for: files and devices (as many threads as
	 * zs_config.offload_threads), name servers (four), and somebody, which
	 * may be for ever (4,096). */
	struct zs_offload_stats offload_files;
	struct zs_offload_stats offload_names;
	struct zs_offload_stats offload_waiting;
	/* What zs_offload() calls: as many threads as for files. */
	struct zs_offload_stats offload_jobs;
};

/* Any thread; a NULL runtime is the calling task's (-EPERM outside one). */
int zs_stats(const struct zs_runtime *runtime, struct zs_stats *stats);

/* The same for one worker; -EINVAL beyond the last. */
int zs_stats_worker(const struct zs_runtime *runtime, uint32_t worker,
		    struct zs_worker_stats *stats);

/*
 * Any thread, also in a signal handler. Writes every task of every runtime of
 * this process to @fd as text: its id, name, state, what it waits for and how
 * long, its worker, its nursery's opener, its stack; and what the workers and
 * the threads of zs_offload_stats do. 0, or the errno of the first write that
 * failed. Reads while others write: a task that changes its state meanwhile may
 * be shown half in the old one, half in the new.
 */
int zs_dump(int fd);

#ifdef __cplusplus
}
#endif
#endif
