/* SPDX-License-Identifier: MIT */
/*
 * The CPUs that a configuration counts. Cgroups are folders of fake files; a
 * machine with thousands of CPUs is played by the __wrap_sched_getaffinity()
 * below.
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

/* --- the affinity mask --- */

/* What sched_getaffinity() plays: a machine of that many CPUs (0: this one)
 * whose mask has the three below, or an error. */
static int fake_cpus, fake_errno;
static const int fake_mask[] = { 3, 1500, 8191 };

/* Instead of libc's. The kernel refuses a mask shorter than its own. */
int __wrap_sched_getaffinity(pid_t pid, size_t size, cpu_set_t *mask);
int __wrap_sched_getaffinity(pid_t pid, size_t size, cpu_set_t *mask)
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
	struct zs_cpus cpus;

	ck_assert_int_eq(zs_cpus_init(&cpus), 0);
	ck_assert_uint_eq(cpus.quota, zs_cpus_quota(""));
	ck_assert_uint_ge(cpus.quota, 1);
	cpus.count = 1500;
	cpus.quota = ZS_CPUS_NO_QUOTA;
	ck_assert_uint_eq(zs_cpus_allowed(&cpus), ZS_WORKERS_MAX);
	cpus.quota = 3;
	ck_assert_uint_eq(zs_cpus_allowed(&cpus), 3);
	cpus.count = 2;
	ck_assert_uint_eq(zs_cpus_allowed(&cpus), 2);
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
	char root[] = "/tmp/test_cpus.XXXXXX";
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
	Suite *suite = suite_create("cpus");
	TCase *tests = tcase_create("cpus");
	SRunner *runner;
	int nr_failed;

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
