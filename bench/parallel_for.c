/* SPDX-License-Identifier: MIT */
/*
 * parallel_for: what does a parallel loop lose? 10,000,000 items of a few
 * floating-point operations each, the grain left to zs_parallel_for(), on a
 * worker for each CPU.
 *
 * The limit is the same loop split evenly among as many threads, which are made
 * for it. Beside it one thread, and, where `make peers` has built it, OpenMP's
 * static schedule, of whose time we want 1.1 times at most. Each figure is the
 * best of eight in a process of its own.
 */
#include "bench.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zsync.h>

#include "forkjoin_work.h"
#include "peer.h"

enum {
	BEST_OF = 8,
	THREADS_MOST = 64,
	LIMIT_MS = 60000,
};

enum who { OURS, SPLIT, ONE_THREAD, OPENMP, NUM_WHO };

static const char *const who_name[NUM_WHO] = { "", "pthreads", "one thread",
					       "OpenMP static" };

/* In shared memory, the child fills it. */
struct loop_round {
	enum who who;
	uint32_t threads;
	double ns; /* a loop */
	char model[32];
	char failure[160];
};

static float *items;

static int make_items(void)
{
	int i;

	items = malloc(LOOP_ITEMS * sizeof(*items));
	if (!items)
		return -ENOMEM;
	for (i = 0; i < LOOP_ITEMS; i++)
		items[i] = (float)i / LOOP_ITEMS;
	return 0;
}

static int do_range(int64_t begin, int64_t end, void *unused)
{
	(void)unused;
	loop_work(items, begin, end);
	return 0;
}

struct share {
	pthread_t thread;
	int64_t begin;
	int64_t end;
};

static void *run_share(void *arg)
{
	const struct share *share = arg;

	loop_work(items, share->begin, share->end);
	return NULL;
}

static int run_split(uint32_t threads)
{
	struct share shares[THREADS_MOST] = { 0 };
	uint32_t i;

	for (i = 0; i < threads; i++) {
		shares[i].begin = (int64_t)LOOP_ITEMS * i / threads;
		shares[i].end = (int64_t)LOOP_ITEMS * (i + 1) / threads;
		if (i > 0 && pthread_create(&shares[i].thread, NULL, run_share,
					    &shares[i]) != 0)
			return -EAGAIN;
	}
	run_share(&shares[0]);
	for (i = 1; i < threads; i++)
		pthread_join(shares[i].thread, NULL);
	return 0;
}

static int run_once(const struct loop_round *round)
{
	switch (round->who) {
	case OURS:
		return zs_parallel_for(0, LOOP_ITEMS, 0, do_range, NULL);
	case SPLIT:
		return run_split(round->threads);
	default:
		return do_range(0, LOOP_ITEMS, NULL);
	}
}

static int64_t wall_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int best_of(struct loop_round *round)
{
	int i, ret;

	for (i = 0; i < BEST_OF; i++) {
		int64_t start_ns = wall_ns();
		double took;

		ret = run_once(round);
		if (ret < 0)
			return ret;
		took = (double)(wall_ns() - start_ns);
		if (round->ns == 0 || took < round->ns)
			round->ns = took;
	}
	return 0;
}

static int measure(void *arg)
{
	struct loop_round *round = arg;
	struct zs_runtime_info info;
	int ret = zs_runtime_info(NULL, &info);

	if (ret < 0)
		return ret;
	strncpy(round->model, info.model_name, sizeof(round->model) - 1);
	return best_of(round);
}

static int loop_child(void *arg)
{
	struct loop_round *round = arg;
	struct zs_config config = zs_config_default();
	int ret = make_items();

	if (ret < 0)
		return ret;
	config.num_workers = round->threads;
	ret = round->who == OURS ? zs_run(&config, measure, round) :
				   best_of(round);
	if (ret < 0)
		snprintf(round->failure, sizeof(round->failure), "%s",
			 zs_explain(ret));
	return ret;
}

struct series {
	struct bench_series ns[NUM_WHO];
	char model[32];
	uint32_t threads;
};

