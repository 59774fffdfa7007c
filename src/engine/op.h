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
	ZS_OP_READV,
	ZS_OP_WRITEV,
	ZS_OP_FSYNC,
	ZS_OP_SYNC_FILE_RANGE,
	ZS_OP_FALLOCATE,
	ZS_OP_FTRUNCATE,
	ZS_OP_FADVISE,
	ZS_OP_MADVISE,
	ZS_OP_STATX,
	ZS_OP_RENAMEAT,
	ZS_OP_LINKAT,
	ZS_OP_SYMLINKAT,
	ZS_OP_MKDIRAT,
	ZS_OP_UNLINKAT,
	ZS_OP_FSETXATTR,
	ZS_OP_SETXATTR,
	ZS_OP_FGETXATTR,
	ZS_OP_GETXATTR,
	ZS_OP_GETDENTS,
	ZS_OP_PIPE,
	ZS_OP_SPLICE,
	ZS_OP_TEE,
	ZS_OP_SOCKET,
	ZS_OP_BIND,
	ZS_OP_LISTEN,
	ZS_OP_ACCEPT,
	ZS_OP_CONNECT,
	ZS_OP_SHUTDOWN,
	ZS_OP_SEND,
	ZS_OP_RECV,
	ZS_OP_SENDMMSG,
	ZS_OP_RECVMMSG,
	ZS_OP_SENDMSG,
	ZS_OP_RECVMSG,
	ZS_OP_WAITID,
	ZS_OP_SPAWN,
	ZS_OP_CALL,
	ZS_OP_FUTEX_WAIT,
	ZS_NUM_OPS
};

enum zs_op_state {
	/* From its submission on, and so what the io room sets: the kernel has
	 * it, or will; its memory is not ours. */
	ZS_OP_IN_FLIGHT,
	ZS_OP_DEFERRED, /* the engine keeps it until it can be begun */
	ZS_OP_DONE,	/* result is valid */
	/* A thread of the pool works for it; user_data says which job. */
	ZS_OP_OFFLOADED,
	ZS_OP_PARKED, /* a plain engine watches its descriptor */
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

/* How an operation is carried out where there is no ring, or where the ring
 * lacks it. */
enum zs_op_way {
	/* By its call, on the worker's thread: it does not wait. */
	ZS_WAY_AT_ONCE,
	/* By its attempt, on the worker's thread, whenever the descriptor is
	 * ready. Where that is no use, as WAITING; for a file, which is always
	 * ready, as OFFLOADED. */
	ZS_WAY_WHEN_READY,
	/* By its call, on a thread of the pool: it waits for a device. */
	ZS_WAY_OFFLOADED,
	/* By its call, on a thread of its own while that lasts: it waits for
	 * somebody, perhaps for ever. Such threads can be interrupted. */
	ZS_WAY_WAITING,
};

/* What an attempt answers besides results; no errno is so large. */
enum {
	/* It would have to wait. */
	ZS_OP_NOT_YET = -5000,
	/* Only a call can tell, which may have to wait though the descriptor
	 * is ready. */
	ZS_OP_NO_ATTEMPT = -5001,
	/* Only a call can tell, and readiness says nothing. */
	ZS_OP_NEEDS_THREAD = -5002,
	/* The same of a file, which waits for its device or server. */
	ZS_OP_NEEDS_FILE = -5003,
	/* A result: it would have to wait on a thread, and none is to be had.
	 * -EAGAIN to its task, with a text: see zs_await_error(). */
	ZS_OP_NO_THREAD = -5004,
	/* A result: it would have to wait until its descriptor is ready, which
	 * is for its task to see to. -EAGAIN to that, which from a file may
	 * also be the file's own answer. */
	ZS_OP_WOULD_WAIT = -5005,
	/* A result: its descriptor is ready, and it is for its task to try. */
	ZS_OP_IS_READY = -5006,
	ZS_ERRNO_MAX = 4095, /* the kernel's own limit */
};

/* Which arguments are paths: an operation that is given up before its end
 * needs copies. */
enum {
	ZS_OP_PATH_ADDRESS = 1 << 0,
	ZS_OP_PATH_OFFSET = 1 << 1,
};

/* What some ops name by their address, since it is more than they hold. */
struct zs_xattr {
	const char *path;
	const char *name;
};
struct zs_splice_in {
	uint64_t offset; /* UINT64_MAX: none */
	int fd;
};

struct zs_sqe;

/* An opcode that no ring has, for an operation without one. */
enum { ZS_OP_NO_OPCODE = 255 };

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
	uint8_t paths; /* ZS_OP_PATH_... bits */
	/* Where an entry has arguments in other places than the op: moves them
	 * in @entry, which is like the op. False: the ring cannot be asked for
	 * this one, though it has the operation. */
	bool (*fill)(struct zs_sqe *entry, const struct zs_op *op);
	enum zs_op_way way;
	/* WHEN_READY: the poll(2) events to wait for; 0: those in its flags. */
	uint16_t events;
	/* The plain system call, which may wait. Result >= 0 or a negative
	 * errno; errno may change. On any thread. */
	int (*call)(const struct zs_op *op);
	/* The same without waiting for anybody: a result, or one of the
	 * answers above. May take note of its progress in the op, whose
	 * result is 0 before the first attempt. WHEN_READY: on the worker's
	 * thread, so it must not wait for a device either. OFFLOADED: on a
	 * thread of the pool, before the call, and NOT_YET makes it WAITING;
	 * NULL: the call waits for nobody. */
	int (*attempt)(struct zs_op *op);
	/* OFFLOADED: is this one over so soon that a thread of the pool is not
	 * worth it? NULL: none is. */
	bool (*is_quick)(const struct zs_op *op);
};

extern const struct zs_op_type zs_op_types[ZS_NUM_OPS];

/* The result of an op whose attempts had taken note of progress, and whose last
 * call returned @ret. */
static inline int zs_op_sum_up(const struct zs_op *op, int ret)
{
	if (op->result > 0)
		return ret > 0 ? op->result + ret : op->result;
	return ret;
}

/* As a plain system call on the worker's thread, where a ring has no such
 * operation or no thread for it: better slow than refused, but ZS_OP_NO_THREAD
 * where somebody would have to be waited for; ZS_OP_WOULD_WAIT if that is who
 * makes its descriptor ready. Goes on from @op's result, where attempts have
 * taken note of progress. errno is kept. */
int zs_op_call_plainly(struct zs_op *op);
/* What a task should see of the negative @result that came from the ring. */
int zs_op_mend_result(struct zs_op *op, int result);

/* Async-signal-safe, and safe on an op that is being overwritten: adds
 * "recv fd 7". */
void zs_op_describe(const struct zs_op *op, struct zs_text *text);

#endif
