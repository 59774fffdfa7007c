/* SPDX-License-Identifier: MIT */
/* Configuration: presets, the check, and the environment. */
#include <check.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "zsync/config.h"

#define NR_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

/* All there are, each with a value that no preset has. */
static const struct {
	const char *name, *value;
} variables[] = {
	{ "ZSYNC_EXECUTION_MODEL", "thread_pool" },
	{ "ZSYNC_WORKERS", "3" },
	{ "ZSYNC_QUEUE_DEPTH", "128" },
	{ "ZSYNC_GREEN_THREAD_STACK_SIZE", "32K" },
	{ "ZSYNC_MAX_GREEN_THREADS", "500" },
	{ "ZSYNC_IDLE_SPIN_US", "70" },
	{ "ZSYNC_STACK_CACHE", "0" },
	{ "ZSYNC_STALL_REPORT_MS", "90" },
	{ "ZSYNC_MAIN_STACK_SIZE", "1M" },
	{ "ZSYNC_OFFLOAD_THREADS", "17" },
	{ "ZSYNC_PIN_WORKERS", "1" },
	{ "ZSYNC_DUMP_ON_SIGQUIT", "0" },
	{ "ZSYNC_KEEP_SIGSEGV", "1" },
	{ "ZSYNC_UNGUARDED_STACKS", "1" },
};

/* Who runs the tests may have set some. */
static void clear_environment(void)
{
	for (size_t i = 0; i < NR_ELEMENTS(variables); i++)
		unsetenv(variables[i].name);
}

static void assert_same(const struct zs_config *one,
			const struct zs_config *other)
{
	ck_assert_uint_eq(one->size, other->size);
	ck_assert_uint_eq(one->preset, other->preset);
	ck_assert_int_eq(one->execution_model, other->execution_model);
	ck_assert_uint_eq(one->num_workers, other->num_workers);
	ck_assert_uint_eq(one->queue_depth, other->queue_depth);
	ck_assert_uint_eq(one->green_thread_stack_size,
			  other->green_thread_stack_size);
	ck_assert_uint_eq(one->main_stack_size, other->main_stack_size);
	ck_assert_uint_eq(one->offload_threads, other->offload_threads);
	ck_assert_uint_eq(one->max_green_threads, other->max_green_threads);
	ck_assert_uint_eq(one->idle_spin_us, other->idle_spin_us);
	ck_assert_uint_eq(one->stack_cache, other->stack_cache);
	ck_assert_uint_eq(one->stall_report_ms, other->stall_report_ms);
	ck_assert_uint_eq(one->flags, other->flags);
}

static void assert_explained(const char *part)
{
	const char *text = zs_explain(-EINVAL);

	ck_assert_msg(strstr(text, part), "\"%s\" lacks \"%s\"", text, part);
}

static void assert_refused(const struct zs_config *config, const char *text)
{
	ck_assert_int_eq(zs_config_validate(config), -EINVAL);
	ck_assert_str_eq(zs_explain(-EINVAL), text);
}

/* --- presets and the check --- */

/* Each is valid, and the optimal one but for what the header lists. */
START_TEST(presets_differ_as_documented)
{
	static const struct {
		uint32_t num_workers, queue_depth, stack_size, stack_cache;
	} rows[] = {
		{ 0, 256, 65536, 256 },	  { 0, 256, 65536, 256 },
		{ 0, 1024, 65536, 1024 }, { 1, 256, 65536, 256 },
		{ 1, 64, 16384, 8 },
	};
	const struct zs_config presets[] = {
		zs_config_default(),	  zs_config_optimal(),
		zs_config_for_server(),	  zs_config_for_cli(),
		zs_config_for_embedded(),
	};

	for (size_t i = 0; i < NR_ELEMENTS(rows); i++) {
		const struct zs_config expected = {
			.size = sizeof(expected),
			.preset = (uint32_t)i,
			.execution_model = i == ZS_PRESET_FOR_CLI ?
						   ZS_MODEL_BLOCKING :
						   ZS_MODEL_AUTO,
			.num_workers = rows[i].num_workers,
			.queue_depth = rows[i].queue_depth,
			.green_thread_stack_size = rows[i].stack_size,
			.max_green_threads = 1048576,
			.idle_spin_us = ZS_IDLE_SPIN_AUTO,
			.stack_cache = rows[i].stack_cache,
		};

		assert_same(&presets[i], &expected);
		ck_assert_int_eq(zs_config_validate(&presets[i]), 0);
	}
}
END_TEST

