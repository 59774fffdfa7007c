/* SPDX-License-Identifier: MIT */
/*
 * The dump: every task of every runtime, as text. Called by anyone, signal
 * handlers and panics among them, while workers go on or are stuck; so it takes
 * no lock, allocates nothing and believes nothing. What it reads of a task may
 * change under it (ZS_RACY); memory that it follows is never unmapped while a
 * dump is under way.
 */
#include "zsync/stats.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/explain.h"
#include "base/futex.h"
#include "base/text.h"
#include "engine/offload.h"
#include "sched/runtime.h"
#include "sched/sanitize.h"

/* All runtimes. Changed under the lock; walked without. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(struct zs_runtime *) runtimes;
/* Dumps under way, by the parity of the epoch that they began in. A runtime
 * that was taken off the list waits for either count to be zero once; it
 * changes the epoch before each wait, so that those that begin later cannot
 * prolong it. */
static _Atomic uint32_t epoch;
static _Atomic uint32_t dumps[2];
/* Held by the runtime that waits: one changes the epoch at a time. */
static pthread_mutex_t waiting = PTHREAD_MUTEX_INITIALIZER;

/* One dump. */
struct dump {
	int fd;
	int result; /* the first error */
	int64_t now_ns;
	struct zs_text text;
};

/* Nothing is written after an error: a line in the midst of which another
 * begins helps nobody. */
static void flush(struct dump *dump)
{
	if (dump->result == 0)
		dump->result = zs_text_write(&dump->text, dump->fd);
	else
		zs_text_init(&dump->text);
}

static void add_named(struct dump *dump, const char *before, int64_t number,
		      const char *after)
{
	zs_text_add(&dump->text, before);
	zs_text_add_number(&dump->text, number);
	zs_text_add(&dump->text, after);
}

/* Since a point in time that may be later than the dump's. */
static void add_time_since(struct dump *dump, int64_t since_ns)
{
	int64_t duration_ns = dump->now_ns - since_ns;

	zs_text_add_duration(&dump->text, duration_ns > 0 ? duration_ns : 0);
}

static uint64_t get(const _Atomic uint64_t *counter)
{
	/* relaxed: a number to look at. */
	return atomic_load_explicit(counter, memory_order_relaxed);
}

/* --- tasks --- */

/* Who parks writes waits_on before wait, but not every processor shows it in
 * that order: hence NULL. An older object is still memory that can be read. */
static ZS_RACY void add_wait(struct dump *dump, const struct zs_task *task)
{
	const struct zs_wait_type *wait = task->wait;
	const void *waits_on = task->waits_on;

	if (!wait || !waits_on) {
		zs_text_add(&dump->text, "ready");
		return;
	}
	zs_text_add(&dump->text,
		    wait->cancel ? "waits for " : "waits, uncancellable, for ");
	wait->describe(waits_on, &dump->text);
	zs_text_add(&dump->text, " (");
	add_time_since(dump, task->parked_ns);
	zs_text_add(&dump->text, " so far)");
}

static ZS_RACY void add_state(struct dump *dump, const struct zs_task *task,
			      uint8_t state)
{
	struct zs_worker *worker = task->worker;

	if (state == ZS_TASK_UNSTARTED) {
		zs_text_add(&dump->text, "not started");
		return;
	}
	/* NULL: it has just started, see add_wait(). */
	if (state == ZS_TASK_ENDED || !worker) {
		zs_text_add(&dump->text, worker ? "ended" : "starts");
		return;
	}
	if (worker->current == task)
		zs_text_add(&dump->text, "running");
	else
		add_wait(dump, task);
	add_named(dump, ", worker ", worker->index, "");
}

static ZS_RACY void add_reason(struct dump *dump, struct zs_scope *scope)
{
	int reason;

	if (!scope)
		return;
	/* relaxed: a word to look at. */
	reason = atomic_load_explicit(&scope->reason, memory_order_relaxed);
	if (reason == ZS_CANCEL_NONE)
		return;
	zs_text_add(&dump->text, ", cancelled (");
	zs_text_add(&dump->text,
		    zs_cancel_reason_name(reason & ~ZS_SCOPE_INHERITED));
	zs_text_add(&dump->text, ")");
}

static ZS_RACY void add_parent(struct dump *dump, const struct zs_task *task)
{
	struct zs_scope *nursery = task->nursery;
	struct zs_task *opener = nursery ? nursery->opener : NULL;

	if (opener)
		add_named(dump, ", nursery of task ", (int64_t)opener->id, "");
	else
		zs_text_add(&dump->text, ", spawned into the runtime");
}

