/* SPDX-License-Identifier: MIT */
/*
 * Await: submits an operation and parks the task on it. Called by this room, on
 * the task; its cancelling by the scheduler, on the task's worker.
 */
#include "io/await.h"

#include <errno.h>
#include <stdlib.h>
#include <limits.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/explain.h"

/* It goes round, which differences do not mind. */
static uint32_t in_ms(int64_t time_ns)
{
	return (uint32_t)(time_ns / ZS_MILLISECOND);
}

/* The task's own, on its stack: const only for those who look on. */
static struct zs_op *op_of(const struct zs_task *task)
{
	return (struct zs_op *)(uintptr_t)task->waits_on;
}

static void note_asked(const struct zs_task *task, struct zs_op *op)
{
	if (!op->cancel_asked)
		op->asked_ms = in_ms(zs_worker_now(task->worker));
}

/* The op's memory is the kernel's until its final completion, so that a cancel
 * only asks; the task is woken by the completion, whatever came first. */
static void cancel_op(struct zs_task *task)
{
	struct zs_engine *engine = task->worker->engine;
	struct zs_op *op = op_of(task);

	/* The op is done, but perhaps not the call, which looks here. */
	if (op->state == ZS_OP_DONE) {
		op->cancel_asked = true;
		return;
	}
	note_asked(task, op);
	engine->ops->cancel(engine, op);
}

/* --- what outlives its task's wait --- */

struct zs_request *zs_request_get(struct zs_worker *worker)
{
	struct zs_request *request = zs_slab_get(&worker->requests);

	if (!request)
		return NULL;
	request->slab = &worker->requests;
	request->fd = -1;
	request->memory = NULL;
	return request;
}

void zs_request_put(struct zs_request *request)
{
	if (request->fd >= 0)
		close(request->fd);
	free(request->memory);
	zs_slab_put(request->slab, request);
}

static void release(struct zs_detached *detached, int result)
{
	struct zs_request *request =
		zs_container_of(detached, struct zs_request, detached);
	int saved_errno = errno;

	if (request->opens && result >= 0)
		close(result);
	errno = saved_errno;
	zs_request_put(request);
}

/* Where it cannot be given up, it can only be asked to end. */
static void cancel_detachable(struct zs_task *task)
{
	struct zs_engine *engine = task->worker->engine;
	struct zs_op *op = op_of(task);
	struct zs_request *request = zs_container_of(op, struct zs_request, op);

	if (op->state == ZS_OP_DONE)
		return;
	note_asked(task, op);
	request->detached.release = release;
	if (!engine->ops->detach(engine, op, &request->detached)) {
		cancel_op(task);
		return;
	}
	request->waiter->is_detached = true;
	zs_task_wake(task);
}

static ZS_RACY void describe_op(const void *object, struct zs_text *text)
{
	const struct zs_op *op = object;
	uint32_t held_ms;

	zs_op_describe(op, text);
	if (op->state == ZS_OP_DONE) {
		zs_text_add(text, ", done");
	} else if (op->cancel_asked) {
		held_ms = in_ms(zs_clock_ns()) - op->asked_ms;
		zs_text_add(text, ", held by the kernel for ");
		zs_text_add_duration(text, held_ms * ZS_MILLISECOND);
	}
}

static int fd_of_op(const void *object)
{
	const struct zs_op *op = object;

	return zs_op_types[op->code].names_fd ? op->fd : -1;
}

const struct zs_wait_type zs_await_cancellable = {
	.cancel = cancel_op,
	.describe = describe_op,
	.fd = fd_of_op,
};
static const struct zs_wait_type shielded_wait = {
	.describe = describe_op,
	.fd = fd_of_op,
};
static const struct zs_wait_type detachable_wait = {
	.cancel = cancel_detachable,
	.describe = describe_op,
	.fd = fd_of_op,
};

int zs_await_error(int result)
{
	const struct zs_task *task = zs_worker_self->current;

	if (result == -ECANCELED && zs_scope_error(task->scope) < 0)
		return zs_scope_error(task->scope);
	if (result == ZS_OP_WOULD_WAIT)
		return zs_explain_none(-EAGAIN);
	if (result == ZS_OP_NO_THREAD)
		return zs_explain_as(-EAGAIN,
				     "it may have to wait for ever, and there "
				     "is no thread for that: none can be made "
				     "(RLIMIT_NPROC, pids.max), or %d wait",
				     ZS_LANE_WAITING_MOST);
	return zs_explain_none(result);
}

/* May the running task begin @op? */
static ZS_ALWAYS_INLINE int begin(struct zs_task *task, const struct zs_op *op)
{
	int claimed = 0;
	int ret;

	if (!task)
		return zs_explain_none(-EPERM);
	if (!task->is_linked)
		zs_scope_link(task);
	/* It may wait, and a cancel come meanwhile: so that is looked for
	 * afterwards. */
	if (zs_op_types[op->code].names_fd)
		claimed = zs_fds_claim(task, op->fd);
	ret = zs_scope_error(task->scope);
	if (ret < 0)
		return ret;
	if (zs_fds_is_losing(task))
		return zs_explain_none(-ECANCELED);
	return zs_likely(claimed == 0) ? 0 : zs_explain_none(claimed);
}

int zs_await_keep(int fd)
{
	struct zs_task *task = zs_worker_task();
	int ret;

	if (!task)
		return zs_explain_none(-EPERM);
	/* No descriptor's number. */
	if (fd < 0 || fd == INT_MAX)
		return 0;
	if (!task->is_linked)
		zs_scope_link(task);
	ret = zs_fds_claim(task, fd);
	if (ret < 0)
		return zs_explain_none(ret);
	return zs_fds_keep(task, fd);
}

int zs_await_let_go(int kept, int result)
{
	if (kept)
		zs_fds_let_go(zs_worker_task());
	return result;
}

int zs_await(struct zs_op *op)
{
	struct zs_worker *worker = zs_worker_self;
	int ret = begin(zs_worker_task(), op);

	if (zs_unlikely(ret < 0))
		return ret;
	zs_op_renew(op);
	ret = zs_await_submit(worker, op, op, &zs_await_cancellable);
	return zs_likely(ret >= 0) ? ret : zs_await_error(ret);
}

/* When it has been detached, the request is none any more. */
static int await_request(struct zs_detachable *detachable,
			 struct zs_request *request)
{
	struct zs_worker *worker = zs_worker_self;
	struct zs_op *op = &request->op;
	int ret;

	*op = detachable->op;
	request->waiter = detachable;
	request->opens = detachable->opens;
	op->link.item = worker->current;
	zs_op_renew(op);
	if (!zs_engine_submit(worker->engine, op, op))
		zs_task_park(&detachable_wait, op);
	ret = detachable->is_detached ? -ECANCELED : op->result;
	return ret >= 0 ? ret : zs_await_error(ret);
}

int zs_await_detachable(struct zs_detachable *detachable)
{
	struct zs_request *request = detachable->request;
	int ret = begin(zs_worker_task(), &detachable->op);

	detachable->is_detached = false;
	if (ret < 0)
		return ret;
	if (!request)
		request = zs_request_get(zs_worker_self);
	/* Without memory it cannot be given up. */
	if (!request)
		return zs_await(&detachable->op);
	ret = await_request(detachable, request);
	if (!detachable->request && !detachable->is_detached)
		zs_request_put(request);
	return ret;
}

int zs_await_shielded(struct zs_op *op)
{
	struct zs_worker *worker = zs_worker_self;

	if (zs_unlikely(!worker || !worker->current))
		return zs_explain_none(-EPERM);
	return zs_await_submit(worker, op, op, &shielded_wait);
}
