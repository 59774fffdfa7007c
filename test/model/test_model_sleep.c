/* SPDX-License-Identifier: MIT */
/*
 * Every execution of workers' loops against threads that post to them, inject
 * tasks, or tell them to quit: nothing is lost, and no worker sleeps while
 * there is something for it. They are the real loops, which here have a queue
 * of arrivals but run no tasks, and an engine that does nothing but wait.
 */
#include "atomics.h"
#include "sweep.h"

#include "base/clock.h"
#include "sched/balance.h"
#include "sched/runtime.h"
#include "sched/worker.h"

static struct zs_worker *selves[MODEL_MAX_THREADS];

static void run_some(struct zs_worker *worker);
static void await_no_posts(void);

/* What the loop has around it. The clock stands still, so that an execution can
 * be repeated. */
#undef ZS_COUNT
#define ZS_COUNT(counter, n) ((void)0)
#define zs_worker_self (selves[model_thread()])
#define zs_task_run_some(worker) run_some(worker)
#define zs_wheel_next(wheel) INT64_MAX
#define zs_clock_ns() INT64_C(0)
#define sched_yield() await_no_posts()
/* It looks at who sleeps, and changes nothing for who does not. */
#define zs_deadlock_look(worker, wait_ns) ((void)(worker), (wait_ns))
#define zs_deadlock_wake(worker) ((void)(worker))

#include "sched/balance.c"
#include "sched/runtime.c"
#include "sched/threads.c"
#include "sched/worker.c"

enum { MAX_TASKS = 4, MAX_WORKERS = 2 };

static struct zs_runtime the_runtime;
static struct zs_worker workers[MAX_WORKERS];
static struct zs_worker bystander; /* whom those that post belong to */
static struct eventfd_engine {
	struct zs_engine engine;
	struct model_event eventfd;
} engines[MAX_WORKERS];
static struct zs_task tasks[MAX_TASKS];
static struct zs_scope nursery; /* of all of them */
/* How many are sent in this case; with the last that is run, the runtime
 * quits. */
static int num_tasks;
static _Atomic int num_run;

/* --- the engine: an eventfd --- */

static struct model_event *eventfd_of(struct zs_engine *engine)
{
	return &zs_container_of(engine, struct eventfd_engine, engine)->eventfd;
}

static void engine_reap(struct zs_engine *engine, struct zs_queue *done,
			int64_t wait_ns)
{
	(void)done;
	if (wait_ns > 0)
		model_event_wait(eventfd_of(engine));
}

static void engine_wake(struct zs_engine *engine)
{
	model_event_signal(eventfd_of(engine));
}

static const struct zs_engine_ops engine_ops = {
	.reap = engine_reap,
	.wake = engine_wake,
};

/* --- the runtime --- */

/* All but the wheel, which is large and not looked at. */
static void clear_worker(struct zs_worker *worker)
{
	memset(worker, 0, offsetof(struct zs_worker, wheel));
	worker->runtime = &the_runtime;
}

/* Workers are alone in that they have no deque to steal from. */
static void make_worker(uint32_t index)
{
	struct zs_worker *worker = &workers[index];

	clear_worker(worker);
	engines[index].engine.ops = &engine_ops;
	worker->index = index;
	worker->engine = &engines[index].engine;
	worker->alone = true;
	zs_queue_init(&worker->ready);
	zs_queue_init(&worker->arrivals);
	model_assert(zs_deque_init(&worker->unstarted, 1, true) == 0);
}

static void make(uint32_t num_workers, int number)
{
	num_tasks = number;
	atomic_init(&num_run, 0);
	memset(&the_runtime, 0, sizeof(the_runtime));
	memset(engines, 0, sizeof(engines));
	memset(tasks, 0, sizeof(tasks));
	memset(&nursery, 0, sizeof(nursery));
	memset(selves, 0, sizeof(selves));
	/* They go to the arrivals, and no further. */
	nursery.is_pinned = true;
	for (int i = 0; i < MAX_TASKS; i++) {
		tasks[i].link.item = &tasks[i];
		tasks[i].nursery = &nursery;
	}
	the_runtime.num_workers = num_workers;
	the_runtime.workers = workers;
	for (uint32_t i = 0; i < num_workers; i++)
		make_worker(i);
	clear_worker(&bystander);
}

