/* SPDX-License-Identifier: MIT */
/*
 * Internet sockets by "host:port": what listens, connects or is bound in one
 * call. Called by tasks.
 */
#include "io/net.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/explain.h"
#include "zsync/net.h"
#include "zsync/resolve.h"
#include "zsync/task.h"

#define EXPECTED "write it like 127.0.0.1:80, [::1]:80, or :80 for all"

union inet_address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

/* "host:port", taken apart. */
struct endpoint {
	char host[256]; /* of a name no more than 253 bytes are allowed */
	uint16_t port;
	bool is_bracketed;
};

/* --- parsing --- */

static int refuse(const char *text, const char *why)
{
	zs_explain_as(-EINVAL, "\"%.80s\" %s", text, why);
	return -EINVAL;
}

static int parse_port(const char *text, uint16_t *port)
{
	unsigned int number = 0;
	const char *digit = text;

	for (; *digit >= '0' && *digit <= '9' && number <= UINT16_MAX; digit++)
		number = number * 10 + (unsigned int)(*digit - '0');
	if (digit == text || *digit || number > UINT16_MAX)
		return refuse(text,
			      "is no port: a number from 0 to 65535 is wanted");
	*port = (uint16_t)number;
	return 0;
}

/* Where the host ends in @text, which is past an opening bracket if there was
 * one; NULL if it does not. */
static const char *find_end(const char *text, bool is_bracketed)
{
	const char *end = strchr(text, is_bracketed ? ']' : ':');

	if (!end || !is_bracketed)
		return end;
	return end[1] == ':' ? end : NULL;
}

static int split(const char *text, struct endpoint *endpoint)
{
	const char *host, *end;
	size_t length;

	if (!text)
		return refuse("NULL", "is no address: " EXPECTED);
	endpoint->is_bracketed = text[0] == '[';
	host = text + endpoint->is_bracketed;
	end = find_end(host, endpoint->is_bracketed);
	if (!end)
		return refuse(text, "has no port: " EXPECTED);
	length = (size_t)(end - host);
	if (length >= sizeof(endpoint->host))
		return refuse(text, "begins too long a host");
	memcpy(endpoint->host, host, length);
	endpoint->host[length] = '\0';
	end += endpoint->is_bracketed ? 2 : 1;
	if (!endpoint->is_bracketed && strchr(end, ':'))
		return refuse(text, "needs brackets for IPv6: " EXPECTED);
	return parse_port(end, &endpoint->port);
}

/* What follows the % of a link-local address: a number or an interface. 0: it
 * is neither. */
static uint32_t parse_scope(const char *text)
{
	unsigned int index;
	uint16_t number = 0;
	int saved = errno;

	if (parse_port(text, &number) == 0)
		return number;
	index = if_nametoindex(text);
	errno = saved;
	return index;
}

static bool parse_v6(union inet_address *address, char *host)
{
	char *scope = strchr(host, '%');

	address->v6.sin6_family = AF_INET6;
	if (scope) {
		*scope = '\0';
		address->v6.sin6_scope_id = parse_scope(scope + 1);
		if (address->v6.sin6_scope_id == 0)
			return false;
	}
	return inet_pton(AF_INET6, host, &address->v6.sin6_addr) == 1;
}

static bool parse_v4(union inet_address *address, const char *host)
{
	address->v4.sin_family = AF_INET;
	return inet_pton(AF_INET, host, &address->v4.sin_addr) == 1;
}

/* Is the last part of @host a number, as in 127.1 or 0x7f000001? libc would
 * take it for an address, if perhaps for another than was meant. */
static bool ends_in_number(const char *host)
{
	const char *dot = strrchr(host, '.');
	const char *part = dot ? dot + 1 : host;

	if (part[0] == '0' && (part[1] == 'x' || part[1] == 'X'))
		return !part[2 + strspn(part + 2, "0123456789abcdefABCDEF")];
	return part[0] && !part[strspn(part, "0123456789")];
}

/* May @host be the name of one? What is not ASCII is left to the look-up. */
static bool is_name(const char *host)
{
	const unsigned char *byte = (const unsigned char *)host;

	for (; *byte; byte++)
		if (*byte < 0x80 && !isalnum(*byte) && !strchr("-._", *byte))
			return false;
	return host[0] && !ends_in_number(host);
}

static int refuse_host(const char *host)
{
	return refuse(host, is_name(host) ?
				    "is a name, which is not looked up here: "
				    "zs_resolve() finds its addresses" :
				    "is no numeric address: " EXPECTED);
}

/* Fills *address, but for what stands for all addresses; its length. */
static int find_address(union inet_address *address, struct endpoint *endpoint)
{
	memset(address, 0, sizeof(*address));
	if (endpoint->is_bracketed) {
		if (!parse_v6(address, endpoint->host))
			return refuse(endpoint->host, "is no IPv6 address");
	} else if (!parse_v4(address, endpoint->host)) {
		return refuse_host(endpoint->host);
	}
	if (address->any.sa_family == AF_INET) {
		address->v4.sin_port = htons(endpoint->port);
		return sizeof(address->v4);
	}
	address->v6.sin6_port = htons(endpoint->port);
	return sizeof(address->v6);
}

