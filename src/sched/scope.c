/* SPDX-License-Identifier: MIT */
/*
 * Scopes: opening, closing, counting tasks, and what other threads may ask of
 * one. Called by nursery.c, token.c, the spawning and ending of tasks, and the
 * worker's loop for the messages that other threads send. How a cancel gets to
 * those inside is in cancel.c.
 */
#include "sched/scope.h"

#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/explain.h"
#include "base/text.h"
#include "sched/outcome.h"
#include "sched/runtime.h"
#include "sched/watch.h"
#include "sched/worker.h"

/* --- the word --- */

/*
 * acq_rel, of which it needs: release, so that what an ended task wrote, and
 * what it did to the scope, is seen by the opener, whose closing acquires (the
 * changes in between are read-modify-writes, and so pass it on); acquire, so
 * that who spawns into a scope sees it opened.
 */
static ZS_ALWAYS_INLINE bool change_state(struct zs_scope *scope, uint64_t *old,
					  uint64_t new)
{
	return atomic_compare_exchange_weak_explicit(&scope->state, old, new,
						     memory_order_acq_rel,
						     memory_order_relaxed);
}

/* relaxed: a handle whose generation is another one is stale; the word's lower
 * half of it is checked again when it is changed. */
static bool is_current(struct zs_scope *scope, uint64_t generation)
{
	return atomic_load_explicit(&scope->generation, memory_order_relaxed) ==
	       generation;
}

static bool has_drifted(uint64_t state)
{
	int64_t balance = zs_scope_balance(state);

	return !(state & ZS_SCOPE_MERGED) &&
	       (balance > ZS_SCOPE_DRIFT || balance < -ZS_SCOPE_DRIFT);
}

/* Does the owner have to hear of a change that ends in @state? */
static bool must_tell(uint64_t state)
{
	/* Below 0: a task spawned at home since then was counted there. */
	if (state & ZS_SCOPE_MERGED)
		return zs_scope_balance(state) <= 0;
	return state & ZS_SCOPE_WAITING || has_drifted(state);
}

static void add_to_balance(struct zs_scope *scope, uint64_t delta)
{
	uint64_t old = zs_scope_state(scope);
	uint64_t new;

	/* The message is claimed in the same step: the scope may be closed the
	 * moment that its last task has been counted off. */
	do {
		new = old + delta;
		if (!(new &ZS_SCOPE_POSTED) && must_tell(new))
			new |= ZS_SCOPE_POSTED;
	} while (!change_state(scope, &old, new));
	if ((new ^ old) & ZS_SCOPE_POSTED)
		zs_worker_post(scope->worker, &scope->message,
			       ZS_MESSAGE_SCOPE);
}

/* --- opening --- */

static void on_deadline(struct zs_timer *timer, void *scope)
{
	(void)timer;
	zs_scope_cancel(scope, ZS_CANCEL_DEADLINE);
}

/* Once: a stale handle may be looked at on another thread. */
static void give_home(struct zs_scope *scope, struct zs_worker *worker)
{
	scope->worker = worker;
	zs_list_init(&scope->children);
}

struct zs_scope *zs_scope_open(struct zs_task *task, int64_t deadline_ns)
{
	struct zs_worker *worker = task->worker;
	struct zs_scope *scope = zs_slab_get(&worker->scopes);

	if (!scope)
		return NULL;
	if (!scope->worker)
		give_home(scope, worker);
	if (!task->is_linked)
		zs_scope_link(task);
	zs_scope_enter(task, scope);
	if (deadline_ns != ZS_NEVER)
		zs_scope_set_deadline(scope, deadline_ns);
	return scope;
}

void zs_scope_init_root(struct zs_scope *scope, struct zs_worker *worker)
{
	memset(scope, 0, sizeof(*scope));
	give_home(scope, worker);
	zs_scope_init(scope, ZS_SCOPE_WAITING | ZS_SCOPE_MERGED);
	scope->kind = ZS_SCOPE_NURSERY;
	scope->is_merged = true;
	scope->is_waiting = true;
}

