/* SPDX-License-Identifier: MIT */
/*
 * ZSYNC_DISABLE with a release: what it hides, and that a runtime goes by it.
 * Names one by one are for test_probe.c and test_trials.c.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/names.h"
#include "engine/probe.h"
#include "runtime.h"
#include "sched/worker.h"

#define NR_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

static void no_mask(void)
{
	unsetenv("ZSYNC_DISABLE");
}

static int parse(const char *text, struct zs_kernel_mask *mask)
{
	int ret;

	setenv("ZSYNC_DISABLE", text, 1);
	ret = zs_kernel_mask_from_env(mask);
	unsetenv("ZSYNC_DISABLE");
	return ret;
}

/* One of the five tables of names, and what a mask holds of it. */
struct table {
	const char *what;
	const struct zs_kernel_name *(*name)(unsigned int number);
	bool (*is_hidden)(const struct zs_kernel_mask *mask, unsigned int bit);
};

static bool hides_op(const struct zs_kernel_mask *mask, unsigned int bit)
{
	return mask->ops[bit];
}

static bool hides_setup(const struct zs_kernel_mask *mask, unsigned int bit)
{
	return mask->setup_flags >> bit & 1;
}

static bool hides_feature(const struct zs_kernel_mask *mask, unsigned int bit)
{
	return mask->features >> bit & 1;
}

static bool hides_register(const struct zs_kernel_mask *mask, unsigned int bit)
{
	return mask->register_ops >> bit & 1;
}

static bool hides_ability(const struct zs_kernel_mask *mask, unsigned int bit)
{
	return mask->abilities >> bit & 1;
}

static const struct table tables[] = {
	{ "op", zs_kernel_op_name, hides_op },
	{ "setup flag", zs_kernel_setup_name, hides_setup },
	{ "feature", zs_kernel_feature_name, hides_feature },
	{ "register opcode", zs_kernel_register_name, hides_register },
	{ "ability", zs_kernel_ability_name, hides_ability },
};

/* --- what a release hides --- */

static int number_of_release(const char *text)
{
	int major, minor;

	ck_assert_int_eq(sscanf(text, "%d.%d", &major, &minor), 2);
	return major * 1000 + minor;
}

static void check_table(const struct table *table,
			const struct zs_kernel_mask *mask, int release)
{
	const struct zs_kernel_name *name;
	unsigned int i;

	for (i = 0; (name = table->name(i)) != NULL; i++)
		ck_assert_msg(table->is_hidden(mask, i) ==
				      (number_of_release(name->release) >
				       release),
			      "%s %s of %s under %d", table->what, name->name,
			      name->release, release);
}

/* Also 6.9 and 6.10, which are not in the order of their letters. */
START_TEST(release_hides_what_came_later_and_nothing_else)
{
	static const char *const releases[] = {
		"4.19", "5.1", "5.10", "5.11", "5.15", "6.1",
		"6.6",	"6.9", "6.10", "6.19", "7.0",  "99.0"
	};
	struct zs_kernel_mask mask;
	char text[32];

	for (size_t i = 0; i < NR_ELEMENTS(releases); i++) {
		snprintf(text, sizeof(text), "linux-%s", releases[i]);
		ck_assert_int_eq(parse(text, &mask), 1);
		for (size_t j = 0; j < NR_ELEMENTS(tables); j++)
			check_table(&tables[j], &mask,
				    number_of_release(releases[i]));
		ck_assert_int_eq(mask.io_uring, i == 0);
	}
}
END_TEST

/* What is the youngest of each table there, the one after it, and how many
 * there are: of the kernels that long support makes likely. */
