/* SPDX-License-Identifier: MIT */
/*
 * The engine over epoll: one instance a worker, a timerfd for waits that end at
 * a time, an eventfd for wakes, and the runtime's pool for calls that wait.
 * Called through zs_engine_ops.
 *
 * A descriptor is added once and watched by edges. Arming it anew makes the
 * kernel look whether it is ready by now, which costs a call. An operation that
 * has just been attempted in vain can do without: whatever comes later is an
 * edge, if only the number is still the same file's. Whoever closes and opens
 * descriptors by other ways than ours leaves us with watches of files that are
 * gone, so this is
 * - relied on only where it has been right a few times (trust),
 * - checked all the same, by arming, where an operation waits for long,
 * - never relied on again once it has been wrong.
 *
 * Events that nobody waits for are put up with a few times, and then not
 * watched for any more. The eventfd and the timerfd are watched by edges, too,
 * so that they need not be read.
 */
#include "engine/epoll.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/explain.h"
#include "engine/bare.h"
#include "engine/plain.h"

enum {
	/* In place of a descriptor, in an event. */
	EVENT_WAKE = -1,
	EVENT_TIMER = -2,
	NS_PER_SECOND = 1000000000,
	/* How long an engine that ends waits for detached ops. */
	DETACHED_WAIT_NS = 100000000,
	RETRY_NS = 1000000,
	/* An op that waits on trust is checked after one to two of these. */
	CHECK_MS = 50,
	CHECK_NS = CHECK_MS * 1000000,
	VAIN_MOST = 4, /* events in a row */
	/* Then their tasks run, while what they need is in the caches. */
	EVENTS_AT_ONCE = 32,
	/* What is watched for beside what is wanted. Of these, data that comes
	 * with them is no sign that a receive has taken all there is. */
	ODD_EVENTS = EPOLLRDHUP | EPOLLPRI,
	PLAIN_EVENTS = EPOLLIN | EPOLLOUT,
};

struct zs_epoll {
	struct zs_plain plain;
	struct zs_returns returns;
	int epoll_fd;
	int wake_fd; /* anyone writes */
	int timer_fd;
	int64_t timer_ns; /* what it is set to; INT64_MAX: it is not */
	/* Somebody else waits for epoll_fd, which is readable until all that it
	 * has to tell has been fetched. */
	bool is_embedded;
	/* A descriptor was another file behind our back: nothing is relied on.
	 */
	bool is_wary;
	int64_t checked_ns; /* when waits on trust were checked last */
	/* Had from the kernel, and not yet dealt with: from next_event on. */
	uint32_t num_events;
	uint32_t next_event;
	uint32_t most_events;
	struct epoll_event events[];
};

static struct zs_epoll *epoll_of(struct zs_engine *engine)
{
	return zs_container_of(zs_plain_of(engine), struct zs_epoll, plain);
}

/* --- the model's part --- */

static int control(struct zs_epoll *epoll, int operation, int fd,
		   uint32_t events, int data)
{
	struct epoll_event event = { .events = events, .data.fd = data };

	return epoll_ctl(epoll->epoll_fd, operation, fd, &event) < 0 ? -errno :
								       0;
}

/* Of others a short receive may leave something: the next message, or what came
 * with another descriptor. */
static bool is_tcp(int fd)
{
	char protocol[16];
	socklen_t size = sizeof(protocol);

	/* None on top of it: TLS has records. */
	return getsockopt(fd, IPPROTO_TCP, TCP_ULP, protocol, &size) == 0 &&
	       size == 0;
}

/* What was armed is armed still. */
static void gain_trust(struct zs_epoll *epoll, struct zs_watch *watch, int fd)
{
	if (epoll->is_wary || watch->trust >= ZS_WATCH_TRUSTED ||
	    ++watch->trust < ZS_WATCH_TRUSTED)
		return;
	watch->is_drained = false;
	if (is_tcp(fd))
		watch->trust = ZS_WATCH_TRUSTED_STREAM;
}

