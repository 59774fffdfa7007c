/* SPDX-License-Identifier: MIT */
/*
 * uring-probe: tells a person, or with --json a script, whether io_uring may be
 * used here and what forbids it, what it can do, and which model `auto` takes.
 * The exit status says it in a word: 0 usable, 1 degraded, 2 not usable.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>

#include "engine/abi.h"
#include "engine/engine.h"
#include "engine/probe.h"
#include "zsync/config.h"

enum {
	EXIT_USABLE = 0,
	EXIT_DEGRADED = 1,
	EXIT_NOT_USABLE = 2,
	EXIT_USAGE = 64,
	EXIT_OUTPUT = 74,
	COLUMNS = 3,
	LINE_WIDTH = 80,
	LABEL_WIDTH = 12,
};

static const char usage[] =
	"usage: uring-probe [--json]\n"
	"\n"
	"Says whether io_uring may be used here and, if not, what forbids it;\n"
	"which setup flags, features and operations there are, each with the\n"
	"release of Linux that brought it; and which model zsync takes for\n"
	"`auto`. All is found by asking the kernel, not by its version.\n"
	"\n"
	"  --json   the same for programs\n"
	"  --help   this text\n"
	"\n"
	"ZSYNC_DISABLE=send_zc,defer_taskrun,... hides what it names, as for\n"
	"every program with zsync; ZSYNC_DISABLE=io_uring hides all of it.\n"
	"\n"
	"exit status: 0 usable, 1 usable but slower than it could be,\n"
	"             2 not usable, 64 bad option or bad ZSYNC_DISABLE\n";

enum kind { KIND_SETUP, KIND_FEATURE, KIND_OP, KIND_REGISTER };

static const char *const kind_names[] = {
	[KIND_SETUP] = "setup_flag",
	[KIND_FEATURE] = "feature",
	[KIND_OP] = "operation",
	[KIND_REGISTER] = "register",
};

/* What zsync uses where it is there, and what it costs where it is not. */
struct optional {
	enum kind kind;
	unsigned int number; /* bit or opcode */
	const char *cost;
};

static const char plain_call[] =
	"a plain system call: one more for each socket";
static const char no_call[] = "calls that need it: -EOPNOTSUPP";

#define BIT(flag) (unsigned int)__builtin_ctz(flag)

static const struct optional optionals[] = {
	{ KIND_SETUP, BIT(ZS_URING_SETUP_SUBMIT_ALL),
	  "an entry in error ends its batch: one more system call" },
	{ KIND_SETUP, BIT(ZS_URING_SETUP_COOP_TASKRUN),
	  "each completion interrupts the worker" },
	{ KIND_SETUP, BIT(ZS_URING_SETUP_TASKRUN_FLAG),
	  "a worker cannot see without a system call that completions wait" },
	{ KIND_SETUP, BIT(ZS_URING_SETUP_SINGLE_ISSUER),
	  "no DEFER_TASKRUN, which needs it" },
	{ KIND_SETUP, BIT(ZS_URING_SETUP_DEFER_TASKRUN),
	  "the kernel completes in the midst of tasks instead of in batches "
	  "when the worker asks" },
	{ KIND_SETUP, BIT(ZS_URING_SETUP_NO_SQARRAY),
	  "one more memory write for each operation" },
	{ KIND_REGISTER, ZS_URING_REGISTER_RING_FDS,
	  "each system call looks up the ring's descriptor" },
	{ KIND_FEATURE, BIT(ZS_URING_FEAT_CQE_SKIP),
	  "one more completion for each cancel" },
	{ KIND_FEATURE, BIT(ZS_URING_FEAT_NO_IOWAIT),
	  "an idle worker may count as I/O wait in top" },
	{ KIND_OP, ZS_URING_OP_FSYNC, no_call },
	{ KIND_OP, ZS_URING_OP_OPENAT, no_call },
	{ KIND_OP, ZS_URING_OP_STATX, no_call },
	{ KIND_OP, ZS_URING_OP_CLOSE, plain_call },
	{ KIND_OP, ZS_URING_OP_SHUTDOWN, plain_call },
	{ KIND_OP, ZS_URING_OP_SOCKET, plain_call },
	{ KIND_OP, ZS_URING_OP_BIND, plain_call },
	{ KIND_OP, ZS_URING_OP_LISTEN, plain_call },
};
#define NR_OPTIONALS (sizeof(optionals) / sizeof(optionals[0]))

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
	const struct optional *missing[NR_OPTIONALS];
	unsigned int nr_missing;
};

/* --- setup flags that zsync does not use --- */

static bool accepts(uint32_t flags, uint32_t wq_fd)
{
	struct zs_uring_params params = {
		.flags = flags,
		.cq_entries = 8,
		.wq_fd = wq_fd,
	};
	int fd;

	fd = zs_kernel_trial(&params);
	if (fd < 0)
		return false;
	close(fd);
	return true;
}

