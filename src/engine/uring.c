/* SPDX-License-Identifier: MIT */
/*
 * The engine over io_uring: one ring a worker. Called through zs_engine_ops.
 *
 * The memory that a submission names is the kernel's until its completion has
 * been reaped; nothing here ends an op earlier. A cancel is a submission of its
 * own whose completion says nothing and is dropped: the op's own decides.
 *
 * The kernel knows an op by its address and a generation in one word: the low
 * end of the op's place among all submissions. Ops are aligned to 16 and
 * addresses have 48 bits (more only for those who ask mmap for it), which
 * leaves 20 bits of generation. Each op has one completion: none of ours is
 * multishot, so no completion has F_MORE.
 */
#include "engine/uring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/explain.h"
#include "engine/entry.h"
#include "engine/memcheck.h"
#include "engine/ring.h"

/* user_data of what is not an op's; no op is at such an address. */
#define USER_DATA_NOTHING ZS_URING_NOTHING
#define USER_DATA_WAKE UINT64_C(1)

/* How long to wait before the kernel is asked again to take what it refused. */
#define REFUSED_WAIT_NS 1000000

/* How long an engine that ends waits for detached ops. */
#define DETACHED_WAIT_NS 100000000

static struct zs_uring *uring_of(struct zs_engine *engine)
{
	return zs_container_of(engine, struct zs_uring, engine);
}

static bool queue_wake(struct zs_uring *uring)
{
	struct zs_sqe *sqe;

	if (zs_ring_is_full(&uring->ring))
		return false;
	sqe = zs_ring_next_sqe(&uring->ring);
	uring->nr_own++;
	sqe->opcode = ZS_URING_OP_READ;
	sqe->flags = 0;
	sqe->fd = uring->wake_fd;
	sqe->offset = 0;
	sqe->addr = (uint64_t)(uintptr_t)&uring->wake_count;
	sqe->length = sizeof(uring->wake_count);
	sqe->op_flags = 0;
	sqe->user_data = USER_DATA_WAKE;
	return true;
}

/* Before the kernel is entered: what was queued since the last time. */
static void count_submitted(struct zs_uring *uring)
{
	uint32_t tail = uring->ring.tail;

	ZS_COUNT(uring->engine.counters.submitted,
		 tail - uring->counted_tail - uring->nr_own);
	uring->counted_tail = tail;
	uring->nr_own = 0;
}

/* True if that made room. */
static bool hand_over(struct zs_uring *uring)
{
	count_submitted(uring);
	ZS_COUNT(uring->engine.counters.enters, 1);
	return zs_ring_submit(&uring->ring);
}

static bool has_refused(const struct zs_uring *uring)
{
	return uring->deferred.first || uring->cancels.first;
}

/* Where its entry is not like the op, only when the queue is empty. */
static ZS_COLD bool queue_op(struct zs_uring *uring, struct zs_op *op)
{
	if (!zs_op_types[op->code].fill)
		return zs_uring_queue(uring, op, op);
	while (zs_ring_pending(&uring->ring))
		if (!hand_over(uring))
			return false;
	if (!zs_entry_submit(uring, op))
		return false;
	ZS_PROBE_SUBMIT(op);
	count_submitted(uring);
	return true;
}

/* As many as there is room for. Cancels first: they free what the kernel may
 * be short of. Their ops are with the kernel already. */
static void queue_some_refused(struct zs_uring *uring)
{
	struct zs_op *op;

	while (uring->cancels.first) {
		op = zs_op_of(uring->cancels.first);
		if (!zs_uring_queue_cancel(uring, op->user_data))
			return;
		zs_queue_pop(&uring->cancels);
		op->cancel_waiting = false;
		zs_uring_note_cancelled(uring, op);
	}
	while (uring->deferred.first) {
		op = zs_op_of(uring->deferred.first);
		if (!queue_op(uring, op))
			return;
		zs_queue_pop(&uring->deferred);
		op->state = ZS_OP_IN_FLIGHT;
	}
}

