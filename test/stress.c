/* SPDX-License-Identifier: MIT */
/*
 * The tasks of the stress tests. Each does a few things at random and may open
 * a nursery with more of its kind in it. What must hold: no result that the
 * headers do not name, no byte changed on the way, no buffer written to after
 * its call has returned.
 */
#include "stress.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	CHILDREN_MOST = 4,
	MESSAGE_SIZE = 96,
};

/* A handle of either kind, open or stale. */
struct slot {
	struct zs_nursery nursery;
	struct zs_cancel_token token;
};

/* Travels with a task as its copied argument. */
struct node {
	uint64_t random;
	int depth;
	int fd; /* of a peer; -1: any other task */
};

static struct slot slots[STRESS_SLOTS];
static pthread_mutex_t slots_lock = PTHREAD_MUTEX_INITIALIZER;

static bool is_cancel(long result)
{
	return result == -ECANCELED || result == -ETIMEDOUT;
}

/* 0, or an error by which a cancelled call ends. */
static void check_ended(long result, const char *call)
{
	if (result < 0 && !is_cancel(result))
		stress_fail("%s: %ld", call, result);
}

/* -EPIPE, -ECONNRESET: the peer was cancelled. */
static void check_transfer(long result, const char *call)
{
	if (result != -EPIPE && result != -ECONNRESET)
		check_ended(result, call);
}

/* In a cancelled scope, too. */
static void close_fd(int fd)
{
	int ret = zs_close(fd);

	if (ret < 0)
		stress_fail("close: %d", ret);
}

/* --- spawning --- */

static int run_node(void *arg);

void stress_count_spawn(void)
{
	atomic_fetch_add_explicit(&stress.spawned, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&stress.live, 1, memory_order_relaxed);
}

void stress_check_spawned(int result)
{
	if (result == 0)
		return;
	if (result != -ECANCELED && result != -ESTALE && result != -EAGAIN)
		stress_fail("spawn: %d", result);
	atomic_fetch_sub_explicit(&stress.spawned, 1, memory_order_relaxed);
	atomic_fetch_sub_explicit(&stress.live, 1, memory_order_relaxed);
}

void stress_count_run(void)
{
	atomic_fetch_add_explicit(&stress.ran, 1, memory_order_relaxed);
	note_progress();
}

void stress_count_end(void)
{
	atomic_fetch_sub_explicit(&stress.live, 1, memory_order_relaxed);
	note_progress();
}

static int spawn(struct zs_nursery nursery, uint64_t random, int depth, int fd)
{
	struct node node = { .random = random | 1, .depth = depth, .fd = fd };
	int ret;

	stress_count_spawn();
	ret = zs_nursery_spawn_copy(nursery, run_node, &node, sizeof(node));
	stress_check_spawned(ret);
	return ret;
}

void stress_spawn_root(uint64_t random)
{
	struct node node = { .random = random | 1, .fd = -1 };

	stress_count_spawn();
	stress_check_spawned(zs_runtime_spawn_copy(stress.runtime, run_node,
						   &node, sizeof(node)));
}

/* --- handles --- */

void stress_publish(uint64_t *random, struct zs_nursery nursery)
{
	uint32_t index = below(random, STRESS_SLOTS);

	pthread_mutex_lock(&slots_lock);
	slots[index].nursery = nursery;
	pthread_mutex_unlock(&slots_lock);
}

static void publish_token(uint64_t *random, struct zs_cancel_token token)
{
	uint32_t index = below(random, STRESS_SLOTS);

	pthread_mutex_lock(&slots_lock);
	slots[index].token = token;
	pthread_mutex_unlock(&slots_lock);
}

static struct slot pick(uint64_t *random)
{
	uint32_t index = below(random, STRESS_SLOTS);
	struct slot slot;

	pthread_mutex_lock(&slots_lock);
	slot = slots[index];
	pthread_mutex_unlock(&slots_lock);
	return slot;
}

void stress_forget_handles(void)
{
	pthread_mutex_lock(&slots_lock);
	memset(slots, 0, sizeof(slots));
	pthread_mutex_unlock(&slots_lock);
}

void stress_cancel_any(uint64_t *random)
{
	struct slot slot = pick(random);
	int ret;

	if (below(random, 2))
		ret = zs_nursery_cancel(slot.nursery);
	else
		ret = zs_cancel_token_cancel(slot.token);
	if (ret != 0 && ret != -ESTALE)
		stress_fail("cancel: %d", ret);
	ret = zs_cancel_token_reason(slot.token);
	if (ret < 0 ? ret != -ESTALE : ret > ZS_CANCEL_STOPPING)
		stress_fail("reason: %d", ret);
}

