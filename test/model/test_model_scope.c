/* SPDX-License-Identifier: MIT */
/*
 * Every execution of small programs on a scope's word: tasks that end on other
 * workers, that are spawned by other threads, cancels from outside, while the
 * opener waits and closes. It always wakes, not before all have ended, and sees
 * what they did; nobody still has to do with a scope that is closed; a cancel
 * that was accepted is seen, and a stale one changes nothing.
 *
 * It is the real scope.c. The opener's worker does nothing but handle messages
 * while its task is parked.
 */
#include "atomics.h"
#include "sweep.h"

#include "base/list.h"
#include "sched/outcome.h"
#include "sched/runtime.h"
#include "sched/scope.h"
#include "sched/watch.h"
#include "sched/worker.h"

static struct zs_worker *selves[MODEL_MAX_THREADS];

static void post(struct zs_worker *worker, struct zs_message *message);
static void park(void);
static void wake(const struct zs_task *task);
static void cancel(struct zs_scope *scope, int reason);

/* What scope.c has around it. */
#undef ZS_COUNT
#define ZS_COUNT(counter, n) ((void)0)
#define zs_worker_self (selves[model_thread()])
#define zs_worker_post(worker, message, kind) post(worker, message)
#define zs_task_park(type, waits_on) park()
#define zs_task_call(worker, type, waits_on, child) model_assert(!(child))
#define zs_task_wake_first(task) wake(task)
#define zs_deque_peek_bottom(deque) ((struct zs_task *)NULL)
#define zs_deque_take_bottom(deque) ((struct zs_task *)NULL)
#define zs_scope_cancel(scope, reason) cancel(scope, reason)
#define zs_scope_link(task) ((void)(task))
#define zs_runtime_fork_count() 0u
#define zs_runtime_root_idle(runtime) ((void)(runtime))
#define zs_outcome_drop_all(scope) ((void)(scope))
#define zs_scope_dismiss_watchers(scope) ((void)(scope))
#define zs_wheel_cancel(wheel, timer) ((void)(timer))

#include "sched/scope.c"

enum { MAX_TASKS = 4, NUM_WORKERS = 3 };

static struct zs_runtime runtime;
static struct zs_worker workers[NUM_WORKERS];
static struct zs_scope outer, scope;
static struct zs_task opener;
static uint64_t generation; /* of the scope as it was set up */
static bool is_parked;

static int results[MAX_TASKS]; /* plain memory: what each task did */
static bool is_counted[MAX_TASKS];
static int asked; /* what the cancel from outside returned */
static int closed[2];

/* A task of the opener's worker, which runs once the opener is parked and the
 * count has been merged. */
static void (*at_home)(void);
static _Atomic(void *) stolen; /* spawned by it, and ended elsewhere */

/* --- the world around it --- */

static void post(struct zs_worker *worker, struct zs_message *message)
{
	/* Plain memory of the scope's: it may not be closed meanwhile. */
	model_write(message);
	zs_mailbox_post(&worker->mailbox, message);
}

static void wake(const struct zs_task *task)
{
	model_assert(task == &opener);
	model_assert(is_parked);
	is_parked = false;
}

static void cancel(struct zs_scope *which, int reason)
{
	atomic_store_explicit(&which->reason, reason, memory_order_relaxed);
}

static void handle_messages(void)
{
	struct zs_message *message, *next;

	message = zs_mailbox_take(&workers[0].mailbox);
	for (; message; message = next) {
		next = message->next;
		model_write(message);
		zs_scope_handle(
			zs_container_of(message, struct zs_scope, message));
	}
}

static void park(void)
{
	is_parked = true;
	while (is_parked) {
		if (at_home) {
			void (*run)(void) = at_home;

			at_home = NULL;
			run();
			continue;
		}
		model_await_pointer(&workers[0].mailbox.top);
		handle_messages();
	}
}

