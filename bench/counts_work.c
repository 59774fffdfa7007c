/* SPDX-License-Identifier: MIT */
/* What zsync-counts has counted: some work over and over again, and the echo
 * servers. Called by counts.c in the process that a tool watches, on its only
 * thread. */
#include "counts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <zsync.h>

#include "echo.h"
#include "io/await.h"

enum { BATCH = 10000, NOP_TASKS = 32 };

static int do_nothing(void *arg)
{
	(void)arg;
	return 0;
}

/* @count tasks that do nothing, @batch to a nursery. */
static int spawn_all(uint64_t count, uint64_t batch)
{
	struct zs_nursery nursery;
	uint64_t done, i;
	int ret = 0;

	for (done = 0; done < count && ret == 0; done += batch) {
		ret = zs_nursery_open(&nursery, NULL);
		for (i = 0; i < batch && ret == 0; i++)
			ret = zs_nursery_spawn(nursery, do_nothing, NULL);
		if (ret == 0)
			ret = zs_nursery_wait(nursery);
	}
	return ret;
}

static int spawn_one_by_one(uint64_t count)
{
	return spawn_all(count, 1);
}

static int spawn_in_batches(uint64_t count)
{
	return spawn_all(count, BATCH);
}

/* --- several tasks, each with its part of the count --- */

static int share(uint64_t count, uint64_t num_tasks, zs_task_fn *fn)
{
	const struct zs_nursery_options pinned = { .flags = ZS_NURSERY_PINNED };
	uint64_t count_each = count / num_tasks;
	struct zs_nursery nursery;
	uint64_t i;
	int ret;

	ret = zs_nursery_open(&nursery, &pinned);
	for (i = 0; i < num_tasks && ret == 0; i++)
		ret = zs_nursery_spawn(nursery, fn, &count_each);
	return ret == 0 ? zs_nursery_wait(nursery) : ret;
}

static int yield_often(void *arg)
{
	uint64_t count = *(const uint64_t *)arg;
	int ret = 0;

	for (; count > 0 && ret >= 0; count--)
		ret = zs_yield();
	return ret;
}

static int yield_between_two(uint64_t count)
{
	return share(count, 2, yield_often);
}

static int await_nops(void *arg)
{
	uint64_t count = *(const uint64_t *)arg;
	int ret = 0;

	for (; count > 0 && ret >= 0; count--) {
		struct zs_op op = { .code = ZS_OP_NOP, .fd = -1 };

		ret = zs_await(&op);
	}
	return ret;
}

static int await_nops_of_32(uint64_t count)
{
	return share(count, NOP_TASKS, await_nops);
}

/* --- timers --- */

/* A timer is started and cancelled, with the scope that it is for. */
static int open_deadlines(uint64_t count)
{
	int64_t deadline_ns = zs_now() + 60 * ZS_SECOND;
	struct zs_cancel_token token;
	int ret = 0;

	for (; count > 0 && ret == 0; count--) {
		ret = zs_cancel_token_open(&token, deadline_ns);
		if (ret == 0)
			ret = zs_cancel_token_close(token);
	}
	return ret;
}

/* --- by name --- */

struct work {
	const char *name;
	int (*run)(uint64_t count);
	uint64_t count;
};

static const struct work works[] = {
	{ "spawn_one_by_one", spawn_one_by_one, 0 },
	{ "spawn_in_batches", spawn_in_batches, 0 },
	{ "yield", yield_between_two, 0 },
	{ "deadline", open_deadlines, 0 },
	{ "nop", await_nops_of_32, 0 },
};

static int run_work(void *arg)
{
	const struct work *work = arg;

	return work->run(work->count);
}

int counts_work_run(const char *name, uint64_t count)
{
	struct zs_config config = zs_config_default();
	struct work work;
	size_t i;
	int ret;

	config.num_workers = 1;
	config.idle_spin_us = 0;
	for (i = 0; i < sizeof(works) / sizeof(works[0]); i++) {
		if (strcmp(works[i].name, name) != 0)
			continue;
		work = works[i];
		work.count = count;
		ret = zs_run(&config, run_work, &work);
		if (ret < 0)
			fprintf(stderr, "zsync-counts: %s: %s\n", name,
				zs_explain(ret));
		return ret;
	}
	return -EINVAL;
}

/* --- echo servers --- */

static const struct counts_server servers[] = {
	{ "zsync", echo_zsync_serve, ZS_MODEL_AUTO },
	{ "zsync_pool", echo_zsync_serve, ZS_MODEL_THREAD_POOL },
	{ "raw_ring", echo_ring_multishot_serve, ZS_MODEL_AUTO },
	{ "raw_epoll", echo_epoll_serve, ZS_MODEL_AUTO },
};

const struct counts_server *counts_work_find_server(const char *name)
{
	size_t i;

	for (i = 0; i < sizeof(servers) / sizeof(servers[0]); i++)
		if (strcmp(servers[i].name, name) == 0)
			return &servers[i];
	return NULL;
}

int counts_work_serve(const char *name, int fd)
{
	const struct counts_server *server = counts_work_find_server(name);
	struct echo_round *round = mmap(NULL, sizeof(*round),
					PROT_READ | PROT_WRITE, MAP_SHARED, fd,
					0);

	if (round == MAP_FAILED)
		return -errno;
	if (!server)
		return -EINVAL;
	round->execution_model = server->execution_model;
	return server->serve(round);
}
