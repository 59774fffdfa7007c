/* SPDX-License-Identifier: MIT */
/*
 * uring-probe --selftest: one of each class of operation, through a runtime of
 * one worker, each checked for its result and measured. Called once by
 * uring_probe().
 *
 * An operation that waits is met by a sibling task: since there is one worker,
 * that starts when the operation has parked. It starts the clock and ends the
 * wait.
 */
#include "uring_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <zsync.h>

enum { ROUNDS = 32 };

/* Each operation ends by then, or has failed. */
#define PATIENCE (10 * ZS_SECOND)
#define NAP ZS_MILLISECOND

/* What the operations work on; the main task's. */
struct lab {
	struct report *report;
	int pair[2];
	int listener;
	int client; /* of the round */
	int file;
	char path[256];
	struct zs_cancel_token token; /* of the round */
	uint64_t payload;	      /* of the round */
	int64_t started_ns;
	int64_t elapsed_ns;
};

static void start_clock(struct lab *lab)
{
	lab->started_ns = zs_now();
}

static void stop_clock(struct lab *lab)
{
	lab->elapsed_ns = zs_now() - lab->started_ns;
}

/* --- abortable --- */

/* Runs @wait, which parks, beside @sibling, which ends the wait. */
static int meet(struct lab *lab, zs_task_fn *sibling, int (*wait)(struct lab *))
{
	struct zs_nursery nursery;
	int ret, error;

	ret = zs_nursery_open(&nursery, NULL);
	if (ret < 0)
		return ret;
	ret = zs_nursery_spawn(nursery, sibling, lab);
	if (ret == 0)
		ret = wait(lab);
	error = zs_nursery_wait(nursery);
	return ret < 0 ? ret : error;
}

/* It never waits: there is room for eight bytes. */
static int send_payload(void *arg)
{
	struct lab *lab = arg;
	ssize_t length;

	start_clock(lab);
	length = send(lab->pair[1], &lab->payload, sizeof(lab->payload),
		      MSG_NOSIGNAL);
	return length == sizeof(lab->payload) ? 0 : -EIO;
}

static int wait_for_payload(struct lab *lab)
{
	uint64_t received = 0;
	ssize_t length;

	length = zs_recv(lab->pair[0], &received, sizeof(received), 0);
	stop_clock(lab);
	if (length < 0)
		return (int)length;
	return length == sizeof(received) && received == lab->payload ?
		       0 :
		       -EBADMSG;
}

static int check_recv(struct lab *lab)
{
	lab->payload++;
	return meet(lab, send_payload, wait_for_payload);
}

static int check_send(struct lab *lab)
{
	uint64_t received = 0;
	ssize_t length;

	lab->payload++;
	start_clock(lab);
	length = zs_send(lab->pair[1], &lab->payload, sizeof(lab->payload), 0);
	stop_clock(lab);
	if (length < 0)
		return (int)length;
	if (recv(lab->pair[0], &received, sizeof(received), MSG_DONTWAIT) !=
		    length ||
	    received != lab->payload)
		return -EBADMSG;
	return 0;
}

static int wait_until_ready(struct lab *lab)
{
	uint64_t received;
	int ready;

	ready = zs_poll_fd(lab->pair[0], POLLIN);
	stop_clock(lab);
	if (ready < 0)
		return ready;
	return (ready & POLLIN) && recv(lab->pair[0], &received,
					sizeof(received), MSG_DONTWAIT) > 0 ?
		       0 :
		       -EBADMSG;
}

static int check_poll(struct lab *lab)
{
	return meet(lab, send_payload, wait_until_ready);
}

static int connect_client(void *arg)
{
	struct lab *lab = arg;
	struct sockaddr_in address = { .sin_family = AF_INET };

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	address.sin_port = htons((uint16_t)zs_local_port(lab->listener));
	start_clock(lab);
	return zs_connect(lab->client, (struct sockaddr *)&address,
			  sizeof(address));
}

/* Are they each other's? */
static int check_peer(struct lab *lab, int fd)
{
	struct sockaddr_in address = { .sin_port = 0 };
	socklen_t length = sizeof(address);

	if (getpeername(fd, (struct sockaddr *)&address, &length) < 0 ||
	    ntohs(address.sin_port) != zs_local_port(lab->client))
		return -EBADMSG;
	return 0;
}

static int wait_for_client(struct lab *lab)
{
	int ret, fd;

	fd = zs_accept(lab->listener, NULL, NULL, SOCK_CLOEXEC);
	stop_clock(lab);
	if (fd < 0)
		return fd;
	ret = check_peer(lab, fd);
	close(fd);
	return ret;
}

/* Loopback connects without waiting for it. */
static int take_client(void *arg)
{
	struct lab *lab = arg;
	int fd = zs_accept(lab->listener, NULL, NULL, SOCK_CLOEXEC);
	int ret;

	if (fd < 0)
		return fd;
	ret = check_peer(lab, fd);
	close(fd);
	return ret;
}

static int connect_and_time(struct lab *lab)
{
	int ret = connect_client(lab);

	stop_clock(lab);
	return ret;
}

