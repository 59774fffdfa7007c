/* SPDX-License-Identifier: MIT */
/* What we ask of the compiler. Included by every room. */
#ifndef ZS_BASE_COMPILER_H
#define ZS_BASE_COMPILER_H

#include <stddef.h>

#define ZS_HIDDEN __attribute__((visibility("hidden")))
#define ZS_PUBLIC __attribute__((visibility("default")))
#define ZS_NOINLINE __attribute__((noinline))
#define ZS_ALWAYS_INLINE inline __attribute__((always_inline))
#define ZS_COLD __attribute__((cold, noinline))
#define ZS_PRINTF(position, first) \
	__attribute__((format(printf, position, first)))

#define zs_likely(condition) __builtin_expect(!!(condition), 1)
#define zs_unlikely(condition) __builtin_expect(!!(condition), 0)

/* Data that different threads write must not share one of these. Two lines,
 * because x86 prefetches them in pairs. */
#define ZS_CACHE_LINE 128
#define ZS_CACHE_ALIGNED __attribute__((aligned(ZS_CACHE_LINE)))

/* clang-format would take the minus for a sign. */
/* clang-format off */
#define zs_container_of(pointer, type, member) \
	((type *)((char *)(pointer) - offsetof(type, member)))
/* clang-format on */

#if defined(__SANITIZE_ADDRESS__)
#define ZS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ZS_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define ZS_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define ZS_TSAN 1
#endif
#endif

/* For code that reads what others write without order, on purpose: the dump of
 * a process that may be wedged. */
#if defined(ZS_TSAN)
#define ZS_RACY __attribute__((no_sanitize("thread"), noinline))
#elif defined(ZS_ASAN)
/* The frame that it looks into may be gone, which stays memory all the same. */
#define ZS_RACY __attribute__((no_sanitize("address"), noinline))
#else
#define ZS_RACY
#endif

#endif
