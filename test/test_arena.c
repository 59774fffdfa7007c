/* SPDX-License-Identifier: MIT */
/* Arenas: what they hand out, to whom, and that all of it goes with them. */
#include <check.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "mem/arena.h"
#include "runtime.h"
#include "sched/worker.h"
#include "workers.h"

enum { PIECES = 2000 };

static size_t some_size(int i)
{
	static const size_t sizes[] = { 1, 24, 200, 4096, 0, 17, 5000, 64 };

	return sizes[i % 8];
}

/* Each is the caller's alone, and stays as it is. */
static void fill_pieces(struct zs_arena *arena)
{
	unsigned char *pieces[PIECES];
	size_t j;
	int i;

	for (i = 0; i < PIECES; i++) {
		size_t align = i % 3 ? 0 : (size_t)1 << i % 13;

		pieces[i] = zs_arena_alloc(arena, some_size(i), align);
		ck_assert_ptr_nonnull(pieces[i]);
		ck_assert_uint_eq((uintptr_t)pieces[i] % (align ? align : 16),
				  0);
		memset(pieces[i], i & 255, some_size(i));
	}
	for (i = 0; i < PIECES; i++)
		for (j = 0; j < some_size(i); j++)
			if (pieces[i][j] != (i & 255))
				ck_abort_msg("piece %d was overwritten", i);
}

static int fill_some_arenas(void *unused)
{
	struct zs_arena outer, inner;
	int i;

	(void)unused;
	for (i = 0; i < 5; i++) {
		assert_ok(zs_arena_open(&outer, NULL));
		fill_pieces(&outer);
		assert_ok(zs_arena_open(&inner, NULL));
		fill_pieces(&inner);
		ck_assert_int_eq(zs_arena_close(&outer), -EBUSY);
		assert_ok(zs_arena_close(&inner));
		assert_ok(zs_arena_reset(&outer));
		fill_pieces(&outer);
		assert_ok(zs_arena_close(&outer));
	}
	ck_assert_uint_eq(zs_worker_self->blocks.number, ZS_BLOCKS_KEPT);
	return 0;
}

START_TEST(pieces_are_apart_and_aligned)
{
	ck_assert_int_eq(run_task(fill_some_arenas, NULL), 0);
}
END_TEST

static int reuse_blocks(void *unused)
{
	struct zs_arena arena;
	void *first;

	(void)unused;
	assert_ok(zs_arena_open(&arena, NULL));
	first = zs_arena_alloc(&arena, 8, 0);
	assert_ok(zs_arena_reset(&arena));
	ck_assert_ptr_eq(zs_arena_alloc(&arena, 8, 0), first);
	assert_ok(zs_arena_close(&arena));
	ck_assert_uint_eq(zs_worker_self->blocks.number, 1);
	assert_ok(zs_arena_open(&arena, NULL));
	ck_assert_ptr_eq(zs_arena_alloc(&arena, 8, 0), first);
	ck_assert_uint_eq(zs_worker_self->blocks.number, 0);
	return zs_arena_close(&arena);
}

START_TEST(what_was_freed_is_used_again)
{
	ck_assert_int_eq(run_task(reuse_blocks, NULL), 0);
}
END_TEST

static int hit_the_limit(void *unused)
{
	const struct zs_arena_options options = { .size = sizeof(options),
						  .max_bytes = 100000 };
	struct zs_arena arena;
	int i;

	(void)unused;
	assert_ok(zs_arena_open(&arena, &options));
	ck_assert_ptr_null(zs_arena_alloc(&arena, 90000, 0));
	ck_assert_ptr_nonnull(
		strstr(zs_explain(-ENOMEM), "max_bytes is 100000"));
	for (i = 0; i < 200 && zs_arena_alloc(&arena, 1000, 0); i++)
		continue;
	ck_assert_int_ge(i, 80);
	ck_assert_int_le(i, 100);
	assert_ok(zs_arena_reset(&arena));
	ck_assert_ptr_nonnull(zs_arena_alloc(&arena, 80000, 0));
	ck_assert_ptr_null(zs_arena_alloc(&arena, SIZE_MAX, 0));
	return zs_arena_close(&arena);
}

START_TEST(a_limit_is_kept)
{
	ck_assert_int_eq(run_task(hit_the_limit, NULL), 0);
}
END_TEST

/* --- scopes --- */

static int leave_open(void *arg)
{
	struct zs_arena arena;

	(void)arg;
	assert_ok(zs_arena_open(&arena, NULL));
	ck_assert_ptr_nonnull(zs_arena_alloc(&arena, 100, 0));
	ck_assert_ptr_nonnull(zs_arena_alloc(&arena, 10000, 0));
	return 0;
}

static int run_leaver(void *unused)
{
	struct zs_nursery nursery;
	struct zs_stats stats;

	(void)unused;
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn(nursery, leave_open, NULL));
	assert_ok(zs_nursery_wait(nursery));
	assert_ok(zs_stats(NULL, &stats));
	ck_assert_uint_eq(stats.total.scopes_left_open, 1);
	ck_assert_uint_eq(zs_worker_self->blocks.number, 1);
	return 0;
}

START_TEST(one_that_is_left_open_goes_with_its_task)
{
	ck_assert_int_eq(run_task(run_leaver, NULL), 0);
}
END_TEST

