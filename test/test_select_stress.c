/* SPDX-License-Identifier: MIT */
/*
 * Selects at random: tasks of several workers that each select among sends to
 * and receives from a few channels, with deadlines, while others cancel them
 * and send and receive plainly. What must hold: of each select one case
 * happened or none, so that each item whose send was reported is received once,
 * and no other; and nobody waits for ever.
 *
 * ZSYNC_TEST_SEED=N is the first seed, ZSYNC_TEST_SEEDS=N how many there are.
 */
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "stress.h"
#include "workers.h"

enum {
	SEEDS = 150,
	SEEDS_A_RUNTIME = 10,
	STUCK_SECONDS = 10,
	CHANS = 4,
	SELECTORS = 6,
	CALLS = 60, /* of each */
	CASES_MOST = 10,
	LATEST_NS = 30000,
};

struct selector {
	uint64_t random;
	uint32_t number;
	uint32_t next; /* number of an item that it sends */
	pthread_mutex_t lock;
	bool has_token;
	struct zs_cancel_token token;
};

static struct zs_chan *chans[CHANS];
static struct selector selectors[SELECTORS];
static _Atomic uint32_t nr_selecting;
static bool is_sent[SELECTORS][CALLS + 1];
static uint32_t received[SELECTORS][CALLS + 1];
static uint64_t nr_happened, nr_ended;

static void note(uint64_t *number)
{
	__atomic_fetch_add(number, 1, __ATOMIC_RELAXED);
	note_progress();
}

static void take_in(uint64_t item)
{
	uint64_t sender = item >> 32, number = item & UINT32_MAX;

	ck_assert_uint_lt(sender, SELECTORS);
	ck_assert_uint_le(number, CALLS);
	__atomic_fetch_add(&received[sender][number], 1, __ATOMIC_RELAXED);
}

static void select_once(struct selector *self)
{
	uint64_t *random = &self->random;
	struct zs_select_case cases[CASES_MOST];
	uint64_t sent = (uint64_t)self->number << 32 | self->next;
	uint64_t items[CASES_MOST] = { 0 };
	int number = 1 + (int)below(random, CASES_MOST), ret;
	int64_t deadline_ns = ZS_SELECT_NOW;

	for (int i = 0; i < number; i++) {
		struct zs_chan *chan = chans[below(random, CHANS)];

		if (below(random, 2) == 0)
			cases[i] = (struct zs_select_case)ZS_SELECT_SEND(chan,
									 &sent);
		else
			cases[i] = (struct zs_select_case)ZS_SELECT_RECV(
				chan, &items[i]);
	}
	if (below(random, 4) > 0)
		deadline_ns = zs_now() + below(random, LATEST_NS);
	ret = zs_select(cases, (size_t)number, deadline_ns);
	if (ret == -EAGAIN || ret == -ETIMEDOUT || ret == -ECANCELED) {
		note(&nr_ended);
		return;
	}
	ck_assert_msg(ret >= 0 && ret < number, "select: %d", ret);
	ck_assert_int_eq(cases[ret].result, 0);
	note(&nr_happened);
	if (cases[ret].kind == ZS_SELECT_KIND_RECV)
		take_in(items[ret]);
	else
		is_sent[self->number][self->next++] = true;
}

static int selector(void *arg)
{
	struct selector *self = arg;

	for (int i = 0; i < CALLS;) {
		struct zs_cancel_token token;

		assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
		pthread_mutex_lock(&self->lock);
		self->token = token;
		self->has_token = true;
		pthread_mutex_unlock(&self->lock);
		for (int j = 0; j < 10 && i < CALLS; i++, j++)
			select_once(self);
		pthread_mutex_lock(&self->lock);
		self->has_token = false;
		pthread_mutex_unlock(&self->lock);
		zs_cancel_token_close(token);
	}
	atomic_fetch_sub_explicit(&nr_selecting, 1, memory_order_acq_rel);
	return 0;
}

