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

#include "base/assert.h"

enum { AT_ONCE_MOST = 128 };

/* --- descriptors --- */

/* NULL if there is none yet. */
static ZS_ALWAYS_INLINE struct zs_watch *find_watch(struct zs_plain *plain,
						    int fd)
{
	uint32_t chunk = (uint32_t)fd / ZS_WATCH_CHUNK;

	if (zs_unlikely(chunk >= ZS_WATCH_CHUNKS || !plain->chunks[chunk]))
		return NULL;
	return &plain->chunks[chunk][(uint32_t)fd % ZS_WATCH_CHUNK];
}

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

/* Its number may be another file's soon. */
static void forget_watch(struct zs_plain *plain, int fd)
{
	struct zs_watch *watch = find_watch(plain, fd);

	if (!watch)
		return;
	watch->is_known = false;
	watch->is_drained = false;
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

/* Whoever closes and opens descriptors by other ways than ours leaves us with
 * watches of files that are gone, and perhaps with ops that wait for them: so
 * no watch is relied on. */
static bool park(struct zs_plain *plain, struct zs_op *op)
{
	struct zs_watch *watch = find_watch(plain, op->fd);
	uint16_t wanted = events_of(op);
	int ret = watch ? 0 : make_watch(plain, op->fd);

	if (ret == 0) {
		watch = find_watch(plain, op->fd);
		if (watch->first)
			wanted |= watch->armed;
		watch->is_vain = false;
		ret = plain->model->arm(plain, watch, op->fd, wanted);
	}
	/* Always ready, and yet it could not be done: a file not in memory. */
	if (ret == -EPERM)
		return plain->model->call(plain, op, ZS_LANE_FILES);
	if (ret < 0)
		return end(op, op->result > 0 ? op->result : ret);
	append_op(watch, op);
	op->state = ZS_OP_PARKED;
	plain->num_parked++;
	return false;
}

/* For streams: of a datagram socket the hint costs a call now and then. */
static void note_received(struct zs_plain *plain, const struct zs_op *op,
			  int received)
{
	struct zs_watch *watch;

	if (op->code != ZS_OP_RECV || (uint32_t)received >= op->length ||
	    received <= 0)
		return;
	watch = find_watch(plain, op->fd);
	if (watch)
		watch->is_drained = true;
}

/* It is not worth a system call to be told that there is nothing yet. */
static bool is_vain(struct zs_plain *plain, const struct zs_op *op)
{
	struct zs_watch *watch;

	if (op->code != ZS_OP_RECV || op->flags != 0)
		return false;
	watch = find_watch(plain, op->fd);
	if (!watch || !watch->is_drained)
		return false;
	watch->is_drained = false;
	return true;
}

static bool attempt(struct zs_plain *plain, struct zs_op *op)
{
	int ret = is_vain(plain, op) ? ZS_OP_NOT_YET :
				       zs_op_types[op->code].attempt(op);

	if (zs_likely(ret >= -ZS_ERRNO_MAX)) {
		note_received(plain, op, ret);
		return end(op, ret);
	}
	if (ret == ZS_OP_NEEDS_THREAD)
		return plain->model->call(plain, op, ZS_LANE_WAITING);
	return park(plain, op);
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
			forget_watch(plain, op->fd);
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
	int saved_errno = errno;
	bool is_done;

	ZS_COUNT(engine->counters.submitted, 1);
	op->result = 0;
	is_done = carry_out(plain, op);
	errno = saved_errno;
	if (!is_done)
		return false;
	if (zs_likely(++plain->num_at_once < AT_ONCE_MOST)) {
		ZS_COUNT(engine->counters.completed, 1);
		return true;
	}
	zs_queue_append(&plain->done, &op->link);
	return false;
}

void zs_plain_finish(struct zs_plain *plain, struct zs_op *op, int result)
{
	end(op, result);
	zs_queue_append(&plain->done, &op->link);
}

static void unpark(struct zs_plain *plain, struct zs_op *op)
{
	struct zs_watch *watch = find_watch(plain, op->fd);
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

void zs_plain_flush(struct zs_engine *engine)
{
	(void)engine;
}

/* False: it goes on waiting. */
static bool attempt_parked(struct zs_plain *plain, struct zs_op *op,
			   struct zs_queue *done, struct zs_watch *watch,
			   struct zs_op *before)
{
	int ret = zs_op_types[op->code].attempt(op);
	bool is_done = true;

	if (ret == ZS_OP_NOT_YET)
		return false;
	take_out(watch, before, op);
	plain->num_parked--;
	if (zs_likely(ret >= -ZS_ERRNO_MAX)) {
		note_received(plain, op, ret);
		end(op, ret);
	} else {
		is_done = plain->model->call(plain, op, ZS_LANE_WAITING);
	}
	if (is_done) {
		ZS_COUNT(plain->engine.counters.completed, 1);
		zs_queue_append(done, &op->link);
	}
	return true;
}

static void fail_all(struct zs_plain *plain, struct zs_watch *watch, int error)
{
	struct zs_op *op;

	while (watch->first) {
		op = watch->first;
		take_out(watch, NULL, op);
		plain->num_parked--;
		zs_plain_finish(plain, op, error);
	}
}

void zs_plain_fire(struct zs_plain *plain, int fd, uint16_t events,
		   struct zs_queue *done)
{
	struct zs_watch *watch = find_watch(plain, fd);
	struct zs_op *op = watch->first, *before = NULL, *next;
	uint16_t wanted, left = 0;
	int ret;

	watch->armed = 0;
	for (; op; op = next) {
		next = next_of(op);
		wanted = events_of(op);
		if ((events & (wanted | POLLERR | POLLHUP | POLLNVAL)) &&
		    attempt_parked(plain, op, done, watch, before))
			continue;
		left |= wanted;
		before = op;
	}
	if (left == 0 && watch->slot == 0)
		return;
	watch->is_vain = !(events & left);
	ret = plain->model->arm(plain, watch, fd, left);
	if (ret < 0)
		fail_all(plain, watch, ret);
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

void zs_plain_fini(struct zs_plain *plain)
{
	uint32_t i;

	ZS_ASSERT(plain->num_parked == 0);
	for (i = 0; i < ZS_WATCH_CHUNKS; i++)
		free(plain->chunks[i]);
}
