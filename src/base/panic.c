/* SPDX-License-Identifier: MIT */
/*
 * The end of a process whose invariants are broken. Called by ZS_ASSERT on any
 * thread, on stacks of any size, so nothing here allocates or uses stdio.
 */
#include "base/assert.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/text.h"

void (*zs_panic_state)(int fd);

/* Written by the first thread that panics: the state is printed once, and an
 * assertion that fails while it is printed does not start over. */
static atomic_flag state_printed = ATOMIC_FLAG_INIT;

void zs_panic(const char *file, int line, const char *what)
{
	struct zs_text text;

	zs_text_init(&text);
	zs_text_add(&text, "zsync: ");
	zs_text_add(&text, file);
	zs_text_add(&text, ":");
	zs_text_add_number(&text, line);
	zs_text_add(&text, ": assertion failed: ");
	zs_text_add(&text, what);
	zs_text_add(&text, "\n");
	zs_text_write(&text, STDERR_FILENO);
	/* relaxed: the flag publishes nothing, it only picks a winner. */
	if (zs_panic_state && !atomic_flag_test_and_set_explicit(
				      &state_printed, memory_order_relaxed))
		zs_panic_state(STDERR_FILENO);
	abort();
}