static void note_deadline(struct zs_scope *scope, int64_t deadline_ns)
{
	/* relaxed: a point in time, which publishes nothing. */
	atomic_store_explicit(&scope->deadline_ns, deadline_ns,
			      memory_order_relaxed);
}

void zs_scope_arm(struct zs_scope *scope, int64_t deadline_ns, zs_timer_fn *fn)
{
	note_deadline(scope, deadline_ns);
	scope->needs_care = true;
	scope->deadline.fn = fn;
	scope->deadline.arg = scope;
	zs_wheel_start(&scope->worker->wheel, &scope->deadline, deadline_ns);
}

void zs_scope_set_deadline(struct zs_scope *scope, int64_t deadline_ns)
{
	struct zs_worker *worker = scope->worker;

	zs_wheel_cancel(&worker->wheel, &scope->deadline);
	if (deadline_ns == ZS_NEVER) {
		note_deadline(scope, 0);
	} else if (deadline_ns > zs_worker_now(worker)) {
		zs_scope_arm(scope, deadline_ns, on_deadline);
	} else {
		note_deadline(scope, deadline_ns);
		scope->needs_care = true;
		zs_scope_cancel(scope, ZS_CANCEL_DEADLINE);
	}
}

int zs_scope_check_opener(struct zs_scope *scope, uint64_t generation,
			  const struct zs_task *task)
{
	if (!scope || !is_current(scope, generation))
		return zs_explain_none(-ESTALE);
	/* relaxed: the opener itself sees what it did; to others it is a no in
	 * any case. */
	if (!zs_scope_is_open_as(zs_scope_state(scope), generation))
		return zs_explain_none(-ESTALE);
	if (scope->worker != task->worker || scope->opener != task)
		return zs_explain_none(-EPERM);
	return task->scope == scope ? 0 : zs_explain_none(-EBUSY);
}

int zs_scope_reason(struct zs_scope *scope, uint64_t generation)
{
	int reason;

	if (!scope || !is_current(scope, generation))
		return zs_explain_none(-ESTALE);
	/* acquire: the second look at the state comes after it. */
	reason = atomic_load_explicit(&scope->reason, memory_order_acquire);
	if (!zs_scope_is_open_as(zs_scope_state(scope), generation))
		return zs_explain_none(-ESTALE);
	return reason;
}

/* --- asking --- */

static bool has_forked(const struct zs_scope *scope)
{
	return scope->worker->runtime->fork_count != zs_runtime_fork_count();
}

int zs_scope_ask_cancel(struct zs_scope *scope, uint64_t generation,
			enum zs_cancel_reason reason)
{
	uint64_t old, new;

	if (!scope || !is_current(scope, generation))
		return zs_explain_none(-ESTALE);
	/* acquire: pairs with the release in open_state(). */
	old = atomic_load_explicit(&scope->state, memory_order_acquire);
	if (!zs_scope_is_open_as(old, generation))
		return zs_explain_none(-ESTALE);
	if (scope->worker == zs_worker_self) {
		zs_scope_cancel(scope, reason);
		return 0;
	}
	if (has_forked(scope))
		return zs_explain_none(-EPERM);
	do {
		if (!zs_scope_is_open_as(old, generation))
			return zs_explain_none(-ESTALE);
		if ((old & ZS_SCOPE_REASON) || zs_scope_error(scope) < 0)
			return 0;
		new = old | ZS_SCOPE_POSTED |
		      (uint64_t)reason << ZS_SCOPE_REASON_SHIFT;
	} while (!change_state(scope, &old, new));
	if (!(old & ZS_SCOPE_POSTED))
		zs_worker_post(scope->worker, &scope->message,
			       ZS_MESSAGE_SCOPE);
	return 0;
}

/* --- counting --- */