/* Makes good what found the queue full, unless the kernel still refuses. */
static ZS_COLD void queue_refused(struct zs_uring *uring)
{
	do {
		queue_some_refused(uring);
	} while (has_refused(uring) && hand_over(uring));
}

/* One that is counted as submitted. */
static void finish_early(struct zs_uring *uring, struct zs_op *op, int result)
{
	op->result = result;
	op->state = ZS_OP_DONE;
	ZS_PROBE_COMPLETE(op);
	zs_queue_append(&uring->done, &op->link);
}

static void submit_elsewhere(struct zs_uring *uring, struct zs_op *op)
{
	ZS_COUNT(uring->engine.counters.submitted, 1);
	ZS_PROBE_SUBMIT(op);
	if (!zs_entry_do_without(uring, op))
		finish_early(uring, op, op->result);
}

/* An op that zs_uring_queue() did not take. */
static ZS_COLD void submit_later(struct zs_uring *uring, struct zs_op *op)
{
	if (!zs_entry_is_possible(uring, op)) {
		submit_elsewhere(uring, op);
		return;
	}
	if (queue_op(uring, op) || (hand_over(uring) && queue_op(uring, op)))
		return;
	ZS_COUNT(uring->engine.counters.deferred, 1);
	op->state = ZS_OP_DEFERRED;
	zs_queue_append(&uring->deferred, &op->link);
}

static bool uring_submit(struct zs_engine *engine, struct zs_op *op)
{
	struct zs_uring *uring = uring_of(engine);

	if (zs_unlikely(!zs_uring_queue(uring, op, op)))
		submit_later(uring, op);
	return false;
}

/* False: there is no room, nor does the kernel make any. */
static bool ask_to_end(struct zs_uring *uring, const struct zs_op *op)
{
	return zs_uring_queue_cancel(uring, op->user_data) ||
	       (hand_over(uring) &&
		zs_uring_queue_cancel(uring, op->user_data));
}

/* One whose completion waits to be reaped is cancelled like any other: the
 * kernel finds nothing by its user_data, now or later. */
static void uring_cancel(struct zs_engine *engine, struct zs_op *op)
{
	struct zs_uring *uring = uring_of(engine);
	bool found;

	if (op->state == ZS_OP_DONE || op->cancel_asked)
		return;
	op->cancel_asked = true;
	if (op->state == ZS_OP_DEFERRED) {
		found = zs_queue_remove(&uring->deferred, &op->link);
		ZS_ASSERT(found);
		ZS_COUNT(engine->counters.submitted, 1);
		finish_early(uring, op, -ECANCELED);
		return;
	}
	if (op->state == ZS_OP_OFFLOADED) {
		if (zs_offload_cancel(&uring->returns, op))
			finish_early(uring, op, -ECANCELED);
		return;
	}
	ZS_ASSERT(op->state == ZS_OP_IN_FLIGHT);
	if (ask_to_end(uring, op)) {
		zs_uring_note_cancelled(uring, op);
		return;
	}
	ZS_COUNT(engine->counters.deferred, 1);
	op->cancel_waiting = true;
	zs_queue_append(&uring->cancels, &op->link);
}

static bool detach_offloaded(struct zs_uring *uring, struct zs_op *op,
			     struct zs_detached *detached)
{
	uring_cancel(&uring->engine, op);
	if (op->state == ZS_OP_DONE)
		return false;
	ZS_COUNT(uring->engine.counters.detached, 1);
	zs_offload_detach(&uring->returns, op, detached);
	return true;
}

/* The kernel copies the path that an op names when it takes its entry, so that
 * has to have happened; of statx only since 5.18, before SEND_ZC came. */
static bool uring_detach(struct zs_engine *engine, struct zs_op *op,
			 struct zs_detached *detached)
{
	struct zs_uring *uring = uring_of(engine);

