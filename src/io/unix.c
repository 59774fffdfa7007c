/* SPDX-License-Identifier: MIT */
/*
 * Unix sockets: by their names; descriptors sent over them. Called by tasks.
 *
 * Descriptors that have come are numbers of this process at once: each is
 * handed to the caller or closed. A receive that was cancelled, but got that
 * far, has its result all the same (see await.h), so that none is lost.
 */
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/compiler.h"
#include "base/explain.h"
#include "io/net.h"
#include "io/transfer.h"
#include "zsync/file.h"
#include "zsync/net.h"
#include "zsync/task.h"

/* A descriptor for the sender's process (6.5), unknown to older headers. */
enum { CONTROL_PIDFD = 4 };

/* --- names --- */

struct unix_name {
	struct sockaddr_un address;
	socklen_t length;
};

static bool is_abstract(const struct unix_name *name)
{
	return name->address.sun_path[0] == '\0';
}

/* With its closing zero; of an abstract name every byte counts, and so none is
 * added. */
static int parse_name(struct unix_name *name, const char *path)
{
	const size_t most = sizeof(name->address.sun_path);
	size_t length = path ? strlen(path) : 0;

	if (length == 0) {
		zs_explain_none(-EINVAL);
		return -EINVAL;
	}
	memset(name, 0, sizeof(*name));
	name->address.sun_family = AF_UNIX;
	if (path[0] != '@')
		length++;
	if (length > most) {
		zs_explain_as(-ENAMETOOLONG,
			      "the name of a unix socket has at most %zu "
			      "bytes, with @ %zu",
			      most - 1, most);
		return -ENAMETOOLONG;
	}
	memcpy(name->address.sun_path, path, length);
	if (path[0] == '@')
		name->address.sun_path[0] = '\0';
	name->length =
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
	return 0;
}

/* Plainly, @fd being O_NONBLOCK: waits for nobody. */
static int connect_now(int fd, const struct unix_name *name)
{
	int ret = 0, saved = errno;

	if (connect(fd, (const void *)&name->address, name->length) < 0)
		ret = zs_explain_none(-errno);
	errno = saved;
	return ret;
}

static bool is_listened_on(const struct unix_name *name)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	bool is;

	if (fd < 0)
		return true;
	is = connect_now(fd, name) != -ECONNREFUSED;
	close(fd);
	return is;
}

/* True if there was a socket's file on which nobody listens. Plain calls: a
 * bind has just found the file, and a nonblocking connect waits for nobody. */
static bool remove_left_over(const struct unix_name *name)
{
	int saved = errno;
	struct stat status;
	bool removed;

	removed = !is_abstract(name) &&
		  lstat(name->address.sun_path, &status) == 0 &&
		  S_ISSOCK(status.st_mode) && !is_listened_on(name) &&
		  unlink(name->address.sun_path) == 0;
	errno = saved;
	return removed;
}

static int bind_name(int fd, const struct unix_name *name)
{
	const struct sockaddr *address = (const void *)&name->address;
	int ret = zs_bind(fd, address, name->length);

	if (ret == -EADDRINUSE && remove_left_over(name))
		ret = zs_bind(fd, address, name->length);
	return ret;
}

ZS_PUBLIC int zs_unix_listen(const char *path, int backlog)
{
	struct unix_name name;
	int fd, ret = parse_name(&name, path);

	if (!zs_self())
		return zs_explain_none(-EPERM);
	if (ret < 0)
		return ret;
	fd = zs_socket(AF_UNIX, SOCK_STREAM | zs_waiting_type(), 0);
	if (fd < 0)
		return fd;
	ret = bind_name(fd, &name);
	if (ret == 0)
		ret = zs_listen(fd, backlog);
	return zs_keep_or_close(fd, ret);
}

/*
 * A server whose queue is full is asked again and again, because nobody tells
 * when there is room: what the kernel would do is to keep a thread of its own
 * blocked, which a cancel does not always reach (6.18).
 */
static int connect_patiently(int fd, const struct unix_name *name)
{
	int64_t pause_ns = 0;
	int ret = connect_now(fd, name);

	while (ret == -EAGAIN) {
		pause_ns = zs_longer_pause(pause_ns);
		ret = zs_sleep(pause_ns);
		if (ret == 0)
			ret = connect_now(fd, name);
	}
	return ret;
}

ZS_PUBLIC int zs_unix_connect(const char *path)
{
	struct unix_name name;
	int fd, ret = parse_name(&name, path);

	if (!zs_self())
		return zs_explain_none(-EPERM);
	if (ret < 0)
		return ret;
	fd = zs_socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return fd;
	ret = connect_patiently(fd, &name);
	if (ret == 0)
		ret = zs_set_blocking(fd);
	return zs_keep_or_close(fd, ret);
}

/* --- descriptors --- */

