/* SPDX-License-Identifier: MIT */
/* Jobs of the offload pool: see job.h. */
#include "engine/job.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "engine/interrupt.h"

/* Where the call is refused, by a filter say, it is enough that there is
 * memory. */
static bool is_readable(const char *at, uintptr_t page_size)
{
	uintptr_t page = (uintptr_t)at & ~(page_size - 1);
	unsigned char byte;
	struct iovec to = { &byte, 1 }, from = { (void *)(uintptr_t)at, 1 };

	if (process_vm_readv(getpid(), &to, 1, &from, 1, 0) == 1)
		return true;
	return errno != EFAULT && mincore((void *)page, page_size, &byte) == 0;
}

/* Up to its end or PATH_MAX, which is too long for the kernel all the same;
 * or to where it cannot be read, as a bad pointer's path. */
static size_t readable_length(const char *path)
{
	uintptr_t page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
	uintptr_t page = (uintptr_t)path & ~(page_size - 1);
	size_t length = 0, next;

	while (length < PATH_MAX) {
		if (!is_readable(path + length, page_size))
			return SIZE_MAX;
		page += page_size;
		next = page - (uintptr_t)path;
		length += strnlen(path + length, next - length);
		if (length < next)
			return length;
	}
	return PATH_MAX;
}

/* False: there is no memory. */
static bool copy_path(struct zs_job *job, int place, uint64_t *address)
{
	const char *path = (const char *)(uintptr_t)*address;
	size_t length = readable_length(path);

	/* It stays as it is for the kernel to refuse. */
	if (length == SIZE_MAX)
		return true;
	job->paths[place] = strndup(path, length);
	*address = (uint64_t)(uintptr_t)job->paths[place];
	return job->paths[place] != NULL;
}

/* A number may be another directory's by the time that the path is walked. What
 * cannot be duplicated is refused by the kernel, or its number is relied on. (A
 * second directory comes as a duplicate that outlives the job.) */
static void copy_directory(struct zs_job *job)
{
	int fd;

	if (job->copy.fd < 0)
		return;
	fd = fcntl(job->copy.fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return;
	job->copy.fd = fd;
	job->owns_fd = true;
}

/* Only what may be detached needs a copy of what its task has. */
bool zs_job_copy(struct zs_job *job, const struct zs_op *op)
{
	const struct zs_op_type *type = &zs_op_types[op->code];

	job->copy = *op;
	if (type->op_class != ZS_OP_DETACHABLE)
		return true;
	if (type->paths && type->names_fd)
		copy_directory(job);
	return (!(type->paths & ZS_OP_PATH_ADDRESS) ||
		copy_path(job, 0, &job->copy.address)) &&
	       (!(type->paths & ZS_OP_PATH_OFFSET) ||
		copy_path(job, 1, &job->copy.offset));
}

void zs_job_release(struct zs_job *job)
{
	free(job->paths[0]);
	free(job->paths[1]);
	if (job->owns_fd)
		close(job->copy.fd);
}

/* What a stop of the process interrupts, and its end, though they run no
 * handler: these, if their sockets have a timeout (signal(7)). */
static bool is_stopped_with_process(const struct zs_op *op)
{
	switch (op->code) {
	case ZS_OP_ACCEPT:
	case ZS_OP_CONNECT:
	case ZS_OP_SEND:
	case ZS_OP_RECV:
	case ZS_OP_SENDMMSG:
	case ZS_OP_RECVMMSG:
	case ZS_OP_SENDMSG:
	case ZS_OP_RECVMSG:
		return true;
	default:
		return false;
	}
}

/* What interrupts a system call when nobody has asked, somebody's kill(2) say,
 * is no concern of its task. Else -EINTR is the call's own answer, a file
 * server's perhaps; and a function knows itself what it is to do. */
static bool is_to_call_again(const struct zs_job *job, uint32_t count)
{
	if (atomic_load_explicit(&job->is_cancelled, memory_order_relaxed) ||
	    job->copy.code == ZS_OP_CALL)
		return false;
	return zs_interrupt_count() != count ||
	       is_stopped_with_process(&job->copy);
}

int zs_job_call(struct zs_job *job)
{
	const struct zs_op_type *type = &zs_op_types[job->copy.code];
	uint32_t count = zs_interrupt_count();
	int ret = type->call(&job->copy);
	bool was_connecting = false;

	while (ret == -EINTR && is_to_call_again(job, count)) {
		was_connecting = job->copy.code == ZS_OP_CONNECT;
		count = zs_interrupt_count();
		ret = type->call(&job->copy);
	}
	/* The timeout; to the kernel that was a second call. */
	if (ret == -EALREADY && was_connecting)
		ret = -EINPROGRESS;
	return zs_op_sum_up(&job->copy, ret);
}

void zs_job_queue_init(struct zs_job_queue *queue)
{
	queue->first = NULL;
	queue->last = &queue->first;
	queue->length = 0;
}

void zs_job_queue_append(struct zs_job_queue *queue, struct zs_job *job)
{
	job->thread = NULL;
	job->next = NULL;
	*queue->last = job;
	queue->last = &job->next;
	queue->length++;
}

struct zs_job *zs_job_queue_pop(struct zs_job_queue *queue)
{
	struct zs_job *job = queue->first;

	queue->first = job->next;
	if (!queue->first)
		queue->last = &queue->first;
	queue->length--;
	return job;
}

bool zs_job_queue_remove(struct zs_job_queue *queue, struct zs_job *job)
{
	struct zs_job **at;

	for (at = &queue->first; *at; at = &(*at)->next) {
		if (*at != job)
			continue;
		*at = job->next;
		if (!*at)
			queue->last = at;
		queue->length--;
		return true;
	}
	return false;
}