/* A designated initializer that forgets the size, and a newer header. */
START_TEST(config_that_no_preset_made_is_refused)
{
	struct zs_config config = { .queue_depth = 256 };

	ck_assert_int_eq(zs_config_validate(NULL), -EINVAL);
	assert_explained("NULL: start from a preset");
	ck_assert_int_eq(zs_config_validate(&config), -EINVAL);
	assert_explained("zs_config.size is 0");
	assert_explained("start from a preset such as zs_config_default()");
	config = zs_config_default();
	config.size += 8;
	ck_assert_int_eq(zs_config_validate(&config), -EINVAL);
	ck_assert_int_eq(zs_config_from_env(&config), -EINVAL);
	assert_explained("this library's headers");
	ck_assert_int_eq(zs_config_from_env(NULL), -EINVAL);
}
END_TEST

/* The last valid values at either end. */
START_TEST(limits_themselves_are_valid)
{
	struct zs_config config = zs_config_default();

	config.num_workers = ZS_WORKERS_MAX;
	config.queue_depth = ZS_QUEUE_DEPTH_MIN;
	config.green_thread_stack_size = ZS_STACK_SIZE_MIN;
	config.max_green_threads = 1;
	config.idle_spin_us = 0;
	config.stack_cache = 0;
	config.flags = ZS_CONFIG_PIN_WORKERS | ZS_CONFIG_DUMP_ON_SIGQUIT |
		       ZS_CONFIG_KEEP_SIGSEGV;
	ck_assert_int_eq(zs_config_validate(&config), 0);
	config.execution_model = ZS_MODEL_BLOCKING;
	config.queue_depth = ZS_QUEUE_DEPTH_MAX;
	config.green_thread_stack_size = ZS_STACK_SIZE_MAX;
	config.max_green_threads = ZS_GREEN_THREADS_MAX;
	config.idle_spin_us = ZS_IDLE_SPIN_MAX_US;
	config.stack_cache = ZS_GREEN_THREADS_MAX;
	config.stall_report_ms = ZS_STALL_REPORT_MAX_MS;
	config.main_stack_size = ZS_STACK_SIZE_MAX;
	config.offload_threads = ZS_OFFLOAD_THREADS_MAX;
	ck_assert_int_eq(zs_config_validate(&config), 0);
}
END_TEST

/* From the last field to the first, each left bad: always the first is told. */
START_TEST(first_field_beyond_its_limits_is_named)
{
	struct zs_config config = zs_config_default();

	config.flags = 0x49;
	assert_refused(&config, "zs_config.flags is 0x49, of which 0x40 is "
				"unknown: set ZS_CONFIG_... bits only, 0x0 to "
				"0x3f");
	config.offload_threads = ZS_OFFLOAD_THREADS_MAX + 1;
	assert_refused(&config, "zs_config.offload_threads is 2049: set 0 to "
				"2048 (0 is twice the CPUs, at least 4)");
	config.stall_report_ms = ZS_STALL_REPORT_MAX_MS + 1;
	assert_refused(&config, "zs_config.stall_report_ms is 3600001: set 0 "
				"to 3600000 (0 looks for no stalls, 100 finds "
				"what clients notice)");
	config.stack_cache = ZS_GREEN_THREADS_MAX + 1;
	assert_refused(&config, "zs_config.stack_cache is 4194305: set 0 to "
				"4194304 (256 is the default)");
	config.idle_spin_us = ZS_IDLE_SPIN_MAX_US + 1;
	assert_refused(&config, "zs_config.idle_spin_us is 10001: set 0 to "
				"10000 (0 never spins, ZS_IDLE_SPIN_AUTO or "
				"\"auto\" decides by the CPUs)");
	config.max_green_threads = 0;
	assert_refused(&config, "zs_config.max_green_threads is 0: set 1 to "
				"4194304 (1048576 is the default)");
	config.main_stack_size = 1;
	assert_refused(&config, "zs_config.main_stack_size is 1: set 16384 to "
				"1073741824 bytes (0 is as much as "
				"green_thread_stack_size)");
	config.green_thread_stack_size = SIZE_MAX;
	assert_refused(&config, "zs_config.green_thread_stack_size is "
				"18446744073709551615: set 16384 to 1073741824 "
				"bytes (65536 serves most programs)");
	config.queue_depth = 1;
	assert_refused(&config, "zs_config.queue_depth is 1: set 2 to 16384 "
				"(256 serves most programs)");
	config.num_workers = UINT32_MAX;
	assert_refused(&config, "zs_config.num_workers is 4294967295: set 0 to "
				"1024 (0 takes as many as the CPUs allow)");
	config.execution_model = (enum zs_execution_model)4;
	assert_refused(&config, "zs_config.execution_model is 4: set "
				"ZS_MODEL_AUTO, ZS_MODEL_GREEN_THREADS, "
				"ZS_MODEL_THREAD_POOL or ZS_MODEL_BLOCKING");
	config.preset = 5;
	assert_refused(&config, "zs_config.preset is 5: start from a preset "
				"such as zs_config_default() and leave it as "
				"it is, 0 to 4");
}
END_TEST

