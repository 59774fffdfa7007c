/* SPDX-License-Identifier: MIT */
/* Sockets by "host:port": what is understood, what comes of it, and that a
 * refusal leaves nothing behind. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>

#include "descriptors.h"
#include "runtime.h"

/* Shared by the tasks of a test; each test is a process of its own. */
static int ends[2];

static bool has_ipv6(void)
{
	struct sockaddr_in6 address = {
		.sin6_family = AF_INET6,
		.sin6_addr = IN6ADDR_LOOPBACK_INIT,
	};
	int fd = socket(AF_INET6, SOCK_STREAM, 0);
	int ret =
		fd < 0 ? fd :
			 bind(fd, (struct sockaddr *)&address, sizeof(address));

	if (fd >= 0)
		close(fd);
	if (ret < 0)
		printf("SKIP: no IPv6 loopback here\n");
	return ret == 0;
}

/* @format has a %d for the port. */
static int connect_by(const char *format, int port)
{
	char address[64];

	snprintf(address, sizeof(address), format, port);
	return zs_tcp_connect(address);
}

/* --- connections --- */

/* What listens, what connects to it, and the family that the server sees. */
struct meeting {
	const char *listen;
	const char *connect;
	int family;
	bool is_ipv6;
};

static const struct meeting meetings[] = {
	{ "127.0.0.1:0", "127.0.0.1:%d", AF_INET, false },
	{ "127.0.0.1:00", ":%d", AF_INET, false },
	{ "0.0.0.0:0", "127.0.0.1:%05d", AF_INET, false },
	{ "127.0.0.7:0", "127.0.0.7:%d", AF_INET, false },
	{ "[::1]:0", "[::1]:%d", AF_INET6, true },
	{ "[::]:0", "[0:0::0:1]:%d", AF_INET6, true },
	{ ":0", "127.0.0.1:%d", AF_INET6, true },
	{ "*:0", "[::1]:%d", AF_INET6, true },
	{ "*:0", "[::ffff:127.0.0.1]:%d", AF_INET6, true },
};
enum { NR_MEETINGS = sizeof(meetings) / sizeof(meetings[0]) };

static int serve_echo(void *arg)
{
	const struct meeting *meeting = arg;
	struct sockaddr_storage peer;
	socklen_t length = sizeof(peer);
	int fd = zs_accept(ends[0], (struct sockaddr *)&peer, &length, 0);
	char buffer[64];
	ssize_t count;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(peer.ss_family, meeting->family);
	ck_assert_uint_eq(length, meeting->is_ipv6 ?
					  sizeof(struct sockaddr_in6) :
					  sizeof(struct sockaddr_in));
	for (;;) {
		count = zs_recv(fd, buffer, sizeof(buffer), 0);
		if (count <= 0)
			break;
		ck_assert_int_eq(zs_send_all(fd, buffer, (size_t)count, 0),
				 count);
	}
	ck_assert_int_eq(count, 0);
	return zs_close(fd);
}

static int ask_echo(void *arg)
{
	const struct meeting *meeting = arg;
	int fd = connect_by(meeting->connect, zs_local_port(ends[0]));
	char buffer[64];

	ck_assert_msg(fd >= 0, "%s: %s", meeting->connect, zs_explain(fd));
	for (int i = 0; i < 100; i++) {
		ck_assert_int_eq(zs_send(fd, &i, sizeof(i), 0), sizeof(i));
		ck_assert_int_eq(zs_recv(fd, buffer, sizeof(buffer), 0),
				 sizeof(i));
		ck_assert_mem_eq(buffer, &i, sizeof(i));
	}
	ck_assert_int_eq(zs_shutdown(fd, SHUT_WR), 0);
	ck_assert_int_eq(zs_recv(fd, buffer, sizeof(buffer), 0), 0);
	return zs_close(fd);
}

static int echo(void *arg)
{
	const struct meeting *meeting = arg;
	struct test_siblings siblings = { serve_echo, ask_echo, arg };

	ends[0] = zs_tcp_listen(meeting->listen, 1);
	ck_assert_msg(ends[0] >= 0, "%s: %s", meeting->listen,
		      zs_explain(ends[0]));
	ck_assert_int_gt(zs_local_port(ends[0]), 0);
	ck_assert_int_eq(run_test_siblings(&siblings), 0);
	return zs_close(ends[0]);
}

START_TEST(echo_by_each_form_of_an_address)
{
	if (meetings[_i].is_ipv6 && !has_ipv6())
		return;
	ck_assert_int_eq(run_task(echo, (void *)&meetings[_i]), 0);
}
END_TEST

static int connect_by_scope(void *arg)
{
	char text[64];
	int port, listener = zs_tcp_listen("[::1]:0", 8);

	(void)arg;
	port = zs_local_port(listener);
	ck_assert_int_ge(connect_by("[::1%%lo]:%d", port), 0);
	snprintf(text, sizeof(text), "[::1%%%u]:%d", if_nametoindex("lo"),
		 port);
	ck_assert_int_ge(zs_tcp_connect(text), 0);
	errno = ERANGE;
	ck_assert_int_eq(connect_by("[::1%%nowhere]:%d", port), -EINVAL);
	ck_assert_int_eq(errno, ERANGE);
	ck_assert_int_eq(connect_by("[::1%%]:%d", port), -EINVAL);
	ck_assert_int_eq(connect_by("127.0.0.1%%lo:%d", port), -EINVAL);
	return 0;
}

