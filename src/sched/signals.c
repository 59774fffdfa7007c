/* SPDX-License-Identifier: MIT */
/*
 * Signals. SIGSEGV is taken while a runtime runs, so that a stack overflow ends
 * with a message that says whose it was, and passed on to the handler that was
 * there before; SIGQUIT is taken if a program asks for dumps, SIGURG if it asks
 * for reports of stalls. Our own threads block all other signals that are sent,
 * and take those their code causes. Called by the runtime (handlers) and by
 * each worker on its thread (mask and stack).
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/explain.h"
#include "base/text.h"
#include "sched/runtime.h"
#include "sched/stall.h"
#include "zsync/stats.h"

/* For a dump in a handler and the registers that the kernel saves, which come
 * to 11 KiB with AMX. */
enum { SIGNAL_STACK_SIZE = 64 << 10 };

/* One signal that is ours while it has users. */
struct taken_signal {
	int number;
	void (*handler)(int number, siginfo_t *info, void *context);
	unsigned int users;
	/* Read by the handler without a lock: written before it is installed,
	 * constant until it is not. */
	struct sigaction before;
};

static void on_segv(int number, siginfo_t *info, void *context);
static void on_quit(int number, siginfo_t *info, void *context);
static void on_stall(int number, siginfo_t *info, void *context);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct taken_signal segv = { .number = SIGSEGV, .handler = on_segv };
static struct taken_signal quit = { .number = SIGQUIT, .handler = on_quit };
static struct taken_signal stall = {
	.number = ZS_STALL_SIGNAL,
	.handler = on_stall,
};

static void report_overflow(const struct zs_task *task)
{
	struct zs_text text;

	zs_text_init(&text);
	zs_text_add(&text, "zsync: stack overflow: ");
	zs_task_describe(task, &text);
	zs_text_add(&text, " has used up its ");
	zs_stacks_add_knob(&text, task);
	zs_text_write(&text, STDERR_FILENO);
}

/* What a fault's address is compared with. */
struct fault {
	struct zs_worker *worker;
	const void *address;
	struct zs_task *task; /* whose stack's guard that is in; NULL: none */
};

/* Only the upper half of its guard: what runs off the upper end of the stack
 * below meets the lower half first. */
static ZS_RACY void compare(void *object, void *arg)
{
	struct zs_task *task = object;
	struct fault *fault = arg;
	struct zs_stack_pool *stacks = &fault->worker->stacks;
	const char *address = fault->address;

	if (task->state == ZS_TASK_STARTED && task->worker == fault->worker &&
	    task->stack && zs_stack_in_guard(stacks, task->stack, address) &&
	    address >= task->stack->base - stacks->guards.size / 2)
		fault->task = task;
}

/* While a task gives way, the next one, or none, is the current one already,
 * but its last few words still go onto its own stack. */
static struct zs_task *who_overflows(struct zs_worker *worker,
				     const void *address)
{
	struct zs_runtime *runtime = worker->runtime;
	struct fault fault = { .worker = worker, .address = address };
	struct zs_task *task = worker->current;
	uint32_t i;

	if (task && zs_stack_in_guard(&worker->stacks, task->stack, address))
		return task;
	for (i = 0; i < runtime->num_workers; i++)
		zs_slab_walk(&runtime->workers[i].tasks, compare, &fault);
	zs_slab_walk(&runtime->foreign_tasks, compare, &fault);
	return fault.task;
}

/* False: there was no handler before ours. */
static bool call_before(const struct taken_signal *taken, siginfo_t *info,
			void *context)
{
	const struct sigaction *before = &taken->before;

	if (before->sa_flags & SA_SIGINFO)
		before->sa_sigaction(taken->number, info, context);
	else if (before->sa_handler != SIG_DFL && before->sa_handler != SIG_IGN)
		before->sa_handler(taken->number);
	else
		return false;
	return true;
}

/* What would have happened without us. */
static void pass_on(const struct taken_signal *taken, siginfo_t *info,
		    void *context)
{
	const struct sigaction *before = &taken->before;

	if (call_before(taken, info, context))
		return;
	if (before->sa_handler == SIG_IGN && info->si_code <= 0)
		return;
	/* The instruction that faulted does so again; what was sent is sent
	 * again. An ignored fault kills, too. */
	signal(taken->number, SIG_DFL);
	if (info->si_code <= 0)
		raise(taken->number);
}

static void on_segv(int number, siginfo_t *info, void *context)
{
	int saved_errno = errno;
	struct zs_worker *worker = zs_worker_self;
	struct zs_task *task = NULL;

	(void)number;
	if (worker && info->si_code > 0)
		task = who_overflows(worker, info->si_addr);
	if (task)
		report_overflow(task);
	errno = saved_errno;
	pass_on(&segv, info, context);
}

static void on_quit(int number, siginfo_t *info, void *context)
{
	int saved_errno = errno;

	(void)number;
	(void)info;
	(void)context;
	zs_dump(STDERR_FILENO);
	errno = saved_errno;
}

/* Unhandled it is ignored, so there is nobody else to pass it on to. */
static void on_stall(int number, siginfo_t *info, void *context)
{
	int saved_errno = errno;
	struct zs_worker *worker = zs_worker_self;

	(void)number;
	if (worker)
		zs_stall_answer(worker, context);
	errno = saved_errno;
	if (!zs_stall_has_sent(info))
		call_before(&stall, info, context);
}

static bool is_ours(const struct taken_signal *taken,
		    const struct sigaction *action)
{
	return action->sa_flags & SA_SIGINFO &&
	       action->sa_sigaction == taken->handler;
}

