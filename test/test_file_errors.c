/* SPDX-License-Identifier: MIT */
/* What the calls of file.h say to bad arguments and wrong descriptors. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "descriptors.h"
#include "libc.h"
#include "runtime.h"

static char bytes[64];
static struct statx status;

/* Every call, with arguments that are good but for @fd. */
static int do_openat(int fd)
{
	return zs_openat(fd, "file", O_RDONLY, 0);
}

static int do_statx(int fd)
{
	return zs_statx(fd, "file", 0, STATX_SIZE, &status);
}

static int do_read(int fd)
{
	return (int)zs_read(fd, bytes, 1);
}

static int do_write(int fd)
{
	return (int)zs_write(fd, bytes, 1);
}

static int do_pread(int fd)
{
	return (int)zs_pread(fd, bytes, 1, 0);
}

static int do_pwrite(int fd)
{
	return (int)zs_pwrite(fd, bytes, 1, 0);
}

static int (*const calls[])(int fd) = {
	do_openat, do_statx, do_read,	   do_write, do_pread,
	do_pwrite, zs_fsync, zs_fdatasync, zs_close,
};
enum { NR_CALLS = sizeof(calls) / sizeof(calls[0]) };

/* The file has something to read, so that nobody could tell by waiting. */
START_TEST(outside_a_task_every_call_is_refused)
{
	int fd = open("/dev/zero", O_RDWR | O_CLOEXEC);
	int before = next_fd();

	ck_assert_int_ge(fd, 0);
	errno = ERANGE;
	ck_assert_int_eq(calls[_i](fd), -EPERM);
	ck_assert_int_eq(errno, ERANGE);
	ck_assert(is_open(fd));
	ck_assert_int_eq(next_fd(), before);
}
END_TEST

static int use_bad_fds(void *call)
{
	int (*fn)(int) = *(int (**)(int))call;

	ck_assert_int_eq(fn(-1), -EBADF);
	ck_assert_int_eq(fn(INT_MIN), -EBADF);
	ck_assert_int_eq(fn(INT_MAX), -EBADF);
	ck_assert_int_eq(fn(closed_fd()), -EBADF);
	return 0;
}

START_TEST(bad_descriptors_are_told)
{
	ck_assert_int_eq(run_task(use_bad_fds, (void *)&calls[_i]), 0);
}
END_TEST

static const size_t bad_lengths[] = { (size_t)INT_MAX + 1, SIZE_MAX,
				      (size_t)-1 / 2, UINT32_MAX,
				      (size_t)UINT32_MAX + 2 };

static int use_bad_buffers(void *arg)
{
	int fd = *(int *)arg;
	size_t length;

	for (size_t i = 0; i < sizeof(bad_lengths) / sizeof(length); i++) {
		length = bad_lengths[i];
		ck_assert_int_eq(zs_read(fd, bytes, length), -EINVAL);
		ck_assert_int_eq(zs_write(fd, bytes, length), -EINVAL);
		ck_assert_int_eq(zs_pread(fd, bytes, length, 0), -EINVAL);
		ck_assert_int_eq(zs_pwrite(fd, bytes, length, 0), -EINVAL);
	}
	ck_assert_int_eq(zs_read(fd, NULL, 1), -EINVAL);
	ck_assert_int_eq(zs_write(fd, NULL, 1), -EINVAL);
	ck_assert_int_eq(zs_pread(fd, NULL, 1, 0), -EINVAL);
	ck_assert_int_eq(zs_pwrite(fd, NULL, 1, 0), -EINVAL);
	ck_assert_int_eq(zs_read(fd, (void *)1, 1), -EFAULT);
	return 0;
}

START_TEST(bad_buffers_are_refused)
{
	int fd = open("/dev/zero", O_RDWR | O_CLOEXEC);

	ck_assert_int_eq(run_task(use_bad_buffers, &fd), 0);
}
END_TEST

static int use_bad_offsets(void *arg)
{
	int fd = *(int *)arg;

	ck_assert_int_eq(zs_pread(fd, bytes, 1, -1), -EINVAL);
	ck_assert_int_eq(zs_pwrite(fd, bytes, 1, -1), -EINVAL);
	ck_assert_int_eq(zs_pread(fd, bytes, 1, INT64_MIN), -EINVAL);
	ck_assert_int_eq(zs_pwrite(fd, bytes, 1, INT64_MIN), -EINVAL);
	return 0;
}

START_TEST(negative_offsets_are_refused)
{
	int fd = open("/dev/zero", O_RDWR | O_CLOEXEC);

	ck_assert_int_eq(run_task(use_bad_offsets, &fd), 0);
}
END_TEST

/* Of the path's two pages the second, or both, can only be looked at by who
 * wants to end. */
static int use_unreadable_path(void *arg)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *path = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t kept = *(int *)arg ? page : 0;

	ck_assert_ptr_ne(path, MAP_FAILED);
	memset(path, '/', 2 * page);
	ck_assert_int_eq(mprotect(path + kept, 2 * page - kept, PROT_NONE), 0);
	path += page - 2;
	ck_assert_int_eq(zs_openat(AT_FDCWD, path, O_RDONLY, 0), -EFAULT);
	ck_assert_int_eq(zs_statx(AT_FDCWD, path, 0, 0, &status), -EFAULT);
	return 0;
}

