/* SPDX-License-Identifier: MIT */
/*
 * The ring by itself: setting up under limits, threads, what an enter does with
 * the kernel's refusals. The entries are NOPs and polls.
 */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "engine/ring.h"
#include "uring.h"
#include "zsync/config.h"

enum { ENTRIES = 8, SLOTS_OF_A_THREAD = 16, ONE_MS = 1000000 };

static struct zs_kernel kernel;
static struct zs_ring ring;

/* An enabled ring; false where there is none to be had. */
static bool open_ring(const char *test, uint32_t entries)
{
	if (!probe_or_skip(test, &kernel))
		return false;
	ck_assert_int_eq(zs_ring_create(&ring, &kernel, entries), 0);
	ck_assert_int_eq(zs_ring_enable(&ring, &kernel), 0);
	return true;
}

static void close_ring(void)
{
	zs_ring_disable(&ring);
	zs_ring_destroy(&ring);
}

static void queue(uint8_t opcode, int fd, uint32_t op_flags, uint64_t user_data)
{
	struct zs_sqe *sqe = zs_ring_next_sqe(&ring);

	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = opcode;
	sqe->fd = fd;
	sqe->op_flags = op_flags;
	sqe->user_data = user_data;
}

static void queue_nops(int nr)
{
	while (nr-- > 0)
		queue(ZS_URING_OP_NOP, -1, 0, 7);
}

/* Takes what is in the queue. */
static int take_completions(void)
{
	uint32_t head = zs_ring_cq_head(&ring);
	uint32_t tail = zs_ring_cq_tail(&ring);
	uint32_t i;

	for (i = head; i != tail; i++)
		ck_assert_uint_eq(zs_ring_cqe(&ring, i)->user_data, 7);
	zs_ring_cq_advance(&ring, tail);
	return (int)(tail - head);
}

START_TEST(the_queue_takes_as_many_as_it_has_entries)
{
	if (!open_ring(__func__, ENTRIES))
		return;
	ck_assert_uint_eq(ring.sq_entries, ENTRIES);
	ck_assert_uint_eq(ring.cq_mask + 1, 4 * ENTRIES);
	queue_nops(ENTRIES - 1);
	ck_assert(!zs_ring_is_full(&ring));
	queue_nops(1);
	ck_assert(zs_ring_is_full(&ring));
	ck_assert(zs_ring_submit(&ring));
	ck_assert_uint_eq(zs_ring_pending(&ring), 0);
	zs_ring_wait(&ring, 0);
	ck_assert_int_eq(take_completions(), ENTRIES);
	/* Nothing was handed over, so no room was made. */
	ck_assert(!zs_ring_submit(&ring));
	close_ring();
}
END_TEST

START_TEST(entries_are_rounded_up)
{
	if (!open_ring(__func__, 5))
		return;
	ck_assert_uint_eq(ring.sq_entries, 8);
	close_ring();
}
END_TEST

/* What leaves completions unseen is not taken without what shows them. */
START_TEST(without_its_flag_there_is_no_late_task_work)
{
	const uint32_t late = ZS_URING_SETUP_DEFER_TASKRUN |
			      ZS_URING_SETUP_COOP_TASKRUN |
			      ZS_URING_SETUP_TASKRUN_FLAG;

	setenv("ZSYNC_DISABLE", "taskrun_flag", 1);
	if (!open_ring(__func__, ENTRIES))
		return;
	ck_assert_uint_eq(ring.setup_flags & late, 0);
	close_ring();
}
END_TEST

/* Many times round, so that the indices pass the end of the queues. */
START_TEST(indices_go_round)
{
	int i, nr_done = 0;

	if (!open_ring(__func__, 2))
		return;
	for (i = 0; i < 1000; i++) {
		queue_nops(1 + i % 2);
		ck_assert(zs_ring_submit_and_wait(&ring, INT64_MAX));
		nr_done += take_completions();
	}
	zs_ring_wait(&ring, 0);
	nr_done += take_completions();
	ck_assert_int_eq(nr_done, 1500);
	close_ring();
}
END_TEST

