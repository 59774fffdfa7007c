/* SPDX-License-Identifier: MIT */
/* The echo server as a bare epoll loop: level-triggered, one recv and one send
 * a message. Run by echo_round.c in a child; one thread. */
#include "echo.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 512 };

struct server {
	struct echo_round *round;
	int epoll;
	int listener;
	unsigned int open;
	bool served; /* somebody has been here */
};

static int watch(struct server *server, int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

	if (epoll_ctl(server->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		return -errno;
	return 0;
}

static int take_connection(struct server *server)
{
	int fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return -errno;
	server->open++;
	server->served = true;
	server->round->now.workers[0].connections++;
	return watch(server, fd);
}

static void echo(struct server *server, int fd)
{
	char buffer[ECHO_BUFFER];
	ssize_t length;

	length = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT);
	if (length > 0)
		length = send(fd, buffer, (size_t)length,
			      MSG_DONTWAIT | MSG_NOSIGNAL);
	server->round->now.workers[0].system_calls += 2;
	server->round->now.workers[0].ops += 2;
	if (length > 0 || (length < 0 && errno == EAGAIN))
		return;
	close(fd);
	server->open--;
}

static int loop(struct server *server)
{
	struct epoll_event events[EVENTS];
	int ret = 0;
	int count;
	int i;

	while (server->open > 0 || !server->served) {
		count = epoll_wait(server->epoll, events, EVENTS, -1);
		if (count < 0 && errno != EINTR)
			return echo_fail(server->round, "epoll_wait", -errno);
		server->round->now.workers[0].system_calls++;
		for (i = 0; i < count; i++) {
			if (events[i].data.fd == server->listener)
				ret = take_connection(server);
			else
				echo(server, events[i].data.fd);
			if (ret < 0)
				return echo_fail(server->round, "accept", ret);
		}
	}
	return 0;
}

int echo_epoll_serve(void *arg)
{
	struct server server = { .round = arg };
	int ret;

	strcpy(server.round->model, "raw_epoll");
	server.round->num_workers = 1;
	server.listener = echo_listen(server.round);
	if (server.listener < 0)
		return server.listener;
	server.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (server.epoll < 0)
		return echo_fail(server.round, "epoll_create1", -errno);
	ret = watch(&server, server.listener);
	if (ret < 0)
		return echo_fail(server.round, "epoll_ctl", ret);
	ret = echo_ready(server.round);
	if (ret < 0)
		return ret;
	return loop(&server);
}
