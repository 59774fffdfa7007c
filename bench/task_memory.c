/* SPDX-License-Identifier: MIT */
/*
 * task_memory: what does a parked task keep resident, where there are a million
 * of them, each having run on a guarded stack of its own? And how many of the
 * process's mappings do they take, of which it may have 65,530 by default?
 *
 * The limit is one page, which a stack that was used cannot do without, and 300
 * bytes. Counted is what the whole process has more than before they were
 * spawned; page tables, which the kernel counts apart, are told beside it.
 */
#include "bench.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zsync.h>

#include "bare.h"

enum {
	TASKS = 1000000,
	TASKS_QUICK = 50000,
	SPAWNED_AT_ONCE = 256,
	LIMIT_BYTES = 300, /* and a page */
	/* What must be free for each: its memory and page tables. */
	NEEDED_BYTES = 6000,
	LIMIT_MS = 180000,
};

/* A round; in shared memory, the child fills it. */
struct memory_round {
	long tasks;
	double bytes;	    /* resident, of each */
	double table_bytes; /* of page tables, of each */
	double create_ns;   /* CPU time, from the spawn until it is parked */
	double end_ns;	    /* likewise, from the cancel until it is joined */
	long mappings;
	long left_bytes; /* resident still, of each, after all have ended */
	char model[32];
	char failure[160];
};

static long parked;

/* Of /proc/self/status or /proc/meminfo, in bytes; 0 if there is no such line.
 */
static long read_size(const char *path, const char *name)
{
	FILE *file = fopen(path, "re");
	long kilobytes = 0;
	char line[256];

	while (file && fgets(line, sizeof(line), file)) {
		if (strncmp(line, name, strlen(name)) == 0)
			kilobytes = strtol(line + strlen(name), NULL, 10);
	}
	if (file)
		fclose(file);
	return kilobytes << 10;
}

static long resident_bytes(void)
{
	return read_size("/proc/self/status", "VmRSS:");
}

static long table_bytes(void)
{
	return read_size("/proc/self/status", "VmPTE:");
}

static long num_mappings(void)
{
	FILE *file = fopen("/proc/self/maps", "re");
	long number = 0;
	int byte;

	if (!file)
		return 0;
	for (byte = getc(file); byte != EOF; byte = getc(file))
		number += byte == '\n';
	fclose(file);
	return number;
}

static int park(void *arg)
{
	(void)arg;
	parked++;
	return zs_sleep(ZS_NEVER);
}

static int park_many(struct zs_nursery nursery, long tasks)
{
	long i;
	int ret = 0;

	for (i = 0; i < tasks && ret >= 0; i++) {
		ret = zs_nursery_spawn(nursery, park, NULL);
		if (ret >= 0 && i % SPAWNED_AT_ONCE == 0)
			ret = zs_yield();
	}
	while (parked < tasks && ret >= 0)
		ret = zs_yield();
	return ret;
}

static int measure(void *arg)
{
	struct memory_round *round = arg;
	double tasks = (double)round->tasks;
	struct zs_runtime_info info;
	struct zs_nursery nursery;
	long resident, tables, mappings;
	int64_t start_ns;
	int ended;
	int ret = zs_runtime_info(NULL, &info);

	if (ret >= 0)
		ret = zs_nursery_open(&nursery, NULL);
	if (ret < 0)
		return ret;
	strncpy(round->model, info.model_name, sizeof(round->model) - 1);
	mappings = num_mappings();
	tables = table_bytes();
	resident = resident_bytes();
	start_ns = bare_cpu_ns();
	ret = park_many(nursery, round->tasks);
	round->create_ns = (double)(bare_cpu_ns() - start_ns) / tasks;
	round->bytes = (double)(resident_bytes() - resident) / tasks;
	round->table_bytes = (double)(table_bytes() - tables) / tasks;
	round->mappings = num_mappings() - mappings;
	start_ns = bare_cpu_ns();
	zs_nursery_cancel(nursery);
	ended = zs_nursery_wait(nursery);
	round->end_ns = (double)(bare_cpu_ns() - start_ns) / tasks;
	round->left_bytes = (resident_bytes() - resident) / round->tasks;
	if (ret < 0)
		return ret;
	return ended == -ECANCELED ? 0 : -EIO;
}

