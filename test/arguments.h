/* SPDX-License-Identifier: MIT */
/* For stand-ins of syscall(), which takes as many arguments as its caller has:
 * all there can be. */
#ifndef TEST_ARGUMENTS_H
#define TEST_ARGUMENTS_H

#include <stdarg.h>

enum { NR_ARGUMENTS = 6 };

/* What the caller has not given is read all the same, as by syscall() itself,
 * which is none of AddressSanitizer's business. */
__attribute__((no_sanitize("address"), noinline)) static void
take_arguments(long arguments[NR_ARGUMENTS], va_list list)
{
	int i;

	for (i = 0; i < NR_ARGUMENTS; i++)
		arguments[i] = va_arg(list, long);
}

#endif
