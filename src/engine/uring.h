/* SPDX-License-Identifier: MIT */
/* The engine over io_uring, for engine.c. */
#ifndef ZS_ENGINE_URING_H
#define ZS_ENGINE_URING_H

#include "engine/engine.h"

int zs_uring_create(struct zs_engine **engine, const struct zs_kernel *kernel,
		    uint32_t queue_depth);

#endif
