/* SPDX-License-Identifier: MIT */
/*
 * mutex: what does it cost to lock and unlock one, where nobody else wants it;
 * and how often can four do it who all want it, on one CPU and on two?
 *
 * The limit of the first is two atomic exchanges, which is what any lock that
 * threads share is made of; beside it, and beside the others, is the mutex of
 * the C library with threads in place of tasks. On one CPU each gives way while
 * it holds the mutex, for else the others would never find it taken. On two
 * each works for a moment with it and for a moment without.
 */
#include "bench.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <zsync.h>

#include "bare.h"
#include "base/clock.h"

enum {
	PAIRS = 2000000, /* where nobody else wants it */
	NUM_SIDES = 4,
	PERIOD_MS = 40, /* of those that contend */
	WORK = 20,	/* steps of a few nanoseconds at most */
	LIMIT_MS = 20000,
};

enum way { EXCHANGES, PTHREAD, OURS, NUM_WAYS };
enum place { ONE_CPU, TWO_CPUS, NUM_PLACES };

static const char *const alone_label[NUM_WAYS] = {
	"two exchanges",
	"pthread, uncontended",
	"uncontended",
};
static const char *const shared_label[NUM_PLACES] = {
	"4 on one CPU",
	"4 on two CPUs",
};

/* A round; in shared memory, the child fills it. */
struct mutex_round {
	enum place place;
	double ns[NUM_WAYS];	   /* of a lock and an unlock */
	double fairness[NUM_WAYS]; /* least of a side over the most */
	char model[32];
	char failure[160];
};

/* Of the child. */
static struct mutex_round *round_here;
static struct zs_mutex ours;
static pthread_mutex_t theirs = PTHREAD_MUTEX_INITIALIZER;
static _Atomic bool must_stop;
static _Atomic uint32_t num_placed;
static volatile uint64_t guarded;
static struct side {
	ZS_CACHE_ALIGNED uint64_t done;
	volatile uint64_t own;
} sides[NUM_SIDES];

static int keep_model(void)
{
	struct zs_runtime_info info;
	int ret = zs_runtime_info(NULL, &info);

	if (ret == 0)
		strncpy(round_here->model, info.model_name,
			sizeof(round_here->model) - 1);
	return ret;
}

/* --- nobody else wants it --- */

static void time_exchanges(void)
{
	static _Atomic uint64_t word;
	int64_t start_ns = bare_cpu_ns();
	int i;

	for (i = 0; i < PAIRS; i++) {
		/* The orders of a lock and of an unlock. */
		if (atomic_exchange_explicit(&word, 1, memory_order_acquire))
			guarded++;
		atomic_exchange_explicit(&word, 0, memory_order_release);
	}
	round_here->ns[EXCHANGES] = (double)(bare_cpu_ns() - start_ns) / PAIRS;
}

static void time_pthread(void)
{
	int64_t start_ns = bare_cpu_ns();
	int i;

	for (i = 0; i < PAIRS; i++) {
		pthread_mutex_lock(&theirs);
		pthread_mutex_unlock(&theirs);
	}
	round_here->ns[PTHREAD] = (double)(bare_cpu_ns() - start_ns) / PAIRS;
}

static int time_ours(void *arg)
{
	int64_t start_ns;
	int ret = keep_model();
	int i;

	(void)arg;
	/* A task that has parked before. */
	if (ret == 0)
		ret = zs_sleep(1);
	start_ns = bare_cpu_ns();
	for (i = 0; i < PAIRS && ret == 0; i++) {
		ret = zs_mutex_lock(&ours);
		zs_mutex_unlock(&ours);
	}
	round_here->ns[OURS] = (double)(bare_cpu_ns() - start_ns) / PAIRS;
	return ret;
}

static struct zs_config config_of(uint32_t num_workers)
{
	struct zs_config config = zs_config_default();

	config.num_workers = num_workers;
	return config;
}

static int run_alone(void *arg)
{
	struct zs_config config = config_of(1);

	round_here = arg;
	time_exchanges();
	time_pthread();
	return zs_run(&config, time_ours, NULL);
}

/* --- four want it --- */

static void work(volatile uint64_t *number)
{
	int i;

	for (i = 0; i < WORK; i++)
		*number += 1;
}

static bool goes_on(void)
{
	/* relaxed: it publishes nothing. */
	return !atomic_load_explicit(&must_stop, memory_order_relaxed);
}

static int contend(void *arg)
{
	struct side *side = arg;
	int ret = 0;

	while (goes_on() && ret == 0) {
		ret = zs_mutex_lock(&ours);
		if (round_here->place == ONE_CPU)
			zs_yield();
		else
			work(&guarded);
		zs_mutex_unlock(&ours);
		work(&side->own);
		side->done++;
	}
	return ret;
}

