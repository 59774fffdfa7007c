/* SPDX-License-Identifier: MIT */
/*
 * The engine over io_uring on kernels that lack this or that, where memory,
 * descriptors or threads are scarce; and the choice of the engine.
 */
#include <fcntl.h>
#include <sys/stat.h>

#include "uring.h"
#include "uring_engine.h"

enum { ONE_MS = 1000000, ONE_US = 1000 };

/* --- old kernels --- */

/* 5.11, with what else it lacks. */
static const char mask_of_5_11[] =
	"submit_all,coop_taskrun,taskrun_flag,single_issuer,defer_taskrun,"
	"no_sqarray,cqe_skip,no_iowait,register_ring_fds,socket,bind,listen";

static const char *const masks[] = {
	"",
	"submit_all",
	"coop_taskrun",
	"taskrun_flag",
	"single_issuer",
	"defer_taskrun",
	"no_sqarray",
	"defer_taskrun,coop_taskrun",
	"cqe_skip",
	"no_iowait",
	"register_ring_fds",
	mask_of_5_11,
};
enum { NUM_MASKS = sizeof(masks) / sizeof(masks[0]) };

START_TEST(every_feature_can_be_missing)
{
	static struct zs_op ops[200];
	char bytes[2];
	int fds[2];
	struct zs_op op;

	setenv("ZSYNC_DISABLE", masks[_i], 1);
	if (!open_engine(__func__, 4))
		return;
	make_pair(fds);
	submit_nops(ops, 200);
	engine->ops->flush(engine);
	op = recv_op(fds[0], bytes, 2);
	submit(&op);
	reap_nops(200);
	ck_assert_int_ge(wait_of(ONE_MS), ONE_MS);
	ck_assert_int_eq(write(fds[1], "x", 1), 1);
	/* A worker that only polls sees it, too. */
	while (!done.first)
		engine->ops->reap(engine, &done, 0);
	ck_assert_ptr_eq(reap_one(), &op);
	ck_assert_int_eq(op.result, 1);
	submit(&op);
	engine->ops->flush(engine);
	cancel(&op);
	ck_assert_ptr_eq(reap_one(), &op);
	ck_assert_int_eq(op.result, -ECANCELED);
	engine->ops->wake(engine);
	engine->ops->reap(engine, &done, INT64_MAX);
	close_engine();
}
END_TEST

/* A file's life by ops, as somebody who may write in /tmp. */
static void use_a_file(void)
{
	char path[64], bytes[8] = "abcdefg";
	uint64_t status[32] = { 0 };
	struct zs_op op = { .code = ZS_OP_OPENAT,
			    .fd = AT_FDCWD,
			    .address = address_of(path),
			    .length = 0600,
			    .flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC };
	int fd;

	snprintf(path, sizeof(path), "/tmp/zsync-test-uring-%d", (int)getpid());
	unlink(path);
	fd = run(&op);
	ck_assert_int_ge(fd, 0);
	op = (struct zs_op){ .code = ZS_OP_WRITE,
			     .fd = fd,
			     .address = address_of(bytes),
			     .length = 7 };
	ck_assert_int_eq(run(&op), 7);
	op = (struct zs_op){ .code = ZS_OP_FSYNC, .fd = fd };
	ck_assert_int_eq(run(&op), 0);
	op = (struct zs_op){ .code = ZS_OP_STATX,
			     .fd = AT_FDCWD,
			     .address = address_of(path),
			     .length = 0x7ff, /* STATX_BASIC_STATS */
			     .offset = address_of(status) };
	ck_assert_int_eq(run(&op), 0);
	ck_assert_uint_eq(status[5], 7); /* stx_size */
	op = (struct zs_op){ .code = ZS_OP_READ,
			     .fd = fd,
			     .address = address_of(bytes),
			     .length = 4,
			     .offset = 2 };
	ck_assert_int_eq(run(&op), 4);
	ck_assert_mem_eq(bytes, "cdefefg", 7);
	op = (struct zs_op){ .code = ZS_OP_CLOSE, .fd = fd };
	ck_assert_int_eq(run(&op), 0);
	ck_assert_int_eq(run(&op), -EBADF);
	op = (struct zs_op){ .code = ZS_OP_OPENAT,
			     .fd = AT_FDCWD,
			     .address = address_of("/there/is/no/such") };
	ck_assert_int_eq(run(&op), -ENOENT);
	unlink(path);
}

static void use_a_socket(void)
{
	struct sockaddr none = { .sa_family = AF_UNIX };
	struct zs_op op = { .code = ZS_OP_SOCKET,
			    .fd = AF_UNIX,
			    .offset = SOCK_STREAM };
	int fd = run(&op);

	ck_assert_int_ge(fd, 0);
	op = (struct zs_op){ .code = ZS_OP_BIND,
			     .fd = fd,
			     .address = address_of(&none),
			     .offset = sizeof(none.sa_family) };
	ck_assert_int_eq(run(&op), 0);
	op = (struct zs_op){ .code = ZS_OP_LISTEN, .fd = fd, .length = 1 };
	ck_assert_int_eq(run(&op), 0);
	op = (struct zs_op){ .code = ZS_OP_SHUTDOWN,
			     .fd = fd,
			     .length = SHUT_RDWR };
	ck_assert_int_eq(run(&op), 0);
	op = (struct zs_op){ .code = ZS_OP_CLOSE, .fd = fd };
	ck_assert_int_eq(run(&op), 0);
}

