/* SPDX-License-Identifier: MIT */
/*
 * Looking names up, by whatever function does that, on a thread of the pool's
 * lane for names. Called by tasks.
 */
#include "zsync/resolve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/explain.h"
#include "engine/offload.h"
#include "io/await.h"

/* The thread's while it works, which may be longer than the task waits: so it
 * is the request's, and goes with it. */
struct query {
	zs_lookup_fn *lookup;
	int family;
	char host[ZS_HOST_MAX + 1];
	struct sockaddr_storage addresses[ZS_ADDRESSES_MAX];
};

static int run_query(void *arg)
{
	struct query *query = arg;
	int ret = query->lookup(query->host, query->family, query->addresses,
				ZS_ADDRESSES_MAX);

	if (ret == 0)
		return -ENOENT;
	return ret > ZS_ADDRESSES_MAX ? ZS_ADDRESSES_MAX : ret;
}

static int explain(int err, const char *host)
{
	switch (err) {
	case -ENOENT:
		return zs_explain_as(err,
				     "\"%.100s\" is no name of a host, or "
				     "has no address of that family",
				     host);
	case -EAGAIN:
		return zs_explain_as(err,
				     "no name server answers for \"%.100s\": "
				     "try again, or see /etc/resolv.conf",
				     host);
	case -ECANCELED:
	case -ETIMEDOUT:
		return err;
	default:
		return zs_explain_as(err, "\"%.100s\" cannot be looked up: %s",
				     host, strerror(-err));
	}
}

/* 1, or 0 for what is a name. */
static int parse_numeric(const char *host, struct sockaddr_storage *address)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };

	if (inet_pton(AF_INET, host, &v4.sin_addr) == 1)
		memcpy(address, &v4, sizeof(v4));
	else if (inet_pton(AF_INET6, host, &v6.sin6_addr) == 1)
		memcpy(address, &v6, sizeof(v6));
	else
		return 0;
	return 1;
}

static void set_port(struct sockaddr_storage *address, uint16_t port)
{
	/* Both have it at the same place, but not by the same name. */
	if (address->ss_family == AF_INET)
		((struct sockaddr_in *)address)->sin_port = htons(port);
	else if (address->ss_family == AF_INET6)
		((struct sockaddr_in6 *)address)->sin6_port = htons(port);
}

/* How many of @addresses there are, cut at @capacity. */
static int await_query(struct query *query, struct zs_request *request,
		       struct sockaddr_storage *addresses, int capacity)
{
	struct zs_detachable job = {
		.op = {
			.code = ZS_OP_CALL,
			.address = (uint64_t)(uintptr_t)run_query,
			.offset = (uint64_t)(uintptr_t)query,
			.length = ZS_LANE_NAMES,
		},
		.request = request,
	};
	int ret = zs_await_detachable(&job);

	if (ret > capacity)
		ret = capacity;
	if (ret > 0)
		memcpy(addresses, query->addresses,
		       (size_t)ret * sizeof(*addresses));
	if (!job.is_detached)
		zs_request_put(request);
	return ret;
}

static int look_up(zs_lookup_fn *lookup, const char *host, int family,
		   struct sockaddr_storage *addresses, int capacity)
{
	struct zs_request *request = zs_request_get(zs_worker_self);
	struct query *query;

	if (!request)
		return -ENOMEM;
	query = malloc(sizeof(*query));
	if (!query) {
		zs_request_put(request);
		return -ENOMEM;
	}
	query->lookup = lookup;
	query->family = family;
	strcpy(query->host, host);
	request->memory = query;
	return await_query(query, request, addresses, capacity);
}

static int check(zs_lookup_fn *lookup, const char *host, int family,
		 const struct sockaddr_storage *addresses, int capacity)
{
	if (!lookup || !host || !addresses || capacity < 1)
		return zs_explain_none(-EINVAL);
	if (family != AF_UNSPEC && family != AF_INET && family != AF_INET6)
		return zs_explain_as(-EAFNOSUPPORT,
				     "the family must be AF_UNSPEC, AF_INET or "
				     "AF_INET6");
	if (!*host || strnlen(host, ZS_HOST_MAX + 1) > ZS_HOST_MAX)
		return zs_explain_as(-EINVAL,
				     "the name of a host has 1 to %d bytes",
				     ZS_HOST_MAX);
	return 0;
}

ZS_PUBLIC int zs_resolve_by(zs_lookup_fn *lookup, const char *host,
			    uint16_t port, int family,
			    struct sockaddr_storage *addresses, int capacity)
{
	struct sockaddr_storage numeric = { .ss_family = AF_UNSPEC };
	int i, ret, saved_errno = errno;

	if (!zs_worker_task())
		return zs_explain_none(-EPERM);
	ret = check(lookup, host, family, addresses, capacity);
	if (ret < 0)
		return ret;
	if (parse_numeric(host, &numeric)) {
		if (family != AF_UNSPEC && family != numeric.ss_family)
			return explain(-ENOENT, host);
		addresses[0] = numeric;
		ret = 1;
	} else {
		ret = look_up(lookup, host, family, addresses, capacity);
	}
	for (i = 0; i < ret; i++)
		set_port(&addresses[i], port);
	errno = saved_errno;
	return ret < 0 ? explain(ret, host) : ret;
}
