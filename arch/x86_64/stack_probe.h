/* SPDX-License-Identifier: MIT */
/*
 * How compilers touch a large frame from its upper end down when they are asked
 * to (-fstack-clash-protection), x86_64. For the guards below stacks.
 */
#ifndef ZS_ARCH_STACK_PROBE_H
#define ZS_ARCH_STACK_PROBE_H

/* The most that two touches are apart, in bytes: a smaller guard could be
 * stepped over. */
#define ZS_STACK_PROBE_STEP 4096

#endif