/* --- sockets --- */

static int bind_to(int fd, int type, const union inet_address *address,
		   int length)
{
	int ret = 0;

	if (type != SOCK_DGRAM)
		ret = zs_set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (ret == 0)
		ret = zs_bind(fd, &address->any, (socklen_t)length);
	return ret;
}

/* IPv6 and IPv4 by one socket; where there is no IPv6, IPv4. */
static int open_for_all(int type, uint16_t port)
{
	const union inet_address v6 = {
		.v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) },
	};
	const union inet_address v4 = {
		.v4 = { .sin_family = AF_INET, .sin_port = htons(port) },
	};
	int fd = zs_socket(AF_INET6, type, 0);
	int ret;

	if (fd >= 0) {
		ret = zs_set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
		if (ret == 0)
			ret = bind_to(fd, type, &v6, sizeof(v6.v6));
		fd = zs_keep_or_close(fd, ret);
	}
	if (fd != -EAFNOSUPPORT && fd != -EADDRNOTAVAIL)
		return fd;
	fd = zs_socket(AF_INET, type, 0);
	if (fd < 0)
		return fd;
	return zs_keep_or_close(fd, bind_to(fd, type, &v4, sizeof(v4.v4)));
}

static int open_bound(int type, const char *text)
{
	union inet_address address;
	struct endpoint endpoint;
	int length, fd, ret = split(text, &endpoint);

	if (ret < 0)
		return ret;
	if (!endpoint.is_bracketed &&
	    (endpoint.host[0] == '\0' || strcmp(endpoint.host, "*") == 0))
		return open_for_all(type, endpoint.port);
	length = find_address(&address, &endpoint);
	if (length < 0)
		return length;
	fd = zs_socket(address.any.sa_family, type, 0);
	if (fd < 0)
		return fd;
	return zs_keep_or_close(fd, bind_to(fd, type, &address, length));
}

ZS_PUBLIC int zs_tcp_listen(const char *address, int backlog)
{
	int fd;

	if (!zs_self())
		return zs_explain_none(-EPERM);
	fd = open_bound(SOCK_STREAM | zs_waiting_type(), address);
	return fd < 0 ? fd : zs_keep_or_close(fd, zs_listen(fd, backlog));
}

ZS_PUBLIC int zs_udp_bind(const char *address)
{
	if (!zs_self())
		return zs_explain_none(-EPERM);
	return open_bound(SOCK_DGRAM, address);
}

static int connect_to(const union inet_address *peer, int length)
{
	int waiting = zs_waiting_type(), ret;
	int fd = zs_socket(peer->any.sa_family, SOCK_STREAM | waiting, 0);

	if (fd < 0)
		return fd;
	ret = zs_set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	if (ret == 0)
		ret = zs_connect(fd, &peer->any, (socklen_t)length);
	if (ret == 0 && waiting)
		ret = zs_set_blocking(fd);
	return zs_keep_or_close(fd, ret);
}

/* The addresses are not on the stack, of which they would take 4 KiB. */
static int connect_to_name(zs_lookup_fn *lookup,
			   const struct endpoint *endpoint)
{
	struct sockaddr_storage *addresses =
		malloc(ZS_ADDRESSES_MAX * sizeof(*addresses));
	int ret;

	if (!addresses)
		return zs_explain_none(-ENOMEM);
	ret = zs_resolve_by(lookup, endpoint->host, endpoint->port, AF_UNSPEC,
			    addresses, ZS_ADDRESSES_MAX);
	if (ret > 0)
		ret = zs_tcp_connect_any(addresses, ret);
	free(addresses);
	return ret;
}

ZS_PUBLIC int zs_tcp_connect_by(zs_lookup_fn *lookup, const char *address)
{
	union inet_address peer;
	struct endpoint endpoint;
	int ret;

	if (!zs_self())
		return zs_explain_none(-EPERM);
	ret = split(address, &endpoint);
	if (ret < 0)
		return ret;
	if (!endpoint.is_bracketed && endpoint.host[0] == '\0')
		strcpy(endpoint.host, "127.0.0.1");
	if (lookup && !endpoint.is_bracketed && is_name(endpoint.host))
		return connect_to_name(lookup, &endpoint);
	ret = find_address(&peer, &endpoint);
	return ret < 0 ? ret : connect_to(&peer, ret);
}

ZS_PUBLIC int zs_local_port(int fd)
{
	union inet_address local = { .any = { .sa_family = AF_UNSPEC } };
	socklen_t length = sizeof(local);
	int ret = 0, saved = errno;

	if (!zs_self())
		return zs_explain_none(-EPERM);
	if (getsockname(fd, &local.any, &length) < 0)
		ret = -errno;
	errno = saved;
	if (ret < 0)
		return ret;
	if (local.any.sa_family == AF_INET)
		return ntohs(local.v4.sin_port);
	if (local.any.sa_family == AF_INET6)
		return ntohs(local.v6.sin6_port);
	return zs_explain_none(-EAFNOSUPPORT);
}
