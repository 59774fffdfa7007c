/* SPDX-License-Identifier: MIT */
/*
 * What is written for people: the text without stdio, the panic, and the
 * explanation of an error.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/explain.h"
#include "base/text.h"
#include "zsync/config.h"

/* The text as a string, which lasts until the next call. */
static const char *string_of(const struct zs_text *text)
{
	static char string[sizeof(text->bytes) + 1];

	memcpy(string, text->bytes, text->length);
	string[text->length] = '\0';
	return string;
}

static const char *duration(int64_t duration_ns)
{
	struct zs_text text;

	zs_text_init(&text);
	zs_text_add_duration(&text, duration_ns);
	return string_of(&text);
}

static const char *size(uint64_t bytes)
{
	struct zs_text text;

	zs_text_init(&text);
	zs_text_add_size(&text, bytes);
	return string_of(&text);
}

/* The extremes of each type, side by side in one text. */
START_TEST(numbers_have_all_their_digits)
{
	struct zs_text text;

	zs_text_init(&text);
	zs_text_add_number(&text, 0);
	zs_text_add(&text, " ");
	zs_text_add_number(&text, -7);
	zs_text_add(&text, " ");
	zs_text_add_number(&text, INT64_MAX);
	zs_text_add(&text, " ");
	zs_text_add_number(&text, INT64_MIN);
	zs_text_add(&text, " ");
	zs_text_add_hex(&text, 0);
	zs_text_add(&text, " ");
	zs_text_add_hex(&text, UINT64_MAX);
	ck_assert_str_eq(string_of(&text),
			 "0 -7 9223372036854775807 -9223372036854775808 "
			 "0x0 0xffffffffffffffff");
}
END_TEST

/* Each unit, the values at which units change, and the cut tenth. */
START_TEST(durations_are_in_the_unit_a_person_expects)
{
	ck_assert_str_eq(duration(0), "0 ns");
	ck_assert_str_eq(duration(999), "999 ns");
	ck_assert_str_eq(duration(1000), "1 us");
	ck_assert_str_eq(duration(850000), "850 us");
	ck_assert_str_eq(duration(999999), "999 us");
	ck_assert_str_eq(duration(12399999), "12.3 ms");
	ck_assert_str_eq(duration(4100000000), "4.1 s");
	ck_assert_str_eq(duration(90000000000), "1.5 min");
	ck_assert_str_eq(duration(INT64_C(7200000000000)), "2 h");
	ck_assert_str_eq(duration(INT64_MAX), "106751 d");
	ck_assert_str_eq(duration(-1500), "-1.5 us");
	ck_assert_str_eq(duration(INT64_MIN), "-106751 d");
}
END_TEST

START_TEST(sizes_are_in_powers_of_1024)
{
	ck_assert_str_eq(size(0), "0 B");
	ck_assert_str_eq(size(100), "100 B");
	ck_assert_str_eq(size(1023), "1023 B");
	ck_assert_str_eq(size(64 << 10), "64 KiB");
	ck_assert_str_eq(size(1536), "1.5 KiB");
	ck_assert_str_eq(size(3 << 20), "3 MiB");
	ck_assert_str_eq(size(UINT64_C(2) << 30), "2 GiB");
	ck_assert_str_eq(size(UINT64_MAX), "16777215 TiB");
}
END_TEST

/* Far more than fits, from each of the adders. */
START_TEST(what_does_not_fit_is_cut)
{
	struct zs_text text;

	zs_text_init(&text);
	for (int i = 0; i < 100; i++) {
		zs_text_add(&text, "0123456789");
		zs_text_add_number(&text, 12345);
	}
	ck_assert_uint_eq(text.length, sizeof(text.bytes));
	ck_assert_mem_eq(text.bytes, "012345678912345", 15);
}
END_TEST

/* Through a pipe, twice, so that what was written must be gone. */
START_TEST(write_empties_the_text)
{
	struct zs_text text;
	char got[32] = "";
	int fds[2];

	ck_assert_int_eq(pipe(fds), 0);
	zs_text_init(&text);
	zs_text_add(&text, "one ");
	ck_assert_int_eq(zs_text_write(&text, fds[1]), 0);
	ck_assert_uint_eq(text.length, 0);
	ck_assert_int_eq(zs_text_write(&text, fds[1]), 0);
	zs_text_add(&text, "two");
	ck_assert_int_eq(zs_text_write(&text, fds[1]), 0);
	ck_assert_int_eq(read(fds[0], got, sizeof(got) - 1), 7);
	ck_assert_str_eq(got, "one two");
}
END_TEST

