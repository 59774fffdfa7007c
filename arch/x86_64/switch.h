/* SPDX-License-Identifier: MIT */
/*
 * The switch between two stacks, x86_64 (System V ABI). Included by the
 * scheduler alone; any thread, as long as no two run on one stack.
 *
 * zs_switch() is a jump and not a call. A processor predicts each return from
 * its own stack of return addresses, which knows nothing of ours: a called
 * switch leaves one address too many on it (or, if it ends in `ret`, takes one
 * that need not fit), and every return that the resumed context makes up its
 * call chain is then mispredicted. With the jump, two tasks that park by the
 * same path find that stack as they need it: three calls deep a switch takes
 * 6 ns instead of 26 (Zen 4).
 */
#ifndef ZS_ARCH_SWITCH_H
#define ZS_ARCH_SWITCH_H

/* struct zs_switch_frame, for switch.S. */
#define ZS_FRAME_MXCSR 0
#define ZS_FRAME_X87_CONTROL 4
#define ZS_FRAME_R12 8
#define ZS_FRAME_R13 16
#define ZS_FRAME_R14 24
#define ZS_FRAME_R15 32
#define ZS_FRAME_RBX 40
#define ZS_FRAME_RBP 48
#define ZS_FRAME_RESUME 56
#define ZS_FRAME_SIZE 64

/* The frame lies below the red zone: the function that switches may be using
 * that, since to the compiler it calls nothing. So the stack pointer of a
 * context that is resumed is that of its frame plus ZS_FRAME_SPAN. */
#define ZS_FRAME_RED_ZONE 128
#define ZS_FRAME_SPAN (ZS_FRAME_SIZE + ZS_FRAME_RED_ZONE)

/* What a new context starts with, by the ABI: round to nearest, no traps. */
#define ZS_MXCSR_ABI 0x1f80
#define ZS_X87_CONTROL_ABI 0x037f

#ifndef __ASSEMBLER__

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

#include "base/compiler.h"

/* What the stack pointer of a context that does not run points at. */
struct zs_switch_frame {
	uint32_t mxcsr;
	uint16_t x87_control;
	uint16_t unused;
	uint64_t r12;
	uint64_t r13;
	uint64_t r14;
	uint64_t r15;
	uint64_t rbx;
	uint64_t rbp;
	uint64_t resume;
};

