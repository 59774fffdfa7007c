/* SPDX-License-Identifier: MIT */
/*
 * uring-probe: which limits of the system bite, each with what it means for a
 * runtime and what to do about it. Called once by uring_probe(), before any
 * other thread.
 */
#include "uring_probe.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "sched/cpus.h"
#include "zsync/config.h"

enum {
	CONNECTIONS = 10000, /* a server's, for whom descriptors suffice */
	MAPS_PER_STACK = 2,  /* with mprotect: the stack's and its guard's */
	GUARD_PAGES = 4,
	QUEUE_HEADER = 320, /* bytes before the completion entries */
};

/* What a runtime with the default settings needs here. */
struct need {
	uint32_t workers;
	uint32_t threads; /* the kernel's for these rings included */
	uint32_t stacks;
	uint64_t stack_size; /* bytes, with its guard */
	uint64_t ring_size;  /* bytes */
	uint32_t queue_depth;
};

static uint64_t whole_pages(uint64_t bytes)
{
	uint64_t page_size = (uint64_t)sysconf(_SC_PAGESIZE);

	return (bytes + page_size - 1) / page_size * page_size;
}

/* One map for both queues, one for the entries to submit. */
uint64_t ring_memory(uint32_t queue_depth, bool has_sq_array)
{
	uint64_t entries = queue_depth;

	return whole_pages(QUEUE_HEADER + 4 * entries * sizeof(struct zs_cqe) +
			   (has_sq_array ? entries * sizeof(uint32_t) : 0)) +
	       whole_pages(entries * sizeof(struct zs_sqe));
}

/* The kernel gives each ring up to four threads a CPU for files. */
static struct need find_need(const struct report *report)
{
	struct zs_config config = zs_config_default();
	struct zs_cpus cpus;
	struct need need;

	zs_cpus_init(&cpus);
	need.workers = config.num_workers ? config.num_workers :
					    zs_cpus_allowed(&cpus);
	need.threads = need.workers * (1 + 4 * cpus.count);
	need.stacks = config.max_green_threads;
	need.stack_size = whole_pages(config.green_thread_stack_size) +
			  GUARD_PAGES * (uint64_t)sysconf(_SC_PAGESIZE);
	need.queue_depth = config.queue_depth;
	need.ring_size =
		ring_memory(config.queue_depth, !report->kernel.has_no_sqarray);
	return need;
}

static struct limit *add_limit(struct report *report, const char *name,
			       int64_t value, const char *remedy)
{
	struct limit *limit = &report->limits[report->nr_limits++];

	limit->name = name;
	limit->value = value;
	limit->remedy = remedy;
	return limit;
}

__attribute__((format(printf, 2, 3))) static void
set_meaning(struct limit *limit, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(limit->meaning, sizeof(limit->meaning), format, args);
	va_end(args);
}

static int64_t soft_limit(int resource)
{
	struct rlimit limit;

	if (getrlimit((unsigned int)resource, &limit) < 0)
		return LIMIT_UNKNOWN;
	return limit.rlim_cur == RLIM_INFINITY ? LIMIT_NONE :
						 (int64_t)limit.rlim_cur;
}

/* The number behind @key in a file below /proc, "" for the first. */
static int64_t read_number(const char *path, const char *key)
{
	char text[4096];
	const char *found;
	size_t length;
	FILE *file;

	file = fopen(path, "re");
	if (!file)
		return LIMIT_UNKNOWN;
	length = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[length] = '\0';
	found = strstr(text, key);
	return found ? strtoll(found + strlen(key), NULL, 10) : LIMIT_UNKNOWN;
}

/* --- io_uring --- */

static void add_permissions(struct report *report)
{
	int64_t disabled =
		read_number("/proc/sys/kernel/io_uring_disabled", "");
	int64_t group = read_number("/proc/sys/kernel/io_uring_group", "");
	struct limit *limit;

	limit = add_limit(report, "kernel.io_uring_disabled", disabled,
			  "sysctl kernel.io_uring_disabled=0");
	limit->bites = disabled > 0;
	set_meaning(limit, "%s",
		    disabled == LIMIT_UNKNOWN ? "not there: before Linux 6.6" :
		    disabled == 0	      ? "everyone may use it" :
		    disabled == 1 ? "only root and a group may use it" :
				    "nobody may use it");
	limit = add_limit(report, "kernel.io_uring_group", group,
			  "sysctl kernel.io_uring_group=GID, a group of the "
			  "service's user");
	limit->bites = disabled == 1 && group < 0;
	set_meaning(limit, "%s",
		    disabled == 1 ? "the group that may use it, -1: none" :
				    "means nothing unless io_uring_disabled=1");
}

/* Who has CAP_IPC_LOCK where it counts is not limited, and some kernels do not
 * count rings (6.1 and 7.3; 6.18 does). A try tells. */
static bool is_memlock_enforced(const struct report *report)
{
	struct zs_uring_params params = { 0 };
	struct rlimit saved, none;
	int fd;

	if (!is_known(report) || getrlimit(RLIMIT_MEMLOCK, &saved) < 0)
		return true;
	none = saved;
	none.rlim_cur = 0;
	if (setrlimit(RLIMIT_MEMLOCK, &none) < 0)
		return true;
	fd = zs_uring_setup(1, &params);
	setrlimit(RLIMIT_MEMLOCK, &saved);
	if (fd < 0)
		return true;
	close(fd);
	return false;
}

