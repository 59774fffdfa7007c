/* SPDX-License-Identifier: MIT */
/* Files, pipes and other descriptors: each call once for real, and what they
 * say to bad input. What is cancelled is in test_cancel_io.c. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/uio.h>

#include "descriptors.h"
#include "libc.h"
#include "mem/stack.h"
#include "runtime.h"
#include "sched/task.h"

/* A fresh folder for each test, and its descriptor. */
static char folder[] = "/tmp/zsync-test-XXXXXX";
static int directory;
static int ends[2];
static char bytes[64];

static void make_folder(void)
{
	ck_assert_ptr_nonnull(mkdtemp(folder));
	directory = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(directory, 0);
}

static void remove_folder(void)
{
	static const char *const names[] = { "file", "link", "fifo" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unlinkat(directory, names[i], 0);
	ck_assert_int_eq(rmdir(folder), 0);
}

static int open_file(int flags)
{
	int fd = zs_openat(directory, "file", flags, 0640);

	ck_assert_int_ge(fd, 0);
	return fd;
}

static int write_and_read(void *arg)
{
	int fd = open_file(O_RDWR | O_CREAT);

	(void)arg;
	ck_assert_int_eq(zs_write(fd, "hello, ", 7), 7);
	ck_assert_int_eq(zs_write(fd, "world", 5), 5);
	ck_assert_int_eq(zs_read(fd, bytes, sizeof(bytes)), 0);
	ck_assert_int_eq(lseek(fd, 5, SEEK_SET), 5);
	ck_assert_int_eq(zs_read(fd, bytes, 2), 2);
	ck_assert_int_eq(zs_read(fd, bytes + 2, sizeof(bytes) - 2), 5);
	ck_assert_str_eq(bytes, ", world");
	ck_assert_int_eq(zs_read(fd, NULL, 0), 0);
	ck_assert_int_eq(zs_write(fd, NULL, 0), 0);
	return zs_close(fd);
}

START_TEST(read_and_write_move_the_files_position)
{
	ck_assert_int_eq(run_task(write_and_read, NULL), 0);
}
END_TEST

static int pwrite_and_pread(void *arg)
{
	int fd = open_file(O_RDWR | O_CREAT);
	const int64_t far = INT64_C(5) << 30;

	(void)arg;
	ck_assert_int_eq(zs_pwrite(fd, "far", 3, far), 3);
	ck_assert_int_eq(zs_pwrite(fd, "near", 4, 0), 4);
	ck_assert_int_eq(lseek(fd, 0, SEEK_CUR), 0);
	ck_assert_int_eq(zs_pread(fd, bytes, sizeof(bytes), far), 3);
	ck_assert_mem_eq(bytes, "far", 3);
	ck_assert_int_eq(zs_pread(fd, bytes, 3, 1), 3);
	ck_assert_mem_eq(bytes, "ear", 3);
	ck_assert_int_eq(zs_pread(fd, bytes, 1, far + 3), 0);
	ck_assert_int_eq(lseek(fd, 0, SEEK_CUR), 0);
	return zs_close(fd);
}

START_TEST(pread_and_pwrite_leave_the_position_alone)
{
	ck_assert_int_eq(run_task(pwrite_and_pread, NULL), 0);
}
END_TEST

static int append(void *arg)
{
	int fd = open_file(O_RDWR | O_CREAT | O_APPEND);

	(void)arg;
	ck_assert_int_eq(zs_write(fd, "ab", 2), 2);
	ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
	ck_assert_int_eq(zs_write(fd, "cd", 2), 2);
	ck_assert_int_eq(zs_pread(fd, bytes, 8, 0), 4);
	ck_assert_str_eq(bytes, "abcd");
	return zs_close(fd);
}

START_TEST(append_goes_to_the_end)
{
	ck_assert_int_eq(run_task(append, NULL), 0);
}
END_TEST

static int open_each_way(void *arg)
{
	int fd = open_file(O_WRONLY | O_CREAT | O_EXCL | O_NONBLOCK);
	struct stat status;

	(void)arg;
	ck_assert(is_cloexec(fd));
	ck_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
	ck_assert_int_eq(fstat(fd, &status), 0);
	ck_assert_int_eq(status.st_mode, S_IFREG | 0640);
	ck_assert_int_eq(zs_write(fd, "x", 1), 1);
	ck_assert_int_eq(zs_close(fd), 0);
	ck_assert_int_eq(zs_openat(directory, "file", O_CREAT | O_EXCL, 0),
			 -EEXIST);
	ck_assert_int_eq(zs_openat(directory, "none", O_RDONLY, 0), -ENOENT);
	ck_assert_int_eq(zs_openat(directory, "", O_RDONLY, 0), -ENOENT);
	ck_assert_int_eq(zs_openat(directory, "file/x", O_RDONLY, 0), -ENOTDIR);
	ck_assert_int_eq(zs_openat(directory, ".", O_WRONLY, 0), -EISDIR);
	ck_assert_int_eq(symlinkat("file", directory, "link"), 0);
	ck_assert_int_eq(zs_openat(directory, "link", O_NOFOLLOW, 0), -ELOOP);
	fd = zs_openat(-1, "/dev/null", O_RDONLY, 0);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(zs_openat(fd, "file", O_RDONLY, 0), -ENOTDIR);
	ck_assert_int_eq(zs_close(fd), 0);
	ck_assert_int_eq(fchdir(directory), 0);
	fd = zs_openat(AT_FDCWD, "link", O_RDONLY | O_TRUNC, 0);
	ck_assert_int_eq(zs_read(fd, bytes, 1), 0);
	return zs_close(fd);
}

START_TEST(openat_takes_folder_flags_and_mode)
{
	umask(0);
	ck_assert_int_eq(run_task(open_each_way, NULL), 0);
}
END_TEST

static int ask_statx(void *arg)
{
	unsigned int mask = STATX_BASIC_STATS;
	int fd = open_file(O_WRONLY | O_CREAT);
	struct statx status;
	struct stat plain;

	(void)arg;
	ck_assert_int_eq(zs_write(fd, bytes, 10), 10);
	ck_assert_int_eq(fstat(fd, &plain), 0);
	ck_assert_int_eq(symlinkat("file", directory, "link"), 0);
	ck_assert_int_eq(zs_statx(directory, "link", 0, mask, &status), 0);
	ck_assert_uint_eq(status.stx_mask & mask, mask);
	ck_assert_uint_eq(status.stx_size, 10);
	ck_assert_uint_eq(status.stx_mode, plain.st_mode);
	ck_assert_uint_eq(status.stx_ino, plain.st_ino);
	ck_assert_uint_eq(status.stx_nlink, 1);
	ck_assert_int_eq(status.stx_mtime.tv_sec, plain.st_mtime);
	ck_assert_int_eq(zs_statx(directory, "link", AT_SYMLINK_NOFOLLOW, mask,
				  &status),
			 0);
	ck_assert(S_ISLNK(status.stx_mode));
	ck_assert_int_eq(zs_statx(fd, "", AT_EMPTY_PATH, mask, &status), 0);
	ck_assert_uint_eq(status.stx_ino, plain.st_ino);
	ck_assert_int_eq(zs_statx(directory, "none", 0, mask, &status),
			 -ENOENT);
	ck_assert_int_eq(zs_statx(directory, "file", 1 << 30, mask, &status),
			 -EINVAL);
	ck_assert_int_eq(zs_statx(-1, "/", 0, mask, &status), 0);
	return zs_close(fd);
}

START_TEST(statx_tells_what_stat_tells)
{
	ck_assert_int_eq(run_task(ask_statx, NULL), 0);
}
END_TEST

static int sync_file(void *arg)
{
	int fd = open_file(O_WRONLY | O_CREAT);

	(void)arg;
	ck_assert_int_eq(zs_write(fd, bytes, 10), 10);
	ck_assert_int_eq(zs_fdatasync(fd), 0);
	ck_assert_int_eq(zs_fsync(fd), 0);
	make_pipe(ends);
	ck_assert_int_eq(zs_fsync(ends[1]), -EINVAL);
	ck_assert_int_eq(zs_fdatasync(ends[1]), -EINVAL);
	return zs_close(fd);
}

START_TEST(files_are_synced_and_pipes_are_not)
{
	ck_assert_int_eq(run_task(sync_file, NULL), 0);
}
END_TEST

static int read_pipe(void *arg)
{
	(void)arg;
	ck_assert_int_eq(zs_read(ends[0], bytes, sizeof(bytes)), 3);
	ck_assert_mem_eq(bytes, "abc", 3);
	ck_assert_int_eq(zs_read(ends[0], bytes, sizeof(bytes)), 0);
	return zs_close(ends[0]);
}

static int write_pipe(void *arg)
{
	(void)arg;
	ck_assert_int_eq(zs_write(ends[1], "abc", 3), 3);
	return zs_close(ends[1]);
}

START_TEST(pipe_carries_bytes_and_the_end)
{
	make_pipe(ends);
	ck_assert_int_eq(run_siblings(read_pipe, write_pipe, NULL), 0);
}
END_TEST

static int fill_pipe(void *arg)
{
	fill_up(ends[1]);
	return write_pipe(arg);
}

static int empty_pipe(void *total)
{
	ssize_t count;

	do {
		count = zs_read(ends[0], bytes, sizeof(bytes));
		ck_assert_int_ge(count, 0);
		*(size_t *)total += (size_t)count;
	} while (count > 0);
	return 0;
}

START_TEST(write_waits_for_room_in_a_pipe)
{
	size_t total = 0;

	make_pipe(ends);
	ck_assert_int_gt(fcntl(ends[1], F_SETPIPE_SZ, 4096), 0);
	ck_assert_int_eq(run_siblings(fill_pipe, empty_pipe, &total), 0);
	ck_assert_uint_gt(total, 3);
}
END_TEST

static int read_socket(void *arg)
{
	(void)arg;
	ck_assert_int_eq(zs_read(ends[0], bytes, sizeof(bytes)), 2);
	ck_assert_int_eq(zs_write(ends[0], bytes, 2), 2);
	return 0;
}

static int write_socket(void *arg)
{
	(void)arg;
	ck_assert_int_eq(zs_write(ends[1], "ab", 2), 2);
	ck_assert_int_eq(zs_read(ends[1], bytes, 1), 1);
	ck_assert_int_eq(zs_read(ends[1], bytes, 8), 1);
	ck_assert_int_eq(bytes[0], 'b');
	return 0;
}

START_TEST(sockets_are_read_and_written_like_pipes)
{
	make_tcp_pair(ends);
	ck_assert_int_eq(run_siblings(read_socket, write_socket, NULL), 0);
}
END_TEST

static int read_event(void *fd)
{
	uint64_t count = 0;

	ck_assert_int_eq(zs_read(*(int *)fd, &count, sizeof(count)), 8);
	ck_assert_uint_eq(count, 7);
	return 0;
}

static int write_event(void *fd)
{
	uint64_t seven = 7;

	return zs_write(*(int *)fd, &seven, sizeof(seven)) == 8 ? 0 : -EIO;
}

START_TEST(eventfd_is_waited_for)
{
	int fd = eventfd(0, EFD_CLOEXEC);

	ck_assert_int_eq(run_siblings(read_event, write_event, &fd), 0);
}
END_TEST

/* It says of itself that it is ready, and yet is nothing that can be tried. */
static int read_pollable_file(void *name)
{
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	char first[4], second[60];
	struct iovec parts[] = { { first, 4 }, { second, 60 } };
	struct zs_cancel_token token;

	ck_assert_int_eq(zs_cancel_token_open(&token, zs_now() + ZS_SECOND), 0);
	ck_assert_int_eq(zs_read(fd, bytes, 64), 64);
	ck_assert_int_eq(zs_preadv(fd, parts, 2, 0, 0), 64);
	ck_assert_mem_eq(first, bytes, 4);
	ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
	ck_assert_int_eq(zs_readv(fd, parts, 2), 64);
	ck_assert_int_eq(zs_close(fd), 0);
	return zs_cancel_token_close(token);
}

START_TEST(files_that_can_be_polled_are_read_at_once)
{
	static char *const names[] = { "/proc/self/mountinfo",
				       "/proc/meminfo" };

	ck_assert_int_eq(run_task(read_pollable_file, names[_i]), 0);
}
END_TEST

static bool opened;

static int open_to_read(void *arg)
{
	int fd = zs_openat(directory, "fifo", O_RDONLY, 0);

	(void)arg;
	ck_assert_int_ge(fd, 0);
	opened = true;
	ck_assert_int_eq(zs_read(fd, bytes, 1), 1);
	return zs_close(fd);
}

static int open_to_write(void *arg)
{
	struct statx status;
	int fd;

	(void)arg;
	/* Two turns of the ring: time enough for an open that does not wait. */
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(zs_statx(directory, "fifo", 0, 0, &status), 0);
	ck_assert(!opened);
	fd = zs_openat(directory, "fifo", O_WRONLY, 0);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(zs_write(fd, "x", 1), 1);
	return zs_close(fd);
}

START_TEST(open_of_a_fifo_waits_for_its_peer)
{
	ck_assert_int_eq(mkfifoat(directory, "fifo", 0600), 0);
	ck_assert_int_eq(run_siblings(open_to_read, open_to_write, NULL), 0);
}
END_TEST

/* --- where the operation is that a cancel leaves to itself --- */

static struct zs_task *waiter;

static int open_fifo(void *arg)
{
	(void)arg;
	waiter = zs_self();
	return zs_openat(directory, "fifo", O_RDONLY, 0);
}

static int stat_it(void *arg)
{
	struct statx status;

	(void)arg;
	waiter = zs_self();
	return zs_statx(directory, "fifo", 0, 0, &status);
}

/* On the stack a later one could come to be at its address, and with its
 * number, before the kernel has done with it. */
static int look_at_what_is_waited_for(void *arg)
{
	const char *op = waiter->waits_on;

	(void)arg;
	/* Without threads a stat is over when it returns. */
	if (test_info().execution_model == ZS_MODEL_BLOCKING && !waiter->wait)
		return -ECANCELED;
	ck_assert_ptr_nonnull(waiter->wait);
	ck_assert_ptr_nonnull(waiter->wait->cancel);
	ck_assert(op < waiter->stack->base || op >= waiter->stack->top);
	return -ECANCELED;
}

static zs_task_fn *const path_calls[] = { open_fifo, stat_it };

START_TEST(path_operation_is_not_on_its_tasks_stack)
{
	ck_assert_int_eq(mkfifoat(directory, "fifo", 0600), 0);
	ck_assert_int_eq(run_siblings(path_calls[_i],
				      look_at_what_is_waited_for, NULL),
			 -ECANCELED);
}
END_TEST

/* Under the limit no assertion may be made: Check itself writes to a file. */
static int write_to_full(void *arg)
{
	struct rlimit limit = { 10, RLIM_INFINITY }, none;
	int fd = zs_openat(AT_FDCWD, "/dev/full", O_WRONLY, 0);
	ssize_t first, second;

	(void)arg;
	ck_assert_int_eq(zs_write(fd, "x", 1), -ENOSPC);
	ck_assert_int_eq(zs_close(fd), 0);
	fd = open_file(O_WRONLY | O_CREAT);
	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &none), 0);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	first = zs_pwrite(fd, bytes, 16, 0);
	second = zs_pwrite(fd, bytes, 16, first);
	setrlimit(RLIMIT_FSIZE, &none);
	ck_assert_int_eq(first, 10);
	ck_assert_int_eq(second, -EFBIG);
	return zs_close(fd);
}