START_TEST(model_names_can_be_parsed_back)
{
	enum zs_execution_model model = ZS_MODEL_BLOCKING;

	ck_assert_str_eq(zs_execution_model_name(ZS_MODEL_AUTO), "auto");
	for (int i = ZS_MODEL_AUTO; i <= ZS_MODEL_BLOCKING; i++) {
		const char *name =
			zs_execution_model_name((enum zs_execution_model)i);

		ck_assert_int_eq(zs_execution_model_parse(name, &model), 0);
		ck_assert_int_eq(model, i);
	}
	ck_assert_str_eq(zs_execution_model_name((enum zs_execution_model)4),
			 "unknown");
	ck_assert_int_eq(zs_execution_model_parse("unknown", &model), -EINVAL);
	ck_assert_int_eq(zs_execution_model_parse("Auto", &model), -EINVAL);
	ck_assert_int_eq(zs_execution_model_parse("", &model), -EINVAL);
	ck_assert_int_eq(zs_execution_model_parse(NULL, &model), -EINVAL);
	ck_assert_int_eq(model, ZS_MODEL_BLOCKING);
	assert_explained("green_threads, thread_pool or blocking");
}
END_TEST

/* --- the environment --- */

START_TEST(variables_override_every_field)
{
	struct zs_config config = zs_config_default();
	struct zs_config expected = {
		.size = sizeof(expected),
		.execution_model = ZS_MODEL_THREAD_POOL,
		.num_workers = 3,
		.queue_depth = 128,
		.green_thread_stack_size = 32 << 10,
		.max_green_threads = 500,
		.idle_spin_us = 70,
		.stack_cache = 0,
		.stall_report_ms = 90,
		.main_stack_size = 1 << 20,
		.offload_threads = 17,
		.flags = ZS_CONFIG_PIN_WORKERS | ZS_CONFIG_KEEP_SIGSEGV |
			 ZS_CONFIG_UNGUARDED_STACKS,
	};

	config.flags = ZS_CONFIG_DUMP_ON_SIGQUIT;
	for (size_t i = 0; i < NR_ELEMENTS(variables); i++)
		setenv(variables[i].name, variables[i].value, 1);
	ck_assert_int_eq(zs_config_from_env(&config), 0);
	assert_same(&config, &expected);
	setenv("ZSYNC_IDLE_SPIN_US", "auto", 1);
	ck_assert_int_eq(zs_config_from_env(&config), 0);
	ck_assert_uint_eq(config.idle_spin_us, ZS_IDLE_SPIN_AUTO);
}
END_TEST

START_TEST(unset_and_empty_variables_change_nothing)
{
	struct zs_config config = zs_config_for_embedded();
	const struct zs_config expected = config;

	ck_assert_int_eq(zs_config_from_env(&config), 0);
	assert_same(&config, &expected);
	for (size_t i = 0; i < NR_ELEMENTS(variables); i++)
		setenv(variables[i].name, "", 1);
	ck_assert_int_eq(zs_config_from_env(&config), 0);
	assert_same(&config, &expected);
}
END_TEST

START_TEST(size_takes_a_suffix)
{
	static const struct {
		const char *text;
		size_t size;
	} sizes[] = {
		{ "16384", 16384 }, { "16K", 16384 },
		{ "64k", 65536 },   { "2M", 2 << 20 },
		{ "1G", 1 << 30 },  { "0000000000000000000000065536", 65536 },
	};
	struct zs_config config = zs_config_default();

	for (size_t i = 0; i < NR_ELEMENTS(sizes); i++) {
		setenv("ZSYNC_GREEN_THREAD_STACK_SIZE", sizes[i].text, 1);
		ck_assert_int_eq(zs_config_from_env(&config), 0);
		ck_assert_uint_eq(config.green_thread_stack_size,
				  sizes[i].size);
	}
}
END_TEST

