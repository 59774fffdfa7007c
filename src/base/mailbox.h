/* SPDX-License-Identifier: MIT */
/*
 * Mailbox: messages from any thread to one worker. Intrusive, no allocation,
 * never full; first in, first out for each sender, and for two senders whose
 * posts are ordered by happens-before.
 *
 * It is a stack that senders push to and that the owner takes whole and turns
 * round. Taking all at once means that there is no pop to race with, hence no
 * ABA problem and no half-linked state.
 */
#ifndef ZS_BASE_MAILBOX_H
#define ZS_BASE_MAILBOX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct zs_message {
	struct zs_message *next;
	uint32_t kind; /* the owner's business */
};

struct zs_mailbox {
	_Atomic(struct zs_message *) top;
};

static inline void zs_mailbox_init(struct zs_mailbox *mailbox)
{
	atomic_init(&mailbox->top, NULL);
}

/*
 * Any thread. @message belongs to the owner until it has handled it.
 * seq_cst, of which it needs two things: release publishes what the sender
 * wrote before (the owner's take acquires), and the total order with the
 * owner's "asleep" flag: see fall_asleep(), its partner.
 */
static inline void zs_mailbox_post(struct zs_mailbox *mailbox,
				   struct zs_message *message)
{
	/* relaxed: a stale top only makes the exchange fail once. */
	struct zs_message *top =
		atomic_load_explicit(&mailbox->top, memory_order_relaxed);

	do {
		message->next = top;
	} while (!atomic_compare_exchange_weak_explicit(
		&mailbox->top, &top, message, memory_order_seq_cst,
		memory_order_relaxed));
}

/* Owner. seq_cst load: the partner of the post in the sleep handshake. */
static inline bool zs_mailbox_empty(struct zs_mailbox *mailbox)
{
	return !atomic_load_explicit(&mailbox->top, memory_order_seq_cst);
}

/* Owner; several may share a mailbox, for what is taken is taken whole. All
 * messages, oldest first, linked by next; NULL if there are none. */
static inline struct zs_message *zs_mailbox_take(struct zs_mailbox *mailbox)
{
	struct zs_message *taken, *next, *oldest = NULL;

	/* relaxed: a message that is missed is found by the next look. */
	if (!atomic_load_explicit(&mailbox->top, memory_order_relaxed))
		return NULL;
	/* acquire: pairs with the release of each post. */
	taken = atomic_exchange_explicit(&mailbox->top, NULL,
					 memory_order_acquire);
	for (; taken; taken = next) {
		next = taken->next;
		taken->next = oldest;
		oldest = taken;
	}
	return oldest;
}

#endif
