/* SPDX-License-Identifier: MIT */
/*
 * Every execution of small programs that cancel a nursery while its tasks, on
 * other workers, start to wait or end: each is reached, or has seen the reason
 * itself, and none is freed while a message to it is under way.
 *
 * It is the real cancel.c. Tasks run on their worker's thread; while one waits,
 * its worker handles messages.
 */
#include "atomics.h"
#include "sweep.h"

#include "base/list.h"
#include "sched/runtime.h"
#include "sched/scope.h"
#include "sched/shield.h"
#include "sched/spawn.h"
#include "sched/watch.h"
#include "sched/worker.h"

static void post(struct zs_worker *worker, struct zs_message *message);
static void free_task(struct zs_task *task);

/* What cancel.c has around it. */
#undef ZS_COUNT
#define ZS_COUNT(counter, n) ((void)0)
#define zs_worker_post(worker, message, kind) post(worker, message)
#define zs_shield_hold(shield, reason) ((void)(shield))
#define zs_scope_tell_watchers(scope, reason) ((void)(scope))
#define zs_task_free(worker, task) ((void)(worker), free_task(task))
#define pthread_mutex_lock(lock) model_mutex_lock((struct model_mutex *)(lock))
#define pthread_mutex_unlock(lock) \
	model_mutex_unlock((struct model_mutex *)(lock))

#include "sched/cancel.c"

enum { NUM_TASKS = 3, NUM_WORKERS = 3 };

static struct zs_worker workers[NUM_WORKERS];
static struct zs_scope nursery; /* of worker 0: of tasks 0 and 1 */
static struct zs_scope inner;	/* of worker 1, opened by task 0: of task 2 */
static struct zs_task tasks[NUM_TASKS];
static bool is_freed[NUM_TASKS];

/* --- the world around it --- */

static void post(struct zs_worker *worker, struct zs_message *message)
{
	/* Plain memory of the task's: it may not be freed meanwhile. */
	model_write(message);
	zs_mailbox_post(&worker->mailbox, message);
}

static void free_task(struct zs_task *task)
{
	model_write(&task->message);
	model_assert(!is_freed[task - tasks]);
	is_freed[task - tasks] = true;
	model_retire(task, sizeof(*task));
}

static void handle_messages(struct zs_worker *worker)
{
	struct zs_message *message, *next;

	model_await_pointer(&worker->mailbox.top);
	message = zs_mailbox_take(&worker->mailbox);
	for (; message; message = next) {
		struct zs_task *task =
			zs_container_of(message, struct zs_task, message);

		next = message->next;
		model_write(message);
		model_assert(!is_freed[task - tasks]);
		zs_scope_handle_task_cancel(task);
	}
}

static void end_of_wait(struct zs_task *task)
{
	task->wait = NULL;
}

static const struct zs_wait_type wait_type = { .cancel = end_of_wait };

/* As every call that waits: linked, it looks whether it need not. */
static void wait_until_cancelled(struct zs_task *task)
{
	if (zs_scope_error(task->scope) < 0)
		return;
	task->wait = &wait_type;
	while (task->wait)
		handle_messages(task->worker);
	model_assert(zs_scope_error(task->scope) < 0);
}

/* As in task.c; only then does its worker go on to other things. */
static void end(struct zs_task *task)
{
	if (!zs_scope_unlink(task)) {
		free_task(task);
		return;
	}
	task->state = ZS_TASK_ENDED;
	while (!is_freed[task - tasks])
		handle_messages(task->worker);
}

static void make_scope(struct zs_scope *scope, struct zs_worker *worker)
{
	scope->worker = worker;
	scope->kind = ZS_SCOPE_NURSERY;
	zs_list_init(&scope->children);
}

static void make_task(int number, int worker, struct zs_scope *scope)
{
	struct zs_task *task = &tasks[number];

	task->worker = &workers[worker];
	task->nursery = scope;
	task->scope = scope;
	task->state = ZS_TASK_STARTED;
}

static void make(void)
{
	memset(&nursery, 0, sizeof(nursery));
	memset(&inner, 0, sizeof(inner));
	memset(tasks, 0, sizeof(tasks));
	memset(is_freed, 0, sizeof(is_freed));
	for (int i = 0; i < NUM_WORKERS; i++)
		memset(&workers[i], 0, offsetof(struct zs_worker, wheel));
	make_scope(&nursery, &workers[0]);
	make_scope(&inner, &workers[1]);
	make_task(0, 1, &nursery);
	make_task(1, 2, &nursery);
	make_task(2, 0, &inner);
	inner.opener = &tasks[0];
	inner.outer = &nursery;
}

