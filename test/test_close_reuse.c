/* SPDX-License-Identifier: MIT */
/*
 * Sockets that are closed in the midst of calls, on several workers, and whose
 * numbers are others' at once: no call goes on with another's socket, and none
 * is left behind.
 */
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "base/compiler.h"
#include "descriptors.h"
#include "sched/task.h"
#include "workers.h"

enum {
	MOST_WORKERS = 4,
	PAIRS = 8, /* at a time */
	ROUNDS = 300,
	USERS = 3,
	BYTES = 40000,
};

/* One pair of sockets: tasks that use the first end, one that closes it, and
 * one that takes what comes out of the second. */
struct pair {
	int fds[2];
	unsigned char tag; /* what is sent */
	int patience;
	struct counter coming, begun;
	_Atomic(struct zs_task *) users[USERS];
};

static _Atomic unsigned int num_pairs;

static void enter(struct pair *pair)
{
	uint32_t number = count(&pair->coming) - 1;

	atomic_store(&pair->users[number], zs_self());
	count(&pair->begun);
}

static void leave(struct pair *pair)
{
	int i;

	for (i = 0; i < USERS; i++)
		if (atomic_load(&pair->users[i]) == zs_self())
			atomic_store(&pair->users[i], NULL);
}

static int send_tags(void *arg)
{
	struct pair *pair = arg;
	char bytes[BYTES];

	memset(bytes, pair->tag, sizeof(bytes));
	enter(pair);
	zs_send_all(pair->fds[0], bytes, sizeof(bytes), 0);
	leave(pair);
	return 0;
}

static int poll_for_room(void *arg)
{
	struct pair *pair = arg;

	enter(pair);
	zs_poll_fd(pair->fds[0], POLLOUT);
	leave(pair);
	return 0;
}

static int receive(void *arg)
{
	struct pair *pair = arg;
	char byte;

	enter(pair);
	zs_recv(pair->fds[0], &byte, 1, 0);
	leave(pair);
	return 0;
}

/* Has parked in its call, or returned from it. */
static ZS_RACY bool has_parked(const volatile struct zs_task *task)
{
	return !task || task->wait;
}

static int close_in_the_midst(void *arg)
{
	struct pair *pair = arg;
	int i;

	await_count(&pair->begun, USERS);
	for (i = 0; i < USERS; i++)
		while (!has_parked(atomic_load(&pair->users[i])))
			assert_ok(zs_yield());
	for (i = 0; i < pair->patience; i++)
		assert_ok(zs_yield());
	assert_ok(zs_close(pair->fds[0]));
	return 0;
}

static int take_tags(void *arg)
{
	struct pair *pair = arg;
	unsigned char bytes[4096];
	ssize_t i, length;

	while ((length = zs_recv(pair->fds[1], bytes, sizeof(bytes), 0)) > 0)
		for (i = 0; i < length; i++)
			if (bytes[i] != pair->tag)
				ck_abort_msg("a byte of another socket");
	return 0;
}

static void use_pair(unsigned int number)
{
	struct pair pair = {
		.tag = (unsigned char)number,
		.patience = (int)(number % 7),
	};
	struct zs_nursery nursery;

	make_unix_pair(SOCK_STREAM, pair.fds);
	if (number % 3 == 0)
		assert_ok(shutdown(pair.fds[1], SHUT_WR));
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn(nursery, send_tags, &pair));
	assert_ok(zs_nursery_spawn(nursery, receive, &pair));
	assert_ok(zs_nursery_spawn(
		nursery, number % 2 ? send_tags : poll_for_room, &pair));
	assert_ok(zs_nursery_spawn(nursery, close_in_the_midst, &pair));
	assert_ok(zs_nursery_spawn(nursery, take_tags, &pair));
	assert_ok(zs_nursery_wait(nursery));
	assert_ok(zs_close(pair.fds[1]));
}

static int use_one_after_another(void *arg)
{
	int i;

	(void)arg;
	for (i = 0; i < ROUNDS; i++)
		use_pair(atomic_fetch_add(&num_pairs, 1));
	return 0;
}

static int use_many(void *arg)
{
	struct zs_nursery nursery;
	int i;

	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	for (i = 0; i < PAIRS; i++)
		assert_ok(
			zs_nursery_spawn(nursery, use_one_after_another, NULL));
	return zs_nursery_wait(nursery);
}

START_TEST(no_call_goes_on_with_a_later_socket)
{
	ck_assert_int_eq(run_task_on((uint32_t)_i, use_many, NULL), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("close_reuse");
	TCase *tests = tcase_create("close_reuse");

	tcase_set_timeout(tests, 120);
	tcase_add_loop_test(tests, no_call_goes_on_with_a_later_socket, 1,
			    MOST_WORKERS + 1);
	suite_add_tcase(suite, tests);
	return run_suite(suite);
}
