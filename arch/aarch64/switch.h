/* SPDX-License-Identifier: MIT */
/*
 * The switch between two stacks, aarch64 (AAPCS64). Included by the scheduler
 * alone; any thread, as long as no two run on one stack.
 *
 * zs_switch() is a jump and not a call. A processor predicts each return from
 * its own stack of return addresses, which knows nothing of ours: a called
 * switch leaves one address too many on it (or, if it ends in `ret`, takes one
 * that need not fit), and every return that the resumed context makes up its
 * call chain is then mispredicted. With the jump, two tasks that park by the
 * same path find that stack as they need it (measured on x86_64).
 */
#ifndef ZS_ARCH_SWITCH_H
#define ZS_ARCH_SWITCH_H

/* struct zs_switch_frame, for switch.S. */
#define ZS_FRAME_X19 0
#define ZS_FRAME_X21 16
#define ZS_FRAME_X23 32
#define ZS_FRAME_X25 48
#define ZS_FRAME_X27 64
#define ZS_FRAME_X29 80
#define ZS_FRAME_RESUME 88
#define ZS_FRAME_FPCR 96
#define ZS_FRAME_SIZE 112

/* The stack pointer of a context that is resumed is that of its frame plus
 * ZS_FRAME_SPAN. There is no red zone. */
#define ZS_FRAME_SPAN ZS_FRAME_SIZE

#ifndef __ASSEMBLER__

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

#include "base/compiler.h"

/* What the stack pointer of a context that does not run points at. x30 and
 * v8-v15 are not in it: the compiler saves them around zs_switch() if their
 * values are still wanted. */
struct zs_switch_frame {
	uint64_t x19;
	uint64_t x20;
	uint64_t x21;
	uint64_t x22;
	uint64_t x23;
	uint64_t x24;
	uint64_t x25;
	uint64_t x26;
	uint64_t x27;
	uint64_t x28;
	uint64_t x29;
	uint64_t resume;
	uint64_t fpcr;
	uint64_t unused;
};

#define ZS_FRAME_CHECK(field, offset)                                    \
	static_assert(offsetof(struct zs_switch_frame, field) == offset, \
		      "switch.S disagrees on " #field)
ZS_FRAME_CHECK(x19, ZS_FRAME_X19);
ZS_FRAME_CHECK(x20, ZS_FRAME_X19 + 8);
ZS_FRAME_CHECK(x21, ZS_FRAME_X21);
ZS_FRAME_CHECK(x22, ZS_FRAME_X21 + 8);
ZS_FRAME_CHECK(x23, ZS_FRAME_X23);
ZS_FRAME_CHECK(x24, ZS_FRAME_X23 + 8);
ZS_FRAME_CHECK(x25, ZS_FRAME_X25);
ZS_FRAME_CHECK(x26, ZS_FRAME_X25 + 8);
ZS_FRAME_CHECK(x27, ZS_FRAME_X27);
ZS_FRAME_CHECK(x28, ZS_FRAME_X27 + 8);
ZS_FRAME_CHECK(x29, ZS_FRAME_X29);
ZS_FRAME_CHECK(resume, ZS_FRAME_RESUME);
ZS_FRAME_CHECK(fpcr, ZS_FRAME_FPCR);
static_assert(sizeof(struct zs_switch_frame) == ZS_FRAME_SIZE,
	      "switch.S disagrees on the size");
static_assert(ZS_FRAME_SPAN % 16 == 0, "the ABI aligns stacks to 16");

/* In switch.S; never called from C. A new context starts at zs_switch_start,
 * inside of zs_switch_trampoline. */
void zs_switch_start(void);
void zs_switch_trampoline(void);
void zs_task_entry_returned(void);

/* With SVE a call may change the predicates too. */
#ifdef __ARM_FEATURE_SVE
#define ZS_SWITCH_CLOBBER_SVE                                                \
	, "p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7", "p8", "p9", "p10", \
		"p11", "p12", "p13", "p14", "p15"
#else
#define ZS_SWITCH_CLOBBER_SVE
#endif

/*
 * Saves the running context on its own stack, leaves its stack pointer in
 * *@save_sp and resumes the one whose stack pointer is @load_sp. Returns when
 * somebody resumes *@save_sp. The hint is `bti j`, the pad on which a jump may
 * land.
 */
static ZS_ALWAYS_INLINE void zs_switch(void **save_sp, void *load_sp)
{
	register void **x0 __asm__("x0") = save_sp;
	register void *x1 __asm__("x1") = load_sp;

	__asm__ volatile("adr x2, 1f\n\t"
			 "b zs_switch_frames\n"
			 "1:\n\t"
			 "hint #36"
			 : "+r"(x0), "+r"(x1)
			 :
			 : "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9",
			   "x10", "x11", "x12", "x13", "x14", "x15", "x16",
			   "x17", "x18", "x30", "v0", "v1", "v2", "v3", "v4",
			   "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12",
			   "v13", "v14", "v15", "v16", "v17", "v18", "v19",
			   "v20", "v21", "v22", "v23", "v24", "v25", "v26",
			   "v27", "v28", "v29", "v30", "v31", "cc",
			   "memory" ZS_SWITCH_CLOBBER_SVE);
}

/*
 * The stack pointer of a new context, which runs @entry(@arg) on the stack that
 * ends at @stack_top. It starts with the ABI's control word (round to nearest,
 * no traps), not with that of whoever happens to start it. @entry must not
 * return: that is a trap in zs_task_entry_returned().
 */
static inline void *zs_switch_prepare(void *stack_top, void (*entry)(void *),
				      void *arg)
{
	uintptr_t top = (uintptr_t)stack_top & ~(uintptr_t)15;
	struct zs_switch_frame *frame;

	frame = (struct zs_switch_frame *)(top - ZS_FRAME_SPAN);
	*frame = (struct zs_switch_frame){
		.x19 = (uint64_t)(uintptr_t)entry,
		.x20 = (uint64_t)(uintptr_t)arg,
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
	__asm__ volatile("yield");
}

/* What a signal handler's third argument says of the thread: where it was, and
 * how deep its stack. */
static inline void zs_switch_interrupted_at(const void *context, uintptr_t *pc,
					    uintptr_t *stack)
{
	const ucontext_t *registers = context;

	*pc = (uintptr_t)registers->uc_mcontext.pc;
	*stack = (uintptr_t)registers->uc_mcontext.sp;
}

/* Not 0: the processor checks returns of this thread against a guarded control
 * stack, which zs_switch() would leave behind. The hint is `chkfeat x16`: it
 * clears those of the asked bits whose feature is on, and does nothing on a
 * processor that does not know it. */
static inline unsigned long zs_switch_shadow_stack(void)
{
	register unsigned long x16 __asm__("x16") = 1;

	__asm__ volatile("hint #40" : "+r"(x16));
	return x16 ^ 1;
}

#endif
#endif
