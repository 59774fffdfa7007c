/* SPDX-License-Identifier: MIT */
/*
 * Parallel loops, called by tasks. The caller and as many helpers as there are
 * other workers take one part after another by a common counter, so that who is
 * slow takes fewer. Helpers are unstarted tasks of a nursery that is open for
 * the time of the loop; those that nobody has stolen when the parts are all
 * taken are dropped.
 */
#include "zsync/parallel.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/explain.h"
#include "sched/balance.h"
#include "sched/fork_join.h"
#include "sched/runtime.h"
#include "sched/scope.h"
#include "sched/spawn.h"
#include "sched/worker.h"

enum {
	PARTS_PER_WORKER = 4,
	TOTALS_MAX = 1024,
	TOTAL_ALIGNMENT = 64,
};

/* On the caller's stack. */
struct loop {
	int64_t begin; /* constant, as all but the last two */
	int64_t end;
	uint64_t grain;
	uint64_t num_parts;
	zs_range_fn *fn;
	void *arg;
	/* The first of a part, 0 if there is none. */
	_Atomic int error;
	/* The part to be taken next, by any worker. */
	ZS_CACHE_ALIGNED _Atomic uint64_t next;
};

/* --- parts --- */

/* Unsigned, since both ends of an int64_t may be in the range. */
static uint64_t count_items(int64_t begin, int64_t end)
{
	return (uint64_t)end - (uint64_t)begin;
}

static int64_t item_at(int64_t begin, uint64_t index)
{
	return (int64_t)((uint64_t)begin + index);
}

static uint64_t divide_up(uint64_t dividend, uint64_t divisor)
{
	return dividend / divisor + (dividend % divisor != 0);
}

static int run_part(const struct loop *loop, uint64_t part)
{
	uint64_t first = part * loop->grain;
	uint64_t left = count_items(loop->begin, loop->end) - first;
	int64_t begin = item_at(loop->begin, first);

	return loop->fn(begin,
			left > loop->grain ? item_at(begin, loop->grain) :
					     loop->end,
			loop->arg);
}

/* Who comes first with an error; all see it by their scope. */
static void fail(struct loop *loop, int error)
{
	int none = 0;

	/* relaxed: read after all have ended. */
	atomic_compare_exchange_strong_explicit(&loop->error, &none, error,
						memory_order_relaxed,
						memory_order_relaxed);
}

static bool all_are_taken(struct loop *loop)
{
	/* relaxed: as in run_parts(). */
	return atomic_load_explicit(&loop->next, memory_order_relaxed) >=
	       loop->num_parts;
}

/* The caller, or a helper: 0 if it found no part left, or an error of a part,
 * or that of its scope. */
static int run_parts(struct loop *loop)
{
	struct zs_task *task = zs_worker_task();
	struct zs_scope *scope = task->scope;
	uint32_t forks = task->forks;
	uint64_t part;
	int ret = 0;

	while (ret >= 0 && !all_are_taken(loop)) {
		ret = zs_scope_error(scope);
		if (ret < 0)
			return ret;
		/* relaxed: a number of which each is taken once. What the loop
		 * reads was published when the helper was, and what it writes
		 * is by the helper's end. */
		part = atomic_fetch_add_explicit(&loop->next, 1,
						 memory_order_relaxed);
		if (part >= loop->num_parts)
			return 0;
		ret = run_part(loop, part);
		if (zs_unlikely(task->scope != scope || task->forks != forks))
			zs_forks_clean_up(task, scope, forks);
		if (ret < 0)
			fail(loop, ret);
	}
	return ret < 0 ? ret : 0;
}

/* --- helpers --- */

static int help(void *arg)
{
	struct loop *loop = arg;
	int ret = run_parts(loop);

	/* That it was cancelled is no failure of its own. */
	return atomic_load_explicit(&loop->error, memory_order_relaxed) == ret ?
		       ret :
		       0;
}

/* Where one cannot be had the others do its part. */
static void call_helpers(struct zs_worker *worker, struct zs_scope *scope,
			 struct loop *loop)
{
	const struct zs_spawn spawn = { .fn = help, .arg = loop };
	uint64_t number = worker->runtime->num_workers - 1;

