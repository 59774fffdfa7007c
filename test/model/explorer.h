/* SPDX-License-Identifier: MIT */
/* The explorer, for the accesses of the code under test. */
#ifndef ZS_TEST_MODEL_EXPLORER_H
#define ZS_TEST_MODEL_EXPLORER_H

struct model_op;

/* On the thread that makes the access; returns when it has been made. */
void explorer_perform(struct model_op *op);

#endif
