/* SPDX-License-Identifier: MIT */
/*
 * The way into the reap shim: the program's own syscall() and close() are what
 * the engine's calls link to. Any thread.
 *
 * The engine maps and fills a file of the shim's, whose descriptor it takes for
 * the ring's; an enter moves entries from there to the kernel's ring, and
 * completions back. So the engine learns of a completion by an enter alone;
 * TASKRUN, which is always set, tells it that each is worth while.
 */
#include "shim.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "arguments.h"
#include "base/clock.h"
#include "engine/memcheck.h"
#include "shim_ring.h"

enum {
	PROBE_ENTRIES = 2,
	DESCRIPTORS = 4096,	 /* rings beyond are not shimmed */
	SETUPS_REFUSED_MOST = 2, /* one after the other: it is retried */
};

struct shim shim;

/* True in programs with shim_whole.o: their tests take a transfer for whole
 * where a kernel that has the bytes and the room makes it so. */
__attribute__((weak)) extern const bool shim_keeps_whole;

/* release and acquire: a ring is complete when it is found here. */
static struct shim_ring *_Atomic rings[DESCRIPTORS];
static _Atomic uint64_t num_rings;
static _Atomic uint32_t setups_refused; /* one after the other */

/* The linker puts these in the place of libc's: see the Kbuild. */
long __wrap_syscall(long number, ...);
int __real_close(int fd);
int __wrap_close(int fd);

/* --- the ways in --- */

static struct shim_ring *ring_of(long fd)
{
	if (fd < 0 || fd >= DESCRIPTORS)
		return NULL;
	return atomic_load_explicit(&rings[fd], memory_order_acquire);
}

/* Those of workers. The probe's, which carry nothing, may have the same flags,
 * but have only two entries. */
static bool is_to_be_shimmed(long entries, const struct zs_uring_params *params)
{
	const uint32_t flags = ZS_URING_SETUP_CQSIZE |
			       ZS_URING_SETUP_R_DISABLED |
			       ZS_URING_SETUP_TASKRUN_FLAG;

	return (params->flags & flags) == flags && entries > PROBE_ENTRIES &&
	       !zs_valgrind_is_running();
}

/* A setup that fails, or 0. */
static int some_setup_error(uint64_t *random)
{
	uint32_t so_far =
		atomic_load_explicit(&setups_refused, memory_order_relaxed);

	if (shim.setup_error)
		return shim.setup_error;
	if (so_far >= SETUPS_REFUSED_MOST ||
	    !shim_happens(random, shim.rates.refuse_setup)) {
		so_far = 0;
	} else {
		so_far++;
		shim_add(&shim.counters.setups_refused, 1);
	}
	atomic_store_explicit(&setups_refused, so_far, memory_order_relaxed);
	return so_far ? ENOMEM : 0;
}

static long setup(long entries, struct zs_uring_params *params)
{
	uint64_t number =
		atomic_fetch_add_explicit(&num_rings, 1, memory_order_relaxed);
	uint64_t random = shim_mix(shim_count(&shim.seed) + number);
	struct shim_ring *ring;
	uint32_t cq_entries;
	long fd;

	errno = some_setup_error(&random);
	if (errno)
		return -1;
	fd = __real_syscall(ZS_URING_SYSCALL_SETUP, entries, params);
	if (fd < 0)
		return fd;
	cq_entries = params->cq_entries;
	if (shim_happens(&random, shim.rates.small_queue))
		cq_entries = shim_below(&random, 2) ? 2 : 4;
	ring = shim_ring_create((int)fd, params, cq_entries);
	if (!ring) {
		__real_close((int)fd);
		return -1;
	}
	ring->rates = shim.rates;
	ring->random = random;
	ring->seed = shim_count(&shim.seed);
	ring->number = number;
	if (ring->above.fd >= DESCRIPTORS)
		abort();
	shim_store(ring->above.sq_flags, ZS_URING_SQ_TASKRUN);
	shim_add(&shim.counters.rings, 1);
	atomic_store_explicit(&rings[ring->above.fd], ring,
			      memory_order_release);
	return ring->above.fd;
}

/* Without an index for it, the descriptor tells one ring from another. */
static long refuse_index(long opcode)
{
	errno = EINVAL;
	return opcode == ZS_URING_REGISTER_RING_FDS ? -1 : 0;
}

static long pass_through(long number, const long *args)
{
	return __real_syscall(number, args[0], args[1], args[2], args[3],
			      args[4], args[5]);
}

static long shimmed(long number, struct shim_ring *ring, long *args)
{
	struct shim_call call = {
		.ring = ring,
		.to_submit = (uint32_t)args[1],
		.may_wait = args[2] > 0,
		.flags = (uint32_t)args[3],
		.arg = (void *)args[4],
	};
	int saved = errno;
	long ret;

	if (number == ZS_URING_SYSCALL_ENTER) {
		ret = shim_enter(&call);
		if (ret >= 0)
			errno = saved;
		return ret;
	}
	if (args[1] == ZS_URING_REGISTER_RING_FDS)
		return refuse_index(args[1]);
	args[0] = ring->below.fd;
	return pass_through(number, args);
}

/* Six, whatever the caller has: the kernel looks at no more than it wants. */
__attribute__((no_sanitize("address"))) long __wrap_syscall(long number, ...)
{
	int saved = errno;
	long args[NR_ARGUMENTS], ret;
	va_list list;

	va_start(list, number);
	take_arguments(args, list);
	va_end(list);
	if (number == ZS_URING_SYSCALL_SETUP &&
	    is_to_be_shimmed(args[0], (void *)args[1])) {
		ret = setup(args[0], (void *)args[1]);
		if (ret >= 0)
			errno = saved;
		return ret;
	}
	if ((number == ZS_URING_SYSCALL_ENTER ||
	     number == ZS_URING_SYSCALL_REGISTER) &&
	    ring_of(args[0]))
		return shimmed(number, ring_of(args[0]), args);
	return pass_through(number, args);
}

int __wrap_close(int fd)
{
	struct shim_ring *ring = ring_of(fd);

	if (ring) {
		atomic_store_explicit(&rings[fd], NULL, memory_order_release);
		shim_ring_destroy(ring);
	}
	return __real_close(fd);
}

/* --- life --- */

void shim_reseed(uint64_t seed)
{
	atomic_store_explicit(&shim.seed, seed, memory_order_relaxed);
}

void shim_restart(uint64_t seed)
{
	shim_reseed(seed);
	atomic_store_explicit(&num_rings, 0, memory_order_relaxed);
	atomic_store_explicit(&setups_refused, 0, memory_order_relaxed);
}

/* Programs that know nothing of the shim are linked with it, too. */
__attribute__((constructor)) static void init(void)
{
	const char *given = getenv("ZSYNC_TEST_SEED");

	shim.rates = shim_some_of_all;
	if (&shim_keeps_whole)
		shim.rates.shorten = 0;
	shim_restart(given && *given ? strtoull(given, NULL, 0) :
				       (uint64_t)zs_clock_ns());
	printf("shim: ZSYNC_TEST_SEED=%llu\n",
	       (unsigned long long)shim_count(&shim.seed));
	/* Children would print it again. */
	fflush(stdout);
}