static void *contend_as_thread(void *arg)
{
	struct side *side = arg;

	while (goes_on()) {
		pthread_mutex_lock(&theirs);
		if (round_here->place == ONE_CPU)
			sched_yield();
		else
			work(&guarded);
		pthread_mutex_unlock(&theirs);
		work(&side->own);
		side->done++;
	}
	return NULL;
}

static int64_t begin(void)
{
	memset(sides, 0, sizeof(sides));
	atomic_store_explicit(&must_stop, false, memory_order_relaxed);
	return zs_clock_ns();
}

static void keep_counts(enum way way, int64_t start_ns)
{
	double wall_ns = (double)(zs_clock_ns() - start_ns);
	uint64_t all = 0, least = UINT64_MAX, most = 1;
	int i;

	for (i = 0; i < NUM_SIDES; i++) {
		all += sides[i].done;
		least = sides[i].done < least ? sides[i].done : least;
		most = sides[i].done > most ? sides[i].done : most;
	}
	round_here->ns[way] = wall_ns / (double)(all ? all : 1);
	round_here->fairness[way] = (double)least / (double)most;
}

static void stop(void)
{
	atomic_store_explicit(&must_stop, true, memory_order_relaxed);
}

static void contend_by_threads(void)
{
	struct timespec period = { .tv_nsec = PERIOD_MS * 1000000L };
	pthread_t threads[NUM_SIDES];
	int64_t start_ns = begin();
	int started = 0;

	while (started < NUM_SIDES &&
	       pthread_create(&threads[started], NULL, contend_as_thread,
			      &sides[started]) == 0)
		started++;
	nanosleep(&period, NULL);
	stop();
	while (started > 0)
		pthread_join(threads[--started], NULL);
	keep_counts(PTHREAD, start_ns);
}

/* Half of the sides, which stay where this task is. */
static int contend_here(void *arg)
{
	const struct zs_nursery_options pinned = { .flags = ZS_NURSERY_PINNED };
	uint32_t num_places = round_here->place == ONE_CPU ? 1 : 2;
	struct zs_nursery nursery;
	uint32_t first, i;
	int ended;
	int ret;

	(void)arg;
	/* Keeps this worker to itself until the other one has come. */
	first = atomic_fetch_add_explicit(&num_placed, 1, memory_order_relaxed);
	while (atomic_load_explicit(&num_placed, memory_order_relaxed) <
	       num_places)
		sched_yield();
	ret = zs_nursery_open(&nursery, &pinned);
	if (ret < 0)
		return ret;
	for (i = first; i < NUM_SIDES && ret == 0; i += num_places)
		ret = zs_nursery_spawn(nursery, contend, &sides[i]);
	ended = zs_nursery_wait(nursery);
	return ret < 0 ? ret : ended;
}

static void *stop_after_period(void *arg)
{
	struct timespec period = { .tv_nsec = PERIOD_MS * 1000000L };

	nanosleep(&period, NULL);
	stop();
	return arg;
}

static int contend_by_tasks(void *arg)
{
	int num_places = round_here->place == ONE_CPU ? 1 : 2;
	struct zs_nursery nursery;
	int64_t start_ns = begin();
	pthread_t stopper;
	int ended, i;
	int ret;

	(void)arg;
	ret = keep_model();
	if (ret < 0)
		return ret;
	ret = zs_nursery_open(&nursery, NULL);
	if (ret < 0)
		return ret;
	if (pthread_create(&stopper, NULL, stop_after_period, NULL) != 0)
		return -EAGAIN;
	for (i = 0; i < num_places && ret == 0; i++)
		ret = zs_nursery_spawn(nursery, contend_here, NULL);
	ended = zs_nursery_wait(nursery);
	pthread_join(stopper, NULL);
	keep_counts(OURS, start_ns);
	return ret < 0 ? ret : ended;
}

static int run_shared(void *arg)
{
	struct zs_config config;

	round_here = arg;
	contend_by_threads();
	config = config_of(round_here->place == ONE_CPU ? 1 : 2);
	return zs_run(&config, contend_by_tasks, NULL);
}

/* --- the report --- */

struct figures {
	struct bench_series ns[NUM_WAYS], ratio[NUM_WAYS], fairness[NUM_WAYS];
};

static void add_round(struct figures *figures, const struct mutex_round *round,
		      enum way limit)
{
	int way;

	for (way = limit; way < NUM_WAYS; way++) {
		bench_series_add(&figures->ns[way], round->ns[way]);
		bench_series_add(&figures->ratio[way],
				 round->ns[way] / round->ns[limit]);
		bench_series_add(&figures->fairness[way], round->fairness[way]);
	}
}

