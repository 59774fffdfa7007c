/* SPDX-License-Identifier: MIT */
/*
 * timer_wheel: what do timers cost, a million of them at once? Started 1 to 60
 * seconds ahead, in no order; cancelled, in the order of their start and in
 * none; started within the second to come and called. CPU time of the thread,
 * with the kernel's for waking it; the memory has been touched before.
 *
 * The limit is the least that the same memory costs in the same order: to link
 * each timer into one of 256 lists, and to unlink it; for those that expire in
 * the order of their deadlines, which a pointer to each tells without search.
 * The best of some passes counts on both sides, for noise only adds; of what
 * takes a second there is one pass.
 */
#include "bench.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zsync.h>

#include "bare.h"
#include "base/list.h"

enum {
	TIMERS = 1000000,
	LISTS = 256,
	PASSES = 5,
	LIMIT_MS = 60000,
};

enum step { START, CANCEL, CANCEL_SHUFFLED, START_AND_EXPIRE, NUM_STEPS };

static const struct {
	const char *label;
	const char *demand; /* what the design demands, of its own machine */
} steps[NUM_STEPS] = {
	[START] = { "start", "; the design demands 12" },
	[CANCEL] = { "cancel", "; the design demands 15" },
	[CANCEL_SHUFFLED] = { "cancel, shuffled", "" },
	[START_AND_EXPIRE] = { "start and expire", "; the design demands 130" },
};

/* A round; in shared memory, the child fills it. */
struct timer_round {
	double bare_ns[NUM_STEPS];
	double ours_ns[NUM_STEPS];
	char model[32];
	char failure[160];
};

/* The bare ones are in the same memory. */
union entry {
	struct zs_timer timer;
	struct zs_list node;
};

static union entry entries[TIMERS];
static int64_t deadlines[TIMERS];    /* of each; ns from the start on */
static uint32_t shuffled[TIMERS];    /* their numbers */
static uint32_t by_deadline[TIMERS]; /* likewise */
static struct zs_list lists[LISTS];
static uint64_t num_called;

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state >> 11;
}

static void choose_deadlines(int64_t least_ns, int64_t most_ns)
{
	uint64_t state = 0x9e3779b97f4a7c15;
	uint64_t span = (uint64_t)(most_ns - least_ns);
	uint32_t i;

	for (i = 0; i < TIMERS; i++)
		deadlines[i] = least_ns + (int64_t)(next_random(&state) % span);
}

static int compare_deadlines(const void *a, const void *b)
{
	int64_t first = deadlines[*(const uint32_t *)a];
	int64_t second = deadlines[*(const uint32_t *)b];

	return first < second ? -1 : first > second;
}

static void sort_by_deadline(void)
{
	uint32_t i;

	for (i = 0; i < TIMERS; i++)
		by_deadline[i] = i;
	qsort(by_deadline, TIMERS, sizeof(by_deadline[0]), compare_deadlines);
}

static void shuffle(void)
{
	uint64_t state = 0x2545f4914f6cdd1d;
	uint32_t i, other, held;

	for (i = 0; i < TIMERS; i++)
		shuffled[i] = i;
	for (i = TIMERS - 1; i > 0; i--) {
		other = (uint32_t)(next_random(&state) % (i + 1));
		held = shuffled[i];
		shuffled[i] = shuffled[other];
		shuffled[other] = held;
	}
}

static double per_timer(int64_t start_ns)
{
	return (double)(bare_cpu_ns() - start_ns) / TIMERS;
}

/* 0: there is none yet. */
static void keep_best(double *best, double ns)
{
	if (*best == 0 || ns < *best)
		*best = ns;
}

/* --- bare --- */

static double link_all(void)
{
	int64_t start_ns;
	uint32_t i;

	for (i = 0; i < LISTS; i++)
		zs_list_init(&lists[i]);
	start_ns = bare_cpu_ns();
	for (i = 0; i < TIMERS; i++)
		zs_list_append(&lists[(uint64_t)deadlines[i] % LISTS],
			       &entries[i].node);
	return per_timer(start_ns);
}

static double unlink_all(void)
{
	int64_t start_ns = bare_cpu_ns();
	uint32_t i;

	for (i = 0; i < TIMERS; i++)
		zs_list_remove(&entries[i].node);
	return per_timer(start_ns);
}

