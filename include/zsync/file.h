/* SPDX-License-Identifier: MIT */
/*
 * Files, pipes and everything else that has a descriptor. All calls are for
 * tasks; they take and return what the system call of the same name does (errno
 * negated). Lengths above INT_MAX and NULL buffers of a length above 0 are
 * -EINVAL. Cancelling a read or write of a regular file is best effort: the
 * call returns when the kernel has let go of the buffer. A read whose file has
 * a server in userspace (FUSE) holds the whole worker until that answers in the
 * model blocking, and on a ring, since the kernel makes it as it is submitted.
 *
 * -EAGAIN, with a text that says so, is also that a call may have to wait for
 * ever (the opening of a FIFO, a splice) and can only do so on a thread, but
 * none can be made, or 4,096 do so in the model thread_pool.
 */
#ifndef ZSYNC_FILE_H
#define ZSYNC_FILE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

struct statx;

/* Close-on-exec is added to @flags. Cancelled, it returns at once, even where
 * the kernel goes on waiting (for a FIFO's peer, for a server that is gone); a
 * file that is opened all the same is closed. */
int zs_openat(int dirfd, const char *path, int flags, mode_t mode);

/*
 * Ends the calls that other tasks of the runtime, on any worker, have waiting
 * on @fd, be it as their dirfd: each returns -ECANCELED, or its result if it
 * got that far. Waits
 * until the kernel is done with all of them, which for transfers of files can
 * take as long as these do, and then closes: so the number is not used again
 * before.
 * Calls on @fd that begin meanwhile are -EBADF, another close among them.
 * Never cancelled, and works in a cancelled scope. As with close(2), the number
 * is free afterwards whatever the result.
 * Descriptors above 1,048,575, and above the hard limit of RLIMIT_NOFILE as the
 * runtime was made, are closed without that.
 */
int zs_close(int fd);

/* At the file's own position. When a regular file takes only a part of a write
 * (a full disk, RLIMIT_FSIZE) the ring does not move the position (6.18): where
 * that matters, use zs_pwrite(). */
ssize_t zs_read(int fd, void *buffer, size_t length);
ssize_t zs_write(int fd, const void *buffer, size_t length);

/* At @offset, which must not be negative (-EINVAL). Pipes ignore it. */
ssize_t zs_pread(int fd, void *buffer, size_t length, int64_t offset);
ssize_t zs_pwrite(int fd, const void *buffer, size_t length, int64_t offset);

/*
 * Goes on until all @length bytes are moved, over short transfers, and waits
 * where a nonblocking descriptor is not ready. The bytes moved: fewer than
 * @length only at the end of the file, or if an error or a cancel came after
 * some were moved (the next call reports it); or a negative errno if none were.
 * zs_write_full() also returns when a regular file has taken only a part: for
 * its position see zs_write(), and zs_pwrite_full() goes on.
 */
ssize_t zs_read_full(int fd, void *buffer, size_t length);
ssize_t zs_write_full(int fd, const void *buffer, size_t length);
ssize_t zs_pread_full(int fd, void *buffer, size_t length, int64_t offset);
ssize_t zs_pwrite_full(int fd, const void *buffer, size_t length,
		       int64_t offset);

/* With @count buffers, one after the other: 0 to 1,024 (-EINVAL), which must
 * stay, as must @parts, until the call returns. @flags are preadv2(2)'s:
 * RWF_NOWAIT, RWF_DSYNC, RWF_APPEND, ... as far as the kernel knows them (else
 * -EOPNOTSUPP), but not RWF_HIPRI (-EOPNOTSUPP). */
ssize_t zs_readv(int fd, const struct iovec *parts, int count);
ssize_t zs_writev(int fd, const struct iovec *parts, int count);
ssize_t zs_preadv(int fd, const struct iovec *parts, int count, int64_t offset,
		  int flags);
ssize_t zs_pwritev(int fd, const struct iovec *parts, int count, int64_t offset,
		   int flags);

/* As the system calls of the same name (zs_fadvise() as posix_fadvise(2)).
 * Negative offsets and lengths are -EINVAL, as is a @length of 0 to
 * zs_fallocate(). Cancelled, they return when the kernel is done. */
