/* SPDX-License-Identifier: MIT */
/*
 * The offload pool: see offload.h.
 *
 * One lock guards all of it but the copy that a thread works on. A job returns
 * under the lock, engine's wake included, so that an engine which has abandoned
 * its jobs, under the lock too, is not touched afterwards.
 */
#include "engine/offload.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/explain.h"
#include "base/probes.h"
#include "engine/engine.h"
#include "engine/interrupt.h"
#include "engine/job.h"

enum {
	IDLE_SECONDS = 10,
	/* How long an end waits for threads that the kernel holds. */
	END_SECONDS = 1,
	NAMES_MOST = 4,
	THREAD_STACK_SIZE = 256 << 10, /* the resolver wants most */
};

struct lane {
	struct zs_job_queue jobs;
	uint32_t num_threads;
	uint32_t num_idle; /* of these: have no job, or have yet to begin */
	uint32_t most;
	uint64_t num_done;
	pthread_cond_t has_job;
};

struct zs_job_thread {
	pthread_t handle;
	struct zs_job_thread
		*next; /* among those that live, or that have ended */
	struct zs_offload *offload;
	struct lane *lane;
	struct zs_job *job;
	bool is_parent; /* of a process, perhaps an ended one */
	struct zs_interrupt interrupt;
};

struct zs_offload {
	pthread_mutex_t lock;
	pthread_cond_t ended; /* a thread has, while is_ending */
	bool is_ending;
	struct lane lanes[ZS_NUM_LANES];
	struct zs_job_thread *threads;
	struct zs_job_thread *spent; /* to be joined */
	struct zs_job *free_jobs;
};

/* --- jobs, under the lock --- */

static struct zs_job *get_job(struct zs_offload *offload)
{
	struct zs_job *job = offload->free_jobs;

	if (job)
		offload->free_jobs = job->next;
	else
		job = malloc(sizeof(*job));
	if (job)
		memset(job, 0, sizeof(*job));
	return job;
}

static void put_job(struct zs_offload *offload, struct zs_job *job)
{
	zs_job_release(job);
	job->next = offload->free_jobs;
	offload->free_jobs = job;
}

static void return_job(struct zs_offload *offload, struct lane *lane,
		       struct zs_job *job)
{
	struct zs_returns *returns = job->returns;

	lane->num_done++;
	job->thread = NULL;
	if (!returns) {
		/* It comes too late for anybody. */
		if (job->copy.code == ZS_OP_OPENAT && job->copy.result >= 0)
			close(job->copy.result);
		put_job(offload, job);
		return;
	}
	job->is_returned = true;
	zs_mailbox_post(&returns->mailbox, &job->message);
	returns->engine->ops->wake(returns->engine);
}

/* --- threads --- */

/* False: it waits for somebody, on which this lane's threads are not to be
 * spent. */
static bool run_job(struct zs_job *job, bool may_wait)
{
	const struct zs_op_type *type = &zs_op_types[job->copy.code];
	int ret;

	if (!may_wait && type->way == ZS_WAY_OFFLOADED && type->attempt) {
		ret = type->attempt(&job->copy);
		if (ret == ZS_OP_NOT_YET)
			return false;
	} else {
		ret = zs_job_call(job);
	}
	job->copy.result = ret;
	return true;
}

static bool queue_job(struct zs_offload *offload, struct lane *lane,
		      struct zs_job *job);

/* Under the lock. False: it has a result instead. */
static bool move_to_waiting(struct zs_offload *offload, struct zs_job *job)
{
	struct lane *waiting = &offload->lanes[ZS_LANE_WAITING];

	if (atomic_load_explicit(&job->is_cancelled, memory_order_relaxed))
		job->copy.result = -ECANCELED;
	else if (queue_job(offload, waiting, job))
		return true;
	else
		job->copy.result = ZS_OP_NO_THREAD;
	return false;
}

/* Under the lock, which is let go of while the job runs. */
static void run_next(struct zs_job_thread *thread)
{
	struct zs_offload *offload = thread->offload;
	struct lane *waiting = &offload->lanes[ZS_LANE_WAITING];
	struct lane *lane = thread->lane;
	struct zs_job *job = zs_job_queue_pop(&lane->jobs);
	bool has_run;

	lane->num_idle--;
	job->thread = thread;
	thread->job = job;
	pthread_mutex_unlock(&offload->lock);
	has_run = run_job(job, lane == waiting);
	pthread_mutex_lock(&offload->lock);
	lane->num_idle++;
	thread->job = NULL;
	if (job->copy.code == ZS_OP_SPAWN && job->copy.result >= 0)
		thread->is_parent = true;
	if (lane == waiting &&
	    atomic_load_explicit(&job->is_cancelled, memory_order_relaxed))
		zs_interrupt_disarm(&thread->interrupt);
	if (!has_run && !move_to_waiting(offload, job))
		has_run = true;
	if (has_run)
		return_job(offload, lane, job);
}

