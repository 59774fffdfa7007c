/* SPDX-License-Identifier: MIT */
/*
 * Cancels on a ring, and sending them again to what the kernel may not have
 * found. Called by the engine uring, on its worker's thread.
 */
#include "base/clock.h"
#include "engine/uring.h"

/* Between two cancels of an op. */
#define PAUSE_LEAST_NS 1000000
#define PAUSE_MOST_NS 64000000

bool zs_uring_queue_cancel(struct zs_uring *uring, uint64_t target)
{
	struct zs_sqe *sqe;

	if (zs_ring_is_full(&uring->ring))
		return false;
	sqe = zs_ring_next_sqe(&uring->ring);
	uring->nr_own++;
	sqe->opcode = ZS_URING_OP_ASYNC_CANCEL;
	sqe->flags = uring->cancel_sqe_flags;
	sqe->fd = -1;
	sqe->offset = 0;
	sqe->addr = target;
	sqe->length = 0;
	sqe->op_flags = 0;
	sqe->user_data = ZS_URING_NOTHING;
	return true;
}

/*
 * Does the kernel at times have it nowhere, where a cancel would find it? What
 * cannot be done though poll says that it can, it tries 128 times, each from
 * the task's own work, before a thread of its own waits for it: a cancel that
 * comes between two of these finds nothing (6.18). Such is the connecting of a
 * unix socket to a listener whose queue is full. And before 6.9 or so, what a
 * thread is to do is nowhere while it goes from their list to one of them.
 */
static bool is_elusive(const struct zs_uring *uring, const struct zs_op *op)
{
	return op->code == ZS_OP_CONNECT ||
	       (uring->loses_cancels &&
		zs_op_types[op->code].op_class != ZS_OP_ABORTABLE);
}

/* The next reap sends another cancel, and then one later and later: most were
 * found, and may be held for ever all the same. */
void zs_uring_start_chase(struct zs_uring *uring)
{
	uring->chase_ns = 0;
	uring->chase_pause_ns = PAUSE_LEAST_NS;
}

void zs_uring_note_cancelled(struct zs_uring *uring, struct zs_op *op)
{
	if (zs_likely(!is_elusive(uring, op)))
		return;
	op->cancel_waiting = true;
	zs_queue_append(&uring->elusive, &op->link);
	zs_uring_start_chase(uring);
}

/* There may be no room for all: then a later one is sent. */
static void cancel_elusive(struct zs_uring *uring)
{
	const struct zs_detached *detached = NULL;
	struct zs_link *link;

	for (link = uring->elusive.first; link; link = link->next)
		if (!zs_uring_queue_cancel(uring, zs_op_of(link)->user_data))
			return;
	if (uring->loses_cancels)
		detached = uring->detached;
	for (; detached; detached = detached->next)
		if (!zs_uring_queue_cancel(uring, detached->user_data))
			return;
}

int64_t zs_uring_chase(struct zs_uring *uring, int64_t wait_ns)
{
	int64_t now_ns = zs_clock_ns();

	if (now_ns >= uring->chase_ns) {
		cancel_elusive(uring);
		uring->chase_ns = now_ns + uring->chase_pause_ns;
		if (uring->chase_pause_ns < PAUSE_MOST_NS)
			uring->chase_pause_ns *= 2;
	}
	if (wait_ns > uring->chase_ns - now_ns)
		wait_ns = uring->chase_ns - now_ns;
	return wait_ns;
}
