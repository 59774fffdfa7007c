/* SPDX-License-Identifier: MIT */
/*
 * Our definitions of the io_uring ABI beside the system's header, as far as
 * that knows them; without that header only the raw calls are tested.
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#if defined(__has_include)
#if __has_include(<linux/io_uring.h>)
#include <linux/io_uring.h>
#define HAS_HEADER 1
#endif
#endif

#include "engine/abi.h"

#ifdef HAS_HEADER
struct constant {
	const char *name;
	uint64_t ours, theirs;
};

#define OP(name)                                            \
	{                                                   \
#name, ZS_URING_OP_##name, IORING_OP_##name \
	}
#define SAME(name)                                    \
	{                                             \
#name, ZS_URING_##name, IORING_##name \
	}
#define PAIR(our_name, their_name)                           \
	{                                                    \
#their_name, ZS_URING_##our_name, their_name \
	}

/* Enumerators cannot be asked for with #ifdef; macros of the same release
 * vouch for them. What comes first is as old as what we run on. As many in a
 * row as fit. */
/* clang-format off */
static const struct constant constants[] = {
	OP(NOP), OP(READV), OP(WRITEV), OP(FSYNC), OP(READ_FIXED),
	OP(WRITE_FIXED), OP(POLL_ADD), OP(POLL_REMOVE), OP(SYNC_FILE_RANGE),
	OP(SENDMSG), OP(RECVMSG), OP(TIMEOUT), OP(TIMEOUT_REMOVE), OP(ACCEPT),
	OP(ASYNC_CANCEL), OP(LINK_TIMEOUT), OP(CONNECT), OP(FALLOCATE),
	OP(OPENAT), OP(CLOSE), OP(FILES_UPDATE), OP(STATX), OP(READ), OP(WRITE),
	OP(FADVISE), OP(MADVISE), OP(SEND), OP(RECV), OP(OPENAT2),
	OP(EPOLL_CTL), OP(SPLICE), OP(PROVIDE_BUFFERS), OP(REMOVE_BUFFERS),
	OP(TEE),
	SAME(SETUP_IOPOLL), SAME(SETUP_SQPOLL), SAME(SETUP_SQ_AFF),
	SAME(SETUP_CQSIZE), SAME(SETUP_CLAMP), SAME(SETUP_ATTACH_WQ),
	SAME(FEAT_SINGLE_MMAP), SAME(FEAT_NODROP), SAME(FEAT_SUBMIT_STABLE),
	SAME(FEAT_RW_CUR_POS), SAME(FEAT_CUR_PERSONALITY), SAME(FEAT_FAST_POLL),
	SAME(ENTER_GETEVENTS), SAME(ENTER_SQ_WAKEUP), SAME(SQ_NEED_WAKEUP),
	SAME(FSYNC_DATASYNC), SAME(TIMEOUT_ABS),
	SAME(REGISTER_BUFFERS), SAME(UNREGISTER_BUFFERS), SAME(REGISTER_FILES),
	SAME(UNREGISTER_FILES), SAME(REGISTER_EVENTFD),
	SAME(UNREGISTER_EVENTFD), SAME(REGISTER_FILES_UPDATE),
	SAME(REGISTER_EVENTFD_ASYNC), SAME(REGISTER_PROBE),
	SAME(REGISTER_PERSONALITY), SAME(UNREGISTER_PERSONALITY),
	PAIR(SQE_FIXED_FILE, IOSQE_FIXED_FILE),
	PAIR(SQE_IO_DRAIN, IOSQE_IO_DRAIN), PAIR(SQE_IO_LINK, IOSQE_IO_LINK),
	PAIR(SQE_IO_HARDLINK, IOSQE_IO_HARDLINK), PAIR(SQE_ASYNC, IOSQE_ASYNC),
	PAIR(SQE_BUFFER_SELECT, IOSQE_BUFFER_SELECT),
	PAIR(CQE_BUFFER, IORING_CQE_F_BUFFER),
	PAIR(CQE_BUFFER_SHIFT, IORING_CQE_BUFFER_SHIFT),
	PAIR(OFFSET_SQ_RING, IORING_OFF_SQ_RING),
	PAIR(OFFSET_CQ_RING, IORING_OFF_CQ_RING),
	PAIR(OFFSET_SQES, IORING_OFF_SQES),
	PAIR(OP_SUPPORTED, IO_URING_OP_SUPPORTED),
	PAIR(SPLICE_FD_IN_FIXED, SPLICE_F_FD_IN_FIXED),
#ifdef IORING_SETUP_R_DISABLED /* 5.10 */
	SAME(SETUP_R_DISABLED), SAME(FEAT_POLL_32BITS), SAME(SQ_CQ_OVERFLOW),
	SAME(CQ_EVENTFD_DISABLED), SAME(ENTER_SQ_WAIT),
	SAME(REGISTER_RESTRICTIONS), SAME(REGISTER_ENABLE_RINGS),
#endif
#ifdef IORING_FEAT_EXT_ARG /* 5.11 */
	OP(SHUTDOWN), OP(RENAMEAT), OP(UNLINKAT), SAME(FEAT_EXT_ARG),
	SAME(FEAT_SQPOLL_NONFIXED), SAME(ENTER_EXT_ARG), SAME(TIMEOUT_UPDATE),
#endif
#ifdef IORING_FEAT_CQE_SKIP /* 5.17 */
	OP(MKDIRAT), OP(SYMLINKAT), OP(LINKAT), SAME(FEAT_NATIVE_WORKERS),
	SAME(FEAT_RSRC_TAGS), SAME(FEAT_CQE_SKIP),
	PAIR(SQE_CQE_SKIP_SUCCESS, IOSQE_CQE_SKIP_SUCCESS),
	PAIR(CQE_MORE, IORING_CQE_F_MORE), SAME(POLL_ADD_MULTI),
	SAME(POLL_UPDATE_EVENTS), SAME(POLL_UPDATE_USER_DATA),
	SAME(TIMEOUT_BOOTTIME), SAME(TIMEOUT_REALTIME),
	SAME(TIMEOUT_ETIME_SUCCESS), SAME(REGISTER_FILES2),
	SAME(REGISTER_FILES_UPDATE2), SAME(REGISTER_BUFFERS2),
	SAME(REGISTER_BUFFERS_UPDATE), SAME(REGISTER_IOWQ_AFF),
	SAME(UNREGISTER_IOWQ_AFF), SAME(REGISTER_IOWQ_MAX_WORKERS),
	PAIR(TIMEOUT_LINK_UPDATE, IORING_LINK_TIMEOUT_UPDATE),
#endif
#ifdef IORING_SETUP_SUBMIT_ALL /* 5.18 */
	OP(MSG_RING), SAME(SETUP_SUBMIT_ALL), SAME(FEAT_LINKED_FILE),
	SAME(ENTER_REGISTERED_RING), SAME(REGISTER_RING_FDS),
	SAME(UNREGISTER_RING_FDS),
#endif
#ifdef IORING_SETUP_CQE32 /* 5.19 */
	OP(FSETXATTR), OP(SETXATTR), OP(FGETXATTR), OP(GETXATTR), OP(SOCKET),
	OP(URING_CMD), SAME(SETUP_COOP_TASKRUN), SAME(SETUP_TASKRUN_FLAG),
	SAME(SETUP_SQE128), SAME(SETUP_CQE32), SAME(SQ_TASKRUN),
	PAIR(CQE_SOCK_NONEMPTY, IORING_CQE_F_SOCK_NONEMPTY),
	PAIR(CANCEL_ALL, IORING_ASYNC_CANCEL_ALL),
	PAIR(CANCEL_FD, IORING_ASYNC_CANCEL_FD),
	PAIR(CANCEL_ANY, IORING_ASYNC_CANCEL_ANY), SAME(RECVSEND_POLL_FIRST),
	SAME(ACCEPT_MULTISHOT), SAME(FILE_INDEX_ALLOC),
	SAME(REGISTER_PBUF_RING), SAME(UNREGISTER_PBUF_RING),
#endif
#ifdef IORING_SETUP_SINGLE_ISSUER /* 6.0 */
	OP(SEND_ZC), SAME(SETUP_SINGLE_ISSUER), SAME(POLL_ADD_LEVEL),
	PAIR(CQE_NOTIF, IORING_CQE_F_NOTIF),
	PAIR(CANCEL_FD_FIXED, IORING_ASYNC_CANCEL_FD_FIXED),
	PAIR(RECVSEND_RECV_MULTISHOT, IORING_RECV_MULTISHOT),
	SAME(RECVSEND_FIXED_BUF), SAME(MSG_RING_CQE_SKIP), SAME(MSG_DATA),
	SAME(MSG_SEND_FD), SAME(REGISTER_SYNC_CANCEL),
	SAME(REGISTER_FILE_ALLOC_RANGE),
#endif
#ifdef IORING_SETUP_DEFER_TASKRUN /* 6.1 */
	OP(SENDMSG_ZC), SAME(SETUP_DEFER_TASKRUN),
#endif
#ifdef IORING_SEND_ZC_REPORT_USAGE /* 6.2 */
	PAIR(RECVSEND_ZC_REPORT_USAGE, IORING_SEND_ZC_REPORT_USAGE),
#endif
#ifdef IORING_SETUP_NO_SQARRAY /* 6.6 */
	SAME(SETUP_NO_MMAP), SAME(SETUP_REGISTERED_FD_ONLY),
	SAME(SETUP_NO_SQARRAY), SAME(FEAT_REG_REG_RING),
	SAME(TIMEOUT_MULTISHOT), SAME(MSG_RING_FLAGS_PASS),
	SAME(REGISTER_USE_REGISTERED_RING),
	PAIR(CANCEL_USERDATA, IORING_ASYNC_CANCEL_USERDATA),
	PAIR(CANCEL_OP, IORING_ASYNC_CANCEL_OP),
	PAIR(OFFSET_BUFFER_RING, IORING_OFF_PBUF_RING),
	PAIR(OFFSET_BUFFER_RING_SHIFT, IORING_OFF_PBUF_SHIFT),
#endif
#ifdef IORING_FEAT_RECVSEND_BUNDLE /* 6.10 */
	OP(READ_MULTISHOT), OP(WAITID), OP(FUTEX_WAIT), OP(FUTEX_WAKE),
	OP(FUTEX_WAITV), OP(FIXED_FD_INSTALL), OP(FTRUNCATE),
	SAME(FEAT_RECVSEND_BUNDLE), SAME(RECVSEND_BUNDLE),
	SAME(ACCEPT_DONTWAIT), SAME(ACCEPT_POLL_FIRST),
	SAME(REGISTER_PBUF_STATUS), SAME(REGISTER_NAPI), SAME(UNREGISTER_NAPI),
#endif
#ifdef IORING_FEAT_MIN_TIMEOUT /* 6.12 */
	OP(BIND), OP(LISTEN), SAME(FEAT_MIN_TIMEOUT), SAME(ENTER_ABS_TIMER),
	PAIR(CQE_BUF_MORE, IORING_CQE_F_BUF_MORE), SAME(REGISTER_CLOCK),
	SAME(REGISTER_CLONE_BUFFERS),
#endif
#ifdef IORING_FEAT_NO_IOWAIT /* 6.15 */
	OP(RECV_ZC), OP(EPOLL_WAIT), OP(READV_FIXED), OP(WRITEV_FIXED),
	SAME(FEAT_RW_ATTR), SAME(FEAT_NO_IOWAIT), SAME(ENTER_EXT_ARG_REG),
	SAME(ENTER_NO_IOWAIT), SAME(SETUP_HYBRID_IOPOLL),
	SAME(REGISTER_SEND_MSG_RING), SAME(REGISTER_ZCRX_IFQ),
	SAME(REGISTER_RESIZE_RINGS), SAME(REGISTER_MEM_REGION),
#endif
#ifdef IORING_SETUP_CQE_MIXED /* 6.18 */
	OP(PIPE), SAME(SETUP_CQE_MIXED), PAIR(CQE_SKIP, IORING_CQE_F_SKIP),
	PAIR(CQE_32, IORING_CQE_F_32), SAME(REGISTER_QUERY),
	PAIR(RECVSEND_VECTORIZED, IORING_SEND_VECTORIZED),
#endif
#ifdef IORING_SETUP_SQE_MIXED /* 6.19 */
	OP(NOP128), OP(URING_CMD128), SAME(SETUP_SQE_MIXED),
	SAME(REGISTER_ZCRX_CTRL),
#endif
#ifdef IORING_SETUP_SQ_REWIND /* 7.0 */
	SAME(SETUP_SQ_REWIND),
#endif
};
/* clang-format on */

