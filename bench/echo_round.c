/* SPDX-License-Identifier: MIT */
/* One round of an echo benchmark: its two processes and their sockets. Called
 * by echo.c and counts.c, and by servers and load; see echo.h. */
#include "echo.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

enum { SLACK_MS = 15000 }; /* for both to start, connect, drain and end */

int echo_fail(struct echo_round *round, const char *what, int err)
{
	if (!round->failure[0])
		snprintf(round->failure, sizeof(round->failure), "%s: %s", what,
			 strerror(-err));
	return err;
}

/* --- sockets --- */

/* Any free one: the kernel chooses. */
static void take_any_address(struct echo_round *round)
{
	struct sockaddr_in *inet = (struct sockaddr_in *)&round->address;

	round->address.ss_family = (sa_family_t)round->family;
	round->address_length = sizeof(sa_family_t);
	if (round->family != AF_INET)
		return;
	inet->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	round->address_length = sizeof(*inet);
}

static int bind_and_listen(struct echo_round *round, int fd)
{
	struct sockaddr *address = (struct sockaddr *)&round->address;
	const int on = 1;

	/* Only ever more than one here: others would join a service of ours. */
	if (round->workers > 1 &&
	    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0)
		return -errno;
	if (bind(fd, address, round->address_length) < 0 ||
	    listen(fd, ECHO_BACKLOG) < 0)
		return -errno;
	round->address_length = sizeof(round->address);
	if (getsockname(fd, address, &round->address_length) < 0)
		return -errno;
	return 0;
}

int echo_listen(struct echo_round *round)
{
	int fd = socket(round->family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int ret;

	if (fd < 0)
		return echo_fail(round, "socket", -errno);
	if (round->address_length == 0)
		take_any_address(round);
	ret = bind_and_listen(round, fd);
	if (ret < 0) {
		close(fd);
		return echo_fail(round, "listen", ret);
	}
	return fd;
}

int echo_connect(const struct echo_round *round)
{
	const int on = 1;
	int fd = socket(round->family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int ret;

	if (fd < 0)
		return -errno;
	if (round->family == AF_INET)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (connect(fd, (const struct sockaddr *)&round->address,
		    round->address_length) < 0) {
		ret = -errno;
		close(fd);
		return ret;
	}
	return fd;
}

int echo_ready(struct echo_round *round)
{
	round->server_pid = getpid();
	if (write(round->server_socket, "!", 1) != 1)
		return echo_fail(round, "control socket", -errno);
	return 0;
}

/* --- processes --- */

/* Each keeps only its own end, so that it sees the other's death. */
static int server_child(void *arg)
{
	struct echo_round *round = arg;

	close(round->load_socket);
	return round->serve(round);
}

static int load_child(void *arg)
{
	struct echo_round *round = arg;

	close(round->server_socket);
	return echo_load_run(round);
}

static int run_processes(struct echo_round *round)
{
	int cpu = round->workers > 1 ? BENCH_ANY_CPU : bench_server_cpu();
	int limit_ms = (int)((round->warm_up_ns + round->measure_ns) / 1000000);
	struct bench_child server = { 0 };
	struct bench_child load = { 0 };
	int ended;
	int ret;

	ret = bench_child_start(&server, "server", cpu, server_child, round);
	if (ret == 0)
		ret = bench_child_start(&load, "load", bench_load_cpu(),
					load_child, round);
	close(round->server_socket);
	close(round->load_socket);
	if (ret == 0)
		ret = bench_child_wait(&load, limit_ms + SLACK_MS);
	if (ret < 0) {
		bench_child_kill(&server);
		return echo_fail(round, "load", ret);
	}
	ended = bench_child_wait(&server, SLACK_MS);
	return ended < 0 ? echo_fail(round, "the server's end", ended) : 0;
}

int echo_round_run(struct echo_round *round)
{
	int sockets[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) < 0)
		return echo_fail(round, "socketpair", -errno);
	round->server_socket = sockets[0];
	round->load_socket = sockets[1];
	return run_processes(round);
}
