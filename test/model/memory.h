/* SPDX-License-Identifier: MIT */
/* The memory that a model's threads share. For the explorer. */
#ifndef ZS_TEST_MODEL_MEMORY_H
#define ZS_TEST_MODEL_MEMORY_H

#include "model.h"

enum {
	MODEL_MAX_LOCATIONS = 48,
	MODEL_MAX_STORES = 400,
	MODEL_MAX_READS = 600,
	MODEL_MAX_MODIFICATIONS = 64, /* of one location */
};

/* A store by its number in the order of execution; 0 is none. */
typedef uint16_t model_store_id;

/* One access to come. */
struct model_op {
	enum model_op_kind kind;
	uint16_t location;
	uint64_t operand;
	uint64_t expected; /* of a compare-exchange */
	memory_order order;
	memory_order failure_order;
	/* Not NULL: it waits for a value that this accepts. */
	bool (*accepts)(uint64_t value);
	struct model_site *site;
	/* Afterwards: */
	uint64_t value; /* that was read */
	bool has_written;
};

/* What an execution is forgotten for. */
void memory_reset(void);
/* @thread begins with what thread 0 has seen. */
void memory_fork(int thread);
/* Thread 0 has seen what @thread has. */
void memory_join(int thread);

/* An access to @object by @thread is next. */
uint16_t memory_locate(const volatile void *object, size_t size, int thread);
bool memory_is_write(enum model_op_kind kind);
bool memory_is_read(enum model_op_kind kind);

/* How many stores there have been. */
model_store_id memory_num_stores(void);
/* The stores that an op may read, of those from @since on, oldest first in the
 * modification order. */
unsigned int memory_read_options(int thread, const struct model_op *op,
				 model_store_id since, model_store_id *options);
/* The stores that a pure store may come right after. */
unsigned int memory_write_options(int thread, const struct model_op *op,
				  model_store_id *options);
/* Reads @from; a read-modify-write also writes. @node is told to
 * memory_on_missed() when a store turns up that might have been read here. */
void memory_read(int thread, struct model_op *op, model_store_id from,
		 unsigned int node);
void memory_write(int thread, struct model_op *op, model_store_id after);
/* @op of @thread, which may be an update, can be of use to those updates that
 * have read what it would have read had it come first. */
void memory_find_missed_updates(int thread, const struct model_op *op);

/* The explorer's: at @node another thread's store could have come first. */
void memory_on_missed(unsigned int node);

/* For the trace. */
void memory_describe_store(model_store_id id, int *thread, uint64_t *value);

#endif
