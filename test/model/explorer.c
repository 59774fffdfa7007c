/* SPDX-License-Identifier: MIT */
/*
 * Which executions there are, and the threads that run in them. Called by the
 * programs of this folder through model.h, by the code under test through
 * atomics.h; all on one thread of the system.
 *
 * Depth first: an execution follows the trail of choices to its end and then
 * takes first options; the next one goes back to the last choice that has
 * another option. There are two kinds: which store a read is of, and where in
 * its location's order a store goes. Threads run in no order of interest: two
 * neighbours in time commute, unless one reads what the other wrote. So a store
 * is made at once, and of the threads that are about to read any may go first,
 * with one thing to try afterwards: that it waits until others have stored what
 * it may read then. A thread that was made to wait reads nothing that was there
 * before (sleep sets); it is made to wait only if such a store was seen to come
 * (partial order reduction). MODEL_EAGER in the environment lets each wait in
 * any case, which finds the same executions in more time.
 */
#include "explorer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "switch.h"

#include "base/compiler.h"
#include "memory.h"

enum {
	STACK_SIZE = 64 << 10,
	HEAP_SIZE = 256 << 10,
	MAX_CHOICES = 2048,
	MAX_EVENTS = 1024,
};

struct choice {
	int thread;
	bool is_read;
	/* Another option: the thread waits until there are more. */
	bool may_wait;
	bool waits;
	unsigned int taken, number;
	model_store_id options[MODEL_MAX_MODIFICATIONS];
};

struct coroutine {
	void *sp;
	void (*run)(void);
	bool has_ended;
	/* What it is about to read; NULL once it has ended. */
	struct model_op *next;
	/* It was made to wait: it reads no older store. */
	model_store_id since;
};

struct event {
	int thread;
	struct model_op op;
	int store_thread;
};

static struct {
	const struct model_case *subject;
	struct model_result *result;
	void *host_sp;
	int current, num_threads;
	bool is_eager;
	struct coroutine threads[MODEL_MAX_THREADS];
	struct choice trail[MAX_CHOICES];
	unsigned int trail_length, depth;
	struct event events[MAX_EVENTS];
	unsigned int num_events;
	size_t heap_used;
} explorer;

static _Alignas(128) unsigned char heap[HEAP_SIZE];
static _Alignas(16) unsigned char stacks[MODEL_MAX_THREADS][STACK_SIZE];

/* --- threads --- */

static void leave(void)
{
	struct coroutine *self = &explorer.threads[explorer.current];

	explorer.current = 0;
	zs_switch(&self->sp, explorer.host_sp);
}

static void resume(int thread)
{
	explorer.current = thread;
	zs_switch(&explorer.host_sp, explorer.threads[thread].sp);
	explorer.current = 0;
}

static void thread_main(void *arg)
{
	struct coroutine *self = arg;

	self->run();
	self->has_ended = true;
	self->next = NULL;
	leave();
}

static void start(int thread, void (*run)(void))
{
	struct coroutine *self = &explorer.threads[thread];

	*self = (struct coroutine){ .run = run };
	self->sp = zs_switch_prepare(stacks[thread] + STACK_SIZE, thread_main,
				     self);
	memory_fork(thread);
}

int model_thread(void)
{
	return explorer.current;
}

void model_fail(const char *format, ...)
{
	struct model_result *result = explorer.result;
	va_list args;

	if (!result->has_failed) {
		va_start(args, format);
		vsnprintf(result->why, sizeof(result->why), format, args);
		va_end(args);
	}
	result->has_failed = true;
	if (explorer.current != 0)
		leave();
}

void *model_alloc(size_t size)
{
	void *memory = heap + explorer.heap_used;

	explorer.heap_used += (size + 127) & ~(size_t)127;
	if (explorer.heap_used > HEAP_SIZE) {
		fprintf(stderr, "the model's heap is too small\n");
		abort();
	}
	return memset(memory, 0, size);
}

