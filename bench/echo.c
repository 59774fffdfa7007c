/* SPDX-License-Identifier: MIT */
/*
 * tcp_echo, unix_echo: what does a message cost a server of green threads,
 * beside the best hand-written loop over a ring and over epoll?
 * one_connection: how long does a lone message take there and back, beside two
 * loops of blocking system calls?
 *
 * Machines drift by a third within minutes, so rates rank nothing. What is
 * compared is the server's CPU time per trip over the load's in the same run:
 * the speed of the machine cancels out. Servers take turns, another first in
 * each round, and each ratio is one of figures of the same round.
 */
#include "bench.h"
#include "echo.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <zsync/config.h>

enum {
	SERVERS_MAX = 5,
	SPARE_DESCRIPTORS = 64, /* what a process has open besides clients */
	IDLE_SPIN_US = 20,	/* zsync's own, where there are CPUs for it */
};

struct server {
	int (*serve)(void *round);
	const char *label;
	bool is_limit; /* the best of these is the limit */
	bool is_ours;
	double most_ratio; /* to the limit; 0: none is promised */
	enum zs_execution_model execution_model;
	uint32_t idle_spin_us;
	enum echo_load_kind load_kind;
};

/* The figures of one server, a value a round. */
struct figures {
	char model[32];
	struct bench_series rate, cpu_ns, p50, p99, p999;
	struct bench_series server_over_client, system_calls;
};

struct question {
	const char *name;
	const char *limit_name;
	int family;
	int workers;
	unsigned int clients;
	/* Of blocking calls, and compared by its p50. */
	bool is_of_latency;
	const struct server *servers;
	unsigned int num_servers;
};

struct run {
	const struct question *question;
	struct bench_report *report;
	struct echo_round *round; /* shared */
	unsigned int clients;
	int64_t warm_up_ns;
	int64_t measure_ns;
	struct figures figures[SERVERS_MAX];
	/* The part of the CPUs' time that server and load had. */
	struct bench_series cpu_share;
	/* How many of 1,000 the less busy worker of ours had. */
	struct bench_series fewest_connections;
	struct bench_series fewest_ops;
};

/* --- rounds --- */

static int run_round(struct run *run, const struct server *server)
{
	const struct question *question = run->question;

	*run->round = (struct echo_round){
		.family = question->family,
		.workers = question->workers,
		.clients = run->clients,
		.execution_model = server->execution_model,
		.idle_spin_us = server->idle_spin_us,
		.load_kind = server->load_kind,
		.warm_up_ns = run->warm_up_ns,
		.measure_ns = run->measure_ns,
		.serve = server->serve,
	};
	return echo_round_run(run->round);
}

static void keep_spread(struct run *run)
{
	const struct echo_round *round = run->round;
	double connections[2];
	double ops[2];
	int i;

	for (i = 0; i < 2; i++) {
		connections[i] = (double)round->after.workers[i].connections;
		ops[i] = (double)(round->after.workers[i].ops -
				  round->before.workers[i].ops);
	}
	if (ops[0] + ops[1] <= 0)
		return;
	i = connections[0] > connections[1];
	bench_series_add(&run->fewest_connections,
			 connections[i] * 1000 /
				 (connections[0] + connections[1]));
	i = ops[0] > ops[1];
	bench_series_add(&run->fewest_ops, ops[i] * 1000 / (ops[0] + ops[1]));
}

static void keep_figures(struct figures *figures, const struct server *server,
			 const struct echo_round *round)
{
	double trips = (double)round->trips;
	uint64_t system_calls = 0;
	int i;

	for (i = 0; i < ECHO_WORKERS_MAX; i++)
		system_calls += round->after.workers[i].system_calls -
				round->before.workers[i].system_calls;
	memcpy(figures->model, round->model, sizeof(figures->model));
	bench_series_add(&figures->rate, trips * 1e9 / (double)round->wall_ns);
	bench_series_add(&figures->cpu_ns,
			 (double)round->server_cpu_ns / trips);
	bench_series_add(&figures->server_over_client,
			 (double)round->server_cpu_ns /
				 (double)round->client_cpu_ns);
	/* Plain engines count their waits, and not the calls beside these. */
	if (server->execution_model != ZS_MODEL_THREAD_POOL)
		bench_series_add(&figures->system_calls,
				 (double)system_calls / trips);
	bench_series_add(&figures->p50, (double)round->p50_ns);
	bench_series_add(&figures->p99, (double)round->p99_ns);
	bench_series_add(&figures->p999, (double)round->p999_ns);
}

/* Both are always busy. What is missing was taken by others. */
static void keep_cpu_share(struct run *run)
{
	const struct echo_round *round = run->round;
	int cpus = bench_num_cpus() < 2 ? 1 : 2;

	bench_series_add(&run->cpu_share,
			 (double)(round->server_cpu_ns + round->client_cpu_ns) /
				 (double)round->wall_ns / cpus);
}

