/* SPDX-License-Identifier: MIT */
/*
 * The slab: what it hands out, what comes back from which thread, and that a
 * walk may go along.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/compiler.h"
#include "base/mailbox.h"
#include "mem/slab.h"
#include "zsync/config.h"

#if defined(ZS_ASAN) || defined(ZS_TSAN)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

enum {
	NUM_OBJECTS = 5000, /* several chunks */
	NUM_ROUNDS = 50000,
	MOST_OUT = 64,
	IN_USE = 0x600d,
};

/* The first word is the slab's. */
struct object {
	struct zs_message message;
	_Atomic uint64_t state; /* 0 or IN_USE */
	unsigned char fill[200];
};

static bool all_bytes_are(const void *memory, size_t size, unsigned char byte)
{
	const unsigned char *bytes = memory;

	for (size_t i = 0; i < size; i++) {
		if (bytes[i] != byte)
			return false;
	}
	return true;
}

/* Each object is filled to its end with a byte of its own, then all are looked
 * at again: none may be part of another. */
START_TEST(new_objects_are_zero_aligned_and_apart)
{
	void **objects = calloc(NUM_OBJECTS, sizeof(*objects));
	static const size_t sizes[] = { 8, 64, 65, 200, 448, 4096 };
	size_t size = sizes[_i];
	struct zs_slab slab;

	zs_slab_init(&slab, size);
	for (int i = 0; i < NUM_OBJECTS; i++) {
		objects[i] = zs_slab_get(&slab);
		ck_assert_ptr_nonnull(objects[i]);
		if ((uintptr_t)objects[i] % 64)
			ck_abort_msg("object %d is not aligned", i);
		if (!all_bytes_are(objects[i], size, 0))
			ck_abort_msg("object %d is not zero", i);
		memset(objects[i], i % 251 + 1, size);
	}
	for (int i = 0; i < NUM_OBJECTS; i++) {
		if (!all_bytes_are(objects[i], size,
				   (unsigned char)(i % 251 + 1)))
			ck_abort_msg("object %d was overwritten", i);
	}
	zs_slab_fini(&slab);
	free(objects);
}
END_TEST

/* Larger than a chunk usually is. */
START_TEST(large_objects_fit)
{
	size_t size = 100 << 10;
	struct zs_slab slab;

	zs_slab_init(&slab, size);
	for (int i = 0; i < 20; i++) {
		void *object = zs_slab_get(&slab);

		ck_assert_ptr_nonnull(object);
		ck_assert(all_bytes_are(object, size, 0));
		memset(object, 0xff, size);
	}
	zs_slab_fini(&slab);
}
END_TEST

START_TEST(last_object_put_is_the_next_handed_out)
{
	struct zs_slab slab;
	struct object *first, *second;

	zs_slab_init(&slab, sizeof(struct object));
	first = zs_slab_get(&slab);
	second = zs_slab_get(&slab);
	memset(first->fill, 7, sizeof(first->fill));
	zs_slab_put(&slab, second);
	zs_slab_put(&slab, first);
	ck_assert_ptr_eq(zs_slab_get(&slab), first);
	ck_assert(all_bytes_are(first->fill, sizeof(first->fill), 7));
	ck_assert_ptr_eq(zs_slab_get(&slab), second);
	zs_slab_fini(&slab);
}
END_TEST

static void count_visit(void *object, void *arg)
{
	(void)object;
	++*(size_t *)arg;
}

static size_t num_carved(struct zs_slab *slab)
{
	size_t count = 0;

	zs_slab_walk(slab, count_visit, &count);
	return count;
}

/* The count of objects that exist tells whether memory was taken instead. */
START_TEST(objects_put_by_others_are_used_before_new_memory)
{
	struct object *objects[10];
	struct zs_slab slab;

	zs_slab_init(&slab, sizeof(struct object));
	for (int i = 0; i < 10; i++)
		objects[i] = zs_slab_get(&slab);
	for (int i = 0; i < 10; i++)
		zs_slab_put_remote(&slab, objects[i]);
	for (int i = 0; i < 10; i++)
		ck_assert_ptr_nonnull(zs_slab_get(&slab));
	ck_assert_uint_eq(num_carved(&slab), 10);
	zs_slab_get(&slab);
	ck_assert_uint_eq(num_carved(&slab), 11);
	zs_slab_fini(&slab);
}
END_TEST

