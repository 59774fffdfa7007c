/* SPDX-License-Identifier: MIT */
/*
 * Probes that perf and bpftrace can turn on in a program that runs: each is a
 * nop, and a note in the file that says where it is and where its arguments are
 * at that time. Called by the engines and the scheduler, where things happen;
 * src/base/probes.h is their list, and zsync.7 describes it.
 *
 * Arguments are named by register, or by register and offset, which are there
 * in any case: so that nothing is loaded or moved for a probe that is off. Why
 * not by whatever operand the compiler finds handy: clang copies to the stack
 * what it does not find in memory. The format is that of systemtap's notes
 * (owner "stapsdt", type 3), written here since its header need not be there
 * when the library is built.
 */
#ifndef ZS_BASE_PROBES_H
#define ZS_BASE_PROBES_H

#include <stddef.h>

/* How an argument is described: a value in a register (or, where ZS_PROBE_VALUE
 * is given one, a constant), and a field of @size bytes, -@size if it is
 * signed, at [@offset] bytes from what the register [@base] points to. */
#if defined(__x86_64__)
#define ZS_PROBE_POINTER(name) "8@%[" #name "]"
#define ZS_PROBE_VALUE(name) "-4@%[" #name "]"
#define ZS_PROBE_FIELD(size, base, offset) \
#size "@%c[" #offset "](%[" #base "])"
#elif defined(__aarch64__)
#define ZS_PROBE_POINTER(name) "8@%[" #name "]"
#define ZS_PROBE_VALUE(name) "-4@%[" #name "]"
#define ZS_PROBE_FIELD(size, base, offset) \
#size "@[%[" #base "], %c[" #offset "]]"
#endif

/*
 * The note is of no section that is loaded. Who reads it corrects its addresses
 * by how far the byte at _.stapsdt.base, of which a file has one, is from where
 * the note says; so that is to be the same one for all, and is neither hidden
 * nor local: the linker keeps the first. No semaphore: 0.
 */
#if defined(ZS_PROBE_POINTER)
#define ZS_PROBE(name, arguments, ...)                             \
	__asm__ volatile(                                          \
		"990:	nop\n"                                       \
		"	.pushsection .note.stapsdt,\"\",\"note\"\n"      \
		"	.balign 4\n"                                     \
		"	.4byte 992f-991f, 994f-993f, 3\n"                \
		"991:	.asciz \"stapsdt\"\n"                        \
		"992:	.balign 4\n"                                 \
		"993:	.8byte 990b, _.stapsdt.base, 0\n"            \
		"	.asciz \"zsync\"\n"                              \
		"	.asciz \"" #name "\"\n"                    \
		"	.asciz \"" arguments "\"\n"                \
		"994:	.balign 4\n"                                 \
		"	.popsection\n"                                   \
		"	.ifndef _.stapsdt.base\n"                        \
		"	.pushsection .stapsdt.base,\"aG\",\"progbits\"," \
		".stapsdt.base,comdat\n"                           \
		"	.weak _.stapsdt.base\n"                          \
		"_.stapsdt.base: .space 1\n"                       \
		"	.size _.stapsdt.base, 1\n"                       \
		"	.popsection\n"                                   \
		"	.endif\n" ::__VA_ARGS__)
#else
#define ZS_PROBE(name, arguments, ...) \
	do {                           \
	} while (0)
#endif

/* --- what there is --- */

/* The task's id, where it is (its name is 16 bytes from there: to tell it
 * itself would take an instruction), and the worker's number. */
#define ZS_PROBE_TASK               \
	ZS_PROBE_FIELD(8, task, id) \
	" " ZS_PROBE_POINTER(task) " " ZS_PROBE_FIELD(4, worker, index)
#define ZS_PROBE_TASK_OPERANDS(the_task, the_worker)                  \
	[task] "r"(the_task), [id] "i"(offsetof(struct zs_task, id)), \
		[worker] "r"(the_worker),                             \
		[index] "i"(offsetof(struct zs_worker, index))

