/* SPDX-License-Identifier: MIT */
/*
 * Once, and the lazy value that is made of it. Called by tasks and by any
 * thread.
 *
 * Who comes first runs the function, without the gate; the others wait in it.
 * When it fails, the first of them is let go to run its own.
 */
#include <errno.h>

#include "base/explain.h"
#include "base/text.h"
#include "sync/gate.h"

/* What gate.number says. Read without the gate, to see that it is done. */
enum { NOT_DONE, DONE };

/* The result of a waiter that is to run its function. */
enum { RUNS = 1 };

static ZS_RACY void describe(const void *object, struct zs_text *text)
{
	zs_gate_describe(object, text, "what is done once, ");
}

static const struct zs_wait_type waiting = {
	.cancel = zs_gate_cancel,
	.describe = describe,
};

/* acquire: what the function did. */
static bool is_done(const struct zs_once *once)
{
	return atomic_load_explicit(
		       (const _Atomic uint32_t *)&once->gate.number,
		       memory_order_acquire) == DONE;
}

/* The runner has come to an end: with success, or the next one is let go. */
static void end(struct zs_once *once, int ret)
{
	struct zs_waiters *queue = zs_gate_waiters(&once->gate);
	struct zs_waiter *waiter;
	struct zs_wakes wakes;

	zs_wakes_init(&wakes);
	zs_gate_enter(&once->gate);
	once->runner = 0;
	if (ret >= 0) {
		/* release: what the function did. */
		atomic_store_explicit((_Atomic uint32_t *)&once->gate.number,
				      DONE, memory_order_release);
		zs_wakes_add_all(&wakes, queue, 0);
	} else {
		waiter = zs_waiters_take(queue);
		if (waiter) {
			once->runner = (uintptr_t)waiter->item;
			zs_wakes_add(&wakes, waiter, RUNS);
		}
	}
	zs_gate_leave_and_wake(&once->gate, &wakes);
}

/* RUNS: the caller has become the runner. */
static int become_runner_or_wait(struct zs_once *once, struct zs_worker *worker)
{
	uintptr_t caller = zs_gate_caller(worker);
	struct zs_waiter waiter;
	int ret = RUNS;

	zs_gate_enter(&once->gate);
	if (is_done(once)) {
		ret = 0;
	} else if (once->runner == caller) {
		ret = -EDEADLK;
	} else if (once->runner) {
		zs_waiter_init(&waiter, worker, once);
		waiter.item = (void *)caller;
		return zs_gate_wait(&once->gate, &waiter, &waiting);
	} else {
		once->runner = caller;
	}
	zs_gate_leave(&once->gate);
	if (ret == -EDEADLK)
		return zs_explain_as(ret, "what is to be done once waits for "
					  "itself");
	return ret;
}

ZS_PUBLIC int zs_once_run(struct zs_once *once, zs_once_fn *fn, void *arg)
{
	struct zs_worker *worker = zs_worker_self;
	int ret;

	if (!once || !fn)
		return zs_explain_none(-EINVAL);
	if (zs_likely(is_done(once)))
		return 0;
	ret = zs_gate_check(worker);
	if (ret < 0)
		return ret;
	ret = become_runner_or_wait(once, worker);
	if (ret != RUNS)
		return ret;
	/* It may have been cancelled by the time its turn came. */
	ret = zs_wait_check(worker);
	if (ret == 0)
		ret = fn(arg);
	end(once, ret);
	return ret < 0 ? ret : 0;
}

struct making {
	struct zs_lazy *lazy;
	zs_lazy_fn *make;
	void *arg;
};

static int make_value(void *arg)
{
	const struct making *making = arg;
	void *value = NULL;
	int ret = making->make(making->arg, &value);

	if (ret >= 0)
		making->lazy->value = value;
	return ret;
}

ZS_PUBLIC int zs_lazy_get(struct zs_lazy *lazy, zs_lazy_fn *make, void *arg,
			  void **value)
{
	struct making making = { lazy, make, arg };
	int ret;

	if (!lazy || !make || !value)
		return zs_explain_none(-EINVAL);
	ret = zs_once_run(&lazy->once, make_value, &making);
	if (ret == 0)
		*value = lazy->value;
	return ret;
}
