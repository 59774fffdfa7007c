/* SPDX-License-Identifier: MIT */
/*
 * Looking names up: by libc what /etc/hosts has, and by look-ups of our own,
 * which wait for as long as a test likes.
 */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "descriptors.h"
#include "runtime.h"

enum { NR_ADDRESSES = 4, NR_LOOK_UPS = 9, NR_THREADS = 4 };

static struct sockaddr_storage addresses[NR_ADDRESSES];
static sem_t may_go_on;
static _Atomic int nr_begun, nr_at_once, nr_most;

static struct sockaddr_in *v4_of(int i)
{
	return (struct sockaddr_in *)&addresses[i];
}

static struct sockaddr_in6 *v6_of(int i)
{
	return (struct sockaddr_in6 *)&addresses[i];
}

static int look_up(zs_lookup_fn *lookup)
{
	return zs_resolve_by(lookup, "name", 80, AF_UNSPEC, addresses,
			     NR_ADDRESSES);
}

/* False, and a line that says why, where a look-up stops everything. */
static bool has_threads(const char *test)
{
	struct zs_config config = test_config();
	struct zs_runtime_info info;
	struct zs_runtime *runtime;

	ck_assert_int_eq(zs_runtime_create(&runtime, &config), 0);
	ck_assert_int_eq(zs_runtime_info(runtime, &info), 0);
	ck_assert_int_eq(zs_runtime_destroy(runtime), 0);
	if (strcmp(info.model_name, "blocking") != 0)
		return true;
	printf("SKIP: %s: the model blocking has no threads\n", test);
	return false;
}

/* --- by libc --- */

static int resolve_localhost(void *arg)
{
	int i, count, nr_v4 = 0, fd = next_fd();

	(void)arg;
	errno = 4711;
	count = zs_resolve("localhost", 8080, AF_UNSPEC, addresses,
			   NR_ADDRESSES);
	ck_assert_int_ge(count, 1);
	ck_assert_int_le(count, NR_ADDRESSES);
	for (i = 0; i < count; i++) {
		if (addresses[i].ss_family != AF_INET)
			continue;
		nr_v4++;
		ck_assert_uint_eq(ntohs(v4_of(i)->sin_port), 8080);
	}
	count = zs_resolve("localhost", 1, AF_INET, addresses, NR_ADDRESSES);
	ck_assert_int_eq(count, nr_v4);
	ck_assert_uint_eq(ntohl(v4_of(0)->sin_addr.s_addr), INADDR_LOOPBACK);
	ck_assert_int_eq(errno, 4711);
	ck_assert_int_eq(next_fd(), fd);
	return 0;
}

START_TEST(localhost_is_known)
{
	ck_assert_int_eq(run_task(resolve_localhost, NULL), 0);
}
END_TEST

/* That there is no such name is known to name servers alone, if there are any
 * in reach; a deadline keeps that short. */
static int resolve_nobody(void *arg)
{
	struct zs_cancel_token token;
	int ret;

	(void)arg;
	ck_assert_int_eq(zs_cancel_token_open(&token, zs_now() + ZS_SECOND), 0);
	ret = zs_resolve("nobody.invalid", 1, AF_UNSPEC, addresses, 1);
	zs_cancel_token_close(token);
	ck_assert_msg(ret == -ENOENT || ret == -EAGAIN || ret == -EIO ||
			      ret == -ETIMEDOUT,
		      "%d", ret);
	if (ret != -ETIMEDOUT)
		ck_assert_ptr_nonnull(
			strstr(zs_explain(ret), "nobody.invalid"));
	return 0;
}

START_TEST(an_unknown_name_is_an_error)
{
	ck_assert_int_eq(run_task(resolve_nobody, NULL), 0);
}
END_TEST

/* --- by our own --- */

static int never(const char *host, int family, struct sockaddr_storage *found,
		 int capacity)
{
	(void)host;
	(void)family;
	(void)found;
	(void)capacity;
	ck_abort_msg("it was to be known without");
	return -EIO;
}

static int resolve_numbers(void *arg)
{
	(void)arg;
	ck_assert_int_eq(zs_resolve_by(never, "192.0.2.1", 53, AF_UNSPEC,
				       addresses, 1),
			 1);
	ck_assert_int_eq(v4_of(0)->sin_family, AF_INET);
	ck_assert_uint_eq(ntohs(v4_of(0)->sin_port), 53);
	ck_assert_uint_eq(ntohl(v4_of(0)->sin_addr.s_addr), 0xc0000201);
	ck_assert_int_eq(zs_resolve_by(never, "::1", 53, AF_INET6, addresses,
				       NR_ADDRESSES),
			 1);
	ck_assert_int_eq(v6_of(0)->sin6_family, AF_INET6);
	ck_assert_uint_eq(ntohs(v6_of(0)->sin6_port), 53);
	ck_assert(IN6_IS_ADDR_LOOPBACK(&v6_of(0)->sin6_addr));
	ck_assert_int_eq(zs_resolve_by(never, "::1", 53, AF_INET, addresses, 1),
			 -ENOENT);
	return 0;
}