static bool accepts_attach_wq(void)
{
	struct zs_uring_params params = { 0 };
	int fd = zs_kernel_trial(&params);
	bool is_accepted = accepts(ZS_URING_SETUP_ATTACH_WQ, (uint32_t)fd);

	if (fd >= 0)
		close(fd);
	return is_accepted;
}

static bool accepts_own_memory(uint32_t flags)
{
	size_t page_size = (size_t)sysconf(_SC_PAGESIZE);
	struct zs_uring_params params = { .flags = flags };
	char *memory;
	int ring;

	memory = mmap(NULL, 2 * page_size, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return false;
	params.sq_off.user_addr = (uintptr_t)memory;
	params.cq_off.user_addr = (uintptr_t)(memory + page_size);
	ring = zs_kernel_trial(&params);
	/* The other kind has an index that ends with this thread, no fd. */
	if (ring >= 0 && !(flags & ZS_URING_SETUP_REGISTERED_FD_ONLY))
		close(ring);
	munmap(memory, 2 * page_size);
	return ring >= 0;
}

/* sq_thread_cpu stays 0, which any machine has and few forbid. */
static bool accepts_unused(uint32_t flag)
{
	switch (flag) {
	case ZS_URING_SETUP_SQ_AFF:
		return accepts(flag | ZS_URING_SETUP_SQPOLL, 0);
	case ZS_URING_SETUP_ATTACH_WQ:
		return accepts_attach_wq();
	case ZS_URING_SETUP_NO_MMAP:
		return accepts_own_memory(flag);
	case ZS_URING_SETUP_REGISTERED_FD_ONLY:
		return accepts_own_memory(flag | ZS_URING_SETUP_NO_MMAP);
	case ZS_URING_SETUP_HYBRID_IOPOLL:
		return accepts(flag | ZS_URING_SETUP_IOPOLL, 0);
	case ZS_URING_SETUP_SQ_REWIND:
		return accepts(flag | ZS_URING_SETUP_NO_SQARRAY, 0);
	default:
		return accepts(flag, 0);
	}
}

static uint32_t all_setup_flags(const struct zs_kernel *kernel)
{
	uint32_t accepted = kernel->setup_flags;
	uint32_t used = zs_kernel_used_setup_flags();
	unsigned int bit;

	for (bit = 0; bit < ZS_URING_NR_SETUP_BITS; bit++)
		if (!(used & (1u << bit)) && accepts_unused(1u << bit))
			accepted |= 1u << bit;
	return accepted;
}

/* --- finding out --- */

/* Could a ring be asked at all? */
static bool is_known(const struct report *report)
{
	return report->kernel.verdict == ZS_KERNEL_USABLE ||
	       report->kernel.verdict == ZS_KERNEL_TOO_OLD;
}

static const struct zs_kernel_name *name_of(enum kind kind, unsigned int number)
{
	static const struct zs_kernel_name ring_fds = { "REGISTER_RING_FDS",
							"5.18", false };

	switch (kind) {
	case KIND_SETUP:
		return zs_kernel_setup_name(number);
	case KIND_FEATURE:
		return zs_kernel_feature_name(number);
	case KIND_OP:
		return zs_kernel_op_name(number);
	case KIND_REGISTER:
		break;
	}
	return &ring_fds;
}

static bool is_there(const struct report *report, enum kind kind,
		     unsigned int number)
{
	switch (kind) {
	case KIND_SETUP:
		return report->setup_flags & (1u << number);
	case KIND_FEATURE:
		return report->kernel.features & (1u << number);
	case KIND_OP:
		return report->kernel.ops[number];
	case KIND_REGISTER:
		break;
	}
	return report->kernel.has_registered_ring;
}

static void find_missing(struct report *report)
{
	const struct optional *optional;
	size_t i;

	for (i = 0; i < NR_OPTIONALS; i++) {
		optional = &optionals[i];
		if (is_there(report, optional->kind, optional->number))
			continue;
		/* The better one of the two makes up for it. */
		if (optional->kind == KIND_SETUP &&
		    1u << optional->number == ZS_URING_SETUP_COOP_TASKRUN &&
		    report->kernel.has_defer_taskrun)
			continue;
		report->missing[report->nr_missing++] = optional;
	}
}

/* thread_pool is what auto is for where there is no io_uring; until it is
 * built, the choice is an error there, and that is told. */
static void find_model(struct report *report)
{
	static const char prefix[] = "auto: ";
	enum zs_execution_model chosen;
	char reason[sizeof(report->reason)];
	const char *text = reason;

	if (zs_engine_choose(ZS_MODEL_AUTO, &report->kernel, &chosen, reason,
			     sizeof(reason)) < 0) {
		report->model = "thread_pool";
		snprintf(report->reason, sizeof(report->reason), "%s",
			 "green_threads cannot run here. It comes with a later "
			 "version of zsync; until then auto is an error here");
		return;
	}
	if (strncmp(text, prefix, strlen(prefix)) == 0)
		text += strlen(prefix);
	report->model = zs_execution_model_name(chosen);
	report->model_is_there = true;
	snprintf(report->reason, sizeof(report->reason), "%s", text);
}

/* 0, or -EINVAL for a bad ZSYNC_DISABLE. */
static int find_out(struct report *report)
{
	static const char separator[] = "; remedy: ";
	int ret;

	memset(report, 0, sizeof(*report));
	ret = zs_kernel_probe(&report->kernel);
	if (ret < 0)
		return ret;
	uname(&report->machine);
	zs_kernel_why_denied(&report->kernel, report->why, sizeof(report->why));
	report->remedy = strstr(report->why, separator);
	if (report->remedy) {
		*report->remedy = '\0';
		report->remedy += strlen(separator);
	}
	find_model(report);
	if (is_known(report))
		report->setup_flags = all_setup_flags(&report->kernel);
	if (report->kernel.verdict != ZS_KERNEL_USABLE) {
		report->status = EXIT_NOT_USABLE;
		return 0;
	}
	find_missing(report);
	report->status = report->nr_missing ? EXIT_DEGRADED : EXIT_USABLE;
	return 0;
}

/* --- for people --- */

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
		       unsigned int number, bool is_last)
{
	const struct zs_kernel_name *name = name_of(kind, number);
	char label[32];

	snprintf(label, sizeof(label), "%s%s", name->name,
		 name->is_required ? "*" : "");
	printf("%c %-18s %-*s", is_there(report, kind, number) ? '+' : '-',
	       label, is_last ? 0 : 6, name->release);
}

