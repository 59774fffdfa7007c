/* SPDX-License-Identifier: MIT */
/*
 * The echo server that is measured: the one of examples/echo.c, a green thread
 * a connection, with a control socket in place of signals. Run by echo_round.c
 * in a child.
 */
#include "echo.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <zsync.h>

struct server {
	struct echo_round *round;
	int listener;
	struct zs_nursery nursery;
};

static int serve_connection(void *arg)
{
	int fd = *(int *)arg;
	char buffer[ECHO_BUFFER];
	ssize_t length;

	do {
		length = zs_recv(fd, buffer, sizeof(buffer), 0);
		if (length > 0)
			length = zs_send_all(fd, buffer, (size_t)length, 0);
	} while (length > 0);
	zs_close(fd);
	return 0;
}

static int accept_connections(void *arg)
{
	struct server *server = arg;
	int ret = 0;
	int fd;

	while (ret >= 0) {
		fd = zs_accept(server->listener, NULL, NULL, 0);
		if (fd < 0)
			return fd;
		ret = zs_nursery_spawn_copy(server->nursery, serve_connection,
					    &fd, sizeof(fd));
		if (ret < 0)
			zs_close(fd);
	}
	return ret;
}

static void read_counters(struct echo_counters *counters, uint32_t num_workers)
{
	struct zs_worker_stats stats;
	uint32_t i;

	for (i = 0; i < num_workers; i++) {
		if (zs_stats_worker(NULL, i, &stats) < 0)
			continue;
		counters->workers[i].connections = stats.tasks_started;
		counters->workers[i].ops = stats.ops_completed;
		counters->workers[i].system_calls = stats.enters;
	}
}

/* Answers the load's questions until it hangs up. */
static int control(struct server *server)
{
	struct echo_round *round = server->round;
	ssize_t length;
	char byte;

	for (;;) {
		length = zs_recv(round->server_socket, &byte, 1, 0);
		if (length <= 0)
			return (int)length;
		read_counters(&round->now, round->num_workers);
		length = zs_send(round->server_socket, &byte, 1, 0);
		if (length < 0)
			return (int)length;
	}
}

static int start(struct server *server)
{
	struct zs_runtime_info info;
	int ret;

	ret = zs_runtime_info(NULL, &info);
	if (ret < 0)
		return ret;
	snprintf(server->round->model, sizeof(server->round->model), "%s",
		 info.model_name);
	server->round->num_workers = info.num_workers < ECHO_WORKERS_MAX ?
					     info.num_workers :
					     ECHO_WORKERS_MAX;
	ret = zs_nursery_open(&server->nursery, NULL);
	if (ret < 0)
		return ret;
	ret = zs_nursery_spawn(server->nursery, accept_connections, server);
	if (ret < 0)
		return ret;
	return echo_ready(server->round);
}

static int server_main(void *arg)
{
	struct server *server = arg;
	int ret;

	ret = start(server);
	if (ret >= 0)
		ret = control(server);
	/* Only the accept is left to be cancelled: -ECANCELED is the sign of a
	 * clean end. */
	zs_nursery_cancel(server->nursery);
	if (ret >= 0)
		ret = zs_nursery_wait(server->nursery);
	return ret == -ECANCELED ? 0 : ret;
}

int echo_zsync_serve(void *arg)
{
	struct server server = { .round = arg };
	struct zs_config config = zs_config_for_server();
	int ret;

	config.execution_model = server.round->execution_model;
	config.num_workers = (uint32_t)server.round->workers;
	config.queue_depth = ECHO_QUEUE_DEPTH;
	config.idle_spin_us = server.round->idle_spin_us;
	server.round->counts_when_asked = true;
	server.listener = echo_listen(server.round);
	if (server.listener < 0)
		return server.listener;
	ret = zs_run(&config, server_main, &server);
	if (ret < 0)
		snprintf(server.round->failure, sizeof(server.round->failure),
			 "zsync: %s", zs_explain(ret));
	return ret;
}
