/* SPDX-License-Identifier: MIT */
/*
 * Watching a scope, as watch.h has it. The list is under the lock of the
 * scope's worker, and the bit ZS_SCOPE_WATCHED says whether it is worth a look,
 * so that a scope that nobody watches pays nothing when it is closed, and next
 * to nothing when it is cancelled.
 */
#include "sched/watch.h"

#include <errno.h>

#include "base/explain.h"
#include "sched/lock.h"
#include "sched/scope.h"
#include "sched/worker.h"

/* acquire: what the scope's worker wrote before it looked for the bit, which is
 * the reason if this comes after zs_scope_tell_watchers() in the order of the
 * word's changes. What is listed is under the lock. */
bool zs_scope_set_watched(struct zs_scope *scope, uint64_t generation)
{
	/* relaxed: the exchange checks it again. */
	uint64_t old =
		atomic_load_explicit(&scope->state, memory_order_relaxed);

	do {
		if (!zs_scope_is_open_as(old, generation))
			return false;
	} while (!atomic_compare_exchange_weak_explicit(
		&scope->state, &old, old | ZS_SCOPE_WATCHED,
		memory_order_acquire, memory_order_relaxed));
	return true;
}

static int watch_locked(struct zs_scope *scope, uint64_t generation,
			struct zs_watcher *watcher)
{
	int reason;

	if (!zs_scope_set_watched(scope, generation))
		return -ESTALE;
	/* relaxed: ordered by the change above. Either this sees the reason,
	 * or who sets it sees the bit. */
	reason = atomic_load_explicit(&scope->reason, memory_order_relaxed) &
		 ~ZS_SCOPE_INHERITED;
	if (reason != ZS_CANCEL_NONE && !watcher->stays)
		return reason;
	if (!scope->watchers.next)
		zs_list_init(&scope->watchers);
	zs_list_append(&scope->watchers, &watcher->node);
	watcher->is_listed = true;
	return reason;
}

int zs_scope_watch(struct zs_scope *scope, uint64_t generation,
		   struct zs_watcher *watcher)
{
	int ret;

	/* relaxed: what the handle's scope is, is looked at again. */
	if (!scope || atomic_load_explicit(&scope->generation,
					   memory_order_relaxed) != generation)
		return zs_explain_none(-ESTALE);
	if (scope->worker->runtime != zs_worker_self->runtime)
		return zs_explain_as(-EXDEV, "the token is of another runtime");
	zs_lock_children(scope->worker);
	ret = watch_locked(scope, generation, watcher);
	zs_unlock_children(scope->worker);
	return ret < 0 ? zs_explain_none(ret) : ret;
}

bool zs_scope_unwatch(struct zs_scope *scope, struct zs_watcher *watcher)
{
	bool was_listed;

	zs_lock_children(scope->worker);
	was_listed = watcher->is_listed;
	if (was_listed)
		zs_list_remove(&watcher->node);
	watcher->is_listed = false;
	zs_unlock_children(scope->worker);
	return was_listed;
}

/* A watcher that does not stay may be gone once it has been told. */
static void tell_all(struct zs_scope *scope, int result)
{
	struct zs_list *node, *next;

	if (!scope->watchers.next)
		return;
	for (node = scope->watchers.next; node != &scope->watchers;
	     node = next) {
		struct zs_watcher *watcher =
			zs_container_of(node, struct zs_watcher, node);

		next = node->next;
		if (result < 0 || !watcher->stays) {
			zs_list_remove(node);
			watcher->is_listed = false;
		}
		watcher->tell(watcher, result);
	}
}

void zs_scope_tell_watchers(struct zs_scope *scope, int reason)
{
	/* A change, not a look: either it sees the bit that who watches sets,
	 * or that is set later. release: who comes later sees the reason. */
	uint64_t state = atomic_fetch_or_explicit(&scope->state, 0,
						  memory_order_release);

	if (!(state & ZS_SCOPE_WATCHED))
		return;
	zs_lock_children(scope->worker);
	tell_all(scope, reason);
	zs_unlock_children(scope->worker);
}

void zs_scope_dismiss_watchers(struct zs_scope *scope)
{
	zs_lock_children(scope->worker);
	/* relaxed: the bit is set under the lock, too. */
	atomic_fetch_and_explicit(&scope->state, ~(uint64_t)ZS_SCOPE_WATCHED,
				  memory_order_relaxed);
	tell_all(scope, -ESTALE);
	if (scope->outcomes.next)
		scope->needs_care = true;
	zs_unlock_children(scope->worker);
}