/* Under the lock. False: the thread is to end. To the kernel a child's parent
 * is the thread that made it, at whose end it is sent its PR_SET_PDEATHSIG. */
static bool await_job(struct zs_job_thread *thread)
{
	struct zs_offload *offload = thread->offload;
	pthread_cond_t *has_job = &thread->lane->has_job;
	struct zs_job_queue *jobs = &thread->lane->jobs;
	struct timespec until;
	int ret = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += IDLE_SECONDS;
	while (!jobs->first && !offload->is_ending && ret != ETIMEDOUT)
		if (thread->is_parent)
			ret = pthread_cond_wait(has_job, &offload->lock);
		else
			ret = pthread_cond_timedwait(has_job, &offload->lock,
						     &until);
	return jobs->first != NULL;
}

/* Under the lock. It cannot be interrupted, so that it will not do for the job
 * that it was made for. */
static void refuse_job(struct zs_job_thread *thread)
{
	struct lane *lane = thread->lane;
	struct zs_job *job;

	if (lane->jobs.length < lane->num_idle)
		return;
	job = zs_job_queue_pop(&lane->jobs);
	job->copy.result = ZS_OP_NO_THREAD;
	return_job(thread->offload, lane, job);
}

/* Under the lock. */
static void end_thread(struct zs_job_thread *thread)
{
	struct zs_offload *offload = thread->offload;
	struct zs_job_thread **at = &offload->threads;

	while (*at != thread)
		at = &(*at)->next;
	*at = thread->next;
	thread->next = offload->spent;
	offload->spent = thread;
	thread->lane->num_threads--;
	thread->lane->num_idle--;
	pthread_cond_signal(&offload->ended);
}

static void *thread_main(void *arg)
{
	struct zs_job_thread *thread = arg;
	struct zs_offload *offload = thread->offload;
	int ret = 0;

	if (thread->lane == &offload->lanes[ZS_LANE_WAITING])
		ret = zs_interrupt_init(&thread->interrupt);
	pthread_mutex_lock(&offload->lock);
	if (ret < 0)
		refuse_job(thread);
	while (ret == 0 && await_job(thread))
		run_next(thread);
	zs_interrupt_fini(&thread->interrupt);
	end_thread(thread);
	pthread_mutex_unlock(&offload->lock);
	return NULL;
}

/* A thread inherits the mask of the one that makes it. */
static int start_thread(struct zs_job_thread *thread)
{
	pthread_attr_t attributes;
	sigset_t wanted, earlier;
	int ret;

	sigfillset(&wanted);
	if (thread->lane == &thread->offload->lanes[ZS_LANE_WAITING])
		sigdelset(&wanted, SIGSTKFLT);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, THREAD_STACK_SIZE);
	pthread_sigmask(SIG_SETMASK, &wanted, &earlier);
	ret = pthread_create(&thread->handle, &attributes, thread_main, thread);
	pthread_sigmask(SIG_SETMASK, &earlier, NULL);
	pthread_attr_destroy(&attributes);
	return ret;
}

/* Under the lock, which they let go of before they end: so not for long. */
static void join_spent(struct zs_offload *offload)
{
	struct zs_job_thread *thread = offload->spent;

	offload->spent = NULL;
	pthread_mutex_unlock(&offload->lock);
	while (thread) {
		struct zs_job_thread *next = thread->next;

		pthread_join(thread->handle, NULL);
		free(thread);
		thread = next;
	}
	pthread_mutex_lock(&offload->lock);
}

/* Under the lock. */
static void add_thread_if_wanted(struct zs_offload *offload, struct lane *lane)
{
	struct zs_job_thread *thread;

	if (lane->num_idle > 0)
		pthread_cond_signal(&lane->has_job);
	if (lane->jobs.length <= lane->num_idle ||
	    lane->num_threads >= lane->most)
		return;
	thread = calloc(1, sizeof(*thread));
	if (!thread)
		return;
	thread->offload = offload;
	thread->lane = lane;
	thread->interrupt.timer = -1;
	if (start_thread(thread) != 0) {
		free(thread);
		return;
	}
	lane->num_threads++;
	lane->num_idle++;
	thread->next = offload->threads;
	offload->threads = thread;
}

