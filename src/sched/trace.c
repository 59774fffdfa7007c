/* SPDX-License-Identifier: MIT */
/*
 * Where a task is. Taken by a worker's thread in a signal handler and written
 * by another one, since names of files cannot be had in a handler. Called by
 * stall.c.
 */
#include "sched/trace.h"

#include <link.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/compiler.h"
#include "base/text.h"
#include "sched/task.h"

/* Words of a stack where there is no library that walks its frames. */
static void take_words(struct zs_trace *trace, uintptr_t pc, uintptr_t stack,
		       uintptr_t stack_top)
{
	size_t size = (ZS_TRACE_MAX - 1) * sizeof(trace->addresses[0]);
	struct iovec there = { .iov_base = (void *)stack, .iov_len = size };
	struct iovec here = { .iov_base = trace->addresses + 1,
			      .iov_len = size };
	ssize_t copied = 0;

	trace->is_exact = false;
	trace->addresses[0] = pc;
	/* The thread's own, whose end is not known. */
	if (stack_top == 0)
		stack_top = stack + size;
	if (stack_top - stack < size)
		there.iov_len = stack_top - stack;
	/* A system call, since what is not mapped (any more) does no harm. */
	if (stack < stack_top)
		copied = process_vm_readv(getpid(), &here, 1, &there, 1, 0);
	trace->number = 1;
	if (copied > 0)
		trace->number += (size_t)copied / sizeof(trace->addresses[0]);
}

#if __has_include(<execinfo.h>)
#include <execinfo.h>

enum { FRAMES_MAX = 48 };

void zs_trace_prepare(void)
{
	void *frame;

	/* The first call loads libgcc_s. */
	backtrace(&frame, 1);
}

/* ThreadSanitizer calls handlers later: then they come after a call of it. */
#ifdef ZS_TSAN
enum { IS_LATE = 1 };
#else
enum { IS_LATE = 0 };
#endif

/* Without the handler's own frames, which come before where the task was. */
static size_t find(void *const *frames, size_t number, uintptr_t pc)
{
	size_t i;

	for (i = 0; i < number; i++)
		if ((uintptr_t)frames[i] == pc)
			return i;
	return IS_LATE ? 0 : number;
}

void zs_trace_take(struct zs_trace *trace, const void *context,
		   uintptr_t stack_base, uintptr_t stack_top)
{
	uintptr_t pc, stack;
	void *frames[FRAMES_MAX];
	size_t number = (size_t)backtrace(frames, FRAMES_MAX);
	size_t first, i;

	zs_task_interrupted_at(context, &pc, &stack);
	first = find(frames, number, pc);
	if (first == number) {
		if (stack < stack_base)
			stack = stack_top;
		take_words(trace, pc, stack, stack_top);
		return;
	}
	trace->is_exact = true;
	trace->number = number - first;
	for (i = first; i < number; i++)
		trace->addresses[i - first] = (uintptr_t)frames[i];
}
#else
void zs_trace_prepare(void)
{
}

void zs_trace_take(struct zs_trace *trace, const void *context,
		   uintptr_t stack_base, uintptr_t stack_top)
{
	uintptr_t pc, stack;

	zs_task_interrupted_at(context, &pc, &stack);
	if (stack < stack_base)
		stack = stack_top;
	take_words(trace, pc, stack, stack_top);
}
#endif

void zs_trace_look(struct zs_trace *trace, uintptr_t pc, uintptr_t stack,
		   uintptr_t stack_top)
{
	take_words(trace, pc, stack, stack_top);
}

/* --- writing --- */

/* In which file an address is. */
struct place {
	uintptr_t address;
	uintptr_t offset;
	bool is_code;
	unsigned int objects; /* looked at so far */
	char file[256];	      /* "": in none */
};

/* The first object is the program, whose name it does not have; else only the
 * kernel's has none. */
static void name_file(struct place *place, const char *name)
{
	ssize_t length;

	if (place->objects > 1) {
		strncpy(place->file, name && name[0] ? name : "[vdso]",
			sizeof(place->file) - 1);
		return;
	}
	length = readlink("/proc/self/exe", place->file,
			  sizeof(place->file) - 1);
	if (length <= 0)
		strcpy(place->file, "[program]");
}

static int compare_object(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct place *place = arg;
	int i;

	(void)size;
	place->objects++;
	for (i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *part = &info->dlpi_phdr[i];
		uintptr_t begin = info->dlpi_addr + part->p_vaddr;

		if (part->p_type != PT_LOAD || place->address < begin ||
		    place->address - begin >= part->p_memsz)
			continue;
		place->offset = place->address - info->dlpi_addr;
		place->is_code = part->p_flags & PF_X;
		name_file(place, info->dlpi_name);
		return 1;
	}
	return 0;
}

static void write_place(const struct place *place, size_t number, int fd)
{
	struct zs_text text;

	zs_text_init(&text);
	zs_text_add(&text, "  #");
	zs_text_add_number(&text, (int64_t)number);
	zs_text_add(&text, " ");
	if (place->file[0]) {
		zs_text_add(&text, place->file);
		zs_text_add(&text, "+");
		zs_text_add_hex(&text, place->offset);
		zs_text_add(&text, " ");
	}
	zs_text_add(&text, "(");
	zs_text_add_hex(&text, place->address);
	zs_text_add(&text, ")\n");
	zs_text_write(&text, fd);
}

void zs_trace_write(const struct zs_trace *trace, int fd)
{
	size_t i, written = 0;

	for (i = 0; i < trace->number; i++) {
		struct place place = { .address = trace->addresses[i] };

		if (i > 0)
			place.address--;
		dl_iterate_phdr(compare_object, &place);
		if (i == 0 || trace->is_exact || place.is_code)
			write_place(&place, written++, fd);
	}
}
