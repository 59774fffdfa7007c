/* SPDX-License-Identifier: MIT */
/* Callee-saved registers, for the tests of switches: filled, and looked at
 * again after what is to keep them. */
#ifndef ZS_TEST_REGISTERS_H
#define ZS_TEST_REGISTERS_H

#include <stdint.h>

/*
 * registers_across(const uint64_t *before, uint64_t *after): loads the
 * callee-saved registers from @before, calls cross(), stores to @after
 * what it finds in them.
 */
void registers_across(const uint64_t *before, uint64_t *after);
/* The test's own. */
void cross(void);

#if defined(__x86_64__)
#define NUM_REGISTERS 6
__asm__(".text\n"
	".globl registers_across\n"
	".type registers_across, @function\n"
	"registers_across:\n\t"
	"push %rbx\n\t"
	"push %rbp\n\t"
	"push %r12\n\t"
	"push %r13\n\t"
	"push %r14\n\t"
	"push %r15\n\t"
	"push %rsi\n\t"
	"mov 0(%rdi), %rbx\n\t"
	"mov 8(%rdi), %rbp\n\t"
	"mov 16(%rdi), %r12\n\t"
	"mov 24(%rdi), %r13\n\t"
	"mov 32(%rdi), %r14\n\t"
	"mov 40(%rdi), %r15\n\t"
	"call cross\n\t"
	"pop %rsi\n\t"
	"mov %rbx, 0(%rsi)\n\t"
	"mov %rbp, 8(%rsi)\n\t"
	"mov %r12, 16(%rsi)\n\t"
	"mov %r13, 24(%rsi)\n\t"
	"mov %r14, 32(%rsi)\n\t"
	"mov %r15, 40(%rsi)\n\t"
	"pop %r15\n\t"
	"pop %r14\n\t"
	"pop %r13\n\t"
	"pop %r12\n\t"
	"pop %rbp\n\t"
	"pop %rbx\n\t"
	"ret\n\t"
	".size registers_across, . - registers_across");
#elif defined(__aarch64__)
/* x19-x29 and d8-d15. */
#define NUM_REGISTERS 19
__asm__(".text\n"
	".globl registers_across\n"
	".type registers_across, %function\n"
	"registers_across:\n\t"
	"hint #34\n\t"
	"stp x29, x30, [sp, #-176]!\n\t"
	"stp x19, x20, [sp, #16]\n\t"
	"stp x21, x22, [sp, #32]\n\t"
	"stp x23, x24, [sp, #48]\n\t"
	"stp x25, x26, [sp, #64]\n\t"
	"stp x27, x28, [sp, #80]\n\t"
	"stp d8, d9, [sp, #96]\n\t"
	"stp d10, d11, [sp, #112]\n\t"
	"stp d12, d13, [sp, #128]\n\t"
	"stp d14, d15, [sp, #144]\n\t"
	"str x1, [sp, #160]\n\t"
	"ldp x19, x20, [x0]\n\t"
	"ldp x21, x22, [x0, #16]\n\t"
	"ldp x23, x24, [x0, #32]\n\t"
	"ldp x25, x26, [x0, #48]\n\t"
	"ldp x27, x28, [x0, #64]\n\t"
	"ldr x29, [x0, #80]\n\t"
	"ldp d8, d9, [x0, #88]\n\t"
	"ldp d10, d11, [x0, #104]\n\t"
	"ldp d12, d13, [x0, #120]\n\t"
	"ldp d14, d15, [x0, #136]\n\t"
	"bl cross\n\t"
	"ldr x1, [sp, #160]\n\t"
	"stp x19, x20, [x1]\n\t"
	"stp x21, x22, [x1, #16]\n\t"
	"stp x23, x24, [x1, #32]\n\t"
	"stp x25, x26, [x1, #48]\n\t"
	"stp x27, x28, [x1, #64]\n\t"
	"str x29, [x1, #80]\n\t"
	"stp d8, d9, [x1, #88]\n\t"
	"stp d10, d11, [x1, #104]\n\t"
	"stp d12, d13, [x1, #120]\n\t"
	"stp d14, d15, [x1, #136]\n\t"
	"ldp x19, x20, [sp, #16]\n\t"
	"ldp x21, x22, [sp, #32]\n\t"
	"ldp x23, x24, [sp, #48]\n\t"
	"ldp x25, x26, [sp, #64]\n\t"
	"ldp x27, x28, [sp, #80]\n\t"
	"ldp d8, d9, [sp, #96]\n\t"
	"ldp d10, d11, [sp, #112]\n\t"
	"ldp d12, d13, [sp, #128]\n\t"
	"ldp d14, d15, [sp, #144]\n\t"
	"ldp x29, x30, [sp], #176\n\t"
	"ret\n\t"
	".size registers_across, . - registers_across");
#endif

static inline void fill(uint64_t *registers, uint64_t seed)
{
	int i;

	for (i = 0; i < NUM_REGISTERS; i++)
		registers[i] = seed * 0x9e3779b97f4a7c15u + (uint64_t)i;
}

#endif