START_TEST(an_ipv6_address_may_name_its_interface)
{
	if (has_ipv6() && if_nametoindex("lo") > 0)
		ck_assert_int_eq(run_task(connect_by_scope, NULL), 0);
}
END_TEST

/* --- what is made --- */

static int make_one_of_each(void *arg)
{
	int fds[4], on = 0;
	socklen_t length = sizeof(on);

	(void)arg;
	fds[0] = zs_udp_bind("127.0.0.1:0");
	fds[1] = zs_tcp_listen("127.0.0.1:0", 1);
	fds[2] = connect_to_port(zs_local_port(fds[1]));
	fds[3] = zs_accept(fds[1], NULL, NULL, 0);
	for (int i = 0; i < 4; i++) {
		ck_assert_int_ge(fds[i], 0);
		ck_assert(is_cloexec(fds[i]));
	}
	for (int i = 2; i < 4; i++)
		ck_assert_int_eq(fcntl(fds[i], F_GETFL) & O_NONBLOCK, 0);
	getsockopt(fds[1], SOL_SOCKET, SO_REUSEADDR, &on, &length);
	ck_assert_int_eq(on, 1);
	getsockopt(fds[2], IPPROTO_TCP, TCP_NODELAY, &on, &length);
	ck_assert_int_eq(on, 1);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(zs_close(fds[i]), 0);
	return 0;
}

START_TEST(made_descriptors_have_the_promised_options)
{
	int before = next_fd();

	ck_assert_int_eq(run_task(make_one_of_each, NULL), 0);
	ck_assert_int_eq(next_fd(), before);
}
END_TEST

static int send_to_bound(void *arg)
{
	struct sockaddr_in address;
	int sender = make_bound(SOCK_DGRAM, &address);
	int fd = zs_udp_bind("*:0");
	char byte = 0;

	(void)arg;
	ck_assert_int_ge(fd, 0);
	address = loopback_address(zs_local_port(fd));
	ck_assert_int_eq(zs_connect(sender, (struct sockaddr *)&address,
				    sizeof(address)),
			 0);
	ck_assert_int_eq(zs_send(sender, "x", 1, 0), 1);
	ck_assert_int_eq(zs_recv(fd, &byte, 1, 0), 1);
	ck_assert_int_eq(byte, 'x');
	return 0;
}

START_TEST(a_bound_udp_socket_receives_on_all_addresses)
{
	ck_assert_int_eq(run_task(send_to_bound, NULL), 0);
}
END_TEST

/* The address was in use by a connection a moment ago: the server closes first,
 * which leaves its port in TIME_WAIT. */
static int serve_twice_on_one_port(void *arg)
{
	char text[24] = "127.0.0.1:0";
	int listener, client, server;
	char byte;

	(void)arg;
	for (int i = 0; i < 2; i++) {
		listener = zs_tcp_listen(text, 1);
		ck_assert_int_ge(listener, 0);
		snprintf(text, sizeof(text), "127.0.0.1:%d",
			 zs_local_port(listener));
		client = zs_tcp_connect(text);
		server = zs_accept(listener, NULL, NULL, 0);
		ck_assert_int_eq(zs_close(server), 0);
		ck_assert_int_eq(zs_recv(client, &byte, 1, 0), 0);
		ck_assert_int_eq(zs_close(client), 0);
		ck_assert_int_eq(zs_close(listener), 0);
	}
	return 0;
}

START_TEST(a_port_can_be_listened_on_again_at_once)
{
	ck_assert_int_eq(run_task(serve_twice_on_one_port, NULL), 0);
}
END_TEST

/* --- what is refused --- */

struct refusal {
	const char *address;
	const char *says;
};

static const struct refusal refusals[] = {
	{ "", "has no port" },
	{ "127.0.0.1", "has no port" },
	{ "80", "has no port" },
	{ "[::1]", "has no port" },
	{ "[::1", "has no port" },
	{ "[::1]80", "has no port" },
	{ "::1", "needs brackets" },
	{ "::1:80", "needs brackets" },
	{ "1.2.3.4:80:90", "needs brackets" },
	{ "127.0.0.1:", "is no port" },
	{ "127.0.0.1:http", "is no port" },
	{ "127.0.0.1:-1", "is no port" },
	{ "127.0.0.1:+1", "is no port" },
	{ "127.0.0.1: 80", "is no port" },
	{ "127.0.0.1:80 ", "is no port" },
	{ "127.0.0.1:0x50", "is no port" },
	{ "127.0.0.1:65536", "is no port" },
	{ "127.0.0.1:4294967296", "is no port" },
	{ "127.0.0.1:99999999999999999999999", "is no port" },
	{ "[::1]:", "is no port" },
	{ "1.2.3:80", "no numeric address" },
	{ "1.2.3.4.5:80", "no numeric address" },
	{ " 127.0.0.1:80", "no numeric address" },
	{ "127.0.0.1 :80", "no numeric address" },
	{ "256.0.0.1:80", "no numeric address" },
	{ "0x7f000001:80", "no numeric address" },
	{ "**:80", "no numeric address" },
	{ "127.1:80", "no numeric address" },
	{ "0X7f:80", "no numeric address" },
	{ "name.0x1:80", "no numeric address" },
	{ "a name:80", "no numeric address" },
	{ "name/:80", "no numeric address" },
	{ "[]:80", "no IPv6 address" },
	{ "[*]:80", "no IPv6 address" },
	{ "[127.0.0.1]:80", "no IPv6 address" },
	{ "[::g]:80", "no IPv6 address" },
	{ "[localhost]:80", "no IPv6 address" },
	{ "[[::1]]:80", "has no port" },
	{ "[1:2:3]:80", "no IPv6 address" },
};

