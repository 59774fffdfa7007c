/* SPDX-License-Identifier: MIT */
/*
 * Entries of the ring's queue that are not like their ops: what the table's
 * column "fill" names, and how one is handed over. For the engine uring, on the
 * worker's thread, off the hot path.
 */
#ifndef ZS_ENGINE_ENTRY_H
#define ZS_ENGINE_ENTRY_H

#include <stdbool.h>

#include "engine/abi.h"
#include "engine/op.h"

struct zs_uring;

/* Can the ring be asked for @op? */
bool zs_entry_is_possible(const struct zs_uring *uring, const struct zs_op *op);

/* Hands @op over, for which zs_entry_is_possible() and which has a column
 * "fill". The queue must be empty. False if the kernel does not take it now. */
bool zs_entry_submit(struct zs_uring *uring, struct zs_op *op);

/* The table's. */
bool zs_entry_of_range(struct zs_sqe *entry, const struct zs_op *op);
bool zs_entry_of_madvise(struct zs_sqe *entry, const struct zs_op *op);
bool zs_entry_of_xattr(struct zs_sqe *entry, const struct zs_op *op);
bool zs_entry_of_splice(struct zs_sqe *entry, const struct zs_op *op);
bool zs_entry_of_waitid(struct zs_sqe *entry, const struct zs_op *op);
bool zs_entry_of_futex_wait(struct zs_sqe *entry, const struct zs_op *op);
bool zs_entry_of_tee(struct zs_sqe *entry, const struct zs_op *op);

/* What the ring does not have. True: a thread of the pool has it. False: it has
 * been called, and op->result is its result. */
bool zs_entry_do_without(struct zs_uring *uring, struct zs_op *op);

#endif
