/* SPDX-License-Identifier: MIT */
/*
 * Runtimes inside an event loop of the program's own, which is played by the
 * test: it waits for the runtime's descriptor and for nothing else, and for as
 * long as it takes. A wake that is lost is therefore a test that does not end.
 */
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "workers.h"

static struct zs_runtime *runtime;
static struct counter ended;
static struct counter began;
static struct zs_cancel_token token;
static int pair[2];
static int steps;
static int last_step;

/* What kernels without the one or the other do of the ring's own. */
static const char *const masks[] = {
	"",
	"defer_taskrun",
	"defer_taskrun,taskrun_flag,coop_taskrun",
};
#define NR_MASKS ((int)(sizeof(masks) / sizeof(masks[0])))

static struct zs_runtime *embed(void)
{
	struct zs_config config = test_config();
	struct zs_runtime *embedded;

	assert_ok(zs_runtime_create(&embedded, &config));
	assert_ok(zs_runtime_start_embedded(embedded));
	return embedded;
}

static void embed_masked(int mask)
{
	setenv("ZSYNC_DISABLE", masks[mask], 1);
	runtime = embed();
}

static void await_readable(void)
{
	struct pollfd wait = { .fd = zs_runtime_fd(runtime), .events = POLLIN };

	while (poll(&wait, 1, -1) < 0)
		ck_assert_int_eq(errno, EINTR);
}

/* One round of the foreign loop. It waits before it steps: whatever has
 * happened since the last step is to wake it. */
static void go_round(void)
{
	if (last_step == ZS_STEP_IDLE)
		await_readable();
	last_step = zs_runtime_step(runtime);
	ck_assert_int_ge(last_step, 0);
	steps++;
}

static void go_on_until(struct counter *counter, uint32_t number)
{
	while (counted(counter) < number) {
		go_round();
		ck_assert_int_ne(last_step, ZS_STEP_ENDED);
	}
}

static void go_on_to_the_end(void)
{
	while (last_step != ZS_STEP_ENDED)
		go_round();
}

/* Until a step has found nothing left to do. */
static void go_on_until_idle(void)
{
	do {
		last_step = zs_runtime_step(runtime);
		ck_assert_int_ge(last_step, 0);
	} while (last_step == ZS_STEP_READY);
}

static void end_runtime(void)
{
	assert_ok(zs_runtime_stop(runtime, ZS_NEVER));
	ck_assert_int_eq(zs_runtime_step(runtime), ZS_STEP_ENDED);
	assert_ok(zs_runtime_destroy(runtime));
}

static int count_end(void *arg)
{
	(void)arg;
	count(&ended);
	return 0;
}

/* --- what a loop is woken for --- */

static int spawn_some(void *arg)
{
	struct zs_nursery nursery;

	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	for (int i = 0; i < 1000; i++)
		assert_ok(zs_nursery_spawn(nursery, count_end, NULL));
	return zs_nursery_wait(nursery);
}

START_TEST(steps_run_what_was_spawned_between_them)
{
	embed_masked(0);
	for (unsigned int i = 1; i <= 10; i++) {
		go_on_until_idle();
		assert_ok(zs_runtime_spawn(runtime, spawn_some, NULL));
		go_on_until(&ended, i * 1000);
	}
	end_runtime();
}
END_TEST

static int sleep_exactly(void *arg)
{
	(void)arg;
	for (int64_t us = 200; us <= 20000; us *= 10) {
		int64_t end_ns = zs_now() + us * 1000;

		assert_ok(zs_sleep_until(end_ns));
		ck_assert_int_ge(zs_now(), end_ns);
	}
	count(&ended);
	return 0;
}

/* A loop that never waits, or that is woken by nothing, would make more. */
START_TEST(timers_wake_the_loop_and_are_never_early)
{
	embed_masked(_i);
	assert_ok(zs_runtime_spawn(runtime, sleep_exactly, NULL));
	go_on_until(&ended, 1);
	ck_assert_int_lt(steps, 50);
	end_runtime();
}
END_TEST

