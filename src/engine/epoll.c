/* SPDX-License-Identifier: MIT */
/*
 * The engine over epoll: one instance a worker, a timerfd for waits that end at
 * a time, an eventfd for wakes, and the runtime's pool for calls that wait.
 * Called through zs_engine_ops.
 *
 * Events that nobody waits for are put up with a few times, and then not
 * watched for any more. The eventfd and the timerfd are watched by edges, too,
 * so that they need not be read.
 */
#include "engine/epoll.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/explain.h"
#include "base/probes.h"
#include "engine/plain.h"

enum {
	/* In place of a descriptor, in an event. */
	EVENT_WAKE = -1,
	EVENT_TIMER = -2,
	NS_PER_SECOND = 1000000000,
	/* How long an engine that ends waits for detached ops. */
	DETACHED_WAIT_NS = 100000000,
	RETRY_NS = 1000000,
	VAIN_MOST = 4, /* events in a row */
	/* Then their tasks run, while what they need is in the caches. */
	EVENTS_AT_ONCE = 32,
	/* Data that comes with others is no sign that a receive has taken all
	 * there is. */
	PLAIN_EVENTS = EPOLLIN | EPOLLOUT,
};

static struct zs_epoll *epoll_of(struct zs_engine *engine)
{
	return zs_container_of(zs_plain_of(engine), struct zs_epoll, plain);
}

/* --- the model's part --- */

static bool epoll_call(struct zs_plain *plain, struct zs_op *op,
		       enum zs_lane lane)
{
	struct zs_epoll *epoll = zs_container_of(plain, struct zs_epoll, plain);

	if (zs_offload_submit(&epoll->returns, op, lane))
		return false;
	op->result = zs_op_call_plainly(op);
	/* Readiness is no help, or it would have been waited for. */
	if (op->result == ZS_OP_WOULD_WAIT)
		op->result = ZS_OP_NO_THREAD;
	op->state = ZS_OP_DONE;
	return true;
}

static bool epoll_cancel_call(struct zs_plain *plain, struct zs_op *op)
{
	struct zs_epoll *epoll = zs_container_of(plain, struct zs_epoll, plain);

	return zs_offload_cancel(&epoll->returns, op);
}

static const struct zs_plain_model model = {
	.pollable_files = ZS_LANE_WAITING,
	.arm = zs_epoll_arm,
	.forget = zs_epoll_forget,
	.call = epoll_call,
	.cancel_call = epoll_cancel_call,
};

/* --- the engine --- */

static int epoll_start(struct zs_engine *engine)
{
	zs_plain_start(zs_plain_of(engine));
	return 0;
}

static bool epoll_detach(struct zs_engine *engine, struct zs_op *op,
			 struct zs_detached *detached)
{
	struct zs_epoll *epoll = epoll_of(engine);

	if (op->state != ZS_OP_OFFLOADED)
		return false;
	zs_plain_cancel(engine, op);
	if (op->state == ZS_OP_DONE)
		return false;
	ZS_COUNT(engine->counters.detached, 1);
	zs_offload_detach(&epoll->returns, op, detached);
	return true;
}

/* A timer that is early costs a turn, one that is set anew each time a call. */
static void set_timer(struct zs_epoll *epoll, int64_t wait_ns)
{
	int64_t now_ns, end_ns;
	struct itimerspec time = { 0 };

	if (wait_ns == INT64_MAX)
		return;
	now_ns = zs_clock_ns();
	end_ns = wait_ns < INT64_MAX - now_ns ? now_ns + wait_ns : INT64_MAX;
	if (epoll->timer_ns <= end_ns && epoll->timer_ns > now_ns)
		return;
	time.it_value.tv_sec = end_ns / NS_PER_SECOND;
	time.it_value.tv_nsec = end_ns % NS_PER_SECOND;
	epoll->timer_ns = end_ns;
	if (timerfd_settime(epoll->timer_fd, TFD_TIMER_ABSTIME, &time, NULL) <
	    0)
		zs_panic(__FILE__, __LINE__,
			 "a worker's timerfd is gone: was it closed by its "
			 "number?");
}

static void wait_for_events(struct zs_epoll *epoll, int64_t wait_ns)
{
	int ret, wait_ms = 0;

	if (wait_ns > 0) {
		set_timer(epoll, wait_ns);
		wait_ms = epoll->plain.has_unchecked ? ZS_EPOLL_CHECK_MS : -1;
	}
	ZS_COUNT(epoll->plain.engine.counters.enters, 1);
	ret = epoll_wait(epoll->epoll_fd, epoll->events,
			 (int)epoll->most_events, wait_ms);
	if (ret < 0 && errno != EINTR)
		zs_panic(__FILE__, __LINE__,
			 "a worker's epoll instance is gone: was it closed by "
			 "its number?");
	epoll->num_events = ret > 0 ? (uint32_t)ret : 0;
	epoll->next_event = 0;
}

