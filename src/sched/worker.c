/* SPDX-License-Identifier: MIT */
/*
 * The worker's loop. Called by the runtime on the worker's thread; posts and
 * wakes come from any thread.
 *
 * A turn: messages, timers, tasks, and one call of the engine, which hands over
 * what the tasks asked for and waits for the next event if nothing is left to
 * do. Before it waits the worker steals, and looks for work for a while that
 * adapts to how often that has paid.
 */
#include "sched/worker.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/explain.h"
#include "sched/balance.h"
#include "sched/deadlock.h"
#include "sched/exceptions.h"
#include "sched/fds.h"
#include "sched/outcome.h"
#include "sched/runtime.h"
#include "sched/scope.h"
#include "sched/stall.h"

enum {
	FIRST_DEQUE = 256,
	/* Between two looks at the clock while spinning. */
	RELAXES_PER_LOOK = 16,
	SPIN_LEAST_NS = 500,
	/* Every so many times a worker that spins in vain tries again. */
	SPIN_RETRY = 32,
};

/* --- messages --- */

void zs_worker_post(struct zs_worker *worker, struct zs_message *message,
		    enum zs_message_kind kind)
{
	struct zs_runtime *runtime = worker->runtime;
	bool is_foreign = !zs_worker_self || zs_worker_self->runtime != runtime;

	if (is_foreign)
		zs_runtime_begin_foreign_post(runtime);
	message->kind = kind;
	zs_mailbox_post(&worker->mailbox, message);
	zs_worker_wake(worker);
	if (is_foreign)
		zs_runtime_end_foreign_post(runtime);
}

/*
 * The handshake with fall_asleep(): there the flag is set and then the mailbox
 * is looked at; here something is posted and then the flag is looked at; all
 * four are seq_cst, so in their total order one of them sees the other. The
 * exchange lets one of several wakers make the call.
 */
bool zs_worker_wake(struct zs_worker *worker)
{
	struct zs_worker *self = zs_worker_self;

	if (!atomic_load_explicit(&worker->is_asleep, memory_order_seq_cst) ||
	    !atomic_exchange_explicit(&worker->is_asleep, false,
				      memory_order_seq_cst))
		return false;
	worker->engine->ops->wake(worker->engine);
	if (self)
		ZS_COUNT(self->counters.wakeups, 1);
	return true;
}

/* On its own worker it runs after the caller, on another one the message is
 * handled between two tasks: in both cases it has parked by then. */
void zs_task_wake_anywhere(struct zs_wake *wake)
{
	struct zs_worker *worker = wake->task->worker;

	if (worker == zs_worker_self)
		zs_task_wake(wake->task);
	else
		zs_worker_post(worker, &wake->message, ZS_MESSAGE_WAKE);
}

void zs_worker_call(struct zs_worker *worker, struct zs_call *call)
{
	zs_worker_post(worker, &call->message, ZS_MESSAGE_CALL);
}

static void handle(struct zs_worker *worker, struct zs_message *message)
{
	switch ((enum zs_message_kind)message->kind) {
	case ZS_MESSAGE_TASK:
		/* Of a pinned nursery: nobody else may have it. */
		zs_worker_keep(worker, zs_container_of(message, struct zs_task,
						       message));
		return;
	case ZS_MESSAGE_TASK_CANCEL:
		zs_scope_handle_task_cancel(
			zs_container_of(message, struct zs_task, message));
		return;
	case ZS_MESSAGE_SCOPE:
		zs_scope_handle(
			zs_container_of(message, struct zs_scope, message));
		return;
	case ZS_MESSAGE_FD_CLOSE:
		zs_fds_handle_close(worker, zs_container_of(message,
							    struct zs_fd_waiter,
							    wake.message));
		return;
	case ZS_MESSAGE_WAKE:
		zs_task_wake(zs_container_of(message, struct zs_wake, message)
				     ->task);
		return;
	case ZS_MESSAGE_CALL: {
		struct zs_call *call =
			zs_container_of(message, struct zs_call, message);

		call->fn(call);
		return;
	}
	case ZS_MESSAGE_DEADLOCK:
		zs_deadlock_handle(worker->runtime);
		return;
	}
	ZS_ASSERT(!"a message of no kind");
}