static int install(struct taken_signal *taken)
{
	struct sigaction action = {
		.sa_sigaction = taken->handler,
		.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART,
	};
	struct sigaction before;

	sigemptyset(&action.sa_mask);
	if (sigaction(taken->number, NULL, &before) < 0)
		return -errno;
	/* One that could not be taken out the last time would pass on to
	 * itself. */
	if (is_ours(taken, &before))
		return 0;
	taken->before = before;
	return sigaction(taken->number, &action, NULL) < 0 ? -errno : 0;
}

static int take(struct taken_signal *taken)
{
	int ret = taken->users == 0 ? install(taken) : 0;

	if (ret < 0)
		return zs_explain_as(ret, "signal %d cannot be handled",
				     taken->number);
	taken->users++;
	return 0;
}

static void let_go(struct taken_signal *taken)
{
	struct sigaction now;

	taken->users--;
	if (taken->users > 0 || sigaction(taken->number, NULL, &now) < 0)
		return;
	/* Whoever has installed a handler since then keeps it. */
	if (is_ours(taken, &now))
		sigaction(taken->number, &taken->before, NULL);
}

static struct taken_signal *const signals[] = { &segv, &quit, &stall };
enum { NR_SIGNALS = sizeof(signals) / sizeof(signals[0]) };

static bool is_wanted(const struct taken_signal *taken,
		      const struct zs_config *config)
{
	switch (taken->number) {
	case SIGSEGV:
		return !(config->flags & ZS_CONFIG_KEEP_SIGSEGV);
	case SIGQUIT:
		return config->flags & ZS_CONFIG_DUMP_ON_SIGQUIT;
	default:
		return config->stall_report_ms > 0;
	}
}

/* Of the first @number. */
static void let_go_of(size_t number, const struct zs_config *config)
{
	size_t i;

	for (i = 0; i < number; i++)
		if (is_wanted(signals[i], config))
			let_go(signals[i]);
}

int zs_signals_acquire(const struct zs_config *config)
{
	size_t i;
	int ret = 0;

	pthread_mutex_lock(&lock);
	for (i = 0; i < NR_SIGNALS && ret == 0; i++)
		if (is_wanted(signals[i], config))
			ret = take(signals[i]);
	if (ret < 0)
		let_go_of(i - 1, config);
	pthread_mutex_unlock(&lock);
	return ret;
}

void zs_signals_release(const struct zs_config *config)
{
	pthread_mutex_lock(&lock);
	let_go_of(NR_SIGNALS, config);
	pthread_mutex_unlock(&lock);
}

void zs_signals_hold(void)
{
	pthread_mutex_lock(&lock);
}

void zs_signals_let_go(void)
{
	pthread_mutex_unlock(&lock);
}

/* What a worker takes. A thread of our own takes what its own code causes. The
 * caller's, in zs_run(), also what it took before: a program may have no other
 * thread, and wants to be interrupted. */
static void choose_mask(struct zs_worker *worker, sigset_t *mask)
{
	static const int own[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL,
				   SIGTRAP, SIGSYS, SIGABRT };
	size_t i;

	if (worker->has_thread)
		sigfillset(mask);
	else
		*mask = worker->old_signal_mask;
	for (i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		sigdelset(mask, own[i]);
	/* A write through the ring raises it on the worker. */
	sigaddset(mask, SIGPIPE);
	if (worker->runtime->config.flags & ZS_CONFIG_DUMP_ON_SIGQUIT)
		sigdelset(mask, SIGQUIT);
	if (worker->runtime->config.stall_report_ms > 0)
		sigdelset(mask, ZS_STALL_SIGNAL);
}

/* A SIGPIPE that a write left behind, not to kill the caller later. */
static void drop_sigpipe(const struct zs_worker *worker)
{
	const struct timespec at_once = { 0 };
	int saved_errno = errno;
	sigset_t sigpipe;

	if (worker->had_sigpipe)
		return;
	sigemptyset(&sigpipe);
	sigaddset(&sigpipe, SIGPIPE);
	while (sigtimedwait(&sigpipe, NULL, &at_once) < 0 && errno == EINTR)
		;
	/* It is the caller's, who is told by results alone. */
	errno = saved_errno;
}

int zs_signals_enter_thread(struct zs_worker *worker)
{
	stack_t stack = { .ss_size = SIGNAL_STACK_SIZE };
	sigset_t mask;
	int ret;

	worker->signal_stack = mmap(NULL, SIGNAL_STACK_SIZE,
				    PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (worker->signal_stack == MAP_FAILED)
		return zs_explain_as(-errno, "no memory for the stack of "
					     "signal handlers");
	stack.ss_sp = worker->signal_stack;
	if (sigaltstack(&stack, &worker->old_signal_stack) < 0) {
		ret = zs_explain_as(-errno,
				    "the stack of signal handlers "
				    "cannot be set: %s",
				    strerror(errno));
		munmap(worker->signal_stack, SIGNAL_STACK_SIZE);
		return ret;
	}
	pthread_sigmask(SIG_SETMASK, NULL, &worker->old_signal_mask);
	sigpending(&mask);
	worker->had_sigpipe = sigismember(&mask, SIGPIPE) == 1;
	choose_mask(worker, &mask);
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	return 0;
}

void zs_signals_leave_thread(struct zs_worker *worker)
{
	drop_sigpipe(worker);
	pthread_sigmask(SIG_SETMASK, &worker->old_signal_mask, NULL);
	sigaltstack(&worker->old_signal_stack, NULL);
	munmap(worker->signal_stack, SIGNAL_STACK_SIZE);
}
