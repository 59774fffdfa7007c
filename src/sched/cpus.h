/* SPDX-License-Identifier: MIT */
/*
 * The CPUs that workers may use: the affinity mask and the cgroup's quota. Read
 * once, by whoever creates a runtime, before any worker is pinned.
 */
#ifndef ZS_SCHED_CPUS_H
#define ZS_SCHED_CPUS_H

#include <sched.h>
#include <stdint.h>

enum {
	/* The kernel refuses a mask that is too short for the machine. The
	 * largest machine that Linux can be built for has 8,192 CPUs. */
	ZS_CPUS_MAX = 65536,
};

#define ZS_CPUS_NO_QUOTA UINT32_MAX

/* Constant once filled; 8 KiB. */
struct zs_cpus {
	uint32_t count; /* in the affinity mask */
	uint32_t quota; /* the cgroup's, in CPUs, or ZS_CPUS_NO_QUOTA */
	cpu_set_t mask[ZS_CPUS_MAX / CPU_SETSIZE];
};

/* Any thread. The calling thread's mask, which the threads that it makes
 * inherit, and its cgroup's quota: some ten small files are read, on 16 KiB of
 * stack. 0 or -errno; *cpus is then empty, and may be used. */
int zs_cpus_init(struct zs_cpus *cpus);

/* Any thread. How many workers these CPUs and the quota allow: 1 to
 * ZS_WORKERS_MAX. */
uint32_t zs_cpus_allowed(const struct zs_cpus *cpus);

/* The number of the @index-th CPU in the mask, counted from 0 and round again
 * where there are fewer; -ENOENT if the mask is empty. */
int zs_cpus_nth(const struct zs_cpus *cpus, uint32_t index);

/* The calling thread: on the @index-th CPU only, on all of them again. 0 or
 * -errno. */
int zs_cpus_pin(const struct zs_cpus *cpus, uint32_t index);
int zs_cpus_unpin(const struct zs_cpus *cpus);

/* For zs_cpus_init() and for tests. The lowest CPU quota of this process's
 * cgroup and of those above it, v1 and v2, in CPUs, rounded up: at least 1, or
 * ZS_CPUS_NO_QUOTA. All paths start with @root: "", or a folder of fakes. */
uint32_t zs_cpus_quota(const char *root);

#endif
