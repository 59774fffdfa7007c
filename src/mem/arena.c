/* SPDX-License-Identifier: MIT */
/* Memory of arenas: getting blocks and giving them back. Called by the
 * scheduler's arenas, on their worker's thread. */
#include "mem/arena.h"

#include <errno.h>
#include <stdlib.h>

#include "base/explain.h"

static struct zs_block *allocate(size_t size, size_t align)
{
	struct zs_block *block;
	int saved_errno = errno;

	if (align < ZS_BLOCK_ALIGN)
		align = ZS_BLOCK_ALIGN;
	block = size <= SIZE_MAX - align ?
			aligned_alloc(align,
				      (size + align - 1) & ~(align - 1)) :
			NULL;
	errno = saved_errno;
	if (block)
		block->size = size;
	return block;
}

static struct zs_block *get_block(struct zs_block_cache *cache)
{
	struct zs_block *block = cache->first;

	if (!block)
		return allocate(ZS_BLOCK_SIZE, ZS_BLOCK_ALIGN);
	cache->first = block->next;
	cache->number--;
	return block;
}

static void put_block(struct zs_block_cache *cache, struct zs_block *block)
{
	zs_arena_unpoison(block, block->size);
	if (cache->number == ZS_BLOCKS_KEPT) {
		free(block);
		return;
	}
	block->next = cache->first;
	cache->first = block;
	cache->number++;
}

static void free_large(struct zs_arena_memory *memory)
{
	while (memory->large) {
		struct zs_block *block = memory->large;

		memory->large = block->next;
		free(block);
	}
}

static void put_blocks(struct zs_arena_memory *memory,
		       struct zs_block_cache *cache)
{
	while (memory->blocks) {
		struct zs_block *block = memory->blocks;

		memory->blocks = block->next;
		put_block(cache, block);
	}
}

/* What of @block, a usual one, is behind its first @used bytes. */
static void set_room(struct zs_room *room, struct zs_block *block, size_t used)
{
	room->next = (uintptr_t)block + used;
	room->end = (uintptr_t)block + ZS_BLOCK_SIZE;
	zs_arena_poison((void *)room->next, room->end - room->next);
}

struct zs_arena_memory *zs_arena_create(struct zs_block_cache *cache,
					size_t max_bytes, struct zs_room *room)
{
	struct zs_arena_memory *memory = (void *)get_block(cache);

	if (!memory)
		return NULL;
	memory->blocks = NULL;
	memory->large = NULL;
	memory->bytes = ZS_BLOCK_SIZE;
	memory->max_bytes = max_bytes;
	set_room(room, &memory->block, sizeof(*memory));
	return memory;
}

void zs_arena_clear(struct zs_arena_memory *memory,
		    struct zs_block_cache *cache, struct zs_room *room)
{
	free_large(memory);
	put_blocks(memory, cache);
	memory->bytes = ZS_BLOCK_SIZE;
	set_room(room, &memory->block, sizeof(*memory));
}

void zs_arena_destroy(struct zs_arena_memory *memory,
		      struct zs_block_cache *cache)
{
	free_large(memory);
	put_blocks(memory, cache);
	put_block(cache, &memory->block);
}

static int allow(struct zs_arena_memory *memory, size_t bytes)
{
	if (memory->max_bytes != 0 &&
	    (memory->bytes > memory->max_bytes ||
	     bytes > memory->max_bytes - memory->bytes))
		return zs_explain_as(-ENOMEM,
				     "zs_arena_options.max_bytes is %zu, and "
				     "the arena has %zu",
				     memory->max_bytes, memory->bytes);
	return 0;
}

static void *explain_no_memory(size_t size)
{
	zs_explain_as(-ENOMEM, "no memory for %zu bytes of an arena", size);
	return NULL;
}

/* Behind a head that is as large as it has to be for the alignment. */
static void *get_large(struct zs_arena_memory *memory, size_t size,
		       size_t align)
{
	size_t head = align > sizeof(struct zs_block) ? align :
							sizeof(struct zs_block);
	struct zs_block *block;

	if (size > SIZE_MAX / 2)
		return explain_no_memory(size);
	if (allow(memory, head + size) < 0)
		return NULL;
	block = allocate(head + size, align);
	if (!block)
		return explain_no_memory(size);
	memory->bytes += head + size;
	block->next = memory->large;
	memory->large = block;
	return (char *)block + head;
}

void *zs_arena_get(struct zs_arena_memory *memory, struct zs_block_cache *cache,
		   struct zs_room *room, size_t size, size_t align)
{
	struct zs_block *block;

	if (size > ZS_PIECE_MOST)
		return get_large(memory, size, align);
	if (allow(memory, ZS_BLOCK_SIZE) < 0)
		return NULL;
	block = get_block(cache);
	if (!block)
		return explain_no_memory(size);
	memory->bytes += ZS_BLOCK_SIZE;
	block->next = memory->blocks;
	memory->blocks = block;
	set_room(room, block, sizeof(*block));
	/* There is room: both are 4 KiB at most. */
	return (void *)zs_room_cut(&room->next, room->end, size, align);
}

void zs_block_cache_fini(struct zs_block_cache *cache)
{
	while (cache->first) {
		struct zs_block *block = cache->first;

		cache->first = block->next;
		free(block);
	}
	cache->number = 0;
}
