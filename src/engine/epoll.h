/* SPDX-License-Identifier: MIT */
/*
 * The engine of the thread_pool model, which engine.c makes: epoll.c is its
 * loop, epoll_watch.c what it watches. What is not marked is theirs.
 */
#ifndef ZS_ENGINE_EPOLL_H
#define ZS_ENGINE_EPOLL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "engine/offload.h"
#include "engine/plain.h"

/* An op that waits on trust is checked after one to two of these. */
#define ZS_EPOLL_CHECK_MS 50
#define ZS_EPOLL_CHECK_NS (ZS_EPOLL_CHECK_MS * INT64_C(1000000))

struct zs_epoll {
	struct zs_plain plain;
	struct zs_returns returns;
	int epoll_fd;
	int wake_fd; /* anyone writes */
	int timer_fd;
	int64_t timer_ns; /* what it is set to; INT64_MAX: it is not */
	/* Somebody else waits for epoll_fd, which is readable until all that it
	 * has to tell has been fetched. */
	bool is_embedded;
	/* A descriptor was another file behind our back: nothing is relied on.
	 */
	bool is_wary;
	int64_t checked_ns; /* when waits on trust were checked last */
	/* Had from the kernel, and not yet dealt with: from next_event on. */
	uint32_t num_events;
	uint32_t next_event;
	uint32_t most_events;
	struct epoll_event events[];
};

/* epoll_ctl(2): 0 or a negative errno. */
int zs_epoll_control(struct zs_epoll *epoll, int operation, int fd,
		     uint32_t events, int data);

/* As zs_plain_model has them. */
int zs_epoll_arm(struct zs_plain *plain, struct zs_watch *watch, int fd,
		 uint16_t wanted);
void zs_epoll_forget(struct zs_plain *plain, struct zs_watch *watch, int fd);

/* Checks the ops that wait on trust, if the last time is long ago. */
void zs_epoll_check_sometimes(struct zs_epoll *epoll);
/* Events have come in a row that nobody waited for. */
void zs_epoll_calm(struct zs_epoll *epoll, struct zs_watch *watch, int fd);

/* For engine.c. 0 or a negative errno, with a text. @queue_depth: how many
 * events it takes at a time. */
int zs_epoll_create(struct zs_engine **engine, struct zs_offload *offload,
		    uint32_t queue_depth);

#endif
