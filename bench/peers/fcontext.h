/* SPDX-License-Identifier: MIT */
/* The peer of the bare switch: Boost.Context's jump, where Debian's package
 * libboost-context is installed. */
#ifndef ZS_BENCH_PEERS_FCONTEXT_H
#define ZS_BENCH_PEERS_FCONTEXT_H

#include <stdint.h>

/* Nanoseconds of one jump between two stacks: @pairs there and back, as
 * bare_switch_ns(). Negative if the library is not installed. */
double fcontext_jump_ns(uint64_t pairs);

#endif