/* A limit on the size of files raises SIGXFSZ, as it does for write(2). */
START_TEST(what_does_not_fit_is_told_after_what_fits)
{
	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(run_task(write_to_full, NULL), 0);
}
END_TEST

static int write_without_reader(void *arg)
{
	(void)arg;
	ck_assert_int_eq(zs_write(ends[1], "x", 1), -EPIPE);
	return 0;
}

START_TEST(a_pipe_without_reader_is_told)
{
	signal(SIGPIPE, SIG_IGN);
	make_pipe(ends);
	close(ends[0]);
	ck_assert_int_eq(run_task(write_without_reader, NULL), 0);
}
END_TEST

static int disturb_errno(void *arg)
{
	(void)arg;
	errno = EXDEV;
	ck_assert_int_eq(zs_write(ends[1], "x", 1), 1);
	ck_assert_int_eq(errno, EXDEV);
	return 0;
}

static int keep_errno(void *arg)
{
	struct statx status;
	int fd;

	(void)arg;
	errno = ERANGE;
	ck_assert_int_eq(zs_read(ends[0], bytes, 1), 1);
	ck_assert_int_eq(errno, ERANGE);
	fd = open_file(O_RDWR | O_CREAT);
	ck_assert_int_eq(zs_openat(directory, "none", O_RDONLY, 0), -ENOENT);
	ck_assert_int_eq(zs_statx(directory, "none", 0, 0, &status), -ENOENT);
	ck_assert_int_eq(zs_pwrite(fd, "x", 1, 0), 1);
	ck_assert_int_eq(zs_pread(fd, NULL, 1, 0), -EINVAL);
	ck_assert_int_eq(zs_fsync(fd), 0);
	ck_assert_int_eq(zs_fdatasync(-1), -EBADF);
	ck_assert_int_eq(zs_close(fd), 0);
	ck_assert_int_eq(zs_close(fd), -EBADF);
	ck_assert_int_eq(errno, ERANGE);
	return 0;
}

