/* SPDX-License-Identifier: MIT */
/*
 * crawler: follows links from page to page, each page in a task of its own, but
 * fetches no more than a few at once, none twice, and none for longer than its
 * deadline. The web is played: page N links to 2N and 2N + 1, takes a
 * millisecond, and every 50th never comes.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>

#include <zsync.h>

enum { NR_PAGES = 300, AT_ONCE = 16 };

static struct crawl {
	struct zs_nursery nursery;
	struct zs_sem slots;
	struct zs_mutex lock; /* of what follows */
	bool is_known[NR_PAGES + 1];
	int num_fetched, num_late, num_under_way, most_at_once;
} crawl = { .slots = ZS_SEM_INIT(AT_ONCE) };

static int fetch(void *arg)
{
	int page = *(int *)arg;

	return zs_sleep(page % 50 == 0 ? ZS_NEVER : ZS_MILLISECOND);
}

static int visit(void *arg);

static int follow(int page)
{
	bool is_new = false;
	int ret;

	if (page > NR_PAGES)
		return 0;
	ret = zs_mutex_lock(&crawl.lock);
	if (ret < 0)
		return ret;
	is_new = !crawl.is_known[page];
	crawl.is_known[page] = true;
	zs_mutex_unlock(&crawl.lock);
	if (!is_new)
		return 0;
	return zs_nursery_spawn_copy(crawl.nursery, visit, &page, sizeof(page));
}

static int note(int change, int result)
{
	int ret = zs_mutex_lock(&crawl.lock);

	if (ret < 0)
		return ret;
	crawl.num_under_way += change;
	if (crawl.num_under_way > crawl.most_at_once)
		crawl.most_at_once = crawl.num_under_way;
	if (change < 0 && result == 0)
		crawl.num_fetched++;
	else if (change < 0)
		crawl.num_late++;
	return zs_mutex_unlock(&crawl.lock);
}

static int visit(void *arg)
{
	int page = *(int *)arg, result;
	int ret = zs_sem_acquire(&crawl.slots, 1);

	if (ret < 0)
		return ret;
	ret = note(1, 0);
	result = zs_timeout(50 * ZS_MILLISECOND, fetch, &page);
	if (ret == 0)
		ret = note(-1, result);
	zs_sem_release(&crawl.slots, 1);
	if (ret == 0)
		ret = follow(2 * page);
	return ret == 0 ? follow(2 * page + 1) : ret;
}

static int run(void *arg)
{
	int ended, ret = zs_nursery_open(&crawl.nursery, NULL);

	(void)arg;
	if (ret < 0)
		return ret;
	ret = follow(1);
	ended = zs_nursery_wait(crawl.nursery);
	if (ret == 0 && ended == 0)
		printf("%d pages fetched, %d too late, at most %d at once\n",
		       crawl.num_fetched, crawl.num_late, crawl.most_at_once);
	return ret < 0 ? ret : ended;
}

int main(void)
{
	int ret = zs_run(NULL, run, NULL);

	if (ret < 0)
		fprintf(stderr, "crawler: %s\n", zs_explain(ret));
	return ret < 0;
}
