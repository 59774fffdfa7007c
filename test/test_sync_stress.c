/* SPDX-License-Identifier: MIT */
/*
 * What is in zsync/sync.h at random: tasks on one worker or more, and a thread
 * that is no worker's, each ended now and then by a deadline or by a cancel
 * from elsewhere, wherever it waits. What must hold is said at each kind; and
 * nobody waits for ever.
 *
 * ZSYNC_TEST_SEED=N is the first seed, ZSYNC_TEST_SEEDS=N how many there are.
 */
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "sides.h"

enum {
	SEEDS = 20,
	SEEDS_A_RUNTIME = 10,
	STUCK_SECONDS = 10,
	MOST = 6, /* sides */
	TURNS = 60,
	MOST_CANCELS = 200,
};

/* One kind of trial. */
struct kind {
	const char *name;
	void (*prepare)(uint64_t *random);
	/* All that a side does; its scope is open. */
	void (*act)(struct side *side);
	void (*check)(void);
};

static uint32_t nr_sides;
static struct side sides[MOST];
static _Atomic uint32_t nr_acting;

/* Plain counts that are guarded by what is tested. */
static uint64_t guarded, guarded_too;
/* What the sides say that they did. */
static _Atomic uint64_t nr_done;
/* Who is inside: of a mutex, of a semaphore; readers and writers. */
static _Atomic uint32_t inside, writers_inside;

static void add(_Atomic uint64_t *number, uint64_t amount)
{
	atomic_fetch_add_explicit(number, amount, memory_order_relaxed);
}

static uint64_t get(_Atomic uint64_t *number)
{
	return atomic_load_explicit(number, memory_order_relaxed);
}

/* @amount more are inside: how many that makes. Of its own it orders nothing.
 */
static uint32_t go_in(_Atomic uint32_t *number, uint32_t amount)
{
	return amount +
	       atomic_fetch_add_explicit(number, amount, memory_order_relaxed);
}

static void go_out(_Atomic uint32_t *number, uint32_t amount)
{
	atomic_fetch_sub_explicit(number, amount, memory_order_relaxed);
}

/* For those that are to wait meanwhile. */
static void dawdle(struct side *side)
{
	uint32_t choice = below(&side->random, 24);

	if (!side->is_thread && choice == 0)
		zs_sleep(below(&side->random, 20000));
	else if (!side->is_thread && choice < 8)
		zs_yield();
}

static bool tries(struct side *side)
{
	return below(&side->random, 4) == 0;
}

/* --- mutex: one at a time, and each that got it is counted --- */

static struct zs_mutex mutex;

static void prepare_mutex(uint64_t *random)
{
	(void)random;
	mutex = (struct zs_mutex){ 0 };
	guarded = 0;
}

static void act_mutex(struct side *side)
{
	for (int i = 0; i < TURNS; i++) {
		int ret = tries(side) ? zs_mutex_try_lock(&mutex) :
					zs_mutex_lock(&mutex);

		if (ret != -EAGAIN && !side_was_ended(side, ret)) {
			ck_assert_uint_eq(go_in(&inside, 1), 1);
			guarded++;
			dawdle(side);
			add(&nr_done, 1);
			go_out(&inside, 1);
			assert_ok(zs_mutex_unlock(&mutex));
		}
		turn_side(side);
	}
}

static void check_mutex(void)
{
	ck_assert_uint_eq(guarded, get(&nr_done));
	ck_assert_uint_eq(mutex.word, 0);
	ck_assert_ptr_null(mutex.gate.first);
}

/* --- condition: what is put in is taken out, by waits alone --- */

static struct zs_cond not_empty;
static uint32_t nr_puts; /* to come */

static void prepare_cond(uint64_t *random)
{
	prepare_mutex(random);
	not_empty = (struct zs_cond){ 0 };
	nr_puts = nr_sides / 2 * TURNS;
}

static void put(struct side *side)
{
	for (int i = 0; i < TURNS; turn_side(side)) {
		if (side_was_ended(side, zs_mutex_lock(&mutex)))
			continue;
		i++;
		guarded++;
		nr_puts--;
		dawdle(side);
		assert_ok(nr_puts == 0 ? zs_cond_broadcast(&not_empty) :
					 zs_cond_signal(&not_empty));
		assert_ok(zs_mutex_unlock(&mutex));
		add(&nr_done, 1);
	}
}

