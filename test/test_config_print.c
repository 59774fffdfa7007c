/* SPDX-License-Identifier: MIT */
/*
 * What zs_config_print() and zs_runtime_config_print() say of each setting.
 * Machines are played by the zs_cpus_init() below, which the linker puts in the
 * place of the library's.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime.h"
#include "sched/cpus.h"

#define NR_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

int __real_zs_cpus_init(struct zs_cpus *cpus);
int __wrap_zs_cpus_init(struct zs_cpus *cpus);

/* 0: those of this machine. */
static uint32_t fake_count, fake_quota;

int __wrap_zs_cpus_init(struct zs_cpus *cpus)
{
	int ret = __real_zs_cpus_init(cpus);

	if (fake_count)
		cpus->count = fake_count;
	if (fake_quota)
		cpus->quota = fake_quota;
	return ret;
}

/* What was printed last. */
static char text[8192];

static int (*printer)(const void *subject, int fd);

static int print_config(const void *config, int fd)
{
	return zs_config_print(config, fd);
}

static int print_runtime(const void *runtime, int fd)
{
	return zs_runtime_config_print(runtime, fd);
}

/* A pipe holds all of it. */
static int print(int (*how)(const void *subject, int fd), const void *subject)
{
	ssize_t length;
	int fds[2];
	int ret;

	printer = how;
	ck_assert_int_eq(pipe(fds), 0);
	ret = printer(subject, fds[1]);
	close(fds[1]);
	length = read(fds[0], text, sizeof(text) - 1);
	close(fds[0]);
	ck_assert_int_ge(length, 0);
	text[length] = '\0';
	return ret;
}

/* Is there a line for the setting with this value, and all of this after it? */
static void assert_row(const char *name, const char *value, const char *source)
{
	char row[256];

	snprintf(row, sizeof(row), "\n  %-24s %-14s %s\n", name, value, source);
	ck_assert_msg(strstr(text, row), "no line \"%.*s\" in:\n%s",
		      (int)strlen(row) - 2, row + 1, text);
}

/* On a machine of two CPUs. */
static void clear_environment(void)
{
	static const char *const names[] = {
		"ZSYNC_EXECUTION_MODEL", "ZSYNC_WORKERS",
		"ZSYNC_QUEUE_DEPTH",	 "ZSYNC_GREEN_THREAD_STACK_SIZE",
		"ZSYNC_MAIN_STACK_SIZE", "ZSYNC_MAX_GREEN_THREADS",
		"ZSYNC_IDLE_SPIN_US",	 "ZSYNC_STACK_CACHE",
		"ZSYNC_STALL_REPORT_MS", "ZSYNC_OFFLOAD_THREADS",
		"ZSYNC_PIN_WORKERS",	 "ZSYNC_DUMP_ON_SIGQUIT",
		"ZSYNC_KEEP_SIGSEGV",	 "ZSYNC_UNGUARDED_STACKS",
	};

	for (size_t i = 0; i < NR_ELEMENTS(names); i++)
		unsetenv(names[i]);
	fake_count = 2;
	fake_quota = ZS_CPUS_NO_QUOTA;
}

/* --- a configuration --- */

/* On in a debug build. */
#if defined(ZS_DEBUG)
#define LEAKS "  report_leaks             1              default\n"
#else
#define LEAKS "  report_leaks             0              default\n"
#endif

START_TEST(whole_sheet_of_the_defaults)
{
	ck_assert_int_eq(print(print_config, NULL), 0);
	ck_assert_str_eq(
		text,
		"zsync configuration, from zs_config_default()\n"
		"  execution_model          auto           default\n"
		"  num_workers              2              machine: CPUs in "
		"the affinity mask; default: 0\n"
		"  queue_depth              256            default\n"
		"  green_thread_stack_size  65536          default\n"
		"  main_stack_size          65536          as "
		"green_thread_stack_size; default: 0\n"
		"  max_green_threads        1048576        default\n"
		"  idle_spin_us             20             machine: 2 CPUs; "
		"default: auto\n"
		"  stack_cache              256            default\n"
		"  stall_report_ms          0              default\n"
		"  offload_threads          4              machine: twice 2 "
		"CPUs, at least 4; default: 0\n"
		"  pin_workers              0              default\n"
		"  dump_on_sigquit          0              default\n"
		"  keep_sigsegv             0              default\n"
		"  unguarded_stacks         0              default\n"
		"  no_deadlock_check        0              default\n" LEAKS);
}
END_TEST

