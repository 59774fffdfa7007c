/* SPDX-License-Identifier: MIT */
/*
 * The model checker itself, by litmus tests: which outcomes of some small
 * programs it finds must be those that C11 allows (and that, load buffering
 * aside, arm64 shows).
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "atomics.h"

#define RELAXED memory_order_relaxed
#define ACQUIRE memory_order_acquire
#define RELEASE memory_order_release
#define ACQ_REL memory_order_acq_rel
#define SEQ_CST memory_order_seq_cst

#define LOAD(object, order) atomic_load_explicit(&(object), order)
#define STORE(object, value, order) \
	atomic_store_explicit(&(object), value, order)

static _Atomic int x, y, z;
static int a, b, c, d, data;
static struct model_mutex mutex;
static struct model_event event;

/* Which of the outcomes were seen: a bit for each value of a, b, c, d. */
static uint64_t outcomes;

static void setup(void)
{
	atomic_init(&x, 0);
	atomic_init(&y, 0);
	atomic_init(&z, 0);
	mutex = (struct model_mutex){ 0 };
	event = (struct model_event){ 0 };
	a = b = c = d = data = 0;
}

static void note_outcome(void)
{
	outcomes |= UINT64_C(1) << (a * 1 + b * 3 + c * 9 + d * 18);
}

static uint64_t bit(int va, int vb, int vc, int vd)
{
	return UINT64_C(1) << (va * 1 + vb * 3 + vc * 9 + vd * 18);
}

static struct model_result explore(void (*first)(void), void (*second)(void),
				   void (*third)(void), void (*fourth)(void))
{
	const struct model_case subject = {
		.name = "litmus",
		.setup = setup,
		.threads = { first, second, third, fourth },
		.check = note_outcome,
	};
	struct model_result result;

	outcomes = 0;
	model_explore(&subject, &result);
	return result;
}

#define THREAD(name, ...)      \
	static void name(void) \
	{                      \
		__VA_ARGS__    \
	}

/* Store buffering. */
THREAD(sb_1, STORE(x, 1, SEQ_CST); a = LOAD(y, SEQ_CST);)
THREAD(sb_2, STORE(y, 1, SEQ_CST); b = LOAD(x, SEQ_CST);)
THREAD(sb_1_weak, STORE(x, 1, RELEASE); a = LOAD(y, SEQ_CST);)
THREAD(sb_2_weak, STORE(y, 1, SEQ_CST); b = LOAD(x, ACQUIRE);)

START_TEST(seq_cst_forbids_store_buffering)
{
	struct model_result result = explore(sb_1, sb_2, NULL, NULL);

	ck_assert_uint_eq(outcomes,
			  bit(1, 0, 0, 0) | bit(0, 1, 0, 0) | bit(1, 1, 0, 0));
	ck_assert_uint_eq(result.executions, 3);
	explore(sb_1_weak, sb_2, NULL, NULL);
	ck_assert_uint_ne(outcomes & bit(0, 0, 0, 0), 0);
	explore(sb_1, sb_2_weak, NULL, NULL);
	ck_assert_uint_ne(outcomes & bit(0, 0, 0, 0), 0);
}
END_TEST

/* Message passing. */
THREAD(mp_1, data = 1; model_write(&data); STORE(x, 1, RELEASE);)
THREAD(mp_2, a = LOAD(x, ACQUIRE); if (a) model_read(&data);)
THREAD(mp_1_weak, data = 1; model_write(&data); STORE(x, 1, RELAXED);)
THREAD(mp_2_weak, a = LOAD(x, RELAXED); if (a) model_read(&data);)

START_TEST(release_and_acquire_publish)
{
	struct model_result result = explore(mp_1, mp_2, NULL, NULL);

	ck_assert_msg(!result.has_failed, "%s", result.why);
	ck_assert_uint_eq(result.executions, 2);
	result = explore(mp_1_weak, mp_2, NULL, NULL);
	ck_assert(result.has_failed);
	result = explore(mp_1, mp_2_weak, NULL, NULL);
	ck_assert(result.has_failed);
}
END_TEST

/* A release sequence: updates pass on, and stores end it. */
THREAD(rs_2, atomic_fetch_add_explicit(&x, 1, RELAXED);)
THREAD(rs_3, if (LOAD(x, ACQUIRE) == 2) model_read(&data);)
THREAD(rs_2_store, if (LOAD(x, RELAXED) == 1) STORE(x, 2, RELAXED);)

START_TEST(updates_pass_on_what_was_released)
{
	struct model_result result = explore(mp_1, rs_2, rs_3, NULL);

	ck_assert_msg(!result.has_failed, "%s", result.why);
	result = explore(mp_1, rs_2_store, rs_3, NULL);
	ck_assert(result.has_failed);
}
END_TEST

