/* SPDX-License-Identifier: MIT */
/* Nurseries of other kinds are opened as nurseries are. */
#ifndef ZS_SCHED_NURSERY_H
#define ZS_SCHED_NURSERY_H

#include <stdint.h>

#include "zsync/nursery.h"

/* As zs_nursery_open(); @flags are those that there are. */
int zs_nursery_open_as(struct zs_nursery *nursery,
		       const struct zs_nursery_options *options,
		       uint32_t flags);

#endif
