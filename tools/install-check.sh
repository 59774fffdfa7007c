#!/bin/sh
# SPDX-License-Identifier: MIT
# Finds Check, the unit test library, for the compiler in $CC; installs it where
# it is missing. The Makefile calls it once a configuration, before the first
# test is compiled: tools/install-check.sh OUT
#
# Leaves the compiler's arguments in OUT.cflags and OUT.libs. There is no
# pkg-config here: a test program that links is the only proof. A cross compiler
# ($CROSS_COMPILE, $ARCH) gets Debian's package for its architecture, unpacked
# into OUT.sysroot; the system itself is left alone, so no root is needed.
set -eu

out=$1
: "${CC:=cc}" "${CROSS_COMPILE:=}" "${ARCH:=}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

die()
{
	printf '%s\n' "$@" >&2
	exit 1
}

# links CFLAGS LIBS...: does a program that needs Check link with these?
links()
{
	# shellcheck disable=SC2086 # words, on purpose
	$CC $1 -o "$work/probe" "$work/probe.c" $2 >"$work/log" 2>&1
}

# found CFLAGS LDFLAGS: writes OUT.cflags and OUT.libs if Check is there.
# Debian's Check wants libsubunit, others are built without it.
found()
{
	for libs in "-lcheck -lsubunit -lrt -lm" "-lcheck -lrt -lm" \
		    "-lcheck -lm"; do
		if links "$1" "$2 $libs -pthread"; then
			echo "$1" >"$out.cflags"
			echo "$2 $libs -pthread" >"$out.libs"
			return 0
		fi
	done
	return 1
}

install_native()
{
	if command -v apt-get >/dev/null; then
		get="apt-get install -y --no-install-recommends check"
		refresh="apt-get update"
	elif command -v dnf >/dev/null; then
		get="dnf install -y check-devel"
		refresh="dnf makecache"
	elif command -v apk >/dev/null; then
		get="apk add check-dev"
		refresh="apk update"
	elif command -v pacman >/dev/null; then
		get="pacman -S --noconfirm --needed check"
		refresh="pacman -Sy"
	else
		die "The tests need Check (https://libcheck.github.io/check/)," \
		    "and this system has none of apt-get, dnf, apk, pacman:" \
		    "install it, then run make check again."
	fi
	root=
	if [ "$(id -u)" != 0 ]; then
		root=sudo
		if ! command -v sudo >/dev/null ||
		   { ! sudo -n true 2>/dev/null && ! [ -t 0 ]; }; then
			die "The tests need Check. As root:" \
			    "    $refresh && $get"
		fi
	fi
	echo "The tests need Check: ${root:+$root }$get"
	export DEBIAN_FRONTEND=noninteractive
	# The package lists of a fresh machine are missing or old.
	$root $get >"$work/log" 2>&1 ||
		{ $root $refresh && $root $get; } >"$work/log" 2>&1 ||
		die "$(tail -n 15 "$work/log")" "" "That failed. As root:" \
		    "    $refresh && $get"
}

install_cross()
{
	case $ARCH in
	aarch64) debian=arm64 ;;
	*) debian=$ARCH ;;
	esac
	command -v apt-get >/dev/null && command -v dpkg >/dev/null ||
		die "The tests need Check for $ARCH. Only on Debian and its like" \
		    "can this be arranged for; elsewhere: make check CC='$CC" \
		    "--sysroot=...' with a sysroot that has it."
	echo "The tests need Check for $ARCH: unpacking it in $out.sysroot"
	root=$out.sysroot
	case $root in /*) ;; *) root=$PWD/$root ;; esac
	apt=$root/apt
	rm -rf "$root"
	mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
	: >"$apt/status"
	# A package database of its own: nothing installed, one architecture.
	set -- -o APT::Architecture="$debian" -o APT::Architectures="$debian" \
	       -o Dir::State="$apt" -o Dir::State::status="$apt/status" \
	       -o Dir::Cache="$apt/cache" -o Debug::NoLocking=true \
	       -o APT::Sandbox::User="$(id -un)"
	(
		cd "$root"
		apt-get "$@" update
		apt-get "$@" download check libsubunit-dev
		for package in ./*.deb; do
			dpkg -x "$package" .
		done
	) >"$work/log" 2>&1 || die "$(tail -n 15 "$work/log")" \
		"Check for $ARCH could not be fetched."
	rm -rf "$apt" "$root"/*.deb
}

cat >"$work/probe.c" <<END
#include <check.h>
int main(void)
{
	return srunner_ntests_failed(srunner_create(suite_create("")));
}
END
mkdir -p "$(dirname "$out")"

if [ -n "$CROSS_COMPILE" ]; then
	usr=$out.sysroot/usr
	lib=$(find "$usr/lib" -name libcheck.a 2>/dev/null || true)
	found "" "" ||
		found "-isystem $usr/include" "-L${lib%/*}" && exit
	install_cross
	lib=$(find "$usr/lib" -name libcheck.a)
	found "-isystem $usr/include" "-L${lib%/*}" && exit
else
	found "" "" && exit
	install_native
	found "" "" && exit
fi
die "$(tail -n 15 "$work/log")" "Check is installed, but does not link with $CC."