START_TEST(numbers_are_not_looked_up)
{
	ck_assert_int_eq(run_task(resolve_numbers, NULL), 0);
}
END_TEST

static int six_addresses(const char *host, int family,
			 struct sockaddr_storage *found, int capacity)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	int i;

	if (strcmp(host, "name") != 0 || family != AF_UNSPEC ||
	    capacity != ZS_ADDRESSES_MAX)
		return -EINVAL;
	for (i = 0; i < 6; i++) {
		address.sin_addr.s_addr = htonl((uint32_t)i);
		memcpy(&found[i], &address, sizeof(address));
	}
	return 6;
}

static int resolve_six(void *arg)
{
	int i;

	(void)arg;
	ck_assert_int_eq(look_up(six_addresses), NR_ADDRESSES);
	for (i = 0; i < NR_ADDRESSES; i++) {
		ck_assert_uint_eq(ntohl(v4_of(i)->sin_addr.s_addr), i);
		ck_assert_uint_eq(ntohs(v4_of(i)->sin_port), 80);
	}
	return 0;
}

START_TEST(addresses_come_in_order_as_many_as_there_is_room_for)
{
	ck_assert_int_eq(run_task(resolve_six, NULL), 0);
}
END_TEST

static int wait_for_leave(const char *host, int family,
			  struct sockaddr_storage *found, int capacity)
{
	int at_once = ++nr_at_once;

	(void)host;
	(void)family;
	(void)capacity;
	nr_begun++;
	if (at_once > nr_most)
		nr_most = at_once;
	while (sem_wait(&may_go_on) < 0)
		;
	nr_at_once--;
	memset(found, 0, sizeof(*found));
	return 1;
}

static int look_up_slowly(void *arg)
{
	(void)arg;
	ck_assert_int_eq(look_up(wait_for_leave), 1);
	return 0;
}

static int give_leave(void *arg)
{
	(void)arg;
	ck_assert_int_eq(sem_post(&may_go_on), 0);
	return 0;
}

/* The second begins though the first looks up. */
START_TEST(others_go_on_meanwhile)
{
	if (!has_threads("others_go_on_meanwhile"))
		return;
	ck_assert_int_eq(run_siblings(look_up_slowly, give_leave, NULL), 0);
}
END_TEST

static int look_up_many(void *arg)
{
	struct zs_nursery nursery;
	int i;

	(void)arg;
	ck_assert_int_eq(zs_nursery_open(&nursery, NULL), 0);
	for (i = 0; i < NR_LOOK_UPS; i++)
		ck_assert_int_eq(
			zs_nursery_spawn(nursery, look_up_slowly, NULL), 0);
	while (nr_begun < NR_THREADS)
		ck_assert_int_eq(zs_sleep(ZS_MILLISECOND), 0);
	for (i = 0; i < NR_LOOK_UPS; i++)
		ck_assert_int_eq(sem_post(&may_go_on), 0);
	return zs_nursery_wait(nursery);
}

START_TEST(four_are_looked_up_at_once)
{
	if (!has_threads("four_are_looked_up_at_once"))
		return;
	ck_assert_int_eq(run_task(look_up_many, NULL), 0);
	ck_assert_int_eq(nr_begun, NR_LOOK_UPS);
	ck_assert_int_eq(nr_most, NR_THREADS);
}
END_TEST

/* All threads are taken, so the last ones have not even begun. */
static int give_up(void *arg)
{
	struct zs_cancel_token token;
	int i;

	(void)arg;
	for (i = 0; i < NR_LOOK_UPS; i++) {
		ck_assert_int_eq(
			zs_cancel_token_open(&token, zs_now() + ZS_MILLISECOND),
			0);
		ck_assert_int_eq(look_up(wait_for_leave), -ETIMEDOUT);
		ck_assert_int_eq(look_up(wait_for_leave), -ETIMEDOUT);
		ck_assert_int_eq(zs_cancel_token_close(token), -ETIMEDOUT);
	}
	ck_assert_int_le(nr_begun, NR_THREADS);
	for (i = 0; i < NR_LOOK_UPS; i++)
		ck_assert_int_eq(sem_post(&may_go_on), 0);
	return look_up_slowly(NULL);
}

