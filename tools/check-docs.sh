#!/bin/sh
# SPDX-License-Identifier: MIT
# Compiles and runs every block of code in README.md, the guide and the man
# pages. Called by `make check-docs` and `make check`, which set the variables:
#	CC= CFLAGS= O= EMULATOR= tools/check-docs.sh [DOCUMENT...]
# A directive in the line before each block says what it is: in Markdown
# <!-- check: DIRECTIVE -->, in a page .\" check: DIRECTIVE
#
#   program [NAME.c] [ARGUMENT...]   a whole program, which has to end with 0
#   save NAME.c           the same, for commands that follow: it is not run
#   task [CONDITION]      defines the task run(); the condition is on its
#                         result, ret; without one that is >= 0
#   fragment [CONDITION]  statements inside a task, see doc/check/fragment.c
#   output                what the program before it writes to stdout
#   console [COMMAND...]  commands after "$ ", and what they write; skipped where
#                         one of those named is not installed
#   server                the same; the last one serves until SIGTERM, then ends
#                         with 0
#   dry                   commands of a shell: targets and programs exist
#   file PATH             the text of that file
#   declaration           the text of a public header, comments left out
#   text                  no code: nothing is checked
#
# "..." in what is written means anything; port 7000 is another one here; commands
# run with two workers, and green_threads stands for the model that auto takes.
set -eu

tree=$(cd "$(dirname "$0")/.." && pwd)
cd "$tree"
: "${CC:=cc}" "${CFLAGS:=}" "${O:=out}" "${EMULATOR:=}"
case $O in /*) ;; *) O=$tree/$O ;; esac
export CC CFLAGS O EMULATOR
unset MAKEFLAGS MAKELEVEL MFLAGS

status=0
# complain LINE WHAT: of the document.
complain()
{
	echo "$document:$1: $2" >&2
	status=1
}

# build LINE SOURCE ARGUMENTS...: to $scratch/program
build()
{
	line=$1
	shift
	# shellcheck disable=SC2086 # words, on purpose
	$CC -std=gnu11 -Wall -Wextra -Wpedantic -Werror -g $CFLAGS \
		-I"$tree/include" -o "$scratch/program" "$@" \
		"$O/libzsync.a" -pthread && return
	complain "$line" "the block does not compile"
	return 1
}

# run LINE ARGUMENTS...: what it writes goes to $work/written.
run()
{
	line=$1
	shift
	: >"$work/written"
	[ -z "$DRY" ] || return 0
	ret=0
	# shellcheck disable=SC2086 # words, on purpose
	(cd "$scratch" && timeout 30 $EMULATOR ./program "$@") \
		>"$work/written" 2>"$work/complaints" </dev/null || ret=$?
	cat "$work/complaints" >&2
	[ $ret = 0 ] || complain "$line" "the block ends with status $ret"
}

# compare LINE SHOWN: with what was written.
compare()
{
	[ -z "$DRY" ] || return 0
	sed -i "s/\b$MODEL\b/green_threads/g" "$work/written"
	awk -f tools/doc-compare.awk "$2" "$work/written" >&2 ||
		complain "$1" "the output differs"
}

# program BLOCK LINE [NAME.c] [ARGUMENT...]
program()
{
	block=$1 line=$2
	shift 2
	source=$scratch/block.c
	case ${1:-} in
	*.c) source=$scratch/$1; shift ;;
	esac
	{ echo "#line $((line + 1)) \"$document\""; cat "$block"; } >"$source"
	build "$line" "$source" && run "$line" "$@"
}

# save BLOCK LINE NAME.c
save()
{
	cp "$1" "$scratch/$3"
	build "$2" "$scratch/$3"
}

# framed FRAME BLOCK LINE CONDITION
framed()
{
	{ echo "#line $(($3 + 1)) \"$document\""; cat "$2"; } >"$work/block.h"
	build "$3" -DBLOCK="\"$work/block.h\"" "-DEXPECT=($4)" \
		"doc/check/$1.c" && run "$3"
}

# The programs of this build as an installed zsync's, for commands; and "out".
install_programs()
{
	mkdir "$work/bin"
	# By its path, or "cc" would be this script again.
	echo "exec $(command -v "${CC%% *}")${CC#"${CC%% *}"} \"\$@\"" \
		>"$work/bin/cc"
	echo "echo -I$tree/include -L$O -lzsync -pthread" >"$work/bin/pkg-config"
	echo true >"$work/bin/make"
	chmod +x "$work/bin"/*
	ln -s "$O/tools/uring-probe" "$O/bench/zsync-bench" "$work/bin"
	ln -s "$O" "$scratch/out"
	ln -s "$tree/tools/zsync-gdb.py" "$scratch"
}

# Commands as a script; one in the background is waited for until it writes.
script()
{
	# shellcheck disable=SC2016 # the script expands them
	echo 'started() { i=0; until [ -s "$WRITTEN" ] || [ $i = 200 ]; do'
	# shellcheck disable=SC2016 # the script expands them
	echo 'sleep 0.05; i=$((i + 1)); done; }'
	sed -n '/^\$ .*&$/{
		s/^..//
		s/$/\nstarted/p
		d
	}
	s/^\$ //p' "$1"
}

# console SCRIPT BLOCK LINE
console()
{
	[ -z "$DRY$EMULATOR" ] || return 0
	[ -d "$work/bin" ] || install_programs
	: >"$work/written"
	(cd "$scratch" && PATH=$work/bin:$PATH LD_LIBRARY_PATH=$O \
		WRITTEN=$work/written ZSYNC_WORKERS=2 timeout 60 sh "$1") \
		>>"$work/written" 2>&1 </dev/null || :
	if grep -q 'ptrace: Operation not permitted' "$work/written"; then
		echo "  SKIP    $document:$3: ptrace is forbidden here"
		return
	fi
	grep -v '^\$ ' "$2" >"$work/shown" || true
	compare "$3" "$work/shown"
}

server()
{
	script "$1" >"$work/script"
	sed -i '$s/.*/& \&\nstarted; kill $!; wait $! || echo "status $?"/' "$work/script"
	console "$work/script" "$1" "$2"
}

