/* SPDX-License-Identifier: MIT */
/*
 * The probe. A filter in a child of its own plays the containers that forbid
 * io_uring and the kernels that lack it; ZSYNC_DISABLE plays the older ones.
 * Where there is no io_uring at all, as under qemu-user, what needs it is
 * skipped with a line that says so.
 */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/abi.h"
#include "engine/probe.h"
#include "zsync/config.h"

enum { CHILD_SKIPPED = 77 };

/* Check's names of functions end in "_fn", reasons in a remedy. */
static void skip(const char *test, const char *why)
{
	printf("SKIP test_probe: %.*s: %.*s\n", (int)strlen(test) - 3, test,
	       (int)strcspn(why, ";"), why);
	fflush(stdout);
}

/* The probe's answer without a mask; false and a line if there is no ring. */
static bool have_io_uring(const char *test, struct zs_kernel *kernel)
{
	char why[256];

	ck_assert_int_eq(zs_kernel_probe(kernel), 0);
	if (kernel->verdict == ZS_KERNEL_USABLE)
		return true;
	zs_kernel_why_denied(kernel, why, sizeof(why));
	skip(test, why);
	return false;
}

/* The caller of the suite may play an old kernel; these tests do it alone. */
static void no_mask(void)
{
	unsetenv("ZSYNC_DISABLE");
}

static void probe_masked(const char *mask, struct zs_kernel *kernel)
{
	int ret;

	setenv("ZSYNC_DISABLE", mask, 1);
	ret = zs_kernel_probe(kernel);
	ck_assert_msg(ret == 0, "%s: %d", mask, ret);
	unsetenv("ZSYNC_DISABLE");
}

/* --- the probe as it is here --- */

START_TEST(every_number_has_a_name_and_a_release)
{
	unsigned int i;

	for (i = 0; i < ZS_URING_NR_OPS; i++)
		ck_assert_msg(zs_kernel_op_name(i)->name, "op %u", i);
	ck_assert_str_eq(zs_kernel_op_name(ZS_URING_OP_SEND_ZC)->name,
			 "SEND_ZC");
	ck_assert_str_eq(zs_kernel_op_name(ZS_URING_OP_SEND_ZC)->release,
			 "6.0");
	ck_assert_str_eq(zs_kernel_setup_name(13)->name, "DEFER_TASKRUN");
	ck_assert_str_eq(zs_kernel_setup_name(20)->name, "SQ_REWIND");
	ck_assert_str_eq(zs_kernel_feature_name(8)->name, "EXT_ARG");
	ck_assert_str_eq(zs_kernel_feature_name(17)->name, "NO_IOWAIT");
	ck_assert_ptr_null(zs_kernel_op_name(ZS_URING_NR_OPS));
	ck_assert_ptr_null(zs_kernel_setup_name(ZS_URING_NR_SETUP_BITS));
	ck_assert_ptr_null(zs_kernel_feature_name(ZS_URING_NR_FEATURE_BITS));
}
END_TEST

START_TEST(finds_green_threads_usable)
{
	struct zs_kernel kernel;
	char why[256] = "x";

	if (!have_io_uring(__func__, &kernel))
		return;
	ck_assert_str_eq(kernel.missing, "");
	ck_assert_int_eq(kernel.setup_error, 0);
	ck_assert(kernel.has_nodrop);
	ck_assert(kernel.has_fast_poll);
	ck_assert(kernel.has_ext_arg);
	ck_assert(kernel.ops[ZS_URING_OP_ACCEPT]);
	ck_assert(!kernel.ops[255]);
	ck_assert_uint_ge(kernel.last_op, ZS_URING_OP_UNLINKAT);
	zs_kernel_why_denied(&kernel, why, sizeof(why));
	ck_assert_str_eq(why, "");
}
END_TEST

START_TEST(accepted_setup_flags_go_together)
{
	struct zs_uring_params params = { .cq_entries = 8 };
	struct zs_kernel kernel;
	int fd;

	if (!have_io_uring(__func__, &kernel))
		return;
	params.flags = kernel.setup_flags;
	fd = zs_kernel_trial(&params);
	ck_assert_int_ge(fd, 0);
	close(fd);
}
END_TEST

static int count_fds(void)
{
	DIR *folder = opendir("/proc/self/fd");
	int nr = 0;

	ck_assert_ptr_nonnull(folder);
	while (readdir(folder))
		nr++;
	closedir(folder);
	return nr;
}

