/* SPDX-License-Identifier: MIT */
/*
 * ring_nop: what does a task add to an operation that completes at once? NOPs,
 * awaited by one task, and by 32 that are ready together; beside a bare ring
 * that is given as many at a time.
 *
 * CPU time of one thread, on which both take turns of a few milliseconds,
 * another first each time, so that they see the same machine. The limit is the
 * bare ring and what is allowed on top of it.
 */
#include "bench.h"

#include <errno.h>
#include <string.h>
#include <zsync.h>

#include "bare.h"
#include "engine/abi.h"
#include "io/await.h"
#include "raw_ring.h"

enum {
	DEPTH = 64,
	TURNS = 20,	 /* of a round, each way */
	NOPS = 9600,	 /* of a turn */
	ALLOWED_NS = 25, /* more than the bare ring */
	LIMIT_MS = 20000,
};

enum way { ALONE, IN_BATCHES, NUM_WAYS };

static const uint32_t batch_of[NUM_WAYS] = { 1, 32 };
static const char *const ours_label[NUM_WAYS] = { "1 task", "32 tasks" };
static const char *const bare_label[NUM_WAYS] = { "1 at a time",
						  "32 at a time" };

/* A round; in shared memory, the child fills it. */
struct nop_round {
	double bare_ns[NUM_WAYS];
	double ours_ns[NUM_WAYS];
	char model[32];
	char failure[160];
};

/* --- the bare ring --- */

static int bare_batch(struct raw_ring *ring, uint32_t batch)
{
	struct zs_cqe cqe;
	uint32_t done = 0;
	uint32_t i;
	int ret;

	for (i = 0; i < batch; i++)
		raw_ring_sqe(ring)->opcode = ZS_URING_OP_NOP;
	while (done < batch) {
		ret = raw_ring_turn(ring, 0);
		if (ret < 0)
			return ret;
		while (raw_ring_next(ring, &cqe))
			done++;
	}
	return 0;
}

/* Adds to *ns what one of them took. */
static int time_bare(struct raw_ring *ring, uint32_t batch, double *ns)
{
	int64_t start_ns = bare_cpu_ns();
	int done;
	int ret = 0;

	for (done = 0; done < NOPS && ret == 0; done += (int)batch)
		ret = bare_batch(ring, batch);
	*ns += (double)(bare_cpu_ns() - start_ns) / NOPS;
	return ret;
}

/* --- tasks --- */

static int await_nops(void *arg)
{
	uint64_t count = *(const uint64_t *)arg;
	int ret = 0;

	for (; count > 0 && ret == 0; count--) {
		struct zs_op op = { .code = ZS_OP_NOP, .fd = -1 };

		ret = zs_await(&op);
	}
	return ret;
}

/* Likewise. */
static int time_tasks(uint32_t batch, double *ns)
{
	const struct zs_nursery_options pinned = { .flags = ZS_NURSERY_PINNED };
	uint64_t count_each = NOPS / batch;
	struct zs_nursery nursery;
	int64_t start_ns;
	uint32_t i;
	int ended;
	int ret;

	ret = zs_nursery_open(&nursery, &pinned);
	if (ret < 0)
		return ret;
	start_ns = bare_cpu_ns();
	for (i = 0; i < batch && ret >= 0; i++)
		ret = zs_nursery_spawn(nursery, await_nops, &count_each);
	ended = zs_nursery_wait(nursery);
	*ns += (double)(bare_cpu_ns() - start_ns) / NOPS;
	return ret < 0 ? ret : ended;
}

/* --- rounds --- */

static int take_turn(struct raw_ring *ring, struct nop_round *round, int way,
		     bool bare_is_first)
{
	uint32_t batch = batch_of[way];
	int ret = 0;

	if (bare_is_first)
		ret = time_bare(ring, batch, &round->bare_ns[way]);
	if (ret == 0)
		ret = time_tasks(batch, &round->ours_ns[way]);
	if (ret == 0 && !bare_is_first)
		ret = time_bare(ring, batch, &round->bare_ns[way]);
	return ret;
}

static int take_turns(struct raw_ring *ring, struct nop_round *round)
{
	struct nop_round warm_up = { 0 };
	int turn;
	int way;
	int ret = 0;

	for (way = 0; way < NUM_WAYS && ret == 0; way++) {
		ret = take_turn(ring, &warm_up, way, true);
		for (turn = 0; turn < TURNS && ret == 0; turn++)
			ret = take_turn(ring, round, way, turn % 2);
		round->bare_ns[way] /= TURNS;
		round->ours_ns[way] /= TURNS;
	}
	return ret;
}

