/* SPDX-License-Identifier: MIT */
/*
 * The engine of the blocking model: plain system calls on the worker's thread
 * and no thread besides. Where a call would wait, its operation does, and other
 * tasks run; when all wait, one poll(2) does. Called through zs_engine_ops.
 *
 * Calls that only wait for a device or a server are simply made. There are a
 * few that wait for somebody and cannot be asked whether they would: the
 * opening of a FIFO, say. They are made when nothing else can run, and now and
 * then for a moment if there is always something. When one is
 * all that there is to wait for, it waits as long as it takes, and a wake or a
 * timer interrupts it. Else it is interrupted after a moment for a look at the
 * others, which is a little later each time. Two of them that wait for each
 * other, the two ends of a FIFO, never meet in that way; they are made to, see
 * open_together().
 */
#include "engine/blocking.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/explain.h"
#include "engine/interrupt.h"
#include "engine/plain.h"
#include "engine/poll_any.h"

enum {
	MILLISECOND_NS = 1000000,
	/* poll(2) may be late by a part of what it waits (0.1 %): a longer wait
	 * takes several. */
	LONG_WAIT_NS = 100 * MILLISECOND_NS,
	LONG_WAIT_SHARE = 64,
	SLICE_LEAST_NS = MILLISECOND_NS / 4,
	SLICE_MOST_NS = 10 * MILLISECOND_NS,
	/* While others run all the time: a twentieth of theirs. */
	BUSY_PERIOD_NS = 20 * SLICE_LEAST_NS,
	FIRST_POLLED = 16,
};

struct zs_blocking {
	struct zs_plain plain;
	struct zs_interrupt interrupt; /* of the worker's thread */
	int wake_fd;		       /* anyone writes */
	/* What poll(2) is given: wake_fd, and from 1 on what is watched. */
	struct pollfd *polled;
	uint32_t num_polled;
	uint32_t polled_size;
	uint32_t num_fired; /* by the last poll */
	bool has_vain;	    /* the next poll leaves some out */
	/* Ops whose calls can only wait for somebody. */
	struct zs_queue waiting;
	int64_t slice_ns;
	/* A call waits, which only an interrupt ends. */
	_Atomic bool is_in_call;
	/* A waker's, while it interrupts: the call's end waits for it, lest
	 * there be interrupts without a call. */
	pthread_mutex_t interrupt_lock;
	int64_t serve_ns; /* when a busy worker makes the next such call */
	int64_t retry_ns; /* zs_poll_any()'s */
};

static struct zs_blocking *blocking_of(struct zs_engine *engine)
{
	return zs_container_of(zs_plain_of(engine), struct zs_blocking, plain);
}

/* --- the model's part --- */

/* Files are always ready, and a poll would say so for ever. */
static bool is_always_ready(int fd)
{
	struct stat status;

	return fstat(fd, &status) == 0 &&
	       (S_ISREG(status.st_mode) || S_ISBLK(status.st_mode) ||
		S_ISDIR(status.st_mode));
}

static int make_room(struct zs_blocking *blocking)
{
	uint32_t size = blocking->polled_size * 2;
	struct pollfd *polled;

	if (blocking->num_polled < blocking->polled_size)
		return 0;
	polled = realloc(blocking->polled, size * sizeof(*polled));
	if (!polled)
		return -ENOMEM;
	blocking->polled = polled;
	blocking->polled_size = size;
	return 0;
}

/* One that is left out of the next poll has its number's complement. */
static int fd_of(const struct pollfd *entry)
{
	return entry->fd >= 0 ? entry->fd : ~entry->fd;
}

static void stop_polling(struct zs_blocking *blocking, struct zs_watch *watch)
{
	struct pollfd *last = &blocking->polled[--blocking->num_polled];

	if (watch->slot != blocking->num_polled) {
		blocking->polled[watch->slot] = *last;
		zs_plain_watch(&blocking->plain, fd_of(last))->slot =
			watch->slot;
	}
	watch->slot = 0;
	watch->armed = 0;
}

