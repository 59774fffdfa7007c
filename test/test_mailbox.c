/* SPDX-License-Identifier: MIT */
/*
 * The mailbox: order, and that nothing is lost or torn between threads.
 */
#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/compiler.h"
#include "base/mailbox.h"

enum {
	NUM_SENDERS = 4,
	NUM_MESSAGES = 20000, /* of each sender */
	NUM_ROUNDS = 2000,
};

struct letter {
	struct zs_message message;
	uint32_t sender;
	uint32_t number; /* plain memory: the post must publish it */
};

struct sender {
	struct zs_mailbox *mailbox;
	struct letter *letters;
	uint32_t id;
};

static struct letter *letter_of(struct zs_message *message)
{
	return zs_container_of(message, struct letter, message);
}

START_TEST(take_of_an_empty_mailbox_is_null)
{
	struct zs_mailbox mailbox;

	zs_mailbox_init(&mailbox);
	ck_assert(zs_mailbox_empty(&mailbox));
	ck_assert_ptr_null(zs_mailbox_take(&mailbox));
}
END_TEST

START_TEST(one_take_has_all_oldest_first)
{
	struct letter letters[5] = { 0 };
	struct zs_mailbox mailbox;
	struct zs_message *message;
	unsigned int count = 0;

	zs_mailbox_init(&mailbox);
	for (unsigned int i = 0; i < 5; i++)
		zs_mailbox_post(&mailbox, &letters[i].message);
	ck_assert(!zs_mailbox_empty(&mailbox));
	message = zs_mailbox_take(&mailbox);
	for (; message; message = message->next)
		ck_assert_ptr_eq(message, &letters[count++].message);
	ck_assert_uint_eq(count, 5);
	ck_assert(zs_mailbox_empty(&mailbox));
}
END_TEST

static void *send_all(void *arg)
{
	struct sender *sender = arg;

	for (uint32_t i = 0; i < NUM_MESSAGES; i++) {
		sender->letters[i].sender = sender->id;
		sender->letters[i].number = i;
		zs_mailbox_post(sender->mailbox, &sender->letters[i].message);
	}
	return NULL;
}

/* The owner takes while all senders post; it counts what each has sent. */
START_TEST(messages_of_a_sender_arrive_once_and_in_order)
{
	struct sender senders[NUM_SENDERS];
	pthread_t threads[NUM_SENDERS];
	uint32_t expected[NUM_SENDERS] = { 0 };
	uint32_t left = NUM_SENDERS * NUM_MESSAGES;
	struct zs_mailbox mailbox;

	zs_mailbox_init(&mailbox);
	for (uint32_t i = 0; i < NUM_SENDERS; i++) {
		senders[i].mailbox = &mailbox;
		senders[i].id = i;
		senders[i].letters =
			calloc(NUM_MESSAGES, sizeof(struct letter));
		ck_assert_int_eq(pthread_create(&threads[i], NULL, send_all,
						&senders[i]),
				 0);
	}
	while (left) {
		struct zs_message *message = zs_mailbox_take(&mailbox);

		if (!message)
			sched_yield();
		for (; message; message = message->next, left--) {
			struct letter *letter = letter_of(message);

			if (letter->number != expected[letter->sender]++)
				ck_abort_msg("out of order");
		}
	}
	for (uint32_t i = 0; i < NUM_SENDERS; i++) {
		pthread_join(threads[i], NULL);
		free(senders[i].letters);
	}
	ck_assert(zs_mailbox_empty(&mailbox));
}
END_TEST

struct relay {
	struct zs_mailbox mailbox;
	struct letter first[NUM_ROUNDS], second[NUM_ROUNDS];
	/* Written by the first sender: rounds it has posted. */
	_Atomic uint32_t posted;
};

static void *send_second(void *arg)
{
	struct relay *relay = arg;

	for (uint32_t i = 0; i < NUM_ROUNDS; i++) {
		/* acquire: its partner is the release in send_first(). */
		while (atomic_load_explicit(&relay->posted,
					    memory_order_acquire) <= i)
			sched_yield();
		relay->second[i].number = i;
		relay->second[i].sender = 1;
		zs_mailbox_post(&relay->mailbox, &relay->second[i].message);
	}
	return NULL;
}

static void *send_first(void *arg)
{
	struct relay *relay = arg;

	for (uint32_t i = 0; i < NUM_ROUNDS; i++) {
		relay->first[i].number = i;
		zs_mailbox_post(&relay->mailbox, &relay->first[i].message);
		/* release: orders the two posts of a round. */
		atomic_store_explicit(&relay->posted, i + 1,
				      memory_order_release);
	}
	return NULL;
}

/* The second sender posts only after it has seen that the first has: the owner
 * must never find the second's message of a round before the first's. */
START_TEST(posts_ordered_by_happens_before_arrive_in_that_order)
{
	struct relay *relay = calloc(1, sizeof(*relay));
	uint32_t expected[2] = { 0, 0 };
	pthread_t threads[2];

	zs_mailbox_init(&relay->mailbox);
	ck_assert_int_eq(pthread_create(&threads[0], NULL, send_first, relay),
			 0);
	ck_assert_int_eq(pthread_create(&threads[1], NULL, send_second, relay),
			 0);
	while (expected[1] < NUM_ROUNDS) {
		struct zs_message *message = zs_mailbox_take(&relay->mailbox);

		if (!message)
			sched_yield();
		for (; message; message = message->next) {
			struct letter *letter = letter_of(message);

			if (letter->number != expected[letter->sender]++)
				ck_abort_msg("out of order");
			if (expected[0] < expected[1])
				ck_abort_msg("effect before cause");
		}
	}
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	free(relay);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("mailbox");
	TCase *tests = tcase_create("mailbox");
	SRunner *runner;
	int nr_failed;

	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, take_of_an_empty_mailbox_is_null);
	tcase_add_test(tests, one_take_has_all_oldest_first);
	tcase_add_test(tests, messages_of_a_sender_arrive_once_and_in_order);
	tcase_add_test(tests,
		       posts_ordered_by_happens_before_arrive_in_that_order);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	nr_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return nr_failed != 0;
}
