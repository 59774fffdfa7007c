/* SPDX-License-Identifier: MIT */
/*
 * What is wrong with an execution, whatever the program makes of it: data
 * races, memory that is used when it is gone, and loads that C11 lets read what
 * the explorer cannot show. And what is missing from it: stores that came too
 * late to be read, for the explorer to let them come first. Called by memory.c
 * and by the programs.
 */
#include "graph.h"

#include <string.h>

/* --- reads and the stores that come after them --- */

/* Those reads that might have been of this store had it come first, because it
 * depends on none of them. */
static void find_missed(const struct store *store)
{
	for (unsigned int i = 0; i < graph.num_reads; i++) {
		const struct read *read = &graph.reads[i];

		if (read->location == store->location &&
		    read->thread != store->thread &&
		    store->causes[read->thread] < read->number)
			memory_on_missed(read->node);
	}
}

void memory_find_missed_updates(int thread, const struct model_op *op)
{
	const uint32_t *causes = graph.threads[thread].causes;

	for (unsigned int i = 0; i < graph.num_reads; i++) {
		const struct read *read = &graph.reads[i];

		if (read->location == op->location && read->is_update &&
		    read->thread != thread &&
		    causes[read->thread] < read->number)
			memory_on_missed(read->node);
	}
}

void graph_note_read(int thread, model_store_id from, bool is_update,
		     memory_order order, unsigned int node)
{
	if (graph.num_reads == MODEL_MAX_READS) {
		model_fail("too many reads: it may not end");
		return;
	}
	graph.reads[graph.num_reads++] = (struct read){
		.location = store_of(from)->location,
		.thread = (uint8_t)thread,
		.is_update = is_update,
		.is_acquire = is_acquire(order),
		.from = from,
		.clock = graph.threads[thread].view.clock[thread],
		.number = graph.threads[thread].causes[thread],
		.node = node,
	};
}

/* Does @thread write to the location of @read between that and its access
 * number @end? Then the read cannot be of what comes after. */
static bool is_overwritten(const struct read *read, uint32_t end)
{
	const struct location *location = &graph.locations[read->location];

	for (unsigned int i = 0; i < location->num_stores; i++) {
		const struct store *store = store_of(location->order[i]);
		uint32_t number = store->causes[read->thread];

		if (store->thread == read->thread && number > read->number &&
		    number <= end)
			return true;
	}
	return false;
}

/* The last read by another thread, of the same place, that led to this store
 * but did not happen before it: in C11 (and on arm64, but for dependencies) it
 * could have been of the store itself, which no execution here shows. Nothing
 * passes an acquire on the machines that we know, so it is left out. */
static void find_buffered(const struct store *store)
{
	const struct view *view = &graph.threads[store->thread].view;
	const struct read *last[MODEL_MAX_THREADS] = { NULL };

	for (unsigned int i = 0; i < graph.num_reads; i++) {
		const struct read *read = &graph.reads[i];

		if (read->location == store->location &&
		    read->thread != store->thread &&
		    read->number <= store->causes[read->thread])
			last[read->thread] = read;
	}
	for (int i = 0; i < MODEL_MAX_THREADS; i++) {
		const struct read *read = last[i];

		if (!read || read->is_update || view->clock[i] >= read->clock ||
		    read->is_acquire ||
		    store_of(read->from)->value == store->value ||
		    is_overwritten(read, store->causes[i]))
			continue;
		model_fail("load buffering: thread %d may read %#llx of thread "
			   "%d, which depends on it",
			   i, (unsigned long long)store->value, store->thread);
	}
}

void graph_compare_reads(const struct store *store)
{
	find_missed(store);
	find_buffered(store);
}

/* --- memory that is not atomic --- */

static struct plain *find_plain(const void *address)
{
	struct plain *plain;

	for (unsigned int i = 0; i < graph.num_plains; i++)
		if (graph.plains[i].address == (uintptr_t)address)
			return &graph.plains[i];
	if (graph.num_plains == MAX_PLAIN) {
		model_fail("more plain memory than the model has room for");
		graph.num_plains--;
	}
	plain = &graph.plains[graph.num_plains++];
	memset(plain, 0, sizeof(*plain));
	plain->address = (uintptr_t)address;
	return plain;
}

void model_read(const void *address)
{
	int index = model_thread();
	const struct view *view = &graph.threads[index].view;
	struct plain *plain = find_plain(address);

	if (view->clock[plain->writer] < plain->written)
		model_fail("data race: thread %d reads what thread %d wrote",
			   index, plain->writer);
	plain->read[index] = view->clock[index];
}

void model_write(const void *address)
{
	int index = model_thread();
	const struct view *view = &graph.threads[index].view;
	struct plain *plain = find_plain(address);

	if (view->clock[plain->writer] < plain->written)
		model_fail("data race: thread %d writes what thread %d wrote",
			   index, plain->writer);
	for (int i = 0; i < MODEL_MAX_THREADS; i++)
		if (view->clock[i] < plain->read[i])
			model_fail("data race: thread %d writes what thread "
				   "%d reads",
				   index, i);
	plain->writer = (uint8_t)index;
	plain->written = view->clock[index];
}

/* --- memory that is gone --- */

void model_retire(const void *address, size_t size)
{
	int index = model_thread();
	const struct view *view = &graph.threads[index].view;

	for (unsigned int i = 0; i < graph.num_locations; i++) {
		struct location *location = &graph.locations[i];

		if (location->address - (uintptr_t)address >= size)
			continue;
		location->is_retired = true;
		for (int j = 0; j < MODEL_MAX_THREADS; j++)
			if (view->clock[j] < location->used[j])
				model_fail("thread %d frees the atomics that "
					   "thread %d uses",
					   index, j);
	}
}