static ZS_RACY void add_stack(struct dump *dump, const struct zs_task *task)
{
	const struct zs_stack *stack = task->stack;
	struct zs_stack bounds;

	if (!stack)
		return;
	/* It may have been carved just now, and be half written. */
	bounds = (struct zs_stack){ .base = stack->base, .top = stack->top };
	if (!bounds.base || bounds.top <= bounds.base)
		return;
	zs_text_add(&dump->text, ", stack ");
	zs_text_add_hex(&dump->text, (uintptr_t)bounds.base);
	zs_text_add(&dump->text, ", ");
	zs_text_add_size(&dump->text, zs_stack_resident(&bounds));
	zs_text_add(&dump->text, " touched");
}

ZS_RACY void zs_dump_add_task(struct zs_text *text, const struct zs_task *task)
{
	char name[ZS_TASK_NAME_MAX + 1];
	size_t i;

	zs_text_add(text, "task ");
	zs_text_add_number(text, (int64_t)task->id);
	for (i = 0; i < ZS_TASK_NAME_MAX && task->name[i]; i++)
		name[i] = task->name[i];
	name[i] = '\0';
	if (i == 0)
		return;
	zs_text_add(text, " \"");
	zs_text_add(text, name);
	zs_text_add(text, "\"");
}

static ZS_RACY void dump_task(void *object, void *arg)
{
	const struct zs_task *task = object;
	struct dump *dump = arg;
	uint8_t state = task->state;

	if (state == ZS_TASK_FREE)
		return;
	zs_text_add(&dump->text, "  ");
	zs_dump_add_task(&dump->text, task);
	zs_text_add(&dump->text, ": ");
	add_state(dump, task, state);
	add_parent(dump, task);
	add_reason(dump, task->scope);
	add_stack(dump, task);
	zs_text_add(&dump->text, "\n");
	flush(dump);
}

struct listing {
	struct dump dump;
	uint32_t left;	 /* lines that may be written */
	uint32_t number; /* of tasks */
};

static void list_task(void *object, void *arg)
{
	const struct zs_task *task = object;
	struct listing *listing = arg;

	if (task->state != ZS_TASK_STARTED && task->state != ZS_TASK_UNSTARTED)
		return;
	listing->number++;
	if (listing->left == 0)
		return;
	listing->left--;
	dump_task(object, &listing->dump);
}

void zs_dump_tasks(struct zs_runtime *runtime, int fd, uint32_t most)
{
	struct listing listing = {
		.dump = { .fd = fd, .now_ns = zs_clock_ns() },
		.left = most,
	};
	uint32_t i;

	zs_text_init(&listing.dump.text);
	for (i = 0; i < runtime->num_workers; i++)
		zs_slab_walk(&runtime->workers[i].tasks, list_task, &listing);
	zs_slab_walk(&runtime->foreign_tasks, list_task, &listing);
	if (listing.number <= most)
		return;
	add_named(&listing.dump, "  and ", listing.number - most, " more\n");
	flush(&listing.dump);
}

/* --- workers, runtimes --- */

static ZS_RACY void add_activity(struct dump *dump, struct zs_worker *worker)
{
	struct zs_task *current = worker->current;

	if (current)
		add_named(dump, "runs task ", (int64_t)current->id, "");
	/* relaxed: a word to look at. */
	else if (atomic_load_explicit(&worker->is_asleep, memory_order_relaxed))
		zs_text_add(&dump->text, "sleeps");
	else
		zs_text_add(&dump->text, "in its loop");
	zs_text_add(&dump->text, ", turn begun ");
	add_time_since(dump, zs_worker_now(worker));
	zs_text_add(&dump->text, " ago");
}

static void add_timers(struct dump *dump, const struct zs_wheel *wheel)
{
	int64_t not_before_ns = zs_wheel_not_before(wheel);

	add_named(dump, ", ", (int64_t)zs_wheel_num_armed(wheel), " timers");
	if (not_before_ns == INT64_MAX)
		return;
	not_before_ns -= zs_clock_ns();
	zs_text_add(&dump->text, ", the next in ");
	zs_text_add_duration(&dump->text,
			     not_before_ns > 0 ? not_before_ns : 0);
	if (not_before_ns > 0)
		zs_text_add(&dump->text, " or later");
}

static void add_stalls(struct dump *dump, struct zs_worker_counters *counters)
{
	uint64_t since_ns = get(&counters->stalled_since_ns);
	uint64_t number = get(&counters->stalls);

	if (number == 0)
		return;
	add_named(dump, ", ", (int64_t)number,
		  number == 1 ? " stall of up to " : " stalls of up to ");
	zs_text_add_duration(&dump->text,
			     (int64_t)get(&counters->longest_stall_ns));
	if (since_ns == 0)
		return;
	zs_text_add(&dump->text, ", stalled for ");
	add_time_since(dump, (int64_t)since_ns);
}

