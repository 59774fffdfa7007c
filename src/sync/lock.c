/* SPDX-License-Identifier: MIT */
/* What a lock takes that is not free, called by those who want it. */
#include "sync/lock.h"

#include <errno.h>

#include "base/futex.h"
#include "sched/task.h"

/* Some microseconds, longer than any holder that runs keeps it. */
enum { LOOKS = 256 };

ZS_COLD void zs_lock_await(struct zs_lock *lock)
{
	int saved_errno = errno;
	uint32_t word;
	int i;

	for (i = 0; i < LOOKS; i++) {
		zs_task_relax();
		/* relaxed: only the exchange takes it. */
		if (atomic_load_explicit(&lock->word, memory_order_relaxed) !=
		    ZS_LOCK_FREE)
			continue;
		word = ZS_LOCK_FREE;
		if (atomic_compare_exchange_strong_explicit(
			    &lock->word, &word, ZS_LOCK_TAKEN,
			    memory_order_acquire, memory_order_relaxed))
			return;
	}
	/* From now on it is taken as awaited: others may sleep, too. acquire:
	 * as zs_lock_take(). */
	while (atomic_exchange_explicit(&lock->word, ZS_LOCK_AWAITED,
					memory_order_acquire) != ZS_LOCK_FREE)
		zs_word_wait(&lock->word, ZS_LOCK_AWAITED, NULL);
	errno = saved_errno;
}

ZS_COLD void zs_lock_tell(struct zs_lock *lock)
{
	int saved_errno = errno;

	zs_word_wake(&lock->word);
	errno = saved_errno;
}