static void assert_refused(int ret, const struct refusal *refusal)
{
	ck_assert_msg(ret == -EINVAL, "%s: %d", refusal->address, ret);
	ck_assert_msg(strstr(zs_explain(ret), refusal->says), "%s: %s",
		      refusal->address, zs_explain(ret));
}

static int use_bad_addresses(void *arg)
{
	char name[1024];
	const struct refusal long_name = { name, "too long a host" };

	(void)arg;
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		const struct refusal *refusal = &refusals[i];

		assert_refused(zs_tcp_listen(refusal->address, 1), refusal);
		assert_refused(zs_tcp_connect(refusal->address), refusal);
		assert_refused(zs_udp_bind(refusal->address), refusal);
	}
	memset(name, 'x', sizeof(name));
	strcpy(&name[1000], ":80");
	assert_refused(zs_tcp_listen(name, 1), &long_name);
	strcpy(&name[256], ":80");
	assert_refused(zs_tcp_connect(name), &long_name);
	strcpy(&name[255], ":80");
	ck_assert_int_eq(zs_tcp_connect(name), -EINVAL);
	ck_assert_int_eq(zs_tcp_connect("*:80"), -EINVAL);
	ck_assert_int_eq(zs_tcp_listen(NULL, 1), -EINVAL);
	ck_assert_int_eq(zs_tcp_connect(NULL), -EINVAL);
	ck_assert_int_eq(zs_udp_bind(NULL), -EINVAL);
	return 0;
}

START_TEST(what_is_no_address_is_refused_with_the_reason)
{
	int before = next_fd();

	ck_assert_int_eq(run_task(use_bad_addresses, NULL), 0);
	ck_assert_int_eq(next_fd(), before);
}
END_TEST

/* A port that is bound but not listened on, ports that are taken, an address
 * that is not ours. */
static int fail_to_open(void *arg)
{
	struct sockaddr_in bound, taken, udp;
	int fds[] = { make_bound(SOCK_STREAM, &bound), make_listener(1, &taken),
		      make_bound(SOCK_DGRAM, &udp) };
	int before = next_fd();
	char text[24];

	(void)arg;
	errno = ERANGE;
	ck_assert_int_eq(connect_to_port(ntohs(bound.sin_port)), -ECONNREFUSED);
	snprintf(text, sizeof(text), "127.0.0.1:%d", ntohs(taken.sin_port));
	ck_assert_int_eq(zs_tcp_listen(text, 1), -EADDRINUSE);
	snprintf(text, sizeof(text), "*:%d", ntohs(taken.sin_port));
	ck_assert_int_eq(zs_tcp_listen(text, 1), -EADDRINUSE);
	snprintf(text, sizeof(text), ":%d", ntohs(udp.sin_port));
	ck_assert_int_eq(zs_udp_bind(text), -EADDRINUSE);
	ck_assert_int_eq(zs_tcp_listen("192.0.2.1:0", 1), -EADDRNOTAVAIL);
	ck_assert_int_eq(zs_udp_bind("192.0.2.1:0"), -EADDRNOTAVAIL);
	ck_assert_int_eq(errno, ERANGE);
	ck_assert_int_eq(next_fd(), before);
	for (int i = 0; i < 3; i++)
		close(fds[i]);
	return 0;
}

START_TEST(helpers_that_fail_leave_no_descriptor)
{
	ck_assert_int_eq(run_task(fail_to_open, NULL), 0);
}
END_TEST

static Suite *inet_suite(void)
{
	Suite *suite = suite_create("inet");
	TCase *tests = tcase_create("inet");

	tcase_add_loop_test(tests, echo_by_each_form_of_an_address, 0,
			    NR_MEETINGS);
	tcase_add_test(tests, an_ipv6_address_may_name_its_interface);
	tcase_add_test(tests, made_descriptors_have_the_promised_options);
	tcase_add_test(tests, a_bound_udp_socket_receives_on_all_addresses);
	tcase_add_test(tests, a_port_can_be_listened_on_again_at_once);
	tcase_add_test(tests, what_is_no_address_is_refused_with_the_reason);
	tcase_add_test(tests, helpers_that_fail_leave_no_descriptor);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return run_suite(inet_suite());
}