#define ZS_FRAME_CHECK(field, offset)                                    \
	static_assert(offsetof(struct zs_switch_frame, field) == offset, \
		      "switch.S disagrees on " #field)
ZS_FRAME_CHECK(mxcsr, ZS_FRAME_MXCSR);
ZS_FRAME_CHECK(x87_control, ZS_FRAME_X87_CONTROL);
ZS_FRAME_CHECK(r12, ZS_FRAME_R12);
ZS_FRAME_CHECK(r13, ZS_FRAME_R13);
ZS_FRAME_CHECK(r14, ZS_FRAME_R14);
ZS_FRAME_CHECK(r15, ZS_FRAME_R15);
ZS_FRAME_CHECK(rbx, ZS_FRAME_RBX);
ZS_FRAME_CHECK(rbp, ZS_FRAME_RBP);
ZS_FRAME_CHECK(resume, ZS_FRAME_RESUME);
static_assert(sizeof(struct zs_switch_frame) == ZS_FRAME_SIZE,
	      "switch.S disagrees on the size");
static_assert(ZS_FRAME_SPAN % 16 == 0, "the ABI aligns stacks to 16");

/* In switch.S; never called from C. A new context starts at zs_switch_start,
 * inside of zs_switch_trampoline. */
void zs_switch_start(void);
void zs_switch_trampoline(void);
void zs_task_entry_returned(void);

/* The registers that a call may change, and that the compiler must therefore
 * not keep anything in. */
#ifdef __AVX512F__
#define ZS_SWITCH_CLOBBER_AVX512                                               \
	, "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22",       \
		"xmm23", "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", \
		"xmm30", "xmm31", "k1", "k2", "k3", "k4", "k5", "k6", "k7"
#else
#define ZS_SWITCH_CLOBBER_AVX512
#endif
#ifdef __APX_F__
#define ZS_SWITCH_CLOBBER_APX                                            \
	, "r16", "r17", "r18", "r19", "r20", "r21", "r22", "r23", "r24", \
		"r25", "r26", "r27", "r28", "r29", "r30", "r31"
#else
#define ZS_SWITCH_CLOBBER_APX
#endif

/* Saves the running context on its own stack, leaves its stack pointer in
 * *@save_sp and resumes the one whose stack pointer is @load_sp. Returns when
 * somebody resumes *@save_sp. */
static ZS_ALWAYS_INLINE void zs_switch(void **save_sp, void *load_sp)
{
	__asm__ volatile(
		"lea 1f(%%rip), %%rax\n\t"
		"jmp zs_switch_frames\n"
		"1:"
		: "+D"(save_sp), "+S"(load_sp)
		:
		: "rax", "rcx", "rdx", "r8", "r9", "r10", "r11", "xmm0", "xmm1",
		  "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
		  "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15",
		  "mm0", "mm1", "mm2", "mm3", "mm4", "mm5", "mm6", "mm7", "st",
		  "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)",
		  "cc",
		  "memory" ZS_SWITCH_CLOBBER_AVX512 ZS_SWITCH_CLOBBER_APX);
}

/*
 * The stack pointer of a new context, which runs @entry(@arg) on the stack that
 * ends at @stack_top. It starts with the ABI's control words (round to nearest,
 * no traps), not with those of whoever happens to start it. @entry must not
 * return: that is a trap in zs_task_entry_returned().
 */
static inline void *zs_switch_prepare(void *stack_top, void (*entry)(void *),
				      void *arg)
{
	uintptr_t top = (uintptr_t)stack_top & ~(uintptr_t)15;
	struct zs_switch_frame *frame;

	frame = (struct zs_switch_frame *)(top - ZS_FRAME_SPAN);
	*frame = (struct zs_switch_frame){
		.mxcsr = ZS_MXCSR_ABI,
		.x87_control = ZS_X87_CONTROL_ABI,
		.r12 = (uint64_t)(uintptr_t)entry,
		.r13 = (uint64_t)(uintptr_t)arg,
		.resume = (uint64_t)(uintptr_t)zs_switch_start,
	};
	return frame;
}

/*
 * Calls @entry on the stack that ends at @stack_top, 16-byte aligned, as a new
 * context, and returns when it returns. Meanwhile *@save_sp is as zs_switch()
 * would leave it, for whoever looks, but must not be resumed. @entry may switch
 * away: the call then returns when it has been resumed and has returned. It
 * costs half of a switch there and one back, and returns are predicted.
 */
void zs_switch_call(void **save_sp, void *stack_top, void (*entry)(void));

static ZS_ALWAYS_INLINE void zs_switch_cpu_relax(void)
{
	__asm__ volatile("pause");
}

/* What a signal handler's third argument says of the thread: where it was, and
 * how deep its stack. */
static inline void zs_switch_interrupted_at(const void *context, uintptr_t *pc,
					    uintptr_t *stack)
{
	const ucontext_t *registers = context;

	*pc = (uintptr_t)registers->uc_mcontext.gregs[REG_RIP];
	*stack = (uintptr_t)registers->uc_mcontext.gregs[REG_RSP];
}

/* Not 0: the processor checks returns of this thread against a stack of its
 * own, which zs_switch() would leave behind. RDSSP does nothing where there is
 * none. */
static inline unsigned long zs_switch_shadow_stack(void)
{
	unsigned long pointer = 0;

	__asm__ volatile("rdsspq %0" : "+r"(pointer));
	return pointer;
}

#endif
#endif
