/* SPDX-License-Identifier: MIT */
/* What is done to files by their paths, on a disk and in memory, by the ring
 * and where it lacks the operations. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "descriptors.h"
#include "folder.h"
#include "runtime.h"

/* musl has them since 1.2.5 */
#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE 2
#endif

#define OPERATIONS "renameat,linkat,symlinkat,mkdirat,unlinkat"

static bool exists(const char *path)
{
	struct stat status;

	return fstatat(directory, path, &status, AT_SYMLINK_NOFOLLOW) == 0;
}

static struct stat status_of(const char *path)
{
	struct stat status;

	ck_assert_int_eq(fstatat(directory, path, &status, AT_SYMLINK_NOFOLLOW),
			 0);
	return status;
}

static void make_file(const char *path)
{
	int fd = openat(directory, path, O_WRONLY | O_CREAT | O_EXCL, 0600);

	ck_assert_int_ge(fd, 0);
	close(fd);
}

static int make_folder_in(const char *path)
{
	int fd;

	ck_assert_int_eq(mkdirat(directory, path, 0700), 0);
	fd = openat(directory, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	return fd;
}

static int rename_each_way(void *arg)
{
	int below = make_folder_in("below");
	ino_t first, second;

	(void)arg;
	make_file("a");
	make_file("b");
	first = status_of("a").st_ino;
	second = status_of("b").st_ino;
	ck_assert_int_eq(zs_renameat(directory, "a", directory, "b",
				     RENAME_NOREPLACE),
			 -EEXIST);
	ck_assert_int_eq(zs_renameat(directory, "a", directory, "b",
				     RENAME_EXCHANGE),
			 0);
	ck_assert_uint_eq(status_of("a").st_ino, second);
	ck_assert_uint_eq(status_of("b").st_ino, first);
	ck_assert_int_eq(zs_renameat(directory, "a", below, "c", 0), 0);
	ck_assert(!exists("a"));
	ck_assert_uint_eq(status_of("below/c").st_ino, second);
	ck_assert_int_eq(zs_renameat(below, "c", directory, "b", 0), 0);
	ck_assert_uint_eq(status_of("b").st_ino, second);
	ck_assert_int_eq(zs_renameat(below, "c", directory, "b", 0), -ENOENT);
	ck_assert_int_eq(zs_renameat(directory, "b", directory, "below", 0),
			 -EISDIR);
	ck_assert_int_eq(zs_renameat(directory, "b", directory, "c", 1u << 30),
			 -EINVAL);
	ck_assert_int_eq(fchdir(below), 0);
	ck_assert_int_eq(zs_renameat(AT_FDCWD, "../b", AT_FDCWD, "d", 0), 0);
	ck_assert_uint_eq(status_of("below/d").st_ino, second);
	return zs_close(below);
}

START_TEST(renameat_moves_replaces_and_exchanges)
{
	make_folder(_i, OPERATIONS);
	ck_assert_int_eq(run_task(rename_each_way, NULL), 0);
}
END_TEST

static int rename_across(void *arg)
{
	(void)arg;
	make_file("a");
	ck_assert_int_eq(zs_renameat(directory, "a", AT_FDCWD, "/proc/zsync",
				     0),
			 -EXDEV);
	ck_assert(exists("a"));
	return 0;
}

START_TEST(names_stay_within_their_file_system)
{
	make_folder(_i, OPERATIONS);
	ck_assert_int_eq(run_task(rename_across, NULL), 0);
}
END_TEST

static int link_each_way(void *arg)
{
	int below = make_folder_in("below");

	(void)arg;
	make_file("file");
	ck_assert_int_eq(zs_linkat(directory, "file", below, "hard", 0), 0);
	ck_assert_uint_eq(status_of("file").st_nlink, 2);
	ck_assert_uint_eq(status_of("below/hard").st_ino,
			  status_of("file").st_ino);
	ck_assert_int_eq(zs_linkat(directory, "file", below, "hard", 0),
			 -EEXIST);
	ck_assert_int_eq(zs_symlinkat("file", directory, "soft"), 0);
	ck_assert_int_eq(zs_linkat(directory, "soft", directory, "link", 0), 0);
	ck_assert(S_ISLNK(status_of("link").st_mode));
	ck_assert_int_eq(zs_linkat(directory, "soft", directory, "followed",
				   AT_SYMLINK_FOLLOW),
			 0);
	ck_assert_uint_eq(status_of("followed").st_ino,
			  status_of("file").st_ino);
	ck_assert_int_eq(zs_linkat(directory, "none", below, "x", 0), -ENOENT);
	ck_assert_int_eq(zs_linkat(directory, "file", below, "x", 1 << 30),
			 -EINVAL);
	return zs_close(below);
}

START_TEST(linkat_names_the_same_file)
{
	make_folder(_i, OPERATIONS);
	ck_assert_int_eq(run_task(link_each_way, NULL), 0);
}
END_TEST

static int symlink_each_way(void *arg)
{
	static char target[PATH_MAX], read_back[PATH_MAX];
	size_t length = sizeof(target) - 1;

	(void)arg;
	ck_assert_int_eq(zs_symlinkat("not/there", directory, "soft"), 0);
	ck_assert_int_eq(readlinkat(directory, "soft", read_back, PATH_MAX), 9);
	ck_assert_mem_eq(read_back, "not/there", 9);
	ck_assert_int_eq(zs_symlinkat("other", directory, "soft"), -EEXIST);
	ck_assert_int_eq(zs_symlinkat("", directory, "empty"), -ENOENT);
	memset(target, 't', length);
	ck_assert_int_eq(zs_symlinkat(target, directory, "long"), 0);
	ck_assert_int_eq(readlinkat(directory, "long", read_back, PATH_MAX),
			 (int)length);
	ck_assert(memcmp(read_back, target, length) == 0);
	return 0;
}

START_TEST(symlinkat_stores_its_target_unseen)
{
	make_folder(_i & VARIANT_MASKED, OPERATIONS);
	ck_assert_int_eq(run_task(symlink_each_way, NULL), 0);
}
END_TEST

static int make_and_remove(void *arg)
{
	(void)arg;
	ck_assert_int_eq(zs_mkdirat(directory, "d", 0751), 0);
	ck_assert_uint_eq(status_of("d").st_mode, S_IFDIR | 0751);
	ck_assert_int_eq(zs_mkdirat(directory, "d", 0700), -EEXIST);
	ck_assert_int_eq(zs_mkdirat(directory, "none/d", 0700), -ENOENT);
	make_file("d/file");
	ck_assert_int_eq(zs_mkdirat(directory, "d/file/d", 0700), -ENOTDIR);
	ck_assert_int_eq(zs_unlinkat(directory, "d", 0), -EISDIR);
	ck_assert_int_eq(zs_unlinkat(directory, "d", AT_REMOVEDIR), -ENOTEMPTY);
	ck_assert_int_eq(zs_unlinkat(directory, "d/file", AT_REMOVEDIR),
			 -ENOTDIR);
	ck_assert_int_eq(zs_unlinkat(directory, "d/file", 1 << 30), -EINVAL);
	ck_assert_int_eq(zs_unlinkat(directory, "d/file", 0), 0);
	ck_assert_int_eq(zs_unlinkat(directory, "d/file", 0), -ENOENT);
	ck_assert_int_eq(zs_unlinkat(directory, "d", AT_REMOVEDIR), 0);
	ck_assert(!exists("d"));
	return 0;
}

START_TEST(folders_are_made_and_removed)
{
	umask(0);
	make_folder(_i, OPERATIONS);
	ck_assert_int_eq(run_task(make_and_remove, NULL), 0);
}
END_TEST

static int mask_mode(void *arg)
{
	(void)arg;
	umask(027);
	ck_assert_int_eq(zs_mkdirat(directory, "d", 0777), 0);
	ck_assert_uint_eq(status_of("d").st_mode, S_IFDIR | 0750);
	return 0;
}

START_TEST(mkdirat_obeys_the_umask)
{
	make_folder(_i, OPERATIONS);
	ck_assert_int_eq(run_task(mask_mode, NULL), 0);
}
END_TEST

static int fill_up_names(void *arg)
{
	int ret;

	(void)arg;
	do {
		ret = zs_mkdirat(directory, "d", 0700);
		if (ret == 0)
			ret = zs_renameat(directory, "d", directory, "e",
					  RENAME_NOREPLACE);
	} while (ret == 0);
	/* d and e are there, and there is no third inode. */
	ck_assert_int_eq(ret, -EEXIST);
	ck_assert_int_eq(zs_mkdirat(directory, "f", 0700), -ENOSPC);
	ck_assert_int_eq(zs_symlinkat("target", directory, "f"), -ENOSPC);
	ck_assert_int_eq(zs_unlinkat(directory, "d", AT_REMOVEDIR), 0);
	ck_assert_int_eq(zs_symlinkat("target", directory, "f"), 0);
	return 0;
}

START_TEST(a_full_file_system_is_told)
{
	make_folder(_i & VARIANT_MASKED, OPERATIONS);
	if (!mount_tiny("size=64k,nr_inodes=3", __func__))
		return;
	ck_assert_int_eq(run_task(fill_up_names, NULL), 0);
	unmount_tiny();
}
END_TEST

/* --- bad input --- */

enum { NR_CALLS = 7 };

/* Each call with @path in one of its places. */
static int call_with(int call, int fd, const char *path)
{
	switch (call) {
	case 0:
		return zs_renameat(fd, path, directory, "x", 0);
	case 1:
		return zs_renameat(directory, "file", fd, path, 0);
	case 2:
		return zs_linkat(fd, path, directory, "x", 0);
	case 3:
		return zs_linkat(directory, "file", fd, path, 0);
	case 4:
		return zs_symlinkat("target", fd, path);
	case 5:
		return zs_mkdirat(fd, path, 0700);
	default:
		return zs_unlinkat(fd, path, 0);
	}
}

static int use_bad_arguments(void *arg)
{
	static char endless[PATH_MAX + 2], long_name[NAME_MAX + 2];
	int call = *(int *)arg;
	int file = openat(directory, "file", O_RDONLY | O_CLOEXEC);

	memset(endless, '/', sizeof(endless) - 1);
	memset(long_name, 'n', sizeof(long_name) - 1);
	ck_assert_int_eq(call_with(call, directory, NULL), -EINVAL);
	ck_assert_int_eq(call_with(call, directory, (void *)1), -EFAULT);
	ck_assert_int_eq(call_with(call, directory, endless), -ENAMETOOLONG);
	ck_assert_int_eq(call_with(call, directory, long_name), -ENAMETOOLONG);
	ck_assert_int_eq(call_with(call, directory, ""), -ENOENT);
	ck_assert_int_eq(call_with(call, -1, "y"), -EBADF);
	ck_assert_int_eq(call_with(call, INT_MIN, "y"), -EBADF);
	ck_assert_int_eq(call_with(call, INT_MAX, "y"), -EBADF);
	ck_assert_int_eq(call_with(call, closed_fd(), "y"), -EBADF);
	ck_assert_int_eq(call_with(call, file, "y"), -ENOTDIR);
	ck_assert_int_eq(zs_symlinkat(NULL, directory, "y"), -EINVAL);
	ck_assert_int_eq(zs_symlinkat((void *)1, directory, "y"), -EFAULT);
	close(file);
	ck_assert(exists("file") && !exists("x") && !exists("y"));
	return 0;
}

START_TEST(bad_arguments_change_nothing)
{
	int call = _i % NR_CALLS, before;

	make_folder(_i / NR_CALLS * VARIANT_MASKED, OPERATIONS);
	make_file("file");
	before = next_fd();
	ck_assert_int_eq(run_task(use_bad_arguments, &call), 0);
	ck_assert_int_eq(next_fd(), before);
}
END_TEST

START_TEST(outside_a_task_nothing_is_done)
{
	make_folder(0, "");
	make_file("file");
	errno = ERANGE;
	ck_assert_int_eq(call_with(_i, directory, "file"), -EPERM);
	ck_assert_int_eq(errno, ERANGE);
	ck_assert(exists("file") && !exists("x"));
}
END_TEST

/* --- cancelled --- */

static int call_in_cancelled_scope(void *arg)
{
	struct zs_cancel_token token;
	int call = *(int *)arg;

	ck_assert_int_eq(zs_cancel_token_open(&token, ZS_NEVER), 0);
	ck_assert_int_eq(zs_cancel_token_cancel(token), 0);
	errno = ERANGE;
	ck_assert_int_eq(call_with(call, directory, "file"), -ECANCELED);
	ck_assert_int_eq(call_with(call, directory, "y"), -ECANCELED);
	ck_assert_int_eq(errno, ERANGE);
	ck_assert_int_eq(zs_cancel_token_close(token), -ECANCELED);
	ck_assert_int_eq(zs_cancel_token_open(&token, zs_now() - 1), 0);
	ck_assert_int_eq(zs_sleep_until(ZS_NEVER), -ETIMEDOUT);
	ck_assert_int_eq(call_with(call, directory, "file"), -ETIMEDOUT);
	ck_assert_int_eq(zs_cancel_token_close(token), -ETIMEDOUT);
	ck_assert(exists("file") && !exists("x") && !exists("y"));
	return 0;
}

START_TEST(in_a_cancelled_scope_nothing_is_begun)
{
	int call = _i;

	make_folder(0, "");
	make_file("file");
	ck_assert_int_eq(run_task(call_in_cancelled_scope, &call), 0);
}
END_TEST

/* Both folders' numbers, closed while the call is on its way: it is ended, or
 * was faster, but never finds another file by the number. */
static int folders[2];
static int nr_turns;

static int rename_there(void *arg)
{
	int ret = zs_renameat(folders[0], "file", folders[1], "there", 0);

	(void)arg;
	ck_assert_msg(ret == 0 || ret == -ECANCELED, "%d", ret);
	return 0;
}

static int close_folder(void *fd)
{
	for (int i = 0; i < nr_turns; i++)
		zs_yield();
	return zs_close(*(int *)fd);
}

START_TEST(close_of_either_folder_ends_a_rename)
{
	make_folder(_i & VARIANT_MASKED, OPERATIONS);
	nr_turns = _i / NR_VARIANTS;
	make_file("file");
	for (int i = 0; i < 2; i++)
		folders[i] = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_eq(
		run_siblings(rename_there, close_folder, &folders[_i & 1]), 0);
	ck_assert(!is_open(folders[_i & 1]));
	ck_assert(is_open(folders[!(_i & 1)]));
	ck_assert(exists("file") != exists("there"));
}
END_TEST

/* What the path points to may change as soon as the call has returned. */
static int reuse_path(void *arg)
{
	char path[16];

	(void)arg;
	for (int i = 0; i < 100; i++) {
		snprintf(path, sizeof(path), "d%d", i);
		ck_assert_int_eq(zs_mkdirat(directory, path, 0700), 0);
	}
	for (int i = 0; i < 100; i++) {
		snprintf(path, sizeof(path), "d%d", i);
		ck_assert(exists(path));
	}
	return 0;
}

START_TEST(one_buffer_serves_for_many_paths)
{
	make_folder(_i, OPERATIONS);
	ck_assert_int_eq(run_task(reuse_path, NULL), 0);
}
END_TEST

static Suite *path_suite(void)
{
	Suite *suite = suite_create("path");
	TCase *tests = tcase_create("path");
	const TTest *const in_each_variant[] = {
		renameat_moves_replaces_and_exchanges,
		names_stay_within_their_file_system,
		linkat_names_the_same_file,
		symlinkat_stores_its_target_unseen,
		folders_are_made_and_removed,
		mkdirat_obeys_the_umask,
		a_full_file_system_is_told,
		one_buffer_serves_for_many_paths,
	};
	size_t i;

	tcase_add_checked_fixture(tests, NULL, remove_folder);
	for (i = 0; i < sizeof(in_each_variant) / sizeof(*in_each_variant); i++)
		tcase_add_loop_test(tests, in_each_variant[i], 0, NR_VARIANTS);
	tcase_add_loop_test(tests, bad_arguments_change_nothing, 0,
			    2 * NR_CALLS);
	tcase_add_loop_test(tests, outside_a_task_nothing_is_done, 0, NR_CALLS);
	tcase_add_loop_test(tests, in_a_cancelled_scope_nothing_is_begun, 0,
			    NR_CALLS);
	tcase_add_loop_test(tests, close_of_either_folder_ends_a_rename, 0,
			    3 * NR_VARIANTS);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(path_suite());
}
