/* SPDX-License-Identifier: MIT */
/*
 * Ten thousand waits that time out at the same instant, half of them sleeps and
 * half receives from one channel: each goes on once.
 */
#include "workers.h"

enum { NR_WAITS = 10000 };

static struct zs_chan *chan;
static int64_t deadline_ns, last_ns;
static uint32_t nr_begun, nr_ended[NR_WAITS];

static int time_out(void *arg)
{
	uint32_t number = *(uint32_t *)arg;
	struct zs_cancel_token token;
	uint64_t item;
	int ret;

	nr_begun++;
	assert_ok(zs_cancel_token_open(&token, deadline_ns));
	ret = number % 2 ? zs_chan_recv(chan, &item) : zs_sleep(ZS_NEVER);
	last_ns = zs_now();
	nr_ended[number]++;
	/* Check's own assertions would take most of the time. */
	if (ret != -ETIMEDOUT || last_ns < deadline_ns ||
	    zs_cancel_token_close(token) != -ETIMEDOUT)
		ck_abort_msg("wait %u: %d, %lld ns after the deadline", number,
			     ret, (long long)(last_ns - deadline_ns));
	return 0;
}

static int start_all(void *arg)
{
	struct zs_nursery nursery;

	(void)arg;
	assert_ok(zs_nursery_open(&nursery, NULL));
	/* All are there by then, also on a slow machine. */
	deadline_ns = zs_now() + 2 * ZS_SECOND;
	for (uint32_t i = 0; i < NR_WAITS; i++)
		assert_ok(zs_nursery_spawn_copy(nursery, time_out, &i,
						sizeof(i)));
	while (nr_begun < NR_WAITS)
		assert_ok(zs_yield());
	ck_assert_int_lt(zs_now(), deadline_ns);
	return zs_nursery_wait(nursery);
}

START_TEST(ten_thousand_at_the_same_instant_go_on_once_each)
{
	struct zs_config config = test_config();

	config.green_thread_stack_size = (size_t)64 << 10;
	assert_ok(zs_chan_create(&chan, sizeof(uint64_t), 4));
	assert_ok(run_task_with(&config, start_all, NULL));
	assert_ok(zs_chan_destroy(chan));
	for (int i = 0; i < NR_WAITS; i++)
		ck_assert_uint_eq(nr_ended[i], 1);
	/* How long it takes is for a quiet machine to say: 10 ms is wanted.
	 */
	printf("chan_timeouts: the last of %d went on %.2f ms after the "
	       "deadline\n",
	       NR_WAITS, (double)(last_ns - deadline_ns) / 1e6);
	fflush(stdout);
}
END_TEST

static Suite *timeouts_suite(void)
{
	Suite *suite = suite_create("chan_timeouts");
	TCase *tests = tcase_create("chan_timeouts");

	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, ten_thousand_at_the_same_instant_go_on_once_each);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(timeouts_suite());
}
