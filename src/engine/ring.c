/* SPDX-License-Identifier: MIT */
/* Setting up, entering and taking down a ring. Called by the engine uring. */
#include "engine/ring.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/explain.h"
#include "engine/memcheck.h"

enum {
	CQ_PER_SQ = 4,	       /* so that bursts seldom overflow it */
	ENTRIES_MIN = 2,       /* below which halving makes no sense */
	FILE_THREADS_MAX = 64, /* they come one by one, as those there wait */
	ENOMEM_RETRIES = 5,    /* 1 + 2 + ... + 16 ms; freeing takes 5 to 12 */
};

/* Deferred and cooperative task work leave completions where the queue does not
 * show them, so neither is of use without the flag that says so. No kernel has
 * one without the other. Deferred, a completion does not end a poll(2) of the
 * ring either (6.18), which enter_watched() needs. */
static uint32_t task_work_flags(const struct zs_kernel *kernel)
{
	if (!kernel->has_taskrun_flag)
		return 0;
	if (kernel->has_single_issuer && kernel->has_defer_taskrun &&
	    !zs_valgrind_is_running())
		return ZS_URING_SETUP_DEFER_TASKRUN |
		       ZS_URING_SETUP_TASKRUN_FLAG;
	if (kernel->has_coop_taskrun)
		return ZS_URING_SETUP_COOP_TASKRUN |
		       ZS_URING_SETUP_TASKRUN_FLAG;
	return 0;
}

static uint32_t setup_flags(const struct zs_kernel *kernel)
{
	uint32_t flags = ZS_URING_SETUP_CQSIZE | ZS_URING_SETUP_CLAMP |
			 ZS_URING_SETUP_R_DISABLED | task_work_flags(kernel);

	if (kernel->has_submit_all)
		flags |= ZS_URING_SETUP_SUBMIT_ALL;
	if (kernel->has_single_issuer)
		flags |= ZS_URING_SETUP_SINGLE_ISSUER;
	if (kernel->has_no_sqarray)
		flags |= ZS_URING_SETUP_NO_SQARRAY;
	return flags;
}

/* The kernel gives a dead ring's memory back from a work queue and tells nobody
 * when: all that can be done is to try again after a while. What has not come
 * back by then will not, so smaller rings are not waited for once more. */
static int setup_patiently(uint32_t wanted, uint32_t flags,
			   struct zs_uring_params *params)
{
	struct timespec pause = { 0, 1000000 };
	uint32_t entries = wanted;
	int attempt = 0;
	int fd;

	for (;;) {
		memset(params, 0, sizeof(*params));
		params->flags = flags;
		params->cq_entries = entries * CQ_PER_SQ;
		fd = zs_uring_setup(entries, params);
		if (fd != -ENOMEM)
			return fd;
		if (attempt++ < ENOMEM_RETRIES) {
			nanosleep(&pause, NULL);
			pause.tv_nsec *= 2;
		} else if (entries / 2 < ENTRIES_MIN) {
			return fd;
		} else {
			entries /= 2;
		}
	}
}

static const char *remedy_of(int error)
{
	switch (error) {
	case -ENOMEM:
		return "; raise RLIMIT_MEMLOCK (ulimit -l)";
	case -EMFILE:
		return "; raise RLIMIT_NOFILE (ulimit -n)";
	case -ENFILE:
		return "; raise sysctl fs.file-max";
	default:
		return "";
	}
}

static int map_queues(struct zs_ring *ring,
		      const struct zs_uring_params *params)
{
	size_t sq_end =
		params->sq_off.array + params->sq_entries * sizeof(uint32_t);
	size_t cq_end = params->cq_off.cqes +
			params->cq_entries * sizeof(struct zs_cqe);
	void *sqes;

	ring->queues_size = sq_end > cq_end ? sq_end : cq_end;
	ring->queues = mmap(NULL, ring->queues_size, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_POPULATE, ring->fd,
			    (off_t)ZS_URING_OFFSET_SQ_RING);
	if (ring->queues == MAP_FAILED)
		return -errno;
	ring->sqes_size = params->sq_entries * sizeof(struct zs_sqe);
	sqes = mmap(NULL, ring->sqes_size, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_POPULATE, ring->fd,
		    (off_t)ZS_URING_OFFSET_SQES);
	if (sqes == MAP_FAILED) {
		munmap(ring->queues, ring->queues_size);
		return -errno;
	}
	ring->sqes = sqes;
	/* A forked child could move the tail under us. */
	madvise(ring->queues, ring->queues_size, MADV_DONTFORK);
	madvise(ring->sqes, ring->sqes_size, MADV_DONTFORK);
	return 0;
}