static int close_cancelled(void *unused)
{
	struct zs_cancel_token token;
	struct zs_arena arena;

	(void)unused;
	assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
	assert_ok(zs_arena_open(&arena, NULL));
	assert_ok(zs_cancel_token_cancel(token));
	ck_assert_ptr_nonnull(zs_arena_alloc(&arena, 1, 0));
	ck_assert_int_eq(zs_arena_close(&arena), -ECANCELED);
	ck_assert_int_eq(zs_arena_close(&arena), -ESTALE);
	ck_assert_ptr_null(zs_arena_alloc(&arena, 1, 0));
	return zs_cancel_token_close(token);
}

START_TEST(it_can_be_used_and_closed_when_cancelled)
{
	ck_assert_int_eq(run_task(close_cancelled, NULL), -ECANCELED);
}
END_TEST

/* --- who --- */

static int use_anothers(void *arg)
{
	struct zs_arena *arena = arg;

	ck_assert_ptr_nonnull(zs_arena_alloc(arena, 10, 0));
	ck_assert_int_eq(zs_arena_close(arena), -EPERM);
	ck_assert_int_eq(zs_arena_reset(arena), -EPERM);
	return 0;
}

static int share_with_pinned(void *unused)
{
	const struct zs_nursery_options pinned = { .flags = ZS_NURSERY_PINNED };
	struct zs_nursery nursery;
	struct zs_arena arena;

	(void)unused;
	assert_ok(zs_arena_open(&arena, NULL));
	assert_ok(zs_nursery_open(&nursery, &pinned));
	assert_ok(zs_nursery_spawn(nursery, use_anothers, &arena));
	assert_ok(zs_nursery_wait(nursery));
	return zs_arena_close(&arena);
}

START_TEST(tasks_of_its_worker_may_allocate)
{
	struct zs_config config = test_config();

	config.num_workers = (uint32_t)_i;
	ck_assert_int_eq(run_task_with(&config, share_with_pinned, NULL), 0);
}
END_TEST

static void *allocate_elsewhere(void *arg)
{
	void *piece = zs_arena_alloc(arg, 10, 0);

	ck_assert_ptr_nonnull(strstr(zs_explain(-EXDEV), "worker 0's"));
	ck_assert_int_eq(zs_arena_close(arg), -EPERM);
	return piece;
}

static int lend_elsewhere(void *unused)
{
	struct zs_arena arena;
	pthread_t thread;
	void *piece;

	(void)unused;
	assert_ok(zs_arena_open(&arena, NULL));
	ck_assert_int_eq(
		pthread_create(&thread, NULL, allocate_elsewhere, &arena), 0);
	pthread_join(thread, &piece);
	ck_assert_ptr_null(piece);
	return zs_arena_close(&arena);
}

START_TEST(no_other_thread_may_allocate)
{
	ck_assert_int_eq(run_task(lend_elsewhere, NULL), 0);
}
END_TEST

static int misuse_arenas(void *unused)
{
	const struct zs_arena_options wrong = { .size = 1 };
	struct zs_arena arena;

	(void)unused;
	ck_assert_int_eq(zs_arena_open(NULL, NULL), -EINVAL);
	ck_assert_int_eq(zs_arena_open(&arena, &wrong), -EINVAL);
	assert_ok(zs_arena_open(&arena, NULL));
	ck_assert_ptr_null(zs_arena_alloc(&arena, 1, 3));
	ck_assert_ptr_nonnull(strstr(zs_explain(-EINVAL), "alignment of 3"));
	ck_assert_ptr_null(zs_arena_alloc(&arena, 1, 8192));
	ck_assert_ptr_null(zs_arena_alloc(NULL, 1, 0));
	return zs_arena_close(&arena);
}

START_TEST(what_is_no_arena_is_refused)
{
	struct zs_arena arena;

	ck_assert_int_eq(run_task(misuse_arenas, NULL), 0);
	ck_assert_int_eq(zs_arena_open(&arena, NULL), -EPERM);
}
END_TEST

static int write_behind(void *unused)
{
	struct zs_arena arena;
	volatile char *piece;

	(void)unused;
	assert_ok(zs_arena_open(&arena, NULL));
	piece = zs_arena_alloc(&arena, 32, 0);
	piece[_Alignof(max_align_t) * 2] = 1;
	return zs_arena_close(&arena);
}

/* Only where the compiler looks. */
START_TEST(a_write_behind_a_piece_is_seen)
{
#if !defined(ZS_ASAN)
	(void)write_behind;
	exit(1);
#else
	freopen("/dev/null", "w", stderr);
	run_task(write_behind, NULL);
#endif
}
END_TEST

static Suite *arena_suite(void)
{
	Suite *suite = suite_create("arena");
	TCase *tests = tcase_create("arena");

	tcase_add_test(tests, pieces_are_apart_and_aligned);
	tcase_add_test(tests, what_was_freed_is_used_again);
	tcase_add_test(tests, a_limit_is_kept);
	tcase_add_test(tests, one_that_is_left_open_goes_with_its_task);
	tcase_add_test(tests, it_can_be_used_and_closed_when_cancelled);
	tcase_add_loop_test(tests, tasks_of_its_worker_may_allocate, 1,
			    test_is_blocking() ? 2 : 3);
	tcase_add_test(tests, no_other_thread_may_allocate);
	tcase_add_test(tests, what_is_no_arena_is_refused);
	tcase_add_exit_test(tests, a_write_behind_a_piece_is_seen, 1);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(arena_suite());
}
