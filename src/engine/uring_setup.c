/* SPDX-License-Identifier: MIT */
/* Making and freeing the engine over io_uring; what it does is in uring.c. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/explain.h"
#include "engine/memcheck.h"
#include "engine/uring.h"

static void init(struct zs_uring *uring, const struct zs_kernel *kernel,
		 struct zs_offload *offload)
{
	memset(uring, 0, sizeof(*uring));
	uring->engine.ops = &zs_uring_ops;
	uring->kernel = kernel;
	uring->is_watched = zs_memcheck_is_watching();
	/* What closed the last gap has no mark of its own, so one that came
	 * with a release soon after stands for it. */
	uring->loses_cancels = !kernel->ops[ZS_URING_OP_BIND];
	if (kernel->has_cqe_skip)
		uring->cancel_sqe_flags = ZS_URING_SQE_CQE_SKIP_SUCCESS;
	zs_queue_init(&uring->deferred);
	zs_queue_init(&uring->cancels);
	zs_queue_init(&uring->elusive);
	zs_queue_init(&uring->done);
	zs_returns_init(&uring->returns, offload, &uring->engine);
}

/* When the queue's size is known. */
static void prepare_starts(struct zs_uring *uring)
{
	const struct zs_op_type *type;
	int i;

	for (i = 0; i < ZS_NUM_OPS; i++) {
		type = &zs_op_types[i];
		uring->starts[i] = (struct zs_sqe_start){
			.opcode = type->sqe_opcode,
			.flags = type->sqe_flags,
			.room = !type->fill && uring->kernel->ops
							[type->sqe_opcode] ?
					uring->ring.sq_entries :
					0,
		};
	}
}

int zs_uring_create(struct zs_engine **engine, const struct zs_kernel *kernel,
		    struct zs_offload *offload, uint32_t queue_depth)
{
	struct zs_uring *uring;
	int ret;

	uring = aligned_alloc(ZS_CACHE_LINE,
			      (sizeof(*uring) + ZS_CACHE_LINE - 1) /
				      ZS_CACHE_LINE * ZS_CACHE_LINE);
	if (!uring)
		return zs_explain_as(-ENOMEM, "no memory for a ring");
	init(uring, kernel, offload);
	uring->wake_fd = eventfd(0, EFD_CLOEXEC);
	if (uring->wake_fd < 0) {
		ret = zs_explain_as(-errno, "no descriptor for a worker's "
					    "eventfd: raise RLIMIT_NOFILE");
		goto free;
	}
	ret = zs_ring_create(&uring->ring, kernel, queue_depth);
	if (ret < 0)
		goto close;
	uring->engine.queue_depth = uring->ring.sq_entries;
	prepare_starts(uring);
	*engine = &uring->engine;
	return 0;
close:
	close(uring->wake_fd);
free:
	free(uring);
	return ret;
}

void zs_uring_destroy(struct zs_engine *engine)
{
	struct zs_uring *uring =
		zs_container_of(engine, struct zs_uring, engine);

	zs_ring_destroy(&uring->ring);
	close(uring->wake_fd);
	free(uring);
}
