/* SPDX-License-Identifier: MIT */
/*
 * Locked-down places: where io_uring is forbidden, memory, threads or
 * descriptors are scarce, or there is no /proc. A model asked for by name is a
 * clear error where it cannot be had, auto takes thread_pool with the reason,
 * what can run does the same work as anywhere, and no descriptor is left.
 *
 * Each test runs in a process of its own, which is what it locks. Sysctls are
 * the whole machine's, so these are played: the files that are read are ours.
 */
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <limits.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "child.h"
#include "descriptors.h"
#include "runtime.h"
#include "uring.h"

/* --- what is played --- */

/* What the files hold; NULL: what they hold here. */
static const char *io_uring_disabled, *io_uring_group;

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);

static int open_text(const char *text)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -1;
	if (write(fds[1], text, strlen(text)) < 0)
		abort();
	close(fds[1]);
	return fds[0];
}

int __wrap_open(const char *path, int flags, ...)
{
	va_list list;
	int mode;

	va_start(list, flags);
	mode = flags & O_CREAT ? va_arg(list, int) : 0;
	va_end(list);
	if (io_uring_disabled &&
	    strcmp(path, "/proc/sys/kernel/io_uring_disabled") == 0)
		return open_text(io_uring_disabled);
	if (io_uring_group &&
	    strcmp(path, "/proc/sys/kernel/io_uring_group") == 0)
		return open_text(io_uring_group);
	return __real_open(path, flags, mode);
}

/* From here on, system call @number of this thread, and of those that it makes,
 * fails with @error. */
static bool forbid(const char *test, unsigned int number, unsigned int error)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { 4, code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0)
		return true;
	skip(test, "no seccomp filter can be installed");
	return false;
}

/* --- the work --- */

static const char greeting[] = "hello";

static int receive_greeting(void *arg)
{
	char bytes[sizeof(greeting)];
	int *fds = arg;

	ck_assert_int_eq(zs_recv(fds[0], bytes, sizeof(bytes), 0),
			 sizeof(bytes));
	ck_assert_str_eq(bytes, greeting);
	return 0;
}

