/* SPDX-License-Identifier: MIT */
/* Pipes that tasks make, and what moves pages from and to them. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>

#include "descriptors.h"
#include "folder.h"
#include "runtime.h"

#define FAR (INT64_C(5) << 30)

enum { BULK = 300000, WIDE = 1 << 20 };

static int from[2], to[2];
static char bulk[BULK], received[BULK];

static void prepare(void)
{
	make_folder(0, "");
	make_pipe(from);
	make_pipe(to);
	for (size_t i = 0; i < BULK; i++)
		bulk[i] = (char)(i * 7 + i / 251);
}

static int open_file(int flags)
{
	int fd = openat(directory, "file", flags | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	return fd;
}

/* --- pipes --- */

static int make_pipes(void *arg)
{
	int fds[2] = { -5, -5 };
	char byte;

	(void)arg;
	errno = ERANGE;
	ck_assert_int_eq(zs_pipe(fds, 0), 0);
	ck_assert_int_eq(errno, ERANGE);
	ck_assert(is_cloexec(fds[0]) && is_cloexec(fds[1]));
	ck_assert_int_eq(fcntl(fds[0], F_GETFL) & O_NONBLOCK, 0);
	ck_assert_int_eq(zs_write(fds[1], "x", 1), 1);
	ck_assert_int_eq(zs_read(fds[0], &byte, 1), 1);
	ck_assert_int_eq(zs_close(fds[0]), 0);
	ck_assert_int_eq(zs_close(fds[1]), 0);
	ck_assert_int_eq(zs_pipe(fds, O_NONBLOCK), 0);
	ck_assert_int_ne(fcntl(fds[0], F_GETFL) & O_NONBLOCK, 0);
	ck_assert_int_eq(zs_close(fds[0]), 0);
	ck_assert_int_eq(zs_close(fds[1]), 0);
	ck_assert_int_eq(zs_pipe(NULL, 0), -EINVAL);
	ck_assert_int_eq(zs_pipe(fds, 1 << 30), -EINVAL);
	return 0;
}

static int make_no_pipes(void *arg)
{
	struct zs_cancel_token token;
	int fds[2];

	(void)arg;
	ck_assert_int_eq(zs_cancel_token_open(&token, ZS_NEVER), 0);
	ck_assert_int_eq(zs_cancel_token_cancel(token), 0);
	ck_assert_int_eq(zs_pipe(fds, 0), -ECANCELED);
	ck_assert_int_eq(zs_cancel_token_close(token), -ECANCELED);
	return 0;
}

START_TEST(pipes_are_made_and_none_is_left)
{
	int before, fds[2];

	prepare();
	before = next_fd();
	ck_assert_int_eq(run_task(make_pipes, NULL), 0);
	ck_assert_int_eq(run_task(make_no_pipes, NULL), 0);
	ck_assert_int_eq(zs_pipe(fds, 0), -EPERM);
	ck_assert_int_eq(next_fd(), before);
}
END_TEST

/* --- splice --- */

static int splice_by_offset(void *arg)
{
	int fd = open_file(O_RDWR | O_CREAT);
	int64_t in = FAR + 1, out = FAR + 10;
	char bytes[8];

	(void)arg;
	ck_assert_int_eq(pwrite(fd, "abcdef", 6, FAR), 6);
	ck_assert_int_eq(zs_splice(fd, &in, from[1], NULL, 3, 0), 3);
	ck_assert_int_eq(in, FAR + 4);
	ck_assert_int_eq(lseek(fd, 0, SEEK_CUR), 0);
	ck_assert_int_eq(zs_splice(from[0], NULL, fd, &out, 100, 0), 3);
	ck_assert_int_eq(out, FAR + 13);
	ck_assert_int_eq(pread(fd, bytes, 8, FAR + 10), 3);
	ck_assert_mem_eq(bytes, "bcd", 3);
	/* At the file's own position, and its end. */
	ck_assert_int_eq(lseek(fd, FAR + 11, SEEK_SET), FAR + 11);
	ck_assert_int_eq(zs_splice(fd, NULL, from[1], NULL, 100, 0), 2);
	ck_assert_int_eq(lseek(fd, 0, SEEK_CUR), FAR + 13);
	ck_assert_int_eq(zs_splice(fd, NULL, from[1], NULL, 100, 0), 0);
	ck_assert_int_eq(read(from[0], bytes, 8), 2);
	ck_assert_int_eq(zs_splice(fd, NULL, from[1], NULL, 0, 0), 0);
	return zs_close(fd);
}

