/* SPDX-License-Identifier: MIT */
/*
 * A runtime inside somebody else's event loop: its only worker has that loop's
 * thread while zs_runtime_step() runs, and none in between, when the thread is
 * as foreign as any. What would end the worker's sleep makes one descriptor
 * readable: the engine's, which stands for operations and wakes, and a timerfd,
 * both behind an epoll.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/explain.h"
#include "sched/runtime.h"
#include "sched/worker.h"

/* What is as good as the same point in time: not worth a system call. */
#define SAME_TIME_NS 1000

static int watch(struct zs_runtime *runtime, int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data = { .fd = fd } };

	return epoll_ctl(runtime->watch_fd, EPOLL_CTL_ADD, fd, &event) < 0 ?
		       -errno :
		       0;
}

static int make_descriptors(struct zs_runtime *runtime)
{
	int ret;

	runtime->watch_fd = epoll_create1(EPOLL_CLOEXEC);
	if (runtime->watch_fd < 0)
		return -errno;
	runtime->timer_fd =
		timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (runtime->timer_fd < 0) {
		ret = -errno;
		goto close_watch;
	}
	ret = watch(runtime, runtime->timer_fd);
	if (ret == 0)
		return 0;
	close(runtime->timer_fd);
close_watch:
	close(runtime->watch_fd);
	return ret;
}

static int enter(struct zs_runtime *runtime)
{
	struct zs_worker *worker = &runtime->workers[0];
	int64_t wait_ns = INT64_MAX;
	int fd, ret = zs_worker_enter(worker);

	if (ret < 0)
		return ret;
	fd = worker->engine->ops->watch(worker->engine, &wait_ns);
	ret = fd < 0 ? fd : watch(runtime, fd);
	if (ret < 0) {
		zs_worker_leave(worker);
		return zs_explain_as(ret, "the engine's descriptor cannot be "
					  "watched");
	}
	/* It has yet to say that it sleeps: so the first step is asked for. */
	worker->engine->ops->wake(worker->engine);
	/* In between it is everybody's thread. */
	zs_worker_self = NULL;
	return 0;
}

int zs_embed_enter(struct zs_runtime *runtime)
{
	int ret = make_descriptors(runtime);

	if (ret < 0)
		return zs_explain_as(ret, "no descriptors for an embedded "
					  "runtime: raise RLIMIT_NOFILE");
	runtime->timer_ns = INT64_MAX;
	runtime->workers[0].thread = pthread_self();
	ret = enter(runtime);
	if (ret < 0) {
		zs_embed_fini(runtime);
		return ret;
	}
	runtime->is_embedded = true;
	pthread_mutex_lock(&runtime->lock);
	runtime->workers_left = 1;
	pthread_mutex_unlock(&runtime->lock);
	return 0;
}

void zs_embed_fini(struct zs_runtime *runtime)
{
	close(runtime->timer_fd);
	close(runtime->watch_fd);
}

/* It has been started, and nobody changes what says so any more. */
static bool is_embedded(struct zs_runtime *runtime)
{
	return zs_runtime_phase(runtime) != ZS_RUNTIME_CREATED &&
	       runtime->is_embedded;
}

bool zs_embed_is_ours(struct zs_runtime *runtime)
{
	return is_embedded(runtime) &&
	       pthread_equal(runtime->workers[0].thread, pthread_self());
}

/* Also what is past has to be set, to be readable no more. */
static void set_timer(struct zs_runtime *runtime, int64_t wait_ns)
{
	int64_t now_ns = zs_clock_ns();
	int64_t end_ns = wait_ns < INT64_MAX - now_ns ? now_ns + wait_ns :
							INT64_MAX;
	struct itimerspec timer = { .it_value = { 0 } };

	if (runtime->timer_ns > now_ns &&
	    runtime->timer_ns >= end_ns - SAME_TIME_NS &&
	    runtime->timer_ns - SAME_TIME_NS <= end_ns)
		return;
	runtime->timer_ns = end_ns;
	if (end_ns < INT64_MAX) {
		timer.it_value.tv_sec = end_ns / ZS_SECOND;
		timer.it_value.tv_nsec = end_ns % ZS_SECOND;
	}
	timerfd_settime(runtime->timer_fd, TFD_TIMER_ABSTIME, &timer, NULL);
}

