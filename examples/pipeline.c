/* SPDX-License-Identifier: MIT */
/*
 * pipeline: three stages, each a task, with a channel between each two. A stage
 * that is slow holds back those before it, since a channel holds 16 items only.
 * A stage closes what it writes to when what it reads is at its end; should one
 * fail, the nursery ends the others.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include <zsync.h>

ZS_CHAN_DEFINE(numbers, uint64_t);

struct pipeline {
	struct numbers plain, squared;
	uint64_t sum;
};

static int count(void *arg)
{
	struct pipeline *pipeline = arg;
	int ret = 0;

	for (uint64_t i = 1; i <= 1000 && ret == 0; i++)
		ret = numbers_send(pipeline->plain, &i);
	numbers_close(pipeline->plain);
	return ret;
}

static int square(void *arg)
{
	struct pipeline *pipeline = arg;
	uint64_t number;
	int ret;

	while ((ret = numbers_recv(pipeline->plain, &number)) == 0) {
		number *= number;
		ret = numbers_send(pipeline->squared, &number);
		if (ret < 0)
			break;
	}
	numbers_close(pipeline->squared);
	return ret == -EPIPE ? 0 : ret;
}

static int add(void *arg)
{
	struct pipeline *pipeline = arg;
	uint64_t number;
	int ret;

	while ((ret = numbers_recv(pipeline->squared, &number)) == 0)
		pipeline->sum += number;
	return ret == -EPIPE ? 0 : ret;
}

static int run_stages(struct pipeline *pipeline)
{
	struct zs_nursery nursery;
	int ret = zs_nursery_open(&nursery, NULL);

	if (ret < 0)
		return ret;
	/* A spawn that fails leaves a stage without the one before or after
	 * it: then the others are cancelled. */
	ret = zs_nursery_spawn(nursery, count, pipeline);
	if (ret == 0)
		ret = zs_nursery_spawn(nursery, square, pipeline);
	if (ret == 0)
		ret = zs_nursery_spawn(nursery, add, pipeline);
	if (ret < 0)
		zs_nursery_cancel(nursery);
	return zs_nursery_wait(nursery);
}

static int run(void *arg)
{
	struct pipeline pipeline = { .sum = 0 };
	int ret = numbers_create(&pipeline.plain, 16);

	(void)arg;
	if (ret < 0)
		return ret;
	ret = numbers_create(&pipeline.squared, 16);
	if (ret == 0) {
		ret = run_stages(&pipeline);
		numbers_destroy(pipeline.squared);
	}
	numbers_destroy(pipeline.plain);
	if (ret == 0)
		printf("the squares of 1 to 1000 add up to %" PRIu64 "\n",
		       pipeline.sum);
	return ret;
}

int main(void)
{
	int ret = zs_run(NULL, run, NULL);

	if (ret < 0)
		fprintf(stderr, "pipeline: %s\n", zs_explain(ret));
	return ret < 0;
}