/* The task: it waits in the kernel for a ring of its own, which is no harm,
 * since nobody else is there. */
static int measure(void *arg)
{
	struct nop_round *round = arg;
	struct zs_runtime_info info;
	struct raw_ring ring;
	int ret;

	ret = zs_runtime_info(NULL, &info);
	if (ret < 0)
		return ret;
	strncpy(round->model, info.model_name, sizeof(round->model) - 1);
	ret = raw_ring_open(&ring, DEPTH);
	if (ret < 0)
		return ret;
	ret = take_turns(&ring, round);
	raw_ring_close(&ring);
	return ret;
}

static int nop_child(void *arg)
{
	struct nop_round *round = arg;
	struct zs_config config = zs_config_default();
	int ret;

	config.num_workers = 1;
	config.queue_depth = DEPTH;
	ret = zs_run(&config, measure, round);
	if (ret < 0)
		snprintf(round->failure, sizeof(round->failure), "%s",
			 zs_explain(ret));
	return ret;
}

static struct bench_result *add_result(struct bench_report *report,
				       const char *model, enum way way,
				       const char *label,
				       const struct bench_series *ns,
				       const struct bench_series *bare)
{
	struct bench_result *result = bench_report_add(report, "ring_nop");
	struct bench_series rates = { 0 }, ratios = { 0 };
	unsigned int i;

	for (i = 0; i < ns->count; i++) {
		bench_series_add(&rates, 1e9 / ns->values[i]);
		bench_series_add(&ratios, ns->values[i] / (bare->values[i] +
							   ALLOWED_NS));
	}
	snprintf(result->model, sizeof(result->model), "%s", model);
	snprintf(result->label, sizeof(result->label), "%s", label);
	snprintf(result->params, sizeof(result->params),
		 "{\"batch\": %u, \"workers\": 1}", batch_of[way]);
	result->limit_name = "a bare ring and 25 ns";
	result->ops_per_second = bench_summarize(&rates);
	result->cpu_ns_per_op = bench_summarize(ns);
	result->ratio_to_limit = bench_summarize(&ratios);
	return result;
}

static void report_way(struct bench_report *report, const char *model,
		       enum way way, const struct bench_series *ours,
		       const struct bench_series *bare)
{
	struct bench_series added = { 0 };
	struct bench_result *result;
	struct bench_value value;
	unsigned int i;

	for (i = 0; i < ours->count; i++)
		bench_series_add(&added, ours->values[i] - bare->values[i]);
	value = bench_summarize(&added);
	result = add_result(report, model, way, ours_label[way], ours, bare);
	/* What is promised is about batches. */
	if (way == IN_BATCHES)
		result->most_ratio = 1.0;
	add_result(report, "raw_ring", way, bare_label[way], bare, bare);
	bench_report_show(
		report,
		"ring_nop: a NOP through %s costs %.0f ns, %.0f more than on a "
		"bare ring (%.0f to %.0f over %u rounds%s).",
		ours_label[way], result->cpu_ns_per_op.median, value.median,
		value.least, value.greatest, value.count,
		way == IN_BATCHES ? "; at most 25 are wanted" : "");
}

static int run_ring_nop(const struct bench_options *options,
			struct bench_report *report)
{
	unsigned int rounds = bench_rounds(options, 15, 7);
	struct bench_series ours[NUM_WAYS] = { 0 }, bare[NUM_WAYS] = { 0 };
	struct nop_round *round;
	char model[32] = "";
	unsigned int i;
	int ret = 0;
	int way;

	round = bench_shared_map(sizeof(*round));
	if (!round)
		return -ENOMEM;
	for (i = 0; i < rounds; i++) {
		bench_progress("ring_nop: round %u of %u", i + 1, rounds);
		memset(round, 0, sizeof(*round));
		ret = bench_child_run("ring_nop", bench_server_cpu(), nop_child,
				      round, LIMIT_MS);
		if (ret < 0) {
			bench_report_failure(report, "ring_nop", ret,
					     round->failure);
			break;
		}
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

const struct bench bench_ring_nop = {
	.name = "ring_nop",
	.question = "what a task adds to an operation that completes at once",
	.run = run_ring_nop,
};
