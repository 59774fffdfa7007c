/* SPDX-License-Identifier: MIT */
/*
 * Stall detector: reports tasks that keep their worker to themselves. Called by
 * the runtime, by each worker when it begins and ends, and by the handler of
 * the signal that a stalled worker is asked by.
 */
#ifndef ZS_SCHED_STALL_H
#define ZS_SCHED_STALL_H

#include <signal.h>
#include <stdbool.h>

struct zs_runtime;
struct zs_worker;

/* What a stalled worker is asked by. Its default is to be ignored, so one that
 * arrives late, when our handler has gone, does no harm. */
#define ZS_STALL_SIGNAL SIGURG

/* Before the workers' threads are made; nothing if the knob is off. 0 or a
 * negative errno, explained. */
int zs_stall_start(struct zs_runtime *runtime);
/* After they have ended. */
void zs_stall_stop(struct zs_runtime *runtime);

/* On the worker's thread: from when until when it may be asked. */
void zs_stall_enter(struct zs_worker *worker);
void zs_stall_leave(struct zs_worker *worker);

/* In the signal's handler, on the worker's thread. */
void zs_stall_answer(struct zs_worker *worker, const void *context);
/* Was a signal with @info sent from here? */
bool zs_stall_has_sent(const siginfo_t *info);

#endif
