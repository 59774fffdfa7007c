/* SPDX-License-Identifier: MIT */
/*
 * Every execution of small programs on the work-stealing deque: the owner at
 * both ends against one thief and against two, with the array growing under
 * them. Each item is taken by one, who sees what was written to it before it
 * was pushed, and none is left.
 */
#include <stdlib.h>

#include "atomics.h"
#include "sweep.h"

#define malloc(size) model_alloc(size)
#define free(memory) ((void)(memory))

#include "base/deque.c"

enum { MAX_ITEMS = 6 };

static struct zs_deque deque;
static int items[MAX_ITEMS + 1]; /* plain memory; who has taken it, or 0 */
static int num_pushed;

static void make(int64_t capacity)
{
	for (int i = 0; i < MAX_ITEMS; i++)
		items[i] = 0;
	num_pushed = 0;
	model_assert(zs_deque_init(&deque, capacity, false) == 0);
}

static void make_one(void)
{
	make(1);
}

static void make_two(void)
{
	make(2);
}

static void push(void)
{
	model_write(&items[num_pushed]);
	model_assert(zs_deque_push(&deque, &items[num_pushed]) == 0);
	num_pushed++;
}

/* Taking is a write, so that nobody else can have it. */
static bool had(int *item)
{
	if (!item)
		return false;
	model_assert(item >= items && item < items + MAX_ITEMS);
	model_write(item);
	model_assert(*item == 0);
	*item = 1 + model_thread();
	return true;
}

static void steal(void)
{
	had(zs_deque_steal(&deque));
}

static void steal_twice(void)
{
	steal();
	steal();
}

static void steal_thrice(void)
{
	steal_twice();
	steal();
}

static bool take_bottom(void)
{
	return had(zs_deque_take_bottom(&deque));
}

static bool take_top(void)
{
	return had(zs_deque_take_top(&deque));
}

static void check(void)
{
	while (take_bottom())
		;
	for (int i = 0; i < num_pushed; i++)
		model_assert(items[i] != 0);
	for (int i = num_pushed; i < MAX_ITEMS; i++)
		model_assert(items[i] == 0);
	zs_deque_fini(&deque);
}

/* --- owners --- */

static void push_and_take(void)
{
	push();
	take_bottom();
}

static void push_two_and_take(void)
{
	push();
	push();
	take_bottom();
	take_bottom();
}

/* Of capacity 1: the second push grows it, the third once more. */
static void push_three_and_take(void)
{
	push();
	push();
	push();
	take_bottom();
	take_bottom();
}

static void push_two_and_take_top(void)
{
	push();
	push();
	take_top();
	take_bottom();
}

/* The slots are used again, by pushes that follow takes. */
static void push_around(void)
{
	push();
	take_bottom();
	push();
	push();
	push();
	take_bottom();
}

/* What was taken is pushed over: the array wraps. */
static void push_over(void)
{
	push();
	push();
	take_top();
	push();
	push();
}

static const struct model_case cases[] = {
	{ "one item, owner and thief",
	  make_two,
	  { push_and_take, steal },
	  check },
	{ "two items, owner and thief",
	  make_two,
	  { push_two_and_take, steal_twice },
	  check },
	{ "two items, both ends",
	  make_two,
	  { push_two_and_take_top, steal_twice },
	  check },
	{ "two items, owner and two thieves",
	  make_two,
	  { push_two_and_take, steal, steal },
	  check },
	{ "growth, owner and thief",
	  make_one,
	  { push_three_and_take, steal_thrice },
	  check },
	{ "slots used again", make_two, { push_around, steal_twice }, check },
	{ "wrapping and growth", make_two, { push_over, steal_twice }, check },
	{ "growth, owner and two thieves",
	  make_one,
	  { push_three_and_take, steal, steal },
	  check },
	{ 0 },
};

static const struct model_case large_cases[] = {
	{ "two items, owner and three thieves",
	  make_two,
	  { push_two_and_take, steal, steal, steal },
	  check },
	{ "slots used again, two thieves",
	  make_two,
	  { push_around, steal, steal },
	  check },
	{ 0 },
};

static const struct model_case huge_cases[] = {
	{ "growth, owner and two thieves twice",
	  make_one,
	  { push_three_and_take, steal_twice, steal_twice },
	  check },
	{ 0 },
};

#define ONE_OF_TWO "the claim or the thief's look at top has to be, not both"

static const struct sweep_exception exceptions[] = {
	{ "claim", MODEL_CAS, "&deque->top", memory_order_acq_rel, ONE_OF_TWO },
	{ "claim", MODEL_CAS, "&deque->top", memory_order_release,
	  "what was pushed is acquired from bottom" },
	{ "zs_deque_steal", MODEL_LOAD, "&deque->top", memory_order_acquire,
	  ONE_OF_TWO },
	{ "zs_deque_take_contended", MODEL_STORE, "&deque->bottom",
	  memory_order_relaxed,
	  "top is at least as far by then, so who reads it claims in vain" },
	{ 0 },
};

static const struct sweep_bug bugs[] = {
	{ "neither the claim nor the thief's look at top is seq_cst",
	  { { .function = "claim",
	      .kind = MODEL_CAS,
	      .object = "&deque->top",
	      .is_weakened = true,
	      .order = memory_order_acq_rel },
	    { .function = "zs_deque_steal",
	      .kind = MODEL_LOAD,
	      .object = "&deque->top",
	      .is_weakened = true,
	      .order = memory_order_acquire } } },
	{ 0 },
};

static const char *const files[] = { "base/deque.c", "base/deque.h", NULL };

int main(void)
{
	static const struct sweep sweep = {
		.name = "deque",
		.cases = cases,
		.large_cases = large_cases,
		.huge_cases = huge_cases,
		.exceptions = exceptions,
		.bugs = bugs,
		.files = files,
	};

	return sweep_main(&sweep);
}
