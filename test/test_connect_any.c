/* SPDX-License-Identifier: MIT */
/*
 * Connecting to several addresses: beside each other and one after the other,
 * over loopback, where a closed port refuses and a listener that is full does
 * not answer.
 */
#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>

#include "descriptors.h"
#include "runtime.h"

enum { NR_MOST = 5, STAGGER_MS = 250 };

static struct sockaddr_storage addresses[ZS_ADDRESSES_MAX + 1];

static void set_v4(int place, const struct sockaddr_in *address)
{
	memset(&addresses[place], 0, sizeof(addresses[place]));
	memcpy(&addresses[place], address, sizeof(*address));
}

static int listen_at(int place)
{
	struct sockaddr_in address;
	int fd = make_listener(16, &address);

	set_v4(place, &address);
	return fd;
}

/* A port that nobody listens on. */
static void refuse_at(int place)
{
	close(listen_at(place));
}

/* A listener without room for one more; it stays until the test ends. */
static void be_deaf_at(int place)
{
	struct sockaddr_in address;
	int i, fd;

	make_listener(0, &address);
	for (i = 0; i < 4; i++) {
		fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		ck_assert_int_ge(fd, 0);
		if (connect(fd, (struct sockaddr *)&address, sizeof(address)))
			ck_assert_int_eq(errno, EINPROGRESS);
	}
	set_v4(place, &address);
}

/* Of this machine, if it has IPv6; else it fails in another way. */
static void refuse_v6_at(int place)
{
	struct sockaddr_in6 address = {
		.sin6_family = AF_INET6,
		.sin6_addr = IN6ADDR_LOOPBACK_INIT,
		.sin6_port = htons(1),
	};

	memset(&addresses[place], 0, sizeof(addresses[place]));
	memcpy(&addresses[place], &address, sizeof(address));
}

static int connect_to_some(void *arg)
{
	return zs_tcp_connect_any(addresses, *(int *)arg);
}

static int connect_to(int count)
{
	return run_task(connect_to_some, &count);
}

/* @fd is a good connection to who listens at @place. */
static void assert_connected(int fd, int place)
{
	struct sockaddr_in peer = { 0 };
	socklen_t length = sizeof(peer), size = sizeof(int);
	int no_delay = 0;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(getpeername(fd, (struct sockaddr *)&peer, &length), 0);
	ck_assert_uint_eq(peer.sin_port,
			  ((struct sockaddr_in *)&addresses[place])->sin_port);
	ck_assert(is_cloexec(fd));
	ck_assert(!(fcntl(fd, F_GETFL) & O_NONBLOCK));
	ck_assert_int_eq(
		getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &no_delay, &size), 0);
	ck_assert_int_ne(no_delay, 0);
	ck_assert_int_eq(close(fd), 0);
}

START_TEST(one_address_is_connected_to)
{
	int fd;

	listen_at(0);
	fd = next_fd();
	assert_connected(connect_to(1), 0);
	ck_assert_int_eq(next_fd(), fd);
}
END_TEST

/* At once: a failure does not wait for its time. */
START_TEST(a_refusal_leads_to_the_next)
{
	int64_t begin_ns = zs_now();
	int i;

	for (i = 0; i < NR_MOST - 1; i++)
		refuse_at(i);
	listen_at(NR_MOST - 1);
	assert_connected(connect_to(NR_MOST), NR_MOST - 1);
	ck_assert_int_lt(zs_now() - begin_ns,
			 (NR_MOST - 1) * STAGGER_MS * ZS_MILLISECOND);
}
END_TEST

START_TEST(silence_leads_to_the_next_after_a_while)
{
	int64_t begin_ns;
	int fd;

	be_deaf_at(0);
	listen_at(1);
	fd = next_fd();
	begin_ns = zs_now();
	assert_connected(connect_to(2), 1);
	ck_assert_int_ge(zs_now() - begin_ns, STAGGER_MS * ZS_MILLISECOND);
	ck_assert_int_eq(next_fd(), fd);
}
END_TEST

/* The second, of the other family, comes before its place. */
START_TEST(families_take_turns)
{
	int64_t begin_ns;

	be_deaf_at(0);
	be_deaf_at(1);
	be_deaf_at(2);
	refuse_v6_at(3);
	listen_at(4);
	begin_ns = zs_now();
	assert_connected(connect_to(5), 4);
	ck_assert_int_ge(zs_now() - begin_ns, 3 * STAGGER_MS * ZS_MILLISECOND);
}
END_TEST