static int blocking_arm(struct zs_plain *plain, struct zs_watch *watch, int fd,
			uint16_t events)
{
	struct zs_blocking *blocking =
		zs_container_of(plain, struct zs_blocking, plain);
	int ret;

	if (events == 0) {
		if (watch->slot > 0)
			stop_polling(blocking, watch);
		return 0;
	}
	if (watch->slot == 0) {
		ret = is_always_ready(fd) ? -EPERM : make_room(blocking);
		if (ret < 0)
			return ret;
		watch->slot = blocking->num_polled++;
	}
	blocking->polled[watch->slot] = (struct pollfd){
		.fd = watch->is_vain ? ~fd : fd,
		.events = (short)events,
	};
	blocking->has_vain |= watch->is_vain;
	watch->armed = events;
	return 0;
}

static void blocking_forget(struct zs_plain *plain, struct zs_watch *watch,
			    int fd)
{
	(void)plain;
	(void)watch;
	(void)fd;
}

static bool blocking_call(struct zs_plain *plain, struct zs_op *op,
			  enum zs_lane lane)
{
	struct zs_blocking *blocking =
		zs_container_of(plain, struct zs_blocking, plain);
	const struct zs_op_type *type = &zs_op_types[op->code];
	int ret = ZS_OP_NOT_YET;

	if (lane != ZS_LANE_WAITING) {
		if (type->way == ZS_WAY_OFFLOADED && type->attempt)
			ret = type->attempt(op);
		else
			ret = zs_op_sum_up(op, type->call(op));
	}
	if (ret == ZS_OP_NOT_YET) {
		op->state = ZS_OP_DEFERRED;
		zs_queue_append(&blocking->waiting, &op->link);
		return false;
	}
	op->result = ret;
	op->state = ZS_OP_DONE;
	return true;
}

static bool blocking_cancel_call(struct zs_plain *plain, struct zs_op *op)
{
	struct zs_blocking *blocking =
		zs_container_of(plain, struct zs_blocking, plain);
	bool found = zs_queue_remove(&blocking->waiting, &op->link);

	ZS_ASSERT(found);
	return true;
}

static const struct zs_plain_model model = {
	.pollable_files = ZS_LANE_FILES,
	.arm = blocking_arm,
	.forget = blocking_forget,
	.call = blocking_call,
	.cancel_call = blocking_cancel_call,
};

/* --- calls that wait for somebody --- */

static void end_waiting(struct zs_blocking *blocking, struct zs_op *op, int ret)
{
	zs_queue_remove(&blocking->waiting, &op->link);
	zs_plain_finish(&blocking->plain, op, zs_op_sum_up(op, ret));
}

/* Which FIFO would it open? */
static bool find_fifo(const struct zs_op *op, struct stat *status)
{
	return op->code == ZS_OP_OPENAT &&
	       fstatat(op->fd, (const char *)(uintptr_t)op->address, status,
		       0) == 0 &&
	       S_ISFIFO(status->st_mode);
}

static bool is_reader(const struct zs_op *op)
{
	return (op->flags & O_ACCMODE) == O_RDONLY;
}

/* A reader that does not wait for its writer lets that in at once; then it is
 * made one that waits, since it has met it. */
static void open_pair(struct zs_blocking *blocking, struct zs_op *reader,
		      struct zs_op *writer)
{
	const struct zs_op_type *type = &zs_op_types[ZS_OP_OPENAT];
	uint32_t flags = reader->flags;
	int read_end, write_end;

	reader->flags |= O_NONBLOCK;
	read_end = type->call(reader);
	reader->flags = flags;
	if (read_end < 0) {
		end_waiting(blocking, reader, read_end);
		return;
	}
	write_end = type->call(writer);
	end_waiting(blocking, writer, write_end);
	if (write_end < 0) {
		close(read_end);
		return;
	}
	fcntl(read_end, F_SETFL, fcntl(read_end, F_GETFL) & ~O_NONBLOCK);
	end_waiting(blocking, reader, read_end);
}

