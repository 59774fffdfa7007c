/* SPDX-License-Identifier: MIT */
/*
 * uring-probe: what it says of this kernel, of masked ones, of limits that are
 * set for it, and behind filters that forbid io_uring. Each run is a child
 * whose output is kept. Where there is no io_uring at all, as under qemu-user,
 * what needs it is skipped with a line that says so.
 */
#include <check.h>
#include <ctype.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "../tools/uring_probe.h"
#include "child.h"
#include "zsync/config.h"

enum { OUTPUT_SIZE = 65536, NOBODY = 65534, CHILD_SKIPPED = 77 };

static char output[OUTPUT_SIZE];

/* Runs uring-probe with up to two options in a child that @prepare has put in a
 * box; its exit status, and in output what it wrote, errors too. */
static int run_boxed(int (*prepare)(void), const char *first,
		     const char *second)
{
	char *arguments[] = { "uring-probe", (char *)first, (char *)second };
	int argc = 1 + (first != NULL) + (second != NULL);
	int fds[2];
	int status;
	pid_t child;

	ck_assert_int_eq(pipe(fds), 0);
	child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0) {
		begin_child(fds[1]);
		dup2(fds[1], STDOUT_FILENO);
		close(fds[0]);
		close(fds[1]);
		if (prepare && prepare() < 0)
			_exit(CHILD_SKIPPED);
		_exit(uring_probe(argc, arguments));
	}
	close(fds[1]);
	read_all(fds[0], output, sizeof(output));
	close(fds[0]);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_msg(WIFEXITED(status), "status %#x: %s", status, output);
	return WEXITSTATUS(status);
}

static int run(const char *first, const char *second)
{
	return run_boxed(NULL, first, second);
}

static void assert_says(const char *text)
{
	ck_assert_msg(strstr(output, text), "no \"%s\" in: %s", text, output);
}

static void assert_does_not_say(const char *text)
{
	ck_assert_msg(!strstr(output, text), "\"%s\" in: %s", text, output);
}

/* Check's names of functions end in "_fn". */
static void skip(const char *test, const char *why)
{
	printf("SKIP test_uring_probe: %.*s: %s\n", (int)strlen(test) - 3, test,
	       why);
	fflush(stdout);
}

static bool have_io_uring(const char *test)
{
	struct zs_kernel kernel;

	ck_assert_int_eq(zs_kernel_probe(&kernel), 0);
	if (kernel.verdict == ZS_KERNEL_USABLE)
		return true;
	skip(test, "no io_uring here");
	return false;
}

/* The caller of the suite may play an old kernel; these tests do it alone. */
static void no_mask(void)
{
	unsetenv("ZSYNC_DISABLE");
	unsetenv("TMPDIR");
}

static void mask(const char *names)
{
	setenv("ZSYNC_DISABLE", names, 1);
}

/* --- a reader of JSON, which only says whether it is any --- */

static const char *skip_value(const char *text);

static const char *skip_blanks(const char *text)
{
	while (*text && isspace((unsigned char)*text))
		text++;
	return text;
}

static const char *skip_string(const char *text)
{
	if (*text++ != '"')
		return NULL;
	for (; *text != '"'; text++) {
		if ((unsigned char)*text < 0x20)
			return NULL;
		if (*text == '\\' && !*++text)
			return NULL;
	}
	return text + 1;
}

/* "key": value, or in an array a value; then a comma or the end. */
static const char *skip_members(const char *text, char end)
{
	text = skip_blanks(text + 1);
	if (*text == end)
		return text + 1;
	for (;;) {
		if (end == '}') {
			text = skip_string(text);
			text = text ? skip_blanks(text) : "";
			if (*text++ != ':')
				return NULL;
		}
		text = skip_value(text);
		if (!text)
			return NULL;
		text = skip_blanks(text);
		if (*text == end)
			return text + 1;
		if (*text++ != ',')
			return NULL;
		text = skip_blanks(text);
	}
}

/* Behind the value, or NULL if there is none. */
static const char *skip_value(const char *text)
{
	static const char *const words[] = { "true", "false", "null" };
	char *end;
	size_t i;

	text = skip_blanks(text);
	if (*text == '{')
		return skip_members(text, '}');
	if (*text == '[')
		return skip_members(text, ']');
	if (*text == '"')
		return skip_string(text);
	for (i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strncmp(text, words[i], strlen(words[i])) == 0)
			return text + strlen(words[i]);
	strtod(text, &end);
	return end == text ? NULL : end;
}

