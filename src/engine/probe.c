/* SPDX-License-Identifier: MIT */
/*
 * Asks the kernel what its io_uring can do: by setting up tiny rings, by
 * REGISTER_PROBE and by what it says of itself, never by its version, because
 * distributions carry features back. Called once at start by whoever chooses
 * the engine, and by tools; any thread, nothing is kept here.
 */
#include "engine/probe.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "engine/abi.h"
#include "engine/names.h"

/* The smallest ring that shows every flag: it is counted against
 * RLIMIT_MEMLOCK like any other. */
#define TRIAL_ENTRIES 2
#define TRIAL_CQ_ENTRIES 8

/* A closed ring's memory comes back 5 to 12 ms later, so a trial may fail for
 * the rings that somebody closed just before. 1 + 2 + ... + 32 ms at most. */
#define TRIAL_RETRIES 6

/* What zsync sets up rings with. Each bit stands above those it needs. */
static const uint32_t used_setup_flags =
	ZS_URING_SETUP_CQSIZE | ZS_URING_SETUP_CLAMP |
	ZS_URING_SETUP_R_DISABLED | ZS_URING_SETUP_SUBMIT_ALL |
	ZS_URING_SETUP_COOP_TASKRUN | ZS_URING_SETUP_TASKRUN_FLAG |
	ZS_URING_SETUP_SINGLE_ISSUER | ZS_URING_SETUP_DEFER_TASKRUN |
	ZS_URING_SETUP_NO_SQARRAY;

/* --- trials --- */

static bool accepts(uint32_t flags)
{
	struct zs_uring_params params = {
		.flags = flags,
		.cq_entries = TRIAL_CQ_ENTRIES,
	};
	int fd;

	fd = zs_kernel_trial(&params);
	if (fd < 0)
		return false;
	close(fd);
	return true;
}

/* Adding one at a time finds the set that is accepted together; a flag that
 * needs another one fails by itself where that is not there. Some need one that
 * comes later, so until no more is accepted. */
static uint32_t accepted_setup_flags(uint32_t wanted)
{
	uint32_t accepted = 0;
	uint32_t flag, before;

	if (accepts(wanted))
		return wanted;
	do {
		before = accepted;
		for (flag = 1; flag != 0 && flag <= wanted; flag <<= 1)
			if ((wanted & ~accepted & flag) &&
			    accepts(accepted | flag))
				accepted |= flag;
	} while (accepted != before);
	return accepted;
}

static int probe_ops(int fd, struct zs_kernel *kernel)
{
	struct zs_uring_probe probe;
	unsigned int i;
	int ret;

	memset(&probe, 0, sizeof(probe));
	ret = zs_uring_register(fd, ZS_URING_REGISTER_PROBE, &probe, 256);
	if (ret < 0)
		return ret;
	kernel->last_op = probe.last_op;
	for (i = 0; i < probe.ops_len; i++)
		kernel->ops[i] = probe.ops[i].flags & ZS_URING_OP_SUPPORTED;
	return 0;
}

static bool can_register_ring(int fd)
{
	struct zs_uring_rsrc_update update = {
		.offset = UINT32_MAX,
		.data = (uint64_t)fd,
	};

	if (zs_uring_register(fd, ZS_URING_REGISTER_RING_FDS, &update, 1) != 1)
		return false;
	update.data = 0;
	zs_uring_register(fd, ZS_URING_UNREGISTER_RING_FDS, &update, 1);
	return true;
}

static enum zs_kernel_verdict verdict_of(int error)
{
	switch (error) {
	case 0:
		return ZS_KERNEL_USABLE;
	case -EPERM:
	case -EACCES:
		return ZS_KERNEL_DENIED;
	case -ENOSYS:
		return ZS_KERNEL_ABSENT;
	default:
		return ZS_KERNEL_NO_MEMORY;
	}
}

static int fail(struct zs_kernel *kernel, const char *call, int error)
{
	kernel->verdict = verdict_of(error);
	kernel->setup_error = error;
	kernel->failed_call = call;
	return error;
}

/* One plain ring tells most. All three system calls are made, because a filter
 * may let some through. */
