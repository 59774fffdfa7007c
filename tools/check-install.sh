#!/bin/sh
# SPDX-License-Identifier: MIT
# Installs into a scratch folder and builds a program from there with the flags
# of zsync.pc: static and shared, C and, where there is a compiler, C++. Where
# there is gdb, the installed script shows it the tasks. Called by `make
# check-install`: CC= O= tools/check-install.sh
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

# The second task is parked when the first one comes to its stop.
cat >"$work/parked.c" <<END
#include <zsync.h>
static int sleeper(void *arg) { (void)arg; return zs_sleep_until(ZS_NEVER); }
__attribute__((noinline)) void stop(void) { __asm__ volatile(""); }
static int starter(void *arg)
{
	struct zs_nursery nursery = { 0 };

	(void)arg;
	zs_nursery_open(&nursery, 0);
	zs_nursery_spawn(nursery, sleeper, 0);
	zs_yield();
	stop();
	zs_nursery_cancel(nursery);
	return zs_nursery_wait(nursery);
}
int main(void)
{
	struct zs_config config = zs_config_for_cli();

	return zs_run(&config, starter, 0) == 0;
}
END

# try WHAT COMPILER ARGUMENTS...: build and run the program.
try()
{
	what=$1
	shift
	"$@" -o "$work/user" && LD_LIBRARY_PATH=$usr/lib "$work/user" ||
		{ echo "An installed zsync does not serve $what." >&2; exit 1; }
}
# look_at WHAT COMPILER ARGUMENTS...: build the program that parks a task, and
# find that task by gdb, whose symbols are the library's.
look_at()
{
	what=$1
	shift
	"$@" -g -o "$work/parked"
	LD_LIBRARY_PATH=$usr/lib gdb -batch -nx \
		-ex "source $usr/share/zsync/zsync-gdb.py" -ex 'break stop' \
		-ex run -ex 'zsync tasks' -ex 'zsync bt 3' "$work/parked" \
		>"$work/log" 2>&1 </dev/null || true
	if grep -q 'Could not trace the inferior process' "$work/log"; then
		echo "  SKIP    gdb and $what: ptrace is forbidden here"
	elif grep -q 'no debug information of zsync' "$work/log"; then
		echo "  SKIP    gdb and $what: zsync was built without -g"
	elif ! grep -q '^3 .* waits for a cancel$' "$work/log" ||
	     ! grep -q '^#[0-9].* sleeper (' "$work/log"; then
		cat "$work/log" >&2
		echo "zsync-gdb.py shows no parked task of $what." >&2
		exit 1
	fi
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
	if command -v gdb >/dev/null; then
		look_at "a shared program" $CC $cflags "$work/parked.c" $libs
		look_at "a static program" $CC $cflags "$work/parked.c" \
			-static $libs
	else
		echo "  SKIP    zsync-gdb.py: gdb is not installed"
	fi
}
# By each name of a page, as a user asks for it.
if command -v man >/dev/null; then
	for name in zs_recv zs_run zsync uring-probe; do
		MANPATH=$usr/share/man MANPAGER=cat man "$name" >"$work/log" 2>&1 &&
			grep -q "^ *$name\|[ ,]$name" "$work/log" ||
			{ echo "man $name does not find its page." >&2; exit 1; }
	done
else
	echo "  SKIP    man pages: man is not installed"
fi
for file in bin/uring-probe bin/zsync-bench lib/libzsync.a lib/libzsync.so \
	    share/zsync/zsync-gdb.py; do
	[ -s "$usr/$file" ] || { echo "$file was not installed." >&2; exit 1; }
done
echo "  INSTALL checked: static, shared, C, C++, gdb"
