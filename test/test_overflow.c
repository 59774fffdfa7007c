/* SPDX-License-Identifier: MIT */
/*
 * Stack overflows: what is said, who else is asked, and what is left alone. The
 * crashes happen in forked children, whose stderr is read.
 *
 * The tests are compiled with -fstack-clash-protection, as all code is that
 * wants its overflows found.
 */
#include <check.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>

#include "child.h"
#include "mem/stack.h"
#include "runtime.h"
#include "sched/worker.h"

enum {
	STACK_SIZE = 64 << 10,
	EARLIER_STATUS = 7, /* of a child that the program's handler ended */
	BAD_ADDRESS = 8,    /* of nothing, but aligned */
	/* Sanitizers' frames are larger, and their processes slow to start. */
	STEP = SANITIZED ? 256 : 16,
};

/* Without the task's name and stack size, which are between the two. */
#define REPORT "zsync: stack overflow: task "
#define KNOB                                                 \
	" of stack: raise zs_config.green_thread_stack_size" \
	" (ZSYNC_GREEN_THREAD_STACK_SIZE)\n"

static struct zs_config small_config(void)
{
	struct zs_config config = test_config();

	config.green_thread_stack_size = STACK_SIZE;
	return config;
}

static void run_here(zs_task_fn *fn, uint32_t flags)
{
	struct zs_config config = small_config();

	config.flags = flags;
	if (zs_run(&config, fn, NULL) != 0)
		_exit(99);
}

/* --- tasks that crash --- */

/* No compiler knows what this does, so the frame is as large as it says. */
static ZS_ALWAYS_INLINE void use(volatile char *frame)
{
	__asm__ volatile("" : : "r"(frame) : "memory");
}

/* The frame is used after the call, so that this is not made a loop. */
static ZS_NOINLINE int recurse(volatile int *depth)
{
	volatile char frame[200];

	use(frame);
	frame[0] = (char)*depth;
	*depth = *depth + 1;
	if (*depth < 0) /* never, which compilers want to be unsure of */
		return 0;
	return recurse(depth) + frame[0];
}

static ZS_NOINLINE int recurse_by_12_kb(volatile int *depth)
{
	volatile char frame[12 << 10];

	use(frame);
	frame[0] = (char)*depth;
	*depth = *depth + 1;
	if (*depth < 0)
		return 0;
	return recurse_by_12_kb(depth) + frame[0];
}

static int overflow(void *arg)
{
	volatile int depth = 0;

	(void)arg;
	zs_task_set_name("culprit");
	return recurse(&depth);
}

static int overflow_by_12_kb(void *arg)
{
	volatile int depth = 0;

	(void)arg;
	return recurse_by_12_kb(&depth);
}

/* One frame that is larger than stack and guard together. */
static int overflow_at_once(void *arg)
{
	volatile char frame[STACK_SIZE * 4];

	(void)arg;
	use(frame);
	return 0;
}

static int touch_bad_address(void *arg)
{
	volatile uintptr_t address = BAD_ADDRESS;

	(void)arg;
	*(volatile int *)address = 1;
	return 0;
}

static void crash_by_overflow(void)
{
	run_here(overflow, 0);
}

static void crash_by_12_kb(void)
{
	run_here(overflow_by_12_kb, 0);
}

static void crash_at_once(void)
{
	run_here(overflow_at_once, 0);
}

static void crash_by_overflow_kept(void)
{
	run_here(overflow, ZS_CONFIG_KEEP_SIGSEGV);
}

static void crash_by_bad_address(void)
{
	run_here(touch_bad_address, 0);
}

/* --- what is said --- */

START_TEST(runaway_recursion_is_reported)
{
	struct child *child = run_child(crash_by_overflow);

	ck_assert(died_of(child, SIGSEGV));
	ck_assert_mem_eq(child->text, REPORT, strlen(REPORT));
	ck_assert(says(child, REPORT "1 \"culprit\" has used up its "
				     "64 KiB" KNOB));
	/* Once. */
	ck_assert_ptr_null(strstr(child->text + 1, REPORT));
}
END_TEST

/* Most frames of such a task are beyond the guard's first page. */
START_TEST(frames_of_12_kb_meet_the_guard)
{
	struct child *child = run_child(crash_by_12_kb);

	ck_assert(died_of(child, SIGSEGV));
	ck_assert(says(child, REPORT "1 has used up its 64 KiB" KNOB));
}
END_TEST

START_TEST(frame_larger_than_the_guard_does_not_jump_over_it)
{
	struct child *child = run_child(crash_at_once);

	ck_assert(died_of(child, SIGSEGV));
	ck_assert(says(child, REPORT "1 has used up its 64 KiB" KNOB));
}
END_TEST

