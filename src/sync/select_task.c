/* SPDX-License-Identifier: MIT */
/*
 * The cases of a select that are no channel's: descriptors, tokens, and tasks
 * that end. Called by select.c. Each is waited for by a task, on the same
 * worker, in a nursery that is the select's: what waits for such a thing and
 * ends when it is cancelled is there already. None of them takes anything, so
 * that nothing is lost if another case happens; a task is joined afterwards.
 */
#include <errno.h>
#include <poll.h>

#include "base/explain.h"
#include "sync/select.h"
#include "zsync/cancel.h"
#include "zsync/join.h"
#include "zsync/net.h"

struct watch {
	struct zs_select *select;
	uint32_t number;
};

bool zs_select_is_other(const struct zs_select_case *one)
{
	switch ((enum zs_select_kind)one->kind) {
	case ZS_SELECT_KIND_FD:
		return one->fd >= 0;
	case ZS_SELECT_KIND_TOKEN:
		return one->token.scope;
	case ZS_SELECT_KIND_JOIN:
		return one->handle.outcome;
	case ZS_SELECT_KIND_RECV:
	case ZS_SELECT_KIND_SEND:
		break;
	}
	return false;
}

/* --- now --- */

static bool is_ready(struct zs_select_case *one)
{
	struct pollfd poll_fd = { .fd = one->fd, .events = (short)one->events };
	int saved_errno = errno;
	int ret = poll(&poll_fd, 1, 0);

	errno = saved_errno;
	if (ret <= 0)
		return false;
	one->result = poll_fd.revents & POLLNVAL ? -EBADF : poll_fd.revents;
	return true;
}

static bool is_cancelled(struct zs_select_case *one)
{
	one->result = zs_cancel_token_reason(one->token);
	return one->result != ZS_CANCEL_NONE;
}

static bool has_ended(struct zs_select_case *one)
{
	int ret = zs_task_has_ended(one->handle);

	if (ret == 0)
		return false;
	/* It does not wait. */
	one->result = zs_task_join(one->handle, one->item);
	return true;
}

bool zs_select_other_happens(struct zs_select_case *one)
{
	if (one->kind == ZS_SELECT_KIND_FD)
		return is_ready(one);
	return one->kind == ZS_SELECT_KIND_TOKEN ? is_cancelled(one) :
						   has_ended(one);
}

/* --- later --- */

static int await(const struct zs_select_case *one)
{
	if (one->kind == ZS_SELECT_KIND_FD)
		return zs_poll_fd(one->fd, one->events);
	return one->kind == ZS_SELECT_KIND_TOKEN ?
		       zs_cancel_token_wait(one->token) :
		       zs_task_wait(one->handle);
}

/* An error of its own makes the case happen, as -ECANCELED of a descriptor that
 * another task has closed. A cancel of the scope is the select's end. */
static int watch(void *arg)
{
	const struct watch *watch = arg;
	struct zs_select *select = watch->select;
	struct zs_select_case *one = &select->cases[watch->number];
	int ret = await(one);

	if (ret < 0 && zs_cancel_reason() != ZS_CANCEL_NONE)
		return 0;
	/* Which of those that wait here is found first does not matter. */
	if (ret == -EDEADLK) {
		if (!zs_select_claim(select, ZS_SELECT_BY_CANCEL))
			return 0;
		select->waiter.result = ret;
	} else {
		if (!zs_select_claim(select, watch->number))
			return 0;
		one->result = ret;
	}
	zs_task_wake_anywhere(&select->waiter.wake);
	return 0;
}

static int spawn_watches(struct zs_select *select)
{
	struct watch one = { select, 0 };
	int ret = 0;

	for (; one.number < select->number && ret == 0; one.number++)
		if (zs_select_is_other(&select->cases[one.number]))
			ret = zs_nursery_spawn_copy(select->nursery, watch,
						    &one, sizeof(one));
	return ret;
}

int zs_select_begin_others(struct zs_select *select)
{
	const struct zs_nursery_options options = {
		.flags = ZS_NURSERY_PINNED,
	};
	int ret = zs_nursery_open(&select->nursery, &options);

	if (ret < 0)
		return ret;
	ret = spawn_watches(select);
	if (ret < 0) {
		/* Those that were spawned must not wake anybody. */
		zs_select_claim(select, ZS_SELECT_BY_CANCEL);
		zs_select_end_others(select);
	}
	return ret == -EAGAIN ? zs_explain_as(-ENOMEM,
					      "no task can be had to wait for "
					      "a case: %s",
					      zs_explain(ret)) :
				ret;
}

void zs_select_end_others(struct zs_select *select)
{
	zs_nursery_cancel(select->nursery);
	zs_nursery_wait(select->nursery);
}
