/* SPDX-License-Identifier: MIT */
/*
 * Stacks of tasks: the cold side, called by the pool's worker. Reserving is
 * cheap and done in growing steps; a guard is a system call and installed only
 * when its stack is carved, which is when a task first needs it.
 */
#include "mem/stack.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/explain.h"

enum {
	GUARD_PAGES = 4,
	FIRST_REGION_STACKS = 16,
	MAX_REGION_SIZE = 64 << 20,
	TOP_ALIGNMENT = 64,
	RESIDENT_BATCH = 256,
	ADVISE_GUARD_INSTALL = 102, /* MADV_GUARD_INSTALL, Linux 6.13 */
};

/* Tops at the same offset of every page would meet in the same few sets of
 * each cache; these spread them. */
enum {
	COLOURS = 8,
	COLOUR_STEP = 128,
};

static_assert(COLOUR_STEP % TOP_ALIGNMENT == 0, "tops stay aligned");

/* A map that stacks are carved from, lowest first. This and the descriptors
 * are in a map of their own, not to touch the stacks' pages. */
struct zs_stack_region {
	struct zs_stack_region *next;
	char *base;
	size_t size;
	size_t descriptors_size; /* of the map that this heads */
	size_t capacity;
	size_t carved;
	struct zs_stack stacks[];
};

static size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

static size_t round_up(size_t size, size_t step)
{
	return (size + step - 1) / step * step;
}

static size_t slot_size(const struct zs_stack_pool *pool)
{
	return pool->guard_size + pool->stack_size;
}

static void explain_map(size_t size)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_AS, &limit) == 0 &&
	    limit.rlim_cur != RLIM_INFINITY) {
		zs_explain_as(-ENOMEM,
			      "cannot map %zu KiB for task stacks: RLIMIT_AS "
			      "is %llu MiB; raise it (ulimit -v) or lower "
			      "green_thread_stack_size",
			      size >> 10,
			      (unsigned long long)limit.rlim_cur >> 20);
		return;
	}
	zs_explain_as(-ENOMEM,
		      "cannot map %zu KiB for task stacks: raise "
		      "vm.overcommit_ratio if vm.overcommit_memory is 2, or "
		      "vm.max_map_count; or lower green_thread_stack_size",
		      size >> 10);
}

static void explain_guard(const struct zs_stack_pool *pool)
{
	if (!pool->guard_by_mprotect) {
		zs_explain_as(-ENOMEM, "cannot guard one more task stack: no "
				       "memory for its page tables");
		return;
	}
	zs_explain_as(-ENOMEM,
		      "cannot guard one more task stack after %u: raise "
		      "vm.max_map_count (two mappings a stack), lower "
		      "max_green_threads, or use Linux 6.13 or later",
		      pool->num_mapped);
}

/* The kernel is made to write there: EFAULT is what a task would fault with.
 * Emulators take advice they do not know for a hint and say yes. */
static bool is_guarded(char *address)
{
	return syscall(SYS_getcpu, address, NULL, NULL) < 0;
}

/* 0 or a negative errno. EINVAL: a kernel before 6.13, or mlockall(). */
static int install_guard(struct zs_stack_pool *pool, char *guard)
{
	if (!pool->guard_by_mprotect) {
		if (madvise(guard, pool->guard_size, ADVISE_GUARD_INSTALL) < 0)
			pool->guard_by_mprotect = errno == EINVAL;
		else if (pool->num_mapped == 0 && !is_guarded(guard))
			pool->guard_by_mprotect = true;
		else
			return 0;
		if (!pool->guard_by_mprotect)
			return -errno;
	}
	if (mprotect(guard, pool->guard_size, PROT_NONE) < 0)
		return -errno;
	return 0;
}

/* NULL if even one stack is too much. A limit on the address space may still
 * have room for fewer stacks than this step is due. */
static char *reserve(struct zs_stack_pool *pool, size_t *size)
{
	size_t stacks = pool->next_region_size / slot_size(pool);
	char *base;

	for (;;) {
		*size = stacks * slot_size(pool);
		base = mmap(NULL, *size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
				    MAP_STACK,
			    -1, 0);
		if (base != MAP_FAILED)
			break;
		if (stacks == 1)
			return NULL;
		stacks /= 2;
	}
	/* A huge page under a stack would be 2 MiB resident. EINVAL: a kernel
	 * that has none. */
	madvise(base, *size, MADV_NOHUGEPAGE);
	return base;
}

/* NULL, explained, if there is no memory. */
static struct zs_stack_region *map_region(struct zs_stack_pool *pool)
{
	struct zs_stack_region *region;
	size_t size, capacity, descriptors_size;
	char *base = reserve(pool, &size);

