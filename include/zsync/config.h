/* SPDX-License-Identifier: MIT */
/*
 * Configuration of a runtime: one struct, presets, checks, and the variables
 * of the environment that override what the program asked for.
 */
#ifndef ZSYNC_CONFIG_H
#define ZSYNC_CONFIG_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How tasks are carried out. */
enum zs_execution_model {
	/* green_threads where the kernel allows it, else thread_pool. */
	ZS_MODEL_AUTO,
	/* One io_uring a worker. Needs Linux 5.11 or later. */
	ZS_MODEL_GREEN_THREADS,
	/* One epoll instance, eventfd and timerfd a worker, and threads for
	 * what can only block. Any kernel that the library runs on. */
	ZS_MODEL_THREAD_POOL,
	/* Direct system calls on the caller's thread, and no thread besides:
	 * one worker, whatever num_workers is. */
	ZS_MODEL_BLOCKING,
};

/* What a configuration starts from; see zs_config_default() and the others. */
enum zs_config_preset {
	ZS_PRESET_DEFAULT,
	ZS_PRESET_OPTIMAL,
	ZS_PRESET_FOR_SERVER,
	ZS_PRESET_FOR_CLI,
	ZS_PRESET_FOR_EMBEDDED,
};

/* Bits of zs_config.flags. */
enum {
	/* Worker N runs on the Nth CPU of the affinity mask only, counted round
	 * again where there are fewer CPUs than workers. */
	ZS_CONFIG_PIN_WORKERS = 1 << 0,
	/* SIGQUIT prints zs_dump() to stderr while the runtime runs. */
	ZS_CONFIG_DUMP_ON_SIGQUIT = 1 << 1,
	/* Leave SIGSEGV alone: a stack overflow is then a plain crash. */
	ZS_CONFIG_KEEP_SIGSEGV = 1 << 2,
	/* Where a stack can have no guard (before Linux 6.13 there are not many
	 * more than 30,000 at the default vm.max_map_count) it does without,
	 * instead of the spawn failing. A canary at its end, which takes a page
	 * more, is looked at when the task ends: an overflow ends the process
	 * then, but late, when other memory may be spoiled. */
	ZS_CONFIG_UNGUARDED_STACKS = 1 << 3,
	/* Do not look for deadlocks. Else a program in which every task of
	 * zs_run() waits, no operation is in flight, no timer armed, and no
	 * thread there but the runtime's, is told so on stderr within a second,
	 * with who waits on what, and the longest of these waits returns
	 * -EDEADLK; and so on until a task can go on. */
	ZS_CONFIG_NO_DEADLOCK_CHECK = 1 << 4,
	/* When the runtime ends, report on stderr what is left of it: tasks
	 * that have not ended, descriptors that its tasks opened and nobody
	 * closed, scopes that were left open, and so on. On by default where
	 * the library was built with DEBUG=1. Costs an fstat(2) for each
	 * descriptor that is opened. */
	ZS_CONFIG_REPORT_LEAKS = 1 << 5,
};

/* Limits that zs_config_validate() enforces. */
#define ZS_QUEUE_DEPTH_MIN 2u
#define ZS_QUEUE_DEPTH_MAX 16384u /* the CQ, four times that, is at 65,536 */
#define ZS_WORKERS_MAX 1024u
#define ZS_STACK_SIZE_MIN ((size_t)16 << 10)
#define ZS_STACK_SIZE_MAX ((size_t)1 << 30)
#define ZS_GREEN_THREADS_MAX 4194304u
#define ZS_IDLE_SPIN_MAX_US 10000u
#define ZS_STALL_REPORT_MAX_MS 3600000u
#define ZS_OFFLOAD_THREADS_MAX 2048u

/* zs_config.idle_spin_us: 20 with more than one CPU allowed, 0 with one. */
#define ZS_IDLE_SPIN_AUTO UINT32_MAX

