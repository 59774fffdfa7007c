/* SPDX-License-Identifier: MIT */
/*
 * channel: what does it cost to hand an item from a task to another, on the one
 * worker of a runtime, on one of several, and from worker to worker?
 *
 * Beside it is a queue of the usual kind, a ring with a pthread mutex and two
 * condition variables, between threads in place of tasks; and Go's channel,
 * where the peer is there. What is wanted was measured on a machine where a
 * bare jump between two stacks takes 4.5 ns, so a jump is timed in each round,
 * too.
 */
#include "bench.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <zsync.h>

#include "bare.h"
#include "base/clock.h"
#include "peer.h"

enum {
	SIDES_MOST = 4,
	ITEM_MOST = 256,
	MANY_ITEMS = 400000,
	FEW_ITEMS = 40000, /* where each needs a switch, or a wake */
	JUMPS = 200000,
	LIMIT_MS = 60000,
};

enum place { ONE_WORKER, ONE_OF_TWO, TWO_WORKERS, NUM_PLACES };

static const char *const place_label[NUM_PLACES] = {
	"one worker",
	"one of two",
	"two workers",
};
static const double wanted_ns[NUM_PLACES] = { 8, 12, 25 };
static const double reference_jump_ns = 4.5;

struct channel_case {
	enum place place;
	uint32_t sides; /* senders, and as many receivers */
	size_t capacity;
	size_t item_size;
};

/* A round; in shared memory, the child fills it. */
struct channel_round {
	struct channel_case the_case;
	double ns;	   /* an item, from task to task */
	double threads_ns; /* from thread to thread; 0: not measured */
	double jump_ns;
	char model[32];
};

/* Of the child. */
static struct channel_round *round_here;
static struct zs_chan *chan;
static uint32_t num_items; /* of each side */
static _Atomic uint32_t num_placed;
static int64_t start_ns;

/* --- tasks --- */

static int send_items(void *arg)
{
	uint64_t item[ITEM_MOST / sizeof(uint64_t)] = { 0 };
	uint32_t i;
	int ret = 0;

	(void)arg;
	for (i = 0; i < num_items && ret == 0; i++) {
		item[0] = i;
		ret = zs_chan_send(chan, item);
	}
	return ret;
}

static int recv_items(void *arg)
{
	uint64_t item[ITEM_MOST / sizeof(uint64_t)];
	uint32_t i;
	int ret = 0;

	(void)arg;
	for (i = 0; i < num_items && ret == 0; i++)
		ret = zs_chan_recv(chan, item);
	return ret;
}

static int spawn_sides(struct zs_nursery nursery, zs_task_fn *fn)
{
	uint32_t i;
	int ret = 0;

	for (i = 0; i < round_here->the_case.sides && ret == 0; i++)
		ret = zs_nursery_spawn(nursery, fn, NULL);
	return ret;
}

/* Keeps its worker to itself until the other one has come, so that each has
 * one end. */
static int run_end(void *arg)
{
	const struct zs_nursery_options pinned = { .flags = ZS_NURSERY_PINNED };
	zs_task_fn *fn = *(zs_task_fn **)arg;
	struct zs_nursery nursery;
	int ended, ret;

	if (atomic_fetch_add_explicit(&num_placed, 1, memory_order_relaxed) ==
	    1)
		start_ns = zs_clock_ns();
	while (atomic_load_explicit(&num_placed, memory_order_relaxed) < 2)
		sched_yield();
	ret = zs_nursery_open(&nursery, &pinned);
	if (ret < 0)
		return ret;
	ret = spawn_sides(nursery, fn);
	ended = zs_nursery_wait(nursery);
	return ret < 0 ? ret : ended;
}

static int spawn_ends(struct zs_nursery nursery)
{
	static zs_task_fn *const fns[] = { send_items, recv_items };
	int i, ret = 0;

	if (round_here->the_case.place == TWO_WORKERS) {
		for (i = 0; i < 2 && ret == 0; i++)
			ret = zs_nursery_spawn_copy(nursery, run_end, &fns[i],
						    sizeof(fns[i]));
		return ret;
	}
	start_ns = zs_clock_ns();
	for (i = 0; i < 2 && ret == 0; i++)
		ret = spawn_sides(nursery, fns[i]);
	return ret;
}

