/* SPDX-License-Identifier: MIT */
/*
 * Counting the threads of this process. Called by a worker that is about to
 * sleep and looks whether anybody is left who could wake it; allocates nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/text.h"
#include "sched/deadlock.h"

/* In the flags of /proc/PID/stat: a thread of the kernel's that does the work
 * of a ring; it runs none of the program's code. Since 5.12, before which such
 * threads are not listed. */
#define PF_IO_WORKER 0x10

enum { STAT_FIELDS_BEFORE_FLAGS = 6 }; /* state is the first after the name */

/* As getdents64(2) has it. */
struct entry {
	uint64_t inode;
	int64_t offset;
	uint16_t length;
	uint8_t type;
	char name[];
};

static bool is_kernels(const char *stat)
{
	const char *at = strrchr(stat, ')');
	int i;

	for (i = 0; at && i <= STAT_FIELDS_BEFORE_FLAGS; i++) {
		at = strchr(at, ' ');
		if (at)
			at++;
	}
	return at && (strtoul(at, NULL, 10) & PF_IO_WORKER);
}

/* One that has ended meanwhile is none. */
static bool is_programs(int tasks, const char *name)
{
	struct zs_text path;
	char stat[512];
	ssize_t length;
	int fd;

	zs_text_init(&path);
	zs_text_add(&path, name);
	zs_text_add(&path, "/stat");
	path.bytes[path.length] = '\0';
	fd = openat(tasks, path.bytes, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno != ENOENT && errno != ESRCH;
	length = read(fd, stat, sizeof(stat) - 1);
	close(fd);
	if (length <= 0)
		return false;
	stat[length] = '\0';
	return !is_kernels(stat);
}

static int count_entries(int tasks)
{
	_Alignas(struct entry) char buffer[2048];
	int number = 0;
	long length, at;

	for (;;) {
		length = syscall(SYS_getdents64, tasks, buffer, sizeof(buffer));
		if (length <= 0)
			break;
		for (at = 0; at < length;) {
			const struct entry *entry = (void *)&buffer[at];

			if (entry->name[0] != '.' &&
			    is_programs(tasks, entry->name))
				number++;
			at += entry->length;
		}
	}
	return length < 0 ? -errno : number;
}

int zs_census(void)
{
	int saved_errno = errno;
	int tasks, ret;

	tasks = open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ret = tasks < 0 ? -errno : count_entries(tasks);
	if (tasks >= 0)
		close(tasks);
	errno = saved_errno;
	return ret;
}