static void handle_messages(struct zs_worker *worker)
{
	struct zs_message *message = zs_mailbox_take(&worker->mailbox);

	while (message) {
		/* It is not ours any more once it has been handled. */
		struct zs_message *next = message->next;

		ZS_COUNT(worker->counters.messages, 1);
		handle(worker, message);
		message = next;
	}
}

/* --- waiting --- */

static bool must_quit(struct zs_worker *worker)
{
	/* seq_cst: in the handshake it has the place of a post. */
	return atomic_load_explicit(&worker->must_quit, memory_order_seq_cst);
}

static bool has_mail(struct zs_worker *worker)
{
	return !zs_mailbox_empty(&worker->mailbox) ||
	       !zs_mailbox_empty(&worker->gifts) ||
	       !zs_mailbox_empty(&worker->runtime->injected);
}

static bool has_work(struct zs_worker *worker)
{
	return zs_worker_has_ready(worker) || worker->engine->has_more ||
	       must_quit(worker) || has_mail(worker) ||
	       (!worker->is_starved && (worker->arrivals.first ||
					zs_deque_size(&worker->unstarted) > 0));
}

static bool finds_work(struct zs_worker *worker)
{
	return worker->engine->ops->ready(worker->engine) || has_mail(worker) ||
	       must_quit(worker) || zs_worker_steal(worker, 2);
}

/* How long it pays to look: twice as long after each success, half as long
 * after each failure, and from time to time a try in any case. */
static int64_t spin_time(struct zs_worker *worker)
{
	int64_t most_ns = (int64_t)worker->runtime->config.idle_spin_us * 1000;

	if (worker->spin_limit_ns >= SPIN_LEAST_NS)
		return worker->spin_limit_ns < most_ns ? worker->spin_limit_ns :
							 most_ns;
	if (++worker->vain_spins % SPIN_RETRY != 0)
		return 0;
	return most_ns;
}

static bool spin(struct zs_worker *worker)
{
	int64_t most_ns = (int64_t)worker->runtime->config.idle_spin_us * 1000;
	int64_t spin_ns = most_ns > 0 ? spin_time(worker) : 0;
	int64_t end_ns, timer_ns;
	int i;

	if (spin_ns == 0)
		return false;
	ZS_COUNT(worker->counters.spins, 1);
	worker->engine->ops->flush(worker->engine);
	timer_ns = zs_wheel_next(&worker->wheel);
	end_ns = zs_clock_ns() + spin_ns;
	/* Looks first: much is done by the time that it has been flushed. */
	for (;;) {
		int64_t now_ns;

		now_ns = zs_clock_ns();
		if (finds_work(worker) || now_ns >= timer_ns) {
			worker->spin_limit_ns = spin_ns * 2;
			return true;
		}
		if (now_ns >= end_ns)
			break;
		for (i = 0; i < RELAXES_PER_LOOK; i++)
			zs_task_relax();
	}
	worker->spin_limit_ns = spin_ns / 2;
	return false;
}

static int64_t time_to_wait(struct zs_worker *worker)
{
	int64_t next_ns = zs_wheel_next(&worker->wheel);
	int64_t wait_ns = INT64_MAX;
	int64_t stacks_ns, gift_ns;

	if (next_ns != INT64_MAX) {
		int64_t now_ns = zs_clock_ns();

		/* A time long ago is further away than can be told. */
		wait_ns = next_ns > now_ns ? next_ns - now_ns : 0;
	}
	if (worker->is_starved && wait_ns > ZS_STARVED_NS)
		wait_ns = ZS_STARVED_NS;
	if (zs_unlikely(worker->sized.first) && wait_ns > ZS_STARVED_NS)
		wait_ns = ZS_STARVED_NS;
	stacks_ns = zs_stacks_idle(worker);
	if (wait_ns > stacks_ns)
		wait_ns = stacks_ns;
	gift_ns = zs_worker_gift_wait(worker);
	return wait_ns < gift_ns ? wait_ns : gift_ns;
}