static void mark_visited(void *object, void *arg)
{
	(void)arg;
	((struct object *)object)->fill[0]++;
}

START_TEST(walk_visits_each_object_once_in_use_or_not)
{
	struct object **objects = calloc(NUM_OBJECTS, sizeof(*objects));
	struct zs_slab slab;

	zs_slab_init(&slab, sizeof(struct object));
	ck_assert_uint_eq(num_carved(&slab), 0);
	for (int i = 0; i < NUM_OBJECTS; i++)
		objects[i] = zs_slab_get(&slab);
	for (int i = 0; i < NUM_OBJECTS; i += 2)
		zs_slab_put(&slab, objects[i]);
	ck_assert_uint_eq(num_carved(&slab), NUM_OBJECTS);
	zs_slab_walk(&slab, mark_visited, NULL);
	for (int i = 0; i < NUM_OBJECTS; i++) {
		if (objects[i]->fill[0] != 1)
			ck_abort_msg("object %d: %d visits", i,
				     objects[i]->fill[0]);
	}
	zs_slab_fini(&slab);
	free(objects);
}
END_TEST

struct exchange {
	struct zs_slab slab;
	struct zs_mailbox mailbox;
	/* Written by the owner: it sends no more. */
	_Atomic bool closed;
	/* Written by the other thread: objects it has put back. */
	_Atomic uint32_t num_returned;
};

static void *put_all_back(void *arg)
{
	struct exchange *exchange = arg;
	uint32_t num_returned = 0;

	while (num_returned < NUM_ROUNDS) {
		struct zs_message *message, *next;

		message = zs_mailbox_take(&exchange->mailbox);
		if (!message)
			sched_yield();
		for (; message; message = next) {
			struct object *object = (struct object *)message;

			next = message->next;
			if (!all_bytes_are(object->fill, sizeof(object->fill),
					   (unsigned char)message->kind))
				ck_abort_msg("an object was overwritten");
			zs_slab_put_remote(&exchange->slab, object);
			/* relaxed: it limits what is out, no more. */
			atomic_store_explicit(&exchange->num_returned,
					      ++num_returned,
					      memory_order_relaxed);
		}
	}
	return NULL;
}

/* The owner fills and sends, the other checks and puts back. With a limit on
 * what is out the slab must not grow beyond it, or objects get lost. */
START_TEST(objects_go_round_between_threads)
{
	struct exchange *exchange =
		aligned_alloc(ZS_CACHE_LINE, sizeof(*exchange));
	pthread_t thread;

	zs_slab_init(&exchange->slab, sizeof(struct object));
	zs_mailbox_init(&exchange->mailbox);
	atomic_init(&exchange->num_returned, 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, put_all_back, exchange),
			 0);
	for (uint32_t i = 0; i < NUM_ROUNDS; i++) {
		struct object *object;

		/* relaxed: as in put_all_back(). */
		while (i - atomic_load_explicit(&exchange->num_returned,
						memory_order_relaxed) >=
		       MOST_OUT)
			sched_yield();
		object = zs_slab_get(&exchange->slab);
		object->message.kind = i % 251;
		memset(object->fill, (int)(i % 251), sizeof(object->fill));
		zs_mailbox_post(&exchange->mailbox, &object->message);
	}
	pthread_join(thread, NULL);
	ck_assert_uint_le(num_carved(&exchange->slab), 2 * MOST_OUT);
	zs_slab_fini(&exchange->slab);
	free(exchange);
}
END_TEST

static void check_state(void *object, void *arg)
{
	/* acquire: the state may be that of a moment ago. */
	uint64_t state = atomic_load_explicit(&((struct object *)object)->state,
					      memory_order_acquire);

	if (state != 0 && state != IN_USE)
		ck_abort_msg("the walk found what is no object");
	++*(size_t *)arg;
}

