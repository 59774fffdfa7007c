/* SPDX-License-Identifier: MIT */
/*
 * What holds for every call of zsync/sync.h that waits: a cancel ends it, and a
 * deadline; neither takes anything with it; who has been let go is not
 * cancelled any more; a thread that is no worker's waits as well; and a timer's
 * function is refused.
 */
#include "workers.h"

static struct zs_mutex mutex;
static struct zs_mutex cond_mutex;
static struct zs_cond cond;
static struct zs_sem sem;
static struct zs_notify notify;
static struct zs_waitgroup group;
static struct zs_latch latch;
static struct zs_barrier barrier;
static struct zs_rwlock rwlock;
static struct zs_once once;
/* What the first to call it does. */
static struct zs_notify once_may_end;

/* One kind of wait. @prepare makes the next call of @wait one that waits, and
 * @let_go ends that; @give_back is for who has got it. */
struct kind {
	const char *waits_for; /* in a report */
	int (*prepare)(void);
	int (*wait)(void);
	int (*let_go)(void);
	int (*give_back)(void);
	/* @let_go may be called by another one than @prepare, and does not
	 * wait. */
	bool any_may_let_go;
};

static int nothing(void)
{
	return 0;
}

static int lock_mutex(void)
{
	return zs_mutex_lock(&mutex);
}

static int unlock_mutex(void)
{
	return zs_mutex_unlock(&mutex);
}

/* The mutex is the caller's afterwards, come what may. */
static int wait_for_cond(void)
{
	int ret = zs_mutex_lock(&cond_mutex);

	if (ret < 0)
		return ret;
	ret = zs_cond_wait(&cond, &cond_mutex);
	assert_ok(zs_mutex_unlock(&cond_mutex));
	return ret;
}

static int signal_cond(void)
{
	/* Only once the other is in its wait. */
	while (zs_mutex_try_lock(&cond_mutex) == -EAGAIN)
		zs_yield();
	assert_ok(zs_mutex_unlock(&cond_mutex));
	return zs_cond_signal(&cond);
}

static int acquire(void)
{
	return zs_sem_acquire(&sem, 2);
}

static int release(void)
{
	return zs_sem_release(&sem, 2);
}

static int wait_for_notify(void)
{
	return zs_notify_wait(&notify);
}

static int notify_one(void)
{
	return zs_notify_one(&notify);
}

static int add_to_group(void)
{
	return zs_waitgroup_add(&group, 1);
}

static int wait_for_group(void)
{
	return zs_waitgroup_wait(&group);
}

static int group_done(void)
{
	return zs_waitgroup_done(&group);
}

static int close_latch(void)
{
	return zs_latch_init(&latch, 1);
}

static int wait_for_latch(void)
{
	return zs_latch_wait(&latch);
}

static int open_latch(void)
{
	return zs_latch_count_down(&latch, 1);
}

static int prepare_barrier(void)
{
	return zs_barrier_init(&barrier, 2);
}

static int wait_at_barrier(void)
{
	return zs_barrier_wait(&barrier);
}

static int come_to_barrier(void)
{
	int ret = zs_barrier_wait(&barrier);

	return ret == 1 ? 0 : -EBADE;
}

static int read_lock(void)
{
	return zs_rwlock_read_lock(&rwlock);
}

static int read_unlock(void)
{
	return zs_rwlock_read_unlock(&rwlock);
}

static int write_lock(void)
{
	return zs_rwlock_write_lock(&rwlock);
}

static int write_unlock(void)
{
	return zs_rwlock_write_unlock(&rwlock);
}

static int await_end(void *arg)
{
	(void)arg;
	return zs_notify_wait(&once_may_end);
}

static int succeed(void *arg)
{
	(void)arg;
	return 0;
}

static int run_once(void)
{
	return zs_once_run(&once, succeed, NULL);
}

static struct counter once_ended;
/* Around each test. */
static struct zs_nursery once_nursery;

static int run_first(void *arg)
{
	(void)arg;
	assert_ok(zs_once_run(&once, await_end, NULL));
	count(&once_ended);
	return 0;
}

/* A task runs it, until it is told to end. */
static int begin_once(void)
{
	once = (struct zs_once){ 0 };
	assert_ok(zs_nursery_spawn(once_nursery, run_first, NULL));
	assert_ok(zs_yield());
	return 0;
}

static int end_once(void)
{
	assert_ok(zs_notify_one(&once_may_end));
	await_count(&once_ended, 1);
	return 0;
}

