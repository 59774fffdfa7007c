/* SPDX-License-Identifier: MIT */
/*
 * Calls that make no sense: a negative errno, and never a crash. Each public
 * function that returns a number is called outside a task with nothing but
 * zeros, those that will be written included; then handles that are void,
 * nurseries that are another task's, runtimes that have ended.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "child.h"
#include "workers.h"

/* --- every call --- */

/* Where arguments go is the same for every function of up to six words. */
typedef long call_fn(long, long, long, long, long, long);

struct public_call {
	const char *name;
	call_fn *fn;
	bool is_int; /* or ssize_t */
};

#define IS_int true
#define IS_ssize_t false
#define CALL(type, name) { #name, (call_fn *)(void (*)(void))name, IS_##type },
static const struct public_call calls[] = {
#include "public_calls.h"
};
#undef CALL
#define NR_CALLS ((int)(sizeof(calls) / sizeof(calls[0])))

/* What is to be had of nothing. */
static const char *const harmless[] = {
	"zs_broadcast_destroy", "zs_chan_destroy",
	"zs_config_print",	"zs_dump",
	"zs_runtime_destroy",	"zs_select",
	"zs_watch_destroy",
};

static bool is_harmless(const char *name)
{
	size_t i;

	for (i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++)
		if (!strcmp(harmless[i], name))
			return true;
	return false;
}

#if defined(__aarch64__)
#define IS_AARCH64 true
#else
#define IS_AARCH64 false
#endif

/* Where more than two words are handed over by their address, zeros are not a
 * handle but none. */
static const char *const by_address[] = {
	"zs_task_has_ended",
	"zs_task_join",
	"zs_task_wait",
};

static bool is_left_out(const char *name)
{
	size_t i;

	for (i = 0; i < sizeof(by_address) / sizeof(by_address[0]); i++)
		if (IS_AARCH64 && !strcmp(by_address[i], name))
			return true;
	return false;
}

static const struct public_call *under_test;

#if defined(__clang__)
__attribute__((no_sanitize("undefined")))
#endif
static void
call_with_zeros(void)
{
	long result;

	dup2(open("/dev/null", O_RDWR | O_CLOEXEC), STDIN_FILENO);
	result = under_test->fn(0, 0, 0, 0, 0, 0);
	if (under_test->is_int)
		result = (int)result;
	if (is_harmless(under_test->name))
		_exit(0);
	_exit(result != -EPERM && result != -EINVAL && result != -ESTALE);
}

START_TEST(call_with_zeros_outside_a_task_is_an_error)
{
	const struct child *child;

	ck_assert_int_gt(NR_CALLS, 40);
	for (int i = 0; i < NR_CALLS; i++) {
		under_test = &calls[i];
		if (is_left_out(under_test->name))
			continue;
		child = run_child(call_with_zeros);
		ck_assert_msg(exited_with(child, 0), "%s: status %#x: %s",
			      calls[i].name, (unsigned int)child->status,
			      child->text);
	}
}
END_TEST

/* --- handles --- */

static struct zs_runtime *runtime;
static struct zs_nursery nursery;
static struct zs_cancel_token token;
static struct counter ended;

static int count_end(void *arg)
{
	(void)arg;
	count(&ended);
	return 0;
}

static int use_anothers(void *arg)
{
	(void)arg;
	ck_assert_int_eq(zs_nursery_wait(nursery), -EPERM);
	ck_assert_int_eq(zs_cancel_token_close(token), -EPERM);
	count(&ended);
	return 0;
}

