/* SPDX-License-Identifier: MIT */
/*
 * The switch between stacks (arch/) and the sanitizers' hooks, which are in
 * sched/sanitize.h, without a scheduler: each test hops by hand between its own
 * stack, "outside", and one or two contexts.
 */
#include "switch.h"

#include <check.h>
#include <fenv.h>
#include <signal.h>
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

struct context {
	void *sp;
	struct zs_sanitize_context sanitize;
	struct zs_stack stack;
};

static struct context outside;
static struct context inside;
static struct context second;

/* Always inlined, so that the tests see zs_switch() in their own code, as the
 * scheduler does. */
static ZS_ALWAYS_INLINE void hop(struct context *from, const struct context *to)
{
	void *fake = NULL;

	zs_sanitize_before_switch(&fake, &to->sanitize);
	zs_switch(&from->sp, to->sp);
	zs_sanitize_after_switch(fake);
}

static void start(struct context *context, void (*entry)(void *), void *arg)
{
	void *base;

	base = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(base, MAP_FAILED);
	*context = (struct context){
		.stack = { .base = base, .top = (char *)base + STACK_SIZE },
	};
	zs_sanitize_stack_create(&context->stack);
	zs_sanitize_stack_reuse(&context->stack);
	context->sanitize = zs_sanitize_stack_context(&context->stack);
	context->sp = zs_switch_prepare(context->stack.top, entry, arg);
}

static void end(struct context *context)
{
	zs_sanitize_stack_destroy(&context->stack);
	munmap(context->stack.base, STACK_SIZE);
}

static void setup(void)
{
	memset(&outside, 0, sizeof(outside));
	zs_sanitize_thread_context(&outside.sanitize);
}

#if defined(__x86_64__)
#define TRAP_SIGNAL SIGILL
#elif defined(__aarch64__)
#define TRAP_SIGNAL SIGTRAP
#endif

static bool hop_inwards;

__attribute__((used)) void cross(void)
{
	hop_inwards = !hop_inwards;
	if (hop_inwards)
		hop(&outside, &inside);
	else
		hop(&inside, &outside);
}

static bool inside_kept;

static void keep_registers_inside(void *arg)
{
	uint64_t before[NUM_REGISTERS], after[NUM_REGISTERS];
	uint64_t round;

	(void)arg;
	zs_sanitize_after_switch(NULL);
	inside_kept = true;
	for (round = 1;; round += 2) {
		fill(before, round);
		registers_across(before, after);
		if (memcmp(before, after, sizeof(before)) != 0)
			inside_kept = false;
	}
}

/* Both sides fill the registers with their own patterns, then hop. */
START_TEST(callee_saved_registers_survive_a_switch)
{
	uint64_t before[NUM_REGISTERS], after[NUM_REGISTERS];
	uint64_t round;

	start(&inside, keep_registers_inside, NULL);
	hop_inwards = false;
	for (round = 2; round < 200; round += 2) {
		fill(before, round);
		memset(after, 0, sizeof(after));
		registers_across(before, after);
		ck_assert_mem_eq(before, after, sizeof(before));
	}
	ck_assert(inside_kept);
	end(&inside);
}
END_TEST

/* Whether a third comes out larger than exact, in the unit for double and in
 * that for long double (on x86, each with its own control word). */
static bool thirds_round_up(void)
{
	volatile double one = 1, three = 3;
	volatile long double long_one = 1, long_three = 3, long_third;
	bool up = one / three > 0x1.5555555555555p-2;

	long_third = long_one / long_three;
	if (up)
		return long_third + long_third + long_third > 1;
	ck_assert(long_third + long_third + long_third <= 1);
	return false;
}

static int rounding_inside[2];
static bool thirds_rounded_up;

static void round_upward(void *arg)
{
	(void)arg;
	zs_sanitize_after_switch(NULL);
	rounding_inside[0] = fegetround();
	fesetround(FE_UPWARD);
	hop(&inside, &outside);
	rounding_inside[1] = fegetround();
	thirds_rounded_up = thirds_round_up();
	hop(&inside, &outside);
}

/* The context is started by one that rounds downwards, which it must neither
 * inherit nor, rounding upwards itself, disturb. */
START_TEST(each_context_has_its_own_rounding_mode)
{
	start(&inside, round_upward, NULL);
	ck_assert_int_eq(fesetround(FE_DOWNWARD), 0);
	hop(&outside, &inside);
	ck_assert_int_eq(rounding_inside[0], FE_TONEAREST);
	ck_assert_int_eq(fegetround(), FE_DOWNWARD);
	ck_assert(!thirds_round_up());
	fesetround(FE_TONEAREST);
	hop(&outside, &inside);
	ck_assert_int_eq(rounding_inside[1], FE_UPWARD);
	ck_assert(thirds_rounded_up);
	ck_assert_int_eq(fegetround(), FE_TONEAREST);
	end(&inside);
}
END_TEST