START_TEST(failed_write_tells_and_leaves_errno_alone)
{
	struct zs_text text;

	zs_text_init(&text);
	zs_text_add(&text, "lost");
	errno = ERANGE;
	ck_assert_int_eq(zs_text_write(&text, -1), -EBADF);
	ck_assert_int_eq(errno, ERANGE);
	ck_assert_uint_eq(text.length, 0);
}
END_TEST

static void say_state(int fd)
{
	if (write(fd, "<state>", 7) != 7)
		_exit(1);
	/* An assertion that fails here must not come here again. */
	ZS_ASSERT(!"twice");
}

/* A child whose stderr is a pipe fails an assertion. */
START_TEST(assertion_prints_place_and_state_and_aborts)
{
	char got[1024] = "";
	size_t length = 0;
	ssize_t count;
	int fds[2], status;
	pid_t pid;

	ck_assert_int_eq(pipe(fds), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		signal(SIGABRT, SIG_DFL);
		dup2(fds[1], STDERR_FILENO);
		zs_panic_state = say_state;
		ZS_ASSERT(1 + 1 == 2);
		ZS_ASSERT(1 + 1 == 3);
		_exit(0);
	}
	close(fds[1]);
	do {
		count = read(fds[0], got + length, sizeof(got) - 1 - length);
		length += count > 0 ? (size_t)count : 0;
	} while (count > 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status));
	ck_assert_int_eq(WTERMSIG(status), SIGABRT);
	ck_assert_mem_eq(got, "zsync: ", 7);
	ck_assert_ptr_nonnull(strstr(got, "test_text.c:"));
	ck_assert_ptr_nonnull(
		strstr(got, ": assertion failed: 1 + 1 == 3\n<state>"));
	ck_assert_ptr_null(strstr(strstr(got, "<state>") + 1, "<state>"));
}
END_TEST

START_TEST(explanation_is_the_kept_text)
{
	errno = ERANGE;
	ck_assert_int_eq(zs_explain_as(-EINVAL, "queue_depth is %d", 0),
			 -EINVAL);
	ck_assert_str_eq(zs_explain(-EINVAL), "queue_depth is 0");
	zs_explain_as(-ENOMEM, "no more");
	ck_assert_str_eq(zs_explain(-ENOMEM), "no more");
	ck_assert_int_eq(errno, ERANGE);
}
END_TEST

/* The standard text of another error must not displace the kept one. */
START_TEST(other_errors_have_their_standard_text)
{
	zs_explain_as(-EINVAL, "kept");
	errno = ERANGE;
	ck_assert_str_eq(zs_explain(-EPIPE), "Broken pipe");
	ck_assert_ptr_nonnull(zs_explain(-4000));
	ck_assert_str_eq(zs_explain(INT32_MIN), "unknown error");
	ck_assert_str_eq(zs_explain(0), "success");
	ck_assert_str_eq(zs_explain(7), "success");
	ck_assert_str_eq(zs_explain(-EINVAL), "kept");
	ck_assert_int_eq(errno, ERANGE);
}
END_TEST

START_TEST(long_explanation_is_cut_at_255_bytes)
{
	zs_explain_as(-EINVAL, "%0300d", 7);
	ck_assert_uint_eq(strlen(zs_explain(-EINVAL)), 255);
}
END_TEST

static void *explain_in_thread(void *arg)
{
	(void)arg;
	ck_assert_str_ne(zs_explain(-EINVAL), "main's");
	zs_explain_as(-EINVAL, "thread's");
	ck_assert_str_eq(zs_explain(-EINVAL), "thread's");
	return NULL;
}

/* Another thread looks first, then leaves a text of its own. */
START_TEST(each_thread_has_its_explanation)
{
	pthread_t thread;

	zs_explain_as(-EINVAL, "main's");
	ck_assert_int_eq(pthread_create(&thread, NULL, explain_in_thread, NULL),
			 0);
	pthread_join(thread, NULL);
	ck_assert_str_eq(zs_explain(-EINVAL), "main's");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("text");
	TCase *tests = tcase_create("text");
	SRunner *runner;
	int nr_failed;

	tcase_add_test(tests, numbers_have_all_their_digits);
	tcase_add_test(tests, durations_are_in_the_unit_a_person_expects);
	tcase_add_test(tests, sizes_are_in_powers_of_1024);
	tcase_add_test(tests, what_does_not_fit_is_cut);
	tcase_add_test(tests, write_empties_the_text);
	tcase_add_test(tests, failed_write_tells_and_leaves_errno_alone);
	tcase_add_test(tests, assertion_prints_place_and_state_and_aborts);
	tcase_add_test(tests, explanation_is_the_kept_text);
	tcase_add_test(tests, other_errors_have_their_standard_text);
	tcase_add_test(tests, long_explanation_is_cut_at_255_bytes);
	tcase_add_test(tests, each_thread_has_its_explanation);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	nr_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return nr_failed != 0;
}
