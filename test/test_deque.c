/* SPDX-License-Identifier: MIT */
/*
 * The work-stealing deque, with thieves and alone: against a model in one
 * thread, and with each item counted where threads contend.
 */
#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/deque.h"

enum {
	NUM_THIEVES = 3,
	NUM_ITEMS = 100000,
	NUM_DUELS = 200000,
	NUM_STEPS = 200000,
};

struct item {
	uint64_t number; /* plain memory: the push must publish it */
	_Atomic uint32_t taken;
};

static uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Items in one thread are numbers; 0 would be NULL. */
static void *item_of(uint64_t number)
{
	return (void *)(uintptr_t)number;
}

START_TEST(bottom_is_last_in_first_out)
{
	struct zs_deque deque;

	ck_assert_int_eq(zs_deque_init(&deque, 4, _i), 0);
	ck_assert_ptr_null(zs_deque_take_bottom(&deque));
	ck_assert_ptr_null(zs_deque_peek_bottom(&deque));
	for (uint64_t i = 1; i <= 100; i++)
		ck_assert_int_eq(zs_deque_push(&deque, item_of(i)), 0);
	ck_assert_int_eq(zs_deque_size(&deque), 100);
	for (uint64_t i = 100; i; i--) {
		ck_assert_ptr_eq(zs_deque_peek_bottom(&deque), item_of(i));
		ck_assert_ptr_eq(zs_deque_take_bottom(&deque), item_of(i));
	}
	ck_assert_ptr_null(zs_deque_take_bottom(&deque));
	ck_assert_ptr_null(zs_deque_take_top(&deque));
	ck_assert_int_eq(zs_deque_size(&deque), 0);
	zs_deque_fini(&deque);
}
END_TEST

START_TEST(top_is_first_in_first_out)
{
	struct zs_deque deque;

	ck_assert_int_eq(zs_deque_init(&deque, 1, _i), 0);
	for (uint64_t i = 1; i <= 100; i++)
		ck_assert_int_eq(zs_deque_push(&deque, item_of(i)), 0);
	for (uint64_t i = 1; i <= 100; i++)
		ck_assert_ptr_eq(zs_deque_take_top(&deque), item_of(i));
	ck_assert_ptr_null(zs_deque_take_top(&deque));
	zs_deque_fini(&deque);
}
END_TEST

/* The model is an array of numbers with two ends. Pushes come in spells, so
 * that the deque grows, wraps and runs empty. */
START_TEST(random_steps_agree_with_a_model)
{
	uint64_t *model = calloc(NUM_STEPS, sizeof(*model));
	uint64_t seed = 0x9e3779b97f4a7c15, top = 0, bottom = 0;
	bool alone = _i;
	struct zs_deque deque;

	ck_assert_int_eq(zs_deque_init(&deque, 2, alone), 0);
	for (uint64_t step = 1; step < NUM_STEPS; step++) {
		uint64_t chance = step / 1000 % 2 ? 60 : 40;
		uint64_t dice = random_next(&seed) % 100;
		uint64_t expected = 0;
		void *item;

		if (dice < chance) {
			if (zs_deque_push(&deque, item_of(step)) != 0)
				ck_abort_msg("step %d: push", (int)step);
			model[bottom++] = step;
			continue;
		}
		if (dice % 2 || alone) {
			if (bottom > top)
				expected = dice % 3 ? model[--bottom] :
						      model[top++];
			item = dice % 3 ? zs_deque_take_bottom(&deque) :
					  zs_deque_take_top(&deque);
		} else {
			expected = bottom > top ? model[top++] : 0;
			item = zs_deque_steal(&deque);
		}
		if (item != item_of(expected))
			ck_abort_msg("step %d: another item", (int)step);
		if (zs_deque_size(&deque) != (int64_t)(bottom - top))
			ck_abort_msg("step %d: another size", (int)step);
	}
	zs_deque_fini(&deque);
	free(model);
}
END_TEST

struct contest {
	struct zs_deque deque;
	struct item *items;
	/* Written by the owner: it will push no more. */
	_Atomic bool closed;
	/* Written by all: items taken by someone. */
	_Atomic uint64_t num_taken;
};

static void count(struct contest *contest, struct item *item)
{
	if (item->number != (uint64_t)(item - contest->items))
		ck_abort_msg("an item that was not published");
	/* relaxed, both: joins order them before they are read. */
	atomic_fetch_add_explicit(&item->taken, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&contest->num_taken, 1, memory_order_relaxed);
}

static void *steal_all(void *arg)
{
	struct contest *contest = arg;

	for (;;) {
		/* acquire: its partner is the release in the owner; what was
		 * pushed before is seen by the steal below. */
		bool closed = atomic_load_explicit(&contest->closed,
						   memory_order_acquire);
		struct item *item = zs_deque_steal(&contest->deque);

		if (item)
			count(contest, item);
		else if (closed && zs_deque_size(&contest->deque) == 0)
			return NULL;
		else
			sched_yield();
	}
}

static void own(struct contest *contest)
{
	uint64_t seed = 0x2545f4914f6cdd1d;
	uint64_t pushed = 0;
	struct item *item;

	while (pushed < NUM_ITEMS) {
		uint64_t dice = random_next(&seed);

		for (uint64_t i = dice % 4; i && pushed < NUM_ITEMS; i--) {
			item = &contest->items[pushed];
			item->number = pushed++;
			if (zs_deque_push(&contest->deque, item) != 0)
				ck_abort_msg("push");
		}
		for (uint64_t i = dice / 4 % 3; i; i--) {
			item = dice & 16 ?
				       zs_deque_take_bottom(&contest->deque) :
				       zs_deque_take_top(&contest->deque);
			if (item)
				count(contest, item);
		}
	}
	/* release: its partner is the acquire in steal_all(). */
	atomic_store_explicit(&contest->closed, true, memory_order_release);
	while ((item = zs_deque_take_bottom(&contest->deque)))
		count(contest, item);
}

