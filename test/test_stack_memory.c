/* SPDX-License-Identifier: MIT */
/*
 * The pool of stacks in processes whose memory is not the usual kind: locked,
 * made of huge pages wherever the kernel can, short of mappings or of room; and
 * how it gives memory back. On the pool itself, without a runtime.
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "child.h"
#include "mem/stack.h"
#include "old_kernel.h"
#include "zsync/config.h"

enum {
	STACK_PAGES = 16,
	NUM_STACKS = 1000,    /* several regions */
	ADVISE_COLLAPSE = 25, /* MADV_COLLAPSE, Linux 6.1 */
};

static size_t page, stack_size;
static struct zs_stack_pool pool;
static struct zs_stack *stacks[NUM_STACKS];

static void skip(const char *test, const char *why)
{
	printf("SKIP test_stack_memory: %s: %s\n", test, why);
	fflush(stdout);
}

/* Past the interceptors of the sanitizers. */
static bool faults(const char *address)
{
	return syscall(SYS_getcpu, address, NULL, NULL) < 0;
}

/* In kB, from /proc/self/status. */
static long status(const char *name)
{
	FILE *file = fopen("/proc/self/status", "r");
	long number = -1;
	char line[128];

	ck_assert_ptr_nonnull(file);
	while (fgets(line, sizeof(line), file))
		if (strncmp(line, name, strlen(name)) == 0)
			number = strtol(line + strlen(name) + 1, NULL, 10);
	fclose(file);
	return number;
}

static int nr_maps(void)
{
	FILE *file = fopen("/proc/self/maps", "r");
	int number = 0, byte;

	ck_assert_ptr_nonnull(file);
	for (byte = getc(file); byte != EOF; byte = getc(file))
		number += byte == '\n';
	fclose(file);
	return number;
}

static void set_up(void)
{
	page = (size_t)sysconf(_SC_PAGESIZE);
	stack_size = STACK_PAGES * page;
	zs_stack_pool_init(&pool, stack_size, 0);
}

static void get_and_touch(int count)
{
	for (int i = 0; i < count; i++) {
		stacks[i] = zs_stack_get(&pool);
		ck_assert_ptr_nonnull(stacks[i]);
		stacks[i]->top[-1] = 1;
	}
}

static void put(int count)
{
	for (int i = 0; i < count; i++)
		zs_stack_put(&pool, stacks[i]);
}

static void assert_guarded(int count)
{
	for (int i = 0; i < count; i++) {
		for (int n = 1; n <= 4; n++)
			ck_assert(faults(stacks[i]->base - n * (long)page));
		ck_assert(!faults(stacks[i]->base));
	}
}

/* --- mlockall --- */

/* The stacks that a batch guards ahead are guarded, too, and what is locked is
 * what has been carved: pages come when they are touched, and then stay. */
START_TEST(locked_process_has_guarded_stacks_that_fill_as_they_are_touched)
{
	struct rlimit none = { RLIM_INFINITY, RLIM_INFINITY };
	int maps;

	setrlimit(RLIMIT_MEMLOCK, &none);
	/* What is mapped already: a sanitizer's shadow would not fit. */
	if (SANITIZED || mlockall(_i ? MCL_FUTURE : MCL_FUTURE | MCL_CURRENT)) {
		skip("locked_process_has_guarded_stacks_that_fill_as_they_are_"
		     "touched",
		     "this process may not lock its memory");
		return;
	}
	get_and_touch(20);
	if (pool.guards.by_mprotect) {
		skip("locked_process_has_guarded_stacks_that_fill_as_they_are_"
		     "touched",
		     "no guards but by mprotect here");
		return;
	}
	ck_assert(pool.guards.is_locked);
	maps = nr_maps();
	for (int i = 20; i < NUM_STACKS; i++) {
		stacks[i] = zs_stack_get(&pool);
		ck_assert_ptr_nonnull(stacks[i]);
		stacks[i]->top[-1] = 1;
	}
	for (int i = 20; i < NUM_STACKS; i++)
		ck_assert_uint_eq(zs_stack_resident(stacks[i]), page);
	assert_guarded(NUM_STACKS);
	ck_assert_int_gt(status("VmLck:"),
			 (long)(NUM_STACKS * stack_size >> 10));
	ck_assert_int_lt(nr_maps() - maps, 60);
	put(NUM_STACKS);
	zs_stack_pool_fini(&pool);
}
END_TEST

