/* SPDX-License-Identifier: MIT */
/*
 * The io_uring ABI in our own words: what userspace and the kernel share, so
 * that no header of the build machine decides what we can ask of the kernel.
 * Used by the probe, the ring and the preparation of entries; any thread.
 * test_probe.c compares it with <linux/io_uring.h> where that knows a name.
 *
 * Names without the kernel's prefix: IORING_OP_SEND is ZS_URING_OP_SEND,
 * IOSQE_ASYNC is ZS_URING_SQE_ASYNC, IORING_CQE_F_MORE is ZS_URING_CQE_MORE.
 * A release after a group says which kernel brought it.
 */
#ifndef ZS_ENGINE_ABI_H
#define ZS_ENGINE_ABI_H

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

/* One number on every architecture: they came after the tables were joined. */
#define ZS_URING_SYSCALL_SETUP 425
#define ZS_URING_SYSCALL_ENTER 426
#define ZS_URING_SYSCALL_REGISTER 427

/* Of struct statx, which not every libc declares (musl: since 1.2.5). */
#define ZS_STATX_SIZE 256
#define ZS_STATX_TYPE 0x1

struct zs_statx {
	uint8_t before[28];
	uint16_t mode;
	uint8_t after[ZS_STATX_SIZE - 30];
};
static_assert(sizeof(struct zs_statx) == ZS_STATX_SIZE, "nothing between");

/* --- submission and completion entries --- */

/* Userspace's until the submission queue's tail passes it, then the kernel's
 * until io_uring_enter() has consumed it. Unused fields must be zero. */
struct zs_sqe {
	uint8_t opcode;	 /* ZS_URING_OP_... */
	uint8_t flags;	 /* ZS_URING_SQE_... */
	uint16_t ioprio; /* also ZS_URING_RECVSEND_..., ZS_URING_ACCEPT_... */
	int32_t fd;
	union {
		uint64_t offset; /* UINT64_MAX: the file's own position */
		uint64_t addr2;
	};
	uint64_t addr;
	uint32_t length;
	/* rw_flags, msg_flags, open_flags, poll32_events, ...: by opcode */
	uint32_t op_flags;
	uint64_t user_data; /* comes back in the completion, untouched */
	union {
		uint16_t buf_index;
		uint16_t buf_group; /* with SQE_BUFFER_SELECT */
	};
	uint16_t personality;
	union {
		int32_t splice_fd_in;
		uint32_t file_index; /* slot + 1, or FILE_INDEX_ALLOC */
		uint16_t addr_len;   /* SEND, SEND_ZC with an address */
	};
	uint64_t addr3;
	uint64_t pad;
};
static_assert(sizeof(struct zs_sqe) == 64, "an SQE is 64 bytes");
static_assert(offsetof(struct zs_sqe, fd) == 4, "");
static_assert(offsetof(struct zs_sqe, offset) == 8, "");
static_assert(offsetof(struct zs_sqe, addr) == 16, "");
static_assert(offsetof(struct zs_sqe, length) == 24, "");
static_assert(offsetof(struct zs_sqe, op_flags) == 28, "");
static_assert(offsetof(struct zs_sqe, user_data) == 32, "");
static_assert(offsetof(struct zs_sqe, buf_index) == 40, "");
static_assert(offsetof(struct zs_sqe, personality) == 42, "");
static_assert(offsetof(struct zs_sqe, file_index) == 44, "");
static_assert(offsetof(struct zs_sqe, addr3) == 48, "");

struct zs_cqe {
	uint64_t user_data;
	int32_t result; /* 0, a count or a negative errno */
	uint32_t flags; /* ZS_URING_CQE_... */
};
static_assert(sizeof(struct zs_cqe) == 16, "a CQE is 16 bytes");
static_assert(offsetof(struct zs_cqe, result) == 8, "");
static_assert(offsetof(struct zs_cqe, flags) == 12, "");

#define ZS_URING_FILE_INDEX_ALLOC UINT32_MAX