START_TEST(a_wait_ends_at_its_timeout_never_early)
{
	int64_t start;

	if (!open_ring(__func__, ENTRIES))
		return;
	start = zs_clock_ns();
	ck_assert(zs_ring_submit_and_wait(&ring, 20 * ONE_MS));
	ck_assert_int_ge(zs_clock_ns() - start, 20 * ONE_MS);
	start = zs_clock_ns();
	zs_ring_wait(&ring, 3 * ONE_MS);
	ck_assert_int_ge(zs_clock_ns() - start, 3 * ONE_MS);
	close_ring();
}
END_TEST

/* What cannot wait does not: the test's time limit is the proof. */
START_TEST(no_wait_means_no_wait)
{
	if (!open_ring(__func__, ENTRIES))
		return;
	ck_assert(zs_ring_submit_and_wait(&ring, 0));
	ck_assert(zs_ring_submit_and_wait(&ring, -1));
	ck_assert(zs_ring_submit_and_wait(&ring, INT64_MIN));
	zs_ring_wait(&ring, -1);
	close_ring();
}
END_TEST

/* --- refusals --- */

static const int refusals[] = { EAGAIN, ENOMEM, EBUSY };

/* What was queued stays so, and what is done can be had meanwhile. */
START_TEST(a_refusal_loses_nothing)
{
	int fds[2];

	if (!open_ring(__func__, ENTRIES))
		return;
	ck_assert_int_eq(pipe(fds), 0);
	queue(ZS_URING_OP_POLL_ADD, fds[0], POLLIN, 7);
	ck_assert(zs_ring_submit(&ring));
	queue_nops(2);
	play.nr_refused = 2;
	play.error = refusals[_i];
	ck_assert(!zs_ring_submit(&ring));
	ck_assert(!zs_ring_submit_and_wait(&ring, INT64_MAX));
	ck_assert_uint_eq(zs_ring_pending(&ring), 2);
	ck_assert_int_eq(write(fds[1], "x", 1), 1);
	zs_ring_wait(&ring, INT64_MAX);
	ck_assert_int_eq(take_completions(), 1);
	ck_assert(zs_ring_submit(&ring));
	zs_ring_wait(&ring, 0);
	ck_assert_int_eq(take_completions(), 2);
	close_ring();
}
END_TEST

START_TEST(an_interrupted_enter_is_an_ordinary_one)
{
	static const int errors[] = { EINTR, ETIME };

	if (!open_ring(__func__, ENTRIES))
		return;
	queue_nops(1);
	play.nr_refused = 1;
	play.error = errors[_i];
	ck_assert(zs_ring_submit_and_wait(&ring, INT64_MAX));
	ck_assert_uint_eq(zs_ring_pending(&ring), 1);
	ck_assert(zs_ring_submit_and_wait(&ring, INT64_MAX));
	ck_assert_int_eq(take_completions(), 1);
	close_ring();
}
END_TEST

START_TEST(a_short_submit_leaves_the_rest)
{
	if (!open_ring(__func__, ENTRIES))
		return;
	queue_nops(ENTRIES);
	play.limit = 3;
	ck_assert(zs_ring_submit_and_wait(&ring, INT64_MAX));
	ck_assert_uint_eq(zs_ring_pending(&ring), ENTRIES - 3);
	ck_assert(zs_ring_submit(&ring));
	ck_assert(zs_ring_submit(&ring));
	ck_assert_uint_eq(zs_ring_pending(&ring), 0);
	zs_ring_wait(&ring, 0);
	ck_assert_int_eq(take_completions(), ENTRIES);
	close_ring();
}
END_TEST

/* Without SUBMIT_ALL the kernel itself stops after a bad entry. */
START_TEST(a_bad_entry_does_not_lose_those_behind_it)
{
	int nr_done = 0;

	setenv("ZSYNC_DISABLE", _i ? "submit_all" : "", 1);
	if (!open_ring(__func__, ENTRIES))
		return;
	if (_i)
		ck_assert(!(ring.setup_flags & ZS_URING_SETUP_SUBMIT_ALL));
	queue_nops(1);
	queue(ZS_URING_OP_NOP, -1, UINT32_MAX, 7); /* flags that are none */
	queue(250, -1, 0, 7);			   /* an opcode that is none */
	queue_nops(2);
	while (nr_done < 5) {
		zs_ring_submit_and_wait(&ring, INT64_MAX);
		nr_done += take_completions();
	}
	ck_assert_uint_eq(zs_ring_pending(&ring), 0);
	close_ring();
}
END_TEST

