/* SPDX-License-Identifier: MIT */
/*
 * Starting child processes. Called by tasks.
 *
 * All that may fail is done before, by this process, as far as that is
 * possible: the child then only puts its descriptors in their places. Those
 * that it gets are moved out of the way of these places first, so that the
 * order does not matter and each loses its close-on-exec there.
 */
#include "zsync/process.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "base/compiler.h"
#include "base/explain.h"
#include "engine/process.h"
#include "io/await.h"
#include "io/process.h"
#include "sched/leaks.h"

enum { NR_STREAMS = 3, PLACES_MAX = NR_STREAMS + ZS_CHILD_FDS_MAX };

struct place {
	int source; /* here */
	int target; /* there */
};

struct plan {
	struct zs_spawn_call call;
	struct zs_child child;
	struct place places[PLACES_MAX];
	int nr_places;
	/* The child's ends of pipes, and copies: closed when it has them. */
	int owned[NR_STREAMS + PLACES_MAX];
	int nr_owned;
};

/* --- options --- */

static int check_streams(const struct zs_child_options *options)
{
	if (options->in > ZS_CHILD_NULL || options->out > ZS_CHILD_NULL ||
	    options->err > ZS_CHILD_OUTPUT)
		return zs_explain_as(-EINVAL,
				     "in and out are ZS_CHILD_INHERIT, _PIPE "
				     "or _NULL; err may be _OUTPUT, too");
	return 0;
}

static int check_options(const struct zs_child_options *options)
{
	if (!options)
		return zs_explain_none(-EINVAL);
	if (options->size != sizeof(*options))
		return zs_explain_as(-EINVAL,
				     "zs_child_options.size is not its size");
	if (!options->argv || !options->argv[0])
		return zs_explain_as(-EINVAL, "argv must hold a name at least");
	if (options->flags & ~(uint32_t)(ZS_CHILD_GROUP | ZS_CHILD_SESSION))
		return zs_explain_as(-EINVAL, "an unknown flag");
	if (options->num_fds > ZS_CHILD_FDS_MAX ||
	    (options->num_fds > 0 && !options->fds))
		return zs_explain_as(-EINVAL,
				     "fds must hold num_fds, at most %d",
				     ZS_CHILD_FDS_MAX);
	return check_streams(options);
}

/* --- descriptors --- */

/* @fd is closed when the child has it. */
static int own(struct plan *plan, int fd)
{
	if (fd < 0)
		return -errno;
	plan->owned[plan->nr_owned++] = fd;
	return fd;
}

static int source_of(const struct plan *plan, int target)
{
	int i;

	for (i = 0; i < plan->nr_places; i++)
		if (plan->places[i].target == target)
			return plan->places[i].source;
	return -1;
}

static int add_place(struct plan *plan, int source, int target)
{
	if (source < 0)
		return source;
	if (target < 0)
		return -EBADF;
	if (source_of(plan, target) >= 0)
		return zs_explain_as(
			-EINVAL, "the child would get two descriptors as %d",
			target);
	plan->places[plan->nr_places++] = (struct place){ source, target };
	return 0;
}

static int add_pipe(struct plan *plan, int target)
{
	int *const ours[] = { &plan->child.in, &plan->child.out,
			      &plan->child.err };
	int theirs = target == STDIN_FILENO ? 0 : 1;
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	*ours[target] = ends[!theirs];
	return add_place(plan, own(plan, ends[theirs]), target);
}

static int add_stream(struct plan *plan, enum zs_child_stream stream,
		      int target)
{
	int output;

	switch (stream) {
	case ZS_CHILD_PIPE:
		return add_pipe(plan, target);
	case ZS_CHILD_NULL:
		return add_place(
			plan, own(plan, open("/dev/null", O_RDWR | O_CLOEXEC)),
			target);
	case ZS_CHILD_OUTPUT:
		output = source_of(plan, STDOUT_FILENO);
		return add_place(plan, output < 0 ? STDOUT_FILENO : output,
				 target);
	default:
		return 0;
	}
}

/* The last stream may be the same as another, be that one of @fds. */
static int add_places(struct plan *plan, const struct zs_child_options *options)
{
	size_t i;
	int ret;

	ret = add_stream(plan, options->in, STDIN_FILENO);
	if (ret == 0)
		ret = add_stream(plan, options->out, STDOUT_FILENO);
	for (i = 0; i < options->num_fds && ret == 0; i++)
		ret = options->fds[i].fd < 0 ?
			      -EBADF :
			      add_place(plan, options->fds[i].fd,
					options->fds[i].as);
	if (ret == 0)
		ret = add_stream(plan, options->err, STDERR_FILENO);
	return ret;
}