START_TEST(values_of_a_preset_are_told_from_defaults)
{
	struct zs_config config = zs_config_for_embedded();

	ck_assert_int_eq(print(print_config, &config), 0);
	ck_assert_ptr_eq(strstr(text, "zsync configuration, from "
				      "zs_config_for_embedded()\n"),
			 text);
	assert_row("num_workers", "1", "preset for_embedded");
	assert_row("queue_depth", "64", "preset for_embedded");
	assert_row("green_thread_stack_size", "16384", "preset for_embedded");
	assert_row("max_green_threads", "1048576", "default");
	config = zs_config_for_server();
	ck_assert_int_eq(print(print_config, &config), 0);
	assert_row("stack_cache", "1024", "preset for_server");
}
END_TEST

/* It has one worker, and says why, where more are asked for. */
START_TEST(blocking_model_has_one_worker)
{
	struct zs_config config = zs_config_for_cli();

	ck_assert_int_eq(print(print_config, &config), 0);
	assert_row("execution_model", "blocking", "preset for_cli");
	assert_row("num_workers", "1", "preset for_cli");
	config.num_workers = 7;
	ck_assert_int_eq(print(print_config, &config), 0);
	assert_row("num_workers", "1",
		   "the blocking model has one; program: 7");
}
END_TEST

/* Also where it is the default of another preset. */
START_TEST(what_the_program_changed_is_its_own)
{
	struct zs_config config = zs_config_for_server();

	config.execution_model = ZS_MODEL_GREEN_THREADS;
	config.queue_depth = 256;
	config.main_stack_size = 1 << 20;
	config.offload_threads = 9;
	config.flags = ZS_CONFIG_PIN_WORKERS;
	ck_assert_int_eq(print(print_config, &config), 0);
	assert_row("execution_model", "green_threads", "program");
	assert_row("queue_depth", "256", "program");
	assert_row("main_stack_size", "1048576", "program");
	assert_row("offload_threads", "9", "program");
	assert_row("pin_workers", "1", "program");
	assert_row("keep_sigsegv", "0", "default");
}
END_TEST

/* Also where it says what would have been anyway. */
START_TEST(what_the_environment_sets_names_its_variable)
{
	struct zs_config config = zs_config_default();

	config.queue_depth = 512;
	config.flags = ZS_CONFIG_DUMP_ON_SIGQUIT;
	setenv("ZSYNC_EXECUTION_MODEL", "green_threads", 1);
	setenv("ZSYNC_QUEUE_DEPTH", "128", 1);
	setenv("ZSYNC_STACK_CACHE", "256", 1);
	setenv("ZSYNC_IDLE_SPIN_US", "auto", 1);
	setenv("ZSYNC_DUMP_ON_SIGQUIT", "0", 1);
	ck_assert_int_eq(print(print_config, &config), 0);
	assert_row("execution_model", "green_threads",
		   "environment ZSYNC_EXECUTION_MODEL");
	assert_row("queue_depth", "128", "environment ZSYNC_QUEUE_DEPTH");
	assert_row("stack_cache", "256", "environment ZSYNC_STACK_CACHE");
	assert_row("idle_spin_us", "20",
		   "machine: 2 CPUs; environment ZSYNC_IDLE_SPIN_US: auto");
	assert_row("dump_on_sigquit", "0", "environment ZSYNC_DUMP_ON_SIGQUIT");
	ck_assert_uint_eq(config.queue_depth, 512);
}
END_TEST

START_TEST(machine_says_what_limits_it)
{
	fake_count = 1500;
	ck_assert_int_eq(print(print_config, NULL), 0);
	assert_row("num_workers", "1024",
		   "machine: CPUs in the affinity mask; default: 0");
	assert_row("offload_threads", "2048",
		   "machine: twice 1024 CPUs, at least 4; default: 0");
	fake_quota = 1;
	ck_assert_int_eq(print(print_config, NULL), 0);
	assert_row("num_workers", "1",
		   "machine: the cgroup's CPU quota, of 1500 CPUs; default: 0");
	assert_row("idle_spin_us", "0", "machine: 1 CPU; default: auto");
	assert_row("offload_threads", "4",
		   "machine: twice 1 CPU, at least 4; default: 0");
}
END_TEST