/* Two writes each: both orders of both locations. */
THREAD(ww_1, STORE(x, 1, RELAXED); STORE(y, 2, RELAXED);)
THREAD(ww_2, STORE(y, 1, RELAXED); STORE(x, 2, RELAXED);)
THREAD(ww_1_release, STORE(x, 1, RELEASE); STORE(y, 2, RELEASE);)
THREAD(ww_2_release, STORE(y, 1, RELEASE); STORE(x, 2, RELEASE);)
THREAD(ww_1_seq_cst, STORE(x, 1, SEQ_CST); STORE(y, 2, SEQ_CST);)
THREAD(ww_2_seq_cst, STORE(y, 1, SEQ_CST); STORE(x, 2, SEQ_CST);)

static void note_last(void)
{
	a = LOAD(x, RELAXED);
	b = LOAD(y, RELAXED);
	note_outcome();
}

static bool can_both_first_be_last(void (*first)(void), void (*second)(void))
{
	const struct model_case subject = {
		.name = "litmus",
		.setup = setup,
		.threads = { first, second },
		.check = note_last,
	};
	struct model_result result;

	outcomes = 0;
	model_explore(&subject, &result);
	return outcomes & bit(1, 1, 0, 0);
}

START_TEST(stores_are_ordered_by_seq_cst_alone)
{
	ck_assert(can_both_first_be_last(ww_1, ww_2));
	ck_assert(can_both_first_be_last(ww_1_release, ww_2_release));
	ck_assert(can_both_first_be_last(ww_1, ww_2_seq_cst));
	ck_assert(!can_both_first_be_last(ww_1_seq_cst, ww_2_seq_cst));
}
END_TEST

/* Independent reads of independent writes. */
THREAD(iriw_1, STORE(x, 1, SEQ_CST);)
THREAD(iriw_2, STORE(y, 1, SEQ_CST);)
THREAD(iriw_3, a = LOAD(x, SEQ_CST); b = LOAD(y, SEQ_CST);)
THREAD(iriw_4, c = LOAD(y, SEQ_CST); d = LOAD(x, SEQ_CST);)
THREAD(iriw_1_weak, STORE(x, 1, RELEASE);)
THREAD(iriw_3_weak, a = LOAD(x, ACQUIRE); b = LOAD(y, ACQUIRE);)

START_TEST(all_agree_on_the_order_of_seq_cst_stores)
{
	struct model_result result = explore(iriw_1, iriw_2, iriw_3, iriw_4);

	ck_assert_uint_eq(result.executions, 15);
	ck_assert_uint_eq(outcomes & bit(1, 0, 1, 0), 0);
	explore(iriw_1, iriw_2, iriw_3_weak, iriw_4);
	ck_assert_uint_ne(outcomes & bit(1, 0, 1, 0), 0);
	/* All loads are seq_cst, and one store is not: each load of it still
	 * has its place in the order. */
	explore(iriw_1_weak, iriw_2, iriw_3, iriw_4);
	ck_assert_uint_eq(outcomes & bit(1, 0, 1, 0), 0);
}
END_TEST

/* Coherence: two reads of one place never go back. */
THREAD(co_1, STORE(x, 1, RELAXED); STORE(x, 2, RELAXED);)
THREAD(co_2, a = LOAD(x, RELAXED); b = LOAD(x, RELAXED);)

START_TEST(a_location_never_goes_back)
{
	struct model_result result = explore(co_1, co_2, NULL, NULL);

	ck_assert_uint_eq(outcomes, bit(0, 0, 0, 0) | bit(0, 1, 0, 0) |
					    bit(0, 2, 0, 0) | bit(1, 1, 0, 0) |
					    bit(1, 2, 0, 0) | bit(2, 2, 0, 0));
	ck_assert_uint_eq(result.executions, 6);
}
END_TEST

/* A plain store after a seq_cst one is seen before it, as on arm64, where no
 * order of execution would show it. */
THREAD(pass_1, STORE(x, 1, SEQ_CST); STORE(y, 1, RELAXED);)
THREAD(pass_2, a = LOAD(y, RELAXED); b = LOAD(x, SEQ_CST);)

START_TEST(relaxed_store_passes_seq_cst_store)
{
	explore(pass_1, pass_2, NULL, NULL);
	ck_assert_uint_ne(outcomes & bit(1, 0, 0, 0), 0);
}
END_TEST

/* Load buffering: no execution here shows it, but it is told. */
THREAD(lb_1, a = LOAD(x, RELAXED); STORE(y, 1, RELAXED);)
THREAD(lb_2, b = LOAD(y, RELAXED); STORE(x, 1, RELAXED);)
THREAD(lb_2_release, b = LOAD(y, RELAXED); STORE(x, 1, RELEASE);)
THREAD(lb_1_acquire, a = LOAD(x, ACQUIRE); STORE(y, 1, RELAXED);)
THREAD(lb_2_acquire, b = LOAD(y, ACQUIRE); STORE(x, 1, RELAXED);)
THREAD(lb_1_release, a = LOAD(x, RELAXED); STORE(y, 1, RELEASE);)

