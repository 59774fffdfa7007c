/* SPDX-License-Identifier: MIT */
/*
 * wake: how long from the call that gives a sleeping worker a task to that
 * task's first line? From a task of another worker, into a nursery that is
 * pinned to the sleeper, and from a thread of the program's own.
 *
 * The limit is what such a wake is made of: a thread writes to an eventfd that
 * another one reads from. All on the same two CPUs, each side on its own; the
 * answer is the next wake, so the one that is woken has gone to sleep by then.
 */
#include "bench.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <zsync.h>

#include "base/clock.h"

enum {
	HOPS = 2000, /* of a round, each way */
	HOPS_WARM_UP = HOPS / 10,
	PLACE_LIMIT_MS = 5000,
	LIMIT_MS = 20000,
	IDLE_SPIN_US = 20,
};

enum way { BARE, ACROSS, ACROSS_SPINNING, FOREIGN, NUM_WAYS };

/* A round of one way; in shared memory, the child fills it. */
struct wake_round {
	uint32_t idle_spin_us;
	double p50_ns, p99_ns, p999_ns;
	double hops_per_second;
	char model[32];
	char failure[160];
};

/* Of the child: only who holds the turn touches it; what passes the turn on,
 * an eventfd or a spawn, publishes it. */
struct game {
	struct wake_round *round;
	struct bench_histogram times;
	unsigned int hops;
	int64_t measured_from_ns;
	int fds[2]; /* eventfds, one a side */
	struct zs_nursery nurseries[2];
	struct zs_runtime *runtime;
	_Atomic bool has_second; /* a task runs on the second worker */
};

static struct game game;

/* The turn has come: true if it is to be passed on. */
static bool take_turn(int64_t sent_ns)
{
	int64_t now_ns = zs_clock_ns();

	game.hops++;
	if (game.hops == HOPS_WARM_UP)
		game.measured_from_ns = now_ns;
	if (game.hops > HOPS_WARM_UP)
		bench_histogram_add(&game.times, (uint64_t)(now_ns - sent_ns));
	return game.hops < HOPS + HOPS_WARM_UP;
}

static void keep_figures(void)
{
	struct wake_round *round = game.round;
	int64_t wall_ns = zs_clock_ns() - game.measured_from_ns;

	round->p50_ns = (double)bench_histogram_at(&game.times, 500);
	round->p99_ns = (double)bench_histogram_at(&game.times, 990);
	round->p999_ns = (double)bench_histogram_at(&game.times, 999);
	round->hops_per_second = HOPS * 1e9 / (double)wall_ns;
}

/* @cpu was found out while the thread could still run on all of them. */
static int pin_self(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) < 0 ? -errno : 0;
}

/* --- two threads and two eventfds --- */

/* The word that is passed is the time it was sent: never 0, which an eventfd
 * would not take, and read as it was written, since each is read before the
 * next. */
static void bare_send(int side)
{
	uint64_t now_ns = (uint64_t)zs_clock_ns();

	if (write(game.fds[side], &now_ns, sizeof(now_ns)) != sizeof(now_ns))
		abort();
}

static int64_t bare_receive(int side)
{
	uint64_t sent_ns;

	if (read(game.fds[side], &sent_ns, sizeof(sent_ns)) != sizeof(sent_ns))
		abort();
	return (int64_t)sent_ns;
}

/* The last turn ends one side; a last word, that counts no more, the other. */
static void bare_play(int side)
{
	bool goes_on = true;

	while (goes_on) {
		goes_on = take_turn(bare_receive(side));
		bare_send(!side);
	}
}

static void *bare_thread(void *arg)
{
	if (pin_self(*(const int *)arg) < 0)
		abort();
	bare_play(1);
	return NULL;
}

static int open_eventfds(void)
{
	int i;

	for (i = 0; i < 2; i++) {
		game.fds[i] = eventfd(0, EFD_CLOEXEC);
		if (game.fds[i] < 0)
			return -errno;
	}
	return 0;
}

static int play_bare(void)
{
	int other_cpu = bench_load_cpu();
	pthread_t thread;
	int ret;

	ret = open_eventfds();
	if (ret == 0)
		ret = pin_self(bench_server_cpu());
	if (ret < 0)
		return ret;
	if (pthread_create(&thread, NULL, bare_thread, &other_cpu) != 0)
		return -EAGAIN;
	bare_send(1);
	bare_play(0);
	pthread_join(thread, NULL);
	keep_figures();
	return 0;
}

/* --- two workers --- */

struct hop {
	int64_t sent_ns;
	int side;
};

static int take_hop(void *arg);

static int send_hop(int side)
{
	struct hop hop = { .side = side, .sent_ns = zs_clock_ns() };

	return zs_nursery_spawn_copy(game.nurseries[side], take_hop, &hop,
				     sizeof(hop));
}

