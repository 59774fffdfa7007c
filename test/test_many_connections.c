/* SPDX-License-Identifier: MIT */
/*
 * Ten thousand connections held at once, whose peers are as bad as peers can
 * be: some send byte by byte, some close one half, some stop reading, some
 * reset, some say nothing. The peers are another process, of plain system
 * calls; what it gets back has to be what it sent, to the byte. And what a
 * server does that has no descriptor left.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "child.h"
#include "descriptors.h"
#include "runtime.h"

enum {
	MANY = 10000,
	FEW = 400,     /* for sanitizers and emulators */
	RESERVE = 200, /* descriptors for all else */
	SMALL_BUFFER = 16 << 10,
	BULK = 512 << 10, /* more than all buffers on the way hold */
	BYTES_ONE_BY_ONE = 24,
};

enum kind {
	PLAIN, /* sends, receives, then closes its half */
	BYTE_BY_BYTE,
	HALF_CLOSED, /* before it receives */
	RESET,	     /* having sent, it receives nothing */
	SILENT,
	DEAF, /* sends much before it receives any of it */
};

static int nr_connections;
static int listener;
static int go[2]; /* a pipe: all have been accepted */
static struct sockaddr_in address;
static atomic_int nr_served;
static atomic_int nr_broken;

static enum kind kind_of(int i)
{
	static const enum kind kinds[] = { PLAIN,	BYTE_BY_BYTE, PLAIN,
					   HALF_CLOSED, RESET,	      PLAIN,
					   HALF_CLOSED, SILENT };

	return i % 256 == 0 ? DEAF : kinds[i % 8];
}

static size_t length_of(int i)
{
	switch (kind_of(i)) {
	case DEAF:
		return BULK;
	case BYTE_BY_BYTE:
		return BYTES_ONE_BY_ONE;
	default:
		return 1 + (size_t)i % 1500;
	}
}

static unsigned char byte_of(int i, size_t position)
{
	return (unsigned char)(((uint32_t)i * 2654435761u +
				(uint32_t)position * 40503u) >>
			       7);
}

/* --- the peers, in a process of their own --- */

struct peer {
	int fd;
	size_t sent;
	size_t received;
};

__attribute__((noreturn)) static void give_up(int i, const char *what)
{
	fprintf(stderr, "connection %d (kind %d): %s: %s\n", i, kind_of(i),
		what, strerror(errno));
	_exit(1);
}

static void set_int(int fd, int level, int option, int value)
{
	setsockopt(fd, level, option, &value, sizeof(value));
}

