/* SPDX-License-Identifier: MIT */
/*
 * The graph of an execution, for those who build it: memory.c the views and the
 * modification orders, seq_cst.c the total order, races.c what is wrong with
 * it, or missing.
 */
#ifndef ZS_TEST_MODEL_GRAPH_H
#define ZS_TEST_MODEL_GRAPH_H

#include "memory.h"

enum {
	HASH_SIZE = 256,
	MAX_SEQ_CST = 64,
	MAX_PLAIN = 128,
};

struct view {
	model_store_id seen[MODEL_MAX_LOCATIONS];
	/* Up to which access of each thread all happened before. */
	uint32_t clock[MODEL_MAX_THREADS];
	/* The seq_cst accesses that did, a bit each. */
	uint64_t seq_cst;
};

struct store {
	uint64_t value;
	uint16_t location;
	uint16_t position; /* in the modification order */
	uint8_t thread;
	/* The next in the modification order has read this one. */
	bool is_updated;
	struct view view; /* for who acquires */
	/* Up to which access of each thread it depends on: program order and
	 * reads-from, of whatever order. */
	uint32_t causes[MODEL_MAX_THREADS];
};

struct location {
	uintptr_t address;
	uint16_t num_stores;
	/* Its first store, for who must have seen it. */
	uint8_t maker;
	uint32_t made;
	model_store_id order[MODEL_MAX_MODIFICATIONS];
	size_t size;
	/* When each thread last had to do with it. */
	uint32_t used[MODEL_MAX_THREADS];
	bool is_retired;
};

struct thread {
	struct view view;
	uint32_t causes[MODEL_MAX_THREADS];
};

struct read {
	uint16_t location;
	uint8_t thread;
	bool is_update;
	bool is_acquire;
	model_store_id from;
	uint32_t clock;	 /* of the thread */
	uint32_t number; /* among the thread's causes */
	uint32_t node;
};

struct seq_cst {
	uint16_t location;
	model_store_id read, written; /* 0: did not */
	uint64_t later;		      /* all that come after it in S */
};

struct plain {
	uintptr_t address;
	uint8_t writer;
	uint32_t written;
	uint32_t read[MODEL_MAX_THREADS];
};

struct graph {
	struct thread threads[MODEL_MAX_THREADS];
	struct store stores[MODEL_MAX_STORES];
	struct location locations[MODEL_MAX_LOCATIONS];
	struct read reads[MODEL_MAX_READS];
	struct seq_cst seq_csts[MAX_SEQ_CST];
	struct plain plains[MAX_PLAIN];
	unsigned int num_stores, num_locations, num_reads, num_seq_csts,
		num_plains;
	/* Location plus 1, by address; 0 is none. */
	uint8_t hash[HASH_SIZE];
};

extern struct graph graph;

static inline struct store *store_of(model_store_id id)
{
	return &graph.stores[id];
}

static inline bool is_acquire(memory_order order)
{
	return order == memory_order_acquire || order == memory_order_acq_rel ||
	       order == memory_order_seq_cst;
}

static inline bool is_release(memory_order order)
{
	return order == memory_order_release || order == memory_order_acq_rel ||
	       order == memory_order_seq_cst;
}

/* Is there a place in the total order for a seq_cst access that reads @read and
 * writes right after @after? Either is 0 if it does not. */
bool graph_has_place(int thread, uint16_t location, model_store_id read,
		     model_store_id after);
/* It is made, before what it writes is in its place; @written is that. */
void graph_place(int thread, uint16_t location, model_store_id read,
		 model_store_id after, model_store_id written);

void graph_note_read(int thread, model_store_id from, bool is_update,
		     memory_order order, unsigned int node);
/* After a store by a thread: what reads there have been to do with it. */
void graph_compare_reads(const struct store *store);

#endif
