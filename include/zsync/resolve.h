/* SPDX-License-Identifier: MIT */
/* Hosts that have several addresses. */
#ifndef ZSYNC_RESOLVE_H
#define ZSYNC_RESOLVE_H

#include <stdint.h>
#include <sys/socket.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Most addresses of a host that are tried. */
#define ZS_ADDRESSES_MAX 32

/*
 * Task. A TCP socket, connected to the one of @count @addresses (IPv4 and IPv6,
 * at most ZS_ADDRESSES_MAX) that answers first, with TCP_NODELAY and closed on
 * exec. They are tried in their order, the two families in turn, a quarter of a
 * second after each other or as soon as one fails, side by side (RFC 8305); the
 * others are closed. -EINVAL for none or NULL, -EAFNOSUPPORT for other
 * families; if all fail, what the first one that did says.
 */
int zs_tcp_connect_any(const struct sockaddr_storage *addresses, int count);

#ifdef __cplusplus
}
#endif
#endif
