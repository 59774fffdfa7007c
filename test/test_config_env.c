/* SPDX-License-Identifier: MIT */
/*
 * Each variable of the environment by one table: its limits, what is no value
 * of it, what is said of that, and where the sheet says a value came from.
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime.h"

#define NR_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))
#define FIELD(name) #name, offsetof(struct zs_config, name)

enum kind { NUMBER, SIZE, SWITCH, MODEL };

/* Of a model, low and high are the first and the last of the enum. */
static const struct row {
	const char *variable;
	const char *field;
	size_t offset;
	enum kind kind;
	uint64_t low, high;
	bool has_zero; /* besides low to high */
	uint32_t bit;  /* of a switch */
} rows[] = {
	{ "ZSYNC_EXECUTION_MODEL", FIELD(execution_model), MODEL, ZS_MODEL_AUTO,
	  ZS_MODEL_BLOCKING, false, 0 },
	{ "ZSYNC_WORKERS", FIELD(num_workers), NUMBER, 0, ZS_WORKERS_MAX, false,
	  0 },
	{ "ZSYNC_QUEUE_DEPTH", FIELD(queue_depth), NUMBER, ZS_QUEUE_DEPTH_MIN,
	  ZS_QUEUE_DEPTH_MAX, false, 0 },
	{ "ZSYNC_GREEN_THREAD_STACK_SIZE", FIELD(green_thread_stack_size), SIZE,
	  ZS_STACK_SIZE_MIN, ZS_STACK_SIZE_MAX, false, 0 },
	{ "ZSYNC_MAIN_STACK_SIZE", FIELD(main_stack_size), SIZE,
	  ZS_STACK_SIZE_MIN, ZS_STACK_SIZE_MAX, true, 0 },
	{ "ZSYNC_MAX_GREEN_THREADS", FIELD(max_green_threads), NUMBER, 1,
	  ZS_GREEN_THREADS_MAX, false, 0 },
	{ "ZSYNC_IDLE_SPIN_US", FIELD(idle_spin_us), NUMBER, 0,
	  ZS_IDLE_SPIN_MAX_US, false, 0 },
	{ "ZSYNC_STACK_CACHE", FIELD(stack_cache), NUMBER, 0,
	  ZS_GREEN_THREADS_MAX, false, 0 },
	{ "ZSYNC_STALL_REPORT_MS", FIELD(stall_report_ms), NUMBER, 0,
	  ZS_STALL_REPORT_MAX_MS, false, 0 },
	{ "ZSYNC_OFFLOAD_THREADS", FIELD(offload_threads), NUMBER, 0,
	  ZS_OFFLOAD_THREADS_MAX, false, 0 },
	{ "ZSYNC_PIN_WORKERS", "pin_workers", 0, SWITCH, 0, 1, false,
	  ZS_CONFIG_PIN_WORKERS },
	{ "ZSYNC_DUMP_ON_SIGQUIT", "dump_on_sigquit", 0, SWITCH, 0, 1, false,
	  ZS_CONFIG_DUMP_ON_SIGQUIT },
	{ "ZSYNC_KEEP_SIGSEGV", "keep_sigsegv", 0, SWITCH, 0, 1, false,
	  ZS_CONFIG_KEEP_SIGSEGV },
	{ "ZSYNC_NO_DEADLOCK_CHECK", "no_deadlock_check", 0, SWITCH, 0, 1,
	  false, ZS_CONFIG_NO_DEADLOCK_CHECK },
	{ "ZSYNC_REPORT_LEAKS", "report_leaks", 0, SWITCH, 0, 1, false,
	  ZS_CONFIG_REPORT_LEAKS },
	{ "ZSYNC_UNGUARDED_STACKS", "unguarded_stacks", 0, SWITCH, 0, 1, false,
	  ZS_CONFIG_UNGUARDED_STACKS },
};

static void clear_environment(void)
{
	for (size_t i = 0; i < NR_ELEMENTS(rows); i++)
		unsetenv(rows[i].variable);
}

