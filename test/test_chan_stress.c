/* SPDX-License-Identifier: MIT */
/*
 * Channels at random: senders and receivers on one worker or more, and threads
 * that are no worker's, by all the ways there are to send and to receive, each
 * ended now and then by a deadline or by a cancel from elsewhere, wherever it
 * waits. What must hold: what a call said it sent is received once, what it did
 * not is not received; what one sender has sent comes to each receiver in that
 * order; and nobody waits for ever.
 *
 * ZSYNC_TEST_SEED=N is the first seed, ZSYNC_TEST_SEEDS=N how many there are.
 */
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "sides.h"

enum {
	SEEDS = 150,
	SEEDS_A_RUNTIME = 10,
	STUCK_SECONDS = 10,
	MOST = 4,    /* on either side */
	ITEMS = 60,  /* of each sender */
	AT_ONCE = 5, /* by the calls for many */
};

struct item {
	uint32_t sender;
	uint32_t number;
};

static struct zs_chan *chan;
static uint32_t nr_senders, nr_receivers;
static bool has_sending_thread, has_receiving_thread;
static struct side senders[MOST + 1], receivers[MOST + 1];
static _Atomic uint32_t nr_sending, nr_receiving;
/* By its sender; by whoever receives it. */
static bool is_sent[MOST + 1][ITEMS];
static _Atomic uint32_t received[MOST + 1][ITEMS];
static uint64_t nr_items;

/* --- sending and receiving --- */

static bool was_ended(int ret)
{
	return ret == -ECANCELED || ret == -ETIMEDOUT;
}

/* How many items it has got rid of. */
static uint32_t send_some(struct side *side, uint32_t first)
{
	struct item items[AT_ONCE];
	uint32_t number = 1 + below(&side->random, AT_ONCE);
	ssize_t ret;

	if (number > ITEMS - first)
		number = ITEMS - first;
	for (uint32_t i = 0; i < number; i++)
		items[i] = (struct item){ side->number, first + i };
	switch (below(&side->random, 3)) {
	case 0:
		ret = zs_chan_send_many(chan, items, number);
		break;
	case 1:
		ret = zs_chan_try_send(chan, items);
		if (ret == -EAGAIN)
			return 0;
		ret = ret == 0 ? 1 : ret;
		break;
	default:
		ret = zs_chan_send(chan, items);
		ret = ret == 0 ? 1 : ret;
		break;
	}
	ck_assert_msg(ret > 0 || was_ended((int)ret), "send: %zd", ret);
	for (ssize_t i = 0; i < ret; i++)
		is_sent[side->number][first + (uint32_t)i] = true;
	note_progress();
	return ret > 0 ? (uint32_t)ret : 0;
}

static void take_in(const struct item *items, ssize_t number, uint32_t *next)
{
	for (ssize_t i = 0; i < number; i++) {
		const struct item *item = &items[i];

		ck_assert_uint_le(item->sender, MOST);
		ck_assert_uint_ge(item->number, next[item->sender]);
		ck_assert_uint_lt(item->number, ITEMS);
		next[item->sender] = item->number + 1;
		__atomic_fetch_add(
			(uint32_t *)&received[item->sender][item->number], 1,
			__ATOMIC_RELAXED);
		__atomic_fetch_add(&nr_items, 1, __ATOMIC_RELAXED);
	}
	note_progress();
}

/* @next is the least number that may still come of each sender. -EPIPE at the
 * end. */
static int recv_some(struct side *side, uint32_t *next)
{
	struct item items[AT_ONCE];
	ssize_t ret;

	switch (below(&side->random, 3)) {
	case 0:
		ret = zs_chan_recv_many(chan, items,
					1 + below(&side->random, AT_ONCE));
		break;
	case 1:
		ret = zs_chan_try_recv(chan, items);
		if (ret == -EAGAIN)
			return 0;
		ret = ret == 0 ? 1 : ret;
		break;
	default:
		ret = zs_chan_recv(chan, items);
		ret = ret == 0 ? 1 : ret;
		break;
	}
	if (ret == -EPIPE)
		return -EPIPE;
	ck_assert_msg(ret > 0 || was_ended((int)ret), "recv: %zd", ret);
	take_in(items, ret, next);
	return 0;
}

static void end_sending(void)
{
	/* acq_rel: the last one closes after all have sent. */
	if (atomic_fetch_sub_explicit(&nr_sending, 1, memory_order_acq_rel) ==
	    1)
		assert_ok(zs_chan_close(chan));
}

static int sender(void *arg)
{
	struct side *side = arg;
	uint32_t done = 0;

	open_side(side);
	while (done < ITEMS) {
		done += send_some(side, done);
		turn_side(side);
	}
	close_side(side);
	end_sending();
	return 0;
}

static int receiver(void *arg)
{
	uint32_t next[MOST + 1] = { 0 };
	struct side *side = arg;

	open_side(side);
	while (recv_some(side, next) == 0)
		turn_side(side);
	close_side(side);
	if (!side->is_thread)
		atomic_fetch_sub_explicit(&nr_receiving, 1,
					  memory_order_acq_rel);
	return 0;
}

static void *send_in_thread(void *arg)
{
	sender(arg);
	return NULL;
}

