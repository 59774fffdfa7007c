/* SPDX-License-Identifier: MIT */
/*
 * What passes through a shimmed ring, and what becomes of it: one enter, for
 * shim.c, by the ring's issuer.
 */
#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "engine/uring.h"
#include "shim_ring.h"

enum { RETRY_NS = 100000 }; /* after the kernel has refused */

/* user_data from here on is an op's. */
#define USER_DATA_LEAST UINT64_C(2)

static int64_t some_hold_ns(struct shim_ring *ring)
{
	const struct shim_rates *rates = &ring->rates;

	return rates->hold_least_ns +
	       shim_below(&ring->random, (uint64_t)(rates->hold_most_ns -
						    rates->hold_least_ns));
}

/* --- completions --- */

static uint64_t *past_of(struct shim_ring *ring, uint64_t user_data)
{
	return &ring->history[shim_mix(user_data & ZS_URING_ADDRESS_MASK) %
			      SHIM_HISTORY];
}

/* One more of those that came from there earlier keeps its place behind. */
static void keep_order(const struct shim_ring *ring,
		       struct shim_completion *completion)
{
	for (size_t i = 0; i < ring->num_completions; i++) {
		const struct shim_completion *other = &ring->completions[i];

		if (other->cqe.user_data == completion->cqe.user_data &&
		    other->due_ns >= completion->due_ns) {
			completion->due_ns = other->due_ns;
			completion->order = UINT64_MAX;
		}
	}
}

static void hold_completion(struct shim_ring *ring, const struct zs_cqe *cqe,
			    int64_t now)
{
	const uint32_t of_several = ZS_URING_CQE_MORE | ZS_URING_CQE_NOTIF;
	struct shim_completion completion = { .due_ns = now, .cqe = *cqe };

	completion.arrival = ++ring->arrivals;
	completion.order = ring->arrivals;
	if (shim_happens(&ring->random, ring->rates.hold_completion)) {
		completion.due_ns += some_hold_ns(ring);
		completion.order = shim_random(&ring->random) >> 1;
		shim_add(&shim.counters.held_completions, 1);
	}
	if (cqe->flags & of_several)
		keep_order(ring, &completion);
	shim_completion_add(ring, &completion);
}

static void take_completions(struct shim_ring *ring, int64_t now)
{
	struct shim_view *kernels = &ring->below;
	uint32_t head = shim_load(kernels->cq_head);
	uint32_t tail = shim_load(kernels->cq_tail);

	for (; head != tail; head++)
		hold_completion(
			ring, &kernels->cqes[head & (kernels->cq_entries - 1)],
			now);
	shim_store(kernels->cq_head, head);
}

static bool is_due(const struct shim_ring *ring, int64_t now)
{
	return ring->num_completions > 0 && ring->completions[0].due_ns <= now;
}

/* To the engine, as far as there is room. True if it has some. */
static bool pass_completions(struct shim_ring *ring, int64_t now)
{
	struct shim_view *engines = &ring->above;
	uint32_t head = shim_load(engines->cq_head);
	uint32_t tail = shim_load(engines->cq_tail);
	uint32_t flags = ZS_URING_SQ_TASKRUN;

	while (is_due(ring, now) && tail - head < engines->cq_entries) {
		struct shim_completion next = shim_completion_take(ring);

		if (next.arrival < ring->last_arrival)
			shim_add(&shim.counters.overtaken, 1);
		else
			ring->last_arrival = next.arrival;
		if (next.cqe.user_data >= USER_DATA_LEAST)
			*past_of(ring, next.cqe.user_data) = next.cqe.user_data;
		engines->cqes[tail++ & (engines->cq_entries - 1)] = next.cqe;
	}
	shim_store(engines->cq_tail, tail);
	if (is_due(ring, now)) {
		flags |= ZS_URING_SQ_CQ_OVERFLOW;
		shim_add(&shim.counters.overflows, 1);
	}
	shim_store(engines->sq_flags, flags);
	return tail != head;
}

/* @sqe's op has memory that another had before: that one completes once more,
 * before this one can. */
static void be_late(struct shim_ring *ring, const struct zs_sqe *sqe,
		    int64_t now)
{
	static const int32_t results[] = { 0, 1, 4096, -ECANCELED, -EIO };
	uint64_t past = *past_of(ring, sqe->user_data);
	struct shim_completion late = { .due_ns = now };

	if (sqe->user_data < USER_DATA_LEAST || past == sqe->user_data ||
	    (past & ZS_URING_ADDRESS_MASK) !=
		    (sqe->user_data & ZS_URING_ADDRESS_MASK) ||
	    !shim_happens(&ring->random, ring->rates.late))
		return;
	late.arrival = ring->arrivals;
	late.cqe.user_data = past;
	late.cqe.result = results[shim_below(&ring->random, 5)];
	shim_completion_add(ring, &late);
	shim_add(&shim.counters.late, 1);
}

