/* SPDX-License-Identifier: MIT */
/*
 * Trials: what zs_kernel_try() finds by using it. A filter in a child plays the
 * kernel without guards, ZSYNC_DISABLE plays the others. Where there is no
 * io_uring at all, as under qemu-user, what needs it is skipped with a line
 * that says so.
 */
#include <check.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "child.h"
#include "descriptors.h"
#include "engine/abi.h"
#include "engine/probe.h"

enum { GUARD_INSTALL = 102, CHILD_SKIPPED = 77 };

/* All that is here, without a mask; false and a line if there is no ring. */
static bool try_all(const char *test, struct zs_kernel *kernel)
{
	ck_assert_int_eq(zs_kernel_probe(kernel), 0);
	ck_assert_int_eq(zs_kernel_try(kernel), 0);
	if (kernel->verdict == ZS_KERNEL_USABLE)
		return true;
	printf("SKIP test_trials: %.*s: no io_uring\n", (int)strlen(test) - 3,
	       test);
	fflush(stdout);
	return false;
}

static void try_masked(const char *mask, struct zs_kernel *kernel)
{
	setenv("ZSYNC_DISABLE", mask, 1);
	ck_assert_int_eq(zs_kernel_probe(kernel), 0);
	ck_assert_int_eq(zs_kernel_try(kernel), 0);
	unsetenv("ZSYNC_DISABLE");
}

static void no_mask(void)
{
	unsetenv("ZSYNC_DISABLE");
}

static bool has_op(const struct zs_kernel *kernel, unsigned int opcode)
{
	return kernel->register_ops >> opcode & 1;
}

START_TEST(every_number_has_a_name_and_a_release)
{
	unsigned int i;

	for (i = 0; i < ZS_URING_NR_REGISTER_OPS; i++)
		ck_assert_msg(zs_kernel_register_name(i)->release, "op %u", i);
	for (i = 0; i < ZS_NR_ABILITIES; i++)
		ck_assert_msg(zs_kernel_ability_name(i)->release, "%u", i);
	ck_assert_str_eq(
		zs_kernel_register_name(ZS_URING_REGISTER_PBUF_RING)->name,
		"REGISTER_PBUF_RING");
	ck_assert_ptr_null(zs_kernel_register_name(ZS_URING_NR_REGISTER_OPS));
	ck_assert_ptr_null(zs_kernel_ability_name(ZS_NR_ABILITIES));
}
END_TEST

/* Opcodes came in this order, by release, so none is there without those of
 * the releases before; and some prove themselves by other means. */
START_TEST(found_opcodes_agree_with_what_else_is_known)
{
	struct zs_kernel kernel;
	unsigned int i;

	if (!try_all(__func__, &kernel))
		return;
	for (i = 0; i <= ZS_URING_REGISTER_ENABLE_RINGS; i++)
		ck_assert_msg(has_op(&kernel, i), "%s",
			      zs_kernel_register_name(i)->name);
	ck_assert_int_eq(has_op(&kernel, ZS_URING_REGISTER_RING_FDS),
			 kernel.has_registered_ring);
	ck_assert_int_eq(has_op(&kernel, ZS_URING_UNREGISTER_RING_FDS),
			 kernel.has_registered_ring);
	ck_assert_int_eq(has_op(&kernel, ZS_URING_REGISTER_PBUF_RING),
			 kernel.abilities >> ZS_ABILITY_BUFFER_RING & 1);
	ck_assert_int_eq(has_op(&kernel, ZS_URING_UNREGISTER_PBUF_RING),
			 has_op(&kernel, ZS_URING_REGISTER_PBUF_RING));
	ck_assert_int_eq(kernel.register_ops >> ZS_URING_NR_REGISTER_OPS, 0);
}
END_TEST

/* The release that each came with is that of a feature that is told of. */
START_TEST(abilities_agree_with_features_of_their_release)
{
	struct zs_kernel kernel;

	if (!try_all(__func__, &kernel))
		return;
	if (kernel.features & ZS_URING_FEAT_RSRC_TAGS) /* 5.13 */
		ck_assert(kernel.abilities & 1u << ZS_ABILITY_POLL_MULTISHOT);
	if (kernel.ops[ZS_URING_OP_SOCKET]) { /* 5.19 */
		ck_assert(kernel.abilities & 1u << ZS_ABILITY_BUFFER_RING);
		ck_assert(kernel.abilities & 1u << ZS_ABILITY_ACCEPT_MULTISHOT);
	}
	if (kernel.ops[ZS_URING_OP_SEND_ZC]) /* 6.0 */
		ck_assert(kernel.abilities & 1u << ZS_ABILITY_RECV_MULTISHOT);
	if (kernel.features & ZS_URING_FEAT_MIN_TIMEOUT) /* 6.12 */
		ck_assert(kernel.abilities & 1u << ZS_ABILITY_BUFFER_RING_INC);
	if (kernel.features & ZS_URING_FEAT_RW_ATTR) /* 6.14 */
		ck_assert(kernel.abilities & 1u << ZS_ABILITY_GUARD_INSTALL);
}
END_TEST