static void connect_peer(struct peer *peer, int i)
{
	struct timeval limit = { 25, 0 };

	peer->fd = socket(AF_INET, SOCK_STREAM, 0);
	if (peer->fd < 0)
		give_up(i, "socket");
	set_int(peer->fd, SOL_SOCKET, SO_SNDBUF, SMALL_BUFFER);
	set_int(peer->fd, SOL_SOCKET, SO_RCVBUF, SMALL_BUFFER);
	set_int(peer->fd, IPPROTO_TCP, TCP_NODELAY, 1);
	setsockopt(peer->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (connect(peer->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		give_up(i, "connect");
}

/* Up to @length bytes in all; false if there was no room for them. */
static bool send_up_to(struct peer *peer, int i, size_t length, int flags)
{
	unsigned char bytes[2048];
	ssize_t count = 0;
	size_t part, k;

	while (peer->sent < length) {
		part = length - peer->sent;
		if (part > sizeof(bytes))
			part = sizeof(bytes);
		for (k = 0; k < part; k++)
			bytes[k] = byte_of(i, peer->sent + k);
		count = send(peer->fd, bytes, part, flags | MSG_NOSIGNAL);
		if (count < 0 && errno == EAGAIN && (flags & MSG_DONTWAIT))
			return false;
		if (count <= 0)
			give_up(i, "send");
		peer->sent += (size_t)count;
	}
	return true;
}

/* What is there, and right. False at the end. */
static bool receive_some(struct peer *peer, int i)
{
	unsigned char bytes[4096];
	ssize_t count = recv(peer->fd, bytes, sizeof(bytes), 0);
	ssize_t k;

	if (count < 0)
		give_up(i, "recv");
	for (k = 0; k < count; k++)
		if (bytes[k] != byte_of(i, peer->received + (size_t)k))
			give_up(i, "a byte is wrong");
	peer->received += (size_t)count;
	if (peer->received > peer->sent)
		give_up(i, "more came back than was sent");
	return count > 0;
}

static void reset(struct peer *peer)
{
	struct linger linger = { .l_onoff = 1, .l_linger = 0 };

	setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(peer->fd);
	peer->fd = -1;
}

static void begin_talk(struct peer *peer, int i)
{
	switch (kind_of(i)) {
	case BYTE_BY_BYTE:
	case SILENT:
		break;
	case DEAF:
		send_up_to(peer, i, length_of(i), MSG_DONTWAIT);
		break;
	case RESET:
		send_up_to(peer, i, length_of(i), 0);
		reset(peer);
		break;
	case HALF_CLOSED:
		send_up_to(peer, i, length_of(i), 0);
		shutdown(peer->fd, SHUT_WR);
		break;
	case PLAIN:
		send_up_to(peer, i, length_of(i), 0);
		break;
	}
}

/* It could not send all, since nobody took what came back. */
static void listen_at_last(struct peer *peer, int i)
{
	struct pollfd entry = { .fd = peer->fd, .events = POLLIN | POLLOUT };

	if (peer->sent == length_of(i))
		give_up(i, "the server was never held up");
	while (!send_up_to(peer, i, length_of(i), MSG_DONTWAIT)) {
		if (poll(&entry, 1, 25000) <= 0)
			give_up(i, "poll");
		if (entry.revents & POLLIN)
			receive_some(peer, i);
	}
}

static void end_talk(struct peer *peer, int i)
{
	size_t expected = kind_of(i) == SILENT ? 0 : length_of(i);

	if (kind_of(i) == RESET)
		return;
	if (kind_of(i) == DEAF)
		listen_at_last(peer, i);
	while (peer->received < expected)
		if (!receive_some(peer, i))
			give_up(i, "the end came early");
	if (kind_of(i) != HALF_CLOSED)
		shutdown(peer->fd, SHUT_WR);
	if (receive_some(peer, i))
		give_up(i, "something came after the end");
	close(peer->fd);
}

static void be_peers(void)
{
	struct peer *peers = calloc((size_t)nr_connections, sizeof(*peers));
	char byte;
	int i, k;

	if (!peers)
		give_up(0, "calloc");
	for (i = 0; i < nr_connections; i++)
		connect_peer(&peers[i], i);
	if (read(go[0], &byte, 1) != 1)
		give_up(0, "the server has not accepted all");
	for (i = 0; i < nr_connections; i++)
		begin_talk(&peers[i], i);
	for (k = 1; k <= BYTES_ONE_BY_ONE; k++)
		for (i = 0; i < nr_connections; i++)
			if (kind_of(i) == BYTE_BY_BYTE)
				send_up_to(&peers[i], i, (size_t)k, 0);
	for (i = 0; i < nr_connections; i++)
		end_talk(&peers[i], i);
	free(peers);
}

static pid_t start_peers(void)
{
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid > 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(listener);
	close(go[1]);
	be_peers();
	_exit(0);
}

/* --- the server --- */

static int serve(void *arg)
{
	int fd = *(int *)arg;
	ssize_t length, sent = 0;
	char buffer[512];

	do {
		length = zs_recv(fd, buffer, sizeof(buffer), 0);
		if (length > 0)
			sent = zs_send_all(fd, buffer, (size_t)length, 0);
	} while (length > 0 && sent == length);
	if (length != 0) {
		ck_assert(length > 0 || length == -ECONNRESET);
		ck_assert(length < 0 || sent == -ECONNRESET || sent == -EPIPE);
		atomic_fetch_add(&nr_broken, 1);
	}
	atomic_fetch_add(&nr_served, 1);
	return zs_close(fd);
}

static int serve_all(void *arg)
{
	struct zs_nursery nursery;
	int fd, i;

	(void)arg;
	ck_assert_int_eq(zs_nursery_open(&nursery, NULL), 0);
	for (i = 0; i < nr_connections; i++) {
		fd = zs_accept(listener, NULL, NULL, 0);
		ck_assert_msg(fd >= 0, "connection %d: %s", i, zs_explain(fd));
		ck_assert_int_eq(zs_nursery_spawn_copy(nursery, serve, &fd,
						       sizeof(fd)),
				 0);
	}
	ck_assert_int_eq(atomic_load(&nr_served), 0);
	ck_assert_int_eq(zs_write(go[1], "x", 1), 1);
	return zs_nursery_wait(nursery);
}

static bool is_slow(void)
{
	const char *emulator = getenv("EMULATOR");

	return SANITIZED || (emulator && *emulator);
}

/* As many as the limit of descriptors allows. */
static int allowed_connections(void)
{
	int wanted = is_slow() ? FEW : MANY;
	struct rlimit limit;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = limit.rlim_max;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	if (limit.rlim_cur < (rlim_t)wanted + RESERVE) {
		printf("SKIP: RLIMIT_NOFILE allows no %d connections\n",
		       wanted);
		wanted = (int)limit.rlim_cur - RESERVE;
	}
	ck_assert_int_gt(wanted, 0);
	return wanted;
}

static int count_open(void)
{
	int fd, count = 0;

	for (fd = 0; fd < nr_connections + 2 * RESERVE; fd++)
		count += is_open(fd);
	return count;
}

START_TEST(thousands_are_held_and_every_byte_comes_back)
{
	struct zs_config config = test_config();
	int status, i, nr_resets = 0, before;
	pid_t pid;

	nr_connections = allowed_connections();
	for (i = 0; i < nr_connections; i++)
		nr_resets += kind_of(i) == RESET;
	listener = make_listener(4096, &address);
	add_status_flags(listener, O_NONBLOCK);
	set_int(listener, SOL_SOCKET, SO_SNDBUF, SMALL_BUFFER);
	set_int(listener, SOL_SOCKET, SO_RCVBUF, SMALL_BUFFER);
	make_pipe(go);
	pid = start_peers();
	before = count_open();
	config.num_workers = (uint32_t)_i;
	config.green_thread_stack_size = (size_t)64 << 10;
	ck_assert_int_eq(run_task_with(&config, serve_all, NULL), 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	ck_assert_int_eq(atomic_load(&nr_served), nr_connections);
	ck_assert_int_le(atomic_load(&nr_broken), nr_resets);
	ck_assert_int_eq(count_open(), before);
}
END_TEST

/* --- no descriptor left --- */

enum { NR_WAITING = 3 };

static int nr_refused;
static int nr_accepted;
static struct rlimit nofile;

/* As a server does it: see examples/echo.c. */
static int accept_in_time(void *arg)
{
	char byte = 'x';
	int fd;

	(void)arg;
	while (nr_accepted < NR_WAITING) {
		fd = zs_accept(listener, NULL, NULL, 0);
		if (fd >= 0) {
			nr_accepted++;
			ck_assert_int_eq(zs_send(fd, &byte, 1, 0), 1);
			ck_assert_int_eq(zs_close(fd), 0);
			continue;
		}
		ck_assert_int_eq(fd, -EMFILE);
		nr_refused++;
		ck_assert_int_eq(zs_sleep(10 * ZS_MILLISECOND), 0);
	}
	return 0;
}

static int64_t cpu_time_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
	return time.tv_sec * ZS_SECOND + time.tv_nsec;
}

/* What the server costs meanwhile, over half a second, is the question. */
static int watch_and_relieve(void *arg)
{
	const int64_t span_ns = 500 * ZS_MILLISECOND;
	int64_t used_ns = cpu_time_ns();

	(void)arg;
	ck_assert_int_eq(zs_sleep(span_ns), 0);
	used_ns = cpu_time_ns() - used_ns;
	ck_assert_int_eq(nr_accepted, 0);
	ck_assert_int_gt(nr_refused, 0);
	ck_assert_msg(is_slow() || used_ns < span_ns / 20,
		      "%lld us of CPU in %lld us",
		      (long long)(used_ns / ZS_MICROSECOND),
		      (long long)(span_ns / ZS_MICROSECOND));
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &nofile), 0);
	return 0;
}

static int exhaust(void *arg)
{
	struct test_siblings siblings = { accept_in_time, watch_and_relieve,
					  arg };
	struct rlimit low;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &nofile), 0);
	low = nofile;
	low.rlim_cur = (rlim_t)next_fd();
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &low), 0);
	return run_test_siblings(&siblings);
}

