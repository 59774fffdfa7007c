/* SPDX-License-Identifier: MIT */
/*
 * Switching between tasks; the only place that includes switch.h. Called by the
 * worker's loop, and by tasks that park, yield or end, always on the worker's
 * thread.
 *
 * A task that gives way switches straight to the next one; the loop's own stack
 * is resumed only when there is none or the turn's budget is spent. A task that
 * ends hands its stack to the next one that has not started: no switch at all.
 */
#include "base/explain.h"
#include "sched/task.h"

#include <errno.h>
#include <string.h>

#include "switch.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/probes.h"
#include "sched/balance.h"
#include "sched/exceptions.h"
#include "sched/runtime.h"
#include "sched/sanitize.h"
#include "sched/scope.h"
#include "sched/spawn.h"
#include "sched/worker.h"

_Thread_local struct zs_worker *zs_worker_self;

static void task_main(void *unused);
static void task_main_apart(void *unused);

/* Of the configured size, and guarded. */
static ZS_ALWAYS_INLINE bool is_usual(const struct zs_stack *stack)
{
	return !(stack->size_class | stack->has_canary);
}

static ZS_ALWAYS_INLINE struct zs_sanitize_context
context_of(struct zs_worker *worker, const struct zs_task *task)
{
	return task ? zs_sanitize_stack_context(task->stack) :
		      worker->loop_context;
}

/* Leaves a context that is resumed later, through *@save_sp, and that holds no
 * exceptions. @next is NULL for the loop. Other tasks of this thread may change
 * errno meanwhile. */
static ZS_ALWAYS_INLINE void
switch_plainly(struct zs_worker *worker, void **save_sp, struct zs_task *next)
{
	struct zs_sanitize_context to = context_of(worker, next);
	int saved_errno = *worker->errno_place;
	void *fake = NULL;

	worker->current = next;
	zs_sanitize_before_switch(&fake, &to);
	zs_switch(save_sp, next ? next->sp : worker->loop_sp);
	zs_sanitize_after_switch(fake);
	*worker->errno_place = saved_errno;
}

/* From inside a catch block. The thread has none in between, which is what
 * everybody else resumes with. */
static ZS_COLD void switch_holding(struct zs_worker *worker, void **save_sp,
				   struct zs_task *next)
{
	struct zs_exceptions held = *worker->exceptions;

	*worker->exceptions = (struct zs_exceptions){ 0 };
	switch_plainly(worker, save_sp, next);
	*worker->exceptions = held;
}

static ZS_ALWAYS_INLINE bool holds_exceptions(const struct zs_worker *worker)
{
	return zs_unlikely(zs_exceptions_are_held(worker->exceptions));
}

static ZS_ALWAYS_INLINE void switch_to(struct zs_worker *worker, void **save_sp,
				       struct zs_task *next)
{
	if (holds_exceptions(worker))
		switch_holding(worker, save_sp, next);
	else
		switch_plainly(worker, save_sp, next);
}

/* Nothing of @task has run yet. */
static ZS_ALWAYS_INLINE void begin(struct zs_worker *worker,
				   struct zs_task *task, struct zs_stack *stack)
{
	task->stack = stack;
	task->worker = worker;
	task->state = ZS_TASK_STARTED;
	ZS_COUNT(worker->counters.started, 1);
	ZS_PROBE_START(task, worker);
}

/* NULL if there is no memory for one; then @task is kept for later. */
static ZS_ALWAYS_INLINE struct zs_stack *take_stack(struct zs_worker *worker,
						    struct zs_task *task)
{
	struct zs_stack *stack =
		zs_stack_get(zs_worker_stacks(worker, task->stack_class));

	if (zs_unlikely(!stack)) {
		if (task->stack_class != 0) {
			zs_stacks_defer(worker, task);
			return NULL;
		}
		worker->is_starved = true;
		worker->starved_until_ns = zs_clock_ns() + ZS_STARVED_NS;
		zs_worker_keep_first(worker, task);
		return NULL;
	}
	zs_sanitize_stack_create(stack);
	zs_sanitize_stack_reuse(stack);
	return stack;
}

static bool begin_on_new_stack(struct zs_worker *worker, struct zs_task *task)
{
	struct zs_stack *stack = take_stack(worker, task);

	if (zs_unlikely(!stack))
		return false;
	task->sp = zs_switch_prepare(
		stack->top,
		zs_likely(is_usual(stack)) ? task_main : task_main_apart, NULL);
	begin(worker, task, stack);
	return true;
}

