/* SPDX-License-Identifier: MIT */
/* The memory of a shimmed ring, for shim.c. */
#include "shim_ring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Where the words of the engine's side are, in bytes. */
enum {
	SQ_HEAD = 0,
	SQ_TAIL = 64,
	SQ_FLAGS = 128,
	CQ_HEAD = 192,
	CQ_TAIL = 256,
	UNUSED = 320,
	SQ_ARRAY = 384,
};

/* --- views --- */

static void find_fields(struct shim_view *view,
			const struct zs_uring_params *params)
{
	char *queues = view->queues;
	uint32_t *array = (void *)(queues + params->sq_off.array);

	view->sq_head = (void *)(queues + params->sq_off.head);
	view->sq_tail = (void *)(queues + params->sq_off.tail);
	view->sq_flags = (void *)(queues + params->sq_off.flags);
	view->cq_head = (void *)(queues + params->cq_off.head);
	view->cq_tail = (void *)(queues + params->cq_off.tail);
	view->cqes = (void *)(queues + params->cq_off.cqes);
	view->sq_mask = params->sq_entries - 1;
	view->cq_entries = params->cq_entries;
	if (params->flags & ZS_URING_SETUP_NO_SQARRAY)
		return;
	for (uint32_t i = 0; i < params->sq_entries; i++)
		array[i] = i;
}

static size_t size_of_queues(const struct zs_uring_params *params)
{
	size_t sq_end =
		params->sq_off.array + params->sq_entries * sizeof(uint32_t);
	size_t cq_end = params->cq_off.cqes +
			params->cq_entries * sizeof(struct zs_cqe);

	return sq_end > cq_end ? sq_end : cq_end;
}

static void *map(int fd, size_t size, uint64_t offset)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_POPULATE, fd, (off_t)offset);

	if (memory == MAP_FAILED)
		return NULL;
	madvise(memory, size, MADV_DONTFORK);
	return memory;
}

static void unmap_view(struct shim_view *view)
{
	if (view->queues)
		munmap(view->queues, view->queues_size);
	if (view->sqes)
		munmap(view->sqes, view->sqes_size);
}

static bool map_view(struct shim_view *view, int fd,
		     const struct zs_uring_params *params)
{
	view->fd = fd;
	view->queues_size = size_of_queues(params);
	view->sqes_size = params->sq_entries * sizeof(struct zs_sqe);
	view->queues = map(fd, view->queues_size, ZS_URING_OFFSET_SQ_RING);
	view->sqes = map(fd, view->sqes_size, ZS_URING_OFFSET_SQES);
	if (!view->queues || !view->sqes)
		return false;
	find_fields(view, params);
	return true;
}

/* --- rings --- */

/* What the engine maps: a file of its own, laid out like a ring. */
static int create_above(struct zs_uring_params *params, uint32_t cq_entries)
{
	size_t array_size = params->sq_entries * sizeof(uint32_t);
	int fd = memfd_create("shim", MFD_CLOEXEC);

	if (fd < 0)
		return -1;
	params->cq_entries = cq_entries;
	params->sq_off = (struct zs_uring_sq_offsets){
		.head = SQ_HEAD,
		.tail = SQ_TAIL,
		.flags = SQ_FLAGS,
		.ring_mask = UNUSED,
		.ring_entries = UNUSED,
		.dropped = UNUSED,
		.array = SQ_ARRAY,
	};
	params->cq_off = (struct zs_uring_cq_offsets){
		.head = CQ_HEAD,
		.tail = CQ_TAIL,
		.ring_mask = UNUSED,
		.ring_entries = UNUSED,
		.overflow = UNUSED,
		.flags = UNUSED,
		.cqes = (uint32_t)((SQ_ARRAY + array_size + 63) & ~63ul),
	};
	if (ftruncate(fd, (off_t)(ZS_URING_OFFSET_SQES +
				  params->sq_entries * sizeof(struct zs_sqe))) <
	    0) {
		close(fd);
		return -1;
	}
	return fd;
}

struct shim_ring *shim_ring_create(int kernel_fd,
				   struct zs_uring_params *params,
				   uint32_t cq_entries)
{
	struct shim_ring *ring = calloc(1, sizeof(*ring));
	int fd;

	if (!ring)
		return NULL;
	if (!map_view(&ring->below, kernel_fd, params))
		goto unmap;
	fd = create_above(params, cq_entries);
	if (fd < 0)
		goto unmap;
	if (map_view(&ring->above, fd, params))
		return ring;
	close(fd);
unmap:
	unmap_view(&ring->below);
	unmap_view(&ring->above);
	free(ring);
	errno = ENOMEM;
	return NULL;
}

void shim_ring_destroy(struct shim_ring *ring)
{
	unmap_view(&ring->below);
	unmap_view(&ring->above);
	close(ring->below.fd);
	free(ring->completions);
	free(ring);
}

/* --- completions --- */

static bool is_before(const struct shim_completion *a,
		      const struct shim_completion *b)
{
	if (a->due_ns != b->due_ns)
		return a->due_ns < b->due_ns;
	if (a->order != b->order)
		return a->order < b->order;
	return a->arrival < b->arrival;
}

static void exchange(struct shim_completion *a, struct shim_completion *b)
{
	struct shim_completion other = *a;

	*a = *b;
	*b = other;
}

void shim_completion_add(struct shim_ring *ring,
			 const struct shim_completion *completion)
{
	size_t i = ring->num_completions++;
	struct shim_completion *heap;

	if (ring->num_completions > ring->completions_size) {
		ring->completions_size = ring->completions_size * 2 + 64;
		ring->completions =
			realloc(ring->completions,
				ring->completions_size * sizeof(*completion));
		if (!ring->completions)
			abort();
	}
	heap = ring->completions;
	heap[i] = *completion;
	for (; i > 0 && is_before(&heap[i], &heap[(i - 1) / 2]);
	     i = (i - 1) / 2)
		exchange(&heap[i], &heap[(i - 1) / 2]);
}

struct shim_completion shim_completion_take(struct shim_ring *ring)
{
	struct shim_completion *heap = ring->completions;
	struct shim_completion first = heap[0];
	size_t number = --ring->num_completions;
	size_t i = 0, child;

	heap[0] = heap[number];
	for (child = 1; child < number; child = i * 2 + 1) {
		if (child + 1 < number &&
		    is_before(&heap[child + 1], &heap[child]))
			child++;
		if (!is_before(&heap[child], &heap[i]))
			break;
		exchange(&heap[child], &heap[i]);
		i = child;
	}
	return first;
}