static int pass_items(void *arg)
{
	struct zs_nursery_options options = { .flags = ZS_NURSERY_PINNED };
	const struct channel_case *the_case = &round_here->the_case;
	struct zs_runtime_info info;
	struct zs_nursery nursery;
	int ended, ret = zs_runtime_info(NULL, &info);

	(void)arg;
	if (ret < 0)
		return ret;
	strncpy(round_here->model, info.model_name,
		sizeof(round_here->model) - 1);
	if (the_case->place == TWO_WORKERS)
		options.flags = 0;
	ret = zs_chan_create(&chan, the_case->item_size, the_case->capacity);
	if (ret < 0)
		return ret;
	ret = zs_nursery_open(&nursery, &options);
	if (ret == 0) {
		ret = spawn_ends(nursery);
		ended = zs_nursery_wait(nursery);
		ret = ret < 0 ? ret : ended;
	}
	round_here->ns = (double)(zs_clock_ns() - start_ns) / num_items /
			 the_case->sides;
	zs_chan_destroy(chan);
	return ret;
}

/* --- threads --- */

static struct queue {
	pthread_mutex_t lock;
	pthread_cond_t has_room, has_item;
	size_t count, in, out, capacity, item_size;
	unsigned char *items;
} queue = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.has_room = PTHREAD_COND_INITIALIZER,
	.has_item = PTHREAD_COND_INITIALIZER,
};

static void *put_items(void *arg)
{
	uint64_t item[ITEM_MOST / sizeof(uint64_t)] = { 0 };
	uint32_t i;

	for (i = 0; i < num_items; i++) {
		item[0] = i;
		pthread_mutex_lock(&queue.lock);
		while (queue.count == queue.capacity)
			pthread_cond_wait(&queue.has_room, &queue.lock);
		memcpy(queue.items + queue.in * queue.item_size, item,
		       queue.item_size);
		queue.in = (queue.in + 1) % queue.capacity;
		if (queue.count++ == 0)
			pthread_cond_signal(&queue.has_item);
		pthread_mutex_unlock(&queue.lock);
	}
	return arg;
}

static void *get_items(void *arg)
{
	uint64_t item[ITEM_MOST / sizeof(uint64_t)];
	uint32_t i;

	for (i = 0; i < num_items; i++) {
		pthread_mutex_lock(&queue.lock);
		while (queue.count == 0)
			pthread_cond_wait(&queue.has_item, &queue.lock);
		memcpy(item, queue.items + queue.out * queue.item_size,
		       queue.item_size);
		queue.out = (queue.out + 1) % queue.capacity;
		if (queue.count-- == queue.capacity)
			pthread_cond_signal(&queue.has_room);
		pthread_mutex_unlock(&queue.lock);
	}
	return arg;
}

/* One sender and one receiver, and a queue that has a bound. */
static void pass_by_threads(void)
{
	const struct channel_case *the_case = &round_here->the_case;
	pthread_t thread;
	int64_t from_ns;

	queue.capacity = the_case->capacity;
	queue.item_size = the_case->item_size;
	queue.items = malloc(queue.capacity * queue.item_size);
	if (!queue.items)
		return;
	from_ns = zs_clock_ns();
	if (pthread_create(&thread, NULL, put_items, NULL) == 0) {
		get_items(NULL);
		pthread_join(thread, NULL);
		round_here->threads_ns =
			(double)(zs_clock_ns() - from_ns) / num_items;
	}
	free(queue.items);
}

static bool has_equivalent(const struct channel_case *the_case)
{
	return the_case->sides == 1 && the_case->capacity > 0 &&
	       the_case->capacity != ZS_CHAN_UNBOUNDED;
}

static int run_case(void *arg)
{
	struct zs_config config = zs_config_default();

	round_here = arg;
	config.num_workers = round_here->the_case.place == ONE_WORKER ? 1 : 2;
	num_items =
		(round_here->the_case.capacity < 2 ? FEW_ITEMS : MANY_ITEMS) /
		round_here->the_case.sides;
	round_here->jump_ns = bare_switch_ns(JUMPS);
	if (has_equivalent(&round_here->the_case))
		pass_by_threads();
	return zs_run(&config, pass_items, NULL);
}

/* --- the report --- */

struct figures {
	struct bench_series ns, rates, threads_ns, ratio, scaled;
};

static void add_round(struct figures *figures,
		      const struct channel_round *round)
{
	bench_series_add(&figures->ns, round->ns);
	bench_series_add(&figures->rates, 1e9 / round->ns);
	bench_series_add(&figures->scaled,
			 round->ns * reference_jump_ns / round->jump_ns);
	if (round->threads_ns == 0)
		return;
	bench_series_add(&figures->threads_ns, round->threads_ns);
	bench_series_add(&figures->ratio, round->ns / round->threads_ns);
}

static void describe_capacity(size_t capacity, char *text, size_t size)
{
	if (capacity == ZS_CHAN_UNBOUNDED)
		snprintf(text, size, "unbounded");
	else
		snprintf(text, size, "%zu", capacity);
}

