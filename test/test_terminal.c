/* SPDX-License-Identifier: MIT */
/*
 * Terminals, of which the kernel does not say whether a call would wait
 * (RWF_NOWAIT is unknown to them): with what the ring has, and without.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/uio.h>

#include "descriptors.h"
#include "runtime.h"

static int ends[2];
static bool is_vector;

static ssize_t read_line(char *line, size_t size)
{
	struct iovec parts[] = { { line, 1 }, { line + 1, size - 1 } };

	return is_vector ? zs_readv(ends[0], parts, 2) :
			   zs_read(ends[0], line, size);
}

static ssize_t write_line(char *line, size_t size)
{
	struct iovec parts[] = { { line, 1 }, { line + 1, size - 1 } };

	return is_vector ? zs_writev(ends[1], parts, 2) :
			   zs_write(ends[1], line, size);
}

static int await_line(void *arg)
{
	struct zs_cancel_token token;
	char line[8];

	(void)arg;
	ck_assert_int_eq(read_line(line, sizeof(line)), 4);
	ck_assert_mem_eq(line, "abc\n", 4);
	ck_assert_int_eq(
		zs_cancel_token_open(&token, zs_now() + 2 * ZS_MILLISECOND), 0);
	ck_assert_int_eq(read_line(line, sizeof(line)), -ETIMEDOUT);
	ck_assert_int_eq(zs_cancel_token_close(token), -ETIMEDOUT);
	return 0;
}

static int type_line(void *arg)
{
	char line[] = "abc\n";

	(void)arg;
	ck_assert_int_eq(zs_sleep(ZS_MILLISECOND), 0);
	ck_assert_int_eq(write_line(line, 4), 4);
	return 0;
}

START_TEST(lines_are_waited_for)
{
	is_vector = _i & 1;
	if (_i & 2)
		ck_assert_int_eq(setenv("ZSYNC_DISABLE", "readv,writev", 1), 0);
	make_terminal(ends);
	ck_assert_int_eq(run_siblings(await_line, type_line, NULL), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("terminal");
	TCase *tests = tcase_create("terminal");

	tcase_add_loop_test(tests, lines_are_waited_for, 0, 4);
	suite_add_tcase(suite, tests);
	return run_suite(suite);
}
