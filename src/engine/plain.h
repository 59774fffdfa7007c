/* SPDX-License-Identifier: MIT */
/*
 * What the engines without a ring have in common: operations are attempted by
 * plain system calls, and wait for the readiness of their descriptors where
 * they would have to wait. For epoll.c and blocking.c, which differ in how they
 * watch descriptors and in who makes the calls that can only wait.
 */
#ifndef ZS_ENGINE_PLAIN_H
#define ZS_ENGINE_PLAIN_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/queue.h"
#include "engine/engine.h"
#include "engine/offload.h"

/* Of one descriptor. */
struct zs_watch {
	struct zs_op *first; /* parked, by their links; oldest first */
	uint16_t armed;	     /* the events that are being watched for */
	/* The last receive left nothing, it seems: the next one need not try.
	 */
	bool is_drained;
	/* epoll: ZS_WATCH_TRUSTED and more is, else how far it has come. */
	uint8_t trust;
	uint8_t unchecked; /* epoll: since when an op waits on trust */
	uint8_t vain;	   /* epoll: events in a row that nobody waited for */
	bool is_known;	   /* epoll: it has been added, it seems */
	/* blocking: what has happened was an error that is no operation's, and
	 * stays: of a socket with something in its error queue, say. To be told
	 * of it at once again would be to spin. */
	bool is_vain;
	uint32_t slot; /* blocking: its place among those polled, from 1 */
	/* What is known is of the file that the number had after so many closes
	 * (zs_engine.closes). */
	uint32_t closes;
};

/* zs_watch.trust: what is armed stays so, and an op that has been attempted in
 * vain can rely on it. */
enum {
	ZS_WATCH_TRUSTED = 4,
	/* And here a short receive leaves nothing, unlike where messages have
	 * ends. */
	ZS_WATCH_TRUSTED_STREAM,
};

/* zs_watch.unchecked */
enum {
	ZS_WATCH_CHECKED,
	ZS_WATCH_SINCE_LATELY, /* since the last check, or after it */
	ZS_WATCH_SINCE_LONG,   /* since the one before */
};

enum {
	ZS_WATCH_CHUNK = 1024,	/* made as descriptors are used */
	ZS_WATCH_CHUNKS = 4096, /* higher descriptors are -EMFILE */
	ZS_AT_ONCE_MOST = 128,
};

struct zs_plain {
	struct zs_engine engine;
	const struct zs_plain_model *model;
	/* Ended outside a reap: for the next one. */
	struct zs_queue done;
	uint32_t num_parked;
	/* Ops that were done at once since the last reap: after many of them
	 * others have their turn. */
	uint32_t num_at_once;
	/* Some watch has an op that waits on trust. */
	bool has_unchecked;
	int *errno_place; /* the worker's */
	struct zs_watch *chunks[ZS_WATCH_CHUNKS];
};

/* What the two do differently. */
struct zs_plain_model {
	/* Where calls for files go that may wait for somebody: WAITING, but not
	 * where they would be interrupted every moment. A server never answers
	 * then. */
	enum zs_lane pollable_files;
	/* Watches for @events of @fd, which may have happened before; 0: for
	 * nothing any more. 0, -EPERM for what is always ready, or another
	 * errno. */
	int (*arm)(struct zs_plain *plain, struct zs_watch *watch, int fd,
		   uint16_t events);
	/* @fd, which nobody waits for, is about to be closed. */
	void (*forget)(struct zs_plain *plain, struct zs_watch *watch, int fd);
	/* @op can only be carried out by a call that waits. True: it has a
	 * result; false: it comes to a reap later. */
	bool (*call)(struct zs_plain *plain, struct zs_op *op,
		     enum zs_lane lane);
	/* @op, which call() took, is to end early. True: it is the caller's,
	 * without a result; false: it will come to a reap. */
	bool (*cancel_call)(struct zs_plain *plain, struct zs_op *op);
};

void zs_plain_init(struct zs_plain *plain, const struct zs_engine_ops *ops,
		   const struct zs_plain_model *model);
void zs_plain_fini(struct zs_plain *plain);

static inline struct zs_plain *zs_plain_of(struct zs_engine *engine)
{
	return zs_container_of(engine, struct zs_plain, engine);
}

/* NULL if there is none yet. */
static ZS_ALWAYS_INLINE struct zs_watch *zs_plain_watch(struct zs_plain *plain,
							int fd)
{
	uint32_t chunk = (uint32_t)fd / ZS_WATCH_CHUNK;

	if (zs_unlikely(chunk >= ZS_WATCH_CHUNKS || !plain->chunks[chunk]))
		return NULL;
	return &plain->chunks[chunk][(uint32_t)fd % ZS_WATCH_CHUNK];
}

/* Of one that has been waited for. */
static ZS_ALWAYS_INLINE struct zs_watch *
zs_plain_known_watch(struct zs_plain *plain, int fd)
{
	struct zs_watch *chunk = plain->chunks[(uint32_t)fd / ZS_WATCH_CHUNK];

	return &chunk[(uint32_t)fd % ZS_WATCH_CHUNK];
}

