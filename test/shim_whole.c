/* SPDX-License-Identifier: MIT */
/* Linked into a program with the reap shim: transfers are not shortened. See
 * shim.c. */
#include <stdbool.h>

extern const bool shim_keeps_whole;
const bool shim_keeps_whole = true;