/* Also with a mask that makes every flag be tried by itself. */
START_TEST(leaks_no_fd)
{
	struct zs_kernel kernel;
	int before = count_fds();
	int i;

	for (i = 0; i < 20; i++) {
		ck_assert_int_eq(zs_kernel_probe(&kernel), 0);
		probe_masked("single_issuer", &kernel);
	}
	ck_assert_int_eq(count_fds(), before);
}
END_TEST

/* --- ZSYNC_DISABLE --- */

START_TEST(mask_takes_each_operation_away)
{
	struct zs_kernel plain, kernel;
	unsigned int op, other;

	if (!have_io_uring(__func__, &plain))
		return;
	for (op = 0; op < ZS_URING_NR_OPS; op++) {
		probe_masked(zs_kernel_op_name(op)->name, &kernel);
		ck_assert(kernel.is_masked);
		for (other = 0; other < 256; other++)
			ck_assert_msg(kernel.ops[other] ==
					      (other != op && plain.ops[other]),
				      "%s, op %u", zs_kernel_op_name(op)->name,
				      other);
		ck_assert_uint_eq(kernel.features, plain.features);
		ck_assert_uint_eq(kernel.setup_flags, plain.setup_flags);
	}
}
END_TEST

START_TEST(mask_takes_each_feature_away)
{
	struct zs_kernel plain, kernel;
	unsigned int bit;

	if (!have_io_uring(__func__, &plain))
		return;
	for (bit = 0; bit < ZS_URING_NR_FEATURE_BITS; bit++) {
		probe_masked(zs_kernel_feature_name(bit)->name, &kernel);
		ck_assert_uint_eq(kernel.features,
				  plain.features & ~(1u << bit));
	}
	probe_masked("cqe_skip", &kernel);
	ck_assert(!kernel.has_cqe_skip);
}
END_TEST

/* What needs the masked flag goes with it, as on a kernel without. */
START_TEST(mask_takes_each_setup_flag_away)
{
	struct zs_kernel plain, kernel;
	uint32_t expected;
	unsigned int bit;

	if (!have_io_uring(__func__, &plain))
		return;
	for (bit = 0; bit < ZS_URING_NR_SETUP_BITS; bit++) {
		probe_masked(zs_kernel_setup_name(bit)->name, &kernel);
		expected = plain.setup_flags & ~(1u << bit);
		if (1u << bit == ZS_URING_SETUP_SINGLE_ISSUER)
			expected &= ~ZS_URING_SETUP_DEFER_TASKRUN;
		ck_assert_msg(kernel.setup_flags == expected, "%s: %#x not %#x",
			      zs_kernel_setup_name(bit)->name,
			      kernel.setup_flags, expected);
	}
	probe_masked("defer_taskrun,coop_taskrun", &kernel);
	ck_assert(!kernel.has_defer_taskrun);
	ck_assert(!kernel.has_taskrun_flag);
}
END_TEST

START_TEST(mask_takes_the_registered_ring_away)
{
	struct zs_kernel kernel;

	probe_masked("register_ring_fds", &kernel);
	ck_assert(!kernel.has_registered_ring);
}
END_TEST

START_TEST(mask_minds_neither_case_nor_blanks)
{
	struct zs_kernel kernel;

	probe_masked(" Send_ZC , ,NO_SQARRAY,splice,\n", &kernel);
	ck_assert(kernel.is_masked);
	ck_assert(!kernel.ops[ZS_URING_OP_SEND_ZC]);
	ck_assert(!kernel.ops[ZS_URING_OP_SPLICE]);
	ck_assert(!kernel.has_no_sqarray);
	probe_masked(" ,, ", &kernel);
	ck_assert(!kernel.is_masked);
}
END_TEST

START_TEST(mask_of_io_uring_switches_all_off)
{
	struct zs_kernel kernel;
	char why[256];

	probe_masked("send,io_uring", &kernel);
	ck_assert_int_eq(kernel.verdict, ZS_KERNEL_ABSENT);
	ck_assert(kernel.is_switched_off);
	ck_assert_uint_eq(kernel.features, 0);
	zs_kernel_why_denied(&kernel, why, sizeof(why));
	ck_assert_ptr_nonnull(strstr(why, "ZSYNC_DISABLE"));
}
END_TEST