static int take_hop(void *arg)
{
	const struct hop *hop = arg;

	if (take_turn(hop->sent_ns))
		return send_hop(!hop->side);
	keep_figures();
	zs_nursery_cancel(game.nurseries[!hop->side]);
	zs_nursery_cancel(game.nurseries[hop->side]);
	return 0;
}

/* Opens a nursery on this worker and keeps it open until the game is over. */
static int hold_side(int side)
{
	const struct zs_nursery_options pinned = { .flags = ZS_NURSERY_PINNED };
	struct zs_nursery nursery;
	int ret;

	ret = zs_nursery_open(&nursery, &pinned);
	if (ret < 0)
		return ret;
	game.nurseries[side] = nursery;
	if (side == 1)
		/* release: publishes the nursery; await_second() acquires. */
		atomic_store_explicit(&game.has_second, true,
				      memory_order_release);
	else
		ret = send_hop(1);
	if (ret == 0)
		zs_sleep((int64_t)LIMIT_MS * ZS_MILLISECOND);
	ret = zs_nursery_wait(nursery);
	return ret == -ECANCELED ? 0 : ret;
}

static int second_worker(void *arg)
{
	(void)arg;
	return hold_side(1);
}

/* There to be more than this worker can start at once, so that another one is
 * woken. */
static int do_nothing(void *arg)
{
	(void)arg;
	return 0;
}

/* Keeps this worker to itself, so that only another one can start the task. */
static int await_second(void)
{
	int64_t limit_ns = zs_clock_ns() + (int64_t)PLACE_LIMIT_MS * 1000000;

	/* acquire: see hold_side(). */
	while (!atomic_load_explicit(&game.has_second, memory_order_acquire)) {
		if (zs_clock_ns() > limit_ns)
			return -ETIMEDOUT;
		sched_yield();
	}
	return 0;
}

static int keep_model(struct wake_round *round)
{
	struct zs_runtime_info info;
	int ret = zs_runtime_info(game.runtime, &info);

	if (ret < 0)
		return ret;
	strncpy(round->model, info.model_name, sizeof(round->model) - 1);
	return 0;
}

static int first_worker(void *arg)
{
	struct zs_nursery nursery;
	int ended;
	int ret;

	(void)arg;
	ret = keep_model(game.round);
	if (ret == 0)
		ret = zs_nursery_open(&nursery, NULL);
	if (ret < 0)
		return ret;
	ret = zs_nursery_spawn(nursery, second_worker, NULL);
	if (ret == 0)
		ret = zs_nursery_spawn(nursery, do_nothing, NULL);
	if (ret == 0)
		ret = await_second();
	if (ret == 0)
		ret = hold_side(0);
	if (ret < 0)
		zs_nursery_cancel(nursery);
	ended = zs_nursery_wait(nursery);
	return ret < 0 ? ret : ended;
}

static struct zs_config config_of(const struct wake_round *round,
				  uint32_t num_workers)
{
	struct zs_config config = zs_config_default();

	config.num_workers = num_workers;
	config.idle_spin_us = round->idle_spin_us;
	config.flags = ZS_CONFIG_PIN_WORKERS;
	return config;
}

static int play_across(void)
{
	struct zs_config config = config_of(game.round, 2);

	return zs_run(&config, first_worker, NULL);
}

/* --- a thread and a worker --- */

/* The turn goes back by an eventfd, which wakes the thread. */
static int take_foreign_hop(void *arg)
{
	take_turn(*(const int64_t *)arg);
	bare_send(0);
	return 0;
}

static int play_foreign_turns(void)
{
	int64_t now_ns;
	int i;
	int ret;

	for (i = 0; i < HOPS + HOPS_WARM_UP; i++) {
		now_ns = zs_clock_ns();
		ret = zs_runtime_spawn_copy(game.runtime, take_foreign_hop,
					    &now_ns, sizeof(now_ns));
		if (ret < 0)
			return ret;
		bare_receive(0);
	}
	keep_figures();
	return 0;
}

static int play_foreign(void)
{
	struct zs_config config = config_of(game.round, 1);
	int stopped;
	int ret;

	ret = open_eventfds();
	if (ret == 0)
		ret = zs_runtime_create(&game.runtime, &config);
	if (ret < 0)
		return ret;
	ret = keep_model(game.round);
	if (ret == 0)
		ret = zs_runtime_start(game.runtime);
	if (ret == 0)
		ret = pin_self(bench_load_cpu());
	if (ret == 0)
		ret = play_foreign_turns();
	stopped = zs_runtime_stop(game.runtime, ZS_NEVER);
	zs_runtime_destroy(game.runtime);
	return ret < 0 ? ret : stopped;
}

/* --- rounds --- */

