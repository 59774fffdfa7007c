/* SPDX-License-Identifier: MIT */
/* Extended attributes, by descriptor and by path, by the ring and where it
 * lacks the operations. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/compiler.h"
#include "descriptors.h"
#include "folder.h"
#include "runtime.h"

#define OPERATIONS "setxattr,fsetxattr,getxattr,fgetxattr"

enum {
	LONG = 2000,
#ifdef ZS_ASAN
	IS_ASAN = true,
#else
	IS_ASAN = false,
#endif
};

static char path[80];
static int file;

/* False, and a line that says why, where the file system has no attributes. */
static bool make_file(int variant, const char *test)
{
	make_folder(variant, OPERATIONS);
	snprintf(path, sizeof(path), "%s/file", folder);
	file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_ge(file, 0);
	if (fsetxattr(file, "user.probe", "x", 1, 0) == 0)
		return true;
	printf("SKIP: %s: no attributes in %s: %s\n", test, folder,
	       strerror(errno));
	return false;
}

static int set(int by_path, const char *name, const void *value, size_t size,
	       int flags)
{
	return by_path ? zs_setxattr(path, name, value, size, flags) :
			 zs_fsetxattr(file, name, value, size, flags);
}

static ssize_t get(int by_path, const char *name, void *value, size_t size)
{
	return by_path ? zs_getxattr(path, name, value, size) :
			 zs_fgetxattr(file, name, value, size);
}

static int set_and_get(void *arg)
{
	static char bytes[LONG], more[LONG + 1];

	(void)arg;
	memset(bytes, 'v', LONG);
	for (int way = 0; way < 2; way++) {
		ck_assert_int_eq(set(way, "user.a", "one", 3, XATTR_CREATE), 0);
		ck_assert_int_eq(set(way, "user.a", "x", 1, XATTR_CREATE),
				 -EEXIST);
		ck_assert_int_eq(get(!way, "user.a", more, sizeof(more)), 3);
		ck_assert_mem_eq(more, "one", 3);
		ck_assert_int_eq(get(way, "user.a", NULL, 0), 3);
		ck_assert_int_eq(get(way, "user.a", more, 2), -ERANGE);
		ck_assert_int_eq(set(way, "user.a", "", 0, XATTR_REPLACE), 0);
		ck_assert_int_eq(set(way, "user.a", NULL, 0, 0), 0);
		ck_assert_int_eq(get(way, "user.a", more, sizeof(more)), 0);
		ck_assert_int_eq(set(way, "user.a", bytes, LONG, 0), 0);
		ck_assert_int_eq(get(way, "user.a", more, sizeof(more)), LONG);
		ck_assert(memcmp(bytes, more, LONG) == 0);
		ck_assert_int_eq(set(way, "user.b", "x", 1, XATTR_REPLACE),
				 -ENODATA);
		ck_assert_int_eq(get(way, "user.b", more, 1), -ENODATA);
		ck_assert_int_eq(removexattr(path, "user.a"), 0);
	}
	return 0;
}

START_TEST(attributes_are_set_and_got)
{
	if (make_file(_i, __func__))
		ck_assert_int_eq(run_task(set_and_get, NULL), 0);
}
END_TEST

static int go_through_link(void *arg)
{
	char link[80], byte = 0;

	(void)arg;
	snprintf(link, sizeof(link), "%s/link", folder);
	ck_assert_int_eq(symlink(path, link), 0);
	ck_assert_int_eq(zs_setxattr(link, "user.a", "y", 1, 0), 0);
	ck_assert_int_eq(zs_fgetxattr(file, "user.a", &byte, 1), 1);
	ck_assert_int_eq(byte, 'y');
	ck_assert_int_eq(zs_getxattr(link, "user.a", &byte, 1), 1);
	return 0;
}

START_TEST(paths_follow_links)
{
	if (make_file(_i, __func__))
		ck_assert_int_eq(run_task(go_through_link, NULL), 0);
}
END_TEST

