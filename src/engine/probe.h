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

enum zs_kernel_verdict {
	ZS_KERNEL_USABLE,   /* green_threads runs */
	ZS_KERNEL_TOO_OLD,  /* io_uring is there, without what we need */
	ZS_KERNEL_DENIED,   /* EPERM, EACCES */
	ZS_KERNEL_ABSENT,   /* ENOSYS */
	ZS_KERNEL_NO_MEMORY /* ENOMEM, EMFILE, ...: setup_error says which */
};

/* What the kernel can do; constant once filled. Masked by ZSYNC_DISABLE. */
struct zs_kernel {
	enum zs_kernel_verdict verdict;
	int setup_error;	  /* negative errno of the plain trial, or 0 */
	uint32_t features;	  /* IORING_FEAT_... as reported */
	uint32_t setup_flags;	  /* IORING_SETUP_... bits that were accepted */
	uint8_t last_op;	  /* highest opcode known to the kernel */
	bool ops[256];		  /* by IORING_OP_... number */
	/* Derived; code asks these. */
	bool has_single_mmap, has_nodrop, has_submit_stable, has_rw_cur_pos,
		has_fast_poll, has_ext_arg, has_cqe_skip, has_no_iowait,
		has_registered_ring; /* REGISTER_RING_FDS works */
	bool has_clamp, has_cqsize, has_r_disabled, has_submit_all,
		has_coop_taskrun, has_taskrun_flag, has_single_issuer,
		has_defer_taskrun, has_no_sqarray;
	char missing[128]; /* what green_threads lacks, by name, "" if nothing */
};

/*
 * Any thread. Fills *kernel. 0, or -EINVAL if ZSYNC_DISABLE (a comma-separated
 * list of operation, setup flag and feature names, in the kernel's spelling
 * without prefix, any case: "send_zc,defer_taskrun,ext_arg"; "io_uring" is all
 * of it) holds an unknown name, with a text for zs_explain().
 * Costs a few ring setups (about 100 us).
 */
int zs_kernel_probe(struct zs_kernel *kernel);

/* Who or what forbids io_uring, for a person: "kernel.io_uring_disabled is 2:
 * ...", "a seccomp filter ...". "" where nothing does. @text is filled. */
void zs_kernel_why_denied(const struct zs_kernel *kernel, char *text,
			  unsigned long size);

/* Names and the release that brought each, by opcode, setup bit, feature bit;
 * NULL beyond the last known. */
struct zs_kernel_name {
	const char *name;    /* "SEND_ZC" */
	const char *release; /* "6.0" */
};
const struct zs_kernel_name *zs_kernel_op_name(unsigned int opcode);
const struct zs_kernel_name *zs_kernel_setup_name(unsigned int bit);
const struct zs_kernel_name *zs_kernel_feature_name(unsigned int bit);

#endif