	if (op->state == ZS_OP_OFFLOADED)
		return detach_offloaded(uring, op, detached);
	if (op->state != ZS_OP_IN_FLIGHT || op->cancel_waiting ||
	    (op->code == ZS_OP_STATX &&
	     !uring->kernel->ops[ZS_URING_OP_SEND_ZC]))
		return false;
	if (!op->cancel_asked && !ask_to_end(uring, op))
		return false;
	op->cancel_asked = true;
	while (zs_ring_pending(&uring->ring))
		if (!hand_over(uring))
			return false;
	ZS_COUNT(engine->counters.detached, 1);
	detached->user_data = op->user_data;
	detached->next = uring->detached;
	uring->detached = detached;
	op->user_data = USER_DATA_NOTHING;
	zs_uring_start_chase(uring);
	return true;
}

static bool take_detached(struct zs_uring *uring, const struct zs_cqe *cqe)
{
	struct zs_detached **link = &uring->detached;

	for (; *link; link = &(*link)->next) {
		struct zs_detached *detached = *link;

		if (detached->user_data != cqe->user_data)
			continue;
		*link = detached->next;
		ZS_COUNT(uring->engine.counters.completed, 1);
		detached->release(detached, cqe->result);
		return true;
	}
	return false;
}

/* A completion that is not an op's. */
static ZS_COLD void complete_own(struct zs_uring *uring,
				 const struct zs_cqe *cqe)
{
	if (cqe->user_data != USER_DATA_WAKE)
		return;
	/* A worker that cannot be woken would leave its tasks waiting. */
	if (cqe->result < 0 && !uring->is_finishing)
		zs_panic(__FILE__, __LINE__,
			 "the read that wakes a worker failed: was its eventfd "
			 "closed by its number?");
	uring->wake_armed = false;
	uring->was_woken = uring->is_polling;
}

/* The op that is done now, or NULL. @with_care: some op's cancel waits for
 * room, perhaps its own, or some op was detached and its memory is none now. */
static ZS_ALWAYS_INLINE struct zs_op *
complete(struct zs_uring *uring, const struct zs_cqe *cqe, bool with_care)
{
	uint64_t user_data = cqe->user_data;
	struct zs_op *op;

	if (zs_unlikely(user_data <= USER_DATA_WAKE)) {
		complete_own(uring, cqe);
		return NULL;
	}
	if (with_care && take_detached(uring, cqe))
		return NULL;
	op = (void *)(uintptr_t)((user_data & ZS_URING_ADDRESS_MASK)
				 << ZS_URING_ADDRESS_SHIFT);
	if (zs_unlikely(op->user_data != user_data)) {
		ZS_COUNT(uring->engine.counters.late, 1);
		return NULL;
	}
	op->user_data = USER_DATA_NOTHING;
	op->result = cqe->result;
	if (zs_unlikely(op->result < 0))
		op->result = zs_op_mend_result(op, op->result);
	op->state = ZS_OP_DONE;
	ZS_PROBE_COMPLETE(op);
	if (with_care && op->cancel_waiting &&
	    !zs_queue_remove(&uring->cancels, &op->link))
		zs_queue_remove(&uring->elusive, &op->link);
	return op;
}

static ZS_COLD void tell_memcheck(struct zs_link *link)
{
	for (; link; link = link->next)
		zs_memcheck_op_done(zs_op_of(link));
}

/* How many completions were taken that are no op's. */
static ZS_ALWAYS_INLINE uint32_t take_completions(struct zs_uring *uring,
						  struct zs_queue *done,
						  uint32_t head, uint32_t tail,
						  bool with_care)
{
	struct zs_link **last = done->last;
	uint32_t nr_other = 0;
	struct zs_op *op;

	for (; head != tail; head++) {
		op = complete(uring, zs_ring_cqe(&uring->ring, head),
			      with_care);
		if (!op) {
			nr_other++;
			continue;
		}
		*last = &op->link;
		last = &op->link.next;
	}
	*last = NULL;
	done->last = last;
	return nr_other;
}

