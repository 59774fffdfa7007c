/* SPDX-License-Identifier: MIT */
/*
 * What the parts of the echo benchmarks share: echo.c asks the questions,
 * echo_round.c starts two processes a round, a server (echo_zsync.c,
 * echo_ring.c, echo_epoll.c, echo_blocking.c) and the load (echo_load.c). The
 * load leads: it connects, warms up, measures both processes over one interval,
 * checks every byte, and closes; the server ends when it has no connection
 * left.
 */
#ifndef ZS_BENCH_ECHO_H
#define ZS_BENCH_ECHO_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <zsync/config.h>

enum {
	ECHO_BYTES = 64,
	ECHO_BUFFER = 512, /* what a server reads at once */
	ECHO_BACKLOG = 4096,
	ECHO_WORKERS_MAX = 8,
	ECHO_QUEUE_DEPTH = 1024, /* of every ring; of zsync's as well */
};

/* Counters of a server since its start, by worker. */
struct echo_counters {
	struct {
		uint64_t connections;
		uint64_t ops; /* that it finished */
		uint64_t system_calls;
	} workers[ECHO_WORKERS_MAX];
};

/* What the load is made of. All but the first are for one connection. */
enum echo_load_kind {
	ECHO_LOAD_RING,
	ECHO_LOAD_BLOCKING, /* plain send and recv */
	ECHO_LOAD_TASK,	    /* the same by a task of zsync */
};

/* A round, in shared memory. All of it is handed over through the control
 * socket or by the end of a process, but for the bare servers' counters: these
 * may be a batch old when they are read. */
struct echo_round {
	/* Set before the start. */
	int family; /* AF_INET or AF_UNIX */
	int workers;
	unsigned int clients;
	/* Of zsync, where it is the server. */
	enum zs_execution_model execution_model;
	uint32_t idle_spin_us;
	enum echo_load_kind load_kind;
	int64_t warm_up_ns;
	int64_t measure_ns;
	uint64_t trips_wanted; /* not 0: these instead of an interval */
	/* Not 0: the tracepoint of system calls, by its number. */
	uint64_t tracepoint;
	int (*serve)(void *round);

	int server_socket; /* the control socket's ends */
	int load_socket;

	/* The server, before it says that it is ready. */
	pid_t server_pid;
	struct sockaddr_storage address;
	socklen_t address_length;
	char model[32];
	uint32_t num_workers;

	/* The server: the bare ones all the time, zsync when the load asks at
	 * either end of the interval. */
	bool counts_when_asked;
	struct echo_counters now;

	/* The load, before it ends. */
	struct echo_counters before;
	struct echo_counters after;
	uint64_t trips;
	int64_t wall_ns;
	int64_t server_cpu_ns;
	int64_t client_cpu_ns;
	uint64_t traced_calls; /* of the server's first thread */
	uint64_t p50_ns;
	uint64_t p99_ns;
	uint64_t p999_ns;

	/* Either, when it returns an error. */
	char failure[160];
};

/* Servers. Each runs in its child, until the load has closed all connections.
 * 0 or a negative errno, with round->failure filled. */
int echo_zsync_serve(void *round);
int echo_ring_multishot_serve(void *round);
int echo_ring_oneshot_serve(void *round);
int echo_epoll_serve(void *round);
int echo_blocking_serve(void *round);

/* The load, likewise. */
int echo_load_run(void *round);

/* --- echo_round.c --- */

/* Runs the round whose beginning is filled in; the rest must be zero. 0 or a
 * negative errno, with round->failure filled. */
int echo_round_run(struct echo_round *round);

/* Fills round->failure unless it is filled already, and returns @err. */
int echo_fail(struct echo_round *round, const char *what, int err);

/* A listening socket on a free port of the loopback, or a free name; several
 * may share a port. Fills round->address if that is empty, else takes it. The
 * socket or a negative errno. */
int echo_listen(struct echo_round *round);

/* A connection to it, or a negative errno. */
int echo_connect(const struct echo_round *round);

/* The server is ready for connections. 0 or a negative errno. */
int echo_ready(struct echo_round *round);

#endif
