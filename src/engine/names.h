/* SPDX-License-Identifier: MIT */
/*
 * ZSYNC_DISABLE, parsed: what the user hides. Of the probe, which takes it away
 * from what the kernel has. The names themselves are in probe.h.
 */
#ifndef ZS_ENGINE_NAMES_H
#define ZS_ENGINE_NAMES_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/abi.h"

struct zs_kernel_mask {
	bool io_uring; /* all of it */
	bool ops[ZS_URING_NR_OPS];
	uint64_t setup_flags;  /* ZS_URING_SETUP_... */
	uint64_t features;     /* ZS_URING_FEAT_... */
	uint64_t register_ops; /* 1 << ZS_URING_REGISTER_... */
	uint64_t abilities;    /* 1 << ZS_ABILITY_... */
};

/* Any thread. How many names there were, or -EINVAL, explained. Blanks and
 * empty words do no harm. "linux-5.15" stands for all that came later. */
int zs_kernel_mask_from_env(struct zs_kernel_mask *mask);

#endif
