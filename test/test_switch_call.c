/* SPDX-License-Identifier: MIT */
/*
 * The call on another stack (arch/), without a scheduler: each test calls from
 * its own stack, "outside", onto one that it has mapped, and may leave that by
 * a switch.
 */
#include "switch.h"

#include <check.h>
#include <fenv.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__has_include)
#if __has_include(<execinfo.h>)
#include <execinfo.h>
#define HAVE_BACKTRACE 1
#endif
#endif

#include "base/compiler.h"
#include "mem/stack.h"
#include "registers.h"
#include "sched/sanitize.h"

#define STACK_SIZE ((size_t)256 << 10)

static struct zs_stack stack;
static struct zs_sanitize_context outside, inside;
static void *outside_sp, *inside_sp;

static void map_stack(void)
{
	char *base = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(base, MAP_FAILED);
	stack = (struct zs_stack){ .base = base, .top = base + STACK_SIZE };
	zs_sanitize_thread_context(&outside);
	zs_sanitize_stack_create(&stack);
	zs_sanitize_stack_reuse(&stack);
	inside = zs_sanitize_stack_context(&stack);
}

static void unmap_stack(void)
{
	zs_sanitize_stack_destroy(&stack);
	munmap(stack.base, STACK_SIZE);
}

/* As the scheduler does it. */
static ZS_ALWAYS_INLINE void call(void (*entry)(void))
{
	void *fake = NULL;

	zs_sanitize_before_switch(&fake, &inside);
	zs_switch_call(&outside_sp, stack.top, entry);
	zs_sanitize_before_switch(NULL, &outside);
	zs_sanitize_after_switch(fake);
}

static uintptr_t frame_inside;
static uint64_t resume_outside;

static void look_around(void)
{
	const struct zs_switch_frame *frame = outside_sp;

	zs_sanitize_after_switch(NULL);
	frame_inside = (uintptr_t)__builtin_frame_address(0);
	resume_outside = frame->resume;
}

START_TEST(entry_runs_on_the_other_stack_and_returns)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);

	call(look_around);
	ck_assert_uint_gt(frame_inside, (uintptr_t)stack.base);
	ck_assert_uint_lt(frame_inside, (uintptr_t)stack.top);
	ck_assert_uint_gt((uintptr_t)stack.top - frame_inside, 0);
	ck_assert_uint_lt((uintptr_t)stack.top - frame_inside, 1024);
	/* And the caller is where a switch would have left it. */
	ck_assert_uint_lt((uintptr_t)outside_sp, here);
	ck_assert_uint_gt((uintptr_t)outside_sp + 4096, here);
	ck_assert_uint_ne(resume_outside, 0);
}
END_TEST

static uint64_t scratch[NUM_REGISTERS];
static bool is_outermost;

static void use_all_registers(void)
{
	uint64_t other[NUM_REGISTERS];

	zs_sanitize_after_switch(NULL);
	fill(other, 99);
	registers_across(other, scratch);
}

__attribute__((used)) void cross(void)
{
	is_outermost = !is_outermost;
	if (is_outermost)
		call(use_all_registers);
}

START_TEST(callee_saved_registers_survive_a_call)
{
	uint64_t before[NUM_REGISTERS], after[NUM_REGISTERS];

	fill(before, 1);
	is_outermost = false;
	registers_across(before, after);
	ck_assert_mem_eq(before, after, sizeof(before));
	ck_assert_uint_ne(scratch[0], before[0]);
}
END_TEST

static int rounding_inside;

static void round_upward(void)
{
	zs_sanitize_after_switch(NULL);
	rounding_inside = fegetround();
	fesetround(FE_UPWARD);
}

/* By both control words of x86. */
static bool thirds_round_down(void)
{
	volatile double one = 1, minus_three = -3;
	volatile long double long_one = 1, long_three = 3, long_third;

	long_third = long_one / long_three;
	return one / minus_three < -0x1.5555555555555p-2 &&
	       long_third + long_third + long_third < 1;
}