static void report_case(struct bench_report *report,
			const struct channel_round *round,
			const struct figures *figures)
{
	struct bench_result *result = bench_report_add(report, "channel");
	const struct channel_case *the_case = &round->the_case;
	char capacity[24];

	describe_capacity(the_case->capacity, capacity, sizeof(capacity));
	snprintf(result->model, sizeof(result->model), "%s", round->model);
	snprintf(result->label, sizeof(result->label), "%s %u:%u %s %zu B",
		 place_label[the_case->place], the_case->sides, the_case->sides,
		 capacity, the_case->item_size);
	snprintf(result->params, sizeof(result->params),
		 "{\"place\": \"%s\", \"sides\": %u, \"capacity\": \"%s\", "
		 "\"item_size\": %zu}",
		 place_label[the_case->place], the_case->sides, capacity,
		 the_case->item_size);
	result->ops_per_second = bench_summarize(&figures->rates);
	if (figures->ratio.count > 0) {
		result->limit_name = "a queue of a mutex and two conditions, "
				     "between threads";
		result->ratio_to_limit = bench_summarize(&figures->ratio);
	}
}

static void show_wanted(struct bench_report *report,
			const struct channel_round *round,
			const struct figures *figures)
{
	enum place place = round->the_case.place;
	struct bench_value ns = bench_summarize(&figures->ns);
	struct bench_value scaled = bench_summarize(&figures->scaled);
	double go_ns;
	char arguments[32], go[64] = "";

	snprintf(arguments, sizeof(arguments), "channel %d %zu",
		 place == TWO_WORKERS ? 2 : 1, round->the_case.capacity);
	go_ns = peer_ns("peer-go", arguments);
	if (go_ns > 0)
		snprintf(go, sizeof(go), "; Go's channel %.1f ns", go_ns);
	bench_report_show(report,
			  "channel: %s, capacity 128, 8 bytes: an item takes "
			  "%.1f ns (%.1f to %.1f), threads %.0f ns%s. By a "
			  "jump of %.1f ns that is %.1f ns (%.0f is wanted).",
			  place_label[place], ns.median, ns.least, ns.greatest,
			  bench_summarize(&figures->threads_ns).median, go,
			  reference_jump_ns, scaled.median, wanted_ns[place]);
}

static bool is_wanted(const struct channel_case *the_case)
{
	return the_case->sides == 1 && the_case->capacity == 128 &&
	       the_case->item_size == sizeof(uint64_t);
}

static int run_rounds(unsigned int rounds, const struct channel_case *the_case,
		      struct channel_round *round, struct bench_report *report)
{
	int cpu = the_case->place == ONE_WORKER ? bench_server_cpu() :
						  BENCH_ANY_CPU;
	struct figures figures = { 0 };
	unsigned int i;
	int ret;

	for (i = 0; i < rounds; i++) {
		bench_progress("channel, %s: round %u of %u",
			       place_label[the_case->place], i + 1, rounds);
		memset(round, 0, sizeof(*round));
		round->the_case = *the_case;
		ret = bench_child_run("channel", cpu, run_case, round,
				      LIMIT_MS);
		if (ret < 0) {
			bench_report_failure(report, "channel", ret, "");
			return ret;
		}
		add_round(&figures, round);
	}
	report_case(report, round, &figures);
	if (is_wanted(the_case))
		show_wanted(report, round, &figures);
	return 0;
}

static int run_place(const struct bench_options *options, enum place place,
		     struct channel_round *round, struct bench_report *report)
{
	static const size_t capacities[] = { 0, 1, 128, ZS_CHAN_UNBOUNDED };
	struct channel_case the_case = { .place = place };
	unsigned int i;
	int ret = 0;

	for (i = 0; i < 16 && ret == 0; i++) {
		the_case.capacity = capacities[i / 4];
		the_case.sides = i % 4 / 2 ? 4 : 1;
		the_case.item_size = i % 2 ? ITEM_MOST : sizeof(uint64_t);
		if (options->quick && !is_wanted(&the_case))
			continue;
		ret = run_rounds(bench_rounds(options, 5, 3), &the_case, round,
				 report);
	}
	return ret;
}

static int run_channel(const struct bench_options *options,
		       struct bench_report *report)
{
	struct channel_round *round = bench_shared_map(sizeof(*round));
	enum place place;
	int ret = 0;

	if (!round)
		return -ENOMEM;
	for (place = 0; place < NUM_PLACES && ret == 0; place++)
		if (place != TWO_WORKERS || bench_num_cpus() > 1)
			ret = run_place(options, place, round, report);
	bench_shared_unmap(round, sizeof(*round));
	return ret;
}

const struct bench bench_channel = {
	.name = "channel",
	.question = "what an item costs from task to task",
	.run = run_channel,
};