static int misuse_scopes(void *arg)
{
	struct zs_nursery none = { 0 };
	struct zs_cancel_token nothing = { 0 };

	(void)arg;
	ck_assert_int_eq(zs_nursery_wait(none), -ESTALE);
	ck_assert_int_eq(zs_nursery_spawn(none, count_end, NULL), -ESTALE);
	ck_assert_int_eq(zs_nursery_cancel(none), -ESTALE);
	ck_assert_int_eq(zs_cancel_token_close(nothing), -ESTALE);
	ck_assert_int_eq(zs_cancel_token_cancel(nothing), -ESTALE);
	ck_assert_int_eq(zs_cancel_token_reason(nothing), -ESTALE);
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
	ck_assert_int_eq(zs_nursery_wait(nursery), -EBUSY);
	assert_ok(zs_nursery_spawn(nursery, use_anothers, NULL));
	while (counted(&ended) == 0)
		zs_yield();
	assert_ok(zs_cancel_token_close(token));
	ck_assert_int_eq(zs_cancel_token_close(token), -ESTALE);
	assert_ok(zs_nursery_wait(nursery));
	ck_assert_int_eq(zs_nursery_wait(nursery), -ESTALE);
	ck_assert_int_eq(zs_nursery_spawn(nursery, count_end, NULL), -ESTALE);
	return 0;
}

START_TEST(handles_that_are_void_or_anothers_are_refused)
{
	assert_ok(run_task(misuse_scopes, NULL));
	ck_assert_int_eq(zs_nursery_wait(nursery), -EPERM);
}
END_TEST

/* --- runtimes --- */

static int run_inside(void *arg)
{
	(void)arg;
	ck_assert_int_eq(zs_run(NULL, count_end, NULL), -EPERM);
	ck_assert_int_eq(zs_runtime_stop(runtime, ZS_NEVER), -EDEADLK);
	ck_assert_int_eq(zs_runtime_destroy(runtime), -EBUSY);
	ck_assert_int_eq(zs_runtime_start(runtime), -EALREADY);
	ck_assert_int_eq(zs_runtime_create(NULL, NULL), -EINVAL);
	count(&ended);
	return 0;
}

START_TEST(runtime_that_runs_is_not_started_stopped_or_run_inside)
{
	runtime = start_runtime(1);
	assert_ok(zs_runtime_spawn(runtime, run_inside, NULL));
	await_count(&ended, 1);
	ck_assert_int_eq(zs_runtime_destroy(runtime), -EBUSY);
	stop_and_destroy(runtime);
}
END_TEST

START_TEST(runtime_that_was_stopped_takes_nothing)
{
	const struct zs_spawn_options options = { .size = sizeof(options) };
	int number = 1;

	runtime = start_runtime(2);
	assert_ok(zs_runtime_stop(runtime, ZS_NEVER));
	assert_ok(zs_runtime_stop(runtime, 0));
	ck_assert_int_eq(zs_runtime_spawn(runtime, count_end, NULL), -ESTALE);
	ck_assert_int_eq(zs_runtime_spawn_copy(runtime, count_end, &number,
					       sizeof(number)),
			 -ESTALE);
	ck_assert_int_eq(zs_runtime_spawn_with(runtime, &options, count_end,
					       NULL),
			 -ESTALE);
	ck_assert_int_eq(zs_runtime_start(runtime), -EALREADY);
	assert_ok(zs_runtime_destroy(runtime));
}
END_TEST

START_TEST(runtime_that_never_ran_is_stopped_and_destroyed)
{
	struct zs_config config = test_config();

	assert_ok(zs_runtime_create(&runtime, &config));
	ck_assert_int_eq(zs_runtime_spawn(runtime, count_end, NULL), -ESTALE);
	assert_ok(zs_runtime_stop(runtime, 0));
	ck_assert_int_eq(zs_runtime_start(runtime), -EALREADY);
	assert_ok(zs_runtime_destroy(runtime));
}
END_TEST

static Suite *misuse_suite(void)
{
	Suite *suite = suite_create("misuse");
	TCase *tests = tcase_create("misuse");

	tcase_set_timeout(tests, 20);
	tcase_add_test(tests, call_with_zeros_outside_a_task_is_an_error);
	tcase_add_test(tests, handles_that_are_void_or_anothers_are_refused);
	tcase_add_test(tests,
		       runtime_that_runs_is_not_started_stopped_or_run_inside);
	tcase_add_test(tests, runtime_that_was_stopped_takes_nothing);
	tcase_add_test(tests, runtime_that_never_ran_is_stopped_and_destroyed);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(misuse_suite());
}