static int probe_plain_ring(struct zs_kernel *kernel)
{
	struct zs_uring_params params = { 0 };
	int fd, ret;

	fd = zs_kernel_trial(&params);
	if (fd < 0)
		return fail(kernel, "io_uring_setup", fd);
	kernel->features = params.features;
	ret = zs_uring_enter(fd, 0, 0, 0, NULL, 0);
	if (ret < 0) {
		ret = fail(kernel, "io_uring_enter", ret);
		goto close_ring;
	}
	ret = probe_ops(fd, kernel);
	/* Before 5.6; list_missing() then finds no operation. */
	if (ret == -EINVAL)
		ret = 0;
	if (ret < 0) {
		ret = fail(kernel, "io_uring_register", ret);
		goto close_ring;
	}
	kernel->has_registered_ring = can_register_ring(fd);
close_ring:
	close(fd);
	return ret;
}

static void apply_mask(struct zs_kernel *kernel,
		       const struct zs_kernel_mask *mask)
{
	unsigned int i;

	kernel->features &= ~(uint32_t)mask->features;
	for (i = 0; i < ZS_URING_NR_OPS; i++)
		if (mask->ops[i])
			kernel->ops[i] = false;
	if (mask->register_ops & 1u << ZS_URING_REGISTER_RING_FDS)
		kernel->has_registered_ring = false;
}

static void derive(struct zs_kernel *kernel)
{
	uint32_t features = kernel->features;
	uint32_t flags = kernel->setup_flags;

	kernel->has_single_mmap = features & ZS_URING_FEAT_SINGLE_MMAP;
	kernel->has_nodrop = features & ZS_URING_FEAT_NODROP;
	kernel->has_submit_stable = features & ZS_URING_FEAT_SUBMIT_STABLE;
	kernel->has_rw_cur_pos = features & ZS_URING_FEAT_RW_CUR_POS;
	kernel->has_fast_poll = features & ZS_URING_FEAT_FAST_POLL;
	kernel->has_ext_arg = features & ZS_URING_FEAT_EXT_ARG;
	kernel->has_cqe_skip = features & ZS_URING_FEAT_CQE_SKIP;
	kernel->has_no_iowait = features & ZS_URING_FEAT_NO_IOWAIT;
	kernel->has_clamp = flags & ZS_URING_SETUP_CLAMP;
	kernel->has_cqsize = flags & ZS_URING_SETUP_CQSIZE;
	kernel->has_r_disabled = flags & ZS_URING_SETUP_R_DISABLED;
	kernel->has_submit_all = flags & ZS_URING_SETUP_SUBMIT_ALL;
	kernel->has_coop_taskrun = flags & ZS_URING_SETUP_COOP_TASKRUN;
	kernel->has_taskrun_flag = flags & ZS_URING_SETUP_TASKRUN_FLAG;
	kernel->has_single_issuer = flags & ZS_URING_SETUP_SINGLE_ISSUER;
	kernel->has_defer_taskrun = flags & ZS_URING_SETUP_DEFER_TASKRUN;
	kernel->has_no_sqarray = flags & ZS_URING_SETUP_NO_SQARRAY;
}

static void add_missing(struct zs_kernel *kernel, const char *name)
{
	size_t length = strlen(kernel->missing);

	snprintf(kernel->missing + length, sizeof(kernel->missing) - length,
		 "%s%s", length ? ", " : "", name);
}

static void list_missing(struct zs_kernel *kernel)
{
	const struct zs_kernel_name *name;
	unsigned int i;

	for (i = 0; i < ZS_URING_NR_FEATURE_BITS; i++) {
		name = zs_kernel_feature_name(i);
		if (name->is_required && !(kernel->features & (1u << i)))
			add_missing(kernel, name->name);
	}
	for (i = 0; i < ZS_URING_NR_SETUP_BITS; i++) {
		name = zs_kernel_setup_name(i);
		if (name->is_required && !(kernel->setup_flags & (1u << i)))
			add_missing(kernel, name->name);
	}
	for (i = 0; i < ZS_URING_NR_OPS; i++) {
		name = zs_kernel_op_name(i);
		if (name->is_required && !kernel->ops[i])
			add_missing(kernel, name->name);
	}
}

