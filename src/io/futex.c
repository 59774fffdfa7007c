/* SPDX-License-Identifier: MIT */
/*
 * Futexes. A wait is an operation; a wake never waits, so it is the plain
 * system call, which the kernel sorts to the same waiters. Waits are called by
 * tasks, wakes by any thread.
 */
#include "zsync/futex.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/compiler.h"
#include "base/explain.h"
#include "engine/abi.h"
#include "io/await.h"

static bool is_bad(const uint32_t *word, int flags)
{
	return !word || (uintptr_t)word % sizeof(*word) != 0 ||
	       (flags != ZS_FUTEX_PRIVATE && flags != ZS_FUTEX_SHARED);
}

ZS_PUBLIC int zs_futex_wait(uint32_t *word, uint32_t expected, int flags)
{
	struct zs_op op = {
		.code = ZS_OP_FUTEX_WAIT,
		.fd = ZS_FUTEX2_SIZE_U32,
		.address = (uint64_t)(uintptr_t)word,
		.offset = expected,
	};
	int ret;

	if (is_bad(word, flags))
		return zs_explain_none(-EINVAL);
	if (flags == ZS_FUTEX_PRIVATE)
		op.fd |= ZS_FUTEX2_PRIVATE;
	ret = zs_await(&op);
	/* Interrupted, it may have missed a wake: the caller looks. */
	return ret == -EINTR ? 0 : ret;
}

ZS_PUBLIC int zs_futex_wake(uint32_t *word, int count, int flags)
{
	int operation = flags == ZS_FUTEX_PRIVATE ? FUTEX_WAKE_PRIVATE :
						    FUTEX_WAKE;
	int ret, saved_errno = errno;

	if (is_bad(word, flags) || count < 0)
		return zs_explain_none(-EINVAL);
	/* Of none, the kernel wakes one. */
	if (count == 0)
		return 0;
	ret = (int)syscall(SYS_futex, word, operation, count, NULL, NULL, 0);
	if (ret < 0)
		ret = zs_explain_none(-errno);
	errno = saved_errno;
	return ret;
}
