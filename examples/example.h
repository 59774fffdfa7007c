/* SPDX-License-Identifier: MIT */
/* What the example servers begin and end with: options, signals, the error. */
#ifndef ZS_EXAMPLE_H
#define ZS_EXAMPLE_H

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>

#include <zsync.h>

struct example {
	struct zs_config config;
	char address[24]; /* to listen on; port 0: the kernel picks one */
	int signals;	  /* SIGINT and SIGTERM are read from it */
};

__attribute__((noreturn)) static inline void
example_usage(const char *program, const char *what, const char *value)
{
	fprintf(stderr,
		"%s: %s '%s'\n"
		"usage: %s [--port 0..65535] [--workers 0..%u] "
		"[--model auto|green_threads|thread_pool|blocking]\n",
		program, what, value, program, ZS_WORKERS_MAX);
	exit(2);
}

static inline unsigned int example_number(char **argv, int i, unsigned int max)
{
	unsigned long number;
	char *end;

	errno = 0;
	number = strtoul(argv[i + 1], &end, 10);
	if (argv[i + 1][0] < '0' || argv[i + 1][0] > '9' || *end || errno ||
	    number > max)
		example_usage(argv[0], "bad number", argv[i + 1]);
	return (unsigned int)number;
}

static inline void example_option(struct example *example, char **argv, int i)
{
	const char *name = argv[i];

	if (strcmp(name, "--port") && strcmp(name, "--workers") &&
	    strcmp(name, "--model"))
		example_usage(argv[0], "no such option:", name);
	if (!argv[i + 1])
		example_usage(argv[0], "a value is missing after", name);
	if (!strcmp(name, "--port"))
		snprintf(example->address, sizeof(example->address),
			 "127.0.0.1:%u", example_number(argv, i, 65535));
	else if (!strcmp(name, "--workers"))
		example->config.num_workers =
			example_number(argv, i, ZS_WORKERS_MAX);
	else if (zs_execution_model_parse(argv[i + 1],
					  &example->config.execution_model) < 0)
		example_usage(argv[0], "no such model:", argv[i + 1]);
}

/* Ends the program where an option makes no sense. */
static inline struct example example_options(int argc, char **argv)
{
	struct example example = {
		.config = zs_config_for_server(),
		.address = "127.0.0.1:0",
	};
	sigset_t signals;
	int i;

	for (i = 1; i < argc; i += 2)
		example_option(&example, argv, i);
	/* Before the workers are started, which inherit the mask: the signals
	 * are read, not handled. */
	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	example.signals = signalfd(-1, &signals, SFD_CLOEXEC);
	/* Who reads us through a pipe waits for each line. */
	setvbuf(stdout, NULL, _IOLBF, 0);
	return example;
}

/* The exit status that goes with the result of zs_run(). */
static inline int example_exit(const char *program, int ret)
{
	if (ret < 0)
		fprintf(stderr, "%s: %s\n", program, zs_explain(ret));
	return ret < 0;
}

#endif
