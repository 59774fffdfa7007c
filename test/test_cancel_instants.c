/* SPDX-License-Identifier: MIT */
/*
 * A task receives into its own stack, while somebody sends and somebody cancels
 * at instants that a seed chooses: a task of the same worker, one of another, a
 * thread that is no worker; a deadline cancels, too. What must hold: when a
 * call has returned, nobody writes to its buffer any more; and what was sent is
 * what the calls reported and what is left in the socket, in that order.
 *
 * ZSYNC_TEST_SEED=N is the first seed, ZSYNC_TEST_SEEDS=N how many there are.
 */
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "descriptors.h"
#include "stress.h"
#include "workers.h"

enum {
	SEEDS = 1500,
	SEEDS_A_RUNTIME = 151, /* odd: see the queue's depth */
	STUCK_SECONDS = 10,
	BYTES_MOST = 100,
	BUFFER_SIZE = 64,
	MARGIN = 32, /* on either side of what a call may write to */
	POISON = 0x5a,
	DELAY_MOST_NS = 60000,
};

enum actor { SAME_WORKER, OTHER_WORKER, THREAD, NR_ACTORS };
enum { BY_DEADLINE = NR_ACTORS, NR_CANCELLERS };

/* One seed's; the receiver's, and read by the actors between the byte that
 * starts them and the one by which they answer. */
struct trial {
	uint64_t random;
	int ends[2]; /* received from, sent to */
	enum actor sender;
	int canceller;
	bool cancels_first; /* where one actor does both */
	int64_t delays_ns[NR_ACTORS];
	size_t sizes[2]; /* what is sent at once */
	struct zs_cancel_token token;
	size_t num_received;
	unsigned char received[BYTES_MOST + 1];
};

/* By which the receiver starts an actor and is answered. */
static int controls[NR_ACTORS][2];
/* ThreadSanitizer does not see what a byte that goes over the ring orders. */
static struct counter turns[NR_ACTORS];
static struct trial trial;
static uint64_t seed;
static pthread_t main_thread;
static uint64_t num_trials, num_cancelled, num_whole, num_between;

static unsigned char byte_at(size_t place)
{
	return (unsigned char)(seed + place);
}

/* --- actors --- */

static void delay(int64_t delay_ns)
{
	int64_t end_ns = zs_now() + delay_ns;

	while (zs_now() < end_ns)
		;
}

static void send_all(enum actor actor)
{
	unsigned char bytes[BYTES_MOST];
	size_t sent = 0;

	for (size_t i = 0; i < BYTES_MOST; i++)
		bytes[i] = byte_at(i);
	for (int i = 0; i < 2; i++) {
		ssize_t size = (ssize_t)trial.sizes[i], ret;

		if (actor == THREAD)
			ret = send(trial.ends[1], bytes + sent, (size_t)size,
				   0);
		else
			ret = zs_send_all(trial.ends[1], bytes + sent,
					  (size_t)size, 0);
		if (ret != size)
			stress_fail("send: %zd", ret);
		sent += (size_t)size;
	}
}

static void cancel(void)
{
	int ret = zs_cancel_token_cancel(trial.token);

	if (ret != 0 && ret != -ESTALE)
		stress_fail("cancel: %d", ret);
}

static void act(enum actor actor)
{
	count(&turns[actor]);
	delay(trial.delays_ns[actor]);
	if (trial.canceller == (int)actor && trial.cancels_first)
		cancel();
	if (trial.sender == actor)
		send_all(actor);
	if (trial.canceller == (int)actor && !trial.cancels_first)
		cancel();
	count(&turns[actor]);
}

static int act_beside(void *arg)
{
	(void)arg;
	act(SAME_WORKER);
	return 0;
}

/* Of the worker on which the receiver is not. */
static int serve_on_other_worker(void *arg)
{
	int fd = controls[OTHER_WORKER][1];
	char byte;

	(void)arg;
	if (pthread_equal(pthread_self(), main_thread))
		return 0;
	while (zs_recv(fd, &byte, 1, 0) == 1) {
		act(OTHER_WORKER);
		if (zs_send(fd, &byte, 1, 0) != 1)
			stress_fail("no answer");
	}
	return 0;
}

static void *serve_in_thread(void *arg)
{
	int fd = controls[THREAD][1];
	char byte;

	(void)arg;
	while (recv(fd, &byte, 1, 0) == 1) {
		act(THREAD);
		if (send(fd, &byte, 1, 0) != 1)
			stress_fail("no answer");
	}
	return NULL;
}

