/* SPDX-License-Identifier: MIT */
/*
 * Descriptors made and looked at by plain system calls, for tests of the calls
 * that work on them. None of these blocks, so tasks may use them, too.
 */
#ifndef ZS_TEST_DESCRIPTORS_H
#define ZS_TEST_DESCRIPTORS_H

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static inline struct sockaddr_in loopback_address(int port)
{
	struct sockaddr_in address = { .sin_family = AF_INET };

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	address.sin_port = htons((uint16_t)port);
	return address;
}

/* A socket of @type bound to a loopback port, which goes to *address. */
static inline int make_bound(int type, struct sockaddr_in *address)
{
	socklen_t length = sizeof(*address);
	int fd = socket(AF_INET, type, 0);

	ck_assert_int_ge(fd, 0);
	*address = loopback_address(0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)address, length), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)address, &length),
			 0);
	return fd;
}

static inline int make_listener(int backlog, struct sockaddr_in *address)
{
	int fd = make_bound(SOCK_STREAM, address);

	ck_assert_int_eq(listen(fd, backlog), 0);
	return fd;
}

/* Two ends of one TCP connection over loopback. */
static inline void make_tcp_pair(int fds[2])
{
	struct sockaddr_in address;
	int listener = make_listener(1, &address);

	fds[0] = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_ge(fds[0], 0);
	ck_assert_int_eq(connect(fds[0], (struct sockaddr *)&address,
				 sizeof(address)),
			 0);
	fds[1] = accept(listener, NULL, NULL);
	ck_assert_int_ge(fds[1], 0);
	close(listener);
}

static inline void make_unix_pair(int type, int fds[2])
{
	ck_assert_int_eq(socketpair(AF_UNIX, type, 0, fds), 0);
}

static inline void make_pipe(int fds[2])
{
	ck_assert_int_eq(pipe(fds), 0);
}

static inline void add_status_flags(int fd, int flags)
{
	ck_assert_int_eq(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | flags), 0);
}

/* Fills a socket or pipe until it takes no more; how many bytes it took. */
static inline size_t fill_up(int fd)
{
	static const char bytes[4096];
	int flags = fcntl(fd, F_GETFL);
	size_t total = 0;
	ssize_t count;

	ck_assert_int_eq(fcntl(fd, F_SETFL, flags | O_NONBLOCK), 0);
	do {
		count = write(fd, bytes, sizeof(bytes));
		total += count > 0 ? (size_t)count : 0;
	} while (count > 0);
	ck_assert_int_eq(errno, EAGAIN);
	ck_assert_int_eq(fcntl(fd, F_SETFL, flags), 0);
	return total;
}

/* ends[0] is the terminal, ends[1] is where somebody types. A line a time. */
static inline void make_terminal(int ends[2])
{
	ends[1] = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	ck_assert_int_ge(ends[1], 0);
	ck_assert_int_eq(grantpt(ends[1]), 0);
	ck_assert_int_eq(unlockpt(ends[1]), 0);
	ends[0] = open(ptsname(ends[1]), O_RDWR | O_NOCTTY | O_CLOEXEC);
	ck_assert_int_ge(ends[0], 0);
}

/* The number that the next descriptor gets: the same again if none leaked. */
static inline int next_fd(void)
{
	int fd = dup(STDIN_FILENO);

	ck_assert_int_ge(fd, 0);
	close(fd);
	return fd;
}

/* A number that is no descriptor's. */
static inline int closed_fd(void)
{
	return next_fd() + 100;
}

static inline bool is_cloexec(int fd)
{
	return fcntl(fd, F_GETFD) & FD_CLOEXEC;
}

static inline bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

#endif
