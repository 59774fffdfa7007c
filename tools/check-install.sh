#!/bin/sh
# SPDX-License-Identifier: MIT
# Installs into a scratch folder and builds a program from there with the flags
# of zsync.pc: static and shared, C and, where there is a compiler, C++. Called
# by `make check-install`: CC= O= tools/check-install.sh
set -eu

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
make -s install O="$O" CC="$CC" DESTDIR="$work/root" PREFIX=/usr >/dev/null

usr=$work/root/usr
pc=$usr/lib/pkgconfig/zsync.pc
# field NAME: a line of zsync.pc with its variables filled in.
field()
{
	sed -n "s/^$1: *//p" "$pc" | sed "s|\${libdir}|$usr/lib|
		s|\${includedir}|$usr/include|"
}
cflags=$(field Cflags)
libs=$(field Libs)

cat >"$work/user.c" <<END
#include <zsync.h>
static int answer(void *arg) { *(int *)arg = 42; return 0; }
int main(void)
{
	int result = 0, ret = zs_run(0, answer, &result);

	return ret == 0 && result == 42 ? 0 : 1;
}
END
cp "$work/user.c" "$work/user.cc"

# try WHAT COMPILER ARGUMENTS...: build and run the program.
try()
{
	what=$1
	shift
	"$@" -o "$work/user" && LD_LIBRARY_PATH=$usr/lib "$work/user" ||
		{ echo "An installed zsync does not serve $what." >&2; exit 1; }
}
# shellcheck disable=SC2086 # words, on purpose
{
	try "a shared C11 program" $CC -std=c11 -Wall -Wextra -Wpedantic \
		-Werror $cflags "$work/user.c" $libs
	readelf -d "$work/user" | grep -q 'libzsync\.so\.[0-9]' ||
		{ echo "The program does not ask for libzsync by soname." >&2
		  exit 1; }
	try "a static program" $CC $cflags "$work/user.c" -static $libs
	if command -v c++ >/dev/null; then
		try "a C++ program" c++ -std=c++11 -Wall -Wextra -Werror \
			$cflags "$work/user.cc" $libs
	fi
}
for file in bin/uring-probe bin/zsync-bench lib/libzsync.a lib/libzsync.so; do
	[ -s "$usr/$file" ] || { echo "$file was not installed." >&2; exit 1; }
done
echo "  INSTALL checked: static, shared, C, C++"