static int clear_places(struct plan *plan)
{
	int i, copy, highest = -1;

	for (i = 0; i < plan->nr_places; i++)
		if (plan->places[i].target > highest)
			highest = plan->places[i].target;
	if (highest == INT_MAX)
		return -EBADF;
	for (i = 0; i < plan->nr_places; i++) {
		/* Above it is only looked whether it is one. */
		if (plan->places[i].source > highest &&
		    fcntl(plan->places[i].source, F_GETFD) >= 0)
			continue;
		copy = own(plan, fcntl(plan->places[i].source, F_DUPFD_CLOEXEC,
				       highest + 1));
		/* So it answers where its least is beyond RLIMIT_NOFILE. */
		if (copy < 0)
			return copy == -EINVAL ? -EBADF : copy;
		plan->places[i].source = copy;
	}
	return 0;
}

/* --- the call --- */

static int fill_actions(struct plan *plan,
			const struct zs_child_options *options)
{
	posix_spawn_file_actions_t *actions = &plan->call.actions;
	int i, error = 0;

	for (i = 0; i < plan->nr_places && error == 0; i++)
		error = posix_spawn_file_actions_adddup2(
			actions, plan->places[i].source,
			plan->places[i].target);
	if (error == 0 && options->cwd)
		error = posix_spawn_file_actions_addchdir_np(actions,
							     options->cwd);
	return -error;
}

/* The worker blocks all signals: the child none, or it could not even be asked
 * to end. SIGPIPE is ignored by servers, which a filter must not inherit. */
static int fill_attributes(struct plan *plan, uint32_t flags)
{
	posix_spawnattr_t *attributes = &plan->call.attributes;
	short bits = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
	sigset_t set;
	int error;

	if (flags & ZS_CHILD_GROUP)
		bits |= POSIX_SPAWN_SETPGROUP;
	if (flags & ZS_CHILD_SESSION)
		bits |= POSIX_SPAWN_SETSID;
	sigemptyset(&set);
	error = posix_spawnattr_setsigmask(attributes, &set);
	sigaddset(&set, SIGPIPE);
	if (error == 0)
		error = posix_spawnattr_setsigdefault(attributes, &set);
	if (error == 0)
		error = posix_spawnattr_setflags(attributes, bits);
	return -error;
}

/* The child's process number, or a negative errno. */
static int spawn(struct plan *plan, const struct zs_child_options *options)
{
	struct zs_op op = {
		.code = ZS_OP_SPAWN,
		.address = (uint64_t)(uintptr_t)&plan->call,
	};
	int ret = -posix_spawn_file_actions_init(&plan->call.actions);

	if (ret < 0)
		return ret;
	ret = -posix_spawnattr_init(&plan->call.attributes);
	if (ret < 0)
		goto destroy_actions;
	plan->call.file = options->file ? options->file : options->argv[0];
	plan->call.argv = options->argv;
	plan->call.envp = options->envp ? options->envp : environ;
	ret = fill_actions(plan, options);
	if (ret == 0)
		ret = fill_attributes(plan, options->flags);
	if (ret == 0)
		ret = zs_await(&op);
	posix_spawnattr_destroy(&plan->call.attributes);
destroy_actions:
	posix_spawn_file_actions_destroy(&plan->call.actions);
	return ret;
}

static void close_ours(const struct zs_child *child)
{
	if (child->in >= 0)
		close(child->in);
	if (child->out >= 0)
		close(child->out);
	if (child->err >= 0)
		close(child->err);
}

/* By plain calls: nobody else knows these descriptors, and none of the closes
 * waits. */
static int spawn_by_plan(struct plan *plan,
			 const struct zs_child_options *options)
{
	int ret = add_places(plan, options);

	if (ret == 0)
		ret = clear_places(plan);
	if (ret == 0)
		ret = spawn(plan, options);
	while (plan->nr_owned > 0)
		close(plan->owned[--plan->nr_owned]);
	if (ret < 0)
		close_ours(&plan->child);
	return ret;
}

ZS_PUBLIC int zs_child_spawn(struct zs_child *child,
			     const struct zs_child_options *options)
{
	struct plan plan = {
		.child = { .pid = -1,
			   .pidfd = -1,
			   .in = -1,
			   .out = -1,
			   .err = -1 },
	};
	int saved_errno = errno;
	int ret;

	if (!zs_worker_task())
		return zs_explain_none(-EPERM);
	if (!child)
		return zs_explain_none(-EINVAL);
	ret = check_options(options);
	if (ret < 0)
		return ret;
	zs_explain_none(0);
	ret = spawn_by_plan(&plan, options);
	errno = saved_errno;
	if (ret < 0)
		return ret;
	plan.child.pid = ret;
	ret = zs_pidfd_open(plan.child.pid);
	if (ret >= 0)
		plan.child.pidfd = ret;
	*child = plan.child;
	zs_leaks_opened(child->pidfd, "zs_child_spawn()");
	zs_leaks_opened(child->in, "zs_child_spawn()");
	zs_leaks_opened(child->out, "zs_child_spawn()");
	zs_leaks_opened(child->err, "zs_child_spawn()");
	return 0;
}