START_TEST(splice_moves_at_offsets_and_positions)
{
	prepare();
	ck_assert_int_eq(run_task(splice_by_offset, NULL), 0);
}
END_TEST

/* from -> to, by @move until the end. */
static int pump(void *arg)
{
	size_t total = 0;
	ssize_t moved;

	(void)arg;
	do {
		moved = zs_splice(from[0], NULL, to[1], NULL, 1 << 20, 0);
		ck_assert_int_ge(moved, 0);
		total += (size_t)moved;
	} while (moved > 0);
	ck_assert_uint_eq(total, BULK);
	return zs_close(to[1]);
}

static int feed(void *arg)
{
	(void)arg;
	ck_assert_int_eq(zs_write_full(from[1], bulk, BULK), BULK);
	return zs_close(from[1]);
}

static int drain(void *arg)
{
	(void)arg;
	ck_assert_int_eq(zs_read_full(to[0], received, BULK), BULK);
	ck_assert(memcmp(received, bulk, BULK) == 0);
	ck_assert_int_eq(zs_read(to[0], received, 1), 0);
	return 0;
}

static int feed_and_drain(void *arg)
{
	struct zs_nursery nursery;

	ck_assert_int_eq(zs_nursery_open(&nursery, NULL), 0);
	ck_assert_int_eq(zs_nursery_spawn(nursery, feed, arg), 0);
	ck_assert_int_eq(zs_nursery_spawn(nursery, drain, arg), 0);
	return zs_nursery_wait(nursery);
}

/* A socket that waits until it has all, of which it takes 64 KiB at a time. */
static void make_narrow_pair(void)
{
	int few = 4096;

	ck_assert_int_gt(fcntl(from[1], F_SETPIPE_SZ, WIDE), 0);
	make_unix_pair(SOCK_STREAM, to);
	ck_assert_int_eq(
		setsockopt(to[1], SOL_SOCKET, SO_SNDBUF, &few, sizeof(few)), 0);
}

/* The pump waits for both ends: a pipe of one page is soon empty or full. */
START_TEST(splice_waits_for_either_end)
{
	prepare();
	if (_i == 1)
		make_unix_pair(SOCK_STREAM, from);
	else if (_i == 2)
		make_tcp_pair(to);
	if (_i == 2)
		ck_assert_int_eq(shutdown(to[0], SHUT_WR), 0);
	else
		ck_assert_int_gt(fcntl(to[1], F_SETPIPE_SZ, 4096), 0);
	ck_assert_int_eq(run_siblings(pump, feed_and_drain, NULL), 0);
}
END_TEST

START_TEST(splice_fills_a_socket_that_a_sibling_reads)
{
	prepare();
	make_narrow_pair();
	ck_assert_int_eq(write(from[1], bulk, BULK), BULK);
	ck_assert_int_eq(close(from[1]), 0);
	ck_assert_int_eq(run_siblings(pump, drain, NULL), 0);
}
END_TEST

static int tee_and_splice(void *arg)
{
	char bytes[8];

	(void)arg;
	ck_assert_int_eq(zs_tee(from[0], to[1], 100, 0), 3);
	ck_assert_int_eq(zs_read(to[0], bytes, 8), 3);
	ck_assert_mem_eq(bytes, "abc", 3);
	ck_assert_int_eq(zs_tee(from[0], to[1], 2, 0), 2);
	ck_assert_int_eq(zs_read(to[0], bytes, 8), 2);
	ck_assert_int_eq(zs_read(from[0], bytes, 8), 3);
	ck_assert_mem_eq(bytes, "abc", 3);
	ck_assert_int_eq(zs_tee(from[0], to[1], 0, 0), 0);
	ck_assert_int_eq(zs_tee(from[0], to[1], 1, SPLICE_F_NONBLOCK), -EAGAIN);
	ck_assert_int_eq(zs_splice(from[0], NULL, to[1], NULL, 1,
				   SPLICE_F_NONBLOCK),
			 -EAGAIN);
	ck_assert_int_eq(zs_close(from[1]), 0);
	ck_assert_int_eq(zs_tee(from[0], to[1], 1, 0), 0);
	return 0;
}