/* 0, or the first error; the other servers go on without that one. */
static int run_rounds(struct run *run, unsigned int rounds, bool *failed)
{
	const struct question *question = run->question;
	unsigned int turn, round, which;
	int first_error = 0;
	int ret;

	for (turn = 0; turn < rounds * question->num_servers; turn++) {
		round = turn / question->num_servers;
		which = (turn + round) % question->num_servers;
		if (failed[which])
			continue;
		bench_progress("%s: round %u of %u, %s", question->name,
			       round + 1, rounds,
			       question->servers[which].label);
		ret = run_round(run, &question->servers[which]);
		if (ret == 0 && run->round->trips > 0) {
			keep_figures(&run->figures[which],
				     &question->servers[which], run->round);
			keep_cpu_share(run);
			if (question->servers[which].is_ours &&
			    run->round->num_workers == 2)
				keep_spread(run);
			continue;
		}
		failed[which] = true;
		first_error = first_error ? first_error : -EIO;
		bench_report_note(run->report, "%s, %s: %s", question->name,
				  question->servers[which].label,
				  run->round->failure);
	}
	return first_error;
}

/* --- what came out --- */

/* What servers are compared by. */
static const struct bench_series *compared(const struct run *run,
					   unsigned int which)
{
	const struct figures *figures = &run->figures[which];

	return run->question->is_of_latency ? &figures->p50 :
					      &figures->server_over_client;
}

/* The best of the limits by its median; -1 if none could be run. */
static int find_limit(const struct run *run)
{
	double best = 0;
	double median;
	int limit = -1;
	unsigned int i;

	for (i = 0; i < run->question->num_servers; i++) {
		if (!run->question->servers[i].is_limit ||
		    run->figures[i].rate.count == 0)
			continue;
		median = bench_summarize(compared(run, i)).median;
		if (limit >= 0 && median >= best)
			continue;
		best = median;
		limit = (int)i;
	}
	return limit;
}

/* Round by round: what they share cancels out. */
static struct bench_value ratios(const struct bench_series *ours,
				 const struct bench_series *theirs)
{
	struct bench_series series = { 0 };
	unsigned int i;

	for (i = 0; i < ours->count && i < theirs->count; i++)
		bench_series_add(&series, ours->values[i] / theirs->values[i]);
	return bench_summarize(&series);
}

static const struct bench_result *add_result(struct run *run,
					     unsigned int which, int limit)
{
	const struct question *question = run->question;
	const struct figures *figures = &run->figures[which];
	struct bench_result *result =
		bench_report_add(run->report, question->name);

	memcpy(result->model, figures->model, sizeof(result->model));
	snprintf(result->label, sizeof(result->label), "%s",
		 question->servers[which].label);
	snprintf(result->params, sizeof(result->params),
		 "{\"family\": \"%s\", \"clients\": %u, \"bytes\": %d, "
		 "\"in_flight\": 1, \"workers\": %d}",
		 question->family == AF_UNIX ? "unix" : "inet", run->clients,
		 ECHO_BYTES, question->workers);
	result->ops_per_second = bench_summarize(&figures->rate);
	result->cpu_ns_per_op = bench_summarize(&figures->cpu_ns);
	result->server_over_client =
		bench_summarize(&figures->server_over_client);
	result->system_calls_per_op = bench_summarize(&figures->system_calls);
	result->p50_ns = bench_summarize(&figures->p50);
	result->p99_ns = bench_summarize(&figures->p99);
	result->p999_ns = bench_summarize(&figures->p999);
	if (limit < 0)
		return result;
	result->limit_name = question->limit_name;
	result->most_ratio = question->servers[which].most_ratio;
	result->ratio_to_limit = ratios(compared(run, which),
					compared(run, (unsigned int)limit));
	return result;
}

static void show_spread(struct run *run)
{
	struct bench_value connections =
		bench_summarize(&run->fewest_connections);
	struct bench_value ops = bench_summarize(&run->fewest_ops);

	if (connections.count > 0)
		bench_report_show(
			run->report,
			"%s: connections spread by themselves: the worker with "
			"fewer tasks started %.1f %% of them and finished "
			"%.1f %% of the operations (worst round %.1f %% and "
			"%.1f %%; 50 %% is even).",
			run->question->name, connections.median / 10,
			ops.median / 10, connections.least / 10,
			ops.least / 10);
}

