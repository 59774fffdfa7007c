/* SPDX-License-Identifier: MIT */
/*
 * Tests for base/probes.h: what perf and bpftrace find in this program, of
 * which it reads its own file: a note for each probe, whose place is a nop, and
 * whose arguments are as they read them.
 */
#include <check.h>
#include <elf.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime.h"

#define NR_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

/* This program, as its file is. */
static const char *file;
static const Elf64_Ehdr *header;
static const Elf64_Shdr *sections;

static void map_file(void)
{
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	struct stat status;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fstat(fd, &status), 0);
	file = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd,
		    0);
	close(fd);
	ck_assert_ptr_ne(file, MAP_FAILED);
	header = (const void *)file;
	sections = (const void *)(file + header->e_shoff);
}

static const Elf64_Shdr *find_section(const char *name)
{
	const char *names = file + sections[header->e_shstrndx].sh_offset;
	int i;

	for (i = 0; i < header->e_shnum; i++)
		if (strcmp(names + sections[i].sh_name, name) == 0)
			return &sections[i];
	ck_abort_msg("no section %s", name);
	return NULL;
}

/* What the file has at @address of a program at its own base. */
static const unsigned char *at_address(uint64_t address)
{
	int i;

	for (i = 0; i < header->e_shnum; i++) {
		const Elf64_Shdr *section = &sections[i];

		if (!(section->sh_flags & SHF_EXECINSTR) ||
		    address < section->sh_addr ||
		    address >= section->sh_addr + section->sh_size)
			continue;
		return (const void *)(file + section->sh_offset + address -
				      section->sh_addr);
	}
	ck_abort_msg("a probe at %#llx, where there is no code",
		     (unsigned long long)address);
	return NULL;
}

/* As many as a probe has, of what size each. */
static const struct probe {
	const char *name;
	const char *sizes; /* of its arguments */
} probes[] = {
	{ "spawn", "8 8 4" },	  { "start", "8 8 4" },
	{ "park", "8 8 4 8" },	  { "wake", "8 8 4" },
	{ "steal", "8 8 4 4" },	  { "submit", "8 -4 -4" },
	{ "complete", "8 1 -4" }, { "cancel", "8 -4 8" },
};

static uint32_t found[NR_ELEMENTS(probes)];

/* "8@112(%rdi) 8@%rdi 4@16(%rax)": "8 8 4". */
static void get_sizes(const char *arguments, char sizes[64])
{
	size_t length = 0;

	for (; *arguments && length < 60; arguments++) {
		const char *end = strchr(arguments, '@');

		ck_assert_ptr_nonnull(end);
		if (length > 0)
			sizes[length++] = ' ';
		while (arguments < end)
			sizes[length++] = *arguments++;
		/* Of aarch64's "[x0, 40]" too. */
		while (*arguments &&
		       !(*arguments == ' ' && arguments[-1] != ','))
			arguments++;
		if (!*arguments)
			break;
	}
	sizes[length] = '\0';
}

static void check_probe(const struct probe *probe, const char *arguments)
{
	char sizes[64];

	get_sizes(arguments, sizes);
	/* Of what is in no register. */
	if (strcmp(probe->name, "submit") == 0 && strcmp(sizes, "8 1 -4") == 0)
		return;
	if (strcmp(probe->name, "spawn") == 0 && strcmp(sizes, "8 8 -4") == 0)
		return;
	ck_assert_msg(strcmp(sizes, probe->sizes) == 0, "%s: %s", probe->name,
		      arguments);
}

static void check_place(uint64_t address)
{
	const unsigned char *code = at_address(address);
#if defined(__x86_64__)
	const unsigned char nop[] = { 0x90 };
#else
	const unsigned char nop[] = { 0x1f, 0x20, 0x03, 0xd5 };
#endif

	ck_assert_int_eq(memcmp(code, nop, sizeof(nop)), 0);
}

/* place, base, semaphore; then three strings. */
static void check_note(const char *description)
{
	const char *provider = description + 3 * sizeof(uint64_t);
	const char *name = provider + strlen(provider) + 1;
	const char *arguments = name + strlen(name) + 1;
	uint64_t numbers[3];
	size_t i;

	memcpy(numbers, description, sizeof(numbers));
	/* A libc that is linked in has probes, too. */
	if (strcmp(provider, "zsync") != 0)
		return;
	ck_assert_uint_eq(numbers[1], find_section(".stapsdt.base")->sh_addr);
	ck_assert_uint_eq(numbers[2], 0);
	for (i = 0; i < NR_ELEMENTS(probes) - 1; i++)
		if (strcmp(probes[i].name, name) == 0)
			break;
	ck_assert_str_eq(probes[i].name, name);
	found[i]++;
	check_probe(&probes[i], arguments);
	check_place(numbers[0]);
}

static size_t padded(size_t size)
{
	return (size + 3) & ~(size_t)3;
}

START_TEST(each_probe_has_notes_and_is_a_nop)
{
	const Elf64_Shdr *section;
	const char *at, *end;
	size_t i;

	map_file();
	section = find_section(".note.stapsdt");
	at = file + section->sh_offset;
	for (end = at + section->sh_size; at < end;) {
		const Elf64_Nhdr *note = (const void *)at;
		const char *owner = at + sizeof(*note);
		const char *description = owner + padded(note->n_namesz);

		ck_assert_str_eq(owner, "stapsdt");
		ck_assert_uint_eq(note->n_type, 3);
		check_note(description);
		at = description + padded(note->n_descsz);
	}
	for (i = 0; i < NR_ELEMENTS(probes); i++)
		ck_assert_msg(found[i] > 0, "no %s", probes[i].name);
}
END_TEST

/* Where zsync.7 says that it is. */
static int name_oneself(void *arg)
{
	(void)arg;
	ck_assert_int_eq(zs_task_set_name("probed"), 0);
	ck_assert_str_eq((const char *)(const void *)zs_self() + 16, "probed");
	return 0;
}

START_TEST(name_is_near_the_address_of_a_task)
{
	ck_assert_int_eq(run_task(name_oneself, NULL), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("probes");
	TCase *tcase = tcase_create("notes");

	tcase_add_test(tcase, each_probe_has_notes_and_is_a_nop);
	tcase_add_test(tcase, name_is_near_the_address_of_a_task);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
