/* SPDX-License-Identifier: MIT */
/*
 * Deadlocks: waits that nothing can end are reported, and ended one by one,
 * with -EDEADLK, until somebody can go on. Called by the worker's loop.
 *
 * A worker is quiet when it goes to sleep with no task to run, no operation in
 * flight and no timer armed: then only another thread can wake it. The last one
 * to become quiet looks at all. What it finds is exact, however the others run
 * meanwhile:
 *
 *   1. It reads of each worker in which turn that became quiet. None is awake.
 *   2. It counts the threads of the process: there are none but the runtime's.
 *   3. It finds every mailbox empty.
 *   4. It reads the turns again: they are the same.
 *
 * A turn's number never comes again, and a worker that wakes clears it before
 * it does anything: so from 1 to 4 no worker did anything. Other threads ended
 * before 2, and only threads make threads. So whatever was posted, was posted
 * before 3 looked, and nobody can have taken it: there was nothing. What is
 * then asleep stays asleep for ever, so that all can be read at leisure.
 *
 * The look costs some system calls. So it waits until all have been quiet for a
 * while, which is also when a program is stuck for people; not on the blocking
 * model, whose only worker need not wait for any other.
 *
 * Not looked for where others may come at any time: in a runtime that is not
 * zs_run()'s, unless a thread waits in zs_runtime_stop() for its end, in one
 * that an event loop steps, and where the program says so.
 */
#include "sched/deadlock.h"

#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/text.h"
#include "engine/offload.h"
#include "sched/runtime.h"
#include "sched/worker.h"

enum {
	FIRST_LOOK_NS = 100000000,
	/* Who looks again, for a thread that may end without a word, does so
	 * within a second of that. */
	PAUSE_MOST_NS = 800000000,
	/* A report shows no more tasks. */
	SHOWN_MOST = 1000,
#if defined(ZS_TSAN)
	/* The sanitizer's own threads, as of gcc 12, in a forked child. */
	STRANGERS = 2,
#else
	STRANGERS = 0,
#endif
};

/* --- is it one? --- */

static bool may_look(struct zs_runtime *runtime)
{
	return runtime->ends_when_idle ||
	       zs_runtime_phase(runtime) == ZS_RUNTIME_STOPPING;
}

/* It has no work, or it would not be about to sleep. */
static bool is_quiet(struct zs_worker *worker)
{
	return !worker->is_starved && !worker->sized.first &&
	       !worker->engine->ops->has_ops(worker->engine) &&
	       (zs_wheel_is_empty(&worker->wheel) ||
		zs_wheel_next(&worker->wheel) == INT64_MAX);
}

/* A number that is another one if any of them has been awake since; 0 if one
 * is. The turns only grow, so that sums do for all of them.
 * seq_cst: of two workers that become quiet at once one sees the other. It also
 * acquires all that the worker did. */
static uint64_t sum_of_turns(struct zs_runtime *runtime)
{
	uint64_t sum = 0;
	uint32_t i;

	for (i = 0; i < runtime->num_workers; i++) {
		uint64_t turn = atomic_load_explicit(
			&runtime->workers[i].deadlock.quiet_turn,
			memory_order_seq_cst);

		if (turn == 0)
			return 0;
		sum += turn;
	}
	return sum;
}

/* The same, after the mailboxes have been looked at. A read-modify-write, as in
 * zs_deadlock_wake(), acq_rel both: either that comes first, and shows here
 * that the worker is awake; or this does, and then what the worker takes from a
 * mailbox it takes after we have looked there. */
static uint64_t sum_of_turns_again(struct zs_runtime *runtime)
{
	uint64_t sum = 0;
	uint32_t i;

	for (i = 0; i < runtime->num_workers; i++) {
		uint64_t turn = atomic_fetch_add_explicit(
			&runtime->workers[i].deadlock.quiet_turn, 0,
			memory_order_acq_rel);

		if (turn == 0)
			return 0;
		sum += turn;
	}
	return sum;
}

/* Those of the pool are counted last: one that ends meanwhile is then taken for
 * a foreign one, never the other way round. */
static bool has_foreign_threads(struct zs_runtime *runtime)
{
	struct zs_offload_counts counts[ZS_NUM_LANES];
	int64_t number = zs_census();
	int i;

	if (number < 0)
		return true;
	zs_offload_count(runtime->offload, counts);
	for (i = 0; i < ZS_NUM_LANES; i++)
		number -= counts[i].num_threads;
	number -= runtime->num_workers + (runtime->stall_detector ? 1 : 0);
	/* acquire: pairs with the release in runtime.c. */
	number -= atomic_load_explicit(&runtime->deadlock.num_stoppers,
				       memory_order_acquire);
	return number > STRANGERS;
}

static bool has_mail(struct zs_runtime *runtime)
{
	uint32_t i;

	if (!zs_mailbox_empty(&runtime->injected))
		return true;
	for (i = 0; i < runtime->num_workers; i++)
		if (!zs_mailbox_empty(&runtime->workers[i].mailbox) ||
		    !zs_mailbox_empty(&runtime->workers[i].gifts))
			return true;
	return false;
}

