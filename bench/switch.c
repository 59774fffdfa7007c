/* SPDX-License-Identifier: MIT */
/*
 * switch: what does it cost to let another task run, beside the bare jump
 * between two stacks that is inside of it? And that jump beside that of
 * Boost.Context. CPU time of the thread, all in one child and one after the
 * other, so that they see the same machine.
 */
#include "bench.h"

#include <errno.h>
#include <string.h>
#include <zsync.h>

#include "bare.h"
#include "peers/fcontext.h"

enum {
	JUMP_PAIRS = 2000000,
	YIELDS = 1000000, /* of each of the two tasks */
	LIMIT_MS = 20000,
};

/* A round; in shared memory, the child fills it. */
struct switch_round {
	double bare_ns;
	double peer_ns; /* negative: not installed */
	double yield_ns;
	uint64_t switches;
	char model[32];
	char failure[160];
};

static int yield_often(void *arg)
{
	uint64_t count = *(const uint64_t *)arg;
	uint64_t i;
	int ret = 0;

	for (i = 0; i < count && ret >= 0; i++)
		ret = zs_yield();
	return ret;
}

/* Two tasks that do nothing but give way to each other. The opener is parked
 * meanwhile. Nanoseconds a yield, or negative. */
static double time_yields(uint64_t count)
{
	const struct zs_nursery_options pinned = { .flags = ZS_NURSERY_PINNED };
	struct zs_nursery nursery;
	int64_t start_ns;
	int ret;

	ret = zs_nursery_open(&nursery, &pinned);
	if (ret < 0)
		return ret;
	start_ns = bare_cpu_ns();
	ret = zs_nursery_spawn(nursery, yield_often, &count);
	if (ret >= 0)
		ret = zs_nursery_spawn(nursery, yield_often, &count);
	if (ret < 0)
		zs_nursery_cancel(nursery);
	ret = zs_nursery_wait(nursery);
	if (ret < 0)
		return ret;
	return (double)(bare_cpu_ns() - start_ns) / (2 * (double)count);
}

static int measure(void *arg)
{
	struct switch_round *round = arg;
	struct zs_runtime_info info;
	struct zs_stats before, after;
	int ret;

	ret = zs_runtime_info(NULL, &info);
	if (ret < 0)
		return ret;
	strncpy(round->model, info.model_name, sizeof(round->model) - 1);
	time_yields(YIELDS / 10);
	zs_stats(NULL, &before);
	round->yield_ns = time_yields(YIELDS);
	zs_stats(NULL, &after);
	round->switches = after.total.switches - before.total.switches;
	return round->yield_ns < 0 ? (int)round->yield_ns : 0;
}

static int switch_child(void *arg)
{
	struct switch_round *round = arg;
	struct zs_config config = zs_config_default();
	int ret;

	config.num_workers = 1;
	bare_switch_ns(JUMP_PAIRS / 10);
	fcontext_jump_ns(JUMP_PAIRS / 10);
	round->bare_ns = bare_switch_ns(JUMP_PAIRS);
	round->peer_ns = fcontext_jump_ns(JUMP_PAIRS);
	ret = zs_run(&config, measure, round);
	if (ret < 0)
		snprintf(round->failure, sizeof(round->failure), "%s",
			 zs_explain(ret));
	return ret;
}

static struct bench_result *add_result(struct bench_report *report,
				       const char *model, const char *label,
				       const struct bench_series *ns,
				       const struct bench_series *ratios)
{
	struct bench_result *result = bench_report_add(report, "switch");
	struct bench_series rates = { 0 };
	unsigned int i;

	for (i = 0; i < ns->count; i++)
		bench_series_add(&rates, 1e9 / ns->values[i]);
	snprintf(result->model, sizeof(result->model), "%s", model);
	snprintf(result->label, sizeof(result->label), "%s", label);
	snprintf(result->params, sizeof(result->params),
		 "{\"tasks\": 2, \"workers\": 1}");
	result->limit_name = "a bare jump between two stacks";
	result->ops_per_second = bench_summarize(&rates);
	result->cpu_ns_per_op = bench_summarize(ns);
	result->ratio_to_limit = bench_summarize(ratios);
	return result;
}