/* --- why not --- */

/* At most @size - 1 bytes of the file, terminated; "" if it cannot be read. */
static void read_text(const char *path, char *text, size_t size)
{
	ssize_t length = -1;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		length = read(fd, text, size - 1);
		close(fd);
	}
	text[length > 0 ? length : 0] = '\0';
}

/* -1 if there is no such file; io_uring_group itself holds -1 for none. */
static int read_number(const char *path)
{
	char text[32];

	read_text(path, text, sizeof(text));
	return text[0] ? atoi(text) : -1;
}

enum seccomp { SECCOMP_NONE, SECCOMP_FILTER, SECCOMP_UNKNOWN };

/* Of this thread, since filters are a thread's. Unknown without /proc. */
static enum seccomp seccomp_here(void)
{
	char status[4096];
	const char *line;

	read_text("/proc/thread-self/status", status, sizeof(status));
	line = strstr(status, "\nSeccomp:");
	if (!line)
		return status[0] ? SECCOMP_NONE : SECCOMP_UNKNOWN;
	line += strlen("\nSeccomp:");
	return strtol(line, NULL, 10) == 2 ? SECCOMP_FILTER : SECCOMP_NONE;
}

static const char remedy_profile[] =
	"allow io_uring_setup, _enter and _register in it (docker run "
	"--security-opt seccomp=FILE)";

static void why_refused(const struct zs_kernel *kernel, char *text, size_t size)
{
	int disabled = read_number("/proc/sys/kernel/io_uring_disabled");
	int group = read_number("/proc/sys/kernel/io_uring_group");
	enum seccomp seccomp = seccomp_here();
	const char *error = kernel->setup_error == -EPERM ? "EPERM" : "EACCES";

	if (disabled == 2)
		snprintf(text, size,
			 "kernel.io_uring_disabled is 2, off for everyone; "
			 "remedy: sysctl kernel.io_uring_disabled=0");
	else if (seccomp == SECCOMP_UNKNOWN)
		snprintf(
			text, size,
			"%s fails with %s, and there is no /proc to tell why; "
			"remedy: allow io_uring_setup, _enter and _register in "
			"the seccomp filter, sysctl kernel.io_uring_disabled=0",
			kernel->failed_call, error);
	else if (seccomp == SECCOMP_FILTER)
		snprintf(text, size,
			 "a seccomp filter (of Docker or containerd?) answers "
			 "%s to %s%s; remedy: %s",
			 error, kernel->failed_call,
			 disabled == 1 ? ", or io_uring_disabled=1 does" : "",
			 remedy_profile);
	else if (disabled == 1 && group >= 0)
		snprintf(text, size,
			 "kernel.io_uring_disabled is 1: only group %d may; "
			 "remedy: run in that group, or "
			 "sysctl kernel.io_uring_disabled=0",
			 group);
	else if (disabled == 1)
		snprintf(text, size,
			 "kernel.io_uring_disabled is 1: only root may; "
			 "remedy: sysctl kernel.io_uring_group=GID, a group of "
			 "this user, or kernel.io_uring_disabled=0");
	else
		snprintf(text, size,
			 "%s fails with %s, by no sysctl and no seccomp "
			 "filter: a security module (SELinux, AppArmor) may do "
			 "that; remedy: see the audit log",
			 kernel->failed_call, error);
}

static void why_absent(const struct zs_kernel *kernel, char *text, size_t size)
{
	/* The file came with 6.6; where it is, the kernel has io_uring. */
	bool is_built = read_number("/proc/sys/kernel/io_uring_disabled") >= 0;
	enum seccomp seccomp = seccomp_here();

	if (kernel->is_switched_off)
		snprintf(text, size,
			 "ZSYNC_DISABLE hides io_uring; remedy: shorten it");
	else if (seccomp == SECCOMP_FILTER)
		snprintf(text, size,
			 "a seccomp filter answers ENOSYS to %s%s; remedy: %s",
			 kernel->failed_call,
			 is_built ? "" : ", or the kernel has none",
			 remedy_profile);
	else if (is_built)
		snprintf(text, size,
			 "%s fails with ENOSYS on a kernel that has io_uring: "
			 "an emulator or sandbox (qemu-user, gVisor) lies "
			 "between; remedy: run without it",
			 kernel->failed_call);
	else
		snprintf(text, size,
			 "%s fails with ENOSYS: the kernel is older than 5.1, "
			 "has no CONFIG_IO_URING, or is emulated (gVisor)%s; "
			 "remedy: Linux 5.11 or later",
			 kernel->failed_call,
			 seccomp == SECCOMP_UNKNOWN ? ", or a seccomp filter "
						      "says so (no /proc)" :
						      "");
}

