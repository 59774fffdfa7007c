/* SPDX-License-Identifier: MIT */
/*
 * Slab: the cold side. The owner, a worker, comes here when its free list is
 * empty; other threads to give back and, for the dump, to walk.
 */
#include "mem/slab.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "base/explain.h"

enum {
	OBJECT_ALIGNMENT = 64,
	/* Multiples of every page size there is. Each is twice the one before,
	 * up to the most, which leaves the least to headers. */
	CHUNK_SIZE = 64 << 10,
	MAX_CHUNK_SIZE = 1 << 20,
	/* Beyond the first chunk pages are made this much at a time, which
	 * costs half of a fault for each. */
	FILL_SIZE = 64 << 10,
	ADVISE_POPULATE_WRITE = 23, /* MADV_POPULATE_WRITE, Linux 5.14 */
	MIN_PER_CHUNK = 8,
};

/* Heads its own map; the objects follow at OBJECT_ALIGNMENT. */
struct zs_slab_chunk {
	struct zs_slab_chunk *next; /* constant: walked without a lock */
	size_t size;
	size_t capacity;
	size_t filled; /* bytes from the start that have pages; the owner's */
	/* Written by the owner: objects that have been handed out once. What
	 * lies beyond has never been touched. */
	_Atomic size_t carved;
};

static_assert(sizeof(struct zs_slab_chunk) <= OBJECT_ALIGNMENT,
	      "the header has the place of one alignment");

static void *object_at(struct zs_slab_chunk *chunk, size_t object_size,
		       size_t index)
{
	return (char *)chunk + OBJECT_ALIGNMENT + index * object_size;
}

/* The list that other threads have built, now ours; NULL if there is none. */
static void *collect_returned(struct zs_slab *slab)
{
	/* relaxed: what is missed now is found by the next refill. */
	if (!atomic_load_explicit(&slab->returned, memory_order_relaxed))
		return NULL;
	/* acquire: pairs with the release in zs_slab_put_remote(); the links
	 * and all that the other thread did to the object are visible. */
	return atomic_exchange_explicit(&slab->returned, NULL,
					memory_order_acquire);
}

static size_t chunk_size(const struct zs_slab *slab,
			 const struct zs_slab_chunk *newest)
{
	size_t wanted = OBJECT_ALIGNMENT + slab->object_size * MIN_PER_CHUNK;
	size_t least = (wanted + CHUNK_SIZE - 1) & ~(size_t)(CHUNK_SIZE - 1);

	if (!newest)
		return least;
	if (newest->size >= MAX_CHUNK_SIZE)
		return newest->size;
	return newest->size * 2;
}

static struct zs_slab_chunk *map_chunk(struct zs_slab *slab)
{
	/* relaxed: only the owner, who is here, writes it. */
	struct zs_slab_chunk *newest =
		atomic_load_explicit(&slab->chunks, memory_order_relaxed);
	size_t size = chunk_size(slab, newest);
	int saved_errno = errno;
	struct zs_slab_chunk *chunk;

