/* SPDX-License-Identifier: MIT */
/* Barriers on all threads. The command's numbers are the kernel's, ours because
 * not every libc comes with its headers. */
#include "base/barrier.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/assert.h"

enum {
	PRIVATE_EXPEDITED = 1 << 3,	     /* Linux 4.14 */
	REGISTER_PRIVATE_EXPEDITED = 1 << 4, /* likewise */
};

static int call(int command)
{
	int saved_errno = errno;
	int ret = (int)syscall(SYS_membarrier, command, 0, 0);

	errno = saved_errno;
	return ret;
}

bool zs_barrier_prepare(void)
{
	return call(REGISTER_PRIVATE_EXPEDITED) == 0;
}

void zs_barrier_all(void)
{
	int ret = call(PRIVATE_EXPEDITED);

	/* A forked child has not registered: it has one thread, which is us,
	 * or was refused since. */
	if (ret != 0 && zs_barrier_prepare())
		ret = call(PRIVATE_EXPEDITED);
	ZS_ASSERT(ret == 0);
}
