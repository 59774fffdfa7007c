/* SPDX-License-Identifier: MIT */
/*
 * The pool of stacks: guards of both kinds, the cache, and what is said when no
 * more are to be had. Guards are felt for by asking the kernel to write there,
 * which says EFAULT where a task would fault.
 */
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mem/stack.h"
#include "zsync/config.h"

#if defined(ZS_ASAN) || defined(ZS_TSAN)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

enum {
	STACK_SIZE = 128 << 10,
	NUM_STACKS = 100, /* several regions */
	BOGUS_ADVICE = 12345,
};

static size_t page;
static struct zs_stack_pool pool;

static void skip(const char *test, const char *why)
{
	printf("SKIP test_stack: %s: %s\n", test, why);
	fflush(stdout);
}

/* qemu-user takes any advice. */
static bool is_emulated(void)
{
	void *map =
		mmap(NULL, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool accepted = madvise(map, page, BOGUS_ADVICE) == 0;

	munmap(map, page);
	return accepted;
}

/* Past the interceptors of the sanitizers. */
static bool faults(char *address)
{
	return syscall(SYS_getcpu, address, NULL, NULL) < 0;
}

static void set_up(void)
{
	page = (size_t)sysconf(_SC_PAGESIZE);
	zs_stack_pool_init(&pool, STACK_SIZE, NUM_STACKS);
}

/* The loop variable of some tests: the kind of guard. */
static void choose_guard(int by_mprotect)
{
	pool.guards.by_mprotect = by_mprotect;
}

/* Every byte from base to top is written, and each stack has a mark of its own
 * at both ends that no other may overwrite. */
START_TEST(stacks_are_usable_from_base_to_top_and_apart)
{
	struct zs_stack *stacks[NUM_STACKS];

	choose_guard(_i);
	for (int i = 0; i < NUM_STACKS; i++) {
		stacks[i] = zs_stack_get(&pool);
		ck_assert_ptr_nonnull(stacks[i]);
		ck_assert_uint_eq((uintptr_t)stacks[i]->top % 64, 0);
		ck_assert_uint_eq((uintptr_t)stacks[i]->base % page, 0);
		ck_assert_int_ge(stacks[i]->top - stacks[i]->base,
				 STACK_SIZE - 1024);
		ck_assert_int_le(stacks[i]->top - stacks[i]->base, STACK_SIZE);
		memset(stacks[i]->base, i,
		       (size_t)(stacks[i]->top - stacks[i]->base));
	}
	ck_assert_uint_eq(pool.num_mapped, NUM_STACKS);
	for (int i = 0; i < NUM_STACKS; i++) {
		ck_assert_int_eq(stacks[i]->base[0], i);
		ck_assert_int_eq(stacks[i]->top[-1], i);
		zs_stack_put(&pool, stacks[i]);
	}
	zs_stack_pool_fini(&pool);
}
END_TEST

/* At the first and the last byte of each page of each guard. */
START_TEST(guard_of_four_pages_or_more_is_below_each_stack)
{
	struct zs_stack *stacks[NUM_STACKS];
	int num_pages = (int)(pool.guards.size / page);

	ck_assert_int_ge(num_pages, 4);
	choose_guard(_i);
	for (int i = 0; i < NUM_STACKS; i++) {
		char *base;

		stacks[i] = zs_stack_get(&pool);
		base = stacks[i]->base;
		for (int n = 1; n <= num_pages; n++) {
			ck_assert(faults(base - n * (long)page));
			ck_assert(faults(base - (n - 1) * (long)page - 8));
		}
		ck_assert(!faults(base));
	}
	for (int i = 0; i < NUM_STACKS; i++)
		zs_stack_put(&pool, stacks[i]);
	zs_stack_pool_fini(&pool);
}
END_TEST

/* In a child, by an ordinary store. */
START_TEST(store_below_the_stack_is_a_segfault)
{
	struct zs_stack *stack;
	int status;
	pid_t pid;

	choose_guard(_i);
	stack = zs_stack_get(&pool);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL);
		*(volatile char *)(stack->base - 1) = 1;
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status));
	ck_assert_int_eq(WTERMSIG(status), SIGSEGV);
	zs_stack_put(&pool, stack);
	zs_stack_pool_fini(&pool);
}
END_TEST

START_TEST(guard_is_told_from_its_surroundings)
{
	struct zs_stack *stack = zs_stack_get(&pool);
	size_t size = pool.guards.size;

	ck_assert(!zs_stack_in_guard(&pool, stack, stack->base));
	ck_assert(zs_stack_in_guard(&pool, stack, stack->base - 1));
	ck_assert(zs_stack_in_guard(&pool, stack, stack->base - size));
	ck_assert(!zs_stack_in_guard(&pool, stack, stack->base - size - 1));
	ck_assert(!zs_stack_in_guard(&pool, stack, stack->top));
	ck_assert(!zs_stack_in_guard(&pool, stack, NULL));
}
END_TEST

