/* SPDX-License-Identifier: MIT */
/* struct statx, from the kernel where libc does not declare it. */
#ifndef TEST_LIBC_H
#define TEST_LIBC_H

#include <sys/stat.h>

#ifndef STATX_BASIC_STATS
#include <linux/stat.h>
#endif

#endif
