/* SPDX-License-Identifier: MIT */
/* Tasks: who runs when, and what belongs to each. Where order matters one
 * worker carries them all. How many there may be is in test_spawn.c. */
#include <check.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "workers.h"

/* Shared by the tasks of a test; each test is a process of its own. */
static struct zs_nursery nursery;
static struct counter ended;
static struct counter released;
static char notes[64];
static char letters[] = "abcdefghij";

static void note(char what)
{
	size_t length = strlen(notes);

	ck_assert_uint_lt(length, sizeof(notes) - 1);
	notes[length] = what;
}

static int count_end(void *arg)
{
	(void)arg;
	count(&ended);
	return 0;
}

static int wait_for_release(void *arg)
{
	(void)arg;
	await_count(&released, 1);
	return 0;
}

/* --- who runs when --- */

static int note_letter(void *letter)
{
	note(*(char *)letter);
	return 0;
}

static int note_and_yield(void *letter)
{
	for (int i = 0; i < 5; i++) {
		note(*(char *)letter);
		assert_ok(zs_yield());
	}
	return 0;
}

struct letters_job {
	zs_task_fn *fn;
	int number;
};

/* The yield starts them before the wait does, which prefers the last one. */
static int spawn_letters(void *arg)
{
	const struct letters_job *job = arg;

	assert_ok(zs_nursery_open(&nursery, NULL));
	for (int i = 0; i < job->number; i++)
		assert_ok(zs_nursery_spawn(nursery, job->fn, &letters[i]));
	assert_ok(zs_yield());
	return zs_nursery_wait(nursery);
}

START_TEST(tasks_start_in_the_order_of_spawning)
{
	struct letters_job job = { note_letter, 10 };

	assert_ok(run_task(spawn_letters, &job));
	ck_assert_str_eq(notes, letters);
}
END_TEST

START_TEST(yielding_tasks_take_turns)
{
	struct letters_job job = { note_and_yield, 3 };

	assert_ok(run_task(spawn_letters, &job));
	ck_assert_str_eq(notes, "abcabcabcabcabc");
}
END_TEST

/* A turn of the loop may end at the first yield, which puts the yielding ones
 * before the unstarted one; it cannot do so at both. */
static int spawn_beside_yielding(void *arg)
{
	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	for (int i = 0; i < 3; i++)
		assert_ok(zs_nursery_spawn(nursery, wait_for_release, NULL));
	for (uint32_t i = 0; i < 1000; i++) {
		assert_ok(zs_nursery_spawn(nursery, count_end, NULL));
		zs_yield();
		zs_yield();
		ck_assert_uint_eq(counted(&ended), i + 1);
	}
	count(&released);
	return zs_nursery_wait(nursery);
}

START_TEST(yielding_tasks_leave_room_for_unstarted_ones)
{
	assert_ok(run_task(spawn_beside_yielding, NULL));
}
END_TEST

static int spawn_the_next(void *arg)
{
	count(&ended);
	return counted(&released) ?
		       0 :
		       zs_nursery_spawn(nursery, spawn_the_next, arg);
}

static int yield_beside_spawning(void *arg)
{
	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn(nursery, spawn_the_next, NULL));
	for (int i = 0; i < 100; i++)
		assert_ok(zs_yield());
	count(&released);
	return zs_nursery_wait(nursery);
}

/* There is always one that has not started; yet a task that yields goes on, at
 * the latest in the next turn of the loop. */
START_TEST(endless_spawning_leaves_room_for_yielding_tasks)
{
	assert_ok(run_task(yield_beside_spawning, NULL));
	ck_assert_uint_le(counted(&ended), 101 * 2 * 256);
}
END_TEST

static int sleep_shortly(void *arg)
{
	assert_ok(zs_sleep(ZS_MILLISECOND));
	return count_end(arg);
}

