/* SPDX-License-Identifier: MIT */
/*
 * The load of the echo benchmarks: a loop over a bare ring that keeps one
 * message under way on each connection and checks every byte of every answer;
 * or, for one connection, two blocking calls a message.
 * Run by echo_round.c in a child on a CPU of its own; one thread.
 *
 * It measures, too: over one interval, the trips, its own CPU time and the
 * server's. Both processes' clocks are read at both ends of it, so that start,
 * connecting and warm-up do not count.
 */
#include "echo.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <zsync.h>

#include "base/clock.h"
#include "bench.h"
#include "raw_ring.h"
#include "tracepoint.h"

enum {
	WORDS = ECHO_BYTES / sizeof(uint64_t),
	ANSWER_LIMIT_MS = 10000, /* the server is taken for dead then */
};

enum kind { KIND_SEND, KIND_RECV };

struct connection {
	int fd;
	unsigned int received; /* bytes of the answer so far */
	uint64_t sequence;     /* of the message under way */
	int64_t sent_ns;
	uint64_t out[WORDS];
	uint64_t in[WORDS];
};

struct load {
	struct raw_ring ring;
	struct echo_round *round;
	struct connection *connections;
	unsigned int under_way;
	bool stopping; /* no new messages */
	bool failed;
	uint64_t trips;
	int tracepoint; /* negative: none */
	int64_t measured_from_ns;
	struct bench_histogram times;
};

/* --- messages --- */

/* No two messages of any two connections are alike, nor any two words of one:
 * whatever is lost, doubled, cut or sent to another shows. */
static void fill_message(struct connection *connection, uint32_t index)
{
	uint64_t seed = (connection->sequence << 24 | index) << 3;
	unsigned int i;

	for (i = 0; i < WORDS; i++)
		connection->out[i] = (seed + i + 1) * 0x9e3779b97f4a7c15u;
}

static void fail(struct load *load, const char *what, int err)
{
	load->failed = true;
	echo_fail(load->round, what, err);
}

static struct zs_sqe *prepare(struct load *load, uint32_t index, enum kind kind)
{
	struct zs_sqe *sqe = raw_ring_sqe(&load->ring);

	sqe->opcode = kind == KIND_SEND ? ZS_URING_OP_SEND : ZS_URING_OP_RECV;
	sqe->fd = load->connections[index].fd;
	sqe->user_data = (uint64_t)index << 8 | kind;
	return sqe;
}

static void start_message(struct load *load, uint32_t index, int64_t now_ns)
{
	struct connection *connection = &load->connections[index];
	struct zs_sqe *sqe;

	connection->sequence++;
	connection->received = 0;
	connection->sent_ns = now_ns;
	fill_message(connection, index);
	load->under_way++;
	if (load->round->load_kind != ECHO_LOAD_RING)
		return;
	sqe = prepare(load, index, KIND_SEND);
	sqe->addr = (uint64_t)(uintptr_t)connection->out;
	sqe->length = ECHO_BYTES;
	sqe->op_flags = MSG_WAITALL | MSG_NOSIGNAL;
}

static void arm_recv(struct load *load, uint32_t index)
{
	struct connection *connection = &load->connections[index];
	struct zs_sqe *sqe = prepare(load, index, KIND_RECV);

	sqe->addr = (uint64_t)(uintptr_t)connection->in + connection->received;
	sqe->length = ECHO_BYTES - connection->received;
}

static bool wants_another(const struct load *load)
{
	uint64_t wanted = load->round->trips_wanted;

	return !load->stopping &&
	       (wanted == 0 || load->trips + load->under_way < wanted);
}

static void end_trip(struct load *load, uint32_t index)
{
	struct connection *connection = &load->connections[index];
	int64_t now_ns = zs_clock_ns();

	load->under_way--;
	if (memcmp(connection->in, connection->out, ECHO_BYTES) != 0) {
		fail(load, "an answer is not what was sent", -EBADMSG);
		return;
	}
	load->trips++;
	/* What was sent before the interval waited for its beginning. */
	if (connection->sent_ns >= load->measured_from_ns)
		bench_histogram_add(&load->times,
				    (uint64_t)(now_ns - connection->sent_ns));
	if (wants_another(load))
		start_message(load, index, now_ns);
}

static void dispatch(struct load *load, const struct zs_cqe *cqe)
{
	uint32_t index = (uint32_t)(cqe->user_data >> 8);
	struct connection *connection = &load->connections[index];

	if (cqe->result <= 0) {
		fail(load, "a connection broke",
		     cqe->result ? cqe->result : -ECONNRESET);
		return;
	}
	if ((cqe->user_data & 0xff) == KIND_SEND) {
		if (cqe->result != ECHO_BYTES)
			fail(load, "a short send", -EIO);
		arm_recv(load, index);
		return;
	}
	connection->received += (unsigned int)cqe->result;
	if (connection->received < ECHO_BYTES)
		arm_recv(load, index);
	else
		end_trip(load, index);
}

static void turn_ring(struct load *load)
{
	struct zs_cqe cqe;
	int ret;

	ret = raw_ring_turn(&load->ring, (int64_t)ANSWER_LIMIT_MS * 1000000);
	if (ret == -ETIME)
		fail(load, "the server gave no answer", -ETIMEDOUT);
	else if (ret < 0)
		fail(load, "io_uring_enter", ret);
	while (!load->failed && raw_ring_next(&load->ring, &cqe))
		dispatch(load, &cqe);
}

