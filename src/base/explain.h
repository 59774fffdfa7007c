/* SPDX-License-Identifier: MIT */
/* The text behind zs_explain(): one a thread, left by the call that fails. */
#ifndef ZS_BASE_EXPLAIN_H
#define ZS_BASE_EXPLAIN_H

#include "base/compiler.h"

/* Keeps the formatted text as the explanation of @err and returns @err, so that
 * a failing function ends in `return zs_explain_as(-EINVAL, "...", ...)`. At
 * most 255 bytes are kept. */
int zs_explain_as(int err, const char *format, ...) ZS_PRINTF(2, 3);

/* For a call that fails with @err and has no text: what an earlier call left
 * must not pass for its own. Returns @err. Not needed for -ECANCELED and
 * -ETIMEDOUT, for which there are no texts. */
int zs_explain_none(int err);

#endif
