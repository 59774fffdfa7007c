/* SPDX-License-Identifier: MIT */
/*
 * Jobs of the offload pool: an operation that a thread works on, with what it
 * needs of its task's memory copied. For offload.c, under its lock.
 */
#ifndef ZS_ENGINE_JOB_H
#define ZS_ENGINE_JOB_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/mailbox.h"
#include "engine/op.h"

struct zs_detached;
struct zs_job_thread;
struct zs_returns;

struct zs_job {
	struct zs_message message; /* when it returns */
	struct zs_job *next;	   /* in the lane's queue, or among free ones */
	/* The worker's; NULL: it was detached. */
	struct zs_op *op;
	struct zs_detached *detached;
	/* NULL: nobody waits for it any more. */
	struct zs_returns *returns;
	/* NULL while it is queued. */
	struct zs_job_thread *thread;
	/* Set by its worker; the interrupt that follows makes the thread look,
	 * hence relaxed. */
	_Atomic bool is_cancelled;
	bool is_returned; /* it is in the mailbox */
	bool owns_fd;	  /* copy.fd */
	/* The thread's own while it runs. */
	struct zs_op copy;
	char *paths[2];
};

/* First in, first out. */
struct zs_job_queue {
	struct zs_job *first;
	struct zs_job **last;
	uint32_t length;
};

/* False: there is no memory. In either case zs_job_release() undoes it. */
bool zs_job_copy(struct zs_job *job, const struct zs_op *op);
void zs_job_release(struct zs_job *job);
/* Its thread, without the lock. Makes its call, whatever interrupts that but a
 * cancel. The result. */
int zs_job_call(struct zs_job *job);

void zs_job_queue_init(struct zs_job_queue *queue);
void zs_job_queue_append(struct zs_job_queue *queue, struct zs_job *job);
/* There is one. */
struct zs_job *zs_job_queue_pop(struct zs_job_queue *queue);
/* False: it is not there. */
bool zs_job_queue_remove(struct zs_job_queue *queue, struct zs_job *job);

#endif
