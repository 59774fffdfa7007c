/* SPDX-License-Identifier: MIT */
/* The mutex, for the condition variable; by who calls it. */
#ifndef ZS_SYNC_MUTEX_H
#define ZS_SYNC_MUTEX_H

#include "sync/gate.h"

/* Is it @caller, of zs_gate_caller(), who owns it? */
bool zs_mutex_is_of(const struct zs_mutex *mutex, uintptr_t caller);

/* The caller does not own it: locks it, and is deaf to a cancel. */
void zs_mutex_lock_deaf(struct zs_mutex *mutex, struct zs_worker *worker);

#endif