/* zs_sqe.flags */
#define ZS_URING_SQE_FIXED_FILE (1u << 0)	/* 5.1 */
#define ZS_URING_SQE_IO_DRAIN (1u << 1)		/* 5.2 */
#define ZS_URING_SQE_IO_LINK (1u << 2)		/* 5.3 */
#define ZS_URING_SQE_IO_HARDLINK (1u << 3)	/* 5.5 */
#define ZS_URING_SQE_ASYNC (1u << 4)		/* 5.6 */
#define ZS_URING_SQE_BUFFER_SELECT (1u << 5)	/* 5.7 */
#define ZS_URING_SQE_CQE_SKIP_SUCCESS (1u << 6) /* 5.17 */

/* zs_cqe.flags */
#define ZS_URING_CQE_BUFFER (1u << 0) /* buffer id in the upper 16 bits */
#define ZS_URING_CQE_MORE (1u << 1)   /* not the last one of its SQE */
#define ZS_URING_CQE_SOCK_NONEMPTY (1u << 2)
#define ZS_URING_CQE_NOTIF (1u << 3) /* zero-copy send lets go of its memory */
#define ZS_URING_CQE_BUF_MORE (1u << 4)
#define ZS_URING_CQE_SKIP (1u << 5) /* a filler, with SETUP_CQE_MIXED */
#define ZS_URING_CQE_32 (1u << 15)  /* takes two slots, likewise */
#define ZS_URING_CQE_BUFFER_SHIFT 16

/* --- operations --- */

/* probe.c knows which release brought each. */
enum zs_uring_op {
	ZS_URING_OP_NOP = 0,
	ZS_URING_OP_READV = 1,
	ZS_URING_OP_WRITEV = 2,
	ZS_URING_OP_FSYNC = 3,
	ZS_URING_OP_READ_FIXED = 4,
	ZS_URING_OP_WRITE_FIXED = 5,
	ZS_URING_OP_POLL_ADD = 6,
	ZS_URING_OP_POLL_REMOVE = 7,
	ZS_URING_OP_SYNC_FILE_RANGE = 8,
	ZS_URING_OP_SENDMSG = 9,
	ZS_URING_OP_RECVMSG = 10,
	ZS_URING_OP_TIMEOUT = 11,
	ZS_URING_OP_TIMEOUT_REMOVE = 12,
	ZS_URING_OP_ACCEPT = 13,
	ZS_URING_OP_ASYNC_CANCEL = 14,
	ZS_URING_OP_LINK_TIMEOUT = 15,
	ZS_URING_OP_CONNECT = 16,
	ZS_URING_OP_FALLOCATE = 17,
	ZS_URING_OP_OPENAT = 18,
	ZS_URING_OP_CLOSE = 19,
	ZS_URING_OP_FILES_UPDATE = 20,
	ZS_URING_OP_STATX = 21,
	ZS_URING_OP_READ = 22,
	ZS_URING_OP_WRITE = 23,
	ZS_URING_OP_FADVISE = 24,
	ZS_URING_OP_MADVISE = 25,
	ZS_URING_OP_SEND = 26,
	ZS_URING_OP_RECV = 27,
	ZS_URING_OP_OPENAT2 = 28,
	ZS_URING_OP_EPOLL_CTL = 29,
	ZS_URING_OP_SPLICE = 30,
	ZS_URING_OP_PROVIDE_BUFFERS = 31,
	ZS_URING_OP_REMOVE_BUFFERS = 32,
	ZS_URING_OP_TEE = 33,
	ZS_URING_OP_SHUTDOWN = 34,
	ZS_URING_OP_RENAMEAT = 35,
	ZS_URING_OP_UNLINKAT = 36,
	ZS_URING_OP_MKDIRAT = 37,
	ZS_URING_OP_SYMLINKAT = 38,
	ZS_URING_OP_LINKAT = 39,
	ZS_URING_OP_MSG_RING = 40,
	ZS_URING_OP_FSETXATTR = 41,
	ZS_URING_OP_SETXATTR = 42,
	ZS_URING_OP_FGETXATTR = 43,
	ZS_URING_OP_GETXATTR = 44,
	ZS_URING_OP_SOCKET = 45,
	ZS_URING_OP_URING_CMD = 46,
	ZS_URING_OP_SEND_ZC = 47,
	ZS_URING_OP_SENDMSG_ZC = 48,
	ZS_URING_OP_READ_MULTISHOT = 49,
	ZS_URING_OP_WAITID = 50,
	ZS_URING_OP_FUTEX_WAIT = 51,
	ZS_URING_OP_FUTEX_WAKE = 52,
	ZS_URING_OP_FUTEX_WAITV = 53,
	ZS_URING_OP_FIXED_FD_INSTALL = 54,
	ZS_URING_OP_FTRUNCATE = 55,
	ZS_URING_OP_BIND = 56,
	ZS_URING_OP_LISTEN = 57,
	ZS_URING_OP_RECV_ZC = 58,
	ZS_URING_OP_EPOLL_WAIT = 59,
	ZS_URING_OP_READV_FIXED = 60,
	ZS_URING_OP_WRITEV_FIXED = 61,
	ZS_URING_OP_PIPE = 62,
	ZS_URING_OP_NOP128 = 63,
	ZS_URING_OP_URING_CMD128 = 64,
	ZS_URING_NR_OPS /* how many we know by name; a kernel may have more */
};

