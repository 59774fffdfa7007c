/* SPDX-License-Identifier: MIT */
/*
 * Stacks of tasks: the cold side, called by the pool's worker. Reserving is
 * cheap and done in growing steps; guards are a system call and installed only
 * when their stacks are about to be carved, the more at once the more there
 * are.
 */
#include "mem/stack.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/explain.h"
#include "mem/advise.h"

enum {
	FIRST_REGION_STACKS = 16,
	MAX_REGION_SIZE = 64 << 20,
	TOP_ALIGNMENT = 64,
	RESIDENT_BATCH = 256,
	/* Trimmed stacks that keep their top page, for each that is cached. */
	TRIMMED_PER_CACHED = 4,
	CANARY_WORDS = 8,
	EMPTIED_BATCH = 32,
	GIVEN_BACK_PER_MEASURE = 16,
};

#define CANARY UINT64_C(0x5afe57ac6b0770ae)

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
	size_t guarded; /* slots that have a guard: at least all carved */
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
	return pool->guards.size + pool->stack_size;
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

/* What mlockall() has the kernel do to a new map, filling it with pages before
 * any task needs one, it does not do to one that may not be touched. */
static char *map_unfilled(size_t size)
{
	char *base = mmap(
		NULL, size, PROT_NONE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);

	if (base == MAP_FAILED)
		return base;
	munlock(base, size);
	if (mprotect(base, size, PROT_READ | PROT_WRITE) == 0)
		return base;
	munmap(base, size);
	return MAP_FAILED;
}

static char *map(const struct zs_stack_pool *pool, size_t size)
{
	if (pool->guards.is_locked)
		return map_unfilled(size);
	return mmap(NULL, size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1,
		    0);
}

/* How many stacks a region of @size bytes is to have. Their descriptors must
 * not just begin another page, which would be counted in what a parked task
 * takes; a slot or two remain unused then. */
static size_t capacity_of(const struct zs_stack_pool *pool, size_t size)
{
	size_t stacks = size / slot_size(pool);
	size_t descriptors = sizeof(struct zs_stack_region) +
			     stacks * sizeof(struct zs_stack);
	size_t excess = descriptors % page_size();

	if (descriptors < page_size() || excess > page_size() / 4)
		return stacks;
	return stacks -
	       (excess + sizeof(struct zs_stack) - 1) / sizeof(struct zs_stack);
}

/* NULL if even one stack is too much. A limit on the address space may still
 * have room for fewer stacks than this step is due. */
