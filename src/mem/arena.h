/* SPDX-License-Identifier: MIT */
/*
 * Memory of arenas: blocks out of which pieces are cut, and pieces too large
 * for that. All of one thread, whose cache has the blocks that are free.
 */
#ifndef ZS_MEM_ARENA_H
#define ZS_MEM_ARENA_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

#if defined(ZS_ASAN)
#include <sanitizer/asan_interface.h>
#define zs_arena_poison(at, size) ASAN_POISON_MEMORY_REGION(at, size)
#define zs_arena_unpoison(at, size) ASAN_UNPOISON_MEMORY_REGION(at, size)
#else
#define zs_arena_poison(at, size) ((void)(at), (void)(size))
#define zs_arena_unpoison(at, size) ((void)(at), (void)(size))
#endif

enum {
	ZS_BLOCK_SIZE = 16 << 10,
	ZS_BLOCK_ALIGN = 64,
	ZS_BLOCKS_KEPT = 32,
	ZS_PIECE_MOST = 4 << 10, /* in a block; larger ones are apart */
/* Between two pieces, so that an overflow does not go unseen. */
#if defined(ZS_ASAN)
	ZS_PIECE_GAP = 16,
#else
	ZS_PIECE_GAP = 0,
#endif
};

struct zs_block {
	struct zs_block *next;
	size_t size; /* all of it */
};

/* Free blocks; all zero is an empty one. */
struct zs_block_cache {
	struct zs_block *first;
	uint32_t number;
};

/* Of one arena, in the first of its blocks. */
struct zs_arena_memory {
	struct zs_block block; /* the rest follow, the latest first */
	struct zs_block *blocks;
	struct zs_block *large;
	size_t bytes;
	size_t max_bytes; /* 0: no limit */
};

/* What can be cut up next. */
struct zs_room {
	uintptr_t next;
	uintptr_t end;
};

/* The first has room for itself; NULL if there is no memory. */
struct zs_arena_memory *zs_arena_create(struct zs_block_cache *cache,
					size_t max_bytes, struct zs_room *room);
void zs_arena_destroy(struct zs_arena_memory *memory,
		      struct zs_block_cache *cache);
/* Frees all but the first block. */
void zs_arena_clear(struct zs_arena_memory *memory,
		    struct zs_block_cache *cache, struct zs_room *room);
/* A piece for which there is no room, @align being a power of two. NULL,
 * explained, if there is no memory or that would be too much. */
void *zs_arena_get(struct zs_arena_memory *memory, struct zs_block_cache *cache,
		   struct zs_room *room, size_t size, size_t align);
void zs_block_cache_fini(struct zs_block_cache *cache);

/* Cuts a piece off; 0 if there is no room. @align: a power of two. */
static ZS_ALWAYS_INLINE uintptr_t zs_room_cut(uintptr_t *next, uintptr_t end,
					      size_t size, size_t align)
{
	uintptr_t at = (*next + (align - 1)) & ~(uintptr_t)(align - 1);

	if (zs_unlikely(at + ZS_PIECE_GAP > end ||
			size > end - at - ZS_PIECE_GAP))
		return 0;
	*next = at + size + ZS_PIECE_GAP;
	zs_arena_unpoison((void *)at, size);
	return at;
}

#endif