struct zs_config {
	/* sizeof(struct zs_config), set by every preset: lets a library that is
	 * newer than the program tell which fields the program knows. Any other
	 * size than its own is -EINVAL in this version. */
	size_t size;
	/* enum zs_config_preset, set by the preset: what zs_config_print()
	 * compares the other fields with. Nothing else depends on it. */
	uint32_t preset;
	enum zs_execution_model execution_model;
	/* Threads that run tasks; 0 = as many as the affinity mask and the
	 * cgroup's CPU quota, rounded up, allow. At most ZS_WORKERS_MAX. The
	 * mask is that of the thread that makes the runtime. The blocking
	 * model has one, whatever is asked for. */
	uint32_t num_workers;
	/* Entries of each worker's submission queue, ZS_QUEUE_DEPTH_MIN to
	 * ZS_QUEUE_DEPTH_MAX, rounded up to a power of two. Ring memory counts
	 * against RLIMIT_MEMLOCK: it is halved until it fits. */
	uint32_t queue_depth;
	/* Bytes of stack a task has, its guard not counted; rounded up to whole
	 * pages. ZS_STACK_SIZE_MIN to ZS_STACK_SIZE_MAX. */
	size_t green_thread_stack_size;
	/* The same for the first task of zs_run(), rounded up to a power of
	 * two; 0 = green_thread_stack_size. */
	size_t main_stack_size;
	/* Tasks alive at once, 1 to ZS_GREEN_THREADS_MAX; at the limit a spawn
	 * is -EAGAIN. */
	uint32_t max_green_threads;
	/* How long an idle worker looks for work before it sleeps, at most
	 * ZS_IDLE_SPIN_MAX_US; 0 = it sleeps at once; ZS_IDLE_SPIN_AUTO. */
	uint32_t idle_spin_us;
	/* Stacks of each size that a worker keeps ready, with their memory, for
	 * the next task, unless it is idle for a second; 0 = none. At most
	 * ZS_GREEN_THREADS_MAX. Of larger sizes than green_thread_stack_size it
	 * keeps fewer, so that they hold no more memory. */
	uint32_t stack_cache;
	/*
	 * A task that keeps its worker longer than this, in milliseconds, and
	 * thereby all the others of that worker from running, is reported on
	 * stderr: its id and name, the worker, how long, what waits behind it,
	 * and a backtrace, a line a frame, which "addr2line -fe FILE OFFSET"
	 * turns into a line of the source. It is found between once and one and
	 * a half times this long after it began, and reported again whenever
	 * the time has doubled. So is a timer's function, as its worker's loop.
	 * 0 = nobody looks, the default; at most ZS_STALL_REPORT_MAX_MS.
	 *
	 * It costs tasks nothing. One more thread looks at the workers twice in
	 * that time, which is its waking and little else: at 10 ms about 1 % of
	 * a CPU, at 100 a tenth of that (measured in a virtual machine).
	 *
	 * While the runtime runs SIGURG is taken, which the culprit's thread is
	 * sent for its backtrace; one that somebody else sent goes to the
	 * handler that was there before. A system call in which the task blocks
	 * its thread is restarted (SA_RESTART); one that would not be, such as
	 * nanosleep or poll, see signal(7), is not interrupted: then words of
	 * the stack that may be return addresses take the place of the
	 * backtrace. Where SIGURG is blocked there is none.
	 */
	uint32_t stall_report_ms;
	/* thread_pool: how many threads at most carry out what can only block,
	 * such as the reading of files; 0 = twice as many as the CPUs that
	 * num_workers 0 would count, but at least 4. At most
	 * ZS_OFFLOAD_THREADS_MAX. They are made when they are needed and end
	 * after ten idle seconds. */
	uint32_t offload_threads;
	/* ZS_CONFIG_... bits. */
	uint32_t flags;
};

