/* SPDX-License-Identifier: MIT */
/* Extended attributes of files. Called by tasks. The path variants follow
 * symbolic links, as the ring has no others. */
#include <errno.h>
#include <limits.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/explain.h"
#include "engine/op.h"
#include "io/await.h"
#include "zsync/file.h"

/* @first: a name, or a struct zs_xattr. */
static ssize_t await_xattr(enum zs_op_code code, int fd, const void *first,
			   const void *value, size_t size, int flags)
{
	struct zs_op op = {
		.code = (uint8_t)code,
		.fd = fd,
		.address = (uint64_t)(uintptr_t)first,
		.offset = (uint64_t)(uintptr_t)value,
		.length = (uint32_t)size,
		.flags = (uint32_t)flags,
	};

	if (!first || (!value && size > 0) || size > INT_MAX)
		return zs_explain_none(-EINVAL);
	return zs_await(&op);
}

static ssize_t await_path_xattr(enum zs_op_code code, const char *path,
				const char *name, const void *value,
				size_t size, int flags)
{
	struct zs_xattr xattr = { path, name };

	if (!path || !name)
		return zs_explain_none(-EINVAL);
	return await_xattr(code, -1, &xattr, value, size, flags);
}

ZS_PUBLIC int zs_fsetxattr(int fd, const char *name, const void *value,
			   size_t size, int flags)
{
	return (int)await_xattr(ZS_OP_FSETXATTR, fd, name, value, size, flags);
}

ZS_PUBLIC int zs_setxattr(const char *path, const char *name, const void *value,
			  size_t size, int flags)
{
	return (int)await_path_xattr(ZS_OP_SETXATTR, path, name, value, size,
				     flags);
}

ZS_PUBLIC ssize_t zs_fgetxattr(int fd, const char *name, void *value,
			       size_t size)
{
	return await_xattr(ZS_OP_FGETXATTR, fd, name, value, size, 0);
}

ZS_PUBLIC ssize_t zs_getxattr(const char *path, const char *name, void *value,
			      size_t size)
{
	return await_path_xattr(ZS_OP_GETXATTR, path, name, value, size, 0);
}