/* Whoever that is goes on when the others of this reap have been fired: into
 * the caches with the first lines of what it is. */
static ZS_ALWAYS_INLINE void fetch_owner(const struct zs_op *op)
{
	const char *owner = op->link.item;

	__builtin_prefetch(owner);
	__builtin_prefetch(owner + 64);
	__builtin_prefetch(owner + 128);
}

/* The usual one: @op, alone, whose task will receive. What the kernel touches
 * for that is then still in the caches when the task answers. */
static ZS_ALWAYS_INLINE void fire_waiter(struct zs_plain *plain,
					 struct zs_watch *watch,
					 struct zs_op *op,
					 struct zs_queue *done)
{
	fetch_owner(op);
	watch->first = NULL;
	watch->is_drained = false;
	watch->vain = 0;
	plain->num_parked--;
	op->state = ZS_OP_DONE;
	ZS_PROBE_COMPLETE(op);
	ZS_COUNT(plain->engine.counters.completed, 1);
	zs_queue_append(done, &op->link);
}

static ZS_ALWAYS_INLINE void fire(struct zs_epoll *epoll,
				  struct zs_watch *watch, int fd,
				  uint32_t events, struct zs_queue *done)
{
	struct zs_plain *plain = &epoll->plain;
	struct zs_op *op = watch->first;

	if (zs_unlikely(events & ~(uint32_t)PLAIN_EVENTS))
		watch->trust = 0;
	if (zs_likely(op && op->result == ZS_OP_IS_READY && !op->link.next &&
		      (events & POLLIN)))
		fire_waiter(plain, watch, op, done);
	else if (zs_plain_fire(plain, watch, (uint16_t)events, done))
		watch->vain = 0;
	else if (++watch->vain >= VAIN_MOST)
		zs_epoll_calm(epoll, watch, fd);
}

/* What fire() will look at: into the caches, while a call is made for the one
 * before it. */
static ZS_ALWAYS_INLINE void fetch(struct zs_epoll *epoll,
				   const struct epoll_event *event)
{
	const struct zs_op *op;

	if (event->data.fd < 0)
		return;
	op = zs_plain_known_watch(&epoll->plain, event->data.fd)->first;
	if (!op)
		return;
	__builtin_prefetch(op);
	__builtin_prefetch(&op->fd);
}

static void take_events(struct zs_epoll *epoll, struct zs_queue *done)
{
	const struct epoll_event *event = &epoll->events[epoll->next_event];
	const struct epoll_event *end;
	uint32_t count = epoll->num_events;

	if (count > EVENTS_AT_ONCE)
		count = EVENTS_AT_ONCE;
	epoll->next_event += count;
	epoll->num_events -= count;
	epoll->plain.engine.has_more = epoll->num_events > 0;
	for (end = event + count; event < end; event++) {
		int fd = event->data.fd;

		if (event + 1 < end)
			fetch(epoll, &event[1]);
		if (zs_likely(fd >= 0))
			fire(epoll, zs_plain_known_watch(&epoll->plain, fd), fd,
			     event->events, done);
		else if (fd == EVENT_TIMER)
			epoll->timer_ns = INT64_MAX;
	}
}

static void epoll_reap(struct zs_engine *engine, struct zs_queue *done,
		       int64_t wait_ns)
{
	struct zs_epoll *epoll = epoll_of(engine);
	uint32_t count;

	if (epoll->plain.done.first || epoll->num_events > 0 ||
	    !zs_returns_is_empty(&epoll->returns))
		wait_ns = 0;
	zs_plain_take_done(&epoll->plain, done);
	if (epoll->num_events == 0 &&
	    (wait_ns > 0 || epoll->plain.num_parked > 0 || epoll->is_embedded))
		wait_for_events(epoll, wait_ns);
	take_events(epoll, done);
	if (epoll->plain.has_unchecked)
		zs_epoll_check_sometimes(epoll);
	zs_plain_take_done(&epoll->plain, done);
	if (zs_returns_is_empty(&epoll->returns))
		return;
	count = zs_returns_collect(&epoll->returns, done);
	ZS_COUNT(engine->counters.completed, count);
}

static bool epoll_ready(struct zs_engine *engine)
{
	struct zs_epoll *epoll = epoll_of(engine);

	if (epoll->plain.done.first || epoll->num_events > 0 ||
	    !zs_returns_is_empty(&epoll->returns))
		return true;
	if (epoll->plain.num_parked > 0)
		wait_for_events(epoll, 0);
	return epoll->num_events > 0;
}

