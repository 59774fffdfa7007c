/* SPDX-License-Identifier: MIT */
/*
 * Join sets, as the public header has them: nurseries whose tasks have outcomes
 * (outcome.c), which are taken as they end. Tasks are spawned and end on any
 * thread; the rest is done by the opener.
 *
 * Who ends pushes its outcome on a stack, which the opener takes whole and
 * turns round, as a mailbox is. An opener that finds nothing leaves a mark in
 * place of the stack and parks; who takes the mark away wakes it: that is a
 * push, or its own cancel. So an outcome arrives without a lock, and a wake is
 * neither lost nor doubled.
 */
#include "zsync/join_set.h"

#include <assert.h>
#include <errno.h>

#include "base/compiler.h"
#include "base/explain.h"
#include "sched/lock.h"
#include "sched/nursery.h"
#include "sched/outcome.h"
#include "sched/scope.h"
#include "sched/spawn.h"
#include "sched/worker.h"

/* In an object of the slab of the opener's worker that outcomes are from. */
struct zs_set {
	void *slab_link;
	/* Of the outcome that was and will be here, whose stale handles may
	 * lead to it: left alone. */
	_Atomic uint64_t generation;
	/* Any thread: the last that has ended first; WAITING. */
	_Atomic(struct zs_outcome *) top;
	/* How many indexes have been given out; any thread. */
	_Atomic uint32_t spawned;
	/* The opener's own. */
	uint32_t taken;
	struct zs_outcome *ended; /* from the stack: the first first */
	struct zs_wake *wake;	  /* set before WAITING is */
	bool is_separate;	  /* constant */
};
static_assert(sizeof(struct zs_set) <= sizeof(struct zs_outcome),
	      "they are from one slab");
static_assert(offsetof(struct zs_set, generation) ==
		      offsetof(struct zs_outcome, generation),
	      "it is left alone");

static struct zs_outcome waiting_mark;
#define WAITING (&waiting_mark)

/* --- by the tasks, any thread --- */

void zs_set_push(struct zs_set *set, struct zs_outcome *outcome)
{
	/* relaxed: a stale top makes the exchange fail. */
	struct zs_outcome *top =
		atomic_load_explicit(&set->top, memory_order_relaxed);

	/* release: publishes the outcome, to take_all(), and what the task did.
	 * acquire: with the mark comes the wake. The set is there until the
	 * task has been counted off its nursery; the outcome may not be. */
	do {
		outcome->next = top == WAITING ? NULL : top;
	} while (!atomic_compare_exchange_weak_explicit(
		&set->top, &top, outcome, memory_order_acq_rel,
		memory_order_relaxed));
	if (top == WAITING)
		zs_task_wake_anywhere(set->wake);
}

uint32_t zs_set_count_up(struct zs_set *set)
{
	/* relaxed: a number. The opener, who waits only if there is something
	 * to wait for, either counted it up itself, or waits for the task that
	 * did, or leaves a race undecided. */
	return atomic_fetch_add_explicit(&set->spawned, 1,
					 memory_order_relaxed);
}

bool zs_set_count_down(struct zs_set *set, uint32_t index)
{
	uint32_t after = index + 1;

	/* relaxed: as above. */
	return atomic_compare_exchange_strong_explicit(&set->spawned, &after,
						       index,
						       memory_order_relaxed,
						       memory_order_relaxed);
}

bool zs_set_lists(const struct zs_set *set)
{
	return set->is_separate;
}

static int spawn_into(struct zs_join_set set, const struct zs_spawn *spawn)
{
	struct zs_outcome_request request = { .handle = NULL };
	int ret = zs_outcome_spawn(set.scope, set.generation, spawn, &request);

	return ret < 0 ? ret : (int)(request.index & INT32_MAX);
}

ZS_PUBLIC int zs_join_set_spawn(struct zs_join_set set, zs_task_fn *fn,
				void *arg)
{
	const struct zs_spawn spawn = { .fn = fn, .arg = arg };

	if (!fn)
		return zs_explain_none(-EINVAL);
	return spawn_into(set, &spawn);
}