/* See above. */
static bool is_deadlock(struct zs_runtime *runtime)
{
	uint64_t sum = sum_of_turns(runtime);

	if (sum == 0 || has_foreign_threads(runtime) || has_mail(runtime))
		return false;
	return sum_of_turns_again(runtime) == sum;
}

/* --- who is in it --- */

struct search {
	struct zs_task *oldest; /* of those whose wait can be ended */
	uint32_t number;
};

static void visit(void *object, void *arg)
{
	struct zs_task *task = object;
	struct search *search = arg;
	const struct zs_task *oldest = search->oldest;

	if (task->state != ZS_TASK_STARTED || !task->wait)
		return;
	search->number++;
	if (!task->wait->cancel)
		return;
	if (!oldest || task->parked_ns < oldest->parked_ns ||
	    (task->parked_ns == oldest->parked_ns && task->id < oldest->id))
		search->oldest = task;
}

static struct search search_tasks(struct zs_runtime *runtime)
{
	struct search search = { .oldest = NULL };
	uint32_t i;

	for (i = 0; i < runtime->num_workers; i++)
		zs_slab_walk(&runtime->workers[i].tasks, visit, &search);
	zs_slab_walk(&runtime->foreign_tasks, visit, &search);
	return search;
}

static void begin_line(struct zs_text *text)
{
	zs_text_init(text);
	zs_text_add(text, "zsync: deadlock: ");
}

static void report(struct zs_runtime *runtime, const struct search *search)
{
	struct zs_text text;

	begin_line(&text);
	zs_text_add_number(&text, search->number);
	zs_text_add(&text, search->number == 1 ? " task waits" : " tasks wait");
	zs_text_add(&text, ", and no operation, timer or other thread is left "
			   "to end that\n");
	zs_text_write(&text, STDERR_FILENO);
	zs_dump_tasks(runtime, STDERR_FILENO, SHOWN_MOST);
	if (search->oldest)
		return;
	begin_line(&text);
	zs_text_add(&text, "none of these waits can be ended: end the process, "
			   "and find who should have ended one\n");
	zs_text_write(&text, STDERR_FILENO);
}

/* Cut where the line is full. */
static void report_victim(const struct zs_task *victim)
{
	const struct zs_task *opener = victim->nursery->opener;
	struct zs_text text;

	begin_line(&text);
	zs_text_add(&text, "the longest wait, of ");
	zs_task_describe(victim, &text);
	zs_text_add(&text, ", ends with -EDEADLK");
	for (; opener; opener = opener->nursery->opener) {
		zs_text_add(&text, ", for whose end waits ");
		zs_task_describe(opener, &text);
		if (text.length > sizeof(text.bytes) / 2) {
			zs_text_add(&text, ", and so on");
			break;
		}
	}
	zs_text_add(&text, "\n");
	zs_text_write(&text, STDERR_FILENO);
}

/* --- ending it --- */

/* On the task's worker. */
static void end_wait(struct zs_task *task)
{
	struct zs_worker *worker = task->worker;

	if (!task->wait || !task->wait->cancel)
		return;
	ZS_COUNT(worker->counters.deadlocks, 1);
	worker->deadlocked = task;
	task->wait->cancel(task);
	worker->deadlocked = NULL;
}

void zs_deadlock_handle(struct zs_runtime *runtime)
{
	end_wait(runtime->deadlock.victim);
}

static void end_wait_of(struct zs_worker *worker, struct zs_task *victim)
{
	struct zs_deadlock *deadlock = &worker->runtime->deadlock;

	if (victim->worker == worker) {
		/* Nobody else is to find all quiet from here on. */
		zs_deadlock_wake(worker);
		end_wait(victim);
		return;
	}
	deadlock->victim = victim;
	zs_worker_post(victim->worker, &deadlock->message, ZS_MESSAGE_DEADLOCK);
}

/* All have been quiet for a moment only; is that because others have just been
 * told that they are deadlocked? */
static bool is_sequel(struct zs_runtime *runtime, int64_t now_ns)
{
	/* relaxed: a worker that misses it looks later. */
	int64_t ended_ns = atomic_load_explicit(&runtime->deadlock.ended_ns,
						memory_order_relaxed);

	return ended_ns != 0 && now_ns - ended_ns < FIRST_LOOK_NS;
}

/* One of those that were in the last report, if @is_sequel: who has parked
 * since may do so again and again, and waits for a report of its own. False:
 * nothing was ended. */
static bool end_one(struct zs_worker *worker, bool is_sequel, int64_t now_ns)
{
	struct zs_deadlock *deadlock = &worker->runtime->deadlock;
	struct search search = search_tasks(worker->runtime);

	if (search.number == 0)
		return false;
	if (is_sequel && (!search.oldest ||
			  search.oldest->parked_ns > deadlock->reported_ns))
		return false;
	if (!is_sequel) {
		deadlock->reported_ns = now_ns;
		report(worker->runtime, &search);
	}
	if (!search.oldest) {
		worker->deadlock.pause_ns = INT64_MAX;
		return false;
	}
	report_victim(search.oldest);
	atomic_store_explicit(&deadlock->ended_ns, now_ns,
			      memory_order_relaxed);
	end_wait_of(worker, search.oldest);
	return true;
}

