/* SPDX-License-Identifier: MIT */
/* The table of operations, its plain system calls, lists of ops. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "engine/abi.h"
#include "engine/op.h"
#include "engine/probe.h"

static uint64_t address_of(const void *memory)
{
	return (uint64_t)(uintptr_t)memory;
}

/* Plainly, on this thread, as where there is no ring. */
static int call(struct zs_op *op)
{
	return zs_op_call_plainly(op);
}

START_TEST(every_row_has_a_name_and_an_opcode)
{
	unsigned int i, other;

	for (i = 0; i < ZS_NUM_OPS; i++) {
		ck_assert_msg(zs_op_types[i].name, "op %u", i);
		if (zs_op_types[i].sqe_opcode != ZS_OP_NO_OPCODE)
			ck_assert_ptr_nonnull(
				zs_kernel_op_name(zs_op_types[i].sqe_opcode));
		for (other = 0; other < i; other++)
			ck_assert_str_ne(zs_op_types[other].name,
					 zs_op_types[i].name);
	}
}
END_TEST

/* Each can be carried out without a ring, and what may find its descriptor not
 * ready says what to wait for. */
START_TEST(every_row_has_a_column_for_each_model)
{
	unsigned int i;

	for (i = 0; i < ZS_NUM_OPS; i++) {
		const struct zs_op_type *type = &zs_op_types[i];

		ck_assert_msg(type->call, "%s", type->name);
		if (type->way != ZS_WAY_WHEN_READY)
			continue;
		ck_assert_msg(type->attempt && type->names_fd, "%s",
			      type->name);
		ck_assert_msg(type->events || i == ZS_OP_POLL, "%s",
			      type->name);
	}
}
END_TEST

/* The kernel's own name is the table's in capitals, but for poll's. */
START_TEST(names_and_opcodes_belong_together)
{
	unsigned int i;

	for (i = 0; i < ZS_NUM_OPS; i++) {
		const struct zs_kernel_name *known;

		if (zs_op_types[i].sqe_opcode == ZS_OP_NO_OPCODE)
			continue;
		known = zs_kernel_op_name(zs_op_types[i].sqe_opcode);
		if (i == ZS_OP_POLL)
			ck_assert_str_eq(known->name, "POLL_ADD");
		else
			ck_assert_int_eq(strcasecmp(known->name,
						    zs_op_types[i].name),
					 0);
	}
}
END_TEST

/* The kernel's name for an op is made of its address, wherever it lies. */
START_TEST(ops_are_aligned)
{
	struct {
		char byte;
		struct zs_op op;
	} odd;

	ck_assert_uint_eq(_Alignof(struct zs_op), ZS_OP_ALIGNMENT);
	ck_assert_uint_eq((uintptr_t)&odd.op % ZS_OP_ALIGNMENT, 0);
	ck_assert_uint_eq(sizeof(struct zs_op), 64);
}
END_TEST

static void assert_described(const struct zs_op *op, const char *expected)
{
	struct zs_text text;

	zs_text_init(&text);
	zs_op_describe(op, &text);
	ck_assert_uint_eq(text.length, strlen(expected));
	ck_assert_mem_eq(text.bytes, expected, text.length);
}

START_TEST(describe_names_op_and_fd)
{
	struct zs_op op = { .code = ZS_OP_RECV, .fd = 7 };

	assert_described(&op, "recv fd 7");
	op.fd = -1;
	assert_described(&op, "recv fd -1");
	op.code = ZS_OP_SOCKET; /* whose fd is a domain */
	assert_described(&op, "socket");
	op.code = ZS_NUM_OPS;
	assert_described(&op, "an operation");
	op.code = UINT8_MAX;
	assert_described(&op, "an operation");
}
END_TEST

/* --- the plain calls --- */

static int open_temporary(char *path)
{
	struct zs_op op = { .code = ZS_OP_OPENAT,
			    .fd = AT_FDCWD,
			    .address = address_of(path),
			    .length = 0600,
			    .flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC };

	snprintf(path, 64, "/tmp/zsync-test-op-%d", (int)getpid());
	unlink(path);
	return call(&op);
}

