/* SPDX-License-Identifier: MIT */
/*
 * Descriptors in use. Called by the io room, from tasks, and by the worker's
 * loop for closes that wait.
 *
 * A claim is stored before its operation can reach the kernel, and a close
 * takes the claims before it closes: so an operation that the kernel has been
 * given by then is found. One that comes later finds the mark of the close, or
 * the closed descriptor.
 *
 * Whether a task of another worker is done with a descriptor is that worker's
 * to say; it is asked by a message.
 */
#include "sched/fds.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "base/explain.h"
#include "base/text.h"
#include "sched/runtime.h"

enum {
	FDS_MOST = 1 << 20, /* the kernel's own limit, unless it was raised */
	FDS_LEAST = 1 << 10,
};

/* Instead of a user: the descriptor is being closed; or, in the second place
 * only, it has had more users than there are places. */
#define CLOSING ((struct zs_task *)1)
#define MANY ((struct zs_task *)2)

/* --- the table --- */

static uint32_t wanted_size(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_max > FDS_MOST)
		return FDS_MOST;
	return limit.rlim_max > FDS_LEAST ? (uint32_t)limit.rlim_max :
					    FDS_LEAST;
}

/* Without access at first, lest mlockall(MCL_FUTURE) fill it. */
static void *map_untouched(size_t size)
{
	void *memory = mmap(NULL, size, PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		return NULL;
	munlock(memory, size);
	if (mprotect(memory, size, PROT_READ | PROT_WRITE) == 0)
		return memory;
	munmap(memory, size);
	return NULL;
}

int zs_fds_init(struct zs_fds *fds)
{
	int saved_errno = errno;
	void *memory;

	/* Where address space is scarce, better to watch fewer. */
	fds->size = wanted_size();
	for (;;) {
		fds->mapped = 2 * fds->size * sizeof(*fds->users[0]);
		memory = map_untouched(fds->mapped);
		if (memory || fds->size <= FDS_LEAST)
			break;
		fds->size /= 2;
	}
	errno = saved_errno;
	if (!memory)
		return zs_explain_as(-ENOMEM,
				     "cannot map a table of %u "
				     "descriptors",
				     fds->size);
	fds->users[0] = memory;
	fds->users[1] = fds->users[0] + fds->size;
	return 0;
}

void zs_fds_fini(struct zs_fds *fds)
{
	munmap(fds->users[0], fds->mapped);
}

/* --- users --- */

/* On the task's own worker. */
static bool is_using(const struct zs_task *task, int fd)
{
	const struct zs_wait_type *wait = task->wait;

	return wait && wait->fd && wait->fd(task->waits_on) == fd;
}

/* A task that ended, and one whose memory has been used again, is over: its
 * claim, which was acquired, comes after its start. */
static ZS_RACY bool is_over(const struct zs_task *user,
			    const struct zs_worker *worker, int fd)
{
	if (user->state != ZS_TASK_STARTED)
		return true;
	return user->worker == worker && !is_using(user, fd);
}

/* 1: claimed; 0: the place is another's, which is in *user then. */
static int claim_place(_Atomic(struct zs_task *) *place, struct zs_task *task,
		       int fd, struct zs_task **user)
{
	/* acquire: what the user was when it claimed. */
	*user = atomic_load_explicit(place, memory_order_acquire);
	for (;;) {
		if (*user == task)
			return 1;
		if (*user == CLOSING || *user == MANY ||
		    (*user && !is_over(*user, task->worker, fd)))
			return 0;
		/* release: the claimer's state; acquire as above. */
		if (atomic_compare_exchange_weak_explicit(place, user, task,
							  memory_order_acq_rel,
							  memory_order_acquire))
			return 1;
	}
}

int zs_fds_claim(struct zs_task *task, int fd)
{
	struct zs_fds *fds = &task->worker->runtime->fds;
	_Atomic(struct zs_task *) *second;
	struct zs_task *user;

	if ((uint32_t)fd >= fds->size ||
	    claim_place(&fds->users[0][fd], task, fd, &user))
		return 0;
	if (user == CLOSING)
		return -EBADF;
	second = &fds->users[1][fd];
	if (claim_place(second, task, fd, &user))
		return 0;
	/* acq_rel: the close that finds the mark finds the task, too. */
	while (user != CLOSING && user != MANY)
		if (atomic_compare_exchange_weak_explicit(second, &user, MANY,
							  memory_order_acq_rel,
							  memory_order_acquire))
			return 0;
	return user == CLOSING ? -EBADF : 0;
}

/* --- ending their operations --- */

struct search {
	struct zs_worker *worker;
	int fd;
	bool asks; /* them to end */
	bool finds;
};

static void look_at(struct search *search, struct zs_task *task)
{
	if (!is_using(task, search->fd))
		return;
	search->finds = true;
	if (search->asks && task->wait->cancel)
		task->wait->cancel(task);
}

/* Of other workers' tasks no more is read than whose they are. */
static ZS_RACY void visit(void *object, void *arg)
{
	struct zs_task *task = object;
	struct search *search = arg;

	if (task->state == ZS_TASK_STARTED && task->worker == search->worker)
		look_at(search, task);
}

/* Is one of them still under way on @worker, which runs this? */
static bool has_users(struct zs_worker *worker,
		      const struct zs_fd_ending *ending, bool asks)
{
	struct zs_runtime *runtime = worker->runtime;
	struct search search = { worker, ending->fd, asks, false };
	uint32_t i;

	if (ending->user) {
		visit(ending->user, &search);
		return search.finds;
	}
	for (i = 0; i < runtime->num_workers; i++)
		zs_slab_walk(&runtime->workers[i].tasks, visit, &search);
	zs_slab_walk(&runtime->foreign_tasks, visit, &search);
	return search.finds;
}

static void tell_closer(struct zs_worker *worker, struct zs_fd_ending *ending)
{
	if (ending->closer->worker == worker)
		zs_task_wake(ending->closer);
	else
		zs_worker_post(ending->closer->worker, &ending->message,
			       ZS_MESSAGE_FD_ENDED);
}

static void keep(struct zs_worker *worker, struct zs_fd_ending *ending)
{
	ending->next = worker->endings;
	worker->endings = ending;
}

void zs_fds_handle_ending(struct zs_worker *worker, struct zs_fd_ending *ending)
{
	if (has_users(worker, ending, true))
		keep(worker, ending);
	else
		tell_closer(worker, ending);
}

void zs_fds_handle_ended(struct zs_fd_ending *ending)
{
	zs_task_wake(ending->closer);
}

void zs_fds_look_again(struct zs_worker *worker)
{
	struct zs_fd_ending **link = &worker->endings;

	while (*link) {
		struct zs_fd_ending *ending = *link;

		if (has_users(worker, ending, false)) {
			link = &ending->next;
			continue;
		}
		*link = ending->next;
		tell_closer(worker, ending);
	}
}

/* --- closing --- */

static void describe_ending(const void *object, struct zs_text *text)
{
	const struct zs_fd_ending *ending = object;

	zs_text_add(text, "the end of other calls on fd ");
	zs_text_add_number(text, ending->fd);
}

static const struct zs_wait_type ending_wait = {
	.describe = describe_ending,
};

/* Those of @user, or, if that is NULL, of all tasks of @worker. */
static void end_users(struct zs_task *closer, struct zs_worker *worker,
		      struct zs_task *user, int fd)
{
	struct zs_fd_ending ending = {
		.closer = closer,
		.user = user,
		.fd = fd,
	};

	if (worker != closer->worker)
		zs_worker_post(worker, &ending.message, ZS_MESSAGE_FD_ENDING);
	else if (has_users(worker, &ending, true))
		keep(worker, &ending);
	else
		return;
	zs_task_park(&ending_wait, &ending);
}

/* NULL if it is over. */
static ZS_RACY struct zs_worker *worker_of(const struct zs_task *user)
{
	return user->state == ZS_TASK_STARTED ? user->worker : NULL;
}

static void end_place(struct zs_task *closer, struct zs_task *user, int fd)
{
	struct zs_runtime *runtime = closer->worker->runtime;
	struct zs_worker *worker;
	uint32_t i;

	if (!user || user == closer)
		return;
	if (user == MANY) {
		for (i = 0; i < runtime->num_workers; i++)
			end_users(closer, &runtime->workers[i], NULL, fd);
		return;
	}
	worker = worker_of(user);
	if (worker)
		end_users(closer, worker, user, fd);
}

int zs_fds_release(struct zs_task *task, int fd)
{
	struct zs_fds *fds = &task->worker->runtime->fds;
	struct zs_task *users[2];

	if ((uint32_t)fd >= fds->size)
		return 0;
	/* acq_rel, both: see claim_place(). */
	users[0] = atomic_exchange_explicit(&fds->users[0][fd], CLOSING,
					    memory_order_acq_rel);
	if (users[0] == CLOSING)
		return -EBADF;
	users[1] = atomic_exchange_explicit(&fds->users[1][fd], CLOSING,
					    memory_order_acq_rel);
	end_place(task, users[0], fd);
	end_place(task, users[1], fd);
	/* Before it is closed: its number may be in use again as soon as that
	 * has happened. release: who claims it then comes after this close. */
	atomic_store_explicit(&fds->users[1][fd], NULL, memory_order_release);
	atomic_store_explicit(&fds->users[0][fd], NULL, memory_order_release);
	return 0;
}
