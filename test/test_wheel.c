/* SPDX-License-Identifier: MIT */
/*
 * The timer wheel. Time is what the test says it is. The claims that matter,
 * never early, in order, and asked for in time, are checked on each of many
 * random steps against a plain list of what is armed.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "sched/wheel.h"

enum {
	NUM_TIMERS = 1000,
	NUM_RANDOM = 300, /* of them, in the random steps */
	NUM_STEPS = 200000,
	NUM_SEEDS = 4,
};

#define TICK (INT64_C(1) << ZS_WHEEL_TICK_SHIFT)
/* How late a crowd may be asked for. */
#define BATCH (ZS_WHEEL_BATCH * TICK)
#define DAY INT64_C(86400000000000)

struct alarm {
	struct zs_timer timer;
	bool armed;   /* as the test sees it */
	int64_t tick; /* its place in the order */
	int num_started;
	int num_fired;
};

static struct zs_wheel wheel;
static struct alarm alarms[NUM_TIMERS];
static int64_t now;
static int64_t last_tick; /* of those that this expire has fired */
static uint64_t seed;

static uint64_t random_below(uint64_t limit)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (seed >> 11) % limit;
}

static void fire(struct zs_timer *timer, void *arg)
{
	struct alarm *alarm = arg;

	ck_assert_ptr_eq(timer, &alarm->timer);
	if (alarm->tick < last_tick)
		ck_abort_msg("fired after a later one");
	last_tick = alarm->tick;
	if (timer->deadline_ns > now)
		ck_abort_msg("%lld ns early",
			     (long long)(timer->deadline_ns - now));
	if (!alarm->armed)
		ck_abort_msg("fired, though it was not armed");
	if (zs_timer_armed(timer))
		ck_abort_msg("still armed in fire");
	alarm->armed = false;
	alarm->num_fired++;
}

static void start(struct alarm *alarm, int64_t deadline_ns)
{
	alarm->armed = true;
	alarm->num_started++;
	/* What is overdue comes with what is due now. */
	alarm->tick = deadline_ns >> ZS_WHEEL_TICK_SHIFT;
	if (alarm->tick < wheel.now_tick)
		alarm->tick = wheel.now_tick;
	if (alarm->tick < wheel.held_tick)
		alarm->tick = wheel.held_tick;
	zs_wheel_start(&wheel, &alarm->timer, deadline_ns);
}

static uint64_t expire(void)
{
	last_tick = INT64_MIN;
	return zs_wheel_expire(&wheel, now);
}

static void set_up(void)
{
	now = 12345 * TICK + 678;
	seed = 0x9e3779b97f4a7c15;
	zs_wheel_init(&wheel, now);
	memset(alarms, 0, sizeof(alarms));
	for (int i = 0; i < NUM_TIMERS; i++)
		alarms[i].timer =
			(struct zs_timer){ .fn = fire, .arg = &alarms[i] };
}

START_TEST(empty_wheel_has_nothing_to_come)
{
	ck_assert_int_eq(zs_wheel_next(&wheel), INT64_MAX);
	ck_assert_uint_eq(zs_wheel_expire(&wheel, now + DAY), 0);
	ck_assert_int_eq(zs_wheel_next(&wheel), INT64_MAX);
}
END_TEST

/* One nanosecond before and at the deadline, at every distance that puts the
 * timer on another level, up to the last there is. */
START_TEST(timer_fires_at_its_nanosecond_on_every_level)
{
	for (int64_t distance = 1; distance < INT64_MAX / 4; distance *= 3) {
		int64_t deadline_ns = now + distance;

		start(&alarms[0], deadline_ns);
		ck_assert_int_eq(zs_wheel_next(&wheel), deadline_ns);
		now = deadline_ns - 1;
		ck_assert_uint_eq(expire(), 0);
		ck_assert_int_eq(zs_wheel_next(&wheel), deadline_ns);
		now = deadline_ns;
		ck_assert_uint_eq(expire(), 1);
		ck_assert_int_eq(zs_wheel_next(&wheel), INT64_MAX);
		ck_assert_uint_eq(zs_wheel_num_armed(&wheel), 0);
	}
	start(&alarms[0], INT64_MAX - 1);
	ck_assert_uint_eq(zs_wheel_expire(&wheel, INT64_MAX - 2), 0);
	now = INT64_MAX;
	ck_assert_uint_eq(expire(), 1);
}
END_TEST