static double unlink_in(const uint32_t *order)
{
	int64_t start_ns = bare_cpu_ns();
	uint32_t i;

	for (i = 0; i < TIMERS; i++)
		zs_list_remove(&entries[order[i]].node);
	return per_timer(start_ns);
}

static void measure_bare(struct timer_round *round)
{
	double *best = round->bare_ns;
	double linked;
	int i;

	choose_deadlines(ZS_SECOND, 60 * ZS_SECOND);
	for (i = 0; i < PASSES; i++) {
		keep_best(&best[START], link_all());
		keep_best(&best[CANCEL], unlink_all());
		link_all();
		keep_best(&best[CANCEL_SHUFFLED], unlink_in(shuffled));
	}
	choose_deadlines(0, ZS_SECOND);
	sort_by_deadline();
	for (i = 0; i < PASSES; i++) {
		linked = link_all();
		keep_best(&best[START_AND_EXPIRE],
			  linked + unlink_in(by_deadline));
	}
	memset(entries, 0, sizeof(entries));
}

/* --- ours --- */

static void count_call(struct zs_timer *timer, void *arg)
{
	(void)timer;
	(void)arg;
	num_called++;
}

static int start_all(double *best)
{
	int64_t now_ns = zs_now();
	int64_t start_ns = bare_cpu_ns();
	uint32_t i;
	int ret = 0;

	for (i = 0; i < TIMERS; i++)
		ret |= zs_timer_start(&entries[i].timer, now_ns + deadlines[i],
				      count_call, NULL);
	keep_best(best, per_timer(start_ns));
	return ret == 0 ? 0 : -EIO;
}

static int cancel_all(double *best)
{
	int64_t start_ns = bare_cpu_ns();
	int cancelled = 0;
	uint32_t i;

	for (i = 0; i < TIMERS; i++)
		cancelled += zs_timer_cancel(&entries[i].timer);
	keep_best(best, per_timer(start_ns));
	return cancelled == TIMERS ? 0 : -ENOMSG;
}

static int cancel_shuffled(double *best)
{
	int64_t start_ns = bare_cpu_ns();
	int cancelled = 0;
	uint32_t i;

	for (i = 0; i < TIMERS; i++)
		cancelled += zs_timer_cancel(&entries[shuffled[i]].timer);
	keep_best(best, per_timer(start_ns));
	return cancelled == TIMERS ? 0 : -ENOMSG;
}

static int start_and_expire(double *ns)
{
	int64_t start_ns = bare_cpu_ns();
	double started = 0;
	int ret;

	num_called = 0;
	ret = start_all(&started);
	while (ret == 0 && num_called < TIMERS)
		ret = zs_sleep(20 * ZS_MILLISECOND);
	*ns = per_timer(start_ns);
	return ret;
}

static int measure_pass(double *best)
{
	int ret = start_all(&best[START]);

	if (ret >= 0)
		ret = cancel_all(&best[CANCEL]);
	if (ret >= 0)
		ret = start_all(&best[START]);
	if (ret >= 0)
		ret = cancel_shuffled(&best[CANCEL_SHUFFLED]);
	return ret;
}

static int measure(void *arg)
{
	struct timer_round *round = arg;
	struct zs_runtime_info info;
	int ret = zs_runtime_info(NULL, &info);
	int i;

	if (ret < 0)
		return ret;
	strncpy(round->model, info.model_name, sizeof(round->model) - 1);
	choose_deadlines(ZS_SECOND, 60 * ZS_SECOND);
	for (i = 0; i < PASSES && ret >= 0; i++)
		ret = measure_pass(round->ours_ns);
	choose_deadlines(0, ZS_SECOND);
	if (ret >= 0)
		ret = start_and_expire(&round->ours_ns[START_AND_EXPIRE]);
	return ret;
}

static int timer_child(void *arg)
{
	struct timer_round *round = arg;
	struct zs_config config = zs_config_default();
	int ret;

	shuffle();
	measure_bare(round);
	config.num_workers = 1;
	ret = zs_run(&config, measure, round);
	if (ret < 0)
		snprintf(round->failure, sizeof(round->failure), "%s",
			 ret == -ENOMSG ? "a timer could not be cancelled" :
					  zs_explain(ret));
	return ret;
}

/* --- the report --- */

