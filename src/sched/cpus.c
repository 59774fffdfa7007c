/* SPDX-License-Identifier: MIT */
/*
 * How many CPUs there are for us, and which. Called by the runtime's creation,
 * and by workers that pin themselves. What cannot be read limits nothing: a
 * guess that is too high costs a little speed, a refusal the whole service.
 *
 * Where a cgroup's files are is found as the kernel tells it: /proc/self/cgroup
 * has our path in each hierarchy, /proc/self/mountinfo which part of which
 * hierarchy is mounted where. In a container these two often differ.
 */
#include "sched/cpus.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "zsync/config.h"

#define NR_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

/* A way in which cgroups limit the CPU. */
struct hierarchy {
	const char *fs_type;
	/* As /proc/self/cgroup and the options of the mount name it; v2 has
	 * one hierarchy for all and names none. */
	const char *controller;
	/* In CPUs, of the cgroup in that folder alone. */
	uint32_t (*quota)(const char *folder);
};

/* A line of /proc/self/mountinfo; the strings are parts of the line. */
struct mount {
	char *root;  /* the cgroup that is mounted */
	char *point; /* where */
	char *fs_type;
	char *options;
};

static uint32_t lower(uint32_t one, uint32_t other)
{
	return one < other ? one : other;
}

/* NULL if there is no such file. */
static FILE *open_file(const char *folder, const char *name)
{
	char path[PATH_MAX];
	int length = snprintf(path, sizeof(path), "%s/%s", folder, name);

	if (length < 0 || (size_t)length >= sizeof(path))
		return NULL;
	return fopen(path, "re");
}

/* --- quotas of one cgroup --- */

static uint32_t cpus_in_quota(long long quota_us, long long period_us)
{
	long long cpus;

	/* v1's -1, or v2's "max", which reads as 0. */
	if (quota_us <= 0 || period_us <= 0)
		return ZS_CPUS_NO_QUOTA;
	cpus = (quota_us - 1) / period_us + 1;
	return cpus < ZS_CPUS_NO_QUOTA ? (uint32_t)cpus : ZS_CPUS_NO_QUOTA;
}

/* The first line of a file; "" if there is none. */
static void read_line(const char *folder, const char *name, char *line,
		      int size)
{
	FILE *file = open_file(folder, name);

	line[0] = '\0';
	if (!file)
		return;
	if (!fgets(line, size, file))
		line[0] = '\0';
	fclose(file);
}

/* cpu.max: "max 100000" or "150000 100000". */
static uint32_t quota_v2(const char *folder)
{
	char line[64];
	char *period;
	long long quota_us;

	read_line(folder, "cpu.max", line, sizeof(line));
	quota_us = strtoll(line, &period, 10);
	return cpus_in_quota(quota_us, strtoll(period, NULL, 10));
}

static uint32_t quota_v1(const char *folder)
{
	char quota[32], period[32];

	read_line(folder, "cpu.cfs_quota_us", quota, sizeof(quota));
	read_line(folder, "cpu.cfs_period_us", period, sizeof(period));
	return cpus_in_quota(strtoll(quota, NULL, 10),
			     strtoll(period, NULL, 10));
}

static const struct hierarchy hierarchies[] = {
	{ "cgroup2", "", quota_v2 },
	{ "cgroup", "cpu", quota_v1 },
};

/* --- where the cgroup is --- */

/* Is @item one of the words in @list, which commas part? */
static bool is_listed(const char *list, const char *item)
{
	size_t item_length = strlen(item);

	for (;;) {
		size_t length = strcspn(list, ",");

		if (length == item_length && memcmp(list, item, length) == 0)
			return true;
		if (!list[length])
			return false;
		list += length + 1;
	}
}

/* A line "4:cpu,cpuacct:/path", in v2 "0::/path". The path, a part of @line, if
 * that is its hierarchy. */
static const char *match_cgroup(char *line, const struct hierarchy *hierarchy)
{
	const char *controllers, *path;

	strsep(&line, ":");
	controllers = strsep(&line, ":");
	path = strsep(&line, "\n");
	if (!path || path[0] != '/')
		return NULL;
	return is_listed(controllers, hierarchy->controller) ? path : NULL;
}

/* Our path in the hierarchy. False if there is none, or none that fits. */
static bool find_cgroup(const char *root, const struct hierarchy *hierarchy,
			char *path, size_t size)
{
	FILE *file = open_file(root, "proc/self/cgroup");
	char *line = NULL;
	size_t line_size = 0;
	bool found = false;

	if (!file)
		return false;
	while (!found && getline(&line, &line_size, file) >= 0) {
		const char *match = match_cgroup(line, hierarchy);

		if (!match || strlen(match) >= size)
			continue;
		strcpy(path, match);
		found = true;
	}
	free(line);
	fclose(file);
	return found;
}

/* The kernel writes blanks and backslashes as three octal digits. */
static void unescape(char *text)
{
	char *to = text;

	while (*text) {
		if (text[0] == '\\' && strspn(text + 1, "01234567") >= 3) {
			*to++ = (char)((text[1] - '0') << 6 |
				       (text[2] - '0') << 3 | (text[3] - '0'));
			text += 4;
		} else {
			*to++ = *text++;
		}
	}
	*to = '\0';
}

/* "29 23 0:26 /root /point rw,nosuid shared:4 - cgroup2 source rw,options" */
static bool parse_mount(char *line, struct mount *mount)
{
	char *tail = strstr(line, " - ");

	if (!tail)
		return false;
	*tail = '\0';
	tail += strlen(" - ");
	strsep(&line, " ");
	strsep(&line, " ");
	strsep(&line, " ");
	mount->root = strsep(&line, " ");
	mount->point = strsep(&line, " ");
	mount->fs_type = strsep(&tail, " ");
	strsep(&tail, " ");
	mount->options = strsep(&tail, "\n");
	if (!mount->point || !mount->options)
		return false;
	unescape(mount->root);
	unescape(mount->point);
	return true;
}