static uintptr_t frame_at_entry;
static void *argument_at_entry;

static void note_frame(void *arg)
{
	zs_sanitize_after_switch(NULL);
	argument_at_entry = arg;
	frame_at_entry = (uintptr_t)__builtin_frame_address(0);
	hop(&inside, &outside);
}

/* The compiler places the entry function's frame as its ABI says, relative to
 * the stack pointer it was called with; tops of any alignment are tried. */
START_TEST(entry_gets_its_argument_on_an_aligned_stack)
{
	uintptr_t top;
	int odd;

	for (odd = 0; odd < 64; odd += 7) {
		start(&inside, note_frame, NULL);
		top = (uintptr_t)inside.stack.top - (uintptr_t)odd;
		inside.sp = zs_switch_prepare((void *)top, note_frame, &odd);
		hop(&outside, &inside);
		ck_assert_ptr_eq(argument_at_entry, &odd);
		ck_assert_uint_eq(frame_at_entry % 16, 0);
		ck_assert_uint_lt(frame_at_entry, top);
		ck_assert_uint_gt(frame_at_entry, top - 256);
		end(&inside);
	}
}
END_TEST

/* Eight chaotic sequences that no bit may be lost of, kept in registers. */
static ZS_ALWAYS_INLINE double wander(double seed, struct context *from,
				      const struct context *to)
{
	double a = seed, b = seed / 2, c = seed / 3, d = seed / 4;
	double e = seed / 5, f = seed / 6, g = seed / 7, h = seed / 8;
	int i;

	for (i = 0; i < 1000; i++) {
		a = 3.9 * a * (1 - a);
		b = 3.8 * b * (1 - b);
		c = 3.7 * c * (1 - c);
		d = 3.9 * d * (1 - d);
		if (from)
			hop(from, to);
		e = 3.8 * e * (1 - e);
		f = 3.7 * f * (1 - f);
		g = 3.9 * g * (1 - g);
		h = 3.8 * h * (1 - h);
	}
	return a + b + c + d + e + f + g + h;
}

static double sum_inside;

static void wander_inside(void *arg)
{
	(void)arg;
	zs_sanitize_after_switch(NULL);
	sum_inside = wander(0.7, &inside, &outside);
	hop(&inside, &outside);
}

START_TEST(floating_point_survives_a_switch)
{
	double sum;

	start(&inside, wander_inside, NULL);
	sum = wander(0.4, &outside, &inside);
	hop(&outside, &inside);
	ck_assert(sum == wander(0.4, NULL, NULL));
	ck_assert(sum_inside == wander(0.7, NULL, NULL));
	end(&inside);
}
END_TEST

/* It calls nothing, so it may keep its array below its stack pointer. */
static __attribute__((noinline)) uint64_t sum_in_red_zone(uint64_t seed)
{
	volatile uint64_t kept[12];
	uint64_t sum = 0;
	int i;

	for (i = 0; i < 12; i++)
		kept[i] = seed + (uint64_t)i;
	hop(&outside, &inside);
	for (i = 0; i < 12; i++)
		sum += kept[i];
	return sum;
}

static uint64_t pongs;

static void pong_forever(void *arg)
{
	(void)arg;
	zs_sanitize_after_switch(NULL);
	for (;;) {
		pongs++;
		hop(&inside, &outside);
	}
}

START_TEST(red_zone_survives_a_switch)
{
	start(&inside, pong_forever, NULL);
	ck_assert_uint_eq(sum_in_red_zone(1000), 12 * 1000 + 66);
	end(&inside);
}
END_TEST

START_TEST(a_million_switches_there_and_back)
{
	uint64_t i;

	start(&inside, pong_forever, NULL);
	pongs = 0;
	for (i = 1; i <= 1000000; i++) {
		hop(&outside, &inside);
		ck_assert_uint_eq(pongs, i);
	}
	end(&inside);
}
END_TEST

static int order[6];
static int num_steps;

static void first_of_two(void *arg)
{
	(void)arg;
	zs_sanitize_after_switch(NULL);
	order[num_steps++] = 1;
	hop(&inside, &second);
	order[num_steps++] = 3;
	hop(&inside, &second);
}

static void second_of_two(void *arg)
{
	(void)arg;
	zs_sanitize_after_switch(NULL);
	order[num_steps++] = 2;
	hop(&second, &inside);
	order[num_steps++] = 4;
	hop(&second, &outside);
}