/* --- submissions --- */

/* One that may move fewer bytes than asked, with the rest left for the next. */
static bool is_stream(int fd)
{
	struct stat status;
	int type = 0;
	socklen_t size = sizeof(type);

	if (fstat(fd, &status) < 0)
		return false;
	if (S_ISFIFO(status.st_mode))
		return true;
	return S_ISSOCK(status.st_mode) &&
	       getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 &&
	       type == SOCK_STREAM;
}

static void shorten(struct shim_ring *ring, struct zs_sqe *sqe)
{
	bool is_transfer = sqe->opcode == ZS_URING_OP_READ ||
			   sqe->opcode == ZS_URING_OP_WRITE;

	if (sqe->opcode == ZS_URING_OP_RECV || sqe->opcode == ZS_URING_OP_SEND)
		is_transfer = !(sqe->op_flags & MSG_WAITALL);
	if (!is_transfer || sqe->length < 2 ||
	    (sqe->flags & ZS_URING_SQE_FIXED_FILE) ||
	    !shim_happens(&ring->random, ring->rates.shorten) ||
	    !is_stream(sqe->fd))
		return;
	sqe->length = 1 + shim_below(&ring->random, sqe->length - 1);
	shim_add(&shim.counters.shortened, 1);
}

static void hold_submission(struct shim_ring *ring, const struct zs_sqe *sqe,
			    int64_t now)
{
	uint32_t place = ring->submissions_tail++ % SHIM_SUBMISSIONS;
	struct shim_submission *submission = &ring->submissions[place];

	submission->sqe = *sqe;
	submission->due_ns = now;
	shorten(ring, &submission->sqe);
	be_late(ring, sqe, now);
	if (shim_happens(&ring->random, ring->rates.hold_submission)) {
		submission->due_ns += some_hold_ns(ring);
		shim_add(&shim.counters.held_submissions, 1);
	}
}

static uint32_t num_submissions(const struct shim_ring *ring)
{
	return ring->submissions_tail - ring->submissions_head;
}

/* From the engine; how many. */
static uint32_t take_submissions(struct shim_ring *ring, uint32_t number,
				 int64_t now)
{
	struct shim_view *engines = &ring->above;
	uint32_t room = SHIM_SUBMISSIONS - num_submissions(ring);
	uint32_t head = shim_load(engines->sq_head);
	uint32_t most = number;

	if (number > 1 && shim_happens(&ring->random, ring->rates.take_part)) {
		most = 1 + shim_below(&ring->random, number - 1);
		shim_add(&shim.counters.taken_in_part, 1);
	}
	if (most > room)
		most = room;
	for (uint32_t i = 0; i < most; i++, head++)
		hold_submission(ring, &engines->sqes[head & engines->sq_mask],
				now);
	shim_store(engines->sq_head, head);
	return most;
}

static const struct shim_submission *next_due(const struct shim_ring *ring,
					      int64_t now)
{
	const struct shim_submission *next =
		&ring->submissions[ring->submissions_head % SHIM_SUBMISSIONS];

	return num_submissions(ring) > 0 && next->due_ns <= now ? next : NULL;
}

/* To the kernel's queue, as far as there is room. */
static void queue_submissions(struct shim_ring *ring, int64_t now)
{
	struct shim_view *kernels = &ring->below;
	const struct shim_submission *next = next_due(ring, now);

	while (next &&
	       ring->below_tail - ring->below_submitted <= kernels->sq_mask) {
		kernels->sqes[ring->below_tail++ & kernels->sq_mask] =
			next->sqe;
		ring->submissions_head++;
		next = next_due(ring, now);
	}
	shim_store(kernels->sq_tail, ring->below_tail);
}

/* --- enter --- */

/* What the kernel says of what is queued. */
static long enter_kernel(struct shim_call *call, int64_t wait_ns)
{
	struct shim_ring *ring = call->ring;
	struct zs_uring_timespec timeout = { wait_ns / 1000000000,
					     wait_ns % 1000000000 };
	struct zs_uring_getevents_arg arg = {
		.timespec = (uint64_t)(uintptr_t)&timeout,
	};
	uint32_t flags = call->flags & ~ZS_URING_ENTER_EXT_ARG;
	bool is_timed = wait_ns > 0 && wait_ns != INT64_MAX;
	long ret;

	if (is_timed)
		flags |= ZS_URING_ENTER_EXT_ARG;
	ret = __real_syscall(ZS_URING_SYSCALL_ENTER, ring->below.fd,
			     ring->below_tail - ring->below_submitted,
			     (long)(wait_ns > 0), (long)flags,
			     is_timed ? &arg : NULL,
			     is_timed ? sizeof(arg) : 0);
	if (ret > 0)
		ring->below_submitted += (uint32_t)ret;
	return ret;
}

