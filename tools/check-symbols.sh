#!/bin/sh
# SPDX-License-Identifier: MIT
# The libraries define the names that the public headers declare, and no others,
# and nothing that would run before main().
# Called by `make check`: NM= CC= tools/check-symbols.sh libzsync.a libzsync.so
set -eu

status=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Prototypes and objects, by name: an inline function would need no symbol.
$CC -std=gnu11 -Iinclude -include zsync.h -E -x c /dev/null |
	awk '/^# [0-9]/ { ours = /include\/zsync/; next } ours' |
	grep -v '^typedef' | grep -oE '\bzs_[a-z0-9_]+ ?\(' | tr -d ' (' | sort -u >"$work/declared"

for library; do
	case $library in
	*.so) dynamic=-D ;;
	*) dynamic= ;;
	esac
	$NM -g $dynamic --defined-only "$library" |
		awk 'NF == 3 && $2 != "A" { sub("@.*", "", $3); print $3 }' |
		sort -u >"$work/defined"
	# The compiler's own start files give the .so what has these names.
	if [ -z "$dynamic" ] && readelf -SW "$library" |
	   grep -oE '\.(preinit_array|init_array|fini_array|ctors|dtors)\>' \
			>"$work/list"; then
		echo "$library has what runs before or after main():"
		sed 's/^/    /' "$work/list"
		status=1
	fi
	# What the notes of all probes of a program are relative to is one name.
	if grep -vE '^(zs_|_\.stapsdt\.base$)' "$work/defined" >"$work/list"; then
		echo "$library defines names without zs_:"
		sed 's/^/    /' "$work/list"
		status=1
	fi
	comm -13 "$work/declared" "$work/defined" | grep '^zs_' \
		>"$work/list" || true
	if [ -s "$work/list" ]; then
		echo "$library exports what no public header declares:"
		sed 's/^/    /' "$work/list"
		status=1
	fi
	comm -23 "$work/declared" "$work/defined" >"$work/list"
	if [ -s "$work/list" ]; then
		echo "$library lacks what the public headers declare" \
		     "(is it marked ZS_PUBLIC?):"
		sed 's/^/    /' "$work/list"
		status=1
	fi
done >&2
exit $status