static void turn_blocking(struct load *load)
{
	struct connection *connection = &load->connections[0];

	if (send(connection->fd, connection->out, ECHO_BYTES, MSG_NOSIGNAL) !=
		    ECHO_BYTES ||
	    recv(connection->fd, connection->in, ECHO_BYTES, MSG_WAITALL) !=
		    ECHO_BYTES)
		fail(load, "the connection broke", -ECONNRESET);
	else
		end_trip(load, 0);
}

static void turn_task(struct load *load)
{
	struct connection *connection = &load->connections[0];

	if (zs_send_all(connection->fd, connection->out, ECHO_BYTES, 0) !=
		    ECHO_BYTES ||
	    zs_recv(connection->fd, connection->in, ECHO_BYTES, MSG_WAITALL) !=
		    ECHO_BYTES)
		fail(load, "the connection broke", -ECONNRESET);
	else
		end_trip(load, 0);
}

/* Until @until_ns, or until nothing is under way. */
static void drive(struct load *load, int64_t until_ns)
{
	while (!load->failed && load->under_way > 0 &&
	       zs_clock_ns() < until_ns) {
		switch (load->round->load_kind) {
		case ECHO_LOAD_RING:
			turn_ring(load);
			break;
		case ECHO_LOAD_BLOCKING:
			turn_blocking(load);
			break;
		case ECHO_LOAD_TASK:
			turn_task(load);
			break;
		}
	}
}

/* --- the interval --- */

/* The time that all threads of a process have had, its io workers included. */
static int64_t cpu_ns(pid_t pid)
{
	struct timespec time;
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) != 0 ||
	    clock_gettime(clock, &time) < 0)
		return 0;
	return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static int wait_for_server(struct echo_round *round)
{
	struct pollfd poll_fd = { .fd = round->load_socket, .events = POLLIN };
	char byte;

	if (poll(&poll_fd, 1, ANSWER_LIMIT_MS) <= 0 ||
	    read(round->load_socket, &byte, 1) != 1)
		return echo_fail(round, "no word from the server", -ETIMEDOUT);
	return 0;
}

static void read_counters(struct load *load, struct echo_counters *counters)
{
	struct echo_round *round = load->round;

	if (round->counts_when_asked &&
	    (write(round->load_socket, "?", 1) != 1 ||
	     wait_for_server(round) < 0))
		fail(load, "counters", -EIO);
	*counters = round->now;
}

static void measure(struct load *load)
{
	struct echo_round *round = load->round;
	int64_t start_ns;

	drive(load, zs_clock_ns() + round->warm_up_ns);
	read_counters(load, &round->before);
	memset(&load->times, 0, sizeof(load->times));
	load->trips = 0;

	round->traced_calls = -bench_tracepoint_read(load->tracepoint);
	round->server_cpu_ns = -cpu_ns(round->server_pid);
	round->client_cpu_ns = -cpu_ns(getpid());
	start_ns = zs_clock_ns();
	load->measured_from_ns = start_ns;
	drive(load,
	      round->trips_wanted ? INT64_MAX : start_ns + round->measure_ns);
	round->wall_ns = zs_clock_ns() - start_ns;
	round->client_cpu_ns += cpu_ns(getpid());
	round->server_cpu_ns += cpu_ns(round->server_pid);
	round->traced_calls += bench_tracepoint_read(load->tracepoint);

	round->trips = load->trips;
	round->p50_ns = bench_histogram_at(&load->times, 500);
	round->p99_ns = bench_histogram_at(&load->times, 990);
	round->p999_ns = bench_histogram_at(&load->times, 999);
	read_counters(load, &round->after);
}

/* --- connections --- */

static int connect_all(struct load *load)
{
	unsigned int i;
	int fd;

	for (i = 0; i < load->round->clients; i++) {
		fd = echo_connect(load->round);
		if (fd < 0)
			return echo_fail(load->round, "connect", fd);
		load->connections[i].fd = fd;
	}
	return 0;
}

static int prepare_load(struct load *load)
{
	struct echo_round *round = load->round;
	int ret;

	load->tracepoint = -1;
	load->connections = calloc(round->clients, sizeof(*load->connections));
	if (!load->connections)
		return echo_fail(round, "memory", -ENOMEM);
	ret = raw_ring_open(&load->ring, ECHO_QUEUE_DEPTH);
	if (ret < 0)
		return echo_fail(round, "io_uring_setup for the load", ret);
	ret = wait_for_server(round);
	if (ret < 0 || round->tracepoint == 0)
		return ret;
	ret = bench_tracepoint_open(round->tracepoint, round->server_pid);
	if (ret < 0)
		return echo_fail(round, "perf_event_open", ret);
	load->tracepoint = ret;
	return 0;
}

static int run_load(void *arg)
{
	struct load *load = arg;
	unsigned int i;

	for (i = 0; i < load->round->clients; i++)
		start_message(load, i, zs_clock_ns());
	measure(load);
	/* Every message gets its answer before the connections close. */
	load->stopping = true;
	drive(load, zs_clock_ns() + (int64_t)ANSWER_LIMIT_MS * 1000000);
	for (i = 0; i < load->round->clients; i++)
		close(load->connections[i].fd);
	return load->failed ? -EIO : 0;
}

int echo_load_run(void *arg)
{
	static struct load load;
	struct echo_round *round = arg;
	struct zs_config config = zs_config_default();
	int ret;

	load.round = round;
	ret = prepare_load(&load);
	if (ret < 0)
		return ret;
	ret = connect_all(&load);
	if (ret < 0)
		return ret;
	if (round->load_kind != ECHO_LOAD_TASK)
		return run_load(&load);
	config.num_workers = 1;
	config.idle_spin_us = round->idle_spin_us;
	return zs_run(&config, run_load, &load);
}
