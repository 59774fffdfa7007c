/* SPDX-License-Identifier: MIT */
/* A poll of any number of descriptors: see poll_any.h. */
#include "engine/poll_any.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <time.h>

#include "base/clock.h"
#include "base/compiler.h"

enum { NS_PER_SECOND = 1000000000, RETRY_NS = 10000000 };

static int poll_for(struct pollfd *entries, uint32_t number, int64_t wait_ns)
{
	struct timespec time = {
		.tv_sec = wait_ns / NS_PER_SECOND,
		.tv_nsec = wait_ns % NS_PER_SECOND,
	};
	int ret = ppoll(entries, number, wait_ns == INT64_MAX ? NULL : &time,
			NULL);

	return ret < 0 ? -errno : ret;
}

static uint32_t most_allowed(uint32_t number)
{
	struct rlimit limit = { .rlim_cur = 0 };

	getrlimit(RLIMIT_NOFILE, &limit);
	return limit.rlim_cur < number ? (uint32_t)limit.rlim_cur : number;
}

static int poll_some(struct pollfd *entries, uint32_t number, int64_t wait_ns,
		     int64_t *retry_ns)
{
	int64_t left_ns = *retry_ns - zs_clock_ns();
	uint32_t i = most_allowed(number);
	bool is_due;
	int ret;

	if (left_ns < 0)
		left_ns = 0;
	ret = poll_for(entries, i, wait_ns < left_ns ? wait_ns : left_ns);
	is_due = ret >= 0 && zs_clock_ns() >= *retry_ns;
	if (is_due)
		*retry_ns = zs_clock_ns() + RETRY_NS;
	for (; i < number; i++) {
		/* One that is to be left out has a negative descriptor. */
		if (!is_due || i == 0 || entries[i].fd < 0) {
			entries[i].revents = 0;
			continue;
		}
		entries[i].revents = entries[i].events;
		ret++;
	}
	return ret;
}

int zs_poll_any(struct pollfd *entries, uint32_t number, int64_t wait_ns,
		int64_t *retry_ns)
{
	int ret = poll_for(entries, number, wait_ns);

	if (zs_likely(ret != -EINVAL))
		return ret;
	return poll_some(entries, number, wait_ns, retry_ns);
}