/* Others drop the descriptors without a word. What is no socket is left to the
 * call. */
static bool takes_fds(int fd)
{
	socklen_t length = sizeof(int);
	int domain, saved = errno, ret;

	ret = getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length);
	errno = saved;
	return ret < 0 || domain == AF_UNIX;
}

ZS_PUBLIC ssize_t zs_send_fds(int fd, const void *buffer, size_t length,
			      int flags, const int *fds, size_t count)
{
	union {
		char bytes[CMSG_SPACE(ZS_SEND_FDS_MAX * sizeof(int))];
		struct cmsghdr header;
	} control;
	struct iovec part = { (void *)(uintptr_t)buffer, length };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };

	if (zs_transfer_is_bad(buffer, length) || (count > 0 && !fds) ||
	    (count > 0 && length == 0))
		return zs_explain_none(-EINVAL);
	if (count > ZS_SEND_FDS_MAX)
		return zs_explain_as(-EINVAL,
				     "a message takes %d descriptors, not %zu",
				     ZS_SEND_FDS_MAX, count);
	if (count > 0 && !takes_fds(fd))
		return zs_explain_as(-EOPNOTSUPP,
				     "fd %d is no unix socket: it takes no "
				     "descriptors",
				     fd);
	if (count > 0) {
		memset(&control, 0, CMSG_SPACE(count * sizeof(int)));
		control.header.cmsg_len = CMSG_LEN(count * sizeof(int));
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		memcpy(CMSG_DATA(&control.header), fds, count * sizeof(int));
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(count * sizeof(int));
	}
	return zs_sendmsg(fd, &message, flags);
}

/* What came with a message: in its control data, not aligned. */
struct parcel {
	const unsigned char *fds;
	size_t count;
};

static int fd_of_parcel(const unsigned char *fds, size_t i)
{
	int fd;

	memcpy(&fd, fds + i * sizeof(fd), sizeof(fd));
	return fd;
}

static void close_all(const unsigned char *fds, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++)
		zs_close(fd_of_parcel(fds, i));
}

/* Who asked for more in the control data, by an option of the socket, cannot
 * have it here. */
static struct parcel open_parcel(struct msghdr *message)
{
	struct parcel parcel = { NULL, 0 };
	struct cmsghdr *header;
	size_t count;

	for (header = CMSG_FIRSTHDR(message); header;
	     header = CMSG_NXTHDR(message, header)) {
		if (header->cmsg_level != SOL_SOCKET)
			continue;
		count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		if (header->cmsg_type == CONTROL_PIDFD)
			close_all(CMSG_DATA(header), count);
		if (header->cmsg_type != SCM_RIGHTS)
			continue;
		parcel.fds = CMSG_DATA(header);
		parcel.count = count;
	}
	return parcel;
}

/* 0, or why the message cannot be had whole. */
static int check_whole(const struct msghdr *message, size_t length,
		       size_t count, size_t room)
{
	if (message->msg_flags & MSG_CTRUNC) {
		zs_explain_as(-EMFILE,
			      "descriptors were sent, of which %zu found a "
			      "number: raise RLIMIT_NOFILE",
			      count);
		return -EMFILE;
	}
	if (count > room) {
		zs_explain_as(
			-EMSGSIZE,
			"%zu descriptors were sent, there is room for %zu",
			count, room);
		return -EMSGSIZE;
	}
	if (message->msg_flags & MSG_TRUNC) {
		zs_explain_as(-EMSGSIZE, "the message is longer than %zu bytes",
			      length);
		return -EMSGSIZE;
	}
	return 0;
}

ZS_PUBLIC ssize_t zs_recv_fds(int fd, void *buffer, size_t length, int flags,
			      int *fds, size_t *count)
{
	/* As many descriptors as can come, and what options may ask for. */
	union {
		char bytes[CMSG_SPACE(ZS_SEND_FDS_MAX * sizeof(int)) + 512];
		struct cmsghdr header;
	} control;
	struct iovec part = { buffer, length };
	struct msghdr message = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	struct parcel parcel;
	size_t room;
	ssize_t ret;
	int error;

	if (zs_transfer_is_bad(buffer, length) || length == 0 || !count ||
	    (!fds && *count > 0) || (flags & ~MSG_DONTWAIT))
		return zs_explain_none(-EINVAL);
	room = *count;
	*count = 0;
	ret = zs_recvmsg(fd, &message, flags | MSG_CMSG_CLOEXEC);
	if (ret < 0)
		return ret;
	parcel = open_parcel(&message);
	error = check_whole(&message, length, parcel.count, room);
	if (error < 0) {
		close_all(parcel.fds, parcel.count);
		return error;
	}
	if (parcel.count > 0)
		memcpy(fds, parcel.fds, parcel.count * sizeof(int));
	*count = parcel.count;
	return ret;
}