	if (!base)
		goto explain;
	capacity = size / slot_size(pool);
	descriptors_size =
		round_up(sizeof(*region) + capacity * sizeof(struct zs_stack),
			 page_size());
	region = mmap(NULL, descriptors_size, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (region == MAP_FAILED)
		goto unmap_base;
	region->next = pool->regions;
	region->base = base;
	region->size = size;
	region->descriptors_size = descriptors_size;
	region->capacity = capacity;
	pool->regions = region;
	if (pool->next_region_size < MAX_REGION_SIZE)
		pool->next_region_size *= 2;
	return region;
unmap_base:
	munmap(base, size);
explain:
	explain_map(size);
	return NULL;
}

/* NULL, explained, if it cannot be guarded; the next try takes it again. */
static struct zs_stack *carve(struct zs_stack_pool *pool,
			      struct zs_stack_region *region)
{
	struct zs_stack *stack = &region->stacks[region->carved];
	char *slot = region->base + region->carved * slot_size(pool);
	size_t colour = pool->num_mapped % COLOURS * COLOUR_STEP;

	if (install_guard(pool, slot) < 0) {
		explain_guard(pool);
		return NULL;
	}
	stack->base = slot + pool->guard_size;
	stack->top = slot + slot_size(pool) - colour;
	region->carved++;
	pool->num_mapped++;
	return stack;
}

void zs_stack_pool_init(struct zs_stack_pool *pool, size_t stack_size,
			uint32_t cache)
{
	memset(pool, 0, sizeof(*pool));
	pool->cache = cache;
	pool->stack_size = round_up(stack_size, page_size());
	pool->guard_size = GUARD_PAGES * page_size();
	ZS_ASSERT(pool->stack_size >= page_size());
	ZS_ASSERT(pool->stack_size >= stack_size);
	pool->next_region_size = slot_size(pool) * FIRST_REGION_STACKS;
	if (pool->next_region_size > MAX_REGION_SIZE)
		pool->next_region_size = MAX_REGION_SIZE;
	if (pool->next_region_size < slot_size(pool))
		pool->next_region_size = slot_size(pool);
}

void zs_stack_pool_fini(struct zs_stack_pool *pool)
{
	struct zs_stack_region *region = pool->regions;
	struct zs_stack_region *next;

	ZS_ASSERT(pool->num_free + pool->num_trimmed == pool->num_mapped);
	for (; region; region = next) {
		next = region->next;
		munmap(region->base, region->size);
		munmap(region, region->descriptors_size);
	}
	zs_stack_pool_init(pool, pool->stack_size, pool->cache);
}

struct zs_stack *zs_stack_refill(struct zs_stack_pool *pool)
{
	struct zs_stack *stack = pool->trimmed;
	struct zs_stack_region *region = pool->regions;
	int saved_errno = errno;

	if (stack) {
		pool->trimmed = stack->next;
		pool->num_trimmed--;
		return stack;
	}
	if (!region || region->carved == region->capacity)
		region = map_region(pool);
	if (region)
		stack = carve(pool, region);
	errno = saved_errno;
	return stack;
}

void zs_stack_trim(struct zs_stack_pool *pool, struct zs_stack *stack)
{
	size_t page = page_size();
	char *keep = (char *)((uintptr_t)(stack->top - 1) & ~(page - 1));
	int saved_errno = errno;

	/* The next task touches the top page at once. EINVAL: mlockall(), and
	 * then the memory stays. */
	if (keep > stack->base)
		madvise(stack->base, (size_t)(keep - stack->base),
			MADV_DONTNEED);
	errno = saved_errno;
	stack->next = pool->trimmed;
	pool->trimmed = stack;
	pool->num_trimmed++;
}

bool zs_stack_in_guard(const struct zs_stack_pool *pool,
		       const struct zs_stack *stack, const void *address)
{
	uintptr_t end = (uintptr_t)stack->base;

	return (uintptr_t)address < end &&
	       (uintptr_t)address >= end - pool->guard_size;
}

size_t zs_stack_resident(const struct zs_stack *stack)
{
	size_t page = page_size();
	size_t left = round_up((size_t)(stack->top - stack->base), page) / page;
	unsigned char state[RESIDENT_BATCH];
	char *base = stack->base;
	size_t resident = 0;
	int saved_errno = errno;

	while (left) {
		size_t count = left < RESIDENT_BATCH ? left : RESIDENT_BATCH;

		if (mincore(base, count * page, state) < 0)
			break;
		for (size_t i = 0; i < count; i++)
			resident += state[i] & 1 ? page : 0;
		base += count * page;
		left -= count;
	}
	errno = saved_errno;
	return resident;
}
