/* SPDX-License-Identifier: MIT */
/*
 * Every execution of small programs on the slab: two threads give objects back
 * while the owner takes some, and one walks them while the owner makes them. No
 * object is handed out twice or lost, and its last user is done with it.
 */
#include <stdlib.h>
#include <sys/mman.h>

#include "atomics.h"
#include "sweep.h"

#define mmap(address, size, protection, flags, fd, offset) model_alloc(size)
#define munmap(memory, size) ((void)(memory))

#include "mem/slab.c"

enum { MAX_OBJECTS = 6, OBJECT_SIZE = 64 };

static struct zs_slab slab;
static void *objects[MAX_OBJECTS];
/* Who has it: 0 for the slab. */
static int holders[MAX_OBJECTS];
static int num_objects; /* that there are, given out by make() */

static void make(int number)
{
	zs_slab_init(&slab, OBJECT_SIZE);
	num_objects = number;
	for (int i = 0; i < num_objects; i++) {
		objects[i] = zs_slab_get(&slab);
		holders[i] = -1;
	}
}

static void make_none(void)
{
	make(0);
}

static void make_some(void)
{
	make(3 + sweep_bound());
}

static int index_of(const void *object)
{
	for (int i = 0; i < num_objects; i++)
		if (objects[i] == object)
			return i;
	return -1;
}

/* Its memory is written as long as it is held. */
static void give_back(int number)
{
	model_write(objects[number]);
	holders[number] = 0;
	zs_slab_put_remote(&slab, objects[number]);
}

static void give_even(void)
{
	for (int i = 0; i < num_objects; i += 2)
		give_back(i);
}

static void give_odd(void)
{
	for (int i = 1; i < num_objects; i += 2)
		give_back(i);
}

/* A new one, which was not among those that there were, is of no interest. */
static void *get(void)
{
	void *object = zs_slab_get(&slab);
	int number = index_of(object);

	model_assert(object);
	if (number < 0)
		return object;
	model_write(object);
	model_assert(holders[number] == 0);
	holders[number] = model_thread() + 1;
	return object;
}

/* One of them it gives back itself. */
static void get_some(void)
{
	void *first = get();
	void *second = get();

	model_assert(first != second);
	zs_slab_put(&slab, second);
	if (index_of(second) >= 0)
		holders[index_of(second)] = 0;
	get();
	get();
}

static void expect_none_lost(void)
{
	int held = 0;

	for (int i = 0; i < num_objects * 2 + 4; i++)
		get();
	for (int i = 0; i < num_objects; i++)
		held += holders[i] > 0;
	model_assert(held == num_objects);
}

static int num_visited;

static void visit(void *object, void *arg)
{
	(void)arg;
	(void)object;
	num_visited++;
}

static void walk(void)
{
	num_visited = 0;
	zs_slab_walk(&slab, visit, NULL);
	model_assert(num_visited <= 2);
}

static void get_two_new(void)
{
	model_assert(zs_slab_get(&slab));
	model_assert(zs_slab_get(&slab));
}

static void expect_two(void)
{
	walk();
	model_assert(num_visited == 2);
}

static const struct model_case cases[] = {
	{ "two give back, the owner takes",
	  make_some,
	  { get_some, give_even, give_odd },
	  expect_none_lost },
	{ "one walks while the owner makes some",
	  make_none,
	  { get_two_new, walk },
	  expect_two },
	{ 0 },
};

#define UNUSED_YET \
	"an object that was carved just now holds nothing that was written"

static const struct sweep_exception exceptions[] = {
	{ "carve", MODEL_STORE, "&chunk->carved", memory_order_relaxed,
	  UNUSED_YET },
	{ "zs_slab_walk", MODEL_LOAD, "&chunk->carved", memory_order_relaxed,
	  UNUSED_YET },
	{ 0 },
};

static const char *const files[] = { "mem/slab.c", "mem/slab.h", NULL };

int main(void)
{
	static const struct sweep sweep = {
		.name = "slab",
		.cases = cases,
		.exceptions = exceptions,
		.files = files,
	};

	return sweep_main(&sweep);
}