START_TEST(contexts_switch_to_each_other)
{
	start(&inside, first_of_two, NULL);
	start(&second, second_of_two, NULL);
	num_steps = 0;
	hop(&outside, &inside);
	order[num_steps++] = 5;
	ck_assert_int_eq(num_steps, 5);
	while (num_steps-- > 0)
		ck_assert_int_eq(order[num_steps], num_steps + 1);
	end(&inside);
	end(&second);
}
END_TEST

/* Leaves for good: its frames never return. */
static void leave_for_good(void *arg)
{
	volatile char dirt[512];
	void *sp;

	zs_sanitize_after_switch(NULL);
	memset((char *)dirt, *(int *)arg, sizeof(dirt));
	*(int *)arg += dirt[511];
	zs_sanitize_before_switch(NULL, &outside.sanitize);
	zs_switch(&sp, outside.sp);
}

START_TEST(a_stack_is_used_again_after_its_context_has_ended)
{
	int value = 1, round;

	start(&inside, leave_for_good, &value);
	for (round = 0; round < 5; round++) {
		hop(&outside, &inside);
		zs_sanitize_stack_create(&inside.stack);
		zs_sanitize_stack_reuse(&inside.stack);
		inside.sp = zs_switch_prepare(inside.stack.top, leave_for_good,
					      &value);
	}
	ck_assert_int_eq(value, 32);
	end(&inside);
}
END_TEST

START_TEST(a_new_context_rests_in_the_trampoline)
{
	const struct zs_switch_frame *frame;

	start(&inside, pong_forever, NULL);
	frame = inside.sp;
	ck_assert_uint_eq(frame->resume, (uintptr_t)zs_switch_start);
	ck_assert_ptr_eq(inside.stack.top, (char *)inside.sp + ZS_FRAME_SPAN);
	end(&inside);
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

static void trace_inside(void *arg)
{
	(void)arg;
	zs_sanitize_after_switch(NULL);
	trace_here(10);
	hop(&inside, &outside);
}

/* libgcc's unwinder, by the CFI alone: twelve frames of ours, and after them
 * the trampoline, where it must stop, though there is what could be another
 * return address. */
START_TEST(backtrace_ends_at_the_trampoline)
{
	uintptr_t last, trampoline = (uintptr_t)zs_switch_trampoline;
	uintptr_t *above;

	start(&inside, trace_inside, NULL);
	above = (uintptr_t *)inside.stack.top - 2;
	above[0] = (uintptr_t)trace_inside + 8;
	above[1] = above[0];
	inside.sp = zs_switch_prepare(above, trace_inside, NULL);
	hop(&outside, &inside);
	ck_assert_int_ge(trace_depth, 13);
	ck_assert_int_le(trace_depth, 14);
	last = (uintptr_t)trace[trace_depth - 1];
	ck_assert_uint_gt(last, trampoline);
	ck_assert_uint_lt(last, trampoline + 32);
	end(&inside);
}
END_TEST
#endif

static void return_at_once(void *arg)
{
	(void)arg;
	zs_sanitize_after_switch(NULL);
}

/* Check expects the signal. ASan's own handler would hide it. */
START_TEST(an_entry_that_returns_traps)
{
	signal(TRAP_SIGNAL, SIG_DFL);
	start(&inside, return_at_once, NULL);
	hop(&outside, &inside);
}
END_TEST

/* No thread of a program that links switch.S has one, unless something forces
 * it on; then a runtime refuses to start, and this test fails. */
START_TEST(no_shadow_stack_is_active)
{
	ck_assert_uint_eq(zs_switch_shadow_stack(), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("switch");
	TCase *tcase = tcase_create("switch");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, NULL);
	tcase_add_test(tcase, callee_saved_registers_survive_a_switch);
	tcase_add_test(tcase, each_context_has_its_own_rounding_mode);
	tcase_add_test(tcase, entry_gets_its_argument_on_an_aligned_stack);
	tcase_add_test(tcase, floating_point_survives_a_switch);
	tcase_add_test(tcase, red_zone_survives_a_switch);
	tcase_add_test(tcase, a_million_switches_there_and_back);
	tcase_add_test(tcase, contexts_switch_to_each_other);
	tcase_add_test(tcase,
		       a_stack_is_used_again_after_its_context_has_ended);
	tcase_add_test(tcase, a_new_context_rests_in_the_trampoline);
#ifdef HAVE_BACKTRACE
	tcase_add_test(tcase, backtrace_ends_at_the_trampoline);
#else
	printf("skipped: backtrace_ends_at_the_trampoline, this libc has no "
	       "backtrace()\n");
#endif
	tcase_add_test_raise_signal(tcase, an_entry_that_returns_traps,
				    TRAP_SIGNAL);
	tcase_add_test(tcase, no_shadow_stack_is_active);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
