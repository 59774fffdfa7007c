/* SPDX-License-Identifier: MIT */
/*
 * Futexes: tasks that wait until a word in memory is changed, be it by another
 * task, on any worker, by a thread that the runtime knows nothing of, or by
 * another process that shares the memory. For those who build their own means
 * to synchronise, as over futex(2), with whose waiters and wakers these calls
 * agree.
 *
 *	while (atomic_load(&word) == 0)
 *		zs_futex_wait((uint32_t *)&word, 0, ZS_FUTEX_PRIVATE);
 *
 *	atomic_store(&word, 1);
 *	zs_futex_wake((uint32_t *)&word, 1, ZS_FUTEX_PRIVATE);
 */
#ifndef ZSYNC_FUTEX_H
#define ZSYNC_FUTEX_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Both sides say the same. */
enum zs_futex_flags {
	ZS_FUTEX_PRIVATE = 0, /* for this process alone; cheaper */
	ZS_FUTEX_SHARED = 1,  /* for all that share the memory */
};

/*
 * Task. Waits if *word is @expected, which is looked at as one step with the
 * wait's beginning, until somebody wakes it. 0 when it was woken, which can be
 * for no reason: look at the word again. -EAGAIN: *word is not @expected.
 * -EINVAL: NULL, not aligned to 4 bytes, or unknown flags; -EFAULT: no memory
 * there. Where the ring has no such operation (before Linux 6.7), and in the
 * model thread_pool, a thread waits for as long as it lasts; where none can be
 * had, it returns 0 after a millisecond, and wakers do not count it.
 */
int zs_futex_wait(uint32_t *word, uint32_t expected, int flags);

/*
 * Any thread; it does not wait. Wakes up to @count of those that wait on @word:
 * how many. The word is to be changed before: a task that has called
 * zs_futex_wait() but does not yet wait in the kernel is not counted, and finds
 * out by the word. -EINVAL as above, and for a negative @count; -EFAULT.
 */
int zs_futex_wake(uint32_t *word, int count, int flags);

#ifdef __cplusplus
}
#endif
#endif
