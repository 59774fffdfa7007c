/* SPDX-License-Identifier: MIT */
/*
 * The system call instruction, x86_64. For the calls of every message alone,
 * see engine/bare.h: in line they need no frame, keep nothing in memory over
 * them and leave errno alone. Any thread.
 */
#ifndef ZS_ARCH_SYSCALL_H
#define ZS_ARCH_SYSCALL_H

/* A result or a negative errno. */
static inline __attribute__((always_inline)) long
zs_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10),
			   "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

#endif