static char *reserve(struct zs_stack_pool *pool, size_t *size)
{
	size_t stacks = pool->next_region_size / slot_size(pool);
	char *base;

	for (;;) {
		*size = stacks * slot_size(pool);
		base = map(pool, *size);
		if (base != MAP_FAILED)
			break;
		if (stacks == 1)
			return NULL;
		stacks /= 2;
	}
	/* The steps grow again from what there was. */
	pool->next_region_size = *size;
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
	capacity = capacity_of(pool, size);
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

/* At least for the next stack of @region, and the more for others that follow
 * the more there are. 0 or -ENOMEM, explained. */
static int guard_some(struct zs_stack_pool *pool,
		      struct zs_stack_region *region)
{
	char *slot = region->base + region->guarded * slot_size(pool);
	size_t count = region->capacity - region->guarded;
	int ret;

	if (count > pool->num_mapped)
		count = pool->num_mapped > 0 ? pool->num_mapped : 1;
	if (count > ZS_GUARD_BATCH)
		count = ZS_GUARD_BATCH;
	ret = zs_guards_install(&pool->guards, slot, slot_size(pool),
				(uint32_t)count);
	if (ret < 0) {
		zs_guards_explain(&pool->guards, ret, pool->num_mapped);
		return -ENOMEM;
	}
	region->guarded += (size_t)ret;
	return 0;
}

static void set_canary(struct zs_stack *stack)
{
	volatile uint64_t *words = (volatile uint64_t *)stack->base;
	size_t i;

	for (i = 0; i < CANARY_WORDS; i++)
		words[i] = CANARY;
	stack->has_canary = true;
}

/* NULL, explained, if it cannot be guarded; the next try takes it again. */
static struct zs_stack *carve(struct zs_stack_pool *pool,
			      struct zs_stack_region *region)
{
	struct zs_stack *stack = &region->stacks[region->carved];
	char *slot = region->base + region->carved * slot_size(pool);
	size_t colour = pool->num_mapped % COLOURS * COLOUR_STEP;
	int ret = 0;

	if (region->carved == region->guarded)
		ret = guard_some(pool, region);
	if (ret < 0 && !pool->may_lack_guards)
		return NULL;
	stack->base = slot + pool->guards.size;
	stack->top = slot + slot_size(pool) - colour;
	stack->size_class = pool->size_class;
	if (ret < 0) {
		set_canary(stack);
		region->guarded++;
	}
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
	zs_guards_init(&pool->guards);
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

	ZS_ASSERT(pool->num_free + pool->num_trimmed + pool->num_emptied ==
		  pool->num_mapped);
	for (; region; region = next) {
		next = region->next;
		munmap(region->base, region->size);
		munmap(region, region->descriptors_size);
	}
	zs_guards_fini(&pool->guards);
	pool->regions = NULL;
	pool->free = pool->trimmed = pool->emptied = NULL;
	pool->num_free = pool->num_trimmed = pool->num_emptied = 0;
	pool->num_mapped = pool->num_unemptied = 0;
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
	stack = pool->emptied;
	if (stack) {
		pool->emptied = stack->next;
		pool->num_emptied--;
		pool->num_unemptied -= pool->num_unemptied > 0;
		return stack;
	}
	if (!region || region->carved == region->capacity)
		region = map_region(pool);
	if (region)
		stack = carve(pool, region);
	errno = saved_errno;
	return stack;
}

/* One past its last byte; what lies above top is its own, too. */
static char *end_of(const struct zs_stack *stack)
{
	return stack->top + (-(uintptr_t)stack->top & (page_size() - 1));
}

/* The lowest byte that a canary does not need. */
static char *start_of(const struct zs_stack *stack)
{
	return stack->base + (stack->has_canary ? page_size() : 0);
}

/* The lowest page of @stack that is resident, its end if none is. */
static char *lowest_touched(const struct zs_stack *stack)
{
	size_t page = page_size();
	char *base = start_of(stack);
	size_t left = (size_t)(end_of(stack) - base) / page;
	unsigned char state[RESIDENT_BATCH];
	size_t i;

	while (left) {
		size_t count = left < RESIDENT_BATCH ? left : RESIDENT_BATCH;

		if (mincore(base, count * page, state) < 0)
			return start_of(stack);
		for (i = 0; i < count && !(state[i] & 1); i++)
			base += page;
		if (i < count)
			break;
		left -= count;
	}
	return base;
}

static void measure_some(struct zs_stack_pool *pool,
			 const struct zs_stack *stack)
{
	size_t depth;

	if (pool->num_given_back++ % GIVEN_BACK_PER_MEASURE != 0)
		return;
	depth = (size_t)(end_of(stack) - lowest_touched(stack));
	if (depth > pool->deepest)
		pool->deepest = depth;
}

/* EINVAL, here and below: mlockall(), and then the memory stays: who asks for
 * that wants no faults later. */
static void empty_all(struct zs_stack_pool *pool)
{
	struct iovec ranges[EMPTIED_BATCH];
	struct zs_stack *stack = pool->emptied;
	uint32_t i, done;

	for (i = 0; i < pool->num_unemptied; i++, stack = stack->next)
		ranges[i] = (struct iovec){
			start_of(stack),
			(size_t)(end_of(stack) - start_of(stack)),
		};
	done = zs_advise(ranges, pool->num_unemptied, MADV_DONTNEED);
	for (i = done; i < pool->num_unemptied; i++)
		madvise(ranges[i].iov_base, ranges[i].iov_len, MADV_DONTNEED);
	pool->num_unemptied = 0;
}

/* By the batch, of which each is a free stack like any other until then. */
static void put_emptied(struct zs_stack_pool *pool, struct zs_stack *stack)
{
	measure_some(pool, stack);
	stack->next = pool->emptied;
	pool->emptied = stack;
	pool->num_emptied++;
	pool->num_unemptied++;
	if (pool->num_unemptied == EMPTIED_BATCH)
		empty_all(pool);
}

static void put_trimmed(struct zs_stack_pool *pool, struct zs_stack *stack)
{
	char *keep = end_of(stack) - page_size();

	measure_some(pool, stack);
	if (keep > start_of(stack))
		madvise(start_of(stack), (size_t)(keep - start_of(stack)),
			MADV_DONTNEED);
	stack->next = pool->trimmed;
	pool->trimmed = stack;
	pool->num_trimmed++;
}

void zs_stack_trim(struct zs_stack_pool *pool, struct zs_stack *stack)
{
	int saved_errno = errno;

	if (pool->num_trimmed / TRIMMED_PER_CACHED >= pool->cache)
		put_emptied(pool, stack);
	else
		put_trimmed(pool, stack);
	errno = saved_errno;
}

/* NULL if there is none that has pages. */
static struct zs_stack *take_resident(struct zs_stack_pool *pool)
{
	struct zs_stack *stack = pool->free;

	if (stack) {
		pool->free = stack->next;
		pool->num_free--;
		return stack;
	}
	stack = pool->trimmed;
	if (stack) {
		pool->trimmed = stack->next;
		pool->num_trimmed--;
	}
	return stack;
}

uint32_t zs_stack_pool_empty(struct zs_stack_pool *pool, uint32_t most)
{
	int saved_errno = errno;
	struct zs_stack *stack;
	uint32_t count = 0;

	while (count < most) {
		stack = take_resident(pool);
		if (!stack)
			break;
		put_emptied(pool, stack);
		count++;
	}
	if (pool->num_unemptied > 0)
		empty_all(pool);
	errno = saved_errno;
	return count;
}

bool zs_stack_canary_lives(const struct zs_stack *stack)
{
	const volatile uint64_t *words = (const volatile uint64_t *)stack->base;
	size_t i;

	for (i = 0; i < CANARY_WORDS; i++)
		if (words[i] != CANARY)
			return false;
	return true;
}

bool zs_stack_in_guard(const struct zs_stack_pool *pool,
		       const struct zs_stack *stack, const void *address)
{
	uintptr_t end = (uintptr_t)stack->base;

	return (uintptr_t)address < end &&
	       (uintptr_t)address >= end - pool->guards.size;
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
