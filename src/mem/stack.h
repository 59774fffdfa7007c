/* SPDX-License-Identifier: MIT */
/*
 * Stacks of tasks: carved out of large maps, each with a guard below it
 * (guard.h), kept hot in a LIFO cache. One pool for each size of a worker's
 * stacks, one thread.
 *
 * What is free gives its memory back by and by: up to @cache stacks keep all
 * their pages, four times as many the top one, which the next task touches at
 * once, and the rest none; where a worker has been idle none does.
 */
#ifndef ZS_MEM_STACK_H
#define ZS_MEM_STACK_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "mem/guard.h"

struct zs_stack_region; /* a large map and its descriptors */

/* Lives in the pool's own memory (not on the stack itself, whose pages may be
 * given back to the system). */
struct zs_stack {
	struct zs_stack *next; /* while it is free */
	char *base;	       /* lowest usable byte; the guard ends here */
	char *top;	       /* one past the highest; 64-byte aligned,
				* not always at the end of its page */
	void *fiber;	       /* the sanitizers' name for it; scheduler's */
	uint32_t valgrind_id;
	uint8_t size_class; /* of its pool: the scheduler's name for that */
	bool has_canary;    /* in place of a guard */
};
static_assert(sizeof(struct zs_stack) <= 40,
	      "one each: counted in what a parked task takes");

struct zs_stack_pool {
	/* Ready, hot end first. At most @cache of them, so that what lies
	 * beyond is not trimmed again and again. */
	struct zs_stack *free;
	struct zs_stack *trimmed; /* free, all but their top page given back */
	struct zs_stack *emptied; /* free, without a page, but for: */
	uint32_t num_unemptied;	  /* the first of these, yet to be emptied */
	uint32_t num_free;
	uint32_t num_trimmed;
	uint32_t num_emptied;
	/* Stacks carved: in use or free in whichever way. One is carved where
	 * none is free, so it is also the most that were in use at once. */
	uint32_t num_mapped;
	uint32_t cache;	   /* free ones whose pages are kept */
	size_t stack_size; /* bytes from base to the end of the top page; up
			    * to 1 KiB of that lies above top */
	/* The most of a stack that was seen in use, in whole pages, by a
	 * mincore(2) for one in sixteen that give pages back. */
	size_t deepest;
	uint32_t num_given_back;
	struct zs_guards guards;
	struct zs_stack_region *regions;
	size_t next_region_size;
	uint8_t size_class; /* constant; what its stacks say */
	/* Constant: where there is no guard to be had, a canary will do. */
	bool may_lack_guards;
};

/* @stack_size: rounded up to whole pages. @cache: how many free stacks keep
 * their memory. Maps nothing yet. */
void zs_stack_pool_init(struct zs_stack_pool *pool, size_t stack_size,
			uint32_t cache);
/* No stack may be in use. */
void zs_stack_pool_fini(struct zs_stack_pool *pool);

/* NULL when no more can be mapped or guarded; the reason is left for
 * zs_explain() as -ENOMEM. */
struct zs_stack *zs_stack_refill(struct zs_stack_pool *pool);
/* The way of zs_stack_put() beyond the cache: takes the stack and gives its
 * pages, all or all but the top one, back to the system. */
void zs_stack_trim(struct zs_stack_pool *pool, struct zs_stack *stack);
/* The worker is idle: gives all pages of up to @most free stacks back. How many
 * there were. */
uint32_t zs_stack_pool_empty(struct zs_stack_pool *pool, uint32_t most);
/* False: something has run over its end. Only for one that has a canary. */
bool zs_stack_canary_lives(const struct zs_stack *stack);

/* Would zs_stack_put() have to give memory back to the system? */
static ZS_ALWAYS_INLINE bool
zs_stack_cache_is_full(const struct zs_stack_pool *pool)
{
	return pool->num_free >= pool->cache;
}

static ZS_ALWAYS_INLINE struct zs_stack *
zs_stack_get(struct zs_stack_pool *pool)
{
	struct zs_stack *stack = pool->free;

	if (zs_unlikely(!stack))
		return zs_stack_refill(pool);
	pool->free = stack->next;
	pool->num_free--;
	return stack;
}

static ZS_ALWAYS_INLINE void zs_stack_put(struct zs_stack_pool *pool,
					  struct zs_stack *stack)
{
	if (zs_unlikely(zs_stack_cache_is_full(pool))) {
		zs_stack_trim(pool, stack);
		return;
	}
	stack->next = pool->free;
	pool->free = stack;
	pool->num_free++;
}

/* Async-signal-safe. Is @address in the guard of @stack, of a pool like this?
 */
bool zs_stack_in_guard(const struct zs_stack_pool *pool,
		       const struct zs_stack *stack, const void *address);

/* Cold. The pages of @stack that have been touched, in bytes. */
size_t zs_stack_resident(const struct zs_stack *stack);

#endif
