/* SPDX-License-Identifier: MIT */
/*
 * Probe: what this kernel's io_uring can do, found by asking it (setup trials,
 * params.features, REGISTER_PROBE), never by its version. Used by the choice of
 * the engine, by the ring's setup and by tools/uring_probe.c.
 */
#ifndef ZS_ENGINE_PROBE_H
#define ZS_ENGINE_PROBE_H

#include <stdbool.h>
#include <stdint.h>

struct zs_uring_params;

enum zs_kernel_verdict {
	ZS_KERNEL_USABLE,   /* green_threads runs */
	ZS_KERNEL_TOO_OLD,  /* io_uring is there, without what we need */
	ZS_KERNEL_DENIED,   /* EPERM, EACCES */
	ZS_KERNEL_ABSENT,   /* ENOSYS, or ZSYNC_DISABLE=io_uring */
	ZS_KERNEL_NO_MEMORY /* ENOMEM, EMFILE, ...: setup_error says which */
};

/* What no flag tells of: it is used once to see whether it works. */
enum zs_kernel_ability {
	ZS_ABILITY_ACCEPT_MULTISHOT,
	ZS_ABILITY_RECV_MULTISHOT, /* into a buffer ring */
	ZS_ABILITY_POLL_MULTISHOT,
	ZS_ABILITY_BUFFER_RING,	    /* REGISTER_PBUF_RING */
	ZS_ABILITY_BUFFER_RING_INC, /* each buffer consumed bit by bit */
	ZS_ABILITY_GUARD_INSTALL,   /* stacks guarded without a mapping each */
	ZS_NR_ABILITIES
};

/* What the kernel can do; constant once filled. Masked by ZSYNC_DISABLE. */
struct zs_kernel {
	enum zs_kernel_verdict verdict;
	int setup_error;	 /* negative errno of the plain trial, or 0 */
	const char *failed_call; /* whose error that is, or NULL */
	bool is_switched_off;	 /* ZSYNC_DISABLE hides io_uring */
	bool is_masked;		 /* ZSYNC_DISABLE names anything at all */
	bool hides_guards;	 /* GUARD_INSTALL: stacks do without it */
	uint32_t features;	 /* ZS_URING_FEAT_..., as reported */
	uint32_t setup_flags;	 /* ZS_URING_SETUP_... accepted, together */
	uint8_t last_op;	 /* highest opcode known to the kernel */
	bool ops[256];		 /* by ZS_URING_OP_... number */
	/* Derived; code asks these. */
	bool has_single_mmap, has_nodrop, has_submit_stable, has_rw_cur_pos,
		has_fast_poll, has_ext_arg, has_cqe_skip, has_no_iowait,
		has_registered_ring; /* REGISTER_RING_FDS works */
	bool has_clamp, has_cqsize, has_r_disabled, has_submit_all,
		has_coop_taskrun, has_taskrun_flag, has_single_issuer,
		has_defer_taskrun, has_no_sqarray;
	/* Filled by zs_kernel_try() only. */
	uint64_t register_ops; /* 1 << ZS_URING_REGISTER_... */
	uint32_t abilities;    /* 1 << ZS_ABILITY_... */
	char missing[160];     /* what green_threads lacks, by name, or "" */
};

/*
 * Any thread. Fills *kernel. 0, or -EINVAL if ZSYNC_DISABLE (a comma-separated
 * list of operation, setup flag and feature names, in the kernel's spelling
 * without prefix, any case: "send_zc,defer_taskrun,ext_arg"; besides them
 * "register_ring_fds" and what zs_kernel_try() finds, "linux-5.15" for all that
 * came after that release, and "io_uring" for all of it) holds an unknown name,
 * with a text for zs_explain(). Costs a ring setup or two where the kernel
 * knows all we use (about 100 us), one more a flag where it does not.
 */
int zs_kernel_probe(struct zs_kernel *kernel);

/*
 * Any thread; after zs_kernel_probe(), and worth the while only if a ring could
 * be set up. Finds out what a runtime need not know at its start: which
 * io_uring_register() opcodes there are, by calls that change nothing, and the
 * abilities, by using each on a ring and sockets of its own. ZSYNC_DISABLE
 * hides them, too ("register_napi", "recv_multishot", "guard_install"), and
 * with one that which needs it. About 2 ms. 0, or -EINVAL for ZSYNC_DISABLE.
 */
int zs_kernel_try(struct zs_kernel *kernel);

/* For tools. Sets up a ring of two entries, waiting a little for memory that
 * closed rings have yet to give back. Its fd (the caller's), or -errno. */
int zs_kernel_trial(struct zs_uring_params *params);

/* The ZS_URING_SETUP_... bits that zs_kernel_probe() tries: all that zsync may
 * set up a ring with. */
uint32_t zs_kernel_used_setup_flags(void);

/* Who or what keeps green_threads from running here (any verdict) and what to
 * do about it, for a person: "a seccomp filter answers EPERM to io_uring_setup;
 * remedy: ...". "" where nothing does. @size 256 holds every answer. */
void zs_kernel_why_denied(const struct zs_kernel *kernel, char *text,
			  unsigned long size);

/* Names and the release that brought each, by opcode, setup bit, feature bit,
 * opcode of io_uring_register(), ability; NULL beyond the last known. */
struct zs_kernel_name {
	const char *name;    /* "SEND_ZC" */
	const char *release; /* "6.0" */
	bool is_required;    /* green_threads does not run without */
};
const struct zs_kernel_name *zs_kernel_op_name(unsigned int opcode);
const struct zs_kernel_name *zs_kernel_setup_name(unsigned int bit);
const struct zs_kernel_name *zs_kernel_feature_name(unsigned int bit);
const struct zs_kernel_name *zs_kernel_register_name(unsigned int opcode);
const struct zs_kernel_name *zs_kernel_ability_name(unsigned int ability);

#endif
