/* SPDX-License-Identifier: MIT */
/*
 * Configuration and the CPUs that it counts. Cgroups are folders of fake files;
 * a machine with thousands of CPUs is played by the sched_getaffinity() below.
 */
#include <check.h>
#include <errno.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sched/cpus.h"
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
	{ "ZSYNC_PIN_WORKERS", "1" },
	{ "ZSYNC_DUMP_ON_SIGQUIT", "0" },
	{ "ZSYNC_KEEP_SIGSEGV", "1" },
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
	ck_assert_int_eq(one->execution_model, other->execution_model);
	ck_assert_uint_eq(one->num_workers, other->num_workers);
	ck_assert_uint_eq(one->queue_depth, other->queue_depth);
	ck_assert_uint_eq(one->green_thread_stack_size,
			  other->green_thread_stack_size);
	ck_assert_uint_eq(one->max_green_threads, other->max_green_threads);
	ck_assert_uint_eq(one->idle_spin_us, other->idle_spin_us);
	ck_assert_uint_eq(one->stack_cache, other->stack_cache);
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
			.execution_model = ZS_MODEL_AUTO,
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
	ck_assert_int_eq(zs_config_validate(&config), 0);
}
END_TEST

/* From the last field to the first, each left bad: always the first is told. */
START_TEST(first_field_beyond_its_limits_is_named)
{
	struct zs_config config = zs_config_default();

	config.flags = 0x19;
	assert_refused(&config, "zs_config.flags is 0x19, of which 0x10 is "
				"unknown: set ZS_CONFIG_... bits only, 0x0 to "
				"0xf");
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
		.flags = ZS_CONFIG_PIN_WORKERS | ZS_CONFIG_KEEP_SIGSEGV,
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
	{ "ZSYNC_PIN_WORKERS", "neither 0 nor 1", { "yes", "2", "-1" } },
	{ "ZSYNC_DUMP_ON_SIGQUIT", "neither 0 nor 1", { "01" } },
	{ "ZSYNC_KEEP_SIGSEGV", "neither 0 nor 1", { "on" } },
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

/* --- the affinity mask --- */

/* What sched_getaffinity() plays: a machine of that many CPUs (0: this one)
 * whose mask has the three below, or an error. */
static int fake_cpus, fake_errno;
static const int fake_mask[] = { 3, 1500, 8191 };

/* Instead of libc's. The kernel refuses a mask shorter than its own. */
int sched_getaffinity(pid_t pid, size_t size, cpu_set_t *mask)
{
	if (fake_errno || (fake_cpus && size * 8 < (size_t)fake_cpus)) {
		errno = fake_errno ? fake_errno : EINVAL;
		return -1;
	}
	memset(mask, 0, size);
	for (size_t i = 0; fake_cpus && i < NR_ELEMENTS(fake_mask); i++)
		CPU_SET_S(fake_mask[i], size, mask);
	if (fake_cpus)
		return 0;
	return syscall(SYS_sched_getaffinity, pid, size, mask) < 0 ? -1 : 0;
}

START_TEST(mask_of_a_machine_with_8192_cpus_is_read)
{
	struct zs_cpus cpus;

	fake_cpus = 8192;
	ck_assert_int_eq(zs_cpus_init(&cpus), 0);
	fake_cpus = 0;
	ck_assert_uint_eq(cpus.count, 3);
	ck_assert_int_eq(zs_cpus_nth(&cpus, 0), 3);
	ck_assert_int_eq(zs_cpus_nth(&cpus, 1), 1500);
	ck_assert_int_eq(zs_cpus_nth(&cpus, 2), 8191);
	/* More workers than CPUs. */
	ck_assert_int_eq(zs_cpus_nth(&cpus, 1024), 1500);
}
END_TEST

START_TEST(unknown_mask_allows_one_worker)
{
	struct zs_cpus cpus;

	memset(&cpus, 0xff, sizeof(cpus));
	fake_errno = EPERM;
	errno = ERANGE;
	ck_assert_int_eq(zs_cpus_init(&cpus), -EPERM);
	fake_errno = 0;
	ck_assert_uint_eq(cpus.count, 0);
	ck_assert_uint_eq(zs_cpus_allowed(&cpus), 1);
	ck_assert_int_eq(zs_cpus_nth(&cpus, 0), -ENOENT);
	ck_assert_int_eq(zs_cpus_pin(&cpus, 0), -ENOENT);
	ck_assert_int_eq(zs_cpus_unpin(&cpus), -EINVAL);
	ck_assert_int_eq(errno, ERANGE);
}
END_TEST

/* For real, with the last CPU that this thread may use. */
START_TEST(pinned_thread_has_one_cpu_until_it_is_unpinned)
{
	struct zs_cpus cpus, now;

	ck_assert_int_eq(zs_cpus_init(&cpus), 0);
	ck_assert_uint_ge(cpus.count, 1);
	ck_assert_int_eq(zs_cpus_pin(&cpus, cpus.count - 1), 0);
	ck_assert_int_eq(zs_cpus_init(&now), 0);
	ck_assert_uint_eq(now.count, 1);
	ck_assert_int_eq(zs_cpus_nth(&now, 0),
			 zs_cpus_nth(&cpus, cpus.count - 1));
	ck_assert_uint_eq(zs_cpus_allowed(&now), 1);
	ck_assert_int_eq(zs_cpus_unpin(&cpus), 0);
	ck_assert_int_eq(zs_cpus_init(&now), 0);
	ck_assert_mem_eq(now.mask, cpus.mask, sizeof(now.mask));
}
END_TEST

START_TEST(workers_are_limited_by_mask_quota_and_maximum)
{
	struct zs_cpus cpus = { .count = 1500 };
	uint32_t quota = zs_cpus_quota("");

	ck_assert_uint_ge(quota, 1);
	ck_assert_uint_eq(zs_cpus_allowed(&cpus),
			  quota < ZS_WORKERS_MAX ? quota : ZS_WORKERS_MAX);
	cpus.count = 2;
	ck_assert_uint_eq(zs_cpus_allowed(&cpus), quota < 2 ? quota : 2);
}
END_TEST

/* --- cgroups --- */

/* A machine whose cgroup file systems are at /cg. */
struct machine {
	const char *claim;
	const char *cgroup;    /* /proc/self/cgroup */
	const char *mountinfo; /* /proc/self/mountinfo */
	const char *quotas[3]; /* "quota period" of /cg, /cg/a, /cg/a/b */
	uint32_t expected;
};

#define NONE ZS_CPUS_NO_QUOTA
#define V2(root) "29 23 0:26 " root " /cg rw shared:4 - cgroup2 none rw,opt\n"
#define V1(root, list) "31 23 0:28 " root " /cg rw - cgroup  rw," list "\n"

/* As many in a row as fit. */
/* clang-format off */
static const struct machine machines[] = {
	{ "v2: a part of a CPU counts as one",
	  "0::/a\n", V2("/"), { NULL, "250000 100000" }, 3 },
	{ "v2: there is at least one CPU",
	  "0::/a\n", V2("/"), { NULL, "1000 1000000" }, 1 },
	{ "v2: max is no quota",
	  "0::/a\n", V2("/"), { NULL, "max 100000" }, NONE },
	{ "v2: the parent's is lower",
	  "0::/a/b\n", V2("/"), { NULL, "200000 100000", "800000 100000" }, 2 },
	{ "v2: the child's is lower",
	  "0::/a/b\n", V2("/"), { "max 100000", "80000 10000", "50000 25000" },
	  2 },
	{ "v2: a child's is not the parent's",
	  "0::/a\n", V2("/"), { NULL, NULL, "100000 100000" }, NONE },
	{ "v2: the root of a namespace has a quota",
	  "0::/\n", V2("/"), { "300000 100000" }, 3 },
	{ "v2: a mount does not speak for a cgroup outside of it",
	  "0::/../x\n", V2("/"), { "300000 100000" }, NONE },
	{ "v2: nor for one whose name begins alike",
	  "0::/docker\n", V2("/dock"), { "300000 100000" }, NONE },
	{ "v2: a mount from above the namespace counts",
	  "0::/\n", V2("/../.."), { "300000 100000" }, 3 },
	{ "v2: and shows what is beside the namespace",
	  "0::/../a\n", V2("/.."), { NULL, "300000 100000" }, 3 },
	{ "v2: parents of a removed cgroup count",
	  "0::/a/x (deleted)\n", V2("/"), { NULL, "300000 100000" }, 3 },
	{ "v2: each mount shows its part",
	  "0::/x/a/b\n", V2("/x/a/b") V2("/x"),
	  { "800000 100000", "300000 100000" }, 3 },
	{ "v2: nonsense is no quota",
	  "0::/a/b\n", "1 2 3\n\n - \n" V2("/"),
	  { "", "-5 100000", "100000 0" }, NONE },
	{ "v2: no overflow",
	  "0::/a\n", V2("/"), { NULL, "9223372036854775807 2" }, NONE },
	{ "v1: a part of a CPU counts as one",
	  "5:memory:/\n4:cpu:/a\n", V1("/", "memory") V1("/", "cpu"),
	  { NULL, "150000 100000" }, 2 },
	{ "v1: -1 is no quota",
	  "4:cpu:/a\n", V1("/", "cpu"), { NULL, "-1 100000" }, NONE },
	{ "v1: the parent's is lower",
	  "4:cpuacct,cpu:/a/b\n0::/\n", V1("/", "cpuacct,cpu"),
	  { NULL, "300000 100000", "-1 100000" }, 3 },
	{ "v1: a container sees its part of the tree",
	  "4:cpu,cpuacct:/docker/1f\n", V1("/docker/1f", "cpu,cpuacct"),
	  { "300000 100000" }, 3 },
	{ "v1: only the cpu controller counts",
	  "4:cpuacct:/a\n3:cpuset:/a\n", V1("/", "cpuacct") V1("/", "cpuset"),
	  { NULL, "1000 1000" }, NONE },
	{ "v1: escapes in names are undone",
	  "4:cpu:/x y\\z/a\n", V1("/x\\040y\\134z", "cpu"),
	  { NULL, "300000 100000" }, 3 },
	{ "no cgroups, no quota", "", "", { NULL }, NONE },
};
/* clang-format on */

static void write_file(const char *root, const char *folder, const char *name,
		       const char *text)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s/%s", root, folder, name);
	file = fopen(path, "we");
	ck_assert_msg(file, "%s: %s", path, strerror(errno));
	fputs(text, file);
	ck_assert_int_eq(fclose(file), 0);
}

