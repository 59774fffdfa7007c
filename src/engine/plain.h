/* SPDX-License-Identifier: MIT */
/*
 * What the engines without a ring have in common: operations are attempted by
 * plain system calls, and wait for the readiness of their descriptors where
 * they would have to wait. For epoll.c and blocking.c, which differ in how they
 * watch descriptors and in who makes the calls that can only wait.
 */
#ifndef ZS_ENGINE_PLAIN_H
#define ZS_ENGINE_PLAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/queue.h"
#include "engine/engine.h"
#include "engine/offload.h"

/* Of one descriptor. */
struct zs_watch {
	struct zs_op *first; /* parked, by their links; oldest first */
	uint16_t armed;	     /* the events that are being watched for */
	bool is_known;	     /* epoll: it has been added, it seems */
	/* The last receive left nothing, it seems: the next one need not try.
	 */
	bool is_drained;
	/* What has happened was an error that is no operation's, and stays: of
	 * a socket with something in its error queue, say. To be told of it at
	 * once again would be to spin. */
	bool is_vain;
	bool is_by_edge; /* epoll: so it is watched as long as that lasts */
	uint32_t slot;	 /* blocking: its place among those polled, from 1 */
};

enum {
	ZS_WATCH_CHUNK = 1024,	/* made as descriptors are used */
	ZS_WATCH_CHUNKS = 4096, /* higher descriptors are -EMFILE */
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
	struct zs_watch *chunks[ZS_WATCH_CHUNKS];
};

/* What the two do differently. */
struct zs_plain_model {
	/* Watches for @events of @fd until one of them or an error has
	 * happened once; 0: for nothing any more. 0, -EPERM for what is always
	 * ready, or another errno. */
	int (*arm)(struct zs_plain *plain, struct zs_watch *watch, int fd,
		   uint16_t events);
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

/* As zs_engine_ops has them. */
bool zs_plain_submit(struct zs_engine *engine, struct zs_op *op);
void zs_plain_cancel(struct zs_engine *engine, struct zs_op *op);
void zs_plain_flush(struct zs_engine *engine);

/* @events have happened to @fd, which is not watched any more: ops that are
 * done by that are appended to @done. */
void zs_plain_fire(struct zs_plain *plain, int fd, uint16_t events,
		   struct zs_queue *done);
/* At the begin of a reap, which must not wait if it has appended any. */
void zs_plain_take_done(struct zs_plain *plain, struct zs_queue *done);
/* Its result is known, and the next reap is to find it. */
void zs_plain_finish(struct zs_plain *plain, struct zs_op *op, int result);

#endif