/* What is left of our path below the cgroup that is mounted: "" or "/...".
 * NULL if we are not in there. Both are seen from our cgroup namespace, so what
 * is outside of it starts with "/..". */
static const char *path_below(const char *mounted, const char *path)
{
	size_t length = strcmp(mounted, "/") == 0 ? 0 : strlen(mounted);
	bool is_prefix = strncmp(path, mounted, length) == 0 &&
			 (path[length] == '/' || path[length] == '\0');

	if (is_prefix && strncmp(path + length, "/../", 4) != 0)
		return path + length;
	/* One above us, "/../..": what lies between has no name here. */
	if (!is_prefix && mounted[strspn(mounted, "/.")] == '\0')
		return "";
	return NULL;
}

/* --- the tree --- */

/* The lowest from @folder up to its first @top_length bytes. Cuts @folder. */
static uint32_t quota_up_to(char *folder, size_t top_length,
			    uint32_t (*quota)(const char *folder))
{
	uint32_t lowest = quota(folder);

	for (;;) {
		char *slash = strrchr(folder + top_length, '/');

		if (!slash)
			return lowest;
		*slash = '\0';
		lowest = lower(lowest, quota(folder));
	}
}

/* What a line of mountinfo says about the limit of the cgroup @path. */
static uint32_t quota_in_mount(const char *root, char *line,
			       const struct hierarchy *hierarchy,
			       const char *path)
{
	struct mount mount;
	const char *below;
	char folder[PATH_MAX];
	int length;

	if (!parse_mount(line, &mount) ||
	    strcmp(mount.fs_type, hierarchy->fs_type) != 0)
		return ZS_CPUS_NO_QUOTA;
	if (hierarchy->controller[0] != '\0' &&
	    !is_listed(mount.options, hierarchy->controller))
		return ZS_CPUS_NO_QUOTA;
	below = path_below(mount.root, path);
	if (!below)
		return ZS_CPUS_NO_QUOTA;
	length = snprintf(folder, sizeof(folder), "%s%s%s", root, mount.point,
			  below);
	if (length < 0 || (size_t)length >= sizeof(folder))
		return ZS_CPUS_NO_QUOTA;
	return quota_up_to(folder, strlen(root) + strlen(mount.point),
			   hierarchy->quota);
}

/* The lowest that any mount of the hierarchy shows: where there are several,
 * each shows a part of the way up. */
static uint32_t quota_in_hierarchy(const char *root,
				   const struct hierarchy *hierarchy)
{
	uint32_t lowest = ZS_CPUS_NO_QUOTA;
	char path[PATH_MAX];
	char *line = NULL;
	size_t line_size = 0;
	FILE *file;

	if (!find_cgroup(root, hierarchy, path, sizeof(path)))
		return ZS_CPUS_NO_QUOTA;
	file = open_file(root, "proc/self/mountinfo");
	if (!file)
		return ZS_CPUS_NO_QUOTA;
	while (getline(&line, &line_size, file) >= 0)
		lowest = lower(lowest,
			       quota_in_mount(root, line, hierarchy, path));
	free(line);
	fclose(file);
	return lowest;
}

/* --- what others call --- */

int zs_cpus_init(struct zs_cpus *cpus)
{
	int saved_errno = errno;
	int ret = 0;

	CPU_ZERO_S(sizeof(cpus->mask), cpus->mask);
	if (sched_getaffinity(0, sizeof(cpus->mask), cpus->mask) < 0)
		ret = -errno;
	cpus->count = (uint32_t)CPU_COUNT_S(sizeof(cpus->mask), cpus->mask);
	cpus->quota = zs_cpus_quota("");
	errno = saved_errno;
	return ret;
}

uint32_t zs_cpus_allowed(const struct zs_cpus *cpus)
{
	uint32_t allowed = lower(cpus->count, cpus->quota);

	return allowed == 0 ? 1 : lower(allowed, ZS_WORKERS_MAX);
}

int zs_cpus_nth(const struct zs_cpus *cpus, uint32_t index)
{
	int cpu = 0;

	if (cpus->count == 0)
		return -ENOENT;
	index %= cpus->count;
	for (;; cpu++) {
		if (!CPU_ISSET_S(cpu, sizeof(cpus->mask), cpus->mask))
			continue;
		if (index == 0)
			return cpu;
		index--;
	}
}

int zs_cpus_pin(const struct zs_cpus *cpus, uint32_t index)
{
	struct zs_cpus one = { .count = 1 };
	int cpu = zs_cpus_nth(cpus, index);

	if (cpu < 0)
		return cpu;
	CPU_SET_S(cpu, sizeof(one.mask), one.mask);
	return zs_cpus_unpin(&one);
}

int zs_cpus_unpin(const struct zs_cpus *cpus)
{
	int saved_errno = errno;
	int ret = 0;

	if (sched_setaffinity(0, sizeof(cpus->mask), cpus->mask) < 0)
		ret = -errno;
	errno = saved_errno;
	return ret;
}

uint32_t zs_cpus_quota(const char *root)
{
	int saved_errno = errno;
	uint32_t lowest = ZS_CPUS_NO_QUOTA;

	for (size_t i = 0; i < NR_ELEMENTS(hierarchies); i++)
		lowest = lower(lowest,
			       quota_in_hierarchy(root, &hierarchies[i]));
	errno = saved_errno;
	return lowest;
}
