/* SPDX-License-Identifier: MIT */
/*
 * Every execution of small programs that wait: exactly one of who lets a waiter
 * go and of who cancels it ends its wait, and what was given is not lost; of
 * the queues of one choice exactly one gives it; a mutex is one owner's at a
 * time, and no waiter is forgotten, nor is a signal; and what is waited with
 * may be freed when that is over.
 *
 * It is the real code, within locks that are the explorer's. Each thread is a
 * worker with one task; while that is parked its worker handles messages. Or it
 * is no worker's.
 */
#include <string.h>

#include "atomics.h"
#include "sweep.h"

#include "base/explain.h"
#include "base/futex.h"
#include "sched/runtime.h"
#include "sched/scope.h"
#include "sched/worker.h"
#include "sync/lock.h"

static struct zs_worker *selves[MODEL_MAX_THREADS];
static struct model_event thread_event; /* of who is no worker's */

static void wake(struct zs_task *task);
static void wake_anywhere(struct zs_wake *message);
static void park(const struct zs_wait_type *type, const void *waits_on);

/* What they have around them. */
#define zs_worker_self (selves[model_thread()])
#define zs_task_wake(task) wake(task)
#define zs_task_wake_anywhere(message) wake_anywhere(message)
#define zs_task_park(type, waits_on) park(type, waits_on)
#define zs_yield() ((void)0)
#define zs_scope_link(task) ((void)(task))
#define zs_lock_take(lock) model_mutex_lock((struct model_mutex *)(lock))
#define zs_lock_release(lock) model_mutex_unlock((struct model_mutex *)(lock))
#define zs_word_wait(word, value, limit) \
	((void)(limit), model_event_wait(&thread_event))
#define zs_word_wake(word) model_event_signal(&thread_event)
/* The first waiter that is woken in vain is handed it the next time. */
#define MAX_LOSSES 1
#define LOOKS 0

#include "sync/gate.c"
#include "sync/wait.c"
#include "sync/notify.c"
#include "sync/count.c"
#include "sync/cond.c"
#include "sync/mutex.c"

enum { NUM_TASKS = 3 };

static struct zs_worker workers[NUM_TASKS];
static struct zs_task tasks[NUM_TASKS];
static struct zs_scope scope; /* of task 0 */
static struct zs_scope calm;  /* of the others */
static struct zs_notify notify;
static struct zs_mutex mutex;
static struct zs_cond cond;
static int results[NUM_TASKS + 1];
static int payload;	/* plain memory */
static int num_to_come; /* who comes last frees the mutex; 0: nobody does */

/* --- the world around it --- */

static struct zs_task *self(void)
{
	return selves[model_thread()]->current;
}

static void wake(struct zs_task *task)
{
	model_assert(task->wait);
	model_assert(task == self());
	task->wait = NULL;
}

static void send(struct zs_worker *worker, struct zs_message *message,
		 enum zs_message_kind kind)
{
	/* Plain memory: nobody else has it. */
	model_write(message);
	message->kind = kind;
	zs_mailbox_post(&worker->mailbox, message);
}

static void wake_anywhere(struct zs_wake *message)
{
	struct zs_worker *worker = message->task->worker;

	if (worker == selves[model_thread()])
		wake(message->task);
	else
		send(worker, &message->message, ZS_MESSAGE_WAKE);
}

static void handle_messages(struct zs_worker *worker)
{
	struct zs_message *message, *next;
	struct zs_task *task = worker->current;

	model_await_pointer(&worker->mailbox.top);
	message = zs_mailbox_take(&worker->mailbox);
	for (; message; message = next) {
		next = message->next;
		model_write(message);
		if (message->kind == ZS_MESSAGE_WAKE)
			wake(task);
		else if (task->wait && task->wait->cancel)
			task->wait->cancel(task);
	}
}

static void park(const struct zs_wait_type *type, const void *waits_on)
{
	struct zs_task *task = self();

	task->wait = type;
	task->waits_on = waits_on;
	while (task->wait)
		handle_messages(task->worker);
}

static void make(void)
{
	memset(selves, 0, sizeof(selves));
	memset(tasks, 0, sizeof(tasks));
	memset(&scope, 0, sizeof(scope));
	memset(&calm, 0, sizeof(calm));
	memset(&notify, 0, sizeof(notify));
	memset(&mutex, 0, sizeof(mutex));
	memset(&cond, 0, sizeof(cond));
	num_to_come = 0;
	memset(&thread_event, 0, sizeof(thread_event));
	payload = 0;
	for (int i = 0; i < NUM_TASKS; i++) {
		memset(&workers[i], 0, offsetof(struct zs_worker, wheel));
		zs_mailbox_init(&workers[i].mailbox);
		workers[i].current = &tasks[i];
		workers[i].quick_calls = ZS_WORKER_QUICK_CALLS;
		tasks[i].worker = &workers[i];
		tasks[i].scope = i == 0 ? &scope : &calm;
		tasks[i].is_linked = true;
		results[i] = 1;
	}
}