/* Opens the FIFO of @op and its other end, if another task wants that. */
static bool open_together(struct zs_blocking *blocking, struct zs_op *op)
{
	struct zs_link *link = blocking->waiting.first;
	struct stat fifo, other_fifo;
	struct zs_op *other;

	if (!find_fifo(op, &fifo))
		return false;
	for (; link; link = link->next) {
		other = zs_op_of(link);
		if (!find_fifo(other, &other_fifo) ||
		    is_reader(other) == is_reader(op) ||
		    other_fifo.st_ino != fifo.st_ino ||
		    other_fifo.st_dev != fifo.st_dev)
			continue;
		open_pair(blocking, is_reader(op) ? op : other,
			  is_reader(op) ? other : op);
		return true;
	}
	return false;
}

/* Since the last time. */
static bool was_woken(const struct zs_blocking *blocking)
{
	uint64_t count;

	return read(blocking->wake_fd, &count, sizeof(count)) > 0;
}

/* Makes the call of @op, for at most @wait_ns. */
static void call_for(struct zs_blocking *blocking, struct zs_op *op,
		     int64_t wait_ns)
{
	int ret = -EINTR;

	/* seq_cst, as in blocking_wake(), which writes and then looks: either
	 * it sees the flag and interrupts, or we see what it wrote. */
	atomic_store_explicit(&blocking->is_in_call, true,
			      memory_order_seq_cst);
	if (wait_ns != INT64_MAX)
		zs_interrupt_arm(&blocking->interrupt, wait_ns);
	if (!was_woken(blocking))
		ret = zs_op_types[op->code].call(op);
	pthread_mutex_lock(&blocking->interrupt_lock);
	/* relaxed: the lock orders it. */
	atomic_store_explicit(&blocking->is_in_call, false,
			      memory_order_relaxed);
	zs_interrupt_disarm(&blocking->interrupt);
	pthread_mutex_unlock(&blocking->interrupt_lock);
	if (ret != -EINTR) {
		blocking->slice_ns = SLICE_LEAST_NS;
		end_waiting(blocking, op, ret);
	}
}

/* When nothing else can run. The first in the line, each time another. */
static int64_t serve_waiting(struct zs_blocking *blocking, int64_t wait_ns)
{
	struct zs_op *op = zs_op_of(blocking->waiting.first);
	bool is_alone = !op->link.next && blocking->plain.num_parked == 0;

	if (open_together(blocking, op))
		return 0;
	if (is_alone) {
		call_for(blocking, op, wait_ns);
		return 0;
	}
	zs_queue_append(&blocking->waiting, zs_queue_pop(&blocking->waiting));
	call_for(blocking, op,
		 wait_ns < blocking->slice_ns ? wait_ns : blocking->slice_ns);
	if (blocking->slice_ns < SLICE_MOST_NS)
		blocking->slice_ns *= 2;
	return 0;
}

/* --- the engine --- */

static int blocking_start(struct zs_engine *engine)
{
	struct zs_blocking *blocking = blocking_of(engine);
	int ret = zs_interrupt_init(&blocking->interrupt);

	zs_plain_start(&blocking->plain);
	if (ret < 0)
		return zs_explain_as(ret, "no timer for the worker");
	return 0;
}

static bool blocking_detach(struct zs_engine *engine, struct zs_op *op,
			    struct zs_detached *detached)
{
	(void)engine;
	(void)op;
	(void)detached;
	return false;
}

static void poll_all_again(struct zs_blocking *blocking)
{
	uint32_t i;

	blocking->has_vain = false;
	for (i = 1; i < blocking->num_polled; i++)
		blocking->polled[i].fd = fd_of(&blocking->polled[i]);
}