	chunk = mmap(NULL, size, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (chunk == MAP_FAILED) {
		zs_explain_as(-ENOMEM, "cannot map %zu KiB for objects: %s",
			      size >> 10, strerror(errno));
		errno = saved_errno;
		return NULL;
	}
	chunk->size = size;
	chunk->capacity = (size - OBJECT_ALIGNMENT) / slab->object_size;
	atomic_init(&chunk->carved, 0);
	/* The first one is small, and filled as it is touched. */
	chunk->filled = newest ? 0 : size;
	chunk->next = newest;
	/* release: publishes the header to zs_slab_walk(). */
	atomic_store_explicit(&slab->chunks, chunk, memory_order_release);
	return chunk;
}

/* EINVAL: an older kernel, which makes each page when it is touched. */
static void fill(struct zs_slab_chunk *chunk, size_t end)
{
	int saved_errno = errno;

	if (end <= chunk->filled)
		return;
	end = (end + FILL_SIZE - 1) & ~(size_t)(FILL_SIZE - 1);
	if (end > chunk->size)
		end = chunk->size;
	madvise((char *)chunk + chunk->filled, end - chunk->filled,
		ADVISE_POPULATE_WRITE);
	chunk->filled = end;
	errno = saved_errno;
}

/* One at a time: memory comes to be resident little by little, as it is used.
 */
static void *carve(struct zs_slab *slab)
{
	/* relaxed, both: only the owner, who is here, writes them. */
	struct zs_slab_chunk *chunk =
		atomic_load_explicit(&slab->chunks, memory_order_relaxed);
	size_t carved = chunk ? atomic_load_explicit(&chunk->carved,
						     memory_order_relaxed) :
				0;

	if (!chunk || carved == chunk->capacity) {
		chunk = map_chunk(slab);
		carved = 0;
	}
	if (!chunk)
		return NULL;
	fill(chunk, OBJECT_ALIGNMENT + (carved + 1) * slab->object_size);
	/* release: orders the count behind what came before, for the acquire
	 * in zs_slab_walk(). The object is zero, as the kernel made it. */
	atomic_store_explicit(&chunk->carved, carved + 1, memory_order_release);
	return object_at(chunk, slab->object_size, carved);
}

void zs_slab_init(struct zs_slab *slab, size_t object_size)
{
	ZS_ASSERT(object_size >= sizeof(void *));
	slab->free = NULL;
	slab->object_size = (object_size + OBJECT_ALIGNMENT - 1) &
			    ~(size_t)(OBJECT_ALIGNMENT - 1);
	atomic_init(&slab->chunks, NULL);
	atomic_init(&slab->returned, NULL);
}

void zs_slab_fini(struct zs_slab *slab)
{
	/* relaxed: the caller has stopped everyone else. */
	struct zs_slab_chunk *chunk =
		atomic_load_explicit(&slab->chunks, memory_order_relaxed);
	struct zs_slab_chunk *next;

	for (; chunk; chunk = next) {
		next = chunk->next;
		munmap(chunk, chunk->size);
	}
	zs_slab_init(slab, slab->object_size);
}

void *zs_slab_refill(struct zs_slab *slab)
{
	void *object = collect_returned(slab);

	if (!object)
		return carve(slab);
	slab->free = *(void **)object;
	return object;
}

void zs_slab_put_remote(struct zs_slab *slab, void *object)
{
	/* relaxed: a stale top only makes the exchange fail once. */
	void *top = atomic_load_explicit(&slab->returned, memory_order_relaxed);

	/* release: publishes the link and the last use of the object to
	 * collect_returned(). The list is taken whole: there is no pop that a
	 * reused address could deceive. */
	do {
		*(void **)object = top;
	} while (!atomic_compare_exchange_weak_explicit(
		&slab->returned, &top, object, memory_order_release,
		memory_order_relaxed));
}

size_t zs_slab_peak(const struct zs_slab *slab)
{
	/* acquire: pairs with the release in map_chunk(). */
	const struct zs_slab_chunk *chunk =
		atomic_load_explicit(&slab->chunks, memory_order_acquire);
	size_t carved = 0;

	/* relaxed: a number. */
	for (; chunk; chunk = chunk->next)
		carved += atomic_load_explicit(&chunk->carved,
					       memory_order_relaxed);
	return carved;
}

void zs_slab_walk(struct zs_slab *slab, void (*visit)(void *object, void *arg),
		  void *arg)
{
	/* acquire: pairs with the release in map_chunk(). */
	struct zs_slab_chunk *chunk =
		atomic_load_explicit(&slab->chunks, memory_order_acquire);

	for (; chunk; chunk = chunk->next) {
		/* acquire: pairs with the release in carve(). */
		size_t carved = atomic_load_explicit(&chunk->carved,
						     memory_order_acquire);

		for (size_t i = 0; i < carved; i++)
			visit(object_at(chunk, slab->object_size, i), arg);
	}
}