ZS_PUBLIC int zs_join_set_spawn_copy(struct zs_join_set set, zs_task_fn *fn,
				     const void *args, size_t size)
{
	const struct zs_spawn spawn = {
		.fn = fn,
		.copy = args,
		.copy_size = size,
	};
	int ret = zs_spawn_check(&spawn);

	return ret < 0 ? ret : spawn_into(set, &spawn);
}

ZS_PUBLIC int zs_join_set_spawn_with(struct zs_join_set set,
				     const struct zs_spawn_options *options,
				     zs_task_fn *fn, void *arg)
{
	struct zs_spawn spawn;
	int ret = zs_spawn_take(&spawn, options, fn, arg);

	return ret < 0 ? ret : spawn_into(set, &spawn);
}

/* --- opening and closing --- */

static void init_set(struct zs_set *set, bool is_separate)
{
	/* relaxed, both: spawning publishes it. */
	atomic_store_explicit(&set->top, NULL, memory_order_relaxed);
	atomic_store_explicit(&set->spawned, 0, memory_order_relaxed);
	set->taken = 0;
	set->ended = NULL;
	set->is_separate = is_separate;
}

ZS_PUBLIC int zs_join_set_open(struct zs_join_set *set,
			       const struct zs_nursery_options *options)
{
	struct zs_task *task = zs_worker_task();
	struct zs_nursery nursery;
	struct zs_set *state;
	int ret;

	if (!task)
		return zs_explain_none(-EPERM);
	if (!set)
		return zs_explain_none(-EINVAL);
	state = zs_slab_get(&task->worker->outcomes);
	if (!state)
		return -ENOMEM;
	ret = zs_nursery_open_as(&nursery, options,
				 ZS_NURSERY_PINNED | ZS_JOIN_SET_SEPARATE);
	if (ret < 0) {
		zs_slab_put(&task->worker->outcomes, state);
		return ret;
	}
	init_set(state, options && options->flags & ZS_JOIN_SET_SEPARATE);
	nursery.scope->set = state;
	nursery.scope->is_set = true;
	nursery.scope->needs_care = true;
	set->scope = nursery.scope;
	set->generation = nursery.generation;
	return 0;
}

static void drop(struct zs_outcome *outcome)
{
	struct zs_outcome *next;

	for (; outcome; outcome = next) {
		next = outcome->next;
		zs_outcome_free(outcome);
	}
}

void zs_set_drop(struct zs_set *set, struct zs_worker *worker)
{
	/* relaxed: the tasks' ends were acquired when the scope was closed. */
	drop(atomic_load_explicit(&set->top, memory_order_relaxed));
	drop(set->ended);
	zs_slab_put(&worker->outcomes, set);
}

static uint32_t nr_left(struct zs_set *set)
{
	/* relaxed: a number. */
	return atomic_load_explicit(&set->spawned, memory_order_relaxed) -
	       set->taken;
}

/* As zs_scope_check_opener(), but that scopes may be open inside. */
static int check_opener(struct zs_join_set set)
{
	struct zs_task *task = zs_worker_task();
	int ret;

	if (!task)
		return zs_explain_none(-EPERM);
	ret = zs_scope_check_opener(set.scope, set.generation, task);
	return ret == -EBUSY ? 0 : ret;
}

ZS_PUBLIC int zs_join_set_close(struct zs_join_set set)
{
	struct zs_task *task = zs_worker_task();
	int ret;

	if (!task)
		return zs_explain_none(-EPERM);
	ret = zs_scope_check_opener(set.scope, set.generation, task);
	if (ret < 0)
		return ret;
	ret = zs_scope_error(set.scope);
	if (zs_scope_count(set.scope) != 0)
		zs_scope_cancel(set.scope, ZS_CANCEL_REQUESTED);
	zs_scope_close(task, set.scope);
	return ret < 0 ? zs_explain_none(ret) : 0;
}