static int canceller(void *arg)
{
	uint64_t random = *(uint64_t *)arg;

	/* acquire: they are done. */
	while (atomic_load_explicit(&nr_selecting, memory_order_acquire) > 0) {
		struct selector *victim = &selectors[below(&random, SELECTORS)];

		pthread_mutex_lock(&victim->lock);
		if (victim->has_token)
			zs_cancel_token_cancel(victim->token);
		pthread_mutex_unlock(&victim->lock);
		assert_ok(zs_sleep(below(&random, LATEST_NS)));
	}
	return 0;
}

static void check_trial(void)
{
	uint64_t item;

	for (int i = 0; i < CHANS; i++) {
		while (zs_chan_try_recv(chans[i], &item) == 0)
			take_in(item);
		assert_ok(zs_chan_destroy(chans[i]));
	}
	for (int i = 0; i < SELECTORS; i++)
		for (int j = 0; j <= CALLS; j++)
			if (received[i][j] != is_sent[i][j])
				stress_fail("item %d of %d: sent %d, received "
					    "%u times",
					    j, i, is_sent[i][j],
					    received[i][j]);
}

static void run_trial(uint64_t seed)
{
	static const size_t capacities[] = { 0, 0, 1, 3, ZS_CHAN_UNBOUNDED };
	uint64_t random = seed * 2 + 1;
	struct zs_nursery nursery;

	for (int i = 0; i < 4; i++)
		next_random(&random);
	stress.seed = seed;
	memset(is_sent, 0, sizeof(is_sent));
	memset(received, 0, sizeof(received));
	for (int i = 0; i < CHANS; i++)
		assert_ok(zs_chan_create(&chans[i], sizeof(uint64_t),
					 capacities[below(&random, 5)]));
	atomic_store(&nr_selecting, SELECTORS);
	assert_ok(zs_nursery_open(&nursery, NULL));
	for (uint32_t i = 0; i < SELECTORS; i++) {
		selectors[i].random = next_random(&random) | 1;
		selectors[i].number = i;
		selectors[i].next = 0;
		assert_ok(zs_nursery_spawn(nursery, selector, &selectors[i]));
	}
	assert_ok(zs_nursery_spawn_copy(nursery, canceller, &random,
					sizeof(random)));
	assert_ok(zs_nursery_wait(nursery));
	check_trial();
}

static uint64_t first_seed;
static uint64_t num_seeds;

static int run_trials(void *arg)
{
	uint64_t first = *(uint64_t *)arg;

	for (uint64_t seed = first; seed < first + SEEDS_A_RUNTIME; seed++)
		run_trial(seed);
	return 0;
}

START_TEST(one_case_happens_or_none)
{
	uint64_t end = first_seed + num_seeds;

	for (uint32_t i = 0; i < SELECTORS; i++)
		pthread_mutex_init(&selectors[i].lock, NULL);
	need_workers((uint32_t)_i);
	stress.num_workers = (uint32_t)_i;
	stress_watch(STUCK_SECONDS * ZS_SECOND);
	for (uint64_t seed = first_seed; seed < end; seed += SEEDS_A_RUNTIME)
		assert_ok(run_task_on((uint32_t)_i, run_trials, &seed));
	printf("select_stress: %d workers, %llu cases happened, %llu selects "
	       "without one\n",
	       _i, (unsigned long long)nr_happened,
	       (unsigned long long)nr_ended);
	fflush(stdout);
	/* Else nothing was tried. */
	ck_assert_uint_ge(nr_ended, num_seeds);
	ck_assert_uint_ge(nr_happened, num_seeds);
}
END_TEST

static Suite *select_stress_suite(void)
{
	Suite *suite = suite_create("select_stress");
	TCase *tests = tcase_create("select_stress");

	first_seed = stress_first_seed("select_stress");
	num_seeds = (uint64_t)stress_number_of("ZSYNC_TEST_SEEDS", SEEDS);
	/* Later than the watchdog, which has more to say. */
	tcase_set_timeout(tests, 2 * STUCK_SECONDS + (double)num_seeds / 20);
	tcase_add_loop_test(tests, one_case_happens_or_none, 1, 4);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(select_stress_suite());
}
