/* SPDX-License-Identifier: MIT */
/* zsync-bench: options, and running the benchmarks one after another. */
#include "bench.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One a line. */
/* clang-format off */
static const struct bench *const benches[] = {
	&bench_tcp_echo,
	&bench_tcp_echo_2_workers,
	&bench_tcp_echo_pool,
	&bench_unix_echo,
	&bench_one_connection,
	&bench_switch,
	&bench_spawn_join,
	&bench_forkjoin,
	&bench_parallel_for,
	&bench_arena,
	&bench_task_create,
	&bench_task_memory,
	&bench_ring_nop,
	&bench_wake,
	&bench_timer_wheel,
	&bench_mutex,
};
/* clang-format on */
enum { NUM_BENCHES = sizeof(benches) / sizeof(benches[0]) };

/* What the command line says. */
struct command {
	struct bench_options options;
	const char *filter;
	const char *out;
	bool json;
	bool list;
	bool help;
};

/* Large: not for the stack. */
static struct bench_report report;

static const char usage[] =
	"usage: zsync-bench [options]\n"
	"\n"
	"Measures zsync beside the least that the same work can cost here: a\n"
	"hand-written loop over a raw ring, over epoll or of blocking calls,\n"
	"a bare jump between two stacks, a bare wake of a thread. \"of the\n"
	"limit\" is our figure over the limit's, and the most that is wanted\n"
	"of it.\n"
	"\n"
	"  --list         the benchmarks, and the question that each answers\n"
	"  --filter NAME  only those whose name contains NAME\n"
	"  --quick        short rounds and few: all of it within 40 seconds\n"
	"  --rounds N     rounds of each, 1 to 99; medians are shown\n"
	"  --format F     table (default) or json\n"
	"  --out FILE     write the report there instead of to stdout\n"
	"  --help         this text\n"
	"\n"
	"Exit status: 0, 1 if a benchmark could not be run, 2 for bad "
	"options.\n";

unsigned int bench_rounds(const struct bench_options *options, unsigned int own,
			  unsigned int own_quick)
{
	if (options->rounds > 0)
		return options->rounds;
	return options->quick ? own_quick : own;
}

void bench_progress(const char *format, ...)
{
	va_list args;

	if (!isatty(STDERR_FILENO))
		return;
	fprintf(stderr, "\r\033[K");
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fflush(stderr);
}

static int complain(const char *format, const char *value)
{
	fprintf(stderr, "zsync-bench: ");
	fprintf(stderr, format, value);
	fprintf(stderr, "; see --help\n");
	return -EINVAL;
}

static int parse_rounds(const char *text, unsigned int *rounds)
{
	char *end;
	long value = strtol(text, &end, 10);

	if (*text == 0 || *end != 0 || value < 1 || value > BENCH_ROUNDS_MAX)
		return complain("--rounds wants 1 to 99, not '%s'", text);
	*rounds = (unsigned int)value;
	return 0;
}

static int parse_format(const char *text, bool *json)
{
	*json = strcmp(text, "json") == 0;
	if (!*json && strcmp(text, "table") != 0)
		return complain("--format wants table or json, not '%s'", text);
	return 0;
}

static int parse_option(struct command *command, int option)
{
	switch (option) {
	case 'l':
		command->list = true;
		return 0;
	case 'f':
		command->filter = optarg;
		return 0;
	case 'q':
		command->options.quick = true;
		return 0;
	case 'r':
		return parse_rounds(optarg, &command->options.rounds);
	case 'F':
		return parse_format(optarg, &command->json);
	case 'o':
		command->out = optarg;
		return 0;
	case 'h':
		command->help = true;
		return 0;
	default:
		/* getopt_long() has said what is wrong. */
		return -EINVAL;
	}
}

static int parse_command(struct command *command, int argc, char **argv)
{
	static const struct option options[] = {
		{ "list", no_argument, NULL, 'l' },
		{ "filter", required_argument, NULL, 'f' },
		{ "quick", no_argument, NULL, 'q' },
		{ "rounds", required_argument, NULL, 'r' },
		{ "format", required_argument, NULL, 'F' },
		{ "out", required_argument, NULL, 'o' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int option;
	int ret = 0;

	for (;;) {
		option = getopt_long(argc, argv, "", options, NULL);
		if (option == -1 || ret < 0)
			break;
		ret = parse_option(command, option);
	}
	if (ret == 0 && optind < argc)
		ret = complain("no such argument: '%s'", argv[optind]);
	return ret;
}

static bool is_chosen(const struct command *command, const struct bench *bench)
{
	return !command->filter || strstr(bench->name, command->filter);
}

static int list_benches(const struct command *command)
{
	int i;

	for (i = 0; i < NUM_BENCHES; i++) {
		if (is_chosen(command, benches[i]))
			printf("%-20s %s\n", benches[i]->name,
			       benches[i]->question);
	}
	return 0;
}

/* How many could not be run, or a negative errno. */
static int run_benches(const struct command *command)
{
	int chosen = 0;
	int failed = 0;
	int i;

	for (i = 0; i < NUM_BENCHES; i++) {
		if (!is_chosen(command, benches[i]))
			continue;
		chosen++;
		if (benches[i]->run(&command->options, &report) < 0)
			failed++;
		if (bench_pinning_failed())
			bench_report_note(&report,
					  "%s: a process could not be bound to "
					  "its CPU: the figures wobble more",
					  benches[i]->name);
	}
	bench_progress("%s", "");
	if (chosen == 0)
		return complain("no benchmark is called '%s'", command->filter);
	return failed;
}

static int write_report(const struct command *command)
{
	FILE *out = command->out ? fopen(command->out, "we") : stdout;
	int ret = 0;

	if (!out) {
		ret = -errno;
		fprintf(stderr, "zsync-bench: %s: %s\n", command->out,
			strerror(-ret));
		return ret;
	}
	if (command->json)
		bench_report_json(&report, out);
	else
		bench_report_table(&report, out);
	if (fflush(out) != 0 || ferror(out)) {
		fprintf(stderr, "zsync-bench: the report was not written\n");
		ret = -EIO;
	}
	if (out != stdout)
		fclose(out);
	return ret;
}

int main(int argc, char **argv)
{
	struct command command = { 0 };
	int failed;

	if (parse_command(&command, argc, argv) < 0)
		return 2;
	if (command.help) {
		fputs(usage, stdout);
		return 0;
	}
	if (command.list)
		return list_benches(&command);
	/* A child that is gone must show as an error, not end us. */
	signal(SIGPIPE, SIG_IGN);
	failed = run_benches(&command);
	if (failed < 0)
		return 2;
	if (write_report(&command) < 0)
		return 1;
	return failed > 0;
}