static int sleep_long_after_short(void *arg)
{
	struct zs_nursery nursery;

	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn(nursery, sleep_exactly, NULL));
	count(&began);
	ck_assert_int_eq(zs_sleep(ZS_NEVER), -ECANCELED);
	ck_assert_int_eq(zs_nursery_wait(nursery), -ECANCELED);
	return 0;
}

/* Once the timer has gone off nothing must be readable any more. */
START_TEST(idle_runtime_is_not_readable)
{
	struct pollfd wait;

	embed_masked(_i);
	assert_ok(zs_runtime_spawn(runtime, sleep_long_after_short, NULL));
	go_on_until(&ended, 1);
	go_on_until_idle();
	/* What a stale flag or wake is good for: a step or two. */
	for (int i = 0; i < 10; i++) {
		go_on_until_idle();
		wait = (struct pollfd){ zs_runtime_fd(runtime), POLLIN, 0 };
		if (poll(&wait, 1, 0) == 0)
			break;
	}
	ck_assert_int_eq(wait.revents, 0);
	end_runtime();
}
END_TEST

static int receive(void *arg)
{
	char bytes[16];

	(void)arg;
	for (unsigned int i = 1; i <= 20; i++) {
		count(&began);
		ck_assert_int_eq(zs_recv(pair[0], bytes, 16, 0), 3);
		ck_assert_int_eq(zs_send(pair[0], bytes, 3, 0), 3);
	}
	count(&ended);
	return 0;
}

/* Each byte comes while the loop has nothing else to do. */
START_TEST(operations_wake_the_loop)
{
	char bytes[4];

	embed_masked(_i);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_ok(zs_runtime_spawn(runtime, receive, NULL));
	for (unsigned int i = 1; i <= 20; i++) {
		go_on_until(&began, i);
		go_on_until_idle();
		ck_assert_int_eq(write(pair[1], "abc", 3), 3);
	}
	go_on_until(&ended, 1);
	ck_assert_int_eq(read(pair[1], bytes, 4), 4);
	end_runtime();
}
END_TEST

static void *spawn_from_elsewhere(void *arg)
{
	for (int i = 0; i < 200; i++)
		assert_ok(zs_runtime_spawn(runtime, count_end, NULL));
	return arg;
}

START_TEST(spawns_of_other_threads_wake_the_loop)
{
	pthread_t threads[2];

	embed_masked(_i);
	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, spawn_from_elsewhere, NULL);
	go_on_until(&ended, 400);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	end_runtime();
}
END_TEST

static int wait_for_cancel(void *arg)
{
	(void)arg;
	assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
	count(&began);
	ck_assert_int_eq(zs_sleep(ZS_NEVER), -ECANCELED);
	ck_assert_int_eq(zs_cancel_token_close(token), -ECANCELED);
	count(&ended);
	return 0;
}

static void *cancel_it(void *arg)
{
	await_count(&began, 1);
	assert_ok(zs_cancel_token_cancel(token));
	return arg;
}

START_TEST(cancel_of_another_thread_wakes_the_loop)
{
	pthread_t thread;

	embed_masked(_i);
	assert_ok(zs_runtime_spawn(runtime, wait_for_cancel, NULL));
	pthread_create(&thread, NULL, cancel_it, NULL);
	go_on_until(&ended, 1);
	pthread_join(thread, NULL);
	end_runtime();
}
END_TEST

static int yield_for_ever(void *arg)
{
	(void)arg;
	while (zs_yield() == 0)
		count(&began);
	return 0;
}

START_TEST(step_returns_while_tasks_go_on_for_ever)
{
	embed_masked(0);
	assert_ok(zs_runtime_spawn(runtime, yield_for_ever, NULL));
	for (int i = 0; i < 20; i++)
		ck_assert_int_eq(zs_runtime_step(runtime), ZS_STEP_READY);
	ck_assert_uint_ge(counted(&began), 20);
	end_runtime();
}
END_TEST

/* --- the end --- */

static void *stop_it(void *arg)
{
	assert_ok(zs_runtime_stop(runtime, ZS_NEVER));
	return arg;
}

