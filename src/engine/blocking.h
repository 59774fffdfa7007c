/* SPDX-License-Identifier: MIT */
/* The engine of the blocking model, which engine.c makes. */
#ifndef ZS_ENGINE_BLOCKING_H
#define ZS_ENGINE_BLOCKING_H

#include <stdint.h>

struct zs_engine;

/* 0 or a negative errno, with a text. It has no queue: the depth is told as it
 * was asked for. */
int zs_blocking_create(struct zs_engine **engine, uint32_t queue_depth);

#endif
