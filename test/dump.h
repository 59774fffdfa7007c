/* SPDX-License-Identifier: MIT */
/* For tests of the dump: one as a string, and a line of it. */
#ifndef ZS_TEST_DUMP_H
#define ZS_TEST_DUMP_H

#include <check.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <zsync.h>

#include "child.h"

/* The dump, until the next one. */
static inline const char *dump(void)
{
	static char text[16384];
	int fd = memfd_create("dump", 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(zs_dump(fd), 0);
	ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
	read_all(fd, text, sizeof(text));
	close(fd);
	return text;
}

/* The one line that has @part in it, until the next call. */
static inline const char *line_with(const char *text, const char *part)
{
	static char line[600];
	const char *found = strstr(text, part);
	const char *begin = found, *end;

	ck_assert_msg(found, "no \"%s\" in:\n%s", part, text);
	ck_assert_ptr_null(strstr(found + 1, part));
	while (begin > text && begin[-1] != '\n')
		begin--;
	end = strchr(begin, '\n');
	ck_assert_ptr_nonnull(end);
	snprintf(line, sizeof(line), "%.*s", (int)(end - begin), begin);
	return line;
}

static inline void expect(const char *line, const char *part)
{
	ck_assert_msg(strstr(line, part), "no \"%s\" in: %s", part, line);
}

#endif