ZS_PUBLIC int zs_join_set_cancel(struct zs_join_set set)
{
	return zs_scope_ask_cancel(set.scope, set.generation,
				   ZS_CANCEL_REQUESTED);
}

/* --- cancelling one --- */

/* Under the lock. */
static struct zs_outcome *find(const struct zs_scope *scope, uint32_t index)
{
	const struct zs_list *node;

	if (!scope->outcomes.next)
		return NULL;
	for (node = scope->outcomes.next; node != &scope->outcomes;
	     node = node->next) {
		struct zs_outcome *outcome =
			zs_container_of(node, struct zs_outcome, siblings);

		if (outcome->index == index)
			return outcome;
	}
	return NULL;
}

/* Under the lock. What is to be cancelled then, if it has started, in *token.
 */
static int mark_unwanted(struct zs_join_set set, uint32_t index,
			 struct zs_cancel_token *token)
{
	struct zs_set *state = set.scope->set;
	struct zs_outcome *outcome;

	/* relaxed: it is closed by changing this, before its outcomes are
	 * dropped under the lock. */
	if (atomic_load_explicit(&set.scope->generation,
				 memory_order_relaxed) != set.generation)
		return -ESTALE;
	if (!state->is_separate)
		return -EINVAL;
	outcome = find(set.scope, index);
	if (!outcome)
		/* relaxed: a number. */
		return index < atomic_load_explicit(&state->spawned,
						    memory_order_relaxed) ?
			       0 :
			       -ENOENT;
	outcome->is_unwanted = true;
	token->scope = outcome->scope;
	token->generation = outcome->scope_generation;
	return 0;
}

ZS_PUBLIC int zs_join_set_cancel_one(struct zs_join_set set, uint32_t index)
{
	struct zs_cancel_token token = { 0 };
	struct zs_worker *worker = zs_worker_self;
	int ret;

	if (!worker)
		return zs_explain_none(-EPERM);
	if (!set.scope)
		return zs_explain_none(-ESTALE);
	if (set.scope->worker->runtime != worker->runtime)
		return zs_explain_as(-EXDEV, "the set is of another runtime");
	zs_lock_children(set.scope->worker);
	ret = mark_unwanted(set, index, &token);
	zs_unlock_children(set.scope->worker);
	if (ret == -EINVAL)
		return zs_explain_as(ret, "the set was opened without "
					  "ZS_JOIN_SET_SEPARATE");
	if (ret < 0)
		return zs_explain_none(ret);
	/* It may have ended meanwhile, which is as good. */
	if (token.scope)
		zs_scope_ask_cancel(token.scope, token.generation,
				    ZS_CANCEL_REQUESTED);
	return 0;
}

/* --- taking --- */

/* On the opener's stack. */
struct set_wait {
	struct zs_wake wake;
	struct zs_set *set;
	int error;
};

static void cancel_next(struct zs_task *task)
{
	/* The task's own, on its stack: const only for those who look on. */
	struct set_wait *wait = (struct set_wait *)(uintptr_t)task->waits_on;
	struct zs_outcome *mark = WAITING;

	/* relaxed: nothing has been pushed. Else a wake is under way. */
	if (!atomic_compare_exchange_strong_explicit(&wait->set->top, &mark,
						     NULL, memory_order_relaxed,
						     memory_order_relaxed))
		return;
	wait->error = zs_task_wait_error(task);
	zs_task_wake(task);
}

static ZS_RACY void describe_next(const void *object, struct zs_text *text)
{
	const struct set_wait *wait = object;
	struct zs_set *set = wait->set;
	uint32_t left;

	if (!set)
		return;
	left = nr_left(set);
	zs_text_add(text, "the next of ");
	zs_text_add_number(text, left);
	zs_text_add(text, left == 1 ? " task" : " tasks");
}

static const struct zs_wait_type awaiting_next = {
	.cancel = cancel_next,
	.describe = describe_next,
};

