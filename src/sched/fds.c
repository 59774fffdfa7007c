/* SPDX-License-Identifier: MIT */
/*
 * Descriptors in use. Called by the io room, from tasks, and by the worker's
 * loop for closes that wait.
 *
 * A claim is stored before its operation can reach the kernel, and a close
 * takes the claims before it closes: so an operation that the kernel has been
 * given by then is found. One that comes later finds that the descriptor is
 * about to be closed, and is refused; or that it is being closed, and waits:
 * its number may have been given to another file already, which is then in use
 * by the call that waits.
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

/* Instead of the first user: the descriptor is about to be closed, its number
 * is no other file's; or it is being closed. */
#define ENDING ((struct zs_task *)1)
#define CLOSING ((struct zs_task *)2)
/* Instead of the second one: there have been more than there are places. */
#define MANY ((struct zs_task *)3)

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
		fds->mapped = fds->size * (2 * sizeof(*fds->users[0]) +
					   sizeof(*fds->closes));
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
	fds->closes = (void *)(fds->users[1] + fds->size);
	pthread_mutex_init(&fds->lock, NULL);
	fds->waiters = NULL;
	return 0;
}

void zs_fds_fini(struct zs_fds *fds)
{
	pthread_mutex_destroy(&fds->lock);
	munmap(fds->users[0], fds->mapped);
}

/* --- users --- */

/* On the task's own worker. Also if its operation is done and it has not gone
 * on yet: it may be in the midst of its call. */
static bool is_using(const struct zs_task *task, int fd)
{
	const struct zs_wait_type *wait = task->wait;

	return task->kept_fd == fd + 1 || task->kept_fd == -(fd + 1) ||
	       (wait && wait->fd && wait->fd(task->waits_on) == fd);
}

/*
 * A task that ended, and one whose memory has been used again, is over: its
 * claim, which was acquired, comes after its start.
 *
 * Not so where it made none because an earlier task of the same memory had left
 * the place to it (its number was closed behind our back). Then its start is
 * stored and the place loaded, here the place is loaded and the state, and only
 * a full barrier on both sides would let one see the other. x86 has them, in
 * the lock of zs_scope_link() and in the exchanges of a close; on aarch64 such
 * a task may be taken for one that is over, and its call not be ended.
 */
static ZS_RACY bool is_over(const struct zs_task *user,
			    const struct zs_worker *worker, int fd)
{
	if (user->state != ZS_TASK_STARTED)
		return true;
	return user->worker == worker && !is_using(user, fd);
}

/* --- waiting for a close --- */

static ZS_RACY void describe_close(const void *object, struct zs_text *text)
{
	const struct zs_fd_waiter *waiter = object;

	zs_text_add(text, "another task's close of fd ");
	zs_text_add_number(text, waiter->fd);
}

static const struct zs_wait_type close_wait = { .describe = describe_close };

static void await_close(struct zs_task *task, int fd)
{
	struct zs_fds *fds = &task->worker->runtime->fds;
	struct zs_fd_waiter waiter = { .wake.task = task, .fd = fd };
	bool is_closing;

	pthread_mutex_lock(&fds->lock);
	/* relaxed: the end of the close is under the lock. */
	is_closing = atomic_load_explicit(&fds->users[0][fd],
					  memory_order_relaxed) == CLOSING;
	if (is_closing) {
		waiter.next = fds->waiters;
		fds->waiters = &waiter;
	}
	pthread_mutex_unlock(&fds->lock);
	/* Who wakes it is a task of this worker, which runs later, or posts a
	 * message to it. */
	if (is_closing)
		zs_task_park(&close_wait, &waiter);
}

/* For a call that begins: the number may be that of its file already, and have
 * been given to a third one when it goes on. False: its file is being closed.
 */
static bool await_claimable(struct zs_task *task, int fd)
{
	bool keeps = zs_fds_keep(task, fd);
	bool is_losing;

	await_close(task, fd);
	is_losing = zs_fds_is_losing(task);
	if (keeps)
		zs_fds_let_go(task);
	return !is_losing;
}

/* Those of @fd are moved to *found. Under the lock. */
static void take_waiters(struct zs_fds *fds, int fd,
			 struct zs_fd_waiter **found)
{
	struct zs_fd_waiter **link = &fds->waiters;