/* Two may come to look at once. acquire and release: what the one before has
 * left behind, its being awake first of all. */
static bool find_and_end(struct zs_worker *worker, bool is_sequel,
			 int64_t now_ns)
{
	struct zs_runtime *runtime = worker->runtime;
	struct zs_deadlock *deadlock = &runtime->deadlock;
	bool is_ended = false;

	if (atomic_exchange_explicit(&deadlock->is_looking, true,
				     memory_order_acquire))
		return false;
	if (is_deadlock(runtime))
		is_ended = end_one(worker, is_sequel, now_ns);
	atomic_store_explicit(&deadlock->is_looking, false,
			      memory_order_release);
	return is_ended;
}

/* --- when to look --- */

/* Of all, who are asleep: another number if anybody has done anything since. To
 * have looked is nothing. relaxed: acquired with their turns. */
static uint64_t sum_of_activity(struct zs_runtime *runtime)
{
	uint64_t sum = 0;
	uint32_t i;

	for (i = 0; i < runtime->num_workers; i++) {
		struct zs_worker_counters *counters =
			&runtime->workers[i].counters;

		sum += atomic_load_explicit(&counters->switches,
					    memory_order_relaxed) +
		       atomic_load_explicit(&counters->messages,
					    memory_order_relaxed);
	}
	return sum;
}

static int64_t look_at(struct zs_worker *worker, int64_t now_ns)
{
	struct zs_deadlock_watch *watch = &worker->deadlock;
	int64_t least_ns = FIRST_LOOK_NS;

	if (worker->runtime->model == ZS_MODEL_BLOCKING ||
	    is_sequel(worker->runtime, now_ns))
		least_ns = 0;
	if (watch->look_ns > watch->seen_ns + least_ns)
		return watch->look_ns;
	return watch->seen_ns + least_ns;
}

/* Nothing was found. Longer after each time that nothing has changed. */
static int64_t pause_looks(struct zs_worker *worker, int64_t now_ns)
{
	struct zs_deadlock_watch *watch = &worker->deadlock;
	int64_t pause_ns = watch->pause_ns;

	if (pause_ns == INT64_MAX) {
		watch->look_ns = INT64_MAX;
		return INT64_MAX;
	}
	watch->look_ns = now_ns + pause_ns;
	if (pause_ns < PAUSE_MOST_NS)
		watch->pause_ns = pause_ns * 2;
	return pause_ns;
}

static int64_t look_when_due(struct zs_worker *worker)
{
	uint64_t seen = sum_of_activity(worker->runtime);
	struct zs_deadlock_watch *watch = &worker->deadlock;
	int64_t now_ns = zs_clock_ns();
	int64_t at_ns;

	if (watch->seen != seen) {
		watch->seen = seen;
		watch->seen_ns = now_ns;
		watch->pause_ns = FIRST_LOOK_NS;
		if (watch->look_ns == INT64_MAX)
			watch->look_ns = now_ns;
	}
	at_ns = look_at(worker, now_ns);
	if (at_ns == INT64_MAX)
		return INT64_MAX;
	if (now_ns < at_ns)
		return at_ns - now_ns;
	if (find_and_end(worker,
			 now_ns - watch->seen_ns < FIRST_LOOK_NS &&
				 is_sequel(worker->runtime, now_ns),
			 now_ns))
		return 0;
	return pause_looks(worker, now_ns);
}

int64_t zs_deadlock_look(struct zs_worker *worker, int64_t wait_ns)
{
	struct zs_runtime *runtime = worker->runtime;
	int64_t look_ns;

	if (wait_ns <= 0 || runtime->is_embedded ||
	    (runtime->config.flags & ZS_CONFIG_NO_DEADLOCK_CHECK) ||
	    !is_quiet(worker))
		return wait_ns;
	/* seq_cst: see sum_of_turns(), and publishes what this worker did.
	 * relaxed: its own counter. */
	atomic_store_explicit(&worker->deadlock.quiet_turn,
			      atomic_load_explicit(&worker->counters.turns,
						   memory_order_relaxed),
			      memory_order_seq_cst);
	/* Who has mail wakes soon, and looks when it goes to sleep again. */
	if (sum_of_turns(runtime) == 0 || !may_look(runtime) ||
	    has_mail(runtime))
		return wait_ns;
	look_ns = look_when_due(worker);
	return look_ns < wait_ns ? look_ns : wait_ns;
}

void zs_deadlock_wake(struct zs_worker *worker)
{
	_Atomic uint64_t *turn = &worker->deadlock.quiet_turn;

	/* relaxed: its own. acq_rel: see sum_of_turns_again(). */
	if (zs_unlikely(atomic_load_explicit(turn, memory_order_relaxed) != 0))
		atomic_exchange_explicit(turn, 0, memory_order_acq_rel);
}
