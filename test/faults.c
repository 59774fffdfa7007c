/* SPDX-License-Identifier: MIT */
/* The wrappers of libc's functions, and what they keep: see faults.h. */
#include "faults.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "arguments.h"
#include "engine/abi.h"

enum {
	NR_ERRORS = 4,
	NR_THINGS = 4096,
	GUARD_INSTALL = 102, /* MADV_GUARD_INSTALL, Linux 6.13 */
};

static const struct {
	const char *name;
	/* What this call may fail with while its arguments are right: from then
	 * on, or once. */
	int errors[NR_ERRORS];
} points[NR_FAULT_POINTS] = {
	[FAULT_MALLOC] = { "malloc", { ENOMEM } },
	[FAULT_CALLOC] = { "calloc", { ENOMEM } },
	[FAULT_REALLOC] = { "realloc", { ENOMEM } },
	[FAULT_ALIGNED_ALLOC] = { "aligned_alloc", { ENOMEM } },
	[FAULT_MMAP] = { "mmap", { ENOMEM, EAGAIN, EPERM } },
	[FAULT_MPROTECT] = { "mprotect", { ENOMEM, EACCES } },
	[FAULT_MADVISE] = { "madvise", { ENOMEM, EAGAIN, EINVAL } },
	[FAULT_MREMAP] = { "mremap", { ENOMEM, EAGAIN } },
	[FAULT_URING_SETUP] = { "io_uring_setup",
				{ ENOMEM, EMFILE, EPERM, ENOSYS } },
	[FAULT_URING_ENTER] = { "io_uring_enter", { EAGAIN, EINTR, EBUSY } },
	[FAULT_URING_REGISTER] = { "io_uring_register",
				   { ENOMEM, EPERM, EBUSY } },
	[FAULT_EVENTFD] = { "eventfd", { EMFILE, ENFILE, ENOMEM } },
	[FAULT_PTHREAD_CREATE] = { "pthread_create", { EAGAIN, EPERM } },
	[FAULT_SIGALTSTACK] = { "sigaltstack", { EPERM, ENOMEM } },
	[FAULT_SIGACTION] = { "sigaction", { EPERM } },
	[FAULT_GET_AFFINITY] = { "sched_getaffinity", { EPERM, EINVAL } },
	[FAULT_SET_AFFINITY] = { "sched_setaffinity", { EPERM, EINVAL } },
	[FAULT_FOPEN] = { "fopen", { EMFILE, ENOENT, EACCES } },
	[FAULT_OPEN] = { "open", { EMFILE, ENOENT, EACCES } },
	[FAULT_READ] = { "read", { EINTR, EIO, EAGAIN } },
	[FAULT_CLOSE] = { "close", { EINTR, EIO } },
	[FAULT_NANOSLEEP] = { "nanosleep", { EINTR } },
};

/* Set while nothing of the library runs, read by all its threads. */
static struct {
	_Atomic bool is_watching;
	_Atomic int point; /* -1: none */
	int number;
	int error;
	bool for_good;
	_Atomic int seen; /* calls of that kind */
} fault = { .point = -1 };

/* Memory, maps and threads that were made and not unmade. */
struct thing {
	const void *address;
	enum fault_point made_by;
};
static struct thing things[NR_THINGS];
static int nr_things;
static pthread_mutex_t things_lock = PTHREAD_MUTEX_INITIALIZER;
static int nr_fds;

const char *fault_name(enum fault_point point)
{
	return points[point].name;
}

int fault_error(enum fault_point point, int index)
{
	return index < NR_ERRORS ? points[point].errors[index] : 0;
}

/* --- the fault --- */

void set_fault(enum fault_point point, int number, int error, bool for_good)
{
	fault.number = number;
	fault.error = error;
	fault.for_good = for_good;
	atomic_store(&fault.seen, 0);
	atomic_store(&fault.point, (int)point);
}

void mend(void)
{
	atomic_store(&fault.point, -1);
}

bool has_failed(void)
{
	return atomic_load(&fault.seen) > fault.number;
}

/* Is this the call? Then errno is set. */
static bool fails(enum fault_point point)
{
	int number;

	if (atomic_load(&fault.point) != (int)point)
		return false;
	number = atomic_fetch_add(&fault.seen, 1);
	if (number != fault.number &&
	    !(fault.for_good && number > fault.number))
		return false;
	errno = fault.error;
	return true;
}

/* --- what is made and unmade --- */

static void note_made(enum fault_point made_by, const void *address)
{
	if (!atomic_load(&fault.is_watching))
		return;
	pthread_mutex_lock(&things_lock);
	if (nr_things == NR_THINGS)
		abort();
	things[nr_things++] = (struct thing){ address, made_by };
	pthread_mutex_unlock(&things_lock);
}

