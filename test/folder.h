/* SPDX-License-Identifier: MIT */
/*
 * A fresh folder for a test of files, on a disk's file system or in memory, and
 * a kernel whose ring has what it has or lacks the operations that are tested:
 * by the number of a loop test, of which there are NR_VARIANTS.
 */
#ifndef ZS_TEST_FOLDER_H
#define ZS_TEST_FOLDER_H

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

enum { VARIANT_IN_MEMORY = 1, VARIANT_MASKED = 2, NR_VARIANTS = 4 };

static char folder[64];
static int directory; /* O_PATH, so that a number can be closed and reused */

/* @operations: names for ZSYNC_DISABLE. */
static inline void make_folder(int variant, const char *operations)
{
	static const char name[] = "zsync-test-XXXXXX";

	snprintf(folder, sizeof(folder), "/dev/shm/%s", name);
	if (!(variant & VARIANT_IN_MEMORY) || access("/dev/shm", W_OK) < 0)
		snprintf(folder, sizeof(folder), "/tmp/%s", name);
	ck_assert_ptr_nonnull(mkdtemp(folder));
	directory = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(directory, 0);
	if (variant & VARIANT_MASKED)
		ck_assert_int_eq(setenv("ZSYNC_DISABLE", operations, 1), 0);
}

static inline int remove_one(const char *path, const struct stat *status,
			     int type, struct FTW *walk)
{
	(void)status;
	(void)type;
	(void)walk;
	return remove(path);
}

static inline void remove_folder(void)
{
	ck_assert_int_eq(close(directory), 0);
	ck_assert_int_eq(nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

/* Mounts a file system in memory over the folder, for this process alone, and
 * makes it the folder. False, and a line that says why, where that is not
 * allowed. */
static inline bool mount_tiny(const char *options, const char *test)
{
	if (unshare(CLONE_NEWNS) < 0 ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", folder, "tmpfs", 0, options) < 0) {
		printf("SKIP: %s: no tmpfs can be mounted: %s\n", test,
		       strerror(errno));
		return false;
	}
	close(directory);
	directory = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(directory, 0);
	return true;
}

/* Before remove_folder(). */
static inline void unmount_tiny(void)
{
	ck_assert_int_eq(close(directory), 0);
	ck_assert_int_eq(umount2(folder, MNT_DETACH), 0);
	directory = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

#endif