static void leave(struct zs_runtime *runtime)
{
	zs_worker_leave(&runtime->workers[0]);
	pthread_mutex_lock(&runtime->lock);
	runtime->workers_left = 0;
	zs_runtime_finish(runtime);
	pthread_mutex_unlock(&runtime->lock);
}

static int step(struct zs_runtime *runtime)
{
	struct zs_worker *worker = &runtime->workers[0];
	int64_t wait_ns = 0;
	bool has_more;

	zs_worker_self = worker;
	has_more = zs_worker_turn_once(worker, &wait_ns);
	if (zs_worker_quits(worker)) {
		leave(runtime);
		return ZS_STEP_ENDED;
	}
	if (!has_more)
		set_timer(runtime, wait_ns);
	zs_worker_self = NULL;
	return has_more ? ZS_STEP_READY : ZS_STEP_IDLE;
}

void zs_embed_drive(struct zs_runtime *runtime, int64_t deadline_ns)
{
	struct pollfd waits = { .fd = runtime->watch_fd, .events = POLLIN };
	int64_t left_ns = deadline_ns - zs_clock_ns();
	int ret = ZS_STEP_READY;

	while (left_ns > 0 && ret != ZS_STEP_ENDED) {
		struct timespec most = {
			.tv_sec = left_ns / ZS_SECOND,
			.tv_nsec = left_ns % ZS_SECOND,
		};

		if (ret == ZS_STEP_IDLE)
			ppoll(&waits, 1, &most, NULL);
		ret = zs_runtime_step(runtime);
		left_ns = deadline_ns - zs_clock_ns();
	}
}

ZS_PUBLIC int zs_runtime_start_embedded(struct zs_runtime *runtime)
{
	int ret;

	if (!runtime)
		return zs_explain_none(-EINVAL);
	ret = zs_runtime_check_process(runtime);
	if (ret < 0)
		return ret;
	if (zs_worker_self)
		return zs_explain_as(-EPERM, "zs_runtime_start_embedded() "
					     "inside a task: its worker waits "
					     "by itself");
	if (runtime->num_workers != 1)
		return zs_explain_as(-EINVAL,
				     "an embedded runtime has one worker, not "
				     "%u: set num_workers or ZSYNC_WORKERS "
				     "to 1",
				     runtime->num_workers);
	if (!runtime->workers[0].engine->ops->watch)
		return zs_explain_as(-EOPNOTSUPP,
				     "the model %s has no descriptor to wait "
				     "for: embed green_threads",
				     zs_execution_model_name(runtime->model));
	return zs_runtime_start_from(runtime, 1);
}

ZS_PUBLIC int zs_runtime_fd(struct zs_runtime *runtime)
{
	int ret;

	if (!runtime)
		return zs_explain_none(-EINVAL);
	ret = zs_runtime_check_process(runtime);
	if (ret < 0)
		return ret;
	if (!is_embedded(runtime))
		return zs_explain_as(-ESTALE, "zs_runtime_start_embedded() has "
					      "not started this runtime");
	return runtime->watch_fd;
}

ZS_PUBLIC int zs_runtime_step(struct zs_runtime *runtime)
{
	int ret = zs_runtime_fd(runtime);
	int saved_errno = errno;

	if (ret < 0)
		return ret;
	if (zs_worker_self)
		return zs_explain_as(-EPERM, "zs_runtime_step() inside a task "
					     "or a timer's function");
	if (!zs_embed_is_ours(runtime))
		return zs_explain_as(-EPERM, "only the thread that started an "
					     "embedded runtime may step it");
	if (zs_runtime_phase(runtime) == ZS_RUNTIME_STOPPED)
		return ZS_STEP_ENDED;
	ret = step(runtime);
	errno = saved_errno;
	return ret;
}