static void show_latency(struct run *run, const struct bench_result *ours)
{
	bench_report_show(
		run->report,
		"%s, %s: half of the round trips take %.1f us or less, %.2f "
		"times those of %s (%.2f to %.2f over %u rounds; at most %.2f "
		"is wanted).",
		run->question->name, ours->label, ours->p50_ns.median / 1e3,
		ours->ratio_to_limit.median, run->question->limit_name,
		ours->ratio_to_limit.least, ours->ratio_to_limit.greatest,
		ours->ratio_to_limit.count, ours->most_ratio);
}

static void show_cost(struct run *run, const struct bench_result *ours)
{
	bench_report_show(
		run->report,
		"%s: %u connections, %d bytes, one message in flight on each: "
		"%.0f round trips a second, and every byte that came back was "
		"checked.",
		run->question->name, run->clients, ECHO_BYTES,
		ours->ops_per_second.median);
	if (ours->limit_name)
		bench_report_show(
			run->report,
			"%s: a trip costs the server %.2f times the CPU of %s "
			"(%.2f to %.2f over %u rounds; the measure is "
			"good to about 5 %%).",
			run->question->name, ours->ratio_to_limit.median,
			run->question->limit_name, ours->ratio_to_limit.least,
			ours->ratio_to_limit.greatest,
			ours->ratio_to_limit.count);
	if (ours->system_calls_per_op.count > 0)
		bench_report_show(run->report,
				  "%s: it takes the server %.3f system calls.",
				  run->question->name,
				  ours->system_calls_per_op.median);
	show_spread(run);
}

static void note_cpu_share(struct run *run)
{
	double share = bench_summarize(&run->cpu_share).median;

	/* A lone message is for the most part waited for. */
	if (run->question->is_of_latency)
		return;
	if (share < 0.9 && run->cpu_share.count > 0)
		bench_report_note(
			run->report,
			"%s: server and load had %.0f %% of the CPUs: "
			"something else was running, so rates and "
			"latencies are worse than they need be",
			run->question->name, share * 100);
}

static void report_figures(struct run *run)
{
	const struct bench_result *result;
	int limit = find_limit(run);
	unsigned int i;

	for (i = 0; i < run->question->num_servers; i++) {
		if (run->figures[i].rate.count == 0)
			continue;
		result = add_result(run, i, limit);
		if (!run->question->servers[i].is_ours)
			continue;
		if (!run->question->is_of_latency)
			show_cost(run, result);
		else if (limit >= 0)
			show_latency(run, result);
	}
	note_cpu_share(run);
}

/* --- the questions --- */

/* As many as are wanted, or as there are descriptors for. */
static unsigned int allowed_clients(unsigned int wanted,
				    struct bench_report *report)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return wanted;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_max >= wanted + SPARE_DESCRIPTORS)
		return wanted;
	bench_report_note(
		report,
		"the limit of open files (ulimit -Hn) is %lu: fewer clients "
		"than %u",
		(unsigned long)limit.rlim_max, wanted);
	return limit.rlim_max > 2 * SPARE_DESCRIPTORS ?
		       (unsigned int)limit.rlim_max - SPARE_DESCRIPTORS :
		       SPARE_DESCRIPTORS;
}

static int ask(const struct question *question,
	       const struct bench_options *options, struct bench_report *report)
{
	struct run run = {
		.question = question,
		.report = report,
		.clients = allowed_clients(question->clients, report),
		.warm_up_ns = options->quick ? 100000000 : 500000000,
		.measure_ns = options->quick ? 400000000 : 2000000000,
	};
	bool failed[SERVERS_MAX] = { false };
	int ret;

	if (bench_num_cpus() < 2)
		bench_report_note(
			report,
			"only one CPU is allowed: servers and load share it, "
			"and rates and latencies say little");
	run.round = bench_shared_map(sizeof(*run.round));
	if (!run.round)
		return -ENOMEM;
	ret = run_rounds(&run, bench_rounds(options, 5, 3), failed);
	report_figures(&run);
	bench_shared_unmap(run.round, sizeof(*run.round));
	return ret;
}

static int run_tcp_echo(const struct bench_options *options,
			struct bench_report *report)
{
	static const struct server servers[] = {
		{ echo_zsync_serve, "zsync, 1 worker", .is_ours = true,
		  .most_ratio = 1.08, .idle_spin_us = ZS_IDLE_SPIN_AUTO },
		{ echo_ring_multishot_serve, "multishot recv",
		  .is_limit = true },
		{ echo_ring_oneshot_serve, "recv after each send",
		  .is_limit = true },
		{ echo_epoll_serve, "level-triggered", .is_limit = false },
	};
	static const struct question question = {
		.name = "tcp_echo",
		.limit_name = "the best hand-written ring loop",
		.family = AF_INET,
		.workers = 1,
		.clients = 1000,
		.servers = servers,
		.num_servers = sizeof(servers) / sizeof(servers[0]),
	};

	return ask(&question, options, report);
}