/* What was made before the watch, or by libc, is not known. */
static void note_unmade(const void *address)
{
	int i;

	if (!atomic_load(&fault.is_watching))
		return;
	pthread_mutex_lock(&things_lock);
	for (i = nr_things - 1; i >= 0; i--)
		if (things[i].address == address)
			break;
	if (i >= 0)
		things[i] = things[--nr_things];
	pthread_mutex_unlock(&things_lock);
}

static int count_fds(void)
{
	DIR *folder = opendir("/proc/self/fd");
	int nr = 0;

	ck_assert_ptr_nonnull(folder);
	while (readdir(folder))
		nr++;
	closedir(folder);
	return nr;
}

void watch(void)
{
	nr_things = 0;
	nr_fds = count_fds();
	atomic_store(&fault.seen, 0);
	fault.number = 0;
	atomic_store(&fault.is_watching, true);
}

void end_watch(const char *during)
{
	int fds = count_fds();

	mend();
	atomic_store(&fault.is_watching, false);
	ck_assert_msg(nr_things == 0, "%s: %d leaked, one of them by %s",
		      during, nr_things, points[things[0].made_by].name);
	ck_assert_msg(fds == nr_fds, "%s: %d descriptors, %d before", during,
		      fds, nr_fds);
}

/* --- memory --- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t number, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void __real_free(void *memory);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t number, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
void __wrap_free(void *memory);

static void *note_memory(enum fault_point made_by, void *memory)
{
	if (memory)
		note_made(made_by, memory);
	return memory;
}

void *__wrap_malloc(size_t size)
{
	if (fails(FAULT_MALLOC))
		return NULL;
	return note_memory(FAULT_MALLOC, __real_malloc(size));
}

void *__wrap_calloc(size_t number, size_t size)
{
	if (fails(FAULT_CALLOC))
		return NULL;
	return note_memory(FAULT_CALLOC, __real_calloc(number, size));
}

void *__wrap_realloc(void *memory, size_t size)
{
	if (fails(FAULT_REALLOC))
		return NULL;
	note_unmade(memory);
	return note_memory(FAULT_REALLOC, __real_realloc(memory, size));
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
	if (fails(FAULT_ALIGNED_ALLOC))
		return NULL;
	return note_memory(FAULT_ALIGNED_ALLOC,
			   __real_aligned_alloc(alignment, size));
}

void __wrap_free(void *memory)
{
	note_unmade(memory);
	__real_free(memory);
}

/* --- maps --- */

void *__real_mmap(void *address, size_t size, int protection, int flags, int fd,
		  off_t offset);
int __real_munmap(void *address, size_t size);
int __real_mprotect(void *address, size_t size, int protection);
int __real_madvise(void *address, size_t size, int advice);
void *__real_mremap(void *address, size_t size, size_t new_size, int flags);
void *__wrap_mmap(void *address, size_t size, int protection, int flags, int fd,
		  off_t offset);
int __wrap_munmap(void *address, size_t size);
int __wrap_mprotect(void *address, size_t size, int protection);
int __wrap_madvise(void *address, size_t size, int advice);
void *__wrap_mremap(void *address, size_t size, size_t new_size, int flags);

void *__wrap_mmap(void *address, size_t size, int protection, int flags, int fd,
		  off_t offset)
{
	void *map;

	if (fails(FAULT_MMAP))
		return MAP_FAILED;
	map = __real_mmap(address, size, protection, flags, fd, offset);
	if (map != MAP_FAILED)
		note_made(FAULT_MMAP, map);
	return map;
}

/* It must not fail, for then there is nothing that could be done. */
int __wrap_munmap(void *address, size_t size)
{
	int ret;

	note_unmade(address);
	ret = __real_munmap(address, size);
	if (ret < 0)
		abort();
	return ret;
}

int __wrap_mprotect(void *address, size_t size, int protection)
{
	return fails(FAULT_MPROTECT) ?
		       -1 :
		       __real_mprotect(address, size, protection);
}

/* Where guards are to be had so, there are no others that could fail. */
int __wrap_madvise(void *address, size_t size, int advice)
{
	if (advice == GUARD_INSTALL &&
	    atomic_load(&fault.point) == FAULT_MPROTECT) {
		errno = EINVAL;
		return -1;
	}
	return fails(FAULT_MADVISE) ? -1 :
				      __real_madvise(address, size, advice);
}

/* Without a fixed new address, which nobody asks for. */
void *__wrap_mremap(void *address, size_t size, size_t new_size, int flags)
{
	void *map;

	if (fails(FAULT_MREMAP))
		return MAP_FAILED;
	map = __real_mremap(address, size, new_size, flags);
	if (map == MAP_FAILED)
		return map;
	note_unmade(address);
	note_made(FAULT_MREMAP, map);
	return map;
}

/* --- system calls by number --- */

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);