static void report_row(struct bench_report *report, const char *model,
		       const char *label, const char *params,
		       const char *limit_name, const struct bench_series *ns,
		       const struct bench_series *ratio)
{
	struct bench_result *result = bench_report_add(report, "mutex");
	struct bench_series rates = { 0 };
	unsigned int i;

	for (i = 0; i < ns->count; i++)
		bench_series_add(&rates, 1e9 / ns->values[i]);
	snprintf(result->model, sizeof(result->model), "%s", model);
	snprintf(result->label, sizeof(result->label), "%s", label);
	snprintf(result->params, sizeof(result->params), "%s", params);
	result->limit_name = limit_name;
	result->ops_per_second = bench_summarize(&rates);
	result->ratio_to_limit = bench_summarize(ratio);
}

static void report_alone(struct bench_report *report, const char *model,
			 const struct figures *figures)
{
	struct bench_value ns[NUM_WAYS];
	int way;

	for (way = NUM_WAYS - 1; way >= 0; way--) {
		ns[way] = bench_summarize(&figures->ns[way]);
		report_row(report, way == OURS ? model : "bare",
			   alone_label[way], "{\"workers\": 1}",
			   "two atomic exchanges", &figures->ns[way],
			   &figures->ratio[way]);
	}
	bench_report_show(report,
			  "mutex: to lock and unlock one that nobody else "
			  "wants takes %.1f ns: %+.1f ns to two atomic "
			  "exchanges (3 more are wanted at most); a pthread "
			  "mutex %.1f ns.",
			  ns[OURS].median,
			  ns[OURS].median - ns[EXCHANGES].median,
			  ns[PTHREAD].median);
}

static void report_shared(struct bench_report *report, const char *model,
			  enum place place, const struct figures *figures)
{
	const struct bench_series *ns = figures->ns;
	const struct bench_series *fairness = figures->fairness;
	char params[64];
	int way;

	snprintf(params, sizeof(params), "{\"workers\": %d, \"tasks\": %d}",
		 place == ONE_CPU ? 1 : 2, NUM_SIDES);
	for (way = OURS; way >= PTHREAD; way--)
		report_row(report, way == OURS ? model : "pthread",
			   shared_label[place], params,
			   "a pthread mutex between threads", &ns[way],
			   &figures->ratio[way]);
	bench_report_show(report,
			  "mutex: %s lock and unlock it every %.0f ns, threads "
			  "a pthread mutex every %.0f ns; who gets it least "
			  "often gets it %.2f times as often as who does most, "
			  "a thread %.2f times.",
			  shared_label[place],
			  bench_summarize(&ns[OURS]).median,
			  bench_summarize(&ns[PTHREAD]).median,
			  bench_summarize(&fairness[OURS]).median,
			  bench_summarize(&fairness[PTHREAD]).median);
}

static int run_rounds(unsigned int rounds, struct mutex_round *round, int cpu,
		      int (*fn)(void *arg), enum way limit,
		      struct figures *figures, struct bench_report *report)
{
	enum place place = round->place;
	unsigned int i;
	int ret;

	for (i = 0; i < rounds; i++) {
		bench_progress("mutex: round %u of %u", i + 1, rounds);
		memset(round, 0, sizeof(*round));
		round->place = place;
		ret = bench_child_run("mutex", cpu, fn, round, LIMIT_MS);
		if (ret < 0) {
			bench_report_failure(report, "mutex", ret,
					     round->failure);
			return ret;
		}
		add_round(figures, round, limit);
	}
	return 0;
}

static int run_place(unsigned int rounds, struct mutex_round *round,
		     enum place place, struct bench_report *report)
{
	struct figures figures = { 0 };
	int ret;

	round->place = place;
	ret = run_rounds(rounds, round,
			 place == ONE_CPU ? bench_server_cpu() : BENCH_ANY_CPU,
			 run_shared, PTHREAD, &figures, report);
	if (ret == 0)
		report_shared(report, round->model, place, &figures);
	return ret;
}

static int run_mutex(const struct bench_options *options,
		     struct bench_report *report)
{
	unsigned int rounds = bench_rounds(options, 15, 5);
	struct mutex_round *round = bench_shared_map(sizeof(*round));
	struct figures figures = { 0 };
	int ret;

	if (!round)
		return -ENOMEM;
	ret = run_rounds(rounds, round, bench_server_cpu(), run_alone,
			 EXCHANGES, &figures, report);
	if (ret == 0)
		report_alone(report, round->model, &figures);
	if (ret == 0)
		ret = run_place(rounds, round, ONE_CPU, report);
	if (ret == 0 && bench_num_cpus() > 1)
		ret = run_place(rounds, round, TWO_CPUS, report);
	bench_shared_unmap(round, sizeof(*round));
	return ret;
}

const struct bench bench_mutex = {
	.name = "mutex",
	.question = "what a mutex costs, and how fairly it is shared",
	.run = run_mutex,
};
