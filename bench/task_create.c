/* SPDX-License-Identifier: MIT */
/*
 * task_create: what does it cost to make a task that no stack is ready for: to
 * spawn it, to start it on a new stack and to have it park there?
 *
 * The limit is what nobody can save who gives it a stack of its own: a guard
 * (one system call) and the fault of its first page, out of maps of the same
 * size, and 300 ns. Both are measured in turns of 800, in one process, as both
 * are mostly the kernel's work, whose speed wobbles.
 */
#include "bench.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zsync.h>

#include "bare.h"

enum {
	BLOCK = 800, /* of stacks: a map of about 64 MiB, as the pool's */
	BLOCKS = 100,
	BLOCKS_QUICK = 25,
	WARM_UP = 3, /* blocks that do not count */
	ALLOWED_NS = 300,
	GUARD_PAGES = 4,
	TOP_OFFSET = 64,
	ADVISE_GUARD_INSTALL = 102, /* MADV_GUARD_INSTALL, Linux 6.13 */
	LIMIT_MS = 60000,
};

/* A round; in shared memory, the child fills it. Medians of its blocks. */
struct create_round {
	unsigned int blocks;
	bool has_no_guards;
	double bare_ns;
	double ours_ns;
	char model[32];
	char failure[160];
};

/* The child's. */
static long parked;
static size_t page_size, slot_size;