static void poll_for(struct zs_blocking *blocking, int64_t wait_ns)
{
	int ret;

	ZS_COUNT(blocking->plain.engine.counters.enters, 1);
	ret = zs_poll_any(blocking->polled, blocking->num_polled, wait_ns,
			  &blocking->retry_ns);
	if (ret < 0 && ret != -EINTR && ret != -ENOMEM)
		zs_panic(__FILE__, __LINE__, "poll(2) failed");
	blocking->num_fired = ret > 0 ? (uint32_t)ret : 0;
}

/* Others can run, and perhaps can for ever. */
static void serve_while_busy(struct zs_blocking *blocking)
{
	int64_t now_ns = zs_clock_ns();

	if (now_ns < blocking->serve_ns)
		return;
	serve_waiting(blocking, SLICE_LEAST_NS);
	blocking->serve_ns = zs_clock_ns() + BUSY_PERIOD_NS;
}

static void wait_for_events(struct zs_blocking *blocking, int64_t wait_ns)
{
	if (wait_ns <= 0)
		wait_ns = 0;
	else if (blocking->waiting.first)
		wait_ns = serve_waiting(blocking, wait_ns);
	else if (wait_ns > LONG_WAIT_NS && wait_ns != INT64_MAX)
		wait_ns -= wait_ns / LONG_WAIT_SHARE;
	if (zs_unlikely(blocking->has_vain) && wait_ns > SLICE_MOST_NS)
		wait_ns = SLICE_MOST_NS;
	poll_for(blocking, wait_ns);
	if (zs_unlikely(blocking->has_vain))
		poll_all_again(blocking);
}

static void take_wake(struct zs_blocking *blocking)
{
	uint64_t count;

	if (!blocking->polled[0].revents)
		return;
	/* What is not read is found again by the next poll. */
	if (read(blocking->wake_fd, &count, sizeof(count)) < 0 &&
	    errno == EBADF)
		zs_panic(__FILE__, __LINE__,
			 "a worker's eventfd is gone: was it closed by its "
			 "number?");
	blocking->num_fired--;
}

static void fire(struct zs_blocking *blocking, int fd, uint16_t events,
		 struct zs_queue *done)
{
	struct zs_watch *watch = zs_plain_watch(&blocking->plain, fd);
	uint16_t left;
	int ret;

	watch->armed = 0;
	zs_plain_fire(&blocking->plain, watch, events, done);
	left = zs_plain_wanted(watch);
	watch->is_vain = !(events & left);
	ret = blocking_arm(&blocking->plain, watch, fd, left);
	if (ret < 0)
		zs_plain_fail_all(&blocking->plain, watch, ret);
}

/* From the end, because what is not watched any more is replaced by the last
 * one, which has been looked at by then. */
static void take_events(struct zs_blocking *blocking, struct zs_queue *done)
{
	uint32_t i;

	if (blocking->num_fired > 0)
		take_wake(blocking);
	for (i = blocking->num_polled; blocking->num_fired > 0 && i > 1; i--) {
		struct pollfd *entry = &blocking->polled[i - 1];

		if (!entry->revents)
			continue;
		blocking->num_fired--;
		fire(blocking, entry->fd, (uint16_t)entry->revents, done);
	}
	blocking->num_fired = 0;
}

static void blocking_reap(struct zs_engine *engine, struct zs_queue *done,
			  int64_t wait_ns)
{
	struct zs_blocking *blocking = blocking_of(engine);

	if (blocking->plain.done.first || blocking->num_fired > 0)
		wait_ns = 0;
	zs_plain_take_done(&blocking->plain, done);
	if (wait_ns <= 0 && blocking->waiting.first)
		serve_while_busy(blocking);
	if (blocking->num_fired == 0 &&
	    (wait_ns > 0 || blocking->plain.num_parked > 0))
		wait_for_events(blocking, wait_ns);
	take_events(blocking, done);
	zs_plain_take_done(&blocking->plain, done);
}

static bool blocking_ready(struct zs_engine *engine)
{
	struct zs_blocking *blocking = blocking_of(engine);

	if (blocking->plain.done.first || blocking->num_fired > 0)
		return true;
	if (blocking->plain.num_parked > 0)
		poll_for(blocking, 0);
	return blocking->num_fired > 0;
}