START_TEST(constants_match_the_system_header)
{
	size_t i;

	for (i = 0; i < sizeof(constants) / sizeof(constants[0]); i++)
		ck_assert_msg(constants[i].ours == constants[i].theirs,
			      "%s: ours %#llx, theirs %#llx", constants[i].name,
			      (unsigned long long)constants[i].ours,
			      (unsigned long long)constants[i].theirs);
}
END_TEST

#define SAME_PLACE(type, field, their_type, their_field) \
	ck_assert_uint_eq(offsetof(struct type, field),  \
			  offsetof(struct their_type, their_field))

START_TEST(layouts_match_the_system_header)
{
	ck_assert_uint_eq(sizeof(struct zs_sqe), sizeof(struct io_uring_sqe));
	SAME_PLACE(zs_sqe, flags, io_uring_sqe, flags);
	SAME_PLACE(zs_sqe, ioprio, io_uring_sqe, ioprio);
	SAME_PLACE(zs_sqe, fd, io_uring_sqe, fd);
	SAME_PLACE(zs_sqe, offset, io_uring_sqe, off);
	SAME_PLACE(zs_sqe, addr2, io_uring_sqe, addr2);
	SAME_PLACE(zs_sqe, addr, io_uring_sqe, addr);
	SAME_PLACE(zs_sqe, length, io_uring_sqe, len);
	SAME_PLACE(zs_sqe, op_flags, io_uring_sqe, msg_flags);
	SAME_PLACE(zs_sqe, user_data, io_uring_sqe, user_data);
	SAME_PLACE(zs_sqe, buf_index, io_uring_sqe, buf_index);
	SAME_PLACE(zs_sqe, personality, io_uring_sqe, personality);
	SAME_PLACE(zs_sqe, splice_fd_in, io_uring_sqe, splice_fd_in);
	ck_assert_uint_eq(sizeof(struct zs_cqe), sizeof(struct io_uring_cqe));
	SAME_PLACE(zs_cqe, result, io_uring_cqe, res);
	SAME_PLACE(zs_cqe, flags, io_uring_cqe, flags);
	ck_assert_uint_eq(sizeof(struct zs_uring_params),
			  sizeof(struct io_uring_params));
	SAME_PLACE(zs_uring_params, features, io_uring_params, features);
	SAME_PLACE(zs_uring_params, wq_fd, io_uring_params, wq_fd);
	SAME_PLACE(zs_uring_params, sq_off, io_uring_params, sq_off);
	SAME_PLACE(zs_uring_params, cq_off, io_uring_params, cq_off);
	SAME_PLACE(zs_uring_sq_offsets, flags, io_sqring_offsets, flags);
	SAME_PLACE(zs_uring_sq_offsets, array, io_sqring_offsets, array);
	SAME_PLACE(zs_uring_cq_offsets, overflow, io_cqring_offsets, overflow);
	SAME_PLACE(zs_uring_cq_offsets, cqes, io_cqring_offsets, cqes);
	SAME_PLACE(zs_uring_cq_offsets, flags, io_cqring_offsets, flags);
#ifdef IORING_SETUP_CQE32 /* 5.19 */
	SAME_PLACE(zs_uring_buffer_ring, group, io_uring_buf_reg, bgid);
	SAME_PLACE(zs_uring_buffer, resv, io_uring_buf, resv);
#endif
	SAME_PLACE(zs_uring_probe, ops, io_uring_probe, ops);
	SAME_PLACE(zs_uring_probe_op, flags, io_uring_probe_op, flags);
}
END_TEST
#endif

/* Whatever the answer here, EBADF or ENOSYS: it is returned, not left. */
START_TEST(raw_calls_leave_errno_alone)
{
	errno = EXDEV;
	ck_assert_int_lt(zs_uring_enter(-1, 0, 0, 0, NULL, 0), 0);
	ck_assert_int_lt(zs_uring_register(-1, 0, NULL, 0), 0);
	ck_assert_int_lt(zs_uring_setup(0, NULL), 0);
	ck_assert_int_eq(errno, EXDEV);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("abi");
	TCase *tests = tcase_create("abi");
	SRunner *runner;
	int nr_failed;

#ifdef HAS_HEADER
	tcase_add_test(tests, constants_match_the_system_header);
	tcase_add_test(tests, layouts_match_the_system_header);
#else
	printf("SKIP test_abi: no <linux/io_uring.h> to compare with\n");
#endif
	tcase_add_test(tests, raw_calls_leave_errno_alone);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	nr_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return nr_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
