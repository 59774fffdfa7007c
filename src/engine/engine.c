/* SPDX-License-Identifier: MIT */
/* The choice of the model, and the making of its engine; for the runtime. */
#include "engine/engine.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/explain.h"
#include "engine/abi.h"
#include "engine/blocking.h"
#include "engine/epoll.h"
#include "engine/uring.h"

enum { TRIAL_STACK_SIZE = 64 << 10 };

static const char no_threads[] =
	"no thread can be started, and this kernel's io_uring would try for "
	"ever; remedy: raise RLIMIT_NPROC (ulimit -u) or pids.max";

static void *end_at_once(void *arg)
{
	return arg;
}

static bool can_start_thread(void)
{
	pthread_attr_t attributes;
	sigset_t all, before;
	pthread_t thread;
	int error;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, TRIAL_STACK_SIZE);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(&thread, &attributes, end_at_once, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	if (error == 0)
		pthread_join(thread, NULL);
	/* Another error is of this thread's stack, not of any limit. */
	return error != EAGAIN;
}

/*
 * What an operation needs a thread of the kernel's for is cancelled where none
 * can be started. But not by every kernel before 6.11: up to 5.10.223, 5.15.164
 * and 6.1.104 it tries again and again, which keeps a CPU busy and can neither
 * be seen nor ended. So there it must not come to that, as far as can be told
 * now: such threads are subject to the same limits as ours.
 */
static bool lacks_threads(const struct zs_kernel *kernel)
{
	return !kernel->ops[ZS_URING_OP_BIND] && !can_start_thread();
}

/* 0, or an errno and a text for somebody who cannot have green_threads. */
static int check_usable(const struct zs_kernel *kernel, const char *asked)
{
	char why[256];
	int error = kernel->setup_error;

	switch (kernel->verdict) {
	case ZS_KERNEL_USABLE:
		if (!lacks_threads(kernel))
			return 0;
		return zs_explain_as(-EAGAIN, "%s: %s", asked, no_threads);
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
		*chosen = kernel->verdict == ZS_KERNEL_USABLE &&
					  !lacks_threads(kernel) ?
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
	if (kernel->verdict == ZS_KERNEL_USABLE) {
		snprintf(reason, size, "auto: %s", no_threads);
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
