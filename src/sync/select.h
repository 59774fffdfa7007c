/* SPDX-License-Identifier: MIT */
/*
 * One zs_select() under way: what select.c, which does the channels, and
 * select_task.c, which does the rest, have in common. All on the stack of
 * who selects, or apart where there are many cases.
 */
#ifndef ZS_SYNC_SELECT_H
#define ZS_SYNC_SELECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sync/chan.h"
#include "sync/wait.h"
#include "zsync/nursery.h"
#include "zsync/select.h"
#include "zsync/time.h"

struct zs_select_slot {
	struct zs_waiter waiter; /* a channel's case */
	uint32_t order;		 /* the cases, by their channels' addresses */
	uint32_t shuffled;	 /* the cases, at random */
	bool by_bias;		 /* of the channel that is order's */
};

struct zs_select {
	struct zs_select_case *cases;
	struct zs_select_slot *slots;
	uint32_t number;
	uint32_t num_chans;  /* cases with a channel */
	uint32_t num_others; /* cases that tasks wait for */
	struct zs_choice choice;
	/* Of the waiter by which who selects is woken where no channel does it;
	 * its result is how the wait was ended then. */
	struct zs_waiter waiter;
	struct zs_timer timer;
	struct zs_nursery nursery; /* of the tasks that wait */
};

/* Claims the choice for @number, a case or one of those below. False: another
 * has it. */
bool zs_select_claim(struct zs_select *select, uint32_t number);
enum {
	ZS_SELECT_BY_CANCEL = UINT32_MAX - 3,
	ZS_SELECT_BY_DEADLINE,
};

/* Is it a case that is no channel's, and may happen? */
bool zs_select_is_other(const struct zs_select_case *one);
/* Does it happen now? Then its result is set. */
bool zs_select_other_happens(struct zs_select_case *one);
/* Task. Starts to wait for them; 0, or a negative errno and nothing waits. */
int zs_select_begin_others(struct zs_select *select);
/* When the choice has been made. */
void zs_select_end_others(struct zs_select *select);

#endif
