/* SPDX-License-Identifier: MIT */
/*
 * What the parts of zsync-counts share: counts.c has the table of bounds,
 * counts_tool.c runs this program under callgrind or strace, counts_work.c is
 * what is run there.
 */
#ifndef ZS_BENCH_COUNTS_H
#define ZS_BENCH_COUNTS_H

#include <stdbool.h>
#include <stdint.h>
#include <zsync/config.h>

/* An echo server by name. */
struct counts_server {
	const char *name;
	int (*serve)(void *round);
	enum zs_execution_model execution_model;
};

/* --- counts_work.c: on its own, or under a tool --- */

/* Does the work called @name @count times. 0 or a negative errno. */
int counts_work_run(const char *name, uint64_t count);

/* NULL: there is none. */
const struct counts_server *counts_work_find_server(const char *name);

/* The echo server called @name, for the round whose memory is descriptor
 * @fd. 0 or a negative errno. */
int counts_work_serve(const char *name, int fd);

/* --- counts_tool.c --- */

/* Is valgrind installed? */
bool counts_has_callgrind(void);

/* User instructions that one of @few to @many takes, their difference, so that
 * start and end do not count. Negative errno: why not, after a message. */
double counts_instructions(const char *work, uint64_t few, uint64_t many);

/* The same of a round trip, of the server called @name. */
double counts_echo_instructions(const char *server);

/* System calls that a round trip takes of the server called @name: the median
 * of some rounds by the kernel's tracepoint, or by strace where that is not to
 * be had; *@how says which. Negative errno as above. */
double counts_echo_calls(const char *server, const char **how);

#endif