	if (number > loop->num_parts - 1)
		number = loop->num_parts - 1;
	for (; number > 0; number--) {
		if (zs_spawn_here(worker, scope, &spawn) < 0)
			return;
		zs_worker_offer(worker);
	}
}

/* Of those that have not started, which would find nothing to do. */
static void drop_helpers(struct zs_worker *worker, struct zs_scope *scope)
{
	struct zs_task *task;

	for (;;) {
		task = zs_deque_peek_bottom(&worker->unstarted);
		/* Read before it is ours: as in take_child(), scope.c. What
		 * another helper has forked may be here, too. */
		if (!task || task->nursery != scope || task->fn != help ||
		    !zs_deque_claim_bottom(&worker->unstarted, task))
			return;
		ZS_COUNT(worker->counters.spawned, -1);
		zs_scope_task_ended(scope, worker, 0);
		zs_task_free(worker, task);
	}
}

static int run_with_helpers(struct zs_worker *worker, struct zs_task *task,
			    struct loop *loop)
{
	struct zs_scope *scope = zs_scope_open(task, ZS_NEVER);
	int error, ret;

	if (!scope)
		return -ENOMEM;
	scope->kind = ZS_SCOPE_NURSERY;
	call_helpers(worker, scope, loop);
	ret = run_parts(loop);
	if (ret < 0)
		zs_scope_fail(scope, ret);
	else
		drop_helpers(worker, scope);
	ret = zs_scope_close(task, scope);
	/* relaxed: closing has acquired it. */
	error = atomic_load_explicit(&loop->error, memory_order_relaxed);
	if (error < 0)
		return error;
	/* A cancel that came when nothing was left to do has done nothing. */
	return all_are_taken(loop) ? 0 : ret;
}

/* --- loops --- */

static int check_range(const struct zs_task *task, int64_t begin, int64_t end,
		       int64_t grain)
{
	if (!task)
		return zs_explain_none(-EPERM);
	if (end < begin)
		return zs_explain_as(-EINVAL,
				     "a range that begins at %lld cannot end "
				     "at %lld",
				     (long long)begin, (long long)end);
	if (grain < 0)
		return zs_explain_as(-EINVAL,
				     "a grain of %lld: it is a number of "
				     "items, or 0",
				     (long long)grain);
	return 0;
}

static uint64_t grain_of(const struct zs_worker *worker, uint64_t items,
			 int64_t grain)
{
	uint64_t parts =
		(uint64_t)worker->runtime->num_workers * PARTS_PER_WORKER;

	return grain > 0 ? (uint64_t)grain : divide_up(items, parts);
}

/* Of a range that is not empty. */
static int run_loop(struct zs_task *task, struct loop *loop)
{
	struct zs_worker *worker = task->worker;

	loop->num_parts =
		divide_up(count_items(loop->begin, loop->end), loop->grain);
	if (worker->alone || loop->num_parts == 1 ||
	    zs_scope_is_kept(task->scope, task))
		return run_parts(loop);
	return run_with_helpers(worker, task, loop);
}

ZS_PUBLIC int zs_parallel_for(int64_t begin, int64_t end, int64_t grain,
			      zs_range_fn *fn, void *arg)
{
	struct zs_task *task = zs_worker_task();
	struct loop loop = { .begin = begin, .end = end, .fn = fn, .arg = arg };
	int ret = check_range(task, begin, end, grain);

	if (ret < 0)
		return ret;
	if (!fn)
		return zs_explain_none(-EINVAL);
	if (begin == end)
		return zs_scope_error(task->scope);
	loop.grain = grain_of(task->worker, count_items(begin, end), grain);
	return run_loop(task, &loop);
}

/* --- sums --- */

/* Of the parts of a range, of which each total has several in a row. */
struct sum {
	const struct zs_reduction *reduction;
	int64_t begin;
	int64_t end;
	uint64_t grain;
	uint64_t num_parts;
	uint64_t num_totals;
	size_t stride; /* from one to the next */
	unsigned char *totals;
};

static void *total_at(const struct sum *sum, uint64_t index)
{
	return sum->totals + index * sum->stride;
}