static uint64_t get(const struct zs_config *config, const struct row *row)
{
	const char *field = (const char *)config + row->offset;

	switch (row->kind) {
	case SWITCH:
		return (config->flags & row->bit) != 0;
	case SIZE:
		return *(const size_t *)(const void *)field;
	default:
		return *(const uint32_t *)(const void *)field;
	}
}

/* As the variable spells it. */
static void show(const struct row *row, uint64_t value, char text[32])
{
	if (row->kind == MODEL)
		snprintf(text, 32, "%s",
			 zs_execution_model_name(
				 (enum zs_execution_model)value));
	else
		snprintf(text, 32, "%llu", (unsigned long long)value);
}

/* Of a fresh configuration; its result. */
static int take(const struct row *row, const char *text,
		struct zs_config *config)
{
	int ret;

	*config = zs_config_default();
	setenv(row->variable, text, 1);
	ret = zs_config_from_env(config);
	unsetenv(row->variable);
	return ret;
}

/* --- good ones --- */

static void assert_taken(const struct row *row, const char *text,
			 uint64_t value)
{
	struct zs_config config;

	ck_assert_msg(take(row, text, &config) == 0, "%s=%s: %s", row->variable,
		      text, zs_explain(-EINVAL));
	ck_assert_msg(get(&config, row) == value, "%s=%s", row->variable, text);
	ck_assert_int_eq(zs_config_validate(&config), 0);
}

/* A number with leading zeros is the same number. */
START_TEST(both_limits_are_taken)
{
	const struct row *row = &rows[_i];
	char text[32], zeros[48];

	show(row, row->low, text);
	assert_taken(row, text, row->low);
	show(row, row->high, text);
	assert_taken(row, text, row->high);
	if (row->has_zero)
		assert_taken(row, "0", 0);
	if (row->kind != NUMBER && row->kind != SIZE)
		return;
	snprintf(zeros, sizeof(zeros), "0000%s", text);
	assert_taken(row, zeros, row->high);
}
END_TEST

START_TEST(empty_is_as_if_not_set)
{
	const struct zs_config defaults = zs_config_default();
	struct zs_config config;

	ck_assert_int_eq(take(&rows[_i], "", &config), 0);
	ck_assert_uint_eq(get(&config, &rows[_i]), get(&defaults, &rows[_i]));
}
END_TEST

/* --- bad ones --- */

/* The text names the variable, the value, the range and the remedy, and the
 * program's value stays; so it is when a runtime is made. */
static void assert_refused(const struct row *row, const char *text)
{
	const struct zs_config defaults = zs_config_default();
	struct zs_runtime *runtime;
	struct zs_config config;
	char start[96], range[64];
	const char *why;

	ck_assert_msg(take(row, text, &config) == -EINVAL, "%s=\"%s\"",
		      row->variable, text);
	ck_assert_uint_eq(get(&config, row), get(&defaults, row));
	setenv(row->variable, text, 1);
	ck_assert_int_eq(zs_runtime_create(&runtime, NULL), -EINVAL);
	unsetenv(row->variable);
	why = zs_explain(-EINVAL);
	snprintf(start, sizeof(start), "%s is \"%.40s", row->variable, text);
	for (size_t i = 0; start[i]; i++)
		if (start[i] < ' ')
			start[i] = '?';
	ck_assert_msg(strncmp(why, start, strlen(start)) == 0,
		      "\"%s\" begins not with \"%s\"", why, start);
	ck_assert_msg(strstr(why, "unset it"), "%s", why);
	if (row->kind == SWITCH)
		strcpy(range, "set 1 for on, 0 for off");
	else if (row->kind == MODEL)
		strcpy(range, "set auto, green_threads, thread_pool or block");
	else
		snprintf(range, sizeof(range), "set %llu to %llu",
			 (unsigned long long)row->low,
			 (unsigned long long)row->high);
	ck_assert_msg(strstr(why, range), "\"%s\" lacks \"%s\"", why, range);
}

static void assert_number_refused(const struct row *row, uint64_t number)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)number);
	assert_refused(row, text);
}

/* One beyond; and what would be in range again, had its upper end been lost:
 * of 32 bits, of 64, by the suffix. */
