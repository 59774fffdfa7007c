/* SPDX-License-Identifier: MIT */
/*
 * Sockets. Plain file descriptors, so any library's work here and these work
 * elsewhere; their flags are never changed, O_NONBLOCK or not makes no
 * difference. All calls are for tasks, take and return what the system call of
 * the same name does (errno negated), and are cancellable unless noted.
 * Lengths above INT_MAX and NULL buffers of a length above 0 are -EINVAL. No
 * call raises SIGPIPE. Descriptors that are made here are close-on-exec.
 */
#ifndef ZSYNC_NET_H
#define ZSYNC_NET_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

int zs_socket(int domain, int type, int protocol);
int zs_bind(int fd, const struct sockaddr *address, socklen_t length);
int zs_listen(int fd, int backlog);

/* @address and @length may be NULL. @flags as accept4(2). A connection that
 * was accepted although the call was cancelled is returned. */
int zs_accept(int fd, struct sockaddr *address, socklen_t *length, int flags);
int zs_connect(int fd, const struct sockaddr *address, socklen_t length);
int zs_shutdown(int fd, int how);

/* On a stream they may send only a part: zs_send_all() goes on. To a unix
 * datagram socket whose queue is full, from one that is not connected, they try
 * again every 0.1 to 10 ms: the kernel tells nobody when there is room. */
ssize_t zs_send(int fd, const void *buffer, size_t length, int flags);
ssize_t zs_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t zs_recv(int fd, void *buffer, size_t length, int flags);
ssize_t zs_recvmsg(int fd, struct msghdr *message, int flags);

/* Sends all @length bytes. The bytes sent: fewer than @length only if an error
 * came after some were gone (the next call reports it), or a negative errno if
 * none were. */
ssize_t zs_send_all(int fd, const void *buffer, size_t length, int flags);

/* Waits until @fd is ready for one of the poll(2) @events. Those that are, and
 * POLLERR, POLLHUP where they hold. -EINVAL for events outside 1 to 0xffff. */
int zs_poll_fd(int fd, unsigned int events);

/*
 * Internet sockets by "host:port", as "127.0.0.1:80", "[::1]:80" or
 * "[fe80::1%eth0]:80": the address is numeric, the port a number. -EINVAL for
 * anything else, with a text by zs_explain(). The caller closes what is
 * returned.
 *
 * To listen on or bind to, an empty host or * means all addresses: of IPv6, and
 * of IPv4 by the same socket, which shows them as ::ffff:192.0.2.1; or where
 * there is no IPv6, of IPv4. Port 0: the kernel picks one, see zs_local_port().
 */

/* A listening TCP socket, address reuse on. @backlog as listen(2). */
int zs_tcp_listen(const char *address, int backlog);

/* A connected TCP socket, with TCP_NODELAY. An empty host is 127.0.0.1. */
int zs_tcp_connect(const char *address);

/* A UDP socket that is bound, and so can receive. */
int zs_udp_bind(const char *address);

/* The local port of a TCP or UDP socket. */
int zs_local_port(int fd);

#ifdef __cplusplus
}
#endif
#endif