static const struct kind kinds[] = {
	{ "waits for mutex 0x", lock_mutex, lock_mutex, unlock_mutex,
	  unlock_mutex, false },
	{ "waits for condition 0x", nothing, wait_for_cond, signal_cond,
	  nothing, true },
	{ "waits for semaphore 0x", nothing, acquire, release, nothing, true },
	{ "waits for notification 0x", nothing, wait_for_notify, notify_one,
	  nothing, true },
	{ "waits for wait group 0x", add_to_group, wait_for_group, group_done,
	  nothing, true },
	{ "waits for latch 0x", close_latch, wait_for_latch, open_latch,
	  nothing, true },
	{ "waits for barrier 0x", prepare_barrier, wait_at_barrier,
	  come_to_barrier, nothing, true },
	{ "waits for reading under lock 0x", write_lock, read_lock,
	  write_unlock, read_unlock, false },
	{ "waits for writing under lock 0x", read_lock, write_lock, read_unlock,
	  write_unlock, true },
	{ "waits for writing under lock 0x", write_lock, write_lock,
	  write_unlock, write_unlock, false },
	{ "waits for what is done once, 0x", begin_once, run_once, end_once,
	  nothing, false },
};
enum { NR_KINDS = sizeof(kinds) / sizeof(*kinds) };

static const struct kind *kind;
static struct counter about_to_wait, gone_on;
static int result;
static char explained[256];

static int wait_once(void *arg)
{
	(void)arg;
	count(&about_to_wait);
	result = kind->wait();
	snprintf(explained, sizeof(explained), "%s", zs_explain(result));
	if (result == 0)
		assert_ok(kind->give_back());
	count(&gone_on);
	return 0;
}

static int run_in_nursery(void *arg)
{
	zs_task_fn *fn = *(zs_task_fn **)arg;

	assert_ok(zs_nursery_open(&once_nursery, NULL));
	assert_ok(fn(NULL));
	return zs_nursery_wait(once_nursery);
}

static void run_with(const struct kind *of_all, zs_task_fn *fn)
{
	kind = of_all;
	assert_ok(run_task(run_in_nursery, &fn));
}

static bool is_barrier(void)
{
	return kind->wait == wait_at_barrier;
}

/* Whether a wait that has come to nothing has left anything behind: it can be
 * had still, and one more wait goes as the first would have. */
static void let_go_and_wait_again(void)
{
	struct zs_nursery nursery;
	uint32_t so_far = counted(&gone_on);

	if (is_barrier())
		assert_ok(zs_barrier_reset(&barrier));
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn(nursery, wait_once, NULL));
	assert_ok(zs_yield());
	ck_assert_uint_eq(counted(&gone_on), so_far);
	assert_ok(kind->let_go());
	assert_ok(zs_nursery_wait(nursery));
	ck_assert_int_eq(result, 0);
}

/* --- what ends a wait --- */

static int cancel_it(void *arg)
{
	struct zs_nursery nursery;

	(void)arg;
	assert_ok(kind->prepare());
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn(nursery, wait_once, NULL));
	assert_ok(zs_yield());
	ck_assert_uint_eq(counted(&gone_on), 0);
	assert_ok(zs_nursery_cancel(nursery));
	ck_assert_int_eq(zs_nursery_wait(nursery), -ECANCELED);
	ck_assert_int_eq(result, -ECANCELED);
	let_go_and_wait_again();
	return 0;
}

START_TEST(cancel_ends_a_wait)
{
	run_with(&kinds[_i], cancel_it);
}
END_TEST

static int wait_with_deadline(void *arg)
{
	struct zs_cancel_token token;

	(void)arg;
	assert_ok(zs_cancel_token_open(&token, zs_now() + ZS_MILLISECOND));
	wait_once(NULL);
	ck_assert_int_eq(zs_cancel_token_close(token), -ETIMEDOUT);
	return 0;
}

static int have_it_time_out(void *arg)
{
	struct zs_nursery nursery;

	(void)arg;
	assert_ok(kind->prepare());
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn(nursery, wait_with_deadline, NULL));
	assert_ok(zs_nursery_wait(nursery));
	ck_assert_int_eq(result, -ETIMEDOUT);
	let_go_and_wait_again();
	return 0;
}

START_TEST(deadline_ends_a_wait)
{
	run_with(&kinds[_i], have_it_time_out);
}
END_TEST

static int have_it_never_end(void *arg)
{
	struct zs_nursery nursery;

	(void)arg;
	assert_ok(kind->prepare());
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn(nursery, wait_once, NULL));
	assert_ok(zs_nursery_wait(nursery));
	ck_assert_int_eq(result, -EDEADLK);
	ck_assert_str_eq(explained, "nobody is left who could let the caller "
				    "go on: a deadlock");
	let_go_and_wait_again();
	return 0;
}

START_TEST(wait_that_nothing_can_end_is_a_deadlock)
{
	struct capture capture;

	/* There it is the first one's wait that ends, whatever it waits on. */
	if (kinds[_i].wait == run_once)
		return;
	begin_capture(&capture);
	run_with(&kinds[_i], have_it_never_end);
	end_capture(&capture);
	ck_assert_ptr_nonnull(strstr(capture.text, kinds[_i].waits_for));
}
END_TEST

static int wait_in_cancelled(void *arg)
{
	struct zs_cancel_token token;

	(void)arg;
	assert_ok(zs_cancel_token_open(&token, ZS_NEVER));
	assert_ok(zs_cancel_token_cancel(token));
	wait_once(NULL);
	ck_assert_int_eq(zs_cancel_token_close(token), -ECANCELED);
	return 0;
}

