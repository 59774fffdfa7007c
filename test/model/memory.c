/* SPDX-License-Identifier: MIT */
/*
 * C11's memory as a graph that grows by one access at a time. Called by the
 * explorer, which chooses.
 *
 * Each location has its modification order, a list of stores. A thread has a
 * view: for each location the newest store that it knows of, before which it
 * may not read or write any more. A release puts the view into the store, an
 * acquire takes it from there; a read-modify-write passes on what it reads.
 *
 * A store may be put anywhere after what its thread knows of, not only at the
 * end, so that the graphs do not depend on the order in which threads run.
 *
 * Of the seq_cst accesses there must be a total order S that agrees with
 * happens-before and with the order of each location. Here it is not the order
 * of execution (C11 demands no such thing, and arm64 keeps none: a plain store
 * may pass a store-release before it); what there must be is no cycle. Beyond
 * C11, S agrees with all of happens-before, as on x86 and arm64; C++20 makes an
 * exception for others.
 */
#include "graph.h"

#include <string.h>

struct graph graph;

/* --- views --- */

static uint32_t larger(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

static void join_causes(uint32_t *to, const uint32_t *from)
{
	for (int i = 0; i < MODEL_MAX_THREADS; i++)
		to[i] = larger(to[i], from[i]);
}

static void see(struct view *view, model_store_id id)
{
	model_store_id *seen = &view->seen[store_of(id)->location];

	if (*seen == 0 || store_of(*seen)->position < store_of(id)->position)
		*seen = id;
}

static void join_view(struct view *to, const struct view *from)
{
	for (unsigned int i = 0; i < graph.num_locations; i++)
		if (from->seen[i] != 0)
			see(to, from->seen[i]);
	join_causes(to->clock, from->clock);
	to->seq_cst |= from->seq_cst;
}

bool memory_is_read(enum model_op_kind kind)
{
	return kind != MODEL_STORE && kind != MODEL_INIT;
}

bool memory_is_write(enum model_op_kind kind)
{
	return kind != MODEL_LOAD;
}

/* --- locations --- */

static model_store_id add_store(uint16_t location, int thread, uint64_t value)
{
	model_store_id id = (model_store_id)graph.num_stores;
	struct store *store = store_of(id);

	if (id == MODEL_MAX_STORES - 1)
		model_fail("too many stores: it may not end");
	else
		graph.num_stores++;
	memset(&store->view, 0, sizeof(store->view));
	store->location = location;
	store->thread = (uint8_t)thread;
	store->value = value;
	store->is_updated = false;
	memcpy(store->causes, graph.threads[thread].causes,
	       sizeof(store->causes));
	return id;
}

/* Right after the store at @position - 1. */
static void insert_store(model_store_id id, unsigned int position)
{
	struct location *location = &graph.locations[store_of(id)->location];

	if (location->num_stores == MODEL_MAX_MODIFICATIONS) {
		model_fail("too many stores to one place: it may not end");
		location->num_stores--;
	}
	for (unsigned int i = location->num_stores; i > position; i--) {
		location->order[i] = location->order[i - 1];
		store_of(location->order[i])->position = (uint16_t)i;
	}
	location->order[position] = id;
	store_of(id)->position = (uint16_t)position;
	location->num_stores++;
}

static uint64_t fetch(const volatile void *object, size_t size)
{
	uint64_t value = 0;

	memcpy(&value, (const void *)(uintptr_t)object, size);
	return value;
}

/* Atomics that are not initialised as such have been by thread 0. */
static uint16_t add_location(const volatile void *object, size_t size)
{
	uint16_t index = (uint16_t)graph.num_locations;
	struct location *location = &graph.locations[index];
	model_store_id first;

	if (index == MODEL_MAX_LOCATIONS - 1)
		model_fail("more atomics than the model has room for");
	else
		graph.num_locations++;
	location->address = (uintptr_t)object;
	location->size = size;
	location->num_stores = 0;
	location->maker = 0;
	location->made = 0;
	location->is_retired = false;
	memset(location->used, 0, sizeof(location->used));
	first = add_store(index, 0, fetch(object, size));
	memset(store_of(first)->causes, 0, sizeof(store_of(first)->causes));
	insert_store(first, 0);
	store_of(first)->view.seen[index] = first;
	return index;
}

static uint16_t find_location(const volatile void *object, size_t size)
{
	uintptr_t address = (uintptr_t)object;
	unsigned int slot = (unsigned int)(address >> 2) * 37 % HASH_SIZE;

	while (graph.hash[slot] != 0) {
		uint16_t index = (uint16_t)(graph.hash[slot] - 1);

		if (graph.locations[index].address == address)
			return index;
		slot = (slot + 1) % HASH_SIZE;
	}
	graph.hash[slot] = (uint8_t)(graph.num_locations + 1);
	return add_location(object, size);
}

uint16_t memory_locate(const volatile void *object, size_t size, int thread)
{
	uint16_t index = find_location(object, size);
	struct location *location = &graph.locations[index];

	if (graph.threads[thread].view.clock[location->maker] < location->made)
		model_fail("an atomic is used by a thread to which it was not "
			   "published");
	if (location->is_retired)
		model_fail("an atomic is used whose memory is gone");
	return index;
}

/* --- what may be read, and where written --- */

static model_store_id newest(const struct location *location)
{
	return location->order[location->num_stores - 1];
}

static bool can_read(int thread, const struct model_op *op, model_store_id id)
{
	const struct store *store = store_of(id);
	bool writes = memory_is_write(op->kind);
	memory_order order = op->order;

	if (op->accepts && !op->accepts(store->value))
		return false;
	if (op->kind == MODEL_CAS && store->value != op->expected) {
		writes = false;
		order = op->failure_order;
	}
	/* Nothing comes between an update and what it has read. */
	if (writes && store->is_updated)
		return false;
	return order != memory_order_seq_cst ||
	       graph_has_place(thread, op->location, id, writes ? id : 0);
}

unsigned int memory_read_options(int thread, const struct model_op *op,
				 model_store_id since, model_store_id *options)
{
	const struct location *location = &graph.locations[op->location];
	model_store_id seen = graph.threads[thread].view.seen[op->location];
	unsigned int number = 0;

	/* Alone: there is nothing to choose. */
	if (thread == 0) {
		options[0] = newest(location);
		return 1;
	}
	for (unsigned int i = seen ? store_of(seen)->position : 0;
	     i < location->num_stores; i++) {
		model_store_id id = location->order[i];

		if (id >= since && can_read(thread, op, id))
			options[number++] = id;
	}
	return number;
}

unsigned int memory_write_options(int thread, const struct model_op *op,
				  model_store_id *options)
{
	const struct location *location = &graph.locations[op->location];
	model_store_id seen = graph.threads[thread].view.seen[op->location];
	unsigned int number = 0;

	if (thread == 0) {
		options[0] = newest(location);
		return 1;
	}
	for (unsigned int i = seen ? store_of(seen)->position : 0;
	     i < location->num_stores; i++) {
		model_store_id id = location->order[i];

		if (store_of(id)->is_updated)
			continue;
		if (op->order == memory_order_seq_cst &&
		    !graph_has_place(thread, op->location, 0, id))
			continue;
		options[number++] = id;
	}
	return number;
}

/* --- accesses --- */

static uint64_t updated(const struct model_op *op, uint64_t old)
{
	switch (op->kind) {
	case MODEL_ADD:
		return old + op->operand;
	case MODEL_SUB:
		return old - op->operand;
	case MODEL_OR:
		return old | op->operand;
	default:
		return op->operand;
	}
}

/* What comes after this access has another time. */
static void tick(struct thread *thread, int index)
{
	thread->view.clock[index]++;
}

/* @from: what an update has read, else 0. */
static void write_after(int index, struct model_op *op, model_store_id from,
			model_store_id after)
{
	struct location *location = &graph.locations[op->location];
	struct thread *thread = &graph.threads[index];
	uint64_t old = from ? store_of(from)->value : 0;
	model_store_id id = add_store(op->location, index, updated(op, old));
	struct store *store = store_of(id);

	location->used[index] = thread->view.clock[index];
	if (location->size < sizeof(store->value))
		store->value &= (UINT64_C(1) << location->size * 8) - 1;
	if (op->site)
		store->value &= ~op->site->cleared_bits;
	if (op->order == memory_order_seq_cst)
		graph_place(index, op->location, from, after, id);
	insert_store(id, store_of(after)->position + 1u);
	if (from)
		store_of(from)->is_updated = true;
	thread->view.seen[op->location] = id;
	if (from)
		store->view = store_of(from)->view;
	if (is_release(op->order))
		join_view(&store->view, &thread->view);
	see(&store->view, id);
	tick(thread, index);
	if (index != 0)
		graph_compare_reads(store);
	op->has_written = true;
	if (newest(location) == id)
		memcpy((void *)location->address, &store->value,
		       location->size);
}

void memory_read(int index, struct model_op *op, model_store_id from,
		 unsigned int node)
{
	struct thread *thread = &graph.threads[index];
	struct store *store = store_of(from);
	memory_order order = op->order;
	bool writes = memory_is_write(op->kind);

	graph.locations[op->location].used[index] = thread->view.clock[index];
	op->value = store->value;
	op->has_written = false;
	if (op->kind == MODEL_CAS && store->value != op->expected) {
		writes = false;
		order = op->failure_order;
	}
	if (index != 0 && memory_is_write(op->kind))
		memory_find_missed_updates(index, op);
	thread->causes[index]++;
	join_causes(thread->causes, store->causes);
	if (index != 0)
		graph_note_read(index, from, writes, order, node);
	see(&thread->view, from);
	if (is_acquire(order))
		join_view(&thread->view, &store->view);
	if (writes)
		write_after(index, op, from, from);
	else if (order == memory_order_seq_cst)
		graph_place(index, op->location, from, 0, 0);
}

void memory_write(int index, struct model_op *op, model_store_id after)
{
	struct thread *thread = &graph.threads[index];
	struct location *location = &graph.locations[op->location];

	thread->causes[index]++;
	/* The first store of all, which nobody may be without. */
	if (op->kind == MODEL_INIT && location->num_stores == 1) {
		location->maker = (uint8_t)index;
		location->made = thread->view.clock[index];
	}
	write_after(index, op, 0, after);
}

/* --- life --- */

model_store_id memory_num_stores(void)
{
	return (model_store_id)graph.num_stores;
}

void memory_reset(void)
{
	memset(graph.threads, 0, sizeof(graph.threads));
	memset(graph.hash, 0, sizeof(graph.hash));
	graph.num_stores = 1;
	graph.num_locations = 0;
	graph.num_reads = 0;
	graph.num_seq_csts = 0;
	graph.num_plains = 0;
	for (int i = 0; i < MODEL_MAX_THREADS; i++)
		graph.threads[i].view.clock[i] = 1;
}

void memory_fork(int index)
{
	struct thread *thread = &graph.threads[index];

	join_view(&thread->view, &graph.threads[0].view);
	join_causes(thread->causes, graph.threads[0].causes);
	tick(&graph.threads[0], 0);
}

void memory_join(int index)
{
	join_view(&graph.threads[0].view, &graph.threads[index].view);
	join_causes(graph.threads[0].causes, graph.threads[index].causes);
}

void memory_describe_store(model_store_id id, int *thread, uint64_t *value)
{
	*thread = store_of(id)->thread;
	*value = store_of(id)->value;
}
