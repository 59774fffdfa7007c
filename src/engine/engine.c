/* SPDX-License-Identifier: MIT */
/* The choice of the model, and the making of its engine; for the runtime. */
#include "engine/engine.h"

#include <errno.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/explain.h"
#include "engine/blocking.h"
#include "engine/epoll.h"
#include "engine/uring.h"

/* 0, or an errno and a text for somebody who cannot have green_threads. */
static int check_usable(const struct zs_kernel *kernel, const char *asked)
{
	char why[256];
	int error = kernel->setup_error;

	switch (kernel->verdict) {
	case ZS_KERNEL_USABLE:
		return 0;
	case ZS_KERNEL_DENIED:
		error = -EPERM;
		break;
	case ZS_KERNEL_ABSENT:
	case ZS_KERNEL_TOO_OLD:
		error = -ENOSYS;
		break;
	case ZS_KERNEL_NO_MEMORY:
		break;
	}
	zs_kernel_why_denied(kernel, why, sizeof(why));
	return zs_explain_as(error, "%s: %s", asked, why);
}

static int choose(enum zs_execution_model asked, const struct zs_kernel *kernel,
		  enum zs_execution_model *chosen)
{
	switch (asked) {
	case ZS_MODEL_AUTO:
		*chosen = kernel->verdict == ZS_KERNEL_USABLE ?
				  ZS_MODEL_GREEN_THREADS :
				  ZS_MODEL_THREAD_POOL;
		return 0;
	case ZS_MODEL_GREEN_THREADS:
		*chosen = asked;
		return check_usable(kernel, "green_threads");
	case ZS_MODEL_THREAD_POOL:
	case ZS_MODEL_BLOCKING:
		*chosen = asked;
		return 0;
	}
	return zs_explain_none(-EINVAL);
}

int zs_engine_choose(enum zs_execution_model asked,
		     const struct zs_kernel *kernel,
		     enum zs_execution_model *chosen, char *reason, size_t size)
{
	int ret = choose(asked, kernel, chosen);
	char why[256];

	if (ret < 0)
		return ret;
	if (asked != ZS_MODEL_AUTO) {
		snprintf(reason, size, "asked for by name");
		return 0;
	}
	if (*chosen == ZS_MODEL_GREEN_THREADS) {
		snprintf(reason, size,
			 "auto: io_uring has all that green_threads needs");
		return 0;
	}
	zs_kernel_why_denied(kernel, why, sizeof(why));
	snprintf(reason, size, "auto: %s", why);
	return 0;
}

int zs_engine_create(struct zs_engine **engine, enum zs_execution_model model,
		     const struct zs_kernel *kernel, struct zs_offload *offload,
		     uint32_t queue_depth)
{
	uint32_t depth = 1;

	/* As a ring would have it. */
	while (depth < queue_depth)
		depth *= 2;
	if (model == ZS_MODEL_BLOCKING)
		return zs_blocking_create(engine, depth);
	if (model == ZS_MODEL_THREAD_POOL)
		return zs_epoll_create(engine, offload, depth);
	ZS_ASSERT(model == ZS_MODEL_GREEN_THREADS);
	return zs_uring_create(engine, kernel, offload, queue_depth);
}
