/* SPDX-License-Identifier: MIT */
/*
 * The plain system calls behind the table of operations: what op.c lists, and
 * nobody else calls. See struct zs_op_type for what each kind may do.
 */
#ifndef ZS_ENGINE_CALLS_H
#define ZS_ENGINE_CALLS_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "engine/bare.h"
#include "engine/op.h"

static inline void *zs_memory_at(uint64_t address)
{
	return (void *)(uintptr_t)address;
}

/* The bits of S_IFMT, 0 where there are none. Asks no file's server. */
mode_t zs_type_of(int fd);

/* Those of files and disks only wait for the device. */
static inline bool zs_is_storage(int fd)
{
	mode_t type = zs_type_of(fd);

	return S_ISREG(type) || S_ISBLK(type);
}

static inline bool zs_is_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && (flags & O_NONBLOCK);
}

/* calls_file.c */
int zs_call_read(const struct zs_op *op);
int zs_attempt_read(struct zs_op *op);
int zs_call_write(const struct zs_op *op);
int zs_attempt_write(struct zs_op *op);
int zs_call_readv(const struct zs_op *op);
int zs_attempt_readv(struct zs_op *op);
int zs_call_writev(const struct zs_op *op);
int zs_attempt_writev(struct zs_op *op);
int zs_call_close(const struct zs_op *op);
bool zs_is_quick_close(const struct zs_op *op);
int zs_call_fsync(const struct zs_op *op);
int zs_call_sync_file_range(const struct zs_op *op);
int zs_call_fallocate(const struct zs_op *op);
int zs_call_ftruncate(const struct zs_op *op);
int zs_call_fadvise(const struct zs_op *op);
int zs_call_madvise(const struct zs_op *op);

/* calls_process.c */
int zs_call_waitid(const struct zs_op *op);
int zs_call_spawn(const struct zs_op *op);
int zs_call_futex_wait(const struct zs_op *op);

/* calls_net.c */
int zs_call_nop(const struct zs_op *op);
int zs_call_function(const struct zs_op *op);
int zs_call_poll(const struct zs_op *op);
int zs_attempt_poll(struct zs_op *op);
int zs_call_socket(const struct zs_op *op);
int zs_call_bind(const struct zs_op *op);
int zs_call_listen(const struct zs_op *op);
int zs_call_accept(const struct zs_op *op);
int zs_attempt_accept(struct zs_op *op);
int zs_call_connect(const struct zs_op *op);
int zs_attempt_connect(struct zs_op *op);
int zs_call_shutdown(const struct zs_op *op);
int zs_call_send(const struct zs_op *op);
int zs_attempt_send(struct zs_op *op);
int zs_call_recv(const struct zs_op *op);
int zs_attempt_recv(struct zs_op *op);
int zs_call_sendmsg(const struct zs_op *op);
int zs_attempt_sendmsg(struct zs_op *op);
int zs_call_recvmsg(const struct zs_op *op);
int zs_attempt_recvmsg(struct zs_op *op);
int zs_call_sendmmsg(const struct zs_op *op);
int zs_attempt_sendmmsg(struct zs_op *op);
int zs_call_recvmmsg(const struct zs_op *op);
int zs_attempt_recvmmsg(struct zs_op *op);

/* calls_path.c */
int zs_call_openat(const struct zs_op *op);
int zs_attempt_openat(struct zs_op *op);
int zs_call_statx(const struct zs_op *op);
int zs_call_renameat(const struct zs_op *op);
int zs_call_linkat(const struct zs_op *op);
int zs_call_symlinkat(const struct zs_op *op);
int zs_call_mkdirat(const struct zs_op *op);
int zs_call_unlinkat(const struct zs_op *op);
int zs_call_fsetxattr(const struct zs_op *op);
int zs_call_setxattr(const struct zs_op *op);
int zs_call_fgetxattr(const struct zs_op *op);
int zs_call_getxattr(const struct zs_op *op);
int zs_call_getdents(const struct zs_op *op);

/* calls_pipe.c */
int zs_call_pipe(const struct zs_op *op);
int zs_call_splice(const struct zs_op *op);
int zs_attempt_splice(struct zs_op *op);
int zs_call_tee(const struct zs_op *op);
int zs_attempt_tee(struct zs_op *op);

#endif