static void *recv_in_thread(void *arg)
{
	receiver(arg);
	return NULL;
}

/* As long as anybody receives. */
static int canceller(void *arg)
{
	uint64_t random = *(uint64_t *)arg;

	/* acquire: it has closed its scope. */
	while (atomic_load_explicit(&nr_receiving, memory_order_acquire) > 0) {
		cancel_side(&senders[below(&random, nr_senders)]);
		cancel_side(&receivers[below(&random, nr_receivers)]);
		assert_ok(zs_sleep(below(&random, SIDE_LATEST_NS)));
	}
	return 0;
}

/* --- trials --- */

static void make_trial(uint64_t *random)
{
	static const size_t capacities[] = {
		0, 1, 2, 7, 64, ZS_CHAN_UNBOUNDED
	};

	assert_ok(zs_chan_create(&chan, sizeof(struct item),
				 capacities[below(random, 6)]));
	nr_senders = 1 + below(random, MOST);
	nr_receivers = 1 + below(random, MOST);
	has_sending_thread = below(random, 4) == 0;
	has_receiving_thread = below(random, 4) == 0;
	for (uint32_t i = 0; i <= MOST; i++) {
		init_side(&senders[i], i, random);
		init_side(&receivers[i], i, random);
	}
	senders[MOST].is_thread = true;
	receivers[MOST].is_thread = true;
	memset(is_sent, 0, sizeof(is_sent));
	memset((void *)received, 0, sizeof(received));
	atomic_store(&nr_sending, nr_senders + has_sending_thread);
	atomic_store(&nr_receiving, nr_receivers);
}

static void check_trial(void)
{
	for (uint32_t i = 0; i <= MOST; i++)
		for (uint32_t j = 0; j < ITEMS; j++)
			if (received[i][j] != is_sent[i][j])
				stress_fail("item %u of sender %u: sent %d, "
					    "received %u times",
					    j, i, is_sent[i][j],
					    received[i][j]);
	ck_assert_int_eq(zs_chan_count(chan), 0);
	assert_ok(zs_chan_destroy(chan));
}

static void run_trial(uint64_t seed)
{
	uint64_t random = seed * 2 + 1;
	pthread_t sending = 0, receiving = 0;
	struct zs_nursery nursery;

	for (int i = 0; i < 4; i++)
		next_random(&random);
	stress.seed = seed;
	make_trial(&random);
	if (has_sending_thread)
		sending = start_thread(send_in_thread, &senders[MOST]);
	if (has_receiving_thread)
		receiving = start_thread(recv_in_thread, &receivers[MOST]);
	assert_ok(zs_nursery_open(&nursery, NULL));
	for (uint32_t i = 0; i < nr_senders; i++)
		assert_ok(zs_nursery_spawn(nursery, sender, &senders[i]));
	for (uint32_t i = 0; i < nr_receivers; i++)
		assert_ok(zs_nursery_spawn(nursery, receiver, &receivers[i]));
	assert_ok(zs_nursery_spawn_copy(nursery, canceller, &random,
					sizeof(random)));
	assert_ok(zs_nursery_wait(nursery));
	if (has_sending_thread)
		pthread_join(sending, NULL);
	if (has_receiving_thread)
		pthread_join(receiving, NULL);
	check_trial();
}

static uint64_t first_seed;
static uint64_t num_seeds;

struct seeds {
	uint64_t from, to;
};

static int run_trials(void *arg)
{
	struct seeds *seeds = arg;

	for (uint64_t seed = seeds->from; seed < seeds->to; seed++)
		run_trial(seed);
	return 0;
}

START_TEST(nothing_is_lost_doubled_or_out_of_order)
{
	uint64_t end = first_seed + num_seeds;

	for (uint32_t i = 0; i <= MOST; i++) {
		pthread_mutex_init(&senders[i].lock, NULL);
		pthread_mutex_init(&receivers[i].lock, NULL);
	}
	need_workers((uint32_t)_i);
	stress.num_workers = (uint32_t)_i;
	stress_watch(STUCK_SECONDS * ZS_SECOND);
	for (uint64_t seed = first_seed; seed < end; seed += SEEDS_A_RUNTIME) {
		struct seeds seeds = { seed, seed + SEEDS_A_RUNTIME };

		assert_ok(run_task_on((uint32_t)_i, run_trials, &seeds));
	}
	printf("chan_stress: %d workers, %llu items, %llu scopes ended early\n",
	       _i, (unsigned long long)nr_items,
	       (unsigned long long)nr_scopes_ended);
	fflush(stdout);
	/* Else nothing was tried. */
	ck_assert_uint_ge(nr_scopes_ended, num_seeds / 10);
}
END_TEST

static Suite *chan_stress_suite(void)
{
	Suite *suite = suite_create("chan_stress");
	TCase *tests = tcase_create("chan_stress");

	first_seed = stress_first_seed("chan_stress");
	num_seeds = (uint64_t)stress_number_of("ZSYNC_TEST_SEEDS", SEEDS);
	/* Later than the watchdog, which has more to say. */
	tcase_set_timeout(tests, 2 * STUCK_SECONDS + (double)num_seeds / 20);
	tcase_add_loop_test(tests, nothing_is_lost_doubled_or_out_of_order, 1,
			    4);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(chan_stress_suite());
}