/* The tasks are cancelled, not the wait for them. */
static const struct zs_wait_type awaiting_all = {
	.describe = describe_next,
};

static void take_all(struct zs_set *set)
{
	struct zs_outcome *taken, *next, *first = NULL;

	/* relaxed: what is missed is found by who wants to wait. */
	if (!atomic_load_explicit(&set->top, memory_order_relaxed))
		return;
	/* acquire: pairs with the release of each push. */
	taken = atomic_exchange_explicit(&set->top, NULL, memory_order_acquire);
	for (; taken; taken = next) {
		next = taken->next;
		taken->next = first;
		first = taken;
	}
	set->ended = first;
}

/* The next that has ended, taken; NULL: there is none yet. */
static struct zs_outcome *take(struct zs_set *set)
{
	struct zs_outcome *outcome;

	do {
		if (!set->ended)
			take_all(set);
		outcome = set->ended;
		if (!outcome)
			return NULL;
		set->ended = outcome->next;
		set->taken++;
		if (!outcome->is_void)
			return outcome;
		zs_outcome_free(outcome);
	} while (true);
}

/* 0, or how the wait was cancelled. */
static int await_push(struct zs_task *task, struct zs_set *set,
		      const struct zs_wait_type *type)
{
	struct set_wait wait = { .wake.task = task, .set = set };
	struct zs_outcome *none = NULL;

	if (type->cancel && zs_scope_error(task->scope) < 0)
		return zs_scope_error(task->scope);
	/* Until the task goes on, which ends this frame. */
	set->wake = &wait.wake; /* cppcheck-suppress autoVariables */
	/* release: publishes the wake to who takes the mark. */
	if (atomic_compare_exchange_strong_explicit(&set->top, &none, WAITING,
						    memory_order_release,
						    memory_order_relaxed))
		zs_task_park(type, &wait);
	return wait.error;
}

static void tell(struct zs_outcome *outcome, uint32_t *index, int *result)
{
	if (index)
		*index = outcome->index;
	if (result)
		*result = outcome->result;
	zs_outcome_free(outcome);
}

/* 0 or -EAGAIN, -ENOENT. */
static int try_next(struct zs_set *set, uint32_t *index, int *result)
{
	struct zs_outcome *outcome = take(set);

	if (!outcome)
		return nr_left(set) == 0 ? -ENOENT : -EAGAIN;
	tell(outcome, index, result);
	return 0;
}

static int next(struct zs_set *set, const struct zs_wait_type *type,
		uint32_t *index, int *result)
{
	int ret = try_next(set, index, result);
	int error;

	while (ret == -EAGAIN) {
		error = await_push(zs_worker_self->current, set, type);
		if (error < 0)
			return error;
		ret = try_next(set, index, result);
	}
	return ret;
}

ZS_PUBLIC int zs_join_set_next(struct zs_join_set set, uint32_t *index,
			       int *result)
{
	int ret = check_opener(set);

	if (ret == 0)
		ret = next(set.scope->set, &awaiting_next, index, result);
	return ret < 0 ? zs_explain_none(ret) : 0;
}

ZS_PUBLIC int zs_join_set_try_next(struct zs_join_set set, uint32_t *index,
				   int *result)
{
	int ret = check_opener(set);

	if (ret == 0)
		ret = try_next(set.scope->set, index, result);
	return ret < 0 ? zs_explain_none(ret) : 0;
}

ZS_PUBLIC int zs_join_set_all(struct zs_join_set set, int *results, size_t n)
{
	int ret = check_opener(set);
	int first_error = 0, result;
	uint32_t index;

	if (ret < 0)
		return ret;
	while (next(set.scope->set, &awaiting_all, &index, &result) == 0) {
		if (results && index < n)
			results[index] = result;
		if (result < 0 && first_error == 0)
			first_error = result;
	}
	return first_error < 0 ? zs_explain_none(first_error) : 0;
}
