/* SPDX-License-Identifier: MIT */
/* The bare ring of echo_ring.c and echo_load.c; see raw_ring.h. */
#include "raw_ring.h"

#include <string.h>
#include <sys/mman.h>

/* Best first. An unknown flag is -EINVAL. */
static const uint32_t setups[] = {
	ZS_URING_SETUP_CQSIZE | ZS_URING_SETUP_SUBMIT_ALL |
		ZS_URING_SETUP_SINGLE_ISSUER | ZS_URING_SETUP_DEFER_TASKRUN,
	ZS_URING_SETUP_CQSIZE | ZS_URING_SETUP_SUBMIT_ALL |
		ZS_URING_SETUP_COOP_TASKRUN,
	ZS_URING_SETUP_CQSIZE,
};

static int setup(struct raw_ring *ring, uint32_t entries,
		 struct zs_uring_params *params)
{
	int ret = -EINVAL;
	size_t i;

	for (i = 0; i < sizeof(setups) / sizeof(setups[0]); i++) {
		memset(params, 0, sizeof(*params));
		params->flags = setups[i];
		params->cq_entries = entries * 4;
		ret = zs_uring_setup(entries, params);
		if (ret != -EINVAL)
			break;
	}
	ring->defers = params->flags & ZS_URING_SETUP_DEFER_TASKRUN;
	return ret;
}

static void *word(struct raw_ring *ring, uint32_t offset)
{
	return (char *)ring->map + offset;
}

/* Entry n of the queue is always SQE n: the indirection is filled in once. */
static void point_into(struct raw_ring *ring,
		       const struct zs_uring_params *params)
{
	uint32_t *array = word(ring, params->sq_off.array);
	uint32_t i;

	ring->sq_head = word(ring, params->sq_off.head);
	ring->sq_tail = word(ring, params->sq_off.tail);
	ring->cq_head = word(ring, params->cq_off.head);
	ring->cq_tail = word(ring, params->cq_off.tail);
	ring->cqes = word(ring, params->cq_off.cqes);
	ring->sq_mask = params->sq_entries - 1;
	ring->cq_mask = params->cq_entries - 1;
	for (i = 0; i < params->sq_entries; i++)
		array[i] = i;
}

static int map_ring(struct raw_ring *ring, const struct zs_uring_params *params)
{
	size_t sq_size =
		params->sq_off.array + params->sq_entries * sizeof(uint32_t);
	size_t cq_size = params->cq_off.cqes +
			 params->cq_entries * sizeof(struct zs_cqe);

	ring->map_size = sq_size > cq_size ? sq_size : cq_size;
	ring->map = mmap(NULL, ring->map_size, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_POPULATE, ring->fd,
			 (off_t)ZS_URING_OFFSET_SQ_RING);
	if (ring->map == MAP_FAILED)
		return -errno;
	ring->sqes_size = params->sq_entries * sizeof(struct zs_sqe);
	ring->sqes = mmap(NULL, ring->sqes_size, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_POPULATE, ring->fd,
			  (off_t)ZS_URING_OFFSET_SQES);
	if (ring->sqes == MAP_FAILED) {
		munmap(ring->map, ring->map_size);
		return -ENOMEM;
	}
	point_into(ring, params);
	return 0;
}

int raw_ring_open(struct raw_ring *ring, uint32_t entries)
{
	struct zs_uring_params params;
	int ret;

	memset(ring, 0, sizeof(*ring));
	ring->fd = setup(ring, entries, &params);
	if (ring->fd < 0)
		return ring->fd;
	ret = map_ring(ring, &params);
	if (ret < 0)
		close(ring->fd);
	return ret;
}

void raw_ring_close(struct raw_ring *ring)
{
	munmap(ring->sqes, ring->sqes_size);
	munmap(ring->map, ring->map_size);
	close(ring->fd);
}

/* release: publishes the entries; the kernel acquires the tail. */
static uint32_t publish(struct raw_ring *ring)
{
	atomic_store_explicit(ring->sq_tail, ring->next_tail,
			      memory_order_release);
	return ring->next_tail - ring->submitted;
}

struct zs_sqe *raw_ring_sqe(struct raw_ring *ring)
{
	struct zs_sqe *sqe;
	int ret;

