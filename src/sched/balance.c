/* SPDX-License-Identifier: MIT */
/*
 * Where tasks start: on the worker that spawned them, on one that has fewer, or
 * on one that has nothing to do. Called by spawns, by tasks that give way (for
 * the next one to start) and by the worker's loop; injection by any thread.
 *
 * A task that is about to start is handed to a worker that has clearly fewer
 * tasks, if there is one: connections spread by themselves. Tasks that never
 * park do not count, so work that only computes is not handed about but stolen.
 */
#include "sched/balance.h"

#include "base/explain.h"
#include "base/probes.h"
#include "sched/runtime.h"
#include "sched/scope.h"

/* A turn that lasts longer may go on for ever. */
enum { STUCK_NS = 1000000 };

/* Its tasks that have started, and those that will start there. relaxed: a hint
 * that is old when it arrives. */
static int64_t load_of(struct zs_worker *worker)
{
	struct zs_worker_counters *c = &worker->counters;

	return (int64_t)(atomic_load_explicit(&c->started,
					      memory_order_relaxed) -
			 atomic_load_explicit(&c->ended, memory_order_relaxed) +
			 atomic_load_explicit(&c->arrivals,
					      memory_order_relaxed) +
			 atomic_load_explicit(&c->gifts, memory_order_relaxed));
}

/* Is @other in the midst of a long computation? Few tasks are no sign then that
 * one more would soon be started. relaxed, both: hints. */
static bool is_stuck(struct zs_worker *worker, struct zs_worker *other)
{
	return zs_worker_now(worker) - zs_worker_now(other) > STUCK_NS &&
	       !atomic_load_explicit(&other->is_asleep, memory_order_relaxed);
}

/* One that has clearly fewer tasks: of those that never park none has many. */
static struct zs_worker *less_busy(struct zs_worker *worker)
{
	struct zs_runtime *runtime = worker->runtime;
	struct zs_worker *other;
	int64_t theirs;

	worker->victim = (worker->victim + 1) % runtime->num_workers;
	if (worker->victim == worker->index)
		worker->victim = (worker->victim + 1) % runtime->num_workers;
	other = &runtime->workers[worker->victim];
	theirs = load_of(other) + zs_deque_size(&other->unstarted);
	if (load_of(worker) <= theirs + theirs / 8 + 4)
		return NULL;
	return is_stuck(worker, other) ? NULL : other;
}

static void wake_an_idle_one(struct zs_worker *worker)
{
	struct zs_runtime *runtime = worker->runtime;
	uint32_t i;

	/* relaxed, both: one that falls asleep just now may be missed, and may
	 * miss the new task; then it is left to this worker, and not lost. */
	if (atomic_load_explicit(&runtime->num_asleep, memory_order_relaxed) ==
	    0)
		return;
	for (i = 0; i < runtime->num_workers; i++) {
		if (!atomic_load_explicit(&runtime->workers[i].is_asleep,
					  memory_order_relaxed))
			continue;
		zs_worker_wake(&runtime->workers[i]);
		return;
	}
}

int zs_worker_after_push(struct zs_worker *worker, int pushed)
{
	if (pushed < 0)
		return zs_explain_as(pushed,
				     "no memory to queue one more task");
	if (zs_deque_size(&worker->unstarted) > 1)
		wake_an_idle_one(worker);
	return 0;
}

void zs_worker_offer(struct zs_worker *worker)
{
	/* relaxed: a hint. */
	atomic_store_explicit(&worker->has_offers, true, memory_order_relaxed);
	wake_an_idle_one(worker);
}

/* What is unstarted is about to start here. relaxed, both: as above. */
static void end_offers(struct zs_worker *worker)
{
	if (atomic_load_explicit(&worker->has_offers, memory_order_relaxed))
		atomic_store_explicit(&worker->has_offers, false,
				      memory_order_relaxed);
}

void zs_worker_keep(struct zs_worker *worker, struct zs_task *task)
{
	ZS_COUNT(worker->counters.arrivals, 1);
	zs_queue_append(&worker->arrivals, &task->link);
}

void zs_worker_keep_first(struct zs_worker *worker, struct zs_task *task)
{
	ZS_COUNT(worker->counters.arrivals, 1);
	zs_queue_prepend(&worker->arrivals, &task->link);
}

void zs_worker_send(struct zs_worker *worker, struct zs_task *task)
{
	zs_worker_post(worker, &task->message, ZS_MESSAGE_TASK);
}

static void hand_over(struct zs_worker *worker, struct zs_worker *other,
		      struct zs_task *task)
{
	ZS_COUNT(worker->counters.handovers, 1);
	/* relaxed: a count. */
	atomic_fetch_add_explicit(&other->counters.gifts, 1,
				  memory_order_relaxed);
	zs_mailbox_post(&other->gifts, &task->message);
	zs_worker_wake(other);
	worker->gave_to = other;
}

