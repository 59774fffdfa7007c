/* SPDX-License-Identifier: MIT */
/* Functions of the program on threads of the pool, in a lane of their own.
 * Called by tasks. */
#include "zsync/offload.h"

#include <errno.h>
#include <stdbool.h>

#include "base/compiler.h"
#include "base/explain.h"
#include "engine/offload.h"
#include "io/await.h"

/* On the task's stack, which waits for it once it has begun. */
struct offloaded {
	zs_offload_fn *fn;
	void *arg;
	int result; /* any number: not what the op's is */
	bool has_run;
};

/* On a thread of the pool, or where there is none on the worker's: it is no
 * task then either. */
static int run_offloaded(void *arg)
{
	struct offloaded *offloaded = arg;
	struct zs_worker *worker = zs_worker_self;
	struct zs_task *task = worker ? worker->current : NULL;

	if (worker)
		worker->current = NULL;
	offloaded->result = offloaded->fn(offloaded->arg);
	offloaded->has_run = true;
	if (worker)
		worker->current = task;
	return 0;
}

ZS_PUBLIC int zs_offload(zs_offload_fn *fn, void *arg)
{
	struct offloaded offloaded = { .fn = fn, .arg = arg };
	struct zs_op op = {
		.code = ZS_OP_CALL,
		.address = (uint64_t)(uintptr_t)run_offloaded,
		.offset = (uint64_t)(uintptr_t)&offloaded,
		.length = ZS_LANE_JOBS,
	};
	int ret;

	if (!zs_worker_task())
		return zs_explain_none(-EPERM);
	if (!fn)
		return zs_explain_none(-EINVAL);
	ret = zs_await(&op);
	return offloaded.has_run ? offloaded.result : ret;
}