/* --- choices --- */

/* A new one, with all that there is to choose from still to be filled in. */
static struct choice *add_choice(int thread, bool is_read)
{
	struct choice *choice = &explorer.trail[explorer.depth];

	if (explorer.depth == MAX_CHOICES - 1) {
		fprintf(stderr, "the model's trail is too short\n");
		abort();
	}
	choice->thread = thread;
	choice->is_read = is_read;
	choice->may_wait = explorer.is_eager;
	choice->waits = false;
	choice->taken = 0;
	return choice;
}

static void enter_choice(void)
{
	explorer.depth++;
	if (explorer.trail_length < explorer.depth)
		explorer.trail_length = explorer.depth;
}

static bool is_followed(void)
{
	return explorer.depth < explorer.trail_length;
}

void memory_on_missed(unsigned int node)
{
	explorer.trail[node].may_wait = true;
}

/* To the last choice that has another option; false if there is none. */
static bool go_back(void)
{
	while (explorer.trail_length > 0) {
		struct choice *choice =
			&explorer.trail[explorer.trail_length - 1];

		if (choice->waits) {
			explorer.trail_length--;
			continue;
		}
		if (++choice->taken < choice->number)
			return true;
		if (choice->is_read && choice->may_wait) {
			choice->waits = true;
			return true;
		}
		explorer.trail_length--;
	}
	return false;
}

/* --- accesses --- */

static void note(int thread, const struct model_op *op, int store_thread)
{
	if (explorer.num_events == MAX_EVENTS) {
		model_fail("too many events: it may not end");
		return;
	}
	explorer.events[explorer.num_events++] = (struct event){
		.thread = thread,
		.op = *op,
		.store_thread = store_thread,
	};
}

static void read_store(int thread, struct model_op *op, model_store_id from,
		       unsigned int node)
{
	int store_thread;
	uint64_t value;

	memory_describe_store(from, &store_thread, &value);
	memory_read(thread, op, from, node);
	note(thread, op, store_thread);
}

static void write_store(int thread, struct model_op *op)
{
	struct choice *choice = &explorer.trail[explorer.depth];
	model_store_id options[MODEL_MAX_MODIFICATIONS];
	unsigned int number = memory_write_options(thread, op, options);
	model_store_id after = options[0];

	if (number > 1) {
		if (!is_followed()) {
			choice = add_choice(thread, false);
			choice->number = number;
		}
		after = options[choice->taken];
		enter_choice();
	}
	memory_write(thread, op, after);
	note(thread, op, 0);
}

/* On the thread that it is for. */
void explorer_perform(struct model_op *op)
{
	int thread = explorer.current;
	model_store_id newest;

	if (!memory_is_read(op->kind)) {
		write_store(thread, op);
		return;
	}
	if (thread != 0) {
		explorer.threads[thread].next = op;
		leave();
		return;
	}
	memory_read_options(0, op, 0, &newest);
	read_store(0, op, newest, 0);
}

/* --- one execution --- */

/* A thread that can go on, in a new choice; 0 if there is none. */
static int choose_thread(void)
{
	for (int i = 1; i <= explorer.num_threads; i++) {
		const struct coroutine *thread = &explorer.threads[i];
		struct choice *choice;

		if (thread->has_ended)
			continue;
		choice = add_choice(i, true);
		choice->number = memory_read_options(
			i, thread->next, thread->since, choice->options);
		if (choice->number > 0)
			return i;
	}
	return 0;
}

static bool step(void)
{
	struct choice *choice = &explorer.trail[explorer.depth];
	struct coroutine *thread;
	unsigned int node = explorer.depth;
	int index;

	index = is_followed() ? choice->thread : choose_thread();
	if (index == 0)
		return false;
	thread = &explorer.threads[index];
	enter_choice();
	if (choice->waits) {
		thread->since = memory_num_stores();
		return true;
	}
	thread->since = 0;
	read_store(index, thread->next, choice->options[choice->taken], node);
	resume(index);
	return true;
}