static struct zs_task *take_arrival(struct zs_worker *worker)
{
	ZS_COUNT(worker->counters.arrivals, -1);
	return zs_queue_pop(&worker->arrivals)->item;
}

struct zs_task *zs_worker_next_unstarted(struct zs_worker *worker)
{
	struct zs_worker *other;
	struct zs_task *task;

	if (worker->is_starved)
		return NULL;
	end_offers(worker);
	/* One by one, lest either source keep the other waiting. */
	worker->arrival_first = !worker->arrival_first;
	if (worker->arrival_first && worker->arrivals.first)
		return take_arrival(worker);
	for (;;) {
		task = zs_deque_take_top(&worker->unstarted);
		if (!task)
			break;
		other = worker->alone ? NULL : less_busy(worker);
		if (!other)
			return task;
		hand_over(worker, other, task);
	}
	return worker->arrivals.first ? take_arrival(worker) : NULL;
}

/* Others may steal it, lest it wait for a task that does not give way. */
static void take_in(struct zs_worker *worker, struct zs_task *task)
{
	if (task->nursery->is_pinned || zs_worker_push(worker, task) < 0)
		zs_worker_keep(worker, task);
}

/* All that is in @mailbox, which holds tasks alone; how many. */
static uint64_t take_tasks(struct zs_worker *worker, struct zs_mailbox *mailbox)
{
	struct zs_message *message = zs_mailbox_take(mailbox);
	uint64_t taken = 0;

	while (message) {
		struct zs_message *next = message->next;

		take_in(worker,
			zs_container_of(message, struct zs_task, message));
		message = next;
		taken++;
	}
	ZS_COUNT(worker->counters.messages, taken);
	return taken;
}

/* @giftee's gifts; it may be @worker itself. */
static bool take_gifts_of(struct zs_worker *worker, struct zs_worker *giftee)
{
	uint64_t taken = take_tasks(worker, &giftee->gifts);

	/* relaxed: a count. */
	if (taken > 0)
		atomic_fetch_sub_explicit(&giftee->counters.gifts, taken,
					  memory_order_relaxed);
	return taken > 0;
}

/* Another may be quicker, and yet leave some. */
static struct zs_task *steal_from(struct zs_worker *victim, int64_t least)
{
	struct zs_task *task = NULL;

	/* relaxed: a hint. */
	if (atomic_load_explicit(&victim->has_offers, memory_order_relaxed))
		least = 1;
	while (!task && zs_deque_size(&victim->unstarted) >= least)
		task = zs_deque_steal(&victim->unstarted);
	return task;
}

bool zs_worker_steal(struct zs_worker *worker, int64_t least)
{
	struct zs_runtime *runtime = worker->runtime;
	uint32_t i;

	if (worker->alone || worker->is_starved)
		return false;
	for (i = 1; i < runtime->num_workers; i++) {
		uint32_t index = (worker->index + i) % runtime->num_workers;
		struct zs_worker *victim = &runtime->workers[index];
		struct zs_task *task;

		if (is_stuck(worker, victim) && take_gifts_of(worker, victim))
			return true;
		task = steal_from(victim, least);
		if (!task)
			continue;
		ZS_COUNT(worker->counters.steals, 1);
		ZS_PROBE_STEAL(task, worker, victim);
		/* Where others may steal it again. */
		if (zs_deque_push(&worker->unstarted, task) < 0)
			zs_worker_keep(worker, task);
		return true;
	}
	return false;
}

int64_t zs_worker_gift_wait(const struct zs_worker *worker)
{
	/* From one that turns out to be stuck it takes them back. */
	if (worker->gave_to && !zs_mailbox_empty(&worker->gave_to->gifts))
		return 2 * STUCK_NS;
	return INT64_MAX;
}

void zs_worker_take_in_all(struct zs_worker *worker)
{
	take_gifts_of(worker, worker);
	take_tasks(worker, &worker->runtime->injected);
}

/* A worker that falls asleep meanwhile sees the post, and one that is awake
 * looks before it sleeps: as in zs_worker_wake(). By turns, so that it is not
 * always the same that is woken. */
void zs_worker_inject(struct zs_runtime *runtime, struct zs_task *task)
{
	uint32_t n = runtime->num_workers;
	uint32_t first, i;

	zs_runtime_begin_foreign_post(runtime);
	zs_mailbox_post(&runtime->injected, &task->message);
	/* relaxed: any worker is right. */
	first = atomic_fetch_add_explicit(&runtime->next_worker, 1,
					  memory_order_relaxed);
	for (i = 0; i < n; i++)
		if (zs_worker_wake(&runtime->workers[(first + i) % n]))
			break;
	zs_runtime_end_foreign_post(runtime);
}