static void die_of(const char *test, int error)
{
	if (!open_ring(test, ENTRIES))
		abort();
	queue_nops(1);
	play.nr_refused = 1;
	play.error = error;
	zs_ring_submit_and_wait(&ring, 0);
}

/* A lost completion, a late filter, a closed descriptor: each would leave tasks
 * waiting for ever. */
START_TEST(what_makes_a_ring_useless_ends_the_process)
{
	static const int errors[] = { EBADR, EPERM, ENOSYS, EBADF };

	die_of(__func__, errors[_i]);
}
END_TEST

/* --- limits --- */

/* 64 KiB hold a ring of 256 or 512, not one of 4096. */
START_TEST(locked_memory_that_is_scarce_halves_the_entries)
{
	if (!probe_or_skip(__func__, &kernel) || !become_nobody(__func__) ||
	    !has_counted_rings(__func__))
		return;
	limit(RLIMIT_MEMLOCK, 64 << 10);
	ck_assert_int_eq(zs_ring_create(&ring, &kernel, 4096), 0);
	ck_assert_uint_ge(ring.sq_entries, 2);
	ck_assert_uint_lt(ring.sq_entries, 4096);
	ck_assert_int_eq(zs_ring_enable(&ring, &kernel), 0);
	queue_nops(2);
	ck_assert(zs_ring_submit_and_wait(&ring, INT64_MAX));
	zs_ring_wait(&ring, 0);
	ck_assert_int_eq(take_completions(), 2);
	close_ring();
}
END_TEST

START_TEST(no_locked_memory_is_enomem_with_a_remedy)
{
	if (!probe_or_skip(__func__, &kernel) || !become_nobody(__func__) ||
	    !has_counted_rings(__func__))
		return;
	limit(RLIMIT_MEMLOCK, 0);
	ck_assert_int_eq(zs_ring_create(&ring, &kernel, 256), -ENOMEM);
	ck_assert_ptr_nonnull(strstr(zs_explain(-ENOMEM), "RLIMIT_MEMLOCK"));
}
END_TEST

START_TEST(no_descriptor_is_emfile_with_a_remedy)
{
	if (!probe_or_skip(__func__, &kernel))
		return;
	limit(RLIMIT_NOFILE, 0);
	ck_assert_int_eq(zs_ring_create(&ring, &kernel, 256), -EMFILE);
	ck_assert_ptr_nonnull(strstr(zs_explain(-EMFILE), "RLIMIT_NOFILE"));
	unlimit(RLIMIT_NOFILE);
}
END_TEST

/* Memory of rings that were closed just before comes back late; but what has
 * not come back by then does not, and is not waited for at each size. */
START_TEST(want_of_memory_is_waited_for_once)
{
	if (!probe_or_skip(__func__, &kernel))
		return;
	play.nr_setups_refused = 3;
	ck_assert_int_eq(zs_ring_create(&ring, &kernel, 4096), 0);
	ck_assert_uint_eq(ring.sq_entries, 4096);
	zs_ring_destroy(&ring);
	play.nr_setups = 0;
	play.nr_setups_refused = 1000;
	ck_assert_int_eq(zs_ring_create(&ring, &kernel, 4096), -ENOMEM);
	/* Six at 4096, one at each of the eleven powers of two below. */
	ck_assert_int_eq(play.nr_setups, 6 + 11);
}
END_TEST

/* --- threads, processes, leaks --- */

static void *use_the_ring(void *arg)
{
	(void)arg;
	ck_assert_int_eq(zs_ring_enable(&ring, &kernel), 0);
	queue_nops(1);
	ck_assert(zs_ring_submit_and_wait(&ring, INT64_MAX));
	ck_assert_int_eq(take_completions(), 1);
	zs_ring_disable(&ring);
	return NULL;
}

START_TEST(the_enabling_thread_is_the_one_that_uses_it)
{
	pthread_t thread;

	if (!probe_or_skip(__func__, &kernel))
		return;
	ck_assert_int_eq(zs_ring_create(&ring, &kernel, ENTRIES), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, use_the_ring, NULL), 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	zs_ring_destroy(&ring);
}
END_TEST