static int use_bad_input(void *arg)
{
	static char long_name[300], much[70000];
	char byte;

	(void)arg;
	snprintf(long_name, sizeof(long_name), "user.%0290d", 0);
	for (int way = 0; way < 2; way++) {
		ck_assert_int_eq(set(way, NULL, "x", 1, 0), -EINVAL);
		ck_assert_int_eq(set(way, "user.a", NULL, 1, 0), -EINVAL);
		ck_assert_int_eq(set(way, "user.a", "x", SIZE_MAX, 0), -EINVAL);
		ck_assert_int_eq(set(way, "user.a", "x", 1, 1 << 20), -EINVAL);
		ck_assert_int_eq(set(way, "user.a", much, sizeof(much), 0),
				 -E2BIG);
		ck_assert_int_eq(set(way, long_name, "x", 1, 0), -ERANGE);
		ck_assert_int_eq(set(way, "", "x", 1, 0), -ERANGE);
		ck_assert_int_eq(set(way, "none.a", "x", 1, 0), -EOPNOTSUPP);
		ck_assert_int_eq(get(way, NULL, &byte, 1), -EINVAL);
		ck_assert_int_eq(get(way, "user.probe", NULL, 1), -EINVAL);
		ck_assert_int_eq(get(way, long_name, &byte, 1), -ERANGE);
	}
	ck_assert_int_eq(zs_setxattr(NULL, "user.a", "x", 1, 0), -EINVAL);
	ck_assert_int_eq(zs_getxattr(NULL, "user.a", &byte, 1), -EINVAL);
	ck_assert_int_eq(zs_getxattr("", "user.a", &byte, 1), -ENOENT);
	ck_assert_int_eq(zs_fsetxattr(-1, "user.a", "x", 1, 0), -EBADF);
	ck_assert_int_eq(zs_fgetxattr(closed_fd(), "user.a", &byte, 1), -EBADF);
	return 0;
}

static int use_bad_pointers(void *arg)
{
	char byte;

	(void)arg;
	for (int way = 0; way < 2; way++) {
		ck_assert_int_eq(set(way, (void *)1, "x", 1, 0), -EFAULT);
		ck_assert_int_eq(set(way, "user.a", (void *)1, 1, 0), -EFAULT);
		ck_assert_int_eq(get(way, "user.probe", (void *)1, 1), -EFAULT);
	}
	ck_assert_int_eq(zs_getxattr((void *)1, "user.a", &byte, 1), -EFAULT);
	return 0;
}

/* AddressSanitizer looks at the arguments of libc's calls, which are made where
 * there is no ring, before the kernel can refuse them. */
START_TEST(bad_pointers_are_refused)
{
	if (!make_file(_i, __func__))
		return;
	if (IS_ASAN)
		printf("SKIP: %s: AddressSanitizer looks first\n", __func__);
	else
		ck_assert_int_eq(run_task(use_bad_pointers, NULL), 0);
}
END_TEST

START_TEST(bad_input_is_refused)
{
	if (make_file(_i, __func__))
		ck_assert_int_eq(run_task(use_bad_input, NULL), 0);
}
END_TEST

static int call_each(int call)
{
	char byte;

	return (int)(call < 2 ? set(call & 1, "user.new", "x", 1, 0) :
				get(call & 1, "user.probe", &byte, 1));
}

START_TEST(outside_a_task_every_call_is_refused)
{
	if (!make_file(0, __func__))
		return;
	errno = ERANGE;
	ck_assert_int_eq(call_each(_i), -EPERM);
	ck_assert_int_eq(errno, ERANGE);
	ck_assert_int_eq(fgetxattr(file, "user.new", NULL, 0), -1);
}
END_TEST

static int call_in_cancelled_scope(void *call)
{
	struct zs_cancel_token token;

	errno = ERANGE;
	ck_assert_int_eq(zs_cancel_token_open(&token, ZS_NEVER), 0);
	ck_assert_int_eq(zs_cancel_token_cancel(token), 0);
	ck_assert_int_eq(call_each(*(int *)call), -ECANCELED);
	ck_assert_int_eq(zs_cancel_token_close(token), -ECANCELED);
	ck_assert_int_eq(zs_cancel_token_open(&token, zs_now() - 1), 0);
	ck_assert_int_eq(zs_sleep_until(ZS_NEVER), -ETIMEDOUT);
	ck_assert_int_eq(call_each(*(int *)call), -ETIMEDOUT);
	ck_assert_int_eq(zs_cancel_token_close(token), -ETIMEDOUT);
	ck_assert_int_eq(errno, ERANGE);
	ck_assert_int_eq(fgetxattr(file, "user.new", NULL, 0), -1);
	return 0;
}

START_TEST(in_a_cancelled_scope_nothing_is_begun)
{
	int call = _i;

	if (make_file(0, __func__))
		ck_assert_int_eq(run_task(call_in_cancelled_scope, &call), 0);
}
END_TEST

static Suite *xattr_suite(void)
{
	Suite *suite = suite_create("xattr");
	TCase *tests = tcase_create("xattr");

	tcase_add_checked_fixture(tests, NULL, remove_folder);
	tcase_add_loop_test(tests, attributes_are_set_and_got, 0, NR_VARIANTS);
	tcase_add_loop_test(tests, paths_follow_links, 0, NR_VARIANTS);
	tcase_add_loop_test(tests, bad_input_is_refused, 0, NR_VARIANTS);
	tcase_add_loop_test(tests, bad_pointers_are_refused, 0, NR_VARIANTS);
	tcase_add_loop_test(tests, outside_a_task_every_call_is_refused, 0, 4);
	tcase_add_loop_test(tests, in_a_cancelled_scope_nothing_is_begun, 0, 4);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(xattr_suite());
}
