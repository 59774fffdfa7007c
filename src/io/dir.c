/* SPDX-License-Identifier: MIT */
/* Reading folders, a buffer of entries at a time. Called by tasks. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/compiler.h"
#include "base/explain.h"
#include "engine/op.h"
#include "io/await.h"
#include "zsync/file.h"

/* An entry as the kernel writes it; the name follows and ends with a null.
 * Entries are as long as they say, and begin anywhere in the buffer. */
struct raw_entry {
	uint64_t inode;
	int64_t next_position;
	uint16_t length;
	uint8_t type;
};
enum { NAME_OFFSET = 19 };
static_assert(offsetof(struct raw_entry, type) + 1 == NAME_OFFSET, "");

/* What a longest name takes. */
enum { LEAST_SIZE = 512 };

ZS_PUBLIC int zs_dir_open(struct zs_dir *dir, int dirfd, const char *path,
			  void *buffer, size_t size)
{
	int fd;

	if (!dir || !buffer || size < LEAST_SIZE || size > INT_MAX)
		return zs_explain_none(-EINVAL);
	fd = zs_openat(dirfd, path, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return fd;
	*dir = (struct zs_dir){
		.fd = fd,
		.buffer = buffer,
		.size = (uint32_t)size,
	};
	return 0;
}

static int fill(struct zs_dir *dir)
{
	struct zs_op op = {
		.code = ZS_OP_GETDENTS,
		.fd = dir->fd,
		.address = (uint64_t)(uintptr_t)dir->buffer,
		.length = dir->size,
	};
	int ret = zs_await(&op);

	dir->begin = 0;
	dir->end = ret > 0 ? (uint32_t)ret : 0;
	return ret;
}

static bool is_dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* Takes the next entry of the buffer, which is not empty. */
static void take(struct zs_dir *dir, struct zs_dir_entry *entry)
{
	const char *start = dir->buffer + dir->begin;
	struct raw_entry raw;

	memcpy(&raw, start, NAME_OFFSET);
	dir->begin += raw.length;
	entry->inode = raw.inode;
	entry->type = raw.type;
	entry->name = start + NAME_OFFSET;
}

ZS_PUBLIC int zs_dir_next(struct zs_dir *dir, struct zs_dir_entry *entry)
{
	int ret;

	if (!dir || !entry)
		return zs_explain_none(-EINVAL);
	do {
		if (dir->begin == dir->end) {
			ret = fill(dir);
			if (ret <= 0)
				return ret;
		}
		take(dir, entry);
	} while (is_dots(entry->name));
	return 1;
}

ZS_PUBLIC int zs_dir_close(struct zs_dir *dir)
{
	int fd;

	if (!dir)
		return zs_explain_none(-EINVAL);
	fd = dir->fd;
	dir->fd = -1;
	return zs_close(fd);
}