/* The quotas as v2 has them and as v1 has them: the mounts tell which it is. */
static void make_machine(const char *root, const struct machine *machine)
{
	static const char *const folders[] = { "cg", "cg/a", "cg/a/b", "proc",
					       "proc/self" };
	char text[256];

	for (size_t i = 0; i < NR_ELEMENTS(folders); i++) {
		const char *quota = i < 3 ? machine->quotas[i] : NULL;

		snprintf(text, sizeof(text), "%s/%s", root, folders[i]);
		ck_assert_int_eq(mkdir(text, 0700), 0);
		if (!quota)
			continue;
		write_file(root, folders[i], "cpu.max", quota);
		snprintf(text, strcspn(quota, " ") + 1, "%s", quota);
		write_file(root, folders[i], "cpu.cfs_quota_us", text);
		quota += strcspn(quota, " ");
		write_file(root, folders[i], "cpu.cfs_period_us", quota);
	}
	write_file(root, "proc/self", "cgroup", machine->cgroup);
	write_file(root, "proc/self", "mountinfo", machine->mountinfo);
}

static int remove_one(const char *path, const struct stat *status, int type,
		      struct FTW *place)
{
	(void)status, (void)type, (void)place;
	return remove(path);
}

/* Once for each of the machines. */
START_TEST(quota_is_the_lowest_that_applies)
{
	const struct machine *machine = &machines[_i];
	char root[] = "/tmp/test_config.XXXXXX";
	uint32_t quota;

	ck_assert_ptr_nonnull(mkdtemp(root));
	make_machine(root, machine);
	errno = ERANGE;
	quota = zs_cpus_quota(root);
	ck_assert_int_eq(errno, ERANGE);
	ck_assert_int_eq(nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
	ck_assert_msg(quota == machine->expected, "%s: %u", machine->claim,
		      quota);
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
	tcase_add_test(tests, mask_of_a_machine_with_8192_cpus_is_read);
	tcase_add_test(tests, unknown_mask_allows_one_worker);
	tcase_add_test(tests, pinned_thread_has_one_cpu_until_it_is_unpinned);
	tcase_add_test(tests, workers_are_limited_by_mask_quota_and_maximum);
	tcase_add_loop_test(tests, quota_is_the_lowest_that_applies, 0,
			    NR_ELEMENTS(machines));
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	nr_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return nr_failed != 0;
}
