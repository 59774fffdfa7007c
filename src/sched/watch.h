/* SPDX-License-Identifier: MIT */
/*
 * Watching a scope: to be told, once, when it is cancelled or closed. Called by
 * tasks of any worker of the scope's runtime; told on the scope's worker.
 */
#ifndef ZS_SCHED_WATCH_H
#define ZS_SCHED_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

struct zs_scope;

/* The watcher's own memory, on its stack as a rule. */
struct zs_watcher {
	struct zs_list node;
	/* On the scope's worker, under its lock: may not watch, nor stop to.
	 * @result is an enum zs_cancel_reason, or -ESTALE: closed. Where it
	 * does not stay, the watcher is not the scope's any more. */
	void (*tell)(struct zs_watcher *watcher, int result);
	/* Of a scope: it is told of the close, too, if it was of a cancel. Of
	 * an outcome: it does not take it. */
	bool stays;
	bool is_listed; /* under the lock */
};

/* The handle's scope. 0: @watcher, whose first two fields need not be set, will
 * be told. A reason: it was cancelled before, and @watcher, unless it stays, is
 * the caller's. -ESTALE, or -EXDEV (of another runtime). */
int zs_scope_watch(struct zs_scope *scope, uint64_t generation,
		   struct zs_watcher *watcher);
/* True: it was to be told, and will not be. @scope may be closed. */
bool zs_scope_unwatch(struct zs_scope *scope, struct zs_watcher *watcher);

/* Under the lock: something is about to be listed in the scope. False: it is
 * not open any more as the handle says. */
bool zs_scope_set_watched(struct zs_scope *scope, uint64_t generation);

/* The scope's worker: it has just been marked. */
void zs_scope_tell_watchers(struct zs_scope *scope, int reason);
/* The same: it is about to be closed, unless more is listed. */
void zs_scope_dismiss_watchers(struct zs_scope *scope);

#endif