int zs_scope_add_remotely(struct zs_scope *scope, uint64_t generation)
{
	uint64_t old, new;

	if (!scope || !is_current(scope, generation))
		return zs_explain_none(-ESTALE);
	/* acquire: pairs with the release in open_state(). */
	old = atomic_load_explicit(&scope->state, memory_order_acquire);
	if (zs_scope_is_open_as(old, generation) && has_forked(scope))
		return zs_explain_none(-EPERM);
	do {
		if (!zs_scope_is_open_as(old, generation))
			return zs_explain_none(-ESTALE);
		if ((old & ZS_SCOPE_REASON) || zs_scope_error(scope) < 0)
			return -ECANCELED;
		new = old + ZS_SCOPE_ONE_TASK;
		/* They may all end at home, where they do not count here. */
		if (has_drifted(new))
			new |= ZS_SCOPE_POSTED;
	} while (!change_state(scope, &old, new));
	if ((new ^ old) & ZS_SCOPE_POSTED)
		zs_worker_post(scope->worker, &scope->message,
			       ZS_MESSAGE_SCOPE);
	return 0;
}

void zs_scope_remove_remotely(struct zs_scope *scope)
{
	uint64_t old = zs_scope_state(scope);
	uint64_t new;

	/* In any case the owner is told: a lone worker's does not ask for it,
	 * since its tasks end at home. */
	do {
		new = (old - ZS_SCOPE_ONE_TASK) | ZS_SCOPE_POSTED;
	} while (!change_state(scope, &old, new));
	if (!(old & ZS_SCOPE_POSTED))
		zs_worker_post(scope->worker, &scope->message,
			       ZS_MESSAGE_SCOPE);
}

/* The first error wins, and cancels the others. The root's tasks have nothing
 * to do with each other. */
ZS_COLD void zs_scope_fail(struct zs_scope *scope, int result)
{
	int none = 0;

	/* relaxed: the word's change that follows publishes it. */
	if (!scope->opener ||
	    !atomic_compare_exchange_strong_explicit(
		    &scope->error, &none, result, memory_order_relaxed,
		    memory_order_relaxed))
		return;
	zs_scope_ask_cancel(scope,
			    atomic_load_explicit(&scope->generation,
						 memory_order_relaxed),
			    ZS_CANCEL_SIBLING_FAILED);
}

void zs_scope_on_last(struct zs_scope *scope)
{
	if (!scope->opener) {
		zs_runtime_root_idle(scope->worker->runtime);
		return;
	}
	scope->is_waiting = false;
	zs_task_wake_first(scope->opener);
}

void zs_scope_count_off(struct zs_scope *scope)
{
	add_to_balance(scope, -ZS_SCOPE_ONE_TASK);
}

void zs_scope_handle(struct zs_scope *scope)
{
	bool merge = scope->is_waiting && !scope->worker->alone;
	uint64_t old = zs_scope_state(scope);
	uint64_t new;
	int64_t local;

	/* A lone worker's tasks all end at home: nobody to merge for. */
	do {
		new = old & ~(uint64_t)(ZS_SCOPE_POSTED | ZS_SCOPE_REASON |
					ZS_SCOPE_MERGED);
		local = scope->local + zs_scope_balance(old);
		new &= ZS_SCOPE_ONE_TASK - 1;
		if (merge || !scope->opener) {
			new |= ZS_SCOPE_MERGED |
			       (uint64_t)local << ZS_SCOPE_BALANCE_SHIFT;
			local = 0;
		}
	} while (!change_state(scope, &old, new));
	scope->local = local;
	scope->is_merged = new &ZS_SCOPE_MERGED;
	if (old & ZS_SCOPE_REASON)
		zs_scope_cancel(scope, (old & ZS_SCOPE_REASON) >>
					       ZS_SCOPE_REASON_SHIFT);
	if (scope->is_waiting &&
	    zs_scope_can_close(scope, zs_scope_state(scope)))
		zs_scope_on_last(scope);
}

int64_t zs_scope_count(struct zs_scope *scope)
{
	return zs_scope_balance(zs_scope_state(scope)) + scope->local;
}

/* --- closing --- */

