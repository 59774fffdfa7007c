/* SPDX-License-Identifier: MIT */
/*
 * Stall detector. A thread of its own looks at the workers twice in the time
 * that a task may take: one whose turn, budget and task are still the same has
 * resumed nobody since. It reads what is there in any case, so nothing that
 * tasks do costs more for it. What the task is doing its own thread has to
 * tell, in a signal handler; unless it waits in a system call that a signal
 * would end, which is looked at from outside.
 */
#include "sched/stall.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/explain.h"
#include "base/futex.h"
#include "base/text.h"
#include "sched/runtime.h"
#include "sched/sanitize.h"
#include "sched/trace.h"

enum {
	THREAD_STACK_SIZE = 512 << 10,
	/* A thread that runs answers in microseconds, unless the machine is
	 * busy; one that blocks the signal never does. */
	ANSWER_WAIT_NS = 100000000,
	/* The first sight of a task says nothing of how long it has run. */
	SIGHTS_LEAST = 3,
};

/* Who has a worker. It resumes somebody else, or the same task once more, only
 * by a change of one of these. */
struct sight {
	struct zs_task *task; /* NULL: the loop */
	uint64_t turn;
	uint32_t budget;
	bool is_idle; /* the loop, which waits for an event */
};

/* What the watching thread knows of one worker, in its own memory. */
struct watch {
	bool is_there; /* its thread may be asked; under the lock */
	struct sight sight;
	uint32_t sights; /* of the same */
	int64_t since_ns;
	int64_t report_ns; /* how long a stall has to be for the next report */
};

/* A request to one worker. */
enum {
	REQUEST_NONE,
	REQUEST_ASKED,
	REQUEST_TAKEN, /* the worker is writing */
	REQUEST_ANSWERED,
	REQUEST_STATES, /* a request's word: its state + this x the worker */
};

struct zs_stall_detector {
	struct zs_runtime *runtime;
	pthread_t thread;
	pthread_mutex_t lock; /* of must_stop and watch.is_there */
	pthread_cond_t changed;
	bool must_stop;
	_Atomic uint32_t request;
	/* Written before a request is made. */
	struct sight asked;
	/* Written by the worker while the request is TAKEN. */
	bool is_over;
	struct zs_trace trace;
	struct watch watches[];
};

/* Its address tells our signals from those of others. */
static const char mark;

/* --- the worker's side --- */

static bool is_same(const struct sight *one, const struct sight *other)
{
	return one->task == other->task && one->turn == other->turn &&
	       one->budget == other->budget;
}

/* By any thread: what it has read of the three may be of two moments, but is
 * then not the same a second time. */
static ZS_RACY struct sight look_at(const struct zs_worker *worker)
{
	struct zs_task *task = worker->current;

	return (struct sight){
		.task = task,
		.is_idle = !task && worker->is_counted_asleep,
		/* relaxed: a number to compare. */
		.turn = atomic_load_explicit(&worker->counters.turns,
					     memory_order_relaxed),
		.budget = worker->budget,
	};
}

void zs_stall_answer(struct zs_worker *worker, const void *context)
{
	struct zs_stall_detector *detector = worker->runtime->stall_detector;
	uint32_t ours = worker->index * REQUEST_STATES;
	uint32_t asked = ours + REQUEST_ASKED;
	const struct zs_stack *stack;
	struct sight sight;

	/* acquire: pairs with the release in ask(). */
	if (!detector ||
	    !atomic_compare_exchange_strong_explicit(
		    &detector->request, &asked, ours + REQUEST_TAKEN,
		    memory_order_acquire, memory_order_relaxed))
		return;
	sight = look_at(worker);
	detector->is_over = !is_same(&sight, &detector->asked);
	if (!detector->is_over) {
		stack = sight.task ? sight.task->stack : NULL;
		zs_trace_take(&detector->trace, context,
			      stack ? (uintptr_t)stack->base : 0,
			      stack ? (uintptr_t)stack->top : 0);
	}
	/* release: publishes the trace to await_answer(). */
	atomic_store_explicit(&detector->request, ours + REQUEST_ANSWERED,
			      memory_order_release);
	zs_word_wake(&detector->request);
}

bool zs_stall_has_sent(const siginfo_t *info)
{
	return info->si_code == SI_QUEUE && info->si_value.sival_ptr == &mark;
}

static void set_there(struct zs_worker *worker, bool is_there)
{
	struct zs_stall_detector *detector = worker->runtime->stall_detector;

	if (!detector)
		return;
	pthread_mutex_lock(&detector->lock);
	detector->watches[worker->index].is_there = is_there;
	pthread_mutex_unlock(&detector->lock);
}