static void interrupt_call(struct zs_blocking *blocking)
{
	pthread_mutex_lock(&blocking->interrupt_lock);
	/* relaxed: the lock orders it. */
	if (atomic_load_explicit(&blocking->is_in_call, memory_order_relaxed))
		zs_interrupt_arm(&blocking->interrupt, 0);
	pthread_mutex_unlock(&blocking->interrupt_lock);
}

static void blocking_wake(struct zs_engine *engine)
{
	struct zs_blocking *blocking = blocking_of(engine);
	uint64_t one = 1;
	int saved_errno = errno;
	ssize_t ret;

	do {
		ret = write(blocking->wake_fd, &one, sizeof(one));
	} while (ret < 0 && errno == EINTR);
	ZS_ASSERT(ret == sizeof(one));
	if (atomic_load_explicit(&blocking->is_in_call, memory_order_seq_cst))
		interrupt_call(blocking);
	errno = saved_errno;
}

static bool blocking_finish(struct zs_engine *engine)
{
	struct zs_blocking *blocking = blocking_of(engine);

	ZS_ASSERT(!blocking->waiting.first);
	return true;
}

static void blocking_destroy(struct zs_engine *engine)
{
	struct zs_blocking *blocking = blocking_of(engine);

	zs_interrupt_fini(&blocking->interrupt);
	zs_interrupt_release();
	zs_plain_fini(&blocking->plain);
	pthread_mutex_destroy(&blocking->interrupt_lock);
	close(blocking->wake_fd);
	free(blocking->polled);
	free(blocking);
}

static const struct zs_engine_ops blocking_ops = {
	.start = blocking_start,
	.submit = zs_plain_submit,
	.cancel = zs_plain_cancel,
	.detach = blocking_detach,
	.flush = zs_plain_flush,
	.renew = zs_plain_renew,
	.forget = zs_plain_forget,
	.reap = blocking_reap,
	.ready = blocking_ready,
	.has_ops = zs_plain_has_ops,
	.wake = blocking_wake,
	.finish = blocking_finish,
	.destroy = blocking_destroy,
};

/* --- making one --- */

static int open_all(struct zs_blocking *blocking)
{
	int ret;

	blocking->polled = calloc(FIRST_POLLED, sizeof(*blocking->polled));
	if (!blocking->polled)
		return zs_explain_as(-ENOMEM, "no memory for an engine");
	blocking->polled_size = FIRST_POLLED;
	blocking->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (blocking->wake_fd < 0) {
		ret = zs_explain_as(-errno, "no descriptor for the worker's "
					    "eventfd: raise RLIMIT_NOFILE");
		goto free;
	}
	blocking->polled[0] =
		(struct pollfd){ .fd = blocking->wake_fd, .events = POLLIN };
	blocking->num_polled = 1;
	ret = zs_interrupt_take();
	if (ret == 0)
		return 0;
	zs_explain_as(ret, "no handler for SIGSTKFLT");
	close(blocking->wake_fd);
free:
	free(blocking->polled);
	return ret;
}

int zs_blocking_create(struct zs_engine **engine, uint32_t queue_depth)
{
	struct zs_blocking *blocking = calloc(1, sizeof(*blocking));
	int ret;

	if (!blocking)
		return zs_explain_as(-ENOMEM, "no memory for an engine");
	zs_plain_init(&blocking->plain, &blocking_ops, &model);
	blocking->plain.engine.queue_depth = queue_depth;
	zs_queue_init(&blocking->waiting);
	blocking->interrupt.timer = -1;
	pthread_mutex_init(&blocking->interrupt_lock, NULL);
	blocking->slice_ns = SLICE_LEAST_NS;
	ret = open_all(blocking);
	if (ret < 0) {
		free(blocking);
		return ret;
	}
	*engine = &blocking->plain.engine;
	return 0;
}