START_TEST(ops_that_the_kernel_lacks_become_calls)
{
	if (_i)
		setenv("ZSYNC_DISABLE",
		       "openat,close,fsync,statx,socket,bind,listen,shutdown",
		       1);
	if (!open_engine(__func__, 4))
		return;
	ck_assert(!_i || !kernel.ops[ZS_URING_OP_OPENAT]);
	use_a_file();
	use_a_socket();
	close_engine();
}
END_TEST

/* Where the probe has its say a transfer is never missing; but whatever is, is
 * called plainly, and does not wait. */
START_TEST(what_the_ring_lacks_is_called_plainly)
{
	char byte;
	int fds[2];
	struct zs_op op;

	if (!probe_or_skip(__func__, &kernel))
		return;
	kernel.ops[ZS_URING_OP_RECV] = false;
	zs_queue_init(&done);
	ck_assert_int_eq(zs_engine_create(&engine, ZS_MODEL_GREEN_THREADS,
					  &kernel, test_pool(), 2),
			 0);
	ck_assert_int_eq(engine->ops->start(engine), 0);
	make_pair(fds);
	op = recv_op(fds[0], &byte, 1);
	ck_assert_int_eq(run(&op), ZS_OP_WOULD_WAIT);
	ck_assert_int_eq(write(fds[1], "a", 1), 1);
	ck_assert_int_eq(run(&op), 1);
	ck_assert_int_eq(byte, 'a');
	op = recv_op(-1, &byte, 1);
	ck_assert_int_eq(run(&op), -EBADF);
	close(fds[0]);
	close(fds[1]);
	close_engine();
}
END_TEST

/* --- limits --- */

static void expect_no_ring(void)
{
	enum zs_execution_model chosen;
	char reason[200];

	ck_assert_int_eq(zs_engine_choose(ZS_MODEL_GREEN_THREADS, &kernel,
					  &chosen, reason, sizeof(reason)),
			 -EAGAIN);
	ck_assert_ptr_nonnull(strstr(zs_explain(-EAGAIN), "RLIMIT_NPROC"));
	ck_assert_int_eq(zs_engine_choose(ZS_MODEL_AUTO, &kernel, &chosen,
					  reason, sizeof(reason)),
			 0);
	ck_assert_int_eq(chosen, ZS_MODEL_THREAD_POOL);
	ck_assert_ptr_nonnull(strstr(reason, "RLIMIT_NPROC"));
}

/* The kernel cancels what it finds no thread for; nobody asked it to. */
START_TEST(files_work_where_no_thread_can_be_started)
{
	char path[64];
	struct zs_op op = { .code = ZS_OP_OPENAT,
			    .fd = AT_FDCWD,
			    .address = address_of(path) };

	if (_i)
		setenv("ZSYNC_DISABLE", "bind", 1);
	if (!probe_or_skip(__func__, &kernel) || !become_nobody(__func__))
		return;
	limit(RLIMIT_NPROC, 1);
	/* Others may try for ever. */
	if (!kernel.ops[ZS_URING_OP_BIND]) {
		expect_no_ring();
		unlimit(RLIMIT_NPROC);
		return;
	}
	if (!open_engine(__func__, 4))
		return;
	use_a_file();
	use_a_socket();
	/* A FIFO's peer may be a task of this worker. */
	snprintf(path, sizeof(path), "/tmp/zsync-fifo-%d", (int)getpid());
	unlink(path);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	ck_assert_int_eq(run(&op), ZS_OP_NO_THREAD);
	unlink(path);
	close_engine();
	unlimit(RLIMIT_NPROC);
}
END_TEST

/* A thread of the kernel waits there, until it is told not to. Asked sooner and
 * later: before it has begun, when it is on its way, when it waits. */
START_TEST(cancel_of_a_blocked_open_ends_it_with_ecanceled)
{
	char path[64];
	struct zs_op op = { .code = ZS_OP_OPENAT,
			    .fd = AT_FDCWD,
			    .address = address_of(path) };
	int i;

	if (!open_engine(__func__, 4))
		return;
	snprintf(path, sizeof(path), "/tmp/zsync-fifo-%d", (int)getpid());
	unlink(path);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	for (i = 0; i < 200; i++) {
		submit(&op);
		engine->ops->reap(engine, &done, i * ONE_US);
		cancel(&op);
		ck_assert_ptr_eq(reap_one(), &op);
		ck_assert_int_eq(op.result, -ECANCELED);
	}
	unlink(path);
	close_engine();
}
END_TEST