START_TEST(stop_of_another_thread_ends_the_steps)
{
	pthread_t thread;

	embed_masked(_i);
	assert_ok(zs_runtime_spawn(runtime, wait_for_cancel, NULL));
	go_on_until(&began, 1);
	pthread_create(&thread, NULL, stop_it, NULL);
	go_on_to_the_end();
	pthread_join(thread, NULL);
	ck_assert_uint_eq(counted(&ended), 1);
	ck_assert_int_eq(zs_runtime_spawn(runtime, count_end, NULL), -ESTALE);
	assert_ok(zs_runtime_destroy(runtime));
}
END_TEST

START_TEST(stop_with_no_time_only_asks)
{
	embed_masked(0);
	assert_ok(zs_runtime_spawn(runtime, wait_for_cancel, NULL));
	go_on_until(&began, 1);
	ck_assert_int_eq(zs_runtime_stop(runtime, 0), -ETIMEDOUT);
	ck_assert_int_eq(zs_runtime_destroy(runtime), -EBUSY);
	go_on_to_the_end();
	ck_assert_uint_eq(counted(&ended), 1);
	assert_ok(zs_runtime_stop(runtime, 0));
	assert_ok(zs_runtime_destroy(runtime));
}
END_TEST

static int outlive_a_cancel(void *arg)
{
	(void)arg;
	count(&began);
	while (counted(&ended) == 0)
		zs_yield();
	return 0;
}

START_TEST(stop_returns_at_its_deadline)
{
	embed_masked(0);
	assert_ok(zs_runtime_spawn(runtime, outlive_a_cancel, NULL));
	go_on_until(&began, 1);
	ck_assert_int_eq(zs_runtime_stop(runtime, zs_now() + ZS_MILLISECOND),
			 -ETIMEDOUT);
	count(&ended);
	end_runtime();
}
END_TEST

/* --- neighbours --- */

static int do_nothing(void *arg)
{
	(void)arg;
	return 0;
}

/* Two in one loop, and a third that runs to its end between their steps. */
START_TEST(one_thread_may_embed_several)
{
	struct zs_runtime *other;
	struct zs_config config = test_config();

	embed_masked(0);
	other = embed();
	for (unsigned int i = 1; i <= 10; i++) {
		assert_ok(zs_runtime_spawn(runtime, count_end, NULL));
		assert_ok(zs_runtime_spawn(other, count_end, NULL));
		while (counted(&ended) < i * 2) {
			ck_assert_int_ge(zs_runtime_step(runtime), 0);
			ck_assert_int_ge(zs_runtime_step(other), 0);
		}
		assert_ok(zs_run(&config, do_nothing, NULL));
	}
	assert_ok(zs_runtime_stop(other, ZS_NEVER));
	assert_ok(zs_runtime_destroy(other));
	end_runtime();
}
END_TEST

/* --- misuse --- */

static int step_inside(void *arg)
{
	(void)arg;
	ck_assert_int_eq(zs_runtime_step(runtime), -EPERM);
	ck_assert_int_eq(zs_runtime_start_embedded(runtime), -EPERM);
	ck_assert_int_eq(zs_runtime_stop(runtime, ZS_NEVER), -EDEADLK);
	count(&ended);
	return 0;
}

static void *step_elsewhere(void *arg)
{
	ck_assert_int_eq(zs_runtime_step(runtime), -EPERM);
	ck_assert_ptr_nonnull(strstr(zs_explain(-EPERM), "only the thread"));
	ck_assert_int_ge(zs_runtime_fd(runtime), 0);
	return arg;
}

START_TEST(misuse_is_refused)
{
	pthread_t thread;
	char byte;

	embed_masked(0);
	ck_assert_int_eq(zs_runtime_start_embedded(NULL), -EINVAL);
	ck_assert_int_eq(zs_runtime_fd(NULL), -EINVAL);
	ck_assert_int_eq(zs_runtime_step(NULL), -EINVAL);
	ck_assert_int_eq(zs_runtime_start_embedded(runtime), -EALREADY);
	ck_assert_int_eq(zs_runtime_start(runtime), -EALREADY);
	ck_assert_int_eq(zs_runtime_destroy(runtime), -EBUSY);
	ck_assert_int_eq(zs_yield(), -EPERM);
	ck_assert_int_eq(zs_read(0, &byte, 1), -EPERM);
	ck_assert_ptr_null(zs_self());
	pthread_create(&thread, NULL, step_elsewhere, NULL);
	pthread_join(thread, NULL);
	assert_ok(zs_runtime_spawn(runtime, step_inside, NULL));
	go_on_until(&ended, 1);
	end_runtime();
}
END_TEST