START_TEST(deadline_in_the_past_fires_at_the_next_expire)
{
	start(&alarms[0], now - DAY);
	start(&alarms[1], 0);
	start(&alarms[2], -DAY);
	start(&alarms[3], now);
	ck_assert_int_le(zs_wheel_next(&wheel), now);
	ck_assert_uint_eq(expire(), 4);
}
END_TEST

/* Deadlines in one tick, of which only some have passed. */
START_TEST(timers_of_a_tick_fire_each_at_its_time)
{
	int64_t tick = (now / TICK + 10) * TICK;

	for (int i = 0; i < 100; i++)
		start(&alarms[i], tick + i * 10);
	for (int i = 0; i < 100; i++) {
		now = tick + i * 10 - 1;
		ck_assert_uint_eq(expire(), 0);
		now++;
		ck_assert_uint_eq(expire(), 1);
		ck_assert_int_eq(alarms[i].num_fired, 1);
	}
}
END_TEST

START_TEST(cancel_is_true_once)
{
	ck_assert(!zs_wheel_cancel(&wheel, &alarms[0].timer));
	start(&alarms[0], now + DAY);
	ck_assert(zs_timer_armed(&alarms[0].timer));
	ck_assert(zs_wheel_cancel(&wheel, &alarms[0].timer));
	ck_assert(!zs_wheel_cancel(&wheel, &alarms[0].timer));
	ck_assert_int_eq(zs_wheel_next(&wheel), INT64_MAX);
	ck_assert_uint_eq(zs_wheel_expire(&wheel, now + 2 * DAY), 0);
}
END_TEST

static int num_calls;

static void restart_in_the_past(struct zs_timer *timer, void *arg)
{
	(void)arg;
	num_calls++;
	zs_wheel_start(&wheel, timer, timer->deadline_ns);
}

/* It would go on for ever if one expire fired what it starts. */
START_TEST(timer_that_fire_starts_waits_for_the_next_expire)
{
	alarms[0].timer.fn = restart_in_the_past;
	start(&alarms[0], now + 5 * TICK);
	now += 70 * TICK;
	for (int i = 1; i <= 10; i++) {
		ck_assert_uint_eq(expire(), 1);
		ck_assert_int_eq(num_calls, i);
		ck_assert_int_le(zs_wheel_next(&wheel), now);
	}
}
END_TEST

static void cancel_the_others(struct zs_timer *timer, void *arg)
{
	fire(timer, arg);
	for (int i = 0; i < 10; i++) {
		alarms[i].armed = false;
		zs_wheel_cancel(&wheel, &alarms[i].timer);
	}
}

/* All are due at once, in the same slot or far apart; whoever is first cancels
 * the rest. */
START_TEST(fire_may_cancel_what_is_due_with_it)
{
	int num_fired = 0;

	for (int i = 0; i < 10; i++) {
		alarms[i].timer.fn = cancel_the_others;
		start(&alarms[i], now + (_i ? i * i * i * 100 * TICK : 1));
	}
	now += DAY;
	ck_assert_uint_eq(expire(), 1);
	for (int i = 0; i < 10; i++)
		num_fired += alarms[i].num_fired;
	ck_assert_int_eq(num_fired, 1);
	ck_assert_uint_eq(zs_wheel_num_armed(&wheel), 0);
	ck_assert_int_eq(zs_wheel_next(&wheel), INT64_MAX);
}
END_TEST

