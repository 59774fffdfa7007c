/* SPDX-License-Identifier: MIT */
/* The bare jumps of switch.c and spawn_join.c; see bare.h. */
#include "bare.h"

#include <stddef.h>
#include <time.h>

#include "base/compiler.h"
#include "switch.h"

#if defined(ZS_ASAN) || defined(ZS_TSAN)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

struct call {
	int (*fn)(void *arg);
	void *arg;
};

static char stack[64 << 10] __attribute__((aligned(64)));
static void *own_sp;   /* of the measuring loop, while the other side runs */
static void *other_sp; /* of the other side */

static struct call queue[BARE_BATCH_MAX];
static struct call *next_call;

bool bare_is_possible(void)
{
	return !SANITIZED;
}

int64_t bare_cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void bounce(void *arg)
{
	(void)arg;
	for (;;)
		zs_switch(&other_sp, own_sp);
}

double bare_switch_ns(uint64_t pairs)
{
	int64_t start_ns;
	uint64_t i;

	other_sp = zs_switch_prepare(stack + sizeof(stack), bounce, NULL);
	start_ns = bare_cpu_ns();
	for (i = 0; i < pairs; i++)
		zs_switch(&own_sp, other_sp);
	return (double)(bare_cpu_ns() - start_ns) / (2 * (double)pairs);
}

static void run_calls(void *arg)
{
	(void)arg;
	for (;;) {
		next_call->fn(next_call->arg);
		zs_switch(&other_sp, own_sp);
	}
}

/* noinline: the compiler must not see through the queue. */
ZS_NOINLINE static void put_calls(uint32_t batch, int (*fn)(void *), void *arg)
{
	uint32_t i;

	for (i = 0; i < batch; i++)
		queue[i] = (struct call){ fn, arg };
}

double bare_task_ns(uint64_t count, uint32_t batch, int (*fn)(void *),
		    void *arg)
{
	int64_t start_ns;
	uint64_t done;
	uint32_t i;

	other_sp = zs_switch_prepare(stack + sizeof(stack), run_calls, NULL);
	start_ns = bare_cpu_ns();
	for (done = 0; done < count; done += batch) {
		put_calls(batch, fn, arg);
		for (i = 0; i < batch; i++) {
			next_call = &queue[i];
			zs_switch(&own_sp, other_sp);
		}
	}
	return (double)(bare_cpu_ns() - start_ns) / (double)done;
}