/* The caller has a timer of its own. */
static int epoll_watch(struct zs_engine *engine, int64_t *wait_ns)
{
	struct zs_epoll *epoll = epoll_of(engine);

	epoll->is_embedded = true;
	if (epoll->plain.has_unchecked && *wait_ns > ZS_EPOLL_CHECK_NS)
		*wait_ns = ZS_EPOLL_CHECK_NS;
	return epoll->epoll_fd;
}

/* Any thread. An eventfd cannot be full: its counter has 64 bits. */
static void epoll_wake(struct zs_engine *engine)
{
	struct zs_epoll *epoll = epoll_of(engine);
	uint64_t one = 1;
	int saved_errno = errno;
	ssize_t ret;

	do {
		ret = write(epoll->wake_fd, &one, sizeof(one));
	} while (ret < 0 && errno == EINTR);
	ZS_ASSERT(ret == sizeof(one));
	errno = saved_errno;
}

static bool epoll_finish(struct zs_engine *engine)
{
	struct zs_epoll *epoll = epoll_of(engine);
	int64_t end_ns = zs_clock_ns() + DETACHED_WAIT_NS;
	struct zs_queue done;

	zs_queue_init(&done);
	while (epoll->returns.num_detached > 0 && zs_clock_ns() < end_ns)
		epoll_reap(engine, &done, RETRY_NS);
	zs_returns_abandon(&epoll->returns);
	zs_returns_collect(&epoll->returns, &done);
	ZS_ASSERT(!done.first);
	return epoll->returns.num_detached == 0;
}

static void close_fds(struct zs_epoll *epoll)
{
	const int fds[] = { epoll->timer_fd, epoll->wake_fd, epoll->epoll_fd };
	size_t i;

	for (i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

static void epoll_destroy(struct zs_engine *engine)
{
	struct zs_epoll *epoll = epoll_of(engine);

	zs_plain_fini(&epoll->plain);
	close_fds(epoll);
	free(epoll);
}

static const struct zs_engine_ops epoll_ops = {
	.start = epoll_start,
	.submit = zs_plain_submit,
	.cancel = zs_plain_cancel,
	.detach = epoll_detach,
	.flush = zs_plain_flush,
	.renew = zs_plain_renew,
	.forget = zs_plain_forget,
	.reap = epoll_reap,
	.ready = epoll_ready,
	.has_ops = zs_plain_has_ops,
	.watch = epoll_watch,
	.wake = epoll_wake,
	.finish = epoll_finish,
	.destroy = epoll_destroy,
};

/* --- making one --- */

static int open_fds(struct zs_epoll *epoll)
{
	int ret;

	epoll->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	epoll->wake_fd = eventfd(0, EFD_CLOEXEC);
	epoll->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	ret = epoll->epoll_fd < 0 || epoll->wake_fd < 0 || epoll->timer_fd < 0 ?
		      -errno :
		      0;
	if (ret == 0)
		ret = zs_epoll_control(epoll, EPOLL_CTL_ADD, epoll->wake_fd,
				       EPOLLIN | (uint32_t)EPOLLET, EVENT_WAKE);
	if (ret == 0)
		ret = zs_epoll_control(epoll, EPOLL_CTL_ADD, epoll->timer_fd,
				       EPOLLIN | (uint32_t)EPOLLET,
				       EVENT_TIMER);
	if (ret < 0)
		close_fds(epoll);
	return ret;
}

int zs_epoll_create(struct zs_engine **engine, struct zs_offload *offload,
		    uint32_t queue_depth)
{
	struct zs_epoll *epoll;
	int ret;

	epoll = malloc(sizeof(*epoll) + queue_depth * sizeof(epoll->events[0]));
	if (!epoll)
		return zs_explain_as(-ENOMEM, "no memory for an engine");
	zs_plain_init(&epoll->plain, &epoll_ops, &model);
	epoll->plain.engine.queue_depth = queue_depth;
	zs_returns_init(&epoll->returns, offload, &epoll->plain.engine);
	epoll->is_embedded = false;
	epoll->is_wary = false;
	epoll->checked_ns = 0;
	epoll->num_events = 0;
	epoll->most_events = queue_depth;
	epoll->timer_ns = INT64_MAX;
	ret = open_fds(epoll);
	if (ret < 0) {
		free(epoll);
		return zs_explain_as(ret, "no descriptors for a worker's epoll "
					  "instance, eventfd and timerfd: "
					  "raise RLIMIT_NOFILE");
	}
	*engine = &epoll->plain.engine;
	return 0;
}
