/* SPDX-License-Identifier: MIT */
/* Transfers with several buffers, and transfers that go on until all is moved:
 * files on a disk and in memory, pipes, sockets. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "descriptors.h"
#include "folder.h"
#include "runtime.h"

#define OPERATIONS "readv,writev"
#define FAR (INT64_C(5) << 30)

enum { MOST = 1024, BULK = 300000, IS_NOWAIT = 0x8, IS_HIGH_PRIORITY = 0x1 };

static int ends[2];
static char bytes[64];
static char bulk[BULK], received[BULK];

static struct iovec part(void *base, size_t length)
{
	return (struct iovec){ .iov_base = base, .iov_len = length };
}

static int open_file(int flags)
{
	int fd = openat(directory, "file", flags | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	return fd;
}

/* --- several buffers --- */

static int move_by_position(void *arg)
{
	char first[2], second[3], third[10] = "";
	int fd = open_file(O_RDWR | O_CREAT);
	struct iovec out[] = { part("he", 2), part(NULL, 0), part("llo", 3) };
	struct iovec in[] = { part(first, 2), part(second, 3),
			      part(third, sizeof(third)) };

	(void)arg;
	ck_assert_int_eq(zs_writev(fd, out, 3), 5);
	ck_assert_int_eq(zs_writev(fd, out, 1), 2);
	ck_assert_int_eq(lseek(fd, 0, SEEK_CUR), 7);
	ck_assert_int_eq(zs_readv(fd, in, 3), 0);
	ck_assert_int_eq(lseek(fd, 1, SEEK_SET), 1);
	ck_assert_int_eq(zs_readv(fd, in, 3), 6);
	ck_assert_mem_eq(first, "el", 2);
	ck_assert_mem_eq(second, "loh", 3);
	ck_assert_str_eq(third, "e");
	ck_assert_int_eq(zs_readv(fd, in, 0), 0);
	ck_assert_int_eq(zs_readv(fd, NULL, 0), 0);
	ck_assert_int_eq(zs_writev(fd, NULL, 0), 0);
	return zs_close(fd);
}

START_TEST(vectors_move_the_files_position)
{
	make_folder(_i, OPERATIONS);
	ck_assert_int_eq(run_task(move_by_position, NULL), 0);
}
END_TEST

static int move_by_offset(void *arg)
{
	char first[2], second[8];
	int fd = open_file(O_RDWR | O_CREAT);
	struct iovec out[] = { part("fa", 2), part("r", 1) };
	struct iovec in[] = { part(first, 2), part(second, 8) };

	(void)arg;
	ck_assert_int_eq(zs_pwritev(fd, out, 2, FAR, 0), 3);
	ck_assert_int_eq(zs_preadv(fd, in, 2, FAR, 0), 3);
	ck_assert_mem_eq(first, "fa", 2);
	ck_assert_int_eq(second[0], 'r');
	ck_assert_int_eq(zs_preadv(fd, in, 2, FAR + 2, 0), 1);
	ck_assert_int_eq(first[0], 'r');
	ck_assert_int_eq(zs_preadv(fd, in, 2, FAR + 3, 0), 0);
	ck_assert_int_eq(zs_preadv(fd, in, 2, 0, 0), 10);
	ck_assert_mem_eq(second, "\0\0\0\0\0\0\0", 8);
	ck_assert_int_eq(lseek(fd, 0, SEEK_CUR), 0);
	return zs_close(fd);
}

START_TEST(vectors_are_moved_beyond_4_gib)
{
	make_folder(_i, OPERATIONS);
	ck_assert_int_eq(run_task(move_by_offset, NULL), 0);
}
END_TEST

