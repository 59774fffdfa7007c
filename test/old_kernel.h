/* SPDX-License-Identifier: MIT */
/*
 * For tests of stacks on kernels that have less: this program's madvise() and
 * mprotect() stand in front of libc's, so that a kernel before 6.13, without
 * MADV_GUARD_INSTALL, and a process without a mapping left can be played.
 */
#ifndef ZS_TEST_OLD_KERNEL_H
#define ZS_TEST_OLD_KERNEL_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ADVISE_GUARD_INSTALL 102 /* MADV_GUARD_INSTALL */

static bool kernel_is_old;
/* How many mappings of no access it may still have; -1: as many as it likes. */
static int guards_left = -1;

int madvise(void *address, size_t length, int advice)
{
	if (kernel_is_old && advice == ADVISE_GUARD_INSTALL) {
		errno = EINVAL;
		return -1;
	}
	return (int)syscall(SYS_madvise, address, length, advice);
}

int mprotect(void *address, size_t length, int protection)
{
	if (protection == PROT_NONE && guards_left == 0) {
		errno = ENOMEM;
		return -1;
	}
	if (protection == PROT_NONE && guards_left > 0)
		guards_left--;
	return (int)syscall(SYS_mprotect, address, length, protection);
}

#endif