/* acq_rel: acquires what its tasks did on other workers; releases nothing that
 * anyone needs. False: something is left, or comes. */
static ZS_ALWAYS_INLINE bool try_close(struct zs_scope *scope)
{
	uint64_t generation =
		atomic_load_explicit(&scope->generation, memory_order_relaxed) +
		1;
	uint64_t closed = (uint64_t)(uint32_t)generation
			  << ZS_SCOPE_GENERATION_SHIFT;
	uint64_t old = zs_scope_state(scope);

	do {
		/* Those who watch are told first. */
		if (zs_unlikely(!zs_scope_can_close(scope, old) ||
				old & ZS_SCOPE_WATCHED))
			return false;
	} while (!change_state(scope, &old, closed));
	/* relaxed: the word above says that it is closed. */
	atomic_store_explicit(&scope->generation, generation,
			      memory_order_relaxed);
	return true;
}

bool zs_scope_close_root(struct zs_scope *scope)
{
	return try_close(scope);
}

/* From here on who ends a task elsewhere tells us. It may have ended before. */
static void tell_that_it_waits(struct zs_scope *scope)
{
	/* acq_rel: as change_state(). */
	atomic_fetch_or_explicit(&scope->state, ZS_SCOPE_WAITING,
				 memory_order_acq_rel);
}

static ZS_RACY void describe_closing(const void *object, struct zs_text *text)
{
	const struct zs_scope *scope = object;
	int64_t count = zs_scope_balance(zs_scope_state(scope)) + scope->local;

	zs_text_add(text, "the end of ");
	zs_text_add_number(text, count);
	zs_text_add(text, count == 1 ? " task" : " tasks");
}

/* The tasks are cancelled, not the wait for them. */
static const struct zs_wait_type closing = {
	.describe = describe_closing,
};

/* A task that is waited for and has not started, if it is the one spawned last:
 * it can be called. Who calls one after the other for ever lets others run when
 * the turn's budget is spent. */
static ZS_ALWAYS_INLINE struct zs_task *take_child(struct zs_worker *worker,
						   const struct zs_scope *scope)
{
	struct zs_task *task;

	if (worker->budget == 0 || worker->is_starved)
		return NULL;
	task = zs_deque_peek_bottom(&worker->unstarted);
	/* It is read before it is ours: a thief may have it. Its memory is
	 * there, and its nursery is no other while it waits to be started. A
	 * count that others have changed is a hint only, and good enough. */
	if (!task || task->nursery != scope)
		return NULL;
	return zs_deque_claim_bottom(&worker->unstarted, task) ? task : NULL;
}

static ZS_ALWAYS_INLINE bool call_child(struct zs_worker *worker,
					struct zs_scope *scope)
{
	struct zs_task *child = take_child(worker, scope);

	if (!child)
		return false;
	zs_task_call(worker, &closing, scope, child);
	return true;
}

/* Where older tasks of others would start before several of this scope: so that
 * a tree of nurseries is gone through in depth, with a stack for each level and
 * not for each task. Else the first of them goes first. */
static ZS_NOINLINE void call_children(struct zs_worker *worker,
				      struct zs_scope *scope)
{
	while (scope->local > 0 &&
	       (scope->local == 1 ||
		zs_deque_size(&worker->unstarted) > scope->local))
		if (!call_child(worker, scope))
			return;
}

static ZS_NOINLINE void park_until_closed(struct zs_worker *worker,
					  struct zs_scope *scope)
{
	while (!try_close(scope)) {
		uint64_t state = zs_scope_state(scope);

		if ((state & ZS_SCOPE_WATCHED) &&
		    zs_scope_can_close(scope, state)) {
			zs_scope_dismiss_watchers(scope);
			continue;
		}
		scope->is_waiting = true;
		if (worker->alone || (zs_scope_state(scope) & ZS_SCOPE_WAITING))
			zs_task_park(&closing, scope);
		else
			tell_that_it_waits(scope);
	}
}

