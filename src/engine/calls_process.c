/* SPDX-License-Identifier: MIT */
/*
 * The plain system calls of operations on processes, and of waits on memory
 * that they share. Called through the table of operations, by engines on the
 * worker's thread and on threads of the pool.
 */
#include "engine/calls.h"

#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/abi.h"
#include "engine/process.h"

/* Without waiting: -EAGAIN if the child has not ended. */
int zs_call_waitid(const struct zs_op *op)
{
	siginfo_t *info = zs_memory_at(op->offset);
	int ret;

	memset(info, 0, sizeof(*info));
	ret = zs_result_of(waitid((idtype_t)op->length, (id_t)op->fd, info,
				  (int)op->flags | WNOHANG));
	return ret == 0 && info->si_pid == 0 ? -EAGAIN : ret;
}

/* Waits until the program has been found, read and begun: that is, for disks
 * and file servers. The thread is stopped meanwhile, not copied, however large
 * the process is. */
int zs_call_spawn(const struct zs_op *op)
{
	const struct zs_spawn_call *call = zs_memory_at(op->address);
	pid_t pid = -1;
	int error;

	error = posix_spawnp(&pid, call->file, &call->actions,
			     &call->attributes, call->argv, call->envp);
	return error ? -error : (int)pid;
}

/* The ring's flags are those of futex_wait(2), other than futex(2)'s. */
int zs_call_futex_wait(const struct zs_op *op)
{
	int operation = op->fd & ZS_FUTEX2_PRIVATE ?
				ZS_FUTEX_CALL_WAIT_PRIVATE :
				ZS_FUTEX_CALL_WAIT;

	return zs_result_of(syscall(SYS_futex, zs_memory_at(op->address),
				    operation, (uint32_t)op->offset, NULL, NULL,
				    0));
}
