/* SPDX-License-Identifier: MIT */
/*
 * The echo server as a hand-written loop over a bare ring: the limit. Two ways
 * of receiving, since neither is always the faster one: multishot into a ring
 * of buffers, and one-shot, armed again once the answer has been sent.
 *
 * Run by echo_round.c in a child. With more than one worker, each is a thread
 * with its own ring and its own listener on the same port, between which the
 * kernel spreads the connections by their hash.
 */
#include "echo.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "raw_ring.h"

enum { BUFFERS = 2048 }; /* more than there are messages under way */

enum kind { KIND_ACCEPT, KIND_RECV, KIND_SEND };

struct loop {
	struct raw_ring ring;
	struct raw_buffers buffers;  /* multishot */
	char (*memory)[ECHO_BUFFER]; /* one-shot: one a connection, by fd */
	struct echo_round *round;
	int index; /* of this worker */
	int listener;
	bool multishot;
};

static struct loop loops[ECHO_WORKERS_MAX];

/* Over all loops. Relaxed: only the one that closes the last connection acts on
 * it, and nothing is handed over by it. */
static _Atomic int open_connections;

/* Descriptor, buffer and kind in one word. */
static uint64_t tag(enum kind kind, int fd, uint32_t buffer)
{
	return (uint64_t)(uint32_t)fd << 32 | buffer << 8 | kind;
}

static struct zs_sqe *prepare(struct loop *loop, uint8_t opcode, int fd,
			      uint64_t user_data)
{
	struct zs_sqe *sqe = raw_ring_sqe(&loop->ring);

	sqe->opcode = opcode;
	sqe->fd = fd;
	sqe->user_data = user_data;
	return sqe;
}

static void arm_accept(struct loop *loop)
{
	struct zs_sqe *sqe = prepare(loop, ZS_URING_OP_ACCEPT, loop->listener,
				     tag(KIND_ACCEPT, loop->listener, 0));

	sqe->op_flags = SOCK_CLOEXEC;
}

static void arm_recv(struct loop *loop, int fd)
{
	struct zs_sqe *sqe =
		prepare(loop, ZS_URING_OP_RECV, fd, tag(KIND_RECV, fd, 0));

	if (loop->multishot) {
		sqe->ioprio = ZS_URING_RECVSEND_RECV_MULTISHOT;
		sqe->flags = ZS_URING_SQE_BUFFER_SELECT;
		return;
	}
	sqe->addr = (uint64_t)(uintptr_t)loop->memory[fd];
	sqe->length = ECHO_BUFFER;
}

/* MSG_WAITALL: the kernel goes on by itself after a short send. */
static void start_send(struct loop *loop, int fd, uint32_t buffer,
		       const char *data, uint32_t length)
{
	struct zs_sqe *sqe =
		prepare(loop, ZS_URING_OP_SEND, fd, tag(KIND_SEND, fd, buffer));

	sqe->addr = (uint64_t)(uintptr_t)data;
	sqe->length = length;
	sqe->op_flags = MSG_WAITALL | MSG_NOSIGNAL;
}

/* The load closes all its connections at once: with the last one we are done,
 * whatever other loops wait for. */
static void drop(int fd)
{
	close(fd);
	if (atomic_fetch_sub_explicit(&open_connections, 1,
				      memory_order_relaxed) == 1)
		_exit(0);
}

static void on_accept(struct loop *loop, const struct zs_cqe *cqe)
{
	arm_accept(loop);
	if (cqe->result < 0)
		return;
	atomic_fetch_add_explicit(&open_connections, 1, memory_order_relaxed);
	loop->round->now.workers[loop->index].connections++;
	arm_recv(loop, cqe->result);
}

static void on_recv(struct loop *loop, int fd, const struct zs_cqe *cqe)
{
	bool armed = cqe->flags & ZS_URING_CQE_MORE;
	uint32_t buffer = cqe->flags >> ZS_URING_CQE_BUFFER_SHIFT;

	if (cqe->result > 0) {
		start_send(loop, fd, buffer,
			   loop->multishot ?
				   raw_buffers_at(&loop->buffers, buffer) :
				   loop->memory[fd],
			   (uint32_t)cqe->result);
		if (loop->multishot && !armed)
			arm_recv(loop, fd);
		return;
	}
	if (cqe->result == -ENOBUFS)
		arm_recv(loop, fd);
	else
		drop(fd);
}