/* A nursery with @number tasks, spawned at home. */
static void make(int number)
{
	memset(&runtime, 0, sizeof(runtime));
	memset(workers, 0, sizeof(workers));
	memset(&outer, 0, sizeof(outer));
	memset(&scope, 0, sizeof(scope));
	memset(&opener, 0, sizeof(opener));
	memset(selves, 0, sizeof(selves));
	memset(results, 0, sizeof(results));
	memset(is_counted, 0, sizeof(is_counted));
	closed[0] = closed[1] = asked = 1;
	is_parked = false;
	at_home = NULL;
	atomic_init(&stolen, NULL);
	for (int i = 0; i < NUM_WORKERS; i++) {
		workers[i].runtime = &runtime;
		zs_mailbox_init(&workers[i].mailbox);
	}
	workers[0].scopes.free = &scope;
	opener.worker = &workers[0];
	opener.scope = &outer;
	opener.is_linked = true;
	model_assert(zs_scope_open(&opener, ZS_NEVER) == &scope);
	scope.kind = ZS_SCOPE_NURSERY;
	scope.local = number;
	for (int i = 0; i < number; i++)
		is_counted[i] = true;
	generation =
		atomic_load_explicit(&scope.generation, memory_order_relaxed);
}

/* Worker @worker has run it to its end. */
static void end(int task, int worker, int result)
{
	selves[model_thread()] = &workers[worker];
	model_write(&results[task]);
	results[task] = 1;
	zs_scope_task_ended(&scope, &workers[worker], result);
}

/* @round: it may be opened and closed again. */
static void close_scope(int round)
{
	selves[model_thread()] = &workers[0];
	closed[round] = zs_scope_close(&opener, &scope);
	model_assert(!is_parked);
	/* Nobody has to do with its message any more. */
	model_write(&scope.message);
	for (int i = 0; i < MAX_TASKS; i++) {
		model_read(&results[i]);
		model_assert(results[i] || !is_counted[i]);
	}
}

static void close_once(void)
{
	close_scope(0);
}

static void end_first(void)
{
	end(0, 1, 0);
}

static void end_second(void)
{
	end(1, 2, 0);
}

static void fail_first(void)
{
	end(0, 1, -EIO);
}

static void fail_second(void)
{
	end(1, 2, -ENOENT);
}

/* From a thread that is no worker. */
static void ask_to_cancel(void)
{
	asked = zs_scope_ask_cancel(&scope, generation, ZS_CANCEL_REQUESTED);
}

/* The new task is ended by the same thread, as if it were a worker. */
static void spawn_and_end(void)
{
	if (zs_scope_add_remotely(&scope, generation) < 0)
		return;
	is_counted[3] = true;
	end(3, 2, 0);
}

static void spawn_in_vain(void)
{
	if (zs_scope_add_remotely(&scope, generation) == 0)
		zs_scope_remove_remotely(&scope);
}

/* The task was stolen from the opener's worker, where it was spawned by one
 * that ran while the opener was parked. */
static void end_stolen(void)
{
	model_await_pointer(&stolen);
	/* acquire: as a thief's. */
	model_assert(atomic_load_explicit(&stolen, memory_order_acquire));
	end(1, 1, 0);
}

static void spawn_at_home_and_end(void)
{
	scope.local++;
	is_counted[1] = true;
	/* release: as a push to the deque. */
	atomic_store_explicit(&stolen, &stolen, memory_order_release);
	end(0, 0, 0);
}

static void close_with_a_task_at_home(void)
{
	at_home = spawn_at_home_and_end;
	close_scope(0);
}

static void end_last_at_home(void)
{
	end(2, 0, 0);
}

static void close_with_an_end_at_home(void)
{
	at_home = end_last_at_home;
	close_scope(0);
}

static void close_and_open_again(void)
{
	close_scope(0);
	model_assert(zs_scope_open(&opener, ZS_NEVER) == &scope);
	scope.kind = ZS_SCOPE_NURSERY;
	close_scope(1);
}

/* --- cases --- */

static void make_none(void)
{
	make(0);
}

static void make_one(void)
{
	make(1);
}

static void make_two(void)
{
	make(2);
}

static void make_three(void)
{
	make(3);
}

static void expect_no_message(void)
{
	model_assert(zs_mailbox_empty(&workers[0].mailbox));
}

static void expect_clean(void)
{
	expect_no_message();
	model_assert(closed[0] == 0);
}

static void expect_failure(void)
{
	expect_no_message();
	model_assert(closed[0] == -EIO || closed[0] == -ENOENT);
}

