/* SPDX-License-Identifier: MIT */
/*
 * Await: the one place where an operation is submitted and parked on. Called by
 * everything in this room, from a task.
 */
#ifndef ZS_IO_AWAIT_H
#define ZS_IO_AWAIT_H

#include "engine/op.h"

/* Task (-EPERM outside one). Carries @op, filled by the caller, out and returns
 * its result. In a cancelled scope it is not even begun: -ECANCELED or
 * -ETIMEDOUT. Cancelled while it waits, it returns when the kernel has let go
 * of its memory: with the result if it got that far, else with one of these.
 * errno stays as it was. */
int zs_await(struct zs_op *op);

/* The same, deaf to cancellation. For what releases something. */
int zs_await_shielded(struct zs_op *op);

#endif