/* Who is ready and next in a round that has one. */
static ZS_ALWAYS_INLINE struct zs_task *next_of_round(struct zs_worker *worker)
{
	struct zs_link *link = worker->round;
	struct zs_task *task = link->item;

	worker->round = link->next;
	worker->budget--;
	task->wait = NULL;
	return task;
}

/* Who runs next: those that were ready when the round began, then all that have
 * not started (these have no stack), then the next round. NULL: the loop. */
static ZS_ALWAYS_INLINE struct zs_task *choose(struct zs_worker *worker)
{
	struct zs_task *task;

	if (zs_unlikely(worker->budget == 0))
		return NULL;
	if (!worker->round) {
		task = zs_worker_take_unstarted(worker);
		if (task) {
			worker->budget--;
			return task;
		}
		worker->round = zs_queue_take_all(&worker->ready);
		if (!worker->round)
			return NULL;
	}
	return next_of_round(worker);
}

/* The same, with a stack, at the end of a round. */
static ZS_NOINLINE struct zs_task *choose_or_begin(struct zs_worker *worker)
{
	struct zs_task *task;

	do {
		task = choose(worker);
	} while (task && !task->stack && !begin_on_new_stack(worker, task));
	return task;
}

static ZS_ALWAYS_INLINE bool has_next_of_round(const struct zs_worker *worker)
{
	return worker->round && worker->budget > 0;
}

static ZS_ALWAYS_INLINE struct zs_task *
choose_runnable(struct zs_worker *worker)
{
	if (zs_likely(has_next_of_round(worker)))
		return next_of_round(worker);
	return choose_or_begin(worker);
}

static ZS_ALWAYS_INLINE void set_wait(struct zs_worker *worker,
				      const struct zs_wait_type *type,
				      const void *waits_on)
{
	struct zs_task *task = worker->current;

	task->waits_on = waits_on;
	task->wait = type;
	task->parked_ns = zs_worker_now(worker);
	ZS_PROBE_PARK(task, worker, waits_on);
}

static ZS_NOINLINE void park_with_care(struct zs_worker *worker)
{
	struct zs_task *task = worker->current;

	switch_to(worker, &task->sp, choose_runnable(worker));
}

/* In the midst of a round it calls no function, and so needs hardly a frame. */
void zs_task_park(const struct zs_wait_type *type, const void *waits_on)
{
	struct zs_worker *worker = zs_worker_self;
	struct zs_task *task = worker->current;

	set_wait(worker, type, waits_on);
	if (zs_likely(has_next_of_round(worker)) && !holds_exceptions(worker))
		switch_plainly(worker, &task->sp, next_of_round(worker));
	else
		park_with_care(worker);
}

void zs_task_wake(struct zs_task *task)
{
	struct zs_worker *worker = task->worker;

	ZS_ASSERT(task->wait);
	ZS_PROBE_WAKE(task, worker);
	task->wait = NULL;
	zs_queue_append(&worker->ready, &task->link);
}

void zs_task_wake_first(struct zs_task *task)
{
	struct zs_worker *worker = task->worker;

	/* Who spawns and joins for ever would never let anybody else run, nor
	 * would as many as a turn resumes whose children end elsewhere. */
	if (worker->budget < ZS_WORKER_BUDGET / 2 || !worker->current) {
		zs_task_wake(task);
		return;
	}
	ZS_ASSERT(task->wait);
	ZS_PROBE_WAKE(task, worker);
	task->wait = NULL;
	task->link.next = worker->round;
	worker->round = &task->link;
}

ZS_PUBLIC int zs_yield(void)
{
	struct zs_worker *worker = zs_worker_self;
	struct zs_task *task = worker ? worker->current : NULL;
	struct zs_task *next;

	if (!task)
		return zs_explain_none(-EPERM);
	zs_queue_append(&worker->ready, &task->link);
	next = choose_runnable(worker);
	if (next != task)
		switch_to(worker, &task->sp, next);
	/* Afterwards, so that who goes on all the same lets others run. */
	return zs_scope_error(task->scope);
}

/* The running task has returned @result. */
static ZS_ALWAYS_INLINE void end(struct zs_worker *worker, struct zs_task *task,
				 int result)
{
	bool is_awaited = false;

	if (zs_unlikely(task->scope != task->nursery))
		zs_scope_close_left_open(task, task->nursery);
	ZS_COUNT(worker->counters.ended, 1);
	if (zs_unlikely(result < 0))
		ZS_COUNT(worker->counters.failed, 1);
	if (task->is_linked) {
		if (zs_unlikely(task->forks != 0))
			zs_forks_panic(task);
		is_awaited = zs_scope_unlink(task);
	}
	zs_scope_task_ended(task->nursery, worker, result);
	if (zs_unlikely(is_awaited))
		task->state = ZS_TASK_ENDED;
	else
		zs_task_free(worker, task);
}

