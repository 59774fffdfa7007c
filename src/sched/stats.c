/* SPDX-License-Identifier: MIT */
/* What is in force, and counters, gathered for whoever asks, on any thread.
 * Each is read by itself, relaxed: see zsync/stats.h. */
#include "zsync/stats.h"

#include <errno.h>

#include "base/explain.h"
#include "engine/offload.h"
#include "sched/runtime.h"

static uint64_t get(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

/* For gauges: their counters may be read in the wrong order. */
static uint64_t difference(uint64_t more, uint64_t less)
{
	return more > less ? more - less : 0;
}

/* Its current task is read while it may change. */
static ZS_RACY uint64_t num_parked(const struct zs_worker *worker,
				   const struct zs_worker_stats *stats)
{
	return difference(stats->tasks_started,
			  stats->tasks_ended + (worker->current ? 1 : 0));
}

/* With those of this turn, which are read while they are made. */
static ZS_RACY uint64_t num_switches(const struct zs_worker *worker)
{
	return get(&worker->counters.switches) + ZS_WORKER_BUDGET -
	       worker->budget;
}

static void read_worker(const struct zs_worker *worker,
			struct zs_worker_stats *stats)
{
	const struct zs_worker_counters *tasks = &worker->counters;
	const struct zs_engine_counters *ops = &worker->engine->counters;

	*stats = (struct zs_worker_stats){
		.tasks_spawned = get(&tasks->spawned),
		.tasks_started = get(&tasks->started),
		.tasks_ended = get(&tasks->ended),
		.tasks_failed = get(&tasks->failed),
		.switches = num_switches(worker),
		.steals = get(&tasks->steals),
		.handovers = get(&tasks->handovers),
		.messages = get(&tasks->messages),
		.wakeups = get(&tasks->wakeups),
		.sleeps = get(&tasks->sleeps),
		.spins = get(&tasks->spins),
		.turns = get(&tasks->turns),
		.timers_started = get(&worker->wheel.num_started),
		.timers_fired = get(&worker->wheel.num_fired),
		.timers_cancelled = get(&worker->wheel.num_cancelled),
		.timers_armed = zs_wheel_num_armed(&worker->wheel),
		.cancels = get(&tasks->cancels),
		.ops_submitted = get(&ops->submitted),
		.ops_completed = get(&ops->completed),
		.ops_deferred = get(&ops->deferred),
		.enters = get(&ops->enters),
		.cq_overflows = get(&ops->cq_overflows),
		.late_completions = get(&ops->late),
		.ops_detached = get(&ops->detached),
		.scopes_left_open = get(&tasks->left_open),
		.deadlocks = get(&tasks->deadlocks),
		.tasks_peak = zs_slab_peak(&worker->tasks),
		.stalls = get(&tasks->stalls),
		.longest_stall_ns = get(&tasks->longest_stall_ns),
	};
	zs_stacks_read(worker, stats);
	stats->tasks_parked = num_parked(worker, stats);
	stats->ops_in_flight =
		difference(stats->ops_submitted, stats->ops_completed);
}

/* Every field is a 64-bit counter. Of depths and of stalls the greatest is
 * told. */
static void add(struct zs_worker_stats *sum, const struct zs_worker_stats *more)
{
	const uint64_t *from = (const uint64_t *)more;
	uint64_t *to = (uint64_t *)sum;
	uint64_t depth = sum->stack_depth_peak;
	uint64_t longest_ns = sum->longest_stall_ns;
	size_t i;

	if (more->longest_stall_ns > longest_ns)
		longest_ns = more->longest_stall_ns;
	for (i = 0; i < sizeof(*sum) / sizeof(*to); i++)
		to[i] += from[i];
	if (depth < more->stack_depth_peak)
		depth = more->stack_depth_peak;
	sum->stack_depth_peak = depth;
	sum->longest_stall_ns = longest_ns;
}

static struct zs_offload_stats
offload_stats(const struct zs_offload_counts *counts)
{
	return (struct zs_offload_stats){
		.threads = counts->num_threads,
		.busy = difference(counts->num_threads, counts->num_idle),
		.queued = counts->num_queued,
		.done = counts->num_done,
	};
}

static void read_offload(const struct zs_offload *offload,
			 struct zs_stats *stats)
{
	struct zs_offload_counts counts[ZS_NUM_LANES];

	zs_offload_count(offload, counts);
	stats->offload_files = offload_stats(&counts[ZS_LANE_FILES]);
	stats->offload_names = offload_stats(&counts[ZS_LANE_NAMES]);
	stats->offload_waiting = offload_stats(&counts[ZS_LANE_WAITING]);
	stats->offload_jobs = offload_stats(&counts[ZS_LANE_JOBS]);
}

static int find_runtime(const struct zs_runtime **runtime)
{
	if (*runtime)
		return 0;
	if (!zs_worker_task())
		return zs_explain_none(-EPERM);
	*runtime = zs_worker_self->runtime;
	return 0;
}

ZS_PUBLIC int zs_runtime_info(const struct zs_runtime *runtime,
			      struct zs_runtime_info *info)
{
	int ret;

	if (!info)
		return zs_explain_none(-EINVAL);
	ret = find_runtime(&runtime);
	if (ret < 0)
		return ret;
	*info = (struct zs_runtime_info){
		.execution_model = runtime->model,
		.model_name = zs_execution_model_name(runtime->model),
		.model_reason = runtime->model_reason,
		.num_workers = runtime->num_workers,
		.queue_depth = runtime->workers[0].engine->queue_depth,
		.green_thread_stack_size =
			runtime->workers[0].stacks.stack_size,
		.main_stack_size =
			zs_worker_stacks(
				&runtime->workers[0],
				zs_stacks_class(
					runtime->config.main_stack_size))
				->stack_size,
	};
	return 0;
}

ZS_PUBLIC const char *zs_runtime_model_reason(const struct zs_runtime *runtime)
{
	if (find_runtime(&runtime) < 0)
		return "";
	return runtime->model_reason;
}

ZS_PUBLIC int zs_stats(const struct zs_runtime *runtime, struct zs_stats *stats)
{
	struct zs_worker_stats one;
	uint32_t i;
	int ret = find_runtime(&runtime);

	if (ret < 0)
		return ret;
	if (!stats)
		return zs_explain_none(-EINVAL);
	*stats = (struct zs_stats){ .num_workers = runtime->num_workers };
	for (i = 0; i < runtime->num_workers; i++) {
		read_worker(&runtime->workers[i], &one);
		add(&stats->total, &one);
	}
	read_offload(runtime->offload, stats);
	stats->foreign_tasks_peak = zs_slab_peak(&runtime->foreign_tasks);
	return 0;
}

ZS_PUBLIC int zs_stats_worker(const struct zs_runtime *runtime, uint32_t worker,
			      struct zs_worker_stats *stats)
{
	int ret = find_runtime(&runtime);

	if (ret < 0)
		return ret;
	if (!stats || worker >= runtime->num_workers)
		return zs_explain_none(-EINVAL);
	read_worker(&runtime->workers[worker], stats);
	return 0;
}