/* --- the receiver --- */

static bool takes_part(enum actor actor)
{
	return trial.sender == actor || trial.canceller == (int)actor;
}

static void start_actors(struct zs_nursery nursery)
{
	for (int i = 0; i < NR_ACTORS; i++)
		count(&turns[i]);
	for (int i = OTHER_WORKER; i < NR_ACTORS; i++)
		if (takes_part((enum actor)i) &&
		    send(controls[i][0], "", 1, 0) != 1)
			stress_fail("an actor cannot be started");
	if (takes_part(SAME_WORKER))
		assert_ok(zs_nursery_spawn(nursery, act_beside, NULL));
}

static void await_actors(void)
{
	char byte;

	for (int i = OTHER_WORKER; i < NR_ACTORS; i++)
		if (takes_part((enum actor)i) &&
		    zs_recv(controls[i][0], &byte, 1, 0) != 1)
			stress_fail("an actor has not answered");
	for (int i = 0; i < NR_ACTORS; i++)
		count(&turns[i]);
}

static void check_poison(const unsigned char *buffer, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (buffer[i] != POISON)
			stress_fail("byte %zu of a buffer was written to: %#x",
				    i, buffer[i]);
}

/* Into *buffer, which is poisoned before and after; what the call says. */
static ssize_t receive_once(unsigned char *buffer, size_t size)
{
	ssize_t ret = zs_recv(trial.ends[0], buffer + MARGIN, size, 0);
	size_t count = ret > 0 ? (size_t)ret : 0;

	if (ret < 0 && ret != -ECANCELED && ret != -ETIMEDOUT)
		stress_fail("recv: %zd", ret);
	if (trial.num_received + count > BYTES_MOST)
		stress_fail("more was received than was sent");
	memcpy(trial.received + trial.num_received, buffer + MARGIN, count);
	trial.num_received += count;
	check_poison(buffer, MARGIN);
	memset(buffer + MARGIN, POISON, count);
	check_poison(buffer + MARGIN, BUFFER_SIZE + MARGIN);
	return ret;
}

/* What came is what was sent, if the rest of it is still in the socket. */
static void check_bytes(void)
{
	size_t sent = trial.sizes[0] + trial.sizes[1];
	size_t count = trial.num_received;
	ssize_t ret;

	shutdown(trial.ends[1], SHUT_WR);
	do {
		ret = recv(trial.ends[0], trial.received + count,
			   sizeof(trial.received) - count, 0);
		if (ret < 0)
			stress_fail("what is left cannot be received: %d",
				    errno);
		count += (size_t)ret;
	} while (ret > 0);
	if (count != sent)
		stress_fail("%zu bytes of %zu were lost after %zu",
			    sent - count, sent, trial.num_received);
	for (size_t i = 0; i < sent; i++)
		if (trial.received[i] != byte_at(i))
			stress_fail("byte %zu is another one", i);
}

static void count_outcome(int cancelled)
{
	size_t sent = trial.sizes[0] + trial.sizes[1];

	num_trials++;
	num_cancelled += cancelled && trial.num_received == 0;
	num_between += trial.num_received > 0 && trial.num_received < sent;
	num_whole += trial.num_received == sent;
}

/* Receives until it is cancelled, into one buffer a call, all on this stack and
 * looked at when all is over. */
static void receive(struct zs_nursery nursery)
{
	enum { CALLS = 6 };
	unsigned char buffers[CALLS][BUFFER_SIZE + 2 * MARGIN];
	int64_t own_delay_ns = below(&trial.random, DELAY_MOST_NS);
	int64_t limit_ns = ZS_NEVER;
	ssize_t ret = 1;

	memset(buffers, POISON, sizeof(buffers));
	if (trial.canceller == BY_DEADLINE)
		limit_ns = zs_now() + below(&trial.random, 2 * DELAY_MOST_NS);
	assert_ok(zs_cancel_token_open(&trial.token, limit_ns));
	start_actors(nursery);
	if (below(&trial.random, 2))
		delay(own_delay_ns);
	for (int i = 0; i < CALLS && ret > 0; i++)
		ret = receive_once(buffers[i],
				   1 + below(&trial.random, BUFFER_SIZE));
	ret = zs_cancel_token_close(trial.token);
	await_actors();
	assert_ok(zs_nursery_wait(nursery));
	check_bytes();
	for (int i = 0; i < CALLS; i++)
		check_poison(buffers[i], sizeof(buffers[i]));
	count_outcome(ret < 0);
}