static void find_fields(struct zs_ring *ring,
			const struct zs_uring_params *params)
{
	char *queues = ring->queues;
	uint32_t *array, i;

	ring->sq_tail = (void *)(queues + params->sq_off.tail);
	ring->sq_flags = (void *)(queues + params->sq_off.flags);
	ring->sq_entries = params->sq_entries;
	ring->sq_mask = params->sq_entries - 1;
	ring->cq_head = (void *)(queues + params->cq_off.head);
	ring->cq_tail = (void *)(queues + params->cq_off.tail);
	ring->cqes = (void *)(queues + params->cq_off.cqes);
	ring->cq_mask = params->cq_entries - 1;
	if (params->flags & ZS_URING_SETUP_NO_SQARRAY)
		return;
	/* An entry's place is its own for good. */
	array = (void *)(queues + params->sq_off.array);
	for (i = 0; i < params->sq_entries; i++)
		array[i] = i;
}

int zs_ring_create(struct zs_ring *ring, const struct zs_kernel *kernel,
		   uint32_t entries)
{
	struct zs_uring_params params;
	uint32_t flags = setup_flags(kernel);
	int ret;

	memset(ring, 0, sizeof(*ring));
	ring->fd = setup_patiently(entries, flags, &params);
	if (ring->fd < 0)
		return zs_explain_as(
			ring->fd,
			"no io_uring of up to %u entries can be set up: %s%s",
			entries, strerror(-ring->fd), remedy_of(ring->fd));
	ret = map_queues(ring, &params);
	if (ret < 0) {
		close(ring->fd);
		return zs_explain_as(ret, "the ring cannot be mapped: %s",
				     strerror(-ret));
	}
	find_fields(ring, &params);
	ring->setup_flags = flags;
	ring->enter_fd = ring->fd;
	ring->is_watched = zs_valgrind_is_running();
	/* A worker that waits is idle, not waiting for a disk. */
	if (kernel->has_no_iowait)
		ring->enter_flags |= ZS_URING_ENTER_NO_IOWAIT;
	return 0;
}

/*
 * Until 5.18 or so the kernel lets nobody use the ring meanwhile, and waits
 * until nobody does: some milliseconds, which any signal ends with EINTR, its
 * handler restarting or not. Nothing was done then. Signals are blocked lest
 * they keep it from ever coming to an end; those that cannot be (a stop, and a
 * tracer) may still interrupt it.
 */
int zs_ring_register(const struct zs_ring *ring, uint32_t opcode, void *arg,
		     uint32_t nr_args)
{
	sigset_t all, before;
	int ret;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	do {
		ret = zs_uring_register(ring->fd, opcode, arg, nr_args);
	} while (ret == -EINTR);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return ret;
}

/*
 * How many threads the kernel may use for the files of one of ours it takes
 * from the size of that thread's first ring, which may have been the probe's of
 * two entries; and an open of a FIFO has one for as long as it waits. Where
 * this is unknown (before 5.15) it stays as it is.
 */
static void allow_file_threads(const struct zs_ring *ring)
{
	uint32_t limits[2] = { FILE_THREADS_MAX, 0 };

	zs_uring_register(ring->fd, ZS_URING_REGISTER_IOWQ_MAX_WORKERS, limits,
			  2);
}

int zs_ring_enable(struct zs_ring *ring, const struct zs_kernel *kernel)
{
	struct zs_uring_rsrc_update update = { .offset = UINT32_MAX,
					       .data = (uint64_t)ring->fd };
	int ret;

	ret = zs_ring_register(ring, ZS_URING_REGISTER_ENABLE_RINGS, NULL, 0);
	if (ret < 0)
		return zs_explain_as(ret, "the ring cannot be enabled: %s",
				     strerror(-ret));
	allow_file_threads(ring);
	/* Saves a look-up per enter (15 %, measured). A thread has 16 slots;
	 * without one the descriptor itself serves. */
	if (kernel->has_registered_ring &&
	    zs_uring_register(ring->fd, ZS_URING_REGISTER_RING_FDS, &update,
			      1) == 1) {
		ring->enter_fd = (int)update.offset;
		ring->enter_flags |= ZS_URING_ENTER_REGISTERED_RING;
	}
	return 0;
}

