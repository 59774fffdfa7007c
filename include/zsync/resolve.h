/* SPDX-License-Identifier: MIT */
/*
 * Names of hosts: looked up by libc on threads apart, at most four at a time,
 * so that tasks go on meanwhile. (In the model blocking there are no threads,
 * and a look-up stops everything.)
 *
 * In libzsync.a zs_resolve() and zs_tcp_connect() are an object of their own:
 * so a static program that calls neither is linked without getaddrinfo(), of
 * which glibc warns there. zs_tcp_connect_by() does for numeric addresses.
 */
#ifndef ZSYNC_RESOLVE_H
#define ZSYNC_RESOLVE_H

#include <stdint.h>
#include <sys/socket.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Most addresses that a host is known by here; others are dropped. */
#define ZS_ADDRESSES_MAX 32

/* Longest name of a host, in bytes without the final NUL. */
#define ZS_HOST_MAX 253

/*
 * Task. The addresses of @host, with @port in each, in the order in which they
 * should be tried; at most @capacity go to @addresses. @family is AF_UNSPEC,
 * AF_INET or AF_INET6. Their number, at least 1; numeric addresses are not
 * looked up.
 *
 * -ENOENT: there is no such name, or no address of that family; -EAGAIN: the
 * name servers do not answer; -EIO: they fail for good; -EAFNOSUPPORT,
 * -ENOMEM, -EMFILE. -EINVAL: NULL, no room, an empty or too long name. All have
 * a text. Cancelled, it returns at once, and what the look-up brings later is
 * dropped.
 */
int zs_resolve(const char *host, uint16_t port, int family,
	       struct sockaddr_storage *addresses, int capacity);

/*
 * What looks names up, and may wait: on a thread of the runtime's, or in the
 * model blocking the caller's, not as a task. As zs_resolve(), without port; 0:
 * there are none. @capacity is ZS_ADDRESSES_MAX. What it names must be there
 * for as long as it runs, which may be longer than a cancelled call.
 */
typedef int zs_lookup_fn(const char *host, int family,
			 struct sockaddr_storage *addresses, int capacity);

/* Task. As zs_resolve(), by another way to look names up than libc's. -EINVAL
 * also for none. */
int zs_resolve_by(zs_lookup_fn *lookup, const char *host, uint16_t port,
		  int family, struct sockaddr_storage *addresses, int capacity);

/*
 * Task. A TCP socket, connected to the one of @count @addresses (IPv4 and IPv6,
 * at most ZS_ADDRESSES_MAX, as zs_resolve() gives them) that answers first,
 * with TCP_NODELAY and closed on exec. They are tried in their order, the two
 * families in turn, a quarter of a second after each other or as soon as one
 * fails, side by side (RFC 8305); the others are closed. -EINVAL for none or
 * NULL, -EAFNOSUPPORT for other families; if all fail, what the first one that
 * did says.
 */
int zs_tcp_connect_any(const struct sockaddr_storage *addresses, int count);

/*
 * Task. As zs_tcp_connect() of net.h, by another way to look names up than
 * libc's; NULL: only numeric addresses, -EINVAL for a name. A static program
 * that calls this one, and not zs_tcp_connect(), is linked without
 * getaddrinfo().
 */
int zs_tcp_connect_by(zs_lookup_fn *lookup, const char *address);

#ifdef __cplusplus
}
#endif
#endif
