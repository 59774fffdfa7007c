/* SPDX-License-Identifier: MIT */
/*
 * The look-up of names by libc, and the calls that use it. Kept apart, and with
 * nothing but public calls: see zsync/resolve.h. The look-up is called on a
 * thread of the pool, the rest by tasks.
 */
#include "zsync/resolve.h"

#include <errno.h>
#include <netdb.h>
#include <string.h>

#include "base/compiler.h"
#include "zsync/net.h"

static int error_of(int answer)
{
	switch (answer) {
	case EAI_NONAME:
#ifdef EAI_NODATA
	case EAI_NODATA:
#endif
		return -ENOENT;
	case EAI_AGAIN:
		return -EAGAIN;
	case EAI_FAMILY:
		return -EAFNOSUPPORT;
	case EAI_MEMORY:
		return -ENOMEM;
	case EAI_SYSTEM:
		return errno ? -errno : -EIO;
	default:
		return -EIO;
	}
}

/* One of each, not one a kind of socket. */
static int lookup(const char *host, int family,
		  struct sockaddr_storage *addresses, int capacity)
{
	const struct addrinfo hints = {
		.ai_family = family,
		.ai_socktype = SOCK_STREAM,
	};
	struct addrinfo *list, *entry;
	int ret, count = 0;

	ret = getaddrinfo(host, NULL, &hints, &list);
	if (ret != 0)
		return error_of(ret);
	for (entry = list; entry && count < capacity; entry = entry->ai_next) {
		if (entry->ai_addrlen > sizeof(*addresses))
			continue;
		memcpy(&addresses[count++], entry->ai_addr, entry->ai_addrlen);
	}
	freeaddrinfo(list);
	return count;
}

ZS_PUBLIC int zs_resolve(const char *host, uint16_t port, int family,
			 struct sockaddr_storage *addresses, int capacity)
{
	return zs_resolve_by(lookup, host, port, family, addresses, capacity);
}

ZS_PUBLIC int zs_tcp_connect(const char *address)
{
	return zs_tcp_connect_by(lookup, address);
}