long __wrap_syscall(long number, ...)
{
	long args[NR_ARGUMENTS];
	va_list list;

	if ((number == ZS_URING_SYSCALL_SETUP && fails(FAULT_URING_SETUP)) ||
	    (number == ZS_URING_SYSCALL_ENTER && fails(FAULT_URING_ENTER)) ||
	    (number == ZS_URING_SYSCALL_REGISTER &&
	     fails(FAULT_URING_REGISTER)))
		return -1;
	va_start(list, number);
	take_arguments(args, list);
	va_end(list);
	return __real_syscall(number, args[0], args[1], args[2], args[3],
			      args[4], args[5]);
}

/* --- threads and signals --- */

typedef void *thread_fn(void *arg);

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
			  thread_fn *fn, void *arg);
int __real_pthread_join(pthread_t thread, void **result);
int __real_sigaltstack(const stack_t *stack, stack_t *old);
int __real_sigaction(int number, const struct sigaction *action,
		     struct sigaction *old);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
			  thread_fn *fn, void *arg);
int __wrap_pthread_join(pthread_t thread, void **result);
int __wrap_sigaltstack(const stack_t *stack, stack_t *old);
int __wrap_sigaction(int number, const struct sigaction *action,
		     struct sigaction *old);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
			  thread_fn *fn, void *arg)
{
	int saved_errno = errno;
	int ret;

	if (fails(FAULT_PTHREAD_CREATE)) {
		ret = errno;
		errno = saved_errno;
		return ret;
	}
	ret = __real_pthread_create(thread, attributes, fn, arg);
	if (ret == 0)
		note_made(FAULT_PTHREAD_CREATE, (void *)(uintptr_t)*thread);
	return ret;
}

int __wrap_pthread_join(pthread_t thread, void **result)
{
	note_unmade((void *)(uintptr_t)thread);
	return __real_pthread_join(thread, result);
}

int __wrap_sigaltstack(const stack_t *stack, stack_t *old)
{
	return fails(FAULT_SIGALTSTACK) ? -1 : __real_sigaltstack(stack, old);
}

int __wrap_sigaction(int number, const struct sigaction *action,
		     struct sigaction *old)
{
	return fails(FAULT_SIGACTION) ? -1 :
					__real_sigaction(number, action, old);
}

/* --- CPUs --- */

int __real_sched_getaffinity(pid_t pid, size_t size, cpu_set_t *mask);
int __real_sched_setaffinity(pid_t pid, size_t size, const cpu_set_t *mask);
int __wrap_sched_getaffinity(pid_t pid, size_t size, cpu_set_t *mask);
int __wrap_sched_setaffinity(pid_t pid, size_t size, const cpu_set_t *mask);

int __wrap_sched_getaffinity(pid_t pid, size_t size, cpu_set_t *mask)
{
	return fails(FAULT_GET_AFFINITY) ?
		       -1 :
		       __real_sched_getaffinity(pid, size, mask);
}

int __wrap_sched_setaffinity(pid_t pid, size_t size, const cpu_set_t *mask)
{
	return fails(FAULT_SET_AFFINITY) ?
		       -1 :
		       __real_sched_setaffinity(pid, size, mask);
}

/* --- descriptors and time --- */

int __real_eventfd(unsigned int count, int flags);
FILE *__real_fopen(const char *path, const char *mode);
int __real_open(const char *path, int flags, ...);
ssize_t __real_read(int fd, void *buffer, size_t size);
int __real_close(int fd);
int __real_nanosleep(const struct timespec *time, struct timespec *left);
int __wrap_eventfd(unsigned int count, int flags);
FILE *__wrap_fopen(const char *path, const char *mode);
int __wrap_open(const char *path, int flags, ...);
ssize_t __wrap_read(int fd, void *buffer, size_t size);
int __wrap_close(int fd);
int __wrap_nanosleep(const struct timespec *time, struct timespec *left);

int __wrap_eventfd(unsigned int count, int flags)
{
	return fails(FAULT_EVENTFD) ? -1 : __real_eventfd(count, flags);
}

FILE *__wrap_fopen(const char *path, const char *mode)
{
	return fails(FAULT_FOPEN) ? NULL : __real_fopen(path, mode);
}

int __wrap_open(const char *path, int flags, ...)
{
	mode_t mode = 0;
	va_list list;

	if (fails(FAULT_OPEN))
		return -1;
	va_start(list, flags);
	if (flags & O_CREAT)
		mode = (mode_t)va_arg(list, int);
	va_end(list);
	return __real_open(path, flags, mode);
}

ssize_t __wrap_read(int fd, void *buffer, size_t size)
{
	return fails(FAULT_READ) ? -1 : __real_read(fd, buffer, size);
}

int __wrap_close(int fd)
{
	bool must_fail = fails(FAULT_CLOSE);
	int error = errno;
	int ret = __real_close(fd);

	errno = must_fail ? error : errno;
	return must_fail ? -1 : ret;
}

int __wrap_nanosleep(const struct timespec *time, struct timespec *left)
{
	return fails(FAULT_NANOSLEEP) ? -1 : __real_nanosleep(time, left);
}