static void why_no_memory(const struct zs_kernel *kernel, char *text,
			  size_t size)
{
	struct rlimit limit = { 0, 0 };
	int error = -kernel->setup_error;

	if (error == ENOMEM) {
		getrlimit(RLIMIT_MEMLOCK, &limit);
		snprintf(text, size,
			 "no memory for the smallest ring; the rings of a user "
			 "share RLIMIT_MEMLOCK, %llu KiB here; remedy: raise "
			 "it (ulimit -l, docker run --ulimit memlock=-1)",
			 (unsigned long long)limit.rlim_cur / 1024);
	} else if (error == EMFILE) {
		getrlimit(RLIMIT_NOFILE, &limit);
		snprintf(text, size,
			 "no file descriptor is free, RLIMIT_NOFILE is %llu; "
			 "remedy: raise it (ulimit -n)",
			 (unsigned long long)limit.rlim_cur);
	} else {
		snprintf(text, size, "%s fails: %s (errno %d)",
			 kernel->failed_call, strerror(error), error);
	}
}

/* --- what others call --- */

int zs_kernel_probe(struct zs_kernel *kernel)
{
	struct zs_kernel_mask mask;
	int ret;

	memset(kernel, 0, sizeof(*kernel));
	kernel->verdict = ZS_KERNEL_ABSENT;
	ret = zs_kernel_mask_from_env(&mask);
	if (ret < 0)
		return ret;
	kernel->is_masked = ret > 0;
	kernel->hides_guards = mask.abilities & 1u << ZS_ABILITY_GUARD_INSTALL;
	if (mask.io_uring) {
		kernel->is_switched_off = true;
		kernel->setup_error = -ENOSYS;
		return 0;
	}
	if (probe_plain_ring(kernel) < 0)
		return 0;
	apply_mask(kernel, &mask);
	kernel->setup_flags = accepted_setup_flags(used_setup_flags &
						   ~(uint32_t)mask.setup_flags);
	derive(kernel);
	list_missing(kernel);
	kernel->verdict = kernel->missing[0] ? ZS_KERNEL_TOO_OLD :
					       ZS_KERNEL_USABLE;
	return 0;
}

int zs_kernel_trial(struct zs_uring_params *params)
{
	struct timespec pause = { 0, 1000000 };
	int attempt, fd;

	fd = zs_uring_setup(TRIAL_ENTRIES, params);
	for (attempt = 0; fd == -ENOMEM && attempt < TRIAL_RETRIES; attempt++) {
		nanosleep(&pause, NULL);
		pause.tv_nsec *= 2;
		fd = zs_uring_setup(TRIAL_ENTRIES, params);
	}
	return fd;
}

uint32_t zs_kernel_used_setup_flags(void)
{
	return used_setup_flags;
}

void zs_kernel_why_denied(const struct zs_kernel *kernel, char *text,
			  unsigned long size)
{
	switch (kernel->verdict) {
	case ZS_KERNEL_USABLE:
		snprintf(text, size, "%s", "");
		return;
	case ZS_KERNEL_TOO_OLD:
		snprintf(text, size, "io_uring here lacks %s; remedy: %s",
			 kernel->missing,
			 kernel->is_masked ? "shorten ZSYNC_DISABLE" :
					     "Linux 5.11 or later");
		return;
	case ZS_KERNEL_DENIED:
		why_refused(kernel, text, size);
		return;
	case ZS_KERNEL_ABSENT:
		why_absent(kernel, text, size);
		return;
	case ZS_KERNEL_NO_MEMORY:
		why_no_memory(kernel, text, size);
		return;
	}
}
