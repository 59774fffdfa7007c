/* SPDX-License-Identifier: MIT */
/*
 * The offload pool with many who submit to it: each job runs at most once and
 * is told of exactly once, to its owner or to who was left its result; and one
 * that came back from a cancel never runs.
 */
#include "offload.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <unistd.h>

#include "base/compiler.h"

#ifdef __SANITIZE_THREAD__
enum { NR_ROUNDS = 40 };
#else
enum { NR_ROUNDS = 400 };
#endif

enum { NR_ENGINES = 4, NR_JOBS = 24 };

struct job {
	struct zs_detached detached;
	struct zs_op op;
	atomic_int nr_runs;
	int nr_told;
	bool is_read;
	bool is_back;
};

/* One thread, with what a worker would have. */
struct submitter {
	pthread_t thread;
	struct test_engine engine;
	uint32_t random;
	int fds[2];
	char byte;
	struct job jobs[NR_JOBS];
	int nr_open; /* have not been told of */
	uint64_t nr_done;
};

static uint32_t draw(struct submitter *submitter, uint32_t below)
{
	submitter->random = submitter->random * 1664525u + 1013904223u;
	return (submitter->random >> 16) % below;
}

static int run(void *arg)
{
	struct job *job = arg;

	atomic_fetch_add(&job->nr_runs, 1);
	sched_yield();
	return 3;
}

static void begin_job(struct submitter *submitter, struct job *job)
{
	enum zs_lane lane = (enum zs_lane)draw(submitter, ZS_NUM_LANES);

	memset(job, 0, sizeof(*job));
	job->is_read = lane == ZS_LANE_WAITING;
	job->op = call_of(run, job);
	if (job->is_read)
		job->op = (struct zs_op){
			.code = ZS_OP_READ,
			.fd = submitter->fds[0],
			.address = (uint64_t)(uintptr_t)&submitter->byte,
			.offset = UINT64_MAX,
			.length = 1,
		};
	ck_assert(submit(&submitter->engine, &job->op, lane));
	submitter->nr_open++;
}

static void release(struct zs_detached *detached, int result)
{
	struct job *job = zs_container_of(detached, struct job, detached);

	job->nr_told++;
	ck_assert_int_eq(result, job->is_read ? -EINTR : 3);
}

/* Reads end by a cancel alone, calls whenever they like. */
static void end_job(struct submitter *submitter, struct job *job)
{
	if (job->op.state != ZS_OP_OFFLOADED)
		return;
	if (!job->is_read && draw(submitter, 2))
		return;
	job->is_back = cancel(&submitter->engine, &job->op);
	if (job->is_back) {
		job->op.state = ZS_OP_DONE;
		submitter->nr_open--;
		return;
	}
	if (draw(submitter, 2))
		return;
	job->detached.release = release;
	zs_offload_detach(&submitter->engine.returns, &job->op, &job->detached);
	/* Its memory is the task's again. */
	memset(&job->op, 0, sizeof(job->op));
	job->op.state = ZS_OP_DONE;
}

static void collect_some(struct submitter *submitter)
{
	struct zs_link *link;
	uint32_t count = collect(&submitter->engine);

	submitter->nr_open -= (int)count;
	submitter->nr_done += count;
	for (;;) {
		struct job *job;

		link = zs_queue_pop(&submitter->engine.done);
		if (!link)
			return;
		job = zs_container_of(zs_op_of(link), struct job, op);
		job->nr_told++;
		ck_assert_int_eq(job->op.result, job->is_read ? -ECANCELED : 3);
	}
}

static void check_job(struct job *job)
{
	ck_assert_int_eq(job->nr_told, job->is_back ? 0 : 1);
	if (!job->is_read)
		ck_assert_int_eq(atomic_load(&job->nr_runs), job->nr_told);
}

static void play_round(struct submitter *submitter)
{
	int i;

	for (i = 0; i < NR_JOBS; i++)
		begin_job(submitter, &submitter->jobs[i]);
	for (i = 0; i < NR_JOBS; i++) {
		end_job(submitter,
			&submitter->jobs[draw(submitter, 2) ? i :
							      NR_JOBS - 1 - i]);
		if (draw(submitter, 4) == 0)
			collect_some(submitter);
	}
	/* Those that were passed over. */
	for (i = 0; i < NR_JOBS; i++)
		if (submitter->jobs[i].is_read &&
		    !submitter->jobs[i].op.cancel_asked)
			end_job(submitter, &submitter->jobs[i]);
	while (submitter->nr_open > 0) {
		await_wake(&submitter->engine);
		collect_some(submitter);
	}
	for (i = 0; i < NR_JOBS; i++)
		check_job(&submitter->jobs[i]);
}

static void *submit_and_cancel(void *arg)
{
	struct submitter *submitter = arg;
	int i;

	ck_assert_int_eq(pipe(submitter->fds), 0);
	for (i = 0; i < NR_ROUNDS; i++)
		play_round(submitter);
	close(submitter->fds[0]);
	close(submitter->fds[1]);
	return NULL;
}

static void check_counts(uint64_t nr_done)
{
	struct zs_offload_counts counts[ZS_NUM_LANES];
	uint64_t sum = 0;
	int i;

	zs_offload_count(pool, counts);
	for (i = 0; i < ZS_NUM_LANES; i++) {
		sum += counts[i].num_done;
		ck_assert_uint_eq(counts[i].num_queued, 0);
		ck_assert_uint_eq(counts[i].num_idle, counts[i].num_threads);
	}
	ck_assert_uint_le(counts[ZS_LANE_FILES].num_threads, 3);
	ck_assert_uint_le(counts[ZS_LANE_NAMES].num_threads, 4);
	ck_assert_uint_eq(sum, nr_done);
}

START_TEST(each_job_is_told_of_once_whoever_submits_cancels_and_detaches)
{
	static struct submitter submitters[NR_ENGINES];
	uint64_t nr_done = 0;
	uint32_t i;

	ck_assert_int_eq(zs_offload_create(&pool, 3), 0);
	for (i = 0; i < NR_ENGINES; i++) {
		submitters[i].random = i;
		init_engine(&submitters[i].engine, pool);
		ck_assert_int_eq(pthread_create(&submitters[i].thread, NULL,
						submit_and_cancel,
						&submitters[i]),
				 0);
	}
	for (i = 0; i < NR_ENGINES; i++) {
		pthread_join(submitters[i].thread, NULL);
		nr_done += submitters[i].nr_done;
	}
	check_counts(nr_done);
	zs_offload_destroy(pool);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("offload_stress");
	TCase *tests = tcase_create("offload_stress");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tests, 60);
	tcase_add_test(
		tests,
		each_job_is_told_of_once_whoever_submits_cancels_and_detaches);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