void zs_stall_enter(struct zs_worker *worker)
{
	set_there(worker, true);
}

void zs_stall_leave(struct zs_worker *worker)
{
	set_there(worker, false);
}

/* --- what a stalled task is doing --- */

/* System calls that end with EINTR when a handler has run, whatever SA_RESTART
 * says: see signal(7). One of them that has been disturbed before, by work that
 * the ring had for the thread, goes on as restart_syscall. */
/* clang-format off */
static const long ended_by_signals[] = {
	SYS_clock_nanosleep, SYS_nanosleep, SYS_restart_syscall, SYS_ppoll,
	SYS_pselect6, SYS_epoll_pwait, SYS_io_getevents, SYS_io_uring_enter,
	SYS_semtimedop, SYS_rt_sigtimedwait, SYS_rt_sigsuspend,
#ifdef SYS_epoll_pwait2
	SYS_epoll_pwait2,
#endif
#ifdef SYS_poll
	SYS_poll, SYS_select, SYS_epoll_wait, SYS_pause,
#endif
};
/* clang-format on */

static bool is_ended_by_signals(long number)
{
	size_t i;

	for (i = 0; i < sizeof(ended_by_signals) / sizeof(ended_by_signals[0]);
	     i++)
		if (ended_by_signals[i] == number)
			return true;
	return false;
}