static int yield_beside_timer_and_message(void *arg)
{
	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn(nursery, sleep_shortly, NULL));
	spawn_from_thread(nursery, 1, count_end, NULL);
	await_count(&ended, 2);
	return zs_nursery_wait(nursery);
}

START_TEST(endless_yielding_lets_timers_and_messages_through)
{
	assert_ok(run_task(yield_beside_timer_and_message, NULL));
}
END_TEST

/* --- what belongs to each --- */

static int name_oneself(void *arg)
{
	char name[] = "a name of more than 23 bytes";
	struct zs_task *self = zs_self();

	(void)arg;
	ck_assert_str_eq(zs_task_name(self), "");
	assert_ok(zs_task_set_name(name));
	memset(name, 'x', sizeof(name));
	ck_assert_str_eq(zs_task_name(self), "a name of more than 23 ");
	ck_assert_uint_eq(strlen(zs_task_name(self)), ZS_TASK_NAME_MAX);
	ck_assert_int_eq(zs_task_set_name(NULL), -EINVAL);
	ck_assert_str_eq(zs_task_name(self), "a name of more than 23 ");
	assert_ok(zs_task_set_name("short"));
	assert_ok(zs_yield());
	ck_assert_str_eq(zs_task_name(self), "short");
	assert_ok(zs_task_set_name(""));
	ck_assert_str_eq(zs_task_name(self), "");
	return zs_task_set_name("left behind");
}

/* One after the other, so that the second has the memory of the first. */
static int name_two(void *arg)
{
	for (int i = 0; i < 2; i++) {
		assert_ok(zs_nursery_open(&nursery, NULL));
		assert_ok(zs_nursery_spawn(nursery, name_oneself, arg));
		assert_ok(zs_nursery_wait(nursery));
	}
	return 0;
}

START_TEST(names_are_copied_cut_and_not_inherited)
{
	ck_assert_str_eq(zs_task_name(NULL), "");
	assert_ok(run_task(name_two, NULL));
}
END_TEST

static struct zs_task *selves[2];

static int note_self(void *arg)
{
	struct zs_task **self = arg;

	*self = zs_self();
	assert_ok(zs_yield());
	ck_assert_ptr_eq(zs_self(), *self);
	ck_assert_ptr_ne(selves[0], selves[1]);
	ck_assert_uint_ne(zs_task_id(selves[0]), zs_task_id(selves[1]));
	return 0;
}

static void *have_no_self(void *arg)
{
	ck_assert_ptr_null(zs_self());
	return arg;
}

static int note_selves(void *arg)
{
	struct zs_task *self = zs_self();

	(void)arg;
	ck_assert_ptr_nonnull(self);
	run_in_thread(have_no_self, NULL);
	assert_ok(zs_nursery_open(&nursery, NULL));
	for (int i = 0; i < 2; i++)
		assert_ok(zs_nursery_spawn(nursery, note_self, &selves[i]));
	assert_ok(zs_nursery_wait(nursery));
	ck_assert_ptr_eq(zs_self(), self);
	return 0;
}

START_TEST(self_is_the_running_task_and_null_outside)
{
	ck_assert_ptr_null(zs_self());
	ck_assert_uint_eq(zs_task_id(NULL), 0);
	assert_ok(run_task(note_selves, NULL));
	ck_assert_ptr_null(zs_self());
}
END_TEST

START_TEST(calls_of_tasks_are_eperm_outside)
{
	ck_assert_int_eq(zs_yield(), -EPERM);
	ck_assert_int_eq(zs_task_set_name("x"), -EPERM);
	ck_assert_int_eq(zs_task_set_name(NULL), -EPERM);
	ck_assert_int_eq(zs_sleep(0), -EPERM);
	ck_assert_int_eq(zs_sleep(1), -EPERM);
	ck_assert_int_eq(zs_sleep(ZS_NEVER), -EPERM);
	ck_assert_int_eq(zs_sleep_until(0), -EPERM);
}
END_TEST