static int with_client(struct lab *lab, zs_task_fn *sibling,
		       int (*wait)(struct lab *))
{
	int ret;

	lab->client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (lab->client < 0)
		return -errno;
	ret = meet(lab, sibling, wait);
	close(lab->client);
	return ret;
}

static int check_accept(struct lab *lab)
{
	return with_client(lab, connect_client, wait_for_client);
}

static int check_connect(struct lab *lab)
{
	return with_client(lab, take_client, connect_and_time);
}

static int check_sleep(struct lab *lab)
{
	int ret;

	start_clock(lab);
	ret = zs_sleep(NAP);
	stop_clock(lab);
	if (ret < 0)
		return ret;
	return lab->elapsed_ns >= NAP ? 0 : -EBADMSG;
}

static int cancel_token(void *arg)
{
	struct lab *lab = arg;

	start_clock(lab);
	return zs_cancel_token_cancel(lab->token);
}

/* Receives nothing until a cancel or the deadline ends it with @expected. */
static int be_cancelled(struct lab *lab, int64_t deadline_ns, int expected)
{
	ssize_t length;
	char byte;
	int ret;

	ret = zs_cancel_token_open(&lab->token, deadline_ns);
	if (ret < 0)
		return ret;
	length = zs_recv(lab->pair[0], &byte, 1, 0);
	stop_clock(lab);
	zs_cancel_token_close(lab->token);
	if (length < 0 && length != expected)
		return (int)length;
	return length == expected ? 0 : -EBADMSG;
}

static int wait_for_cancel(struct lab *lab)
{
	return be_cancelled(lab, ZS_NEVER, -ECANCELED);
}

static int check_cancel(struct lab *lab)
{
	return meet(lab, cancel_token, wait_for_cancel);
}

static int check_deadline(struct lab *lab)
{
	int ret;

	start_clock(lab);
	ret = be_cancelled(lab, lab->started_ns + NAP, -ETIMEDOUT);
	return ret == 0 && lab->elapsed_ns < NAP ? -EBADMSG : ret;
}

/* --- detachable --- */

static int check_openat(struct lab *lab)
{
	struct stat opened, expected;
	int ret = 0;
	int fd;

	start_clock(lab);
	fd = zs_openat(AT_FDCWD, lab->path, O_RDONLY, 0);
	stop_clock(lab);
	if (fd < 0)
		return fd;
	if (fstat(fd, &opened) < 0 || fstat(lab->file, &expected) < 0 ||
	    opened.st_ino != expected.st_ino)
		ret = -EBADMSG;
	close(fd);
	return ret;
}

/* The kernel's: libc's is younger than the musl of many systems. */
struct file_status {
	uint64_t mask_to_mode[4];
	uint64_t ino;
	uint64_t size;
	uint64_t rest[26];
};
static_assert(sizeof(struct file_status) == 256, "as struct statx");

enum { INO_AND_SIZE = 0x300 }; /* STATX_INO | STATX_SIZE */

static int check_statx(struct lab *lab)
{
	struct file_status found;
	struct stat expected;
	int ret;

	start_clock(lab);
	ret = zs_statx(AT_FDCWD, lab->path, 0, INO_AND_SIZE,
		       (struct statx *)&found);
	stop_clock(lab);
	if (ret < 0)
		return ret;
	return fstat(lab->file, &expected) == 0 &&
			       found.ino == expected.st_ino &&
			       found.size == (uint64_t)expected.st_size ?
		       0 :
		       -EBADMSG;
}

/* --- held --- */

static int check_pwrite(struct lab *lab)
{
	uint64_t written = 0;
	ssize_t length;

	lab->payload++;
	start_clock(lab);
	length = zs_pwrite(lab->file, &lab->payload, sizeof(lab->payload), 0);
	stop_clock(lab);
	if (length < 0)
		return (int)length;
	if (length != sizeof(lab->payload) ||
	    pread(lab->file, &written, sizeof(written), 0) != length ||
	    written != lab->payload)
		return -EBADMSG;
	return 0;
}

static int check_pread(struct lab *lab)
{
	uint64_t found = 0;
	ssize_t length;

	start_clock(lab);
	length = zs_pread(lab->file, &found, sizeof(found), 0);
	stop_clock(lab);
	if (length < 0)
		return (int)length;
	return length == sizeof(found) && found == lab->payload ? 0 : -EBADMSG;
}

static int check_fsync(struct lab *lab)
{
	int ret;

	start_clock(lab);
	ret = zs_fsync(lab->file);
	stop_clock(lab);
	return ret;
}

/* --- all of them --- */

static const struct {
	const char *class_name;
	const char *name;
	int (*once)(struct lab *lab);
} checks[] = {
	{ "abortable", "send", check_send },
	{ "abortable", "recv", check_recv },
	{ "abortable", "poll", check_poll },
	{ "abortable", "accept", check_accept },
	{ "abortable", "connect", check_connect },
	{ "abortable", "sleep 1 ms", check_sleep },
	{ "abortable", "cancel", check_cancel },
	{ "abortable", "deadline", check_deadline },
	{ "detachable", "openat", check_openat },
	{ "detachable", "statx", check_statx },
	{ "held", "pwrite", check_pwrite },
	{ "held", "pread", check_pread },
	{ "held", "fsync", check_fsync },
};
#define NR_CHECKS (sizeof(checks) / sizeof(checks[0]))
static_assert(NR_CHECKS <= NR_CHECKS_MAX, "");