/* As it is for a service that locks its memory when it is up. */
START_TEST(process_that_locks_itself_later_gets_more_guarded_stacks)
{
	struct rlimit none = { RLIM_INFINITY, RLIM_INFINITY };

	setrlimit(RLIMIT_MEMLOCK, &none);
	get_and_touch(100);
	stacks[99]->top[-1] = 77;
	if (SANITIZED || mlockall(MCL_CURRENT | MCL_FUTURE) < 0) {
		skip("process_that_locks_itself_later_gets_more_guarded_stacks",
		     "this process may not lock its memory");
		return;
	}
	for (int i = 100; i < NUM_STACKS; i++) {
		stacks[i] = zs_stack_get(&pool);
		ck_assert_ptr_nonnull(stacks[i]);
	}
	assert_guarded(NUM_STACKS);
	ck_assert_int_eq(stacks[99]->top[-1], 77);
	put(NUM_STACKS);
	zs_stack_pool_fini(&pool);
}
END_TEST

/* --- huge pages --- */

/* Asked for by name, which is more than the setting "always" does: no huge page
 * may be made of a stack, even where no guard is in its way. (From Linux 6.7 on
 * MAP_STACK alone sees to that.) */
START_TEST(stacks_are_never_made_of_huge_pages)
{
	size_t huge = 2 << 20;

	zs_stack_pool_init(&pool, 4 * huge, 0);
	get_and_touch(20);
	for (int i = 0; i < 20; i++) {
		char *map = stacks[i]->base +
			    (-(uintptr_t)stacks[i]->base & (huge - 1));

		/* The first aligned 2 MiB of the stack. */
		*map = 1;
		madvise(map, huge, ADVISE_COLLAPSE);
		ck_assert_uint_eq(zs_stack_resident(stacks[i]), 2 * page);
	}
	put(20);
	zs_stack_pool_fini(&pool);
}
END_TEST

/* --- no guards --- */

/* Where a mapping is left it is guarded; where not, it has a canary if the
 * program can do with that, and else there is none. */
START_TEST(stack_that_can_have_no_guard_has_a_canary_if_allowed)
{
	kernel_is_old = true;
	guards_left = 100;
	pool.may_lack_guards = true;
	get_and_touch(200);
	for (int i = 0; i < 200; i++)
		ck_assert_int_eq(stacks[i]->has_canary, i >= 100);
	assert_guarded(100);
	pool.may_lack_guards = false;
	ck_assert_ptr_null(zs_stack_get(&pool));
	guards_left = 1;
	stacks[200] = zs_stack_get(&pool);
	ck_assert_ptr_nonnull(stacks[200]);
	ck_assert(!stacks[200]->has_canary);
	put(201);
	zs_stack_pool_fini(&pool);
}
END_TEST

START_TEST(canary_tells_what_ran_over_the_end_of_its_stack)
{
	kernel_is_old = true;
	guards_left = 0;
	pool.may_lack_guards = true;
	get_and_touch(2);
	for (int i = 0; i < 64; i++) {
		char *byte = &stacks[1]->base[i];

		ck_assert(zs_stack_canary_lives(stacks[1]));
		*byte = (char)(*byte + 1);
		ck_assert(!zs_stack_canary_lives(stacks[1]));
		*byte = (char)(*byte - 1);
	}
	ck_assert(zs_stack_canary_lives(stacks[0]));
}
END_TEST

START_TEST(canary_outlives_the_giving_back_of_memory)
{
	kernel_is_old = true;
	guards_left = 0;
	pool.may_lack_guards = true;
	get_and_touch(100);
	put(100);
	zs_stack_pool_empty(&pool, 100);
	for (int i = 0; i < 100; i++) {
		ck_assert(zs_stack_canary_lives(stacks[i]));
		ck_assert_uint_le(zs_stack_resident(stacks[i]), 2 * page);
	}
	get_and_touch(100);
	ck_assert_uint_eq(pool.num_mapped, 100);
}
END_TEST

/* --- memory that goes back --- */

static size_t resident(int first, int last)
{
	size_t sum = 0;

	for (int i = first; i < last; i++)
		sum += zs_stack_resident(stacks[i]);
	return sum;
}

/* Some keep all their pages, four times as many the top one, and the rest, but
 * for the last few, none. */