START_TEST(a_deadline_does_not_wait_for_the_look_up)
{
	if (!has_threads("a_deadline_does_not_wait_for_the_look_up"))
		return;
	ck_assert_int_eq(run_task(give_up, NULL), 0);
}
END_TEST

static int begin_cancelled(void *arg)
{
	struct zs_cancel_token token;

	(void)arg;
	ck_assert_int_eq(zs_cancel_token_open(&token, ZS_NEVER), 0);
	ck_assert_int_eq(zs_cancel_token_cancel(token), 0);
	ck_assert_int_eq(look_up(never), -ECANCELED);
	return zs_cancel_token_close(token);
}

START_TEST(in_a_cancelled_scope_nothing_is_looked_up)
{
	ck_assert_int_eq(run_task(begin_cancelled, NULL), -ECANCELED);
}
END_TEST

/* --- what goes wrong --- */

static int answer;

static int give_answer(const char *host, int family,
		       struct sockaddr_storage *found, int capacity)
{
	(void)host;
	(void)family;
	memset(found, 0, sizeof(*found) * (size_t)capacity);
	return answer;
}

static void assert_answer(int given, int expected, const char *word)
{
	answer = given;
	ck_assert_int_eq(look_up(give_answer), expected);
	if (expected < 0)
		ck_assert_msg(strstr(zs_explain(expected), word), "%s",
			      zs_explain(expected));
}

static int get_answers(void *arg)
{
	(void)arg;
	assert_answer(0, -ENOENT, "\"name\"");
	assert_answer(-ENOENT, -ENOENT, "\"name\"");
	assert_answer(-EAGAIN, -EAGAIN, "resolv.conf");
	assert_answer(-EIO, -EIO, "\"name\"");
	/* Not asked again. */
	assert_answer(-EINTR, -EINTR, "\"name\"");
	assert_answer(ZS_ADDRESSES_MAX + 5, NR_ADDRESSES, "");
	return 0;
}

START_TEST(errors_have_a_text)
{
	ck_assert_int_eq(run_task(get_answers, NULL), 0);
}
END_TEST

static int pass_nonsense(void *arg)
{
	char name[ZS_HOST_MAX + 2];

	(void)arg;
	ck_assert_int_eq(zs_resolve(NULL, 1, 0, addresses, 1), -EINVAL);
	ck_assert_int_eq(zs_resolve("", 1, 0, addresses, 1), -EINVAL);
	ck_assert_int_eq(zs_resolve("localhost", 1, 0, NULL, 1), -EINVAL);
	ck_assert_int_eq(zs_resolve("localhost", 1, 0, addresses, 0), -EINVAL);
	ck_assert_int_eq(zs_resolve("localhost", 1, 0, addresses, -1), -EINVAL);
	ck_assert_int_eq(zs_resolve("localhost", 1, AF_UNIX, addresses, 1),
			 -EAFNOSUPPORT);
	ck_assert_int_eq(look_up(NULL), -EINVAL);
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	ck_assert_int_eq(zs_resolve(name, 1, 0, addresses, 1), -EINVAL);
	ck_assert_ptr_nonnull(strstr(zs_explain(-EINVAL), "253"));
	return 0;
}

START_TEST(nonsense_is_refused)
{
	ck_assert_int_eq(zs_resolve("localhost", 1, 0, addresses, 1), -EPERM);
	ck_assert_int_eq(run_task(pass_nonsense, NULL), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("resolve");
	TCase *tests = tcase_create("resolve");

	sem_init(&may_go_on, 0, 0);
	tcase_set_timeout(tests, 20);
	tcase_add_test(tests, localhost_is_known);
	tcase_add_test(tests, an_unknown_name_is_an_error);
	tcase_add_test(tests, numbers_are_not_looked_up);
	tcase_add_test(tests,
		       addresses_come_in_order_as_many_as_there_is_room_for);
	tcase_add_test(tests, others_go_on_meanwhile);
	tcase_add_test(tests, four_are_looked_up_at_once);
	tcase_add_test(tests, a_deadline_does_not_wait_for_the_look_up);
	tcase_add_test(tests, in_a_cancelled_scope_nothing_is_looked_up);
	tcase_add_test(tests, errors_have_a_text);
	tcase_add_test(tests, nonsense_is_refused);
	suite_add_tcase(suite, tests);
	return run_suite(suite);
}
