/* SPDX-License-Identifier: MIT */
/*
 * Tells AddressSanitizer, ThreadSanitizer and Valgrind of stacks and of
 * switches between them; nothing at all in a normal build, but that a new stack
 * is registered in case Valgrind is watching. Called by the scheduler, on the
 * thread that owns the stack.
 *
 *	void *fake = NULL;
 *
 *	zs_sanitize_before_switch(&fake, &to);
 *	zs_switch(&from_sp, to_sp);
 *	zs_sanitize_after_switch(fake);
 *
 * all in one function (inlined calls are fine), for TSan counts calls by stack.
 * A task's entry function begins with zs_sanitize_after_switch(NULL).
 *
 * gcc 12's TSan dies at 8,128 fibers, so cap the stacks in such builds.
 */
#ifndef ZS_SCHED_SANITIZE_H
#define ZS_SCHED_SANITIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/assert.h"
#include "base/compiler.h"
#include "mem/stack.h"

#ifdef ZS_ASAN
#include <pthread.h>
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef ZS_TSAN
#include <sanitizer/tsan_interface.h>
#endif
#if defined(__has_include) && !defined(NVALGRIND)
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#define ZS_VALGRIND 1
#endif
#endif

/* What the sanitizers must know of a context to switch to. */
struct zs_sanitize_context {
	void *fiber;
	const void *base;
	size_t size;
};

/* One body for each sanitizer, empty where it is not built in. */

#ifdef ZS_ASAN
/* The bounds do not change while the thread lives, so once is enough. */
static inline void zs_asan_thread_bounds(struct zs_sanitize_context *context)
{
	pthread_attr_t attributes;
	void *base;
	int ret;

	ret = pthread_getattr_np(pthread_self(), &attributes);
	ZS_ASSERT(ret == 0);
	ret = pthread_attr_getstack(&attributes, &base, &context->size);
	ZS_ASSERT(ret == 0);
	pthread_attr_destroy(&attributes);
	context->base = base;
}

/* A task that has ended leaves its last frames poisoned, since they never
 * returned. */
static inline void zs_asan_unpoison(const struct zs_stack *stack)
{
	__asan_unpoison_memory_region(stack->base, stack->top - stack->base);
}

static ZS_ALWAYS_INLINE void
zs_asan_start_switch(void **fake_stack_save,
		     const struct zs_sanitize_context *to)
{
	__sanitizer_start_switch_fiber(fake_stack_save, to->base, to->size);
}

static ZS_ALWAYS_INLINE void zs_asan_finish_switch(void *fake_stack)
{
	__sanitizer_finish_switch_fiber(fake_stack, NULL, NULL);
}
#else
static inline void zs_asan_thread_bounds(struct zs_sanitize_context *context)
{
	(void)context;
}

static inline void zs_asan_unpoison(const struct zs_stack *stack)
{
	(void)stack;
}

static ZS_ALWAYS_INLINE void
zs_asan_start_switch(void **fake_stack_save,
		     const struct zs_sanitize_context *to)
{
	(void)fake_stack_save;
	(void)to;
}

static ZS_ALWAYS_INLINE void zs_asan_finish_switch(void *fake_stack)
{
	(void)fake_stack;
}
#endif

#ifdef ZS_TSAN
static inline void *zs_tsan_current(void)
{
	return __tsan_get_current_fiber();
}

static inline void *zs_tsan_create(void)
{
	return __tsan_create_fiber(0);
}

static inline void zs_tsan_destroy(void *fiber)
{
	__tsan_destroy_fiber(fiber);
}

/* Without the flag that says otherwise, what was done before the switch has
 * happened before what is done after it. */
static ZS_ALWAYS_INLINE void zs_tsan_switch(void *fiber)
{
	__tsan_switch_to_fiber(fiber, 0);
}
#else
static inline void *zs_tsan_current(void)
{
	return NULL;
}

static inline void *zs_tsan_create(void)
{
	return NULL;
}