static void take_out(struct side *side)
{
	bool is_last = false;

	for (; !is_last; turn_side(side)) {
		if (side_was_ended(side, zs_mutex_lock(&mutex)))
			continue;
		if (guarded == 0 && nr_puts > 0)
			side_was_ended(side, zs_cond_wait(&not_empty, &mutex));
		ck_assert_uint_eq(go_in(&inside, 1), 1);
		if (guarded > 0)
			guarded--;
		is_last = guarded == 0 && nr_puts == 0;
		go_out(&inside, 1);
		assert_ok(zs_mutex_unlock(&mutex));
	}
}

static void act_cond(struct side *side)
{
	if (side->number < nr_sides / 2)
		put(side);
	else
		take_out(side);
}

static void check_cond(void)
{
	ck_assert_uint_eq(guarded, 0);
	ck_assert_ptr_null(not_empty.gate.first);
	ck_assert_uint_eq(mutex.word, 0);
}

/* --- semaphore: never more inside than there are permits --- */

static struct zs_sem sem;
static uint32_t nr_permits;

static void prepare_sem(uint64_t *random)
{
	nr_permits = 1 + below(random, 4);
	assert_ok(zs_sem_init(&sem, nr_permits));
}

static void act_sem(struct side *side)
{
	for (int i = 0; i < TURNS; i++) {
		uint32_t permits = 1 + below(&side->random, nr_permits);
		int ret = tries(side) ? zs_sem_try_acquire(&sem, permits) :
					zs_sem_acquire(&sem, permits);

		if (ret != -EAGAIN && !side_was_ended(side, ret)) {
			ck_assert_uint_le(go_in(&inside, permits), nr_permits);
			dawdle(side);
			go_out(&inside, permits);
			assert_ok(zs_sem_release(&sem, permits));
		}
		turn_side(side);
	}
}

static void check_sem(void)
{
	ck_assert_int_eq(zs_sem_available(&sem), (int)nr_permits);
	ck_assert_ptr_null(sem.gate.first);
}

/* --- notify: whatever is left by a side is taken by another --- */

static struct zs_notify notify;
static _Atomic uint64_t to_do;

static void prepare_notify(uint64_t *random)
{
	(void)random;
	notify = (struct zs_notify){ 0 };
	atomic_store(&to_do, 0);
}

static void act_notify(struct side *side)
{
	uint64_t all = (uint64_t)(nr_sides / 2) * TURNS;

	if (side->number < nr_sides / 2) {
		for (int i = 0; i < TURNS; i++, turn_side(side)) {
			add(&to_do, 1);
			if (below(&side->random, 8) == 0)
				assert_ok(zs_notify_all(&notify));
			assert_ok(zs_notify_one(&notify));
			dawdle(side);
		}
		return;
	}
	for (; get(&nr_done) < all; turn_side(side)) {
		if (side_was_ended(side, zs_notify_wait(&notify)))
			continue;
		add(&nr_done,
		    atomic_exchange_explicit(&to_do, 0, memory_order_relaxed));
	}
	/* For the next one, who may wait for what is done. */
	assert_ok(zs_notify_one(&notify));
}

static void check_notify(void)
{
	ck_assert_uint_eq(get(&to_do), 0);
	ck_assert_uint_eq(get(&nr_done), nr_sides / 2 * TURNS);
	ck_assert_ptr_null(notify.gate.first);
}

/* --- wait groups: nobody goes on before all have come --- */

static struct zs_waitgroup groups[TURNS];
static _Atomic uint32_t arrived[TURNS];

static void prepare_groups(uint64_t *random)
{
	(void)random;
	memset(groups, 0, sizeof(groups));
	memset((void *)arrived, 0, sizeof(arrived));
	for (int i = 0; i < TURNS; i++)
		assert_ok(zs_waitgroup_add(&groups[i], nr_sides));
}

static void act_groups(struct side *side)
{
	for (int i = 0; i < TURNS; i++) {
		go_in(&arrived[i], 1);
		assert_ok(zs_waitgroup_done(&groups[i]));
		while (side_was_ended(side, zs_waitgroup_wait(&groups[i])))
			turn_side(side);
		ck_assert_uint_eq(arrived[i], nr_sides);
		turn_side(side);
	}
}

static void check_groups(void)
{
	for (int i = 0; i < TURNS; i++)
		ck_assert_ptr_null(groups[i].gate.first);
}

/* --- barrier: all of a round get on, or none; one of them is told --- */

static struct zs_barrier barrier;
static _Atomic uint64_t nr_serial;

/* The task that makes it whole again: more than one would send each other
 * away. */
static uint32_t keeper;