/* The errors that the engine lives with, and so does the shim. */
static bool is_passing(int error)
{
	return error == EAGAIN || error == EBUSY || error == ENOMEM ||
	       error == EINTR || error == ETIME;
}

/* One look at the kernel, without waiting. False for an error that lasts. */
static bool exchange(struct shim_call *call, int64_t now)
{
	struct shim_ring *ring = call->ring;
	long ret;

	do {
		queue_submissions(ring, now);
		ret = enter_kernel(call, 0);
	} while (ret > 0 && next_due(ring, now));
	if (ret < 0 && !is_passing(errno))
		return false;
	take_completions(ring, now);
	return true;
}

/* How long the kernel may be waited in: until something is due. */
static int64_t wait_ns_of(const struct shim_call *call, int64_t now)
{
	const struct shim_ring *ring = call->ring;
	int64_t end_ns = call->end_ns, next_ns;

	if (ring->num_completions > 0 && ring->completions[0].due_ns < end_ns)
		end_ns = ring->completions[0].due_ns;
	if (num_submissions(ring) > 0) {
		next_ns = ring->submissions[ring->submissions_head %
					    SHIM_SUBMISSIONS]
				  .due_ns;
		if (next_ns <= now)
			next_ns = now + RETRY_NS;
		if (next_ns < end_ns)
			end_ns = next_ns;
	}
	if (ring->below_tail != ring->below_submitted &&
	    end_ns > now + RETRY_NS)
		end_ns = now + RETRY_NS;
	return end_ns == INT64_MAX ? INT64_MAX :
	       end_ns > now	   ? end_ns - now :
				     1;
}

/* 0 when the engine has a completion, else -1 and errno. */
static long wait(struct shim_call *call)
{
	struct shim_ring *ring = call->ring;
	int64_t now = zs_clock_ns();

	for (;;) {
		if (now >= call->end_ns) {
			errno = ETIME;
			return -1;
		}
		if (enter_kernel(call, wait_ns_of(call, now)) < 0 &&
		    (!is_passing(errno) || errno == EINTR))
			return -1;
		now = zs_clock_ns();
		if (!exchange(call, now))
			return -1;
		if (pass_completions(ring, now))
			return 0;
	}
}

/* Once begun, for a few submits. */
static bool is_refused(struct shim_ring *ring)
{
	if (ring->num_refusals == 0 &&
	    shim_happens(&ring->random, ring->rates.refuse))
		ring->num_refusals = 1 + shim_below(&ring->random, 6);
	if (ring->num_refusals == 0)
		return false;
	ring->num_refusals--;
	shim_add(&shim.counters.refused, 1);
	return true;
}

/* An error that the kernel could have instead of doing anything, or 0. */
static int some_error(struct shim_call *call)
{
	static const int errors[] = { EAGAIN, EBUSY, ENOMEM };
	struct shim_ring *ring = call->ring;

	if (call->to_submit > 0 && is_refused(ring))
		return errors[shim_below(&ring->random, 3)];
	if (call->to_submit == 0 && call->may_wait &&
	    shim_happens(&ring->random, ring->rates.interrupt)) {
		shim_add(&shim.counters.interrupted, 1);
		return EINTR;
	}
	return 0;
}

static int64_t end_of_wait(const struct shim_call *call)
{
	const struct zs_uring_getevents_arg *extended = call->arg;
	const struct zs_uring_timespec *timeout;

	if (!(call->flags & ZS_URING_ENTER_EXT_ARG) || !extended->timespec)
		return INT64_MAX;
	timeout = (void *)(uintptr_t)extended->timespec;
	return zs_clock_ns() + timeout->seconds * 1000000000 +
	       timeout->nanoseconds;
}

static void follow_seed(struct shim_ring *ring)
{
	uint64_t seed = shim_count(&shim.seed);

	if (ring->seed == seed)
		return;
	ring->seed = seed;
	ring->random = shim_mix(seed + ring->number);
}

long shim_enter(struct shim_call *call)
{
	struct shim_ring *ring = call->ring;
	int64_t now = zs_clock_ns();
	uint32_t taken;
	bool is_there = false;

	follow_seed(ring);
	errno = some_error(call);
	if (errno)
		return -1;
	call->end_ns = call->may_wait ? end_of_wait(call) : now;
	taken = take_submissions(ring, call->to_submit, now);
	if (!exchange(call, now))
		return -1;
	if (call->flags & ZS_URING_ENTER_GETEVENTS)
		is_there = pass_completions(ring, now);
	/* A kernel that stops short does not wait. */
	if (call->may_wait && !is_there && taken == call->to_submit &&
	    wait(call) < 0 && taken == 0)
		return -1;
	if (call->to_submit > 0 && taken == 0) {
		errno = EAGAIN;
		return -1;
	}
	return (long)taken;
}
