/* SPDX-License-Identifier: MIT */
/* uring-probe: the output for programs. Called once by uring_probe(). */
#include "uring_probe.h"

#include <stdio.h>
#include <stdlib.h>

static const char *const kind_names[] = {
	[KIND_SETUP] = "setup_flag", [KIND_FEATURE] = "feature",
	[KIND_OP] = "operation",     [KIND_REGISTER] = "register",
	[KIND_ABILITY] = "ability",
};

static void print_json_string(const char *text)
{
	unsigned char byte;

	putchar('"');
	for (; *text; text++) {
		byte = (unsigned char)*text;
		if (byte == '"' || byte == '\\')
			printf("\\%c", byte);
		else if (byte < 0x20 || byte >= 0x7f)
			printf("\\u%04x", byte);
		else
			putchar(byte);
	}
	putchar('"');
}

/* A member and its comma, after @lead; a NULL is null. */
static void print_json_text(const char *lead, const char *key, const char *text)
{
	printf("%s\"%s\": ", lead, key);
	if (text)
		print_json_string(text);
	else
		printf("null");
	printf(", ");
}

static const char *presence(const struct report *report, enum kind kind,
			    unsigned int number)
{
	if (!is_known(report))
		return "null";
	return is_there(report, kind, number) ? "true" : "false";
}

static void print_json_table(const struct report *report, const char *key,
			     enum kind kind)
{
	const struct zs_kernel_name *name;
	unsigned int nr = number_of(kind);
	unsigned int i;

	printf(",\n  \"%s\": [", key);
	for (i = 0; i < nr; i++) {
		name = name_of(kind, i);
		print_json_text(i ? ",\n    {" : "\n    {", "name", name->name);
		printf("\"number\": %u", i);
		print_json_text(", ", "release", name->release);
		printf("\"required\": %s, \"present\": %s}",
		       name->is_required ? "true" : "false",
		       presence(report, kind, i));
	}
	printf("\n  ]");
}

static void print_json_missing(const struct report *report)
{
	const struct zs_kernel_name *name;
	unsigned int i;

	printf("  \"degraded\": [");
	for (i = 0; i < report->nr_missing; i++) {
		name = name_of(report->missing[i]->kind,
			       report->missing[i]->number);
		print_json_text(i ? ",\n    {" : "\n    {", "kind",
				kind_names[report->missing[i]->kind]);
		print_json_text("", "name", name->name);
		print_json_text("", "release", name->release);
		printf("\"cost\": ");
		print_json_string(report->missing[i]->cost);
		printf("}");
	}
	printf("%s],\n", report->nr_missing ? "\n  " : "");
}

/* null for one that is unlimited or not there. */
static void print_json_limits(const struct report *report)
{
	const struct limit *limit;
	unsigned int i;

	printf("  \"limits\": [");
	for (i = 0; i < report->nr_limits; i++) {
		limit = &report->limits[i];
		print_json_text(i ? ",\n    {" : "\n    {", "name",
				limit->name);
		if (limit->value == LIMIT_NONE || limit->value == LIMIT_UNKNOWN)
			printf("\"value\": null, ");
		else
			printf("\"value\": %lld, ", (long long)limit->value);
		printf("\"bites\": %s, ", limit->bites ? "true" : "false");
		print_json_text("", "meaning", limit->meaning);
		printf("\"remedy\": ");
		print_json_string(limit->remedy);
		printf("}");
	}
	printf("\n  ],\n");
}

/* null if it did not run. */
static void print_json_checks(const struct report *report)
{
	const struct check *check;
	unsigned int i;

	printf("  \"selftest\": %s", report->nr_checks ? "[" : "null");
	for (i = 0; i < report->nr_checks; i++) {
		check = &report->checks[i];
		print_json_text(i ? ",\n    {" : "\n    {", "name",
				check->name);
		print_json_text("", "class", check->class_name);
		printf("\"errno\": %d, ", -check->error);
		if (check->error)
			printf("\"median_us\": null, \"remedy\": ");
		else
			printf("\"median_us\": %.3f, \"remedy\": null",
			       (double)check->median_ns / 1000);
		if (check->error)
			print_json_string(check->remedy);
		printf("}");
	}
	printf("%s", report->nr_checks ? "\n  ]" : "");
}

void print_json(const struct report *report)
{
	static const char *const status_names[] = {
		[PROBE_USABLE] = "usable",
		[PROBE_DEGRADED] = "degraded",
		[PROBE_NOT_USABLE] = "not_usable",
		[PROBE_SELFTEST_FAILED] = "selftest_failed",
	};
	static const char *const verdict_names[] = {
		[ZS_KERNEL_USABLE] = "usable",
		[ZS_KERNEL_TOO_OLD] = "too_old",
		[ZS_KERNEL_DENIED] = "denied",
		[ZS_KERNEL_ABSENT] = "absent",
		[ZS_KERNEL_NO_MEMORY] = "no_memory",
	};
	const struct zs_kernel *kernel = &report->kernel;

	printf("{\n  \"schema\": 1,");
	print_json_text("\n  ", "status", status_names[report->status]);
	print_json_text("\n  ", "verdict", verdict_names[kernel->verdict]);
	print_json_text("\n  \"error\": {", "call", kernel->failed_call);
	printf("\"errno\": %d},", -kernel->setup_error);
	print_json_text("\n  ", "why", report->why[0] ? report->why : NULL);
	print_json_text("\n  ", "remedy", report->remedy);
	print_json_text("\n  ", "missing", kernel->missing);
	print_json_text("\n  ", "disable", getenv("ZSYNC_DISABLE"));
	print_json_text("\n  \"kernel\": {", "release",
			report->machine.release);
	printf("\"machine\": ");
	print_json_string(report->machine.machine);
	print_json_text("},\n  \"auto\": {", "model", report->model);
	printf("\"available\": %s, \"reason\": ",
	       report->model_is_there ? "true" : "false");
	print_json_string(report->reason);
	printf("},\n  \"last_operation\": %d,\n  \"registered_ring\": %s,\n",
	       is_known(report) ? kernel->last_op : -1,
	       kernel->has_registered_ring ? "true" : "false");
	print_json_missing(report);
	print_json_limits(report);
	print_json_checks(report);
	print_json_table(report, "setup_flags", KIND_SETUP);
	print_json_table(report, "features", KIND_FEATURE);
	print_json_table(report, "operations", KIND_OP);
	print_json_table(report, "abilities", KIND_ABILITY);
	print_json_table(report, "register_operations", KIND_REGISTER);
	printf("\n}\n");
}