/* Accepted is carried out; refused changes nothing. */
static void expect_answer(void)
{
	expect_no_message();
	model_assert(asked == 0 || asked == -ESTALE);
	model_assert(closed[0] == (asked == 0 ? -ECANCELED : 0));
}

static void expect_answer_once(void)
{
	expect_answer();
	model_assert(closed[1] == 0);
}

static const struct model_case cases[] = {
	{ "one ends elsewhere",
	  make_one,
	  { close_once, end_first },
	  expect_clean },
	{ "two end elsewhere",
	  make_two,
	  { close_once, end_first, end_second },
	  expect_clean },
	{ "one ends elsewhere, one at home",
	  make_three,
	  { close_with_an_end_at_home, end_first, end_second },
	  expect_clean },
	{ "one is spawned at home while the opener waits",
	  make_one,
	  { close_with_a_task_at_home, end_stolen },
	  expect_clean },
	{ "nothing but one that is spawned from outside",
	  make_none,
	  { close_once, spawn_and_end },
	  expect_clean },
	{ "nothing but a spawn from outside that fails",
	  make_none,
	  { close_once, spawn_in_vain },
	  expect_clean },
	{ "a cancel from outside",
	  make_one,
	  { close_once, end_first, ask_to_cancel },
	  expect_answer },
	{ "a stale cancel",
	  make_none,
	  { close_and_open_again, ask_to_cancel },
	  expect_answer_once },
	{ "a stale spawn",
	  make_none,
	  { close_and_open_again, spawn_in_vain },
	  expect_clean },
	{ "one fails", make_one, { close_once, fail_first }, expect_failure },
	{ 0 },
};

static const struct model_case large_cases[] = {
	{ "one is spawned from outside",
	  make_one,
	  { close_once, end_first, spawn_and_end },
	  expect_clean },
	{ "a spawn from outside that fails",
	  make_one,
	  { close_once, end_first, spawn_in_vain },
	  expect_clean },
	{ "one fails, one ends",
	  make_two,
	  { close_once, fail_first, end_second },
	  expect_failure },
	{ "two fail",
	  make_two,
	  { close_once, fail_first, fail_second },
	  expect_failure },
	{ 0 },
};

#define HANDLE "who has a handle has been given it by who published the scope"
#define PASSED_ON \
	"it passes on what it read, and closing acquires, so that it need not"

static const struct sweep_exception exceptions[] = {
	{ "zs_scope_ask_cancel", MODEL_LOAD, "&scope->state",
	  memory_order_relaxed, HANDLE },
	{ "zs_scope_add_remotely", MODEL_LOAD, "&scope->state",
	  memory_order_relaxed, HANDLE },
	{ "open_state", MODEL_STORE, "&scope->state", memory_order_relaxed,
	  HANDLE },
	{ "tell_that_it_waits", MODEL_OR, "&scope->state", memory_order_acquire,
	  PASSED_ON },
	{ "tell_that_it_waits", MODEL_OR, "&scope->state", memory_order_release,
	  PASSED_ON },
	{ "tell_that_it_waits", MODEL_OR, "&scope->state", memory_order_relaxed,
	  PASSED_ON },
	{ 0 },
};

#define CHANGE(bits)                                                   \
	{                                                              \
		{                                                      \
			.function = "change_state", .kind = MODEL_CAS, \
			.object = "&scope->state",                     \
			.cleared_bits = (uint64_t)(bits),              \
		}                                                      \
	}

static const struct sweep_bug bugs[] = {
	{ "nobody sees that the opener waits",
	  { { .function = "tell_that_it_waits",
	      .kind = MODEL_OR,
	      .object = "&scope->state",
	      .cleared_bits = ZS_SCOPE_WAITING } } },
	{ "nobody sees that a message is under way", CHANGE(ZS_SCOPE_POSTED) },
	{ "a reason is lost", CHANGE(ZS_SCOPE_REASON) },
	{ "a balance has one bit too few", CHANGE(ZS_SCOPE_ONE_TASK) },
	{ 0 },
};

static const char *const files[] = { "sched/scope.c", NULL };

int main(void)
{
	static const struct sweep sweep = {
		.name = "scope",
		.cases = cases,
		.large_cases = large_cases,
		.exceptions = exceptions,
		.bugs = bugs,
		.files = files,
	};

	return sweep_main(&sweep);
}