/* How long reap() may wait. Announces the sleep first: see zs_worker_wake(). */
static int64_t fall_asleep(struct zs_worker *worker)
{
	atomic_store_explicit(&worker->is_asleep, true, memory_order_seq_cst);
	/* relaxed: see wake_an_idle_one(). Before the last look, lest a push
	 * between the two find nobody. */
	atomic_fetch_add_explicit(&worker->runtime->num_asleep, 1,
				  memory_order_relaxed);
	worker->is_counted_asleep = true;
	if (has_work(worker) || zs_worker_steal(worker, 1))
		return 0;
	ZS_COUNT(worker->counters.sleeps, 1);
	return zs_deadlock_look(worker, time_to_wait(worker));
}

static int64_t idle(struct zs_worker *worker)
{
	if (has_work(worker) || zs_worker_steal(worker, 2) || spin(worker))
		return 0;
	return fall_asleep(worker);
}

/* --- the loop --- */

/* Whose ops are done are ready by that. */
static void reap(struct zs_worker *worker, int64_t wait_ns)
{
	worker->engine->ops->reap(worker->engine, &worker->ready, wait_ns);
	/* relaxed: a waker that still sees it only makes a call too many. */
	if (atomic_load_explicit(&worker->is_asleep, memory_order_relaxed))
		atomic_store_explicit(&worker->is_asleep, false,
				      memory_order_relaxed);
	if (worker->is_counted_asleep) {
		atomic_fetch_sub_explicit(&worker->runtime->num_asleep, 1,
					  memory_order_relaxed);
		worker->is_counted_asleep = false;
		zs_deadlock_wake(worker);
	}
}

/* All of a turn but the engine's part. */
static void run_turn(struct zs_worker *worker)
{
	int64_t now_ns;

	ZS_COUNT(worker->counters.turns, 1);
	handle_messages(worker);
	zs_worker_take_in_all(worker);
	now_ns = zs_clock_ns();
	zs_worker_set_now(worker, now_ns);
	if (zs_unlikely(worker->sized.first))
		zs_stacks_retry(worker);
	if (!zs_wheel_is_empty(&worker->wheel))
		zs_wheel_expire(&worker->wheel, now_ns);
	if (zs_unlikely(worker->is_starved) &&
	    now_ns >= worker->starved_until_ns)
		worker->is_starved = false;
	zs_task_run_some(worker);
	/* Before it might sleep. */
	if (zs_unlikely(worker->closers))
		zs_fds_look_again(worker);
}

/* What is left once no task is: messages to some that ended may be. */
static void end_loop(struct zs_worker *worker)
{
	handle_messages(worker);
	ZS_ASSERT(!zs_worker_has_ready(worker));
	ZS_ASSERT(!worker->arrivals.first);
	ZS_ASSERT(!worker->sized.first);
	ZS_ASSERT(zs_deque_size(&worker->unstarted) == 0);
}

void zs_worker_loop(struct zs_worker *worker)
{
	while (!must_quit(worker)) {
		run_turn(worker);
		reap(worker, zs_worker_has_ready(worker) ? 0 : idle(worker));
	}
	end_loop(worker);
}

bool zs_worker_turn_once(struct zs_worker *worker, int64_t *wait_ns)
{
	struct zs_engine *engine = worker->engine;

	/* It has been asleep since the last time, perhaps. */
	reap(worker, 0);
	if (must_quit(worker))
		return true;
	run_turn(worker);
	if (!has_work(worker)) {
		*wait_ns = fall_asleep(worker);
		if (*wait_ns > 0)
			engine->ops->watch(engine, wait_ns);
		if (*wait_ns > 0 && !engine->ops->ready(engine))
			return false;
	}
	engine->ops->flush(engine);
	return true;
}

bool zs_worker_quits(struct zs_worker *worker)
{
	if (!must_quit(worker))
		return false;
	end_loop(worker);
	return true;
}

/* --- life --- */

