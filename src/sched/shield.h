/* SPDX-License-Identifier: MIT */
/* What a cancel has to do with shields. For cancel.c. */
#ifndef ZS_SCHED_SHIELD_H
#define ZS_SCHED_SHIELD_H

struct zs_scope;

/* The shield's worker: @reason would cancel all that is inside, and all that is
 * around it is marked. */
void zs_shield_hold(struct zs_scope *shield, int reason);

#endif
