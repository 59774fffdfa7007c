/* SPDX-License-Identifier: MIT */
/*
 * Cancellation: a tree of scopes, each with a token by which any thread may
 * cancel it, and a deadline.
 *
 * A task is always inside a scope: its nursery's, or one that it opened itself.
 * Scopes nest. Cancelling one cancels all inside it, on every worker: a parked
 * call there ends with -ECANCELED (-ETIMEDOUT if the reason is a deadline), and
 * so does every later parking call until the scope is closed. What the kernel
 * had done by then is not lost: such a call returns its result, and the next
 * one reports the cancellation. zs_close() works in a cancelled scope.
 *
 *	struct zs_cancel_token token;
 *
 *	zs_cancel_token_open(&token, zs_now() + 50 * ZS_MILLISECOND);
 *	ret = zs_recv(fd, buffer, sizeof(buffer), 0);
 *	zs_cancel_token_close(token);
 */
#ifndef ZSYNC_CANCEL_H
#define ZSYNC_CANCEL_H

#include <stdint.h>

#include <zsync/task.h>
#include <zsync/time.h>

#ifdef __cplusplus
extern "C" {
#endif

enum zs_cancel_reason {
	ZS_CANCEL_NONE,
	ZS_CANCEL_REQUESTED,	  /* a ..._cancel() call */
	ZS_CANCEL_DEADLINE,	  /* the deadline of this or an outer scope */
	ZS_CANCEL_SIBLING_FAILED, /* a task of the nursery returned an error */
	ZS_CANCEL_LEFT_OPEN,	  /* the opener returned with its scope open */
	ZS_CANCEL_STOPPING,	  /* zs_runtime_stop() */
	ZS_CANCEL_RESOURCE,	  /* zs_cancel_token_cancel_for(): a limit, */
	ZS_CANCEL_ERROR,	  /* or a failure elsewhere */
};

struct zs_scope;

/* A handle, freely copied. One whose scope has been closed is recognised:
 * -ESTALE. All handles are void once the runtime is destroyed. */
struct zs_cancel_token {
	struct zs_scope *scope;
	uint64_t generation;
};

/* Task. Opens a scope inside the current one and enters it. @deadline_ns is a
 * point in time, or ZS_NEVER. -EINVAL for a NULL token, -ENOMEM. */
int zs_cancel_token_open(struct zs_cancel_token *token, int64_t deadline_ns);

/*
 * The task that opened it. Leaves the scope and ends it. 0, or how it was
 * cancelled: -ECANCELED or -ETIMEDOUT; in both cases it is closed. It stays
 * open on -EPERM (another task opened it) and -EBUSY (a scope opened inside it
 * is still open).
 */
int zs_cancel_token_close(struct zs_cancel_token token);

/* Any thread. Cancels all that is inside. 0 also if it was cancelled before. */
int zs_cancel_token_cancel(struct zs_cancel_token token);

/* The same for @reason: ZS_CANCEL_REQUESTED, ZS_CANCEL_DEADLINE (so that calls
 * inside return -ETIMEDOUT), ZS_CANCEL_RESOURCE or ZS_CANCEL_ERROR; -EINVAL for
 * any other. The first reason stays. */
int zs_cancel_token_cancel_for(struct zs_cancel_token token,
			       enum zs_cancel_reason reason);

/*
 * Task, or a timer's function. Replaces the deadline; ZS_NEVER takes it away.
 * It moves that of this scope only: of all that a task is inside, the nearest
 * decides. What was cancelled stays so. A task of another worker of the runtime
 * waits, uncancellable, until the scope's worker has done it; a timer's
 * function of another one gets -EXDEV, and so does who is of another runtime.
 */
int zs_cancel_token_set_deadline(struct zs_cancel_token token,
				 int64_t deadline_ns);

/* Any thread. An enum zs_cancel_reason: why the scope was cancelled at first,
 * also where that was an outer one, which passes its reason on. */
int zs_cancel_token_reason(struct zs_cancel_token token);

/* Any thread. 1 if it was cancelled because an outer scope was; 0 if it was
 * cancelled itself, or not at all. */
int zs_cancel_token_is_inherited(struct zs_cancel_token token);

/*
 * Task, of any worker of the runtime. Waits until the scope is cancelled, and
 * returns the enum zs_cancel_reason (> 0), at once if it was before; -ESTALE if
 * it is or gets closed. -ECANCELED or -ETIMEDOUT: the waiting task was
 * cancelled first. -EXDEV: the token is of another runtime.
 */
int zs_cancel_token_wait(struct zs_cancel_token token);

/* Task. The reason for which the innermost scope is cancelled. */
int zs_cancel_reason(void);

/* Task. The point in time at which the nearest deadline of all scopes that it
 * is inside cancels it, as far as is known now; ZS_NEVER if there is none. A
 * shield (zsync/shield.h) puts those outside it off. */
int64_t zs_deadline(void);

/*
 * Task. Runs fn(arg) in a scope that is cancelled after @duration_ns; a
 * duration <= 0 has passed before, ZS_NEVER never does. fn's result; but if
 * that is negative and the duration had passed, -ETIMEDOUT. Scopes that fn
 * leaves open are reported, cancelled and closed. -EINVAL (no function) or
 * -ENOMEM: fn was not called.
 */
int zs_timeout(int64_t duration_ns, zs_task_fn *fn, void *arg);

/*
 * A function that is called when a scope is cancelled: to tell what knows
 * nothing of tasks, such as another library's loop. The memory is the caller's,
 * zeroed before it is first used, and must neither move nor go away between
 * zs_cancel_callback_add() and the call, the removal or the scope's close,
 * whichever is first.
 *
 * The function runs once, on the worker of the task that opened the scope,
 * between two tasks, on the thread's stack and not inside a task: what holds
 * for a timer's function (zsync/time.h) holds for it. It comes at the next turn
 * of the worker's loop. By then the callback is not the scope's any more: it
 * may be added to another, or freed.
 */
struct zs_cancel_callback;
typedef void zs_cancel_callback_fn(struct zs_cancel_callback *callback,
				   void *arg);

/* All but one are the runtime's own. */
struct zs_cancel_callback {
	enum zs_cancel_reason reason; /* to be read by the function */
	struct zs_timer timer;
	struct zs_scope *scope;
	zs_cancel_callback_fn *fn;
	void *arg;
	void *links[4];
};

/*
 * Task of the worker that the scope was opened on, or a timer's function there:
 * the opener, as a rule. If the scope is cancelled already, the function is
 * called at the next turn. 0, or nothing was added: -EINVAL (no callback or no
 * function), -ESTALE (the scope is closed), -EBUSY (it is added already),
 * -EXDEV (the scope is another worker's), -EPERM (not on a worker's thread).
 */
int zs_cancel_callback_add(struct zs_cancel_callback *callback,
			   struct zs_cancel_token token,
			   zs_cancel_callback_fn *fn, void *arg);

/*
 * The same callers. 1: it was added, and will not be called. 0: it has been
 * called, or has begun (only then can it be the function itself that asks), or
 * its scope has been closed, or it was never added. In all these cases the
 * memory is the caller's again. -EINVAL, -EXDEV, -EPERM.
 */
int zs_cancel_callback_remove(struct zs_cancel_callback *callback);

/* Any thread. "deadline", ... ; "unknown" for what is no reason. */
const char *zs_cancel_reason_name(enum zs_cancel_reason reason);

#ifdef __cplusplus
}
#endif
#endif
