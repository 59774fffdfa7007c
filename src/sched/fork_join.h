/* SPDX-License-Identifier: MIT */
/*
 * Forks: calls that may be run elsewhere until they are joined. For the worker,
 * which keeps those that nobody else has been offered yet, and for the end of a
 * task.
 */
#ifndef ZS_SCHED_FORK_JOIN_H
#define ZS_SCHED_FORK_JOIN_H

#include <stdint.h>

#include "base/compiler.h"
#include "zsync/parallel.h"

struct zs_scope;
struct zs_task;
struct zs_worker;

/* A worker that is not alone offers forks as long as there are fewer unstarted
 * tasks that others can steal. One would be too few: a thief comes back before
 * the next fork. */
#define ZS_FORKS_OFFERED 2

/* Before the thread runs. */
void zs_forks_init(struct zs_worker *worker);

/* @task, or a function that it had forked, has returned without joining what it
 * forked, whose memory is gone: ends the process. */
ZS_COLD void zs_forks_panic(const struct zs_task *task);
/* A function called in @task, which was in @scope and had so many @forks then,
 * has returned with others: closes what it left open, or panics. */
ZS_COLD void zs_forks_clean_up(struct zs_task *task,
			       const struct zs_scope *scope, uint32_t forks);

#endif