static void check_waits(struct zs_epoll *epoll);

/* What was known to be armed was not. */
static ZS_COLD void be_wary(struct zs_epoll *epoll, struct zs_watch *watch)
{
	watch->trust = 0;
	if (epoll->is_wary)
		return;
	epoll->is_wary = true;
	check_waits(epoll);
}

/* Whether it has been added is only known for sure by trying. */
static int epoll_arm(struct zs_plain *plain, struct zs_watch *watch, int fd,
		     uint16_t wanted)
{
	struct zs_epoll *epoll = zs_container_of(plain, struct zs_epoll, plain);
	uint32_t events = wanted | ODD_EVENTS | (uint32_t)EPOLLET;
	int ret = -ENOENT;

	/* One event too many costs less than to prevent it. */
	if (wanted == 0)
		return 0;
	if (watch->is_known) {
		ret = control(epoll, EPOLL_CTL_MOD, fd, events, fd);
		if (zs_likely(ret == 0))
			gain_trust(epoll, watch, fd);
		else if (ret == -ENOENT || ret == -EBADF)
			be_wary(epoll, watch);
	}
	if (ret == -ENOENT)
		ret = control(epoll, EPOLL_CTL_ADD, fd, events, fd);
	if (ret == -EEXIST)
		ret = control(epoll, EPOLL_CTL_MOD, fd, events, fd);
	watch->is_known = ret == 0;
	watch->armed = ret == 0 ? wanted : 0;
	watch->unchecked = ZS_WATCH_CHECKED;
	return ret;
}

/* A duplicate, in another process perhaps, would keep us informed. */
static void epoll_forget(struct zs_plain *plain, struct zs_watch *watch, int fd)
{
	struct zs_epoll *epoll = zs_container_of(plain, struct zs_epoll, plain);

	if (watch->is_known && watch->armed)
		control(epoll, EPOLL_CTL_DEL, fd, 0, fd);
	watch->armed = 0;
}

static bool epoll_call(struct zs_plain *plain, struct zs_op *op,
		       enum zs_lane lane)
{
	struct zs_epoll *epoll = zs_container_of(plain, struct zs_epoll, plain);

	if (zs_offload_submit(&epoll->returns, op, lane))
		return false;
	op->result = zs_op_call_plainly(op);
	op->state = ZS_OP_DONE;
	return true;
}

static bool epoll_cancel_call(struct zs_plain *plain, struct zs_op *op)
{
	struct zs_epoll *epoll = zs_container_of(plain, struct zs_epoll, plain);

	return zs_offload_cancel(&epoll->returns, op);
}

static const struct zs_plain_model model = {
	.arm = epoll_arm,
	.forget = epoll_forget,
	.call = epoll_call,
	.cancel_call = epoll_cancel_call,
};

/* --- waits on trust --- */

static void check_wait(struct zs_epoll *epoll, struct zs_watch *watch, int fd)
{
	struct zs_plain *plain = &epoll->plain;
	int ret;

	if (!watch->first) {
		watch->unchecked = ZS_WATCH_CHECKED;
		return;
	}
	if (watch->unchecked == ZS_WATCH_SINCE_LATELY && !epoll->is_wary) {
		watch->unchecked = ZS_WATCH_SINCE_LONG;
		plain->has_unchecked = true;
		return;
	}
	ret = epoll_arm(plain, watch, fd, zs_plain_wanted(watch));
	if (ret < 0)
		zs_plain_fail_all(plain, watch, ret);
}

static void check_chunk(struct zs_epoll *epoll, int chunk)
{
	struct zs_watch *watches = epoll->plain.chunks[chunk];
	int i;

	for (i = 0; i < ZS_WATCH_CHUNK; i++)
		if (watches[i].unchecked != ZS_WATCH_CHECKED)
			check_wait(epoll, &watches[i],
				   chunk * ZS_WATCH_CHUNK + i);
}