/* Is what is known of @fd its present file's? Unless that was put there behind
 * our back. */
static ZS_ALWAYS_INLINE bool zs_plain_is_fresh(const struct zs_plain *plain,
					       const struct zs_watch *watch,
					       int fd)
{
	const struct zs_engine *engine = &plain->engine;

	/* relaxed: see zs_fds_begin_close(). */
	return zs_likely((uint32_t)fd < engine->num_closes) &&
	       atomic_load_explicit(&engine->closes[fd],
				    memory_order_relaxed) == watch->closes;
}

/* One that peeks leaves all there is. */
static ZS_ALWAYS_INLINE bool zs_plain_is_recv(const struct zs_op *op)
{
	return op->code == ZS_OP_RECV && op->flags == 0;
}

/* For streams: of a datagram socket the hint costs a call now and then. */
static ZS_ALWAYS_INLINE void
zs_plain_note_received(struct zs_watch *watch, int received, uint32_t length)
{
	if (received > 0 && (uint32_t)received < length)
		watch->is_drained = watch->trust != ZS_WATCH_TRUSTED;
}

/* --- before it is an op --- */

/* Operations that are done at once are counted, and now and then one is to be
 * submitted instead, so that others have their turn. */
static ZS_ALWAYS_INLINE bool zs_plain_may_try(const struct zs_plain *plain)
{
	return zs_likely(plain->num_at_once < ZS_AT_ONCE_MOST - 1);
}

static ZS_ALWAYS_INLINE void zs_plain_count_tried(struct zs_plain *plain)
{
	plain->num_at_once++;
	ZS_COUNT(plain->engine.counters.submitted, 1);
	ZS_COUNT(plain->engine.counters.completed, 1);
}

/* Is it known that a receive from @fd, without flags, has to wait, and need
 * nothing be armed for it? NULL, or what it can wait on. */
static ZS_ALWAYS_INLINE struct zs_watch *
zs_plain_watch_for_recv(struct zs_plain *plain, int fd)
{
	struct zs_watch *watch = zs_plain_watch(plain, fd);

	if (zs_unlikely(!watch || !watch->is_drained || watch->first ||
			watch->trust < ZS_WATCH_TRUSTED ||
			!(watch->armed & POLLIN) ||
			!zs_plain_is_fresh(plain, watch, fd)))
		return NULL;
	return watch;
}

/* Submits @op, which it does. Its result is ZS_OP_IS_READY, but where it is one
 * of several it may be a receive's. */
static ZS_ALWAYS_INLINE void
zs_plain_wait(struct zs_plain *plain, struct zs_watch *watch, struct zs_op *op)
{
	ZS_COUNT(plain->engine.counters.submitted, 1);
	op->result = ZS_OP_IS_READY;
	op->state = ZS_OP_PARKED;
	op->link.next = NULL;
	watch->first = op;
	watch->is_drained = false;
	watch->unchecked = ZS_WATCH_SINCE_LATELY;
	plain->has_unchecked = true;
	plain->num_parked++;
}

/* Its ops rely on what may not be so: they are to be looked at again after a
 * while, which for those that wait since long is not put off. */
static ZS_ALWAYS_INLINE void zs_plain_doubt(struct zs_plain *plain,
					    struct zs_watch *watch)
{
	if (watch->unchecked == ZS_WATCH_CHECKED)
		watch->unchecked = ZS_WATCH_SINCE_LATELY;
	plain->has_unchecked = true;
}

/* --- the engine --- */

/* The worker's thread, before the first submission. */
void zs_plain_start(struct zs_plain *plain);

/* As zs_engine_ops has them. */
bool zs_plain_submit(struct zs_engine *engine, struct zs_op *op);
void zs_plain_cancel(struct zs_engine *engine, struct zs_op *op);
bool zs_plain_has_ops(struct zs_engine *engine);
void zs_plain_flush(struct zs_engine *engine);
void zs_plain_renew(struct zs_engine *engine, int fd);
void zs_plain_forget(struct zs_engine *engine, int fd);

/* @events have happened to the descriptor of @watch: ops that are done by that
 * are appended to @done. False: none is. */
bool zs_plain_fire(struct zs_plain *plain, struct zs_watch *watch,
		   uint16_t events, struct zs_queue *done);
/* What its ops wait for. */
uint16_t zs_plain_wanted(const struct zs_watch *watch);
/* Its ops go where those of files go, which are always ready. */
void zs_plain_call_all(struct zs_plain *plain, struct zs_watch *watch);
/* Its ops end with @error, or with what they had moved before. */
void zs_plain_fail_all(struct zs_plain *plain, struct zs_watch *watch,
		       int error);
/* At the begin of a reap, which must not wait if it has appended any. */
void zs_plain_take_done(struct zs_plain *plain, struct zs_queue *done);
/* Its result is known, and the next reap is to find it. */
void zs_plain_finish(struct zs_plain *plain, struct zs_op *op, int result);

#endif