static void restart_just_ahead(struct zs_timer *timer, void *arg)
{
	fire(timer, arg);
	start(arg, timer->deadline_ns + 100 * TICK);
}

/* Each is called amid the others, of which most are still in their slots; what
 * it starts is due as well, but not before the next expire. */
START_TEST(late_timers_start_others_for_the_next_expire)
{
	for (int i = 0; i < NUM_TIMERS; i++) {
		alarms[i].timer.fn = restart_just_ahead;
		start(&alarms[i],
		      now + (int64_t)random_below(UINT64_C(1) << 30));
	}
	now += INT64_C(1) << 31;
	for (int i = 1; i <= 10; i++) {
		ck_assert_uint_eq(expire(), NUM_TIMERS);
		for (int j = 0; j < NUM_TIMERS; j++)
			ck_assert_int_eq(alarms[j].num_fired, i);
	}
	ck_assert_int_lt(zs_wheel_next(&wheel), now + BATCH);
}
END_TEST

/* A year of ticks, 481 thousand million of them, between two timers. */
START_TEST(long_idle_time_costs_nothing)
{
	for (int i = 1; i <= 100; i++) {
		start(&alarms[0], now + 365 * DAY);
		start(&alarms[1], now + 365 * DAY + 3 * TICK);
		now += 366 * DAY;
		ck_assert_uint_eq(expire(), 2);
		ck_assert_int_eq(alarms[1].num_fired, i);
	}
}
END_TEST

/* A worker that sleeps until the wheel says: how often does it wake for
 * nothing? Once a level at most, and then only in a crowd. */
START_TEST(following_next_fires_all_within_a_batch)
{
	uint64_t fired = 0;
	int calls = 0;

	for (int i = 0; i < NUM_TIMERS; i++)
		start(&alarms[i],
		      now + (int64_t)random_below((uint64_t)DAY / 100));
	while (!zs_wheel_is_empty(&wheel)) {
		int64_t earliest = INT64_MAX, next = zs_wheel_next(&wheel);

		for (int i = 0; i < NUM_TIMERS; i++) {
			if (alarms[i].armed &&
			    alarms[i].timer.deadline_ns < earliest)
				earliest = alarms[i].timer.deadline_ns;
		}
		ck_assert_int_gt(next, now);
		ck_assert_int_lt(next, earliest + BATCH);
		now = next;
		fired += expire();
		calls++;
	}
	ck_assert_uint_eq(fired, NUM_TIMERS);
	ck_assert_int_lt(calls, NUM_TIMERS * 3 / 2);
}
END_TEST

/* Seven in a batch are few: each is asked for at its nanosecond. Eight are
 * waited for together, but not with those of the next batch. */
START_TEST(only_a_crowd_is_asked_for_late)
{
	int64_t batch = (now / BATCH + 2) * BATCH;

	now = batch - 1;
	expire();
	for (int i = 0; i < ZS_WHEEL_CROWD - 1; i++)
		start(&alarms[i], batch + 5 + i * 11 * TICK);
	ck_assert_int_eq(zs_wheel_next(&wheel), batch + 5);
	start(&alarms[20], batch + 5);
	start(&alarms[21], batch + BATCH);
	now = batch;
	ck_assert_uint_eq(expire(), 0);
	ck_assert_int_eq(zs_wheel_next(&wheel), batch + 5);
	start(&alarms[22], batch + BATCH - 1);
	ck_assert_int_eq(zs_wheel_next(&wheel), batch + BATCH - 1);
	now = batch + BATCH - 1;
	ck_assert_uint_eq(expire(), ZS_WHEEL_CROWD + 1);
	ck_assert_int_eq(zs_wheel_next(&wheel), batch + BATCH);
}
END_TEST

/* A worker that was stopped for hours. Those that are hours apart come in the
 * order of their deadlines all the same. */
