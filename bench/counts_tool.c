/* SPDX-License-Identifier: MIT */
/*
 * Runs this program again under a tool that counts, and reads what it counted.
 * Called by counts.c; every run is a child of its own with a limit in time.
 *
 * An echo server under a tool is one side of a round of echo_round.c: its child
 * becomes the tool, which runs this program with --serve. The load is not
 * watched, and stops after an exact number of trips.
 */
#include "counts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zsync/config.h>

#include "bench.h"
#include "echo.h"
#include "tracepoint.h"

enum {
	CLIENTS = 1000,
	FEW_TRIPS = 20000,
	MANY_TRIPS = 100000,
	ROUNDS = 5,
	WARM_UP_MS = 200,
	MEASURE_MS = 500,
	LIMIT_MS = 60000, /* of a run under a tool */
	TEXT_MAX = 16384,
	ARGS_MAX = 12,
};

enum tool { CALLGRIND, STRACE };

/* What the child that becomes the tool has to know. */
struct tool_run {
	enum tool tool;
	const char *mode; /* of this program: --run or --serve */
	const char *name;
	char value[24];	 /* its argument */
	int keep_fds[2]; /* to be inherited; negative: none */
	int report_fd;	 /* where the tool writes to, a memfd */
};

static int explain(const char *what, int err)
{
	fprintf(stderr, "zsync-counts: %s: %s\n", what, strerror(-err));
	return err;
}

/* --- the child --- */

static void inherit(int fd)
{
	if (fd >= 0)
		fcntl(fd, F_SETFD, 0);
}

/* Only returns if the tool cannot be run. */
static int become_tool(const struct tool_run *run)
{
	char self[4096], report[64];
	const char *args[ARGS_MAX] = { NULL };
	ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
	int nr = 0;

	if (length < 0)
		return -errno;
	self[length] = 0;
	if (run->tool == CALLGRIND) {
		snprintf(report, sizeof(report), "--log-fd=%d", run->report_fd);
		args[nr++] = "valgrind";
		args[nr++] = "--tool=callgrind";
		args[nr++] = "--callgrind-out-file=/dev/null";
		args[nr++] = report;
	} else {
		snprintf(report, sizeof(report), "/dev/fd/%d", run->report_fd);
		args[nr++] = "strace";
		args[nr++] = "-fc";
		args[nr++] = "-o";
		args[nr++] = report;
	}
	args[nr++] = self;
	args[nr++] = run->mode;
	args[nr++] = run->name;
	args[nr++] = run->value;
	inherit(run->report_fd);
	inherit(run->keep_fds[0]);
	inherit(run->keep_fds[1]);
	execvp(args[0], (char *const *)(uintptr_t)args);
	return explain(args[0], -errno);
}

static int tool_child(void *arg)
{
	return become_tool(arg);
}

/* valgrind says its version, where nobody reads it. */
static int try_callgrind(void *arg)
{
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	(void)arg;
	if (null < 0 || dup2(null, STDOUT_FILENO) < 0)
		return -errno;
	execlp("valgrind", "valgrind", "--tool=callgrind", "--version",
	       (char *)NULL);
	return -errno;
}

bool counts_has_callgrind(void)
{
	return bench_child_run("valgrind", BENCH_ANY_CPU, try_callgrind, NULL,
			       LIMIT_MS) == 0;
}

/* --- what the tool says --- */

/* The number that follows @mark; negative errno. */
static double read_number(const char *text, const char *mark)
{
	const char *found = strstr(text, mark);
	double number;

	if (!found || sscanf(found + strlen(mark), "%lf", &number) != 1)
		return -ENOMSG;
	return number;
}

/* strace: "100.00 0.001 1 123 4 total", the errors' column may be empty. */
static double read_total(const char *text)
{
	const char *end = strstr(text, " total\n");
	double calls;

	if (!end)
		return -ENOMSG;
	while (end > text && end[-1] != '\n')
		end--;
	if (sscanf(end, "%*f %*f %*f %lf", &calls) != 1)
		return -ENOMSG;
	return calls;
}

/* Shows it if there is no count in it: it says why. */
static double read_report(const struct tool_run *run)
{
	char text[TEXT_MAX];
	ssize_t length = pread(run->report_fd, text, sizeof(text) - 1, 0);
	double number;

	if (length < 0)
		return -errno;
	text[length] = 0;
	number = run->tool == CALLGRIND ? read_number(text, "Collected :") :
					  read_total(text);
	if (number < 0)
		fprintf(stderr, "zsync-counts: no count in what %s says:\n%s\n",
			run->tool == CALLGRIND ? "valgrind" : "strace", text);
	return number;
}

static int open_report(struct tool_run *run)
{
	run->report_fd = memfd_create("report", MFD_CLOEXEC);
	return run->report_fd < 0 ? explain("memfd_create", -errno) : 0;
}

