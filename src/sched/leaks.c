/* SPDX-License-Identifier: MIT */
/*
 * Leaks: see leaks.h. Called by tasks when they open and close descriptors, by
 * other rooms for what they make, and by the runtime's end for the report.
 *
 * Of each descriptor that a call of a task returned it is kept which file that
 * was, so that a number which was closed by another way, and perhaps is another
 * file's by now, is not taken for it. One that was meant to outlive the runtime
 * cannot be told from one that was forgotten.
 */
#include "sched/leaks.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/explain.h"
#include "sched/runtime.h"

enum { SHOWN_MOST = 100 }; /* of each kind */

/* Of one descriptor; all zero: it is none of ours. */
struct opened {
	dev_t device;
	ino_t inode;
	uint64_t task_id;
	const char *call;
};

struct zs_leaks {
	pthread_mutex_t lock; /* of all */
	uint32_t num_fds;     /* numbers beyond are not looked after */
	uint32_t highest;     /* number that was ever opened, plus 1 */
	struct opened *opened;
	struct zs_leak_entry entries; /* in a ring */
};

/* --- notes --- */

int zs_leaks_init(struct zs_runtime *runtime)
{
	struct zs_leaks *leaks;
	uint32_t i;

	if (!(runtime->config.flags & ZS_CONFIG_REPORT_LEAKS))
		return 0;
	leaks = calloc(1, sizeof(*leaks));
	if (!leaks)
		return zs_explain_as(-ENOMEM, "no memory for leaks");
	leaks->num_fds = runtime->fds.size;
	leaks->opened = mmap(NULL, leaks->num_fds * sizeof(*leaks->opened),
			     PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
			     0);
	if (leaks->opened == MAP_FAILED) {
		free(leaks);
		return zs_explain_as(-ENOMEM,
				     "no memory for leaks of %u "
				     "descriptors",
				     runtime->fds.size);
	}
	pthread_mutex_init(&leaks->lock, NULL);
	leaks->entries.next = leaks->entries.previous = &leaks->entries;
	runtime->leaks = leaks;
	for (i = 0; i < runtime->num_workers; i++)
		runtime->workers[i].leaks = leaks;
	return 0;
}

static void unlist(struct zs_leaks *leaks, struct zs_leak_entry *entry)
{
	pthread_mutex_lock(&leaks->lock);
	entry->previous->next = entry->next;
	entry->next->previous = entry->previous;
	entry->leaks = NULL;
	pthread_mutex_unlock(&leaks->lock);
}

void zs_leaks_fini(struct zs_runtime *runtime)
{
	struct zs_leaks *leaks = runtime->leaks;

	if (!leaks)
		return;
	/* Who removes them later finds nothing to do. */
	while (leaks->entries.next != &leaks->entries)
		unlist(leaks, leaks->entries.next);
	munmap(leaks->opened, leaks->num_fds * sizeof(*leaks->opened));
	pthread_mutex_destroy(&leaks->lock);
	free(leaks);
}

ZS_COLD void zs_leaks_note_open(struct zs_leaks *leaks, int fd,
				const char *call)
{
	const struct zs_task *task = zs_worker_self->current;
	int saved_errno = errno;
	struct stat status;

	if ((uint32_t)fd < leaks->num_fds && fstat(fd, &status) == 0) {
		pthread_mutex_lock(&leaks->lock);
		leaks->opened[fd] = (struct opened){
			.device = status.st_dev,
			.inode = status.st_ino,
			.task_id = task ? task->id : 0,
			.call = call,
		};
		if (leaks->highest <= (uint32_t)fd)
			leaks->highest = (uint32_t)fd + 1;
		pthread_mutex_unlock(&leaks->lock);
	}
	errno = saved_errno;
}

ZS_COLD void zs_leaks_note_close(struct zs_leaks *leaks, int fd)
{
	if ((uint32_t)fd >= leaks->num_fds)
		return;
	pthread_mutex_lock(&leaks->lock);
	leaks->opened[fd] = (struct opened){ .call = NULL };
	pthread_mutex_unlock(&leaks->lock);
}

ZS_COLD void zs_leaks_list(struct zs_leaks *leaks, struct zs_leak_entry *entry)
{
	pthread_mutex_lock(&leaks->lock);
	entry->leaks = leaks;
	entry->next = &leaks->entries;
	entry->previous = leaks->entries.previous;
	entry->previous->next = entry;
	leaks->entries.previous = entry;
	pthread_mutex_unlock(&leaks->lock);
}

