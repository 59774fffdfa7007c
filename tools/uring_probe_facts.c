/* SPDX-License-Identifier: MIT */
/*
 * uring-probe: finds out what io_uring can do here, what of it zsync misses and
 * which model it takes. Called once by uring_probe().
 */
#include "uring_probe.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/engine.h"
#include "zsync/config.h"

static const char plain_call[] =
	"a plain system call: one more for each socket";
static const char blocking_call[] =
	"a plain system call, for which all tasks of the worker wait";

#define BIT(flag) (unsigned int)__builtin_ctz(flag)

static const struct optional optionals[] = {
	{ KIND_SETUP, BIT(ZS_URING_SETUP_SUBMIT_ALL),
	  "an entry in error ends its batch: one more system call" },
	{ KIND_SETUP, BIT(ZS_URING_SETUP_COOP_TASKRUN),
	  "each completion interrupts the worker" },
	{ KIND_SETUP, BIT(ZS_URING_SETUP_TASKRUN_FLAG),
	  "a worker cannot see without a system call that completions wait" },
	{ KIND_SETUP, BIT(ZS_URING_SETUP_SINGLE_ISSUER),
	  "no DEFER_TASKRUN, which needs it" },
	{ KIND_SETUP, BIT(ZS_URING_SETUP_DEFER_TASKRUN),
	  "the kernel completes in the midst of tasks instead of in batches "
	  "when the worker asks" },
	{ KIND_SETUP, BIT(ZS_URING_SETUP_NO_SQARRAY),
	  "one more memory write for each operation" },
	{ KIND_REGISTER, ZS_URING_REGISTER_RING_FDS,
	  "each system call looks up the ring's descriptor" },
	{ KIND_FEATURE, BIT(ZS_URING_FEAT_CQE_SKIP),
	  "one more completion for each cancel" },
	{ KIND_FEATURE, BIT(ZS_URING_FEAT_NO_IOWAIT),
	  "an idle worker may count as I/O wait in top" },
	{ KIND_OP, ZS_URING_OP_FSYNC, blocking_call },
	{ KIND_OP, ZS_URING_OP_OPENAT, blocking_call },
	{ KIND_OP, ZS_URING_OP_STATX, blocking_call },
	{ KIND_OP, ZS_URING_OP_CLOSE, plain_call },
	{ KIND_OP, ZS_URING_OP_SHUTDOWN, plain_call },
	{ KIND_OP, ZS_URING_OP_SOCKET, plain_call },
	{ KIND_OP, ZS_URING_OP_BIND, plain_call },
	{ KIND_OP, ZS_URING_OP_LISTEN, plain_call },
	{ KIND_ABILITY, ZS_ABILITY_GUARD_INSTALL,
	  "two mappings for each task's stack: vm.max_map_count is the limit" },
};
#define NR_OPTIONALS (sizeof(optionals) / sizeof(optionals[0]))

static_assert(NR_OPTIONALS <= NR_OPTIONALS_MAX, "");

/* --- setup flags that zsync does not use --- */

static bool accepts(uint32_t flags, uint32_t wq_fd)
{
	struct zs_uring_params params = {
		.flags = flags,
		.cq_entries = 8,
		.wq_fd = wq_fd,
	};
	int fd;

	fd = zs_kernel_trial(&params);
	if (fd < 0)
		return false;
	close(fd);
	return true;
}

static bool accepts_attach_wq(void)
{
	struct zs_uring_params params = { 0 };
	int fd = zs_kernel_trial(&params);
	bool is_accepted = accepts(ZS_URING_SETUP_ATTACH_WQ, (uint32_t)fd);

	if (fd >= 0)
		close(fd);
	return is_accepted;
}

