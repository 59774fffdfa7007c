/* SPDX-License-Identifier: MIT */
/*
 * forkjoin: what does a fork cost that does next to nothing? fib(30) without a
 * cut-off: each call but the leaves forks one half, calls the other and joins,
 * 1,346,268 times; on one worker and on two.
 *
 * The limit is the same function as a plain recursion. Beside it, where `make
 * peers` has built them: oneTBB, of whose time we want half at most, and the
 * tasks of OpenMP. Each figure is the best of three in a process of its own.
 */
#include "bench.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <zsync.h>

#include "peer.h"

enum {
	N = 30,
	FIB_N = 832040,
	FORKS = 1346268,
	BEST_OF = 3,
	COUNTS = 2, /* of workers: 1 and 2 */
	LIMIT_MS = 60000,
};

enum who { OURS, TBB, OPENMP, NUM_WHO };

static const char *const who_name[NUM_WHO] = { "", "oneTBB", "OpenMP" };

/* In shared memory, the child fills it. */
struct forkjoin_round {
	double ns; /* a fork */
	uint32_t workers;
	char model[32];
	char failure[160];
};

struct number {
	int n;
	long result;
};

static int fib(void *arg)
{
	struct number *number = arg;
	struct number left = { number->n - 1, 0 };
	struct number right = { number->n - 2, 0 };
	struct zs_fork fork;

	if (number->n < 2) {
		number->result = number->n;
		return 0;
	}
	zs_fork(&fork, fib, &left);
	fib(&right);
	zs_join(&fork);
	number->result = left.result + right.result;
	return 0;
}

/* The same but for the fork. The compiler must not see through it. */
static int plain_fib(void *arg);
static int (*volatile plain)(void *arg) = plain_fib;

static int plain_fib(void *arg)
{
	struct number *number = arg;
	struct number left = { number->n - 1, 0 };
	struct number right = { number->n - 2, 0 };

	if (number->n < 2) {
		number->result = number->n;
		return 0;
	}
	plain(&left);
	plain(&right);
	number->result = left.result + right.result;
	return 0;
}

static int64_t wall_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int best_of(int (*fn)(void *arg), double *ns)
{
	int i;

	*ns = 0;
	for (i = 0; i < BEST_OF; i++) {
		struct number number = { N, 0 };
		int64_t start_ns = wall_ns();
		double took;

		fn(&number);
		took = (double)(wall_ns() - start_ns) / FORKS;
		if (number.result != FIB_N)
			return -EPROTO;
		if (*ns == 0 || took < *ns)
			*ns = took;
	}
	return 0;
}

static int measure(void *arg)
{
	struct forkjoin_round *round = arg;
	struct zs_runtime_info info;
	int ret = zs_runtime_info(NULL, &info);

	if (ret < 0)
		return ret;
	strncpy(round->model, info.model_name, sizeof(round->model) - 1);
	return best_of(fib, &round->ns);
}

static int ours_child(void *arg)
{
	struct forkjoin_round *round = arg;
	struct zs_config config = zs_config_default();
	int ret;

	config.num_workers = round->workers;
	ret = zs_run(&config, measure, round);
	if (ret < 0)
		snprintf(round->failure, sizeof(round->failure), "%s",
			 zs_explain(ret));
	return ret;
}

static int plain_child(void *arg)
{
	struct forkjoin_round *round = arg;

	return best_of(plain_fib, &round->ns);
}

static double peer_fork_ns(enum who who, uint32_t workers)
{
	char arguments[64];

	snprintf(arguments, sizeof(arguments), "%s%u %d",
		 who == OPENMP ? "fib " : "", workers, N);
	return peer_ns(who == OPENMP ? "peer-openmp" : "peer-tbb", arguments) /
	       FORKS;
}

struct series {
	struct bench_series plain;
	struct bench_series ns[COUNTS][NUM_WHO];
	char model[32];
};