void stress_spawn_any(uint64_t *random, int depth)
{
	struct slot slot = pick(random);

	if (may_spawn())
		spawn(slot.nursery, next_random(random), depth, -1);
}

/* --- messages --- */

static void fill(unsigned char *message, uint64_t random)
{
	for (size_t i = 0; i < MESSAGE_SIZE; i++)
		message[i] = (unsigned char)(random + i);
}

static void check_message(const unsigned char *message, size_t length)
{
	unsigned char first = message[0];

	for (size_t i = 1; i < length; i++)
		if (message[i] != (unsigned char)(first + i))
			stress_fail("byte %zu of %zu changed on the way", i,
				    length);
}

/* The buffer is the task's again when the call has returned, cancelled or not:
 * what is written to it now must stay. */
static void check_released(unsigned char *buffer, uint64_t *random)
{
	memset(buffer, 0x5a, MESSAGE_SIZE);
	if (below(random, 2))
		zs_yield();
	for (size_t i = 0; i < MESSAGE_SIZE; i++)
		if (buffer[i] != 0x5a)
			stress_fail("a buffer was written to after its call");
}

static void receive(int fd, uint64_t *random)
{
	unsigned char buffer[MESSAGE_SIZE];
	ssize_t length;

	do {
		length = zs_recv(fd, buffer, sizeof(buffer), 0);
		check_transfer(length, "recv");
		if (length > 0)
			check_message(buffer, (size_t)length);
		check_released(buffer, random);
		note_progress();
	} while (length > 0);
}

/* The other side never sends. */
static void poll_in_vain(int fd, uint64_t *random)
{
	int64_t limit_ns = below(random, 1000) * ZS_MICROSECOND;
	struct zs_cancel_token token;

	if (zs_cancel_token_open(&token, zs_now() + limit_ns) < 0)
		stress_fail("token");
	check_ended(zs_poll_fd(fd, POLLIN), "poll");
	check_ended(zs_cancel_token_close(token), "token close");
}

/* Sends some, at odd times, and goes. */
static void run_peer(int fd, uint64_t *random)
{
	unsigned char message[MESSAGE_SIZE];
	uint32_t times = below(random, 4);

	for (uint32_t i = 0; i < times; i++) {
		fill(message, next_random(random));
		if (below(random, 2))
			zs_sleep(below(random, 300) * ZS_MICROSECOND);
		check_transfer(zs_send(fd, message, sizeof(message), 0),
			       "send");
		note_progress();
	}
	if (below(random, 4) == 0)
		poll_in_vain(fd, random);
	close_fd(fd);
}

/* False: the process has no descriptor left. How many a crowd has open at once
 * depends on how fast the machine is. */
static bool has_opened(long result, const char *call)
{
	if (result < 0 && errno != EMFILE)
		stress_fail("%s: %d", call, errno);
	return result >= 0;
}

/* By number: ThreadSanitizer takes a descriptor that was closed over the ring
 * for open, and the reuse of its number for a race. */
static bool open_sockets(int type, int fds[2])
{
	return has_opened(syscall(SYS_socketpair, AF_UNIX, type | SOCK_CLOEXEC,
				  0, fds),
			  "socketpair");
}

static bool open_pipe(int fds[2])
{
	return has_opened(syscall(SYS_pipe2, fds, O_CLOEXEC), "pipe");
}

/* Of datagrams, so that a message comes whole or not at all. */
static void talk(struct zs_nursery nursery, uint64_t *random)
{
	int fds[2];

	if (!may_spawn() || !open_sockets(SOCK_SEQPACKET, fds))
		return;
	if (spawn(nursery, next_random(random), STRESS_DEPTH, fds[1]) == 0)
		receive(fds[0], random);
	else
		close_fd(fds[1]);
	close_fd(fds[0]);
}

static void use_pipe(uint64_t *random)
{
	unsigned char buffer[MESSAGE_SIZE];
	int fds[2];
	ssize_t ret = 0;

	if (!open_pipe(fds))
		return;
	fill(buffer, next_random(random));
	if (below(random, 2))
		ret = zs_write(fds[1], buffer, sizeof(buffer));
	check_ended(ret, "write");
	if (ret > 0) {
		ret = zs_read(fds[0], buffer, sizeof(buffer));
		check_ended(ret, "read");
		if (ret > 0)
			check_message(buffer, (size_t)ret);
	}
	close_fd(fds[0]);
	close_fd(fds[1]);
}