int zs_worker_enter(struct zs_worker *worker)
{
	struct zs_runtime *runtime = worker->runtime;
	int ret = 0;

	if (runtime->config.flags & ZS_CONFIG_PIN_WORKERS)
		ret = zs_cpus_pin(&runtime->cpus, worker->index);
	if (ret < 0)
		return zs_explain_as(ret,
				     "worker %u cannot be pinned to its "
				     "CPU: unset ZS_CONFIG_PIN_WORKERS",
				     worker->index);
	/* A worker without any stack could not even say that it has none. */
	ret = zs_stacks_prepare(worker, 0);
	if (ret == 0 && worker->index == 0 && runtime->ends_when_idle)
		ret = zs_stacks_prepare(
			worker,
			zs_stacks_class(runtime->config.main_stack_size));
	if (ret == 0)
		ret = zs_signals_enter_thread(worker);
	if (ret < 0)
		goto unpin;
	ret = worker->engine->ops->start(worker->engine);
	if (ret < 0)
		goto leave_signals;
	worker->thread_id = (int)syscall(SYS_gettid);
	zs_worker_set_now(worker, zs_clock_ns());
	zs_wheel_init(&worker->wheel, zs_worker_now(worker));
	zs_task_prepare_loop(worker);
	worker->errno_place = &errno;
	worker->exceptions = zs_exceptions_of_thread();
	zs_worker_self = worker;
	zs_stall_enter(worker);
	return 0;
leave_signals:
	zs_signals_leave_thread(worker);
unpin:
	if (runtime->config.flags & ZS_CONFIG_PIN_WORKERS)
		zs_cpus_unpin(&runtime->cpus);
	return ret;
}

void zs_worker_leave(struct zs_worker *worker)
{
	zs_stall_leave(worker);
	worker->timers_left = zs_wheel_num_armed(&worker->wheel);
	zs_wheel_drop(&worker->wheel);
	zs_worker_self = NULL;
	worker->leaves_requests = !worker->engine->ops->finish(worker->engine);
	zs_signals_leave_thread(worker);
	if (worker->runtime->config.flags & ZS_CONFIG_PIN_WORKERS)
		zs_cpus_unpin(&worker->runtime->cpus);
}

int zs_worker_init(struct zs_worker *worker, struct zs_runtime *runtime,
		   uint32_t index)
{
	const struct zs_config *config = &runtime->config;
	int ret;

	memset(worker, 0, sizeof(*worker));
	worker->runtime = runtime;
	worker->index = index;
	worker->alone = runtime->num_workers == 1;
	worker->fd_users = runtime->fds.users[0];
	worker->num_fds = runtime->fds.size;
	worker->victim = index;
	worker->budget = ZS_WORKER_BUDGET;
	worker->quick_calls = ZS_WORKER_QUICK_CALLS;
	worker->task_id_step = runtime->num_workers + 1;
	worker->next_task_id = index + 1;
	/* Where the limit is low it keeps none. */
	worker->credits_most =
		runtime->credit_step > 1 ? runtime->credit_step * 2 : 1;
	worker->spin_limit_ns = (int64_t)config->idle_spin_us * 1000;
	zs_queue_init(&worker->ready);
	zs_queue_init(&worker->arrivals);
	zs_mailbox_init(&worker->mailbox);
	zs_mailbox_init(&worker->gifts);
	zs_slab_init(&worker->tasks, sizeof(struct zs_task));
	zs_slab_init(&worker->scopes, sizeof(struct zs_scope));
	zs_slab_init(&worker->requests, ZS_REQUEST_SIZE);
	zs_slab_init(&worker->outcomes, sizeof(struct zs_outcome));
	zs_stacks_init(worker);
	zs_forks_init(worker);
	pthread_mutex_init(&worker->children_lock, NULL);
	ret = zs_deque_init(&worker->unstarted, FIRST_DEQUE, worker->alone);
	if (ret < 0)
		return zs_explain_as(ret, "no memory for worker %u", index);
	ret = zs_engine_create(&worker->engine, runtime->model,
			       &runtime->kernel, runtime->offload,
			       config->queue_depth);
	if (ret < 0) {
		zs_deque_fini(&worker->unstarted);
		return ret;
	}
	worker->engine->closes = runtime->fds.closes;
	worker->engine->num_closes = runtime->fds.size;
	return 0;
}

void zs_worker_fini(struct zs_worker *worker)
{
	zs_stacks_fini(worker);
	zs_slab_fini(&worker->tasks);
	zs_slab_fini(&worker->scopes);
	zs_slab_fini(&worker->outcomes);
	zs_block_cache_fini(&worker->blocks);
	if (!worker->leaves_requests)
		zs_slab_fini(&worker->requests);
	zs_deque_fini(&worker->unstarted);
	worker->engine->ops->destroy(worker->engine);
	pthread_mutex_destroy(&worker->children_lock);
}