/* As many in a row as fit. */
/* clang-format off */
static const struct {
	const char *variable, *why, *values[9];
} wrongs[] = {
	{ "ZSYNC_EXECUTION_MODEL", "no model", { "fast", "AUTO" } },
	{ "ZSYNC_WORKERS", "no number",
	  { "-1", "+1", " 1", "1 ", "0x1", "1.5", "1K", "auto" } },
	{ "ZSYNC_WORKERS", "out of range",
	  { "1025", "4294967297", "18446744073709551617" } },
	{ "ZSYNC_QUEUE_DEPTH", "out of range", { "1", "16385" } },
	{ "ZSYNC_GREEN_THREAD_STACK_SIZE", "no number",
	  { "K", "64KB", "64KK", "-64K", "64T" } },
	/* The last is 2^54 + 64 K, which would lose its upper end. */
	{ "ZSYNC_GREEN_THREAD_STACK_SIZE", "out of range",
	  { "15K", "2G", "18014398509482048K" } },
	{ "ZSYNC_MAX_GREEN_THREADS", "out of range", { "0", "4194305" } },
	{ "ZSYNC_IDLE_SPIN_US", "out of range", { "10001", "4294967295" } },
	{ "ZSYNC_IDLE_SPIN_US", "no number", { "automatic", "Auto" } },
	{ "ZSYNC_STACK_CACHE", "out of range", { "4194305" } },
	{ "ZSYNC_STALL_REPORT_MS", "out of range", { "3600001" } },
	{ "ZSYNC_STALL_REPORT_MS", "no number", { "1s", "off", "-1" } },
	{ "ZSYNC_MAIN_STACK_SIZE", "out of range", { "1", "15K", "2G" } },
	{ "ZSYNC_OFFLOAD_THREADS", "out of range", { "2049" } },
	{ "ZSYNC_OFFLOAD_THREADS", "no number", { "auto", "1K" } },
	{ "ZSYNC_PIN_WORKERS", "neither 0 nor 1", { "yes", "2", "-1" } },
	{ "ZSYNC_DUMP_ON_SIGQUIT", "neither 0 nor 1", { "01" } },
	{ "ZSYNC_KEEP_SIGSEGV", "neither 0 nor 1", { "on" } },
	{ "ZSYNC_UNGUARDED_STACKS", "neither 0 nor 1", { "true" } },
};
/* clang-format on */

/* Once a row. The model is read first and is good: it must not stay either. */
START_TEST(senseless_value_leaves_config_unchanged)
{
	struct zs_config config = zs_config_default();
	const struct zs_config expected = config;
	const char *const *value = wrongs[_i].values;

	setenv("ZSYNC_EXECUTION_MODEL", "blocking", 1);
	for (; *value; value++) {
		char start[80];

		snprintf(start, sizeof(start),
			 "%s is \"%s\", which is %s: set ", wrongs[_i].variable,
			 *value, wrongs[_i].why);
		setenv(wrongs[_i].variable, *value, 1);
		errno = ERANGE;
		ck_assert_int_eq(zs_config_from_env(&config), -EINVAL);
		ck_assert_int_eq(errno, ERANGE);
		assert_same(&config, &expected);
		assert_explained(start);
		assert_explained("or unset it");
	}
}
END_TEST

/* Ten thousand bytes, with what a terminal would obey among the first. It is
 * the longest of our texts, which must still have its end. */
START_TEST(long_value_is_cut_and_made_printable)
{
	struct zs_config config = zs_config_default();
	char value[10001];

	memset(value, '7', sizeof(value));
	value[sizeof(value) - 1] = '\0';
	memcpy(value, "\n\033[2J\177", 6);
	setenv("ZSYNC_IDLE_SPIN_US", value, 1);
	ck_assert_int_eq(zs_config_from_env(&config), -EINVAL);
	ck_assert_str_eq(zs_explain(-EINVAL),
			 "ZSYNC_IDLE_SPIN_US is \"??[2J?"
			 "7777777777777777777777777777777777...\", which is no "
			 "number: set 0 to 10000 (0 never spins, "
			 "ZS_IDLE_SPIN_AUTO or \"auto\" decides by the CPUs), "
			 "or unset it");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("config");
	TCase *tests = tcase_create("config");
	SRunner *runner;
	int nr_failed;

	tcase_add_checked_fixture(tests, clear_environment, NULL);
	tcase_add_test(tests, presets_differ_as_documented);
	tcase_add_test(tests, config_that_no_preset_made_is_refused);
	tcase_add_test(tests, limits_themselves_are_valid);
	tcase_add_test(tests, first_field_beyond_its_limits_is_named);
	tcase_add_test(tests, model_names_can_be_parsed_back);
	tcase_add_test(tests, variables_override_every_field);
	tcase_add_test(tests, unset_and_empty_variables_change_nothing);
	tcase_add_test(tests, size_takes_a_suffix);
	tcase_add_loop_test(tests, senseless_value_leaves_config_unchanged, 0,
			    NR_ELEMENTS(wrongs));
	tcase_add_test(tests, long_value_is_cut_and_made_printable);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	nr_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return nr_failed != 0;
}