static inline void zs_tsan_destroy(void *fiber)
{
	(void)fiber;
}

static ZS_ALWAYS_INLINE void zs_tsan_switch(void *fiber)
{
	(void)fiber;
}
#endif

#ifdef ZS_VALGRIND
/* One more than Valgrind's own number, which is 0 where Valgrind is not: so 0
 * means that it has not been asked yet. */
static inline uint32_t zs_valgrind_register(const struct zs_stack *stack)
{
	return VALGRIND_STACK_REGISTER(stack->base, stack->top) + 1;
}

static inline void zs_valgrind_deregister(uint32_t valgrind_id)
{
	VALGRIND_STACK_DEREGISTER(valgrind_id - 1);
}
#else
static inline uint32_t zs_valgrind_register(const struct zs_stack *stack)
{
	(void)stack;
	return 1;
}

static inline void zs_valgrind_deregister(uint32_t valgrind_id)
{
	(void)valgrind_id;
}
#endif

/* Before the first task runs on @stack; again does nothing. The pool that
 * carved it has zeroed ->fiber and ->valgrind_id. */
static inline void zs_sanitize_stack_create(struct zs_stack *stack)
{
	if (!stack->fiber)
		stack->fiber = zs_tsan_create();
	if (zs_unlikely(!stack->valgrind_id))
		stack->valgrind_id = zs_valgrind_register(stack);
}

/* Has that been done, by all that want to know? */
static inline bool zs_sanitize_stack_is_known(const struct zs_stack *stack)
{
	return stack->valgrind_id != 0;
}

/* Before @stack is unmapped, from another stack. One that was never created
 * does no harm. What is mapped there next is not poisoned. */
static inline void zs_sanitize_stack_destroy(struct zs_stack *stack)
{
	zs_asan_unpoison(stack);
	if (stack->fiber)
		zs_tsan_destroy(stack->fiber);
	if (stack->valgrind_id)
		zs_valgrind_deregister(stack->valgrind_id);
	stack->fiber = NULL;
	stack->valgrind_id = 0;
}

/* Before anything is written to @stack for a new task, zs_switch_prepare()
 * included. */
static inline void zs_sanitize_stack_reuse(struct zs_stack *stack)
{
	zs_asan_unpoison(stack);
}

/* On the calling thread's own stack. The context is good as long as the thread
 * lives. */
static inline void
zs_sanitize_thread_context(struct zs_sanitize_context *context)
{
	*context = (struct zs_sanitize_context){ .fiber = zs_tsan_current() };
	zs_asan_thread_bounds(context);
}

static inline struct zs_sanitize_context
zs_sanitize_stack_context(const struct zs_stack *stack)
{
	return (struct zs_sanitize_context){
		.fiber = stack->fiber,
		.base = stack->base,
		.size = (size_t)(stack->top - stack->base),
	};
}

/* Nothing may be called between this and the switch. @fake_stack_save is NULL
 * if the context that is left will never be resumed. */
static ZS_ALWAYS_INLINE void
zs_sanitize_before_switch(void **fake_stack_save,
			  const struct zs_sanitize_context *to)
{
	zs_asan_start_switch(fake_stack_save, to);
	zs_tsan_switch(to->fiber);
}

static ZS_ALWAYS_INLINE void zs_sanitize_after_switch(void *fake_stack)
{
	zs_asan_finish_switch(fake_stack);
}

/* Around calls that read what is written meanwhile, on purpose, by functions
 * that serve others, too; and ZS_RACY does not cover reads that are atomic. */
#ifdef ZS_TSAN
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);

static inline void zs_sanitize_begin_racy_reads(void)
{
	AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
}

static inline void zs_sanitize_end_racy_reads(void)
{
	AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
}
#else
static inline void zs_sanitize_begin_racy_reads(void)
{
}

static inline void zs_sanitize_end_racy_reads(void)
{
}
#endif

#endif
