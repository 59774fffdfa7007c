/* SPDX-License-Identifier: MIT */
/* echo [--port N] [--workers N] [--model NAME]: sends back what it receives. */
#include <zsync.h>
#include "example.h" /* the options, and SIGINT and SIGTERM as a descriptor */

static int serve(void *arg)
{
	int fd = *(int *)arg;
	char buffer[4096];
	ssize_t length;

	do
		length = zs_recv(fd, buffer, sizeof(buffer), 0);
	while (length > 0 && zs_send_all(fd, buffer, length, 0) == length);
	return zs_close(fd); /* 0, since an error would end the others, too */
}

static int await_signal(void *signals)
{
	struct signalfd_siginfo info;

	zs_read(*(int *)signals, &info, sizeof(info));
	return -ECANCELED; /* an error cancels all that the nursery holds */
}

static int run(void *arg)
{
	struct example *server = arg;
	struct zs_runtime_info info;
	struct zs_nursery nursery = { 0 };
	int fd, ret, listener = zs_tcp_listen(server->address, SOMAXCONN);

	if (listener < 0)
		return listener;
	zs_runtime_info(NULL, &info);
	printf("listening on 127.0.0.1:%d (%s, %u workers)\n",
	       zs_local_port(listener), info.model_name, info.num_workers);
	ret = zs_nursery_open(&nursery, NULL);
	if (ret == 0)
		ret = zs_nursery_spawn(nursery, await_signal, &server->signals);
	while (ret == 0) {
		fd = zs_accept(listener, NULL, NULL, 0);
		if (fd < 0) /* no descriptor free: that passes. Cancelled: no */
			ret = zs_sleep(10 * ZS_MILLISECOND);
		else if (zs_nursery_spawn_copy(nursery, serve, &fd, sizeof(fd)))
			zs_close(fd);
	}
	zs_nursery_wait(nursery);
	zs_close(listener);
	return ret == -ECANCELED ? 0 : ret;
}

int main(int argc, char **argv)
{
	struct example example = example_options(argc, argv);

	return example_exit("echo", zs_run(&example.config, run, &example));
}
