/* SPDX-License-Identifier: MIT */
/*
 * Submitting: the call that every operation makes. On a ring with room it is
 * inlined, so that what the caller knows of an op goes straight into its
 * submission entry. For the io room, on the worker's thread.
 */
#ifndef ZS_ENGINE_SUBMIT_H
#define ZS_ENGINE_SUBMIT_H

#include "base/compiler.h"
#include "engine/engine.h"
#include "engine/uring.h"

/* As zs_engine_ops.submit, of one that has a ring: true if @op has its result.
 * @asked has the same arguments as @op, or is @op: a copy that nobody else can
 * see may stay in registers. */
static ZS_ALWAYS_INLINE bool zs_engine_submit_to_ring(struct zs_engine *engine,
						      struct zs_op *op,
						      const struct zs_op *asked)
{
	struct zs_uring *uring =
		zs_container_of(engine, struct zs_uring, engine);

	return zs_unlikely(!zs_uring_queue(uring, op, asked)) &&
	       engine->ops->submit(engine, op);
}

/* The same of any. */
static ZS_ALWAYS_INLINE bool zs_engine_submit(struct zs_engine *engine,
					      struct zs_op *op,
					      const struct zs_op *asked)
{
	if (zs_likely(engine->ops == &zs_uring_ops))
		return zs_engine_submit_to_ring(engine, op, asked);
	return engine->ops->submit(engine, op);
}

/* Has it no ring? Then it is a struct zs_plain. */
static ZS_ALWAYS_INLINE bool zs_engine_is_plain(const struct zs_engine *engine)
{
	return engine->ops != &zs_uring_ops;
}

#endif
