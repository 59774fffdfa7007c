/* SPDX-License-Identifier: MIT */
/*
 * uring-probe: tells a person, or with --json a script, whether io_uring may be
 * used here and what forbids it, what it can do, which limits bite, and which
 * model `auto` takes; with --selftest it tries it. The exit status says it in a
 * word. Called by main() and by test_uring_probe.c.
 */
#include "uring_probe.h"

#include <stdio.h>
#include <string.h>

#include "zsync/config.h"

static const char usage[] =
	"usage: uring-probe [--json] [--selftest]\n"
	"\n"
	"Says whether io_uring may be used here and, if not, what forbids it;\n"
	"which setup flags, features, operations and opcodes to register\n"
	"there are, each with the release of Linux that brought it; which\n"
	"limits of the system bite; and which model zsync takes for `auto`.\n"
	"All is found by asking the kernel or by trying, not by its version.\n"
	"\n"
	"  --selftest  also runs one of each class of operation in a runtime,\n"
	"              checks its result, measures it; leaves the tables out\n"
	"  --json      the same for programs, all of it\n"
	"  --help      this text\n"
	"\n"
	"Output: labelled lines, then, where there is something to say,\n"
	"  missing    - NAME RELEASE COST\n"
	"  self-test  + or ! CLASS OPERATION, then the median or the error\n"
	"  limits     NAME VALUE MEANING; with ! and a remedy where it is\n"
	"             less than a default runtime, or a server of 10,000\n"
	"             connections, may need\n"
	"  tables     + or - NAME RELEASE\n"
	"With --json it is one object. \"schema\" changes when a member\n"
	"goes or means something else; null: not known, does not apply.\n"
	"\n"
	"Classes: a cancel ends what is abortable at once and leaves what is\n"
	"detachable to end by itself; what is held keeps the caller's memory\n"
	"until the kernel is done with it.\n"
	"\n"
	"ZSYNC_DISABLE=send_zc,defer_taskrun,... hides what it names, as\n"
	"for every program with zsync; linux-5.15 is all that came after\n"
	"that release, io_uring is all there is.\n"
	"\n"
	"exit status: 0 usable, 1 usable but slower than it could be (limits\n"
	"             do not count), 2 not usable, 3 an operation of the\n"
	"             self-test failed, 64 bad option or bad ZSYNC_DISABLE,\n"
	"             74 the output could not be written\n";

/* The exit status, if there is no more to do, or -1. */
static int parse(int argc, char **argv, bool *is_json, bool *is_selftest)
{
	int i;

	for (i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0 ||
		    strcmp(argv[i], "-h") == 0) {
			fputs(usage, stdout);
			return fflush(stdout) == 0 ? 0 : PROBE_OUTPUT;
		}
		if (strcmp(argv[i], "--json") == 0) {
			*is_json = true;
		} else if (strcmp(argv[i], "--selftest") == 0) {
			*is_selftest = true;
		} else {
			fprintf(stderr,
				"uring-probe: %s is no option; --json, "
				"--selftest and --help are\n",
				argv[i]);
			return PROBE_USAGE;
		}
	}
	return -1;
}

int uring_probe(int argc, char **argv)
{
	static struct report report;
	bool is_json = false;
	bool is_selftest = false;
	int ret;

	ret = parse(argc, argv, &is_json, &is_selftest);
	if (ret >= 0)
		return ret;
	ret = find_facts(&report);
	if (ret < 0) {
		fprintf(stderr, "uring-probe: %s\n", zs_explain(ret));
		return PROBE_USAGE;
	}
	find_limits(&report);
	if (is_selftest)
		run_selftest(&report);
	if (is_json)
		print_json(&report);
	else
		print_text(&report, !is_selftest);
	if (fflush(stdout) != 0) {
		perror("uring-probe: standard output");
		return PROBE_OUTPUT;
	}
	return report.status;
}