	while (ring->next_tail - ring->submitted > ring->sq_mask) {
		ret = zs_uring_enter(ring->fd, publish(ring), 0, 0, NULL, 0);
		ring->enters++;
		if (ret > 0)
			ring->submitted += (uint32_t)ret;
	}
	sqe = &ring->sqes[ring->next_tail++ & ring->sq_mask];
	memset(sqe, 0, sizeof(*sqe));
	return sqe;
}

int raw_ring_turn(struct raw_ring *ring, int64_t limit_ns)
{
	struct zs_uring_timespec limit = {
		.seconds = limit_ns / 1000000000,
		.nanoseconds = limit_ns % 1000000000,
	};
	struct zs_uring_getevents_arg arg = {
		.timespec = limit_ns ? (uint64_t)(uintptr_t)&limit : 0,
	};
	int ret;

	/* release: we are done with the entries before it; the kernel acquires
	 * the head before it writes over them. */
	atomic_store_explicit(ring->cq_head, ring->next_head,
			      memory_order_release);
	ret = zs_uring_enter(ring->fd, publish(ring), 1,
			     ZS_URING_ENTER_GETEVENTS | ZS_URING_ENTER_EXT_ARG,
			     &arg, sizeof(arg));
	ring->enters++;
	if (ret >= 0)
		ring->submitted += (uint32_t)ret;
	return ret == -EINTR || ret > 0 ? 0 : ret;
}

bool raw_ring_next(struct raw_ring *ring, struct zs_cqe *cqe)
{
	/* acquire: pairs with the kernel's release of the tail. */
	uint32_t tail =
		atomic_load_explicit(ring->cq_tail, memory_order_acquire);

	if (ring->next_head == tail)
		return false;
	*cqe = ring->cqes[ring->next_head++ & ring->cq_mask];
	return true;
}

/* --- buffers --- */

/* The kernel's struct io_uring_buf_reg. */
struct raw_buffers_registration {
	uint64_t ring_addr;
	uint32_t ring_entries;
	uint16_t group;
	uint16_t flags;
	uint64_t resv[3];
};

static size_t ring_bytes(const struct raw_buffers *buffers)
{
	return buffers->count * sizeof(struct raw_buffer);
}

static size_t all_bytes(const struct raw_buffers *buffers)
{
	return ring_bytes(buffers) + (size_t)buffers->count * buffers->size;
}

int raw_buffers_open(struct raw_buffers *buffers, struct raw_ring *ring,
		     uint32_t count, uint32_t size)
{
	struct raw_buffers_registration registration = { .ring_entries =
								 count };
	uint32_t i;
	int ret;

	*buffers = (struct raw_buffers){ .count = count, .size = size };
	buffers->ring = mmap(NULL, all_bytes(buffers), PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (buffers->ring == MAP_FAILED)
		return -errno;
	buffers->memory = (char *)buffers->ring + ring_bytes(buffers);
	registration.ring_addr = (uint64_t)(uintptr_t)buffers->ring;
	ret = zs_uring_register(ring->fd, ZS_URING_REGISTER_PBUF_RING,
				&registration, 1);
	if (ret < 0) {
		raw_buffers_close(buffers);
		return ret;
	}
	for (i = 0; i < count; i++)
		raw_buffers_put(buffers, i);
	raw_buffers_publish(buffers);
	return 0;
}

void raw_buffers_close(struct raw_buffers *buffers)
{
	munmap(buffers->ring, all_bytes(buffers));
}

/* All but the tail, which shares the first one's memory. */
void raw_buffers_put(struct raw_buffers *buffers, uint32_t id)
{
	struct raw_buffer *buffer =
		&buffers->ring[buffers->next_tail++ & (buffers->count - 1)];

	buffer->addr = (uint64_t)(uintptr_t)raw_buffers_at(buffers, id);
	buffer->length = buffers->size;
	buffer->id = (uint16_t)id;
}

void raw_buffers_publish(struct raw_buffers *buffers)
{
	/* release: publishes the buffers; the kernel acquires the tail. */
	atomic_store_explicit((_Atomic uint16_t *)&buffers->ring[0].tail,
			      buffers->next_tail, memory_order_release);
}
