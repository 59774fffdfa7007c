/* SPDX-License-Identifier: MIT */
/* Guards below stacks: see guard.h. Called by the pool of stacks when it
 * carves some. */
#include "mem/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "stack_probe.h"

#include "base/explain.h"
#include "mem/advise.h"

enum {
	GUARD_PAGES = 4,
	/* Of all mappings that a process may have, this part is not ours. */
	SHARE_OF_OTHERS = 16,
	MAPPINGS_PER_GUARD = 2,
	ADVISE_GUARD_INSTALL = 102, /* MADV_GUARD_INSTALL, Linux 6.13 */
	LOCK_ON_FAULT = 1,	    /* MLOCK_ONFAULT, Linux 4.4 */
};

/* Guards by mprotect() of all pools: the limit is the process's. */
static _Atomic uint32_t all_protected;

void zs_guards_init(struct zs_guards *guards)
{
	memset(guards, 0, sizeof(*guards));
	guards->size = GUARD_PAGES * (size_t)sysconf(_SC_PAGESIZE);
	if (guards->size < ZS_STACK_PROBE_STEP)
		guards->size = ZS_STACK_PROBE_STEP;
}

void zs_guards_fini(struct zs_guards *guards)
{
	/* relaxed: a number that publishes nothing. */
	atomic_fetch_sub_explicit(&all_protected, guards->num_protected,
				  memory_order_relaxed);
	zs_guards_init(guards);
}

/* The kernel is made to write there: EFAULT is what a task would fault with.
 * Emulators take advice they do not know for a hint and say yes. */
static bool is_guarded(char *address)
{
	return syscall(SYS_getcpu, address, NULL, NULL) < 0;
}

/* 0 if it cannot be read. */
static unsigned long max_map_count(void)
{
	int fd = open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);
	char digits[32];
	ssize_t length;

	if (fd < 0)
		return 0;
	length = read(fd, digits, sizeof(digits) - 1);
	close(fd);
	if (length <= 0)
		return 0;
	digits[length] = '\0';
	return strtoul(digits, NULL, 10);
}

/* How many guards by mprotect() the process may have. */
static uint32_t most_protected(void)
{
	unsigned long limit = max_map_count();

	limit -= limit / SHARE_OF_OTHERS;
	limit /= MAPPINGS_PER_GUARD;
	return limit > 0 && limit < UINT32_MAX ? (uint32_t)limit : UINT32_MAX;
}

static bool has_mapping_left(struct zs_guards *guards)
{
	/* relaxed: workers that look at once go beyond it by one each. */
	uint32_t all =
		atomic_load_explicit(&all_protected, memory_order_relaxed);

	/* The limit may have been raised. */
	if (all >= guards->most_protected)
		guards->most_protected = most_protected();
	return all < guards->most_protected;
}

static int protect(struct zs_guards *guards, char *guard)
{
	if (!has_mapping_left(guards))
		return -ENOMEM;
	if (mprotect(guard, guards->size, PROT_NONE) < 0)
		return -errno;
	guards->num_protected++;
	/* relaxed: as above. */
	atomic_fetch_add_explicit(&all_protected, 1, memory_order_relaxed);
	return 1;
}

/* How many, 0 for none. */
static int advise_many(struct zs_guards *guards, char *slot, size_t slot_size,
		       uint32_t count)
{
	struct iovec ranges[ZS_GUARD_BATCH];
	uint32_t i;

	for (i = 0; i < count; i++)
		ranges[i] =
			(struct iovec){ slot + i * slot_size, guards->size };
	return (int)zs_advise(ranges, count, ADVISE_GUARD_INSTALL);
}

/* How many, or a negative errno; EINVAL is a kernel before 6.13, or a map that
 * is locked. */
static int advise(struct zs_guards *guards, char *slot, size_t slot_size,
		  uint32_t count)
{
	int done = 0;

	if (count > 1 && !guards->one_by_one)
		done = advise_many(guards, slot, slot_size, count);
	if (done > 0)
		return done;
	if (madvise(slot, guards->size, ADVISE_GUARD_INSTALL) < 0)
		return -errno;
	guards->one_by_one |= count > 1;
	return 1;
}

/* A process that locks all its memory: the kernel installs no guard in what is
 * locked, and what it has locked it has filled with pages. So these slots are
 * unlocked and emptied, and locked again in a way that lets pages come when
 * they are touched. */
static int advise_locked(struct zs_guards *guards, char *slot, size_t slot_size,
			 uint32_t count)
{
	size_t size = count * slot_size;
	int done;

	if (munlock(slot, size) < 0)
		return -EINVAL;
	madvise(slot, size, MADV_DONTNEED);
	done = advise(guards, slot, slot_size, count);
	if (done < 0)
		return done;
	guards->is_locked = true;
	/* The whole of it, lest each stack become a mapping of its own. */
	if (syscall(SYS_mlock2, slot, done * slot_size, LOCK_ON_FAULT) < 0)
		return -EAGAIN;
	return done;
}

int zs_guards_install(struct zs_guards *guards, char *slot, size_t slot_size,
		      uint32_t count)
{
	int done = -EINVAL;

	if (count > ZS_GUARD_BATCH)
		count = ZS_GUARD_BATCH;
	if (guards->by_mprotect)
		return protect(guards, slot);
	if (!guards->is_locked)
		done = advise(guards, slot, slot_size, count);
	if (done == -EINVAL)
		done = advise_locked(guards, slot, slot_size, count);
	if (done > 0 && !guards->is_proven && !is_guarded(slot))
		done = -EINVAL;
	if (done == -EINVAL) {
		guards->by_mprotect = true;
		return protect(guards, slot);
	}
	guards->is_proven |= done > 0;
	return done;
}

void zs_guards_explain(const struct zs_guards *guards, int err,
		       uint32_t num_mapped)
{
	if (err == -EAGAIN) {
		zs_explain_as(-ENOMEM,
			      "cannot lock one more task stack, as mlockall() "
			      "asks for: raise RLIMIT_MEMLOCK (ulimit -l)");
		return;
	}
	if (!guards->by_mprotect) {
		zs_explain_as(-ENOMEM, "cannot guard one more task stack: no "
				       "memory for its page tables");
		return;
	}
	zs_explain_as(-ENOMEM,
		      "cannot guard one more task stack after %u: "
		      "vm.max_map_count is %lu, and each takes two mappings; "
		      "sysctl -w vm.max_map_count=%lu has room for twice as "
		      "many, or use Linux 6.13 or later, or allow "
		      "ZS_CONFIG_UNGUARDED_STACKS",
		      num_mapped, max_map_count(), max_map_count() * 2);
}