/* FSYNC, op_flags */
#define ZS_URING_FSYNC_DATASYNC (1u << 0)

/* fd of FUTEX_WAIT: the flags of futex_wait(2), 6.7. */
enum { ZS_FUTEX2_SIZE_U32 = 0x02, ZS_FUTEX2_PRIVATE = 0x80 };

/* TIMEOUT, op_flags */
#define ZS_URING_TIMEOUT_ABS (1u << 0)
#define ZS_URING_TIMEOUT_UPDATE (1u << 1)
#define ZS_URING_TIMEOUT_BOOTTIME (1u << 2)
#define ZS_URING_TIMEOUT_REALTIME (1u << 3)
#define ZS_URING_TIMEOUT_LINK_UPDATE (1u << 4)
#define ZS_URING_TIMEOUT_ETIME_SUCCESS (1u << 5)
#define ZS_URING_TIMEOUT_MULTISHOT (1u << 6) /* 6.4 */
#define ZS_URING_TIMEOUT_IMMEDIATE_ARG (1u << 7)

/* SPLICE and TEE, op_flags */
#define ZS_URING_SPLICE_FD_IN_FIXED (1u << 31)

/* POLL_ADD and POLL_REMOVE, length */
#define ZS_URING_POLL_ADD_MULTI (1u << 0)	 /* 5.13 */
#define ZS_URING_POLL_UPDATE_EVENTS (1u << 1)	 /* 5.13 */
#define ZS_URING_POLL_UPDATE_USER_DATA (1u << 2) /* 5.13 */
#define ZS_URING_POLL_ADD_LEVEL (1u << 3)	 /* 6.0 */

/* ASYNC_CANCEL, op_flags */
#define ZS_URING_CANCEL_ALL (1u << 0)	   /* 5.19 */
#define ZS_URING_CANCEL_FD (1u << 1)	   /* 5.19 */
#define ZS_URING_CANCEL_ANY (1u << 2)	   /* 5.19 */
#define ZS_URING_CANCEL_FD_FIXED (1u << 3) /* 6.0 */
#define ZS_URING_CANCEL_USERDATA (1u << 4) /* 6.6 */
#define ZS_URING_CANCEL_OP (1u << 5)	   /* 6.6 */

/* SEND, RECV and their kin, ioprio */
#define ZS_URING_RECVSEND_POLL_FIRST (1u << 0)	    /* 5.19 */
#define ZS_URING_RECVSEND_RECV_MULTISHOT (1u << 1)  /* 6.0 */
#define ZS_URING_RECVSEND_FIXED_BUF (1u << 2)	    /* 6.0 */
#define ZS_URING_RECVSEND_ZC_REPORT_USAGE (1u << 3) /* 6.2 */
#define ZS_URING_RECVSEND_BUNDLE (1u << 4)	    /* 6.10 */
#define ZS_URING_RECVSEND_VECTORIZED (1u << 5)