START_TEST(if_all_fail_the_first_says_why)
{
	int i, fd;

	for (i = 0; i < NR_MOST; i++)
		refuse_at(i);
	fd = next_fd();
	ck_assert_int_eq(connect_to(NR_MOST), -ECONNREFUSED);
	ck_assert_int_eq(next_fd(), fd);
}
END_TEST

static int connect_in_time(void *arg)
{
	struct zs_cancel_token token;
	int ret;

	ck_assert_int_eq(zs_cancel_token_open(&token,
					      zs_now() + 20 * ZS_MILLISECOND),
			 0);
	ret = connect_to_some(arg);
	ck_assert_int_eq(connect_to_some(arg), -ETIMEDOUT);
	ck_assert_int_eq(zs_cancel_token_close(token), -ETIMEDOUT);
	return ret;
}

START_TEST(a_deadline_ends_all_attempts)
{
	int count = 2, fd;

	be_deaf_at(0);
	be_deaf_at(1);
	fd = next_fd();
	ck_assert_int_eq(run_task(connect_in_time, &count), -ETIMEDOUT);
	ck_assert_int_eq(next_fd(), fd);
}
END_TEST

static int pass_nonsense(void *arg)
{
	(void)arg;
	errno = 4711;
	ck_assert_int_eq(zs_tcp_connect_any(NULL, 1), -EINVAL);
	ck_assert_int_eq(zs_tcp_connect_any(addresses, 0), -EINVAL);
	ck_assert_int_eq(zs_tcp_connect_any(addresses, -1), -EINVAL);
	ck_assert_int_eq(zs_tcp_connect_any(addresses, ZS_ADDRESSES_MAX + 1),
			 -EINVAL);
	refuse_v6_at(0);
	addresses[1].ss_family = AF_UNIX;
	ck_assert_int_eq(zs_tcp_connect_any(addresses, 2), -EAFNOSUPPORT);
	ck_assert_int_lt(zs_tcp_connect_any(addresses, 1), 0);
	ck_assert_int_eq(errno, 4711);
	return 0;
}

START_TEST(nonsense_is_refused)
{
	ck_assert_int_eq(zs_tcp_connect_any(addresses, 1), -EPERM);
	ck_assert_int_eq(run_task(pass_nonsense, NULL), 0);
}
END_TEST

/* --- by a name --- */

enum { NR_FOUND = 2 };

/* A port of 127.0.0.1, with one of 127.0.0.2 before it that is closed. */
static int find_two(const char *host, int family,
		    struct sockaddr_storage *found, int capacity)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	int i;

	if (strcmp(host, "two.example") != 0 || family != AF_UNSPEC ||
	    capacity < NR_FOUND)
		return -EINVAL;
	for (i = 0; i < NR_FOUND; i++) {
		address.sin_addr.s_addr =
			htonl(INADDR_LOOPBACK + 1 - (uint32_t)i);
		memcpy(&found[i], &address, sizeof(address));
	}
	return NR_FOUND;
}

static int find_none(const char *host, int family,
		     struct sockaddr_storage *found, int capacity)
{
	(void)host;
	(void)family;
	(void)found;
	(void)capacity;
	return 0;
}

static int find_unasked(const char *host, int family,
			struct sockaddr_storage *found, int capacity)
{
	ck_abort_msg("%s is a number", host);
	return find_none(host, family, found, capacity);
}

static int connect_by(zs_lookup_fn *lookup, const char *host)
{
	const struct sockaddr_in *address = (void *)&addresses[0];
	char text[64];

	snprintf(text, sizeof(text), "%s:%d", host, ntohs(address->sin_port));
	if (lookup)
		return zs_tcp_connect_by(lookup, text);
	return zs_tcp_connect(text);
}

static int connect_to_two(void *arg)
{
	(void)arg;
	return connect_by(find_two, "two.example");
}

START_TEST(a_name_leads_to_whichever_address_is_open)
{
	int fd;

	listen_at(0);
	fd = next_fd();
	assert_connected(run_task(connect_to_two, NULL), 0);
	ck_assert_int_eq(next_fd(), fd);
}
END_TEST