/* A task has been made by the worker. */
#define ZS_PROBE_SPAWN(task, worker) \
	ZS_PROBE(spawn, ZS_PROBE_TASK, ZS_PROBE_TASK_OPERANDS(task, worker))
/* The same by a thread that is none: worker -1. */
#define ZS_PROBE_SPAWN_OUTSIDE(the_task)                                       \
	ZS_PROBE(spawn,                                                        \
		 ZS_PROBE_FIELD(8, task, id) " " ZS_PROBE_POINTER(             \
			 task) " " ZS_PROBE_VALUE(worker),                     \
		 [task] "r"(the_task), [id] "i"(offsetof(struct zs_task, id)), \
		 [worker] "i"(-1))
/* It runs for the first time. */
#define ZS_PROBE_START(task, worker) \
	ZS_PROBE(start, ZS_PROBE_TASK, ZS_PROBE_TASK_OPERANDS(task, worker))
/* It waits on @object: an operation's is the submit's first argument. */
#define ZS_PROBE_PARK(task, worker, the_object)                    \
	ZS_PROBE(park, ZS_PROBE_TASK " " ZS_PROBE_POINTER(object), \
		 ZS_PROBE_TASK_OPERANDS(task, worker),             \
		 [object] "r"(the_object))
/* It is ready again; not told of who waited for an operation. */
#define ZS_PROBE_WAKE(task, worker) \
	ZS_PROBE(wake, ZS_PROBE_TASK, ZS_PROBE_TASK_OPERANDS(task, worker))
/* The worker has taken the task, which has not started, from @victim. */
#define ZS_PROBE_STEAL(task, worker, the_victim)                            \
	ZS_PROBE(steal, ZS_PROBE_TASK " " ZS_PROBE_FIELD(4, victim, index), \
		 ZS_PROBE_TASK_OPERANDS(task, worker),                      \
		 [victim] "r"(the_victim))
/* An operation has begun: where it is, its code and its descriptor, which may
 * be in registers, or else are read from it. */
#define ZS_PROBE_SUBMIT_VALUES(the_op, the_code, the_fd)         \
	ZS_PROBE(submit,                                         \
		 ZS_PROBE_POINTER(op) " " ZS_PROBE_VALUE(        \
			 code) " " ZS_PROBE_VALUE(fd),           \
		 [op] "r"(the_op), [code] "ri"((int)(the_code)), \
		 [fd] "ri"(the_fd))
#define ZS_PROBE_SUBMIT(the_op)                                              \
	ZS_PROBE(submit,                                                     \
		 ZS_PROBE_POINTER(op) " " ZS_PROBE_FIELD(                    \
			 1, op, code) " " ZS_PROBE_FIELD(-4, op, fd),        \
		 [op] "r"(the_op), [code] "i"(offsetof(struct zs_op, code)), \
		 [fd] "i"(offsetof(struct zs_op, fd)))
/* It has ended: where it is, its code and its result. */
#define ZS_PROBE_COMPLETE(the_op)                                            \
	ZS_PROBE(complete,                                                   \
		 ZS_PROBE_POINTER(op) " " ZS_PROBE_FIELD(                    \
			 1, op, code) " " ZS_PROBE_FIELD(-4, op, result),    \
		 [op] "r"(the_op), [code] "i"(offsetof(struct zs_op, code)), \
		 [result] "i"(offsetof(struct zs_op, result)))
/* A scope is cancelled: where it is, why (enum zs_cancel_reason), and where
 * the task is that opened it, NULL for the runtime's. */
#define ZS_PROBE_CANCEL(the_scope, the_reason)                             \
	ZS_PROBE(cancel,                                                   \
		 ZS_PROBE_POINTER(scope) " " ZS_PROBE_VALUE(               \
			 reason) " " ZS_PROBE_FIELD(8, scope, opener),     \
		 [scope] "r"(the_scope), [reason] "ri"((int)(the_reason)), \
		 [opener] "i"(offsetof(struct zs_scope, opener)))

#endif
