/* SPDX-License-Identifier: MIT */
/*
 * graceful: how a server ends without cutting anybody off. When it is told to
 * stop it accepts nobody any more, and gives the connections that are open a
 * while; who is not done by then is cancelled. The clients are in the same
 * program: some are quick, and one never ends.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>

#include <zsync.h>

enum { NR_QUICK = 5 };
#define GRACE (200 * ZS_MILLISECOND)

static struct server {
	int listener;
	int port;
	struct zs_nursery connections;
	struct zs_latch clients_are_in;
	_Atomic int num_done, num_cut_off;
} server = { .clients_are_in = ZS_LATCH_INIT(NR_QUICK + 1) };

/* Answers each byte, until the client hangs up. */
static int serve(void *arg)
{
	int fd = *(int *)arg;
	ssize_t length;
	char byte;

	do
		length = zs_recv(fd, &byte, 1, 0);
	while (length > 0 && zs_send_all(fd, &byte, 1, 0) == 1);
	if (length == 0)
		atomic_fetch_add(&server.num_done, 1);
	else
		atomic_fetch_add(&server.num_cut_off, 1);
	zs_close(fd);
	return 0;
}

static int accept_all(void *arg)
{
	int fd = 0;

	(void)arg;
	while (fd >= 0) {
		fd = zs_accept(server.listener, NULL, NULL, 0);
		if (fd >= 0 && zs_nursery_spawn_copy(server.connections, serve,
						     &fd, sizeof(fd)) < 0)
			zs_close(fd);
	}
	return fd;
}

static int be_client(void *arg)
{
	int64_t pause_ns = *(int64_t *)arg;
	char address[24], byte = 'x';
	int fd;

	snprintf(address, sizeof(address), "127.0.0.1:%d", server.port);
	fd = zs_tcp_connect(address);
	if (fd < 0)
		return fd;
	if (zs_send_all(fd, &byte, 1, 0) == 1)
		zs_recv(fd, &byte, 1, 0);
	zs_latch_count_down(&server.clients_are_in, 1);
	/* Busy with something else; at the end it hangs up. */
	zs_sleep(pause_ns);
	return zs_close(fd);
}

static int spawn_clients(struct zs_nursery nursery)
{
	int64_t pause_ns = 20 * ZS_MILLISECOND;
	int ret = 0;

	for (int i = 0; i < NR_QUICK && ret == 0; i++)
		ret = zs_nursery_spawn_copy(nursery, be_client, &pause_ns,
					    sizeof(pause_ns));
	pause_ns = ZS_NEVER;
	return ret == 0 ? zs_nursery_spawn_copy(nursery, be_client, &pause_ns,
						sizeof(pause_ns)) :
			  ret;
}

/* The connections' nursery is around the one of who accepts, so that they go
 * on when that is cancelled. */
static int serve_until_told(void)
{
	struct zs_nursery accepting;
	int ret = zs_nursery_open(&accepting, NULL);

	if (ret < 0)
		return ret;
	ret = zs_nursery_spawn(accepting, accept_all, NULL);
	/* What a service would wait for is a signal: see echo.c. */
	if (ret == 0)
		ret = zs_latch_wait(&server.clients_are_in);
	zs_nursery_cancel(accepting);
	zs_nursery_wait(accepting);
	zs_close(server.listener);
	return ret;
}

static void cut_off(struct zs_timer *timer, void *arg)
{
	(void)timer;
	(void)arg;
	zs_nursery_cancel(server.connections);
}

static int run_server(void)
{
	struct zs_timer grace = { 0 };
	int ret = zs_nursery_open(&server.connections, NULL);

	if (ret < 0)
		return ret;
	ret = serve_until_told();
	printf("no more clients; those that are in have 200 ms\n");
	zs_timer_start(&grace, zs_now() + GRACE, cut_off, NULL);
	zs_nursery_wait(server.connections);
	zs_timer_cancel(&grace);
	printf("%d were done, %d was cut off\n", server.num_done,
	       server.num_cut_off);
	return ret;
}

static int run(void *arg)
{
	struct zs_nursery clients;
	int ret;

	(void)arg;
	server.listener = zs_tcp_listen("127.0.0.1:0", 64);
	if (server.listener < 0)
		return server.listener;
	server.port = zs_local_port(server.listener);
	ret = zs_nursery_open(&clients, NULL);
	if (ret < 0)
		return ret;
	ret = spawn_clients(clients);
	if (ret == 0)
		ret = run_server();
	/* The one that never ends. */
	zs_nursery_cancel(clients);
	zs_nursery_wait(clients);
	return ret;
}

int main(void)
{
	int ret = zs_run(NULL, run, NULL);

	if (ret < 0)
		fprintf(stderr, "graceful: %s\n", zs_explain(ret));
	return ret < 0;
}