START_TEST(bad_one_is_refused_and_nothing_is_written)
{
	struct zs_config config = zs_config_default();

	config.queue_depth = 1;
	ck_assert_int_eq(print(print_config, &config), -EINVAL);
	ck_assert_str_eq(text, "");
	ck_assert_ptr_nonnull(strstr(zs_explain(-EINVAL), "queue_depth is 1"));
	config.queue_depth = 2;
	setenv("ZSYNC_WORKERS", "many", 1);
	ck_assert_int_eq(print(print_config, &config), -EINVAL);
	ck_assert_str_eq(text, "");
	ck_assert_ptr_nonnull(strstr(zs_explain(-EINVAL), "ZSYNC_WORKERS"));
}
END_TEST

START_TEST(error_of_the_write_is_the_result)
{
	errno = ERANGE;
	ck_assert_int_eq(zs_config_print(NULL, -1), -EBADF);
	ck_assert_int_eq(errno, ERANGE);
	ck_assert_ptr_nonnull(strstr(zs_explain(-EBADF), "descriptor -1"));
}
END_TEST

/* --- that of a runtime --- */

static int print_own(void *arg)
{
	(void)arg;
	return print(print_runtime, NULL);
}

/* Sizes are rounded, the model is chosen. */
START_TEST(task_sees_what_is_in_force)
{
	struct zs_runtime_info info = test_info();
	bool has_ring = info.execution_model == ZS_MODEL_GREEN_THREADS;
	struct zs_config config = test_config();
	char pages[24];
	long page_size = sysconf(_SC_PAGESIZE);

	setenv("ZSYNC_QUEUE_DEPTH", "33", 1);
	config.green_thread_stack_size = (size_t)1 << 20 | 1;
	config.execution_model = info.execution_model;
	ck_assert_int_eq(run_task_with(&config, print_own, NULL), 0);
	assert_row("execution_model", info.model_name, "program");
	assert_row("num_workers", "1", "program");
	/* Without a ring it is nobody's. */
	if (has_ring)
		assert_row("queue_depth", "64",
			   "machine: a power of two; environment "
			   "ZSYNC_QUEUE_DEPTH: 33");
	else
		assert_row("queue_depth", "33",
			   "environment ZSYNC_QUEUE_DEPTH");
	snprintf(pages, sizeof(pages), "%ld", (1L << 20) + page_size);
	assert_row("green_thread_stack_size", pages,
		   "machine: whole pages; program: 1048577");
}
END_TEST

START_TEST(choice_of_auto_has_its_reason)
{
	struct zs_config config = zs_config_default();
	struct zs_runtime *runtime;
	struct zs_runtime_info info;
	char source[256];
	const char *reason;

	ck_assert_int_eq(zs_runtime_create(&runtime, &config), 0);
	ck_assert_int_eq(zs_runtime_info(runtime, &info), 0);
	ck_assert_int_eq(print(print_runtime, runtime), 0);
	reason = strstr(info.model_reason, "auto: ") ?
			 info.model_reason + strlen("auto: ") :
			 info.model_reason;
	snprintf(source, sizeof(source), "machine: %s; default: auto", reason);
	assert_row("execution_model", info.model_name, source);
	assert_row("num_workers", "2",
		   "machine: CPUs in the affinity mask; default: 0");
	ck_assert_int_eq(zs_runtime_config_print(runtime, -1), -EBADF);
	ck_assert_int_eq(zs_runtime_destroy(runtime), 0);
	ck_assert_int_eq(zs_runtime_config_print(NULL, STDOUT_FILENO), -EPERM);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("config_print");
	TCase *tests = tcase_create("config_print");

	tcase_add_checked_fixture(tests, clear_environment, NULL);
	tcase_add_test(tests, whole_sheet_of_the_defaults);
	tcase_add_test(tests, values_of_a_preset_are_told_from_defaults);
	tcase_add_test(tests, blocking_model_has_one_worker);
	tcase_add_test(tests, what_the_program_changed_is_its_own);
	tcase_add_test(tests, what_the_environment_sets_names_its_variable);
	tcase_add_test(tests, machine_says_what_limits_it);
	tcase_add_test(tests, bad_one_is_refused_and_nothing_is_written);
	tcase_add_test(tests, error_of_the_write_is_the_result);
	tcase_add_test(tests, task_sees_what_is_in_force);
	tcase_add_test(tests, choice_of_auto_has_its_reason);
	suite_add_tcase(suite, tests);
	return run_suite(suite);
}