/* The running task, from its beginning to its end, on a stack of another size,
 * or one that has no guard. */
static ZS_NOINLINE void run_apart(struct zs_worker *worker)
{
	struct zs_task *task = worker->current;
	int result = task->fn(task->arg);

	if (task->stack->has_canary)
		zs_stacks_check(task);
	end(worker, task, result);
}

/* Leaves, for good, a stack that has run its last task. */
static ZS_ALWAYS_INLINE void leave_stack(struct zs_worker *worker,
					 struct zs_task *next)
{
	struct zs_sanitize_context to = context_of(worker, next);
	void *never_resumed;

	worker->current = next;
	worker->is_starved = false;
	zs_sanitize_before_switch(NULL, &to);
	zs_switch(&never_resumed, next ? next->sp : worker->loop_sp);
}

/* @task on a stack of its own, or whoever else can go on. */
static ZS_NOINLINE ZS_COLD struct zs_task *
begin_or_choose(struct zs_worker *worker, struct zs_task *task)
{
	return begin_on_new_stack(worker, task) ? task :
						  choose_runnable(worker);
}

/* The outermost function of a stack of the usual kind. */
static void task_main(void *unused)
{
	struct zs_worker *worker = zs_worker_self;
	struct zs_task *task = worker->current;
	struct zs_stack *stack = task->stack;

	(void)unused;
	zs_sanitize_after_switch(NULL);
	do {
		end(worker, task, task->fn(task->arg));
		/* Where the cache is full the loop has to give the stack's
		 * memory back, from another stack. */
		if (zs_unlikely(zs_stack_cache_is_full(&worker->stacks))) {
			worker->spent_stack = stack;
			leave_stack(worker, NULL);
		}
		task = choose(worker);
		if (!task || task->stack || zs_unlikely(task->stack_class))
			break;
		begin(worker, task, stack);
		worker->current = task;
	} while (true);
	/* One of another size: before this stack can be taken for free. */
	if (task && !task->stack)
		task = begin_or_choose(worker, task);
	/* It is ours until the switch: this thread is the only user. */
	zs_stack_put(&worker->stacks, stack);
	leave_stack(worker, task);
}

/* The same of any other; the loop takes the stack back. */
static void task_main_apart(void *unused)
{
	struct zs_worker *worker = zs_worker_self;
	struct zs_stack *stack = worker->current->stack;

	(void)unused;
	zs_sanitize_after_switch(NULL);
	run_apart(worker);
	worker->spent_stack = stack;
	leave_stack(worker, NULL);
}

static ZS_NOINLINE void end_apart(struct zs_worker *worker,
				  struct zs_task *task, int result)
{
	end(worker, task, result);
}

/* The same of a called task of which nobody else knows, in short: it calls no
 * function, and so needs hardly a frame. */
static ZS_ALWAYS_INLINE void end_called(struct zs_worker *worker,
					struct zs_task *task, int result)
{
	struct zs_scope *nursery = task->nursery;

	if (zs_unlikely(result < 0 || task->is_linked ||
			nursery->worker != worker || nursery->is_merged ||
			nursery->is_waiting || task->owner != worker ||
			worker->credits + 1 >= worker->credits_most)) {
		end_apart(worker, task, result);
		return;
	}
	/* One that is not linked has opened no scope. */
	ZS_COUNT(worker->counters.ended, 1);
	nursery->local--;
	task->state = ZS_TASK_FREE;
	worker->credits++;
	zs_slab_put(&worker->tasks, task);
}

/* The outermost functions of stacks that a task is called on. */
static void called_main(void)
{
	struct zs_worker *worker = zs_worker_self;
	struct zs_task *task = worker->current;

	zs_sanitize_after_switch(NULL);
	end_called(worker, task, task->fn(task->arg));
}

static void called_main_apart(void)
{
	zs_sanitize_after_switch(NULL);
	run_apart(zs_worker_self);
}

static ZS_ALWAYS_INLINE void call_on(struct zs_worker *worker,
				     struct zs_stack *stack,
				     struct zs_task *child, void (*entry)(void))
{
	struct zs_task *task = worker->current;
	struct zs_sanitize_context there = zs_sanitize_stack_context(stack);
	struct zs_sanitize_context here =
		zs_sanitize_stack_context(task->stack);
	int saved_errno = *worker->errno_place;
	void *fake = NULL;