START_TEST(beyond_the_limits_is_refused)
{
	const struct row *row = &rows[_i];
	char text[64];

	if (row->kind == MODEL) {
		assert_refused(row, "unknown");
		assert_refused(row, "0");
		return;
	}
	assert_number_refused(row, row->high + 1);
	if (row->low > 0 && (row->low > 1 || !row->has_zero))
		assert_number_refused(row, row->low - 1);
	if (row->kind != SIZE)
		assert_number_refused(row, (UINT64_C(1) << 32) + row->high);
	/* 2^64 + 16,384, and as many times ten. */
	assert_refused(row, "18446744073709568000");
	assert_refused(row, "18446744073709568000000000000000000000");
	if (row->kind != SIZE)
		return;
	snprintf(text, sizeof(text), "%lluK",
		 (unsigned long long)((UINT64_C(1) << 54) + 64));
	assert_refused(row, text);
	assert_refused(row, "17179869185G");
}
END_TEST

/* Around the highest value, which is good by itself. */
START_TEST(anything_besides_the_value_is_refused)
{
	static const char *const around[] = { "%s ",  " %s", "%s\n", "\t%s",
					      "%s,",  "%s;", "%s.0", "%sx",
					      "+%s",  "-%s", "0x%s", "\"%s\"",
					      "%s%%", "%s\r" };
	const struct row *row = &rows[_i];
	char value[32], text[64];

	show(row, row->high, value);
	for (size_t i = 0; i < NR_ELEMENTS(around); i++) {
		const char *place = strstr(around[i], "%s");

		snprintf(text, sizeof(text), "%.*s%s%s",
			 (int)(place - around[i]), around[i], value,
			 place + strlen("%s"));
		assert_refused(row, text);
	}
	if (row->kind != SIZE)
		snprintf(text, sizeof(text), "%sK", value);
	else
		snprintf(text, sizeof(text), "%sKB", value);
	assert_refused(row, text);
	assert_refused(row, " ");
	assert_refused(row, "-1");
	assert_refused(row, "none");
}
END_TEST

/* --- the sheet --- */

/* What is asked for is the last on its line. */
START_TEST(sheet_names_the_variable)
{
	const struct row *row = &rows[_i];
	char value[32], label[64], sheet[8192], source[96];
	const char *line, *end;
	ssize_t length;
	int fds[2];

	show(row, row->high, value);
	setenv(row->variable, value, 1);
	ck_assert_int_eq(pipe(fds), 0);
	ck_assert_int_eq(zs_config_print(NULL, fds[1]), 0);
	close(fds[1]);
	length = read(fds[0], sheet, sizeof(sheet) - 1);
	close(fds[0]);
	ck_assert_int_gt(length, 0);
	sheet[length] = '\0';
	snprintf(label, sizeof(label), "\n  %s ", row->field);
	line = strstr(sheet, label);
	ck_assert_ptr_nonnull(line);
	end = strchr(line + 1, '\n');
	snprintf(source, sizeof(source), " environment %s\n", row->variable);
	ck_assert_msg(end - line > (ptrdiff_t)strlen(source) &&
			      strncmp(end + 1 - strlen(source), source,
				      strlen(source)) == 0,
		      "no \"%s\" in %.*s", source, (int)(end - line), line);
	ck_assert_ptr_nonnull(strstr(line, value));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("config_env");
	TCase *tests = tcase_create("config_env");
	int nr = NR_ELEMENTS(rows);
	SRunner *runner;
	int nr_failed;

	tcase_add_checked_fixture(tests, clear_environment, NULL);
	tcase_add_loop_test(tests, both_limits_are_taken, 0, nr);
	tcase_add_loop_test(tests, empty_is_as_if_not_set, 0, nr);
	tcase_add_loop_test(tests, beyond_the_limits_is_refused, 0, nr);
	tcase_add_loop_test(tests, anything_besides_the_value_is_refused, 0,
			    nr);
	tcase_add_loop_test(tests, sheet_names_the_variable, 0, nr);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	nr_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return nr_failed != 0;
}
