/* SPDX-License-Identifier: MIT */
/*
 * A worker's stacks: one pool for the configured size and one for each other
 * that tasks ask for, what to do where there is none, and when their memory
 * goes back. Called by the worker's loop, by spawns that ask for a size, and by
 * the reports of overflows.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/explain.h"
#include "sched/balance.h"
#include "sched/runtime.h"
#include "sched/worker.h"
#include "zsync/stats.h"

static size_t size_of_class(uint8_t size_class)
{
	return ZS_STACK_SIZE_MIN << (size_class - 1);
}

uint8_t zs_stacks_class(size_t stack_size)
{
	uint8_t size_class = 1;

	if (stack_size == 0)
		return 0;
	while (size_of_class(size_class) < stack_size)
		size_class++;
	ZS_ASSERT(size_class < ZS_STACK_CLASSES);
	return size_class;
}

/* As much memory as the usual ones may keep, but at least one if they may. */
static uint32_t cache_of(const struct zs_config *config, size_t size)
{
	uint64_t bytes =
		(uint64_t)config->stack_cache * config->green_thread_stack_size;

	if (size <= config->green_thread_stack_size || bytes == 0)
		return config->stack_cache;
	return bytes < size ? 1 : (uint32_t)(bytes / size);
}

static void init_pool(struct zs_worker *worker, uint8_t size_class, size_t size)
{
	const struct zs_config *config = &worker->runtime->config;
	struct zs_stack_pool *pool = zs_worker_stacks(worker, size_class);

	zs_stack_pool_init(pool, size, cache_of(config, size));
	pool->size_class = size_class;
	pool->may_lack_guards = config->flags & ZS_CONFIG_UNGUARDED_STACKS;
	pool->guards.by_mprotect = worker->runtime->kernel.hides_guards;
}

void zs_stacks_init(struct zs_worker *worker)
{
	uint8_t i;

	zs_queue_init(&worker->sized);
	worker->stacks_are_empty = true;
	init_pool(worker, 0, worker->runtime->config.green_thread_stack_size);
	for (i = 1; i < ZS_STACK_CLASSES; i++)
		init_pool(worker, i, size_of_class(i));
}

void zs_stacks_fini(struct zs_worker *worker)
{
	uint8_t i;

	zs_task_forget_stacks(worker);
	for (i = 0; i < ZS_STACK_CLASSES; i++)
		zs_stack_pool_fini(zs_worker_stacks(worker, i));
}

/* --- none to be had --- */

int zs_stacks_prepare(struct zs_worker *worker, uint8_t size_class)
{
	struct zs_stack_pool *pool = zs_worker_stacks(worker, size_class);
	struct zs_stack *stack;

	if (zs_unlikely(worker->sized.first) && size_class != 0)
		return zs_explain_as(-ENOMEM,
				     "tasks wait for stacks of the sizes that "
				     "they asked for; no more of them now");
	if (pool->num_mapped > 0)
		return 0;
	stack = zs_stack_get(pool);
	if (!stack)
		return -ENOMEM;
	zs_stack_put(pool, stack);
	return 0;
}

void zs_stacks_defer(struct zs_worker *worker, struct zs_task *task)
{
	ZS_COUNT(worker->counters.arrivals, 1);
	zs_queue_append(&worker->sized, &task->link);
	worker->sized_until_ns = zs_clock_ns() + ZS_STARVED_NS;
}

void zs_stacks_retry(struct zs_worker *worker)
{
	if (zs_worker_now(worker) < worker->sized_until_ns)
		return;
	ZS_COUNT(worker->counters.arrivals, -1);
	zs_worker_keep(worker, zs_queue_pop(&worker->sized)->item);
}

/* --- memory that goes back --- */

/* True: there is no more. */
static bool empty_some(struct zs_worker *worker)
{
	uint32_t left = ZS_STACKS_IDLE_BATCH;
	uint8_t i;

	for (i = 0; i < ZS_STACK_CLASSES && left > 0; i++)
		left -= zs_stack_pool_empty(zs_worker_stacks(worker, i), left);
	return left > 0;
}

/* relaxed, both: this thread is the only writer. */
static uint64_t activity(const struct zs_worker *worker)
{
	return atomic_load_explicit(&worker->counters.started,
				    memory_order_relaxed) +
	       atomic_load_explicit(&worker->counters.ended,
				    memory_order_relaxed);
}

/* It wakes once a second for as long as there is something to give back. */
int64_t zs_stacks_idle(struct zs_worker *worker)
{
	uint64_t now = activity(worker);
	int64_t left_ns;

	if (now == worker->stacks_activity && worker->stacks_are_empty)
		return INT64_MAX;
	left_ns = worker->stacks_look_ns + ZS_STACKS_IDLE_NS -
		  zs_worker_now(worker);
	if (left_ns > 0)
		return left_ns;
	worker->stacks_look_ns = zs_worker_now(worker);
	worker->stacks_are_empty = now == worker->stacks_activity &&
				   empty_some(worker);
	worker->stacks_activity = now;
	return worker->stacks_are_empty ? INT64_MAX : ZS_STACKS_IDLE_NS;
}

/* Numbers are read while they change. */
ZS_RACY void zs_stacks_read(const struct zs_worker *worker,
			    struct zs_worker_stats *stats)
{
	const struct zs_stack_pool *pool = &worker->stacks;
	uint8_t i;

	for (i = 0; i < ZS_STACK_CLASSES; i++) {
		stats->stacks_mapped += pool->num_mapped;
		stats->stacks_resident += pool->num_free + pool->num_trimmed;
		if (stats->stack_depth_peak < pool->deepest)
			stats->stack_depth_peak = pool->deepest;
		if (i < ZS_STACK_CLASSES - 1)
			pool = &worker->sized_stacks[i];
	}
}

/* --- what is said of those that were too small --- */

/* zs_run()'s first task is the first one that worker 0 makes. */
static bool is_main(const struct zs_task *task)
{
	return task->id == 1 && task->worker->runtime->ends_when_idle;
}

void zs_stacks_add_knob(struct zs_text *text, const struct zs_task *task)
{
	uint8_t size_class = task->stack_class;

	zs_text_add_size(
		text, zs_worker_stacks(task->worker, size_class)->stack_size);
	zs_text_add(text, " of stack: raise ");
	if (size_class == 0)
		zs_text_add(text, "zs_config.green_thread_stack_size "
				  "(ZSYNC_GREEN_THREAD_STACK_SIZE)\n");
	else if (is_main(task))
		zs_text_add(text, "zs_config.main_stack_size "
				  "(ZSYNC_MAIN_STACK_SIZE)\n");
	else
		zs_text_add(text, "zs_spawn_options.stack_size, which it was "
				  "spawned with\n");
}

void zs_stacks_check(const struct zs_task *task)
{
	struct zs_text text;

	if (zs_likely(zs_stack_canary_lives(task->stack)))
		return;
	zs_text_init(&text);
	zs_text_add(&text, "zsync: stack overflow, seen at the end: ");
	zs_task_describe(task, &text);
	zs_text_add(&text, " has used up its unguarded ");
	zs_stacks_add_knob(&text, task);
	zs_text_write(&text, STDERR_FILENO);
	abort();
}