static void init_total(const struct zs_reduction *reduction, void *total)
{
	if (reduction->identity)
		memcpy(total, reduction->identity, reduction->size);
	else
		memset(total, 0, reduction->size);
}

/* The first of its parts: the first totals have one more. */
static uint64_t first_part(const struct sum *sum, uint64_t total)
{
	uint64_t extra = sum->num_parts % sum->num_totals;

	return total * (sum->num_parts / sum->num_totals) +
	       (total < extra ? total : extra);
}

static int map_part(const struct sum *sum, uint64_t part, void *total)
{
	uint64_t first = part * sum->grain;
	uint64_t left = count_items(sum->begin, sum->end) - first;
	int64_t begin = item_at(sum->begin, first);
	int64_t end = left > sum->grain ? item_at(begin, sum->grain) : sum->end;

	return sum->reduction->map(begin, end, total, sum->reduction->arg);
}

/* A part of the loop over the totals, which is one of them. */
static int make_total(int64_t begin, int64_t end, void *arg)
{
	const struct sum *sum = arg;
	uint64_t part = first_part(sum, (uint64_t)begin);
	uint64_t last = first_part(sum, (uint64_t)end);
	void *total = total_at(sum, (uint64_t)begin);
	int ret = 0;

	init_total(sum->reduction, total);
	while (part < last && ret >= 0) {
		ret = map_part(sum, part, total);
		part++;
		if (ret >= 0 && part < last)
			ret = zs_scope_error(zs_worker_task()->scope);
	}
	return ret;
}

static void combine_totals(const struct sum *sum, void *result)
{
	const struct zs_reduction *reduction = sum->reduction;
	uint64_t i;

	memcpy(result, total_at(sum, 0), reduction->size);
	for (i = 1; i < sum->num_totals; i++)
		reduction->combine(result, total_at(sum, i), reduction->arg);
}

static int allocate_totals(struct sum *sum, struct zs_worker *worker)
{
	size_t size = sum->reduction->size;
	int saved_errno = *worker->errno_place;

	if (size > SIZE_MAX / TOTALS_MAX - TOTAL_ALIGNMENT)
		return zs_explain_none(-ENOMEM);
	sum->stride = (size + TOTAL_ALIGNMENT - 1) / TOTAL_ALIGNMENT *
		      TOTAL_ALIGNMENT;
	sum->totals = aligned_alloc(TOTAL_ALIGNMENT,
				    sum->stride * (size_t)sum->num_totals);
	*worker->errno_place = saved_errno;
	if (!sum->totals)
		return zs_explain_as(-ENOMEM,
				     "no memory for %llu totals of %zu bytes",
				     (unsigned long long)sum->num_totals, size);
	return 0;
}

static int run_sum(struct zs_task *task, struct sum *sum, void *result)
{
	struct loop loop = { .fn = make_total, .arg = sum, .grain = 1 };
	int ret;

	sum->num_parts =
		divide_up(count_items(sum->begin, sum->end), sum->grain);
	sum->num_totals = sum->num_parts < TOTALS_MAX ? sum->num_parts :
							TOTALS_MAX;
	loop.end = (int64_t)sum->num_totals;
	ret = allocate_totals(sum, task->worker);
	if (ret < 0)
		return ret;
	ret = run_loop(task, &loop);
	if (ret == 0)
		combine_totals(sum, result);
	free(sum->totals);
	return ret;
}

ZS_PUBLIC int zs_parallel_reduce(int64_t begin, int64_t end, int64_t grain,
				 const struct zs_reduction *reduction,
				 void *result)
{
	struct zs_task *task = zs_worker_task();
	struct sum sum = { .reduction = reduction, .begin = begin, .end = end };
	int ret = check_range(task, begin, end, grain);

	if (ret < 0)
		return ret;
	if (!reduction || !result || reduction->size == 0 || !reduction->map ||
	    !reduction->combine)
		return zs_explain_none(-EINVAL);
	if (begin == end) {
		ret = zs_scope_error(task->scope);
		if (ret == 0)
			init_total(reduction, result);
		return ret;
	}
	sum.grain = grain_of(task->worker, count_items(begin, end), grain);
	return run_sum(task, &sum, result);
}