static void prepare_barrier(uint64_t *random)
{
	(void)random;
	keeper = sides[0].is_thread;
	atomic_store(&nr_serial, 0);
	assert_ok(zs_barrier_init(&barrier, nr_sides));
}

static void act_barrier(struct side *side)
{
	/* The same for all: nobody is left behind. */
	for (int rounds = 0; rounds < TURNS / 10; turn_side(side)) {
		int ret = zs_barrier_wait(&barrier);

		if (ret >= 0) {
			rounds++;
			add(&nr_done, 1);
			add(&nr_serial, (uint64_t)ret);
		} else if (ret != -EPIPE) {
			side_was_ended(side, ret);
		} else if (side->number == keeper) {
			assert_ok(zs_barrier_reset(&barrier));
		} else if (zs_yield() < 0) {
			sched_yield();
		}
	}
}

static void check_barrier(void)
{
	ck_assert_uint_eq(get(&nr_serial), TURNS / 10);
	ck_assert_uint_eq(get(&nr_done), TURNS / 10 * nr_sides);
	ck_assert_ptr_null(barrier.gate.first);
}

/* --- rwlock: writers are alone, and each that got it is counted --- */

static struct zs_rwlock rwlock;

static void prepare_rwlock(uint64_t *random)
{
	(void)random;
	rwlock = (struct zs_rwlock){ 0 };
	guarded = guarded_too = 0;
}

static void write_some(struct side *side)
{
	int ret = tries(side) ? zs_rwlock_try_write_lock(&rwlock) :
				zs_rwlock_write_lock(&rwlock);

	if (ret == -EAGAIN || side_was_ended(side, ret))
		return;
	ck_assert_uint_eq(go_in(&writers_inside, 1), 1);
	ck_assert_uint_eq(go_in(&inside, 0), 0);
	guarded++;
	dawdle(side);
	guarded_too++;
	add(&nr_done, 1);
	go_out(&writers_inside, 1);
	assert_ok(zs_rwlock_write_unlock(&rwlock));
}

static void read_some(struct side *side)
{
	int ret = tries(side) ? zs_rwlock_try_read_lock(&rwlock) :
				zs_rwlock_read_lock(&rwlock);

	if (ret == -EAGAIN || side_was_ended(side, ret))
		return;
	go_in(&inside, 1);
	ck_assert_uint_eq(go_in(&writers_inside, 0), 0);
	dawdle(side);
	ck_assert_uint_eq(guarded, guarded_too);
	go_out(&inside, 1);
	assert_ok(zs_rwlock_read_unlock(&rwlock));
}

static void act_rwlock(struct side *side)
{
	for (int i = 0; i < TURNS; i++, turn_side(side)) {
		if (below(&side->random, 3) == 0)
			write_some(side);
		else
			read_some(side);
	}
}

static void check_rwlock(void)
{
	ck_assert_uint_eq(guarded, get(&nr_done));
	ck_assert_uint_eq(rwlock.gate.number, 0);
	ck_assert_uint_eq(rwlock.writer, 0);
	ck_assert_ptr_null(rwlock.gate.first);
}

/* --- once: with success once, and one at a time --- */

static struct zs_once onces[TURNS];

static void prepare_once(uint64_t *random)
{
	(void)random;
	memset(onces, 0, sizeof(onces));
	guarded = 0;
}

static int run_once(void *arg)
{
	struct side *side = arg;
	int ret = 0;

	/* Two objects may be run at once, hence not `inside`. */
	dawdle(side);
	if (!side->is_thread && below(&side->random, 3) == 0)
		ret = zs_sleep(below(&side->random, 1000));
	if (ret == 0 && below(&side->random, 3) == 0)
		ret = -EXDEV;
	if (ret == 0)
		add(&nr_done, 1);
	return ret;
}

static void act_once(struct side *side)
{
	for (int i = 0; i < TURNS; i++) {
		int ret;

		do {
			ret = zs_once_run(&onces[i], run_once, side);
			if (ret != -EXDEV)
				side_was_ended(side, ret);
			turn_side(side);
		} while (ret < 0);
		ck_assert_uint_ge(get(&nr_done), (uint64_t)i + 1);
	}
}

static void check_once(void)
{
	ck_assert_uint_eq(get(&nr_done), TURNS);
	for (int i = 0; i < TURNS; i++)
		ck_assert_ptr_null(onces[i].gate.first);
}

/* --- trials --- */

