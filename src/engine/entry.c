/* SPDX-License-Identifier: MIT */
/* Entries that are not like their ops. See entry.h for who calls. */
#include "engine/entry.h"

#include <errno.h>
#include <string.h>

#include "engine/uring.h"

/* Lengths have 32 bits there (fadvise's 64 since 6.11). */
static bool set_length(struct zs_sqe *entry, uint64_t length)
{
	entry->length = (uint32_t)length;
	return length <= UINT32_MAX;
}

bool zs_entry_of_range(struct zs_sqe *entry, const struct zs_op *op)
{
	entry->addr = 0;
	return set_length(entry, op->address);
}

bool zs_entry_of_madvise(struct zs_sqe *entry, const struct zs_op *op)
{
	entry->offset = 0;
	return set_length(entry, op->offset);
}

bool zs_entry_of_xattr(struct zs_sqe *entry, const struct zs_op *op)
{
	const struct zs_xattr *xattr = (void *)(uintptr_t)op->address;

	entry->addr = (uint64_t)(uintptr_t)xattr->name;
	entry->addr3 = (uint64_t)(uintptr_t)xattr->path;
	return true;
}

bool zs_entry_of_splice(struct zs_sqe *entry, const struct zs_op *op)
{
	const struct zs_splice_in *in = (void *)(uintptr_t)op->address;

	entry->addr = in->offset;
	entry->splice_fd_in = in->fd;
	return true;
}

/* It has no offsets. */
bool zs_entry_of_tee(struct zs_sqe *entry, const struct zs_op *op)
{
	const struct zs_splice_in *in = (void *)(uintptr_t)op->address;

	entry->addr = 0;
	entry->offset = 0;
	entry->splice_fd_in = in->fd;
	return true;
}

bool zs_entry_of_waitid(struct zs_sqe *entry, const struct zs_op *op)
{
	entry->file_index = op->flags;
	entry->op_flags = 0;
	return true;
}

/* Woken by anyone, whatever bits a waker chooses. */
bool zs_entry_of_futex_wait(struct zs_sqe *entry, const struct zs_op *op)
{
	(void)op;
	entry->addr3 = UINT32_MAX;
	return true;
}

static bool make_entry(struct zs_sqe *entry, const struct zs_op *op)
{
	const struct zs_op_type *type = &zs_op_types[op->code];

	*entry = (struct zs_sqe){
		.opcode = type->sqe_opcode,
		.flags = type->sqe_flags,
		.fd = op->fd,
		.offset = op->offset,
		.addr = op->address,
		.length = op->length,
		.op_flags = op->flags,
	};
	return !type->fill || type->fill(entry, op);
}

bool zs_entry_is_possible(const struct zs_uring *uring, const struct zs_op *op)
{
	struct zs_sqe entry;

	return uring->kernel->ops[zs_op_types[op->code].sqe_opcode] &&
	       make_entry(&entry, op);
}

/* It has fields that no other op sets, and which are expected to be zero when
 * the entry is used next: so it does not stay in the queue. */
bool zs_entry_submit(struct zs_uring *uring, struct zs_op *op)
{
	uint64_t user_data = zs_uring_user_data(uring, op);
	struct zs_sqe *entry = zs_ring_next_sqe(&uring->ring);
	bool is_taken;

	make_entry(entry, op);
	entry->user_data = user_data;
	op->user_data = user_data;
	ZS_COUNT(uring->engine.counters.enters, 1);
	is_taken = zs_ring_submit(&uring->ring);
	memset(entry, 0, sizeof(*entry));
	if (!is_taken)
		zs_ring_take_back(&uring->ring);
	return is_taken;
}

bool zs_entry_do_without(struct zs_uring *uring, struct zs_op *op)
{
	int saved_errno = errno;
	bool is_for_pool = zs_op_is_for_pool(op);
	bool is_taken;

	op->result = 0;
	is_taken = is_for_pool &&
		   zs_offload_submit(&uring->returns, op, zs_op_lane(op));
	if (!is_taken)
		op->result = zs_op_call_plainly(op);
	/* Of a terminal only the call itself can tell whether it waits. */
	if (!is_for_pool && op->result == ZS_OP_NO_THREAD)
		is_taken =
			zs_offload_submit(&uring->returns, op, ZS_LANE_WAITING);
	errno = saved_errno;
	return is_taken;
}
