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

#include "base/compiler.h"
#include "base/queue.h"
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
	/* From its submission on, and so what the io room sets: the kernel has
	 * it, or will; its memory is not ours. */
	ZS_OP_IN_FLIGHT,
	ZS_OP_DEFERRED, /* the engine keeps it until there is room */
	ZS_OP_DONE,	/* result is valid */
};

enum { ZS_OP_ALIGNMENT = 16 };

struct zs_op {
	/* Engine's: among those deferred, cancels to send, or done. Whose it is
	 * (who is resumed) is never looked into by engines. Aligned, because
	 * what the kernel knows an op by is made of its address. */
	_Alignas(ZS_OP_ALIGNMENT) struct zs_link link;
	uint64_t offset;
	uint64_t address;
	uint32_t length;
	uint32_t flags;
	int32_t fd;
	uint8_t code;
	/* Zero when it is submitted. */
	uint8_t state;
	bool cancel_asked;   /* the engine was asked to end it early */
	bool cancel_waiting; /* that request waits for room, by link */
	/* Engine's: what the kernel knows this use of this memory by, other
	 * than earlier ones, so that a late completion or cancel cannot pass
	 * for this op's. */
	uint64_t user_data;
	int32_t result; /* >= 0 or a negative errno */
	/* Since when, in milliseconds: zs_await()'s, with cancel_asked. */
	uint32_t asked_ms;
};

/* Before it is submitted again. */
static inline void zs_op_renew(struct zs_op *op)
{
	op->state = ZS_OP_IN_FLIGHT;
	op->cancel_asked = false;
	op->cancel_waiting = false;
}

static inline struct zs_op *zs_op_of(struct zs_link *link)
{
	return link ? zs_container_of(link, struct zs_op, link) : NULL;
}

/* What a cancel does to an operation. */
enum zs_op_class {
	/* It ends at once. */
	ZS_OP_ABORTABLE,
	/* Its task need not wait for the end: what the kernel still needs is
	 * the runtime's, and what comes late is released. */
	ZS_OP_DETACHABLE,
	/* It ends when the kernel has done with the caller's memory, which may
	 * be never: a transfer of a file, say, whose server is gone. (Of pipes
	 * and sockets it ends at once.) */
	ZS_OP_HELD,
};

/* One row of the table: one operation. A model is a column. */
struct zs_op_type {
	const char *name;
	enum zs_op_class op_class;
	/* The submission entry's opcode and flags. */
	uint8_t sqe_opcode;
	uint8_t sqe_flags;
	/* Is the fd field a descriptor, worth a word in a dump? If so the
	 * kernel looks it up by its number, perhaps not before a thread of its
	 * own gets round to it. */
	bool names_fd;
	/* The plain system call, on the worker's thread: for an operation that
	 * this kernel's ring lacks, and for one that needs a kernel thread
	 * where none can be started. Better slow than refused; but -EAGAIN
	 * where it might wait without end. Result >= 0 or a negative errno;
	 * errno may change. NULL: green_threads needs the ring's form. */
	int (*call)(const struct zs_op *op);
};

extern const struct zs_op_type zs_op_types[ZS_NUM_OPS];

/* Worker's thread. As a plain system call, if there is one; else the result is
 * @otherwise. errno is kept. */
int zs_op_call_plainly(const struct zs_op *op, int otherwise);
/* What a task should see of the negative @result that came from the ring. */
int zs_op_mend_result(const struct zs_op *op, int result);

/* Async-signal-safe, and safe on an op that is being overwritten: adds
 * "recv fd 7". */
void zs_op_describe(const struct zs_op *op, struct zs_text *text);

#endif
