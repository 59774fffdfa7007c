/* SPDX-License-Identifier: MIT */
/*
 * Sockets. Plain file descriptors, so any library's work here and these work
 * elsewhere; their flags are never changed, O_NONBLOCK or not makes no
 * difference. (What zs_tcp_listen() and zs_unix_listen() make is O_NONBLOCK on
 * the models without io_uring, lest a thread have to wait in accept.) All calls
 * are for tasks, take and return what the system call of the same name does
 * (errno negated), and are cancellable unless noted. Lengths above INT_MAX and
 * NULL buffers of a length above 0 are -EINVAL. No call raises SIGPIPE.
 * Descriptors that are made here are close-on-exec.
 *
 * -EAGAIN, with a text that says so, is also that zs_accept(), zs_connect() or
 * a zs_recvmsg() with MSG_WAITALL may have to wait on a thread, since there is
 * no io_uring (and of the first two, the socket is not O_NONBLOCK), but none
 * can be made, or 4,096 wait in the model thread_pool.
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

struct mmsghdr;

int zs_socket(int domain, int type, int protocol);
int zs_bind(int fd, const struct sockaddr *address, socklen_t length);
int zs_listen(int fd, int backlog);

/* @address and @length may be NULL. @flags as accept4(2). A connection that
 * was accepted although the call was cancelled is returned. -EMFILE and -ENFILE
 * come at once, whether or not a connection waits: sleep before the next try.
 */
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

/* Of a datagram that is longer than the buffer the rest is lost: zs_recvmsg()
 * says so by MSG_TRUNC in msg_flags, zs_recvfrom() by a result above @length if
 * @flags have MSG_TRUNC. @address and @address_length may be NULL. */
ssize_t zs_sendto(int fd, const void *buffer, size_t length, int flags,
		  const struct sockaddr *address, socklen_t address_length);
ssize_t zs_recvfrom(int fd, void *buffer, size_t length, int flags,
		    struct sockaddr *address, socklen_t *address_length);

/* struct mmsghdr is the system's, by _GNU_SOURCE. Sends all @count messages.
 * How many were sent: fewer only if an error came after some were gone (the
 * next call reports it, unless the kernel told it only once), or a negative
 * errno if none were. */
int zs_sendmmsg(int fd, struct mmsghdr *messages, unsigned int count,
		int flags);
/* Waits for a message, and takes those that are there, @count at most (and the
 * kernel, 1,024). How many. */
int zs_recvmmsg(int fd, struct mmsghdr *messages, unsigned int count,
		int flags);

/* Not cancellable, since they wait for nobody. @length is in bytes; that of
 * zs_getsockopt() is the room first and then what was taken of it. */
int zs_setsockopt(int fd, int level, int option, const void *value,
		  socklen_t length);
int zs_getsockopt(int fd, int level, int option, void *value,
		  socklen_t *length);

/* Waits until @fd is ready for one of the poll(2) @events. Those that are, and
 * POLLERR, POLLHUP where they hold. -EINVAL for events outside 1 to 0xffff. */
int zs_poll_fd(int fd, unsigned int events);

/*
 * Internet sockets by "host:port", as "127.0.0.1:80", "[::1]:80" or
 * "[fe80::1%eth0]:80": the address is numeric, but to connect to it may be a
 * name; the port is a number. -EINVAL for anything else, with a text by
 * zs_explain(). The caller closes what is returned.
 *
 * To listen on or bind to, an empty host or * means all addresses: of IPv6, and
 * of IPv4 by the same socket, which shows them as ::ffff:192.0.2.1; or where
 * there is no IPv6, of IPv4. Port 0: the kernel picks one, see zs_local_port().
 */

/* A listening TCP socket, address reuse on. @backlog as listen(2). */
int zs_tcp_listen(const char *address, int backlog);

/*
 * A connected TCP socket, with TCP_NODELAY. An empty host is 127.0.0.1.
 *
 * "name:port" is looked up as by zs_resolve(), with its errors, and its
 * addresses are tried as by zs_tcp_connect_any(): see resolve.h, also for
 * zs_tcp_connect_by(), which a static program may like better. What ends in a
 * number, as 127.1, is no name but -EINVAL. Numeric addresses need no thread.
 */
int zs_tcp_connect(const char *address);

/* A UDP socket that is bound, and so can receive. */
int zs_udp_bind(const char *address);

/*
 * Unix stream sockets by their names in the file system, or abstract ones by a
 * leading @. -ENAMETOOLONG for a path of more than 107 bytes (with @: 108). The
 * caller closes what is returned.
 *
 * The file of a socket stays when that is closed, until somebody unlinks it.
 * zs_unix_listen() takes the place of such a file if it is a socket's on which
 * nobody listens, else it is -EADDRINUSE. (So of two servers that start with
 * one name at the same moment, the second may displace the first.) The umask
 * says who may connect.
 */
int zs_unix_listen(const char *path, int backlog);
/* While the server's queue is full, it tries again every 0.1 to 10 ms. */
int zs_unix_connect(const char *path);

/* At most so many descriptors go with a message. */
#define ZS_SEND_FDS_MAX 253

/*
 * Over a unix socket (else -EOPNOTSUPP): copies of @count descriptors (-EINVAL
 * above ZS_SEND_FDS_MAX) with the first of @length bytes, of which there must
 * be one. Otherwise as zs_send(): the result is the bytes sent, on a stream
 * perhaps only a part; if there is one, the descriptors are sent.
 */
ssize_t zs_send_fds(int fd, const void *buffer, size_t length, int flags,
		    const int *fds, size_t count);

/*
 * *count is the room in @fds, and then how many there are: the caller's to
 * close, close-on-exec set. @flags are 0 or MSG_DONTWAIT. The bytes received;
 * of a stream those of one message with descriptors, at most.
 *
 * A message that cannot be had whole is lost, and all its descriptors closed:
 * -EMSGSIZE if there are more of them than room (253 are always enough), or, of
 * datagrams, more bytes; -EMFILE if one found no free number. zs_explain() says
 * which. *count is 0 with any error.
 */
ssize_t zs_recv_fds(int fd, void *buffer, size_t length, int flags, int *fds,
		    size_t *count);

/* The local port of a TCP or UDP socket. */
int zs_local_port(int fd);

#ifdef __cplusplus
}
#endif
#endif
