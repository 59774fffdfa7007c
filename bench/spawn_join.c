/* SPDX-License-Identifier: MIT */
/*
 * spawn_join: what does a task cost that does nothing, from its spawn to the
 * end of the wait for it? One by one (each with a nursery of its own) and
 * 10,000 in a nursery.
 *
 * The limit is the least that running a function on a stack of its own can
 * cost: it is put into a queue and taken out, with a bare jump to the stack and
 * one back. A runtime can save a jump where tasks follow one another on the
 * same stack, so a ratio below 1 would be no wonder.
 */
#include "bench.h"

#include <errno.h>
#include <string.h>
#include <zsync.h>

#include "bare.h"

enum {
	BATCH = BARE_BATCH_MAX,
	TASKS = 50 * BATCH, /* of each way */
	LIMIT_MS = 30000,
};

enum way { ONE_BY_ONE, IN_BATCHES, NUM_WAYS };

static const uint32_t batch_of[NUM_WAYS] = { 1, BATCH };
static const char *const ours_label[NUM_WAYS] = { "one by one",
						  "10,000 in a nursery" };
static const char *const bare_label[NUM_WAYS] = { "queued call, 1",
						  "queued call, 10,000" };

/* A round; in shared memory, the child fills it. */
struct spawn_round {
	double bare_ns[NUM_WAYS];
	double ours_ns[NUM_WAYS];
	char model[32];
	char failure[160];
};

static uint64_t ran; /* how many tasks did */

static int count_it(void *arg)
{
	(void)arg;
	ran++;
	return 0;
}

static int run_batch(uint32_t batch)
{
	struct zs_nursery nursery;
	uint32_t i;
	int ended;
	int ret;

	ret = zs_nursery_open(&nursery, NULL);
	if (ret < 0)
		return ret;
	for (i = 0; i < batch && ret >= 0; i++)
		ret = zs_nursery_spawn(nursery, count_it, NULL);
	ended = zs_nursery_wait(nursery);
	return ret < 0 ? ret : ended;
}

static int time_tasks(uint64_t count, uint32_t batch, double *ns)
{
	int64_t start_ns = bare_cpu_ns();
	uint64_t done;
	int ret = 0;

	ran = 0;
	for (done = 0; done < count && ret >= 0; done += batch)
		ret = run_batch(batch);
	*ns = (double)(bare_cpu_ns() - start_ns) / (double)done;
	if (ret < 0)
		return ret;
	/* Joined means that it has run. */
	return ran == done ? 0 : -ENOMSG;
}

static int measure(void *arg)
{
	struct spawn_round *round = arg;
	struct zs_runtime_info info;
	double ignored;
	int ret;
	int way;

	ret = zs_runtime_info(NULL, &info);
	if (ret < 0)
		return ret;
	strncpy(round->model, info.model_name, sizeof(round->model) - 1);
	for (way = 0; way < NUM_WAYS && ret >= 0; way++) {
		ret = time_tasks(BATCH, batch_of[way], &ignored);
		if (ret >= 0)
			ret = time_tasks(TASKS, batch_of[way],
					 &round->ours_ns[way]);
	}
	return ret;
}

static int spawn_child(void *arg)
{
	struct spawn_round *round = arg;
	struct zs_config config = zs_config_default();
	int ret;
	int way;

	for (way = 0; way < NUM_WAYS; way++) {
		bare_task_ns(BATCH, batch_of[way], count_it, NULL);
		round->bare_ns[way] =
			bare_task_ns(TASKS, batch_of[way], count_it, NULL);
	}
	config.num_workers = 1;
	ret = zs_run(&config, measure, round);
	if (ret < 0)
		snprintf(round->failure, sizeof(round->failure), "%s",
			 ret == -ENOMSG ? "a task was joined but had not run" :
					  zs_explain(ret));
	return ret;
}

