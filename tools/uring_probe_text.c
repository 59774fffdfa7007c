/* SPDX-License-Identifier: MIT */
/* uring-probe: the output for people. Called once by uring_probe(). */
#include "uring_probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	LINE_WIDTH = 80,
	LABEL_WIDTH = 12,
	LIMIT_WIDTH = 40, /* where what a limit means begins */
	CHECK_WIDTH = 25,
};

/* Words of @text from column @column on, broken before LINE_WIDTH. */
static void print_wrapped(const char *text, int column)
{
	int used = column;
	int length;

	while (*text) {
		length = (int)strcspn(text, " ");
		if (used > column && used + 1 + length > LINE_WIDTH) {
			printf("\n%*s", column, "");
			used = column;
		}
		if (used > column)
			used += printf(" ");
		used += printf("%.*s", length, text);
		text += length;
		text += strspn(text, " ");
	}
	putchar('\n');
}

static void print_labelled(const char *label, const char *text)
{
	printf("%-*s", LABEL_WIDTH, label);
	print_wrapped(text, LABEL_WIDTH);
}

static void print_verdict(const struct report *report)
{
	static const char *const words[] = {
		[ZS_KERNEL_USABLE] = "usable",
		[ZS_KERNEL_TOO_OLD] = "NOT USABLE: it lacks what is needed",
		[ZS_KERNEL_DENIED] = "NOT USABLE: it is forbidden here",
		[ZS_KERNEL_ABSENT] = "NOT USABLE: it is not there",
		[ZS_KERNEL_NO_MEMORY] = "NOT USABLE: no ring can be set up",
	};
	char text[512];

	if (report->nr_missing)
		print_labelled("io_uring", "usable, degraded: see below");
	else if (report->kernel.is_switched_off)
		print_labelled("io_uring", "NOT USABLE: it is switched off");
	else
		print_labelled("io_uring", words[report->kernel.verdict]);
	if (report->why[0])
		print_labelled("because", report->why);
	if (report->remedy)
		print_labelled("remedy", report->remedy);
	snprintf(text, sizeof(text), "%s: %s", report->model, report->reason);
	print_labelled("auto takes", text);
	snprintf(text, sizeof(text), "Linux %s, %s (nothing is decided by it)",
		 report->machine.release, report->machine.machine);
	print_labelled("kernel", text);
	if (report->kernel.is_masked) {
		snprintf(text, sizeof(text), "ZSYNC_DISABLE=%s",
			 getenv("ZSYNC_DISABLE"));
		print_labelled("hidden by", text);
	}
}

static void print_missing(const struct report *report)
{
	const struct zs_kernel_name *name;
	unsigned int i;

	if (report->nr_missing == 0)
		return;
	printf("\nmissing, and what that costs:\n");
	for (i = 0; i < report->nr_missing; i++) {
		name = name_of(report->missing[i]->kind,
			       report->missing[i]->number);
		printf("- %-18s %-5s ", name->name, name->release);
		print_wrapped(report->missing[i]->cost, 27);
	}
}

static void print_cell(const struct report *report, enum kind kind,
		       unsigned int number, int width, bool is_last)
{
	const struct zs_kernel_name *name = name_of(kind, number);
	char label[32];

	snprintf(label, sizeof(label), "%s%s", name->name,
		 name->is_required ? "*" : "");
	printf("%c %-*s %-*s", is_there(report, kind, number) ? '+' : '-',
	       width, label, is_last ? 0 : 6, name->release);
}

/* Columns read downwards, so that releases rise. */
static void print_table(const struct report *report, const char *title,
			enum kind kind)
{
	/* Names of the opcodes to register are the longest. */
	unsigned int nr_columns = kind == KIND_REGISTER ? 2 : 3;
	int width = kind == KIND_REGISTER ? 27 : 18;
	unsigned int nr = number_of(kind);
	unsigned int nr_rows = (nr + nr_columns - 1) / nr_columns;
	unsigned int row, i;
	unsigned int nr_there = 0;

	for (i = 0; i < nr; i++)
		nr_there += is_there(report, kind, i);
	printf("\n%s: %u of %u\n", title, nr_there, nr);
	for (row = 0; row < nr_rows; row++) {
		for (i = row; i < nr; i += nr_rows)
			print_cell(report, kind, i, width, i + nr_rows >= nr);
		putchar('\n');
	}
}

static void print_limit(const struct limit *limit)
{
	char value[32];

	if (limit->value == LIMIT_NONE)
		snprintf(value, sizeof(value), "unlimited");
	else if (limit->value == LIMIT_UNKNOWN)
		snprintf(value, sizeof(value), "none");
	else
		snprintf(value, sizeof(value), "%lld", (long long)limit->value);
	printf("%c %-24s %11s  ", limit->bites ? '!' : ' ', limit->name, value);
	print_wrapped(limit->meaning, LIMIT_WIDTH);
	if (!limit->bites)
		return;
	printf("%*sremedy: ", LIMIT_WIDTH, "");
	print_wrapped(limit->remedy, LIMIT_WIDTH + (int)strlen("remedy: "));
}

static void print_limits(const struct report *report)
{
	unsigned int i;

	printf("\nlimits (! bites):\n");
	for (i = 0; i < report->nr_limits; i++)
		print_limit(&report->limits[i]);
}

static void print_checks(const struct report *report)
{
	const struct check *check;
	unsigned int i;

	if (report->nr_checks == 0)
		return;
	printf("\nself-test: each through a runtime of one worker, medians\n");
	for (i = 0; i < report->nr_checks; i++) {
		check = &report->checks[i];
		printf("%c %-11s %-10s ", check->error ? '!' : '+',
		       check->class_name, check->name);
		if (check->error == 0) {
			printf("%9.1f us\n", (double)check->median_ns / 1000);
			continue;
		}
		printf("FAILED: %s\n%*sremedy: ", strerror(-check->error),
		       CHECK_WIDTH, "");
		print_wrapped(check->remedy,
			      CHECK_WIDTH + (int)strlen("remedy: "));
	}
}

static void print_tables(const struct report *report)
{
	int nr_nameless = report->kernel.last_op - (ZS_URING_NR_OPS - 1);

	printf("\n+ there  - not there  * green_threads needs it  "
	       "5.1 the release that brought it\n");
	print_table(report, "setup flags", KIND_SETUP);
	print_table(report, "features", KIND_FEATURE);
	print_table(report, "tried", KIND_ABILITY);
	print_table(report, "operations", KIND_OP);
	if (nr_nameless > 0)
		printf("and %d newer ones, which zsync does not know by name\n",
		       nr_nameless);
	print_table(report, "to register", KIND_REGISTER);
}

void print_text(const struct report *report, bool has_tables)
{
	print_verdict(report);
	print_missing(report);
	print_checks(report);
	if (!has_tables)
		return;
	print_limits(report);
	if (is_known(report))
		print_tables(report);
	else
		printf("\nSetup flags, features and operations are not known: "
		       "no ring could be asked.\n");
}
