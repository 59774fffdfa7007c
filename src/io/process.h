/* SPDX-License-Identifier: MIT */
/* What starting a child and waiting for one have in common. */
#ifndef ZS_IO_PROCESS_H
#define ZS_IO_PROCESS_H

#include <sys/types.h>

/* Any thread. A descriptor, the caller's, or a negative errno. */
int zs_pidfd_open(pid_t pid);

#endif
