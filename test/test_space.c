/* SPDX-License-Identifier: MIT */
/* A file's size, its room on the disk, and advice about files and memory: on a
 * disk and in memory, by the ring and where it lacks the operations. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "descriptors.h"
#include "folder.h"
#include "runtime.h"

#define OPERATIONS "fallocate,ftruncate,fadvise,madvise,sync_file_range"
#define FAR (INT64_C(5) << 30)

static int ends[2];

static int open_file(int flags)
{
	int fd = openat(directory, "file", flags | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	return fd;
}

static int64_t size_of(int fd)
{
	struct stat status;

	ck_assert_int_eq(fstat(fd, &status), 0);
	return status.st_size;
}

static int truncate_file(void *arg)
{
	int fd = open_file(O_RDWR | O_CREAT), reader = open_file(O_RDONLY);
	char bytes[8];

	(void)arg;
	ck_assert_int_eq(write(fd, "abcdefgh", 8), 8);
	ck_assert_int_eq(zs_ftruncate(fd, 3), 0);
	ck_assert_int_eq(size_of(fd), 3);
	ck_assert_int_eq(zs_ftruncate(fd, 6), 0);
	ck_assert_int_eq(pread(fd, bytes, 8, 0), 6);
	ck_assert_mem_eq(bytes, "abc\0\0\0", 6);
	ck_assert_int_eq(zs_ftruncate(fd, FAR), 0);
	ck_assert_int_eq(size_of(fd), FAR);
	ck_assert_int_eq(zs_ftruncate(fd, 0), 0);
	ck_assert_int_eq(size_of(fd), 0);
	ck_assert_int_eq(zs_ftruncate(fd, -1), -EINVAL);
	ck_assert_int_eq(zs_ftruncate(fd, INT64_MIN), -EINVAL);
	ck_assert_int_eq(zs_ftruncate(reader, 1), -EINVAL);
	ck_assert_int_eq(zs_ftruncate(ends[1], 1), -EINVAL);
	ck_assert_int_eq(zs_ftruncate(-1, 1), -EBADF);
	ck_assert_int_eq(zs_ftruncate(closed_fd(), 1), -EBADF);
	close(reader);
	return zs_close(fd);
}

START_TEST(ftruncate_cuts_and_extends)
{
	signal(SIGXFSZ, SIG_IGN);
	make_folder(_i, OPERATIONS);
	make_pipe(ends);
	ck_assert_int_eq(run_task(truncate_file, NULL), 0);
}
END_TEST

static int allocate(void *arg)
{
	int fd = open_file(O_RDWR | O_CREAT), reader = open_file(O_RDONLY);
	char bytes[4];
	struct stat status;

	(void)arg;
	ck_assert_int_eq(zs_fallocate(fd, 0, 1000, 100000), 0);
	ck_assert_int_eq(fstat(fd, &status), 0);
	ck_assert_int_eq(status.st_size, 101000);
	ck_assert_int_ge(status.st_blocks * 512, 100000);
	ck_assert_int_eq(zs_fallocate(fd, FALLOC_FL_KEEP_SIZE, FAR, 4096), 0);
	ck_assert_int_eq(size_of(fd), 101000);
	ck_assert_int_eq(zs_fallocate(fd, 0, FAR, 4096), 0);
	ck_assert_int_eq(size_of(fd), FAR + 4096);
	ck_assert_int_eq(pwrite(fd, "abcd", 4, FAR), 4);
	ck_assert_int_eq(
		zs_fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			     FAR + 1, 2),
		0);
	ck_assert_int_eq(pread(fd, bytes, 4, FAR), 4);
	ck_assert_mem_eq(bytes, "a\0\0d", 4);
	ck_assert_int_eq(zs_fallocate(fd, 0, -1, 1), -EINVAL);
	ck_assert_int_eq(zs_fallocate(fd, 0, 0, 0), -EINVAL);
	ck_assert_int_eq(zs_fallocate(fd, 0, 0, -1), -EINVAL);
	ck_assert_int_eq(zs_fallocate(fd, 0, INT64_MAX, 1), -EFBIG);
	ck_assert_int_eq(zs_fallocate(fd, 1 << 30, 0, 1), -EOPNOTSUPP);
	ck_assert_int_eq(zs_fallocate(reader, 0, 0, 1), -EBADF);
	ck_assert_int_eq(zs_fallocate(ends[1], 0, 0, 1), -ESPIPE);
	ck_assert_int_eq(zs_fallocate(-1, 0, 0, 1), -EBADF);
	close(reader);
	return zs_close(fd);
}

START_TEST(fallocate_takes_and_gives_back_room)
{
	signal(SIGXFSZ, SIG_IGN);
	make_folder(_i, OPERATIONS);
	make_pipe(ends);
	ck_assert_int_eq(run_task(allocate, NULL), 0);
}
END_TEST

static int allocate_too_much(void *arg)
{
	int fd = open_file(O_RDWR | O_CREAT);

	(void)arg;
	ck_assert_int_eq(zs_fallocate(fd, 0, 0, 1 << 20), -ENOSPC);
	ck_assert_int_eq(size_of(fd), 0);
	ck_assert_int_eq(zs_fallocate(fd, 0, 0, 1 << 15), 0);
	ck_assert_int_eq(zs_ftruncate(fd, FAR), 0);
	return zs_close(fd);
}

START_TEST(a_full_file_system_is_told)
{
	make_folder(_i & VARIANT_MASKED, OPERATIONS);
	if (!mount_tiny("size=64k", __func__))
		return;
	ck_assert_int_eq(run_task(allocate_too_much, NULL), 0);
	unmount_tiny();
}
END_TEST

/* Advice shows nowhere, so that results are all that there is. */
static int advise(void *arg)
{
	static const int advices[] = {
		POSIX_FADV_NORMAL,   POSIX_FADV_RANDOM,	 POSIX_FADV_SEQUENTIAL,
		POSIX_FADV_WILLNEED, POSIX_FADV_NOREUSE, POSIX_FADV_DONTNEED
	};
	int fd = open_file(O_RDWR | O_CREAT);

	(void)arg;
	ck_assert_int_eq(ftruncate(fd, FAR + 5), 0);
	for (size_t i = 0; i < sizeof(advices) / sizeof(*advices); i++) {
		ck_assert_int_eq(zs_fadvise(fd, 0, 0, advices[i]), 0);
		ck_assert_int_eq(zs_fadvise(fd, FAR, 5, advices[i]), 0);
		ck_assert_int_eq(zs_fadvise(fd, 1, UINT32_MAX, advices[i]), 0);
	}
	ck_assert_int_eq(zs_fadvise(fd, 1, FAR, POSIX_FADV_DONTNEED), 0);
	ck_assert_int_eq(zs_fadvise(fd, 0, INT64_MAX, POSIX_FADV_RANDOM), 0);
	ck_assert_int_eq(zs_fadvise(fd, 0, 1, 1 << 20), -EINVAL);
	ck_assert_int_eq(zs_fadvise(fd, 0, FAR, 1 << 20), -EINVAL);
	ck_assert_int_eq(zs_fadvise(fd, 0, -1, POSIX_FADV_NORMAL), -EINVAL);
	ck_assert_int_eq(zs_fadvise(fd, -1, 0, POSIX_FADV_NORMAL), -EINVAL);
	ck_assert_int_eq(zs_fadvise(ends[0], 0, 0, POSIX_FADV_NORMAL), -ESPIPE);
	ck_assert_int_eq(zs_fadvise(-1, 0, 0, POSIX_FADV_NORMAL), -EBADF);
	return zs_close(fd);
}

