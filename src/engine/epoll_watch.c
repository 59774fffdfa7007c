/* SPDX-License-Identifier: MIT */
/*
 * Which descriptors an epoll instance watches, and how far that is relied on.
 * For epoll.c and, through zs_plain_model, plain.c; on the worker's thread.
 *
 * A descriptor is added once and watched by edges. Arming it anew makes the
 * kernel look whether it is ready by now, which costs a call. An operation that
 * has just been attempted in vain can do without: whatever comes later is an
 * edge, if only the number is still the same file's. Whoever closes and opens
 * descriptors by other ways than ours leaves us with watches of files that are
 * gone, so this is
 * - relied on only where it has been right a few times (trust),
 * - checked all the same, by arming, where an operation waits for long,
 * - never relied on again once it has been wrong.
 *
 * What is closed by our own calls is no such surprise: see zs_engine.closes.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

#include "base/compiler.h"
#include "engine/epoll.h"

enum {
	NS_PER_SECOND = 1000000000,
	/* What is watched for beside what is wanted. */
	ODD_EVENTS = EPOLLRDHUP | EPOLLPRI,
};

/* --- arming --- */

int zs_epoll_control(struct zs_epoll *epoll, int operation, int fd,
		     uint32_t events, int data)
{
	struct epoll_event event = { .events = events, .data.fd = data };

	return epoll_ctl(epoll->epoll_fd, operation, fd, &event) < 0 ? -errno :
								       0;
}

/* Of others a short receive may leave something: the next message, or what came
 * with another descriptor. */
static bool is_tcp(int fd)
{
	char protocol[16];
	socklen_t size = sizeof(protocol);

	/* None on top of it: TLS has records. */
	return getsockopt(fd, IPPROTO_TCP, TCP_ULP, protocol, &size) == 0 &&
	       size == 0;
}

/* What was armed is armed still. */
static void gain_trust(struct zs_epoll *epoll, struct zs_watch *watch, int fd)
{
	if (epoll->is_wary || watch->trust >= ZS_WATCH_TRUSTED ||
	    ++watch->trust < ZS_WATCH_TRUSTED)
		return;
	watch->is_drained = false;
	if (is_tcp(fd))
		watch->trust = ZS_WATCH_TRUSTED_STREAM;
}

static void check_waits(struct zs_epoll *epoll);

static void distrust(struct zs_watch *chunk)
{
	int i;

	for (i = 0; i < ZS_WATCH_CHUNK; i++) {
		chunk[i].trust = 0;
		chunk[i].is_drained = false;
	}
}

/* What was known to be armed was not. */
static ZS_COLD void be_wary(struct zs_epoll *epoll)
{
	int chunk;

	if (epoll->is_wary)
		return;
	epoll->is_wary = true;
	for (chunk = 0; chunk < ZS_WATCH_CHUNKS; chunk++)
		if (epoll->plain.chunks[chunk])
			distrust(epoll->plain.chunks[chunk]);
	check_waits(epoll);
}

/* Whether it has been added is only known for sure by trying. */
int zs_epoll_arm(struct zs_plain *plain, struct zs_watch *watch, int fd,
		 uint16_t wanted)
{
	struct zs_epoll *epoll = zs_container_of(plain, struct zs_epoll, plain);
	uint32_t events = wanted | ODD_EVENTS | (uint32_t)EPOLLET;
	int ret = -ENOENT;

	/* One event too many costs less than to prevent it. */
	if (wanted == 0)
		return 0;
	if (watch->is_known) {
		ret = zs_epoll_control(epoll, EPOLL_CTL_MOD, fd, events, fd);
		if (zs_likely(ret == 0))
			gain_trust(epoll, watch, fd);
		else if (ret == -ENOENT || ret == -EBADF)
			be_wary(epoll);
	}
	if (ret == -ENOENT)
		ret = zs_epoll_control(epoll, EPOLL_CTL_ADD, fd, events, fd);
	if (ret == -EEXIST)
		ret = zs_epoll_control(epoll, EPOLL_CTL_MOD, fd, events, fd);
	watch->is_known = ret == 0;
	watch->armed = ret == 0 ? wanted : 0;
	watch->unchecked = ZS_WATCH_CHECKED;
	return ret;
}

/* A duplicate, in another process perhaps, would keep us informed. */
void zs_epoll_forget(struct zs_plain *plain, struct zs_watch *watch, int fd)
{
	struct zs_epoll *epoll = zs_container_of(plain, struct zs_epoll, plain);

	/* Also if it is not known whether it is this file's. */
	if (watch->armed)
		zs_epoll_control(epoll, EPOLL_CTL_DEL, fd, 0, fd);
	watch->armed = 0;
}

/* --- waits on trust --- */

static void check_wait(struct zs_epoll *epoll, struct zs_watch *watch, int fd)
{
	struct zs_plain *plain = &epoll->plain;
	int ret;

	if (!watch->first) {
		watch->unchecked = ZS_WATCH_CHECKED;
		return;
	}
	if (watch->unchecked == ZS_WATCH_SINCE_LATELY && !epoll->is_wary) {
		watch->unchecked = ZS_WATCH_SINCE_LONG;
		plain->has_unchecked = true;
		return;
	}
	ret = zs_epoll_arm(plain, watch, fd, zs_plain_wanted(watch));
	if (ret == -EPERM)
		zs_plain_call_all(plain, watch);
	else if (ret < 0)
		zs_plain_fail_all(plain, watch, ret);
}

static void check_chunk(struct zs_epoll *epoll, int chunk)
{
	struct zs_watch *watches = epoll->plain.chunks[chunk];
	int i;

	for (i = 0; i < ZS_WATCH_CHUNK; i++)
		if (watches[i].unchecked != ZS_WATCH_CHECKED)
			check_wait(epoll, &watches[i],
				   chunk * ZS_WATCH_CHUNK + i);
}

static void check_waits(struct zs_epoll *epoll)
{
	int chunk;

	epoll->plain.has_unchecked = false;
	for (chunk = 0; chunk < ZS_WATCH_CHUNKS; chunk++)
		if (epoll->plain.chunks[chunk])
			check_chunk(epoll, chunk);
}

/* It may be late by a tick, which is cheaper to have. */
static int64_t coarse_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (int64_t)now.tv_sec * NS_PER_SECOND + now.tv_nsec;
}

void zs_epoll_check_sometimes(struct zs_epoll *epoll)
{
	int64_t now_ns = coarse_ns();

	if (now_ns - epoll->checked_ns < ZS_EPOLL_CHECK_NS)
		return;
	epoll->checked_ns = now_ns;
	check_waits(epoll);
}

/* Events that nobody waits for: no more of these. Of a file that has not this
 * number any more they cannot be had off. */
ZS_COLD void zs_epoll_calm(struct zs_epoll *epoll, struct zs_watch *watch,
			   int fd)
{
	uint16_t wanted = zs_plain_wanted(watch);
	uint32_t events = wanted ? wanted | ODD_EVENTS | (uint32_t)EPOLLET :
				   (uint32_t)EPOLLONESHOT;

	watch->vain = 0;
	if (!watch->armed)
		return;
	watch->is_known =
		zs_epoll_control(epoll, EPOLL_CTL_MOD, fd, events, fd) == 0;
	watch->armed = watch->is_known ? wanted : 0;
}
