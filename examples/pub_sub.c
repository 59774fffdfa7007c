/* SPDX-License-Identifier: MIT */
/*
 * pub_sub: one who publishes, and two who have subscribed. The publisher waits
 * for nobody; who is slow gets the latest items, and is told how many it has
 * missed.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include <zsync.h>

enum { NR_ITEMS = 100, NR_KEPT = 10 };

struct subscriber {
	const char *name;
	struct zs_subscription subscription;
	struct zs_latch *begin;
	int64_t num_received, num_missed;
};

static int listen_to_all(void *arg)
{
	struct subscriber *self = arg;
	int64_t missed = zs_latch_wait(self->begin);
	int item;

	while (missed >= 0) {
		missed = zs_subscription_recv(&self->subscription, &item);
		if (missed < 0)
			break;
		self->num_received++;
		self->num_missed += missed;
	}
	return missed == -EPIPE ? 0 : (int)missed;
}

static int publish(struct zs_broadcast *news)
{
	int ret = 0;

	for (int i = 0; i < NR_ITEMS && ret == 0; i++) {
		ret = zs_broadcast_send(news, &i);
		/* Who is ready receives it. */
		if (ret == 0)
			ret = zs_sleep(100 * ZS_MICROSECOND);
	}
	zs_broadcast_close(news);
	return ret;
}

static int run_with(struct zs_broadcast *news)
{
	/* One is ready from the start, the other when all is over. */
	struct zs_latch at_once = ZS_LATCH_INIT(0), late = ZS_LATCH_INIT(1);
	struct subscriber subscribers[] = {
		{ .name = "who is quick", .begin = &at_once },
		{ .name = "who is slow", .begin = &late },
	};
	/* On the publisher's worker nobody who is ready is late. */
	const struct zs_nursery_options here = { .flags = ZS_NURSERY_PINNED };
	struct zs_nursery nursery;
	int ended, ret = zs_nursery_open(&nursery, &here);

	if (ret < 0)
		return ret;
	for (int i = 0; i < 2 && ret == 0; i++) {
		zs_broadcast_subscribe(news, &subscribers[i].subscription);
		ret = zs_nursery_spawn(nursery, listen_to_all, &subscribers[i]);
	}
	if (ret == 0)
		ret = publish(news);
	zs_latch_count_down(&late, 1);
	ended = zs_nursery_wait(nursery);
	for (int i = 0; i < 2; i++)
		printf("%s has received %" PRId64 " items and missed %" PRId64
		       "\n",
		       subscribers[i].name, subscribers[i].num_received,
		       subscribers[i].num_missed);
	return ret < 0 ? ret : ended;
}

static int run(void *arg)
{
	struct zs_broadcast *news;
	int ret = zs_broadcast_create(&news, sizeof(int), NR_KEPT);

	(void)arg;
	if (ret < 0)
		return ret;
	ret = run_with(news);
	zs_broadcast_destroy(news);
	return ret;
}

int main(void)
{
	int ret = zs_run(NULL, run, NULL);

	if (ret < 0)
		fprintf(stderr, "pub_sub: %s\n", zs_explain(ret));
	return ret < 0;
}