static int run_round(struct loop_round *round, struct series *series)
{
	char arguments[32];
	double peer;
	int who, ret;

	for (who = OURS; who < OPENMP; who++) {
		memset(round, 0, sizeof(*round));
		round->who = who;
		round->threads = series->threads;
		ret = bench_child_run("parallel_for", BENCH_ANY_CPU, loop_child,
				      round, LIMIT_MS);
		if (ret < 0)
			return ret;
		if (who == OURS)
			memcpy(series->model, round->model,
			       sizeof(series->model));
		bench_series_add(&series->ns[who], round->ns);
	}
	snprintf(arguments, sizeof(arguments), "for %u", series->threads);
	peer = peer_ns("peer-openmp", arguments);
	if (peer > 0)
		bench_series_add(&series->ns[OPENMP], peer);
	return 0;
}

static struct bench_result *add_result(struct bench_report *report,
				       const struct series *series, int who,
				       const struct bench_series *limit)
{
	struct bench_result *result = bench_report_add(report, "parallel_for");
	struct bench_series rates = { 0 }, ratios = { 0 };
	const struct bench_series *ns = &series->ns[who];
	unsigned int i;

	for (i = 0; i < ns->count; i++)
		bench_series_add(&rates, LOOP_ITEMS * 1e9 / ns->values[i]);
	for (i = 0; i < ns->count && i < limit->count; i++)
		bench_series_add(&ratios, ns->values[i] / limit->values[i]);
	snprintf(result->model, sizeof(result->model), "%s",
		 who == OURS ? series->model : who_name[who]);
	snprintf(result->label, sizeof(result->label), "10,000,000 items%s",
		 who == ONE_THREAD ? ", 1 thread" : "");
	snprintf(result->params, sizeof(result->params),
		 "{\"items\": %d, \"workers\": %u}", LOOP_ITEMS,
		 who == ONE_THREAD ? 1 : series->threads);
	result->limit_name = who_name[SPLIT];
	result->ops_per_second = bench_summarize(&rates);
	result->ratio_to_limit = bench_summarize(&ratios);
	return result;
}

static void report_all(struct bench_report *report, const struct series *series)
{
	enum who limit = series->ns[OPENMP].count > 0 ? OPENMP : SPLIT;
	struct bench_result *result;
	int who;

	result = add_result(report, series, OURS, &series->ns[limit]);
	result->limit_name = who_name[limit];
	result->most_ratio = 1.1;
	bench_report_show(
		report,
		"parallel_for: a loop over 10,000,000 items takes "
		"%.2f ms on %u workers, %.2f times %s (%.2f to %.2f "
		"over %u rounds); %.2f ms on one thread.",
		bench_summarize(&series->ns[OURS]).median / 1e6,
		series->threads, result->ratio_to_limit.median,
		result->limit_name, result->ratio_to_limit.least,
		result->ratio_to_limit.greatest, result->ratio_to_limit.count,
		bench_summarize(&series->ns[ONE_THREAD]).median / 1e6);
	for (who = SPLIT; who < NUM_WHO; who++)
		if (series->ns[who].count > 0)
			add_result(report, series, who, &series->ns[SPLIT]);
}

static int run_parallel_for(const struct bench_options *options,
			    struct bench_report *report)
{
	unsigned int rounds = bench_rounds(options, 9, 3);
	struct loop_round *round = bench_shared_map(sizeof(*round));
	struct series series = { .threads = (uint32_t)bench_num_cpus() };
	unsigned int i;
	int ret = 0;

	if (!round)
		return -ENOMEM;
	if (series.threads > THREADS_MOST)
		series.threads = THREADS_MOST;
	for (i = 0; i < rounds && ret == 0; i++) {
		bench_progress("parallel_for: round %u of %u", i + 1, rounds);
		ret = run_round(round, &series);
	}
	if (ret < 0)
		bench_report_failure(report, "parallel_for", ret,
				     round->failure);
	if (series.ns[ONE_THREAD].count > 0)
		report_all(report, &series);
	bench_shared_unmap(round, sizeof(*round));
	return ret;
}

const struct bench bench_parallel_for = {
	.name = "parallel_for",
	.question = "what a parallel loop takes beside one split by hand",
	.run = run_parallel_for,
};
