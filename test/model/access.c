/* SPDX-License-Identifier: MIT */
/*
 * The accesses that the code under test makes, as the explorer wants them, the
 * places that they are made from, and what threads block on. Called through
 * atomics.h and model.h.
 */
#include "atomics.h"

#include <string.h>

#include "explorer.h"
#include "memory.h"

static struct model_site *sites;

struct model_site *model_sites(void)
{
	return sites;
}

static void know(struct model_site *site, enum model_op_kind kind,
		 memory_order order)
{
	if (site->is_known)
		return;
	site->is_known = true;
	site->kind = kind;
	site->order = order;
	site->next = sites;
	sites = site;
}

/* What all have in common. */
static struct model_op begin(const volatile void *object, size_t size,
			     enum model_op_kind kind, memory_order order,
			     struct model_site *site)
{
	know(site, kind, order);
	return (struct model_op){
		.kind = kind,
		.location = memory_locate(object, size, model_thread()),
		.order = site->is_weakened ? site->weak_order : order,
		.site = site,
	};
}

void model_atomic_load(const volatile void *object, void *value, size_t size,
		       memory_order order, struct model_site *site)
{
	struct model_op op = begin(object, size, MODEL_LOAD, order, site);

	explorer_perform(&op);
	memcpy(value, &op.value, size);
}

void model_atomic_store(volatile void *object, size_t size, uint64_t value,
			memory_order order, struct model_site *site)
{
	struct model_op op = begin(object, size, MODEL_STORE, order, site);

	op.operand = value;
	explorer_perform(&op);
}

void model_atomic_init(volatile void *object, size_t size, uint64_t value,
		       struct model_site *site)
{
	struct model_op op =
		begin(object, size, MODEL_INIT, memory_order_relaxed, site);

	op.operand = value;
	explorer_perform(&op);
}

void model_atomic_update(volatile void *object, void *value, size_t size,
			 enum model_op_kind kind, uint64_t operand,
			 memory_order order, struct model_site *site)
{
	struct model_op op = begin(object, size, kind, order, site);

	op.operand = operand;
	explorer_perform(&op);
	memcpy(value, &op.value, size);
}

bool model_atomic_cas(volatile void *object, size_t size, void *expected,
		      uint64_t desired, memory_order order,
		      memory_order failure_order, struct model_site *site)
{
	struct model_op op = begin(object, size, MODEL_CAS, order, site);

	memcpy(&op.expected, expected, size);
	op.operand = desired;
	op.failure_order = failure_order;
	explorer_perform(&op);
	if (!op.has_written)
		memcpy(expected, &op.value, size);
	return op.has_written;
}

/* --- what threads block on --- */

static bool is_zero(uint64_t value)
{
	return value == 0;
}

static bool is_not_zero(uint64_t value)
{
	return value != 0;
}

void model_mutex_lock(struct model_mutex *mutex)
{
	struct model_op op = begin(&mutex->word, sizeof(mutex->word),
				   MODEL_EXCHANGE, memory_order_acquire,
				   MODEL_SITE(mutex->word));

	op.operand = 1;
	op.accepts = is_zero;
	explorer_perform(&op);
}

void model_mutex_unlock(struct model_mutex *mutex)
{
	atomic_store_explicit(&mutex->word, 0, memory_order_release);
}

void model_event_signal(struct model_event *event)
{
	atomic_fetch_add_explicit(&event->word, 1, memory_order_acq_rel);
}

void model_event_wait(struct model_event *event)
{
	struct model_op op = begin(&event->word, sizeof(event->word),
				   MODEL_EXCHANGE, memory_order_acq_rel,
				   MODEL_SITE(event->word));

	op.accepts = is_not_zero;
	explorer_perform(&op);
}

void model_await_pointer(void *object)
{
	struct model_op op = begin(object, sizeof(void *), MODEL_LOAD,
				   memory_order_relaxed, MODEL_SITE(object));

	op.accepts = is_not_zero;
	explorer_perform(&op);
}

void model_await_zero(void *object)
{
	struct model_op op = begin(object, sizeof(uint32_t), MODEL_LOAD,
				   memory_order_relaxed, MODEL_SITE(object));

	op.accepts = is_zero;
	explorer_perform(&op);
}

/* --- names --- */

const char *model_order_name(memory_order order)
{
	switch (order) {
	case memory_order_acquire:
		return "acquire";
	case memory_order_release:
		return "release";
	case memory_order_acq_rel:
		return "acq_rel";
	case memory_order_seq_cst:
		return "seq_cst";
	default:
		return "relaxed";
	}
}

const char *model_kind_name(enum model_op_kind kind)
{
	static const char *const names[] = {
		[MODEL_INIT] = "init",	   [MODEL_LOAD] = "load",
		[MODEL_STORE] = "store",   [MODEL_EXCHANGE] = "exchange",
		[MODEL_ADD] = "fetch_add", [MODEL_SUB] = "fetch_sub",
		[MODEL_OR] = "fetch_or",   [MODEL_CAS] = "compare_exchange",
	};

	return names[kind];
}
