/* SPDX-License-Identifier: MIT */
/*
 * Slab: objects of one size for one owner thread, never moved and never
 * returned to the system before fini, so that a stale pointer to one can always
 * be read (its generation then tells that it is stale). Objects are aligned to
 * a cache line (64 bytes) and zeroed when they are first handed out; a reused
 * one holds what its last user left.
 *
 * Any thread may give an object back; the owner collects those of others when
 * its own free list is empty.
 */
#ifndef ZS_MEM_SLAB_H
#define ZS_MEM_SLAB_H

#include <stdatomic.h>
#include <stddef.h>

#include "base/compiler.h"

struct zs_slab_chunk;

struct zs_slab {
	void *free; /* owner's list, linked through the objects' first word */
	size_t object_size; /* rounded up to the alignment */
	/* Newest first; pushed by the owner, walked by anyone: see walk. */
	_Atomic(struct zs_slab_chunk *) chunks;
	/* Objects given back by other threads: a stack, taken whole. */
	ZS_CACHE_ALIGNED _Atomic(void *) returned;
};

/* The objects' first word is the slab's while they are free: keep nothing
 * there that a stale reader needs. Allocates nothing yet. */
void zs_slab_init(struct zs_slab *slab, size_t object_size);
/* All objects must be out of use. */
void zs_slab_fini(struct zs_slab *slab);

/* Owner. The way of zs_slab_get() when the free list is empty; NULL when memory
 * is out, with a text for zs_explain(-ENOMEM). */
void *zs_slab_refill(struct zs_slab *slab);

/* Owner, whose free list is not empty. */
static ZS_ALWAYS_INLINE void *zs_slab_take(struct zs_slab *slab)
{
	void *object = slab->free;

	slab->free = *(void **)object;
	return object;
}

static ZS_ALWAYS_INLINE void *zs_slab_get(struct zs_slab *slab)
{
	if (zs_unlikely(!slab->free))
		return zs_slab_refill(slab);
	return zs_slab_take(slab);
}

static ZS_ALWAYS_INLINE void zs_slab_put(struct zs_slab *slab, void *object)
{
	*(void **)object = slab->free;
	slab->free = object;
}

/* Not the owner. */
void zs_slab_put_remote(struct zs_slab *slab, void *object);

/* Any thread. How many have been handed out at once at most: one is carved
 * where none is free. */
size_t zs_slab_peak(const struct zs_slab *slab);

/* Any thread, async-signal-safe, while the owner goes on. Calls @visit for each
 * object ever handed out, in use or not; one that was handed out just now may
 * still be all zero. The objects' own state, which must not be in their first
 * word, tells which are in use. */
void zs_slab_walk(struct zs_slab *slab, void (*visit)(void *object, void *arg),
		  void *arg);

#endif
