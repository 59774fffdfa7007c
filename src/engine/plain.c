/* SPDX-License-Identifier: MIT */
/*
 * What the engines without a ring have in common: see plain.h. On the worker's
 * thread.
 *
 * That a descriptor is ready is never more than a hint: another task or process
 * may be faster, and the number may be another file's by now. So an operation
 * is attempted whenever it might succeed, and goes on waiting if it does not.
 */
#include "engine/plain.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/assert.h"
#include "base/probes.h"
#include "engine/bare.h"

/* --- descriptors --- */

/* 0 or a negative errno. */
static int make_watch(struct zs_plain *plain, int fd)
{
	uint32_t chunk = (uint32_t)fd / ZS_WATCH_CHUNK;

	if (fd < 0)
		return -EBADF;
	if (chunk >= ZS_WATCH_CHUNKS)
		return fcntl(fd, F_GETFD) < 0 ? -EBADF : -EMFILE;
	plain->chunks[chunk] = calloc(ZS_WATCH_CHUNK, sizeof(struct zs_watch));
	return plain->chunks[chunk] ? 0 : -ENOMEM;
}

/* Its number may be another file's, or soon be. */
static void forget_watch(struct zs_watch *watch)
{
	watch->is_known = false;
	watch->is_drained = false;
	watch->trust = 0;
}

static void forget_closed(struct zs_plain *plain, int fd)
{
	struct zs_watch *watch = zs_plain_watch(plain, fd);

	if (!watch)
		return;
	plain->model->forget(plain, watch, fd);
	forget_watch(watch);
}

void zs_plain_forget(struct zs_engine *engine, int fd)
{
	forget_closed(zs_plain_of(engine), fd);
}

/* Before it is looked at for an op that begins. */
static ZS_ALWAYS_INLINE void refresh(struct zs_plain *plain,
				     struct zs_watch *watch, int fd)
{
	if (zs_likely(zs_plain_is_fresh(plain, watch, fd)))
		return;
	forget_watch(watch);
	if ((uint32_t)fd < plain->engine.num_closes)
		watch->closes = atomic_load_explicit(&plain->engine.closes[fd],
						     memory_order_relaxed);
}

void zs_plain_renew(struct zs_engine *engine, int fd)
{
	struct zs_watch *watch = zs_plain_watch(zs_plain_of(engine), fd);

	/* Who waits for it has been here before, and the number is the same. */
	if (watch && !watch->first)
		forget_watch(watch);
}

static struct zs_op *next_of(const struct zs_op *op)
{
	return zs_op_of(op->link.next);
}

static void append_op(struct zs_watch *watch, struct zs_op *op)
{
	struct zs_op *last = watch->first;

	op->link.next = NULL;
	if (!last) {
		watch->first = op;
		return;
	}
	while (last->link.next)
		last = next_of(last);
	last->link.next = &op->link;
}

/* @before: the one before it, NULL if it is the first. */
static void take_out(struct zs_watch *watch, struct zs_op *before,
		     struct zs_op *op)
{
	if (before)
		before->link.next = op->link.next;
	else
		watch->first = next_of(op);
}

/* --- one operation; true: it has its result --- */

static bool end(struct zs_op *op, int result)
{
	op->result = result;
	op->state = ZS_OP_DONE;
	return true;
}

static uint16_t events_of(const struct zs_op *op)
{
	uint16_t events = zs_op_types[op->code].events;

	return events ? events : (uint16_t)op->flags;
}

uint16_t zs_plain_wanted(const struct zs_watch *watch)
{
	const struct zs_op *op;
	uint16_t wanted = 0;

	for (op = watch->first; op; op = next_of(op))
		wanted |= events_of(op);
	return wanted;
}

static bool park_on(struct zs_plain *plain, struct zs_watch *watch,
		    struct zs_op *op)
{
	append_op(watch, op);
	op->state = ZS_OP_PARKED;
	plain->num_parked++;
	return false;
}

/* For one whose descriptor cannot be watched, since it is always ready. What is
 * polled for may never come all the same. */
static enum zs_lane lane_when_ready(const struct zs_op *op)
{
	return op->code == ZS_OP_POLL ? ZS_LANE_WAITING : ZS_LANE_FILES;
}

/* Whoever closes and opens descriptors by other ways than ours leaves us with
 * watches of files that are gone, and perhaps with ops that wait for them: so
 * it is armed though it may be already. */