/* An end that lingers would take a port with it for a minute. */
static void close_ends(void)
{
	static const struct linger at_once = { .l_onoff = 1 };

	for (int i = 0; i < 2; i++) {
		setsockopt(trial.ends[i], SOL_SOCKET, SO_LINGER, &at_once,
			   sizeof(at_once));
		if (zs_close(trial.ends[i]) < 0)
			stress_fail("close");
	}
}

static void choose_trial(void)
{
	memset(&trial, 0, sizeof(trial));
	trial.random = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
	for (int i = 0; i < 4; i++)
		below(&trial.random, 2);
	stress_begin(seed, 2);
	if (below(&trial.random, 4) == 0)
		make_tcp_pair(trial.ends);
	else
		make_unix_pair(SOCK_STREAM, trial.ends);
	trial.sender = (enum actor)below(&trial.random, NR_ACTORS);
	trial.canceller = (int)below(&trial.random, NR_CANCELLERS);
	trial.cancels_first = below(&trial.random, 2);
	for (int i = 0; i < NR_ACTORS; i++)
		if (below(&trial.random, 3))
			trial.delays_ns[i] =
				below(&trial.random, DELAY_MOST_NS);
	trial.sizes[0] = 1 + below(&trial.random, BYTES_MOST / 2);
	trial.sizes[1] = 1 + below(&trial.random, BYTES_MOST / 2);
}

static void run_trial(void)
{
	struct zs_nursery_options options = { .deadline_ns = ZS_NEVER,
					      .flags = ZS_NURSERY_PINNED };
	struct zs_nursery nursery;

	choose_trial();
	assert_ok(zs_nursery_open(&nursery, &options));
	receive(nursery);
	close_ends();
	note_progress();
}

/* --- rounds --- */

static int run_trials(void *arg)
{
	uint64_t end = *(uint64_t *)arg;
	struct zs_nursery nursery;

	main_thread = pthread_self();
	assert_ok(zs_nursery_open(&nursery, NULL));
	spawn_on_each(nursery, 2, serve_on_other_worker, NULL);
	for (; seed < end; seed++)
		run_trial();
	shutdown(controls[OTHER_WORKER][0], SHUT_RDWR);
	return zs_nursery_wait(nursery);
}

static uint64_t first_seed;
static uint64_t num_seeds;

START_TEST(a_cancelled_recv_leaves_the_stack_alone_and_loses_nothing)
{
	uint64_t end = first_seed + num_seeds;
	struct zs_config config = test_config();
	pthread_t thread;

	config.num_workers = 2;
	stress_watch(STUCK_SECONDS * ZS_SECOND);
	make_unix_pair(SOCK_STREAM, controls[THREAD]);
	thread = start_thread(serve_in_thread, NULL);
	seed = first_seed;
	while (seed < end) {
		uint64_t next = seed + SEEDS_A_RUNTIME;

		make_unix_pair(SOCK_STREAM, controls[OTHER_WORKER]);
		if (next > end)
			next = end;
		config.queue_depth = seed % 2 ? 2 : 256;
		assert_ok(run_task_with(&config, run_trials, &next));
		close(controls[OTHER_WORKER][0]);
		close(controls[OTHER_WORKER][1]);
	}
	shutdown(controls[THREAD][0], SHUT_RDWR);
	pthread_join(thread, NULL);
	printf("cancel_instants: of %llu, %llu cancelled before any byte, %llu "
	       "between, %llu after all\n",
	       (unsigned long long)num_trials,
	       (unsigned long long)num_cancelled,
	       (unsigned long long)num_between, (unsigned long long)num_whole);
	fflush(stdout);
	/* Else it would not be much of a race. */
	if (num_trials >= SEEDS) {
		ck_assert_uint_ge(num_cancelled, num_trials / 50);
		ck_assert_uint_ge(num_between, num_trials / 50);
		ck_assert_uint_ge(num_whole, num_trials / 50);
	}
}
END_TEST

static Suite *cancel_instants_suite(void)
{
	Suite *suite = suite_create("cancel_instants");
	TCase *tests = tcase_create("cancel_instants");

	first_seed = stress_first_seed("cancel_instants");
	num_seeds = (uint64_t)stress_number_of("ZSYNC_TEST_SEEDS", SEEDS);
	/* Later than the watchdog, which has more to say. */
	tcase_set_timeout(tests, 2 * STUCK_SECONDS + (double)num_seeds / 50);
	tcase_add_test(
		tests,
		a_cancelled_recv_leaves_the_stack_alone_and_loses_nothing);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(cancel_instants_suite());
}
