/* SPDX-License-Identifier: MIT */
/*
 * Futexes: tasks that are woken by tasks, threads and processes. Each once as
 * the engine likes it and once without the ring's operation, as before Linux
 * 6.7.
 */
#include <check.h>
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "descriptors.h"
#include "process.h"
#include "runtime.h"

enum { NR_WAITERS = 8, NOBODY = 65534 };

static uint32_t word;
static int nr_woken;

static void play_kernel(int without)
{
	if (without)
		disable("futex_wait");
}

/* Others write it meanwhile. */
static uint32_t look_at(const uint32_t *place)
{
	return __atomic_load_n(place, __ATOMIC_SEQ_CST);
}

static void change(uint32_t *place)
{
	__atomic_fetch_add(place, 1, __ATOMIC_SEQ_CST);
}

/* As users do. */
static int wait_for_change(void *arg)
{
	int ret = 0;

	(void)arg;
	while (look_at(&word) == 0 && (ret == 0 || ret == -EAGAIN))
		ret = zs_futex_wait(&word, 0, ZS_FUTEX_PRIVATE);
	ck_assert(ret == 0 || ret == -EAGAIN);
	nr_woken++;
	return 0;
}

static int change_and_wake(void *arg)
{
	(void)arg;
	change(&word);
	ck_assert_int_ge(zs_futex_wake(&word, 1, ZS_FUTEX_PRIVATE), 0);
	return 0;
}

START_TEST(a_task_wakes_a_task)
{
	play_kernel(_i);
	ck_assert_int_eq(run_siblings(wait_for_change, change_and_wake, NULL),
			 0);
	ck_assert_int_eq(nr_woken, 1);
}
END_TEST

static int wake_all(void *arg)
{
	struct zs_nursery nursery;
	int i;

	(void)arg;
	ck_assert_int_eq(zs_nursery_open(&nursery, NULL), 0);
	for (i = 0; i < NR_WAITERS; i++)
		ck_assert_int_eq(
			zs_nursery_spawn(nursery, wait_for_change, NULL), 0);
	zs_yield();
	change(&word);
	ck_assert_int_ge(zs_futex_wake(&word, INT_MAX, ZS_FUTEX_PRIVATE), 0);
	return zs_nursery_wait(nursery);
}

START_TEST(one_wake_is_enough_for_all)
{
	play_kernel(_i);
	ck_assert_int_eq(run_task(wake_all, NULL), 0);
	ck_assert_int_eq(nr_woken, NR_WAITERS);
}
END_TEST

static int wait_once(void *arg)
{
	(void)arg;
	return zs_futex_wait(&word, 0, ZS_FUTEX_PRIVATE);
}

/* The word stays as it is: so it has to have been in the kernel. */
static void *wake_from_outside(void *arg)
{
	(void)arg;
	while (zs_futex_wake(&word, 1, ZS_FUTEX_PRIVATE) == 0)
		usleep(200);
	return NULL;
}

START_TEST(a_foreign_thread_wakes_a_task)
{
	pthread_t thread;

	play_kernel(_i);
	ck_assert_int_eq(pthread_create(&thread, NULL, wake_from_outside, NULL),
			 0);
	ck_assert_int_eq(run_task(wait_once, NULL), 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
}
END_TEST

static void *wait_outside(void *arg)
{
	ck_assert_int_eq(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL,
				 NULL, 0),
			 0);
	return arg;
}

static int wake_one_outside(void *arg)
{
	int ret;

	(void)arg;
	do {
		ck_assert_int_eq(zs_sleep(ZS_MILLISECOND / 5), 0);
		ret = zs_futex_wake(&word, 5, ZS_FUTEX_PRIVATE);
	} while (ret == 0);
	return ret;
}

START_TEST(a_task_wakes_a_foreign_thread)
{
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, wait_outside, NULL), 0);
	ck_assert_int_eq(run_task(wake_one_outside, NULL), 1);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
}
END_TEST

static int wait_for_process(void *arg)
{
	return zs_futex_wait(arg, 0, ZS_FUTEX_SHARED);
}