/* --- what else tasks do --- */

static void compute(uint64_t *random)
{
	uint32_t times = below(random, 20000);

	for (volatile uint32_t i = 0; i < times; i++)
		;
}

static int64_t some_deadline(uint64_t *random)
{
	switch (below(random, 4)) {
	case 0:
		return zs_now() + below(random, 2000) * ZS_MICROSECOND;
	case 1:
		return zs_now() - below(random, 2);
	default:
		return ZS_NEVER;
	}
}

static void close_tokens(struct zs_cancel_token outer,
			 struct zs_cancel_token inner)
{
	int ret = zs_cancel_token_close(outer);

	if (ret != -EBUSY)
		stress_fail("closed around an open one: %d", ret);
	ret = zs_cancel_token_close(inner);
	if (!is_cancel(ret))
		stress_fail("an inner token was not cancelled: %d", ret);
	check_ended(zs_cancel_token_close(outer), "token close");
}

/* Waits for what only a cancel ends; there is a deadline, lest nobody does. */
static void wait_for_cancel(uint64_t *random)
{
	unsigned char buffer[MESSAGE_SIZE];
	struct zs_cancel_token outer, inner;
	int64_t limit_ns;
	int fds[2], ret;

	if (!open_sockets(SOCK_STREAM, fds))
		return;
	limit_ns = zs_now() + below(random, 3000) * ZS_MICROSECOND;
	if (zs_cancel_token_open(&outer, limit_ns) < 0 ||
	    zs_cancel_token_open(&inner, some_deadline(random)) < 0)
		stress_fail("token");
	publish_token(random, below(random, 2) ? outer : inner);
	if (below(random, 2))
		ret = (int)zs_recv(fds[0], buffer, sizeof(buffer), 0);
	else
		ret = zs_sleep(ZS_NEVER);
	if (!is_cancel(ret))
		stress_fail("a wait for a cancel ended with %d", ret);
	if (zs_cancel_reason() == ZS_CANCEL_NONE)
		stress_fail("cancelled for no reason");
	check_released(buffer, random);
	close_tokens(outer, inner);
	close_fd(fds[0]);
	close_fd(fds[1]);
}

void stress_act(uint64_t *random, int depth)
{
	note_progress();
	switch (below(random, 10)) {
	case 0:
	case 1:
		check_ended(zs_sleep(below(random, 500) * ZS_MICROSECOND),
			    "sleep");
		break;
	case 2:
		check_ended(zs_yield(), "yield");
		break;
	case 3:
		stress_cancel_any(random);
		break;
	case 4:
	case 5:
		stress_spawn_any(random, depth + 1);
		break;
	case 6:
		use_pipe(random);
		break;
	case 7:
		wait_for_cancel(random);
		break;
	case 8:
		compute(random);
		break;
	default:
		break;
	}
}

static void branch(uint64_t *random, int depth)
{
	struct zs_nursery_options options = {
		.deadline_ns = some_deadline(random),
		.flags = below(random, 4) ? 0 : ZS_NURSERY_PINNED,
	};
	uint32_t children = below(random, CHILDREN_MOST + 1);
	struct zs_nursery nursery;
	int ret = zs_nursery_open(&nursery, &options);

	if (ret < 0)
		stress_fail("nursery: %d", ret);
	if (below(random, 2))
		stress_publish(random, nursery);
	for (uint32_t i = 0; i < children && may_spawn(); i++)
		spawn(nursery, next_random(random), depth + 1, -1);
	if (below(random, 3) == 0)
		talk(nursery, random);
	if (below(random, 3) == 0)
		stress_act(random, depth);
	ret = zs_nursery_wait(nursery);
	if (ret != STRESS_ERROR)
		check_ended(ret, "nursery wait");
	if (zs_nursery_wait(nursery) != -ESTALE)
		stress_fail("a closed nursery can be waited for");
}

static void grow(const struct node *node, uint64_t *random)
{
	uint32_t acts = below(random, 3);

	for (uint32_t i = 0; i < acts; i++)
		stress_act(random, node->depth);
	if (node->depth < STRESS_DEPTH)
		branch(random, node->depth);
}

static int run_node(void *arg)
{
	const struct node *node = arg;
	uint64_t random = node->random;

	stress_count_run();
	if (node->fd >= 0)
		run_peer(node->fd, &random);
	else
		grow(node, &random);
	stress_count_end();
	return below(&random, 40) ? 0 : STRESS_ERROR;
}