static int write_three(void *arg)
{
	(void)arg;
	ck_assert_int_eq(zs_write(from[1], "abc", 3), 3);
	return 0;
}

START_TEST(tee_waits_and_leaves_what_it_copies)
{
	prepare();
	ck_assert_int_eq(run_siblings(tee_and_splice, write_three, NULL), 0);
}
END_TEST

static int use_bad_input(void *arg)
{
	int file = open_file(O_RDWR | O_CREAT),
	    zero = open("/dev/zero", O_RDWR);
	int64_t negative = -1, offset = 0;

	(void)arg;
	ck_assert_int_eq(write(file, "abc", 3), 3);
	ck_assert_int_eq(zs_splice(file, &negative, to[1], NULL, 1, 0),
			 -EINVAL);
	ck_assert_int_eq(zs_splice(from[0], NULL, file, &negative, 1, 0),
			 -EINVAL);
	ck_assert_int_eq(zs_splice(file, &offset, to[1], &offset, 1, 0),
			 -ESPIPE);
	ck_assert_int_eq(zs_splice(from[0], &offset, file, NULL, 1, 0),
			 -ESPIPE);
	ck_assert_int_eq(zs_splice(file, &offset, zero, NULL, 1, 0), -EINVAL);
	ck_assert_int_eq(zs_splice(file, &offset, to[0], NULL, 1, 0), -EBADF);
	ck_assert_int_eq(zs_splice(from[1], NULL, to[1], NULL, 1, 0), -EBADF);
	ck_assert_int_eq(zs_splice(file, NULL, to[1], NULL, SIZE_MAX, 0),
			 -EINVAL);
	ck_assert_int_eq(zs_splice(file, NULL, to[1], NULL, 1, 1u << 31),
			 -EINVAL);
	ck_assert_int_eq(zs_splice(-1, NULL, to[1], NULL, 1, 0), -EBADF);
	ck_assert_int_eq(zs_splice(INT_MAX, NULL, to[1], NULL, 1, 0), -EBADF);
	ck_assert_int_eq(zs_splice(closed_fd(), NULL, to[1], NULL, 1, 0),
			 -EBADF);
	ck_assert_int_eq(zs_splice(file, NULL, -1, NULL, 1, 0), -EBADF);
	ck_assert_int_eq(zs_splice(file, NULL, INT_MIN, NULL, 1, 0), -EBADF);
	ck_assert_int_eq(zs_splice(from[0], NULL, from[1], NULL, 1, 0),
			 -EINVAL);
	ck_assert_int_eq(zs_tee(file, to[1], 1, 0), -EINVAL);
	ck_assert_int_eq(zs_tee(-1, to[1], 1, 0), -EBADF);
	ck_assert_int_eq(zs_tee(from[0], -1, 1, 0), -EBADF);
	ck_assert_int_eq(zs_tee(from[0], to[1], SIZE_MAX, 0), -EINVAL);
	ck_assert_int_eq(zs_tee(from[0], to[1], 1, 1u << 31), -EINVAL);
	ck_assert_int_eq(offset, 0);
	close(zero);
	return zs_close(file);
}

START_TEST(bad_input_moves_nothing)
{
	prepare();
	ck_assert_int_eq(run_task(use_bad_input, NULL), 0);
	add_status_flags(to[0], O_NONBLOCK);
	ck_assert_int_eq(read(to[0], received, 1), -1);
}
END_TEST

static int splice_without_reader(void *arg)
{
	(void)arg;
	ck_assert_int_eq(write(from[1], "abc", 3), 3);
	ck_assert_int_eq(zs_close(to[0]), 0);
	ck_assert_int_eq(zs_splice(from[0], NULL, to[1], NULL, 3, 0), -EPIPE);
	ck_assert_int_eq(zs_tee(from[0], to[1], 3, 0), -EPIPE);
	return 0;
}

START_TEST(a_pipe_without_reader_is_told)
{
	signal(SIGPIPE, SIG_IGN);
	prepare();
	ck_assert_int_eq(run_task(splice_without_reader, NULL), 0);
}
END_TEST

