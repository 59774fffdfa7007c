/* SPDX-License-Identifier: MIT */
/*
 * Connecting to whichever of several addresses answers first, as RFC 8305 has
 * it. Called by tasks.
 *
 * Each attempt is a task of a pinned nursery, so that they share the race
 * without locks. The opener starts one after the other, in its own time, unless
 * one that fails is faster. Who wins cancels the rest.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <sys/socket.h>

#include "base/assert.h"
#include "base/compiler.h"
#include "base/explain.h"
#include "sched/worker.h"
#include "zsync/file.h"
#include "zsync/net.h"
#include "zsync/nursery.h"
#include "zsync/resolve.h"
#include "zsync/time.h"

#define STAGGER_NS (250 * ZS_MILLISECOND)

struct race {
	struct zs_nursery nursery;
	const struct sockaddr_storage *addresses;
	uint8_t order[ZS_ADDRESSES_MAX];
	int count;
	int next; /* in order, to be tried */
	int64_t next_ns;
	int winner; /* a descriptor, -1: none yet */
	int error;  /* of the first that failed */
};

/* One attempt in it. */
struct runner {
	struct race *race;
	int index; /* in addresses */
};

static void note_error(struct race *race, int error)
{
	if (race->error == 0)
		race->error = error;
}

static socklen_t length_of(const struct sockaddr_storage *address)
{
	return address->ss_family == AF_INET ? sizeof(struct sockaddr_in) :
					       sizeof(struct sockaddr_in6);
}

/* O_NONBLOCK meanwhile, so that no model needs a thread to wait in connect(2).
 */
static int connect_to(int fd, const struct sockaddr_storage *address)
{
	int on = 1, saved_errno = errno;
	int ret = setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));

	if (ret < 0)
		ret = -errno;
	if (ret == 0)
		ret = zs_connect(fd, (const struct sockaddr *)address,
				 length_of(address));
	if (ret == 0)
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
	errno = saved_errno;
	return ret;
}

static void start_next(struct race *race);

static int attempt(void *arg)
{
	const struct runner *runner = arg;
	struct race *race = runner->race;
	const struct sockaddr_storage *address =
		&race->addresses[runner->index];
	int fd = zs_socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	int ret = fd < 0 ? fd : connect_to(fd, address);

	if (ret == 0 && race->winner < 0) {
		race->winner = fd;
		zs_nursery_cancel(race->nursery);
		return 0;
	}
	if (fd >= 0)
		zs_close(fd);
	if (ret < 0) {
		note_error(race, ret);
		start_next(race);
	}
	return 0;
}

static void start_next(struct race *race)
{
	struct runner runner = { .race = race };
	int ret;

	if (race->next == race->count)
		return;
	runner.index = race->order[race->next++];
	race->next_ns = zs_now() + STAGGER_NS;
	ret = zs_nursery_spawn_copy(race->nursery, attempt, &runner,
				    sizeof(runner));
	if (ret < 0)
		note_error(race, ret);
}

/* The families take turns, as long as there are both. */
static void put_in_order(struct race *race)
{
	bool is_taken[ZS_ADDRESSES_MAX] = { false };
	int family = race->addresses[0].ss_family;
	int i, place, found;

	for (place = 0; place < race->count; place++) {
		found = -1;
		for (i = 0; i < race->count; i++) {
			if (is_taken[i])
				continue;
			if (race->addresses[i].ss_family == family) {
				found = i;
				break;
			}
			if (found < 0)
				found = i;
		}
		ZS_ASSERT(found >= 0);
		is_taken[found] = true;
		race->order[place] = (uint8_t)found;
		family = race->addresses[found].ss_family == AF_INET ?
				 AF_INET6 :
				 AF_INET;
	}
}

static int run_race(struct race *race)
{
	const struct zs_nursery_options options = {
		.flags = ZS_NURSERY_PINNED,
	};
	int ret = zs_nursery_open(&race->nursery, &options);

	if (ret < 0)
		return ret;
	start_next(race);
	while (ret == 0 && race->next < race->count) {
		ret = zs_sleep_until(race->next_ns);
		if (ret == 0 && zs_now() >= race->next_ns)
			start_next(race);
	}
	ret = zs_nursery_wait(race->nursery);
	if (race->winner >= 0)
		return race->winner;
	return ret < 0 ? ret : zs_explain_none(race->error);
}

ZS_PUBLIC int zs_tcp_connect_any(const struct sockaddr_storage *addresses,
				 int count)
{
	struct race race = {
		.addresses = addresses,
		.count = count,
		.winner = -1,
	};
	int i;

	if (!zs_worker_task())
		return zs_explain_none(-EPERM);
	if (!addresses || count < 1 || count > ZS_ADDRESSES_MAX)
		return zs_explain_none(-EINVAL);
	for (i = 0; i < count; i++)
		if (addresses[i].ss_family != AF_INET &&
		    addresses[i].ss_family != AF_INET6)
			return zs_explain_none(-EAFNOSUPPORT);
	put_in_order(&race);
	return run_race(&race);
}
