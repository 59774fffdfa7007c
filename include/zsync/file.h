/* SPDX-License-Identifier: MIT */
/*
 * Files, pipes and everything else that has a descriptor. All calls are for
 * tasks; they take and return what the system call of the same name does (errno
 * negated). Lengths above INT_MAX and NULL buffers of a length above 0 are
 * -EINVAL. Cancelling a read or write of a regular file is best effort: the
 * call returns when the kernel has let go of the buffer.
 */
#ifndef ZSYNC_FILE_H
#define ZSYNC_FILE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct statx;

/* Close-on-exec is added to @flags. A file that was opened although the call
 * was cancelled is returned. */
int zs_openat(int dirfd, const char *path, int flags, mode_t mode);

/* Never cancelled, and works in a cancelled scope. As with close(2), the
 * number is free afterwards whatever the result. Calls that other tasks have
 * waiting on @fd are not ended by it: cancel them, or zs_shutdown() first. */
int zs_close(int fd);

/* At the file's own position. When a regular file takes only a part of a write
 * (a full disk, RLIMIT_FSIZE) the ring does not move the position (6.18): where
 * that matters, use zs_pwrite(). */
ssize_t zs_read(int fd, void *buffer, size_t length);
ssize_t zs_write(int fd, const void *buffer, size_t length);

/* At @offset, which must not be negative (-EINVAL). Pipes ignore it. */
ssize_t zs_pread(int fd, void *buffer, size_t length, int64_t offset);
ssize_t zs_pwrite(int fd, const void *buffer, size_t length, int64_t offset);

int zs_fsync(int fd);
int zs_fdatasync(int fd);
int zs_statx(int dirfd, const char *path, int flags, unsigned int mask,
	     struct statx *buffer);

#ifdef __cplusplus
}
#endif
#endif