static int append_vectors(void *arg)
{
	int fd = open_file(O_RDWR | O_CREAT | O_APPEND);
	struct iovec out[] = { part("a", 1), part("b", 1) };

	(void)arg;
	ck_assert_int_eq(zs_writev(fd, out, 2), 2);
	ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
	ck_assert_int_eq(zs_writev(fd, out, 1), 1);
	ck_assert_int_eq(zs_pwritev(fd, out + 1, 1, 0, 0), 1);
	ck_assert_int_eq(pread(fd, bytes, 8, 0), 4);
	ck_assert_mem_eq(bytes, "abab", 4);
	return zs_close(fd);
}

START_TEST(vectors_are_appended)
{
	make_folder(_i, OPERATIONS);
	ck_assert_int_eq(run_task(append_vectors, NULL), 0);
}
END_TEST

/* All that one call may name, of which each buffer gets its own bytes. */
static int move_most(void *arg)
{
	static struct iovec out[MOST + 1], in[MOST + 1];
	int fd = open_file(O_RDWR | O_CREAT);
	const size_t each = 257;

	(void)arg;
	for (size_t i = 0; i <= MOST; i++) {
		out[i] = part(bulk + i * each, each);
		in[i] = part(received + i * each, each);
	}
	ck_assert_int_eq(zs_pwritev(fd, out, MOST, 0, 0), MOST * 257);
	ck_assert_int_eq(zs_preadv(fd, in, MOST, 0, 0), MOST * 257);
	ck_assert(memcmp(bulk, received, MOST * each) == 0);
	ck_assert_int_eq(zs_preadv(fd, in, MOST + 1, 0, 0), -EINVAL);
	ck_assert_int_eq(zs_pwritev(fd, out, MOST + 1, 0, 0), -EINVAL);
	return zs_close(fd);
}

static void fill_bulk(void)
{
	for (size_t i = 0; i < BULK; i++)
		bulk[i] = (char)(i * 7 + i / 251);
}

START_TEST(a_vector_has_up_to_1024_buffers)
{
	make_folder(_i, OPERATIONS);
	fill_bulk();
	ck_assert_int_eq(run_task(move_most, NULL), 0);
}
END_TEST

/* Pipes ignore an offset. */
static bool is_socket;

static int read_parts(void *arg)
{
	char first[1], second[8];
	struct iovec in[] = { part(first, 1), part(second, 8) };

	(void)arg;
	ck_assert_int_eq(zs_readv(ends[0], in, 2), 3);
	ck_assert_int_eq(first[0], 'a');
	ck_assert_mem_eq(second, "bc", 2);
	if (is_socket) {
		ck_assert_int_eq(zs_preadv(ends[0], in, 2, 100, 0), -ESPIPE);
		ck_assert_int_eq(zs_preadv(ends[0], in, 2, 0, 0), 3);
	} else {
		ck_assert_int_eq(zs_preadv(ends[0], in, 2, 100, 0), 3);
	}
	ck_assert_int_eq(zs_readv(ends[0], in, 2), 0);
	return zs_close(ends[0]);
}

static int write_parts(void *arg)
{
	struct iovec out[] = { part("a", 1), part("bc", 2) };

	(void)arg;
	ck_assert_int_eq(zs_writev(ends[1], out, 2), 3);
	ck_assert_int_eq(zs_sleep(ZS_MILLISECOND), 0);
	ck_assert_int_eq(zs_pwritev(ends[1], out, 2, 0, 0), 3);
	return zs_close(ends[1]);
}

START_TEST(vectors_wait_for_pipes_and_sockets)
{
	make_folder(_i & VARIANT_MASKED, OPERATIONS);
	is_socket = _i & 1;
	if (is_socket)
		make_unix_pair(SOCK_STREAM, ends);
	else
		make_pipe(ends);
	ck_assert_int_eq(run_siblings(read_parts, write_parts, NULL), 0);
}
END_TEST