static void *walk_until_closed(void *arg)
{
	struct exchange *exchange = arg;
	size_t seen = 0, before;

	/* relaxed: one walk more or less. */
	while (!atomic_load_explicit(&exchange->closed, memory_order_relaxed)) {
		before = seen;
		seen = 0;
		zs_slab_walk(&exchange->slab, check_state, &seen);
		if (seen < before)
			ck_abort_msg("the walk lost objects");
	}
	return NULL;
}

START_TEST(walk_goes_along_with_the_owner)
{
	struct exchange *exchange =
		aligned_alloc(ZS_CACHE_LINE, sizeof(*exchange));
	pthread_t thread;

	zs_slab_init(&exchange->slab, sizeof(struct object));
	atomic_init(&exchange->closed, false);
	ck_assert_int_eq(
		pthread_create(&thread, NULL, walk_until_closed, exchange), 0);
	for (int i = 0; i < NUM_OBJECTS; i++) {
		struct object *object = zs_slab_get(&exchange->slab);

		/* release: its partner is the acquire in check_state(). */
		atomic_store_explicit(&object->state, IN_USE,
				      memory_order_release);
		if (i % 3 == 0)
			zs_slab_put(&exchange->slab, object);
	}
	/* relaxed: as in walk_until_closed(). */
	atomic_store_explicit(&exchange->closed, true, memory_order_relaxed);
	pthread_join(thread, NULL);
	zs_slab_fini(&exchange->slab);
	free(exchange);
}
END_TEST

/* msync() of what is not mapped is ENOMEM. */
START_TEST(fini_unmaps_all)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	void *pages[100];
	struct zs_slab slab;

	zs_slab_init(&slab, 4096);
	for (int i = 0; i < 100; i++)
		pages[i] =
			(void *)((uintptr_t)zs_slab_get(&slab) & ~(page - 1));
	ck_assert_int_eq(msync(pages[0], 1, MS_ASYNC), 0);
	zs_slab_fini(&slab);
	for (int i = 0; i < 100; i++) {
		ck_assert_int_eq(msync(pages[i], 1, MS_ASYNC), -1);
		ck_assert_int_eq(errno, ENOMEM);
	}
	ck_assert_ptr_null(slab.free);
}
END_TEST

/* Under a limit on the address space, which sanitizers cannot live with and
 * qemu-user does not enforce. */
START_TEST(no_memory_is_null_with_a_text)
{
	struct rlimit old, tight, got;
	struct zs_slab slab;
	int count = 0;

	getrlimit(RLIMIT_AS, &old);
	tight = old;
	tight.rlim_cur = SANITIZED ? old.rlim_cur : 4096;
	setrlimit(RLIMIT_AS, &tight);
	getrlimit(RLIMIT_AS, &got);
	if (got.rlim_cur == old.rlim_cur) {
		printf("SKIP test_slab: no_memory_is_null_with_a_text: "
		       "RLIMIT_AS cannot be used here\n");
		return;
	}
	zs_slab_init(&slab, 4096);
	errno = ERANGE;
	while (count < NUM_OBJECTS && zs_slab_get(&slab))
		count++;
	setrlimit(RLIMIT_AS, &old);
	ck_assert_int_eq(errno, ERANGE);
	ck_assert_int_lt(count, NUM_OBJECTS);
	ck_assert_ptr_nonnull(strstr(zs_explain(-ENOMEM), "cannot map 64 KiB"));
	ck_assert_ptr_nonnull(zs_slab_get(&slab));
	zs_slab_fini(&slab);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("slab");
	TCase *tests = tcase_create("slab");
	SRunner *runner;
	int nr_failed;

	tcase_set_timeout(tests, 60);
	tcase_add_loop_test(tests, new_objects_are_zero_aligned_and_apart, 0,
			    6);
	tcase_add_test(tests, large_objects_fit);
	tcase_add_test(tests, last_object_put_is_the_next_handed_out);
	tcase_add_test(tests, objects_put_by_others_are_used_before_new_memory);
	tcase_add_test(tests, walk_visits_each_object_once_in_use_or_not);
	tcase_add_test(tests, objects_go_round_between_threads);
	tcase_add_test(tests, walk_goes_along_with_the_owner);
	tcase_add_test(tests, fini_unmaps_all);
	tcase_add_test(tests, no_memory_is_null_with_a_text);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	nr_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return nr_failed != 0;
}