	begin(worker, child, stack);
	worker->budget--;
	worker->current = child;
	zs_sanitize_before_switch(&fake, &there);
	zs_switch_call(&task->sp, stack->top, entry);
	zs_sanitize_before_switch(NULL, &here);
	zs_sanitize_after_switch(fake);
	worker->current = task;
	task->wait = NULL;
	worker->is_starved = false;
	*worker->errno_place = saved_errno;
}

static ZS_NOINLINE void call_apart(struct zs_worker *worker,
				   struct zs_task *child)
{
	struct zs_stack *stack = take_stack(worker, child);
	struct zs_exceptions held = *worker->exceptions;

	if (!stack) {
		worker->current->wait = NULL;
		return;
	}
	*worker->exceptions = (struct zs_exceptions){ 0 };
	call_on(worker, stack, child,
		is_usual(stack) ? called_main : called_main_apart);
	*worker->exceptions = held;
	zs_stack_put(zs_worker_stacks(worker, stack->size_class), stack);
}

void zs_task_call(struct zs_worker *worker, const struct zs_wait_type *type,
		  const void *waits_on, struct zs_task *child)
{
	struct zs_stack *stack = worker->stacks.free;

	set_wait(worker, type, waits_on);
	if (zs_unlikely(!stack || child->stack_class || !is_usual(stack) ||
			!zs_sanitize_stack_is_known(stack)) ||
	    holds_exceptions(worker)) {
		call_apart(worker, child);
		return;
	}
	zs_stack_get(&worker->stacks);
	zs_sanitize_stack_reuse(stack);
	call_on(worker, stack, child, called_main);
	zs_stack_put(&worker->stacks, stack);
}

static ZS_COLD void put_spent_stack(struct zs_worker *worker)
{
	struct zs_stack *stack = worker->spent_stack;

	worker->spent_stack = NULL;
	zs_stack_put(zs_worker_stacks(worker, stack->size_class), stack);
}

void zs_task_run_some(struct zs_worker *worker)
{
	struct zs_task *next;

	/* What a turn has left of its round goes before. */
	if (!worker->round && !worker->unstarted_first)
		worker->round = zs_queue_take_all(&worker->ready);
	do {
		next = choose_runnable(worker);
		if (!next)
			break;
		switch_to(worker, &worker->loop_sp, next);
		if (worker->spent_stack)
			put_spent_stack(worker);
	} while (true);
	/* The budget may have ended with the round each time, and nothing have
	 * started ever since. */
	worker->unstarted_first = worker->budget == 0 && !worker->round &&
				  !worker->unstarted_first;
	ZS_COUNT(worker->counters.switches, ZS_WORKER_BUDGET - worker->budget);
	worker->budget = ZS_WORKER_BUDGET;
}

void zs_task_prepare_loop(struct zs_worker *worker)
{
	zs_sanitize_thread_context(&worker->loop_context);
}

static void forget(struct zs_stack *stack)
{
	for (; stack; stack = stack->next)
		zs_sanitize_stack_destroy(stack);
}

void zs_task_forget_stacks(struct zs_worker *worker)
{
	int size_class;

	for (size_class = 0; size_class < ZS_STACK_CLASSES; size_class++) {
		struct zs_stack_pool *pool =
			zs_worker_stacks(worker, (uint8_t)size_class);

		forget(pool->free);
		forget(pool->trimmed);
		forget(pool->emptied);
	}
}

void zs_task_relax(void)
{
	zs_switch_cpu_relax();
}

bool zs_task_has_shadow_stack(void)
{
	return zs_switch_shadow_stack() != 0;
}

void zs_task_interrupted_at(const void *context, uintptr_t *pc,
			    uintptr_t *stack)
{
	zs_switch_interrupted_at(context, pc, stack);
}

ZS_PUBLIC struct zs_task *zs_self(void)
{
	return zs_worker_task();
}

ZS_PUBLIC uint64_t zs_task_id(const struct zs_task *task)
{
	return task ? task->id : 0;
}

void zs_task_copy_name(struct zs_task *task, const char *name)
{
	size_t length = strnlen(name, ZS_TASK_NAME_MAX);

	memcpy(task->name, name, length);
	task->name[length] = '\0';
}

ZS_PUBLIC int zs_task_set_name(const char *name)
{
	struct zs_task *task = zs_worker_task();

	if (!task)
		return zs_explain_none(-EPERM);
	if (!name)
		return zs_explain_none(-EINVAL);
	zs_task_copy_name(task, name);
	return 0;
}

ZS_PUBLIC const char *zs_task_name(const struct zs_task *task)
{
	return task ? task->name : "";
}