START_TEST(long_standstill_fires_all_in_order)
{
	for (int i = 0; i < NUM_TIMERS; i++)
		start(&alarms[i],
		      now + (int64_t)random_below((uint64_t)DAY / 2));
	now += DAY / 4;
	for (int i = 0; i < 2; i++) {
		uint64_t expected = 0;

		for (int j = 0; j < NUM_TIMERS; j++)
			expected += alarms[j].armed &&
				    alarms[j].timer.deadline_ns <= now;
		ck_assert_uint_gt(expected, NUM_TIMERS / 4);
		ck_assert_uint_eq(expire(), expected);
		now += DAY / 2;
	}
	ck_assert(zs_wheel_is_empty(&wheel));
}
END_TEST

START_TEST(lower_bound_of_all_never_exceeds_the_earliest)
{
	ck_assert_int_eq(zs_wheel_not_before(&wheel), INT64_MAX);
	for (int64_t distance = 1; distance < INT64_MAX / 4; distance *= 3) {
		int64_t bound;

		start(&alarms[0], now + distance);
		start(&alarms[1], now + distance * 2);
		bound = zs_wheel_not_before(&wheel);
		ck_assert_int_le(bound, now + distance);
		ck_assert_int_ge(bound, now - TICK);
		ck_assert(zs_wheel_cancel(&wheel, &alarms[0].timer));
		ck_assert(zs_wheel_cancel(&wheel, &alarms[1].timer));
	}
}
END_TEST

START_TEST(dropped_timers_are_unarmed_and_not_called)
{
	for (int i = 0; i < NUM_TIMERS; i++)
		start(&alarms[i], now + (int64_t)random_below(2) * i * DAY);
	zs_wheel_drop(&wheel);
	ck_assert(zs_wheel_is_empty(&wheel));
	ck_assert_uint_eq(zs_wheel_num_armed(&wheel), 0);
	for (int i = 0; i < NUM_TIMERS; i++) {
		ck_assert(!zs_timer_armed(&alarms[i].timer));
		ck_assert_int_eq(alarms[i].num_fired, 0);
	}
}
END_TEST

/* A time to come: near, far, in the past, or on a boundary. */
static int64_t random_deadline(void)
{
	int64_t span = INT64_C(1) << random_below(50);

	switch (random_below(8)) {
	case 0:
		return now - (int64_t)random_below((uint64_t)TICK * 2);
	case 1:
		return ((now + span) & ~(TICK * 64 - 1)) -
		       (int64_t)random_below(2);
	default:
		return now + (int64_t)random_below((uint64_t)span);
	}
}

static int64_t earliest_armed(void)
{
	int64_t earliest = INT64_MAX;

	for (int i = 0; i < NUM_RANDOM; i++) {
		if (alarms[i].armed && alarms[i].timer.deadline_ns < earliest)
			earliest = alarms[i].timer.deadline_ns;
	}
	return earliest;
}

/* Now and then a timer that fires starts or cancels another one. */
static void fire_and_meddle(struct zs_timer *timer, void *arg)
{
	struct alarm *other = &alarms[random_below(NUM_RANDOM)];

	fire(timer, arg);
	switch (random_below(4)) {
	case 0:
		if (!other->armed)
			start(other, random_deadline());
		break;
	case 1:
		if (zs_wheel_cancel(&wheel, &other->timer) != other->armed)
			ck_abort_msg("cancel does not know what is armed");
		other->armed = false;
		break;
	default:
		break;
	}
}

/* What was due before has fired, unless a fire cancelled it (and perhaps
 * another started it again); nothing else has. */
static void expire_and_check(void)
{
	static struct alarm before[NUM_RANDOM];
	uint64_t fired;

	memcpy(before, alarms, sizeof(before));
	fired = expire();
	for (int i = 0; i < NUM_RANDOM; i++) {
		bool was_due = before[i].armed &&
			       before[i].timer.deadline_ns <= now;
		int count = alarms[i].num_fired - before[i].num_fired;

		if (count > (was_due ? 1 : 0))
			ck_abort_msg("fired, though it was not due before");
		if (was_due && !count && alarms[i].armed &&
		    alarms[i].num_started == before[i].num_started)
			ck_abort_msg("was due and has not fired");
		fired -= (uint64_t)count;
	}
	if (fired)
		ck_abort_msg("expire does not count right");
}