static ZS_ALWAYS_INLINE void wait_for_tasks(struct zs_worker *worker,
					    struct zs_scope *scope)
{
	/* The only one can be called in any case. */
	if (zs_likely(scope->local == 1))
		call_child(worker, scope);
	else if (scope->local > 1)
		call_children(worker, scope);
	if (zs_unlikely(!try_close(scope)))
		park_until_closed(worker, scope);
}

/* So that it is as zs_scope_open() needs it. */
static ZS_NOINLINE void tidy(struct zs_scope *scope)
{
	zs_wheel_cancel(&scope->worker->wheel, &scope->deadline);
	note_deadline(scope, 0);
	if (scope->kind == ZS_SCOPE_NURSERY)
		zs_outcome_drop_all(scope);
	else if (scope->is_local)
		scope->local_key = NULL;
	else if (scope->kind == ZS_SCOPE_ARENA)
		scope->memory = NULL;
}

/* relaxed: ours, and the tasks' errors were acquired in closing. */
static ZS_NOINLINE int error_of(struct zs_scope *scope, int reason)
{
	int error = atomic_load_explicit(&scope->error, memory_order_relaxed);

	/* The sibling that failed may be one of an outer nursery. */
	if ((reason & ~ZS_SCOPE_INHERITED) == ZS_CANCEL_SIBLING_FAILED &&
	    error < 0)
		return error;
	return zs_scope_error_of(reason);
}

int zs_scope_close(struct zs_task *task, struct zs_scope *scope)
{
	struct zs_worker *worker = task->worker;
	int reason;

	ZS_ASSERT(task->scope == scope);
	wait_for_tasks(worker, scope);
	if (zs_unlikely(scope->needs_care))
		tidy(scope);
	task->scope = scope->outer;
	zs_slab_put(&worker->scopes, scope);
	/* relaxed: this thread was the only writer. */
	reason = atomic_load_explicit(&scope->reason, memory_order_relaxed);
	return zs_likely(reason == ZS_CANCEL_NONE) ? 0 :
						     error_of(scope, reason);
}

/* What a scope is called, and how it should have been closed. */
static const char *const *words_for(const struct zs_scope *scope)
{
	static const char *const words[][2] = {
		{ "a cancel token", "zs_cancel_token_close()" },
		{ "a nursery", "zs_nursery_wait()" },
		{ "a shield", "zs_shield_close()" },
		{ "a join set", "zs_join_set_close()" },
		{ "a local value", "zs_local_pop()" },
		{ "an arena", "zs_arena_close()" },
	};

	if (scope->is_local)
		return words[4];
	if (scope->is_shield || scope->is_set)
		return words[scope->is_shield ? 2 : 3];
	if (scope->kind == ZS_SCOPE_ARENA)
		return words[5];
	return words[scope->kind == ZS_SCOPE_NURSERY];
}

static void report_left_open(const struct zs_task *task,
			     const struct zs_scope *scope)
{
	const char *const *words = words_for(scope);
	struct zs_text text;

	zs_text_init(&text);
	zs_text_add(&text, "zsync: ");
	zs_task_describe(task, &text);
	zs_text_add(&text, " returned with ");
	zs_text_add(&text, words[0]);
	zs_text_add(&text, " open; it is cancelled and closed now: call ");
	zs_text_add(&text, words[1]);
	zs_text_add(&text, "\n");
	zs_text_write(&text, STDERR_FILENO);
}

static void close_left_open(struct zs_task *task, struct zs_scope *scope)
{
	void *memory = scope->kind == ZS_SCOPE_ARENA ? scope->memory : NULL;

	report_left_open(task, scope);
	ZS_COUNT(task->worker->counters.left_open, 1);
	zs_scope_cancel(scope, ZS_CANCEL_LEFT_OPEN);
	zs_scope_close(task, scope);
	if (memory)
		zs_arena_destroy(memory, &task->worker->blocks);
}

void zs_scope_close_left_open(struct zs_task *task,
			      const struct zs_scope *scope)
{
	while (task->scope != scope)
		close_left_open(task, task->scope);
}
