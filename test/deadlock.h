/* SPDX-License-Identifier: MIT */
/* For tests of deadlocks: what is reported, and waits of a test's own. */
#ifndef ZS_TEST_DEADLOCK_H
#define ZS_TEST_DEADLOCK_H

#include <check.h>
#include <string.h>
#include <sys/wait.h>

#include "sched/scope.h"
#include "sched/task.h"
#include "sched/worker.h"

#include "workers.h"

/* Longer than all the pauses between looks. */
#define QUITE_LONG (400 * ZS_MILLISECOND)

static struct capture capture;

/* Runs @fn and captures what is reported. Its result. */
static inline int run_captured(uint32_t num_workers, zs_task_fn *fn, void *arg)
{
	int ret;

	need_workers(num_workers);
	begin_capture(&capture);
	ret = run_task_on(num_workers, fn, arg);
	end_capture(&capture);
	return ret;
}

static inline void assert_reported(const char *what)
{
	if (!strstr(capture.text, what))
		ck_abort_msg("no \"%s\" in: %s", what, capture.text);
}

static inline void assert_silent(void)
{
	ck_assert_str_eq(capture.text, "");
}

static inline void end_process(pid_t process)
{
	ck_assert_int_eq(waitpid(process, NULL, 0), process);
}

/* A wait as the rooms above have them. */
static inline void cancel_wait(struct zs_task *task)
{
	task->wake_result = zs_task_wait_error(task);
	zs_task_wake(task);
}

static inline void describe_wait(const void *object, struct zs_text *text)
{
	(void)object;
	zs_text_add(text, "godot");
}

static const struct zs_wait_type waiting = {
	.cancel = cancel_wait,
	.describe = describe_wait,
};
static const struct zs_wait_type deaf
	__attribute__((unused)) = { .describe = describe_wait };

static inline int wait_for(const struct zs_wait_type *type)
{
	struct zs_task *task = zs_self();

	if (!task->is_linked)
		zs_scope_link(task);
	task->wake_result = 0;
	zs_task_park(type, task);
	return task->wake_result;
}

#endif
