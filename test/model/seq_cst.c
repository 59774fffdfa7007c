/* SPDX-License-Identifier: MIT */
/*
 * The total order S of the seq_cst accesses: which of them have to come before
 * which, and that there is no cycle. Called by memory.c.
 */
#include "graph.h"

/* Where an access is in the order of its location: a store is followed by its
 * reads, these by a store that is about to be put after it. */
static unsigned int write_key(model_store_id id)
{
	return store_of(id)->position * 4u;
}

static unsigned int read_key(model_store_id id)
{
	return store_of(id)->position * 4u + 1;
}

static unsigned int new_write_key(model_store_id after)
{
	return store_of(after)->position * 4u + 2;
}

/* A seq_cst access to come: which others are before it in S, which after. */
struct place_in_s {
	uint64_t earlier, later;
};

static struct place_in_s place_in_s(int thread, uint16_t location,
				    unsigned int low, unsigned int high)
{
	struct place_in_s place = {
		.earlier = graph.threads[thread].view.seq_cst,
	};

	for (unsigned int i = 0; i < graph.num_seq_csts; i++) {
		const struct seq_cst *other = &graph.seq_csts[i];
		unsigned int other_low, other_high;

		if (other->location != location)
			continue;
		other_low = other->read ? read_key(other->read) :
					  write_key(other->written);
		other_high = other->written ? write_key(other->written) :
					      read_key(other->read);
		if (other_low < high)
			place.earlier |= UINT64_C(1) << i;
		if (low < other_high)
			place.later |= UINT64_C(1) << i |
				       graph.seq_csts[i].later;
	}
	return place;
}

/* @read or @after is 0 for an access that does not read or does not write. */
static struct place_in_s place_of(int thread, uint16_t location,
				  model_store_id read, model_store_id after)
{
	return place_in_s(thread, location,
			  read ? read_key(read) : new_write_key(after),
			  after ? new_write_key(after) : read_key(read));
}

bool graph_has_place(int thread, uint16_t location, model_store_id read,
		     model_store_id after)
{
	struct place_in_s place = place_of(thread, location, read, after);

	return (place.earlier & place.later) == 0;
}

/* Before what it writes is in its place; @written is that. */
void graph_place(int thread, uint16_t location, model_store_id read,
		 model_store_id after, model_store_id written)
{
	struct place_in_s place = place_of(thread, location, read, after);
	unsigned int index = graph.num_seq_csts;
	uint64_t self = UINT64_C(1) << index;

	if (index == MAX_SEQ_CST - 1)
		model_fail("too many seq_cst accesses");
	else
		graph.num_seq_csts++;
	for (unsigned int i = 0; i < index; i++) {
		uint64_t bit = UINT64_C(1) << i;

		if (place.earlier & bit ||
		    graph.seq_csts[i].later & place.earlier)
			graph.seq_csts[i].later |= self | place.later;
	}
	graph.seq_csts[index] = (struct seq_cst){
		.location = location,
		.read = read,
		.written = written,
		.later = place.later,
	};
	graph.threads[thread].view.seq_cst |= self;
}