static int have_it_cancelled_before(void *arg)
{
	struct zs_nursery nursery;

	(void)arg;
	assert_ok(kind->prepare());
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn(nursery, wait_in_cancelled, NULL));
	assert_ok(zs_nursery_wait(nursery));
	ck_assert_int_eq(result, -ECANCELED);
	let_go_and_wait_again();
	return 0;
}

START_TEST(cancelled_scope_has_no_waits)
{
	run_with(&kinds[_i], have_it_cancelled_before);
}
END_TEST

static int let_go_and_cancel(void *arg)
{
	struct zs_nursery nursery;

	(void)arg;
	assert_ok(kind->prepare());
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn(nursery, wait_once, NULL));
	assert_ok(zs_yield());
	assert_ok(kind->let_go());
	/* Too late: it has what it waited for. */
	assert_ok(zs_nursery_cancel(nursery));
	ck_assert_int_eq(zs_nursery_wait(nursery), -ECANCELED);
	ck_assert_int_eq(result, 0);
	return 0;
}

static void *let_go_in_thread(void *arg)
{
	assert_ok(kind->let_go());
	return arg;
}

/* Its worker has yet to hear that it may go on. */
static int let_go_by_thread_and_cancel(void *arg)
{
	struct zs_nursery nursery;

	(void)arg;
	assert_ok(kind->prepare());
	assert_ok(zs_nursery_open(&nursery, NULL));
	assert_ok(zs_nursery_spawn(nursery, wait_once, NULL));
	assert_ok(zs_yield());
	run_in_thread(let_go_in_thread, NULL);
	assert_ok(zs_nursery_cancel(nursery));
	ck_assert_int_eq(zs_nursery_wait(nursery), -ECANCELED);
	ck_assert_int_eq(result, 0);
	return 0;
}

START_TEST(who_was_let_go_by_a_thread_is_not_cancelled)
{
	if (kinds[_i].any_may_let_go)
		run_with(&kinds[_i], let_go_by_thread_and_cancel);
}
END_TEST

START_TEST(who_was_let_go_is_not_cancelled)
{
	run_with(&kinds[_i], let_go_and_cancel);
}
END_TEST

/* --- other threads --- */

static void *wait_in_thread(void *arg)
{
	wait_once(arg);
	return NULL;
}

static int let_thread_go(void *arg)
{
	pthread_t thread;

	(void)arg;
	assert_ok(kind->prepare());
	thread = start_thread(wait_in_thread, NULL);
	await_count(&about_to_wait, 1);
	/* It may wait by then, or be about to. A signal has to find it. */
	if (kind->wait == wait_for_cond)
		while (counted(&gone_on) == 0)
			assert_ok(kind->let_go());
	else
		assert_ok(kind->let_go());
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_int_eq(result, 0);
	return 0;
}

START_TEST(thread_that_is_no_workers_waits)
{
	/* Of two parties either may be the last. */
	if (kinds[_i].wait != wait_at_barrier)
		run_with(&kinds[_i], let_thread_go);
}
END_TEST

/* --- timers' functions --- */

static struct zs_timer timer;
static int in_timer;

static void wait_in_timer(struct zs_timer *own, void *arg)
{
	(void)own;
	(void)arg;
	in_timer = kind->wait();
	count(&gone_on);
}

static int wait_from_timer(void *arg)
{
	(void)arg;
	assert_ok(kind->prepare());
	assert_ok(zs_timer_start(&timer, zs_now(), wait_in_timer, NULL));
	await_count(&gone_on, 1);
	ck_assert_int_eq(in_timer, -EPERM);
	if (is_barrier())
		return 0;
	let_go_and_wait_again();
	return 0;
}

START_TEST(timers_function_is_refused)
{
	run_with(&kinds[_i], wait_from_timer);
}
END_TEST

static Suite *sync_waits_suite(void)
{
	Suite *suite = suite_create("sync_waits");
	TCase *tests = tcase_create("sync_waits");

	tcase_set_timeout(tests, 20);
	tcase_add_loop_test(tests, cancel_ends_a_wait, 0, NR_KINDS);
	tcase_add_loop_test(tests, deadline_ends_a_wait, 0, NR_KINDS);
	tcase_add_loop_test(tests, wait_that_nothing_can_end_is_a_deadlock, 0,
			    NR_KINDS);
	tcase_add_loop_test(tests, cancelled_scope_has_no_waits, 0, NR_KINDS);
	tcase_add_loop_test(tests, who_was_let_go_is_not_cancelled, 0,
			    NR_KINDS);
	tcase_add_loop_test(tests, who_was_let_go_by_a_thread_is_not_cancelled,
			    0, NR_KINDS);
	tcase_add_loop_test(tests, thread_that_is_no_workers_waits, 0,
			    NR_KINDS);
	tcase_add_loop_test(tests, timers_function_is_refused, 0, NR_KINDS);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(sync_waits_suite());
}