/* ACCEPT, ioprio */
#define ZS_URING_ACCEPT_MULTISHOT (1u << 0)  /* 5.19 */
#define ZS_URING_ACCEPT_DONTWAIT (1u << 1)   /* 6.10 */
#define ZS_URING_ACCEPT_POLL_FIRST (1u << 2) /* 6.10 */

/* MSG_RING: command in addr, op_flags */
#define ZS_URING_MSG_DATA 0
#define ZS_URING_MSG_SEND_FD 1
#define ZS_URING_MSG_RING_CQE_SKIP (1u << 0)
#define ZS_URING_MSG_RING_FLAGS_PASS (1u << 1)

/* --- setup --- */

/* zs_uring_params.flags; an unknown bit is -EINVAL. */
#define ZS_URING_SETUP_IOPOLL (1u << 0)
#define ZS_URING_SETUP_SQPOLL (1u << 1)
#define ZS_URING_SETUP_SQ_AFF (1u << 2)
#define ZS_URING_SETUP_CQSIZE (1u << 3)
#define ZS_URING_SETUP_CLAMP (1u << 4)
#define ZS_URING_SETUP_ATTACH_WQ (1u << 5)
#define ZS_URING_SETUP_R_DISABLED (1u << 6)
#define ZS_URING_SETUP_SUBMIT_ALL (1u << 7)
#define ZS_URING_SETUP_COOP_TASKRUN (1u << 8)
#define ZS_URING_SETUP_TASKRUN_FLAG (1u << 9) /* needs COOP or DEFER */
#define ZS_URING_SETUP_SQE128 (1u << 10)
#define ZS_URING_SETUP_CQE32 (1u << 11)
#define ZS_URING_SETUP_SINGLE_ISSUER (1u << 12)
#define ZS_URING_SETUP_DEFER_TASKRUN (1u << 13) /* needs SINGLE_ISSUER */
#define ZS_URING_SETUP_NO_MMAP (1u << 14)
#define ZS_URING_SETUP_REGISTERED_FD_ONLY (1u << 15) /* needs NO_MMAP */
#define ZS_URING_SETUP_NO_SQARRAY (1u << 16)
#define ZS_URING_SETUP_HYBRID_IOPOLL (1u << 17) /* needs IOPOLL */
#define ZS_URING_SETUP_CQE_MIXED (1u << 18)
#define ZS_URING_SETUP_SQE_MIXED (1u << 19)
#define ZS_URING_SETUP_SQ_REWIND (1u << 20)
#define ZS_URING_NR_SETUP_BITS 21

/* zs_uring_params.features, told by the kernel */
#define ZS_URING_FEAT_SINGLE_MMAP (1u << 0)
#define ZS_URING_FEAT_NODROP (1u << 1)
#define ZS_URING_FEAT_SUBMIT_STABLE (1u << 2)
#define ZS_URING_FEAT_RW_CUR_POS (1u << 3)
#define ZS_URING_FEAT_CUR_PERSONALITY (1u << 4)
#define ZS_URING_FEAT_FAST_POLL (1u << 5)
#define ZS_URING_FEAT_POLL_32BITS (1u << 6)
#define ZS_URING_FEAT_SQPOLL_NONFIXED (1u << 7)
#define ZS_URING_FEAT_EXT_ARG (1u << 8)
#define ZS_URING_FEAT_NATIVE_WORKERS (1u << 9)
#define ZS_URING_FEAT_RSRC_TAGS (1u << 10)
#define ZS_URING_FEAT_CQE_SKIP (1u << 11)
#define ZS_URING_FEAT_LINKED_FILE (1u << 12)
#define ZS_URING_FEAT_REG_REG_RING (1u << 13)
#define ZS_URING_FEAT_RECVSEND_BUNDLE (1u << 14)
#define ZS_URING_FEAT_MIN_TIMEOUT (1u << 15)
#define ZS_URING_FEAT_RW_ATTR (1u << 16)
#define ZS_URING_FEAT_NO_IOWAIT (1u << 17)
#define ZS_URING_NR_FEATURE_BITS 18

