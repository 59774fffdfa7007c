#!/bin/sh
# SPDX-License-Identifier: MIT
# Writes a line CALL(type, name) for each function of the public headers whose
# result is a number. Called by the Makefile: CC= tools/public-calls.sh
set -eu

$CC -std=gnu11 -Iinclude -include zsync.h -E -x c /dev/null |
	awk '/^# [0-9]/ { ours = /include\/zsync/; next } ours' | tr '\n' ' ' |
	sed 's/[;}]/&\n/g' |
	sed -nE 's/^ *(int|ssize_t) (zs_[a-z0-9_]+) *\(.*/CALL(\1, \2)/p'