/* Task 0 has opened the inner nursery. */
static void make_nested(void)
{
	make();
	tasks[0].scope = &inner;
	zs_scope_link(&tasks[0]);
}

/* --- the workers --- */

static void cancel(void)
{
	zs_scope_cancel(&nursery, ZS_CANCEL_REQUESTED);
}

static void wait_and_end(int task)
{
	zs_scope_link(&tasks[task]);
	wait_until_cancelled(&tasks[task]);
	end(&tasks[task]);
}

static void wait_first(void)
{
	wait_and_end(0);
}

static void wait_second(void)
{
	wait_and_end(1);
}

static void end_first(void)
{
	zs_scope_link(&tasks[0]);
	end(&tasks[0]);
}

static void end_second(void)
{
	zs_scope_link(&tasks[1]);
	end(&tasks[1]);
}

static void cancel_and_wait_inside(void)
{
	cancel();
	wait_and_end(2);
}

static void wait_inside_first(void)
{
	wait_until_cancelled(&tasks[0]);
	end(&tasks[0]);
}

/* The nursery's own worker has a task in another's, which it ends. */
static void cancel_and_end_inside(void)
{
	zs_scope_link(&tasks[2]);
	cancel();
	end(&tasks[2]);
}

static void expect_all_freed(void)
{
	for (int i = 0; i < NUM_WORKERS; i++)
		model_assert(zs_mailbox_empty(&workers[i].mailbox));
	model_assert(is_freed[0]);
}

static const struct model_case cases[] = {
	{ "one waits", make, { cancel, wait_first }, expect_all_freed },
	{ "one ends", make, { cancel, end_first }, expect_all_freed },
	{ "one waits, one ends",
	  make,
	  { cancel, wait_first, end_second },
	  expect_all_freed },
	{ "two wait",
	  make,
	  { cancel, wait_first, wait_second },
	  expect_all_freed },
	{ "one waits in a nursery inside",
	  make_nested,
	  { cancel_and_wait_inside, wait_inside_first },
	  expect_all_freed },
	{ "one ends in a nursery inside",
	  make_nested,
	  { cancel_and_end_inside, wait_inside_first },
	  expect_all_freed },
	{ 0 },
};

#define LOCKED "the lock orders the post before unlinking, the mailbox the rest"

static const struct sweep_exception exceptions[] = {
	{ "zs_scope_handle_task_cancel", MODEL_STORE, "&task->cancel_posted",
	  memory_order_relaxed, LOCKED },
	{ "reach_children", MODEL_EXCHANGE, "&task->cancel_posted",
	  memory_order_acquire, LOCKED },
	{ "reach_children", MODEL_EXCHANGE, "&task->cancel_posted",
	  memory_order_release, LOCKED },
	{ "reach_children", MODEL_EXCHANGE, "&task->cancel_posted",
	  memory_order_relaxed, LOCKED },
	{ "zs_scope_unlink", MODEL_LOAD, "&task->cancel_posted",
	  memory_order_relaxed, LOCKED },
	{ 0 },
};

static const struct sweep_bug bugs[] = {
	{ "the lock orders nothing",
	  { { .function = "model_mutex_unlock",
	      .kind = MODEL_STORE,
	      .object = "&mutex->word",
	      .is_weakened = true,
	      .order = memory_order_relaxed } } },
	{ "nobody sees that a message is under way",
	  { { .function = "reach_children",
	      .kind = MODEL_EXCHANGE,
	      .object = "&task->cancel_posted",
	      .cleared_bits = 1 } } },
	{ "the reason is lost",
	  { { .function = "zs_scope_cancel",
	      .kind = MODEL_STORE,
	      .object = "&scope->reason",
	      .cleared_bits = UINT64_MAX } } },
	{ 0 },
};

static const char *const files[] = { "sched/cancel.c", NULL };

int main(void)
{
	static const struct sweep sweep = {
		.name = "cancel",
		.cases = cases,
		.exceptions = exceptions,
		.bugs = bugs,
		.files = files,
	};

	return sweep_main(&sweep);
}