START_TEST(file_calls_do_what_the_ring_would)
{
	char path[64], bytes[8] = "abcdefg";
	/* stx_mask, stx_blksize, stx_attributes, stx_nlink, ... stx_size */
	uint64_t status[32] = { 0 };
	int fd = open_temporary(path);
	struct zs_op op = { .code = ZS_OP_WRITE,
			    .fd = fd,
			    .address = address_of(bytes),
			    .length = 7,
			    .offset = UINT64_MAX };

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(call(&op), 7);
	ck_assert_int_eq(call(&op), 7);
	op.offset = 12;
	ck_assert_int_eq(call(&op), 7);
	op.code = ZS_OP_READ;
	op.offset = 3;
	ck_assert_int_eq(call(&op), 7);
	ck_assert_mem_eq(bytes, "defgabc", 7);
	op.offset = UINT64_MAX;
	ck_assert_int_eq(call(&op), 5);
	ck_assert_mem_eq(bytes, "cdefg", 5);
	op = (struct zs_op){ .code = ZS_OP_FSYNC, .fd = fd };
	ck_assert_int_eq(call(&op), 0);
	op.flags = ZS_URING_FSYNC_DATASYNC;
	ck_assert_int_eq(call(&op), 0);
	op = (struct zs_op){ .code = ZS_OP_STATX,
			     .fd = AT_FDCWD,
			     .address = address_of(path),
			     .length = 0x7ff, /* STATX_BASIC_STATS */
			     .offset = address_of(status) };
	ck_assert_int_eq(call(&op), 0);
	ck_assert_uint_eq(status[5], 19); /* stx_size */
	op = (struct zs_op){ .code = ZS_OP_CLOSE, .fd = fd };
	ck_assert_int_eq(call(&op), 0);
	ck_assert_int_eq(call(&op), -EBADF);
	unlink(path);
}
END_TEST

/* Emulators and, of pipes, older kernels cannot tell whether a call would wait:
 * then it takes a thread. */
static int would_wait(int fd)
{
	char byte;
	struct iovec part = { &byte, 1 };
	const int no_wait = 0x8; /* RWF_NOWAIT */

	ck_assert_int_eq(syscall(SYS_preadv2, fd, &part, 1, -1L, 0, no_wait),
			 -1);
	return errno == EAGAIN ? ZS_OP_WOULD_WAIT : ZS_OP_NO_THREAD;
}

/* A worker must not be left waiting for a peer that may be its own task. */
START_TEST(calls_do_not_wait_for_a_peer)
{
	char path[64], byte = 0;
	int fds[2], ret, expected;
	struct zs_op op = { .code = ZS_OP_OPENAT,
			    .fd = AT_FDCWD,
			    .address = address_of(path) };

	snprintf(path, sizeof(path), "/tmp/zsync-test-fifo-%d", (int)getpid());
	unlink(path);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	ck_assert_int_eq(call(&op), ZS_OP_NO_THREAD);
	unlink(path);
	ck_assert_int_eq(call(&op), -ENOENT);
	ck_assert_int_eq(pipe(fds), 0);
	expected = would_wait(fds[0]);
	op = (struct zs_op){ .code = ZS_OP_READ,
			     .fd = fds[0],
			     .address = address_of(&byte),
			     .length = 1 };
	ck_assert_int_eq(call(&op), expected);
	op.code = ZS_OP_WRITE;
	op.fd = fds[1];
	do {
		ret = call(&op);
	} while (ret == 1);
	ck_assert_int_eq(ret, expected);
}
END_TEST

START_TEST(socket_calls_do_what_the_ring_would)
{
	struct sockaddr none = { .sa_family = AF_UNIX };
	struct zs_op op = { .code = ZS_OP_SOCKET,
			    .fd = AF_UNIX,
			    .offset = SOCK_STREAM };
	int fd = call(&op);

	ck_assert_int_ge(fd, 0);
	/* An empty unix address: the kernel picks one. */
	op = (struct zs_op){ .code = ZS_OP_BIND,
			     .fd = fd,
			     .address = address_of(&none),
			     .offset = sizeof(none.sa_family) };
	ck_assert_int_eq(call(&op), 0);
	op = (struct zs_op){ .code = ZS_OP_LISTEN, .fd = fd, .length = 1 };
	ck_assert_int_eq(call(&op), 0);
	op = (struct zs_op){ .code = ZS_OP_SHUTDOWN,
			     .fd = fd,
			     .length = SHUT_RDWR };
	ck_assert_int_eq(call(&op), 0);
	op.fd = -1;
	ck_assert_int_eq(call(&op), -EBADF);
	op = (struct zs_op){ .code = ZS_OP_NOP };
	ck_assert_int_eq(call(&op), 0);
	close(fd);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("op");
	TCase *tests = tcase_create("op");
	SRunner *runner;
	int nr_failed;

	tcase_add_test(tests, every_row_has_a_name_and_an_opcode);
	tcase_add_test(tests, every_row_has_a_column_for_each_model);
	tcase_add_test(tests, names_and_opcodes_belong_together);
	tcase_add_test(tests, ops_are_aligned);
	tcase_add_test(tests, describe_names_op_and_fd);
	tcase_add_test(tests, file_calls_do_what_the_ring_would);
	tcase_add_test(tests, calls_do_not_wait_for_a_peer);
	tcase_add_test(tests, socket_calls_do_what_the_ring_would);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	nr_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return nr_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