static void assert_is_json(void)
{
	const char *end = skip_value(output);

	ck_assert_msg(end && *skip_blanks(end) == '\0', "no JSON: %s", output);
}

/* --- this kernel --- */

START_TEST(tells_of_all_there_is)
{
	static const char *const parts[] = {
		"io_uring ",
		"auto takes",
		"kernel  ",
		"\nlimits",
		"RLIMIT_MEMLOCK",
		"RLIMIT_NOFILE",
		"RLIMIT_NPROC",
		"vm.max_map_count",
		"kernel.io_uring_disabled",
		"kernel.io_uring_group",
		"kernel.threads-max",
		"RLIMIT_AS",
		"\nsetup flags: ",
		"\nfeatures: ",
		"\noperations: ",
		"\ntried: ",
		"ACCEPT_MULTISHOT",
		"BUFFER_RING_INC",
		"GUARD_INSTALL",
		"\nto register: ",
		"+ REGISTER_PROBE ",
		"REGISTER_BPF_FILTER",
	};
	size_t i;

	if (!have_io_uring(__func__))
		return;
	ck_assert_int_le(run(NULL, NULL), PROBE_DEGRADED);
	for (i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		assert_says(parts[i]);
}
END_TEST

/* Lines break before the 80th column, but for what cannot be broken. */
START_TEST(lines_fit_a_terminal)
{
	const char *line = output;
	size_t length;

	run(NULL, NULL);
	for (;;) {
		length = strcspn(line, "\n");
		ck_assert_msg(length <= 80, "%.*s", (int)length, line);
		if (!line[length])
			break;
		line += length + 1;
	}
}
END_TEST

START_TEST(json_is_json_and_has_all_parts)
{
	run("--json", NULL);
	assert_is_json();
	assert_says("\"schema\": 1");
	assert_says("\"limits\": [");
	assert_says("\"abilities\": [");
	assert_says("\"register_operations\": [");
	assert_says("\"selftest\": null");
}
END_TEST

START_TEST(help_explains_options_output_and_status)
{
	ck_assert_int_eq(run("--help", NULL), 0);
	assert_says("--selftest");
	assert_says("--json");
	assert_says("exit status: 0 usable, 1 usable but");
	assert_says("3 an operation of the");
	assert_says("Output:");
}
END_TEST

START_TEST(bad_option_and_bad_mask_are_refused)
{
	ck_assert_int_eq(run("--self-test", NULL), PROBE_USAGE);
	assert_says("--self-test is no option");
	mask("recv_multishoot");
	ck_assert_int_eq(run(NULL, NULL), PROBE_USAGE);
	assert_says("recv_multishoot");
}
END_TEST

/* --- masked kernels --- */

START_TEST(masked_abilities_are_not_there)
{
	if (!have_io_uring(__func__))
		return;
	mask("accept_multishot,register_napi,defer_taskrun");
	ck_assert_int_eq(run(NULL, NULL), PROBE_DEGRADED);
	assert_says("- ACCEPT_MULTISHOT ");
	assert_says("- REGISTER_NAPI ");
	assert_says("- DEFER_TASKRUN ");
	assert_says("hidden by");
	run("--json", NULL);
	assert_is_json();
}
END_TEST

/* Without a ring of buffers there is none that is used up bit by bit, and
 * nowhere to receive into. */
START_TEST(what_needs_buffer_rings_goes_with_them)
{
	if (!have_io_uring(__func__))
		return;
	mask("register_pbuf_ring");
	run(NULL, NULL);
	assert_says("- BUFFER_RING ");
	assert_says("- BUFFER_RING_INC ");
	assert_says("- RECV_MULTISHOT ");
}
END_TEST

/* Before 6.13, each stack takes two maps. */
START_TEST(without_guard_regions_maps_bite)
{
	char stacks[64];
	FILE *file;
	long maps;

	file = fopen("/proc/sys/vm/max_map_count", "re");
	if (!have_io_uring(__func__) || !file)
		return;
	ck_assert_int_eq(fscanf(file, "%ld", &maps), 1);
	fclose(file);
	mask("guard_install");
	ck_assert_int_eq(run(NULL, NULL), PROBE_DEGRADED);
	snprintf(stacks, sizeof(stacks), "%ld stacks, guarded by mprotect",
		 maps / 2);
	assert_says(stacks);
	if (maps / 2 < 1048576)
		assert_says("! vm.max_map_count");
	assert_says("sysctl vm.max_map_count=N");
}
END_TEST

START_TEST(masked_io_uring_is_not_usable)
{
	mask("io_uring");
	ck_assert_int_eq(run(NULL, NULL), PROBE_NOT_USABLE);
	assert_says("NOT USABLE: it is switched off");
	assert_says("no ring could be asked");
	ck_assert_int_eq(run("--selftest", "--json"), PROBE_NOT_USABLE);
	assert_is_json();
	assert_says("\"selftest\": null");
}
END_TEST

/* --- where it is forbidden --- */

static int forbid_setup(unsigned int error)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ZS_URING_SYSCALL_SETUP, 0,
			 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { 4, code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) < 0)
		return -errno;
	return 0;
}

