/* SPDX-License-Identifier: MIT */
/* The choice of the model, and the making of its engine; for the runtime. */
#include "engine/engine.h"

#include <errno.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/explain.h"
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

int zs_engine_choose(enum zs_execution_model asked,
		     const struct zs_kernel *kernel,
		     enum zs_execution_model *chosen, char *reason, size_t size)
{
	int ret;

	switch (asked) {
	case ZS_MODEL_AUTO:
		/* thread_pool is where auto will turn once it is built. */
		ret = check_usable(kernel, "auto (no thread_pool yet)");
		if (ret < 0)
			return ret;
		snprintf(reason, size,
			 "auto: io_uring has all that green_threads needs");
		break;
	case ZS_MODEL_GREEN_THREADS:
		ret = check_usable(kernel, "green_threads");
		if (ret < 0)
			return ret;
		snprintf(reason, size, "asked for by name");
		break;
	default:
		return zs_explain_as(
			-EOPNOTSUPP,
			"the model %s is not part of this version; use "
			"green_threads or auto",
			zs_execution_model_name(asked));
	}
	*chosen = ZS_MODEL_GREEN_THREADS;
	return 0;
}

int zs_engine_create(struct zs_engine **engine, enum zs_execution_model model,
		     const struct zs_kernel *kernel, uint32_t queue_depth)
{
	ZS_ASSERT(model == ZS_MODEL_GREEN_THREADS);
	return zs_uring_create(engine, kernel, queue_depth);
}
