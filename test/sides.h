/* SPDX-License-Identifier: MIT */
/*
 * For stress tests of what tasks wait with: sides, each a task whose calls are
 * made in scopes that end at random, by a deadline or by another task.
 */
#ifndef ZS_TEST_SIDES_H
#define ZS_TEST_SIDES_H

#include "stress.h"
#include "workers.h"

enum {
	SIDE_MAX_CALLS = 20, /* in one scope */
	SIDE_LATEST_NS = 50000,
};

struct side {
	uint64_t random;
	uint32_t number;
	bool is_thread; /* and has no scope */
	/* What others cancel it by. */
	pthread_mutex_t lock;
	bool has_token;
	struct zs_cancel_token token;
	uint32_t calls; /* left in this scope */
};

static uint64_t nr_scopes_ended;

static inline void init_side(struct side *side, uint32_t number,
			     uint64_t *random)
{
	side->random = next_random(random) | 1;
	side->number = number;
	side->is_thread = false;
	side->has_token = false;
	side->calls = 0;
}

static inline void open_side(struct side *side)
{
	struct zs_cancel_token token;
	int64_t deadline_ns = ZS_NEVER;

	if (side->is_thread)
		return;
	if (below(&side->random, 3) == 0)
		deadline_ns = zs_now() + below(&side->random, SIDE_LATEST_NS);
	assert_ok(zs_cancel_token_open(&token, deadline_ns));
	pthread_mutex_lock(&side->lock);
	side->token = token;
	side->has_token = true;
	pthread_mutex_unlock(&side->lock);
	side->calls = 1 + below(&side->random, SIDE_MAX_CALLS);
}

static inline void close_side(struct side *side)
{
	if (side->is_thread)
		return;
	pthread_mutex_lock(&side->lock);
	side->has_token = false;
	pthread_mutex_unlock(&side->lock);
	if (zs_cancel_token_close(side->token) < 0)
		__atomic_fetch_add(&nr_scopes_ended, 1, __ATOMIC_RELAXED);
}

/* Between two calls, with the scope open: perhaps another one. */
static inline void turn_side(struct side *side)
{
	note_progress();
	if (side->is_thread)
		return;
	if (below(&side->random, 4) == 0)
		zs_yield();
	if (side->calls-- > 0)
		return;
	close_side(side);
	open_side(side);
}

static inline void cancel_side(struct side *side)
{
	pthread_mutex_lock(&side->lock);
	if (side->has_token)
		zs_cancel_token_cancel(side->token);
	pthread_mutex_unlock(&side->lock);
}

/* True: it was ended early; false: it has what it waited for. */
static inline bool side_was_ended(const struct side *side, int ret)
{
	if (ret == 0)
		return false;
	ck_assert_msg(!side->is_thread &&
			      (ret == -ECANCELED || ret == -ETIMEDOUT),
		      "%d", ret);
	return true;
}

#endif