static int run_round(struct switch_round *round, struct bench_report *report)
{
	int ret;

	memset(round, 0, sizeof(*round));
	ret = bench_child_run("switch", bench_server_cpu(), switch_child, round,
			      LIMIT_MS);
	if (ret < 0)
		bench_report_failure(report, "switch", ret, round->failure);
	/* Or a yield that returns without a switch would look fast. */
	else if (round->switches < 2 * (uint64_t)YIELDS)
		bench_report_note(report,
				  "switch: only %llu switches in %d yields",
				  (unsigned long long)round->switches,
				  2 * YIELDS);
	return ret;
}

/* All rounds. */
struct series {
	struct bench_series ours, bare, peer;
	/* Of a yield to the bare jump; of the peer's jump to that, and back. */
	struct bench_series ratios, peer_ratios, ratios_to_peer;
};

static void add_round(struct series *all, const struct switch_round *round)
{
	bench_series_add(&all->ours, round->yield_ns);
	bench_series_add(&all->bare, round->bare_ns);
	bench_series_add(&all->ratios, round->yield_ns / round->bare_ns);
	if (round->peer_ns < 0)
		return;
	bench_series_add(&all->peer, round->peer_ns);
	bench_series_add(&all->peer_ratios, round->peer_ns / round->bare_ns);
	bench_series_add(&all->ratios_to_peer, round->bare_ns / round->peer_ns);
}

static void report_peer(struct bench_report *report, const struct series *all)
{
	struct bench_value ratio;

	if (all->peer.count == 0) {
		bench_report_note(report, "switch: Boost.Context is not "
					  "installed (libboost-context)");
		return;
	}
	add_result(report, "boost", "Boost.Context's jump", &all->peer,
		   &all->peer_ratios);
	ratio = bench_summarize(&all->ratios_to_peer);
	bench_report_show(report,
			  "switch: the bare jump takes %.2f of Boost.Context's "
			  "(%.2f to %.2f over %u rounds; limit 1.00).",
			  ratio.median, ratio.least, ratio.greatest,
			  ratio.count);
}

static void report_rounds(struct bench_report *report, const char *model,
			  const struct series *all)
{
	struct bench_series ones = { 0 };
	struct bench_result *result;
	unsigned int i;

	for (i = 0; i < all->bare.count; i++)
		bench_series_add(&ones, 1);
	result = add_result(report, model, "zs_yield, two tasks", &all->ours,
			    &all->ratios);
	add_result(report, "bare_switch", "zs_switch, two stacks", &all->bare,
		   &ones);
	report_peer(report, all);
	bench_report_show(
		report,
		"switch: a task gives way to another in %.1f ns, %.1f times "
		"the bare jump between two stacks that is inside of it "
		"(%.1f to %.1f over %u rounds).",
		result->cpu_ns_per_op.median, result->ratio_to_limit.median,
		result->ratio_to_limit.least, result->ratio_to_limit.greatest,
		result->ratio_to_limit.count);
}

static int run_switch(const struct bench_options *options,
		      struct bench_report *report)
{
	unsigned int rounds = bench_rounds(options, 15, 9);
	struct series all = { 0 };
	struct switch_round *round;
	char model[32] = "";
	unsigned int i;
	int ret = 0;

	if (!bare_is_possible()) {
		bench_report_note(report, "switch: not run in a sanitizer's "
					  "build");
		return 0;
	}
	round = bench_shared_map(sizeof(*round));
	if (!round)
		return -ENOMEM;
	for (i = 0; i < rounds && ret == 0; i++) {
		bench_progress("switch: round %u of %u", i + 1, rounds);
		ret = run_round(round, report);
		if (ret < 0)
			break;
		memcpy(model, round->model, sizeof(model));
		add_round(&all, round);
	}
	if (all.ours.count > 0)
		report_rounds(report, model, &all);
	bench_shared_unmap(round, sizeof(*round));
	return ret;
}

const struct bench bench_switch = {
	.name = "switch",
	.question = "what it costs to let another task run",
	.run = run_switch,
};
