/* SPDX-License-Identifier: MIT */
/*
 * Arenas: memory that is allocated by moving a pointer and freed all at once.
 *
 * An arena is a scope, as a cancel token is: the task that opens it closes it,
 * what was opened inside is closed before, and one that its task leaves open is
 * closed when that ends, and reported. So memory for a piece of work goes with
 * the work, in whatever way that ends:
 *
 *	zs_arena_open(&arena, NULL);
 *	request = zs_arena_alloc(&arena, sizeof(*request), 0);
 *	...
 *	zs_arena_close(&arena);
 *
 * It belongs to the worker of its task. Other tasks of that worker may allocate
 * from it, such as those of a nursery with ZS_NURSERY_PINNED that was opened
 * inside; others may use what was allocated, not allocate.
 */
#ifndef ZSYNC_ARENA_H
#define ZSYNC_ARENA_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct zs_scope;

/* The opener's memory, as a rule on its stack; nothing in it is for the
 * program. */
struct zs_arena {
	uintptr_t next;
	uintptr_t end;
	void *worker;
	void *memory;
	struct zs_scope *scope;
	uint64_t generation;
};

struct zs_arena_options {
	size_t size; /* sizeof(struct zs_arena_options) */
	/* How many bytes it may hold, in blocks of 16 KiB and larger pieces; 0:
	 * no limit. */
	size_t max_bytes;
};

/* Task. Opens one inside the current scope and enters its scope. NULL options
 * are all zero. Each worker keeps up to 32 blocks that are free. -EINVAL for no
 * arena or wrong options, -ENOMEM, -EPERM. */
int zs_arena_open(struct zs_arena *arena,
		  const struct zs_arena_options *options);

/*
 * A task of its worker. @size bytes, aligned to @align, which is a power of two
 * up to 4,096, or 0: for any type. They hold anything. Pieces above 4 KiB are
 * got from malloc(), and go with the arena, too. NULL: there is no memory (or
 * the limit is reached), no such arena, a bad @align, or the caller is on
 * another worker: zs_explain() has a text for -ENOMEM, -ESTALE, -EINVAL and
 * -EXDEV.
 */
void *zs_arena_alloc(struct zs_arena *arena, size_t size, size_t align);

/* The task that opened it. Frees all that was allocated; the arena stays open.
 * -ESTALE, -EPERM. */
int zs_arena_reset(struct zs_arena *arena);

/* The task that opened it. Frees all, and leaves its scope. 0, or how that was
 * cancelled: -ECANCELED or -ETIMEDOUT; in all three cases it is closed. Else it
 * stays open: -EPERM (another task opened it), -EBUSY (a scope opened inside it
 * is open), -ESTALE. */
int zs_arena_close(struct zs_arena *arena);

#ifdef __cplusplus
}
#endif
#endif