/* --- overflows in calls of ours --- */

/* How much of its stack the task has left when it calls. */
static size_t left_over;

static ZS_NOINLINE void *stack_pointer(void)
{
	return __builtin_frame_address(0);
}

static ZS_NOINLINE int yield_after_filling(size_t size)
{
	volatile char filler[size];

	use(filler);
	return zs_yield();
}

static int yield_with_little_left(void *arg)
{
	struct zs_task *task = zs_self();
	size_t left = (size_t)((char *)stack_pointer() - task->stack->base);

	(void)arg;
	zs_task_set_name("culprit");
	/* So that the other one has a stack: to make it costs more of ours. */
	zs_yield();
	return yield_after_filling(left - left_over);
}

static int yield_twice(void *arg)
{
	(void)arg;
	zs_yield();
	return zs_yield();
}

static int yield_beside_another(void *arg)
{
	struct zs_nursery nursery;

	(void)arg;
	zs_nursery_open(&nursery, NULL);
	zs_nursery_spawn(nursery, yield_with_little_left, NULL);
	zs_nursery_spawn(nursery, yield_twice, NULL);
	return zs_nursery_wait(nursery);
}

static void crash_in_yield(void)
{
	run_here(yield_beside_another, 0);
}

/* From too little room by steps to enough: somewhere between, the last that is
 * written to the stack is the frame of the switch. */
START_TEST(overflow_inside_a_switch_is_reported)
{
	int nr_crashed = 0;

	for (left_over = 0;; left_over += STEP) {
		struct child *child = run_child(crash_in_yield);

		if (exited_with(child, 0))
			break;
		nr_crashed++;
		ck_assert(died_of(child, SIGSEGV));
		ck_assert_msg(says(child, "\"culprit\" has used up its "),
			      "with %zu bytes left: %s", left_over,
			      child->text);
	}
	ck_assert_int_gt(nr_crashed, 0);
}
END_TEST

/* --- who else is asked --- */

static void say(const char *text)
{
	if (write(STDERR_FILENO, text, strlen(text)) < 0)
		_exit(98);
}

static void earlier_handler(int number)
{
	say(number == SIGSEGV ? "<earlier>" : "<what?>");
	_exit(EARLIER_STATUS);
}

static void earlier_handler_with_info(int number, siginfo_t *info,
				      void *context)
{
	if (number != SIGSEGV || !context ||
	    info->si_addr != (void *)(uintptr_t)BAD_ADDRESS)
		say("<what?>");
	earlier_handler(number);
}

static void handle_segv(void (*handler)(int))
{
	struct sigaction action = { .sa_handler = handler };

	sigaction(SIGSEGV, &action, NULL);
}

static void handle_segv_with_info(void)
{
	struct sigaction action = {
		.sa_sigaction = earlier_handler_with_info,
		.sa_flags = SA_SIGINFO,
	};

	sigaction(SIGSEGV, &action, NULL);
}

static void overflow_before_a_handler(void)
{
	handle_segv(earlier_handler);
	crash_by_overflow();
}

static void bad_address_before_a_handler(void)
{
	handle_segv_with_info();
	crash_by_bad_address();
}

static void bad_address_while_ignored(void)
{
	handle_segv(SIG_IGN);
	crash_by_bad_address();
}

START_TEST(earlier_handler_is_called_after_the_report)
{
	struct child *child = run_child(overflow_before_a_handler);

	ck_assert(exited_with(child, EARLIER_STATUS));
	ck_assert_mem_eq(child->text, REPORT, strlen(REPORT));
	ck_assert(says(child, KNOB "<earlier>"));
}
END_TEST

START_TEST(other_faults_are_the_earlier_handlers)
{
	struct child *child = run_child(bad_address_before_a_handler);

	ck_assert(exited_with(child, EARLIER_STATUS));
	ck_assert_str_eq(child->text, "<earlier>");
}
END_TEST

START_TEST(other_faults_kill_where_there_is_no_handler)
{
	struct child *child = run_child(crash_by_bad_address);

	ck_assert(died_of(child, SIGSEGV));
	ck_assert(!says(child, "zsync: "));
}
END_TEST

/* As without us: the kernel does not ignore a fault. */
START_TEST(ignored_fault_kills)
{
	struct child *child = run_child(bad_address_while_ignored);

	ck_assert(died_of(child, SIGSEGV));
	ck_assert(!says(child, "zsync: "));
}
END_TEST

/* On the worker's own thread, and so before it returns. */
static int send_itself_segv(void *arg)
{
	(void)arg;
	raise(SIGSEGV);
	say("<lives>");
	return 0;
}

static void send_segv(void)
{
	run_here(send_itself_segv, 0);
}

static void send_segv_while_ignored(void)
{
	handle_segv(SIG_IGN);
	send_segv();
}