START_TEST(fadvise_takes_each_advice_and_any_range)
{
	make_folder(_i, OPERATIONS);
	make_pipe(ends);
	ck_assert_int_eq(run_task(advise, NULL), 0);
}
END_TEST

static int sync_ranges(void *arg)
{
	const unsigned int all = SYNC_FILE_RANGE_WAIT_BEFORE |
				 SYNC_FILE_RANGE_WRITE |
				 SYNC_FILE_RANGE_WAIT_AFTER;
	int fd = open_file(O_RDWR | O_CREAT);

	(void)arg;
	ck_assert_int_eq(pwrite(fd, "far", 3, FAR), 3);
	ck_assert_int_eq(zs_sync_file_range(fd, FAR, 3, all), 0);
	ck_assert_int_eq(zs_sync_file_range(fd, 0, 0, all), 0);
	ck_assert_int_eq(zs_sync_file_range(fd, 0, FAR + 3, all), 0);
	ck_assert_int_eq(zs_sync_file_range(fd, 0, 0, 0), 0);
	ck_assert_int_eq(zs_sync_file_range(fd, 0, 0, 1u << 20), -EINVAL);
	ck_assert_int_eq(zs_sync_file_range(fd, -1, 0, all), -EINVAL);
	ck_assert_int_eq(zs_sync_file_range(fd, 0, -1, all), -EINVAL);
	ck_assert_int_eq(zs_sync_file_range(fd, INT64_MAX, INT64_MAX, all),
			 -EINVAL);
	ck_assert_int_eq(zs_sync_file_range(ends[0], 0, 0, all), -ESPIPE);
	ck_assert_int_eq(zs_sync_file_range(-1, 0, 0, all), -EBADF);
	return zs_close(fd);
}