static ZS_NOINLINE bool arm_and_park(struct zs_plain *plain, struct zs_op *op)
{
	struct zs_watch *watch = zs_plain_watch(plain, op->fd);
	int ret = watch ? 0 : make_watch(plain, op->fd);

	if (ret == 0) {
		watch = zs_plain_watch(plain, op->fd);
		refresh(plain, watch, op->fd);
		watch->is_vain = false;
		ret = plain->model->arm(plain, watch, op->fd,
					events_of(op) | zs_plain_wanted(watch));
	}
	/* Always ready, and yet it could not be done: a file not in memory. */
	if (ret == -EPERM)
		return plain->model->call(plain, op, lane_when_ready(op));
	if (ret < 0)
		return end(op, op->result > 0 ? op->result : ret);
	return park_on(plain, watch, op);
}

/* @op would have to wait: an attempt has said so, or the last receive. */
static ZS_ALWAYS_INLINE bool park(struct zs_plain *plain,
				  struct zs_watch *watch, struct zs_op *op)
{
	if (zs_unlikely(!watch || watch->trust < ZS_WATCH_TRUSTED ||
			(events_of(op) & ~watch->armed)))
		return arm_and_park(plain, op);
	zs_plain_doubt(plain, watch);
	return park_on(plain, watch, op);
}

/* It is not worth a system call to be told that there is nothing yet. */
static ZS_ALWAYS_INLINE bool is_vain(struct zs_watch *watch,
				     const struct zs_op *op)
{
	if (!watch || !watch->is_drained || !zs_plain_is_recv(op))
		return false;
	watch->is_drained = false;
	return true;
}

/* Files that can wait for more than a device: for the kernel's next message, or
 * for a server. The latter would be waited for by a poll, but not here: what
 * cannot be polled is refused before what is no instance of epoll. */
static bool is_pollable(int fd)
{
	return epoll_ctl(fd, EPOLL_CTL_DEL, fd, NULL) < 0 && errno != EPERM;
}

/* @answer: its attempt's. */
static bool call(struct zs_plain *plain, struct zs_op *op, int answer)
{
	enum zs_lane lane = ZS_LANE_WAITING;

	if (answer == ZS_OP_NEEDS_FILE)
		lane = is_pollable(op->fd) ? plain->model->pollable_files :
					     ZS_LANE_FILES;
	return plain->model->call(plain, op, lane);
}

static bool attempt(struct zs_plain *plain, struct zs_op *op)
{
	struct zs_watch *watch = zs_plain_watch(plain, op->fd);
	int ret;

	if (watch)
		refresh(plain, watch, op->fd);
	if (is_vain(watch, op))
		return park(plain, watch, op);
	ret = zs_op_types[op->code].attempt(op);
	if (zs_likely(ret >= -ZS_ERRNO_MAX)) {
		if (watch && zs_plain_is_recv(op))
			zs_plain_note_received(watch, ret, op->length);
		return end(op, ret);
	}
	if (ret == ZS_OP_NOT_YET)
		return park(plain, watch, op);
	if (ret == ZS_OP_NO_ATTEMPT)
		return arm_and_park(plain, op);
	return call(plain, op, ret);
}

static bool carry_out(struct zs_plain *plain, struct zs_op *op)
{
	const struct zs_op_type *type = &zs_op_types[op->code];

	switch (type->way) {
	case ZS_WAY_WHEN_READY:
		return attempt(plain, op);
	case ZS_WAY_AT_ONCE:
		return end(op, type->call(op));
	case ZS_WAY_WAITING:
	case ZS_WAY_OFFLOADED:
		if (op->code == ZS_OP_CLOSE)
			forget_closed(plain, op->fd);
		if (!zs_op_is_for_pool(op))
			return end(op, type->call(op));
		return plain->model->call(plain, op, zs_op_lane(op));
	}
	ZS_ASSERT(!"a way that there is not");
	return false;
}

/* --- the engine --- */

bool zs_plain_submit(struct zs_engine *engine, struct zs_op *op)
{
	struct zs_plain *plain = zs_plain_of(engine);
	int saved_errno = *plain->errno_place;
	bool is_done;

	ZS_COUNT(engine->counters.submitted, 1);
	op->result = 0;
	ZS_PROBE_SUBMIT(op);
	is_done = carry_out(plain, op);
	*plain->errno_place = saved_errno;
	if (!is_done)
		return false;
	ZS_PROBE_COMPLETE(op);
	if (zs_likely(++plain->num_at_once < ZS_AT_ONCE_MOST)) {
		ZS_COUNT(engine->counters.completed, 1);
		return true;
	}
	zs_queue_append(&plain->done, &op->link);
	return false;
}

void zs_plain_finish(struct zs_plain *plain, struct zs_op *op, int result)
{
	end(op, result);
	ZS_PROBE_COMPLETE(op);
	zs_queue_append(&plain->done, &op->link);
}

