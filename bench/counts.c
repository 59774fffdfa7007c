/* SPDX-License-Identifier: MIT */
/*
 * zsync-counts, `make bench-counts`: how many user instructions and system
 * calls things take. Unlike times these do not wobble, so each has a bound, and
 * more than that is a failure: exit status 1.
 */
#include "counts.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "bare.h"

struct count {
	const char *what;
	const char *work; /* or the echo server */
	double bound;	  /* 0: only shown, to compare with */
	/* Of work: between how many of it. */
	uint64_t few, many;
	double wanted; /* less than the bound, and not reached; 0: the bound */
};

/* --- the bounds --- */

/* Those of instructions guard what has been reached, by gcc 12 and with a tenth
 * on top: lower them with it. */
static const struct count trips[] = {
	{ "echo round trip", "zsync", 400, 0, 0, 250 },
	{ "the same, bare ring", "raw_ring", 0, 0, 0, 0 },
	{ "echo on thread_pool", "zsync_pool", 400, 0, 0, 250 },
	{ "the same, bare epoll", "raw_epoll", 0, 0, 0, 0 },
};

static const struct count calls[] = {
	{ "echo round trip", "zsync", 0.1, 0, 0, 0 },
	{ "the same, bare ring", "raw_ring", 0, 0, 0, 0 },
	{ "echo on thread_pool", "zsync_pool", 2.2, 0, 0, 0 },
	{ "the same, bare epoll", "raw_epoll", 0, 0, 0, 0 },
};

static const struct count works[] = {
	{ "spawn and join, one by one", "spawn_one_by_one", 390, 10000, 110000,
	  0 },
	{ "spawn and join, 10,000", "spawn_in_batches", 176, 20000, 120000, 0 },
	{ "zs_yield", "yield", 115, 10000, 110000, 0 },
	{ "deadline set and lifted", "deadline", 390, 10000, 110000, 0 },
	{ "NOP through 32 tasks", "nop", 230, 6400, 70400, 0 },
};

static const char usage[] =
	"usage: zsync-counts\n"
	"\n"
	"Counts what does not wobble: user instructions, by callgrind, and\n"
	"the system calls of an echo server, by the kernel's tracepoint (as\n"
	"root) or strace; each beside its bound. Takes about a minute.\n"
	"\n"
	"Exit status: 0, 1 if a count is above its bound or could not be\n"
	"taken, 2 for bad options.\n";

/* False if it is too much, or could not be counted. */
static bool show(const struct count *count, const char *how, double value,
		 int digits)
{
	printf("%-28s %-13s", count->what, how);
	if (value < 0)
		printf(" %9s", "failed");
	else
		printf(" %9.*f", digits, value);
	if (count->bound > 0)
		printf(" %9.*f", digits, count->bound);
	if (count->bound > 0 && value >= 0)
		printf("  %.2f%s", value / count->bound,
		       value > count->bound ? "  TOO MANY" : "");
	if (count->wanted > 0 && value > count->wanted)
		printf("  (wanted: %.0f, %.2f of it)", count->wanted,
		       value / count->wanted);
	printf("\n");
	fflush(stdout);
	return value >= 0 && (count->bound <= 0 || value <= count->bound);
}

static void show_head(const char *what)
{
	printf("%-28s %-13s %9s %9s  %s\n", what, "counted by", "count",
	       "bound", "of the bound");
	fflush(stdout);
}

static bool count_instructions(void)
{
	const size_t nr_trips = sizeof(trips) / sizeof(trips[0]);
	const size_t nr_works = sizeof(works) / sizeof(works[0]);
	bool good = true;
	size_t i;

	show_head("user instructions");
	for (i = 0; i < nr_trips; i++)
		good &= show(&trips[i], "callgrind",
			     counts_echo_instructions(trips[i].work), 1);
	for (i = 0; i < nr_works; i++)
		good &= show(&works[i], "callgrind",
			     counts_instructions(works[i].work, works[i].few,
						 works[i].many),
			     1);
	printf("\n");
	return good;
}

static bool count_calls(void)
{
	const size_t nr_calls = sizeof(calls) / sizeof(calls[0]);
	const char *how = "";
	bool good = true;
	double value;
	size_t i;

	show_head("system calls");
	for (i = 0; i < nr_calls; i++) {
		value = counts_echo_calls(calls[i].work, &how);
		good &= show(&calls[i], how, value, 3);
	}
	return good;
}

static bool count_all(void)
{
	bool good = false;

	/* Their own instructions would be counted, if they ran at all. */
	if (!bare_is_possible())
		fprintf(stderr, "zsync-counts: no instructions counted in a "
				"sanitizer's build\n");
	else if (!counts_has_callgrind())
		fprintf(stderr, "zsync-counts: no instructions counted: "
				"valgrind is missing; install it (apt-get "
				"install valgrind)\n");
	else
		good = count_instructions();
	return count_calls() && good;
}

/* As many descriptors as the echo server needs. */
static void raise_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	raise_limit();
	/* This program again, under a tool. */
	if (argc == 4 && strcmp(argv[1], "--run") == 0)
		return counts_work_run(argv[2], strtoull(argv[3], NULL, 10)) <
		       0;
	if (argc == 4 && strcmp(argv[1], "--serve") == 0)
		return counts_work_serve(argv[2], atoi(argv[3])) < 0;
	if (argc == 2 && strcmp(argv[1], "--help") == 0) {
		fputs(usage, stdout);
		return 0;
	}
	if (argc > 1) {
		fputs(usage, stderr);
		return 2;
	}
	return !count_all();
}
