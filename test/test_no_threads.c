/* SPDX-License-Identifier: MIT */
/*
 * Calls that may wait for ever, in the model thread_pool when no thread can be
 * had for them: they fail, and say why, while others go on; or they do without.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "descriptors.h"
#include "folder.h"
#include "runtime.h"

/* --- between the pool and libc; see the Kbuild --- */

static bool has_threads = true;

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

static int run_in_pool(zs_task_fn *fn)
{
	struct zs_config config = test_config();

	config.execution_model = ZS_MODEL_THREAD_POOL;
	return run_task_with(&config, fn, NULL);
}

static void expect_no_thread(ssize_t ret)
{
	ck_assert_int_eq(ret, -EAGAIN);
	ck_assert_msg(strstr(zs_explain(-EAGAIN), "no thread"), "%s",
		      zs_explain(-EAGAIN));
}

/* --- opens --- */

static int open_fifo(int flags)
{
	return zs_openat(directory, "fifo", flags, 0);
}

static int open_alone(void *arg)
{
	(void)arg;
	has_threads = false;
	expect_no_thread(open_fifo(O_RDONLY));
	/* What does not wait for somebody is done without. */
	ck_assert_int_eq(open_fifo(O_WRONLY | O_NONBLOCK), -ENXIO);
	return zs_sleep(ZS_MILLISECOND);
}

START_TEST(open_of_a_fifo_fails_where_no_thread_can_be_made)
{
	make_folder(0, "");
	ck_assert_int_eq(mkfifoat(directory, "fifo", 0600), 0);
	ck_assert_int_eq(run_in_pool(open_alone), 0);
	remove_folder();
}
END_TEST

static int open_to_read(void *arg)
{
	int fd = open_fifo(O_RDONLY);

	(void)arg;
	ck_assert_int_ge(fd, 0);
	return zs_close(fd);
}

/* Opens both ends. */
static void meet(void)
{
	struct zs_nursery nursery;
	int fd;

	ck_assert_int_eq(zs_nursery_open(&nursery, NULL), 0);
	ck_assert_int_eq(zs_nursery_spawn(nursery, open_to_read, NULL), 0);
	do {
		ck_assert_int_eq(zs_sleep(ZS_MILLISECOND), 0);
		fd = open_fifo(O_WRONLY | O_NONBLOCK);
	} while (fd == -ENXIO);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(zs_nursery_wait(nursery), 0);
	ck_assert_int_eq(zs_close(fd), 0);
}

static int meet_twice(void *arg)
{
	(void)arg;
	meet();
	has_threads = false;
	meet();
	return 0;
}

START_TEST(idle_thread_will_do_where_no_other_can_be_made)
{
	make_folder(0, "");
	ck_assert_int_eq(mkfifoat(directory, "fifo", 0600), 0);
	ck_assert_int_eq(run_in_pool(meet_twice), 0);
	remove_folder();
}
END_TEST

/* --- what is asked for again when its descriptor is ready --- */

/* The first of its kind that needs a thread, since the socket may block. */
static int accept_ready(void *arg)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	socklen_t size = sizeof(address);
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int peer = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int fd;

	(void)arg;
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&address,
			      sizeof(sa_family_t)),
			 0);
	ck_assert_int_eq(listen(listener, 1), 0);
	ck_assert_int_eq(
		getsockname(listener, (struct sockaddr *)&address, &size), 0);
	ck_assert_int_eq(connect(peer, (struct sockaddr *)&address, size), 0);
	has_threads = false;
	expect_no_thread(zs_accept(listener, NULL, NULL, 0));
	has_threads = true;
	fd = zs_accept(listener, NULL, NULL, 0);
	ck_assert_int_ge(fd, 0);
	close(fd);
	close(peer);
	return zs_close(listener);
}

START_TEST(accept_that_may_block_fails_where_no_thread_can_be_made)
{
	ck_assert_int_eq(run_in_pool(accept_ready), 0);
}
END_TEST

static int read_terminal(void *arg)
{
	char bytes[8];
	int ends[2];

	(void)arg;
	make_terminal(ends);
	ck_assert_int_eq(write(ends[1], "a\n", 2), 2);
	has_threads = false;
	expect_no_thread(zs_read(ends[0], bytes, sizeof(bytes)));
	expect_no_thread(zs_read_full(ends[0], bytes, 2));
	has_threads = true;
	ck_assert_int_eq(zs_read_full(ends[0], bytes, 2), 2);
	close(ends[0]);
	close(ends[1]);
	return 0;
}

START_TEST(read_of_a_terminal_fails_where_no_thread_can_be_made)
{
	ck_assert_int_eq(run_in_pool(read_terminal), 0);
}
END_TEST

static int splice_nothing(void *arg)
{
	int from[2], to[2];

	(void)arg;
	make_pipe(from);
	make_pipe(to);
	has_threads = false;
	expect_no_thread(zs_splice(from[0], NULL, to[1], NULL, 1, 0));
	ck_assert_int_eq(write(from[1], "x", 1), 1);
	ck_assert_int_eq(zs_splice(from[0], NULL, to[1], NULL, 1, 0), 1);
	close(from[0]);
	close(from[1]);
	close(to[0]);
	return zs_close(to[1]);
}

START_TEST(splice_that_would_wait_fails_where_no_thread_can_be_made)
{
	ck_assert_int_eq(run_in_pool(splice_nothing), 0);
}
END_TEST

/* --- what does without --- */

static uint32_t word;

static int change_word(void *arg)
{
	(void)arg;
	zs_sleep(2 * ZS_MILLISECOND);
	__atomic_store_n(&word, 1, __ATOMIC_RELAXED);
	zs_futex_wake(&word, 1, ZS_FUTEX_PRIVATE);
	return 0;
}

static int wait_for_word(void *arg)
{
	struct zs_nursery nursery;
	int ret = 0;

	(void)arg;
	has_threads = false;
	ck_assert_int_eq(zs_nursery_open(&nursery, NULL), 0);
	ck_assert_int_eq(zs_nursery_spawn(nursery, change_word, NULL), 0);
	while (__atomic_load_n(&word, __ATOMIC_RELAXED) == 0 && ret == 0)
		ret = zs_futex_wait(&word, 0, ZS_FUTEX_PRIVATE);
	ck_assert(ret == 0 || ret == -EAGAIN);
	return zs_nursery_wait(nursery);
}

START_TEST(wait_on_a_futex_needs_no_thread)
{
	ck_assert_int_eq(run_in_pool(wait_for_word), 0);
}
END_TEST

int main(void)
{
	Suite *suite;
	TCase *tests;

	if (test_is_blocking()) {
		puts("SKIP test_no_threads: the blocking model has none");
		return 0;
	}
	suite = suite_create("no_threads");
	tests = tcase_create("no_threads");
	tcase_add_test(tests, open_of_a_fifo_fails_where_no_thread_can_be_made);
	tcase_add_test(tests, idle_thread_will_do_where_no_other_can_be_made);
	tcase_add_test(tests,
		       accept_that_may_block_fails_where_no_thread_can_be_made);
	tcase_add_test(tests,
		       read_of_a_terminal_fails_where_no_thread_can_be_made);
	tcase_add_test(
		tests,
		splice_that_would_wait_fails_where_no_thread_can_be_made);
	tcase_add_test(tests, wait_on_a_futex_needs_no_thread);
	suite_add_tcase(suite, tests);
	return run_suite(suite);
}
