/* SPDX-License-Identifier: MIT */
/*
 * Boost.Context's jump, for the benchmark of switches. The library is looked up
 * when it is wanted, so that the build needs none of its headers; what is
 * called in it has been its C interface since 1.61.
 */
#include "fcontext.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>

#include "../bare.h"

struct transfer {
	void *context; /* who jumped here */
	void *data;
};

typedef struct transfer jump_fn(void *to, void *data);
typedef void *make_fn(void *stack_top, size_t size,
		      void (*fn)(struct transfer));

static struct {
	jump_fn *jump;
	make_fn *make;
} boost;

static bool is_loaded(void)
{
	static const char *const names[] = {
		"libboost_context.so",
		"libboost_context.so.1.74.0",
		"libboost_context.so.1.81.0",
		"libboost_context.so.1.83.0",
	};
	void *library = NULL;
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]) && !library; i++)
		library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
	if (!library)
		return false;
	*(void **)&boost.jump = dlsym(library, "jump_fcontext");
	*(void **)&boost.make = dlsym(library, "make_fcontext");
	return boost.jump && boost.make;
}

static void bounce(struct transfer from)
{
	for (;;)
		from = boost.jump(from.context, NULL);
}

double fcontext_jump_ns(uint64_t pairs)
{
	static char stack[64 << 10] __attribute__((aligned(64)));
	struct transfer other;
	int64_t start_ns;
	uint64_t i;

	if (!boost.jump && !is_loaded())
		return -1;
	other.context =
		boost.make(stack + sizeof(stack), sizeof(stack), bounce);
	start_ns = bare_cpu_ns();
	for (i = 0; i < pairs; i++)
		other = boost.jump(other.context, NULL);
	return (double)(bare_cpu_ns() - start_ns) / (2 * (double)pairs);
}