static ZS_COLD uint32_t take_with_care(struct zs_uring *uring,
				       struct zs_queue *done, uint32_t head,
				       uint32_t tail)
{
	return take_completions(uring, done, head, tail, true);
}

static void drain_completions(struct zs_uring *uring, struct zs_queue *done)
{
	uint32_t head = zs_ring_cq_head(&uring->ring);
	uint32_t tail = zs_ring_cq_tail(&uring->ring);
	struct zs_link **first = done->last;
	uint32_t nr_other;

	uring->is_flag_stale = head == tail &&
			       zs_ring_needs_enter(&uring->ring);
	if (head == tail)
		return;
	if (zs_unlikely(uring->cancels.first || uring->elusive.first ||
			uring->detached))
		nr_other = take_with_care(uring, done, head, tail);
	else
		nr_other = take_completions(uring, done, head, tail, false);
	zs_ring_cq_advance(&uring->ring, tail);
	ZS_COUNT(uring->engine.counters.completed, tail - head - nr_other);
	if (zs_unlikely(uring->is_watched))
		tell_memcheck(*first);
}

/* The kernel keeps what the queue could not take; each look hands over a
 * queueful. It ends: nothing is submitted meanwhile. */
static ZS_COLD void drain_overflow(struct zs_uring *uring,
				   struct zs_queue *done)
{
	do {
		ZS_COUNT(uring->engine.counters.cq_overflows, 1);
		ZS_COUNT(uring->engine.counters.enters, 1);
		zs_ring_wait(&uring->ring, 0);
		drain_completions(uring, done);
	} while (zs_ring_has_overflowed(&uring->ring));
}

static ZS_COLD void move_early(struct zs_uring *uring, struct zs_queue *done)
{
	while (uring->done.first) {
		ZS_COUNT(uring->engine.counters.completed, 1);
		zs_queue_append(done, zs_queue_pop(&uring->done));
	}
}

static ZS_COLD void take_returned(struct zs_uring *uring, struct zs_queue *done)
{
	uint32_t count = zs_returns_collect(&uring->returns, done);

	ZS_COUNT(uring->engine.counters.completed, count);
}

static void uring_flush(struct zs_engine *engine)
{
	struct zs_uring *uring = uring_of(engine);

	if (zs_unlikely(has_refused(uring)))
		queue_refused(uring);
	if (zs_ring_pending(&uring->ring))
		hand_over(uring);
}

static bool has_completions(struct zs_uring *uring)
{
	return uring->done.first || !zs_returns_is_empty(&uring->returns) ||
	       zs_ring_cq_head(&uring->ring) != zs_ring_cq_tail(&uring->ring) ||
	       zs_ring_has_overflowed(&uring->ring);
}

/* The kernel sets TASKRUN after it has queued the work, which an enter may have
 * done by then; the flag stays until the next work (6.18). */
static bool uring_ready(struct zs_engine *engine)
{
	struct zs_uring *uring = uring_of(engine);

	return has_completions(uring) ||
	       (!uring->is_flag_stale && zs_ring_needs_enter(&uring->ring));
}

/* Before a wait, which alone needs it: until there is one, the eventfd
 * remembers. How long to wait. */
static ZS_COLD int64_t arm_wake(struct zs_uring *uring, int64_t wait_ns)
{
	if (uring->was_woken) {
		uring->was_woken = false;
		return 0;
	}
	uring->wake_armed = queue_wake(uring) ||
			    (hand_over(uring) && queue_wake(uring));
	return wait_ns;
}

/* Hands the queue over and waits for a completion. What the kernel does not
 * take must not sleep through a long wait: it is kept for the next reap, and
 * this one only collects what is done and waits a little, lest the worker spin
 * until the kernel has memory again. */
