/* SPDX-License-Identifier: MIT */
/*
 * Futexes. A wait is an operation; a wake never waits, so it is the plain
 * system call, which the kernel sorts to the same waiters. Waits are called by
 * tasks, wakes by any thread.
 */
#include "zsync/futex.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/compiler.h"
#include "base/explain.h"
#include "engine/abi.h"
#include "io/await.h"
#include "zsync/time.h"

/* Between two looks at a word for which no thread waits. */
#define PAUSE_NS ZS_MILLISECOND

static bool is_bad(const uint32_t *word, int flags)
{
	return !word || (uintptr_t)word % sizeof(*word) != 0 ||
	       (flags != ZS_FUTEX_PRIVATE && flags != ZS_FUTEX_SHARED);
}

/* -EAGAIN is either that the word has another value, or that there was no
 * thread to wait in. Which one the kernel tells, if it may not wait: it reads
 * the word without a fault. Then a pause stands for the wait, which may end for
 * no reason. */
static int look_again(uint32_t *word, uint32_t expected, int flags)
{
	const struct timespec at_once = { 0 };
	int operation = flags == ZS_FUTEX_PRIVATE ? ZS_FUTEX_CALL_WAIT_PRIVATE :
						    ZS_FUTEX_CALL_WAIT;
	int ret = 0, saved_errno = errno;

	if (syscall(SYS_futex, word, operation, expected, &at_once, NULL, 0) <
	    0)
		ret = -errno;
	errno = saved_errno;
	if (ret == -ETIMEDOUT)
		return zs_sleep(PAUSE_NS);
	return ret < 0 && ret != -EINTR ? zs_explain_none(ret) : 0;
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
	if (ret == -EAGAIN)
		return look_again(word, expected, flags);
	/* Interrupted, it may have missed a wake: the caller looks. */
	return ret == -EINTR ? 0 : ret;
}

ZS_PUBLIC int zs_futex_wake(uint32_t *word, int count, int flags)
{
	int operation = flags == ZS_FUTEX_PRIVATE ? ZS_FUTEX_CALL_WAKE_PRIVATE :
						    ZS_FUTEX_CALL_WAKE;
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