/* Byte offsets into the mapped ring; filled in by the kernel. */
struct zs_uring_sq_offsets {
	uint32_t head;
	uint32_t tail;
	uint32_t ring_mask;
	uint32_t ring_entries;
	uint32_t flags; /* ZS_URING_SQ_... */
	uint32_t dropped;
	uint32_t array; /* 0 and meaningless with SETUP_NO_SQARRAY */
	uint32_t resv;
	uint64_t user_addr; /* in, with SETUP_NO_MMAP */
};
static_assert(sizeof(struct zs_uring_sq_offsets) == 40, "");
static_assert(offsetof(struct zs_uring_sq_offsets, user_addr) == 32, "");

struct zs_uring_cq_offsets {
	uint32_t head;
	uint32_t tail;
	uint32_t ring_mask;
	uint32_t ring_entries;
	uint32_t overflow;
	uint32_t cqes;
	uint32_t flags; /* ZS_URING_CQ_... */
	uint32_t resv;
	uint64_t user_addr; /* in, with SETUP_NO_MMAP */
};
static_assert(sizeof(struct zs_uring_cq_offsets) == 40, "");
static_assert(offsetof(struct zs_uring_cq_offsets, user_addr) == 32, "");

struct zs_uring_params {
	uint32_t sq_entries; /* out */
	uint32_t cq_entries; /* in with SETUP_CQSIZE, out */
	uint32_t flags;	     /* in: ZS_URING_SETUP_... */
	uint32_t sq_thread_cpu;
	uint32_t sq_thread_idle_ms;
	uint32_t features; /* out: ZS_URING_FEAT_... */
	uint32_t wq_fd;
	uint32_t resv[3];
	struct zs_uring_sq_offsets sq_off;
	struct zs_uring_cq_offsets cq_off;
};
static_assert(sizeof(struct zs_uring_params) == 120, "");
static_assert(offsetof(struct zs_uring_params, flags) == 8, "");
static_assert(offsetof(struct zs_uring_params, features) == 20, "");
static_assert(offsetof(struct zs_uring_params, sq_off) == 40, "");
static_assert(offsetof(struct zs_uring_params, cq_off) == 80, "");

/* Ring fd, mmap offset. With FEAT_SINGLE_MMAP the first maps both queues. */
#define ZS_URING_OFFSET_SQ_RING 0ull
#define ZS_URING_OFFSET_CQ_RING 0x8000000ull
#define ZS_URING_OFFSET_SQES 0x10000000ull
#define ZS_URING_OFFSET_BUFFER_RING 0x80000000ull /* | group << 16 */
#define ZS_URING_OFFSET_BUFFER_RING_SHIFT 16

/* Word in the mapped ring at sq_off.flags; the kernel writes it. */
#define ZS_URING_SQ_NEED_WAKEUP (1u << 0)
#define ZS_URING_SQ_CQ_OVERFLOW (1u << 1)
#define ZS_URING_SQ_TASKRUN (1u << 2) /* with SETUP_TASKRUN_FLAG */

/* Word in the mapped ring at cq_off.flags; userspace writes it. */
#define ZS_URING_CQ_EVENTFD_DISABLED (1u << 0)

/* --- io_uring_enter() --- */

#define ZS_URING_ENTER_GETEVENTS (1u << 0)
#define ZS_URING_ENTER_SQ_WAKEUP (1u << 1)
#define ZS_URING_ENTER_SQ_WAIT (1u << 2)	 /* 5.10 */
#define ZS_URING_ENTER_EXT_ARG (1u << 3)	 /* 5.11 */
#define ZS_URING_ENTER_REGISTERED_RING (1u << 4) /* 5.18 */
#define ZS_URING_ENTER_ABS_TIMER (1u << 5)	 /* 6.12 */
#define ZS_URING_ENTER_EXT_ARG_REG (1u << 6)	 /* 6.13 */
#define ZS_URING_ENTER_NO_IOWAIT (1u << 7)	 /* 6.15 */