	while (*link) {
		struct zs_fd_waiter *waiter = *link;

		if (waiter->fd != fd) {
			link = &waiter->next;
			continue;
		}
		*link = waiter->next;
		waiter->next = *found;
		*found = waiter;
	}
}

/* --- claiming --- */

/* What the engine knows of the number may be of an earlier file. */
static void renew(const struct zs_task *task, int fd)
{
	struct zs_engine *engine = task->worker->engine;

	if (engine->ops->renew)
		engine->ops->renew(engine, fd);
}

/* @task takes @place, unless that is another's, who is returned then. */
static struct zs_task *claim_place(_Atomic(struct zs_task *) *place,
				   struct zs_task *task, int fd)
{
	/* acquire: what the user was when it claimed. */
	struct zs_task *user =
		atomic_load_explicit(place, memory_order_acquire);

	for (;;) {
		if (user == task)
			return NULL;
		if (user == ENDING || user == CLOSING || user == MANY ||
		    (user && !is_over(user, task->worker, fd)))
			return user;
		/* release: the claimer's state; acquire as above. */
		if (atomic_compare_exchange_weak_explicit(
			    place, &user, task, memory_order_acq_rel,
			    memory_order_acquire)) {
			renew(task, fd);
			return NULL;
		}
	}
}

/* There are two users already: @other is the second. True: now there are many,
 * or @task is the second. */
static bool join_many(_Atomic(struct zs_task *) *place, struct zs_task *other)
{
	/* acq_rel: the close that finds the mark finds the task, too. */
	return other == MANY ||
	       atomic_compare_exchange_strong_explicit(place, &other, MANY,
						       memory_order_acq_rel,
						       memory_order_relaxed);
}