static bool accepts_own_memory(uint32_t flags)
{
	size_t page_size = (size_t)sysconf(_SC_PAGESIZE);
	struct zs_uring_params params = { .flags = flags };
	char *memory;
	int ring;

	memory = mmap(NULL, 2 * page_size, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return false;
	params.sq_off.user_addr = (uintptr_t)memory;
	params.cq_off.user_addr = (uintptr_t)(memory + page_size);
	ring = zs_kernel_trial(&params);
	/* The other kind has an index that ends with this thread, no fd. */
	if (ring >= 0 && !(flags & ZS_URING_SETUP_REGISTERED_FD_ONLY))
		close(ring);
	munmap(memory, 2 * page_size);
	return ring >= 0;
}

/* sq_thread_cpu stays 0, which any machine has and few forbid. */
static bool accepts_unused(uint32_t flag)
{
	switch (flag) {
	case ZS_URING_SETUP_SQ_AFF:
		return accepts(flag | ZS_URING_SETUP_SQPOLL, 0);
	case ZS_URING_SETUP_ATTACH_WQ:
		return accepts_attach_wq();
	case ZS_URING_SETUP_NO_MMAP:
		return accepts_own_memory(flag);
	case ZS_URING_SETUP_REGISTERED_FD_ONLY:
		return accepts_own_memory(flag | ZS_URING_SETUP_NO_MMAP);
	case ZS_URING_SETUP_HYBRID_IOPOLL:
		return accepts(flag | ZS_URING_SETUP_IOPOLL, 0);
	case ZS_URING_SETUP_SQ_REWIND:
		return accepts(flag | ZS_URING_SETUP_NO_SQARRAY, 0);
	default:
		return accepts(flag, 0);
	}
}

static uint32_t all_setup_flags(const struct zs_kernel *kernel)
{
	uint32_t accepted = kernel->setup_flags;
	uint32_t used = zs_kernel_used_setup_flags();
	unsigned int bit;

	for (bit = 0; bit < ZS_URING_NR_SETUP_BITS; bit++)
		if (!(used & (1u << bit)) && accepts_unused(1u << bit))
			accepted |= 1u << bit;
	return accepted;
}

/* --- finding out --- */

bool is_known(const struct report *report)
{
	return report->kernel.verdict == ZS_KERNEL_USABLE ||
	       report->kernel.verdict == ZS_KERNEL_TOO_OLD;
}

unsigned int number_of(enum kind kind)
{
	static const unsigned int numbers[NR_KINDS] = {
		[KIND_SETUP] = ZS_URING_NR_SETUP_BITS,
		[KIND_FEATURE] = ZS_URING_NR_FEATURE_BITS,
		[KIND_OP] = ZS_URING_NR_OPS,
		[KIND_REGISTER] = ZS_URING_NR_REGISTER_OPS,
		[KIND_ABILITY] = ZS_NR_ABILITIES,
	};

	return numbers[kind];
}

const struct zs_kernel_name *name_of(enum kind kind, unsigned int number)
{
	switch (kind) {
	case KIND_SETUP:
		return zs_kernel_setup_name(number);
	case KIND_FEATURE:
		return zs_kernel_feature_name(number);
	case KIND_OP:
		return zs_kernel_op_name(number);
	case KIND_REGISTER:
		return zs_kernel_register_name(number);
	case KIND_ABILITY:
		return zs_kernel_ability_name(number);
	case NR_KINDS:
		break;
	}
	return NULL;
}

bool is_there(const struct report *report, enum kind kind, unsigned int number)
{
	switch (kind) {
	case KIND_SETUP:
		return report->setup_flags >> number & 1;
	case KIND_FEATURE:
		return report->kernel.features >> number & 1;
	case KIND_OP:
		return report->kernel.ops[number];
	case KIND_REGISTER:
		return report->kernel.register_ops >> number & 1;
	case KIND_ABILITY:
		return report->kernel.abilities >> number & 1;
	case NR_KINDS:
		break;
	}
	return false;
}

static void find_missing(struct report *report)
{
	const struct optional *optional;
	size_t i;

	for (i = 0; i < NR_OPTIONALS; i++) {
		optional = &optionals[i];
		if (is_there(report, optional->kind, optional->number))
			continue;
		/* The better one of the two makes up for it. */
		if (optional->kind == KIND_SETUP &&
		    1u << optional->number == ZS_URING_SETUP_COOP_TASKRUN &&
		    report->kernel.has_defer_taskrun)
			continue;
		report->missing[report->nr_missing++] = optional;
	}
}

/* thread_pool is what auto is for where there is no io_uring; until it is
 * built, the choice is an error there, and that is told. */
static void find_model(struct report *report)
{
	static const char prefix[] = "auto: ";
	enum zs_execution_model chosen;
	char reason[sizeof(report->reason)];
	const char *text = reason;

	if (zs_engine_choose(ZS_MODEL_AUTO, &report->kernel, &chosen, reason,
			     sizeof(reason)) < 0) {
		report->model = "thread_pool";
		snprintf(report->reason, sizeof(report->reason), "%s",
			 "green_threads cannot run here. It comes with a later "
			 "version of zsync; until then auto is an error here");
		return;
	}
	if (strncmp(text, prefix, strlen(prefix)) == 0)
		text += strlen(prefix);
	report->model = zs_execution_model_name(chosen);
	report->model_is_there = true;
	snprintf(report->reason, sizeof(report->reason), "%s", text);
}

int find_facts(struct report *report)
{
	static const char separator[] = "; remedy: ";
	int ret;

	memset(report, 0, sizeof(*report));
	ret = zs_kernel_probe(&report->kernel);
	if (ret < 0)
		return ret;
	ret = zs_kernel_try(&report->kernel);
	if (ret < 0)
		return ret;
	uname(&report->machine);
	zs_kernel_why_denied(&report->kernel, report->why, sizeof(report->why));
	report->remedy = strstr(report->why, separator);
	if (report->remedy) {
		*report->remedy = '\0';
		report->remedy += strlen(separator);
	}
	find_model(report);
	if (is_known(report))
		report->setup_flags = all_setup_flags(&report->kernel);
	if (report->kernel.verdict != ZS_KERNEL_USABLE) {
		report->status = PROBE_NOT_USABLE;
		return 0;
	}
	find_missing(report);
	report->status = report->nr_missing ? PROBE_DEGRADED : PROBE_USABLE;
	return 0;
}
