/* SPDX-License-Identifier: MIT */
/*
 * Transfers that go on until all is moved. Called by tasks. Such a call keeps
 * its descriptor from the second operation on: its number may else be another
 * file's by the next one.
 */
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/compiler.h"
#include "base/explain.h"
#include "engine/op.h"
#include "io/await.h"
#include "io/transfer.h"
#include "zsync/file.h"
#include "zsync/net.h"

#define OWN_POSITION UINT64_MAX

static bool is_regular(int fd)
{
	struct stat status;
	int saved_errno = errno;
	bool ret = fstat(fd, &status) == 0 && S_ISREG(status.st_mode);

	errno = saved_errno;
	return ret;
}

/* Of @all, @moved bytes are: @op is to move the rest. (An engine that moved it
 * in parts has changed it.) True if that was all, or all that can be: after a
 * part of a write a regular file's own position is not known. */
static bool is_over(struct zs_op *op, const struct zs_op *all, size_t moved)
{
	op->address = all->address + moved;
	op->length = all->length - (uint32_t)moved;
	if (all->offset != OWN_POSITION)
		op->offset = all->offset + moved;
	return op->length == 0 ||
	       (op->code == ZS_OP_WRITE && op->offset == OWN_POSITION &&
		is_regular(op->fd));
}

/* Goes on from the result @ret of the first try. EAGAIN is a nonblocking
 * descriptor's. */
static ZS_NOINLINE ssize_t move_rest(struct zs_op *op, const struct zs_op *all,
				     int ret)
{
	unsigned int events = op->code == ZS_OP_READ ? POLLIN : POLLOUT;
	struct zs_task *task = zs_worker_task();
	ssize_t moved = 0;
	bool keeps;

	if (ret <= 0 && ret != -EAGAIN)
		return ret;
	keeps = zs_fds_keep(task, op->fd);
	while (ret > 0 || ret == -EAGAIN) {
		if (ret > 0) {
			moved += ret;
			if (is_over(op, all, (size_t)moved))
				break;
		} else if (zs_await_had_no_thread(op)) {
			break;
		} else {
			ret = zs_poll_fd(op->fd, events);
			if (ret < 0)
				break;
		}
		ret = zs_await(op);
	}
	if (keeps)
		zs_fds_let_go(task);
	return moved > 0 ? moved : ret;
}

static ZS_ALWAYS_INLINE ssize_t move_all(enum zs_op_code code, int fd,
					 const void *buffer, size_t length,
					 uint64_t offset)
{
	struct zs_op op, all;
	int ret;

	if (zs_transfer_is_bad(buffer, length))
		return zs_explain_none(-EINVAL);
	ret = zs_transfer_by(&op, code, fd, buffer, length, offset, 0);
	if (zs_likely(ret == (int)length))
		return ret;
	zs_transfer_fill(&all, code, fd, buffer, length, offset, 0);
	return move_rest(&op, &all, ret);
}

ZS_PUBLIC ssize_t zs_read_full(int fd, void *buffer, size_t length)
{
	return move_all(ZS_OP_READ, fd, buffer, length, OWN_POSITION);
}

ZS_PUBLIC ssize_t zs_write_full(int fd, const void *buffer, size_t length)
{
	return move_all(ZS_OP_WRITE, fd, buffer, length, OWN_POSITION);
}

ZS_PUBLIC ssize_t zs_pread_full(int fd, void *buffer, size_t length,
				int64_t offset)
{
	if (offset < 0)
		return zs_explain_none(-EINVAL);
	return move_all(ZS_OP_READ, fd, buffer, length, (uint64_t)offset);
}

ZS_PUBLIC ssize_t zs_pwrite_full(int fd, const void *buffer, size_t length,
				 int64_t offset)
{
	if (offset < 0)
		return zs_explain_none(-EINVAL);
	return move_all(ZS_OP_WRITE, fd, buffer, length, (uint64_t)offset);
}