START_TEST(errno_stays_the_tasks_own)
{
	make_pipe(ends);
	ck_assert_int_eq(run_siblings(keep_errno, disturb_errno, NULL), 0);
}
END_TEST

static Suite *file_suite(void)
{
	Suite *suite = suite_create("file");
	TCase *tests = tcase_create("file");

	tcase_add_checked_fixture(tests, make_folder, remove_folder);
	tcase_add_test(tests, read_and_write_move_the_files_position);
	tcase_add_test(tests, pread_and_pwrite_leave_the_position_alone);
	tcase_add_test(tests, append_goes_to_the_end);
	tcase_add_test(tests, openat_takes_folder_flags_and_mode);
	tcase_add_test(tests, statx_tells_what_stat_tells);
	tcase_add_test(tests, files_are_synced_and_pipes_are_not);
	tcase_add_test(tests, pipe_carries_bytes_and_the_end);
	tcase_add_test(tests, write_waits_for_room_in_a_pipe);
	tcase_add_test(tests, sockets_are_read_and_written_like_pipes);
	tcase_add_test(tests, eventfd_is_waited_for);
	tcase_add_loop_test(tests, files_that_can_be_polled_are_read_at_once, 0,
			    2);
	tcase_add_test(tests, open_of_a_fifo_waits_for_its_peer);
	tcase_add_loop_test(tests, path_operation_is_not_on_its_tasks_stack, 0,
			    2);
	tcase_add_test(tests, what_does_not_fit_is_told_after_what_fits);
	tcase_add_test(tests, a_pipe_without_reader_is_told);
	tcase_add_test(tests, errno_stays_the_tasks_own);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(file_suite());
}