static ZS_RACY void dump_worker(struct dump *dump, struct zs_worker *worker)
{
	struct zs_worker_counters *tasks = &worker->counters;
	struct zs_engine_counters *ops = &worker->engine->counters;

	add_named(dump, " worker ", worker->index, "");
	if (worker->thread_id == 0) {
		zs_text_add(&dump->text, ": not started\n");
		flush(dump);
		return;
	}
	add_named(dump, " (thread ", worker->thread_id, "): ");
	add_activity(dump, worker);
	add_named(dump, ", ", zs_deque_size(&worker->unstarted),
		  " not started");
	add_named(dump, ", ",
		  (int64_t)(get(&tasks->started) - get(&tasks->ended)),
		  " alive");
	add_named(dump, ", ",
		  (int64_t)(get(&ops->submitted) - get(&ops->completed)),
		  " operations in flight");
	add_timers(dump, &worker->wheel);
	add_stalls(dump, tasks);
	zs_text_add(&dump->text, "\n");
	flush(dump);
}

static void add_lane(struct dump *dump, const char *name,
		     const struct zs_offload_counts *counts)
{
	int64_t busy = (int64_t)counts->num_threads - counts->num_idle;

	zs_text_add(&dump->text, name);
	add_named(dump, " ", busy > 0 ? busy : 0, " of ");
	add_named(dump, "", counts->num_threads, " threads busy, ");
	add_named(dump, "", counts->num_queued, " queued, ");
	add_named(dump, "", (int64_t)counts->num_done, " done");
}

static void dump_offload(struct dump *dump, const struct zs_offload *offload)
{
	struct zs_offload_counts counts[ZS_NUM_LANES];

	zs_offload_count(offload, counts);
	add_lane(dump, " offload: files", &counts[ZS_LANE_FILES]);
	add_lane(dump, "; names", &counts[ZS_LANE_NAMES]);
	add_lane(dump, "; waiting", &counts[ZS_LANE_WAITING]);
	add_lane(dump, "; jobs", &counts[ZS_LANE_JOBS]);
	zs_text_add(&dump->text, "\n");
	flush(dump);
}

static const char *phase_name(struct zs_runtime *runtime)
{
	/* relaxed: a word to look at. */
	switch (atomic_load_explicit(&runtime->phase, memory_order_relaxed)) {
	case ZS_RUNTIME_CREATED:
		return "not started";
	case ZS_RUNTIME_RUNNING:
		return "running";
	case ZS_RUNTIME_STOPPING:
		return "stopping";
	}
	return "stopped";
}

static void dump_runtime(struct dump *dump, struct zs_runtime *runtime)
{
	uint32_t i;

	add_named(dump, "zsync: runtime of ", runtime->num_workers,
		  runtime->num_workers == 1 ? " worker, " : " workers, ");
	zs_text_add(&dump->text, zs_execution_model_name(runtime->model));
	zs_text_add(&dump->text, ", ");
	zs_text_add(&dump->text, phase_name(runtime));
	zs_text_add(&dump->text, "\n");
	flush(dump);
	for (i = 0; i < runtime->num_workers; i++)
		dump_worker(dump, &runtime->workers[i]);
	dump_offload(dump, runtime->offload);
	for (i = 0; i < runtime->num_workers; i++)
		zs_slab_walk(&runtime->workers[i].tasks, dump_task, dump);
	zs_slab_walk(&runtime->foreign_tasks, dump_task, dump);
}

/* seq_cst, all: a dump counts itself, then looks at the list; a removal takes
 * the runtime off the list, then looks at the counts. One sees the other. */
static uint32_t begin_dump(void)
{
	uint32_t side = atomic_load_explicit(&epoch, memory_order_seq_cst) % 2;

	atomic_fetch_add_explicit(&dumps[side], 1, memory_order_seq_cst);
	return side;
}

static void end_dump(uint32_t side)
{
	if (atomic_fetch_sub_explicit(&dumps[side], 1, memory_order_seq_cst) ==
	    1)
		zs_word_wake(&dumps[side]);
}