static const struct {
	const char *release;
	struct {
		const char *has, *lacks;
		unsigned int count;
	} of[NR_ELEMENTS(tables)];
} kernels[] = {
	{ "5.11",
	  { { "UNLINKAT", "MKDIRAT", 37 },
	    { "R_DISABLED", "SUBMIT_ALL", 7 },
	    { "EXT_ARG", "NATIVE_WORKERS", 9 },
	    { "REGISTER_ENABLE_RINGS", "REGISTER_FILES2", 13 },
	    { "GUARD_INSTALL", "POLL_MULTISHOT", 0 } } },
	{ "5.15",
	  { { "LINKAT", "MSG_RING", 40 },
	    { "R_DISABLED", "SUBMIT_ALL", 7 },
	    { "RSRC_TAGS", "CQE_SKIP", 11 },
	    { "REGISTER_IOWQ_MAX_WORKERS", "REGISTER_RING_FDS", 20 },
	    { "POLL_MULTISHOT", "ACCEPT_MULTISHOT", 1 } } },
	{ "6.1",
	  { { "SENDMSG_ZC", "READ_MULTISHOT", 49 },
	    { "DEFER_TASKRUN", "NO_MMAP", 14 },
	    { "LINKED_FILE", "REG_REG_RING", 13 },
	    { "REGISTER_FILE_ALLOC_RANGE", "REGISTER_PBUF_STATUS", 26 },
	    { "RECV_MULTISHOT", "BUFFER_RING_INC", 4 } } },
	{ "6.6",
	  { { "SENDMSG_ZC", "READ_MULTISHOT", 49 },
	    { "NO_SQARRAY", "HYBRID_IOPOLL", 17 },
	    { "REG_REG_RING", "RECVSEND_BUNDLE", 14 },
	    { "REGISTER_FILE_ALLOC_RANGE", "REGISTER_PBUF_STATUS", 26 },
	    { "RECV_MULTISHOT", "BUFFER_RING_INC", 4 } } },
};

static bool is_hidden(const struct table *table,
		      const struct zs_kernel_mask *mask, const char *name)
{
	unsigned int i;

	for (i = 0; table->name(i); i++)
		if (strcmp(table->name(i)->name, name) == 0)
			return table->is_hidden(mask, i);
	ck_abort_msg("no %s is called %s", table->what, name);
}

static unsigned int count_left(const struct table *table,
			       const struct zs_kernel_mask *mask)
{
	unsigned int count = 0;
	unsigned int i;

	for (i = 0; table->name(i); i++)
		count += !table->is_hidden(mask, i);
	return count;
}

START_TEST(kernels_of_long_support_have_what_they_had)
{
	struct zs_kernel_mask mask;
	char text[32];

	snprintf(text, sizeof(text), "LINUX-%s", kernels[_i].release);
	ck_assert_int_eq(parse(text, &mask), 1);
	for (size_t i = 0; i < NR_ELEMENTS(tables); i++) {
		const char *has = kernels[_i].of[i].has;
		unsigned int count = kernels[_i].of[i].count;

		ck_assert_uint_eq(count_left(&tables[i], &mask), count);
		if (count)
			ck_assert_msg(!is_hidden(&tables[i], &mask, has), "%s",
				      has);
		ck_assert(
			is_hidden(&tables[i], &mask, kernels[_i].of[i].lacks));
	}
}
END_TEST

/* The lowest wins, and names go on counting. */
START_TEST(releases_and_names_add_up)
{
	struct zs_kernel_mask mask;

	ck_assert_int_eq(parse("linux-6.6, nodrop,linux-5.15,linux-6.1", &mask),
			 4);
	ck_assert(is_hidden(&tables[0], &mask, "MSG_RING"));
	ck_assert(!is_hidden(&tables[0], &mask, "LINKAT"));
	ck_assert(is_hidden(&tables[2], &mask, "NODROP"));
	ck_assert(!is_hidden(&tables[2], &mask, "EXT_ARG"));
}
END_TEST