/* A receiver that parks, and a file: all that a service does. */
static int work(void *arg)
{
	struct zs_nursery nursery;
	char path[64], bytes[sizeof(greeting)] = "";
	int fds[2], fd;

	(void)arg;
	make_unix_pair(SOCK_STREAM, fds);
	ck_assert_int_eq(zs_nursery_open(&nursery, NULL), 0);
	ck_assert_int_eq(zs_nursery_spawn(nursery, receive_greeting, fds), 0);
	ck_assert_int_eq(zs_sleep(ZS_MILLISECOND), 0);
	ck_assert_int_eq(zs_send(fds[1], greeting, sizeof(greeting), 0),
			 sizeof(greeting));
	ck_assert_int_eq(zs_nursery_wait(nursery), 0);
	snprintf(path, sizeof(path), "zsync-test-locked-%d", (int)getpid());
	fd = zs_openat(AT_FDCWD, path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC,
		       0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(zs_pwrite(fd, greeting, sizeof(greeting), 0),
			 sizeof(greeting));
	ck_assert_int_eq(zs_fsync(fd), 0);
	ck_assert_int_eq(zs_pread(fd, bytes, sizeof(bytes), 0), sizeof(bytes));
	ck_assert_str_eq(bytes, greeting);
	ck_assert_int_eq(zs_close(fd), 0);
	unlink(path);
	ck_assert_int_eq(zs_close(fds[0]), 0);
	ck_assert_int_eq(zs_close(fds[1]), 0);
	return 0;
}

static void assert_has(const char *text, const char *part)
{
	ck_assert_msg(strstr(text, part), "\"%s\" lacks \"%s\"", text, part);
}

static struct zs_config config_of(enum zs_execution_model model)
{
	struct zs_config config = test_config();

	/* It would override that. */
	unsetenv("ZSYNC_EXECUTION_MODEL");
	config.execution_model = model;
	return config;
}

/* auto, where there is no ring for the reason @part. */
static void assert_auto_takes_the_pool(const char *part)
{
	struct zs_config config = config_of(ZS_MODEL_AUTO);
	struct zs_runtime *runtime;
	struct zs_runtime_info info;

	ck_assert_int_eq(zs_runtime_create(&runtime, &config), 0);
	ck_assert_int_eq(zs_runtime_info(runtime, &info), 0);
	ck_assert_int_eq(info.execution_model, ZS_MODEL_THREAD_POOL);
	assert_has(zs_runtime_model_reason(runtime), part);
	ck_assert_int_eq(zs_runtime_destroy(runtime), 0);
	ck_assert_int_eq(run_task_with(&config, work, NULL), 0);
}

/* There is no ring, as the text says with each of @parts, up to a NULL, of
 * which the first is also why auto does not take it. */
static void assert_no_ring(int error, const char *const *parts)
{
	struct zs_config config = config_of(ZS_MODEL_GREEN_THREADS);
	struct zs_runtime *runtime;
	int before = next_fd();
	char text[256];

	ck_assert_int_eq(zs_runtime_create(&runtime, &config), error);
	snprintf(text, sizeof(text), "%s", zs_explain(error));
	assert_has(text, "green_threads: ");
	assert_has(text, "remedy: ");
	for (int i = 0; parts[i]; i++)
		assert_has(text, parts[i]);
	assert_auto_takes_the_pool(parts[0]);
	ck_assert_int_eq(next_fd(), before);
}

/* It ends the process where it cannot read the process's mappings. */
static bool sanitizer_allows_it(const char *test)
{
#ifdef ZS_ASAN
	skip(test, "AddressSanitizer needs descriptors and /proc");
	return false;
#else
	(void)test;
	return true;
#endif
}

static bool have_ring(const char *test)
{
	struct zs_kernel kernel;

	return probe_or_skip(test, &kernel);
}

/* --- io_uring is forbidden --- */

/* Each of the three calls; as Docker does it, and as others do. */
START_TEST(filter_before_the_start_is_named_with_its_remedy)
{
	static const char *const calls[] = { "io_uring_setup", "io_uring_enter",
					     "io_uring_register" };
	bool is_eperm = _i < 3;
	const char *const parts[] = { "a seccomp filter",
				      is_eperm ? "EPERM" : "ENOSYS",
				      calls[_i % 3], "--security-opt seccomp",
				      NULL };

	if (!have_ring(__func__) ||
	    !forbid(__func__, ZS_URING_SYSCALL_SETUP + (unsigned int)_i % 3,
		    is_eperm ? EPERM : ENOSYS))
		return;
	assert_no_ring(is_eperm ? -EPERM : -ENOSYS, parts);
}
END_TEST

static const struct {
	const char *disabled, *group;
	int error;
	const char *parts[3];
} sysctls[] = {
	{ "2\n",
	  "-1\n",
	  EPERM,
	  { "io_uring_disabled is 2, off for everyone",
	    "sysctl kernel.io_uring_disabled=0", NULL } },
	{ "1\n",
	  "-1\n",
	  EPERM,
	  { "io_uring_disabled is 1: only root may", "io_uring_group=GID",
	    NULL } },
	{ "1\n",
	  "1234\n",
	  EPERM,
	  { "io_uring_disabled is 1: only group 1234 may", "run in that group",
	    NULL } },
	{ "0\n",
	  "-1\n",
	  EACCES,
	  { "io_uring_setup fails with EACCES, by no sysctl", "audit log",
	    NULL } },
};

START_TEST(sysctl_is_named_with_its_remedy)
{
	if (!have_ring(__func__))
		return;
	io_uring_disabled = sysctls[_i].disabled;
	io_uring_group = sysctls[_i].group;
	play.nr_setups_refused = INT_MAX;
	play.setup_error = sysctls[_i].error;
	assert_no_ring(-EPERM, sysctls[_i].parts);
}
END_TEST

static int late_error;

static int lock_up_and_receive(void *arg)
{
	char byte;
	int fds[2];

	(void)arg;
	make_unix_pair(SOCK_STREAM, fds);
	if (!forbid("late", ZS_URING_SYSCALL_ENTER, (unsigned int)late_error))
		return 0;
	return (int)zs_recv(fds[0], &byte, 1, 0);
}

static void run_locked_up(void)
{
	struct zs_config config = config_of(ZS_MODEL_GREEN_THREADS);

	zs_run(&config, lock_up_and_receive, NULL);
}

/* Nothing could tell the kernel of what is in flight, or end it. */
START_TEST(filter_after_the_start_ends_the_process_with_the_remedy)
{
	const struct child *child;

	if (!have_ring(__func__))
		return;
	late_error = _i ? ENOSYS : EPERM;
	child = run_child(run_locked_up);
	if (exited_with(child, 0)) {
		skip(__func__, "no seccomp filter can be installed");
		return;
	}
	ck_assert_msg(died_of(child, SIGABRT), "%s", child->text);
	assert_has(child->text, "io_uring_enter is forbidden since the start");
	assert_has(child->text, "install seccomp filters before zs_run");
}
END_TEST

static int compare_reasons(void *arg)
{
	struct zs_runtime_info info;

	(void)arg;
	ck_assert_int_eq(zs_runtime_info(NULL, &info), 0);
	ck_assert_str_eq(zs_runtime_model_reason(NULL), info.model_reason);
	return 0;
}

/* Also where nothing is in the way. */
START_TEST(reason_of_the_model_is_there_for_tasks_and_others)
{
	struct zs_config config = config_of(ZS_MODEL_AUTO);
	struct zs_runtime *runtime;

	ck_assert_str_eq(zs_runtime_model_reason(NULL), "");
	if (!runtime_is_to_be_had())
		return;
	ck_assert_int_eq(zs_runtime_create(&runtime, &config), 0);
	ck_assert_int_gt(strlen(zs_runtime_model_reason(runtime)), 0);
	ck_assert_int_eq(zs_runtime_destroy(runtime), 0);
	ck_assert_int_eq(run_task_with(&config, compare_reasons, NULL), 0);
}
END_TEST

/* --- scarce things --- */

/* A user's rings share it: the first ones may be had, and small, and those of
 * many workers not. */
START_TEST(little_locked_memory_makes_small_rings_or_none)
{
	struct zs_config config = config_of(ZS_MODEL_GREEN_THREADS);
	struct zs_runtime *runtime;
	struct zs_runtime_info info;
	int before = next_fd();

	if (!have_ring(__func__) || !become_nobody(__func__))
		return;
	ck_assert_int_eq(chdir("/tmp"), 0);
	limit(RLIMIT_MEMLOCK, 64 << 10);
	config.queue_depth = 4096;
	ck_assert_int_eq(zs_runtime_create(&runtime, &config), 0);
	ck_assert_int_eq(zs_runtime_info(runtime, &info), 0);
	ck_assert_uint_ge(info.queue_depth, ZS_QUEUE_DEPTH_MIN);
	ck_assert_int_eq(zs_runtime_destroy(runtime), 0);
	ck_assert_int_eq(run_task_with(&config, work, NULL), 0);
	config.execution_model = ZS_MODEL_AUTO;
	config.num_workers = 32;
	ck_assert_int_eq(zs_runtime_create(&runtime, &config), 0);
	ck_assert_int_eq(zs_runtime_info(runtime, &info), 0);
	if (info.execution_model == ZS_MODEL_THREAD_POOL)
		assert_has(info.model_reason, "raise RLIMIT_MEMLOCK");
	ck_assert_int_eq(zs_runtime_destroy(runtime), 0);
	ck_assert_int_eq(next_fd(), before);
	unlimit(RLIMIT_MEMLOCK);
}
END_TEST

START_TEST(no_locked_memory_is_named_with_its_remedy)
{
	const char *const parts[] = { "RLIMIT_MEMLOCK, 0 KiB here", "ulimit -l",
				      NULL };
	struct zs_kernel kernel;

	if (!have_ring(__func__) || !become_nobody(__func__))
		return;
	ck_assert_int_eq(chdir("/tmp"), 0);
	limit(RLIMIT_MEMLOCK, 0);
	ck_assert_int_eq(zs_kernel_probe(&kernel), 0);
	if (kernel.verdict == ZS_KERNEL_USABLE)
		skip(__func__, "this kernel does not count rings");
	else
		assert_no_ring(-ENOMEM, parts);
	unlimit(RLIMIT_MEMLOCK);
}
END_TEST

/* Kernels before 6.11 are not to be relied upon there. */
static bool has_ring_without_threads(void)
{
	static const char *const parts[] = { "RLIMIT_NPROC", NULL };
	struct zs_kernel kernel;

	ck_assert_int_eq(zs_kernel_probe(&kernel), 0);
	if (kernel.ops[ZS_URING_OP_BIND])
		return true;
	assert_no_ring(-EAGAIN, parts);
	return false;
}

/* Neither the kernel's threads for files nor ours can be made: what has to wait
 * for a device is done on the worker's. */
START_TEST(work_is_done_where_no_thread_can_be_started)
{
	static const enum zs_execution_model models[] = {
		ZS_MODEL_GREEN_THREADS, ZS_MODEL_THREAD_POOL
	};
	struct zs_config config = config_of(models[_i]);
	struct zs_runtime *runtime;
	int before = next_fd();
	int ret;

	if (_i == 0 && !have_ring(__func__))
		return;
	if (!become_nobody(__func__))
		return;
	ck_assert_int_eq(chdir("/tmp"), 0);
	limit(RLIMIT_NPROC, 1);
	if (_i == 0 && !has_ring_without_threads()) {
		unlimit(RLIMIT_NPROC);
		return;
	}
	ck_assert_int_eq(run_task_with(&config, work, NULL), 0);
	/* A second worker is a thread, and that is an error. */
	config.num_workers = 2;
	ret = zs_runtime_create(&runtime, &config);
	ck_assert_int_eq(ret, 0);
	ret = zs_runtime_start(runtime);
	if (ret == 0) {
		skip(__func__, "this system does not enforce RLIMIT_NPROC");
		zs_runtime_stop(runtime, ZS_NEVER);
	} else {
		ck_assert_int_eq(ret, -EAGAIN);
		assert_has(zs_explain(ret), "lower num_workers or raise "
					    "RLIMIT_NPROC (ulimit -u)");
	}
	ck_assert_int_eq(zs_runtime_destroy(runtime), 0);
	ck_assert_int_eq(next_fd(), before);
	unlimit(RLIMIT_NPROC);
}
END_TEST

static int sleep_a_little(void *arg)
{
	(void)arg;
	return zs_sleep(ZS_MILLISECOND);
}

/* From none to enough: each is the work done or an error that names the limit.
 */
START_TEST(few_descriptors_are_an_error_that_names_the_limit)
{
	struct zs_config config = config_of(ZS_MODEL_AUTO);
	int before = next_fd();
	int nr_errors = 0, nr_runs = 0;

	if (!sanitizer_allows_it(__func__) || !runtime_is_to_be_had())
		return;
	for (int room = 0; room < 12; room++) {
		char text[256];
		int ret;

		limit(RLIMIT_NOFILE, (rlim_t)before + (rlim_t)room);
		ret = zs_run(&config, sleep_a_little, NULL);
		snprintf(text, sizeof(text), "%s", zs_explain(ret));
		unlimit(RLIMIT_NOFILE);
		ck_assert_int_eq(next_fd(), before);
		if (ret == 0) {
			nr_runs++;
			continue;
		}
		nr_errors++;
		ck_assert_int_eq(ret, -EMFILE);
		assert_has(text, "RLIMIT_NOFILE");
		ck_assert_int_eq(nr_runs, 0);
	}
	ck_assert_int_gt(nr_errors, 0);
	ck_assert_int_gt(nr_runs, 0);
}
END_TEST

/* --- an empty file system --- */

static char root_path[] = "/tmp/zsync-test-root-XXXXXX";
static int outside_fd;

static bool enter_empty_root(const char *test)
{
	ck_assert_ptr_nonnull(mkdtemp(root_path));
	outside_fd = __real_open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(outside_fd, 0);
	if (chroot(root_path) == 0) {
		ck_assert_int_eq(chdir("/"), 0);
		return true;
	}
	rmdir(root_path);
	skip(test, "only root can change its root");
	return false;
}

static void leave_empty_root(void)
{
	ck_assert_int_eq(fchdir(outside_fd), 0);
	ck_assert_int_eq(chroot("."), 0);
	close(outside_fd);
	ck_assert_int_eq(rmdir(root_path), 0);
}

static int look_around(void *arg)
{
	int fd = open("sheet", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(work(arg), 0);
	ck_assert_int_eq(zs_runtime_config_print(NULL, fd), 0);
	ck_assert_int_eq(zs_dump(fd), 0);
	close(fd);
	unlink("sheet");
	return 0;
}

/* Neither /proc nor /sys, on each model, workers by the CPUs. */
START_TEST(work_is_done_without_proc_and_sys)
{
	struct zs_config config = config_of((enum zs_execution_model)_i);
	int before = next_fd();

	if (_i == ZS_MODEL_GREEN_THREADS && !have_ring(__func__))
		return;
	if (!sanitizer_allows_it(__func__) || !enter_empty_root(__func__))
		return;
	play.is_off = true;
	config.num_workers = 0;
	config.stall_report_ms = 1000;
	ck_assert_int_eq(run_task_with(&config, look_around, NULL), 0);
	leave_empty_root();
	ck_assert_int_eq(next_fd(), before);
}
END_TEST

/* Who forbids it cannot be told: no text may pretend that it can. */
START_TEST(refusal_without_proc_names_all_that_may_be_the_cause)
{
	const char *const refused[] = { "no /proc to tell why",
					"io_uring_setup fails with EPERM",
					"seccomp filter",
					"kernel.io_uring_disabled=0", NULL };
	const char *const absent[] = { "io_uring_setup fails with ENOSYS",
				       "older than 5.1", "seccomp filter",
				       "no /proc", NULL };

	if (!have_ring(__func__) || !sanitizer_allows_it(__func__) ||
	    !enter_empty_root(__func__))
		return;
	play.nr_setups_refused = INT_MAX;
	play.setup_error = _i ? ENOSYS : EPERM;
	assert_no_ring(-play.setup_error, _i ? absent : refused);
	leave_empty_root();
}
END_TEST

int main(void)
{
	TCase *tests = tcase_create("locked");

	tcase_add_loop_test(
		tests, filter_before_the_start_is_named_with_its_remedy, 0, 6);
	tcase_add_loop_test(tests, sysctl_is_named_with_its_remedy, 0,
			    sizeof(sysctls) / sizeof(sysctls[0]));
	tcase_add_loop_test(
		tests, filter_after_the_start_ends_the_process_with_the_remedy,
		0, 2);
	tcase_add_test(tests,
		       reason_of_the_model_is_there_for_tasks_and_others);
	tcase_add_test(tests, little_locked_memory_makes_small_rings_or_none);
	tcase_add_test(tests, no_locked_memory_is_named_with_its_remedy);
	tcase_add_loop_test(tests, work_is_done_where_no_thread_can_be_started,
			    0, 2);
	tcase_add_test(tests,
		       few_descriptors_are_an_error_that_names_the_limit);
	tcase_add_loop_test(tests, work_is_done_without_proc_and_sys,
			    ZS_MODEL_AUTO, ZS_MODEL_THREAD_POOL + 1);
	tcase_add_loop_test(
		tests, refusal_without_proc_names_all_that_may_be_the_cause, 0,
		2);
	return run_tests(tests, "locked");
}
