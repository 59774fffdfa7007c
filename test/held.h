/* SPDX-License-Identifier: MIT */
/*
 * Memory that the kernel waits on: a page that is not there until the test says
 * so, by userfaultfd(2). A read into it from a file of /proc, which the ring
 * hands to a kernel thread, is held until then, cancelled or not: as one is
 * whose file server is gone.
 */
#ifndef ZS_TEST_HELD_H
#define ZS_TEST_HELD_H

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct held_page {
	char *page;
	size_t size;
	int fd;
};

/* False, and a line that says why, where it is not allowed. */
static inline bool hold_page(struct held_page *held, const char *test)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = { .mode = UFFDIO_REGISTER_MODE_MISSING };

	held->size = (size_t)sysconf(_SC_PAGESIZE);
	held->fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	if (held->fd < 0 || ioctl(held->fd, UFFDIO_API, &api) < 0) {
		printf("SKIP: %s: userfaultfd: %s\n", test, strerror(errno));
		return false;
	}
	held->page = mmap(NULL, held->size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(held->page, MAP_FAILED);
	range.range.start = (unsigned long)held->page;
	range.range.len = held->size;
	ck_assert_int_eq(ioctl(held->fd, UFFDIO_REGISTER, &range), 0);
	return true;
}

/* Waits until the kernel wants the page. */
static inline void await_fault(const struct held_page *held)
{
	struct uffd_msg message;

	ck_assert_int_eq(read(held->fd, &message, sizeof(message)),
			 sizeof(message));
	ck_assert_int_eq(message.event, UFFD_EVENT_PAGEFAULT);
}

static inline void let_go(const struct held_page *held)
{
	struct uffdio_zeropage zero = {
		.range = { (unsigned long)held->page, held->size },
	};

	ck_assert_int_eq(ioctl(held->fd, UFFDIO_ZEROPAGE, &zero), 0);
}

static inline void drop_page(struct held_page *held)
{
	munmap(held->page, held->size);
	close(held->fd);
}

#endif
