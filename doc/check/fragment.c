/* SPDX-License-Identifier: MIT */
/*
 * What tools/check-docs.sh puts around a block marked "fragment": a task with
 * the usual variables, one end of a connection whose other end says "hello" and
 * then only listens, and an open nursery. EXPECT is what must hold after it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zsync.h>

struct connection {
	int fd;
	int id;
};

static int serve(void *arg)
{
	struct connection *connection = arg;

	return connection ? zs_yield() : -EINVAL;
}

static int speak(void *arg)
{
	int fd = *(int *)arg;
	char byte;

	zs_send_all(fd, "hello\n", 6, 0);
	while (zs_recv(fd, &byte, 1, 0) > 0)
		;
	return zs_close(fd);
}

static int fragment(void *arg)
{
	struct connection connection = { .fd = ((int *)arg)[0], .id = 1 };
	struct zs_runtime_info info = { 0 };
	struct zs_cancel_token token = { 0 };
	struct zs_nursery nursery = { 0 }, outer = { 0 };
	char buffer[4096];
	ssize_t length = 0;
	int fd = connection.fd, ret = zs_nursery_open(&outer, NULL);

	zs_nursery_spawn_copy(outer, speak, (int *)arg + 1, sizeof(int));
	{
#include BLOCK
	}
	if (!(EXPECT)) {
		fprintf(stderr, "ret is %d, length is %zd\n", ret, length);
		exit(1);
	}
	(void)serve, (void)info, (void)token, (void)nursery, (void)buffer, (void)fd;
	zs_close(connection.fd);
	return zs_nursery_wait(outer);
}

int main(void)
{
	struct zs_config config = zs_config_default();
	int ret, fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		return 1;
	ret = zs_run(&config, fragment, fds);
	if (ret < 0)
		fprintf(stderr, "%s\n", zs_explain(ret));
	return ret < 0;
}