static int answer_eperm(void)
{
	return forbid_setup(EPERM);
}

static int answer_enosys(void)
{
	return forbid_setup(ENOSYS);
}

START_TEST(filter_is_named_with_the_remedy)
{
	static const struct {
		int (*prepare)(void);
		const char *verdict;
		const char *error;
	} filters[] = {
		{ answer_eperm, "NOT USABLE: it is forbidden here", "EPERM" },
		{ answer_enosys, "NOT USABLE: it is not there", "ENOSYS" },
	};
	const char *option = _i % 2 ? "--selftest" : NULL;

	if (!have_io_uring(__func__))
		return;
	ck_assert_int_eq(run_boxed(filters[_i / 2].prepare, option, NULL),
			 PROBE_NOT_USABLE);
	assert_says(filters[_i / 2].verdict);
	assert_says(filters[_i / 2].error);
	assert_says("seccomp");
	assert_says("remedy");
	assert_does_not_say("self-test");
	run_boxed(filters[_i / 2].prepare, "--json", option);
	assert_is_json();
	assert_says("\"status\": \"not_usable\"");
}
END_TEST

/* --- limits --- */

static int few_descriptors(void)
{
	struct rlimit limit = { 200, 300 };

	return setrlimit(RLIMIT_NOFILE, &limit);
}

/* qemu-user takes it without a word and does nothing. */
static int little_address_space(void)
{
	struct rlimit limit = { (rlim_t)8 << 30, (rlim_t)8 << 30 };

	if (setrlimit(RLIMIT_AS, &limit) < 0 ||
	    getrlimit(RLIMIT_AS, &limit) < 0)
		return -errno;
	return limit.rlim_cur == (rlim_t)8 << 30 ? 0 : -ENOTSUP;
}

START_TEST(low_limits_bite_and_come_with_a_remedy)
{
	run_boxed(few_descriptors, NULL, NULL);
	assert_says("! RLIMIT_NOFILE                    200");
	assert_says("may be raised to 300");
	assert_says("ulimit -n");
	if (SANITIZED ||
	    run_boxed(little_address_space, NULL, NULL) == CHILD_SKIPPED) {
		skip(__func__, "the address space cannot be limited");
		return;
	}
	assert_says("! RLIMIT_AS");
	/* 64 KiB and a guard of four pages of 4 KiB each. */
	if (sysconf(_SC_PAGESIZE) == 4096)
		assert_says("104857 stacks of 80");
}
END_TEST

static int little_memory(void)
{
	struct rlimit limit = { 1 << 20, 1 << 20 };

	if (setrlimit(RLIMIT_MEMLOCK, &limit) < 0 || setgid(NOBODY) < 0)
		return -errno;
	return setuid(NOBODY);
}

/* Sets up rings like a runtime's until there is no more locked memory. */
static void count_rings(void)
{
	struct zs_uring_params params;
	int nr = 0;

	if (little_memory() < 0)
		_exit(CHILD_SKIPPED);
	do {
		memset(&params, 0, sizeof(params));
		params.flags = ZS_URING_SETUP_CQSIZE;
		params.cq_entries = 1024;
	} while (zs_uring_setup(256, &params) >= 0 && ++nr < 1000);
	fprintf(stderr, "%d", nr);
}