static void check_waits(struct zs_epoll *epoll)
{
	int chunk;

	epoll->plain.has_unchecked = false;
	for (chunk = 0; chunk < ZS_WATCH_CHUNKS; chunk++)
		if (epoll->plain.chunks[chunk])
			check_chunk(epoll, chunk);
}

/* It may be late by a tick, which is cheaper to have. */
static int64_t coarse_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (int64_t)now.tv_sec * NS_PER_SECOND + now.tv_nsec;
}

static void check_sometimes(struct zs_epoll *epoll)
{
	int64_t now_ns = coarse_ns();

	if (now_ns - epoll->checked_ns < CHECK_NS)
		return;
	epoll->checked_ns = now_ns;
	check_waits(epoll);
}

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
		wait_ms = epoll->plain.has_unchecked ? CHECK_MS : -1;
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

/* Events that nobody waits for: no more of these. Of a file that has not this
 * number any more they cannot be had off. */
static ZS_COLD void calm(struct zs_epoll *epoll, struct zs_watch *watch, int fd)
{
	uint16_t wanted = zs_plain_wanted(watch);
	uint32_t events = wanted ? wanted | ODD_EVENTS | (uint32_t)EPOLLET :
				   (uint32_t)EPOLLONESHOT;

	watch->vain = 0;
	if (!watch->is_known)
		return;
	watch->is_known = control(epoll, EPOLL_CTL_MOD, fd, events, fd) == 0;
	watch->armed = watch->is_known ? wanted : 0;
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

/* The usual one: a receive, alone. */
static ZS_ALWAYS_INLINE bool fire_recv(struct zs_plain *plain,
				       struct zs_watch *watch, struct zs_op *op,
				       struct zs_queue *done)
{
	int ret = zs_recv_now(op->fd, (void *)(uintptr_t)op->address,
			      op->length, 0);

	if (zs_unlikely(ret == -EAGAIN)) {
		watch->is_drained = false;
		return false;
	}
	fetch_owner(op);
	watch->first = NULL;
	plain->num_parked--;
	watch->is_drained = false;
	zs_plain_note_received(watch, ret, op->length);
	op->result = ret;
	op->state = ZS_OP_DONE;
	ZS_COUNT(plain->engine.counters.completed, 1);
	zs_queue_append(done, &op->link);
	return true;
}

static ZS_ALWAYS_INLINE void fire(struct zs_epoll *epoll,
				  struct zs_watch *watch, int fd,
				  uint32_t events, struct zs_queue *done)
{
	struct zs_plain *plain = &epoll->plain;
	struct zs_op *op = watch->first;
	bool is_of_use;

	if (zs_unlikely(events & ~(uint32_t)PLAIN_EVENTS))
		watch->trust = 0;
	if (zs_likely(op && !op->link.next && zs_plain_is_recv(op) &&
		      (events & POLLIN)))
		is_of_use = fire_recv(plain, watch, op, done);
	else
		is_of_use = zs_plain_fire(plain, watch, (uint16_t)events, done);
	if (zs_likely(is_of_use))
		watch->vain = 0;
	else if (++watch->vain >= VAIN_MOST)
		calm(epoll, watch, fd);
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
		check_sometimes(epoll);
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
	if (epoll->plain.has_unchecked && *wait_ns > CHECK_NS)
		*wait_ns = CHECK_NS;
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
	.reap = epoll_reap,
	.ready = epoll_ready,
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
		ret = control(epoll, EPOLL_CTL_ADD, epoll->wake_fd,
			      EPOLLIN | (uint32_t)EPOLLET, EVENT_WAKE);
	if (ret == 0)
		ret = control(epoll, EPOLL_CTL_ADD, epoll->timer_fd,
			      EPOLLIN | (uint32_t)EPOLLET, EVENT_TIMER);
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
