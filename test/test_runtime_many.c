/* SPDX-License-Identifier: MIT */
/*
 * A thousand runtimes, one after another, in a process without privileges whose
 * locked memory is limited to 8 MiB: rings count as that, and the kernel lets
 * go of theirs a moment after they are closed.
 */
#include <check.h>
#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/compiler.h"
#include "workers.h"

#if defined(ZS_ASAN) || defined(ZS_TSAN)
enum { NR_RUNTIMES = 100 };
#else
enum { NR_RUNTIMES = 1000 };
#endif

enum { NOBODY = 65534 };

static struct counter ended;

static void become_nobody(void)
{
	struct rlimit limit = { 8 << 20, 8 << 20 };

	ck_assert_int_eq(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
	if (geteuid() != 0)
		return;
	ck_assert_int_eq(setgroups(0, NULL), 0);
	ck_assert_int_eq(setresgid(NOBODY, NOBODY, NOBODY), 0);
	ck_assert_int_eq(setresuid(NOBODY, NOBODY, NOBODY), 0);
}

/* Binds the port, and takes a connection to it, so that one end lingers on. */
static int bind_and_connect(void *arg)
{
	int *port = arg;
	char address[24];
	int listener, near, far;

	snprintf(address, sizeof(address), "127.0.0.1:%d", *port);
	listener = zs_tcp_listen(address, 1);
	ck_assert_msg(listener >= 0, "port %d: %s", *port,
		      zs_explain(listener));
	*port = zs_local_port(listener);
	far = connect_to_port(*port);
	ck_assert_int_ge(far, 0);
	near = zs_accept(listener, NULL, NULL, 0);
	ck_assert_int_ge(near, 0);
	close(near);
	close(far);
	close(listener);
	count(&ended);
	return 0;
}

START_TEST(thousand_runtimes_need_no_more_locked_memory_than_one)
{
	int port = 0;

	become_nobody();
	for (uint32_t i = 1; i <= NR_RUNTIMES; i++) {
		struct zs_runtime *runtime;
		struct zs_config config = test_config();

		config.num_workers = 1 + i % 2;
		assert_ok(zs_runtime_create(&runtime, &config));
		assert_ok(zs_runtime_start(runtime));
		assert_ok(zs_runtime_spawn(runtime, bind_and_connect, &port));
		await_count(&ended, i);
		stop_and_destroy(runtime);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("runtime_many");
	TCase *tests = tcase_create("runtime_many");

	tcase_set_timeout(tests, 120);
	tcase_add_test(tests,
		       thousand_runtimes_need_no_more_locked_memory_than_one);
	suite_add_tcase(suite, tests);
	return run_suite(suite);
}