/* A send that failed shows again when the connection is next received from. */
static void on_send(struct loop *loop, int fd, uint32_t buffer)
{
	if (loop->multishot)
		raw_buffers_put(&loop->buffers, buffer);
	else
		arm_recv(loop, fd);
}

static void dispatch(struct loop *loop, const struct zs_cqe *cqe)
{
	int fd = (int)(cqe->user_data >> 32);

	switch (cqe->user_data & 0xff) {
	case KIND_ACCEPT:
		on_accept(loop, cqe);
		break;
	case KIND_RECV:
		on_recv(loop, fd, cqe);
		break;
	case KIND_SEND:
		on_send(loop, fd, (cqe->user_data >> 8) & 0xffff);
		break;
	}
}

/* Only ends with the process, or when the ring fails. */
static int run(struct loop *loop)
{
	struct echo_counters *now = &loop->round->now;
	struct zs_cqe cqe;
	int ret = 0;

	arm_accept(loop);
	while (ret >= 0) {
		ret = raw_ring_turn(&loop->ring, 0);
		while (raw_ring_next(&loop->ring, &cqe)) {
			dispatch(loop, &cqe);
			now->workers[loop->index].ops++;
		}
		if (loop->multishot)
			raw_buffers_publish(&loop->buffers);
		now->workers[loop->index].system_calls = loop->ring.enters;
	}
	return echo_fail(loop->round, "io_uring_enter", ret);
}

static int open_ring(struct loop *loop)
{
	int ret;

	ret = raw_ring_open(&loop->ring, ECHO_QUEUE_DEPTH);
	if (ret < 0)
		return echo_fail(loop->round, "io_uring_setup", ret);
	if (loop->multishot) {
		ret = raw_buffers_open(&loop->buffers, &loop->ring, BUFFERS,
				       ECHO_BUFFER);
		return ret < 0 ? echo_fail(loop->round, "buffer ring", ret) : 0;
	}
	loop->memory = calloc((size_t)getdtablesize(), ECHO_BUFFER);
	return loop->memory ? 0 : echo_fail(loop->round, "memory", -ENOMEM);
}

/* Its ring has one issuer: it is made by the thread that uses it. */
static void *other_loop(void *arg)
{
	struct loop *loop = arg;

	if (open_ring(loop) == 0)
		run(loop);
	_exit(1);
}

/* All listen before any connection comes, so that none gets what is meant for
 * another. */
static int prepare_loops(struct echo_round *round, bool multishot)
{
	struct loop *loop;
	int i;

	for (i = 0; i < round->workers; i++) {
		loop = &loops[i];
		loop->round = round;
		loop->index = i;
		loop->multishot = multishot;
		loop->listener = echo_listen(round);
		if (loop->listener < 0)
			return loop->listener;
	}
	return 0;
}

static int serve(struct echo_round *round, bool multishot)
{
	pthread_t thread;
	int ret;
	int i;

	strcpy(round->model,
	       multishot ? "raw_ring_multishot" : "raw_ring_oneshot");
	round->num_workers = (uint32_t)round->workers;
	ret = prepare_loops(round, multishot);
	if (ret < 0)
		return ret;
	ret = open_ring(&loops[0]);
	if (ret < 0)
		return ret;
	for (i = 1; i < round->workers; i++) {
		if (pthread_create(&thread, NULL, other_loop, &loops[i]) != 0)
			return echo_fail(round, "pthread_create", -EAGAIN);
	}
	ret = echo_ready(round);
	return ret < 0 ? ret : run(&loops[0]);
}

int echo_ring_multishot_serve(void *round)
{
	return serve(round, true);
}

int echo_ring_oneshot_serve(void *round)
{
	return serve(round, false);
}