int zs_fds_claim(struct zs_task *task, int fd)
{
	struct zs_fds *fds = &task->worker->runtime->fds;
	struct zs_task *user;

	if ((uint32_t)fd >= fds->size)
		return 0;
	for (;;) {
		user = claim_place(&fds->users[0][fd], task, fd);
		if (!user)
			return 0;
		if (user == ENDING)
			return -EBADF;
		if (user == CLOSING) {
			if (!await_claimable(task, fd))
				return -EBADF;
			continue;
		}
		user = claim_place(&fds->users[1][fd], task, fd);
		if (!user)
			return 0;
		/* Else a close has begun, which the first place tells. */
		if (user != ENDING && join_many(&fds->users[1][fd], user))
			return 0;
	}
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
	if (!search->asks)
		return;
	if (task->kept_fd == search->fd + 1)
		task->kept_fd = -task->kept_fd;
	if (task->wait && task->wait->cancel)
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

/* Is one of those that @closer waits for still under way on @worker, which runs
 * this? */
static bool has_users(struct zs_worker *worker,
		      const struct zs_fd_waiter *closer, bool asks)
{
	struct zs_runtime *runtime = worker->runtime;
	struct search search = { worker, closer->fd, asks, false };
	uint32_t i;

	if (closer->user) {
		visit(closer->user, &search);
		return search.finds;
	}
	for (i = 0; i < runtime->num_workers; i++)
		zs_slab_walk(&runtime->workers[i].tasks, visit, &search);
	zs_slab_walk(&runtime->foreign_tasks, visit, &search);
	return search.finds;
}

/* Nobody on @worker uses the number any more, and it is still the same file's.
 */
static void end_wait(struct zs_worker *worker, struct zs_fd_waiter *closer)
{
	struct zs_engine *engine = worker->engine;

	if (engine->ops->forget)
		engine->ops->forget(engine, closer->fd);
	zs_task_wake_anywhere(&closer->wake);
}

static void keep(struct zs_worker *worker, struct zs_fd_waiter *closer)
{
	closer->next = worker->closers;
	worker->closers = closer;
}

void zs_fds_handle_close(struct zs_worker *worker, struct zs_fd_waiter *closer)
{
	if (has_users(worker, closer, true))
		keep(worker, closer);
	else
		end_wait(worker, closer);
}

void zs_fds_look_again(struct zs_worker *worker)
{
	struct zs_fd_waiter **link = &worker->closers;

	while (*link) {
		struct zs_fd_waiter *closer = *link;

		if (has_users(worker, closer, false)) {
			link = &closer->next;
			continue;
		}
		*link = closer->next;
		end_wait(worker, closer);
	}
}

/* --- closing --- */

static ZS_RACY void describe_ending(const void *object, struct zs_text *text)
{
	const struct zs_fd_waiter *closer = object;

	zs_text_add(text, "the end of other calls on fd ");
	zs_text_add_number(text, closer->fd);
}

static const struct zs_wait_type ending_wait = { .describe = describe_ending };

/* Those of @user, or, if that is NULL, of all tasks of @worker. */
static void end_users(struct zs_task *task, struct zs_worker *worker,
		      struct zs_task *user, int fd)
{
	struct zs_fd_waiter closer = {
		.wake.task = task,
		.user = user,
		.fd = fd,
	};

	if (worker != task->worker)
		zs_worker_post(worker, &closer.wake.message,
			       ZS_MESSAGE_FD_CLOSE);
	else if (has_users(worker, &closer, true))
		keep(worker, &closer);
	else
		return;
	zs_task_park(&ending_wait, &closer);
}

/* NULL if it is over. */
static ZS_RACY struct zs_worker *worker_of(const struct zs_task *user)
{
	return user->state == ZS_TASK_STARTED ? user->worker : NULL;
}

static void end_place(struct zs_task *task, struct zs_task *user, int fd)
{
	struct zs_runtime *runtime = task->worker->runtime;
	struct zs_worker *worker;
	uint32_t i;

	if (!user || user == task)
		return;
	if (user == MANY) {
		for (i = 0; i < runtime->num_workers; i++)
			end_users(task, &runtime->workers[i], NULL, fd);
		return;
	}
	worker = worker_of(user);
	if (worker)
		end_users(task, worker, user, fd);
}

int zs_fds_begin_close(struct zs_task *task, int fd)
{
	struct zs_fds *fds = &task->worker->runtime->fds;
	struct zs_task *first, *second;

	if ((uint32_t)fd >= fds->size)
		return 0;
	/* acquire and acq_rel: see claim_place(). */
	first = atomic_load_explicit(&fds->users[0][fd], memory_order_acquire);
	do {
		while (first == CLOSING) {
			await_close(task, fd);
			first = atomic_load_explicit(&fds->users[0][fd],
						     memory_order_acquire);
		}
		if (first == ENDING)
			return -EBADF;
	} while (!atomic_compare_exchange_weak_explicit(
		&fds->users[0][fd], &first, ENDING, memory_order_acq_rel,
		memory_order_acquire));
	second = atomic_exchange_explicit(&fds->users[1][fd], ENDING,
					  memory_order_acq_rel);
	end_place(task, first, fd);
	end_place(task, second, fd);
	/* relaxed: who has the number from the kernel after this close has it
	 * through the kernel's own order. Nobody uses it in between. */
	atomic_fetch_add_explicit(&fds->closes[fd], 1, memory_order_relaxed);
	/* release: as the lock's, for those who only look. */
	atomic_store_explicit(&fds->users[0][fd], CLOSING,
			      memory_order_release);
	return 0;
}

void zs_fds_end_close(struct zs_task *task, int fd)
{
	struct zs_fds *fds = &task->worker->runtime->fds;
	struct zs_fd_waiter *waiter = NULL;

	if ((uint32_t)fd >= fds->size)
		return;
	pthread_mutex_lock(&fds->lock);
	if (fds->waiters)
		take_waiters(fds, fd, &waiter);
	/* release: who claims it then comes after this close. The second place
	 * first: who finds the first one free may go on to it. The waiters are
	 * users from now on, before they have claimed it. */
	atomic_store_explicit(&fds->users[1][fd], waiter ? MANY : NULL,
			      memory_order_release);
	atomic_store_explicit(&fds->users[0][fd], NULL, memory_order_release);
	pthread_mutex_unlock(&fds->lock);
	while (waiter) {
		/* It is not ours any more once it has been woken. */
		struct zs_fd_waiter *next = waiter->next;

		zs_task_wake_anywhere(&waiter->wake);
		waiter = next;
	}
}
