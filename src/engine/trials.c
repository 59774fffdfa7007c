/* SPDX-License-Identifier: MIT */
/*
 * Trials of what no flag of the kernel tells: each opcode of
 * io_uring_register(), and what has to be used once to see whether it works.
 * Called by tools and by who wants to use such an ability; any thread, nothing
 * is kept here.
 */
#include "engine/probe.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/abi.h"
#include "engine/names.h"
#include "engine/ring.h"
#include "mem/stack.h"

enum {
	RING_ENTRIES = 4,
	NR_BUFFERS = 4,
	BUFFER_SIZE = 64,
	GROUP = 1,
	WAIT_NS = 100000000, /* what works is done within microseconds */
};

/* --- opcodes of io_uring_register() --- */

/* How a call looks that a kernel which knows the opcode refuses late, with
 * another error than EINVAL, or carries out without any effect. */
struct call {
	/* What it gets as argument, if it gets any, faults: the number of
	 * arguments is looked at before that. */
	bool takes_argument;
	uint32_t nr_args;
	enum {
		ON_PLAIN_RING,
		ON_DEFERRED_RING, /* with DEFER_TASKRUN, and CQE32 for zcrx */
		ON_NO_RING,	  /* it is about the thread */
	} target;
};

#define RSRC_SIZE 32 /* these take a size where others have a number */

static struct call call_of(unsigned int opcode)
{
	switch (opcode) {
	case ZS_URING_UNREGISTER_BUFFERS:
	case ZS_URING_UNREGISTER_FILES:
	case ZS_URING_UNREGISTER_EVENTFD:
	case ZS_URING_REGISTER_PERSONALITY:
	case ZS_URING_REGISTER_ENABLE_RINGS:
	case ZS_URING_UNREGISTER_IOWQ_AFF:
		return (struct call){ false, 0, ON_PLAIN_RING };
	case ZS_URING_REGISTER_FILES2:
	case ZS_URING_REGISTER_FILES_UPDATE2:
	case ZS_URING_REGISTER_BUFFERS2:
	case ZS_URING_REGISTER_BUFFERS_UPDATE:
		return (struct call){ true, RSRC_SIZE, ON_PLAIN_RING };
	case ZS_URING_REGISTER_IOWQ_MAX_WORKERS:
		return (struct call){ true, 2, ON_PLAIN_RING };
	case ZS_URING_REGISTER_FILE_ALLOC_RANGE:
	case ZS_URING_REGISTER_CLOCK:
	case ZS_URING_REGISTER_QUERY:
	case ZS_URING_REGISTER_ZCRX_CTRL:
		return (struct call){ true, 0, ON_PLAIN_RING };
	case ZS_URING_REGISTER_SEND_MSG_RING:
		return (struct call){ true, 1, ON_NO_RING };
	case ZS_URING_REGISTER_ZCRX_IFQ:
	case ZS_URING_REGISTER_RESIZE_RINGS:
		return (struct call){ true, 1, ON_DEFERRED_RING };
	default:
		return (struct call){ true, 1, ON_PLAIN_RING };
	}
}

struct register_trial {
	int plain;    /* rings */
	int deferred; /* -1 where there is no such */
	void *faults; /* a page that nobody may touch */
};

static bool has_register_op(const struct register_trial *trial,
			    unsigned int opcode)
{
	struct call call = call_of(opcode);
	int fd = trial->plain;
	int ret;

	if (call.target == ON_DEFERRED_RING)
		fd = trial->deferred;
	if (call.target == ON_NO_RING)
		fd = -1;
	/* Takes a personality by number, so it needs one to take. */
	if (opcode == ZS_URING_UNREGISTER_PERSONALITY) {
		call = (struct call){ false, 0, ON_PLAIN_RING };
		ret = zs_uring_register(fd, ZS_URING_REGISTER_PERSONALITY, NULL,
					0);
		if (ret < 0)
			return false;
		call.nr_args = (uint32_t)ret;
	}
	ret = zs_uring_register(fd, opcode,
				call.takes_argument ? trial->faults : NULL,
				call.nr_args);
	/* EBADF: it wants a ring, so it is not the one that we mean. EPERM: of
	 * a filter, which would have hidden that from the probe, or for lack of
	 * a capability, which is the user's affair. */
	return ret != -EINVAL && ret != -EBADF && ret != -EOPNOTSUPP &&
	       ret != -ENOSYS;
}