START_TEST(locked_memory_holds_as_many_rings_as_it_says)
{
	const struct child *child;
	char text[64];

	if (!have_io_uring(__func__))
		return;
	if (getuid() != 0) {
		skip(__func__, "only root can be another user");
		return;
	}
	/* So that rings have an array, as those that are counted. */
	mask("no_sqarray");
	child = run_child(count_rings);
	if (exited_with(child, CHILD_SKIPPED)) {
		skip(__func__, "cannot be another user");
		return;
	}
	ck_assert_int_ge(run_boxed(little_memory, NULL, NULL), PROBE_USABLE);
	if (strstr(output, "bytes; not enforced")) {
		skip(__func__, "this kernel does not count rings as locked");
		return;
	}
	snprintf(text, sizeof(text), "bytes: %.9s rings of 256/1024",
		 child->text);
	assert_says(text);
}
END_TEST

/* --- the self-test --- */

START_TEST(selftest_runs_one_of_each_class)
{
	static const char *const lines[] = {
		"+ abortable   recv ",	 "+ abortable   poll ",
		"+ abortable   accept ", "+ abortable   connect ",
		"+ abortable   sleep ",	 "+ abortable   cancel ",
		"+ detachable  openat ", "+ detachable  statx ",
		"+ held        pread ",	 "+ held        pwrite ",
		"+ held        fsync ",
	};
	size_t i;

	if (!have_io_uring(__func__))
		return;
	ck_assert_int_le(run("--selftest", NULL), PROBE_DEGRADED);
	for (i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		assert_says(lines[i]);
	assert_does_not_say("FAILED");
	run("--selftest", "--json");
	assert_is_json();
	assert_says("\"name\": \"fsync\", \"class\": \"held\", \"errno\": 0");
}
END_TEST

static int no_file_may_grow(void)
{
	struct rlimit limit = { 0, 0 };

	signal(SIGXFSZ, SIG_IGN);
	return setrlimit(RLIMIT_FSIZE, &limit);
}

START_TEST(selftest_names_what_fails_and_the_remedy)
{
	if (!have_io_uring(__func__))
		return;
	ck_assert_int_eq(run_boxed(no_file_may_grow, "--selftest", NULL),
			 PROBE_SELFTEST_FAILED);
	assert_says("! held        pwrite     FAILED: File too large");
	assert_says("remedy: raise RLIMIT_FSIZE");
	assert_says("+ abortable   recv ");
	ck_assert_int_eq(run_boxed(no_file_may_grow, "--selftest", "--json"),
			 PROBE_SELFTEST_FAILED);
	assert_is_json();
	assert_says("\"status\": \"selftest_failed\"");
	setenv("TMPDIR", "/nonexistent", 1);
	ck_assert_int_eq(run("--selftest", NULL), PROBE_SELFTEST_FAILED);
	assert_says("FAILED: No such file or directory");
	assert_says("TMPDIR=");
}
END_TEST

static void add_tests(TCase *tests)
{
	tcase_add_checked_fixture(tests, no_mask, no_mask);
	tcase_add_test(tests, tells_of_all_there_is);
	tcase_add_test(tests, lines_fit_a_terminal);
	tcase_add_test(tests, json_is_json_and_has_all_parts);
	tcase_add_test(tests, help_explains_options_output_and_status);
	tcase_add_test(tests, bad_option_and_bad_mask_are_refused);
	tcase_add_test(tests, masked_abilities_are_not_there);
	tcase_add_test(tests, what_needs_buffer_rings_goes_with_them);
	tcase_add_test(tests, without_guard_regions_maps_bite);
	tcase_add_test(tests, masked_io_uring_is_not_usable);
	tcase_add_loop_test(tests, filter_is_named_with_the_remedy, 0, 4);
	tcase_add_test(tests, low_limits_bite_and_come_with_a_remedy);
	tcase_add_test(tests, locked_memory_holds_as_many_rings_as_it_says);
	tcase_add_test(tests, selftest_runs_one_of_each_class);
	tcase_add_test(tests, selftest_names_what_fails_and_the_remedy);
}

int main(void)
{
	Suite *suite = suite_create("uring_probe");
	TCase *tests = tcase_create("uring_probe");
	SRunner *runner;
	int nr_failed;

	add_tests(tests);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	nr_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return nr_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
