/* SPDX-License-Identifier: MIT */
/*
 * Interrupt: makes a system call that waits return early, with -EINTR. For the
 * pool's threads that wait for somebody, and the blocking engine.
 *
 * A signal that arrives just before the call begins would be lost on it. So
 * it is sent again and again by a timer of the kernel's until the call has
 * ended.
 */
#ifndef ZS_ENGINE_INTERRUPT_H
#define ZS_ENGINE_INTERRUPT_H

#include <stdint.h>

struct zs_interrupt {
	int timer; /* the kernel's id; -1: none could be had */
};

/* Once before any use, and undone once: the handler of the signal (SIGSTKFLT,
 * which Linux itself never sends) is the process's, kept while anybody has
 * taken it and put back after. 0 or a negative errno. */
int zs_interrupt_take(void);
void zs_interrupt_release(void);
/* Around a fork: so that the child, too, can take it. */
void zs_interrupt_hold(void);
void zs_interrupt_let_go(void);

/* For the calling thread, which lets the signal in. 0 or a negative errno. */
int zs_interrupt_init(struct zs_interrupt *interrupt);
void zs_interrupt_fini(struct zs_interrupt *interrupt);
/* Any thread. From @after_ns on, every millisecond; overrides an earlier one.
 */
void zs_interrupt_arm(struct zs_interrupt *interrupt, int64_t after_ns);
/* Any thread. A last one may still arrive, but none when it is the thread's own
 * and this has returned. */
void zs_interrupt_disarm(struct zs_interrupt *interrupt);
/* How often the calling thread has been interrupted, by anybody. */
uint32_t zs_interrupt_count(void);

#endif