ZS_PUBLIC int zs_dump(int fd)
{
	struct dump dump = { .fd = fd, .now_ns = zs_clock_ns() };
	int saved_errno = errno;
	struct zs_runtime *runtime;
	uint32_t side;

	zs_text_init(&dump.text);
	side = begin_dump();
	zs_sanitize_begin_racy_reads();
	runtime = atomic_load_explicit(&runtimes, memory_order_seq_cst);
	if (!runtime) {
		zs_text_add(&dump.text, "zsync: no runtime\n");
		flush(&dump);
	}
	while (runtime) {
		dump_runtime(&dump, runtime);
		/* acquire: pairs with the store in zs_dump_add_runtime(). */
		runtime = atomic_load_explicit(&runtime->next,
					       memory_order_acquire);
	}
	zs_sanitize_end_racy_reads();
	end_dump(side);
	errno = saved_errno;
	return dump.result;
}

/* --- what a stop waits for --- */

enum { UNENDED_SHOWN = 3 };

struct unended {
	struct dump dump;
	uint32_t count;
};

static ZS_RACY void add_unended(void *object, void *arg)
{
	const struct zs_task *task = object;
	struct unended *unended = arg;
	struct dump *dump = &unended->dump;
	uint8_t state = task->state;

	if (state != ZS_TASK_STARTED && state != ZS_TASK_UNSTARTED)
		return;
	if (unended->count++ >= UNENDED_SHOWN)
		return;
	zs_text_add(&dump->text, unended->count == 1 ? ": " : "; ");
	zs_dump_add_task(&dump->text, task);
	zs_text_add(&dump->text, " ");
	add_state(dump, task, state);
}

int zs_dump_explain_stop(struct zs_runtime *runtime)
{
	struct unended unended = { .dump.now_ns = zs_clock_ns() };
	uint32_t i;

	zs_text_init(&unended.dump.text);
	zs_sanitize_begin_racy_reads();
	for (i = 0; i < runtime->num_workers; i++)
		zs_slab_walk(&runtime->workers[i].tasks, add_unended, &unended);
	zs_slab_walk(&runtime->foreign_tasks, add_unended, &unended);
	zs_sanitize_end_racy_reads();
	return zs_explain_as(-ETIMEDOUT, "%u %s not ended%.*s", unended.count,
			     unended.count == 1 ? "task has" : "tasks have",
			     (int)unended.dump.text.length,
			     unended.dump.text.bytes);
}

/* --- the list --- */

static void dump_panicking_thread(int fd)
{
	if (zs_worker_self)
		zs_dump(fd);
}

void zs_dump_add_runtime(struct zs_runtime *runtime)
{
	pthread_mutex_lock(&lock);
	zs_panic_state = dump_panicking_thread;
	/* relaxed: changed only under the lock. */
	atomic_init(&runtime->next,
		    atomic_load_explicit(&runtimes, memory_order_relaxed));
	/* seq_cst: publishes the runtime; see begin_dump(). */
	atomic_store_explicit(&runtimes, runtime, memory_order_seq_cst);
	pthread_mutex_unlock(&lock);
}

static void await_side(uint32_t side)
{
	uint32_t count;

	for (;;) {
		count = atomic_load_explicit(&dumps[side],
					     memory_order_seq_cst);
		if (count == 0)
			return;
		zs_word_wait(&dumps[side], count, NULL);
	}
}

static void await_dumps(void)
{
	int i;

	pthread_mutex_lock(&waiting);
	for (i = 0; i < 2; i++)
		await_side(atomic_fetch_add_explicit(&epoch, 1,
						     memory_order_seq_cst) %
			   2);
	pthread_mutex_unlock(&waiting);
}

void zs_dump_remove_runtime(struct zs_runtime *runtime)
{
	_Atomic(struct zs_runtime *) *link = &runtimes;
	struct zs_runtime *other;

	pthread_mutex_lock(&lock);
	/* relaxed: changed only under the lock. */
	for (;;) {
		other = atomic_load_explicit(link, memory_order_relaxed);
		if (!other || other == runtime)
			break;
		link = &other->next;
	}
	ZS_ASSERT(other);
	/* seq_cst: see begin_dump(). */
	atomic_store_explicit(link,
			      atomic_load_explicit(&runtime->next,
						   memory_order_relaxed),
			      memory_order_seq_cst);
	pthread_mutex_unlock(&lock);
	await_dumps();
}

void zs_dump_forget_runtimes(void)
{
	/* relaxed: a forked child has one thread. The locks may have been held
	 * by one that is gone. */
	atomic_store_explicit(&runtimes, NULL, memory_order_relaxed);
	atomic_store_explicit(&dumps[0], 0, memory_order_relaxed);
	atomic_store_explicit(&dumps[1], 0, memory_order_relaxed);
	lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
	waiting = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
}
