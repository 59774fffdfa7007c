/* SPDX-License-Identifier: MIT */
/* Opens of FIFOs, which wait for a peer: another task of the same worker or of
 * another one; and reads and writes that the ring cannot wait for. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "descriptors.h"
#include "engine/abi.h"
#include "engine/probe.h"
#include "engine/submit.h"
#include "folder.h"
#include "runtime.h"
#include "sched/worker.h"

/* More than the offload pool has threads, fewer than the kernel may use; and,
 * since without a ring each end takes a thread, which takes a timer, twice as
 * many fit into the 32 timers that qemu's user mode has. */
enum { NR_FIFOS = 15 };

static void make_fifos(int count)
{
	char name[16];

	make_folder(0, "");
	for (int i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "%d", i);
		ck_assert_int_eq(mkfifoat(directory, name, 0600), 0);
	}
}

static int open_fifo(int index, int flags)
{
	char name[16];

	snprintf(name, sizeof(name), "%d", index);
	return zs_openat(directory, name, flags, 0);
}

static int read_one(void *arg)
{
	int index = *(int *)arg;
	int fd = open_fifo(index, O_RDONLY);
	unsigned char byte = 0;

	ck_assert_int_ge(fd, 0);
	ck_assert(is_cloexec(fd));
	ck_assert_int_eq(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
	ck_assert_int_eq(zs_read(fd, &byte, 1), 1);
	ck_assert_int_eq(byte, index);
	ck_assert_int_eq(zs_read(fd, &byte, 1), 0);
	return zs_close(fd);
}

static int write_one(void *arg)
{
	int index = *(int *)arg;
	int fd = open_fifo(index, O_WRONLY);
	unsigned char byte = (unsigned char)index;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(zs_write(fd, &byte, 1), 1);
	return zs_close(fd);
}

/* @first of all FIFOs, then @second of all. */
static int open_all(zs_task_fn *first, zs_task_fn *second)
{
	struct zs_nursery nursery;

	ck_assert_int_eq(zs_nursery_open(&nursery, NULL), 0);
	for (int i = 0; i < NR_FIFOS; i++)
		ck_assert_int_eq(zs_nursery_spawn_copy(nursery, first, &i,
						       sizeof(i)),
				 0);
	ck_assert_int_eq(zs_sleep(ZS_MILLISECOND), 0);
	for (int i = NR_FIFOS; i-- > 0;)
		ck_assert_int_eq(zs_nursery_spawn_copy(nursery, second, &i,
						       sizeof(i)),
				 0);
	return zs_nursery_wait(nursery);
}

static int readers_first(void *arg)
{
	(void)arg;
	return open_all(read_one, write_one);
}

static int writers_first(void *arg)
{
	(void)arg;
	return open_all(write_one, read_one);
}

START_TEST(many_opens_wait_for_their_peers)
{
	struct zs_config config = test_config();
	int before;

	config.num_workers = 1 + (uint32_t)_i / 2;
	make_fifos(NR_FIFOS);
	before = next_fd();
	ck_assert_int_eq(run_task_with(&config,
				       _i & 1 ? readers_first : writers_first,
				       NULL),
			 0);
	ck_assert_int_eq(next_fd(), before);
}
END_TEST

static int open_without_peer(void *arg)
{
	int fd = open_fifo(0, O_RDWR);

	(void)arg;
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(zs_close(fd), 0);
	ck_assert_int_eq(open_fifo(0, O_WRONLY | O_NONBLOCK), -ENXIO);
	fd = open_fifo(0, O_RDONLY | O_NONBLOCK);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(zs_close(fd), 0);
	fd = open_fifo(0, O_PATH);
	ck_assert_int_ge(fd, 0);
	return zs_close(fd);
}

START_TEST(some_opens_need_no_peer)
{
	make_fifos(1);
	ck_assert_int_eq(run_task(open_without_peer, NULL), 0);
}
END_TEST

/* The deadline's open must not be left behind as a reader: the FIFO would open
 * for a writer. Until the kernel has ended it, it may. */
static int open_until_deadline(void *arg)
{
	int flags = *(int *)arg, fd;
	struct zs_cancel_token token;

	ck_assert_int_eq(
		zs_cancel_token_open(&token, zs_now() + 2 * ZS_MILLISECOND), 0);
	errno = ERANGE;
	ck_assert_int_eq(open_fifo(0, flags), -ETIMEDOUT);
	ck_assert_int_eq(errno, ERANGE);
	ck_assert_int_eq(zs_cancel_token_close(token), -ETIMEDOUT);
	do {
		ck_assert_int_eq(zs_sleep(ZS_MILLISECOND), 0);
		fd = open_fifo(0, O_WRONLY | O_NONBLOCK);
		if (fd >= 0)
			ck_assert_int_eq(zs_close(fd), 0);
	} while (fd >= 0);
	ck_assert_int_eq(fd, -ENXIO);
	return 0;
}

START_TEST(a_deadline_ends_an_open_and_leaves_no_end_open)
{
	int flags = _i ? O_WRONLY : O_RDONLY, before;

	make_fifos(1);
	before = next_fd();
	ck_assert_int_eq(run_task(open_until_deadline, &flags), 0);
	ck_assert_int_eq(next_fd(), before);
}
END_TEST

static int copy_of_folder;

static int open_by_copy(void *arg)
{
	(void)arg;
	ck_assert_int_eq(zs_openat(copy_of_folder, "0", O_RDONLY, 0),
			 -ECANCELED);
	return 0;
}

static int close_copy(void *arg)
{
	(void)arg;
	ck_assert_int_eq(zs_sleep(ZS_MILLISECOND), 0);
	return zs_close(copy_of_folder);
}

START_TEST(close_of_the_folder_ends_an_open)
{
	make_fifos(1);
	copy_of_folder = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_eq(run_siblings(open_by_copy, close_copy, NULL), 0);
}
END_TEST

static int write_twice(void *arg)
{
	(void)arg;
	for (int i = 0; i < 2; i++) {
		int fd = open_fifo(0, O_WRONLY);

		ck_assert_int_ge(fd, 0);
		ck_assert_int_eq(zs_write(fd, "x", 1), 1);
		ck_assert_int_eq(zs_close(fd), 0);
		/* The reader has seen the end before the next opens. */
		fd = open_fifo(1, O_RDONLY);
		ck_assert_int_ge(fd, 0);
		ck_assert_int_eq(zs_close(fd), 0);
	}
	return 0;
}

static int read_twice(void *arg)
{
	char bytes[8];

	(void)arg;
	for (int i = 0; i < 2; i++) {
		int fd = open_fifo(0, O_RDONLY);

		ck_assert_int_ge(fd, 0);
		ck_assert_int_eq(zs_read_full(fd, bytes, sizeof(bytes)), 1);
		ck_assert_int_eq(zs_close(fd), 0);
		fd = open_fifo(1, O_WRONLY);
		ck_assert_int_ge(fd, 0);
		ck_assert_int_eq(zs_close(fd), 0);
	}
	return 0;
}

START_TEST(a_fifo_is_opened_again_and_again)
{
	make_fifos(2);
	ck_assert_int_eq(run_siblings(read_twice, write_twice, NULL), 0);
}
END_TEST

/* --- what the ring cannot wait for --- */

static int ends[2];

/* As where the kernel can start no thread for it, or has no such operation. */
static void leave_waiting_to_us(void)
{
	struct zs_engine *engine = zs_worker_self->engine;
	struct zs_uring *uring =
		zs_container_of(engine, struct zs_uring, engine);
	struct zs_kernel *kernel;

	if (zs_engine_is_plain(engine))
		return;
	kernel = (struct zs_kernel *)(uintptr_t)uring->kernel;
	kernel->ops[ZS_URING_OP_READ] = kernel->ops[ZS_URING_OP_WRITE] = false;
	uring->starts[ZS_OP_READ].room = uring->starts[ZS_OP_WRITE].room = 0;
}

static int wait_for_bytes_and_room(void *arg)
{
	char bytes[16];

	(void)arg;
	leave_waiting_to_us();
	ck_assert_int_eq(zs_read(ends[0], bytes, sizeof(bytes)), 4);
	fill_up(ends[1]);
	ck_assert_int_gt(zs_write(ends[1], "x", 1), 0);
	return 0;
}

static int bytes_in(int pipe)
{
	int count = 0;

	ck_assert_int_eq(ioctl(pipe, FIONREAD, &count), 0);
	return count;
}

static int write_and_make_room(void *arg)
{
	static char bytes[1 << 16];

	(void)arg;
	ck_assert_int_eq(zs_sleep(ZS_MILLISECOND), 0);
	ck_assert_int_eq(write(ends[1], "late", 4), 4);
	while (bytes_in(ends[0]) < 4096)
		ck_assert_int_eq(zs_sleep(ZS_MILLISECOND), 0);
	ck_assert_int_gt(read(ends[0], bytes, sizeof(bytes)), 0);
	return 0;
}

START_TEST(pipe_is_waited_for_where_the_ring_cannot)
{
	make_folder(0, "");
	make_pipe(ends);
	ck_assert_int_eq(run_siblings(wait_for_bytes_and_room,
				      write_and_make_room, NULL),
			 0);
}
END_TEST

static Suite *fifo_suite(void)
{
	Suite *suite = suite_create("fifo");
	TCase *tests = tcase_create("fifo");

	tcase_add_checked_fixture(tests, NULL, remove_folder);
	tcase_add_loop_test(tests, many_opens_wait_for_their_peers, 0, 4);
	tcase_add_test(tests, some_opens_need_no_peer);
	tcase_add_loop_test(
		tests, a_deadline_ends_an_open_and_leaves_no_end_open, 0, 2);
	tcase_add_test(tests, close_of_the_folder_ends_an_open);
	tcase_add_test(tests, a_fifo_is_opened_again_and_again);
	tcase_add_test(tests, pipe_is_waited_for_where_the_ring_cannot);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(fifo_suite());
}