/* 64-bit on every architecture, whatever libc's timespec is. */
struct zs_uring_timespec {
	int64_t seconds;
	int64_t nanoseconds;
};
static_assert(sizeof(struct zs_uring_timespec) == 16, "");

/* What ENTER_EXT_ARG points to. */
struct zs_uring_getevents_arg {
	uint64_t sigmask; /* address, or 0 */
	uint32_t sigmask_size;
	uint32_t min_wait_us; /* 6.12; must be 0 before */
	uint64_t timespec;    /* address of a zs_uring_timespec, or 0 */
};
static_assert(sizeof(struct zs_uring_getevents_arg) == 24, "");
static_assert(offsetof(struct zs_uring_getevents_arg, timespec) == 16, "");

/* --- io_uring_register() --- */

enum zs_uring_register_op {
	ZS_URING_REGISTER_BUFFERS = 0,
	ZS_URING_UNREGISTER_BUFFERS = 1,
	ZS_URING_REGISTER_FILES = 2,
	ZS_URING_UNREGISTER_FILES = 3,
	ZS_URING_REGISTER_EVENTFD = 4,
	ZS_URING_UNREGISTER_EVENTFD = 5,
	ZS_URING_REGISTER_FILES_UPDATE = 6,
	ZS_URING_REGISTER_EVENTFD_ASYNC = 7,
	ZS_URING_REGISTER_PROBE = 8,
	ZS_URING_REGISTER_PERSONALITY = 9,
	ZS_URING_UNREGISTER_PERSONALITY = 10,
	ZS_URING_REGISTER_RESTRICTIONS = 11,
	ZS_URING_REGISTER_ENABLE_RINGS = 12,
	ZS_URING_REGISTER_FILES2 = 13,
	ZS_URING_REGISTER_FILES_UPDATE2 = 14,
	ZS_URING_REGISTER_BUFFERS2 = 15,
	ZS_URING_REGISTER_BUFFERS_UPDATE = 16,
	ZS_URING_REGISTER_IOWQ_AFF = 17,
	ZS_URING_UNREGISTER_IOWQ_AFF = 18,
	ZS_URING_REGISTER_IOWQ_MAX_WORKERS = 19,
	ZS_URING_REGISTER_RING_FDS = 20,
	ZS_URING_UNREGISTER_RING_FDS = 21,
	ZS_URING_REGISTER_PBUF_RING = 22,
	ZS_URING_UNREGISTER_PBUF_RING = 23,
	ZS_URING_REGISTER_SYNC_CANCEL = 24,
	ZS_URING_REGISTER_FILE_ALLOC_RANGE = 25,
	ZS_URING_REGISTER_PBUF_STATUS = 26,
	ZS_URING_REGISTER_NAPI = 27,
	ZS_URING_UNREGISTER_NAPI = 28,
	ZS_URING_REGISTER_CLOCK = 29,
	ZS_URING_REGISTER_CLONE_BUFFERS = 30,
	ZS_URING_REGISTER_SEND_MSG_RING = 31,
	ZS_URING_REGISTER_ZCRX_IFQ = 32,
	ZS_URING_REGISTER_RESIZE_RINGS = 33,
	ZS_URING_REGISTER_MEM_REGION = 34,
	ZS_URING_REGISTER_QUERY = 35,
	ZS_URING_REGISTER_ZCRX_CTRL = 36,
	ZS_URING_REGISTER_BPF_FILTER = 37,
	ZS_URING_NR_REGISTER_OPS /* how many we know by name */
};
/* Ored to the opcode: fd is an index from REGISTER_RING_FDS. 6.3 */
#define ZS_URING_REGISTER_USE_REGISTERED_RING (1u << 31)

/* REGISTER_PROBE. The kernel wants it zeroed and fills the first ops_len. */
struct zs_uring_probe_op {
	uint8_t op;
	uint8_t resv;
	uint16_t flags; /* ZS_URING_OP_SUPPORTED */
	uint32_t resv2;
};
static_assert(sizeof(struct zs_uring_probe_op) == 8, "");