START_TEST(what_is_no_release_is_refused_by_name)
{
	static const char *const bad[] = {
		"linux-",
		"linux-5",
		"linux-5.",
		"linux-.5",
		"linux-5.15.3",
		"linux-5.15-rc1",
		"linux--5.15",
		"linux-5.1234",
		"linux-1234.5",
		"linux-five.15",
		"linux-+5.15",
		"linux-5.-1",
		"linux5.15",
		"linux-5.15linux-6.1",
		"linux-99999999999999999999.1",
	};
	struct zs_kernel_mask mask;
	char quoted[64];

	for (size_t i = 0; i < NR_ELEMENTS(bad); i++) {
		ck_assert_msg(parse(bad[i], &mask) == -EINVAL, "%s", bad[i]);
		snprintf(quoted, sizeof(quoted), "\"%s\"", bad[i]);
		ck_assert_ptr_nonnull(strstr(zs_explain(-EINVAL), quoted));
		ck_assert_ptr_nonnull(
			strstr(zs_explain(-EINVAL), "linux-5.15"));
	}
}
END_TEST

/* --- what a runtime makes of it --- */

static int count_mappings(void *arg)
{
	int *num_protected = arg;

	*num_protected = (int)zs_worker_self->stacks.guards.num_protected;
	return 0;
}

/* Before 6.13 there is no other kind. */
START_TEST(old_kernels_guard_stacks_by_mprotect)
{
	int num_protected = 0;

	setenv("ZSYNC_DISABLE", "linux-6.12", 1);
	ck_assert_int_eq(run_task(count_mappings, &num_protected), 0);
	ck_assert_int_gt(num_protected, 0);
}
END_TEST

/* Why a kernel of @release has no green_threads. */
static const char *why_too_old(const char *release)
{
	struct zs_config config = test_config();
	struct zs_runtime *runtime;

	config.execution_model = ZS_MODEL_GREEN_THREADS;
	setenv("ZSYNC_DISABLE", release, 1);
	ck_assert_int_eq(zs_runtime_create(&runtime, &config), -ENOSYS);
	return zs_explain(-ENOSYS);
}

START_TEST(kernels_before_5_11_are_too_old_for_green_threads)
{
	const char *text;

	unsetenv("ZSYNC_EXECUTION_MODEL");
	if (!test_has_ring()) {
		printf("SKIP test_mask: "
		       "kernels_before_5_11_are_too_old_for_green_threads: "
		       "no io_uring is to be had, of which a part is to be "
		       "hidden\n");
		fflush(stdout);
		return;
	}
	text = why_too_old("linux-5.10");
	ck_assert_ptr_nonnull(strstr(text, "lacks EXT_ARG;"));
	ck_assert_ptr_nonnull(strstr(text, "shorten ZSYNC_DISABLE"));
}
END_TEST

START_TEST(kernels_before_5_1_have_no_io_uring)
{
	unsetenv("ZSYNC_EXECUTION_MODEL");
	ck_assert_ptr_nonnull(strstr(why_too_old("linux-5.0"),
				     "ZSYNC_DISABLE hides io_uring"));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("mask");
	TCase *tests = tcase_create("mask");
	TCase *runs;
	SRunner *runner;
	int nr_failed;

	tcase_add_checked_fixture(tests, no_mask, NULL);
	tcase_add_test(tests, release_hides_what_came_later_and_nothing_else);
	tcase_add_loop_test(tests, kernels_of_long_support_have_what_they_had,
			    0, NR_ELEMENTS(kernels));
	tcase_add_test(tests, releases_and_names_add_up);
	tcase_add_test(tests, what_is_no_release_is_refused_by_name);
	suite_add_tcase(suite, tests);
	no_mask();
	if (runtime_is_to_be_had()) {
		runs = tcase_create("runtime");
		tcase_add_test(runs, old_kernels_guard_stacks_by_mprotect);
		tcase_add_test(
			runs,
			kernels_before_5_11_are_too_old_for_green_threads);
		tcase_add_test(runs, kernels_before_5_1_have_no_io_uring);
		suite_add_tcase(suite, runs);
	}
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	nr_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return nr_failed != 0;
}