START_TEST(unknown_mask_is_refused_with_a_text)
{
	static const char *const bad[] = { "sned", "send_zc,defer", "send-zc",
					   "IORING_OP_SEND", "send zc" };
	struct zs_kernel kernel;
	const char *text;
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		setenv("ZSYNC_DISABLE", bad[i], 1);
		ck_assert_int_eq(zs_kernel_probe(&kernel), -EINVAL);
		ck_assert_int_ne(kernel.verdict, ZS_KERNEL_USABLE);
	}
	setenv("ZSYNC_DISABLE", "recv,sned", 1);
	ck_assert_int_eq(zs_kernel_probe(&kernel), -EINVAL);
	text = zs_explain(-EINVAL);
	ck_assert_ptr_nonnull(strstr(text, "ZSYNC_DISABLE"));
	ck_assert_ptr_nonnull(strstr(text, "\"sned\""));
	ck_assert_ptr_nonnull(strstr(text, "uring-probe"));
	unsetenv("ZSYNC_DISABLE");
}
END_TEST

START_TEST(lacks_of_required_ones_are_named)
{
	struct zs_kernel kernel;
	char why[256];

	if (!have_io_uring(__func__, &kernel))
		return;
	probe_masked("accept,ext_arg", &kernel);
	ck_assert_int_eq(kernel.verdict, ZS_KERNEL_TOO_OLD);
	ck_assert_str_eq(kernel.missing, "EXT_ARG, ACCEPT");
	zs_kernel_why_denied(&kernel, why, sizeof(why));
	ck_assert_ptr_nonnull(strstr(why, "EXT_ARG, ACCEPT"));
	ck_assert_ptr_nonnull(strstr(why, "ZSYNC_DISABLE"));
}
END_TEST

/* The longest list there can be is not cut. */
START_TEST(all_required_ones_fit_the_list)
{
	const char *const mask =
		"nodrop,fast_poll,ext_arg,cqsize,clamp,r_disabled,nop,poll_add,"
		"sendmsg,recvmsg,accept,async_cancel,connect,read,write,send,"
		"recv";
	struct zs_kernel kernel;
	char missing[sizeof(kernel.missing)];
	const char *word;
	int nr = 0;

	if (!have_io_uring(__func__, &kernel))
		return;
	probe_masked(mask, &kernel);
	strcpy(missing, kernel.missing);
	for (word = strtok(missing, ", "); word; word = strtok(NULL, ", "))
		nr++;
	ck_assert_int_eq(nr, 17);
	ck_assert_ptr_nonnull(strstr(kernel.missing, ", RECV"));
}
END_TEST

/* --- where it is forbidden --- */

/* What the probe said in a child behind a filter. */
struct answer {
	int ret;
	struct zs_kernel kernel;
	char why[256];
};

/* From here on, system call @number of this process fails with @error. */
static int forbid(unsigned int number, unsigned int error)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { 4, code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) < 0)
		return -errno;
	return 0;
}

static int forbid_fds(unsigned int number, unsigned int error)
{
	struct rlimit limit = { 0, 0 };

	(void)number;
	(void)error;
	return setrlimit(RLIMIT_NOFILE, &limit);
}

/* The probe in a child that @prepare has put in a box. False if it could not,
 * or if there is no io_uring to forbid. */
static bool probe_boxed(const char *test,
			int (*prepare)(unsigned int, unsigned int),
			unsigned int number, unsigned int error,
			struct answer *answer)
{
	struct zs_kernel kernel;
	struct answer *shared;
	int status;
	pid_t child;

	if (!have_io_uring(test, &kernel))
		return false;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(shared, MAP_FAILED);
	child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0) {
		if (prepare(number, error) < 0)
			_exit(CHILD_SKIPPED);
		shared->ret = zs_kernel_probe(&shared->kernel);
		zs_kernel_why_denied(&shared->kernel, shared->why,
				     sizeof(shared->why));
		_exit(0);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	*answer = *shared;
	munmap(shared, sizeof(*shared));
	ck_assert(WIFEXITED(status));
	if (WEXITSTATUS(status) == CHILD_SKIPPED) {
		skip(test, "no filter can be installed");
		return false;
	}
	ck_assert_int_eq(WEXITSTATUS(status), 0);
	ck_assert_int_eq(answer->ret, 0);
	ck_assert_uint_lt(strlen(answer->why), sizeof(answer->why) - 1);
	return true;
}