static int memory_child(void *arg)
{
	struct memory_round *round = arg;
	struct zs_config config = zs_config_default();
	int ret;

	config.num_workers = 1;
	ret = zs_run(&config, measure, round);
	if (ret < 0)
		snprintf(round->failure, sizeof(round->failure), "%s",
			 zs_explain(ret));
	return ret;
}

static int run_round(struct memory_round *round, long tasks,
		     struct bench_report *report)
{
	struct bench_child child;
	int ret;

	memset(round, 0, sizeof(*round));
	round->tasks = tasks;
	ret = bench_child_start(&child, "task_memory", bench_server_cpu(),
				memory_child, round);
	if (ret == 0)
		ret = bench_child_wait(&child, LIMIT_MS);
	if (ret < 0)
		bench_report_note(report, "task_memory: %s",
				  round->failure[0] ? round->failure :
						      strerror(-ret));
	return ret;
}

static void report_round(struct bench_report *report,
			 const struct memory_round *round,
			 const struct bench_series *bytes,
			 const struct bench_series *ns)
{
	struct bench_result *result = bench_report_add(report, "task_memory");
	double limit = (double)sysconf(_SC_PAGESIZE) + LIMIT_BYTES;
	struct bench_value value = bench_summarize(bytes);
	struct bench_series ratios = { 0 };
	unsigned int i;

	for (i = 0; i < bytes->count; i++)
		bench_series_add(&ratios, bytes->values[i] / limit);
	snprintf(result->model, sizeof(result->model), "%s", round->model);
	snprintf(result->label, sizeof(result->label), "%.1f B a task",
		 value.median);
	snprintf(result->params, sizeof(result->params),
		 "{\"tasks\": %ld, \"workers\": 1, \"resident_bytes\": %.1f, "
		 "\"page_table_bytes\": %.1f, \"mappings\": %ld}",
		 round->tasks, value.median, round->table_bytes,
		 round->mappings);
	result->limit_name = "a page and 300 bytes of each parked task";
	result->cpu_ns_per_op = bench_summarize(ns);
	result->ratio_to_limit = bench_summarize(&ratios);
	bench_report_show(
		report,
		"task_memory: %ld parked tasks, each of which has run on a "
		"guarded stack, keep %.1f bytes each resident, of %.0f that "
		"they may, and take %ld mappings; besides %.0f bytes each of "
		"page tables. To end one costs %.0f ns, and then %ld bytes of "
		"it are left.",
		round->tasks, value.median, limit, round->mappings,
		round->table_bytes, round->end_ns, round->left_bytes);
}

static int run_task_memory(const struct bench_options *options,
			   struct bench_report *report)
{
	unsigned int rounds = bench_rounds(options, 1, 1);
	long tasks = options->quick ? TASKS_QUICK : TASKS;
	long room = read_size("/proc/meminfo", "MemAvailable:") / NEEDED_BYTES;
	struct bench_series bytes = { 0 }, ns = { 0 };
	struct memory_round *round;
	unsigned int i;
	int ret = 0;

	if (!bare_is_possible()) {
		bench_report_note(report, "task_memory: not run in a "
					  "sanitizer's build");
		return 0;
	}
	if (room < tasks) {
		bench_report_note(report,
				  "task_memory: there is memory for %ld tasks "
				  "only, not for %ld",
				  room, tasks);
		tasks = room;
	}
	round = bench_shared_map(sizeof(*round));
	if (!round)
		return -ENOMEM;
	for (i = 0; i < rounds && ret == 0; i++) {
		bench_progress("task_memory: round %u of %u", i + 1, rounds);
		ret = run_round(round, tasks, report);
		if (ret < 0)
			break;
		bench_series_add(&bytes, round->bytes);
		bench_series_add(&ns, round->create_ns);
	}
	if (bytes.count > 0 && ret == 0)
		report_round(report, round, &bytes, &ns);
	bench_shared_unmap(round, sizeof(*round));
	return ret;
}

const struct bench bench_task_memory = {
	.name = "task_memory",
	.question = "what a parked task keeps resident, where there are a "
		    "million",
	.run = run_task_memory,
};
