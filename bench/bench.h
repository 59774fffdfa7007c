/* SPDX-License-Identifier: MIT */
/*
 * The harness of zsync-bench: what a benchmark gets and what it hands back.
 *
 * The program itself is one thread and never runs a runtime: everything that is
 * measured runs in a child of its own (child.c), so that one benchmark leaves
 * nothing behind for the next.
 */
#ifndef ZS_BENCH_H
#define ZS_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "base/compiler.h"

enum {
	BENCH_ROUNDS_MAX = 99,
	BENCH_RESULTS_MAX = 64,
	BENCH_LINES_MAX = 64,
};

/* --- sample.c: figures --- */

/* One figure, once a round. */
struct bench_series {
	double values[BENCH_ROUNDS_MAX];
	unsigned int count;
};

/* What is shown of it. count 0: there is no such figure. */
struct bench_value {
	double median;
	double least;
	double greatest;
	unsigned int count;
};

void bench_series_add(struct bench_series *series, double value);
struct bench_value bench_summarize(const struct bench_series *series);

/* Times, in buckets that are 1/32 of a power of two wide: 3 % at worst. */
struct bench_histogram {
	uint64_t buckets[64 * 32];
	uint64_t count;
};

void bench_histogram_add(struct bench_histogram *histogram, uint64_t value);
/* The value that @per_mille of 1,000 stay at or below; 0 if there are none. */
uint64_t bench_histogram_at(const struct bench_histogram *histogram,
			    unsigned int per_mille);

/* --- report.c: what was found --- */

struct bench_result {
	const char *name;
	char model[32];		/* of zsync, or what was measured beside it */
	char params[192];	/* a JSON object */
	char label[40];		/* the params, for a person */
	const char *limit_name; /* NULL: there is none */
	struct bench_value ops_per_second;
	struct bench_value cpu_ns_per_op;
	struct bench_value p50_ns;
	struct bench_value p99_ns;
	struct bench_value p999_ns;
	struct bench_value server_over_client;
	struct bench_value system_calls_per_op;
	struct bench_value ratio_to_limit;
	double most_ratio; /* that is wanted; 0: nothing is promised */
};

struct bench_report {
	struct bench_result results[BENCH_RESULTS_MAX];
	unsigned int num_results;
	/* In plain words: what it shows, and what spoiled it. */
	char shown[BENCH_LINES_MAX][400];
	unsigned int num_shown;
	char notes[BENCH_LINES_MAX][400];
	unsigned int num_notes;
};

/* An empty row to fill in. */
struct bench_result *bench_report_add(struct bench_report *report,
				      const char *name);
void bench_report_show(struct bench_report *report, const char *format, ...)
	ZS_PRINTF(2, 3);
void bench_report_note(struct bench_report *report, const char *format, ...)
	ZS_PRINTF(2, 3);

/* Notes why @name could not be run: @failure, or what @err stands for if that
 * is empty. */
void bench_report_failure(struct bench_report *report, const char *name,
			  int err, const char *failure);

void bench_report_table(const struct bench_report *report, FILE *out);
void bench_report_json(const struct bench_report *report, FILE *out);

/* --- child.c: where things are measured --- */

enum { BENCH_ANY_CPU = -1 };

struct bench_child {
	pid_t pid;
	const char *what; /* for messages */
};

/* The CPUs of this process's affinity mask, lowest first: the one servers run
 * on, and the one for whoever loads them. The same one where there is only
 * one. */
int bench_server_cpu(void);
int bench_load_cpu(void);
int bench_num_cpus(void);

/* Zeroed memory that a child shares with its parent; NULL if there is none. */
void *bench_shared_map(size_t size);
void bench_shared_unmap(void *memory, size_t size);

/* Runs fn(arg) in a child on @cpu (BENCH_ANY_CPU: on all that we may use); it
 * exits with 0 if that returned >= 0. The child dies with its parent. 0 or a
 * negative errno. */
int bench_child_start(struct bench_child *child, const char *what, int cpu,
		      int (*fn)(void *arg), void *arg);

/* Waits up to @limit_ms, then ends it. 0 if the child returned >= 0, -EIO if it
 * did not or died, -ETIMEDOUT if it had to be ended. */
int bench_child_wait(struct bench_child *child, int limit_ms);

/* Both: runs fn(arg) in a child and waits for its end. */
int bench_child_run(const char *what, int cpu, int (*fn)(void *arg), void *arg,
		    int limit_ms);

/* Ends it at once. Nothing if it has ended. */
void bench_child_kill(struct bench_child *child);

/* True once after a child could not be bound to its CPU. */
bool bench_pinning_failed(void);

/* --- the benchmarks --- */

struct bench_options {
	bool quick;
	unsigned int rounds; /* 0: the benchmark's own number */
};

struct bench {
	const char *name;
	const char *question;
	/* 0, or a negative errno after a note that says what is wrong. */
	int (*run)(const struct bench_options *options,
		   struct bench_report *report);
};

extern const struct bench bench_tcp_echo;
extern const struct bench bench_tcp_echo_pool;
extern const struct bench bench_tcp_echo_2_workers;
extern const struct bench bench_unix_echo;
extern const struct bench bench_one_connection;
extern const struct bench bench_switch;
extern const struct bench bench_spawn_join;
extern const struct bench bench_forkjoin;
extern const struct bench bench_parallel_for;
extern const struct bench bench_arena;
extern const struct bench bench_task_create;
extern const struct bench bench_task_memory;
extern const struct bench bench_timer_wheel;
extern const struct bench bench_ring_nop;
extern const struct bench bench_wake;
extern const struct bench bench_mutex;

/* How many rounds to run, where the benchmark itself would take @own, or
 * @own_quick with --quick. */
unsigned int bench_rounds(const struct bench_options *options, unsigned int own,
			  unsigned int own_quick);

/* What a person should know while it runs; to stderr, if that is a terminal. */
void bench_progress(const char *format, ...) ZS_PRINTF(1, 2);

#endif
