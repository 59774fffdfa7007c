/* SPDX-License-Identifier: MIT */
/*
 * Queue: first in, first out, of links that each say what is queued. So tasks
 * that are ready and operations that are done, which name the task that waits
 * for them, stand in one queue. One thread. Used by engines and the scheduler.
 */
#ifndef ZS_BASE_QUEUE_H
#define ZS_BASE_QUEUE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"

struct zs_link {
	struct zs_link *next; /* NULL in the last one */
	void *item;
};

struct zs_queue {
	struct zs_link *first;
	struct zs_link **last; /* the next of the last one, or first */
};

static ZS_ALWAYS_INLINE void zs_queue_init(struct zs_queue *queue)
{
	queue->first = NULL;
	queue->last = &queue->first;
}

static ZS_ALWAYS_INLINE void zs_queue_append(struct zs_queue *queue,
					     struct zs_link *link)
{
	link->next = NULL;
	*queue->last = link;
	queue->last = &link->next;
}

static ZS_ALWAYS_INLINE void zs_queue_prepend(struct zs_queue *queue,
					      struct zs_link *link)
{
	link->next = queue->first;
	if (!queue->first)
		queue->last = &link->next;
	queue->first = link;
}

/* NULL if it is empty. */
static ZS_ALWAYS_INLINE struct zs_link *zs_queue_pop(struct zs_queue *queue)
{
	struct zs_link *link = queue->first;

	if (!link)
		return NULL;
	queue->first = link->next;
	if (!queue->first)
		queue->last = &queue->first;
	return link;
}

/* All of it, linked. */
static ZS_ALWAYS_INLINE struct zs_link *
zs_queue_take_all(struct zs_queue *queue)
{
	struct zs_link *link = queue->first;

	zs_queue_init(queue);
	return link;
}

/* False if it is not there. Walks the queue: for rare use. */
static inline bool zs_queue_remove(struct zs_queue *queue, struct zs_link *link)
{
	struct zs_link **at;

	for (at = &queue->first; *at; at = &(*at)->next) {
		if (*at != link)
			continue;
		*at = link->next;
		if (!*at)
			queue->last = at;
		return true;
	}
	return false;
}

#endif
