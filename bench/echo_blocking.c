/* SPDX-License-Identifier: MIT */
/* The echo server as two blocking system calls a message, for one connection.
 * Run by echo_round.c in a child; one thread. */
#include "echo.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static int echo(struct echo_round *round, int fd)
{
	char buffer[ECHO_BUFFER];
	ssize_t length;

	for (;;) {
		length = recv(fd, buffer, sizeof(buffer), 0);
		if (length <= 0)
			break;
		length = send(fd, buffer, (size_t)length, MSG_NOSIGNAL);
		if (length <= 0)
			break;
		round->now.workers[0].system_calls += 2;
		round->now.workers[0].ops += 2;
	}
	return length < 0 ? echo_fail(round, "the connection", -errno) : 0;
}

int echo_blocking_serve(void *arg)
{
	struct echo_round *round = arg;
	int listener;
	int ret;
	int fd;

	strcpy(round->model, "blocking_loop");
	round->num_workers = 1;
	listener = echo_listen(round);
	if (listener < 0)
		return listener;
	ret = echo_ready(round);
	if (ret < 0)
		return ret;
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0)
		return echo_fail(round, "accept", -errno);
	round->now.workers[0].connections++;
	ret = echo(round, fd);
	close(fd);
	return ret;
}
