/* SPDX-License-Identifier: MIT */
/* uring-probe, the program; apart from the rest, which tests link, too. */
#include "uring_probe.h"

int main(int argc, char **argv)
{
	return uring_probe(argc, argv);
}
