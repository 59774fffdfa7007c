/* SPDX-License-Identifier: MIT */
/*
 * arena: what does a piece of memory cost that goes with its task's work? 64
 * pieces of 16 to 256 bytes, written to and freed, over and over: by an arena
 * that is opened and closed each time, and, which is the limit, by malloc() and
 * free().
 */
#include "bench.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zsync.h>

#include "bare.h"

enum {
	PIECES = 64,
	TIMES = 20000,
	LIMIT_MS = 30000,
};

enum way { ARENA, MALLOC, NUM_WAYS };

/* A round; in shared memory, the child fills it. */
struct arena_round {
	double ns[NUM_WAYS]; /* a piece */
	char model[32];
	char failure[160];
};

static void *pieces[PIECES];

static size_t size_of(int i)
{
	return 16 + (size_t)(i * 37 % 16) * 16;
}

static int use_arena(void)
{
	struct zs_arena arena;
	int ret = zs_arena_open(&arena, NULL);
	int i;

	if (ret < 0)
		return ret;
	for (i = 0; i < PIECES; i++) {
		pieces[i] = zs_arena_alloc(&arena, size_of(i), 0);
		if (!pieces[i])
			return -ENOMEM;
		*(char *)pieces[i] = 1;
	}
	return zs_arena_close(&arena);
}

static int use_malloc(void)
{
	int i;

	for (i = 0; i < PIECES; i++) {
		pieces[i] = malloc(size_of(i));
		if (!pieces[i])
			return -ENOMEM;
		*(char *)pieces[i] = 1;
	}
	for (i = 0; i < PIECES; i++)
		free(pieces[i]);
	return 0;
}

static int time_way(int (*use)(void), double *ns)
{
	int64_t start_ns;
	int ret = 0;
	int i;

	for (i = 0; i < TIMES / 10 && ret == 0; i++)
		ret = use();
	start_ns = bare_cpu_ns();
	for (i = 0; i < TIMES && ret == 0; i++)
		ret = use();
	*ns = (double)(bare_cpu_ns() - start_ns) / TIMES / PIECES;
	return ret;
}

static int measure(void *arg)
{
	struct arena_round *round = arg;
	struct zs_runtime_info info;
	int ret = zs_runtime_info(NULL, &info);

	if (ret < 0)
		return ret;
	strncpy(round->model, info.model_name, sizeof(round->model) - 1);
	ret = time_way(use_malloc, &round->ns[MALLOC]);
	return ret < 0 ? ret : time_way(use_arena, &round->ns[ARENA]);
}

static int arena_child(void *arg)
{
	struct arena_round *round = arg;
	struct zs_config config = zs_config_default();
	int ret;

	config.num_workers = 1;
	ret = zs_run(&config, measure, round);
	if (ret < 0)
		snprintf(round->failure, sizeof(round->failure), "%s",
			 zs_explain(ret));
	return ret;
}

static struct bench_result *add_result(struct bench_report *report,
				       const char *model,
				       const struct bench_series *ns,
				       const struct bench_series *limit)
{
	struct bench_result *result = bench_report_add(report, "arena");
	struct bench_series rates = { 0 }, ratios = { 0 };
	unsigned int i;

	for (i = 0; i < ns->count; i++) {
		bench_series_add(&rates, 1e9 / ns->values[i]);
		bench_series_add(&ratios, ns->values[i] / limit->values[i]);
	}
	snprintf(result->model, sizeof(result->model), "%s", model);
	snprintf(result->label, sizeof(result->label), "64 pieces at a time");
	snprintf(result->params, sizeof(result->params),
		 "{\"pieces\": %d, \"workers\": 1}", PIECES);
	result->limit_name = "malloc() and free()";
	result->ops_per_second = bench_summarize(&rates);
	result->cpu_ns_per_op = bench_summarize(ns);
	result->ratio_to_limit = bench_summarize(&ratios);
	return result;
}

static void report_all(struct bench_report *report, const char *model,
		       const struct bench_series ns[NUM_WAYS])
{
	struct bench_result *result =
		add_result(report, model, &ns[ARENA], &ns[MALLOC]);

	bench_report_show(report,
			  "arena: a piece of memory takes %.1f ns, its arena's "
			  "beginning and end included: %.2f times malloc() and "
			  "free() (%.2f to %.2f over %u rounds).",
			  result->cpu_ns_per_op.median,
			  result->ratio_to_limit.median,
			  result->ratio_to_limit.least,
			  result->ratio_to_limit.greatest,
			  result->ratio_to_limit.count);
	add_result(report, "malloc", &ns[MALLOC], &ns[MALLOC]);
}

static int run_arena(const struct bench_options *options,
		     struct bench_report *report)
{
	unsigned int rounds = bench_rounds(options, 15, 7);
	struct arena_round *round = bench_shared_map(sizeof(*round));
	struct bench_series ns[NUM_WAYS] = { 0 };
	char model[32] = "";
	unsigned int i;
	int ret = 0;
	int way;

	if (!round)
		return -ENOMEM;
	for (i = 0; i < rounds && ret == 0; i++) {
		bench_progress("arena: round %u of %u", i + 1, rounds);
		memset(round, 0, sizeof(*round));
		ret = bench_child_run("arena", bench_server_cpu(), arena_child,
				      round, LIMIT_MS);
		if (ret < 0)
			break;
		memcpy(model, round->model, sizeof(model));
		for (way = 0; way < NUM_WAYS; way++)
			bench_series_add(&ns[way], round->ns[way]);
	}
	if (ret < 0)
		bench_report_failure(report, "arena", ret, round->failure);
	if (ns[ARENA].count > 0)
		report_all(report, model, ns);
	bench_shared_unmap(round, sizeof(*round));
	return ret;
}

const struct bench bench_arena = {
	.name = "arena",
	.question = "what memory costs that is freed at once, beside malloc()",
	.run = run_arena,
};
