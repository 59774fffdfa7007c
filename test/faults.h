/* SPDX-License-Identifier: MIT */
/*
 * Fails the Nth: between the library and libc, for test_fail_nth.c. The linker
 * puts the functions here in the place of libc's (--wrap, see Kbuild), for the
 * program's own objects and so for the library's, not for what libc calls. One
 * kind of call fails at its Nth time while a fault is set; and what is made
 * while it is watched is known by address, so that a leak is named.
 */
#ifndef ZS_TEST_FAULTS_H
#define ZS_TEST_FAULTS_H

#include <stdbool.h>

/* Kinds of calls, each counted by itself. */
enum fault_point {
	FAULT_MALLOC,
	FAULT_CALLOC,
	FAULT_REALLOC,
	FAULT_ALIGNED_ALLOC,
	FAULT_MMAP,
	FAULT_MPROTECT,
	FAULT_MADVISE,
	FAULT_MREMAP,
	FAULT_URING_SETUP,
	FAULT_URING_ENTER,
	FAULT_URING_REGISTER,
	FAULT_EVENTFD,
	FAULT_PTHREAD_CREATE,
	FAULT_SIGALTSTACK,
	FAULT_SIGACTION,
	FAULT_GET_AFFINITY,
	FAULT_SET_AFFINITY,
	FAULT_FOPEN,
	FAULT_OPEN,
	FAULT_READ,
	FAULT_CLOSE, /* which closes all the same */
	FAULT_NANOSLEEP,
	NR_FAULT_POINTS
};

const char *fault_name(enum fault_point point);
/* The errno that it fails with, by index; 0 beyond the last. */
int fault_error(enum fault_point point, int index);

/* Any thread, no runtime in existence. */
void watch(void);
/* Likewise. From here to mend() or end_watch() the call of this number (0 is
 * the first) fails with @error, and if @for_good all that come after it. */
void set_fault(enum fault_point point, int number, int error, bool for_good);
/* Any thread. Nothing fails any more. */
void mend(void);
/* Has it failed? */
bool has_failed(void);
/* Fails the test if anything that was made since watch() is left. */
void end_watch(const char *during);

#endif