START_TEST(scarce_locked_memory_makes_the_queue_smaller)
{
	struct zs_op op = { .code = ZS_OP_NOP };
	int before = next_fd();

	if (!probe_or_skip(__func__, &kernel) || !become_nobody(__func__) ||
	    !has_counted_rings(__func__))
		return;
	zs_queue_init(&done);
	limit(RLIMIT_MEMLOCK, 64 << 10);
	ck_assert_int_eq(zs_engine_create(&engine, ZS_MODEL_GREEN_THREADS,
					  &kernel, test_pool(), 4096),
			 0);
	ck_assert_uint_lt(engine->queue_depth, 4096);
	ck_assert_int_eq(engine->ops->start(engine), 0);
	ck_assert_int_eq(run(&op), 0);
	close_engine();
	/* Without any there is an error, and nothing left behind. */
	limit(RLIMIT_MEMLOCK, 0);
	ck_assert_int_eq(zs_engine_create(&engine, ZS_MODEL_GREEN_THREADS,
					  &kernel, test_pool(), 4096),
			 -ENOMEM);
	ck_assert_ptr_nonnull(strstr(zs_explain(-ENOMEM), "RLIMIT_MEMLOCK"));
	ck_assert_int_eq(next_fd(), before);
}
END_TEST

START_TEST(scarce_descriptors_are_an_error_with_a_remedy)
{
	int before = next_fd();

	if (!probe_or_skip(__func__, &kernel))
		return;
	/* None for the eventfd, then one for it and none for the ring. */
	limit(RLIMIT_NOFILE, (rlim_t)before + (rlim_t)(1 - _i));
	ck_assert_int_eq(zs_engine_create(&engine, ZS_MODEL_GREEN_THREADS,
					  &kernel, test_pool(), 4),
			 -EMFILE);
	ck_assert_ptr_nonnull(strstr(zs_explain(-EMFILE), "RLIMIT_NOFILE"));
	unlimit(RLIMIT_NOFILE);
	ck_assert_int_eq(next_fd(), before);
}
END_TEST

/* --- the choice --- */

START_TEST(choice_takes_the_ring_or_says_why_not)
{
	enum zs_execution_model chosen;
	char reason[100];

	if (!probe_or_skip(__func__, &kernel))
		return;
	ck_assert_int_eq(zs_engine_choose(ZS_MODEL_AUTO, &kernel, &chosen,
					  reason, sizeof(reason)),
			 0);
	ck_assert_int_eq(chosen, ZS_MODEL_GREEN_THREADS);
	ck_assert_ptr_nonnull(strstr(reason, "auto"));
	ck_assert_int_eq(zs_engine_choose(ZS_MODEL_GREEN_THREADS, &kernel,
					  &chosen, reason, sizeof(reason)),
			 0);
	ck_assert_int_eq(zs_engine_choose(ZS_MODEL_BLOCKING, &kernel, &chosen,
					  reason, sizeof(reason)),
			 0);
	ck_assert_int_eq(chosen, ZS_MODEL_BLOCKING);
	setenv("ZSYNC_DISABLE", "io_uring", 1);
	ck_assert_int_eq(zs_kernel_probe(&kernel), 0);
	ck_assert_int_eq(zs_engine_choose(ZS_MODEL_GREEN_THREADS, &kernel,
					  &chosen, reason, sizeof(reason)),
			 -ENOSYS);
	ck_assert_ptr_nonnull(strstr(zs_explain(-ENOSYS), "ZSYNC_DISABLE"));
	setenv("ZSYNC_DISABLE", "accept", 1);
	ck_assert_int_eq(zs_kernel_probe(&kernel), 0);
	ck_assert_int_eq(zs_engine_choose(ZS_MODEL_AUTO, &kernel, &chosen,
					  reason, sizeof(reason)),
			 0);
	ck_assert_int_eq(chosen, ZS_MODEL_THREAD_POOL);
	ck_assert_ptr_nonnull(strstr(reason, "ACCEPT"));
}
END_TEST

static void add_tests(TCase *tests)
{
	tcase_add_loop_test(tests, every_feature_can_be_missing, 0, NUM_MASKS);
	tcase_add_loop_test(tests, ops_that_the_kernel_lacks_become_calls, 0,
			    2);
	tcase_add_test(tests, what_the_ring_lacks_is_called_plainly);
	tcase_add_loop_test(tests, files_work_where_no_thread_can_be_started, 0,
			    2);
	tcase_add_test(tests, cancel_of_a_blocked_open_ends_it_with_ecanceled);
	tcase_add_test(tests, scarce_locked_memory_makes_the_queue_smaller);
	tcase_add_loop_test(
		tests, scarce_descriptors_are_an_error_with_a_remedy, 0, 2);
	tcase_add_test(tests, choice_takes_the_ring_or_says_why_not);
}

int main(void)
{
	TCase *tests = tcase_create("uring_kernels");

	add_tests(tests);
	return run_tests(tests, "uring_kernels");
}
