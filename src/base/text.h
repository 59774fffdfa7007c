/* SPDX-License-Identifier: MIT */
/*
 * Text written where stdio may not be used: in signal handlers, on small
 * stacks, in a process that is about to abort. Everything here is
 * async-signal-safe and allocates nothing.
 */
#ifndef ZS_BASE_TEXT_H
#define ZS_BASE_TEXT_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

/* A line (or a few) being put together. What does not fit is cut. */
struct zs_text {
	size_t length;
	char bytes[512];
};

void zs_text_init(struct zs_text *text);
void zs_text_add(struct zs_text *text, const char *string);
void zs_text_add_number(struct zs_text *text, int64_t number);
void zs_text_add_hex(struct zs_text *text, uint64_t number);
/* "850 us", "12.3 ms", "4.1 s" */
void zs_text_add_duration(struct zs_text *text, int64_t duration_ns);
/* "64 KiB", "3 MiB", "100 B" */
void zs_text_add_size(struct zs_text *text, uint64_t bytes);
/* 0, or the errno of write(2), negated; the text is empty afterwards. */
int zs_text_write(struct zs_text *text, int fd);

#endif
