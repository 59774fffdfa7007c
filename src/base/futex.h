/* SPDX-License-Identifier: MIT */
/*
 * A thread that waits until a word of memory changes. The numbers are the
 * kernel's, ours because not every libc comes with the kernel's headers. Any
 * thread; both may be called in a signal handler.
 */
#ifndef ZS_BASE_FUTEX_H
#define ZS_BASE_FUTEX_H

#include <limits.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define ZS_FUTEX_WAIT_PRIVATE 128
#define ZS_FUTEX_WAKE_PRIVATE 129

/* Returns when it is woken, when *word is not @value, when @wait (NULL: never)
 * has passed, or for no reason: the caller looks again. */
static inline void zs_word_wait(_Atomic uint32_t *word, uint32_t value,
				const struct timespec *wait)
{
	syscall(SYS_futex, word, ZS_FUTEX_WAIT_PRIVATE, value, wait, NULL, 0);
}

/* Wakes all. */
static inline void zs_word_wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, ZS_FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

#endif