static int run_round(struct forkjoin_round *round, struct series *series)
{
	uint32_t workers;
	int ret;

	ret = bench_child_run("forkjoin", BENCH_ANY_CPU, plain_child, round,
			      LIMIT_MS);
	if (ret < 0)
		return ret;
	bench_series_add(&series->plain, round->ns);
	for (workers = 1; workers <= COUNTS; workers++) {
		struct bench_series *ns = series->ns[workers - 1];
		int who;

		memset(round, 0, sizeof(*round));
		round->workers = workers;
		ret = bench_child_run("forkjoin", BENCH_ANY_CPU, ours_child,
				      round, LIMIT_MS);
		if (ret < 0)
			return ret;
		memcpy(series->model, round->model, sizeof(series->model));
		bench_series_add(&ns[OURS], round->ns);
		for (who = TBB; who < NUM_WHO; who++) {
			double peer = peer_fork_ns(who, workers);

			if (peer > 0)
				bench_series_add(&ns[who], peer);
		}
	}
	return 0;
}

static struct bench_value ratio_of(const struct bench_series *ns,
				   const struct bench_series *limit)
{
	struct bench_series ratios = { 0 };
	unsigned int i;

	for (i = 0; i < ns->count && i < limit->count; i++)
		bench_series_add(&ratios, ns->values[i] / limit->values[i]);
	return bench_summarize(&ratios);
}

static struct bench_result *add_result(struct bench_report *report,
				       const char *model, uint32_t workers,
				       const struct bench_series *ns)
{
	struct bench_result *result = bench_report_add(report, "forkjoin");
	struct bench_series rates = { 0 };
	unsigned int i;

	for (i = 0; i < ns->count; i++)
		bench_series_add(&rates, 1e9 / ns->values[i]);
	snprintf(result->model, sizeof(result->model), "%s", model);
	snprintf(result->label, sizeof(result->label), "fib(%d), %u thread%s",
		 N, workers, workers == 1 ? "" : "s");
	snprintf(result->params, sizeof(result->params),
		 "{\"n\": %d, \"workers\": %u}", N, workers);
	result->limit_name = "a plain recursion";
	result->ops_per_second = bench_summarize(&rates);
	return result;
}

static void report_count(struct bench_report *report,
			 const struct series *series, uint32_t workers)
{
	const struct bench_series *ns = series->ns[workers - 1];
	const struct bench_series *limit = ns[TBB].count > 0 ? &ns[TBB] :
							       &series->plain;
	struct bench_value ours = bench_summarize(&ns[OURS]);
	struct bench_result *result;
	int who;

	result = add_result(report, series->model, workers, &ns[OURS]);
	result->ratio_to_limit = ratio_of(&ns[OURS], limit);
	if (ns[TBB].count > 0) {
		result->limit_name = "oneTBB";
		result->most_ratio = 0.5;
	}
	bench_report_show(report,
			  "forkjoin: on %u worker%s a fork and its join take "
			  "%.1f ns, %.2f times %s (%.2f to %.2f over %u "
			  "rounds); a plain recursion on one thread %.1f ns.",
			  workers, workers == 1 ? "" : "s", ours.median,
			  result->ratio_to_limit.median, result->limit_name,
			  result->ratio_to_limit.least,
			  result->ratio_to_limit.greatest,
			  result->ratio_to_limit.count,
			  bench_summarize(&series->plain).median);
	for (who = TBB; who < NUM_WHO; who++) {
		if (ns[who].count == 0)
			continue;
		result = add_result(report, who_name[who], workers, &ns[who]);
		result->ratio_to_limit = ratio_of(&ns[who], &series->plain);
	}
}

static int run_forkjoin(const struct bench_options *options,
			struct bench_report *report)
{
	unsigned int rounds = bench_rounds(options, 9, 3);
	struct series series = { 0 };
	struct forkjoin_round *round = bench_shared_map(sizeof(*round));
	uint32_t workers;
	unsigned int i;
	int ret = 0;

	if (!round)
		return -ENOMEM;
	for (i = 0; i < rounds && ret == 0; i++) {
		bench_progress("forkjoin: round %u of %u", i + 1, rounds);
		ret = run_round(round, &series);
	}
	if (ret < 0)
		bench_report_failure(report, "forkjoin", ret, round->failure);
	if (series.plain.count > 0)
		add_result(report, "recursion", 1, &series.plain)
			->ratio_to_limit =
			ratio_of(&series.plain, &series.plain);
	for (workers = 1; workers <= COUNTS; workers++)
		if (series.ns[workers - 1][OURS].count > 0)
			report_count(report, &series, workers);
	bench_shared_unmap(round, sizeof(*round));
	return ret;
}

const struct bench bench_forkjoin = {
	.name = "forkjoin",
	.question = "what a fork costs that does next to nothing, and its join",
	.run = run_forkjoin,
};