/* No instruction that faults again does it here. */
START_TEST(segv_that_was_sent_kills)
{
	struct child *child = run_child(send_segv);

	ck_assert(died_of(child, SIGSEGV));
	ck_assert(!says(child, "zsync: "));
	ck_assert(!says(child, "<lives>"));
}
END_TEST

START_TEST(segv_that_was_sent_and_is_ignored_does_nothing)
{
	struct child *child = run_child(send_segv_while_ignored);

	ck_assert(exited_with(child, 0));
	ck_assert_str_eq(child->text, "<lives>");
}
END_TEST

/* --- what is left alone --- */

START_TEST(kept_sigsegv_is_a_plain_crash)
{
	struct child *child = run_child(crash_by_overflow_kept);

	ck_assert(died_of(child, SIGSEGV));
	ck_assert(!says(child, "zsync: "));
}
END_TEST

static void *current_handler(void)
{
	struct sigaction action;

	ck_assert_int_eq(sigaction(SIGSEGV, NULL, &action), 0);
	return action.sa_flags & SA_SIGINFO ? (void *)action.sa_sigaction :
					      (void *)action.sa_handler;
}

static int expect_ours(void *arg)
{
	ck_assert_ptr_ne(current_handler(), arg);
	return 0;
}

static int expect_not_ours(void *arg)
{
	ck_assert_ptr_eq(current_handler(), arg);
	return 0;
}

START_TEST(handler_is_put_back_after_the_run)
{
	struct zs_config config = small_config();
	void *earlier = (void *)earlier_handler;

	handle_segv(earlier_handler);
	ck_assert_int_eq(zs_run(&config, expect_ours, earlier), 0);
	ck_assert_ptr_eq(current_handler(), earlier);
	config.flags = ZS_CONFIG_KEEP_SIGSEGV;
	ck_assert_int_eq(zs_run(&config, expect_not_ours, earlier), 0);
	ck_assert_ptr_eq(current_handler(), earlier);
}
END_TEST

static void stop_and_destroy(struct zs_runtime *runtime)
{
	ck_assert_int_eq(zs_runtime_stop(runtime, ZS_NEVER), 0);
	ck_assert_int_eq(zs_runtime_destroy(runtime), 0);
}

/* The first one that started ends first. */
START_TEST(handler_is_put_back_by_the_last_of_two_runtimes)
{
	struct zs_config config = small_config();
	void *earlier = (void *)earlier_handler;
	struct zs_runtime *first, *second;

	handle_segv(earlier_handler);
	ck_assert_int_eq(zs_runtime_create(&first, &config), 0);
	ck_assert_int_eq(zs_runtime_create(&second, &config), 0);
	ck_assert_ptr_eq(current_handler(), earlier);
	ck_assert_int_eq(zs_runtime_start(first), 0);
	ck_assert_int_eq(zs_runtime_start(second), 0);
	stop_and_destroy(first);
	ck_assert_ptr_ne(current_handler(), earlier);
	stop_and_destroy(second);
	ck_assert_ptr_eq(current_handler(), earlier);
}
END_TEST

static int install_handler(void *arg)
{
	(void)arg;
	handle_segv(earlier_handler);
	return 0;
}

START_TEST(handler_of_the_run_itself_is_kept)
{
	struct zs_config config = small_config();

	ck_assert_int_eq(zs_run(&config, install_handler, NULL), 0);
	ck_assert_ptr_eq(current_handler(), (void *)earlier_handler);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("overflow");
	TCase *tests = tcase_create("overflow");

	tcase_add_test(tests, runaway_recursion_is_reported);
	tcase_add_test(tests, frames_of_12_kb_meet_the_guard);
	tcase_add_test(tests,
		       frame_larger_than_the_guard_does_not_jump_over_it);
	tcase_add_test(tests, overflow_inside_a_switch_is_reported);
	tcase_add_test(tests, earlier_handler_is_called_after_the_report);
	tcase_add_test(tests, other_faults_are_the_earlier_handlers);
	tcase_add_test(tests, other_faults_kill_where_there_is_no_handler);
	tcase_add_test(tests, ignored_fault_kills);
	tcase_add_test(tests, segv_that_was_sent_kills);
	tcase_add_test(tests, segv_that_was_sent_and_is_ignored_does_nothing);
	tcase_add_test(tests, kept_sigsegv_is_a_plain_crash);
	tcase_add_test(tests, handler_is_put_back_after_the_run);
	tcase_add_test(tests, handler_is_put_back_by_the_last_of_two_runtimes);
	tcase_add_test(tests, handler_of_the_run_itself_is_kept);
	suite_add_tcase(suite, tests);
	return run_suite(suite);
}