static int fill_disk(void *arg)
{
	int fd = open_file(O_RDWR | O_CREAT);
	int64_t offset = 65536 - 4096;

	(void)arg;
	ck_assert_int_eq(write(from[1], bulk, 3 * 4096), 3 * 4096);
	ck_assert_int_eq(ftruncate(fd, offset), 0);
	ck_assert_int_eq(fallocate(fd, 0, 0, offset), 0);
	ck_assert_int_eq(zs_splice(from[0], NULL, fd, &offset, 3 * 4096, 0),
			 4096);
	ck_assert_int_eq(offset, 65536);
	ck_assert_int_eq(zs_splice(from[0], NULL, fd, &offset, 3 * 4096, 0),
			 -ENOSPC);
	ck_assert_int_eq(offset, 65536);
	return zs_close(fd);
}

START_TEST(a_full_disk_is_told_after_what_fits)
{
	prepare();
	if (!mount_tiny("size=64k", __func__))
		return;
	ck_assert_int_eq(run_task(fill_disk, NULL), 0);
	unmount_tiny();
}
END_TEST

/* --- ended --- */

static int is_tee;

static int move_one(void)
{
	return (int)(is_tee ? zs_tee(from[0], to[1], 1, 0) :
			      zs_splice(from[0], NULL, to[1], NULL, 1, 0));
}

static int move_until_deadline(void *arg)
{
	struct zs_cancel_token token;

	(void)arg;
	ck_assert_int_eq(
		zs_cancel_token_open(&token, zs_now() + 2 * ZS_MILLISECOND), 0);
	errno = ERANGE;
	ck_assert_int_eq(move_one(), -ETIMEDOUT);
	ck_assert_int_eq(move_one(), -ETIMEDOUT);
	ck_assert_int_eq(errno, ERANGE);
	ck_assert_int_eq(zs_cancel_token_close(token), -ETIMEDOUT);
	/* They are as good as before. */
	if (*(int *)arg)
		ck_assert_int_gt(read(to[0], received, BULK), 0);
	else
		ck_assert_int_eq(write(from[1], "x", 1), 1);
	ck_assert_int_eq(move_one(), 1);
	return 0;
}

START_TEST(a_deadline_ends_a_wait_for_either_end)
{
	int is_full = _i & 1;

	prepare();
	is_tee = _i & 2;
	if (is_full) {
		ck_assert_int_eq(write(from[1], "x", 1), 1);
		fill_up(to[1]);
	}
	ck_assert_int_eq(run_task(move_until_deadline, &is_full), 0);
}
END_TEST

static int move_until_closed(void *arg)
{
	(void)arg;
	ck_assert_int_eq(move_one(), -ECANCELED);
	return 0;
}

static int close_one(void *fd)
{
	ck_assert_int_eq(zs_sleep(ZS_MILLISECOND), 0);
	ck_assert_int_eq(zs_close(*(int *)fd), 0);
	ck_assert(!is_open(*(int *)fd));
	return 0;
}

START_TEST(close_of_either_descriptor_ends_it)
{
	prepare();
	is_tee = _i & 2;
	ck_assert_int_eq(run_siblings(move_until_closed, close_one,
				      _i & 1 ? &from[0] : &to[1]),
			 0);
	ck_assert(is_open(_i & 1 ? to[1] : from[0]));
}
END_TEST

/* Nobody reads. */
static uint32_t splice_flags;

static int splice_until_deadline(void *arg)
{
	struct zs_cancel_token token;
	ssize_t moved, total = 0;

	(void)arg;
	ck_assert_int_eq(zs_cancel_token_open(&token,
					      zs_now() + 100 * ZS_MILLISECOND),
			 0);
	do {
		moved = zs_splice(from[0], NULL, to[1], NULL, WIDE,
				  splice_flags);
		total += moved > 0 ? moved : 0;
	} while (moved > 0);
	ck_assert_int_eq(moved, -ETIMEDOUT);
	ck_assert_int_gt(total, 0);
	ck_assert_int_lt(total, WIDE);
	ck_assert_int_eq(zs_cancel_token_close(token), -ETIMEDOUT);
	return 0;
}

