/* SPDX-License-Identifier: MIT */
/*
 * Every execution of small programs in which a task of another worker begins to
 * watch a scope, or stops to, while that is cancelled: it is told once, or has
 * seen the reason itself.
 *
 * It is the real watch.c; the scope's worker does by itself what cancel.c does
 * around it.
 */
#include "atomics.h"
#include "sweep.h"

#include <string.h>

#include "base/explain.h"
#include "base/list.h"
#include "sched/runtime.h"
#include "sched/scope.h"
#include "sched/watch.h"
#include "sched/worker.h"

static struct zs_worker *selves[MODEL_MAX_THREADS];

/* What watch.c has around it. */
#define zs_worker_self (selves[model_thread()])
#define zs_explain_none(ret) (ret)
#define zs_explain_as(ret, ...) (ret)
#define pthread_mutex_lock(lock) model_mutex_lock((struct model_mutex *)(lock))
#define pthread_mutex_unlock(lock) \
	model_mutex_unlock((struct model_mutex *)(lock))

#include "sched/watch.c"

enum { NUM_WATCHERS = 2 };

static struct zs_worker worker; /* of each: only its runtime matters */
static struct zs_scope scope;
static struct zs_watcher watchers[NUM_WATCHERS];
static int results[NUM_WATCHERS]; /* of the calls */
static int told[NUM_WATCHERS];	  /* how often */

static void note(struct zs_watcher *watcher, int result)
{
	model_assert(result == ZS_CANCEL_REQUESTED);
	told[watcher - watchers]++;
}

static void make(void)
{
	memset(&scope, 0, sizeof(scope));
	memset(watchers, 0, sizeof(watchers));
	memset(told, 0, sizeof(told));
	memset(&worker, 0, offsetof(struct zs_worker, wheel));
	for (int i = 0; i < MODEL_MAX_THREADS; i++)
		selves[i] = &worker;
	for (int i = 0; i < NUM_WATCHERS; i++) {
		watchers[i].tell = note;
		results[i] = ZS_CANCEL_REQUESTED;
	}
	scope.worker = &worker;
	atomic_init(&scope.state, ZS_SCOPE_OPEN);
}

static void cancel(void)
{
	atomic_store_explicit(&scope.reason, ZS_CANCEL_REQUESTED,
			      memory_order_relaxed);
	zs_scope_tell_watchers(&scope, ZS_CANCEL_REQUESTED);
}

static void watch_first(void)
{
	results[0] = zs_scope_watch(&scope, 0, &watchers[0]);
}

static void watch_second(void)
{
	results[1] = zs_scope_watch(&scope, 0, &watchers[1]);
}

static void watch_and_stop(void)
{
	watch_first();
	if (results[0] == 0 && zs_scope_unwatch(&scope, &watchers[0]))
		results[0] = ZS_CANCEL_REQUESTED;
}

static void expect_told_or_seen(void)
{
	for (int i = 0; i < NUM_WATCHERS; i++) {
		model_assert(results[i] == 0 ||
			     results[i] == ZS_CANCEL_REQUESTED);
		model_assert(told[i] == (results[i] == 0));
	}
}

static const struct model_case cases[] = {
	{ "one watches", make, { cancel, watch_first }, expect_told_or_seen },
	{ "one watches and stops",
	  make,
	  { cancel, watch_and_stop },
	  expect_told_or_seen },
	{ "two watch",
	  make,
	  { cancel, watch_first, watch_second },
	  expect_told_or_seen },
	{ 0 },
};

static const struct sweep_exception exceptions[] = {
	{ 0 },
};

static const struct sweep_bug bugs[] = {
	{ "nobody looks for those who watch",
	  { { .function = "zs_scope_set_watched",
	      .kind = MODEL_CAS,
	      .object = "&scope->state",
	      .cleared_bits = ZS_SCOPE_WATCHED } } },
	{ 0 },
};

static const char *const files[] = { "sched/watch.c", NULL };

int main(void)
{
	static const struct sweep sweep = {
		.name = "watch",
		.cases = cases,
		.exceptions = exceptions,
		.bugs = bugs,
		.files = files,
	};

	return sweep_main(&sweep);
}