static void add_memlock(struct report *report, const struct need *need)
{
	int64_t bytes = soft_limit(RLIMIT_MEMLOCK);
	struct limit *limit;
	uint64_t rings;

	limit = add_limit(report, "RLIMIT_MEMLOCK", bytes,
			  "ulimit -l, LimitMEMLOCK= of systemd, docker run "
			  "--ulimit memlock=-1; or a lower queue_depth");
	if (bytes == LIMIT_NONE || bytes == LIMIT_UNKNOWN) {
		set_meaning(limit, "as many rings as there is memory for");
		return;
	}
	if (!is_memlock_enforced(report)) {
		set_meaning(limit, "bytes; not enforced: CAP_IPC_LOCK, or "
				   "a kernel that does not count rings");
		return;
	}
	rings = (uint64_t)bytes / need->ring_size;
	limit->bites = rings < need->workers;
	set_meaning(limit,
		    "bytes: %" PRIu64 " rings of %u/%u entries for all "
		    "processes of this user; a runtime needs %u",
		    rings, need->queue_depth, 4 * need->queue_depth,
		    need->workers);
}

/* --- descriptors and threads --- */

static void add_nofile(struct report *report)
{
	int64_t fds = soft_limit(RLIMIT_NOFILE);
	struct rlimit hard = { 0, 0 };
	struct limit *limit;

	limit = add_limit(report, "RLIMIT_NOFILE", fds,
			  "ulimit -n, LimitNOFILE= of systemd, docker run "
			  "--ulimit nofile=N");
	limit->bites = fds < CONNECTIONS;
	getrlimit(RLIMIT_NOFILE, &hard);
	if (hard.rlim_max == RLIM_INFINITY)
		set_meaning(limit, "one a connection; may be raised freely");
	else
		set_meaning(limit, "one a connection; may be raised to %llu",
			    (unsigned long long)hard.rlim_max);
}

static void add_threads(struct report *report, const struct need *need)
{
	int64_t value = soft_limit(RLIMIT_NPROC);
	struct limit *limit;

	limit = add_limit(report, "RLIMIT_NPROC", value,
			  "ulimit -u, LimitNPROC= of systemd");
	limit->bites = value < need->threads && getuid() != 0;
	set_meaning(limit,
		    "threads of this user%s; a runtime has %u, and the kernel "
		    "up to %u for its files",
		    getuid() == 0 ? ", not enforced for root" : "",
		    need->workers, need->threads - need->workers);
	value = read_number("/proc/sys/kernel/threads-max", "");
	limit = add_limit(report, "kernel.threads-max", value,
			  "sysctl kernel.threads-max=N");
	limit->bites = value != LIMIT_UNKNOWN && value < need->threads;
	set_meaning(limit, "threads of the whole system");
}

/* --- stacks --- */

static void add_maps(struct report *report, const struct need *need)
{
	int64_t maps = read_number("/proc/sys/vm/max_map_count", "");
	struct limit *limit;

	limit = add_limit(report, "vm.max_map_count", maps,
			  "sysctl vm.max_map_count=N, or Linux 6.13 or later");
	if (is_there(report, KIND_ABILITY, ZS_ABILITY_GUARD_INSTALL)) {
		set_meaning(limit, "guards of stacks take no map here");
		return;
	}
	limit->bites = maps != LIMIT_UNKNOWN &&
		       maps / MAPS_PER_STACK < need->stacks;
	set_meaning(limit,
		    "%" PRId64 " stacks, guarded by mprotect; "
		    "max_green_threads is %u",
		    maps / MAPS_PER_STACK, need->stacks);
}

static void add_memory(struct report *report, const struct need *need)
{
	int64_t bytes = soft_limit(RLIMIT_AS);
	int64_t mode = read_number("/proc/sys/vm/overcommit_memory", "");
	int64_t free_kib = read_number("/proc/meminfo", "CommitLimit:") -
			   read_number("/proc/meminfo", "Committed_AS:");
	int64_t stack_size = (int64_t)need->stack_size;
	struct limit *limit;

	limit = add_limit(report, "RLIMIT_AS", bytes,
			  "ulimit -v unlimited, or a lower "
			  "green_thread_stack_size");
	limit->bites = bytes < LIMIT_NONE && bytes / stack_size < need->stacks;
	if (bytes == LIMIT_NONE)
		set_meaning(limit, "stacks may be mapped ahead of their use");
	else
		set_meaning(limit,
			    "bytes: fewer than %" PRId64 " stacks of %" PRId64
			    " KiB; max_green_threads is %u",
			    bytes / stack_size, stack_size / 1024,
			    need->stacks);
	limit = add_limit(report, "vm.overcommit_memory", mode,
			  "sysctl vm.overcommit_memory=0, a greater "
			  "vm.overcommit_ratio, or a lower "
			  "green_thread_stack_size");
	if (mode != 2) {
		set_meaning(limit, "stacks count only once they are used");
		return;
	}
	limit->bites = free_kib * 1024 / stack_size < need->stacks;
	set_meaning(limit,
		    "mapped stacks count as used: %" PRId64 " of %" PRId64
		    " KiB are left; max_green_threads is %u",
		    free_kib * 1024 / stack_size, stack_size / 1024,
		    need->stacks);
}

void find_limits(struct report *report)
{
	struct need need = find_need(report);

	add_permissions(report);
	add_memlock(report, &need);
	add_nofile(report);
	add_threads(report, &need);
	add_maps(report, &need);
	add_memory(report, &need);
}
