/* SPDX-License-Identifier: MIT */
/* Interrupt: see interrupt.h. By raw system calls: musl has no name for the
 * thread that a timer's signal goes to. */
#include "engine/interrupt.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"

enum { PERIOD_NS = 1000000, NS_PER_SECOND = 1000000000 };

/* The kernel's struct sigevent, for SIGEV_THREAD_ID: 64 bytes. */
struct thread_event {
	union sigval value;
	int signal;
	int notify;
	int thread_id;
	int padding[11];
};
_Static_assert(sizeof(struct thread_event) == 64, "the kernel's size");

enum { NOTIFY_THREAD = 4 }; /* SIGEV_THREAD_ID */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned int num_takers;
static struct sigaction earlier;

static _Thread_local _Atomic uint32_t num_interrupts;

/* That it was called is all that is wanted of it. */
static void on_interrupt(int signal)
{
	(void)signal;
	/* relaxed: the thread's own, as is its handler. */
	atomic_store_explicit(&num_interrupts, zs_interrupt_count() + 1,
			      memory_order_relaxed);
}

uint32_t zs_interrupt_count(void)
{
	return atomic_load_explicit(&num_interrupts, memory_order_relaxed);
}

int zs_interrupt_take(void)
{
	struct sigaction action = { .sa_handler = on_interrupt };
	int ret = 0;

	sigemptyset(&action.sa_mask);
	pthread_mutex_lock(&lock);
	if (num_takers == 0 && sigaction(SIGSTKFLT, &action, &earlier) < 0)
		ret = -errno;
	else
		num_takers++;
	pthread_mutex_unlock(&lock);
	return ret;
}

void zs_interrupt_release(void)
{
	pthread_mutex_lock(&lock);
	ZS_ASSERT(num_takers > 0);
	if (--num_takers == 0)
		sigaction(SIGSTKFLT, &earlier, NULL);
	pthread_mutex_unlock(&lock);
}

void zs_interrupt_hold(void)
{
	pthread_mutex_lock(&lock);
}

void zs_interrupt_let_go(void)
{
	pthread_mutex_unlock(&lock);
}

int zs_interrupt_init(struct zs_interrupt *interrupt)
{
	struct thread_event event = {
		.signal = SIGSTKFLT,
		.notify = NOTIFY_THREAD,
		.thread_id = (int)syscall(SYS_gettid),
	};

	interrupt->timer = -1;
	if (syscall(SYS_timer_create, CLOCK_MONOTONIC, &event,
		    &interrupt->timer) < 0)
		return -errno;
	return 0;
}

void zs_interrupt_fini(struct zs_interrupt *interrupt)
{
	if (interrupt->timer >= 0)
		syscall(SYS_timer_delete, interrupt->timer);
	interrupt->timer = -1;
}

static void set_timer(struct zs_interrupt *interrupt, int64_t after_ns,
		      int64_t period_ns)
{
	struct itimerspec times = {
		.it_value = { .tv_sec = after_ns / NS_PER_SECOND,
			      .tv_nsec = after_ns % NS_PER_SECOND },
		.it_interval = { .tv_nsec = period_ns },
	};
	int saved_errno = errno;

	if (interrupt->timer >= 0)
		syscall(SYS_timer_settime, interrupt->timer, 0, &times, NULL);
	errno = saved_errno;
}

void zs_interrupt_arm(struct zs_interrupt *interrupt, int64_t after_ns)
{
	set_timer(interrupt, after_ns > 0 ? after_ns : 1, PERIOD_NS);
}

void zs_interrupt_disarm(struct zs_interrupt *interrupt)
{
	set_timer(interrupt, 0, 0);
}