START_TEST(a_process_wakes_a_task)
{
	uint32_t *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid;

	play_kernel(_i);
	ck_assert_ptr_ne(shared, MAP_FAILED);
	pid = fork();
	if (pid == 0) {
		while (zs_futex_wake(shared, 1, ZS_FUTEX_SHARED) == 0)
			usleep(200);
		_exit(0);
	}
	ck_assert_int_eq(run_task(wait_for_process, shared), 0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}
END_TEST

static int wait_in_vain(void *arg)
{
	struct zs_cancel_token token;

	(void)arg;
	ck_assert_int_eq(
		zs_cancel_token_open(&token, zs_now() + 5 * ZS_MILLISECOND), 0);
	ck_assert_int_eq(wait_once(NULL), -ETIMEDOUT);
	ck_assert_int_eq(wait_once(NULL), -ETIMEDOUT);
	ck_assert_int_eq(zs_cancel_token_close(token), -ETIMEDOUT);
	return zs_futex_wake(&word, 1, ZS_FUTEX_PRIVATE);
}

START_TEST(a_deadline_ends_the_wait)
{
	play_kernel(_i);
	ck_assert_int_eq(run_task(wait_in_vain, NULL), 0);
}
END_TEST

static int fail_and_cancel(void *arg)
{
	(void)arg;
	return -ENOTTY;
}

/* Cancelled by its nursery. */
static int wait_to_be_cancelled(void *arg)
{
	ck_assert_int_eq(wait_once(arg), -ECANCELED);
	return 0;
}

START_TEST(a_cancel_ends_the_wait)
{
	play_kernel(_i);
	ck_assert_int_eq(run_siblings(wait_to_be_cancelled, fail_and_cancel,
				      NULL),
			 -ENOTTY);
}
END_TEST

static int wait_badly(void *arg)
{
	uint32_t two[2] = { 1, 1 };
	uint32_t *odd = (uint32_t *)((char *)two + 1);
	uint32_t *nowhere = (uint32_t *)(uintptr_t)64;

	(void)arg;
	errno = 4711;
	ck_assert_int_eq(zs_futex_wait(two, 0, ZS_FUTEX_PRIVATE), -EAGAIN);
	ck_assert_int_eq(zs_futex_wait(two, 0, ZS_FUTEX_SHARED), -EAGAIN);
	ck_assert_int_eq(zs_futex_wait(NULL, 0, ZS_FUTEX_PRIVATE), -EINVAL);
	ck_assert_int_eq(zs_futex_wait(odd, 0, ZS_FUTEX_PRIVATE), -EINVAL);
	ck_assert_int_eq(zs_futex_wait(two, 1, 2), -EINVAL);
	ck_assert_int_eq(zs_futex_wait(nowhere, 0, ZS_FUTEX_PRIVATE), -EFAULT);
	ck_assert_int_eq(zs_futex_wake(NULL, 1, ZS_FUTEX_PRIVATE), -EINVAL);
	ck_assert_int_eq(zs_futex_wake(odd, 1, ZS_FUTEX_PRIVATE), -EINVAL);
	ck_assert_int_eq(zs_futex_wake(two, 1, -1), -EINVAL);
	ck_assert_int_eq(zs_futex_wake(two, -1, ZS_FUTEX_PRIVATE), -EINVAL);
	ck_assert_int_eq(zs_futex_wake(nowhere, 1, ZS_FUTEX_SHARED), -EFAULT);
	ck_assert_int_eq(zs_futex_wake(two, 0, ZS_FUTEX_PRIVATE), 0);
	ck_assert_int_eq(zs_futex_wake(two, 1, ZS_FUTEX_PRIVATE), 0);
	ck_assert_int_eq(errno, 4711);
	return 0;
}

START_TEST(bad_words_are_refused)
{
	play_kernel(_i);
	ck_assert_int_eq(zs_futex_wait(&word, 0, ZS_FUTEX_PRIVATE), -EPERM);
	ck_assert_int_eq(run_task(wait_badly, NULL), 0);
}
END_TEST

/* In the model blocking there is no thread anyway, but the caller's. */
static int wait_without_thread(void *arg)
{
	struct zs_cancel_token token;
	struct zs_runtime_info info;
	struct rlimit threads, few;
	int ret;

	(void)arg;
	ck_assert_int_eq(zs_runtime_info(NULL, &info), 0);
	if (strcmp(info.model_name, "blocking") == 0) {
		printf("SKIP: the model blocking has no threads\n");
		return 0;
	}
	ck_assert_int_eq(getrlimit(RLIMIT_NPROC, &threads), 0);
	few = threads;
	few.rlim_cur = 1;
	ck_assert_int_eq(setrlimit(RLIMIT_NPROC, &few), 0);
	ck_assert_int_eq(zs_cancel_token_open(&token, zs_now() + ZS_SECOND), 0);
	ret = wait_once(NULL);
	zs_cancel_token_close(token);
	ck_assert_int_eq(setrlimit(RLIMIT_NPROC, &threads), 0);
	if (ret == -ETIMEDOUT) {
		printf("SKIP: this system does not enforce RLIMIT_NPROC\n");
		return 0;
	}
	ck_assert_int_eq(ret, 0);
	change(&word);
	ck_assert_int_eq(wait_once(NULL), -EAGAIN);
	return 0;
}

START_TEST(without_a_thread_the_word_does_not_seem_changed)
{
	disable("futex_wait");
	if (getuid() == 0 && setuid(NOBODY) < 0) {
		printf("SKIP: root is not limited, and cannot be left\n");
		return;
	}
	ck_assert_int_eq(run_task(wait_without_thread, NULL), 0);
}
END_TEST

/* Two tasks on two workers that give each other the turn. */
struct turn {
	uint32_t *word;
	uint32_t mine;
};

enum { NR_TURNS = 2000 };

static int take_turns(void *arg)
{
	const struct turn *turn = arg;
	uint32_t now;
	int ret;

	for (;;) {
		now = look_at(turn->word);
		if (now >= NR_TURNS)
			return 0;
		if (now % 2 == turn->mine) {
			change(turn->word);
			ret = zs_futex_wake(turn->word, 1, ZS_FUTEX_PRIVATE);
			ck_assert_int_ge(ret, 0);
			continue;
		}
		ret = zs_futex_wait(turn->word, now, ZS_FUTEX_PRIVATE);
		ck_assert(ret == 0 || ret == -EAGAIN);
	}
}

static int play_ping_pong(void *arg)
{
	struct turn turns[] = { { &word, 0 }, { &word, 1 } };
	struct zs_nursery nursery;

	(void)arg;
	ck_assert_int_eq(zs_nursery_open(&nursery, NULL), 0);
	ck_assert_int_eq(zs_nursery_spawn(nursery, take_turns, &turns[0]), 0);
	ck_assert_int_eq(zs_nursery_spawn(nursery, take_turns, &turns[1]), 0);
	return zs_nursery_wait(nursery);
}

START_TEST(no_wake_is_lost)
{
	struct zs_config config = test_config();

	play_kernel(_i % 2);
	config.num_workers = 1 + (uint32_t)_i / 2;
	ck_assert_int_eq(run_task_with(&config, play_ping_pong, NULL), 0);
	ck_assert_uint_eq(word, NR_TURNS);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("futex");
	TCase *tests = tcase_create("futex");

	tcase_set_timeout(tests, 20);
	tcase_add_loop_test(tests, a_task_wakes_a_task, 0, 2);
	tcase_add_loop_test(tests, one_wake_is_enough_for_all, 0, 2);
	tcase_add_loop_test(tests, a_foreign_thread_wakes_a_task, 0, 2);
	tcase_add_test(tests, a_task_wakes_a_foreign_thread);
	tcase_add_loop_test(tests, a_process_wakes_a_task, 0, 2);
	tcase_add_loop_test(tests, a_deadline_ends_the_wait, 0, 2);
	tcase_add_loop_test(tests, a_cancel_ends_the_wait, 0, 2);
	tcase_add_loop_test(tests, bad_words_are_refused, 0, 2);
	tcase_add_test(tests, without_a_thread_the_word_does_not_seem_changed);
	tcase_add_loop_test(tests, no_wake_is_lost, 0, 4);
	suite_add_tcase(suite, tests);
	return run_suite(suite);
}
