/* SPDX-License-Identifier: MIT */
/*
 * zsync: green threads over io_uring, for Linux.
 *
 * This header gathers the whole public interface. Conventions that hold for
 * every call, unless its own comment says otherwise:
 *
 *  - A result >= 0 is success, a negative one is an errno (-EINVAL, ...). The
 *    thread's errno is neither set nor disturbed.
 *  - Durations and points in time are int64_t nanoseconds; points in time are
 *    on CLOCK_MONOTONIC, as zs_now() reads it.
 *  - A call marked "task" parks the calling green thread where it would block;
 *    outside a task it returns -EPERM. "Any thread" includes threads that the
 *    runtime knows nothing of.
 *  - A parking call inside a cancelled scope returns -ECANCELED, or -ETIMEDOUT
 *    where the reason is a deadline that passed; see zsync/cancel.h.
 *  - Memory handed to a call is the caller's; the call has let go of it, and so
 *    has the kernel, when the call returns. Buffers on the task's stack are
 *    therefore fine.
 */
#ifndef ZSYNC_H
#define ZSYNC_H

#include <zsync/arena.h>
#include <zsync/broadcast.h>
#include <zsync/cancel.h>
#include <zsync/chan.h>
#include <zsync/config.h>
#include <zsync/file.h>
#include <zsync/futex.h>
#include <zsync/interval.h>
#include <zsync/join.h>
#include <zsync/join_set.h>
#include <zsync/local.h>
#include <zsync/net.h>
#include <zsync/nursery.h>
#include <zsync/offload.h>
#include <zsync/parallel.h>
#include <zsync/process.h>
#include <zsync/resolve.h>
#include <zsync/runtime.h>
#include <zsync/select.h>
#include <zsync/shield.h>
#include <zsync/signal.h>
#include <zsync/stats.h>
#include <zsync/sync.h>
#include <zsync/task.h>
#include <zsync/time.h>

#endif