static void run_some(struct zs_worker *worker)
{
	while (worker->arrivals.first) {
		struct zs_task *task = take_arrival(worker);
		int run;

		/* A write: nobody else still has it. */
		model_write(task);
		model_assert(task->id != 0);
		/* acq_rel: as the count of the root. */
		run = 1 + atomic_fetch_add_explicit(&num_run, 1,
						    memory_order_acq_rel);
		if (run == num_tasks)
			zs_threads_tell_to_quit(&the_runtime);
	}
}

static void loop(int index)
{
	selves[model_thread()] = &workers[index];
	zs_worker_loop(&workers[index]);
}

static void loop_0(void)
{
	loop(0);
}

static void loop_1(void)
{
	loop(1);
}

static void await_no_posts(void)
{
	model_await_zero(&the_runtime.foreign_posts);
}

/* The worker's thread, which is zs_run()'s. */
static void loop_and_destroy(void)
{
	loop(0);
	await_foreign_posts(&the_runtime);
	model_retire(workers, sizeof(workers));
	model_retire(&the_runtime, sizeof(the_runtime));
}

/* --- the others --- */

static struct zs_task *make_task(int number)
{
	model_write(&tasks[number]);
	tasks[number].id = (uint64_t)number + 1;
	return &tasks[number];
}

/* From another worker. */
static void post(int number)
{
	selves[model_thread()] = &bystander;
	zs_worker_post(&workers[0], &make_task(number)->message,
		       ZS_MESSAGE_TASK);
}

static void post_first(void)
{
	post(0);
}

static void post_second(void)
{
	post(1);
}

static void post_two(void)
{
	post(0);
	post(2);
}

/* From a thread that is no worker. */
static void send(void)
{
	zs_worker_send(&workers[0], make_task(0));
}

static void inject(void)
{
	zs_worker_inject(&the_runtime, make_task(0));
}

static void tell_all_to_quit(void)
{
	selves[model_thread()] = &bystander;
	zs_threads_tell_to_quit(&the_runtime);
}

/* --- cases --- */

static void make_idle(void)
{
	make(1, 0);
}

static void make_one(void)
{
	make(1, 1);
}

static void make_two(void)
{
	make(1, 2);
}

static void make_three(void)
{
	make(1, 3);
}

static void make_pair(void)
{
	make(2, 1);
}

static void expect_all(void)
{
	model_assert(atomic_load_explicit(&num_run, memory_order_relaxed) ==
		     num_tasks);
	model_assert(!workers[0].is_counted_asleep);
	model_assert(!workers[1].is_counted_asleep);
}

static const struct model_case cases[] = {
	{ "one post", make_one, { loop_0, post_first }, expect_all },
	{ "told to quit", make_idle, { loop_0, tell_all_to_quit }, expect_all },
	{ "a foreign post ends the runtime",
	  make_one,
	  { loop_and_destroy, send },
	  NULL },
	{ "an injected task ends the runtime",
	  make_one,
	  { loop_and_destroy, inject },
	  NULL },
	{ "two posters",
	  make_two,
	  { loop_0, post_first, post_second },
	  expect_all },
	{ 0 },
};

static const struct model_case large_cases[] = {
	{ "one of two takes what is injected",
	  make_pair,
	  { loop_0, loop_1, inject },
	  expect_all },
	{ 0 },
};

static const struct model_case huge_cases[] = {
	{ "one that posts twice, and one",
	  make_three,
	  { loop_0, post_two, post_second },
	  expect_all },
	{ 0 },
};

#define LOOKED \
	"the load before it has its place in the order, and the wake its own"

static const struct sweep_exception exceptions[] = {
	{ "zs_worker_wake", MODEL_EXCHANGE, "&worker->is_asleep",
	  memory_order_acq_rel, LOOKED },
	{ "zs_worker_wake", MODEL_EXCHANGE, "&worker->is_asleep",
	  memory_order_acquire, LOOKED },
	{ "zs_worker_wake", MODEL_EXCHANGE, "&worker->is_asleep",
	  memory_order_release, LOOKED },
	{ "zs_worker_wake", MODEL_EXCHANGE, "&worker->is_asleep",
	  memory_order_relaxed, LOOKED },
	{ 0 },
};

static const char *const files[] = {
	"sched/worker.c",
	"sched/balance.c",
	"sched/runtime.c",
	"sched/threads.c",
	"sched/runtime.h",
	"base/mailbox.h",
	NULL,
};

int main(void)
{
	static const struct sweep sweep = {
		.name = "sleep",
		.cases = cases,
		.large_cases = large_cases,
		.huge_cases = huge_cases,
		.exceptions = exceptions,
		.files = files,
	};

	return sweep_main(&sweep);
}