void zs_ring_disable(struct zs_ring *ring)
{
	struct zs_uring_rsrc_update update = {
		.offset = (uint32_t)ring->enter_fd
	};

	if (!(ring->enter_flags & ZS_URING_ENTER_REGISTERED_RING))
		return;
	zs_uring_register(ring->fd, ZS_URING_UNREGISTER_RING_FDS, &update, 1);
	ring->enter_fd = ring->fd;
	ring->enter_flags &= ~ZS_URING_ENTER_REGISTERED_RING;
}

void zs_ring_destroy(struct zs_ring *ring)
{
	munmap(ring->sqes, ring->sqes_size);
	munmap(ring->queues, ring->queues_size);
	close(ring->fd);
}

/* @ret of an enter that did nothing. The kernel may do better next time; or it
 * never will, and that ends the process. */
static ZS_COLD void check_refusal(int ret)
{
	switch (ret) {
	case -EAGAIN: /* no memory for a request */
	case -ENOMEM: /* nor for this thread's place in the ring */
	case -EBUSY:  /* completions must be reaped first; up to 5.18 */
		return;
	case -EBADR:
		zs_panic(__FILE__, __LINE__,
			 "the kernel had no memory for a completion: one is "
			 "lost, and its task would wait for ever");
	case -EPERM:
	case -ENOSYS:
		zs_panic(__FILE__, __LINE__,
			 "io_uring_enter is forbidden since the start: install "
			 "seccomp filters before zs_run");
	default:
		zs_panic(__FILE__, __LINE__, strerror(-ret));
	}
}

static int enter(struct zs_ring *ring, uint32_t to_submit, uint32_t flags,
		 int64_t wait_ns);

/* Valgrind lets no other thread run while one is in io_uring_enter(), but while
 * one is in poll(2). */
static ZS_COLD int enter_watched(struct zs_ring *ring, uint32_t to_submit,
				 uint32_t flags, int64_t wait_ns)
{
	struct pollfd poll = { .fd = ring->fd, .events = POLLIN };
	struct timespec timeout = {
		.tv_sec = wait_ns / 1000000000,
		.tv_nsec = wait_ns % 1000000000,
	};
	int ret = enter(ring, to_submit, flags, 0);

	if (ret < 0 || (uint32_t)ret < to_submit ||
	    zs_ring_cq_head(ring) != zs_ring_cq_tail(ring))
		return ret;
	ppoll(&poll, 1, wait_ns == INT64_MAX ? NULL : &timeout, NULL);
	enter(ring, 0, flags, 0);
	return ret;
}

/* How many entries were consumed, or -EAGAIN, -ENOMEM, -EBUSY if that is why
 * none were. */
static int enter(struct zs_ring *ring, uint32_t to_submit, uint32_t flags,
		 int64_t wait_ns)
{
	struct zs_uring_getevents_arg arg;
	struct zs_uring_timespec timeout;
	size_t arg_size = 0;
	int ret;

	if (zs_unlikely(ring->is_watched && wait_ns > 0))
		return enter_watched(ring, to_submit, flags, wait_ns);
	flags |= ring->enter_flags;
	if (wait_ns > 0 && wait_ns != INT64_MAX) {
		timeout.seconds = wait_ns / 1000000000;
		timeout.nanoseconds = wait_ns % 1000000000;
		memset(&arg, 0, sizeof(arg));
		arg.timespec = (uint64_t)(uintptr_t)&timeout;
		arg_size = sizeof(arg);
		flags |= ZS_URING_ENTER_EXT_ARG;
	}
	/* relaxed: read by the kernel within the call below. */
	atomic_store_explicit(ring->sq_tail, ring->tail, memory_order_relaxed);
	ret = zs_uring_enter(ring->enter_fd, to_submit, wait_ns > 0, flags,
			     arg_size ? &arg : NULL, arg_size);
	if (zs_likely(ret >= 0)) {
		ring->submitted += (uint32_t)ret;
		return ret;
	}
	/* Had it consumed anything, it would have said how much. */
	if (ret == -EINTR || ret == -ETIME)
		return 0;
	check_refusal(ret);
	return ret;
}

bool zs_ring_submit(struct zs_ring *ring)
{
	return enter(ring, zs_ring_pending(ring), 0, 0) > 0;
}

bool zs_ring_submit_and_wait(struct zs_ring *ring, int64_t wait_ns)
{
	return enter(ring, zs_ring_pending(ring), ZS_URING_ENTER_GETEVENTS,
		     wait_ns) >= 0;
}

void zs_ring_wait(struct zs_ring *ring, int64_t wait_ns)
{
	enter(ring, 0, ZS_URING_ENTER_GETEVENTS, wait_ns);
}
