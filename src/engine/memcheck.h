/* SPDX-License-Identifier: MIT */
/*
 * Valgrind's memcheck does not see what the kernel writes through a ring; the
 * engine tells it here, as each op completes, if it is watching. Nothing at all
 * where Valgrind's header is not installed. Any thread.
 */
#ifndef ZS_ENGINE_MEMCHECK_H
#define ZS_ENGINE_MEMCHECK_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/compiler.h"
#include "engine/abi.h"
#include "engine/op.h"

#if defined(__has_include) && !defined(NVALGRIND)
#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#define ZS_MEMCHECK 1
#endif
#endif

#ifdef ZS_MEMCHECK
/* What lies beyond the caller's memory stays as it is: lengths that the kernel
 * reports may be longer than what it wrote. */
static inline void zs_memcheck_written(const void *address, size_t size)
{
	if (address)
		VALGRIND_MAKE_MEM_DEFINED_IF_ADDRESSABLE(address, size);
}

static inline void zs_memcheck_parts(const struct iovec *parts, size_t count,
				     size_t received)
{
	size_t i, part;

	for (i = 0; i < count && received > 0; i++) {
		part = parts[i].iov_len;
		if (part > received)
			part = received;
		zs_memcheck_written(parts[i].iov_base, part);
		received -= part;
	}
}

static inline void zs_memcheck_message(const struct msghdr *message,
				       size_t received)
{
	zs_memcheck_written(message, sizeof(*message));
	zs_memcheck_written(message->msg_name, message->msg_namelen);
	zs_memcheck_written(message->msg_control, message->msg_controllen);
	zs_memcheck_parts(message->msg_iov, message->msg_iovlen, received);
}

static inline bool zs_valgrind_is_running(void)
{
	return RUNNING_ON_VALGRIND != 0;
}

/* Other tools of Valgrind know nothing of defined memory: they answer 0. */
static inline bool zs_memcheck_is_watching(void)
{
	char byte = 0;

	return VALGRIND_MAKE_MEM_DEFINED(&byte, 1) != 0;
}

static inline void zs_memcheck_op_done(const struct zs_op *op)
{
	const void *memory = (const void *)(uintptr_t)op->address;
	const void *other = (const void *)(uintptr_t)op->offset;

	if (op->result < 0)
		return;
	switch (op->code) {
	case ZS_OP_READ:
	case ZS_OP_RECV:
		zs_memcheck_written(memory, (size_t)op->result);
		break;
	case ZS_OP_READV:
		zs_memcheck_parts(memory, op->length, (size_t)op->result);
		break;
	case ZS_OP_RECVMSG:
		zs_memcheck_message(memory, (size_t)op->result);
		break;
	case ZS_OP_FGETXATTR:
	case ZS_OP_GETXATTR:
		if (op->length > 0)
			zs_memcheck_written(other, (size_t)op->result);
		break;
	case ZS_OP_STATX:
		zs_memcheck_written(other, ZS_STATX_SIZE);
		break;
	case ZS_OP_WAITID:
		zs_memcheck_written(other, sizeof(siginfo_t));
		break;
	case ZS_OP_ACCEPT:
		if (!memory)
			break;
		zs_memcheck_written(other, sizeof(socklen_t));
		zs_memcheck_written(memory, *(const socklen_t *)other);
		break;
	default:
		break;
	}
}
#else
static inline bool zs_valgrind_is_running(void)
{
	return false;
}

static inline bool zs_memcheck_is_watching(void)
{
	return false;
}

static inline void zs_memcheck_op_done(const struct zs_op *op)
{
	(void)op;
}
#endif

#endif