ZS_COLD void zs_leaks_unlist(struct zs_leak_entry *entry)
{
	unlist(entry->leaks, entry);
}

/* --- the report --- */

static void begin_line(struct zs_text *text)
{
	zs_text_init(text);
	zs_text_add(text, "zsync: leak: ");
}

static void end_line(struct zs_text *text)
{
	zs_text_add(text, "\n");
	zs_text_write(text, STDERR_FILENO);
}

/* Nothing if there is none. */
static void report_number(uint64_t number, const char *one, const char *more)
{
	struct zs_text text;

	if (number == 0)
		return;
	begin_line(&text);
	zs_text_add_number(&text, (int64_t)number);
	zs_text_add(&text, number == 1 ? one : more);
	end_line(&text);
}

static bool is_open_still(const struct opened *opened, int fd)
{
	struct stat status;

	return fcntl(fd, F_GETFD) >= 0 && fstat(fd, &status) == 0 &&
	       status.st_dev == opened->device &&
	       status.st_ino == opened->inode;
}

static void report_fd(const struct opened *opened, int fd)
{
	struct zs_text text;

	begin_line(&text);
	zs_text_add(&text, "fd ");
	zs_text_add_number(&text, fd);
	zs_text_add(&text, ", of ");
	zs_text_add(&text, opened->call);
	zs_text_add(&text, " in task ");
	zs_text_add_number(&text, (int64_t)opened->task_id);
	zs_text_add(&text, ", is open: it may have been forgotten");
	end_line(&text);
}

static void report_fds(const struct zs_leaks *leaks)
{
	uint32_t fd, number = 0;

	for (fd = 0; fd < leaks->highest; fd++) {
		const struct opened *opened = &leaks->opened[fd];

		if (!opened->call || !is_open_still(opened, (int)fd))
			continue;
		if (number++ < SHOWN_MOST)
			report_fd(opened, (int)fd);
	}
	if (number > SHOWN_MOST)
		report_number(number - SHOWN_MOST, " descriptor more is open",
			      " descriptors more are open");
}

/* False: it need not be told. */
static bool report_entry(const struct zs_leak_entry *entry)
{
	struct zs_text text, more;

	zs_text_init(&more);
	if (entry->describe && !entry->describe(entry, &more))
		return false;
	begin_line(&text);
	zs_text_add(&text, "a ");
	zs_text_add(&text, entry->kind);
	zs_text_add(&text, " is left");
	if (more.length > 0) {
		more.bytes[more.length] = '\0';
		zs_text_add(&text, ", ");
		zs_text_add(&text, more.bytes);
	}
	end_line(&text);
	return true;
}

static void report_entries(const struct zs_leaks *leaks)
{
	const struct zs_leak_entry *entry = leaks->entries.next;
	uint32_t number = 0;

	for (; entry != &leaks->entries && number < SHOWN_MOST;
	     entry = entry->next)
		if (report_entry(entry))
			number++;
}

/* relaxed, all: no worker is left that counts. */
static uint64_t get(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static void report_counts(struct zs_runtime *runtime)
{
	uint64_t left_open = 0, timers = 0, operations = 0;
	uint32_t i;

	for (i = 0; i < runtime->num_workers; i++) {
		struct zs_worker *worker = &runtime->workers[i];
		struct zs_engine_counters *ops = &worker->engine->counters;

		left_open += get(&worker->counters.left_open);
		timers += worker->timers_left;
		operations += get(&ops->submitted) - get(&ops->completed);
	}
	report_number(left_open,
		      " nursery or token was left open by a task that returned",
		      " nurseries or tokens were left open by tasks that "
		      "returned");
	report_number(timers, " timer is armed still, and will not fire",
		      " timers are armed still, and will not fire");
	report_number(operations,
		      " operation is held by the kernel, with its memory",
		      " operations are held by the kernel, with their memory");
}

void zs_leaks_report(struct zs_runtime *runtime)
{
	if (!runtime->leaks)
		return;
	report_counts(runtime);
	report_fds(runtime->leaks);
	report_entries(runtime->leaks);
}

void zs_leaks_report_tasks(struct zs_runtime *runtime)
{
	struct zs_text text;

	if (!runtime->leaks)
		return;
	begin_line(&text);
	zs_text_add(&text, "a runtime was to be destroyed that has tasks "
			   "still:");
	end_line(&text);
	zs_dump_tasks(runtime, STDERR_FILENO, SHOWN_MOST);
}
