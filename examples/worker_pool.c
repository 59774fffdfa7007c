/* SPDX-License-Identifier: MIT */
/*
 * worker_pool: a few tasks that take jobs from one channel and put results into
 * another. Whoever is free takes the next job; how many are worked on at once
 * is how many tasks there are. The last to end closes the results.
 */
#include <errno.h>
#include <stdio.h>

#include <zsync.h>

enum { NR_WORKERS = 4, NR_JOBS = 200 };

struct job {
	int number;
};

struct result {
	int number;
	int num_steps; /* of Collatz's sequence, to 1 */
};

ZS_CHAN_DEFINE(jobs, struct job);
ZS_CHAN_DEFINE(results, struct result);

struct pool {
	struct jobs jobs;
	struct results results;
	struct zs_waitgroup working;
};

static int count_steps(uint64_t number)
{
	int num_steps = 0;

	for (; number != 1; num_steps++)
		number = number % 2 == 0 ? number / 2 : 3 * number + 1;
	return num_steps;
}

static int work(void *arg)
{
	struct pool *pool = arg;
	struct result result;
	struct job job;
	int ret;

	while ((ret = jobs_recv(pool->jobs, &job)) == 0) {
		result.number = job.number;
		result.num_steps = count_steps((uint64_t)job.number);
		ret = results_send(pool->results, &result);
		if (ret < 0)
			break;
	}
	zs_waitgroup_done(&pool->working);
	return ret == -EPIPE ? 0 : ret;
}

static int hand_out(void *arg)
{
	struct pool *pool = arg;
	int ret = 0;

	for (int i = 1; i <= NR_JOBS && ret == 0; i++)
		ret = jobs_send(pool->jobs, &(struct job){ i });
	jobs_close(pool->jobs);
	return ret;
}

static int close_results(void *arg)
{
	struct pool *pool = arg;
	int ret = zs_waitgroup_wait(&pool->working);

	results_close(pool->results);
	return ret;
}

static int start(struct zs_nursery nursery, struct pool *pool)
{
	int ret = zs_waitgroup_add(&pool->working, NR_WORKERS);

	for (int i = 0; i < NR_WORKERS && ret == 0; i++)
		ret = zs_nursery_spawn(nursery, work, pool);
	if (ret == 0)
		ret = zs_nursery_spawn(nursery, hand_out, pool);
	return ret == 0 ? zs_nursery_spawn(nursery, close_results, pool) : ret;
}

static int run_pool(struct pool *pool)
{
	struct result result, longest = { 0, 0 };
	struct zs_nursery nursery;
	int num_results = 0, ret = zs_nursery_open(&nursery, NULL);

	if (ret < 0)
		return ret;
	ret = start(nursery, pool);
	while (ret == 0) {
		ret = results_recv(pool->results, &result);
		if (ret < 0)
			break;
		num_results++;
		if (result.num_steps > longest.num_steps)
			longest = result;
	}
	if (ret != -EPIPE)
		zs_nursery_cancel(nursery);
	ret = zs_nursery_wait(nursery);
	if (ret == 0)
		printf("%d results; from %d it takes longest, %d steps\n",
		       num_results, longest.number, longest.num_steps);
	return ret;
}

static int run(void *arg)
{
	struct pool pool = { 0 };
	int ret = jobs_create(&pool.jobs, 2 * NR_WORKERS);

	(void)arg;
	if (ret < 0)
		return ret;
	ret = results_create(&pool.results, NR_WORKERS);
	if (ret == 0) {
		ret = run_pool(&pool);
		results_destroy(pool.results);
	}
	jobs_destroy(pool.jobs);
	return ret;
}

int main(void)
{
	int ret = zs_run(NULL, run, NULL);

	if (ret < 0)
		fprintf(stderr, "worker_pool: %s\n", zs_explain(ret));
	return ret < 0;
}
