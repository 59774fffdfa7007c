/* SPDX-License-Identifier: MIT */
/*
 * A poll of any number of descriptors, for the blocking engine: poll(2) refuses
 * more than RLIMIT_NOFILE, which may be lowered below what is open.
 */
#ifndef ZS_ENGINE_POLL_ANY_H
#define ZS_ENGINE_POLL_ANY_H

#include <poll.h>
#include <stdint.h>

/* As ppoll(2) for up to @wait_ns (INT64_MAX: without limit), but a negative
 * errno. Of entries that it may not look at it says now and then, every ten
 * milliseconds, that all they ask for has happened: their owners try. It may
 * return early for that, and never says so of the first one. *retry_ns is its
 * own, 0 at first. */
int zs_poll_any(struct pollfd *entries, uint32_t number, int64_t wait_ns,
		int64_t *retry_ns);

#endif