static const struct kind kinds[] = {
	{ "mutex", prepare_mutex, act_mutex, check_mutex },
	{ "cond", prepare_cond, act_cond, check_cond },
	{ "sem", prepare_sem, act_sem, check_sem },
	{ "notify", prepare_notify, act_notify, check_notify },
	{ "waitgroup", prepare_groups, act_groups, check_groups },
	{ "barrier", prepare_barrier, act_barrier, check_barrier },
	{ "rwlock", prepare_rwlock, act_rwlock, check_rwlock },
	{ "once", prepare_once, act_once, check_once },
};
enum { NR_KINDS = sizeof(kinds) / sizeof(*kinds), MAX_WORKERS = 3 };

static const struct kind *kind;

static int act(void *arg)
{
	struct side *side = arg;

	open_side(side);
	kind->act(side);
	close_side(side);
	atomic_fetch_sub_explicit(&nr_acting, 1, memory_order_acq_rel);
	return 0;
}

static void *act_in_thread(void *arg)
{
	act(arg);
	return NULL;
}

static int canceller(void *arg)
{
	uint64_t random = *(uint64_t *)arg;

	/* Not for ever, lest no barrier be whole. acquire: they have closed
	 * their scopes. */
	for (int i = 0;
	     i < MOST_CANCELS &&
	     atomic_load_explicit(&nr_acting, memory_order_acquire) > 0;
	     i++) {
		cancel_side(&sides[below(&random, nr_sides)]);
		assert_ok(below(&random, 2) ?
				  zs_yield() :
				  zs_sleep(below(&random, SIDE_LATEST_NS)));
	}
	return 0;
}

static void make_trial(uint64_t *random)
{
	nr_sides = 2 + below(random, MOST - 1);
	for (uint32_t i = 0; i < nr_sides; i++)
		init_side(&sides[i], i, random);
	sides[below(random, nr_sides)].is_thread = below(random, 3) == 0;
	atomic_store(&nr_acting, nr_sides);
	atomic_store(&nr_done, 0);
	kind->prepare(random);
}

static void run_trial(uint64_t seed)
{
	uint64_t random = seed * 2 + 1;
	struct zs_nursery nursery;
	pthread_t thread = 0;

	for (int i = 0; i < 4; i++)
		next_random(&random);
	stress.seed = seed;
	make_trial(&random);
	assert_ok(zs_nursery_open(&nursery, NULL));
	for (uint32_t i = 0; i < nr_sides; i++) {
		if (sides[i].is_thread)
			thread = start_thread(act_in_thread, &sides[i]);
		else
			assert_ok(zs_nursery_spawn(nursery, act, &sides[i]));
	}
	assert_ok(zs_nursery_spawn_copy(nursery, canceller, &random,
					sizeof(random)));
	assert_ok(zs_nursery_wait(nursery));
	if (thread)
		pthread_join(thread, NULL);
	kind->check();
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

START_TEST(nothing_is_lost_and_nobody_waits_for_ever)
{
	uint64_t end = first_seed + num_seeds;
	uint32_t num_workers = 1 + (uint32_t)_i % MAX_WORKERS;

	for (uint32_t i = 0; i < MOST; i++)
		pthread_mutex_init(&sides[i].lock, NULL);
	kind = &kinds[_i / MAX_WORKERS];
	need_workers(num_workers);
	stress.num_workers = num_workers;
	stress_watch(STUCK_SECONDS * ZS_SECOND);
	for (uint64_t seed = first_seed; seed < end; seed += SEEDS_A_RUNTIME) {
		struct seeds seeds = { seed, seed + SEEDS_A_RUNTIME };

		assert_ok(run_task_on(num_workers, run_trials, &seeds));
	}
	printf("sync_stress: %s, %u workers, %llu scopes ended early\n",
	       kind->name, num_workers, (unsigned long long)nr_scopes_ended);
	fflush(stdout);
	ck_assert_uint_ge(nr_scopes_ended, num_seeds / 10);
}
END_TEST

static Suite *sync_stress_suite(void)
{
	Suite *suite = suite_create("sync_stress");
	TCase *tests = tcase_create("sync_stress");

	first_seed = stress_first_seed("sync_stress");
	num_seeds = (uint64_t)stress_number_of("ZSYNC_TEST_SEEDS", SEEDS);
	/* Later than the watchdog, which has more to say. */
	tcase_set_timeout(tests, 2 * STUCK_SECONDS + (double)num_seeds / 20);
	tcase_add_loop_test(tests, nothing_is_lost_and_nobody_waits_for_ever, 0,
			    NR_KINDS * MAX_WORKERS);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(sync_stress_suite());
}
