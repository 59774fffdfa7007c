/* SPDX-License-Identifier: MIT */
/*
 * foreign_loop [--port N] [--model NAME]: the echo server inside an event loop
 * of the program's own. That loop also has descriptors of its own, here the
 * signals; its thread is the only one there is.
 */
#include <poll.h>

#include <zsync.h>
#include "example.h"

static int serve(void *arg)
{
	int fd = *(int *)arg;
	char buffer[4096];
	ssize_t length;

	do
		length = zs_recv(fd, buffer, sizeof(buffer), 0);
	while (length > 0 && zs_send_all(fd, buffer, length, 0) == length);
	return zs_close(fd);
}

static int run(void *arg)
{
	struct example *server = arg;
	struct zs_nursery nursery = { 0 };
	int fd, ret, listener = zs_tcp_listen(server->address, SOMAXCONN);

	if (listener < 0)
		return listener;
	printf("listening on 127.0.0.1:%d\n", zs_local_port(listener));
	ret = zs_nursery_open(&nursery, NULL);
	while (ret == 0) {
		fd = zs_accept(listener, NULL, NULL, 0);
		if (fd < 0)
			ret = zs_sleep(10 * ZS_MILLISECOND);
		else if (zs_nursery_spawn_copy(nursery, serve, &fd, sizeof(fd)))
			zs_close(fd);
	}
	zs_nursery_wait(nursery);
	return zs_close(listener);
}

/* The foreign loop. It waits only if the last step left nothing to do. */
static int loop(struct zs_runtime *runtime, int signals)
{
	struct pollfd fds[] = {
		{ .fd = zs_runtime_fd(runtime), .events = POLLIN },
		{ .fd = signals, .events = POLLIN },
	};
	int step;

	do {
		step = zs_runtime_step(runtime);
		poll(fds, 2, step == ZS_STEP_IDLE ? -1 : 0);
		if (fds[1].revents) {
			fds[1].fd = -1;
			/* Only asks: the steps that follow end it. */
			zs_runtime_stop(runtime, 0);
		}
	} while (step == ZS_STEP_IDLE || step == ZS_STEP_READY);
	return step < 0 ? step : 0;
}

int main(int argc, char **argv)
{
	struct example example = example_options(argc, argv);
	struct zs_runtime *runtime = NULL;
	int ret;

	example.config.num_workers = 1;
	ret = zs_runtime_create(&runtime, &example.config);
	if (ret == 0)
		ret = zs_runtime_start_embedded(runtime);
	if (ret == 0)
		ret = zs_runtime_spawn(runtime, run, &example);
	if (ret == 0)
		ret = loop(runtime, example.signals);
	zs_runtime_destroy(runtime);
	return example_exit("foreign_loop", ret);
}