/* Under the lock. Will the last job of @lane begin? Behind others it will where
 * these end. */
static bool has_thread_for_last(const struct zs_offload *offload,
				const struct lane *lane)
{
	if (lane == &offload->lanes[ZS_LANE_WAITING])
		return lane->jobs.length <= lane->num_idle;
	return lane->num_threads > 0;
}

/* Under the lock. False: there is no thread for it. */
static bool queue_job(struct zs_offload *offload, struct lane *lane,
		      struct zs_job *job)
{
	zs_job_queue_append(&lane->jobs, job);
	add_thread_if_wanted(offload, lane);
	if (has_thread_for_last(offload, lane))
		return true;
	zs_job_queue_remove(&lane->jobs, job);
	return false;
}

/* --- an engine's side --- */

void zs_returns_init(struct zs_returns *returns, struct zs_offload *offload,
		     struct zs_engine *engine)
{
	memset(returns, 0, sizeof(*returns));
	returns->offload = offload;
	returns->engine = engine;
	zs_mailbox_init(&returns->mailbox);
}

static struct zs_job *job_of(const struct zs_op *op)
{
	ZS_ASSERT(op->state == ZS_OP_OFFLOADED);
	return (struct zs_job *)(uintptr_t)op->user_data;
}

/* Under the lock. */
static struct zs_job *make_job(struct zs_returns *returns, struct zs_op *op)
{
	struct zs_offload *offload = returns->offload;
	struct zs_job *job = get_job(offload);

	if (!job)
		return NULL;
	if (!zs_job_copy(job, op)) {
		put_job(offload, job);
		return NULL;
	}
	job->op = op;
	job->returns = returns;
	return job;
}

bool zs_offload_submit(struct zs_returns *returns, struct zs_op *op,
		       enum zs_lane lane)
{
	struct zs_offload *offload = returns->offload;
	int saved_errno = errno;
	bool is_taken = false;
	struct zs_job *job;

	pthread_mutex_lock(&offload->lock);
	if (offload->spent)
		join_spent(offload);
	job = make_job(returns, op);
	if (job)
		is_taken = queue_job(offload, &offload->lanes[lane], job);
	if (job && !is_taken)
		put_job(offload, job);
	if (is_taken) {
		op->user_data = (uint64_t)(uintptr_t)job;
		op->state = ZS_OP_OFFLOADED;
	}
	pthread_mutex_unlock(&offload->lock);
	errno = saved_errno;
	return is_taken;
}

/* Under the lock. */
static bool unqueue_anywhere(struct zs_offload *offload, struct zs_job *job)
{
	int i;

	for (i = 0; i < ZS_NUM_LANES; i++)
		if (zs_job_queue_remove(&offload->lanes[i].jobs, job))
			return true;
	return false;
}

bool zs_offload_cancel(struct zs_returns *returns, struct zs_op *op)
{
	struct zs_offload *offload = returns->offload;
	struct zs_job *job = job_of(op);
	bool is_back = false;

	pthread_mutex_lock(&offload->lock);
	if (!job->is_returned && !job->thread)
		is_back = unqueue_anywhere(offload, job);
	/* A job that is about to go to the lane for waiting looks there. */
	atomic_store_explicit(&job->is_cancelled, true, memory_order_relaxed);
	if (is_back)
		put_job(offload, job);
	else if (job->thread &&
		 job->thread->lane == &offload->lanes[ZS_LANE_WAITING])
		zs_interrupt_arm(&job->thread->interrupt, 0);
	pthread_mutex_unlock(&offload->lock);
	return is_back;
}

void zs_offload_detach(struct zs_returns *returns, struct zs_op *op,
		       struct zs_detached *detached)
{
	struct zs_job *job = job_of(op);

	job->op = NULL;
	job->detached = detached;
	returns->num_detached++;
}

static void release_detached(struct zs_returns *returns, struct zs_job *job)
{
	returns->num_detached--;
	job->detached->release(job->detached, job->copy.result);
}

static void finish_op(struct zs_job *job, struct zs_queue *done)
{
	struct zs_op *op = job->op;

	op->result = job->copy.result;
	if (op->result == -EINTR && op->cancel_asked)
		op->result = -ECANCELED;
	op->state = ZS_OP_DONE;
	ZS_PROBE_COMPLETE(op);
	zs_queue_append(done, &op->link);
}

