/* SPDX-License-Identifier: MIT */
/*
 * The text behind zs_explain(): a thread keeps the one that its last failing
 * call left. Called by everything that refuses a configuration, a start or a
 * spawn, from any thread.
 */
#include "base/explain.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "zsync/config.h"

enum {
	TEXT_SIZE = 256,
	STANDARD_SIZE = 64,
	LOWEST_ERRNO = -4095, /* the kernel's own limit */
};

/* The standard text has a buffer of its own: to ask about another error must
 * not lose the text that was kept. */
static _Thread_local int kept_err;
static _Thread_local char kept_text[TEXT_SIZE];
static _Thread_local char standard_text[STANDARD_SIZE];

#ifdef __GLIBC__
/* GNU's strerror_r() returns the text, which need not be in the buffer. */
static const char *describe(int number)
{
	return strerror_r(number, standard_text, sizeof(standard_text));
}
#else
static const char *describe(int number)
{
	if (strerror_r(number, standard_text, sizeof(standard_text)) != 0)
		return "unknown error";
	return standard_text;
}
#endif

int zs_explain_as(int err, const char *format, ...)
{
	int saved_errno = errno;
	va_list args;

	va_start(args, format);
	vsnprintf(kept_text, sizeof(kept_text), format, args);
	va_end(args);
	kept_err = err;
	errno = saved_errno;
	return err;
}

int zs_explain_none(int err)
{
	kept_err = 0;
	return err;
}

ZS_PUBLIC const char *zs_explain(int err)
{
	int saved_errno = errno;
	const char *text;

	if (err >= 0)
		return "success";
	if (err == kept_err)
		return kept_text;
	if (err < LOWEST_ERRNO)
		return "unknown error";
	text = describe(-err);
	errno = saved_errno;
	return text;
}