dry()
{
	sh -n "$1" || complain "$2" "not what a shell reads"
	sed 's/ *#.*//' "$1" | while read -r command words; do
		# shellcheck disable=SC2086 # words, on purpose
		case $command in
		make) make -n O="$O" $words >/dev/null || exit 1 ;;
		esac
		for word in $command $words; do
			case $word in
			out/*) [ -x "$O/${word#out/}" ] || exit 1 ;;
			esac
		done
	done || complain "$2" "a target or a program of it does not exist"
}

# uncommented FILE...: C in one line, without comments, blanks and preprocessor.
uncommented()
{
	grep -hv '^ *#' "$@" | tr '\n' ' ' | sed 's|/\*|\n/*|g; s|\*/|*/\n|g' |
		grep -v '^/\*' | tr -d ' \t\n'
}

declaration()
{
	uncommented include/zsync/*.h >"$work/headers"
	grep -qF -e "$(uncommented "$1")" "$work/headers" ||
		complain "$2" "the headers declare it otherwise"
}

check_block()
{
	block=$work/$1 line=$2 kind=${3:-}
	shift $(($# < 3 ? $# : 3))
	sed -i "s/\b7000\b/$port/g" "$block"
	case $kind in
	program) program "$block" "$line" "$@" || : ;;
	task) framed task "$block" "$line" "${*:-ret >= 0}" || : ;;
	fragment) framed fragment "$block" "$line" "${*:-ret >= 0}" || : ;;
	output) compare "$line" "$block" ;;
	save) save "$block" "$line" "$@" || : ;;
	console)
		for word; do
			command -v "$word" >/dev/null && continue
			echo "  SKIP    $document:$line: no $word here"
			return
		done
		script "$block" >"$work/script"
		console "$work/script" "$block" "$line"
		;;
	server) server "$block" "$line" ;;
	dry) dry "$block" "$line" ;;
	file) cmp -s "$block" "$1" || complain "$line" "$1 differs" ;;
	declaration) declaration "$block" "$line" ;;
	text) ;;
	*) complain "$line" "no such directive: $kind" ;;
	esac
}

# One document: its blocks in their order, in one scratch folder.
check_document()
{
	document=$1
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	scratch=$work/scratch
	mkdir "$scratch"
	: >"$work/written"
	port=$((20000 + $$ % 10000))
	awk -v work="$work" -f tools/doc-blocks.awk "$document" \
		>"$work/list" || status=1
	while read -r number line directive <&3; do
		# shellcheck disable=SC2086 # words, on purpose
		check_block "$number" "$line" $directive
	done 3<"$work/list"
	exit $status
}

# Each of these has a stale block, and its first line tells what has to be said.
check_stale()
{
	for document in doc/check/stale/*.md; do
		says=$(sed -n 's/^The check says: //p' "$document")
		if "$0" --one "$document" >"$log" 2>&1 ||
		   ! grep -qF "$says" "$log"; then
			cat "$log" >&2
			complain 1 "this is stale, and it is not found out"
		fi
	done
}

# The options that a program says with --help are those of its page.
check_options()
{
	for document in doc/man/*.1; do
		name=$(basename "$document" .1)
		program=$(echo "$O"/*/"$name")
		"$program" --help | grep -o -e '--[a-z]*' | sort -u \
			>"$log" || :
		sed -n 's/.*\.\{0,1\}Fl -\([a-z]*\).*/--\1/p' "$document" |
			sort -u | cmp -s - "$log" ||
			complain 1 "$name --help has other options"
	done
}

# Is there a model to run on? Else programs are only compiled.
find_model()
{
	scratch=$(mktemp -d)
	# shellcheck disable=SC2086 # words, on purpose
	if $CC -std=gnu11 $CFLAGS -Iinclude -o "$scratch/program" \
			doc/check/model.c "$O/libzsync.a" -pthread &&
	   MODEL=$($EMULATOR "$scratch/program"); then
		DRY=
	else
		echo "  SKIP    code in documents is compiled, but not run"
		DRY=1 MODEL=green_threads
	fi
	rm -rf "$scratch"
	export DRY MODEL
}

if [ "${1:-}" = --one ]; then
	check_document "$2"
fi
find_model
[ $# != 0 ] || set -- README.md doc/*.md doc/man/*.[0-9]
printf '%s\n' "$@" | xargs -n 1 -P 2 "$0" --one || status=1
log=$(mktemp)
[ -n "$DRY" ] || check_stale
[ -n "$EMULATOR" ] || check_options
rm -f "$log"
[ $status != 0 ] || echo "  DOC     checked: $# documents"
exit $status
