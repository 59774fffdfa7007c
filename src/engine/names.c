/* SPDX-License-Identifier: MIT */
/*
 * The names of what a kernel's io_uring may have, and ZSYNC_DISABLE, which
 * hides things by these names. Called by the probe and by tools; any thread,
 * nothing is kept here.
 */
#include "engine/names.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/explain.h"
#include "engine/probe.h"

#define NR_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

#define RELEASE_PREFIX "linux-"

enum { FIRST_RELEASE = 5001 }; /* 5.1 brought io_uring */

/* --- names --- */

#define OP(op, since) [ZS_URING_OP_##op] = { #op, since, false }
#define NEEDED_OP(op, since) [ZS_URING_OP_##op] = { #op, since, true }
#define REGISTER(what, since) \
	[ZS_URING_REGISTER_##what] = { "REGISTER_" #what, since, false }
#define UNREGISTER(what, since) \
	[ZS_URING_UNREGISTER_##what] = { "UNREGISTER_" #what, since, false }

/* As many in a row as fit. */
/* clang-format off */
static const struct zs_kernel_name op_names[] = {
	NEEDED_OP(NOP, "5.1"), OP(READV, "5.1"), OP(WRITEV, "5.1"),
	OP(FSYNC, "5.1"), OP(READ_FIXED, "5.1"), OP(WRITE_FIXED, "5.1"),
	NEEDED_OP(POLL_ADD, "5.1"), OP(POLL_REMOVE, "5.1"),
	OP(SYNC_FILE_RANGE, "5.2"), NEEDED_OP(SENDMSG, "5.3"),
	NEEDED_OP(RECVMSG, "5.3"), OP(TIMEOUT, "5.4"),
	OP(TIMEOUT_REMOVE, "5.5"), NEEDED_OP(ACCEPT, "5.5"),
	NEEDED_OP(ASYNC_CANCEL, "5.5"), OP(LINK_TIMEOUT, "5.5"),
	NEEDED_OP(CONNECT, "5.5"), OP(FALLOCATE, "5.6"), OP(OPENAT, "5.6"),
	OP(CLOSE, "5.6"), OP(FILES_UPDATE, "5.6"), OP(STATX, "5.6"),
	NEEDED_OP(READ, "5.6"), NEEDED_OP(WRITE, "5.6"), OP(FADVISE, "5.6"),
	OP(MADVISE, "5.6"), NEEDED_OP(SEND, "5.6"), NEEDED_OP(RECV, "5.6"),
	OP(OPENAT2, "5.6"), OP(EPOLL_CTL, "5.6"), OP(SPLICE, "5.7"),
	OP(PROVIDE_BUFFERS, "5.7"), OP(REMOVE_BUFFERS, "5.7"), OP(TEE, "5.8"),
	OP(SHUTDOWN, "5.11"), OP(RENAMEAT, "5.11"), OP(UNLINKAT, "5.11"),
	OP(MKDIRAT, "5.15"), OP(SYMLINKAT, "5.15"), OP(LINKAT, "5.15"),
	OP(MSG_RING, "5.18"), OP(FSETXATTR, "5.19"), OP(SETXATTR, "5.19"),
	OP(FGETXATTR, "5.19"), OP(GETXATTR, "5.19"), OP(SOCKET, "5.19"),
	OP(URING_CMD, "5.19"), OP(SEND_ZC, "6.0"), OP(SENDMSG_ZC, "6.1"),
	OP(READ_MULTISHOT, "6.7"), OP(WAITID, "6.7"), OP(FUTEX_WAIT, "6.7"),
	OP(FUTEX_WAKE, "6.7"), OP(FUTEX_WAITV, "6.7"),
	OP(FIXED_FD_INSTALL, "6.8"), OP(FTRUNCATE, "6.9"), OP(BIND, "6.11"),
	OP(LISTEN, "6.11"), OP(RECV_ZC, "6.15"), OP(EPOLL_WAIT, "6.15"),
	OP(READV_FIXED, "6.15"), OP(WRITEV_FIXED, "6.15"), OP(PIPE, "6.16"),
	OP(NOP128, "6.19"), OP(URING_CMD128, "6.19"),
};
static_assert(NR_ELEMENTS(op_names) == ZS_URING_NR_OPS, "an op has no name");

static const struct zs_kernel_name setup_names[] = {
	{ "IOPOLL", "5.1", false }, { "SQPOLL", "5.1", false },
	{ "SQ_AFF", "5.1", false }, { "CQSIZE", "5.5", true },
	{ "CLAMP", "5.6", true }, { "ATTACH_WQ", "5.6", false },
	{ "R_DISABLED", "5.10", true }, { "SUBMIT_ALL", "5.18", false },
	{ "COOP_TASKRUN", "5.19", false }, { "TASKRUN_FLAG", "5.19", false },
	{ "SQE128", "5.19", false }, { "CQE32", "5.19", false },
	{ "SINGLE_ISSUER", "6.0", false }, { "DEFER_TASKRUN", "6.1", false },
	{ "NO_MMAP", "6.5", false }, { "REGISTERED_FD_ONLY", "6.5", false },
	{ "NO_SQARRAY", "6.6", false }, { "HYBRID_IOPOLL", "6.13", false },
	{ "CQE_MIXED", "6.18", false }, { "SQE_MIXED", "6.19", false },
	{ "SQ_REWIND", "7.0", false },
};
static_assert(NR_ELEMENTS(setup_names) == ZS_URING_NR_SETUP_BITS, "");

static const struct zs_kernel_name feature_names[] = {
	{ "SINGLE_MMAP", "5.4", false }, { "NODROP", "5.5", true },
	{ "SUBMIT_STABLE", "5.5", false }, { "RW_CUR_POS", "5.6", false },
	{ "CUR_PERSONALITY", "5.6", false }, { "FAST_POLL", "5.7", true },
	{ "POLL_32BITS", "5.9", false }, { "SQPOLL_NONFIXED", "5.11", false },
	{ "EXT_ARG", "5.11", true }, { "NATIVE_WORKERS", "5.12", false },
	{ "RSRC_TAGS", "5.13", false }, { "CQE_SKIP", "5.17", false },
	{ "LINKED_FILE", "5.17", false }, { "REG_REG_RING", "6.3", false },
	{ "RECVSEND_BUNDLE", "6.10", false }, { "MIN_TIMEOUT", "6.12", false },
	{ "RW_ATTR", "6.14", false }, { "NO_IOWAIT", "6.15", false },
};
static_assert(NR_ELEMENTS(feature_names) == ZS_URING_NR_FEATURE_BITS, "");

static const struct zs_kernel_name register_names[] = {
	REGISTER(BUFFERS, "5.1"), UNREGISTER(BUFFERS, "5.1"),
	REGISTER(FILES, "5.1"), UNREGISTER(FILES, "5.1"),
	REGISTER(EVENTFD, "5.2"), UNREGISTER(EVENTFD, "5.2"),
	REGISTER(FILES_UPDATE, "5.5"), REGISTER(EVENTFD_ASYNC, "5.6"),
	REGISTER(PROBE, "5.6"), REGISTER(PERSONALITY, "5.6"),
	UNREGISTER(PERSONALITY, "5.6"), REGISTER(RESTRICTIONS, "5.10"),
	REGISTER(ENABLE_RINGS, "5.10"), REGISTER(FILES2, "5.13"),
	REGISTER(FILES_UPDATE2, "5.13"), REGISTER(BUFFERS2, "5.13"),
	REGISTER(BUFFERS_UPDATE, "5.13"), REGISTER(IOWQ_AFF, "5.14"),
	UNREGISTER(IOWQ_AFF, "5.14"), REGISTER(IOWQ_MAX_WORKERS, "5.15"),
	REGISTER(RING_FDS, "5.18"), UNREGISTER(RING_FDS, "5.18"),
	REGISTER(PBUF_RING, "5.19"), UNREGISTER(PBUF_RING, "5.19"),
	REGISTER(SYNC_CANCEL, "6.0"), REGISTER(FILE_ALLOC_RANGE, "6.0"),
	REGISTER(PBUF_STATUS, "6.8"), REGISTER(NAPI, "6.9"),
	UNREGISTER(NAPI, "6.9"), REGISTER(CLOCK, "6.12"),
	REGISTER(CLONE_BUFFERS, "6.12"), REGISTER(SEND_MSG_RING, "6.13"),
	REGISTER(ZCRX_IFQ, "6.15"), REGISTER(RESIZE_RINGS, "6.13"),
	REGISTER(MEM_REGION, "6.13"), REGISTER(QUERY, "6.18"),
	REGISTER(ZCRX_CTRL, "6.19"), REGISTER(BPF_FILTER, "7.0"),
};
static_assert(NR_ELEMENTS(register_names) == ZS_URING_NR_REGISTER_OPS, "");

/* What can only be seen by using it. */
static const struct zs_kernel_name ability_names[] = {
	[ZS_ABILITY_ACCEPT_MULTISHOT] = { "ACCEPT_MULTISHOT", "5.19", false },
	[ZS_ABILITY_RECV_MULTISHOT] = { "RECV_MULTISHOT", "6.0", false },
	[ZS_ABILITY_POLL_MULTISHOT] = { "POLL_MULTISHOT", "5.13", false },
	[ZS_ABILITY_BUFFER_RING] = { "BUFFER_RING", "5.19", false },
	[ZS_ABILITY_BUFFER_RING_INC] = { "BUFFER_RING_INC", "6.12", false },
	[ZS_ABILITY_GUARD_INSTALL] = { "GUARD_INSTALL", "6.13", false },
};
static_assert(NR_ELEMENTS(ability_names) == ZS_NR_ABILITIES, "");
/* clang-format on */

/* --- words --- */

static bool name_is(const char *name, const char *word, size_t length)
{
	return strlen(name) == length && strncasecmp(name, word, length) == 0;
}

static int find_name(const struct zs_kernel_name *names, size_t nr_names,
		     const char *word, size_t length)
{
	size_t i;

	for (i = 0; i < nr_names; i++)
		if (name_is(names[i].name, word, length))
			return (int)i;
	return -ENOENT;
}

/* Sets the bit of the name in *bits, if it is one of @names. */
static bool mask_bit(uint64_t *bits, const struct zs_kernel_name *names,
		     size_t nr_names, const char *word, size_t length)
{
	int found = find_name(names, nr_names, word, length);

	if (found < 0)
		return false;
	*bits |= UINT64_C(1) << found;
	return true;
}

/* --- releases --- */

/* "5.15" as 5015. Sets *end to what follows, or returns -EINVAL for what does
 * not begin with two numbers like that. */
static int parse_release(const char *text, const char **end)
{
	int numbers[2];
	size_t length;
	int i;

	for (i = 0; i < 2; i++) {
		length = strspn(text, "0123456789");
		if (length < 1 || length > 3 || (i == 0 && text[length] != '.'))
			return -EINVAL;
		numbers[i] = atoi(text);
		text += length + (i == 0);
	}
	*end = text;
	return numbers[0] * 1000 + numbers[1];
}

/* The bits of what came after @release. */
static uint64_t later_than(int release, const struct zs_kernel_name *names,
			   size_t nr_names)
{
	uint64_t bits = 0;
	const char *end;
	size_t i;

	for (i = 0; i < nr_names; i++)
		if (parse_release(names[i].release, &end) > release)
			bits |= UINT64_C(1) << i;
	return bits;
}

static void mask_later(struct zs_kernel_mask *mask, int release)
{
	const char *end;
	size_t i;

	if (release < FIRST_RELEASE)
		mask->io_uring = true;
	for (i = 0; i < NR_ELEMENTS(op_names); i++)
		if (parse_release(op_names[i].release, &end) > release)
			mask->ops[i] = true;
	mask->setup_flags |=
		later_than(release, setup_names, NR_ELEMENTS(setup_names));
	mask->features |=
		later_than(release, feature_names, NR_ELEMENTS(feature_names));
	mask->register_ops |= later_than(release, register_names,
					 NR_ELEMENTS(register_names));
	mask->abilities |=
		later_than(release, ability_names, NR_ELEMENTS(ability_names));
}

/* Is it "linux-5.15", and well formed? */
static bool mask_release(struct zs_kernel_mask *mask, const char *word,
			 size_t length)
{
	const size_t prefix_length = strlen(RELEASE_PREFIX);
	const char *end;
	int release;

	if (length < prefix_length ||
	    !name_is(RELEASE_PREFIX, word, prefix_length))
		return false;
	release = parse_release(word + prefix_length, &end);
	if (release < 0 || end != word + length)
		return false;
	mask_later(mask, release);
	return true;
}

/* --- all of it --- */

static int mask_word(struct zs_kernel_mask *mask, const char *word,
		     size_t length)
{
	int found;

	if (name_is("io_uring", word, length)) {
		mask->io_uring = true;
		return 0;
	}
	found = find_name(op_names, NR_ELEMENTS(op_names), word, length);
	if (found >= 0) {
		mask->ops[found] = true;
		return 0;
	}
	if (mask_release(mask, word, length) ||
	    mask_bit(&mask->setup_flags, setup_names, NR_ELEMENTS(setup_names),
		     word, length) ||
	    mask_bit(&mask->features, feature_names, NR_ELEMENTS(feature_names),
		     word, length) ||
	    mask_bit(&mask->register_ops, register_names,
		     NR_ELEMENTS(register_names), word, length) ||
	    mask_bit(&mask->abilities, ability_names,
		     NR_ELEMENTS(ability_names), word, length))
		return 0;
	return zs_explain_as(
		-EINVAL,
		"ZSYNC_DISABLE: \"%.*s\" is no operation, setup flag or feature"
		" of io_uring; names are like send_zc,ext_arg (uring-probe"
		" lists them), linux-5.15 for all that came later, or io_uring",
		length < 40 ? (int)length : 40, word);
}

int zs_kernel_mask_from_env(struct zs_kernel_mask *mask)
{
	const char *word = getenv("ZSYNC_DISABLE");
	const char separators[] = ", \t\n";
	size_t length;
	int nr_words = 0;
	int ret;

	memset(mask, 0, sizeof(*mask));
	if (!word)
		return 0;
	for (;;) {
		word += strspn(word, separators);
		length = strcspn(word, separators);
		if (length == 0)
			return nr_words;
		ret = mask_word(mask, word, length);
		if (ret < 0)
			return ret;
		nr_words++;
		word += length;
	}
}

const struct zs_kernel_name *zs_kernel_op_name(unsigned int opcode)
{
	return opcode < NR_ELEMENTS(op_names) ? &op_names[opcode] : NULL;
}

const struct zs_kernel_name *zs_kernel_setup_name(unsigned int bit)
{
	return bit < NR_ELEMENTS(setup_names) ? &setup_names[bit] : NULL;
}

const struct zs_kernel_name *zs_kernel_feature_name(unsigned int bit)
{
	return bit < NR_ELEMENTS(feature_names) ? &feature_names[bit] : NULL;
}

const struct zs_kernel_name *zs_kernel_register_name(unsigned int opcode)
{
	return opcode < NR_ELEMENTS(register_names) ? &register_names[opcode] :
						      NULL;
}

const struct zs_kernel_name *zs_kernel_ability_name(unsigned int ability)
{
	return ability < NR_ELEMENTS(ability_names) ? &ability_names[ability] :
						      NULL;
}
