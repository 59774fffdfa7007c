#!/bin/sh
# SPDX-License-Identifier: MIT
# All that can be said of the sources without running them. Called by `make
# lint`: O= CC= CXX= CFLAGS= tools/lint.sh. Every step runs, any complaint makes
# it fail.
set -u

status=0
step()
{
	printf '  %-7s %s\n' LINT "$1"
	shift
	"$@" || status=1
}
# need COMMAND: a step that cannot run is a failure, not a pass.
need()
{
	command -v "$1" >/dev/null && return
	echo "lint needs $1: apt-get install $1 (or your system's like)" >&2
	status=1
	return 1
}

rooms="src arch include test bench tools examples"
# shellcheck disable=SC2086 # lists of words, here and below
headers=$(find src include -name '*.h' | sort)
c_files=$(find $rooms -name '*.c' | sort)
formatted=$(find $rooms -name '*.[ch]' -o -name '*.cc' | sort)
public=$(find include -name '*.h' | sort)
arch=$(echo "$CFLAGS" | grep -oE 'arch/[a-z0-9_]+')
jobs=$(nproc 2>/dev/null || echo 1)

export CC
# strictly COMPILER...: the source on stdin, by the strictest rules.
strictly()
{
	"$@" -Wall -Wextra -Wpedantic -Werror -Iinclude -fsyntax-only -
}

# Every header compiles by itself, the public ones as strict C11 and as C++.
lone_headers()
{
	failed=0
	for header in $headers; do
		name=${header#*/}
		echo "#include \"$name\"" | $CC $CFLAGS -Werror -Iarch \
			-fsyntax-only -x c - || failed=1
	done
	for header in $public; do
		echo "#include <${header#*/}>" >"$work/lone"
		strictly $CC -std=c11 -x c <"$work/lone" || failed=1
		strictly $CXX -std=c++17 -x c++ <"$work/lone" || failed=1
	done
	echo '#include <zsync.h>' >"$work/lone"
	strictly $CXX -std=c++11 -x c++ <"$work/lone" || failed=1
	strictly $CXX -std=c++20 -x c++ <"$work/lone" || failed=1
	return $failed
}

check_format()
{
	failed=0
	for file in $formatted; do
		clang-format "$file" | cmp -s - "$file" && continue
		echo "$file: make format would change it" >&2
		failed=1
	done
	return $failed
}

run_cppcheck()
{
	cppcheck -q -j "$jobs" --std=c11 --error-exitcode=1 --inline-suppr \
		--enable=warning,performance,portability \
		--suppress=missingIncludeSystem --suppress=unknownMacro \
		--suppress=normalCheckLevelMaxBranches \
		--suppress=unmatchedSuppression \
		-D_GNU_SOURCE -D__linux__ -D__x86_64__ -D__STDC_VERSION__=201112L \
		-Iinclude -Isrc -I"$arch" $c_files
}

run_clang_tidy()
{
	printf '%s\n' $c_files | xargs -n 4 -P "$jobs" sh -c '
		clang-tidy --quiet "$@" -- -std=gnu11 -D_GNU_SOURCE \
			-Iinclude -Isrc -I'"$arch"' -I'"$O/test"' 2>"$0.$$" ||
			{ grep -v "warnings\? generated\|^Suppressed\|^Use -header" \
				"$0.$$" >&2; exit 1; }' "$work/tidy"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

step layers tools/check-layers.sh
step style tools/check-style.sh
step headers lone_headers
need mandoc && step "man pages" tools/check-man.sh --lenient
need clang-format && step clang-format check_format
need cppcheck && step cppcheck run_cppcheck
need clang-tidy && step clang-tidy run_clang_tidy
exit $status
