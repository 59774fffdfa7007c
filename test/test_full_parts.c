/* SPDX-License-Identifier: MIT */
/*
 * Transfers of a whole buffer that the model thread_pool makes in parts: what
 * the cache has at once, and the rest on a thread, which comes short, too;
 * or on the worker's own, where no thread can be made.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "arguments.h"
#include "runtime.h"

enum { LENGTH = 300, IN_CACHE = 100, SHORT = 50 };

/* --- between the library and libc; see the Kbuild --- */

static bool is_on;
static bool has_threads = true;
static bool has_room_for_one;
static int num_writes;

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
ssize_t __real_pread(int fd, void *buffer, size_t length, off_t offset);
ssize_t __wrap_pread(int fd, void *buffer, size_t length, off_t offset);
ssize_t __real_pwrite(int fd, const void *buffer, size_t length, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *buffer, size_t length, off_t offset);

static size_t shorter(size_t length, size_t most)
{
	return is_on && length > most ? most : length;
}

long __wrap_syscall(long number, ...)
{
	struct iovec part;
	long args[NR_ARGUMENTS];
	va_list list;

	va_start(list, number);
	take_arguments(args, list);
	va_end(list);
	if (number == SYS_preadv2 || number == SYS_pwritev2) {
		part = *(const struct iovec *)args[1];
		part.iov_len = shorter(part.iov_len, IN_CACHE);
		args[1] = (long)&part;
		/* RWF_NOWAIT, which not all kernels know of memory. */
		args[5] = 0;
	}
	if (number == SYS_pwritev2 && num_writes++ > 0 && has_room_for_one) {
		errno = ENOSPC;
		return -1;
	}
	return __real_syscall(number, args[0], args[1], args[2], args[3],
			      args[4], args[5]);
}

ssize_t __wrap_pread(int fd, void *buffer, size_t length, off_t offset)
{
	return __real_pread(fd, buffer, shorter(length, SHORT), offset);
}

ssize_t __wrap_pwrite(int fd, const void *buffer, size_t length, off_t offset)
{
	if (has_room_for_one) {
		errno = ENOSPC;
		return -1;
	}
	return __real_pwrite(fd, buffer, shorter(length, SHORT), offset);
}

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
			  void *(*fn)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
			  void *(*fn)(void *), void *arg);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
			  void *(*fn)(void *), void *arg)
{
	if (!has_threads)
		return EAGAIN;
	return __real_pthread_create(thread, attributes, fn, arg);
}

/* --- */

static unsigned char bytes[LENGTH], found[LENGTH + 100];
static int file;

static int read_all_parts(void *arg)
{
	(void)arg;
	ck_assert_int_eq(pwrite(file, bytes, LENGTH, 7), LENGTH);
	is_on = true;
	ck_assert_int_eq(zs_pread_full(file, found, LENGTH, 7), LENGTH);
	ck_assert_mem_eq(found, bytes, LENGTH);
	/* Beyond its end. */
	memset(found, 0xff, sizeof(found));
	ck_assert_int_eq(zs_pread_full(file, found, LENGTH + 40, 7), LENGTH);
	ck_assert_mem_eq(found, bytes, LENGTH);
	ck_assert_int_eq(found[LENGTH], 0xff);
	return 0;
}

static int write_all_parts(void *arg)
{
	(void)arg;
	is_on = true;
	ck_assert_int_eq(zs_pwrite_full(file, bytes, LENGTH, 7), LENGTH);
	is_on = false;
	ck_assert_int_eq(pread(file, found, sizeof(found), 7), LENGTH);
	ck_assert_mem_eq(found, bytes, LENGTH);
	return 0;
}

static void run_with_file(zs_task_fn *fn)
{
	struct zs_config config = test_config();
	size_t i;

	config.execution_model = ZS_MODEL_THREAD_POOL;
	for (i = 0; i < LENGTH; i++)
		bytes[i] = (unsigned char)(i * 7 / 3);
	file = memfd_create("parts", MFD_CLOEXEC);
	ck_assert_int_ge(file, 0);
	ck_assert_int_eq(run_task_with(&config, fn, NULL), 0);
	close(file);
}

START_TEST(read_in_parts_has_each_byte_in_its_place)
{
	has_threads = _i == 0;
	run_with_file(read_all_parts);
}
END_TEST

START_TEST(write_in_parts_puts_each_byte_in_its_place)
{
	has_threads = _i == 0;
	run_with_file(write_all_parts);
}
END_TEST

static int write_to_full_disk(void *arg)
{
	(void)arg;
	is_on = true;
	has_room_for_one = true;
	ck_assert_int_eq(zs_pwrite(file, bytes, LENGTH, 7), IN_CACHE);
	return 0;
}

START_TEST(what_was_written_before_an_error_is_told)
{
	has_threads = false;
	run_with_file(write_to_full_disk);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("full_parts");
	TCase *tests = tcase_create("full_parts");

	tcase_add_loop_test(tests, read_in_parts_has_each_byte_in_its_place, 0,
			    2);
	tcase_add_loop_test(tests, write_in_parts_puts_each_byte_in_its_place,
			    0, 2);
	tcase_add_test(tests, what_was_written_before_an_error_is_told);
	suite_add_tcase(suite, tests);
	return run_suite(suite);
}