START_TEST(a_name_with_no_open_address_is_refused)
{
	int fd;

	refuse_at(0);
	fd = next_fd();
	ck_assert_int_eq(run_task(connect_to_two, NULL), -ECONNREFUSED);
	ck_assert_int_eq(next_fd(), fd);
}
END_TEST

static int connect_to_localhost(void *arg)
{
	(void)arg;
	return connect_by(NULL, "localhost");
}

/* Of /etc/hosts. If it is ::1 first, that is refused. */
START_TEST(localhost_is_connected_to)
{
	int fd;

	listen_at(0);
	fd = next_fd();
	assert_connected(run_task(connect_to_localhost, NULL), 0);
	ck_assert_int_eq(next_fd(), fd);
}
END_TEST

static int connect_to_number(void *arg)
{
	int fd;

	(void)arg;
	fd = connect_by(find_unasked, "127.0.0.1");
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(zs_close(fd), 0);
	ck_assert_int_eq(connect_by(find_unasked, "127.1"), -EINVAL);
	ck_assert_int_eq(connect_by(find_unasked, "[localhost]"), -EINVAL);
	return connect_by(find_unasked, "");
}

START_TEST(a_numeric_host_is_not_looked_up)
{
	listen_at(0);
	assert_connected(run_task(connect_to_number, NULL), 0);
}
END_TEST

/* Name servers may be far away, or not there at all. */
static int connect_to_nobody(void *arg)
{
	struct zs_cancel_token token;
	int ret;

	(void)arg;
	ck_assert_int_eq(zs_cancel_token_open(&token, zs_now() + ZS_SECOND), 0);
	ret = zs_tcp_connect("nobody.invalid:80");
	zs_cancel_token_close(token);
	ck_assert_msg(ret == -ENOENT || ret == -EAGAIN || ret == -EIO ||
			      ret == -ETIMEDOUT,
		      "%d", ret);
	ck_assert_int_eq(zs_tcp_connect_by(find_none, "name:80"), -ENOENT);
	ck_assert_ptr_nonnull(strstr(zs_explain(-ENOENT), "\"name\""));
	return 0;
}

START_TEST(an_unknown_name_is_an_error_in_time)
{
	ck_assert_int_eq(run_task(connect_to_nobody, NULL), 0);
}
END_TEST

/* To listen and to bind, and to connect without a way to look them up. */
static int pass_names(void *arg)
{
	const char *remedy = "zs_resolve()";

	(void)arg;
	errno = 4711;
	ck_assert_int_eq(zs_tcp_connect_by(NULL, "localhost:80"), -EINVAL);
	ck_assert_ptr_nonnull(strstr(zs_explain(-EINVAL), remedy));
	ck_assert_int_eq(zs_tcp_listen("localhost:0", 1), -EINVAL);
	ck_assert_ptr_nonnull(strstr(zs_explain(-EINVAL), remedy));
	ck_assert_int_eq(zs_udp_bind("localhost:0"), -EINVAL);
	ck_assert_ptr_nonnull(strstr(zs_explain(-EINVAL), remedy));
	ck_assert_int_eq(errno, 4711);
	return 0;
}

START_TEST(a_name_that_is_not_looked_up_is_refused_with_a_remedy)
{
	ck_assert_int_eq(zs_tcp_connect("localhost:80"), -EPERM);
	ck_assert_int_eq(run_task(pass_names, NULL), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("connect_any");
	TCase *tests = tcase_create("connect_any");

	tcase_set_timeout(tests, 20);
	tcase_add_test(tests, one_address_is_connected_to);
	tcase_add_test(tests, a_refusal_leads_to_the_next);
	tcase_add_test(tests, silence_leads_to_the_next_after_a_while);
	tcase_add_test(tests, families_take_turns);
	tcase_add_test(tests, if_all_fail_the_first_says_why);
	tcase_add_test(tests, a_deadline_ends_all_attempts);
	tcase_add_test(tests, nonsense_is_refused);
	tcase_add_test(tests, a_name_leads_to_whichever_address_is_open);
	tcase_add_test(tests, a_name_with_no_open_address_is_refused);
	tcase_add_test(tests, localhost_is_connected_to);
	tcase_add_test(tests, a_numeric_host_is_not_looked_up);
	tcase_add_test(tests, an_unknown_name_is_an_error_in_time);
	tcase_add_test(tests,
		       a_name_that_is_not_looked_up_is_refused_with_a_remedy);
	suite_add_tcase(suite, tests);
	return run_suite(suite);
}
