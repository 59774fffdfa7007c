/* SPDX-License-Identifier: MIT */
/* Reading folders: on a disk and in memory. */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "descriptors.h"
#include "folder.h"
#include "runtime.h"

enum { NR_FILES = 500, SMALL = 512 };

static char buffer[SMALL + 1];
static bool found[NR_FILES];

static void make_file(const char *name)
{
	int fd = openat(directory, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	close(fd);
}

static int count_entries(int dirfd, const char *path)
{
	struct zs_dir_entry entry;
	struct zs_dir dir;
	int count = 0, ret;

	ret = zs_dir_open(&dir, dirfd, path, buffer, SMALL);
	if (ret < 0)
		return ret;
	for (;;) {
		ret = zs_dir_next(&dir, &entry);
		if (ret <= 0)
			break;
		count++;
	}
	ck_assert_int_eq(zs_dir_close(&dir), 0);
	return ret < 0 ? ret : count;
}

/* The buffer holds but a few, and lies at an odd address. */
static int read_many(void *arg)
{
	struct zs_dir_entry entry;
	struct zs_dir dir;
	unsigned int nr_found = 0;
	char name[16];
	int i;

	(void)arg;
	for (i = 0; i < NR_FILES; i++) {
		snprintf(name, sizeof(name), "file%d", i);
		make_file(name);
	}
	ck_assert_int_eq(zs_dir_open(&dir, directory, ".", buffer + 1, SMALL),
			 0);
	ck_assert(is_cloexec(dir.fd));
	while (zs_dir_next(&dir, &entry) == 1) {
		ck_assert(strncmp(entry.name, "file", 4) == 0);
		i = atoi(entry.name + 4);
		ck_assert(!found[i]);
		found[i] = true;
		nr_found++;
		ck_assert(entry.type == DT_REG || entry.type == DT_UNKNOWN);
	}
	ck_assert_uint_eq(nr_found, NR_FILES);
	ck_assert_int_eq(zs_dir_next(&dir, &entry), 0);
	return zs_dir_close(&dir);
}

START_TEST(each_name_is_told_once)
{
	make_folder(_i, "getxattr");
	ck_assert_int_eq(run_task(read_many, NULL), 0);
}
END_TEST

static int read_kinds(void *arg)
{
	struct zs_dir_entry entry;
	char name[NAME_MAX + 1];
	struct stat status;
	struct zs_dir dir;
	int count = 0;

	(void)arg;
	memset(name, 'n', NAME_MAX);
	name[NAME_MAX] = '\0';
	make_file(name);
	ck_assert_int_eq(mkdirat(directory, "d", 0700), 0);
	ck_assert_int_eq(mkfifoat(directory, "p", 0600), 0);
	ck_assert_int_eq(symlinkat("d", directory, "l"), 0);
	ck_assert_int_eq(zs_dir_open(&dir, AT_FDCWD, folder, buffer, SMALL), 0);
	while (zs_dir_next(&dir, &entry) == 1) {
		ck_assert_int_eq(fstatat(directory, entry.name, &status,
					 AT_SYMLINK_NOFOLLOW),
				 0);
		ck_assert_uint_eq(entry.inode, status.st_ino);
		if (entry.type != DT_UNKNOWN)
			ck_assert_uint_eq(entry.type, IFTODT(status.st_mode));
		count++;
	}
	ck_assert_int_eq(count, 4);
	return zs_dir_close(&dir);
}

START_TEST(entries_have_names_kinds_and_inodes)
{
	make_folder(_i, "getxattr");
	ck_assert_int_eq(run_task(read_kinds, NULL), 0);
}
END_TEST

static int read_nothing(void *arg)
{
	int below;

	(void)arg;
	ck_assert_int_eq(count_entries(directory, "."), 0);
	ck_assert_int_eq(mkdirat(directory, "gone", 0700), 0);
	below = openat(directory, "gone", O_PATH | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_eq(count_entries(below, "."), 0);
	ck_assert_int_eq(count_entries(directory, "."), 1);
	close(below);
	return 0;
}

START_TEST(an_empty_folder_ends_at_once)
{
	make_folder(_i, "getxattr");
	ck_assert_int_eq(run_task(read_nothing, NULL), 0);
}
END_TEST

/* A folder that is removed while it is read. */
static int remove_what_is_read(void *arg)
{
	struct zs_dir_entry entry;
	struct zs_dir dir;

	(void)arg;
	ck_assert_int_eq(mkdirat(directory, "gone", 0700), 0);
	ck_assert_int_eq(zs_dir_open(&dir, directory, "gone", buffer, SMALL),
			 0);
	ck_assert_int_eq(unlinkat(directory, "gone", AT_REMOVEDIR), 0);
	ck_assert_int_eq(zs_dir_next(&dir, &entry), -ENOENT);
	return zs_dir_close(&dir);
}

START_TEST(a_removed_folder_is_told)
{
	make_folder(_i, "getxattr");
	ck_assert_int_eq(run_task(remove_what_is_read, NULL), 0);
}
END_TEST

static int use_bad_input(void *arg)
{
	struct zs_dir_entry entry;
	struct zs_dir dir;

	(void)arg;
	make_file("file");
	ck_assert_int_eq(zs_dir_open(NULL, directory, ".", buffer, SMALL),
			 -EINVAL);
	ck_assert_int_eq(zs_dir_open(&dir, directory, NULL, buffer, SMALL),
			 -EINVAL);
	ck_assert_int_eq(zs_dir_open(&dir, directory, ".", NULL, SMALL),
			 -EINVAL);
	ck_assert_int_eq(zs_dir_open(&dir, directory, ".", buffer, SMALL - 1),
			 -EINVAL);
	ck_assert_int_eq(zs_dir_open(&dir, directory, ".", buffer, SIZE_MAX),
			 -EINVAL);
	ck_assert_int_eq(count_entries(directory, "none"), -ENOENT);
	ck_assert_int_eq(count_entries(directory, "file"), -ENOTDIR);
	ck_assert_int_eq(count_entries(-1, "."), -EBADF);
	ck_assert_int_eq(zs_dir_next(NULL, &entry), -EINVAL);
	ck_assert_int_eq(zs_dir_close(NULL), -EINVAL);
	ck_assert_int_eq(zs_dir_open(&dir, directory, ".", (void *)1, SMALL),
			 0);
	ck_assert_int_eq(zs_dir_next(&dir, NULL), -EINVAL);
	ck_assert_int_eq(zs_dir_next(&dir, &entry), -EFAULT);
	ck_assert_int_eq(zs_dir_close(&dir), 0);
	ck_assert_int_eq(zs_dir_close(&dir), -EBADF);
	ck_assert_int_eq(zs_dir_next(&dir, &entry), -EBADF);
	return 0;
}

START_TEST(bad_input_is_refused_and_leaves_no_descriptor)
{
	int before;

	make_folder(_i, "getxattr");
	before = next_fd();
	ck_assert_int_eq(run_task(use_bad_input, NULL), 0);
	ck_assert_int_eq(next_fd(), before);
}
END_TEST

static int read_in_cancelled_scope(void *arg)
{
	struct zs_cancel_token token;
	struct zs_dir_entry entry;
	struct zs_dir dir;

	(void)arg;
	make_file("file");
	ck_assert_int_eq(zs_dir_open(&dir, directory, ".", buffer, SMALL), 0);
	ck_assert_int_eq(zs_cancel_token_open(&token, ZS_NEVER), 0);
	ck_assert_int_eq(zs_cancel_token_cancel(token), 0);
	errno = ERANGE;
	ck_assert_int_eq(count_entries(directory, "."), -ECANCELED);
	ck_assert_int_eq(zs_dir_next(&dir, &entry), -ECANCELED);
	ck_assert_int_eq(zs_cancel_token_close(token), -ECANCELED);
	ck_assert_int_eq(zs_cancel_token_open(&token, zs_now() - 1), 0);
	ck_assert_int_eq(zs_sleep_until(ZS_NEVER), -ETIMEDOUT);
	ck_assert_int_eq(zs_dir_next(&dir, &entry), -ETIMEDOUT);
	ck_assert_int_eq(zs_cancel_token_close(token), -ETIMEDOUT);
	ck_assert_int_eq(errno, ERANGE);
	ck_assert_int_eq(zs_dir_next(&dir, &entry), 1);
	ck_assert_str_eq(entry.name, "file");
	return zs_dir_close(&dir);
}

START_TEST(after_a_cancel_it_is_read_on)
{
	make_folder(_i, "getxattr");
	ck_assert_int_eq(run_task(read_in_cancelled_scope, NULL), 0);
}
END_TEST

START_TEST(outside_a_task_no_folder_is_read)
{
	struct zs_dir_entry entry;
	struct zs_dir dir = { .fd = -1, .buffer = buffer, .size = SMALL };
	int before;

	make_folder(0, "");
	before = next_fd();
	errno = ERANGE;
	ck_assert_int_eq(count_entries(directory, "."), -EPERM);
	ck_assert_int_eq(zs_dir_next(&dir, &entry), -EPERM);
	ck_assert_int_eq(zs_dir_close(&dir), -EPERM);
	ck_assert_int_eq(errno, ERANGE);
	ck_assert_int_eq(next_fd(), before);
}
END_TEST

static Suite *dir_suite(void)
{
	Suite *suite = suite_create("dir");
	TCase *tests = tcase_create("dir");
	const TTest *const on_each_file_system[] = {
		each_name_is_told_once,
		entries_have_names_kinds_and_inodes,
		an_empty_folder_ends_at_once,
		a_removed_folder_is_told,
		bad_input_is_refused_and_leaves_no_descriptor,
		after_a_cancel_it_is_read_on,
	};
	const size_t nr = sizeof(on_each_file_system) / sizeof(TTest *);

	tcase_add_checked_fixture(tests, NULL, remove_folder);
	for (size_t i = 0; i < nr; i++)
		tcase_add_loop_test(tests, on_each_file_system[i], 0, 2);
	tcase_add_test(tests, outside_a_task_no_folder_is_read);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(dir_suite());
}