START_TEST(sync_file_range_takes_any_range)
{
	make_folder(_i, OPERATIONS);
	make_pipe(ends);
	ck_assert_int_eq(run_task(sync_ranges, NULL), 0);
}
END_TEST

static int drop_memory(void *arg)
{
	/* More than an entry of the ring can say. */
	const size_t much = (size_t)9 << 30;
	char *memory = mmap(NULL, much, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	(void)arg;
	ck_assert_ptr_ne(memory, MAP_FAILED);
	memory[0] = 'x';
	memory[much - 1] = 'y';
	ck_assert_int_eq(zs_madvise(memory, 4096, MADV_DONTNEED), 0);
	ck_assert_int_eq(memory[0], 0);
	ck_assert_int_eq(memory[much - 1], 'y');
	ck_assert_int_eq(zs_madvise(memory, much, MADV_DONTNEED), 0);
	ck_assert_int_eq(memory[much - 1], 0);
	ck_assert_int_eq(zs_madvise(memory, 0, MADV_DONTNEED), 0);
	ck_assert_int_eq(zs_madvise(memory, 4096, 1 << 20), -EINVAL);
	ck_assert_int_eq(zs_madvise(memory + 1, 4096, MADV_DONTNEED), -EINVAL);
	ck_assert_int_eq(munmap(memory, much), 0);
	ck_assert_int_eq(zs_madvise(memory, 4096, MADV_DONTNEED), -ENOMEM);
	return 0;
}

START_TEST(madvise_drops_memory)
{
	make_folder(_i & VARIANT_MASKED, OPERATIONS);
	ck_assert_int_eq(run_task(drop_memory, NULL), 0);
}
END_TEST

/* An entry that is not like its op must leave nothing to the next use of its
 * place in the queue. */
static int mix_operations(void *arg)
{
	int fd = open_file(O_RDWR | O_CREAT);

	(void)arg;
	for (int i = 0; i < 100; i++) {
		ck_assert_int_eq(zs_pwrite(fd, "abc", 3, FAR + i), 3);
		ck_assert_int_eq(zs_fadvise(fd, FAR, 1, POSIX_FADV_NORMAL), 0);
		ck_assert_int_eq(zs_sync_file_range(fd, FAR, 1, 0), 0);
		ck_assert_int_eq(zs_ftruncate(fd, FAR + i), 0);
		ck_assert_int_eq(zs_fsync(-1), -EBADF);
		ck_assert_int_eq(size_of(fd), FAR + i);
	}
	return zs_close(fd);
}

START_TEST(entries_of_all_kinds_follow_each_other)
{
	struct zs_config config = test_config();

	make_folder(_i, OPERATIONS);
	config.queue_depth = 4;
	ck_assert_int_eq(run_task_with(&config, mix_operations, NULL), 0);
}
END_TEST

static int advise_often(void *fd)
{
	for (int i = 0; i < 20; i++)
		ck_assert_int_eq(
			zs_fadvise(*(int *)fd, i, 1, POSIX_FADV_RANDOM), 0);
	return 0;
}

static int advise_from_many(void *arg)
{
	int fd = open_file(O_RDWR | O_CREAT);
	struct zs_nursery nursery;

	(void)arg;
	ck_assert_int_eq(zs_nursery_open(&nursery, NULL), 0);
	for (int i = 0; i < 20; i++)
		ck_assert_int_eq(zs_nursery_spawn(nursery, advise_often, &fd),
				 0);
	ck_assert_int_eq(zs_nursery_wait(nursery), 0);
	return zs_close(fd);
}

START_TEST(more_tasks_than_entries_are_served)
{
	struct zs_config config = test_config();

	make_folder(_i, OPERATIONS);
	config.queue_depth = 4;
	ck_assert_int_eq(run_task_with(&config, advise_from_many, NULL), 0);
}
END_TEST

/* --- where nothing is to be done --- */

enum { NR_CALLS = 5 };

static int call_each(int call, int fd)
{
	switch (call) {
	case 0:
		return zs_ftruncate(fd, 0);
	case 1:
		return zs_fallocate(fd, 0, 0, 100);
	case 2:
		return zs_fadvise(fd, 0, 0, POSIX_FADV_NORMAL);
	case 3:
		return zs_sync_file_range(fd, 0, 0, 0);
	default:
		return zs_madvise(NULL, 0, MADV_NORMAL);
	}
}

START_TEST(outside_a_task_every_call_is_refused)
{
	int fd;

	make_folder(0, "");
	fd = open_file(O_RDWR | O_CREAT);
	ck_assert_int_eq(write(fd, "abc", 3), 3);
	errno = ERANGE;
	ck_assert_int_eq(call_each(_i, fd), -EPERM);
	ck_assert_int_eq(errno, ERANGE);
	ck_assert_int_eq(size_of(fd), 3);
}
END_TEST

static int call_in_cancelled_scope(void *call)
{
	struct zs_cancel_token token;
	int fd = open_file(O_RDWR | O_CREAT);

	ck_assert_int_eq(write(fd, "abc", 3), 3);
	errno = ERANGE;
	ck_assert_int_eq(zs_cancel_token_open(&token, ZS_NEVER), 0);
	ck_assert_int_eq(zs_cancel_token_cancel(token), 0);
	ck_assert_int_eq(call_each(*(int *)call, fd), -ECANCELED);
	ck_assert_int_eq(zs_cancel_token_close(token), -ECANCELED);
	ck_assert_int_eq(zs_cancel_token_open(&token, zs_now() - 1), 0);
	ck_assert_int_eq(zs_sleep_until(ZS_NEVER), -ETIMEDOUT);
	ck_assert_int_eq(call_each(*(int *)call, fd), -ETIMEDOUT);
	ck_assert_int_eq(zs_cancel_token_close(token), -ETIMEDOUT);
	ck_assert_int_eq(errno, ERANGE);
	ck_assert_int_eq(size_of(fd), 3);
	return zs_close(fd);
}

START_TEST(in_a_cancelled_scope_nothing_is_begun)
{
	int call = _i;

	make_folder(0, "");
	ck_assert_int_eq(run_task(call_in_cancelled_scope, &call), 0);
}
END_TEST

static Suite *space_suite(void)
{
	Suite *suite = suite_create("space");
	TCase *tests = tcase_create("space");
	const TTest *const in_each_variant[] = {
		ftruncate_cuts_and_extends,
		fallocate_takes_and_gives_back_room,
		a_full_file_system_is_told,
		fadvise_takes_each_advice_and_any_range,
		sync_file_range_takes_any_range,
		madvise_drops_memory,
		entries_of_all_kinds_follow_each_other,
		more_tasks_than_entries_are_served,
	};
	size_t i;

	tcase_add_checked_fixture(tests, NULL, remove_folder);
	for (i = 0; i < sizeof(in_each_variant) / sizeof(*in_each_variant); i++)
		tcase_add_loop_test(tests, in_each_variant[i], 0, NR_VARIANTS);
	tcase_add_loop_test(tests, outside_a_task_every_call_is_refused, 0,
			    NR_CALLS);
	tcase_add_loop_test(tests, in_a_cancelled_scope_nothing_is_begun, 0,
			    NR_CALLS);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(space_suite());
}
