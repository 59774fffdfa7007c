/* SPDX-License-Identifier: MIT */
/*
 * fan_in: one task that listens to several at once. It takes what comes first,
 * leaves out who has closed, and beats time while nobody says anything.
 */
#include <errno.h>
#include <stdio.h>

#include <zsync.h>

enum { NR_SOURCES = 3, NR_WORDS = 5 };

struct source {
	struct zs_chan *words;
	int64_t pause_ns;
};

static int speak(void *arg)
{
	struct source *source = arg;
	int ret = 0;

	for (int i = 1; i <= NR_WORDS && ret == 0; i++) {
		ret = zs_sleep(source->pause_ns);
		if (ret == 0)
			ret = zs_chan_send(source->words, &i);
	}
	zs_chan_close(source->words);
	return ret;
}

/* Until all have closed. */
static int listen_to(struct source *sources)
{
	int num_words[NR_SOURCES] = { 0 };
	int num_open = NR_SOURCES, word, which;

	while (num_open > 0) {
		struct zs_select_case cases[NR_SOURCES] = {
			ZS_SELECT_RECV(sources[0].words, &word),
			ZS_SELECT_RECV(sources[1].words, &word),
			ZS_SELECT_RECV(sources[2].words, &word),
		};

		/* One that has closed would be ready for ever. */
		for (int i = 0; i < NR_SOURCES; i++)
			if (num_words[i] < 0)
				cases[i].chan = NULL;
		which = zs_select(cases, NR_SOURCES, zs_now() + ZS_SECOND);
		if (which == -ETIMEDOUT)
			printf("...\n");
		else if (which < 0)
			return which;
		else if (cases[which].result == 0)
			num_words[which]++;
		else {
			printf("source %d has said %d words\n", which,
			       num_words[which]);
			num_words[which] = -1;
			num_open--;
		}
	}
	return 0;
}

static int run(void *arg)
{
	struct source sources[NR_SOURCES];
	struct zs_nursery nursery;
	int ended, ret = zs_nursery_open(&nursery, NULL);

	(void)arg;
	if (ret < 0)
		return ret;
	for (int i = 0; i < NR_SOURCES; i++) {
		sources[i].pause_ns = (3 * i + 1) * 10 * ZS_MILLISECOND;
		sources[i].words = NULL;
		if (ret == 0)
			ret = zs_chan_create(&sources[i].words, sizeof(int), 0);
		if (ret == 0)
			ret = zs_nursery_spawn(nursery, speak, &sources[i]);
	}
	if (ret == 0)
		ret = listen_to(sources);
	if (ret < 0)
		zs_nursery_cancel(nursery);
	ended = zs_nursery_wait(nursery);
	for (int i = 0; i < NR_SOURCES; i++)
		zs_chan_destroy(sources[i].words);
	return ret < 0 ? ret : ended;
}

int main(void)
{
	int ret = zs_run(NULL, run, NULL);

	if (ret < 0)
		fprintf(stderr, "fan_in: %s\n", zs_explain(ret));
	return ret < 0;
}