START_TEST(stack_put_last_is_the_next_handed_out)
{
	struct zs_stack *first = zs_stack_get(&pool);
	struct zs_stack *second = zs_stack_get(&pool);

	zs_stack_put(&pool, second);
	zs_stack_put(&pool, first);
	ck_assert_uint_eq(pool.num_free, 2);
	ck_assert_ptr_eq(zs_stack_get(&pool), first);
	ck_assert_ptr_eq(zs_stack_get(&pool), second);
	ck_assert_uint_eq(pool.num_free, 0);
	ck_assert_uint_eq(pool.num_mapped, 2);
}
END_TEST

START_TEST(resident_counts_the_touched_pages)
{
	struct zs_stack *stack = zs_stack_get(&pool);

	ck_assert_uint_eq(zs_stack_resident(stack), 0);
	stack->top[-1] = 1;
	ck_assert_uint_eq(zs_stack_resident(stack), page);
	stack->base[0] = 1;
	ck_assert_uint_eq(zs_stack_resident(stack), 2 * page);
	memset(stack->base, 1, (size_t)(stack->top - stack->base));
	ck_assert_uint_eq(zs_stack_resident(stack), STACK_SIZE);
}
END_TEST

/* One more than the cache holds, all of them dirty from end to end. */
START_TEST(beyond_the_cache_only_the_top_page_is_kept)
{
	struct zs_stack *stacks[3];

	pool.cache = 2;
	for (int i = 0; i < 3; i++) {
		stacks[i] = zs_stack_get(&pool);
		memset(stacks[i]->base, 1,
		       (size_t)(stacks[i]->top - stacks[i]->base));
	}
	for (int i = 0; i < 3; i++)
		zs_stack_put(&pool, stacks[i]);
	ck_assert_uint_eq(pool.num_free, 2);
	ck_assert_uint_eq(pool.num_trimmed, 1);
	ck_assert_uint_eq(zs_stack_resident(stacks[0]), STACK_SIZE);
	ck_assert_uint_eq(zs_stack_resident(stacks[1]), STACK_SIZE);
	ck_assert_uint_eq(zs_stack_resident(stacks[2]), page);
	ck_assert_int_eq(stacks[2]->top[-1], 1);
	ck_assert_int_eq(stacks[2]->base[0], 0);
}
END_TEST

/* The guard must have outlived the trimming. */
START_TEST(trimmed_stacks_are_used_before_new_ones)
{
	struct zs_stack *stacks[3] = { NULL };

	choose_guard(_i % 2);
	pool.cache = _i / 2;
	for (int i = 0; i < 3; i++)
		stacks[i] = zs_stack_get(&pool);
	for (int i = 0; i < 3; i++)
		zs_stack_put(&pool, stacks[i]);
	ck_assert_uint_eq(pool.num_trimmed, pool.cache ? 2 : 0);
	ck_assert_uint_eq(pool.num_emptied, pool.cache ? 0 : 3);
	if (pool.cache)
		ck_assert_ptr_eq(zs_stack_get(&pool), stacks[0]);
	for (int i = 2; i >= (int)pool.cache; i--) {
		ck_assert_ptr_nonnull(stacks[i]);
		ck_assert_ptr_eq(zs_stack_get(&pool), stacks[i]);
		ck_assert(faults(stacks[i]->base - 8));
		ck_assert(!faults(stacks[i]->base));
	}
	ck_assert_uint_eq(pool.num_trimmed, 0);
	ck_assert_uint_eq(pool.num_emptied, 0);
	ck_assert_uint_eq(pool.num_mapped, 3);
}
END_TEST

/* Eight in a row are at eight offsets of their pages. */
START_TEST(tops_are_spread_over_the_cache)
{
	uintptr_t offsets[8];

	for (int i = 0; i < 8; i++) {
		offsets[i] = (uintptr_t)zs_stack_get(&pool)->top % page;
		for (int n = 0; n < i; n++)
			ck_assert_uint_ne(offsets[i], offsets[n]);
	}
}
END_TEST

START_TEST(odd_and_huge_sizes_become_whole_pages)
{
	static const size_t sizes[] = { 1, 16385, (1 << 20) - 1,
					(size_t)1 << 30 };

	for (int i = 0; i < 4; i++) {
		struct zs_stack *stack;

		zs_stack_pool_init(&pool, sizes[i], 1);
		ck_assert_uint_eq(pool.stack_size % page, 0);
		ck_assert_uint_ge(pool.stack_size, sizes[i]);
		ck_assert_uint_lt(pool.stack_size, sizes[i] + page);
		stack = zs_stack_get(&pool);
		ck_assert_ptr_nonnull(stack);
		ck_assert(!faults(stack->base));
		ck_assert(faults(stack->base - 8));
		zs_stack_put(&pool, stack);
		zs_stack_pool_fini(&pool);
	}
}
END_TEST

