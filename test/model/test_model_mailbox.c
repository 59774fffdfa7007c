/* SPDX-License-Identifier: MIT */
/*
 * Every execution of small programs on the mailbox: two senders and the owner.
 * No message is lost or taken twice, each is seen as it was written, those of
 * one sender come in their order, and so do those that the senders have ordered
 * among themselves.
 */
#include <stdlib.h>

#include "atomics.h"
#include "sweep.h"

#include "base/mailbox.h"

enum { MAX_MESSAGES = 8 };

static struct letter {
	struct zs_message message;
	int content; /* plain memory */
	bool is_taken;
} letters[MAX_MESSAGES];

static struct zs_mailbox mailbox;
static _Atomic(void *) told; /* by the first sender to the second */
static int num_letters;	     /* that are sent in this case */

static void make(int number)
{
	zs_mailbox_init(&mailbox);
	atomic_init(&told, NULL);
	num_letters = number;
	for (int i = 0; i < MAX_MESSAGES; i++)
		letters[i] = (struct letter){ .content = -1 };
}

static void make_two(void)
{
	make(2);
}

static void make_all(void)
{
	make(3 + sweep_bound());
}

/* Senders have the letters by turns. */
static void post(int number)
{
	struct letter *letter = &letters[number];

	model_write(letter);
	letter->content = number;
	zs_mailbox_post(&mailbox, &letter->message);
}

static void post_even(void)
{
	for (int i = 0; i < num_letters; i += 2)
		post(i);
}

static void post_odd(void)
{
	for (int i = 1; i < num_letters; i += 2)
		post(i);
}

static void post_and_tell(void)
{
	post(0);
	/* release: pairs with the acquire in post_when_told(). */
	atomic_store_explicit(&told, &told, memory_order_release);
}

static void post_when_told(void)
{
	model_await_pointer(&told);
	model_assert(atomic_load_explicit(&told, memory_order_acquire));
	post(1);
}

static int take_some(void)
{
	struct zs_message *message, *next;
	int number = 0;

	for (message = zs_mailbox_take(&mailbox); message; message = next) {
		struct letter *letter =
			zs_container_of(message, struct letter, message);
		ptrdiff_t index = letter - letters;

		next = message->next;
		/* A write: nobody else still has it. */
		model_write(letter);
		model_assert(letter->content == index);
		model_assert(!letter->is_taken);
		model_assert(index < 2 || letters[index - 2].is_taken);
		letter->is_taken = true;
		number++;
	}
	return number;
}

static void take_all(void)
{
	int taken = 0;

	while (taken < num_letters) {
		model_await_pointer(&mailbox.top);
		taken += take_some();
	}
	model_assert(taken == num_letters);
	model_assert(zs_mailbox_empty(&mailbox));
}

/* In order also across senders. */
static void take_two_in_order(void)
{
	int taken = 0;

	while (taken < 2) {
		model_await_pointer(&mailbox.top);
		taken += take_some();
		model_assert(letters[0].is_taken);
	}
}

static void take_what_is_there(void)
{
	take_some();
	take_some();
}

static void check_rest(void)
{
	take_some();
	for (int i = 0; i < num_letters; i++)
		model_assert(letters[i].is_taken);
}

static const struct model_case cases[] = {
	{ "two senders, owner waits",
	  make_all,
	  { take_all, post_even, post_odd },
	  NULL },
	{ "two senders, owner looks",
	  make_all,
	  { take_what_is_there, post_even, post_odd },
	  check_rest },
	{ "one tells the other to post",
	  make_two,
	  { take_two_in_order, post_and_tell, post_when_told },
	  NULL },
	{ 0 },
};

static const struct sweep_exception exceptions[] = {
	{ "zs_mailbox_post", MODEL_CAS, "&mailbox->top", memory_order_acq_rel,
	  "seq_cst is for the sleep handshake: see test_model_sleep" },
	{ "zs_mailbox_post", MODEL_CAS, "&mailbox->top", memory_order_release,
	  "the sender reads nothing of another's message" },
	{ "zs_mailbox_empty", MODEL_LOAD, "&mailbox->top", memory_order_acquire,
	  "seq_cst is for the sleep handshake: see test_model_sleep" },
	{ "zs_mailbox_empty", MODEL_LOAD, "&mailbox->top", memory_order_relaxed,
	  "who sees a message then takes it" },
	{ 0 },
};

static const char *const files[] = { "base/mailbox.h", NULL };

int main(void)
{
	static const struct sweep sweep = {
		.name = "mailbox",
		.cases = cases,
		.exceptions = exceptions,
		.files = files,
	};

	return sweep_main(&sweep);
}