static uint64_t try_register_ops(void *faults)
{
	struct zs_uring_params params = { 0 };
	struct register_trial trial = { .faults = faults };
	uint64_t found = 0;
	unsigned int opcode;

	trial.plain = zs_kernel_trial(&params);
	if (trial.plain < 0)
		return 0;
	params = (struct zs_uring_params){
		.flags = ZS_URING_SETUP_SINGLE_ISSUER |
			 ZS_URING_SETUP_DEFER_TASKRUN | ZS_URING_SETUP_CQE32,
	};
	trial.deferred = zs_kernel_trial(&params);
	for (opcode = 0; opcode < ZS_URING_NR_REGISTER_OPS; opcode++)
		if (has_register_op(&trial, opcode))
			found |= UINT64_C(1) << opcode;
	if (trial.deferred >= 0)
		close(trial.deferred);
	close(trial.plain);
	return found;
}

/* --- a ring to use things on --- */

/* What is not set in *sqe is zero, as the kernel wants it. */
static void submit(struct zs_ring *ring, const struct zs_sqe *sqe)
{
	struct zs_sqe *entry = zs_ring_next_sqe(ring);

	*entry = *sqe;
	entry->user_data = sqe->opcode;
	zs_ring_submit(ring);
}

/* The next completion of @opcode, each of which is submitted once; one with
 * -ETIME if none comes. */
static struct zs_cqe next_completion(struct zs_ring *ring, uint8_t opcode)
{
	struct zs_cqe cqe;
	uint32_t head;

	for (;;) {
		head = zs_ring_cq_head(ring);
		if (head == zs_ring_cq_tail(ring))
			zs_ring_wait(ring, WAIT_NS);
		if (head == zs_ring_cq_tail(ring))
			return (struct zs_cqe){ .result = -ETIME };
		cqe = *zs_ring_cqe(ring, head);
		zs_ring_cq_advance(ring, head + 1);
		if (cqe.user_data == opcode)
			return cqe;
	}
}

static bool is_multishot(const struct zs_cqe *cqe)
{
	return cqe->result >= 0 && (cqe->flags & ZS_URING_CQE_MORE);
}

static bool try_poll(struct zs_ring *ring, const int fds[2])
{
	struct zs_sqe sqe = {
		.opcode = ZS_URING_OP_POLL_ADD,
		.fd = fds[0],
		.length = ZS_URING_POLL_ADD_MULTI,
		.op_flags = POLLOUT,
	};
	struct zs_cqe cqe;

	submit(ring, &sqe);
	cqe = next_completion(ring, sqe.opcode);
	return is_multishot(&cqe) && (cqe.result & POLLOUT);
}

static bool try_accept_on(struct zs_ring *ring, int listener, int client)
{
	struct zs_sqe sqe = {
		.opcode = ZS_URING_OP_ACCEPT,
		.fd = listener,
		.ioprio = ZS_URING_ACCEPT_MULTISHOT,
	};
	struct sockaddr_un address;
	socklen_t length = sizeof(address);
	struct zs_cqe cqe;

	/* Without a path it gets an abstract name that nobody has. */
	memset(&address, 0, sizeof(address));
	address.sun_family = AF_UNIX;
	if (bind(listener, (struct sockaddr *)&address,
		 sizeof(address.sun_family)) < 0 ||
	    listen(listener, 1) < 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &length) < 0 ||
	    connect(client, (struct sockaddr *)&address, length) < 0)
		return false;
	submit(ring, &sqe);
	cqe = next_completion(ring, sqe.opcode);
	if (cqe.result >= 0)
		close(cqe.result);
	return is_multishot(&cqe);
}

static bool try_accept(struct zs_ring *ring)
{
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool works;

	works = listener >= 0 && client >= 0 &&
		try_accept_on(ring, listener, client);
	if (client >= 0)
		close(client);
	if (listener >= 0)
		close(listener);
	return works;
}

/* --- buffer rings --- */

static bool register_buffers(const struct zs_ring *ring, void *page,
			     uint16_t flags)
{
	struct zs_uring_buffer_ring buffers = {
		.ring_addr = (uintptr_t)page,
		.ring_entries = NR_BUFFERS,
		.group = GROUP,
		.flags = flags,
	};

	return zs_uring_register(ring->fd, ZS_URING_REGISTER_PBUF_RING,
				 &buffers, 1) == 0;
}

static void unregister_buffers(const struct zs_ring *ring)
{
	struct zs_uring_buffer_ring buffers = { .group = GROUP };

	zs_uring_register(ring->fd, ZS_URING_UNREGISTER_PBUF_RING, &buffers, 1);
}

/* The buffers lie behind the ring, in the same page. */
static void fill_buffers(void *page)
{
	struct zs_uring_buffer *buffers = page;
	char *memory = (char *)(buffers + NR_BUFFERS);
	unsigned int i;

	for (i = 0; i < NR_BUFFERS; i++) {
		buffers[i].addr = (uintptr_t)(memory + (size_t)i * BUFFER_SIZE);
		buffers[i].length = BUFFER_SIZE;
		buffers[i].id = (uint16_t)i;
	}
	/* release: the kernel reads the buffers after it. */
	atomic_store_explicit((_Atomic uint16_t *)&buffers[0].resv, NR_BUFFERS,
			      memory_order_release);
}