static int move_with_flags(void *arg)
{
	struct iovec one = part(bytes, 1);
	int fd = open_file(O_RDWR | O_CREAT);
	ssize_t ret;
	long plain;

	(void)arg;
	ck_assert_int_eq(zs_pwritev(fd, &one, 1, 0, 0x2 /* RWF_DSYNC */), 1);
	ck_assert_int_eq(zs_pwritev(fd, &one, 1, 0, 0x10 /* RWF_APPEND */), 1);
	ck_assert_int_eq(lseek(fd, 0, SEEK_END), 2);
	ck_assert_int_eq(zs_preadv(fd, &one, 1, 0, IS_HIGH_PRIORITY),
			 -EOPNOTSUPP);
	ck_assert_int_eq(zs_preadv(fd, &one, 1, 0, 1 << 30), -EOPNOTSUPP);
	/* Older kernels cannot tell of a pipe whether they would wait. */
	ret = zs_preadv(ends[0], &one, 1, 0, IS_NOWAIT);
	plain = syscall(SYS_preadv2, ends[0], &one, 1, -1L, 0, IS_NOWAIT);
	ck_assert_int_eq(plain, -1);
	ck_assert_int_eq(ret, -errno);
	ck_assert(ret == -EAGAIN || ret == -EOPNOTSUPP);
	return zs_close(fd);
}

START_TEST(vectors_obey_flags)
{
	make_folder(_i, OPERATIONS);
	make_pipe(ends);
	ck_assert_int_eq(run_task(move_with_flags, NULL), 0);
}
END_TEST

static int use_bad_vectors(void *arg)
{
	struct iovec one = part(bytes, 1), nowhere = part((void *)1, 1);
	struct iovec huge = part(bytes, SIZE_MAX / 2 + 1);
	int fd = open_file(O_RDONLY | O_CREAT);

	(void)arg;
	ck_assert_int_eq(zs_readv(fd, NULL, 1), -EINVAL);
	ck_assert_int_eq(zs_readv(fd, &one, -1), -EINVAL);
	ck_assert_int_eq(zs_readv(fd, &one, INT_MIN), -EINVAL);
	ck_assert_int_eq(zs_readv(fd, (void *)1, 1), -EFAULT);
	ck_assert_int_eq(zs_preadv(fd, &one, 1, -1, 0), -EINVAL);
	ck_assert_int_eq(zs_pwritev(fd, &one, 1, INT64_MIN, 0), -EINVAL);
	ck_assert_int_eq(zs_writev(fd, &one, 1), -EBADF);
	ck_assert_int_eq(zs_writev(ends[0], &one, 1), -EBADF);
	ck_assert_int_eq(zs_readv(ends[1], &one, 1), -EBADF);
	ck_assert_int_eq(zs_readv(-1, &one, 1), -EBADF);
	ck_assert_int_eq(zs_writev(closed_fd(), &one, 1), -EBADF);
	ck_assert_int_eq(zs_writev(ends[1], &nowhere, 1), -EFAULT);
	ck_assert_int_eq(zs_writev(ends[1], &huge, 1), -EINVAL);
	return zs_close(fd);
}

START_TEST(bad_vectors_are_refused)
{
	make_folder(_i & VARIANT_MASKED, OPERATIONS);
	make_pipe(ends);
	ck_assert_int_eq(run_task(use_bad_vectors, NULL), 0);
}
END_TEST

/* --- all of it --- */

static int move_all_of_a_file(void *arg)
{
	int fd = open_file(O_RDWR | O_CREAT);

	(void)arg;
	ck_assert_int_eq(zs_write_full(fd, bulk, BULK), BULK);
	ck_assert_int_eq(zs_pwrite_full(fd, bulk, BULK, FAR), BULK);
	ck_assert_int_eq(zs_read_full(fd, received, 8), 8);
	ck_assert_int_eq(lseek(fd, 10, SEEK_SET), 10);
	ck_assert_int_eq(zs_read_full(fd, received, BULK - 10), BULK - 10);
	ck_assert(memcmp(received, bulk + 10, BULK - 10) == 0);
	ck_assert_int_eq(zs_pread_full(fd, received, BULK, FAR), BULK);
	ck_assert(memcmp(received, bulk, BULK) == 0);
	/* The end of the file. */
	ck_assert_int_eq(zs_pread_full(fd, received, 100, FAR + BULK - 9), 9);
	ck_assert_int_eq(zs_pread_full(fd, received, 100, FAR + BULK), 0);
	ck_assert_int_eq(zs_read_full(fd, NULL, 0), 0);
	return zs_close(fd);
}