enum { IDS_PER_WORKER = 250, NR_IDS = 3 * 4 * IDS_PER_WORKER };
static uint64_t ids[NR_IDS];
static struct counter nr_ids;

static int note_id(void *arg)
{
	(void)arg;
	ids[count(&nr_ids) - 1] = zs_task_id(zs_self());
	return 0;
}

static int spawn_to_note_ids(void *arg)
{
	for (int i = 0; i < IDS_PER_WORKER; i++)
		assert_ok(zs_nursery_spawn(nursery, note_id, arg));
	return 0;
}

static int collect_ids(void *arg)
{
	assert_ok(zs_nursery_open(&nursery, NULL));
	spawn_on_each(nursery, 4, spawn_to_note_ids, NULL);
	for (int i = 0; i < 4; i++)
		spawn_to_note_ids(arg);
	spawn_from_thread(nursery, 4 * IDS_PER_WORKER, note_id, NULL);
	return zs_nursery_wait(nursery);
}

static int compare_ids(const void *one, const void *other)
{
	const uint64_t *a = one, *b = other;

	return *a < *b ? -1 : *a > *b;
}

/* By tasks of each worker and by a foreign thread, all of one runtime. */
START_TEST(ids_are_unique_over_workers)
{
	assert_ok(run_task_on(4, collect_ids, NULL));
	ck_assert_uint_eq(counted(&nr_ids), NR_IDS);
	qsort(ids, NR_IDS, sizeof(ids[0]), compare_ids);
	ck_assert_uint_ne(ids[0], 0);
	for (int i = 1; i < NR_IDS; i++)
		if (ids[i] == ids[i - 1])
			ck_abort_msg("%llu twice", (unsigned long long)ids[i]);
}
END_TEST

static int spoil_errno(void *arg)
{
	(void)arg;
	errno = EXDEV;
	return 0;
}

static void park_somehow(int how)
{
	struct zs_nursery inner;

	if (how == 0)
		zs_yield();
	else if (how == 1)
		zs_sleep(1);
	else if (how == 2)
		zs_sleep(50 * ZS_MICROSECOND);
	else {
		zs_nursery_open(&inner, NULL);
		zs_nursery_spawn(inner, spoil_errno, NULL);
		zs_nursery_wait(inner);
	}
}

static int keep_errno(void *arg)
{
	int mine = *(int *)arg;

	for (int i = 0; i < 40; i++) {
		int now;

		errno = mine;
		park_somehow(i % 4);
		now = errno;
		ck_assert_int_eq(now, mine);
	}
	return 0;
}

static int keep_two_errnos(void *arg)
{
	static int numbers[] = { ERANGE, EDOM };

	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	for (int i = 0; i < 2; i++)
		assert_ok(zs_nursery_spawn(nursery, keep_errno, &numbers[i]));
	return zs_nursery_wait(nursery);
}

START_TEST(errno_is_kept_across_yields_and_parks)
{
	assert_ok(run_task(keep_two_errnos, NULL));
}
END_TEST

static Suite *task_suite(void)
{
	Suite *suite = suite_create("task");
	TCase *tests = tcase_create("task");

	tcase_add_test(tests, tasks_start_in_the_order_of_spawning);
	tcase_add_test(tests, yielding_tasks_take_turns);
	tcase_add_test(tests, yielding_tasks_leave_room_for_unstarted_ones);
	tcase_add_test(tests, endless_spawning_leaves_room_for_yielding_tasks);
	tcase_add_test(tests,
		       endless_yielding_lets_timers_and_messages_through);
	tcase_add_test(tests, names_are_copied_cut_and_not_inherited);
	tcase_add_test(tests, self_is_the_running_task_and_null_outside);
	tcase_add_test(tests, calls_of_tasks_are_eperm_outside);
	tcase_add_test(tests, ids_are_unique_over_workers);
	tcase_add_test(tests, errno_is_kept_across_yields_and_parks);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(task_suite());
}