static void enter(struct zs_uring *uring, int64_t wait_ns)
{
	count_submitted(uring);
	if (zs_likely(!has_refused(uring) &&
		      (wait_ns <= 0 || uring->wake_armed))) {
		ZS_COUNT(uring->engine.counters.enters, 1);
		if (zs_likely(zs_ring_submit_and_wait(&uring->ring, wait_ns)))
			return;
	}
	if (wait_ns > REFUSED_WAIT_NS)
		wait_ns = REFUSED_WAIT_NS;
	ZS_COUNT(uring->engine.counters.enters, 1);
	zs_ring_wait(&uring->ring, wait_ns);
}

static void uring_reap(struct zs_engine *engine, struct zs_queue *done,
		       int64_t wait_ns)
{
	struct zs_uring *uring = uring_of(engine);
	struct zs_ring *ring = &uring->ring;

	if (zs_unlikely(uring->is_embedded))
		zs_uring_forget_signals(uring);
	if (zs_unlikely(has_refused(uring)))
		queue_refused(uring);
	if (zs_unlikely(zs_uring_is_chasing(uring)))
		wait_ns = zs_uring_chase(uring, wait_ns);
	uring->is_polling = wait_ns <= 0;
	/* TASKRUN is no reason not to wait: that begins with such work. */
	if (has_completions(uring))
		wait_ns = 0;
	if (zs_unlikely(wait_ns > 0 && !uring->wake_armed))
		wait_ns = arm_wake(uring, wait_ns);
	if (wait_ns > 0 || zs_ring_pending(ring) || zs_ring_needs_enter(ring))
		enter(uring, wait_ns);
	drain_completions(uring, done);
	if (zs_unlikely(zs_ring_has_overflowed(ring)))
		drain_overflow(uring, done);
	if (zs_unlikely(uring->done.first != NULL))
		move_early(uring, done);
	if (zs_unlikely(!zs_returns_is_empty(&uring->returns)))
		take_returned(uring, done);
}

static int uring_start(struct zs_engine *engine)
{
	struct zs_uring *uring = uring_of(engine);

	return zs_ring_enable(&uring->ring, uring->kernel);
}

static bool has_detached(const struct zs_uring *uring)
{
	return uring->detached || uring->returns.num_detached > 0;
}

/* A ring closed with something in flight pins files and memory until the kernel
 * gets round to it; so the one thing that is left is ended first. */
static bool uring_finish(struct zs_engine *engine)
{
	struct zs_uring *uring = uring_of(engine);
	int64_t end_ns = zs_clock_ns() + DETACHED_WAIT_NS;
	struct zs_queue done;
	bool is_asked = false;

	zs_queue_init(&done);
	uring->is_finishing = true;
	uring_flush(engine);
	/* They were told to end when they were detached. */
	while (has_detached(uring) && zs_clock_ns() < end_ns)
		uring_reap(engine, &done, REFUSED_WAIT_NS);
	zs_returns_abandon(&uring->returns);
	zs_returns_collect(&uring->returns, &done);
	while (uring->wake_armed) {
		if (!is_asked)
			is_asked = zs_uring_queue_cancel(uring, USER_DATA_WAKE);
		uring_reap(engine, &done,
			   is_asked ? INT64_MAX : REFUSED_WAIT_NS);
	}
	ZS_ASSERT(!done.first);
	ZS_ASSERT(!has_refused(uring));
	zs_ring_disable(&uring->ring);
	return !has_detached(uring);
}

const struct zs_engine_ops zs_uring_ops = {
	.start = uring_start,
	.submit = uring_submit,
	.cancel = uring_cancel,
	.detach = uring_detach,
	.flush = uring_flush,
	.reap = uring_reap,
	.ready = uring_ready,
	.has_ops = zs_uring_has_ops,
	.watch = zs_uring_watch,
	.wake = zs_uring_wake,
	.finish = uring_finish,
	.destroy = zs_uring_destroy,
};