static void be(int task)
{
	selves[model_thread()] = &workers[task];
}

/* --- who is let go, and who is cancelled --- */

static void wait_for_notify(void)
{
	int ret = zs_notify_wait(&notify);

	results[0] = ret;
	if (ret == 0)
		model_read(&payload);
}

static void wait_as_task(void)
{
	be(0);
	wait_for_notify();
}

static void wait_as_thread(void)
{
	wait_for_notify();
}

static void notify_once(void)
{
	be(1);
	model_write(&payload);
	zs_notify_one(&notify);
}

/* As cancel.c does: the reason, then the message. */
static void cancel_task(void)
{
	/* relaxed: see zs_scope_error(). */
	atomic_store_explicit(&scope.reason, ZS_CANCEL_REQUESTED,
			      memory_order_relaxed);
	send(&workers[0], &tasks[0].message, ZS_MESSAGE_TASK_CANCEL);
}

static void expect_told(void)
{
	model_assert(results[0] == 0);
	model_assert(notify.gate.number == 0);
	model_assert(!notify.gate.first);
}

static void expect_told_or_kept(void)
{
	model_assert(results[0] == 0 || results[0] == -ECANCELED);
	model_assert(notify.gate.number == (results[0] != 0));
	model_assert(!notify.gate.first);
}

/* --- one of two queues --- */

static struct zs_gate gates[2];
static struct zs_choice choice;
static struct zs_waiter waiters[2];
static struct model_event both_are_in[2];
static int num_given;

static void deaf(struct zs_task *task)
{
	(void)task;
}

static const struct zs_wait_type choosing = { .cancel = deaf };

static void make_choice(void)
{
	make();
	memset(gates, 0, sizeof(gates));
	memset(&choice, 0, sizeof(choice));
	memset(both_are_in, 0, sizeof(both_are_in));
	num_given = 0;
}

static void append_both(void)
{
	for (uint32_t i = 0; i < 2; i++) {
		zs_waiter_init(&waiters[i], selves[model_thread()], &gates[i]);
		waiters[i].choice = &choice;
		waiters[i].number = i;
		zs_gate_enter(&gates[i]);
		zs_waiters_append(zs_gate_waiters(&gates[i]), &waiters[i]);
		zs_gate_leave(&gates[i]);
	}
}

static void give(int number)
{
	struct zs_waiter *waiter;
	struct zs_wakes wakes;

	be(1 + number);
	zs_wakes_init(&wakes);
	zs_gate_enter(&gates[number]);
	waiter = zs_waiters_take(zs_gate_waiters(&gates[number]));
	if (waiter) {
		/* By the winner alone. */
		model_write(&payload);
		num_given++;
		zs_wakes_add(&wakes, waiter, 7);
	}
	zs_gate_leave_and_wake(&gates[number], &wakes);
}

static void give_first(void)
{
	model_event_wait(&both_are_in[0]);
	give(0);
}

static void give_second(void)
{
	model_event_wait(&both_are_in[1]);
	give(1);
}

static void choose(void)
{
	uint32_t winner;

	be(0);
	append_both();
	/* Else neither might find it. */
	model_event_signal(&both_are_in[0]);
	model_event_signal(&both_are_in[1]);
	zs_wait(&waiters[0], &choosing, &choice);
	model_read(&payload);
	/* relaxed: it was woken by the winner. */
	winner = atomic_load_explicit(&choice.winner, memory_order_relaxed);
	model_assert(winner == 1 || winner == 2);
	model_assert(waiters[winner - 1].result == 7);
}

static void expect_one(void)
{
	model_assert(num_given == 1);
}

/* --- counts --- */

static struct zs_latch latch;

static void make_latch(void)
{
	make();
	zs_latch_init(&latch, 1);
}

static void wait_and_free(void)
{
	be(0);
	results[0] = zs_latch_wait(&latch);
	model_retire(&latch, sizeof(latch));
	model_read(&payload);
}

static void count_down_once(void)
{
	be(1);
	model_write(&payload);
	zs_latch_count_down(&latch, 1);
}

static void expect_success(void)
{
	model_assert(results[0] == 0);
}

/* --- the mutex and the condition variable --- */

static void make_freed(void)
{
	make();
	num_to_come = 3;
}

