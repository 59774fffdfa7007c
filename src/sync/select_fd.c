/* SPDX-License-Identifier: MIT */
/*
 * The descriptors of a select; called by select.c. Each is waited for by a task
 * of its own, on the same worker, in a nursery that is the select's: what waits
 * for a descriptor on this model and ends when it is cancelled is there
 * already, in zs_poll_fd().
 */
#include <errno.h>
#include <poll.h>

#include "base/assert.h"
#include "sync/select.h"
#include "zsync/net.h"

struct watch {
	struct zs_select *select;
	uint32_t number;
};

bool zs_select_fd_is_ready(struct zs_select_case *one)
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

/* An error of its own makes the case happen; a cancel is the select's end. */
static int watch(void *arg)
{
	const struct watch *watch = arg;
	struct zs_select *select = watch->select;
	struct zs_select_case *one = &select->cases[watch->number];
	int ret = zs_poll_fd(one->fd, one->events);

	if (ret == -ECANCELED || ret == -ETIMEDOUT ||
	    !zs_select_claim(select, watch->number))
		return 0;
	one->result = ret;
	zs_task_wake_anywhere(&select->waiter.wake);
	return 0;
}

static int spawn_watches(struct zs_select *select)
{
	struct watch one = { select, 0 };
	int ret = 0;

	for (; one.number < select->number && ret == 0; one.number++) {
		const struct zs_select_case *its = &select->cases[one.number];

		if (its->kind == ZS_SELECT_KIND_FD && its->fd >= 0)
			ret = zs_nursery_spawn_copy(select->nursery, watch,
						    &one, sizeof(one));
	}
	return ret;
}

int zs_select_begin_fds(struct zs_select *select)
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
		zs_select_end_fds(select);
	}
	return ret;
}

void zs_select_end_fds(struct zs_select *select)
{
	zs_nursery_cancel(select->nursery);
	zs_nursery_wait(select->nursery);
}
