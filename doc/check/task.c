/* SPDX-License-Identifier: MIT */
/*
 * What tools/check-docs.sh puts around a block marked "task": that defines
 * run(), which is the first task, and what run() needs.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zsync.h>

#include BLOCK

int main(void)
{
	int ret = zs_run(NULL, run, NULL);

	if (!(EXPECT))
		fprintf(stderr, "run() returned %d: %s\n", ret,
			zs_explain(ret));
	return !(EXPECT);
}