/*
 * Presets. Any thread. All are ZS_MODEL_AUTO, but for_cli, which is
 * ZS_MODEL_BLOCKING; with ZS_IDLE_SPIN_AUTO, at most 1,048,576 tasks,
 * offload_threads by the CPUs, no flags (but ZS_CONFIG_REPORT_LEAKS in a debug
 * build) and no look for stalls; they differ in:
 *
 *                       workers       queue_depth  stack size  stack_cache
 *   default, optimal    all allowed           256      64 KiB          256
 *   for_server          all allowed         1,024      64 KiB        1,024
 *   for_cli             1                     256      64 KiB          256
 *   for_embedded        1                      64      16 KiB            8
 *
 * The counters behind zs_stats() are on in all of them; nothing switches them
 * off.
 */
struct zs_config zs_config_default(void);
struct zs_config zs_config_optimal(void);
struct zs_config zs_config_for_server(void);
struct zs_config zs_config_for_cli(void);
struct zs_config zs_config_for_embedded(void);

/* Any thread. 0, or -EINVAL for NULL and for the first field that is out of
 * range; then zs_explain() names it, its value, the range and the remedy.
 * Whether the model is to be had here, zs_runtime_create() says. */
int zs_config_validate(const struct zs_config *config);

/*
 * Any thread. Overrides *config by the environment: ZSYNC_EXECUTION_MODEL
 * (auto, green_threads, thread_pool, blocking), ZSYNC_WORKERS,
 * ZSYNC_QUEUE_DEPTH, ZSYNC_GREEN_THREAD_STACK_SIZE, ZSYNC_MAIN_STACK_SIZE,
 * ZSYNC_MAX_GREEN_THREADS, ZSYNC_IDLE_SPIN_US (a number or "auto"),
 * ZSYNC_STACK_CACHE, ZSYNC_STALL_REPORT_MS, ZSYNC_OFFLOAD_THREADS and, as 0 or
 * 1, ZSYNC_PIN_WORKERS, ZSYNC_DUMP_ON_SIGQUIT, ZSYNC_KEEP_SIGSEGV,
 * ZSYNC_UNGUARDED_STACKS, ZSYNC_NO_DEADLOCK_CHECK, ZSYNC_REPORT_LEAKS. Sizes
 * take a suffix K, M or G, in either case. An empty variable counts as not set.
 * zs_run() and zs_runtime_create() call it by themselves, on a copy.
 * -EINVAL for a value that makes no sense or is out of range, for NULL and for
 * a config that no preset made; *config is then unchanged and zs_explain()
 * names the variable, the value and the remedy. The fields that no variable
 * overrides are not checked: that is zs_config_validate()'s.
 */
int zs_config_from_env(struct zs_config *config);

/*
 * Any thread; in a task it takes 32 KiB of stack. Writes to @fd, a line a
 * setting, what zs_runtime_create(config) on this thread would go by, and where
 * each value comes from:
 *
 *	default, preset NAME	the preset's; "default" if it is also that of
 *				zs_config_default()
 *	program			the program has changed it
 *	environment VARIABLE	that is set
 *	machine: ...		derived here, with the reason; what it was
 *				asked to be, and by whom, follows
 *
 * NULL: zs_config_default(). 0; the errors of zs_config_validate() and
 * zs_config_from_env(), and nothing is written; or the negative errno of the
 * first write that failed. What a runtime's start alone can tell (the model
 * that auto takes, the queue_depth that is granted, rounded sizes),
 * zs_runtime_config_print() shows.
 */
int zs_config_print(const struct zs_config *config, int fd);

/* Any thread. "auto", "green_threads", "thread_pool", "blocking". The name of
 * a number that is no model is "unknown". The parser returns -EINVAL for any
 * other name and for NULL; *model is then unchanged. */
const char *zs_execution_model_name(enum zs_execution_model model);
int zs_execution_model_parse(const char *name, enum zs_execution_model *model);

/*
 * Any thread. What a person should read about the negative errno @err that a
 * zs_ call just returned on this thread: the culprit and the remedy where the
 * call left such a text (configuration, start, spawn), else the errno's
 * standard text. Valid until the thread's next zs_ call that fails.
 */
const char *zs_explain(int err);

#ifdef __cplusplus
}
#endif
#endif