static int splice_until_closed(void *arg)
{
	(void)arg;
	ck_assert_int_lt(zs_splice(from[0], NULL, to[1], NULL, WIDE,
				   splice_flags),
			 WIDE);
	return 0;
}

static void prepare_to_fill(uint32_t flags)
{
	prepare();
	make_narrow_pair();
	fill_up(from[1]);
	splice_flags = flags;
}

START_TEST(a_deadline_ends_a_splice_that_fills_a_socket)
{
	prepare_to_fill(_i ? SPLICE_F_NONBLOCK : 0);
	ck_assert_int_eq(run_task(splice_until_deadline, NULL), 0);
}
END_TEST

START_TEST(close_ends_a_splice_that_fills_a_socket)
{
	prepare_to_fill(_i & 2 ? SPLICE_F_NONBLOCK : 0);
	ck_assert_int_eq(run_siblings(splice_until_closed, close_one,
				      _i & 1 ? &from[0] : &to[1]),
			 0);
}
END_TEST

START_TEST(outside_a_task_nothing_is_moved)
{
	prepare();
	ck_assert_int_eq(write(from[1], "x", 1), 1);
	errno = ERANGE;
	for (is_tee = 0; is_tee < 2; is_tee++)
		ck_assert_int_eq(move_one(), -EPERM);
	ck_assert_int_eq(errno, ERANGE);
	ck_assert_int_eq(read(from[0], received, 2), 1);
}
END_TEST

/* Many at once: more than any pool has threads. */
static int move_own(void *fds)
{
	const int *own = fds;

	ck_assert_int_eq(zs_splice(own[0], NULL, to[1], NULL, 10, 0), 1);
	return 0;
}

static int move_many(void *arg)
{
	struct zs_nursery nursery;
	int fds[40][2];

	(void)arg;
	ck_assert_int_eq(zs_nursery_open(&nursery, NULL), 0);
	for (int i = 0; i < 40; i++) {
		make_pipe(fds[i]);
		ck_assert_int_eq(zs_nursery_spawn(nursery, move_own, fds[i]),
				 0);
	}
	ck_assert_int_eq(zs_sleep(ZS_MILLISECOND), 0);
	for (int i = 40; i-- > 0;)
		ck_assert_int_eq(zs_write(fds[i][1], "x", 1), 1);
	ck_assert_int_eq(zs_nursery_wait(nursery), 0);
	ck_assert_int_eq(zs_read(to[0], received, 100), 40);
	return 0;
}

START_TEST(many_wait_at_once)
{
	prepare();
	/* Each moves a page of its own. */
	ck_assert_int_gt(fcntl(to[1], F_SETPIPE_SZ, 1 << 20), 0);
	ck_assert_int_eq(run_task(move_many, NULL), 0);
}
END_TEST

static Suite *splice_suite(void)
{
	Suite *suite = suite_create("splice");
	TCase *tests = tcase_create("splice");

	tcase_add_checked_fixture(tests, NULL, remove_folder);
	tcase_add_test(tests, pipes_are_made_and_none_is_left);
	tcase_add_test(tests, splice_moves_at_offsets_and_positions);
	tcase_add_loop_test(tests, splice_waits_for_either_end, 0, 3);
	tcase_add_test(tests, splice_fills_a_socket_that_a_sibling_reads);
	tcase_add_test(tests, tee_waits_and_leaves_what_it_copies);
	tcase_add_test(tests, bad_input_moves_nothing);
	tcase_add_test(tests, a_pipe_without_reader_is_told);
	tcase_add_test(tests, a_full_disk_is_told_after_what_fits);
	tcase_add_loop_test(tests, a_deadline_ends_a_wait_for_either_end, 0, 4);
	tcase_add_loop_test(tests, close_of_either_descriptor_ends_it, 0, 4);
	tcase_add_loop_test(tests, a_deadline_ends_a_splice_that_fills_a_socket,
			    0, 2);
	tcase_add_loop_test(tests, close_ends_a_splice_that_fills_a_socket, 0,
			    4);
	tcase_add_test(tests, outside_a_task_nothing_is_moved);
	tcase_add_test(tests, many_wait_at_once);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(splice_suite());
}
