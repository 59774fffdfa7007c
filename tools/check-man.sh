#!/bin/sh
# SPDX-License-Identifier: MIT
# Every public function has a page, whose SYNOPSIS has the header's prototype;
# pages name what they describe, refer to pages that exist, and say each variable
# of the environment; mandoc and man have nothing to say of them. Called by
# `make check-docs`, and by `make lint`, to which a function without its page is a
# warning only: CC= tools/check-man.sh [--lenient]
set -eu

: "${CC:=cc}"
status=0 lenient=0
[ "${1:-}" != --lenient ] || lenient=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pages=$(echo doc/man/*.[0-9])

# What is stale, a line each.
stale()
{
	if [ "$lenient" = 1 ]; then
		sed 's/^/warning: /' >&2
	else
		cat >>"$work/complaints"
	fi
}

complain()
{
	echo "$*" >&2
	status=1
}

# Each prototype in a line, whose blanks say nothing any more.
even()
{
	sed 's/[[:space:]]\{1,\}/ /g; s/ *\([*(),;]\) */\1/g; s/^ //' | sort
}

# What a header declares outside of braces.
$CC -std=gnu11 -Iinclude -include zsync.h -E -x c /dev/null | awk '
/^# [0-9]/ { ours = /include\/zsync/; next }
!ours { next }
{
	for (i = 1; i <= length($0); i++) {
		char = substr($0, i, 1)
		if (char == "{")
			depth++
		else if (char == "}")
			depth--
		else if (!depth)
			text = text char
		if (char != ";" || depth)
			continue
		if (text ~ /[ *]zs_[a-z0-9_]+\(/ && text !~ /^ *typedef/)
			print text
		text = ""
	}
	text = text " "
}' | even >"$work/declared"

for page in $pages; do
	awk -f tools/man-names.awk "$page" >"$work/page"
	sed -n 's/^prototype //p' "$work/page" | even >"$work/prototypes"
	cat "$work/prototypes" >>"$work/described"
	comm -23 "$work/prototypes" "$work/declared" |
		while read -r line; do
			echo "$page: no header declares $line"
		done | stale
	case $page in *.3) ;; *) continue ;; esac
	sed 's/.*[ *]\(zs_[a-z0-9_]*\)(.*/\1/' "$work/prototypes" | sort \
		>"$work/functions"
	sed -n 's/^name //p' "$work/page" | sort >"$work/names"
	cmp -s "$work/functions" "$work/names" || {
		echo "$page: NAME and SYNOPSIS do not name the same:"
		diff "$work/names" "$work/functions" | grep '^[<>]'
	} >>"$work/complaints"
done
sort "$work/described" | uniq -d | sed 's/^/described twice: /' \
	>>"$work/complaints"
sort -u "$work/described" | comm -13 - "$work/declared" |
	sed 's|^|no page in doc/man has |' | stale

# What pages refer to: a page, or one of its names, or one of the system.
# shellcheck disable=SC2086 # a list of files
cat $pages | awk -f tools/man-names.awk | grep '^see' | sort -u |
	while read -r _ name section; do
		case $name in zs_* | zsync* | uring-probe) ;; *) continue ;; esac
		[ -f "doc/man/$name.$section" ] ||
			grep -qE "^\.Nm $name( |$)" doc/man/*."$section" ||
			echo "a page refers to $name($section), which is none"
	done >>"$work/complaints"
for variable in $(grep -rhoE '"ZSYNC_[A-Z_]+"' src | tr -d '"' | sort -u); do
	grep -q "$variable" doc/man/zsync.7 ||
		echo "doc/man/zsync.7 does not say $variable"
done >>"$work/complaints"
[ ! -s "$work/complaints" ] || complain "$(cat "$work/complaints")"

# shellcheck disable=SC2086 # a list of files
mandoc -Tlint -W warning $pages >&2 || status=1
if command -v man >/dev/null; then
	for page in $pages; do
		LC_ALL=C.UTF-8 MANROFFSEQ='' man --warnings -E UTF-8 -l -Tutf8 -Z \
			"$page" 2>&1 >/dev/null | sed "s|^|$page: |"
	done >"$work/warnings"
	[ ! -s "$work/warnings" ] || complain "$(cat "$work/warnings")"
fi
exit $status
