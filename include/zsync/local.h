/* SPDX-License-Identifier: MIT */
/*
 * Local values: what a task and the tasks below it know without being handed
 * it, such as the number of the request that they work for.
 *
 *	static const struct zs_local request = ZS_LOCAL_INIT(NULL);
 *
 *	zs_local_push(&request, &number);
 *	serve(client);
 *	zs_local_pop(&request);
 *
 * A value is in force from its push to its pop, in a scope of its own
 * (zsync/cancel.h). Which one a task sees: the last that it has pushed itself
 * and not popped; or else what the opener of its nursery saw when it opened
 * that, whoever has spawned the task, and whenever. So a value is never gone
 * while a task can see it, and needs no count: it may be on the stack of who
 * pushes it. To let children see one, push it before the nursery is opened.
 * Tasks that are spawned into the runtime see none.
 *
 * A task that uses none pays nothing. A push and its pop cost what a cancel
 * token costs; to get a value costs a step for each scope that the task is
 * inside, up to the one that it is found in.
 */
#ifndef ZSYNC_LOCAL_H
#define ZSYNC_LOCAL_H

#include <zsync/task.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A key: its address tells it from others. It must be there as long as a value
 * of it is in force, as a static one is. */
struct zs_local {
	void *otherwise; /* what is seen where none is in force */
};

#define ZS_LOCAL_INIT(otherwise) \
	{                        \
		(otherwise)      \
	}

/* Task. @value, which is the caller's and may be NULL, is in force from now on.
 * -EINVAL for a NULL key, -ENOMEM. */
int zs_local_push(const struct zs_local *key, void *value);

/* The task that pushed it, and that is in the same scope as it was then: the
 * value before it is in force again. 0; -ECANCELED or -ETIMEDOUT if the task is
 * cancelled, but it is done all the same; -EBUSY (a scope that was opened
 * since, or another key's value, is still open) or -ENOENT (the task has pushed
 * none of this key). */
int zs_local_pop(const struct zs_local *key);

/* Any thread. The value in force; key->otherwise if there is none, and outside
 * a task. NULL for a NULL key. */
void *zs_local_get(const struct zs_local *key);

/* Task. Runs fn(arg) with @value in force; its result. Scopes that fn leaves
 * open are reported, cancelled and closed. -EINVAL or -ENOMEM: fn was not
 * called. */
int zs_local_with(const struct zs_local *key, void *value, zs_task_fn *fn,
		  void *arg);

#ifdef __cplusplus
}
#endif
#endif
