/* SPDX-License-Identifier: MIT */
/*
 * What every model test does: its cases pass, and each memory order of the code
 * under test is needed, because one of the cases fails if it is weakened. For
 * the test programs of this folder, which are one check test each way.
 */
#ifndef ZS_TEST_MODEL_SWEEP_H
#define ZS_TEST_MODEL_SWEEP_H

#include "model.h"

/* A weaker order with which no case fails. */
struct sweep_exception {
	const char *function;
	enum model_op_kind kind;
	const char *object;
	memory_order order; /* the weaker one */
	const char *reason;
};

/* What makes a bug of an access. */
struct sweep_change {
	const char *function;
	enum model_op_kind kind;
	const char *object;
	bool is_weakened;
	memory_order order;    /* if it is */
	uint64_t cleared_bits; /* of what it writes */
};

struct sweep_bug {
	const char *name;
	struct sweep_change changes[2]; /* or the first alone */
};

/* Of a program. Lists end with an empty one. */
struct sweep {
	const char *name;
	const struct model_case *cases;
	/* Not run again for each bug; and only with MODEL_BOUND. May be
	 * NULL. */
	const struct model_case *large_cases, *huge_cases;
	const struct sweep_exception *exceptions; /* may be NULL */
	const struct sweep_bug *bugs;		  /* may be NULL */
	/* Whose orders are weakened: files whose name ends in one of these. */
	const char *const *files;
};

/* Does what is said above as tests of Check; the program's status. It prints
 * the numbers, and with MODEL_VERBOSE how each bug was found. */
int sweep_main(const struct sweep *sweep);

/* MODEL_BOUND of the environment, 0 by default: more adds the huge cases, and
 * makes larger those that look at it. */
int sweep_bound(void);

#endif