static void lock_as(int task)
{
	bool is_last;

	be(task);
	results[task] = zs_mutex_lock(&mutex);
	if (results[task] < 0)
		return;
	model_write(&payload);
	is_last = ++payload == num_to_come;
	model_assert(zs_mutex_unlock(&mutex) == 0);
	if (is_last)
		model_retire(&mutex, sizeof(mutex));
}

static void await_payload(void)
{
	be(0);
	model_assert(zs_mutex_lock(&mutex) == 0);
	model_read(&payload);
	while (payload == 0) {
		model_assert(zs_cond_wait(&cond, &mutex) == 0);
		model_read(&payload);
	}
	results[0] = zs_mutex_unlock(&mutex);
}

static void make_payload(void)
{
	lock_as(1);
	zs_cond_signal(&cond);
}

static void lock_0(void)
{
	lock_as(0);
}

static void lock_1(void)
{
	lock_as(1);
}

static void lock_2(void)
{
	lock_as(2);
}

static void lock_1_twice(void)
{
	lock_as(1);
	lock_as(1);
}

static void expect_free(void)
{
	model_assert(mutex.word == 0);
	model_assert(!mutex.gate.first);
	model_assert(results[1] == 0);
}

static void expect_two(void)
{
	expect_free();
	model_assert(payload == 2);
}

static void expect_three(void)
{
	expect_free();
	model_assert(payload == 3);
}

static void expect_two_or_three(void)
{
	expect_free();
	model_assert(payload == 2 + (results[0] == 0));
}

static void expect_four(void)
{
	expect_free();
	model_assert(payload == 4);
}

static void expect_one_or_two(void)
{
	expect_free();
	model_assert(results[0] == 0 || results[0] == -ECANCELED);
	model_assert(payload == 1 + (results[0] == 0));
}

static const struct model_case cases[] = {
	{ "a notification", make, { wait_as_task, notify_once }, expect_told },
	{ "a notification of a thread",
	  make,
	  { wait_as_thread, notify_once },
	  expect_told },
	{ "a notification and a cancel",
	  make,
	  { wait_as_task, notify_once, cancel_task },
	  expect_told_or_kept },
	{ "one of two queues",
	  make_choice,
	  { choose, give_first, give_second },
	  expect_one },
	{ "a mutex of two", make, { lock_0, lock_1 }, expect_two },
	{ "a mutex of two, one of whom comes again",
	  make,
	  { lock_0, lock_1_twice },
	  expect_three },
	{ "a mutex and a cancel",
	  make,
	  { lock_0, lock_1, cancel_task },
	  expect_one_or_two },
	{ "a latch that is freed",
	  make_latch,
	  { wait_and_free, count_down_once },
	  expect_success },
	{ "a signal", make, { await_payload, make_payload }, expect_success },
	{ "a mutex of three, freed by the last",
	  make_freed,
	  { lock_0, lock_1, lock_2 },
	  expect_three },
	{ 0 },
};

static const struct model_case large_cases[] = {
	{ "a mutex of three and a cancel",
	  make,
	  { lock_0, lock_1, lock_2, cancel_task },
	  expect_two_or_three },
	{ "a mutex of three, one of whom comes again",
	  make,
	  { lock_0, lock_1_twice, lock_2 },
	  expect_four },
	{ 0 },
};

static const struct sweep_bug bugs[] = {
	{ "a waiter is queued, but the word does not say so",
	  { { "mark", MODEL_CAS, "word_of(mutex)",
	      .cleared_bits = AWAITED } } },
	{ "who takes it forgets that others wait",
	  { { "take", MODEL_CAS, "word_of(mutex)",
	      .cleared_bits = AWAITED } } },
	{ 0 },
};

#define WITHIN                                                            \
	"a waiter is filled and taken within its lock, and the winner's " \
	"wake publishes the rest"

static const struct sweep_exception exceptions[] = {
	{ "wins", MODEL_CAS, "&waiter->choice->winner", memory_order_acquire,
	  WITHIN },
	{ "wins", MODEL_CAS, "&waiter->choice->winner", memory_order_release,
	  WITHIN },
	{ "wins", MODEL_CAS, "&waiter->choice->winner", memory_order_relaxed,
	  WITHIN },
	{ 0 },
};

static const char *const files[] = {
	"sync/wait.c",
	"sync/mutex.c",
	NULL,
};

int main(void)
{
	static const struct sweep sweep = {
		.name = "wait",
		.cases = cases,
		.large_cases = large_cases,
		.exceptions = exceptions,
		.bugs = bugs,
		.files = files,
	};

	return sweep_main(&sweep);
}