static const char *remedy_of(int error)
{
	switch (error) {
	case -EOPNOTSUPP:
		return "a kernel that has the operation; ZSYNC_DISABLE may "
		       "hide it, see the table of operations";
	case -EPERM:
	case -EACCES:
		return "see the audit log: a security module (SELinux, "
		       "AppArmor) may forbid it";
	case -ENETUNREACH:
	case -EADDRNOTAVAIL:
	case -ENETDOWN:
		return "bring the loopback interface up: ip link set lo up";
	case -EMFILE:
		return "raise RLIMIT_NOFILE (ulimit -n)";
	case -EFBIG:
		return "raise RLIMIT_FSIZE (ulimit -f)";
	case -ENOSPC:
	case -EDQUOT:
	case -EROFS:
	case -ENOENT:
		return "a folder that can be written to: TMPDIR=FOLDER";
	case -EBADMSG:
		return "none: a wrong result, please report it with this "
		       "output and `uname -a`";
	case -ETIMEDOUT:
		return "none: it did not end within 10 s, please report it "
		       "with this output and `uname -a`";
	default:
		return "see the error; strace -f shows the call that fails";
	}
}

static void fail(struct report *report, const char *class_name,
		 const char *name, int error, const char *remedy)
{
	struct check *check = &report->checks[report->nr_checks++];

	check->class_name = class_name;
	check->name = name;
	check->error = error;
	check->remedy = remedy ? remedy : remedy_of(error);
	report->status = PROBE_SELFTEST_FAILED;
}

static int by_size(const void *left, const void *right)
{
	int64_t a = *(const int64_t *)left;
	int64_t b = *(const int64_t *)right;

	return (a > b) - (a < b);
}

static int run_rounds(struct lab *lab, int (*once)(struct lab *),
		      int64_t *median_ns)
{
	struct zs_cancel_token token;
	int64_t elapsed_ns[ROUNDS];
	int ret, i;

	ret = zs_cancel_token_open(&token, zs_now() + PATIENCE);
	for (i = 0; ret == 0 && i < ROUNDS; i++) {
		ret = once(lab);
		elapsed_ns[i] = lab->elapsed_ns;
	}
	zs_cancel_token_close(token);
	if (ret < 0)
		return ret;
	qsort(elapsed_ns, ROUNDS, sizeof(elapsed_ns[0]), by_size);
	*median_ns = elapsed_ns[ROUNDS / 2];
	return 0;
}

static int run_checks(void *arg)
{
	struct lab *lab = arg;
	struct report *report = lab->report;
	int64_t median_ns;
	size_t i;
	int ret;

	for (i = 0; i < NR_CHECKS; i++) {
		ret = run_rounds(lab, checks[i].once, &median_ns);
		if (ret < 0) {
			fail(report, checks[i].class_name, checks[i].name, ret,
			     NULL);
			continue;
		}
		report->checks[report->nr_checks++] = (struct check){
			.name = checks[i].name,
			.class_name = checks[i].class_name,
			.median_ns = median_ns,
		};
	}
	return 0;
}

/* What is open by then is closed by close_lab(). */
static int open_lab(struct lab *lab)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	const char *folder = getenv("TMPDIR");

	snprintf(lab->path, sizeof(lab->path), "%s/uring-probe-XXXXXX",
		 folder && folder[0] ? folder : "/tmp");
	lab->file = mkostemp(lab->path, O_CLOEXEC);
	if (lab->file < 0)
		return -errno;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, lab->pair) < 0)
		return -errno;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	lab->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (lab->listener < 0 ||
	    bind(lab->listener, (struct sockaddr *)&address, sizeof(address)) <
		    0 ||
	    listen(lab->listener, 1) < 0)
		return -errno;
	return 0;
}

static void close_lab(struct lab *lab)
{
	int fds[] = { lab->pair[0], lab->pair[1], lab->listener, lab->file };
	size_t i;

	if (lab->file >= 0)
		unlink(lab->path);
	for (i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

void run_selftest(struct report *report)
{
	struct lab lab = {
		.report = report, .pair = { -1, -1 }, .listener = -1, .file = -1
	};
	struct zs_config config = zs_config_default();
	int ret;

	if (report->status == PROBE_NOT_USABLE)
		return;
	config.execution_model = ZS_MODEL_GREEN_THREADS;
	config.num_workers = 1;
	ret = open_lab(&lab);
	if (ret < 0) {
		fail(report, "", "files", ret, NULL);
	} else {
		ret = zs_run(&config, run_checks, &lab);
		if (ret < 0)
			fail(report, "", "runtime", ret, zs_explain(ret));
	}
	close_lab(&lab);
}