/* Is the thread in such a call? Then *pc and *stack are its registers. */
static bool waits_in_vain_for_signals(const struct zs_worker *worker,
				      unsigned long *pc, unsigned long *stack)
{
	char text[256];
	ssize_t length;
	long number;
	int fd;

	snprintf(text, sizeof(text), "/proc/self/task/%d/syscall",
		 worker->thread_id);
	fd = open(text, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	length = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[length > 0 ? length : 0] = '\0';
	return sscanf(text, "%ld %*s %*s %*s %*s %*s %*s %lx %lx", &number,
		      stack, pc) == 3 &&
	       is_ended_by_signals(number);
}

/* Under the lock, which keeps the thread from ending. */
static void ask(struct zs_stall_detector *detector,
		const struct zs_worker *worker, const struct sight *sight)
{
	siginfo_t info = { .si_signo = ZS_STALL_SIGNAL, .si_code = SI_QUEUE };

	info.si_pid = getpid();
	info.si_uid = getuid();
	info.si_value.sival_ptr = (void *)(uintptr_t)&mark;
	detector->asked = *sight;
	/* release: publishes what is asked. */
	atomic_store_explicit(&detector->request,
			      worker->index * REQUEST_STATES + REQUEST_ASKED,
			      memory_order_release);
	syscall(SYS_rt_tgsigqueueinfo, getpid(), worker->thread_id,
		ZS_STALL_SIGNAL, &info);
}

static void wait_for_change(struct zs_stall_detector *detector, uint32_t from,
			    int64_t wait_ns)
{
	struct timespec wait = { .tv_nsec = wait_ns };

	zs_word_wait(&detector->request, from, &wait);
}

/* False: there is none. acquire, both: pairs with the release in
 * zs_stall_answer(). */
static bool await_answer(struct zs_stall_detector *detector, uint32_t index)
{
	uint32_t ours = index * REQUEST_STATES;
	uint32_t asked = ours + REQUEST_ASKED;
	int64_t end_ns = zs_clock_ns() + ANSWER_WAIT_NS;
	int64_t left_ns = ANSWER_WAIT_NS;

	while (left_ns > 0 &&
	       atomic_load_explicit(&detector->request, memory_order_acquire) ==
		       asked) {
		wait_for_change(detector, asked, left_ns);
		left_ns = end_ns - zs_clock_ns();
	}
	/* relaxed: withdrawn, it has published nothing. */
	if (atomic_compare_exchange_strong_explicit(
		    &detector->request, &asked, REQUEST_NONE,
		    memory_order_relaxed, memory_order_relaxed))
		return false;
	while (atomic_load_explicit(&detector->request, memory_order_acquire) !=
	       ours + REQUEST_ANSWERED)
		wait_for_change(detector, ours + REQUEST_TAKEN, ANSWER_WAIT_NS);
	return true;
}

/* --- reports --- */

static ZS_RACY void add_waiting(struct zs_text *text, struct zs_worker *worker,
				int64_t now_ns)
{
	/* relaxed: a count to look at. */
	int64_t unstarted =
		zs_deque_size(&worker->unstarted) +
		(int64_t)atomic_load_explicit(&worker->counters.arrivals,
					      memory_order_relaxed);

	zs_text_add(text, "; behind it: ");
	zs_text_add_number(text, unstarted);
	zs_text_add(text, " not started, ");
	zs_text_add_number(text, (int64_t)zs_wheel_num_armed(&worker->wheel));
	zs_text_add(text, zs_wheel_not_before(&worker->wheel) <= now_ns ?
				  " timers, some of them due" :
				  " timers, none due");
	if (!zs_mailbox_empty(&worker->mailbox))
		zs_text_add(text, ", messages");
}

static void describe_stall(struct zs_text *text, struct zs_worker *worker,
			   const struct watch *watch, int64_t now_ns)
{
	zs_sanitize_begin_racy_reads();
	zs_text_init(text);
	zs_text_add(text, "zsync: stall: ");
	if (watch->sight.task)
		zs_dump_add_task(text, watch->sight.task);
	else
		zs_text_add(text, "the loop (a timer's function, perhaps)");
	zs_text_add(text, " has kept worker ");
	zs_text_add_number(text, worker->index);
	zs_text_add(text, " (thread ");
	zs_text_add_number(text, worker->thread_id);
	zs_text_add(text, ") for ");
	zs_text_add_duration(text, now_ns - watch->since_ns);
	add_waiting(text, worker, now_ns);
	zs_text_add(text, "\n");
	zs_sanitize_end_racy_reads();
}

/* Where a thread is that must not be interrupted; false: it is not in such a
 * call. Its task's stack may be unmapped by now, what describes it may not. */
static ZS_RACY bool look_from_outside(struct zs_stall_detector *detector,
				      const struct zs_worker *worker,
				      const struct sight *asked)
{
	const struct zs_stack *stack = asked->task ? asked->task->stack : NULL;
	unsigned long pc, top;
	struct sight sight;

	if (!stack || !waits_in_vain_for_signals(worker, &pc, &top))
		return false;
	if (top < (uintptr_t)stack->base)
		top = (uintptr_t)stack->top;
	zs_trace_look(&detector->trace, pc, top, (uintptr_t)stack->top);
	sight = look_at(worker);
	detector->is_over = !is_same(&sight, asked);
	return true;
}

/* Not under the lock: who reads stderr may be slow. */
static void report(struct zs_stall_detector *detector, struct zs_text *text,
		   bool is_known)
{
	if (is_known && detector->is_over)
		zs_text_add(text, "  it has just given way\n");
	else if (!is_known)
		zs_text_add(text, "  no backtrace: its thread blocks SIGURG, "
				  "or gets no CPU\n");
	else if (!detector->trace.is_exact)
		zs_text_add(text, "  where it is, and what may be return "
				  "addresses on its stack:\n");
	zs_text_write(text, STDERR_FILENO);
	if (is_known && !detector->is_over)
		zs_trace_write(&detector->trace, STDERR_FILENO);
}

/* --- watching --- */

/* relaxed, all: numbers that publish nothing. This thread alone writes them. */
static void count_stall(struct zs_worker_counters *counters,
			const struct watch *watch, int64_t now_ns)
{
	uint64_t duration_ns = (uint64_t)(now_ns - watch->since_ns);

	if (atomic_load_explicit(&counters->stalled_since_ns,
				 memory_order_relaxed) == 0)
		ZS_COUNT(counters->stalls, 1);
	atomic_store_explicit(&counters->stalled_since_ns,
			      (uint64_t)watch->since_ns, memory_order_relaxed);
	if (duration_ns > atomic_load_explicit(&counters->longest_stall_ns,
					       memory_order_relaxed))
		atomic_store_explicit(&counters->longest_stall_ns, duration_ns,
				      memory_order_relaxed);
}

static void begin_watch(struct watch *watch, struct zs_worker *worker,
			const struct sight *sight, int64_t now_ns)
{
	const struct zs_config *config = &worker->runtime->config;

	watch->sight = *sight;
	watch->sights = 1;
	watch->since_ns = now_ns;
	watch->report_ns = (int64_t)config->stall_report_ms * 1000000;
	/* The loop may be looking for work. */
	if (!sight->task)
		watch->report_ns += (int64_t)config->idle_spin_us * 1000;
	/* relaxed: as above. */
	atomic_store_explicit(&worker->counters.stalled_since_ns, 0,
			      memory_order_relaxed);
}

/* Is there something new to report? After the first time: each time that it
 * has doubled. */
static bool is_due(struct watch *watch, struct zs_worker *worker,
		   int64_t now_ns)
{
	struct sight sight = look_at(worker);

	if (!watch->is_there || sight.is_idle ||
	    !is_same(&sight, &watch->sight)) {
		begin_watch(watch, worker, &sight, now_ns);
		return false;
	}
	/* A process that was stopped has not stalled. */
	if (++watch->sights < SIGHTS_LEAST ||
	    now_ns - watch->since_ns < watch->report_ns)
		return false;
	count_stall(&worker->counters, watch, now_ns);
	watch->report_ns = 2 * (now_ns - watch->since_ns);
	return true;
}

static void watch_worker(struct zs_stall_detector *detector,
			 struct zs_worker *worker)
{
	struct watch *watch = &detector->watches[worker->index];
	bool is_known = false, is_asked = false;
	struct zs_text text;
	int64_t now_ns;

	pthread_mutex_lock(&detector->lock);
	now_ns = zs_clock_ns();
	if (!is_due(watch, worker, now_ns)) {
		pthread_mutex_unlock(&detector->lock);
		return;
	}
	describe_stall(&text, worker, watch, now_ns);
	is_known = look_from_outside(detector, worker, &watch->sight);
	if (!is_known) {
		ask(detector, worker, &watch->sight);
		is_asked = true;
	}
	pthread_mutex_unlock(&detector->lock);
	if (is_asked)
		is_known = await_answer(detector, worker->index);
	report(detector, &text, is_known);
}

static bool wait_for_next_look(struct zs_stall_detector *detector)
{
	int64_t period_ns =
		(int64_t)detector->runtime->config.stall_report_ms * 500000;
	int64_t next_ns = zs_clock_ns() + period_ns;
	struct timespec next = {
		.tv_sec = next_ns / 1000000000,
		.tv_nsec = next_ns % 1000000000,
	};
	bool goes_on;

	pthread_mutex_lock(&detector->lock);
	while (!detector->must_stop &&
	       pthread_cond_timedwait(&detector->changed, &detector->lock,
				      &next) != ETIMEDOUT)
		;
	goes_on = !detector->must_stop;
	pthread_mutex_unlock(&detector->lock);
	return goes_on;
}

static void *watch_workers(void *arg)
{
	struct zs_stall_detector *detector = arg;
	struct zs_runtime *runtime = detector->runtime;
	uint32_t i;

	while (wait_for_next_look(detector))
		for (i = 0; i < runtime->num_workers; i++)
			watch_worker(detector, &runtime->workers[i]);
	return NULL;
}

/* --- life --- */

/* Signals are for other threads. */
static int make_thread(struct zs_stall_detector *detector)
{
	pthread_attr_t attributes;
	sigset_t all, old;
	int ret;

	sigfillset(&all);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, THREAD_STACK_SIZE);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	ret = pthread_create(&detector->thread, &attributes, watch_workers,
			     detector);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attributes);
	return ret == 0 ?
		       0 :
		       zs_explain_as(-ret, "the thread that looks for stalls "
					   "could not be made: set "
					   "stall_report_ms to 0 or raise "
					   "RLIMIT_NPROC (ulimit -u)");
}