/* The last ones go by their descriptors. */
START_TEST(a_thread_may_have_more_rings_than_slots)
{
	static struct zs_ring rings[SLOTS_OF_A_THREAD + 2];
	int i;

	if (!probe_or_skip(__func__, &kernel))
		return;
	for (i = 0; i < SLOTS_OF_A_THREAD + 2; i++) {
		ck_assert_int_eq(zs_ring_create(&ring, &kernel, 2), 0);
		ck_assert_int_eq(zs_ring_enable(&ring, &kernel), 0);
		queue_nops(1);
		ck_assert(zs_ring_submit_and_wait(&ring, INT64_MAX));
		ck_assert_int_eq(take_completions(), 1);
		rings[i] = ring;
	}
	ck_assert_int_eq(ring.enter_fd, ring.fd);
	for (i = 0; i < SLOTS_OF_A_THREAD + 2; i++) {
		ring = rings[i];
		close_ring();
	}
}
END_TEST

/* The child has no ring to spoil: the kernel finds nothing there to copy. */
START_TEST(a_forked_child_does_not_have_the_ring)
{
	int fds[2], status;
	pid_t child;

	if (!open_ring(__func__, ENTRIES))
		return;
	ck_assert_int_eq(pipe(fds), 0);
	child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0)
		_exit(write(fds[1], ring.cq_head, 1) < 0 &&
		      write(fds[1], ring.sqes, 1) < 0);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 1);
	queue_nops(1);
	ck_assert(zs_ring_submit_and_wait(&ring, INT64_MAX));
	ck_assert_int_eq(take_completions(), 1);
	close_ring();
}
END_TEST

static int count_fds(void)
{
	DIR *folder = opendir("/proc/self/fd");
	int nr = 0;

	ck_assert_ptr_nonnull(folder);
	while (readdir(folder))
		nr++;
	closedir(folder);
	return nr;
}

/* Of rings: their maps are named like their descriptors. */
static int count_ring_maps(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[512];
	int nr = 0;

	ck_assert_ptr_nonnull(maps);
	while (fgets(line, sizeof(line), maps))
		nr += strstr(line, "[io_uring]") != NULL;
	fclose(maps);
	return nr;
}

START_TEST(a_hundred_rings_leave_nothing)
{
	int before = count_fds();
	int i;

	for (i = 0; i < 100; i++) {
		if (!open_ring(__func__, 64))
			return;
		ck_assert_int_eq(count_ring_maps(), 2);
		queue_nops(3);
		ck_assert(zs_ring_submit_and_wait(&ring, INT64_MAX));
		close_ring();
		ck_assert_int_eq(count_fds(), before);
		ck_assert_int_eq(count_ring_maps(), 0);
	}
}
END_TEST

static void add_tests(TCase *tests)
{
	tcase_add_test(tests, the_queue_takes_as_many_as_it_has_entries);
	tcase_add_test(tests, entries_are_rounded_up);
	tcase_add_test(tests, without_its_flag_there_is_no_late_task_work);
	tcase_add_test(tests, indices_go_round);
	tcase_add_test(tests, a_wait_ends_at_its_timeout_never_early);
	tcase_add_test(tests, no_wait_means_no_wait);
	tcase_add_loop_test(tests, a_refusal_loses_nothing, 0, 3);
	tcase_add_loop_test(tests, an_interrupted_enter_is_an_ordinary_one, 0,
			    2);
	tcase_add_test(tests, a_short_submit_leaves_the_rest);
	tcase_add_loop_test(tests, a_bad_entry_does_not_lose_those_behind_it, 0,
			    2);
	tcase_add_loop_test_raise_signal(
		tests, what_makes_a_ring_useless_ends_the_process, SIGABRT, 0,
		4);
	tcase_add_test(tests, locked_memory_that_is_scarce_halves_the_entries);
	tcase_add_test(tests, no_locked_memory_is_enomem_with_a_remedy);
	tcase_add_test(tests, no_descriptor_is_emfile_with_a_remedy);
	tcase_add_test(tests, want_of_memory_is_waited_for_once);
	tcase_add_test(tests, the_enabling_thread_is_the_one_that_uses_it);
	tcase_add_test(tests, a_thread_may_have_more_rings_than_slots);
	tcase_add_test(tests, a_forked_child_does_not_have_the_ring);
	tcase_add_test(tests, a_hundred_rings_leave_nothing);
}

int main(void)
{
	TCase *tests = tcase_create("ring");

	add_tests(tests);
	return run_tests(tests, "ring");
}