START_TEST(load_buffering_is_reported)
{
	ck_assert(explore(lb_1, lb_2, NULL, NULL).has_failed);
	ck_assert(explore(lb_1, lb_2_release, NULL, NULL).has_failed);
	ck_assert(explore(lb_1_release, lb_2, NULL, NULL).has_failed);
	ck_assert(!explore(lb_1_acquire, lb_2_acquire, NULL, NULL).has_failed);
	ck_assert(!explore(lb_1_release, lb_2_acquire, NULL, NULL).has_failed);
}
END_TEST

/* Updates are atomic: of three each reads another. */
THREAD(add, atomic_fetch_add_explicit(&x, 1, RELAXED);)

static void expect_three(void)
{
	model_assert(LOAD(x, RELAXED) == 3);
}

START_TEST(no_update_is_lost)
{
	const struct model_case subject = {
		.name = "updates",
		.setup = setup,
		.threads = { add, add, add },
		.check = expect_three,
	};
	struct model_result result;

	model_explore(&subject, &result);
	ck_assert_msg(!result.has_failed, "%s", result.why);
	ck_assert_uint_eq(result.executions, 6);
}
END_TEST

/* Stores, updates and updates that may fail, of one place and another. */
THREAD(mix_1, STORE(x, 1, SEQ_CST); a = LOAD(y, SEQ_CST); STORE(x, 0, RELAXED);)
THREAD(mix_2,
       if (atomic_exchange_explicit(&x, 2, ACQ_REL) == 1) STORE(y, 1, SEQ_CST);)

static void mix_3(void)
{
	int one = 1;

	if (!atomic_compare_exchange_strong_explicit(&x, &one, 3, SEQ_CST,
						     ACQUIRE))
		atomic_fetch_add_explicit(&y, 1, ACQ_REL);
}

/* Every wait is tried, whether it is of use or not. */
static struct model_result explore_eagerly(void)
{
	struct model_result result;

	setenv("MODEL_EAGER", "", 1);
	result = explore(mix_2, mix_3, mix_1, NULL);
	unsetenv("MODEL_EAGER");
	return result;
}

START_TEST(reduction_leaves_out_nothing)
{
	struct model_result result = explore(mix_2, mix_3, mix_1, NULL);

	ck_assert_msg(!result.has_failed, "%s", result.why);
	ck_assert_uint_eq(result.executions, explore_eagerly().executions);
}
END_TEST

THREAD(lock_1, model_mutex_lock(&mutex); model_write(&data);
       model_mutex_unlock(&mutex);)
THREAD(wait_1, model_event_wait(&event); model_write(&data);)
THREAD(signal_1, model_write(&data); model_event_signal(&event);)

START_TEST(locks_exclude_and_waiters_that_none_wakes_are_found)
{
	struct model_result result = explore(lock_1, lock_1, lock_1, NULL);

	ck_assert_msg(!result.has_failed, "%s", result.why);
	ck_assert_uint_eq(result.executions, 6);
	result = explore(wait_1, signal_1, NULL, NULL);
	ck_assert_msg(!result.has_failed, "%s", result.why);
	ck_assert_uint_eq(result.executions, 1);
	result = explore(wait_1, wait_1, signal_1, NULL);
	ck_assert(result.has_failed);
	ck_assert_ptr_nonnull(strstr(result.why, "nobody wakes"));
}
END_TEST

static void add_tests(TCase *tests)
{
	tcase_add_test(tests, seq_cst_forbids_store_buffering);
	tcase_add_test(tests, release_and_acquire_publish);
	tcase_add_test(tests, updates_pass_on_what_was_released);
	tcase_add_test(tests, stores_are_ordered_by_seq_cst_alone);
	tcase_add_test(tests, all_agree_on_the_order_of_seq_cst_stores);
	tcase_add_test(tests, a_location_never_goes_back);
	tcase_add_test(tests, relaxed_store_passes_seq_cst_store);
	tcase_add_test(tests, load_buffering_is_reported);
	tcase_add_test(tests, no_update_is_lost);
	tcase_add_test(tests, reduction_leaves_out_nothing);
	tcase_add_test(tests,
		       locks_exclude_and_waiters_that_none_wakes_are_found);
}

int main(void)
{
	Suite *suite = suite_create("model_explorer");
	TCase *tests = tcase_create("litmus");
	SRunner *runner;
	int nr_failed;

	if (model_is_possible("model_explorer"))
		add_tests(tests);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	nr_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return nr_failed != 0;
}