START_TEST(all_of_a_file_is_moved)
{
	make_folder(_i & VARIANT_IN_MEMORY, "");
	fill_bulk();
	ck_assert_int_eq(run_task(move_all_of_a_file, NULL), 0);
}
END_TEST

static bool is_positioned;

static int read_all(void *arg)
{
	ssize_t count = is_positioned ?
				zs_pread_full(ends[0], received, BULK, 3) :
				zs_read_full(ends[0], received, BULK);

	(void)arg;
	ck_assert_int_eq(count, BULK);
	ck_assert(memcmp(received, bulk, BULK) == 0);
	ck_assert_int_eq(zs_read_full(ends[0], received, BULK), 10);
	ck_assert_int_eq(zs_read_full(ends[0], received, BULK), 0);
	return 0;
}

static int write_all(void *arg)
{
	ssize_t count = is_positioned ? zs_pwrite_full(ends[1], bulk, BULK, 3) :
					zs_write_full(ends[1], bulk, BULK);

	(void)arg;
	ck_assert_int_eq(count, BULK);
	for (int i = 0; i < 10; i++)
		ck_assert_int_eq(zs_write_full(ends[1], bulk + i, 1), 1);
	return zs_close(ends[1]);
}

/* A pipe of one page takes and gives a page at most. */
START_TEST(short_transfers_are_gone_on_with)
{
	make_folder(0, "");
	fill_bulk();
	is_positioned = (_i & 3) == 1;
	if (_i & 2) {
		make_unix_pair(SOCK_STREAM, ends);
	} else {
		make_pipe(ends);
		ck_assert_int_gt(fcntl(ends[1], F_SETPIPE_SZ, 4096), 0);
	}
	if (_i & 4)
		for (int i = 0; i < 2; i++)
			add_status_flags(ends[i], O_NONBLOCK);
	ck_assert_int_eq(run_siblings(read_all, write_all, NULL), 0);
}
END_TEST

static int read_what_comes(void *arg)
{
	struct zs_cancel_token token;

	(void)arg;
	ck_assert_int_eq(zs_cancel_token_open(&token,
					      zs_now() + 20 * ZS_MILLISECOND),
			 0);
	ck_assert_int_eq(zs_read_full(ends[0], received, 100), 7);
	ck_assert_int_eq(zs_read_full(ends[0], received, 100), -ETIMEDOUT);
	ck_assert_int_eq(zs_write_full(ends[1], received, 1), -ETIMEDOUT);
	ck_assert_int_eq(zs_cancel_token_close(token), -ETIMEDOUT);
	return 0;
}

START_TEST(what_came_before_the_deadline_is_told)
{
	make_folder(0, "");
	make_pipe(ends);
	if (_i)
		add_status_flags(ends[0], O_NONBLOCK);
	ck_assert_int_eq(write(ends[1], "7 bytes", 7), 7);
	ck_assert_int_eq(run_task(read_what_comes, NULL), 0);
}
END_TEST

static int read_until_closed(void *arg)
{
	(void)arg;
	ck_assert_int_eq(zs_read_full(ends[0], received, 100), 7);
	return 0;
}

static int bytes_in(int pipe)
{
	int count = 0;

	ck_assert_int_eq(ioctl(pipe, FIONREAD, &count), 0);
	return count;
}

static int close_reader(void *arg)
{
	(void)arg;
	ck_assert_int_eq(write(ends[1], "7 bytes", 7), 7);
	/* Before 6.4 it is a thread of the kernel's that reads them. */
	do
		ck_assert_int_eq(zs_sleep(2 * ZS_MILLISECOND), 0);
	while (bytes_in(ends[0]) > 0);
	ck_assert_int_eq(zs_close(ends[0]), 0);
	ck_assert(!is_open(ends[0]));
	return 0;
}