static struct bench_result *add_result(struct bench_report *report,
				       const char *model, const char *label,
				       const struct bench_series *ns)
{
	struct bench_result *result = bench_report_add(report, "timer_wheel");
	struct bench_series rates = { 0 };
	unsigned int i;

	for (i = 0; i < ns->count; i++)
		bench_series_add(&rates, 1e9 / ns->values[i]);
	snprintf(result->model, sizeof(result->model), "%s", model);
	snprintf(result->label, sizeof(result->label), "%s", label);
	snprintf(result->params, sizeof(result->params),
		 "{\"timers\": %d, \"step\": \"%s\"}", TIMERS, label);
	result->limit_name = "linking and unlinking in the same order";
	result->ops_per_second = bench_summarize(&rates);
	result->cpu_ns_per_op = bench_summarize(ns);
	return result;
}

static void report_step(struct bench_report *report, const char *model,
			enum step step, const struct bench_series *ours,
			const struct bench_series *bare)
{
	struct bench_series ratios = { 0 }, ones = { 0 };
	struct bench_value ratio;
	unsigned int i;

	for (i = 0; i < ours->count; i++) {
		bench_series_add(&ratios, ours->values[i] / bare->values[i]);
		bench_series_add(&ones, 1);
	}
	ratio = bench_summarize(&ratios);
	add_result(report, model, steps[step].label, ours)->ratio_to_limit =
		ratio;
	add_result(report, "bare_list", steps[step].label, bare)
		->ratio_to_limit = bench_summarize(&ones);
	bench_report_show(
		report,
		"timer_wheel: %s, of 1,000,000: %.1f ns, %.2f times "
		"the bare list's %.1f (%.2f to %.2f over %u rounds)%s.",
		steps[step].label, bench_summarize(ours).median, ratio.median,
		bench_summarize(bare).median, ratio.least, ratio.greatest,
		ratio.count, steps[step].demand);
}

/* The guide's measure: each timer is started, cancelled, started, called. */
static void report_mix(struct bench_report *report, const char *model,
		       const struct bench_series *ours)
{
	struct bench_series ns = { 0 };
	struct bench_result *result;
	unsigned int i;

	for (i = 0; i < ours->count; i++)
		bench_series_add(&ns, (ours[START].values[i] +
				       ours[CANCEL].values[i] +
				       ours[START_AND_EXPIRE].values[i]) /
					      4);
	result = add_result(report, model, "mix of the four", &ns);
	bench_report_show(report,
			  "timer_wheel: start, cancel, start, expire: %.1f "
			  "million operations a second; the guide's 4.8 times "
			  "five is 24.",
			  result->ops_per_second.median / 1e6);
}

static int run_round(struct timer_round *round, struct bench_report *report)
{
	struct bench_child child;
	int ret;

	memset(round, 0, sizeof(*round));
	ret = bench_child_start(&child, "timer_wheel", bench_server_cpu(),
				timer_child, round);
	if (ret == 0)
		ret = bench_child_wait(&child, LIMIT_MS);
	if (ret < 0)
		bench_report_note(report, "timer_wheel: %s",
				  round->failure[0] ? round->failure :
						      strerror(-ret));
	return ret;
}

static int run_timer_wheel(const struct bench_options *options,
			   struct bench_report *report)
{
	unsigned int rounds = bench_rounds(options, 9, 3);
	struct bench_series ours[NUM_STEPS] = { 0 }, bare[NUM_STEPS] = { 0 };
	struct timer_round *round = bench_shared_map(sizeof(*round));
	char model[32] = "";
	unsigned int i;
	int ret = 0;
	int step;

	if (!round)
		return -ENOMEM;
	for (i = 0; i < rounds; i++) {
		bench_progress("timer_wheel: round %u of %u", i + 1, rounds);
		ret = run_round(round, report);
		if (ret < 0)
			break;
		memcpy(model, round->model, sizeof(model));
		for (step = 0; step < NUM_STEPS; step++) {
			bench_series_add(&ours[step], round->ours_ns[step]);
			bench_series_add(&bare[step], round->bare_ns[step]);
		}
	}
	for (step = 0; step < NUM_STEPS && ours[step].count > 0; step++)
		report_step(report, model, step, &ours[step], &bare[step]);
	if (ours[0].count > 0)
		report_mix(report, model, ours);
	bench_shared_unmap(round, sizeof(*round));
	return ret;
}

const struct bench bench_timer_wheel = {
	.name = "timer_wheel",
	.question = "what a timer costs among a million: to start, to cancel, "
		    "to expire",
	.run = run_timer_wheel,
};