/* 0 or a negative errno. What is mapped stays, as the tasks' stacks do. */
static int time_bare(struct bench_series *series)
{
	int64_t start_ns = bare_cpu_ns();
	size_t size = BLOCK * slot_size;
	char *base = mmap(
		NULL, size, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
	char *slot;

	if (base == MAP_FAILED)
		return -errno;
	madvise(base, size, MADV_NOHUGEPAGE);
	for (slot = base; slot < base + size; slot += slot_size) {
		if (madvise(slot, GUARD_PAGES * page_size,
			    ADVISE_GUARD_INSTALL) < 0)
			return -errno;
		*(volatile char *)(slot + slot_size - TOP_OFFSET) = 1;
	}
	bench_series_add(series,
			 (double)(bare_cpu_ns() - start_ns) / (double)BLOCK);
	return 0;
}

static int park(void *arg)
{
	(void)arg;
	parked++;
	return zs_sleep(ZS_NEVER);
}

static int time_ours(struct zs_nursery nursery, struct bench_series *series)
{
	int64_t start_ns = bare_cpu_ns();
	long wanted = parked + BLOCK;
	int ret = 0;
	int i;

	for (i = 0; i < BLOCK && ret >= 0; i++)
		ret = zs_nursery_spawn(nursery, park, NULL);
	while (parked < wanted && ret >= 0)
		ret = zs_yield();
	bench_series_add(series,
			 (double)(bare_cpu_ns() - start_ns) / (double)BLOCK);
	return ret;
}

static int time_blocks(struct create_round *round, struct zs_nursery nursery)
{
	static struct bench_series bare, ours;
	unsigned int i;
	int ret = 0;

	for (i = 0; i < WARM_UP + round->blocks && ret >= 0; i++) {
		if (i == WARM_UP)
			bare.count = ours.count = 0;
		/* Whoever comes second finds the kernel's caches warmer. */
		if (i % 2 == 0)
			ret = time_bare(&bare);
		if (ret >= 0)
			ret = time_ours(nursery, &ours);
		if (ret >= 0 && i % 2 == 1)
			ret = time_bare(&bare);
	}
	round->bare_ns = bench_summarize(&bare).median;
	round->ours_ns = bench_summarize(&ours).median;
	return ret;
}

static int measure(void *arg)
{
	struct create_round *round = arg;
	struct zs_runtime_info info;
	struct zs_nursery nursery;
	int ended;
	int ret = zs_runtime_info(NULL, &info);

	if (ret >= 0)
		ret = zs_nursery_open(&nursery, NULL);
	if (ret < 0)
		return ret;
	strncpy(round->model, info.model_name, sizeof(round->model) - 1);
	page_size = (size_t)sysconf(_SC_PAGESIZE);
	slot_size = info.green_thread_stack_size + GUARD_PAGES * page_size;
	ret = time_blocks(round, nursery);
	zs_nursery_cancel(nursery);
	ended = zs_nursery_wait(nursery);
	if (ret < 0)
		return ret;
	return ended == -ECANCELED ? 0 : -EIO;
}

static bool has_guards(void)
{
	size_t size = (size_t)sysconf(_SC_PAGESIZE);
	void *map = mmap(NULL, size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool has = map != MAP_FAILED &&
		   madvise(map, size, ADVISE_GUARD_INSTALL) == 0;

	if (map != MAP_FAILED)
		munmap(map, size);
	return has;
}

static int create_child(void *arg)
{
	struct create_round *round = arg;
	struct zs_config config = zs_config_default();
	int ret;

	round->has_no_guards = !has_guards();
	if (round->has_no_guards)
		return 0;
	config.num_workers = 1;
	ret = zs_run(&config, measure, round);
	if (ret < 0)
		snprintf(round->failure, sizeof(round->failure), "%s",
			 zs_explain(ret));
	return ret;
}

static struct bench_result *add_result(struct bench_report *report,
				       const char *model, const char *label,
				       const struct bench_series *ns)
{
	struct bench_result *result = bench_report_add(report, "task_create");
	struct bench_series rates = { 0 };
	unsigned int i;

	for (i = 0; i < ns->count; i++)
		bench_series_add(&rates, 1e9 / ns->values[i]);
	snprintf(result->model, sizeof(result->model), "%s", model);
	snprintf(result->label, sizeof(result->label), "%s", label);
	snprintf(result->params, sizeof(result->params),
		 "{\"block\": %d, \"workers\": 1}", BLOCK);
	result->limit_name = "a guard, a first touch and 300 ns";
	result->ops_per_second = bench_summarize(&rates);
	result->cpu_ns_per_op = bench_summarize(ns);
	return result;
}

static void report_rounds(struct bench_report *report, const char *model,
			  const struct bench_series *ours,
			  const struct bench_series *bare)
{
	struct bench_series ratios = { 0 }, bare_ratios = { 0 }, more = { 0 };
	struct bench_value difference;
	struct bench_result *result;
	unsigned int i;

	for (i = 0; i < ours->count; i++) {
		double limit_ns = bare->values[i] + ALLOWED_NS;

		bench_series_add(&ratios, ours->values[i] / limit_ns);
		bench_series_add(&bare_ratios, bare->values[i] / limit_ns);
		bench_series_add(&more, ours->values[i] - bare->values[i]);
	}
	difference = bench_summarize(&more);
	result = add_result(report, model, "spawned, run, parked", ours);
	result->ratio_to_limit = bench_summarize(&ratios);
	add_result(report, "bare_stack", "guarded, touched", bare)
		->ratio_to_limit = bench_summarize(&bare_ratios);
	bench_report_show(
		report,
		"task_create: a task that parks on a new stack costs %.0f ns, "
		"%.0f more than a bare guard and first touch (%.0f to %.0f "
		"over %u rounds), of 300 that it may; less than 0 is what it "
		"saves by guarding many stacks with one call.",
		result->cpu_ns_per_op.median, difference.median,
		difference.least, difference.greatest, difference.count);
}

static int run_round(struct create_round *round, unsigned int blocks,
		     struct bench_report *report)
{
	struct bench_child child;
	int ret;

	memset(round, 0, sizeof(*round));
	round->blocks = blocks;
	ret = bench_child_start(&child, "task_create", bench_server_cpu(),
				create_child, round);
	if (ret == 0)
		ret = bench_child_wait(&child, LIMIT_MS);
	if (ret < 0)
		bench_report_note(report, "task_create: %s",
				  round->failure[0] ? round->failure :
						      strerror(-ret));
	if (ret == 0 && round->has_no_guards) {
		bench_report_note(report, "task_create: this kernel has no "
					  "MADV_GUARD_INSTALL to compare with");
		return -EOPNOTSUPP;
	}
	return ret;
}

static int run_task_create(const struct bench_options *options,
			   struct bench_report *report)
{
	unsigned int rounds = bench_rounds(options, 7, 3);
	struct bench_series ours = { 0 }, bare = { 0 };
	struct create_round *round;
	char model[32] = "";
	unsigned int i;
	int ret = 0;

	if (!bare_is_possible()) {
		bench_report_note(report, "task_create: not run in a "
					  "sanitizer's build");
		return 0;
	}
	round = bench_shared_map(sizeof(*round));
	if (!round)
		return -ENOMEM;
	for (i = 0; i < rounds; i++) {
		bench_progress("task_create: round %u of %u", i + 1, rounds);
		ret = run_round(
			round, options->quick ? BLOCKS_QUICK : BLOCKS - WARM_UP,
			report);
		if (ret < 0)
			break;
		memcpy(model, round->model, sizeof(model));
		bench_series_add(&ours, round->ours_ns);
		bench_series_add(&bare, round->bare_ns);
	}
	if (ours.count > 0)
		report_rounds(report, model, &ours, &bare);
	bench_shared_unmap(round, sizeof(*round));
	return ret == -EOPNOTSUPP ? 0 : ret;
}

const struct bench bench_task_create = {
	.name = "task_create",
	.question = "what a task costs that parks on a stack of its own, "
		    "newly made",
	.run = run_task_create,
};
