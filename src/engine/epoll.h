/* SPDX-License-Identifier: MIT */
/* The engine of the thread_pool model, which engine.c makes. */
#ifndef ZS_ENGINE_EPOLL_H
#define ZS_ENGINE_EPOLL_H

#include <stdint.h>

struct zs_engine;
struct zs_offload;

/* 0 or a negative errno, with a text. @queue_depth: how many events it takes at
 * a time. */
int zs_epoll_create(struct zs_engine **engine, struct zs_offload *offload,
		    uint32_t queue_depth);

#endif