START_TEST(close_ends_a_full_read_between_its_parts)
{
	make_folder(0, "");
	make_pipe(ends);
	ck_assert_int_eq(run_siblings(read_until_closed, close_reader, NULL),
			 0);
}
END_TEST

/* Under the limit no assertion may be made: Check itself writes to a file. */
static int write_beyond_limit(void *arg)
{
	struct rlimit limit = { 10, RLIM_INFINITY }, none;
	int fd = open_file(O_RDWR | O_CREAT);
	ssize_t counts[4];

	(void)arg;
	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &none), 0);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	counts[0] = zs_pwrite_full(fd, bulk, 16, 0);
	counts[1] = zs_pwrite_full(fd, bulk, 16, 10);
	counts[2] = zs_write_full(fd, bulk, 16);
	setrlimit(RLIMIT_FSIZE, &none);
	counts[3] = zs_write_full(open("/dev/full", O_WRONLY), bulk, 16);
	ck_assert_int_eq(counts[0], 10);
	ck_assert_int_eq(counts[1], -EFBIG);
	ck_assert_int_eq(counts[2], 10);
	ck_assert_int_eq(counts[3], -ENOSPC);
	return zs_close(fd);
}

START_TEST(what_does_not_fit_is_told_after_what_fits)
{
	make_folder(_i & VARIANT_IN_MEMORY, "");
	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(run_task(write_beyond_limit, NULL), 0);
}
END_TEST

static int fill_disk(void *arg)
{
	struct iovec halves[] = { part(bulk, BULK / 2), part(bulk, BULK / 2) };
	int fd = open_file(O_RDWR | O_CREAT);

	(void)arg;
	ck_assert_int_eq(zs_pwrite_full(fd, bulk, BULK, 0), 65536);
	ck_assert_int_eq(zs_pwrite_full(fd, bulk, BULK, 65536), -ENOSPC);
	ck_assert_int_eq(ftruncate(fd, 0), 0);
	ck_assert_int_eq(zs_pwritev(fd, halves, 2, 0, 0), 65536);
	ck_assert_int_eq(zs_pwritev(fd, halves, 2, 65536, 0), -ENOSPC);
	return zs_close(fd);
}

START_TEST(a_full_disk_is_told_after_what_fits)
{
	make_folder(_i & VARIANT_MASKED, OPERATIONS);
	if (!mount_tiny("size=64k", __func__))
		return;
	ck_assert_int_eq(run_task(fill_disk, NULL), 0);
	unmount_tiny();
}
END_TEST

static ssize_t call_full(int call, int fd, void *buffer, size_t length,
			 int64_t offset)
{
	switch (call) {
	case 0:
		return zs_read_full(fd, buffer, length);
	case 1:
		return zs_write_full(fd, buffer, length);
	case 2:
		return zs_pread_full(fd, buffer, length, offset);
	default:
		return zs_pwrite_full(fd, buffer, length, offset);
	}
}

static int use_bad_input(void *arg)
{
	int call = *(int *)arg;
	int fd = open("/dev/zero", O_RDWR | O_CLOEXEC);

	ck_assert_int_eq(call_full(call, fd, NULL, 1, 0), -EINVAL);
	ck_assert_int_eq(call_full(call, fd, bulk, SIZE_MAX, 0), -EINVAL);
	ck_assert_int_eq(call_full(call, fd, bulk, (size_t)INT_MAX + 1, 0),
			 -EINVAL);
	ck_assert_int_eq(call_full(call, -1, bulk, 1, 0), -EBADF);
	ck_assert_int_eq(call_full(call, closed_fd(), bulk, 1, 0), -EBADF);
	ck_assert_int_eq(call_full(call, ends[call & 1 ? 0 : 1], bulk, 1, 0),
			 -EBADF);
	if (call >= 2)
		ck_assert_int_eq(call_full(call, fd, bulk, 1, -1), -EINVAL);
	return zs_close(fd);
}

