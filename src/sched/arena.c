/* SPDX-License-Identifier: MIT */
/* Arenas, as the public header has them: scopes that have memory. Called by
 * tasks. */
#include "zsync/arena.h"

#include <errno.h>

#include "base/compiler.h"
#include "base/explain.h"
#include "mem/arena.h"
#include "sched/scope.h"
#include "sched/worker.h"
#include "zsync/time.h"

enum {
	DEFAULT_ALIGN = _Alignof(max_align_t),
	ALIGN_MOST = 4096,
};

static int check_options(const struct zs_arena_options *options)
{
	if (!options || options->size == sizeof(*options))
		return 0;
	return zs_explain_as(-EINVAL,
			     "zs_arena_options.size is %zu: set it to "
			     "sizeof(struct zs_arena_options), here %zu",
			     options->size, sizeof(*options));
}

ZS_PUBLIC int zs_arena_open(struct zs_arena *arena,
			    const struct zs_arena_options *options)
{
	struct zs_task *task = zs_worker_task();
	struct zs_worker *worker;
	struct zs_room room;
	int ret;

	if (!task)
		return zs_explain_none(-EPERM);
	if (!arena)
		return zs_explain_none(-EINVAL);
	ret = check_options(options);
	if (ret < 0)
		return ret;
	worker = task->worker;
	*arena = (struct zs_arena){ .worker = worker };
	arena->memory = zs_arena_create(
		&worker->blocks, options ? options->max_bytes : 0, &room);
	if (!arena->memory)
		return zs_explain_as(-ENOMEM, "no memory for an arena");
	arena->scope = zs_scope_open(task, ZS_NEVER);
	if (!arena->scope) {
		zs_arena_destroy(arena->memory, &worker->blocks);
		arena->memory = NULL;
		return -ENOMEM;
	}
	arena->scope->kind = ZS_SCOPE_ARENA;
	arena->scope->memory = arena->memory;
	arena->scope->needs_care = true;
	/* relaxed: this thread is the only writer. */
	arena->generation = atomic_load_explicit(&arena->scope->generation,
						 memory_order_relaxed);
	arena->next = room.next;
	arena->end = room.end;
	return 0;
}

static ZS_NOINLINE void *alloc_apart(struct zs_arena *arena, size_t size,
				     size_t align)
{
	struct zs_worker *worker = arena ? arena->worker : NULL;
	struct zs_room room;
	void *piece;

	if (!worker || !arena->memory) {
		zs_explain_as(-ESTALE, "the arena is not open");
		return NULL;
	}
	if (worker != zs_worker_self) {
		zs_explain_as(-EXDEV,
			      "the arena is worker %u's: allocate in a task of "
			      "that, as in a nursery with ZS_NURSERY_PINNED",
			      worker->index);
		return NULL;
	}
	if (align == 0)
		align = DEFAULT_ALIGN;
	if (align > ALIGN_MOST || (align & (align - 1)) != 0) {
		zs_explain_as(-EINVAL,
			      "an alignment of %zu: it is a power of two up to "
			      "%d, or 0",
			      align, ALIGN_MOST);
		return NULL;
	}
	room.next = arena->next;
	room.end = arena->end;
	piece = (void *)zs_room_cut(&room.next, room.end, size, align);
	if (!piece)
		piece = zs_arena_get(arena->memory, &worker->blocks, &room,
				     size, align);
	arena->next = room.next;
	arena->end = room.end;
	return piece;
}

ZS_PUBLIC void *zs_arena_alloc(struct zs_arena *arena, size_t size,
			       size_t align)
{
	uintptr_t at;

	/* One that is closed has no worker. */
	if (zs_unlikely(align != 0 || !arena ||
			arena->worker != zs_worker_self || !arena->worker))
		return alloc_apart(arena, size, align);
	at = zs_room_cut(&arena->next, arena->end, size, DEFAULT_ALIGN);
	if (zs_unlikely(at == 0))
		return alloc_apart(arena, size, align);
	return (void *)at;
}

static int check_opener(const struct zs_arena *arena)
{
	const struct zs_task *task = zs_worker_task();

	if (!task)
		return zs_explain_none(-EPERM);
	if (!arena || !arena->memory)
		return zs_explain_none(-ESTALE);
	return zs_scope_check_opener(arena->scope, arena->generation, task);
}

ZS_PUBLIC int zs_arena_reset(struct zs_arena *arena)
{
	int ret = check_opener(arena);
	struct zs_room room;

	/* Scopes inside it may use what is allocated from here on. */
	if (ret < 0 && ret != -EBUSY)
		return ret;
	zs_arena_clear(arena->memory, &zs_worker_self->blocks, &room);
	arena->next = room.next;
	arena->end = room.end;
	return 0;
}

ZS_PUBLIC int zs_arena_close(struct zs_arena *arena)
{
	int ret = check_opener(arena);
	struct zs_worker *worker = zs_worker_self;

	if (ret < 0)
		return ret;
	ret = zs_scope_close(worker->current, arena->scope);
	zs_arena_destroy(arena->memory, &worker->blocks);
	*arena = (struct zs_arena){ 0 };
	return ret;
}