START_TEST(what_is_not_embedded_has_no_steps)
{
	struct zs_config config = test_config();

	assert_ok(zs_runtime_create(&runtime, &config));
	ck_assert_int_eq(zs_runtime_fd(runtime), -ESTALE);
	ck_assert_int_eq(zs_runtime_step(runtime), -ESTALE);
	assert_ok(zs_runtime_start(runtime));
	ck_assert_int_eq(zs_runtime_fd(runtime), -ESTALE);
	ck_assert_int_eq(zs_runtime_step(runtime), -ESTALE);
	ck_assert_int_eq(zs_runtime_start_embedded(runtime), -EALREADY);
	stop_and_destroy(runtime);
	config.num_workers = 2;
	assert_ok(zs_runtime_create(&runtime, &config));
	ck_assert_int_eq(zs_runtime_start_embedded(runtime), -EINVAL);
	ck_assert_ptr_nonnull(strstr(zs_explain(-EINVAL), "num_workers"));
	assert_ok(zs_runtime_destroy(runtime));
}
END_TEST

START_TEST(child_of_the_loops_thread_has_no_steps)
{
	pid_t child;
	int status;

	embed_masked(0);
	assert_ok(zs_runtime_spawn(runtime, wait_for_cancel, NULL));
	go_on_until(&began, 1);
	child = fork();
	if (child == 0)
		_exit(zs_runtime_step(runtime) != -EPERM ||
		      zs_runtime_fd(runtime) != -EPERM ||
		      zs_runtime_start_embedded(runtime) != -EPERM);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	end_runtime();
}
END_TEST

static Suite *embed_suite(void)
{
	Suite *suite = suite_create("embed");
	TCase *wakes = tcase_create("wakes");
	TCase *ends = tcase_create("ends");
	TCase *misuse = tcase_create("misuse");

	tcase_add_test(wakes, steps_run_what_was_spawned_between_them);
	tcase_add_loop_test(wakes, timers_wake_the_loop_and_are_never_early, 0,
			    NR_MASKS);
	tcase_add_loop_test(wakes, idle_runtime_is_not_readable, 0, NR_MASKS);
	tcase_add_loop_test(wakes, operations_wake_the_loop, 0, NR_MASKS);
	tcase_add_loop_test(wakes, spawns_of_other_threads_wake_the_loop, 0,
			    NR_MASKS);
	tcase_add_loop_test(wakes, cancel_of_another_thread_wakes_the_loop, 0,
			    NR_MASKS);
	tcase_add_test(wakes, step_returns_while_tasks_go_on_for_ever);
	tcase_add_loop_test(ends, stop_of_another_thread_ends_the_steps, 0,
			    NR_MASKS);
	tcase_add_test(ends, stop_with_no_time_only_asks);
	tcase_add_test(ends, stop_returns_at_its_deadline);
	tcase_add_test(ends, one_thread_may_embed_several);
	tcase_add_test(misuse, misuse_is_refused);
	tcase_add_test(misuse, what_is_not_embedded_has_no_steps);
	tcase_add_test(misuse, child_of_the_loops_thread_has_no_steps);
	suite_add_tcase(suite, wakes);
	suite_add_tcase(suite, ends);
	suite_add_tcase(suite, misuse);
	return suite;
}

/* Some models have nothing to wait for, and say so. */
static bool is_to_be_had(void)
{
	struct zs_config config = test_config();
	struct zs_runtime *tried = NULL;
	int ret = zs_runtime_create(&tried, &config);

	if (ret == 0)
		ret = zs_runtime_start_embedded(tried);
	if (ret == -EOPNOTSUPP)
		printf("SKIP: %s\n", zs_explain(ret));
	if (ret == 0)
		zs_runtime_stop(tried, ZS_NEVER);
	zs_runtime_destroy(tried);
	return ret != -EOPNOTSUPP;
}

int main(void)
{
	return is_to_be_had() ? run_suite(embed_suite()) : 0;
}