static void fini(struct zs_stall_detector *detector)
{
	pthread_cond_destroy(&detector->changed);
	pthread_mutex_destroy(&detector->lock);
	free(detector);
}

static struct zs_stall_detector *create(struct zs_runtime *runtime)
{
	struct zs_stall_detector *detector;
	pthread_condattr_t attributes;

	detector = calloc(1, sizeof(*detector) +
				     runtime->num_workers *
					     sizeof(detector->watches[0]));
	if (!detector)
		return NULL;
	detector->runtime = runtime;
	pthread_mutex_init(&detector->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&detector->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	return detector;
}

int zs_stall_start(struct zs_runtime *runtime)
{
	struct zs_stall_detector *detector;
	int ret;

	if (runtime->config.stall_report_ms == 0)
		return 0;
	detector = create(runtime);
	if (!detector)
		return zs_explain_as(-ENOMEM, "no memory for the stall "
					      "detector");
	zs_trace_prepare();
	ret = make_thread(detector);
	if (ret < 0) {
		fini(detector);
		return ret;
	}
	runtime->stall_detector = detector;
	return 0;
}

void zs_stall_stop(struct zs_runtime *runtime)
{
	struct zs_stall_detector *detector = runtime->stall_detector;

	if (!detector)
		return;
	pthread_mutex_lock(&detector->lock);
	detector->must_stop = true;
	pthread_cond_signal(&detector->changed);
	pthread_mutex_unlock(&detector->lock);
	pthread_join(detector->thread, NULL);
	runtime->stall_detector = NULL;
	fini(detector);
}