static void check_next(int64_t next)
{
	int64_t earliest = earliest_armed();

	if (earliest == INT64_MAX) {
		if (next != INT64_MAX)
			ck_abort_msg("next of an empty wheel");
		return;
	}
	/* What is overdue counts from the last expire on. */
	if (earliest < now)
		earliest = now;
	if (next >= earliest + BATCH)
		ck_abort_msg("next is more than a batch late");
}

static void random_step(void)
{
	struct alarm *alarm = &alarms[random_below(NUM_RANDOM)];
	int64_t next;

	if (!alarm->armed) {
		start(alarm, random_deadline());
	} else if (random_below(3) == 0) {
		if (!zs_wheel_cancel(&wheel, &alarm->timer))
			ck_abort_msg("cancel does not know what is armed");
		alarm->armed = false;
	}
	if (random_below(4))
		return;
	next = zs_wheel_next(&wheel);
	check_next(next);
	if (random_below(2) && next > now && next != INT64_MAX)
		now = next;
	else
		now += (int64_t)random_below(UINT64_C(1) << random_below(40));
	expire_and_check();
}

/* Each seed is another order of starts, cancels and steps of time, small and
 * large; a fire meddles too. In the end, all that are armed must fire. */
START_TEST(random_steps_agree_with_a_list)
{
	uint64_t expected;

	seed += (uint64_t)_i * 0x2545f4914f6cdd1d;
	for (int i = 0; i < NUM_TIMERS; i++)
		alarms[i].timer.fn = fire_and_meddle;
	for (int i = 0; i < NUM_STEPS / NUM_SEEDS; i++)
		random_step();
	for (int i = 0; i < NUM_TIMERS; i++)
		alarms[i].timer.fn = fire;
	expected = 0;
	for (int i = 0; i < NUM_TIMERS; i++)
		expected += alarms[i].armed;
	ck_assert_uint_eq(zs_wheel_num_armed(&wheel), expected);
	now = INT64_MAX;
	ck_assert_uint_eq(expire(), expected);
	ck_assert_int_eq(zs_wheel_next(&wheel), INT64_MAX);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("wheel");
	TCase *tests = tcase_create("wheel");
	SRunner *runner;
	int nr_failed;

	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, set_up, NULL);
	tcase_add_test(tests, empty_wheel_has_nothing_to_come);
	tcase_add_test(tests, timer_fires_at_its_nanosecond_on_every_level);
	tcase_add_test(tests, deadline_in_the_past_fires_at_the_next_expire);
	tcase_add_test(tests, timers_of_a_tick_fire_each_at_its_time);
	tcase_add_test(tests, cancel_is_true_once);
	tcase_add_test(tests, timer_that_fire_starts_waits_for_the_next_expire);
	tcase_add_loop_test(tests, fire_may_cancel_what_is_due_with_it, 0, 2);
	tcase_add_test(tests, late_timers_start_others_for_the_next_expire);
	tcase_add_test(tests, long_idle_time_costs_nothing);
	tcase_add_test(tests, following_next_fires_all_within_a_batch);
	tcase_add_test(tests, only_a_crowd_is_asked_for_late);
	tcase_add_test(tests, long_standstill_fires_all_in_order);
	tcase_add_test(tests, lower_bound_of_all_never_exceeds_the_earliest);
	tcase_add_test(tests, dropped_timers_are_unarmed_and_not_called);
	tcase_add_loop_test(tests, random_steps_agree_with_a_list, 0,
			    NUM_SEEDS);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	nr_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return nr_failed != 0;
}
