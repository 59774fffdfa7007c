/* SPDX-License-Identifier: MIT */
/* Intrusive doubly linked list, circular through its head. One thread. */
#ifndef ZS_BASE_LIST_H
#define ZS_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct zs_list {
	struct zs_list *next;
	struct zs_list *prev;
};

static inline void zs_list_init(struct zs_list *list)
{
	list->next = list;
	list->prev = list;
}

static inline bool zs_list_empty(const struct zs_list *list)
{
	return list->next == list;
}

static inline void zs_list_append(struct zs_list *list, struct zs_list *node)
{
	node->next = list;
	node->prev = list->prev;
	list->prev->next = node;
	list->prev = node;
}

/* The node is left pointing nowhere useful. */
static inline void zs_list_remove(struct zs_list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
}

#endif