static int run_tcp_echo_pool(const struct bench_options *options,
			     struct bench_report *report)
{
	static const struct server servers[] = {
		{ echo_zsync_serve, "zsync, 1 worker", .is_ours = true,
		  .most_ratio = 1.08, .execution_model = ZS_MODEL_THREAD_POOL,
		  .idle_spin_us = ZS_IDLE_SPIN_AUTO },
		{ echo_epoll_serve, "level-triggered", .is_limit = true },
	};
	static const struct question question = {
		.name = "tcp_echo_pool",
		.limit_name = "a hand-written epoll loop",
		.family = AF_INET,
		.workers = 1,
		.clients = 1000,
		.servers = servers,
		.num_servers = sizeof(servers) / sizeof(servers[0]),
	};

	return ask(&question, options, report);
}

static int run_tcp_echo_2_workers(const struct bench_options *options,
				  struct bench_report *report)
{
	static const struct server servers[] = {
		{ echo_zsync_serve, "zsync, 2 workers", .is_ours = true,
		  .idle_spin_us = ZS_IDLE_SPIN_AUTO },
		{ echo_ring_multishot_serve, "2 x multishot recv",
		  .is_limit = true },
	};
	static const struct question question = {
		.name = "tcp_echo_2_workers",
		.limit_name = "two hand-written ring loops",
		.family = AF_INET,
		.workers = 2,
		.clients = 1000,
		.servers = servers,
		.num_servers = sizeof(servers) / sizeof(servers[0]),
	};

	return ask(&question, options, report);
}

static int run_unix_echo(const struct bench_options *options,
			 struct bench_report *report)
{
	static const struct server servers[] = {
		{ echo_zsync_serve, "zsync, 1 worker", .is_ours = true,
		  .most_ratio = 1.15, .idle_spin_us = ZS_IDLE_SPIN_AUTO },
		{ echo_ring_multishot_serve, "multishot recv",
		  .is_limit = true },
		{ echo_ring_oneshot_serve, "recv after each send",
		  .is_limit = true },
		{ echo_epoll_serve, "level-triggered", .is_limit = false },
	};
	static const struct question question = {
		.name = "unix_echo",
		.limit_name = "the best hand-written ring loop",
		.family = AF_UNIX,
		.workers = 1,
		.clients = 100,
		.servers = servers,
		.num_servers = sizeof(servers) / sizeof(servers[0]),
	};

	return ask(&question, options, report);
}

static int run_one_connection(const struct bench_options *options,
			      struct bench_report *report)
{
	static const struct server servers[] = {
		{ echo_zsync_serve, "both ends, idle spin", .is_ours = true,
		  .most_ratio = 0.45, .idle_spin_us = IDLE_SPIN_US,
		  .load_kind = ECHO_LOAD_TASK },
		{ echo_zsync_serve, "server, idle spin", .is_ours = true,
		  .most_ratio = 1.0, .idle_spin_us = IDLE_SPIN_US,
		  .load_kind = ECHO_LOAD_BLOCKING },
		{ echo_zsync_serve, "both ends, no spin", .is_ours = true,
		  .most_ratio = 1.0, .load_kind = ECHO_LOAD_TASK },
		{ echo_zsync_serve, "server, no spin", .is_ours = true,
		  .most_ratio = 1.0, .load_kind = ECHO_LOAD_BLOCKING },
		{ echo_blocking_serve, "send and recv", .is_limit = true,
		  .load_kind = ECHO_LOAD_BLOCKING },
	};
	static const struct question question = {
		.name = "one_connection",
		.limit_name = "a server of blocking calls",
		.family = AF_INET,
		.workers = 1,
		.clients = 1,
		.is_of_latency = true,
		.servers = servers,
		.num_servers = sizeof(servers) / sizeof(servers[0]),
	};

	return ask(&question, options, report);
}

const struct bench bench_tcp_echo = {
	.name = "tcp_echo",
	.question = "what a 64-byte message costs a server with 1,000 "
		    "connections",
	.run = run_tcp_echo,
};

const struct bench bench_tcp_echo_pool = {
	.name = "tcp_echo_pool",
	.question = "what it costs without a ring, on epoll (thread_pool)",
	.run = run_tcp_echo_pool,
};

const struct bench bench_tcp_echo_2_workers = {
	.name = "tcp_echo_2_workers",
	.question = "the same with two workers: do connections spread over "
		    "both?",
	.run = run_tcp_echo_2_workers,
};

const struct bench bench_unix_echo = {
	.name = "unix_echo",
	.question = "what it costs with 100 connections over unix sockets",
	.run = run_unix_echo,
};

const struct bench bench_one_connection = {
	.name = "one_connection",
	.question = "how long a lone message takes there and back",
	.run = run_one_connection,
};
