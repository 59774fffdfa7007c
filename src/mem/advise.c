/* SPDX-License-Identifier: MIT */
/* See advise.h. Called when stacks are carved, and when they give their memory
 * back. */
#include "mem/advise.h"

#include <sys/syscall.h>
#include <unistd.h>

/* PIDFD_SELF, Linux 6.15: no descriptor has to be opened, and kept. */
enum { OWN_PROCESS = -10000 };

uint32_t zs_advise(const struct iovec *ranges, uint32_t count, int advice)
{
	ssize_t bytes = syscall(SYS_process_madvise, OWN_PROCESS, ranges,
				(size_t)count, advice, 0);
	uint32_t done = 0;

	while (bytes > 0 && done < count) {
		bytes -= (ssize_t)ranges[done].iov_len;
		done += bytes >= 0;
	}
	return done;
}