int zs_fallocate(int fd, int mode, int64_t offset, int64_t length);
int zs_ftruncate(int fd, int64_t length);
int zs_fadvise(int fd, int64_t offset, int64_t length, int advice);
int zs_sync_file_range(int fd, int64_t offset, int64_t length,
		       unsigned int flags);
int zs_madvise(void *address, size_t length, int advice);

int zs_fsync(int fd);
int zs_fdatasync(int fd);
/* Cancelled, it returns at once, and leaves *buffer alone. */
int zs_statx(int dirfd, const char *path, int flags, unsigned int mask,
	     struct statx *buffer);

/*
 * As the system calls of the same name (zs_renameat() as renameat2(2), with
 * RENAME_NOREPLACE and its like in @flags). Paths must not be NULL (-EINVAL).
 * Cancelled, they return at once, even where a file server is gone: it may
 * still happen, or have happened.
 */
int zs_renameat(int old_dirfd, const char *old_path, int new_dirfd,
		const char *new_path, unsigned int flags);
int zs_linkat(int old_dirfd, const char *old_path, int new_dirfd,
	      const char *new_path, int flags);
int zs_symlinkat(const char *target, int dirfd, const char *path);
int zs_mkdirat(int dirfd, const char *path, mode_t mode);
int zs_unlinkat(int dirfd, const char *path, int flags);

/*
 * Extended attributes, as the system calls of the same name; the ones by path
 * follow symbolic links. A @size of 0 asks how long the value is. NULL for a
 * path or a name, or for a value of a size above 0, is -EINVAL. Cancelled, they
 * return when the kernel is done.
 */
int zs_fsetxattr(int fd, const char *name, const void *value, size_t size,
		 int flags);
int zs_setxattr(const char *path, const char *name, const void *value,
		size_t size, int flags);
ssize_t zs_fgetxattr(int fd, const char *name, void *value, size_t size);
ssize_t zs_getxattr(const char *path, const char *name, void *value,
		    size_t size);

/* A folder that is read; private. Used by one task at a time. */
struct zs_dir {
	int fd;
	uint32_t begin;
	uint32_t end;
	uint32_t size;
	char *buffer;
};

struct zs_dir_entry {
	uint64_t inode;
	const char *name;   /* in the buffer, until the next call */
	unsigned char type; /* DT_REG, DT_DIR, ...; DT_UNKNOWN: ask statx */
};

/* Opens the folder @path to be read by way of @buffer, which stays the
 * caller's, has @size bytes (512 to INT_MAX, else -EINVAL) and must last until
 * the close. 0 or a negative errno; then there is nothing to close. */
int zs_dir_open(struct zs_dir *dir, int dirfd, const char *path, void *buffer,
		size_t size);
/* 1 and the next entry, in the file system's order, without "." and ".."; 0 at
 * the end; or a negative errno, after which it can be called again. Whether
 * names that come or go meanwhile are told is up to the file system. */
int zs_dir_next(struct zs_dir *dir, struct zs_dir_entry *entry);
int zs_dir_close(struct zs_dir *dir);

/* fds[0] is to be read, fds[1] to be written. Close-on-exec is added to
 * @flags, which are pipe2(2)'s. The caller closes both. */
int zs_pipe(int fds[2], int flags);

/*
 * Move up to @length bytes (0 to INT_MAX) from one descriptor to another,
 * or, with zs_tee(), copy them from pipe to pipe; as the system calls of the
 * same name: one end is a pipe, an offset that is not NULL is moved on, and
 * @flags other than theirs are -EINVAL. The bytes moved, 0 at the end of what
 * is read. A close of either descriptor ends them. On the ring each takes a
 * thread of the kernel while it lasts, so they pay for large pieces.
 * A socket without O_NONBLOCK waits until it has all, and meanwhile the kernel
 * lets nobody at the pipe: a task that reads or writes it holds its worker.
 * With O_NONBLOCK a full one is -EAGAIN, and zs_poll_fd() waits for it.
 */
ssize_t zs_splice(int fd_in, int64_t *offset_in, int fd_out,
		  int64_t *offset_out, size_t length, unsigned int flags);
ssize_t zs_tee(int fd_in, int fd_out, size_t length, unsigned int flags);

#ifdef __cplusplus
}
#endif
#endif