START_TEST(without_a_free_descriptor_a_server_rests_and_recovers)
{
	int clients[NR_WAITING], i, before;
	char byte;

	listener = make_listener(NR_WAITING, &address);
	if (_i)
		add_status_flags(listener, O_NONBLOCK);
	for (i = 0; i < NR_WAITING; i++) {
		clients[i] = socket(AF_INET, SOCK_STREAM, 0);
		ck_assert_int_eq(connect(clients[i],
					 (struct sockaddr *)&address,
					 sizeof(address)),
				 0);
	}
	before = next_fd();
	ck_assert_int_eq(run_task(exhaust, NULL), 0);
	ck_assert_int_eq(next_fd(), before);
	for (i = 0; i < NR_WAITING; i++) {
		ck_assert_int_eq(recv(clients[i], &byte, 1, 0), 1);
		ck_assert_int_eq(recv(clients[i], &byte, 1, 0), 0);
	}
}
END_TEST

static Suite *many_connections_suite(void)
{
	Suite *suite = suite_create("many_connections");
	TCase *tests = tcase_create("many_connections");

	tcase_set_timeout(tests, 30);
	tcase_add_loop_test(tests, thousands_are_held_and_every_byte_comes_back,
			    1, 3);
	tcase_add_loop_test(
		tests, without_a_free_descriptor_a_server_rests_and_recovers, 0,
		2);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(many_connections_suite());
}