START_TEST(rounding_mode_is_the_abis_inside_and_the_callers_afterwards)
{
	call(round_upward);
	ck_assert_int_eq(rounding_inside, FE_TONEAREST);
	ck_assert_int_eq(fegetround(), FE_TONEAREST);
	ck_assert_int_eq(fesetround(FE_DOWNWARD), 0);
	call(round_upward);
	ck_assert_int_eq(rounding_inside, FE_TONEAREST);
	ck_assert_int_eq(fegetround(), FE_DOWNWARD);
	ck_assert(thirds_round_down());
	fesetround(FE_TONEAREST);
}
END_TEST

static struct zs_stack second_stack;
static struct zs_sanitize_context second;
static void *second_sp;
static int steps[4], num_steps;

static void step(int number)
{
	steps[num_steps++] = number;
}

/* What the called one gives way to; goes back to it. */
static void run_meanwhile(void *unused)
{
	(void)unused;
	zs_sanitize_after_switch(NULL);
	step(2);
	zs_sanitize_before_switch(NULL, &inside);
	zs_switch(&second_sp, inside_sp);
}

static void give_way(void)
{
	void *fake = NULL;

	zs_sanitize_after_switch(NULL);
	step(1);
	zs_sanitize_before_switch(&fake, &second);
	zs_switch(&inside_sp, second_sp);
	zs_sanitize_after_switch(fake);
	step(3);
}

START_TEST(call_returns_when_one_that_gave_way_has_returned)
{
	char *base = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	const int expected[] = { 1, 2, 3, 4 };

	ck_assert_ptr_ne(base, MAP_FAILED);
	second_stack =
		(struct zs_stack){ .base = base, .top = base + STACK_SIZE };
	zs_sanitize_stack_create(&second_stack);
	second = zs_sanitize_stack_context(&second_stack);
	second_sp = zs_switch_prepare(second_stack.top, run_meanwhile, NULL);
	num_steps = 0;
	call(give_way);
	step(4);
	ck_assert_mem_eq(steps, expected, sizeof(expected));
	zs_sanitize_stack_destroy(&second_stack);
	munmap(base, STACK_SIZE);
}
END_TEST

#ifdef HAVE_BACKTRACE
static void *trace[64];
static int trace_depth;

static __attribute__((noinline)) void trace_here(int depth)
{
	if (depth > 0)
		trace_here(depth - 1);
	else
		trace_depth = backtrace(trace, 64);
	/* No tail call: the frames are what is counted. */
	__asm__ volatile("" ::: "memory");
}

static void trace_inside(void)
{
	zs_sanitize_after_switch(NULL);
	trace_here(10);
	__asm__ volatile("" ::: "memory");
}

/* Nor can an exception get from one task into another. */
START_TEST(backtrace_ends_at_the_call)
{
	uintptr_t last, call_starts = (uintptr_t)zs_switch_call;

	call(trace_inside);
	ck_assert_int_ge(trace_depth, 13);
	ck_assert_int_le(trace_depth, 14);
	last = (uintptr_t)trace[trace_depth - 1];
	ck_assert_uint_gt(last, call_starts);
	ck_assert_uint_lt(last, call_starts + 256);
}
END_TEST
#endif

int main(void)
{
	Suite *suite = suite_create("switch_call");
	TCase *tcase = tcase_create("switch_call");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, map_stack, unmap_stack);
	tcase_add_test(tcase, entry_runs_on_the_other_stack_and_returns);
	tcase_add_test(tcase, callee_saved_registers_survive_a_call);
	tcase_add_test(
		tcase,
		rounding_mode_is_the_abis_inside_and_the_callers_afterwards);
	tcase_add_test(tcase, call_returns_when_one_that_gave_way_has_returned);
#ifdef HAVE_BACKTRACE
	tcase_add_test(tcase, backtrace_ends_at_the_call);
#else
	printf("skipped: backtrace_ends_at_the_call, this libc has no "
	       "backtrace()\n");
#endif
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
