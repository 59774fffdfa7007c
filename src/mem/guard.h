/* SPDX-License-Identifier: MIT */
/*
 * Guards below stacks, which no frame steps over, for the pool of stacks
 * (stack.c) and its worker's thread alone: how this kernel has them, and in
 * which state of the process's memory.
 *
 * MADV_GUARD_INSTALL (Linux 6.13) costs no mapping, and many are installed by
 * one call. Before that it is mprotect(), two mappings a stack: of
 * vm.max_map_count one part in sixteen is left to the rest of the process,
 * which would otherwise have none for its own allocations.
 */
#ifndef ZS_MEM_GUARD_H
#define ZS_MEM_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Most guards that one call installs. */
#define ZS_GUARD_BATCH 32

struct zs_guards {
	size_t size;		 /* of each, at least four pages; constant */
	bool by_mprotect;	 /* this kernel knows no other, or is to
				  * seem so; may be set before the first */
	bool one_by_one;	 /* this kernel installs one a call */
	bool is_proven;		 /* a first one was felt for */
	bool is_locked;		 /* mlockall() was seen: see stack.c */
	uint32_t num_protected;	 /* guards by mprotect() */
	uint32_t most_protected; /* as vm.max_map_count was; of the process */
};

void zs_guards_init(struct zs_guards *guards);
/* The memory has been unmapped. */
void zs_guards_fini(struct zs_guards *guards);

/* Guards the lowest bytes of up to @count slots of @slot_size bytes, of which
 * the first begins at @slot; nothing has been kept in them yet. Returns how
 * many have one now, at least 1 and at most ZS_GUARD_BATCH, or a negative
 * errno. errno is not kept. */
int zs_guards_install(struct zs_guards *guards, char *slot, size_t slot_size,
		      uint32_t count);

/* What zs_explain(-ENOMEM) is to say after that has failed with @err. */
void zs_guards_explain(const struct zs_guards *guards, int err,
		       uint32_t num_mapped);

#endif