uint32_t zs_returns_collect(struct zs_returns *returns, struct zs_queue *done)
{
	struct zs_message *message = zs_mailbox_take(&returns->mailbox);
	uint32_t num_done = 0;

	while (message) {
		struct zs_job *job =
			zs_container_of(message, struct zs_job, message);

		message = message->next;
		if (job->op)
			finish_op(job, done);
		else
			release_detached(returns, job);
		num_done++;
		pthread_mutex_lock(&returns->offload->lock);
		put_job(returns->offload, job);
		pthread_mutex_unlock(&returns->offload->lock);
	}
	return num_done;
}

void zs_returns_abandon(struct zs_returns *returns)
{
	struct zs_offload *offload = returns->offload;
	struct zs_job_thread *thread;

	pthread_mutex_lock(&offload->lock);
	for (thread = offload->threads; thread; thread = thread->next)
		if (thread->job && thread->job->returns == returns)
			thread->job->returns = NULL;
	pthread_mutex_unlock(&offload->lock);
}

/* --- life --- */

static void init_lanes(struct zs_offload *offload, uint32_t num_threads)
{
	const uint32_t most[ZS_NUM_LANES] = {
		[ZS_LANE_FILES] = num_threads,
		[ZS_LANE_NAMES] = NAMES_MOST,
		[ZS_LANE_WAITING] = ZS_LANE_WAITING_MOST,
		[ZS_LANE_JOBS] = num_threads,
	};
	pthread_condattr_t attributes;
	int i;

	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&offload->ended, &attributes);
	for (i = 0; i < ZS_NUM_LANES; i++) {
		struct lane *lane = &offload->lanes[i];

		zs_job_queue_init(&lane->jobs);
		lane->most = most[i];
		pthread_cond_init(&lane->has_job, &attributes);
	}
	pthread_condattr_destroy(&attributes);
}

int zs_offload_create(struct zs_offload **created, uint32_t num_threads)
{
	struct zs_offload *offload = calloc(1, sizeof(*offload));
	int ret;

	if (!offload)
		return zs_explain_as(-ENOMEM, "no memory for a thread pool");
	ret = zs_interrupt_take();
	if (ret < 0) {
		free(offload);
		return zs_explain_as(ret, "no handler for SIGSTKFLT");
	}
	pthread_mutex_init(&offload->lock, NULL);
	init_lanes(offload, num_threads);
	*created = offload;
	return 0;
}

/* Under the lock. False: some are held by the kernel. */
static bool end_threads(struct zs_offload *offload)
{
	struct timespec until;
	int i, ret = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += END_SECONDS;
	offload->is_ending = true;
	for (i = 0; i < ZS_NUM_LANES; i++)
		pthread_cond_broadcast(&offload->lanes[i].has_job);
	while (offload->threads && ret != ETIMEDOUT)
		ret = pthread_cond_timedwait(&offload->ended, &offload->lock,
					     &until);
	join_spent(offload);
	return !offload->threads;
}

static void free_all(struct zs_offload *offload)
{
	int i;

	while (offload->free_jobs) {
		struct zs_job *job = offload->free_jobs;

		offload->free_jobs = job->next;
		free(job);
	}
	for (i = 0; i < ZS_NUM_LANES; i++)
		pthread_cond_destroy(&offload->lanes[i].has_job);
	pthread_cond_destroy(&offload->ended);
	pthread_mutex_destroy(&offload->lock);
	free(offload);
}

void zs_offload_destroy(struct zs_offload *offload)
{
	bool has_ended;

	pthread_mutex_lock(&offload->lock);
	has_ended = end_threads(offload);
	pthread_mutex_unlock(&offload->lock);
	/* The handler, too, is left to threads that are left. */
	if (!has_ended)
		return;
	zs_interrupt_release();
	free_all(offload);
}

ZS_RACY void zs_offload_count(const struct zs_offload *offload,
			      struct zs_offload_counts counts[ZS_NUM_LANES])
{
	int i;

	for (i = 0; i < ZS_NUM_LANES; i++) {
		const struct lane *lane = &offload->lanes[i];

		counts[i].num_threads = lane->num_threads;
		counts[i].num_idle = lane->num_idle;
		counts[i].num_queued = lane->jobs.length;
		counts[i].num_done = lane->num_done;
	}
}
