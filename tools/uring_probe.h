/* SPDX-License-Identifier: MIT */
/*
 * uring-probe: what its parts share. Facts and limits are found out first, then
 * perhaps the self-test runs, then one of the two forms of output tells it all.
 */
#ifndef ZS_TOOLS_URING_PROBE_H
#define ZS_TOOLS_URING_PROBE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/utsname.h>

#include "engine/abi.h"
#include "engine/probe.h"

enum {
	PROBE_USABLE = 0,
	PROBE_DEGRADED = 1,
	PROBE_NOT_USABLE = 2,
	PROBE_SELFTEST_FAILED = 3,
	PROBE_USAGE = 64,
	PROBE_OUTPUT = 74,
};

enum kind {
	KIND_SETUP,
	KIND_FEATURE,
	KIND_OP,
	KIND_REGISTER,
	KIND_ABILITY,
	NR_KINDS
};

/* What zsync uses where it is there, and what it costs where it is not. */
struct optional {
	enum kind kind;
	unsigned int number; /* bit, opcode or ability */
	const char *cost;
};

enum { NR_OPTIONALS_MAX = 32, NR_LIMITS_MAX = 16, NR_CHECKS_MAX = 16 };

/* What the system lets this process have. */
struct limit {
	const char *name; /* as the user would look it up */
	int64_t value;	  /* LIMIT_NONE, LIMIT_UNKNOWN */
	bool bites;	  /* too low for what --help says */
	char meaning[128];
	const char *remedy;
};
#define LIMIT_NONE INT64_MAX
#define LIMIT_UNKNOWN (-2) /* there is no such thing; a sysctl may be -1 */

/* One operation of the self-test. */
struct check {
	const char *name;
	const char *class_name; /* how a cancel ends it */
	int error;		/* 0 or a negative errno */
	int64_t median_ns;
	const char *remedy; /* if there is an error */
};

/* All that there is to tell; both forms of output read it. */
struct report {
	struct zs_kernel kernel;
	uint32_t setup_flags; /* also those that zsync does not use */
	struct utsname machine;
	int status;
	char why[256]; /* the cause, and behind it: */
	char *remedy;  /* or NULL */
	const char *model;
	bool model_is_there;
	char reason[256];
	const struct optional *missing[NR_OPTIONALS_MAX];
	unsigned int nr_missing;
	struct limit limits[NR_LIMITS_MAX];
	unsigned int nr_limits;
	struct check checks[NR_CHECKS_MAX];
	unsigned int nr_checks; /* 0: it did not run */
};

/* uring_probe.c: all of it. What main() returns; test_uring_probe.c calls it
 * in children. */
int uring_probe(int argc, char **argv);

/* uring_probe_facts.c. 0, or -EINVAL for a bad ZSYNC_DISABLE, explained. */
int find_facts(struct report *report);
/* Could a ring be asked at all? */
bool is_known(const struct report *report);
const struct zs_kernel_name *name_of(enum kind kind, unsigned int number);
unsigned int number_of(enum kind kind); /* how many of them have a name */
bool is_there(const struct report *report, enum kind kind, unsigned int number);

/* uring_probe_limits.c; after the facts. */
void find_limits(struct report *report);
/* Bytes of locked memory that a ring with this queue depth is counted with. */
uint64_t ring_memory(uint32_t queue_depth, bool has_sq_array);

/* uring_probe_selftest.c; after the facts. Runs a runtime. */
void run_selftest(struct report *report);

/* uring_probe_text.c, uring_probe_json.c: to standard output. Without @tables
 * the many names are left out. */
void print_text(const struct report *report, bool has_tables);
void print_json(const struct report *report);

#endif
