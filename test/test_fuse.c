/* SPDX-License-Identifier: MIT */
/*
 * Files whose server takes its time, while the worker's other tasks go on. The
 * server is the test's own, over FUSE. Once it is slow it answers when another
 * task tells it to: if that never runs, the test does not end.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "folder.h"
#include "runtime.h"

enum { ROOT_NODE = 1, FILE_NODE = 2, LENGTH = 4, MAX_WRITE = 4096 };
enum { READ, READV, READ_NONBLOCKING, CLOSE, NR_CALLS };

static _Atomic bool *is_slow; /* the test's and the server's */
static int go_on[2];
static pid_t server;

/* --- the server --- */

static void answer(int fd, const struct fuse_in_header *request, int error,
		   void *body, size_t length)
{
	struct fuse_out_header header = {
		.len = (uint32_t)(sizeof(header) + length),
		.error = -error,
		.unique = request->unique,
	};
	struct iovec parts[] = { { &header, sizeof(header) },
				 { body, length } };

	if (writev(fd, parts, 2) < 0 && errno != ENOENT)
		_exit(EXIT_FAILURE);
}

static struct fuse_attr attributes_of(uint64_t node)
{
	return (struct fuse_attr){
		.ino = node,
		.mode = node == ROOT_NODE ? S_IFDIR | 0755 : S_IFREG | 0644,
		.nlink = 1,
		.size = LENGTH,
	};
}

static void serve_one(int fd, const struct fuse_in_header *request)
{
	struct fuse_init_out init = { .major = FUSE_KERNEL_VERSION,
				      .minor = 31,
				      .max_write = MAX_WRITE };
	struct fuse_entry_out entry = { .nodeid = FILE_NODE,
					.attr = attributes_of(FILE_NODE) };
	struct fuse_attr_out attributes = {
		.attr = attributes_of(request->nodeid),
	};
	const struct fuse_read_in *range = (const void *)(request + 1);
	struct fuse_open_out opened = { .open_flags = FOPEN_DIRECT_IO };
	char data[LENGTH] = "fuse";

	switch (request->opcode) {
	case FUSE_INIT:
		answer(fd, request, 0, &init, sizeof(init));
		break;
	case FUSE_LOOKUP:
		answer(fd, request, 0, &entry, sizeof(entry));
		break;
	case FUSE_GETATTR:
		answer(fd, request, 0, &attributes, sizeof(attributes));
		break;
	case FUSE_OPEN:
		answer(fd, request, 0, &opened, sizeof(opened));
		break;
	case FUSE_READ:
		answer(fd, request, 0, data,
		       range->offset == 0 ? sizeof(data) : 0);
		break;
	case FUSE_FLUSH:
	case FUSE_RELEASE:
		answer(fd, request, 0, NULL, 0);
		break;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		break;
	default:
		answer(fd, request, ENOSYS, NULL, 0);
	}
}

static void serve(int fd)
{
	static _Alignas(struct fuse_in_header) char
		request[FUSE_MIN_READ_BUFFER + MAX_WRITE];
	char byte;

	close(go_on[1]);
	while (read(fd, request, sizeof(request)) > 0) {
		if (*is_slow && read(go_on[0], &byte, 1) < 1)
			break;
		serve_one(fd, (const struct fuse_in_header *)request);
	}
	_exit(EXIT_SUCCESS);
}

/* Over the folder, for this process alone. False, and a line that says why,
 * where that is not allowed. */
static bool mount_server(void)
{
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	char options[64];

	snprintf(options, sizeof(options),
		 "fd=%d,rootmode=40000,user_id=0,group_id=0", fd);
	if (fd < 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", folder, "fuse", 0, options) < 0) {
		printf("SKIP test_fuse: no server can be mounted: %s\n",
		       strerror(errno));
		return false;
	}
	is_slow = mmap(NULL, sizeof(*is_slow), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne((void *)is_slow, MAP_FAILED);
	ck_assert_int_eq(pipe2(go_on, O_CLOEXEC), 0);
	server = fork();
	ck_assert_int_ge(server, 0);
	if (server == 0)
		serve(fd);
	close(fd);
	return true;
}

static void end_server(void)
{
	ck_assert_int_eq(kill(server, SIGKILL), 0);
	ck_assert_int_eq(waitpid(server, NULL, 0), server);
	ck_assert_int_eq(umount2(folder, MNT_DETACH), 0);
}

/* --- */

static int call_slow_server(void *arg)
{
	int call = *(int *)arg;
	char path[sizeof(folder) + 8], bytes[8];
	struct iovec part = { bytes, sizeof(bytes) };
	int fd;

	snprintf(path, sizeof(path), "%s/file", folder);
	fd = open(path, O_RDONLY | O_CLOEXEC |
				(call == READ_NONBLOCKING ? O_NONBLOCK : 0));
	ck_assert_int_ge(fd, 0);
	*is_slow = true;
	if (call == CLOSE)
		return zs_close(fd);
	if (call == READV)
		ck_assert_int_eq(zs_readv(fd, &part, 1), LENGTH);
	else
		ck_assert_int_eq(zs_read(fd, bytes, sizeof(bytes)), LENGTH);
	ck_assert_mem_eq(bytes, "fuse", LENGTH);
	return 0;
}

static int tell_server(void *arg)
{
	static const char enough[16];

	(void)arg;
	/* By then a ring has been told of the call, too. */
	ck_assert_int_eq(zs_sleep(ZS_MILLISECOND), 0);
	*is_slow = false;
	ck_assert_int_eq(write(go_on[1], enough, sizeof(enough)),
			 sizeof(enough));
	return 0;
}

START_TEST(others_go_on_while_a_server_takes_its_time)
{
	int call = _i;

	make_folder(0, "");
	if (call != CLOSE && test_has_ring()) {
		printf("SKIP %s: the ring reads on the worker's thread\n",
		       __func__);
		return;
	}
	if (!mount_server())
		return;
	ck_assert_int_eq(run_siblings(call_slow_server, tell_server, &call), 0);
	end_server();
}
END_TEST

int main(void)
{
	Suite *suite;
	TCase *tests;

	if (test_is_blocking()) {
		printf("SKIP test_fuse: a call to a server is the worker's own "
		       "in the blocking model\n");
		return EXIT_SUCCESS;
	}
	suite = suite_create("fuse");
	tests = tcase_create("fuse");
	tcase_add_checked_fixture(tests, NULL, remove_folder);
	tcase_add_loop_test(tests, others_go_on_while_a_server_takes_its_time,
			    0, NR_CALLS);
	suite_add_tcase(suite, tests);
	return run_suite(suite);
}