START_TEST(free_stacks_beyond_the_cache_give_their_memory_back)
{
	pool.cache = 10;
	get_and_touch(NUM_STACKS);
	for (int i = 0; i < NUM_STACKS; i++)
		memset(stacks[i]->base, 1, 10 * page);
	put(NUM_STACKS);
	ck_assert_uint_eq(pool.num_free, 10);
	ck_assert_uint_eq(pool.num_trimmed, 40);
	ck_assert_uint_eq(pool.num_emptied, NUM_STACKS - 50);
	ck_assert_uint_eq(resident(0, 10), 10 * 11 * page);
	ck_assert_uint_eq(resident(10, 50), 40 * page);
	ck_assert_uint_lt(resident(50, NUM_STACKS), 32 * 11 * page);
	ck_assert_uint_eq(pool.deepest, stack_size);
}
END_TEST

START_TEST(idle_pool_has_no_page_left)
{
	pool.cache = 100;
	get_and_touch(NUM_STACKS);
	put(NUM_STACKS);
	errno = ERANGE;
	ck_assert_uint_eq(zs_stack_pool_empty(&pool, 150), 150);
	ck_assert_uint_eq(pool.num_free, 0);
	ck_assert_uint_eq(pool.num_trimmed, 350);
	ck_assert_uint_eq(zs_stack_pool_empty(&pool, 1000), 350);
	ck_assert_uint_eq(zs_stack_pool_empty(&pool, 1000), 0);
	ck_assert_int_eq(errno, ERANGE);
	ck_assert_uint_eq(pool.num_emptied, NUM_STACKS);
	ck_assert_uint_eq(resident(0, NUM_STACKS), 0);
	/* All are used again before any new one, and their guards are there. */
	get_and_touch(NUM_STACKS);
	ck_assert_uint_eq(pool.num_mapped, NUM_STACKS);
	ck_assert_uint_eq(pool.num_emptied, 0);
	assert_guarded(NUM_STACKS);
}
END_TEST

/* --- too little room --- */

static void limit_address_space(size_t more)
{
	unsigned long pages = 0;
	FILE *file = fopen("/proc/self/statm", "r");
	struct rlimit limit;

	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(fscanf(file, "%lu", &pages), 1);
	fclose(file);
	getrlimit(RLIMIT_AS, &limit);
	limit.rlim_cur = pages * page + more;
	ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
}

/* qemu-user does not. */
static bool limit_is_in_force(void)
{
	struct rlimit limit;

	getrlimit(RLIMIT_AS, &limit);
	return limit.rlim_cur != RLIM_INFINITY;
}

/* By steps, down to a region of one stack: nearly all of the room is used. */
START_TEST(little_address_space_is_used_to_its_end)
{
	size_t room = 20 << 20, slot = stack_size + pool.guards.size;

	if (SANITIZED) {
		skip("little_address_space_is_used_to_its_end",
		     "sanitizers need more address space");
		return;
	}
	limit_address_space(room);
	if (!limit_is_in_force()) {
		skip("little_address_space_is_used_to_its_end",
		     "RLIMIT_AS cannot be used here");
		return;
	}
	while (zs_stack_get(&pool))
		;
	ck_assert_ptr_nonnull(strstr(zs_explain(-ENOMEM), "RLIMIT_AS"));
	ck_assert_uint_gt(pool.num_mapped, (room - 8 * slot) / slot);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("stack_memory");
	TCase *tests = tcase_create("stack_memory");
	SRunner *runner;
	int nr_failed;

	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, set_up, NULL);
	tcase_add_loop_test(
		tests,
		locked_process_has_guarded_stacks_that_fill_as_they_are_touched,
		0, 2);
	tcase_add_test(
		tests,
		process_that_locks_itself_later_gets_more_guarded_stacks);
	tcase_add_test(tests, stacks_are_never_made_of_huge_pages);
	tcase_add_test(tests,
		       stack_that_can_have_no_guard_has_a_canary_if_allowed);
	tcase_add_test(tests, canary_tells_what_ran_over_the_end_of_its_stack);
	tcase_add_test(tests, canary_outlives_the_giving_back_of_memory);
	tcase_add_test(tests,
		       free_stacks_beyond_the_cache_give_their_memory_back);
	tcase_add_test(tests, idle_pool_has_no_page_left);
	tcase_add_test(tests, little_address_space_is_used_to_its_end);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	nr_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return nr_failed != 0;
}