START_TEST(mask_takes_each_opcode_away)
{
	struct zs_kernel plain, kernel;
	unsigned int i;

	if (!try_all(__func__, &plain))
		return;
	for (i = 0; i < ZS_URING_NR_REGISTER_OPS; i++) {
		try_masked(zs_kernel_register_name(i)->name, &kernel);
		ck_assert(kernel.is_masked);
		ck_assert_uint_eq(kernel.register_ops,
				  plain.register_ops & ~(UINT64_C(1) << i));
	}
}
END_TEST

/* With what needs it, and with nothing else. */
START_TEST(mask_takes_each_ability_away)
{
	const uint32_t need_buffers = 1u << ZS_ABILITY_BUFFER_RING_INC |
				      1u << ZS_ABILITY_RECV_MULTISHOT;
	struct zs_kernel plain, kernel;
	uint32_t expected;
	unsigned int i;

	if (!try_all(__func__, &plain))
		return;
	for (i = 0; i < ZS_NR_ABILITIES; i++) {
		try_masked(zs_kernel_ability_name(i)->name, &kernel);
		expected = plain.abilities & ~(1u << i);
		if (i == ZS_ABILITY_BUFFER_RING)
			expected &= ~need_buffers;
		ck_assert_msg(kernel.abilities == expected, "%s: %#x",
			      zs_kernel_ability_name(i)->name,
			      kernel.abilities);
	}
}
END_TEST

/* Neither descriptors nor what was registered. */
START_TEST(trials_leave_nothing_behind)
{
	struct zs_kernel kernel;
	int before = next_fd();
	int i;

	for (i = 0; i < 50; i++) {
		ck_assert_int_eq(zs_kernel_probe(&kernel), 0);
		ck_assert_int_eq(zs_kernel_try(&kernel), 0);
	}
	ck_assert_int_eq(next_fd(), before);
}
END_TEST

START_TEST(no_ring_means_no_more_than_guards)
{
	struct zs_kernel kernel;

	try_masked("io_uring", &kernel);
	ck_assert_uint_eq(kernel.register_ops, 0);
	ck_assert_uint_eq(kernel.abilities & ~(1u << ZS_ABILITY_GUARD_INSTALL),
			  0);
}
END_TEST

START_TEST(bad_mask_is_refused)
{
	struct zs_kernel kernel = { .verdict = ZS_KERNEL_ABSENT };

	setenv("ZSYNC_DISABLE", "buffer_rings", 1);
	ck_assert_int_eq(zs_kernel_try(&kernel), -EINVAL);
	ck_assert_uint_eq(kernel.abilities, 0);
	unsetenv("ZSYNC_DISABLE");
}
END_TEST

/* As before 6.13. */
static void try_without_guard_advice(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, args[2])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, GUARD_INSTALL, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { 6, code };
	struct zs_kernel kernel;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) < 0)
		_exit(CHILD_SKIPPED);
	if (zs_kernel_probe(&kernel) < 0 || zs_kernel_try(&kernel) < 0)
		_exit(2);
	if (kernel.abilities & 1u << ZS_ABILITY_GUARD_INSTALL)
		_exit(1);
}

START_TEST(refused_guard_advice_means_no_guard_regions)
{
	const struct child *child = run_child(try_without_guard_advice);

	if (exited_with(child, CHILD_SKIPPED)) {
		printf("SKIP test_trials: no filter can be installed\n");
		return;
	}
	ck_assert_msg(exited_with(child, 0), "%#x", child->status);
}
END_TEST

static void add_tests(TCase *tests)
{
	tcase_add_checked_fixture(tests, no_mask, no_mask);
	tcase_add_test(tests, every_number_has_a_name_and_a_release);
	tcase_add_test(tests, found_opcodes_agree_with_what_else_is_known);
	tcase_add_test(tests, abilities_agree_with_features_of_their_release);
	tcase_add_test(tests, mask_takes_each_opcode_away);
	tcase_add_test(tests, mask_takes_each_ability_away);
	tcase_add_test(tests, trials_leave_nothing_behind);
	tcase_add_test(tests, no_ring_means_no_more_than_guards);
	tcase_add_test(tests, bad_mask_is_refused);
	tcase_add_test(tests, refused_guard_advice_means_no_guard_regions);
}

int main(void)
{
	Suite *suite = suite_create("trials");
	TCase *tests = tcase_create("trials");
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