static bool try_recv(struct zs_ring *ring, const int fds[2])
{
	struct zs_sqe sqe = {
		.opcode = ZS_URING_OP_RECV,
		.flags = ZS_URING_SQE_BUFFER_SELECT,
		.ioprio = ZS_URING_RECVSEND_RECV_MULTISHOT,
		.fd = fds[0],
		.buf_group = GROUP,
	};
	struct zs_cqe cqe;

	if (send(fds[1], "", 1, MSG_NOSIGNAL | MSG_DONTWAIT) != 1)
		return false;
	submit(ring, &sqe);
	cqe = next_completion(ring, sqe.opcode);
	return is_multishot(&cqe) && (cqe.flags & ZS_URING_CQE_BUFFER);
}

static uint32_t try_buffer_rings(struct zs_ring *ring, const int fds[2],
				 void *page, uint32_t wanted)
{
	uint32_t found = 0;

	if ((wanted & 1u << ZS_ABILITY_BUFFER_RING_INC) &&
	    register_buffers(ring, page, ZS_URING_BUFFER_RING_INC)) {
		found |= 1u << ZS_ABILITY_BUFFER_RING_INC;
		unregister_buffers(ring);
	}
	if (!register_buffers(ring, page, 0))
		return found;
	found |= 1u << ZS_ABILITY_BUFFER_RING;
	fill_buffers(page);
	if (try_recv(ring, fds))
		found |= 1u << ZS_ABILITY_RECV_MULTISHOT;
	return found;
}

/* --- all of it --- */

/* The ring and what is armed on it must be gone before the page is. */
static uint32_t try_on_ring(const struct zs_kernel *kernel, void *page,
			    uint32_t wanted)
{
	struct zs_ring ring;
	uint32_t found = 0;
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		return 0;
	if (zs_ring_create(&ring, kernel, RING_ENTRIES) < 0)
		goto close_pair;
	if (zs_ring_enable(&ring, kernel) < 0)
		goto destroy_ring;
	if (try_accept(&ring))
		found |= 1u << ZS_ABILITY_ACCEPT_MULTISHOT;
	if (wanted & 1u << ZS_ABILITY_BUFFER_RING)
		found |= try_buffer_rings(&ring, fds, page, wanted);
	/* Last, since it goes on to tell of what happens to the sockets. */
	if (try_poll(&ring, fds))
		found |= 1u << ZS_ABILITY_POLL_MULTISHOT;
	zs_ring_disable(&ring);
destroy_ring:
	zs_ring_destroy(&ring);
close_pair:
	close(fds[0]);
	close(fds[1]);
	return found;
}

/* The stacks know best: they say what they took. */
static bool try_guard(void)
{
	struct zs_stack_pool pool;
	struct zs_stack *stack;
	bool works = false;

	zs_stack_pool_init(&pool, 1, 1);
	stack = zs_stack_get(&pool);
	if (stack) {
		works = !pool.guards.by_mprotect;
		zs_stack_put(&pool, stack);
	}
	zs_stack_pool_fini(&pool);
	return works;
}

int zs_kernel_try(struct zs_kernel *kernel)
{
	size_t page_size = (size_t)sysconf(_SC_PAGESIZE);
	struct zs_kernel_mask mask;
	uint32_t wanted;
	char *memory;
	int ret;

	kernel->register_ops = 0;
	kernel->abilities = 0;
	ret = zs_kernel_mask_from_env(&mask);
	if (ret < 0)
		return ret;
	wanted = ~(uint32_t)mask.abilities;
	if (mask.register_ops & 1u << ZS_URING_REGISTER_PBUF_RING)
		wanted &= ~(1u << ZS_ABILITY_BUFFER_RING);
	if (!(wanted & 1u << ZS_ABILITY_BUFFER_RING))
		wanted &= ~(1u << ZS_ABILITY_BUFFER_RING_INC);
	if (try_guard())
		kernel->abilities |= 1u << ZS_ABILITY_GUARD_INSTALL;
	if (kernel->verdict == ZS_KERNEL_USABLE ||
	    kernel->verdict == ZS_KERNEL_TOO_OLD) {
		/* A page to use, behind one that faults. */
		memory = mmap(NULL, 2 * page_size, PROT_NONE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (memory == MAP_FAILED)
			return 0;
		kernel->register_ops = try_register_ops(memory) &
				       ~mask.register_ops;
		if (kernel->verdict == ZS_KERNEL_USABLE &&
		    mprotect(memory + page_size, page_size,
			     PROT_READ | PROT_WRITE) == 0)
			kernel->abilities |=
				try_on_ring(kernel, memory + page_size, wanted);
		munmap(memory, 2 * page_size);
	}
	kernel->abilities &= wanted;
	return 0;
}