START_TEST(bad_input_is_refused)
{
	int call = _i;

	make_folder(0, "");
	make_pipe(ends);
	ck_assert_int_eq(run_task(use_bad_input, &call), 0);
}
END_TEST

START_TEST(outside_a_task_every_call_is_refused)
{
	struct iovec one = part(bytes, 1);
	int fd = open("/dev/zero", O_RDWR | O_CLOEXEC);

	make_folder(0, "");
	errno = ERANGE;
	for (int call = 0; call < 4; call++)
		ck_assert_int_eq(call_full(call, fd, bytes, 1, 0), -EPERM);
	ck_assert_int_eq(zs_readv(fd, &one, 1), -EPERM);
	ck_assert_int_eq(zs_writev(fd, &one, 1), -EPERM);
	ck_assert_int_eq(zs_preadv(fd, &one, 1, 0, 0), -EPERM);
	ck_assert_int_eq(zs_pwritev(fd, &one, 1, 0, 0), -EPERM);
	ck_assert_int_eq(errno, ERANGE);
}
END_TEST

static int wait_and_be_cancelled(void *arg)
{
	struct iovec one = part(bytes, 1), much = part(bulk, BULK);
	struct zs_cancel_token token;

	(void)arg;
	ck_assert_int_eq(
		zs_cancel_token_open(&token, zs_now() + 2 * ZS_MILLISECOND), 0);
	errno = ERANGE;
	ck_assert_int_eq(zs_readv(ends[0], &one, 1), -ETIMEDOUT);
	ck_assert_int_eq(zs_writev(ends[1], &one, 1), -ETIMEDOUT);
	ck_assert_int_eq(errno, ERANGE);
	ck_assert_int_eq(zs_cancel_token_close(token), -ETIMEDOUT);
	fill_up(ends[1]);
	ck_assert_int_eq(
		zs_cancel_token_open(&token, zs_now() + 2 * ZS_MILLISECOND), 0);
	ck_assert_int_eq(zs_writev(ends[1], &much, 1), -ETIMEDOUT);
	ck_assert_int_eq(zs_cancel_token_close(token), -ETIMEDOUT);
	return 0;
}

START_TEST(a_deadline_ends_waiting_vectors)
{
	make_folder(_i & VARIANT_MASKED, OPERATIONS);
	make_pipe(ends);
	ck_assert_int_eq(run_task(wait_and_be_cancelled, NULL), 0);
}
END_TEST

static Suite *vector_suite(void)
{
	Suite *suite = suite_create("vector");
	TCase *tests = tcase_create("vector");
	const TTest *const in_each_variant[] = {
		vectors_move_the_files_position,
		vectors_are_moved_beyond_4_gib,
		vectors_are_appended,
		a_vector_has_up_to_1024_buffers,
		vectors_wait_for_pipes_and_sockets,
		vectors_obey_flags,
		bad_vectors_are_refused,
		all_of_a_file_is_moved,
		what_does_not_fit_is_told_after_what_fits,
		a_full_disk_is_told_after_what_fits,
		bad_input_is_refused, /* as many calls */
		a_deadline_ends_waiting_vectors,
	};
	size_t i;

	tcase_add_checked_fixture(tests, NULL, remove_folder);
	for (i = 0; i < sizeof(in_each_variant) / sizeof(*in_each_variant); i++)
		tcase_add_loop_test(tests, in_each_variant[i], 0, NR_VARIANTS);
	tcase_add_loop_test(tests, short_transfers_are_gone_on_with, 0, 8);
	tcase_add_loop_test(tests, what_came_before_the_deadline_is_told, 0, 2);
	tcase_add_test(tests, close_ends_a_full_read_between_its_parts);
	tcase_add_test(tests, outside_a_task_every_call_is_refused);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(vector_suite());
}