static struct bench_result *add_result(struct bench_report *report,
				       const char *model, enum way way,
				       const char *label,
				       const struct bench_series *ns)
{
	struct bench_result *result = bench_report_add(report, "spawn_join");
	struct bench_series rates = { 0 };
	unsigned int i;

	for (i = 0; i < ns->count; i++)
		bench_series_add(&rates, 1e9 / ns->values[i]);
	snprintf(result->model, sizeof(result->model), "%s", model);
	snprintf(result->label, sizeof(result->label), "%s", label);
	snprintf(result->params, sizeof(result->params),
		 "{\"batch\": %u, \"workers\": 1}", batch_of[way]);
	result->limit_name = "a queued call on a stack of its own";
	result->ops_per_second = bench_summarize(&rates);
	result->cpu_ns_per_op = bench_summarize(ns);
	return result;
}

static void report_way(struct bench_report *report, const char *model,
		       enum way way, const struct bench_series *ours,
		       const struct bench_series *bare)
{
	struct bench_series ratios = { 0 }, ones = { 0 };
	struct bench_result *result;
	unsigned int i;

	for (i = 0; i < ours->count; i++) {
		bench_series_add(&ratios, ours->values[i] / bare->values[i]);
		bench_series_add(&ones, 1);
	}
	result = add_result(report, model, way, ours_label[way], ours);
	result->ratio_to_limit = bench_summarize(&ratios);
	add_result(report, "bare_switch", way, bare_label[way], bare)
		->ratio_to_limit = bench_summarize(&ones);
	bench_report_show(
		report,
		"spawn_join: a task that does nothing costs %.1f ns %s, from "
		"its spawn to the end of the wait: %.1f times a queued call on "
		"a stack of its own (%.1f to %.1f over %u rounds).",
		result->cpu_ns_per_op.median,
		way == ONE_BY_ONE ? "with a nursery for each" :
				    "with 10,000 in a nursery",
		result->ratio_to_limit.median, result->ratio_to_limit.least,
		result->ratio_to_limit.greatest, result->ratio_to_limit.count);
}

static int run_round(struct spawn_round *round, struct bench_report *report)
{
	int ret;

	memset(round, 0, sizeof(*round));
	ret = bench_child_run("spawn_join", bench_server_cpu(), spawn_child,
			      round, LIMIT_MS);
	if (ret < 0)
		bench_report_failure(report, "spawn_join", ret, round->failure);
	return ret;
}

static int run_spawn_join(const struct bench_options *options,
			  struct bench_report *report)
{
	unsigned int rounds = bench_rounds(options, 15, 7);
	struct bench_series ours[NUM_WAYS] = { 0 }, bare[NUM_WAYS] = { 0 };
	struct spawn_round *round;
	char model[32] = "";
	unsigned int i;
	int ret = 0;
	int way;

	if (!bare_is_possible()) {
		bench_report_note(report, "spawn_join: not run in a "
					  "sanitizer's build");
		return 0;
	}
	round = bench_shared_map(sizeof(*round));
	if (!round)
		return -ENOMEM;
	for (i = 0; i < rounds; i++) {
		bench_progress("spawn_join: round %u of %u", i + 1, rounds);
		ret = run_round(round, report);
		if (ret < 0)
			break;
		memcpy(model, round->model, sizeof(model));
		for (way = 0; way < NUM_WAYS; way++) {
			bench_series_add(&ours[way], round->ours_ns[way]);
			bench_series_add(&bare[way], round->bare_ns[way]);
		}
	}
	for (way = 0; way < NUM_WAYS && ours[way].count > 0; way++)
		report_way(report, model, way, &ours[way], &bare[way]);
	bench_shared_unmap(round, sizeof(*round));
	return ret;
}

const struct bench bench_spawn_join = {
	.name = "spawn_join",
	.question = "what a task costs that does nothing, spawned and waited "
		    "for",
	.run = run_spawn_join,
};
