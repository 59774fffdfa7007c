/* SPDX-License-Identifier: MIT */
/* The tracepoint of system calls; see tracepoint.h. Called by counts.c, and by
 * the load in its child. */
#include "tracepoint.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"

enum { FIND_LIMIT_MS = 5000 };

/* Of <linux/perf_event.h>, which not every libc comes with, in the size that
 * its first release had. */
enum { TYPE_TRACEPOINT = 2, CLOSE_ON_EXEC = 8 };
struct attributes {
	uint32_t type;
	uint32_t size;
	uint64_t config;
	uint64_t others[6];
};
static_assert(sizeof(struct attributes) == 64, "PERF_ATTR_SIZE_VER0");

static const char *const number_files[] = {
	"/sys/kernel/tracing/events/raw_syscalls/sys_enter/id",
	"/sys/kernel/debug/tracing/events/raw_syscalls/sys_enter/id",
};

static int64_t read_number(const char *name)
{
	FILE *file = fopen(name, "re");
	long long number = 0;

	if (!file)
		return -errno;
	if (fscanf(file, "%lld", &number) != 1)
		number = -EIO;
	fclose(file);
	return number;
}

static int64_t read_mounted(void)
{
	int64_t number = read_number(number_files[0]);

	return number > 0 ? number : read_number(number_files[1]);
}

/* In a child: its mounts are gone with it. */
static int find_in_child(void *arg)
{
	int64_t *number = arg;

	*number = read_mounted();
	if (*number > 0)
		return 0;
	if (unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tracefs", "/sys/kernel/tracing", "tracefs", 0, NULL) < 0) {
		*number = -errno;
		return 0;
	}
	*number = read_mounted();
	return 0;
}

int64_t bench_tracepoint_find(void)
{
	int64_t *shared = bench_shared_map(sizeof(*shared));
	int64_t number;
	int ret;

	if (!shared)
		return -ENOMEM;
	ret = bench_child_run("tracefs", BENCH_ANY_CPU, find_in_child, shared,
			      FIND_LIMIT_MS);
	number = ret < 0 ? ret : *shared;
	bench_shared_unmap(shared, sizeof(*shared));
	return number;
}

int bench_tracepoint_open(uint64_t tracepoint, pid_t tid)
{
	struct attributes attributes = {
		.type = TYPE_TRACEPOINT,
		.size = sizeof(attributes),
		.config = tracepoint,
	};
	long fd = syscall(SYS_perf_event_open, &attributes, tid, -1, -1,
			  CLOSE_ON_EXEC);

	return fd < 0 ? -errno : (int)fd;
}

uint64_t bench_tracepoint_read(int fd)
{
	uint64_t count = 0;

	if (fd >= 0 && read(fd, &count, sizeof(count)) != sizeof(count))
		return 0;
	return count;
}
