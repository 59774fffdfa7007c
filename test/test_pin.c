/* SPDX-License-Identifier: MIT */
/*
 * On which CPUs workers run: those of the thread that makes the runtime, each
 * on one of them where that is asked for.
 */
#include <sched.h>
#include <stdlib.h>

#include "workers.h"

static struct counter looked;
/* By worker: how many CPUs it may use, and the first of these. */
static int num_cpus[8], first_cpu[8];

static void clear_environment(void)
{
	unsetenv("ZSYNC_WORKERS");
	unsetenv("ZSYNC_PIN_WORKERS");
}

static int first_of(const cpu_set_t *mask)
{
	int cpu = 0;

	while (!CPU_ISSET(cpu, mask))
		cpu++;
	return cpu;
}

static cpu_set_t own_mask(void)
{
	cpu_set_t mask;

	ck_assert_int_eq(sched_getaffinity(0, sizeof(mask), &mask), 0);
	return mask;
}

static int look(void *arg)
{
	cpu_set_t mask = own_mask();
	uint32_t place = count(&looked) - 1;

	(void)arg;
	num_cpus[place] = CPU_COUNT(&mask);
	first_cpu[place] = first_of(&mask);
	return 0;
}

static int look_on_each(void *arg)
{
	struct zs_runtime_info info;
	struct zs_nursery nursery;
	uint32_t *num_workers = arg;

	assert_ok(zs_runtime_info(NULL, &info));
	*num_workers = info.num_workers;
	assert_ok(zs_nursery_open(&nursery, NULL));
	spawn_on_each(nursery, info.num_workers, look, NULL);
	return zs_nursery_wait(nursery);
}

/* How many workers there were. */
static uint32_t run(const struct zs_config *config)
{
	uint32_t num_workers;

	looked.value = 0;
	ck_assert_int_eq(run_task_with(config, look_on_each, &num_workers), 0);
	ck_assert_uint_eq(counted(&looked), num_workers);
	return num_workers;
}

/* One more worker than there are CPUs: two share the first. */
static void assert_pinned(const struct zs_config *config, const cpu_set_t *mask)
{
	uint32_t num_workers = run(config);
	int most = (int)num_workers / CPU_COUNT(mask) + 1;

	for (uint32_t i = 0; i < num_workers; i++) {
		int sharing = 0;

		ck_assert_int_eq(num_cpus[i], 1);
		ck_assert(CPU_ISSET(first_cpu[i], mask));
		for (uint32_t j = 0; j < num_workers; j++)
			sharing += first_cpu[j] == first_cpu[i];
		ck_assert_int_le(sharing, most);
	}
}

static uint32_t one_more_than(const cpu_set_t *mask)
{
	int number = CPU_COUNT(mask) + 1;

	return number < 8 ? (uint32_t)number : 8;
}

/* By the program, and by the environment. The caller's mask is put back. */
START_TEST(pinned_workers_have_one_cpu_each)
{
	struct zs_config config = test_config();
	cpu_set_t mask = own_mask(), after;

	config.num_workers = one_more_than(&mask);
	if (_i == 0)
		config.flags = ZS_CONFIG_PIN_WORKERS;
	else
		setenv("ZSYNC_PIN_WORKERS", "1", 1);
	assert_pinned(&config, &mask);
	after = own_mask();
	ck_assert(CPU_EQUAL(&mask, &after));
}
END_TEST

START_TEST(workers_are_not_pinned_unless_asked)
{
	struct zs_config config = test_config();
	cpu_set_t mask = own_mask();

	config.num_workers = one_more_than(&mask);
	run(&config);
	for (uint32_t i = 0; i < config.num_workers; i++)
		ck_assert_int_eq(num_cpus[i], CPU_COUNT(&mask));
	config.flags = ZS_CONFIG_PIN_WORKERS;
	setenv("ZSYNC_PIN_WORKERS", "0", 1);
	run(&config);
	for (uint32_t i = 0; i < config.num_workers; i++)
		ck_assert_int_eq(num_cpus[i], CPU_COUNT(&mask));
}
END_TEST

/* As taskset does it. */
START_TEST(mask_of_one_cpu_makes_one_worker_there)
{
	struct zs_config config = test_config();
	cpu_set_t all = own_mask(), mask;
	int last = CPU_SETSIZE - 1;

	while (!CPU_ISSET(last, &all))
		last--;
	CPU_ZERO(&mask);
	CPU_SET(last, &mask);
	ck_assert_int_eq(sched_setaffinity(0, sizeof(mask), &mask), 0);
	config.num_workers = 0;
	ck_assert_uint_eq(run(&config), 1);
	ck_assert_int_eq(num_cpus[0], 1);
	ck_assert_int_eq(first_cpu[0], last);
	config.flags = ZS_CONFIG_PIN_WORKERS;
	config.num_workers = 2;
	ck_assert_uint_eq(run(&config), 2);
	ck_assert_int_eq(first_cpu[1], last);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pin");
	TCase *tests = tcase_create("pin");

	tcase_add_checked_fixture(tests, clear_environment, NULL);
	tcase_add_loop_test(tests, pinned_workers_have_one_cpu_each, 0, 2);
	tcase_add_test(tests, workers_are_not_pinned_unless_asked);
	tcase_add_test(tests, mask_of_one_cpu_makes_one_worker_there);
	suite_add_tcase(suite, tests);
	return run_suite(suite);
}