static void describe_deadlock(void)
{
	char text[200] = "";

	for (int i = 1; i <= explorer.num_threads; i++) {
		const struct coroutine *thread = &explorer.threads[i];
		size_t length = strlen(text);

		if (!thread->has_ended)
			snprintf(text + length, sizeof(text) - length,
				 " thread %d in %s()", i,
				 thread->next->site->function);
	}
	model_fail("nobody wakes:%s", text);
}

/* They wait for what others may have taken from them. */
static void find_missed_by_waiters(void)
{
	for (int i = 1; i <= explorer.num_threads; i++) {
		const struct coroutine *thread = &explorer.threads[i];

		if (!thread->has_ended && memory_is_write(thread->next->kind))
			memory_find_missed_updates(i, thread->next);
	}
}

/* No thread can go on. True if all have ended. */
static bool have_all_ended(void)
{
	bool has_waiter = false, is_blocked = false;

	for (int i = 1; i <= explorer.num_threads; i++) {
		const struct coroutine *thread = &explorer.threads[i];

		if (thread->has_ended)
			continue;
		if (thread->since > 0)
			has_waiter = true;
		else
			is_blocked = true;
	}
	if (is_blocked && !has_waiter)
		describe_deadlock();
	return !has_waiter && !is_blocked;
}

static void execute(void)
{
	const struct model_case *subject = explorer.subject;
	struct model_result *result = explorer.result;
	int i;

	memory_reset();
	explorer.depth = 0;
	explorer.num_events = 0;
	explorer.heap_used = 0;
	explorer.current = 0;
	subject->setup();
	for (i = 1; i <= explorer.num_threads; i++)
		start(i, subject->threads[i - 1]);
	for (i = 1; i <= explorer.num_threads && !result->has_failed; i++)
		resume(i);
	while (!result->has_failed && step())
		;
	if (result->has_failed)
		return;
	if (!have_all_ended()) {
		find_missed_by_waiters();
		result->redundant++;
		return;
	}
	result->executions++;
	for (i = 1; i <= explorer.num_threads; i++)
		memory_join(i);
	if (subject->check)
		subject->check();
}

static void print_trace(void)
{
	for (unsigned int i = 0; i < explorer.num_events; i++) {
		const struct event *event = &explorer.events[i];
		const struct model_op *op = &event->op;

		printf("%*s%d: %s(%s) %s", event->thread * 8, "", event->thread,
		       model_kind_name(op->kind), op->site->object,
		       model_order_name(op->order));
		if (memory_is_read(op->kind))
			printf(", reads %#llx of %d",
			       (unsigned long long)op->value,
			       event->store_thread);
		if (op->has_written)
			printf(", %#llx", (unsigned long long)op->operand);
		printf("  [%s:%d]\n", op->site->function, op->site->line);
	}
}

void model_explore(const struct model_case *subject,
		   struct model_result *result)
{
	*result = (struct model_result){ 0 };
	explorer.subject = subject;
	explorer.result = result;
	explorer.trail_length = 0;
	explorer.is_eager = getenv("MODEL_EAGER") != NULL;
	explorer.num_threads = 0;
	while (explorer.num_threads < MODEL_MAX_THREADS - 1 &&
	       subject->threads[explorer.num_threads])
		explorer.num_threads++;
	do {
		execute();
	} while (!result->has_failed && go_back());
	if (result->has_failed && getenv("MODEL_TRACE"))
		print_trace();
}

bool model_is_possible(const char *name)
{
#if defined(ZS_ASAN) || defined(ZS_TSAN)
	printf("%s: SKIPPED: the model's threads are coroutines that this "
	       "build's sanitizer knows nothing of\n",
	       name);
	return false;
#else
	(void)name;
	return true;
#endif
}
