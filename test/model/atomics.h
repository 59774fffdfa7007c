/* SPDX-License-Identifier: MIT */
/*
 * C11's atomics as the code under test sees them in a model: each is a call of
 * the explorer. A model test includes this before the source that it is to run.
 *
 * What the code does with memory that is not atomic is left to the test to
 * tell; so is what it allocates.
 */
#ifndef ZS_TEST_MODEL_ATOMICS_H
#define ZS_TEST_MODEL_ATOMICS_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/assert.h"
#include "model.h"

/* What was there is left in *value, of the object's type; @size is of both. */
void model_atomic_load(const volatile void *object, void *value, size_t size,
		       memory_order order, struct model_site *site);
void model_atomic_store(volatile void *object, size_t size, uint64_t value,
			memory_order order, struct model_site *site);
void model_atomic_init(volatile void *object, size_t size, uint64_t value,
		       struct model_site *site);
void model_atomic_update(volatile void *object, void *value, size_t size,
			 enum model_op_kind kind, uint64_t operand,
			 memory_order order, struct model_site *site);
/* @expected: of the same size as the object. */
bool model_atomic_cas(volatile void *object, size_t size, void *expected,
		      uint64_t desired, memory_order order,
		      memory_order failure_order, struct model_site *site);

#define MODEL_SITE(expression)                               \
	({                                                   \
		static struct model_site model_site_here = { \
			.file = __FILE__,                    \
			.line = __LINE__,                    \
			.object = #expression,               \
		};                                           \
		model_site_here.function = __func__;         \
		&model_site_here;                            \
	})
/* The comma makes a value of it, which is neither atomic nor const. */
#define MODEL_TYPE(object) __typeof__(((void)0, *(object)))
/* Pointers and integers alike. */
#define MODEL_BITS(value) ((uint64_t)(uintptr_t)(value))

#undef atomic_init
#define atomic_init(object, value)                                 \
	model_atomic_init(object, sizeof(*(object)),               \
			  MODEL_BITS((MODEL_TYPE(object))(value)), \
			  MODEL_SITE(object))
#undef atomic_load_explicit
#define atomic_load_explicit(object, order)                                  \
	({                                                                   \
		MODEL_TYPE(object) model_value;                              \
                                                                             \
		model_atomic_load(object, &model_value, sizeof(model_value), \
				  order, MODEL_SITE(object));                \
		model_value;                                                 \
	})
#undef atomic_store_explicit
#define atomic_store_explicit(object, value, order)                        \
	model_atomic_store(object, sizeof(*(object)),                      \
			   MODEL_BITS((MODEL_TYPE(object))(value)), order, \
			   MODEL_SITE(object))

#define MODEL_UPDATE(object, kind, operand, order)                             \
	({                                                                     \
		MODEL_TYPE(object) model_value = (operand);                    \
                                                                               \
		model_atomic_update(object, &model_value, sizeof(model_value), \
				    kind, MODEL_BITS(model_value), order,      \
				    MODEL_SITE(object));                       \
		model_value;                                                   \
	})
#undef atomic_exchange_explicit
#define atomic_exchange_explicit(object, value, order) \
	MODEL_UPDATE(object, MODEL_EXCHANGE, value, order)
#undef atomic_fetch_add_explicit
#define atomic_fetch_add_explicit(object, operand, order) \
	MODEL_UPDATE(object, MODEL_ADD, operand, order)
#undef atomic_fetch_sub_explicit
#define atomic_fetch_sub_explicit(object, operand, order) \
	MODEL_UPDATE(object, MODEL_SUB, operand, order)
#undef atomic_fetch_or_explicit
#define atomic_fetch_or_explicit(object, operand, order) \
	MODEL_UPDATE(object, MODEL_OR, operand, order)

#undef atomic_compare_exchange_strong_explicit
#define atomic_compare_exchange_strong_explicit(object, expected, desired,   \
						success, failure)            \
	model_atomic_cas(object, sizeof(*(object)), expected,                \
			 MODEL_BITS((MODEL_TYPE(object))(desired)), success, \
			 failure, MODEL_SITE(object))
#undef atomic_compare_exchange_weak_explicit
#define atomic_compare_exchange_weak_explicit \
	atomic_compare_exchange_strong_explicit

#undef atomic_thread_fence
#define atomic_thread_fence(order) \
	_Static_assert(0, "the model knows no fences")

/* A broken invariant is a finding of this execution. */
#undef ZS_ASSERT
#define ZS_ASSERT(condition) model_assert(condition)

#endif
