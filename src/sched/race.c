/* SPDX-License-Identifier: MIT */
/*
 * Functions that run as tasks at once, and are waited for together: a join set
 * each, which is gone when the call returns. Called by tasks.
 */
#include <errno.h>

#include "base/compiler.h"
#include "base/explain.h"
#include "sched/worker.h"
#include "zsync/join_set.h"

struct crowd {
	struct zs_join_set set;
	size_t n;
	size_t winner;
};

static int spawn_all(struct crowd *crowd, zs_task_fn *const *fns,
		     void *const *args)
{
	size_t i;
	int ret;

	for (i = 0; i < crowd->n; i++) {
		ret = zs_join_set_spawn(crowd->set, fns[i],
					args ? args[i] : NULL);
		/* The others are for nothing. */
		if (ret < 0) {
			zs_join_set_close(crowd->set);
			return ret;
		}
	}
	return 0;
}

static int begin(struct crowd *crowd, zs_task_fn *const *fns, void *const *args,
		 size_t n)
{
	size_t i;
	int ret;

	*crowd = (struct crowd){ .n = n, .winner = n };
	if (!zs_worker_task())
		return zs_explain_none(-EPERM);
	if (!fns || n == 0 || n > INT32_MAX)
		return zs_explain_none(-EINVAL);
	for (i = 0; i < n; i++)
		if (!fns[i])
			return zs_explain_none(-EINVAL);
	ret = zs_join_set_open(&crowd->set, NULL);
	return ret < 0 ? ret : spawn_all(crowd, fns, args);
}

/* 0 or an error of the wait; the set is open in any case. */
static int await_first(struct crowd *crowd, int *result)
{
	uint32_t index;
	int ret = zs_join_set_next(crowd->set, &index, result);

	if (ret == 0)
		crowd->winner = index;
	return ret;
}

/* The same, of those that succeed; or else of all. */
static int await_success(struct crowd *crowd, int *result)
{
	int ret = await_first(crowd, result);
	uint32_t index;
	int one;

	while (ret == 0 && *result < 0) {
		ret = zs_join_set_next(crowd->set, &index, &one);
		if (ret < 0 || one < 0)
			continue;
		crowd->winner = index;
		*result = one;
	}
	return ret == -ENOENT ? 0 : ret;
}

typedef int await_fn(struct crowd *crowd, int *result);

static int find_winner(zs_task_fn *const *fns, void *const *args, size_t n,
		       await_fn *await, size_t *winner)
{
	struct crowd crowd;
	int ret = begin(&crowd, fns, args, n);
	int result;

	if (ret == 0) {
		ret = await(&crowd, &result);
		zs_join_set_close(crowd.set);
		if (ret == 0)
			ret = result;
		else
			crowd.winner = n;
	}
	if (winner)
		*winner = crowd.winner;
	return ret < 0 ? zs_explain_none(ret) : ret;
}

ZS_PUBLIC int zs_race(zs_task_fn *const *fns, void *const *args, size_t n,
		      size_t *winner)
{
	return find_winner(fns, args, n, await_first, winner);
}

ZS_PUBLIC int zs_any(zs_task_fn *const *fns, void *const *args, size_t n,
		     size_t *winner)
{
	return find_winner(fns, args, n, await_success, winner);
}

/* 0, the first error, or one of the wait; those that are left have to end. */
static int await_failure(struct crowd *crowd, int *results)
{
	uint32_t index;
	int ret, result = 0;

	do {
		ret = zs_join_set_next(crowd->set, &index, &result);
		if (ret < 0)
			return ret == -ENOENT ? 0 : ret;
		if (results)
			results[index] = result;
	} while (result >= 0);
	zs_join_set_cancel(crowd->set);
	return result;
}

ZS_PUBLIC int zs_all(zs_task_fn *const *fns, void *const *args, size_t n,
		     int *results)
{
	struct crowd crowd;
	int ret = begin(&crowd, fns, args, n);

	if (ret < 0)
		return ret;
	ret = await_failure(&crowd, results);
	zs_join_set_all(crowd.set, results, n);
	zs_join_set_close(crowd.set);
	return ret < 0 ? zs_explain_none(ret) : 0;
}
