/* SPDX-License-Identifier: MIT */
/*
 * Leaks: what a runtime leaves behind when it ends, told on stderr where
 * ZS_CONFIG_REPORT_LEAKS asks for it. Where it does not nothing is kept, and a
 * note costs a load and a branch.
 */
#ifndef ZS_SCHED_LEAKS_H
#define ZS_SCHED_LEAKS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/text.h"
#include "sched/worker.h"

struct zs_leaks;
struct zs_runtime;

/* Something of another room that has to be given back: a channel, a buffer. In
 * the object, and zeroed at first; it costs nothing while nobody asks. */
struct zs_leak_entry {
	struct zs_leak_entry *next, *previous;
	struct zs_leaks *leaks; /* NULL: it is not listed */
	const char *kind;	/* "channel"; for good */
	/* For the report, when no task runs: adds "of 8 bytes, 3 tasks wait".
	 * False: this one need not be told. NULL: there is no more to say. */
	bool (*describe)(const struct zs_leak_entry *entry,
			 struct zs_text *text);
};

/* The runtime's creation and end. 0 or -ENOMEM, with a text. */
int zs_leaks_init(struct zs_runtime *runtime);
void zs_leaks_fini(struct zs_runtime *runtime);
/* All workers have ended. */
void zs_leaks_report(struct zs_runtime *runtime);
/* Any thread: a runtime that still has tasks was to be destroyed. */
void zs_leaks_report_tasks(struct zs_runtime *runtime);

/* A task's thread. The cold sides of what follows. */
void zs_leaks_note_open(struct zs_leaks *leaks, int fd, const char *call);
void zs_leaks_note_close(struct zs_leaks *leaks, int fd);
void zs_leaks_list(struct zs_leaks *leaks, struct zs_leak_entry *entry);
/* Any thread. */
void zs_leaks_unlist(struct zs_leak_entry *entry);

/* NULL: nobody asks. */
static ZS_ALWAYS_INLINE struct zs_leaks *zs_leaks_of_thread(void)
{
	return zs_worker_self ? zs_worker_self->leaks : NULL;
}

/* A task. @call has returned @fd, which is the caller's to close. Returns @fd,
 * which may be an error. */
static ZS_ALWAYS_INLINE int zs_leaks_opened(int fd, const char *call)
{
	struct zs_leaks *leaks = zs_leaks_of_thread();

	if (zs_unlikely(leaks != NULL) && fd >= 0)
		zs_leaks_note_open(leaks, fd, call);
	return fd;
}

/* A task. @fd has been closed. */
static ZS_ALWAYS_INLINE void zs_leaks_closed(int fd)
{
	struct zs_leaks *leaks = zs_leaks_of_thread();

	if (zs_unlikely(leaks != NULL))
		zs_leaks_note_close(leaks, fd);
}

/* A task: *entry belongs to its runtime, which is to see it removed before it
 * ends. @kind and @describe: see above. */
static ZS_ALWAYS_INLINE void
zs_leaks_add(struct zs_leak_entry *entry, const char *kind,
	     bool (*describe)(const struct zs_leak_entry *entry,
			      struct zs_text *text))
{
	struct zs_leaks *leaks = zs_leaks_of_thread();

	entry->leaks = NULL;
	if (zs_likely(!leaks))
		return;
	entry->kind = kind;
	entry->describe = describe;
	zs_leaks_list(leaks, entry);
}

/* Any thread, but not after the runtime has ended, if it was listed. */
static ZS_ALWAYS_INLINE void zs_leaks_remove(struct zs_leak_entry *entry)
{
	if (zs_unlikely(entry->leaks != NULL))
		zs_leaks_unlist(entry);
}

#endif