/* Three thieves against an owner who takes at both ends, on a deque that is
 * nearly always almost empty and has to grow at first. */
START_TEST(each_item_is_taken_exactly_once)
{
	struct contest *contest =
		aligned_alloc(ZS_CACHE_LINE, sizeof(*contest));
	pthread_t thieves[NUM_THIEVES];

	contest->items = calloc(NUM_ITEMS, sizeof(struct item));
	atomic_init(&contest->closed, false);
	atomic_init(&contest->num_taken, 0);
	ck_assert_int_eq(zs_deque_init(&contest->deque, 1, false), 0);
	for (int i = 0; i < NUM_THIEVES; i++)
		ck_assert_int_eq(pthread_create(&thieves[i], NULL, steal_all,
						contest),
				 0);
	own(contest);
	for (int i = 0; i < NUM_THIEVES; i++)
		pthread_join(thieves[i], NULL);
	ck_assert_uint_eq(contest->num_taken, NUM_ITEMS);
	for (int i = 0; i < NUM_ITEMS; i++)
		if (contest->items[i].taken != 1)
			ck_abort_msg("item %d: taken %u times", i,
				     contest->items[i].taken);
	zs_deque_fini(&contest->deque);
	free(contest->items);
	free(contest);
}
END_TEST

#define DUELS_OVER UINT32_MAX
/* Where others have the CPUs, each round waits for a turn of both threads. */
#define DUELS_MOST_NS INT64_C(10000000000)

struct duel {
	struct zs_deque deque;
	/* Two to fight for in each round. */
	struct item items[2];
	/* Written by the owner: rounds opened, or DUELS_OVER; by the thief:
	 * rounds done. */
	_Atomic uint32_t opened, done;
};

static void take(struct item *item)
{
	/* relaxed: the end of the round orders it before it is read. */
	if (item)
		atomic_fetch_add_explicit(&item->taken, 1,
					  memory_order_relaxed);
}

static void *duel_thief(void *arg)
{
	struct duel *duel = arg;

	uint32_t opened;

	for (uint32_t round = 1;; round++) {
		/* acquire, both: their partner is the release in the owner. */
		opened = atomic_load_explicit(&duel->opened,
					      memory_order_acquire);
		while (opened < round) {
			sched_yield();
			opened = atomic_load_explicit(&duel->opened,
						      memory_order_acquire);
		}
		if (opened == DUELS_OVER)
			return NULL;
		take(zs_deque_steal(&duel->deque));
		take(zs_deque_steal(&duel->deque));
		/* release: publishes what was taken. */
		atomic_store_explicit(&duel->done, round, memory_order_release);
	}
}

static void duel_round(struct duel *duel, uint32_t round)
{
	for (int i = 0; i < 2; i++) {
		duel->items[i].taken = 0;
		if (zs_deque_push(&duel->deque, &duel->items[i]) != 0)
			ck_abort_msg("push");
	}
	/* release and acquire: the partners in duel_thief(). */
	atomic_store_explicit(&duel->opened, round, memory_order_release);
	/* The thief needs a while to see it: a different one each round. */
	for (volatile uint32_t delay = round % 256; delay; delay--)
		;
	take(zs_deque_take_bottom(&duel->deque));
	while (atomic_load_explicit(&duel->done, memory_order_acquire) < round)
		sched_yield();
	take(zs_deque_take_bottom(&duel->deque));
	for (int i = 0; i < 2; i++) {
		if (duel->items[i].taken != 1)
			ck_abort_msg("round %u: item %d was taken %u times",
				     round, i, duel->items[i].taken);
	}
}

/* Two items, one thief, both let loose at once, many times over. The second is
 * the one that the owner takes without a compare-exchange: if its store of
 * bottom could be passed by its load of top, the thief would have it too. */
START_TEST(items_go_to_owner_or_thief_never_both)
{
	struct duel *duel = aligned_alloc(ZS_CACHE_LINE, sizeof(*duel));
	int64_t end_ns = zs_clock_ns() + DUELS_MOST_NS;
	pthread_t thief;

	ck_assert_int_eq(zs_deque_init(&duel->deque, 2, false), 0);
	atomic_init(&duel->opened, 0);
	atomic_init(&duel->done, 0);
	ck_assert_int_eq(pthread_create(&thief, NULL, duel_thief, duel), 0);
	for (uint32_t round = 1; round <= NUM_DUELS && zs_clock_ns() < end_ns;
	     round++)
		duel_round(duel, round);
	/* relaxed: nothing is published. */
	atomic_store_explicit(&duel->opened, DUELS_OVER, memory_order_relaxed);
	pthread_join(thief, NULL);
	zs_deque_fini(&duel->deque);
	free(duel);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("deque");
	TCase *tests = tcase_create("deque");
	SRunner *runner;
	int nr_failed;

	tcase_set_timeout(tests, 60);
	/* The loop variable says whether the deque is alone. */
	tcase_add_loop_test(tests, bottom_is_last_in_first_out, 0, 2);
	tcase_add_loop_test(tests, top_is_first_in_first_out, 0, 2);
	tcase_add_loop_test(tests, random_steps_agree_with_a_model, 0, 2);
	tcase_add_test(tests, each_item_is_taken_exactly_once);
	tcase_add_test(tests, items_go_to_owner_or_thief_never_both);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	nr_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return nr_failed != 0;
}
