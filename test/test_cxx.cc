/* SPDX-License-Identifier: MIT */
/*
 * Programs in C++: exceptions that are thrown, caught and rethrown on tasks'
 * stacks, by tasks that park in the middle of it; and one that nobody catches.
 */
#include <check.h>
#include <pthread.h>
#include <stdio.h>

#include <exception>
#include <stdexcept>
#include <string>

#include <zsync.h>

#include "child.h"

namespace
{

/* One worker: a task runs until it parks. */
zs_config config_of_one()
{
	zs_config config = zs_config_default();

	config.num_workers = 1;
	config.green_thread_stack_size = static_cast<size_t>(256) << 10;
	return config;
}

int run(zs_task_fn *fn, void *arg)
{
	const zs_config config = config_of_one();

	return zs_run(&config, fn, arg);
}

int run_many(zs_task_fn *fn, int number)
{
	struct crowd {
		zs_task_fn *fn;
		int number;
	} crowd = { fn, number };

	return run(
		[](void *arg) {
			auto *the = static_cast<struct crowd *>(arg);
			zs_nursery nursery;

			ck_assert_int_eq(zs_nursery_open(&nursery, nullptr), 0);
			for (int i = 0; i < the->number; i++)
				ck_assert_int_eq(
					zs_nursery_spawn_copy(nursery, the->fn,
							      &i, sizeof(i)),
					0);
			return zs_nursery_wait(nursery);
		},
		&crowd);
}

struct numbered : std::runtime_error {
	int number;
	explicit numbered(int n)
	    : std::runtime_error("number " + std::to_string(n)), number(n)
	{
	}
};

int number_of_current()
{
	try {
		throw;
	} catch (const numbered &caught) {
		return caught.number;
	}
}

bool nothing_is_held()
{
	return !std::current_exception() && std::uncaught_exceptions() == 0;
}

/* --- between parks --- */

int depth_of_unwinding;

struct counted {
	~counted()
	{
		depth_of_unwinding++;
	}
};

/* Not to be made a loop of. */
__attribute__((noinline)) int dive(int depth, int number)
{
	const counted frame;

	if (depth == 0) {
		zs_yield();
		throw numbered(number);
	}
	return dive(depth - 1, number) + 1;
}

int throw_between_parks(void *arg)
{
	const int number = *static_cast<int *>(arg);

	for (int i = 0; i < 20; i++) {
		int caught = -1;

		try {
			dive(10, number + i);
		} catch (const numbered &exception) {
			caught = exception.number;
		}
		ck_assert_int_eq(caught, number + i);
		ck_assert(nothing_is_held());
		ck_assert_int_eq(zs_yield(), 0);
	}
	return 0;
}

START_TEST(exception_is_caught_by_the_task_that_threw_it)
{
	ck_assert_int_eq(run_many(throw_between_parks, 50), 0);
	ck_assert_int_eq(depth_of_unwinding, 50 * 20 * 11);
}
END_TEST

/* --- across parks --- */

/* Each in its own catch blocks, two deep, when all the others are. */
int park_in_catch_blocks(void *arg)
{
	const int number = *static_cast<int *>(arg);

	ck_assert(nothing_is_held());
	try {
		throw numbered(number);
	} catch (const numbered &outer) {
		ck_assert_int_eq(zs_yield(), 0);
		ck_assert_int_eq(number_of_current(), number);
		try {
			throw numbered(-number);
		} catch (const numbered &inner) {
			ck_assert_int_eq(zs_sleep(1000), 0);
			ck_assert_int_eq(number_of_current(), -number);
			ck_assert_int_eq(inner.number, -number);
		}
		ck_assert_int_eq(zs_yield(), 0);
		ck_assert_int_eq(number_of_current(), number);
		ck_assert_int_eq(outer.number, number);
	}
	ck_assert(nothing_is_held());
	return 0;
}

START_TEST(parked_catch_blocks_keep_apart)
{
	ck_assert_int_eq(run_many(park_in_catch_blocks, 50), 0);
}
END_TEST

int rethrow_after_park(void *arg)
{
	const int number = *static_cast<int *>(arg);
	int caught = -1;

	try {
		try {
			throw numbered(number);
		} catch (...) {
			ck_assert_int_eq(zs_yield(), 0);
			throw;
		}
	} catch (const numbered &again) {
		caught = again.number;
	}
	ck_assert_int_eq(caught, number);
	return 0;
}

START_TEST(rethrown_after_a_park_is_the_same)
{
	ck_assert_int_eq(run_many(rethrow_after_park, 50), 0);
}
END_TEST

struct parks_when_destroyed {
	~parks_when_destroyed()
	{
		ck_assert_int_eq(std::uncaught_exceptions(), 1);
		ck_assert_int_eq(zs_yield(), 0);
		ck_assert_int_eq(std::uncaught_exceptions(), 1);
	}
};

int park_in_destructor(void *arg)
{
	const int number = *static_cast<int *>(arg);
	int caught = -1;

	ck_assert(nothing_is_held());
	try {
		const parks_when_destroyed guard;

		throw numbered(number);
	} catch (const numbered &exception) {
		caught = exception.number;
	}
	ck_assert_int_eq(caught, number);
	ck_assert(nothing_is_held());
	return 0;
}

START_TEST(destructor_may_park_while_an_exception_is_on_its_way)
{
	ck_assert_int_eq(run_many(park_in_destructor, 50), 0);
}
END_TEST

/* A child of which nobody else has taken hold is called by the join. */
int join_in_catch_block(void *arg)
{
	try {
		throw numbered(7);
	} catch (const numbered &) {
		zs_nursery nursery;

		for (int i = 0; i < 3; i++) {
			ck_assert_int_eq(zs_nursery_open(&nursery, nullptr), 0);
			ck_assert_int_eq(zs_nursery_spawn_copy(
						 nursery, park_in_catch_blocks,
						 &i, sizeof(i)),
					 0);
			ck_assert_int_eq(zs_nursery_wait(nursery), 0);
			ck_assert_int_eq(number_of_current(), 7);
		}
	}
	ck_assert(nothing_is_held());
	return *static_cast<int *>(arg);
}

START_TEST(joined_child_does_not_see_its_parents_exception)
{
	int result = 3;

	ck_assert_int_eq(run(join_in_catch_block, &result), 3);
}
END_TEST

START_TEST(runtime_may_run_inside_a_catch_block)
{
	int result = 4;

	try {
		throw numbered(9);
	} catch (const numbered &) {
		ck_assert_int_eq(run(join_in_catch_block, &result), 4);
		ck_assert_int_eq(number_of_current(), 9);
	}
	ck_assert(nothing_is_held());
}
END_TEST

/* Tasks that hold some and tasks that do not, on two workers. */
START_TEST(catch_blocks_keep_apart_on_two_workers)
{
	zs_config config = config_of_one();

	config.num_workers = 2;
	ck_assert_int_eq(
		zs_run(
			&config,
			[](void *) {
				zs_nursery nursery;

				zs_nursery_open(&nursery, nullptr);
				for (int i = 0; i < 400; i++)
					zs_nursery_spawn_copy(
						nursery,
						i % 2 ? park_in_catch_blocks :
							throw_between_parks,
						&i, sizeof(i));
				return zs_nursery_wait(nursery);
			},
			nullptr),
		0);
}
END_TEST

/* --- the end --- */

int throw_for_good(void *)
{
	zs_task_set_name("thrower");
	zs_yield();
	throw numbered(13);
}

int spawn_thrower(void *arg)
{
	zs_spawn_options options = {};
	zs_nursery nursery;

	options.size = sizeof(options);
	options.stack_size = *static_cast<size_t *>(arg);
	zs_nursery_open(&nursery, nullptr);
	zs_nursery_spawn_with(nursery, &options, throw_for_good, nullptr);
	return zs_nursery_wait(nursery);
}

/* Not called, since by the time of the join it has started. */
int yield_to_thrower(void *)
{
	zs_nursery nursery;

	zs_nursery_open(&nursery, nullptr);
	zs_nursery_spawn(nursery, throw_for_good, nullptr);
	zs_yield();
	return zs_nursery_wait(nursery);
}

void run_thrower_first()
{
	run(throw_for_good, nullptr);
}

void run_called_thrower()
{
	size_t usual = 0;

	run(spawn_thrower, &usual);
}

void run_sized_thrower()
{
	size_t large = static_cast<size_t>(1) << 20;

	run(spawn_thrower, &large);
}

void run_resumed_thrower()
{
	run(yield_to_thrower, nullptr);
}

void (*const throwers[])() = { run_thrower_first, run_called_thrower,
			       run_sized_thrower, run_resumed_thrower };
const int nr_throwers = sizeof(throwers) / sizeof(throwers[0]);

START_TEST(exception_that_leaves_a_task_is_reported_and_terminates)
{
	const child *child = run_child(throwers[_i]);

	ck_assert_msg(died_of(child, SIGABRT), "%s", child->text);
	ck_assert_msg(says(child, " \"thrower\": an exception leaves its"),
		      "%s", child->text);
	/* What C++ says of it. */
	ck_assert_msg(says(child, "number 13"), "%s", child->text);
}
END_TEST

/* Its own end, by the handler of the program. */
START_TEST(terminate_handler_of_the_program_is_called)
{
	const child *child = run_child([] {
		std::set_terminate([] {
			fputs("terminated\n", stderr);
			_exit(77);
		});
		run_thrower_first();
	});

	ck_assert(exited_with(child, 77));
	ck_assert(says(child, "terminated"));
}
END_TEST

int leave_the_thread(void *)
{
	zs_task_set_name("leaver");
	pthread_exit(nullptr);
}

START_TEST(pthread_exit_in_a_task_is_reported)
{
#ifdef __GLIBC__
	const child *child = run_child([] { run(leave_the_thread, nullptr); });

	ck_assert_msg(died_of(child, SIGABRT), "%s", child->text);
	ck_assert_msg(says(child, "\"leaver\" would end its worker's thread"),
		      "%s", child->text);
#else
	(void)leave_the_thread;
	puts("SKIP: this libc ends threads without unwinding");
#endif
}
END_TEST

Suite *cxx_suite()
{
	Suite *suite = suite_create("cxx");
	TCase *tests = tcase_create("cxx");

	tcase_add_test(tests, exception_is_caught_by_the_task_that_threw_it);
	tcase_add_test(tests, parked_catch_blocks_keep_apart);
	tcase_add_test(tests, rethrown_after_a_park_is_the_same);
	tcase_add_test(tests,
		       destructor_may_park_while_an_exception_is_on_its_way);
	tcase_add_test(tests, joined_child_does_not_see_its_parents_exception);
	tcase_add_test(tests, runtime_may_run_inside_a_catch_block);
	tcase_add_test(tests, catch_blocks_keep_apart_on_two_workers);
	tcase_add_loop_test(
		tests, exception_that_leaves_a_task_is_reported_and_terminates,
		0, nr_throwers);
	tcase_add_test(tests, terminate_handler_of_the_program_is_called);
	tcase_add_test(tests, pthread_exit_in_a_task_is_reported);
	suite_add_tcase(suite, tests);
	return suite;
}

} /* namespace */

int main()
{
	const int ret = run([](void *) { return 0; }, nullptr);
	SRunner *runner;
	int nr_failed;

	if (ret == -ENOSYS || ret == -EPERM) {
		printf("SKIP: no io_uring here: %s\n", zs_explain(ret));
		return 0;
	}
	runner = srunner_create(cxx_suite());
	srunner_run_all(runner, CK_NORMAL);
	nr_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return nr_failed != 0;
}