/* msync() of what is not mapped is ENOMEM. */
START_TEST(fini_unmaps_all)
{
	struct zs_stack *stacks[NUM_STACKS];
	char *bases[NUM_STACKS];

	for (int i = 0; i < NUM_STACKS; i++) {
		stacks[i] = zs_stack_get(&pool);
		bases[i] = stacks[i]->base;
	}
	for (int i = 0; i < NUM_STACKS; i++)
		zs_stack_put(&pool, stacks[i]);
	zs_stack_pool_fini(&pool);
	for (int i = 0; i < NUM_STACKS; i++) {
		ck_assert_int_eq(msync(bases[i], page, MS_ASYNC), -1);
		ck_assert_int_eq(errno, ENOMEM);
	}
	ck_assert_uint_eq(pool.num_mapped, 0);
}
END_TEST

/* How many stacks there are before there are no more, at most @limit; they are
 * put back. */
static uint32_t exhaust(uint32_t limit)
{
	struct zs_stack *all = NULL, *stack;

	while (pool.num_mapped < limit) {
		stack = zs_stack_get(&pool);
		if (!stack)
			break;
		stack->fiber = all;
		all = stack;
	}
	while (all) {
		stack = all;
		all = stack->fiber;
		zs_stack_put(&pool, stack);
	}
	return pool.num_mapped;
}

/* With an mprotect a stack, until but a sixteenth of the mappings is left, for
 * others; then a stack that comes back is enough to go on. */
START_TEST(too_many_mappings_name_the_remedy)
{
	FILE *file = fopen("/proc/sys/vm/max_map_count", "r");
	char remedy[64];
	long limit = 0;

	if (file && fscanf(file, "%ld", &limit) != 1)
		limit = 0;
	if (file)
		fclose(file);
	if (SANITIZED || is_emulated() || limit < 1000 || limit > 300000) {
		skip("too_many_mappings_name_the_remedy",
		     "sanitized, emulated, or a very high limit");
		return;
	}
	choose_guard(1);
	errno = ERANGE;
	ck_assert_uint_lt(exhaust((uint32_t)limit), (uint32_t)limit);
	ck_assert_int_eq(errno, ERANGE);
	ck_assert_uint_gt(pool.num_mapped, (uint32_t)limit / 32 * 15 - 10);
	ck_assert_uint_lt(pool.num_mapped, (uint32_t)limit / 32 * 15 + 50);
	snprintf(remedy, sizeof(remedy), "sysctl -w vm.max_map_count=%ld",
		 limit * 2);
	ck_assert_ptr_nonnull(strstr(zs_explain(-ENOMEM), remedy));
	ck_assert_ptr_nonnull(zs_stack_get(&pool));
}
END_TEST

/* The limit has room for some stacks, though not for a whole region. */
START_TEST(no_address_space_names_the_limit)
{
	struct rlimit old, tight, got;
	uint32_t count;

	getrlimit(RLIMIT_AS, &old);
	tight = old;
	tight.rlim_cur = SANITIZED ? old.rlim_cur : 64 << 20;
	setrlimit(RLIMIT_AS, &tight);
	getrlimit(RLIMIT_AS, &got);
	if (got.rlim_cur == old.rlim_cur) {
		skip("no_address_space_names_the_limit",
		     "RLIMIT_AS cannot be used here");
		return;
	}
	count = exhaust(1000);
	ck_assert_uint_gt(count, 200);
	ck_assert_uint_lt(count, 1000);
	ck_assert_ptr_nonnull(strstr(zs_explain(-ENOMEM), "RLIMIT_AS"));
	setrlimit(RLIMIT_AS, &old);
	ck_assert_uint_eq(exhaust(1000), 1000);
	zs_stack_pool_fini(&pool);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("stack");
	TCase *tests = tcase_create("stack");
	SRunner *runner;
	int nr_failed;

	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, set_up, NULL);
	tcase_add_loop_test(tests, stacks_are_usable_from_base_to_top_and_apart,
			    0, 2);
	tcase_add_loop_test(
		tests, guard_of_four_pages_or_more_is_below_each_stack, 0, 2);
	tcase_add_loop_test(tests, store_below_the_stack_is_a_segfault, 0, 2);
	tcase_add_test(tests, guard_is_told_from_its_surroundings);
	tcase_add_test(tests, stack_put_last_is_the_next_handed_out);
	tcase_add_test(tests, resident_counts_the_touched_pages);
	tcase_add_test(tests, beyond_the_cache_only_the_top_page_is_kept);
	tcase_add_loop_test(tests, trimmed_stacks_are_used_before_new_ones, 0,
			    4);
	tcase_add_test(tests, tops_are_spread_over_the_cache);
	tcase_add_test(tests, odd_and_huge_sizes_become_whole_pages);
	tcase_add_test(tests, fini_unmaps_all);
	tcase_add_test(tests, too_many_mappings_name_the_remedy);
	tcase_add_test(tests, no_address_space_names_the_limit);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	nr_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return nr_failed != 0;
}
