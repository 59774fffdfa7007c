/* SPDX-License-Identifier: MIT */
/*
 * A bare ring: what somebody would write who knows io_uring and wants nothing
 * but speed. The limit that zsync is compared with, and the load generator,
 * are loops over it. One thread, which opens, uses and closes it.
 */
#ifndef ZS_BENCH_RAW_RING_H
#define ZS_BENCH_RAW_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/abi.h"

struct raw_ring {
	int fd;
	bool defers; /* DEFER_TASKRUN was granted */
	/* The kernel's words, in the map. */
	_Atomic uint32_t *sq_head;
	_Atomic uint32_t *sq_tail;
	_Atomic uint32_t *cq_head;
	_Atomic uint32_t *cq_tail;
	uint32_t sq_mask;
	uint32_t cq_mask;
	struct zs_sqe *sqes;
	struct zs_cqe *cqes;
	uint32_t next_tail; /* of the submission queue, not yet published */
	uint32_t next_head; /* of the completion queue, likewise */
	uint32_t submitted; /* the tail up to which the kernel has consumed */
	uint64_t enters;
	void *map;
	size_t map_size;
	size_t sqes_size;
};

/* Takes the best set of flags that this kernel accepts. 0 or a negative
 * errno. */
int raw_ring_open(struct raw_ring *ring, uint32_t entries);
void raw_ring_close(struct raw_ring *ring);

/* A zeroed entry; submits what there is when the queue is full. */
struct zs_sqe *raw_ring_sqe(struct raw_ring *ring);

/* Submits, and waits for at least one completion, up to @limit_ns (0: without
 * limit). 0, -ETIME or another negative errno. */
int raw_ring_turn(struct raw_ring *ring, int64_t limit_ns);

/* The next completion, copied out; false if there is none. */
bool raw_ring_next(struct raw_ring *ring, struct zs_cqe *cqe);

/* --- a ring of buffers from which the kernel takes one for each receive --- */

struct raw_buffer { /* the kernel's struct io_uring_buf */
	uint64_t addr;
	uint32_t length;
	uint16_t id;
	uint16_t tail; /* of the whole ring, in the first one */
};

struct raw_buffers {
	struct raw_buffer *ring;
	char *memory;
	uint32_t count; /* a power of two, up to 32,768 */
	uint32_t size;
	uint16_t next_tail;
};

/* Registers @count buffers of @size bytes as group 0. Linux 5.19. 0 or a
 * negative errno. */
int raw_buffers_open(struct raw_buffers *buffers, struct raw_ring *ring,
		     uint32_t count, uint32_t size);
void raw_buffers_close(struct raw_buffers *buffers);

static inline char *raw_buffers_at(const struct raw_buffers *buffers,
				   uint32_t id)
{
	return buffers->memory + (size_t)id * buffers->size;
}

/* Gives a buffer back. The kernel sees it after raw_buffers_publish(). */
void raw_buffers_put(struct raw_buffers *buffers, uint32_t id);
void raw_buffers_publish(struct raw_buffers *buffers);

#endif
