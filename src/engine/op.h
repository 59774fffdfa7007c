/* SPDX-License-Identifier: MIT */
/*
 * Operations: what a task asks of the kernel, and the one table that says how
 * each is carried out. Filled by the io room, carried out by an engine.
 *
 * An op lives on the stack of the task that waits for it. Its arguments are
 * kept in the shape of a submission entry, so that one copy of a few fields
 * prepares every kind; what each field means is in the table's comments.
 */
#ifndef ZS_ENGINE_OP_H
#define ZS_ENGINE_OP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/text.h"

enum zs_op_code {
	ZS_OP_NOP,
	ZS_OP_POLL,
	ZS_OP_READ,
	ZS_OP_WRITE,
	ZS_OP_OPENAT,
	ZS_OP_CLOSE,
	ZS_OP_FSYNC,
	ZS_OP_STATX,
	ZS_OP_SOCKET,
	ZS_OP_BIND,
	ZS_OP_LISTEN,
	ZS_OP_ACCEPT,
	ZS_OP_CONNECT,
	ZS_OP_SHUTDOWN,
	ZS_OP_SEND,
	ZS_OP_RECV,
	ZS_OP_SENDMSG,
	ZS_OP_RECVMSG,
	ZS_OP_CANCEL,
	ZS_NUM_OPS
};

enum zs_op_state {
	ZS_OP_IDLE,
	ZS_OP_DEFERRED,	 /* the engine keeps it until there is room */
	ZS_OP_IN_FLIGHT, /* the kernel has it: its memory is not ours */
	ZS_OP_DONE,	 /* result is valid */
};

enum { ZS_OP_ALIGNMENT = 16 };

struct zs_op {
	/* Engine's: deferred, cancels to send, or done. Aligned, because what
	 * the kernel knows an op by is made of its address. */
	_Alignas(ZS_OP_ALIGNMENT) struct zs_op *next;
	void *owner; /* who is resumed; never looked into by engines */
	uint64_t offset;
	uint64_t address;
	uint32_t length;
	uint32_t flags;
	int32_t fd;
	int32_t result; /* >= 0 or a negative errno */
	/* Engine's: what the kernel knows this use of this memory by, other
	 * than earlier ones, so that a late completion or cancel cannot pass
	 * for this op's. */
	uint64_t user_data;
	uint8_t code;
	uint8_t state;
	bool cancel_asked;   /* the engine was asked to end it early */
	bool cancel_waiting; /* that request waits for room, by next */
};

/* One row of the table: one operation. A model is a column. */
struct zs_op_type {
	const char *name;
	/* The submission entry's opcode and flags. */
	uint8_t sqe_opcode;
	uint8_t sqe_flags;
	/* Is the fd field a descriptor, worth a word in a dump? */
	bool names_fd;
	/* The plain system call, on the worker's thread: for an operation that
	 * this kernel's ring lacks, and for one that needs a kernel thread
	 * where none can be started. Better slow than refused; but -EAGAIN
	 * where it might wait without end. Result >= 0 or a negative errno;
	 * errno may change. NULL: green_threads needs the ring's form. */
	int (*call)(const struct zs_op *op);
};

extern const struct zs_op_type zs_op_types[ZS_NUM_OPS];

/* Async-signal-safe, and safe on an op that is being overwritten: adds
 * "recv fd 7". */
void zs_op_describe(const struct zs_op *op, struct zs_text *text);

/* Ops in the order of their arrival, linked through next. */
struct zs_op_list {
	struct zs_op *first;
	struct zs_op **last;
};

static inline void zs_op_list_init(struct zs_op_list *list)
{
	list->first = NULL;
	list->last = &list->first;
}

static inline void zs_op_list_append(struct zs_op_list *list, struct zs_op *op)
{
	op->next = NULL;
	*list->last = op;
	list->last = &op->next;
}

static inline struct zs_op *zs_op_list_pop(struct zs_op_list *list)
{
	struct zs_op *op = list->first;

	if (!op)
		return NULL;
	list->first = op->next;
	if (!list->first)
		list->last = &list->first;
	return op;
}

/* False if it is not there. Walks the list: for rare use. */
bool zs_op_list_remove(struct zs_op_list *list, struct zs_op *op);

#endif
