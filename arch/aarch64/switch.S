/* SPDX-License-Identifier: MIT */
/*
 * The switch between two stacks, aarch64; switch.h says what it does and why it
 * is jumped to. Unwinders can walk out of it at each instruction: before the
 * stack pointer changes into the context that is left, afterwards into the one
 * that is resumed.
 *
 * Hints are written by number, for assemblers that know no BTI: 34 is `bti c`,
 * 38 `bti jc`; they do nothing on processors without it.
 */
#include "switch.h"

/* Where two of the resumed context's registers are, until they are loaded. */
	.macro	saved first second offset
	.cfi_offset \first, \offset - ZS_FRAME_SPAN
	.cfi_offset \second, \offset + 8 - ZS_FRAME_SPAN
	.endm

	.text

/* In: x0 save_sp, x1 load_sp, x2 where the caller is to be resumed. */
	.globl	zs_switch_frames
	.hidden	zs_switch_frames
	.type	zs_switch_frames, %function
	.p2align 6
zs_switch_frames:
	.cfi_startproc
	.cfi_register x30, x2
	hint	#34
	sub	sp, sp, #ZS_FRAME_SPAN
	.cfi_def_cfa_offset ZS_FRAME_SPAN
	mrs	x3, fpcr
	stp	x19, x20, [sp, #ZS_FRAME_X19]
	stp	x21, x22, [sp, #ZS_FRAME_X21]
	stp	x23, x24, [sp, #ZS_FRAME_X23]
	stp	x25, x26, [sp, #ZS_FRAME_X25]
	stp	x27, x28, [sp, #ZS_FRAME_X27]
	stp	x29, x2, [sp, #ZS_FRAME_X29]
	str	x3, [sp, #ZS_FRAME_FPCR]
	mov	x4, sp
	str	x4, [x0]
	/* To write fpcr can drain the pipeline; it seldom differs. */
	ldr	x5, [x1, #ZS_FRAME_FPCR]
	cmp	x3, x5
	b.ne	.Lload_fpcr
.Lswitch:
	mov	sp, x1
	saved	x19, x20, ZS_FRAME_X19
	saved	x21, x22, ZS_FRAME_X21
	saved	x23, x24, ZS_FRAME_X23
	saved	x25, x26, ZS_FRAME_X25
	saved	x27, x28, ZS_FRAME_X27
	saved	x29, x30, ZS_FRAME_X29
	ldp	x29, x16, [sp, #ZS_FRAME_X29]
	ldp	x19, x20, [sp, #ZS_FRAME_X19]
	ldp	x21, x22, [sp, #ZS_FRAME_X21]
	ldp	x23, x24, [sp, #ZS_FRAME_X23]
	ldp	x25, x26, [sp, #ZS_FRAME_X25]
	ldp	x27, x28, [sp, #ZS_FRAME_X27]
	add	sp, sp, #ZS_FRAME_SPAN
	.cfi_def_cfa_offset 0
	.cfi_same_value x19
	.cfi_same_value x20
	.cfi_same_value x21
	.cfi_same_value x22
	.cfi_same_value x23
	.cfi_same_value x24
	.cfi_same_value x25
	.cfi_same_value x26
	.cfi_same_value x27
	.cfi_same_value x28
	.cfi_same_value x29
	.cfi_register x30, x16
	br	x16

	/* Still the context that is left. */
	.cfi_def_cfa_offset ZS_FRAME_SPAN
	.cfi_register x30, x2
.Lload_fpcr:
	msr	fpcr, x5
	b	.Lswitch
	.cfi_endproc
	.size	zs_switch_frames, . - zs_switch_frames

/*
 * A call on another stack: C's, with x0 save_sp, x1 stack_top, x2 entry. The
 * caller's frame is that of a switch, so that whoever walks stacks need not
 * know of calls. Only x19, which says where it is, x29 and x30 are loaded from
 * it again: entry, a function like any other, keeps the rest.
 */
	.globl	zs_switch_call
	.hidden	zs_switch_call
	.type	zs_switch_call, %function
	.p2align 6
zs_switch_call:
	.cfi_startproc
	/* Reports an exception that comes to here; relative, 4 bytes. */
	.cfi_personality 0x1b, zs_exceptions_leave_task
	hint	#34
	sub	sp, sp, #ZS_FRAME_SPAN
	.cfi_def_cfa_offset ZS_FRAME_SPAN
	mrs	x3, fpcr
	stp	x19, x20, [sp, #ZS_FRAME_X19]
	stp	x21, x22, [sp, #ZS_FRAME_X21]
	stp	x23, x24, [sp, #ZS_FRAME_X23]
	stp	x25, x26, [sp, #ZS_FRAME_X25]
	stp	x27, x28, [sp, #ZS_FRAME_X27]
	stp	x29, x30, [sp, #ZS_FRAME_X29]
	str	x3, [sp, #ZS_FRAME_FPCR]
	mov	x19, sp
	.cfi_def_cfa_register x19
	/* Whoever looks from the called stack sees its end here. */
	.cfi_undefined x30
	str	x19, [x0]
	mov	sp, x1
	mov	x29, #0
	cbnz	x3, .Lset_fpcr
.Lcall:
	blr	x2
	mrs	x3, fpcr
	ldr	x5, [x19, #ZS_FRAME_FPCR]
	cmp	x3, x5
	b.ne	.Lreset_fpcr
.Lreturn:
	mov	sp, x19
	saved	x19, x20, ZS_FRAME_X19
	saved	x29, x30, ZS_FRAME_X29
	.cfi_same_value x20
	.cfi_def_cfa sp, ZS_FRAME_SPAN
	ldp	x29, x30, [sp, #ZS_FRAME_X29]
	.cfi_same_value x29
	.cfi_same_value x30
	ldr	x19, [sp, #ZS_FRAME_X19]
	.cfi_same_value x19
	add	sp, sp, #ZS_FRAME_SPAN
	.cfi_def_cfa_offset 0
	ret
	.cfi_def_cfa x19, ZS_FRAME_SPAN
	.cfi_undefined x30
.Lset_fpcr:
	msr	fpcr, xzr
	b	.Lcall
.Lreset_fpcr:
	msr	fpcr, x5
	b	.Lreturn
	.cfi_endproc
	.size	zs_switch_call, . - zs_switch_call

/*
 * The outermost function of each new context: x19 the entry function, x20 its
 * argument, as zs_switch_prepare() put them; x29 0, which ends chains of frame
 * pointers.
 */
	.globl	zs_switch_trampoline
	.hidden	zs_switch_trampoline
	.type	zs_switch_trampoline, %function
	.globl	zs_switch_start
	.hidden	zs_switch_start
	.p2align 4
zs_switch_trampoline:
	.cfi_startproc
	.cfi_personality 0x1b, zs_exceptions_leave_task
	.cfi_undefined x30
	/* Unwinders look for the caller of a frame just before the address it
	 * returns to; that must be in here for a context not started yet. */
	nop
zs_switch_start:
	hint	#38
	mov	x0, x20
	blr	x19
	b	zs_task_entry_returned
	.cfi_endproc
	.size	zs_switch_trampoline, . - zs_switch_trampoline

/* x19 still says whose fault it is. */
	.globl	zs_task_entry_returned
	.hidden	zs_task_entry_returned
	.type	zs_task_entry_returned, %function
	.p2align 4
zs_task_entry_returned:
	.cfi_startproc
	.cfi_undefined x30
	hint	#34
	brk	#1
	.cfi_endproc
	.size	zs_task_entry_returned, . - zs_task_entry_returned

/* GNU_PROPERTY_AARCH64_FEATURE_1_AND: BTI (1) yes, guarded control stacks (4)
 * no, so that the linker drops that mark from the program. */
	.section .note.gnu.property, "a", %note
	.p2align 3
	.long	4
	.long	16
	.long	5
	.asciz	"GNU"
	.long	0xc0000000
	.long	4
	.long	1
	.long	0

	.section .note.GNU-stack, "", %progbits