struct way_to_wake {
	const char *label;
	const char *model; /* NULL: what the runtime says */
	uint32_t idle_spin_us;
	int (*play)(void);
};

static const struct way_to_wake ways[NUM_WAYS] = {
	[BARE] = { "write and read", "bare_eventfd", 0, play_bare },
	[ACROSS] = { "worker to worker", NULL, 0, play_across },
	[ACROSS_SPINNING] = { "the same, idle spin", NULL, IDLE_SPIN_US,
			      play_across },
	[FOREIGN] = { "thread to worker", NULL, 0, play_foreign },
};

static int wake_child(void *arg)
{
	struct wake_round *round = ((void **)arg)[0];
	const struct way_to_wake *way = ((void **)arg)[1];
	int ret;

	game.round = round;
	ret = way->play();
	if (ret < 0)
		snprintf(round->failure, sizeof(round->failure), "%s",
			 zs_explain(ret));
	return ret;
}

/* The figures of one way, a value a round. */
struct wake_figures {
	char model[32];
	struct bench_series p50, p99, p999, rate;
};

static int run_round(struct wake_round *round, enum way way,
		     struct wake_figures *figures, struct bench_report *report)
{
	const void *args[] = { round, &ways[way] };
	int ret;

	*round = (struct wake_round){ .idle_spin_us = ways[way].idle_spin_us };
	ret = bench_child_run("wake", BENCH_ANY_CPU, wake_child, args,
			      LIMIT_MS);
	if (ret < 0) {
		bench_report_failure(report, "wake", ret, round->failure);
		return ret;
	}
	snprintf(figures->model, sizeof(figures->model), "%s",
		 ways[way].model ? ways[way].model : round->model);
	bench_series_add(&figures->p50, round->p50_ns);
	bench_series_add(&figures->p99, round->p99_ns);
	bench_series_add(&figures->p999, round->p999_ns);
	bench_series_add(&figures->rate, round->hops_per_second);
	return 0;
}

static void report_way(struct bench_report *report, enum way way,
		       const struct wake_figures *figures,
		       const struct wake_figures *bare)
{
	struct bench_result *result = bench_report_add(report, "wake");
	struct bench_series ratios = { 0 };
	unsigned int i;

	for (i = 0; i < figures->p50.count && i < bare->p50.count; i++)
		bench_series_add(&ratios,
				 figures->p50.values[i] / bare->p50.values[i]);
	snprintf(result->model, sizeof(result->model), "%s", figures->model);
	snprintf(result->label, sizeof(result->label), "%s", ways[way].label);
	snprintf(result->params, sizeof(result->params),
		 "{\"idle_spin_us\": %u}", ways[way].idle_spin_us);
	result->limit_name = "a thread woken by an eventfd";
	result->ops_per_second = bench_summarize(&figures->rate);
	result->p50_ns = bench_summarize(&figures->p50);
	result->p99_ns = bench_summarize(&figures->p99);
	result->p999_ns = bench_summarize(&figures->p999);
	result->ratio_to_limit = bench_summarize(&ratios);
	if (way != BARE)
		bench_report_show(
			report,
			"wake, %s: half of the tasks run within %.1f us and 99 "
			"%% within %.1f us of the call, %.2f times a bare "
			"wake's (%.2f to %.2f over %u rounds).",
			ways[way].label, result->p50_ns.median / 1e3,
			result->p99_ns.median / 1e3,
			result->ratio_to_limit.median,
			result->ratio_to_limit.least,
			result->ratio_to_limit.greatest,
			result->ratio_to_limit.count);
}

static int run_wake(const struct bench_options *options,
		    struct bench_report *report)
{
	static struct wake_figures figures[NUM_WAYS];
	unsigned int rounds = bench_rounds(options, 9, 5);
	struct wake_round *round;
	unsigned int turn;
	int ret = 0;
	int way;

	if (bench_num_cpus() < 2) {
		bench_report_note(report, "wake: not run on only one CPU");
		return 0;
	}
	round = bench_shared_map(sizeof(*round));
	if (!round)
		return -ENOMEM;
	for (turn = 0; turn < rounds * NUM_WAYS && ret == 0; turn++) {
		bench_progress("wake: round %u of %u", turn / NUM_WAYS + 1,
			       rounds);
		way = (int)((turn + turn / NUM_WAYS) % NUM_WAYS);
		ret = run_round(round, (enum way)way, &figures[way], report);
	}
	for (way = 0; way < NUM_WAYS; way++) {
		if (figures[way].p50.count > 0)
			report_way(report, (enum way)way, &figures[way],
				   &figures[BARE]);
	}
	bench_shared_unmap(round, sizeof(*round));
	return ret;
}

const struct bench bench_wake = {
	.name = "wake",
	.question = "how long it takes to wake a worker that sleeps",
	.run = run_wake,
};