/* Each of the three calls may be the one that is not allowed. */
START_TEST(filter_with_eperm_means_denied)
{
	static const char *const names[] = { "io_uring_setup", "io_uring_enter",
					     "io_uring_register" };
	struct answer answer;

	if (!probe_boxed(__func__, forbid,
			 ZS_URING_SYSCALL_SETUP + (unsigned int)_i, EPERM,
			 &answer))
		return;
	ck_assert_int_eq(answer.kernel.verdict, ZS_KERNEL_DENIED);
	ck_assert_int_eq(answer.kernel.setup_error, -EPERM);
	ck_assert_ptr_nonnull(strstr(answer.why, "seccomp filter"));
	ck_assert_ptr_nonnull(strstr(answer.why, names[_i]));
	ck_assert_ptr_nonnull(strstr(answer.why, "EPERM"));
	ck_assert_ptr_nonnull(strstr(answer.why, "--security-opt"));
}
END_TEST

START_TEST(filter_with_enosys_means_absent)
{
	struct answer answer;

	if (!probe_boxed(__func__, forbid, ZS_URING_SYSCALL_SETUP, ENOSYS,
			 &answer))
		return;
	ck_assert_int_eq(answer.kernel.verdict, ZS_KERNEL_ABSENT);
	ck_assert_int_eq(answer.kernel.setup_error, -ENOSYS);
	ck_assert_ptr_nonnull(strstr(answer.why, "seccomp filter"));
	ck_assert_ptr_nonnull(strstr(answer.why, "ENOSYS"));
}
END_TEST

/* The probe waits for memory a few times, then says which limit it is. */
START_TEST(lasting_enomem_means_no_memory)
{
	struct answer answer;

	if (!probe_boxed(__func__, forbid, ZS_URING_SYSCALL_SETUP, ENOMEM,
			 &answer))
		return;
	ck_assert_int_eq(answer.kernel.verdict, ZS_KERNEL_NO_MEMORY);
	ck_assert_int_eq(answer.kernel.setup_error, -ENOMEM);
	ck_assert_ptr_nonnull(strstr(answer.why, "RLIMIT_MEMLOCK"));
}
END_TEST

START_TEST(no_free_fd_means_no_memory)
{
	struct answer answer;

	if (!probe_boxed(__func__, forbid_fds, 0, 0, &answer))
		return;
	ck_assert_int_eq(answer.kernel.verdict, ZS_KERNEL_NO_MEMORY);
	ck_assert_int_eq(answer.kernel.setup_error, -EMFILE);
	ck_assert_ptr_nonnull(strstr(answer.why, "RLIMIT_NOFILE"));
}
END_TEST

/* Before 5.6 the kernel could not be asked for its operations. */
START_TEST(no_register_probe_means_too_old)
{
	struct answer answer;

	if (!probe_boxed(__func__, forbid, ZS_URING_SYSCALL_REGISTER, EINVAL,
			 &answer))
		return;
	ck_assert_int_eq(answer.kernel.verdict, ZS_KERNEL_TOO_OLD);
	ck_assert_ptr_nonnull(strstr(answer.kernel.missing, "ACCEPT"));
	ck_assert(!answer.kernel.has_registered_ring);
}
END_TEST

static void add_tests(TCase *tests)
{
	tcase_add_checked_fixture(tests, no_mask, no_mask);
	tcase_add_test(tests, every_number_has_a_name_and_a_release);
	tcase_add_test(tests, finds_green_threads_usable);
	tcase_add_test(tests, accepted_setup_flags_go_together);
	tcase_add_test(tests, leaks_no_fd);
	tcase_add_test(tests, mask_takes_each_operation_away);
	tcase_add_test(tests, mask_takes_each_feature_away);
	tcase_add_test(tests, mask_takes_each_setup_flag_away);
	tcase_add_test(tests, mask_takes_the_registered_ring_away);
	tcase_add_test(tests, mask_minds_neither_case_nor_blanks);
	tcase_add_test(tests, mask_of_io_uring_switches_all_off);
	tcase_add_test(tests, unknown_mask_is_refused_with_a_text);
	tcase_add_test(tests, lacks_of_required_ones_are_named);
	tcase_add_test(tests, all_required_ones_fit_the_list);
	tcase_add_loop_test(tests, filter_with_eperm_means_denied, 0, 3);
	tcase_add_test(tests, filter_with_enosys_means_absent);
	tcase_add_test(tests, lasting_enomem_means_no_memory);
	tcase_add_test(tests, no_free_fd_means_no_memory);
	tcase_add_test(tests, no_register_probe_means_too_old);
}

int main(void)
{
	Suite *suite = suite_create("probe");
	TCase *tests = tcase_create("probe");
	SRunner *runner;
	int nr_failed;

	add_tests(tests);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	nr_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return nr_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
