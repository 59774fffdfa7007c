/* SPDX-License-Identifier: MIT */
/*
 * Text without stdio. Called by the panic, the dump, the detectors and the
 * signal handlers, from any thread.
 */
#include "base/text.h"

#include <errno.h>
#include <unistd.h>

/* A unit applies to what is below the next one's size. */
struct unit {
	const char *name;
	uint64_t size;
};

static const struct unit durations[] = {
	{ " ns", 1 },
	{ " us", 1000 },
	{ " ms", 1000000 },
	{ " s", 1000000000 },
	{ " min", UINT64_C(60000000000) },
	{ " h", UINT64_C(3600000000000) },
	{ " d", UINT64_C(86400000000000) },
	{ NULL, 0 },
};

static const struct unit sizes[] = {
	{ " B", 1 },
	{ " KiB", UINT64_C(1) << 10 },
	{ " MiB", UINT64_C(1) << 20 },
	{ " GiB", UINT64_C(1) << 30 },
	{ " TiB", UINT64_C(1) << 40 },
	{ NULL, 0 },
};

static void add_byte(struct zs_text *text, char byte)
{
	if (text->length < sizeof(text->bytes))
		text->bytes[text->length++] = byte;
}

static void add_digits(struct zs_text *text, uint64_t number, unsigned int base)
{
	char digits[20]; /* of UINT64_MAX in decimal */
	unsigned int length = 0;

	do {
		digits[length++] = "0123456789abcdef"[number % base];
		number /= base;
	} while (number);
	while (length)
		add_byte(text, digits[--length]);
}

/* Adds '-' if need be; the absolute value, which INT64_MIN has too here. */
static uint64_t add_sign(struct zs_text *text, int64_t number)
{
	if (number >= 0)
		return (uint64_t)number;
	add_byte(text, '-');
	return -(uint64_t)number;
}

/* In the largest unit that leaves a whole number, with a tenth (cut, not
 * rounded) where that is below 100. */
static void add_scaled(struct zs_text *text, uint64_t value,
		       const struct unit *unit)
{
	uint64_t whole, tenth;

	while (unit[1].name && value >= unit[1].size)
		unit++;
	whole = value / unit->size;
	tenth = value % unit->size * 10 / unit->size;
	add_digits(text, whole, 10);
	if (whole < 100 && tenth) {
		add_byte(text, '.');
		add_digits(text, tenth, 10);
	}
	zs_text_add(text, unit->name);
}

void zs_text_init(struct zs_text *text)
{
	text->length = 0;
}

void zs_text_add(struct zs_text *text, const char *string)
{
	for (; *string; string++)
		add_byte(text, *string);
}

void zs_text_add_number(struct zs_text *text, int64_t number)
{
	add_digits(text, add_sign(text, number), 10);
}

void zs_text_add_hex(struct zs_text *text, uint64_t number)
{
	zs_text_add(text, "0x");
	add_digits(text, number, 16);
}

void zs_text_add_duration(struct zs_text *text, int64_t duration_ns)
{
	add_scaled(text, add_sign(text, duration_ns), durations);
}

void zs_text_add_size(struct zs_text *text, uint64_t bytes)
{
	add_scaled(text, bytes, sizes);
}

int zs_text_write(struct zs_text *text, int fd)
{
	int saved_errno = errno;
	size_t written = 0;
	int ret = 0;

	while (written < text->length) {
		ssize_t count = write(fd, text->bytes + written,
				      text->length - written);

		if (count >= 0) {
			written += (size_t)count;
		} else if (errno != EINTR) {
			ret = -errno;
			break;
		}
	}
	text->length = 0;
	errno = saved_errno;
	return ret;
}