/* Columns read downwards, so that releases rise. */
static void print_table(const struct report *report, const char *title,
			enum kind kind, unsigned int nr)
{
	unsigned int nr_rows = (nr + COLUMNS - 1) / COLUMNS;
	unsigned int row, i;
	unsigned int nr_there = 0;

	for (i = 0; i < nr; i++)
		nr_there += is_there(report, kind, i);
	printf("\n%s: %u of %u\n", title, nr_there, nr);
	for (row = 0; row < nr_rows; row++) {
		for (i = row; i < nr; i += nr_rows)
			print_cell(report, kind, i, i + nr_rows >= nr);
		putchar('\n');
	}
}

static void print_for_people(const struct report *report)
{
	int nr_nameless = report->kernel.last_op - (ZS_URING_NR_OPS - 1);

	print_verdict(report);
	print_missing(report);
	if (!is_known(report)) {
		printf("\nSetup flags, features and operations are not known: "
		       "no ring could be asked.\n");
		return;
	}
	printf("\n+ there  - not there  * green_threads needs it  "
	       "5.1 the release that brought it\n");
	print_table(report, "setup flags", KIND_SETUP, ZS_URING_NR_SETUP_BITS);
	print_table(report, "features", KIND_FEATURE, ZS_URING_NR_FEATURE_BITS);
	print_table(report, "operations", KIND_OP, ZS_URING_NR_OPS);
	if (nr_nameless > 0)
		printf("and %d newer ones, which zsync does not know by name\n",
		       nr_nameless);
}

/* --- for programs --- */

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
			     enum kind kind, unsigned int nr)
{
	const struct zs_kernel_name *name;
	unsigned int i;

	printf("  \"%s\": [", key);
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

static void print_json(const struct report *report)
{
	static const char *const status_names[] = {
		[EXIT_USABLE] = "usable",
		[EXIT_DEGRADED] = "degraded",
		[EXIT_NOT_USABLE] = "not_usable",
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
	print_json_table(report, "setup_flags", KIND_SETUP,
			 ZS_URING_NR_SETUP_BITS);
	printf(",\n");
	print_json_table(report, "features", KIND_FEATURE,
			 ZS_URING_NR_FEATURE_BITS);
	printf(",\n");
	print_json_table(report, "operations", KIND_OP, ZS_URING_NR_OPS);
	printf("\n}\n");
}

int main(int argc, char **argv)
{
	void (*print)(const struct report *report) = print_for_people;
	struct report report;
	int i, ret;

	for (i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0 ||
		    strcmp(argv[i], "-h") == 0) {
			fputs(usage, stdout);
			return 0;
		}
		if (strcmp(argv[i], "--json") != 0) {
			fprintf(stderr,
				"uring-probe: %s is no option; --json and "
				"--help are\n",
				argv[i]);
			return EXIT_USAGE;
		}
		print = print_json;
	}
	ret = find_out(&report);
	if (ret < 0) {
		fprintf(stderr, "uring-probe: %s\n", zs_explain(ret));
		return EXIT_USAGE;
	}
	print(&report);
	if (fflush(stdout) != 0) {
		perror("uring-probe: standard output");
		return EXIT_OUTPUT;
	}
	return report.status;
}