static void unpark(struct zs_plain *plain, struct zs_op *op)
{
	struct zs_watch *watch = zs_plain_watch(plain, op->fd);
	struct zs_op *before = NULL, *other;

	for (other = watch->first; other != op; other = next_of(other))
		before = other;
	take_out(watch, before, op);
	plain->num_parked--;
	if (!watch->first)
		plain->model->arm(plain, watch, op->fd, 0);
}

void zs_plain_cancel(struct zs_engine *engine, struct zs_op *op)
{
	struct zs_plain *plain = zs_plain_of(engine);

	if (op->state == ZS_OP_DONE || op->cancel_asked)
		return;
	op->cancel_asked = true;
	if (op->state == ZS_OP_PARKED)
		unpark(plain, op);
	else if (!plain->model->cancel_call(plain, op))
		return;
	zs_plain_finish(plain, op, op->result > 0 ? op->result : -ECANCELED);
}

bool zs_plain_has_ops(struct zs_engine *engine)
{
	const struct zs_engine_counters *counters = &engine->counters;

	/* relaxed, both: this thread counts. */
	return atomic_load_explicit(&counters->submitted,
				    memory_order_relaxed) !=
	       atomic_load_explicit(&counters->completed, memory_order_relaxed);
}

void zs_plain_flush(struct zs_engine *engine)
{
	(void)engine;
}

/* False: it goes on waiting. */
static ZS_ALWAYS_INLINE bool
attempt_parked(struct zs_plain *plain, struct zs_op *op, struct zs_queue *done,
	       struct zs_watch *watch, struct zs_op *before)
{
	int ret = zs_op_types[op->code].attempt(op);
	bool is_done = true;

	if (ret == ZS_OP_NOT_YET)
		return false;
	take_out(watch, before, op);
	plain->num_parked--;
	if (zs_likely(ret >= -ZS_ERRNO_MAX)) {
		if (zs_plain_is_recv(op))
			zs_plain_note_received(watch, ret, op->length);
		end(op, ret);
	} else {
		is_done = call(plain, op, ret);
	}
	if (is_done) {
		ZS_PROBE_COMPLETE(op);
		ZS_COUNT(plain->engine.counters.completed, 1);
		zs_queue_append(done, &op->link);
	}
	return true;
}

static struct zs_op *take_first(struct zs_plain *plain, struct zs_watch *watch)
{
	struct zs_op *op = watch->first;

	take_out(watch, NULL, op);
	plain->num_parked--;
	return op;
}

void zs_plain_call_all(struct zs_plain *plain, struct zs_watch *watch)
{
	struct zs_op *op;

	while (watch->first) {
		op = take_first(plain, watch);
		if (!plain->model->call(plain, op, lane_when_ready(op)))
			continue;
		ZS_PROBE_COMPLETE(op);
		zs_queue_append(&plain->done, &op->link);
	}
}

void zs_plain_fail_all(struct zs_plain *plain, struct zs_watch *watch,
		       int error)
{
	struct zs_op *op;

	while (watch->first) {
		op = take_first(plain, watch);
		zs_plain_finish(plain, op, op->result > 0 ? op->result : error);
	}
}

bool zs_plain_fire(struct zs_plain *plain, struct zs_watch *watch,
		   uint16_t events, struct zs_queue *done)
{
	struct zs_op *op = watch->first, *before = NULL, *next;
	bool is_of_use = false;

	watch->is_drained = false;
	for (; op; op = next) {
		next = next_of(op);
		if (!(events & (events_of(op) | POLLERR | POLLHUP | POLLNVAL)))
			before = op;
		else if (attempt_parked(plain, op, done, watch, before))
			is_of_use = true;
		else {
			/* An error that stays, and is not what it waits for,
			 * says nothing of the number. */
			if (events & events_of(op))
				zs_plain_doubt(plain, watch);
			before = op;
		}
	}
	return is_of_use;
}

void zs_plain_take_done(struct zs_plain *plain, struct zs_queue *done)
{
	plain->num_at_once = 0;
	while (zs_unlikely(plain->done.first != NULL)) {
		ZS_COUNT(plain->engine.counters.completed, 1);
		zs_queue_append(done, zs_queue_pop(&plain->done));
	}
}

void zs_plain_init(struct zs_plain *plain, const struct zs_engine_ops *ops,
		   const struct zs_plain_model *model)
{
	memset(plain, 0, sizeof(*plain));
	plain->engine.ops = ops;
	plain->model = model;
	zs_queue_init(&plain->done);
}

void zs_plain_start(struct zs_plain *plain)
{
	plain->errno_place = &errno;
}

void zs_plain_fini(struct zs_plain *plain)
{
	uint32_t i;

	ZS_ASSERT(plain->num_parked == 0);
	for (i = 0; i < ZS_WATCH_CHUNKS; i++)
		free(plain->chunks[i]);
}