START_TEST(paths_that_cannot_be_read_are_refused)
{
	ck_assert_int_eq(run_task(use_unreadable_path, &_i), 0);
}
END_TEST

static int use_bad_paths(void *arg)
{
	static char endless[PATH_MAX + 2];
	void *nowhere = (void *)1;

	(void)arg;
	memset(endless, '/', sizeof(endless) - 1);
	ck_assert_int_eq(zs_openat(AT_FDCWD, NULL, O_RDONLY, 0), -EINVAL);
	ck_assert_int_eq(zs_openat(AT_FDCWD, nowhere, O_RDONLY, 0), -EFAULT);
	ck_assert_int_eq(zs_openat(AT_FDCWD, endless, O_RDONLY, 0),
			 -ENAMETOOLONG);
	ck_assert_int_eq(zs_statx(AT_FDCWD, NULL, 0, 0, &status), -EINVAL);
	ck_assert_int_eq(zs_statx(AT_FDCWD, "/", 0, 0, NULL), -EINVAL);
	ck_assert_int_eq(zs_statx(AT_FDCWD, nowhere, 0, 0, &status), -EFAULT);
	return 0;
}

START_TEST(bad_paths_are_refused_and_leave_no_descriptor)
{
	int before = next_fd();

	ck_assert_int_eq(run_task(use_bad_paths, NULL), 0);
	ck_assert_int_eq(next_fd(), before);
}
END_TEST

static int use_wrong_ways(void *arg)
{
	int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int pair[2];

	(void)arg;
	ck_assert_int_eq(zs_read(fd, bytes, 1), -EISDIR);
	ck_assert_int_eq(zs_write(fd, bytes, 1), -EBADF);
	close(fd);
	make_pipe(pair);
	ck_assert_int_eq(zs_read(pair[1], bytes, 1), -EBADF);
	ck_assert_int_eq(zs_write(pair[0], bytes, 1), -EBADF);
	close(pair[0]);
	close(pair[1]);
	return 0;
}

START_TEST(descriptors_are_used_as_they_were_opened)
{
	ck_assert_int_eq(run_task(use_wrong_ways, NULL), 0);
}
END_TEST

static int close_twice(void *arg)
{
	int fd = dup(STDIN_FILENO);

	(void)arg;
	ck_assert_int_eq(zs_close(fd), 0);
	ck_assert(!is_open(fd));
	ck_assert_int_eq(zs_close(fd), -EBADF);
	return 0;
}

START_TEST(a_closed_descriptor_is_closed)
{
	ck_assert_int_eq(run_task(close_twice, NULL), 0);
}
END_TEST

/* --- a file's own EAGAIN, as cgroup's memory.reclaim has it --- */

static _Atomic int nr_refused;

ssize_t __wrap_readv(int fd, const struct iovec *parts, int count);
ssize_t __wrap_writev(int fd, const struct iovec *parts, int count);

static ssize_t refuse(void)
{
	nr_refused++;
	errno = EAGAIN;
	return -1;
}

/* In the place of libc's; see the Kbuild. */
ssize_t __wrap_readv(int fd, const struct iovec *parts, int count)
{
	(void)fd;
	(void)parts;
	(void)count;
	return refuse();
}

ssize_t __wrap_writev(int fd, const struct iovec *parts, int count)
{
	(void)fd;
	(void)parts;
	(void)count;
	return refuse();
}

static int use_refusing_file(void *arg)
{
	ssize_t (*const move)(int, const struct iovec *, int) =
		*(const bool *)arg ? zs_writev : zs_readv;
	struct iovec part = { bytes, 1 };
	struct zs_cancel_token token;
	int fd = memfd_create("refusing", MFD_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(zs_cancel_token_open(&token, zs_now() + ZS_SECOND / 4),
			 0);
	ck_assert_int_eq(move(fd, &part, 1), -EAGAIN);
	ck_assert_int_eq(nr_refused, 1);
	ck_assert_int_eq(zs_cancel_token_close(token), 0);
	return zs_close(fd);
}

/* On a ring without such calls, too. */
START_TEST(a_files_own_eagain_is_told_at_once)
{
	bool is_write = _i;

	ck_assert_int_eq(setenv("ZSYNC_DISABLE", "readv,writev", 1), 0);
	ck_assert_int_eq(run_task(use_refusing_file, &is_write), 0);
}
END_TEST

static Suite *file_errors_suite(void)
{
	Suite *suite = suite_create("file_errors");
	TCase *tests = tcase_create("file_errors");

	tcase_add_loop_test(tests, outside_a_task_every_call_is_refused, 0,
			    NR_CALLS);
	tcase_add_loop_test(tests, bad_descriptors_are_told, 0, NR_CALLS);
	tcase_add_test(tests, bad_buffers_are_refused);
	tcase_add_test(tests, negative_offsets_are_refused);
	tcase_add_test(tests, bad_paths_are_refused_and_leave_no_descriptor);
	tcase_add_loop_test(tests, paths_that_cannot_be_read_are_refused, 0, 2);
	tcase_add_test(tests, descriptors_are_used_as_they_were_opened);
	tcase_add_test(tests, a_closed_descriptor_is_closed);
	tcase_add_loop_test(tests, a_files_own_eagain_is_told_at_once, 0, 2);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(file_errors_suite());
}