/* --- work --- */

static double count_run(const char *work, uint64_t count)
{
	struct tool_run run = { .tool = CALLGRIND,
				.mode = "--run",
				.name = work,
				.keep_fds = { -1, -1 } };
	double number;
	int ret;

	ret = open_report(&run);
	if (ret < 0)
		return ret;
	snprintf(run.value, sizeof(run.value), "%llu",
		 (unsigned long long)count);
	ret = bench_child_run(work, bench_server_cpu(), tool_child, &run,
			      LIMIT_MS);
	number = read_report(&run);
	close(run.report_fd);
	return ret < 0 ? explain(work, ret) : number;
}

double counts_instructions(const char *work, uint64_t few, uint64_t many)
{
	double less = count_run(work, few);
	double more = less < 0 ? less : count_run(work, many);

	return more < 0 ? more : (more - less) / (double)(many - few);
}

/* --- echo servers --- */

/* Of the round under way, for serve_under_tool(). */
static struct tool_run served;

static int serve_under_tool(void *arg)
{
	struct echo_round *round = arg;

	served.keep_fds[1] = round->server_socket;
	return become_tool(&served);
}

static int run_echo(struct echo_round *round)
{
	int ret = echo_round_run(round);

	if (ret == 0 && round->trips == 0)
		ret = -ENOMSG;
	if (ret < 0)
		fprintf(stderr, "zsync-counts: echo: %s\n", round->failure);
	return ret;
}

/* @fd: the memory of @round. */
static double count_trips(struct echo_round *round, int fd, enum tool tool,
			  const char *server, uint64_t trips)
{
	double number;
	int ret;

	served = (struct tool_run){ .tool = tool,
				    .mode = "--serve",
				    .name = server,
				    .keep_fds = { fd, -1 } };
	snprintf(served.value, sizeof(served.value), "%d", fd);
	*round = (struct echo_round){
		.family = AF_INET,
		.workers = 1,
		.clients = CLIENTS,
		.measure_ns = (int64_t)LIMIT_MS * 1000000,
		.trips_wanted = trips,
		.serve = serve_under_tool,
	};
	ret = open_report(&served);
	if (ret < 0)
		return ret;
	ret = run_echo(round);
	number = read_report(&served);
	close(served.report_fd);
	return ret < 0 ? ret : number;
}

static double count_echo(enum tool tool, const char *server)
{
	int fd = memfd_create("round", MFD_CLOEXEC);
	struct echo_round *round;
	double less, more;

	if (fd < 0 || ftruncate(fd, sizeof(*round)) < 0)
		return explain("memfd_create", -errno);
	round = mmap(NULL, sizeof(*round), PROT_READ | PROT_WRITE, MAP_SHARED,
		     fd, 0);
	if (round == MAP_FAILED)
		return explain("mmap", -errno);
	less = count_trips(round, fd, tool, server, FEW_TRIPS);
	more = less < 0 ? less :
			  count_trips(round, fd, tool, server, MANY_TRIPS);
	munmap(round, sizeof(*round));
	close(fd);
	return more < 0 ? more : (more - less) / (MANY_TRIPS - FEW_TRIPS);
}

double counts_echo_instructions(const char *server)
{
	return count_echo(CALLGRIND, server);
}

static double trace_calls(uint64_t tracepoint, const char *name)
{
	const struct counts_server *server = counts_work_find_server(name);
	struct echo_round *round = bench_shared_map(sizeof(*round));
	struct bench_series calls = { 0 };
	int ret = 0;
	int i;

	if (!round)
		return explain("memory", -ENOMEM);
	for (i = 0; i < ROUNDS && ret == 0; i++) {
		*round = (struct echo_round){
			.family = AF_INET,
			.workers = 1,
			.clients = CLIENTS,
			.warm_up_ns = (int64_t)WARM_UP_MS * 1000000,
			.measure_ns = (int64_t)MEASURE_MS * 1000000,
			.tracepoint = tracepoint,
			.execution_model = server->execution_model,
			.serve = server->serve,
		};
		ret = run_echo(round);
		if (ret == 0)
			bench_series_add(&calls, (double)round->traced_calls /
							 (double)round->trips);
	}
	bench_shared_unmap(round, sizeof(*round));
	/* Who else wants the CPUs makes rounds smaller, and so adds calls. */
	return ret < 0 ? ret : bench_summarize(&calls).least;
}

double counts_echo_calls(const char *server, const char **how)
{
	int64_t tracepoint = bench_tracepoint_find();

	if (tracepoint > 0) {
		*how = "tracepoint";
		return trace_calls((uint64_t)tracepoint, server);
	}
	*how = "strace";
	return count_echo(STRACE, server);
}
