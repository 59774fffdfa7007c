/* SPDX-License-Identifier: MIT */
/*
 * Waiting for a ring by other means than its own: with poll(2) in somebody
 * else's loop. Called by the worker, through zs_engine_ops, and by reap(). And
 * what ends a wait of either kind.
 *
 * The ring's descriptor would not do: where completions wait for the task to
 * run their last part (DEFER_TASKRUN) it is readable then, but nobody who polls
 * it already is told (6.18). The kernel does write to an eventfd that is
 * registered with the ring, which is the one that wakes write to.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/assert.h"
#include "engine/uring.h"

/* As long as uring.c waits until it asks the kernel again. */
#define REFUSED_WAIT_NS 1000000

static int embed(struct zs_uring *uring)
{
	int ret = zs_ring_register(&uring->ring, ZS_URING_REGISTER_EVENTFD,
				   &uring->wake_fd, 1);

	if (ret < 0)
		return ret;
	fcntl(uring->wake_fd, F_SETFL, O_NONBLOCK);
	uring->is_embedded = true;
	return 0;
}

int zs_uring_watch(struct zs_engine *engine, int64_t *wait_ns)
{
	struct zs_uring *uring =
		zs_container_of(engine, struct zs_uring, engine);
	int ret = uring->is_embedded ? 0 : embed(uring);

	if (ret < 0)
		return ret;
	engine->ops->flush(engine);
	if ((uring->deferred.first || uring->cancels.first ||
	     zs_uring_is_chasing(uring) || zs_ring_pending(&uring->ring)) &&
	    *wait_ns > REFUSED_WAIT_NS)
		*wait_ns = REFUSED_WAIT_NS;
	return uring->wake_fd;
}

/* What was signalled before is found by the reap that follows. */
void zs_uring_forget_signals(struct zs_uring *uring)
{
	ssize_t ret = read(uring->wake_fd, &uring->wake_count,
			   sizeof(uring->wake_count));

	(void)ret;
}

/* Any thread. An eventfd cannot be full: its counter has 64 bits. */
void zs_uring_wake(struct zs_engine *engine)
{
	struct zs_uring *uring =
		zs_container_of(engine, struct zs_uring, engine);
	uint64_t one = 1;
	int saved = errno;
	ssize_t ret;

	do {
		ret = write(uring->wake_fd, &one, sizeof(one));
	} while (ret < 0 && errno == EINTR);
	ZS_ASSERT(ret == sizeof(one));
	errno = saved;
}

bool zs_uring_has_ops(struct zs_engine *engine)
{
	struct zs_uring *uring =
		zs_container_of(engine, struct zs_uring, engine);
	const struct zs_engine_counters *counters = &engine->counters;
	uint32_t queued = uring->ring.tail - uring->counted_tail;

	/* relaxed, both: this thread counts. */
	return queued != uring->nr_own || uring->deferred.first ||
	       uring->cancels.first ||
	       atomic_load_explicit(&counters->submitted,
				    memory_order_relaxed) !=
		       atomic_load_explicit(&counters->completed,
					    memory_order_relaxed);
}