struct zs_uring_probe {
	uint8_t last_op;
	uint8_t ops_len;
	uint16_t resv;
	uint32_t resv2[3];
	struct zs_uring_probe_op ops[256];
};
static_assert(offsetof(struct zs_uring_probe, ops) == 16, "");

#define ZS_URING_OP_SUPPORTED (1u << 0)

/* REGISTER_RING_FDS and UNREGISTER_RING_FDS, FILES_UPDATE. For a ring: offset
 * UINT32_MAX takes any free slot of the task's 16 and is overwritten with it;
 * data is the ring's fd. */
struct zs_uring_rsrc_update {
	uint32_t offset;
	uint32_t resv;
	uint64_t data;
};
static_assert(sizeof(struct zs_uring_rsrc_update) == 16, "");

/* UNREGISTER_PBUF_RING too, which needs the group only. The kernel takes
 * buffers from the ring at @ring_addr (whole pages, @ring_entries a power of
 * two) for operations with SQE_BUFFER_SELECT of that group. 5.19 */
struct zs_uring_buffer_ring {
	uint64_t ring_addr;
	uint32_t ring_entries;
	uint16_t group;
	uint16_t flags; /* ZS_URING_BUFFER_RING_... */
	uint64_t resv[3];
};
static_assert(sizeof(struct zs_uring_buffer_ring) == 40, "");
static_assert(offsetof(struct zs_uring_buffer_ring, flags) == 14, "");

#define ZS_URING_BUFFER_RING_MMAP (1u << 0) /* 6.4 */
#define ZS_URING_BUFFER_RING_INC (1u << 1)  /* 6.12 */

/* An entry of that ring. The tail, which userspace moves with a release, is
 * the @resv of the first. */
struct zs_uring_buffer {
	uint64_t addr;
	uint32_t length;
	uint16_t id;
	uint16_t resv;
};
static_assert(sizeof(struct zs_uring_buffer) == 16, "");
static_assert(offsetof(struct zs_uring_buffer, resv) == 14, "");

/* --- the system calls --- */

/* Any thread. Negative errno; errno itself stays as it was, since a task that
 * never asked must not see it change. */
static inline int zs_uring_result(long ret, int saved_errno)
{
	if (ret >= 0)
		return (int)ret;
	ret = -errno;
	errno = saved_errno;
	return (int)ret;
}

/* The ring's fd (close-on-exec), or a negative errno. */
static inline int zs_uring_setup(uint32_t entries,
				 struct zs_uring_params *params)
{
	int saved = errno;

	return zs_uring_result(syscall(ZS_URING_SYSCALL_SETUP, entries, params),
			       saved);
}

/* How many SQEs were consumed, or a negative errno. @fd is an index with
 * ENTER_REGISTERED_RING. @arg is a signal set, or with ENTER_EXT_ARG a
 * zs_uring_getevents_arg, of @size bytes. */
static inline int zs_uring_enter(int fd, uint32_t to_submit,
				 uint32_t min_complete, uint32_t flags,
				 const void *arg, size_t size)
{
	int saved = errno;

	return zs_uring_result(syscall(ZS_URING_SYSCALL_ENTER, fd, to_submit,
				       min_complete, flags, arg, size),
			       saved);
}

/* 0, a count or a negative errno, by @opcode. */
static inline int zs_uring_register(int fd, uint32_t opcode, void *arg,
				    uint32_t nr_args)
{
	int saved = errno;

	return zs_uring_result(syscall(ZS_URING_SYSCALL_REGISTER, fd, opcode,
				       arg, nr_args),
			       saved);
}

/* futex(2), which has other flags than the ring's operations. */
enum {
	ZS_FUTEX_CALL_WAIT = 0,
	ZS_FUTEX_CALL_WAKE = 1,
	ZS_FUTEX_CALL_WAIT_PRIVATE = 128,
	ZS_FUTEX_CALL_WAKE_PRIVATE = 129,
};

#endif
